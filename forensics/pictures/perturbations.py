"""Perturbations that pictures suffer when they are passed on: JPEG, WebP, blur, scaling, noise.

Each function takes a PIL image, a strength and a seed, and gives a PIL image of the same size. A new one needs an entry
in PERTURBATIONS.
"""

import io
import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageFilter

from forensics.errors import UserError


def jpeg(image: Image.Image, quality: float, seed: int = 0) -> Image.Image:
    """The image saved as JPEG and opened again."""
    return _saved(image, 'JPEG', quality)


def webp(image: Image.Image, quality: float, seed: int = 0) -> Image.Image:
    """The image saved as WebP and opened again."""
    return _saved(image, 'WEBP', quality)


def blur(image: Image.Image, radius: float, seed: int = 0) -> Image.Image:
    """Gaussian blur; `radius` is its standard deviation in pixels."""
    return image.filter(ImageFilter.GaussianBlur(radius)) if radius else image


def rescale(image: Image.Image, factor: float, seed: int = 0) -> Image.Image:
    """The image scaled by `factor` and back, as if it had been stored smaller or larger."""
    size = tuple(max(1, round(factor * side)) for side in image.size)
    if size == image.size:
        return image
    return image.resize(size, Image.Resampling.BICUBIC).resize(image.size, Image.Resampling.BICUBIC)


def noise(image: Image.Image, sigma: float, seed: int = 0) -> Image.Image:
    """Independent Gaussian noise in every pixel and channel; `sigma` is in grey levels of 255."""
    if not sigma:
        return image
    pixels = np.asarray(image.convert('RGB'), dtype=np.float32)
    pixels = pixels + np.random.default_rng(seed).normal(0, sigma, pixels.shape).astype(np.float32)
    return Image.fromarray(np.clip(np.rint(pixels), 0, 255).astype(np.uint8))


def _saved(image: Image.Image, kind: str, quality: float) -> Image.Image:
    buffer = io.BytesIO()
    image.convert('RGB').save(buffer, kind, quality=int(quality))
    buffer.seek(0)
    return Image.open(buffer).convert('RGB')


@dataclass(frozen=True)
class Perturbation:
    apply: Callable[[Image.Image, float, int], Image.Image]
    unit: str
    least: float
    most: float
    severity: Callable[[float], float]  # orders strengths from mild to harsh
    whole: bool = False  # strengths are whole numbers

    def check(self, name: str, strength: float) -> float:
        if not self.least <= strength <= self.most or (self.whole and strength != int(strength)):
            kind = 'a whole number ' if self.whole else ''
            raise UserError(f'{name}:{strength:g}: the {self.unit} is {kind}from {self.least:g} to {self.most:g}.')
        return strength


PERTURBATIONS = {
    'jpeg': Perturbation(jpeg, 'quality', 1, 100, severity=lambda quality: -quality, whole=True),
    'webp': Perturbation(webp, 'quality', 1, 100, severity=lambda quality: -quality, whole=True),
    'blur': Perturbation(blur, 'radius in pixels', 0, 50, severity=float),
    'rescale': Perturbation(rescale, 'factor', 0.02, 8, severity=lambda factor: abs(math.log(factor))),
    'noise': Perturbation(noise, 'standard deviation of 255', 0, 255, severity=float),
}


@dataclass(frozen=True)
class Condition:
    """One perturbation at one strength."""

    name: str
    strength: float

    def __str__(self) -> str:
        return f'{self.name}-{self.strength:g}'

    def __call__(self, image: Image.Image, seed: int = 0) -> Image.Image:
        return PERTURBATIONS[self.name].apply(image, self.strength, seed)


def parse(text: str) -> list[Condition]:
    """'jpeg:30,50,70,90' -> four conditions, the mildest first."""
    name, _, values = text.partition(':')
    if name not in PERTURBATIONS:
        raise UserError(f'No perturbation "{name}". There are {", ".join(PERTURBATIONS)}, as in jpeg:30,50,70,90.')
    try:
        strengths = {float(value) for value in values.split(',')}
    except ValueError as error:
        raise UserError(f'"{text}": strengths are numbers with commas between, as in jpeg:30,50,70,90.') from error
    perturbation = PERTURBATIONS[name]
    checked = [perturbation.check(name, strength) for strength in strengths]
    return [Condition(name, strength) for strength in sorted(checked, key=perturbation.severity)]
