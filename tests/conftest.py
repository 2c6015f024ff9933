"""A tiny data set, a scratch folder, and a way to run a command as its user does."""

import itertools
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

# A shell's background job ignores Ctrl-C, and so would every process that a test wants to interrupt.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

PROJECT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(PROJECT))

import make_demo_data  # noqa: E402
from forensics import records  # noqa: E402
from forensics.data.datasets import CLASSES  # noqa: E402
from forensics.running import starting  # noqa: E402

COUNTS = {'train': 12, 'val': 6, 'test': 6}


def draw(path: Path, rng: np.random.Generator, fake: bool, size: int = 256) -> None:
    """A smooth picture with an oval; a fake one's oval is grainy, so that there is something to learn."""
    ys, xs = np.mgrid[0:size, 0:size] / size
    picture = 128 + 60 * np.sin(2 * np.pi * (rng.normal(size=3) * xs[..., None] + rng.normal(size=3) * ys[..., None]))
    oval = ((xs - 0.5) / 0.3) ** 2 + ((ys - 0.5) / 0.4) ** 2 < 1
    picture[oval] = picture[oval] * 0.3 + rng.uniform(90, 180, 3)
    if fake:
        picture[oval] += 40 * rng.normal(size=(int(oval.sum()), 3))
    Image.fromarray(np.clip(picture, 0, 255).astype(np.uint8)).save(path, quality=92)


def make_dataset(folder: Path, seed: int = 0, counts: dict[str, int] = COUNTS, size: int = 256) -> Path:
    for part, count in counts.items():
        for label in ('real', 'fake'):
            target = folder / part / label
            target.mkdir(parents=True)
            rng = np.random.default_rng([seed, len(part), label == 'fake'])
            for number in range(count):
                draw(target / f'{number:03}.jpg', rng, label == 'fake', size)
    return folder


@pytest.fixture(scope='session')
def tiny_root(tmp_path_factory) -> Path:
    """A data root that commands can run on in seconds: a little of the demo data."""
    root = tmp_path_factory.mktemp('data sets')
    for name, (part, count), label in itertools.product(make_demo_data.DATASETS, COUNTS.items(), CLASSES):
        folder = root / name / part / label
        folder.mkdir(parents=True)
        for number in range(count):
            picture = make_demo_data.draw_picture(0, name, part, label, number, people=6, size=256)
            (folder / f'{number:03}.jpg').write_bytes(picture)
    return root


@pytest.fixture
def workdir(tmp_path, tiny_root, monkeypatch) -> Path:
    """An empty current folder, with the tiny data sets in reach."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv('FACES_DATASETS', str(tiny_root))
    monkeypatch.setenv('FACES_DEVICE', '')  # set, so that what a command chooses is undone
    return tmp_path


@pytest.fixture
def run_script(workdir):
    """Run a command of the project as a process: run_script('train_main.py', '-e', 1)."""

    def run(script: str, *args, check: bool = True, **kwargs) -> subprocess.CompletedProcess:
        command = [sys.executable, str(PROJECT / script), *map(str, args)]
        environment = {**os.environ, 'HF_HUB_OFFLINE': '1', **kwargs.pop('env', {})}
        done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=600, **kwargs)
        assert not check or done.returncode == 0, f'{command}\n{done.stdout}\n{done.stderr}'
        return done

    return run


@pytest.fixture(scope='session')
def talkative_train(tmp_path_factory) -> str:
    """train_main.py that prints a line a batch, for who wants to meet it in the middle of an epoch."""
    script = tmp_path_factory.mktemp('scripts') / 'train_main.py'
    script.write_text(
        f'import sys\nsys.path.insert(0, {str(PROJECT)!r})\n'
        'import train_main\nfrom forensics.running import progress, starting\n'
        'progress.PAUSE = progress.SHARE = 0\nsys.exit(starting.run(train_main.main))\n'
    )
    return str(script)


@pytest.fixture
def call_main(workdir, capfd):
    """Run a command's `main` in this process, which saves importing torch anew: (status, output, errors)."""

    def call(module, *args) -> tuple[int, str, str]:
        capfd.readouterr()
        try:
            status = starting.run(lambda: module.main([str(arg) for arg in args]))
        except SystemExit as exit:  # argparse
            status = exit.code
        return status, *capfd.readouterr()

    return call


CALIBRATION = {'temperature': 2.0, 'threshold': 0.3, 'unsure': [0.25, 0.35], 'wrong': 0.05, 'chosen_on': {'X': {}}}


@pytest.fixture(scope='session')
def exported_bonus(tmp_path_factory) -> Path:
    """The shipped network as ONNX, with a calibration and a card that were made up."""
    import export_onnx

    folder = tmp_path_factory.mktemp('exported')
    checkpoint = records.load_checkpoint(PROJECT / 'checkpoints' / 'bonus.pt')
    card = {'smallest_face': 80, 'margin': 0.25, 'licence': 'unknown'}
    run = {name: checkpoint['run'][name] for name in ('model', 'model_options', 'dataset')}
    run |= {'calibration': CALIBRATION, 'card': card}
    records.save_checkpoint(folder / 'bonus.pt', {'model': checkpoint['model'], 'run': run})
    said = ['--licence', 'MIT', '--fails-on', 'photographs']
    arguments = ['-cpp', folder / 'bonus.pt', '-o', folder / 'bonus.onnx', '--data-root', folder, *said]
    export_onnx.main([str(argument) for argument in arguments])
    return folder / 'bonus.onnx'


@pytest.fixture(scope='session')
def exported_with_maps(tmp_path_factory) -> Path:
    """A small network of timm with random weights, which says where the evidence lies."""
    import torch

    import export_onnx
    from models import build_model

    folder = tmp_path_factory.mktemp('exported')
    torch.manual_seed(0)
    network = build_model('timm:test_resnet', 'none')
    records.save_checkpoint(folder / 'net.pt', {'model': network.state_dict(), 'run': {'model': 'timm:test_resnet'}})
    export_onnx.main(['-cpp', str(folder / 'net.pt'), '--data-root', str(folder)])
    return folder / 'net.onnx'
