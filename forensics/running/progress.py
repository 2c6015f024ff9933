"""Progress of a long loop: a tqdm bar in a terminal; in a log a line now and then, and none for a short loop."""

import sys
import time
from collections.abc import Iterable, Iterator

from tqdm import tqdm

PAUSE = 60  # seconds between two lines of a log, at least
SHARE = 0.1  # of a pass between them, at least, so that a pass of a day does not fill the log


class Progress:
    """Iterate over `items`; `show(...)` puts figures beside the bar."""

    def __init__(self, items: Iterable, total: int, label: str):
        self.items, self.total, self.label = items, total, label
        self.terminal = sys.stderr.isatty()
        self.figures = ''
        self.bar = None

    def show(self, **figures: float) -> None:
        self.figures = ', '.join(f'{name} {value:.4g}' for name, value in figures.items())
        if self.bar is not None:
            self.bar.set_postfix_str(self.figures, refresh=False)

    def __iter__(self) -> Iterator:
        if self.terminal:
            with tqdm(self.items, total=self.total, desc=self.label, leave=False, dynamic_ncols=True) as self.bar:
                yield from self.bar
            return
        start = printed_at = time.monotonic()
        printed_number = 0
        for number, item in enumerate(self.items, start=1):
            yield item
            now = time.monotonic()
            if now - printed_at >= PAUSE and number - printed_number >= SHARE * self.total and number < self.total:
                print(f'{self.label}: {number}/{self.total}  {self.figures}  {now - start:.0f} s', flush=True)
                printed_at, printed_number = now, number
