"""The whole page, from the evidence and the album."""

import re
from pathlib import Path

from forensics.reporting import assignment, comparison, published, reproduction, trust
from forensics.reporting.album import Album
from forensics.reporting.evidence import UNEXPECTED, Evidence
from forensics.reporting.page import UNCHECKED, Html, all_marks, code, element, joined, paragraph, say, section

CSS = (Path(__file__).parent / 'report.css').read_text(encoding='utf-8')
TITLE = 'Facial-manipulation detection: the report'


def build(evidence: Evidence, album: Album) -> str:
    parts = {
        'assignment': ('1 The assignment', assignment.part(evidence, album)),
        'comparison': ('2 The comparison', comparison.part(evidence, album), published.part(evidence, album)),
        'trust': ('3 Trust', trust.part(evidence, album)),
        # The last one, because it names what the others could not read.
        'reproduction': ('4 Reproduction', reproduction.part(evidence)),
    }
    body = joined(section(2, name, title, *texts) for name, (title, *texts) in parts.items())
    page = joined([
        element('a', 'Skip to the content', href='#content', class_='skip'),
        element('header', element('h1', TITLE), summary(evidence, album)),
        element('nav', contents(body), aria_label='Contents'),
        element('main', body, id='content'),
    ])  # fmt: skip
    text = (
        f'<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f'<meta name="color-scheme" content="light dark">\n<title>{TITLE}</title>\n<style>\n{CSS}</style>\n</head>\n'
        f'<body>\n{page}\n</body>\n</html>\n'
    )
    return text.encode('utf-8', 'replace').decode()  # half a character, which JSON may hold, cannot be written


def summary(evidence: Evidence, album: Album) -> Html:
    """What was found, what is still open, and what to do about it."""
    if not evidence.runs and not evidence.scores:
        first = say(
            'No run was found in {}. Type first: {} for everything, or {} for a single detector; then this line again.',
            code(f'{evidence.folder}/'), code('./run_me.sh'), code(assignment.FAKES.command),
        )  # fmt: skip
    else:
        detectors = {scored.detector for scored in evidence.scores.values()}
        first = say('{} trainings were found, and scores of {} detectors.', len(evidence.runs), len(detectors))
    try:
        open_ones = assignment.still_open(evidence, album)
    except UNEXPECTED:  # named where the answers stand
        return paragraph(first)
    asked = len(assignment.QUESTIONS)
    links = joined([element('a', question.number, href=f'#q{question.number}') for question in open_ones], ', ')
    answered = say('{} of the {} questions, the bonus counted, are answered.', asked - len(open_ones), asked)
    if open_ones:
        answered = say('{} Open: {}; each names the line to type.', answered, links)
    marks = all_marks(evidence.marks_of(run) for run in evidence.runs)
    caution = (
        paragraph('Read with care:', marks, '. ', element('a', 'What these words mean', href='#reading'))
        if marks
        else ''
    )
    skipped = ''
    if evidence.broken:
        skipped = paragraph(
            say('Records left out, because they are bad or of another training: {}. They are ', len(evidence.broken)),
            element('a', 'named below', href='#skipped'),
            '.',
        )
    return joined([paragraph(first), element('p', answered, **UNCHECKED), caution, skipped])


def contents(body: str) -> Html:
    """Links to the parts, their sections and, by number, the questions."""
    items: list[Html] = []
    for level, name, title in re.findall(r'<h([23]) id="([^"]+)-title">(.*?)</h\1>', body):
        count = re.match('<span class="count">(?:Question )?(.*?)</span>', title)
        link = element('a', Html(count[1] if count else title), href=f'#{name}')
        kind = 'part' if level == '2' else 'question' if count else 'section'
        items.append(element('li', link, class_=kind))
    return element('ul', *items)
