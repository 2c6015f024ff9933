"""A detector scores images: `load_detector(path).score(images)` is P(fake) of each.

`load_detector` rebuilds a network or a support vector machine from its file alone, and `open_parts` opens a data set's
parts with the network's transforms.
"""

import argparse
import hashlib
import itertools
from collections import ChainMap
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import nn
from torch.utils.data import Dataset

from common import FIGURES_DIR, OUTPUT_DIR
from faces_dataset import RealFacesDataset
from forensics import records
from forensics.classical import detector as classical
from forensics.data import checks, datasets, found_faces
from forensics.data.mixtures import Mixture, MixtureWithMadeFakes
from forensics.errors import UserError
from forensics.judging import exported, plots
from forensics.judging.detector import Detector, Doubts
from forensics.pictures.files import open_image
from forensics.pictures.sources import printable
from forensics.running import memory, runtime
from forensics.running.batches import BatchTransform, scores_of
from models import Preprocessing, build_model, get_spec
from utils import load_dataset

BATCH = 32


# --- detectors ------------------------------------------------------------


class NamelessCheckpoint(UserError):
    """A checkpoint of another project, which does not name its model: the user has to."""


def load_detector(path: str | Path, model_name: str | None = None) -> Detector:
    """The detector in a file of train_main.py or calibrate.py (.pt, .safetensors), train_svm.py (.npz) or
    export_onnx.py (.onnx).

    Only the checkpoint of another project, which does not name its model, needs `model_name`.
    """
    if Path(path).suffix == '.onnx':
        return exported.load(path)
    if Path(path).suffix == '.npz':
        return classical.load(path, lambda name: build_model(name, 'none').to(runtime.device()))
    return load_network(path, model_name)


class NetworkDetector(Detector):
    """A trained network that takes PIL images of any size and scores them."""

    def __init__(self, model: nn.Module, name: str | None = None, run: dict | None = None):
        self.model, self.name, self.run = model, name, run or {}
        self.preprocessing = get_spec(name).preprocessing if name else Preprocessing()
        self.transform = self.preprocessing.test_transform()

    def outputs(self, images: Iterable[Image.Image], doubts: Doubts) -> np.ndarray:
        images, rows, scaled, only_size = iter(images), [], 0, self.preprocessing.only_size
        while batch := [image.convert('RGB') for image in itertools.islice(images, BATCH)]:
            doubts.images += len(batch)
            if only_size:
                size = (only_size, only_size)
                scaled += sum(image.size != size for image in batch)
                batch = [image if image.size == size else image.resize(size) for image in batch]
            with runtime.modes_kept(self.model):
                self.model.eval()
                alike = [list(images) for _, images in itertools.groupby(batch, key=lambda image: image.size)]
                # Without a fixed size or scaling, pictures go in as they are: those of one size together.
                rows += [self._forward(own) for own in (alike if self.preprocessing.any_size else [batch])]
        doubts.tell(exported.scaling_is_doubtful(only_size, self.name), scaled)
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
        outputs = self.model(inputs.contiguous(memory_format=torch.channels_last)).float().cpu().numpy()
        return outputs / self.temperature

    def outputs_of(self, dataset: Dataset) -> tuple[np.ndarray, np.ndarray]:
        """(outputs, labels) by the fast path. The model keeps its mode and its gradients."""
        if not len(dataset):
            return np.zeros((0, 2)), np.zeros(0, dtype=int)
        memory.tune_allocator()
        outputs, labels = scores_of(self.model, dataset)
        return outputs.numpy() / self.temperature, labels.numpy().reshape(-1)

    @property
    def temperature(self) -> float:
        return self.fitted.get('temperature', 1.0)


def load_network(checkpoint_path: str | Path, model_name: str | None = None) -> NetworkDetector:
    """The trained network in evaluation mode. Its weights are the checkpoint's `model`, `state_dict` or whole content.

    Without `model_name` the checkpoint has to name the model.
    """
    checkpoint = records.load_checkpoint(checkpoint_path)
    state = checkpoint.get('model', checkpoint.get('state_dict', checkpoint))
    run = checkpoint['run'] if isinstance(checkpoint.get('run'), dict) else {}
    for names in (run.get('class_names'), checkpoint.get('class_names'), checkpoint.get('class_to_idx')):
        records.check_label_names(names, checkpoint_path)
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
    model = model.to(runtime.device(), memory_format=torch.channels_last).eval()
    return NetworkDetector(model, model_name, run).loaded_from(checkpoint_path)


class Teacher:
    """P(fake) that a detector gives to a batch of another network's inputs, from which that network learns.

    The detector gets the pictures of which the inputs were made, so each normalises as it is used to. Whole pictures
    (`crop` is their size) come again in every epoch, mirrored or not: it is asked once about each, since its answer
    takes longer than a small network's step.
    """

    def __init__(self, path: str | Path, preprocessing: Preprocessing, crop: int | None = None):
        with runtime.seeded(0):  # building its network draws random numbers, which are the student's
            self.detector = load_detector(path)
        self.preprocessing = preprocessing
        side = crop or preprocessing.size
        self.answers: dict[bytes, float] | None = {} if crop == preprocessing.size else None
        doubts = Doubts()
        self.detector.outputs([Image.new('RGB', (side, side))], doubts)
        for reason in doubts.reasons:
            raise UserError(
                f'{path} cannot teach on pictures of {side}x{side} pixels: they {reason} Take a checkpoint (.pt) of a '
                f'network for pictures of any size, such as PhotoNet, or leave --crop out.'
            )

    def __call__(self, inputs: torch.Tensor) -> torch.Tensor:
        pictures = self.preprocessing.pictures(inputs)
        if self.answers is None:
            return torch.from_numpy(self.detector.score(pictures))
        return torch.tensor([self.remembered(picture) for picture in pictures])

    def remembered(self, picture: Image.Image) -> float:
        key = hashlib.sha256(picture.tobytes()).digest()
        if key not in self.answers:
            # One at a time: beside other pictures an answer differs in its last bits, and a resumed run would, too.
            self.answers[key] = float(self.detector.score([picture])[0])
        return self.answers[key]


# --- data sets as a detector takes them ------------------------------------------------------------


def open_parts(
    dataset: str,
    names: Sequence[str],
    preprocessing: Preprocessing | None,
    skip_broken: bool = False,
    *,
    both_classes: bool = True,
    at_most: int | None = None,
    seed: int = 0,
) -> tuple[dict[str, Dataset], dict[str, str]]:
    """The parts, each with its transform, and the files left out of them because they cannot be read.

    `preprocessing` is the network's, or None for a detector that takes pictures as they are. `at_most` keeps and reads
    only so many pictures of each class, drawn by `seed`.
    """
    parts = {name: load_dataset(dataset, name) for name in names}
    for name, part in parts.items():
        if preprocessing not in (None, Preprocessing()):  # load_dataset gives the assignment's own
            part.transform = preprocessing.train_transform() if name == 'train' else preprocessing.test_transform()
        if at_most is not None:
            rng = np.random.default_rng(seed)
            for files in (part.real_image_names, part.fake_image_names):
                files[:] = [files[index] for index in rng.permutation(len(files))[:at_most]]
    size = preprocessing.only_size if preprocessing else None
    return parts, checks.check_images(parts, size, skip_broken, both_classes)


def open_to_train(
    names: Sequence[str],
    preprocessing: Preprocessing,
    skip_broken: bool = False,
    *,
    crop: int | None = None,
    augment: str | None = None,
    made_fakes: float = 0,
) -> tuple[dict[str, Dataset], dict[str, str]]:
    """Train, val and test of one data set, or mixtures of those of several, and the files left out of them.

    Of several, one that is there to train on only needs no val and no test, and no fakes where they are made. One that
    is named twice counts twice.
    """
    if len(names) == 1 and not crop and not augment and not made_fakes:
        return open_parts(names[0], datasets.PARTS, preprocessing, skip_broken)
    opened = {part: {} for part in datasets.PARTS}
    for part, name in itertools.product(datasets.PARTS, names):
        folder = datasets.find_dataset(name) / part
        if made_fakes and part == 'train' and not (folder / 'fake').is_dir():
            opened[part][name] = RealFacesDataset(str(folder))
        elif len(names) == 1 or folder.is_dir():
            opened[part][name] = load_dataset(name, part)
    for part, members in opened.items():
        if not members:
            raise UserError(f'None of {", ".join(names)} has a part "{part}": add a data set that has one to -d.')
    described = {f'{part} of {name}': member for part, members in opened.items() for name, member in members.items()}
    left_out = checks.check_images(
        described, preprocessing.only_size, skip_broken, both_classes=not made_fakes, crop=crop, keep=False
    )
    parts = {part: Mixture([*members.values()]) for part, members in opened.items()}
    members = [opened['train'][name] for name in names]
    if made_fakes:
        faces = [found_faces.faces_in(member, OUTPUT_DIR) for member in opened['train'].values()]
        parts['train'] = MixtureWithMadeFakes(members, made_fakes, {**ChainMap(*faces)})
    else:
        parts['train'] = Mixture(members, balanced=True)
    for part, mixture in parts.items():
        train = part == 'train'
        mixture.transform = preprocessing.train_transform(crop, augment) if train else preprocessing.test_transform()
    return parts, left_out


def open_part(
    dataset: str, name: str, preprocessing: Preprocessing | None, skip_broken: bool = False, **choice
) -> Dataset:
    """One part, for scoring: a class may be empty."""
    return open_parts(dataset, [name], preprocessing, skip_broken, both_classes=False, **choice)[0][name]


def load_explained(args: argparse.Namespace, at_most: int | None = None) -> tuple[nn.Module, Dataset, str, dict]:
    """(network, test part, heading of the figures, facts of the training) for the arguments of `add_explained`."""
    detector = load_network(args.checkpoint_path, args.model)
    dataset = open_part(args.dataset, 'test', detector.preprocessing, args.skip_broken, at_most=at_most, seed=args.seed)
    heading = plots.heading(args.model, args.dataset, detector.run)
    return detector.model, dataset, heading, detector.training


def load_explained_picture(args: argparse.Namespace) -> tuple[NetworkDetector, Image.Image, str]:
    """(detector, its input cut out of --image, heading of the figure): the biggest face, framed as for a verdict."""
    from forensics.judging import answers

    detector = load_network(args.checkpoint_path, args.model)
    seen = answers.seen_in(open_image(args.image, upright=True), detector.card.get('margin'), whole_image=True)
    what = 'its face' if len(seen) == 1 else f'the biggest of {len(seen)} faces'
    if seen[0].box is None:
        what = 'no face was found: the middle of the picture'
    name = printable(Path(args.image).name).replace('$', r'\$')  # dollars would begin a formula
    return detector, seen[0].crop, f'{args.model} on {name}{plots.weights_note(detector.run)}\n{what}'


def save_explained_picture(args: argparse.Namespace, page: Callable, name: str) -> None:
    """Save the figure that `page` makes of --image."""
    detector, image, heading = load_explained_picture(args)
    with plots.style():
        figure = page(detector, image, heading, args.method)
        path = records.figure_path(FIGURES_DIR, Path(args.image).stem, args.model, name)
        plots.save(figure, path, [detector.training])
