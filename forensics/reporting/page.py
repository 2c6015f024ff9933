"""The pieces of an HTML page, and what differs between two pages. What is not `Html` already is escaped."""

import html
import re
from collections.abc import Iterable, Sequence
from difflib import SequenceMatcher
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


def all_marks(marks: Iterable[Html]) -> Html:
    """Each mark once."""
    return joined(dict.fromkeys(Html(each) for several in marks for each in re.findall('.*?</span>', several)))


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


def digits(value: float | int | None, form: str) -> Html:
    """The number as people read it."""
    return Html(DASH) if value is None else escaped(form.format(value))


def span(ends: Sequence[float] | None, form: str) -> Html:
    """' (low to high)', or nothing where there is no interval."""
    if not ends or None in ends:
        return Html('')
    return say(' ({} to {})', *(digits(end, form) for end in ends))


def as_text(content: Html) -> str:
    """The same for a terminal."""
    return html.unescape(re.sub('<[^>]+>', '', re.sub('</?code>', '`', content)))


# --- comparing two pages ---------------------------------------------------------------------------------------------


UNCHECKED = {'data_unchecked': ''}  # attributes of what hangs on more than the records: figures, installed packages
NOT_READ = ('style', 'script', 'details', 'figure')  # details hold listings of the code
LINES = ('p', 'li', 'tr', 'caption', 'summary', 'h1', 'h2', 'h3')


class LineReader(HTMLParser):
    """The text of a page that hangs on records: {title of its section: its lines}."""

    def __init__(self):
        super().__init__()
        self.found: dict[str, list[str]] = {'': ['']}
        self.unread: list[str] = []  # the tags that are open inside of what is not read

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if self.unread or tag in NOT_READ or 'data-unchecked' in dict(attrs):
            self.unread += [tag] if tag not in ('img', 'meta', 'br') else []
        elif tag in LINES:
            self._lines().append('')

    def handle_endtag(self, tag: str) -> None:
        if self.unread:
            self.unread.pop()
        elif tag in ('td', 'th'):
            self.handle_data(' ')
        elif tag in ('h2', 'h3'):
            title, self._lines()[-1] = self._lines()[-1].strip(), ''
            self.found.setdefault(title, [''])

    def handle_data(self, data: str) -> None:
        if not self.unread:
            self._lines()[-1] += data

    def _lines(self) -> list[str]:
        return self.found[next(reversed(self.found))]


def lines_of(page: str) -> dict[str, list[str]]:
    reader = LineReader()
    reader.feed(page)
    return {title: [' '.join(line.split()) for line in lines] for title, lines in reader.found.items()}


def numbers_in(text: str) -> tuple[str, ...]:
    """Every word that holds a digit: numbers, and fingerprints, commits, versions, command lines."""
    return tuple(word.strip('.') for word in re.findall(r'[^\s(),;:]*\d[^\s(),;:]*', text))


def changes(stored: str, now: str) -> list[str]:
    """The lines whose numbers differ between two reports, each '- as stored' or '+ as it is now'."""
    before, after, found = lines_of(stored), lines_of(now), []
    for title in {**before, **after}:
        old, new = ([line for line in page.get(title, []) if numbers_in(line)] for page in (before, after))
        matcher = SequenceMatcher(None, [*map(numbers_in, old)], [*map(numbers_in, new)], autojunk=False)
        lines = []
        for same, start, end, new_start, new_end in matcher.get_opcodes():
            if same != 'equal':
                lines += [f'- {line}' for line in old[start:end]] + [f'+ {line}' for line in new[new_start:new_end]]
        found += [f'{title}:', *lines] if lines else []
    return found
