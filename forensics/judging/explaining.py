"""Explanations of a network's answers as maps, one value a pixel: what speaks for a class.

The methods are captum's and pytorch_grad_cam's, which are imported when they are used: they take seconds. In each of
these maps 0 is "nothing" and what speaks against the class is 0, too.
"""

import contextlib
import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import nn

from forensics.judging.maps import CELLS, ROUNDING
from forensics.running import runtime

PIXEL_METHODS = ('gradient', 'smoothgrad', 'integrated-gradients')
REGION_METHODS = ('grad-cam', 'grad-cam++', 'eigen-cam', 'occlusion')
NOISY_COPIES, NOISE = 16, 0.1  # SmoothGrad: copies of the picture, the noise as a share of its range
STEPS = 16  # of integrated gradients, from the mean colour to the picture


@contextlib.contextmanager
def frozen(model) -> Iterator[None]:
    """Inside, the model is in evaluation mode and its parameters take no gradient.

    Afterwards its modes, flags and gradients are what they were: explaining a network in the middle of its
    training must not change the training.
    """
    parameters = [(parameter, parameter.requires_grad, parameter.grad) for parameter in model.parameters()]
    try:
        with runtime.modes_kept(model):
            model.eval()
            for parameter, *_ in parameters:
                parameter.requires_grad_(False)
            yield
    finally:
        for parameter, requires_grad, gradient in parameters:
            parameter.requires_grad_(requires_grad)
            parameter.grad = gradient


def class_scores(outputs, labels):
    """Each row's score of its class in `labels`; a single logit is the score of fake, minus it that of real."""
    outputs = outputs.reshape(len(outputs), -1)
    if outputs.shape[1] == 1:
        return outputs[:, 0] * (2 * labels - 1)
    return outputs.gather(1, labels[:, None])[:, 0]


# --- maps by name ------------------------------------------------------------


@dataclass(frozen=True)
class Explained:
    """A network, and what class activation maps have to know of it: the layer, and how its activations become maps."""

    model: nn.Module
    layer: nn.Module | None = None
    as_maps: Callable[[torch.Tensor], torch.Tensor] | None = None


def maps(method: str, samples: torch.Tensor, labels: torch.Tensor, explained: Explained) -> torch.Tensor:
    """B maps (BxHxW) of what speaks for the class in `labels`, on the CPU; the model is left as it was found."""
    if not len(samples):
        return torch.zeros((0, *samples.shape[2:]))
    device = runtime.model_device(explained.model)
    labels = torch.as_tensor(labels).to(device).long()
    with frozen(explained.model), torch.enable_grad():
        # All parameters are frozen, so the pixels have to require the gradient.
        pixels = samples.detach().to(device, copy=True).requires_grad_()
        return METHODS[method](explained, pixels, labels).detach().float().cpu()


def scores(model: nn.Module, pixels: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    return class_scores(model(pixels), labels)


def gradient(explained: Explained, pixels: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    from captum.attr import Saliency

    found = Saliency(partial(scores, explained.model)).attribute(pixels, additional_forward_args=(labels,), abs=False)
    return found.abs().amax(dim=1)


def smoothgrad(explained: Explained, pixels: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """The mean gradient of noisy copies: what the noise turns this way and that cancels out."""
    from captum.attr import NoiseTunnel, Saliency

    tunnel, found = NoiseTunnel(Saliency(partial(scores, explained.model))), []
    for own, label in zip(pixels.split(1), labels.split(1), strict=True):  # each with its own range
        spread = NOISE * float(own.detach().max() - own.detach().min())
        options = {'nt_samples': NOISY_COPIES, 'stdevs': spread, 'nt_samples_batch_size': 8, 'abs': False}
        found.append(tunnel.attribute(own, nt_type='smoothgrad', additional_forward_args=(label,), **options))
    return torch.cat(found).abs().amax(dim=1)


def integrated_gradients(explained: Explained, pixels: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """The gradient on the way from the mean colour to the picture, times that way: shares of the score's rise."""
    from captum.attr import IntegratedGradients

    found = IntegratedGradients(partial(scores, explained.model)).attribute(
        pixels,
        baselines=mean_colour(pixels),
        additional_forward_args=(labels,),
        n_steps=STEPS,
        internal_batch_size=max(8, len(pixels)),
    )
    return found.sum(dim=1).clamp(min=0)


def occlusion(explained: Explained, pixels: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """How far the score falls where a window of the mean colour lies; from 0 to 1 in each picture."""
    from captum.attr import Occlusion

    height, width = (max(1, side // CELLS) for side in pixels.shape[2:])
    with torch.no_grad():
        found = Occlusion(partial(scores, explained.model)).attribute(
            pixels,
            sliding_window_shapes=(pixels.shape[1], 2 * height, 2 * width),
            strides=(pixels.shape[1], height, width),
            baselines=mean_colour(pixels),
            additional_forward_args=(labels,),
            perturbations_per_eval=8,
        )
    found = found.mean(dim=1)
    found = torch.where(found > ROUNDING, found, 0)
    return found / found.amax(dim=(1, 2), keepdim=True).clamp(min=1e-12)


def mean_colour(pixels: torch.Tensor) -> torch.Tensor:
    """Of each picture, as in forensics/judging/faithfulness.py: the pixels when they are taken away."""
    # In double precision, so that a plain picture's is exactly its own and its map exactly 0.
    return pixels.detach().double().mean(dim=(2, 3), keepdim=True).to(pixels.dtype).expand_as(pixels)


def activation_maps(name: str, explained: Explained, pixels: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """From 0 to 1 in each picture; all 0 if no region of the layer speaks for the class."""
    import pytorch_grad_cam

    def score_of(label: torch.Tensor, output: torch.Tensor) -> torch.Tensor:
        return class_scores(output[None], label[None])[0]

    with contextlib.ExitStack() as stack:
        cam = getattr(pytorch_grad_cam, name)(explained.model, [explained.layer], explained.as_maps)
        # Its own `with` releases the hooks as well, but swallows every IndexError.
        stack.callback(cam.activations_and_grads.release)
        return torch.from_numpy(cam(pixels, targets=[partial(score_of, label) for label in labels]))


METHODS: dict[str, Callable[[Explained, torch.Tensor, torch.Tensor], torch.Tensor]] = {
    'gradient': gradient,
    'smoothgrad': smoothgrad,
    'integrated-gradients': integrated_gradients,
    'grad-cam': partial(activation_maps, 'GradCAM'),
    'grad-cam++': partial(activation_maps, 'GradCAMPlusPlus'),
    'eigen-cam': partial(activation_maps, 'EigenCAM'),
    'occlusion': occlusion,
}


# --- a network that has learned nothing ------------------------------------------------------------


def scrambled(model: nn.Module, seed: int) -> nn.Module:
    """A copy whose parameters are those of the model in another order, tensor by tensor (Adebayo et al., 2018)."""
    model, rng = copy.deepcopy(model), np.random.default_rng(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            order = torch.from_numpy(rng.permutation(parameter.numel())).to(parameter.device)
            parameter.copy_(parameter.flatten()[order].reshape(parameter.shape))
    return model
