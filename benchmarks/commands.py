"""Run a command of the project in a folder of its own, as a benchmark's step; the folder keeps what it leaves."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np

from forensics import records
from forensics.data import datasets
from forensics.data.parts import Part
from forensics.errors import UserError
from forensics.judging import scoring

PROJECT = Path(__file__).resolve().parent.parent
SIZE = 256  # of the assignment's networks; other pictures are scaled for all networks alike


def run(script: str, words: list, folder: Path, root: Path, environment: dict[str, str] | None = None) -> None:
    """`root` holds the data sets. What is printed is added to the folder's log.txt."""
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / 'log.txt', 'a') as log:
        done = subprocess.run(
            [sys.executable, str(PROJECT / script), *map(str, words)],
            cwd=folder, env={**os.environ, **(environment or {}), datasets.ROOT_VARIABLE: str(root.resolve())},
            stdout=log, stderr=log,
        )  # fmt: skip
    if done.returncode:
        raise UserError(f'{script} ended with status {done.returncode}: see {folder / "log.txt"}.')


def train_and_judge(
    names: list[str],
    model: str,
    words: list,
    folder: Path,
    root: Path,
    environment: dict[str, str] | None = None,
    judge: str | None = None,
) -> tuple[dict, dict]:
    """(the training's log, the metrics of a test part), computed unless they are there.

    `names` are the data sets to train on, `words` the rest of train_main.py's line. `judge` is the data set whose test
    part is taken, the first of the names unless given.
    """
    name, judge = run_name(names, model, words), judge or names[0]
    metrics = folder / records.metrics_path('out', name, judge)
    if not metrics.exists():
        run('train_main.py', ['-d', *names, '-m', model, *words, '--resume'], folder, root, environment)
        line = ['-d', judge, '-m', model, '-cpp', records.checkpoint_path('checkpoints', name)]
        run('numerical_analysis.py', line, folder, root, environment)
    return records.last_run(folder / records.log_path('out', name)), records.read_json(metrics)['metrics']


def scores_of(
    folder: Path, detector: str, dataset: str, condition: str = 'test'
) -> tuple[np.ndarray, np.ndarray, list]:
    """(labels, logits, files) of a part that was scored in the folder."""
    record = records.read_scores(folder / records.scores_path('out', detector, dataset, condition))
    return np.array(record['labels']), scoring.fake_logits(np.array(record['scores'], float)), record['files']


def run_name(names: list[str], model: str, words: list) -> str:
    return records.run_name(datasets.joined(names), model, words[words.index('-o') + 1])


def scaled(dataset: str, folder: Path) -> Path:
    """The root of the data set with pictures of SIZE pixels: its own, or a copy that is made once."""
    from forensics.pictures.files import open_image

    home = datasets.find_dataset(dataset).resolve()
    part = Part.find(dataset, 'train')
    if open_image(str(part.folder / part.files[0])).size == (SIZE, SIZE):
        return home.parent
    copy = (folder / f'scaled_{SIZE}' / dataset).resolve()
    if not (copy / 'manifest.csv').exists():  # which is written last
        words = ['--no-detect', '--size', SIZE, '--from', home, '--output', copy]
        run('preprocessing.py', words, folder, home.parent)
    return copy.parent


def write_table(path: Path, table: list[str]) -> None:
    with records.atomic_path(path) as temporary:
        temporary.write_text('\n'.join(table) + '\n')
    print('\n'.join(['', *table, f'Wrote {path}']))
