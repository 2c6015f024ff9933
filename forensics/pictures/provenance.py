"""What a file says of itself: camera and software, a generator's parameters, the IPTC's source type, a C2PA manifest.

A claim, not evidence: whoever made the file may write or remove it. So it stands beside a score and never changes it.
Only bytes are searched, within bounds; nothing is executed, decompressed beyond a limit or looked up.
"""

import contextlib
import html
import re
import struct
import zlib
from collections.abc import Iterator

from PIL import Image

LONGEST = 300  # characters of a value that are kept
MOST_TEXT = 2**20  # bytes that a compressed text may grow to
MOST_PARTS = 10_000

SOFTWARE, MAKE, MODEL, EXIF_IFD, USER_COMMENT = 0x0131, 0x010F, 0x0110, 0x8769, 0x9286

SOURCE_TYPES = {
    'trainedAlgorithmicMedia': 'made by a generative model',
    'compositeWithTrainedAlgorithmicMedia': 'edited with a generative model',
    'algorithmicMedia': 'made by an algorithm that was not trained on pictures',
    'compositeSynthetic': 'put together of parts, some of them synthetic',
    'compositeCapture': 'put together of photographs',
    'composite': 'put together of parts',
    'digitalCapture': 'taken by a camera',
    'computationalCapture': 'computed from several shots of a camera',
    'digitalArt': 'drawn by a person',
    'digitalCreation': 'made by a person',
    'humanEdits': 'edited by a person',
    'minorHumanEdits': 'edited by a person, a little',
    'virtualRecording': 'recorded from a virtual scene',
    'screenCapture': 'a picture of a screen',
}
SOURCE_TYPE = re.compile(rb'digitalsourcetype/(\w{1,60})')
CREATOR_TOOL = re.compile(rb'CreatorTool(?:="([^"]{1,300})"|>([^<]{1,300})<)')
# The texts that Stable Diffusion's front ends write into a PNG, and what tells them from another use of the word.
PARAMETERS = {
    'parameters': re.compile(r'Steps: \d+'),  # AUTOMATIC1111, Forge
    'prompt': re.compile(r'"class_type"|^\s*\{'),  # ComfyUI
    'workflow': re.compile(r'"nodes"'),  # ComfyUI
    'sd-metadata': re.compile('.'),  # InvokeAI
    'invokeai_metadata': re.compile('.'),
    'dream': re.compile('.'),
    'comment': re.compile(r'"(steps|sampler|uc)"'),  # NovelAI
    'fooocus_scheme': re.compile('.'),
    'generation_data': re.compile('.'),
}
GENERATORS = re.compile(
    r'stable.?diffusion|midjourney|dall.?e|firefly|comfyui|novelai|invokeai|imagen|flux\.?1|automatic1111|fooocus', re.I
)
C2PA_BOX = bytes.fromhex('d8fec3d61b0e483c92975828877ec481')  # of MP4 and HEIF


def claims(content: bytes) -> list[dict[str, str]]:
    """[{source, value, meaning}]; the meaning is empty where the value speaks for itself."""
    found: list[dict[str, str]] = []
    for kind, data in whole_parts(parts_of(content)):
        if kind == 'exif':
            found += exif_claims(data)
        elif kind == 'xmp':
            found += xmp_claims(data)
        elif kind == 'c2pa':
            found.append(claim('C2PA', 'a manifest', 'a signed statement of origin; nobody checked the signature here'))
            found += source_types(data)
        elif kind == 'text':
            found += text_claims(*data)
    return [each for number, each in enumerate(found) if each not in found[:number]]


def claim(source: str, value: str | bytes, meaning: str = '') -> dict[str, str]:
    text = value.decode('utf-8', 'replace') if isinstance(value, bytes) else value
    text = ' '.join(''.join(letter if letter.isprintable() else ' ' for letter in text[: 2 * LONGEST]).split())
    return {'source': source, 'value': text[:LONGEST], 'meaning': meaning}


# --- what each part says ------------------------------------------------------------


def exif_claims(data: bytes) -> list[dict[str, str]]:
    exif = Image.Exif()
    try:
        exif.load(data)
        inner = exif.get_ifd(EXIF_IFD)
    except Exception:  # a damaged directory says nothing
        return []
    values = {name: str(exif.get(tag, '')).strip('\0 ') for name, tag in (('make', MAKE), ('model', MODEL))}
    camera = ' '.join(filter(None, values.values()))
    found = [claim('EXIF camera', camera)] if camera else []
    software = str(exif.get(SOFTWARE, '')).strip('\0 ')
    if software:
        found.append(claim('EXIF software', software, names_a_generator(software)))
    comment = inner.get(USER_COMMENT, b'')
    comment = comment if isinstance(comment, bytes) else str(comment).encode()
    return found + text_claims('parameters', user_comment(comment), 'EXIF comment')


def user_comment(data: bytes) -> str:
    """The text after the eight letters that name its encoding."""
    if data[:7] == b'UNICODE':
        body = data[8:]
        return body.decode('utf-16-be' if body[:1] == b'\0' else 'utf-16-le', 'replace')
    return data.decode('utf-8', 'replace')


def names_a_generator(text: str) -> str:
    return 'names a generator of pictures' if GENERATORS.search(text) else ''


def text_claims(key: str, text: str, source: str = 'PNG text') -> list[dict[str, str]]:
    sign = PARAMETERS.get(key.lower())
    if sign and sign.search(text):
        return [claim(f'{source} "{key}"', text, "a generator's parameters")]
    if key.lower() in ('software', 'source') and text.strip():
        return [claim(f'{source} "{key}"', text, names_a_generator(text))]
    return []


def xmp_claims(data: bytes) -> list[dict[str, str]]:
    found = source_types(data)
    for match in CREATOR_TOOL.finditer(data[:MOST_TEXT]):
        tool = html.unescape((match[1] or match[2]).decode('utf-8', 'replace'))
        found.append(claim('XMP creator tool', tool, names_a_generator(tool)))
    return found


def source_types(data: bytes) -> list[dict[str, str]]:
    names = (match[1].decode() for match in SOURCE_TYPE.finditer(data[:MOST_TEXT]))
    return [claim('IPTC digital source type', name, SOURCE_TYPES.get(name, '')) for name in names]


# --- where the parts lie ------------------------------------------------------------


def whole_parts(parts: Iterator) -> Iterator:
    """The parts before the point where the file is damaged, if it is."""
    with contextlib.suppress(struct.error, IndexError):
        yield from parts


def parts_of(content: bytes) -> Iterator[tuple[str, bytes | tuple[str, str]]]:
    """(exif, xmp, c2pa or text; its bytes) of each part that may say something."""
    if content[:2] == b'\xff\xd8':
        yield from jpeg_parts(content)
    elif content[:8] == b'\x89PNG\r\n\x1a\n':
        yield from png_parts(content)
    elif content[:4] == b'RIFF' and content[8:12] == b'WEBP':
        kinds = {b'EXIF': 'exif', b'XMP ': 'xmp', b'C2PA': 'c2pa'}
        yield from ((kinds[name], data) for name, data in riff_chunks(content) if name in kinds)
    else:
        yield from other_parts(content)


def jpeg_parts(content: bytes) -> Iterator[tuple[str, bytes]]:
    boxes = b''  # a manifest may be longer than a segment
    for marker, data in whole_parts(jpeg_segments(content)):
        if marker == 0xE1 and data.startswith(b'Exif\0'):
            yield 'exif', data
        elif marker == 0xE1 and data.startswith(b'http://ns.adobe.com/'):
            yield 'xmp', data
        elif marker == 0xEB and data.startswith(b'JP'):
            boxes += data
    if b'jumb' in boxes and b'c2pa' in boxes:
        yield 'c2pa', boxes


def jpeg_segments(content: bytes) -> Iterator[tuple[int, bytes]]:
    at = 2
    for _ in range(MOST_PARTS):
        if content[at : at + 1] != b'\xff' or content[at + 1] in (0xD9, 0xDA):  # the picture itself begins
            return
        (size,) = struct.unpack_from('>H', content, at + 2)
        yield content[at + 1], content[at + 4 : at + 2 + size]
        at += 2 + size


def png_parts(content: bytes) -> Iterator[tuple[str, bytes | tuple[str, str]]]:
    for name, data in png_chunks(content):
        if name == b'eXIf':
            yield 'exif', data
        elif name == b'caBX':
            yield 'c2pa', data
        elif name in (b'tEXt', b'zTXt', b'iTXt'):
            key, text = png_text(name, data)
            if key == 'XML:com.adobe.xmp':
                yield 'xmp', text.encode()
            else:
                yield 'text', (key, text)


def png_chunks(content: bytes) -> Iterator[tuple[bytes, bytes]]:
    at = 8
    for _ in range(MOST_PARTS):
        if at + 8 > len(content):
            return
        size, name = struct.unpack_from('>I4s', content, at)
        yield name, content[at + 8 : at + 8 + size]
        at += 12 + size


def png_text(name: bytes, data: bytes) -> tuple[str, str]:
    key, _, rest = data.partition(b'\0')
    if name == b'tEXt':
        return key.decode('latin-1'), rest[:MOST_TEXT].decode('latin-1')
    if name == b'zTXt':
        return key.decode('latin-1'), unpacked(rest[1:]).decode('latin-1')
    packed, rest = rest[:1] == b'\1', rest[2:]
    text = rest.split(b'\0', 2)[-1]  # after the language and the translated key
    return key.decode('latin-1'), (unpacked(text) if packed else text[:MOST_TEXT]).decode('utf-8', 'replace')


def unpacked(data: bytes) -> bytes:
    try:
        return zlib.decompressobj().decompress(data, MOST_TEXT)
    except zlib.error:
        return b''


def riff_chunks(content: bytes) -> Iterator[tuple[bytes, bytes]]:
    at = 12
    for _ in range(MOST_PARTS):
        if at + 8 > len(content):
            return
        name, size = struct.unpack_from('<4sI', content, at)
        yield name, content[at + 8 : at + 8 + size]
        at += 8 + size + size % 2


def other_parts(content: bytes) -> Iterator[tuple[str, bytes]]:
    """Of TIFF, GIF, MP4 and the like: an XMP packet stands there in plain letters."""
    start = content.find(b'<x:xmpmeta')
    if start >= 0:
        yield 'xmp', content[start : start + MOST_TEXT]
    if content[:2] in (b'II', b'MM'):
        yield 'exif', content
    box = content.find(C2PA_BOX)
    if box >= 0:
        yield 'c2pa', content[box:]
