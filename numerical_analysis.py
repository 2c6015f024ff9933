"""Score a data set's test part with a trained detector and draw its ROC and DET curves:

python numerical_analysis.py -m SimpleNet -cpp checkpoints/fakes_dataset_SimpleNet_Adam.pt -d fakes_dataset

A file of train_svm.py (.npz) is taken too. It says itself what it holds, so that -m does not matter. With --csv the
scores are also written as a table.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from torch import nn
from torch.utils.data import Dataset

import detectors
import options
from common import FIGURES_DIR, OUTPUT_DIR
from forensics import records
from forensics.data.datasets import CLASSES
from forensics.data.parts import Part, files_of
from forensics.errors import UserError
from forensics.judging import plots, scoring
from forensics.judging.detector import Detector
from forensics.running import distributed, starting


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = options.parser(__doc__)
    options.add_model(parser)
    options.add_checkpoint(parser)
    options.add_dataset(parser)
    options.add_skip_broken(parser)
    parser.add_argument(
        '--csv', action='store_true', help='also write the scores as out/scores/{detector}__{dataset}.csv'
    )
    options.add_data_root(parser)
    options.add_device(parser)
    return parser.parse_args(argv)


def get_soft_scores_and_true_labels(dataset: Dataset, model: nn.Module) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """First scores (real), second scores (fake) and labels (0 real, 1 fake), in the data set's order.

    Scores are the model's outputs, before softmax. A single logit gives (-logit, logit).
    """
    return detectors.NetworkDetector(model).score_dataset(dataset)


def plot_roc_curve(figure, all_first_soft_scores, all_second_soft_scores, gt_labels):
    """Draw the ROC curves of the first score, the second, and their difference, which decides."""
    with plots.style():
        scores = scoring.three_scores(all_first_soft_scores, all_second_soft_scores)
        plots.plot_roc(scores, np.asarray(gt_labels), figure.gca())
    return figure


def plot_det_curve(figure, all_first_soft_scores, all_second_soft_scores, gt_labels):
    """Draw the DET curves of the same three scores: missed fakes against false alarms."""
    with plots.style():
        scores = scoring.three_scores(all_first_soft_scores, all_second_soft_scores)
        plots.plot_det(scores, np.asarray(gt_labels), figure.gca())
    return figure


def print_table(first, second, labels) -> None:
    """Print AuC, AP, EER and accuracy, and the constant predictor's accuracy beside them."""
    print(f'{"":26}{"AuC":>7}{"95%, over images":>18}{"AP":>8}{"EER":>8}')
    for name, values in scoring.three_scores(first, second).items():
        row = f'{plots.SCORE_NAMES[name]:26}'
        if scoring.undefined(labels, values):
            print(f'{row} undefined: {scoring.undefined(labels, values)}')
            continue
        low, high = scoring.auc_interval(labels, values)
        print(
            f'{row}{scoring.auc(labels, values):7.3f}{f"{low:.3f} to {high:.3f}":>18}'
            f'{scoring.average_precision(labels, values):8.3f}{scoring.equal_error_rate(labels, values):8.1%}'
        )
    if not len(labels):
        return
    difference = second - first
    print(
        f'accuracy, the higher score decides: {scoring.accuracy(labels, difference > 0):.2f}%  '
        + ', '.join(
            f'{count} {name.replace("_", " ")}' for name, count in scoring.confusion(labels, difference > 0).items()
        )
    )
    constant, _ = scoring.commonest_decision(labels)
    print(f'accuracy of always saying "{constant}": {scoring.constant_accuracy(labels):.2f}%')


NAMES = {
    'auc': 'AuC', 'average_precision': 'average precision', 'eer': 'equal error rate', 'accuracy': 'accuracy, %',
    'balanced_accuracy': 'balanced accuracy, %', 'tpr_at_1_percent_fpr': 'fakes found at 1% false alarms',
    'brier': 'Brier score', 'calibration_error': 'calibration error (ECE)',
}  # fmt: skip


def print_summary(summary: dict[str, dict], threshold: float | None, units: str) -> None:
    """Every metric of the decision with its interval, and what a constant predictor gets."""
    if not summary:
        return
    threshold = 'P(fake) above 0.5' if threshold is None else f'its logit above {threshold:.3f} (chosen on val)'
    print(f'\nP(fake); called fake: {threshold}; intervals over {units}')
    print(f'{"":34}{"value":>8}{"95% interval":>20}{"constant predictor":>20}')
    for name, row in summary.items():
        interval = '-' if row['interval'] is None else '{:.3f} to {:.3f}'.format(*row['interval'])
        print(f'{NAMES[name]:34}{row["value"]:8.3f}{interval:>20}{row["constant"]:20.3f}')


class Scored(NamedTuple):
    """The outputs for one part, without the files that could not be read."""

    part: Part
    files: list[str]
    outputs: np.ndarray
    labels: np.ndarray

    @property
    def logits(self) -> np.ndarray:
        """Of P(fake): the difference of two scores, or the single logit."""
        return scoring.fake_logits(self.outputs)


def open_part(detector: Detector, args: argparse.Namespace, name: str) -> tuple[Dataset, dict[str, str]]:
    """A part as the detector takes it, and the files left out because they cannot be read."""
    parts, left_out = detectors.open_parts(
        args.dataset, [name], detector.preprocessing, args.skip_broken, both_classes=False
    )
    return parts[name], {str(Path(path).relative_to(parts[name].root_path)): why for path, why in left_out.items()}


def score(detector: Detector, args: argparse.Namespace, name: str, opened: Dataset, left_out: dict[str, str]) -> Scored:
    """Score a part and write the record."""
    outputs, labels = detector.outputs_of(opened)
    scored = Scored(Part.of(args.dataset, name, opened), files_of(opened), outputs, labels)
    path = detector.scores_path(OUTPUT_DIR, scored.part)
    write = distributed.on_first(detector.write_scores)
    write(path, detector.score_key(scored.part), scored.part, scored.files, outputs, left_out)
    print(f'Wrote {path}')
    return scored


def write_csv(detector: Detector, all_scored: Sequence[Scored]) -> None:
    """The scores as a table; `--scores FILE --scores-mean fake-logit` of other commands takes it back."""
    rows = [
        {'file': f'{Path(scored.part.dataset).name}/{scored.part.name}/{file}', 'label': CLASSES[label],
         'score': float(logit), 'p_fake': float(probability)}
        for scored in all_scored
        for file, label, logit, probability in zip(
            scored.files, scored.labels, scored.logits, scoring.fake_probability(scored.outputs), strict=True
        )
    ]  # fmt: skip
    path = records.scores_csv_path(OUTPUT_DIR, detector.file.stem, all_scored[0].part.dataset)
    records.write_csv(path, ('file', 'label', 'score', 'p_fake'), rows)
    print(f'Wrote {path}')


def write_metrics(detector: Detector, test: Scored, threshold: float | None, summary: dict[str, dict]) -> None:
    path = records.metrics_path(OUTPUT_DIR, detector.file.stem, test.part.dataset)
    records.write_json(
        path,
        {
            **detector.training,
            'model': detector.name,
            'dataset': test.part.dataset,
            **detector.score_key(test.part),
            **test.part.counts(test.files),
            'groups': len(set(test.part.groups(test.files))),
            'groups_from': test.part.groups_from,
            'threshold': threshold or 0.0,
            'threshold_from': 'none' if threshold is None else 'val',
            'metrics': summary,
        },
    )
    print(f'Wrote {path}')


def draw_figures(detector: Detector, heading: str, test: Scored, first: np.ndarray, second: np.ndarray) -> None:
    figures = {
        'roc_curve': lambda figure: plot_roc_curve(figure, first, second, test.labels),
        'det_curve': lambda figure: plot_det_curve(figure, first, second, test.labels),
        'reliability': lambda figure: plots.plot_reliability(test.labels, test.logits, figure.gca()),
        'risk_and_coverage': lambda figure: plots.plot_risk_and_coverage(test.labels, test.logits, figure.gca()),
    }
    for name, plot in figures.items():
        with plots.style():
            figure = plots.new_figure(height=5.4, width=4.6)
            plot(figure)
            figure.gca().set_title(heading)
            path = records.figure_path(FIGURES_DIR, test.part.dataset, detector.name, name)
            plots.save(figure, path, [detector.training])


@distributed.together
def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    options.apply(args)
    detector = detectors.load_detector(args.checkpoint_path, args.model)
    # The threshold is a choice, and choices are made on the validation part.
    threshold, all_scored = None, []
    try:  # only what all of several processes meet alike
        opened = open_part(detector, args, 'val')
    except UserError as error:  # the test part can be scored without it
        print(f'No threshold is chosen: {error}')
    else:
        validation = score(detector, args, 'val', *opened)
        threshold = scoring.best_threshold(validation.labels, validation.logits)
        all_scored.append(validation)
    test = score(detector, args, 'test', *open_part(detector, args, 'test'))
    if not distributed.is_first():
        return
    if args.csv:
        write_csv(detector, [*all_scored, test])

    first, second = scoring.two_columns(test.outputs).T
    heading = plots.heading(detector.name, args.dataset, detector.run)
    print(f'\n{heading}: {np.sum(test.labels == 0)} real and {np.sum(test.labels == 1)} fake images')
    print_table(first, second, test.labels)
    groups = test.part.groups(test.files)
    summary = scoring.summary(test.labels, test.logits, groups, threshold or 0.0)
    units = f'{len(set(groups))} groups' if test.part.group_of else 'images, as no groups are known'
    print_summary(summary, threshold, units)
    write_metrics(detector, test, threshold, summary)

    draw_figures(detector, heading, test, first, second)


if __name__ == '__main__':
    sys.exit(starting.run(main))
