"""The architectures and the registry: a model is a class and one entry in MODELS.

Every model returns two scores an image, index 0 for real and 1 for fake, or one logit for fake.
"""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from PIL import Image
from torch import nn
from torchvision import transforms

from bonus_model import BonusNet
from forensics.errors import UserError
from forensics.pictures.passed_on import AUGMENTATIONS
from forensics.weights import KERAS_SUFFIXES
from xception import XCEPTION, enlarge_kernels, start_backbone, take_normalised, timm_config

TIMM_PREFIX = 'timm:'


# --- what a model takes ------------------------------------------------------------


@dataclass(frozen=True)
class Preprocessing:
    """The steps from a picture to a model's input. The defaults are the assignment's."""

    size: int = 256
    mean: tuple[float, ...] = (0.4914, 0.4822, 0.4465)
    std: tuple[float, ...] = (0.2023, 0.1994, 0.2010)
    resize: bool = False  # scaling blurs the traces that a model looks for, so 256x256 faces are not scaled
    any_size: bool = False  # the model takes pictures of every size as they are

    @property
    def only_size(self) -> int | None:
        """The only picture size that the model takes; None if it takes all, or if pictures are scaled."""
        return None if self.resize or self.any_size else self.size

    def train_transform(self, crop: int | None = None, augment: str | None = None) -> transforms.Compose:
        """`crop` pixels a side are cut out at random (default: the assignment's shift by 4 pixels at most), after the
        augmentation of that name."""
        if crop:
            cut = transforms.RandomCrop(crop, pad_if_needed=True, padding_mode='reflect')
        else:
            cut = transforms.RandomCrop(self.size, padding=4)
        steps = [AUGMENTATIONS[augment](crop or self.size)] if augment else []
        return transforms.Compose([*steps, *self._resize(), cut, transforms.RandomHorizontalFlip(), *self._to_tensor()])

    def test_transform(self) -> transforms.Compose:
        return transforms.Compose([*self._resize(), *self._to_tensor()])

    def pictures(self, inputs: torch.Tensor) -> list[Image.Image]:
        """The pictures of which such inputs were made, for who takes others."""
        mean, std = (inputs.new_tensor(values)[:, None, None] for values in (self.mean, self.std))
        pixels = (255 * (inputs * std + mean)).round().clamp(0, 255).byte()
        return [Image.fromarray(picture) for picture in pixels.permute(0, 2, 3, 1).cpu().numpy()]

    def _resize(self) -> list:
        return [transforms.Resize((self.size, self.size))] if self.resize else []

    def _to_tensor(self) -> list:
        return [transforms.ToTensor(), transforms.Normalize(self.mean, self.std)]


# --- architectures ------------------------------------------------------------


class SimpleNet(nn.Module):
    """The assignment's plain network: three convolutions and three dense layers."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 6, kernel_size=7)
        self.conv2 = nn.Conv2d(6, 16, kernel_size=7)
        self.conv3 = nn.Conv2d(16, 24, kernel_size=7)
        self.pool = nn.MaxPool2d(2, 2)
        self.relu = nn.ReLU()
        self.fc1 = nn.Linear(24 * 26 * 26, 1024)
        self.fc2 = nn.Linear(1024, 256)
        self.fc3 = nn.Linear(256, 2)
        begin_in_step(self)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        # ReLU after the pooling gives the same numbers (both are monotone) on a quarter of the values.
        for convolution in (self.conv1, self.conv2, self.conv3):
            x = self.relu(self.pool(convolution(x)))
        x = self.relu(self.fc1(x.flatten(1)))
        return self.fc3(self.relu(self.fc2(x)))


def begin_in_step(model: nn.Module, spread: float = 0.002) -> None:
    """Draw weights whose spread grows with the square root of a unit's number of inputs, and set biases to zero.

    Adam's first steps move every weight by the learning rate, whatever its gradient. Behind a ReLU no input is
    negative, so the steps of a unit's weights add up, and its sum moves in proportion to its number of inputs.
    PyTorch's weights shrink with the root of that number, so the sums of two pictures differ less and less: in `fc1`,
    with 16,224 inputs, the first step of 0.001 outweighs all differences between pictures a dozen times, and units that
    it pushes below zero stay there (docs/first_weights.md). With the weights here a step is the same share of a unit's
    sum in every layer.
    """
    for layer in model.modules():
        if isinstance(layer, (nn.Conv2d, nn.Linear)):
            inputs = layer.weight[0].numel()
            bound = spread * (3 * inputs) ** 0.5
            nn.init.uniform_(layer.weight, -bound, bound)
            nn.init.zeros_(layer.bias)


class MyNet(nn.Module):
    """A student's answer to the bonus question: five convolutions, 34,850 parameters."""

    def __init__(self) -> None:
        super().__init__()
        channels_and_kernels = [(3, 6, 7), (6, 16, 7), (16, 24, 7), (24, 16, 3), (16, 16, 5)]
        for number, (inputs, outputs, kernel) in enumerate(channels_and_kernels, start=1):
            setattr(self, f'conv{number}', nn.Conv2d(inputs, outputs, kernel))
        self.pool = nn.MaxPool2d(2, 2)
        self.relu = nn.ReLU()
        self.dropout = nn.Dropout(0.35)
        self.fc = nn.Linear(256, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for convolution in (self.conv1, self.conv2, self.conv3, self.conv4, self.conv5):
            x = self.relu(self.pool(convolution(x)))
        return self.fc(self.dropout(x.flatten(1)))


def get_xception_based_model(backbone_weights: str | None = None) -> nn.Module:
    """Xception whose `fc` is a perceptron with three hidden layers: 23,128,786 parameters.

    `backbone_weights` is imagenet, none or a file; None takes ImageNet's or, if they cannot be had, random ones.
    """
    return build_model('XceptionBased', backbone_weights)


def start_xception(weights: str | None) -> tuple[nn.Module, str]:
    """(Xception that takes the assignment's pictures, the origin of its weights).

    ImageNet's weights and Keras's files expect pixels from -1 to 1, not the assignment's normalisation.
    """
    backbone, origin = start_backbone(XCEPTION, weights)
    if origin.startswith('imagenet') or origin.endswith(KERAS_SUFFIXES):
        take_normalised(backbone, Preprocessing.mean, Preprocessing.std)
        enlarge_kernels(backbone)
    return backbone, origin


def put_perceptron_on(backbone: nn.Module) -> nn.Module:
    backbone.fc = nn.Sequential(
        nn.Linear(backbone.num_features, 1000), nn.ReLU(),
        nn.Linear(1000, 256), nn.ReLU(),
        nn.Linear(256, 64), nn.ReLU(),
        nn.Linear(64, 2),
    )  # fmt: skip
    return backbone


def begin_undecided(backbone: nn.Module) -> nn.Module:
    """The net with a new head that says next to nothing: timm's scores are so large that the first steps, which correct
    them, would change what ImageNet has taught."""
    head = backbone.get_classifier()
    nn.init.normal_(head.weight, std=0.001)
    nn.init.zeros_(head.bias)
    return backbone


class CustomCNN(nn.Module):
    """The slides' own network, trained from scratch: four convolutions, a dense layer and one logit."""

    def __init__(self, dense: int = 128, dropout: float = 0.3) -> None:
        super().__init__()
        for number, (inputs, outputs) in enumerate([(3, 16), (16, 32), (32, 64), (64, 128)], start=1):
            # BatchNorm has a bias of its own.
            convolution = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
            setattr(self, f'conv{number}', nn.Sequential(convolution, nn.BatchNorm2d(outputs)))
        self.pool = nn.MaxPool2d(2, 2)
        self.relu = nn.ReLU()
        self.head = one_logit_head(128, dense, dropout)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for layer in (self.conv1, self.conv2, self.conv3, self.conv4):
            x = self.relu(self.pool(layer(x)))
        return self.head(x.mean((2, 3)))


class XceptionTransfer(nn.Module):
    """The slides' transfer learning: Xception's pooled features, a dense layer and one logit.

    A frozen backbone keeps its weights and BatchNorm's statistics; only the head is trained.
    """

    def __init__(self, backbone: nn.Module, dense: int = 256, dropout: float = 0.3, frozen: bool = True) -> None:
        super().__init__()
        self.backbone = backbone
        self.backbone.fc = nn.Identity()
        self.backbone.requires_grad_(not frozen)
        self.frozen = frozen
        self.head = one_logit_head(self.backbone.num_features, dense, dropout)

    def train(self, mode: bool = True) -> nn.Module:
        super().train(mode)
        if self.frozen:
            self.backbone.eval()
        return self

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.backbone(x))


def one_logit_head(features: int, dense: int, dropout: float) -> nn.Sequential:
    """No sigmoid at the end: the criterion applies it, and stays exact where the sigmoid rounds to 0 or 1."""
    return nn.Sequential(nn.Dropout(dropout), nn.Linear(features, dense), nn.ReLU(), nn.Linear(dense, 1))


# --- the registry ------------------------------------------------------------


@dataclass(frozen=True)
class ModelSpec:
    """Everything that the rest of the project needs to know of a model."""

    build: Callable[..., nn.Module]
    cam_layer: str  # the layer whose activations Grad-CAM weighs
    preprocessing: Preprocessing = Preprocessing()
    # --backbone-weights -> (the backbone that `build` takes, the origin of its weights)
    backbone: Callable[[str | None], tuple[nn.Module, str]] | None = None
    nof_scores: int = 2  # 1: a single logit

    @property
    def options(self) -> dict:
        """The other arguments of `build` with their defaults; a checkpoint's record holds the values that were used."""
        parameters = list(inspect.signature(self.build).parameters.values())
        return {parameter.name: parameter.default for parameter in parameters[bool(self.backbone) :]}

    def criterion(self) -> nn.Module:
        return nn.BCEWithLogitsLoss() if self.nof_scores == 1 else nn.CrossEntropyLoss()


# The input on which ImageNet's Xception was trained: a frozen one knows no other.
XCEPTION_PREPROCESSING = Preprocessing(224, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5), resize=True)

MODELS = {
    'SimpleNet': ModelSpec(SimpleNet, cam_layer='conv3'),
    'XceptionBased': ModelSpec(put_perceptron_on, cam_layer='conv3', backbone=start_xception),
    'MyNet': ModelSpec(MyNet, cam_layer='conv5'),
    'BonusNet': ModelSpec(BonusNet, cam_layer='blocks'),
    'CustomCNN': ModelSpec(CustomCNN, cam_layer='conv4', preprocessing=Preprocessing(224, resize=True), nof_scores=1),
    'PhotoNet': ModelSpec(
        begin_undecided,
        cam_layer='conv_head',
        preprocessing=Preprocessing(mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5), any_size=True),
        backbone=partial(start_backbone, 'tf_efficientnet_lite0', num_classes=2),
    ),
    'XceptionTransfer': ModelSpec(
        XceptionTransfer,
        cam_layer='backbone.conv4',
        preprocessing=XCEPTION_PREPROCESSING,
        backbone=partial(start_backbone, XCEPTION),
        nof_scores=1,
    ),
}


def get_spec(name: str) -> ModelSpec:
    if name in MODELS:
        return MODELS[name]
    if name.startswith(TIMM_PREFIX):
        return timm_spec(name.removeprefix(TIMM_PREFIX))
    raise UserError(f'No model "{name}". There are {", ".join(MODELS)} and {TIMM_PREFIX}NAME for any backbone of timm.')


def timm_spec(name: str) -> ModelSpec:
    """Any of timm's backbones with a 2-way head."""
    config = timm_config(name)
    size = config.input_size[-1] if config.fixed_input_size else Preprocessing.size
    preprocessing = Preprocessing(size, tuple(config.mean), tuple(config.std), resize=size != Preprocessing.size)
    start = partial(start_backbone, name, num_classes=2)
    return ModelSpec(lambda backbone: backbone, cam_layer='', preprocessing=preprocessing, backbone=start)


def build_model(name: str, backbone_weights: str | None = None, **options) -> nn.Module:
    """A new model by its name; no other is built. `backbone_weights` is 'none' if a checkpoint is loaded next.

    `options` are the model's own, as a checkpoint's record holds them.
    """
    return build_with_origin(name, backbone_weights, **options)[0]


def build_with_origin(name: str, backbone_weights: str | None = None, **options) -> tuple[nn.Module, str | None]:
    """(a new model, the origin of its backbone's weights); the origin is None for a model without a backbone."""
    spec = get_spec(name)
    for option in options:
        if option not in spec.options:
            raise UserError(f'{name} has no option "{option}"; it has {", ".join(spec.options) or "none"}.')
    build, origin = spec.build, None
    if spec.backbone:
        backbone, origin = spec.backbone(backbone_weights)
        build = partial(build, backbone)
    elif backbone_weights not in (None, 'none'):
        raise UserError(f'{name} has no backbone, so --backbone-weights {backbone_weights} cannot be met.')
    try:
        return build(**options), origin
    except (TypeError, ValueError, RuntimeError) as error:
        if not options:
            raise
        given = ', '.join(f'{option}={value!r}' for option, value in options.items())
        raise UserError(f'{name} cannot be built with {given} ({str(error).splitlines()[0]}).') from error


def cam_layer(name: str, model: nn.Module) -> nn.Module:
    """The layer for Grad-CAM: the registry's, or the last one with a spatial extent."""
    layer = get_spec(name).cam_layer
    return model.get_submodule(layer) if layer else last_layer_with_maps(model)


def last_layer_with_maps(model: nn.Module) -> nn.Module:
    features = getattr(model, 'feature_info', None)
    if features:
        layer = model.get_submodule(features[-1]['module'])
        # If a class token decides, the last block's patch tokens reach no score, but its inputs do.
        return getattr(layer, 'norm1', layer) if getattr(model, 'num_prefix_tokens', 0) else layer
    return [module for module in model.modules() if isinstance(module, nn.Conv2d)][-1]


def activations_as_maps(model: nn.Module, activations: torch.Tensor) -> torch.Tensor:
    """The activations as maps, channels first, also of transformers, whose layers give tokens or channels last."""
    if activations.dim() == 3:
        tokens = activations[:, getattr(model, 'num_prefix_tokens', 0) :]
        side = round(tokens.shape[1] ** 0.5)
        return tokens.transpose(1, 2).unflatten(2, (side, side))
    return activations.permute(0, 3, 1, 2) if getattr(model, 'output_fmt', 'NCHW') == 'NHWC' else activations
