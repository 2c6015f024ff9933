"""What pictures go through before someone looks at them, and the traces that this leaves: what a backbone for forensics
is taught to tell apart.

TRACES maps a trace's name to trace(image, strength, rng): an image of 0 to 255 in floats (height x width x 3), a
strength from 0 (faint) to 1 (plain), and the image after it. SPLICES are applied inside a region of an image only.
HELD_OUT are never trained on: they tell whether what was learned serves for traces that nobody thought of.
"""

import io

import cv2
import numpy as np
from PIL import Image

from forensics.camera import Camera, capture, encode, to_bytes
from forensics.traces import filtered, normalised_detail, radii

GREY = np.float32([0.299, 0.587, 0.114])


# --- cameras -----------------------------------------------------------------


def photograph(light: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """One exposure by any camera: wider ranges than the demo's cameras have, and often a real mosaic of colours."""
    warm = rng.normal(0, 0.1)
    camera = Camera(
        blur=float(rng.uniform(0.3, 1.3)),
        exposure=float(np.exp(rng.normal(0, 0.3))),
        balance=(float(np.exp(warm)), 1.0, float(np.exp(-warm))),
        contrast=float(rng.uniform(0, 0.6)),
        vignette=float(rng.uniform(0, 0.3)),
        noise=float(rng.uniform(0.3, 6.5)),
        chroma_noise=float(rng.uniform(0, 2)),
        quality=95,
    )
    image = capture(light, camera, rng)
    return demosaiced(image, rng) if rng.random() < 0.4 else image


def demosaiced(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Seen through a colour filter array, the missing colours filled in."""
    height, width = image.shape[0] // 2 * 2, image.shape[1] // 2 * 2
    pixels = to_bytes(image)[:height, :width]
    mosaic = pixels[..., 1].copy()
    mosaic[::2, ::2], mosaic[1::2, 1::2] = pixels[::2, ::2, 0], pixels[1::2, 1::2, 2]
    how = (cv2.COLOR_BayerBG2RGB, cv2.COLOR_BayerBG2RGB_VNG, cv2.COLOR_BayerBG2RGB_EA)[rng.integers(3)]
    filled = cv2.cvtColor(mosaic, how).astype(np.float32)
    return cv2.copyMakeBorder(filled, 0, image.shape[0] - height, 0, image.shape[1] - width, cv2.BORDER_REPLICATE)


def compressed(image: np.ndarray, quality: float, subsampling: int) -> np.ndarray:
    """Through a JPEG file."""
    return np.asarray(Image.open(io.BytesIO(encode(image, int(quality), subsampling))), dtype=np.float32)


# --- bands of the spectrum ---------------------------------------------------


def gain(image, strength, rng):
    """More of one band of radii."""
    return in_band(image, ring(image, rng), np.exp(between(0.3, 1.6, strength)) - 1)


def loss(image, strength, rng):
    """Less of one band of radii."""
    return in_band(image, ring(image, rng), -between(0.2, 0.9, strength))


def cut(image, strength, rng):
    """Next to nothing above a radius: what generators fail to make."""
    edge = between(0.42, 0.2, strength)
    return in_band(image, 1 / (1 + np.exp(-(frequencies(image) - edge) / 0.02)), -rng.uniform(0.6, 1))


def in_band(image: np.ndarray, response: np.ndarray, change: float) -> np.ndarray:
    part = filtered(image @ GREY, response)
    return image + np.float32(change) * part[..., None].astype(np.float32)


def frequencies(image: np.ndarray) -> np.ndarray:
    return radii(*image.shape[:2]).astype(np.float32)


def ring(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return np.exp(-(((frequencies(image) - rng.uniform(0.12, 0.5)) / rng.uniform(0.02, 0.07)) ** 2) / 2)


# --- up-convolutions ---------------------------------------------------------


def zero_insertion(image, strength, rng):
    return resynthesised(image, strength, rng, zeros_between)


def pixel_shuffle(image, strength, rng):
    """Each of the four phases has a kernel of its own."""

    def shuffled(low, rng):
        up = np.empty((2 * low.shape[0], 2 * low.shape[1]), np.float32)
        for y in (0, 1):
            for x in (0, 1):
                up[y::2, x::2] = cv2.filter2D(low, -1, kernel(rng, 3, 0.35))
        return up

    return resynthesised(image, strength, rng, shuffled)


def nearest(image, strength, rng):
    return resynthesised(image, strength, rng, lambda low, rng: enlarged(low, cv2.INTER_NEAREST))


def bilinear(image, strength, rng):
    return resynthesised(image, strength, rng, lambda low, rng: enlarged(low, cv2.INTER_LINEAR))


def resynthesised(image, strength, rng, up) -> np.ndarray:
    """The detail that half the resolution lacks, made anew by an up-convolution from half the resolution."""
    height, width = image.shape[0] // 2 * 2, image.shape[1] // 2 * 2
    grey = (image @ GREY)[:height, :width]
    low = cv2.resize(grey, (width // 2, height // 2), interpolation=cv2.INTER_AREA)
    made = cv2.filter2D(up(low, rng), -1, kernel(rng, int(rng.choice([3, 4, 5])), 0.4))
    return mixed(image, made, between(0.25, 1, strength))


def generator(image, strength, rng):
    """A small random network: noise and normalised features in, one or two doublings, small kernels, a leaky ReLU
    between them; its output takes the place of the picture's own detail, as strong as that was."""
    height, width = image.shape[0] // 4 * 4, image.shape[1] // 4 * 4
    grey = (image @ GREY)[:height, :width]
    doublings = int(rng.integers(1, 3))
    low = cv2.resize(grey, (width >> doublings, height >> doublings), interpolation=cv2.INTER_AREA)
    features = rng.uniform(0.2, 1) * normalised_detail(low) + rng.standard_normal(low.shape, dtype=np.float32)
    double = (zeros_between, lambda low, rng: enlarged(low, cv2.INTER_NEAREST),
              lambda low, rng: enlarged(low, cv2.INTER_LINEAR))[rng.integers(3)]  # fmt: skip
    for _ in range(doublings):
        maps = double(features, rng)
        features = sum(
            cv2.filter2D(np.maximum(layer, 0.2 * layer), -1, kernel(rng, 3, 1))
            for layer in (cv2.filter2D(maps, -1, kernel(rng, int(rng.integers(3, 6)), 1)) for _ in range(4))
        )
    detail = features - cv2.GaussianBlur(features, (0, 0), rng.uniform(0.7, 1.5))
    own = grey - cv2.GaussianBlur(grey, (0, 0), 1)
    detail *= (own.std() + 1) / max(float(detail.std()), 1e-6)
    share = between(0.2, 0.9, strength)
    out = image.copy()
    out[:height, :width] += (share * (detail - own))[..., None]
    return out


def zeros_between(low: np.ndarray, rng) -> np.ndarray:
    up = np.zeros((2 * low.shape[0], 2 * low.shape[1]), np.float32)
    up[::2, ::2] = 4 * low
    return cv2.blur(up, (2, 2)) if rng.random() < 0.5 else cv2.GaussianBlur(up, (0, 0), rng.uniform(0.7, 1.1))


def enlarged(low: np.ndarray, how: int) -> np.ndarray:
    return cv2.resize(low, None, fx=2, fy=2, interpolation=how)


def kernel(rng: np.random.Generator, size: int, spread: float) -> np.ndarray:
    """Random weights around a kernel that leaves a picture as it is."""
    weights = rng.normal(0, spread / size, (size, size))
    weights[size // 2, size // 2] += 1
    return (weights / max(abs(weights.sum()), 0.3)).astype(np.float32)


def mixed(image: np.ndarray, grey: np.ndarray, share: float) -> np.ndarray:
    """The picture, its brightness taken in part from `grey`, which may be a row or a column smaller."""
    height, width = grey.shape
    out = image.copy()
    out[:height, :width] += (share * (grey - (image @ GREY)[:height, :width]))[..., None]
    return out


# --- what editors and platforms do -------------------------------------------


def shrunk_and_enlarged(image, strength, rng):
    """What is left after a smaller version: faces from networks of low resolution."""
    factor = between(0.85, 0.35, strength)
    size = tuple(max(8, round(side * factor)) for side in image.shape[1::-1])
    small = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    return cv2.resize(small, image.shape[1::-1], interpolation=interpolation(rng))


def enlarged_a_little(image, strength, rng):
    return warped(image, between(1.03, 1.9, strength), 0.0, rng)


def reduced(image, strength, rng):
    """Smaller than it was; mirrored at the border to keep the size."""
    return warped(image, between(0.97, 0.6, strength), 0.0, rng)


def rotated(image, strength, rng):
    return warped(image, 1.0, rng.choice([-1, 1]) * between(0.5, 15, strength), rng)


def warped(image, scale: float, degrees: float, rng) -> np.ndarray:
    centre = (image.shape[1] / 2 + rng.uniform(-1, 1), image.shape[0] / 2 + rng.uniform(-1, 1))
    matrix = cv2.getRotationMatrix2D(centre, degrees, scale)
    return cv2.warpAffine(
        image, matrix, image.shape[1::-1], flags=interpolation(rng), borderMode=cv2.BORDER_REFLECT_101
    )


def interpolation(rng: np.random.Generator) -> int:
    return int(rng.choice([cv2.INTER_LINEAR, cv2.INTER_CUBIC, cv2.INTER_LANCZOS4]))


def blurred(image, strength, rng):
    return cv2.GaussianBlur(image, (0, 0), between(0.4, 2, strength))


def sharpened(image, strength, rng):
    detail = image - cv2.GaussianBlur(image, (0, 0), rng.uniform(0.6, 2))
    return image + np.float32(between(0.3, 2, strength)) * detail


def denoised(image, strength, rng):
    """Smooth where it was nearly so, edges left: beauty filters and phones."""
    smooth = cv2.bilateralFilter(image, 5, between(8, 40, strength), 2)
    return image + np.float32(between(0.5, 1, strength)) * (smooth - image)


def noisy(image, strength, rng):
    """Independent noise in every pixel and channel, which no camera gives out."""
    return image + rng.standard_normal(image.shape, dtype=np.float32) * np.float32(between(1.5, 9, strength))


def grainy(image, strength, rng):
    """Coarse grain, as film simulations add it."""
    grain = cv2.GaussianBlur(rng.standard_normal(image.shape[:2], dtype=np.float32), (0, 0), rng.uniform(0.8, 1.6))
    return image + (grain * np.float32(between(2, 9, strength) / grain.std()))[..., None]


def saved_twice(image, strength, rng):
    """A JPEG before the last one, its blocks elsewhere most of the time."""
    y, x = rng.integers(0, 8, 2)
    moved = np.roll(image, (-y, -x), (0, 1))
    return np.roll(compressed(moved, between(88, 40, strength), int(rng.choice([0, 2]))), (y, x), (0, 1))


def remosaiced(image, strength, rng):
    return image + np.float32(between(0.5, 1, strength)) * (demosaiced(image, rng) - image)


def stretched(image, strength, rng):
    """Contrast and gamma after rounding: gaps in the histogram."""
    values = np.clip(np.rint(image), 0, 255) / 255
    power = np.exp(rng.choice([-1, 1]) * between(0.08, 0.4, strength))
    return np.rint(255 * values**power).astype(np.float32)


def posterised(image, strength, rng):
    step = between(2, 10, strength)
    return (np.rint(image / step) * step).astype(np.float32)


def colour_shifted(image, strength, rng):
    """The channels do not lie on one another."""
    out = image.copy()
    for channel in (0, 2):
        move = np.float32([[1, 0, 0], [0, 1, 0]])
        move[:, 2] = rng.choice([-1, 1], 2) * between(0.2, 1.2, strength)
        out[..., channel] = cv2.warpAffine(
            image[..., channel], move, image.shape[1::-1], flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101
        )
    return out


def untouched(image, strength, rng):
    return image


# --- held out ------------------------------------------------------------------


def checkerboard(image, strength, rng):
    """A faint pattern of two pixels' period, in proportion to the brightness."""
    y, x = np.indices(image.shape[:2])
    pattern = np.where((x + y) % 2, 1, -1).astype(np.float32) * np.float32(between(0.02, 0.08, strength))
    return image * (1 + pattern[..., None])


def median(image, strength, rng):
    """Mixed with its own median filter."""
    filtered = cv2.medianBlur(to_bytes(image), 3).astype(np.float32)
    return image + np.float32(between(0.4, 1, strength)) * (filtered - image)


def between(faint: float, plain: float, strength: float) -> float:
    return faint + (plain - faint) * strength


TRACES = {
    'untouched': untouched,
    'gain': gain,
    'loss': loss,
    'cut': cut,
    'zero_insertion': zero_insertion,
    'pixel_shuffle': pixel_shuffle,
    'nearest': nearest,
    'bilinear': bilinear,
    'generator': generator,
    'shrunk_and_enlarged': shrunk_and_enlarged,
    'enlarged': enlarged_a_little,
    'reduced': reduced,
    'rotated': rotated,
    'blurred': blurred,
    'sharpened': sharpened,
    'denoised': denoised,
    'noisy': noisy,
    'grainy': grainy,
    'saved_twice': saved_twice,
    'remosaiced': remosaiced,
    'stretched': stretched,
    'posterised': posterised,
    'colour_shifted': colour_shifted,
}
HELD_OUT = {'checkerboard': checkerboard, 'median': median}

# What the planted region went through; 'foreign' nothing but another camera.
SPLICES = {
    'splice_shrunk': ('shrunk_and_enlarged', 'blurred', 'enlarged', 'rotated'),
    'splice_smooth': ('denoised', 'cut', 'loss'),
    'splice_noisy': ('noisy', 'grainy', 'sharpened'),
    'splice_saved': ('saved_twice',),
    'splice_generated': ('generator', 'nearest', 'bilinear', 'zero_insertion', 'pixel_shuffle'),
    'splice_foreign': ('untouched',),
}
FAMILIES = {
    'untouched': ('untouched',),
    'bands': ('gain', 'loss', 'cut'),
    'up-convolutions': ('zero_insertion', 'pixel_shuffle', 'nearest', 'bilinear', 'generator'),
    'resampling': ('shrunk_and_enlarged', 'enlarged', 'reduced', 'rotated'),
    'filters': ('blurred', 'sharpened', 'denoised', 'colour_shifted'),
    'noise': ('noisy', 'grainy', 'remosaiced'),
    'compression': ('saved_twice', 'stretched', 'posterised'),
    'splices': tuple(SPLICES),
}
CLASSES = (*TRACES, *SPLICES)


def by_family(names: list[str], hits: list[bool]) -> dict[str, float]:
    """Per cent of hits among the pictures of each family; `names` are their histories."""
    members = {family: np.isin(names, kinds) for family, kinds in FAMILIES.items()}
    return {family: 100 * float(np.mean(hits, where=chosen)) for family, chosen in members.items() if chosen.any()}


def apply_trace(name: str, image: np.ndarray, other: np.ndarray, strength: float, rng: np.random.Generator):
    """The image after the trace; of a splice, with a region of `other` planted, after a trace of its own."""
    if name not in SPLICES:
        return ({**TRACES, **HELD_OUT})[name](image, strength, rng)
    inside = TRACES[str(rng.choice(SPLICES[name]))](other, 0.3 + 0.7 * strength, rng)
    mask = region(image.shape[:2], rng)[..., None]
    shift = (image.mean(axis=(0, 1)) - inside.mean(axis=(0, 1))) * np.float32(rng.uniform(0.5, 1))
    return image + (inside + shift - image) * mask


def region(shape: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """An oval or a polygon in the middle part, feathered."""
    height, width = shape
    mask = np.zeros(shape, np.uint8)
    centre = (width * rng.uniform(0.35, 0.65), height * rng.uniform(0.35, 0.65))
    axes = (width * rng.uniform(0.18, 0.42), height * rng.uniform(0.18, 0.42))
    if rng.random() < 0.7:
        cv2.ellipse(mask, (centre, (2 * axes[0], 2 * axes[1]), rng.uniform(0, 180)), 255, -1)
    else:
        around = np.sort(rng.uniform(0, 2 * np.pi, 7))
        points = np.stack([centre[0] + axes[0] * np.cos(around), centre[1] + axes[1] * np.sin(around)], 1)
        cv2.fillPoly(mask, [points.astype(np.int32)], 255)
    return cv2.GaussianBlur(mask.astype(np.float32) / 255, (0, 0), rng.uniform(0.5, 0.04 * height))
