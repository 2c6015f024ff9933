"""Count the parameters that questions 21, 22 and 24 ask for, and those of every network of the project:

python nof_params.py
"""

import argparse
import sys
from pathlib import Path

import options
from common import OUTPUT_DIR
from forensics import records
from forensics.running import starting
from models import MODELS, build_model
from utils import get_nof_params
from xception import build_xception_backbone


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    return options.parser(__doc__).parse_args(argv)


def count_parameters() -> dict:
    """Counts of networks with random weights: the numbers are the same, and nothing is downloaded."""
    backbone = build_xception_backbone(pretrained=False)
    xception = get_nof_params(backbone)
    networks = {name: get_nof_params(build_model(name, backbone_weights='none')) for name in MODELS}
    return {
        'fc_input': backbone.fc.in_features,
        'Xception': xception,
        'added_by_the_head': networks['XceptionBased'] - xception,
        'networks': networks,
    }


def main(argv: list[str] | None = None) -> None:
    parse_args(argv)
    counts = count_parameters()
    print(f"Question 21, input dimension of Xception's fc:  {counts['fc_input']:>12,}")
    print(f'Question 22, parameters of Xception:            {counts["Xception"]:>12,}')
    print(f'Question 24, parameters added by the new head:  {counts["added_by_the_head"]:>12,}')
    for name, parameters in counts['networks'].items():
        print(f'{name:48}{parameters:>12,}')
    path = Path(OUTPUT_DIR) / 'nof_params.json'
    records.write_json(path, counts)
    print(f'Wrote {path}')


if __name__ == '__main__':
    sys.exit(starting.run(main))
