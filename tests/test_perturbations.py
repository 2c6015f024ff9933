"""Perturbations: seeded, of the same size, and nothing at all at strength zero."""

import io

import numpy as np
import pytest
from PIL import Image

from forensics.errors import UserError
from forensics.pictures import perturbations
from forensics.pictures.perturbations import PERTURBATIONS, Condition, parse

STRENGTHS = {'jpeg': 20, 'webp': 20, 'blur': 2, 'rescale': 0.5, 'noise': 10}
NOTHING = {'blur': 0, 'rescale': 1, 'noise': 0}  # JPEG has no such quality


@pytest.fixture
def picture() -> Image.Image:
    """Grain and edges, oblong, so that sizes cannot be mixed up."""
    rng = np.random.default_rng(0)
    pixels = rng.integers(60, 200, (48, 64, 3), dtype=np.uint8)
    pixels[10:20, 30:50] = 20
    return Image.fromarray(pixels)


def difference(a: Image.Image, b: Image.Image) -> float:
    return float(np.abs(np.asarray(a, dtype=float) - np.asarray(b, dtype=float)).mean())


@pytest.mark.parametrize('name', PERTURBATIONS)
def test_size_and_mode_stay_and_the_picture_changes(name, picture):
    before = picture.copy()
    changed = Condition(name, STRENGTHS[name])(picture, seed=1)
    assert (changed.size, changed.mode) == (picture.size, 'RGB')
    assert difference(changed, picture) > 1
    assert difference(picture, before) == 0, 'the original was changed'


@pytest.mark.parametrize(('name', 'strength'), NOTHING.items())
def test_strength_zero_changes_nothing(name, strength, picture):
    assert difference(Condition(name, strength)(picture), picture) == 0


@pytest.mark.parametrize('name', PERTURBATIONS)
def test_the_same_seed_gives_the_same_picture(name, picture):
    condition = Condition(name, STRENGTHS[name])
    assert difference(condition(picture, 5), condition(picture, 5)) == 0
    assert (difference(condition(picture, 5), condition(picture, 6)) > 0) == (name == 'noise')


def test_harsher_means_farther_from_the_original(picture):
    for text in ('jpeg:10,50,90', 'blur:1,2,4', 'rescale:0.25,0.5,0.75', 'noise:5,10,20'):
        distances = [difference(condition(picture), picture) for condition in parse(text)]
        assert distances == sorted(distances), text


def test_known_answers():
    flat = Image.new('RGB', (256, 256), (128, 128, 128))
    assert difference(perturbations.blur(flat, 3), flat) == 0
    assert difference(perturbations.rescale(flat, 0.3), flat) == 0
    noisy = np.asarray(perturbations.noise(flat, 8), dtype=float)
    assert noisy.mean() == pytest.approx(128, abs=0.1) and noisy.std() == pytest.approx(8, abs=0.1)


def test_noise_is_clipped_and_does_not_wrap_round():
    """Defect: 250 + 10 as a byte is 4."""
    white = Image.new('RGB', (64, 64), 'white')
    assert np.asarray(perturbations.noise(white, 10)).min() > 150


def test_jpeg_is_what_pillow_saves(picture):
    buffer = io.BytesIO()
    picture.save(buffer, 'JPEG', quality=30)
    assert difference(perturbations.jpeg(picture, 30), Image.open(buffer)) == 0


def test_grey_pictures_are_taken():
    grey = Image.new('L', (32, 32), 90)
    assert perturbations.jpeg(grey, 50).mode == perturbations.noise(grey, 2).mode == 'RGB'


def test_parse_orders_from_mild_to_harsh_and_drops_repetitions():
    assert [condition.strength for condition in parse('jpeg:30,90,50,30')] == [90, 50, 30]
    assert [condition.strength for condition in parse('rescale:0.25,2,0.9')] == [0.9, 2, 0.25]
    assert [str(condition) for condition in parse('blur:2,0.5')] == ['blur-0.5', 'blur-2']


@pytest.mark.parametrize(
    ('text', 'message'),
    [
        ('fog:1', 'No perturbation "fog". There are jpeg, webp, blur'),
        ('jpeg', 'strengths are numbers'),
        ('jpeg:30;50', 'strengths are numbers'),
        ('jpeg:0', 'quality is a whole number from 1 to 100'),
        ('jpeg:30.5', 'whole number'),
        ('blur:-1', 'from 0 to 50'),
        ('rescale:0', 'factor is from 0.02'),
        ('noise:nan', 'from 0 to 255'),
    ],
)
def test_parse_says_what_is_wrong(text, message):
    with pytest.raises(UserError, match=message):
        parse(text)
