"""A page about one file's answer: the picture with its faces, what speaks for each verdict, and what limits it.

A page is one file: pictures are inside, nothing is loaded from anywhere, and no script runs. Whatever comes from the
picture's file is escaped.
"""

import base64
import hashlib
import io
import re
from collections.abc import Iterable, Iterator
from html import escape
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from forensics import records
from forensics.judging import maps
from forensics.judging.answers import Seen
from forensics.judging.detector import Detector
from forensics.judging.faithfulness import blank
from forensics.judging.pipeline import Prepared
from forensics.pictures.sources import Source, printable

BOXES = 'The picture with a box around each face'
BLANK_MAP = 'No heat map: it is blank, as no part of this face speaks for more than another.'
HEAT = 0.6  # of the strongest evidence's colour in a heat map
WIDTH = 340  # units of a drawing; about as many pixels on a telephone, so that its letters can be read there
COLOURS = {'fake': '#b3261e', 'real': '#1b6e3c', 'unsure': '#8a5a00', 'no face': '#555', 'unreadable': '#555'}

STYLE = """
:root { color-scheme: light dark; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 46rem; margin: 2rem auto; padding: 0 1rem; }
img { max-width: 100%; height: auto; }
svg { width: 100%; max-width: 32rem; display: block; }
svg text { font: 12px system-ui, sans-serif; fill: currentColor; }
td, th { text-align: left; padding: .1rem 1rem .1rem 0; vertical-align: top; overflow-wrap: anywhere; }
th { overflow-wrap: normal; }
.face { display: flex; flex-wrap: wrap; gap: 1rem; margin: 1rem 0; }
.face img { width: 12rem; }
.verdict { color: white; padding: .1rem .8rem; border-radius: 1rem; font-size: 1.4rem; font-weight: 700; }
.small { font-size: .85rem; opacity: .8; }
"""


def stem_of(source: Source) -> str:
    """The name of a source's files in the folder of reports; two sources never share one."""
    readable = re.sub(r'[^A-Za-z0-9]+', '-', Path(source.name).stem).strip('-')[:40] or 'picture'
    whole = str(Path(source.name).absolute()) if source.data is None else hashlib.sha256(source.data).hexdigest()
    return f'{readable}-{hashlib.sha256(whole.encode("utf-8", "surrogateescape")).hexdigest()[:12]}'


def write_report(folder: Path, prepared: Prepared, answer: dict, detector: Detector, about: dict) -> None:
    """The page (.html), of a picture also the annotated copy (.jpg) and each face's heat map (.png)."""
    stem, heats = stem_of(prepared.source), heat_maps(prepared.seen, cells_of(detector, prepared.seen))
    if prepared.copy is not None:
        save(annotated(prepared.copy, answer), folder / f'{stem}.jpg', quality=90)
    for number, heat in enumerate(heats, start=1):
        if heat is not None:
            save(heat, folder / f'{stem}-face-{number}.png')
    with records.atomic_path(folder / f'{stem}.html', one_of_many=True) as temporary:
        temporary.write_text(report(prepared, answer, heats, about), encoding='utf-8')


def report(prepared: Prepared, answer: dict, heats: list[Image.Image | None], about: dict) -> str:
    body = [heading(answer)]
    if prepared.copy is not None:
        body.append(f'<p>{inline(annotated(prepared.copy, answer), BOXES)}</p>')
        for number, (face, seen, heat) in enumerate(zip(answer['faces'], prepared.seen, heats, strict=True), start=1):
            body.append(face_section(number, face, seen.crop, heat, about))
    if answer['kind'] == 'video':
        body.append(video_section(answer, about))
    body += [claims_section(answer.get('says_of_itself', [])), detector_section(about)]
    return page(printable(answer['file']), body)


def save(image: Image.Image, path: Path, **options) -> None:
    with records.atomic_path(path, one_of_many=True) as temporary:
        image.save(temporary, **options)


# --- pictures ------------------------------------------------------------


def annotated(copy: Image.Image, answer: dict) -> Image.Image:
    """The smaller copy with a numbered box around each face."""
    copy, scale = copy.copy(), copy.width / answer['width']
    draw, font = ImageDraw.Draw(copy), ImageFont.load_default(18)
    for number, face in enumerate(answer['faces'], start=1):
        if face['box']:
            x, y, w, h = (scale * face['box'][key] for key in ('x', 'y', 'w', 'h'))
            label, colour = f' {number}: {face["verdict"]} ', COLOURS[face['verdict']]
            draw.rectangle((x, y, x + w, y + h), outline=colour, width=3)
            draw.rectangle(draw.textbbox((x, y), label, font), fill=colour)
            draw.text((x, y), label, 'white', font)
    return copy


def cells_of(detector: Detector, seen: list[Seen]) -> list[np.ndarray | None]:
    """What speaks for fake (above 0) and for real in each face; None in place of a blank map."""
    found = maps.cells(detector, [face.crop for face in seen]) if seen else []
    return [None if blank(cells) else cells for cells in found]


def heat_maps(seen: list[Seen], found: list[np.ndarray | None]) -> list[Image.Image | None]:
    return [None if cells is None else heat_map(face.crop, cells) for face, cells in zip(seen, found, strict=True)]


def heat_map(crop: Image.Image, cells: np.ndarray) -> Image.Image:
    layer = heat_layer(cells, crop.size)
    return Image.composite(layer.convert('RGB'), crop, layer.getchannel('A').point(lambda alpha: HEAT * alpha))


def heat_layer(cells: np.ndarray, size: tuple[int, int]) -> Image.Image:
    """What speaks for fake in red, for real in blue, the stronger the less transparent."""
    strength = maps.enlarged(cells / np.abs(cells).max(), size)[..., None].clip(-1, 1)
    colour = np.where(strength > 0, (220, 30, 20), (30, 80, 220))
    layer = np.concatenate([colour, 255 * np.abs(strength)], axis=2)
    return Image.fromarray(layer.round().astype(np.uint8), 'RGBA')


def inline(image: Image.Image, alt: str) -> str:
    buffer = io.BytesIO()
    image.save(buffer, 'JPEG', quality=85)
    return f'<img src="data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}" alt="{escape(alt)}">'


# --- the page's sections ------------------------------------------------------------


def page(title: str, body: Iterable[str]) -> str:
    policy = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
    return '\n'.join([
        '<!doctype html><html lang="en"><head><meta charset="utf-8">',
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f'<title>{escape(title)}</title><style>{STYLE}</style></head><body>',
        *body,
        '</body></html>',
    ])  # fmt: skip


def heading(answer: dict) -> str:
    verdict = answer['verdict']
    score = '' if answer['p_fake'] is None else f' &middot; P(fake) {answer["p_fake"]:.2f}'
    return (
        f'<h1>{escape(printable(Path(answer["file"]).name))}</h1>'
        f'<p><span class="verdict" style="background:{COLOURS[verdict]}">{verdict}</span>{score}</p>'
        f'{items(f"because {reason}" for reason in answer["reasons"])}'
    )


def items(lines: Iterable[str]) -> str:
    listed = ''.join(f'<li>{escape(line)}</li>' for line in lines)
    return f'<ul>{listed}</ul>' if listed else ''


def face_section(number: int, face: dict, crop: Image.Image, heat: Image.Image | None, about: dict) -> str:
    size = '{w:.0f}x{h:.0f} pixels'.format(**face['box']) if face['box'] else 'the middle of the picture'
    pictures = inline(crop, f'face {number}') + ('' if heat is None else inline(heat, f'heat map of face {number}'))
    means = 'Red speaks for fake, blue for real, relative to this face.'
    legend = f'<p class="small">{BLANK_MAP if heat is None else means}</p>'
    return (
        f'<h2>Face {number}: {face["verdict"]}</h2><p>P(fake) {face["p_fake"]:.2f}, {size}</p>'
        f'{items(face["reasons"])}<div class="face">{pictures}</div>{legend}{strip(face, about["threshold"])}'
    )


def strip(face: dict, threshold: float) -> str:
    """A row for the crop and for each harmless change: a dot at its P(fake), with a line at the threshold."""
    rows = {'as it is': face['p_fake'], **face['stability']}
    bottom = 22 * len(rows) + 4
    parts = [line(axis(threshold), 4, axis(threshold), bottom)]
    for number, (name, value) in enumerate(rows.items()):
        y = 22 * number + 14
        parts += [text(0, y + 4, name), dot(axis(value), y, 6, value >= threshold), text(312, y + 4, f'{value:.2f}')]
    parts += [text(axis(0), bottom + 16, '0 real'), text(axis(1) - 36, bottom + 16, 'fake 1')]
    label = f'P(fake) under harmless changes, {min(rows.values()):.2f} to {max(rows.values()):.2f}'
    return svg(bottom + 20, label, parts)


def axis(p_fake: float) -> float:
    return 94 + 204 * p_fake


def video_section(answer: dict, about: dict) -> str:
    """The curve over time, with the worst segment shaded and a line at the threshold."""
    worst, threshold = answer['worst_segment'], about['threshold']
    if worst is None:
        return '<p>No frame has a face.</p>'
    last = max(answer['curve'][-1][0], 1e-9)
    x, y = (lambda second: 40 + (WIDTH - 60) * second / last), (lambda p_fake: 150 - 140 * p_fake)
    start, end = x(worst['start']), x(worst['end'])
    parts = [f'<rect x="{start:.1f}" y="10" width="{end - start + 2:.1f}" height="140" fill="gray" opacity=".3"/>']
    parts += [line(40, y(threshold), WIDTH - 20, y(threshold)), text(0, 154, 'real 0'), text(0, 16, 'fake 1')]
    parts += [text(40, 170, '0 s'), text(WIDTH - 44, 170, f'{last:.1f} s')]
    for piece in pieces(answer['curve']):
        points = ' '.join(f'{x(second):.1f},{y(value):.1f}' for second, value in piece)
        parts.append(f'<polyline points="{points}" fill="none" stroke="currentColor"/>')
        parts += [dot(x(second), y(value), 4, value >= threshold) for second, value in piece]
    return (
        f'<p>Mean of {answer["frames_with_a_face"]} of {answer["frames"]} frames. Highest (shaded): seconds '
        f'{worst["start"]:.1f} to {worst["end"]:.1f}, P(fake) {worst["p_fake"]:.2f}.</p>'
        + svg(175, 'P(fake) over time', parts)
    )


def svg(height: float, label: str, parts: Iterable[str]) -> str:
    return f'<svg viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{escape(label)}">{"".join(parts)}</svg>'


def line(x1: float, y1: float, x2: float, y2: float) -> str:
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="currentColor" opacity=".6"/>'


def dot(x: float, y: float, radius: float, fake: bool) -> str:
    colour = COLOURS['fake' if fake else 'real']
    return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{radius}" fill="{colour}" stroke="currentColor"/>'


def text(x: float, y: float, words: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}">{escape(words)}</text>'


def pieces(curve: list) -> Iterator[list]:
    """The curve, cut where no face was seen."""
    piece = []
    for second, value in [*curve, [None, None]]:
        if value is not None:
            piece.append((second, value))
        elif piece:
            yield piece
            piece = []


def claims_section(claims: list[dict]) -> str:
    if not claims:
        return (
            '<h2>What the file says of itself</h2>'
            '<p>Nothing. Most services remove such notes, so this means little.</p>'
        )
    rows = [
        (claim['source'], claim['value'] + (f' ({claim["meaning"]})' if claim['meaning'] else '')) for claim in claims
    ]
    return (
        f'<h2>What the file says of itself</h2>{table(rows)}'
        '<p class="small">Anybody may write or remove such notes. They do not change the score.</p>'
    )


def detector_section(about: dict) -> str:
    chosen = about['threshold_chosen_on'] or 'nothing: this detector is not calibrated'
    rows = [
        ('detector', f'{Path(about["file"]).name} ({about["model"]})'),
        ('threshold', f'P(fake) of {about["threshold"]:.2f} or more counts as fake; chosen on {chosen}'),
        ('trained on', about['trained_on'] or 'not stated'),
        ('known to fail on', about['fails_on'] or 'not stated'),
        ('licence', about['licence'] or 'not stated'),
    ]
    return (
        f'<h2>The detector</h2>{table(rows)}<p>A score is no proof, and it says nothing of kinds of fakes that the '
        'detector never saw. Never accuse anyone on a score alone.</p>'
    )


def table(rows: Iterable[tuple[str, str]]) -> str:
    cells = (f'<tr><th>{escape(name)}</th><td>{escape(printable(str(value)))}</td></tr>' for name, value in rows)
    return f'<table>{"".join(cells)}</table>'
