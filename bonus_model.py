"""The compact network of the bonus question: as high an AuC as a few thousand parameters give.

model = my_bonus_model() comes with the weights of checkpoints/bonus.pt (how they were trained: checkpoints/bonus.md).
benchmarks/bonus.py measures what each ingredient gives.
"""

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import torch
from torch import nn

from common import CHECKPOINT_DIR
from forensics import records
from forensics.errors import UserError

# Shipped with the project, so it is found from any current folder; a checkpoint in the current folder goes first.
SHIPPED = Path(__file__).resolve().parent / 'checkpoints' / 'bonus.pt'


GAIN = 8  # differences of neighbouring pixels are about so much smaller than pixels


class HighPass(nn.Conv2d):
    """A convolution that sees differences alone: the weights of each colour are centred, so that they add up to zero.

    Traces of generators and seams are faint beside what a picture shows, and most of that is smooth.
    """

    def __init__(self, *sizes: int, **options) -> None:
        # With zeros around it, the edge of every picture would be its greatest difference.
        super().__init__(*sizes, padding_mode='replicate', **options)
        nn.init.zeros_(self.bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        centred = self.weight - self.weight.mean((2, 3), keepdim=True)
        return self._conv_forward(x, GAIN * centred, self.bias)


class Sum(nn.Module):
    """What goes in, plus what the layers make of it."""

    def __init__(self, layers: nn.Module) -> None:
        super().__init__()
        self.layers = layers

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.layers(x)


class BonusNet(nn.Module):
    """Traces of neighbouring pixels, averaged over the picture, of any size: 9,458 parameters.

    The first layer and the first block keep every pixel, because pooling wipes out the traces that a generator or a
    seam leaves. There are few channels there: what they cost is memory's time. Each argument takes one ingredient
    away. `early_pooling` is the usual way instead: a quarter of the size after the first layer, halved by maxima.
    """

    def __init__(
        self,
        widths: Sequence[int] = (8, 16, 24, 32, 48, 48),
        high_pass: bool = True,
        early_pooling: bool = False,
        separable: bool = True,
        batch_norm: bool = True,
        residual: bool = True,
        max_pooling: bool = True,
    ) -> None:
        super().__init__()
        first, *_, last = widths
        convolution = HighPass if high_pass else nn.Conv2d
        pool = [nn.MaxPool2d(2)] if early_pooling else []
        stride = 2 if early_pooling else 1
        self.first = nn.Sequential(convolution(3, first, 5, stride=stride, padding=2), *pool, nn.ReLU())
        halving = range(3) if early_pooling else range(1, 4)
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
        self.fc = nn.Linear(2 * last if max_pooling else last, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.blocks(self.first(x))
        # The mean describes the whole face, the maximum a single spot of it that differs.
        pooled = [x.mean((2, 3)), x.amax((2, 3))] if self.max_pooling else [x.mean((2, 3))]
        return self.fc(torch.cat(pooled, dim=1))


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
