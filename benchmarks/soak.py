"""Does the page stay as it is after many visits? Uploads through its interface for programs, on this machine:

python benchmarks/soak.py --checkpoint checkpoints/faces.onnx

Several visitors at a time send pictures of their own. Prints the memory that the page takes after the first hundred
answers and at the end, the files that it left behind, and how many answers were for somebody else's picture.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import httpx  # noqa: E402
import psutil  # noqa: E402
from PIL import Image  # noqa: E402

import options  # noqa: E402
from forensics import records  # noqa: E402
from forensics.errors import UserError  # noqa: E402
from forensics.running import starting  # noqa: E402
from forensics.running.progress import Progress  # noqa: E402

FIRST = 100  # answers until everything that is kept for good has been loaded
EXAMPLES = sorted((ROOT / 'docs' / 'examples').glob('*.jpg'))


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = options.parser(__doc__)
    options.add_detector(parser)
    parser.add_argument('--uploads', type=options.positive, default=1000, help='(default: %(default)s)')
    parser.add_argument('--visitors', type=options.positive, default=4, help='at a time (default: %(default)s)')
    parser.add_argument('--json', metavar='FILE', help='also write the figures there')
    args = parser.parse_args(argv)
    if args.uploads <= FIRST:
        parser.error(f'--uploads {args.uploads}: memory is compared with that after {FIRST}')
    return args


def main(argv: list[str] | None = None) -> int:
    args = parse_args(argv)
    with tempfile.TemporaryDirectory() as folder:
        page = Page(args.checkpoint, Path(folder))
        try:
            found = soak(page, args.uploads, args.visitors)
        finally:
            page.end()
        found['files_left'] = len(page.files())
    first, last = found['megabytes']
    print(f'{args.uploads} uploads of {args.visitors} visitors in {found["seconds"]:.0f} seconds')
    print(f'memory after {FIRST}: {first:.0f} MB, at the end {last:.0f} MB ({last / first - 1:+.1%})')
    print(f'answers for another picture: {found["wrong"]}; files of another visitor in an answer: {found["told"]}')
    print(f'files at most at a time {found["most_files"]}, after the end {found["files_left"]}')
    if args.json:
        records.write_json(args.json, found)
    return int(bool(found['wrong'] or found['told'] or found['files_left'] or last > 1.1 * first))


class Page:
    """app.py as a process, with a folder of its own for whatever is temporary."""

    def __init__(self, checkpoint: str | Path, folder: Path):
        self.folder, output = folder / 'temporary', folder / 'output.txt'
        self.folder.mkdir()
        command = [sys.executable, ROOT / 'app.py', '--checkpoint', Path(checkpoint).absolute(), '--keep', '20']
        with open(output, 'w') as opened:
            environment = {**os.environ, 'TMPDIR': str(self.folder)}
            self.process = subprocess.Popen(command, env=environment, stdout=opened, stderr=subprocess.STDOUT)
        while not (found := re.search(r'http://\S+', output.read_text())):
            if self.process.poll() is not None:
                raise UserError(f'The page did not start: {output.read_text()}')
            time.sleep(0.1)
        self.address = found[0]

    def files(self) -> list[str]:
        return [name for _, _, names in os.walk(self.folder) for name in names]

    def megabytes(self) -> float:
        return psutil.Process(self.process.pid).memory_info().rss / 2**20

    def end(self) -> None:
        self.process.terminate()
        self.process.wait(600)


def soak(page: Page, uploads: int, visitors: int) -> dict:
    found = {'wrong': 0, 'told': 0, 'most_files': 0, 'megabytes': []}
    start = time.monotonic()
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(visitors) as pool:
        sent = [draw(Path(folder), number) for number in range(uploads)]
        answers = pool.map(lambda job: ask(page.address, job[0]), sent)
        for number, answer in enumerate(Progress(answers, uploads, 'uploads')):
            path, size = sent[number]
            found['wrong'] += (answer['file'], answer['width'], answer['height']) != (path.name, *size)
            found['told'] += bool(set(re.findall(r'visit-\d+', str(answer))) - {path.stem})
            found['most_files'] = max(found['most_files'], len(page.files()))
            if number + 1 in (FIRST, uploads):
                found['megabytes'].append(page.megabytes())
    return {**found, 'seconds': time.monotonic() - start}


def draw(folder: Path, number: int) -> tuple[Path, tuple[int, int]]:
    """A picture of a size that no other one has."""
    path, size = folder / f'visit-{number:06}.jpg', (256 + number % 64, 256 + number // 64)
    Image.open(EXAMPLES[number % len(EXAMPLES)]).resize(size).save(path)
    return path, size


def ask(address: str, path: Path) -> dict:
    """By HTTP alone, each visit on its own: gradio_client once waited for ever for answers that had been given."""
    api, patient = f'{address}gradio_api', {'timeout': 600}
    (place,) = httpx.post(f'{api}/upload', files={'files': (path.name, path.read_bytes())}, **patient).json()
    given = {'data': [{'path': place, 'meta': {'_type': 'gradio.FileData'}}]}
    event = httpx.post(f'{api}/call/predict', json=given, **patient).json()['event_id']
    said = httpx.get(f'{api}/call/predict/{event}', **patient).text
    return json.loads(re.search('event: complete\ndata: (.*)', said)[1])[0]


if __name__ == '__main__':
    sys.exit(starting.run(main))
