"""Run a command of the project in a folder of its own, as a benchmark's step; the folder keeps what it leaves."""

import os
import subprocess
import sys
from pathlib import Path

from forensics.data import datasets
from forensics.errors import UserError

PROJECT = Path(__file__).resolve().parent.parent


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
