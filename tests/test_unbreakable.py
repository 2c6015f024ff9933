"""What may happen in a night: a kill at any moment, a full disk, a read-only folder, damaged and hostile files, two
runs at once, data that change. Nothing whole is lost, the error says what to do, and a run that goes on ends as if
nothing had happened.

Trainings run in forks of one process that has imported torch, so that each of them takes a tenth of a second.
"""

import contextlib
import json
import multiprocessing.util
import os
import pickle
import random
import re
import resource
import shutil
import signal
import subprocess
import sys
import time
import types
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import PROJECT, make_dataset
from torch import nn
from torchvision import transforms

import detectors
import train_main
import trainer
from faces_dataset import FacesDataset
from forensics import records
from forensics.classical import detector as classical
from forensics.data import datasets
from forensics.errors import UserError
from forensics.running import runtime, starting
from models import SimpleNet
from trainer import LoggingParameters, Trainer, make_optimizer
from xception import load_backbone_weights

LOG, BEST, LAST = 'out/d_m_Adam.json', 'checkpoints/d_m_Adam.pt', 'checkpoints/d_m_Adam.last.pt'
EPOCHS, SIZE = 2, 64
WRITES = 2 * EPOCHS  # at least: `last` after every epoch, `best` once, the log, and `last` again at the end


# --- what runs in the forks ------------------------------------------------------------


class LittleSimpleNet(SimpleNet):
    """SimpleNet for pictures of 64 pixels: its checkpoint is 1 MB instead of 203."""

    def __init__(self):
        super().__init__()
        self.fc1, self.fc2, self.fc3 = nn.Linear(24 * 2 * 2, 64), nn.Linear(64, 16), nn.Linear(16, 2)


def batch_norm_net() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 8, 5, stride=4), nn.BatchNorm2d(8), nn.ReLU(), nn.Dropout(0.3), nn.Flatten(),
        nn.Linear(8 * 15 * 15, 16), nn.Dropout(0.5), nn.Linear(16, 2),
    )  # fmt: skip


def strided_net() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 4, 8, stride=8), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2)
    )


NETS = {'SimpleNet': LittleSimpleNet, 'BatchNorm': batch_norm_net, 'strided': strided_net}
KILLED = ('SimpleNet', 'BatchNorm')


def train(
    net: str,
    data: str,
    size: int = SIZE,
    resume: bool = False,
    epochs: int = EPOCHS,
    die: tuple[int, float | None] | None = None,
    quota: int | None = None,
    user: int | None = None,
    run_id: str = 'run',
) -> None:
    """A training in the current folder, and what befalls it.

    `die`: killed in its n-th write, when a share of the file is written, or (None) just after the file has its name.
    """
    trainer.uuid = types.SimpleNamespace(uuid4=lambda: types.SimpleNamespace(hex=run_id))
    if die:
        records.atomic_path = dying(*die)
    if quota is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (quota, resource.RLIM_INFINITY))
    if user is not None:
        os.seteuid(user)
    runtime.seed_everything(0)
    model = NETS[net]()
    steps = [transforms.ToTensor(), transforms.Normalize((0.5,) * 3, (0.25,) * 3)]
    augmented = [transforms.RandomCrop(size, padding=4), transforms.RandomHorizontalFlip(), *steps]
    parts = {
        part: FacesDataset(f'{data}/{part}', transforms.Compose(augmented if part == 'train' else steps))
        for part in datasets.PARTS
    }
    workers = 0
    if net == 'BatchNorm':  # the full house: workers in every epoch, because no memory is left for a cache
        workers, runtime.free_memory = 1, lambda device: 0
    facts = {'data': {part: datasets.fingerprint(f'{data}/{part}') for part in parts}}
    run = Trainer(
        model, make_optimizer('Adam', model, 0.001), nn.CrossEntropyLoss(), 4, *parts.values(), workers=workers
    )
    Path('started').touch()
    run.run(epochs, LoggingParameters('m', 'd', 'Adam', {'lr': 0.001}), facts=facts, resume=resume)


def dying(number: int, share: float | None):
    """`records.atomic_path`, whose n-th use ends this process."""
    atomic_path, uses = records.atomic_path, iter(range(1, 1000))

    @contextlib.contextmanager
    def path_that_kills(path):
        ours = next(uses) == number
        with atomic_path(path) as temporary:
            yield temporary
            if ours and share is not None:
                os.truncate(temporary, int(share * os.path.getsize(temporary)))
                os.kill(os.getpid(), signal.SIGKILL)
        if ours:
            os.kill(os.getpid(), signal.SIGKILL)

    return path_that_kills


def append_runs(own: str, other: str, races: int) -> None:
    """A hundred times wait for the other at the start line, then both write into one log."""
    for race in range(races):
        Path(f'{own}{race}').touch()
        while not Path(f'{other}{race}').exists():
            time.sleep(0)
        records.append_run('out/log.json', {'number': race, 'run': {'id': f'{own}{race}'}})


def fill_log(quota: int) -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (quota, resource.RLIM_INFINITY))
    records.append_run(LOG, {'train_loss': [0.5] * 5000})


def print_to_full_disk() -> None:
    os.dup2(os.open('/dev/full', os.O_WRONLY), 1)
    print('Epoch 1')


class Stubborn:
    def __del__(self):
        os.kill(os.getpid(), signal.SIGTERM)  # Python says "Exception ignored in", and goes on


def stop_in_a_destructor() -> None:
    Stubborn()
    time.sleep(60)


class Forked:
    """A signal in the first thing that a forked worker does, where there is no other place to catch it."""

    def __init__(self, *numbers: int):
        for number in numbers:
            multiprocessing.util.register_after_fork(self, lambda _, number=number: os.kill(os.getpid(), number))


def start_workers_that_are_stopped_at_once() -> None:
    context = multiprocessing.get_context('fork')
    for numbers in ([signal.SIGINT], [signal.SIGINT, signal.SIGTERM]):
        forked = Forked(*numbers)
        worker = context.Process(target=print, args=['worked'])
        worker.start()
        del forked
        worker.join()
        print(worker.exitcode)


def resident(data: str, epochs: int) -> None:
    """Writes the resident memory after every epoch, in bytes."""
    sizes, test = [], Trainer.test

    def test_and_look(self):
        sizes.append(int(Path('/proc/self/statm').read_text().split()[1]) * os.sysconf('SC_PAGE_SIZE'))
        return test(self)

    Trainer.test = test_and_look
    train('strided', data, size=256, epochs=epochs)
    Path('sizes.json').write_text(json.dumps(sizes))


def serve() -> None:
    """Fork a child for every line [folder, function, arguments]; [pid] waits for it."""
    torch.set_num_threads(1)
    for line in sys.stdin:
        request = json.loads(line)
        if len(request) == 1:
            answer = os.waitstatus_to_exitcode(os.waitpid(request[0], 0)[1])
        elif not (answer := os.fork()):
            be_child(*request)
        print(answer, flush=True)


def be_child(folder: str, function: str, arguments: dict) -> None:
    signal.alarm(120)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.chdir(folder)
    output = os.open('output.txt', os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
    for descriptor in (1, 2):
        os.dup2(output, descriptor)
    status = 70
    with contextlib.suppress(SystemExit):
        try:
            status = starting.run(lambda: globals()[function](**arguments))
        except BaseException:
            sys.excepthook(*sys.exc_info())
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError):
            stream.flush()
    os._exit(status)


# --- what starts and judges them ------------------------------------------------------------


class Forks:
    def __init__(self):
        paths = os.pathsep.join([str(PROJECT), str(PROJECT / 'tests'), os.environ.get('PYTHONPATH', '')])
        # Without coverage's variables: forks and killed processes report nothing, so measuring them is wasted time.
        environment = {name: value for name, value in os.environ.items() if not name.startswith('COVERAGE')}
        self.server = subprocess.Popen(
            [sys.executable, '-c', 'import test_unbreakable; test_unbreakable.serve()'],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            env={**environment, 'PYTHONPATH': paths, 'OMP_NUM_THREADS': '1'},
        )  # fmt: skip

    def _ask(self, *request) -> int:
        self.server.stdin.write(json.dumps(request) + '\n')
        self.server.stdin.flush()
        return int(self.server.stdout.readline())

    def start(self, folder: Path, function, **arguments) -> int:
        folder.mkdir(exist_ok=True)
        return self._ask(str(folder), function.__name__, arguments)

    def wait(self, pid: int) -> int:
        """Exit status; minus the signal's number."""
        return self._ask(pid)

    def run(self, folder: Path, function, **arguments) -> int:
        return self.wait(self.start(folder, function, **arguments))


@pytest.fixture(scope='module')
def forks():
    forks = Forks()
    yield forks
    forks.server.stdin.close()
    forks.server.wait(timeout=30)


@pytest.fixture(scope='module')
def data(tmp_path_factory) -> str:
    folder = tmp_path_factory.mktemp('data') / 'd'
    return str(make_dataset(folder, counts={'train': 4, 'val': 2, 'test': 2}, size=SIZE))


@pytest.fixture(scope='module')
def unbroken(forks, data, tmp_path_factory) -> dict:
    """What the trainings leave when nothing happens, and how long they take."""
    results = {}
    for net in KILLED:
        folder = tmp_path_factory.mktemp(net)
        pid = forks.start(folder, train, net=net, data=data)
        wait_for(folder / 'started')
        start = time.monotonic()
        assert forks.wait(pid) == 0, output(folder)
        results[net] = types.SimpleNamespace(seconds=time.monotonic() - start, files=left(folder))
    return results


def wait_for(path: Path) -> None:
    end = time.monotonic() + 60
    while not path.exists():
        assert time.monotonic() < end, f'{path} did not come'
        time.sleep(0.001)


def output(folder: Path) -> str:
    return (folder / 'output.txt').read_text()


def left(folder: Path) -> dict:
    """The record and both checkpoints, without how long epochs took, in a form that == compares bit for bit."""
    states = {file: exact(torch.load(folder / file, weights_only=True)) for file in (BEST, LAST)}
    return {LOG: exact(json.loads((folder / LOG).read_text())), **states}


def exact(value):
    if isinstance(value, torch.Tensor):
        return str(value.dtype), list(value.shape), value.contiguous().numpy().tobytes()
    if isinstance(value, dict):
        return {key: exact(item) for key, item in value.items() if key != 'seconds'}
    return [exact(item) for item in value] if isinstance(value, (list, tuple)) else value


def temporaries(folder: Path) -> list[str]:
    return [path.name for path in folder.rglob('*.tmp*')]


def assert_go_on(forks: Forks, folders: list[Path], net: str, data: str, expected: dict) -> None:
    """All at once, which takes as many cores as there are."""
    pids = [forks.start(folder, train, net=net, data=data, resume=True) for folder in folders]
    for folder, pid in zip(folders, pids, strict=True):
        assert forks.wait(pid) == 0, output(folder)
        result = left(folder)
        different = [file for file in expected if result[file] != expected[file]]  # pytest would print megabytes
        assert not different, f'{folder.name}: not what an unbroken run leaves'


# --- killed ------------------------------------------------------------


@pytest.mark.parametrize('net', KILLED)
def test_a_run_killed_at_any_of_ten_moments_ends_like_an_unbroken_one(forks, data, unbroken, tmp_path, net):
    points = random.Random(net)
    folders = [tmp_path / f'moment {number}' for number in range(10)]
    for folder in folders:
        pid = forks.start(folder, train, net=net, data=data)
        wait_for(folder / 'started')
        time.sleep(points.uniform(0, unbroken[net].seconds))
        os.kill(pid, signal.SIGKILL)
        assert forks.wait(pid) in (-signal.SIGKILL, 0)  # 0: it was faster this time
    assert_go_on(forks, folders, net, data, unbroken[net].files)


@pytest.mark.parametrize('net', KILLED)
def test_a_run_killed_in_any_of_ten_writes_ends_like_an_unbroken_one(forks, data, unbroken, tmp_path, net):
    points = random.Random(net)
    folders = [tmp_path / f'write {number}' for number in range(10)]
    deaths = [(1 + number % WRITES, points.choice([0, points.random(), 1, None])) for number in range(10)]
    pids = [
        forks.start(folder, train, net=net, data=data, die=die) for folder, die in zip(folders, deaths, strict=True)
    ]
    assert [forks.wait(pid) for pid in pids] == [-signal.SIGKILL] * 10, [output(folder) for folder in folders]
    assert_go_on(forks, folders, net, data, unbroken[net].files)


@pytest.mark.parametrize('net', KILLED)
@pytest.mark.parametrize('how', [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_and_sigterm_at_any_moment_leave_all_finished_epochs(forks, data, unbroken, tmp_path, net, how):
    points = random.Random(f'{net}{how}')
    folders = [tmp_path / f'signal {number}' for number in range(3)]
    for folder in folders:
        pid = forks.start(folder, train, net=net, data=data)
        wait_for(folder / 'started')
        time.sleep(points.uniform(0, 0.9 * unbroken[net].seconds))
        os.kill(pid, how)
        status = forks.wait(pid)
        assert status in (130, 0) and 'KeyboardInterrupt' not in output(folder), output(folder)
        if net == 'SimpleNet':  # a worker whose parent goes may complain; no workers here
            assert 'Traceback' not in output(folder), output(folder)
        assert not temporaries(folder)
        if status:
            finished = output(folder).count('Epoch ')
            saved = torch.load(folder / LAST, weights_only=True)['epoch'] if (folder / LAST).exists() else 0
            assert finished - 1 <= saved <= finished
            if 0 < saved < EPOCHS:
                assert '--resume' in output(folder), output(folder)
            for promised in re.findall(r'Interrupted\. (\d) of 2 epochs are saved; .*--resume', output(folder)):
                assert int(promised) <= saved  # one less, if it came just after the saving
    assert_go_on(forks, folders, net, data, unbroken[net].files)


def test_ctrl_c_where_python_ignores_errors_is_not_lost(forks, tmp_path):
    """Such as in the fork that starts a worker: of short epochs with workers every third one was."""
    assert forks.run(tmp_path, stop_in_a_destructor) == 130


def test_a_worker_that_is_stopped_while_it_starts_prints_no_traceback(forks, tmp_path):
    assert forks.run(tmp_path, start_workers_that_are_stopped_at_once) == 0
    assert output(tmp_path).split() == ['worked', '0', str(-signal.SIGTERM)]


def test_what_killed_runs_left_half_written_is_cleared_away(tmp_path):
    """A checkpoint of 200 MB after each kill would fill the disk."""
    old, of_somebody_at_work, other = (
        tmp_path / name for name in ('.x.last.123.tmp.pt', '.x.last.124.tmp.pt', '.xy.125.tmp.pt')
    )
    for path in (old, of_somebody_at_work, other):
        path.touch()
    for path in (old, other):
        os.utime(path, (0, 0))
    records.save_checkpoint(tmp_path / 'x.last.pt', {})
    assert not old.exists() and of_somebody_at_work.exists() and other.exists()


@pytest.mark.slow
@pytest.mark.full
@pytest.mark.parametrize('net', ['SimpleNet', 'CustomCNN'])
def test_the_command_killed_at_any_of_twenty_moments_ends_like_an_unbroken_one(
    run_script, workdir, talkative_train, net
):
    """The same with train_main.py and the networks as they are, in a quarter of an hour: pytest -m full"""
    line = ['train_main.py', '-m', net, '-o', 'Adam', '-b', 8, '-e', 3, '--workers', 1]
    name = f'fakes_dataset_{net}_Adam'
    points = random.Random(net)

    def result() -> tuple:
        (run,) = json.loads(Path(f'out/{name}.json').read_text())
        states = [torch.load(f'checkpoints/{name}{kind}.pt', weights_only=True) for kind in ('', '.last')]
        for of_run in (run, states[0], states[1]['log']):
            of_run['run'].pop('id')
        return exact(run), exact(states)

    def start() -> subprocess.Popen:
        words = [sys.executable, '-u', talkative_train, *map(str, line[1:])]
        process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        for text in process.stdout:
            if text.startswith('epoch 1 train'):
                return process
        raise AssertionError('no epoch began')

    process = start()
    began = time.monotonic()
    process.communicate()
    seconds, expected = time.monotonic() - began, result()
    for number in range(20):
        shutil.rmtree('out')
        shutil.rmtree('checkpoints')
        process = start()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.communicate(timeout=points.uniform(0, seconds))
        process.kill()
        process.communicate()
        run_script(*line, '--resume')
        same = result() == expected
        assert same, f'after moment {number}'


# --- disks and folders ------------------------------------------------------------


@pytest.fixture(params=['quota', 'tmpfs'])
def little_disk(request, tmp_path):
    """A folder and the quota of those who write into it; or a real disk that is full after 1.5 MB."""
    if request.param == 'quota':
        yield tmp_path, 400_000
        return
    mount = ['mount', '-t', 'tmpfs', '-o', 'size=1500k', 'tmpfs', str(tmp_path)]
    if os.geteuid() or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip('only an administrator mounts a disk')
    yield tmp_path, None
    subprocess.run(['umount', '--lazy', str(tmp_path)], check=True)


def test_a_full_disk_loses_nothing_and_the_run_goes_on_when_there_is_space(
    forks, data, unbroken, little_disk, tmp_path
):
    folder, quota = little_disk
    expected = unbroken['SimpleNet'].files
    assert forks.run(folder, train, net='SimpleNet', data=data, die=(3, 0)) == -signal.SIGKILL  # in the second epoch
    for path in folder.rglob('*.tmp*'):
        path.unlink()
    whole = {file: (folder / file).read_bytes() for file in (BEST, LAST)}
    if quota is None:  # what the checkpoints need is there, but not twice
        free = os.statvfs(folder)
        (folder / 'ballast').write_bytes(bytes(max(free.f_bavail * free.f_frsize - 300_000, 0)))

    assert forks.run(folder, train, net='SimpleNet', data=data, resume=True, quota=quota) == 1
    errors = output(folder)
    assert 'error: Cannot write checkpoints/d_m_Adam' in errors and 'Free some space' in errors
    assert 'Traceback' not in errors
    assert {file: (folder / file).read_bytes() for file in (BEST, LAST)} == whole
    assert not temporaries(folder)

    (folder / 'ballast').unlink(missing_ok=True)
    assert_go_on(forks, [folder], 'SimpleNet', data, expected)


def test_a_log_that_finds_no_space_stays_as_it_was(forks, tmp_path):
    records.append_run(tmp_path / LOG, {'number': 1})
    before = (tmp_path / LOG).read_bytes()
    assert forks.run(tmp_path, fill_log, quota=10_000) == 1
    assert f'error: Cannot write {LOG}' in output(tmp_path)
    assert (tmp_path / LOG).read_bytes() == before and not temporaries(tmp_path)


@pytest.mark.skipif(not os.path.exists('/dev/full'), reason='needs /dev/full')
def test_output_that_goes_to_a_full_disk_is_a_readable_error(forks, tmp_path):
    assert forks.run(tmp_path, print_to_full_disk) == 1
    assert output(tmp_path).startswith('error: The output: No space left') and 'Traceback' not in output(tmp_path)


@pytest.mark.parametrize('folder', ['checkpoints', 'out', '.'])
def test_a_read_only_folder_is_a_readable_error(forks, data, tmp_path, folder):
    for name in ('checkpoints', 'out', '.'):
        (tmp_path / name).mkdir(exist_ok=True)
        (tmp_path / name).chmod(0o777)
    (tmp_path / 'started').touch()
    (tmp_path / 'started').chmod(0o666)
    if folder == '.':
        for name in ('checkpoints', 'out'):
            (tmp_path / name).rmdir()
    (tmp_path / folder).chmod(0o555)
    shutil.copytree(data, tmp_path / 'data')  # in reach of somebody who may not enter the folders above
    # The administrator may write everywhere, so the training goes on as somebody else.
    user = None if os.geteuid() else 65534
    try:
        assert forks.run(tmp_path, train, net='SimpleNet', data='data', epochs=1, user=user) == 1
    finally:
        (tmp_path / folder).chmod(0o755)
    where = {'out': 'out'}.get(folder, 'checkpoints')
    assert f'error: Cannot write {where}/d_m_Adam' in output(tmp_path), output(tmp_path)
    assert 'Traceback' not in output(tmp_path) and not temporaries(tmp_path)


def test_a_folder_that_takes_no_files_is_told_before_the_work(tmp_path):
    records.check_writable(tmp_path / 'new' / 'folder' / 'x.pt')
    assert not (tmp_path / 'new').exists()
    (tmp_path / 'file').touch()
    with pytest.raises(UserError, match='Cannot write .*file takes no new files'):
        records.check_writable(tmp_path / 'file' / 'x.pt')


# --- damaged and hostile files ------------------------------------------------------------


def cuts(whole: bytes) -> list[bytes]:
    return [whole[: len(whole) * part // 20] for part in range(20)]


@pytest.fixture
def little_run(tmp_path, monkeypatch):
    """Trains a little network in the current folder."""
    monkeypatch.chdir(tmp_path)
    points = torch.utils.data.TensorDataset(torch.eye(4), torch.tensor([0, 1, 0, 1]))
    parameters = LoggingParameters('m', 'd', 'Adam', {'lr': 0.1})

    def run(**kwargs) -> None:
        torch.manual_seed(0)
        model = nn.Linear(4, 2)
        Trainer(model, make_optimizer('Adam', model, 0.1), nn.CrossEntropyLoss(), 2, *[points] * 3).run(
            2, parameters, **kwargs
        )

    return run


def test_resuming_from_a_checkpoint_cut_anywhere_changes_nothing_else(little_run):
    little_run()
    others = {file: Path(file).read_bytes() for file in (LOG, BEST)}
    for cut in cuts(Path(LAST).read_bytes()):
        Path(LAST).write_bytes(cut)
        with pytest.raises(
            UserError, match=f'{LAST} is (damaged|no checkpoint).*train_main.py|{LAST} is no checkpoint'
        ):
            little_run(resume=True)
        assert Path(LAST).read_bytes() == cut
        assert {file: Path(file).read_bytes() for file in others} == others
    little_run()  # what the message says: make it again
    assert len(records.read_runs(LOG)) == 2


def test_a_log_cut_anywhere_is_left_alone_and_the_training_is_not_lost(little_run, monkeypatch):
    little_run()
    whole = Path(LOG).read_bytes()
    for cut in cuts(whole):
        Path(LOG).write_bytes(cut)
        with pytest.raises(UserError, match=f'{LOG} cannot be read as JSON .* Restore it, or remove it'):
            records.append_run(LOG, {'number': 2})
        assert Path(LOG).read_bytes() == cut
    Path(LOG).unlink()
    with monkeypatch.context() as patch:  # somebody damages it while a training is at work
        validate = Trainer.validate
        patch.setattr(Trainer, 'validate', lambda self: (Path(LOG).write_bytes(cut), validate(self))[1])
        with pytest.raises(UserError, match='Restore it, or remove it'):
            little_run()
    Path(LOG).unlink()
    little_run(resume=True)
    assert records.last_run(LOG)['train_loss'] == json.loads(whole)[0]['train_loss']


class Malicious:
    def __reduce__(self):
        return os.system, ('touch executed',)


def test_nothing_that_reads_a_strangers_file_executes_it(little_run):
    little_run()
    torch.save({'model': Malicious(), 'run': {'model': 'MyNet'}}, 'zip.pt')
    Path('raw.pt').write_bytes(pickle.dumps({'model': Malicious(), 'state_dict': Malicious()}))
    np.savez('detector.npz', metadata=np.array([Malicious()], dtype=object))
    for file in ('zip.pt', 'raw.pt'):
        with pytest.raises(UserError, match=file):
            detectors.load_detector(file, 'MyNet')
        with pytest.raises(UserError, match=file):
            load_backbone_weights(nn.Linear(1, 1), file)
        shutil.copy(file, LAST)
        with pytest.raises(UserError, match=LAST):
            little_run(resume=True)
    with pytest.raises(UserError, match='detector.npz'):
        classical.load('detector.npz')
    assert not Path('executed').exists()


# --- two at once, data that change, memory ------------------------------------------------------------


def test_a_hundred_races_of_two_runs_lose_no_entry(forks, tmp_path):
    pids = [forks.start(tmp_path, append_runs, own=a, other=b, races=100) for a, b in ('ab', 'ba')]
    assert [forks.wait(pid) for pid in pids] == [0, 0], output(tmp_path)
    runs = records.read_runs(tmp_path / 'out' / 'log.json')
    assert sorted(run['run']['id'] for run in runs) == sorted(f'{name}{race}' for name in 'ab' for race in range(100))
    assert not temporaries(tmp_path)


def test_two_trainings_of_one_name_at_once_leave_whole_files(forks, data, unbroken, tmp_path):
    pids = [forks.start(tmp_path, train, net='SimpleNet', data=data, run_id=name) for name in 'ab']
    assert [forks.wait(pid) for pid in pids] == [0, 0], output(tmp_path)
    (expected,) = unbroken['SimpleNet'].files[LOG]
    runs = records.read_runs(tmp_path / LOG)
    assert sorted(run['run']['id'] for run in runs) == ['a', 'b']
    assert all(run['train_loss'] == expected['train_loss'] for run in runs)
    for file in (BEST, LAST):
        assert (
            exact(torch.load(tmp_path / file, weights_only=True)['model']) == unbroken['SimpleNet'].files[file]['model']
        )


def test_a_file_added_under_a_resumed_run_is_noticed(workdir, call_main, monkeypatch):
    folder = make_dataset(workdir / 'data' / 'own', counts={'train': 4, 'val': 1, 'test': 1})
    monkeypatch.setenv('FACES_DATASETS', str(folder.parent))
    line = ['-d', 'own', '-m', 'MyNet', '-b', 4, '-e', 1]
    assert call_main(train_main, *line)[0] == 0
    whole = {path: path.read_bytes() for path in (*Path('out').glob('*'), *Path('checkpoints').glob('*'))}
    shutil.copy(folder / 'train' / 'real' / '000.jpg', folder / 'train' / 'real' / 'new.jpg')
    status, _, errors = call_main(train_main, *line, '--resume')
    assert status == 1 and 'the data changed since (train)' in errors and 'leave --resume out' in errors
    assert {path: path.read_bytes() for path in whole} == whole


def test_a_file_that_vanishes_under_a_cache_is_noticed(tmp_path):
    folder = make_dataset(tmp_path / 'd', counts={'test': 2}, size=16) / 'test'
    dataset = FacesDataset(str(folder), transforms.Compose([transforms.ToTensor()]))
    evaluating = Trainer(
        nn.Sequential(nn.Flatten(), nn.Linear(768, 2)), None, nn.CrossEntropyLoss(), 2, None, None, dataset
    )
    assert evaluating.test() == evaluating.test()
    (folder / 'fake' / '001.jpg').unlink()
    with pytest.raises(UserError, match='001.jpg: no such file'):
        evaluating.test()


def test_memory_stays_flat_over_fifty_epochs(forks, tiny_root, tmp_path):
    """The pictures are large beside the network: keeping one batch of each epoch would be a third more."""
    assert forks.run(tmp_path, resident, data=str(tiny_root / 'fakes_dataset'), epochs=50) == 0, output(tmp_path)
    sizes = json.loads((tmp_path / 'sizes.json').read_text())
    assert len(sizes) == 50
    assert max(sizes[5:]) < 1.05 * sizes[4], f'{sizes[4] / 2**20:.0f} MB grew to {max(sizes) / 2**20:.0f}'
