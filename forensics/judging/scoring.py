"""Labels and scores in, metrics out. Label 0 is real, 1 is fake, and a higher score means "more fake".

A metric that cannot be computed, as from one class alone, is None, and `undefined` gives the reason.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from forensics.data.datasets import CLASSES

FINEST = 5000  # distinct scores that a bootstrap tells apart
STEPS = 10  # of P(fake), for the calibration error and the reliability diagram


def undefined(labels, scores=None) -> str | None:
    """The reason why no curve can be drawn from these labels and scores, or None."""
    labels = np.asarray(labels)
    if not len(labels):
        return 'there are no images'
    for label, name in enumerate(CLASSES):
        if (labels == label).all():
            return f'both classes are needed, and all {len(labels)} images are {name}'
    if scores is not None and not np.isfinite(scores).all():
        return f'{np.sum(~np.isfinite(scores))} of {len(labels)} scores are not finite numbers'
    return None


def _counts(labels, scores) -> tuple[np.ndarray, np.ndarray]:
    """The numbers of real and of fake images at each distinct score, the scores ascending."""
    distinct, bins = np.unique(np.asarray(scores), return_inverse=True)
    labels = np.asarray(labels)
    return tuple(np.bincount(bins[labels == label], minlength=len(distinct)) for label in (0, 1))


def _below(counts: np.ndarray) -> np.ndarray:
    """The numbers of images below each threshold, from none to all."""
    return np.concatenate([np.zeros_like(counts[..., :1]), np.cumsum(counts, axis=-1)], axis=-1)


def _auc_of_counts(real: np.ndarray, fake: np.ndarray) -> np.ndarray:
    pairs = real.sum(axis=-1) * fake.sum(axis=-1)
    return np.sum(fake * (_below(real)[..., :-1] + real / 2), axis=-1) / pairs


def _eer_of_counts(real: np.ndarray, fake: np.ndarray) -> np.ndarray:
    """The rate at which the two error rates meet, on a straight line between neighbouring thresholds."""
    right, missed = _below(real), _below(fake)
    false_alarms, misses = 1 - right / right[..., -1:], missed / missed[..., -1:]
    gap = misses - false_alarms  # ascends from -1 to 1
    after = np.argmax(gap >= 0, axis=-1)[..., None]
    gap_after, gap_before = np.take_along_axis(gap, after, -1), np.take_along_axis(gap, after - 1, -1)
    share = -gap_before / (gap_after - gap_before)
    rate_after, rate_before = np.take_along_axis(misses, after, -1), np.take_along_axis(misses, after - 1, -1)
    return (rate_before + share * (rate_after - rate_before))[..., 0]


def _average_precision_of_counts(real: np.ndarray, fake: np.ndarray) -> np.ndarray:
    found, alarms = (np.cumsum(counts[..., ::-1], axis=-1) for counts in (fake, real))
    return np.sum(fake[..., ::-1] * found / np.maximum(found + alarms, 1), axis=-1) / fake.sum(axis=-1)


def auc(labels, scores) -> float | None:
    """The share of (real, fake) pairs in which the fake scores higher; a tie counts half."""
    return None if undefined(labels, scores) else float(_auc_of_counts(*_counts(labels, scores)))


def equal_error_rate(labels, scores) -> float | None:
    """The rate at which as many real images are called fake as fakes are called real."""
    return None if undefined(labels, scores) else float(_eer_of_counts(*_counts(labels, scores)))


def average_precision(labels, scores) -> float | None:
    """The mean over the fakes of the precision at which each is found, from the highest score down."""
    return None if undefined(labels, scores) else float(_average_precision_of_counts(*_counts(labels, scores)))


# --- many metrics of one decision: counts of real and fake images in bins of the score -----------------------------


@dataclass(frozen=True)
class Counts:
    """Real and fake images in each bin, the scores ascending; a row for each round of a bootstrap."""

    real: np.ndarray
    fake: np.ndarray
    called_real: int  # bins below the threshold
    probability: np.ndarray  # P(fake) of each bin

    @property
    def images(self) -> np.ndarray:
        return self.real.sum(axis=-1) + self.fake.sum(axis=-1)

    @property
    def right(self) -> tuple[np.ndarray, np.ndarray]:
        """The numbers of real images and of fakes with the right decision."""
        return self.real[..., : self.called_real].sum(axis=-1), self.fake[..., self.called_real :].sum(axis=-1)


def _accuracy(counts: Counts) -> np.ndarray:
    return 100 * sum(counts.right) / counts.images


def _balanced_accuracy(counts: Counts) -> np.ndarray:
    real, fake = counts.right
    return 50 * (real / counts.real.sum(axis=-1) + fake / counts.fake.sum(axis=-1))


def _hits_at_one_percent(counts: Counts) -> np.ndarray:
    """The share of fakes found by the lowest threshold that calls at most 1% of the real images fake."""
    right, missed = _below(counts.real), _below(counts.fake)
    allowed = 1 - right / right[..., -1:] <= 0.01 + 1e-12
    return np.max(allowed * (1 - missed / missed[..., -1:]), axis=-1)


def _brier(counts: Counts) -> np.ndarray:
    """The mean square of P(fake) less the label."""
    return (counts.real @ counts.probability**2 + counts.fake @ (1 - counts.probability) ** 2) / counts.images


def _step(probability: np.ndarray) -> np.ndarray:
    """Which of the equal steps of P(fake) each one lies in."""
    return np.minimum((probability * STEPS).astype(int), STEPS - 1)


def _calibration_error(counts: Counts) -> np.ndarray:
    """Mean distance of P(fake) from the share of fakes, over ten equal steps of P (the expected calibration error)."""
    steps = np.eye(STEPS)[_step(counts.probability)]
    promised = ((counts.real + counts.fake) * counts.probability) @ steps
    return np.abs(promised - counts.fake @ steps).sum(axis=-1) / counts.images


METRICS: dict[str, Callable[[Counts], np.ndarray]] = {
    'auc': lambda counts: _auc_of_counts(counts.real, counts.fake),
    'average_precision': lambda counts: _average_precision_of_counts(counts.real, counts.fake),
    'eer': lambda counts: _eer_of_counts(counts.real, counts.fake),
    'accuracy': _accuracy,
    'balanced_accuracy': _balanced_accuracy,
    'tpr_at_1_percent_fpr': _hits_at_one_percent,
    'brier': _brier,
    'calibration_error': _calibration_error,
}
COMPARED = ('auc', 'eer', 'accuracy')  # the benchmark's columns


def _bins(scores: np.ndarray, threshold: float, finest: int | None = None) -> tuple[np.ndarray, int, np.ndarray]:
    """(the bin of each score, the number of bins below the threshold, P(fake) of each bin)."""
    distinct, bins = np.unique(scores, return_inverse=True)
    if finest and len(distinct) > finest:  # neighbours become ties, which an interval does not show
        bins = bins * finest // len(distinct)
    bins = bins + (scores > threshold)
    probability = np.bincount(bins, fake_probability(scores)) / np.maximum(np.bincount(bins), 1)
    return bins, int(bins[scores <= threshold].max(initial=-1)) + 1, probability


def summary(labels, logits, groups, threshold: float, seed: int = 0) -> dict[str, dict[str, float | None]]:
    """Every one of METRICS with its value, its interval over whole groups, and the value of a constant predictor.

    `logits` are those of P(fake); decisions are above the threshold. The constant predictor gives every image the
    part's own share of fakes as P(fake) and names the larger class. Empty where one class is missing.
    """
    labels, logits = np.asarray(labels), np.asarray(logits, dtype=np.float64)
    if undefined(labels, logits):
        return {}
    share = labels.mean()
    constant_logits = np.full(len(labels), np.log(share / (1 - share)))
    own = values(labels, logits, threshold)
    constant = values(labels, constant_logits, threshold=0.0)
    intervals = group_intervals(labels, logits, groups, threshold, seed=seed, metrics=METRICS)
    intervals['calibration_error'] = None  # resampling adds noise, and noise only raises it
    return {name: {'value': own[name], 'interval': intervals[name], 'constant': constant[name]} for name in METRICS}


def reliability(labels, logits) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(mean P(fake), share of fakes) of the steps of P(fake) that hold images, and every step's share of the images."""
    probability = fake_probability(np.asarray(logits, dtype=np.float64))
    step = _step(probability)
    images = np.bincount(step, minlength=STEPS)
    held = images > 0
    sums = (np.bincount(step, values, STEPS)[held] / images[held] for values in (probability, np.asarray(labels)))
    return *sums, images / images.sum()


def risk_and_coverage(labels, logits) -> tuple[np.ndarray, np.ndarray]:
    """(share of images answered, share of wrong answers among them), the surest answers first.

    Images of equal certainty are answered together, so the curve does not depend on their order.
    """
    labels, logits = np.asarray(labels), np.asarray(logits, dtype=np.float64)
    sure, level = np.unique(-np.abs(logits), return_inverse=True)
    answered = np.cumsum(np.bincount(level, minlength=len(sure)))
    wrong = np.cumsum(np.bincount(level, (logits > 0) != labels, minlength=len(sure)))
    return answered / len(labels), wrong / answered


def coverage_at_risk(labels, logits, most: float = 0.05) -> float:
    """The largest share of images that can be answered with at most this share of wrong answers."""
    coverage, risk = risk_and_coverage(labels, logits)
    return float(np.max(coverage, where=risk <= most + 1e-12, initial=0.0))


def values(labels: np.ndarray, logits: np.ndarray, threshold: float) -> dict[str, float]:
    bins, called_real, probability = _bins(logits, threshold)
    real, fake = (np.bincount(bins[labels == label], minlength=len(probability)) for label in (0, 1))
    values = _metrics(METRICS.values(), real, fake, called_real, probability)
    return dict(zip(METRICS, values.tolist(), strict=True))


def _metrics(functions: Iterable[Callable], real, fake, called_real: int, probability: np.ndarray) -> np.ndarray:
    counts = Counts(real, fake, called_real, probability)
    return np.stack([function(counts) for function in functions])


# --- intervals: a bootstrap of images or of groups ------------------------------------------------------------------


def auc_interval(labels, scores, rounds: int = 1000, level: float = 0.95, seed: int = 0) -> tuple | None:
    """An interval of the AuC by the bootstrap: the images of each class are resampled."""
    if undefined(labels, scores):
        return None
    both = _counts(labels, scores)
    rng = np.random.default_rng(seed)
    # Which image was drawn does not matter, only how often each score was: a multinomial draw.
    drawn = ([rng.multinomial(counts.sum(), counts / counts.sum()) for counts in both] for _ in range(rounds))
    return _ends(drawn, level)[0]


def group_auc_interval(labels, scores, groups, rounds: int, level: float, rng: np.random.Generator) -> tuple:
    """An interval of the AuC by resampling whole groups of any kind; a round without a class is left out."""
    _, groups = np.unique(groups, return_inverse=True)
    _, bins = np.unique(scores, return_inverse=True)
    number = int(groups.max()) + 1

    def resample(rounds: int) -> np.ndarray:
        return np.stack([np.bincount(rng.integers(0, number, number), minlength=number) for _ in range(rounds)])

    drawn = (counts for (counts,) in _rounds_of_groups(labels, [bins], groups, resample, rounds))
    return _ends(drawn, level)[0]


def group_intervals(
    labels, scores, groups, threshold: float, rounds: int = 1000, level: float = 0.95, seed: int = 0, metrics=COMPARED
) -> dict[str, tuple[float, float] | None]:
    """Intervals of the `metrics` (names in METRICS; decisions are above the threshold) by resampling whole groups.

    There is no interval if a class has only one group.
    """
    found = group_rounds(labels, [scores], groups, [threshold], rounds, seed, metrics)
    if found is None:
        return dict.fromkeys(metrics)
    return dict(zip(metrics, ends(found[0], level), strict=True))


def group_rounds(
    labels,
    all_scores: Sequence,
    groups,
    thresholds: Sequence[float],
    rounds: int,
    seed: int | Sequence[int],
    metrics=COMPARED,
) -> np.ndarray | None:
    """The metrics of several detectors' scores of the same images, in every round of a bootstrap over whole groups.

    Axes: detector, metric, round. Images of one group (a video, a person) are not independent; resampled one by one
    they would vary too little. Groups are resampled among those of the same kind (real, fake, both), so that no round
    lacks a class. None if a class has only one group.
    """
    labels, all_scores = np.asarray(labels), [np.asarray(scores, dtype=np.float64) for scores in all_scores]
    if any(undefined(labels, scores) for scores in all_scores):
        return None
    _, groups = np.unique(groups, return_inverse=True)
    has = np.stack([np.bincount(groups, labels == label) > 0 for label in (0, 1)])
    if min(has.sum(axis=1)) < 2:
        return None
    kinds = [np.flatnonzero((has == np.array(kind)[:, None]).all(axis=0)) for kind in ((1, 0), (0, 1), (1, 1))]
    rng = np.random.default_rng(seed)

    def resample(rounds: int) -> np.ndarray:
        times = np.zeros((rounds, has.shape[1]))
        for kind in kinds:
            if len(kind):
                times[:, kind] = rng.multinomial(len(kind), np.full(len(kind), 1 / len(kind)), size=rounds)
        return times

    binned = [_bins(scores, threshold, FINEST) for scores, threshold in zip(all_scores, thresholds, strict=True)]
    functions = [METRICS[name] for name in metrics]
    found = [
        [_metrics(functions, *counts, *rest) for counts, (_, *rest) in zip(drawn, binned, strict=True)]
        for drawn in _rounds_of_groups(labels, [bins for bins, *_ in binned], groups, resample, rounds)
    ]
    return np.concatenate(found, axis=2)


def _rounds_of_groups(
    labels, all_bins: Sequence[np.ndarray], groups: np.ndarray, resample: Callable, rounds: int
) -> Iterator[list[tuple]]:
    """(real, fake) for each detector's bins, a row for each round: images in each bin when group g counts
    `resample(rounds)[:, g]` times."""
    from scipy.sparse import csr_array

    labels, nof_groups = np.asarray(labels), int(groups.max()) + 1
    tables = [
        [
            csr_array(((labels == label).astype(float), (groups, bins)), (nof_groups, int(bins.max()) + 1))
            for label in (0, 1)
        ]
        for bins in all_bins
    ]
    at_once = max(1, 4_000_000 // (nof_groups + max(real.shape[1] for real, _ in tables)))  # so that memory stays small
    for start in range(0, rounds, at_once):
        times = resample(min(at_once, rounds - start))
        yield [(times @ real, times @ fake) for real, fake in tables]


def _ends(rounds: Iterable[tuple], level: float) -> list[tuple[float, float]]:
    """(lower, upper end) of the AuC over the bootstrap's rounds of (real, fake) counts."""
    with np.errstate(invalid='ignore'):  # a round without a class has no AuC
        found = np.concatenate([np.atleast_2d(_auc_of_counts(real, fake)) for real, fake in rounds], axis=1)
    return ends(found, level)


def ends(found: np.ndarray, level: float) -> list[tuple[float, float]]:
    """(lower, upper end) of each row of values from the rounds of a bootstrap."""
    tail = (1 - level) / 2
    return [tuple(both) for both in np.nanquantile(found, (tail, 1 - tail), axis=1).T.tolist()]


# --- two outputs, probabilities, decisions --------------------------------------------------------------------------


def three_scores(first, second) -> dict[str, np.ndarray]:
    """The two outputs, and their difference, whose sign is the decision."""
    first, second = (np.asarray(values, dtype=np.float64) for values in (first, second))
    return {'first': first, 'second': second, 'difference': second - first}


def two_columns(outputs) -> np.ndarray:
    """(score for real, score for fake) of every image; a single logit is the score for fake, minus it for real."""
    outputs = np.asarray(outputs, dtype=np.float64)
    outputs = outputs.reshape(len(outputs), -1) if outputs.size else np.zeros((0, 2))
    return np.hstack([-outputs, outputs]) if outputs.shape[1] == 1 else outputs


def fake_logits(outputs) -> np.ndarray:
    """The logit of P(fake). It tells images apart even where P would be rounded to 0 or 1."""
    columns = two_columns(outputs)
    one_logit = np.ndim(outputs) < 2 or np.shape(outputs)[1] == 1
    return columns[:, 1] if one_logit else columns[:, 1] - columns[:, 0]


def fake_probability(outputs) -> np.ndarray:
    """P(fake) from the outputs: two scores or one logit an image, before softmax."""
    return np.exp(-np.logaddexp(0, -fake_logits(outputs)))


def accuracy(labels, decisions) -> float | None:
    """Percentage of right decisions (0 real, 1 fake)."""
    return 100 * float(np.mean(np.asarray(labels) == np.asarray(decisions))) if len(labels) else None


def constant_accuracy(labels) -> float | None:
    """The accuracy of always naming the larger class, which stands beside every other accuracy."""
    if not len(labels):
        return None
    share = float(np.mean(np.asarray(labels)))
    return 100 * max(share, 1 - share)


def run_constant_accuracy(run: dict) -> float | None:
    """The constant predictor's accuracy on a training run's test part; None if its record lacks the counts."""
    counts = (run.get('run', {}).get('data') or {}).get('test', {})
    real, fake = (counts.get(name, 0) for name in CLASSES)
    return 100 * max(real, fake) / (real + fake) if real + fake else None


def confusion(labels, decisions) -> dict[str, int]:
    labels, decisions = np.asarray(labels), np.asarray(decisions)
    return {
        f'{CLASSES[true]}_called_{CLASSES[called]}': int(np.sum((labels == true) & (decisions == called)))
        for true in (0, 1)
        for called in (0, 1)
    }


def best_threshold(labels, scores) -> float | None:
    """The threshold of the highest accuracy: an image is called fake when its score is above it.

    Of equally good ones the nearest to 0, the networks' own decision. Give it validation scores.
    """
    if undefined(labels, scores):
        return None
    distinct = np.unique(np.asarray(scores, dtype=np.float64))
    real, fake = _counts(labels, scores)
    margin = 1.0
    between = (distinct[:-1] + distinct[1:]) / 2
    thresholds = np.concatenate([[distinct[0] - margin], between, [distinct[-1] + margin]])
    right = _below(real) + fake.sum() - _below(fake)
    best = thresholds[right == right.max()]
    return float(best[np.argmin(np.abs(best))])


def commonest_decision(decisions) -> tuple[str, float] | None:
    """The class that is named most often, and its share of all decisions."""
    if not len(decisions):
        return None
    fake = float(np.mean(np.asarray(decisions)))
    return ('fake', fake) if fake > 0.5 else ('real', 1 - fake)


def bonus_score(auc_percent: float, parameters: int) -> float:
    """The bonus formula of report 2: AuC in percent against the number of parameters."""
    return 1 / (1 + math.log10(parameters)) * 100 ** (10 * (auc_percent - 90) / 100)
