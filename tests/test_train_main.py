import argparse
import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from conftest import PROJECT, make_dataset

import options
import train_main
import trainer
from detectors import load_network
from forensics.errors import UserError
from forensics.running import runtime
from models import build_model

LINE = ['train_main.py', '-d', 'fakes_dataset', '-m', 'MyNet', '--lr', '0.001', '-b', '8', '-e', '2', '-o', 'Adam']

SIMPLE_NET_LINE = 'train_main.py -d fakes_dataset -m SimpleNet --lr 0.001 -b 32 -e 5 -o Adam'


def log(path='out/fakes_dataset_MyNet_Adam.json'):
    return json.loads(Path(path).read_text())


def test_defaults_are_the_assignments():
    args = train_main.parse_args([])
    assert (args.datasets, args.model, args.optimizer) == (['fakes_dataset'], 'SimpleNet', 'SGD')
    assert (args.lr, args.momentum, args.batch_size, args.epochs) == (0.001, 0.9, 128, 2)


@pytest.mark.slow
def test_the_assignments_line_end_to_end(run_script):
    done = run_script(*SIMPLE_NET_LINE.split())
    assert 'Epoch 5/5' in done.stdout
    (run,) = log('out/fakes_dataset_SimpleNet_Adam.json')
    assert run['optimizer']['name'] == 'Adam' and run['optimizer']['params']['lr'] == 0.001
    record = run['run']
    assert {'id', 'model', 'dataset', 'class_names', 'preprocessing', 'arguments', 'seed', 'backbone_weights', 'data',
            'commit', 'versions'} <= record.keys()  # fmt: skip
    assert record['data']['train']['real'] == 12
    checkpoint = torch.load('checkpoints/fakes_dataset_SimpleNet_Adam.pt', weights_only=True)
    assert checkpoint['run'] == record
    detector = load_network('checkpoints/fakes_dataset_SimpleNet_Adam.pt', 'SimpleNet')
    assert detector.run['id'] == record['id'] and not detector.model.training


def test_long_names_and_sgd(call_main):
    call_main(train_main, '--dataset', 'synthetic_dataset', '--model', 'BonusNet', '--optimizer', 'SGD',
              '--batch_size', 5, '--epochs', 1, '--lr', 0.01, '--momentum', 0.5)  # fmt: skip
    (run,) = log('out/synthetic_dataset_BonusNet_SGD.json')
    assert run['optimizer']['params']['momentum'] == 0.5


def test_a_timm_backbone_trains_and_loads(call_main):
    call_main(train_main, '-m', 'timm:resnet10t', '-e', 1, '-b', 12, '--backbone-weights', 'none')
    (run,) = log('out/fakes_dataset_timm-resnet10t_SGD.json')
    assert run['run']['backbone_weights'] == 'random'
    load_network('checkpoints/fakes_dataset_timm-resnet10t_SGD.pt', 'timm:resnet10t')


@pytest.mark.slow
def test_a_run_killed_in_the_middle_and_resumed_equals_an_unbroken_one(run_script, call_main, talkative_train):
    """Also when it goes on with another number of workers."""
    line = [*LINE, '-e', '4']
    run_script(*line)
    expected, weights = log(), torch.load('checkpoints/fakes_dataset_MyNet_Adam.last.pt', weights_only=True)['model']
    best = torch.load('checkpoints/fakes_dataset_MyNet_Adam.pt', weights_only=True)
    shutil.rmtree('out')
    shutil.rmtree('checkpoints')

    process = subprocess.Popen([sys.executable, '-u', talkative_train, *line[1:]], stdout=subprocess.PIPE, text=True)
    for text in process.stdout:  # die inside the third epoch
        if text.startswith('epoch 3 train: 1/'):
            break
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not Path('out').exists()
    assert 'Epoch 1/4' not in run_script(*line, '--resume', '--workers', 2).stdout

    assert len(log()) == 1
    assert all(log()[0][metric] == expected[0][metric] for metric in trainer.METRICS)
    resumed = torch.load('checkpoints/fakes_dataset_MyNet_Adam.last.pt', weights_only=True)['model']
    assert all(torch.equal(resumed[name], weights[name]) for name in weights)
    resumed_best = torch.load('checkpoints/fakes_dataset_MyNet_Adam.pt', weights_only=True)
    assert resumed_best['epoch'] == best['epoch']
    assert all(torch.equal(resumed_best['model'][name], best['model'][name]) for name in best['model'])
    assert 'finished' in call_main(train_main, *line[1:], '--resume')[1]


def test_resuming_with_another_line_is_refused(call_main):
    assert call_main(train_main, *LINE[1:])[0] == 0
    status, _, errors = call_main(train_main, *LINE[1:], '--lr', 0.1, '--resume')
    assert status == 1 and 'the arguments changed since (lr)' in errors


@pytest.fixture
def own_data(workdir, monkeypatch):
    folder = make_dataset(workdir / 'data' / 'own', counts={'train': 4, 'val': 2, 'test': 2})
    monkeypatch.setenv('FACES_DATASETS', str(workdir / 'data'))
    return folder


LITTLE = ['-d', 'own', '-m', 'MyNet', '-e', 1, '-b', 4]


def test_a_broken_image_stops_before_training_and_is_skipped_on_request(call_main, own_data):
    (own_data / 'train' / 'fake' / 'bad.jpg').write_bytes(b'no image')
    status, _, errors = call_main(train_main, *LITTLE)
    assert status == 1 and 'bad.jpg' in errors and '--skip-broken' in errors
    assert not Path('checkpoints').exists()
    status, output, _ = call_main(train_main, *LITTLE, '--skip-broken')
    assert status == 0 and 'left out' in output
    (run,) = log('out/own_MyNet_SGD.json')
    assert [Path(file).name for file in run['run']['skipped']] == ['bad.jpg']
    assert run['run']['data']['train'] == {**run['run']['data']['train'], 'real': 4, 'fake': 4}


def test_an_image_of_another_size_is_named(call_main, own_data):
    make_dataset(own_data.parent / 'other', counts={'train': 1, 'val': 1, 'test': 1}, size=200)
    status, _, errors = call_main(train_main, '-d', 'other', '-m', 'MyNet', '-e', 1)
    assert status == 1 and '200x200' in errors and 'preprocessing.py' in errors


@pytest.mark.parametrize('damage', ['empty class', 'missing class', 'missing part', 'missing data set'])
def test_missing_data_are_readable_errors(call_main, own_data, damage):
    if damage == 'empty class':
        for file in (own_data / 'val' / 'fake').iterdir():
            file.unlink()
    else:
        shutil.rmtree(
            own_data / {'missing class': 'train/real', 'missing part': 'test', 'missing data set': ''}[damage]
        )
    status, _, errors = call_main(train_main, *LITTLE)
    assert status == 1 and errors.splitlines()[-1].startswith('error: ')


@pytest.mark.parametrize(
    'arguments', [['-m', 'NoNet'], ['-b', '0'], ['-o', 'Magic'], ['--device', 'cuda:77'], ['--backbone-weights', 'x']]
)
def test_wrong_arguments_are_readable_errors(call_main, arguments):
    status, _, errors = call_main(train_main, *arguments)
    assert status in (1, 2) and 'error: ' in errors


def test_too_little_memory_names_the_batch_that_fits(monkeypatch):
    model = build_model('MyNet')
    sample = torch.zeros(3, 256, 256)
    fixed, per_image = runtime.training_memory(model, sample)
    monkeypatch.setattr(runtime, 'free_memory', lambda device: fixed + 9 * per_image)
    train_main.check_memory(model, sample, 9)
    with pytest.raises(UserError, match='-b 8 fits'):
        train_main.check_memory(model, sample, 32)
    monkeypatch.setattr(runtime, 'free_memory', lambda device: 0)
    with pytest.raises(UserError, match='not even one'):
        train_main.check_memory(model, sample, 1)


def test_measuring_memory_changes_nothing():
    model = build_model('BonusNet').eval()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    torch.manual_seed(0)
    runtime.training_memory(model, torch.randn(3, 64, 64, generator=torch.Generator().manual_seed(1)))
    after = torch.rand(1)
    torch.manual_seed(0)
    assert torch.equal(after, torch.rand(1)) and not model.training
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())


GRADERS_COMMON = "OUTPUT_DIR = 'out'\nCHECKPOINT_DIR = 'checkpoints'\nFIGURES_DIR = 'figures'\n"
GRADERS_UTILS = """
import os
import torch
from torchvision import transforms
from bonus_model import my_bonus_model
from faces_dataset import FacesDataset
from models import SimpleNet, get_xception_based_model

device = torch.device('cuda' if torch.cuda.is_available() else 'cpu')
TRANSFORM_TEST = transforms.Compose([transforms.ToTensor(),
                                     transforms.Normalize((0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010))])
TRANSFORM_TRAIN = transforms.Compose([transforms.RandomCrop(256, padding=4), transforms.RandomHorizontalFlip(),
                                      *TRANSFORM_TEST.transforms])

def load_dataset(dataset_name, dataset_part):
    return FacesDataset(root_path=os.path.join('..', 'where_we_do_not_look', dataset_name, dataset_part),
                        transform=TRANSFORM_TRAIN if dataset_part == 'train' else TRANSFORM_TEST)

def load_model(model_name):
    return {'SimpleNet': SimpleNet, 'XceptionBased': get_xception_based_model}[model_name]().to(device)

def get_nof_params(model):
    return sum(p.numel() for p in model.parameters() if p.requires_grad)
"""
RUN_LINES = """
import runpy, sys
for line in sys.argv[1:]:
    sys.argv = line.split()
    try:
        runpy.run_path(sys.argv[0], run_name='__main__')
    except SystemExit as end:
        if end.code:
            sys.exit(f'{line} ended with {end.code}')
"""


@pytest.mark.slow
def test_our_modules_run_beside_a_graders_own_utils_and_common(tmp_path, tiny_root):
    """Defect: fingerprints were taken of a data set of that name that we found ourselves, and not of the one that the
    grader's load_dataset reads. What runs alone elsewhere shares a process here."""
    solution = tmp_path / 'solution'
    shutil.copytree(
        PROJECT, solution, ignore=shutil.ignore_patterns('.*', 'demo_datasets', 'tests', 'out', 'checkpoints')
    )
    (solution / 'common.py').write_text(GRADERS_COMMON)
    (solution / 'utils.py').write_text(GRADERS_UTILS)
    shutil.copytree(tiny_root, tmp_path / 'where_we_do_not_look')
    lines = [
        'train_main.py -d fakes_dataset -m SimpleNet --lr 0.001 -b 32 -e 1 -o Adam',
        'plot_accuracy_and_loss.py -m SimpleNet -j out/fakes_dataset_SimpleNet_Adam.json -d fakes_dataset',
        'numerical_analysis.py -m SimpleNet -cpp checkpoints/fakes_dataset_SimpleNet_Adam.pt -d fakes_dataset',
        'saliency_map.py -m SimpleNet -cpp checkpoints/fakes_dataset_SimpleNet_Adam.pt -d fakes_dataset',
        'grad_cam_analysis.py -m SimpleNet -cpp checkpoints/fakes_dataset_SimpleNet_Adam.pt -d fakes_dataset',
    ]
    for words in (['-c', RUN_LINES, *lines[:3]], lines[3].split(), lines[4].split()):
        done = subprocess.run([sys.executable, *words], cwd=solution, capture_output=True, text=True)
        assert done.returncode == 0, f'{words}\n{done.stdout}{done.stderr}'


STUDENTS_SCRIPT = """
import torch
from torch import nn, optim
from common import CHECKPOINT_DIR, OUTPUT_DIR
from trainer import Trainer, LoggingParameters
from utils import load_dataset, load_model

model = load_model('SimpleNet')
optimizer = optim.Adam(model.parameters(), lr=0.001)
params = optimizer.param_groups[0].copy()
del params['params']
trainer = Trainer(model=model, optimizer=optimizer, criterion=nn.CrossEntropyLoss(), batch_size=32,
                  train_dataset=load_dataset('fakes_dataset', 'train'),
                  validation_dataset=load_dataset('fakes_dataset', 'val'),
                  test_dataset=load_dataset('fakes_dataset', 'test'))
trainer.run(epochs=1, logging_parameters=LoggingParameters(
    model_name='SimpleNet', dataset_name='fakes_dataset', optimizer_name='Adam', optimizer_params=params))
model.load_state_dict(torch.load(f'{CHECKPOINT_DIR}/fakes_dataset_SimpleNet_Adam.pt')['model'])
"""


def test_a_students_own_script_runs_beside_our_modules(workdir):
    exec(STUDENTS_SCRIPT, {})
    assert log('out/fakes_dataset_SimpleNet_Adam.json')[0]['train_loss']


@pytest.mark.parametrize('slow', [True, False])
def test_bf16_in_software_is_told_before_a_night_is_lost(slow, call_main, monkeypatch):
    monkeypatch.setattr(runtime, 'slow_in_bf16', lambda device: slow)
    line = ['-m', 'BonusNet', '-e', 1, '-b', 12]
    assert ('leave --precision out' in call_main(train_main, *line, '--precision', 'bf16')[2]) == slow
    assert 'leave --precision out' not in call_main(train_main, *line)[2]


@pytest.mark.parametrize(('seconds', 'slow'), [(0.03, True), (0.002, False)])
def test_a_processor_that_does_bf16_in_software_is_found_out(seconds, slow, monkeypatch):
    monkeypatch.setattr(torch, 'mm', lambda a, b: time.sleep(seconds if a.dtype == torch.bfloat16 else 0.001))
    assert runtime.slow_in_bf16(torch.device('cpu')) == slow
    assert not runtime.slow_in_bf16(torch.device('cuda'))


def test_a_containers_file_cache_is_free_memory(monkeypatch, tmp_path):
    files = {'memory.max': '12000000000', 'memory.current': '7000000000',
             'memory.stat': 'anon 1000000000\ninactive_file 6000000000'}  # fmt: skip
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    monkeypatch.setattr(runtime, 'CGROUP', tmp_path)
    monkeypatch.setattr('psutil.virtual_memory', lambda: type('Memory', (), {'available': 10**12}))
    assert runtime.free_memory(torch.device('cpu')) == 11_000_000_000


def test_the_way_to_split_a_data_set_leads_on(call_main, workdir):
    folder = workdir / 'my data' / 'fakes_dataset'
    make_dataset(folder, counts={'all': 12}, size=64)
    (folder / 'all' / 'real').rename(folder / 'real')
    (folder / 'all' / 'fake').rename(folder / 'fake')
    _, _, said = call_main(train_main, '-d', 'fakes_dataset', '--data-root', folder.parent)
    assert f"--real '{folder}/real'" in said
    assert '--output split_datasets/fakes_dataset`' in said and '`export FACES_DATASETS=split_datasets`' in said


@pytest.mark.parametrize('words', [['--lr', '-1'], ['--lr', 'nan'], ['--momentum', 'inf'], ['--seed', '9' * 23]])
def test_numbers_that_make_no_sense_are_refused_at_once(words, capsys):
    with pytest.raises(SystemExit) as stopped:
        train_main.parse_args(words)
    assert stopped.value.code == 2 and words[0] in capsys.readouterr().err


def test_the_seed_holds_also_where_torch_was_not_imported_yet(monkeypatch):
    seeds = []
    monkeypatch.setattr(runtime, 'seed_everything', seeds.append)
    monkeypatch.delitem(sys.modules, 'torch')
    options.apply(argparse.Namespace(seed=7, data_root=None))
    assert seeds == [7]
