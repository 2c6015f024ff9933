"""Files that a stranger may send: predict.py answers or names each, within bounds, and touches nothing else."""

import io
import json
import os
import resource
import socket
import struct
import sys
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms
from test_faces import write_video

READABLE, UNREADABLE = {'real', 'fake', 'unsure', 'no face'}, {'unreadable'}
MEMORY = 2**31  # bytes that a run over all of them may take


def noise(mode: str = 'RGB', size: tuple[int, int] = (48, 40)) -> Image.Image:
    rng = np.random.default_rng(0)
    return Image.fromarray(rng.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)).convert(mode)


def saved(image: Image.Image, kind: str, **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def png(width: int, height: int, depth: int, colour: int, data: bytes, chunks: bytes = b'') -> bytes:
    header = chunk(b'IHDR', struct.pack('>IIBBBBB', width, height, depth, colour, 0, 0, 0))
    return b'\x89PNG\r\n\x1a\n' + header + chunks + chunk(b'IDAT', zlib.compress(data, 9)) + chunk(b'IEND', b'')


def chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack('>I', len(data)) + name + data + struct.pack('>I', zlib.crc32(name + data))


def oriented(value: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = value
    return exif


def cut(content: bytes, share: float = 0.5) -> bytes:
    return content[: int(share * len(content))]


def text_bomb() -> bytes:
    return b'parameters\0\0' + zlib.compress(b'Steps: 20' + b'a' * 2**26)


def sixteen_bits() -> Image.Image:
    return Image.fromarray(np.arange(48 * 40, dtype=np.uint16).reshape(40, 48) * 30)


FRAMES = {'save_all': True, 'append_images': [noise('L'), noise('1')]}
BOMB = b'\0' * (30_001 * 4000)  # rows of a one-byte filter and 4000 bytes: 32,000 x 30,000 pixels of a bit
HUGE_BMP = b'BM' + struct.pack('<IIIIiiHHIIiiII', 54, 0, 54, 40, 2**31 - 1, 2**31 - 1, 1, 24, 0, 0, 0, 0, 0, 0)
WIDTH_48, HUGE_WIDTH = (struct.pack('<HHII', 256, 4, 1, width) for width in (48, 2**31 - 1))
PROFILE = ImageCms.ImageCmsProfile(ImageCms.createProfile('sRGB'))

# name -> (content, whether a picture can be had from it)
FILES: dict[str, tuple[Callable[[], bytes], set[str]]] = {
    'empty.jpg': (lambda: b'', UNREADABLE),
    'one_byte.jpg': (lambda: b'\xff', UNREADABLE),
    'magic_only.jpg': (lambda: b'\xff\xd8\xff', UNREADABLE),
    'text.jpg': (lambda: b'I am no picture', UNREADABLE),
    'page.png': (lambda: b'<html><img src=x onerror=alert(1)></html>', UNREADABLE),
    'drawing.png': (lambda: b'<svg><image href="file:///etc/passwd"/></svg>', UNREADABLE),
    'document.jpg': (lambda: b'%PDF-1.4\n%%EOF', UNREADABLE),
    'program.jpg': (lambda: b'%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(out) (w) file\n', UNREADABLE),
    'archive.png': (lambda: b'PK\3\4' + b'\0' * 100, UNREADABLE),
    'executable.gif': (lambda: b'\x7fELF' + b'\0' * 100, UNREADABLE),
    'zeros.bmp': (lambda: b'\0' * 100_000, UNREADABLE),
    'random.png': (lambda: np.random.default_rng(1).bytes(50_000), UNREADABLE),
    'cut.jpg': (lambda: cut(saved(noise(), 'JPEG')), UNREADABLE),
    'cut.png': (lambda: cut(saved(noise(), 'PNG')), UNREADABLE),
    'cut.webp': (lambda: cut(saved(noise(), 'WEBP')), UNREADABLE),
    'cut.gif': (lambda: cut(saved(noise('P'), 'GIF')), UNREADABLE),
    'cut.tif': (lambda: cut(saved(noise(), 'TIFF')), UNREADABLE),
    'cut.bmp': (lambda: cut(saved(noise(), 'BMP')), UNREADABLE),
    'header_only.png': (lambda: saved(noise(), 'PNG')[:40], UNREADABLE),
    'checksum.png': (lambda: saved(noise(), 'PNG').replace(b'IDAT', b'IDAX'), UNREADABLE),
    'bomb.png': (lambda: png(32_000, 30_000, 1, 0, BOMB), UNREADABLE),
    'large.png': (lambda: png(9_992, 9_999, 1, 0, b'\0' * (9_999 * (1 + 9_992 // 8))), READABLE),
    'huge.png': (lambda: png(2**31 - 1, 2**31 - 1, 8, 2, b''), UNREADABLE),
    'huge.gif': (lambda: b'GIF89a\xff\xff\xff\xff\0\0\0,\0\0\0\0\xff\xff\xff\xff\0\2\2D\1\0;', UNREADABLE),
    'huge.bmp': (lambda: HUGE_BMP, UNREADABLE),
    'huge.tif': (lambda: saved(noise(), 'TIFF').replace(WIDTH_48, HUGE_WIDTH), UNREADABLE),
    'negative.ppm': (lambda: b'P6 -5 5 255\n', UNREADABLE),
    'huge.ppm': (lambda: b'P6 99999 99999 255\n', UNREADABLE),
    'less_than_said.ppm': (lambda: b'P6 9000 9000 255\nabc', UNREADABLE),
    'png_named.jpg': (lambda: saved(noise(), 'PNG'), READABLE),
    'jpeg_named.png': (lambda: saved(noise(), 'JPEG'), READABLE),
    'webp_named.tif': (lambda: saved(noise(), 'WEBP'), READABLE),
    'jpeg_named.mp4': (lambda: saved(noise(), 'JPEG'), READABLE),
    'trailing.jpg': (lambda: saved(noise(), 'JPEG') + b'<script>' * 1000, READABLE),
    'progressive.jpg': (lambda: saved(noise(), 'JPEG', progressive=True), READABLE),
    'animated.gif': (lambda: saved(noise('P'), 'GIF', **FRAMES), READABLE),
    'animated.webp': (lambda: saved(noise(), 'WEBP', **FRAMES), READABLE),
    'animated.png': (lambda: saved(noise(), 'PNG', **FRAMES), READABLE),
    'pages.tif': (lambda: saved(noise(), 'TIFF', **FRAMES), READABLE),
    'turned.jpg': (lambda: saved(noise(), 'JPEG', exif=oriented(6)), READABLE),
    'turned_wrongly.jpg': (lambda: saved(noise(), 'JPEG', exif=oriented(99)), READABLE),
    'broken_exif.jpg': (lambda: saved(noise(), 'JPEG', exif=b'Exif\0\0II*\0\xff\xff\xff\xff'), READABLE),
    'grey.jpg': (lambda: saved(noise('L'), 'JPEG'), READABLE),
    'cmyk.jpg': (lambda: saved(noise('CMYK'), 'JPEG'), READABLE),
    'bits.png': (lambda: saved(noise('1'), 'PNG'), READABLE),
    'sixteen_bits.png': (lambda: saved(sixteen_bits(), 'PNG'), READABLE),
    'sixteen_bits.tif': (lambda: saved(sixteen_bits(), 'TIFF'), READABLE),
    'floats.tif': (lambda: saved(Image.fromarray(np.full((40, 48), np.nan, np.float32)), 'TIFF'), READABLE),
    'lab.tif': (lambda: saved(Image.new('LAB', (48, 40)), 'TIFF'), READABLE),
    'palette.png': (lambda: saved(noise('P'), 'PNG', transparency=0), READABLE),
    'transparent.png': (lambda: saved(noise('RGBA'), 'PNG'), READABLE),
    'grey_and_transparent.png': (lambda: saved(noise('LA'), 'PNG'), READABLE),
    'profile.jpg': (lambda: saved(noise(), 'JPEG', icc_profile=b'no profile'), READABLE),
    'own_profile.jpg': (lambda: saved(noise(), 'JPEG', icc_profile=PROFILE.tobytes()), READABLE),
    'text_bomb.png': (lambda: png(8, 8, 8, 0, b'\0' * 72, chunk(b'zTXt', text_bomb())), UNREADABLE),
    'one_pixel.png': (lambda: saved(noise(size=(1, 1)), 'PNG'), READABLE),
    'a_row.png': (lambda: saved(Image.new('RGB', (30_000, 1)), 'PNG'), READABLE),
    'a_column.png': (lambda: saved(Image.new('RGB', (1, 30_000)), 'PNG'), READABLE),
    'with\nnewline.png': (lambda: saved(noise(), 'PNG'), READABLE),
    'with\x1b[2Jescape.png': (lambda: saved(noise(), 'PNG'), READABLE),
    'with\udcff\udcfebytes.png': (lambda: saved(noise(), 'PNG'), READABLE),
    '=SUM(A1).png': (lambda: saved(noise(), 'PNG'), READABLE),
    '-rf.png': (lambda: saved(noise(), 'PNG'), READABLE),
    'empty.mp4': (lambda: b'', UNREADABLE),
    'header_only.mp4': (lambda: b'\0\0\0\x18ftypmp42\0\0\0\0mp42isom', UNREADABLE),
    'text.mkv': (lambda: b'I am no video', UNREADABLE),
    'list.ts': (lambda: b'#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n#EXT-X-ENDLIST\n', UNREADABLE),
    'list.mp4': (lambda: b'ffconcat version 1.0\nfile /etc/passwd\n', UNREADABLE),
}  # fmt: skip


def lay_out(folder: Path) -> dict[str, set[str]]:
    """Every file, and what is no plain file; the expected verdicts."""
    expected = {}
    for name, (content, verdicts) in FILES.items():
        (folder / name).write_bytes(content())
        expected[name] = verdicts
    write_video(folder / 'film.mp4', 3)
    film = (folder / 'film.mp4').read_bytes()
    (folder / 'film_named.jpg').write_bytes(film)
    (folder / 'cut_film.mp4').write_bytes(cut(film, 0.3))
    os.mkfifo(folder / 'pipe.jpg')
    (folder / 'link.png').symlink_to('one_pixel.png')
    (folder / 'dangling.png').symlink_to('nowhere.png')
    (folder / 'circle.png').symlink_to('circle.png')
    (folder / 'device.png').symlink_to('/dev/zero')
    (folder / 'up').symlink_to('..')  # a folder that holds itself
    (folder / 'folder.png').mkdir()
    with socket.socket(socket.AF_UNIX) as opened:
        opened.bind(str(folder / 'socket.png'))
    expected |= dict.fromkeys(('film.mp4', 'film_named.jpg', 'link.png'), READABLE)
    unreadable = ('cut_film.mp4', 'pipe.jpg', 'dangling.png', 'circle.png', 'device.png', 'socket.png')
    return expected | dict.fromkeys(unreadable, UNREADABLE)


@pytest.fixture(scope='module')
def hostile(tmp_path_factory) -> tuple[Path, dict[str, set[str]]]:
    folder = tmp_path_factory.mktemp('hostile') / 'x'
    folder.mkdir()
    return folder, lay_out(folder)


def bounded_memory() -> None:
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, MEMORY))


def test_every_hostile_file_is_answered_or_named(hostile, run_script, exported_bonus, workdir):
    folder, expected = hostile
    assert len(expected) > 50
    before = sorted(os.walk(folder.parent))
    done = run_script(
        'predict.py', folder, '--json', '--checkpoint', exported_bonus, check=False, preexec_fn=bounded_memory
    )
    assert done.returncode == 3, done.stderr
    assert done.stderr == ''
    found = {os.path.basename(answer['file']): answer for answer in json.loads(done.stdout)['answers']}
    wrong = {name: found.get(name) for name in expected if found.get(name, {}).get('verdict') not in expected[name]}
    assert not wrong and found.keys() == expected.keys()
    for name in expected:  # refused before anything is decoded
        if name.startswith(('bomb', 'huge')):
            assert found[name]['reasons'] == ['more than 100,000,000 pixels']
    assert all(answer['reasons'][0] for answer in found.values() if answer['verdict'] == 'unreadable')
    assert sorted(os.walk(folder.parent)) == before and not list(workdir.iterdir())


def test_names_are_printed_on_one_line(hostile, run_script, exported_bonus):
    folder, expected = hostile
    names = [folder / name for name in expected if name.startswith('with')]
    done = run_script('predict.py', *names, '--checkpoint', exported_bonus, check=False)
    assert done.returncode == 2
    rows = [line for line in done.stdout.splitlines() if 'with' in line]
    assert [row.rpartition('/')[2] for row in rows] == [
        r'with\nnewline.png', r'with\x1b[2Jescape.png', r'with\xff\xfebytes.png',
    ]  # fmt: skip
    assert '\x1b' not in done.stdout


@pytest.mark.skipif(sys.platform != 'linux', reason='needs /dev/zero')
def test_an_endless_file_is_refused(run_script, exported_bonus):
    done = run_script('predict.py', '/dev/zero', '--checkpoint', exported_bonus, check=False)
    assert done.returncode == 3 and 'neither a file nor a folder' in done.stdout
