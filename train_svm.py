"""Train a classical detector (features and a support vector machine) and report it on the test part:

python train_svm.py -d synthetic_dataset --features spectrum --classifier svm-poly
python train_svm.py -d synthetic_dataset --features spectrum --all

Hyper-parameters are chosen by cross-validation on the training part, with groups (of the data set's manifest.csv)
kept together; the calibration and the threshold on validation. The test part is only reported.
"""

import argparse
import sys
import uuid
from pathlib import Path

import numpy as np
from PIL import Image

import options
from common import CHECKPOINT_DIR, FIGURES_DIR, OUTPUT_DIR
from forensics import records
from forensics.classical import detector as classical
from forensics.classical import features
from forensics.classical.spectrum import VARIANTS
from forensics.data import datasets
from forensics.data.parts import Part
from forensics.errors import UserError
from forensics.judging import plots, scoring
from forensics.judging.detector import Doubts
from forensics.running import memory, starting


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = options.parser(__doc__)
    options.add_dataset(parser)
    parser.add_argument(
        '--features',
        default='spectrum',
        metavar='NAME',
        help=f'spectrum, {", ".join(features.DEEP)}, joined with "+" as in spectrum+xception, or both, which is '
        'spectrum+resnet50 (default: %(default)s)',
    )
    which = parser.add_mutually_exclusive_group()
    which.add_argument('--classifier', choices=classical.GRIDS, default='svm-poly', help='(default: %(default)s)')
    which.add_argument('--all', action='store_true', help='every classifier: a table, and a figure of the spectra')
    parser.add_argument(
        '--variant',
        choices=VARIANTS,
        default='published',
        help='of the spectrum: as its authors computed it, or with the rings where they belong (default: %(default)s)',
    )
    parser.add_argument(
        '--augment',
        action='store_true',
        help='train on four pictures for one: flipped, turned by 45 degrees either way',
    )
    options.add_backbone_weights(parser)
    parser.add_argument('--cluster', metavar='ADDRESS', help='compute features on a Dask cluster: tcp://scheduler:8786')
    options.add_process_wide(parser)
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    options.use_data_root(args)
    extractors = make_extractors(args)
    parts = {name: DescribedPart.find(args.dataset, name) for name in datasets.PARTS}
    for part in parts.values():
        part.check_both_classes()
    for part in parts.values():
        part.compute(extractors, args)
    train = parts['train']
    trained_on = classical.describe_training(train.sizes, train.originals, extractors)
    warn(args, extractors, parts, trained_on)
    kinds = list(classical.GRIDS) if args.all else [args.classifier]
    rows = []
    for kind in kinds:
        copies = len(train.vectors) // len(train.labels)
        classifier, cv_auc = classical.fit(
            kind, train.vectors, np.tile(train.labels, copies), np.tile(train.groups(), copies), args.seed
        )
        run = describe(args, kind, extractors, parts) | {'trained_on': trained_on}
        rows.append(evaluate(args, extractors, classifier, cv_auc, parts, run))
    print_table(rows, parts['test'])
    if args.all and isinstance(extractors[0], features.Spectrum):
        draw_spectra(args, extractors[0], train)


class DescribedPart(Part):
    """A part of the data set with its features."""

    def compute(self, extractors: list, args: argparse.Namespace) -> None:
        """Fill `vectors` (a block of rows for each augmentation), `originals` (the first block) and `sizes`."""
        augmented = args.augment and self.name == 'train'
        augmentations = list(features.AUGMENTATIONS) if augmented else ['original']
        paths = [self.folder / file for file in self.files]
        self.vectors = features.of_files(extractors, paths, augmentations, f'{self.name} features', args.cluster)
        self.originals = self.vectors[: len(paths)]
        self.sizes = []
        for path in paths:
            with Image.open(path) as image:  # reads the header alone
                self.sizes.append(image.size)


def make_extractors(args: argparse.Namespace) -> list:
    """The features asked for, the spectrum first. Only a deep one needs PyTorch."""
    names = features.split_name(args.features)
    deep = [name for name in names if name in features.DEEP]
    if args.backbone_weights and not deep:
        raise UserError(f'--backbone-weights {args.backbone_weights}: {args.features} has no backbone.')
    extractors = [features.Spectrum(args.variant)] if 'spectrum' in names else []
    if deep:
        import torch

        from forensics.running import runtime
        from models import build_with_origin, get_spec

        memory.tune_allocator()
        options.apply(args)
    elif args.device:
        options.apply(args)  # says so if there is no such device, although the spectrum has no use for it
    for name in deep:
        model = features.DEEP[name]
        network, origin = build_with_origin(model, args.backbone_weights)
        spec = get_spec(model).preprocessing
        network = network.to(runtime.device(), memory_format=torch.channels_last)
        extractors.append(features.Deep(name, network, spec.size, spec.mean, spec.std, origin))
    return extractors


def warn(args: argparse.Namespace, extractors: list, parts: dict[str, DescribedPart], trained_on: dict) -> None:
    """Warn of everything that makes the figures doubtful, before they are printed."""
    settings = datasets.read_card(parts['train'].home).get('settings') or {}
    if settings.get('detect') and settings.get('size') and isinstance(extractors[0], features.Spectrum):
        print(
            f'warning: the faces of {args.dataset} were scaled to {settings["size"]} pixels, and scaling changes the '
            f'spectrum. Make them again with `preprocessing.py --keep-scale`.',
            file=sys.stderr,
        )
    for part in parts.values():
        doubts = Doubts()
        classical.tell_doubts(doubts, part.sizes, part.originals, extractors, trained_on)
        for sentence in doubts.sentences():
            print(f'warning: {part.folder}: {sentence}', file=sys.stderr)


def describe(args: argparse.Namespace, kind: str, extractors: list, parts: dict[str, DescribedPart]) -> dict:
    """The record of the run, like train_main.py's: enough to repeat the training."""
    elsewhere = ('all', 'classifier', 'cluster', 'data_root', 'device')
    arguments = {name: value for name, value in vars(args).items() if name not in elsewhere}
    card = datasets.read_card(parts['train'].home)
    deep = [extractor for extractor in extractors if isinstance(extractor, features.Deep)]
    packages = ('numpy', 'scipy', 'scikit-learn', 'pillow', *(('torch', 'timm') if deep else ()))
    return {
        'id': uuid.uuid4().hex,
        'model': model_name(args, kind),
        'dataset': args.dataset,
        'class_names': card.get('class_names', list(datasets.CLASSES)),
        'preprocessing': [extractor.settings() for extractor in extractors],
        'arguments': arguments | {'classifier': kind},
        'seed': args.seed,
        'backbone_weights': ', '.join(dict.fromkeys(extractor.weights for extractor in deep)) or None,
        'data': {name: part.facts() for name, part in parts.items()},
        'data_source': card.get('source'),
        'commit': records.commit(),
        'versions': records.versions(*packages),
    }


def model_name(args: argparse.Namespace, kind: str) -> str:
    """The name in the detector's file name: every setting that makes another detector is in it."""
    variant = '' if args.variant == 'published' else f'-{args.variant}'
    return f'{args.features}{variant}{"-augmented" if args.augment else ""}-{kind}'


def evaluate(
    args: argparse.Namespace,
    extractors: list,
    classifier: classical.Classifier,
    cv_auc: float | None,
    parts: dict[str, DescribedPart],
    run: dict,
) -> dict:
    """Calibrate on validation, save the detector, log its figures and its scores."""
    decisions = {name: classifier.decision(part.originals) for name, part in parts.items()}
    calibration = classical.fit_calibration(decisions['val'], parts['val'].labels)
    detector = classical.ClassicalDetector(extractors, classifier, calibration, run)
    logits = {name: detector.calibrated(values) for name, values in decisions.items()}
    # In logits 0 is an even chance, and best_threshold takes the nearest to 0 of equally good thresholds.
    threshold = scoring.best_threshold(parts['val'].labels, logits['val'])
    run['threshold'] = float(1 / (1 + np.exp(-threshold)))

    name = records.run_name(args.dataset, run['model'], 'svm')
    path = Path(CHECKPOINT_DIR) / f'{name}.npz'
    detector.save(path)
    print(f'Wrote {path}')

    log = {
        'model': run['model'],
        'dataset': args.dataset,
        'optimizer': {'name': 'svm', 'params': classifier.parameters},
        'cv_auc': cv_auc,
    }
    for part_name, part in parts.items():
        labels, values = part.labels, logits[part_name]
        # The assignment's keys hold one value for each epoch, and this training is one.
        log[f'{part_name}_loss'] = [float(np.mean(np.logaddexp(0, values) - labels * values))]
        log[f'{part_name}_acc'] = [scoring.accuracy(labels, values > threshold)]
        log[f'{part_name}_auc'] = scoring.auc(labels, values)
        if part_name != 'train':
            scores = detector.scores_path(OUTPUT_DIR, part)
            detector.write_scores(scores, detector.score_key(part), part, part.files, values[:, None], unreadable={})
    log |= {
        'test_auc_interval': scoring.auc_interval(parts['test'].labels, logits['test']),
        'test_constant_acc': scoring.constant_accuracy(parts['test'].labels),
        'run': run,
    }
    records.append_run(records.log_path(OUTPUT_DIR, name), log)
    return log


def print_table(rows: list[dict], test: DescribedPart) -> None:
    """The lab report's table: one line a classifier."""
    weights = rows[0]['run']['backbone_weights']
    note = f', {weights} backbone' if weights else ''
    features_name = rows[0]['run']['arguments']['features']
    counts = f'{np.sum(test.labels == 0)} real and {np.sum(test.labels == 1)} fake test images'
    print(f'\n{features_name}{note} on {rows[0]["dataset"]}, {counts}\n')
    print('| classifier | AuC, cross-validation | AuC, val | AuC, test (95% interval) | accuracy, test | chosen |')
    print('|---|---|---|---|---|---|')
    for row in rows:
        low, high = row['test_auc_interval']
        chosen = ', '.join(f'{name} {value:.4g}' for name, value in row['optimizer']['params'].items())
        in_folds = '-' if row['cv_auc'] is None else f'{row["cv_auc"]:.3f}'
        print(
            f'| {row["run"]["arguments"]["classifier"]} | {in_folds} | {row["val_auc"]:.3f} '
            f'| {row["test_auc"]:.3f} ({low:.3f} to {high:.3f}) | {row["test_acc"][0]:.2f}% | {chosen or "-"} |'
        )
    print(f'| constant predictor | 0.500 | 0.500 | 0.500 | {rows[0]["test_constant_acc"]:.2f}% | - |\n')


def plot_mean_spectra(spectra: np.ndarray, labels: np.ndarray, ax) -> None:
    """The mean of each class with a band of one standard deviation either way."""
    positions = np.arange(spectra.shape[1])
    for label, name in enumerate(datasets.CLASSES):
        own = spectra[labels == label]
        mean, spread = own.mean(axis=0), own.std(axis=0)
        colour = plots.CLASS_COLOURS[name]
        ax.fill_between(positions, mean - spread, mean + spread, color=colour, alpha=0.2, linewidth=0)
        ax.plot(positions, mean, color=colour, linestyle=('-', '--')[label], label=f'{name} (n = {len(own)})')
    ax.set_ylabel('log amplitude, first value = 1')
    ax.legend(title='mean, band: one standard deviation')


def plot_separation(spectra: np.ndarray, labels: np.ndarray, ax) -> None:
    """The distance of the two means in standard deviations, which overlapping bands hide."""
    real, fake = (spectra[labels == label] for label in (0, 1))
    spread = np.sqrt((real.var(axis=0) + fake.var(axis=0)) / 2)
    difference = fake.mean(axis=0) - real.mean(axis=0)
    distance = np.divide(difference, spread, out=np.zeros_like(spread), where=spread > 0)  # the first value is 1 in all
    ax.plot(distance, color='black', linewidth=1.2)
    ax.axhline(0, color=plots.GREY, linewidth=0.8)
    ax.set(xlabel='radius, from the lowest to the highest frequency', ylabel='fake - real, in\nstandard deviations')


def draw_spectra(args: argparse.Namespace, spectrum: features.Spectrum, train: DescribedPart) -> None:
    """The lab report's figure, and below it the difference of the two means."""
    spectra = train.originals[:, : spectrum.n]
    with plots.style():
        figure = plots.new_figure(height=4.6)
        upper, lower = figure.subplots(2, sharex=True, height_ratios=(3, 1))
        plot_mean_spectra(spectra, train.labels, upper)
        plot_separation(spectra, train.labels, lower)
        upper.set_title(f'Azimuthal spectra of {args.dataset}, train ({spectrum.variant} variant)')
        name = 'spectrum' if spectrum.variant == 'published' else f'spectrum-{spectrum.variant}'
        plots.save(figure, records.figure_path(FIGURES_DIR, args.dataset, name, 'mean_spectra'))


if __name__ == '__main__':
    sys.exit(starting.run(main))
