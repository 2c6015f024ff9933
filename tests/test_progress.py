import re

import pytest

from forensics.running import progress
from forensics.running.progress import Progress


@pytest.fixture
def clock(monkeypatch):
    """A clock that the test moves."""
    seconds = [0.0]
    monkeypatch.setattr(progress.time, 'monotonic', lambda: seconds[0])
    return seconds


def lines_of(clock, capsys, items: int, seconds: float) -> list[str]:
    """What a log says of a pass with so many items that take so long each."""
    passing = Progress(range(items), items, 'epoch 1 train')
    for _ in passing:
        clock[0] += seconds
        passing.show(loss=0.5)
    return capsys.readouterr().out.splitlines()


def test_a_log_is_not_filled_by_short_passes(clock, capsys):
    """Of 660 lines of run_me.sh most said `evaluate: 2/5`."""
    assert lines_of(clock, capsys, 25, 2.0) == []
    assert lines_of(clock, capsys, 0, 2.0) == lines_of(clock, capsys, 1, 900.0) == []


def test_a_long_pass_tells_where_it_is_once_a_minute(clock, capsys):
    assert lines_of(clock, capsys, 15, 9.0) == [
        'epoch 1 train: 7/15  loss 0.5  63 s', 'epoch 1 train: 14/15  loss 0.5  126 s',
    ]  # fmt: skip


def test_a_pass_of_a_day_tells_it_ten_times(clock, capsys):
    lines = lines_of(clock, capsys, 86_400, 1.0)
    assert [int(re.search(r'(\d+)/', line)[1]) for line in lines] == [8640 * number for number in range(1, 10)]
