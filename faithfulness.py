"""Can the explanations of a detector be believed? Every method's maps, against random ones and scrambled weights:

python faithfulness.py -cpp checkpoints/fakes_dataset_SimpleNet_Adam.pt -d fakes_dataset

Takes away from the test pictures what a map marks, and looks how P(explained class) falls, beside a random map of the
same smoothness; and compares the map with that of the same network with its weights in another order. Takes a network
(.pt) or an exported one (.onnx). How to read the table: docs/explanations.md.
"""

import argparse
import copy
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image

import detectors
import models
import options
from common import FIGURES_DIR, OUTPUT_DIR
from forensics import records
from forensics.data import datasets
from forensics.data.parts import Part, files_of
from forensics.errors import UserError
from forensics.judging import explaining, exported, faithfulness, maps, plots, scoring
from forensics.judging.benchmark_figures import LINE_COLOURS, LINE_MARKERS
from forensics.judging.detector import Detector, Doubts
from forensics.judging.explaining import Explained
from forensics.judging.exported import ExportedDetector
from forensics.running import memory, starting
from forensics.running.progress import Progress

# (picture, label of the class to be explained) -> what speaks for it, a value a pixel
Explain = Callable[[Image.Image, int], np.ndarray]


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = options.parser(__doc__)
    options.add_checkpoint(parser)
    parser.add_argument('-m', '--model', metavar='NAME', help="only for a stranger's checkpoint, which does not say it")
    options.add_dataset(parser)
    parser.add_argument(
        '--images', type=options.positive, default=100, metavar='N', help='of the test part (default: %(default)s)'
    )
    parser.add_argument(
        '--scrambled',
        type=options.non_negative,
        default=20,
        metavar='N',
        help='of them, for the check with scrambled weights (default: %(default)s)',
    )
    options.add_skip_broken(parser)
    options.add_process_wide(parser)
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    options.apply(args)
    memory.tune_allocator()
    detector = load(args)
    name = detector.file.stem if detector.file.suffix == '.pt' else detector.file.name
    path = records.faithfulness_path(OUTPUT_DIR, name, args.dataset)
    records.check_writable(path)
    part, pictures = open_pictures(args, detector)
    found = measure(detector, pictures, args.scrambled, args.seed)
    files, methods = [picture.file for picture in pictures], summaries(found, part, args.seed)
    records.write_faithfulness(
        path,
        methods,
        **{**detector.training, 'detector': name},
        model=detector.name,
        dataset=part.dataset,
        data_source=datasets.read_card(part.home).get('source'),
        data_fingerprint=part.fingerprint,
        seed=args.seed,
        files=files,
        shares=faithfulness.SHARES,
        answer=found.answer,
    )
    print_table(methods, found.answer)
    print(f'Wrote {path}')
    draw(records.read_faithfulness(path), detector)


def load(args: argparse.Namespace) -> Detector:
    detector = detectors.load_detector(args.checkpoint_path, args.model)
    if not isinstance(detector, (detectors.NetworkDetector, ExportedDetector)):
        raise UserError(f'{args.checkpoint_path} is no network: only networks (.pt, .onnx) are explained here.')
    return detector


class Picture(NamedTuple):
    file: str
    image: Image.Image


def open_pictures(args: argparse.Namespace, detector: Detector) -> tuple[Part, list[Picture]]:
    """Both classes equally often, in random order, so that the first ones are a fair choice, too."""
    half = -(-args.images // 2)
    choice = {'at_most': half, 'seed': args.seed}
    dataset = detectors.open_part(args.dataset, 'test', detector.preprocessing, args.skip_broken, **choice)
    if not len(dataset):
        raise UserError(f'The test part of {args.dataset} holds no image to explain.')
    files, order = files_of(dataset), np.random.default_rng(args.seed).permutation(len(dataset))
    chosen = [Picture(files[index], dataset.load(index)[0].convert('RGB')) for index in order[: args.images]]
    return Part.of(args.dataset, 'test', dataset), chosen


# --- the methods of each kind of detector ------------------------------------------------------------


def methods_of(detector: Detector) -> dict[str, Explain]:
    if isinstance(detector, ExportedDetector):
        cells = {'evidence': maps.evidence} if detector.has_evidence else {}
        return {
            name: partial(map_of_cells, detector, each)
            for name, each in (cells | {'occlusion': maps.occlusion}).items()
        }
    model = detector.model
    explained = Explained(model, models.cam_layer(detector.name, model), partial(models.activations_as_maps, model))
    return {name: partial(map_of_network, detector, explained, name) for name in explaining.METHODS}


def map_of_network(detector, explained: Explained, method: str, image: Image.Image, label: int) -> np.ndarray:
    heat = explaining.maps(method, detector.transform(image)[None], torch.tensor([label]), explained)[0].numpy()
    return heat if heat.shape == image.size[::-1] else maps.enlarged(heat, image.size)


def map_of_cells(detector: ExportedDetector, cells: Callable, image: Image.Image, label: int) -> np.ndarray:
    heat = maps.enlarged(cells(detector, [image])[0], image.size)
    return heat if label else -heat


def scrambled(detector: Detector, seed: int) -> Detector:
    """The detector with the weights of each of its layers in another order."""
    other = copy.copy(detector)
    if isinstance(detector, ExportedDetector):
        other.session = exported.start_session(detector.file, scrambled_graph(detector.file, seed))
    else:
        other.model = explaining.scrambled(detector.model, seed)
    return other


def scrambled_graph(path: Path, seed: int) -> bytes:
    import onnx

    graph, rng = onnx.load(path), np.random.default_rng(seed)
    weights = (onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16, onnx.TensorProto.INT8)
    for tensor in graph.graph.initializer:
        if tensor.data_type in weights:
            values = onnx.numpy_helper.to_array(tensor)
            tensor.CopyFrom(
                onnx.numpy_helper.from_array(rng.permuted(values.ravel()).reshape(values.shape), tensor.name)
            )
    return graph.SerializeToString()


# --- measuring ------------------------------------------------------------


class Found(NamedTuple):
    """For each method a list: the curves (None of a blank map), and the correlations with the scrambled network's."""

    files: list[str]
    curves: dict[str, list[dict | None]]
    correlations: dict[str, list[float | None]]
    answer: dict[str, float]  # mean P(explained class) of the whole picture and of nothing


def measure(detector: Detector, pictures: list[Picture], nof_scrambled: int, seed: int) -> Found:
    methods, others = methods_of(detector), methods_of(scrambled(detector, seed))
    curves, correlations = {name: [] for name in methods}, {name: [] for name in methods}
    answers = []
    for number, (_, image) in enumerate(Progress(pictures, len(pictures), 'pictures')):
        pixels, label = np.asarray(image), int(probability(detector, [image], 1)[0] > 0.5)
        score = partial(score_of, detector, label)
        answers.append(score([pixels, faithfulness.nothing_of(pixels)]))
        for name, explain in methods.items():
            heat, rng = explain(image, label), np.random.default_rng([seed, number])
            blank = faithfulness.blank(heat)
            curves[name].append(None if blank else faithfulness.curves(score, pixels, heat, rng))
            if number < nof_scrambled and not blank:
                correlations[name].append(faithfulness.rank_correlation(heat, others[name](image, label)))
    whole, nothing = np.mean(answers, axis=0)
    return Found([picture.file for picture in pictures], curves, correlations, {'whole': whole, 'nothing': nothing})


def score_of(detector: Detector, label: int, pictures: list[np.ndarray]) -> np.ndarray:
    return probability(detector, [Image.fromarray(picture) for picture in pictures], label)


def probability(detector: Detector, images: list[Image.Image], label: int) -> np.ndarray:
    """P of this class for each image."""
    fake = scoring.fake_probability(detector.outputs(images, Doubts()))
    return fake if label else 1 - fake


def summaries(found: Found, part: Part, seed: int) -> dict[str, dict]:
    groups = part.groups(found.files)
    return {
        name: faithfulness.summary(rows, found.correlations[name], groups, seed) for name, rows in found.curves.items()
    }


# --- telling ------------------------------------------------------------


def print_table(methods: dict[str, dict], answer: dict[str, float]) -> None:
    print(f'{"":22}{"deletion":>10}{"insertion":>11}{"random":>16}{"above random":>26}{"scrambled":>11}')
    for name, row in methods.items():
        if row['images']:
            low, high = row['interval'] or (np.nan, np.nan)
            above = f'{row["difference"]:+.3f} ({low:+.3f} to {high:+.3f})'
            chance, same = (
                f'{row["random_deletion"]:.3f} {row["random_insertion"]:.3f}',
                row['scrambled']['correlation'],
            )
            print(
                f'{name:22}{row["deletion"]:10.3f}{row["insertion"]:11.3f}{chance:>16}'
                f'{above:>26}'
                f'{"-" if same is None else f"{same:.2f}":>11}'
            )
        print(f'  {name}: {faithfulness.verdict(row)}.')
    if warning := faithfulness.moves_little(**answer):
        print(warning)


def draw(record: dict, detector: Detector) -> None:
    name = 'faithfulness' if detector.file.suffix == '.pt' else f'faithfulness_{detector.file.suffix[1:]}'
    with plots.style():
        figure = plots.new_figure(height=5.6)
        heading = plots.heading(record['model'], record['dataset'], detector.run)
        figure.suptitle(f'{heading}\nhow far its explanations can be believed, by {len(record["files"])} pictures')
        axes = figure.subplots(2, 2, height_ratios=(3, 2), sharey='row')
        for kind, ax in zip(('deletion', 'insertion'), axes[0], strict=True):
            plot_curves(record, kind, ax)
        plot_differences(record['methods'], axes[1][0])
        plot_correlations(record['methods'], axes[1][1])
        handles, labels = axes[0][0].get_legend_handles_labels()
        figure.legend(handles, labels, loc='outside lower center', ncols=4, frameon=False)
        plots.save(
            figure, records.figure_path(FIGURES_DIR, record['dataset'], record['model'], name), [detector.training]
        )


def look_of(number: int) -> dict:
    return {'color': LINE_COLOURS[number % len(LINE_COLOURS)], 'marker': LINE_MARKERS[number % len(LINE_MARKERS)]}


def plot_curves(record: dict, kind: str, ax) -> None:
    """P(explained class) while the marked pixels go or come; grey: random maps, all methods' together."""
    ends = [record['answer'][end] for end in ('whole', 'nothing')][:: 1 if kind == 'deletion' else -1]
    shares, chance = [0, *record['shares'], 1], []
    for number, (name, row) in enumerate(record['methods'].items()):
        if row['images']:
            curve = [ends[0], *row['curves'][kind], ends[1]]
            ax.plot(shares, curve, markersize=3.5, linewidth=1.1, label=name, **look_of(number))
            chance.append(row['curves'][f'random_{kind}'])
    if chance:
        middle = [ends[0], *np.mean(chance, axis=0), ends[1]]
        ax.plot(shares, middle, color=plots.GREY, alpha=0.4, linewidth=5, zorder=0, label='random maps')
    better = 'lower is better' if kind == 'deletion' else 'higher is better'
    ax.set(title=f'{kind}: {better}', xlabel='share of the pixels', ylabel='P(explained class)')


def plot_differences(methods: dict[str, dict], ax) -> None:
    rows = {name: (row['difference'], row['interval']) for name, row in methods.items()}
    plot_intervals(rows, ax)
    ax.locator_params('x', nbins=5)
    ax.axvline(0, color=plots.GREY, linewidth=0.8, linestyle='--')
    ax.set(title='more faithful than a random map', xlabel='insertion - deletion, less that of random maps')


def plot_correlations(methods: dict[str, dict], ax) -> None:
    rows = {name: (row['scrambled']['correlation'], row['scrambled']['interval']) for name, row in methods.items()}
    plot_intervals(rows, ax)
    ax.axvspan(faithfulness.CHANGES_LITTLE, 1.02, color=plots.GREY, alpha=0.2, linewidth=0)
    ax.set(
        title='likeness after scrambling the weights',
        xlabel='rank correlation; grey: explains nothing',
        xlim=(-1.02, 1.02),
        xticks=(-1, -0.5, 0, 0.5, 1),
    )


def plot_intervals(rows: dict[str, tuple], ax) -> None:
    """A point and its 95% interval in a line for each method; a method without one has words."""
    for number, (mean, interval) in enumerate(rows.values()):
        if mean is None:
            ax.text(0.5, number, 'blank', transform=ax.get_yaxis_transform(), va='center', color=plots.GREY)
            continue
        ax.plot(mean, number, markersize=4, **look_of(number))
        if interval:
            ax.hlines(number, *interval, color=look_of(number)['color'], linewidth=1.2)
    ax.set_yticks(range(len(rows)), rows)
    ax.set_ylim(len(rows) - 0.5, -0.5)


if __name__ == '__main__':
    sys.exit(starting.run(main))
