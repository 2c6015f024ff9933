"""Every pair of the benchmark's detectors on every data set: is one better than the other?"""

from collections.abc import Sequence

from forensics.data.parts import Part
from forensics.judging import comparing, scoring
from forensics.judging.benchmark_entries import Entry
from forensics.judging.benchmark_scores import Scores
from forensics.judging.benchmark_table import at_level, fitted_threshold, levels_of, markdown_line
from forensics.judging.scoring import COMPARED

OF_A_METRIC = ('first', 'second', 'difference', 'low', 'high')
RIGHT = ('both_right', 'first_only', 'second_only', 'both_wrong')
COLUMNS = (
    'dataset', 'level', 'first', 'second', 'real', 'fake',
    *(f'{name}_{what}' for name in COMPARED for what in OF_A_METRIC),
    'delong_p', 'holm_p', 'fewest_groups', *RIGHT, 'mcnemar_p', 'verdict',
)  # fmt: skip


def all_pairs(folder: str, entries: Sequence[Entry], parts: Sequence[Part], seed: int) -> list[dict]:
    """A row of `comparing.compare` for each pair, data set and level, unperturbed. Holm's correction is within these.

    `folder` holds the scores. Prints what cannot be compared.
    """
    rows = []
    for part in parts:
        able = [entry for entry in entries if entry.detector.can_score(part, False)]
        all_scores = [Scores(folder, entry, part, None, seed) for entry in able]
        files = common_files(all_scores) if len(able) > 1 else []
        for level in levels_of(part) if files else ():
            rows += pairs_on(folder, all_scores, files, level, seed)
    return rows


def common_files(all_scores: Sequence[Scores]) -> list[str]:
    sets = [set(scores.files) for scores in all_scores]
    common, missing = set.intersection(*sets), len(set.union(*sets)) - len(set.intersection(*sets))
    part = all_scores[0].part
    if missing:
        print(f'{part.dataset}: images without a score of every detector, left out of the comparison: {missing}.')
    return [file for file in part.files if file in common]


def pairs_on(folder: str, all_scores: Sequence[Scores], files: Sequence[str], level: str, seed: int) -> list[dict]:
    dataset, names, values, thresholds = all_scores[0].part.dataset, [], [], []
    for scores in all_scores:
        labels, own, groups = at_level(scores, level, files)
        if reason := scoring.undefined(labels, own):
            print(f'{scores.entry.name} cannot be compared on {dataset}: {reason}.')
            continue
        validations = [Scores(folder, scores.entry, part, None, seed) for part in scores.entry.validations]
        names.append(scores.entry.name)
        values.append(own)
        thresholds.append(fitted_threshold(validations, level) or 0.0)
    if len(names) < 2:
        return []
    facts = {'dataset': dataset, 'level': level, 'real': int(sum(labels == 0)), 'fake': int(sum(labels == 1))}
    rows = comparing.compare(names, labels, values, groups, thresholds, seed)
    return [{**facts, **row, 'verdict': comparing.verdict(row)} for row in rows]


def flat(row: dict) -> dict:
    """The row for a CSV file."""
    table = {name: row['mcnemar'][name] for name in RIGHT} | {'mcnemar_p': row['mcnemar']['p']}
    for name, found in row['metrics'].items():
        low, high = found['interval'] or (None, None)
        table |= {f'{name}_{what}': value for what, value in {**found, 'low': low, 'high': high}.items()}
    return {**row, **table}


def markdown(rows: list[dict]) -> str:
    """A table for each data set and level."""
    lines = []
    for dataset, level in dict.fromkeys((row['dataset'], row['level']) for row in rows):
        own = [row for row in rows if (row['dataset'], row['level']) == (dataset, level)]
        p = f'p holds for all {len(own)} pairs (DeLong, Holm)' if len(own) > 1 else "p is DeLong's"
        lines += [
            f'{dataset}, test, {level}s: is one of two better? {p}',
            '',
            '| first | second | AuC, second - first | p | |',
            '|---|---|---|---|---|',
            *map(markdown_row, own),
            '',
        ]
    return '\n'.join(lines)


def markdown_row(row: dict) -> str:
    auc = row['metrics']['auc']
    difference = f'{auc["difference"]:+.3f}'
    if auc['interval']:
        difference += ' ({:+.3f} to {:+.3f})'.format(*auc['interval'])
    p = '-' if row['delong_p'] is None else f'{row["holm_p"]:.3g}'
    return markdown_line((row['first'], row['second'], difference, p, row['verdict']))
