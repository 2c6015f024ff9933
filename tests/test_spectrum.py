"""The azimuthal spectrum: equal to the textbook loop, and what it does and does not see."""

import numpy as np
import pytest
from PIL import Image, ImageOps
from scipy.interpolate import griddata

from benchmarks import spectrum_speed
from benchmarks.spectrum_speed import textbook_spectrum
from forensics.classical.spectrum import VARIANTS, azimuthal_spectra, azimuthal_spectrum, log_amplitude, ring_averages
from forensics.errors import UserError


def noise(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width)).astype(np.uint8)


def plain_corrected(grey: np.ndarray, n: int) -> np.ndarray:
    """The corrected variant in the most obvious way: a loop over rings of the whole plane."""
    amplitude = 20 * np.log(np.abs(np.fft.fftshift(np.fft.fft2(grey)) + 1e-8))
    y, x = np.indices(grey.shape)
    radii = np.hypot(y - grey.shape[0] // 2, x - grey.shape[1] // 2).astype(int)
    profile = np.array([amplitude[radii == radius].mean() for radius in range(radii.max() + 1)])
    values = griddata(np.linspace(0, n, len(profile)), profile, np.linspace(0, n, n), method='cubic')
    return values / values[0]


# Both parities of each side decide where the zero frequency lies and which pixels the half plane lacks.
@pytest.mark.parametrize('size', [(256, 256), (255, 255), (64, 64), (40, 51), (51, 40), (33, 64), (12, 12)])
def test_equal_to_the_textbook_loop(size):
    grey = noise(*size)
    np.testing.assert_allclose(azimuthal_spectrum(grey), textbook_spectrum(grey), atol=1e-6, rtol=0)
    np.testing.assert_allclose(azimuthal_spectrum(grey, 100), textbook_spectrum(grey, 100), atol=1e-6, rtol=0)
    corrected = azimuthal_spectrum(grey, 100, 'corrected')
    np.testing.assert_allclose(corrected, plain_corrected(grey, 100), atol=1e-6, rtol=0)


def test_equal_to_the_textbook_loop_on_a_picture():
    """Smooth pictures have a spectrum of many orders of magnitude, flat ones have zeros in it."""
    ramp = np.add.outer(np.arange(128.0), np.arange(128.0))
    disc = Image.fromarray((np.hypot(*np.indices((128, 128)) - 60) < 40).astype(np.uint8) * 200)
    for grey in (ramp, np.asarray(disc), np.full((128, 128), 7), np.zeros((128, 128))):
        np.testing.assert_allclose(azimuthal_spectrum(grey), textbook_spectrum(grey), atol=1e-6, rtol=0)


def test_a_ring_shows_at_its_radius():
    """The corrected rings are frequencies: noise is amplified at 32 to 33 periods a picture."""
    frequencies = np.hypot(*np.meshgrid(np.fft.fftfreq(128) * 128, np.fft.fftfreq(128) * 128))
    gain = np.where((frequencies >= 32) & (frequencies < 33), 5, 1)
    grey = np.fft.ifft2(np.fft.fft2(noise(128, 128)) * gain).real
    profile = ring_averages(128, 128, 'corrected') @ log_amplitude(grey).ravel()
    assert np.argmax(profile[1:]) + 1 == 32
    assert profile[32] - profile[[31, 33]].max() == pytest.approx(20 * np.log(5), abs=2)


def test_published_loses_the_first_and_the_last_radius():
    """Radii 0 to 180 of a 256x256 picture are 181; the published procedure keeps 179 of them."""
    assert ring_averages(256, 256, 'published').shape[0] == 179
    assert ring_averages(256, 256, 'corrected').shape[0] == 182  # its centre is farther from one corner


@pytest.mark.parametrize('variant', VARIANTS)
def test_shape_first_value_and_batch(variant):
    colour = Image.fromarray(noise(64, 64, 2)).convert('RGB')
    images = [noise(64, 64), Image.fromarray(noise(48, 48, 1)), colour]
    spectra = azimuthal_spectra(images, 50, variant)
    assert spectra.shape == (3, 50)
    assert np.all(spectra[:, 0] == 1)
    for row, image in zip(spectra, images, strict=True):
        np.testing.assert_array_equal(row, azimuthal_spectrum(image, 50, variant))
    assert azimuthal_spectra([], 50, variant).shape == (0, 50)


def test_why_a_flip_cannot_change_a_spectrum():
    """A flip mirrors the amplitudes, and a ring holds the mirrored pixel as well: the lab report's
    augmentation could not help.

    The published variant does change where the size is even, but for nothing that the picture tells: its
    rings are half a pixel off, and the flip shifts the amplitudes within them. With an odd size they are
    centred, and nothing changes.
    """
    image = Image.fromarray(noise(128, 128))
    amplitude = np.abs(np.fft.fft2(image))
    for flip in (ImageOps.mirror, ImageOps.flip):
        mirrored = np.abs(np.fft.fft2(flip(image)))
        axis = 1 if flip is ImageOps.mirror else 0
        np.testing.assert_allclose(mirrored, np.roll(np.flip(amplitude, axis), 1, axis), rtol=1e-9, atol=1e-6)

        before, after = (azimuthal_spectrum(picture, variant='corrected') for picture in (image, flip(image)))
        np.testing.assert_allclose(before, after, atol=1e-9)
        assert not np.allclose(azimuthal_spectrum(image), azimuthal_spectrum(flip(image)), atol=1e-3)
        odd = image.crop((0, 0, 127, 127))
        np.testing.assert_allclose(azimuthal_spectrum(odd), azimuthal_spectrum(flip(odd)), atol=1e-9)
    # A turn by 180 degrees is both flips: the amplitudes are the same ones, in either variant.
    np.testing.assert_allclose(azimuthal_spectrum(image), azimuthal_spectrum(image.rotate(180)), atol=1e-9)


def test_too_small_or_not_grey():
    with pytest.raises(UserError, match='6x6 pixels is too small'):
        azimuthal_spectrum(noise(6, 6))
    with pytest.raises(ValueError, match='grey image'):
        azimuthal_spectrum(np.zeros((8, 8, 3)))
    with pytest.raises(ValueError, match='choose from published, corrected'):
        azimuthal_spectrum(noise(64, 64), variant='other')


def test_speed_report_compares_equal_things():
    images = np.stack([noise(128, 128, seed).astype(float) for seed in range(3)])
    result = spectrum_speed.compare(images, rounds=1)
    assert result['difference'] < 1e-6
    assert result['ratio'] == pytest.approx(result['ours'] / result['textbook'])
