"""What a user points at: files, folders, standard input. Read with bounds, since any of it may come from a stranger."""

import hashlib
import os
import stat
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from forensics.errors import UserError
from forensics.pictures.files import IMAGE_EXTENSIONS, BrokenFile
from forensics.pictures.video import VIDEO_EXTENSIONS

MAX_BYTES = 200 * 2**20  # of a picture's file, or of standard input
STANDARD_INPUT = '-'


@dataclass(frozen=True)
class Source:
    """A file, or bytes from standard input."""

    name: str
    data: bytes | None = None

    def check(self) -> os.stat_result:
        """Raises unless it is a plain file: a named pipe would keep us waiting for ever."""
        try:
            found = os.stat(self.name)
        except (OSError, ValueError) as error:  # ValueError: a null character in the name
            raise BrokenFile(self.name, getattr(error, 'strerror', None) or str(error)) from error
        if not stat.S_ISREG(found.st_mode):
            raise BrokenFile(self.name, 'neither a file nor a folder')
        return found

    def head(self, size: int) -> bytes:
        return self.data[:size] if self.data is not None else self._read(size)

    def content(self) -> bytes:
        if self.data is not None:
            return self.data
        if self.check().st_size > MAX_BYTES:
            raise BrokenFile(self.name, f'larger than {MAX_BYTES // 2**20} MiB')
        return self._read(MAX_BYTES)

    def _read(self, size: int) -> bytes:
        self.check()
        try:
            with open(self.name, 'rb') as opened:
                return opened.read(size)
        except OSError as error:
            raise BrokenFile(self.name, error.strerror) from error

    @property
    def state(self) -> list:
        """Changes when the file does."""
        if self.data is not None:
            return [hashlib.sha256(self.data).hexdigest()]
        found = os.stat(self.name)
        return [found.st_size, found.st_mtime_ns]


def find_sources(paths: Sequence[str], leave_out: str | None = None) -> list[Source]:
    """A folder's pictures and videos with those of its sub-folders, sorted; anything else as it was named.

    Hidden files and links to folders are not followed, nor is the folder `leave_out`, where answers are written.
    """
    sources = []
    for path in paths:
        if path == STANDARD_INPUT:
            sources.append(standard_input())
        elif os.path.isdir(path):
            sources += [Source(name) for name in files_below(path, leave_out)]
        else:
            sources.append(Source(path))
    if not sources:
        raise UserError(f'No picture and no video in {", ".join(paths)}.')
    return sources


def files_below(folder: str, leave_out: str | None) -> Iterator[str]:
    for place, folders, files in os.walk(folder):
        hidden_or_ours = {name for name in folders if name.startswith('.')}
        if leave_out and os.path.isdir(leave_out):
            hidden_or_ours |= {name for name in folders if os.path.samefile(os.path.join(place, name), leave_out)}
        folders[:] = sorted(set(folders) - hidden_or_ours)
        for name in sorted(files):
            if Path(name).suffix.lower() in IMAGE_EXTENSIONS | VIDEO_EXTENSIONS and not name.startswith('.'):
                yield os.path.join(place, name)


def standard_input() -> Source:
    data = sys.stdin.buffer.read(MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        raise UserError(f'Standard input is larger than {MAX_BYTES // 2**20} MiB.')
    return Source(STANDARD_INPUT, data)


def is_video(name: str, head: bytes) -> bool:
    """Judged by what the file holds; its name counts only if that says nothing."""
    if head[4:8] == b'ftyp':
        return head[8:12] not in (b'avif', b'avis', b'heic', b'heix', b'mif1', b'msf1')
    if head[:4] == b'RIFF':
        return head[8:12] == b'AVI '
    if head[:4] in (b'\x1aE\xdf\xa3', b'\x00\x00\x01\xba', b'\x00\x00\x01\xb3', b'FLV\x01', b'0&\xb2u'):
        return True
    is_picture = head[:2] in (b'\xff\xd8', b'BM', b'II', b'MM') or head[:4] in (b'\x89PNG', b'GIF8')
    return not is_picture and Path(name).suffix.lower() in VIDEO_EXTENSIONS


def printable(name: str) -> str:
    """The name on one line, without what a terminal would obey."""
    name = name.encode('utf-8', 'surrogateescape').decode('utf-8', 'backslashreplace')
    return ''.join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in name)
