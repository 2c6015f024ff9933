"""The page as PDF, by a headless Chromium or Chrome if this machine has one."""

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from forensics.errors import UserError
from forensics.records import atomic_path

BROWSERS = ('chromium', 'chromium-browser', 'google-chrome', 'google-chrome-stable', 'chrome', 'headless_shell')
OPTIONS = ['--headless', '--disable-gpu', '--no-first-run']
if hasattr(os, 'geteuid') and os.geteuid() == 0:
    OPTIONS.append('--no-sandbox')  # it refuses to start for root otherwise


def find_browser() -> str | None:
    return next((path for name in BROWSERS if (path := shutil.which(name))), None)


def print_page(browser: str, page: Path, path: Path) -> None:
    with tempfile.TemporaryDirectory() as profile, atomic_path(path) as temporary:
        command = [browser, *OPTIONS, f'--user-data-dir={profile}']
        command += ['--no-pdf-header-footer', f'--print-to-pdf={temporary.resolve()}', page.resolve().as_uri()]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=180)
        except subprocess.TimeoutExpired as error:
            raise UserError(
                f'{browser} did not print {page} within three minutes; open it and print it there.'
            ) from error
        if done.returncode or not temporary.exists():
            said = done.stderr.strip().splitlines()[-1:] or ['it said nothing']
            raise UserError(
                f'{browser} could not print {page} ({said[0]}). Open the page in a browser and print it there.'
            )
