"""Score data sets that detectors never saw: every detector on every data set, without training anything again:

python benchmark.py --checkpoints checkpoints/*_Adam.pt checkpoints/*_svm.npz --datasets fakes_dataset synthetic_dataset
python benchmark.py --checkpoints A.pt B.npz --datasets X Y --perturb jpeg:30,50,70,90 blur:1,2,4 noise:5,10

Writes out/benchmark.csv, out/benchmark.json, a heat map and, of perturbations, AuC against strength. Scores are kept
in out/scores/, so that a second start computes what is missing and an interrupted one goes on. The threshold is fitted
on the validation part of each detector's own data set; the test parts are only reported.
"""

import argparse
import functools
import itertools
import sys
from collections.abc import Sequence
from pathlib import Path

import detectors
import options
from common import FIGURES_DIR, OUTPUT_DIR
from forensics import records
from forensics.data.parts import Part
from forensics.errors import UserError
from forensics.judging import benchmark_figures, benchmark_table, plots
from forensics.judging.benchmark_entries import Entry, scorable, train_fingerprint
from forensics.judging.benchmark_scores import Scores, score_all
from forensics.pictures import perturbations
from forensics.pictures.perturbations import PERTURBATIONS, Condition
from forensics.running import memory, starting


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = options.parser(__doc__)
    parser.add_argument(
        '--checkpoints', nargs='+', required=True, metavar='FILE', help='of train_main.py (.pt) or train_svm.py (.npz)'
    )
    parser.add_argument('--datasets', nargs='+', required=True, metavar='NAME', help='their test parts are scored')
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
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    options.apply(args)
    memory.tune_allocator()
    perturbed = dict.fromkeys(condition for text in args.perturb for condition in perturbations.parse(text))
    conditions = [None, *perturbed]
    parts = find_parts(args.datasets)
    entries = load_entries(args.checkpoints, args.model)
    score(entries, parts, conditions, args.seed)
    rows = benchmark_table.all_rows(OUTPUT_DIR, entries, parts, conditions, args.seed)
    write_records(rows, entries, parts, args)
    titles = {entry.name: entry.title for entry in entries} | {benchmark_table.CONSTANT: benchmark_table.CONSTANT}
    print(benchmark_table.markdown(rows, titles))
    draw(rows, titles, [part.dataset for part in parts], list(dict.fromkeys(each.name for each in perturbed)))


def find_parts(names: Sequence[str]) -> list[Part]:
    """The test parts; prints the numbers of images in each."""
    parts = [scorable(name, 'test') for name in dict.fromkeys(names)]
    for part in parts:
        counts = ' and '.join(f'{number} {label}' for label, number in part.counts().items())
        print(f'{part.dataset}: {counts} images in {part.folder}')
    return parts


def load_entries(paths: Sequence[str], models: Sequence[str]) -> list[Entry]:
    entries, names, spare = [], set(), iter(models)
    for path in dict.fromkeys(paths):
        try:
            detector = detectors.load_detector(path)
        except detectors.NamelessCheckpoint:
            name = models[0] if len(models) == 1 else next(spare, None)
            detector = detectors.load_detector(path, name)
        entry = Entry(detector)
        if entry.name in names:
            raise UserError(f'Two detectors are called {entry.name}, and so would be their scores: rename one file.')
        names.add(entry.name)
        entries.append(entry)
    return entries


def score(entries: list[Entry], parts: list[Part], conditions: list[Condition | None], seed: int) -> None:
    """Every detector on the validation part of its own data and on all test parts, under every condition."""
    fingerprint = functools.cache(train_fingerprint)  # of a million files: once, not once for each detector
    names = [part.dataset for part in parts]
    try:
        for entry in entries:
            entry.find_own(names, fingerprint)
            if entry.validation:
                score_all(OUTPUT_DIR, [entry], entry.validation, None, seed)
        for part, condition in itertools.product(parts, conditions):
            score_all(OUTPUT_DIR, entries, part, condition, seed)
    except KeyboardInterrupt:
        print(f'\nInterrupted. What was scored is in {OUTPUT_DIR}/scores; the same line goes on from there.')
        raise


def write_records(rows: list[dict], entries: list[Entry], parts: list[Part], args: argparse.Namespace) -> None:
    path = Path(OUTPUT_DIR) / 'benchmark.csv'
    records.write_csv(path, benchmark_table.COLUMNS, rows)
    print(f'Wrote {path}')
    path = Path(OUTPUT_DIR) / 'benchmark.json'
    clean = [Scores(OUTPUT_DIR, entries[-1], part, None, args.seed) for part in parts]
    records.write_json(
        path,
        {
            'datasets': {scores.part.dataset: scores.part_facts() for scores in clean},
            'detectors': {entry.name: entry.facts() for entry in entries},
            'perturbations': args.perturb,
            'intervals': {'level': 0.95, 'rounds': 1000},  # of bootstrap over groups
            'seed': args.seed,
            'commit': records.commit(),
            'versions': records.versions('torch', 'numpy', 'pillow'),
            'rows': rows,
        },
    )
    print(f'Wrote {path}')


def draw(rows: list[dict], titles: dict[str, str], names: list[str], perturbed: list[str]) -> None:
    plots.save(benchmark_figures.heat_map(rows, titles, names), Path(FIGURES_DIR) / 'benchmark_heat_map.png')
    if perturbed:
        curves = benchmark_figures.strength_curves(rows, titles, names, perturbed)
        plots.save(curves, Path(FIGURES_DIR) / 'benchmark_perturbations.png')


if __name__ == '__main__':
    sys.exit(starting.run(main))
