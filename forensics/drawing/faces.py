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

from forensics.drawing.brushes import blur, bump, fixed_point, inside, paint, step
from forensics.drawing.canvas import Canvas
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
        self.hair_back()
        self.ears()
        mask = self.skin()
        self.strands_on_face()
        self.hair_front()
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
            brim = step(v - self.hairline(u) + 0.16, -0.2, 0.22)
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
        face[head] = mask * (self.hairline(u) > v)
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
            zone = self.beard_zone(u, v)
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

    def strands_on_face(self) -> None:
        p, rng, b = self.person, self.rng, self.person.brows
        hair = np.array(p.hair['colour'], np.float32)
        dark = np.minimum(hair * 0.75, 0.14) + 0.004
        count = int(150 * b['dense'] + 60)
        side = np.where(np.arange(2 * count) % 2, 1, -1)
        t = rng.random(2 * count) ** 0.85
        across = rng.normal(0, 0.42, 2 * count)
        x = b['inner'] + t * b['length'] * 1.5
        middle = b['y'] + self.moment.brow_raise + b['slope'] * t - 0.09 * np.clip(t - 0.6, 0, 1)
        middle += b['arch'] * np.sin(np.pi * t**0.8)
        y = middle + across * b['thick'] * (1.25 - 0.9 * t) * (0.55 + 0.45 * np.clip(t / 0.12, 0, 1))
        lean = (1 - t) ** 2 * 1.1 + 0.2 - 0.55 * t - across * 0.25
        length = 0.055 + 0.03 * rng.random(2 * count)
        tip_x, tip_y = x + length * np.cos(lean), y + length * np.sin(lean)
        paths = self.on_face(
            side * np.stack([x, (x + tip_x) / 2, tip_x]), np.stack([y, (y + tip_y) / 2 + 0.006, tip_y])
        ).swapaxes(0, 1)
        self.strands(paths[:count], dark, 0.5 * b['dense'] + 0.12)
        self.strands(paths[count:], dark * 0.6, 0.45 * b['dense'] + 0.1)
        self.beard()

    def beard_zone(self, u: np.ndarray, v: np.ndarray) -> np.ndarray:
        """Where this person's beard grows, 0 to 1."""
        p, kind, mouth = self.person, self.person.beard['kind'], self.person.mouth
        au, my = np.abs(u), -mouth['y']
        cheek = -0.5 + p.beard['line'] - 0.45 * bump(au - 0.35, 0, 0.3, 1) + 0.5 * step(au, 0.62, 0.95)
        jaw = step(cheek - v, -0.06, 0.12)
        lip = bump(u, v - my - 0.17, 0.34, 0.085) * 1.3
        soul = bump(u, v - my + 0.33, 0.24, 0.2) * 1.3
        bare = np.clip(1.4 * bump(u, v - my + 0.04, 0.36, 0.125), 0, 1)
        zone = {'moustache': lip, 'goatee': np.maximum(lip, soul) + 0.5 * bump(au - 0.36, v - my, 0.06, 0.2)}.get(
            kind, np.maximum(jaw, lip)
        )
        return np.clip(zone, 0, 1) * (1 - bare)

    def beard(self) -> None:
        p, rng, beard = self.person, self.rng, self.person.beard
        if beard['kind'] == 'none':
            return
        hair = np.minimum(np.array(p.hair['colour'], np.float32), 0.4)
        stubble = beard['kind'] == 'stubble'
        count = 1500 if stubble else 2400
        u, v = rng.uniform(-1, 1, count), rng.uniform(-p.head['chin'] * 0.985, -0.05, count)
        width, _ = self.width_depth(v)
        u = u * np.minimum(width * 0.97, 0.96)
        keep = rng.random(count) < self.beard_zone(u.astype(np.float32), v.astype(np.float32)) * (
            0.55 + 0.45 * beard['dense']
        )
        u, v = u[keep], v[keep]
        if not len(u):
            return
        length = (0.012 if stubble else beard['length']) * rng.uniform(0.5, 1.3, len(u))
        lean = rng.normal(0, 0.35, len(u)) + 0.7 * u
        end_u, end_v = u + length * np.sin(lean), v - length * np.cos(lean)
        uu = np.stack([u, 0.5 * (u + end_u) + 0.01 * np.sign(u), end_u])
        vv = np.stack([v, 0.5 * (v + end_v), end_v])
        w = self.surface(np.stack([u, uu[1], u]), np.stack([v, vv[1], v]))
        w[2] += 0.3 * length  # the tips stand off
        paths = self.project(uu, vv, w).swapaxes(0, 1)
        tones = (0.5, 0.9, 1.5)
        for k, tone in enumerate(tones):
            self.strands(
                paths[k :: len(tones)], hair * tone + 0.003, (0.34 if stubble else 0.62) * (0.6 + 0.4 * beard['dense'])
            )

    def hairline(self, u: np.ndarray) -> np.ndarray:
        """Height of the hairline above the point u across the face."""
        hair = self.person.hair
        au = np.abs(u)
        line = hair['line'] + hair['recede'] * (0.55 - 0.3 * bump(u, 0, 0.25, 1)) - 0.12 * au
        return line - 1.05 * step(au, 0.62, 0.98) - 0.06 * step(au, 0.3, 0.6)

    def hair_extent(self) -> tuple[float, float]:
        """How much hair adds to the head's outline, and how far down it reaches."""
        hair = self.person.hair
        volume = {'bald': 0, 'buzz': 0.005, 'short': hair['volume'] * 0.7, 'swept': hair['volume'] * 0.8,
                  'tied': 0.05, 'curly': 0.16 + 1.6 * hair['volume']}.get(hair['style'], hair['volume'])  # fmt: skip
        reach = {
            'bob': -1.0 - 0.25 * hair['length'] / 2,
            'long': -hair['length'] - 0.4,
            'curly': -0.35 * hair['length'],
        }.get(hair['style'], -0.15)
        return volume, reach

    def hair_shading(self) -> tuple[np.ndarray, np.ndarray]:
        """Light on hair, and the bright band that locks show across: both as if the hair were a smooth dome."""
        head = self.person.head
        wide = head['width'] + self.hair_extent()[0] + 0.05
        dome = 1 - (self.x / wide) ** 2 - (np.maximum(self.y, 0) / (head['top'] + 0.25)) ** 2
        nx, ny, nz = self.normals(head['depth'] * np.sqrt(np.maximum(dome, 0.03)))
        along = ny * (0.85 * self.light[1]) + nz * (0.5 * self.light[2])
        band = np.exp(-(((along - 0.5) / 0.16) ** 2)) * self.person.hair['gloss']
        return self.lit((nx, ny, nz), (0.3, 0.3, 0.3)), band

    def hair_back(self) -> None:
        """Hair behind the face: what shows around the head and, when long, beside the neck."""
        hair, style = self.person.hair, self.person.hair['style']
        if style == 'bald':
            return
        self.hair_light = self.hair_shading()
        volume, reach = self.hair_extent()
        _, v, disc = self.solid(volume)
        wide = self.person.head['width'] + volume
        if reach < -0.5:
            # a curtain that falls from the widest place of the head
            wobble = hair['wave'] * np.sin(self.y * (2.2 * hair['waves']) + np.sign(self.x))
            fall = wide * (0.97 + 0.1 * np.clip(-self.y, 0, 1)) + wobble
            x = self.x + 0.3 * np.float32(math.sin(self.moment.yaw))
            locks = self.rng.standard_normal((4, self.size // 3), dtype=np.float32)
            streaks = cv2.resize(locks, (self.size, self.size), interpolation=cv2.INTER_CUBIC)
            end = -reach + 0.05 * streaks - 0.15 * (x / wide) ** 2
            curtain = np.minimum(np.minimum(1 - np.abs(x) / fall, 0.7 * (self.y + end)), 0.35 - self.y)
            disc = np.maximum(disc, curtain)
        else:
            streaks = self.noise(self.size / 3)
            disc = np.minimum(disc, (v - reach) * 0.5)
        if style == 'curly':
            streaks = self.noise(self.size / 5)
            disc = disc + 0.05 * self.noise(self.size / 9)
        alpha = inside(cv2.GaussianBlur(disc, (0, 0), 0.7))
        shade = 0.62 + 0.12 * streaks + 0.06 * self.noise(30)
        light, _ = self.hair_light
        paint(self.image, np.array(hair['colour'], np.float32) * shade[..., None] * light, alpha)
        if style == 'tied' and self.person.looks % 2:
            centre, radius = (0.3 * math.sin(-self.moment.yaw), self.person.head['top'] + 0.1), 0.3
            f = 1 - ((self.x - centre[0]) / radius) ** 2 - ((self.y - centre[1]) / radius) ** 2
            ball = self.lit(self.normals(radius * np.sqrt(np.maximum(f, 0.02))), (0.3, 0.3, 0.3))
            paint(self.image, np.float32(hair['colour']) * ball * shade[..., None], inside(f))

    def hair_front(self) -> None:
        """Hair over the head: a dark base above the hairline, then strands from dark to bright."""
        rng, hair, style, n = self.rng, self.person.hair, self.person.hair['style'], self.size
        if style == 'bald':
            return
        line = self.hairline(self.u) + 0.025 * self.noise(50) + 0.02 * self.noise(110)
        soft = 0.16 if style == 'buzz' else 0.07
        base = step(self.v - line, -soft, soft) * cv2.dilate(self.head_mask, np.ones((3, 3), np.uint8))
        volume, reach = self.hair_extent()
        layer = np.zeros((n, n, 2), np.uint8)
        layer[..., 0] = 105
        layer[..., 1] = (base * 255 * (0.6 if style == 'buzz' else 1)).astype(np.uint8)
        for shade, paths in self.hair_paths(volume, reach):
            cv2.polylines(layer, fixed_point(paths), False, (shade, 255), 1, cv2.LINE_AA, 4)
        layer = cv2.GaussianBlur(layer, (0, 0), 0.55)  # a hair is thinner than a pixel
        tone, alpha = (layer[..., i].astype(np.float32) * (1 / 255) for i in (0, 1))
        if style == 'buzz':
            alpha = np.minimum(alpha, base * (0.85 + 0.1 * rng.standard_normal((n, n), dtype=np.float32)))
        light, band = self.hair_light
        colour = np.array(hair['colour'], np.float32)
        strength = 2.1 * tone * (0.8 + 0.1 * self.noise(12))
        if hair['grey'] > 0.1:
            strength = strength * (1 + 0.3 * hair['grey'] * self.noise(n / 3))
        shine = (band * tone)[..., None] * (0.6 * colour + 0.04)
        paint(self.image, colour * strength[..., None] * light + shine * self.key_colour * 1.4, np.clip(alpha, 0, 1))

    def hair_paths(self, volume: float, reach: float):
        """Yield (brightness, strands) from the darkest to the brightest."""
        p, rng, hair, style = self.person, self.rng, self.person.hair, self.person.hair['style']
        head = p.head
        top, wide = head['top'] + volume, head['width'] + volume
        mess = hair['mess']
        tones = (50, 68, 82, 95, 108, 122, 140)
        clumps = rng.uniform(0, 1, (len(tones), 4))
        for tone, clump in zip(tones, clumps, strict=True):
            if style == 'curly':
                yield tone, self.curls(volume, reach, 150)
                continue
            count = {'buzz': 160, 'short': 150, 'tied': 85, 'swept': 95}.get(style, 80)
            # Neighbours share their brightness: hair falls in locks.
            k = np.where(
                rng.random(count) < 0.5, rng.random(count), (rng.choice(clump, count) + rng.normal(0, 0.035, count)) % 1
            )
            side = np.where(rng.random(count) < 0.5 + 0.5 * np.clip(hair['part'], -0.6, 0.6), -1.0, 1.0)
            t = np.linspace(0, 1, 14)[None]
            if style in ('buzz', 'short'):
                # short pieces on the scalp, combed away from the crown
                a, b = rng.uniform(-1, 1, count), rng.random(count)
                u = a * 0.99
                low = self.hairline((u * head['width']).astype(np.float32))
                v = low + (head['top'] - low) * b * 0.99
                limit = np.sqrt(np.maximum(1 - (v.clip(0) / head['top']) ** 2.2, 0))
                u = u * head['width'] * np.maximum(limit, 0.02)
                length = (
                    0.05 if style == 'buzz' else 0.07 + 0.25 * hair['volume'] + 0.08 * b - 0.05 * np.abs(a)
                ) * rng.uniform(0.6, 1.4, count)
                lean = np.pi / 2 * 0.9 - u * 1.2 + hair['part'] * 3 + rng.normal(0, 0.15 + 0.3 * mess, count)
                du, dv = length * np.cos(lean), length * np.sin(lean) * np.where(v < 0.45, -0.6, 1)
                t = np.linspace(0, 1, 5)[None]
                uu = u[:, None] + du[:, None] * t
                vv = v[:, None] + dv[:, None] * t - (0.25 * length[:, None]) * t * t
                width, depth = self.width_depth(np.clip(vv, -1, head['top'] * 0.999), volume)
                ww = depth * np.sqrt(np.clip(1 - (uu / (width + 1e-3)) ** 2, 0, 1)) + volume * 0.3 * t
                yield tone, self.project(uu, vv, ww)
            elif style in ('swept', 'tied'):
                # from the hairline straight back over the head
                a = rng.uniform(-1, 1, count)
                angle = a * 1.85
                u0 = 0.98 * head['width'] * np.sin(angle) * np.where(np.abs(angle) > np.pi / 2, 1.0, 1.0)
                v0 = self.hairline(u0.astype(np.float32)) * np.where(np.abs(angle) > np.pi / 2, 0.3, 1) + rng.uniform(
                    -0.02, 0.06, count
                )
                start = rng.random(count) ** 1.3 * 0.7
                tt = start[:, None] + (1 - start[:, None]) * t * rng.uniform(0.5, 1.0, (count, 1))
                edge_u = (wide - 0.02) * np.sin(angle * 0.88 + hair['part'] * 0.25)
                edge_v = 0.15 + (top - 0.17) * np.cos(np.clip(angle * 0.88, -1.7, 1.7))
                uu = u0[:, None] + (edge_u - u0)[:, None] * tt + rng.normal(0, 0.012 * (1 + mess), (count, 1))
                lift = (
                    volume * 0.9 * np.sin(np.pi * np.clip(tt, 0, 1) ** 0.6) * np.cos(np.clip(angle, -1.5, 1.5))[:, None]
                )
                vv = v0[:, None] + (edge_v - v0)[:, None] * tt + lift * 0.5
                yield (
                    tone,
                    self.project(
                        uu,
                        vv,
                        0.85
                        * head['depth']
                        * np.sqrt(np.clip(1 - tt, 0, 1))
                        * np.cos(np.clip(angle, -1.3, 1.3))[:, None],
                    ),
                )
            else:
                # arcs from the parting over the side of the head, then straight down
                inner = head['width'] * (0.93 if style == 'parted' else 0.86)
                a = inner + (wide - inner) * k
                b = hair['line'] + 0.02 + (top - hair['line'] - 0.02) * k**0.8
                theta = np.minimum(t * 1.9, 1.0) * np.pi / 2
                droop = np.clip(t * 1.9 - 1, 0, 1)
                drop = (-reach * rng.uniform(0.8, 1.02, count))[:, None] if reach < -0.5 else 0.15 * np.ones((count, 1))
                part = hair['part'] * 1.2
                uu = part + (side * a - part)[:, None] * np.sin(theta) ** 1.15 + side[:, None] * 0.05 * droop
                phase = rng.normal(0, 0.6, (count, 1)) + k[:, None] * 2
                wave = hair['wave'] * (droop + 0.15) * np.sin(phase + droop * 2.2 * hair['waves'] * np.abs(drop))
                uu = uu + wave * side[:, None] + rng.normal(0, 0.012, (count, 1))
                vv = b[:, None] * np.cos(theta) ** 0.9 - drop * droop
                ww = np.where(droop > 0, 0.15, head['depth'] * np.cos(theta) * 0.8 * (1 - k[:, None] * 0.6) + 0.15)
                yield tone, self.project(uu, vv, ww)
        if hair['fringe'] and style in ('bob', 'long', 'tied', 'parted'):
            for tone in tones:
                count = 60
                u0 = rng.uniform(-0.62, 0.62, count)
                t = np.linspace(0, 1, 7)[None]
                end = hair['fringe'] + rng.normal(0, 0.04, count) - 0.1 * np.abs(u0)
                start = top * rng.uniform(0.8, 0.97, count) - 0.25 * u0**2
                uu = u0[:, None] * (0.75 + 0.35 * t) + hair['part'] * 0.3 * t
                vv = start[:, None] + (end - start)[:, None] * t
                yield (
                    tone,
                    self.project(
                        uu,
                        vv,
                        (head['depth'] + 0.06)
                        * np.sqrt(np.clip(1 - (vv / (top + 0.05)) ** 2, 0.02, 1))
                        * np.sqrt(np.clip(1 - uu**2, 0.1, 1)),
                    ),
                )

    def curls(self, volume: float, reach: float, count: int) -> np.ndarray:
        rng, head = self.rng, self.person.head
        angle = rng.uniform(-2.3, 2.3, count)
        r = rng.uniform(0.0, 1.0, count) ** 0.6
        inner_v = self.hairline((head['width'] * np.sin(angle)).astype(np.float32))
        u = np.sin(angle) * (head['width'] * 0.95 + (volume + 0.03) * r)
        above = inner_v + (head['top'] + volume - inner_v) * r * np.cos(np.clip(angle, -1.5, 1.5)) ** 0.3
        v = np.where(np.abs(angle) > 1.5, reach + (0.6 - reach) * rng.random(count), above)
        size = rng.uniform(0.03, 0.07, count)
        turn = rng.uniform(0, 6.3, (count, 1)) + np.linspace(0, 5.2, 10)[None] * rng.choice([-1, 1], (count, 1))
        uu = u[:, None] + size[:, None] * np.cos(turn)
        vv = v[:, None] + size[:, None] * np.sin(turn)
        return self.project(uu, vv, 0.35 * head['depth'] * (1 - r)[:, None])

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
