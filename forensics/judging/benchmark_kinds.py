"""Leave one kind out: each detector on the kinds of fakes that it was trained on and on those that it never saw."""

from collections.abc import Sequence

import numpy as np

from forensics.data.parts import Part
from forensics.judging import scoring
from forensics.judging.benchmark_entries import Entry
from forensics.judging.benchmark_scores import Scores
from forensics.judging.benchmark_table import COLUMNS, at_level, interval_text, markdown_line
from forensics.judging.scoring import COMPARED

SEEN, UNSEEN, GAP = NAMES = ('kinds trained on', 'kinds never seen', 'gap')
ROUNDS = 1000


def kind_rows(
    folder: str, entries: Sequence[Entry], parts: Sequence[Part], rows: Sequence[dict], seed: int
) -> list[dict]:
    """Three rows for each detector: means over the data sets of kinds that it was trained on, over those of kinds that
    it never saw, and the first less the second.

    `rows` are the benchmark's; frames count, unperturbed. Prints which data sets and detectors have no kind.
    """
    clean = [row for row in rows if row['level'] == 'frame' and row['perturbation'] is None]
    unknown = list(dict.fromkeys(row['dataset'] for row in clean if row['kind'] is None))
    if len(unknown) == len(parts):
        return []
    for name in unknown:
        print(f'{name} has no kind and is in no mean over kinds; --kind {name}=KIND gives it one.')
    found = []
    for entry in entries:
        if entry.kinds is None:
            print(f'{entry.name}: on which kinds it was trained is not known, so that it has no means over kinds.')
            continue
        own = {row['dataset']: row for row in clean if row['detector'] == entry.name and row['kind']}
        # Each data set has random numbers of its own, because their errors are independent.
        drawn = {
            part.dataset: values_and_rounds(Scores(folder, entry, part, None, seed), own[part.dataset], [seed, number])
            for number, part in enumerate(parts)
            if part.dataset in own
        }
        seen = [name for name in drawn if own[name]['kind'] in entry.kinds]
        unseen = [name for name in drawn if name not in seen]
        means = [mean([drawn[name] for name in names]) for names in (seen, unseen)]
        for name, over, values in zip(NAMES, (seen, unseen, []), (*means, means[0] - means[1]), strict=True):
            kinds = ' + '.join(sorted({own[dataset]['kind'] for dataset in over})) or None
            found.append(mean_row(entry, {'dataset': name, 'kind': kinds, 'datasets': over}, values))
    return found


def values_and_rounds(scores: Scores, row: dict, seed: Sequence[int]) -> np.ndarray:
    """For each metric its value, then those of a bootstrap's rounds; NaN where there is none."""
    labels, values, groups = at_level(scores, 'frame')
    rounds = scoring.group_rounds(labels, [values], groups, [row['threshold']], ROUNDS, seed)
    found = np.full((len(COMPARED), 1 + ROUNDS), np.nan)
    found[:, 0] = [row[name] for name in COMPARED]  # None becomes NaN
    if rounds is not None:
        found[:, 1:] = rounds[0]
    return found


def mean(members: list[np.ndarray]) -> np.ndarray:
    return np.mean(members, axis=0) if members else np.full((len(COMPARED), 1 + ROUNDS), np.nan)


def mean_row(entry: Entry, facts: dict, values: np.ndarray) -> dict:
    row = {**dict.fromkeys(COLUMNS), **facts, 'detector': entry.name, 'model': entry.detector.name, 'level': 'frame'}
    row |= {'backbone_weights': entry.detector.backbone_weights, 'trained_on': entry.detector.trained_on}
    whole = not np.isnan(values).any()
    intervals = scoring.ends(values[:, 1:], 0.95) if whole else [(None, None)] * len(COMPARED)
    for name, value, (low, high) in zip(COMPARED, values[:, 0].tolist(), intervals, strict=True):
        row |= {name: None if np.isnan(value) else value, f'{name}_low': low, f'{name}_high': high}
    return row


def markdown(rows: list[dict], titles: dict[str, str]) -> str:
    """A line for each detector."""
    if not rows:
        return ''
    lines = ['Mean AuC over the data sets (frames) of', '', f'| detector | {" | ".join(NAMES)} |', '|---|---|---|---|']
    for name in dict.fromkeys(row['detector'] for row in rows):
        own = [row for row in rows if row['detector'] == name]
        lines.append(markdown_line([titles[name], *map(mean_text, own)]))
    return '\n'.join([*lines, ''])


def mean_text(row: dict) -> str:
    return interval_text(row, 'auc') + (f' [{row["kind"]}]' if row['kind'] else '')
