"""Regression tests of defects that a review found, each named after its defect."""

import argparse
import sys

import numpy as np
import pytest
import torch
from conftest import make_dataset
from PIL import Image
from torch import nn
from torch.utils.data import DataLoader, Dataset, TensorDataset
from torchvision import transforms

import bonus_main
import detectors
import grad_cam_analysis
import numerical_analysis
import options
import saliency_map
import train_main
from forensics import records
from forensics.errors import UserError
from forensics.running import runtime, starting
from forensics.running.batches import Batches
from models import MyNet, build_model
from trainer import LoggingParameters, LossNotFinite, Trainer

LOGGING = LoggingParameters('Toy', 'toys', 'SGD', {})


def toy(lr: float = 0.1) -> Trainer:
    torch.manual_seed(0)
    data = TensorDataset(torch.randn(12, 3), torch.randint(0, 2, (12,)))
    model = nn.Linear(3, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=lr)
    return Trainer(model, optimizer, nn.CrossEntropyLoss(), 4, data, data, data)


def test_a_trainer_that_was_used_before_begins_a_new_run(workdir):
    trained = toy()
    trained.train_one_epoch()
    trained.run(2, LOGGING)
    trained.run(1, LOGGING)
    assert [len(run['train_loss']) for run in records.read_runs('out/toys_Toy_SGD.json')] == [2, 1]


def test_a_model_that_diverged_in_the_last_step_is_not_saved(workdir):
    toy().run(1, LOGGING)
    good = records.load_checkpoint('checkpoints/toys_Toy_SGD.pt')['model']
    bad = toy()
    bad.optimizer = LastStepDiverges(bad.model)
    with pytest.raises(LossNotFinite, match='evaluation after epoch 1, batch 1.*sample 0'):
        bad.run(1, LOGGING)
    kept = records.load_checkpoint('checkpoints/toys_Toy_SGD.pt')['model']
    assert all(torch.equal(good[name], kept[name]) for name in good)


class LastStepDiverges(torch.optim.SGD):
    def __init__(self, model):
        super().__init__(model.parameters(), lr=0.1)
        self.steps = 0

    def step(self, closure=None):
        self.steps += 1
        if self.steps == 3:
            for parameter in self.param_groups[0]['params']:
                parameter.data.fill_(float('nan'))


def test_a_damaged_log_is_told_before_the_training(workdir):
    trained = toy()
    (workdir / 'out').mkdir()
    (workdir / 'out' / 'toys_Toy_SGD.json').write_text('[{"cut')
    with pytest.raises(UserError, match='toys_Toy_SGD.json'):
        trained.run(1, LOGGING)
    assert trained.epoch == 0


@pytest.fixture
def checkpoint(workdir):
    model = build_model('MyNet')
    records.save_checkpoint('checkpoints/x.pt', {'model': model.state_dict()})
    return 'checkpoints/x.pt'


ANALYSES = [numerical_analysis, saliency_map, grad_cam_analysis]


@pytest.mark.parametrize('command', ANALYSES)
def test_images_of_another_size_are_named_in_every_analysis(command, checkpoint, call_main, workdir, monkeypatch):
    make_dataset(workdir / 'my data' / 'other', counts={'test': 1, 'val': 1}, size=200)
    status, _, said = call_main(
        command, '-d', 'other', '-m', 'MyNet', '-cpp', checkpoint, '--data-root', workdir / 'my data'
    )
    assert status == 1 and '200x200 pixels' in said
    assert f"--from '{workdir}/my data/other'" in said  # a path with a space can be pasted, too


def test_the_bonus_network_refuses_images_of_another_size(call_main, workdir):
    make_dataset(workdir / 'data' / 'fakes_dataset', counts={'test': 1}, size=200)
    status, _, said = call_main(bonus_main, '--data-root', workdir / 'data')
    assert status == 1 and '200x200 pixels' in said


@pytest.mark.parametrize('command', ANALYSES)
def test_what_was_trained_with_skip_broken_can_be_analysed(command, checkpoint, call_main, workdir):
    folder = make_dataset(workdir / 'data' / 'own', counts={'test': 2, 'val': 1})
    (folder / 'test' / 'real' / '000.jpg').write_text('no picture')
    line = ['-d', 'own', '-m', 'MyNet', '-cpp', checkpoint, '--data-root', workdir / 'data']
    status, _, said = call_main(command, *line)
    assert status == 1 and '000.jpg' in said and '--skip-broken' in said
    status, printed, _ = call_main(command, *line, '--skip-broken')
    assert status == 0 and str(folder / 'test') in printed  # and says where the data lies


def test_a_containers_file_cache_is_free_memory(monkeypatch, tmp_path):
    files = {'memory.max': '12000000000', 'memory.current': '7000000000',
             'memory.stat': 'anon 1000000000\ninactive_file 6000000000'}  # fmt: skip
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    monkeypatch.setattr(runtime, 'CGROUP', tmp_path)
    monkeypatch.setattr('psutil.virtual_memory', lambda: type('Memory', (), {'available': 10**12}))
    assert runtime.free_memory(torch.device('cpu')) == 11_000_000_000


def test_the_way_to_split_a_data_set_leads_on(call_main, workdir, run_script, monkeypatch):
    folder = workdir / 'my data' / 'fakes_dataset'
    make_dataset(folder, counts={'all': 12}, size=64)
    (folder / 'all' / 'real').rename(folder / 'real')
    (folder / 'all' / 'fake').rename(folder / 'fake')
    _, _, said = call_main(train_main, '-d', 'fakes_dataset', '--data-root', folder.parent)
    assert f"--real '{folder}/real'" in said
    assert '--output split_datasets/fakes_dataset`' in said and '`export FACES_DATASETS=split_datasets`' in said


def test_a_checkpoint_with_numpy_accuracies_loads(workdir):
    torch.save({'model': MyNet().state_dict(), 'val_acc': np.mean([3, 4]), 'epoch': np.int64(3)}, 'x.pt')
    assert records.load_checkpoint('x.pt')['val_acc'] == 3.5
    assert isinstance(detectors.load_network('x.pt', 'MyNet').model, MyNet)


def test_a_checkpoint_of_data_parallel_loads_and_a_wrong_one_names_a_difference(workdir):
    torch.save({'model': {f'module.{name}': t for name, t in MyNet().state_dict().items()}}, 'x.pt')
    assert isinstance(detectors.load_network('x.pt', 'MyNet').model, MyNet)
    with pytest.raises(UserError, match='does not fit SimpleNet.*fc1.weight'):
        detectors.load_network('x.pt', 'SimpleNet')


class Graders(Dataset):
    """Has a method of the same name as ours, and nothing else that we use."""

    transform = transforms.ToTensor()

    def load(self, index):
        return Image.new('RGB', (8, 8), (index, 0, 0))

    def __getitem__(self, index):
        return self.transform(self.load(index)), np.array([index % 2])

    def __len__(self):
        return 4


def test_a_data_set_with_a_load_of_its_own_goes_the_plain_way():
    wanted = torch.cat([inputs for inputs, _ in DataLoader(Graders(), 2)])
    assert torch.equal(torch.cat([inputs for inputs, _, _ in Batches(Graders(), 2, torch.device('cpu'))]), wanted)


def test_labels_in_arrays_of_one_come_out_flat():
    model = nn.Sequential(nn.Flatten(), nn.Linear(192, 2))
    first, second, labels = numerical_analysis.get_soft_scores_and_true_labels(Graders(), model)
    assert first.shape == second.shape == labels.shape == (4,) and labels.tolist() == [0, 1, 0, 1]


@pytest.mark.parametrize('words', [['--lr', '-1'], ['--lr', 'nan'], ['--momentum', 'inf'], ['--seed', '9' * 23]])
def test_numbers_that_make_no_sense_are_refused_at_once(words, capsys):
    with pytest.raises(SystemExit) as stopped:
        train_main.parse_args(words)
    assert stopped.value.code == 2 and words[0] in capsys.readouterr().err


def test_a_data_set_given_as_a_path_names_no_hidden_files():
    assert records.run_name('../x/fakes_dataset', 'MyNet', 'SGD') == 'fakes_dataset_MyNet_SGD'
    assert records.scores_path('out', 'a', '../x/own').name == 'a__own__test.json'


def test_a_command_that_cannot_share_its_work_refuses_torchrun(monkeypatch, capsys):
    monkeypatch.setenv('WORLD_SIZE', '2')
    assert starting.run(lambda: pytest.fail('it ran')) == 1
    assert 'torchrun is for train_main.py' in capsys.readouterr().err
    assert numerical_analysis.main.works_together and train_main.main.works_together


def test_the_seed_holds_also_where_torch_was_not_imported_yet(monkeypatch):
    seeds = []
    monkeypatch.setattr(runtime, 'seed_everything', seeds.append)
    monkeypatch.delitem(sys.modules, 'torch')
    options.apply(argparse.Namespace(seed=7, data_root=None))
    assert seeds == [7]
