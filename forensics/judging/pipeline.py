"""From files to answers: threads decode, find faces and crop while the detector scores a batch of earlier ones.

Decoding and OpenCV's networks do not hold Python's lock, so that threads use all cores. Only a window of files is in
memory at a time.
"""

import io
import itertools
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np
from PIL import Image

from forensics.judging import answers, scoring
from forensics.judging.answers import Rule, Seen
from forensics.judging.detector import Detector, Doubts
from forensics.judging.exported import usable_cores
from forensics.pictures import provenance
from forensics.pictures.files import open_image
from forensics.pictures.sources import Source, is_video
from forensics.pictures.video import sample_frames

BATCH = 4  # files that are scored together
AHEAD = 2  # files a core that are prepared while others are scored
WIDEST = 1024  # pixels of the copy for a report
HEAD = 16 * 2**20  # of a video, searched for what it says of itself


@dataclass(frozen=True)
class Choices:
    """What a user may choose about the way to an answer."""

    whole_image: bool = False
    frames: int = 32
    keep_copies: bool = False  # for reports


@dataclass
class Prepared:
    """A file that waits for its scores."""

    source: Source
    images: list[Image.Image]  # to be scored
    finish: Callable[[np.ndarray], dict]  # their P(fake) -> the answer
    copy: Image.Image | None = None  # of the picture, smaller
    seen: list[Seen] = field(default_factory=list)


def answer_all(
    sources: Sequence[Source], detector: Detector, choices: Choices, doubts: Doubts
) -> Iterator[tuple[Prepared, dict]]:
    """(what was seen, answer) for each source, in order. What cannot be read gets the verdict `unreadable`."""
    import cv2

    threads = max(1, min(usable_cores(), len(sources)))
    cv2.setNumThreads(usable_cores() // threads)  # the files are spread over the cores already
    prepare_next = PrepareFor(detector, choices)
    with ThreadPoolExecutor(threads) as pool:
        prepared = in_order(pool, prepare_next, sources, ahead=AHEAD * threads)
        while batch := list(itertools.islice(prepared, BATCH)):
            images = [image for each in batch for image in each.images]
            p_fake = scoring.fake_probability(detector.outputs(images, doubts)) if images else np.zeros(0)
            for each in batch:
                own, p_fake = np.split(p_fake, [len(each.images)])
                yield each, each.finish(own)


def in_order(pool: ThreadPoolExecutor, function: Callable, items: Iterable, ahead: int) -> Iterator:
    """The results in the items' order, with at most `ahead` of them begun and not yet taken."""
    items, begun = iter(items), deque()
    while True:
        begun.extend(pool.submit(function, item) for item in itertools.islice(items, ahead - len(begun)))
        if not begun:
            return
        yield begun.popleft().result()


@dataclass
class PrepareFor:
    """Open a source and cut out what the detector shall score."""

    detector: Detector
    choices: Choices

    def __post_init__(self) -> None:
        self.rule, self.margin = Rule.of(self.detector), self.detector.card.get('margin')

    def __call__(self, source: Source) -> Prepared:
        try:
            if is_video(source.name, source.head(16)):
                return self.video(source)
            return self.picture(source)
        except Exception as error:  # whatever a stranger's file makes a decoder raise costs only itself
            reason = getattr(error, 'reason', None) or f'cannot be read ({type(error).__name__})'
            answer = {'kind': None, 'verdict': 'unreadable', 'p_fake': None, 'reasons': [reason]}
            return Prepared(source, [], lambda _: named(source, answer))

    def picture(self, source: Source) -> Prepared:
        content = source.content()
        image = open_image(source.name, upright=True, content=io.BytesIO(content))
        seen = answers.seen_in(image, self.margin, self.choices.whole_image)
        images = [version for face in seen for version in answers.versions(face.crop)]
        said, size = provenance.claims(content), image.size

        def finish(p_fake: np.ndarray) -> dict:
            rows = p_fake.reshape(len(seen), answers.VERSIONS)
            answer = answers.picture_answer(size, seen, rows, self.rule)
            return named(source, {**answer, 'says_of_itself': said})

        return Prepared(source, images, finish, self.copy_of(image), seen)

    def copy_of(self, image: Image.Image) -> Image.Image | None:
        """Files wait for their scores, and of large ones only a few would fit into memory."""
        if not self.choices.keep_copies:
            return None
        scale = min(1.0, WIDEST / max(image.size))
        return image.resize([max(1, round(scale * side)) for side in image.size], Image.Resampling.LANCZOS)

    def video(self, source: Source) -> Prepared:
        seconds, seen = [], []
        content = None if source.data is None else io.BytesIO(source.data)
        for second, frame in sample_frames(source.name, self.choices.frames, content):
            seconds.append(second)
            seen.append(answers.seen_in(frame, self.margin, self.choices.whole_image))
        said = provenance.claims(source.head(HEAD))

        def finish(p_fake: np.ndarray) -> dict:
            frames = np.split(p_fake, np.cumsum([len(faces) for faces in seen])[:-1])
            worst = [float(frame.max()) if len(frame) else None for frame in frames]
            return named(source, {**answers.video_answer(seconds, worst, self.rule), 'says_of_itself': said})

        return Prepared(source, [face.crop for faces in seen for face in faces], finish)


def named(source: Source, answer: dict) -> dict:
    return {'file': source.name, **answer}
