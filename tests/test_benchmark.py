"""The benchmark: known answers, a threshold that never saw a test part, groups, videos, and starting again."""

import csv
import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from test_train_svm import spectral_detector

import benchmark
import numerical_analysis
import train_svm
from forensics import records
from forensics.classical.detector import ClassicalDetector
from forensics.data import datasets
from forensics.judging import benchmark_pairs, benchmark_scores, benchmark_table, comparing, scoring
from forensics.judging.detector import Detector
from models import MyNet

# --- a detector whose scores are known: a picture's grey level less 128 -----------------------------------------


class GreyLevel(Detector):
    name = 'GreyLevel'

    def __init__(self, run: dict, nan: bool = False):
        self.run, self.nan, self.seen, self.stop_after = run, nan, 0, None

    def outputs(self, images, doubts) -> np.ndarray:
        levels = [np.asarray(image).mean() for image in images]
        self.seen += len(levels)
        if self.stop_after is not None and self.seen > self.stop_after:
            raise KeyboardInterrupt
        return np.array([[np.nan if self.nan else level - 128] for level in levels]).reshape(-1, 1)


def make_set(root, name: str, **parts: dict[str, list[int]]):
    """Flat pictures: make_set(root, 'x', test={'real': [100, 110], 'fake': [200]})."""
    for part, classes in parts.items():
        for label, levels in classes.items():
            folder = root / name / part / label
            folder.mkdir(parents=True, exist_ok=True)
            for number, level in enumerate(levels):
                Image.new('RGB', (32, 32), (level,) * 3).save(folder / f'{number:03}.png')
    return root / name


@pytest.fixture
def root(workdir, monkeypatch):
    folder = workdir / 'sets'
    monkeypatch.setenv('FACES_DATASETS', str(folder))
    parts = {'real': [100, 110, 104], 'fake': [200, 190, 196]}
    make_set(folder, 'home', train=parts, val=parts, test={'real': [140, 142, 144], 'fake': [210, 212, 214]})
    # Abroad the real ones are brighter than what the threshold takes for real, and one fake is as dark.
    make_set(folder, 'abroad', test={'real': [130, 160, 170, 135], 'fake': [132, 220, 180]})
    return folder


@pytest.fixture
def loaded(workdir, root, monkeypatch) -> dict[str, GreyLevel]:
    """What `load_detector` gives for a.pt and b.pt."""
    run = {'model': 'GreyLevel', 'dataset': 'home'}
    known = {'a.pt': GreyLevel(run), 'b.pt': GreyLevel({'dataset': 'elsewhere'})}
    for name in known:
        (workdir / name).write_text(f'weights of {name}')

    def load(path: str, model: str | None = None) -> GreyLevel:
        return known[path].loaded_from(path)

    monkeypatch.setattr(benchmark.detectors, 'load_detector', load)
    return known


def strict_json():
    return json.loads((benchmark.Path('out') / 'benchmark.json').read_text(), parse_constant=pytest.fail)


def rows(**wanted) -> list[dict]:
    return [row for row in strict_json()['rows'] if all(row[name] == value for name, value in wanted.items())]


def row(**wanted) -> dict:
    (found,) = rows(**wanted)
    return found


def test_perfect_scores_give_one(loaded, call_main):
    status, printed, _ = call_main(benchmark, '--checkpoints', 'a.pt', '--datasets', 'home')
    found = row(detector='a')
    assert status == 0 and found['own'] is True
    assert [found[name] for name in ('auc', 'auc_low', 'auc_high')] == [1, 1, 1]
    assert [found[name] for name in ('eer', 'eer_low', 'eer_high')] == [0, 0, 0]
    assert (found['accuracy'], found['real'], found['fake'], found['groups']) == (100, 3, 3, 6)
    assert '| a | here | 1.000 (1.000 to 1.000) |' in printed


def test_threshold_is_fitted_on_the_validation_part_of_the_detectors_own_data(loaded, call_main):
    """Defect: a threshold chosen on the test part."""
    call_main(benchmark, '--checkpoints', 'a.pt', 'b.pt', '--datasets', 'home', 'abroad')
    abroad = row(detector='a', dataset='abroad')
    assert abroad['own'] is False and abroad['threshold_from'] == 'home val'
    assert abroad['threshold'] == (110 + 190) / 2 - 128
    # Above 150 are two of four real ones and two of three fakes: 4 of 7 are right. The best threshold gets 5.
    assert abroad['accuracy'] == pytest.approx(100 * 4 / 7)
    assert abroad['auc'] == pytest.approx((1 + 4 + 4) / 12)
    # An unknown training set: its own decision counts, and at home that calls everything fake.
    stranger = row(detector='b', dataset='home')
    assert (stranger['threshold'], stranger['accuracy']) == (0, 50)
    assert stranger['threshold_from'].startswith('none')


def test_the_constant_predictor_stands_beside(loaded, call_main):
    _, printed, _ = call_main(benchmark, '--checkpoints', 'a.pt', '--datasets', 'abroad')
    constant = row(detector='constant predictor')
    assert (constant['auc'], constant['accuracy']) == (0.5, pytest.approx(100 * 4 / 7))
    assert row(detector='a')['constant_accuracy'] == constant['accuracy']
    assert '| constant predictor | - | 0.500 |' in printed


def test_other_data_of_the_same_name_is_not_the_diagonal(loaded, root, call_main):
    known = datasets.fingerprint(root / 'home' / 'train')
    loaded['a.pt'].run['data'] = {'train': {'fingerprint': known}}
    (root / 'home').rename(root / 'renamed')
    make_set(root, 'home', train={'real': [1], 'fake': [2]}, test={'real': [1, 2], 'fake': [3, 4]})
    _, printed, _ = call_main(benchmark, '--checkpoints', 'a.pt', '--datasets', 'home', 'renamed')
    assert row(detector='a', dataset='home')['own'] is False
    assert row(detector='a', dataset='renamed')['own'] is True
    assert 'the home here is not the one that it was trained on' in printed


# --- starting again ---------------------------------------------------------------------------------------------

ALL = ('--checkpoints', 'a.pt', '--datasets', 'home', 'abroad', '--perturb', 'blur:1', 'noise:3')
IMAGES = 6 + 3 * (6 + 7)  # validation, then two test parts as they are and under two perturbations


def test_second_start_computes_nothing(loaded, workdir, call_main):
    call_main(benchmark, *ALL)
    first = strict_json()['rows']
    assert loaded['a.pt'].seen == IMAGES
    call_main(benchmark, *ALL)
    assert loaded['a.pt'].seen == IMAGES and strict_json()['rows'] == first


@pytest.mark.parametrize(
    ('change', 'again'),
    [
        (lambda workdir: (workdir / 'a.pt').write_text('other weights'), IMAGES),
        (lambda workdir: make_set(workdir / 'sets', 'abroad', test={'real': [1, 2, 3, 4, 5]}), 3 * 8),
        (lambda workdir: (workdir / 'out/scores/a__home__val.json').unlink(), 6),
        (lambda workdir: (workdir / 'out/scores/a__abroad__test-noise-3.json').write_text('{'), 7),
    ],
    ids=['checkpoint', 'data', 'removed', 'damaged'],
)
def test_second_start_computes_what_changed(change, again, loaded, workdir, call_main):
    call_main(benchmark, *ALL)
    change(workdir)
    loaded['a.pt'].seen = 0
    call_main(benchmark, *ALL)
    assert loaded['a.pt'].seen == again


def test_another_seed_concerns_the_noise_alone(loaded, call_main):
    call_main(benchmark, *ALL)
    loaded['a.pt'].seen = 0
    call_main(benchmark, *ALL, '--seed', 1)
    assert loaded['a.pt'].seen == 6 + 7


def test_interrupted_run_goes_on(loaded, workdir, call_main, monkeypatch):
    call_main(benchmark, *ALL)
    whole = strict_json()['rows']
    monkeypatch.setattr(benchmark, 'OUTPUT_DIR', 'other')
    monkeypatch.setattr(benchmark_scores, 'CHUNK', 2)
    detector = loaded['a.pt']
    detector.seen, detector.stop_after = 0, 15
    status, printed, _ = call_main(benchmark, *ALL)
    assert status == 130 and 'the same line goes on' in printed
    stopped_at = detector.seen - 2  # the chunk that was cut off
    (unfinished,) = (workdir / 'other' / 'scores').glob('*.unfinished')
    assert not unfinished.with_suffix('.json').exists(), 'a part of the scores would pass for all of them'
    detector.seen, detector.stop_after = 0, None
    assert call_main(benchmark, *ALL)[0] == 0
    assert detector.seen == IMAGES - stopped_at and not unfinished.exists()
    assert json.loads((benchmark.Path('other') / 'benchmark.json').read_text())['rows'] == whole


def test_pictures_are_streamed(root, workdir, monkeypatch):
    """Never all images in memory: two chunks at most are open at a time."""
    monkeypatch.setattr(benchmark_scores, 'CHUNK', 3)
    opened, used, most = 0, 0, 0

    def get(file):
        nonlocal opened
        opened += 1
        return file

    for chunk in benchmark_scores.in_chunks([str(number) for number in range(20)], get):
        most = max(most, opened - used)
        used += len(chunk)
        assert list(chunk) == list(chunk.values())
    assert used == opened == 20 and most <= 6


def test_scores_of_the_analysis_are_taken(workdir, call_main, monkeypatch):
    torch.manual_seed(0)
    run = {'model': 'MyNet', 'dataset': 'fakes_dataset'}
    records.save_checkpoint('net.pt', {'model': MyNet().state_dict(), 'run': run})
    call_main(numerical_analysis, '-m', 'MyNet', '-cp', 'net.pt', '-d', 'fakes_dataset')
    monkeypatch.setattr(benchmark.detectors.NetworkDetector, 'outputs', lambda *_: pytest.fail('scored again'))
    assert call_main(benchmark, '--checkpoints', 'net.pt', '--datasets', 'fakes_dataset')[0] == 0
    record = records.read_scores('out/scores/net__fakes_dataset__test.json')
    assert row(detector='net')['auc'] == scoring.auc(record['labels'], np.diff(record['scores'])[:, 0])


def test_scores_of_train_svm_are_taken(workdir, call_main, monkeypatch):
    """Its record lacked digest and fingerprint, so that the benchmark computed all again and overwrote it."""
    assert call_main(train_svm, '-d', 'synthetic_dataset', '--classifier', 'logistic')[0] == 0
    monkeypatch.setattr(ClassicalDetector, 'outputs', lambda *_: pytest.fail('scored again'))
    svm = 'checkpoints/synthetic_dataset_spectrum-logistic_svm.npz'
    assert call_main(benchmark, '--checkpoints', svm, '--datasets', 'synthetic_dataset')[0] == 0


# --- groups, videos, broken files -------------------------------------------------------------------------------


def write_manifest(folder, groups: dict[str, tuple[str, str]]) -> None:
    with open(folder / 'manifest.csv', 'w', newline='') as opened:
        writer = csv.writer(opened)
        writer.writerow(['file', 'group', 'source'])
        writer.writerows([file, *names] for file, names in groups.items())


def test_videos_are_means_and_broken_frames_have_no_score(loaded, root, call_main):
    """Defects: an unreadable video scored 0.5; videos of one name in two folders merged."""
    levels = {'real': [128 - 4, 128 - 1, 128 + 3, 100], 'fake': [128 + 2, 128 - 1, 129, 140]}
    folder = make_set(root, 'films', test=levels)
    videos = ['one/0.mp4', 'one/0.mp4', 'two/0.mp4', 'lost.mp4']
    write_manifest(folder, {
        f'test/{label}/{number:03}.png': (f'{label}-{video}', f'{label}/{video}')
        for label in ('real', 'fake') for number, video in enumerate(videos)
    })  # fmt: skip
    for broken in ('real/003.png', 'fake/003.png', 'fake/001.png'):
        (folder / 'test' / broken).write_bytes(b'no picture')
    status, printed, _ = call_main(benchmark, '--checkpoints', 'a.pt', '--datasets', 'films')
    assert status == 0 and '2 real and 2 fake in 4 groups, 3 unreadable files' in printed
    record = records.read_scores('out/scores/a__films__test.json')
    assert record['scores'] == [[-4], [-1], [3], [2], [1]]
    assert sorted(record['unreadable']) == ['fake/001.png', 'fake/003.png', 'real/003.png']
    video = row(detector='a', level='video')
    # Real videos: the mean of P at -4 and -1, and P at 3; fake ones: P at 2 and at 1.
    assert (video['real'], video['fake'], video['auc']) == (2, 2, 0.5)
    assert row(detector='a', level='frame')['groups'] == 4, 'five frames of four videos'
    facts = strict_json()['datasets']['films']
    assert facts['unreadable_videos'] == ['fake fake/lost.mp4', 'real real/lost.mp4']
    assert len(facts['unreadable']) == 3


def test_a_set_of_videos_beside_one_of_pictures_is_drawn(loaded, root, call_main, workdir):
    """The map of the videos' AuC asked for a cell of the data set that has none, and ended in a KeyError."""
    folder = make_set(root, 'films', test={'real': [120, 121], 'fake': [140, 141]})
    write_manifest(folder, {f'test/{label}/{number:03}.png': (label, f'{label}.mp4')
                            for label in ('real', 'fake') for number in range(2)})  # fmt: skip
    status, _, errors = call_main(benchmark, '--checkpoints', 'a.pt', '--datasets', 'films', 'home')
    assert (status, errors) == (0, '')
    assert {row['dataset'] for row in rows(level='video')} == {'films'}


def test_mean_of_a_video_is_of_probabilities():
    part = SimpleNamespace(groups=np.array, videos=lambda files: np.array(['v', 'v', 'w']))
    scores = SimpleNamespace(
        part=part, files=['real/1', 'real/2', 'fake/1'],
        logits=lambda _: np.array([0.0, np.log(3), -np.log(3)]),
    )  # fmt: skip
    labels, values, _ = benchmark_table.at_level(scores, 'video')
    assert labels.tolist() == [0, 1]
    np.testing.assert_allclose(values + 0.5, [(0.5 + 0.75) / 2, 0.25])


def test_a_set_without_manifest_has_no_videos(loaded, call_main):
    call_main(benchmark, '--checkpoints', 'a.pt', '--datasets', 'home')
    assert not rows(level='video')
    assert strict_json()['datasets']['home']['groups_from'].startswith('none')


def test_bootstrap_draws_whole_groups():
    """Frames that repeat their video's score tell nothing new, and must not narrow the interval."""
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1], 20)
    scores = rng.normal(size=40) + 0.5 * labels
    groups = np.arange(40)
    alone = scoring.group_intervals(labels, scores, groups, 0.2)
    repeated = scoring.group_intervals(*(np.repeat(values, 9) for values in (labels, scores, groups)), 0.2)
    for name in alone:
        np.testing.assert_allclose(repeated[name], alone[name])
    naive = scoring.group_intervals(np.repeat(labels, 9), np.repeat(scores, 9), np.arange(360), 0.2)
    assert np.ptp(naive['auc']) < np.ptp(alone['auc']) / 2
    # Groups of one image are the bootstrap over images.
    np.testing.assert_allclose(alone['auc'], scoring.auc_interval(labels, scores), atol=0.03)


def test_intervals_hold_the_estimate():
    rng = np.random.default_rng(1)
    labels = np.arange(200) % 2
    scores = np.round(rng.normal(size=200) + labels, 1)  # with ties
    groups = np.arange(200) // 4  # each with both classes
    found = scoring.group_intervals(labels, scores, groups, 0.5)
    for name, value in (
        ('auc', scoring.auc(labels, scores)),
        ('eer', scoring.equal_error_rate(labels, scores)),
        ('accuracy', scoring.accuracy(labels, scores > 0.5)),
    ):
        low, high = found[name]
        assert low < value < high and high - low < (25 if name == 'accuracy' else 0.25)


def test_many_scores_are_binned_without_harm(monkeypatch):
    rng = np.random.default_rng(2)
    labels = np.arange(2000) % 2
    scores = rng.normal(size=2000) + labels
    exact = scoring.group_intervals(labels, scores, np.arange(2000), 0.4)
    monkeypatch.setattr(scoring, 'FINEST', 500)
    binned = scoring.group_intervals(labels, scores, np.arange(2000), 0.4)
    np.testing.assert_allclose(binned['accuracy'], exact['accuracy'], atol=0.4)
    np.testing.assert_allclose(binned['auc'], exact['auc'], atol=2e-3)
    np.testing.assert_allclose(binned['eer'], exact['eer'], atol=4e-3)


@pytest.mark.parametrize('groups', [[0, 0, 0, 0], [0, 0, 1, 2]], ids=['one group', 'one group of real ones'])
def test_bootstrap_over_one_group_gives_no_interval(groups):
    assert set(scoring.group_intervals([0, 0, 1, 1], [1, 2, 3, 4], groups, 2).values()) == {None}


def test_one_class_and_broken_scores_are_undefined_not_wrong(loaded, root, call_main):
    make_set(root, 'one class', test={'real': [10, 20]})
    loaded['a.pt'].nan = True
    status, _, _ = call_main(benchmark, '--checkpoints', 'a.pt', 'b.pt', '--datasets', 'one class', 'home')
    assert status == 0
    for found in (row(detector='b', dataset='one class'), row(detector='a', dataset='home')):
        assert found['auc'] is found['eer'] is found['auc_low'] is None
    assert row(detector='b', dataset='one class')['accuracy'] == 100
    assert row(detector='a', dataset='home')['accuracy'] is None


# --- perturbations ----------------------------------------------------------------------------------------------


def test_strength_zero_changes_nothing(loaded, call_main):
    call_main(benchmark, '--checkpoints', 'a.pt', '--datasets', 'abroad', '--perturb', 'noise:0', 'rescale:1', 'blur:0')
    same = rows(detector='a')
    assert len(same) == 4 and {found['auc'] for found in same} == {0.75}
    clean = records.read_scores('out/scores/a__abroad__test.json')['scores']
    for condition in ('noise-0', 'rescale-1', 'blur-0'):
        assert records.read_scores(f'out/scores/a__abroad__test-{condition}.json')['scores'] == clean


def test_noise_of_a_picture_does_not_depend_on_the_others(loaded, workdir, call_main):
    arguments = ('--checkpoints', 'a.pt', '--perturb', 'noise:20', '--datasets', 'abroad')
    call_main(benchmark, *arguments)
    path = 'out/scores/a__abroad__test-noise-20.json'
    record = records.read_scores(path)
    assert len({scores[0] % 1 for scores in record['scores']}) == 7, 'every picture has noise of its own'
    # As after an interruption: the first three are not there yet.
    records.write_json(path, record | {name: record[name][3:] for name in ('files', 'labels', 'scores')})
    loaded['a.pt'].seen = 0
    call_main(benchmark, *arguments)
    assert loaded['a.pt'].seen == 3 and records.read_scores(path) == record


# --- the whole command ------------------------------------------------------------------------------------------


def test_networks_and_support_vector_machines(workdir, tiny_root, call_main):
    torch.manual_seed(0)
    run = {'model': 'MyNet', 'dataset': 'fakes_dataset', 'backbone_weights': 'random'}
    records.save_checkpoint('checkpoints/net.pt', {'model': MyNet().state_dict(), 'run': run})
    svm = spectral_detector(tiny_root / 'synthetic_dataset')
    svm.run |= {'dataset': 'synthetic_dataset'}
    svm.save('checkpoints/svm.npz')
    status, printed, errors = call_main(
        benchmark, '--checkpoints', 'checkpoints/net.pt', 'checkpoints/svm.npz',
        '--datasets', 'fakes_dataset', 'synthetic_dataset', '--perturb', 'jpeg:30,90', 'blur:3',
    )  # fmt: skip
    assert status == 0, errors
    assert '| net (random backbone) |' in printed
    with open('out/benchmark.csv', newline='') as opened:
        table = list(csv.DictReader(opened))
    assert len(table) == 2 * 2 * 4 + 2
    assert [(r['detector'], r['dataset']) for r in table if r['own'] == 'True' and not r['perturbation']] == [
        ('net', 'fakes_dataset'), ('svm', 'synthetic_dataset')
    ]  # fmt: skip
    assert len(strict_json()['rows']) == len(table)
    own = [r['auc'] for r in table if r['detector'] == 'svm' and r['dataset'] == 'synthetic_dataset']
    assert own[0] == '1.0', 'a generated picture has a ring in its spectrum'
    figures = sorted(path.name for path in (workdir / 'figures').iterdir())
    assert figures == ['benchmark_heat_map.png', 'benchmark_perturbations.png']
    said, keys = strict_json(), records.training_facts('', {})
    trainings = [{key: facts[key] for key in keys} for facts in said['detectors'].values()]
    assert [facts['detector'] for facts in trainings] == ['net', 'svm'] and said['command'].startswith(
        'python benchmark.py'
    )
    assert all(facts['checkpoint_sha256'] for facts in trainings)
    assert all(records.trainings_of_figure(workdir / 'figures' / name) == trainings for name in figures)


def test_doubts_are_summed_over_the_chunks(workdir, tiny_root, call_main, monkeypatch):
    """Defect: warnings caught in one thread while others, which decode, change Python's warning filters."""
    monkeypatch.setattr(benchmark_scores, 'CHUNK', 5)
    small = make_set(workdir / 'sets', 'small', test={'real': [0, 50, 100, 150], 'fake': [40, 60, 80, 90]})
    records.save_checkpoint('net.pt', {'model': MyNet().state_dict()})
    _, _, errors = call_main(
        benchmark, '--checkpoints', 'net.pt', '-m', 'MyNet', '--datasets', 'small', '--data-root', small.parent
    )
    assert errors.count('warning') == 1 and '8 of 8 images had to be scaled' in errors


def test_a_doubt_in_any_words_is_counted(loaded, call_main, monkeypatch):
    """A sentence that did not begin with "N of M" ended the run with an AttributeError."""
    monkeypatch.setattr(benchmark_scores, 'CHUNK', 5)
    outputs = GreyLevel.outputs

    def doubting(self, images, doubts):
        doubts.images += len(images)
        doubts.tell('were taken in the dark.', 2)
        return outputs(self, images, doubts)

    monkeypatch.setattr(GreyLevel, 'outputs', doubting)
    _, _, errors = call_main(benchmark, '--checkpoints', 'a.pt', '--datasets', 'abroad')
    assert 'a on abroad test: 4 of 7 images were taken in the dark.' in errors


def test_strangers_checkpoints_take_names_in_order(workdir, call_main, monkeypatch):
    records.save_checkpoint('one.pt', {'model': MyNet().state_dict()})
    records.save_checkpoint('two.pt', {'model': MyNet().state_dict()})
    arguments = ('--checkpoints', 'one.pt', 'two.pt', '--datasets', 'fakes_dataset')
    status, _, errors = call_main(benchmark, *arguments)
    assert status == 1 and 'one.pt does not say which model it holds' in errors
    status, _, errors = call_main(benchmark, *arguments, '-m', 'MyNet', 'BonusNet')
    assert status == 1 and 'two.pt does not fit BonusNet' in errors
    status, printed, _ = call_main(benchmark, *arguments, '-m', 'MyNet')
    assert status == 0 and 'its file does not say on what it was trained' in printed


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (['--checkpoints', 'a.pt', 'deeper/a.pt', '--datasets', 'home'], 'Two detectors are called a'),
        (['--checkpoints', 'a.pt', '--datasets', 'nowhere'], 'No data set "nowhere"'),
        (['--checkpoints', 'a.pt', '--datasets', 'home', '--perturb', 'fog:1'], 'No perturbation "fog"'),
    ],
)
def test_mistakes_are_told_before_anything_is_scored(arguments, message, loaded, workdir, call_main):
    (workdir / 'deeper').mkdir()
    (workdir / 'deeper' / 'a.pt').write_text('x')
    loaded['deeper/a.pt'] = loaded['a.pt']
    status, _, errors = call_main(benchmark, *arguments)
    assert status == 1 and message in errors and loaded['a.pt'].seen == 0


# --- pairs of detectors, kinds of fakes -------------------------------------------------------------------------


@pytest.fixture
def pair_of_sets(root, loaded) -> None:
    """`many` has groups enough for a p; b.pt sees the negative of what a.pt sees, c.pt the same."""
    rng = np.random.default_rng(0)
    levels = {'real': rng.integers(60, 160, 15).tolist(), 'fake': rng.integers(100, 200, 15).tolist()}
    make_set(root, 'many', test=levels)

    class Negative(GreyLevel):
        def outputs(self, images, doubts) -> np.ndarray:
            return -super().outputs(images, doubts)

    loaded['b.pt'], loaded['c.pt'] = Negative({'dataset': 'home'}), GreyLevel({'dataset': 'home'})
    (benchmark.Path('c.pt')).write_text('weights of c.pt')


def test_all_pairs_are_compared_on_each_data_set(pair_of_sets, call_main):
    call = ('--checkpoints', 'a.pt', 'b.pt', 'c.pt', '--datasets', 'many', 'abroad')
    _, printed, _ = call_main(benchmark, *call)
    pairs = {(pair['dataset'], pair['first'], pair['second']): pair for pair in strict_json()['pairs']}
    assert list(pairs) == [
        (name, *both) for name in ('many', 'abroad') for both in (('a', 'b'), ('a', 'c'), ('b', 'c'))
    ]
    aucs = {name: row(detector=name, dataset='many')['auc'] for name in 'abc'}
    differing, same = pairs['many', 'a', 'b'], pairs['many', 'a', 'c']
    assert differing['metrics']['auc']['difference'] == pytest.approx(aucs['b'] - aucs['a']) == 1 - 2 * aucs['a']
    assert differing['metrics']['accuracy']['first'] == row(detector='a', dataset='many')['accuracy']
    # Of three tests the smallest p counts three times (Holm), which here are two equal ones.
    assert differing['holm_p'] == pytest.approx(3 * differing['delong_p']) and same['delong_p'] == same['holm_p'] == 1
    assert differing['verdict'].startswith('a is better than b: its AuC is')
    assert f'| a | c | +0.000 (+0.000 to +0.000) | 1 | {same["verdict"]} |' in printed
    assert pairs['abroad', 'a', 'b']['delong_p'] is None and 'one class has only 3 groups' in printed
    with open('out/benchmark_pairs.csv', newline='') as opened:
        first = next(csv.DictReader(opened))
    assert float(first['auc_difference']) == differing['metrics']['auc']['difference']
    assert float(first['auc_low']) == differing['metrics']['auc']['interval'][0]
    assert (float(first['holm_p']), int(first['first_only'])) == (
        differing['holm_p'],
        differing['mcnemar']['first_only'],
    )


def test_markdown_of_one_pair_and_of_names_with_bars():
    """Defect: "all 1 pairs", "only 1 groups", and a bar in a name was taken for the end of its cell."""
    labels, logits = np.repeat([0, 1], 3), [np.arange(6.0), np.arange(6.0)]
    (pair,) = comparing.compare(['a|b', 'c'], labels, logits, [0, 0, 0, 1, 2, 3], [2.5, 2.5])
    pair |= {'dataset': 'many', 'level': 'frame', 'verdict': comparing.verdict(pair)}
    text = benchmark_pairs.markdown([pair])
    assert "better? p is DeLong's" in text and 'only 1 group (or' in text
    assert text.splitlines()[-1].startswith(r'| a\|b | c | +0.000') and r'Whether a\|b or c' in text
    other = pair | {'first': 'd'}
    assert 'p holds for all 2 pairs (DeLong, Holm)' in benchmark_pairs.markdown([pair, other])
    row = dict.fromkeys(benchmark_table.COLUMNS) | {'detector': 'x', 'trained_on': 'faces|2'}
    assert benchmark_table.markdown_row(row, {'x': 'x'}) == r'| x | faces\|2 | - | - | - | - |'


def test_a_detector_without_finite_scores_is_in_no_pair(pair_of_sets, loaded, call_main):
    loaded['b.pt'].nan = True
    _, printed, _ = call_main(benchmark, '--checkpoints', 'a.pt', 'b.pt', 'c.pt', '--datasets', 'many')
    assert 'b cannot be compared on many: 30 of 30 scores are not finite numbers' in printed
    assert [(pair['first'], pair['second']) for pair in strict_json()['pairs']] == [('a', 'c')]


def kind_row(name: str, detector: str = 'a') -> dict:
    (found,) = [row for row in strict_json()['kinds'] if (row['detector'], row['dataset']) == (detector, name)]
    return found


def test_kinds_never_seen_are_told_from_those_trained_on(loaded, root, workdir, call_main):
    """AuC 1 at home, 0.75 abroad; on `dark`, whose fakes are darker, 0."""
    make_set(root, 'dark', test={'real': [200, 210, 220], 'fake': [100, 110, 120]})
    records.write_json(root / 'home' / 'dataset.json', {'kind': 'swap'})
    records.write_json(root / 'dark' / 'dataset.json', {'kind': 'swap'})
    line = ('--checkpoints', 'a.pt', 'b.pt', '--datasets', 'home', 'abroad', 'dark')
    _, printed, _ = call_main(benchmark, *line, '--kind', 'abroad=generated', 'dark=generated')
    seen, unseen, gap = map(kind_row, ('kinds trained on', 'kinds never seen', 'gap'))
    assert (seen['auc'], unseen['auc'], gap['auc']) == (1, 0.375, 0.625), '--kind goes before the card'
    assert (seen['kind'], seen['datasets']) == ('swap', ['home'])
    assert (unseen['kind'], unseen['datasets']) == ('generated', ['abroad', 'dark'])
    for name in ('auc', 'eer', 'accuracy'):
        both = [row(detector='a', dataset=dataset)[name] for dataset in ('abroad', 'dark')]
        assert unseen[name] == pytest.approx(np.mean(both)) and gap[name] == pytest.approx(seen[name] - unseen[name])
        assert gap[f'{name}_low'] <= gap[name] <= gap[f'{name}_high']
    assert '| a | 1.000 (1.000 to 1.000) [swap] | 0.375 (' in printed
    assert 'b: on which kinds it was trained is not known' in printed
    with open('out/benchmark.csv', newline='') as opened:
        table = [
            (line['dataset'], line['kind'], line['auc']) for line in csv.DictReader(opened) if line['detector'] == 'a'
        ]
    assert table[0] == ('home', 'swap', '1.0') and table[3:] == [
        ('kinds trained on', 'swap', '1.0'), ('kinds never seen', 'generated', '0.375'), ('gap', '', '0.625')
    ]  # fmt: skip
    record = strict_json()
    kinds = {'home': 'swap', 'abroad': 'generated', 'dark': 'generated'}
    figure = benchmark.benchmark_figures.heat_map(record['rows'], record['kinds'], {'a': 'A', 'b': 'B'}, kinds)
    ax = figure.axes[0]
    headings = [text.get_text().replace('\n', ' ') for text in ax.get_xticklabels()]
    assert headings == ['home (swap)', 'abroad (generated)', 'dark (generated)', 'mean over kinds trained on',
                        'mean over kinds never seen', 'gap (their difference)']  # fmt: skip
    cells = [text.get_text().splitlines()[0] for text in ax.texts]
    assert [cell.partition(' ')[0] for cell in cells[3:6]] == ['1.000', '0.375', '0.625'] and cells[9:] == ['-'] * 3
    call_main(benchmark, *line)  # now the card counts, and abroad is of no kind
    assert (kind_row('kinds trained on')['auc'], kind_row('kinds trained on')['datasets']) == (0.5, ['home', 'dark'])
    assert kind_row('kinds never seen')['auc'] is kind_row('gap')['auc'] is kind_row('gap')['auc_low'] is None


def test_without_kinds_nothing_is_said_of_them(loaded, call_main):
    _, printed, _ = call_main(benchmark, '--checkpoints', 'a.pt', '--datasets', 'home', 'abroad')
    assert strict_json()['kinds'] == [] and 'Mean AuC' not in printed and '--kind' not in printed
    status, _, errors = call_main(benchmark, '--checkpoints', 'a.pt', '--datasets', 'home', '--kind', 'hone=swap')
    assert status == 1 and '--kind hone: no such data set is tested or was trained on' in errors


def test_data_sets_of_a_mean_vary_independently(loaded, root, call_main):
    """The same random numbers for both would resample them alike, and the mean would seem as unsure as each."""
    rng = np.random.default_rng(0)
    levels = {'real': rng.integers(60, 160, 60).tolist(), 'fake': rng.integers(90, 190, 60).tolist()}
    for name in ('one', 'two'):
        make_set(root, name, test=levels)
    kinds = ('--kind', 'home=swap', 'one=swap', 'two=swap')
    call_main(benchmark, '--checkpoints', 'a.pt', '--datasets', 'one', 'two', *kinds)
    widths = [
        found['auc_high'] - found['auc_low']
        for found in (kind_row('kinds trained on'), row(detector='a', dataset='one'))
    ]
    assert widths[0] / widths[1] == pytest.approx(1 / np.sqrt(2), rel=0.1)


def test_a_detector_of_several_data_sets_knows_the_kinds_and_thresholds_of_all(loaded, root, call_main):
    make_set(
        root,
        'faraway',
        train={'real': [1], 'fake': [2]},
        val={'real': [150], 'fake': [240]},
        test={'real': [1], 'fake': [2]},
    )
    fingerprints = {name: {'fingerprint': datasets.fingerprint(root / name / 'train')} for name in ('home', 'faraway')}
    run = {'dataset': 'home+faraway', 'datasets': ['home', 'faraway'], 'data': {'train': {'datasets': fingerprints}}}
    loaded['a.pt'].run = run
    line = ('--checkpoints', 'a.pt', '--datasets', 'home', 'abroad', 'faraway')
    kinds = ('--kind', 'home=swap', 'faraway=generated', 'abroad=retouched')
    call_main(benchmark, *line, *kinds)
    assert [row(detector='a', dataset=name)['own'] for name in ('home', 'abroad', 'faraway')] == [True, False, True]
    found = row(detector='a', dataset='abroad')
    assert (found['threshold_from'], found['threshold']) == ('home val + faraway val', (150 + 190) / 2 - 128)
    assert kind_row('kinds trained on')['datasets'] == ['home', 'faraway']
    assert strict_json()['detectors']['a']['kinds_trained_on'] == ['generated', 'swap']
    # Of one of the two the kind is not known: nobody can say what was never seen.
    _, printed, _ = call_main(benchmark, *line, *kinds[:2])
    assert 'a: on which kinds it was trained is not known' in printed and strict_json()['kinds'] == []
    # Other data of that name are not what it was trained on.
    make_set(root, 'faraway', train={'real': [1, 2]})
    call_main(benchmark, *line, *kinds)
    assert row(detector='a', dataset='faraway')['own'] is False
    assert row(detector='a', dataset='faraway')['threshold_from'] == 'home val'
