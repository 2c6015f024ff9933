"""The compact network of the bonus question: as high an AuC on fakes_dataset as a few thousand parameters give.

model = my_bonus_model() comes with the weights of checkpoints/bonus.pt (how they were trained: checkpoints/bonus.md).
"""

from pathlib import Path

import torch
from torch import nn

from common import CHECKPOINT_DIR
from forensics import records

# Shipped with the project, so it is found from any current folder; a checkpoint in the current folder goes first.
SHIPPED = Path(__file__).resolve().parent / 'checkpoints' / 'bonus.pt'


class BonusNet(nn.Module):
    """Four convolutions and an average over the picture: a seam or a blurred patch may lie anywhere in it."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 8, 5, stride=2, padding=2)
        self.conv2 = self._separable(8, 16)
        self.conv3 = self._separable(16, 32)
        self.conv4 = self._separable(32, 48)
        self.pool = nn.MaxPool2d(2, 2)
        self.relu = nn.ReLU()
        self.fc = nn.Linear(2 * 48, 2)

    @staticmethod
    def _separable(inputs: int, outputs: int) -> nn.Module:
        return nn.Sequential(
            nn.Conv2d(inputs, inputs, 5, padding=2, groups=inputs, bias=False),
            nn.Conv2d(inputs, outputs, 1, bias=False),
            nn.BatchNorm2d(outputs),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for layer in (self.conv1, self.conv2, self.conv3, self.conv4):
            x = self.relu(self.pool(layer(x)))
        # The mean describes the whole face, the maximum a single spot of it that differs.
        return self.fc(torch.cat([x.mean((2, 3)), x.amax((2, 3))], dim=1))


def my_bonus_model() -> nn.Module:
    """The trained network, on the CPU, in evaluation mode."""
    path = Path(CHECKPOINT_DIR) / 'bonus.pt'
    checkpoint = records.load_checkpoint(
        path if path.exists() else SHIPPED,
        made_by='git checkout checkpoints/bonus.pt',
    )
    model = BonusNet()
    model.load_state_dict(checkpoint['model'])
    return model.eval()
