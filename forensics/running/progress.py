"""Progress of a long loop: a tqdm bar in a terminal, a few plain lines in a log file."""

import sys
import time
from collections.abc import Iterable, Iterator

from tqdm import tqdm

LINES = 4  # plain lines for one pass


class Progress:
    """Iterate over it; `show(...)` puts figures beside the bar."""

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
        start, every = (
            time.monotonic(),
            -(-self.total // LINES),
        )  # rounded up: never zero, however few the batches
        for number, item in enumerate(self.items, start=1):
            yield item
            if number % every == 0 or number == self.total:
                print(
                    f'{self.label}: {number}/{self.total}  {self.figures}  {time.monotonic() - start:.1f} s',
                    flush=True,
                )
