"""Drawn faces: a person and a moment in, a picture with landmarks and a face mask out.

The picture depends only on the arguments, one of them an `np.random.Generator`. canvas.py knows where the head is and
how light falls on it, relief.py shapes the face; each other file paints one part.
"""

from dataclasses import dataclass

import numpy as np

from forensics.drawing.brows_and_beard import paint_beard, paint_brows
from forensics.drawing.canvas import Canvas
from forensics.drawing.eyes_and_mouth import paint_eye, paint_mouth
from forensics.drawing.hair import hair_light, hairline, paint_hair, paint_hair_behind
from forensics.drawing.head import paint_ears, paint_skin
from forensics.drawing.people import Moment, Person
from forensics.drawing.relief import mouth_line
from forensics.drawing.scene import paint_background, paint_body
from forensics.drawing.spectacles import paint_spectacles


@dataclass(frozen=True)
class Picture:
    """Linear light (size x size x 3, float32, about 0 to 1), named landmarks in pixels, the face's mask 0 to 1."""

    image: np.ndarray
    landmarks: dict[str, np.ndarray]
    mask: np.ndarray


def draw_face(person: Person, moment: Moment, rng: np.random.Generator, size: int = 256) -> Picture:
    """Draw `person` at `moment`; `rng` decides what neither fixes (single hairs, pores, the background)."""
    canvas = Canvas(person, moment, rng, size)
    points = landmarks(canvas)
    bald = person.hair['style'] == 'bald'
    # From back to front. Another order gives other pictures, also because all parts share one `rng`.
    paint_background(canvas)
    paint_body(canvas)
    if not bald:
        light, band = hair_light(canvas)
        paint_hair_behind(canvas, light)
    paint_ears(canvas)
    paint_skin(canvas)
    paint_mouth(canvas, points['mouth'])
    paint_eye(canvas, -1, points['left_eye'])
    paint_eye(canvas, 1, points['right_eye'])
    paint_brows(canvas)
    if person.beard['kind'] != 'none':
        paint_beard(canvas)
    if not bald:
        paint_hair(canvas, light, band)
    if person.glasses:
        paint_spectacles(canvas)
    return Picture(np.clip(canvas.image, 0, 4), points, face_mask(canvas))


def landmarks(canvas: Canvas) -> dict[str, np.ndarray]:
    """The points that face swaps align by, and the `outline` of the inner face."""
    person, eyes, mouth = canvas.person, canvas.person.eyes, canvas.person.mouth
    mw = mouth['width']
    corner = -mouth['y'] + float(mouth_line(person, canvas.moment, 1.0)) * mw
    chin, brow = person.head['chin'], person.brows['y'] + 0.1
    at = {
        'left_eye': (-eyes['x'], 0), 'right_eye': (eyes['x'], 0),
        'left_eye_outer': (-eyes['x'] - eyes['width'], 0), 'right_eye_outer': (eyes['x'] + eyes['width'], 0),
        'left_brow': (-eyes['x'], brow - 0.1), 'right_brow': (eyes['x'], brow - 0.1),
        'nose_tip': (0, -person.nose['length'] + 0.02), 'nose_base': (0, -person.nose['length'] - 0.1),
        'mouth_left': (-mw, corner), 'mouth_right': (mw, corner), 'mouth': (0, -mouth['y']),
        'chin': (0, -chin * 0.93),
    }  # fmt: skip
    ring_v = np.array([brow, brow - 0.02, 0.1, -0.3, -0.65, -0.86 * chin, -0.95 * chin])
    width, _ = canvas.width_depth(ring_v)
    ring_u = np.array([0.0, 0.5, 0.78, 0.84, 0.82, 0.55, 0.0]) * np.minimum(width * 0.98, 1)
    u, v = np.array(list(at.values())).T
    found = canvas.on_face(np.concatenate([u, ring_u, -ring_u[-2:0:-1]]), np.concatenate([v, ring_v, ring_v[-2:0:-1]]))
    return {**dict(zip(at, found[: len(at)], strict=True)), 'outline': found[len(at) :]}


def face_mask(canvas: Canvas) -> np.ndarray:
    """The head below the hairline; hair that hangs over it counts as face."""
    box = canvas.box
    mask = np.zeros_like(canvas.head_mask)
    mask[box] = canvas.head_mask[box] * (hairline(canvas.person, canvas.u[box]) > canvas.v[box])
    return mask
