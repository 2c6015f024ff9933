"""--teacher: a network learns from labels and from another detector's answers to the same pictures."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import make_dataset
from PIL import Image
from test_detectors import save_network
from test_trainer import make_trainer
from torch import nn

import detectors
import train_main
from forensics import records
from forensics.errors import UserError
from models import MODELS, Preprocessing

OTHER = Preprocessing(mean=(0.5, 0.4, 0.3), std=(0.5, 0.6, 0.7), any_size=True)


@pytest.fixture(autouse=True)
def scratch(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)


def half(inputs: torch.Tensor) -> torch.Tensor:
    return torch.full((len(inputs),), 0.5)


def weights_after_an_epoch(**options) -> torch.Tensor:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Dropout(0.2), nn.Linear(4, 2))
    make_trainer(model, **options).train_one_epoch()
    return model[1].weight.detach()


def test_a_teacher_without_a_share_changes_nothing():
    alone = weights_after_an_epoch()
    assert torch.equal(weights_after_an_epoch(teacher=half, teacher_share=0), alone)
    assert not torch.allclose(weights_after_an_epoch(teacher=half, teacher_share=0.5), alone, atol=1e-3)


@pytest.mark.parametrize('nof_scores', [1, 2])
def test_who_equals_the_teacher_learns_nothing_from_it(nof_scores):
    model = nn.Linear(4, nof_scores)
    criterion = nn.BCEWithLogitsLoss() if nof_scores == 1 else nn.CrossEntropyLoss()

    def own_answers(inputs: torch.Tensor) -> torch.Tensor:
        outputs = model(inputs).detach()
        return outputs.sigmoid()[:, 0] if nof_scores == 1 else outputs.softmax(dim=1)[:, 1]

    before = model.weight.detach().clone()
    trainer = make_trainer(model, criterion, teacher=own_answers, teacher_share=1)
    trainer.train_one_epoch()
    assert torch.allclose(model.weight, before, atol=1e-6)
    trainer.teacher = half
    trainer.train_one_epoch()
    assert not torch.allclose(model.weight, before, atol=1e-2)


def test_the_gradient_is_that_of_the_divergence():
    outputs = torch.randn(8, 2, requires_grad=True)
    p_fake = torch.rand(8)
    trainer = make_trainer(teacher=lambda inputs: p_fake)
    trainer._loss_to_teacher(outputs, torch.zeros(8, 4)).backward()
    found, outputs.grad = outputs.grad, None
    probabilities = torch.stack([1 - p_fake, p_fake], dim=1)
    nn.functional.kl_div(outputs.log_softmax(dim=1), probabilities, reduction='batchmean').backward()
    torch.testing.assert_close(found, outputs.grad, atol=1e-6, rtol=1e-5)


# --- the pictures that the teacher gets ------------------------------------------------------------


def noise(size: int) -> list[Image.Image]:
    rng = np.random.default_rng(0)
    return [Image.fromarray(rng.integers(0, 256, (size, size, 3), dtype=np.uint8)) for _ in range(3)]


@pytest.mark.parametrize('preprocessing', [Preprocessing(), OTHER])
def test_pictures_come_back_from_the_inputs_made_of_them(preprocessing):
    images = noise(64)
    inputs = torch.stack([preprocessing.test_transform()(image) for image in images])
    for image, found in zip(images, preprocessing.pictures(inputs), strict=True):
        assert np.array_equal(np.asarray(image), np.asarray(found))


@pytest.mark.parametrize('name', ['PhotoNet', 'CustomCNN'])
def test_the_teacher_normalises_as_it_is_used_to(name):
    """CustomCNN also scales every picture, as it does whenever it is asked."""
    path = save_network('teacher.pt', name, {'model': name})
    images = noise(64)
    inputs = torch.stack([OTHER.test_transform()(image) for image in images])
    assert MODELS[name].preprocessing.mean != OTHER.mean
    teacher = detectors.Teacher(path, OTHER, crop=64)
    np.testing.assert_allclose(teacher(inputs), detectors.load_detector(path).score(images), atol=1e-6)


@pytest.mark.parametrize('kind', ['pt', 'onnx'])
def test_a_teacher_that_would_have_to_scale_is_refused(kind, exported_bonus):
    teacher = exported_bonus.with_suffix(f'.{kind}')
    with pytest.raises(UserError, match='cannot teach on pictures of 128x128 pixels.*leave --crop out'):
        detectors.Teacher(teacher, Preprocessing(), crop=128)
    answers = detectors.Teacher(teacher, Preprocessing())(torch.zeros(2, 3, 256, 256))
    assert answers.shape == (2,) and 0 < answers[0] < 1


@pytest.mark.parametrize(('crop', 'expected'), [(64, 3), (None, 9)])
def test_a_teacher_is_asked_once_about_a_whole_picture(crop, expected, monkeypatch):
    """Of shifted ones (no crop) hardly any comes twice. The answers are the same, beside whichever others it stands."""
    own = Preprocessing(size=64)
    path = save_network('teacher.pt', 'PhotoNet', {'model': 'PhotoNet'})
    inputs = torch.stack([own.test_transform()(image) for image in noise(64)])
    teacher = detectors.Teacher(path, own, crop)
    asked, score = [], teacher.detector.score
    monkeypatch.setattr(teacher.detector, 'score', lambda images: asked.extend(images) or score(images))
    *_, answers = (teacher(inputs) for _ in range(3))
    assert len(asked) == expected
    np.testing.assert_allclose(answers, detectors.load_detector(path).score(noise(64)), atol=1e-6)
    if crop:
        assert torch.equal(detectors.Teacher(path, own, crop)(inputs[1:]), answers[1:])


# --- the command ------------------------------------------------------------

LINE = ['-d', 'own', '-m', 'MyNet', '-e', 1, '-b', 4, '-o', 'Adam']
BEST = 'checkpoints/own_MyNet_Adam.pt'


@pytest.fixture
def own_data(tmp_path, monkeypatch) -> None:
    make_dataset(tmp_path / 'data' / 'own', counts={'train': 4, 'val': 2, 'test': 2})
    monkeypatch.setenv('FACES_DATASETS', str(tmp_path / 'data'))
    monkeypatch.setenv('FACES_DEVICE', 'cpu')
    save_network('teacher.pt', 'MyNet', {'model': 'MyNet', 'id': 'the teacher'})


def trained(*words) -> tuple[dict[str, torch.Tensor], dict]:
    train_main.main([str(word) for word in (*LINE, *words)])
    state = records.load_checkpoint(BEST)['model']
    return state, json.loads(Path('out/own_MyNet_Adam.json').read_text())[-1]['run']


def test_a_line_with_a_teacher_starts_where_it_starts_without(own_data):
    """Building the teacher's network must not take the student's random numbers."""
    alone, run = trained()
    assert 'teacher' not in run and run['arguments']['teacher_share'] is None
    beside, run = trained('--teacher', 'teacher.pt', '--teacher-share', 0)
    assert all(torch.equal(alone[name], beside[name]) for name in alone)
    assert run['teacher']['run_id'] == 'the teacher'
    assert run['teacher']['checkpoint_sha256'] == records.file_digest('teacher.pt')
    taught, run = trained('--teacher', 'teacher.pt')
    assert run['arguments']['teacher_share'] == 0.5
    assert not all(torch.equal(alone[name], taught[name]) for name in alone)


def test_a_run_goes_on_with_the_same_teacher_only(own_data):
    trained('--teacher', 'teacher.pt')
    state = records.load_checkpoint('teacher.pt')
    records.save_checkpoint('teacher.pt', {**state, 'val_acc': 1.0})
    with pytest.raises(UserError, match=r'the teacher changed since \(checkpoint_sha256\)'):
        trained('--teacher', 'teacher.pt', '--resume')
    with pytest.raises(UserError, match=r'the arguments changed since \(teacher, teacher_share\)'):
        trained('--resume')


def test_a_share_of_no_teacher_is_refused(capsys):
    with pytest.raises(SystemExit):
        train_main.parse_args(['--teacher-share', '0.3'])
    assert '--teacher-share needs --teacher' in capsys.readouterr().err


def test_a_record_does_not_name_the_folders_of_its_maker(own_data):
    """Defect: weights that were passed on said in which folder their maker kept others."""
    _, run = trained('--teacher', Path('teacher.pt').resolve())
    assert run['arguments']['teacher'] == 'teacher.pt'
    assert str(Path.cwd()) not in json.dumps(run)
