"""Shortcuts: facts that tell the classes apart without looking at a face.

A detector trained where all fakes are PNG files, or all photographs come from one camera, learns just that. The probe
measures how well each such fact alone predicts the label.
"""

import hashlib
import zlib
from pathlib import Path

import numpy as np
from PIL import Image

from forensics.data.duplicates import picture_hash
from forensics.pictures.faces import sharpness
from forensics.pictures.files import open_image

NUMBERS = ('bytes', 'width', 'height', 'coarseness', 'tables', 'exif', 'red', 'green', 'blue', 'blur')
# name -> the numbers that a probe may look at
PROBES = {
    'file_size': ('bytes',),
    'image_size': ('width', 'height'),
    'jpeg_tables': ('coarseness', 'tables'),
    'exif': ('exif',),
    'mean_colour': ('red', 'green', 'blue'),
    'blur': ('blur',),
}
MOST = 20_000  # images that a probe looks at: the interval is narrow enough
RESAMPLES = 500


def facts(path: str) -> tuple[list[float], bytes, np.ndarray]:
    """(NUMBERS, digest of the file, perceptual hash)"""
    image = open_image(path)
    colour = np.asarray(image.resize((16, 16), Image.Resampling.BOX), dtype=float).mean(axis=(0, 1))
    with Image.open(path) as original:
        tables = getattr(original, 'quantization', None) or {}
        coarseness = float(np.mean(tables[0])) if 0 in tables else 0.0
        layers = getattr(original, 'layer', [])  # how the colours are sampled, which encoders choose too
        encoder = (original.format, original.mode, [(key, *tables[key]) for key in sorted(tables)], layers)
        exif = len(original.getexif())
    data = Path(path).read_bytes()
    numbers = [
        len(data),
        image.width,
        image.height,
        coarseness,
        zlib.crc32(repr(encoder).encode()),
        exif,
        *colour,
        sharpness(image),
    ]
    return numbers, hashlib.sha256(data).digest(), picture_hash(image)


def probe(values: np.ndarray, fake: np.ndarray, groups: np.ndarray, seed: int = 0) -> tuple[float, float, float]:
    """(AuC, lower, upper end of its 99% interval) of a small decision tree that sees only these values.

    The tree is tested on groups that it was not trained on, so no direction has to be guessed and two dozen pictures
    give no high number by chance. The interval resamples groups, not pictures; it is wide because six probes are made
    at once.
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
        told = 0.0 if fakes is None else tree.predict_proba(values[unknown])[:, fakes]
        # Minus what a blind guess knew: a fold with few fakes was predicted from others with more, and the AuC over
        # all folds would fall below chance.
        scores[unknown] = told - fake[known].mean()

    order = np.argsort(groups, kind='stable')
    starts = np.searchsorted(groups[order], np.arange(groups.max() + 2))
    sampled = []
    for _ in range(RESAMPLES):
        weights = np.bincount(rng.integers(0, len(starts) - 1, len(starts) - 1), minlength=len(starts) - 1)
        sampled.append(weighted_auc(scores, fake, weights[groups]))
    auc = weighted_auc(scores, fake, np.ones(len(fake)))
    low, high = np.nanpercentile(sampled, (0.5, 99.5))
    # A resampled handful knows only itself: the interval is never narrower than that of a coin tossed for each group.
    reals, fakes = (len(np.unique(groups[fake == label])) for label in (0, 1))
    coin = 2.58 * np.sqrt((reals + fakes + 1) / (12 * reals * fakes))
    return auc, float(max(0, min(low, auc - coin))), float(min(1, max(high, auc + coin)))


def weighted_auc(scores: np.ndarray, fake: np.ndarray, weights: np.ndarray) -> float:
    """How often a fake scores above a real, ties half."""
    _, level = np.unique(np.round(scores, 9), return_inverse=True)
    reals = np.bincount(level, weights * (fake == 0))
    fakes = np.bincount(level, weights * (fake == 1))
    pairs = reals.sum() * fakes.sum()
    return float((fakes * (np.cumsum(reals) - reals / 2)).sum() / pairs) if pairs else float('nan')
