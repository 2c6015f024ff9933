"""Is detector B better than A? The same images, paired intervals over groups, DeLong's and McNemar's tests:

python compare_detectors.py out/scores/A__fakes_dataset__test.json out/scores/B__fakes_dataset__test.json
python compare_detectors.py checkpoints/A.pt checkpoints/B.npz -d fakes_dataset

Score files are those of numerical_analysis.py, train_svm.py and benchmark.py; a checkpoint is scored first, where that
was not done before. Of more than two detectors all pairs are compared, with Holm's correction. Each threshold comes
from the detector's scores of the validation part, if they lie beside those of the test part. Writes out/comparisons/
and, of two detectors, a figure of the images on which they disagree most.
"""

import argparse
import os
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import options
from common import FIGURES_DIR, OUTPUT_DIR
from forensics import records
from forensics.data.datasets import CLASSES
from forensics.data.parts import Part
from forensics.errors import UserError
from forensics.judging import comparing, plots, scoring
from forensics.pictures.files import open_image
from forensics.running import starting

SHOWN = 12  # images in the figure
LEAST_COMMON = 0.99  # of the images have to be scored by all detectors


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = options.parser(__doc__)
    parser.add_argument('detectors', nargs='+', metavar='FILE', help='score files (.json) or checkpoints (.pt, .npz)')
    parser.add_argument('-d', '--dataset', metavar='NAME', help='the data set that checkpoints are compared on')
    options.add_process_wide(parser)
    args = parser.parse_args(argv)
    if len(args.detectors) < 2:
        parser.error('two or more detectors are needed')
    return args


@dataclass
class Scored:
    """One detector's scores of the test part."""

    name: str
    record: dict
    threshold: float | None  # on the logit of P(fake), fitted on validation

    def logits_of(self, files: Sequence[str]) -> np.ndarray:
        logits = scoring.fake_logits(np.asarray(self.record['scores'], dtype=np.float64))
        place = {file: index for index, file in enumerate(self.record['files'])}
        return logits[[place[file] for file in files]]


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    options.use_data_root(args)
    scored = [read(score_file(path, args)) for path in dict.fromkeys(args.detectors)]
    if len({each.name for each in scored}) < len(scored):  # two trainings of one name, each in a folder of its own
        for each, name in zip(scored, what_differs(dict.fromkeys(args.detectors)), strict=True):
            each.name = name
    dataset, files, labels = common_images(scored)
    part, groups = groups_of(dataset, scored[0].record, files)
    logits = [each.logits_of(files) for each in scored]
    reason = next((found for each in logits if (found := scoring.undefined(labels, each))), None)
    if reason:
        raise UserError(f'The detectors cannot be compared on {dataset}: {reason}.')
    names, thresholds = [each.name for each in scored], [each.threshold or 0.0 for each in scored]
    rows = comparing.compare(names, labels, logits, groups, thresholds, args.seed)

    counts = f'{np.sum(labels == 0)} real and {np.sum(labels == 1)} fake images in {len(set(groups))} groups'
    print(f'{dataset}, test: {counts}')
    for each in scored:
        if each.threshold is None:
            print(f'{each.name}: P(fake) above 0.5 counts as fake, for there are no scores of a validation part.')
    for row in rows:
        print_row(row, len(rows))
    path = Path(OUTPUT_DIR) / 'comparisons' / f'{Path(dataset).name}.json'
    facts = {'dataset': dataset, 'data_fingerprint': scored[0].record.get('data_fingerprint'), 'images': len(files)}
    thresholds = {each.name: each.threshold for each in scored}
    records.write_json(path, {**facts, 'groups': len(set(groups)), 'thresholds': thresholds, 'pairs': rows})
    print(f'\nWrote {path}')
    if part and len(scored) == 2:
        with plots.style():
            figure = plot_disagreements(part, files, labels, names, [scoring.fake_probability(each) for each in logits])
            plots.save(figure, records.figure_path(FIGURES_DIR, dataset, 'comparison', 'disagreements'))


# --- reading -------------------------------------------------------------------------------------------------------


def score_file(path: str, args: argparse.Namespace) -> Path:
    """The record of the scores; those of a checkpoint are made if they are missing or of another file or data."""
    if Path(path).suffix == '.json':
        return Path(path)
    if args.dataset is None:
        raise UserError(f'{path} is a checkpoint: say with -d on which data set it is to be compared.')
    import detectors
    from forensics.judging.benchmark_entries import Entry, scorable
    from forensics.judging.benchmark_scores import score_all

    options.apply(args)
    entry = Entry(detectors.load_detector(path))
    for name in ('val', 'test'):
        score_all(OUTPUT_DIR, [entry], scorable(args.dataset, name), None, args.seed)
    return entry.detector.scores_path(OUTPUT_DIR, Part.find(args.dataset, 'test'))


def read(path: Path) -> Scored:
    record = records.read_scores(path)
    if not record.get('files') or len(record['files']) != len(record['scores']):
        raise UserError(f'{path} does not name a file for each score. Make it with `python numerical_analysis.py ...`.')
    threshold, validation = None, path.with_name(path.name.replace('__test.json', '__val.json'))
    if validation != path and validation.exists():
        known = records.read_scores(validation)
        threshold = scoring.best_threshold(known['labels'], scoring.fake_logits(known['scores']))
    return Scored(record.get('detector') or path.stem, record, threshold)


def what_differs(paths: Iterable[str]) -> list[str]:
    """Each path without what all begin and end with."""
    parts = [Path(path).parts for path in paths]
    begin = len(os.path.commonprefix(parts))
    end = len(os.path.commonprefix([path[:begin:-1] for path in parts]))
    return ['/'.join(path[begin : len(path) - end]) for path in parts]


def common_images(scored: list[Scored]) -> tuple[str, list[str], np.ndarray]:
    """(the data set, the files that all have scored, their labels); refuses scores of different data."""
    first = scored[0].record
    for other in (each.record for each in scored[1:]):
        if first.get('data_fingerprint') != other.get('data_fingerprint'):
            raise UserError(
                f'{first.get("detector")} was scored on {first.get("dataset")} and {other.get("detector")} on '
                f'{other.get("dataset")}, which are not the same images. Score both on one data set with '
                f'`python numerical_analysis.py ...`.'
            )
    common = set.intersection(*(set(each.record['files']) for each in scored))
    everything = set.union(*(set(each.record['files']) for each in scored))
    missing = len(everything) - len(common)
    if len(common) < LEAST_COMMON * len(everything):
        raise UserError(f'{missing} of {len(everything)} images were not scored by all detectors; score them first.')
    if missing:
        print(f'{missing} of {len(everything)} images were not scored by all detectors and are left out.')
    kept = [index for index, file in enumerate(first['files']) if file in common]
    return first['dataset'], [first['files'][index] for index in kept], np.asarray(first['labels'])[kept]


def groups_of(dataset: str, record: dict, files: list[str]) -> tuple[Part | None, np.ndarray]:
    """(the part, if its data are here, the group of each file)."""
    try:
        part = Part.find(dataset, 'test')
        if part.fingerprint == record.get('data_fingerprint'):
            return part, part.groups(files)
        print(f'The {dataset} here is not the one that was scored, so that no groups are known.')
    except UserError:
        print(f'{dataset} is not here, so that no groups are known: each image counts as its own.')
    return None, np.array(files)


# --- showing -------------------------------------------------------------------------------------------------------


def print_row(row: dict, pairs: int) -> None:
    names = {'auc': 'AuC', 'eer': 'equal error rate', 'accuracy': 'accuracy, %'}
    print(f'\n{row["second"]} against {row["first"]}')
    print(f'{"":18}{"first":>9}{"second":>9}{"second - first":>16}{"95% interval":>20}')
    for name, found in row['metrics'].items():
        interval = '-' if found['interval'] is None else '{:.3f} to {:.3f}'.format(*found['interval'])
        print(f'{names[name]:18}{found["first"]:9.3f}{found["second"]:9.3f}{found["difference"]:+16.3f}{interval:>20}')
    corrected = f', {row["holm_p"]:.3g} for {pairs} pairs together' if pairs > 1 else ''
    print(f'AuC: p = {row["delong_p"]:.3g} (DeLong, over groups{corrected})')
    table = row['mcnemar']
    print(
        f'right: both {table["both_right"]}, only the first {table["first_only"]}, only the second '
        f'{table["second_only"]}, none {table["both_wrong"]}; p = {table["p"]:.3g} (McNemar, over images)'
    )
    print(comparing.verdict(row))


def plot_disagreements(
    part: Part, files: list[str], labels: np.ndarray, names: Sequence[str], probabilities: Sequence[np.ndarray]
):
    """The images to which the two give the most different P(fake)."""
    order = np.argsort(-np.abs(probabilities[1] - probabilities[0]), kind='stable')[:SHOWN]
    columns = 4
    figure = plots.new_figure(height=1 + 1.75 * -(-len(order) // columns))
    figure.suptitle(f'{part.dataset}, test: where the two disagree most')
    figure.supxlabel(f'P(fake) by {names[0]},\nthen by {names[1]}', fontsize=plots.STYLE['font.size'])
    axes = figure.subplots(-(-len(order) // columns), columns, squeeze=False).ravel()
    for ax in axes:
        ax.set_axis_off()
    for index, ax in zip(order, axes, strict=False):
        ax.set_axis_on()
        title = f'{CLASSES[labels[index]]}; P(fake): {probabilities[0][index]:.2f}, {probabilities[1][index]:.2f}'
        plots.plot_image(open_image(part.folder / files[index]), ax, title, int(labels[index]))
    return figure


if __name__ == '__main__':
    sys.exit(starting.run(main))
