"""A camera: linear light in, a noisy picture of 0 to 255 out, and its JPEG file.

random_camera(rng) gives a camera and its setting; capture(light, camera, rng) takes one exposure. Real and fake
pictures pass through the same cameras, so that nothing but the manipulation tells them apart.
"""

import io
from dataclasses import dataclass

import cv2
import numpy as np
from PIL import Image

DEMOSAIC = 0.55  # blur that demosaicing leaves, in pixels


@dataclass(frozen=True)
class Camera:
    """One camera at one setting; `blur` in pixels, `noise` in grey levels of a mid tone, `quality` of the JPEG."""

    blur: float
    exposure: float
    balance: tuple[float, float, float]
    contrast: float
    vignette: float
    noise: float
    chroma_noise: float
    quality: int


def random_camera(rng: np.random.Generator) -> Camera:
    warm, green = rng.normal(0, 0.07), rng.normal(0, 0.02)
    return Camera(
        blur=float(rng.uniform(0.65, 1.1)),
        exposure=float(np.exp(rng.normal(0, 0.22))),
        balance=(float(np.exp(warm)), float(np.exp(green)), float(np.exp(-warm))),
        contrast=float(rng.uniform(0.0, 0.5)),
        vignette=float(rng.uniform(0, 0.3)),
        noise=float(rng.uniform(2.5, 5.5)),
        chroma_noise=float(rng.uniform(0.5, 2.0)),
        quality=int(rng.integers(80, 96)),
    )


def capture(light: np.ndarray, camera: Camera, rng: np.random.Generator) -> np.ndarray:
    """Expose `light` (height x width x 3, linear); gives float32 from 0 to 255, not yet rounded."""
    height, width = light.shape[:2]
    image = cv2.GaussianBlur(light, (0, 0), camera.blur)
    # Meter the middle of the frame, as portrait cameras do.
    middle = image[height // 4 : 3 * height // 4, width // 4 : 3 * width // 4]
    image *= np.float32(0.24 * camera.exposure / max(float(middle.mean()), 0.02))
    y, x = np.linspace(-1, 1, height, dtype=np.float32), np.linspace(-1, 1, width, dtype=np.float32)
    image *= (1 - np.float32(camera.vignette / 2) * (y[:, None] ** 2 + x**2))[..., None]
    image *= np.array(camera.balance, np.float32)
    image = tone(image, camera.contrast) * 255

    # Shot noise grows with the light, the tone curve then flattens it: about even over the tones, less in highlights.
    grain = sensor_grain((height, width), camera.noise, rng)
    grain *= 1.15 - image[..., 1] * np.float32(0.5 / 255)
    colour = rng.standard_normal((height // 2, width // 2, 3), dtype=np.float32) * np.float32(camera.chroma_noise)
    image += grain[..., None] + cv2.resize(colour, (width, height), interpolation=cv2.INTER_LINEAR)
    return np.clip(image, 0, 255)


def sensor_grain(shape: tuple[int, int], noise: float, rng: np.random.Generator) -> np.ndarray:
    """Grain of `noise` grey levels; filling in the colours between the sensor's dots (demosaicing) smooths it a bit."""
    grain = cv2.GaussianBlur(rng.standard_normal(shape, dtype=np.float32), (0, 0), DEMOSAIC)
    return grain * np.float32(noise * 2 * DEMOSAIC * np.sqrt(np.pi))


def tone(linear: np.ndarray, contrast: float = 0.0) -> np.ndarray:
    """Light to display values, 0 to 1: a shoulder for the highlights, the sRGB curve, and an S-curve of `contrast`."""
    linear = np.maximum(linear, 0)
    linear = np.where(linear > 0.55, 1 - 0.45 * np.exp(-(linear - 0.55) / 0.45), linear)
    values = np.where(linear < 0.0031308, 12.92 * linear, 1.055 * np.power(linear, np.float32(1 / 2.4)) - 0.055)
    return values + np.float32(contrast) * (values * values * (3 - 2 * values) - values)


def to_bytes(image: np.ndarray) -> np.ndarray:
    """0 to 255 in floats -> rounded uint8."""
    return np.clip(image + 0.5, 0, 255).astype(np.uint8)


def encode(image: np.ndarray, quality: int, subsampling: int = -1) -> bytes:
    """The bytes of a picture (0 to 255) as a JPEG file without EXIF."""
    buffer = io.BytesIO()
    Image.fromarray(to_bytes(image)).save(buffer, 'JPEG', quality=quality, subsampling=subsampling)
    return buffer.getvalue()
