"""Arguments that several scripts share: each function adds one to a parser, or those that go together.

Also the way every script starts.
"""

import argparse
import contextlib
import errno
import functools
import json
import os
import signal
import sys
import threading
from collections.abc import Callable

from forensics.data.datasets import ROOT_VARIABLE
from forensics.errors import UserError


def run(main: Callable) -> int:
    """Run a script's `main` and turn what the user has to know into one readable message and an exit status."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # a scheduler's way of pressing Ctrl-C
    keep_workers_quiet()
    if int(os.environ.get('WORLD_SIZE', 1)) > 1 and not getattr(main, 'works_together', False):
        print('error: torchrun is for train_main.py and numerical_analysis.py; start this one alone.', file=sys.stderr)
        return 1
    hook, sys.unraisablehook = sys.unraisablehook, press_again
    try:
        result = main()
        sys.stdout.flush()  # what is printed into a file on a full disk fails here or never
    except UserError as error:
        print(f'error: {error}', file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        sys.unraisablehook = lambda _: None  # what was cut off in its middle may complain while it is cleared away
        return 130
    except BrokenPipeError:  # `... | head` has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:  # wherever it happened, these are no defect of ours
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM):
            raise
        print(
            f'error: {error.filename or "The output"}: {error.strerror}. Free some space or check the permissions, '
            f'then run the same line again.',
            file=sys.stderr,
        )
        try:
            sys.stdout.flush()
        except OSError:  # the interpreter would complain of it a second time
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    finally:
        sys.unraisablehook = hook
    return result if isinstance(result, int) else 0


STOPS = {signal.SIGINT, signal.SIGTERM}


@functools.cache  # a second registration would do the same again
def keep_workers_quiet() -> None:
    """In a forked worker Ctrl-C is its parent's business, and SIGTERM, by which a parent that was interrupted ends it,
    does so without a traceback, from the first moment on."""
    if hasattr(os, 'register_at_fork'):  # not on Windows
        os.register_at_fork(
            before=lambda: signal.pthread_sigmask(signal.SIG_BLOCK, STOPS),
            after_in_parent=lambda: signal.pthread_sigmask(signal.SIG_UNBLOCK, STOPS),
            after_in_child=be_quiet,
        )


def be_quiet() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, STOPS)


def press_again(unraisable) -> None:
    """Ctrl-C comes once more if it came where Python ignores every error: in a destructor, or in the fork that starts a
    worker, which takes a large process tens of milliseconds."""
    if issubclass(unraisable.exc_type, KeyboardInterrupt):
        # To the main thread itself: only so does it wake one that waits.
        timer = threading.Timer(0.05, signal.pthread_kill, (threading.main_thread().ident, signal.SIGTERM))
        timer.daemon = True
        timer.start()
    else:
        sys.__unraisablehook__(unraisable)


def parser(doc: str) -> argparse.ArgumentParser:
    """A parser whose help is the script's own docstring."""
    return argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)


def apply(args: argparse.Namespace) -> None:
    """Make the choices of --data-root, --device and --seed hold for the whole process."""
    if getattr(args, 'data_root', None):
        os.environ[ROOT_VARIABLE] = args.data_root
    if getattr(args, 'device', None):
        from forensics.running import runtime

        os.environ[runtime.DEVICE_VARIABLE] = args.device
        runtime.device()  # a device that is not there is named now, not after the data set was read
    if getattr(args, 'seed', None) is not None and 'torch' in sys.modules:
        from forensics.running import runtime

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
        help='SimpleNet, XceptionBased, MyNet, BonusNet, CustomCNN, XceptionTransfer, timm:NAME (default: %(default)s)',
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
    """All that `apply` makes hold for the whole process."""
    add_seed(parser)
    add_data_root(parser)
    add_device(parser)


def add_explained(parser: argparse.ArgumentParser) -> None:
    """All that a script takes which explains a trained model's answers on a data set."""
    add_model(parser)
    add_checkpoint(parser)
    add_dataset(parser)
    add_seed(parser)
    add_skip_broken(parser)
    add_data_root(parser)
    add_device(parser)


def setting(text: str) -> tuple[str, bool | int | float | str]:
    """NAME=VALUE; true, false and numbers are taken as such."""
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
