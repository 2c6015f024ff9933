"""From validation scores to what a user reads: a temperature, a threshold and a band in which no answer is given."""

from collections.abc import Sequence

import numpy as np
from scipy.optimize import minimize_scalar


def fit_temperature(labels: np.ndarray, logits: np.ndarray) -> float:
    """The number by which to divide the logits of P(fake) so that it fits the labels best (least log loss)."""
    signed = np.where(np.asarray(labels) == 1, 1, -1) * np.asarray(logits)

    def log_loss(log_temperature: float) -> float:
        return float(np.mean(np.logaddexp(0, -signed / np.exp(log_temperature))))

    return float(np.exp(minimize_scalar(log_loss, bounds=(-5, 5), method='bounded').x))


def fit_threshold(labels: np.ndarray, probabilities: np.ndarray, sources: Sequence[str], false_alarms: float) -> float:
    """The lowest threshold, 0.5 or more, at which no source has more than this share of its real pictures called fake.

    P(fake) at or above the threshold is called fake.
    """
    labels, sources = np.asarray(labels), np.asarray(sources)
    least = [0.5]
    for source in np.unique(sources[labels == 0]):
        own = np.sort(probabilities[(labels == 0) & (sources == source)])[::-1]
        allowed = int(false_alarms * len(own))
        if allowed < len(own):
            least.append(np.nextafter(own[allowed], 2))  # just above the first that has to be called real
    return float(max(least))


def fit_band(labels: np.ndarray, probabilities: np.ndarray, threshold: float, wrong: float) -> tuple[float, float]:
    """(low, high): of the answers "real" at P(fake) up to low, and of the answers "fake" from high on, at most this
    share is wrong. Between them no answer is given; the threshold lies between them or on their edge.

    The shares are of as many real as fake pictures, whatever the data's proportion.
    """
    labels = np.asarray(labels)
    order = np.argsort(probabilities, kind='stable')
    ascending = probabilities[order]
    real = np.cumsum(labels[order] == 0) / max(np.sum(labels == 0), 1)
    fake = np.cumsum(labels[order] == 1) / max(np.sum(labels == 1), 1)
    last_of_equals = np.append(np.diff(ascending) > 0, True)
    first_of_equals = np.insert(np.diff(ascending) > 0, 0, True)
    called_real = (fake <= wrong * (real + fake)) & last_of_equals & (ascending < threshold)
    low = float(ascending[called_real][-1]) if called_real.any() else 0.0
    real_from, fake_from = 1 - np.insert(real, 0, 0)[:-1], 1 - np.insert(fake, 0, 0)[:-1]
    called_fake = (real_from <= wrong * (real_from + fake_from) + 1e-12) & first_of_equals & (ascending >= threshold)
    high = float(ascending[called_fake][0]) if called_fake.any() else 1.0
    return low, high
