"""Xception, the architecture of "Deep Learning with Depthwise Separable Convolutions" (Chollet, 2017).

build_xception_backbone(pretrained=True) takes it from timm (`legacy_xception`), whose layers carry the names of the
common PyTorch port (conv1, bn1, block1 ... block12, conv3, bn3, conv4, bn4, fc), so that everyone's checkpoints load.
start_backbone is the one place that decides which weights it, or any other net of timm, begins with.
"""

import contextlib
import os
import sys
import threading
import urllib.request
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import nn

from forensics.errors import UserError
from forensics.running import distributed
from forensics.weights import KERAS_SUFFIXES, PACKAGES, WeightsUnavailable, read_keras_xception

XCEPTION = 'legacy_xception'
WEIGHTS_HELP = 'imagenet, none (random weights) or the path of a file'


def build_xception_backbone(pretrained: bool = True, **kwargs) -> nn.Module:
    """Xception with a 1000-way `fc`; pre-trained on ImageNet, or WeightsUnavailable if that is impossible.

    The packaged weights have no `fc`, so that layer starts random.
    """
    return start_backbone(XCEPTION, 'imagenet' if pretrained else 'none', **kwargs)[0]


def start_backbone(name: str, weights: str | None, **kwargs) -> tuple[nn.Module, str]:
    """(A net of timm, the origin of its weights: imagenet:PACKAGE, imagenet for timm's own, file:NAME or random).

    `weights` is imagenet, none or a file; None takes ImageNet's or, if they cannot be had, random ones.
    """
    import timm  # takes a second, so only a command that builds one of its nets waits for it

    timm_config(name)  # a name that timm does not know is told first
    # The first of several processes decides, as the others may be on machines that reach less; training begins by
    # giving them its weights.
    if weights == 'none' or not distributed.is_first():
        model, origin = timm.create_model(name, **kwargs), 'random'
    elif weights is None:
        model, origin = start_within_reach(name, **kwargs)
    elif weights == 'imagenet':
        model, origin = start_from_imagenet(name, **kwargs)
    else:
        model, origin = start_from_file(name, weights, **kwargs)
    return model, distributed.from_first(lambda: origin)


def start_from_file(name: str, path: str, **kwargs) -> tuple[nn.Module, str]:
    import timm

    model = timm.create_model(name, **kwargs)
    load_backbone_weights(model, path, timm_config(name).classifier)
    return model, f'file:{Path(path).name}'


def timm_config(name: str):
    """timm's configuration of a net; a deprecated name counts as unknown."""
    import timm

    config = timm.get_pretrained_cfg(name) if timm.is_model(name) else None
    if config is None:
        raise UserError(
            f'timm has no model "{name}". Names like it: '
            f'`python -c "import timm; print(timm.list_models(\'{name[:6]}*\'))"`'
        )
    return config


def start_within_reach(name: str, **kwargs) -> tuple[nn.Module, str]:
    """Start from ImageNet's weights or, with a loud warning that says what was missing, from random ones."""
    import timm

    try:
        return start_from_imagenet(name, **kwargs)
    except WeightsUnavailable as error:
        print(
            f'\n{"!" * 100}\n! {error}\n! The backbone starts from RANDOM weights: expect worse results than a '
            f'pre-trained one gives.\n! (--backbone-weights FILE takes a file; --backbone-weights none says '
            f'that random ones are wanted.)\n{"!" * 100}\n',
            file=sys.stderr,
        )
        return timm.create_model(name, **kwargs), 'random'


def start_from_imagenet(name: str, **kwargs) -> tuple[nn.Module, str]:
    """Start from the weights of an installed package, or else from timm's own."""
    import timm

    package = PACKAGES.get(name)  # None also for a name with a tag, which means timm's own weights
    if package is None:
        return from_hub(name, **kwargs), 'imagenet'
    try:
        file = package.find()
    except WeightsUnavailable as error:
        print(f'{error} Until then timm is asked for them.', file=sys.stderr)
        return from_hub(name, **kwargs), 'imagenet'
    model = timm.create_model(name, **kwargs)
    fit_backbone(model, package.read(file, model), timm_config(name).classifier, package.name)
    return model, f'imagenet:{package.name}'


def from_hub(name: str, **kwargs) -> nn.Module:
    """A net with timm's own weights, which timm fetches from its hub or its cache."""
    import timm

    config = timm_config(name)
    if not config.has_weights:
        raise WeightsUnavailable(f'There are no pre-trained weights of {name}.')
    if not weights_within_reach(config):
        raise WeightsUnavailable(f'The pre-trained weights of {name} cannot be downloaded: no connection to their hub.')
    try:
        return timm.create_model(name, pretrained=True, **kwargs)
    except Exception as error:  # the hub's client, urllib and the file's reader each raise their own kinds
        reason = str(error).partition('\n')[0][:200]
        raise WeightsUnavailable(
            f'The pre-trained weights of {name} cannot be had ({type(error).__name__}: {reason}).'
        ) from error


def weights_within_reach(config, patience: float = 6) -> bool:
    """True if the weights are in the cache or their host answers within `patience` seconds.

    The clients that fetch them would go on trying for minutes, and a name server that is cut off hangs as long.
    """
    if config.hf_hub_id:
        from huggingface_hub import constants, hf_hub_url, try_to_load_from_cache

        names = [config.hf_hub_filename] if config.hf_hub_filename else ['model.safetensors', 'pytorch_model.bin']
        if any(isinstance(try_to_load_from_cache(config.hf_hub_id, name), str) for name in names):
            return True
        if constants.HF_HUB_OFFLINE:
            return False
        url = hf_hub_url(config.hf_hub_id, names[0])
    elif config.url:
        cached = Path(torch.hub.get_dir()) / 'checkpoints' / os.path.basename(config.url)
        if cached.exists():
            return True
        url = config.url
    else:
        return bool(config.file)

    answers = []

    def ask() -> None:
        with contextlib.suppress(OSError, ValueError):
            request = urllib.request.Request(url, method='HEAD')
            answers.append(urllib.request.urlopen(request, timeout=patience).status < 400)

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(patience)
    return answers == [True]


def load_backbone_weights(model: nn.Module, path: str | Path, head: str | tuple[str, ...] | None = 'fc') -> None:
    """Load a file's weights into the model, except its head, which belongs to another task.

    Takes the files of the common PyTorch ports: wrapped in 'model' or 'state_dict', names with 'module.' in front,
    with or without `fc`, 1x1 kernels of pointwise convolutions stored as matrices; and Keras's files of Xception.
    """
    fit_backbone(model, read_state_dict(path), head, path)


def take_normalised(model: nn.Module, mean: Sequence[float], std: Sequence[float]) -> None:
    """Let an Xception that was trained on pixels from -1 to 1 take pictures that are normalised by `mean` and `std`.

    The first convolution is linear and adds no border, so its kernels and the running mean of the BatchNorm behind it
    take up the difference exactly.
    """
    mean, std = (torch.tensor(numbers).view(1, 3, 1, 1) for numbers in (mean, std))
    with torch.no_grad():
        model.bn1.running_mean -= (model.conv1.weight * (2 * mean - 1)).sum((1, 2, 3))
        model.conv1.weight *= 2 * std


def enlarge_kernels(model: nn.Module, factor: float = 4) -> None:
    """Multiply the kernels of an Xception by `factor`; its outputs stay the same, because the BatchNorm behind every
    convolution divides by it again once its running averages are scaled as well.

    Adam moves a weight by the learning rate, however large it is. On ImageNet's kernels as they come, eight steps of
    0.001 leave next to nothing of the features; on larger kernels the same steps change less, and the features are
    still there when the head has learned to use them (docs/first_weights.md).
    """
    grown = 1.0
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.Conv2d):
                module.weight *= factor
                grown *= factor
            elif isinstance(module, nn.BatchNorm2d):
                module.running_mean *= grown
                module.running_var.copy_(grown**2 * (module.running_var + module.eps) - module.eps)
                grown = 1.0


def fit_backbone(
    model: nn.Module, state: dict[str, torch.Tensor], head: str | tuple[str, ...] | None, source: str | Path
) -> None:
    """Load the state into the model, except the head; the error names `source` if the two do not fit.

    `head` is several layers for a distilled net of timm, and None for a net without one.
    """
    heads = tuple(f'{layer}.' for layer in ([head] if isinstance(head, str) else head or ()))
    own = model.state_dict()
    fitted = {}
    for name, tensor in state.items():
        name = next(
            (name.removeprefix(prefix) for prefix in ('module.', 'model.', 'backbone.') if name.startswith(prefix)),
            name,
        )
        name = name.replace('last_linear.', 'fc.')
        if name.startswith(heads):
            continue
        if name in own and tensor.dim() == 2 and own[name].dim() == 4:
            tensor = tensor[:, :, None, None]
        fitted[name] = tensor
    wanted = {name: tensor for name, tensor in own.items() if not name.startswith(heads)}
    problems = [
        f'{name} is missing' for name in wanted if name not in fitted and not name.endswith('num_batches_tracked')
    ]
    problems += [f'{name} is not part of the model' for name in fitted if name not in wanted]
    problems += [
        f'{name} is {tuple(fitted[name].shape)}, not {tuple(tensor.shape)}'
        for name, tensor in wanted.items()
        if name in fitted and fitted[name].shape != tensor.shape
    ]
    if problems:
        more = f' and {len(problems) - 3} more' if len(problems) > 3 else ''
        raise UserError(f'{source} does not fit this backbone: {"; ".join(problems[:3])}{more}.')
    model.load_state_dict({**own, **fitted})


def read_state_dict(path: str | Path) -> dict[str, torch.Tensor]:
    if not Path(path).is_file():
        raise UserError(f'No weights file {path}; --backbone-weights takes {WEIGHTS_HELP}.')
    if Path(path).suffix in KERAS_SUFFIXES:
        return read_keras_xception(path)
    if Path(path).suffix == '.safetensors':
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        try:
            return load_file(path)
        except (SafetensorError, OSError) as error:
            raise UserError(f'{path} cannot be read as safetensors ({error}).') from error
    from forensics.records import load_checkpoint

    state = load_checkpoint(path, made_by='the program that wrote it')
    for key in ('state_dict', 'model'):
        if isinstance(state.get(key), dict):
            state = state[key]
    if not state or not all(isinstance(tensor, torch.Tensor) for tensor in state.values()):
        raise UserError(f'{path} holds no state dictionary (names and tensors).')
    return state
