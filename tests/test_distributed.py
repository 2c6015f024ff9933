"""Two processes on the CPU do what one does. Run by torchrun this file is the work of one of them."""

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
import torch
from conftest import PROJECT, draw, make_dataset
from torch import nn
from torch.utils.data import TensorDataset

import numerical_analysis
import train_main
import xception
from forensics.data import checks
from forensics.errors import UserError
from forensics.running import batches, distributed, runtime, starting
from forensics.running.batches import scores_of
from trainer import METRICS, LoggingParameters, Trainer

TORCHRUN = [sys.executable, '-m', 'torch.distributed.run', '--standalone', '--nproc_per_node=2']
# An absolute value turns the gradient round at zero, and rounding may choose the side: a difference of 1e-7 in the
# weights grows to 5e-6 in three steps, in one process, too. Without absolute values it is a third of that.
TRAIN = ['-m', 'BonusNet', '--option', 'high_pass=false', '-b', '4', '--lr', '0.001']
CHECKPOINT = 'checkpoints/fakes_dataset_BonusNet_SGD.pt'
ANALYSE = ['-m', 'BonusNet', '-cpp', CHECKPOINT]
LOG = 'out/fakes_dataset_BonusNet_SGD.json'
SCORES = 'out/scores/fakes_dataset_BonusNet_SGD__fakes_dataset__test.json'


# --- what both do ------------------------------------------------------------


def plain_net() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 2))


def net_with_batch_norm(affine: bool = True) -> nn.Module:
    norm = nn.BatchNorm2d(4, affine=affine)
    return nn.Sequential(nn.Conv2d(3, 4, 3), norm, nn.ReLU(), nn.Flatten(), nn.Linear(144, 2))


# Of batches of 4 the last one holds a single sample, so that one process has none.
CASES = {
    'mean': (plain_net, nn.CrossEntropyLoss(), 5),
    'sum': (plain_net, nn.CrossEntropyLoss(reduction='sum'), 4),
    'batch smaller than the processes': (plain_net, nn.CrossEntropyLoss(), 1),
    'batch norm': (net_with_batch_norm, nn.CrossEntropyLoss(), 4),
    'batch norm without weights': (lambda: net_with_batch_norm(affine=False), nn.CrossEntropyLoss(), 5),
}


def pictures(count: int) -> TensorDataset:
    generator = torch.Generator().manual_seed(count)
    return TensorDataset(3 + torch.randn(count, 3, 8, 8, generator=generator), torch.arange(count) % 2)


def make_trainer(model: nn.Module, criterion: nn.Module | None = None, batch_size: int = 4) -> Trainer:
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    parts = pictures(13), pictures(7), pictures(5)
    return Trainer(model, optimizer, criterion or nn.CrossEntropyLoss(), batch_size, *parts)


def work(case: str) -> dict:
    """One epoch and what is left of it: the last batch's gradients, the weights, figures, scores."""
    make, criterion, batch_size = CASES[case]
    torch.manual_seed(0)
    trainer = make_trainer(make(), criterion, batch_size)
    seen = [indices for _, _, indices in trainer._batches(trainer.train_dataset, shuffle=True)]
    figures = [*trainer.train_one_epoch(), *trainer.validate(), *trainer.test()]
    torch.manual_seed(1)
    scorer = nn.Sequential(nn.Flatten(), nn.Linear(192, 2))
    return {
        'seen': seen,
        'figures': figures,
        'gradients': {name: parameter.grad.clone() for name, parameter in trainer.model.named_parameters()},
        'state': {name: tensor.clone() for name, tensor in trainer.model.state_dict().items()},
        'scores': scores_of(scorer, pictures(13), batch_size=4),
    }


# --- one of two processes ------------------------------------------------------------


class DropsOut(nn.Module):
    def __init__(self, interrupted_at: int = 0):
        super().__init__()
        self.layers = nn.Sequential(nn.Flatten(), nn.Dropout(0.5), nn.Linear(192, 2))
        self.left = interrupted_at

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.left -= self.training
        if self.left == 0:
            raise KeyboardInterrupt
        return self.layers(x)


def dropout_resumed() -> list[dict]:
    """Figures and weights of an unbroken run and of one that was interrupted in its second epoch and resumed."""
    results = []
    for name, stops in (('unbroken', [0]), ('resumed', [6, 0])):
        logging = LoggingParameters('toy', name, 'SGD', {})
        for stop in stops:
            torch.manual_seed(3)
            trainer = make_trainer(DropsOut(stop))
            try:
                trainer.run(3, logging, resume=True)
            except KeyboardInterrupt:
                assert stop
        log = distributed.from_first(lambda file=f'out/{logging.run_name}.json': json.loads(Path(file).read_text()))
        results.append({'log': {key: log[0][key] for key in METRICS}, 'state': trainer.model.state_dict()})
    return results


def backbones() -> list[str]:
    """What a net begins with if only the first process reaches the hub, and if only the second one does."""

    def hub(reaches: int, name: str, **kwargs) -> tuple[nn.Module, str]:
        if distributed.rank() != reaches:
            raise xception.WeightsUnavailable('no hub')
        return nn.Linear(1, 1), 'imagenet'

    origins = []
    for weights, reaches in ((None, 0), (None, 1), ('imagenet', 0)):
        with mock.patch.object(xception, 'start_from_imagenet', partial(hub, reaches)):
            origins.append(xception.start_backbone('resnet10t', weights)[1])
    return origins


def blindness() -> list[bool]:
    """Of scores that differ between the two processes only, and of equal ones that one process alone sees."""
    found = []
    for scores, batch_size in (([[9.0, -9.0]] * 4 + [[-9.0, 9.0]] * 4, 8), ([[1.0, 2.0]] * 3, 1)):
        data = TensorDataset(torch.tensor(scores), torch.zeros(len(scores), dtype=torch.long))
        trainer = Trainer(nn.Identity(), None, nn.CrossEntropyLoss(), batch_size, None, data, data)
        trainer.test()
        found.append(trainer.blind)
    return found


@distributed.together
def process() -> None:
    if sys.argv[1] == 'not finite':
        model = nn.Linear(4, 2)
        inputs = torch.full((8, 4), float('nan') if distributed.rank() == 1 else 1.0)
        data = TensorDataset(inputs, torch.arange(8) % 2)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        Trainer(model, optimizer, nn.CrossEntropyLoss(), 4, data, data, data).train_one_epoch()
    runtime.seed_everything(0)
    runtime.seed_dropout(0, 0)
    results = {'random': torch.rand(3), 'cases': {case: work(case) for case in CASES}}
    train_main.main.__wrapped__([*TRAIN, '-e', '1'])
    numerical_analysis.main.__wrapped__(ANALYSE)
    results['dropout'] = dropout_resumed()
    results['backbones'] = backbones()
    results['blindness'] = blindness()
    torch.save(results, f'process {distributed.rank()}.pt')


if __name__ == '__main__':
    sys.exit(starting.run(process))


# --- the tests ------------------------------------------------------------


@pytest.fixture(scope='module')
def data_root(tmp_path_factory) -> Path:
    """An odd number of pictures in every part, and unequal classes."""
    root = tmp_path_factory.mktemp('odd')
    folder = make_dataset(root / 'fakes_dataset', counts={'train': 5, 'val': 3, 'test': 3})
    for part in ('train', 'val', 'test'):
        draw(folder / part / 'fake' / 'more.jpg', np.random.default_rng(9), fake=True)
    return root


def start(command: list[str], folder: Path, data_root: Path) -> subprocess.Popen:
    environment = {
        **os.environ, 'FACES_DATASETS': str(data_root), 'FACES_DEVICE': 'cpu', 'HF_HUB_OFFLINE': '1',
        'OMP_NUM_THREADS': '1', 'PYTHONUNBUFFERED': '1', 'PYTHONPATH': str(PROJECT),
    }  # fmt: skip
    return subprocess.Popen(
        [*TORCHRUN, *command], cwd=folder, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )


@pytest.fixture(scope='module')
def together(tmp_path_factory, data_root) -> tuple[Path, list[dict], str]:
    """What two processes left, and what they printed."""
    folder = tmp_path_factory.mktemp('together')
    output, errors = (running := start([__file__, 'everything'], folder, data_root)).communicate(timeout=300)
    assert running.returncode == 0, output + errors
    return folder, [torch.load(folder / f'process {rank}.pt') for rank in range(2)], output


@pytest.fixture
def alone(tmp_path, data_root, monkeypatch) -> Path:
    """A folder in which this process does the same."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv('FACES_DATASETS', str(data_root))
    monkeypatch.setenv('FACES_DEVICE', 'cpu')
    return tmp_path


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """As each of two processes has it: threads may change the last bit of a sum."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize('case', CASES)
def test_two_processes_train_and_evaluate_like_one(together, case):
    expected = work(case)
    first, second = (result['cases'][case] for result in together[1])
    for name in ('gradients', 'state'):
        torch.testing.assert_close(first[name], expected[name], atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(first[name], second[name], atol=0, rtol=0)
    assert first['figures'] == pytest.approx(expected['figures'], abs=1e-6, rel=1e-6)
    assert first['figures'] == second['figures']
    assert first['figures'][1::2] == expected['figures'][1::2], 'accuracies are equal, not close'


@pytest.mark.parametrize('case', CASES)
def test_each_sample_is_seen_once_and_in_the_same_batch(together, case):
    first, second = (result['cases'][case]['seen'] for result in together[1])
    assert [a + b for a, b in zip(first, second, strict=True)] == work(case)['seen']


def test_scores_are_equal_to_the_last_bit_in_both_processes(together):
    with one_thread():
        expected = work('mean')['scores']
    for result in together[1]:
        scores, labels = result['cases']['mean']['scores']
        assert torch.equal(scores, expected[0]) and torch.equal(labels, expected[1])


def test_all_processes_begin_with_what_the_first_can_have(together):
    """Defect: each decided for itself, and two nets of different buffers broke off without a reason."""
    for result in together[1]:
        assert result['backbones'] == ['imagenet', 'random', 'imagenet']


def test_blindness_is_judged_by_the_scores_of_all_processes(together):
    """Defect: the first process judged by its own slice, which was all real, or empty."""
    for result in together[1]:
        assert result['blindness'] == [False, True]


def test_dropout_differs_between_processes_and_is_the_same_after_resuming(together):
    assert not torch.equal(together[1][0]['random'], together[1][1]['random'])
    for result in together[1]:
        unbroken, resumed = result['dropout']
        assert unbroken['log'] == resumed['log']
        torch.testing.assert_close(resumed['state'], unbroken['state'], atol=0, rtol=0)


def test_the_commands_print_and_write_once_and_give_the_numbers_of_one_process(together, alone):
    folder, _, output = together
    assert output.count('Epoch 1/1: ') == output.count('accuracy of always saying') == 1
    train_main.main([*TRAIN, '-e', '1'])
    (run,), (expected,) = (json.loads((place / LOG).read_text()) for place in (folder, alone))
    assert (run['run']['processes'], expected['run']['processes']) == (2, 1)
    for metric in METRICS:
        assert run[metric] == pytest.approx(expected[metric], abs=1e-6)

    Path(CHECKPOINT).write_bytes((folder / CHECKPOINT).read_bytes())
    with one_thread():
        numerical_analysis.main(ANALYSE)
    together_scores, own_scores = (json.loads((place / SCORES).read_text()) for place in (folder, alone))
    assert together_scores == own_scores


def test_a_killed_process_ends_the_others_with_one_message_and_one_process_goes_on(alone, data_root, talkative_train):
    line = [*TRAIN, '-e', '2']
    running = start([talkative_train, *line], alone, data_root)
    for text in running.stdout:
        if text.startswith('epoch 2 train'):
            break
    os.kill(process_of_rank(1, running.pid), signal.SIGKILL)
    output, errors = running.communicate(timeout=60)
    assert running.returncode != 0
    said = re.findall('Another process has ended|Interrupted', output + errors)
    assert len(said) == 1 and '--resume' in output + errors

    train_main.main([*line, '--resume'])
    (resumed,) = json.loads(Path(LOG).read_text())
    Path(LOG).unlink()
    train_main.main(line)
    (unbroken,) = json.loads(Path(LOG).read_text())
    for metric in METRICS:
        assert len(resumed[metric]) == 2
        assert resumed[metric] == pytest.approx(unbroken[metric], abs=1e-5)
    assert resumed['run']['processes'] == 1


def process_of_rank(rank: int, torchrun: int) -> int:
    import psutil

    children = psutil.Process(torchrun).children()
    return next(child.pid for child in children if child.environ().get('LOCAL_RANK') == str(rank))


def test_a_loss_that_is_not_finite_in_one_process_stops_all_with_one_message(alone, data_root):
    output, errors = (running := start([__file__, 'not finite'], alone, data_root)).communicate(timeout=60)
    assert running.returncode != 0
    assert len(re.findall('^error: ', output + errors, re.MULTILINE)) == 1
    assert errors.startswith('error: The loss is nan in epoch 1, batch 1.')
    assert 'The loss is nan' in errors.partition('Root Cause')[2]


# --- without a second process ------------------------------------------------------------


def test_memory_is_counted_for_a_slice_of_the_batch(monkeypatch):
    monkeypatch.setattr(runtime, 'training_memory', lambda model, sample: (10, 100))
    monkeypatch.setattr(runtime, 'free_memory', lambda device: 450)
    monkeypatch.setattr(distributed, 'size', lambda: 2)
    checks.check_memory(nn.Linear(1, 1), torch.zeros(1), 8)
    with pytest.raises(UserError, match='free for each process; -b 8 fits'):
        checks.check_memory(nn.Linear(1, 1), torch.zeros(1), 9)


def test_a_compiled_model_keeps_its_names_and_its_numbers(monkeypatch):
    compile_module = nn.Module.compile
    monkeypatch.setattr(nn.Module, 'compile', lambda model: compile_module(model, backend='eager'))
    torch.manual_seed(0)
    model = net_with_batch_norm()
    names, before = list(model.state_dict()), model[1].running_mean.clone()
    sample = pictures(1)[0][0]
    runtime.compile_model(model, sample)
    assert list(model.state_dict()) == names and model.training and torch.equal(model[1].running_mean, before)
    compiled = make_trainer(model)
    torch.manual_seed(0)
    plain = make_trainer(net_with_batch_norm())
    compiled.seed = plain.seed
    assert compiled.train_one_epoch() == pytest.approx(plain.train_one_epoch(), abs=1e-6)


def test_a_compiler_that_is_missing_is_a_readable_error(monkeypatch):
    def no_compiler(graph, inputs):
        raise RuntimeError('no g++ here')

    compile_module = nn.Module.compile
    monkeypatch.setattr(nn.Module, 'compile', lambda model: compile_module(model, backend=no_compiler))
    with pytest.raises(UserError, match='Leave --compile out'):
        runtime.compile_model(plain_net(), pictures(1)[0][0])


def test_batches_made_ahead_stay_in_order_and_pass_errors_on(monkeypatch):
    monkeypatch.setattr(torch.cuda, 'set_device', lambda device: None)

    def numbers():
        yield from range(5)
        raise UserError('the sixth cannot be read')

    ahead, received = batches.one_ahead(numbers(), torch.device('cuda')), []
    with pytest.raises(UserError, match='sixth'):
        for number in ahead:
            received.append(number)
    assert received == list(range(5))
    assert list(batches.one_ahead(iter('abc'), torch.device('cuda'))) == ['a', 'b', 'c']


def test_a_command_that_cannot_share_its_work_refuses_torchrun(monkeypatch, capsys):
    monkeypatch.setenv('WORLD_SIZE', '2')
    assert starting.run(lambda: pytest.fail('it ran')) == 1
    assert 'torchrun is for train_main.py' in capsys.readouterr().err
    assert numerical_analysis.main.works_together and train_main.main.works_together
