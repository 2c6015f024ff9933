"""What each option of the training line for photographs gives: the line as it is, then with one change after the other:

python benchmarks/recipe.py -d fakes_dataset --data-root ../shared/faces -e 8
python benchmarks/recipe.py -d synthetic_dataset+synthetic_extra --data-root ../shared/faces -e 3 --only whole clean

Of data sets that are joined by a plus, the first one is the judge: its test part as it is, and after what pictures go
through on their way. Each training is a command of the project in a folder of its own, which is kept, so that an
interrupted benchmark goes on where it stopped.
"""

import argparse
import sys
from pathlib import Path

import numpy as np

PROJECT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(PROJECT))

import options  # noqa: E402
from benchmarks.commands import run, run_name, scores_of, train_and_judge, write_table  # noqa: E402
from forensics import records  # noqa: E402
from forensics.data import datasets  # noqa: E402
from forensics.judging import scoring  # noqa: E402
from forensics.running import starting  # noqa: E402

MODEL = 'PhotoNet'
WHOLE = {
    'optimizer': ('-b', 32, '-o', 'AdamW', '--lr', 0.001),
    'schedule': ('--schedule', 'one-cycle'),
    'crop': ('--crop', 224),
    'augment': ('--augment', 'passed-on'),
}
CHANGES = {  # row -> what it does otherwise
    'whole': {},
    'constant-rate': {'schedule': ()},
    'crops-of-160': {'crop': ('--crop', 160)},
    'no-crops': {'crop': ()},
    'clean': {'augment': ()},
    'made-fakes': {'self-blend': ('--self-blend', 0.15)},
    'averaged': {'average': ('--average', 0.99)},
    'more-decay': {'decay': ('--weight-decay', 0.1)},
    'random-weights': {'weights': ('--backbone-weights', 'none')},
}
PERTURBED = ('jpeg:50', 'rescale:0.5', 'blur:1')
COLUMNS = 'data', 'training', 'test AuC (95% interval)', 'JPEG 50', 'half size', 'blur 1', 'time'


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = options.parser(__doc__)
    parser.add_argument('-d', '--dataset', nargs='+', dest='datasets', required=True, metavar='NAME')
    parser.add_argument(
        '--only', nargs='+', choices=CHANGES, default=list(CHANGES), metavar='ROW', help=f'of {", ".join(CHANGES)}'
    )
    parser.add_argument('-e', '--epochs', type=options.positive, default=8, help='(default: %(default)s)')
    parser.add_argument('--seeds', type=int, nargs='+', default=[0], metavar='N', help='(default: 0)')
    parser.add_argument('--folder', default='.cache/recipe', help='where the runs are kept (default: %(default)s)')
    options.add_data_root(parser)
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    options.use_data_root(args)
    table = [f'| {" | ".join(COLUMNS)} |', '|---' * len(COLUMNS) + '|']
    for dataset in args.datasets:
        for change in args.only:
            results = [result_of(args, dataset.split(datasets.SEPARATOR), change, seed) for seed in args.seeds]
            table.append(line(dataset, change, results))
            print(table[-1], flush=True)
    write_table(Path(args.folder) / 'recipe.md', table)


def words_of(change: str) -> list:
    """The row's words for train_main.py, besides data, network, epochs and seed."""
    return [word for words in (WHOLE | CHANGES[change]).values() for word in words]


def result_of(args: argparse.Namespace, names: list[str], change: str, seed: int) -> dict:
    words = words_of(change)
    folder = Path(args.folder) / f'{datasets.joined(names)}_{change}_{args.epochs}_{seed}'
    root = datasets.find_dataset(names[0]).resolve().parent
    log, metrics = train_and_judge(names, MODEL, [*words, '-e', args.epochs, '--seed', seed], folder, root)
    name = run_name(names, MODEL, words)
    checkpoint = records.checkpoint_path('checkpoints', name)
    run('benchmark.py', ['--checkpoints', checkpoint, '--datasets', names[0], '--perturb', *PERTURBED], folder, root)
    return {
        'auc': metrics['auc'],
        'perturbed': [
            scoring.auc(*scores_of(folder, name, names[0], f'test-{condition}')[:2]) for condition in PERTURBED
        ],
        'minutes': sum(log['seconds']) / 60,
    }


def line(dataset: str, change: str, results: list[dict]) -> str:
    """Means over the seeds; the interval is that of one seed, or the seeds' extremes."""
    aucs = [result['auc']['value'] for result in results]
    low, high = results[0]['auc']['interval'] if len(results) == 1 else (min(aucs), max(aucs))
    cells = [
        dataset,
        change,
        f'{np.mean(aucs):.3f} ({low:.3f} to {high:.3f})',
        *(f'{value:.3f}' for value in np.mean([result['perturbed'] for result in results], axis=0)),
        f'{np.mean([result["minutes"] for result in results]):.1f} min',
    ]
    return f'| {" | ".join(cells)} |'


if __name__ == '__main__':
    sys.exit(starting.run(main))
