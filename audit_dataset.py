"""Is a data set fit to train and to judge a detector? Looks for leaks between its parts and for shortcuts.

    python audit_dataset.py ../my_faces
    python audit_dataset.py ../my_faces --json > audit.json

PATH is a data set's folder, a folder of several data sets, or a data set's name. Reported: exact and near-duplicates
across parts and across classes, groups that cross parts (from manifest.csv), the balance of the classes, and the
shortcut probe: how well file size, image size, JPEG tables, EXIF, mean colour, blur and the face's size before it was
scaled (from manifest.csv) tell the classes apart alone. A page of text, a record in out/audits/, and a figure of the
nearest pairs. The exit status is 1 when something is wrong.
"""

import argparse
import contextlib
import json
import sys
from collections import Counter
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path

import numpy as np

import options
from common import FIGURES_DIR, OUTPUT_DIR
from forensics import records
from forensics.data import shortcuts
from forensics.data.datasets import CLASSES, PARTS, find_dataset
from forensics.data.duplicates import near_pairs, nearest_across, same_picture
from forensics.data.parts import Part, labels_of
from forensics.data.splits import crossing_groups
from forensics.errors import UserError
from forensics.judging.probing import probe
from forensics.pictures.files import open_image
from forensics.running import starting
from forensics.running.parallel import run_all

ALONE = 'all'  # name of the only part of a data set without parts
SUSPICIOUS = 0.6  # a shortcut whose whole interval lies above this AuC is a problem
LOPSIDED = 0.9  # a part in which one class has a larger share is a problem
SHOWN = 12  # pairs in the figure


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = options.parser(__doc__)
    parser.add_argument('path', metavar='PATH', help='data set, folder of data sets, or name of a data set')
    parser.add_argument('--json', action='store_true', help='print the findings as JSON, and nothing else')
    parser.add_argument('--figure', metavar='FILE', help=f'(default: {FIGURES_DIR}/NAME_audit_pairs.png)')
    parser.add_argument('--jobs', type=options.positive, help='processes (default: one a core)')
    options.add_seed(parser)
    options.add_data_root(parser)
    return parser.parse_args(argv)


@dataclass
class Pictures:
    """All pictures of all data sets, column by column, so that a million of them fit into memory."""

    paths: list[str] = field(default_factory=list)
    names: list[str] = field(default_factory=list)  # of the data set
    parts: list[str] = field(default_factory=list)
    labels: list[str] = field(default_factory=list)
    groups: list[str | None] = field(default_factory=list)
    originals: list[tuple[float, float] | None] = field(default_factory=list)  # sizes before scaling
    numbers: np.ndarray = None
    digests: list[bytes] = field(default_factory=list)
    hashes: np.ndarray = None


# --- reading -------------------------------------------------------------------------------------------------------


def data_sets(path: str) -> list[Path]:
    folder = Path(path) if Path(path).is_dir() else find_dataset(path)
    if holds_faces(folder):
        return [folder]
    found = sorted(entry for entry in folder.iterdir() if entry.is_dir() and holds_faces(entry))
    if not found:
        raise UserError(
            f'{folder} is no data set: neither {"/, ".join(PARTS)}/ nor real/ and fake/ in it. '
            f'`python preprocessing.py --help` tells how to make one.'
        )
    return found


def holds_faces(folder: Path) -> bool:
    return any((folder / name).is_dir() for name in (*PARTS, *CLASSES))


def list_pictures(folders: list[Path]) -> Pictures:
    pictures = Pictures()
    for folder in folders:
        for part in Part.all_in(folder):
            pictures.paths += [str(part.folder / file) for file in part.files]
            pictures.names += [part.dataset] * len(part.files)
            pictures.parts += [part.name or ALONE] * len(part.files)
            pictures.labels += [CLASSES[label] for label in labels_of(part.files)]
            pictures.groups += [part.group_of.get(file) for file in part.files]
            pictures.originals += [part.original_sizes.get(file) for file in part.files]
    if not pictures.paths:
        raise UserError(f'No image in {", ".join(map(str, folders))}.')
    return pictures


def look(index: int, path: str):
    try:
        return index, shortcuts.facts(path)
    except Exception as error:  # a file that cannot be read is a finding, whatever is wrong with it
        return index, getattr(error, 'reason', None) or f'{type(error).__name__}: {error}'


def look_at_all(pictures: Pictures, jobs: int | None) -> list[dict]:
    """Fill in the columns that come from the files; take out and return the files that cannot be read."""
    nof_pictures, broken = len(pictures.paths), {}
    pictures.numbers = np.zeros((nof_pictures, len(shortcuts.NUMBERS)))
    pictures.hashes = np.zeros((nof_pictures, 63), np.float16)
    pictures.digests = [b''] * nof_pictures
    with contextlib.redirect_stdout(sys.stderr):  # standard output is for --json, not for progress
        for index, facts in run_all(look, list(enumerate(pictures.paths)), 'images', jobs=jobs or -1):
            if isinstance(facts, str):
                broken[index] = {'path': pictures.paths[index], 'reason': facts}
            else:
                pictures.numbers[index], pictures.digests[index], pictures.hashes[index] = facts
    if broken:
        sound = [index for index in range(nof_pictures) if index not in broken]
        for column in ('paths', 'names', 'parts', 'labels', 'groups', 'originals', 'digests'):
            values = getattr(pictures, column)
            setattr(pictures, column, [values[index] for index in sound])
        pictures.numbers, pictures.hashes = pictures.numbers[sound], pictures.hashes[sound]
    return [broken[index] for index in sorted(broken)]


# --- judging -------------------------------------------------------------------------------------------------------


def find_duplicates(pictures: Pictures) -> tuple[list[dict], dict[str, int], list[dict]]:
    """(wrong pairs, counts of all pairs, pairs of a real and a fake picture of one part that are near, not the same).

    A pair is wrong across parts, because a detector may recognise the second picture, and across classes, because one
    of its labels is wrong. A fake near the photograph that it was made from belongs in the same part and is right.
    """
    wrong, related, counts = [], [], Counter()
    for i, j, distance in near_pairs(pictures.hashes):
        for a, b, far in zip(i.tolist(), j.tolist(), distance.tolist(), strict=True):
            exact = pictures.digests[a] == pictures.digests[b]
            parts, labels = pictures.parts[a] != pictures.parts[b], pictures.labels[a] != pictures.labels[b]
            kind = 'exact' if exact else 'near'
            pair = {
                'paths': [pictures.paths[a], pictures.paths[b]],
                'kind': kind,
                'distance': round(far, 4),
                'parts': [pictures.parts[a], pictures.parts[b]],
                'labels': [pictures.labels[a], pictures.labels[b]],
            }
            if parts:
                counts[f'{kind} across parts'] += 1
                wrong.append(pair)
            elif not labels:
                counts[f'{kind} within a class'] += 1
            elif exact or same_picture(*(open_image(path) for path in pair['paths'])):
                counts[f'{kind} across classes'] += 1
                wrong.append(pair)
            else:
                counts['related across classes'] += 1
                related.append(pair)
    return sorted(wrong, key=lambda pair: (pair['distance'], pair['paths'])), dict(counts), related


def probe_all(pictures: Pictures, rows: np.ndarray, seed: int) -> dict[str, dict[str, float]]:
    fake = np.array([pictures.labels[row] == 'fake' for row in rows], dtype=int)
    groups = np.array([pictures.groups[row] or pictures.paths[row] for row in rows])
    facts = {
        name: pictures.numbers[rows][:, [shortcuts.NUMBERS.index(column) for column in columns]]
        for name, columns in shortcuts.PROBES.items()
    }
    originals = [pictures.originals[row] for row in rows]
    if all(originals):
        facts['original_size'] = np.array(originals)
    found = {}
    for name, values in facts.items():
        auc, low, high = probe(values, fake, groups, seed)
        found[name] = {'auc': round(auc, 4), 'low': round(low, 4), 'high': round(high, 4)}
    return found


def audit(folders: list[Path], jobs: int | None, seed: int) -> tuple[dict, Pictures]:
    """(findings, the pictures that could be read): all pictures against each other, then each data set by itself."""
    pictures = list_pictures(folders)
    broken = look_at_all(pictures, jobs)
    pairs, pair_counts, related = find_duplicates(pictures)
    problems = [f'{file["path"]} cannot be read: {file["reason"]}.' for file in broken]
    problems += copies_across_parts(pairs) + copies_across_classes(pairs)
    notes = fakes_near_photographs(related)

    counts, probes, crossing = {}, {}, {}
    names = np.array(pictures.names)
    for folder in folders:
        name = folder.resolve().name
        rows = np.flatnonzero(names == name)
        prefix = f'{name}: ' if len(folders) > 1 else ''
        counts[name] = count_classes(folder, pictures, rows)
        across = groups_across_parts(pictures, rows) if len(counts[name]) > 1 else {}
        found = probe_all(pictures, rows, seed)
        crossing |= {prefix + group: parts for group, parts in across.items()}
        probes |= {prefix + shortcut: facts for shortcut, facts in found.items()}
        own_problems = unbalanced_parts(counts[name]) + crossing_problem(across) + telling_shortcuts(found)
        problems += [prefix + problem for problem in own_problems]
        notes += [prefix + note for note in no_groups_known(pictures, rows) + several_sizes(pictures, rows)]
    return {
        'problems': problems,
        'notes': notes,
        'duplicates': [pair['paths'] for pair in pairs],
        'duplicate_facts': pairs,
        'pair_counts': pair_counts,
        'related': [pair['paths'] for pair in related],
        'crossing_groups': crossing,
        'counts': counts,
        'shortcuts': {name: found['auc'] for name, found in probes.items()},
        'intervals': {name: [found['low'], found['high']] for name, found in probes.items()},
        'broken': broken,
    }, pictures


def count_classes(folder: Path, pictures: Pictures, rows: np.ndarray) -> dict[str, dict[str, int]]:
    found = Counter((pictures.parts[row], pictures.labels[row]) for row in rows)
    parts = [part for part in PARTS if (folder / part).is_dir()] or [ALONE]
    return {part: {label: found[part, label] for label in CLASSES} for part in parts}


def rows_with_groups(pictures: Pictures, rows: np.ndarray) -> list[int]:
    return [row for row in rows if pictures.groups[row] is not None]


def groups_across_parts(pictures: Pictures, rows: np.ndarray) -> dict[str, list[str]]:
    known = rows_with_groups(pictures, rows)
    return crossing_groups([pictures.groups[row] for row in known], [pictures.parts[row] for row in known])


# --- findings in words: each function returns its sentences, often none --------------------------------------------


def copies_across_parts(pairs: list[dict]) -> list[str]:
    problems = []
    for a, b in combinations((*PARTS, ALONE), 2):
        examples = [pair['paths'] for pair in pairs if {a, b} == set(pair['parts'])]
        if examples:
            copies = plural(len(examples), 'picture')
            problems.append(f'{copies} of {a} stand in {b} too, as {" and ".join(examples[0])}.')
    return problems


def copies_across_classes(pairs: list[dict]) -> list[str]:
    examples = [pair['paths'] for pair in pairs if pair['labels'][0] != pair['labels'][1]]
    if not examples:
        return []
    return [f'{plural(len(examples), "picture")} stand under real and under fake, as {" and ".join(examples[0])}.']


def fakes_near_photographs(related: list[dict]) -> list[str]:
    if not related:
        return []
    return [
        f'{plural(len(related), "fake")} lie near a real picture of the same part, as fakes do to the '
        f'photograph they were made from.'
    ]


def unbalanced_parts(counts: dict[str, dict[str, int]]) -> list[str]:
    problems = []
    for part, both in counts.items():
        missing = [label for label in CLASSES if not both[label]]
        share = max(both.values()) / max(sum(both.values()), 1)
        if missing:
            problems.append(f'{part} has no {" and no ".join(missing)} image.')
        elif share > LOPSIDED:
            problems.append(f'{part} is {share:.0%} of one class: a constant predictor is right as often.')
    return problems


def crossing_problem(across: dict[str, list[str]]) -> list[str]:
    if not across:
        return []
    group, parts = next(iter(across.items()))
    return [f'{plural(len(across), "group")} stand in more than one part, as "{group}" in {" and ".join(parts)}.']


def telling_shortcuts(probes: dict[str, dict[str, float]]) -> list[str]:
    return [
        f'{shortcut.replace("_", " ")} alone tells real from fake with AuC '
        f'{found["auc"]:.3f} ({found["low"]:.3f} to {found["high"]:.3f}).'
        for shortcut, found in probes.items()
        if found['low'] > SUSPICIOUS
    ]


def no_groups_known(pictures: Pictures, rows: np.ndarray) -> list[str]:
    if rows_with_groups(pictures, rows):
        return []
    return ['no manifest.csv tells persons or videos, so only pictures could be compared.']


def several_sizes(pictures: Pictures, rows: np.ndarray) -> list[str]:
    sizes = Counter(map(tuple, pictures.numbers[rows][:, 1:3].astype(int).tolist()))
    if len(sizes) <= 1:
        return []
    (width, height), commonest = sizes.most_common(1)[0]
    return [f'{len(sizes)} image sizes; {len(rows) - commonest:,} images are not {width}x{height}.']


def plural(number: int, thing: str) -> str:
    return f'{number:,} {thing}{"s" if number != 1 else ""}'


# --- showing -------------------------------------------------------------------------------------------------------


def figure_pairs(findings: dict, pictures: Pictures) -> list[tuple[str, str, str]]:
    """(path, path, caption) of each pair: the wrong ones first, then the nearest across parts (or classes)."""
    wrong = findings['duplicate_facts'][:SHOWN]
    shown = [(*pair['paths'], f'{pair["kind"]}: {pair["distance"]:.3f}') for pair in wrong]
    kinds = pictures.parts if len(set(pictures.parts)) > 1 else pictures.labels
    known = {frozenset(pair[:2]) for pair in shown}
    for i, j, distance in nearest_across(pictures.hashes, np.array(kinds)):
        if len(shown) < SHOWN and frozenset((pictures.paths[i], pictures.paths[j])) not in known:
            shown.append((pictures.paths[i], pictures.paths[j], f'not flagged: {distance:.3f}'))
    return shown


def draw_pairs(pairs: list[tuple[str, str, str]], path: str | Path) -> None:
    from matplotlib.figure import Figure

    columns = 3
    rows = max(1, -(-len(pairs) // columns))
    figure = Figure(figsize=(4.2 * columns, 2.5 * rows + 0.5), layout='constrained')
    figure.suptitle('Nearest pairs across parts (or classes); the number is the distance of their hashes')
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    for ax in axes:
        ax.axis('off')
    for ax, (one, other, caption) in zip(axes, pairs, strict=False):
        both = [np.asarray(open_image(file).resize((192, 192))) for file in (one, other)]
        gap = np.full((192, 8, 3), 255, dtype=np.uint8)
        ax.imshow(np.hstack([both[0], gap, both[1]]))
        folders = [' '.join(Path(file).parts[-3:-1]) for file in (one, other)]
        ax.set_title(f'{caption}\n{folders[0]} | {folders[1]}', fontsize=9)
    with records.atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=100)


def page(findings: dict, title: str) -> str:
    lines = [f'Audit of {title}', '', f'{"":24}{"real":>9} {"fake":>9}   a constant predictor']
    for name, parts in findings['counts'].items():
        for part, both in parts.items():
            total = sum(both.values())
            best = f'{max(both.values()) / total:.1%}' if total else '-'
            label = f'{name}/{part}' if len(findings['counts']) > 1 else part
            lines.append(f'{label:24}{both["real"]:9,} {both["fake"]:9,}   {best:>6}')
    lines += ['', f'{"Duplicates":24}{"exact":>9} {"near":>9}']
    for where in ('across parts', 'across classes', 'within a class'):
        counts = [findings['pair_counts'].get(f'{kind} {where}', 0) for kind in ('exact', 'near')]
        lines.append(f'{where:24}{counts[0]:9,} {counts[1]:9,}')
    lines += ['', 'Shortcuts               AuC alone   99% interval']
    for name, auc in findings['shortcuts'].items():
        low, high = findings['intervals'][name]
        lines.append(f'{name:32} {auc:.3f}   {low:.3f} to {high:.3f}{"   <--" if low > SUSPICIOUS else ""}')
    lines += ['', *(f'Note: {note}' for note in findings['notes'])]
    most = 15
    lines += [f'PROBLEM: {problem}' for problem in findings['problems'][:most]]
    if len(findings['problems']) > most:
        lines.append(f'... and {len(findings["problems"]) - most:,} more problems: --json lists them all.')
    if not findings['problems']:
        lines.append('No problem found.')
    return '\n'.join(lines)


def main(argv: list[str] | None = None) -> int:
    args = parse_args(argv)
    options.use_data_root(args)
    folders = data_sets(args.path)
    findings, pictures = audit(folders, args.jobs, args.seed)
    name = folders[0].resolve().name if len(folders) == 1 else folders[0].resolve().parent.name
    figure = Path(args.figure) if args.figure else Path(FIGURES_DIR) / f'{name}_audit_pairs.png'
    draw_pairs(figure_pairs(findings, pictures), figure)
    findings = {**findings, 'figure': figure}
    records.write_json(Path(OUTPUT_DIR) / 'audits' / f'{name}.json', findings)
    if args.json:
        print(json.dumps(records.plain(findings), indent=2, allow_nan=False))
    else:
        print(page(findings, args.path))
        print(f'Figure: {figure} (the nearest pairs; those not flagged are worth a look too)')
    return 1 if findings['problems'] else 0


if __name__ == '__main__':
    sys.exit(starting.run(main))
