"""Who takes part in the benchmark, and on what: detectors, and parts of data sets."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from forensics.data import datasets
from forensics.errors import UserError
from forensics.judging import plots


class Part:
    """A part of a data set: its files, and which of them belong together."""

    def __init__(self, dataset: str, name: str):
        self.dataset, self.name = dataset, name
        self.folder = datasets.find_part(dataset, name)
        self.files = datasets.class_files(self.folder)
        if not self.files:
            raise UserError(f'{self.folder} holds no image.')
        self.fingerprint = datasets.fingerprint(self.folder, self.files)
        self.group_of, self.video_of = groups_and_videos(self.folder)

    def groups(self, files: Sequence[str]) -> np.ndarray:
        """What bootstrap keeps together: the manifest's groups; without one each file stands alone."""
        return np.array([self.group_of.get(file, file) for file in files])

    def videos(self, files: Sequence[str]) -> np.ndarray:
        return np.array([self.video_of.get(file, file) for file in files])

    @property
    def has_videos(self) -> bool:
        return len(set(self.videos(self.files).tolist())) < len(self.files)


def groups_and_videos(folder: Path) -> tuple[dict[str, str], dict[str, str]]:
    """file -> group, and file -> video, of the part in this folder, if preprocessing.py left a manifest.csv.

    A video is a source of one class, so that neither two videos in folders of one name nor a real one and its fake
    are averaged. A manifest without sources has no finer unit than the group.
    """
    groups, videos = {}, {}
    for path, row in datasets.read_manifest(folder.parent).items():
        part, _, file = path.partition('/')
        if part == folder.name and row['group']:
            groups[file] = f'group {row["group"]}'  # marked, lest it be taken for a file that has no group
            videos[file] = f'{file.partition("/")[0]} {row.get("source") or row["group"]}'
    return groups, videos


@dataclass
class Entry:
    """A detector in the benchmark."""

    name: str
    path: str
    sha256: str
    detector: object = field(repr=False)  # its `outputs` scores images; `name` and `run` tell what it is
    own: set[str] = field(default_factory=set)  # data sets of the benchmark that it was trained on
    validation: Part | None = None
    no_threshold: str = ''  # why there is none

    @property
    def model(self) -> str:
        return self.detector.name

    @property
    def title(self) -> str:
        """Its name in tables and figures, with a word on weights that were never trained on pictures before."""
        return self.name + plots.weights_note({'run': self.detector.run})

    @property
    def trained_on(self) -> str | None:
        return self.detector.run.get('dataset')

    def facts(self) -> dict:
        """What the benchmark's record tells of it."""
        return {
            'file': self.path,
            'checkpoint_sha256': self.sha256,
            'model': self.model,
            'trained_on': self.trained_on,
            'backbone_weights': self.detector.run.get('backbone_weights'),
            'threshold_from': 'validation' if self.validation else self.no_threshold,
        }

    def find_own(self, names: Sequence[str], fingerprint: Callable[[str], str | None]) -> None:
        """Which of these data sets it was trained on, and the validation part that its threshold comes from."""
        recorded = ((self.detector.run.get('data') or {}).get('train') or {}).get('fingerprint')

        def knows(dataset: str) -> bool:
            # By the content where both sides tell it: a name may be given to other data.
            found = fingerprint(dataset)
            return found == recorded if found and recorded else dataset == self.trained_on

        self.own = {name for name in names if knows(name)}
        home = self.trained_on
        try:
            if home is None:
                self.no_threshold = 'its file does not say on what it was trained'
            elif not knows(home):
                self.no_threshold = f'the {home} here is not the one that it was trained on'
            else:
                self.validation = Part(home, 'val')
        except UserError as error:
            self.no_threshold = str(error)
        if self.no_threshold:
            print(f'{self.name}: its own decision (P(fake) above 0.5) counts, without a fitted threshold: '
                  f'{self.no_threshold}.')  # fmt: skip


def train_fingerprint(dataset: str) -> str | None:
    try:
        return datasets.fingerprint(datasets.find_part(dataset, 'train'))
    except UserError:  # only its test part is here
        return None
