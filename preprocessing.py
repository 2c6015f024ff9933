"""Turn photographs and videos into a data set of face crops, divided by group.

    python preprocessing.py --real photos/ videos/ --fake swapped/ --output ../my_faces
    python preprocessing.py --from FaceForensics++/ --frames 20 --output ../ff
    python preprocessing.py --no-detect --real X/real --fake X/fake --output ../X_split

The last line divides pictures that are face crops already. OUTPUT gets {train,val,test}/{real,fake}/, manifest.csv
(one row a crop), left_out.csv (what is not in it, and why) and the card dataset.json. Running the same line again
does only what is missing. Layouts that --from knows: FaceForensics++, Celeb-DF, DFDC, UADFV, the assignment's, plain
real/ and fake/, or a CSV with the columns path,label,group.

On several machines that see the same folders: `dask scheduler` on one, `PYTHONPATH=. dask worker tcp://HOST:8786` in
the project's folder on each, then add `--cluster tcp://HOST:8786`.
"""

import argparse
import contextlib
import json
import os
import re
import sys
from collections import Counter
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np

import options
from forensics import records
from forensics.data import splits
from forensics.data.crops import Settings, extract
from forensics.data.datasets import CLASSES, PARTS, read_card, subfolders
from forensics.data.duplicates import near_pairs
from forensics.data.layouts import Source, read_dataset, read_input
from forensics.errors import UserError
from forensics.pictures.video import is_video_file
from forensics.running import starting
from forensics.running.parallel import run_all

MANIFEST = ('file', 'label', 'part', 'group', 'source', 'time', 'x', 'y', 'w', 'h', 'blur')
LEFT_OUT = ('source', 'label', 'time', 'reason', 'detail')
DEFAULT_SPLIT = '70/15/15'
WORK = '.work'  # the journal, and crops that no part has taken yet


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = options.parser(__doc__)
    what = parser.add_argument_group('what to read')
    what.add_argument(
        '--real',
        nargs='+',
        default=[],
        metavar='PATH',
        help='folders (with sub-folders), images, videos or CSVs of authentic media',
    )
    what.add_argument('--fake', nargs='+', default=[], metavar='PATH', help='the same of manipulated media')
    what.add_argument(
        '--from',
        '--csv',
        nargs='+',
        default=[],
        dest='datasets',
        metavar='PATH',
        help='whole data sets, whose layout is recognised, or CSVs with path,label,group',
    )
    what.add_argument(
        '--frames',
        type=frames,
        default=10,
        metavar='N',
        help='of a video, evenly spaced over all of it; "first" for the first one (default: %(default)s)',
    )
    what.add_argument('--output', required=True, metavar='DIR', help="the data set's folder")

    crop = parser.add_argument_group('faces')
    crop.add_argument('--size', type=options.positive, default=256, help='side of a crop (default: %(default)s)')
    crop.add_argument(
        '--keep-scale',
        action='store_true',
        help='crop without resampling a pixel, whatever size that gives (train_svm.py wants it)',
    )
    crop.add_argument(
        '--margin', type=float, default=0.2, help='added on every side, a share of the face (default: %(default)s)'
    )
    crop.add_argument('--align', action='store_true', help='turn the picture until the eyes lie level')
    crop.add_argument(
        '--format',
        choices=('png', 'jpg'),
        help='jpg is quality 95; png compresses no second time (default: png, but with --no-detect a picture that '
        'needs no change stays the file that it was)',
    )
    crop.add_argument(
        '--no-detect',
        action='store_true',
        help='the pictures are face crops already: take each whole, untouched if its size is right',
    )
    crop.add_argument(
        '--no-face',
        choices=('skip', 'whole'),
        default='skip',
        help='a picture without a face: skip it or take its middle square (default: %(default)s)',
    )
    crop.add_argument(
        '--several',
        choices=('biggest', 'all', 'skip'),
        default='biggest',
        help='a picture with several faces (default: %(default)s)',
    )
    crop.add_argument(
        '--min-face',
        type=options.non_negative,
        default=64,
        metavar='PIXELS',
        help='leave out faces whose shorter side is less (default: %(default)s)',
    )
    crop.add_argument(
        '--min-sharpness',
        type=float,
        default=20,
        metavar='V',
        help='leave out faces whose Laplacian varies less; 0 keeps all (default: %(default)s)',
    )

    split = parser.add_argument_group('parts')
    split.add_argument(
        '--split',
        metavar='TRAIN/VAL/TEST',
        help=f'shares of the parts (default: the parts that the sources have, else {DEFAULT_SPLIT})',
    )
    split.add_argument(
        '--group-by',
        default='auto',
        metavar='HOW',
        help='what stays together: auto (identity or video where the layout or the CSV tells, else the '
        'file), source, folder, or a regular expression whose first bracket in the path is the '
        'group. Near-duplicates always do (default: %(default)s)',
    )
    split.add_argument(
        '--balance',
        nargs='?',
        type=options.positive,
        const=True,
        metavar='N',
        help='as many real as fake in every part; with a number, so many crops in all',
    )
    options.add_seed(split)

    machine = parser.add_argument_group('machines')
    machine.add_argument('--jobs', type=options.positive, metavar='N', help='processes (default: one a core)')
    machine.add_argument('--cluster', metavar='tcp://HOST:8786', help='work on the Dask cluster of this scheduler')

    args = parser.parse_args(argv)
    if not (args.real or args.fake or args.datasets):
        parser.error('nothing to read: give --real and --fake, or --from')
    if args.align and args.keep_scale:
        parser.error('--align turns the picture, which resamples every pixel; --keep-scale forbids that')
    if args.no_detect and args.align:
        parser.error('--align needs the eyes that --no-detect does not look for')
    if args.keep_scale and args.format == 'jpg':
        parser.error('--keep-scale keeps every pixel and jpg changes them; leave out --format')
    if not 0 <= args.margin <= 5:
        parser.error('--margin is a share of the face, from 0 to 5')
    return args


def frames(text: str) -> int | None:
    return None if text == 'first' else options.positive(text)


# --- what to read --------------------------------------------------------------------------------------------------


def collect(args: argparse.Namespace) -> list[Source]:
    sources = []
    for label in CLASSES:
        for path in getattr(args, label):
            sources += read_input(path, label)
    for path in args.datasets:
        layout, found = read_dataset(path)
        print(f'{path}: {len(found):,} files, layout {layout}')
        sources += found
    unique = {}
    for source in sources:
        known = unique.setdefault(source.path, source)
        if known.label != source.label:
            raise UserError(f'{source.path} is given as real and as fake.')
    if not unique:
        raise UserError('No image and no video in what was given.')
    return [regroup(source, args.group_by) for source in unique.values()]


def regroup(source: Source, how: str) -> Source:
    if how == 'auto':
        return source
    if how == 'source':
        return replace(source, groups=(source.path,))
    if how == 'folder':
        return replace(source, groups=(str(Path(source.path).parent),))
    try:
        match = re.search(how, source.path)
    except re.error as error:
        raise UserError(f'--group-by {how} is no regular expression ({error}), nor auto, source or folder.') from error
    if match is None:
        raise UserError(f'--group-by {how} matches nothing in {source.path}.')
    return replace(source, groups=(match[1] if match.re.groups else match[0],))


# --- the work ------------------------------------------------------------------------------------------------------


class Journal:
    """The finished sources, a line of JSON each, appended as they finish: a killed run loses next to nothing."""

    def __init__(self, path: Path):
        self.path = path
        self.entries: dict[str, dict] = {}
        self.names: set[str] = set()  # of every crop that was ever made here
        if path.exists():
            for line in path.read_text().splitlines():
                with contextlib.suppress(ValueError):  # the line at which a run was killed
                    self.remember(json.loads(line))

    def remember(self, entry: dict) -> None:
        self.entries[entry['path']] = entry
        self.names.update(crop['name'] for crop in entry['crops'])

    def add(self, entry: dict) -> None:
        self.remember(entry)
        with open(self.path, 'a') as file:
            file.write(json.dumps(entry) + '\n')


def stamp(source: Source, settings: Settings) -> list:
    """[size, time, label, settings] of a source, which is done again when any of them has changed."""
    try:
        facts = os.stat(source.path)
        return [facts.st_size, facts.st_mtime_ns, source.label, settings.digest()]
    except OSError:
        return [None, None, source.label, settings.digest()]


def extract_all(
    sources: list[Source], journal: Journal, output: Path, settings: Settings, jobs: int | None, cluster: str | None
) -> None:
    """Bring the journal and the crops up to date."""
    there = crop_paths(output)
    todo = {}
    for source in sources:
        entry, now = journal.entries.get(source.path), stamp(source, settings)
        if entry is None or entry['stamp'] != now or not all(crop['name'] in there for crop in entry['crops']):
            todo[source.path] = (source, now)
    if len(todo) < len(sources):
        print(f'{len(sources) - len(todo):,} of {len(sources):,} sources were done before')
    if not todo:
        return
    staging = os.path.abspath(output / WORK / 'crops')
    tasks = [(source, os.path.abspath(source.path), staging, settings) for source, _ in todo.values()]
    for found in run_all(extract, tasks, 'faces' if settings.detect else 'pictures', jobs=jobs or -1, cluster=cluster):
        journal.add({**found, 'stamp': todo[found['path']][1]})


# --- the data set --------------------------------------------------------------------------------------------------


def divide(sources: list[Source], journal: Journal, args: argparse.Namespace) -> tuple[list[dict], dict]:
    """(rows of the manifest, facts for the summary). A row without a part is a crop that --balance held back."""
    rows, owners, hashes = [], [], []
    for source in sorted(sources, key=lambda source: source.path):
        for crop in journal.entries[source.path]['crops']:
            rows.append({**crop, 'label': source.label, 'source': source.path, 'part': source.part})
            owners.append(source.groups)
            hashes.append(np.frombuffer(bytes.fromhex(crop['hash']), dtype=np.float16))
    if not rows:
        return [], {}
    apart = len(set(splits.join_groups(owners)))
    groups = splits.join_groups(owners, ((i, j) for i, j, _ in near_pairs(np.array(hashes))))
    labels = [row['label'] for row in rows]

    ratios = splits.parse_ratios(args.split or DEFAULT_SPLIT)
    given = {row['part'] for row in rows} - {''}
    if args.split or not given:
        parts = splits.assign_parts(labels, groups, ratios, args.seed)
    else:
        # Some sources name their part. The others fill the parts that none names, or all where every part is named.
        parts = [row['part'] for row in rows]
        rest = [index for index, part in enumerate(parts) if not part]
        free = [
            ratio if part not in given or len(given) == len(PARTS) else 0.0
            for part, ratio in zip(PARTS, ratios, strict=True)
        ]
        placed = splits.assign_parts([labels[i] for i in rest], [groups[i] for i in rest], free, args.seed)
        for index, part in zip(rest, placed, strict=True):
            parts[index] = part
    crossing = len(splits.crossing_groups(groups, parts))
    if args.balance:
        keep = splits.balance(labels, parts, args.seed, None if args.balance is True else args.balance)
        parts = [part if kept else '' for part, kept in zip(parts, keep, strict=True)]
    for row, group, part in zip(rows, groups, parts, strict=True):
        row.update(group=group, part=part, file=f'{part}/{row["label"]}/{row["name"]}')
    largest, size = Counter(groups).most_common(1)[0]
    return rows, {
        'groups': len(set(groups)),
        'joined': apart - len(set(groups)),
        'crossing': crossing,
        'largest': largest,
        'share': size / len(rows),
    }


def crop_paths(output: Path) -> dict[str, Path]:
    """{name: path} of all crops. One that was made again is in the work folder, and hides the old one in its part."""
    folders = [output / part / label for part in PARTS for label in CLASSES] + [output / WORK / 'crops']
    return {
        entry.name: Path(entry.path)
        for folder in folders
        if folder.is_dir()
        for entry in os.scandir(folder)
        if not entry.name.startswith('.')
    }


def move_crops(rows: list[dict], journal: Journal, output: Path) -> None:
    """Move every crop to the path in its row, and crops of earlier runs that no row wants back to the work folder."""
    wanted = {row['name']: output / row['file'] for row in rows if row['part']}
    for part in PARTS:
        for label in CLASSES:
            (output / part / label).mkdir(parents=True, exist_ok=True)
    there = crop_paths(output)
    for part in PARTS:
        for label in CLASSES:
            folder = output / part / label
            for name in [entry.name for entry in os.scandir(folder) if entry.name in journal.names]:
                if there[name] != folder / name:
                    (folder / name).unlink()
                elif wanted.get(name) != folder / name:
                    there[name] = output / WORK / 'crops' / name
                    os.replace(folder / name, there[name])
    for name, target in wanted.items():
        if there[name] != target:
            os.replace(there[name], target)


def left_out_rows(sources: list[Source], journal: Journal, rows: list[dict]) -> list[dict]:
    skipped = [
        {'source': source.path, 'label': source.label, **what}
        for source in sources
        for what in journal.entries[source.path]['left_out']
    ]
    held_back = [{**row, 'reason': 'held back by --balance', 'detail': row['name']} for row in rows if not row['part']]
    return sorted(skipped + held_back, key=lambda row: (row['source'], row['time'] or 0, row['reason']))


def summarise(sources: list[Source], rows: list[dict], left_out: list[dict], facts: dict, output: Path) -> None:
    videos = sum(is_video_file(Path(source.path)) for source in sources)
    print(
        f'{len(sources) - videos:,} images and {videos:,} videos gave {len(rows):,} crops in {facts["groups"]:,} '
        f'groups ({facts["joined"]:,} joined as near-duplicates)'
    )
    counts = Counter((row['part'], row['label']) for row in rows)
    for part in PARTS:
        print(f'  {part:5} ' + '  '.join(f'{counts[part, label]:9,} {label}' for label in CLASSES))
    print(
        'Left out: '
        + (
            ', '.join(
                f'{number:,} {reason}' for reason, number in Counter(row['reason'] for row in left_out).most_common()
            )
            or 'nothing'
        )
        + (f' ({output / "left_out.csv"})' if left_out else '')
    )
    empty = [f'{part}/{label}' for part in PARTS for label in CLASSES if not counts[part, label]]
    if empty:
        print(f'Warning: nothing in {", ".join(empty)}.')
    kinds = {label: Counter(Path(row['name']).suffix for row in rows if row['label'] == label) for label in CLASSES}
    shares = {label: {kind: n / kinds[label].total() for kind, n in kinds[label].items()} for label in CLASSES}
    apart = max(
        abs(shares['real'].get(kind, 0) - shares['fake'].get(kind, 0)) for kind in {*kinds['real'], *kinds['fake']}
    )
    if all(shares.values()) and apart > 0.1:
        print(
            'Warning: real and fake crops are not the same kinds of files, which a detector would learn instead of '
            'faces; add --format png or --format jpg.'
        )
    if facts['share'] > 0.3:
        print(
            f'Warning: {facts["share"]:.0%} of all crops are one group ("{facts["largest"]}"), which one part holds. '
            f'Is it one person or video? Otherwise see --group-by.'
        )
    if facts['crossing']:
        print(
            f'Warning: {facts["crossing"]:,} groups cross the parts that the sources name; '
            f'--split {DEFAULT_SPLIT} makes new ones.'
        )
    print(f'Check it: python audit_dataset.py {output}')


def check_output(output: Path) -> None:
    """Refuse a folder that holds other files than this command's."""
    if output.exists() and not output.is_dir():
        raise UserError(f'{output} is a file; --output names a folder.')
    if output.is_dir() and any(output.iterdir()) and not (output / WORK).is_dir():
        raise UserError(
            f'{output} holds something already ({", ".join(subfolders(output)[:3]) or "files"}); '
            f'give --output a new folder.'
        )


def main(argv: list[str] | None = None) -> int:
    args = parse_args(argv)
    output = Path(args.output)
    check_output(output)
    splits.parse_ratios(args.split or DEFAULT_SPLIT)  # a mistake in it must not cost an hour of cropping
    settings = Settings(
        size=None if args.keep_scale else args.size,
        frames=args.frames,
        detect=not args.no_detect,
        several=args.several,
        no_face=args.no_face,
        min_face=args.min_face,
        min_sharpness=args.min_sharpness,
        margin=args.margin,
        align=args.align,
        format=args.format,
    )
    sources = collect(args)
    with records.locked(output / WORK):
        journal = Journal(output / WORK / 'journal.jsonl')
        extract_all(sources, journal, output, settings, args.jobs, args.cluster)
        rows, facts = divide(sources, journal, args)
        left_out = left_out_rows(sources, journal, rows)
        records.write_csv(output / 'left_out.csv', LEFT_OUT, left_out)
        if not rows:
            raise UserError(
                f'Not one crop came of {len(sources):,} sources; {output / "left_out.csv"} says why. '
                f'For pictures that are face crops already, add --no-detect.'
            )
        move_crops(rows, journal, output)
        kept = sorted((row for row in rows if row['part']), key=lambda row: (PARTS.index(row['part']), row['file']))
        records.write_csv(output / 'manifest.csv', MANIFEST, kept)
        counts = Counter((row['part'], row['label']) for row in kept)
        records.write_json(output / 'dataset.json', {
            # The kind of the fakes is somebody's tag, which the same line, started again, would take away.
            **{name: value for name, value in read_card(output).items() if name == 'kind'},
            'name': output.resolve().name, 'made_by': 'preprocessing.py', 'class_names': CLASSES, 'seed': args.seed,
            'split': args.split or ('as the sources say' if any(s.part for s in sources) else DEFAULT_SPLIT),
            'group_by': args.group_by, 'groups': facts['groups'], 'settings': asdict(settings),
            'counts': {part: {label: counts[part, label] for label in CLASSES} for part in PARTS},
        })  # fmt: skip
    summarise(sources, rows, left_out, facts, output)
    return 0


if __name__ == '__main__':
    sys.exit(starting.run(main))
