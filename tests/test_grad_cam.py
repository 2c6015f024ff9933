"""Grad-CAM: the fixed function's result, its target, and a model left as it was found."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import TensorDataset

import grad_cam_analysis
from forensics import records
from forensics.errors import UserError
from forensics.judging import plots
from models import MODELS, BonusNet, MyNet, build_model, cam_layer


class Toy(nn.Module):
    """Its first channel marks the left half of the image and speaks for "fake", the second the right for "real"."""

    def __init__(self, outputs: int = 2):
        super().__init__()
        self.conv3 = nn.Conv2d(3, 2, 1, bias=False)
        self.fc = nn.Linear(2, outputs, bias=False)
        with torch.no_grad():
            self.conv3.weight[:] = torch.tensor([[1.0, 0, 0], [0, 1.0, 0]])[..., None, None]
            self.fc.weight[:] = torch.tensor([[0.0, 1], [1, 0]] if outputs == 2 else [[1.0, -1]])

    def forward(self, x):
        return self.fc(self.conv3(x).mean(dim=(2, 3)))


def halves(left: float, right: float, size: int = 256) -> torch.Tensor:
    """Red (the first channel) on the left, green (the second) on the right."""
    image = torch.zeros(1, 3, size, size)
    image[:, 0, :, : size // 2] = left
    image[:, 1, :, size // 2 :] = right
    return image


def one_image(image: torch.Tensor, label: int = 1) -> TensorDataset:
    return TensorDataset(image, torch.tensor([label]))


@pytest.mark.parametrize('label', [0, 1])
def test_result_is_what_the_assignment_fixes(label):
    image, true_label = grad_cam_analysis.get_grad_cam_visualization(one_image(halves(0.9, 0.5), label), Toy())
    assert image.shape == (256, 256, 3) and image.dtype == np.uint8
    assert true_label.shape == torch.Size([1]) and true_label.item() == label


@pytest.mark.parametrize('outputs', [2, 1], ids=['two scores', 'one logit'])
def test_the_predicted_class_is_explained(outputs):
    model = Toy(outputs)
    fake = grad_cam_analysis.explain(halves(0.9, 0.5), model, model.conv3)
    assert fake.predicted == 1 and fake.probability > 0.5
    assert fake.heat[:, :120].min() > 0.99 and fake.heat[:, 136:].max() < 0.01
    real = grad_cam_analysis.explain(halves(0.5, 0.9), model, model.conv3)
    assert real.predicted == 0 and real.probability == pytest.approx(fake.probability)
    assert real.heat[:, :120].max() < 0.01 and real.heat[:, 136:].min() > 0.99


def test_grad_cam_of_a_model_with_all_parameters_frozen():
    """Defect: Grad-CAM of a model with all parameters frozen raises."""
    model = Toy().requires_grad_(False)
    with torch.no_grad():
        explanation = grad_cam_analysis.explain(halves(0.9, 0.5), model, model.conv3)
    assert explanation.heat.max() > 0.9
    assert not any(parameter.requires_grad for parameter in model.parameters())


def test_hooks_are_released_and_the_model_is_left_as_it_was():
    model = Toy().train()
    model.fc.eval()
    model.fc.weight.grad = torch.full_like(model.fc.weight, 7)
    grad_cam_analysis.get_grad_cam_visualization(one_image(halves(0.9, 0.5)), model)
    assert not model.conv3._forward_hooks and not model.conv3._backward_hooks
    assert model.training and model.conv3.training and not model.fc.training
    assert (model.fc.weight.grad == 7).all() and model.conv3.weight.grad is None
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_errors_inside_are_not_swallowed():
    """GradCAM's own `with` block swallows every IndexError."""

    class Failing(Toy):
        def forward(self, x):
            raise IndexError('inside')

    model = Failing().train()
    with pytest.raises(IndexError, match='inside') as caught:  # its traceback keeps GradCAM alive
        grad_cam_analysis.explain(halves(1, 1), model, model.conv3)
    assert model.training and not model.conv3._forward_hooks and caught


def test_images_are_drawn_at_random_and_the_seed_decides():
    data = TensorDataset(torch.rand(20, 3, 8, 8), torch.arange(20))

    def draw(seed: int) -> list[int]:
        torch.manual_seed(seed)
        return [grad_cam_analysis.get_grad_cam_visualization(data, Toy())[1].item() for _ in range(8)]

    assert draw(0) == draw(0) != draw(1)
    assert len(set(draw(0))) > 1


def test_empty_data_set():
    data = TensorDataset(torch.zeros(0, 3, 8, 8), torch.zeros(0))
    with pytest.raises(UserError, match='empty'):
        grad_cam_analysis.get_grad_cam_visualization(data, Toy())


def test_blank_map_is_said_to_be_blank():
    """Defect: a blank map is drawn as if it meant something."""
    model = Toy()
    explanation = grad_cam_analysis.explain(halves(0, 0), model, model.conv3)
    assert not explanation.heat.any()
    assert np.array_equal(explanation.overlay, np.uint8(255 * explanation.image)), 'a blank map tints nothing'
    figure = plots.new_figure(height=3)
    axes = figure.subplots(1, 3)
    grad_cam_analysis.plot_explanation(explanation, 1, axes)
    assert 'blank' in axes[1].texts[0].get_text() and not axes[1].images
    assert 'blank' in axes[2].get_title()


def test_page_names_true_predicted_and_explained_class():
    model = Toy()
    axes = plots.new_figure(height=3).subplots(1, 3)
    grad_cam_analysis.plot_explanation(grad_cam_analysis.explain(halves(0.9, 0.1), model, model.conv3), 0, axes)
    assert axes[0].get_title() == 'true: real, predicted: fake\nwith probability 0.599'
    assert 'class explained: fake' in axes[1].get_title()
    assert [len(ax.images) for ax in axes] == [1, 1, 1]


@pytest.mark.parametrize('name', MODELS)
def test_every_model_of_the_registry_explains(name):
    torch.manual_seed(0)
    model = build_model(name, backbone_weights='none')
    explanation = grad_cam_analysis.explain(torch.randn(1, 3, 256, 256), model, cam_layer(name, model))
    assert explanation.heat.shape == (256, 256) and 0.5 <= explanation.probability <= 1


def test_a_network_that_also_looks_at_the_mirror_image_is_explained_upright():
    torch.manual_seed(0)
    model, sample = BonusNet().eval(), torch.randn(1, 3, 256, 256)
    both = grad_cam_analysis.explain(sample, model, model.blocks).heat
    model.mirrored = False
    np.testing.assert_allclose(both, grad_cam_analysis.explain(sample, model, model.blocks).heat, atol=1e-5)


@pytest.mark.parametrize('name', ['SimpleNet', 'XceptionBased'])
def test_the_assignments_models_answer_to_conv3(name):
    model = build_model(name, backbone_weights='none')
    assert cam_layer(name, model) is model.conv3


# --- the command -------------------------------------------------------------------------------------------


@pytest.fixture
def line(workdir) -> list[str]:
    torch.manual_seed(0)
    records.save_checkpoint('checkpoints/x.pt', {'model': MyNet().state_dict()})
    return ['-m', 'MyNet', '-cpp', 'checkpoints/x.pt', '-d', 'fakes_dataset']


def test_command_draws_a_page_of_either_class(line, workdir, monkeypatch):
    rows = []
    monkeypatch.setattr(grad_cam_analysis, 'plot_explanation', lambda explanation, label, axes: rows.append(label))
    monkeypatch.setattr(grad_cam_analysis, 'FIGURES_DIR', 'their figures')
    grad_cam_analysis.main(line)
    names = sorted(path.name for path in (workdir / 'their figures').iterdir())
    assert names == [f'fakes_dataset_MyNet_{name}_Image_grad_cam.png' for name in ('Fake', 'Real')]
    assert rows == [0] * 3 + [1] * 3


def test_page_of_an_empty_class_says_so(line, workdir, tiny_root, monkeypatch):
    """Defect: an endless loop waits for an image of a class that has none."""
    root = workdir / 'other root'
    (root / 'fakes_dataset' / 'test' / 'fake').mkdir(parents=True)
    (root / 'fakes_dataset' / 'test' / 'real').symlink_to(tiny_root / 'fakes_dataset' / 'test' / 'real')
    said = []
    monkeypatch.setattr(plots, 'plot_message', lambda text, ax: said.append(text))
    grad_cam_analysis.main([*line, '--data-root', str(root)])
    assert 'There is no fake image in the test part.' in said
    assert (workdir / 'figures' / 'fakes_dataset_MyNet_Fake_Image_grad_cam.png').exists()
