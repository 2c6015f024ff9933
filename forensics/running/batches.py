"""The fast path from a data set to whole batches on the device.

A data set of pictures (it has `load(index) -> (picture, label)`) with a transform made of the usual steps is decoded
once, kept as bytes, and cropped, flipped and normalised straight into a batch. Anything else goes through PyTorch's
DataLoader as it is. Both ways give the same numbers: every sample has a random seed of its own in every pass, so that
neither the way nor the number of workers changes an augmentation.
"""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from weakref import WeakKeyDictionary

import numpy as np
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset, default_collate
from torchvision import transforms

from forensics.errors import UserError
from forensics.pictures.files import BrokenImage
from forensics.running import distributed, runtime
from forensics.running.progress import Progress

CACHE_SHARE = 0.25  # of the free memory, for one data set
MAX_SEED = 2**62


class Batches:
    """The batches of one pass over a data set: (inputs on the device, labels on the device, indices).

    Each of several processes gets its slice of every batch, to train on, or with `whole` its share of the batches. A
    process whose slice is empty, because there are more processes than samples, gets a sample that does not count, with
    no indices.
    """

    def __init__(
        self,
        dataset: Dataset,
        batch_size: int,
        device: torch.device,
        *,
        shuffle: bool = False,
        seed: int = 0,
        workers: int = 0,
        whole: bool = False,
    ):
        if len(dataset) == 0:
            raise UserError(f'There are no samples in {getattr(dataset, "root_path", "the data set")}.')
        self.dataset, self.device, self.workers = dataset, device, workers
        generator = torch.Generator().manual_seed(seed % MAX_SEED)
        nof_samples = len(dataset)
        order = torch.randperm(nof_samples, generator=generator) if shuffle else torch.arange(nof_samples)
        self.seeds = torch.randint(MAX_SEED, (nof_samples,), generator=generator)
        # Pictures of several data sets differ in size, so a batch to evaluate holds those of one.
        sections = [nof_samples] if shuffle else getattr(dataset, 'sections', [nof_samples])
        batches = [batch.tolist() for section in order.split(sections) for batch in section.split(batch_size)]
        if whole:
            batches = slices = distributed.own_slice(batches)
        else:
            slices = [distributed.own_slice(batch) for batch in batches]
        self.sizes = [len(batch) for batch in batches]  # over all processes
        self.own_sizes = [len(own) for own in slices]
        self.index_batches = [own or batch[:1] for own, batch in zip(slices, batches, strict=True)]

    def __len__(self) -> int:
        return len(self.index_batches)

    def __iter__(self) -> Iterator[tuple[torch.Tensor, torch.Tensor, list[int]]]:
        batches = self._transformed()
        if self.device.type == 'cuda':
            batches = one_ahead(batches, self.device)
        for own_size, (inputs, labels, indices) in zip(self.own_sizes, batches, strict=True):
            yield inputs, labels, indices[:own_size]

    def _transformed(self) -> Iterator[tuple[torch.Tensor, torch.Tensor, list[int]]]:
        transform = getattr(self.dataset, 'transform', None)
        pipeline = BatchTransform.of(transform) if has_pictures(self.dataset) else None
        if pipeline is None:
            for indices, (inputs, labels) in zip(self.index_batches, self._loader(SeededItems), strict=True):
                yield self._to_device(inputs), self._to_device(labels), indices
            return
        for indices, pictures, labels in self._decoded():
            seeds = self.seeds[indices].tolist()
            if isinstance(pictures, torch.Tensor):
                pictures = self._to_device(pictures)
            if isinstance(pictures[0], torch.Tensor):
                inputs = pipeline(pictures, seeds)
            else:  # pictures of several sizes
                inputs = self._to_device(one_by_one(self.dataset, indices, pictures, transform, seeds))
            yield channels_last(inputs), self._to_device(labels), indices

    def _decoded(self) -> Iterator[tuple[list[int], torch.Tensor | list, torch.Tensor]]:
        """(indices, pictures as bytes, labels), from memory if the whole data set is in it."""
        cache = ByteCache.of(self.dataset)
        if cache is not None and cache.complete:
            rows = cache.pictures.permute(0, 3, 1, 2)
            for indices in self.index_batches:
                if self.device.type == 'cpu':
                    pictures = [rows[index] for index in indices]  # without a copy
                else:  # a copy of whole rows; plain indexing would copy value by value
                    pictures = cache.pictures.index_select(0, torch.tensor(indices)).permute(0, 3, 1, 2)
                yield indices, pictures, cache.labels[indices]
            return
        for indices, (pictures, labels) in zip(self.index_batches, self._loader(DecodedItems), strict=True):
            if cache is not None:
                cache.put(indices, pictures, labels)
            yield indices, pictures, labels

    def _loader(self, view: type) -> DataLoader:
        # A generator of its own: without one the loader draws its workers' base seed from the global generator.
        return DataLoader(
            view(self.dataset, self.seeds),
            batch_sampler=self.index_batches,
            num_workers=self.workers,
            collate_fn=view.collate,
            generator=torch.Generator(),
        )

    def _to_device(self, tensor: torch.Tensor) -> torch.Tensor:
        if self.device.type == 'cuda' and tensor.device.type == 'cpu':
            return tensor.pin_memory().to(self.device, non_blocking=True)
        return channels_last(tensor.to(self.device))


def one_ahead(items: Iterator, device: torch.device) -> Iterator:
    """The items, each made by another thread while the GPU is busy with the one before."""
    end = object()
    with ThreadPoolExecutor(1, initializer=torch.cuda.set_device, initargs=(device,)) as thread:
        coming = thread.submit(next, items, end)
        while (item := coming.result()) is not end:
            coming = thread.submit(next, items, end)
            yield item


def channels_last(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.contiguous(memory_format=torch.channels_last) if tensor.dim() == 4 else tensor


def has_pictures(dataset: Dataset) -> bool:
    """True for a FacesDataset, or a class with its methods, if `load` returns what `__getitem__` transforms.

    A subclass that overrides only one of the two goes the plain way.
    """
    if not all(hasattr(dataset, name) for name in ('file_state', 'image_path', 'root_path')):
        return False
    owners = [next((c for c in type(dataset).__mro__ if name in vars(c)), None) for name in ('load', '__getitem__')]
    return owners[0] is not None and owners[0] is owners[1]


class SeededItems(Dataset):
    """The plain way: the data set's own items, each under its own seed."""

    def __init__(self, dataset: Dataset, seeds: torch.Tensor):
        self.dataset, self.seeds = dataset, seeds

    def __getitem__(self, index: int):
        with runtime.seeded(int(self.seeds[index])):
            return self.dataset[index]

    collate = staticmethod(default_collate)


class DecodedItems(Dataset):
    """The fast way's first step: decoded pictures, untransformed."""

    def __init__(self, dataset: Dataset, seeds: torch.Tensor):
        self.dataset = dataset

    def __getitem__(self, index: int) -> tuple[np.ndarray, int]:
        picture, label = self.dataset.load(index)
        return np.asarray(picture), label

    @staticmethod
    def collate(items: list[tuple[np.ndarray, int]]) -> tuple[torch.Tensor | list[np.ndarray], torch.Tensor]:
        pictures, labels = zip(*items, strict=True)
        if len({picture.shape for picture in pictures}) == 1:
            # PyTorch calls height x width x channels in memory channels_last.
            return torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2), torch.tensor(labels)
        return list(pictures), torch.tensor(labels)


def one_by_one(dataset: Dataset, indices: list[int], pictures: list, transform, seeds: list[int]) -> torch.Tensor:
    inputs = []
    for picture, seed in zip(pictures, seeds, strict=True):
        with runtime.seeded(seed):
            inputs.append(transform(Image.fromarray(picture)))
    if len({tuple(tensor.shape) for tensor in inputs}) > 1:
        sizes = {tuple(tensor.shape[1:]): index for tensor, index in zip(inputs, indices, strict=True)}
        examples = ', '.join(f'{dataset.image_path(i)} is {w}x{h}' for (h, w), i in list(sizes.items())[:2])
        raise UserError(
            f'Pictures of different sizes cannot be in one batch: {examples}. '
            f'Bring them to one size with `python preprocessing.py --no-detect --size 256 ...`.'
        )
    return torch.stack(inputs)


class BatchTransform:
    """Resize-free torchvision transforms (crop, flip, to tensor, normalise), applied to a batch of bytes at once."""

    def __init__(
        self,
        crop: transforms.RandomCrop | None,
        flip: transforms.RandomHorizontalFlip | None,
        normalize: transforms.Normalize | None,
    ):
        self.crop, self.flip, self.normalize = crop, flip, normalize

    @classmethod
    def of(cls, transform) -> 'BatchTransform | None':
        """The version of `transform` for batches, or None for an unknown transform."""
        if type(transform) is not transforms.Compose:
            return None
        steps = list(transform.transforms)

        def take(kind: type):
            return steps.pop(0) if steps and type(steps[0]) is kind else None

        crop, flip = take(transforms.RandomCrop), take(transforms.RandomHorizontalFlip)
        to_tensor, normalize = take(transforms.ToTensor), take(transforms.Normalize)
        plain_crop = crop is None or (
            crop.fill == 0
            and crop.padding_mode == 'constant'
            and not crop.pad_if_needed
            and (crop.padding is None or isinstance(crop.padding, int))
        )
        return cls(crop, flip, normalize) if to_tensor and plain_crop and not steps else None

    def __call__(self, pictures: torch.Tensor | list[torch.Tensor], seeds: list[int]) -> torch.Tensor:
        """Bytes (channels x height x width each, of one size) -> a batch of floats in channels-last order.

        A CPU finishes one picture after the other, while its cache holds it; a GPU normalises all at once.
        """
        channels, *size = pictures[0].shape
        device = pictures[0].device
        height, width = self.crop.size if self.crop else size
        batch = torch.empty((len(pictures), height, width, channels), device=device)
        scale = self._scale(width, channels, device)
        if self.crop or self.flip:
            pictures = self._augmented(pictures, seeds)
        elif device.type != 'cpu':
            return scale(batch.copy_(pictures.permute(0, 2, 3, 1))).permute(0, 3, 1, 2)
        for target, picture in zip(batch, pictures, strict=True):
            target.copy_(picture.permute(1, 2, 0))
            if device.type == 'cpu':
                scale(target)
        return (batch if device.type == 'cpu' else scale(batch)).permute(0, 3, 1, 2)

    def _scale(self, width: int, channels: int, device: torch.device) -> Callable[[torch.Tensor], torch.Tensor]:
        """A function that scales pixels to 0 ... 1 and normalises them, in place; they end in width x channels."""
        if self.normalize is None:
            return lambda pixels: pixels.div_(255)
        mean, std = (
            torch.as_tensor(values, dtype=torch.float64).expand(channels)
            for values in (self.normalize.mean, self.normalize.std)
        )
        # A row's pixels and their three channels as one vector, in one pass: broadcasting three numbers over the
        # innermost dimension instead is ten times slower.
        factor, shift = (values.repeat(width).float().to(device) for values in (1 / (255 * std), -mean / std))

        def scale(pixels: torch.Tensor) -> torch.Tensor:
            rows = pixels.flatten(-2)
            torch.addcmul(shift, rows, factor, out=rows)
            return pixels

        return scale

    def _augmented(self, pictures: torch.Tensor | list[torch.Tensor], seeds: list[int]) -> Iterator[torch.Tensor]:
        """Yield every picture cropped and flipped; the next one overwrites it."""
        channels, height, width = pictures[0].shape
        padding = (self.crop.padding or 0) if self.crop else 0
        wanted = self.crop.size if self.crop else (height, width)
        spare = height + 2 * padding - wanted[0], width + 2 * padding - wanted[1]
        if min(spare) < 0:
            raise UserError(
                f'Pictures of {width}x{height} pixels are too small to crop {wanted[1]}x{wanted[0]} from. '
                f'Scale them with `python preprocessing.py --no-detect --size 256 ...`.'
            )
        frame = pictures[0].new_zeros((height + 2 * padding, width + 2 * padding, channels)).permute(2, 0, 1)
        inner = frame[:, padding : padding + height, padding : padding + width]
        generator = torch.Generator()  # a private one: another thread may be drawing from the global one
        for picture, seed in zip(pictures, seeds, strict=True):
            generator.manual_seed(seed)  # then the draws of torchvision's two transforms, in their order
            top, left = (
                (torch.randint(most + 1, (1,), generator=generator).item() for most in spare) if any(spare) else (0, 0)
            )
            flipped = self.flip is not None and torch.rand(1, generator=generator).item() < self.flip.p
            if padding:
                inner.copy_(picture)
                picture = frame
            crop = picture[:, top : top + wanted[0], left : left + wanted[1]]
            yield crop.flip(-1) if flipped else crop


class ByteCache:
    """A data set's pictures as bytes in memory: 197 KB each at 256 x 256. A data set that does not fit is refused."""

    _all: WeakKeyDictionary = WeakKeyDictionary()

    def __init__(self, files: list[tuple]):
        self.files = files
        self.pictures: torch.Tensor | None = None
        self.labels = torch.zeros(len(files), dtype=torch.long)
        self.filled = torch.zeros(len(files), dtype=torch.bool)
        self.refused = False

    @classmethod
    def of(cls, dataset: Dataset) -> 'ByteCache | None':
        """The data set's cache, a new one if a file was added, removed or rewritten since; None if it was refused."""
        files = [dataset.file_state(index) for index in range(len(dataset))]
        cache = cls._all.get(dataset)
        if cache is None or cache.files != files:
            cache = cls._all[dataset] = cls(files)
        return None if cache.refused else cache

    @property
    def complete(self) -> bool:
        return self.pictures is not None and bool(self.filled.all())

    def put(self, indices: list[int], pictures: torch.Tensor | list, labels: torch.Tensor) -> None:
        if self.refused:
            return
        if isinstance(pictures, torch.Tensor):
            rows = pictures.permute(0, 2, 3, 1)
            if self.pictures is None:
                shape = (len(self.files), *rows.shape[1:])
                if np.prod(shape) < CACHE_SHARE * runtime.free_memory(torch.device('cpu')):
                    self.pictures = torch.empty(shape, dtype=torch.uint8)
        if self.pictures is None or not isinstance(pictures, torch.Tensor) or rows.shape[1:] != self.pictures.shape[1:]:
            self.refused, self.pictures = True, None  # too large, or pictures of several sizes
            return
        self.pictures[indices] = rows
        self.labels[indices] = labels
        self.filled[indices] = True


def preload(dataset: Dataset, label: str, keep: bool = True) -> tuple[list[BrokenImage], dict[tuple[int, int], str]]:
    """Decode every picture once, on all cores, and keep the bytes if they fit and `keep` says so.

    Returns (broken images, {size: the first file that has it}). Each of several processes reads and keeps everything,
    since the order of every epoch gives it other pictures; they share the machine's memory and cores, so that the
    reading takes one core's time, times the number of processes over the cores.
    """
    cache = ByteCache.of(dataset) if keep else None
    broken: list[BrokenImage] = []
    sizes: dict[tuple[int, int], str] = {}

    def decode(index: int) -> tuple[np.ndarray, int] | BrokenImage:
        try:
            picture, target = dataset.load(index)
            return np.asarray(picture), target
        except BrokenImage as error:
            return error

    chunks = torch.arange(len(dataset)).split(256)  # so that a million pictures are not all in flight at once
    with ThreadPoolExecutor() as pool:  # Pillow decodes outside Python's lock
        for chunk in Progress(chunks, len(chunks), f'read {label} images'):
            for index, decoded in zip(chunk.tolist(), pool.map(decode, chunk.tolist()), strict=True):
                if isinstance(decoded, BrokenImage):
                    broken.append(decoded)
                    continue
                pixels, target = decoded
                sizes.setdefault((pixels.shape[1], pixels.shape[0]), dataset.image_path(index))
                if cache is not None:
                    cache.put([index], *DecodedItems.collate([(pixels, target)]))
    return broken, sizes


@torch.no_grad()
def evaluated(
    model: torch.nn.Module, batches: Iterable, precision: str = 'float32'
) -> Iterator[tuple[torch.Tensor, torch.Tensor, list[int]]]:
    """(outputs, labels, indices) of every batch, with the model in evaluation mode."""
    with runtime.modes_kept(model):
        model.eval()
        for inputs, labels, indices in batches:
            yield runtime.forward(model, inputs, precision), labels, indices


def scores_of(
    model: torch.nn.Module, dataset: Dataset, batch_size: int = 32, workers: int = 0
) -> tuple[torch.Tensor, torch.Tensor]:
    """(outputs, labels) of every sample, in the data set's order, as CPU tensors.

    Several processes share the batches; batches and outputs are those of a single process, to the last bit.
    """
    batches = Batches(dataset, batch_size, runtime.model_device(model), workers=workers, whole=True)
    pairs = [(outputs.cpu(), labels.cpu()) for outputs, labels, _ in evaluated(model, batches)]
    outputs, labels = zip(*distributed.joined(pairs), strict=True)
    return torch.cat(outputs), torch.cat(labels)
