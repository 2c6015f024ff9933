"""Metrics with known answers."""

import warnings

import numpy as np
import pytest

from forensics.judging import scoring


@pytest.mark.parametrize('decimals', [0, 1, 6])
def test_auc_agrees_with_scikit_learn_also_on_ties(decimals):
    from sklearn.metrics import roc_auc_score

    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 200)
    scores = np.round(rng.normal(size=200) + labels, decimals)
    assert scoring.auc(labels, scores) == pytest.approx(roc_auc_score(labels, scores), abs=1e-12)


def test_the_auc_counts_ties_half():
    assert scoring.auc([0, 0, 1, 1], [0.1, 0.5, 0.5, 0.9]) == 0.875
    assert scoring.auc([0, 0, 1, 1], [0.0, 0.0, 0.0, 0.0]) == 0.5


def test_auc_of_mirrored_scores_adds_up_to_one():
    labels, scores = [0, 1, 0, 1, 1], np.array([0.1, 0.9, 0.5, 0.5, 0.2])
    assert scoring.auc(labels, scores) + scoring.auc(labels, -scores) == pytest.approx(1)


def test_auc_interval_holds_the_auc_and_is_the_same_twice():
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1], 100)
    scores = rng.normal(size=200) + labels
    low, high = scoring.auc_interval(labels, scores)
    assert low < scoring.auc(labels, scores) < high < low + 0.2
    assert scoring.auc_interval(labels, scores) == (low, high)
    narrow = scoring.auc_interval(np.tile(labels, 9), np.tile(scores, 9))
    assert narrow[1] - narrow[0] < 0.5 * (high - low)


def test_bootstrap_draws_images_of_each_class():
    """With one image a class every draw is the same, so the interval is the value itself."""
    assert scoring.auc_interval([0, 1], [0.2, 0.7]) == (1.0, 1.0)


@pytest.mark.parametrize(
    ('scores', 'rate'),
    [([1, 1, 2, 2], 0), ([2, 2, 1, 1], 1), ([5, 5, 5, 5], 0.5), ([1, 3, 2, 4], 0.5)],
    ids=['apart', 'reversed', 'constant', 'half wrong'],
)
def test_equal_error_rate(scores, rate):
    assert scoring.equal_error_rate([0, 0, 1, 1], scores) == pytest.approx(rate)


def test_equal_error_rate_between_two_thresholds():
    # Thresholds give (false alarms, misses) of (1/3, 1/2) and (2/3, 0): the line between them crosses at 3/7 ... of
    # the staircase that the ROC really is, the vertical step at 1/3 from 1/2 down to 0.
    labels, scores = [0, 0, 0, 1, 1], [1, 2, 4, 3, 5]
    assert scoring.equal_error_rate(labels, scores) == pytest.approx(1 / 3)


@pytest.mark.parametrize('decimals', [0, 1, 6])
def test_equal_error_rate_lies_on_scikit_learns_curve(decimals):
    from sklearn.metrics import roc_curve

    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 200)
    scores = np.round(rng.normal(size=200) + labels, decimals)
    rate = scoring.equal_error_rate(labels, scores)
    false_alarms, hits, _ = roc_curve(labels, scores, drop_intermediate=False)
    # Hits and false alarms add up to 1 where the curve crosses the line of equal errors.
    assert np.interp(0, false_alarms + hits - 1, false_alarms) == pytest.approx(rate, abs=1e-12)


def test_an_interval_of_groups_holds_the_auc_and_is_wider_than_one_of_images():
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(40), 9)
    labels, scores = groups % 2, np.repeat(rng.normal(size=40), 9) + groups % 2
    low, high = scoring.group_auc_interval(labels, scores, groups, 500, 0.95, np.random.default_rng(0))
    naive = scoring.auc_interval(labels, scores)
    assert low < naive[0] < scoring.auc(labels, scores) < naive[1] < high


def test_a_round_without_one_class_is_left_out():
    """Of two groups every second round draws one of them twice."""
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        assert scoring.group_auc_interval([0, 1], [0.2, 0.7], ['a', 'b'], 50, 0.99, np.random.default_rng(0)) == (1, 1)


def test_one_class_gives_a_reason_and_no_warnings():
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        for metric in (
            scoring.auc,
            scoring.auc_interval,
            scoring.average_precision,
            scoring.equal_error_rate,
            scoring.best_threshold,
        ):
            assert metric([1, 1, 1], [0.1, 0.2, 0.3]) is None
            assert metric([], []) is None
    assert scoring.undefined([1, 1, 1]) == 'both classes are needed, and all 3 images are fake'
    assert 'no images' in scoring.undefined([])
    assert scoring.undefined([0, 1], [0.5, np.nan]) == '1 of 2 scores are not finite numbers'
    assert scoring.undefined([0, 1], [0.5, 0.5]) is None


def test_accuracy_and_the_constant_predictors():
    labels, decisions = [0, 0, 0, 1], [0, 0, 1, 1]
    assert scoring.accuracy(labels, decisions) == 75
    assert scoring.constant_accuracy(labels) == 75
    assert scoring.constant_accuracy([1, 1, 0]) == pytest.approx(200 / 3)
    assert scoring.accuracy([], []) is scoring.constant_accuracy([]) is None


def test_run_constant_accuracy():
    run = {'run': {'data': {'test': {'real': 1400, 'fake': 700, 'fingerprint': 'x'}}}}
    assert scoring.run_constant_accuracy(run) == pytest.approx(200 / 3)
    assert scoring.run_constant_accuracy({}) is None
    assert scoring.run_constant_accuracy({'run': {'data': None}}) is None


def test_confusion():
    assert scoring.confusion([0, 0, 1, 1, 1], [0, 1, 1, 1, 0]) == {
        'real_called_real': 1,
        'real_called_fake': 1,
        'fake_called_real': 1,
        'fake_called_fake': 2,
    }


def test_best_threshold_is_the_best_of_all():
    rng = np.random.default_rng(1)
    for _ in range(20):
        labels = np.r_[0, 1, rng.integers(0, 2, 15)]
        scores = np.round(rng.normal(size=17) + labels, 1)
        best = scoring.accuracy(labels, scores > scoring.best_threshold(labels, scores))
        everywhere = np.r_[-9, np.unique(scores), (np.unique(scores)[1:] + np.unique(scores)[:-1]) / 2]
        assert best == max(scoring.accuracy(labels, scores > threshold) for threshold in everywhere)


def test_of_equal_thresholds_the_nearest_to_the_networks_own_is_taken():
    # Both 0.15 and 0.55 are wrong once; 0 is nearer to the first.
    assert scoring.best_threshold([0, 1, 0, 1], [0.1, 0.2, 0.5, 0.6]) == pytest.approx(0.15)


def test_commonest_decision():
    assert scoring.commonest_decision([0, 0, 0, 1]) == ('real', 0.75)
    assert scoring.commonest_decision([1, 1, 1]) == ('fake', 1.0)
    assert scoring.commonest_decision([]) is None


def test_scores_of_one_logit():
    assert scoring.two_columns([[2.0], [-1.0]]).tolist() == [[-2, 2], [1, -1]]
    assert scoring.two_columns([2.0, -1.0]).tolist() == [[-2, 2], [1, -1]]
    assert scoring.two_columns([[1.0, 2.0]]).tolist() == [[1, 2]]
    assert scoring.two_columns(np.zeros((0, 1))).shape == (0, 2)


def test_fake_probability():
    assert scoring.fake_probability([[0.0, np.log(3)]])[0] == pytest.approx(0.75)
    assert scoring.fake_probability([[np.log(3)]])[0] == pytest.approx(0.75)
    assert scoring.fake_probability([np.log(3)])[0] == pytest.approx(0.75)
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        assert scoring.fake_probability([[0, 1e4], [1e4, 0]]).tolist() == [1, 0]


def test_bonus_score_is_the_formulas_value():
    """Report 2 prints 2.89 for its AuC and parameters; its formula gives 2.61."""
    assert scoring.bonus_score(95.8, 34_850) == pytest.approx(2.608, abs=5e-4)


# --- the metrics of a decision --------------------------------------------------------------------------------


def noisy(number: int = 300, decimals: int = 1):
    rng = np.random.default_rng(3)
    labels = rng.integers(0, 2, number)
    return labels, np.round(rng.normal(size=number) + 1.5 * labels - 0.5, decimals), np.arange(number) // 3


def test_the_metrics_agree_with_scikit_learn():
    from sklearn import metrics

    labels, logits, groups = noisy()
    probability = 1 / (1 + np.exp(-logits))
    false_alarms, hits, _ = metrics.roc_curve(labels, logits, drop_intermediate=False)
    expected = {
        'auc': metrics.roc_auc_score(labels, logits),
        'average_precision': metrics.average_precision_score(labels, logits),
        'accuracy': 100 * metrics.accuracy_score(labels, logits > 0.3),
        'balanced_accuracy': 100 * metrics.balanced_accuracy_score(labels, logits > 0.3),
        'tpr_at_1_percent_fpr': hits[false_alarms <= 0.01].max(),
        'brier': metrics.brier_score_loss(labels, probability),
    }
    found = scoring.summary(labels, logits, groups, 0.3)
    assert list(found) == list(scoring.METRICS)
    for name, value in expected.items():
        assert found[name]['value'] == pytest.approx(value, abs=1e-12), name
    assert found['eer']['value'] == scoring.equal_error_rate(labels, logits)
    assert found.pop('calibration_error')['interval'] is None
    for name, row in found.items():
        low, high = row['interval']
        assert low < row['value'] < high, name


def test_perfect_scores_have_perfect_metrics():
    found = scoring.summary([0, 0, 1, 1], [-50, -60, 50, 60], ['a', 'b', 'c', 'd'], 0)
    values = {name: round(row['value'], 12) for name, row in found.items()}
    assert values == {
        'auc': 1, 'average_precision': 1, 'eer': 0, 'accuracy': 100, 'balanced_accuracy': 100,
        'tpr_at_1_percent_fpr': 1, 'brier': 0, 'calibration_error': 0,
    }  # fmt: skip
    assert found['auc']['interval'] == (1, 1)


def test_the_constant_predictor_stands_beside_every_metric():
    found = scoring.summary([0, 0, 0, 1], [1.0, -2.0, 3.0, 0.5], list('abcd'), 0)
    constant = {name: round(row['constant'], 12) for name, row in found.items()}
    assert constant == {
        'auc': 0.5, 'average_precision': 0.25, 'eer': 0.5, 'accuracy': 75, 'balanced_accuracy': 50,
        'tpr_at_1_percent_fpr': 0, 'brier': 0.25 * 0.75, 'calibration_error': 0,
    }  # fmt: skip
    assert scoring.summary([1, 1], [0.0, 1.0], ['a', 'b'], 0) == {}


def test_a_detector_that_promises_nine_of_ten_and_keeps_half_is_off_by_four_tenths():
    logit = np.log(0.9 / 0.1)
    found = scoring.summary([0, 1, 0, 1], [logit] * 4, list('abcd'), 0)
    assert found['calibration_error']['value'] == pytest.approx(0.4)
    assert found['brier']['value'] == pytest.approx((0.9**2 + 0.1**2) / 2)
    kept = scoring.summary([1] * 9 + [0], [logit] * 10, range(10), 0)
    assert kept['calibration_error']['value'] == pytest.approx(0)


def test_the_surest_answers_come_first_and_equal_ones_together():
    labels, logits = [1, 0, 1, 0], [3.0, -2.0, -1.0, 1.0]  # the surest two are right, the other two wrong
    coverage, risk = scoring.risk_and_coverage(labels, logits)
    assert coverage.tolist() == [0.25, 0.5, 1.0] and risk.tolist() == [0, 0, 0.5]
    assert scoring.coverage_at_risk(labels, logits, 0.05) == 0.5
    assert scoring.coverage_at_risk(labels, logits, 0.5) == 1
    assert scoring.coverage_at_risk([1, 0], [-1.0, 1.0]) == 0
