"""Several data sets as one, to train on more than one kind of fake."""

import itertools

from PIL import Image
from torch.utils.data import Dataset

SEPARATOR = '+'  # dfdc_dataset+fakes_dataset: the name of a mixture


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


def _balanced(dataset: Dataset) -> list[int]:
    real, fake = len(dataset.real_image_names), len(dataset.fake_image_names)
    indices = range(real), range(real, real + fake)
    if not real or not fake:
        return [*itertools.chain(*indices)]
    return [index for own in indices for index in itertools.islice(itertools.cycle(own), max(real, fake))]
