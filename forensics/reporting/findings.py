"""Sentences whose claims hang on numbers: each looks first, and says only what it sees."""

import math

import numpy as np

from forensics.judging import scoring
from forensics.reporting.evidence import Run, Scored
from forensics.reporting.page import Html, digits, say

CONSTANT_SHARE = 0.98  # from this share of equal decisions on, a classifier is called constant
# A validation loss has risen if it ends higher than its lowest by this share of it, and by this much.
RISE, NOISE = 0.1, 0.01
FALL = 0.05  # a network whose validation loss is not this share below that of one answer has learnt nothing
ONE = 0.01  # AuCs of the two scores whose sum is that near to 1 are called mirror images


def overfits_from(log: dict) -> int | None:
    """The epoch (from 1) after the lowest validation loss, if it has risen since while the training loss fell."""
    train, val = curve(log, 'train_loss'), curve(log, 'val_loss')
    if train is None or val is None or len(train) != len(val):
        return None
    lowest = int(np.argmin(val))
    risen = val[-1] - val[lowest] > max(RISE * val[lowest], NOISE)
    return lowest + 2 if risen and train[-1] < train[lowest] else None


def blind_loss(run: Run) -> float:
    """The validation loss of giving every image the part's own share of fakes."""
    counts = run.data.get('val', {})
    share = counts.get('fake', 1) / max(counts.get('fake', 1) + counts.get('real', 1), 1)
    return -sum(p * math.log(p) for p in (share, 1 - share) if p)


def curve(log: dict, key: str) -> np.ndarray | None:
    """The values of all epochs; None if one of them is missing or is no finite number."""
    values = log.get(key)
    if not isinstance(values, list) or not values:
        return None
    if not all(isinstance(value, (int, float)) and abs(value) < math.inf for value in values):
        return None
    return np.array(values, dtype=np.float64)


def course(run: Run) -> Html:
    """How the training went: overfitting, hardly any learning, or neither."""
    log = run.log
    train, val = curve(log, 'train_loss'), curve(log, 'val_loss')
    if train is None or val is None or len(train) != len(val):
        return Html('The losses of this run are incomplete, so that nothing is said of its course.')
    if len(val) == 1:
        return Html('One epoch alone shows no course.')

    def loss(part: str, epoch: int) -> Html:
        return digits(log[f'{part}_loss'][epoch], '{:.3f}')

    last, lowest, since = len(val) - 1, int(np.argmin(val)), overfits_from(log)
    if since:
        return say(
            'It overfits from epoch {}: the validation loss is lowest after epoch {} ({}) and ends at {}, while the '
            'training loss goes on falling from {} to {}.',
            digits(since, '{}'), digits(lowest + 1, '{}'),
            loss('val', lowest), loss('val', last), loss('train', lowest), loss('train', last),
        )  # fmt: skip
    if val[lowest] > blind_loss(run) * (1 - FALL):
        return say(
            'It learns nothing that holds on validation: that loss is lowest after epoch {} ({}), where giving all '
            'images the same P(fake) has {}; the training loss goes from {} to {}.',
            digits(lowest + 1, '{}'), loss('val', lowest),
            digits(blind_loss(run), '{:.3f}'), loss('train', 0), loss('train', last),
        )  # fmt: skip
    if train[last] >= train[0]:
        return say(
            'It does not train: the training loss goes from {} to {}, the validation loss from {} to {}.',
            loss('train', 0), loss('train', last), loss('val', 0), loss('val', last),
        )  # fmt: skip
    return say(
        'It learns, and no overfitting shows within {} epochs: the training loss falls from {} to {}, the validation '
        'loss goes from {} to {} and is lowest ({}) after epoch {}.',
        digits(len(val), '{}'), loss('train', 0), loss('train', last), loss('val', 0), loss('val', last),
        loss('val', lowest), digits(lowest + 1, '{}'),
    )  # fmt: skip


def kind_of(scored: Scored) -> str:
    """'constant', 'chance', 'reversed', 'telling' or, where a class is missing, 'unknown'.

    'misplaced' gives nearly all images one answer, too, but tells them apart at another threshold.
    """
    decisions = scored.logits > 0
    _, share = scoring.commonest_decision(decisions) or ('nothing', 0.0)
    right = scoring.accuracy(scored.labels, decisions)
    # Where nearly all images are of one class, nearly equal decisions may well be right.
    constant = share >= CONSTANT_SHARE and right <= scoring.constant_accuracy(scored.labels)
    if scored.interval is None:
        return 'constant' if constant else 'unknown'
    low, high = scored.interval
    if constant:
        return 'misplaced' if low > 0.5 else 'constant'
    return 'telling' if low > 0.5 else 'reversed' if high < 0.5 else 'chance'


def kind_of_classifier(scored: Scored) -> Html:
    labels, logits = scored.labels, scored.logits
    decision, share = scoring.commonest_decision(logits > 0) or ('nothing', 0.0)
    measured = say(
        '{} of the {} test images are called {}',
        digits(share, '{:.1%}'), digits(len(labels), '{}'), decision,
    )  # fmt: skip
    if scored.interval:
        auc, low, high = (digits(value, '{:.3f}') for value in (scored.auc, *scored.interval))
        measured = say('{}, AuC {} (95%: {} to {})', measured, auc, low, high)
    words = {
        'constant': 'a constant predictor', 'chance': 'no better than chance', 'telling': 'no constant predictor',
        'reversed': 'worse than chance',
        'misplaced': 'a constant predictor at P(fake) 0.5, whose order tells real from fake all the same',
        'unknown': 'no constant predictor',
    }  # fmt: skip
    return say('{}: {}', words[kind_of(scored)], measured)
