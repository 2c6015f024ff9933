"""A folder of real and fake faces as a PyTorch data set:

dataset = FacesDataset('demo_datasets/fakes_dataset/test'); image, label = dataset[0]
"""

import contextlib
import os
from collections.abc import Callable
from pathlib import Path

from PIL import Image
from torch.utils.data import Dataset

from forensics.data.datasets import CLASSES
from forensics.errors import UserError
from forensics.pictures.files import image_files, open_image


class FacesDataset(Dataset):
    """Real images first (label 0), then fake ones (label 1), each class sorted by name."""

    def __init__(self, root_path: str, transform: Callable | None = None):
        self.root_path = root_path
        self.real_image_names = self._names('real')
        self.fake_image_names = self._names('fake')
        self.transform = transform

    def _names(self, label: str) -> list[str]:
        folder = Path(self.root_path) / label
        if not folder.is_dir():
            raise UserError(f'{folder} is missing: a data set has the folders real/ and fake/.')
        return image_files(folder)

    def image_path(self, index: int) -> str:
        """The path of the image with this index."""
        if not -len(self) <= index < len(self):  # without this, `for image, label in dataset` would never end
            raise IndexError(f'index {index} in a data set of {len(self)} images')
        label = self.label(index)
        names = self.fake_image_names if label else self.real_image_names
        position = index % len(self) - label * len(self.real_image_names)
        return os.path.join(self.root_path, CLASSES[label], names[position])  # a million times: pathlib is slower

    def label(self, index: int) -> int:
        return int(index % len(self) >= len(self.real_image_names))

    def file_state(self, index: int) -> tuple[str, int, int]:
        """(path, size, time of the last change): if it differs, a decoded picture that was kept is stale."""
        path = self.image_path(index)
        with contextlib.suppress(OSError):  # a file that is gone: opening it will say so
            status = os.stat(path)
            return path, status.st_size, status.st_mtime_ns
        return path, 0, 0

    def load(self, index: int) -> tuple[Image.Image, int]:
        """The picture as it is, and its label."""
        return open_image(self.image_path(index)), self.label(index)

    def __getitem__(self, index: int) -> tuple:
        image, label = self.load(index)
        return (image if self.transform is None else self.transform(image)), label

    def __len__(self) -> int:
        return len(self.real_image_names) + len(self.fake_image_names)


class RealFacesDataset(FacesDataset):
    """A folder of real faces alone, to make fakes of."""

    def _names(self, label: str) -> list[str]:
        return super()._names(label) if label == 'real' else []
