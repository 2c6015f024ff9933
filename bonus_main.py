"""Evaluate the bonus network on fakes_dataset's test part: accuracy, AuC, parameters and report 2's score:

python bonus_main.py
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import detectors
import options
from bonus_model import my_bonus_model
from common import OUTPUT_DIR
from forensics import records
from forensics.data import datasets
from forensics.data.parts import Part
from forensics.judging import scoring
from forensics.running import runtime, starting
from utils import get_nof_params

DATASET = 'fakes_dataset'


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = options.parser(__doc__)
    options.add_data_root(parser)
    options.add_device(parser)
    return parser.parse_args(argv)


def main(argv: Sequence[str] = ()) -> tuple[float, int]:
    """(accuracy in percent on the test part, number of parameters).

    `argv` is empty by default, because a grader's script calls this, and its command line is not ours.
    """
    options.apply(parse_args(argv))
    model = my_bonus_model().to(runtime.device())
    parameters = get_nof_params(model)
    detector = detectors.NetworkDetector(model, 'BonusNet')
    opened = detectors.open_part(DATASET, 'test', detector.preprocessing)
    first, second, labels = detector.score_dataset(opened)

    accuracy = scoring.accuracy(labels, second > first)
    constant, _ = scoring.commonest_decision(labels)
    print(f'The bonus network on {DATASET}, test: {sum(labels == 0)} real and {sum(labels == 1)} fake images')
    print(f'accuracy:   {accuracy:.2f}%  (always "{constant}": {scoring.constant_accuracy(labels):.2f}%)')
    result = {
        'dataset': DATASET,
        'data_source': datasets.read_card(Part.of(DATASET, 'test', opened).home).get('source'),
        'accuracy': accuracy,
        'constant_accuracy': scoring.constant_accuracy(labels),
        'auc': scoring.auc(labels, second - first),
        'parameters': parameters,
        'score': None,
    }
    print(f'parameters: {parameters:,}')
    if result['auc'] is None:
        print(f'AuC:        undefined: {scoring.undefined(labels, second - first)}')
    else:
        low, high = scoring.auc_interval(labels, second - first)
        result['score'] = scoring.bonus_score(100 * result['auc'], parameters)
        print(f'AuC:        {result["auc"]:.4f}  (95% interval {low:.3f} to {high:.3f})')
        print(f'score:      {result["score"]:.3g}  = 1 / (1 + log10(parameters)) * 100 ** (10 * (AuC% - 90) / 100)')
    path = Path(OUTPUT_DIR) / 'bonus.json'
    records.write_json(path, result)
    print(f'Wrote {path}')
    return accuracy, parameters


if __name__ == '__main__':
    sys.exit(starting.run(lambda: main(sys.argv[1:])))
