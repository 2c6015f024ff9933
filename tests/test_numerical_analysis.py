"""Scores in the data set's order, the two curves, and the record that they come from."""

import json
import warnings

import numpy as np
import pytest
import torch
from conftest import make_dataset
from matplotlib.figure import Figure
from torch import nn
from torch.utils.data import TensorDataset

import numerical_analysis
from forensics import records
from forensics.errors import UserError
from forensics.judging import scoring
from models import MyNet


def legend_of(figure: Figure) -> str:
    return '\n'.join(text.get_text() for text in figure.gca().get_legend().get_texts())


def words_in(figure: Figure) -> str:
    return '\n'.join(text.get_text() for text in figure.gca().texts)


def two_classes(nof_real: int = 40, nof_fake: int = 20):
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1], [nof_real, nof_fake])
    second = rng.normal(size=len(labels)) + 2 * labels
    return 0.5 - second, second, labels


# --- scores ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize('count', [1, 5, 32, 33, 70])
def test_scores_are_the_models_outputs_in_the_data_sets_order(count):
    vectors, labels = torch.randn(count, 3), torch.randint(0, 2, (count,))
    model = nn.Linear(3, 2)
    first, second, true = numerical_analysis.get_soft_scores_and_true_labels(TensorDataset(vectors, labels), model)
    outputs = model(vectors).detach().numpy()
    assert np.allclose(first, outputs[:, 0], atol=1e-6) and np.allclose(second, outputs[:, 1], atol=1e-6)
    assert list(true) == labels.tolist()


def test_scoring_leaves_the_model_as_it_was():
    """Also a model of which one part alone is in evaluation mode, as in fine-tuning with fixed BatchNorm."""
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Dropout(0.5), nn.Linear(4, 2)).train()
    model[1].eval()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    data = TensorDataset(torch.randn(9, 3), torch.zeros(9, dtype=torch.long))
    once = numerical_analysis.get_soft_scores_and_true_labels(data, model)
    twice = numerical_analysis.get_soft_scores_and_true_labels(data, model)
    assert np.array_equal(once[0], twice[0]), 'dropout was active'
    assert [module.training for module in model] == [True, False, True, True] and model.training
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    assert all(parameter.requires_grad and parameter.grad is None for parameter in model.parameters())


def test_scores_of_an_empty_data_set_and_of_one_logit():
    empty = TensorDataset(torch.zeros(0, 3), torch.zeros(0, dtype=torch.long))
    assert [len(part) for part in numerical_analysis.get_soft_scores_and_true_labels(empty, nn.Linear(3, 2))] == [0] * 3
    data = TensorDataset(torch.randn(4, 3), torch.tensor([0, 1, 0, 1]))
    model = nn.Linear(3, 1)
    first, second, _ = numerical_analysis.get_soft_scores_and_true_labels(data, model)
    assert np.allclose(second, model(data.tensors[0]).detach()[:, 0], atol=1e-6) and np.array_equal(first, -second)


# --- curves ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize('kind', [np.asarray, list, torch.as_tensor], ids=['array', 'list', 'tensor'])
def test_roc_shows_the_three_scores(kind):
    first, second, labels = two_classes()
    figure = Figure()
    assert numerical_analysis.plot_roc_curve(figure, kind(first), kind(second), kind(labels)) is figure
    legend = legend_of(figure)
    for scores in (first, second, second - first):
        assert f'AuC {scoring.auc(labels, scores):.3f}, AP {scoring.average_precision(labels, scores):.3f}' in legend
    assert 'decides' in legend


def test_det_is_on_probit_axes():
    first, second, labels = two_classes()
    figure = Figure()
    assert numerical_analysis.plot_det_curve(figure, first, second, labels) is figure
    rate = scoring.equal_error_rate(labels, second)
    assert f'EER {100 * rate:.1f}%' in legend_of(figure)
    assert '5%' in [tick.get_text() for tick in figure.gca().get_xticklabels()]
    # Half of the images lie at 0 on a probit axis.
    ticks = dict(zip((t.get_text() for t in figure.gca().get_xticklabels()), figure.gca().get_xticks(), strict=True))
    assert ticks['50%'] == pytest.approx(0)


def test_pyplot_figures_are_taken_too():
    import matplotlib.pyplot as plt

    figure = plt.figure()
    try:
        assert numerical_analysis.plot_roc_curve(figure, *two_classes()) is figure
    finally:
        plt.close(figure)


@pytest.mark.parametrize('draw', [numerical_analysis.plot_roc_curve, numerical_analysis.plot_det_curve])
def test_one_class_gets_a_readable_message(draw):
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        figure = draw(Figure(), [0.1, 0.2], [0.3, 0.4], [1, 1])
    assert 'all 2 images are fake' in words_in(figure)


@pytest.mark.parametrize('draw', [numerical_analysis.plot_roc_curve, numerical_analysis.plot_det_curve])
@pytest.mark.parametrize('second', [[0, 0, 1, 1], [1, 1, 1, 1]], ids=['perfect', 'constant'])
def test_curves_of_extreme_scores(draw, second):
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        figure = draw(Figure(), [-score for score in second], second, [0, 0, 1, 1])
        figure.draw_without_rendering()
    if draw is numerical_analysis.plot_det_curve:
        assert ('off the axes' in legend_of(figure)) == (second[0] == 0)


# --- the command -------------------------------------------------------------------------------------------


@pytest.fixture
def checkpoint(workdir) -> str:
    torch.manual_seed(0)
    path = workdir / 'checkpoints' / 'fakes_dataset_MyNet_Adam.pt'
    records.save_checkpoint(path, {'model': MyNet().state_dict(), 'run': {'backbone_weights': None}})
    return str(path)


def strict(path):
    """JSON as other programs read it: `inf` and `nan` are no numbers."""
    return json.loads(path.read_text(), parse_constant=lambda name: pytest.fail(f'{name} in {path}'))


def test_command_writes_figures_and_records(checkpoint, workdir, monkeypatch, capsys):
    """Defect: roc_curve's first threshold is infinite, which strict JSON rejects."""
    monkeypatch.setattr(numerical_analysis, 'FIGURES_DIR', 'their figures')
    monkeypatch.setattr(numerical_analysis, 'OUTPUT_DIR', 'their out')
    numerical_analysis.main(['-m', 'MyNet', '-cp', checkpoint, '-d', 'fakes_dataset'])
    assert sorted(path.name for path in (workdir / 'their figures').iterdir()) == [
        f'fakes_dataset_MyNet_{name}.png' for name in ('det_curve', 'reliability', 'risk_and_coverage', 'roc_curve')
    ]
    metrics = strict(workdir / 'their out' / 'metrics' / 'fakes_dataset_MyNet_Adam__fakes_dataset__test.json')
    assert metrics['metrics'].keys() == scoring.METRICS.keys() and (metrics['real'], metrics['fake']) == (6, 6)
    assert metrics['threshold_from'] == 'val' and metrics['metrics']['auc']['constant'] == 0.5
    for part in ('val', 'test'):
        record = strict(workdir / 'their out' / 'scores' / f'fakes_dataset_MyNet_Adam__fakes_dataset__{part}.json')
        assert record['condition'] == part and len(record['checkpoint_sha256']) == 64
        assert record['labels'] == [0] * 6 + [1] * 6 and np.shape(record['scores']) == (12, 2)
        assert record['files'][0] == 'real/000.jpg' and record['files'][-1] == 'fake/005.jpg'
    printed = capsys.readouterr().out
    assert 'always saying "real": 50.00%' in printed and '6 real and 6 fake' in printed


def test_threshold_is_chosen_on_validation(checkpoint, workdir, monkeypatch, capsys):
    """Defect: a threshold chosen on the test part."""
    parts = iter([np.linspace(5, 16, 12), np.linspace(0, 11, 12)])
    labels = np.repeat([0, 1], 6)
    monkeypatch.setattr(
        numerical_analysis.detectors.NetworkDetector, 'outputs_of',
        lambda self, dataset: (np.stack([np.zeros(12), next(parts)], axis=1), labels),
    )  # fmt: skip
    numerical_analysis.main(['-m', 'MyNet', '-cpp', checkpoint, '-d', 'fakes_dataset'])
    printed = capsys.readouterr().out
    # 10.5 separates the validation part; on the test part it finds one fake of six.
    assert 'above 10.500 (chosen on val)' in printed
    assert '58.333' in next(line for line in printed.splitlines() if line.startswith('accuracy, %'))
    assert 'the higher score decides: 58.33%' in printed


def test_data_set_with_one_class_or_without_validation(checkpoint, workdir, tiny_root, capsys):
    root = workdir / 'other root'
    (root / 'odd' / 'test' / 'fake').mkdir(parents=True)
    (root / 'odd' / 'test' / 'real').symlink_to(tiny_root / 'fakes_dataset' / 'test' / 'real')
    numerical_analysis.main(['-m', 'MyNet', '-cpp', checkpoint, '-d', 'odd', '--data-root', str(root)])
    printed = capsys.readouterr().out
    assert 'has no part "val"' in printed and 'all 6 images are real' in printed
    assert (workdir / 'figures' / 'odd_MyNet_roc_curve.png').exists()


def test_as_a_process(run_script, checkpoint, workdir):
    done = run_script('numerical_analysis.py', '-m', 'MyNet', '-cpp', checkpoint, '-d', 'synthetic_dataset')
    assert 'AuC' in done.stdout and 'Warning' not in done.stderr


def test_missing_checkpoint_is_named(workdir):
    with pytest.raises(UserError, match='none.pt'):
        numerical_analysis.main(['-m', 'MyNet', '-cpp', 'none.pt'])


def test_labels_in_arrays_of_one_come_out_flat():
    data = TensorDataset(torch.randn(4, 3), torch.tensor([[0], [1], [0], [1]]))
    first, second, labels = numerical_analysis.get_soft_scores_and_true_labels(data, nn.Linear(3, 2))
    assert first.shape == second.shape == labels.shape == (4,) and labels.tolist() == [0, 1, 0, 1]


def test_a_file_left_out_stands_in_the_record_with_its_reason(checkpoint, workdir, call_main):
    """Defect: the record said that every file could be read."""
    folder = make_dataset(workdir / 'data' / 'own', counts={'test': 2, 'val': 1})
    (folder / 'test' / 'real' / '000.jpg').write_text('no picture')
    line = ['-m', 'MyNet', '-cpp', checkpoint, '-d', 'own', '--data-root', workdir / 'data', '--skip-broken']
    assert call_main(numerical_analysis, *line)[0] == 0
    record = records.read_scores('out/scores/fakes_dataset_MyNet_Adam__own__test.json')
    assert record['files'] == ['real/001.jpg', 'fake/000.jpg', 'fake/001.jpg']
    assert list(record['unreadable']) == ['real/000.jpg'] and record['unreadable']['real/000.jpg']


def test_the_digest_is_of_the_checkpoint_that_was_loaded(checkpoint, workdir, call_main, monkeypatch):
    """Defect: the digest was taken after scoring, when a training may have saved a better epoch."""
    loaded = records.file_digest(checkpoint)
    scores_of = numerical_analysis.detectors.scores_of

    def slowly(model, dataset):
        records.save_checkpoint(checkpoint, {'model': MyNet().state_dict()})
        return scores_of(model, dataset)

    monkeypatch.setattr(numerical_analysis.detectors, 'scores_of', slowly)
    assert call_main(numerical_analysis, '-m', 'MyNet', '-cpp', checkpoint, '-d', 'fakes_dataset')[0] == 0
    record = records.read_scores('out/scores/fakes_dataset_MyNet_Adam__fakes_dataset__test.json')
    assert record['checkpoint_sha256'] == loaded != records.file_digest(checkpoint)


def test_a_record_that_cannot_be_written_is_no_missing_threshold(checkpoint, workdir, call_main):
    """Defect: the first of several processes went on to the test part, and the others waited for it for ever."""
    (workdir / 'out').mkdir(exist_ok=True)
    (workdir / 'out' / 'scores').write_text('in the way')
    status, printed, errors = call_main(numerical_analysis, '-m', 'MyNet', '-cpp', checkpoint, '-d', 'fakes_dataset')
    assert status == 1 and 'Cannot write' in errors and 'No threshold' not in printed
