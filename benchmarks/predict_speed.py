"""How fast predict.py answers a folder, beside loops of one photograph at a time, in turns in one run:

python benchmarks/predict_speed.py --checkpoint checkpoints/faces.onnx --photos my_photographs/

The textbook's loop lets the face detector search the whole photograph, as its package does; the other one takes the
same steps as predict.py, whose answers are the same. Without --photos the faces of the demo data are put into pictures
of 1600x1200. Prints photographs a second (medians), ratios, and what each step takes.
"""

import argparse
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import cv2  # noqa: E402
import numpy as np  # noqa: E402
from PIL import Image  # noqa: E402

import options  # noqa: E402
from forensics import records  # noqa: E402
from forensics.data.datasets import find_part  # noqa: E402
from forensics.judging import answers, exported, pipeline  # noqa: E402
from forensics.judging.answers import Rule  # noqa: E402
from forensics.judging.detector import Detector, Doubts  # noqa: E402
from forensics.pictures import faces  # noqa: E402
from forensics.pictures.faces import Face  # noqa: E402
from forensics.pictures.files import image_files, open_image  # noqa: E402
from forensics.pictures.sources import Source, find_sources  # noqa: E402
from forensics.running import memory  # noqa: E402


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--checkpoint', required=True, metavar='FILE', help='an exported detector (.onnx)')
    parser.add_argument('--photos', metavar='FOLDER')
    parser.add_argument('--at-most', type=options.positive, default=64, help='photographs (default: %(default)s)')
    parser.add_argument('--turns', type=options.positive, default=5, help='(default: %(default)s)')
    parser.add_argument('--json', metavar='FILE', help='also write the figures there')
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    args = parse_args(argv)
    memory.tune_allocator()
    detector = exported.load(args.checkpoint)
    with tempfile.TemporaryDirectory() as folder:
        sources = find_sources([args.photos or draw_photographs(Path(folder), args.at_most)])[: args.at_most]
        found = measure(sources, detector, args.turns)
    speeds, shares = found['photographs_a_second'], found['shares']
    print(f'{len(sources)} photographs, {exported.usable_cores()} cores, medians of {args.turns} turns')
    for name, speed in speeds.items():
        print(f'{name:28}{speed:6.2f} photographs a second; predict.py / this {speeds["predict.py"] / speed:.2f}')
    for name in shares:
        print(f'of {name}: ' + ', '.join(f'{step} {share:.0%}' for step, share in shares[name].items()))
    if args.json:
        records.write_json(args.json, {**found, 'photographs': len(sources)})
    return 0


def draw_photographs(folder: Path, number: int) -> str:
    """Faces of the demo data somewhere in larger pictures, as JPEG."""
    part = find_part('fakes_dataset', 'test') / 'real'
    files, rng = image_files(part), np.random.default_rng(0)
    for index in range(number):
        rows = rng.integers(0, 256, (6, 8, 3), dtype=np.uint8)
        picture = Image.fromarray(rows).resize((1600, 1200), Image.Resampling.BICUBIC)
        face = open_image(part / files[index % len(files)]).resize((512, 512), Image.Resampling.BICUBIC)
        picture.paste(face, tuple(int(rng.integers(0, side - 512)) for side in picture.size))
        picture.save(folder / f'{index:04}.jpg', quality=90)
    return str(folder)


def measure(sources: list[Source], detector: Detector, turns: int) -> dict:
    steps = {"textbook's loop": defaultdict(float), 'loop with the same steps': defaultdict(float)}
    find = dict(zip(steps, (search_all, faces.find_faces), strict=True))
    seconds = defaultdict(list)
    for turn in range(turns + 1):  # the first one warms up
        answered = {}
        for name in [*steps, 'predict.py']:
            cv2.setNumThreads(exported.usable_cores())
            start = time.perf_counter()
            if name in steps:
                answered[name] = list(loop(sources, detector, find[name], steps[name] if turn else defaultdict(float)))
            else:
                found = pipeline.answer_all(sources, detector, pipeline.Choices(), Doubts())
                answered[name] = [answer for _, answer in found]
            if turn:
                seconds[name].append(time.perf_counter() - start)
        verdicts = {name: [answer['verdict'] for answer in own] for name, own in answered.items()}
        assert verdicts['predict.py'] == verdicts['loop with the same steps']
    return {
        'photographs_a_second': {name: len(sources) / statistics.median(taken) for name, taken in seconds.items()},
        'shares': {
            name: {step: taken / sum(own.values()) for step, taken in own.items()} for name, own in steps.items()
        },
    }


def search_all(image: Image.Image) -> list[Face]:
    boxes, _ = faces.detector()(np.asarray(image), threshold=0.5)
    found = [Face(x1, y1, x2 - x1, y2 - y1, score, ((x1, y1), (x2, y1))) for x1, y1, x2, y2, score in boxes.tolist()]
    return sorted(found, key=lambda face: face.w * face.h, reverse=True)


def loop(sources: list[Source], detector: Detector, find: Callable, steps: dict[str, float]) -> Iterator[dict]:
    """One photograph after the other, each step timed."""
    rule, margin = Rule.of(detector), detector.card.get('margin')

    def timed(name: str, function: Callable, *arguments):
        start = time.perf_counter()
        result = function(*arguments)
        steps[name] += time.perf_counter() - start
        return result

    for source in sources:
        image = timed('decoding', open_image, source.name)
        found = timed('detection', find, image)
        seen = [answers.seen_face(image, face, margin) for face in found]
        images = [version for face in seen for version in timed('harmless changes', answers.versions, face.crop)]
        p_fake = timed('scoring', detector.score, images)
        yield answers.picture_answer(image.size, seen, p_fake.reshape(len(seen), answers.VERSIONS), rule)


if __name__ == '__main__':
    sys.exit(main())
