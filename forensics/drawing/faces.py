"""Drawn faces: a person and a moment in, a picture with landmarks and a face mask out.

A head is a solid whose horizontal cuts are ellipses, with bumps for brows, nose, cheeks, lips and chin. Each pixel's
ray is met with that solid, so turning the head, its light and its shadows come from the geometry; hair, brows and
beard are drawn strand by strand. Everything is a pure function of its arguments and of one `np.random.Generator`.

Units: half a head's width is about 1, the eyes are at height 0, x points right, y up and z at the viewer.
"""

import math
from dataclasses import dataclass

import cv2
import numpy as np

from forensics.drawing.brows_and_beard import beard_zone, paint_beard, paint_brows
from forensics.drawing.brushes import blur, bump, inside, paint, step
from forensics.drawing.canvas import Canvas
from forensics.drawing.hair import hair_light, hairline, paint_hair, paint_hair_behind
from forensics.drawing.people import Moment, Person
from forensics.drawing.relief import mouth_gap, mouth_line
from forensics.drawing.scene import paint_background, paint_body
from forensics.drawing.spectacles import paint_spectacles


@dataclass(frozen=True)
class Picture:
    """Linear light (size x size x 3, float32, about 0 to 1), named landmarks in pixels, the face's mask 0 to 1."""

    image: np.ndarray
    landmarks: dict[str, np.ndarray]
    mask: np.ndarray


def draw_face(person: Person, moment: Moment, rng: np.random.Generator, size: int = 256) -> Picture:
    """Draw `person` at `moment`; `rng` makes what neither of them fixes (single hairs, pores, the background)."""
    return _Drawing(person, moment, rng, size).draw()


class _Drawing(Canvas):
    """The layers of paint, from back to front."""

    def draw(self) -> Picture:
        paint_background(self)
        paint_body(self)
        bald = self.person.hair['style'] == 'bald'
        if not bald:
            light, band = hair_light(self)
            paint_hair_behind(self, light)
        self.ears()
        mask = self.skin()
        paint_brows(self)
        if self.person.beard['kind'] != 'none':
            paint_beard(self)
        if not bald:
            paint_hair(self, light, band)
        if self.person.glasses:
            paint_spectacles(self)
        return Picture(np.clip(self.image, 0, 4), self.points, mask)

    def ears(self) -> None:
        p, head = self.person, self.person.head
        for side in (-1, 1):
            if side * math.sin(self.moment.yaw) > 0.42:
                continue
            at = self.project(side * (head['width'] + 0.01), -0.17, -0.05)
            r = int(0.42 * self.scale)
            x0, y0 = max(int(at[0]) - r, 0), max(int(at[1]) - r, 0)
            x1, y1 = min(int(at[0]) + r, self.size), min(int(at[1]) + r, self.size)
            if x1 - x0 < 4 or y1 - y0 < 4:
                continue
            roi = np.s_[y0:y1, x0:x1]
            c, s = math.cos(self.moment.roll), math.sin(self.moment.roll)
            ax, ay = (at[0] - self.centre[0]) * self.pixel, -(at[1] - self.centre[1]) * self.pixel
            cx, cy = c * ax + s * ay, -s * ax + c * ay
            u = (self.x[roi] - np.float32(cx)) * side * np.float32(1 / (0.155 * head['ears']))
            v = (self.y[roi] - np.float32(cy)) * np.float32(1 / (0.3 * head['ears']))
            u = u - 0.25 * v
            f = 1 - u * u * (1 + 0.35 * (v < 0) * v * v) - v * v
            z = (
                0.05 * np.sqrt(np.maximum(f, 0))
                - 0.06 * bump(u - 0.05, v - 0.05, 0.5, 0.5)
                + 0.03 * bump(u + 0.1, v + 0.1, 0.25, 0.4)
            )
            light = self.lit(self.normals(z.astype(np.float32)), (0.6, 0.25, 0.12))
            dark = (1 - 0.55 * bump(u + 0.3, v + 0.05, 0.35, 0.4))[..., None]
            colour = np.array(p.skin, np.float32) * np.array([1.0, 0.85, 0.82], np.float32)
            view = self.image[roi]
            paint(view, colour * light * dark, inside(f.astype(np.float32)))

    def skin(self) -> np.ndarray:
        """The face itself; returns its mask."""
        p, n = self.person, self.size
        head = self.box
        u, v, mask = self.u[head], self.v[head], self.head_mask[head]
        z = self.z[head].copy()
        pores = self.noise(n * 0.7)[head]
        old = np.clip((p.age - 30) / 45, 0, 1)
        z += np.float32(0.0011 * (0.6 + old)) * pores + 0.004 * (0.3 + old) * self.noise(36)[head]
        normals = self.normals(z)
        shadow = self.shadow(z)
        hollow = np.clip((blur(z, self.scale * 0.11) - z) * 3.2, 0, 0.6)
        if p.hair['style'] != 'bald':
            brim = step(v - hairline(self.person, u) + 0.16, -0.2, 0.22)
            shadow = shadow * (1 - 0.35 * brim)
        light = self.lit(normals, shadow=shadow) * (1 - hollow * 0.9)[..., None]
        light[..., 0] = blur(light[..., 0], self.scale * 0.03)
        light[..., 1] = blur(light[..., 1], self.scale * 0.012)
        albedo = self.skin_colour(u, v, head)
        specular = self.gloss(normals, 8) * 0.05 + self.gloss(normals, 26) * (0.05 + 0.04 * p.melanin)
        oily = (0.35 + 0.65 * bump(u, v - 0.1, 0.5, 0.9)) * (1 + 0.2 * pores)
        rim = (1 - normals[2]) ** 4 * 0.05
        colour = albedo * light + ((specular * oily * shadow + rim)[..., None] * self.key_colour)
        paint(self.image[head], colour, mask)
        self.light_map[head] = light
        self.points = self.landmarks()
        self.mouth()
        for side in (-1, 1):
            self.eye(side)
        face = np.zeros_like(self.head_mask)
        face[head] = mask * (hairline(self.person, u) > v)
        return face

    def skin_colour(self, u: np.ndarray, v: np.ndarray, head: tuple[slice, slice]) -> np.ndarray:
        p, n = self.person, self.size
        au = np.abs(u)
        looks = np.random.default_rng(p.looks)
        red = 0.5 * bump(au - 0.55, v + 0.38, 0.25, 0.22) + 0.5 * bump(u, v + p.nose['length'], 0.2, 0.16)
        red += 0.25 * bump(u, v + p.head['chin'] - 0.15, 0.25, 0.15) - 0.25 * bump(u, v - 0.6, 0.8, 0.3)
        red *= looks.uniform(0.15, 0.85)
        red += (0.1 * self.noise(9) + 0.08 * self.noise(26) + 0.05 * self.noise(70))[head]
        tired = 0.35 * p.eyes['bags'] * bump(au - p.eyes['x'] + 0.03, v + 0.13, 0.2, 0.07)
        tired += 0.25 * bump(au - 0.24, v + 0.02, 0.1, 0.12)
        mel = (0.05 * self.noise(7) + 0.05 * self.noise(50))[head] + tired
        mel += p.eyes['shadow'] * bump(au - p.eyes['x'], v - 0.13, 0.24, 0.08)
        spots = np.zeros((n, n), np.uint8)
        freckles = int(looks.integers(60, 260)) if p.melanin < 0.45 and looks.random() < 0.25 else 0
        age_spots = int(25 * np.clip((p.age - 45) / 30, 0, 1) * looks.random())
        for count, wide, tall, r in ((freckles, 0.42, 0.25, 0.011), (age_spots, 0.6, 0.6, 0.022),
                                     (int(looks.integers(0, 4)), 0.5, 0.5, 0.018)):  # fmt: skip
            if not count:
                continue
            su, sv = looks.normal(0, wide, count), looks.normal(-0.25, tall, count)
            points = self.on_face(np.clip(su, -0.8, 0.8), np.clip(sv, -1.1, 0.7))
            strength = looks.uniform(70, 230, count) if wide == 0.42 else looks.uniform(120, 255, count)
            for (x, y), level in zip(points, strength, strict=True):
                cv2.circle(
                    spots, (int(x * 16), int(y * 16)), max(int(r * self.scale * 16), 8), int(level), -1, cv2.LINE_AA, 4
                )
        mel += 0.55 * blur(spots[head], 0.6).astype(np.float32) / 255
        if p.beard['kind'] != 'none':
            zone = beard_zone(self.person, u, v)
            mel += 0.32 * zone * (1 - 0.5 * p.melanin)
            red -= 0.5 * zone
        # More melanin darkens the blue most; more blood takes away green.
        out = np.empty((*u.shape, 3), np.float32)
        for i, (a, b) in enumerate(((0.55, -0.06), (0.85, 0.36), (1.0, 0.30))):
            out[..., i] = p.skin[i] * np.exp(-a * mel - b * red)
        return out

    def mouth(self) -> None:
        p, mouth = self.person, self.person.mouth
        mw, my = mouth['width'], -mouth['y']
        roi = self.region(self.points['mouth'], mw * 1.2, mw * 1.3)
        if roi is None:
            return
        layer = self.fine(roi)
        u, v = layer.u, layer.v
        edge = self.pixel
        x = u / mw
        full = np.clip(1 - x * x, 0, 1)
        line = my + mouth_line(self.person, self.moment, np.clip(x, -1.1, 1.1)) * mw
        gap = mouth_gap(self.moment) * mw
        y = (v - line) / mw
        top, bottom = 0.35 * gap / mw * full**0.8, -gap / mw * full**0.8
        upper = top + mouth['upper'] * (full**0.75) * (1 - mouth['bow'] * 0.5 * bump(x, 0, 0.16, 1)) * (
            1 - 0.25 * self.moment.mouth_open
        )
        lower = bottom - mouth['lower'] * full**0.65 * (1 - 0.15 * self.moment.smile)
        soft = 0.5 * edge / mw + 0.025

        def within(low, high, s):
            return np.clip((y - low) / s + 0.5, 0, 1) * np.clip((high - y) / s + 0.5, 0, 1) * (np.abs(x) < 1)

        skin = np.array(p.skin, np.float32)
        natural = skin * (1 - 0.35 * mouth['red'] * np.array([0.25, 1.0, 0.85], np.float32)) * np.float32(0.92)
        lips = natural * (1 - 0.8 * mouth['make_up']) + np.array(mouth['lipstick'], np.float32) * 0.8 * mouth[
            'make_up'
        ] * np.float32(0.35 + 0.65 * (1 - p.melanin))
        creases = 1 + 0.1 * np.sin(x * 55 + 3 * np.sin(x * 23)) * bump(0, y - lower * 0.5, 1, 0.2)
        under = 1 - 0.3 * step(y, 0.0, 0.12)
        alpha = within(lower, upper, soft * 2.5)
        layer.add(lips * (creases * under)[..., None], 0.92 * alpha)
        shine = bump(x - 0.3 * self.light[0], (y - 0.5 * (bottom + lower)) / 1, 0.45, 0.05) * alpha
        gloss = (0.1 + 0.3 * mouth['make_up']) * np.clip(
            0.4 + 0.6 * self.rng.standard_normal(x.shape, dtype=np.float32), 0.1, 1.4
        )
        layer.add(1.0, 0.7 * shine * gloss)
        if gap > 0.012:
            inside = within(bottom, top, 1.2 * edge / mw)
            layer.add(np.array([0.07, 0.015, 0.014], np.float32), inside)
            span = (gap * 1.35 / mw) * full**0.8 + 1e-3
            height = np.minimum(0.34, 0.12 + 0.5 * mouth_gap(self.moment))
            tooth = x * 6.1 * (1 + 0.25 * np.abs(x))
            cleft = np.abs(tooth - np.round(tooth))
            bite = top - height * (0.85 + 0.15 * step(0.5 - cleft, 0, 0.15)) * (1 - 0.25 * np.abs(x))
            teeth = within(np.maximum(bite, bottom), top, 2 * edge / mw) * step(0.86 - np.abs(x), 0, 0.1)
            ivory = np.array([0.74, 0.68, 0.58], np.float32) * (1 - 0.22 * np.clip((p.age - 30) / 50, 0, 1))
            shade = (
                (1 - 0.55 * step(cleft, 0.4, 0.5)) * (1 - 0.75 * np.abs(x) ** 1.5) * step((top - y) / span, -0.1, 0.35)
            )
            layer.add(ivory * shade[..., None], teeth * (0.95 if self.moment.mouth_open > 0.05 else 0.5))
            tongue = within(bottom, bottom + 0.5 * span, 0.08) * (1 - x * x) * (1 - teeth) * 0.6
            layer.add(np.array([0.3, 0.09, 0.08], np.float32), tongue)
        crease = np.exp(-((y / (0.035 + 0.3 * edge)) ** 2)) * step(1.08 - np.abs(x), 0, 0.12)
        layer.add(skin * np.float32([0.2, 0.09, 0.09]), crease * (0.85 if gap <= 0.012 else 0.25))
        self.put(roi, layer)

    def eye(self, side: int) -> None:
        p, m, e = self.person, self.moment, self.person.eyes
        w = e['width']
        roi = self.region(self.points['left_eye' if side < 0 else 'right_eye'], w * 1.4, w * 1.2)
        if roi is None:
            return
        layer = self.fine(roi)
        u, v = layer.u, layer.v
        edge = 1 / (self.scale * w)
        c, s = math.cos(e['tilt']), math.sin(e['tilt'])
        x, y = (side * u - e['x']) / w, v / w
        x, y = c * x + s * y, -s * x + c * y
        opening = e['open'] * m.lids
        arch = np.clip(1 - np.abs(x) ** 2.1, 0, 1)
        top = opening * (arch + 0.12 * x * arch) * (1.02 - 0.12 * x)
        bottom = -0.52 * opening * np.clip(1 - np.abs(x - 0.08) ** 2, 0, 1) * (1 - 0.25 * max(0, m.smile))
        within = np.clip((top - y) / edge + 0.5, 0, 1) * np.clip((y - bottom) / edge + 0.5, 0, 1) * (np.abs(x) < 1)
        # lid: crease above, a shade in the corner
        skin = np.array(p.skin, np.float32)
        crease = top + e['crease'] * (0.5 + 0.5 * arch)
        fold = np.exp(-(((y - crease) / (0.055 + 0.4 * edge)) ** 2)) * step(1.25 - np.abs(x), 0, 0.35)
        layer.add(skin * np.float32(0.3), (0.3 + 0.3 * e['hood']) * fold)
        lid = np.clip((y - top) / 0.08, 0, 1) * np.clip((crease - y) / 0.08, 0, 1) * (np.abs(x) < 1.02)
        layer.add(skin * np.array([0.72, 0.6, 0.6], np.float32), lid * (0.22 + 0.5 * e['shadow']))
        under = np.exp(-(((y - bottom + 0.2) / 0.1) ** 2)) * arch
        layer.add(skin * np.float32(0.55), 0.22 * under)

        # the ball: white, iris, pupil
        r = np.hypot(x - m.gaze[0] * side, y - m.gaze[1] - 0.16 * opening)
        iris_r = e['iris_size']
        ball = 0.85 - 0.4 * np.clip(np.abs(x), 0, 1) ** 2.2
        ball = ball * (1 - 0.62 * step(y, 0, 1) / 1) * (0.45 + 0.55 * step((top - y) / (opening + 1e-3), 0.0, 0.55))
        colour = np.array([0.68, 0.645, 0.62], np.float32) * ball[..., None]
        pink = bump(x + 1.0, y, 0.22, 0.25)[..., None]
        colour = colour * (1 - pink * np.array([0.1, 0.5, 0.5], np.float32))
        angle = np.arctan2(y - m.gaze[1], x - m.gaze[0] * side)
        looks = np.random.default_rng(p.looks + 1)
        spokes = sum(np.sin(angle * k + looks.uniform(0, 6.3)) for k in (7, 13, 23, 37)) * 0.14
        ring = r / iris_r
        iris = (
            np.array(e['iris'], np.float32) * ((0.75 + spokes + 0.9 * bump(ring - 0.5, 0, 0.22, 1)) * 1.25)[..., None]
        )
        iris = iris * (1 - 0.8 * step(ring, 0.78, 1.02))[..., None]
        iris = iris * (1 - 0.97 * step(0.46 + 0.06 * spokes - ring, 0, 0.09))[..., None]
        iris = iris * (0.45 + 0.55 * step((top - y) / (opening + 1e-3), 0.0, 0.5))[..., None]
        colour = colour + (iris - colour) * step(iris_r + 0.03 - r, 0, 0.07)[..., None]
        layer.add(0.72 * colour, within)
        lx, ly = self.light[0], self.light[1]
        spot = np.hypot(x - m.gaze[0] * side - 0.2 * lx * side, y - m.gaze[1] - 0.06 - 0.2 * max(ly, 0.1)) / 0.085
        layer.add(2.0, 0.9 * within * step(1.25 - spot, 0, 0.5))
        second = np.hypot(x - m.gaze[0] * side + 0.2, y - m.gaze[1] + 0.15) / 0.06
        layer.add(0.8, 0.3 * within * step(1.25 - second, 0, 0.5))

        # lashes: a line along the upper lid, thicker outwards, and single hairs
        lash = np.float32(0.02) + 0.3 * np.array(p.hair['colour'], np.float32) * (1 - p.mouth['make_up'])
        thick = 0.05 + 0.075 * e['lashes'] * (0.6 + 0.4 * x)
        line = np.clip((thick - np.abs(y - top - 0.02)) / (edge + 0.03) + 0.5, 0, 1) * step(1.06 - np.abs(x), 0, 0.1)
        layer.add(lash, (0.55 + 0.4 * e['lashes']) * np.clip(line, 0, 1))
        low = np.exp(-(((y - bottom) / (0.03 + 0.4 * edge)) ** 2)) * step(1.0 - np.abs(x), 0, 0.2)
        layer.add(skin * np.array([0.34, 0.2, 0.19], np.float32), (0.4 + 0.3 * e['lashes']) * low)
        self.put(roi, layer)
        t = np.linspace(-0.75, 1.0, 16)
        edge_y = opening * (1 - np.abs(t) ** 2.1) * (1 + 0.12 * t) * (1.02 - 0.12 * t)
        tip_x, tip_y = t + 0.1 + 0.16 * t, edge_y + 0.13 + 0.17 * e['lashes'] * (0.6 + 0.4 * t)
        x = np.stack([t, 0.5 * (t + tip_x) + 0.03, tip_x])
        y = np.stack([edge_y, 0.5 * (edge_y + tip_y) - 0.05, tip_y])
        paths = self.on_face(side * (e['x'] + w * (c * x - s * y)), w * (s * x + c * y)).swapaxes(0, 1)
        self.strands(paths, lash * 0.6, 0.3 + 0.3 * e['lashes'])

    def landmarks(self) -> dict[str, np.ndarray]:
        """The points face swaps align by, and a chain around the inner face."""
        p, e, mouth = self.person, self.person.eyes, self.person.mouth
        mw, corner = mouth['width'], -mouth['y'] + float(mouth_line(self.person, self.moment, 1.0)) * mouth['width']
        chin, brow = p.head['chin'], p.brows['y'] + 0.1
        at = {
            'left_eye': (-e['x'], 0), 'right_eye': (e['x'], 0), 'left_eye_outer': (-e['x'] - e['width'], 0),
            'right_eye_outer': (e['x'] + e['width'], 0),
            'left_brow': (-e['x'], brow - 0.1), 'right_brow': (e['x'], brow - 0.1),
            'nose_tip': (0, -p.nose['length'] + 0.02), 'nose_base': (0, -p.nose['length'] - 0.1),
            'mouth_left': (-mw, corner), 'mouth_right': (mw, corner), 'mouth': (0, -mouth['y']),
            'chin': (0, -chin * 0.93),
        }  # fmt: skip
        ring_v = np.array([brow, brow - 0.02, 0.1, -0.3, -0.65, -0.86 * chin, -0.95 * chin])
        width, _ = self.width_depth(ring_v)
        ring_u = np.array([0.0, 0.5, 0.78, 0.84, 0.82, 0.55, 0.0]) * np.minimum(width * 0.98, 1)
        u, v = np.array(list(at.values())).T
        found = self.on_face(
            np.concatenate([u, ring_u, -ring_u[-2:0:-1]]), np.concatenate([v, ring_v, ring_v[-2:0:-1]])
        )
        return {**dict(zip(at, found[: len(at)], strict=True)), 'outline': found[len(at) :]}
