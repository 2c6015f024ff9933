"""What the forensic backbone is worth: the assignment's own line from its weights and from random ones.

python benchmarks/forensic_weights.py --rows demo half checkerboard median --weights forensic none --seeds 0
python benchmarks/forensic_weights.py --rows synthetic_dataset probe-synthetic_dataset --photographs FOLDER

demo           XceptionBased on the demo's synthetic_dataset: Adam, 0.001, batches of 32, two epochs
half           the same, half way between its real and its generated pictures
checkerboard   a faint trace of a kind that pre-training never saw
median         another one
fainter-ROW    the same two, fainter still
synthetic_dataset, fakes_dataset   the same line on two data sets in --photographs
probe-ROW      logistic regression on frozen features of any of them
traces         a linear discriminant on frozen features names the histories that pre-training is about, by family

Every figure is of the test part, and nothing is chosen on it but how faint the fainter traces are; the record has the
validation part, too. A second start does only what is missing in the record, for each kind of device.
With --record docs/forensic_weights.json it adds to what was measured of the weights that are shipped.
"""

import argparse
import dataclasses
import hashlib
import itertools
import statistics
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import cv2
import numpy as np
import torch
from PIL import Image
from torch import nn

import detectors
import make_demo_data as demo
import options
from common import OUTPUT_DIR
from faces_dataset import FacesDataset
from forensics import classical, datasets, features, histories, memory, records, runtime, scoring
from forensics.camera import capture, draw_camera, encode
from forensics.checks import check_precision
from forensics.drawn_faces import draw_face
from forensics.errors import UserError
from forensics.parallel import run_all
from forensics.people import draw_moment
from forensics.progress import Progress
from forensics.stream import Blocks, Recipe
from forensics.traces import upconvolved
from models import Preprocessing, build_model
from trainer import Trainer, make_optimizer
from utils import TRANSFORM_TEST, TRANSFORM_TRAIN
from xception import FORENSIC_WEIGHTS

EPOCHS, BATCH, RATE = 2, 32, 0.001  # the assignment's line
HELD_OUT = {  # traces of kinds that pre-training never saw, and how strong
    'checkerboard': ('checkerboard', 0.2),  # 3.2% of the brightness
    'median': ('median', 0.2),  # a mixture with 52% of the filter
    # Between what frozen features of 240 pictures told with an AuC of 0.93 or more and what with 0.83.
    'fainter-checkerboard': ('checkerboard', -0.15),  # 1.1%
    'fainter-median': ('median', -0.4),  # 16%
}
PHOTOGRAPHS = ('synthetic_dataset', 'fakes_dataset')
DRAWN = ('demo', 'half', *HELD_OUT)
PROBES = {f'probe-{name}': name for name in (*DRAWN, *PHOTOGRAPHS)}
TRACES = 'traces'
ROWS = (*DRAWN, *PHOTOGRAPHS, *PROBES, TRACES)
CROP = 128  # pixels of the pictures whose traces are named
BLOCKS = {'train': range(128), 'test': range(128, 192)}  # of 32 such pictures


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = options.parser(__doc__)
    parser.add_argument('--rows', nargs='+', choices=ROWS, default=ROWS, metavar='ROW', help='(default: all)')
    parser.add_argument('--seeds', nargs='+', type=options.non_negative, default=[0, 1, 2], help='(default: 0 1 2)')
    parser.add_argument(
        '--weights', nargs='+', default=['forensic'], metavar='forensic|none|FILE', help='(default: forensic)'
    )
    parser.add_argument('--photographs', type=Path, metavar='FOLDER', help='where the two data sets are')
    parser.add_argument('--precision', choices=('float32', 'bf16'), default='float32', help='(default: %(default)s)')
    parser.add_argument('--train', type=options.positive, default=800, help='drawn pictures (default: %(default)s)')
    parser.add_argument(
        '--record', type=Path, default=Path(OUTPUT_DIR) / 'forensic_weights.json', metavar='FILE',
        help='(default: %(default)s)',
    )  # fmt: skip
    options.add_device(parser)
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    options.apply(args)
    check_precision(args.precision, runtime.device())
    memory.tune_allocator()
    torch.backends.cudnn.allow_tf32 = False  # float32 is float32 on a GPU, too
    results = records.read_json(args.record) if args.record.exists() else []
    done = [result['what'] for result in results]
    for row in args.rows:
        if PROBES.get(row, row) in PHOTOGRAPHS and not args.photographs:
            print(f'{row} is left out: it needs --photographs.')
            continue
        for weights, seed in itertools.product(args.weights, args.seeds):
            what = {'row': row, 'weights': version(weights), 'seed': seed}
            if row in (*DRAWN, *PHOTOGRAPHS):
                what |= {'precision': args.precision}
            if PROBES.get(row, row) in DRAWN:
                what |= {'pictures': args.train}
            if runtime.device().type != 'cpu':
                what |= {'device': runtime.device().type}
            if what not in done:
                print(', '.join(map(str, what.values())), flush=True)
                runtime.seed_everything(seed)
                results.append({'what': what, **measure(args, row, weights, seed)})
                records.write_json(args.record, results)
    print_table(results)


def version(weights: str) -> str:
    """Weights change, and what was measured with others stays in the record."""
    path = FORENSIC_WEIGHTS if weights == 'forensic' else Path(weights)
    if weights == 'none':
        return weights
    if not path.is_file():
        raise UserError(f'There are no weights {path}; --weights takes forensic, none or a file.')
    return f'{weights} {hashlib.sha256(path.read_bytes()).hexdigest()[:8]}'


def measure(args: argparse.Namespace, row: str, weights: str, seed: int) -> dict:
    if row == TRACES:
        return name_traces(weights, seed)
    name = PROBES.get(row, row)
    folder = drawn(name, args.train) if name in DRAWN else args.photographs / name
    return probe(folder, weights, seed) if row in PROBES else fine_tune(folder, weights, args.precision)


# --- what is measured ----------------------------------------------------------


def fine_tune(folder: Path, weights: str, precision: str) -> dict:
    """AuC and accuracy after every epoch, and which epoch's checkpoint the assignment keeps."""
    model = build_model('XceptionBased', weights).to(runtime.device())
    train = FacesDataset(str(folder / 'train'), TRANSFORM_TRAIN)
    val, test = (FacesDataset(str(folder / part), TRANSFORM_TEST) for part in ('val', 'test'))
    optimizer = make_optimizer('Adam', model, RATE)
    trainer = Trainer(model, optimizer, nn.CrossEntropyLoss(), BATCH, train, val, test, precision=precision)
    epochs = []
    for _ in range(EPOCHS):
        _, train_accuracy = trainer.train_one_epoch()
        epochs.append({**judge(test, model), 'train_accuracy': train_accuracy})
        epochs[-1] |= {f'val_{name}': value for name, value in judge(val, model).items()}
        print(epochs[-1], flush=True)
    kept = max(range(EPOCHS), key=lambda epoch: epochs[epoch]['val_accuracy'])  # the first among equals
    return {'epochs': epochs, 'kept': kept}


def judge(dataset: FacesDataset, model: nn.Module) -> dict:
    outputs, labels = detectors.score_dataset(dataset, model)
    scores, labels = (outputs[:, 1] - outputs[:, 0]).numpy(), labels.numpy()
    return {'auc': scoring.auc(labels, scores), 'accuracy': scoring.accuracy(labels, scores > 0)}


def probe(folder: Path, weights: str, seed: int) -> dict:
    """Logistic regression on pooled features, its penalty chosen by cross-validation on the training part."""
    extractor = frozen(weights, Preprocessing().size)
    vectors, labels = {}, {}
    for part in ('train', 'test'):
        files = datasets.class_files(folder / part)
        labels[part] = np.array([int(file.startswith('fake/')) for file in files])
        vectors[part] = features.of_files(
            [extractor], [folder / part / file for file in files], label=f'{part} features'
        )
    classifier, _ = classical.fit('logistic', vectors['train'], labels['train'], np.arange(len(labels['train'])), seed)
    scores = classifier.decision(vectors['test'])
    return {'auc': scoring.auc(labels['test'], scores), 'interval': scoring.auc_interval(labels['test'], scores)}


def frozen(weights: str, size: int) -> features.Deep:
    normalisation = Preprocessing()
    network = build_model('XceptionBased', weights).to(runtime.device())
    return features.Deep('xception', network, size, normalisation.mean, normalisation.std, weights)


def name_traces(weights: str, seed: int) -> dict:
    """Per cent of new pictures whose history a linear discriminant (its shrinkage is Ledoit's and Wolf's) names from
    their frozen features."""
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

    extractor = frozen(weights, CROP)
    blocks = Blocks(Recipe(CROP), 2**32 + seed)  # no seed that pre-training takes
    vectors, labels = {}, {}
    for part, numbers in BLOCKS.items():
        found, named = [], []
        for number in Progress(numbers, len(numbers), f'{part} features'):
            pictures, classes, _ = blocks[number]
            found.append(extractor([Image.fromarray(picture) for picture in pictures]))
            named.append(classes)
        vectors[part], labels[part] = np.concatenate(found), np.concatenate(named)
    discriminant = LinearDiscriminantAnalysis('lsqr', shrinkage='auto').fit(vectors['train'], labels['train'])
    hits = discriminant.predict(vectors['test']) == labels['test']
    names = [histories.CLASSES[label] for label in labels['test']]
    return {'accuracy': 100 * float(hits.mean()), 'by_family': histories.by_family(names, hits)}


# --- drawn data sets -------------------------------------------------------------


def drawn(row: str, train: int) -> Path:
    """The demo's synthetic_dataset with this row's trace, drawn if it is not there yet."""
    numbers = demo.NUMBERS['synthetic_dataset'] | {'train': train}
    target = Path(OUTPUT_DIR) / 'forensic_weights' / f'{row}_{train}'
    tasks = []
    for part, total in numbers.items():
        counts = demo.class_counts('synthetic_dataset', part, total)
        for label, number in counts.items():
            people = demo.people_in(counts)
            tasks += [
                (target / part / label / f'{index:05}.jpg', row, part, label, index, people) for index in range(number)
            ]
    for _ in run_all(write_picture, [task for task in tasks if not task[0].exists()], row):
        pass
    return target


def write_picture(path: Path, row: str, part: str, label: str, index: int, people: int) -> None:
    cv2.setNumThreads(1)
    rng = demo.stream(0, 'synthetic_dataset', part, label, index)
    person = demo.person_of(0, 'synthetic_dataset', part, index // demo.PER_PERSON % people)
    image, camera = draw_fake(row, person, rng) if label == 'fake' else draw_real(person, rng)
    path.parent.mkdir(parents=True, exist_ok=True)
    with records.atomic_path(path, one_of_many=True) as temporary:
        temporary.write_bytes(encode(image, camera.quality))


def draw_real(person, rng: np.random.Generator) -> tuple:
    image, _, _, camera = demo.draw_real(person, rng, 256)
    return image, camera


def draw_fake(row: str, person, rng: np.random.Generator) -> tuple:
    if row == 'demo':
        return demo.draw_generated(person, rng, 256)
    if row == 'half':
        return draw_half_generated(person, rng)
    image, camera = draw_real(person, rng)
    trace, strength = HELD_OUT[row]
    return histories.HELD_OUT[trace](image, strength, rng), camera


def draw_half_generated(person, rng: np.random.Generator) -> tuple:
    """Half way between a real picture and the demo's generated one, which differ in grain and in resynthesised detail:
    as much of both as lies in the middle."""
    picture = draw_face(person, draw_moment(rng), rng, 256)
    camera = draw_camera(rng)
    grain = (1 + demo.GENERATED_GRAIN) / 2
    image = capture(picture.image, dataclasses.replace(camera, noise=grain * camera.noise), rng)
    return (image + upconvolved(image, demo.GENERATED_DETAIL * camera.noise, rng)) / 2, camera


# --- the table ------------------------------------------------------------------


def print_table(results: list[dict]) -> None:
    """The median of the seeds, and their range where there are several."""
    print('\n| what | seeds | AuC after 1 epoch | accuracy | AuC after 2 | accuracy | AuC as kept | accuracy |')
    print('|---|---|---|---|---|---|---|---|')
    kinds: dict[tuple, list] = {}
    for result in results:
        kinds.setdefault(tuple(value for name, value in result['what'].items() if name != 'seed'), []).append(result)
    for (row, *others), runs in sorted(kinds.items(), key=lambda kind: ROWS.index(kind[0][0])):
        if row in PROBES:
            cells = [spread([run['auc'] for run in runs], 3)]
        elif row == TRACES:
            by_family = {name: spread([run['by_family'][name] for run in runs], 0) for name in runs[0]['by_family']}
            cells = ['', spread([run['accuracy'] for run in runs], 1), *map(' '.join, by_family.items())]
        else:
            chosen = [[run['epochs'][0] for run in runs], [run['epochs'][-1] for run in runs]]
            chosen.append([run['epochs'][run['kept']] for run in runs])
            cells = [
                spread([epoch[name] for epoch in epochs], digits)
                for epochs in chosen
                for name, digits in (('auc', 3), ('accuracy', 1))
            ]
        print(f'| {", ".join(map(str, [row, *others]))} | {len(runs)} | {" | ".join(cells)} |')


def spread(values: list[float], digits: int) -> str:
    middle = f'{statistics.median(values):.{digits}f}'
    return middle if len(values) == 1 else f'{middle} ({min(values):.{digits}f} to {max(values):.{digits}f})'


if __name__ == '__main__':
    sys.exit(options.run(main))
