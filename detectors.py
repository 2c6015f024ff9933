"""A detector scores images. Whatever makes it (a network's checkpoint), it is rebuilt here from its file alone."""

import torch
from torch import nn
from torch.utils.data import Dataset

from forensics import records, runtime
from forensics.batches import scores_of
from forensics.errors import UserError
from models import Preprocessing, build_model, get_spec


def load_network(checkpoint_path: str, model_name: str) -> nn.Module:
    """The trained network, ready to evaluate. Takes anyone's checkpoint of this assignment: the key `model` counts.

    What the checkpoint says of its run is in the attribute `run`.
    """
    checkpoint = records.load_checkpoint(checkpoint_path)
    state = checkpoint.get('model', checkpoint.get('state_dict', checkpoint))
    run = checkpoint['run'] if isinstance(checkpoint.get('run'), dict) else {}
    options = run.get('model_options', {}) if run.get('model') == model_name else {}
    model = build_model(model_name, backbone_weights='none', **options)
    try:
        model.load_state_dict(state)
    except (RuntimeError, TypeError, AttributeError) as error:
        trained = run.get('model')
        hint = (
            f'It was written for {trained}: use -m {trained}.'
            if trained and trained != model_name
            else ('Is -m the model that was trained?')
        )
        raise UserError(f'{checkpoint_path} does not fit {model_name}. {hint}') from error
    model.run = run
    return model.to(runtime.device(), memory_format=torch.channels_last).eval()


def fit_transform(dataset: Dataset, model_name: str, augment: bool = False) -> Dataset:
    """Give the data set the transform of a model whose input is not the assignment's."""
    preprocessing = get_spec(model_name).preprocessing
    if preprocessing != Preprocessing():
        dataset.transform = preprocessing.train_transform() if augment else preprocessing.test_transform()
    return dataset


def score_dataset(dataset: Dataset, model: nn.Module) -> tuple[torch.Tensor, torch.Tensor]:
    """(the model's scores, one row an image; the labels), in the data set's order."""
    runtime.tune_allocator()
    return scores_of(model, dataset)
