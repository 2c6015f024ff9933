"""Being fast changes no number, and the benchmark that says how fast runs."""

import copy
import json

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader

from benchmarks import speed, textbook
from faces_dataset import FacesDataset
from forensics.running import batches
from models import MODELS
from trainer import Trainer, make_optimizer
from utils import TRANSFORM_TEST, TRANSFORM_TRAIN

PICTURES = torch.randn(3, 3, 256, 256, generator=torch.Generator().manual_seed(0))


class Plain(nn.Module):
    """A small network with BatchNorm, the textbook's way."""

    def __init__(self):
        super().__init__()
        # No bias before the normalisation: its gradient is rounding alone, which Adam would make steps of.
        self.convolution = nn.Conv2d(3, 8, 5, stride=2, bias=False)
        self.normalisation = nn.BatchNorm2d(8)
        self.pool, self.relu = nn.MaxPool2d(4), nn.ReLU()
        self.head = nn.Linear(8, 2)

    def forward(self, x):
        return self.head(self.pool(self.relu(self.normalisation(self.convolution(x)))).mean((2, 3)))


class PoolingFirst(Plain):
    def forward(self, x):
        return self.head(self.relu(self.pool(self.normalisation(self.convolution(x)))).mean((2, 3)))


@pytest.mark.parametrize('networks', [(textbook.PlainSimpleNet, MODELS['SimpleNet'].build), (Plain, PoolingFirst)])
def test_one_epoch_has_the_textbook_loops_losses(tiny_root, networks):
    """Same seed, order and augmentations: float32's rounding is the only difference."""
    root = tiny_root / 'fakes_dataset'
    parts = {
        part: FacesDataset(str(root / part), TRANSFORM_TRAIN if part == 'train' else TRANSFORM_TEST)
        for part in ('train', 'val', 'test')
    }
    torch.manual_seed(3)
    plain = networks[0]()
    for layer in plain.modules():
        # From PyTorch's small weights, or SimpleNet's first losses are so high that rounding grows with them.
        getattr(layer, 'reset_parameters', lambda: None)()
    model = networks[1]()
    model.load_state_dict(copy.deepcopy(plain.state_dict()))
    criterion = nn.CrossEntropyLoss()
    trainer = Trainer(model, make_optimizer('Adam', model, 0.001), criterion, 8, *parts.values())

    # The textbook meets our order of the pictures, and each picture under the seed that our epoch gives it.
    order = trainer._batches(parts['train'], shuffle=True)
    train = textbook.Faces(root / 'train', textbook.TRAIN)
    loader = DataLoader(batches.SeededItems(train, order.seeds), batch_sampler=order.index_batches)
    optimizer = torch.optim.Adam(plain.parameters(), lr=0.001)
    expected = [textbook.train_epoch(plain, loader, optimizer, criterion)]
    for part in ('val', 'test'):
        expected.append(textbook.evaluate(plain, DataLoader(textbook.Faces(root / part, textbook.TEST), 8), criterion))

    ours = [trainer.train_one_epoch(), trainer.validate(), trainer.test()]
    assert batches.ByteCache.of(parts['train']).complete  # the fast path, not the plain one, was compared
    for (loss, accuracy), (expected_loss, expected_accuracy) in zip(ours, expected, strict=True):
        assert loss == pytest.approx(expected_loss, abs=1e-4)
        assert accuracy == expected_accuracy


@pytest.mark.parametrize('name', ['SimpleNet', 'MyNet'])
def test_the_textbooks_network_is_the_same_function(name):
    torch.manual_seed(0)
    plain, ours = textbook.MODELS[name]().eval(), MODELS[name].build().eval()
    ours.load_state_dict(plain.state_dict())
    with torch.no_grad():
        torch.testing.assert_close(ours(PICTURES), plain(PICTURES), atol=1e-5, rtol=1e-5)


def test_the_textbooks_saliency_maps_have_our_means(tiny_root):
    from saliency_map import mean_saliency_maps

    torch.manual_seed(0)
    model = textbook.PlainMyNet()
    folder = tiny_root / 'fakes_dataset' / 'val'
    expected = textbook.saliency_maps(model, textbook.Faces(folder, textbook.TEST))
    ours = mean_saliency_maps(FacesDataset(str(folder), TRANSFORM_TEST), model)
    for of_class, (mean, count) in zip(expected.values(), ours.values(), strict=True):
        assert len(of_class) == count
        # Not each pixel: where two neighbours are equal but for rounding, the pooling may take the other one.
        assert abs(mean - of_class.mean(axis=0)).mean() < 1e-3 * mean.mean()


def test_the_benchmark_runs(tmp_path, capsys):
    """A trial of it: what a loaded machine measures is asserted nowhere."""
    record, drawing = tmp_path / 'speed.json', tmp_path / 'speed.png'
    assert speed.main(['--quick', '--rows', 'mynet', '--json', str(record), '--figure', str(drawing)]) == 0
    assert 'MyNet, later epochs' in capsys.readouterr().out
    (row,) = json.loads(record.read_text())['rows']
    assert all(len(seconds) == 2 and min(seconds) > 0 for seconds in row['seconds'].values())
    assert row['seconds'].keys() == {'textbook', 'ours', 'compute', 'product', 'decode'}
    assert row['figures'][0]['value'] == row['images_a_second']['ours'] / row['images_a_second']['textbook']
    assert drawing.stat().st_size > 5000


def test_bf16_is_left_out_where_the_processor_does_it_in_software(monkeypatch, capsys):
    """It would take hours, and measure nothing that anybody should use."""
    asked = []
    monkeypatch.setattr(speed.Workers, '__init__', lambda self, root: None)
    monkeypatch.setattr(speed.Workers, 'describe', lambda self: {'threads': 2, 'slow_in_bf16': True})
    monkeypatch.setattr(speed.Workers, 'close', lambda self: None)
    monkeypatch.setattr(speed.Workers, 'turn', lambda self, row, side: asked.append(side) or 1.0)
    assert speed.main(['--rows', 'xception-evaluation', '--repeats', '1']) == 0
    assert asked == ['textbook', 'ours', 'compute', 'product']
    assert 'bf16 is left out' in capsys.readouterr().out


def test_the_benchmark_times_run_mes_lines():
    words = speed.whole_commands()
    assert [line[0] for line in words].count('train_main.py') == 3
    assert set(speed.TEXTBOOK_COMMANDS) == set(textbook.COMMANDS)
    assert len(words) == 15 and words[-1][0] == 'grad_cam_analysis.py'
