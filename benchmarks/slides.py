"""The slides' study again, on faces of the challenge that they took theirs from: own CNN, Xception, and a better one:

python benchmarks/slides.py -d dfdc_dataset --data-root ../shared/faces
python benchmarks/slides.py -d dfdc_dataset --data-root ../shared/faces --only CustomCNN

Each training is done twice, with the parts as they are (no person in two of them) and with the same pictures divided
at random, as the slides did; numbers of pictures are the same. Everything is kept, so that an interrupted study goes
on. docs/slides.md holds the results.
"""

import argparse
import os
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

ADAM = ('-o', 'Adam', '--lr', 0.001, '-b', 32)
# name -> (model, epochs, the training's other words)
APPROACHES = {
    'CustomCNN': ('CustomCNN', 15, ADAM),
    'XceptionTransfer, frozen': ('XceptionTransfer', 3, ADAM),
    'XceptionTransfer, fine-tuned': (
        'XceptionTransfer',
        2,
        ('-o', 'Adam', '--lr', 0.0002, '-b', 32, '--option', 'frozen=false'),
    ),
    'PhotoNet': ('PhotoNet', 8, ('-o', 'AdamW', '--lr', 0.001, '-b', 32, '--schedule', 'one-cycle', '--crop', 160)),
}
# The slides' table of optimizers and rates, of the own CNN: validation loss and accuracy after this many epochs.
RATES, OPTIMIZERS, ABLATION_EPOCHS = (0.1, 0.01), ('SGD', 'Adam', 'NAdam'), 2


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = options.parser(__doc__)
    options.add_dataset(parser)
    parser.add_argument('--only', nargs='+', choices=APPROACHES, default=list(APPROACHES), metavar='NAME')
    parser.add_argument('--folder', default='.cache/slides', help='where the runs are kept (default: %(default)s)')
    options.add_data_root(parser)
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    options.use_data_root(args)
    folder, home = Path(args.folder), datasets.find_dataset(args.dataset)
    splits = {'by person': home, 'at random': divided_at_random(home, folder / 'at_random' / home.name)}
    print_approaches(args.only, splits, folder)
    print_by_size(args.only, splits['by person'], folder)
    if 'CustomCNN' in args.only:
        print_ablation(splits['by person'], folder)


def divided_at_random(home: Path, copy: Path, seed: int = 0) -> Path:
    """The same pictures with parts of the same sizes, drawn for each class by lot. Links, no copies."""
    if (copy / 'manifest.csv').exists():  # which is written last
        return copy
    rng, rows = np.random.default_rng(seed), datasets.read_manifest(home)
    moved = []
    for label in datasets.CLASSES:
        files = sorted(file for file, row in rows.items() if row['label'] == label)
        parts = [rows[file]['part'] for file in files]
        for file, part in zip(files, rng.permutation(parts), strict=True):
            place = f'{part}/{label}/{file.replace("/", "_")}'  # two parts may have files of one name
            (copy / place).parent.mkdir(parents=True, exist_ok=True)
            if not (copy / place).exists():
                os.symlink((home / file).resolve(), copy / place)
            moved.append({**rows[file], 'file': place, 'part': part})
    records.write_csv(copy / 'manifest.csv', list(moved[0]), moved)
    return copy


# --- trainings ------------------------------------------------------------


def train(home: Path, folder: Path, model: str, epochs: int, words: tuple) -> tuple[dict, dict]:
    """(the training's log, the metrics of the test part)."""
    return train_and_judge([home.name], model, ['-e', epochs, *words], folder, home.parent)


def place_of(approach: str, split: str, folder: Path) -> Path:
    return folder / f'{approach}_{split}'.replace(',', '').replace(' ', '_')


def print_approaches(approaches: list[str], splits: dict[str, Path], folder: Path) -> None:
    print(
        '| approach | split | epoch kept | test accuracy | AuC (95% interval) | training |\n|---|---|---|---|---|---|'
    )
    for approach in approaches:
        for split, home in splits.items():
            log, metrics = train(home, place_of(approach, split, folder), *APPROACHES[approach])
            print(
                f'| {approach} | {split} | {records.best_epoch(log) + 1} of {len(log["val_acc"])} '
                f'| {metrics["accuracy"]["value"]:.1f} '
                '| {:.3f} ({:.3f} to {:.3f}) '.format(metrics['auc']['value'], *metrics['auc']['interval'])
                + f'| {sum(log["seconds"]) / 60:.0f} min |',
                flush=True,
            )


def print_by_size(approaches: list[str], home: Path, folder: Path) -> None:
    """Do small faces, which were enlarged, fare worse? Quarters of the test part by their width before scaling."""
    sizes = Part(home.name, 'test', home / 'test').original_sizes
    edges = np.quantile([width for width, _ in sizes.values()], [0.25, 0.5, 0.75])
    first, second, third = (f'{edge:.0f}' for edge in edges)
    print(f'\n| by person, accuracy of faces | below {first} pixels | to {second} | to {third} | larger |')
    print('|---|---|---|---|---|')
    for approach in approaches:
        model, _, words = APPROACHES[approach]
        name = run_name([home.name], model, words)
        done = place_of(approach, 'by person', folder)
        labels, logits, files = scores_of(done, name, home.name)
        said = logits > 0
        quarter = np.searchsorted(edges, [sizes[file][0] for file in files], side='right')
        cells = [f'{scoring.accuracy(labels[quarter == q], said[quarter == q]):.1f}' for q in range(4)]
        print(f'| {approach} | {" | ".join(cells)} |')


def print_ablation(home: Path, folder: Path) -> None:
    print('\n| CustomCNN by person, optimizer | rate | validation loss | validation accuracy |\n|---|---|---|---|')
    for optimizer in OPTIMIZERS:
        for rate in RATES:
            words = ('-o', optimizer, '--lr', rate, '-b', 32)
            log, _ = train(home, folder / f'ablation_{optimizer}_{rate}', 'CustomCNN', ABLATION_EPOCHS, words)
            best = records.best_epoch(log)
            print(f'| {optimizer} | {rate} | {log["val_loss"][best]:.3f} | {log["val_acc"][best]:.1f} |', flush=True)


if __name__ == '__main__':
    sys.exit(starting.run(main))
