"""Is one detector better than another? Both score the same images, so that only their differences count."""

from collections.abc import Sequence
from itertools import combinations

import numpy as np

from forensics.judging import scoring
from forensics.judging.scoring import COMPARED

LEAST_COMMON = 0.99  # of the images have to be scored by all detectors, unless the user lets fewer pass
FEWEST = 10  # groups of a class: of fewer, more than one in ten equally good pairs would pass for different
SURE = 0.05  # a difference is called one where chance alone would show as much in fewer cases than this


def delong(labels, all_scores: Sequence, groups=None) -> tuple[np.ndarray, np.ndarray]:
    """(AuCs, their covariance matrix) of several scores of the same images.

    DeLong, DeLong and Clarke-Pearson (1988). With groups, images of one group (a video, a person) need not be
    independent: Obuchowski (1997). Groups of one image give DeLong's own numbers.
    """
    from scipy.stats import rankdata

    fake = np.asarray(labels) == 1
    nof_fake, nof_real = int(fake.sum()), int((~fake).sum())
    _, groups = np.unique(np.arange(len(fake)) if groups is None else groups, return_inverse=True)
    size = int(groups.max()) + 1
    aucs, of_fakes, of_reals = [], [], []
    for scores in all_scores:
        scores = np.asarray(scores, dtype=np.float64)
        ranks = rankdata(scores)
        # For each fake the share of real images below it, for each real image the share of fakes above it.
        below = (ranks[fake] - rankdata(scores[fake])) / nof_real
        above = 1 - (ranks[~fake] - rankdata(scores[~fake])) / nof_fake
        aucs.append(below.mean())
        of_fakes.append(np.bincount(groups[fake], below - aucs[-1], size))
        of_reals.append(np.bincount(groups[~fake], above - aucs[-1], size))
    of_fakes, of_reals = np.array(of_fakes), np.array(of_reals)

    def spread(one: np.ndarray, other: np.ndarray, nof_groups: int) -> np.ndarray:
        return nof_groups / max(nof_groups - 1, 1) * one @ other.T

    covariance = spread(of_fakes, of_fakes, len(set(groups[fake]))) / nof_fake**2
    covariance += spread(of_reals, of_reals, len(set(groups[~fake]))) / nof_real**2
    crossed = spread(of_fakes, of_reals, size) / (nof_fake * nof_real)
    return np.array(aucs), covariance + crossed + crossed.T


def delong_p(aucs: np.ndarray, covariance: np.ndarray, one: int, other: int) -> float:
    """How often two equally good detectors would differ as much."""
    from scipy.stats import norm

    difference = aucs[other] - aucs[one]
    variance = covariance[one, one] + covariance[other, other] - 2 * covariance[one, other]
    if variance <= 1e-15:  # the same order, or no errors to tell them apart by
        return 1.0 if abs(difference) < 1e-12 else 0.0
    return float(2 * norm.sf(abs(difference) / np.sqrt(variance)))


def mcnemar(labels, one, other) -> dict[str, int | float]:
    """Who is right where, of two detectors' decisions, and the exact p of the images on which only one is right."""
    from scipy.stats import binomtest

    right, other_right = np.asarray(one) == labels, np.asarray(other) == labels
    first, second = int(np.sum(right & ~other_right)), int(np.sum(~right & other_right))
    return {
        'both_right': int(np.sum(right & other_right)),
        'first_only': first,
        'second_only': second,
        'both_wrong': int(np.sum(~right & ~other_right)),
        'p': float(binomtest(first, first + second).pvalue) if first + second else 1.0,
    }


def holm(values: Sequence[float]) -> list[float]:
    """The p values of several tests, enlarged so that all of them together hold (Holm, 1979)."""
    order = np.argsort(values)
    enlarged = np.maximum.accumulate(np.asarray(values)[order] * np.arange(len(values), 0, -1))
    found = np.empty(len(values))
    found[order] = np.minimum(enlarged, 1)
    return found.tolist()


def compare(
    names: Sequence[str], labels, logits: Sequence, groups, thresholds: Sequence[float], seed: int = 0
) -> list[dict]:
    """A row for each pair of detectors: each one's metrics, the second's less the first's with its interval, the tests.

    Intervals and p values keep groups together; McNemar's table counts images. Of few groups there is no p: their
    spread cannot be estimated.
    """
    labels = np.asarray(labels)
    fewest = min(len(set(np.asarray(groups)[labels == label])) for label in (0, 1))
    aucs, covariance = delong(labels, logits, groups)
    own = [scoring.values(labels, scores, threshold) for scores, threshold in zip(logits, thresholds, strict=True)]
    rounds = scoring.group_rounds(labels, logits, groups, thresholds, rounds=1000, seed=seed)
    decisions = [scores > threshold for scores, threshold in zip(logits, thresholds, strict=True)]
    rows = []
    for one, other in combinations(range(len(names)), 2):
        intervals = [None] * len(COMPARED) if rounds is None else scoring.ends(rounds[other] - rounds[one], 0.95)
        rows.append({
            'first': names[one],
            'second': names[other],
            'metrics': {
                name: {'first': own[one][name], 'second': own[other][name],
                       'difference': own[other][name] - own[one][name], 'interval': interval}
                for name, interval in zip(COMPARED, intervals, strict=True)
            },
            'delong_p': delong_p(aucs, covariance, one, other) if fewest >= FEWEST else None,
            'fewest_groups': fewest,
            'mcnemar': mcnemar(labels, decisions[one], decisions[other]),
        })  # fmt: skip
    tested = [row for row in rows if row['delong_p'] is not None]
    for row, p in zip(tested, holm([row['delong_p'] for row in tested]), strict=True):
        row['holm_p'] = p
    return rows


def better(row: dict) -> str | None:
    """'first', 'second', 'neither', or None where it cannot be told.

    It needs both: a p value that holds for all pairs, an interval without 0.
    """
    if row['delong_p'] is None:
        return None
    low, high = row['metrics']['auc']['interval']
    if row['holm_p'] >= SURE or low <= 0 <= high:
        return 'neither'
    return 'second' if row['metrics']['auc']['difference'] > 0 else 'first'


def verdict(row: dict) -> str:
    """The comparison in a sentence."""
    found = better(row)
    if found is None:
        groups = f'{row["fewest_groups"]} group{"" if row["fewest_groups"] == 1 else "s"}'
        return (
            f'Whether {row["first"]} or {row["second"]} is better cannot be told: one class has only '
            f'{groups} (or images, where no groups are known), and {FEWEST} are needed.'
        )
    if found == 'neither':
        return f'No difference between {row["first"]} and {row["second"]} can be seen on these images.'
    worse = row['second' if found == 'first' else 'first']
    return f'{row[found]} is better than {worse}: its AuC is {abs(row["metrics"]["auc"]["difference"]):.3f} higher.'
