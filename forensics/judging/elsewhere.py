"""The scores of anybody's detector, from a CSV file with the columns "file" and "score"."""

import csv
import hashlib
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from forensics import records
from forensics.data.datasets import CLASSES, PARTS
from forensics.data.parts import Part, labels_of
from forensics.errors import UserError
from forensics.judging import scoring
from forensics.judging.comparing import LEAST_COMMON
from forensics.judging.detector import Detector

MEANINGS = {
    'fake': 'P(fake), from 0 to 1',
    'real': 'P(real), from 0 to 1',
    'fake-logit': 'any number, above 0 for a fake',
    'real-logit': 'any number, above 0 for a real image',
}
LABELS = {'0': 'real', '1': 'fake', 'real': 'real', 'fake': 'fake'}


@dataclass(frozen=True)
class Line:
    """A line of the file; `dataset`, `part` and `label` (real, fake) are None where the path does not say them."""

    number: int
    dataset: str | None
    part: str | None
    label: str | None
    name: str
    logit: float  # of P(fake)
    said: str | None  # by the column "label"

    def __str__(self) -> str:
        return '/'.join(filter(None, (self.dataset, self.part, self.label, self.name)))


class ScoredElsewhere(Detector):
    """A detector of which nothing but its scores is known."""

    name = 'scored elsewhere'

    def __init__(self, path: str | Path, meaning: str):
        self.run: dict = {}
        self.meaning, self.lines = meaning, read_lines(Path(path), meaning)
        self.covered: set[Path] = set()  # folders of the parts that it has scores of
        self.validations: list[Part] = []
        self.loaded_from(path)

    def loaded_from(self, file: str | Path) -> 'ScoredElsewhere':
        """The digest is of the file and of what it is said to mean, because the scores depend on both."""
        super().loaded_from(file)
        self.sha256 = hashlib.sha256(f'{self.sha256} {self.meaning}'.encode()).hexdigest()
        return self

    def outputs(self, images, doubts):
        raise UserError(f'{self.file} holds scores alone, so that it cannot score other pictures.')

    def can_score(self, part: Part, perturbed: bool) -> bool:
        return part.folder in self.covered and not perturbed

    def take(self, folder: str, tests: Sequence[Part], allow_missing: bool) -> None:
        """Write the records of its scores of these test parts and, for thresholds, of their validation parts."""
        names = {Path(part.dataset).name for part in tests}
        unsaid = [line for line in self.lines if line.dataset is None]
        if unsaid and len(names) > 1:
            example = f'{sorted(names)[0]}/test/real/a.jpg'
            raise UserError(
                f'{self.file} does not say of which data set {unsaid[0]} is, and there are {len(names)}. Write files '
                f'as {example}, or give one data set at a time.'
            )
        # It need not know all data sets; of one that knows none, the first says what is wrong.
        some_tests = [part for part in tests if self.lines_of(part, 'test')] or tests[:1]
        for test in some_tests:
            self.take_part(folder, test, allow_missing)
            if self.lines_of(test, 'val'):
                self.validations.append(Part.find(test.dataset, 'val'))
                self.take_part(folder, self.validations[-1], allow_missing)
        for test in tests:
            if test not in some_tests:
                print(f'{self.file} has no scores of {test.dataset}.')

    def lines_of(self, part: Part, name: str) -> list[Line]:
        """Those of the part `name` of the same data set. A line that does not say its part is of the test part."""
        home = Path(part.dataset).name
        return [line for line in self.lines if (line.dataset or home, line.part or 'test') == (home, name)]

    def take_part(self, folder: str, part: Part, allow_missing: bool) -> None:
        where, lines = f'{part.dataset} {part.name}', self.lines_of(part, part.name)
        found, unknown = match(self.file, lines, part)
        missing = [file for file in part.files if file not in found]
        problems = [f'images without a score: {len(missing)} ({some(missing)})'] if missing else []
        problems += [f'lines that name no image of it: {len(unknown)} ({some(unknown)})'] if unknown else []
        others = len(self.lines) - len(lines)
        problems += [f'lines of other parts or data sets: {others}'] if others and not lines else []
        if len(missing) > (1 - LEAST_COMMON) * len(part.files) and not (allow_missing and found):
            raise UserError(
                f'{self.file} has scores of {len(found)} of the {len(part.files)} images of {where}, and '
                f'{LEAST_COMMON:.0%} are needed: {"; ".join(problems)}. '
                + ('Mend the file, or add --allow-missing.' if found else 'Mend the file names.')
            )
        if problems:
            print(f'{self.file}, {where}: {"; ".join(problems)}.')
        if part.name == 'test':
            self.doubt_meaning(where, found)
        path, files = self.scores_path(folder, part), [file for file in part.files if file in found]
        log = records.log_path(folder, self.file.stem)
        if log.exists():
            raise UserError(f'{log} is a record of ours with this name: rename {self.file}.')
        if path.exists() and records.read_scores(path).get('model') != self.name:
            raise UserError(f'{path} holds the scores of a detector of ours with this name: rename {self.file}.')
        reasons = dict.fromkeys(missing, f'no score in {self.file.name}')
        outputs = [[found[file].logit] for file in files]
        self.write_scores(path, self.score_key(part), part, files, outputs, reasons)
        self.covered.add(part.folder)

    def doubt_meaning(self, where: str, found: dict[str, Line]) -> None:
        """Ask, where the scores are surely worse than chance, whether they mean the opposite of what was said."""
        labels, logits = labels_of([*found]), [line.logit for line in found.values()]
        interval = scoring.auc_interval(labels, logits)
        if interval and interval[1] < 0.5:
            label, dash, logit = self.meaning.partition('-')
            other = CLASSES[label == CLASSES[0]]
            print(
                f'{self.file}, {where}: an AuC of {scoring.auc(labels, logits):.3f} is far below chance. Do the scores '
                f'speak for {other}? Then say --scores-mean {other}{dash}{logit}.'
            )


def match(path: Path, lines: Sequence[Line], part: Part) -> tuple[dict[str, Line], list[str]]:
    """({a file of the part: its line}, names that are no file of it)."""
    known, found, unknown = set(part.files), {}, []
    for line in lines:
        files = [f'{label}/{line.name}' for label in ([line.label] if line.label else CLASSES)]
        files = [file for file in files if file in known]
        if len(files) > 1:
            raise UserError(
                f'{path}, line {line.number}: {line} may be {" or ".join(files)} of {part.dataset}. Write the '
                f'folder of its class, too.'
            )
        if not files:
            unknown.append(str(line))
            continue
        (file,) = files
        if file in found:
            raise UserError(f'{path} has two scores of {file}, in the lines {found[file].number} and {line.number}.')
        found[file] = line
    contrary = [file for file, line in found.items() if not file.startswith(line.said or '')]
    if contrary:
        raise UserError(
            f'{path} has the other label for {len(contrary)} images of {part.dataset} ({some(contrary)}). Label 0 is '
            f'real and 1 is fake; if it is the other way round there, mend or remove its column "label".'
        )
    return found, unknown


def some(names: Sequence[str], shown: int = 3) -> str:
    rest = len(names) - shown
    return ', '.join(names[:shown]) + (f' and {rest} more' if rest > 0 else '')


# --- reading ----------------------------------------------------------------------------------------------------


def read_lines(path: Path, meaning: str) -> list[Line]:
    """The lines of a comma, semicolon or tab separated file whose first line names the columns."""
    try:
        text = path.read_text(encoding='utf-8-sig')
    except FileNotFoundError as error:
        raise UserError(f'No file {path}. It is to have the columns "file" and "score".') from error
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f'{path} cannot be read as text ({error}). Save it as CSV in UTF-8.') from error
    head = text.partition('\n')[0].strip()
    separator = max(',;\t', key=head.count)
    table = csv.DictReader(io.StringIO(text, newline=''), delimiter=separator, strict=True)
    try:
        table.fieldnames = columns = [name.strip().lower() for name in table.fieldnames or ()]
        if columns.count('file') != 1 or columns.count('score') != 1:
            raise UserError(
                f'{path} needs a first line that names the columns "file" and "score"; it is "{head[:80]}".'
            )
        lines = [read_line(path, table.line_num, row, meaning, separator) for row in table]
    except csv.Error as error:
        raise UserError(f'{path} cannot be read as CSV: line {table.line_num}: {error}.') from error
    if not lines:
        raise UserError(f'{path} holds no score.')
    return lines


def read_line(path: Path, number: int, row: dict, meaning: str, separator: str) -> Line:
    where = f'{path}, line {number}'
    if None in row or None in row.values():
        raise UserError(f'{where} has not as many columns as the first line.')
    *folders, name = row['file'].strip().replace('\\', '/').split('/')
    if not name:
        raise UserError(f'{where} names no file.')
    label = folders.pop() if folders and folders[-1] in CLASSES else None
    part = folders.pop() if folders and folders[-1] in PARTS else None
    dataset = folders[-1] if part and folders and folders[-1].strip('.') else None
    said = row.get('label')
    if said is not None and said.strip().lower() not in LABELS:
        raise UserError(f'{where}: the label "{said}" is none of {", ".join(LABELS)}.')
    logit = read_score(where, row['score'].strip(), meaning, decimal_comma=separator != ',')
    return Line(number, dataset, part, label, name, logit, said and LABELS[said.strip().lower()])


def read_score(where: str, text: str, meaning: str, decimal_comma: bool) -> float:
    """The logit of P(fake)."""
    try:
        score = float(text.replace(',', '.') if decimal_comma else text)
    except ValueError:
        score = math.nan
    if not math.isfinite(score):
        raise UserError(
            f'{where}: the score "{text}" is no finite number. Without such lines their images are missing.'
        )
    label, _, logit = meaning.partition('-')
    if not logit:
        if not 0 <= score <= 1:
            raise UserError(
                f'{where}: the score {text} is no probability. If a score may be any number and decides at 0, say '
                f'--scores-mean {label}-logit.'
            )
        score = logit_of(score)
    return score if label == 'fake' else -score


def logit_of(probability: float) -> float:
    """0 and 1 are taken for their nearest neighbours, because JSON has no infinity."""
    probability = min(max(probability, 5e-324), 1 - 2**-53)
    return math.log(probability) - math.log1p(-probability)
