"""Train a detector and log its loss and accuracy:

python train_main.py -d fakes_dataset -m SimpleNet --lr 0.001 -b 32 -e 5 -o Adam
"""

import argparse
import dataclasses
import signal
import sys
from pathlib import Path

import torch
from torch import nn

import options
from common import CHECKPOINT_DIR
from forensics import datasets, records, runtime
from forensics.batches import preload
from forensics.errors import UserError
from models import Preprocessing, build_model, get_spec
from trainer import LoggingParameters, Trainer
from utils import load_dataset, load_model


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = options.parser(__doc__)
    options.add_dataset(parser)
    options.add_model(parser)
    parser.add_argument('-o', '--optimizer', choices=('SGD', 'Adam'), default='SGD', help='(default: %(default)s)')
    parser.add_argument('--lr', type=float, default=0.001, help='learning rate (default: %(default)s)')
    parser.add_argument('--momentum', type=float, default=0.9, help="SGD's momentum (default: %(default)s)")
    parser.add_argument('-b', '--batch_size', type=options.positive, default=128, help='(default: %(default)s)')
    parser.add_argument('-e', '--epochs', type=options.positive, default=2, help='(default: %(default)s)')
    parser.add_argument(
        '--backbone-weights',
        metavar='imagenet|none|FILE',
        help="where a backbone starts (default: ImageNet's weights or, with a warning, random ones)",
    )
    parser.add_argument(
        '--precision',
        choices=('float32', 'bf16'),
        default='float32',
        help='bf16 is faster and less exact (default: %(default)s)',
    )
    parser.add_argument(
        '--workers',
        type=options.non_negative,
        default=0,
        help='processes that decode images (default: %(default)s, which is best on few cores)',
    )
    parser.add_argument('--skip-broken', action='store_true', help='leave out images that cannot be read')
    parser.add_argument('--resume', action='store_true', help='go on with the run of this name that was interrupted')
    options.add_seed(parser)
    options.add_data_root(parser)
    options.add_device(parser)
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    options.apply(args)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # a scheduler's way of pressing Ctrl-C
    preprocessing = get_spec(args.model).preprocessing
    parts = {part: load_dataset(args.dataset, part) for part in datasets.PARTS}
    skipped = check_images(parts, preprocessing.only_size, args.skip_broken)
    model = make_model(args)
    if preprocessing != Preprocessing():
        for part, dataset in parts.items():
            dataset.transform = preprocessing.train_transform() if part == 'train' else preprocessing.test_transform()
    check_memory(model, parts['train'][0][0], args.batch_size)
    optimizer = make_optimizer(model, args)
    optimizer_params = {name: value for name, value in optimizer.param_groups[0].items() if name != 'params'}
    logging_parameters = LoggingParameters(args.model, args.dataset, args.optimizer, records.plain(optimizer_params))
    trainer = Trainer(
        model,
        optimizer,
        nn.CrossEntropyLoss(),
        args.batch_size,
        parts['train'],
        parts['val'],
        parts['test'],
        workers=args.workers,
        precision=args.precision,
    )
    trainer.run(args.epochs, logging_parameters, facts=describe(args, model, parts, skipped), resume=args.resume)
    best = records.checkpoint_path(CHECKPOINT_DIR, logging_parameters.run_name)
    print(f'The best epoch on validation is in {best}.')


def check_images(parts: dict, size: int | None, skip_broken: bool) -> list[str]:
    """Read every image once, so that a bad one is named now and not in the middle of the training.

    `size` is the only one that the model takes, None if it scales its input. Returns the files left out.
    """
    broken = []
    for part, dataset in parts.items():
        real, fake = len(dataset.real_image_names), len(dataset.fake_image_names)
        print(f'{part}: {real} real and {fake} fake images in {dataset.root_path}')
        part_broken, sizes = preload(dataset, part)
        broken += part_broken
        for (width, height), file in sizes.items():
            if size is not None and (width, height) != (size, size):
                raise UserError(
                    f'{file} has {width}x{height} pixels, and this model takes {size}x{size}. Make a data '
                    f'set of that size: `python preprocessing.py --no-detect --size {size} ...`.'
                )
    if broken and not skip_broken:
        raise UserError(
            f'{len(broken)} of the images cannot be read, the first: {broken[0]}. '
            f'Remove them, or leave them out with --skip-broken.'
        )
    bad_paths = {error.path for error in broken}
    for dataset in parts.values():
        for label, names in (('real', dataset.real_image_names), ('fake', dataset.fake_image_names)):
            names[:] = [name for name in names if str(Path(dataset.root_path) / label / name) not in bad_paths]
            if not names:
                raise UserError(
                    f'{dataset.root_path}/{label} holds no image that can be read; '
                    f'a detector needs both classes in every part.'
                )
    for error in broken:
        print(f'left out: {error}')
    return sorted(bad_paths)


def make_model(args: argparse.Namespace) -> nn.Module:
    if args.backbone_weights is None:
        return load_model(args.model)
    return build_model(args.model, args.backbone_weights).to(runtime.device())


def check_memory(model: nn.Module, sample: torch.Tensor, batch_size: int) -> None:
    """Say that a batch does not fit before the system kills the process for it."""
    fixed, per_image = runtime.training_memory(model, sample)
    free = runtime.free_memory(runtime.model_device(model))
    needed, fitting = fixed + per_image * batch_size, (free - fixed) // per_image
    if needed > free:
        advice = f'-b {2 ** (fitting.bit_length() - 1)} fits.' if fitting > 0 else 'not even one image fits.'
        raise UserError(
            f'Training with a batch of {batch_size} takes about {needed / 1e9:.1f} GB of memory and '
            f'{free / 1e9:.1f} GB are free; {advice}'
        )


def make_optimizer(model: nn.Module, args: argparse.Namespace) -> torch.optim.Optimizer:
    # Fused: one pass over the weights instead of a dozen, which takes 12% of a step otherwise.
    if args.optimizer == 'SGD':
        return torch.optim.SGD(model.parameters(), lr=args.lr, momentum=args.momentum, fused=True)
    return torch.optim.Adam(model.parameters(), lr=args.lr, fused=True)


def describe(args: argparse.Namespace, model: nn.Module, parts: dict, skipped: list[str]) -> dict:
    """What the record tells of a run beside its curves: enough to rebuild the detector and to repeat the training."""
    card = datasets.read_card(Path(parts['train'].root_path).parent)
    elsewhere = ('resume', 'workers', 'device', 'data_root')  # say how or where, and change no number
    return {
        'model': args.model,
        'dataset': args.dataset,
        'class_names': card.get('class_names', list(datasets.CLASSES)),
        'preprocessing': dataclasses.asdict(get_spec(args.model).preprocessing),
        'arguments': {name: value for name, value in vars(args).items() if name not in elsewhere},
        'seed': args.seed,
        'backbone_weights': getattr(model, 'backbone_weights', None),
        'data': {
            part: {
                'real': len(dataset.real_image_names),
                'fake': len(dataset.fake_image_names),
                'fingerprint': datasets.fingerprint(dataset.root_path),
            }
            for part, dataset in parts.items()
        },
        'skipped': skipped,
        'commit': records.commit(),
        'versions': records.versions('torch', 'torchvision', 'timm', 'numpy', 'pillow'),
    }


if __name__ == '__main__':
    sys.exit(options.run(main))
