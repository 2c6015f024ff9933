"""The example report in a real browser: no sideways scrolling, every figure there, printable, accessible.

The accessibility check needs axe-core too: AXE_CORE=/path/to/axe.min.js (`npm pack axe-core`, then unpack).
"""

import json
import os
import re
import shutil
import subprocess
from html import unescape
from pathlib import Path

import pytest
from conftest import PROJECT

from forensics.reporting import printing

BROWSER = printing.find_browser()
pytestmark = pytest.mark.skipif(BROWSER is None, reason='no Chromium or Chrome is installed')
EXAMPLE = PROJECT / 'docs' / 'example_report.html'
# A window of the browser has a least width, a frame has none.
FRAME = """<!DOCTYPE html><html><body><iframe src="inner.html" width="{width}" height="900"></iframe><script>
addEventListener('message', event => document.body.setAttribute('data-said', event.data))</script></body></html>"""
LOOK = """
const page = document.documentElement;
const say = {
  width: innerWidth, content: page.scrollWidth,
  broken: [...document.images].filter(image => !image.naturalWidth).length, images: document.images.length,
  dead: [...document.links].filter(link => !document.getElementById(link.hash.slice(1))).length,
};"""
AXE = """
axe.run().then(found => parent.postMessage(JSON.stringify(found.violations.map(each => each.id)), '*'))"""


def ask(folder: Path, script: str, width: int, *options: str):
    """What the script in the page says, the page being so wide."""
    page = EXAMPLE.read_text().replace(
        '</body>', f'<script>addEventListener("load", () => {{{script}}})</script></body>'
    )
    (folder / 'inner.html').write_text(page)
    (folder / 'outer.html').write_text(FRAME.format(width=width))
    command = [
        BROWSER,
        *printing.OPTIONS,
        f'--user-data-dir={folder / "profile"}',
        '--virtual-time-budget=20000',
        *options,
    ]
    uri = (folder / 'outer.html').as_uri()
    done = subprocess.run([*command, '--dump-dom', uri], capture_output=True, text=True, timeout=120)
    said = re.search('data-said="([^"]*)"', done.stdout)
    assert said, done.stderr[-2000:]
    return json.loads(unescape(said[1]))


@pytest.mark.parametrize('width', [360, 1400])
def test_page_fits_its_width_and_is_whole(tmp_path, width):
    said = ask(tmp_path, LOOK + "parent.postMessage(JSON.stringify(say), '*')", width)
    assert said['content'] <= said['width'] <= width
    assert said['images'] > 20 and said['broken'] == said['dead'] == 0


def test_it_can_be_printed(tmp_path):
    printing.print_page(BROWSER, EXAMPLE, tmp_path / 'report.pdf')
    content = (tmp_path / 'report.pdf').read_bytes()
    assert content.startswith(b'%PDF') and len(re.findall(rb'/Type /Page\b', content)) > 10


@pytest.mark.skipif(shutil.which('pdftotext') is None, reason='pdftotext is not installed')
def test_no_printed_page_holds_a_heading_alone(tmp_path):
    """Defect: "4 Reproduction" stood on a page of its own, because its section wanted a broad one."""
    path = tmp_path / 'report.pdf'
    printing.print_page(BROWSER, EXAMPLE, path)
    text = subprocess.run(['pdftotext', str(path), '-'], capture_output=True, text=True, check=True).stdout
    pages = [page.split() for page in text.removesuffix('\f').split('\f')]
    (reproduction,) = [page for page in pages if page[:2] == ['4', 'Reproduction']]
    assert len(reproduction) > 20


@pytest.mark.skipif('AXE_CORE' not in os.environ, reason='AXE_CORE does not name a copy of axe.min.js')
@pytest.mark.parametrize('scheme', ['light', 'dark'])
def test_contrast_and_labels_pass_axe(tmp_path, scheme):
    options = ['--blink-settings=preferredColorScheme=' + {'dark': '0', 'light': '1'}[scheme]]
    assert ask(tmp_path, Path(os.environ['AXE_CORE']).read_text() + AXE, 1400, *options) == []
