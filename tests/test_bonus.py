"""The bonus evaluation, as a grader calls it and as a command."""

import json
import sys

import numpy as np
import pytest
import torch
from conftest import make_dataset

import bonus_main
from bonus_model import BonusNet
from forensics import records
from forensics.judging import scoring
from utils import get_nof_params


@pytest.fixture
def bonus(workdir, monkeypatch):
    """An untrained network in the place of the shipped one."""
    torch.manual_seed(0)
    model = BonusNet().eval()
    monkeypatch.setattr(bonus_main, 'my_bonus_model', lambda: model)
    return model


def test_graders_call_gives_the_pair(bonus, monkeypatch, capsys):
    """A grader calls main() inside a program that has arguments of its own."""
    monkeypatch.setattr(sys, 'argv', ['pytest', '--no-such-option', 'x'])
    test_accuracy, nof_parameters = bonus_main.main()
    assert nof_parameters == get_nof_params(bonus)
    assert 0 <= test_accuracy <= 100 and test_accuracy * 12 / 100 == pytest.approx(round(test_accuracy * 12 / 100))
    printed = capsys.readouterr().out
    assert 'AuC' in printed and 'always "real": 50.00%' in printed and f'{nof_parameters:,}' in printed


def test_record_agrees_with_the_pair(bonus, workdir, monkeypatch):
    monkeypatch.setattr(bonus_main, 'OUTPUT_DIR', 'their out')
    test_accuracy, nof_parameters = bonus_main.main()
    record = json.loads((workdir / 'their out' / 'bonus.json').read_text())
    assert (record['accuracy'], record['parameters']) == (test_accuracy, nof_parameters)
    assert record['score'] == pytest.approx(scoring.bonus_score(100 * record['auc'], nof_parameters))


def test_a_perfect_and_a_wrong_order(bonus, monkeypatch):
    """Known answer: the accuracy follows the two scores, the AuC their difference."""
    labels = np.array([0, 0, 1, 1])
    first, second = np.array([[1.0, 0], [3, 2], [0, 1], [5, 4]]).T  # differences -1, -1, 1, -1
    monkeypatch.setattr(bonus_main.detectors.NetworkDetector, 'score_dataset', lambda *_: (first, second, labels))
    assert bonus_main.main()[0] == 75
    assert records.read_json('out/bonus.json')['auc'] == pytest.approx(0.75)


def test_one_class_only(bonus, workdir, tiny_root, capsys):
    root = workdir / 'other root'
    (root / 'fakes_dataset' / 'test' / 'fake').mkdir(parents=True)
    (root / 'fakes_dataset' / 'test' / 'real').symlink_to(tiny_root / 'fakes_dataset' / 'test' / 'real')
    bonus_main.main(['--data-root', str(root)])
    assert 'undefined: both classes are needed' in capsys.readouterr().out
    assert records.read_json('out/bonus.json')['score'] is None


def test_own_command_line_is_checked():
    with pytest.raises(SystemExit):
        bonus_main.main(['--no-such-option'])


def test_as_a_process(run_script, workdir):
    records.save_checkpoint('checkpoints/bonus.pt', {'model': BonusNet().state_dict()})
    assert 'score:' in run_script('bonus_main.py').stdout


def test_images_of_another_size_are_refused(call_main, workdir):
    make_dataset(workdir / 'data' / 'fakes_dataset', counts={'test': 1}, size=200)
    status, _, said = call_main(bonus_main, '--data-root', workdir / 'data')
    assert status == 1 and '200x200 pixels' in said
