"""What runs left on disk, read once. A record that is bad or half-written is named in `broken` and skipped."""

import contextlib
import csv
import functools
import shlex
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from types import NoneType

import numpy as np

from forensics import records
from forensics.data import datasets
from forensics.data.parts import Part
from forensics.errors import UserError
from forensics.judging import scoring
from forensics.judging.elsewhere import ScoredElsewhere
from forensics.reporting.page import DASH, Html, as_text, digits, escaped, joined, mark, paragraph, section

NO_LOGS = ('bonus.json', 'nof_params.json', 'benchmark.json')  # the JSON files in out/ that are no logs of trainings

OTHERS = 'another training, or another checkpoint, of {} than the newest'

# What a record with something else inside than its command writes can raise.
UNEXPECTED = LookupError, TypeError, ValueError, AttributeError, ArithmeticError, RecursionError


@dataclass
class Run:
    """One training."""

    name: str  # of its log, and of its checkpoint
    log: dict
    newest: bool  # of its log: the one whose checkpoint is kept
    title: str
    anchor: str = ''  # of its line in the report

    @property
    def file(self) -> str:
        return self.title

    @property
    def facts(self) -> dict:
        return self.log.get('run') or {}

    @property
    def data(self) -> dict[str, dict]:
        """Numbers of images and fingerprint of each part."""
        return self.facts.get('data') or {}

    @property
    def best(self) -> int:
        return records.best_epoch(self.log)

    @property
    def fingerprint(self) -> str | None:
        return self.data.get('test', {}).get('fingerprint')

    @property
    def scores(self) -> str:
        """Name of the record of its scores of its own data set's test part, without the suffix."""
        return records.scores_path('', self.name, self.log['dataset']).stem

    def test_accuracy(self, form: str = '{:.2f}%') -> Html:
        """At the epoch of the best validation accuracy."""
        return digits(self.log['test_acc'][self.best], form)

    def validation(self, form: str = '{:.2f}%') -> Html:
        return digits(self.log['val_acc'][self.best], form)

    def best_epoch(self) -> Html:
        return digits(self.best + 1, '{}')

    def epochs(self) -> Html:
        return digits(len(self.log['val_acc']), '{}')

    def duration(self) -> Html:
        seconds = self.log.get('seconds')
        return digits(sum(seconds), '{:.0f} s') if seconds else Html(DASH)

    @property
    def is_classical(self) -> bool:
        return (self.log.get('optimizer') or {}).get('name') == 'svm'


@dataclass
class Scored:
    """A detector's scores of a test part."""

    detector: str
    record: dict
    labels: np.ndarray
    logits: np.ndarray
    name: str  # of the record, without its suffix

    @property
    def file(self) -> str:
        return f'scores/{self.name}.json'

    @property
    def dataset(self) -> str:
        return str(self.record.get('dataset'))

    @property
    def reason(self) -> str | None:
        """Why no metric can be derived."""
        return scoring.undefined(self.labels, self.logits)

    @functools.cached_property
    def auc(self) -> float | None:
        return scoring.auc(self.labels, self.logits)

    @functools.cached_property
    def interval(self) -> tuple[float, float] | None:
        """Of the AuC, over images. It takes up to half a second, so no table of many detectors asks for it."""
        return scoring.auc_interval(self.labels, self.logits)


class Evidence:
    """Records below `folder` (out/), looked at beside the checkpoints and the data sets that are here."""

    def __init__(self, folder: str | Path, checkpoints: str | Path):
        self.folder, self.checkpoints = Path(folder), Path(checkpoints)
        self.broken: dict[str, str] = {}  # path -> why it is skipped
        self.digests: dict[str, set[str]] = {}
        self.runs = [run for path in self._files('*.json') if path.name not in NO_LOGS for run in self._runs(path)]
        for number, run in enumerate(self.runs, 1):
            run.anchor = f'run-{number}'
        scored = {path.stem: self._scored(path) for path in self._files('scores/*__test.json')}
        self.scores = {stem: found for stem, found in scored.items() if found}
        self.metrics = self._objects('metrics/*.json', 'metrics', dict)
        self.digests = self._digests()
        compared = self._objects('comparisons/*.json', 'pairs', list)
        self.comparisons = {name: record for name, record in compared.items() if self._check_comparison(name, record)}
        self.audits = self._objects('audits/*.json', 'problems', list)
        self.benchmark = self._objects('benchmark.json', 'rows', list).get('benchmark', {})
        self.attempt('benchmark.json', self._leave_out_other_trainings)
        self.parameters = self._objects('nof_params.json', 'networks', dict).get('nof_params', {})
        self.bonus = self._objects('bonus.json', 'accuracy', (int, float)).get('bonus', {})
        self.searches = {
            path.stem: self.attempt(path, lambda path=path: read_table(path)) or []
            for path in self._files('*_search.csv')
        }
        self.drawn = self._origins()

    # --- reading -----------------------------------------------------------------------------------------------------

    def _files(self, pattern: str) -> list[Path]:
        return sorted(self.folder.glob(pattern))

    def attempt(self, path: str | Path, work: Callable):
        """What `work` makes of the record at `path`; None, and the record is named as broken, if it is bad."""
        path = self.folder / path if isinstance(path, str) else path
        try:
            return work()
        except UserError as error:
            self.broken[str(path)] = str(error)
        except (*UNEXPECTED, OSError) as error:
            self.broken[str(path)] = f'{path} is not as expected ({error!r}): make it again, or remove it.'
        return None

    def each(self, items: Iterable, work: Callable, file: str = '') -> list:
        """What `work` makes of each item; of a bad one its file is named, and it alone is left out."""
        # The rest of the file is not called broken.
        found = [self.attempt(f'{file or item.file} (in part)', lambda item=item: work(item)) for item in items]
        return [each for each in found if each is not None]

    def _runs(self, path: Path) -> list[Run]:
        # Of an empty log `last_run` says that it is empty.
        found, runs = [], self.attempt(path, lambda: records.read_runs(path) or [records.last_run(path)]) or []
        for place, log in enumerate(runs):
            newest = place == len(runs) - 1
            title = path.name if newest else f'{path.name}[{place}]'
            run = Run(path.stem, log, newest, title)
            # Who asks for the log is told of a bad last run only, because readers take that one.
            where = path if newest else path.with_name(title)
            if self.attempt(where, lambda run=run: check(run, path)):
                found.append(run)
        return found

    def _scored(self, path: Path) -> Scored | None:
        def read() -> Scored:
            record = records.read_scores(path)
            detector = detector_of(path, record)
            self._check_training(path, detector, record)
            logits = scoring.fake_logits(np.asarray(record['scores'], dtype=np.float64))
            return Scored(detector, record, np.asarray(record['labels']), logits, path.stem)

        return self.attempt(path, read)

    def _check_training(self, path: Path, detector: str, record: dict) -> None:
        """Raise if the scores are of another training than the newest of that name."""
        if not self.belongs(record, detector):
            raise UserError(
                f'{path} holds the scores of another training than the newest in {detector}.json, or does not say of '
                f'which. Score that one with `{self.score_command(detector, record.get("dataset"))}`.'
            )
        for suffix in ('.pt', '.npz'):
            checkpoint = self.checkpoints / (detector + suffix)
            # Reading every checkpoint would take minutes, so only those are read that are younger than their scores.
            if checkpoint.is_file() and checkpoint.stat().st_mtime > path.stat().st_mtime:
                digest = record.get('checkpoint_sha256')
                if digest and digest != records.file_digest(checkpoint):
                    raise UserError(
                        f'{path} holds the scores of another {checkpoint}, which was trained anew since. Score it '
                        f'again with `python numerical_analysis.py -cpp {checkpoint} ...`.'
                    )

    def _check_comparison(self, name: str, record: dict) -> bool:
        """False, and it is named, if a detector in it is of another training than the newest of its name."""
        path = self.folder / 'comparisons' / f'{name}.json'

        def check() -> bool:
            if others := self.others(record, [row[place] for row in record['pairs'] for place in ('first', 'second')]):
                command = record.get('command') or 'python compare_detectors.py ...'
                raise UserError(f'{path} compares {OTHERS.format(", ".join(others))}. Compare again with `{command}`.')
            return True

        return bool(self.attempt(path, check))

    def _leave_out_other_trainings(self) -> None:
        """Take out of the benchmark, and name, detectors of other trainings than the newest of their names."""
        record = self.benchmark
        rows, kinds, pairs = ([*(record.get(key) or [])] for key in ('rows', 'kinds', 'pairs'))
        names = [row['detector'] for row in rows] + [row[place] for row in pairs for place in ('first', 'second')]
        others = self.others(record, names)
        if not others:
            return
        command = record.get('command') or 'python benchmark.py ...'
        path = self.folder / 'benchmark.json'
        self.broken[f'{path}, {", ".join(others)}'] = (
            f'{path} holds {OTHERS.format(", ".join(others))}; that is left out. Do it again with `{command}`.'
        )
        self.benchmark = record | {
            'rows': [row for row in rows if row['detector'] not in others],
            'kinds': [row for row in kinds if row['detector'] not in others],
            'pairs': [row for row in pairs if not {row['first'], row['second']} & {*others}],
        }

    def _objects(self, pattern: str, key: str, kind: type | tuple) -> dict[str, dict]:
        """{stem: record} of the objects in which `key` has a value of this kind."""

        def read(path: Path) -> dict:
            record = records.read_json(path)
            if not isinstance(record, dict) or not isinstance(record.get(key), kind):
                raise UserError(f'{path} has no "{key}" as it should: make it again, or remove it.')
            return record

        found = {path.stem: self.attempt(path, lambda path=path: read(path)) for path in self._files(pattern)}
        return {name: record for name, record in found.items() if record}

    # --- what belongs together ---------------------------------------------------------------------------------------

    def newest(self, name: str) -> Run | None:
        return next((run for run in self.runs if run.name == name and run.newest), None)

    def untrained(self, name: str) -> str:
        """Why there is no newest training of this name."""
        bad = str(records.log_path(str(self.folder), name)) in self.broken
        return 'its newest training is no good record, which is named at the end' if bad else 'not trained yet'

    def belongs(self, said: dict, name: str) -> bool:
        """Whether a record, or a figure, is of the newest training of this name; `said` are its `training_facts`.

        One that does not say is taken for the only training that the log of this name has.
        """
        run, digest = self.newest(name), said.get('checkpoint_sha256')
        if said.get('model') == ScoredElsewhere.name and records.log_path(str(self.folder), name).exists():
            return False
        if run and run.facts.get('id') and said.get('run_id'):
            if said['run_id'] != run.facts['id']:
                return False
        elif said.get('detector', name) != name or sum(run.name == name for run in self.runs) > 1:
            return False
        # The same training may have had another checkpoint: an earlier epoch's, or one before calibrate.py.
        return not digest or digest in self.digests.get(name, [digest])

    def score_command(self, name: str, dataset: str | None) -> str:
        """Scores the newest training of this name, and draws its figures."""
        run = self.newest(name)
        checkpoint = str(self.checkpoints / name) + ('.npz' if run and run.is_classical else '.pt')
        model = ['-m', run.log['model']] if run else []
        return shlex.join(['python', 'numerical_analysis.py', *model, '-cpp', checkpoint, '-d', dataset or 'DATASET'])

    def others(self, record: dict, names: Iterable[str]) -> list[str]:
        """Those of the detectors whose part in a comparison, or in the benchmark, is of another training."""
        said = record.get('detectors') or {}
        return [name for name in dict.fromkeys(names) if not self.belongs(said.get(name, {}), name)]

    def _digests(self) -> dict[str, set[str]]:
        """Of the checkpoints whose scores are here."""
        found: dict[str, set[str]] = {}
        for scored in self.scores.values():
            if digest := scored.record.get('checkpoint_sha256'):
                found.setdefault(scored.detector, set()).add(digest)
        return found

    def scores_of(self, run: Run) -> Scored | None:
        """The scores of its own data set's test part, unless they are of other data or of a later training."""
        found = self.scores.get(run.scores) if run.newest else None
        return None if found and self.strange(found) else found

    def strange(self, scored: Scored) -> str:
        """Why scores that bear a training's name say nothing of it; '' if they are its own."""
        if scored.record.get('model') == ScoredElsewhere.name:
            return 'holds scores that were computed elsewhere, under the name of a training'
        run = self.newest(scored.detector)
        known = run.fingerprint if run and run.scores == scored.name else None
        if known and scored.record.get('data_fingerprint', known) != known:
            return f'holds scores of other data of this name than those that {run.title} was trained on'
        return ''

    def metrics_of(self, scored: Scored) -> dict:
        """The record that numerical_analysis.py left of the same scores; {} if it was not run on this checkpoint."""
        record = self.metrics.get(scored.name, {})
        keys = ('checkpoint_sha256', 'data_fingerprint')
        return record if all(record.get(key) == scored.record.get(key) for key in keys) else {}

    # --- demo data and random weights --------------------------------------------------------------------------------

    def _origins(self) -> dict[str, bool]:
        """{fingerprint or name of data: whether they are drawings}, as records and the data sets here say."""
        found: dict[str, bool] = {}
        silent = {'fakes_dataset', 'synthetic_dataset'}  # of these no record says whether they are
        of_runs = [(run.facts, [part.get('fingerprint') for part in run.data.values()]) for run in self.runs]
        of_scores = [(scored.record, [scored.record.get('data_fingerprint')]) for scored in self.scores.values()]
        for facts, fingerprints in of_runs + of_scores:
            if 'data_source' in facts:
                drawn = datasets.is_drawn(facts['data_source'])
                known = list(filter(None, fingerprints)) or [str(facts.get('dataset'))]  # a mixture has only its name
                name = str(facts.get('dataset'))
                found |= dict.fromkeys(known, drawn) | {name: found.get(name) or drawn}
            else:
                silent.add(str(facts.get('dataset')))
        for name in silent:
            with contextlib.suppress(UserError, OSError):
                folder = datasets.find_dataset(name)
                found[name] = datasets.is_drawn(datasets.read_card(folder).get('source'))
                found |= {part.fingerprint: found[name] for part in Part.all_in(folder)}
        return found

    def marks(
        self, dataset: str, fingerprint: str | None = None, training: dict | None = None, source: str | None = None
    ) -> Html:
        """What must be known beside any number or figure of these data and of this training (its `training_facts`).

        `source` is what a record itself says of where its data came from.
        """
        drawn = self.drawn.get(fingerprint or Path(dataset).name) if source is None else datasets.is_drawn(source)
        data = {True: mark('demo data'), False: '', None: mark('origin of the data unknown')}[drawn]
        return joined([data, self.marks_of_training(training or {}, drawn)])

    def marks_of_training(self, training: dict, drawn: bool | None = False) -> Html:
        """The same of a training alone, for what stands under a mark of its data; `drawn` says whether these are."""
        run = self.newest(training.get('detector') or '')
        known = records.training_facts('', run.facts) if run else {}
        source, weights = (training.get(key) or known.get(key) or '' for key in ('training_source', 'backbone_weights'))
        marks = [mark('trained on demo data')] if datasets.is_drawn(source) and not drawn else []
        return joined([*marks, mark('random backbone weights') if 'random' in weights.split(', ') else ''])

    def marks_of(self, run: Run) -> Html:
        return self.marks(run.log['dataset'], run.fingerprint, {'backbone_weights': run.facts.get('backbone_weights')})

    def marks_of_scored(self, scored: Scored) -> Html:
        record = {'detector': scored.detector, **scored.record}
        return self.marks(scored.dataset, record.get('data_fingerprint'), record)


def sections(evidence: Evidence, *contents: tuple[str, str, Callable[[], Html]]) -> Html:
    """Sections of (address, title, what writes the text); one that a bad record stops is named, and the others come."""
    return joined(section(3, name, title, written(evidence, title, work)) for name, title, work in contents)


def written(evidence: Evidence, title: str, work: Callable[[], Html]) -> Html:
    try:
        return work()
    except UNEXPECTED as error:
        words = as_text(escaped(title))
        reason = f'"{words}" is not written, because a record holds something else than expected ({error!r})'
        evidence.broken[words] = f'{reason}.'
        return paragraph(f'{reason}. The last records to change are the first to look at.')


def check(run: Run, path: Path) -> bool:
    """Raise if the log lacks what every reader needs, or has something else in its place."""
    log, again = run.log, 'make it with `python train_main.py ...`.'
    curves = [f'{part}_{quantity}' for part in datasets.PARTS for quantity in ('loss', 'acc')]
    kinds = {'model': str, 'dataset': str, 'optimizer': dict, 'run': dict} | dict.fromkeys(['seconds', *curves], list)
    wrong = [key for key, kind in kinds.items() if not isinstance(log.get(key, kind()), kind)]
    wrong += ['seconds'] * (not all(isinstance(value, (int, float)) for value in log.get('seconds') or []))
    numbers = (int, float, NoneType)
    wrong += [key for key in curves if not all(isinstance(value, numbers) for value in log.get(key) or ())]
    wrong += [key for key in ('model', 'dataset') if not log.get(key)]
    if wrong:
        raise UserError(f'{path}: a run lacks {", ".join(wrong)}; {again}')
    if not isinstance(run.data, dict) or not all(isinstance(part, dict) for part in run.data.values()):
        raise UserError(f'{path}: a run does not say what its data are as it should; {again}')
    words = [run.facts.get('backbone_weights'), run.facts.get('data_source')]
    words += [part.get('fingerprint') for part in run.data.values()]
    if not all(isinstance(value, (str, NoneType)) for value in words):
        raise UserError(f'{path}: a run names its backbone weights, or its data, by something else than words; {again}')
    best = run.best  # raises if there is no epoch
    accuracies = [log[key][best] for key in ('val_acc', 'test_acc')]
    if not all(isinstance(value, (int, float)) and 0 <= value <= 100 for value in accuracies):
        raise UserError(f'{path}: a run has an accuracy that is no number from 0 to 100; {again}')
    return True


def detector_of(path: Path, record: dict) -> str:
    """As the record says; a file that bears another name is not taken for what its record says."""
    said = record.get('detector') or ''
    own = records.scores_path('', said, record.get('dataset') or '')
    return said if own.stem == path.stem else path.stem.rsplit('__', 2)[0]


def read_table(path: Path) -> list[dict[str, str]]:
    try:
        with open(path, newline='', encoding='utf-8') as opened:
            return list(csv.DictReader(opened))
    except csv.Error as error:
        raise UserError(f'{path} cannot be read as CSV ({error}): make it again, or remove it.') from error
