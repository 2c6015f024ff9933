"""Procedural pictures with the statistics of natural ones: light (linear, 0 to 1), to be seen through a camera.

draw_texture(rng, size) is dead leaves, fractal noise, value noise, gradients, edges or fabric, or two of them joined.
"""

import cv2
import numpy as np
import scipy.fft

from forensics.traces import radii


def draw_texture(rng: np.random.Generator, size: int) -> np.ndarray:
    """height x width x 3, float32."""
    picture = draw_one(rng, size)
    if rng.random() < 0.3:  # one thing in front of another
        mask = cv2.GaussianBlur((leaves(rng, size, 6) % 2).astype(np.float32), (0, 0), 0.6)[..., None]
        picture = picture * mask + draw_one(rng, size) * (1 - mask)
    return picture


def draw_one(rng: np.random.Generator, size: int) -> np.ndarray:
    kind = KINDS[rng.choice(len(KINDS), p=SHARES)]
    return np.clip(kind(rng, size), 0, 1).astype(np.float32)


def dead_leaves(rng: np.random.Generator, size: int) -> np.ndarray:
    """Things that hide one another, of every size: what gives photographs their spectrum and their edges."""
    number = int(rng.integers(40, 400))
    label = leaves(rng, size, number)
    surface = fractal(rng, size)[..., :1] - 0.5
    texture = rng.uniform(0, 0.7, number + 1).astype(np.float32) ** 2
    slope = rng.normal(0, 0.3, (2, number + 1)).astype(np.float32)
    y, x = np.mgrid[-0.5 : 0.5 : size * 1j, -0.5 : 0.5 : size * 1j].astype(np.float32)
    shade = 1 + slope[0][label] * x + slope[1][label] * y
    return colours(rng, number + 1)[label] * (shade[..., None] + 2 * texture[label][..., None] * surface)


def leaves(rng: np.random.Generator, size: int, number: int) -> np.ndarray:
    """Which leaf is seen at each pixel: ellipses and polygons, their radii spread by a power law."""
    label = np.zeros((size, size), np.int32)
    radii = size / np.sqrt(rng.uniform(6, 6 + 4 * number, number))
    for index, radius in enumerate(radii, start=1):
        centre, around = rng.uniform(0, size, 2), np.sort(rng.uniform(0, 2 * np.pi, int(rng.integers(3, 9))))
        if rng.random() < 0.6:
            axes = (radius, radius * rng.uniform(0.3, 1))
            shape = cv2.ellipse2Poly(fixed(centre), fixed(axes), int(rng.integers(0, 180)), 0, 360, 12)
        else:
            x, y = centre[0] + radius * np.cos(around), centre[1] + radius * np.sin(around)
            shape = np.stack([fixed(x), fixed(y)], 1)
        cv2.fillPoly(label, [np.asarray(shape, np.int32)], index, cv2.LINE_8, 4)
    return label


def fixed(values) -> tuple[int, ...]:
    """OpenCV's coordinates in sixteenths of a pixel."""
    return tuple(int(round(16 * value)) for value in values)


def fractal(rng: np.random.Generator, size: int) -> np.ndarray:
    """Noise whose amplitude falls as a power of the frequency."""
    radius = radii(size, size).astype(np.float32)
    radius[0, 0] = 1
    fall = radius ** -np.float32(rng.uniform(0.7, 2.2))
    waves = scipy.fft.rfft2(rng.standard_normal((3, size, size), dtype=np.float32)) * fall
    noise = scipy.fft.irfft2(waves, s=(size, size))
    noise /= noise.std(axis=(1, 2), keepdims=True) + 1e-6
    mix = np.float32(rng.uniform(0.6, 1))  # natural colours go together
    noise = mix * noise[:1] + (1 - mix) * noise
    return tinted(rng, noise.transpose(1, 2, 0))


def value_noise(rng: np.random.Generator, size: int) -> np.ndarray:
    """Random grids, each finer and weaker than the one before."""
    noise = np.zeros((size, size, 3), np.float32)
    cells, strength, fade = int(rng.integers(2, 6)), 1.0, rng.uniform(0.4, 0.8)
    while cells < size:
        grid = rng.standard_normal((cells, cells, 3), dtype=np.float32)
        grid = 0.7 * grid[..., :1] + 0.3 * grid  # natural colours go together
        noise += np.float32(strength) * cv2.resize(grid, (size, size), interpolation=cv2.INTER_CUBIC)
        cells, strength = cells * 2, strength * fade
    return tinted(rng, noise)


def gradients(rng: np.random.Generator, size: int) -> np.ndarray:
    """Skies, walls and skin out of focus."""
    corners = colours(rng, 9).reshape(3, 3, 3)
    return cv2.resize(corners, (size, size), interpolation=cv2.INTER_CUBIC)


def edges(rng: np.random.Generator, size: int) -> np.ndarray:
    """Buildings: half planes, bars and stripes with sharp borders."""
    y, x = np.mgrid[0 : 1 : size * 1j, 0 : 1 : size * 1j].astype(np.float32)
    picture = gradients(rng, size)
    for _ in range(int(rng.integers(3, 12))):
        angle, offset = rng.uniform(0, np.pi), rng.uniform(-0.5, 1.5)
        along = (x * np.cos(angle) + y * np.sin(angle) - offset).astype(np.float32)
        if rng.random() < 0.4:
            along = np.sin(along * rng.uniform(5, 0.7 * size))
        mask = np.clip(along * size * 0.7 + 0.5, 0, 1)[..., None] * np.float32(rng.uniform(0.3, 1))
        picture = picture + (colours(rng, 1)[0] - picture) * mask
    return picture


def fabric(rng: np.random.Generator, size: int) -> np.ndarray:
    """Threads over and under one another, a little irregular."""
    y, x = np.mgrid[0:size, 0:size].astype(np.float32)
    bend = 4 * (cv2.resize(rng.standard_normal((4, 4, 2)), (size, size), interpolation=cv2.INTER_CUBIC))
    angle, pitch = rng.uniform(0, np.pi), rng.uniform(3, 16)
    u = ((x + bend[..., 0]) * np.cos(angle) + (y + bend[..., 1]) * np.sin(angle)) * (np.pi / pitch)
    v = ((y + bend[..., 1]) * np.cos(angle) - (x + bend[..., 0]) * np.sin(angle)) * (np.pi / pitch)
    over = np.sign(np.sin(u / 2) * np.sin(v / 2))
    relief = np.where(over > 0, np.abs(np.sin(u)), np.abs(np.sin(v))) ** rng.uniform(0.3, 1.5)
    threads = np.where(over[..., None] > 0, *colours(rng, 2))
    return threads * (rng.uniform(0.2, 0.8) + 0.6 * relief[..., None]) * (0.7 + 0.6 * value_noise(rng, size)[..., :1])


def colours(rng: np.random.Generator, number: int) -> np.ndarray:
    """Natural colours: brightness varies most, and greys are commoner than pure colours."""
    light = np.exp(rng.normal(-1.4, 0.8, (number, 1)))
    return np.clip(light * np.exp(rng.normal(0, 0.25, (number, 3))), 0.005, 1).astype(np.float32)


def tinted(rng: np.random.Generator, noise: np.ndarray) -> np.ndarray:
    """Noise around 0 -> light around a colour."""
    return colours(rng, 1)[0] * np.exp(np.float32(rng.uniform(0.2, 0.8)) * noise)


KINDS = (dead_leaves, fractal, value_noise, gradients, edges, fabric)
SHARES = (0.4, 0.15, 0.1, 0.05, 0.15, 0.15)
