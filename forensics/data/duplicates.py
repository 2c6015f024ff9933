"""Near-duplicates: a perceptual hash, and the search for all pairs of near hashes among a million pictures.

The hash is pHash's, except that it keeps the numbers: the 63 lowest frequencies of the grey 16 x 16 thumbnail, scaled
to length one. pHash keeps only their signs, and those of small numbers flip with every re-encoding. Measured on 7,089
aligned portraits: copies re-encoded at quality 30, resampled to a half or a quarter lie within 0.05 of the original
(0.11 if pixels were just dropped), the two nearest different photographs of different parts at 0.28.
"""

from collections.abc import Iterator

import numpy as np
from PIL import Image

NEAR = 0.12
SAME = 25.0  # grey levels, in the worst of 32 x 32 cells; copies reach 22, planted faces 61 and more
FREQUENCIES = 8
THUMBNAIL = 16
# Pictures flatter than this (in grey levels) have no structure to compare: their hash shrinks towards zero, so that
# the noise of two black frames is not taken for two different pictures.
FLAT = 2.0
PIECE = 1000  # pictures looked up at once: bounds the memory where thousands of frames are alike

# Mirroring a picture changes the sign of its odd horizontal frequencies and nothing else.
MIRROR = np.tile((-1.0) ** np.arange(FREQUENCIES), FREQUENCIES)[1:].astype(np.float32)


def picture_hash(image: Image.Image) -> np.ndarray:
    """63 float16 values; the distance of two is 0 for equal pictures and about 1.4 for unrelated ones."""
    from scipy.fft import dctn

    thumbnail = np.asarray(image.convert('L').resize((THUMBNAIL, THUMBNAIL), Image.Resampling.BOX), dtype=np.float64)
    spectrum = dctn(thumbnail, norm='ortho')[:FREQUENCIES, :FREQUENCIES].ravel()[1:]
    return (spectrum / np.hypot(np.linalg.norm(spectrum), FLAT * THUMBNAIL)).astype(np.float16)


def near_pairs(hashes: np.ndarray, radius: float = NEAR) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """(i, j, distance) arrays, i < j, piece by piece, of all pairs of hashes within radius, mirrored or not.

    Exact, and not quadratic: a k-d tree over the directions in which these hashes vary most leaves few candidates
    (projecting can only bring points together, so none is missed), and those are compared in full. Identical hashes
    are paired only with the first of them. The pieces bound the memory.
    """
    from scipy.spatial import cKDTree

    if len(hashes) < 2:
        return
    unique, first, which = np.unique(hashes, axis=0, return_index=True, return_inverse=True)
    twins = np.flatnonzero(first[which] != np.arange(len(hashes)))
    if len(twins):
        yield first[which[twins]], twins, np.zeros(len(twins))

    unique = unique.astype(np.float32)
    sample = unique[:: max(1, len(unique) // 20_000)]
    _, _, directions = np.linalg.svd(sample - sample.mean(axis=0), full_matrices=False)
    directions = directions[:10].T
    tree = cKDTree(unique @ directions, leafsize=64)
    for mirror in (None, MIRROR):
        queries = unique if mirror is None else unique * mirror
        points = queries @ directions
        for start in range(0, len(points), PIECE):
            rows = np.arange(start, min(start + PIECE, len(points)))
            found = tree.query_ball_point(points[rows], radius, workers=-1)
            i = np.repeat(rows, [len(neighbours) for neighbours in found])
            j = np.concatenate([np.asarray(neighbours, dtype=np.intp) for neighbours in found])
            ahead = i < j  # each pair is found from both sides, and everything finds itself
            i, j = i[ahead], j[ahead]
            distance = np.linalg.norm(queries[i] - unique[j], axis=1)
            near = distance <= radius
            if near.any():
                a, b = first[i[near]], first[j[near]]
                yield np.minimum(a, b), np.maximum(a, b), distance[near]


def same_picture(one: Image.Image, other: Image.Image) -> bool:
    """True if two near-duplicates are copies of one picture, not a photograph and a fake made from it.

    Encoding and resampling change every cell a little; a planted face changes a few of them a lot.
    """
    first, second = (
        np.asarray(image.convert('L').resize((32, 32), Image.Resampling.BOX), dtype=float) for image in (one, other)
    )
    return min(np.abs(first - second).max(), np.abs(first[:, ::-1] - second).max()) < SAME


def nearest_across(hashes: np.ndarray, kinds: np.ndarray, most: int = 1000) -> list[tuple[int, int, float]]:
    """(i, j, distance), nearest first, of `most` evenly chosen pictures, each with its nearest of another kind."""
    chosen = np.unique(np.linspace(0, len(hashes) - 1, most).astype(int)) if len(hashes) else []
    best: dict[int, tuple[int, float]] = {}
    queries = hashes[chosen].astype(np.float32)
    for start in range(0, len(hashes), 10_000):
        block = hashes[start : start + 10_000].astype(np.float32)
        distances = np.sqrt(np.maximum((queries**2).sum(1)[:, None] + (block**2).sum(1) - 2 * queries @ block.T, 0))
        distances[kinds[chosen][:, None] == kinds[start : start + 10_000]] = np.inf
        nearest = distances.argmin(axis=1)
        for row, i in enumerate(chosen):
            distance = float(distances[row, nearest[row]])
            if distance < best.get(int(i), (0, np.inf))[1]:
                best[int(i)] = (start + int(nearest[row]), distance)
    pairs = {(min(i, j), max(i, j)): distance for i, (j, distance) in best.items()}
    return sorted(((i, j, distance) for (i, j), distance in pairs.items()), key=lambda pair: pair[2])
