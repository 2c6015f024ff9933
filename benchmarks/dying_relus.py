"""What Adam's first steps do to SimpleNet, with PyTorch's first weights and with ours, layer by layer:

python benchmarks/dying_relus.py

Of each layer, on some 80 pictures of the validation part: the units that are above zero for at least one picture, and
how far one picture's value of a unit is from another's, as a share of how far it is from zero. docs/first_weights.md
tells what the table says.
"""

import argparse
import sys
from pathlib import Path

import torch
from torch import nn

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import options
from forensics.running import starting
from forensics.running.batches import Batches
from models import SimpleNet
from trainer import make_optimizer
from utils import load_dataset

STEPS = (0, 1, 2, 3, 5, 10, 25)
LAYERS = ('conv1', 'conv2', 'conv3', 'fc1', 'fc2')


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = options.parser(__doc__)
    options.add_dataset(parser)
    options.add_seed(parser)
    options.add_data_root(parser)
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    options.apply(args)
    train, validation = (load_dataset(args.dataset, part) for part in ('train', 'val'))
    chosen = range(0, len(validation), max(1, len(validation) // 64))
    pictures = torch.stack([validation[index][0] for index in chosen])
    for title, begin in (("PyTorch's first weights", with_pytorchs_weights), ('Ours', lambda net: net)):
        options.apply(args)
        net = begin(SimpleNet())
        print(f'\n{title}, seed {args.seed}\n\n| steps | ' + ' | '.join(LAYERS) + ' | loss |')
        print('|---' * (len(LAYERS) + 2) + '|')
        for step, loss in first_steps(net, train, args.seed):
            cells = [f'{alive:.0%}, {apart:.2f}' for alive, apart in look(net, pictures)]
            print(f'| {step} | ' + ' | '.join(cells) + f' | {loss:.2f} |', flush=True)


def with_pytorchs_weights(net: nn.Module) -> nn.Module:
    for layer in net.modules():
        if isinstance(layer, (nn.Conv2d, nn.Linear)):
            layer.reset_parameters()
    return net


def first_steps(net: nn.Module, train, seed: int):
    """(steps so far, the last one's loss), each time that it is worth a look."""
    optimizer = make_optimizer('Adam', net, lr=0.001)
    yield 0, float('nan')
    batches = Batches(train, 32, torch.device('cpu'), shuffle=True, seed=seed)
    for step, (inputs, labels, _) in zip(range(1, STEPS[-1] + 1), batches, strict=False):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(net(inputs), labels)
        loss.backward()
        optimizer.step()
        if step in STEPS:
            yield step, loss.item()


@torch.no_grad()
def look(net: nn.Module, pictures: torch.Tensor) -> list[tuple[float, float]]:
    """Of each layer (the share of living units, the spread over pictures as a share of the mean size)."""
    found = {}

    def keep(name: str):
        def hook(module, inputs, outputs) -> None:
            values = outputs.flatten(2).amax(2) if outputs.dim() == 4 else outputs  # a channel lives by its best place
            found[name] = (
                (values.amax(0) > 0).float().mean().item(),
                (values.std(0).mean() / values.abs().mean()).item(),
            )

        return hook

    handles = [net.get_submodule(name).register_forward_hook(keep(name)) for name in LAYERS]
    net(pictures)
    for handle in handles:
        handle.remove()
    return [found[name] for name in LAYERS]


if __name__ == '__main__':
    sys.exit(starting.run(main))
