"""The relief of a face: how far brows, nose, cheeks, lips and chin stand out of the head's smooth solid.

u runs across the face and v up it (see canvas.py). Each step adds to the same array `d` in place: on a whole picture
that is faster than summing arrays, and it fixes the order of the sum.
"""

import numpy as np

from forensics.drawing.brushes import bump, step
from forensics.drawing.people import Moment, Person


def relief(person: Person, moment: Moment, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    au, old = np.abs(u), np.clip((person.age - 32) / 40, 0, 1)
    d = person.head['brow_ridge'] * bump(au - 0.36, v - (person.brows['y'] - 0.06), 0.3, 0.11)
    add_eye_sockets(d, person, au, v)
    add_cheeks(d, person, moment, au, v)
    add_nose(d, person, u, v)
    add_smile_lines(d, person, moment, au, v, old)
    add_mouth(d, person, moment, u, v)
    d += person.head['chin_bump'] * bump(u, v + person.head['chin'] - 0.2, 0.22, 0.14)
    if old > 0.15:
        add_wrinkles(d, person, u, v, old)
    return d


def add_eye_sockets(d: np.ndarray, person: Person, au: np.ndarray, v: np.ndarray) -> None:
    """Hollows with the eyeballs in them, and bags below."""
    eyes = person.eyes
    beside = au - eyes['x']
    d -= eyes['deep'] * bump(beside, v - 0.03, 0.22, 0.15)
    d -= 0.075 * bump(au - 0.2, v - 0.01, 0.075, 0.12)
    d += 0.065 * bump(beside, v, 0.17, 0.11)
    d -= (0.012 + 0.028 * eyes['bags']) * bump(beside + 0.03, v + 0.17 - 0.1 * beside, 0.19, 0.03)


def add_cheeks(d: np.ndarray, person: Person, moment: Moment, au: np.ndarray, v: np.ndarray) -> None:
    head = person.head
    d += (head['cheek'] + 0.05 * smile(moment)) * bump(au - 0.56, v + 0.3, 0.26, 0.2)
    d -= head['hollow'] * bump(au - 0.62, v + 0.72, 0.2, 0.26)
    d += 0.05 * max(0, head['fat']) * bump(au - 0.5, v + 0.75, 0.3, 0.3)
    d -= 0.05 * bump(au - 0.86, v - 0.3, 0.15, 0.25)  # the temples


def add_nose(d: np.ndarray, person: Person, u: np.ndarray, v: np.ndarray) -> None:
    """A ridge that rises towards the tip, a ball, two wings, and an end."""
    nose, au = person.nose, np.abs(u)
    length, end = nose['length'], -nose['length'] - 0.09
    t = np.clip(v * np.float32(-1 / length), -0.6, 1.0)
    rise = (
        nose['bridge']
        + (nose['height'] - nose['bridge']) * step(t, -0.25, 1.05)
        + nose['hump'] * bump(t - 0.3, 0, 0.3, 1)
    )
    wide = nose['thin'] + 0.05 * np.clip(t, 0, 1) ** 2
    stop = step(v, end, end + 0.17) * (1 - step(v, 0.08, 0.42))
    d += rise * np.exp(-((u / wide) ** 2)) * stop
    d += nose['tip'] * bump(u, v + length - 0.02, 0.115, 0.095)
    d += 0.125 * bump(au - nose['width'], v + length + 0.015, 0.068, 0.075)
    d -= 0.03 * bump(au - nose['width'] - 0.085, v + length, 0.03, 0.085)


def add_smile_lines(d: np.ndarray, person: Person, moment: Moment, au: np.ndarray, v: np.ndarray, old: float) -> None:
    """The folds from the nose's wings to the mouth's corners, deeper with a smile and with age."""
    nose, smiling = person.nose, smile(moment)
    fold = nose['width'] + 0.075 + (0.12 + 0.05 * smiling) * np.clip((-v - nose['length']) / 0.4, -0.3, 1.6)
    line = (0.004 + 0.026 * smiling + 0.026 * old) * np.exp(-(((au - fold) / 0.036) ** 2))
    d -= line * bump(0, v + nose['length'] + 0.17, 1, 0.2)


def add_mouth(d: np.ndarray, person: Person, moment: Moment, u: np.ndarray, v: np.ndarray) -> None:
    """The teeth's arch, the groove above the lips, the lips, their line and corners, and the hollow below."""
    mouth, my, mw = person.mouth, -person.mouth['y'], person.mouth['width']
    d += 0.085 * bump(u, v - my, 0.38, 0.24)
    d -= 0.018 * bump(u, v - my - 0.16, 0.035, 0.07)
    x = np.clip(u / mw, -1.0, 1.0)
    full = 1 - x * x
    line = my + mouth_line(person, moment, x) * mw
    gap = mouth_gap(moment) * mw
    upper, lower = gap * 0.35 + 0.5 * mouth['upper'] * mw, gap + 0.5 * mouth['lower'] * mw
    d += 0.055 * mouth['upper'] * 4 * full * bump(0, v - line - upper * full, 1, 0.055)
    d += 0.055 * mouth['lower'] * 3.2 * full * bump(0, v - line + lower * full, 1, 0.065)
    d -= 0.03 * bump(0, v - line, 1, 0.02) * step(1.05 - np.abs(u / mw), 0, 0.25)
    d -= 0.035 * bump(np.abs(u) - mw * 1.06, v - my - mouth_line(person, moment, 1.0) * mw, 0.05, 0.05)
    d -= 0.045 * bump(u, v - my + 0.245 + gap * 0.8, 0.2, 0.05)


def add_wrinkles(d: np.ndarray, person: Person, u: np.ndarray, v: np.ndarray, old: float) -> None:
    """Three across the forehead, and crow's feet."""
    au = np.abs(u)
    for k in range(3):
        crease = person.brows['y'] + 0.2 + 0.13 * k + 0.03 * np.cos(u * 2.2 + k)
        d -= 0.009 * old * np.exp(-(((v - crease) / 0.02) ** 2)) * (1 - step(au, 0.35, 0.75))
    side = au - person.eyes['x'] - person.eyes['width'] - 0.12
    for k in (-1, 0, 1):
        ray = np.exp(-(((v - 0.01 - k * (0.035 + 0.3 * side)) / 0.014) ** 2))
        d -= 0.012 * old * ray * np.exp(-((side / 0.085) ** 2))


def smile(moment: Moment) -> float:
    """The smile, never negative: a sad mouth moves its corners, but neither cheeks nor folds."""
    return max(0.0, moment.smile)


def mouth_line(person: Person, moment: Moment, x):
    """Height of the mouth's line at x (-1 to 1 from corner to corner), in mouth widths."""
    return (0.24 * moment.smile + person.mouth['curl']) * (x * x - 0.25)


def mouth_gap(moment: Moment) -> float:
    """Distance between the lips in the middle, in mouth widths."""
    return 0.75 * moment.mouth_open
