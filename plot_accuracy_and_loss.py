"""Draw the loss and the accuracy over the epochs of a training run:

python plot_accuracy_and_loss.py -m SimpleNet -j out/fakes_dataset_SimpleNet_Adam.json -d fakes_dataset
"""

import argparse
import sys
from pathlib import Path

import options
from common import FIGURES_DIR
from forensics import records
from forensics.errors import UserError
from forensics.judging import plots, scoring
from forensics.running import starting


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = options.parser(__doc__)
    options.add_model(parser)
    options.add_dataset(parser)
    parser.add_argument(
        '-j',
        '--train_details_json',
        required=True,
        help='the log that train_main.py wrote; its last run is drawn',
    )
    return parser.parse_args(argv)


def check(run: dict, path: str) -> None:
    curves = [f'{part}_{quantity}' for part in plots.PART_COLOURS for quantity in ('loss', 'acc')]
    missing = [key for key in ('model', 'dataset', *curves) if key not in run]
    if missing:
        raise UserError(f'The last run in {path} lacks {", ".join(missing)}; make it with `python train_main.py ...`.')
    lengths = {len(run[curve]) for curve in curves}
    if lengths == {0} or len(lengths) > 1:
        raise UserError(
            f'The curves of the last run in {path} are empty or differ in length; '
            'make it again with `python train_main.py ...`.'
        )


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    run = records.last_run(args.train_details_json)
    check(run, args.train_details_json)
    training = records.training_facts(Path(args.train_details_json).stem, run.get('run') or {})
    with plots.style():
        for name, draw in (('losses_plot', plots.plot_losses), ('accuracies_plot', plots.plot_accuracies)):
            figure = plots.new_figure(height=3.6)
            extra = (scoring.run_constant_accuracy(run),) if draw is plots.plot_accuracies else ()
            draw(run, figure.subplots(), *extra)
            plots.save(figure, records.figure_path(FIGURES_DIR, args.dataset, args.model, name), [training])


if __name__ == '__main__':
    sys.exit(starting.run(main))
