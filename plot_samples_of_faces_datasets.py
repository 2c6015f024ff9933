"""Draw a few real and fake faces of both data sets to figures/datasets_samples.png:

python plot_samples_of_faces_datasets.py
"""

import argparse
import random
import sys
from pathlib import Path

import options
from common import FIGURES_DIR
from forensics.data.datasets import CLASSES
from forensics.data.parts import Part
from forensics.judging import plots
from forensics.pictures.files import open_image
from forensics.running import starting

DATASETS = ('fakes_dataset', 'synthetic_dataset')
PART = 'train'
SAMPLES_A_ROW = 6


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = options.parser(__doc__)
    options.add_seed(parser)
    options.add_data_root(parser)
    return parser.parse_args(argv)


def plot_samples(paths: list[Path], label: str, axes) -> None:
    """One class's row of pictures; an empty class says so."""
    for ax in axes:
        ax.set_axis_off()
    if not paths:
        plots.plot_message(f'no {label} image', axes[0])
    for path, ax in zip(paths, axes, strict=False):
        ax.set_axis_on()
        plots.plot_image(open_image(path), ax, label=CLASSES.index(label))


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    options.use_data_root(args)
    choose = random.Random(args.seed)
    with plots.style():
        figure = plots.new_figure(height=5.2)
        for name, block in zip(DATASETS, figure.subfigures(len(DATASETS), 1), strict=True):
            part = Part.find(name, PART)
            print(f'{name}: {part.folder}')
            counts = part.counts()
            block.suptitle(f'{name}, {PART}: {counts["real"]} real, {counts["fake"]} fake')
            for label, axes in zip(CLASSES, block.subplots(2, SAMPLES_A_ROW), strict=True):
                members = [part.folder / file for file in part.files_of_class(label)]
                plot_samples(choose.sample(members, min(SAMPLES_A_ROW, len(members))), label, axes)
                axes[0].set_ylabel(label, color=plots.CLASS_COLOURS[label])
        plots.save(figure, Path(FIGURES_DIR) / 'datasets_samples.png')


if __name__ == '__main__':
    sys.exit(starting.run(main))
