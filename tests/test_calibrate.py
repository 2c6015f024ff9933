"""Temperature, threshold and band, with known answers, and the command that stores them."""

from pathlib import Path

import numpy as np
import pytest
import torch

import calibrate
import detectors
import train_main
from forensics import records
from forensics.judging import calibration, scoring


def drawn(temperature: float, count: int = 20_000) -> tuple[np.ndarray, np.ndarray]:
    """Labels that follow the probabilities of logits which are `temperature` times too large."""
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 2, count)
    labels = (rng.uniform(size=count) < 1 / (1 + np.exp(-logits))).astype(int)
    return labels, temperature * logits


@pytest.mark.parametrize('temperature', [0.5, 1, 3])
def test_the_temperature_of_overconfident_outputs_is_found(temperature):
    assert calibration.fit_temperature(*drawn(temperature)) == pytest.approx(temperature, rel=0.05)


def test_the_temperature_takes_the_calibration_error_away():
    labels, logits = drawn(4)
    temperature = calibration.fit_temperature(labels, logits)
    before, after = (scoring.values(labels, own, 0.0)['calibration_error'] for own in (logits, logits / temperature))
    assert before > 0.1 and after < 0.02


def test_no_source_has_more_false_alarms_than_allowed():
    rng = np.random.default_rng(1)
    labels = np.repeat([0, 0, 1], 100)
    sources = np.repeat(['easy', 'hard', 'easy'], 100)
    probabilities = np.concatenate([rng.uniform(0, 0.3, 100), rng.uniform(0.2, 0.9, 100), rng.uniform(0.5, 1, 100)])
    threshold = calibration.fit_threshold(labels, probabilities, sources, 0.05)
    called = probabilities >= threshold
    assert called[100:200].sum() == 5  # the lowest that holds for the hard source
    assert called[:100].sum() == 0


def test_a_threshold_is_not_below_one_half():
    assert calibration.fit_threshold(np.array([0, 1]), np.array([0.1, 0.9]), ['a', 'a'], 0.0) == 0.5


def test_all_equal_scores_are_not_called_fake():
    labels, probabilities = np.repeat([0, 1], 10), np.full(20, 0.7)
    threshold = calibration.fit_threshold(labels, probabilities, ['a'] * 20, 0.05)
    assert not (probabilities >= threshold).any()


def test_outside_the_band_the_allowed_share_is_wrong_and_inside_it_more():
    rng = np.random.default_rng(2)
    labels = rng.integers(0, 2, 5000)
    probabilities = np.clip(rng.normal(0.35 + 0.3 * labels, 0.15), 0, 1)
    low, high = calibration.fit_band(labels, probabilities, 0.5, 0.05)
    assert 0 < low < 0.5 < high < 1
    said_real, said_fake = labels[probabilities <= low], labels[probabilities >= high]
    assert said_real.mean() == pytest.approx(0.05, abs=0.005)
    assert 1 - said_fake.mean() == pytest.approx(0.05, abs=0.005)


def test_scores_that_say_nothing_give_no_answer():
    labels = np.arange(1000) % 2
    probabilities = np.random.default_rng(3).uniform(size=1000)
    low, high = calibration.fit_band(labels, probabilities, 0.5, 0.001)
    assert np.mean((probabilities <= low) | (probabilities >= high)) < 0.05


def test_perfect_scores_need_no_band():
    low, high = calibration.fit_band(np.array([0, 0, 1, 1]), np.array([0.1, 0.4, 0.6, 0.9]), 0.5, 0.05)
    assert (low, high) == (0.4, 0.6)


def test_the_command_stores_what_holds_on_validation_and_scores_change_by_the_temperature(call_main):
    call_main(train_main, '-d', 'fakes_dataset', '-m', 'BonusNet', '-b', 8, '-e', 1, '-o', 'Adam')
    path = 'checkpoints/fakes_dataset_BonusNet_Adam.pt'
    before = detectors.load_network(path)
    part = detectors.open_part('fakes_dataset', 'test', before.preprocessing)
    raw = before.outputs_of(part)[0]
    for _ in range(2):  # calibrating again starts from the network, not from the last temperature
        status, output, errors = call_main(calibrate, '-cpp', path)
        assert status in (None, 0), errors
        assert 'temperature' in output and '| fakes_dataset |' in output
        stored = records.load_checkpoint(path)['run']['calibration']
        after = detectors.load_network(path)
        assert np.allclose(after.outputs_of(part)[0], raw / stored['temperature'], atol=1e-6)
        assert after.threshold == stored['threshold'] >= 0.5
    assert torch.equal(before.model.fc.weight, after.model.fc.weight)
    assert stored['chosen_on']['fakes_dataset']['fingerprint']


def test_a_calibrated_checkpoint_is_written_elsewhere_and_scores_alike(call_main):
    call_main(train_main, '-d', 'fakes_dataset', '-m', 'BonusNet', '-b', 8, '-e', 1, '-o', 'Adam')
    path = Path('checkpoints/fakes_dataset_BonusNet_Adam.pt')
    before = path.read_bytes()
    status, _, errors = call_main(calibrate, '-cpp', path, '-o', 'mine.safetensors')
    assert status in (None, 0), errors
    assert path.read_bytes() == before
    call_main(calibrate, '-cpp', path)
    part = detectors.open_part('fakes_dataset', 'test', detectors.load_network(path).preprocessing)
    outputs = [detectors.load_detector(own).outputs_of(part)[0] for own in (path, 'mine.safetensors')]
    assert np.array_equal(*outputs)
    assert detectors.load_detector('mine.safetensors').threshold == detectors.load_network(path).threshold


def test_one_logit_and_two_scores_give_the_same_fit():
    labels, logits = drawn(2, 500)
    one, two = logits[:, None], np.stack([0 * logits, logits], 1)
    assert calibrate.fit({'a': (one, labels)}, 0.05, 0.05) == calibrate.fit({'a': (two, labels)}, 0.05, 0.05)


def test_a_checkpoint_without_its_data_set_asks_for_one(call_main, tmp_path):
    torch.save({'model': {}, 'run': {'model': 'BonusNet'}}, tmp_path / 'x.pt')
    status, _, errors = call_main(calibrate, '-cpp', tmp_path / 'x.pt')
    assert status not in (None, 0) and 'x.pt' in errors
