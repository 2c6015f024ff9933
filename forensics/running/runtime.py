"""The machine: device, seeds, memory."""

import contextlib
import os
import random
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import nn

from forensics.errors import UserError
from forensics.running import distributed

CGROUP = Path('/sys/fs/cgroup')
DEVICE_VARIABLE = 'FACES_DEVICE'  # like the data root: a choice that has to reach functions with fixed signatures


def device() -> torch.device:
    """The chosen device; without a choice a GPU if there is one."""
    chosen = os.environ.get(DEVICE_VARIABLE, '')
    if not chosen:
        return torch.device('cuda' if torch.cuda.is_available() else 'cpu')
    try:
        chosen = torch.device(chosen)
        torch.empty(1, device=chosen)
    except (
        RuntimeError,
        AssertionError,
        NotImplementedError,
    ) as error:  # torch's answers to a device it lacks
        raise UserError(f'No device "{chosen}" here ({str(error).splitlines()[0]}); try --device cpu.') from error
    return chosen


def model_device(model: nn.Module) -> torch.device:
    """The device of the model's parameters, where its inputs have to be."""
    for tensor in (*model.parameters(), *model.buffers()):
        return tensor.device
    return torch.device('cpu')


def forward(model: nn.Module, inputs: torch.Tensor, precision: str) -> torch.Tensor:
    """The model's outputs as float32, whatever the precision inside."""
    with torch.autocast(inputs.device.type, torch.bfloat16, enabled=precision == 'bf16'):
        return model(inputs).float()


def seed_everything(seed: int) -> None:
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)  # on every device


def seed_dropout(seed: int, epoch: int) -> None:
    """Give each of several processes random numbers of its own, which follow from seed and epoch alone.

    A single process keeps the state of its generators.
    """
    if distributed.size() > 1:
        seed_everything((seed + 1_000_003 * epoch + 7_919 * (distributed.rank() + 1)) % 2**62)


def rng_state() -> dict:
    """The state of every random number generator, in types that `torch.load(weights_only=True)` takes."""
    kind, keys, position, has_gauss, gauss = np.random.get_state()
    return {
        'torch': torch.get_rng_state(),
        'cuda': torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
        'python': random.getstate(),
        'numpy': [kind, torch.from_numpy(keys.astype(np.int64)), position, has_gauss, gauss],
    }


def set_rng_state(state: dict) -> None:
    torch.set_rng_state(state['torch'])
    if state['cuda'] and torch.cuda.device_count() == len(state['cuda']):
        torch.cuda.set_rng_state_all(state['cuda'])
    version, internal, gauss_next = state['python']
    random.setstate((version, tuple(internal), gauss_next))
    kind, keys, *rest = state['numpy']
    np.random.set_state((kind, keys.numpy().astype(np.uint32), *rest))


@contextlib.contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Inside, the CPU's generators start from `seed`; afterwards they go on as if nothing had happened."""
    states = torch.get_rng_state(), random.getstate(), np.random.get_state()
    torch.default_generator.manual_seed(seed)
    random.seed(seed)
    np.random.seed(seed % 2**32)
    try:
        yield
    finally:
        torch.set_rng_state(states[0])
        random.setstate(states[1])
        np.random.set_state(states[2])


def free_memory(target: torch.device) -> int:
    """Bytes that this process may still take, within a container's limit and shared with the run's other processes."""
    if target.type == 'cuda':
        return torch.cuda.mem_get_info(target)[0]
    import psutil

    free = psutil.virtual_memory().available
    with contextlib.suppress(OSError, ValueError):  # no cgroup v2, or no limit ("max")
        limit, used = (int((CGROUP / f'memory.{name}').read_text()) for name in ('max', 'current'))
        # Files that were read or written lately count as used, but make room for whoever needs it.
        cached = dict(line.split() for line in (CGROUP / 'memory.stat').read_text().splitlines())
        free = min(free, limit - used + int(cached.get('inactive_file', 0)))
    return free // distributed.local_size()


def slow_in_bf16(target: torch.device) -> bool:
    """True if the processor has no instructions for bfloat16: in software it is hundreds of times slower than float32.

    Measured, since no call answers it for every kind of processor.
    """
    if target.type != 'cpu':
        return False
    seconds = []
    for kind in (torch.float32, torch.bfloat16):
        factors = torch.ones(2, 256, 256, dtype=kind)
        turns = []
        for _ in range(3):
            start = time.perf_counter()
            torch.mm(*factors)
            turns.append(time.perf_counter() - start)
        seconds.append(min(turns))
    return seconds[1] > 10 * seconds[0]


def compile_model(model: nn.Module, sample: torch.Tensor) -> None:
    """Let torch.compile make the model faster, in place: its parameters keep their names."""
    model.compile()
    try:
        with frozen_state(model), torch.no_grad():
            model.eval()(sample.unsqueeze(0).to(model_device(model)))
    except Exception as error:  # a missing compiler raises a dozen kinds of errors
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise UserError(f'torch.compile cannot compile this model here ({reason}). Leave --compile out.') from error


def training_memory(model: nn.Module, sample: torch.Tensor) -> tuple[int, int]:
    """(bytes that training takes whatever the batch, bytes for each image in it).

    Measured, not guessed: one forward pass of two images counts what autograd keeps for the backward pass.
    """
    kept: dict[int, int] = {}
    parameters = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in parameters:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    batch = sample.unsqueeze(0).repeat(2, *[1] * sample.dim()).to(model_device(model))
    with frozen_state(model), torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        output = model.train()(batch)
        del output
    weights = sum(parameter.nbytes for parameter in model.parameters())
    # Weights, gradients and Adam's two moments; torch itself takes 600 MB, and convolutions need workspace.
    return 4 * weights + 600 * 2**20, int(1.25 * sum(kept.values()) / 2)


@contextlib.contextmanager
def modes_kept(model: nn.Module) -> Iterator[None]:
    """Restore the mode of every module at the end.

    `model.train(mode)` would give all one mode, and a BatchNorm that was fixed in evaluation mode would move again.
    """
    modes = [(module, module.training) for module in model.modules()]
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training


@contextlib.contextmanager
def frozen_state(model: nn.Module) -> Iterator[None]:
    """Restore buffers (BatchNorm's statistics), random numbers and modes at the end."""
    buffers = {name: buffer.clone() for name, buffer in model.named_buffers()}
    random_state = torch.get_rng_state()
    try:
        with modes_kept(model):
            yield
    finally:
        torch.set_rng_state(random_state)
        with torch.no_grad():
            for name, buffer in model.named_buffers():
                buffer.copy_(buffers[name])
