"""Labels and scores in, metrics out. Label 0 is real, 1 is fake, and a higher score means "more fake".

A metric that one class alone cannot define is None; `undefined` says why in words.
"""

import math

import numpy as np

from forensics.datasets import CLASSES


def undefined(labels, scores=None) -> str | None:
    """Why curves cannot be drawn from these labels and scores, or None where they can."""
    labels = np.asarray(labels)
    if not len(labels):
        return 'there are no images'
    for label, name in enumerate(CLASSES):
        if (labels == label).all():
            return f'both classes are needed, and all {len(labels)} images are {name}'
    if scores is not None and not np.isfinite(scores).all():
        return f'{np.sum(~np.isfinite(scores))} of {len(labels)} scores are not finite numbers'
    return None


def _auc_of_counts(real: np.ndarray, fake: np.ndarray) -> np.ndarray:
    """AuC from the numbers of real and fake images at each distinct score, the scores ascending."""
    below = np.cumsum(real, axis=-1) - real
    pairs = real.sum(axis=-1) * fake.sum(axis=-1)
    return np.sum(fake * (below + real / 2), axis=-1) / pairs


def _counts(labels, scores) -> tuple[np.ndarray, np.ndarray]:
    distinct, place = np.unique(np.asarray(scores), return_inverse=True)
    labels = np.asarray(labels)
    return tuple(np.bincount(place[labels == label], minlength=len(distinct)) for label in (0, 1))


def auc(labels, scores) -> float | None:
    """The share of (real, fake) pairs in which the fake scores higher; a tie counts half."""
    if undefined(labels, scores):
        return None
    return float(_auc_of_counts(*_counts(labels, scores)))


def auc_interval(labels, scores, rounds: int = 1000, level: float = 0.95, seed: int = 0) -> tuple | None:
    """A bootstrap interval of the AuC: the images of each class are drawn again, with replacement."""
    if undefined(labels, scores):
        return None
    real, fake = _counts(labels, scores)
    rng = np.random.default_rng(seed)
    # Which image was drawn does not matter, only how often each score was: a multinomial draw.
    aucs = [
        _auc_of_counts(*(rng.multinomial(counts.sum(), counts / counts.sum()) for counts in (real, fake)))
        for _ in range(rounds)
    ]
    tail = (1 - level) / 2
    low, high = np.quantile(aucs, (tail, 1 - tail))
    return float(low), float(high)


def average_precision(labels, scores) -> float | None:
    if undefined(labels, scores):
        return None
    from sklearn.metrics import average_precision_score

    return float(average_precision_score(labels, scores))


def equal_error_rate(labels, scores) -> float | None:
    """The rate at which as many real images are called fake as fakes are called real."""
    if undefined(labels, scores):
        return None
    from sklearn.metrics import roc_curve

    # From (0, 1) to (1, 0), so the two rates always cross; det_curve drops the ends of that way.
    false_alarms, hits, _ = roc_curve(labels, scores)
    gap = false_alarms - (1 - hits)
    after = int(np.argmax(gap >= 0))
    before = max(after - 1, 0)
    step = gap[after] - gap[before]
    share = -gap[before] / step if step else 0.0
    return float(false_alarms[before] + share * (false_alarms[after] - false_alarms[before]))


def three_scores(first, second) -> dict[str, np.ndarray]:
    """The two outputs, and their difference, whose sign is the decision."""
    first, second = (np.asarray(values, dtype=np.float64) for values in (first, second))
    return {'first': first, 'second': second, 'difference': second - first}


def two_columns(outputs) -> np.ndarray:
    """(score for real, score for fake) of every image; a model's single logit speaks for fake, minus it for real."""
    outputs = np.asarray(outputs, dtype=np.float64)
    outputs = outputs.reshape(len(outputs), -1) if outputs.size else np.zeros((0, 2))
    return np.hstack([-outputs, outputs]) if outputs.shape[1] == 1 else outputs


def fake_probability(outputs) -> np.ndarray:
    """What the outputs (two scores or one logit an image, before softmax) claim for "fake"."""
    columns = two_columns(outputs)
    one_logit = np.ndim(outputs) < 2 or np.shape(outputs)[1] == 1
    logits = columns[:, 1] if one_logit else columns[:, 1] - columns[:, 0]
    return np.exp(-np.logaddexp(0, -logits))


def accuracy(labels, decisions) -> float | None:
    """Percentage of right decisions (0 real, 1 fake)."""
    return 100 * float(np.mean(np.asarray(labels) == np.asarray(decisions))) if len(labels) else None


def constant_accuracy(labels) -> float | None:
    """What the predictor that always names the larger class gets: any accuracy stands beside it."""
    if not len(labels):
        return None
    share = float(np.mean(np.asarray(labels)))
    return 100 * max(share, 1 - share)


def run_constant_accuracy(run: dict) -> float | None:
    """The constant predictor's accuracy on the test part of a training run, where its record knows the counts."""
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
    right = np.concatenate([[0], np.cumsum(real)]) + fake.sum() - np.concatenate([[0], np.cumsum(fake)])
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
