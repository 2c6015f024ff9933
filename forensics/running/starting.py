"""Run a script so that it ends with one readable message and an exit status. No torch in here."""

import errno
import functools
import os
import signal
import sys
import threading
from collections.abc import Callable

from forensics.errors import UserError


def processes() -> int:
    """The number of processes of this script that torchrun has started."""
    return int(os.environ.get('WORLD_SIZE', 1))


def run(main: Callable, failed: int = 1) -> int:
    """Run a script's `main` and turn the errors that a user can mend into one message and the exit status `failed`."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # a scheduler's way of pressing Ctrl-C
    keep_workers_quiet()
    if processes() > 1 and not getattr(main, 'works_together', False):
        print('error: torchrun is for train_main.py and numerical_analysis.py; start this one alone.', file=sys.stderr)
        return 1
    hook, sys.unraisablehook = sys.unraisablehook, press_again
    try:
        result = main()
        sys.stdout.flush()  # output into a file on a full disk fails here or never
    except UserError as error:
        print(f'error: {error}', file=sys.stderr)
        return failed
    except KeyboardInterrupt:
        sys.unraisablehook = lambda _: None  # interrupted objects may complain while they are deleted
        return 130
    except BrokenPipeError:  # `... | head` has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:  # these are no defect of ours, wherever they happen
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
        return failed
    finally:
        sys.unraisablehook = hook
    return result if isinstance(result, int) else 0


STOPS = {signal.SIGINT, signal.SIGTERM}


@functools.cache  # a second registration would do the same again
def keep_workers_quiet() -> None:
    """Let forked workers ignore Ctrl-C, which is for their parent, and end without a traceback on SIGTERM, which an
    interrupted parent sends; both from a worker's first moment on."""
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
    """Send Ctrl-C again if it came where Python ignores every error: in a destructor, or in the fork that starts a
    worker, which takes tens of milliseconds in a large process."""
    if issubclass(unraisable.exc_type, KeyboardInterrupt):
        # To the main thread itself: nothing else wakes it if it waits.
        timer = threading.Timer(0.05, signal.pthread_kill, (threading.main_thread().ident, signal.SIGTERM))
        timer.daemon = True
        timer.start()
    else:
        sys.__unraisablehook__(unraisable)
