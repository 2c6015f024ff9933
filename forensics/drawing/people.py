"""Random people and random moments: the numbers that a drawn face is made from.

A `Person` stays the same from picture to picture, a `Moment` changes. Both are plain values; relief.py and the files
that paint show what each number does.
"""

from dataclasses import dataclass, field

import numpy as np

HAIR_STYLES = ('bald', 'buzz', 'short', 'parted', 'swept', 'tied', 'bob', 'long', 'curly')
BEARDS = ('none', 'stubble', 'moustache', 'goatee', 'full')
BACKGROUNDS = ('studio', 'outdoors', 'indoors', 'wall')

_LIGHT_SKIN = np.array([0.80, 0.515, 0.405])
_DARK_SKIN = np.array([0.115, 0.052, 0.031])
_HAIR_COLOURS = np.array(
    [[0.012, 0.010, 0.009], [0.035, 0.021, 0.014], [0.085, 0.045, 0.024], [0.17, 0.095, 0.048],
     [0.36, 0.235, 0.115], [0.55, 0.42, 0.25], [0.25, 0.075, 0.028]]
)  # fmt: skip
_IRIS_COLOURS = np.array(
    [[0.055, 0.026, 0.013], [0.11, 0.055, 0.024], [0.13, 0.10, 0.04], [0.09, 0.13, 0.07], [0.10, 0.17, 0.25],
     [0.16, 0.19, 0.21]]
)  # fmt: skip


@dataclass(frozen=True)
class Person:
    """The features that stay the same from picture to picture. `looks` seeds freckles, moles and the like."""

    masculine: float
    age: float
    skin: tuple[float, ...]
    melanin: float
    looks: int
    head: dict = field(default_factory=dict)
    eyes: dict = field(default_factory=dict)
    brows: dict = field(default_factory=dict)
    nose: dict = field(default_factory=dict)
    mouth: dict = field(default_factory=dict)
    hair: dict = field(default_factory=dict)
    beard: dict = field(default_factory=dict)
    glasses: dict | None = None


@dataclass(frozen=True)
class Moment:
    """The circumstances of one picture: pose, expression, light, framing, clothes and background."""

    yaw: float
    pitch: float
    roll: float
    zoom: float
    shift: tuple[float, float]
    smile: float
    mouth_open: float
    gaze: tuple[float, float]
    lids: float
    brow_raise: float
    light: tuple[float, float, float]
    key: float
    warmth: float
    soft: float
    background: str
    cloth: tuple[float, ...]
    neckline: float


def random_person(rng: np.random.Generator) -> Person:
    """A random adult. Reordering the calls to `rng` turns every seed into another person."""
    u = rng.uniform
    masculine = float(np.clip(rng.choice([0.15, 0.85]) + rng.normal(0, 0.13), 0, 1))
    man = masculine > 0.5
    age = float(18 + 60 * rng.beta(1.3, 1.9))
    old = np.clip((age - 35) / 40, 0, 1)
    melanin = float(rng.beta(0.9, 1.5))
    skin = random_skin(rng, melanin)
    hair_colour, grey = random_hair_colour(rng, melanin, old)
    style = random_hair_style(rng, man)
    iris = random_iris(rng, melanin)
    beard = rng.choice(BEARDS, p=[0.45, 0.25, 0.06, 0.08, 0.16]) if man else 'none'
    make_up = 0.0 if man else float(rng.choice([0, u(0.2, 1)]))
    glasses = random_glasses(rng) if rng.random() < 0.22 + 0.2 * old else None
    eye_x = u(0.385, 0.445)
    return Person(
        masculine=masculine,
        age=age,
        skin=tuple(skin),
        melanin=melanin,
        looks=int(rng.integers(2**31)),
        head=random_head(rng, masculine),
        eyes={'x': eye_x, **random_eyes(rng, iris, masculine, make_up, old)},
        brows=random_brows(rng, masculine),
        nose=random_nose(rng, melanin),
        mouth=random_mouth(rng, melanin, make_up),
        hair={'style': style, 'colour': tuple(hair_colour), 'grey': grey, **random_hair(rng, man, old)},
        beard={'kind': str(beard), 'length': u(0.03, 0.13), 'dense': u(0.5, 1), 'line': u(-0.1, 0.12)},
        glasses=glasses,
    )


def random_skin(rng: np.random.Generator, melanin: float) -> np.ndarray:
    skin = np.exp((1 - melanin) * np.log(_LIGHT_SKIN) + melanin * np.log(_DARK_SKIN))
    return skin * np.exp([rng.normal(0, 0.04), rng.normal(0, 0.05), rng.normal(0, 0.09)])


def random_hair_colour(rng: np.random.Generator, melanin: float, old: float) -> tuple[np.ndarray, float]:
    """The colour and its share of grey."""
    u = rng.uniform
    dark = rng.random() < 0.25 + 0.9 * melanin
    colour = _HAIR_COLOURS[rng.integers(0, 3)] if dark else _HAIR_COLOURS[rng.integers(1, 7)]
    colour = colour * np.exp(rng.normal(0, 0.15) + rng.normal(0, 0.04, 3))
    grey = float(np.clip(old * 1.5 * u(0, 1) ** 0.7, 0, 1)) if u() < 0.75 else 0.0
    return colour * (1 - grey) + np.array([0.42, 0.41, 0.40]) * u(0.6, 1.1) * grey, grey


def random_hair_style(rng: np.random.Generator, man: bool) -> str:
    men = [0.09, 0.14, 0.3, 0.2, 0.14, 0.02, 0.02, 0.03, 0.06]
    women = [0.0, 0.01, 0.07, 0.06, 0.08, 0.2, 0.2, 0.28, 0.1]
    return str(rng.choice(HAIR_STYLES, p=men if man else women))


def random_iris(rng: np.random.Generator, melanin: float) -> np.ndarray:
    brown = rng.random() < 0.35 + melanin
    return _IRIS_COLOURS[rng.integers(0, 2) if brown else rng.integers(1, 6)] * np.exp(rng.normal(0, 0.15, 3))


def random_glasses(rng: np.random.Generator) -> dict:
    u = rng.uniform
    return {
        'round': float(u(2.0, 6.0)), 'width': float(u(0.31, 0.38)), 'height': float(u(0.19, 0.29)),
        'rim': float(rng.choice([0.012, 0.02, 0.032])), 'colour': tuple(rng.choice([0.012, 0.02, 0.04, 0.15])
        * np.exp(rng.normal(0, 0.3, 3) + [0.25, 0, -0.2])), 'drop': float(u(0.02, 0.09)),
        'tint': float(rng.choice([0, 0, 0, 0.08])),
    }  # fmt: skip


def random_head(rng: np.random.Generator, masculine: float) -> dict:
    u = rng.uniform
    return {
        'width': u(0.9, 1.02) + 0.03 * masculine, 'top': u(1.36, 1.52), 'chin': u(1.27, 1.42) + 0.08 * masculine,
        'jaw': u(0.42, 0.6) + 0.13 * masculine, 'taper': u(1.5, 2.4), 'square': u(3.0, 5.0) + 1.2 * masculine,
        'depth': u(1.05, 1.25), 'cheek': u(0.02, 0.12), 'hollow': u(0, 0.07), 'chin_bump': u(0.05, 0.13),
        'brow_ridge': u(0.01, 0.04) + 0.05 * masculine, 'ears': u(0.8, 1.2), 'neck': u(0.55, 0.63)
        + 0.13 * masculine, 'asymmetry': rng.normal(0, 0.018), 'fat': u(-0.5, 1.0),
    }  # fmt: skip


def random_eyes(rng: np.random.Generator, iris: np.ndarray, masculine: float, make_up: float, old: float) -> dict:
    u = rng.uniform
    return {
        'width': u(0.195, 0.235), 'open': u(0.36, 0.5), 'tilt': rng.normal(0.05, 0.06),
        'iris': tuple(iris), 'iris_size': u(0.41, 0.47), 'crease': u(0.18, 0.42), 'hood': u(0, 1),
        'lashes': 0.35 + 0.5 * (1 - masculine) * u(0.5, 1) + 0.4 * make_up, 'shadow': make_up * u(0, 0.6),
        'bags': u(0, 0.5) + 0.9 * old, 'deep': u(0.06, 0.15),
    }  # fmt: skip


def random_brows(rng: np.random.Generator, masculine: float) -> dict:
    u = rng.uniform
    return {
        'y': u(0.26, 0.34) - 0.035 * masculine, 'length': u(0.27, 0.34),
        'thick': u(0.028, 0.048) + 0.018 * masculine,
        'arch': u(0.01, 0.085) - 0.02 * masculine, 'slope': rng.normal(0.02, 0.05), 'dense': u(0.5, 1.0),
        'inner': u(0.13, 0.19),
    }  # fmt: skip


def random_nose(rng: np.random.Generator, melanin: float) -> dict:
    u = rng.uniform
    return {
        'length': u(0.44, 0.57), 'width': u(0.155, 0.205) + 0.05 * melanin, 'height': u(0.24, 0.38),
        'bridge': u(0.03, 0.14) - 0.04 * melanin, 'tip': u(0.06, 0.14), 'hump': u(-0.02, 0.05),
        'thin': u(0.075, 0.115),
    }  # fmt: skip


def random_mouth(rng: np.random.Generator, melanin: float, make_up: float) -> dict:
    u = rng.uniform
    return {
        'y': u(0.77, 0.89), 'width': u(0.29, 0.375), 'upper': u(0.11, 0.24) + 0.09 * melanin,
        'lower': u(0.2, 0.36) + 0.09 * melanin, 'bow': u(0.1, 0.5), 'red': u(0.4, 1.0), 'make_up': make_up,
        'lipstick': tuple(rng.choice([[0.45, 0.03, 0.06], [0.5, 0.12, 0.14], [0.3, 0.04, 0.09],
                                      [0.55, 0.2, 0.17]])), 'curl': rng.normal(0, 0.06),
    }  # fmt: skip


def random_hair(rng: np.random.Generator, man: bool, old: float) -> dict:
    u = rng.uniform
    return {
        'volume': u(0.07, 0.2), 'part': rng.normal(0, 0.22), 'line': u(0.8, 0.98),
        'recede': (u(0, 0.6) * old + u(0, 0.12)) if man else 0.0, 'length': u(1.1, 2.3), 'wave': u(0, 1) ** 2 * 0.11,
        'waves': u(1.2, 3.2), 'fringe': 0.0 if man or u() < 0.65 else u(0.35, 0.62), 'gloss': u(0.15, 0.9),
        'mess': u(0.2, 1),
    }  # fmt: skip


def random_moment(rng: np.random.Generator) -> Moment:
    """A random moment, for one press of the shutter."""
    u = rng.uniform
    azimuth, elevation = rng.normal(0, 0.65), np.clip(rng.normal(0.55, 0.3), -0.2, 1.1)
    light = (np.sin(azimuth) * np.cos(elevation), np.sin(elevation), np.cos(azimuth) * np.cos(elevation))
    smile = float(np.clip(rng.normal(0.35, 0.45), -0.35, 1))
    opening = float(max(0, rng.normal(-0.05, 0.3))) + (max(0, smile - 0.35) * u(0, 0.9) if u() < 0.7 else 0)
    cloth = np.array([u(0, 1), u(0, 0.8), u(0.03, 0.7)])
    return Moment(
        yaw=float(np.clip(rng.normal(0, 0.24), -0.55, 0.55)),
        pitch=float(np.clip(rng.normal(0, 0.1), -0.22, 0.22)),
        roll=float(np.clip(rng.normal(0, 0.09), -0.3, 0.3)),
        zoom=float(u(0.255, 0.325)),
        shift=(float(rng.normal(0, 0.05)), float(rng.normal(0, 0.05))),
        smile=smile,
        mouth_open=float(np.clip(opening, 0, 0.85)),
        gaze=(float(rng.normal(0, 0.16)), float(rng.normal(0, 0.06))),
        lids=float(np.clip(rng.normal(1, 0.12) - 0.2 * max(0, smile), 0.45, 1.25)),
        brow_raise=float(rng.normal(0, 0.03)),
        light=tuple(float(value) for value in light),
        key=float(u(0.5, 1.5)),
        warmth=float(rng.normal(0, 0.12)),
        soft=float(u(0.3, 1.0)),
        background=str(rng.choice(BACKGROUNDS)),
        cloth=tuple(cloth),
        neckline=float(rng.choice([-1, u(0.1, 0.35), u(0.3, 0.6)])),
    )
