"""A detector scores images: `load_detector(path).score(images)` is P(fake) of each.

Whatever it is, a network's checkpoint or the file of a support vector machine, it is rebuilt here from its file alone.
"""

import argparse
import itertools
import warnings
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import nn
from torch.utils.data import Dataset

from forensics import records
from forensics.classical import detector as classical
from forensics.data import checks
from forensics.errors import UserError
from forensics.judging import plots, scoring
from forensics.running import distributed, memory, runtime
from forensics.running.batches import BatchTransform, scores_of
from models import Preprocessing, build_model, get_spec
from utils import load_dataset

BATCH = 32


class NamelessCheckpoint(UserError):
    """A stranger's: only the user knows what model it holds."""


def load_detector(path: str | Path, model_name: str | None = None) -> 'NetworkDetector | classical.ClassicalDetector':
    """The detector in a file of train_main.py (.pt) or train_svm.py (.npz).

    The file says what it holds. Only a stranger's checkpoint needs the model's name.
    """
    if Path(path).suffix == '.npz':
        return classical.load(path, lambda name: build_model(name, 'none').to(runtime.device()))
    model = load_network(path, model_name)
    return NetworkDetector(model, model_name or model.run['model'])


class NetworkDetector:
    """A trained network that takes PIL images of any size and scores them."""

    def __init__(self, model: nn.Module, name: str):
        preprocessing = get_spec(name).preprocessing
        self.model, self.name, self.run = model, name, model.run
        self.transform, self.only_size = preprocessing.test_transform(), preprocessing.only_size

    def score(self, images: Iterable[Image.Image]) -> np.ndarray:
        """P(fake) of each image."""
        return scoring.fake_probability(self.outputs(images))

    def outputs(self, images: Iterable[Image.Image], tell: Callable[[str], None] = warnings.warn) -> np.ndarray:
        """A row an image: two scores before softmax, or one logit. Any number of images may pass through.

        `tell` takes what makes the scores doubtful, as a sentence.
        """
        images, rows, scaled, count = iter(images), [], 0, 0
        while batch := [image.convert('RGB') for image in itertools.islice(images, BATCH)]:
            count += len(batch)
            if self.only_size:
                size = (self.only_size, self.only_size)
                scaled += sum(image.size != size for image in batch)
                batch = [image if image.size == size else image.resize(size) for image in batch]
            rows.append(self._forward(batch))
        if scaled:
            tell(
                f'{scaled} of {count} images had to be scaled to the {self.only_size}x{self.only_size} pixels that '
                f'{self.name} takes; scaling blurs the traces that it looks for.'
            )
        return np.concatenate(rows) if rows else np.zeros((0, 2))

    @torch.inference_mode()
    def _forward(self, images: list[Image.Image]) -> np.ndarray:
        device = runtime.model_device(self.model)
        whole_batch = BatchTransform.of(self.transform)
        if whole_batch:
            pictures = torch.from_numpy(np.stack([np.asarray(image) for image in images])).to(device)
            inputs = whole_batch(pictures.permute(0, 3, 1, 2), seeds=[])
        else:
            inputs = torch.stack([self.transform(image) for image in images]).to(device)
        return self.model(inputs.contiguous(memory_format=torch.channels_last)).float().cpu().numpy()


def load_network(checkpoint_path: str | Path, model_name: str | None = None) -> nn.Module:
    """The trained network, ready to evaluate. Takes anyone's checkpoint of this assignment: the key `model` counts.

    What the checkpoint says of its run is in the attribute `run`; without a name the model is the one told there.
    """
    checkpoint = records.load_checkpoint(checkpoint_path)
    state = checkpoint.get('model', checkpoint.get('state_dict', checkpoint))
    run = checkpoint['run'] if isinstance(checkpoint.get('run'), dict) else {}
    model_name = model_name or run.get('model')
    if model_name is None:
        raise NamelessCheckpoint(f'{checkpoint_path} does not say which model it holds: give its name with -m.')
    options = run.get('model_options', {}) if run.get('model') == model_name else {}
    model = build_model(model_name, backbone_weights='none', **options)
    try:
        state = dict(state)
        nn.modules.utils.consume_prefix_in_state_dict_if_present(state, 'module.')  # DataParallel's
        model.load_state_dict(state)
    except (RuntimeError, TypeError, ValueError, AttributeError) as error:
        trained = run.get('model')
        hint = (
            f'It was written for {trained}: use -m {trained}.'
            if trained and trained != model_name
            else ('Is -m the model that was trained?')
        )
        differences = [line.strip()[:200] for line in str(error).splitlines()[1:2]]
        raise UserError(' '.join([f'{checkpoint_path} does not fit {model_name}. {hint}', *differences])) from error
    model.run = run
    return model.to(runtime.device(), memory_format=torch.channels_last).eval()


def fit_transform(dataset: Dataset, model_name: str, augment: bool = False) -> Dataset:
    """Give the data set the transform of a model whose input is not the assignment's."""
    preprocessing = get_spec(model_name).preprocessing
    if preprocessing != Preprocessing():
        dataset.transform = preprocessing.train_transform() if augment else preprocessing.test_transform()
    return dataset


def score_dataset(
    dataset: Dataset, model: nn.Module | classical.ClassicalDetector
) -> tuple[torch.Tensor, torch.Tensor]:
    """(the model's scores, one row an image; the labels), in the data set's order."""
    if isinstance(model, classical.ClassicalDetector):
        doubts = []
        own_part = distributed.part_of(range(len(dataset)))
        outputs = model.outputs((dataset.load(index)[0] for index in own_part), tell=doubts.append)
        outputs = np.concatenate(distributed.joined([outputs]))
        for doubt in dict.fromkeys(distributed.joined(doubts)):
            warnings.warn(doubt, stacklevel=2)
        return torch.from_numpy(outputs), torch.tensor([dataset.label(index) for index in range(len(dataset))])
    memory.tune_allocator()
    return scores_of(model, dataset)


def load_explained(args: argparse.Namespace, most: int | None = None) -> tuple[nn.Module, Dataset, str]:
    """What `options.add_explained` asks for: the network, the checked test part, and the heading of figures of them.

    With `most` so many images of each class stay, drawn by the seed; the others need not be read.
    """
    dataset = fit_transform(load_dataset(args.dataset, 'test'), args.model)
    model = load_network(args.checkpoint_path, args.model)
    if most is not None:
        rng = np.random.default_rng(args.seed)
        for names in (dataset.real_image_names, dataset.fake_image_names):
            names[:] = [names[index] for index in rng.permutation(len(names))[:most]]
    only_size = get_spec(args.model).preprocessing.only_size
    checks.check_images({'test': dataset}, only_size, args.skip_broken, both_classes=False)
    return model, dataset, f'{args.model} on {args.dataset}, test{plots.weights_note({"run": model.run})}'
