"""Train a detector and log its loss and accuracy:

python train_main.py -d fakes_dataset -m SimpleNet --lr 0.001 -b 32 -e 5 -o Adam
python train_main.py -d synthetic_dataset fakes_dataset -m PhotoNet -b 32 -e 6 -o AdamW --schedule one-cycle --crop 192
"""

import argparse
import dataclasses
import sys
from pathlib import Path

from torch.utils.data import Dataset

import detectors
import options
from common import CHECKPOINT_DIR
from forensics import records
from forensics.data import datasets
from forensics.data.checks import check_backbone, check_memory, check_precision
from forensics.data.mixtures import Mixture
from forensics.data.parts import Part, files_of
from forensics.pictures.passed_on import AUGMENTATIONS
from forensics.running import distributed, runtime, starting
from models import build_with_origin, get_spec
from trainer import OPTIMIZERS, SCHEDULES, LoggingParameters, Trainer, make_optimizer
from utils import get_nof_params


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = options.parser(__doc__)
    parser.add_argument(
        '-d',
        '--dataset',
        nargs='+',
        default=['fakes_dataset'],
        dest='datasets',
        metavar='NAME',
        help='name of the data set: fakes_dataset, synthetic_dataset or your own; of several to train on together, one '
        'that is named twice counts twice (default: fakes_dataset)',
    )
    options.add_model(parser)
    parser.add_argument('-o', '--optimizer', choices=OPTIMIZERS, default='SGD', help='(default: %(default)s)')
    parser.add_argument('--lr', type=options.rate, default=0.001, help='learning rate (default: %(default)s)')
    parser.add_argument('--momentum', type=options.rate, default=0.9, help="SGD's momentum (default: %(default)s)")
    parser.add_argument('-b', '--batch_size', type=options.positive, default=128, help='(default: %(default)s)')
    parser.add_argument('-e', '--epochs', type=options.positive, default=2, help='(default: %(default)s)')
    parser.add_argument(
        '--schedule', choices=SCHEDULES, default='constant', help='of the learning rate (default: %(default)s)'
    )
    parser.add_argument('--weight-decay', type=options.rate, help="(default: the optimizer's own)")
    parser.add_argument(
        '--average',
        type=options.share,
        metavar='SHARE',
        help='judge and keep a running average of the weights, such as 0.999: this share of it stays in every step',
    )
    options.add_backbone_weights(parser)
    parser.add_argument(
        '--option',
        metavar='NAME=VALUE',
        type=options.setting,
        action='append',
        default=[],
        help="one of the model's own options, such as dense=256, dropout=0.5 or frozen=false; may be repeated",
    )
    parser.add_argument('--no-augmentation', action='store_true', help='train on the pictures as they are')
    parser.add_argument('--crop', type=options.positive, metavar='N', help='train on random squares of N pixels')
    parser.add_argument(
        '--augment',
        choices=AUGMENTATIONS,
        help='passed-on: train on pictures that were scaled, blurred, compressed and so on at random',
    )
    parser.add_argument(
        '--self-blend',
        type=options.share,
        default=0,
        metavar='SHARE',
        help='make this share of the fakes of real pictures, blended into themselves or up-convolved (default: none)',
    )
    parser.add_argument(
        '--teacher',
        metavar='FILE',
        help='learn also from what this detector answers to the same pictures: a .pt or .safetensors of ours, or an '
        'exported .onnx for pictures of its size',
    )
    parser.add_argument(
        '--teacher-share', type=options.share, metavar='SHARE', help="the teacher's share of the loss (default: 0.5)"
    )
    parser.add_argument(
        '--precision',
        choices=('float32', 'bf16'),
        default='float32',
        help='bf16 is less exact, and faster where the processor knows it (default: %(default)s)',
    )
    parser.add_argument(
        '--compile', action='store_true', help='let torch.compile make the model faster, which takes a minute; for GPUs'
    )
    parser.add_argument(
        '--workers',
        type=options.non_negative,
        default=0,
        help='processes that decode images (default: %(default)s, which is best on few cores)',
    )
    options.add_skip_broken(parser)
    parser.add_argument('--resume', action='store_true', help='go on with the run of this name that was interrupted')
    options.add_process_wide(parser)
    args = parser.parse_args(argv)
    if args.no_augmentation and (args.crop or args.augment):
        parser.error('--no-augmentation leaves nothing to --crop and --augment: give one or the other')
    if args.teacher is None and args.teacher_share is not None:
        parser.error('--teacher-share needs --teacher FILE')
    if args.teacher and args.teacher_share is None:
        args.teacher_share = 0.5  # and no default, or a run of a line without a teacher could not go on
    return args


@distributed.together
def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    options.apply(args)
    spec = get_spec(args.model)
    check_precision(args.precision, runtime.device())
    parts, left_out = detectors.open_to_train(
        args.datasets,
        spec.preprocessing,
        args.skip_broken,
        crop=args.crop,
        augment=args.augment,
        made_fakes=args.self_blend,
    )
    model, origin = build_with_origin(args.model, args.backbone_weights, **dict(args.option))
    model = model.to(runtime.device())
    if origin:
        print(f'Weights of the backbone: {origin}.')
    check_backbone(model, origin)
    if args.no_augmentation:
        parts['train'].transform = parts['val'].transform
    teacher = detectors.Teacher(args.teacher, spec.preprocessing, args.crop) if args.teacher else None
    sample = parts['val'][0][0]  # a picture of train would draw random numbers
    check_memory(model, sample, args.batch_size)
    if args.compile:
        runtime.compile_model(model, sample)
    optimizer = make_optimizer(args.optimizer, model, args.lr, args.momentum, args.weight_decay)
    optimizer_params = {name: value for name, value in optimizer.param_groups[0].items() if name != 'params'}
    logging_parameters = LoggingParameters(
        args.model, datasets.joined(args.datasets), args.optimizer, records.plain(optimizer_params)
    )
    trainer = Trainer(
        model,
        optimizer,
        spec.criterion(),
        args.batch_size,
        parts['train'],
        parts['val'],
        parts['test'],
        workers=args.workers,
        precision=args.precision,
        schedule=args.schedule,
        average=args.average,
        teacher=teacher,
        teacher_share=args.teacher_share,
    )
    facts = {'parameters': get_nof_params(model), **describe(args, origin, parts, left_out)}
    if teacher:
        facts['teacher'] = teacher.detector.training
    trainer.run(args.epochs, logging_parameters, facts=facts, resume=args.resume)
    best = records.checkpoint_path(CHECKPOINT_DIR, logging_parameters.run_name)
    print(f'The best epoch on validation is in {best}.')


def describe(args: argparse.Namespace, origin: str | None, parts: dict, left_out: dict[str, str]) -> dict:
    """The record of a run beside its curves: enough to rebuild the detector and to repeat the training."""
    spec = get_spec(args.model)
    elsewhere = ('resume', 'workers', 'device', 'data_root')  # these change no number
    arguments = {name: value for name, value in vars(args).items() if name not in elsewhere}
    for name in ('backbone_weights', 'teacher'):  # weights are passed on, without the folders of who made them
        arguments[name] = arguments[name] and Path(arguments[name]).name
    return {
        'model': args.model,
        'dataset': datasets.joined(args.datasets),
        'datasets': list(dict.fromkeys(args.datasets)),
        'class_names': list(datasets.CLASSES),
        'model_options': {**spec.options, **dict(args.option)},
        'preprocessing': dataclasses.asdict(spec.preprocessing),
        'arguments': arguments,
        'seed': args.seed,
        'backbone_weights': origin,
        'data': {name: facts_of(args.datasets, name, part) for name, part in parts.items()},
        'data_source': source_of(parts['train']),
        'skipped': list(left_out),
        'processes': distributed.size(),
        'commit': records.commit(),
        'versions': records.versions('torch', 'torchvision', 'timm', 'numpy', 'pillow'),
    }


def facts_of(names: list[str], name: str, opened: Dataset) -> dict:
    """Counts and fingerprint of a part; of a mixture, its counts and the facts of each data set in it."""
    if not isinstance(opened, Mixture):
        return Part.of(names[0], name, opened).facts(files_of(opened))
    members = {
        Path(member.root_path).parent.name: Part.of('', name, member).facts(files_of(member))
        for member in opened.datasets
    }
    counts = {label: sum(facts[label] for facts in members.values()) for label in datasets.CLASSES}
    return {**counts, 'datasets': members}


def source_of(opened: Dataset) -> str | None:
    """The source on the data set's card; of a mixture, that of drawn data if there are any in it."""
    members = opened.datasets if isinstance(opened, Mixture) else [opened]
    sources = [datasets.read_card(Part.of('', 'train', member).home).get('source') for member in members]
    return next(filter(datasets.is_drawn, sources), sources[0])


if __name__ == '__main__':
    sys.exit(starting.run(main))
