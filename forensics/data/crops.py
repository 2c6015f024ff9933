"""One source in, its face crops on the disk out: the work that preprocessing.py spreads over cores and machines."""

import hashlib
import re
import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from PIL import Image

from forensics.data.duplicates import picture_hash
from forensics.data.layouts import Source
from forensics.pictures import faces
from forensics.pictures.files import open_image
from forensics.pictures.video import is_video_file, sample_frames
from forensics.records import atomic_path

ORIENTATION = 0x0112  # the EXIF tag


@dataclass(frozen=True)
class Settings:
    """Settings that decide how a crop looks. `size` None keeps each face's own scale; `frames` None takes the first;
    `format` None is png, but leaves a file that needs no change as it is."""

    size: int | None = 256
    frames: int | None = 10
    detect: bool = True
    several: str = 'biggest'
    no_face: str = 'skip'
    min_face: int = 64
    min_sharpness: float = 20.0
    margin: float = 0.2
    align: bool = False
    format: str | None = None

    def digest(self) -> str:
        return hashlib.sha256(repr(sorted(asdict(self).items())).encode()).hexdigest()[:12]


def extract(source: Source, file: str, folder: str, settings: Settings) -> dict:
    """{path, crops: [{name, time, x, y, w, h, blur, hash}], left_out: [{time, reason, detail}]}, all plain values.

    `file` is the source's path on the worker. The crops are written into `folder`; their names depend only on the
    source's own path, so repeating the work writes the same files.
    """
    import cv2

    cv2.setNumThreads(1)  # the sources are spread over the cores; threads inside each would only wait for each other
    found = {'path': source.path, 'crops': [], 'left_out': []}
    try:
        for time, image in pictures(Path(file), settings):
            for crop in crops_of(image, settings):
                if 'reason' in crop:
                    found['left_out'].append({'time': time, **crop})
                else:
                    number = len(found['crops'])
                    found['crops'].append(store(crop, time, number, source, Path(file), Path(folder), settings))
    except Exception as error:  # a broken file costs only itself
        reason = getattr(error, 'reason', None) or f'{type(error).__name__}: {error}'
        for crop in found['crops']:
            (Path(folder) / crop['name']).unlink(missing_ok=True)
        return {'path': source.path, 'crops': [], 'left_out': [{'time': None, 'reason': 'broken', 'detail': reason}]}
    return found


def pictures(file: Path, settings: Settings) -> Iterator[tuple[float | None, Image.Image]]:
    if is_video_file(file):
        yield from sample_frames(file, settings.frames)
    else:
        yield None, open_image(file, upright=True)


def crops_of(image: Image.Image, settings: Settings) -> Iterator[dict]:
    """{image, face, square} for each face that the settings accept, {reason, detail} for what they leave out."""
    if not settings.detect:
        yield whole(image)
        return
    found = faces.find_faces(image)
    if not found:
        yield whole(image) if settings.no_face == 'whole' else {'reason': 'no face', 'detail': ''}
    elif len(found) > 1 and settings.several == 'skip':
        yield {'reason': 'several faces', 'detail': f'{len(found)} faces'}
    else:
        for face in found if settings.several == 'all' else found[:1]:
            yield judge(image, face, settings)
        if settings.several == 'biggest':
            for face in found[1:]:
                yield {'reason': 'not the biggest face', 'detail': f'{face.w:.0f}x{face.h:.0f}'}


def whole(image: Image.Image) -> dict:
    left, top, side = faces.centre_square(image.size)
    face = faces.Face(left, top, side, side, 1.0, ((left, top), (left + side, top)))
    return {'image': image, 'face': face, 'square': (left, top, side)}


def judge(image: Image.Image, face: faces.Face, settings: Settings) -> dict:
    if min(face.w, face.h) < settings.min_face:
        return {'reason': 'too small', 'detail': f'{face.w:.0f}x{face.h:.0f}'}
    blur = faces.sharpness(image, face)
    if blur < settings.min_sharpness:
        return {'reason': 'too blurred', 'detail': f'{blur:.1f}'}
    if settings.align:
        image = faces.level(image, face)
    return {'image': image, 'face': face, 'square': faces.square_around(face, image.size, settings.margin)}


def store(
    crop: dict, time: float | None, number: int, source: Source, file: Path, folder: Path, settings: Settings
) -> dict:
    image, face = crop['image'], crop['face']
    picture = faces.crop_square(image, crop['square'], settings.size)
    whole_file = not settings.detect and picture.size == image.size and not is_video_file(file)
    as_it_is = whole_file and settings.format is None and stands_upright(file)

    stem = re.sub(r'[^A-Za-z0-9]+', '-', Path(source.path).stem).strip('-')[:40]
    digest = hashlib.sha256(f'{source.path}\0{number}'.encode()).hexdigest()[:12]
    suffix = file.suffix.lower() if as_it_is else f'.{settings.format or "png"}'
    name = f'{stem}-{digest}{suffix}'
    with atomic_path(folder / name, one_of_many=True) as temporary:
        if as_it_is:  # byte for byte: a second encoding would be a trace of its own
            shutil.copyfile(file, temporary)
        elif settings.format == 'jpg':
            picture.save(temporary, quality=95, subsampling=0)
        else:
            picture.save(temporary)
    box = {key: round(getattr(face, key), 1) for key in ('x', 'y', 'w', 'h')}
    blur = round(faces.sharpness(image, face), 1)
    return {'name': name, 'time': time, **box, 'blur': blur, 'hash': picture_hash(picture).tobytes().hex()}


def stands_upright(file: Path) -> bool:
    with Image.open(file) as original:
        return original.getexif().get(ORIENTATION, 1) == 1
