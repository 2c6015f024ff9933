"""The benchmark's scores: one for each detector and each picture of a part, perturbed or not.

They are kept in records, so that a second start scores what is missing and an interrupted one goes on.
"""

import collections
import contextlib
import sys
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from PIL import Image

from forensics import records
from forensics.data.parts import Part
from forensics.errors import UserError
from forensics.judging import scoring
from forensics.judging.benchmark_entries import Entry
from forensics.judging.detector import Doubts
from forensics.pictures.files import BrokenImage, open_image
from forensics.pictures.perturbations import Condition
from forensics.running.progress import Progress

CHUNK = 64  # images in memory at once; as many are decoded ahead
SAVE_EVERY = 60  # seconds; a killed run loses no more


class Scores:
    """The record of one detector's scores of one part under one condition; it grows until every file is in it."""

    def __init__(self, folder: str, entry: Entry, part: Part, condition: Condition | None, seed: int):
        self.entry, self.part, self.condition = entry, part, condition
        name = part.name if condition is None else f'{part.name}-{condition}'
        self.path = entry.detector.scores_path(folder, part, name)
        noise = condition is not None and condition.name == 'noise'
        self.key = entry.detector.score_key(part, name, seed if noise else None)
        self.outputs: dict[str, list[float]] = {}
        self.unreadable: dict[str, str] = {}
        # Another file until the record is complete, so that nobody takes a part of the scores for all of them.
        self.unfinished = self.path.with_suffix('.unfinished')
        for path in (self.path, self.unfinished):
            # Scores that are missing, damaged or of other data are made again.
            with contextlib.suppress(UserError, KeyError, TypeError, ValueError):
                record = records.read_scores(path)
                if all(record.get(name) == value for name, value in self.key.items()):
                    self.outputs = dict(zip(record['files'], record['scores'], strict=True))
                    self.unreadable = dict(record.get('unreadable', {}))
                    break

    @property
    def missing(self) -> list[str]:
        return [file for file in self.part.files if file not in self.outputs and file not in self.unreadable]

    @property
    def files(self) -> list[str]:
        """The files that have a score, in the part's order."""
        return [file for file in self.part.files if file in self.outputs]

    def logits(self, files: Sequence[str]) -> np.ndarray:
        # JSON has no NaN: null stands for a broken network's.
        return scoring.fake_logits(np.array([self.outputs[file] for file in files], dtype=np.float64))

    def save(self) -> None:
        path = self.unfinished if self.missing else self.path
        rows = [self.outputs[file] for file in self.files]
        self.entry.detector.write_scores(path, self.key, self.part, self.files, rows, self.unreadable)
        if path == self.path:
            self.unfinished.unlink(missing_ok=True)

    def part_facts(self) -> dict:
        """The part's entry in the benchmark's record."""
        part = self.part
        facts = {
            'folder': str(part.folder),
            'data_fingerprint': part.fingerprint,
            'groups_from': part.groups_from,
            'unreadable': self.unreadable,
        }
        if part.has_videos:
            readable = set(part.videos(self.files).tolist())
            facts['unreadable_videos'] = sorted(set(part.videos(part.files).tolist()) - readable)
        return facts


def score_all(folder: str, entries: Sequence[Entry], part: Part, condition: Condition | None, seed: int) -> None:
    """Score the files without a score in `folder`. A picture is decoded, and perturbed, once for all detectors."""
    able = [entry for entry in entries if entry.detector.can_score(part, condition is not None)]
    todo = {entry.name: Scores(folder, entry, part, condition, seed) for entry in able}
    missing = {name: set(scores.missing) for name, scores in todo.items()}
    wanted = set().union(*missing.values())
    files = [file for file in part.files if file in wanted]
    if not files:
        return
    what = f'{part.dataset} {part.name}' + (f' {condition}' if condition else '')
    doubts = {name: Doubts() for name in todo}
    unsaved = [scores for scores in todo.values() if scores.missing]
    saved = time.monotonic()
    try:
        chunks = -(-len(files) // CHUNK)
        for chunk in Progress(in_chunks(files, opener(part, condition, seed)), chunks, what):
            for scores in unsaved:
                entry = scores.entry
                mine = {file: image for file, image in chunk.items() if file in missing[entry.name]}
                scores.unreadable |= {f: image.reason for f, image in mine.items() if isinstance(image, BrokenImage)}
                images = {file: image for file, image in mine.items() if not isinstance(image, BrokenImage)}
                outputs = entry.detector.outputs(images.values(), doubts[entry.name])
                scores.outputs |= zip(images, outputs.tolist(), strict=True)
            if time.monotonic() - saved > SAVE_EVERY:
                save(unsaved)
                saved = time.monotonic()
    finally:
        save(unsaved)
    if condition is None:
        for name, found in doubts.items():
            for sentence in found.sentences():
                print(f'warning: {name} on {what}: {sentence}', file=sys.stderr)


def save(all_scores: Sequence[Scores]) -> None:
    for scores in all_scores:
        if scores.outputs or scores.unreadable:
            scores.save()


def opener(part: Part, condition: Condition | None, seed: int) -> Callable[[str], Image.Image | BrokenImage]:
    def get(file: str) -> Image.Image | BrokenImage:
        try:
            image = open_image(part.folder / file)
        except BrokenImage as error:
            return error
        # A seed of its own for every file, whatever was scored before.
        return image if condition is None else condition(image, seed=zlib.crc32(f'{seed} {file}'.encode()))

    return get


def in_chunks(files: Sequence[str], get: Callable) -> Iterator[dict]:
    """{file: get(file)}, a chunk at a time; the next chunk is fetched while this one is in use."""
    with ThreadPoolExecutor() as pool:  # Pillow works outside Python's lock
        ahead: collections.deque = collections.deque()
        try:
            for start in range(0, len(files), CHUNK):
                chunk = files[start : start + CHUNK]
                ahead.append((chunk, [pool.submit(get, file) for file in chunk]))
                if len(ahead) > 1:
                    yield results(*ahead.popleft())
            while ahead:
                yield results(*ahead.popleft())
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def results(chunk: Sequence[str], futures: Sequence) -> dict:
    return {file: future.result() for file, future in zip(chunk, futures, strict=True)}
