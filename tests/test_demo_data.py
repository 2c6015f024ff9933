"""The demo data: reproducible, in the assignment's layout, without shortcuts, and made of what the card says."""

import hashlib
import json
import math
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import make_demo_data
from forensics.classical.spectrum import azimuthal_spectra
from forensics.data import datasets
from forensics.data.datasets import CLASSES, PARTS
from forensics.drawing import swaps, traces
from forensics.drawing.camera import Camera, capture, encode
from forensics.drawing.faces import draw_face
from forensics.drawing.people import random_moment, random_person
from forensics.errors import UserError

SMALL = ('--train', '6', '--val', '3', '--test', '3', '--size', '96')


def make(folder: Path, *options: str) -> Path:
    make_demo_data.main(['--output', str(folder), *SMALL, *options])
    return folder


def digests(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob('*'))
        if path.is_file()
    }


@pytest.fixture(scope='module')
def small(tmp_path_factory) -> Path:
    return make(tmp_path_factory.mktemp('small'), '--workers', '1')


@pytest.fixture(scope='module')
def medium(tmp_path_factory) -> Path:
    """Enough images for an AuC to mean something. Drawing them is what makes its tests slow."""
    folder = tmp_path_factory.mktemp('medium')
    make_demo_data.main(['-o', str(folder), '--train', '120', '--val', '3', '--test', '48'])
    return folder


# --- the command ------------------------------------------------------------


def test_same_bytes_on_any_number_of_workers(small, tmp_path):
    again = subprocess.run(
        [sys.executable, make_demo_data.__file__, '-o', str(tmp_path), '--workers', '2', *SMALL],
        env={**os.environ, 'OMP_NUM_THREADS': '2'},
        capture_output=True,
        text=True,
    )
    assert again.returncode == 0, again.stderr
    assert digests(tmp_path) == digests(small)


def test_another_seed_gives_other_pictures(small, tmp_path):
    ours, others = digests(small), digests(make(tmp_path, '--seed', '1'))
    assert ours.keys() == others.keys()
    assert not set(ours.values()) & set(others.values())


@pytest.mark.slow
def test_no_two_files_are_the_same(medium):
    hashes = list(digests(medium).values())
    assert len(hashes) == len(set(hashes))


@pytest.mark.parametrize('dataset', make_demo_data.DATASETS)
def test_layout_and_card(small, dataset):
    card = json.loads((small / dataset / 'dataset.json').read_text())
    assert card['class_names'] == list(CLASSES)
    assert (card['seed'], card['size']) == (0, 96)
    assert card['kind'] == {'fakes_dataset': 'swap', 'synthetic_dataset': 'generated'}[dataset]
    assert card['source'] and card['licence'] and card['fake']
    for part in PARTS:
        for label in CLASSES:
            files = list((small / dataset / part / label).iterdir())
            assert len(files) == card['counts'][part][label]
            assert all(Image.open(file).size == (96, 96) for file in files)


def test_default_counts_are_about_those_of_the_course():
    args = make_demo_data.parse_args([])
    counts = make_demo_data.card('fakes_dataset', args)['counts']
    assert counts['train']['real'] == counts['train']['fake'] >= 400
    assert counts['test'] == {'real': 107, 'fake': 53}  # two to one
    assert make_demo_data.card('synthetic_dataset', args)['counts']['test'] == {'real': 50, 'fake': 50}


def test_nobody_is_in_two_parts():
    people = [
        make_demo_data.person_of(0, dataset, part, number)
        for dataset in make_demo_data.DATASETS
        for part in PARTS
        for number in range(60)
    ]
    assert len({(person.looks, person.skin) for person in people}) == len(people)


def test_finished_data_is_left_alone(small, capsys):
    before = {path: path.stat().st_mtime_ns for path in small.rglob('*')}
    make(small)
    assert 'there already' in capsys.readouterr().out
    assert {path: path.stat().st_mtime_ns for path in small.rglob('*')} == before


def test_data_drawn_before_cards_had_a_kind_get_one(small, tmp_path, capsys):
    """They would have been taken for another data set, and their detectors' records for those of other data."""
    shutil.copytree(small, tmp_path, dirs_exist_ok=True)
    for dataset in make_demo_data.DATASETS:
        path = tmp_path / dataset / 'dataset.json'
        card = json.loads(path.read_text())
        with_kind = datasets.fingerprint(tmp_path / dataset / 'test')
        path.write_text(json.dumps({name: value for name, value in card.items() if name != 'kind'}))
        assert datasets.fingerprint(tmp_path / dataset / 'test') == with_kind
        make(tmp_path)
        assert json.loads(path.read_text()) == card
        path.write_text(json.dumps({**card, 'kind': 'my own'}))
        make(tmp_path)
        assert json.loads(path.read_text())['kind'] == 'my own'
    assert capsys.readouterr().out.count('there already') == 8


def test_other_data_is_replaced_only_on_request(tmp_path):
    other = tmp_path / 'fakes_dataset' / 'train' / 'real' / 'mine.jpg'
    other.parent.mkdir(parents=True)
    other.write_bytes(b'mine')
    with pytest.raises(UserError, match='--overwrite'):
        make(tmp_path)
    assert other.read_bytes() == b'mine'
    make(tmp_path, '--overwrite')
    assert not other.exists()


def test_half_a_data_set_is_never_taken_for_a_whole_one(tmp_path, monkeypatch):
    def interrupted(function, tasks, *args, **kwargs):
        function(*tasks[0])
        yield
        raise KeyboardInterrupt

    monkeypatch.setattr(make_demo_data, 'run_all', interrupted)
    with pytest.raises(KeyboardInterrupt):
        make(tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize('options', [['--size', '20'], ['--test', '1'], ['--workers', '0']])
def test_impossible_options_are_refused(options, capsys):
    with pytest.raises(SystemExit):
        make_demo_data.parse_args(options)
    assert options[0] in capsys.readouterr().err


# --- no shortcuts, and the trace that is meant to be there ------------------------------------------------------------


def auc(labels: np.ndarray, scores: np.ndarray) -> float:
    from sklearn.metrics import roc_auc_score

    return roc_auc_score(labels, scores)


def pictures(folder: Path, parts=('train', 'test')) -> tuple[list[Path], np.ndarray]:
    files = [
        (path, label == 'fake') for part in parts for label in CLASSES for path in (folder / part / label).iterdir()
    ]
    return [path for path, _ in files], np.array([fake for _, fake in files])


@pytest.mark.slow
@pytest.mark.parametrize('dataset', make_demo_data.DATASETS)
def test_no_shortcut_gives_the_class_away(medium, dataset):
    paths, labels = pictures(medium / dataset)
    clues = {'file size': [], 'JPEG tables': [], 'width': [], 'EXIF': [], 'red': [], 'green': [], 'blue': []}
    for path in paths:
        with Image.open(path) as image:
            clues['file size'].append(path.stat().st_size)
            clues['JPEG tables'].append(sum(sum(table) for table in image.quantization.values()))
            clues['width'].append(image.size[0] * 1000 + image.size[1])
            clues['EXIF'].append(len(image.getexif()) + len(image.info.get('comment', b'')))
            for name, value in zip(('red', 'green', 'blue'), np.asarray(image).mean(axis=(0, 1)), strict=True):
                clues[name].append(value)
    found = {name: round(auc(labels, values), 3) for name, values in clues.items()}
    assert all(0.4 <= value <= 0.6 for value in found.values()), found


@pytest.mark.slow
def test_linear_classifier_on_the_spectrum_finds_the_synthetic_ones(medium):
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    def spectra(part):
        paths, labels = pictures(medium / 'synthetic_dataset', (part,))
        return azimuthal_spectra([Image.open(path) for path in paths]), labels

    values, labels = spectra('train')
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000)).fit(values, labels)
    values, labels = spectra('test')
    assert auc(labels, model.decision_function(values)) >= 0.95


# --- the parts ------------------------------------------------------------


def scene(seed: int = 3, **changes):
    rng = np.random.default_rng(seed)
    person, moment = random_person(rng), random_moment(rng)
    return person, replace(moment, **changes), rng


def test_drawing_is_a_pure_function_of_its_arguments():
    person, moment, _ = scene()
    one, other = (draw_face(person, moment, np.random.default_rng(0), 128) for _ in range(2))
    assert np.array_equal(one.image, other.image)
    assert one.image.dtype == np.float32 and one.image.shape == (128, 128, 3)
    assert np.isfinite(one.image).all() and one.image.min() >= 0


def test_everybody_can_be_drawn():
    """No combination of hair, beard, glasses, pose and light breaks the drawing."""
    for seed in range(60):
        person, moment, rng = scene(seed)
        picture = draw_face(person, moment, rng, 64)
        assert np.isfinite(picture.image).all(), (person, moment)
        assert picture.image.std() > 0.01


def test_landmarks_follow_the_pose():
    person, moment, _ = scene(yaw=0.0, pitch=0.0, roll=0.2, shift=(0.0, 0.0), zoom=0.3)
    points = draw_face(person, moment, np.random.default_rng(0)).landmarks
    across, down = points['right_eye'] - points['left_eye']
    assert math.atan2(-down, across) == pytest.approx(0.2, abs=0.01)
    assert np.hypot(across, down) == pytest.approx(2 * person.eyes['x'] * 0.3 * 256, rel=0.01)


def test_mask_covers_the_face_and_nothing_else():
    person, moment, _ = scene(yaw=0.0, pitch=0.0, roll=0.0, shift=(0.0, 0.0))
    picture = draw_face(person, moment, np.random.default_rng(0))
    for name in ('left_eye', 'right_eye', 'nose_tip', 'mouth'):
        x, y = picture.landmarks[name].round().astype(int)
        assert picture.mask[y, x] == 1
    assert picture.mask[0].max() == 0 and picture.mask[:, 0].max() == 0


def plain_camera(**changes) -> Camera:
    return Camera(
        **{
            'blur': 0.8, 'exposure': 1.0, 'balance': (1.0, 1.0, 1.0), 'contrast': 0.0, 'vignette': 0.0, 'noise': 0.0,
            'chroma_noise': 0.0, 'quality': 90, **changes,
        }
    )  # fmt: skip


def test_camera_adds_as_much_noise_as_it_says():
    grey = np.full((128, 128, 3), 0.2, np.float32)
    clean = capture(grey, plain_camera(), np.random.default_rng(0))
    noisy = capture(grey, plain_camera(noise=4.0), np.random.default_rng(0))
    assert clean.std() < 1e-3
    assert noisy.std() == pytest.approx(4.0, rel=0.1)


def test_quality_is_the_jpeg_files():
    picture = np.random.default_rng(0).uniform(0, 255, (32, 32, 3))
    assert len(encode(picture, 95)) > len(encode(picture, 80))


def test_trace_lies_on_its_ring_alone():
    rng = np.random.default_rng(0)
    flat = np.full((256, 256, 3), 120, np.float32)
    made = traces.upconvolved(flat, 4.0, rng)
    residue = (made - flat)[..., 0]
    assert residue.std() == pytest.approx(4.0, rel=0.01)
    assert abs(residue.mean()) < 1e-3
    power = np.abs(np.fft.fft2(residue)) ** 2
    radius = np.hypot(np.fft.fftfreq(256)[:, None], np.fft.fftfreq(256))
    on_ring = np.abs(radius - traces.CENTRE) < 3 * traces.WIDTH
    assert power[on_ring].sum() > 0.99 * power.sum()


def test_trace_leaves_what_the_eye_sees():
    person, moment, rng = scene()
    picture = capture(draw_face(person, moment, rng).image, plain_camera(), rng)
    changed = traces.upconvolved(picture, 3.0, rng) - picture
    coarse = changed.reshape(32, 8, 32, 8, 3).mean(axis=(1, 3))
    assert np.abs(coarse).max() < 2


def test_similarity_and_affine_recover_known_maps():
    points = np.random.default_rng(0).normal(size=(9, 2))
    turn = np.array([[1.2, -0.5, 3.0], [0.5, 1.2, -4.0]])
    shear = np.array([[1.2, 0.3, 3.0], [0.1, 0.7, -4.0]])
    assert np.allclose(swaps.similarity(points, swaps.transform(turn, points)) - turn, 0)
    assert np.allclose(swaps.affine(points, swaps.transform(shear, points)) - shear, 0)
    assert not np.allclose(swaps.similarity(points, swaps.transform(shear, points)) - shear, 0)


def test_swap_changes_the_face_and_nothing_else():
    person, moment, rng = scene(yaw=0.0, roll=0.0)
    donor, other, _ = scene(8, yaw=0.0, roll=0.0)
    target, given = draw_face(person, moment, rng), draw_face(donor, other, rng, 192)
    quality = swaps.SwapQuality(
        resolution=96, softness=0.5, colour=1.0, feather=0.05, inset=0.95, even_light=True, grain=0.5
    )
    before = 255 * np.sqrt(target.image.clip(0, 1))
    swapped, mask = swaps.swap_face(
        before, target.landmarks, 255 * np.sqrt(given.image.clip(0, 1)), given.landmarks, quality
    )
    changed = np.abs(swapped - before).max(axis=2)
    assert changed[mask == 0].max() < 1e-3
    assert changed[mask > 0.9].mean() > 3
    assert 0.05 < (mask > 0.5).mean() < 0.5
    for name in ('left_eye', 'right_eye', 'nose_tip', 'mouth'):
        x, y = target.landmarks[name].round().astype(int)
        assert mask[y, x] > 0.9
