"""Is B better than A? A published example, a permutation test, and the command from its score files."""

import numpy as np
import pytest
from conftest import make_dataset

import compare_detectors
from forensics import records
from forensics.data.parts import Part
from forensics.judging import comparing, scoring

# 43 patients of DeLong, DeLong and Clarke-Pearson (1988) as SAS's manual has them (PROC LOGISTIC, "Comparing Receiver
# Operating Characteristic Curves"): albumin, total protein, K-G score, whether surgery failed.
PATIENTS = """
3.0 5.8 10 0  3.2 6.3 5 1  3.9 6.8 3 1  2.8 4.8 6 0  3.2 5.8 3 1  0.9 4.0 5 0  2.5 5.7 8 0  1.6 5.6 5 1  3.8 5.7 5 1
3.7 6.7 6 1  3.2 5.4 4 1  3.8 6.6 6 1  4.1 6.6 5 1  3.6 5.7 5 1  4.3 7.0 4 1  3.6 6.7 4 0  2.3 4.4 6 1  4.2 7.6 4 0
4.0 6.6 6 0  3.5 5.8 6 1  3.8 6.8 7 1  3.0 4.7 8 0  4.5 7.4 5 1  3.7 7.4 5 1  3.1 6.6 6 1  4.1 8.2 6 1  4.3 7.0 5 1
4.3 6.5 4 1  3.2 5.1 5 1  2.6 4.7 6 1  3.3 6.8 6 0  1.7 4.0 7 0  3.7 6.1 5 1  3.3 6.3 7 1  4.2 7.7 6 1  3.5 6.2 5 1
2.9 5.7 9 0  2.1 4.8 7 1  2.8 6.2 8 0  4.0 7.0 7 1  3.3 5.7 6 1  3.7 6.9 5 1  3.6 6.6 5 1
"""


def patients() -> tuple[np.ndarray, list[np.ndarray]]:
    albumin, protein, score, label = np.array(PATIENTS.split(), dtype=float).reshape(-1, 4).T
    return label.astype(int), [albumin, protein, 10 - score]


def test_delong_gives_the_published_numbers():
    labels, scores = patients()
    aucs, covariance = comparing.delong(labels, scores)
    np.testing.assert_allclose(aucs, [0.7366, 0.6478, 0.7258], atol=5e-5)
    np.testing.assert_allclose(np.sqrt(np.diag(covariance)), [0.0927, 0.1000, 0.1028], atol=5e-5)
    assert comparing.delong_p(aucs, covariance, 2, 0) == pytest.approx(0.9102, abs=5e-5)  # albumin against K-G
    assert comparing.delong_p(aucs, covariance, 2, 1) == pytest.approx(0.4561, abs=5e-5)  # protein against K-G


def test_delong_agrees_with_a_permutation_test():
    """Equally good: then it does not matter which of the two gave which score."""
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1], 150)
    both = rng.normal(size=300) + labels
    one, other = both + rng.normal(size=300), both + 0.25 * labels + rng.normal(size=300)
    aucs, covariance = comparing.delong(labels, [one, other])
    p = comparing.delong_p(aucs, covariance, 0, 1)
    seen = abs(aucs[1] - aucs[0])
    ranks = np.argsort(np.argsort([one, other], axis=1), axis=1)  # exchangeable also where the scales differ
    differences = []
    for _ in range(4000):
        swapped = rng.random(300) < 0.5
        a, b = np.where(swapped, ranks[::-1], ranks)
        differences.append(abs(scoring.auc(labels, a) - scoring.auc(labels, b)))
    assert 0.01 < p < 0.5 and np.mean(np.array(differences) >= seen) == pytest.approx(p, abs=0.03)


def test_copies_of_an_image_in_one_group_tell_nothing_new():
    labels, scores = patients()
    aucs, covariance = comparing.delong(labels, scores)
    again, grouped = comparing.delong(
        np.tile(labels, 9), [np.tile(each, 9) for each in scores], np.tile(np.arange(len(labels)), 9)
    )
    np.testing.assert_allclose(again, aucs)
    np.testing.assert_allclose(grouped, covariance)
    _, naive = comparing.delong(np.tile(labels, 9), [np.tile(each, 9) for each in scores])
    assert naive[0, 0] < covariance[0, 0] / 5


def test_the_spread_over_groups_of_both_classes_is_that_of_the_bootstrap():
    rng = np.random.default_rng(1)
    groups = np.repeat(np.arange(120), 4)
    labels = np.tile([0, 0, 1, 1], 120)
    scores = rng.normal(size=480) + labels + rng.normal(size=120)[groups]
    _, covariance = comparing.delong(labels, [scores], groups)
    rounds = scoring.group_rounds(labels, [scores], groups, [0.0], 2000, 0, ('auc',))
    assert np.sqrt(covariance[0, 0]) == pytest.approx(rounds[0, 0].std(), rel=0.1)


def test_the_same_scores_do_not_differ_and_perfect_ones_do():
    labels, (one, *_) = patients()
    assert comparing.delong_p(*comparing.delong(labels, [one, 2 * one + 1]), 0, 1) == 1
    assert comparing.delong_p(*comparing.delong(labels, [labels, -labels]), 0, 1) == 0


def test_holm_and_mcnemar_have_their_known_answers():
    assert comparing.holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert comparing.holm([0.9, 0.8]) == [1, 1]
    labels = np.array([0] * 6 + [1] * 4)
    one, other = np.array([0] * 6 + [1, 1, 0, 0]), np.array([1] * 5 + [0] + [0, 1, 1, 0])
    table = comparing.mcnemar(labels, one, other)
    assert {name: table[name] for name in ('both_right', 'first_only', 'second_only', 'both_wrong')} == {
        'both_right': 2, 'first_only': 6, 'second_only': 1, 'both_wrong': 1
    }  # fmt: skip
    assert table['p'] == pytest.approx(2 * (1 + 7) / 2**7)


# --- the command ------------------------------------------------------------------------------------------------


GOOD = 'out/comparisons/faces_test_blind_good.json'


@pytest.fixture
def scores(workdir, monkeypatch):
    """Scores of three detectors: good, nearly the same, and blind."""
    root = workdir / 'sets'
    make_dataset(root / 'faces', counts={'val': 15, 'test': 30})
    monkeypatch.setenv('FACES_DATASETS', str(root))
    rng = np.random.default_rng(0)
    for name in ('test', 'val'):
        part = Part.find('faces', name)
        good = 3 * part.labels - 1.5 + rng.normal(size=len(part.files))
        kinds = {'good': good, 'alike': good + 0.05 * rng.normal(size=len(good)), 'blind': rng.normal(size=len(good))}
        for detector, logits in kinds.items():
            facts = {'detector': detector, 'dataset': 'faces', 'data_fingerprint': part.fingerprint}
            facts |= {'condition': name, 'checkpoint_sha256': detector}
            path = records.scores_path('out', detector, 'faces', name)
            records.write_scores(path, part.files, part.labels, logits[:, None], **facts)
    return {name: str(records.scores_path('out', name, 'faces')) for name in kinds}


def test_a_better_detector_is_called_better(scores, call_main, workdir):
    status, printed, _ = call_main(compare_detectors, scores['blind'], scores['good'])
    assert status == 0 and 'good is better than blind: its AuC is 0.' in printed
    (row,) = records.read_json(GOOD)['pairs']
    auc = row['metrics']['auc']
    assert auc['difference'] == auc['second'] - auc['first'] and auc['interval'][0] > 0 and row['delong_p'] < 0.01
    record = records.read_scores(scores['good'])
    assert auc['second'] == scoring.auc(record['labels'], scoring.fake_logits(record['scores']))
    known = records.read_scores(scores['good'].replace('__test', '__val'))
    threshold = scoring.best_threshold(known['labels'], scoring.fake_logits(known['scores']))
    assert records.read_json(GOOD)['thresholds']['good'] == threshold
    figure = workdir / 'figures' / 'faces_test_blind_good_disagreements.png'
    assert figure.stat().st_size > 10_000
    said = records.read_json(GOOD)
    assert said['command'] == f'python compare_detectors.py {scores["blind"]} {scores["good"]}'
    assert said['detectors']['good'] == records.training_facts('good', {}, 'good') | {'model': None}
    assert records.trainings_of_figure(figure) == [said['detectors'][name] for name in ('blind', 'good')]


def test_no_difference_is_said_where_none_can_be_seen(scores, call_main):
    _, printed, _ = call_main(compare_detectors, *scores.values())
    assert 'No difference between good and alike can be seen' in printed
    rows = records.read_json('out/comparisons/faces_test_good_alike_blind.json')['pairs']
    assert len(rows) == 3 and all(row['holm_p'] >= row['delong_p'] for row in rows)


def test_other_data_and_too_few_common_images_are_refused(scores, call_main, workdir):
    record = records.read_scores(scores['good'])
    records.write_json('other.json', {**record, 'data_fingerprint': 'other', 'dataset': 'elsewhere'})
    status, _, errors = call_main(compare_detectors, scores['blind'], 'other.json')
    assert status == 1 and 'blind was scored on faces and good on elsewhere' in errors
    records.write_json('half.json', {**record, **{name: record[name][::2] for name in ('files', 'labels', 'scores')}})
    status, _, errors = call_main(compare_detectors, scores['blind'], 'half.json')
    assert status == 1 and '30 of 60 images were not scored by all' in errors
    (workdir / 'half.pt').write_text('weights')
    status, _, errors = call_main(compare_detectors, scores['blind'], 'half.pt')
    assert status == 1 and 'half.pt is a checkpoint: say with -d' in errors
    status, _, errors = call_main(compare_detectors, scores['blind'], 'absent.json')
    assert status == 1 and 'No file absent.json' in errors


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        ({'labels': lambda labels: [1 - label for label in labels]}, 'different labels for real/000.jpg'),
        ({'condition': lambda _: 'test-jpeg-30'}, 'only scores of the same condition'),
        ({'data_fingerprint': lambda _: None}, 'does not say which images'),
        ({'labels': lambda labels: labels[1:]}, 'needs, for each file, a label 0 or 1'),
        ({'scores': lambda scores: [row[0] for row in scores]}, 'a row of one or two scores'),
        ({'files': lambda files: [*files[:-1], files[0]]}, 'other.json needs names of files, none of them twice'),
    ],
    ids=['labels', 'condition', 'fingerprint', 'lengths', 'flat', 'twice'],
)
def test_scores_that_mean_something_else_are_refused(changes, message, scores, call_main):
    record = records.read_scores(scores['good'])
    records.write_json('other.json', {**record, **{name: change(record[name]) for name, change in changes.items()}})
    for files in ((scores['blind'], 'other.json'), ('other.json', scores['blind'])):
        status, _, errors = call_main(compare_detectors, *files)
        assert status == 1 and message in errors


def test_a_validation_file_of_another_training_gives_no_threshold(scores, call_main):
    path = scores['good'].replace('__test', '__val')
    records.write_json(path, {**records.read_scores(path), 'checkpoint_sha256': 'an older one'})
    _, printed, _ = call_main(compare_detectors, scores['blind'], scores['good'])
    assert 'good: P(fake) above 0.5 counts as fake: good__faces__val.json is of another checkpoint' in printed
    assert records.read_json(GOOD)['thresholds']['good'] is None


def test_of_a_handful_of_groups_nothing_is_said(scores, call_main):
    """Of few groups one in seven pairs of equally good detectors passed for different."""
    for name in ('good', 'blind'):
        record = records.read_scores(scores[name])
        kept = [*range(4), *range(30, 34)]
        few = {part: [record[part][index] for index in kept] for part in ('files', 'labels', 'scores')}
        records.write_json(scores[name], {**record, **few})
    _, printed, _ = call_main(compare_detectors, scores['blind'], scores['good'])
    assert 'cannot be told: one class has only 4 groups' in printed and 'DeLong' not in printed


def test_the_same_file_twice_is_one(scores, capsys):
    with pytest.raises(SystemExit):
        compare_detectors.parse_args([scores['good'], './' + scores['good']])
    assert 'two or more different files' in capsys.readouterr().err


def test_checkpoints_are_scored_first(workdir, call_main, tiny_root):
    import torch

    from models import BonusNet, MyNet

    torch.manual_seed(0)
    for name, net in (('MyNet', MyNet()), ('BonusNet', BonusNet())):
        run = {'model': name, 'dataset': 'fakes_dataset'}
        records.save_checkpoint(f'checkpoints/{name}.pt', {'model': net.state_dict(), 'run': run})
    line = ['checkpoints/MyNet.pt', 'checkpoints/BonusNet.pt', '-d', 'fakes_dataset']
    status, printed, errors = call_main(compare_detectors, *line)
    assert status == 0, errors
    assert 'BonusNet against MyNet' in printed and 'cannot be told: one class has only 6 groups' in printed
    assert len(list((workdir / 'out' / 'scores').glob('*.json'))) == 4


def test_two_trainings_of_one_name_are_told_apart_by_their_files(scores, call_main):
    record = records.read_scores(scores['blind'])
    records.write_json('second/good.json', {**record, 'detector': 'good'})
    _, printed, _ = call_main(compare_detectors, scores['good'], 'second/good.json')
    assert 'out/scores/good__faces__test.json is better than second/good.json' in printed
    paths = ['/x/a/out/s.json', '/x/b/out/s.json', '/x/c/d/out/s.json']
    assert compare_detectors.what_differs(paths) == ['a', 'b', 'c/d']
