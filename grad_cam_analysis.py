"""Which regions speak for the class that a network names, by Grad-CAM:

python grad_cam_analysis.py -m SimpleNet -cpp checkpoints/fakes_dataset_SimpleNet_Adam.pt -d fakes_dataset
"""

import argparse
import contextlib
import sys
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset

import detectors
import models
import options
from common import FIGURES_DIR
from forensics import records
from forensics.data.datasets import CLASSES
from forensics.errors import UserError
from forensics.judging import explaining, plots, scoring
from forensics.running import runtime, starting

SAMPLES_A_PAGE = 3


class Explanation(NamedTuple):
    image: np.ndarray  # HxWx3, 0 to 1
    heat: np.ndarray  # HxW, 0 to 1; all zero if no region speaks for the class
    overlay: np.ndarray  # HxWx3, uint8
    predicted: int
    probability: float  # of the predicted class


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = options.parser(__doc__)
    options.add_explained(parser)
    return parser.parse_args(argv)


def explain(sample: torch.Tensor, model: nn.Module, layer: nn.Module, transform=None) -> Explanation:
    """Grad-CAM of one image (1x3xHxW) for the class that the model predicts for it."""
    import cv2
    from pytorch_grad_cam import GradCAM
    from pytorch_grad_cam.utils.image import show_cam_on_image

    with explaining.frozen(model), torch.enable_grad(), contextlib.ExitStack() as stack:
        cam = GradCAM(model, [layer], partial(models.activations_as_maps, model))
        # GradCAM's own `with` releases the hooks as well, but swallows every IndexError.
        stack.callback(cam.activations_and_grads.release)
        # All parameters are frozen, so the image has to require the gradient.
        pixels = sample.detach().to(runtime.model_device(model), copy=True).requires_grad_()
        heat = cam(pixels, targets=[explaining.predicted_class_score])[0]
        outputs = cam.outputs.detach().cpu().numpy()

    image = plots.unnormalised(sample[0].cpu().numpy(), transform)
    blank = not heat.max() > 0
    overlay = (
        np.uint8(255 * image) if blank else show_cam_on_image(image, heat, use_rgb=True, colormap=cv2.COLORMAP_INFERNO)
    )
    fake = float(scoring.fake_probability(outputs)[0])
    return Explanation(image, heat, overlay, predicted=int(fake > 0.5), probability=max(fake, 1 - fake))


def get_grad_cam_visualization(test_dataset: Dataset, model: nn.Module) -> tuple[np.ndarray, torch.Tensor]:
    """(Grad-CAM drawn over one random image, its true label), for the predicted class and the layer `model.conv3`.

    A model without that layer is explained by the last one that has maps.
    """
    if not len(test_dataset):
        raise UserError('The data set is empty: there is no image to explain.')
    sample, label = next(iter(DataLoader(test_dataset, batch_size=1, shuffle=True)))
    layer = model.conv3 if hasattr(model, 'conv3') else models.last_layer_with_maps(model)
    return explain(sample, model, layer, getattr(test_dataset, 'transform', None)).overlay, label


def plot_explanation(explanation: Explanation, true_label: int, axes) -> None:
    """One sample's row: image, map, overlay."""
    true, predicted = plots.class_name(true_label), plots.class_name(explanation.predicted)
    left, middle, right = axes
    plots.plot_image(
        explanation.image,
        left,
        f'true: {true}, predicted: {predicted}\nwith probability {explanation.probability:.3f}',
        true_label,
    )
    if not explanation.heat.max() > 0:
        plots.plot_message(f'blank map:\nno region of this layer\nspeaks for "{predicted}"', middle)
        plots.plot_image(explanation.overlay, right, 'blank map, so no overlay')
        return
    plots.plot_image(
        explanation.heat,
        middle,
        f'class explained: {predicted}\n(the predicted one)',
        cmap=plots.MAP_COLOURS,
        vmin=0,
        vmax=1,
    )
    plots.plot_image(explanation.overlay, right, 'overlay')


def page_of_class(dataset: Dataset, label: int, model: nn.Module, layer: nn.Module, heading: str):
    """A figure of the data set's images of one class, each in its row."""
    nof_real, name = len(dataset.real_image_names), plots.class_name(label)
    indices = range(nof_real, len(dataset)) if label else range(nof_real)
    nof_rows = max(len(indices), 1)
    figure = plots.new_figure(height=0.9 + 2.4 * nof_rows)
    figure.suptitle(f'{heading}\nGrad-CAM of {name} images')
    rows = figure.subplots(nof_rows, 3, squeeze=False)
    if not indices:
        plots.plot_message(f'There is no {name} image in the test part.', rows[0][1])
    for index, axes in zip(indices, rows, strict=False):
        sample, _ = dataset[index]
        plot_explanation(explain(sample[None], model, layer, dataset.transform), label, axes)
    return figure


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    options.apply(args)
    model, dataset, heading, training = detectors.load_explained(args, at_most=SAMPLES_A_PAGE)
    layer = models.cam_layer(args.model, model)
    for label, name in enumerate(CLASSES):
        with plots.style():
            figure = page_of_class(dataset, label, model, layer, heading)
            path = records.figure_path(FIGURES_DIR, args.dataset, args.model, f'{name.capitalize()}_Image_grad_cam')
            plots.save(figure, path, [training])


if __name__ == '__main__':
    sys.exit(starting.run(main))
