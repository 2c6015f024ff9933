"""Hair on the head: a mass behind the face, and strands from dark to bright over it."""

import math
from collections.abc import Iterator

import cv2
import numpy as np

from forensics.drawing.brushes import bump, fixed_point, inside, paint, step
from forensics.drawing.canvas import Canvas
from forensics.drawing.people import Person

TONES = (50, 68, 82, 95, 108, 122, 140)  # of 255, from the deepest strands to the uppermost


def hairline(person: Person, u: np.ndarray) -> np.ndarray:
    """Height v of the hairline at u across the face."""
    hair = person.hair
    au = np.abs(u)
    line = hair['line'] + hair['recede'] * (0.55 - 0.3 * bump(u, 0, 0.25, 1)) - 0.12 * au
    return line - 1.05 * step(au, 0.62, 0.98) - 0.06 * step(au, 0.3, 0.6)


def hair_extent(person: Person) -> tuple[float, float]:
    """The hair's thickness around the head, and the height v that it reaches down to."""
    hair = person.hair
    volume = {'buzz': 0.005, 'short': hair['volume'] * 0.7, 'swept': hair['volume'] * 0.8,
              'tied': 0.05, 'curly': 0.16 + 1.6 * hair['volume']}.get(hair['style'], hair['volume'])  # fmt: skip
    reach = {
        'bob': -1.0 - 0.25 * hair['length'] / 2,
        'long': -hair['length'] - 0.4,
        'curly': -0.35 * hair['length'],
    }.get(hair['style'], -0.15)
    return volume, reach


def hair_light(canvas: Canvas) -> tuple[np.ndarray, np.ndarray]:
    """The light on hair, and the bright band across it, both as on a smooth dome."""
    head, hair = canvas.person.head, canvas.person.hair
    wide = head['width'] + hair_extent(canvas.person)[0] + 0.05
    dome = 1 - (canvas.x / wide) ** 2 - (np.maximum(canvas.y, 0) / (head['top'] + 0.25)) ** 2
    nx, ny, nz = canvas.normals(head['depth'] * np.sqrt(np.maximum(dome, 0.03)))
    along = ny * (0.85 * canvas.light[1]) + nz * (0.5 * canvas.light[2])
    band = np.exp(-(((along - 0.5) / 0.16) ** 2)) * hair['gloss']
    return canvas.lit((nx, ny, nz), (0.3, 0.3, 0.3)), band


# --- behind the face -------------------------------------------------------------------------------------------------


def paint_hair_behind(canvas: Canvas, light: np.ndarray) -> None:
    """The hair that shows around the head and, when long, beside the neck."""
    hair, style = canvas.person.hair, canvas.person.hair['style']
    volume, reach = hair_extent(canvas.person)
    _, v, disc = canvas.solid(volume)
    if reach < -0.5:
        streaks = falling_streaks(canvas)
        disc = np.maximum(disc, curtain(canvas, streaks))
    else:
        streaks = canvas.noise(canvas.size / 3)
        disc = np.minimum(disc, (v - reach) * 0.5)
    if style == 'curly':
        streaks = canvas.noise(canvas.size / 5)
        disc = disc + 0.05 * canvas.noise(canvas.size / 9)
    alpha = inside(cv2.GaussianBlur(disc, (0, 0), 0.7))
    shade = (0.62 + 0.12 * streaks + 0.06 * canvas.noise(30))[..., None]
    paint(canvas.image, np.float32(hair['colour']) * shade * light, alpha)
    if style == 'tied' and canvas.person.looks % 2:
        paint_bun(canvas, shade)


def falling_streaks(canvas: Canvas) -> np.ndarray:
    locks = canvas.rng.standard_normal((4, canvas.size // 3), dtype=np.float32)
    return cv2.resize(locks, (canvas.size, canvas.size), interpolation=cv2.INTER_CUBIC)


def curtain(canvas: Canvas, streaks: np.ndarray) -> np.ndarray:
    """Positive where long hair hangs; it falls from the head's widest point."""
    hair = canvas.person.hair
    volume, reach = hair_extent(canvas.person)
    wide = canvas.person.head['width'] + volume
    wobble = hair['wave'] * np.sin(canvas.y * (2.2 * hair['waves']) + np.sign(canvas.x))
    fall = wide * (0.97 + 0.1 * np.clip(-canvas.y, 0, 1)) + wobble
    x = canvas.x + 0.3 * np.float32(math.sin(canvas.moment.yaw))
    end = -reach + 0.05 * streaks - 0.15 * (x / wide) ** 2
    return np.minimum(np.minimum(1 - np.abs(x) / fall, 0.7 * (canvas.y + end)), 0.35 - canvas.y)


def paint_bun(canvas: Canvas, shade: np.ndarray) -> None:
    x, y, radius = 0.3 * math.sin(-canvas.moment.yaw), canvas.person.head['top'] + 0.1, 0.3
    f = 1 - ((canvas.x - x) / radius) ** 2 - ((canvas.y - y) / radius) ** 2
    light = canvas.lit(canvas.normals(radius * np.sqrt(np.maximum(f, 0.02))), (0.3, 0.3, 0.3))
    paint(canvas.image, np.float32(canvas.person.hair['colour']) * light * shade, inside(f))


# --- over the head ---------------------------------------------------------------------------------------------------


def paint_hair(canvas: Canvas, light: np.ndarray, band: np.ndarray) -> None:
    """A dark base above the hairline, then strands from dark to bright."""
    rng, hair, n = canvas.rng, canvas.person.hair, canvas.size
    buzz = hair['style'] == 'buzz'
    line = hairline(canvas.person, canvas.u) + 0.025 * canvas.noise(50) + 0.02 * canvas.noise(110)
    soft = 0.16 if buzz else 0.07
    base = step(canvas.v - line, -soft, soft) * cv2.dilate(canvas.head_mask, np.ones((3, 3), np.uint8))
    layer = np.zeros((n, n, 2), np.uint8)
    layer[..., 0] = 105
    layer[..., 1] = (base * 255 * (0.6 if buzz else 1)).astype(np.uint8)
    for tone, paths in strands_over_head(canvas):
        cv2.polylines(layer, fixed_point(paths), False, (tone, 255), 1, cv2.LINE_AA, 4)
    layer = cv2.GaussianBlur(layer, (0, 0), 0.55)  # a hair is thinner than a pixel
    tone, alpha = (layer[..., i].astype(np.float32) * (1 / 255) for i in (0, 1))
    if buzz:
        alpha = np.minimum(alpha, base * (0.85 + 0.1 * rng.standard_normal((n, n), dtype=np.float32)))
    colour = np.float32(hair['colour'])
    strength = 2.1 * tone * (0.8 + 0.1 * canvas.noise(12))
    if hair['grey'] > 0.1:
        strength = strength * (1 + 0.3 * hair['grey'] * canvas.noise(n / 3))
    shine = (band * tone)[..., None] * (0.6 * colour + 0.04)
    lit = colour * strength[..., None] * light + shine * canvas.key_colour * 1.4
    paint(canvas.image, lit, np.clip(alpha, 0, 1))


def strands_over_head(canvas: Canvas) -> Iterator[tuple[int, np.ndarray]]:
    """Brightness and strands (n x points x 2, pixels), from the darkest to the brightest."""
    rng, hair, style = canvas.rng, canvas.person.hair, canvas.person.hair['style']
    strands = {'buzz': 160, 'short': 150, 'tied': 85, 'swept': 95}.get(style, 80)
    clumps = rng.uniform(0, 1, (len(TONES), 4))
    for tone, clump in zip(TONES, clumps, strict=True):
        if style == 'curly':
            yield tone, curls(canvas, 150)
            continue
        # Neighbours share their brightness: hair falls in locks.
        k = np.where(
            rng.random(strands) < 0.5,
            rng.random(strands),
            (rng.choice(clump, strands) + rng.normal(0, 0.035, strands)) % 1,
        )
        side = np.where(rng.random(strands) < 0.5 + 0.5 * np.clip(hair['part'], -0.6, 0.6), -1.0, 1.0)
        if style in ('buzz', 'short'):
            yield tone, cropped(canvas, strands)
        elif style in ('swept', 'tied'):
            yield tone, combed_back(canvas, strands)
        else:
            yield tone, parted(canvas, k, side)
    if hair['fringe'] and style in ('bob', 'long', 'tied', 'parted'):
        for tone in TONES:
            yield tone, fringe(canvas, 60)


def curls(canvas: Canvas, strands: int) -> np.ndarray:
    rng, head = canvas.rng, canvas.person.head
    volume, reach = hair_extent(canvas.person)
    angle = rng.uniform(-2.3, 2.3, strands)
    r = rng.uniform(0.0, 1.0, strands) ** 0.6
    inner_v = hairline(canvas.person, (head['width'] * np.sin(angle)).astype(np.float32))
    u = np.sin(angle) * (head['width'] * 0.95 + (volume + 0.03) * r)
    above = inner_v + (head['top'] + volume - inner_v) * r * np.cos(np.clip(angle, -1.5, 1.5)) ** 0.3
    v = np.where(np.abs(angle) > 1.5, reach + (0.6 - reach) * rng.random(strands), above)
    size = rng.uniform(0.03, 0.07, strands)
    turn = rng.uniform(0, 6.3, (strands, 1)) + np.linspace(0, 5.2, 10)[None] * rng.choice([-1, 1], (strands, 1))
    uu = u[:, None] + size[:, None] * np.cos(turn)
    vv = v[:, None] + size[:, None] * np.sin(turn)
    return canvas.project(uu, vv, 0.35 * head['depth'] * (1 - r)[:, None])


def cropped(canvas: Canvas, strands: int) -> np.ndarray:
    """Short pieces on the scalp, combed away from the crown."""
    rng, hair, head = canvas.rng, canvas.person.hair, canvas.person.head
    volume, _ = hair_extent(canvas.person)
    a, b = rng.uniform(-1, 1, strands), rng.random(strands)
    u = a * 0.99
    low = hairline(canvas.person, (u * head['width']).astype(np.float32))
    v = low + (head['top'] - low) * b * 0.99
    limit = np.sqrt(np.maximum(1 - (v.clip(0) / head['top']) ** 2.2, 0))
    u = u * head['width'] * np.maximum(limit, 0.02)
    length = 0.05 if hair['style'] == 'buzz' else 0.07 + 0.25 * hair['volume'] + 0.08 * b - 0.05 * np.abs(a)
    length = length * rng.uniform(0.6, 1.4, strands)
    lean = np.pi / 2 * 0.9 - u * 1.2 + hair['part'] * 3 + rng.normal(0, 0.15 + 0.3 * hair['mess'], strands)
    du, dv = length * np.cos(lean), length * np.sin(lean) * np.where(v < 0.45, -0.6, 1)
    t = np.linspace(0, 1, 5)[None]
    uu = u[:, None] + du[:, None] * t
    vv = v[:, None] + dv[:, None] * t - (0.25 * length[:, None]) * t * t
    width, depth = canvas.width_depth(np.clip(vv, -1, head['top'] * 0.999), volume)
    ww = depth * np.sqrt(np.clip(1 - (uu / (width + 1e-3)) ** 2, 0, 1)) + volume * 0.3 * t
    return canvas.project(uu, vv, ww)


def combed_back(canvas: Canvas, strands: int) -> np.ndarray:
    """From the hairline straight back over the head."""
    rng, hair, head = canvas.rng, canvas.person.hair, canvas.person.head
    volume, _ = hair_extent(canvas.person)
    top, wide = head['top'] + volume, head['width'] + volume
    angle = rng.uniform(-1, 1, strands) * 1.85
    u0 = 0.98 * head['width'] * np.sin(angle)
    v0 = hairline(canvas.person, u0.astype(np.float32)) * np.where(np.abs(angle) > np.pi / 2, 0.3, 1)
    v0 = v0 + rng.uniform(-0.02, 0.06, strands)
    start = rng.random(strands) ** 1.3 * 0.7
    t = np.linspace(0, 1, 14)[None]
    tt = start[:, None] + (1 - start[:, None]) * t * rng.uniform(0.5, 1.0, (strands, 1))
    edge_u = (wide - 0.02) * np.sin(angle * 0.88 + hair['part'] * 0.25)
    edge_v = 0.15 + (top - 0.17) * np.cos(np.clip(angle * 0.88, -1.7, 1.7))
    uu = u0[:, None] + (edge_u - u0)[:, None] * tt + rng.normal(0, 0.012 * (1 + hair['mess']), (strands, 1))
    lift = volume * 0.9 * np.sin(np.pi * np.clip(tt, 0, 1) ** 0.6) * np.cos(np.clip(angle, -1.5, 1.5))[:, None]
    vv = v0[:, None] + (edge_v - v0)[:, None] * tt + lift * 0.5
    ww = 0.85 * head['depth'] * np.sqrt(np.clip(1 - tt, 0, 1)) * np.cos(np.clip(angle, -1.3, 1.3))[:, None]
    return canvas.project(uu, vv, ww)


def parted(canvas: Canvas, k: np.ndarray, side: np.ndarray) -> np.ndarray:
    """Arcs from the parting over the side of the head, then straight down; k is 0 for the lowest hair and 1 for the
    uppermost, side -1 or 1."""
    rng, hair, head, strands = canvas.rng, canvas.person.hair, canvas.person.head, len(k)
    volume, reach = hair_extent(canvas.person)
    top, wide = head['top'] + volume, head['width'] + volume
    inner = head['width'] * (0.93 if hair['style'] == 'parted' else 0.86)
    a = inner + (wide - inner) * k
    b = hair['line'] + 0.02 + (top - hair['line'] - 0.02) * k**0.8
    t = np.linspace(0, 1, 14)[None]
    theta = np.minimum(t * 1.9, 1.0) * np.pi / 2
    droop = np.clip(t * 1.9 - 1, 0, 1)
    drop = (-reach * rng.uniform(0.8, 1.02, strands))[:, None] if reach < -0.5 else 0.15 * np.ones((strands, 1))
    part = hair['part'] * 1.2
    uu = part + (side * a - part)[:, None] * np.sin(theta) ** 1.15 + side[:, None] * 0.05 * droop
    phase = rng.normal(0, 0.6, (strands, 1)) + k[:, None] * 2
    wave = hair['wave'] * (droop + 0.15) * np.sin(phase + droop * 2.2 * hair['waves'] * np.abs(drop))
    uu = uu + wave * side[:, None] + rng.normal(0, 0.012, (strands, 1))
    vv = b[:, None] * np.cos(theta) ** 0.9 - drop * droop
    ww = np.where(droop > 0, 0.15, head['depth'] * np.cos(theta) * 0.8 * (1 - k[:, None] * 0.6) + 0.15)
    return canvas.project(uu, vv, ww)


def fringe(canvas: Canvas, strands: int) -> np.ndarray:
    """Down from the crown over the forehead."""
    rng, hair, head = canvas.rng, canvas.person.hair, canvas.person.head
    top = head['top'] + hair_extent(canvas.person)[0]
    u0 = rng.uniform(-0.62, 0.62, strands)
    t = np.linspace(0, 1, 7)[None]
    end = hair['fringe'] + rng.normal(0, 0.04, strands) - 0.1 * np.abs(u0)
    start = top * rng.uniform(0.8, 0.97, strands) - 0.25 * u0**2
    uu = u0[:, None] * (0.75 + 0.35 * t) + hair['part'] * 0.3 * t
    vv = start[:, None] + (end - start)[:, None] * t
    round_down, round_across = np.clip(1 - (vv / (top + 0.05)) ** 2, 0.02, 1), np.clip(1 - uu**2, 0.1, 1)
    return canvas.project(uu, vv, (head['depth'] + 0.06) * np.sqrt(round_down) * np.sqrt(round_across))
