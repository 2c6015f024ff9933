"""Can a map be believed? Curves, random maps and scrambled weights, on detectors whose true map is known."""

import json
import shutil

import numpy as np
import pytest
import torch
from conftest import PROJECT
from PIL import Image
from test_detectors import save_network
from torch import nn

import detectors
import faithfulness as command
import grad_cam_analysis
import make_report
import saliency_map
from forensics import records
from forensics.data.parts import Part
from forensics.errors import UserError
from forensics.judging import explaining, exported, faithfulness, maps, plots
from forensics.judging.explaining import Explained
from forensics.pictures.files import open_image

SIZE = 32


def smooth_noise(rng, size: int = SIZE) -> np.ndarray:
    return faithfulness.random_like(np.outer(np.hanning(size), np.hanning(size)), rng)


def pictures(number: int) -> list[np.ndarray]:
    return list(np.random.default_rng(0).integers(0, 256, (number, SIZE, SIZE, 3), dtype=np.uint8))


# --- a detector that looks at one corner only ------------------------------------------------------------


def corner(size: int = SIZE) -> np.ndarray:
    """The true map."""
    truth = np.zeros((size, size))
    truth[: size // 4, : size // 4] = 1
    return truth


def deviation_in_the_corner(found: list[np.ndarray]) -> np.ndarray:
    """A score that is the sum over the corner's pixels of their distance from the picture's mean."""
    return np.array(
        [np.abs(picture - 127.5).mean(axis=2)[: SIZE // 4, : SIZE // 4].mean() / 127.5 for picture in found]
    )


def differences(heat_of, number: int = 40) -> list[float]:
    rows = []
    for index, picture in enumerate(pictures(number)):
        rng = np.random.default_rng(index)
        rows.append(faithfulness.curves(deviation_in_the_corner, picture, heat_of(rng), rng))
    return [faithfulness.difference(row) for row in rows]


def test_the_true_map_is_the_most_faithful():
    picture, rng = pictures(1)[0], np.random.default_rng(0)
    wrong = [np.roll(corner(), 12, axis=0), corner().T[::-1], -corner(), smooth_noise(rng)]
    true, *others = [faithfulness.curves(deviation_in_the_corner, picture, heat, rng) for heat in (corner(), *wrong)]
    assert all(true['deletion'].mean() < other['deletion'].mean() for other in others)
    assert all(true['insertion'].mean() > other['insertion'].mean() for other in others)
    # A sixteenth of the pixels matters, and they all go with the first tenth.
    whole, nothing = deviation_in_the_corner([picture, faithfulness.nothing_of(picture)])
    np.testing.assert_allclose(true['deletion'], nothing, atol=1e-9)
    np.testing.assert_allclose(true['insertion'], whole, atol=1e-9)
    assert min(differences(lambda rng: corner())) > 0.05


def test_a_random_map_is_no_better_than_a_random_map():
    rows = differences(lambda rng: smooth_noise(rng))
    low, high = faithfulness.interval(rows, [str(index) for index in range(len(rows))])
    assert low < 0 < high


def test_the_wrong_way_round_is_worse_than_random():
    rows = differences(lambda rng: -corner())
    assert faithfulness.interval(rows, [str(index) for index in range(len(rows))])[1] < 0


# --- the pieces ------------------------------------------------------------


def test_a_random_map_is_as_smooth_as_the_map():
    rng = np.random.default_rng(0)
    for heat in (corner(), rng.random((SIZE, SIZE)), smooth_noise(rng)):
        chance = faithfulness.random_like(heat, rng)
        strengths = [np.abs(np.fft.rfft2(each))[1:, 1:-1] for each in (heat, chance)]
        np.testing.assert_allclose(*strengths, atol=1e-6 * strengths[0].max())
        assert abs(faithfulness.rank_correlation(heat, chance)) < 0.5

    def neighbours(values):
        return np.corrcoef(values[:, :-1].ravel(), values[:, 1:].ravel())[0, 1]

    smooth = smooth_noise(rng)
    assert neighbours(faithfulness.random_like(smooth, rng)) > 0.95
    assert abs(neighbours(faithfulness.random_like(rng.random((SIZE, SIZE)), rng))) < 0.2


def test_ties_go_in_the_order_of_the_second_map():
    places = faithfulness.ranks(np.array([[0.0, 1], [0, 0]]), np.array([[5.0, 0], [7, 6]]))
    assert places.tolist() == [[0.875, 0.125], [0.375, 0.625]]


def test_rank_correlation_is_spearmans():
    from scipy.stats import spearmanr

    one, other = np.random.default_rng(0).integers(0, 5, (2, 9, 9)).astype(float)
    assert faithfulness.rank_correlation(one, other) == pytest.approx(spearmanr(one.ravel(), other.ravel()).statistic)
    assert faithfulness.rank_correlation(one, np.exp(one)) == pytest.approx(1)
    assert faithfulness.rank_correlation(one, -one) == pytest.approx(-1)
    assert faithfulness.rank_correlation(one, np.ones((9, 9))) is None


def test_intervals_resample_groups():
    values, groups = [0.0, 1.0] * 20, [str(index) for index in range(40)]
    low, high = faithfulness.interval(values, groups)
    assert low == pytest.approx(0.35, abs=0.06) and high == pytest.approx(0.65, abs=0.06)
    four_each = [str(index // 4) for index in range(40)]  # each group with the same mean: nothing varies
    assert faithfulness.interval(values, four_each) == (0.5, 0.5)
    assert faithfulness.interval(values[:9], groups[:9]) is None and faithfulness.interval([], []) is None


# --- in words ------------------------------------------------------------


def row(score: float = 0.5, correlations=(0.0,), number: int = 12) -> dict:
    one = {'deletion': [0.5 - score], 'insertion': [0.5], 'random_deletion': [0.5], 'random_insertion': [0.5]}
    jitter = np.linspace(-0.1, 0.1, number)
    rows = [one | {'insertion': [0.5 + shift]} for shift in jitter] if number else [None] * 12
    return faithfulness.summary(rows, list(correlations), [str(index) for index in range(12)])


@pytest.mark.parametrize(
    ('found', 'words'),
    [
        (row(), 'more faithful than a random map'),
        (row(-0.5), 'less faithful than a random map'),
        (row(0), 'not told from a random map'),
        (row(number=0, correlations=[]), 'blank on every picture: it explains nothing'),
        (row(correlations=[]), 'more faithful than a random map'),
    ],
)
def test_the_verdict_is_in_words(found, words):
    assert faithfulness.verdict(found) == words


def test_a_map_that_does_not_change_explains_nothing():
    """An edge detector looks convincing, and looks the same whatever the network has learned."""
    edges = [np.abs(np.gradient(picture.mean(axis=2))[0]) for picture in pictures(12)]
    same = [faithfulness.rank_correlation(heat, heat) for heat in edges]
    assert same == pytest.approx([1.0] * 12)
    assert 'hardly changes when the weights are scrambled' in faithfulness.verdict(row(correlations=same))
    assert 'blank once the weights are scrambled' in faithfulness.verdict(row(correlations=[None]))


def test_a_detector_that_ignores_the_picture_is_said_to_do_so():
    assert 'almost the same without it' in faithfulness.moves_little(0.51, 0.5)
    assert faithfulness.moves_little(0.9, 0.5) == ''


# --- the methods of networks ------------------------------------------------------------


def linear(outputs: int = 2) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(3 * SIZE * SIZE, outputs))


@pytest.mark.parametrize('outputs', [1, 2], ids=['one logit', 'two scores'])
@pytest.mark.parametrize('label', [0, 1])
def test_methods_on_a_linear_network(outputs, label):
    """Its gradient is its weights; a pixel's share of the score is weight times distance from the mean colour."""
    model, samples, labels = linear(outputs), torch.rand(2, 3, SIZE, SIZE), torch.tensor([label, label])
    weights = model[1].weight.detach()[label if outputs == 2 else 0].view(3, SIZE, SIZE)
    weights = weights if outputs == 2 or label else -weights
    found = {name: explaining.maps(name, samples, labels, Explained(model)) for name in explaining.PIXEL_METHODS}
    steepest = weights.abs().amax(dim=0)
    torch.testing.assert_close(found['gradient'], steepest.expand(2, -1, -1))
    torch.testing.assert_close(found['smoothgrad'], found['gradient'])
    shares = (weights * (samples - samples.mean(dim=(2, 3), keepdim=True))).sum(dim=1)
    torch.testing.assert_close(found['integrated-gradients'], shares.clamp(min=0), atol=1e-6, rtol=1e-4)
    cells = shares.unfold(1, 8, 4).unfold(2, 8, 4).sum(dim=(3, 4))  # what each window takes away
    occluded = explaining.maps('occlusion', samples, labels, Explained(model))
    corner_of = occluded[:, 0, 0] / occluded[:, -1, -1]  # only one window covers either
    expected = cells[:, 0, 0].clamp(min=0) / cells[:, -1, -1].clamp(min=0)
    torch.testing.assert_close(corner_of.nan_to_num(), expected.nan_to_num(), rtol=1e-3, atol=1e-4)


def test_captums_gradient_is_the_assignments():
    torch.manual_seed(1)
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 30 * 30, 2))
    samples, labels = torch.randn(3, 3, SIZE, SIZE), torch.tensor([0, 1, 1])
    ours = saliency_map.compute_gradient_saliency_maps(samples, labels, model)
    torch.testing.assert_close(explaining.maps('gradient', samples, labels, Explained(model)), ours)


def test_scrambled_weights_are_the_same_ones_elsewhere():
    model = nn.Sequential(nn.Conv2d(3, 8, 5), nn.Linear(9, 2))
    other = explaining.scrambled(model, 0)
    for before, after in zip(model.parameters(), other.parameters(), strict=True):
        assert sorted(before.flatten().tolist()) == sorted(after.flatten().tolist())
    assert not torch.equal(model[0].weight, other[0].weight)
    assert torch.equal(other[0].weight, explaining.scrambled(model, 0)[0].weight)


# --- without PyTorch ------------------------------------------------------------


def a_fake(tiny_root) -> Image.Image:
    return open_image(tiny_root / 'fakes_dataset' / 'test' / 'fake' / '000.jpg')


class OneLogit(nn.Module):
    """What an exported graph says of a network with two scores."""

    def __init__(self, network: nn.Module):
        super().__init__()
        self.network = network

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        scores = self.network(pixels)
        return scores[:, 1:] - scores[:, :1]


def test_occlusion_with_and_without_pytorch_agree(exported_bonus, tiny_root):
    network, image = detectors.load_detector(exported_bonus.with_suffix('.pt')), a_fake(tiny_root)
    (cells,) = maps.cells(exported.load(exported_bonus), [image])
    for label, own in ((1, cells), (0, -cells)):
        explained = Explained(OneLogit(network.model))
        heat = explaining.maps('occlusion', network.transform(image)[None], torch.tensor([label]), explained)[0]
        # The colour that covers is a whole number in one of them.
        np.testing.assert_allclose(heat[16::32, 16::32], np.clip(own, 0, None) / own.max(), atol=0.02)


def test_evidence_where_the_graph_has_it(exported_with_maps, tiny_root):
    graph = exported.load(exported_with_maps)
    image = a_fake(tiny_root)
    np.testing.assert_array_equal(maps.cells(graph, [image])[0], graph.answers('evidence', [image])[0])
    assert maps.occlusion(graph, [image])[0].shape == (8, 8)


# --- the command ------------------------------------------------------------


@pytest.fixture
def measured(call_main, workdir):
    def measure(checkpoint, *arguments) -> dict:
        arguments = ('-cpp', checkpoint, '-d', 'fakes_dataset', '--images', 4, '--scrambled', 1, *arguments)
        status, printed, errors = call_main(command, *arguments)
        assert status == 0, errors
        (path,) = (workdir / 'out' / 'faithfulness').iterdir()
        return {'printed': printed, 'path': path, **records.read_faithfulness(path)}

    return measure


def test_command_measures_every_method_of_a_network(measured, workdir):
    checkpoint = workdir / 'checkpoints' / 'fakes_dataset_BonusNet_Adam.pt'
    checkpoint.parent.mkdir()
    shipped = records.load_checkpoint(PROJECT / 'checkpoints' / 'bonus.pt')
    records.save_checkpoint(checkpoint, {**shipped, 'run': {**shipped['run'], 'id': 'a run'}})
    found = measured(checkpoint)
    assert found['path'].name == 'fakes_dataset_BonusNet_Adam__fakes_dataset.json'
    assert list(found['methods']) == list(explaining.METHODS) and found['run_id'] == 'a run'
    assert set(explaining.METHODS) == {*explaining.PIXEL_METHODS, *explaining.REGION_METHODS}
    assert found['checkpoint_sha256'] == records.file_digest(checkpoint) and found['seed'] == 0
    part = Part.find('fakes_dataset', 'test')
    assert len(found['files']) == 4 and set(found['files']) <= set(part.files)
    for name, method in found['methods'].items():
        assert method['images'] + method['blank'] == 4 and name in found['printed']
        assert method['scrambled']['images'] <= 1 and method['interval'] is None
    assert (workdir / 'figures' / 'fakes_dataset_BonusNet_faithfulness.png').exists()
    assert 'was not measured' not in report_of(workdir) and 'integrated-gradients' in report_of(workdir)


def report_of(workdir) -> str:
    make_report.main(['--no-pdf'])
    return (workdir / 'out' / 'report.html').read_text()


def test_command_measures_an_exported_network(measured, exported_with_maps, workdir):
    shutil.copy(exported_with_maps, workdir / 'net.onnx')
    found = measured('net.onnx')
    assert list(found['methods']) == ['evidence', 'occlusion'] and found['path'].name == 'net.onnx__fakes_dataset.json'
    assert found['methods']['evidence']['scrambled']['images'] == 1
    names = [path.name for path in (workdir / 'figures').iterdir()]
    assert names == ['fakes_dataset_timm-test_resnet_faithfulness_onnx.png']


def test_scrambled_graph_answers_differently(exported_with_maps, tiny_root):
    graph = exported.load(exported_with_maps)
    image = a_fake(tiny_root)
    one, other = (each.answers('evidence', [image])[0] for each in (graph, command.scrambled(graph, 0)))
    assert not np.allclose(one, other) and other.std() > 0


def test_a_detector_that_is_no_network_is_refused(call_main, workdir, tiny_root):
    from test_train_svm import spectral_detector

    spectral_detector(tiny_root / 'fakes_dataset').save(workdir / 'x.npz')
    status, _, errors = call_main(command, '-cpp', 'x.npz')
    assert status == 1 and 'x.npz is no network' in errors


WITHOUT_NUMBERS = {'detector': 'a', 'model': 'b', 'dataset': 'c', 'files': [], 'answer': {'whole': 1, 'nothing': 0},
                   'methods': {'m': {}}}  # fmt: skip


@pytest.mark.parametrize('content', ['{}', '{"methods": []}', '[]', 'x', json.dumps(WITHOUT_NUMBERS)])
def test_a_damaged_record_is_named(content, workdir):
    (workdir / 'x.json').write_text(content)
    with pytest.raises(UserError, match='x.json.*faithfulness.py'):
        records.read_faithfulness('x.json')


# --- one picture ------------------------------------------------------------


@pytest.mark.parametrize('model', ['MyNet', 'CustomCNN'], ids=['two scores', 'one logit'])
@pytest.mark.parametrize('module', [saliency_map, grad_cam_analysis], ids=lambda module: module.__name__)
def test_one_picture(module, model, call_main, workdir, tiny_root, monkeypatch):
    """Its face is found, and its name is no formula."""
    shown = []
    monkeypatch.setattr(module, 'page_of_picture', lambda *given: shown.append(given[1:]) or plots.new_figure(1))
    shutil.copy(tiny_root / 'fakes_dataset' / 'test' / 'fake' / '000.jpg', workdir / 'a $ b $.jpg')
    arguments = ('-m', model, '-cpp', save_network('net.pt', model), '--image', 'a $ b $.jpg')
    status, _, errors = call_main(module, *arguments)
    assert status == 0, errors
    ((image, heading, method),) = shown
    assert image.size == (256, 256) and heading == f'{model} on a \\$ b \\$.jpg\nits face'
    assert method == module.parse_args(['-cpp', 'x']).method


@pytest.mark.parametrize(
    ('module', 'method', 'name'),
    [
        (saliency_map, 'gradient', 'plain_CustomCNN_saliency_map.png'),
        (saliency_map, 'integrated-gradients', 'plain_CustomCNN_integrated_gradients_map.png'),
        (grad_cam_analysis, 'grad-cam', 'plain_CustomCNN_grad_cam.png'),
        (grad_cam_analysis, 'occlusion', 'plain_CustomCNN_occlusion.png'),
    ],
)
def test_a_picture_without_a_face(module, method, name, call_main, workdir, monkeypatch):
    """And without anything else, so that there is nothing to take away, and the maps of what that does are blank."""
    said, words = [], []
    monkeypatch.setattr(plots, 'save', lambda figure, path, _: said.append((figure.get_suptitle(), path.name)))
    monkeypatch.setattr(plots, 'plot_message', lambda text, ax: words.append(text))
    Image.new('RGB', (300, 200), (90, 120, 150)).save('plain.png')
    checkpoint = save_network('net.pt', 'CustomCNN')
    arguments = ('-m', 'CustomCNN', '-cpp', checkpoint, '--image', 'plain.png', '--method', method)
    status, _, errors = call_main(module, *arguments)
    assert status == 0, errors
    assert said[0][1] == name and 'no face was found: the middle of the picture' in said[0][0]
    if method in ('integrated-gradients', 'occlusion'):
        assert 'blank map' in words[0]


def test_pictures_that_cannot_be_opened_are_named(call_main, workdir):
    status, _, errors = call_main(
        saliency_map, '-m', 'MyNet', '-cpp', save_network('n.pt', 'MyNet'), '--image', 'no.jpg'
    )
    assert status == 1 and 'no.jpg' in errors
