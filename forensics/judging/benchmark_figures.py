"""The benchmark's two figures: a heat map of its table, and AuC against the strength of perturbations."""

import itertools

import numpy as np

from forensics.judging import plots
from forensics.judging.benchmark_kinds import GAP, SEEN, UNSEEN
from forensics.judging.benchmark_table import COLUMNS, LEVELS, interval_text
from forensics.pictures.perturbations import PERTURBATIONS

LINE_COLOURS = (plots.BLUE, plots.VERMILION, plots.GREEN, plots.AMBER, plots.WINE, 'black', plots.GREY)
LINE_MARKERS = 'osD^vPX'
MEAN_HEADINGS = {
    SEEN: 'mean over\nkinds trained on',
    UNSEEN: 'mean over\nkinds never seen',
    GAP: 'gap\n(their difference)',
}
EMPTY = dict.fromkeys(COLUMNS)  # the row of a detector without scores of a data set


def heat_map(rows: list[dict], kind_rows: list[dict], titles: dict[str, str], kinds: dict[str, str | None]):
    """Every detector on every data set, unperturbed, frames above videos, with the means over kinds beside the frames.

    `titles` are those of the detectors, `kinds` those of the data sets' fakes.
    """
    clean = [row for row in rows if row['perturbation'] is None]
    levels = [level for level in LEVELS if any(row['level'] == level for row in clean)]
    with plots.style():
        means = list(dict.fromkeys(row['dataset'] for row in kind_rows))
        width = min(max(plots.PAGE_WIDTH, 2.6 + 1.5 * (len(kinds) + len(means))), 30)
        height = len(levels) * (0.9 + 0.48 * len(titles))
        figure = plots.new_figure(height=height, width=width)
        axes = figure.subplots(len(levels), squeeze=False)[:, 0]
        for level, ax in zip(levels, axes, strict=True):
            here = [row for row in [*clean, *kind_rows] if row['level'] == level]
            present = {row['dataset'] for row in here}  # not every data set has videos
            columns = {name: f'{name}\n({kind})' if kind else name for name, kind in kinds.items() if name in present}
            plot_matrix(here, titles, columns, [name for name in means if name in present], ax)
            ax.set_title(f'AuC on test, {level}s' + (' (means over the frames)' if level == 'video' else ''))
    return figure


def strength_curves(rows: list[dict], titles: dict[str, str], datasets: list[str], names: list[str]):
    """The frames' AuC against strength: a row of panels for each data set, a column for each perturbation."""
    able = {row['detector'] for row in rows if row['perturbation']}  # not those of which only scores are there
    frames = [row for row in rows if row['level'] == 'frame' and row['detector'] in able]
    with plots.style():
        figure = plots.new_figure(height=0.7 + 1.9 * len(datasets), width=max(plots.PAGE_WIDTH, 1.0 + 1.9 * len(names)))
        grid = figure.subplots(len(datasets), len(names), squeeze=False, sharey=True, sharex='col')
        for (dataset, name), ax in zip(itertools.product(datasets, names), grid.flat, strict=True):
            here = [row for row in frames if row['dataset'] == dataset and row['perturbation'] in (None, name)]
            plot_strengths(here, name, titles, ax)
        for ax, dataset in zip(grid[:, 0], datasets, strict=True):
            ax.set_ylabel(f'AuC on {dataset}')
        for ax, name in zip(grid[-1], names, strict=True):
            ax.set_xlabel(f'{name}: {PERTURBATIONS[name].unit}')
        handles, labels = grid[0, 0].get_legend_handles_labels()
        figure.legend(
            handles,
            labels,
            loc='outside lower center',
            ncols=2,
            frameon=False,
            title='filled markers: trained on this data set; bars: 95% intervals',
        )
    return figure


def plot_matrix(rows: list[dict], titles: dict[str, str], datasets: dict[str, str], means: list[str], ax) -> None:
    """A cell for each detector (row) and data set (column); a frame around those it was trained on.

    `datasets` are names and their headings, `means` the names of the columns that follow, behind a line.
    """
    from matplotlib.patches import Rectangle

    cells = {(row['detector'], row['dataset']): row for row in rows}
    columns = [*datasets, *means]
    values = [[cells.get((name, column), EMPTY)['auc'] for column in columns] for name in titles]
    values = np.array(values, dtype=np.float64)  # None becomes nan, which stays white, as does
    values[:, [column == GAP for column in columns]] = np.nan  # what is no AuC
    # Orange is worse than chance, purple better: a colour-blind reader sees both sides of white.
    picture = ax.imshow(values, cmap='PuOr', vmin=0, vmax=1, aspect='auto')
    for (y, name), (x, column) in itertools.product(enumerate(titles), enumerate(columns)):
        row = cells.get((name, column), EMPTY)
        dark = abs(np.nan_to_num(values[y, x], nan=0.5) - 0.5) > 0.3
        lines = [interval_text(row, 'auc')]
        if row['accuracy'] is not None and column != GAP:
            lines.append((f'EER {100 * row["eer"]:.0f}%, ' if row['eer'] is not None else '')
                         + f'accuracy {row["accuracy"]:.1f}%')  # fmt: skip
        ax.text(x, y, '\n'.join(lines), ha='center', va='center', fontsize=6.5, color='white' if dark else 'black')
        if row['own']:
            ax.add_patch(Rectangle((x - 0.48, y - 0.46), 0.96, 0.92, fill=False, edgecolor='black', linewidth=1.8))
    if means:
        ax.axvline(len(datasets) - 0.5, color='black', linewidth=0.8)
    ax.set_xticks(range(len(columns)), [*datasets.values(), *(MEAN_HEADINGS[name] for name in means)])
    ax.set_yticks(range(len(titles)), titles.values())
    ax.tick_params(length=0)
    ax.grid(False)
    for spine in ax.spines.values():
        spine.set_visible(False)
    ax.set_xlabel('data set (framed: the detector was trained on it)')
    ax.figure.colorbar(picture, ax=ax, label='AuC', fraction=0.04, pad=0.02, ticks=[0, 0.5, 1])


def plot_strengths(rows: list[dict], name: str, titles: dict[str, str], ax) -> None:
    """AuC of every detector from the pictures as they are, on the left, to the harshest perturbation."""
    strengths = {row['strength'] for row in rows} - {None}
    order = [None, *sorted(strengths, key=PERTURBATIONS[name].severity)]
    names = list(dict.fromkeys(row['detector'] for row in rows))
    step = min(0.06, 0.4 / len(names))  # side by side, so that the bars can be told apart
    for number, detector in enumerate(names):
        own = {row['strength']: row for row in rows if row['detector'] == detector}
        points = [own[strength] for strength in order]
        colour = LINE_COLOURS[number % len(LINE_COLOURS)]
        values = np.array([row['auc'] for row in points], dtype=np.float64)
        low, high = (np.array([row[f'auc_{end}'] for row in points], dtype=np.float64) for end in ('low', 'high'))
        positions = np.arange(len(order)) + step * (number - (len(names) - 1) / 2)
        # Colours and markers begin anew after seven detectors, the dashes do not.
        dashes = ('-', '--', ':', '-.')[number // len(LINE_COLOURS) % 4]
        ax.vlines(positions, low, high, color=colour, linewidth=0.8, alpha=0.6)
        ax.plot(
            positions,
            values,
            color=colour,
            linestyle=dashes,
            marker=LINE_MARKERS[number % len(LINE_MARKERS)],
            markersize=4,
            markerfacecolor=colour if points[0]['own'] else 'white',
            label=titles[detector],
        )
    ax.axhline(0.5, color=plots.GREY, linewidth=0.8, linestyle=':')
    ax.set_xticks(range(len(order)), ['none', *(f'{strength:g}' for strength in order[1:])])
    ax.set_ylim(0, 1.02)
