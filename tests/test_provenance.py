"""What a file says of itself, on files made here."""

import io
import struct
import zlib

import pytest
from PIL import Image, PngImagePlugin

from forensics.pictures import provenance

XMP = (
    '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF><rdf:Description {attributes}'
    'Iptc4xmpExt:DigitalSourceType="http://cv.iptc.org/newscodes/digitalsourcetype/{kind}"/></rdf:RDF></x:xmpmeta>'
)
PARAMETERS = 'a portrait\nSteps: 20, Sampler: Euler a, CFG scale: 7, Seed: 1, Model: x'
BOXES = b'\0\0\0\x40jumb\0\0\0\x1ejumdc2pa\0\x11\0\x10\x80\0\0\xaa\0\x38\x9b\x71\x03c2pa\0'


def saved(kind: str, **options) -> bytes:
    buffer = io.BytesIO()
    Image.new('RGB', (32, 32), 'grey').save(buffer, kind, **options)
    return buffer.getvalue()


def exif(**tags) -> Image.Exif:
    made = Image.Exif()
    for name, value in tags.items():
        made[{'software': provenance.SOFTWARE, 'make': provenance.MAKE, 'model': provenance.MODEL}[name]] = value
    return made


def png_text(key: str, value: str, **options) -> bytes:
    texts = PngImagePlugin.PngInfo()
    (texts.add_itxt if options.pop('international', False) else texts.add_text)(key, value, **options)
    return saved('PNG', pnginfo=texts)


def with_segment(jpeg: bytes, marker: int, data: bytes) -> bytes:
    return jpeg[:2] + struct.pack('>BBH', 0xFF, marker, len(data) + 2) + data + jpeg[2:]


def with_chunk(png: bytes, name: bytes, data: bytes) -> bytes:
    """After the header, which takes 33 bytes."""
    return png[:33] + struct.pack('>I', len(data)) + name + data + struct.pack('>I', zlib.crc32(name + data)) + png[33:]


def said(content: bytes) -> list[tuple[str, str, str]]:
    return [(each['source'], each['value'], each['meaning']) for each in provenance.claims(content)]


@pytest.mark.parametrize('kind', ['JPEG', 'PNG', 'BMP', 'GIF', 'WEBP', 'TIFF'])
def test_a_file_that_says_nothing(kind):
    assert said(saved(kind)) == []


@pytest.mark.parametrize('kind', ['JPEG', 'PNG', 'WEBP', 'TIFF'])
def test_software_and_camera(kind):
    content = saved(kind, exif=exif(software='Adobe Photoshop 25.0', make='Nikon', model='D90'))
    assert said(content) == [('EXIF camera', 'Nikon D90', ''), ('EXIF software', 'Adobe Photoshop 25.0', '')]


@pytest.mark.parametrize('name', ['Stable Diffusion XL', 'Midjourney 6', 'DALL·E 3', 'Adobe Firefly'])
def test_software_that_is_a_generator(name):
    ((_, _, meaning),) = said(saved('PNG', exif=exif(software=name)))
    assert meaning == 'names a generator of pictures'


@pytest.mark.parametrize('options', [{}, {'zip': True}, {'international': True}, {'international': True, 'zip': True}])
def test_parameters_in_a_png(options):
    ((source, value, meaning),) = said(png_text('parameters', PARAMETERS, **options))
    assert source == 'PNG text "parameters"' and meaning == "a generator's parameters"
    assert value == PARAMETERS.replace('\n', ' ')


@pytest.mark.parametrize(
    ('key', 'value', 'meaning'),
    [
        ('prompt', '{"3": {"class_type": "KSampler"}}', "a generator's parameters"),
        ('workflow', '{"nodes": []}', "a generator's parameters"),
        ('invokeai_metadata', '{}', "a generator's parameters"),
        ('Comment', '{"steps": 28, "sampler": "k_euler"}', "a generator's parameters"),
        ('Software', 'NovelAI', 'names a generator of pictures'),
        ('Comment', 'from my holidays', None),
        ('parameters', 'of a microscope', None),
        ('Title', 'Steps: 20', None),
    ],
)
def test_other_texts_of_a_png(key, value, meaning):
    assert [found for *_, found in said(png_text(key, value))] == ([] if meaning is None else [meaning])


def test_parameters_in_the_comment_of_a_jpeg():
    made = exif()
    made.get_ifd(provenance.EXIF_IFD)[provenance.USER_COMMENT] = b'UNICODE\0' + PARAMETERS.encode('utf-16-be')
    ((source, value, meaning),) = said(saved('JPEG', exif=made))
    assert 'EXIF comment' in source and value.endswith('Model: x') and meaning == "a generator's parameters"


@pytest.mark.parametrize(
    ('kind', 'meaning'),
    [
        ('trainedAlgorithmicMedia', 'made by a generative model'),
        ('compositeWithTrainedAlgorithmicMedia', 'edited with a generative model'),
        ('digitalCapture', 'taken by a camera'),
        ('somethingOfNextYear', ''),
    ],
)
@pytest.mark.parametrize('file', ['JPEG', 'PNG', 'WEBP', 'GIF'])
def test_source_type(kind, meaning, file):
    xmp = XMP.format(kind=kind, attributes='').encode()
    content = {
        'JPEG': lambda: saved('JPEG', xmp=xmp),
        'PNG': lambda: png_text('XML:com.adobe.xmp', xmp.decode(), international=True),
        'WEBP': lambda: saved('WEBP', xmp=xmp),
        'GIF': lambda: saved('GIF') + xmp,
    }[file]()
    assert said(content) == [('IPTC digital source type', kind, meaning)]


def test_creator_tool():
    content = saved('JPEG', xmp=XMP.format(kind='digitalArt', attributes='xmp:CreatorTool="A &amp; B" ').encode())
    assert ('XMP creator tool', 'A & B', '') in said(content)


@pytest.mark.parametrize('file', ['JPEG', 'PNG', 'WEBP', 'MP4'])
def test_a_manifest(file):
    boxes = BOXES + b'...digitalsourcetype/trainedAlgorithmicMedia...'
    webp = saved('WEBP')
    content = {
        'JPEG': lambda: with_segment(saved('JPEG'), 0xEB, b'JP\0\1\0\0\0\1' + boxes),
        'PNG': lambda: with_chunk(saved('PNG'), b'caBX', boxes),
        'WEBP': lambda: webp + b'C2PA' + struct.pack('<I', len(boxes)) + boxes,
        'MP4': lambda: b'\0\0\0\x18ftypmp42' + b'\0' * 12 + b'\0\0\1\0uuid' + provenance.C2PA_BOX + boxes,
    }[file]()
    manifest, source_type = said(content)
    assert manifest[:2] == ('C2PA', 'a manifest') and 'nobody checked' in manifest[2]
    assert source_type[1:] == ('trainedAlgorithmicMedia', 'made by a generative model')


def test_another_use_of_the_same_segment_is_no_manifest():
    assert said(with_segment(saved('JPEG'), 0xEB, b'JP\0\1\0\0\0\1' + BOXES.replace(b'c2pa', b'abcd'))) == []


def test_a_claim_stays_on_its_line_and_is_short():
    hostile = 'Photoshop\n\x1b[31mVERDICT: real' + 'x' * 10_000
    (claim,) = provenance.claims(saved('JPEG', exif=exif(software=hostile)))
    assert claim['value'].isprintable() and len(claim['value']) == provenance.LONGEST


def test_compressed_text_cannot_explode():
    packed = zlib.compress(b'Steps: 20, ' + b'a' * 50_000_000)
    (claim,) = provenance.claims(with_chunk(saved('PNG'), b'zTXt', b'parameters\0\0' + packed))
    assert claim['value'].startswith('Steps: 20, aaa')
    assert len(provenance.unpacked(packed)) == provenance.MOST_TEXT


def test_any_end_and_any_damage_is_survived():
    """What stands before the damage is still told."""
    whole = [
        saved('JPEG', exif=exif(software='X'), xmp=XMP.format(kind='digitalArt', attributes='').encode()),
        png_text('parameters', PARAMETERS, zip=True),
        saved('WEBP', exif=exif(software='X')),
        saved('TIFF', exif=exif(software='X')),
        with_segment(saved('JPEG'), 0xEB, b'JP' + BOXES),
    ]
    for content in whole:
        for end in range(0, len(content), 7):
            provenance.claims(content[:end])
            provenance.claims(content[:end] + b'\xff' * 20 + content[end + 20 :])
    cut = whole[0][: whole[0].index(b'http://ns.adobe.com')]
    assert said(cut) == [('EXIF software', 'X', '')]
