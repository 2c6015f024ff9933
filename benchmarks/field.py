"""Train all contenders on the same data for as many epochs, and print one table:

python benchmarks/field.py -d synthetic_dataset fakes_dataset dfdc_dataset diffusion_dataset --data-root ../shared/faces
python benchmarks/field.py -d synthetic_dataset --contenders MyNet PhotoNet -e 1 --seeds 0

Each training is a command of the project in a folder of its own, which is kept, so that an interrupted benchmark goes
on where it stopped, and a larger one takes over what a smaller one has. Data sets with groups (persons) are judged by
them.
"""

import argparse
import sys
import time
from pathlib import Path

import numpy as np

PROJECT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(PROJECT))

import options  # noqa: E402
from benchmarks.commands import SIZE, run, scaled, train_and_judge, write_table  # noqa: E402
from forensics import records  # noqa: E402
from forensics.judging import scoring  # noqa: E402
from forensics.running import starting  # noqa: E402

TURNS = 15
ASSIGNMENT = ('-b', 32, '-o', 'Adam', '--lr', 0.001)
RECIPE = ('-b', 32, '-o', 'AdamW', '--lr', 0.001, '--schedule', 'one-cycle', '--crop', 160)
CONTENDERS = {  # the networks' own words for train_main.py
    'SimpleNet': ASSIGNMENT,
    'MyNet': ASSIGNMENT,
    'BonusNet': ASSIGNMENT,
    'XceptionBased': ASSIGNMENT,
    'PhotoNet': RECIPE,
    'spectrum + SVM': (),
}
SVM = 'spectrum + SVM'
COLUMNS = 'data', 'contender', 'AuC (95% interval)', 'accuracy', 'EER', 'training', 'parameters', 'MACs', 'ms', 'score'


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = options.parser(__doc__)
    parser.add_argument('-d', '--dataset', nargs='+', dest='datasets', required=True, metavar='NAME')
    parser.add_argument('--contenders', choices=CONTENDERS, nargs='+', default=list(CONTENDERS), metavar='NAME')
    parser.add_argument('-e', '--epochs', type=options.positive, default=5, help='of the networks (default: 5)')
    parser.add_argument('--seeds', type=int, nargs='+', default=[0], metavar='N', help='(default: 0)')
    parser.add_argument('--folder', default='.cache/field', help='where the runs are kept (default: %(default)s)')
    options.add_data_root(parser)
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    options.use_data_root(args)
    costs = costs_of([name for name in args.contenders if name != SVM])
    table = [f'| {" | ".join(COLUMNS)} |', '|---' * len(COLUMNS) + '|']
    for dataset in args.datasets:
        root = scaled(dataset, Path(args.folder))
        for contender in args.contenders:
            seeds = args.seeds[:1] if contender == SVM else args.seeds  # nothing of it is random
            results = [result_of(args, dataset, root, contender, seed) for seed in seeds]
            table += [row(dataset, contender, results, costs.get(contender))]
            print(table[-1], flush=True)
    write_table(Path(args.folder) / 'field.md', table)


def result_of(args: argparse.Namespace, dataset: str, root: Path, contender: str, seed: int) -> dict:
    """The metrics of the test part and the seconds of the training."""
    folder = Path(args.folder) / f'{dataset}_{contender}_{args.epochs}_{seed}'.replace(' ', '')
    if contender == SVM:
        return result_of_svm(dataset, folder, root)
    words = ['-e', args.epochs, '--seed', seed, *CONTENDERS[contender]]
    log, metrics = train_and_judge([dataset], contender, words, folder, root)
    return {**metrics, 'seconds': sum(log['seconds'])}


def result_of_svm(dataset: str, folder: Path, root: Path) -> dict:
    detector = f'{dataset}_spectrum-svm-poly_svm'
    metrics = folder / records.metrics_path('out', detector, dataset)
    if not metrics.exists():
        start = time.monotonic()
        run('train_svm.py', ['-d', dataset, '--features', 'spectrum', '--classifier', 'svm-poly'], folder, root)
        records.write_json(folder / 'seconds.json', time.monotonic() - start)
        run('numerical_analysis.py', ['-cpp', f'checkpoints/{detector}.npz', '-d', dataset], folder, root)
    return {**records.read_json(metrics)['metrics'], 'seconds': records.read_json(folder / 'seconds.json')}


def costs_of(names: list[str]) -> dict[str, tuple[int, int, float]]:
    """name -> (parameters, multiplications for an image, milliseconds an image in batches of 8), timed in turns."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    from forensics.running import memory
    from models import build_model
    from utils import get_nof_params

    memory.tune_allocator()
    models = {
        name: build_model(name, 'none').eval().to(memory_format=torch.channels_last)
        for name in names
    }  # fmt: skip
    batch = torch.zeros(8, 3, SIZE, SIZE).contiguous(memory_format=torch.channels_last)
    multiplications, seconds = {}, {name: [] for name in names}
    with torch.inference_mode():
        for name, model in models.items():
            with FlopCounterMode(display=False) as counter:
                model(batch)
            multiplications[name] = counter.get_total_flops() // 2 // len(batch)
        for _ in range(TURNS):
            for name, model in models.items():
                start = time.perf_counter()
                model(batch)
                seconds[name].append(time.perf_counter() - start)
    return {
        name: (get_nof_params(model), multiplications[name], 1000 * float(np.median(seconds[name])) / len(batch))
        for name, model in models.items()
    }


def row(dataset: str, contender: str, results: list[dict], costs: tuple[int, int, float] | None) -> str:
    """Medians over the seeds; the interval is the median run's."""
    order = sorted(results, key=lambda result: result['auc']['value'])
    middle = order[len(order) // 2]['auc']
    auc = '{:.3f} ({:.3f} to {:.3f})'.format(middle['value'], *middle['interval'])
    if len(results) > 1:
        auc += f', {len(results)} seeds {order[0]["auc"]["value"]:.3f} to {order[-1]["auc"]["value"]:.3f}'
    accuracy, eer = (np.median([result[name]['value'] for result in results]) for name in ('accuracy', 'eer'))
    minutes = np.median([result['seconds'] for result in results]) / 60
    cells = [dataset, contender, auc, f'{accuracy:.1f}', f'{eer:.3f}', f'{minutes:.1f} min']
    if costs is None:
        cells += ['-'] * 4
    else:
        parameters, multiplications, milliseconds = costs
        score = scoring.bonus_score(100 * middle['value'], parameters)
        cells += [f'{parameters:,}', f'{multiplications / 1e6:,.0f} M', f'{milliseconds:.1f}', f'{score:.3g}']
    return f'| {" | ".join(cells)} |'


if __name__ == '__main__':
    sys.exit(starting.run(main))
