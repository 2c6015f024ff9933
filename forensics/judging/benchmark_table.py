"""The benchmark's table: a row for each detector, data set, perturbation and level, derived from the scores."""

import itertools
from collections.abc import Iterable, Sequence

import numpy as np

from forensics.data.parts import Part, labels_of
from forensics.judging import scoring
from forensics.judging.benchmark_entries import Entry
from forensics.judging.benchmark_scores import Scores
from forensics.pictures.perturbations import Condition

CONSTANT = 'constant predictor'
COLUMNS = (
    'detector', 'model', 'backbone_weights', 'trained_on', 'dataset', 'kind', 'own', 'perturbation', 'strength',
    'level', 'real', 'fake', 'groups', 'unreadable', 'auc', 'auc_low', 'auc_high', 'eer', 'eer_low', 'eer_high',
    'accuracy', 'accuracy_low', 'accuracy_high', 'threshold', 'threshold_from', 'constant_accuracy',
)  # fmt: skip
LEVELS = ('frame', 'video')
BAR = r'\|'  # within a cell of Markdown
MARKDOWN_HEAD = '| detector | trained | AuC | EER | accuracy, % | threshold from |', '|---|---|---|---|---|---|'


def all_rows(
    folder: str,
    entries: Sequence[Entry],
    parts: Sequence[Part],
    conditions: Sequence[Condition | None],
    kinds: dict[str, str | None],
    seed: int,
) -> list[dict]:
    """One row for each detector, data set, condition and level, and one of the constant predictor for each data set.

    `folder` holds the scores, `kinds` those of the data sets' fakes.
    """
    rows = []
    for entry in entries:
        validations = [Scores(folder, entry, part, None, seed) for part in entry.validations]
        for part, condition in itertools.product(parts, conditions):
            if entry.detector.can_score(part, condition is not None):
                scores = Scores(folder, entry, part, condition, seed)
                rows += [detector_row(scores, validations, level, seed) for level in levels_of(part)]
    for part in parts:
        scores = reference(folder, entries, part, seed)
        rows += [constant_row(scores, level) for level in levels_of(part)]
    return [{**row, 'kind': kinds.get(row['dataset'])} for row in rows]


def reference(folder: str, entries: Sequence[Entry], part: Part, seed: int) -> Scores:
    """The first detector's scores of a part: which files can be read does not depend on the detector."""
    able = next(entry for entry in entries if entry.detector.can_score(part, False))
    return Scores(folder, able, part, None, seed)


def levels_of(part: Part) -> tuple[str, ...]:
    return LEVELS if part.has_videos else LEVELS[:1]


def at_level(
    scores: Scores, level: str, files: Sequence[str] | None = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(labels, scores, groups) of the files or of their videos; all that have a score, or those given.

    A file's score is its logit, a video's is the mean of its frames' P(fake) minus 0.5: the detector's own decision is
    "fake" if it is above 0. A frame that cannot be read has no score, nor has a video without any other frame.
    """
    files = scores.files if files is None else files
    labels, logits = labels_of(files), scores.logits(files)
    groups = scores.part.groups(files)
    if level == 'frame' or not files:
        return labels, logits, groups
    _, first, video = np.unique(scores.part.videos(files), return_index=True, return_inverse=True)
    mean = np.bincount(video, scoring.fake_probability(logits)) / np.bincount(video)
    return labels[first], mean - 0.5, groups[first]


def fitted_threshold(validations: Sequence[Scores], level: str) -> float | None:
    """From a detector's scores of the validation parts of the data sets that it was trained on."""
    if not validations:
        return None
    labels, values, _ = zip(*(at_level(scores, level) for scores in validations), strict=True)
    return scoring.best_threshold(np.concatenate(labels), np.concatenate(values))


def detector_row(scores: Scores, validations: Sequence[Scores], level: str, seed: int) -> dict:
    """The metrics of one detector's scores; its threshold is fitted on those of the validation parts."""
    entry, condition = scores.entry, scores.condition
    labels, values, groups = at_level(scores, level)
    threshold = fitted_threshold(validations, level)
    fitted = threshold is not None
    threshold = threshold if fitted else 0.0
    finite = bool(np.isfinite(values).all())
    row = {
        'detector': entry.name,
        'model': entry.detector.name,
        'backbone_weights': entry.detector.backbone_weights,
        'trained_on': entry.detector.trained_on,
        'dataset': scores.part.dataset,
        'own': scores.part.dataset in entry.own,
        'perturbation': condition.name if condition else None,
        'strength': condition.strength if condition else None,
        'level': level,
        **counts(labels, groups),
        'unreadable': len(scores.unreadable),
        'auc': scoring.auc(labels, values),
        'eer': scoring.equal_error_rate(labels, values),
        'accuracy': scoring.accuracy(labels, values > threshold) if finite else None,
        'threshold': threshold,
        'threshold_from': ' + '.join(f'{each.part.dataset} val' for each in validations)
        if fitted
        else 'none: P(fake) above 0.5',
        'constant_accuracy': scoring.constant_accuracy(labels),
    }
    intervals = scoring.group_intervals(labels, values, groups, threshold, seed=seed)
    for name, interval in intervals.items():
        row[f'{name}_low'], row[f'{name}_high'] = interval or (None, None)
    return row


def counts(labels: np.ndarray, groups: np.ndarray) -> dict[str, int]:
    return {'real': int(np.sum(labels == 0)), 'fake': int(np.sum(labels == 1)), 'groups': len(set(groups.tolist()))}


def constant_row(scores: Scores, level: str) -> dict:
    """The metrics of the predictor that always names the larger class of the data set."""
    labels, _, groups = at_level(scores, level)
    both = scoring.undefined(labels) is None
    constant = scoring.constant_accuracy(labels)
    facts = {'detector': CONSTANT, 'dataset': scores.part.dataset, 'level': level, **counts(labels, groups)}
    facts |= {'unreadable': len(scores.unreadable), 'auc': 0.5 if both else None, 'eer': 0.5 if both else None}
    return {**dict.fromkeys(COLUMNS), **facts, 'accuracy': constant, 'constant_accuracy': constant}


# --- the table as text -------------------------------------------------------------------------------------------


def interval_text(row: dict, name: str, digits: int = 3) -> str:
    if row[name] is None:
        return '-'
    text = f'{row[name]:.{digits}f}'
    if row[f'{name}_low'] is None:
        return text
    return f'{text} ({row[f"{name}_low"]:.{digits}f} to {row[f"{name}_high"]:.{digits}f})'


def markdown(rows: list[dict], titles: dict[str, str]) -> str:
    """A table for each data set and level; perturbations are in the CSV and in their figure."""
    clean = [row for row in rows if row['perturbation'] is None]
    lines = []
    for dataset in dict.fromkeys(row['dataset'] for row in clean):
        for level in LEVELS:
            own = [row for row in clean if (row['dataset'], row['level']) == (dataset, level)]
            if own:
                lines += ['', heading(own[0]), '', *MARKDOWN_HEAD, *(markdown_row(row, titles) for row in own)]
    return '\n'.join([*lines, ''])


def heading(row: dict) -> str:
    counts = f'{row["real"]} real and {row["fake"]} fake in {row["groups"]} groups'
    return f'{row["dataset"]}, test, {row["level"]}s: {counts}, {row["unreadable"]} unreadable files'


def markdown_row(row: dict, titles: dict[str, str]) -> str:
    trained = 'here' if row['own'] else (row['trained_on'] or '-')
    cells = titles[row['detector']], trained, interval_text(row, 'auc'), interval_text(row, 'eer')
    cells += interval_text(row, 'accuracy', 1), row['threshold_from'] or '-'
    return markdown_line(cells)


def markdown_line(cells: Iterable[str]) -> str:
    # A name may hold the sign that parts the cells.
    return f'| {" | ".join(cell.replace("|", BAR) for cell in cells)} |'
