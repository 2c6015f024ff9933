"""Is a kind of fake found that was not trained on? Leave each data set out once, train on the others, judge on it:

python benchmarks/unseen.py --data-root ../shared/faces -e 3 --also reals_extra \
    -d synthetic_dataset+synthetic_extra dfdc_dataset diffusion_dataset fakes_dataset

Data sets that are joined by a plus are left out together, and the first one is the judge. Each training is a command of
the project in a folder of its own, which is kept, so that an interrupted benchmark goes on where it stopped. The mean
is over the data sets, as each is one kind.
"""

import argparse
import sys
from pathlib import Path

import numpy as np

PROJECT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(PROJECT))

import options  # noqa: E402
from benchmarks.commands import train_and_judge, write_table  # noqa: E402
from forensics.data import datasets  # noqa: E402
from forensics.running import starting  # noqa: E402

MODEL = 'PhotoNet'
WORDS = ('-b', 32, '-o', 'AdamW', '--lr', 0.001, '--schedule', 'one-cycle', '--augment', 'passed-on')
COLUMNS = 'left out', 'trained on', 'AuC (95% interval)', 'accuracy', 'training'


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = options.parser(__doc__)
    parser.add_argument('-d', '--dataset', nargs='+', dest='datasets', required=True, metavar='NAME')
    parser.add_argument('--also', nargs='+', default=[], metavar='NAME', help='data sets that are always trained on')
    parser.add_argument('--only', nargs='+', metavar='NAME', help='leave only these out, of those of -d (default: all)')
    parser.add_argument('-e', '--epochs', type=options.positive, default=3, help='(default: %(default)s)')
    parser.add_argument('--crop', type=options.positive, default=224, help='(default: %(default)s)')
    parser.add_argument(
        '--self-blend', type=options.share, default=0.3, help='share of made fakes (default: %(default)s)'
    )
    parser.add_argument('--folder', default='.cache/unseen', help='where the runs are kept (default: %(default)s)')
    options.add_data_root(parser)
    args = parser.parse_args(argv)
    args.only = args.only or args.datasets
    if len(args.datasets) < 2 or not {*args.only} <= {*args.datasets}:
        parser.error('give two data sets or more to -d, and to --only some of them')
    return args


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    options.use_data_root(args)
    table, aucs = [f'| {" | ".join(COLUMNS)} |', '|---' * len(COLUMNS) + '|'], []
    for left_out in args.only:
        others = [name for name in args.datasets if name != left_out]
        log, metrics = train_and_judge_elsewhere(args, left_out, others)
        table.append(line(left_out, others + args.also, log, metrics))
        aucs.append(metrics['auc']['value'])
        print(table[-1], flush=True)
    table.append(f'| mean | | {np.mean(aucs):.3f} | | |')
    write_table(Path(args.folder) / 'unseen.md', table)


def train_and_judge_elsewhere(args: argparse.Namespace, left_out: str, others: list[str]) -> tuple[dict, dict]:
    """(the training's log, the metrics of the test part of what was left out)."""
    names = [name for joined in others + args.also for name in joined.split(datasets.SEPARATOR)]
    judge = left_out.split(datasets.SEPARATOR)[0]
    words = [*WORDS, '-e', args.epochs, '--crop', args.crop, '--self-blend', args.self_blend]
    folder = Path(args.folder) / f'without_{judge}_{args.epochs}_{args.crop}_{args.self_blend}'
    return train_and_judge(names, MODEL, words, folder, datasets.find_dataset(judge).resolve().parent, judge=judge)


def line(left_out: str, others: list[str], log: dict, metrics: dict) -> str:
    cells = [
        left_out,
        ', '.join(others),
        '{:.3f} ({:.3f} to {:.3f})'.format(metrics['auc']['value'], *metrics['auc']['interval']),
        f'{metrics["accuracy"]["value"]:.1f}',
        f'{sum(log["seconds"]) / 60:.0f} min',
    ]
    return f'| {" | ".join(cells)} |'


if __name__ == '__main__':
    sys.exit(starting.run(main))
