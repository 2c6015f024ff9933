"""BonusNet: small, sees differences alone, takes pictures of any size, and each ingredient can be taken away."""

import pytest
import torch
from torch import nn

from bonus_model import PLACES, Absolute, BonusNet, HighPass, my_bonus_model
from forensics import records
from forensics.errors import UserError
from utils import get_nof_params

PLAIN = {'separable': False, 'widths': [16, 10, 10, 13, 13, 13, 13]}
WITHOUT = {
    'high_pass': {'high_pass': False},
    'cosines': {'cosines': False},
    'late pooling': {'early_pooling': True},
    'separable': PLAIN,
    'batch_norm': {'batch_norm': False},
    'residual': {'residual': False},
    'places': {'max_pooling': True},
    'mirrored': {'mirrored': False},
}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def scores(net: nn.Module, pictures: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        return net.eval()(pictures)


@pytest.fixture
def pictures() -> torch.Tensor:
    return torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize('options', [{}, *WITHOUT.values()], ids=['whole', *WITHOUT])
def test_ten_thousand_parameters_at_most_whatever_is_taken_away(options, pictures):
    net = BonusNet(**options)
    assert 8_500 < get_nof_params(net) <= 10_000
    assert scores(net, pictures).shape == (2, 2)


def test_each_argument_takes_its_own_ingredient_away():
    def kinds(**options) -> set[type]:
        return {type(module) for module in BonusNet(**options).modules()}

    whole = kinds()
    assert nn.MaxPool2d not in whole
    assert whole - kinds(high_pass=False) == {HighPass, Absolute}
    assert whole - kinds(batch_norm=False) == {nn.BatchNorm2d}
    assert len(whole - kinds(residual=False)) == 1
    assert kinds(early_pooling=True) - whole == {nn.MaxPool2d}
    assert BonusNet().fc.in_features == PLACES**2 * 28 and BonusNet(max_pooling=True).fc.in_features == 2 * 28
    groups = {module.groups for module in BonusNet(separable=False).modules() if isinstance(module, nn.Conv2d)}
    assert groups == {1}


def test_every_pixel_counts(pictures):
    """Steps of two miss none, because the kernels are wider."""
    inputs = pictures.requires_grad_()
    BonusNet().eval()(inputs).square().sum().backward()
    assert (inputs.grad != 0).any(1).all()


def test_nothing_is_pooled_early_unless_asked_for(pictures):
    for options, side in (({}, 32), ({'early_pooling': True}, 16)):
        net = BonusNet(**options)
        assert net.first(pictures).shape[2:] == (side, side)
        assert net.blocks(net.first(pictures)).shape[2:] == (2, 2)


def test_places_tell_where_a_trace_is():
    """The mean and the maximum over the whole picture do not."""
    maps = torch.rand(1, 28, 8, 8, generator=torch.Generator().manual_seed(0))
    for options, same in (({}, False), ({'max_pooling': True}, True)):
        net = BonusNet(**options).eval()
        net.first, net.blocks = nn.Identity(), nn.Identity()
        assert torch.allclose(scores(net, maps), scores(net, maps.flip(2)), atol=1e-6) is same


def test_a_mirrored_picture_has_the_same_scores_once_trained(pictures):
    mirrored = pictures.flip(3)
    for options, same in (({}, True), ({'mirrored': False}, False)):
        net = BonusNet(**options)
        assert torch.allclose(scores(net, mirrored), scores(net, pictures), atol=1e-6) is same
        net.train()
        assert not torch.allclose(net(mirrored), net(pictures), atol=1e-4)


def test_the_sign_of_a_difference_does_not_count(pictures):
    negative = 1 - pictures
    net, signed = BonusNet(), BonusNet(high_pass=False)
    assert torch.allclose(scores(net, negative), scores(net, pictures), atol=1e-4)
    assert not torch.allclose(scores(signed, negative), scores(signed, pictures), atol=1e-4)


@pytest.mark.parametrize(('high_pass', 'same'), [(True, True), (False, False)])
def test_a_brighter_picture_has_the_same_scores(high_pass, same, pictures):
    """Each colour by an amount of its own."""
    torch.manual_seed(0)
    net = BonusNet(high_pass=high_pass)
    brighter = pictures + torch.tensor([0.5, -1.0, 2.0])[:, None, None]
    assert torch.allclose(scores(net, brighter), scores(net, pictures), atol=1e-4) is same


def test_the_first_layer_stays_high_pass_while_it_is_trained(pictures):
    """Also at the edges of a picture, where there is nothing to differ from."""
    layer = HighPass(3, 8, 5, padding=2)
    optimizer = torch.optim.SGD(layer.parameters(), lr=1.0)
    before = layer.weight.clone()
    layer(pictures).square().mean().backward()
    optimizer.step()
    assert not torch.equal(layer.weight, before)
    assert layer(torch.full((1, 3, 9, 9), 7.0)).abs().max() < 1e-4


def test_the_first_kernels_are_waves_that_have_nothing_in_common():
    kernels = BonusNet().first[0].weight.detach().flatten(1)
    products = kernels @ kernels.T
    torch.testing.assert_close(products.diag(), torch.full((16,), 0.16), atol=0.01, rtol=0)
    assert (products - products.diag().diag()).abs().max() < 0.01
    torch.manual_seed(0)
    assert not torch.allclose(BonusNet(cosines=False).first[0].weight, BonusNet().first[0].weight)


@pytest.mark.parametrize('size', [(32, 32), (200, 133), (256, 256)])
def test_any_size(size):
    found = scores(BonusNet(), torch.randn(2, 3, *size))
    assert found.shape == (2, 2) and torch.isfinite(found).all()


@pytest.mark.parametrize('options', [{}, PLAIN, {'early_pooling': True, 'high_pass': False}])
def test_it_is_built_from_the_options_that_its_checkpoint_records(options, folder, pictures):
    torch.manual_seed(0)
    net = BonusNet(**options)
    records.save_checkpoint('checkpoints/bonus.pt', {'model': net.state_dict(), 'run': {'model_options': options}})
    assert torch.equal(scores(my_bonus_model(), pictures), scores(net, pictures))


def test_the_shipped_weights_fit(folder):
    assert not (folder / 'checkpoints').exists()
    assert get_nof_params(my_bonus_model()) <= 10_000


@pytest.mark.parametrize('damage', ['other weights', 'other options', 'nothing'])
def test_another_checkpoint_in_its_place_is_named(damage, folder):
    checkpoint = {
        'other weights': {'model': {'conv1.weight': torch.zeros(1)}},
        'other options': {'model': BonusNet().state_dict(), 'run': {'model_options': {'dense': 256}}},
        'nothing': {},
    }[damage]
    records.save_checkpoint('checkpoints/bonus.pt', checkpoint)
    with pytest.raises(UserError, match='bonus.pt holds no BonusNet of this version'):
        my_bonus_model()
