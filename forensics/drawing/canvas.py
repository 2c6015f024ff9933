"""The canvas that a face is painted on: where the head is, how light falls on it, and ways to put paint there.

A head is a solid whose horizontal cuts are ellipses, with a relief of brows, nose, cheeks, lips and chin. Each pixel's
ray is intersected with both, so a turned head, its light and its shadows follow from the geometry.

Units: half a head's width is about 1 and the eyes are at height 0. In the picture x points right, y up and z at the
viewer; u, v and w are the same axes on the head, and nod and turn with it. When the head rolls, x and y roll too.
"""

import math

import cv2
import numpy as np

from forensics.drawing.brushes import Layer, fixed_point, inside, paint, shifted, step
from forensics.drawing.people import Moment, Person
from forensics.drawing.relief import relief


class Canvas:
    """One picture in the making.

    `image` holds the paint so far. Each pixel has a position in the picture (`x`, `y`) and on the head (`u`, `v`, with
    depth `z`), a share that the head covers (`head_mask`) and, once there is skin, its light (`light_map`). `u` and `z`
    are valid only inside `box`, the part of the picture that holds the head.
    """

    def __init__(self, person: Person, moment: Moment, rng: np.random.Generator, size: int):
        self.person, self.moment, self.rng, self.size = person, moment, rng, size
        self.image = np.zeros((size, size, 3), np.float32)

        self.scale = moment.zoom * size
        self.pixel = 1 / self.scale
        self.centre = ((0.5 + moment.shift[0]) * size, (0.47 + moment.shift[1]) * size)
        rows, columns = np.mgrid[0:size, 0:size].astype(np.float32)
        self.x, self.y = self.upright((columns - self.centre[0]) * self.pixel, -(rows - self.centre[1]) * self.pixel)

        light = np.array(moment.light)
        self.light = np.array([*self.upright(light[0], light[1]), light[2]], np.float32)
        tint = np.array([1 + moment.warmth, 1.0, 1 - moment.warmth], np.float32)
        self.key_colour = moment.key * tint
        self.fill_colour = 0.42 * (2 - tint) * np.float32(moment.soft)
        self.light_map = np.zeros((size, size, 3), np.float32) + 0.5 * self.key_colour + self.fill_colour

        self.profiles: dict[float, np.ndarray] = {}
        self.z, self.v, disc = self.solid()
        self.u = np.zeros((size, size), np.float32)
        self.head_mask = inside(disc)
        self.box = self.head_box()
        self.meet_face(step(disc[self.box], 0.0, 0.25))

    # the head's geometry

    def upright(self, x, y):
        """Undo the head's roll: (x, y) of the picture -> (x, y) of an upright head."""
        c, s = np.float32(math.cos(self.moment.roll)), np.float32(math.sin(self.moment.roll))
        return c * x + s * y, -s * x + c * y

    def width_depth(self, v: np.ndarray, grow: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
        """Half the head's width, and its depth, at height v; `grow` adds the hair's thickness."""
        if grow not in self.profiles:
            self.profiles[grow] = self.profile(grow)
        v = np.asarray(v, np.float32)
        where = np.clip((v + 2) * 1024, 0, 4096).reshape(len(v), -1)
        found = cv2.remap(self.profiles[grow], where, np.zeros_like(where), cv2.INTER_LINEAR)
        return found[..., 0].reshape(v.shape), found[..., 1].reshape(v.shape)

    def profile(self, grow: float) -> np.ndarray:
        """Width and depth at 4097 heights from -2 to 2. Powers are slow, so pixels look them up here."""
        head = self.person.head
        heights = np.linspace(-2, 2, 4097)
        up = np.clip(heights / (head['top'] + grow), 0, 1)
        down = np.clip(-heights / head['chin'], 0, 1)
        crown = np.maximum(1 - up**2.4, 0) ** (1 / 2.4)
        chin = np.maximum(1 - down ** head['square'], 0) ** (1 / head['square'])
        jaw = 1 - (1 - head['jaw']) * down ** head['taper']
        width = (head['width'] + grow) * crown * chin * jaw
        depth = (head['depth'] + 0.5 * grow) * crown * np.maximum(1 - down**7, 0) ** (1 / 7)
        return np.maximum(np.stack([width, depth], -1), 0.06).astype(np.float32)[None]

    def solid(self, grow: float = 0.0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Intersect each pixel's ray with the head: the depth with the pitch undone, the height v, and a field that is
        positive where the ray hits."""
        m, head = self.moment, self.person.head
        ca, sa = math.cos(m.yaw), math.sin(m.yaw)
        v = self.y * (1 / math.cos(m.pitch)) + self.front(self.x, self.y) * math.tan(m.pitch)
        width, depth = self.width_depth(v, grow)
        iw, idp = 1 / (width * width), 1 / (depth * depth)
        a = sa * sa * iw + ca * ca * idp
        within = 1 - self.x * self.x * iw * idp / a  # the quadratic equation's discriminant, over 4 a
        z = np.sqrt(np.maximum(within, 0) / a) - self.x * (sa * ca * (idp - iw)) / a
        rim = np.minimum(head['top'] + grow - v, v + head['chin'])
        # No lower than -1: a jump far outside the head must not look like an edge.
        return z, v, np.maximum(4 * np.minimum(within, rim), -1)

    def front(self, x, y):
        """Approximate depth of the head's front at (x, y) of the picture; a nod moves points up or down by it. It is
        free of folds, so a nod needs no iteration."""
        head = self.person.head
        high = np.where(np.asarray(y) > 0, head['top'], head['chin']) * 1.15
        flat = (1 - np.minimum(np.abs(y / high), 1) ** 6) * (1 - 0.6 * np.minimum(np.abs(x), 1) ** 2.5)
        return (head['depth'] * flat).astype(np.float32)

    def head_box(self) -> tuple[slice, slice]:
        """The rows and columns that hold the head: most of the work is done only there."""
        rows, columns = np.flatnonzero(self.head_mask.any(axis=1)), np.flatnonzero(self.head_mask.any(axis=0))
        if not len(rows):
            return np.s_[:, :]
        return np.s_[max(rows[0] - 3, 0) : rows[-1] + 4, max(columns[0] - 3, 0) : columns[-1] + 4]

    def meet_face(self, facing: np.ndarray) -> None:
        """Find `u` and add the relief to `z`, except at the rim, where the ray only touches the solid."""
        x, v, z = self.x[self.box], self.v[self.box], self.z[self.box]
        yaw, bend = self.moment.yaw, self.person.head['asymmetry']
        ca, sa = math.cos(yaw), math.sin(yaw)
        u = x * ca - z * sa
        if abs(yaw) > 0.03:
            # The nose hides part of a turned cheek: look again where the ray meets the relief. Half the size is enough.
            fields = (cv2.resize(f, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA) for f in (x, v, z, facing))
            across, height, smooth, near = fields
            part = across * ca - smooth * sa
            for _ in range(3):
                part = across * ca - (smooth + self.relief(part + bend * height, height) * near) * sa
            u = cv2.resize(part, v.shape[::-1], interpolation=cv2.INTER_LINEAR)
        u = u + bend * v
        self.u[self.box] = u
        z += self.relief(u, v) * facing

    def relief(self, u: np.ndarray, v: np.ndarray) -> np.ndarray:
        return relief(self.person, self.moment, u, v)

    def project(self, u, v, w) -> np.ndarray:
        """Points of the head -> pixels (n x 2)."""
        m = self.moment
        u, v, w = np.broadcast_arrays(np.asarray(u, float), np.asarray(v, float), np.asarray(w, float))
        x = u * math.cos(m.yaw) + w * math.sin(m.yaw)
        z = -u * math.sin(m.yaw) + w * math.cos(m.yaw)
        y = v * math.cos(m.pitch)
        bulge = z - self.front(x, y)  # exact where the point lies on the front, a good guess elsewhere
        y = y - (self.front(x, y - 0.5 * z * math.sin(m.pitch)) + 0.5 * bulge) * math.sin(m.pitch)
        c, s = math.cos(m.roll), math.sin(m.roll)
        return np.stack(
            [self.centre[0] + (c * x - s * y) * self.scale, self.centre[1] - (s * x + c * y) * self.scale], -1
        )

    def surface(self, u, v) -> np.ndarray:
        """Depth w of the head at (u, v), relief included."""
        u, v = np.atleast_1d(np.asarray(u, np.float32)), np.atleast_1d(np.asarray(v, np.float32))
        width, depth = self.width_depth(v)
        return depth * np.sqrt(np.maximum(1 - (u / width) ** 2, 0.0)) + self.relief(u, v)

    def on_face(self, u, v) -> np.ndarray:
        return self.project(u, v, self.surface(u, v))

    # light

    def shadow(self, z: np.ndarray) -> np.ndarray:
        """Share of the key light that the relief lets through: step from each pixel towards the light."""
        lx, ly, lz = (float(value) for value in self.light)
        c, s = math.cos(self.moment.roll), math.sin(self.moment.roll)
        shape, scale = z.shape[::-1], self.scale * 0.5
        z = cv2.resize(z, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
        dx, dy = (c * lx - s * ly) * scale, -(s * lx + c * ly) * scale
        blocked = np.zeros_like(z)
        for k in range(1, 9):
            t = 0.05 * k
            moved = shifted(z, t * dx, t * dy, cv2.BORDER_REPLICATE)
            np.maximum(blocked, (moved - z - t * lz) * (1 / (0.03 + 0.25 * t)), out=blocked)
        blocked = cv2.GaussianBlur(np.clip(blocked, 0, 1), (0, 0), 0.4 + scale * 0.022 * self.moment.soft)
        return 1 - 0.85 * cv2.resize(blocked, shape, interpolation=cv2.INTER_LINEAR)

    def normals(self, z: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        z = z.astype(np.float32, copy=False)
        gx = cv2.Sobel(z, cv2.CV_32F, 1, 0, scale=0.125 * self.scale)
        gy = -cv2.Sobel(z, cv2.CV_32F, 0, 1, scale=0.125 * self.scale)
        gx, gy = self.upright(gx, gy)
        length = 1 / np.sqrt(gx * gx + gy * gy + 1)
        return -gx * length, -gy * length, length

    def lit(self, normals, wrap=(0.38, 0.2, 0.12), shadow=1.0) -> np.ndarray:
        """Diffuse light. Light that enters skin leaves it farther on, red the farthest, so red wraps around edges."""
        nx, ny, nz = normals
        lx, ly, lz = self.light
        direct = nx * lx + ny * ly + nz * lz
        sky = 0.62 + 0.38 * ny
        out = np.empty((*nx.shape, 3), np.float32)
        for i, w in enumerate(wrap):
            key = np.clip((direct + w) / (1 + w), 0, None)
            out[..., i] = self.key_colour[i] * key * shadow + self.fill_colour[i] * sky
        return out

    def gloss(self, normals, power: float) -> np.ndarray:
        half = self.light + np.array([0, 0, 1], np.float32)
        half = half / np.sqrt((half**2).sum())
        nx, ny, nz = normals
        return np.clip(nx * half[0] + ny * half[1] + nz * half[2], 0, 1) ** power

    # paint

    def noise(self, cells: float, channels: int = 1) -> np.ndarray:
        """Smooth noise of about unit variance, with `cells` bumps across the image."""
        n = max(int(round(cells)), 2)
        grid = self.rng.standard_normal((n, n, channels), dtype=np.float32)
        return cv2.resize(grid, (self.size, self.size), interpolation=cv2.INTER_CUBIC)

    def region(self, point: np.ndarray, wide: float, high: float) -> tuple[slice, slice] | None:
        """The pixels around a point of the face, or None where they lie outside the picture."""
        x, y = point
        r, h = wide * self.scale, high * self.scale
        x0, x1 = int(max(x - r, 0)), int(min(x + r, self.size))
        y0, y1 = int(max(y - h, 0)), int(min(y + h, self.size))
        return None if x1 - x0 < 4 or y1 - y0 < 4 else np.s_[y0:y1, x0:x1]

    def fine(self, roi: tuple[slice, slice]) -> Layer:
        """A layer of twice the resolution over a region, so that lashes and teeth get clean edges."""
        height, width = self.u[roi].shape
        u, v = (cv2.resize(f[roi], (width * 2, height * 2), interpolation=cv2.INTER_LINEAR) for f in (self.u, self.v))
        return Layer(u, v)

    def put(self, roi: tuple[slice, slice], layer: Layer) -> None:
        """Paint a fine layer of albedo into its region, under the light that falls there."""
        rgba = cv2.resize(np.dstack([layer.colour, layer.alpha]), self.u[roi].shape[::-1], interpolation=cv2.INTER_AREA)
        view = self.image[roi]
        view *= 1 - rgba[..., 3:]
        view += rgba[..., :3] * self.light_map[roi]

    def strands(self, paths: np.ndarray, colour: np.ndarray, opacity: float) -> None:
        """Paint curves (n x points x 2, pixels) of one colour straight onto the picture, under the light there."""
        low = np.clip(np.floor(paths.min(axis=(0, 1))).astype(int) - 2, 0, self.size)
        high = np.clip(np.ceil(paths.max(axis=(0, 1))).astype(int) + 3, 0, self.size)
        if (high <= low).any():
            return
        roi = np.s_[low[1] : high[1], low[0] : high[0]]
        layer = np.zeros(self.u[roi].shape, np.uint8)
        cv2.polylines(layer, fixed_point(paths - low), False, 255, 1, cv2.LINE_AA, 4)
        alpha = layer.astype(np.float32) * np.float32(opacity / 255)
        paint(self.image[roi], np.asarray(colour, np.float32) * self.light_map[roi], alpha)
