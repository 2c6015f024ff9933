"""Face swaps the way real ones are made: align by landmarks, shrink, warp onto the target, match colours, blend."""

from dataclasses import dataclass

import cv2
import numpy as np

ALIGN_BY = (
    'left_eye', 'right_eye', 'left_eye_outer', 'right_eye_outer', 'nose_tip', 'nose_base', 'mouth_left', 'mouth_right',
    'chin',
)  # fmt: skip


@dataclass(frozen=True)
class SwapQuality:
    """The swapper's quality: the `resolution` of its network in pixels, its blending, and the share of the camera's
    `grain` that it puts back onto the smooth face."""

    resolution: int
    softness: float
    colour: float
    feather: float
    inset: float
    even_light: bool
    grain: float


def random_quality(rng: np.random.Generator) -> SwapQuality:
    return SwapQuality(
        resolution=int(rng.choice([64, 72, 80, 96, 112, 128, 160])),
        softness=float(rng.uniform(0.5, 1.0)),
        colour=float(rng.uniform(0.5, 1.0)),
        feather=float(rng.uniform(0.03, 0.09)),
        inset=float(rng.uniform(0.92, 1.04)),
        even_light=bool(rng.random() < 0.5),
        grain=float(rng.uniform(0.2, 0.9)),
    )


def swap_face(
    target: np.ndarray,
    target_points: dict[str, np.ndarray],
    donor: np.ndarray,
    donor_points: dict[str, np.ndarray],
    quality: SwapQuality,
) -> tuple[np.ndarray, np.ndarray]:
    """Plant the donor's face into the target (both 0 to 255); returns the picture and the blending mask."""
    height, width = target.shape[:2]
    size = quality.resolution
    aligned = np.array([donor_points[name] for name in ALIGN_BY])
    shrink = similarity(aligned, canonical(size))
    # A network of this resolution sees and gives back a small, slightly soft face.
    scale = np.hypot(shrink[0, 0], shrink[1, 0])
    blurred = cv2.GaussianBlur(donor, (0, 0), max(0.4 / scale, 0.3))
    small = cv2.warpAffine(blurred, shrink, (size, size), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    small = cv2.GaussianBlur(small, (0, 0), quality.softness)

    back = affine(transform(shrink, aligned), np.array([target_points[name] for name in ALIGN_BY]))
    face = cv2.warpAffine(small, back, (width, height), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)

    mask = face_mask(target_points['outline'], (height, width), quality)
    solid = mask > 0.5
    face = match_colours(face, target, solid, quality.colour)
    if quality.even_light:
        face = face + membrane(target - face, mask)
    mask = mask[..., None]
    return np.clip(target + (face - target) * mask, 0, 255).astype(np.float32), mask[..., 0]


def canonical(size: int) -> np.ndarray:
    """The aligned face's points, those of a frontal face, in a square of `size` pixels."""
    x = np.array([-0.42, 0.42, -0.62, 0.62, 0, 0, -0.33, 0.33, 0])
    y = np.array([0, 0, 0, 0, 0.48, 0.6, 0.83, 0.83, 1.25])
    return (np.stack([x, y - 0.4], 1) * 0.31 + 0.5) * size


def similarity(source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """The turn, scale and shift (2 x 3) that best takes source to target: least squares in complex numbers."""
    p, q = source[:, 0] + 1j * source[:, 1], target[:, 0] + 1j * target[:, 1]
    p_mean, q_mean = p.mean(), q.mean()
    a = (np.conj(p - p_mean) * (q - q_mean)).sum() / (np.abs(p - p_mean) ** 2).sum()
    b = q_mean - a * p_mean
    return np.array([[a.real, -a.imag, b.real], [a.imag, a.real, b.imag]])


def affine(source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """The affine map (2 x 3) that best takes source to target, by least squares."""
    homogeneous = np.column_stack([source, np.ones(len(source))])
    return np.linalg.solve(homogeneous.T @ homogeneous, homogeneous.T @ target).T


def transform(matrix: np.ndarray, points: np.ndarray) -> np.ndarray:
    return points @ matrix[:, :2].T + matrix[:, 2]


def face_mask(outline: np.ndarray, shape: tuple[int, int], quality: SwapQuality) -> np.ndarray:
    """The outline's hull, shrunk a little and feathered."""
    middle = outline.mean(axis=0)
    hull = middle + (outline - middle) * quality.inset
    extent = float(np.ptp(hull[:, 0]))
    mask = np.zeros(shape, np.uint8)
    cv2.fillPoly(mask, [np.round(hull * 16).astype(np.int32)], 255, cv2.LINE_AA, 4)
    sigma = max(quality.feather * extent, 0.6)
    radius = int(round(sigma)) * 2 + 1
    mask = cv2.erode(mask, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (radius, radius)))
    return cv2.GaussianBlur(mask.astype(np.float32) / 255, (0, 0), sigma)


def match_colours(face: np.ndarray, target: np.ndarray, where: np.ndarray, amount: float) -> np.ndarray:
    """Move each channel's mean and spread towards the target's."""
    if not where.any():
        return face
    mean, spread = face[where].mean(axis=0), face[where].std(axis=0)
    wanted, wanted_spread = target[where].mean(axis=0), target[where].std(axis=0)
    matched = (face - mean) * np.clip(wanted_spread / (spread + 1e-3), 0.5, 2.0) + wanted
    return (face + (matched - face) * np.float32(amount)).astype(np.float32)


def membrane(difference: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """The difference at the seam, spread smoothly over the inside: a first approximation of Poisson blending."""
    seam = (mask * (1 - mask) * 4)[..., None] + np.float32(1e-4)
    sigma = max(np.sqrt(float(mask.sum())) * 0.22, 2.0)
    small = cv2.resize(np.dstack([difference * seam, seam]), None, fx=0.25, fy=0.25, interpolation=cv2.INTER_AREA)
    small = cv2.GaussianBlur(small, (0, 0), sigma / 4)
    wide = cv2.resize(small, mask.shape[::-1], interpolation=cv2.INTER_CUBIC)
    return wide[..., :3] / np.maximum(wide[..., 3:], 1e-4)
