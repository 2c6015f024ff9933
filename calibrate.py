"""Fit a trained network's temperature, its threshold and the band in which it is unsure, on validation, and store them
in its checkpoint:

python calibrate.py -cpp checkpoints/fakes_dataset_SimpleNet_Adam.pt
python calibrate.py -cpp checkpoints/fakes_dataset_SimpleNet_Adam.pt --false-alarms 0.01 --wrong 0.02
python calibrate.py -cpp checkpoints/fakes_dataset_SimpleNet_Adam.pt -o mine.safetensors
"""

import argparse
import sys

import numpy as np

import detectors
import options
from forensics import records
from forensics.data import datasets
from forensics.data.parts import Part
from forensics.errors import UserError
from forensics.judging import calibration, scoring
from forensics.running import starting

USELESS = 100  # a temperature that leaves every P(fake) at one half


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = options.parser(__doc__)
    options.add_checkpoint(parser)
    parser.add_argument(
        '-d',
        '--dataset',
        nargs='+',
        dest='datasets',
        metavar='NAME',
        help='data sets whose val parts are taken (default: those that it was trained on)',
    )
    parser.add_argument(
        '--false-alarms',
        type=options.share,
        default=0.05,
        metavar='SHARE',
        help='of the real pictures of each data set, at most this share is called fake (default: %(default)s)',
    )
    parser.add_argument(
        '--wrong',
        type=options.share,
        default=0.05,
        metavar='SHARE',
        help='of the answers real and of the answers fake, at most this share is wrong (default: %(default)s)',
    )
    parser.add_argument(
        '-o',
        '--output',
        metavar='FILE',
        help='write the calibrated checkpoint there: .pt, or .safetensors, which holds plain data only (default: '
        'into the checkpoint itself)',
    )
    options.add_skip_broken(parser)
    options.add_data_root(parser)
    options.add_device(parser)
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    options.apply(args)
    records.check_writable(args.output or args.checkpoint_path)
    checkpoint = records.load_checkpoint(args.checkpoint_path)
    detector = detectors.load_network(args.checkpoint_path)
    detector.run.pop('calibration', None)  # an older one would change the outputs
    names = args.datasets or with_val(detector.datasets)
    if not names:
        raise UserError(f'{args.checkpoint_path} names no data set with a val part: name one, with -d.')
    scored = {name: scores_of(detector, name, args.skip_broken) for name in names}
    fitted = fit(scored, args.false_alarms, args.wrong)
    fitted['chosen_on'] = {name: Part.find(name, 'val').facts() for name in names}
    checkpoint['run'] = {**detector.run, 'calibration': records.plain(fitted)}
    path = args.output or args.checkpoint_path
    records.save_checkpoint(path, checkpoint)
    print(f'Stored in {path}.')


def with_val(names: list[str]) -> list[str]:
    return [name for name in names if (datasets.find_dataset(name) / 'val').is_dir()]


def scores_of(detector: detectors.NetworkDetector, name: str, skip_broken: bool) -> tuple[np.ndarray, np.ndarray]:
    """(outputs, labels) of the val part."""
    return detector.outputs_of(detectors.open_part(name, 'val', detector.preprocessing, skip_broken))


def fit(scored: dict[str, tuple[np.ndarray, np.ndarray]], false_alarms: float, wrong: float) -> dict:
    logits = np.concatenate([scoring.fake_logits(outputs) for outputs, _ in scored.values()])
    labels = np.concatenate([labels for _, labels in scored.values()])
    sources = np.concatenate([[name] * len(labels) for name, (_, labels) in scored.items()])
    temperature = calibration.fit_temperature(labels, logits)
    probabilities = scoring.fake_probability(logits / temperature)
    threshold = calibration.fit_threshold(labels, probabilities, sources, false_alarms)
    low, high = calibration.fit_band(labels, probabilities, threshold, wrong)
    print(f'temperature {temperature:.3f}')
    if temperature > USELESS:
        print('The scores say next to nothing of who is real in validation: this detector has not learned these data.')
    print(
        f'threshold {threshold:.3f}: of the real pictures of each data set at most {false_alarms:.0%} are called fake'
    )
    print(
        f'unsure from {low:.3f} to {high:.3f}: outside, at most {wrong:.0%} of either answer are wrong, where real and '
        f'fake pictures are equally frequent'
    )
    print('| validation | real called fake | fake found | unsure |\n|---|---|---|---|')
    for name in scored:
        own, chance = labels[sources == name], probabilities[sources == name]
        called = 100 * (chance >= threshold)
        unsure = 100 * np.mean((chance > low) & (chance < high))
        print(f'| {name} | {called[own == 0].mean():.1f}% | {called[own == 1].mean():.1f}% | {unsure:.1f}% |')
    return {
        'temperature': temperature,
        'threshold': threshold,
        'unsure': [low, high],
        'false_alarms': false_alarms,
        'wrong': wrong,
    }


if __name__ == '__main__':
    sys.exit(starting.run(main))
