"""Eyes and mouth, each on a fine layer of its own. x and y start at its middle, in units of half its width."""

import math

import numpy as np

from forensics.drawing.brushes import Layer, bump, step
from forensics.drawing.canvas import Canvas
from forensics.drawing.people import Person
from forensics.drawing.relief import mouth_gap, mouth_line


def between(x: np.ndarray, y: np.ndarray, low, high, soft: float) -> np.ndarray:
    """Coverage of the area between two curves from corner to corner; its edges are `soft` wide."""
    return np.clip((y - low) / soft + 0.5, 0, 1) * np.clip((high - y) / soft + 0.5, 0, 1) * (np.abs(x) < 1)


# --- the mouth -------------------------------------------------------------------------------------------------------


def paint_mouth(canvas: Canvas, at: np.ndarray) -> None:
    """Paint the mouth around `at`, its middle in pixels."""
    person, moment, width = canvas.person, canvas.moment, canvas.person.mouth['width']
    roi = canvas.region(at, width * 1.2, width * 1.3)
    if roi is None:
        return
    layer = canvas.fine(roi)
    x = layer.u / width
    full = np.clip(1 - x * x, 0, 1)
    line = -person.mouth['y'] + mouth_line(person, moment, np.clip(x, -1.1, 1.1)) * width
    y = (layer.v - line) / width
    gap = mouth_gap(moment) * width
    top, bottom = 0.35 * gap / width * full**0.8, -gap / width * full**0.8
    paint_lips(canvas, layer, x, y, full, top, bottom)
    if gap > 0.012:
        paint_teeth(canvas, layer, x, y, full, top, bottom)
    crease = np.exp(-((y / (0.035 + 0.3 * canvas.pixel)) ** 2)) * step(1.08 - np.abs(x), 0, 0.12)
    layer.add(np.float32(person.skin) * np.float32([0.2, 0.09, 0.09]), crease * (0.85 if gap <= 0.012 else 0.25))
    canvas.put(roi, layer)


def paint_lips(canvas: Canvas, layer: Layer, x, y, full, top, bottom) -> None:
    """Paint lips around the gap from `bottom` to `top`; `full` is 1 in the middle and 0 at the corners."""
    person, moment, mouth = canvas.person, canvas.moment, canvas.person.mouth
    bow = 1 - mouth['bow'] * 0.5 * bump(x, 0, 0.16, 1)
    upper = top + mouth['upper'] * (full**0.75) * bow * (1 - 0.25 * moment.mouth_open)
    lower = bottom - mouth['lower'] * full**0.65 * (1 - 0.15 * moment.smile)
    soft = 0.5 * canvas.pixel / mouth['width'] + 0.025
    alpha = between(x, y, lower, upper, soft * 2.5)
    creases = 1 + 0.1 * np.sin(x * 55 + 3 * np.sin(x * 23)) * bump(0, y - lower * 0.5, 1, 0.2)
    under = 1 - 0.3 * step(y, 0.0, 0.12)
    layer.add(lip_colour(person) * (creases * under)[..., None], 0.92 * alpha)
    shine = bump(x - 0.3 * canvas.light[0], y - 0.5 * (bottom + lower), 0.45, 0.05) * alpha
    wet = np.clip(0.4 + 0.6 * canvas.rng.standard_normal(x.shape, dtype=np.float32), 0.1, 1.4)
    layer.add(1.0, 0.7 * shine * ((0.1 + 0.3 * mouth['make_up']) * wet))


def lip_colour(person: Person) -> np.ndarray:
    mouth, skin = person.mouth, np.float32(person.skin)
    natural = skin * (1 - 0.35 * mouth['red'] * np.float32([0.25, 1.0, 0.85])) * np.float32(0.92)
    lipstick = np.float32(mouth['lipstick']) * 0.8 * mouth['make_up'] * np.float32(0.35 + 0.65 * (1 - person.melanin))
    return natural * (1 - 0.8 * mouth['make_up']) + lipstick


def paint_teeth(canvas: Canvas, layer: Layer, x, y, full, top, bottom) -> None:
    """The dark inside, the upper teeth, and the tongue."""
    width, edge = canvas.person.mouth['width'], canvas.pixel
    gap = mouth_gap(canvas.moment) * width
    layer.add([0.07, 0.015, 0.014], between(x, y, bottom, top, 1.2 * edge / width))
    span = (gap * 1.35 / width) * full**0.8 + 1e-3
    height = np.minimum(0.34, 0.12 + 0.5 * mouth_gap(canvas.moment))
    tooth = x * 6.1 * (1 + 0.25 * np.abs(x))
    cleft = np.abs(tooth - np.round(tooth))
    bite = top - height * (0.85 + 0.15 * step(0.5 - cleft, 0, 0.15)) * (1 - 0.25 * np.abs(x))
    teeth = between(x, y, np.maximum(bite, bottom), top, 2 * edge / width) * step(0.86 - np.abs(x), 0, 0.1)
    ivory = np.float32([0.74, 0.68, 0.58]) * (1 - 0.22 * np.clip((canvas.person.age - 30) / 50, 0, 1))
    shade = (1 - 0.55 * step(cleft, 0.4, 0.5)) * (1 - 0.75 * np.abs(x) ** 1.5) * step((top - y) / span, -0.1, 0.35)
    layer.add(ivory * shade[..., None], teeth * (0.95 if canvas.moment.mouth_open > 0.05 else 0.5))
    tongue = between(x, y, bottom, bottom + 0.5 * span, 0.08) * (1 - x * x) * (1 - teeth) * 0.6
    layer.add([0.3, 0.09, 0.08], tongue)


# --- an eye ----------------------------------------------------------------------------------------------------------


def paint_eye(canvas: Canvas, side: int, at: np.ndarray) -> None:
    """Paint the eye on the picture's left (side -1) or right (1) around `at`, in pixels. x points outwards."""
    eyes, moment, width = canvas.person.eyes, canvas.moment, canvas.person.eyes['width']
    roi = canvas.region(at, width * 1.4, width * 1.2)
    if roi is None:
        return
    layer = canvas.fine(roi)
    c, s = math.cos(eyes['tilt']), math.sin(eyes['tilt'])
    x, y = (side * layer.u - eyes['x']) / width, layer.v / width
    x, y = c * x + s * y, -s * x + c * y
    opening = eyes['open'] * moment.lids
    arch = np.clip(1 - np.abs(x) ** 2.1, 0, 1)
    top = opening * (arch + 0.12 * x * arch) * (1.02 - 0.12 * x)
    bottom = -0.52 * opening * np.clip(1 - np.abs(x - 0.08) ** 2, 0, 1) * (1 - 0.25 * max(0, moment.smile))
    paint_lids(canvas, layer, x, y, arch, top, bottom)
    paint_eyeball(canvas, layer, side, x, y, top, bottom)
    paint_lid_edges(canvas, layer, x, y, top, bottom)
    canvas.put(roi, layer)
    paint_lashes(canvas, side)


def eye_pixel(canvas: Canvas) -> float:
    return 1 / (canvas.scale * canvas.person.eyes['width'])


def paint_lids(canvas: Canvas, layer: Layer, x, y, arch, top, bottom) -> None:
    """A fold above, colour on the lid, a shade below."""
    eyes, skin = canvas.person.eyes, np.float32(canvas.person.skin)
    crease = top + eyes['crease'] * (0.5 + 0.5 * arch)
    fold = np.exp(-(((y - crease) / (0.055 + 0.4 * eye_pixel(canvas))) ** 2)) * step(1.25 - np.abs(x), 0, 0.35)
    layer.add(skin * np.float32(0.3), (0.3 + 0.3 * eyes['hood']) * fold)
    lid = np.clip((y - top) / 0.08, 0, 1) * np.clip((crease - y) / 0.08, 0, 1) * (np.abs(x) < 1.02)
    layer.add(skin * np.float32([0.72, 0.6, 0.6]), lid * (0.22 + 0.5 * eyes['shadow']))
    under = np.exp(-(((y - bottom + 0.2) / 0.1) ** 2)) * arch
    layer.add(skin * np.float32(0.55), 0.22 * under)


def paint_eyeball(canvas: Canvas, layer: Layer, side: int, x, y, top, bottom) -> None:
    """White, iris and pupil, with two reflections: the light, and a paler one."""
    eyes, moment = canvas.person.eyes, canvas.moment
    opening = eyes['open'] * moment.lids
    gaze_x, gaze_y = x - moment.gaze[0] * side, y - moment.gaze[1]
    below_lid = (top - y) / (opening + 1e-3)
    ball = 0.85 - 0.4 * np.clip(np.abs(x), 0, 1) ** 2.2
    ball = ball * (1 - 0.62 * step(y, 0, 1)) * (0.45 + 0.55 * step(below_lid, 0.0, 0.55))
    colour = np.float32([0.68, 0.645, 0.62]) * ball[..., None]
    pink = bump(x + 1.0, y, 0.22, 0.25)[..., None]
    colour = colour * (1 - pink * np.float32([0.1, 0.5, 0.5]))
    r = np.hypot(gaze_x, gaze_y - 0.16 * opening)
    iris = iris_colour(canvas.person, r / eyes['iris_size'], np.arctan2(gaze_y, gaze_x))
    iris = iris * (0.45 + 0.55 * step(below_lid, 0.0, 0.5))[..., None]
    colour = colour + (iris - colour) * step(eyes['iris_size'] + 0.03 - r, 0, 0.07)[..., None]
    within = between(x, y, bottom, top, eye_pixel(canvas))
    layer.add(0.72 * colour, within)
    lx, ly = canvas.light[0], canvas.light[1]
    spot = np.hypot(gaze_x - 0.2 * lx * side, gaze_y - 0.06 - 0.2 * max(ly, 0.1)) / 0.085
    layer.add(2.0, 0.9 * within * step(1.25 - spot, 0, 0.5))
    second = np.hypot(gaze_x + 0.2, gaze_y + 0.15) / 0.06
    layer.add(0.8, 0.3 * within * step(1.25 - second, 0, 0.5))


def iris_colour(person: Person, ring: np.ndarray, angle: np.ndarray) -> np.ndarray:
    """Spokes, a dark rim, and the pupil; `ring` is 0 in the middle and 1 at the rim."""
    looks = np.random.default_rng(person.looks + 1)
    spokes = sum(np.sin(angle * k + looks.uniform(0, 6.3)) for k in (7, 13, 23, 37)) * 0.14
    iris = np.float32(person.eyes['iris']) * ((0.75 + spokes + 0.9 * bump(ring - 0.5, 0, 0.22, 1)) * 1.25)[..., None]
    iris = iris * (1 - 0.8 * step(ring, 0.78, 1.02))[..., None]
    return iris * (1 - 0.97 * step(0.46 + 0.06 * spokes - ring, 0, 0.09))[..., None]


def lash_colour(person: Person) -> np.ndarray:
    return np.float32(0.02) + 0.3 * np.float32(person.hair['colour']) * (1 - person.mouth['make_up'])


def paint_lid_edges(canvas: Canvas, layer: Layer, x, y, top, bottom) -> None:
    """A line along the upper lid, thicker outwards, and a fainter one along the lower."""
    person, lashes, edge = canvas.person, canvas.person.eyes['lashes'], eye_pixel(canvas)
    thick = 0.05 + 0.075 * lashes * (0.6 + 0.4 * x)
    line = np.clip((thick - np.abs(y - top - 0.02)) / (edge + 0.03) + 0.5, 0, 1) * step(1.06 - np.abs(x), 0, 0.1)
    layer.add(lash_colour(person), (0.55 + 0.4 * lashes) * np.clip(line, 0, 1))
    low = np.exp(-(((y - bottom) / (0.03 + 0.4 * edge)) ** 2)) * step(1.0 - np.abs(x), 0, 0.2)
    layer.add(np.float32(person.skin) * np.float32([0.34, 0.2, 0.19]), (0.4 + 0.3 * lashes) * low)


def paint_lashes(canvas: Canvas, side: int) -> None:
    """Single hairs on the upper lid."""
    eyes, lashes, width = canvas.person.eyes, canvas.person.eyes['lashes'], canvas.person.eyes['width']
    opening = eyes['open'] * canvas.moment.lids
    t = np.linspace(-0.75, 1.0, 16)
    edge_y = opening * (1 - np.abs(t) ** 2.1) * (1 + 0.12 * t) * (1.02 - 0.12 * t)
    tip_x, tip_y = t + 0.1 + 0.16 * t, edge_y + 0.13 + 0.17 * lashes * (0.6 + 0.4 * t)
    x = np.stack([t, 0.5 * (t + tip_x) + 0.03, tip_x])
    y = np.stack([edge_y, 0.5 * (edge_y + tip_y) - 0.05, tip_y])
    c, s = math.cos(eyes['tilt']), math.sin(eyes['tilt'])
    u, v = side * (eyes['x'] + width * (c * x - s * y)), width * (s * x + c * y)
    canvas.strands(canvas.on_face(u, v).swapaxes(0, 1), lash_colour(canvas.person) * 0.6, 0.3 + 0.3 * lashes)
