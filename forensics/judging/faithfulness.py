"""Is a map of "what the detector looks at" true? Curves of its answer as the marked pixels go, a random map to compare
with, and the map of a network with scrambled weights.

Deletion takes a picture's pixels away, those with the highest values of the map first; insertion starts with nothing
and brings them back in the same order. A pixel that is taken away gets the picture's mean colour. A good map makes
P(explained class) fall early and rise early, so its score is the area under the insertion curve less the one under the
deletion curve.

Deleting anything does some harm, and large patches do another harm than single pixels. So each map's score is compared
with that of a random map of the same smoothness, whose own score is 0 on average.
"""

from collections.abc import Callable, Sequence

import numpy as np

from forensics.judging import scoring

# Of the pixels, in the middles of equal steps from 0 to 1: so the area under a curve is the mean of its values.
SHARES = (0.1, 0.3, 0.5, 0.7, 0.9)
CHANGES_LITTLE = 0.5  # rank correlation: from here on a map has hardly anything to do with the weights
FEWEST = 10  # groups of pictures, for an interval
MOVES_LITTLE = 0.05  # of P(explained class), when the whole picture goes
CURVES = ('deletion', 'insertion', 'random_deletion', 'random_insertion')

Score = Callable[[list[np.ndarray]], np.ndarray]  # pictures (HxWx3, uint8) -> P(explained class) of each


# --- maps ------------------------------------------------------------


def blank(heat: np.ndarray) -> bool:
    """True if the map tells no pixel from another."""
    return not np.isfinite(heat).all() or not np.ptp(heat) > 0


def random_like(heat: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A random map of the same smoothness: the map's spectrum with the phases of noise.

    The spectrum's strength is the autocorrelation, which is what smoothness means; the phases say where things are.
    """
    noise = np.fft.rfft2(rng.standard_normal(heat.shape))
    phases = noise / np.maximum(np.abs(noise), 1e-12)
    return np.fft.irfft2(np.abs(np.fft.rfft2(heat)) * phases, heat.shape)


def ranks(heat: np.ndarray, ties: np.ndarray) -> np.ndarray:
    """Each pixel's place from 0 (goes first) to 1; `ties` decides between equal values."""
    order = np.lexsort((-ties.ravel(), -heat.ravel()))
    places = np.empty(heat.size)
    places[order] = (np.arange(heat.size) + 0.5) / heat.size
    return places.reshape(heat.shape)


def rank_correlation(one: np.ndarray, other: np.ndarray) -> float | None:
    """Spearman's: 1 if both maps order the pixels alike, 0 if they have nothing in common; None of a blank map."""
    if blank(one) or blank(other):
        return None
    return float(np.corrcoef(average_ranks(one), average_ranks(other))[0, 1])


def average_ranks(values: np.ndarray) -> np.ndarray:
    """Equal values share the mean of their ranks."""
    _, inverse, counts = np.unique(values.ravel(), return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - counts / 2)[inverse]


# --- curves ------------------------------------------------------------


def nothing_of(picture: np.ndarray) -> np.ndarray:
    """The picture with all of its pixels taken away: its mean colour."""
    mean = picture.mean(axis=(0, 1), keepdims=True).round().astype(picture.dtype)
    return np.broadcast_to(mean, picture.shape)


def curves(score: Score, picture: np.ndarray, heat: np.ndarray, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """P(explained class) at each of SHARES, for each of CURVES."""
    nothing, chance = nothing_of(picture), random_like(heat, rng)
    # Where a map has no order, as where Grad-CAM is 0, chance decides; patches like the map's own, not single pixels.
    places = ranks(heat, chance), ranks(chance, rng.random(heat.shape))
    pictures = []
    for place in places:
        goes = [(place < share)[..., None] for share in SHARES]
        pictures += [np.where(mask, nothing, picture) for mask in goes]
        pictures += [np.where(mask, picture, nothing) for mask in goes]
    return dict(zip(CURVES, np.split(score(pictures), len(CURVES)), strict=True))


def difference(row: dict[str, np.ndarray]) -> float:
    """The map's score less the random one's."""
    areas = {name: float(np.mean(row[name])) for name in CURVES}
    return areas['insertion'] - areas['deletion'] - (areas['random_insertion'] - areas['random_deletion'])


# --- many pictures ------------------------------------------------------------


def summary(
    rows: Sequence[dict[str, np.ndarray] | None],
    correlations: Sequence[float | None],
    groups: Sequence[str],
    seed: int = 0,
) -> dict:
    """What one method's `curves` of all pictures say (None: its map was blank); intervals resample whole groups.

    `correlations` are those with the map of the scrambled network, of as many pictures as were tried.
    """
    seen = [index for index, row in enumerate(rows) if row is not None]
    told = [index for index, value in enumerate(correlations) if value is not None]
    mean = {name: np.mean([rows[index][name] for index in seen], axis=0) if seen else None for name in CURVES}
    differences = [difference(rows[index]) for index in seen]
    known = [correlations[index] for index in told]
    return {
        'images': len(seen),
        'blank': len(rows) - len(seen),
        **{name: float(np.mean(curve)) if seen else None for name, curve in mean.items()},
        'difference': float(np.mean(differences)) if seen else None,
        'interval': interval(differences, [groups[index] for index in seen], seed),
        'scrambled': {
            'images': len(correlations),
            'blank': len(correlations) - len(told),
            'correlation': float(np.mean(known)) if told else None,
            'interval': interval(known, [groups[index] for index in told], seed),
        },
        'curves': mean,
        'differences': differences,
    }


def interval(values: Sequence[float], groups: Sequence[str], seed: int = 0, rounds: int = 2000) -> tuple | None:
    """The mean's 95% interval; None of so few groups that their spread cannot be estimated."""
    names, owner = np.unique(np.asarray(groups), return_inverse=True)
    if len(names) < FEWEST:
        return None
    times = np.random.default_rng(seed).multinomial(len(names), np.full(len(names), 1 / len(names)), rounds)
    means = times @ np.bincount(owner, values) / (times @ np.bincount(owner))
    return scoring.ends(means[None], 0.95)[0]


# --- in words ------------------------------------------------------------


def verdict(row: dict) -> str:
    """What a method's summary says, for its reader."""
    words = [faithful(row), changed(row['scrambled'])]
    if row['images'] and row['blank']:
        words.append(f'blank on {row["blank"]} of {row["images"] + row["blank"]} pictures, which are not counted')
    return '; '.join(word for word in words if word)


def faithful(row: dict) -> str:
    if not row['images']:
        return 'blank on every picture: it explains nothing'
    if row['interval'] is None:
        return 'too few pictures to tell'
    low, high = row['interval']
    if low > 0:
        return 'more faithful than a random map'
    return 'less faithful than a random map' if high < 0 else 'not told from a random map'


def changed(scrambled: dict) -> str:
    if not scrambled['images']:
        return ''
    if scrambled['correlation'] is None:
        return 'blank once the weights are scrambled'
    if abs(scrambled['correlation']) < CHANGES_LITTLE:
        return ''
    return 'hardly changes when the weights are scrambled, so it explains nothing that was learned'


def moves_little(whole: float, nothing: float) -> str:
    """A warning if the detector's answers do not depend on the pixels: then no map can be told from another."""
    if abs(whole - nothing) >= MOVES_LITTLE:
        return ''
    return (
        f'P(explained class) is {whole:.3f} on average, and {nothing:.3f} when the whole picture is taken away: this '
        f'detector answers almost the same without it, so hardly any map can be more faithful than another.'
    )
