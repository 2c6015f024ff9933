"""Answer the assignment's number questions from the records that the other commands have written:

python answer_questions.py
"""

import argparse
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

import options
from common import FIGURES_DIR, OUTPUT_DIR
from forensics import records
from forensics.errors import UserError
from forensics.judging import scoring
from forensics.running import starting

# From this share of equal decisions on, a classifier is called constant.
CONSTANT_SHARE = 0.98
# data set, model and epochs of the assignment's three trainings
FAKES = ('fakes_dataset', 'SimpleNet', 5)
SYNTHETIC = ('synthetic_dataset', 'SimpleNet', 5)
XCEPTION = ('synthetic_dataset', 'XceptionBased', 2)


class Question(NamedTuple):
    number: str
    text: str
    record: Path
    command: str  # makes the record
    answer: Callable[[Path], str]


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    return options.parser(__doc__).parse_args(argv)


# --- answers, each from one record -------------------------------------------------------------------------


def best_accuracy(path: Path) -> str:
    run = records.last_run(path)
    best = records.best_epoch(run)
    answer = f'{run["test_acc"][best]:.2f}% (epoch {best + 1}, validation {run["val_acc"][best]:.2f}%)'
    constant = scoring.run_constant_accuracy(run)
    if constant is not None:
        answer += f'; a constant predictor: {constant:.2f}%'
    return answer + origin(run.get('run', {}).get('backbone_weights'))


def proportion(path: Path) -> str:
    labels = np.asarray(records.read_scores(path)['labels'])
    real, fake = int(np.sum(labels == 0)), int(np.sum(labels == 1))
    return f'{fake} to {real}' + (f' = {fake / real:.2f}' if real else '')


def scores_and_labels(record: dict) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    first, second = scoring.two_columns(record['scores']).T
    return first, second, np.asarray(record['labels'])


def aucs(path: Path) -> str:
    record = records.read_scores(path)
    first, second, labels = scores_and_labels(record)
    if scoring.undefined(labels, second - first):
        return f'undefined: {scoring.undefined(labels, second - first)}'
    values = {name: scoring.auc(labels, scores) for name, scores in scoring.three_scores(first, second).items()}
    answer = ', '.join(f'{name} {value:.3f}' for name, value in values.items())
    answer += f' (first + second = {values["first"] + values["second"]:.3f})'
    return answer + origin(record.get('backbone_weights'))


def origin(weights: str | None) -> str:
    """A warning for the answer if the backbone began with random weights."""
    return '; the backbone began with RANDOM weights' if weights == 'random' else ''


def kind_of_classifier(path: Path) -> str:
    first, second, labels = scores_and_labels(records.read_scores(path))
    decision, share = scoring.commonest_decision(second > first) or ('nothing', 0.0)
    measured = f'{share:.1%} of the {len(labels)} test images are called {decision}'
    interval = scoring.auc_interval(labels, second - first)
    if interval:
        measured += f', AuC {scoring.auc(labels, second - first):.3f} (95%: {interval[0]:.3f} to {interval[1]:.3f})'
    if share >= CONSTANT_SHARE:
        return f'a constant predictor: {measured}'
    if interval and interval[0] <= 0.5 <= interval[1]:
        return f'no better than chance: {measured}'
    return f'no constant predictor: {measured}'


def parameters(key: str, path: Path) -> str:
    return f'{records.read_json(path)[key]:,}'


def bonus_pair(path: Path) -> str:
    bonus = records.read_json(path)
    answer = f'accuracy {bonus["accuracy"]:.2f}%, {bonus["parameters"]:,} parameters'
    if bonus['auc'] is not None:
        answer += f"; AuC {bonus['auc']:.4f}, report 2's score {bonus['score']:.3g}"
    return answer


# --- the table ---------------------------------------------------------------------------------------------


def questions() -> list[Question]:
    def about_training(number: str, training: tuple[str, str, int]) -> Question:
        dataset, model, epochs = training
        command = f'python train_main.py -d {dataset} -m {model} --lr 0.001 -b 32 -e {epochs} -o Adam'
        path = records.log_path(OUTPUT_DIR, records.run_name(dataset, model, 'Adam'))
        text = f'{model} on {dataset}: test accuracy at the best validation accuracy'
        return Question(number, text, path, command, best_accuracy)

    def about_scores(number: str, text: str, training: tuple[str, str, int], answer: Callable) -> Question:
        dataset, model, _ = training
        name = records.run_name(dataset, model, 'Adam')
        command = f'python numerical_analysis.py -m {model} -cpp checkpoints/{name}.pt -d {dataset}'
        return Question(number, text, records.scores_path(OUTPUT_DIR, name, dataset), command, answer)

    def about_parameters(number: str, text: str, key: str) -> Question:
        path = Path(OUTPUT_DIR) / 'nof_params.json'
        return Question(number, text, path, 'python nof_params.py', partial(parameters, key))

    return [
        about_training('8', FAKES),
        about_scores('9', 'fakes_dataset, test: fake to real images', FAKES, proportion),
        about_scores('10', 'SimpleNet on fakes_dataset: AuC of the scores', FAKES, aucs),
        about_training('14', SYNTHETIC),
        about_scores('15', 'synthetic_dataset, test: synthetic to real images', SYNTHETIC, proportion),
        about_scores('16', 'SimpleNet on synthetic_dataset: what kind of classifier', SYNTHETIC, kind_of_classifier),
        about_parameters('21', "input dimension of Xception's fc", 'fc_input'),
        about_parameters('22', "Xception's parameters", 'Xception'),
        about_parameters('24', 'parameters that the new head adds', 'added_by_the_head'),
        about_training('27', XCEPTION),
        about_scores('28', 'XceptionBased on synthetic_dataset: AuC of the scores', XCEPTION, aucs),
        Question('bonus', 'the bonus network on fakes_dataset, test', Path(OUTPUT_DIR) / 'bonus.json',
                 'python bonus_main.py', bonus_pair),
    ]  # fmt: skip


def answer(question: Question) -> str:
    if not question.record.exists():
        return f'not known yet; run `{question.command}`'
    try:
        return question.answer(question.record)
    except UserError as error:
        return str(error)
    except (KeyError, TypeError, ValueError) as error:
        return f'{question.record} is not as expected ({error!r}); run `{question.command}`'


def main(argv: list[str] | None = None) -> None:
    parse_args(argv)
    print(f"The assignment's number questions, answered from the records in {OUTPUT_DIR}/:\n")
    for question in questions():
        print(f'{question.number:>5}  {question.text}\n       {answer(question)}')
    figures = sorted(Path(FIGURES_DIR).glob('*.png'))
    print(f'\nFigures ({len(figures)}) are in {FIGURES_DIR}/: datasets_samples.png (question 2) and '
          '{dataset}_{model}_ ...\n'
          '       losses_plot, accuracies_plot (7, 13, 26); roc_curve, det_curve (10, 28);\n'
          '       reliability, risk_and_coverage;\n'
          '       saliency_maps_and_images_pairs, mean_saliency_maps (32);\n'
          '       Real_Image_grad_cam, Fake_Image_grad_cam (35)')  # fmt: skip


if __name__ == '__main__':
    sys.exit(starting.run(main))
