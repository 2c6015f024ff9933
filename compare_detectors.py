"""Is detector B better than A? The same images, paired intervals over groups, DeLong's and McNemar's tests:

python compare_detectors.py out/scores/A__fakes_dataset__test.json out/scores/B__fakes_dataset__test.json
python compare_detectors.py checkpoints/A.pt checkpoints/B.npz -d fakes_dataset
python compare_detectors.py checkpoints/A.pt -d fakes_dataset --scores theirs.csv --scores-mean fake

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
from forensics.judging.elsewhere import ScoredElsewhere
from forensics.pictures.files import BrokenImage, open_image
from forensics.running import starting

SHOWN = 12  # images in the figure


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = options.parser(__doc__)
    parser.add_argument('detectors', nargs='*', metavar='FILE', help='score files (.json) or checkpoints (.pt, .npz)')
    parser.add_argument(
        '-d', '--dataset', metavar='NAME', help='the data set that checkpoints and --scores are compared on'
    )
    options.add_scores(parser)
    options.add_process_wide(parser)
    args = parser.parse_args(argv)
    options.check_scores(parser, args)
    args.detectors = list({Path(path).resolve(): path for path in args.detectors}.values())
    args.scores = list({Path(path).resolve(): (path, meaning) for path, meaning in args.scores}.values())
    if len(args.detectors) + len(args.scores) < 2:
        parser.error('two or more different files are needed')
    return args


@dataclass
class Scored:
    """One detector's scores of the test part."""

    name: str
    record: dict
    threshold: float | None  # on the logit of P(fake), fitted on validation
    no_threshold: str = ''  # why there is none

    @property
    def training(self) -> dict:
        """Which training the scores are of, as far as their record says."""
        facts = {key: self.record.get(key) for key in ('model', *records.training_facts('', {}))}
        return facts | {'detector': self.name}

    def logits_of(self, files: Sequence[str]) -> np.ndarray:
        logits = scoring.fake_logits(np.asarray(self.record['scores'], dtype=np.float64))
        place = {file: index for index, file in enumerate(self.record['files'])}
        return logits[[place[file] for file in files]]


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    options.use_data_root(args)
    check_files(args)
    scored = read_all(args)
    dataset, condition, files, labels = common_images(scored, args.allow_missing)
    part, groups = groups_of(dataset, condition, scored[0].record, files)
    logits = [each.logits_of(files) for each in scored]
    reason = next((found for each in logits if (found := scoring.undefined(labels, each))), None)
    if reason:
        raise UserError(f'The detectors cannot be compared on {dataset}: {reason}.')
    names, thresholds = [each.name for each in scored], [each.threshold or 0.0 for each in scored]
    rows = comparing.compare(names, labels, logits, groups, thresholds, args.seed)

    units = f'{len(set(groups))} groups' if part and part.group_of else 'each its own group'
    print(f'{dataset}, {condition}: {np.sum(labels == 0)} real and {np.sum(labels == 1)} fake images, {units}')
    print_comparison(scored, rows)
    facts = {'dataset': dataset, 'condition': condition, 'data_fingerprint': scored[0].record['data_fingerprint']}
    facts |= {'images': len(files), 'groups': len(set(groups)), 'groups_from': part.groups_from if part else 'none'}
    path = write_record(scored, {**facts, 'command': options.command_line(__file__, argv), 'pairs': rows})
    if part and len(scored) == 2:
        with plots.style():
            probabilities = [scoring.fake_probability(each) for each in logits]
            figure = plot_disagreements(part, condition, files, labels, names, probabilities)
            trainings = [each.training for each in scored]
            plots.save(figure, Path(FIGURES_DIR) / f'{path.stem}_disagreements.png', trainings)


# --- reading -------------------------------------------------------------------------------------------------------


def check_files(args: argparse.Namespace) -> None:
    """Name a mistake before anything is scored."""
    if args.scores and args.dataset is None:
        raise UserError(f'Say with -d of which data set {args.scores[0][0]} has scores.')
    if len({Path(path).stem for path, _ in args.scores}) < len(args.scores):
        raise UserError('Two files of --scores have one name, and so would their records: rename one of them.')
    for path in map(Path, args.detectors):
        if path.suffix == '.csv':
            raise UserError(f'Give {path} as `--scores {path} --scores-mean fake`, or whatever its scores mean.')
        if not path.is_file():
            raise UserError(f'No file {path}. Make scores with `python numerical_analysis.py ...`.')
        if path.suffix not in ('.json', '.pt', '.safetensors', '.npz', '.onnx'):
            raise UserError(f'{path} is neither a score file (.json) nor a detector (.pt, .safetensors, .npz, .onnx).')
        if path.suffix != '.json' and args.dataset is None:
            raise UserError(f'{path} is a checkpoint: say with -d on which data set it is to be compared.')


def read_all(args: argparse.Namespace) -> list[Scored]:
    scored = [read(score_file(path, args)) for path in args.detectors]
    scored += [read(scores_from_elsewhere(path, meaning, args)) for path, meaning in args.scores]
    if len({each.name for each in scored}) < len(scored):  # two trainings of one name, each in a folder of its own
        for each, name in zip(scored, what_differs([*args.detectors, *dict(args.scores)]), strict=True):
            each.name = name
    return scored


def score_file(path: str, args: argparse.Namespace) -> Path:
    """The record of the scores; those of a checkpoint are made if they are missing or of another file or data."""
    if Path(path).suffix == '.json':
        return Path(path)
    import detectors
    from forensics.judging.benchmark_entries import Entry, scorable
    from forensics.judging.benchmark_scores import score_all

    options.apply(args)
    entry = Entry(detectors.load_detector(path))
    score_all(OUTPUT_DIR, [entry], scorable(args.dataset, 'test'), None, args.seed)
    try:
        score_all(OUTPUT_DIR, [entry], scorable(args.dataset, 'val'), None, args.seed)
    except UserError as error:  # then 0.5 decides
        print(error)
    return entry.detector.scores_path(OUTPUT_DIR, Part.find(args.dataset, 'test'))


def scores_from_elsewhere(path: str, meaning: str, args: argparse.Namespace) -> Path:
    """The record that is made of the CSV file."""
    detector, test = ScoredElsewhere(path, meaning), Part.find(args.dataset, 'test')
    detector.take(OUTPUT_DIR, [test], args.allow_missing)
    return detector.scores_path(OUTPUT_DIR, test)


def read(path: Path) -> Scored:
    record = records.read_scores(path)
    if not all(isinstance(record.get(name), str) for name in ('dataset', 'data_fingerprint')) or 'files' not in record:
        raise UserError(
            f'{path} does not say which images of which data were scored. Make it with `python numerical_analysis.py '
            f'...`.'
        )
    return Scored(record.get('detector') or path.stem, record, *validation_threshold(path, record))


def validation_threshold(path: Path, record: dict) -> tuple[float | None, str]:
    """(the threshold that the same detector's scores of the validation part give, else why there is none)."""
    validation = path.with_name('__'.join([*path.stem.split('__')[:-1], 'val']) + '.json')
    if validation == path or not validation.exists():
        return None, f'there is no {validation.name} beside its scores'
    known = records.read_scores(validation)
    if not known.get('checkpoint_sha256') or known['checkpoint_sha256'] != record.get('checkpoint_sha256'):
        return None, f'{validation.name} is of another checkpoint'
    logits = scoring.fake_logits(np.asarray(known['scores'], dtype=np.float64))
    return scoring.best_threshold(known['labels'], logits), str(scoring.undefined(known['labels'], logits))


def what_differs(paths: Iterable[str]) -> list[str]:
    """Each path without what all begin and end with."""
    parts = [Path(path).parts for path in paths]
    begin = len(os.path.commonprefix(parts))
    end = len(os.path.commonprefix([path[:begin:-1] for path in parts]))
    return ['/'.join(path[begin : len(path) - end]) for path in parts]


def common_images(scored: list[Scored], allow_missing: bool) -> tuple[str, str, list[str], np.ndarray]:
    """(data set, condition, the files that all have scored, their labels); refuses scores that cannot be compared."""
    first = scored[0]
    condition, labels = first.record.get('condition', 'test'), label_of(first)
    for other in scored[1:]:
        if other.record['data_fingerprint'] != first.record['data_fingerprint']:
            raise UserError(
                f'{first.name} was scored on {first.record["dataset"]} and {other.name} on {other.record["dataset"]}, '
                f'which are not the same images. Score both on one data set with `python numerical_analysis.py ...`.'
            )
        if other.record.get('condition', 'test') != condition:
            raise UserError(
                f'The scores of {first.name} are of {condition} and those of {other.name} of '
                f'{other.record.get("condition", "test")}: only scores of the same condition can be compared.'
            )
        differing = [file for file, label in label_of(other).items() if labels.get(file, label) != label]
        if differing:
            raise UserError(f'{first.name} and {other.name} have different labels for {differing[0]}.')
    common = set.intersection(*(set(each.record['files']) for each in scored))
    everything = set.union(*(set(each.record['files']) for each in scored))
    missing = len(everything) - len(common)
    if len(common) < comparing.LEAST_COMMON * len(everything) and not (allow_missing and common):
        raise UserError(f'{missing} of {len(everything)} images were not scored by all detectors; score them first.')
    if missing:
        print(f'{missing} of {len(everything)} images were not scored by all detectors and are left out.')
    files = [file for file in first.record['files'] if file in common]
    return first.record['dataset'], condition, files, np.array([labels[file] for file in files])


def label_of(scored: Scored) -> dict[str, int]:
    return dict(zip(scored.record['files'], scored.record['labels'], strict=True))


def groups_of(dataset: str, condition: str, record: dict, files: list[str]) -> tuple[Part | None, np.ndarray]:
    """(the part, if its data are here, the group of each file)."""
    try:
        part = Part.find(dataset, condition.partition('-')[0])
        if part.fingerprint == record['data_fingerprint']:
            return part, part.groups(files)
        print(f'The {dataset} here is not the one that was scored, so that no groups are known.')
    except UserError:
        print(f'{dataset} is not here, so that no groups are known: each image counts as its own.')
    return None, np.array(files)


# --- showing -------------------------------------------------------------------------------------------------------


def print_comparison(scored: list[Scored], rows: list[dict]) -> None:
    for each in scored:
        if each.threshold is None:
            print(f'{each.name}: P(fake) above 0.5 counts as fake: {each.no_threshold}.')
    for row in rows:
        print_row(row, len(rows))


def print_row(row: dict, pairs: int) -> None:
    names = {'auc': 'AuC', 'eer': 'equal error rate', 'accuracy': 'accuracy, %'}
    print(f'\n{row["second"]} against {row["first"]}')
    print(f'{"":18}{"first":>9}{"second":>9}{"second - first":>16}{"95% interval":>20}')
    for name, found in row['metrics'].items():
        interval = '-' if found['interval'] is None else '{:.3f} to {:.3f}'.format(*found['interval'])
        print(f'{names[name]:18}{found["first"]:9.3f}{found["second"]:9.3f}{found["difference"]:+16.3f}{interval:>20}')
    if row['delong_p'] is not None:
        corrected = f'; {row["holm_p"]:.3g} for {pairs} pairs together' if pairs > 1 else ''
        print(f'AuC: p = {row["delong_p"]:.3g} (DeLong, groups kept together{corrected})')
    table = row['mcnemar']
    print(
        f'right: both {table["both_right"]}, only the first {table["first_only"]}, only the second '
        f'{table["second_only"]}, none {table["both_wrong"]}; p = {table["p"]:.3g} (McNemar, over images)'
    )
    print(comparing.verdict(row))


def write_record(scored: list[Scored], facts: dict) -> Path:
    name = '_'.join(each.name for each in scored)
    if len(name) >= 120:  # of many detectors the names would be longer than a file's may be
        name = f'{len(scored)} detectors {scored[0].name}'[:120]
    facts['detectors'] = {each.name: each.training for each in scored}
    facts['thresholds'] = {each.name: each.threshold for each in scored}
    path = Path(OUTPUT_DIR) / 'comparisons' / f'{records.run_name(facts["dataset"], facts["condition"], name)}.json'
    records.write_json(path, facts)
    print(f'\nWrote {path}')
    return path


def plot_disagreements(
    part: Part, condition: str, files: list[str], labels: np.ndarray, names: Sequence[str], probabilities: Sequence
):
    """The images to which the two give the most different P(fake)."""
    order = np.argsort(-np.abs(probabilities[1] - probabilities[0]), kind='stable')[:SHOWN]
    columns = 4
    figure = plots.new_figure(height=1 + 1.75 * -(-len(order) // columns))
    figure.suptitle(f'{part.dataset}, {condition}: where the two disagree most')
    figure.supxlabel(f'P(fake) by {names[0]},\nthen by {names[1]}', fontsize=plots.STYLE['font.size'])
    axes = figure.subplots(-(-len(order) // columns), columns, squeeze=False).ravel()
    for ax in axes:
        ax.set_axis_off()
    for index, ax in zip(order, axes, strict=False):
        ax.set_axis_on()
        title = f'{CLASSES[labels[index]]}; P(fake): {probabilities[0][index]:.2f}, {probabilities[1][index]:.2f}'
        try:
            plots.plot_image(open_image(part.folder / files[index]), ax, title, int(labels[index]))
        except BrokenImage:
            plots.plot_message(f'{title}\n(cannot be read)', ax)
    return figure


if __name__ == '__main__':
    sys.exit(starting.run(main))
