"""Fakes made of real faces while a detector trains, so that it meets more traces than its fakes have.

A face is blended into itself with another colour, sharpness, place and seam (the idea of self-blended images, Shiohara
and Yamasaki, 2022), as swaps and splices are; or it goes through an up-convolution, as generators' pictures do.
Python's generator draws, so that a picture's seed decides.
"""

import math
import random
from typing import NamedTuple

import cv2
import numpy as np
from PIL import Image

from forensics.pictures import perturbations
from forensics.pictures.faces import Face


class Spot(NamedTuple):
    """An ellipse in the frame of a face: the origin lies between the eyes, y points to the chin, and the distance
    of the eyes is 1."""

    x: float
    y: float
    width: float
    height: float


SPOTS = {
    'face': [Spot(0, 0.55, 1.15, 1.5)],
    'inner face': [Spot(0, 0.5, 0.9, 1.0)],
    'lower face': [Spot(0, 0.95, 0.9, 0.8)],
    'eyes': [Spot(-0.5, 0, 0.42, 0.3), Spot(0.5, 0, 0.42, 0.3)],
    'one eye': [Spot(0.5, 0, 0.42, 0.3)],
    'nose': [Spot(0, 0.5, 0.36, 0.5)],
    'mouth': [Spot(0, 1.1, 0.6, 0.32)],
}


def made_fake(image: Image.Image, face: Face | None) -> Image.Image:
    """A fake of a real picture. Where no face was found it is looked for in the middle."""
    pixels = np.asarray(image.convert('RGB'), np.float32)
    mask = region(pixels.shape[:2], face or face_in_the_middle(image.size))[..., None]
    if random.random() < 0.3:
        if random.random() < 0.5:
            mask = np.ones_like(mask)
        other = up_convolved(pixels)
    else:
        mask = mask * random.choice((0.5, 0.75, 1, 1, 1))
        other, pixels = moved(changed(pixels)), random.choice((pixels, pixels, compressed(pixels)))
    blended = pixels + mask * (other - pixels)
    return Image.fromarray(np.clip(np.rint(blended), 0, 255).astype(np.uint8))


def face_in_the_middle(size: tuple[int, int]) -> Face:
    width, height = size
    eyes = ((0.38 * width, 0.45 * height), (0.62 * width, 0.45 * height))
    return Face(0.25 * width, 0.2 * height, 0.5 * width, 0.65 * height, 0, eyes)


def region(shape: tuple[int, int], face: Face) -> np.ndarray:
    """One of SPOTS or several, moved and bent a little, with a seam of random width: 1 inside, 0 outside."""
    (x1, y1), (x2, y2) = face.eyes
    apart, angle = max(2.0, math.hypot(x2 - x1, y2 - y1)), math.atan2(y2 - y1, x2 - x1)
    along, down = np.array([math.cos(angle), math.sin(angle)]), np.array([-math.sin(angle), math.cos(angle)])
    names = ['face', random.choice(list(SPOTS))] if random.random() < 0.3 else [random.choice(list(SPOTS))]
    mask = np.zeros(shape, np.float32)
    for spot in [spot for name in names for spot in SPOTS[name]]:
        x, y = spot.x + random.uniform(-0.08, 0.08), spot.y + random.uniform(-0.08, 0.08)
        centre = np.array([x1 + x2, y1 + y2]) / 2 + apart * (x * along + y * down)
        outline = [
            centre
            + apart * random.uniform(0.88, 1.12) * (spot.width * math.cos(t) * along + spot.height * math.sin(t) * down)
            for t in np.linspace(0, 2 * math.pi, 12, endpoint=False)
        ]
        cv2.fillPoly(mask, [np.rint(outline).astype(np.int32)], 1.0)
    soft = cv2.GaussianBlur(mask, (0, 0), apart * random.uniform(0.01, 0.15) + 0.5)
    return soft * mask if random.random() < 0.3 else soft


def changed(pixels: np.ndarray) -> np.ndarray:
    """As if another camera had taken it: other colours, another sharpness, another compression."""
    pixels = pixels * random.uniform(0.92, 1.08) + np.array([random.uniform(-8, 8) for _ in range(3)], np.float32)
    grey = pixels.mean(2, keepdims=True)
    pixels = grey + random.uniform(0.7, 1.3) * (pixels - grey)
    height, width = pixels.shape[:2]
    kind = random.random()
    if kind < 0.35:  # taken from a smaller picture
        factor = random.uniform(0.4, 0.95)
        small = cv2.resize(pixels, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)
        pixels = cv2.resize(small, (width, height), interpolation=random.choice((cv2.INTER_LINEAR, cv2.INTER_CUBIC)))
    elif kind < 0.6:
        pixels = pixels + random.uniform(0.2, 1) * (pixels - cv2.GaussianBlur(pixels, (0, 0), 1.5))
    return compressed(pixels) if random.random() < 0.5 else pixels


def compressed(pixels: np.ndarray) -> np.ndarray:
    image = Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))
    return np.asarray(perturbations.jpeg(image, random.randint(60, 95)), np.float32)


def moved(pixels: np.ndarray) -> np.ndarray:
    """Shifted, turned and scaled by a few percent."""
    height, width = pixels.shape[:2]
    move = cv2.getRotationMatrix2D((width / 2, height / 2), random.uniform(-3, 3), random.uniform(0.95, 1.05))
    move[:, 2] += random.uniform(-0.02, 0.02) * width, random.uniform(-0.02, 0.02) * height
    return cv2.warpAffine(pixels, move, (width, height), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT_101)


def up_convolved(pixels: np.ndarray) -> np.ndarray:
    """Halved, and doubled by a transposed convolution: its kernel treats odd and even pixels differently."""
    height, width = pixels.shape[:2]
    small = cv2.resize(pixels, ((width + 1) // 2, (height + 1) // 2), interpolation=cv2.INTER_AREA)
    spread = np.zeros((2 * small.shape[0], 2 * small.shape[1], 3), np.float32)
    spread[::2, ::2] = small
    row, column = (
        np.array([weight * random.uniform(0.93, 1.07) for weight in random.choice(((1, 3, 3, 1), (0, 1, 1, 0)))])
        for _ in range(2)
    )
    kernel = np.outer(column, row)
    up = cv2.filter2D(spread, -1, 4 * kernel / kernel.sum(), borderType=cv2.BORDER_REFLECT_101)[:height, :width]
    return pixels + random.uniform(0.4, 1) * (up - pixels)
