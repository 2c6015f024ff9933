"""The style of every figure of the project, and the figures that more than one command draws.

`plot_x(data, ax)` draws; the caller saves with `save(figure, figure_path(folder, dataset, model, 'x'))`.
Nothing here keeps pyplot's global state, so that figures can be made in a server's threads too.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from forensics.data.datasets import CLASSES
from forensics.judging import scoring
from forensics.records import atomic_path, best_epoch, figure_metadata

# Okabe and Ito's colours and, for the test part, Tol's wine: their purple is blue to the red-blind.
BLUE, AMBER, WINE, GREEN, VERMILION, GREY = '#0072B2', '#E69F00', '#882255', '#009E73', '#D55E00', '#767676'
PART_COLOURS = {'train': BLUE, 'val': AMBER, 'test': WINE}
PART_MARKERS = {'train': 'o', 'val': 's', 'test': '^'}
CLASS_COLOURS = {'real': GREEN, 'fake': VERMILION}
# The outputs for real and fake and the score that decides, also by dashes, since two curves often coincide.
SCORE_STYLES = {
    'first': {'color': CLASS_COLOURS['real'], 'linestyle': '--'},
    'second': {'color': CLASS_COLOURS['fake'], 'linestyle': '-.'},
    'difference': {'color': 'black', 'linestyle': '-', 'linewidth': 1.2},
}
MAP_COLOURS = 'inferno'  # dark means little: brightness rises evenly, so that grey prints stay true

# Sizes in points on paper: a figure is PAGE_WIDTH inches wide, the text width of an A4 page.
PAGE_WIDTH = 6.7
STYLE = {
    'font.size': 8,
    'axes.titlesize': 9,
    'axes.labelsize': 8,
    'figure.titlesize': 10,
    'figure.titleweight': 'bold',
    'legend.fontsize': 7.5,
    'legend.framealpha': 0.9,
    'xtick.labelsize': 7.5,
    'ytick.labelsize': 7.5,
    'lines.linewidth': 1.6,
    'axes.spines.top': False,
    'axes.spines.right': False,
    'axes.grid': True,
    'grid.color': '#e4e4e4',
    'grid.linewidth': 0.6,
    'savefig.dpi': 200,
}


def style():
    """Use `with plots.style():` around everything that draws."""
    import matplotlib

    return matplotlib.rc_context(STYLE)


def new_figure(height: float, width: float = PAGE_WIDTH):
    """An empty figure of so many inches. Call it, and draw, inside `with style():`."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout='constrained')


def save(figure, path: str | Path, trainings: Sequence[dict] = ()) -> None:
    """Write the figure and say where it is. `trainings` are the facts of the detectors that it shows."""
    with atomic_path(path) as temporary, style():
        figure.savefig(temporary, metadata=figure_metadata(trainings))
    print(f'Wrote {path}')


def plot_message(text: str, ax) -> None:
    """Words in place of a picture that cannot be drawn."""
    ax.set_axis_off()
    ax.text(0.5, 0.5, text, ha='center', va='center', wrap=True, color=GREY, transform=ax.transAxes)


# --- pictures ----------------------------------------------------------------------------------------------


def plot_image(image: np.ndarray, ax, title: str = '', label: int | None = None, **options) -> None:
    """A picture without axes, framed in its class's colour where the class is known."""
    ax.imshow(image, interpolation='nearest', **options)
    ax.grid(False)
    ax.set(xticks=[], yticks=[])
    colour = None if label is None else CLASS_COLOURS[class_name(label)]
    for spine in ax.spines.values():
        spine.set(visible=colour is not None, color=colour, linewidth=1.5)
    if title:
        ax.set_title(title, fontsize=STYLE['font.size'] - 1, color=colour or 'black', pad=2)


def class_name(label: int) -> str:
    return CLASSES[int(label)]


def unnormalised(image: np.ndarray, transform=None) -> np.ndarray:
    """A 3xHxW array as an HxWx3 picture between 0 and 1.

    Mean and standard deviation are read from the data set's transform. Without any, values between 0 and 1 stay as they
    are, and others are scaled to that range.
    """
    image = np.asarray(image, dtype=np.float32).transpose(1, 2, 0)
    steps = (transform, *getattr(transform, 'transforms', ()))
    for step in reversed(steps):
        if hasattr(step, 'mean') and hasattr(step, 'std'):
            image = image * np.asarray(step.std, dtype=np.float32) + np.asarray(step.mean, dtype=np.float32)
            return image.clip(0, 1)
    low, high = image.min(initial=0), image.max(initial=1)
    return (image - low) / (high - low)


def robustly_scaled(values: np.ndarray, percentile: float = 99) -> np.ndarray | None:
    """Values from 0 to 1, the percentile (not the maximum, a single pixel) at 1; None for a blank map."""
    values = np.asarray(values, dtype=np.float64)
    if not values.size or not values.max() > 0:
        return None
    top = np.percentile(values, percentile)
    return (values / (top if top > 0 else values.max())).clip(0, 1)


def plot_map(values: np.ndarray, ax, title: str = '') -> None:
    """A map of non-negative values over an image. A blank one is not drawn: it would look like a finding."""
    scaled = robustly_scaled(values)
    if scaled is None:
        plot_message('blank map:\nall zero', ax)
        return
    plot_image(scaled, ax, title, cmap=MAP_COLOURS, vmin=0, vmax=1)


# --- curves over epochs ------------------------------------------------------------------------------------


def heading(model: str, dataset: str, run: dict) -> str:
    """The title of figures of a model on a data set's test part; `run` is the record of its training."""
    return f'{model} on {dataset}, test{weights_note(run)}'


def weights_note(run: dict) -> str:
    """The origin of the backbone's weights, for a title; empty for a model without a backbone."""
    weights = run.get('backbone_weights') or ''
    if weights.startswith('imagenet:'):  # the record names the package
        weights = 'imagenet'
    return f' ({weights} backbone)' if weights else ''


def _plot_epochs(run: dict, quantity: str, ax) -> int:
    best = best_epoch(run)
    for part, colour in PART_COLOURS.items():
        values = [np.nan if value is None else value for value in run[f'{part}_{quantity}']]
        ax.plot(
            range(1, len(values) + 1),
            values,
            color=colour,
            marker=PART_MARKERS[part],
            markersize=4,
            label=part,
        )
    ax.axvline(best + 1, color=GREY, linewidth=1, linestyle=':', zorder=0)
    ax.set(xlabel='epoch', title=f'{run["model"]} on {run["dataset"]}{weights_note(run.get("run", {}))}')
    ax.xaxis.get_major_locator().set_params(integer=True)
    return best


def _spread(ax, least: float) -> None:
    """Widen the y axis to at least `least`, or the flat line of a net that learns nothing looks rugged."""
    low, high = ax.get_ylim()
    lack = max(least - (high - low), 0) / 2
    ax.set_ylim(low - lack, high + lack)


def plot_losses(run: dict, ax) -> None:
    """Loss of the three parts over the epochs, the best one on validation marked."""
    best = _plot_epochs(run, 'loss', ax)
    ax.plot([], [], color=GREY, linewidth=1, linestyle=':', label=f'best validation accuracy: epoch {best + 1}')
    ax.set_ylabel('mean loss over all samples')
    _spread(ax, least=0.1)
    ax.legend()


def plot_accuracies(run: dict, ax, constant: float | None = None) -> None:
    """Accuracy of the three parts over the epochs, and a constant predictor's on the test part."""
    best = _plot_epochs(run, 'acc', ax)
    chosen = run['test_acc'][best]
    ax.plot(
        best + 1,
        chosen,
        marker='*',
        markersize=12,
        color=PART_COLOURS['test'],
        markeredgecolor='black',
        markeredgewidth=0.6,
        linestyle='none',
        zorder=3,
        label=f'test at the best validation epoch ({best + 1}): {chosen:.2f}%',
    )
    if constant is not None:
        ax.axhline(
            constant,
            color=GREY,
            linewidth=0.8,
            linestyle='--',
            zorder=0,
            label=f'constant predictor, test: {constant:.2f}%',
        )
    ax.set_ylabel('accuracy [%]')
    _spread(ax, least=20)
    ax.legend()


# --- ROC and DET -------------------------------------------------------------------------------------------


SCORE_NAMES = {
    'first': 'first score (real)',
    'second': 'second score (fake)',
    'difference': 'second - first (decides)',
}


def legend_below(ax) -> None:
    """Put the legend under the axes: the curves of the two outputs leave no corner inside free."""
    ax.legend(loc='upper center', bbox_to_anchor=(0.5, -0.11), frameon=False, handlelength=4)


def plot_reason(curve: str, labels, values, ax) -> bool:
    """True if no such curve can be drawn; then the axes say why."""
    reason = scoring.undefined(labels, values)
    if reason:
        plot_message(f'No {curve}: {reason}.', ax)
    return bool(reason)


def plot_roc(scores: dict[str, np.ndarray], labels, ax, styles: dict[str, dict] = SCORE_STYLES) -> None:
    """ROC of several scores of the same images, the fakes being the positive class."""
    from sklearn.metrics import RocCurveDisplay

    for name, values in scores.items():
        if plot_reason('ROC curve', labels, values, ax):
            return
        legend = (
            f'{SCORE_NAMES.get(name, name)}: AuC {scoring.auc(labels, values):.3f}, '
            f'AP {scoring.average_precision(labels, values):.3f}, EER {scoring.equal_error_rate(labels, values):.1%}'
        )
        RocCurveDisplay.from_predictions(
            labels, values, ax=ax, pos_label=1, curve_kwargs={**styles.get(name, {}), 'label': legend}
        )
    ax.plot([0, 1], [0, 1], color=GREY, linewidth=0.8, linestyle=':', label='chance: AuC 0.500')
    ax.set(
        xlabel='real images called fake (false positive rate)',
        ylabel='fakes called fake (true positive rate)',
        xlim=(-0.01, 1.01),
        ylim=(-0.01, 1.01),
    )
    ax.set_aspect('equal')
    legend_below(ax)


def plot_det(scores: dict[str, np.ndarray], labels, ax, styles: dict[str, dict] = SCORE_STYLES) -> None:
    """DET of several scores of the same images. The axes are probits, so 0 and 1 lie at infinity."""
    from scipy.stats import norm
    from sklearn.metrics import DetCurveDisplay

    for name, values in scores.items():
        if plot_reason('DET curve', labels, values, ax):
            return
        rate = scoring.equal_error_rate(labels, values)
        options = styles.get(name, {})
        legend = f'{SCORE_NAMES.get(name, name)}: EER {100 * rate:.1f}%, AuC {scoring.auc(labels, values):.3f}'
        if rate in (0, 1):
            legend += ', a curve off the axes'
        display = DetCurveDisplay.from_predictions(labels, values, ax=ax, pos_label=1, name=legend, **options)
        if 0 < rate < 1:
            ax.plot(*norm.ppf([[rate], [rate]]), marker='o', markersize=4, color=display.line_.get_color())
    line = ax.get_xlim()
    ax.plot(line, line, color=GREY, linewidth=0.8, linestyle=':', label='both rates equal (its crossing: EER)')
    ax.set(
        xlabel='real images called fake (false positive rate)',
        ylabel='fakes called real (false negative rate)',
    )
    ax.set_aspect('equal')
    legend_below(ax)


# --- calibration -------------------------------------------------------------------------------------------


def plot_reliability(labels, logits, ax) -> None:
    """P(fake) against the share of fakes among the images that got it; grey bars show how many images that were."""
    if plot_reason('reliability diagram', labels, logits, ax):
        return
    promised, kept, shares = scoring.reliability(labels, logits)
    edges = np.arange(scoring.STEPS) / scoring.STEPS
    ax.bar(edges, shares, 1 / scoring.STEPS, align='edge', color=GREY, alpha=0.25, label='share of the images')
    ax.plot(promised, kept, color='black', marker='s', markersize=4, linewidth=1.2, label='share of fakes')
    ax.plot([0, 1], [0, 1], color=GREY, linewidth=0.8, linestyle=':', label='as promised')
    ax.set(xlabel='P(fake) that the detector gives', ylabel='share', xlim=(-0.01, 1.01), ylim=(-0.01, 1.01))
    ax.set_aspect('equal')
    legend_below(ax)


def plot_risk_and_coverage(labels, logits, ax) -> None:
    """The share of wrong answers among the images that are answered, the surest first."""
    if plot_reason('risk-coverage curve', labels, logits, ax):
        return
    coverage, risk = scoring.risk_and_coverage(labels, logits)
    within = scoring.coverage_at_risk(labels, logits)
    coverage, risk = np.append(0, coverage), np.append(risk[0], risk)  # so that a single step is a line, too
    ax.step(100 * coverage, 100 * risk, where='pre', color='black', linewidth=1.2, label='the surest answers first')
    constant = 100 - scoring.constant_accuracy(labels)
    ax.axhline(constant, color=GREY, linewidth=0.8, linestyle='--', label=f'always one answer: {constant:.1f}% wrong')
    ax.axhline(5, color=GREY, linewidth=0.8, linestyle=':', label=f'5% wrong, read off this part: {within:.0%}')
    ax.set(xlabel='images answered [%]', ylabel='wrong among them [%]', xlim=(-1, 101), ylim=(-0.5, None))
    legend_below(ax)
