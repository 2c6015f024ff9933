"""Saliency: the exact maps of models whose gradient is known, and a model left as it was found."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import TensorDataset

import saliency_map
from forensics import records
from forensics.judging import plots
from models import MyNet

compute = saliency_map.compute_gradient_saliency_maps


def linear(outputs: int = 2, size: int = 5) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(3 * size * size, outputs))


def weights(model: nn.Module, size: int = 5) -> torch.Tensor:
    return model[1].weight.detach().view(-1, 3, size, size)


@pytest.mark.parametrize('labels', [[0, 1, 1, 0], [1], [0]])
def test_map_of_a_linear_model_is_its_weights(labels):
    """One backward pass serves a batch of mixed classes: every image gets the map of its own true class."""
    model = linear()
    maps = compute(torch.randn(len(labels), 3, 5, 5), torch.tensor(labels), model)
    assert torch.equal(maps, weights(model).abs().amax(dim=1)[labels])


def test_score_is_the_one_before_softmax():
    """A saturated softmax has no gradient; the score has."""
    model = linear()
    with torch.no_grad():
        model[1].weight.mul_(1e4)
    maps = compute(torch.ones(1, 3, 5, 5), torch.tensor([1]), model)
    assert torch.equal(maps[0], weights(model)[1].abs().amax(dim=0))


def test_batch_of_none():
    assert compute(torch.zeros(0, 3, 7, 9), torch.zeros(0, dtype=torch.long), linear()).shape == (0, 7, 9)


@pytest.mark.parametrize('label', [0, 1])
def test_one_logit(label):
    model = linear(outputs=1)
    maps = compute(torch.randn(2, 3, 5, 5), torch.tensor([label, label]), model)
    assert torch.equal(maps[0], weights(model)[0].abs().amax(dim=0))


def test_sign_of_one_logit_follows_the_class():
    from forensics.judging.explaining import class_scores

    assert class_scores(torch.tensor([[2.0], [2.0]]), torch.tensor([0, 1])).tolist() == [-2, 2]
    assert class_scores(torch.tensor([2.0, 2.0]), torch.tensor([0, 1])).tolist() == [-2, 2]
    assert class_scores(torch.tensor([[1.0, 2], [3, 4]]), torch.tensor([1, 0])).tolist() == [2, 3]


def test_model_is_left_as_it_was():
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Dropout(0.5), nn.Linear(36, 2))
    model.train()
    model[1].eval()
    model[0].weight.requires_grad_(False)
    model[4].weight.grad = torch.full_like(model[4].weight, 7)
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    samples = torch.randn(3, 3, 5, 5)
    before = samples.clone()

    compute(samples, torch.tensor([0, 1, 1]), model)

    assert [module.training for module in model] == [True, False, True, True, True] and model.training
    assert [parameter.requires_grad for parameter in model.parameters()] == [False] + [True] * 5
    assert (model[4].weight.grad == 7).all() and model[0].bias.grad is None
    assert all(torch.equal(state[name], tensor) for name, tensor in model.state_dict().items())
    assert torch.equal(samples, before) and not samples.requires_grad and samples.grad is None


def test_model_is_left_as_it_was_when_it_fails():
    model = linear().train()
    with pytest.raises(RuntimeError):
        compute(torch.zeros(1, 3, 6, 6), torch.tensor([0]), model)
    assert model.training and all(parameter.requires_grad for parameter in model.parameters())


def test_map_does_not_depend_on_the_rest_of_the_batch():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(36, 2)).train()
    samples, labels = torch.randn(4, 3, 5, 5), torch.tensor([0, 1, 1, 0])
    together = compute(samples, labels, model)
    alone = torch.cat([compute(samples[i : i + 1], labels[i : i + 1], model) for i in range(4)])
    assert torch.allclose(together, alone, atol=1e-6)


def test_parameters_without_gradients_and_callers_without_autograd():
    model = linear().requires_grad_(False)
    with torch.no_grad():
        maps = compute(torch.randn(1, 3, 5, 5), torch.tensor([1]), model)
    assert torch.equal(maps[0], weights(model)[1].abs().amax(dim=0)) and not maps.requires_grad


def test_model_that_does_not_look_at_the_image():
    class Constant(nn.Module):
        def forward(self, x):
            return torch.ones(len(x), 2)

    assert not compute(torch.randn(2, 3, 5, 5), torch.tensor([0, 1]), Constant()).any()


# --- mean maps ---------------------------------------------------------------------------------------------


def test_mean_maps_are_means_over_the_whole_data_set():
    model = nn.Sequential(nn.Flatten(), nn.Tanh(), nn.Linear(75, 2))
    samples = torch.randn(3 * saliency_map.BATCH_SIZE + 1, 3, 5, 5)
    labels = (torch.arange(len(samples)) % 3 == 0).long()
    maps = compute(samples, labels, model).double()
    means = saliency_map.mean_saliency_maps(TensorDataset(samples, labels), model)
    for label, name in enumerate(('real', 'fake')):
        mean, count = means[name]
        assert count == (labels == label).sum()
        assert np.allclose(mean, maps[labels == label].mean(dim=0), rtol=1e-6)


def test_saliency_of_an_empty_class():
    """Defect: saliency of an empty class crashes."""
    data = TensorDataset(torch.randn(3, 3, 5, 5), torch.ones(3, dtype=torch.long))
    means = saliency_map.mean_saliency_maps(data, linear())
    assert means['real'] == (None, 0) and means['fake'][1] == 3
    figure = plots.new_figure(height=3)
    saliency_map.plot_mean_maps(figure, means)
    assert figure.axes[0].texts[0].get_text() == 'There is no real image.'


def test_blank_mean_map_is_said_to_be_blank():
    """Defect: a blank map is drawn as if it meant something."""
    figure = plots.new_figure(height=3)
    saliency_map.plot_mean_maps(figure, {'real': (np.zeros((5, 5)), 4), 'fake': (np.eye(5), 4)})
    assert 'blank' in figure.axes[0].texts[0].get_text() and not figure.axes[0].images
    assert figure.axes[1].images


# --- pairs -------------------------------------------------------------------------------------------------


def test_samples_are_drawn_from_the_whole_data_set():
    """Defect: sample indices taken as halves of the data set, though the classes are unequal."""
    data = TensorDataset(torch.arange(100))
    drawn = [saliency_map.random_samples(data, 36, seed).indices for seed in range(30)]
    assert all(len(set(indices)) == 36 for indices in drawn)
    assert set().union(*drawn) == set(range(100))
    assert drawn[0] == saliency_map.random_samples(data, 36, 0).indices != drawn[1]
    assert sorted(saliency_map.random_samples(TensorDataset(torch.arange(5)), 36, 0).indices) == list(range(5))


@pytest.mark.parametrize('count', [1, 8, 11, 36])
def test_every_image_stands_beside_its_own_map(count, monkeypatch):
    shown = []
    monkeypatch.setattr(plots, 'plot_image', lambda image, ax, title='', label=None: shown.append((ax, label)))
    monkeypatch.setattr(plots, 'plot_map', lambda values, ax: shown.append((ax, values)))
    labels = torch.arange(count) % 2
    data = TensorDataset(torch.rand(count, 3, 5, 5), labels)
    model = linear()
    figure = plots.new_figure(height=3)
    saliency_map.plot_pairs(figure, data, model)
    pictures, maps = shown[::2], shown[1::2]
    assert [label for _, label in pictures] == labels.tolist()
    expected = weights(model).abs().amax(dim=1).numpy()
    assert all(np.array_equal(values, expected[label]) for (_, values), label in zip(maps, labels, strict=True))
    axes = [figure.axes.index(ax) for ax, _ in shown]
    assert axes == list(range(2 * count))


# --- the command -------------------------------------------------------------------------------------------


def test_command(workdir, monkeypatch, capsys):
    records.save_checkpoint('checkpoints/x.pt', {'model': MyNet().state_dict()})
    line = ['-m', 'MyNet', '-cpp', 'checkpoints/x.pt', '-d', 'fakes_dataset']
    monkeypatch.setattr(saliency_map, 'FIGURES_DIR', 'their figures')
    saliency_map.main(line)
    names = sorted(path.name for path in (workdir / 'their figures').iterdir())
    assert names == [
        f'fakes_dataset_MyNet_{name}.png' for name in ('mean_saliency_maps', 'saliency_maps_and_images_pairs')
    ]
