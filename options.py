"""Arguments that several scripts share: `add_...` adds one to a parser, or those that go together; `apply` makes those
that concern the whole process hold."""

import argparse
import contextlib
import json
import os
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from forensics.data.datasets import ROOT_VARIABLE
from forensics.errors import UserError
from forensics.judging import exported
from forensics.judging.detector import Detector

SHIPPED = Path(__file__).resolve().parent / 'checkpoints' / 'faces.onnx'


def parser(doc: str) -> argparse.ArgumentParser:
    """A parser whose help is the script's own docstring."""
    return argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)


def command_line(script: str, argv: Sequence[str] | None) -> str:
    """The line that was typed, for the record of what it made; `argv` is what `main` was given."""
    return shlex.join(['python', Path(script).name, *(sys.argv[1:] if argv is None else argv)])


def use_data_root(args: argparse.Namespace) -> None:
    """Make --data-root hold for the whole process. A script without torch calls this instead of `apply`."""
    if args.data_root:
        os.environ[ROOT_VARIABLE] = args.data_root


def apply(args: argparse.Namespace) -> None:
    """Make the choices of --data-root, --device and --seed hold for the whole process, which uses torch."""
    from forensics.running import runtime

    use_data_root(args)
    if 'device' in args and args.device:
        os.environ[runtime.DEVICE_VARIABLE] = args.device
        runtime.device()  # raises now, not after the data set was read, if there is no such device
    if 'seed' in args:
        runtime.seed_everything(args.seed)


def add_dataset(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        '-d',
        '--dataset',
        default='fakes_dataset',
        metavar='NAME',
        help='name of the data set: fakes_dataset, synthetic_dataset or your own (default: %(default)s)',
    )


def add_model(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        '-m',
        '--model',
        default='SimpleNet',
        metavar='NAME',
        help='SimpleNet, XceptionBased, MyNet, BonusNet, CustomCNN, XceptionTransfer, PhotoNet, timm:NAME '
        '(default: %(default)s)',
    )


def add_checkpoint(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        '-cpp',
        '-cp',
        '--checkpoint_path',
        required=True,
        metavar='FILE',
        help='checkpoint that train_main.py wrote: checkpoints/{dataset}_{model}_{optimizer}.pt',
    )


def add_detector(parser: argparse.ArgumentParser) -> None:
    """The arguments of a script for pictures from anywhere. `load_detector` loads what they name."""
    parser.add_argument(
        '--checkpoint',
        default=SHIPPED,
        metavar='FILE',
        help='detector: an exported .onnx, or a .pt or .npz of ours with the full environment (default: faces.onnx)',
    )
    parser.add_argument('-m', '--model', metavar='NAME', help="the network of a stranger's .pt that does not say it")


def load_detector(args: argparse.Namespace) -> Detector:
    path = args.checkpoint
    if path == SHIPPED and not SHIPPED.exists():
        raise UserError(
            f'No detector {SHIPPED}. Train one and export it: `python export_onnx.py -cpp CHECKPOINT.pt -o {SHIPPED}`, '
            f'or name another with --checkpoint.'
        )
    if Path(path).suffix == '.onnx':
        return exported.load(path)  # without torch, which takes seconds
    try:
        import detectors
    except ImportError as error:
        raise UserError(
            f'{path} needs the full environment, and {error.name} is missing: `./setup.sh`, then start again. An '
            f'exported detector (.onnx) needs less.'
        ) from error
    return detectors.load_detector(path, args.model)


def add_seed(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('--seed', type=non_negative, default=0, help='of everything random (default: %(default)s)')


def add_data_root(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        '--data-root',
        metavar='FOLDER',
        help=f'folder that holds the data sets (default: ${ROOT_VARIABLE}, ../Assignment4_datasets, .., demo_datasets)',
    )


def add_device(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('--device', metavar='NAME', help='cpu, cuda, cuda:1, mps (default: a GPU if there is one)')


def add_skip_broken(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('--skip-broken', action='store_true', help='leave out images that cannot be read')


def add_backbone_weights(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        '--backbone-weights',
        metavar='imagenet|none|FILE',
        help="where a backbone starts (default: ImageNet's weights, else random ones)",
    )


def add_process_wide(parser: argparse.ArgumentParser) -> None:
    """The arguments that `apply` makes hold for the whole process."""
    add_seed(parser)
    add_data_root(parser)
    add_device(parser)


def add_explained(parser: argparse.ArgumentParser, methods: Sequence[str]) -> None:
    """The arguments of a script that explains a trained model's answers; the first method is the default."""
    add_model(parser)
    add_checkpoint(parser)
    add_dataset(parser)
    add_seed(parser)
    add_skip_broken(parser)
    add_data_root(parser)
    add_device(parser)
    parser.add_argument('--image', metavar='FILE', help='explain the biggest face of this picture, and no data set')
    parser.add_argument('--method', choices=methods, default=methods[0], help='(default: %(default)s)')


def add_scores(parser: argparse.ArgumentParser) -> None:
    """Scores of other people's detectors. Call `check_scores` after parsing."""
    from forensics.judging.elsewhere import MEANINGS

    parser.add_argument(
        '--scores',
        nargs='+',
        default=[],
        metavar='FILE.csv',
        help="anybody's detector: a CSV file with the columns score and file (fakes_dataset/test/real/a.jpg, or the "
        'end of it that tells which image is meant)',
    )
    parser.add_argument(
        '--scores-mean',
        nargs='+',
        default=[],
        choices=list(MEANINGS),
        metavar='MEANING',
        help='what those scores are, as nobody can guess it: '
        + '; '.join(f'{name}: {what}' for name, what in MEANINGS.items())
        + '. One for all files or one for each',
    )
    parser.add_argument(
        '--allow-missing', action='store_true', help='take those scores also if images of the data set have none'
    )


def check_scores(parser: argparse.ArgumentParser, args: argparse.Namespace) -> None:
    """Make `args.scores` pairs of a file and the meaning of its scores."""
    if args.scores and len(args.scores_mean) not in (1, len(args.scores)):
        parser.error('--scores needs --scores-mean: once for all files, or once for each of them')
    meanings = args.scores_mean * len(args.scores) if len(args.scores_mean) == 1 else args.scores_mean
    args.scores = list(zip(args.scores, meanings, strict=False))


def setting(text: str) -> tuple[str, bool | int | float | str]:
    """Split NAME=VALUE; true, false and numbers become values of their own types."""
    name, equals, value = text.partition('=')
    if not equals:
        raise argparse.ArgumentTypeError(f'{text} is not NAME=VALUE')
    with contextlib.suppress(ValueError):
        value = json.loads(value)
    return name, value


def positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f'{text} is not 1 or more')
    return value


def non_negative(text: str) -> int:
    value = int(text)
    if not 0 <= value < 2**63:
        raise argparse.ArgumentTypeError(f'{text} is negative or too large')
    return value


def share(text: str) -> float:
    value = float(text)
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f'{text} is not a share, from 0 to 1')
    return value


def rate(text: str) -> float:
    value = float(text)
    if not 0 <= value < float('inf'):
        raise argparse.ArgumentTypeError(f'{text} is not a number from 0 upwards')
    return value
