"""Brows and beard: hair on the face, painted strand by strand onto the skin."""

import numpy as np

from forensics.drawing.brushes import bump, step
from forensics.drawing.canvas import Canvas
from forensics.drawing.people import Person


def paint_brows(canvas: Canvas) -> None:
    rng, brows = canvas.rng, canvas.person.brows
    dark = np.minimum(np.float32(canvas.person.hair['colour']) * 0.75, 0.14) + 0.004
    hairs = int(150 * brows['dense'] + 60)
    side = np.where(np.arange(2 * hairs) % 2, 1, -1)
    t = rng.random(2 * hairs) ** 0.85
    across = rng.normal(0, 0.42, 2 * hairs)
    x = brows['inner'] + t * brows['length'] * 1.5
    middle = brows['y'] + canvas.moment.brow_raise + brows['slope'] * t - 0.09 * np.clip(t - 0.6, 0, 1)
    middle += brows['arch'] * np.sin(np.pi * t**0.8)
    y = middle + across * brows['thick'] * (1.25 - 0.9 * t) * (0.55 + 0.45 * np.clip(t / 0.12, 0, 1))
    lean = (1 - t) ** 2 * 1.1 + 0.2 - 0.55 * t - across * 0.25
    length = 0.055 + 0.03 * rng.random(2 * hairs)
    tip_x, tip_y = x + length * np.cos(lean), y + length * np.sin(lean)
    u, v = side * np.stack([x, (x + tip_x) / 2, tip_x]), np.stack([y, (y + tip_y) / 2 + 0.006, tip_y])
    paths = canvas.on_face(u, v).swapaxes(0, 1)
    canvas.strands(paths[:hairs], dark, 0.5 * brows['dense'] + 0.12)
    canvas.strands(paths[hairs:], dark * 0.6, 0.45 * brows['dense'] + 0.1)


def paint_beard(canvas: Canvas) -> None:
    person, rng, beard = canvas.person, canvas.rng, canvas.person.beard
    u, v = beard_roots(canvas)
    if not len(u):
        return
    stubble = beard['kind'] == 'stubble'
    length = (0.012 if stubble else beard['length']) * rng.uniform(0.5, 1.3, len(u))
    lean = rng.normal(0, 0.35, len(u)) + 0.7 * u
    end_u, end_v = u + length * np.sin(lean), v - length * np.cos(lean)
    uu = np.stack([u, 0.5 * (u + end_u) + 0.01 * np.sign(u), end_u])
    vv = np.stack([v, 0.5 * (v + end_v), end_v])
    w = canvas.surface(np.stack([u, uu[1], u]), np.stack([v, vv[1], v]))
    w[2] += 0.3 * length  # the tips stand off
    paths = canvas.project(uu, vv, w).swapaxes(0, 1)
    hair = np.minimum(np.float32(person.hair['colour']), 0.4)
    opacity = (0.34 if stubble else 0.62) * (0.6 + 0.4 * beard['dense'])
    tones = (0.5, 0.9, 1.5)
    for k, tone in enumerate(tones):
        canvas.strands(paths[k :: len(tones)], hair * tone + 0.003, opacity)


def beard_roots(canvas: Canvas) -> tuple[np.ndarray, np.ndarray]:
    """(u, v) of the points on the face from which the beard's hairs grow."""
    person, rng, beard = canvas.person, canvas.rng, canvas.person.beard
    hairs = 1500 if beard['kind'] == 'stubble' else 2400
    u, v = rng.uniform(-1, 1, hairs), rng.uniform(-person.head['chin'] * 0.985, -0.05, hairs)
    width, _ = canvas.width_depth(v)
    u = u * np.minimum(width * 0.97, 0.96)
    zone = beard_zone(person, u.astype(np.float32), v.astype(np.float32))
    keep = rng.random(hairs) < zone * (0.55 + 0.45 * beard['dense'])
    return u[keep], v[keep]


def beard_zone(person: Person, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """How densely the beard grows at each point, 0 to 1."""
    au, my = np.abs(u), -person.mouth['y']
    cheek = -0.5 + person.beard['line'] - 0.45 * bump(au - 0.35, 0, 0.3, 1) + 0.5 * step(au, 0.62, 0.95)
    jaw = step(cheek - v, -0.06, 0.12)
    lip = bump(u, v - my - 0.17, 0.34, 0.085) * 1.3
    soul = bump(u, v - my + 0.33, 0.24, 0.2) * 1.3
    bare = np.clip(1.4 * bump(u, v - my + 0.04, 0.36, 0.125), 0, 1)
    if person.beard['kind'] == 'moustache':
        zone = lip
    elif person.beard['kind'] == 'goatee':
        zone = np.maximum(lip, soul) + 0.5 * bump(au - 0.36, v - my, 0.06, 0.2)
    else:
        zone = np.maximum(jaw, lip)
    return np.clip(zone, 0, 1) * (1 - bare)
