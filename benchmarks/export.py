"""What exporting a network costs and gains, PyTorch beside onnxruntime, all in one run:

python benchmarks/export.py checkpoints/bonus.pt:BonusNet checkpoints/synthetic_dataset_XceptionBased_Adam.pt

For each checkpoint (with `:MODEL` where it does not say it) a row for PyTorch and one for each precision: megabytes,
milliseconds a picture (medians over turns that are taken one after the other, batches of 1 and 8), and the AuC on the
test part of the data set that it was trained on (--dataset names another).
"""

import argparse
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np  # noqa: E402
import torch  # noqa: E402
from PIL import Image  # noqa: E402

import export_onnx  # noqa: E402
import options  # noqa: E402
from forensics import records  # noqa: E402
from forensics.data.parts import Part  # noqa: E402
from forensics.judging import scoring  # noqa: E402
from forensics.judging.detector import Detector, Doubts  # noqa: E402
from forensics.pictures.files import open_image  # noqa: E402

BATCHES = (1, 8)
HEAD = '| network | runs in | MB | AuC | ms a picture, batch 1 | batch 8 |', '|---|---|---|---|---|---|'


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('checkpoints', nargs='+', metavar='FILE[:MODEL]')
    parser.add_argument('-d', '--dataset', metavar='NAME', help='(default: the one that each was trained on)')
    parser.add_argument('--turns', type=options.positive, default=9, help='of each measurement (default: %(default)s)')
    parser.add_argument('--at-most', type=options.positive, default=400, help='pictures of the AuC (%(default)s)')
    parser.add_argument('--json', metavar='FILE', help='also write the table there')
    options.add_data_root(parser)
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    args = parse_args(argv)
    options.use_data_root(args)
    torch.set_num_threads(len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count())
    rows = []
    for checkpoint in args.checkpoints:
        path, _, model = checkpoint.partition(':')
        network = export_onnx.load(path, model or None)
        images, labels = pictures(args.dataset or network.trained_on or 'fakes_dataset', 'test', args.at_most)
        known, _ = pictures(args.dataset or network.trained_on or 'fakes_dataset', 'val', export_onnx.PICTURES)
        with tempfile.TemporaryDirectory() as folder:
            rows += compare(network, known, images, labels, Path(folder), args.turns)
    print(*HEAD, *map(line, rows), sep='\n')
    if args.json:
        records.write_json(args.json, rows)
    return 0


def pictures(dataset: str, name: str, at_most: int) -> tuple[list[Image.Image], np.ndarray]:
    part = Part.find(dataset, name)
    kept = sorted(np.random.default_rng(0).permutation(len(part.files))[:at_most])
    return [open_image(part.folder / part.files[index]) for index in kept], part.labels[kept]


def compare(network, known, images, labels, folder: Path, turns: int) -> list[dict]:
    detectors: dict[str, Detector] = {'PyTorch': network}
    for precision in export_onnx.PRECISIONS:
        path = folder / f'{precision}.onnx'
        detectors[f'onnxruntime, {precision}'] = export_onnx.write(
            path, network, known, 'val', precision, tolerance=float('inf')
        )
    files = {'PyTorch': Path(network.file), **{name: detector.file for name, detector in [*detectors.items()][1:]}}
    seconds = {name: {batch: [] for batch in BATCHES} for name in detectors}
    for turn in range(turns + 1):
        for name, detector in detectors.items():
            for batch in BATCHES:
                start = time.perf_counter()
                detector.outputs(images[:batch], Doubts())
                if turn:  # the first one warms up
                    seconds[name][batch].append(time.perf_counter() - start)
    return [
        {
            'network': network.name,
            'runs_in': name,
            'bytes': files[name].stat().st_size,
            'auc': scoring.auc(labels, scoring.fake_logits(detector.outputs(images, Doubts()))),
            'ms': {batch: 1000 * statistics.median(seconds[name][batch]) / batch for batch in BATCHES},
        }
        for name, detector in detectors.items()
    ]


def line(row: dict) -> str:
    auc = '-' if row['auc'] is None else f'{row["auc"]:.4f}'
    times = ' | '.join(f'{row["ms"][batch]:.1f}' for batch in BATCHES)
    return f'| {row["network"]} | {row["runs_in"]} | {row["bytes"] / 1e6:.2f} | {auc} | {times} |'


if __name__ == '__main__':
    sys.exit(main())
