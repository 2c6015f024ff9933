"""Painting tools that know nothing of faces: bumps and steps, clean edges, blurs, colours, and layers of paint."""

import cv2
import numpy as np


def bump(x: np.ndarray, y: np.ndarray, wide: float, high: float) -> np.ndarray:
    return np.exp(-((x * (1 / wide)) ** 2) - (y * (1 / high)) ** 2)


def step(x: np.ndarray, low: float, high: float) -> np.ndarray:
    t = np.clip((x - low) * (1 / (high - low)), 0, 1)
    return t * t * (3 - 2 * t)


def inside(f: np.ndarray) -> np.ndarray:
    """Anti-aliased coverage of the region f > 0: the distance to its edge, in pixels, is about f / |grad f|."""
    f = f.astype(np.float32, copy=False)
    slope = np.hypot(cv2.Sobel(f, cv2.CV_32F, 1, 0, scale=0.125), cv2.Sobel(f, cv2.CV_32F, 0, 1, scale=0.125))
    return np.clip(f / (slope + 1e-6) + 0.5, 0, 1)


def blur(image: np.ndarray, sigma: float) -> np.ndarray:
    """Gaussian blur. A wide one is computed on a smaller image: many times faster, and nobody can see it."""
    if sigma < 6:
        return cv2.GaussianBlur(image, (0, 0), max(sigma, 0.05))
    rows, columns = image.shape[:2]
    small = cv2.resize(image, (max(columns // 4, 2), max(rows // 4, 2)), interpolation=cv2.INTER_AREA)
    return cv2.resize(cv2.GaussianBlur(small, (0, 0), sigma / 4), (columns, rows), interpolation=cv2.INTER_CUBIC)


def shifted(image: np.ndarray, dx: float, dy: float, border: int = cv2.BORDER_CONSTANT) -> np.ndarray:
    """The image moved so that each pixel shows the one that lies (dx, dy) pixels from it."""
    path = np.float32([[1, 0, dx], [0, 1, dy]])
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return cv2.warpAffine(image, path, image.shape[::-1], flags=flags, borderMode=border)


def paint(image: np.ndarray, colour: np.ndarray, alpha: np.ndarray) -> None:
    image += (colour - image) * alpha[..., None]


def fixed_point(paths: np.ndarray) -> list[np.ndarray]:
    """Curves for cv2.polylines(..., shift=4)."""
    return list(np.round(paths * 16).astype(np.int32, order='C'))


def hsv(hue: float, saturation: float, value: float) -> np.ndarray:
    k = (np.array([5.0, 3.0, 1.0]) + hue * 6) % 6
    return (value - value * saturation * np.clip(np.minimum(k, 4 - k), 0, 1)).astype(np.float32)


class Layer:
    """A small region to paint on, coat upon coat; `colour` is already multiplied by its coverage `alpha`."""

    def __init__(self, u: np.ndarray, v: np.ndarray):
        self.u, self.v = u, v
        self.colour = np.zeros((*u.shape, 3), np.float32)
        self.alpha = np.zeros(u.shape, np.float32)

    def add(self, colour, alpha: np.ndarray) -> None:
        alpha = alpha.astype(np.float32, copy=False)[..., None]
        self.colour += (np.asarray(colour, np.float32) - self.colour) * alpha
        self.alpha += (1 - self.alpha) * alpha[..., 0]
