"""Every command that README and docs show is run, page after page in one folder, on a little data.

The shell scripts have tests of their own (test_shell.py), and so have `torchrun` (test_distributed.py) and the page
(test_app.py).
"""

import glob
import importlib
import io
import re
import shlex
import shutil
import sys
from pathlib import Path

import pytest
from conftest import PROJECT

import make_demo_data
from forensics.running import starting

# What makes a command's input stands before it.
PAGES = [
    *(f'docs/{name}.md' for name in ('assignment', 'own_data')),
    'README.md',
    *(f'docs/{name}.md' for name in ('benchmark', 'photographs', 'explanations')),
]
TEXTS = [*PROJECT.glob('*.md'), *PROJECT.glob('docs/*.md'), *PROJECT.glob('checkpoints/*.md')]
COMMAND = re.compile(r'^(?:\| [^|]+ \| `)?((?:python \w+\.py|\./predict\.sh (?!--page))[^`#\n]*)', re.MULTILINE)
LESS = {
    'train_main.py': '-e 1',
    'make_demo_data.py': '--train 4 --val 3 --test 3 -o drawn --workers 1',
    'faithfulness.py': '--images 2 --scrambled 1',
    'hyperparameter_search.py': '--trials 1 --epochs 1',
}
ANSWERS = {'predict.py': {0, 1, 2}, 'audit_dataset.py': {0, 1}}  # statuses that are no failure


def commands(page: str) -> list[str]:
    return [line.strip() for line in COMMAND.findall((PROJECT / page).read_text())]


@pytest.mark.parametrize('page', [path.relative_to(PROJECT) for path in TEXTS], ids=str)
def test_links_lead_somewhere(page: Path):
    for link in re.findall(r'\]\(([^)#]+)[^)]*\)', (PROJECT / page).read_text()):
        assert link.startswith('http') or (PROJECT / page.parent / link).exists(), f'{page} links to {link}'


def test_commands_are_found():
    assert './predict.sh photo.jpg holiday/ film.mp4' in commands('README.md')
    assert 'python make_report.py --check' in commands('docs/assignment.md')
    assert len(sum(map(commands, PAGES), [])) > 25


def test_pages_that_show_commands_are_all_run():
    """Benchmarks take minutes and `torchrun` processes, so pages that show nothing else are left out."""
    shown = {str(path.relative_to(PROJECT)) for path in TEXTS}
    assert {page for page in shown if commands(page)} == set(PAGES)


@pytest.fixture(scope='module')
def folder(tmp_path_factory, tiny_root) -> Path:
    """What a reader has: the course's data, photographs, a film."""
    home = tmp_path_factory.mktemp('reader')
    shutil.copytree(PROJECT / 'checkpoints', home / 'checkpoints')
    for name, label in {'photos': 'real', 'swapped': 'fake', 'holiday': 'real'}.items():
        (home / name).mkdir()
        for number in range(12):
            picture = make_demo_data.draw_picture(0, 'fakes_dataset', 'train', label, number, people=12, size=256)
            (home / name / f'{name}{number:02}.jpg').write_bytes(picture)
    shutil.copy(home / 'holiday' / 'holiday00.jpg', home / 'photo.jpg')
    film(home / 'film.mp4', home / 'photo.jpg')
    return home


def film(path: Path, picture: Path) -> None:
    import cv2

    image = cv2.imread(str(picture))
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*'mp4v'), 5, image.shape[1::-1])
    for _ in range(5):
        writer.write(image)
    writer.release()


@pytest.mark.parametrize('page', PAGES)
def test_every_command_runs(page: str, folder: Path, tiny_root: Path, monkeypatch, capfd):
    monkeypatch.chdir(folder)
    for line in commands(page):
        monkeypatch.setenv('FACES_DATASETS', str(tiny_root))  # each time: a command's --data-root stays in it
        monkeypatch.setenv('FACES_DEVICE', '')
        script, arguments = words_of(line, monkeypatch)
        module = importlib.import_module(script.removesuffix('.py'))
        try:
            status = starting.run(lambda: module.main(arguments), failed=99) or 0  # noqa: B023
        except SystemExit as end:
            status = end.code
        printed = capfd.readouterr()
        assert status in ANSWERS.get(script, {0}), f'{page}: {line}\n{printed.out}\n{printed.err}'


def words_of(line: str, monkeypatch) -> tuple[str, list[str]]:
    """(script, arguments), as a shell would give them."""
    line, _, source = line.partition(' < ')
    if source:
        monkeypatch.setattr(sys, 'stdin', io.TextIOWrapper(io.BytesIO(Path(source.strip()).read_bytes())))
    first, *words = shlex.split(line)
    script = words.pop(0) if first == 'python' else 'predict.py'
    words += shlex.split(LESS.get(script, ''))
    return script, [found for word in words for found in (sorted(glob.glob(word)) if '*' in word else [word])]
