"""One way to load whatever scores images, and the same numbers whichever way the images come."""

import warnings

import numpy as np
import pytest
import torch
from conftest import draw
from PIL import Image
from test_train_svm import spectral_detector

import detectors
import numerical_analysis
from forensics import records
from forensics.data.datasets import class_files
from forensics.errors import UserError
from forensics.judging import scoring
from forensics.judging.detector import Doubts
from forensics.pictures.files import open_image
from models import MyNet, build_model
from utils import load_dataset


def save_network(path, name: str, run: dict | None = None) -> str:
    torch.manual_seed(0)
    network = build_model(name, 'none')
    records.save_checkpoint(path, {'model': network.state_dict(), **({} if run is None else {'run': run})})
    return str(path)


@pytest.fixture
def svm(workdir, tiny_root) -> str:
    path = workdir / 'checkpoints' / 'fakes_dataset_spectrum-logistic_svm.npz'
    spectral_detector(tiny_root / 'fakes_dataset').save(path)
    return str(path)


def pictures(tiny_root) -> list[Image.Image]:
    folder = tiny_root / 'fakes_dataset' / 'test'
    return [open_image(folder / file) for file in class_files(folder)]


@pytest.mark.parametrize('name', ['SimpleNet', 'MyNet', 'BonusNet', 'CustomCNN', 'timm:resnet10t'])
def test_pictures_and_data_sets_give_the_same_scores(name, workdir, tiny_root):
    detector = detectors.load_detector(save_network('net.pt', name, {'model': name}))
    dataset = detectors.open_part('fakes_dataset', 'test', detector.preprocessing)
    outputs, labels = detector.outputs_of(dataset)
    found = detector.outputs(pictures(tiny_root), Doubts())
    assert found.shape == outputs.shape and labels.tolist() == [0] * 6 + [1] * 6
    np.testing.assert_allclose(found, outputs, atol=1e-4)


@pytest.mark.parametrize('name', ['MyNet', 'CustomCNN'])
def test_score_is_the_probability_of_fake(name, workdir, tiny_root):
    detector = detectors.load_detector(save_network('net.pt', name, {'model': name}))
    images = pictures(tiny_root)
    outputs = torch.from_numpy(detector.outputs(images, Doubts()))
    expected = outputs.sigmoid()[:, 0] if name == 'CustomCNN' else outputs.softmax(dim=1)[:, 1]
    np.testing.assert_allclose(detector.score(images), expected, atol=1e-6)


def test_any_number_and_kind_of_picture(workdir, tiny_root, monkeypatch):
    monkeypatch.setattr(detectors, 'BATCH', 5)
    detector = detectors.load_detector(save_network('net.pt', 'MyNet', {'model': 'MyNet'}))
    images = pictures(tiny_root)
    whole = detector.score(images)
    np.testing.assert_allclose(detector.score(image for image in images), whole, atol=1e-6)
    np.testing.assert_allclose(detector.score([images[3]]), whole[3:4], atol=1e-6)
    assert detector.score([]).shape == (0,)
    grey = images[0].convert('L')
    np.testing.assert_allclose(detector.score([grey]), detector.score([grey.convert('RGB')]), atol=1e-6)


def test_a_scaled_picture_is_told(workdir, tiny_root):
    detector = detectors.load_detector(save_network('net.pt', 'MyNet', {'model': 'MyNet'}))
    image = pictures(tiny_root)[0]
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        detector.score([image])
    with pytest.warns(UserWarning, match='1 of 2 images had to be scaled to the 256x256'):
        assert np.isfinite(detector.score([image, image.resize((300, 200))])).all()


def test_the_file_says_what_it_holds(workdir, svm, tiny_root):
    network = detectors.load_detector(save_network('a.pt', 'MyNet', {'model': 'MyNet', 'dataset': 'fakes_dataset'}))
    assert (network.name, network.run['dataset']) == ('MyNet', 'fakes_dataset')
    classical = detectors.load_detector(svm, 'SimpleNet')
    assert classical.name == 'spectrum-logistic'
    images = pictures(tiny_root)
    logits = classical.outputs(images, Doubts())
    assert logits.shape == (12, 1)
    np.testing.assert_allclose(classical.score(images), scoring.fake_probability(logits))


def test_strangers_checkpoint_needs_a_name(workdir):
    path = save_network('stranger.pt', 'MyNet')
    with pytest.raises(UserError, match='stranger.pt does not say which model it holds.*-m'):
        detectors.load_detector(path)
    assert detectors.load_detector(path, 'MyNet').run == {}
    with pytest.raises(UserError, match='does not fit SimpleNet'):
        detectors.load_detector(path, 'SimpleNet')


@pytest.mark.parametrize('name', ['none.pt', 'none.npz'])
def test_missing_file_is_named(name, workdir):
    with pytest.raises(UserError, match=name):
        detectors.load_detector(name)


def test_analysis_takes_a_support_vector_machine(svm, workdir, call_main):
    status, printed, _ = call_main(numerical_analysis, '-m', 'SimpleNet', '-cp', svm, '-d', 'fakes_dataset')
    assert status == 0 and 'spectrum-logistic on fakes_dataset, test: 6 real and 6 fake' in printed
    assert (workdir / 'figures' / 'fakes_dataset_spectrum-logistic_roc_curve.png').exists()
    record = records.read_scores('out/scores/fakes_dataset_spectrum-logistic_svm__fakes_dataset__test.json')
    detector = detectors.load_detector(svm)
    images = [open_image(load_dataset('fakes_dataset', 'test').image_path(index)) for index in range(12)]
    np.testing.assert_allclose(scoring.fake_probability(record['scores']), detector.score(images), rtol=1e-6)


def test_a_picture_of_any_shape_has_a_spectrum(svm, tmp_path):
    draw(tmp_path / 'small.jpg', np.random.default_rng(0), fake=False, size=128)
    with pytest.warns(UserWarning, match='1 of 1 images have not the 256x256 pixels'):
        detectors.load_detector(svm).score([open_image(tmp_path / 'small.jpg')])


def test_a_checkpoint_with_numpy_accuracies_loads(workdir):
    torch.save({'model': MyNet().state_dict(), 'val_acc': np.mean([3, 4]), 'epoch': np.int64(3)}, 'x.pt')
    assert records.load_checkpoint('x.pt')['val_acc'] == 3.5
    assert isinstance(detectors.load_network('x.pt', 'MyNet').model, MyNet)


def test_a_checkpoint_of_data_parallel_loads_and_a_wrong_one_names_a_difference(workdir):
    torch.save({'model': {f'module.{name}': t for name, t in MyNet().state_dict().items()}}, 'x.pt')
    assert isinstance(detectors.load_network('x.pt', 'MyNet').model, MyNet)
    with pytest.raises(UserError, match='does not fit SimpleNet.*fc1.weight'):
        detectors.load_network('x.pt', 'SimpleNet')


def test_scoring_in_the_middle_of_a_training_changes_nothing(workdir, tiny_root):
    """Defect: pictures were scored in training mode, each by the others of its batch."""
    model = build_model('BonusNet').train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    detector = detectors.NetworkDetector(model, 'BonusNet')
    images = pictures(tiny_root)
    np.testing.assert_allclose(detector.score(images)[3], detector.score(images[3:4])[0], atol=1e-6)
    assert model.training and all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_a_checkpoint_that_counts_its_classes_the_other_way_round_is_refused(workdir):
    path = save_network('x.pt', 'MyNet', {'model': 'MyNet', 'class_names': ['fake', 'real']})
    with pytest.raises(UserError, match='x.pt says that label 0 is fake'):
        detectors.load_detector(path)
