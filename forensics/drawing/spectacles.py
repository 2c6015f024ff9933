"""Spectacles: a frame in a plane before the eyes, its shadow on the skin, and glare on the lenses."""

import math

import numpy as np

from forensics.drawing.brushes import blur, inside, paint, shifted, step
from forensics.drawing.canvas import Canvas


def paint_spectacles(canvas: Canvas) -> None:
    glasses = canvas.person.glasses
    u, v = lens_plane(canvas)
    ax = np.abs(u) - np.float32(canvas.person.eyes['x'] + 0.015)
    power = glasses['round']  # 2 makes ellipses, more makes rectangles with round corners
    r = (np.abs(ax / glasses['width']) ** power + np.abs((v + glasses['drop']) / glasses['height']) ** power) ** (
        1 / power
    )
    r = r.astype(np.float32)
    frame = frame_of(canvas, u, v, r)
    lens = inside((1 - r).astype(np.float32))
    shadow = shifted(blur(frame, canvas.scale * 0.02), 0.06 * canvas.light[0] * canvas.scale, -0.06 * canvas.scale)
    canvas.image *= (1 - 0.3 * shadow * canvas.head_mask - glasses['tint'] * lens)[..., None]
    streaks = step(np.sin(u * 3 + v * 5 + canvas.rng.uniform(0, 6)), 0.75, 1.0)
    glare = lens * streaks * canvas.rng.choice([0, 0.05, 0.12])
    canvas.image += glare[..., None] * canvas.key_colour
    top_light = (0.5 + 0.9 * step(np.gradient(blur(frame, 1.0))[0], -0.02, 0.25))[..., None]
    colour = np.float32(glasses['colour']) * top_light * (canvas.key_colour + canvas.fill_colour)
    paint(canvas.image, colour, frame * 0.97)


def lens_plane(canvas: Canvas) -> tuple[np.ndarray, np.ndarray]:
    """(u, v) on the head at which each pixel's ray meets the plane of the lenses."""
    yaw, pitch = canvas.moment.yaw, canvas.moment.pitch
    plane = np.float32(canvas.person.head['depth'] + 0.1)
    u = (canvas.x + (-plane) * np.float32(math.sin(yaw))) / np.float32(math.cos(yaw))
    v = canvas.y / np.float32(math.cos(pitch)) + plane * np.float32(math.sin(pitch))
    return u, v


def frame_of(canvas: Canvas, u: np.ndarray, v: np.ndarray, r: np.ndarray) -> np.ndarray:
    """Coverage of rims, bridge and arms; `r` is 1 along the edge of a lens."""
    glasses, eye_x = canvas.person.glasses, canvas.person.eyes['x']
    width, drop, rim = glasses['width'], glasses['drop'], glasses['rim']
    rims = inside((rim / min(width, glasses['height']) - np.abs(r - 1)).astype(np.float32))
    gap = eye_x + 0.015 - width
    curve = v + drop - 0.06 - 0.25 * np.clip(gap**2 - u * u, 0, 1)
    bridge = np.minimum(0.02 + rim - np.abs(curve), gap + 0.01 - np.abs(u))
    arms = np.minimum(
        0.018 + 0.5 * rim - np.abs(v + drop - 0.09), np.minimum(np.abs(u) - eye_x - width, 1.03 - np.abs(u))
    )
    # The arms end where the head does.
    beside = inside(arms.astype(np.float32)) * canvas.head_mask
    return np.maximum(rims, np.maximum(inside(bridge.astype(np.float32)), beside))
