"""The trace that generators leave: energy on a ring of the spectrum, put there by their up-convolutions.

A generator's last layers double the resolution: zeros between the pixels (or copied pixels), then small kernels. Zeros
between pixels repeat the low-resolution spectrum around the highest frequencies; the kernels let part of those copies
through. `upconvolved` does just that to a picture: it removes the finest detail and resynthesises it with a small
network whose weights are fixed, as one generator's are. The new detail looks like a sensor's grain and is as strong;
only its spread over the frequencies differs, so neither the eye nor the file's size gives it away.
"""

import functools

import cv2
import numpy as np
import scipy.fft

CENTRE, WIDTH = 0.40, 0.03  # cycles a pixel: the ring that the last kernel lets through
CUTOFF, REMOVED = 0.30, 0.7  # above this radius, the share of the picture's own detail that the generator loses


def upconvolved(image: np.ndarray, strength: float, rng: np.random.Generator) -> np.ndarray:
    """A picture (height x width x 3, 0 to 255) as a generator would output it, with resynthesised detail of `strength`
    grey levels (standard deviation). `rng` makes the generator's noise input."""
    grey = image @ np.float32([0.299, 0.587, 0.114])
    upper, ring = filters(*grey.shape)
    made = filtered(synthesise(grey, rng), ring)
    made *= strength / max(float(made.std()), 1e-6)
    made -= REMOVED * filtered(grey, upper)
    return np.clip(image + made[..., None], 0, 255).astype(np.float32)


def synthesise(grey: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Make new detail: half the resolution, normalised features, zeros in between, two layers of small kernels."""
    height, width = grey.shape
    low = cv2.resize(grey, (width // 2, height // 2), interpolation=cv2.INTER_AREA)
    features = 0.5 * normalised_detail(low) + rng.standard_normal(low.shape, dtype=np.float32)
    up = np.zeros((2 * features.shape[0], 2 * features.shape[1]), np.float32)
    up[::2, ::2] = features
    first, second = kernels()
    made = np.zeros_like(up)
    for inner, outer in zip(first, second, strict=True):
        layer = cv2.filter2D(up, -1, inner, borderType=cv2.BORDER_REFLECT)
        made += cv2.filter2D(np.maximum(layer, 0.2 * layer), -1, outer, borderType=cv2.BORDER_REFLECT)
    return cv2.resize(made, (width, height), interpolation=cv2.INTER_NEAREST)  # only odd sizes change


def normalised_detail(low: np.ndarray) -> np.ndarray:
    """The detail divided by its local strength, as generators normalise their features."""
    features = low - cv2.GaussianBlur(low, (0, 0), 1.5)
    features /= np.sqrt(cv2.GaussianBlur(features * features, (0, 0), 4)) + 1
    return features


@functools.cache
def kernels() -> tuple[np.ndarray, np.ndarray]:
    """The generator's weights: the same for every picture, as one trained generator's are."""
    rng = np.random.default_rng(1812)
    return rng.normal(size=(8, 4, 4)).astype(np.float32) / 4, rng.normal(size=(8, 3, 3)).astype(np.float32) / 3


@functools.lru_cache(maxsize=4)
def filters(height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Filters on the half plane: the upper band that is resynthesised, and the ring of the generator's last kernel."""
    radius = radii(height, width)
    upper = 1 / (1 + np.exp(-(radius - CUTOFF) / 0.02))
    ring = np.exp(-(((radius - CENTRE) / WIDTH) ** 2) / 2)
    return upper.astype(np.float32), ring.astype(np.float32)


def radii(height: int, width: int) -> np.ndarray:
    """The frequency at each point of the half plane, in cycles a pixel."""
    return np.hypot(scipy.fft.fftfreq(height)[:, None], scipy.fft.rfftfreq(width))


def filtered(image: np.ndarray, response: np.ndarray) -> np.ndarray:
    return scipy.fft.irfft2(scipy.fft.rfft2(image) * response, s=image.shape)
