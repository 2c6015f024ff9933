"""Training on several data sets: mixtures, made fakes, and pictures that were passed on."""

import json
import random
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import draw, make_dataset
from PIL import Image

import detectors
import train_main
from faces_dataset import FacesDataset, RealFacesDataset
from forensics import records
from forensics.data.mixtures import Mixture, MixtureWithMadeFakes
from forensics.pictures import made_fakes
from forensics.pictures.faces import Face
from forensics.pictures.passed_on import PassedOn
from forensics.running.batches import Batches, scores_of
from models import get_spec

FACE = Face(60, 50, 130, 170, 1.0, ((98.0, 110.0), (158.0, 110.0)))


@pytest.fixture(scope='module')
def root(tmp_path_factory) -> Path:
    """Two data sets of other sizes and proportions, and one of real faces to train on only."""
    root = tmp_path_factory.mktemp('mixed')
    make_dataset(root / 'large', 1, {'train': 6, 'val': 3, 'test': 3})
    make_dataset(root / 'small', 2, {'train': 4, 'val': 2, 'test': 2}, size=224)
    (root / 'small' / 'train' / 'fake' / '003.jpg').unlink()
    (root / 'reals' / 'train' / 'real').mkdir(parents=True)
    for number in range(3):
        draw(root / 'reals' / 'train' / 'real' / f'{number}.jpg', np.random.default_rng(number), fake=False, size=200)
    return root


def train_parts(root: Path) -> list[FacesDataset]:
    return [FacesDataset(str(root / name / 'train')) for name in ('large', 'small')]


def test_a_mixture_is_one_data_set_after_the_other(root):
    large, small = train_parts(root)
    mixture = Mixture([large, small])
    assert len(mixture) == 12 + 7
    assert [mixture.label(index) for index in range(19)] == [0] * 6 + [1] * 6 + [0] * 4 + [1] * 3
    assert mixture.image_path(12) == small.image_path(0)
    assert np.array_equal(mixture[18][0], small[6][0])


def test_no_data_sets_name_tells_the_class_in_a_balanced_mixture(root):
    large, small = train_parts(root)
    mixture = Mixture([large, small], balanced=True)
    labels = [mixture.label(index) for index in range(len(mixture))]
    assert mixture.sections == [12, 8]
    assert sum(labels[:12]) == 6 and sum(labels[12:]) == 4
    fakes = [mixture.image_path(index) for index in range(12, 20) if mixture.label(index)]
    assert len(set(fakes)) == 3  # all, one of them twice


def test_pictures_of_several_sizes_are_evaluated_in_batches_of_one_size(root):
    mixture = Mixture(train_parts(root))
    mixture.transform = get_spec('PhotoNet').preprocessing.test_transform()
    sizes = [tuple(inputs.shape) for inputs, _, _ in Batches(mixture, 5, torch.device('cpu'))]
    assert sizes == [(5, 3, 256, 256), (5, 3, 256, 256), (2, 3, 256, 256), (5, 3, 224, 224), (2, 3, 224, 224)]


class AnySize(torch.nn.Module):
    """Scores that tell which picture it was: its mean and its size."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(1))

    def forward(self, x):
        return self.weight * torch.stack([x.mean((1, 2, 3)), torch.full((len(x),), float(x.shape[-1]))], 1)


def test_a_detector_of_every_size_scores_pictures_as_they_are_and_in_their_order(root):
    mixture = Mixture(train_parts(root))
    detector = detectors.NetworkDetector(AnySize(), 'PhotoNet')
    images = [mixture[index][0] for index in (0, 12, 13, 1, 18)]
    outputs = detector.outputs(images, detectors.Doubts())
    assert outputs[:, 1].tolist() == [256, 224, 224, 256, 224]
    mixture.transform = detector.transform
    both_ways = scores_of(AnySize(), mixture)[0][[0, 12, 13, 1, 18]]
    assert np.allclose(outputs, both_ways, atol=1e-6)


# --- fakes made of real faces ------------------------------------------------------------


def picture(size: int = 256, fake: bool = False) -> Image.Image:
    noise = np.random.default_rng(int(fake)).normal(128, 40, (size, size, 3))
    return Image.fromarray(np.clip(noise, 0, 255).astype(np.uint8))


def made(seed: int, image: Image.Image, face: Face | None = FACE) -> np.ndarray:
    random.seed(seed)
    return np.asarray(made_fakes.made_fake(image, face), np.float32)


def test_the_seed_decides_what_fake_is_made():
    image = picture()
    assert np.array_equal(made(3, image), made(3, image))
    assert not np.array_equal(made(3, image), made(4, image))


def test_every_made_fake_differs_from_its_picture_and_has_its_size():
    for size, face in ((256, FACE), (200, None)):
        image = picture(size)
        for seed in range(20):
            changed = np.abs(made(seed, image, face) - np.asarray(image, np.float32)).max(2)
            assert changed.shape == (size, size)
            assert (changed > 2).mean() > 0.001


def test_a_blended_mouth_leaves_the_forehead_and_the_corners(monkeypatch):
    monkeypatch.setattr(made_fakes, 'SPOTS', {'face': made_fakes.SPOTS['mouth'], 'mouth': made_fakes.SPOTS['mouth']})
    mask = made_fakes.region((256, 256), FACE)
    assert mask[110 + 66, 128] > 0.5  # 1.1 eye distances below the eyes
    assert mask[:90].max() < 0.01 and mask[:, :40].max() < 0.01 and mask[:, 216:].max() < 0.01


def test_an_up_convolution_leaves_a_period_of_two_pixels():
    image = np.full((64, 64, 3), 100, np.float32)
    random.seed(1)
    spectrum = np.abs(np.fft.fft2(made_fakes.up_convolved(image)[..., 0]))
    period_two = max(spectrum[32, 0], spectrum[0, 32], spectrum[32, 32])
    assert period_two > 10 * np.median(spectrum) + 1


class Counting(FacesDataset):
    """Remembers which pictures were opened."""

    opened: list = []

    def load(self, index):
        self.opened.append(self.image_path(index))
        return super().load(index)


@pytest.mark.parametrize(('share', 'loads_fakes'), [(0.0, True), (1.0, False)])
def test_made_fakes_take_the_place_of_a_share_of_the_fakes(root, share, loads_fakes):
    dataset = Counting(str(root / 'large' / 'train'))
    dataset.opened.clear()
    mixture = MixtureWithMadeFakes([dataset], share, {})
    items = [mixture[index] for index in range(len(mixture))]
    assert [label for _, label in items] == [0] * 6 + [1] * 6
    assert any('fake' in Path(path).parts for path in dataset.opened) == loads_fakes


def test_real_faces_alone_get_a_made_fake_each(root):
    reals = RealFacesDataset(str(root / 'reals' / 'train'))
    mixture = MixtureWithMadeFakes([reals], 0.5, {})
    assert [mixture[index][1] for index in range(6)] == [0, 0, 0, 1, 1, 1] == [mixture.label(i) for i in range(6)]
    assert 'made of one of' in mixture.image_path(4)
    assert not np.array_equal(mixture[4][0], mixture[1][0])


def test_made_fakes_are_the_same_whatever_the_number_of_workers(root):
    mixture = MixtureWithMadeFakes(train_parts(root), 0.5, {})
    mixture.transform = get_spec('PhotoNet').preprocessing.train_transform(160, 'passed-on')
    passes = [
        torch.cat([x for x, _, _ in Batches(mixture, 4, torch.device('cpu'), shuffle=True, seed=5, workers=workers)])
        for workers in (0, 1)
    ]
    assert torch.equal(*passes)


# --- pictures that were passed on ------------------------------------------------------------


def test_passed_on_pictures_follow_their_seed_are_large_enough_and_half_are_as_they_were():
    changed, image = 0, picture(224)
    for seed in range(60):
        random.seed(seed)
        one = PassedOn(160)(image)
        random.seed(seed)
        assert np.array_equal(one, PassedOn(160)(image))
        assert min(one.size) >= 160
        changed += one.size != image.size or not np.array_equal(one, image)
    assert 15 < changed < 37


def test_a_picture_smaller_than_the_crop_is_mirrored_at_its_edges():
    ramp = np.tile(np.arange(200, dtype=np.uint8), (200, 1))
    square = get_spec('PhotoNet').preprocessing.train_transform(crop=224)(Image.fromarray(ramp).convert('RGB'))
    row = torch.round(255 * (square[0, 0] * 0.5 + 0.5))
    assert square.shape == (3, 224, 224)
    assert (row.diff().abs() == 1).all()  # neither black edges nor stretched pixels
    assert row.diff().min() == -1  # mirrored


# --- the command ------------------------------------------------------------


LINE = '-m', 'PhotoNet', '-b', 8, '-e', 1, '-o', 'AdamW', '--backbone-weights', 'none', '--crop', 128


@pytest.mark.slow
def test_several_data_sets_with_everything(call_main, root):
    status, output, errors = call_main(
        train_main, '-d', 'large', 'small', 'small', 'reals', '--data-root', root, *LINE,
        '--schedule', 'one-cycle', '--average', 0.9, '--augment', 'passed-on', '--self-blend', 0.5,
    )  # fmt: skip
    assert status in (None, 0), errors
    run = records.load_checkpoint('checkpoints/large+small+reals_PhotoNet_AdamW.pt')['run']
    assert run['datasets'] == ['large', 'small', 'reals']
    assert run['data']['train'] | {'datasets': 0} == {'real': 13, 'fake': 9, 'datasets': 0}
    assert run['data']['test']['datasets'].keys() == {'large', 'small'}
    assert run['arguments']['self_blend'] == 0.5
    assert json.loads(Path('out/large+small+reals_PhotoNet_AdamW.json').read_text())[0]['dataset'] == run['dataset']
    kept = list(Path('out/faces').glob('*.json'))
    assert len(kept) == 3
    detector = detectors.load_detector('checkpoints/large+small+reals_PhotoNet_AdamW.pt')
    assert detector.score([picture(200), picture(224)]).shape == (2,)


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (['-d', 'large', 'nowhere'], 'No data set "nowhere"'),
        (['-d', 'reals', '--self-blend', '0.5'], 'has no part "val"'),
        (['-d', 'large', 'small', '--crop', '320'], 'too few for --crop 320'),
        (['-d', 'large', 'reals'], 'fake is missing'),
        (['-d', 'large', '--no-augmentation'], 'give one or the other'),
        (['-d', 'large', '--self-blend', '2'], 'not a share'),
    ],
)
def test_what_cannot_be_trained_on_is_told(arguments, message, call_main, root):
    status, _, errors = call_main(train_main, *LINE, *arguments, '--data-root', root)
    assert status not in (None, 0)
    assert message in errors
