"""Measure how well a few numbers alone, such as a file's size, tell the classes apart."""

import numpy as np

from forensics.judging import scoring

MOST = 20_000  # images that a probe looks at: enough for a narrow interval
RESAMPLES = 500


def probe(values: np.ndarray, fake: np.ndarray, groups: np.ndarray, seed: int = 0) -> tuple[float, float, float]:
    """(AuC, lower, upper end of its 99% interval) of a small tree that sees these values alone.

    The tree finds out itself whether high or low values mean fake. It is judged on groups that it was not grown on, so
    that two dozen pictures give no high number by chance. The interval resamples groups, not pictures; it is wide
    because several probes are made at once.
    """
    from sklearn.model_selection import StratifiedGroupKFold
    from sklearn.tree import DecisionTreeClassifier

    rng = np.random.default_rng(seed)
    if len(fake) > MOST:
        chosen = rng.permutation(len(fake))[:MOST]
        values, fake, groups = values[chosen], fake[chosen], groups[chosen]
    _, groups = np.unique(groups, return_inverse=True)
    folds = min(5, *(len(np.unique(groups[fake == label])) for label in (0, 1)))
    if folds < 2 or (values == values[0]).all():
        return 0.5, 0.5, 0.5
    scores = np.zeros(len(fake))
    leaf = max(3, len(fake) // 50)
    splitter = StratifiedGroupKFold(folds, shuffle=True, random_state=seed)
    for known, unknown in splitter.split(values, fake, groups):
        tree = DecisionTreeClassifier(min_samples_leaf=leaf, random_state=seed).fit(values[known], fake[known])
        fakes = list(tree.classes_).index(1) if 1 in tree.classes_ else None
        predicted = 0.0 if fakes is None else tree.predict_proba(values[unknown])[:, fakes]
        # Minus the share of fakes that the tree has seen: a fold with few fakes is predicted from folds with more, and
        # the AuC over all folds would fall below chance.
        scores[unknown] = predicted - fake[known].mean()

    scores = np.round(scores, 9)  # scores that differ by rounding alone are ties
    auc = scoring.auc(fake, scores)
    low, high = scoring.group_auc_interval(fake, scores, groups, RESAMPLES, 0.99, rng)
    # Resampling a handful of groups gives too narrow an interval: a coin tossed for each group sets the least width.
    reals, fakes = (len(np.unique(groups[fake == label])) for label in (0, 1))
    coin = 2.58 * np.sqrt((reals + fakes + 1) / (12 * reals * fakes))
    return auc, float(max(0, min(low, auc - coin))), float(min(1, max(high, auc + coin)))
