"""Measure a detector as its model card has to tell it, on the test parts of what it was trained on:

python benchmarks/card.py checkpoints/faces.onnx --data-root ../shared/faces \
    -d synthetic_dataset dfdc_dataset diffusion_dataset fakes_dataset

AuC with intervals, what its verdicts are worth at the threshold and the band that its file holds, what pictures lose on
their way, and how size and brightness of a face tell. `benchmark.py` computes the scores and keeps them, so that an
interrupted measurement goes on. Prints tables for the card.
"""

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

PROJECT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(PROJECT))

import options  # noqa: E402
from benchmarks.commands import run, scores_of  # noqa: E402
from forensics.data import datasets  # noqa: E402
from forensics.data.parts import Part  # noqa: E402
from forensics.judging import exported, scoring  # noqa: E402
from forensics.judging.answers import Rule  # noqa: E402
from forensics.pictures import perturbations  # noqa: E402
from forensics.running import starting  # noqa: E402

PERTURBED = ('jpeg:50,30', 'webp:50', 'rescale:0.5,2', 'blur:1', 'noise:5')
QUARTERS = ('lowest quarter', 'second', 'third', 'highest')


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = options.parser(__doc__)
    parser.add_argument('detector', metavar='FILE', help='.onnx of export_onnx.py')
    parser.add_argument('-d', '--dataset', nargs='+', dest='datasets', required=True, metavar='NAME')
    parser.add_argument('--folder', default='.cache/card', help='where scores are kept (default: %(default)s)')
    options.add_data_root(parser)
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    options.use_data_root(args)
    detector, folder = exported.load(args.detector), Path(args.folder)
    words = ['--checkpoints', Path(args.detector).resolve(), '--datasets', *args.datasets, '--perturb', *PERTURBED]
    run('benchmark.py', words, folder, datasets.find_dataset(args.datasets[0]).resolve().parent)
    parts = [Part.find(name, 'test') for name in args.datasets]
    rule = Rule.of(detector)
    print_verdicts(folder, detector, parts, rule)
    print_conditions(folder, detector, parts)
    print_quarters('width of the face before scaling', *by_size(folder, detector, parts), rule)
    print_quarters('brightness', *by_brightness(folder, detector, parts), rule)


def print_verdicts(folder: Path, detector, parts: list[Part], rule: Rule) -> None:
    low, high = rule.unsure or (rule.threshold, rule.threshold)
    print(f'threshold {rule.threshold:.3f}, unsure from {low:.3f} to {high:.3f}\n')
    print('| test part | AuC (95% interval) | real called fake | fake found | unsure | wrong of the answered |')
    print('|---|---|---|---|---|---|')
    everything = []
    for part in parts:
        labels, logits, files = scores_of(folder, detector.file.stem, part.dataset)
        everything.append((labels, logits))
        metrics = scoring.summary(labels, logits, part.groups(files), threshold_of(rule))
        auc = '{:.3f} ({:.3f} to {:.3f})'.format(metrics['auc']['value'], *metrics['auc']['interval'])
        print(f'| {part.dataset} | {auc} | {" | ".join(worth(labels, logits, rule))} |')
    labels, logits = (np.concatenate(column) for column in zip(*everything, strict=True))
    found = scoring.values(labels, logits, threshold_of(rule))
    print(f'| all together | {found["auc"]:.3f} | {" | ".join(worth(labels, logits, rule))} |')
    print(f'\nExpected calibration error, all together: {found["calibration_error"]:.3f}\n')


def threshold_of(rule: Rule) -> float:
    """As a logit."""
    return float(np.log(rule.threshold / (1 - rule.threshold)))


def worth(labels: np.ndarray, logits: np.ndarray, rule: Rule) -> Iterator[str]:
    probability = scoring.fake_probability(logits)
    called, (low, high) = probability >= rule.threshold, rule.unsure or (1, 0)
    answered = ~((probability > low) & (probability < high))
    wrong = (called != labels)[answered]
    for share in (called[labels == 0], called[labels == 1], ~answered, wrong):
        yield f'{100 * share.mean():.1f}%' if len(share) else '-'


def print_conditions(folder: Path, detector, parts: list[Part]) -> None:
    print(f'| AuC after | {" | ".join(part.dataset for part in parts)} | mean | lost, points |')
    print('|---' * (len(parts) + 3) + '|')
    whole = None
    for condition in ['test', *(f'test-{each}' for text in PERTURBED for each in perturbations.parse(text))]:
        aucs = [scoring.auc(*scores_of(folder, detector.file.stem, part.dataset, condition)[:2]) for part in parts]
        mean = float(np.mean(aucs))
        whole = mean if whole is None else whole
        cells = [f'{value:.3f}' for value in (*aucs, mean)]
        name = condition.removeprefix('test-').replace('test', 'nothing')
        print(f'| {name} | {" | ".join(cells)} | {100 * (whole - mean):.1f} |')


def by_size(folder: Path, detector, parts: list[Part]) -> tuple[np.ndarray, ...]:
    """(labels, logits, widths) of the pictures whose manifest tells the size before scaling."""
    rows = []
    for part in parts:
        for label, logit, file in zip(*scores_of(folder, detector.file.stem, part.dataset), strict=True):
            if file in part.original_sizes:
                rows.append((label, logit, part.original_sizes[file][0]))
    return tuple(np.array(rows).reshape(-1, 3).T)


def by_brightness(folder: Path, detector, parts: list[Part]) -> tuple[np.ndarray, ...]:
    rows = []
    for part in parts:
        for label, logit, file in zip(*scores_of(folder, detector.file.stem, part.dataset), strict=True):
            with Image.open(part.folder / file) as image:
                rows.append((label, logit, np.asarray(image.convert('L')).mean()))
    return tuple(np.array(rows).T)


def print_quarters(name: str, labels: np.ndarray, logits: np.ndarray, values: np.ndarray, rule: Rule) -> None:
    if not len(values):
        return
    edges = np.quantile(values, [0, 0.25, 0.5, 0.75, 1])
    quarter = np.searchsorted(edges[1:-1], values, side='right')
    print(f'\n| {name} | from, to | AuC | real called fake | fake found | unsure | wrong of the answered |')
    print('|---|---|---|---|---|---|---|')
    for number, words in enumerate(QUARTERS):
        own = quarter == number
        cells = [f'{edges[number]:.0f} to {edges[number + 1]:.0f}', f'{scoring.auc(labels[own], logits[own]):.3f}']
        print(f'| {words} | {" | ".join([*cells, *worth(labels[own], logits[own], rule)])} |')


if __name__ == '__main__':
    sys.exit(starting.run(main))
