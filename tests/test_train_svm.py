"""Classical detectors: the same decisions as scikit-learn's, from one file, with honest choices."""

import json
import os
import shutil
import signal
import subprocess
import sys
import warnings

import numpy as np
import pytest
from conftest import PROJECT, make_dataset
from PIL import Image

import train_svm
from forensics import records
from forensics.classical import detector as classical
from forensics.classical import features
from forensics.data.datasets import class_files
from forensics.data.parts import Part
from forensics.errors import UserError
from forensics.judging import scoring
from forensics.pictures.files import BrokenImage, open_image
from forensics.running import parallel

KERNELS = [kind for kind in classical.GRIDS if kind != 'k-means']


@pytest.fixture
def two_clouds() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """120 vectors of two overlapping classes, three to a group; the last column is constant, as a spectrum's first."""
    rng = np.random.default_rng(0)
    labels = np.arange(120) // 3 % 2
    vectors = rng.normal(size=(120, 7)) + 0.8 * labels[:, None]
    vectors[:, -1] = 1
    return vectors, labels, np.arange(120) // 3


def spectral_detector(folder, kind: str = 'logistic') -> classical.ClassicalDetector:
    """Trained on the data set's train part, in a few lines."""
    extractors = [features.Spectrum()]
    files = class_files(folder / 'train')
    vectors = features.of_images(extractors, [open_image(folder / 'train' / file) for file in files])
    labels = np.array([file.startswith('fake') for file in files]).astype(int)
    classifier, _ = classical.fit(kind, vectors, labels, np.array(files))
    calibration = classical.fit_calibration(classifier.decision(vectors), labels)
    trained_on = classical.describe_training([(256, 256)], vectors, extractors)
    run = {'model': f'spectrum-{kind}', 'threshold': 0.5, 'trained_on': trained_on}
    return classical.ClassicalDetector(extractors, classifier, calibration, run)


def pictures(folder, part: str = 'test') -> tuple[list[Image.Image], np.ndarray]:
    files = class_files(folder / part)
    return [open_image(folder / part / file) for file in files], np.array([f.startswith('fake') for f in files])


# --- classifiers -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize('kind', KERNELS)
def test_decisions_are_scikit_learns(kind, two_clouds):
    vectors, labels, _ = two_clouds
    grid = {name: values[-1] for name, values in classical.GRIDS[kind].items() if name != 'gamma'}
    fitted = classical.pipeline(kind, vectors.shape[1])
    fitted.set_params(**{f'model__{name}': value for name, value in grid.items()}).fit(vectors, labels)
    others = np.random.default_rng(1).normal(size=(50, 7)) * 2
    ours = classical.from_pipeline(kind, fitted).decision(others)
    np.testing.assert_allclose(ours, fitted.decision_function(others), rtol=1e-9, atol=1e-9)


def test_k_means_decides_by_the_nearer_centre(two_clouds):
    vectors, labels, groups = two_clouds
    classifier, cv_auc = classical.fit('k-means', vectors + 5 * labels[:, None], labels, groups)
    assert cv_auc is None
    np.testing.assert_array_equal(classifier.decision(vectors + 5 * labels[:, None]) > 0, labels)


def test_folds_keep_groups_together(two_clouds):
    vectors, labels, groups = two_clouds
    for train, held_out in classical.folds(vectors, labels, groups, seed=0):
        assert not set(groups[train]) & set(groups[held_out])
        assert set(labels[held_out]) == {0, 1}
    with pytest.raises(UserError, match='two or more groups of each class'):
        classical.folds(vectors, labels, labels, seed=0)


def test_calibration_gives_frequencies_and_never_turns_a_detector_round():
    rng = np.random.default_rng(0)
    decisions = rng.normal(size=20_000) * 30
    labels = (rng.random(20_000) < 1 / (1 + np.exp(-(decisions / 30 * 2 + 1)))).astype(int)
    calibration = classical.fit_calibration(decisions, labels)
    assert calibration['slope'] * 30 == pytest.approx(2, abs=0.1)
    assert calibration['offset'] == pytest.approx(1, abs=0.1)
    assert classical.fit_calibration(decisions, 1 - labels)['slope'] > 0
    separable = classical.fit_calibration(np.array([-1.0, -2, 1, 2]), np.array([0, 0, 1, 1]))
    assert np.isfinite(list(separable.values())).all()


# --- detectors -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize('kind', classical.GRIDS)
def test_a_detector_comes_back_from_its_file_alone(kind, tiny_root, tmp_path):
    # A spectrum tells the synthetic ones; clusters, which know no labels, need fakes that differ in nothing but grain.
    folder = make_dataset(tmp_path / 'faces') if kind == 'k-means' else tiny_root / 'synthetic_dataset'
    detector = spectral_detector(folder, kind)
    detector.save(tmp_path / 'detector.npz')
    images, labels = pictures(folder)
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')  # one of so few pictures may lie outside of what the others are like
        scores = detector.score(images)
        loaded = classical.load(tmp_path / 'detector.npz')
        np.testing.assert_array_equal(loaded.score(images), scores)
    assert loaded.run == detector.run and loaded.threshold == 0.5
    assert scores.shape == (len(images),) and np.all((scores > 0) & (scores < 1))
    assert scoring.auc(labels, scores) > 0.9
    assert loaded.score([]).shape == (0,)
    assert loaded.score(image for image in images[:3]).shape == (3,)


def test_scoring_needs_neither_torch_nor_scikit_learn(tiny_root, tmp_path):
    spectral_detector(tiny_root / 'fakes_dataset').save(tmp_path / 'detector.npz')
    program = (
        'import sys; from PIL import Image; from forensics.classical import detector as classical; '
        'print(classical.load(sys.argv[1]).score([Image.effect_noise((256, 256), 50)])); '
        'print({"torch", "torchvision", "sklearn", "timm"} & set(sys.modules))'
    )
    command = [sys.executable, '-W', 'ignore', '-c', program, str(tmp_path / 'detector.npz')]
    done = subprocess.run(command, capture_output=True, text=True, cwd=PROJECT)
    assert done.stdout.endswith('set()\n'), done.stdout + done.stderr


def test_foreign_and_damaged_files_are_refused(tiny_root, tmp_path):
    class Bomb:
        def __reduce__(self):
            return exec, ('raise SystemExit("a pickle was executed")',)

    np.savez(tmp_path / 'pickle.npz', metadata=np.array([Bomb()], dtype=object))
    np.savez(tmp_path / 'other.npz', metadata=np.array(json.dumps({'format': 'something else'})))
    spectral_detector(tiny_root / 'fakes_dataset').save(tmp_path / 'good.npz')
    (tmp_path / 'short.npz').write_bytes((tmp_path / 'good.npz').read_bytes()[:-500])
    (tmp_path / 'text.npz').write_text('no archive')
    for name in ('pickle', 'other', 'short', 'text'):
        with pytest.raises(UserError, match=f'{name}.npz is damaged or no detector'):
            classical.load(tmp_path / f'{name}.npz')
    with pytest.raises(UserError, match='No detector'):
        classical.load(tmp_path / 'absent.npz')


def test_warnings_of_unfamiliar_input(tiny_root):
    detector = spectral_detector(tiny_root / 'fakes_dataset')
    images, _ = pictures(tiny_root / 'fakes_dataset', 'train')
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        detector.score(images)
    with pytest.warns(UserWarning, match='1 of 2 images are not square'):
        detector.score([images[0], images[1].crop((0, 0, 256, 200))])
    with pytest.warns(UserWarning, match='have not the 256x256 pixels'):
        detector.score([images[0].crop((0, 0, 128, 128))])
    enlarged = [image.crop((0, 0, 128, 128)).resize((256, 256), Image.Resampling.BICUBIC) for image in images]
    with pytest.warns(UserWarning, match='were they resampled'):
        detector.score(enlarged)


def small_network():
    """Has what every network of timm has: a head that can be taken off."""
    from torch import nn

    class Network(nn.Module):
        num_features = 5

        def __init__(self):
            super().__init__()
            self.conv, self.pool = nn.Conv2d(3, 5, 3), nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
            self.fc = nn.Linear(5, 2)

        def reset_classifier(self, num_classes):
            self.fc = nn.Identity()

        def forward(self, x):
            return self.fc(self.pool(self.conv(x)))

    return Network()


def test_deep_features_are_part_of_the_file(tiny_root, tmp_path):
    images, labels = pictures(tiny_root / 'fakes_dataset')
    deep = features.Deep('xception', small_network(), 64, [0.5] * 3, [0.5] * 3, 'random')
    extractors = [features.Spectrum(n=50), deep]
    vectors = features.of_images(extractors, images)
    assert vectors.shape == (len(images), 55)
    classifier = classical.fit_k_means(vectors, labels.astype(int), seed=0)
    run = {'threshold': 0.5, 'trained_on': classical.describe_training([(256, 256)], vectors, extractors)}
    detector = classical.ClassicalDetector(extractors, classifier, {'slope': 1.0, 'offset': 0.0}, run)
    detector.save(tmp_path / 'deep.npz')
    asked = []
    loaded = classical.load(tmp_path / 'deep.npz', lambda name: asked.append(name) or small_network())
    assert asked == ['XceptionBased']  # with random weights: the file's take their place
    np.testing.assert_allclose(loaded.score(images), detector.score(images), rtol=1e-6)
    assert loaded.extractors[1].recipe == deep.recipe
    with pytest.raises(UserError, match='xception features need a network'):
        classical.load(tmp_path / 'deep.npz')


# --- features and their cache ----------------------------------------------------------------------------------


class Counting(features.Spectrum):
    """Knows how many images it has seen."""

    seen = 0

    def __call__(self, images):
        Counting.seen += len(images)
        return super().__call__(images)


def test_cache_goes_by_content(tiny_root, workdir, monkeypatch):
    monkeypatch.setattr(Counting, 'seen', 0)
    monkeypatch.setattr(Counting, 'jobs', 1)
    part = workdir / 'copy'
    shutil.copytree(tiny_root / 'fakes_dataset' / 'test', part)
    files = [part / file for file in class_files(part)]
    first = features.of_files([Counting()], files)
    assert Counting.seen == len(files)
    files[0].rename(part / 'real' / 'other name.jpg')
    files[0] = part / 'real' / 'other name.jpg'
    np.testing.assert_array_equal(features.of_files([Counting()], files), first)
    assert Counting.seen == len(files)

    shutil.copy(files[1], files[0])  # another content under the same name, and one that is known
    again = features.of_files([Counting()], files)
    np.testing.assert_array_equal(again[0], again[1])
    assert Counting.seen == len(files)
    features.of_files([Counting(n=20)], files[:1])
    assert Counting.seen == len(files) + 1  # other numbers do not come from the same place

    store = features.CACHE_DIR / f'{Counting().recipe}-v{features.VERSION}.npz'
    store.write_bytes(store.read_bytes()[:1000])
    np.testing.assert_array_equal(features.of_files([Counting()], files), again)
    assert Counting.seen == 2 * len(files)  # 11 contents, and the one of 20 values


def test_what_was_computed_before_a_broken_file_is_kept(tiny_root, workdir, monkeypatch):
    monkeypatch.setattr(Counting, 'seen', 0)
    monkeypatch.setattr(Counting, 'jobs', 1)
    part = workdir / 'copy'
    shutil.copytree(tiny_root / 'fakes_dataset' / 'train', part)
    files = [part / file for file in class_files(part)]
    content = files[-1].read_bytes()
    files[-1].write_bytes(content[:500])
    with pytest.raises(BrokenImage, match=files[-1].name):
        features.of_files([Counting()], files)
    files[-1].write_bytes(content)
    features.of_files([Counting()], files)
    assert Counting.seen == len(files)


def test_augmentation_gives_four_for_one_and_flips_no_news(tiny_root, workdir):
    part = tiny_root / 'fakes_dataset' / 'test'
    files = [part / file for file in class_files(part)]
    blocks = features.of_files([features.Spectrum('corrected')], files, list(features.AUGMENTATIONS))
    original, flipped, left, right = np.split(blocks, 4)
    np.testing.assert_allclose(flipped, original, atol=1e-9)
    # A turned picture has black corners, whose edges and whose interpolation the spectrum does see.
    assert np.abs(left - original).max() > 0.01 and np.abs(right - original).max() > 0.01


def test_names_of_features():
    assert features.split_name('both') == ['spectrum', 'resnet50']
    assert features.split_name('xception') == ['xception']
    for wrong in ('colour', 'spectrum+', 'spectrum+spectrum'):
        with pytest.raises(UserError, match='No features'):
            features.split_name(wrong)


def test_a_cluster_gives_the_same_features(tiny_root, workdir):
    distributed = pytest.importorskip('distributed')
    part = tiny_root / 'fakes_dataset' / 'train'
    files = [part / file for file in class_files(part)]
    options = {'n_workers': 2, 'threads_per_worker': 1, 'dashboard_address': None}
    with distributed.LocalCluster(**options) as cluster:
        there = features.of_files([features.Spectrum()], files, cluster=cluster.scheduler_address)
    shutil.rmtree(features.CACHE_DIR)
    np.testing.assert_array_equal(there, features.of_files([features.Spectrum()], files))


def test_a_cluster_needs_dask(monkeypatch):
    monkeypatch.setitem(sys.modules, 'distributed', None)
    with pytest.raises(UserError, match=r"pip install 'dask\[distributed\]'"):
        list(parallel.run_all(abs, [(1,)], 'x', cluster='tcp://127.0.0.1:8786'))


def test_a_killed_worker_is_told_in_one_sentence():
    with pytest.raises(UserError, match='One of 2 worker processes was killed.*run the same line again'):
        list(parallel.run_all(kill_yourself, [(number,) for number in range(4)], 'x', jobs=2))


def kill_yourself(number: int) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


# --- the command -----------------------------------------------------------------------------------------------


def test_the_lab_reports_table_and_figure(run_script, workdir):
    done = run_script('train_svm.py', '-d', 'synthetic_dataset', '--all')
    for kind in classical.GRIDS:
        name = f'synthetic_dataset_spectrum-{kind}_svm'
        assert f'| {kind} | ' in done.stdout
        run = records.last_run(workdir / 'out' / f'{name}.json')
        assert run['test_auc'] > 0.9 or kind == 'k-means'
        assert run['test_constant_acc'] == 50
        assert records.best_epoch(run) == 0  # readers of the networks' logs can read it
        detector = classical.load(workdir / 'checkpoints' / f'{name}.npz')
        assert detector.run == run['run']
        scores = records.read_scores(records.scores_path('out', name, 'synthetic_dataset'))
        assert scoring.auc(scores['labels'], np.array(scores['scores'])[:, 0]) == run['test_auc']
    assert '| constant predictor | 0.500 | 0.500 | 0.500 | 50.00% | - |' in done.stdout
    assert (workdir / 'figures' / 'synthetic_dataset_spectrum_mean_spectra.png').stat().st_size > 10_000


def test_the_test_part_is_only_reported(tmp_path, monkeypatch):
    """With its classes exchanged nothing that was learned or chosen changes."""
    monkeypatch.chdir(tmp_path)
    folder = make_dataset(tmp_path / 'data' / 'faces')
    arguments = ['-d', 'faces', '--classifier', 'svm-linear', '--data-root', str(tmp_path / 'data')]
    monkeypatch.setenv('FACES_DATASETS', str(tmp_path / 'data'))
    path = tmp_path / 'checkpoints' / 'faces_spectrum-svm-linear_svm.npz'
    train_svm.main(arguments)
    before = classical.load(path)
    (folder / 'test' / 'real').rename(folder / 'test' / 'was real')
    (folder / 'test' / 'fake').rename(folder / 'test' / 'real')
    (folder / 'test' / 'was real').rename(folder / 'test' / 'fake')
    train_svm.main(arguments)
    after = classical.load(path)
    aucs = [run['test_auc'] for run in records.read_runs(tmp_path / 'out' / 'faces_spectrum-svm-linear_svm.json')]
    assert aucs[0] + aucs[1] == pytest.approx(1)
    assert before.calibration == after.calibration and before.threshold == after.threshold
    for name, values in before.classifier.arrays.items():
        np.testing.assert_array_equal(values, after.classifier.arrays[name])


def test_groups_come_from_the_manifest(tmp_path, monkeypatch):
    monkeypatch.setenv('FACES_DATASETS', str(tmp_path))
    folder = make_dataset(tmp_path / 'faces')
    part = Part.find('faces', 'train')
    assert list(part.groups()) == part.files
    lines = ['file,label,part,group'] + [f'train/{file},,train,{file[-5]}' for file in part.files[1:]]
    (folder / 'manifest.csv').write_text('\n'.join(lines) + '\n')
    groups = Part.find('faces', 'train').groups()
    assert list(groups[1:]) == [f'group {file[-5]}' for file in part.files[1:]]
    assert groups[0] == part.files[0]  # one that the manifest does not know stands alone
    (folder / 'manifest.csv').write_text('name\na\n')
    with pytest.raises(UserError, match='needs the columns "file" and "group"'):
        Part.find('faces', 'train').groups()


def test_warning_of_a_data_set_whose_faces_were_scaled(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv('FACES_DATASETS', str(tmp_path))
    folder = make_dataset(tmp_path / 'faces')
    for size, expected in ((256, True), (None, False)):
        records.write_json(folder / 'dataset.json', {'settings': {'detect': True, 'size': size}})
        train_svm.main(['-d', 'faces', '--classifier', 'k-means'])
        assert ('were scaled to 256 pixels' in capsys.readouterr().err) is expected


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (['--features', 'colour'], 'No features "colour"'),
        (['--backbone-weights', 'none'], 'spectrum has no backbone'),
        (['--features', 'resnet50', '--backbone-weights', 'absent.pt'], 'absent.pt'),
        (['-d', 'absent'], 'No data set "absent"'),
        (['--device', 'nonsense'], 'nonsense'),
    ],
)
def test_errors_say_what_to_do(arguments, message, workdir):
    with pytest.raises(UserError, match=message):
        train_svm.main(arguments)


def test_an_empty_class_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv('FACES_DATASETS', str(tmp_path))
    folder = make_dataset(tmp_path / 'faces')
    shutil.rmtree(folder / 'val' / 'fake')
    (folder / 'val' / 'fake').mkdir()
    with pytest.raises(UserError, match='val/fake holds no image'):
        train_svm.main(['-d', 'faces'])
