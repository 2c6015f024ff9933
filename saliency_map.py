"""Which pixels move the true class's score, by the gradient of the score:

python saliency_map.py -m SimpleNet -cpp checkpoints/fakes_dataset_SimpleNet_Adam.pt -d fakes_dataset
python saliency_map.py -m BonusNet -cpp checkpoints/bonus.pt --image photo.jpg --method smoothgrad

Whether such a map can be believed, faithfulness.py measures.
"""

import argparse
import sys
import textwrap
from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from PIL import Image
from torch import nn
from torch.utils.data import Dataset, Subset

import detectors
import options
from common import FIGURES_DIR
from forensics import records
from forensics.errors import UserError
from forensics.judging import explaining, plots
from forensics.judging.explaining import Explained
from forensics.running import memory, runtime, starting
from forensics.running.batches import Batches

NOF_PAIRS, PAIRS_A_ROW = 36, 4
# The backward pass of Xception keeps 200 MB an image, and larger batches are no faster.
BATCH_SIZE = 8
LINE = 112  # letters below a figure
WHAT_IT_IS = {
    'gradient': '|d score of the {} class / d pixel|',
    'smoothgrad': '|mean over noisy copies of d score of the {} class / d pixel|',
    'integrated-gradients': "the {} class's score that each pixel brings",
}
OVER_CHANNELS = {'integrated-gradients': 'sum'}  # of the others the maximum

Compute = Callable[[torch.Tensor, torch.Tensor, nn.Module], torch.Tensor]


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = options.parser(__doc__)
    options.add_explained(parser, explaining.PIXEL_METHODS)
    return parser.parse_args(argv)


def compute_gradient_saliency_maps(samples: torch.Tensor, true_labels: torch.Tensor, model: nn.Module) -> torch.Tensor:
    """B maps (BxHxW): |d score of the true class / d pixel|, the largest of the three channels.

    The score is the one before softmax. The model is left as it was found: gradients, flags and mode.
    """
    if not len(samples):
        return samples.new_zeros((0, *samples.shape[2:]))
    device = runtime.model_device(model)
    with explaining.frozen(model), torch.enable_grad():
        pixels = samples.detach().to(device, copy=True).requires_grad_()
        scores = explaining.class_scores(model(pixels), torch.as_tensor(true_labels).to(device).long())
        if not scores.requires_grad:  # a model that does not look at the image
            return torch.zeros_like(samples[:, 0])
        # In evaluation mode no image influences another's score, so one backward pass gives each its own map.
        (gradient,) = torch.autograd.grad(scores.sum(), pixels, allow_unused=True, materialize_grads=True)
    return gradient.abs().amax(dim=1).to(samples.device)


def computing(method: str) -> Compute:
    """The function that makes maps of samples by this method: the one above, or captum's."""
    if method == 'gradient':
        return compute_gradient_saliency_maps
    return lambda samples, labels, model: explaining.maps(method, samples, labels, Explained(model))


def mean_saliency_maps(
    dataset: Dataset, model: nn.Module, compute: Compute = compute_gradient_saliency_maps
) -> dict[str, tuple[np.ndarray | None, int]]:
    """{class: (mean map over the whole data set, number of images)}; a class without images has None as map."""
    sums, counts = [0.0, 0.0], [0, 0]
    for samples, labels, _ in Batches(dataset, BATCH_SIZE, runtime.model_device(model)):
        maps = compute(samples, labels, model).cpu().double()
        labels = labels.cpu()
        for label in (0, 1):
            sums[label] += maps[labels == label].sum(dim=0).numpy()
            counts[label] += int((labels == label).sum())
    return {
        plots.class_name(label): (sums[label] / counts[label] if counts[label] else None, counts[label])
        for label in (0, 1)
    }


def random_samples(dataset: Dataset, nof_samples: int, seed: int) -> Subset:
    """Samples drawn from the whole data set without replacement; all of a smaller one."""
    order = np.random.default_rng(seed).permutation(len(dataset))
    return Subset(dataset, order[:nof_samples].tolist())


def plot_pairs(
    figure, dataset: Dataset, model: nn.Module, transform=None, compute: Compute = compute_gradient_saliency_maps
) -> None:
    """Draw every image beside its map."""
    cells = -(-len(dataset) // PAIRS_A_ROW), 2 * PAIRS_A_ROW
    axes = figure.subplots(*cells).reshape(-1, 2)
    pairs = iter(axes)
    for samples, labels, _ in Batches(dataset, BATCH_SIZE, runtime.model_device(model)):
        maps = compute(samples, labels, model).cpu().numpy()
        # `pairs` comes last, or zip would take one pair more than the batch has samples.
        for sample, label, saliency, (left, right) in zip(
            samples.cpu().numpy(), labels.tolist(), maps, pairs, strict=False
        ):
            plots.plot_image(plots.unnormalised(sample, transform), left, plots.class_name(label), label)
            plots.plot_map(saliency, right)
    for unused in pairs:
        for ax in unused:
            ax.set_axis_off()


def plot_mean_maps(figure, means: dict[str, tuple[np.ndarray | None, int]]) -> None:
    for ax, (name, (mean, nof_images)) in zip(figure.subplots(1, 2), means.items(), strict=True):
        if mean is None:
            plots.plot_message(f'There is no {name} image.', ax)
        elif not mean.max() > 0:
            plots.plot_message(f'The map of all {nof_images} {name} images is blank:\nno pixel moves the score.', ax)
        else:
            top = np.percentile(mean, 99.5)
            drawn = ax.imshow(mean, cmap=plots.MAP_COLOURS, vmin=0, vmax=top if top > 0 else mean.max())
            ax.grid(False)
            ax.set(xticks=[], yticks=[])
            ax.set_title(f'{nof_images} {name} images', color=plots.CLASS_COLOURS[name])
            bar = figure.colorbar(drawn, ax=ax, shrink=0.8, extend='max')
            bar.ax.ticklabel_format(style='sci', scilimits=(-2, 3), useMathText=True)


def page_of_pairs(chosen: Dataset, model: nn.Module, heading: str, transform=None, method: str = 'gradient'):
    figure = plots.new_figure(height=0.8 + 0.93 * -(-len(chosen) // PAIRS_A_ROW))
    figure.suptitle(f'{heading}\nimages and {name_of(method)} maps')
    tell_colours(figure, method, 'true')
    plot_pairs(figure, chosen, model, transform, computing(method))
    return figure


def name_of(method: str) -> str:
    return 'saliency' if method == 'gradient' else method


def tell_colours(figure, method: str, explained_class: str) -> None:
    words = (
        f'{WHAT_IT_IS[method].format(explained_class)}, {OVER_CHANNELS.get(method, "maximum")} over channels; black is '
        "0, yellow the map's own 99th percentile"
    )
    figure.supxlabel(textwrap.fill(words, LINE), fontsize=plots.STYLE['font.size'])


def page_of_means(dataset: Dataset, model: nn.Module, heading: str, method: str = 'gradient'):
    figure = plots.new_figure(height=3.6)
    figure.suptitle(f'{heading}\nmean {name_of(method)} maps')
    figure.supxlabel(
        f'mean of {WHAT_IT_IS[method].format("true")}; each panel has its own scale',
        fontsize=plots.STYLE['font.size'],
    )
    plot_mean_maps(figure, mean_saliency_maps(dataset, model, computing(method)))
    return figure


def page_of_picture(detector: detectors.NetworkDetector, image: Image.Image, heading: str, method: str):
    """One picture of unknown class beside its map, for the class that the network names."""
    sample = detector.transform(image)[None]
    p_fake = float(detector.score([image])[0])
    predicted = int(p_fake > 0.5)
    maps = computing(method)(sample, torch.tensor([predicted]), detector.model)
    figure = plots.new_figure(height=4.2)
    figure.suptitle(heading)
    tell_colours(figure, method, 'predicted')
    left, right = figure.subplots(1, 2)
    shown = plots.unnormalised(sample[0].numpy(), detector.transform)
    plots.plot_image(shown, left, f'predicted: {plots.class_name(predicted)}, P(fake) {p_fake:.3f}')
    plots.plot_map(maps[0].numpy(), right, f'{name_of(method)} map')
    return figure


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    options.apply(args)
    memory.tune_allocator()
    if args.image:
        detectors.save_explained_picture(args, page_of_picture, f'{file_name_of(args.method)}_map')
    else:
        explain_dataset(args)


def explain_dataset(args: argparse.Namespace) -> None:
    model, dataset, heading, training = detectors.load_explained(args)
    if not len(dataset):
        raise UserError(
            f'The test part of {args.dataset} holds no image; add some to {dataset.root_path}/real and /fake.'
        )
    chosen = random_samples(dataset, NOF_PAIRS, args.seed)
    path = partial(records.figure_path, FIGURES_DIR, args.dataset, args.model)
    name = file_name_of(args.method)
    with plots.style():
        pairs = page_of_pairs(chosen, model, heading, getattr(dataset, 'transform', None), args.method)
        plots.save(pairs, path(f'{name}_maps_and_images_pairs'), [training])
        plots.save(page_of_means(dataset, model, heading, args.method), path(f'mean_{name}_maps'), [training])


def file_name_of(method: str) -> str:
    return name_of(method).replace('-', '_')


if __name__ == '__main__':
    sys.exit(starting.run(main))
