"""Measure the speed of the azimuthal spectrum against the textbook loop's:

python benchmarks/spectrum_speed.py

One core, both in the same run, taking turns (all images by one, then by the other), medians. The images are
noise, which is as much work as a face.
"""

import argparse
import os
import statistics
import sys
import time
from pathlib import Path

for variable in ('OMP_NUM_THREADS', 'OPENBLAS_NUM_THREADS', 'MKL_NUM_THREADS'):
    os.environ[variable] = '1'  # NumPy reads them when it is imported
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np  # noqa: E402
from scipy.interpolate import griddata  # noqa: E402

from forensics.classical.spectrum import azimuthal_spectrum  # noqa: E402


def textbook_spectrum(grey: np.ndarray, n: int = 300) -> np.ndarray:
    """The published procedure, step by step: every image sorts all radii and interpolates with griddata."""
    amplitude = 20 * np.log(np.abs(np.fft.fftshift(np.fft.fft2(grey)) + 1e-8))

    y, x = np.indices(amplitude.shape)
    radii = np.hypot(x - x.max() / 2, y - y.max() / 2)
    order = np.argsort(radii.ravel())
    sorted_radii = radii.ravel()[order].astype(int)
    last_of_ring = np.flatnonzero(np.diff(sorted_radii))
    sums = np.cumsum(amplitude.ravel()[order])
    profile = np.diff(sums[last_of_ring]) / np.diff(last_of_ring)

    values = griddata(np.linspace(0, n, len(profile)), profile, np.linspace(0, n, n), method='cubic')
    return values / values[0]


def compare(images: np.ndarray, rounds: int) -> dict[str, float]:
    """Images a second of both (medians), their ratio, and the largest difference of a value."""
    seconds = {textbook_spectrum: [], azimuthal_spectrum: []}
    difference = 0
    azimuthal_spectrum(images[0])  # the rings of this size are computed once for a data set, not for an image
    for _ in range(rounds):
        results = {}
        for function, taken in seconds.items():
            results[function] = [timed(function, image, taken) for image in images]
        difference = max(difference, np.abs(np.subtract(*results.values())).max())
    textbook, ours = (statistics.median(taken) for taken in seconds.values())
    return {'textbook': 1 / textbook, 'ours': 1 / ours, 'ratio': textbook / ours, 'difference': difference}


def timed(function, image: np.ndarray, taken: list[float]) -> np.ndarray:
    start = time.perf_counter()
    result = function(image)
    taken.append(time.perf_counter() - start)
    return result


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--size', type=int, default=256, help='side of the images in pixels (default: %(default)s)')
    parser.add_argument('--images', type=int, default=20, help='different images (default: %(default)s)')
    parser.add_argument('--rounds', type=int, default=10, help='how often each is computed (default: %(default)s)')
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    args = parse_args(argv)
    if hasattr(os, 'sched_setaffinity'):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    images = np.random.default_rng(0).integers(0, 256, (args.images, args.size, args.size)).astype(float)
    result = compare(images, args.rounds)
    print(
        f'{args.size}x{args.size}, one core, medians of {args.images * args.rounds}:\n'
        f'textbook loop                 {result["textbook"]:6.0f} spectra a second\n'
        f'forensics.classical.spectrum  {result["ours"]:6.0f} spectra a second\n'
        f'ratio                         {result["ratio"]:6.1f}\n'
        f'largest difference            {result["difference"]:.1e}'
    )
    return 0


if __name__ == '__main__':
    sys.exit(main())
