"""Which regions speak for the class that a network names, by Grad-CAM:

python grad_cam_analysis.py -m SimpleNet -cpp checkpoints/fakes_dataset_SimpleNet_Adam.pt -d fakes_dataset
python grad_cam_analysis.py -m BonusNet -cpp checkpoints/bonus.pt --image photo.jpg --method occlusion

Whether such a map can be believed, faithfulness.py measures.
"""

import argparse
import sys
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image
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
from forensics.judging.explaining import Explained
from forensics.running import runtime, starting

SAMPLES_A_PAGE = 3
TITLES = {'grad-cam': 'Grad-CAM', 'grad-cam++': 'Grad-CAM++', 'eigen-cam': 'Eigen-CAM', 'occlusion': 'occlusion'}


class Explanation(NamedTuple):
    image: np.ndarray  # HxWx3, 0 to 1
    heat: np.ndarray  # HxW, 0 to 1; all zero if no region speaks for the class
    overlay: np.ndarray  # HxWx3, uint8
    predicted: int
    probability: float  # of the predicted class
    method: str = 'grad-cam'


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = options.parser(__doc__)
    options.add_explained(parser, explaining.REGION_METHODS)
    return parser.parse_args(argv)


def explain(
    sample: torch.Tensor, model: nn.Module, layer: nn.Module, transform=None, method: str = 'grad-cam'
) -> Explanation:
    """The map of one image (1x3xHxW) for the class that the model predicts for it."""
    import cv2
    from pytorch_grad_cam.utils.image import show_cam_on_image

    with explaining.frozen(model), torch.no_grad():
        outputs = model(sample.to(runtime.model_device(model))).cpu().numpy()
    fake = float(scoring.fake_probability(outputs)[0])
    predicted = int(fake > 0.5)
    explained = Explained(model, layer, partial(models.activations_as_maps, model))
    heat = explaining.maps(method, sample, torch.tensor([predicted]), explained)[0].numpy()

    image = plots.unnormalised(sample[0].cpu().numpy(), transform)
    blank = not heat.max() > 0
    overlay = (
        np.uint8(255 * image) if blank else show_cam_on_image(image, heat, use_rgb=True, colormap=cv2.COLORMAP_INFERNO)
    )
    return Explanation(image, heat, overlay, predicted, max(fake, 1 - fake), method)


def get_grad_cam_visualization(test_dataset: Dataset, model: nn.Module) -> tuple[np.ndarray, torch.Tensor]:
    """(Grad-CAM drawn over one random image, its true label), for the predicted class and the layer `model.conv3`.

    A model without that layer is explained by the last one that has maps.
    """
    if not len(test_dataset):
        raise UserError('The data set is empty: there is no image to explain.')
    sample, label = next(iter(DataLoader(test_dataset, batch_size=1, shuffle=True)))
    layer = model.conv3 if hasattr(model, 'conv3') else models.last_layer_with_maps(model)
    return explain(sample, model, layer, getattr(test_dataset, 'transform', None)).overlay, label


def plot_explanation(explanation: Explanation, true_label: int | None, axes) -> None:
    """One sample's row: image, map, overlay. Of a picture from anywhere there is no true label."""
    predicted = plots.class_name(explanation.predicted)
    true = '' if true_label is None else f'true: {plots.class_name(true_label)}, '
    left, middle, right = axes
    plots.plot_image(
        explanation.image,
        left,
        f'{true}predicted: {predicted}\nwith probability {explanation.probability:.3f}',
        true_label,
    )
    if not explanation.heat.max() > 0:
        where = 'of this picture' if explanation.method == 'occlusion' else 'of this layer'
        plots.plot_message(f'blank map:\nno region {where}\nspeaks for "{predicted}"', middle)
        plots.plot_image(explanation.overlay, right, 'blank map, so no overlay')
        return
    plots.plot_image(
        explanation.heat,
        middle,
        # Eigen-CAM draws the strongest pattern among the activations, whatever it speaks for.
        'of no class: the strongest\npattern of the layer'
        if explanation.method == 'eigen-cam'
        else f'class explained: {predicted}\n(the predicted one)',
        cmap=plots.MAP_COLOURS,
        vmin=0,
        vmax=1,
    )
    plots.plot_image(explanation.overlay, right, 'overlay')


def page_of_class(
    dataset: Dataset, label: int, model: nn.Module, layer: nn.Module, heading: str, method: str = 'grad-cam'
):
    """A figure of the data set's images of one class, each in its row."""
    nof_real, name = len(dataset.real_image_names), plots.class_name(label)
    indices = range(nof_real, len(dataset)) if label else range(nof_real)
    nof_rows = max(len(indices), 1)
    figure = plots.new_figure(height=0.9 + 2.4 * nof_rows)
    figure.suptitle(f'{heading}\n{TITLES[method]} of {name} images')
    rows = figure.subplots(nof_rows, 3, squeeze=False)
    if not indices:
        plots.plot_message(f'There is no {name} image in the test part.', rows[0][1])
    for index, axes in zip(indices, rows, strict=False):
        sample, _ = dataset[index]
        plot_explanation(explain(sample[None], model, layer, dataset.transform, method), label, axes)
    return figure


def page_of_picture(detector: detectors.NetworkDetector, image: Image.Image, heading: str, method: str):
    """One picture of unknown class."""
    model, layer = detector.model, models.cam_layer(detector.name, detector.model)
    found = explain(detector.transform(image)[None], model, layer, detector.transform, method)
    figure = plots.new_figure(height=3.4)
    figure.suptitle(f'{heading}\n{TITLES[method]}')
    plot_explanation(found, None, figure.subplots(1, 3))
    return figure


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    options.apply(args)
    if args.image:
        detectors.save_explained_picture(args, page_of_picture, args.method.replace('-', '_'))
    else:
        explain_dataset(args)


def explain_dataset(args: argparse.Namespace) -> None:
    model, dataset, heading, training = detectors.load_explained(args, at_most=SAMPLES_A_PAGE)
    layer = models.cam_layer(args.model, model)
    for label, name in enumerate(CLASSES):
        with plots.style():
            figure = page_of_class(dataset, label, model, layer, heading, args.method)
            name = f'{name.capitalize()}_Image_{args.method.replace("-", "_")}'
            plots.save(figure, records.figure_path(FIGURES_DIR, args.dataset, args.model, name), [training])


if __name__ == '__main__':
    sys.exit(starting.run(main))
