"""The benchmark's detectors, with the data set that each was trained on and the origin of its threshold."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from forensics.data import datasets
from forensics.data.parts import Part
from forensics.errors import UserError
from forensics.judging import plots
from forensics.judging.detector import Detector


@dataclass
class Entry:
    """A detector in the benchmark."""

    detector: Detector
    own: set[str] = field(default_factory=set)  # data sets of the benchmark that it was trained on
    kinds: set[str] | None = None  # of fakes that it was trained on, if all of them are known
    validations: list[Part] = field(default_factory=list)  # for its threshold
    no_threshold: str = ''  # why there is none

    @property
    def name(self) -> str:
        return self.detector.file.stem

    @property
    def title(self) -> str:
        """Its name in tables and figures, with the origin of its backbone's weights."""
        return self.name + plots.weights_note(self.detector.run)

    def facts(self) -> dict:
        """The detector's entry in the benchmark's record."""
        return {
            **self.detector.training,
            'file': str(self.detector.file),
            'model': self.detector.name,
            'kinds_trained_on': self.kinds and sorted(self.kinds),
            'threshold_from': 'validation' if self.validations else self.no_threshold,
        }

    def find_own(self, names: Sequence[str], fingerprint: Callable[[str], str | None], kinds: dict[str, str]) -> None:
        """Find which data sets in `names` it was trained on, the parts for its threshold, and the kinds that it knows.

        `kinds` are those that the user gave; others stand in the data sets' cards.
        """
        known, reasons = [], []

        def is_home(name: str, home: str, recorded: str | None) -> bool:
            # By the content if both fingerprints are known: other data may have the same name.
            found = fingerprint(name)
            return found == recorded if found and recorded else name == home

        for home, recorded in self.detector.training_fingerprints.items():
            here = [name for name in dict.fromkeys([home, *names]) if is_home(name, home, recorded)]
            self.own |= set(here) & set(names)
            said = [kinds.get(home), *(kinds.get(name) or datasets.kind_of(name) for name in here)]
            known.append(next(filter(None, said), None))
            try:
                if home not in here:
                    raise UserError(f'the {home} here is not the one that it was trained on')
                self.validations.append(scorable(home, 'val'))
            except UserError as error:
                reasons.append(str(error))
        self.kinds = set(known) if known and None not in known else None
        self.validations += self.detector.validations
        if not self.validations:
            self.no_threshold = '; '.join(reasons) or 'its file does not say on what it was trained'
            print(f'{self.name}: its own decision (P(fake) above 0.5) counts, without a fitted threshold: '
                  f'{self.no_threshold}.')  # fmt: skip


def train_fingerprint(dataset: str) -> str | None:
    try:
        return Part.find(dataset, 'train').fingerprint
    except UserError:  # only its test part is here
        return None


def scorable(dataset: str, name: str) -> Part:
    part = Part.find(dataset, name)
    if not part.files:
        raise UserError(f'{part.folder} holds no image.')
    return part
