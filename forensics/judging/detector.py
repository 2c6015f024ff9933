"""The base class of detectors: networks, support vector machines and any new kind.

A new kind implements `outputs`; scores of pictures, of a part of a data set, and their record follow from it.
"""

import warnings
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from forensics import records
from forensics.data import datasets
from forensics.data.parts import Part, labels_of
from forensics.judging import scoring


class Doubts:
    """The numbers of images with doubtful scores, by reason; `sentences` says them once, at the end."""

    def __init__(self) -> None:
        self.images = 0
        self.reasons: Counter[str] = Counter()

    def tell(self, reason: str, number: int) -> None:
        """Count `number` images more; `reason` completes the sentence "3 of 64 images ..."."""
        if number:
            self.reasons[reason] += number

    def add(self, other: 'Doubts') -> None:
        self.images += other.images
        self.reasons += other.reasons

    def sentences(self) -> list[str]:
        return [f'{number} of {self.images} images {reason}' for reason, number in self.reasons.items()]


class Detector(ABC):
    """Scores images.

    `name` is the model's, `run` the record of its training, `preprocessing` the steps to its input (None: it takes
    pictures as they are), `file` and `sha256` the file that it was loaded from, `mean_spectra` what is known of its
    data's azimuthal spectra: {real, fake: the mean one, of: which faces}, `validations` validation parts of which it
    brings scores with it.
    """

    name: str
    run: dict
    preprocessing = None
    file: Path | None = None
    sha256: str | None = None
    mean_spectra: dict | None = None
    validations: Sequence[Part] = ()

    @abstractmethod
    def outputs(self, images: Iterable[Image.Image], doubts: Doubts) -> np.ndarray:
        """One row for each image: two scores before softmax (real, fake), or one logit of "fake".

        `images` may be any number; reasons to doubt scores are added to `doubts`.
        """

    def can_score(self, part: Part, perturbed: bool) -> bool:
        """Any picture, unless its kind has only scores that somebody else computed."""
        return True

    def score(self, images: Iterable[Image.Image]) -> np.ndarray:
        """P(fake) of each image."""
        doubts = Doubts()
        outputs = self.outputs(images, doubts)
        for sentence in doubts.sentences():
            warnings.warn(sentence, stacklevel=2)
        return scoring.fake_probability(outputs)

    def outputs_of(self, dataset) -> tuple[np.ndarray, np.ndarray]:
        """(outputs, labels) of an opened part, in its order. Several processes share the work."""
        from forensics.running import distributed

        own_slice, doubts = distributed.own_slice(range(len(dataset))), Doubts()
        outputs = self.outputs((dataset.load(index)[0] for index in own_slice), doubts)
        all_doubts = Doubts()
        for own_doubts in distributed.joined([doubts]):
            all_doubts.add(own_doubts)
        for sentence in all_doubts.sentences():
            warnings.warn(sentence, stacklevel=2)
        labels = np.array([dataset.label(index) for index in range(len(dataset))], dtype=int)
        return np.concatenate(distributed.joined([outputs])), labels

    def score_dataset(self, dataset) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """First scores (real), second scores (fake) and labels of an opened part, in its order."""
        outputs, labels = self.outputs_of(dataset)
        return *scoring.two_columns(outputs).T, labels

    # --- its training and its file ------------------------------------------------------------

    @property
    def trained_on(self) -> str | None:
        return self.run.get('dataset')

    @property
    def datasets(self) -> list[str]:
        """The data sets that it was trained on, which `trained_on` names together."""
        return self.run.get('datasets') or [self.trained_on][: self.trained_on is not None]

    @property
    def training_fingerprints(self) -> dict[str, str | None]:
        """Of the train part of each data set that it was trained on, where it is recorded."""
        train = (self.run.get('data') or {}).get('train') or {}
        members = train.get('datasets') or {}  # of several
        return {name: members.get(Path(name).name, train).get('fingerprint') for name in self.datasets}

    @property
    def backbone_weights(self) -> str | None:
        return self.run.get('backbone_weights')

    @property
    def threshold(self) -> float | None:
        """Of P(fake), fitted on validation by calibrate.py or train_svm.py; None where its file knows none."""
        return self.fitted.get('threshold', self.run.get('threshold'))

    @property
    def fitted(self) -> dict:
        """What calibrate.py has fitted on validation: temperature, threshold, band; empty without it."""
        return self.run.get('calibration') or {}

    @property
    def card(self) -> dict:
        """What a user should know: {trained_on, fails_on, licence, smallest_face, margin}, as far as it is stated."""
        return self.run.get('card') or {}

    def loaded_from(self, file: str | Path) -> 'Detector':
        """Remember the file and its digest, before a training overwrites it with a better epoch."""
        self.file, self.sha256 = Path(file), records.file_digest(file)
        return self

    @property
    def training(self) -> dict:
        """Which training it is of, for every record and figure of it."""
        return records.training_facts(self.file.stem, self.run, self.sha256)

    # --- the record of its scores ------------------------------------------------------------

    def scores_path(self, folder: str, part: Part, condition: str = '') -> Path:
        return records.scores_path(folder, self.file.stem, part.dataset, condition or part.name)

    def score_key(self, part: Part, condition: str = '', seed: int | None = None) -> dict:
        """The facts that scores depend on; stored scores are taken only if theirs are the same."""
        return {
            'checkpoint_sha256': self.sha256,
            'data_fingerprint': part.fingerprint,
            'condition': condition or part.name,
            'seed': seed,
        }

    def write_scores(
        self, path: Path, key: dict, part: Part, files: Sequence[str], outputs, unreadable: dict[str, str]
    ) -> None:
        """Write the record of the scores of a part's files; `key` comes from `score_key`."""
        facts = {
            **self.training,
            'model': self.name,
            'dataset': part.dataset,
            'data_source': datasets.read_card(part.home).get('source'),
            **key,
        }
        records.write_scores(path, list(files), labels_of(files), outputs, **facts, unreadable=unreadable)
