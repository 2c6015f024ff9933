"""Show how Adam's first steps change SimpleNet's layers, with PyTorch's first weights and with ours:

python benchmarks/dying_relus.py

Each cell gives, for one layer and some 80 pictures of the validation part, the share of units that are above zero for
at least one picture, and the spread of a unit's values over the pictures as a share of their mean size.
docs/first_weights.md explains the table.
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
    """Train; yield (steps so far, the last one's loss) at each of STEPS."""
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
    """(share of living units, spread over pictures as a share of the mean size) for each layer."""
    found = {}

    def keep(name: str):
        def hook(module, inputs, outputs) -> None:
            values = outputs.flatten(2).amax(2) if outputs.dim() == 4 else outputs  # a channel lives by its maximum
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
