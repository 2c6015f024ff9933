"""What figures show, and the two scripts that draw without torch."""

import json

import numpy as np
import pytest
from matplotlib.colors import to_rgb

import plot_accuracy_and_loss
import plot_samples_of_faces_datasets
from forensics.errors import UserError
from forensics.judging import plots


def texts(figure) -> str:
    """All words in a figure."""
    from matplotlib.text import Text

    return '\n'.join(text.get_text() for text in figure.findobj(Text))


def make_run(**changes) -> dict:
    run = {'model': 'SimpleNet', 'dataset': 'fakes_dataset', 'optimizer': {'name': 'Adam', 'params': {}}}
    for part in ('train', 'val', 'test'):
        run[f'{part}_loss'] = [0.7, 0.6, 0.5]
        run[f'{part}_acc'] = [60.0, 80.0, 80.0]
    run['test_acc'] = [90.0, 77.25, 99.0]
    return run | changes


def axes_of(draw, *args):
    figure = plots.new_figure(height=3)
    ax = figure.subplots()
    draw(*args, ax)
    figure.draw_without_rendering()
    return figure, ax


# --- colours -----------------------------------------------------------------------------------------------


def test_no_colour_means_two_things():
    colours = [*plots.PART_COLOURS.values(), *plots.CLASS_COLOURS.values()]
    assert len(set(colours)) == len(colours)


@pytest.mark.parametrize('colours', [plots.PART_COLOURS, plots.CLASS_COLOURS], ids=['parts', 'classes'])
def test_colours_differ_for_the_red_green_blind(colours):
    # Viénot's matrices on linear RGB: protanopia and deuteranopia.
    for blind in (
        np.array([[0.112, 0.888, 0], [0.112, 0.888, 0], [0.004, -0.004, 1]]),
        np.array([[0.293, 0.707, 0], [0.293, 0.707, 0], [-0.022, 0.022, 1]]),
    ):
        seen = [(blind @ np.array(to_rgb(colour)) ** 2.2).clip(0, 1) ** (1 / 2.2) for colour in colours.values()]
        assert min(np.abs(a - b).max() for i, a in enumerate(seen) for b in seen[:i]) > 0.3


# --- pictures ----------------------------------------------------------------------------------------------


def test_images_are_shown_as_they_were_before_normalising():
    from PIL import Image

    from utils import TRANSFORM_TEST

    picture = Image.effect_noise((256, 256), 80).convert('RGB')
    shown = plots.unnormalised(TRANSFORM_TEST(picture).numpy(), TRANSFORM_TEST)
    assert np.abs(shown - np.asarray(picture) / 255).max() < 1e-5


def test_images_without_a_known_transform():
    unit = np.random.default_rng(0).random((3, 4, 5))
    assert np.allclose(plots.unnormalised(unit), unit.transpose(1, 2, 0))
    stretched = plots.unnormalised(10 * unit - 5)
    assert stretched.min() == 0 and stretched.max() == 1


def test_blank_map_is_said_to_be_blank():
    """Defect: a blank map is drawn as if it meant something."""
    figure, ax = axes_of(plots.plot_map, np.zeros((8, 8)))
    assert 'blank' in texts(figure) and not ax.images
    figure, ax = axes_of(plots.plot_map, np.eye(8))
    assert 'blank' not in texts(figure) and len(ax.images) == 1


def test_one_bright_pixel_does_not_darken_a_map():
    values = np.full((100, 100), 1.0)
    values[0, 0] = 1000
    assert np.median(plots.robustly_scaled(values)) == 1
    assert plots.robustly_scaled(np.eye(300)).max() == 1  # the percentile is 0 here


# --- curves over epochs ------------------------------------------------------------------------------------


def test_best_epoch_is_the_first_of_the_best_on_validation():
    """Defect: an epoch chosen on the test part, whose best is the third here."""
    figure, _ = axes_of(plots.plot_accuracies, make_run())
    assert 'test at the best validation epoch (2): 77.25%' in texts(figure)


def test_constant_predictor_stands_beside_the_accuracy():
    """Defect: accuracy on unbalanced data without the constant predictor's beside it."""
    run = make_run(run={'data': {'test': {'real': 2, 'fake': 1}}})
    figure = plots.new_figure(height=3)
    plots.plot_accuracies(run, figure.subplots(), plot_accuracy_and_loss.scoring.run_constant_accuracy(run))
    assert 'constant predictor, test: 66.67%' in texts(figure)


def test_flat_curves_are_not_blown_up():
    flat = {f'{part}_acc': [50.0, 50.04] for part in ('train', 'val', 'test')}
    _, ax = axes_of(plots.plot_accuracies, make_run(**flat))
    low, high = ax.get_ylim()
    assert high - low >= 20 and low < 50 < high


def test_title_tells_what_the_backbone_began_with():
    for weights in ('random', 'imagenet', 'file:other.pth'):
        figure, _ = axes_of(plots.plot_losses, make_run(run={'backbone_weights': weights}))
        assert f'{weights} backbone' in texts(figure)
    for other in ({'backbone_weights': None}, {}):
        figure, _ = axes_of(plots.plot_losses, make_run(run=other))
        assert 'backbone' not in texts(figure)


def test_not_a_number_in_the_log_is_a_gap():
    figure, _ = axes_of(plots.plot_losses, make_run(train_loss=[0.7, None, 0.5]))
    assert figure


def write_log(path, *runs):
    path.write_text(json.dumps(list(runs)))
    return str(path)


def test_last_run_of_someone_elses_log_is_drawn(workdir, monkeypatch):
    """Their JSON has the assignment's keys and no `run`; the folder for figures does not exist yet."""
    monkeypatch.setattr(plot_accuracy_and_loss, 'FIGURES_DIR', str(workdir / 'new folder' / 'figures'))
    drawn = []
    monkeypatch.setattr(plots, 'plot_losses', lambda run, ax: drawn.append(run['train_loss']))
    log = write_log(workdir / 'theirs.json', make_run(), make_run(train_loss=[3, 2, 1]))
    plot_accuracy_and_loss.main(['-m', 'SimpleNet', '-j', log, '-d', 'fakes_dataset'])
    assert drawn == [[3, 2, 1]]
    names = sorted(path.name for path in (workdir / 'new folder' / 'figures').iterdir())
    assert names == ['fakes_dataset_SimpleNet_accuracies_plot.png', 'fakes_dataset_SimpleNet_losses_plot.png']


@pytest.mark.parametrize(
    ('runs', 'reason'),
    [([], 'no run'), ([{'model': 'M'}], 'lacks'), ([make_run(test_acc=[1])], 'differ in length')],
)
def test_unusable_logs_are_named(workdir, runs, reason):
    log = write_log(workdir / 'log.json', *runs)
    with pytest.raises(UserError, match=reason):
        plot_accuracy_and_loss.main(['-m', 'SimpleNet', '-j', log, '-d', 'fakes_dataset'])


def test_plot_script_as_a_process(run_script, workdir):
    write_log(workdir / 'log.json', make_run())
    done = run_script('plot_accuracy_and_loss.py', '-m', 'MyNet', '-j', 'log.json', '-d', 'fakes_dataset')
    assert 'figures/fakes_dataset_MyNet_losses_plot.png' in done.stdout
    missing = run_script('plot_accuracy_and_loss.py', '-j', 'none.json', check=False)
    assert missing.returncode == 1 and 'Traceback' not in missing.stderr and 'none.json' in missing.stderr


# --- the samples -------------------------------------------------------------------------------------------


def test_samples_are_the_same_for_the_same_seed(workdir, tiny_root):
    def draw(seed: int) -> bytes:
        plot_samples_of_faces_datasets.main(['--seed', str(seed), '--data-root', str(tiny_root)])
        return (workdir / 'figures' / 'datasets_samples.png').read_bytes()

    assert draw(1) == draw(1) != draw(2)


def test_samples_of_unequal_and_of_empty_classes(workdir, tiny_root, monkeypatch):
    """Defect: sample indices taken as halves of the data set, though the classes are unequal."""
    shown = []
    monkeypatch.setattr(plots, 'plot_image', lambda image, ax, label: shown.append((image, label)))
    monkeypatch.setattr(plot_samples_of_faces_datasets, 'open_image', lambda path: path)
    said = []
    monkeypatch.setattr(plots, 'plot_message', lambda text, ax: said.append(text))
    for name in plot_samples_of_faces_datasets.DATASETS:
        for label, count in (('real', 9), ('fake', 2 if name == 'fakes_dataset' else 0)):
            folder = workdir / 'unequal' / name / 'train' / label
            folder.mkdir(parents=True)
            for number in range(count):
                (folder / f'{number}.jpg').touch()
    plot_samples_of_faces_datasets.main(['--data-root', str(workdir / 'unequal')])
    assert all(path.parent.name == ('real', 'fake')[label] for path, label in shown)
    assert [label for _, label in shown] == [0] * 6 + [1] * 2 + [0] * 6
    assert said == ['no fake image']
