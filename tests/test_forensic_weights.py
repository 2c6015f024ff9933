"""benchmarks/forensic_weights.py: the data sets that it draws, and its record."""

from functools import partial

import cv2
import numpy as np
import pytest
import torch

import make_demo_data as demo
from benchmarks import forensic_weights
from forensics.camera import to_bytes
from forensics.histories import CLASSES, FAMILIES

PEOPLE = 3


def fakes(row, number=3):
    """(the row's fakes, the demo's)"""
    pictures = []
    for name in (row, 'demo'):
        for index in range(number):
            rng = demo.stream(0, 'synthetic_dataset', 'test', 'fake', index)
            person = demo.person_of(0, 'synthetic_dataset', 'test', index % PEOPLE)
            pictures.append(forensic_weights.draw_fake(name, person, rng)[0])
    return pictures[:number], pictures[number:]


def high_frequencies(image):
    spectrum = np.abs(np.fft.fft2(image @ np.float32([0.299, 0.587, 0.114])))
    return np.hypot(*np.meshgrid(np.fft.fftfreq(256), np.fft.fftfreq(256))), spectrum


def test_the_demo_row_is_the_demo_data(tmp_path):
    path = tmp_path / 'train' / 'fake' / '00003.jpg'
    forensic_weights.write_picture(path, 'demo', 'train', 'fake', 3, PEOPLE)
    assert path.read_bytes() == demo.draw_picture(0, 'synthetic_dataset', 'train', 'fake', 3, PEOPLE, 256)


def test_half_a_trace_lies_between_none_and_the_whole():
    ring = []
    for half, whole in zip(*fakes('half'), strict=True):
        energies = []
        for image in (half, whole):
            radius, spectrum = high_frequencies(image)
            on, off = (spectrum[np.abs(radius - r) < 0.02].mean() for r in (0.40, 0.48))
            energies.append(on / off)
        ring.append(energies)
    assert all(1.05 < half < whole for half, whole in ring), ring


def test_faint_traces_are_as_faint_as_they_are_called():
    """Defect: the test had no upper bound and did not look at the median."""
    for index in range(3):
        person = demo.person_of(0, 'synthetic_dataset', 'test', index)
        photograph, checkerboard, median, fainter_checkerboard, fainter_median = (
            draw(person, demo.stream(0, 'synthetic_dataset', 'test', 'fake', index))[0]
            for draw in (
                forensic_weights.draw_real,
                *(partial(forensic_weights.draw_fake, row) for row in forensic_weights.HELD_OUT),
            )
        )
        pattern = checkerboard - photograph
        assert np.allclose(np.abs(pattern), 0.032 * photograph, atol=1e-3)
        assert np.allclose(fainter_checkerboard - photograph, 0.011 / 0.032 * pattern, atol=1e-3)
        _, spectrum = high_frequencies(pattern)
        assert spectrum.argmax() == 128 * 256 + 128  # every second pixel in both directions

        filtered = cv2.medianBlur(to_bytes(photograph), 3) - photograph
        assert np.allclose(median - photograph, 0.52 * filtered, atol=1e-3)
        assert np.allclose(fainter_median - photograph, 0.16 * filtered, atol=1e-3)
        assert np.abs(filtered).mean() > 0.5


class GreyBlocks:
    """Pictures whose grey level is their class."""

    def __init__(self, recipe, seed):
        self.seed = seed

    def __getitem__(self, number):
        classes = np.random.default_rng([self.seed, number]).integers(len(CLASSES), size=64)
        return np.tile(classes[:, None, None, None], (1, 8, 8, 3)).astype(np.uint8), classes, None


@pytest.mark.parametrize('blind', [(), FAMILIES['splices'], CLASSES], ids=['sees all', 'blind to splices', 'blind'])
def test_traces_are_named_by_whoever_sees_them(blind, monkeypatch):
    """Features that give the class away name every trace; those of what they are blind to tell no more than chance."""
    rng = np.random.default_rng(0)

    def look(pictures):
        levels = [picture.getpixel((0, 0))[0] for picture in pictures]
        seen = [rng.integers(len(CLASSES)) if CLASSES[level] in blind else level for level in levels]
        return np.eye(len(CLASSES))[seen] + rng.normal(0, 0.01, (len(seen), len(CLASSES)))

    monkeypatch.setattr(forensic_weights, 'frozen', lambda weights, size: look)
    monkeypatch.setattr(forensic_weights, 'Blocks', GreyBlocks)
    named = forensic_weights.name_traces('forensic', 0)
    assert set(named['by_family']) == set(FAMILIES)
    for family, names in FAMILIES.items():
        assert named['by_family'][family] < 25 if names[0] in blind else named['by_family'][family] > 70
    assert named['accuracy'] == 100 if not blind else named['accuracy'] < 90


@pytest.mark.parametrize('row', ['demo', 'fakes_dataset', 'probe-fakes_dataset', 'probe-half', 'traces'])
def test_a_second_start_does_only_what_is_missing(row, call_main, monkeypatch, tmp_path):
    calls = []

    def measured(args, row, weights, seed):
        calls.append((row, weights, seed))
        if row in forensic_weights.PROBES:
            return {'auc': 0.5 + seed / 10}
        if row == 'traces':
            return {'accuracy': 30.0 + seed, 'by_family': {'bands': 40.0 + seed}}
        epochs = [{'auc': 0.9, 'accuracy': 80.0 + seed}, {'auc': 0.95, 'accuracy': 90.0 + seed}]
        return {'epochs': epochs, 'kept': 1}

    monkeypatch.setattr(forensic_weights, 'measure', measured)
    line = ['--rows', row, '--weights', 'forensic', 'none', '--photographs', '.', '--seeds', 0]
    call_main(forensic_weights, *line)
    assert calls == [(row, 'forensic', 0), (row, 'none', 0)]
    _, output, _ = call_main(forensic_weights, *line, 2, 4)
    assert calls[2:] == [(row, weights, seed) for weights in ('forensic', 'none') for seed in (2, 4)]
    probe = row in forensic_weights.PROBES
    cells = '0.700 (0.500 to 0.900)' if probe else '0.900 (0.900 to 0.900) | 82.0 (80.0 to 84.0)'
    if row == 'traces':
        cells = ' | 32.0 (30.0 to 34.0) | bands 42 (40 to 44)'
    (line_of_table,) = (text for text in output.splitlines() if text.startswith(f'| {row}, forensic'))
    assert f'| 3 | {cells}' in line_of_table

    with monkeypatch.context() as patch:
        patch.setattr(forensic_weights.runtime, 'device', lambda: torch.device('cuda'))
        patch.setattr(torch.backends.cudnn, 'allow_tf32', True)
        del calls[:]
        _, output, _ = call_main(forensic_weights, *line)
        assert calls == [(row, 'forensic', 0), (row, 'none', 0)]  # what another kind of device says is missing
        assert not torch.backends.cudnn.allow_tf32
    tables = [text for text in output.splitlines() if text.startswith(f'| {row}, forensic')]
    assert [', cuda |' in text for text in tables] == [False, True]

    weights = tmp_path / 'weights.safetensors'
    weights.write_bytes(b'other weights')
    monkeypatch.setattr(forensic_weights, 'FORENSIC_WEIGHTS', weights)
    del calls[:]
    call_main(forensic_weights, *line)
    assert calls == [(row, 'forensic', 0)]


def test_weights_that_are_not_there_are_named(call_main):
    status, _, error = call_main(forensic_weights, '--rows', 'demo', '--weights', 'nowhere.pt', '--seeds', 0)
    assert status == 1 and 'nowhere.pt' in error
