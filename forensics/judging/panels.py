"""The answer to one upload, as a part of app.py's page: a gauge, the faces, what speaks for fake, and what limits it.

Pictures and the report to take away are inside the text, so that no file of a visitor has to lie on the disk for it.
"""

import base64
import io
from collections.abc import Iterable, Sequence
from html import escape

import numpy as np
from PIL import Image

from forensics.judging import reports
from forensics.judging.detector import Detector, Doubts
from forensics.judging.pipeline import Prepared
from forensics.judging.reports import COLOURS, HEAT, WIDTH, items, line, svg, text
from forensics.pictures.sources import printable

WORDS = {
    'fake': 'Looks fake',
    'real': 'Looks real',
    'unsure': 'Unsure: no answer',
    'no face': 'No face was found',
}
CURVES = {  # colour, dashes
    'this face': ('currentColor', 'none'),
    'mean of real ones': ('#2a9d5c', '7 3'),
    'mean of fake ones': ('#e5484d', '2 2'),
}
STYLE = """
#answer { line-height: 1.5; overflow-wrap: anywhere; }
#answer h2 { font-size: 1.4rem; font-weight: 700; margin: 1.5rem 0 .5rem; outline: none; }
#answer h3 { font-size: 1.1rem; font-weight: 700; margin: 0 0 .5rem; }
#answer p, #answer ul, #answer label { margin: .5rem 0; }
#answer ul { list-style: disc; padding-left: 1.5rem; }
#answer img { max-width: 100%; max-height: 80vh; }
#answer svg { width: 100%; max-width: 30rem; display: block; }
#answer svg text { font: 12px system-ui, sans-serif; fill: currentColor; }
#answer td, #answer th { text-align: left; padding: .1rem 1rem .1rem 0; vertical-align: top; }
#answer table, #answer tr, #answer td, #answer th { border: 0; }
#answer th { font-weight: 600; overflow-wrap: normal; }
#answer .verdict { color: white; padding: .1rem .8rem; border-radius: 1rem; }
#answer .small { font-size: .875rem; }
#answer .face { display: grid; gap: 1.5rem 2rem; }
#answer .face { grid-template-columns: repeat(auto-fit, minmax(min(100%, 17rem), 1fr)); }
#answer figure { position: relative; width: 16rem; max-width: 100%; margin: 0; }
#answer figure img { width: 100%; display: block; }
#answer figure .heat { position: absolute; inset: 0; opacity: var(--strength); }
#answer input[type=range] { display: block; width: 16rem; max-width: 100%; }
#answer .download { display: inline-block; padding: .5rem 1rem; border: 1px solid currentColor; border-radius: .4rem; }
"""


def answer_panel(
    prepared: Prepared, answer: dict, detector: Detector, about: dict, spectra: Sequence[np.ndarray], doubts: Doubts
) -> str:
    """`spectra` are those of the faces."""
    if answer['verdict'] == 'unreadable':
        return error_panel(f'{answer["file"]}: {"; ".join(answer["reasons"])}. Pictures and videos have an answer.')
    cells = reports.cells_of(detector, prepared.seen)
    report = reports.report(prepared, answer, reports.heat_maps(prepared.seen, cells), about)
    parts = [heading(answer, about), download(report, f'{reports.stem_of(prepared.source)}.html')]
    if prepared.copy is not None:
        parts.append(f'<p>{reports.inline(reports.annotated(prepared.copy, answer), reports.BOXES)}</p>')
        faces = zip(answer['faces'], prepared.seen, cells, spectra, strict=True)
        for number, (face, seen, grid, spectrum) in enumerate(faces, start=1):
            columns = [
                explained(number, seen.crop, grid),
                stability(face, about['threshold']),
                spectrum_beside_means(spectrum, detector.mean_spectra),
            ]
            parts.append(face_panel(number, face, columns))
    if answer['kind'] == 'video':
        parts.append(f'<h2>Over time</h2>{reports.video_section(answer, about)}')
    parts += [reports.claims_section(answer['says_of_itself']), reports.detector_section(about)]
    return '\n'.join([*parts, items(doubts.sentences())])


def error_panel(sentence: str) -> str:
    return f'<div role="alert"><h2 tabindex="-1">No answer</h2><p>{escape(printable(sentence))}</p></div>'


def heading(answer: dict, about: dict) -> str:
    verdict, name = answer['verdict'], escape(printable(answer['file']))
    badge = f'<span class="verdict" style="background:{COLOURS[verdict]}">{WORDS[verdict]}</span>'
    title = f'<h2 tabindex="-1">{badge}</h2>'
    if answer['p_fake'] is None:
        return f'{title}<p>{name}: there is no face in it that could be scored.</p>'
    return f'{title}<p>{name}</p>{gauge(answer["p_fake"], about)}<p>{escape(meaning(answer, about))}</p>' + items(
        f'because {reason}' for reason in answer['reasons']
    )


def meaning(answer: dict, about: dict) -> str:
    chosen_on = about['threshold_chosen_on']
    calibrated = f'calibrated on {chosen_on}' if chosen_on else 'not calibrated: a score rather than a probability'
    decides = {'image': 'most suspicious face decides', 'video': 'mean of the frames decides'}[answer['kind']]
    several = f' The {decides}.' if answer['kind'] == 'video' or len(answer['faces']) > 1 else ''
    return f'P(fake) {answer["p_fake"]:.2f}, {calibrated}. From {about["threshold"]:.2f} on it counts as fake.{several}'


def gauge(p_fake: float, about: dict) -> str:
    """A scale from real to fake, with the band that is left open and a pointer."""
    low, high = about['unsure'] or (about['threshold'], about['threshold'])
    at = [10 + (WIDTH - 20) * value for value in (0, low, high, 1)]
    zones = zip(('real', 'unsure', 'fake'), at, at[1:], strict=False)
    parts = [
        f'<rect x="{start:.1f}" y="24" width="{end - start:.1f}" height="16" fill="{COLOURS[name]}"/>'
        for name, start, end in zones
    ]
    x, threshold = 10 + (WIDTH - 20) * p_fake, 10 + (WIDTH - 20) * about['threshold']
    parts.append(line(threshold, 20, threshold, 44))
    parts.append(f'<path d="M{x:.1f} 32 l-8 -22 h16 z" fill="currentColor" stroke="Canvas" stroke-width="1.5"/>')
    parts += [text(10, 58, '0 real'), text(WIDTH - 46, 58, 'fake 1')]
    label = f'P(fake) is {p_fake:.2f} on a scale from 0, real, to 1, fake'
    return svg(64, label if low == high else f'{label}; from {low:.2f} to {high:.2f} there is no answer', parts)


def download(report: str, name: str) -> str:
    link = f'data:text/html;charset=utf-8;base64,{base64.b64encode(report.encode()).decode()}'
    return f'<p><a class="download" download="{escape(name)}" href="{link}">Download the report (one page)</a></p>'


# --- a face ------------------------------------------------------------


def face_panel(number: int, face: dict, columns: Iterable[str]) -> str:
    size = '{w:.0f}x{h:.0f} pixels'.format(**face['box'])
    return (
        f'<h2>Face {number}: {face["verdict"]}</h2><p>P(fake) {face["p_fake"]:.2f}, {size}</p>{items(face["reasons"])}'
        f'<div class="face">{"".join(f"<div>{column}</div>" for column in columns)}</div>'
    )


def explained(number: int, crop: Image.Image, evidence: np.ndarray | None) -> str:
    """The face under a layer that shows what speaks for fake, with a slider for the layer's strength."""
    title, face = '<h3>What speaks for it</h3>', reports.inline(crop, f'face {number}')
    if evidence is None:
        return f'{title}<figure>{face}</figure><p class="small">{reports.BLANK_MAP}</p>'
    buffer = io.BytesIO()
    reports.heat_layer(evidence, crop.size).save(buffer, 'PNG')
    layer = base64.b64encode(buffer.getvalue()).decode()
    strength = "this.closest('div').querySelector('figure').style.setProperty('--strength', this.value)"
    return (
        f'{title}<figure style="--strength:{HEAT}">{face}'
        f'<img class="heat" src="data:image/png;base64,{layer}" alt="what speaks for fake in face {number}"></figure>'
        f'<label>Strength of the colours <input type="range" min="0" max="1" step="0.05" value="{HEAT}" '
        f'oninput="{strength}"></label><p class="small">Red speaks for fake, blue for real, relative to this face.</p>'
    )


def stability(face: dict, threshold: float) -> str:
    return (
        f'<h3>Does it hold?</h3>{reports.strip(face, threshold)}<p class="small">P(fake) after harmless changes. If '
        'one of them crosses the line, there is no answer.</p>'
    )


def spectrum_beside_means(spectrum: np.ndarray, means: dict | None) -> str:
    """How the picture's energy falls from coarse shapes to the finest detail."""
    curves = {'this face': spectrum}
    words = "The detector's file holds no mean spectra of real and fake faces, so there is nothing to compare it with."
    if means:
        curves |= {'mean of real ones': means['real'], 'mean of fake ones': means['fake']}
        words = f'The means are those of {means["of"]}.'
    lowest, highest = min(map(min, curves.values())), max(map(max, curves.values()))
    parts = [line(10, 140, WIDTH - 10, 140), text(10, 156, 'coarse shapes'), text(WIDTH - 84, 156, 'finest detail')]
    for number, (name, values) in enumerate(curves.items()):
        colour, dashes = CURVES[name]
        stroke = f'fill="none" stroke="{colour}" stroke-width="2" stroke-dasharray="{dashes}"'
        x = 10 + (WIDTH - 20) * np.linspace(0, 1, len(values))
        y = 136 - 126 * (np.asarray(values) - lowest) / (highest - lowest or 1)
        parts.append(f'<polyline points="{" ".join(map("{:.1f},{:.1f}".format, x, y))}" {stroke}/>')
        parts.append(f'<path d="M{WIDTH - 150} {18 + 18 * number} h24" {stroke}/>')
        parts.append(text(WIDTH - 120, 22 + 18 * number, name))
    return (
        f'<h3>Its spectrum</h3>{svg(162, "Spectrum: " + ", ".join(curves), parts)}<p class="small">{escape(words)} '
        'Scaling and compression bend the right end, too.</p>'
    )
