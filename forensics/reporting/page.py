"""The pieces of an HTML page. What is not `Html` already is escaped; a number says which record it comes from."""

import html
import math
import re
from collections.abc import Iterable, Sequence
from html.parser import HTMLParser

DASH = '–'


class Html(str):
    """Text that is HTML already."""


def escaped(value) -> Html:
    return value if isinstance(value, Html) else Html(html.escape(str(value)))


def joined(parts: Iterable, between: str = '') -> Html:
    return Html(between.join(escaped(part) for part in parts))


def say(text: str, *parts) -> Html:
    """`text` with the parts in its {}."""
    return Html(html.escape(text, quote=False).format(*map(escaped, parts)))


def element(tag: str, *parts, **attributes) -> Html:
    """<tag class="x">...</tag> for element('tag', ..., class_='x')."""
    names = {name.rstrip('_').replace('_', '-'): value for name, value in attributes.items()}
    written = ''.join(f' {name}="{html.escape(str(value))}"' for name, value in names.items())
    return Html(f'<{tag}{written}>{joined(parts)}</{tag}>')


def code(line: str) -> Html:
    return element('code', line)


def paragraph(*parts) -> Html:
    return element('p', *parts) if any(parts) else Html('')


def bullets(items: Iterable) -> Html:
    items = [element('li', item) for item in items]
    return element('ul', *items) if items else Html('')


def mark(text: str, kind: str = 'caution') -> Html:
    """A word that stands beside whatever must be read with it in mind."""
    return joined([' ', element('span', text, class_=f'mark {kind}')])


def table(caption, head: Sequence[str], rows: Iterable[Sequence], words: int = 1) -> Html:
    """A table that scrolls in a box of its own; after the first `words` columns come numbers."""

    def cell(place: int, content, tag: str, **attributes) -> Html:
        return element(tag, content, **attributes, **({'class_': 'number'} if place >= words else {}))

    def line(row: Sequence) -> Html:
        first, *others = row
        return element('tr', cell(0, first, 'th', scope='row'), *(cell(i, x, 'td') for i, x in enumerate(others, 1)))

    heads = element('tr', *(cell(place, name, 'th', scope='col') for place, name in enumerate(head)))
    lines = [line(row) for row in rows]
    if not lines:
        return Html('')
    whole = element('table', element('caption', caption), element('thead', heads), element('tbody', *lines))
    return element('div', whole, class_='scroll', role='group', aria_label=as_text(escaped(caption)), tabindex='0')


def section(level: int, identifier: str, title, *parts) -> Html:
    heading = element(f'h{level}', title, id=f'{identifier}-title')
    return element('section', heading, *parts, id=identifier, aria_labelledby=f'{identifier}-title')


# --- numbers ---------------------------------------------------------------------------------------------------------


class Source:
    """A record; `show` writes one of its numbers. Its name is the record's place below the folder of records."""

    def __init__(self, name: str):
        self.name = name

    def show(self, value: float | int | None, form: str, key: str) -> Html:
        """The number as people read it, in a tag with its exact value and where it stands."""
        if value is None:
            return Html(DASH)
        return element('data', form.format(value), value=repr(value), data_source=f'{self.name}: {key}')

    def interval(self, ends: Sequence[float] | None, form: str, key: str) -> Html:
        """' (low to high)', or nothing where there is no interval."""
        if not ends or None in ends:
            return Html('')
        low, high = (self.show(end, form, f'{key} {name}') for end, name in zip(ends, ('low', 'high'), strict=True))
        return say(' ({} to {})', low, high)


def as_text(content: Html) -> str:
    """The same for a terminal."""
    return html.unescape(re.sub('<[^>]+>', '', re.sub('</?code>', '`', content)))


class NumberReader(HTMLParser):
    def __init__(self):
        super().__init__()
        self.numbers: dict[str, str] = {}

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        if tag == 'data' and found.get('data-source'):
            self.numbers[found['data-source']] = found.get('value') or ''


def numbers_in(page: str) -> dict[str, str]:
    """{source: exact value} of every number in the page."""
    reader = NumberReader()
    reader.feed(page)
    return reader.numbers


def same(one: str | None, other: str | None) -> bool:
    """Equal but for the last digits, in which processors differ."""
    return one == other or None not in (one, other) and math.isclose(float(one), float(other), rel_tol=1e-9)


def changes(stored: str, now: str) -> list[str]:
    """A line for each number that differs between two reports."""
    before, after = numbers_in(stored), numbers_in(now)
    lines = []
    for source in sorted({**before, **after}):
        old, new = before.get(source), after.get(source)
        if not same(old, new):
            lines.append(f'{source}: {"not in the report" if old is None else old} -> {"gone" if new is None else new}')
    return lines
