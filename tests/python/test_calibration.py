"""Probabilities and reject thresholds from left-out scores."""

import json

import numpy as np
import pytest

from ssm_hpn.closed_form import ClassHead, RejectCurve
from ssm_hpn.closed_form.calibration import SCALES, Temperature, fitted_scale, softmax
from ssm_hpn.closed_form.simplex import inner_products, simplex
from ssm_hpn.errors import ConfigError
from test_closed_form import data, of


def drawn(n, n_classes, scale, seed=0):
    """Inner products, and labels drawn with the probabilities that this scale gives."""
    rng = np.random.default_rng(seed)
    q = inner_products(0.5 * rng.normal(size=(n, n_classes - 1)), simplex(n_classes))
    labels = (softmax(q, scale).cumsum(axis=1) < rng.random((n, 1))).sum(axis=1)
    return q, labels


@pytest.mark.parametrize("n_classes", [2, 3, 20])
@pytest.mark.parametrize("scale", [0.5, 6.0])
@pytest.mark.parametrize("size", [1e-2, 1.0, 50.0])
def test_the_scale_of_the_labels_is_found(n_classes, scale, size):
    q, labels = drawn(10_000, n_classes, scale)
    assert fitted_scale(size * q, labels, np.ones(len(q))) == pytest.approx(scale / size, rel=0.12)


def test_the_scale_is_the_minimum_of_the_softened_log_loss():
    q, labels = drawn(50, 4, 3.0)
    weights = np.random.default_rng(2).uniform(0, 2, 50)
    soft = np.full((50, 4), 1 / 52 / 3)
    soft[np.arange(50), labels] = 1 - 1 / 52

    def loss(scale):
        return -(weights[:, None] * soft * np.log(softmax(q, scale))).sum()

    found = fitted_scale(q, labels, weights)
    assert SCALES[0] < found < SCALES[1]
    assert loss(found) < min(loss(found * 1.001), loss(found / 1.001))


@pytest.mark.parametrize("n", [4, 100, 10_000])
@pytest.mark.parametrize("size", [1.0, 1e-3])
def test_separated_series_are_as_sure_as_their_number_allows(n, size):
    labels = np.arange(n) % 3
    q = size * inner_products(simplex(3)[labels], simplex(3))
    p = softmax(q, fitted_scale(q, labels, np.ones(n)))
    assert p.max(axis=1) == pytest.approx(1 - 1 / (n + 2), abs=1e-6)


def test_scores_that_tell_nothing_or_the_opposite_give_even_probabilities():
    labels = np.arange(30) % 3
    for q in (np.zeros((30, 3)), -inner_products(simplex(3)[labels], simplex(3))):
        p = softmax(q, fitted_scale(q, labels, np.ones(30)))
        assert np.abs(p - 1 / 3).max() < 1e-3
        np.testing.assert_array_equal(p.argmax(axis=1), q.argmax(axis=1))


def test_no_series_is_surer_than_the_surest_that_was_left_out():
    x, labels = data(60, 400, trace=2.0)
    head = ClassHead.fit(of(x), labels)
    most = head.probabilities(head.ridge.left_out).max()
    assert 0.9 < most < 1
    direction = head.prototypes[[1]]
    far = np.concatenate([1e6 * direction, 1.2 * head.longest * direction])
    assert head.probabilities(far)[0] == pytest.approx(head.probabilities(far)[1])
    assert head.probabilities(far)[0, 1] == pytest.approx(head.probabilities(head.longest * direction)[0, 1])
    short = 0.5 * head.longest * direction
    expected = softmax(inner_products(short, head.prototypes), head.scale)
    np.testing.assert_allclose(head.probabilities(short), expected)


def test_probabilities_of_large_scores_are_finite():
    assert softmax(np.array([[1e6, -1e6], [-1e6, 1e6]]), 1e4).tolist() == [[1, 0], [0, 1]]


def test_the_probabilities_of_new_series_fit_their_frequencies():
    x, labels = data(2300, 20, n_classes=4, trace=0.35)
    train, test = np.arange(300), np.arange(300, 2300)
    head = ClassHead.fit(lambda rows: [x[rows]], labels[train])
    scores = head.scores([x[test]])
    p = head.probabilities(scores)
    right = head.classes(scores) == labels[test]
    assert right.mean() == pytest.approx(p.max(axis=1).mean(), abs=0.04)
    np.testing.assert_array_equal(p.argmax(axis=1), head.classes(scores))
    loss = -np.log(p[np.arange(len(test)), labels[test]]).mean()
    q = inner_products(scores, head.prototypes)
    for factor in (0.5, 2):
        other = softmax(q, head.scale * factor)
        assert loss < -np.log(other[np.arange(len(test)), labels[test]]).mean()


# ---- rejecting


def test_a_threshold_answers_the_wanted_share():
    rng = np.random.default_rng(0)
    confidence = rng.random(1000)
    curve = RejectCurve.of(confidence, rng.random(1000) < confidence, np.ones(1000))
    for share in (1.0, 0.9, 0.25, 0.001):
        threshold = curve.threshold(answered=share)
        assert (confidence >= threshold).mean() == pytest.approx(share, abs=1e-9)
    assert curve.accuracy[0] == pytest.approx(0.5, abs=0.05)
    assert curve.accuracy[900] > 0.9
    assert (np.diff(curve.answered) < 0).all()


def test_equal_confidences_are_answered_together_and_weights_count():
    curve = RejectCurve.of(np.array([1.0, 1.0, 0.5]), np.array([True, False, True]), np.array([3.0, 1.0, 4.0]))
    assert curve.thresholds.tolist() == [0.5, 1.0]
    assert curve.answered.tolist() == [1.0, 0.5]
    assert curve.accuracy.tolist() == [0.875, 0.75]
    assert curve.threshold(answered=0.1) == 1.0


@pytest.mark.parametrize("share", [0, -0.5, 1.01, np.nan])
def test_a_share_outside_of_its_range_is_refused(share):
    curve = RejectCurve.of(np.ones(3), np.ones(3, bool), np.ones(3))
    with pytest.raises(ConfigError, match="answered: expected a share above 0 and up to 1"):
        curve.threshold(answered=share)


@pytest.mark.parametrize("by", ["confidence", "probability", "cosine"])
def test_the_reject_curve_of_a_head_holds_for_new_series(by):
    x, labels = data(2400, 20, n_classes=4, trace=0.35)
    head = ClassHead.fit(of(x[:400]), labels[:400])
    scores = head.scores([x[400:]])
    right = head.classes(scores) == labels[400:]
    curve = head.reject_curve(by)
    threshold = curve.threshold(answered=0.6)
    if by == "confidence":
        confidence = head.confidence(scores)
    else:
        confidence = (head.probabilities(scores) if by == "probability" else head.cosines(scores)).max(axis=1)
    answered = confidence >= threshold
    assert answered.mean() == pytest.approx(0.6, abs=0.06)
    assert right[answered].mean() > right.mean() + 0.02
    expected = curve.accuracy[curve.thresholds == threshold][0]
    assert right[answered].mean() == pytest.approx(expected, abs=0.06)


# ---- never worse than the frequencies of classes


@pytest.mark.parametrize("n_classes", [2, 5])
@pytest.mark.parametrize("size", [1e-3, 1.0, 50.0])
def test_probabilities_are_never_worse_than_the_frequencies_of_classes(n_classes, size):
    for seed in range(30):
        rng = np.random.default_rng(seed)
        n = int(rng.integers(5, 200))
        often = np.r_[0.9, np.full(n_classes - 1, 0.1 / (n_classes - 1))]
        labels, weights = rng.choice(n_classes, n, p=often), rng.uniform(0.1, 2, n)
        q = size * rng.normal(size=(n, n_classes))
        found = Temperature.of(q, labels, weights)
        share = np.bincount(labels, weights, n_classes) / weights.sum()
        entropy = -(share[share > 0] * np.log(share[share > 0])).sum()
        p = found.probabilities(q)
        assert p.sum(axis=1) == pytest.approx(1)
        assert -np.average(np.log(p[np.arange(n), labels]), weights=weights) <= entropy + 1e-12


def test_scores_that_tell_the_classes_need_no_frequencies():
    q, labels = drawn(500, 4, 3.0)
    found = Temperature.of(q, labels, np.ones(500))
    assert found.share == 0
    np.testing.assert_array_equal(found.probabilities(q), softmax(q, found.scale))
    assert found.to_json() == {"scale": found.scale}


def test_a_temperature_is_the_same_after_json():
    q, labels = drawn(40, 3, 0.0)
    found = Temperature.of(-5 * q, labels, np.ones(40))
    again = Temperature.from_json(json.loads(json.dumps(found.to_json())))
    np.testing.assert_array_equal(again.probabilities(q), found.probabilities(q))


def test_the_share_of_the_frequencies_is_that_of_least_log_loss():
    rng = np.random.default_rng(5)
    labels = rng.choice(3, 60, p=[0.8, 0.1, 0.1])
    q = rng.normal(size=(60, 3))
    found = Temperature.of(q, labels, np.ones(60))
    assert 0 < found.share < 1

    def loss(share):
        p = (1 - share) * softmax(q, found.scale) + share * found.frequencies
        return -np.log(p[np.arange(60), labels]).sum()

    assert loss(found.share) <= min(loss(found.share + 1e-3), loss(found.share - 1e-3))
