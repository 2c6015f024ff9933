"""The compact network of the bonus question: as high an AuC as a few thousand parameters give.

model = my_bonus_model() comes with the weights of checkpoints/bonus.pt (how they were trained: checkpoints/bonus.md).
benchmarks/bonus.py measures what each ingredient gives.
"""

from collections.abc import Sequence
from functools import partial
from itertools import pairwise
from pathlib import Path

import torch
from torch import nn
from torch.nn.functional import adaptive_avg_pool2d

from common import CHECKPOINT_DIR
from forensics import records
from forensics.errors import UserError

# Shipped with the project, so it is found from any current folder; a checkpoint in the current folder goes first.
SHIPPED = Path(__file__).resolve().parent / 'checkpoints' / 'bonus.pt'

PLACES = 4  # parts of a picture across and down, of which the last layer knows one from another

# The first kernels to begin with: waves (half periods down and across five pixels) of brightness, then of colours.
WAVES = (0, 1), (1, 0), (2, 2), (1, 1), (0, 2), (2, 0), (1, 3), (3, 1), (4, 4), (3, 3)
GREY, BLUE_YELLOW, RED_GREEN = (0.577, 0.577, 0.577), (-0.4, -0.4, 0.8), (0.7, -0.7, 0.0)
KERNELS = [
    *((GREY, wave) for wave in WAVES),
    *((colour, wave) for colour in (BLUE_YELLOW, RED_GREEN) for wave in WAVES[:3]),
]


class HighPass(nn.Conv2d):
    """A convolution that sees differences alone: the weights of each colour are centred, so that they add up to zero.

    Traces of generators and seams are faint beside what a picture shows, and most of that is smooth.
    """

    def __init__(self, *sizes: int, cosines: bool = True, **options) -> None:
        # With zeros around it, the edge of every picture would be its greatest difference.
        super().__init__(*sizes, padding_mode='replicate', bias=False, **options)
        if cosines:
            kernels = torch.stack([cosine_kernel(*kernel) for kernel in KERNELS[: self.out_channels]])
            with torch.no_grad():
                self.weight[: len(kernels)] = kernels

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self._conv_forward(x, self.weight - self.weight.mean((2, 3), keepdim=True), self.bias)


def cosine_kernel(colour: tuple[float, ...], wave: tuple[int, int], size: int = 5) -> torch.Tensor:
    """Colours x size x size: a wave of the cosine transform, about as large as PyTorch's own first weights."""
    pixels = torch.arange(size) + 0.5
    down, across = (nn.functional.normalize(torch.cos(torch.pi * pixels * periods / size), dim=0) for periods in wave)
    return 0.4 * torch.tensor(colour)[:, None, None] * torch.outer(down, across)


class Absolute(nn.Module):
    """The strength of a difference; its sign says only which neighbour is the brighter one."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.abs()


class Sum(nn.Module):
    """What goes in, plus what the layers make of it."""

    def __init__(self, layers: nn.Module) -> None:
        super().__init__()
        self.layers = layers

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.layers(x)


class BonusNet(nn.Module):
    """How strong the differences of neighbouring pixels are, and where in the face: 9,598 parameters.

    Pictures may have any size. Nothing is pooled before the last layer, because pooling wipes out the traces that a
    generator or a seam leaves: kernels of five pixels in steps of two miss none. The last layer knows PLACES x PLACES
    parts of the picture, because faces are cropped alike; what it learns of the left side holds for the right one only
    if it sees the mirror image, too. Each argument takes one ingredient away. `early_pooling` is the usual way instead,
    a quarter of the size after the first layer and halved by maxima; `max_pooling` is it for the places, the mean and
    the maximum over the whole picture.
    """

    def __init__(
        self,
        widths: Sequence[int] = (16, 16, 24, 28, 28, 28, 28),
        high_pass: bool = True,
        cosines: bool = True,
        early_pooling: bool = False,
        separable: bool = True,
        batch_norm: bool = True,
        residual: bool = True,
        max_pooling: bool = False,
        mirrored: bool = True,
    ) -> None:
        super().__init__()
        first, *_, last = widths
        pool = [nn.MaxPool2d(2)] if early_pooling else []
        convolution = partial(HighPass, cosines=cosines) if high_pass else nn.Conv2d
        self.first = nn.Sequential(
            convolution(3, first, 5, stride=2, padding=2),
            *([nn.BatchNorm2d(first)] if high_pass and batch_norm else []),
            Absolute() if high_pass else nn.ReLU(),
            *pool,
        )
        halving = (0, 1, 2) if early_pooling else (0, 1, 2, 4)
        layers = []
        for number, (inputs, outputs) in enumerate(pairwise(widths)):
            halved = number in halving
            stride = 2 if halved and not early_pooling else 1
            convolutions = separable_convolution if separable else plain_convolution
            block = nn.Sequential(
                *convolutions(inputs, outputs, stride, bias=not batch_norm),
                *([nn.BatchNorm2d(outputs)] if batch_norm else []),
                *(pool if halved else []),  # before the ReLU: the same numbers, on a quarter of the values
            )
            layers += [Sum(block) if residual and inputs == outputs and not halved else block, nn.ReLU()]
        self.blocks = nn.Sequential(*layers)
        self.max_pooling = max_pooling
        self.mirrored = mirrored and not max_pooling  # which hardly knows left from right
        self.fc = nn.Linear(last * (2 if max_pooling else PLACES**2), 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.mirrored and not self.training:  # in training pictures are mirrored at random
            return (self.scores(x) + self.scores(x.flip(3))) / 2
        return self.scores(x)

    def scores(self, x: torch.Tensor) -> torch.Tensor:
        x = self.blocks(self.first(x))
        if self.max_pooling:
            return self.fc(torch.cat([x.mean((2, 3)), x.amax((2, 3))], dim=1))
        return self.fc(adaptive_avg_pool2d(x, PLACES).flatten(1))


def separable_convolution(inputs: int, outputs: int, stride: int, bias: bool) -> list[nn.Module]:
    return [
        nn.Conv2d(inputs, inputs, 5, stride, padding=2, groups=inputs, bias=False),
        nn.Conv2d(inputs, outputs, 1, bias=bias),
    ]


def plain_convolution(inputs: int, outputs: int, stride: int, bias: bool) -> list[nn.Module]:
    return [nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=bias)]


def my_bonus_model() -> nn.Module:
    """The trained network, on the CPU, in evaluation mode."""
    own = Path(CHECKPOINT_DIR) / 'bonus.pt'
    path = own if own.exists() else SHIPPED
    checkpoint = records.load_checkpoint(path, made_by='git checkout checkpoints/bonus.pt')
    try:
        model = BonusNet(**checkpoint.get('run', {}).get('model_options', {}))
        model.load_state_dict(checkpoint['model'])
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise UserError(
            f'{path} holds no BonusNet of this version. Take the shipped one, `git checkout checkpoints/bonus.pt`, or '
            f'train one: `python train_main.py -d fakes_dataset -m BonusNet -o AdamW -b 32 -e 20 --schedule one-cycle`.'
        ) from error
    return model.eval()
