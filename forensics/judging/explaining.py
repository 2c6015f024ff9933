"""Functions that the two explanations of a network, saliency and Grad-CAM, share."""

import contextlib
from collections.abc import Iterator

from forensics.running import runtime


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


def predicted_class_score(output):
    """One image's score of the predicted class: the highest one, or the absolute value of a single logit."""
    return output.max() if output.numel() > 1 else output.abs().sum()
