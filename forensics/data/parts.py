"""A part of a data set: its files, labels, groups, videos and fingerprint, for all who train, score or audit."""

import contextlib
import functools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from forensics.data import datasets
from forensics.data.datasets import CLASSES, PARTS
from forensics.errors import UserError


@dataclass
class Part:
    """The files of <root>/<dataset>/<name>; `name` is empty for a data set that was not split."""

    dataset: str
    name: str
    folder: Path

    @classmethod
    def find(cls, dataset: str, name: str) -> 'Part':
        return cls(dataset, name, datasets.find_part(dataset, name))

    @classmethod
    def of(cls, dataset: str, name: str, opened) -> 'Part':
        """The part that `opened`, a FacesDataset or a grader's own, was read from, wherever that lies."""
        return cls(dataset, name, Path(opened.root_path))

    @classmethod
    def all_in(cls, folder: Path) -> list['Part']:
        """The parts of the data set in `folder`; a data set that was not split is one part."""
        dataset = folder.resolve().name
        parts = [cls(dataset, name, folder / name) for name in PARTS if (folder / name).is_dir()]
        return parts or [cls(dataset, '', folder)]

    @functools.cached_property
    def files(self) -> list[str]:
        """'real/a.jpg', 'fake/b.jpg', ...: real first, each class sorted."""
        return datasets.class_files(self.folder)

    @functools.cached_property
    def labels(self) -> np.ndarray:
        return labels_of(self.files)

    def files_of_class(self, label: str) -> list[str]:
        return [file for file, own in zip(self.files, self.labels, strict=True) if CLASSES[own] == label]

    @functools.cached_property
    def fingerprint(self) -> str:
        return datasets.fingerprint(self.folder, self.files)

    @property
    def home(self) -> Path:
        """The data set's folder, with its card and its manifest."""
        return self.folder.parent if self.name else self.folder

    @functools.cached_property
    def _manifest(self) -> dict[str, dict[str, str]]:
        prefix = f'{self.name}/' if self.name else ''
        rows = datasets.read_manifest(self.home).items()
        return {file.removeprefix(prefix): row for file, row in rows if file.startswith(prefix) and row['group']}

    @functools.cached_property
    def group_of(self) -> dict[str, str]:
        """file -> its group (a person, a video), for the files whose group is in manifest.csv."""
        return {file: row['group'] for file, row in self._manifest.items()}

    @functools.cached_property
    def video_of(self) -> dict[str, str]:
        """file -> its video: class and source, so that neither two videos in folders of one name nor a real one and
        its fake are averaged. In a manifest without sources the group takes the source's place."""
        rows = self._manifest.items()
        return {file: f'{file.partition("/")[0]} {row.get("source") or row["group"]}' for file, row in rows}

    @functools.cached_property
    def original_sizes(self) -> dict[str, tuple[float, float]]:
        """file -> the face's (width, height) before it was scaled, as far as manifest.csv tells."""
        sizes = {}
        for file, row in self._manifest.items():
            with contextlib.suppress(ValueError):
                sizes[file] = (
                    float(row.get('width') or row.get('w') or ''),
                    float(row.get('height') or row.get('h') or ''),
                )
        return sizes

    @property
    def groups_from(self) -> str:
        return 'manifest.csv' if self.group_of else 'none: each file stands alone'

    def groups(self, files: Sequence[str] | None = None) -> np.ndarray:
        """The group of each file; a file without one stands alone."""
        # Marked, so that no group is taken for a file without one.
        return np.array([
            f'group {self.group_of[file]}' if file in self.group_of else file
            for file in (self.files if files is None else files)
        ])  # fmt: skip

    def videos(self, files: Sequence[str]) -> np.ndarray:
        return np.array([self.video_of.get(file, file) for file in files])

    @property
    def has_videos(self) -> bool:
        return len(set(self.videos(self.files).tolist())) < len(self.files)

    def counts(self, files: Sequence[str] | None = None) -> dict[str, int]:
        fakes = int(labels_of(self.files if files is None else files).sum())
        return {'real': len(self.files if files is None else files) - fakes, 'fake': fakes}

    def facts(self, files: Sequence[str] | None = None) -> dict:
        """The part's entry in a run's record; `files` are the ones that could be read."""
        return {**self.counts(files), 'fingerprint': self.fingerprint}

    def check_both_classes(self) -> None:
        for label, number in self.counts().items():
            if number == 0:
                raise UserError(f'{self.folder / label} holds no image; a detector needs both classes.')


def labels_of(files: Sequence[str]) -> np.ndarray:
    """0 for real/..., 1 for fake/..."""
    return np.array([CLASSES.index(file.partition('/')[0]) for file in files], dtype=int)


def files_of(dataset) -> list[str]:
    """The files of an opened part, without those that were left out because they cannot be read."""
    names = dataset.real_image_names, dataset.fake_image_names
    return [f'{label}/{name}' for label, members in zip(CLASSES, names, strict=True) for name in members]
