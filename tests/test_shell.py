"""The shell scripts, in a scratch copy with spaces in its path and with stubs that log their calls."""

import contextlib
import importlib
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from importlib.metadata import PackageNotFoundError, requires
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent

FAKES = 'checkpoints/fakes_dataset_SimpleNet_Adam.pt -d fakes_dataset'
SYNTHETIC = 'checkpoints/synthetic_dataset_SimpleNet_Adam.pt -d synthetic_dataset'
XCEPTION = 'checkpoints/synthetic_dataset_XceptionBased_Adam.pt -d synthetic_dataset'
TRAIN_XCEPTION = 'python train_main.py -d synthetic_dataset -m XceptionBased --lr 0.001 -b 32 -e 2 -o Adam'
ASSIGNMENT = [
    'python plot_samples_of_faces_datasets.py',
    'python train_main.py -d fakes_dataset -m SimpleNet --lr 0.001 -b 32 -e 5 -o Adam',
    'python train_main.py -d synthetic_dataset -m SimpleNet --lr 0.001 -b 32 -e 5 -o Adam',
    TRAIN_XCEPTION,
    'python plot_accuracy_and_loss.py -m SimpleNet -j out/fakes_dataset_SimpleNet_Adam.json -d fakes_dataset',
    'python plot_accuracy_and_loss.py -m SimpleNet -j out/synthetic_dataset_SimpleNet_Adam.json -d synthetic_dataset',
    'python plot_accuracy_and_loss.py -m XceptionBased -j out/synthetic_dataset_XceptionBased_Adam.json'
    ' -d synthetic_dataset',
    f'python numerical_analysis.py -m SimpleNet -cpp {FAKES}',
    f'python numerical_analysis.py -m SimpleNet -cpp {SYNTHETIC}',
    f'python numerical_analysis.py -m XceptionBased -cpp {XCEPTION}',
    f'python saliency_map.py -m SimpleNet -cpp {FAKES}',
    f'python saliency_map.py -m XceptionBased -cpp {XCEPTION}',
    f'python grad_cam_analysis.py -m SimpleNet -cpp {FAKES}',
    f'python grad_cam_analysis.py -m SimpleNet -cpp {SYNTHETIC}',
    f'python grad_cam_analysis.py -m XceptionBased -cpp {XCEPTION}',
    'python bonus_main.py',
    'python nof_params.py',
    'python answer_questions.py',
    'python make_report.py',
]
MAKE_DATA = 'python make_demo_data.py'

# Logs its call. When trouble.txt names this line, it fails, or waits until the file is gone. Of Ctrl-C a training ends
# with a status of its own; any other dies of the signal, as Python does when it is still importing. It starts some six
# hundred times, so it imports no more than it must.
STUB = """\
import sys, time

def trouble():
    try:
        return open('../trouble.txt').read()
    except FileNotFoundError:
        return ''

line = ' '.join(['python', *sys.argv])
with open('../calls.txt', 'a') as log:
    log.write(line + '\\n')
try:
    while trouble() == 'wait ' + line:
        time.sleep(0.02)
except KeyboardInterrupt:
    if sys.argv[0] == 'train_main.py':
        sys.exit(130)
    raise
if trouble() == 'fail ' + line:
    sys.exit(7)
open('figures/some.png', 'a').close()
"""
STUB_DATA = """
from pathlib import Path
for name in ('fakes_dataset', 'synthetic_dataset'):
    for part in ('train', 'val', 'test'):
        for label in ('real', 'fake'):
            folder = Path('demo_datasets', name, part, label)
            folder.mkdir(parents=True, exist_ok=True)
            (folder / '1.jpg').write_text('some bytes')
"""


class Project:
    """A scratch copy of the project and what was called in it."""

    def __init__(self, folder: Path):
        self.root = folder / 'a folder of ours'
        self.calls_file = folder / 'calls.txt'
        self.trouble = folder / 'trouble.txt'
        for name in ('out', 'figures', 'checkpoints'):
            (self.root / name).mkdir(parents=True)
        for name in ('run_me.sh', 'setup.sh', 'requirements.in', 'requirements.txt', '.gitignore'):
            shutil.copy(ROOT / name, self.root)
        shutil.copytree(ROOT / 'forensics', self.root / 'forensics', ignore=shutil.ignore_patterns('__pycache__'))
        for line in [*ASSIGNMENT, MAKE_DATA]:
            (self.root / line.split()[1]).write_text(STUB)
        (self.root / 'make_demo_data.py').write_text(STUB + STUB_DATA)
        self.environment = {
            name: value for name, value in os.environ.items() if not name.startswith(('COVERAGE', 'FACES_DATASETS'))
        } | {'PATH': f'{Path(sys.executable).parent}:{os.environ["PATH"]}'}

    def start(self, *arguments: str) -> subprocess.Popen:
        return subprocess.Popen(
            [self.root / 'run_me.sh', *arguments],
            cwd='/',
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def run(self, *arguments: str) -> tuple[int, str]:
        """Exit status and output."""
        process = self.start(*arguments)
        output, _ = process.communicate(timeout=60)
        return process.returncode, output

    def start_until(self, line: str) -> subprocess.Popen:
        """Starts run_me.sh and returns while the line runs."""
        self.trouble.write_text('wait ' + line)
        process = self.start()
        wait_for(lambda: self.calls_file.exists() and line in self.calls_file.read_text().splitlines())
        return process

    def kill_in(self, line: str, how: signal.Signals = signal.SIGKILL) -> tuple[int, str]:
        """Starts run_me.sh and kills it, and the line, while the line runs."""
        process = self.start_until(line)
        os.killpg(process.pid, how)
        output, _ = process.communicate(timeout=60)
        self.trouble.unlink()
        return process.returncode, output

    def calls(self) -> list[str]:
        """The calls since the last question."""
        lines = self.calls_file.read_text().splitlines() if self.calls_file.exists() else []
        self.calls_file.unlink(missing_ok=True)
        return lines


def wait_for(condition, seconds: float = 30) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, 'waited in vain'
        time.sleep(0.02)


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path)


@pytest.mark.parametrize('script', ['run_me.sh', 'run_tests.sh', 'setup.sh', 'predict.sh', '.ci/run'])
def test_scripts_are_valid_and_executable(script: str):
    assert subprocess.run(['bash', '-n', ROOT / script], check=False).returncode == 0
    assert os.access(ROOT / script, os.X_OK)


def test_lines_stand_verbatim_in_run_me():
    lines = (ROOT / 'run_me.sh').read_text().splitlines()
    assert [line for line in lines if line.startswith('python ')] == ASSIGNMENT


@pytest.mark.parametrize('line', [*ASSIGNMENT, MAKE_DATA, TRAIN_XCEPTION + ' --resume'])
def test_commands_take_their_line(line: str):
    _, script, *arguments = line.split()
    assert importlib.import_module(script.removesuffix('.py')).parse_args(arguments)


# ---- run_me.sh


def test_run_me_makes_data_once_and_runs_every_line_in_order(project: Project):
    status, output = project.run()
    assert status == 0, output
    assert project.calls() == [MAKE_DATA, *ASSIGNMENT]
    assert f'[{len(ASSIGNMENT)}/{len(ASSIGNMENT)}, ' in output
    assert str(project.root / 'figures') in output
    assert f'fakes_dataset: {project.root / "demo_datasets"}' in output
    # A second run finds the data, and begins anew.
    assert project.run()[0] == 0
    assert project.calls() == ASSIGNMENT


@pytest.mark.skipif(not shutil.which('git'), reason='needs git')
def test_run_me_leaves_git_status_clean(project: Project):
    def git(*arguments: str) -> str:
        identity = ['-c', 'user.name=x', '-c', 'user.email=x@example.org']
        command = ['git', '-C', str(project.root), *identity, *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout

    git('init', '--quiet')
    git('add', '.')
    git('commit', '--quiet', '-m', 'scratch')
    project.kill_in(TRAIN_XCEPTION)
    assert git('status', '--porcelain') == ''
    assert project.run()[0] == 0
    assert git('status', '--porcelain') == ''


def test_run_me_stops_at_first_failure_and_goes_on_there(project: Project):
    line = ASSIGNMENT[9]
    project.trouble.write_text('fail ' + line)
    status, output = project.run()
    assert status == 7
    assert project.calls() == [MAKE_DATA, *ASSIGNMENT[:10]]
    assert f'Line 10 of {len(ASSIGNMENT)} failed with status 7:\n    {line}\n' in output
    project.trouble.unlink()
    assert project.run()[0] == 0
    assert project.calls() == ASSIGNMENT[9:]


def test_killed_run_me_resumes_that_training_alone(project: Project):
    project.kill_in(TRAIN_XCEPTION)
    assert project.calls() == [MAKE_DATA, *ASSIGNMENT[:4]]
    project.kill_in(TRAIN_XCEPTION + ' --resume')
    assert project.calls() == [TRAIN_XCEPTION + ' --resume']
    assert project.run()[0] == 0
    assert project.calls() == [TRAIN_XCEPTION + ' --resume', *ASSIGNMENT[4:]]
    # That run came to its end: the next one is a new one.
    assert project.run()[0] == 0
    assert project.calls() == ASSIGNMENT


def test_training_never_resumes_from_an_older_run(project: Project):
    """Killed before its first epoch was saved, a training found the state of the run before."""
    project.run()
    trainings = [re.match(r'python train_main.py -d (\S+) -m (\S+) .* -o (\S+)', line) for line in ASSIGNMENT]
    states = [project.root / f'checkpoints/{"_".join(match.groups())}.last.pt' for match in trainings if match]
    for state in states:
        state.write_text('of an older run')
    project.calls()
    project.kill_in(TRAIN_XCEPTION)
    assert [state.exists() for state in states] == [False] * 3
    states[2].write_text('of this run')
    project.run()
    assert states[2].exists()


@pytest.mark.parametrize('number', [1, 2])
def test_interrupted_run_me_says_how_to_go_on(project: Project, number: int):
    line, *rest = ASSIGNMENT[number - 1 :]
    status, output = project.kill_in(line, signal.SIGINT)
    assert status == 130
    assert f'Interrupted in line {number} of {len(ASSIGNMENT)}:\n    {line}\n' in output
    project.calls()
    assert project.run()[0] == 0
    assert project.calls() == [line + ' --resume' if 'train_main' in line else line, *rest]


def test_failed_demo_data_stops_run_me(project: Project):
    project.trouble.write_text('fail ' + MAKE_DATA)
    status, output = project.run()
    assert status == 7
    assert 'Making the demo data ended with status 7' in output
    assert project.calls() == [MAKE_DATA]


def test_fresh_begins_anew(project: Project):
    project.kill_in(TRAIN_XCEPTION)
    project.calls()
    assert project.run('--fresh')[0] == 0
    assert project.calls() == ASSIGNMENT


@pytest.mark.parametrize('changed', ['demo_datasets/fakes_dataset/val/real/2.jpg', 'trainer.py', 'forensics/new.py'])
def test_changed_data_or_code_begins_anew(project: Project, changed: str):
    project.kill_in(TRAIN_XCEPTION)
    project.calls()
    (project.root / changed).write_text('# new')
    status, output = project.run()
    assert status == 0
    assert project.calls() == ASSIGNMENT
    assert 'has changed since the unfinished run' in output


def test_interrupted_demo_data_is_made_again(project: Project):
    """Each data set appears when it is whole: so one of them may be there."""
    project.kill_in(MAKE_DATA)
    (project.root / 'demo_datasets/fakes_dataset/train/real').mkdir(parents=True)
    project.calls()
    assert project.run()[0] == 0
    assert project.calls() == [MAKE_DATA, *ASSIGNMENT]


def test_named_data_root_without_data_is_an_error(project: Project, tmp_path: Path):
    project.environment['FACES_DATASETS'] = str(tmp_path)
    status, output = project.run()
    assert status == 1
    assert f'error: No data set "fakes_dataset" in {tmp_path}' in output
    assert project.calls() == []


def test_data_without_parts_is_an_error(project: Project):
    for name in ('fakes_dataset', 'synthetic_dataset'):
        (project.root.parent / name / 'real').mkdir(parents=True)
    status, output = project.run()
    assert status == 1
    assert 'Split it first' in output
    assert project.calls() == []


@pytest.mark.skipif(not shutil.which('flock'), reason='needs flock')
def test_second_start_waits_for_the_line_of_a_killed_one(project: Project):
    first = project.start_until(TRAIN_XCEPTION)
    first.kill()
    first.wait()
    second = project.start()
    assert 'waiting for its end' in second.stdout.readline()
    project.trouble.unlink()
    second.communicate(timeout=60)
    assert second.returncode == 0
    assert project.calls() == [MAKE_DATA, *ASSIGNMENT[:4], TRAIN_XCEPTION + ' --resume', *ASSIGNMENT[4:]]


def test_unknown_argument_shows_the_usage(project: Project):
    status, output = project.run('--frehs')
    assert status == 2
    assert './run_me.sh --fresh ' in output
    assert project.run('--help') == (0, output)
    assert project.calls() == []


# ---- setup.sh

# A Python that has no packages, except in a .venv that pip has filled. `flaws` makes it worse.
FAKE_PYTHON = """\
import os, shutil, signal, sys
from importlib import metadata
from pathlib import Path

me, flaws, arguments = Path(sys.argv[1]), sys.argv[2].split(), sys.argv[3:]
filled = me.parent / 'filled'

def version(name):
    if not filled.exists():
        raise metadata.PackageNotFoundError(name)
    return real_version(name)

if arguments[0] == '-c':
    real_version, metadata.version = metadata.version, version
    if 'old' in flaws:
        sys.version_info = (3, 8, 10, 'final', 0)
    if 'without-venv' in flaws:
        sys.modules['ensurepip'] = None
    if 'opencv4' in flaws:
        filled = me
        real_version = lambda name: '4.14.0' if 'opencv' in name else metadata.distribution(name).version
    sys.argv = ['-c', *arguments[2:]]
    exec(arguments[1])
    sys.exit()
with open('../calls.txt', 'a') as log:
    print(*arguments, file=log)
if arguments[:2] == ['-m', 'venv']:
    new = Path(arguments[2], 'bin', 'python')
    new.parent.mkdir(parents=True)
    shutil.copy(me, new)
elif arguments[:3] == ['-m', 'pip', 'install']:
    if Path('kill').exists():
        os.kill(os.getppid(), signal.SIGKILL)
        sys.exit(1)
    if Path('fail').exists():
        sys.exit(1)
    filled.touch()
"""
INSTALL = [
    '-m pip install --disable-pip-version-check --no-input --require-hashes -r requirements.txt',
    '-m pip install --disable-pip-version-check --no-input --require-hashes --no-deps -r requirements-no-deps.txt',
]


class Setup:
    """setup.sh in a scratch folder, on a machine that has the Python given, a shell and little else."""

    def __init__(self, folder: Path, flaws: str = '', name: str = 'python3'):
        self.root = folder / 'a folder of ours'
        self.root.mkdir()
        for file in ('setup.sh', 'predict.sh', *(path.name for path in ROOT.glob('requirements*'))):
            shutil.copy(ROOT / file, self.root)
        tools = folder / 'tools'
        tools.mkdir()
        for tool in ('bash', 'cat', 'cp', 'dirname', 'flock', 'mkdir', 'mv', 'rm'):
            if shutil.which(tool):
                (tools / tool).symlink_to(shutil.which(tool))
        (folder / 'fake.py').write_text(FAKE_PYTHON)
        python = tools / name
        python.write_text(f'#!/bin/bash\nexec "{sys.executable}" "{folder}/fake.py" "$0" "{flaws}" "$@"\n')
        python.chmod(0o755)
        self.tools = tools

    def run(self, environment: str = '') -> tuple[int, str]:
        """Exit status, and PYTHON or what was said."""
        command = f'ENVIRONMENT={environment}; . "{self.root}/setup.sh" && echo "$PYTHON"'
        result = subprocess.run(
            [self.tools / 'bash', '-c', command],
            cwd='/',
            env={'PATH': str(self.tools)},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
        )
        return result.returncode, (result.stdout or result.stderr).strip()

    def calls(self) -> list[str]:
        log = self.root.parent / 'calls.txt'
        lines = log.read_text().splitlines() if log.exists() else []
        log.unlink(missing_ok=True)
        return [line for line in lines if line != '-m pip --version']


def test_setup_takes_a_python_that_has_the_packages(project: Project):
    command = f'. "{project.root}/setup.sh" && echo "$PYTHON"'
    result = subprocess.run(
        ['bash', '-c', command], env=project.environment, capture_output=True, text=True, check=True
    )
    assert Path(result.stdout.strip()).parent == Path(sys.executable).parent
    assert not (project.root / '.venv').exists()


@pytest.mark.parametrize('name', ['python', 'python3', 'python3.11'])
def test_setup_makes_a_venv_once(tmp_path: Path, name: str):
    setup = Setup(tmp_path, name=name)
    assert setup.run() == (0, f'{setup.root}/.venv/bin/python')
    assert setup.calls() == ['-m venv .venv', *INSTALL]
    assert setup.run() == (0, f'{setup.root}/.venv/bin/python')
    assert setup.calls() == []


def test_packages_of_another_major_version_do_not_count(tmp_path: Path):
    setup = Setup(tmp_path, flaws='opencv4')
    setup.run()
    assert setup.calls() == ['-m venv .venv', *INSTALL]


def test_interrupted_setup_is_repaired(tmp_path: Path):
    setup = Setup(tmp_path)
    (setup.root / 'kill').touch()
    assert setup.run()[0] == -signal.SIGKILL
    (setup.root / '.venv/half-written').touch()
    (setup.root / 'kill').unlink()
    setup.calls()
    assert setup.run() == (0, f'{setup.root}/.venv/bin/python')
    assert setup.calls() == ['-m venv .venv', *INSTALL]
    assert not (setup.root / '.venv/half-written').exists()


def test_new_requirements_are_installed_into_the_same_venv(tmp_path: Path):
    setup = Setup(tmp_path)
    setup.run()
    setup.calls()
    with open(setup.root / 'requirements.txt', 'a') as file:
        file.write('# one more\n')
    assert setup.run()[0] == 0
    assert setup.calls() == INSTALL
    setup.run()
    assert setup.calls() == []


def test_venv_whose_python_is_gone_is_made_anew(tmp_path: Path):
    setup = Setup(tmp_path)
    setup.run()
    setup.calls()
    (setup.root / '.venv/bin/python').unlink()
    assert setup.run()[0] == 0
    assert setup.calls() == ['-m venv .venv', *INSTALL]


def test_activated_unfinished_venv_is_no_base(tmp_path: Path):
    setup = Setup(tmp_path)
    (setup.root / 'kill').touch()
    setup.run()
    (setup.root / 'kill').unlink()
    command = f'PATH="{setup.root}/.venv/bin:$PATH"; . "{setup.root}/setup.sh" && echo "$PYTHON"'
    environment = {'PATH': str(setup.tools)}
    setup.calls()
    subprocess.run([setup.tools / 'bash', '-c', command], env=environment, check=True, capture_output=True)
    assert setup.calls() == ['-m venv .venv', *INSTALL]


def test_failed_installation_is_said(tmp_path: Path):
    setup = Setup(tmp_path)
    (setup.root / 'fail').touch()
    status, said = setup.run()
    assert status == 1
    assert 'could not be installed' in said


@pytest.mark.parametrize(
    ('flaws', 'words'),
    [
        ('old', 'Python 3.11 or newer is needed, and none was found ('),
        ('without-venv', 'sudo apt install python3-venv'),
    ],
)
def test_python_that_will_not_do_is_explained(tmp_path: Path, flaws: str, words: str):
    setup = Setup(tmp_path, flaws)
    status, said = setup.run()
    assert status == 1
    assert words in said
    assert 'conda env create -f environment.yml' in said
    assert not (setup.root / '.venv').exists()


def test_machine_without_python_is_explained(tmp_path: Path):
    setup = Setup(tmp_path, name='perl')
    status, said = setup.run()
    assert status == 1
    assert 'Python 3.11 or newer is needed, and none was found.' in said


# ---- predict.sh

INSTALL_SMALL = INSTALL[0].replace('-r requirements.txt', '--quiet --no-compile --no-deps -rrequirements-predict.txt')
INSTALL_PAGE = f'{INSTALL_SMALL} -rrequirements-app.txt'
WITHOUT_SETUPTOOLS = '-m pip uninstall --disable-pip-version-check -qq --yes setuptools'


def test_predict_makes_a_small_venv_once(tmp_path: Path):
    setup = Setup(tmp_path)
    for calls in (['-m venv .venv-predict', INSTALL_SMALL, WITHOUT_SETUPTOOLS], []):
        assert setup.run('predict') == (0, f'{setup.root}/.venv-predict/bin/python')
        assert setup.calls() == calls
    assert not (setup.root / '.venv').exists()


def test_predict_takes_the_full_venv_where_there_is_one(tmp_path: Path):
    setup = Setup(tmp_path)
    setup.run()
    setup.calls()
    assert setup.run('predict') == (0, f'{setup.root}/.venv/bin/python')
    assert setup.calls() == []


def test_predict_takes_a_python_that_has_the_few_packages(project: Project):
    shutil.copy(ROOT / 'requirements-predict.in', project.root)
    shutil.copy(ROOT / 'requirements-predict.txt', project.root)
    command = f'ENVIRONMENT=predict; . "{project.root}/setup.sh" && echo "$PYTHON"'
    result = subprocess.run(
        ['bash', '-c', command], env=project.environment, capture_output=True, text=True, check=True
    )
    assert Path(result.stdout.strip()).parent == Path(sys.executable).parent


def test_interrupted_small_setup_is_repaired(tmp_path: Path):
    setup = Setup(tmp_path)
    (setup.root / 'kill').touch()
    assert setup.run('predict')[0] == -signal.SIGKILL
    (setup.root / '.venv-predict/half-written').touch()
    (setup.root / 'kill').unlink()
    setup.calls()
    assert setup.run('predict') == (0, f'{setup.root}/.venv-predict/bin/python')
    assert setup.calls() == ['-m venv .venv-predict', INSTALL_SMALL, WITHOUT_SETUPTOOLS]
    assert not (setup.root / '.venv-predict/half-written').exists()


def test_predict_names_files_from_where_the_user_stands(tmp_path: Path):
    setup = Setup(tmp_path)
    result = subprocess.run(
        [setup.tools / 'bash', setup.root / 'predict.sh', 'a photo.jpg', '--json'],
        cwd=tmp_path / 'tools',
        env={'PATH': str(setup.tools)},
        check=True,
        capture_output=True,
        text=True,
    )
    assert setup.calls()[-1] == f'{setup.root}/predict.py a photo.jpg --json'
    assert 'Setting up .venv-predict' in result.stderr and not result.stdout


def test_the_page_adds_to_the_small_venv_which_then_serves_both(tmp_path: Path):
    setup = Setup(tmp_path)
    steps = [
        ('predict', ['-m venv .venv-predict', INSTALL_SMALL, WITHOUT_SETUPTOOLS]),
        ('page', [INSTALL_PAGE, WITHOUT_SETUPTOOLS]),
        ('page', []),
        ('predict', []),
    ]
    for environment, calls in steps:
        assert setup.run(environment) == (0, f'{setup.root}/.venv-predict/bin/python')
        assert setup.calls() == calls


def test_predict_page_starts_the_page(tmp_path: Path):
    setup = Setup(tmp_path)
    command = [setup.tools / 'bash', setup.root / 'predict.sh', '--page', '--port', '8000']
    subprocess.run(command, cwd=setup.tools, env={'PATH': str(setup.tools)}, check=True, capture_output=True)
    installed = ['-m venv .venv-predict', INSTALL_PAGE, WITHOUT_SETUPTOOLS]
    assert setup.calls() == [*installed, f'{setup.root}/app.py --port 8000']


# ---- what is installed


def pins(name: str) -> dict[str, str]:
    """{package==version and where it counts: its hashes} of a lock."""
    text = (ROOT / name).read_text()
    assert '://' not in text
    return dict(re.findall(r'^([\w.-]+(?:\[.*\])?==[^\s\\]+(?: ; [^\\]+)?) (.*(?:\n +.*)*)', text, re.M))


@pytest.mark.parametrize('small', ['requirements-predict', 'requirements-app'])
def test_the_small_locks_hold_the_same_versions(small):
    locked, found = pins('requirements.txt') | pins('requirements-no-deps.txt'), pins(f'{small}.txt')
    chosen = set(re.findall(r'^[\w.-]+', (ROOT / f'{small}.in').read_text(), re.M))
    names = {re.split(r'\[|==', pin)[0] for pin in found}
    assert found.keys() <= locked.keys() and all('--hash=sha256:' in hashes for hashes in found.values())
    assert names == chosen if small == 'requirements-predict' else chosen < names  # the page's asks for others


def test_lock_holds_every_requirement_with_hashes_and_no_address():
    chosen = re.findall(r'^[\w.-]+', (ROOT / 'requirements.in').read_text(), re.M)
    text = (ROOT / 'requirements.txt').read_text()
    blocks = re.findall(r'^([\w.-]+)(?:\[.*\])?==(.*(?:\n +.*)*)', text, re.M)
    assert {'torch', 'pytest'} <= set(chosen) <= {name for name, _ in blocks}
    assert all('--hash=sha256:' in block for _, block in blocks)
    assert '://' not in text


def test_what_a_package_wants_with_an_extra_is_pinned_with_it():
    """pytest-cov wants coverage[toml]; with `coverage` alone in the lock, pip went for the newest one and gave up."""
    pinned = {}
    for name, extras in re.findall(r'^([\w.-]+)(?:\[(.*)\])?==', (ROOT / 'requirements.txt').read_text(), re.M):
        pinned[canonicalize_name(name)] = {extra.strip() for extra in extras.split(',') if extra}
    assert pinned['coverage'] == {'toml'}
    for name in pinned:
        with contextlib.suppress(PackageNotFoundError):  # for another system
            for wanted in map(Requirement, requires(name) or []):
                if canonicalize_name(wanted.name) in pinned and (not wanted.marker or wanted.marker.evaluate()):
                    assert wanted.extras <= pinned[canonicalize_name(wanted.name)], (name, wanted)


def test_environment_agrees_with_the_lock():
    environment = yaml.safe_load((ROOT / 'environment.yml').read_text())
    assert environment['name'] in (ROOT / 'setup.sh').read_text()
    conda, pip = environment['dependencies'][:-1], environment['dependencies'][-1]['pip']
    assert conda == ['python=3.11', 'pip']
    assert pip == ['-r requirements.txt']
    assert '--python-version 3.11 ' in (ROOT / 'Makefile').read_text()
