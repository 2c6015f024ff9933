"""Several processes that train or score together. PyTorch's own command starts them:

torchrun --standalone --nproc_per_node=2 train_main.py -d fakes_dataset -m SimpleNet

Everything about them is in this module, and a single process passes through it unchanged. In training every batch is
cut into slices, one for each process, and DistributedDataParallel averages the gradients; in evaluation each process
takes whole batches. Only the first process prints and writes.
"""

import atexit
import contextlib
import functools
import json
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NoReturn

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import nn
from torch.overrides import TorchFunctionMode

from forensics.errors import UserError
from forensics.running import starting

_store: dist.Store | None = None  # torchrun's; it outlives a process that dies


def size() -> int:
    """The number of processes that work together."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    return dist.get_rank() if size() > 1 else 0


def is_first() -> bool:
    """True in the process that prints and writes."""
    return rank() == 0


def local_size() -> int:
    """The number of processes on this machine, which share its memory."""
    return int(os.environ.get('LOCAL_WORLD_SIZE', size())) if size() > 1 else 1


# --- start and end ------------------------------------------------------------


def together(main: Callable) -> Callable:
    """Let a command's `main` run in all of torchrun's processes. Without torchrun it is called as it is.

    Whatever ends one process ends all of them, and only the first that knows the reason prints it.
    """

    @functools.wraps(main)
    def run(*args, **kwargs):
        if 'LOCAL_RANK' not in os.environ or starting.processes() == 1:
            return main(*args, **kwargs)
        try:
            with _group(), _quiet():
                return main(*args, **kwargs)
        except BaseException as error:
            raise _last_words(error) from error

    run.works_together = True  # starting.run refuses the other commands, which would all write the same files
    return run


@contextlib.contextmanager
def _group() -> Iterator[None]:
    global _store
    cuda = torch.cuda.is_available()
    local_rank = int(os.environ['LOCAL_RANK'])
    if cuda and local_rank < torch.cuda.device_count():
        torch.cuda.set_device(local_rank)  # 'cuda' means this GPU from here on
    store, own_rank, processes = next(dist.rendezvous('env://'))
    # After a restart (--max-restarts) the store still holds the addresses of the processes that died.
    _store = dist.PrefixStore(f'attempt {os.environ.get("TORCHELASTIC_RESTART_COUNT", 0)}', store)
    # Counts, sums and scores travel between the CPUs, also where the gradients go from GPU to GPU.
    backend = 'cpu:gloo,cuda:nccl' if cuda else 'gloo'
    dist.init_process_group(backend, store=_store, rank=own_rank, world_size=processes)
    yield
    dist.destroy_process_group()  # not after an error: it would wait for operations that never end


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Only the first process prints, warns and shows bars."""
    if is_first():
        yield
        return
    with open(os.devnull, 'w') as nowhere, contextlib.redirect_stdout(nowhere), contextlib.redirect_stderr(nowhere):
        yield


def _may_speak() -> bool:
    """True for the first process that asks: it prints why all stop, and the others stay silent."""
    if _store is None:
        return True
    try:
        return _store.add('stopping', 1) == 1
    except RuntimeError:  # the store has ended with the process that it was in
        return True


def say_why_all_stop(message: str) -> None:
    """Print `message`, unless another process has already printed its reason."""
    if size() == 1:
        print(message, flush=True)
    elif _may_speak():
        print(message, file=sys.__stdout__, flush=True)


def _last_words(error: BaseException) -> BaseException:
    """The error to raise in the process that may speak; the other processes end in this function."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)  # torchrun sends them to all processes that still run
    status = 130 if isinstance(error, KeyboardInterrupt) else error.code if isinstance(error, SystemExit) else 1
    if isinstance(error, SystemExit) or not _may_speak():
        time.sleep(1)  # torchrun names the first process that ends, and that should be the one with the reason
        _end_at_once(status)
    # Python's own way out would wait for the other processes, which may be waiting for this one.
    atexit.register(_end_at_once, status)
    if isinstance(error, KeyboardInterrupt):
        print('Interrupted. Run the same line again.', file=sys.stderr)
    elif _connection_lost(error):
        return UserError(
            'Another process has ended, and without it the others cannot go on. '
            'Run the same line again; with --resume a training goes on after its last whole epoch.'
        )
    else:
        _tell_torchrun(f'{type(error).__name__}: {error}')
    return error


def _end_at_once(status: int | None) -> NoReturn:
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status or 0)


def _connection_lost(error: BaseException) -> bool:
    text = str(error).lower()
    return isinstance(error, dist.DistError) or (
        isinstance(error, RuntimeError) and any(phrase in text for phrase in ('gloo', 'nccl', 'connection closed'))
    )


def _tell_torchrun(message: str) -> None:
    """Give torchrun the reason, or the report that it prints next would show none."""
    if file := os.environ.get('TORCHELASTIC_ERROR_FILE'):
        report = {'message': message, 'extraInfo': {'timestamp': str(int(time.time()))}}
        with contextlib.suppress(OSError), open(file, 'w') as opened:
            json.dump({'message': report}, opened)


# --- one process's share ------------------------------------------------------------


def own_slice(items: Sequence) -> Sequence:
    """This process's slice. All slices, in the order of the processes, make up the whole."""
    return items[len(items) * rank() // size() : len(items) * (rank() + 1) // size()]


def from_first(make: Callable[[], Any]) -> Any:
    """Call `make` in the first process and give its result to all; on other machines its file may not exist."""
    if size() == 1:
        return make()
    values = [make() if is_first() else None]
    dist.broadcast_object_list(values)
    return values[0]


def joined(own: list) -> list:
    """The lists of all processes, one after the other."""
    if size() == 1:
        return own
    parts = [None] * size()
    dist.all_gather_object(parts, own)
    return [item for part in parts for item in part]


def on_first(function: Callable) -> Callable:
    """Let only the first process call a function that writes files; the others wait until it is done."""

    @functools.wraps(function)
    def call(*args, **kwargs):
        return from_first(lambda: function(*args, **kwargs))

    return call


# --- training ------------------------------------------------------------


def data_parallel(model: nn.Module) -> nn.Module:
    """The model, with gradients that are averaged over the processes while the backward pass is still running."""
    return model if size() == 1 else _wrapped(model)


@functools.cache  # a second wrapper would average the same gradients again
def _wrapped(model: nn.Module) -> nn.Module:
    gpus = torch.cuda.device_count()
    if next(model.parameters()).is_cuda and local_size() > gpus:
        raise UserError(
            f'{local_size()} processes cannot share {gpus} GPUs: give torchrun --nproc_per_node={gpus}, '
            f'or the script --device cpu.'
        )
    return nn.parallel.DistributedDataParallel(model, gradient_as_bucket_view=True)  # no second copy of the gradients


def weighted(loss: torch.Tensor, criterion: nn.Module, own_size: int, batch_size: int) -> torch.Tensor:
    """A slice's loss, scaled so that the average of the gradients is the gradient of the whole batch's loss.

    `own_size` of the `batch_size` samples are in the slice; none if there are fewer samples than processes.
    """
    if size() == 1:
        return loss
    if getattr(criterion, 'reduction', 'mean') == 'sum':
        return loss * (size() if own_size else 0)
    return loss * (size() * own_size / batch_size)


def whole_batch_statistics(counts: bool) -> contextlib.AbstractContextManager:
    """Inside, BatchNorm normalises with the mean and variance of the whole batch instead of this process's slice.

    `counts` is False if the slice is empty and a sample stands in for it. Torch's SyncBatchNorm supports neither such
    slices nor CPUs.
    """
    return contextlib.nullcontext() if size() == 1 else _WholeBatchStatistics(counts)


class _WholeBatchStatistics(TorchFunctionMode):
    """Takes the place of `torch.nn.functional.batch_norm`, which every kind of BatchNorm layer calls."""

    def __init__(self, counts: bool):
        super().__init__()
        self.counts = counts

    def __torch_function__(self, function: Callable, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if function is F.batch_norm:
            return _batch_norm(self.counts, *args, **kwargs)
        return function(*args, **kwargs)


@torch.compiler.disable
def _batch_norm(
    counts, x, running_mean, running_var, weight=None, bias=None, training=False, momentum=0.1, eps=1e-5
) -> torch.Tensor:
    if not training:
        return F.batch_norm(x, running_mean, running_var, weight, bias, training, momentum, eps)
    return _WholeBatchNorm.apply(x, weight, bias, running_mean, running_var, momentum, eps, counts)


class _WholeBatchNorm(torch.autograd.Function):
    """BatchNorm by torch's own kernels, with one small sum over the processes forward and one backward.

    Left to autograd, a step of a small net takes a third to two thirds longer; with sums of squares in float32 a tenth,
    but then the variance of values far from zero loses digits.
    """

    @staticmethod
    def forward(ctx, x, weight, bias, running_mean, running_var, momentum, eps, counts):
        zeros = torch.zeros(x.shape[1], device=x.device)
        own = torch.stack(torch.batch_norm_update_stats(x, zeros, zeros.clone(), 0.0)).double()
        rows = x.numel() // x.shape[1]
        sums = counts * rows * torch.stack([torch.ones_like(own[0]), own[0], own[1] + own[0] ** 2])
        dist.all_reduce(sums)
        total, mean = sums[0], sums[1] / sums[0]
        variance = sums[2] / total - mean**2  # in double precision, or the difference would lose digits
        if running_mean is not None:
            running_mean.lerp_(mean.to(running_mean), momentum)
            running_var.lerp_((variance * total / (total - 1).clamp(min=1)).to(running_var), momentum)
        mean, variance = mean.float(), variance.float()
        ctx.save_for_backward(x, weight, mean, (variance + eps).rsqrt(), total)
        ctx.eps, ctx.counts = eps, counts
        return F.batch_norm(x, mean, variance, weight, bias, False, 0.0, eps)

    @staticmethod
    def backward(ctx, gradient):
        x, weight, mean, inverse_std, total = ctx.saved_tensors
        # The kernel takes out what flows through the mean and the variance of this slice alone ...
        own, weight_gradient, bias_gradient = torch.ops.aten.native_batch_norm_backward(
            gradient, x, weight, None, None, mean, inverse_std, True, ctx.eps, [True] * 3
        )
        sums = torch.stack([bias_gradient, weight_gradient]).double()
        whole = sums.clone()
        dist.all_reduce(whole)
        # ... and this puts the whole batch's in its place.
        constant, linear = sums / (x.numel() // x.shape[1]) - ctx.counts * whole / total
        scale = inverse_std if weight is None else inverse_std * weight
        slope = scale * inverse_std * linear
        shape = (1, -1, *[1] * (x.dim() - 2))
        own.add_((scale * constant - slope * mean).to(own.dtype).view(shape))
        own.addcmul_(x, slope.to(own.dtype).view(shape))
        if weight is None:
            weight_gradient = bias_gradient = None
        return own, weight_gradient, bias_gradient, None, None, None, None, None
