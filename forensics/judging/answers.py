"""What is said of a picture or a video: its faces, P(fake) of each, a verdict in words, and what makes it doubtful.

`seen_in` finds the faces, `versions` gives what the detector has to score, `picture_answer` puts the words together. An
answer holds plain values only.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from PIL import Image, ImageOps

from forensics.data.crops import Settings
from forensics.judging.detector import Detector
from forensics.pictures import faces, perturbations

# From the least to the most suspicious; a picture's verdict is that of its most suspicious face.
VERDICTS = ('no face', 'real', 'unsure', 'fake')

# What happens to every picture that is passed on, and changes nothing in it that anybody sees.
HARMLESS: dict[str, Callable[[Image.Image], Image.Image]] = {
    'JPEG 90': partial(perturbations.jpeg, quality=90),
    'JPEG 75': partial(perturbations.jpeg, quality=75),
    'scaled by 0.9': partial(perturbations.rescale, factor=0.9),
    'scaled by 1.1': partial(perturbations.rescale, factor=1.1),
    'mirrored': ImageOps.mirror,
}
VERSIONS = 1 + len(HARMLESS)

MOST_FACES = 50  # of a picture, the biggest ones
SEGMENT = 5  # neighbouring frames of a video, of which the most suspicious are told


# --- from P(fake) to words ------------------------------------------------------------


@dataclass(frozen=True)
class Rule:
    """How a detector's P(fake) becomes a verdict."""

    threshold: float = 0.5
    chosen_on: str | None = None  # None: nobody chose it
    unsure: tuple[float, float] | None = None  # between these P(fake) is no answer
    wrong: float | None = None  # outside, at most this share of the answers was wrong in validation
    smallest_face: float = 0  # shorter side in pixels

    @classmethod
    def of(cls, detector: Detector) -> 'Rule':
        fitted = detector.fitted
        chosen_on = fitted.get('chosen_on', [] if detector.threshold is None else detector.datasets)
        return cls(
            threshold=0.5 if detector.threshold is None else detector.threshold,
            chosen_on=validation_parts(list(chosen_on)) if chosen_on else None,
            unsure=tuple(fitted['unsure']) if fitted.get('unsure') else None,
            wrong=fitted.get('wrong'),
            smallest_face=detector.card.get('smallest_face') or 0,
        )

    def decide(self, p_fake: float) -> str:
        return 'fake' if p_fake >= self.threshold else 'real'

    def judge(self, p_fake: float, harmless: Sequence[float], shorter_side: float | None) -> tuple[str, list[str]]:
        """(verdict, the reasons why it is unsure)."""
        reasons = []
        low, high = self.unsure or (math.inf, -math.inf)
        if low < p_fake < high:
            risk = f'; outside, at most {self.wrong:.0%} of the answers were wrong there' if self.wrong else ''
            reasons.append(f'P(fake) from {low:.2f} to {high:.2f} is left open by the validation data{risk}')
        if shorter_side is not None and shorter_side < self.smallest_face:
            reasons.append(
                f'the face is {shorter_side:.0f} pixels wide, and the smallest trained on was {self.smallest_face:.0f}'
            )
        turned = sum(self.decide(value) != self.decide(p_fake) for value in harmless)
        if turned:
            reasons.append(f'{turned} of {len(harmless)} harmless changes turn the verdict')
        return ('unsure' if reasons else self.decide(p_fake)), reasons


def about(detector: Detector) -> dict:
    """What a reader of an answer has to know of who gave it."""
    rule = Rule.of(detector)
    return {
        'file': str(detector.file),
        'sha256': detector.sha256,
        'model': detector.name,
        'trained_on': detector.card.get('trained_on') or detector.trained_on,
        'fails_on': detector.card.get('fails_on'),
        'licence': detector.card.get('licence'),
        'smallest_face': detector.card.get('smallest_face'),
        'threshold': rule.threshold,
        'threshold_chosen_on': rule.chosen_on,
        'unsure': rule.unsure,
        'temperature': detector.fitted.get('temperature', 1.0),
    }


def validation_parts(names: list[str]) -> str:
    *others, last = names
    return f'the validation parts of {", ".join(others)} and {last}' if others else f'the validation part of {last}'


# --- pictures ------------------------------------------------------------


@dataclass
class Seen:
    """A face as the detector gets it; without a box it is the whole picture."""

    box: dict[str, float] | None
    crop: Image.Image


def seen_in(image: Image.Image, margin: float | None, whole_image: bool = False) -> list[Seen]:
    """The faces, the biggest first; `whole_image` takes the middle square if there is none."""
    found = [seen_face(image, face, margin) for face in faces.find_faces(image)[:MOST_FACES]]
    if not found and whole_image:
        found.append(Seen(None, faces.crop_square(image, faces.centre_square(image.size), Settings.size)))
    return found


def seen_face(image: Image.Image, face: faces.Face, margin: float | None) -> Seen:
    """The face, cropped like the pictures of a data set."""
    square = faces.square_around(face, image.size, Settings.margin if margin is None else margin)
    box = {key: round(getattr(face, key), 1) for key in ('x', 'y', 'w', 'h')}
    return Seen(box, faces.crop_square(image, square, Settings.size))


def versions(crop: Image.Image) -> list[Image.Image]:
    """The crop, and what harmless changes make of it."""
    return [crop, *(change(crop) for change in HARMLESS.values())]


def picture_answer(size: tuple[int, int], found: Sequence[Seen], p_fake: np.ndarray, rule: Rule) -> dict:
    """`p_fake` has a row for each face, its columns those of `versions`."""
    scored = [face_answer(face, row, rule) for face, row in zip(found, p_fake.tolist(), strict=True)]
    worst = max(scored, key=suspicion, default={'verdict': 'no face', 'p_fake': None, 'reasons': []})
    answer = {'kind': 'image', 'width': size[0], 'height': size[1]}
    answer |= {key: worst[key] for key in ('verdict', 'p_fake', 'reasons')}
    return {**answer, 'faces': scored}


def face_answer(face: Seen, p_fake: Sequence[float], rule: Rule) -> dict:
    as_it_is, *harmless = p_fake
    shorter_side = min(face.box['w'], face.box['h']) if face.box else None
    verdict, reasons = rule.judge(as_it_is, harmless, shorter_side)
    if face.box is None:
        verdict, reasons = 'unsure', [*reasons, 'no face was found, and the whole picture was scored all the same']
    return {
        'box': face.box,
        'verdict': verdict,
        'reasons': reasons,
        'p_fake': as_it_is,
        'stability': dict(zip(HARMLESS, harmless, strict=True)),
        'range': [min(p_fake), max(p_fake)],
    }


def suspicion(answer: dict) -> tuple:
    return VERDICTS.index(answer['verdict']), answer['p_fake'] or 0.0


# --- videos ------------------------------------------------------------


def video_answer(seconds: Sequence[float], p_fake: Sequence[float | None], rule: Rule) -> dict:
    """`p_fake` of each frame's most suspicious face; None where it has no face."""
    curve = [[second, value] for second, value in zip(seconds, p_fake, strict=True)]
    scored = [(second, value) for second, value in curve if value is not None]
    answer = {'kind': 'video', 'frames': len(curve), 'frames_with_a_face': len(scored), 'curve': curve}
    if not scored:
        return {**answer, 'verdict': 'no face', 'p_fake': None, 'reasons': [], 'worst_segment': None}
    mean = float(np.mean([value for _, value in scored]))
    worst = worst_segment(scored)
    verdict, reasons = rule.judge(mean, [], None)
    if rule.decide(worst['p_fake']) != rule.decide(mean):
        verdict = 'unsure'
        reasons.append(f'seconds {worst["start"]:.1f} to {worst["end"]:.1f} look fake (P(fake) {worst["p_fake"]:.2f})')
    return {**answer, 'verdict': verdict, 'p_fake': mean, 'reasons': reasons, 'worst_segment': worst}


def worst_segment(scored: Sequence[tuple[float, float]]) -> dict:
    """The neighbouring frames with the highest mean."""
    length = min(SEGMENT, len(scored))
    windows = [scored[start : start + length] for start in range(len(scored) - length + 1)]
    worst = max(windows, key=lambda window: sum(value for _, value in window))
    mean = float(np.mean([value for _, value in worst]))
    return {'start': worst[0][0], 'end': worst[-1][0], 'p_fake': mean}
