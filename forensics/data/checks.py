"""Checks before hours of training: images that cannot be read, memory, a backbone that has learned nothing, a precision
that costs time instead of saving it."""

import shlex
import sys
from pathlib import Path

import torch
from torch import nn

from forensics.errors import UserError
from forensics.running import distributed, runtime
from forensics.running.batches import has_pictures, preload

PICTURE = 0.75  # this share of a side of --crop must be picture; what is missing is mirrored at the edges


def check_images(
    parts: dict,
    size: int | None,
    skip_broken: bool,
    both_classes: bool = True,
    *,
    crop: int | None = None,
    keep: bool = True,
) -> dict[str, str]:
    """Read every image once, so that a bad one is reported now and not in the middle of the work.

    `size` is the only picture size that the model takes, None if it takes all; squares of `crop` pixels are cut out
    of every picture, which may be a little smaller. Pictures are kept in memory if `keep` says so and they fit. Returns
    the files left out, with the reason of each.
    """
    broken = []
    parts = {part: dataset for part, dataset in parts.items() if has_pictures(dataset)}  # not a grader's own class
    for part, dataset in parts.items():
        real, fake = len(dataset.real_image_names), len(dataset.fake_image_names)
        print(f'{part}: {real} real and {fake} fake images in {dataset.root_path}')
        part_broken, sizes = preload(dataset, part, keep)
        broken += part_broken
        for (width, height), file in sizes.items():
            if size is not None and (width, height) != (size, size):
                folder = str(Path(dataset.root_path).parent)
                source, scaled = shlex.quote(folder), shlex.quote(f'{folder}_{size}')
                raise UserError(
                    f'{file} has {width}x{height} pixels, and this model takes {size}x{size}. Scale the data set: '
                    f'`python preprocessing.py --no-detect --size {size} --from {source} --output {scaled}`.'
                )
            if crop and min(width, height) < crop * PICTURE:
                raise UserError(f'{file} has {width}x{height} pixels, too few for --crop {crop}; give a smaller one.')
    if broken and not skip_broken:
        raise UserError(
            f'{len(broken)} of the images cannot be read, the first: {broken[0]}. '
            f'Remove them, or leave them out with --skip-broken.'
        )
    left_out = {error.path: error.reason for error in sorted(broken, key=lambda error: error.path)}
    for dataset in parts.values():
        for label, names in (('real', dataset.real_image_names), ('fake', dataset.fake_image_names)):
            names[:] = [name for name in names if str(Path(dataset.root_path) / label / name) not in left_out]
            if both_classes and not names:
                raise UserError(
                    f'{dataset.root_path}/{label} holds no image that can be read; '
                    f'a detector needs both classes in every part.'
                )
    for error in broken:
        print(f'left out: {error}')
    return left_out


def check_memory(model: nn.Module, sample: torch.Tensor, batch_size: int) -> None:
    """Raise if a batch does not fit into memory, before the system kills the process for it."""
    fixed, per_image = runtime.training_memory(model, sample)
    processes = distributed.size()
    free = runtime.free_memory(runtime.model_device(model))
    needed = fixed + per_image * -(-batch_size // processes)  # a slice, rounded up
    fitting = (free - fixed) // per_image * processes
    if needed > free:
        advice = f'-b {2 ** (fitting.bit_length() - 1)} fits.' if fitting > 0 else 'not even one image fits.'
        raise UserError(
            f'Training with a batch of {batch_size} takes about {needed / 1e9:.1f} GB of memory and '
            f'{free / 1e9:.1f} GB are free{" for each process" if processes > 1 else ""}; {advice}'
        )


def check_precision(precision: str, device: torch.device) -> None:
    """Warn of a precision that costs time here instead of saving it."""
    if precision == 'bf16' and runtime.slow_in_bf16(device):
        print(
            'This processor has no instructions for bf16 and does it in software, many times slower than float32: '
            'leave --precision out.',
            file=sys.stderr,
        )


def check_backbone(model: nn.Module, origin: str | None) -> None:
    """Warn of a frozen random backbone: its features are next to constant, so that no head can learn from them."""
    if getattr(model, 'frozen', False) and origin == 'random':
        print(
            'The backbone is frozen and its weights are random: this network will learn next to nothing. '
            'Give it weights (--backbone-weights FILE) or train it too (frozen=false).',
            file=sys.stderr,
        )
