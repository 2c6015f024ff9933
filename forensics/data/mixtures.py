"""Several data sets as one, to train on more than one kind of fake."""

import itertools
import os
import random

from PIL import Image
from torch.utils.data import Dataset

from forensics.pictures.faces import Face
from forensics.pictures.made_fakes import made_fake


class Mixture(Dataset):
    """The pictures of several FacesDatasets, one data set after the other.

    With `balanced`, the smaller class of each data set is repeated until it is as large as the other, so that no data
    set's name tells the class. A data set of one class stays as it is.
    """

    def __init__(self, datasets: list[Dataset], balanced: bool = False):
        self.datasets = datasets
        self.root_path = ', '.join(dataset.root_path for dataset in datasets)
        self.transform = None
        members = [_balanced(dataset) if balanced else range(len(dataset)) for dataset in datasets]
        self.sections = [len(own) for own in members]  # pictures of one data set stay together in an evaluation
        self._places = [(dataset, index) for dataset, own in zip(datasets, members, strict=True) for index in own]

    def image_path(self, index: int) -> str:
        dataset, own_index = self._places[index]
        return dataset.image_path(own_index)

    def label(self, index: int) -> int:
        dataset, own_index = self._places[index]
        return dataset.label(own_index)

    def file_state(self, index: int) -> tuple[str, int, int]:
        dataset, own_index = self._places[index]
        return dataset.file_state(own_index)

    def load(self, index: int) -> tuple[Image.Image, int]:
        dataset, own_index = self._places[index]
        return dataset.load(own_index)

    def __getitem__(self, index: int) -> tuple:
        image, label = self.load(index)
        return (image if self.transform is None else self.transform(image)), label

    def __len__(self) -> int:
        return len(self._places)


class MixtureWithMadeFakes(Mixture):
    """A balanced mixture in which a share of the fakes are made of real pictures of their data set, anew every time.

    A data set of real pictures alone gets a made fake for each. It overrides `__getitem__` alone, so batches take it
    the plain way, under each sample's own seed.
    """

    def __init__(self, datasets: list[Dataset], share: float, faces: dict[str, Face | None]):
        super().__init__(datasets, balanced=True)
        self.share, self.faces = share, faces
        for dataset in datasets:
            if not dataset.fake_image_names:
                self._places += [(dataset, None)] * len(dataset)

    def image_path(self, index: int) -> str:
        dataset, own_index = self._places[index]
        made = f'a fake made of one of {os.path.join(dataset.root_path, "real")}'
        return made if own_index is None else super().image_path(index)

    def label(self, index: int) -> int:
        return 1 if self._places[index][1] is None else super().label(index)

    def __getitem__(self, index: int) -> tuple:
        dataset, own_index = self._places[index]
        label = self.label(index)
        nof_real = len(dataset.real_image_names)
        if own_index is None or (label == 1 and nof_real and random.random() < self.share):
            source = random.randrange(nof_real)
            image = made_fake(dataset.load(source)[0], self.faces.get(dataset.image_path(source)))
        else:
            image, _ = self.load(index)
        return (image if self.transform is None else self.transform(image)), label


def _balanced(dataset: Dataset) -> list[int]:
    real, fake = len(dataset.real_image_names), len(dataset.fake_image_names)
    indices = range(real), range(real, real + fake)
    if not real or not fake:
        return [*itertools.chain(*indices)]
    return [index for own in indices for index in itertools.islice(itertools.cycle(own), max(real, fake))]
