"""A page in the browser: drop a picture or a video on it, and read whether its faces are real or made by a computer.

    python app.py

It answers on this machine alone, asks nobody, and keeps nothing: an upload is deleted ten minutes later, or with the
page's end (Ctrl-C). `./predict.sh --page` sets up the little that this needs, first. Programs use it by gradio_client.
"""

import argparse
import contextlib
import os
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path

import options
from forensics import records
from forensics.classical.spectrum import azimuthal_spectrum
from forensics.errors import UserError
from forensics.judging import panels
from forensics.judging.answers import about
from forensics.judging.detector import Detector, Doubts
from forensics.judging.pipeline import Choices, Prepared, answer_all
from forensics.pictures.sources import MAX_BYTES, Source
from forensics.running import starting

DRAWN = Path(__file__).resolve().parent / 'docs' / 'examples'
EXAMPLES = {DRAWN / 'real.jpg': 'Real', DRAWN / 'swapped.jpg': 'Face swapped', DRAWN / 'generated.jpg': 'Generated'}
HOME = '127.0.0.1'  # nobody else's machine reaches this address

INTRODUCTION = """
<h1>Is this face real?</h1>
<p>Drop a picture or a video: the page finds the faces and says of each whether it looks real or made by a computer. All
of it happens on this machine; nothing is sent anywhere, and an upload is deleted after {minutes:g} minutes.</p>
"""
STYLE = """
.gradio-container { max-width: 64rem !important; margin: auto; }
#introduction h1 { font-size: 1.8rem; font-weight: 700; margin: .5rem 0; }
.example { flex-direction: column; padding: .5rem .25rem; font-size: .9rem; }
.example img { width: 5rem; height: 5rem; border-radius: .4rem; }
#upload .or { color: inherit; }
:focus-visible { outline: 3px solid #2563eb; outline-offset: 2px; }
"""
# A pasted picture takes the way of a chosen one.
SCRIPT = """<script>
const chooser = () => document.querySelector('#upload input[type=file]');
document.addEventListener('paste', event => {
  if (!chooser() || !event.clipboardData.files.length) return;
  chooser().files = event.clipboardData.files;
  chooser().dispatchEvent(new Event('change', {bubbles: true}));
});
</script>"""
SHOW = "() => document.querySelector('#answer h2')?.focus()"  # scrolls there, and a screen reader goes on from there


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = options.parser(__doc__)
    options.add_detector(parser)
    parser.add_argument('--port', type=options.positive, metavar='N', help='(default: the first free one from 7860 on)')
    parser.add_argument(
        '--keep', type=options.positive, default=600, metavar='SECONDS', help='uploads so long (default: %(default)s)'
    )
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    warnings.simplefilter('ignore')  # Pillow's, of odd metadata
    detector = options.load_detector(args)
    with tempfile.TemporaryDirectory(prefix='faces-page-') as folder:
        keep_to_ourselves(folder)
        serve(build(Desk(detector), args.keep), args.port, partial(sweep, folder, args.keep))


def keep_to_ourselves(folder: str) -> None:
    """Uploads go into the folder, and Gradio tells nobody that it runs. It reads this when it is imported."""
    tempfile.tempdir = os.environ['GRADIO_TEMP_DIR'] = folder
    os.environ |= {'GRADIO_ANALYTICS_ENABLED': 'False', 'HF_HUB_OFFLINE': '1', 'HF_HUB_DISABLE_TELEMETRY': '1'}


def sweep(folder: str, keep: int) -> None:
    """Delete what is so old. Gradio's `delete_cache` may end for good when an upload comes while it looks, and
    leaves an empty file and an empty folder of each."""
    for place, folders, files in os.walk(folder, topdown=False):
        for path in (os.path.join(place, name) for name in [*files, *folders]):
            with contextlib.suppress(OSError):  # a folder that is not empty yet
                if time.time() - os.lstat(path).st_mtime > keep:
                    os.rmdir(path) if os.path.isdir(path) else os.unlink(path)


class Desk:
    """Answers one upload after the other."""

    def __init__(self, detector: Detector):
        self.detector, self.about = detector, about(detector)

    def look_at(self, path: str | Path | None, doubts: Doubts) -> tuple[Prepared, dict]:
        if path is None:
            raise UserError('Nothing was uploaded: send a picture or a video.')
        try:
            source = Source(Path(path).name, Path(path).read_bytes())
        except FileNotFoundError as error:
            raise UserError(f'{Path(path).name} waited too long and is deleted: upload it again.') from error
        return next(answer_all([source], self.detector, Choices(keep_copies=True), doubts))

    def for_people(self, path: str | Path | None) -> str:
        doubts = Doubts()
        try:
            prepared, answer = self.look_at(path, doubts)
            spectra = [azimuthal_spectrum(face.crop) for face in prepared.seen]
            return panels.answer_panel(prepared, answer, self.detector, self.about, spectra, doubts)
        except UserError as error:
            return panels.error_panel(str(error))

    def for_programs(self, path: str | None) -> dict:
        """What `predict.py --json` says of a file."""
        try:
            _, answer = self.look_at(path, Doubts())
        except UserError as error:
            raise import_gradio().Error(str(error), print_exception=False) from error
        return records.plain({**answer, 'detector': self.about})


def build(desk: Desk, keep: int):
    """The page, which promises to delete uploads after `keep` seconds."""
    gr = import_gradio()
    gr.set_static_paths([DRAWN])
    with gr.Blocks(title='Is this face real?', analytics_enabled=False) as page:
        gr.HTML(INTRODUCTION.format(minutes=keep / 60), elem_id='introduction')
        upload = gr.File(label='A picture or a video: drop, choose or paste it', elem_id='upload', height=180)
        gr.HTML('<p>None at hand? Try a face that was drawn for this page:</p>')
        with gr.Row():
            examples = [example_button(gr, *example) for example in EXAMPLES.items()]
        answer, for_programs = gr.HTML(elem_id='answer'), gr.JSON(visible=False)

        one_at_a_time = {'concurrency_id': 'desk', 'concurrency_limit': 1}
        asked = [upload.upload(desk.for_people, upload, answer, api_visibility='private', **one_at_a_time)]
        for button, path in zip(examples, EXAMPLES, strict=True):
            show = partial(desk.for_people, path)
            asked.append(button.click(show, None, answer, api_visibility='private', **one_at_a_time))
        for event in asked:
            event.then(lambda: None, None, upload, api_visibility='private', js=SHOW)
        gr.Button(visible=False).click(desk.for_programs, upload, for_programs, api_name='predict', **one_at_a_time)
    return page


def example_button(gr, path: Path, name: str):
    return gr.Button(name, icon=path, elem_classes='example', min_width=80)


def import_gradio():
    try:
        import gradio
    except ImportError as error:
        raise UserError(
            f'The page needs the package {error.name}: start `./predict.sh --page`, which sets it up.'
        ) from error
    gradio.processing_utils.async_ssrf_protected_download = refuse
    return gradio


async def refuse(address: str, **_) -> str:
    """In place of Gradio's download: a program may name an address where a file is expected."""
    raise import_gradio().Error(
        f'{address} is not fetched: this page asks nobody. Send the file.', print_exception=False
    )


def serve(page, port: int | None, tidy: Callable[[], None]) -> None:
    """Until Ctrl-C; `tidy` is called every second."""
    gr = import_gradio()
    system_fonts = {'font': ['system-ui', 'sans-serif'], 'font_mono': ['ui-monospace', 'monospace']}
    try:
        _, address, _ = page.launch(
            server_name=HOME, server_port=port, share=False, quiet=True, prevent_thread_lock=True,
            max_file_size=MAX_BYTES, theme=gr.themes.Default(**system_fonts), css=STYLE + panels.STYLE, head=SCRIPT,
            footer_links=[], run_history=False, enable_monitoring=False, ssr_mode=False, pwa=False, mcp_server=False,
        )  # fmt: skip
    except OSError as error:
        raise UserError(f'Nothing free at {HOME}:{port or "7860 to 7959"}: name another, with --port.') from error
    print(f'The page is at {address} (Ctrl-C ends it)', flush=True)
    try:
        while True:
            time.sleep(1)
            tidy()
    except KeyboardInterrupt:
        print('The page is closed.')
    finally:
        page.close(verbose=False)


if __name__ == '__main__':
    sys.exit(starting.run(main))
