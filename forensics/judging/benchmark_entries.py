"""The benchmark's detectors, with the data set that each was trained on and the origin of its threshold."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from forensics.data.parts import Part
from forensics.errors import UserError
from forensics.judging import plots
from forensics.judging.detector import Detector


@dataclass
class Entry:
    """A detector in the benchmark."""

    detector: Detector
    own: set[str] = field(default_factory=set)  # data sets of the benchmark that it was trained on
    validation: Part | None = None
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
            'file': str(self.detector.file),
            'checkpoint_sha256': self.detector.sha256,
            'model': self.detector.name,
            'trained_on': self.detector.trained_on,
            'backbone_weights': self.detector.backbone_weights,
            'threshold_from': 'validation' if self.validation else self.no_threshold,
        }

    def find_own(self, names: Sequence[str], fingerprint: Callable[[str], str | None]) -> None:
        """Set `own`, the data sets in `names` that it was trained on, and `validation`, the part for its threshold."""
        recorded = ((self.detector.run.get('data') or {}).get('train') or {}).get('fingerprint')

        home = self.detector.trained_on

        def knows(dataset: str) -> bool:
            # By the content if both fingerprints are known: other data may have the same name.
            found = fingerprint(dataset)
            return found == recorded if found and recorded else dataset == home

        self.own = {name for name in names if knows(name)}
        try:
            if home is None:
                self.no_threshold = 'its file does not say on what it was trained'
            elif not knows(home):
                self.no_threshold = f'the {home} here is not the one that it was trained on'
            else:
                self.validation = scorable(home, 'val')
        except UserError as error:
            self.no_threshold = str(error)
        if self.no_threshold:
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
