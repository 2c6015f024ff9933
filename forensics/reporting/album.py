"""Figures inside the page: those that commands left, made smaller, and those that are drawn for the report."""

import base64
import io
from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from forensics import records
from forensics.judging import plots
from forensics.reporting.evidence import Evidence
from forensics.reporting.page import UNCHECKED, Html, code, element, joined, mark, say

QUALITY = 80  # of JPEG, which a PDF takes over as it is; with WebP its size would be five times that


class Album:
    """Figures `width` pixels wide; without a width there are captions alone, for who wants the numbers only."""

    def __init__(self, folder: str | Path, width: int | None, evidence: Evidence):
        self.folder, self.width, self.evidence = Path(folder), width, evidence
        self.silent = False  # whether a figure was shown that does not say of which training it is

    def has(self, file: str, of: Sequence[str] = ()) -> bool:
        """Whether there is such a figure, and if it says of which trainings it is, of the newest of these names."""
        said = records.trainings_of_figure(self.folder / file) if of else None
        belongs = all(any(self.evidence.belongs(facts, name) for name in of) for facts in said or [])
        return (self.folder / file).is_file() and belongs

    def show(self, file: str, caption, alt: str, command: str = '', wide: bool = False, of: Sequence[str] = ()) -> Html:
        """A command's figure, or the command that draws it; `of` names the trainings that it is to show."""
        path = self.folder / file
        if not path.is_file():
            return remark(say('Not drawn yet: {}', code(command))) if command else Html('')
        if not self.has(file, of):
            return remark(say(
                '{} shows another training, or another checkpoint, than the newest of {}. Draw it again: {}',
                path.name, ' and '.join(of), code(command),
            ))  # fmt: skip
        if of and records.trainings_of_figure(path) is None:
            caption, self.silent = joined([caption, mark('does not say of which training')]), True
        try:
            with Image.open(path) as opened:
                picture = opened.convert('RGB')  # also without a width: a damaged figure is a finding
        except (OSError, SyntaxError, ValueError) as error:  # what Pillow raises for a damaged PNG
            self.evidence.broken[str(path)] = (
                f'{path} cannot be read as a picture ({error}). Draw it again with `{command}`.'
            )
            return remark(say('{} cannot be read. Draw it again: {}', path.name, code(command)))
        return framed(self._picture(picture, alt), caption, wide)

    def draw(self, figure, caption, alt: str) -> Html:
        """A figure of ours; `figure` makes it, and is called only if it is wanted."""
        if self.width is None:
            return framed(Html(''), caption)
        file = io.BytesIO()
        with plots.style():
            figure().savefig(file, format='png')
        with Image.open(file) as opened:
            return framed(self._picture(opened.convert('RGB'), alt), caption)

    def _picture(self, image: Image.Image, alt: str) -> Html:
        if self.width is None:
            return Html('')
        if image.width > self.width:
            image = image.resize((self.width, round(image.height * self.width / image.width)), Image.Resampling.LANCZOS)
        size = {'width': image.width, 'height': image.height}
        return Html(element('img', src=data_uri(image), alt=alt, **size).removesuffix('</img>'))


def data_uri(image: Image.Image) -> str:
    """As PNG of few colours or as JPEG, whichever is smaller: lines and letters are one, faces the other."""
    kinds = {
        'png': (image.quantize(128, Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE), {}),
        'jpeg': (image, {'quality': QUALITY}),
    }
    found = {}
    for kind, (picture, options) in kinds.items():
        file = io.BytesIO()
        picture.save(file, kind, **options)
        found[kind] = file.getvalue()
    smaller = min(found, key=lambda kind: len(found[kind]))
    return f'data:image/{smaller};base64,' + base64.b64encode(found[smaller]).decode()


def remark(words: Html) -> Html:
    """In place of a figure."""
    return element('p', words, **UNCHECKED)


def framed(picture: Html, caption, wide: bool = False) -> Html:
    return element('figure', picture, element('figcaption', caption), **({'class_': 'wide'} if wide else {}))
