"""The slides' study: networks with one logit, options that a checkpoint holds, and the search of hyper-parameters."""

import copy
import csv
import json
import shlex
import shutil
from pathlib import Path

import numpy as np
import optuna
import pytest
import sqlalchemy.exc
import torch
from conftest import make_dataset
from torch import nn
from torch.utils.data import TensorDataset

import detectors
import grad_cam_analysis
import hyperparameter_search as study
import numerical_analysis
import options
import saliency_map
import train_main
from forensics import records
from forensics.errors import UserError
from forensics.judging import plots, scoring
from models import MODELS, CustomCNN, ModelSpec, Preprocessing, build_model, build_with_origin, get_spec
from trainer import OPTIMIZERS, Trainer, make_optimizer

ONE_LOGIT = [name for name, spec in MODELS.items() if spec.nof_scores == 1]


@pytest.fixture(scope='module')
def networks():
    torch.manual_seed(0)
    return {name: build_model(name, 'none') for name in ONE_LOGIT}


def pictures(count: int = 6) -> TensorDataset:
    """Small ones: both networks take any size."""
    torch.manual_seed(1)
    return TensorDataset(torch.randn(count, 3, 64, 64), torch.arange(count) % 2)


# --- the two networks ------------------------------------------------------------


def test_the_study_has_its_two_networks_at_224():
    assert set(ONE_LOGIT) == {'CustomCNN', 'XceptionTransfer'}
    assert [get_spec(name).preprocessing.size for name in ONE_LOGIT] == [224, 224]
    assert all(isinstance(get_spec(name).criterion(), nn.BCEWithLogitsLoss) for name in ONE_LOGIT)
    assert isinstance(get_spec('SimpleNet').criterion(), nn.CrossEntropyLoss)
    assert get_spec('XceptionTransfer').preprocessing.mean == (0.5, 0.5, 0.5)  # what its backbone has learned


def test_options_are_those_of_the_class():
    assert get_spec('CustomCNN').options == {'dense': 128, 'dropout': 0.3}
    assert get_spec('XceptionTransfer').options == {'dense': 256, 'dropout': 0.3, 'frozen': True}
    assert (
        get_spec('SimpleNet').options == get_spec('XceptionBased').options == get_spec('timm:resnet10t').options == {}
    )
    model = build_model('CustomCNN', dense=7, dropout=0.5)
    assert (model.head[0].p, model.head[1].out_features) == (0.5, 7)


@pytest.mark.parametrize('own', [{'wings': 2}, {'frozen': True}, {'dense': -3}, {'dense': 'x'}, {'dropout': 7}])
def test_options_that_cannot_be_met_are_readable_errors(own):
    with pytest.raises(UserError, match=next(iter(own))):
        build_model('CustomCNN', **own)


def test_help_names_every_model():
    parser = options.parser('')
    options.add_model(parser)
    assert all(name in parser.format_help() for name in MODELS)


def trained(model: nn.Module) -> tuple[dict, dict]:
    """The state before and after an epoch of training and a validation."""
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    data = pictures()
    trainer = Trainer(model, make_optimizer('SGD', model, 0.1), nn.BCEWithLogitsLoss(), 3, data, data, None)
    trainer.train_one_epoch()
    trainer.validate()
    trainer.train_one_epoch()
    return before, {name: tensor.contiguous() for name, tensor in model.state_dict().items()}


def test_a_frozen_backbone_stays_as_it_is_batchnorm_included(networks):
    model = copy.deepcopy(networks['XceptionTransfer'])
    before, after = trained(model)
    changed = {name.split('.')[0] for name in before if not torch.equal(before[name], after[name])}
    assert changed == {'head'}
    assert model.head.training and not any(module.training for module in model.backbone.modules())


def test_a_fine_tuned_backbone_learns():
    torch.manual_seed(0)
    model = build_model('XceptionTransfer', 'none', dense=8, frozen=False)
    before, after = trained(model)
    assert not torch.equal(before['backbone.conv1.weight'], after['backbone.conv1.weight'])
    assert not torch.equal(before['backbone.bn4.running_mean'], after['backbone.bn4.running_mean'])
    assert model.backbone.bn4.training


def test_xception_transfer_takes_a_file_of_weights(networks, tmp_path):
    backbone = networks['XceptionTransfer'].backbone
    torch.save(backbone.state_dict(), tmp_path / 'x.pth')
    model, origin = build_with_origin('XceptionTransfer', str(tmp_path / 'x.pth'))
    assert torch.equal(model.backbone.conv4.pointwise.weight, backbone.conv4.pointwise.weight)
    assert origin == 'file:x.pth'


@pytest.mark.parametrize('name', OPTIMIZERS)
def test_every_optimizer_trains_what_is_not_frozen(name):
    torch.manual_seed(0)
    model = CustomCNN(dense=4)
    model.conv1.requires_grad_(False)
    optimizer = make_optimizer(name, model, 0.01)
    assert type(optimizer).__name__ == name and optimizer.param_groups[0]['lr'] == 0.01
    data = pictures()
    before = {name: parameter.clone() for name, parameter in model.named_parameters()}
    Trainer(model, optimizer, nn.BCEWithLogitsLoss(), 3, data, data, None).train_one_epoch()
    same = {name for name, parameter in model.named_parameters() if torch.equal(parameter, before[name])}
    assert same == {'conv1.0.weight', 'conv1.1.weight', 'conv1.1.bias'}


# --- one logit everywhere ------------------------------------------------------------


@pytest.mark.parametrize('name', ONE_LOGIT)
def test_scores_of_one_logit_mirror_each_other(networks, name):
    data = pictures()
    first, second, labels = numerical_analysis.get_soft_scores_and_true_labels(data, networks[name])
    with torch.no_grad():
        logits = networks[name].eval()(data.tensors[0])[:, 0].numpy()
    assert np.allclose(second, logits, atol=1e-5) and np.array_equal(first, -second)
    assert scoring.auc(labels, first) + scoring.auc(labels, second) == pytest.approx(1)


@pytest.mark.parametrize('name', ONE_LOGIT)
def test_saliency_of_one_logit(networks, name):
    """Also through a frozen backbone. Both classes' maps are one: the two scores differ in sign alone."""
    samples = pictures(2).tensors[0]
    real, fake = (
        saliency_map.compute_gradient_saliency_maps(samples, torch.tensor([label] * 2), networks[name])
        for label in (0, 1)
    )
    assert real.shape == (2, 64, 64) and real.max() > 0 and torch.equal(real, fake)


@pytest.mark.parametrize('name', ONE_LOGIT)
def test_grad_cam_of_one_logit(networks, name):
    image, label = grad_cam_analysis.get_grad_cam_visualization(pictures(1), networks[name])
    assert image.shape == (64, 64, 3) and image.dtype == np.uint8 and label.shape == (1,)


@pytest.fixture
def own(workdir, monkeypatch) -> Path:
    """A data set that takes a second to train on."""
    monkeypatch.setenv('FACES_DATASETS', str(workdir / 'data'))
    return make_dataset(workdir / 'data' / 'own', counts={'train': 4, 'val': 3, 'test': 2})


def test_custom_cnn_from_training_to_explanations(call_main, own):
    line = ['-d', 'own', '-m', 'CustomCNN', '-o', 'NAdam', '-b', 4, '-e', 1]
    assert call_main(train_main, *line, '--option', 'dense=9', '--no-augmentation')[0] == 0
    path = 'checkpoints/own_CustomCNN_NAdam.pt'
    run = torch.load(path, weights_only=True)['run']
    assert run['model_options'] == {'dense': 9, 'dropout': 0.3} and run['arguments']['no_augmentation'] is True
    detector = detectors.load_network(path, 'CustomCNN')  # from the checkpoint alone
    assert detector.model.head[1].out_features == 9

    line = ['-d', 'own', '-m', 'CustomCNN', '-cpp', path]
    status, output, _ = call_main(numerical_analysis, *line)
    assert status == 0 and '2 real and 2 fake images' in output
    record = records.read_scores('out/scores/own_CustomCNN_NAdam__own__test.json')
    assert np.shape(record['scores']) == (4, 1), 'a softmax of the logit and its mirror image is too sure of itself'
    data = detectors.open_part('own', 'test', detector.preprocessing)
    with torch.no_grad():
        logits = detector.model(torch.stack([picture for picture, _ in data]))
    assert np.allclose(record['scores'], logits.numpy(), atol=1e-5)
    metrics = records.read_json('out/metrics/own_CustomCNN_NAdam__own__test.json')['metrics']
    labels = np.array(record['labels'])
    brier = np.mean((torch.sigmoid(logits[:, 0]).numpy() - labels) ** 2)
    assert np.isclose(metrics['brier']['value'], brier, atol=1e-5), 'the logit and its mirror image count once'
    assert np.allclose(scoring.fake_probability(record['scores']), torch.sigmoid(logits[:, 0]).numpy(), atol=1e-5)

    assert call_main(saliency_map, *line)[0] == call_main(grad_cam_analysis, *line)[0] == 0
    assert len(list(Path('figures').glob('own_CustomCNN_*.png'))) == 8


def test_xception_transfer_is_rebuilt_from_its_checkpoint_alone(call_main, own):
    line = ['-d', 'own', '-m', 'XceptionTransfer', '-o', 'Adam', '-b', 4, '-e', 1, '--backbone-weights', 'none']
    status, _, errors = call_main(train_main, *line, '--option', 'dense=5', '--option', 'dropout=0.1')
    assert status == 0 and 'frozen and its weights are random' in errors
    detector = detectors.load_network('checkpoints/own_XceptionTransfer_Adam.pt', 'XceptionTransfer')
    model = detector.model
    assert (model.head[1].out_features, model.head[0].p, model.frozen) == (5, 0.1, True)
    assert detector.backbone_weights == 'random'


@pytest.mark.parametrize('run', [{'model': 'SimpleNet', 'model_options': {'dense': 4}}, {}, 'theirs', None])
def test_checkpoints_that_say_nothing_of_options_load(run, tmp_path):
    records.save_checkpoint(tmp_path / 'x.pt', {'model': CustomCNN().state_dict(), 'run': run})
    assert detectors.load_network(tmp_path / 'x.pt', 'CustomCNN').model.head[1].out_features == 128


# --- the search ------------------------------------------------------------


LINE = ['-d', 'own', '-m', 'CustomCNN', '-b', 4, '--epochs', 1]


def found(path: str = 'out/own_search.csv') -> list[dict]:
    with open(path, newline='') as opened:
        return list(csv.DictReader(opened))


def settings(rows: list[dict]) -> list[tuple]:
    """In the order of the trials."""
    names = ('optimizer', 'rate', 'augmentation', 'dense', 'dropout')
    return [tuple(row[name] for name in names) for row in sorted(rows, key=lambda row: int(row['trial']))]


def test_search_writes_table_and_figures_without_a_test_part(call_main, own):
    """Defect: an epoch, a threshold or a network chosen on the test part. Here there is none."""
    shutil.rmtree(own / 'test')
    status, output, _ = call_main(study, *LINE, '--trials', 3)
    assert status == 0 and '3 of 3 trials are finished' in output
    rows = found()
    assert len(rows) == 3 and {row['model'] for row in rows} == {'CustomCNN'}
    accuracies = [float(row['accuracy']) for row in rows]
    assert accuracies == sorted(accuracies, reverse=True)
    table = Path('out/own_search.md').read_text()
    assert '| optimizer | rate | [loss, accuracy] | model |' in table and 'always saying "real" gets 50.00%' in table
    assert f'| {rows[0]["optimizer"]} | {float(rows[0]["rate"]):.3g} | [{float(rows[0]["loss"]):.4g}, ' in table
    assert sorted(path.name for path in Path('figures').iterdir()) == [
        'own_CustomCNN_search_history.png', 'own_CustomCNN_search_importance.png'
    ]  # fmt: skip


def test_line_that_the_search_prints_gives_the_trials_numbers(call_main, own):
    _, output, _ = call_main(study, *LINE, '--epochs', 2, '--trials', 2)
    line = shlex.split(output.strip().splitlines()[-1])
    assert line[:2] == ['python', 'train_main.py']
    assert call_main(train_main, *line[2:])[0] == 0
    best = found()[0]
    run = json.loads(Path(f'out/own_CustomCNN_{best["optimizer"]}.json').read_text())[0]
    epoch = records.best_epoch(run)
    assert (epoch + 1, run['val_acc'][epoch]) == (int(best['epoch']), float(best['accuracy']))
    assert run['val_loss'][epoch] == pytest.approx(float(best['loss']), rel=1e-6)


def test_second_start_and_ctrl_c_change_no_trial(call_main, own, monkeypatch, tmp_path):
    line = [*LINE, '--fix', 'dense=8']
    call_main(study, *line, '--trials', 3)
    expected = found()
    shutil.rmtree('out')

    assert call_main(study, *line, '--trials', 1)[0] == 0
    assert settings(found()) == settings(expected)[:1]

    train_one_epoch, stops = Trainer.train_one_epoch, iter([True])

    def press_ctrl_c(trainer):
        if next(stops, False):
            raise KeyboardInterrupt
        return train_one_epoch(trainer)

    monkeypatch.setattr(Trainer, 'train_one_epoch', press_ctrl_c)
    status, output, _ = call_main(study, *line, '--trials', 3)
    assert status == 130 and '1 of 3 trials are finished; the same line repeats' in output
    status, output, _ = call_main(study, *line, '--trials', 3)
    assert status == 0 and output.index('1 of 3') < output.index('3 of 3')
    assert settings(found()) == settings(expected)
    assert [row['accuracy'] for row in found()] == [row['accuracy'] for row in expected]
    assert len(set(settings(expected))) == 3
    trials = optuna.load_study(study_name='own_CustomCNN', storage='sqlite:///out/searches.db').trials
    assert [trial.state.name for trial in trials] == ['COMPLETE', 'FAIL', 'COMPLETE', 'COMPLETE']
    assert trials[2].system_attrs['retry_history'] == [1]
    assert '3 of 2 trials are finished' in call_main(study, *line, '--trials', 2)[1]
    assert len(found()) == 3


@pytest.mark.filterwarnings('ignore:Heartbeat of storage')
def test_killed_trial_is_repeated(call_main, own, monkeypatch):
    """As SIGKILL leaves it: running in the database, without a sign of life."""
    monkeypatch.setattr(study, 'HEARTBEAT', 1)
    monkeypatch.setattr(study, 'GRACE', 1)
    Path('out').mkdir()
    storage = study.open_storage(None)
    killed = optuna.create_study(storage=storage, study_name='own_CustomCNN', direction='maximize').ask()
    suggested = {name: suggest(killed) for name, suggest in {**study.TRAINING, **study.OPTIONS}.items()}
    storage.record_heartbeat(killed._trial_id)
    status, output, _ = call_main(study, *LINE, '--trials', 1)
    assert status == 0 and 'Waiting for trials that run elsewhere' in output
    (row,) = found()
    assert float(row['rate']) == suggested['lr'] and int(row['dense']) == suggested['dense']
    trials = optuna.load_study(study_name='own_CustomCNN', storage=storage).trials
    assert [trial.state.name for trial in trials] == ['FAIL', 'COMPLETE']


def test_two_searches_that_make_a_new_database_at_once(workdir, monkeypatch):
    """Defect: the slower one fails, because a table exists already."""
    create, calls = optuna.storages.RDBStorage, []

    def lose_the_race(*args, **kwargs):
        calls.append(args)
        if len(calls) == 1:
            create(*args, **kwargs)
            raise sqlalchemy.exc.OperationalError('CREATE TABLE studies', {}, Exception('table studies already exists'))
        return create(*args, **kwargs)

    monkeypatch.setattr(optuna.storages, 'RDBStorage', lose_the_race)
    assert study.open_storage(None).get_all_studies() == [] and len(calls) == 2


def test_networks_stand_in_one_table_and_each_is_searched_for_what_it_has(call_main, own):
    call_main(study, *LINE, '--trials', 1)
    assert call_main(study, *LINE, '-m', 'MyNet', '--trials', 1)[0] == 0
    rows = {row['model']: row for row in found()}
    assert rows.keys() == {'CustomCNN', 'MyNet'}
    assert rows['CustomCNN']['dense'] and not rows['MyNet']['dense'] and not rows['CustomCNN']['frozen']


def test_diverged_training_is_a_result_and_no_crash(call_main, own):
    status, output, _ = call_main(study, *LINE, '--trials', 2, '--fix', 'lr=1e30', '--fix', 'optimizer=SGD')
    assert status == 0 and 'No trial was completed' in output
    assert [row['outcome'] for row in found()] == ['diverged'] * 2
    assert '| SGD | 1e+30 | [-, -] | CustomCNN |' in Path('out/own_search.md').read_text()


def test_hopeless_trial_is_given_up(call_main, own, monkeypatch):
    monkeypatch.setattr(optuna.Trial, 'should_prune', lambda trial: True)
    assert call_main(study, *LINE, '--epochs', 3, '--trials', 1)[0] == 0
    (row,) = found()
    assert (row['outcome'], row['epoch'], row['epochs']) == ('given up', '1', '3')


def test_trials_that_cannot_be_compared_are_refused(call_main, own):
    call_main(study, *LINE, '--trials', 1)
    status, _, errors = call_main(study, *LINE, '--trials', 2, '--epochs', 2)
    assert status == 1 and 'another epochs' in errors and '--storage' in errors
    other = ['--storage', 'sqlite:///out/another.db']
    assert call_main(study, *LINE, '--trials', 1, '--epochs', 2, *other)[0] == 0


@pytest.mark.parametrize(
    ('arguments', 'words'),
    [
        (['--fix', 'wings=2'], 'searched for optimizer, lr'),
        (['--fix', 'frozen=true'], 'searched for optimizer, lr'),
        (['--fix', 'lr'], 'NAME=VALUE'),
        (['--fix', 'optimizer=Magic'], 'SGD, Adam'),
        (['--fix', 'augmentation=3'], 'true or false'),
        (['--fix', 'dense=-1'], 'dense'),
        (['--storage', 'nowhere://user:secret@host/x'], 'The --storage cannot be opened'),
        (['--storage', 'sqlite:////no/such/folder/x.db'], 'The --storage cannot be opened'),
        (['--trials', '0'], 'not 1 or more'),
        (['-m', 'NoNet'], 'NoNet'),
    ],
)
def test_wrong_arguments_are_readable_errors(call_main, own, arguments, words):
    status, _, errors = call_main(study, *LINE, *arguments)
    assert status in (1, 2) and words in errors and 'Traceback' not in errors and 'secret' not in errors


def test_xception_transfer_is_searched_frozen_and_fine_tuned(own, monkeypatch):
    """Without training it: what is suggested, and that the hungrier of the two is asked for memory."""
    start = lambda weights: (CustomCNN(dense=4), 'random')  # noqa: E731
    monkeypatch.setitem(MODELS, 'Small', ModelSpec(small_transfer, '', Preprocessing(224, resize=True), start, 1))
    asked = []
    monkeypatch.setattr(study, 'check_memory', lambda model, sample, batch_size: asked.append(model.frozen))
    experiment = study.Experiment(study.parse_args(['-d', 'own', '-m', 'Small']))
    assert list(experiment.space) == ['optimizer', 'lr', 'augmentation', 'frozen']
    assert asked == [False] and experiment.weights_argument() == 'none'
    study.Experiment(study.parse_args(['-d', 'own', '-m', 'Small', '--fix', 'frozen=true']))
    assert asked == [False, True]


def small_transfer(backbone: nn.Module, frozen: bool = True) -> nn.Module:
    backbone.frozen = frozen
    return backbone


# --- figures ------------------------------------------------------------


def row(trial: int, accuracy: float | None, outcome: str = 'complete', optimizer: str = 'Adam') -> dict:
    values = {'trial': trial, 'accuracy': accuracy, 'loss': 0.5, 'outcome': outcome, 'optimizer': optimizer}
    return {column: values.get(column) for column in study.COLUMNS}


def test_history_shows_the_best_so_far_and_what_was_given_up():
    rows = [row(2, 80.0), row(0, 70.0), row(1, 60.0, 'given up', 'SGD'), row(3, None, 'diverged')]
    ax = plots.new_figure(height=3).gca()
    study.plot_history(rows, ('real', 50.0), ax)
    assert ax.lines[0].get_ydata().tolist() == [70, 70, 80]
    names = [text.get_text() for text in ax.get_legend().get_texts()]
    assert names == ['best so far', 'SGD, given up', 'Adam', 'always "real"']
    ax = plots.new_figure(height=3).gca()
    study.plot_history([row(0, None, 'diverged')], ('real', 50.0), ax)
    assert 'No trial' in ax.texts[0].get_text()


def test_importance_of_one_accuracy_is_not_drawn():
    """Defect: a figure drawn as if it meant something."""
    trials = optuna.create_study(direction='maximize')
    ax = plots.new_figure(height=3).gca()
    for lr in (0.1, 0.2):
        distribution = optuna.distributions.FloatDistribution(0, 1)
        trial = optuna.create_trial(params={'lr': lr}, distributions={'lr': distribution}, value=50.0)
        trials.add_trial(trial)
    study.plot_importance(trials, ax)
    assert 'cannot be told' in ax.texts[0].get_text() and not ax.patches


def test_the_best_is_complete_and_has_the_lower_loss():
    rows = [row(0, 90.0, 'given up'), row(1, None, 'diverged'), row(2, 70.0), {**row(3, 70.0), 'loss': 0.1}]
    assert [item['trial'] for item in sorted(rows, key=study.rank)] == [3, 2, 0, 1]
