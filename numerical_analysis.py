"""Score a data set's test part with a trained detector and draw its ROC and DET curves:

python numerical_analysis.py -m SimpleNet -cpp checkpoints/fakes_dataset_SimpleNet_Adam.pt -d fakes_dataset

A file of train_svm.py (.npz) is taken too. It says itself what it holds, so that -m does not matter.
"""

import argparse
import sys
from pathlib import Path

import numpy as np
from torch import nn
from torch.utils.data import Dataset

import detectors
import options
from common import FIGURES_DIR, OUTPUT_DIR
from forensics import records
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


def print_table(first, second, labels, threshold: float | None) -> None:
    """Print AuC, AP, EER and accuracy, and the constant predictor's accuracy beside them."""
    print(f'{"":26}{"AuC":>7}{"95% interval":>18}{"AP":>8}{"EER":>8}')
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
    if threshold is not None:
        print(
            f'accuracy, difference above {threshold:.3f} (chosen on val): '
            f'{scoring.accuracy(labels, difference > threshold):.2f}%'
        )
    constant, _ = scoring.commonest_decision(labels)
    print(f'accuracy of always saying "{constant}": {scoring.constant_accuracy(labels):.2f}%')


def open_part(detector: Detector, args: argparse.Namespace, name: str) -> tuple[Dataset, dict[str, str]]:
    """A part as the detector takes it, and the files left out because they cannot be read."""
    parts, left_out = detectors.open_parts(
        args.dataset, [name], detector.preprocessing, args.skip_broken, both_classes=False
    )
    return parts[name], {str(Path(path).relative_to(parts[name].root_path)): why for path, why in left_out.items()}


def score(
    detector: Detector, args: argparse.Namespace, name: str, opened: Dataset, left_out: dict[str, str]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Score a part and write the record; return (first scores, second scores, labels)."""
    outputs, labels = detector.outputs_of(opened)
    part = Part.of(args.dataset, name, opened)
    path = detector.scores_path(OUTPUT_DIR, part)
    write = distributed.on_first(detector.write_scores)
    write(path, detector.score_key(part), part, files_of(opened), outputs, left_out)
    print(f'Wrote {path}')
    return *scoring.two_columns(outputs).T, labels


@distributed.together
def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    options.apply(args)
    detector = detectors.load_detector(args.checkpoint_path, args.model)
    # The threshold is a choice, and choices are made on the validation part.
    threshold = None
    try:  # only what all of several processes meet alike
        validation = open_part(detector, args, 'val')
    except UserError as error:  # the test part can be scored without it
        print(f'No threshold is chosen: {error}')
    else:
        first, second, labels = score(detector, args, 'val', *validation)
        threshold = scoring.best_threshold(labels, second - first)
    first, second, labels = score(detector, args, 'test', *open_part(detector, args, 'test'))
    if not distributed.is_first():
        return

    heading = plots.heading(detector.name, args.dataset, detector.run)
    print(f'\n{heading}: {np.sum(labels == 0)} real and {np.sum(labels == 1)} fake images')
    print_table(first, second, labels, threshold)

    for name, plot in (('roc_curve', plot_roc_curve), ('det_curve', plot_det_curve)):
        with plots.style():
            figure = plot(plots.new_figure(height=5.4, width=4.6), first, second, labels)
            figure.gca().set_title(heading)
            plots.save(figure, records.figure_path(FIGURES_DIR, args.dataset, detector.name, name))


if __name__ == '__main__':
    sys.exit(starting.run(main))
