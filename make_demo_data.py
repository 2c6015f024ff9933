"""Draw the demo data: two data sets of faces, in the assignment's layout, made from a seed alone.

    python make_demo_data.py

fakes_dataset: drawn people, and the same people with another one's face planted on theirs, as in face swaps.
synthetic_dataset: drawn people, and the same people with the trace that a generator's up-convolutions leave.

The same seed gives the same pictures on any number of workers, to the byte on one kind of processor; others round
differently, so a few pixels are some grey levels off. Nobody appears in two parts.
"""

import dataclasses
import os
import shutil
import sys
import tempfile
from pathlib import Path

import cv2
import numpy as np

import options
from forensics import records
from forensics.data.datasets import CLASSES, DEMO_ROOT, PARTS, read_card
from forensics.drawing.camera import capture, encode, random_camera, sensor_grain
from forensics.drawing.faces import draw_face
from forensics.drawing.people import random_moment, random_person
from forensics.drawing.swaps import random_quality, swap_face
from forensics.drawing.traces import upconvolved
from forensics.errors import UserError
from forensics.running import memory, starting
from forensics.running.parallel import run_all

# As few as the assignment's lines need: SimpleNet's five epochs on the fakes, and the first epoch of a pre-trained
# Xception on the synthetic images, at a quarter of a second a picture.
NUMBERS = {
    'fakes_dataset': {'train': 800, 'val': 160, 'test': 160},
    'synthetic_dataset': {'train': 400, 'val': 100, 'test': 100},
}
DATASETS = tuple(NUMBERS)
PER_PERSON = 2  # pictures of each class that one person is in
# A generated picture's grain and resynthesised detail, in units of the camera's grain. Together they make files as
# large as the real ones.
GENERATED_GRAIN, GENERATED_DETAIL = 0.25, 1.0
KINDS = {'fakes_dataset': 'swap', 'synthetic_dataset': 'generated'}  # of the fakes
VERSION = 1  # of the drawing: raise it when the same seed gives other pictures

HOW = {
    'fakes_dataset': 'another drawn face, aligned by landmarks, reduced to 64 to 160 pixels, warped onto the face, '
    'matched in colour and blended in',
    'synthetic_dataset': 'the fine detail resynthesised by a fixed small up-convolution network, which leaves a ring '
    'in the upper part of the spectrum',
}


def parse_args(argv=None):
    parser = options.parser(__doc__)
    for part in PARTS:
        defaults = ' and '.join(str(numbers[part]) for numbers in NUMBERS.values())
        parser.add_argument(f'--{part}', type=int, metavar='N',
                            help=f'images of each data set in {part}/ (default: {defaults})')  # fmt: skip
    parser.add_argument('--size', type=int, default=256, help='height and width in pixels (default: %(default)s)')
    options.add_seed(parser)
    parser.add_argument('-o', '--output', default=str(DEMO_ROOT), metavar='FOLDER',
                        help='where both data sets are written (default: demo_datasets)')  # fmt: skip
    parser.add_argument('--workers', type=options.positive, default=os.cpu_count(),
                        help='processes that draw (default: one a core)')  # fmt: skip
    parser.add_argument('--overwrite', action='store_true', help='replace data sets that are there already')
    args = parser.parse_args(argv)
    if args.size < 64:
        parser.error(f'--size {args.size}: below 64 pixels there is no face to see')
    for part in PARTS:
        if getattr(args, part) is not None and getattr(args, part) < 3:
            parser.error(f'--{part} {getattr(args, part)}: a part needs three images or more, for both classes')
    return args


def class_counts(dataset: str, part: str, total: int) -> dict[str, int]:
    """Balanced for training; the fakes are judged on two real images for each fake, as in the course."""
    fake = total // 3 if dataset == 'fakes_dataset' and part != 'train' else total // 2
    return {'real': total - fake, 'fake': fake}


def random_numbers(seed: int, *names) -> np.random.Generator:
    """The random numbers of one picture or one person, the same on any worker and in any order."""
    numbers = [int.from_bytes(str(name).encode(), 'little') for name in names]
    return np.random.default_rng(np.random.SeedSequence([seed, VERSION, *numbers]))


def person_of(seed: int, dataset: str, part: str, number: int):
    return random_person(random_numbers(seed, dataset, part, 'person', number))


def draw_real(person, rng: np.random.Generator, size: int, moment=None):
    """One exposure of a person: (image of 0 to 255, drawn `Picture`, moment, camera)."""
    moment = moment or random_moment(rng)
    picture = draw_face(person, moment, rng, size)
    camera = random_camera(rng)
    return capture(picture.image, camera, rng), picture, moment, camera


def draw_swap(person, donor, rng: np.random.Generator, size: int):
    """`person` at a moment of their own, with `donor`'s face."""
    image, picture, moment, camera = draw_real(person, rng, size)
    other = random_moment(rng)
    # The swapping network puts the donor into the target's pose and expression, more or less.
    like = {name: getattr(moment, name) + 0.35 * (getattr(other, name) - getattr(moment, name))
            for name in ('yaw', 'pitch', 'smile', 'mouth_open')}  # fmt: skip
    other = dataclasses.replace(other, zoom=moment.zoom, shift=(0.0, 0.0), **like)
    donor = dataclasses.replace(donor, glasses=person.glasses)
    donor_image, donor_picture, _, _ = draw_real(donor, rng, max(size * 3 // 4, 64), other)
    quality = random_quality(rng)
    swapped, mask = swap_face(image, picture.landmarks, donor_image, donor_picture.landmarks, quality)
    swapped += (mask * sensor_grain(mask.shape, quality.grain * camera.noise, rng))[..., None]
    return swapped, camera


def draw_generated(person, rng: np.random.Generator, size: int):
    """`person` as a generator would show them: little grain, and the finest detail resynthesised."""
    picture = draw_face(person, random_moment(rng), rng, size)
    camera = random_camera(rng)
    image = capture(picture.image, dataclasses.replace(camera, noise=GENERATED_GRAIN * camera.noise), rng)
    return upconvolved(image, GENERATED_DETAIL * camera.noise, rng), camera


def draw_picture(seed: int, dataset: str, part: str, label: str, index: int, people: int, size: int) -> bytes:
    """The JPEG file of one picture."""
    rng = random_numbers(seed, dataset, part, label, index)
    number = index // PER_PERSON % people
    person = person_of(seed, dataset, part, number)
    if label == 'real':
        image, _, _, camera = draw_real(person, rng, size)
    elif dataset == 'fakes_dataset':
        donor = (number + rng.integers(1, people)) % people if people > 1 else number + 1
        image, camera = draw_swap(person, person_of(seed, dataset, part, int(donor)), rng, size)
    else:
        image, camera = draw_generated(person, rng, size)
    return encode(image, camera.quality)


def write_picture(path: str, *task) -> None:
    memory.tune_allocator()
    cv2.setNumThreads(1)  # one process a core is enough, and pixels must not depend on the number of threads
    Path(path).write_bytes(draw_picture(*task))


def card(dataset: str, args) -> dict:
    numbers = {part: NUMBERS[dataset][part] if getattr(args, part) is None else getattr(args, part) for part in PARTS}
    counts = {part: class_counts(dataset, part, number) for part, number in numbers.items()}
    return {
        'name': dataset,
        'source': 'drawn by make_demo_data.py; no photograph was used',
        'licence': 'MIT, as the program',
        'version': VERSION,
        'seed': args.seed,
        'size': args.size,
        'class_names': list(CLASSES),
        'kind': KINDS[dataset],
        'counts': counts,
        'identities': {part: people_in(number) for part, number in counts.items()},
        'identities_shared_between_parts': 0,
        'real': 'a drawn person, light, background and camera (lens blur, sensor noise, white balance, JPEG 80 to 95)',
        'fake': HOW[dataset],
    }


def people_in(counts: dict[str, int]) -> int:
    return max(1, -(-max(counts.values()) // PER_PERSON))


def make_dataset(dataset: str, args) -> None:
    """Draw into a scratch folder, which takes the final name when it is complete: no half data set ever has it."""
    target = Path(args.output) / dataset
    wanted = card(dataset, args)
    if target.exists():
        known = read_card(target)
        if known | {'kind': wanted['kind']} == wanted:
            if 'kind' not in known:  # drawn before cards had one
                records.write_json(target / 'dataset.json', wanted)
            print(f'{target} is there already, made with the same options; leaving it as it is.')
            return
        if not args.overwrite:
            raise UserError(f'{target} exists and is another data set. Add --overwrite to replace it, or choose '
                            f'another folder with --output.')  # fmt: skip
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(prefix=f'.{dataset}.', suffix='.tmp', dir=target.parent))
    except OSError as error:
        raise UserError(f'Cannot write to {target.parent}: {error.strerror}. Choose another --output.') from error
    try:
        tasks = []
        for part, counts in wanted['counts'].items():
            people = wanted['identities'][part]
            for label, number in counts.items():
                folder = scratch / part / label
                folder.mkdir(parents=True)
                tasks += [(str(folder / f'{index:05}.jpg'), args.seed, dataset, part, label, index, people, args.size)
                          for index in range(number)]  # fmt: skip
        for _ in run_all(write_picture, tasks, dataset, jobs=args.workers):
            pass
        records.write_json(scratch / 'dataset.json', wanted)
        scratch.chmod(0o755)
        if target.exists():
            shutil.rmtree(target)
        os.replace(scratch, target)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    print(f'{target}: {len(tasks)} images')


def main(argv=None):
    args = parse_args(argv)
    for dataset in DATASETS:
        make_dataset(dataset, args)


if __name__ == '__main__':
    sys.exit(starting.run(main))
