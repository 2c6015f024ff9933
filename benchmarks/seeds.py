"""Measure how much of a training is luck: the assignment's line with several seeds and other processors' kernels:

python benchmarks/seeds.py -m SimpleNet -d fakes_dataset -e 5 --seeds 0 1 2 --kernels own avx2 default

Each run is `train_main.py` and `numerical_analysis.py` in a folder of its own, which is kept, so that an interrupted
benchmark goes on. A run is dead if all test pictures get the same scores. docs/first_weights.md holds the results.
"""

import argparse
import sys
from pathlib import Path

import numpy as np

PROJECT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(PROJECT))

import options  # noqa: E402
from benchmarks.commands import run_name, scores_of, train_and_judge  # noqa: E402
from forensics import records  # noqa: E402
from forensics.data import datasets  # noqa: E402
from forensics.data.parts import Part  # noqa: E402
from forensics.judging import scoring  # noqa: E402
from forensics.running import starting  # noqa: E402
from trainer import SAME_SCORES  # noqa: E402

KERNELS = {  # the processors that one can imitate
    'own': {},
    'avx2': {'ATEN_CPU_CAPABILITY': 'avx2', 'ONEDNN_MAX_CPU_ISA': 'AVX2'},
    'default': {'ATEN_CPU_CAPABILITY': 'default', 'ONEDNN_MAX_CPU_ISA': 'SSE41'},
}


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = options.parser(__doc__)
    options.add_dataset(parser)
    parser.add_argument('-m', '--model', default='SimpleNet', help='(default: %(default)s)')
    parser.add_argument('-e', '--epochs', type=options.positive, default=5, help='(default: %(default)s)')
    parser.add_argument('--seeds', type=int, nargs='+', default=[0, 1, 2], metavar='N', help='(default: 0 1 2)')
    parser.add_argument('--kernels', choices=KERNELS, nargs='+', default=['own'], help='(default: own)')
    parser.add_argument('--precision', default='float32', help='(default: %(default)s)')
    parser.add_argument('--folder', default='.cache/seeds', help='where the runs are kept (default: %(default)s)')
    options.add_data_root(parser)
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    options.use_data_root(args)
    print('| kernels | seed | epoch kept | test AuC | accuracy | dead |\n|---|---|---|---|---|---|')
    for kernels in args.kernels:
        rows = [one_run(args, kernels, seed) for seed in args.seeds]
        aucs, dead = [row['auc'] for row in rows], sum(row['dead'] for row in rows)
        print(
            f'| {kernels} | all | | {np.median(aucs):.3f} ({min(aucs):.3f} to {max(aucs):.3f}) '
            f'| {np.median([row["accuracy"] for row in rows]):.1f} | {dead} of {len(rows)} |'
        )


def one_run(args: argparse.Namespace, kernels: str, seed: int) -> dict:
    data = Part.find(args.dataset, 'train').fingerprint[:6]
    folder = Path(args.folder) / f'{args.dataset}_{data}_{args.model}_{args.epochs}_{args.precision}_{kernels}_{seed}'
    words = ['-o', 'Adam', '--lr', 0.001, '-b', 32, '-e', args.epochs, '--precision', args.precision, '--seed', seed]
    root = datasets.find_dataset(args.dataset).parent
    log, _ = train_and_judge([args.dataset], args.model, words, folder, root, KERNELS[kernels])
    name = run_name([args.dataset], args.model, words)
    labels, margins, _ = scores_of(folder, name, args.dataset)
    best = records.best_epoch(log)
    row = {
        'auc': scoring.auc(labels, margins),
        'accuracy': scoring.accuracy(labels, margins > 0),
        'dead': bool(np.ptp(margins) <= SAME_SCORES),
    }
    print(f'| {kernels} | {seed} | {best + 1} | {row["auc"]:.3f} | {row["accuracy"]:.1f} | {row["dead"]} |', flush=True)
    return row


if __name__ == '__main__':
    sys.exit(starting.run(main))
