import json
import math
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.utils.data import Dataset, TensorDataset

import trainer as trainer_module
from forensics.errors import UserError
from trainer import LoggingParameters, Trainer, make_optimizer

LOGGING = LoggingParameters('Toy', 'points', 'SGD', {'lr': 0.1})


@pytest.fixture(autouse=True)
def scratch(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)


def points(count: int, seed: int = 0) -> TensorDataset:
    inputs = torch.randn(count, 4, generator=torch.Generator().manual_seed(seed))
    return TensorDataset(inputs, (inputs[:, 0] > 0).long())


def make_trainer(model=None, criterion=None, batch_size=8, sizes=(50, 13, 11), optimizer=True, **options) -> Trainer:
    model = model or nn.Linear(4, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9) if optimizer is True else optimizer
    parts = [points(size, seed) for seed, size in enumerate(sizes)]
    return Trainer(model, optimizer, criterion or nn.CrossEntropyLoss(), batch_size, *parts, **options)


class Fixed(nn.Module):
    """Returns its input as scores."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))

    def forward(self, x):
        return x + 0 * self.weight


def test_loss_is_the_mean_over_samples_and_a_short_last_batch_weighs_what_it_holds():
    scores = torch.tensor([[0.0, 0], [0, 0], [0, 0], [0, 0], [9, 0]])
    dataset = TensorDataset(scores, torch.tensor([0, 0, 0, 0, 1]))
    expected = nn.functional.cross_entropy(scores, dataset.tensors[1]).item()
    trainer = Trainer(Fixed(), None, nn.CrossEntropyLoss(), 4, dataset, dataset, dataset)
    loss, accuracy = trainer.evaluate_model_on_dataloader(dataset)
    assert loss == pytest.approx(expected, rel=1e-6)
    assert accuracy == 80
    assert trainer.validate() == trainer.test() == (loss, accuracy)
    trainer.optimizer = torch.optim.SGD(trainer.model.parameters(), lr=0.0)
    assert trainer.train_one_epoch() == pytest.approx((loss, accuracy), rel=1e-6)


def test_loss_divided_by_samples_is_not_too_small_with_a_summing_criterion():
    dataset = points(10)
    by_mean, by_sum = (
        Trainer(Fixed2(), None, nn.CrossEntropyLoss(reduction=reduction), 4, dataset, dataset, dataset).test()
        for reduction in ('mean', 'sum')
    )
    assert by_mean == pytest.approx(by_sum, rel=1e-6)


class Fixed2(Fixed):
    def forward(self, x):
        return x[:, :2] + 0 * self.weight


@pytest.mark.parametrize('samples', [1, 2, 7, 8, 9])
def test_training_with_fewer_than_ten_batches(samples):
    loss, accuracy = make_trainer(sizes=(samples, 1, 1)).train_one_epoch()
    assert math.isfinite(loss) and 0 <= accuracy <= 100


def test_one_epoch_equals_a_plain_loop():
    ours = make_trainer()
    reference = nn.Linear(4, 2)
    reference.load_state_dict(ours.model.state_dict())
    optimizer = torch.optim.SGD(reference.parameters(), lr=0.1, momentum=0.9)
    losses = []
    for batch in ours._batches(ours.train_dataset, shuffle=True).index_batches:
        inputs, labels = ours.train_dataset[batch]
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(reference(inputs), labels)
        loss.backward()
        optimizer.step()
        losses += [loss.item()] * len(batch)
    loss, _ = ours.train_one_epoch()
    assert loss == pytest.approx(sum(losses) / len(losses), abs=1e-6)
    torch.testing.assert_close(ours.model.weight, reference.weight)


def test_evaluation_changes_nothing_and_uses_no_dropout():
    model = nn.Sequential(nn.BatchNorm1d(4), nn.Dropout(0.9), nn.Linear(4, 2))
    trainer = make_trainer(model)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    assert trainer.validate() == trainer.validate()
    assert model.training
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())


def test_another_criterion_with_one_hot_labels():
    dataset = TensorDataset(torch.eye(2), torch.eye(2))
    trainer = Trainer(Fixed(), None, nn.MSELoss(), 1, dataset, dataset, dataset)
    assert trainer.test() == (0.0, 100.0)


def test_a_model_with_one_logit():
    dataset = TensorDataset(torch.tensor([[3.0], [-3], [2]]), torch.tensor([1, 0, 0]))
    loss, accuracy = Trainer(Fixed(), None, nn.BCEWithLogitsLoss(), 2, None, None, dataset).test()
    assert accuracy == pytest.approx(200 / 3)
    assert loss == pytest.approx((2 * math.log1p(math.exp(-3)) + math.log1p(math.exp(2))) / 3, rel=1e-6)


@pytest.mark.parametrize('bias, said', [(-1e9, 2), (0, 0)])
def test_a_network_whose_relus_died_is_told_of_after_each_epoch(bias, said, capsys):
    model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
    nn.init.constant_(model[0].bias, bias)
    make_trainer(model).run(2, LOGGING)
    assert capsys.readouterr().out.count('All test images got the same answer') == said


SAME, NEARLY, OTHER = [0.3, -0.2], [0.3, -0.2 + 1e-5], [0.4, -0.2]


@pytest.mark.parametrize(
    'scores, blind',
    [
        ([SAME] * 6, True),
        ([SAME, NEARLY] * 3, True),  # a short batch is rounded otherwise, too
        ([SAME] * 4 + [OTHER], False),
        ([OTHER] + [SAME] * 4, False),
        ([SAME, OTHER] * 3, False),
        ([[0.3, -0.2], [0.3, -0.1]], False),
        ([[0.3, -math.inf], [0.7, -math.inf]], False),
        ([SAME], False),  # one sample says nothing
    ],
)
def test_blind_means_the_same_scores_for_all_samples(scores, blind):
    dataset = TensorDataset(torch.tensor(scores), torch.zeros(len(scores), dtype=torch.long))
    trainer = Trainer(Fixed(), None, nn.CrossEntropyLoss(), 4, None, dataset, dataset)
    trainer.test()
    assert trainer.blind is blind


@pytest.mark.parametrize('blind', [True, False])
def test_blind_speaks_of_the_last_evaluation(blind):
    validation, test = (
        TensorDataset(torch.tensor([[3.0], [3.0 if same else -2.0]]), torch.tensor([1, 0]))
        for same in (not blind, blind)
    )
    trainer = Trainer(Fixed(), None, nn.BCEWithLogitsLoss(), 2, None, validation, test)
    trainer.validate()
    assert trainer.blind is not blind
    trainer.test()
    assert trainer.blind is blind


def test_run_logs_and_saves_what_the_assignment_says():
    make_trainer().run(3, LOGGING)
    (run,) = json.loads(Path('out/points_Toy_SGD.json').read_text())
    assert (run['model'], run['dataset']) == ('Toy', 'points')
    assert run['optimizer'] == {'name': 'SGD', 'params': {'lr': 0.1}}
    assert all(len(run[metric]) == 3 for metric in trainer_module.METRICS)
    best = max(run['val_acc'])
    checkpoint = torch.load('checkpoints/points_Toy_SGD.pt', weights_only=True)
    assert checkpoint['val_acc'] == best and checkpoint['epoch'] == run['val_acc'].index(best) + 1
    assert checkpoint['test_acc'] == run['test_acc'][checkpoint['epoch'] - 1]
    make_trainer().run(1, LOGGING)
    assert len(json.loads(Path('out/points_Toy_SGD.json').read_text())) == 2


def test_best_checkpoint_does_not_alias_the_live_weights():
    trainer = make_trainer()
    accuracies = iter([90.0, 10.0])
    weights = []
    trainer.validate = lambda: (weights.append(trainer.model.weight.detach().clone()), (0.5, next(accuracies)))[1]
    trainer.run(2, LOGGING)
    saved = torch.load('checkpoints/points_Toy_SGD.pt', weights_only=True)
    assert saved['epoch'] == 1
    assert torch.equal(saved['model']['weight'], weights[0]) and not torch.equal(weights[0], weights[1])


def test_folders_patched_in_the_module_are_used(monkeypatch, tmp_path):
    monkeypatch.setattr(trainer_module, 'OUTPUT_DIR', str(tmp_path / 'a' / 'logs'))
    monkeypatch.setattr(trainer_module, 'CHECKPOINT_DIR', str(tmp_path / 'a' / 'weights'))
    make_trainer().run(1, LOGGING)
    assert (tmp_path / 'a/logs/points_Toy_SGD.json').exists()
    assert (tmp_path / 'a/weights/points_Toy_SGD.pt').exists()
    assert not (tmp_path / 'out').exists() and not (tmp_path / 'checkpoints').exists()


def test_write_output_appends():
    for number in range(2):
        Trainer.write_output(LOGGING, {'number': number})
    assert [run['number'] for run in json.loads(Path('out/points_Toy_SGD.json').read_text())] == [0, 1]


def metrics_of(path='out/points_Toy_SGD.json'):
    return [{metric: run[metric] for metric in trainer_module.METRICS} for run in json.loads(Path(path).read_text())]


def test_the_same_seed_gives_the_same_log():
    for _ in range(2):
        torch.manual_seed(5)
        make_trainer(nn.Sequential(nn.Dropout(0.2), nn.Linear(4, 2))).run(2, LOGGING)
    first, second = metrics_of()
    assert first == second
    torch.manual_seed(6)
    make_trainer(nn.Sequential(nn.Dropout(0.2), nn.Linear(4, 2))).run(2, LOGGING)
    assert metrics_of()[-1] != first


class StopsAt(nn.Module):
    """Presses Ctrl-C in the middle of an epoch."""

    def __init__(self, batch):
        super().__init__()
        self.layers = nn.Sequential(nn.BatchNorm1d(4), nn.Dropout(0.3), nn.Linear(4, 2))
        self.left = batch

    def forward(self, x):
        self.left -= self.training
        if self.left == 0:
            raise KeyboardInterrupt
        return self.layers(x)


RECIPES = {'plain': {}, 'one-cycle, averaged': {'schedule': 'one-cycle', 'average': 0.9}}


@pytest.mark.parametrize('recipe', RECIPES.values(), ids=RECIPES)
@pytest.mark.parametrize('batch', [2, 9, 17, 26])
def test_an_interrupted_and_resumed_run_equals_an_unbroken_one(batch, recipe, capsys):
    torch.manual_seed(1)
    make_trainer(StopsAt(-1), **recipe).run(4, LOGGING)
    expected = metrics_of()
    weights = final_weights()
    for file in ('out/points_Toy_SGD.json', 'checkpoints/points_Toy_SGD.last.pt'):
        Path(file).unlink()

    torch.manual_seed(1)
    with pytest.raises(KeyboardInterrupt):
        make_trainer(StopsAt(batch), **recipe).run(4, LOGGING)
    assert '--resume' in capsys.readouterr().out
    torch.manual_seed(1)
    make_trainer(StopsAt(-1), **recipe).run(4, LOGGING, resume=True)
    assert metrics_of() == expected
    resumed = final_weights()
    assert resumed.keys() == weights.keys()
    assert all(torch.equal(resumed[name], weights[name]) for name in weights)


def final_weights() -> dict[str, torch.Tensor]:
    state = torch.load('checkpoints/points_Toy_SGD.last.pt', weights_only=True)
    averaged = {f'averaged {name}': tensor for name, tensor in (state['averaged'] or {}).items()}
    return {**state['model'], **averaged}


def test_one_cycle_rises_to_the_rate_and_ends_near_zero():
    trainer = make_trainer(schedule='one-cycle')
    rates = []
    trainer.optimizer.register_step_pre_hook(lambda optimizer, *_: rates.append(optimizer.param_groups[0]['lr']))
    trainer.run(4, LOGGING)
    assert len(rates) == 4 * 7
    assert max(rates) == pytest.approx(0.1, rel=0.05)
    assert 0 < rates.index(max(rates)) < len(rates) / 2
    assert rates[-1] < 0.001 < rates[0] < 0.01


def test_the_average_is_what_its_formula_says_and_is_judged_and_saved():
    model = nn.Linear(4, 2)
    trainer = make_trainer(model, average=0.25)
    seen = []
    trainer.optimizer.register_step_post_hook(lambda *_: seen.append(model.weight.detach().clone()))
    trainer.run(1, LOGGING)
    expected = seen[0]
    for steps, weight in enumerate(seen[1:], start=1):
        stays = min(0.25, (1 + steps) / (10 + steps))
        expected = stays * expected + (1 - stays) * weight
    saved = torch.load('checkpoints/points_Toy_SGD.pt', weights_only=True)['model']['weight']
    assert torch.allclose(saved, expected, atol=1e-6)
    assert not torch.allclose(saved, model.weight, atol=1e-3)
    judged = Trainer(trainer.judged, None, nn.CrossEntropyLoss(), 8, None, trainer.validation_dataset, None)
    assert metrics_of()[-1]['val_loss'][-1] == judged.validate()[0]


def test_an_average_over_many_steps_forgets_the_first_weights_in_a_short_run():
    """Of 0.999 nine tenths would still be first weights after a hundred steps: the run seemed not to learn."""
    averaged, trained = [torch.zeros(1)], [torch.ones(1)]
    update = trainer_module.running_average(0.999)
    first = 1.0
    for steps in range(1, 101):
        update(averaged, trained, torch.tensor(steps))
        first *= (1 + steps) / (10 + steps)
    assert averaged[0].item() == pytest.approx(1 - first, abs=1e-6) and first < 1e-6
    update(averaged, [torch.zeros(1)], torch.tensor(10**6))
    assert averaged[0].item() == pytest.approx(0.999, abs=1e-6)


@pytest.mark.parametrize(('name', 'given', 'kept'), [('AdamW', None, 0.01), ('Adam', None, 0), ('Adam', 0.1, 0.1)])
def test_weight_decay_is_the_optimizers_own_unless_given(name, given, kept):
    optimizer = make_optimizer(name, nn.Linear(4, 2), 0.1, weight_decay=given)
    assert optimizer.param_groups[0]['weight_decay'] == kept


def test_resuming_a_finished_run_says_so_and_logs_nothing(capsys):
    make_trainer().run(1, LOGGING)
    make_trainer().run(1, LOGGING, resume=True)
    assert 'finished' in capsys.readouterr().out
    assert len(metrics_of()) == 1


def test_a_new_run_killed_in_its_first_epoch_does_not_resume_an_older_one():
    make_trainer(StopsAt(-1)).run(1, LOGGING)
    with pytest.raises(KeyboardInterrupt):
        make_trainer(StopsAt(2)).run(1, LOGGING)
    make_trainer(StopsAt(-1)).run(1, LOGGING, resume=True)
    assert len(metrics_of()) == 2


def test_resuming_nothing_starts_from_the_beginning(capsys):
    make_trainer().run(1, LOGGING, resume=True)
    assert 'from the beginning' in capsys.readouterr().out
    assert len(metrics_of()) == 1


def test_a_run_killed_after_its_log_was_written_is_not_logged_twice(monkeypatch):
    trainer = make_trainer()
    save_last = trainer._save_last

    def die_at_the_end(*args, finished):
        if finished:
            raise KeyboardInterrupt
        save_last(*args, finished=finished)

    trainer._save_last = die_at_the_end
    with pytest.raises(KeyboardInterrupt):
        trainer.run(2, LOGGING)
    make_trainer().run(2, LOGGING, resume=True)
    assert len(metrics_of()) == 1


def test_data_that_changed_under_a_resumed_run_are_noticed():
    make_trainer().run(1, LOGGING, facts={'data': {'train': {'fingerprint': 'a'}}})
    with pytest.raises(UserError, match='the data changed since \\(train\\)'):
        make_trainer().run(1, LOGGING, facts={'data': {'train': {'fingerprint': 'b'}}}, resume=True)


class Named(Dataset):
    def __len__(self):
        return 3

    def __getitem__(self, index):
        return torch.full((4,), float('nan') if index == 1 else 1.0), 0

    def image_path(self, index):
        return f'face{index}.jpg'


def test_a_loss_that_is_not_finite_stops_with_the_file_and_leaves_the_last_checkpoint():
    make_trainer().run(1, LOGGING)
    before = Path('checkpoints/points_Toy_SGD.pt').read_bytes()
    trainer = make_trainer(batch_size=1)
    trainer.train_dataset = Named()
    with pytest.raises(UserError, match='epoch 1, batch .*face1.jpg'):
        trainer.run(1, LOGGING)
    assert Path('checkpoints/points_Toy_SGD.pt').read_bytes() == before
    assert torch.isfinite(trainer.model.weight).all()


def test_a_loss_that_is_not_finite_in_an_evaluation_names_the_batch_and_leaves_the_mode():
    trainer = make_trainer(batch_size=1)
    with pytest.raises(UserError, match='evaluation after epoch 0, batch 2. .*face1.jpg') as stopped:
        trainer.evaluate_model_on_dataloader(Named())
    assert trainer.model.training and stopped


def test_bf16_is_close_to_float32():
    torch.manual_seed(0)
    exact = make_trainer().train_one_epoch()
    torch.manual_seed(0)
    assert make_trainer(precision='bf16').train_one_epoch()[0] == pytest.approx(exact[0], rel=0.05)


def test_a_trainer_that_was_used_before_begins_a_new_run():
    trained = make_trainer()
    trained.train_one_epoch()
    trained.run(2, LOGGING)
    trained.run(1, LOGGING)
    assert [len(run['train_loss']) for run in metrics_of()] == [2, 1]


class LastStepDiverges(torch.optim.SGD):
    def __init__(self, model):
        super().__init__(model.parameters(), lr=0.1)
        self.steps = 0

    def step(self, closure=None):
        self.steps += 1
        if self.steps == 3:
            for parameter in self.param_groups[0]['params']:
                parameter.data.fill_(float('nan'))


def test_a_model_that_diverged_in_the_last_step_is_not_saved():
    make_trainer().run(1, LOGGING)
    before = Path('checkpoints/points_Toy_SGD.pt').read_bytes()
    model = nn.Linear(4, 2)
    bad = make_trainer(model, optimizer=LastStepDiverges(model), sizes=(24, 13, 11))
    with pytest.raises(trainer_module.LossNotFinite, match='evaluation after epoch 1, batch 1.*sample 0'):
        bad.run(1, LOGGING)
    assert bad.optimizer.steps == 3
    assert Path('checkpoints/points_Toy_SGD.pt').read_bytes() == before


def test_a_damaged_log_is_told_before_the_training():
    trained = make_trainer()
    Path('out').mkdir()
    Path('out/points_Toy_SGD.json').write_text('[{"cut')
    with pytest.raises(UserError, match='points_Toy_SGD.json'):
        trained.run(1, LOGGING)
    assert trained.epoch == 0
