"""Measure how the cost of a training grows with the number of images, with their size and with the number of processes:

python benchmarks/scaling.py --json scaling.json     # some five minutes on two slow cores

Every row is a process of its own: listing the files, the fingerprint, reading every image once, one epoch of training
from memory, the peak of the memory. docs/scaling.md extrapolates from these figures.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(PROJECT))

from forensics import records  # noqa: E402

IMAGES = 200  # at 1x
# name, model, images, pixels, processes
ROWS = [
    *(('images', 'SimpleNet', IMAGES * times, 256, 1) for times in (1, 4, 16)),
    *(('pixels', 'BonusNet', 2 * IMAGES, pixels, 1) for pixels in (128, 256, 512)),
    *(('processes', 'SimpleNet', 4 * IMAGES, 256, processes) for processes in (1, 2)),
]


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--json', metavar='FILE', help='write the figures there, too')
    parser.add_argument('--one', nargs=3, metavar=('FOLDER', 'MODEL', 'PIXELS'), help=argparse.SUPPRESS)
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    if args.one:
        measure(Path(args.one[0]), args.one[1], int(args.one[2]))
        return
    results = []
    with tempfile.TemporaryDirectory() as scratch:
        print(
            '| varied | model | images | pixels | processes | list | fingerprint | read | epoch | images/s | memory |'
        )
        print('|---|---|---|---|---|---|---|---|---|---|---|')
        for name, model, images, pixels, processes in ROWS:
            folder = Path(scratch) / f'{images}_{pixels}'
            draw_pictures(folder, images, pixels)
            row = {'varied': name, 'model': model, 'images': images, 'pixels': pixels, 'processes': processes}
            row |= run(folder, model, pixels, processes)
            results.append(row)
            print(
                f'| {name} | {model} | {images} | {pixels} | {processes} | {row["list"]:.2f} s '
                f'| {row["fingerprint"]:.2f} s | {row["read"]:.1f} s | {row["epoch"]:.1f} s '
                f'| {images / row["epoch"]:.0f} | {row["memory"] / 1e9:.2f} GB |',
                flush=True,
            )
    if args.json:
        records.write_json(args.json, results)


def draw_pictures(folder: Path, images: int, pixels: int) -> None:
    """JPEG files of smooth noise: as large as photographs are, and made quickly."""
    if folder.exists():
        return
    import cv2
    import numpy as np

    rng = np.random.default_rng(0)
    for label in ('real', 'fake'):
        (folder / label).mkdir(parents=True)
        for number in range(images // 2):
            coarse = rng.integers(0, 256, (pixels // 8, pixels // 8, 3), dtype=np.uint8)
            picture = cv2.resize(coarse, (pixels, pixels), interpolation=cv2.INTER_CUBIC)
            noise = rng.integers(0, 16, picture.shape, dtype=np.uint8)
            cv2.imwrite(str(folder / label / f'{number:06}.jpg'), cv2.add(picture, noise))


def run(folder: Path, model: str, pixels: int, processes: int) -> dict:
    """Measure one row in its own process or processes: the first one's figures, and the memory of all."""
    line = [__file__, '--one', str(folder), model, str(pixels)]
    launch = ['-m', 'torch.distributed.run', '--standalone', f'--nproc_per_node={processes}'] if processes > 1 else []
    environment = {**os.environ, 'OMP_NUM_THREADS': str(max(1, (os.cpu_count() or 1) // processes))}
    done = subprocess.run([sys.executable, *launch, *line], env=environment, capture_output=True, text=True)
    found = [json.loads(text) for text in done.stdout.splitlines() if text.startswith('{')]
    if done.returncode or not found:
        sys.exit(f'error: {" ".join(line)} failed:\n{done.stderr}')
    return {**found[0], 'memory': sum(row['memory'] for row in found)}


def measure(folder: Path, model_name: str, pixels: int) -> None:
    import torch

    from faces_dataset import FacesDataset
    from forensics.data import datasets
    from forensics.running import distributed
    from forensics.running.batches import preload
    from models import Preprocessing, build_model, get_spec
    from trainer import Trainer, make_optimizer

    def figures() -> dict:
        seconds = {}
        start = time.monotonic()
        dataset = FacesDataset(str(folder), Preprocessing(pixels).train_transform())
        seconds['list'] = time.monotonic() - start
        start = time.monotonic()
        datasets.fingerprint(folder)
        seconds['fingerprint'] = time.monotonic() - start
        start = time.monotonic()
        preload(dataset, 'all')
        seconds['read'] = time.monotonic() - start
        torch.manual_seed(0)
        model = build_model(model_name)
        optimizer = make_optimizer('Adam', model, 0.001)
        trainer = Trainer(model, optimizer, get_spec(model_name).criterion(), 32, dataset, dataset, dataset)
        for _ in range(2):  # the first one warms the allocator up
            start = time.monotonic()
            trainer.train_one_epoch()
            seconds['epoch'] = time.monotonic() - start
        return {**seconds, 'memory': resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024}

    found = distributed.together(figures)()
    sys.__stdout__.write(json.dumps(found) + '\n')  # from all processes, also those that are silent otherwise
    sys.__stdout__.flush()


if __name__ == '__main__':
    main()
