"""Score data sets that detectors never saw: every detector on every data set, without training anything again:

python benchmark.py --checkpoints checkpoints/*_Adam.pt checkpoints/*_svm.npz --datasets fakes_dataset synthetic_dataset
python benchmark.py --checkpoints A.pt B.npz --datasets X Y --perturb jpeg:30,50,70,90 blur:1,2,4 noise:5,10

Writes out/benchmark.csv, out/benchmark.json, a heat map and, of perturbations, AuC against strength. Scores are kept
in out/scores/, so that a second start computes what is missing and an interrupted one goes on. The threshold is fitted
on the validation part of each detector's own data set; the test parts are only reported.
"""

import argparse
import collections
import contextlib
import csv
import functools
import hashlib
import itertools
import re
import sys
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

import detectors
import options
from common import FIGURES_DIR, OUTPUT_DIR
from forensics import records
from forensics.data import datasets
from forensics.errors import UserError
from forensics.judging import plots, scoring
from forensics.pictures import perturbations
from forensics.pictures.files import BrokenImage, open_image
from forensics.pictures.perturbations import PERTURBATIONS, Condition
from forensics.running import memory
from forensics.running.progress import Progress

CHUNK = 64  # images in memory at once; as many are decoded ahead
SAVE_EVERY = 60  # seconds: what a killed run loses
CONSTANT = 'constant predictor'
COLUMNS = (
    'detector', 'model', 'backbone_weights', 'trained_on', 'dataset', 'own', 'perturbation', 'strength', 'level',
    'real', 'fake', 'groups', 'unreadable', 'auc', 'auc_low', 'auc_high', 'eer', 'eer_low', 'eer_high', 'accuracy',
    'accuracy_low', 'accuracy_high', 'threshold', 'threshold_from', 'constant_accuracy',
)  # fmt: skip


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = options.parser(__doc__)
    parser.add_argument(
        '--checkpoints', nargs='+', required=True, metavar='FILE', help='of train_main.py (.pt) or train_svm.py (.npz)'
    )
    parser.add_argument('--datasets', nargs='+', required=True, metavar='NAME', help='their test parts are scored')
    parser.add_argument(
        '--perturb',
        nargs='+',
        default=[],
        metavar='NAME:STRENGTHS',
        help=f'also score perturbed images, as in jpeg:30,50,70,90; there are {", ".join(PERTURBATIONS)}',
    )
    parser.add_argument(
        '-m',
        '--model',
        nargs='+',
        default=[],
        metavar='NAME',
        help="models of the checkpoints that do not say theirs (strangers'), in the same order; one name holds for all",
    )
    options.add_seed(parser)
    options.add_data_root(parser)
    options.add_device(parser)
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    options.apply(args)
    memory.tune_allocator()
    conditions = list(dict.fromkeys(condition for text in args.perturb for condition in perturbations.parse(text)))
    parts = {name: Part(name, 'test') for name in dict.fromkeys(args.datasets)}
    for name, part in parts.items():
        counts = ' and '.join(f'{number} {label}' for label, number in datasets.count(part.folder).items())
        print(f'{name}: {counts} images in {part.folder}')
    entries = load_entries(args.checkpoints, args.model)
    fingerprint = functools.cache(train_fingerprint)  # of a million files once, not once a detector
    try:
        for entry in entries:
            entry.find_own(parts, fingerprint)
            if entry.validation:
                score_all([entry], entry.validation, None, args.seed)
        for part, condition in itertools.product(parts.values(), [None, *conditions]):
            score_all(entries, part, condition, args.seed)
    except KeyboardInterrupt:
        print(f'\nInterrupted. What was scored is in {OUTPUT_DIR}/scores; the same line goes on from there.')
        raise
    rows = evaluate_all(entries, parts, [None, *conditions], args.seed)
    write_records(rows, entries, parts, args)
    print_table(rows, {entry.name: entry.title for entry in entries})
    draw(rows, entries, parts, args.perturb)


# --- what is scored ------------------------------------------------------------------------------------------


class Part:
    """A part of a data set: its files, and which of them belong together."""

    def __init__(self, dataset: str, name: str):
        self.dataset, self.name = dataset, name
        self.folder = datasets.find_part(dataset, name)
        self.files = datasets.class_files(self.folder)
        if not self.files:
            raise UserError(f'{self.folder} holds no image.')
        self.fingerprint = datasets.fingerprint(self.folder, self.files)
        self.group_of, self.video_of = groups_and_videos(self.folder)

    def groups(self, files: Sequence[str]) -> np.ndarray:
        """What bootstrap keeps together: the manifest's groups; without one each file stands alone."""
        return np.array([self.group_of.get(file, file) for file in files])

    def videos(self, files: Sequence[str]) -> np.ndarray:
        return np.array([self.video_of.get(file, file) for file in files])

    @property
    def has_videos(self) -> bool:
        return len(set(self.videos(self.files).tolist())) < len(self.files)


def groups_and_videos(folder: Path) -> tuple[dict[str, str], dict[str, str]]:
    """file -> group, and file -> video, of the part in this folder, if preprocessing.py left a manifest.csv.

    A video is a source of one class, so that neither two videos in folders of one name nor a real one and its fake
    are averaged. A manifest without sources has no finer unit than the group.
    """
    groups, videos = {}, {}
    for path, row in datasets.read_manifest(folder.parent).items():
        part, _, file = path.partition('/')
        if part == folder.name and row['group']:
            groups[file] = f'group {row["group"]}'  # marked, lest it be taken for a file that has no group
            videos[file] = f'{file.partition("/")[0]} {row.get("source") or row["group"]}'
    return groups, videos


@dataclass
class Entry:
    """A detector in the benchmark."""

    name: str
    path: str
    sha256: str
    detector: object = field(repr=False)
    own: set[str] = field(default_factory=set)  # data sets of the benchmark that it was trained on
    validation: Part | None = None
    no_threshold: str = ''  # why there is none

    @property
    def model(self) -> str:
        return self.detector.name

    @property
    def title(self) -> str:
        """Its name in tables and figures, with a word on weights that were never trained on pictures before."""
        return self.name + plots.weights_note({'run': self.detector.run})

    @property
    def trained_on(self) -> str | None:
        return self.detector.run.get('dataset')

    def find_own(self, parts: dict[str, Part], fingerprint: Callable[[str], str | None]) -> None:
        """Which data sets it was trained on, and the validation part that its threshold comes from."""
        recorded = ((self.detector.run.get('data') or {}).get('train') or {}).get('fingerprint')

        def knows(dataset: str) -> bool:
            # By the content where both sides tell it: a name may be given to other data.
            found = fingerprint(dataset)
            return found == recorded if found and recorded else dataset == self.trained_on

        self.own = {name for name in parts if knows(name)}
        home = self.trained_on
        try:
            if home is None:
                self.no_threshold = 'its file does not say on what it was trained'
            elif not knows(home):
                self.no_threshold = f'the {home} here is not the one that it was trained on'
            else:
                self.validation = Part(home, 'val')
        except UserError as error:
            self.no_threshold = str(error)
        if self.no_threshold:
            print(f'{self.name}: its own decision (P(fake) above 0.5) counts, without a fitted threshold: '
                  f'{self.no_threshold}.')  # fmt: skip


def train_fingerprint(dataset: str) -> str | None:
    try:
        return datasets.fingerprint(datasets.find_part(dataset, 'train'))
    except UserError:  # only its test part is here
        return None


def load_entries(paths: Sequence[str], models: Sequence[str]) -> list[Entry]:
    entries, names, spare = [], set(), iter(models)
    for path in dict.fromkeys(paths):
        try:
            detector = detectors.load_detector(path)
        except detectors.NamelessCheckpoint:
            name = models[0] if len(models) == 1 else next(spare, None)
            detector = detectors.load_detector(path, name)
        with open(path, 'rb') as opened:
            sha256 = hashlib.file_digest(opened, 'sha256').hexdigest()
        entry = Entry(Path(path).stem, path, sha256, detector)
        if entry.name in names:
            raise UserError(f'Two detectors are called {entry.name}, and so would be their scores: rename one file.')
        names.add(entry.name)
        entries.append(entry)
    return entries


# --- scores --------------------------------------------------------------------------------------------------


class Scores:
    """The record of one detector's scores of one part under one condition; it grows until every file is in it."""

    def __init__(self, entry: Entry, part: Part, condition: Condition | None, seed: int):
        self.part = part
        name = part.name if condition is None else f'{part.name}-{condition}'
        self.path = records.scores_path(OUTPUT_DIR, entry.name, part.dataset, name)
        self.key = {
            'checkpoint_sha256': entry.sha256,
            'data_fingerprint': part.fingerprint,
            'condition': name,
            'seed': seed if condition is not None and condition.name == 'noise' else None,
        }
        self.facts = {'detector': entry.name, 'model': entry.model, 'dataset': part.dataset}
        self.outputs: dict[str, list[float]] = {}
        self.unreadable: dict[str, str] = {}
        # Beside the record until it is whole, so that nobody takes a part of the scores for all of them.
        self.unfinished = self.path.with_suffix('.unfinished')
        for path in (self.path, self.unfinished):
            # What is not there, damaged or of other data is made (again).
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
        """Those that have a score, in the part's order."""
        return [file for file in self.part.files if file in self.outputs]

    def labels(self) -> np.ndarray:
        return labels_of(self.files)

    def logits(self) -> np.ndarray:
        # JSON has no NaN: null stands for what a broken network gave.
        return scoring.fake_logits(np.array([self.outputs[file] for file in self.files], dtype=np.float64))

    def save(self) -> None:
        files = self.files
        rows = [self.outputs[file] for file in files]
        one_logit = bool(rows) and len(rows[0]) == 1
        path = self.unfinished if self.missing else self.path
        records.write_scores(
            path, files, labels_of(files), rows, **self.facts, **self.key, unreadable=self.unreadable,
            scores_are='one logit, before the sigmoid: it speaks for fake' if one_logit
            else 'outputs before softmax: the first for real, the second for fake',
        )  # fmt: skip
        if path == self.path:
            self.unfinished.unlink(missing_ok=True)


def labels_of(files: Sequence[str]) -> np.ndarray:
    return np.array([file.startswith('fake/') for file in files], dtype=int)


def score_all(entries: Sequence[Entry], part: Part, condition: Condition | None, seed: int) -> None:
    """Score what has no score yet. A picture is decoded, and perturbed, once for all the detectors."""
    todo = {entry.name: Scores(entry, part, condition, seed) for entry in entries}
    missing = {name: set(scores.missing) for name, scores in todo.items()}
    files = sorted(set().union(*missing.values()), key=lambda file: (file.startswith('fake/'), file))
    if not files:
        return
    what = f'{part.dataset} {part.name}' + (f' {condition}' if condition else '')
    doubts = {name: Doubts() for name in todo}
    unsaved = [scores for scores in todo.values() if scores.missing]
    saved = time.monotonic()
    try:
        chunks = -(-len(files) // CHUNK)
        for chunk in Progress(stream(files, opener(part, condition, seed)), chunks, what):
            for entry in entries:
                scores = todo[entry.name]
                mine = {file: image for file, image in chunk.items() if file in missing[entry.name]}
                scores.unreadable |= {f: image.reason for f, image in mine.items() if isinstance(image, BrokenImage)}
                images = {file: image for file, image in mine.items() if not isinstance(image, BrokenImage)}
                doubts[entry.name].images += len(images)
                outputs = entry.detector.outputs(images.values(), doubts[entry.name].tell)
                scores.outputs |= zip(images, outputs.tolist(), strict=True)
            if time.monotonic() - saved > SAVE_EVERY:
                save(unsaved)
                saved = time.monotonic()
    finally:
        save(unsaved)
    if condition is None:
        for name, found in doubts.items():
            for message in found.messages():
                print(f'warning: {name} on {what}: {message}', file=sys.stderr)


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


def stream(files: Sequence[str], get: Callable) -> Iterator[dict]:
    """{file: what get(file) gives}, a chunk at a time; the next chunk is got while this one is in use."""
    with ThreadPoolExecutor() as pool:  # Pillow works outside Python's lock
        ahead: collections.deque = collections.deque()
        try:
            for start in range(0, len(files), CHUNK):
                chunk = files[start : start + CHUNK]
                ahead.append((chunk, [pool.submit(get, file) for file in chunk]))
                if len(ahead) > 1:
                    yield got(*ahead.popleft())
            while ahead:
                yield got(*ahead.popleft())
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def got(chunk: Sequence[str], futures: Sequence) -> dict:
    return {file: future.result() for file, future in zip(chunk, futures, strict=True)}


class Doubts:
    """Sums up what a detector says of the chunks ("3 of 64 images ...")."""

    def __init__(self) -> None:
        self.counts: collections.Counter[str] = collections.Counter()
        self.images = 0

    def tell(self, message: str) -> None:
        number, text = re.fullmatch(r'(\d+) of \d+ (.*)', message, re.DOTALL).groups()
        self.counts[text] += int(number)

    def messages(self) -> list[str]:
        return [f'{number} of {self.images} {text}' for text, number in self.counts.items()]


# --- metrics, derived from the scores ------------------------------------------------------------------------


def evaluate_all(
    entries: Sequence[Entry], parts: dict[str, Part], conditions: Sequence[Condition | None], seed: int
) -> list[dict]:
    """One row for each detector, data set, condition and level, and one of the constant predictor for each data set."""
    rows = []
    for entry in entries:
        validation = Scores(entry, entry.validation, None, seed) if entry.validation else None
        for part, condition in itertools.product(parts.values(), conditions):
            scores = Scores(entry, part, condition, seed)
            for level in ('frame', 'video') if part.has_videos else ('frame',):
                rows.append(evaluate(entry, scores, validation, level, condition, seed))
    for part in parts.values():
        for level in ('frame', 'video') if part.has_videos else ('frame',):
            # The last detector's: what can be read does not depend on who looks.
            scores = Scores(entries[-1], part, None, seed)
            labels, values, groups = at_level(scores, level)
            rows.append(constant_row(part, level, labels, groups, len(scores.unreadable)))
    return rows


def at_level(scores: Scores, level: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(labels, scores, groups) of the files or of the videos.

    A file's score is the logit, a video's the mean of its frames' P(fake) less 0.5: above 0 is the detector's own
    "fake" in both. A frame that cannot be read has no score, and so has a video without any other.
    """
    files, labels, logits = scores.files, scores.labels(), scores.logits()
    groups = scores.part.groups(files)
    if level == 'frame' or not files:
        return labels, logits, groups
    _, first, video = np.unique(scores.part.videos(files), return_index=True, return_inverse=True)
    mean = np.bincount(video, scoring.fake_probability(logits)) / np.bincount(video)
    return labels[first], mean - 0.5, groups[first]


def evaluate(
    entry: Entry, scores: Scores, validation: Scores | None, level: str, condition: Condition | None, seed: int
) -> dict:
    labels, values, groups = at_level(scores, level)
    threshold = None
    if validation is not None:
        validation_labels, validation_values, _ = at_level(validation, level)
        threshold = scoring.best_threshold(validation_labels, validation_values)
    fitted = threshold is not None
    threshold = threshold if fitted else 0.0
    finite = bool(np.isfinite(values).all())
    row = {
        'detector': entry.name,
        'model': entry.model,
        'backbone_weights': entry.detector.run.get('backbone_weights'),
        'trained_on': entry.trained_on,
        'dataset': scores.part.dataset,
        'own': scores.part.dataset in entry.own,
        'perturbation': condition.name if condition else None,
        'strength': condition.strength if condition else None,
        'level': level,
        **count(labels, groups),
        'unreadable': len(scores.unreadable),
        'auc': scoring.auc(labels, values),
        'eer': scoring.equal_error_rate(labels, values),
        'accuracy': scoring.accuracy(labels, values > threshold) if finite else None,
        'threshold': threshold,
        'threshold_from': f'{validation.part.dataset} val' if fitted else 'none: P(fake) above 0.5',
        'constant_accuracy': scoring.constant_accuracy(labels),
    }
    intervals = scoring.group_intervals(labels, values, groups, threshold, seed=seed)
    for name, interval in intervals.items():
        row[f'{name}_low'], row[f'{name}_high'] = interval or (None, None)
    return row


def count(labels: np.ndarray, groups: np.ndarray) -> dict[str, int]:
    return {'real': int(np.sum(labels == 0)), 'fake': int(np.sum(labels == 1)), 'groups': len(set(groups.tolist()))}


def constant_row(part: Part, level: str, labels: np.ndarray, groups: np.ndarray, unreadable: int) -> dict:
    """What the predictor gets that always names the larger class of the data set."""
    both = scoring.undefined(labels) is None
    constant = scoring.constant_accuracy(labels)
    facts = {'detector': CONSTANT, 'dataset': part.dataset, 'level': level, **count(labels, groups)}
    facts |= {'unreadable': unreadable, 'auc': 0.5 if both else None, 'eer': 0.5 if both else None}
    return {**dict.fromkeys(COLUMNS), **facts, 'accuracy': constant, 'constant_accuracy': constant}


# --- what is written -----------------------------------------------------------------------------------------


def write_records(rows: list[dict], entries: list[Entry], parts: dict[str, Part], args: argparse.Namespace) -> None:
    path = Path(OUTPUT_DIR) / 'benchmark.csv'
    with records.atomic_path(path) as temporary, open(temporary, 'w', newline='', encoding='utf-8') as opened:
        writer = csv.DictWriter(opened, COLUMNS, lineterminator='\n')
        writer.writeheader()
        writer.writerows(rows)
    print(f'Wrote {path}')
    path = Path(OUTPUT_DIR) / 'benchmark.json'
    records.write_json(
        path,
        {
            'datasets': {name: describe(part, entries[-1], args.seed) for name, part in parts.items()},
            'detectors': {
                entry.name: {
                    'file': entry.path,
                    'checkpoint_sha256': entry.sha256,
                    'model': entry.model,
                    'trained_on': entry.trained_on,
                    'backbone_weights': entry.detector.run.get('backbone_weights'),
                    'threshold_from': 'validation' if entry.validation else entry.no_threshold,
                }
                for entry in entries
            },
            'perturbations': args.perturb,
            'intervals': '95%, from 1000 rounds of bootstrap over groups',
            'seed': args.seed,
            'commit': records.commit(),
            'versions': records.versions('torch', 'numpy', 'pillow'),
            'rows': rows,
        },
    )
    print(f'Wrote {path}')


def describe(part: Part, entry: Entry, seed: int) -> dict:
    scores = Scores(entry, part, None, seed)
    readable = set(part.videos(scores.files).tolist())
    facts = {
        'folder': str(part.folder),
        'data_fingerprint': part.fingerprint,
        'groups_from': 'manifest.csv' if part.group_of else 'none: each file stands alone',
        'unreadable': scores.unreadable,
    }
    if part.has_videos:
        facts['unreadable_videos'] = sorted(set(part.videos(part.files).tolist()) - readable)
    return facts


def interval_text(row: dict, name: str, digits: int = 3) -> str:
    if row[name] is None:
        return '-'
    text = f'{row[name]:.{digits}f}'
    if row[f'{name}_low'] is None:
        return text
    return f'{text} ({row[f"{name}_low"]:.{digits}f} to {row[f"{name}_high"]:.{digits}f})'


def print_table(rows: list[dict], titles: dict[str, str]) -> None:
    """The matrix in Markdown; perturbations are in the CSV and in their figure."""
    clean = [row for row in rows if row['perturbation'] is None]
    for dataset in dict.fromkeys(row['dataset'] for row in clean):
        for level in ('frame', 'video'):
            own = [row for row in clean if (row['dataset'], row['level']) == (dataset, level)]
            if not own:
                continue
            first = own[0]
            print(f'\n{dataset}, test, {level}s: {first["real"]} real and {first["fake"]} fake in '
                  f'{first["groups"]} groups, {first["unreadable"]} unreadable files\n')  # fmt: skip
            print('| detector | trained | AuC | EER | accuracy, % | threshold from |\n|---|---|---|---|---|---|')
            for row in own:
                trained = 'here' if row['own'] else (row['trained_on'] or '-')
                cells = titles.get(row['detector'], CONSTANT), trained, interval_text(row, 'auc')
                cells += interval_text(row, 'eer'), interval_text(row, 'accuracy', 1), row['threshold_from'] or '-'
                print(f'| {" | ".join(cells)} |')
    print()


# --- figures -------------------------------------------------------------------------------------------------


def draw(rows: list[dict], entries: list[Entry], parts: dict[str, Part], perturb: list[str]) -> None:
    clean = [row for row in rows if row['perturbation'] is None]
    levels = [level for level in ('frame', 'video') if any(row['level'] == level for row in clean)]
    titles = {entry.name: entry.title for entry in entries} | {CONSTANT: CONSTANT}
    with plots.style():
        width = min(max(plots.PAGE_WIDTH, 2.6 + 1.5 * len(parts)), 30)
        height = len(levels) * (0.9 + 0.48 * len(titles))
        figure = plots.new_figure(height=height, width=width)
        axes = figure.subplots(len(levels), squeeze=False)[:, 0]
        for level, ax in zip(levels, axes, strict=True):
            plot_matrix([row for row in clean if row['level'] == level], titles, list(parts), ax)
            ax.set_title(f'AuC on test, {level}s' + (' (means over the frames)' if level == 'video' else ''))
        plots.save(figure, Path(FIGURES_DIR) / 'benchmark_heat_map.png')
    if not perturb:
        return
    names = list(dict.fromkeys(text.partition(':')[0] for text in perturb))
    with plots.style():
        figure = plots.new_figure(height=0.7 + 1.9 * len(parts), width=max(plots.PAGE_WIDTH, 1.0 + 1.9 * len(names)))
        grid = figure.subplots(len(parts), len(names), squeeze=False, sharey=True, sharex='col')
        frames = [row for row in rows if row['level'] == 'frame' and row['detector'] != CONSTANT]
        for (dataset, name), ax in zip(itertools.product(parts, names), grid.flat, strict=True):
            here = [row for row in frames if row['dataset'] == dataset and row['perturbation'] in (None, name)]
            plot_strengths(here, name, titles, ax)
        for ax, dataset in zip(grid[:, 0], parts, strict=True):
            ax.set_ylabel(f'AuC on {dataset}')
        for ax, name in zip(grid[-1], names, strict=True):
            ax.set_xlabel(f'{name}: {PERTURBATIONS[name].unit}')
        handles, labels = grid[0, 0].get_legend_handles_labels()
        figure.legend(
            handles,
            labels,
            loc='outside lower center',
            ncols=2,
            frameon=False,
            title='filled markers: trained on this data set; bars: 95% intervals',
        )
        plots.save(figure, Path(FIGURES_DIR) / 'benchmark_perturbations.png')


def plot_matrix(rows: list[dict], titles: dict[str, str], parts: list[str], ax) -> None:
    """A cell for each detector (row) and data set (column); a frame around those it was trained on."""
    from matplotlib.patches import Rectangle

    cells = {(row['detector'], row['dataset']): row for row in rows}
    values = [[cells[name, part]['auc'] for part in parts] for name in titles]
    values = np.array(values, dtype=np.float64)  # None becomes nan, which stays white
    # Orange is worse than chance, purple better: a colour-blind reader sees both sides of white.
    picture = ax.imshow(values, cmap='PuOr', vmin=0, vmax=1, aspect='auto')
    for (y, name), (x, part) in itertools.product(enumerate(titles), enumerate(parts)):
        row = cells[name, part]
        dark = abs(np.nan_to_num(values[y, x], nan=0.5) - 0.5) > 0.3
        lines = [interval_text(row, 'auc')]
        if row['accuracy'] is not None:
            lines.append((f'EER {100 * row["eer"]:.0f}%, ' if row['eer'] is not None else '')
                         + f'accuracy {row["accuracy"]:.1f}%')  # fmt: skip
        ax.text(x, y, '\n'.join(lines), ha='center', va='center', fontsize=6.5, color='white' if dark else 'black')
        if row['own']:
            ax.add_patch(Rectangle((x - 0.48, y - 0.46), 0.96, 0.92, fill=False, edgecolor='black', linewidth=1.8))
    ax.set_xticks(range(len(parts)), parts)
    ax.set_yticks(range(len(titles)), titles.values())
    ax.tick_params(length=0)
    ax.grid(False)
    for spine in ax.spines.values():
        spine.set_visible(False)
    ax.set_xlabel('data set (framed: the detector was trained on it)')
    ax.figure.colorbar(picture, ax=ax, label='AuC', fraction=0.04, pad=0.02, ticks=[0, 0.5, 1])


LINE_COLOURS = (plots.BLUE, plots.VERMILION, plots.GREEN, plots.AMBER, plots.WINE, 'black', plots.GREY)
LINE_MARKERS = 'osD^vPX'


def plot_strengths(rows: list[dict], name: str, titles: dict[str, str], ax) -> None:
    """AuC of every detector from the pictures as they are, on the left, to the harshest perturbation."""
    strengths = {row['strength'] for row in rows} - {None}
    order = [None, *sorted(strengths, key=PERTURBATIONS[name].severity)]
    names = list(dict.fromkeys(row['detector'] for row in rows))
    step = min(0.06, 0.4 / len(names))  # side by side, so that the bars can be told apart
    for number, detector in enumerate(names):
        own = {row['strength']: row for row in rows if row['detector'] == detector}
        points = [own[strength] for strength in order]
        colour = LINE_COLOURS[number % len(LINE_COLOURS)]
        values = np.array([row['auc'] for row in points], dtype=np.float64)
        low, high = (np.array([row[f'auc_{end}'] for row in points], dtype=np.float64) for end in ('low', 'high'))
        places = np.arange(len(order)) + step * (number - (len(names) - 1) / 2)
        # Colours and markers begin anew after seven detectors, the dashes do not.
        dashes = ('-', '--', ':', '-.')[number // len(LINE_COLOURS) % 4]
        ax.vlines(places, low, high, color=colour, linewidth=0.8, alpha=0.6)
        ax.plot(
            places,
            values,
            color=colour,
            linestyle=dashes,
            marker=LINE_MARKERS[number % len(LINE_MARKERS)],
            markersize=4,
            markerfacecolor=colour if points[0]['own'] else 'white',
            label=titles[detector],
        )
    ax.axhline(0.5, color=plots.GREY, linewidth=0.8, linestyle=':')
    ax.set_xticks(range(len(order)), ['none', *(f'{strength:g}' for strength in order[1:])])
    ax.set_ylim(0, 1.02)


if __name__ == '__main__':
    sys.exit(options.run(main))
