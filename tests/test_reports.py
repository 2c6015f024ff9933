"""predict.py --out: a page for each file, nothing outside the folder, and an interrupted run goes on."""

import json
import re
import shutil
from html.parser import HTMLParser

import av
import numpy as np
import pytest
from PIL import Image, PngImagePlugin

import predict
from forensics.judging import pipeline, reports
from forensics.pictures.files import open_image
from forensics.pictures.sources import Source


@pytest.fixture
def photos(tiny_root, workdir):
    """Three pictures in a folder of their own."""
    (workdir / 'photos').mkdir()
    for number, path in enumerate(sorted((tiny_root / 'fakes_dataset' / 'test' / 'fake').iterdir())[:3]):
        shutil.copy(path, workdir / 'photos' / f'{number}.jpg')
    return workdir / 'photos'


@pytest.fixture
def ask(call_main, exported_bonus):
    def ask(*arguments) -> list[dict]:
        _, printed, _ = call_main(predict, '--checkpoint', exported_bonus, '--json', '--out', 'answers', *arguments)
        return json.loads(printed)['answers']

    return ask


@pytest.fixture
def begun(monkeypatch) -> list[str]:
    """The names of the files that were really looked at."""
    names = []
    look = pipeline.PrepareFor.__call__

    def counted(self, source):
        names.append(source.name)
        return look(self, source)

    monkeypatch.setattr(pipeline.PrepareFor, '__call__', counted)
    return names


class Page(HTMLParser):
    """Its tags with their attributes, and its text."""

    def __init__(self, content: str):
        super().__init__()
        self.tags, self.text = [], ''
        self.feed(content)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_data(self, data):
        self.text += data


def test_a_page_an_annotated_copy_and_an_answer_for_each_picture(ask, photos, workdir):
    found = ask(photos)
    stems = [reports.stem_of(Source(answer['file'])) for answer in found]
    assert sorted(path.name for path in (workdir / 'answers').iterdir()) == sorted(
        f'{stem}{end}' for stem in stems for end in ('.html', '.jpg', '.json', '-face-1.png')
    )
    page = Page((workdir / 'answers' / f'{stems[0]}.html').read_text())
    assert found[0]['verdict'] in page.text and f'P(fake) {found[0]["p_fake"]:.2f}' in page.text
    assert 'the validation part of X' in page.text and 'photographs' in page.text
    copy, original = open_image(workdir / 'answers' / f'{stems[0]}.jpg'), open_image(found[0]['file'])
    changed = np.abs(np.asarray(copy, int) - np.asarray(original)).max(axis=2) > 60
    box = found[0]['faces'][0]['box']
    assert changed[int(box['y'] + box['h'] / 2), int(box['x']) : int(box['x']) + 3].any()
    assert not changed[: int(box['y']) - 3].any()


def test_a_page_asks_nobody_and_runs_nothing(ask, workdir, tiny_root):
    texts = PngImagePlugin.PngInfo()
    texts.add_text('parameters', '<script>alert(1)</script> Steps: 20')
    image = open_image(tiny_root / 'fakes_dataset' / 'test' / 'fake' / '000.jpg')
    image.save('<img src=x onerror=alert(1)>.png', pnginfo=texts)
    ask('<img src=x onerror=alert(1)>.png')
    (path,) = (workdir / 'answers').glob('*.html')
    page = Page(path.read_text())
    assert '<script>alert(1)</script>' in page.text and '<img src=x onerror=alert(1)>' in page.text
    assert not [tag for tag, _ in page.tags if tag in ('script', 'link', 'iframe', 'object', 'a')]
    assert all(attributes['src'].startswith('data:image/jpeg;') for tag, attributes in page.tags if tag == 'img')
    assert not [name for _, attributes in page.tags for name in attributes if name.startswith('on')]
    assert any(attributes.get('content', '').startswith("default-src 'none'") for _, attributes in page.tags)


def test_an_interrupted_run_goes_on(ask, photos, begun, workdir):
    first = ask(photos)
    assert len(begun) == 3
    (lost,) = (workdir / 'answers').glob('1-*.json')
    lost.unlink()
    begun.clear()
    assert ask(photos) == first and begun == [str(photos / '1.jpg')]


def test_a_changed_file_or_another_choice_is_computed_anew(ask, photos, begun):
    ask(photos)
    begun.clear()
    shutil.copy(photos / '0.jpg', photos / '2.jpg')
    assert ask(photos)[2]['p_fake'] == ask(photos)[0]['p_fake'] and begun == [str(photos / '2.jpg')]
    begun.clear()
    ask(photos, '--whole-image')
    assert len(begun) == 3


def test_its_own_pictures_are_not_asked_about(call_main, exported_bonus, photos):
    arguments = ('--checkpoint', exported_bonus, '--json', '--out', photos / 'answers', photos)
    for _ in range(2):
        assert len(json.loads(call_main(predict, *arguments)[1])['answers']) == 3


def test_nothing_is_written_through_a_link(ask, photos, workdir):
    """A stranger's archive may bring a folder of answers whose files point elsewhere."""
    (workdir / 'answers').mkdir()
    (workdir / 'precious').write_text('precious')
    stem = reports.stem_of(Source(str(photos / '0.jpg')))
    for suffix in ('html', 'jpg', 'json'):
        (workdir / 'answers' / f'{stem}.{suffix}').symlink_to(workdir / 'precious')
    ask(photos / '0.jpg')
    assert (workdir / 'precious').read_text() == 'precious'


def test_heat_maps_where_the_network_has_them(call_main, photos, workdir, exported_with_maps):
    call_main(predict, '--checkpoint', exported_with_maps, '--out', 'answers', photos / '0.jpg')
    (heat,) = (workdir / 'answers').glob('0-*-face-1.png')
    assert Image.open(heat).size == (256, 256)


def test_a_heat_map_is_red_where_it_speaks_for_fake():
    heat = np.asarray(reports.heat_map(Image.new('RGB', (64, 64), (128, 128, 128)), np.array([[2.0, 0], [0, -1]])), int)
    assert heat[0, 0, 0] > 150 > heat[0, 0, 2] and heat[-1, -1, 2] > 140 > heat[-1, -1, 0]
    assert heat[0, 0, 0] - 128 > heat[-1, -1, 2] - 128  # twice the evidence


def write_film(path, pictures: list[Image.Image]) -> None:
    with av.open(str(path), 'w') as container:
        stream = container.add_stream('mpeg4', rate=5)
        stream.width, stream.height = pictures[0].size
        stream.bit_rate, stream.pix_fmt = 8_000_000, 'yuv420p'
        for picture in pictures:
            container.mux(stream.encode(av.VideoFrame.from_image(picture)))
        container.mux(stream.encode(None))


def test_a_video(ask, call_main, exported_bonus, workdir, tiny_root):
    folder = tiny_root / 'fakes_dataset' / 'test' / 'real'
    people = [open_image(path) for path in sorted(folder.iterdir())]
    write_film('film.mp4', [*people, Image.new('RGB', (256, 256)), people[0]])
    (answer,) = ask('film.mp4', '--frames', '8')
    assert answer['kind'] == 'video' and answer['frames'] == 8 and answer['frames_with_a_face'] == 7
    assert [value is None for _, value in answer['curve']] == [False] * 6 + [True, False]
    values = [value for _, value in answer['curve'] if value is not None]
    assert answer['p_fake'] == pytest.approx(np.mean(values)) and len(set(values)) > 3
    assert [second for second, _ in answer['curve']] == pytest.approx([0.2 * number for number in range(8)])
    (path,) = (workdir / 'answers').glob('film-*.html')
    page = Page(path.read_text())
    assert 'Mean of 7 of 8 frames' in page.text and len([tag for tag, _ in page.tags if tag == 'polyline']) == 2
    printed = call_main(predict, '--checkpoint', exported_bonus, 'film.mp4', '--frames', '8')[1]
    assert re.search(r'mean of 7 frames; highest at seconds \d\.\d to \d\.\d: 0\.\d\d', printed)
