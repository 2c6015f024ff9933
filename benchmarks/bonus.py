"""What each ingredient of BonusNet gives: train it whole, then without one of them after the other, beside MyNet:

python benchmarks/bonus.py --data-root ../shared/faces --teacher checkpoints/faces.onnx
python benchmarks/bonus.py --data-root ../shared/faces -d dfdc_dataset --only MyNet BonusNet high-pass --seeds 0

Of data sets that are joined by a plus, the first one is the judge. Each training is a command of the project in a
folder of its own, which is kept, so that an interrupted benchmark goes on where it stopped, and a larger one takes over
what a smaller one has. Without a teacher BonusNet learns from labels alone, and that row is left out.
"""

import argparse
import sys
from pathlib import Path

import numpy as np

PROJECT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(PROJECT))

import options  # noqa: E402
from benchmarks.commands import scaled, train_and_judge, write_table  # noqa: E402
from forensics import records  # noqa: E402
from forensics.data import datasets  # noqa: E402
from forensics.errors import UserError  # noqa: E402
from forensics.running import starting  # noqa: E402

DATA = ('synthetic_dataset+synthetic_extra', 'dfdc_dataset')
ASSIGNMENT = ('-b', 32, '-o', 'Adam', '--lr', 0.001)
BONUS = ('-b', 32, '-o', 'AdamW', '--lr', 0.004)
RECIPE = {  # ingredients of the training: the words that put them in
    'whole-pictures': ('--crop', 256),  # else they are shifted, as the assignment does
    'one-cycle': ('--schedule', 'one-cycle'),
    'averaged-weights': ('--average', 0.995),
}
TEACHER = 'teacher'
TEACHER_SHARE = '--teacher-share', 0.8
NETWORK = {  # ingredients of the network: the options that take them out
    'high-pass': ('high_pass=false',),
    'cosines': ('cosines=false',),
    'late-pooling': ('early_pooling=true',),
    'separable': ('separable=false', 'widths=[16,10,10,13,13,13,13]'),  # of like size
    'residual-sum': ('residual=false',),
    'places': ('max_pooling=true',),
    'mirrored': ('mirrored=false',),
    'batch-norm': ('batch_norm=false',),
}
WHOLE, RIVAL = 'BonusNet', 'MyNet'
ROWS = WHOLE, RIVAL, *NETWORK, *RECIPE, TEACHER  # the others are compared with the first
COLUMNS = 'data', 'network', 'parameters', 'test AuC, mean (min to max)', 'points lost', 'training'


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = options.parser(__doc__)
    parser.add_argument(
        '-d', '--dataset', nargs='+', dest='datasets', default=DATA, metavar='NAME', help=f'(default: {" ".join(DATA)})'
    )
    parser.add_argument('--teacher', metavar='FILE', help='detector from which BonusNet learns, besides labels')
    parser.add_argument(
        '--only',
        nargs='+',
        choices=ROWS,
        metavar='ROW',
        help=f'of {", ".join(ROWS)}; an ingredient is the one left out',
    )
    parser.add_argument('-e', '--epochs', type=options.positive, default=12, help='(default: %(default)s)')
    parser.add_argument('--seeds', type=int, nargs='+', default=[0, 1, 2], metavar='N', help='(default: 0 1 2)')
    parser.add_argument('--folder', default='.cache/bonus', help='where the runs are kept (default: %(default)s)')
    options.add_data_root(parser)
    args = parser.parse_args(argv)
    if args.only and TEACHER in args.only and not args.teacher:
        parser.error('the row of the network without a teacher needs --teacher FILE, for the one with it')
    args.only = [row for row in ROWS if row in (args.only or ROWS) and (args.teacher or row != TEACHER)]
    return args


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    options.use_data_root(args)
    if args.teacher and not Path(args.teacher).is_file():
        raise UserError(f'No teacher {args.teacher}. Make one with `python train_main.py -m PhotoNet ...`.')
    table = [f'| {" | ".join(COLUMNS)} |', '|---' * len(COLUMNS) + '|']
    for dataset in args.datasets:
        names = dataset.split(datasets.SEPARATOR)
        root = root_of(names, Path(args.folder))
        whole = None
        for row in args.only:
            results = [result_of(args, names, root, row, seed) for seed in args.seeds]
            whole = np.mean([result['auc'] for result in results]) if row == WHOLE else whole
            table += [line(dataset, row, results, whole)]
            print(table[-1], flush=True)
    write_table(Path(args.folder) / 'bonus.md', table)


def root_of(names: list[str], folder: Path) -> Path:
    roots = {scaled(name, folder) for name in names}
    if len(roots) > 1:
        raise UserError(f'{" and ".join(names)} have pictures of different sizes: give them in data sets of their own.')
    return roots.pop()


def words_of(row: str, teacher: str | None) -> list:
    """The row's words for train_main.py, besides data, network, epochs and seed."""
    if row == RIVAL:
        return [*ASSIGNMENT]
    recipe = {**RECIPE, TEACHER: ('--teacher', Path(teacher).resolve(), *TEACHER_SHARE)} if teacher else RECIPE
    kept = [word for name, words in recipe.items() if name != row for word in words]
    return [*BONUS, *kept, *(word for option in NETWORK.get(row, ()) for word in ('--option', option))]


def result_of(args: argparse.Namespace, names: list[str], root: Path, row: str, seed: int) -> dict:
    words = words_of(row, args.teacher)
    taught = f'_{records.file_digest(args.teacher)[:6]}' if '--teacher' in words else ''
    folder = Path(args.folder) / f'{datasets.joined(names)}_{row}_{args.epochs}_{seed}{taught}'
    model = RIVAL if row == RIVAL else WHOLE
    log, metrics = train_and_judge(names, model, [*words, '-e', args.epochs, '--seed', seed], folder, root)
    return {
        'auc': metrics['auc']['value'],
        'parameters': log['run']['parameters'],
        'minutes': sum(log['seconds']) / 60,
    }


def line(dataset: str, row: str, results: list[dict], whole: float | None) -> str:
    aucs = [result['auc'] for result in results]
    lost = '-' if whole is None or row == WHOLE else f'{100 * (whole - np.mean(aucs)):.1f}'
    cells = [
        dataset,
        row if row in (RIVAL, WHOLE) else f'without {row}',
        f'{results[0]["parameters"]:,}',
        f'{np.mean(aucs):.3f} ({min(aucs):.3f} to {max(aucs):.3f})',
        lost,
        f'{np.mean([result["minutes"] for result in results]):.1f} min',
    ]
    return f'| {" | ".join(cells)} |'


if __name__ == '__main__':
    sys.exit(starting.run(main))
