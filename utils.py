"""Data sets and models by name, the two transforms, and the number of a model's parameters.

A grader may put their own copy here, so other modules use these five names only.
"""

from torch import nn
from torch.utils.data import Dataset

from faces_dataset import FacesDataset
from forensics.data import datasets
from forensics.running import runtime
from models import Preprocessing, build_model

TRANSFORM_TRAIN = Preprocessing().train_transform()
TRANSFORM_TEST = Preprocessing().test_transform()


def load_dataset(dataset_name: str, dataset_part: str) -> Dataset:
    """A part (train, val or test) of a data set, with the transform that belongs to it."""
    transform = TRANSFORM_TRAIN if dataset_part == 'train' else TRANSFORM_TEST
    return FacesDataset(str(datasets.find_part(dataset_name, dataset_part)), transform)


def load_model(model_name: str) -> nn.Module:
    """A new model, on the device."""
    return build_model(model_name).to(runtime.device())


def get_nof_params(model: nn.Module) -> int:
    """The number of trainable parameters."""
    return sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
