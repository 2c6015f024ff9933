"""Print the answers to the assignment's number questions; `make_report.py` has them all, with figures:

python answer_questions.py
"""

import argparse
import sys
from pathlib import Path

import options
from common import CHECKPOINT_DIR, FIGURES_DIR, OUTPUT_DIR
from forensics.reporting import assignment
from forensics.reporting.evidence import Evidence
from forensics.reporting.page import as_text
from forensics.running import starting


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    return options.parser(__doc__).parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    parse_args(argv)
    evidence = Evidence(OUTPUT_DIR, CHECKPOINT_DIR)
    print(f"The assignment's number questions, answered from the records in {OUTPUT_DIR}/:\n")
    for question in assignment.QUESTIONS:
        if question.answer:
            print(f'{question.number:>5}  {question.asks}\n       {as_text(assignment.measured(question, evidence))}')
    figures = sorted(Path(FIGURES_DIR).glob('*.png'))
    print(f'\nFigures ({len(figures)}) are in {FIGURES_DIR}/: datasets_samples.png (question 2) and '
          '{dataset}_{model}_ ...\n'
          '       losses_plot, accuracies_plot (7, 13, 26); roc_curve, det_curve (10, 28);\n'
          '       reliability, risk_and_coverage;\n'
          '       saliency_maps_and_images_pairs, mean_saliency_maps (32);\n'
          '       Real_Image_grad_cam, Fake_Image_grad_cam (35)')  # fmt: skip


if __name__ == '__main__':
    sys.exit(starting.run(main))
