"""The page in the browser, as its visitors use it: one server and one browser for all of this file."""

import base64
import io
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import numpy as np
import pytest
from conftest import PROJECT
from PIL import Image, PngImagePlugin
from playwright.sync_api import expect, sync_playwright
from test_predict import imported_packages
from test_reports import write_film

import app
import make_demo_data
import options
from forensics.errors import UserError
from forensics.judging import exported, panels
from forensics.judging.detector import Doubts
from forensics.pictures.files import open_image
from forensics.pictures.sources import MAX_BYTES

BROWSER = shutil.which('chromium')
in_a_browser = pytest.mark.skipif(BROWSER is None, reason='no Chromium is installed')
KEEP = 15  # seconds


# --- the answer without a browser ------------------------------------------------------------


@pytest.fixture(scope='module')
def desk(exported_bonus) -> app.Desk:
    return app.Desk(exported.load(exported_bonus))


@pytest.fixture(scope='module')
def photos(tiny_root) -> list[Path]:
    return sorted((tiny_root / 'fakes_dataset' / 'test').glob('*/*.jpg'))


def test_a_hostile_name_stays_a_name(desk, workdir, photos):
    texts = PngImagePlugin.PngInfo()
    texts.add_text('parameters', '<script>alert(1)</script> Steps: 20')
    open_image(photos[0]).save('<img src=x onerror=alert(1)>.png', pnginfo=texts)
    answer = desk.for_people('<img src=x onerror=alert(1)>.png')
    assert '&lt;img src=x onerror=alert(1)&gt;' in answer and '&lt;script&gt;' in answer
    assert '<img src=x' not in answer and '<script' not in answer


def test_no_face_and_no_file_are_sentences(desk, workdir):
    Image.fromarray(np.random.default_rng(0).integers(0, 99, (300, 400, 3), dtype=np.uint8)).save('noise.png')
    assert 'noise.png: there is no face in it that could be scored' in desk.for_people('noise.png')
    (workdir / 'notes.txt').write_text('no picture')
    assert 'notes.txt: not an image. Pictures and videos have an answer.' in desk.for_people('notes.txt')
    assert 'gone.jpg waited too long and is deleted: upload it again.' in desk.for_people('gone.jpg')


def test_a_video_has_a_curve_and_a_report(desk, workdir, photos):
    write_film('film.mp4', [open_image(path) for path in photos[:3]])
    answer = desk.for_people('film.mp4')
    assert 'Over time' in answer and 'Mean of 3 of 3 frames' in answer and 'mean of the frames decides' in answer
    assert 'Mean of 3 of 3 frames' in report_in(answer)


def report_in(answer: str) -> str:
    return base64.b64decode(re.search('href="data:text/html;charset=utf-8;base64,([^"]*)"', answer)[1]).decode()


@pytest.mark.parametrize(('p_fake', 'x'), [(0, 10), (0.5, 170), (1, 330)])
def test_the_gauge_points_at_the_score(p_fake, x):
    drawn = panels.gauge(p_fake, {'threshold': 0.3, 'unsure': (0.25, 0.35)})
    assert (
        f'M{x}.0 32' in drawn
        and f'P(fake) is {p_fake:.2f}' in drawn
        and 'from 0.25 to 0.35 there is no answer' in drawn
    )
    widths = [float(width) for width in re.findall('width="([0-9.]+)" height="16"', drawn)]
    assert widths == pytest.approx([80, 32, 208])


def test_a_spectrum_stands_beside_the_means_if_there_are_some():
    rising, falling = np.linspace(0, 1, 3), np.linspace(1, 0, 3)
    alone = panels.spectrum_beside_means(falling, None)
    assert (
        alone.count('<polyline') == 1
        and 'holds no mean spectra' in alone
        and '10.0,10.0 170.0,73.0 330.0,136.0' in alone
    )
    means = {'real': falling.tolist(), 'fake': rising.tolist(), 'of': 'the validation part of X'}
    beside = panels.spectrum_beside_means(falling, means)
    assert beside.count('<polyline') == 3 and '10.0,136.0 170.0,73.0 330.0,10.0' in beside
    assert 'The means are those of the validation part of X.' in beside


@pytest.mark.parametrize('number', range(3))
def test_the_examples_are_of_the_demo(number):
    path = list(app.EXAMPLES)[number]
    dataset, label = [('fakes_dataset', 'real'), ('fakes_dataset', 'fake'), ('synthetic_dataset', 'fake')][number]
    drawn = io.BytesIO(make_demo_data.draw_picture(0, dataset, 'test', label, 6, 80, 256))
    difference = np.asarray(open_image(path), int) - np.asarray(open_image('drawn', content=drawn))
    assert np.abs(difference).mean() < 1  # other kinds of processors round differently


# --- the command ------------------------------------------------------------


def test_it_is_shared_with_nobody():
    with pytest.raises(SystemExit):
        app.parse_args(['--share'])


def test_without_a_detector_the_next_command_is_said(call_main, monkeypatch, workdir):
    monkeypatch.setattr(options, 'SHIPPED', workdir / 'faces.onnx')
    status, _, errors = call_main(app)
    assert status == 1 and 'python export_onnx.py -cpp' in errors and '--checkpoint' in errors


def test_without_gradio_the_next_command_is_said(monkeypatch):
    monkeypatch.setitem(sys.modules, 'gradio', None)
    with pytest.raises(UserError, match=r'\./predict\.sh --page'):
        app.import_gradio()


def test_the_light_environment_is_enough(exported_with_maps, photos):
    """Defects of this kind show only where torch is missing."""
    lists = (PROJECT / 'requirements-predict.in').read_text() + (PROJECT / 'requirements-app.txt').read_text()
    used = imported_packages(
        'import app, options\n'
        "args = app.parse_args(['--checkpoint', sys.argv[1]])\n"
        'desk = app.Desk(options.load_detector(args))\n'
        'app.build(desk, args.keep)\n'
        'assert "Does it hold?" in desk.for_people(sys.argv[2])',
        exported_with_maps,
        photos[0],
    )
    used -= {'psutil'}  # Gradio takes it where it is there
    assert {'gradio', 'scipy', 'onnxruntime'} <= used <= {name.lower() for name in re.findall(r'^[\w-]+', lists, re.M)}


def test_a_port_that_is_taken_is_said(desk):
    with socket.create_server((app.HOME, 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(UserError, match=f'Nothing free at 127.0.0.1:{port}: name another, with --port'):
            app.serve(app.build(desk, KEEP), port, list)


# --- in a browser ------------------------------------------------------------


class Server:
    """app.py as a process, with a folder of its own for whatever is temporary."""

    def __init__(self, checkpoint: Path, folder: Path):
        self.folder, self.output = folder / 'temporary', folder / 'output.txt'
        self.folder.mkdir()
        command = [sys.executable, str(PROJECT / 'app.py'), '--checkpoint', str(checkpoint), '--keep', str(KEEP)]
        with open(self.output, 'w') as output:
            environment = {**os.environ, 'TMPDIR': str(self.folder)}
            self.process = subprocess.Popen(
                command, cwd=folder, env=environment, stdout=output, stderr=subprocess.STDOUT
            )
        self.address = wait_for(lambda: re.search(r'http://127\.0\.0\.1:\d+/', self.output.read_text()), 120)[0]

    def files(self) -> list[str]:
        return [name for _, _, names in os.walk(self.folder) for name in names]

    def end(self) -> int:
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(60)


def wait_for(condition, seconds: float):
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end, f'waited for {seconds} seconds'
        time.sleep(0.1)
    return found


@pytest.fixture(scope='module')
def server(exported_with_maps, tmp_path_factory, photos):
    started = Server(exported_with_maps, tmp_path_factory.mktemp('page'))
    send(started, photos[4])  # and is never asked about it; the last test looks where it is
    yield started
    if started.process.poll() is None:
        started.end()


@pytest.fixture(scope='module')
def browser():
    with sync_playwright() as playwright:
        options = ['--no-sandbox', '--disable-gpu', '--disable-background-networking']
        yield playwright.chromium.launch(executable_path=BROWSER, args=options)


@pytest.fixture(scope='module')
def asked() -> set:
    """Whom all the pages of this file asked."""
    return set()


@pytest.fixture(scope='module')
def visit(browser, server, asked):
    """Open the page in a window of its own: visit(width, scheme)."""

    def visit(width: int = 1400, scheme: str = 'light'):
        context = browser.new_context(viewport={'width': width, 'height': 900}, color_scheme=scheme)
        context.on('request', lambda request: asked.add(urlsplit(request.url)[:2]))
        page = context.new_page()
        page.set_default_timeout(60_000)
        page.goto(server.address)
        page.wait_for_selector(CHOOSER, state='attached')
        page.wait_for_function("typeof chooser == 'function'")  # the page's own script, which Gradio adds last
        return page

    return visit


@pytest.fixture(scope='module')
def page(visit, photos):
    """One with an answer, for who only reads it."""
    page = visit()
    upload(page, photos[0])
    return page


CHOOSER = '#upload input[type=file]'
TITLE = '#answer h2[tabindex]'


def upload(page, *paths: Path) -> None:
    """Upload the file, and wait for the answer to it."""
    page.set_input_files(CHOOSER, *paths)
    answered(page, paths[-1].name)


def answered(page, name: str) -> None:
    expect(page.locator('#answer')).to_contain_text(name, timeout=60_000)
    page.wait_for_selector(CHOOSER, state='attached')  # the next one may come


@in_a_browser
def test_a_picture_and_all_that_is_said_of_it(page, exported_with_maps, photos):
    answer = app.Desk(exported.load(exported_with_maps)).look_at(photos[0], Doubts())[1]
    assert page.inner_text(TITLE) == panels.WORDS[answer['verdict']]
    assert page.evaluate('document.activeElement.innerText') == panels.WORDS[answer['verdict']]  # a reader goes on here
    words = page.inner_text('#answer')
    assert f'P(fake) {answer["p_fake"]:.2f}, not calibrated' in words and photos[0].name in words
    for title in (
        'What speaks for it',
        'Does it hold?',
        'Its spectrum',
        'What the file says of itself',
        'The detector',
    ):
        assert title in words
    values = page.locator('svg[aria-label^="P(fake) under harmless changes"]').text_content()
    assert all(f'{value:.2f}' in values for value in answer['faces'][0]['stability'].values())
    boxes = page.get_by_alt_text('The picture with a box around each face')
    assert boxes.evaluate('image => image.naturalWidth') == 256


@in_a_browser
def test_the_explanation_fades_with_the_slider(page):
    opacity = "getComputedStyle(document.querySelector('#answer .heat')).opacity"
    assert page.evaluate(opacity) == '0.6'
    slider = page.get_by_label('Strength of the colours')
    slider.press('ArrowRight')
    assert page.evaluate(opacity) == '0.65'
    slider.press('Home')
    assert page.evaluate(opacity) == '0'


@in_a_browser
def test_the_report_comes_down(page, photos, tmp_path):
    with page.expect_download() as waiting:
        page.get_by_role('link', name='Download the report').press('Enter')
    waiting.value.save_as(tmp_path / 'report.html')
    report = (tmp_path / 'report.html').read_text()
    assert waiting.value.suggested_filename.startswith('000-') and report.startswith('<!doctype html>')
    assert photos[0].name in report and 'What the file says of itself' in report and '<script' not in report


@in_a_browser
def test_a_second_upload_replaces_the_first(visit, photos, workdir):
    page = visit()
    upload(page, photos[0])
    (workdir / 'broken.jpg').write_bytes(photos[1].read_bytes()[:500])
    upload(page, workdir / 'broken.jpg')
    words = page.inner_text('#answer')
    assert page.inner_text(TITLE) == 'No answer' and 'broken.jpg: cannot be read' in words and 'Traceback' not in words
    assert photos[0].name not in words and page.get_by_role('alert').count() == 1
    upload(page, photos[1])
    assert 'Does it hold?' in page.inner_text('#answer') and 'broken.jpg' not in page.inner_text('#answer')


@in_a_browser
def test_by_keyboard_alone(visit, photos):
    page, choosers = visit(), []
    # Long before it opens: `expect_file_chooser` may listen too late.
    page.on('filechooser', lambda chooser: choosers.append(chooser))
    for place in ('#upload', '.example', '.example', '.example'):
        page.keyboard.press('Tab')
        assert page.evaluate(f"document.activeElement.closest('{place}') != null")
    page.keyboard.press('Enter')
    answered(page, 'generated.jpg')
    page.locator('#upload button').press('Enter')
    wait_for(lambda: page.wait_for_timeout(100) or choosers, 60)
    choosers[0].set_files(photos[0])
    answered(page, photos[0].name)


GIVE = """([data, name, kind]) => {
  const file = new File([Uint8Array.from(atob(data), letter => letter.charCodeAt(0))], name, {type: 'image/jpeg'});
  const given = new DataTransfer();
  given.items.add(file);
  const event = kind === 'paste'
    ? new ClipboardEvent('paste', {clipboardData: given, bubbles: true})
    : new DragEvent('drop', {dataTransfer: given, bubbles: true});
  (kind === 'paste' ? document.body : document.querySelector('#upload button')).dispatchEvent(event);
}"""


@in_a_browser
@pytest.mark.parametrize('kind', ['paste', 'drop'])
def test_pasted_and_dropped(visit, photos, kind):
    page = visit()
    page.evaluate(GIVE, [base64.b64encode(photos[0].read_bytes()).decode(), f'{kind}.jpg', kind])
    answered(page, f'{kind}.jpg')
    assert 'Does it hold?' in page.inner_text('#answer')


@in_a_browser
@pytest.mark.parametrize(('width', 'scheme'), [(360, 'light'), (1400, 'light'), (360, 'dark'), (1400, 'dark')])
def test_it_fits_and_passes_axe(visit, photos, width, scheme):
    page = visit(width, scheme)
    upload(page, photos[0])
    assert page.evaluate('document.documentElement.scrollWidth') <= width
    background = page.evaluate('getComputedStyle(document.body).backgroundColor')
    assert (sum(map(int, re.findall(r'\d+', background)[:3])) < 150) == (scheme == 'dark')
    if 'AXE_CORE' in os.environ:
        page.evaluate(Path(os.environ['AXE_CORE']).read_text())
        violations = page.evaluate('axe.run()')['violations']
        assert [(each['id'], each['nodes'][0]['html']) for each in violations] == []


@in_a_browser
def test_the_pages_asked_their_server_alone(page, asked, server):
    network = {place for scheme, place in asked if scheme not in ('data', 'blob')}
    assert network == {urlsplit(server.address).netloc}


# --- for programs ------------------------------------------------------------


def test_the_example_in_the_docs(server, photos, workdir):
    shutil.copy(photos[0], 'photo.jpg')
    (example,) = re.findall('```python\n(.*?)```', (PROJECT / 'docs' / 'page.md').read_text(), re.S)
    assert len(example.splitlines()) <= 5
    code = example.replace('http://127.0.0.1:7860/', server.address)
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True)
    assert re.search(r'^(real|fake|unsure) 0\.\d+$', done.stdout, re.M)


def ask_raw(server, given) -> list:
    """[the kind of event, its data] of a call by HTTP alone."""
    calls = f'{server.address}gradio_api/call/predict'
    event = httpx.post(calls, json={'data': [given]}).json()['event_id']
    said = httpx.get(f'{calls}/{event}', timeout=60).text
    return [re.search('event: (.*)', said)[1], json.loads(re.search('data: (.*)', said)[1])]


def send(server, path: Path) -> str:
    """The place of the upload on the server."""
    return httpx.post(f'{server.address}gradio_api/upload', files={'files': (path.name, path.read_bytes())}).json()[0]


def file_data(path: str) -> dict:
    return {'path': path, 'url': path, 'meta': {'_type': 'gradio.FileData'}}


def test_a_program_gets_what_predict_says(server, photos, exported_with_maps):
    kind, (answer,) = ask_raw(server, file_data(send(server, photos[2])))
    _, expected = app.Desk(exported.load(exported_with_maps)).look_at(photos[2], Doubts())
    assert kind == 'complete' and answer.pop('detector')['model'] == 'timm:test_resnet'
    assert answer['p_fake'] == pytest.approx(expected['p_fake'], abs=1e-5) and answer['file'] == photos[2].name
    assert answer.keys() == expected.keys()


def test_other_files_and_addresses_are_not_read(server, photos):
    kind, said = ask_raw(server, file_data('http://example.com/photo.jpg'))
    assert kind == 'error' and 'is not fetched' in said['error']
    assert ask_raw(server, file_data(str(PROJECT / 'app.py'))) == ['error', {'error': None}]
    assert ask_raw(server, None)[1]['error'].startswith('Nothing was uploaded')
    place = Path(send(server, photos[3]))
    for path in (photos[0], PROJECT / 'app.py', place.parent, place.parent.parent):
        assert httpx.get(f'{server.address}gradio_api/file={path}').status_code == 403


def test_large_files_are_refused(server):
    large = {'files': ('large.jpg', bytes(MAX_BYTES + 1))}
    assert httpx.post(f'{server.address}gradio_api/upload', files=large, timeout=120).status_code == 413


def test_uploads_are_deleted_and_nothing_stays_when_the_page_ends(server, photos):
    """The last test here: it ends the server."""
    wait_for(lambda: photos[4].name not in server.files(), 3 * KEEP)
    assert server.end() == 0 and list(server.folder.iterdir()) == []
    said = server.output.read_text()
    assert said.startswith('The page is at') and not any(path.name in said for path in photos)
