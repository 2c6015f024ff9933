"""Score your own pictures: is the face in it real, or made by a computer?

    python predict.py photo.jpg
    python predict.py holiday/ film.mp4 --out answers
    curl ... | python predict.py - --json

Finds the faces and says of each: P(fake), the verdict (real, fake or unsure, and why), and how far harmless changes
move it. Beside the score stands what the file says of itself. `./predict.sh` sets up the little that this needs, first.

Exit status: 0 all are real, 1 something is fake, 2 something is unsure or has no face, 3 something could not be read.
"""

import argparse
import csv
import json
import sys
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from pathlib import Path

import options
from forensics import records
from forensics.errors import UserError
from forensics.judging.answers import about
from forensics.judging.detector import Detector, Doubts
from forensics.judging.pipeline import Choices, answer_all
from forensics.pictures.sources import Source, find_sources, printable
from forensics.running import memory, starting

STATUS = {'real': 0, 'fake': 1, 'unsure': 2, 'no face': 2, 'unreadable': 3}
GRAVEST = (3, 1, 2, 0)  # of several answers the first of these is the exit status
COLUMNS = ('file', 'verdict', 'p_fake', 'lowest', 'highest', 'face_x', 'face_y', 'face_w', 'face_h', 'reasons')
COLUMNS += ('says_of_itself', 'threshold', 'threshold_chosen_on', 'detector', 'detector_sha256')


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = options.parser(__doc__)
    parser.add_argument('paths', nargs='+', metavar='PATH', help='images, videos, folders; - is standard input')
    options.add_detector(parser)
    parser.add_argument('--whole-image', action='store_true', help='score a picture without a face all the same')
    parser.add_argument(
        '--frames', type=options.positive, default=32, metavar='N', help='of a video (default: %(default)s)'
    )
    output = parser.add_mutually_exclusive_group()
    output.add_argument('--json', action='store_true', help='print one JSON object')
    output.add_argument('--csv', action='store_true', help='print a line a face')
    parser.add_argument('--out', metavar='DIR', help='also write a report of each file there; goes on if interrupted')
    try:
        return parser.parse_args(argv)
    except SystemExit as end:  # argparse ends with 2, which here would be an answer
        raise SystemExit(STATUS['unreadable'] if end.code else 0) from None


def main(argv: list[str] | None = None) -> int:
    args = parse_args(argv)
    memory.tune_allocator()
    warnings.simplefilter('ignore')  # Pillow's, of odd metadata
    detector = options.load_detector(args)
    sources = find_sources(args.paths, leave_out=args.out)
    doubts = Doubts()
    found = with_progress(answers(sources, detector, args, doubts), len(sources))
    if args.json:
        answered = list(found)
        print(json.dumps(records.plain({'detector': about(detector), 'answers': answered}), indent=2, allow_nan=False))
    elif args.csv:
        answered = print_csv(found, detector)
    else:
        answered = print_table(found, detector)
    for sentence in doubts.sentences():
        print(sentence, file=sys.stderr)
    verdicts = {STATUS[answer['verdict']] for answer in answered}
    return next(status for status in GRAVEST if status in verdicts)


def answers(sources: list[Source], detector: Detector, args: argparse.Namespace, doubts: Doubts) -> Iterator[dict]:
    """An answer for each source, in order; those that an earlier run left in --out are not computed again."""
    choices = Choices(args.whole_image, args.frames, keep_copies=bool(args.out))
    if not args.out:
        yield from (answer for _, answer in answer_all(sources, detector, choices, doubts))
        return
    from forensics.judging import reports

    folder, facts = Path(args.out), about(detector)
    paths = [folder / f'{reports.stem_of(source)}.json' for source in sources]
    keys = [{'state': state_of(source), 'choices': asdict(choices), 'detector': detector.sha256} for source in sources]
    stored = [earlier_answer(*each) for each in zip(paths, keys, sources, strict=True)]
    missing = [source for source, answer in zip(sources, stored, strict=True) if answer is None]
    computed = answer_all(missing, detector, choices, doubts)
    for path, key, answer in zip(paths, keys, stored, strict=True):
        if answer is None:
            prepared, answer = next(computed)
            reports.write_report(folder, prepared, answer, detector, facts)
            records.write_json(path, {'key': key, 'answer': answer})  # last: it says that the report is whole
        yield answer
    print(f'Reports are in {folder}/', file=sys.stderr)


def with_progress(found: Iterator[dict], number: int) -> Iterable[dict]:
    """A bar where the answers themselves do not run over the screen."""
    if number == 1 or sys.stdout.isatty() or not sys.stderr.isatty():
        return found
    from forensics.running.progress import Progress

    return Progress(found, number, 'files')


def state_of(source: Source) -> list | None:
    try:
        return source.state
    except (OSError, ValueError):  # the answer will name the reason
        return None


def earlier_answer(path: Path, key: dict, source: Source) -> dict | None:
    """The stored answer to the same file, unchanged since, by the same detector."""
    if not path.exists() or key['state'] is None:
        return None
    try:
        stored = records.read_json(path)
        return {**stored['answer'], 'file': source.name} if stored['key'] == records.plain(key) else None
    except (UserError, LookupError, TypeError):  # damaged: it is made anew
        return None


# --- for people ------------------------------------------------------------


def print_table(found: Iterable[dict], detector: Detector) -> list[dict]:
    """Print each answer as soon as it is there."""
    answered = []
    print(f'{"verdict":11}{"P(fake)":9}{"changed":14}{"face":16}file')
    for answer in found:
        answered.append(answer)
        for line in lines_of(answer):
            print(line, flush=True)
    for line in lines_about(detector):
        print(line)
    return answered


def lines_of(answer: dict) -> Iterator[str]:
    faces = answer.get('faces', [])
    only = faces[0] if len(faces) == 1 else None
    yield table_row(answer['verdict'], answer['p_fake'], only, printable(answer['file']))
    yield from (f'           because {reason}' for reason in answer['reasons'])
    if len(faces) > 1:
        for number, face in enumerate(faces, start=1):
            yield table_row(f'  {face["verdict"]}', face['p_fake'], face, f'  face {number} of {len(faces)}')
    if answer['kind'] == 'video' and answer['worst_segment']:
        worst = answer['worst_segment']
        yield (
            f'           mean of {answer["frames_with_a_face"]} frames; highest at seconds {worst["start"]:.1f} to '
            f'{worst["end"]:.1f}: {worst["p_fake"]:.2f}'
        )
    for said in answer.get('says_of_itself', []):
        meaning = f' ({said["meaning"]})' if said['meaning'] else ''
        yield f'           the file says: {said_by(said)[:120]}{meaning}'


def said_by(claim: dict) -> str:
    return f'{claim["source"]}: {claim["value"]}'


def table_row(verdict: str, p_fake: float | None, face: dict | None, name: str) -> str:
    score = '-' if p_fake is None else f'{p_fake:.2f}'
    changed = '{:.2f} to {:.2f}'.format(*face['range']) if face else ''
    box = '{w:.0f}x{h:.0f}+{x:.0f}+{y:.0f}'.format(**face['box']) if face and face['box'] else ''
    return f'{verdict:11}{score:9}{changed:14}{box:16}{name}'


def lines_about(detector: Detector) -> Iterator[str]:
    facts = about(detector)
    chosen = facts['threshold_chosen_on']
    yield ''
    yield f'Fake: P(fake) of {facts["threshold"]:.2f} or more, ' + (
        f'chosen on {chosen}.' if chosen else 'which nobody chose: this detector is not calibrated.'
    )
    yield f'Detector: {printable(facts["file"])} ({facts["model"]}), trained on {facts["trained_on"] or "not stated"}.'
    yield f'Known to fail on: {facts["fails_on"] or "not stated"}. Changed: re-encoded, scaled, mirrored.'
    yield 'A score is no proof, and it says nothing of kinds of fakes that the detector never saw.'


# --- for machines ------------------------------------------------------------


def print_csv(found: Iterable[dict], detector: Detector) -> list[dict]:
    facts, answered = about(detector), []
    writer = csv.DictWriter(sys.stdout, COLUMNS, lineterminator='\n')
    writer.writeheader()
    for answer in found:
        answered.append(answer)
        for face in answer.get('faces') or [answer]:
            box = face.get('box') or {}
            lowest, highest = face.get('range', (None, None))
            writer.writerow({
                'file': printable(answer['file']),
                'verdict': face['verdict'], 'p_fake': face['p_fake'], 'lowest': lowest, 'highest': highest,
                **{f'face_{key}': box.get(key) for key in ('x', 'y', 'w', 'h')},
                'reasons': '; '.join(face['reasons']),
                'says_of_itself': '; '.join(said_by(each) for each in answer.get('says_of_itself', [])),
                'threshold': facts['threshold'], 'threshold_chosen_on': facts['threshold_chosen_on'],
                'detector': facts['file'], 'detector_sha256': facts['sha256'],
            })  # fmt: skip
    return answered


if __name__ == '__main__':
    sys.exit(starting.run(main, failed=STATUS['unreadable']))
