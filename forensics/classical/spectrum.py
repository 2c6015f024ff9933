"""The azimuthal power spectrum: how an image's energy is spread over its frequencies, as a short curve.

Grey image -> DFT -> log amplitude -> mean of each ring of radii -> resampled to n values -> divided by the
first. The method is that of Durall et al., "Unmasking DeepFakes with simple Features" (arXiv 1911.00686).
Two variants:

published   bin for bin what its authors computed. Their rings lie around the middle of the spectrum's
            picture, ((w - 1) / 2, (h - 1) / 2), which for even sizes is half a pixel off the zero frequency,
            and they lose the first and the last radius. It is the default, so that figures compare with
            theirs.
corrected   rings around the zero frequency, none lost.
"""

import functools
from collections.abc import Iterable

import numpy as np
from PIL import Image

from forensics.errors import UserError

VARIANTS = ('published', 'corrected')
LENGTH = 300
EPSILON = 1e-8  # the authors' guard against log(0), added to the complex spectrum


def azimuthal_spectrum(image: Image.Image | np.ndarray, n: int = LENGTH, variant: str = 'published') -> np.ndarray:
    """n values from the lowest to the highest frequency; the first is 1."""
    grey = np.asarray(image.convert('L') if isinstance(image, Image.Image) else image, dtype=np.float64)
    if grey.ndim != 2:
        raise ValueError(f'a grey image (height, width) is expected, not an array of shape {grey.shape}')
    rings = ring_averages(*grey.shape, variant)
    profile = rings @ log_amplitude(grey).ravel()
    values = resampling(len(profile), n) @ profile
    return values / values[0]


def azimuthal_spectra(
    images: Iterable[Image.Image | np.ndarray], n: int = LENGTH, variant: str = 'published'
) -> np.ndarray:
    """One row an image. The images may differ in size: the spectrum is resampled, never the image."""
    return np.array([azimuthal_spectrum(image, n, variant) for image in images]).reshape(-1, n)


def log_amplitude(grey: np.ndarray) -> np.ndarray:
    """20 ln |F + epsilon| on one half plane; the other half holds the conjugates."""
    from scipy.fft import rfft2  # SciPy is a tenth of a script's start, and most scripts compute no spectrum

    spectrum = rfft2(grey)  # twice as fast as NumPy's
    spectrum += EPSILON
    amplitude = np.abs(spectrum)
    np.log(amplitude, out=amplitude)
    amplitude *= 20
    return amplitude


@functools.lru_cache(maxsize=8)
def ring_averages(height: int, width: int, variant: str):
    """The sparse matrix that takes the half plane (raveled) to the mean of each ring of the whole plane.

    The rings are laid on the whole, shifted plane, whose pixels are then looked up in the half plane. A
    pixel and its opposite through the zero frequency share a value but not always a ring: the published
    variant's rings have another centre. So a value of the half plane may count in two rings.
    """
    from scipy.sparse import coo_array

    if variant not in VARIANTS:
        raise ValueError(f'unknown variant "{variant}": choose from {", ".join(VARIANTS)}')
    y, x = np.indices((height, width))
    zero_y, zero_x = height // 2, width // 2  # where fftshift puts the zero frequency
    centre = ((height - 1) / 2, (width - 1) / 2) if variant == 'published' else (zero_y, zero_x)
    radii = np.hypot(y - centre[0], x - centre[1]).astype(int)

    row, column = (y - zero_y) % height, (x - zero_x) % width  # where the DFT has this pixel's frequency
    missing = column > width // 2
    row = np.where(missing, -row % height, row)  # |F(-u, -v)| = |F(u, v)|, and so with a real epsilon added
    column = np.where(missing, width - column, column)

    _, ring, size = np.unique(radii, return_inverse=True, return_counts=True)
    ring = ring.ravel()
    half_plane = (row * (width // 2 + 1) + column).ravel()
    shape = len(size), height * (width // 2 + 1)
    means = coo_array((1 / size[ring], (ring, half_plane)), shape).tocsr()
    means = means[1:-1] if variant == 'published' else means
    if means.shape[0] < 4:  # a cubic spline's least number of points
        raise UserError(f'An image of {width}x{height} pixels is too small for a spectrum: take one of 16x16.')
    return means


@functools.lru_cache(maxsize=32)
def resampling(rings: int, n: int) -> np.ndarray:
    """The matrix that evaluates the cubic spline through the rings at n points.

    A spline is linear in the values it goes through, so the matrix holds the splines through the unit vectors.
    """
    from scipy.interpolate import make_interp_spline

    spline = make_interp_spline(np.linspace(0, n, rings), np.eye(rings), k=3)
    return spline(np.linspace(0, n, n))
