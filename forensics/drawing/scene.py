"""The background, and the neck, shoulders and clothes below the head."""

import math

import cv2
import numpy as np

from forensics.drawing.brushes import blur, hsv, inside, paint, shifted, step
from forensics.drawing.canvas import Canvas


def paint_background(canvas: Canvas) -> None:
    rng = canvas.rng
    base = hsv(rng.random(), 0.6 * rng.random() ** 2, rng.uniform(0.03, 0.5))
    other = hsv(rng.random(), 0.7 * rng.random() ** 1.5, rng.uniform(0.03, 0.6))
    match canvas.moment.background:
        case 'studio':
            paint_studio(canvas, base)
        case 'outdoors':
            paint_outdoors(canvas, base, other)
        case 'indoors':
            paint_indoors(canvas, base)
        case _:
            paint_wall(canvas, base)
    canvas.image = np.maximum(canvas.image, 0.003)


def paint_studio(canvas: Canvas, base: np.ndarray) -> None:
    """A ramp from one brightness to another."""
    rng = canvas.rng
    angle = rng.uniform(0, 2 * np.pi)
    ramp = step(math.cos(angle) * canvas.x + math.sin(angle) * canvas.y, -1.8, 1.8)
    canvas.image += base + (base * rng.uniform(0.3, 1.6) - base) * ramp[..., None]
    canvas.image *= (1 + 0.07 * canvas.noise(4) + 0.03 * canvas.noise(40))[..., None]


def paint_outdoors(canvas: Canvas, base: np.ndarray, other: np.ndarray) -> None:
    """Two colours that run into each other, with lights out of focus."""
    rng, n = canvas.rng, canvas.size
    mix = step(canvas.noise(rng.uniform(3, 9)) + 0.4 * canvas.noise(20), -1, 1)
    canvas.image += base + (other - base) * mix[..., None]
    lights = np.zeros((n, n, 3), np.uint8)
    for _ in range(rng.integers(0, 26)):
        colour = 90 * hsv(rng.random(), rng.uniform(0, 0.6), 1) * rng.uniform(0.3, 2)
        cv2.circle(lights, rng.integers(0, n, 2).tolist(), int(n * rng.uniform(0.01, 0.06)), colour.tolist(), -1)
    canvas.image += blur(lights.astype(np.float32) / 255, n * rng.uniform(0.006, 0.02))
    brightness = np.exp(0.3 * canvas.noise(10) + 0.12 * canvas.noise(48))[..., None]
    canvas.image *= brightness * np.exp(0.05 * canvas.noise(12, 3))


def paint_indoors(canvas: Canvas, base: np.ndarray) -> None:
    """Rectangles out of focus, like furniture."""
    rng, n = canvas.rng, canvas.size
    room = np.zeros((n, n, 3), np.float32) + base
    for _ in range(rng.integers(3, 11)):
        x, y = rng.integers(-n // 4, n, 2)
        w, h = (rng.uniform(0.05, 0.6, 2) * n).astype(int)
        colour = hsv(rng.random(), 0.6 * rng.random() ** 2, rng.uniform(0.02, 0.6))
        cv2.rectangle(room, (int(x), int(y)), (int(x + w), int(y + h)), colour.tolist(), -1)
    canvas.image += np.maximum(blur(room, n * rng.uniform(0.004, 0.03)), 0)
    canvas.image *= (1 + 0.08 * canvas.noise(5) + 0.04 * canvas.noise(60))[..., None]


def paint_wall(canvas: Canvas, base: np.ndarray) -> None:
    """One colour, more or less rough."""
    rng = canvas.rng
    grain = canvas.noise(canvas.size / rng.uniform(1.5, 5))
    canvas.image += base * (1 + 0.12 * canvas.noise(4) + rng.uniform(0.01, 0.06) * grain)[..., None]


def paint_body(canvas: Canvas) -> None:
    """Neck, shoulders, clothes: the rows below the ears."""
    rows = np.flatnonzero(canvas.y.min(axis=1) < -0.25)
    if not len(rows):
        return
    rows = np.s_[rows[0] :]
    dx = canvas.x[rows] + 0.14 * math.sin(canvas.moment.yaw)
    shadow = blur(canvas.head_mask, canvas.scale * 0.1)
    shadow = shifted(shadow, 0.1 * canvas.light[0] * canvas.scale, -0.22 * canvas.scale)[rows]
    paint_neck(canvas, rows, dx, shadow)
    paint_clothes(canvas, rows, dx, shadow)


def paint_neck(canvas: Canvas, rows: slice, dx: np.ndarray, shadow: np.ndarray) -> None:
    """`dx` is the distance from the body's middle, `shadow` the shadow of the head."""
    y, neck, chin = canvas.y[rows], canvas.person.head['neck'], canvas.person.head['chin']
    flare = neck + 0.5 * np.clip((-y - chin - 0.25) / 0.8, 0, 1) ** 2
    disc = 1 - (dx / flare) ** 2
    z = np.sqrt(np.maximum(disc, 0.002)) * flare * 0.9
    z -= 0.02 * np.exp(-(((np.abs(dx) - 0.16 - 0.25 * np.clip(-y - chin, 0, 1)) / 0.06) ** 2))
    shade = (1 - 0.75 * shadow * np.clip(0.35 + canvas.light[1], 0.2, 1))[..., None]
    skin = 0.93 * np.float32(canvas.person.skin) * (1 + 0.05 * canvas.noise(30)[rows])[..., None]
    paint(canvas.image[rows], skin * canvas.lit(canvas.normals(z)) * shade, inside(disc) * (y < -0.3))


def paint_clothes(canvas: Canvas, rows: slice, dx: np.ndarray, shadow: np.ndarray) -> None:
    y, across = canvas.y[rows], np.abs(dx)
    edge = clothes_edge(canvas, across, y)
    folds = sum(canvas.noise(cells)[rows] * a for cells, a in ((6, 0.05), (12, 0.03), (24, 0.012)))
    z = 1.1 * np.sqrt(np.maximum(1 - (dx / 2.6) ** 2, 0.05)) - 0.25 * np.exp(np.maximum(edge, 0) / -0.12) + folds
    pattern = 1 + 0.06 * canvas.noise(canvas.size / 2.2)[rows]
    kind, stripes = canvas.rng.random(), canvas.rng.uniform(12, 40)
    if kind < 0.32:
        pattern *= 1 - 0.4 * step(np.sin((y + folds) * stripes), -0.2, 0.3)
    if kind < 0.12:
        pattern *= 1 - 0.4 * step(np.sin(dx * stripes), -0.2, 0.3)
    cloth = hsv(*canvas.moment.cloth) * (pattern * (1 - 0.5 * shadow))[..., None]
    paint(canvas.image[rows], cloth * canvas.lit(canvas.normals(z), (0.1, 0.1, 0.1)), inside(edge))


def clothes_edge(canvas: Canvas, across: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Positive where there is cloth: shoulders that slope, a collar around the neck, perhaps a neckline cut out."""
    person, neckline, neck = canvas.person, canvas.moment.neckline, canvas.person.head['neck']
    slope, wide = person.head['chin'] + 0.27 + 0.16 * (1 - person.masculine), 1.75 + 0.35 * person.masculine
    edge = -slope - 0.22 * across * np.sqrt(across) - 0.9 * step(across, wide, wide + 0.6)
    edge += 0.3 * np.exp(-(((across - neck) / 0.3) ** 2)) - y
    if neckline > 0:
        cut = np.clip(1 - across / (neck + 0.12 + 0.4 * neckline), 0, 1)
        edge -= 1.3 * neckline * cut ** (0.6 if neckline < 0.35 else 1)
    return edge
