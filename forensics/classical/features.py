"""Features for the classical detectors: an image becomes a vector.

spectrum      the azimuthal power spectrum (300 values)
resnet50      ResNet-50's pooled features (2048)
xception      Xception's pooled features (2048)
efficientnet  EfficientNet-Lite0's pooled features (1280)

Several are joined with "+", as in spectrum+xception; `both` is the lab report's spectrum+resnet50. A deep network is
handed in by the caller, who knows the model registry and the policy for its weights.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
from PIL import Image, ImageOps

from forensics import records
from forensics.classical.spectrum import LENGTH, azimuthal_spectra
from forensics.errors import UserError
from forensics.pictures.files import open_image
from forensics.running import parallel

CACHE_DIR = Path('.cache') / 'features'
VERSION = 1  # of the cached features: raise it when their numbers change
CHUNK = 16  # images a task

DEEP = {  # their names in the model registry
    'resnet50': 'timm:resnet50',
    'xception': 'XceptionBased',
    'efficientnet': 'timm:tf_efficientnet_lite0',
}
ALIASES = {'both': 'spectrum+resnet50'}

# The lab report's: four pictures from one.
AUGMENTATIONS: dict[str, Callable[[Image.Image], Image.Image]] = {
    'original': lambda image: image,
    'flip': ImageOps.mirror,
    'left': lambda image: image.rotate(45, Image.Resampling.BICUBIC),
    'right': lambda image: image.rotate(-45, Image.Resampling.BICUBIC),
}


def split_name(name: str) -> list[str]:
    """The parts of a feature's name, checked."""
    parts = ALIASES.get(name, name).split('+')
    known = ('spectrum', *DEEP)
    if not set(parts) <= set(known) or len(set(parts)) < len(parts):
        raise UserError(f'No features "{name}". There are {", ".join(known)}, both, and any of them joined with "+".')
    return parts


@dataclass(frozen=True)
class Spectrum:
    """Azimuthal power spectra."""

    variant: str = 'published'
    n: int = LENGTH
    jobs = -1

    @property
    def length(self) -> int:
        return self.n

    @property
    def recipe(self) -> str:
        """The cache's key: the same recipe gives the same vector of the same image."""
        return f'spectrum-{self.variant}-{self.n}'

    def __call__(self, images: Sequence[Image.Image]) -> np.ndarray:
        return azimuthal_spectra(images, self.n, self.variant)

    def settings(self) -> dict:
        return {'kind': 'spectrum', **asdict(self)}


class Deep:
    """The pooled features of a network: the input of its last layer, which is removed."""

    jobs = 1  # PyTorch uses all cores by itself

    def __init__(self, kind: str, network, size: int, mean: Sequence[float], std: Sequence[float], weights: str):
        network.reset_classifier(0)
        self.network = network.eval()
        self.kind, self.size, self.mean, self.std, self.weights = kind, size, tuple(mean), tuple(std), weights
        self.length = network.num_features

    @property
    def recipe(self) -> str:
        digest = hashlib.sha256()
        for name, values in self.arrays().items():
            digest.update(name.encode() + values.tobytes())
        preprocessing = hashlib.sha256(repr((self.mean, self.std)).encode())
        return f'{self.kind}-{self.size}-{digest.hexdigest()[:16]}-{preprocessing.hexdigest()[:8]}'

    def __call__(self, images: Sequence[Image.Image]) -> np.ndarray:
        import torch

        vectors = []
        with torch.inference_mode():
            for start in range(0, len(images), CHUNK):
                batch = np.stack([self._pixels(image) for image in images[start : start + CHUNK]])
                values = torch.from_numpy(batch).permute(0, 3, 1, 2).float() / 255
                mean, std = (torch.tensor(numbers).view(1, 3, 1, 1) for numbers in (self.mean, self.std))
                device = next(self.network.parameters()).device
                vectors.append(self.network(((values - mean) / std).to(device)).cpu().numpy())
        return np.concatenate(vectors) if vectors else np.zeros((0, self.length), np.float32)

    def _pixels(self, image: Image.Image) -> np.ndarray:
        image = image.convert('RGB')
        return np.asarray(image if image.size == (self.size, self.size) else image.resize((self.size, self.size)))

    def settings(self) -> dict:
        names = ('kind', 'size', 'mean', 'std', 'weights')
        return {name: getattr(self, name) for name in names}

    def arrays(self) -> dict[str, np.ndarray]:
        """The network's weights: a detector's file holds them, so it needs no other file."""
        return {name: tensor.cpu().numpy() for name, tensor in self.network.state_dict().items()}


def of_images(extractors: Sequence[Spectrum | Deep], images: Sequence[Image.Image]) -> np.ndarray:
    """One row an image, the extractors' vectors side by side."""
    return np.hstack([np.asarray(extractor(images), dtype=np.float64) for extractor in extractors])


def of_files(
    extractors: Sequence[Spectrum | Deep],
    files: Sequence[str | Path],
    augmentations: Sequence[str] = ('original',),
    label: str = 'features',
    cluster: str | None = None,
) -> np.ndarray:
    """`of_images` for files, one block of rows an augmentation. Files of known content come from the cache."""
    items = [(str(Path(file).resolve()), augmentation) for augmentation in augmentations for file in files]
    contents = {}
    for path in dict.fromkeys(path for path, _ in items):
        with open(path, 'rb') as opened:
            contents[path] = hashlib.file_digest(opened, 'sha256').hexdigest()
    keys = [f'{contents[path]}-{augmentation}' for path, augmentation in items]
    columns = [_cached(extractor, items, keys, label, cluster) for extractor in extractors]
    return np.hstack(columns).astype(np.float64)


def _cached(extractor, items: list[tuple[str, str]], keys: list[str], label: str, cluster: str | None) -> np.ndarray:
    store = CACHE_DIR / f'{extractor.recipe}-v{VERSION}.npz'
    known = _read_cache(store)
    missing = {key: item for key, item in zip(keys, items, strict=True) if key not in known}
    found = {}
    chunks = [list(missing)[start : start + CHUNK] for start in range(0, len(missing), CHUNK)]
    tasks = [(extractor, chunk, [missing[key] for key in chunk]) for chunk in chunks]
    try:
        for chunk, vectors in parallel.run_all(_extract, tasks, label, extractor.jobs, cluster, shared=[extractor]):
            found.update(zip(chunk, vectors, strict=True))
    finally:  # an interrupted run keeps what it has computed
        if found:
            with records.locked(CACHE_DIR):
                known = {**_read_cache(store), **found}  # another run may have written meanwhile
                with records.atomic_path(store) as temporary:
                    np.savez(temporary, keys=np.array(list(known)), vectors=np.stack(list(known.values())))
    return np.stack([known[key] for key in keys])


def _read_cache(store: Path) -> dict[str, np.ndarray]:
    try:
        with np.load(store) as content:
            return dict(zip(content['keys'].tolist(), content['vectors'], strict=True))
    except (OSError, ValueError, KeyError, EOFError, BadZipFile):  # not there yet, or damaged: then it is made again
        return {}


def _extract(extractor, keys: list[str], items: list[tuple[str, str]]) -> tuple[list[str], np.ndarray]:
    return keys, extractor([AUGMENTATIONS[augmentation](open_image(path)) for path, augmentation in items])
