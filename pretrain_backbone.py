"""Teach Xception what happens to pictures, on pictures drawn for it; the weights serve where no model hub is in reach:

python pretrain_backbone.py

Every picture is drawn, seen through a camera and sent through one of many processing traces; the net says which, and
how strong it is. It starts on small crops and ends on whole pictures. Its state is saved every minute, and the same
line with --resume goes on, with a larger --images too. The weights go to checkpoints/xception_forensic.safetensors.
A GPU with a dozen cores beside it sees a million pictures in five minutes, larger ones and more at once:

python pretrain_backbone.py --images 3000000 --large 20000 --size 128 -b 128 --lr 0.0005

More compute carries weights on where nothing but they is left of a run:

python pretrain_backbone.py --start-from checkpoints/xception_forensic.safetensors --seed 1
"""

import argparse
import dataclasses
import itertools
import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import scipy.fft
import torch
from safetensors.torch import save
from torch import nn
from torch.utils.data import DataLoader, default_convert

import options
from common import CHECKPOINT_DIR, OUTPUT_DIR
from forensics import memory, records, runtime
from forensics.batches import BatchTransform
from forensics.errors import UserError
from forensics.histories import CLASSES, FAMILIES, by_family
from forensics.progress import Progress
from forensics.stream import BLOCKS, FACES, Blocks, Recipe
from models import Preprocessing
from trainer import Totals, make_optimizer
from xception import build_xception_backbone, is_forensic, load_backbone_weights, notes_of

NAME = 'xception_forensic'
CHECK_EVERY = 10_000  # pictures, or CHECKS times in a phase, whichever is rarer
CHECKS = 50
SAVE_EVERY = 60  # seconds
WARM_UP = 3_000
CHECK_BLOCKS, CHECK_PICTURES = 24, 768  # at most
PLAIN = 50_000  # pictures that are easy to tell apart, at the beginning
HELPED = {'bn2': 64, 'block1': 128, 'block3': 728, 'block8': 728}  # layers and their channels
LARGER = 80  # kernels, in the weights that are shipped
NEW_AT_THE_END = ('block12.', 'conv3.', 'bn3.', 'conv4.', 'bn4.', 'fc.')  # in them, see pass_on and decorrelate
LOOKS = 32  # blocks for the last running statistics
LARGE = 256  # the size of the last phase, which is the detectors'
# What a run that goes on may change: how far, where and how fast.
FREE = ('images', 'large', 'precision', 'workers', 'device', 'resume')


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = options.parser(__doc__)
    parser.add_argument(
        '--images', type=options.positive, default=420_000,
        help=f'small crops, the first {PLAIN} with plain traces alone (default: %(default)s)',
    )  # fmt: skip
    parser.add_argument(
        '--large', type=options.non_negative, default=3_000,
        help=f'pictures of {LARGE} pixels after them (default: %(default)s)',
    )  # fmt: skip
    parser.add_argument('--size', type=options.positive, default=64, help='of the crops (default: %(default)s)')
    parser.add_argument('-b', '--batch_size', type=options.positive, default=32, help='(default: %(default)s)')
    parser.add_argument('--lr', type=options.rate, default=0.0003, help='learning rate (default: %(default)s)')
    parser.add_argument(
        '--faces', type=options.share, default=FACES,
        help='share of drawn faces among the scenes (default: %(default)s)',
    )  # fmt: skip
    parser.add_argument(
        '--without', nargs='+', choices=FAMILIES, default=[], metavar='FAMILY',
        help=f'families of traces to leave out: {", ".join(FAMILIES)}',
    )  # fmt: skip
    parser.add_argument(
        '--precision', choices=('float32', 'bf16'), help='(default: bf16, or float32 where the processor lacks bf16)'
    )
    parser.add_argument(
        '--workers', type=options.positive, help='processes that draw (default: 1; with CUDA, one a core)'
    )
    parser.add_argument('--resume', action='store_true', help='go on where an interrupted run stopped')
    parser.add_argument(
        '--start-from', type=Path, metavar='FILE',
        help='weights of an earlier run, to teach them more; give another --seed for other pictures',
    )  # fmt: skip
    parser.add_argument('--name', default=NAME, help='of the files (default: %(default)s)')
    options.add_seed(parser)
    options.add_device(parser)
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    options.apply(args)
    memory.tune_allocator()
    if args.precision is None:
        args.precision = 'float32' if runtime.slow_in_bf16(runtime.device()) else 'bf16'
    classes = tuple(name for name in CLASSES if not any(name in FAMILIES[family] for family in args.without))
    if len(classes) < 2:
        raise UserError('There is nothing left to tell apart: give --without fewer families.')
    pretraining = Pretraining(args, classes)
    if args.start_from:
        pretraining.take_over(args.start_from)
    if args.resume:
        pretraining.restore()
    try:
        recipe = Recipe(args.size, args.batch_size, args.faces, classes)
        plain = 0 if args.start_from else min(PLAIN, args.images)
        pretraining.phase('plain', dataclasses.replace(recipe, faintest=0.5, quality=90), plain, fall=0)
        pretraining.phase('crops', recipe, args.images - plain, fall=0.9)
        whole = dataclasses.replace(recipe, size=LARGE, pictures=max(1, args.batch_size // 2))
        pretraining.phase('whole', whole, args.large, start=0.1, fall=0.1)
    except KeyboardInterrupt:
        print('\nInterrupted; the same line with --resume goes on from the last minute.', flush=True)
        raise
    print(f'Wrote {pretraining.export()}.')


class Pretraining:
    def __init__(self, args: argparse.Namespace, classes: tuple[str, ...]):
        self.args, self.classes = args, classes
        self.model = build_xception_backbone(pretrained=False)
        self.model.fc = nn.Linear(self.model.num_features, len(classes) + 1)  # the last one: how strong
        self.model.helpers = nn.ModuleList(
            Helper(self.model.get_submodule(layer), channels, len(classes)) for layer, channels in HELPED.items()
        )
        self.model = self.model.to(runtime.device(), memory_format=torch.channels_last)
        start_with_cosines(self.model.conv1)
        carry_along(self.model)
        # Half precision would round the picture's own grey levels, and with them the traces.
        self.model.conv1.forward = torch.autocast(runtime.device().type, enabled=False)(self.model.conv1.forward)
        self.optimizer = make_optimizer('AdamW', self.model, args.lr)
        self.transform = BatchTransform.of(Preprocessing().test_transform())
        self.seen = {'plain': 0, 'crops': 0, 'whole': 0}
        self.seen_before: dict[str, int] = {}  # by the weights that it started from
        self.log: list[dict] = []
        self.state_path = Path(CHECKPOINT_DIR) / f'{args.name}.last.pt'
        self.saved = time.monotonic()

    # --- training ------------------------------------------------------------

    def phase(self, name: str, recipe: Recipe, images: int, start: float = 1.0, fall: float = 0.9) -> None:
        """Train until `images` were seen in this phase; the learning rate is `start`, and in the last third it falls
        by `fall`."""
        batch = recipe.pictures
        first, last = self.seen[name] // batch, images // batch
        blocks = Blocks(recipe, self.args.seed + list(self.seen).index(name))
        check_every = max(CHECK_EVERY, images // CHECKS)
        new_ones = self.new_ones(recipe) if first < last else []
        self.model.train()
        window = Window(self.classes)
        progress = Progress(
            self.loader(blocks, range(first, last)), max(0, last - first), f'{name}, {recipe.size} pixels'
        )
        since = time.monotonic()
        for number, (pictures, labels, strengths) in enumerate(progress, start=first):
            self.set_rate(number / last, start, fall)
            self.optimizer.zero_grad()
            outputs = self.forward(pictures)
            loss = self.loss(outputs, labels, strengths)
            if not torch.isfinite(loss):
                raise UserError(f'The loss is {loss.item()} after {self.seen} images. A smaller --lr may help.')
            loss.backward()
            self.optimizer.step()
            self.seen[name] += batch
            window.add(loss, outputs, labels)
            progress.show(loss=window.loss, accuracy=window.accuracy)
            if self.seen[name] % check_every < batch or number == last - 1:
                self.check(name, new_ones, window, time.monotonic() - since)
                window, since = Window(self.classes), time.monotonic()
            if time.monotonic() - self.saved > SAVE_EVERY or number == last - 1:
                self.save()

    def set_rate(self, done: float, start: float, fall: float) -> None:
        warm = min(1.0, (sum(self.seen.values()) + 1) / WARM_UP)
        falling = max(0.0, (done - 2 / 3) * 3) * fall
        for group in self.optimizer.param_groups:
            group['lr'] = self.args.lr * warm * (start - falling)

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        with torch.autocast(runtime.device().type, torch.bfloat16, enabled=self.args.precision == 'bf16'):
            return self.model(self.inputs(pictures)).float()

    def inputs(self, pictures: torch.Tensor) -> torch.Tensor:
        return self.transform(pictures.to(runtime.device(), non_blocking=True).permute(0, 3, 1, 2), seeds=[])

    def loss(self, outputs: torch.Tensor, labels: torch.Tensor, strengths: torch.Tensor) -> torch.Tensor:
        labels, strengths = labels.to(outputs.device), strengths.to(outputs.device)
        near = [nn.functional.cross_entropy(helper(), labels) for helper in self.model.helpers]
        touched = (labels != self.classes.index('untouched')).float() if 'untouched' in self.classes else 1.0
        errors = nn.functional.smooth_l1_loss(outputs[:, -1], strengths, reduction='none', beta=0.1)
        return nn.functional.cross_entropy(outputs[:, :-1], labels) + (touched * errors).mean() + sum(near)

    def loader(self, blocks: Blocks, numbers: range) -> Iterator[list[torch.Tensor]]:
        """The blocks in their order. All that show the same scenes come from one process, which draws these once."""
        on_gpu = runtime.model_device(self.model).type == 'cuda'
        workers = self.args.workers or (torch.get_num_threads() if on_gpu else 1)
        groups = [list(group) for _, group in itertools.groupby(numbers, lambda number: number // BLOCKS)]
        drawn = DataLoader(
            blocks, batch_sampler=groups, collate_fn=default_convert, num_workers=workers, pin_memory=on_gpu,
            prefetch_factor=2 if on_gpu else 1,
        )  # fmt: skip
        return itertools.chain.from_iterable(drawn)

    def new_ones(self, recipe: Recipe) -> list[list[torch.Tensor]]:
        """Of a stream of their own; copied, as what a process has drawn lies in shared memory, which may be small."""
        number = max(1, min(CHECK_BLOCKS, CHECK_PICTURES // recipe.pictures))
        blocks = self.loader(Blocks(recipe, 2**31), range(number))
        return [[tensor.clone() for tensor in block] for block in blocks]

    def check(self, name: str, new_ones: list, window: 'Window', seconds: float) -> None:
        """Accuracy on pictures that are the same ones all through a phase."""
        checked = Window(self.classes)
        self.model.eval()
        with torch.no_grad():
            for pictures, labels, strengths in new_ones:
                outputs = self.forward(pictures)
                checked.add(self.loss(outputs, labels, strengths), outputs, labels)
        self.model.train()
        entry = {
            'phase': name,
            **self.seen,
            'train_loss': window.loss,
            'train_acc': window.accuracy,
            'val_loss': checked.loss,
            'val_acc': checked.accuracy,
            'by_family': by_family(checked.names, checked.hits),
            'images_a_second': window.samples / seconds,
        }
        self.log.append(entry)
        records.write_json(
            Path(OUTPUT_DIR) / f'pretrain_{self.args.name}.json', {'arguments': vars(self.args), 'checks': self.log}
        )
        print(
            f'{" + ".join(f"{seen:,}" for seen in self.seen.values())} images: train loss {window.loss:.3f}, accuracy '
            f'{window.accuracy:.1f}; new ones {checked.loss:.3f}, {checked.accuracy:.1f}; '
            f'{entry["images_a_second"]:.1f} a second',
            flush=True,
        )

    # --- files ------------------------------------------------------------

    def save(self) -> None:
        records.save_checkpoint(
            self.state_path,
            {
                'model': self.model.state_dict(),
                'optimizer': self.optimizer.state_dict(),
                'settings': self.settings(),
                'seen': self.seen,
                'seen_before': self.seen_before,
                'log': self.log,
            },
        )
        self.saved = time.monotonic()

    def settings(self) -> dict:
        return records.plain({**vars(self.args), 'classes': self.classes})

    def take_over(self, path: Path) -> None:
        """What export() wrote, but for its last layers, which had taken the place of learned ones."""
        if not is_forensic(path):
            raise UserError(f'{path}: --start-from takes the .safetensors file that an earlier run wrote.')
        backbone = build_xception_backbone(pretrained=False)
        load_backbone_weights(backbone, path)
        enlarge_kernels(backbone, 1 / LARGER)
        learned = {name: value for name, value in backbone.state_dict().items() if not name.startswith(NEW_AT_THE_END)}
        self.model.load_state_dict({**self.model.state_dict(), **learned})
        self.seen_before = json.loads(notes_of(path).get('seen', '{}'))

    def restore(self) -> None:
        if not self.state_path.exists():
            print(f'No unfinished run ({self.state_path}): starting from the beginning.')
            return
        state = records.load_checkpoint(self.state_path)
        before, now = state['settings'], self.settings()
        changed = sorted(name for name in now if name not in FREE and before.get(name) != now[name])
        if changed:
            raise UserError(
                f'{self.state_path} began with other arguments ({", ".join(changed)}). Give the same line, or another '
                f'--name to start anew.'
            )
        self.model.load_state_dict(state['model'])
        self.optimizer.load_state_dict(state['optimizer'])
        self.seen, self.seen_before, self.log = state['seen'], state['seen_before'], state['log']
        if now['images'] > before['images'] and self.seen['whole']:  # in the end there are whole pictures again
            self.seen_before['whole'] = self.seen_before.get('whole', 0) + self.seen['whole']
            self.seen['whole'] = 0

    def export(self) -> Path:
        """The backbone alone, its weights in half precision; its running statistics would leave that range."""
        path = Path(CHECKPOINT_DIR) / f'{self.args.name}.safetensors'
        backbone = build_xception_backbone(pretrained=False)
        del backbone.fc
        backbone.load_state_dict({name: self.model.state_dict()[name] for name in backbone.state_dict()})
        runtime.seed_everything(self.args.seed)
        pass_on(backbone)
        maps = self.look_again(backbone)
        decorrelate(backbone.conv4.pointwise, backbone.bn4, maps)
        enlarge_kernels(backbone, LARGER)
        weights = {
            name: (tensor.half() if name.endswith(('weight', 'bias')) else tensor).contiguous()
            for name, tensor in backbone.cpu().state_dict().items()
        }
        preprocessing = Preprocessing()
        seen = {phase: number + self.seen_before.get(phase, 0) for phase, number in self.seen.items()}
        facts = {'mean': preprocessing.mean, 'std': preprocessing.std, 'seen': seen, 'classes': self.classes}
        with records.atomic_path(path) as temporary:
            temporary.write_bytes(save(weights, {name: json.dumps(value) for name, value in facts.items()}))
        return path

    def look_again(self, backbone: nn.Module) -> torch.Tensor:
        """Running statistics of all its BatchNorms, from new pictures of the detectors' size; returns what the last
        pointwise convolution was given."""
        backbone.to(runtime.device(), memory_format=torch.channels_last).train()
        for module in backbone.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.reset_running_stats()
                module.momentum = None  # the mean of all batches
        maps = []
        hook = backbone.conv4.pointwise.register_forward_pre_hook(lambda layer, inputs: maps.append(inputs[0]))
        blocks = Blocks(Recipe(LARGE, 32, self.args.faces, self.classes), 2**30)
        with torch.no_grad():
            for pictures, _, _ in Progress(self.loader(blocks, range(LOOKS)), LOOKS, 'statistics'):
                backbone.forward_features(self.inputs(pictures))
        hook.remove()
        return torch.cat(maps)


class Helper(nn.Module):
    """Names the trace from what a layer in the middle gives. Traces are local: what the first layers have to find, they
    learn sooner from a loss that is near."""

    def __init__(self, layer: nn.Module, channels: int, classes: int):
        super().__init__()
        self.fc = nn.Linear(channels, classes)
        layer.register_forward_hook(self.take)

    def take(self, layer: nn.Module, inputs: tuple, output: torch.Tensor) -> None:
        self.taken = output

    def forward(self) -> torch.Tensor:
        return self.fc(nn.functional.relu(self.taken).float().mean((2, 3)))


def start_with_cosines(layer: nn.Conv2d) -> None:
    """One frequency of one colour difference a kernel. Traces are fainter than the picture by a hundred times and lie
    where it is faintest; the BatchNorm behind these kernels makes every frequency equally strong, while it leaves
    random kernels with what is strongest, the picture's brightness."""
    waves = torch.from_numpy(scipy.fft.dct(np.eye(layer.kernel_size[0], dtype=np.float32), axis=0, norm='ortho'))
    colours = torch.from_numpy(scipy.fft.dct(np.eye(layer.in_channels, dtype=np.float32), axis=0, norm='ortho'))
    basis = torch.einsum('ci,ay,bx->abciyx', colours, waves, waves).reshape(-1, *layer.weight.shape[1:])
    with torch.no_grad():
        layer.weight[: len(basis)] = basis[: len(layer.weight)]


def carry_along(model: nn.Module) -> None:
    """What block2 has found goes in channels of its own, which no block writes on, past all blocks to block11's output.

    Each depth sees something else: a linear probe of StyleGAN's faces (cross-validation on the training part) told 0.80
    from any one of block3 to block11, and 0.82 from 472 channels of block11 with the 256 of block2 beside them.
    """

    def keep(parameter: torch.Tensor, values: torch.Tensor) -> None:
        with torch.no_grad():
            parameter[: len(values)] = values
        free = torch.ones(len(parameter), *[1] * (parameter.dim() - 1), device=parameter.device)
        free[: len(values)] = 0
        parameter.register_hook(lambda gradient: gradient * free)

    carried = model.block3.skip.in_channels
    keep(model.block3.skip.weight, torch.eye(carried)[:, :, None, None])
    for number in range(3, 12):
        last = last_norm(model.get_submodule(f'block{number}'))
        keep(last.weight, torch.zeros(carried))
        keep(last.bias, torch.zeros(carried))


def last_norm(block: nn.Module) -> nn.BatchNorm2d:
    """Through which all goes that the block adds to what it is given."""
    return [module for module in block.rep if isinstance(module, nn.BatchNorm2d)][-1]


def pass_on(model: nn.Module) -> None:
    """New last layers (block12, conv3) that hand on what they are given: every channel above zero and below it, and
    beside them random mixtures, smoothed over their neighbourhood.

    What learns to name a trace forgets all else that was seen, and most of all in the last layers: of StyleGAN's faces
    (validation part) a linear probe told 0.86 from block8, 0.83 from block11 and 0.79 from the end.
    """
    with torch.no_grad():
        for end in (model.block12, model.conv3, model.bn3):
            for module in end.modules():
                if isinstance(module, nn.BatchNorm2d):
                    module.reset_parameters()
                elif isinstance(module, nn.Conv2d):
                    nn.init.kaiming_normal_(module.weight)
        last_norm(model.block12).weight.zero_()  # at first the block adds nothing
        channels = model.block12.skip.in_channels
        same = torch.eye(channels, model.conv3.pointwise.in_channels)[:, :, None, None]
        model.block12.skip.weight[:channels] = same[:, :channels]
        model.conv3.pointwise.weight[: 2 * channels] = torch.cat([same, -same])
        for layer in (model.conv3, model.conv4):
            layer.conv1.weight.fill_(1 / 9)


def decorrelate(layer: nn.Conv2d, norm: nn.BatchNorm2d, maps: torch.Tensor) -> None:
    """Let the layer turn what it is given (`maps`, of drawn pictures) on its principal axes, each in both directions;
    BatchNorm makes all of them equally strong, and the ReLU behind it lets the upper end of each through.

    A new head learns more from these in a hundred steps than from features that all rise and fall together: on frozen
    ones of StyleGAN's faces (validation part) an AuC of 0.78 instead of 0.71. Cutting more (at one standard deviation:
    0.78) costs a linear probe more than it brings; not at all, and the head gets 0.75.
    """
    quarters = nn.functional.adaptive_avg_pool2d(maps, 2).permute(0, 2, 3, 1).flatten(0, 2)
    _, axes = torch.linalg.eigh(torch.cov(quarters.T.cpu().double()))  # some devices have no double precision
    axes = axes.T.flip(0)[: layer.out_channels // 2].float()[:, :, None, None]
    norm.reset_running_stats()
    with torch.no_grad():
        # As large as this the axes stay where they are; see enlarge_kernels.
        layer.weight.copy_(100 * torch.cat([axes, -axes]))
        norm.weight.fill_(3)
        norm.bias.fill_(-1.5)  # ReLU cuts what is less than half a standard deviation above the mean
        for part in maps.split(32):
            norm(layer(part))


def enlarge_kernels(model: nn.Module, times: float) -> None:
    """The same function from larger kernels: the BatchNorm behind them takes the factor out again.

    Adam moves a weight by its learning rate, however small the weight is. The assignment's 0.001 is a fiftieth of what
    a kernel here has learned, and a few steps would wipe it out; of larger kernels it is a smaller share.
    """
    kernels = []
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.Conv2d):
                module.weight *= times
                kernels.append(module)
            elif isinstance(module, nn.BatchNorm2d):  # of all that stand before it since the last one
                module.running_mean *= times ** len(kernels)
                module.running_var *= times ** (2 * len(kernels))
                kernels.clear()


class Window(Totals):
    """Loss and accuracy over the pictures since the last check."""

    def __init__(self, classes: tuple[str, ...]):
        super().__init__()
        self.classes = classes
        self.names: list[str] = []
        self.hits: list[bool] = []

    def add(self, loss: torch.Tensor, outputs: torch.Tensor, labels: torch.Tensor) -> None:
        found, wanted = outputs[:, :-1].cpu(), labels.tolist()
        super().add(loss, found, labels, wanted, nn.CrossEntropyLoss())
        for guess, label in zip(found.argmax(1).tolist(), wanted, strict=True):
            self.names.append(self.classes[label])
            self.hits.append(guess == label)


if __name__ == '__main__':
    sys.exit(options.run(main))
