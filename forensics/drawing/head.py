"""The head's skin: ears and face, their colour, and the light on them."""

import math

import cv2
import numpy as np

from forensics.drawing.brows_and_beard import beard_zone
from forensics.drawing.brushes import blur, bump, inside, paint, step
from forensics.drawing.canvas import Canvas
from forensics.drawing.hair import hairline


def paint_ears(canvas: Canvas) -> None:
    for side in (-1, 1):
        if side * math.sin(canvas.moment.yaw) <= 0.42:  # else the head hides it
            paint_ear(canvas, side)


def paint_ear(canvas: Canvas, side: int) -> None:
    head = canvas.person.head
    at = canvas.project(side * (head['width'] + 0.01), -0.17, -0.05)
    r = int(0.42 * canvas.scale)
    x0, y0 = max(int(at[0]) - r, 0), max(int(at[1]) - r, 0)
    x1, y1 = min(int(at[0]) + r, canvas.size), min(int(at[1]) + r, canvas.size)
    if x1 - x0 < 4 or y1 - y0 < 4:
        return
    roi = np.s_[y0:y1, x0:x1]
    c, s = math.cos(canvas.moment.roll), math.sin(canvas.moment.roll)
    ax, ay = (at[0] - canvas.centre[0]) * canvas.pixel, -(at[1] - canvas.centre[1]) * canvas.pixel
    cx, cy = c * ax + s * ay, -s * ax + c * ay
    u = (canvas.x[roi] - np.float32(cx)) * side * np.float32(1 / (0.155 * head['ears']))
    v = (canvas.y[roi] - np.float32(cy)) * np.float32(1 / (0.3 * head['ears']))
    u = u - 0.25 * v
    f = 1 - u * u * (1 + 0.35 * (v < 0) * v * v) - v * v  # an oval, narrower below
    z = (
        0.05 * np.sqrt(np.maximum(f, 0))
        - 0.06 * bump(u - 0.05, v - 0.05, 0.5, 0.5)
        + 0.03 * bump(u + 0.1, v + 0.1, 0.25, 0.4)
    )
    light = canvas.lit(canvas.normals(z.astype(np.float32)), (0.6, 0.25, 0.12))
    dark = (1 - 0.55 * bump(u + 0.3, v + 0.05, 0.35, 0.4))[..., None]
    colour = np.float32(canvas.person.skin) * np.float32([1.0, 0.85, 0.82])
    paint(canvas.image[roi], colour * light * dark, inside(f.astype(np.float32)))


def paint_skin(canvas: Canvas) -> None:
    """Paint the bare face, and keep its light in `light_map` for the features painted onto it."""
    person, box = canvas.person, canvas.box
    u, v = canvas.u[box], canvas.v[box]
    pores = canvas.noise(canvas.size * 0.7)[box]
    old = np.clip((person.age - 30) / 45, 0, 1)
    z = canvas.z[box].copy()
    z += np.float32(0.0011 * (0.6 + old)) * pores + 0.004 * (0.3 + old) * canvas.noise(36)[box]
    normals, shadow = canvas.normals(z), canvas.shadow(z)
    if person.hair['style'] != 'bald':
        brim = step(v - hairline(person, u) + 0.16, -0.2, 0.22)
        shadow = shadow * (1 - 0.35 * brim)
    light = skin_light(canvas, z, normals, shadow)
    albedo = skin_colour(canvas, u, v)
    specular = canvas.gloss(normals, 8) * 0.05 + canvas.gloss(normals, 26) * (0.05 + 0.04 * person.melanin)
    oily = (0.35 + 0.65 * bump(u, v - 0.1, 0.5, 0.9)) * (1 + 0.2 * pores)
    rim = (1 - normals[2]) ** 4 * 0.05
    colour = albedo * light + ((specular * oily * shadow + rim)[..., None] * canvas.key_colour)
    paint(canvas.image[box], colour, canvas.head_mask[box])
    canvas.light_map[box] = light


def skin_light(canvas: Canvas, z: np.ndarray, normals, shadow: np.ndarray) -> np.ndarray:
    """The light on skin: dimmer in hollows, and blurred, because it spreads inside skin, red the farthest."""
    hollow = np.clip((blur(z, canvas.scale * 0.11) - z) * 3.2, 0, 0.6)
    light = canvas.lit(normals, shadow=shadow) * (1 - hollow * 0.9)[..., None]
    light[..., 0] = blur(light[..., 0], canvas.scale * 0.03)
    light[..., 1] = blur(light[..., 1], canvas.scale * 0.012)
    return light


def skin_colour(canvas: Canvas, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Albedo: the person's skin with more or less blood and melanin from place to place."""
    person, box, au = canvas.person, canvas.box, np.abs(u)
    looks = np.random.default_rng(person.looks)
    blood = 0.5 * bump(au - 0.55, v + 0.38, 0.25, 0.22) + 0.5 * bump(u, v + person.nose['length'], 0.2, 0.16)
    blood += 0.25 * bump(u, v + person.head['chin'] - 0.15, 0.25, 0.15) - 0.25 * bump(u, v - 0.6, 0.8, 0.3)
    blood *= looks.uniform(0.15, 0.85)
    blood += (0.1 * canvas.noise(9) + 0.08 * canvas.noise(26) + 0.05 * canvas.noise(70))[box]
    tired = 0.35 * person.eyes['bags'] * bump(au - person.eyes['x'] + 0.03, v + 0.13, 0.2, 0.07)
    tired += 0.25 * bump(au - 0.24, v + 0.02, 0.1, 0.12)
    melanin = (0.05 * canvas.noise(7) + 0.05 * canvas.noise(50))[box] + tired
    melanin += person.eyes['shadow'] * bump(au - person.eyes['x'], v - 0.13, 0.24, 0.08)
    melanin += 0.55 * blur(skin_spots(canvas, looks)[box], 0.6).astype(np.float32) / 255
    if person.beard['kind'] != 'none':
        zone = beard_zone(person, u, v)
        melanin += 0.32 * zone * (1 - 0.5 * person.melanin)
        blood -= 0.5 * zone
    # More melanin darkens the blue most; more blood takes away green.
    out = np.empty((*u.shape, 3), np.float32)
    for i, (a, b) in enumerate(((0.55, -0.06), (0.85, 0.36), (1.0, 0.30))):
        out[..., i] = person.skin[i] * np.exp(-a * melanin - b * blood)
    return out


def skin_spots(canvas: Canvas, looks: np.random.Generator) -> np.ndarray:
    """Freckles, age spots and moles, white on black."""
    person = canvas.person
    freckles = int(looks.integers(60, 260)) if person.melanin < 0.45 and looks.random() < 0.25 else 0
    age_spots = int(25 * np.clip((person.age - 45) / 30, 0, 1) * looks.random())
    moles = int(looks.integers(0, 4))
    spots = np.zeros((canvas.size, canvas.size), np.uint8)
    for nof_spots, wide, tall, r, strengths in (
        (freckles, 0.42, 0.25, 0.011, (70, 230)),
        (age_spots, 0.6, 0.6, 0.022, (120, 255)),
        (moles, 0.5, 0.5, 0.018, (120, 255)),
    ):
        if not nof_spots:
            continue
        u, v = looks.normal(0, wide, nof_spots), looks.normal(-0.25, tall, nof_spots)
        points = canvas.on_face(np.clip(u, -0.8, 0.8), np.clip(v, -1.1, 0.7))
        radius = max(int(r * canvas.scale * 16), 8)
        for (x, y), level in zip(points, looks.uniform(*strengths, nof_spots), strict=True):
            cv2.circle(spots, (int(x * 16), int(y * 16)), radius, int(level), -1, cv2.LINE_AA, 4)
    return spots
