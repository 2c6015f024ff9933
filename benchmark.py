"""Score data sets that detectors never saw: every detector on every data set, without training anything again:

python benchmark.py --checkpoints checkpoints/*_Adam.pt checkpoints/*_svm.npz --datasets fakes_dataset synthetic_dataset
python benchmark.py --checkpoints A.pt B.npz --datasets X Y --perturb jpeg:30,50,70,90 blur:1,2,4 noise:5,10
python benchmark.py --checkpoints A.pt --scores theirs.csv --scores-mean fake --datasets X Y --kind X=swap Y=generated

Writes out/benchmark.csv, out/benchmark_pairs.csv (is one of two detectors better?), out/benchmark.json, a heat map and,
of perturbations, AuC against strength. Scores are kept in out/scores/, so that a second start computes what is missing
and an interrupted one goes on. The threshold is fitted on the validation part of each detector's own data set; the test
parts are only reported. Where the kinds of fakes are known, by "kind" in a data set's dataset.json or by --kind, each
detector's mean over the kinds that it was trained on stands beside that over the kinds that it never saw.
"""

import argparse
import functools
import itertools
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import detectors
import options
from common import FIGURES_DIR, OUTPUT_DIR
from forensics import records
from forensics.data import datasets
from forensics.data.parts import Part
from forensics.errors import UserError
from forensics.judging import benchmark_figures, benchmark_kinds, benchmark_pairs, benchmark_table, plots
from forensics.judging.benchmark_entries import Entry, scorable, train_fingerprint
from forensics.judging.benchmark_scores import score_all
from forensics.judging.detector import Detector
from forensics.judging.elsewhere import ScoredElsewhere
from forensics.pictures import perturbations
from forensics.pictures.perturbations import PERTURBATIONS, Condition
from forensics.running import memory, starting


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = options.parser(__doc__)
    parser.add_argument(
        '--checkpoints', nargs='+', default=[], metavar='FILE', help='of train_main.py (.pt) or train_svm.py (.npz)'
    )
    options.add_scores(parser)
    parser.add_argument('--datasets', nargs='+', required=True, metavar='NAME', help='their test parts are scored')
    parser.add_argument(
        '--kind',
        nargs='+',
        default=[],
        type=named_kind,
        metavar='NAME=KIND',
        help="the kind of a data set's fakes, which goes before its card's; also of sets that were trained on",
    )
    parser.add_argument(
        '--perturb',
        nargs='+',
        default=[],
        metavar='NAME:STRENGTHS',
        help=f'also score perturbed images, as in jpeg:30,50,70,90; there are {", ".join(PERTURBATIONS)}',
    )
    parser.add_argument(
        '-m',
        '--model',
        nargs='+',
        default=[],
        metavar='NAME',
        help="models of the checkpoints that do not say theirs (strangers'), in the same order; one name holds for all",
    )
    options.add_process_wide(parser)
    args = parser.parse_args(argv)
    options.check_scores(parser, args)
    if not args.checkpoints and not args.scores:
        parser.error('nothing to compare: give --checkpoints or --scores')
    args.kind = dict(args.kind)
    return args


def named_kind(text: str) -> tuple[str, str]:
    name, _, kind = text.partition('=')
    if not name or not kind:
        raise argparse.ArgumentTypeError(f'{text} is not NAME=KIND')
    return name, kind


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    options.apply(args)
    memory.tune_allocator()
    perturbed = dict.fromkeys(condition for text in args.perturb for condition in perturbations.parse(text))
    conditions = [None, *perturbed]
    parts = find_parts(args.datasets)
    elsewhere = [ScoredElsewhere(path, meaning) for path, meaning in args.scores]
    entries = load_entries(args.checkpoints, args.model, elsewhere)
    for detector in elsewhere:
        detector.take(OUTPUT_DIR, parts, args.allow_missing)
    check_entries(entries, parts, args.kind)
    score(entries, parts, conditions, args.kind, args.seed)
    kinds = {part.dataset: args.kind.get(part.dataset) or datasets.kind_of(part.dataset) for part in parts}
    rows = benchmark_table.all_rows(OUTPUT_DIR, entries, parts, conditions, kinds, args.seed)
    kind_rows = benchmark_kinds.kind_rows(OUTPUT_DIR, entries, parts, rows, args.seed)
    pairs = benchmark_pairs.all_pairs(OUTPUT_DIR, entries, parts, args.seed)
    write_records(rows, kind_rows, pairs, entries, parts, args, options.command_line(__file__, argv))
    titles = {entry.name: entry.title for entry in entries} | {benchmark_table.CONSTANT: benchmark_table.CONSTANT}
    print(benchmark_table.markdown(rows, titles))
    print(benchmark_kinds.markdown(kind_rows, titles), benchmark_pairs.markdown(pairs), sep='\n')
    trainings = [entry.detector.training for entry in entries]
    draw(rows, kind_rows, titles, kinds, list(dict.fromkeys(each.name for each in perturbed)), trainings)


def find_parts(names: Sequence[str]) -> list[Part]:
    """The test parts; prints the numbers of images in each."""
    parts = [scorable(name, 'test') for name in dict.fromkeys(names)]
    for part in parts:
        counts = ' and '.join(f'{number} {label}' for label, number in part.counts().items())
        print(f'{part.dataset}: {counts} images in {part.folder}')
    return parts


def load_entries(paths: Sequence[str], models: Sequence[str], elsewhere: Sequence[Detector]) -> list[Entry]:
    entries, spare = [], iter(models)
    for path in dict.fromkeys(paths):
        try:
            detector = detectors.load_detector(path)
        except detectors.NamelessCheckpoint:
            name = models[0] if len(models) == 1 else next(spare, None)
            detector = detectors.load_detector(path, name)
        entries.append(Entry(detector))
    entries += map(Entry, elsewhere)
    for name, number in Counter(entry.name for entry in entries).items():
        if number > 1:
            raise UserError(f'Two detectors are called {name}, and so would be their scores: rename one file.')
    return entries


def check_entries(entries: list[Entry], parts: list[Part], kinds: dict[str, str]) -> None:
    """Name a mistake before anything is scored."""
    for part in parts:
        if not any(entry.detector.can_score(part, False) for entry in entries):
            raise UserError(f'There is no detector with scores of {part.dataset}: leave it out of --datasets.')
    known = {part.dataset for part in parts}.union(*(entry.detector.datasets for entry in entries))
    for name in kinds.keys() - known:
        raise UserError(
            f'--kind {name}: no such data set is tested or was trained on; there are {", ".join(sorted(known))}.'
        )


def score(
    entries: list[Entry], parts: list[Part], conditions: list[Condition | None], kinds: dict[str, str], seed: int
) -> None:
    """Every detector on the validation part of its own data and on all test parts, under every condition."""
    fingerprint = functools.cache(train_fingerprint)  # of a million files: once, not once for each detector
    names = [part.dataset for part in parts]
    try:
        for entry in entries:
            entry.find_own(names, fingerprint, kinds)
            for validation in entry.validations:
                score_all(OUTPUT_DIR, [entry], validation, None, seed)
        for part, condition in itertools.product(parts, conditions):
            score_all(OUTPUT_DIR, entries, part, condition, seed)
    except KeyboardInterrupt:
        print(f'\nInterrupted. What was scored is in {OUTPUT_DIR}/scores; the same line goes on from there.')
        raise


def write_records(
    rows: list[dict],
    kind_rows: list[dict],
    pairs: list[dict],
    entries: list[Entry],
    parts: list[Part],
    args: argparse.Namespace,
    line: str,
) -> None:
    path = Path(OUTPUT_DIR) / 'benchmark.csv'
    records.write_csv(path, benchmark_table.COLUMNS, [*rows, *kind_rows])
    print(f'Wrote {path}')
    path = Path(OUTPUT_DIR) / 'benchmark_pairs.csv'
    records.write_csv(path, benchmark_pairs.COLUMNS, map(benchmark_pairs.flat, pairs))
    print(f'Wrote {path}')
    path = Path(OUTPUT_DIR) / 'benchmark.json'
    clean = [benchmark_table.reference(OUTPUT_DIR, entries, part, args.seed) for part in parts]
    records.write_json(
        path,
        {
            'datasets': {scores.part.dataset: scores.part_facts() for scores in clean},
            'detectors': {entry.name: entry.facts() for entry in entries},
            'perturbations': args.perturb,
            'intervals': {'level': 0.95, 'rounds': 1000},  # of bootstrap over groups
            'seed': args.seed,
            'command': line,
            'commit': records.commit(),
            'versions': records.versions('torch', 'numpy', 'pillow'),
            'rows': rows,
            'kinds': kind_rows,
            'pairs': pairs,
        },
    )
    print(f'Wrote {path}')


def draw(
    rows: list[dict],
    kind_rows: list[dict],
    titles: dict[str, str],
    kinds: dict[str, str | None],
    perturbed: list[str],
    trainings: list[dict],
) -> None:
    heat_map = benchmark_figures.heat_map(rows, kind_rows, titles, kinds)
    plots.save(heat_map, Path(FIGURES_DIR) / 'benchmark_heat_map.png', trainings)
    if any(row['perturbation'] for row in rows):
        curves = benchmark_figures.strength_curves(rows, titles, list(kinds), perturbed)
        plots.save(curves, Path(FIGURES_DIR) / 'benchmark_perturbations.png', trainings)


if __name__ == '__main__':
    sys.exit(starting.run(main))
