"""The stream of drawn pictures with known histories, and the backbone that learns them."""

import json
import time
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch.utils.data import DataLoader, Dataset, get_worker_info

import models
import pretrain_backbone
import xception
from forensics import histories, records, runtime, scoring, stream
from forensics.camera import to_bytes
from forensics.errors import UserError
from forensics.histories import CLASSES, FAMILIES, HELD_OUT, SPLICES, TRACES
from forensics.textures import KINDS, draw_texture
from models import XCEPTION_PREPROCESSING, Preprocessing, build_model
from trainer import LoggingParameters, Trainer, make_optimizer, new_log
from utils import get_nof_params

TINY = ['--images', 16, '--large', 0, '--size', 48, '-b', 4, '--faces', 0, '--precision', 'float32']


@pytest.fixture(scope='module')
def picture():
    rng = np.random.default_rng(5)
    return histories.photograph(draw_texture(rng, 128), rng)


@pytest.mark.parametrize('kind', KINDS)
def test_textures_are_light(kind):
    texture = np.clip(kind(np.random.default_rng(0), 64), 0, 1)
    assert texture.shape == (64, 64, 3) and np.isfinite(texture).all() and texture.std() > 0.003


@pytest.mark.parametrize('name', {**TRACES, **HELD_OUT})
def test_a_trace_keeps_the_picture_and_grows_with_its_strength(name, picture):
    if name == 'untouched':
        assert np.array_equal(TRACES[name](picture, 1.0, None), picture)
        return
    changes = []
    for strength in (0.0, 1.0):
        after = [histories.apply_trace(name, picture, picture, strength, np.random.default_rng(i)) for i in range(6)]
        assert all(image.shape == picture.shape and np.isfinite(image).all() for image in after)
        changes.append(np.mean([np.abs(image - picture).mean() for image in after]))
    assert 0 < changes[0] < changes[1] < 40, changes


@pytest.mark.parametrize('name', SPLICES)
def test_a_splice_changes_a_region_only(name, picture):
    after = histories.apply_trace(name, picture, picture[::-1].copy(), 1.0, np.random.default_rng(2))
    changed = np.abs(after - picture).max(axis=2) > 0.5
    assert 0.03 < changed.mean() < 0.9 and not changed[:2, :2].any()


def test_gain_and_checkerboard_stand_where_they_should_in_the_spectrum():
    rng = np.random.default_rng(0)
    noise = np.repeat(rng.normal(128, 20, (128, 128, 1)), 3, 2).astype(np.float32)
    before, after = (np.abs(np.fft.fft2(image[..., 0])) for image in (noise, histories.checkerboard(noise, 1.0, rng)))
    assert np.unravel_index(np.argmax(after - before), after.shape) == (64, 64)
    ring = histories.ring(noise, np.random.default_rng(1))
    louder = histories.in_band(noise, ring, 1.0)
    ratio = np.abs(np.fft.rfft2(louder[..., 0])) / np.abs(np.fft.rfft2(noise[..., 0]))
    assert ratio[ring > 0.99].mean() == pytest.approx(2, abs=0.02) and ratio[ring < 0.001].mean() == pytest.approx(
        1, abs=0.01
    )


def test_every_class_has_one_family_and_the_held_out_have_none():
    assert sorted(name for names in FAMILIES.values() for name in names) == sorted(CLASSES)
    assert not set(HELD_OUT) & set(CLASSES)


def test_accuracy_by_family_is_of_its_own_pictures():
    found = histories.by_family(['gain', 'untouched', 'cut', 'noisy'], [True, False, False, True])
    assert found == {'untouched': 0, 'bands': 50, 'noise': 100}


def test_a_block_is_the_same_wherever_it_is_made():
    recipe = stream.Recipe(size=48, pictures=12)
    blocks = stream.Blocks(recipe, seed=1)
    first, again, other = blocks[3], stream.Blocks(recipe, seed=1)[3], blocks[4]
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert first[0].shape == (12, 48, 48, 3) and first[0].dtype == np.uint8
    assert not np.array_equal(first[0], other[0])


def test_processes_that_draw_do_not_wait_for_opencvs_threads():
    cv2.setNumThreads(2)
    cv2.GaussianBlur(np.zeros((2000, 2000, 3), np.float32), (0, 0), 3)  # starts them
    time.sleep(1)  # until they have nothing left to do and wait
    blocks = stream.Blocks(stream.Recipe(size=48, pictures=2, faces=0), seed=1)
    (block,) = DataLoader(blocks, batch_size=None, sampler=[0], num_workers=1, timeout=120)
    assert np.array_equal(block[0].numpy(), blocks[0][0])


def test_a_killed_and_resumed_pretraining_equals_an_unbroken_one(call_main, workdir, monkeypatch):
    """Defect: Ctrl-C after a step saved it with a count that did not know of it, and the batch was trained twice."""
    quickly(monkeypatch)
    monkeypatch.setattr(pretrain_backbone, 'CHECK_EVERY', 4)
    call_main(pretrain_backbone, *TINY, '--name', 'whole')
    whole = records.load_checkpoint('checkpoints/whole.last.pt')
    assert whole['seen'] == {'plain': 8, 'crops': 8, 'whole': 0}
    with safe_open('checkpoints/whole.safetensors', 'pt') as file:
        assert json.loads(file.metadata()['seen']) == whole['seen']
        assert file.get_tensor('conv1.weight').dtype == torch.float16
        assert not any(name.startswith('fc.') for name in file.keys())  # noqa: SIM118 (not a dictionary)

    check, optimizer = pretrain_backbone.Pretraining.check, pretrain_backbone.make_optimizer
    for name, saved, save_every, where, what in (
        ('killed', 8, 0, 'Pretraining.check', stopped_after(check, 3, before=True)),
        ('unsaved', 8, 1e6, 'Pretraining.check', stopped_after(check, 4, before=True)),  # after a check, too
        ('interrupted', 12, 0, 'make_optimizer', lambda *args: with_stopped_step(optimizer(*args))),
    ):
        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr('pretrain_backbone.SAVE_EVERY', save_every)
            patch.setattr(f'pretrain_backbone.{where}', what)
            pretrain_backbone.main([str(value) for value in (*TINY, '--name', name)])
        assert sum(records.load_checkpoint(f'checkpoints/{name}.last.pt')['seen'].values()) == saved
        call_main(pretrain_backbone, *TINY, '--name', name, '--resume')
        broken = records.load_checkpoint(f'checkpoints/{name}.last.pt')
        assert whole['seen'] == broken['seen']
        assert without_speed(whole['log']) == without_speed(broken['log']) and len(broken['log']) == 4
        assert all(torch.equal(tensor, broken['model'][name]) for name, tensor in whole['model'].items())


def test_a_long_run_is_not_held_up_by_its_checks(call_main, workdir, monkeypatch):
    """Defect: with a GPU, checks and what they draw took longer than the training between them."""
    quickly(monkeypatch)
    monkeypatch.setattr(pretrain_backbone, 'CHECKS', 2)
    drawn = []
    monkeypatch.setattr(
        pretrain_backbone, 'Blocks', lambda recipe, seed: drawn.append(seed) or stream.Blocks(recipe, seed)
    )
    call_main(pretrain_backbone, *TINY, '--images', 40, '--name', 'long')
    log = records.read_json('out/pretrain_long.json')['checks']
    assert [check['crops'] for check in log] == [0, 16, 32]  # after eight plain ones; they are 32
    assert drawn.count(2**31) == 2  # once in each phase


def quickly(monkeypatch):
    for name, value in {'CHECK_BLOCKS': 1, 'CHECK_EVERY': 8, 'SAVE_EVERY': 0, 'PLAIN': 8, 'LOOKS': 1}.items():
        monkeypatch.setattr(pretrain_backbone, name, value)


def without_speed(log):
    return [{name: value for name, value in check.items() if name != 'images_a_second'} for check in log]


def with_stopped_step(optimizer):
    optimizer.step = stopped_after(optimizer.step, 4)
    return optimizer


def stopped_after(function, number, before=False):
    """The function, and Ctrl-C in its call of this number."""
    calls = []

    def call(*args):
        calls.append(1)
        if before and len(calls) == number:
            raise KeyboardInterrupt
        result = function(*args)
        if len(calls) == number:
            raise KeyboardInterrupt
        return result

    return call


def begun(*line):
    return pretrain_backbone.Pretraining(pretrain_backbone.parse_args([*map(str, line)]), CLASSES)


def test_a_run_goes_on_with_its_own_arguments_only(workdir):
    """Defect: another --seed or -b was taken without a word, and other pictures came."""
    begun('--without', 'noise').save()
    begun('--without', 'noise', '--images', 9, '--precision', 'bf16', '--resume').restore()
    with pytest.raises(UserError, match='batch_size, seed, without'):
        begun('-b', 8, '--seed', 1).restore()


def test_more_images_after_a_finished_run_end_on_whole_pictures_again(workdir):
    """Defect: it ended on small crops."""
    finished = begun('--images', 8, '--large', 4)
    finished.seen = {'plain': 0, 'crops': 8, 'whole': 4}
    finished.save()
    same, more = begun('--images', 8, '--large', 4), begun('--images', 16, '--large', 4)
    for goes_on in (same, more):
        goes_on.restore()
    assert same.seen == finished.seen and same.seen_before == {}
    assert more.seen == {'plain': 0, 'crops': 8, 'whole': 0} and more.seen_before == {'whole': 4}


class WhoDraws(Dataset):
    def __getitem__(self, number):
        return np.array([number, get_worker_info().id])


def test_blocks_that_show_the_same_scenes_are_drawn_by_one_process():
    """Defect: with eight processes every one drew all scenes, which is most of the work."""
    pretraining = SimpleNamespace(args=SimpleNamespace(workers=2), model=torch.nn.Linear(1, 1))
    found = list(pretrain_backbone.Pretraining.loader(pretraining, WhoDraws(), range(5, 42)))
    assert [int(number) for number, _ in found] == list(range(5, 42))
    pairs = {(int(number) // stream.BLOCKS, int(worker)) for number, worker in found}
    assert len(pairs) == 6 and {worker for _, worker in pairs} == {0, 1}


def test_a_run_starts_from_what_an_earlier_one_exported(call_main, workdir, monkeypatch):
    quickly(monkeypatch)
    call_main(pretrain_backbone, *TINY, '--name', 'first')
    taught = records.load_checkpoint('checkpoints/first.last.pt')['model']
    line = [*TINY, '--start-from', 'checkpoints/first.safetensors', '--name', 'second']
    second = begun(*line)
    second.take_over(second.args.start_from)
    state = second.model.state_dict()
    for name in ('conv1.weight', 'block1.rep.0.pointwise.weight', 'block11.rep.7.conv1.weight', 'block5.rep.2.bias'):
        torch.testing.assert_close(state[name], taught[name], rtol=2e-3, atol=1e-4)
    assert not torch.allclose(state['conv3.pointwise.weight'], taught['conv3.pointwise.weight'], atol=0.1)

    call_main(pretrain_backbone, *line)
    assert records.load_checkpoint('checkpoints/second.last.pt')['seen'] == {'plain': 0, 'crops': 16, 'whole': 0}
    with safe_open('checkpoints/second.safetensors', 'pt') as file:
        assert json.loads(file.metadata()['seen']) == {'plain': 8, 'crops': 8 + 16, 'whole': 0}


@pytest.mark.parametrize('name', ['nowhere.safetensors', 'detector.pt', 'foreign.safetensors'])
def test_weights_that_a_run_cannot_start_from_are_named(name, call_main, workdir):
    save_file({'conv1.weight': torch.zeros(32, 3, 3, 3)}, 'foreign.safetensors')
    status, _, error = call_main(pretrain_backbone, *TINY, '--start-from', name)
    assert status == 1 and name in error


def test_without_any_family_there_is_nothing_to_learn(call_main):
    status, _, error = call_main(pretrain_backbone, *TINY, '--without', *FAMILIES)
    assert status == 1 and '--without' in error
    for share in ('2', 'nan'):
        with pytest.raises(SystemExit):
            pretrain_backbone.parse_args(['--faces', share])


def test_the_first_layer_starts_with_every_frequency_of_every_colour_difference():
    layer = torch.nn.Conv2d(3, 32, 3, bias=False)
    pretrain_backbone.start_with_cosines(layer)
    kernels = layer.weight.detach()[:27].flatten(1)
    torch.testing.assert_close(kernels @ kernels.T, torch.eye(27))
    flat = torch.ones(1, 3, 8, 8)
    assert (layer(flat)[0, :27].abs().amax((1, 2)) > 1e-5).nonzero().tolist() == [[0]]  # brightness is one of them


def test_larger_kernels_are_the_same_function_that_adam_changes_less():
    torch.manual_seed(0)
    small, large = (xception.build_xception_backbone(pretrained=False) for _ in range(2))
    for _ in range(2):
        small(torch.randn(4, 3, 32, 32))  # running statistics that are not 0 and 1
    large.load_state_dict(small.state_dict())
    for module in (*small.modules(), *large.modules()):
        if isinstance(module, torch.nn.BatchNorm2d):
            module.eps = 1e-10  # random layers answer so faintly that it would count
    pretrain_backbone.enlarge_kernels(large, 10)
    pictures = torch.randn(4, 3, 32, 32)
    for mode in (True, False):  # with the batch's statistics and with the running ones
        with torch.no_grad():
            wanted, found = (model.train(mode).forward_features(pictures) for model in (small, large))
        torch.testing.assert_close(found, wanted, rtol=1e-3, atol=1e-3)
        changes = []
        for model in (small, large):
            before = [p.clone() for p in model.parameters() if p.dim() == 4]
            optimizer = torch.optim.Adam(model.parameters(), 0.001)
            model.train(mode)(pictures).square().sum().backward()
            optimizer.step()
            after = [p for p in model.parameters() if p.dim() == 4]
            changes.append(
                torch.tensor([((a - b).norm() / b.norm()).item() for a, b in zip(after, before, strict=True)])
            )
    assert ((changes[1] / changes[0] - 0.1).abs() < 0.03).all()


def test_what_an_early_layer_found_is_carried_past_all_blocks():
    torch.manual_seed(0)
    model = xception.build_xception_backbone(pretrained=False)
    pretrain_backbone.carry_along(model)
    optimizer = torch.optim.AdamW(model.parameters(), 0.01)
    for _ in range(2):
        optimizer.zero_grad()
        model.train()(torch.randn(4, 3, 64, 64)).square().sum().backward()
        optimizer.step()
    seen = {}
    for name in ('block2', 'block11'):
        model.get_submodule(name).register_forward_hook(lambda *call, name=name: seen.update({name: call[-1]}))
    with torch.no_grad():
        model.eval()(torch.randn(2, 3, 64, 64))
        early = model.block3.skipbn(model.block3.skip(seen['block2']))
        carried = torch.nn.functional.batch_norm(
            seen['block2'][:, :, ::2, ::2],
            model.block3.skipbn.running_mean[:256],
            model.block3.skipbn.running_var[:256],
            model.block3.skipbn.weight[:256],
            model.block3.skipbn.bias[:256],
        )
    torch.testing.assert_close(seen['block11'][:, :256], early[:, :256])
    torch.testing.assert_close(carried, early[:, :256], rtol=0.01, atol=0.01)  # a weight decay that BatchNorm takes out
    assert not torch.allclose(seen['block11'][:, 256:], early[:, 256:], atol=0.1)


def test_the_new_last_layers_hand_on_what_they_are_given():
    torch.manual_seed(0)
    model = xception.build_xception_backbone(pretrained=False).eval()
    pretrain_backbone.pass_on(model)
    maps = torch.randn(2, 728, 6, 6)
    with torch.no_grad():
        torch.testing.assert_close(model.block12(maps)[:, :728], maps[:, :, ::2, ::2], rtol=1e-4, atol=1e-4)
        given = torch.randn(2, 1024, 3, 3)
        above, below = torch.relu(model.bn3(model.conv3(given)))[:, :1456].split(728, dim=1)
    smooth = torch.nn.functional.avg_pool2d(given[:, :728], 3, 1, 1)
    torch.testing.assert_close(above - below, smooth, rtol=1e-4, atol=1e-4)
    assert not (above * below).any()


def test_features_are_decorrelated_and_equally_strong():
    torch.manual_seed(0)
    mixed = torch.randn(400, 6, 2, 2) * torch.tensor([9, 3, 1, 1, 0.3, 0.1]).view(6, 1, 1)
    maps = torch.einsum('oc,nchw->nohw', torch.randn(6, 6), mixed) + 20
    layer, norm = torch.nn.Conv2d(6, 12, 1, bias=False), torch.nn.BatchNorm2d(12, momentum=None)
    pretrain_backbone.decorrelate(layer, norm, maps)
    with torch.no_grad():
        found = norm.eval()(layer(maps)).permute(1, 0, 2, 3).flatten(1)
    torch.testing.assert_close(torch.corrcoef(found[:6]), torch.eye(6), rtol=0, atol=0.01)
    torch.testing.assert_close(found[:6] + found[6:], torch.full_like(found[:6], -3), rtol=0, atol=0.1)
    torch.testing.assert_close(found.std(1), torch.full((12,), 3.0), rtol=0.03, atol=0)


def test_half_precision_does_not_round_the_picture(monkeypatch):
    args = pretrain_backbone.parse_args(['--precision', 'bf16', '--size', '32'])
    pretraining = pretrain_backbone.Pretraining(args, CLASSES)
    dtypes = []
    for name in ('conv1', 'conv2'):
        pretraining.model.get_submodule(name).register_forward_hook(lambda *call: dtypes.append(call[-1].dtype))
    pretraining.forward(torch.zeros(2, 64, 64, 3, dtype=torch.uint8))
    assert dtypes == [torch.float32, torch.bfloat16]


@pytest.mark.parametrize(('slow', 'precision'), [(True, 'float32'), (False, 'bf16')])
def test_pretraining_takes_bf16_only_where_the_processor_knows_it(slow, precision, call_main, monkeypatch):
    asked = []

    def stop(args, classes):
        asked.append(args.precision)
        raise UserError('far enough')

    monkeypatch.setattr(runtime, 'slow_in_bf16', lambda device: slow)
    monkeypatch.setattr(pretrain_backbone, 'Pretraining', stop)
    for line in ([], ['--precision', 'bf16'], ['--precision', 'float32']):
        call_main(pretrain_backbone, *line)
    assert asked == [precision, 'bf16', 'float32']


# --- the weights in the detectors ------------------------------------------------------------


@pytest.fixture
def forensic(tmp_path, monkeypatch):
    """Weights of a small pre-training's kind: random, but with running statistics that are not 0 and 1."""
    from safetensors.torch import save_file

    torch.manual_seed(0)
    backbone = xception.build_xception_backbone(pretrained=False).train()
    backbone(torch.randn(4, 3, 64, 64))
    preprocessing = Preprocessing()
    facts = {name: json.dumps(getattr(preprocessing, name)) for name in ('mean', 'std')} | {'classes': '[]'}
    path = tmp_path / 'forensic.safetensors'
    save_file({n: t for n, t in backbone.state_dict().items() if not n.startswith('fc.')}, path, facts)
    monkeypatch.setattr(xception, 'FORENSIC_WEIGHTS', path)
    monkeypatch.setattr(models, 'FORENSIC_WEIGHTS', path)
    return backbone.eval()


def test_the_weights_give_the_same_features_on_either_normalisation(forensic):
    model = build_model('XceptionTransfer', 'forensic').eval()
    assert model.backbone_weights == 'forensic'
    picture = torch.rand(2, 3, 96, 96)
    ours, theirs = (
        (picture - torch.tensor(p.mean).view(1, 3, 1, 1)) / torch.tensor(p.std).view(1, 3, 1, 1)
        for p in (Preprocessing(), XCEPTION_PREPROCESSING)
    )
    with torch.no_grad():
        wanted = forensic.forward_head(forensic.forward_features(ours), pre_logits=True)
        assert torch.allclose(model.backbone(theirs), wanted, rtol=1e-3, atol=1e-4)


def test_without_the_hub_the_projects_own_weights_come_before_random_ones(forensic, monkeypatch, capsys):
    monkeypatch.setattr(xception, 'weights_within_reach', lambda config: False)
    model = build_model('XceptionBased')
    assert model.backbone_weights == 'forensic' and torch.equal(model.conv2.weight, forensic.conv2.weight)
    said = capsys.readouterr().err
    assert 'FORENSIC' in said and 'RANDOM' not in said
    assert build_model('timm:resnet10t').backbone_weights == 'random'  # they fit Xception alone


def test_whitening_divides_by_the_root_of_the_shrunk_covariance():
    generator = torch.Generator().manual_seed(0)
    pictures = torch.randn(96, 6, generator=generator) @ torch.randn(6, 6, generator=generator)
    pictures -= pictures.mean(0)
    maps = pictures[:, :, None, None].expand(-1, -1, 3, 3)
    layer = models.Whitening(6)
    assert torch.equal(layer.eval()(maps), maps)  # it has seen nothing yet

    for batch in maps.split(40):  # of 40, 40 and 16
        layer.train()(batch)
    variances, axes = torch.linalg.eigh(pictures.T @ pictures / 96)
    shrunk = 0.2 * variances + 0.8 * variances.mean()
    root = axes @ (0.8 * variances.mean() / shrunk).sqrt().diag() @ axes.T
    torch.testing.assert_close(layer.eval()(maps).mean((2, 3)), pictures @ root, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(layer.mean_variance, variances.mean())

    before = {name: tensor.clone() for name, tensor in layer.state_dict().items()}
    layer.train()(torch.full_like(maps[:4], torch.nan))  # a training that diverges is told so by its loss
    assert all(torch.equal(tensor, before[name]) for name, tensor in layer.state_dict().items())


def test_whitening_is_led_by_what_it_saw_last():
    layer = models.Whitening(2).train()
    layer.MEMORY = 64
    first, last = (torch.randn(512, 2) * torch.tensor(scale) for scale in ([3.0, 0.1], [0.1, 3.0]))
    for batch in torch.cat([first, last]).split(32):
        layer(batch[:, :, None, None])
    covariance = layer.directions.T @ (layer.variances[:, None] * layer.directions)
    assert covariance[1, 1] > 100 * covariance[0, 0]


def test_whitening_refuses_batches_of_one_but_lets_a_last_one_pass():
    layer, picture = models.Whitening(3).train(), torch.randn(1, 3, 4, 4)
    with pytest.raises(models.UserError, match='-b 2'):
        layer(picture)
    layer(torch.randn(4, 3, 4, 4))
    before = layer.variances.clone()
    assert layer(picture).shape == picture.shape and torch.equal(layer.variances, before)


def test_whitening_takes_a_second_batch_before_the_gradients_of_the_first():
    layer, batch = models.Whitening(3).train(), torch.randn(8, 3, 1, 1, requires_grad=True)
    (layer(batch) + layer(2 * batch)).sum().backward()
    assert batch.grad.isfinite().all()


def test_features_of_the_forensic_weights_are_whitened_and_a_checkpoint_brings_it_along(forensic, tmp_path):
    model = build_model('XceptionBased', 'forensic').train()
    assert get_nof_params(model) == 23_128_786
    seen = []
    model.fc.register_forward_pre_hook(lambda layer, inputs: seen.append(inputs[0]))
    with torch.no_grad():
        for _ in range(3):
            model(torch.randn(4, 3, 64, 64))
    assert all(features.mean(0).abs().max() < 1e-4 and features.std() > 0.01 for features in seen)

    picture = torch.randn(2, 3, 64, 64)
    plain = build_model('XceptionBased', 'none').eval()
    before = {name: tensor.clone() for name, tensor in plain.state_dict().items()}
    with torch.no_grad():
        wanted, unchanged = model.eval()(picture), plain(picture)
        plain.load_state_dict(model.state_dict())
        assert torch.equal(plain(picture), wanted)
        plain.load_state_dict(before)  # and a checkpoint of the assignment takes it away again
        assert torch.equal(plain(picture), unchanged)

    torch.save({'model': model.state_dict()}, tmp_path / 'trained.pt')
    again = build_model('XceptionBased', str(tmp_path / 'trained.pt'))
    assert torch.equal(again.conv4.pointwise.weight, model.conv4.pointwise.weight)
    # Defect: trained on, its features were neither centred nor whitened, and the running averages slow.
    assert type(again.act4) is type(model.act4) and not again.act4[2].seen
    assert runtime.batchnorm_momenta(again) == runtime.batchnorm_momenta(model)


def test_a_run_that_began_without_the_hub_goes_on_as_it_began_when_the_hub_is_there(forensic, workdir):
    """Then ImageNet's backbone is what the checkpoint is loaded into, and its running averages were slower."""
    began, goes_on = build_model('XceptionBased', 'forensic'), build_model('XceptionBased', 'none')
    for norm in norms_of(goes_on):
        norm.momentum = 0.1
    first, second = (
        Trainer(model, make_optimizer('Adam', model, 0.001), torch.nn.CrossEntropyLoss(), 2, None, None, None)
        for model in (began, goes_on)
    )
    log = new_log(LoggingParameters('XceptionBased', 'faces', 'Adam', {}), {})
    first._save_last(Path('began.last.pt'), log, 50.0, finished=False)
    second._restore(Path('began.last.pt'), log)
    for before, after in zip(norms_of(began), norms_of(goes_on), strict=True):
        assert before.momentum == after.momentum


def norms_of(model):
    return [module for module in model.modules() if isinstance(module, torch.nn.BatchNorm2d)]


def test_other_weights_of_the_same_program_are_loaded_as_the_shipped_ones_are(forensic, tmp_path):
    """Or a comparison of the two would be one of what stands behind them."""
    other = tmp_path / 'other.safetensors'
    other.write_bytes(xception.FORENSIC_WEIGHTS.read_bytes())
    for name in ('XceptionBased', 'XceptionTransfer'):
        one, two = (build_model(name, weights).state_dict() for weights in ('forensic', str(other)))
        assert one.keys() == two.keys()
        same = [key for key in one if not key.startswith(('fc.', 'head.'))]
        assert all(torch.equal(one[key], two[key]) for key in same)
    model = build_model('XceptionBased', str(other))
    assert model.backbone_weights == 'forensic:other.safetensors' and model.bn4.momentum == 0.3


def test_missing_forensic_weights_name_the_command_that_makes_them(monkeypatch, tmp_path):
    monkeypatch.setattr(xception, 'FORENSIC_WEIGHTS', tmp_path / 'none.safetensors')
    with pytest.raises(models.UserError, match='none.safetensors yet.*python pretrain_backbone.py'):
        build_model('XceptionTransfer', 'forensic')


def test_forensic_weights_for_another_backbone_are_refused(forensic):
    with pytest.raises(models.UserError, match='Xception alone'):
        build_model('timm:resnet10t', 'forensic')


# --- the weights that are shipped ------------------------------------------------------------


def test_the_shipped_weights_are_half_as_long_and_without_a_head():
    with safe_open(xception.FORENSIC_WEIGHTS, 'pt') as file:
        names = set(file.keys())
        assert all(file.get_tensor(name).dtype == torch.float16 for name in names if name.endswith(('weight', 'bias')))
        assert json.loads(file.metadata()['classes']) == list(CLASSES)
    assert names == {
        name for name in xception.build_xception_backbone(False).state_dict() if not name.startswith('fc.')
    }
    assert xception.FORENSIC_WEIGHTS.stat().st_size < 45e6


def test_the_shipped_weights_see_traces_that_random_ones_do_not():
    """Of two kinds that pre-training never saw, on the line through the means of other pictures."""
    torch.manual_seed(0)
    models = {name: build_model('XceptionBased', name).eval() for name in ('forensic', 'none')}
    for trace in HELD_OUT:
        found = {name: separated(model, trace) for name, model in models.items()}
        assert found['forensic'] > 0.9 > found['none'], (trace, found)


def separated(model, trace, number=32):
    """AuC of the projection on the difference of the means."""
    pictures, labels = [], np.arange(2 * number) % 2
    for index in range(2 * number):
        rng = np.random.default_rng(index // 2)  # a pair shows the same
        image = histories.photograph(draw_texture(rng, 128), rng)
        pictures.append(to_bytes(histories.apply_trace(trace, image, image, 1.0, rng) if index % 2 else image))
    transform = Preprocessing().test_transform()
    with torch.no_grad():
        features = (
            model.forward_features(torch.stack([transform(picture) for picture in pictures])).mean((2, 3)).numpy()
        )
    first, second = features[:number], features[number:]
    direction = first[labels[:number] == 1].mean(0) - first[labels[:number] == 0].mean(0)
    return scoring.auc(labels[number:], second @ (direction / (first.std(0) + 1e-6)))
