"""An exported network answers like the one in PyTorch, and carries what has to be known of it."""

import subprocess
import sys

import numpy as np
import onnx
import pytest
import torch
from conftest import CALIBRATION, PROJECT
from test_detectors import pictures, save_network

import detectors
import export_onnx
from forensics import records
from forensics.classical.spectrum import azimuthal_spectrum
from forensics.errors import UserError
from forensics.judging import exported
from forensics.judging.detector import Doubts
from forensics.pictures.files import open_image


def test_it_answers_like_pytorch(exported_bonus, tiny_root):
    network, found = detectors.load_detector(exported_bonus.with_suffix('.pt')), exported.load(exported_bonus)
    images = pictures(tiny_root)
    outputs = network.outputs(images, Doubts())
    np.testing.assert_allclose(found.outputs(images, Doubts())[:, 0], outputs[:, 1] - outputs[:, 0], atol=1e-4)
    np.testing.assert_allclose(found.score(images), network.score(images), atol=1e-5)
    plain = detectors.NetworkDetector(network.model, 'BonusNet').outputs(images, Doubts())
    np.testing.assert_allclose(found.outputs(images, Doubts())[:, 0], (plain[:, 1] - plain[:, 0]) / 2, atol=1e-4)


def test_the_graph_alone_is_enough(exported_bonus, tiny_root):
    """Bytes in, calibrated P(fake) out, without any code of ours; for any number of pictures."""
    session = exported.import_onnxruntime().InferenceSession(exported_bonus)
    images = pictures(tiny_root)
    bytes_in = np.stack([np.asarray(image) for image in images])
    p_fake, logit = session.run(['p_fake', 'logit'], {'pictures': bytes_in})
    np.testing.assert_allclose(p_fake, 1 / (1 + np.exp(-logit)), atol=1e-6)
    np.testing.assert_allclose(p_fake, exported.load(exported_bonus).score(images), atol=1e-6)
    np.testing.assert_allclose(session.run(['p_fake'], {'pictures': bytes_in[3:4]})[0], p_fake[3:4], atol=1e-6)


def test_what_has_to_be_known_is_in_the_file(exported_bonus):
    detector = exported.load(exported_bonus)
    assert (detector.name, detector.trained_on, detector.fitted) == ('BonusNet', 'fakes_dataset', CALIBRATION)
    assert detector.card == {
        'trained_on': 'fakes_dataset',
        'fails_on': 'photographs',
        'licence': 'MIT',
        'smallest_face': 80,
        'margin': 0.25,
    }
    assert detector.facts['checkpoint_sha256'] == records.file_digest(exported_bonus.with_suffix('.pt'))
    assert detector.sha256 == records.file_digest(exported_bonus)


def test_mean_spectra_are_those_of_the_validation_part(exported_with_maps, workdir, tiny_root):
    run = {'model': 'timm:test_resnet', 'dataset': 'fakes_dataset'}
    checkpoint = {**records.load_checkpoint(exported_with_maps.with_suffix('.pt')), 'run': run}
    records.save_checkpoint('net.pt', checkpoint)
    export_onnx.main(['-cpp', 'net.pt', '--spectra'])
    means = exported.load('net.onnx').mean_spectra
    assert means.keys() == {'of', 'real', 'fake'} and means['of'] == 'the validation part of fakes_dataset'
    for label in ('real', 'fake'):
        files = sorted((tiny_root / 'fakes_dataset' / 'val' / label).iterdir())
        by_hand = np.mean([azimuthal_spectrum(open_image(file)) for file in files], axis=0)
        np.testing.assert_allclose(means[label], by_hand, atol=1e-5)
    assert exported.load(exported_with_maps).mean_spectra is None


def test_mean_spectra_of_nothing_are_an_error(call_main, exported_with_maps):
    arguments = ['-cpp', exported_with_maps.with_suffix('.pt'), '-o', 'net.onnx', '--spectra']
    status, _, errors = call_main(export_onnx, *arguments)
    assert status == 1 and 'no real validation pictures' in errors


def test_every_command_takes_an_exported_detector(exported_bonus, tiny_root, workdir):
    detector = detectors.load_detector(exported_bonus)
    dataset = detectors.open_part('fakes_dataset', 'test', detector.preprocessing)
    outputs, labels = detector.outputs_of(dataset)
    np.testing.assert_allclose(outputs, detector.outputs(pictures(tiny_root), Doubts()), atol=1e-5)
    assert labels.tolist() == [0] * 6 + [1] * 6


def test_evidence_adds_up_to_the_logit(exported_with_maps, tiny_root):
    detector, images = exported.load(exported_with_maps), pictures(tiny_root)
    evidence = detector.answers('evidence', images)
    assert evidence.ndim == 3 and detector.has_evidence and evidence.std() > 0
    np.testing.assert_allclose(evidence.mean((1, 2)), detector.outputs(images, Doubts())[:, 0], atol=1e-4)


def test_a_network_that_scales_its_pictures(workdir, tiny_root):
    """CustomCNN takes 224 pixels of any picture, by the same resampling as in PyTorch."""
    network = export_onnx.load(save_network('net.pt', 'CustomCNN', {'model': 'CustomCNN'}), None)
    with torch.no_grad():
        network.model.head[-1].weight.mul_(100)  # or all scores of random weights are nearly the same
    images = [image.resize((300, 280)) for image in pictures(tiny_root)]
    export_onnx.write(workdir / 'net.onnx', network, images, 'test', 'float32')
    expected = network.score(images)
    assert expected.std() > 0.001
    np.testing.assert_allclose(exported.load('net.onnx').score(images), expected, atol=1e-4)


@pytest.mark.parametrize('precision', ['float16', 'int8'])
def test_smaller_precisions_stay_near(precision, exported_bonus, tiny_root, workdir):
    network, images = export_onnx.load(str(exported_bonus.with_suffix('.pt')), None), pictures(tiny_root)
    found = export_onnx.write(workdir / 'small.onnx', network, images, 'test', precision)
    assert found.facts['precision'] == precision
    assert 0 < np.abs(found.score(images) - network.score(images)).max() < export_onnx.PRECISIONS[precision]
    types = {tensor.data_type for tensor in onnx.load('small.onnx').graph.initializer}
    assert {'float16': onnx.TensorProto.FLOAT16, 'int8': onnx.TensorProto.INT8}[precision] in types


def test_a_file_that_answers_differently_is_not_written(exported_bonus, tiny_root, workdir, monkeypatch):
    network = export_onnx.load(str(exported_bonus.with_suffix('.pt')), None)
    graph = export_onnx.to_onnx(network)
    wrong = next(tensor for tensor in graph.graph.initializer if tensor.name.endswith('fc.bias'))
    wrong.CopyFrom(onnx.numpy_helper.from_array(np.float32([0, 1]), wrong.name))
    monkeypatch.setattr(export_onnx, 'to_onnx', lambda detector: graph)
    with pytest.raises(UserError, match='answers differently.*Nothing was written'):
        export_onnx.write(workdir / 'wrong.onnx', network, pictures(tiny_root), 'test', 'float32')
    assert not list(workdir.iterdir())


@pytest.mark.parametrize('content', [b'', b'no graph', None])
def test_a_file_that_is_no_exported_detector_is_named(content, workdir, exported_bonus):
    if content is None:  # a graph of somebody else
        graph = onnx.load(exported_bonus)
        del graph.metadata_props[:]
        content = graph.SerializeToString()
    (workdir / 'x.onnx').write_bytes(content)
    with pytest.raises(UserError, match='x.onnx .*xport'):
        exported.load('x.onnx')
    with pytest.raises(UserError, match='No detector y.onnx.*export_onnx.py'):
        exported.load('y.onnx')


def test_only_checkpoints_of_pytorch_are_exported(exported_bonus, call_main):
    status, _, errors = call_main(export_onnx, '-cpp', exported_bonus)
    assert status == 1 and 'holds no network of PyTorch' in errors


def test_a_network_that_does_not_say_its_name_and_no_data_set(call_main, workdir, monkeypatch):
    monkeypatch.setenv('FACES_DATASETS', 'none')
    checkpoint = PROJECT / 'checkpoints' / 'bonus.pt'
    status, printed, _ = call_main(export_onnx, '-cpp', checkpoint, '-m', 'BonusNet', '-o', 'b.onnx')
    assert status == 0 and 'P(fake) of 100 pictures (noise) beside PyTorch' in printed and 'Wrote b.onnx' in printed
    assert 'Not calibrated' in printed and 'not stated' in printed and not exported.load('b.onnx').fitted
    assert exported.load('b.onnx').facts['model'] == 'BonusNet'


def test_scoring_does_not_import_torch(exported_bonus):
    code = (
        f'import sys; sys.path.insert(0, {str(PROJECT)!r})\n'
        'from PIL import Image\nfrom forensics.judging import exported\n'
        f'print(exported.load({str(exported_bonus)!r}).score([Image.new("RGB", (256, 256))]).shape)\n'
        'print({"torch", "scipy", "sklearn", "matplotlib", "onnx"} & set(sys.modules))'
    )
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True)
    assert done.stdout == '(1,)\nset()\n'


def test_the_file_names_no_place_of_the_machine_that_made_it(exported_bonus):
    content = exported_bonus.read_bytes()
    assert str(PROJECT).encode() not in content and b'site-packages' not in content
