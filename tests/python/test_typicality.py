"""The confidence of heads in closed form: how typical scores are of any class."""

import numpy as np
import pytest

from ssm_hpn.closed_form import ClassHead
from ssm_hpn.closed_form.simplex import lifted_cosines, simplex
from ssm_hpn.closed_form.typicality import HALF_AT, SHRINKAGE, Typicality
from ssm_hpn.judgement import auroc
from test_closed_form import data, of


def scattered(n_classes, n=600, deviation=0.1, seed=0):
    """Scores around prototypes with the same deviation in every direction, and their labels."""
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % n_classes
    prototypes = simplex(n_classes)
    return prototypes[labels] + deviation * rng.normal(size=(n, n_classes - 1)), labels, prototypes


@pytest.mark.parametrize("n_classes", [2, 3, 12])
def test_a_prototype_is_typical_and_three_deviations_are_half_way(n_classes):
    z, labels, prototypes = scattered(n_classes, n=20_000)
    known = Typicality.of(z, labels, np.ones(len(z)), prototypes)
    assert known.confidence(prototypes) == pytest.approx(1.0, abs=1e-3)
    width = n_classes - 1
    direction = prototypes[:1] * np.sqrt(width) * 0.1  # away from all other prototypes
    assert known.confidence(prototypes[:1] + HALF_AT * direction)[0] == pytest.approx(0.5, abs=0.02)
    assert known.confidence(np.zeros((1, width)))[0] < 0.6 > known.confidence(3 * prototypes[:1])[0]


def test_the_confidence_falls_with_the_density_of_known_series():
    rng = np.random.default_rng(1)
    z, labels, prototypes = scattered(4, deviation=0.3)
    known = Typicality.of(z, labels, np.ones(len(z)), prototypes)
    residual = z - prototypes[labels]
    covariance = residual.T @ residual / len(z)
    covariance = (1 - SHRINKAGE) * covariance + SHRINKAGE * np.trace(covariance) / 3 * np.eye(3)
    new = rng.normal(size=(200, 3))
    away = new[:, None] - prototypes
    density = np.exp(-0.5 * np.einsum("ncq,qr,ncr->nc", away, np.linalg.inv(covariance), away)).sum(axis=1)
    expected = 1 / (1 + np.maximum(-2 * np.log(density), 0) / 3 / HALF_AT**2)
    np.testing.assert_allclose(known.confidence(new), expected, rtol=1e-9)


def test_directions_in_which_known_series_do_not_scatter_count_more():
    z, labels, prototypes = scattered(3, deviation=0.02)
    z[:, 0] += 0.3 * np.random.default_rng(2).normal(size=len(z))
    known = Typicality.of(z, labels, np.ones(len(z)), prototypes)
    usual, unusual = prototypes[0] + [0.3, 0.0], prototypes[0] + [0.0, 0.3]
    found = known.confidence(np.stack([usual, unusual]))
    assert found[0] > 0.8 > found[1] + 0.2


def test_weights_count_like_repetitions():
    z, labels, prototypes = scattered(3, n=40)
    weights = np.arange(40) % 3
    rows = np.repeat(np.arange(40), weights)
    weighted = Typicality.of(z, labels, weights.astype(float), prototypes).confidence(z)
    np.testing.assert_allclose(
        weighted, Typicality.of(z[rows], labels[rows], np.ones(len(rows)), prototypes).confidence(z)
    )


@pytest.mark.parametrize("n", [2, 3])
def test_few_series_and_scores_without_error_have_a_confidence(n):
    prototypes = simplex(6)
    labels = np.arange(n)
    for z in (prototypes[labels], prototypes[labels] + 0.1):
        found = Typicality.of(z, labels, np.ones(n), prototypes).confidence(
            np.concatenate([prototypes, 0 * prototypes])
        )
        assert np.isfinite(found).all()
        assert found[0] > found[-1]


def test_a_class_that_was_left_out_is_told_better_than_by_the_cosine_of_two_classes():
    x, labels = data(900, 60, n_classes=3, trace=0.6)
    train = np.flatnonzero(labels[:450] < 2)
    head = ClassHead.fit(of(x[train]), labels[train])
    z = head.scores([x[450:]])
    strange = labels[450:] == 2
    cosines = lifted_cosines(z, head.prototypes).max(axis=1)
    found = head.confidence(z)
    assert auroc(found[~strange], found[strange]) > 0.8
    assert auroc(found[~strange], found[strange]) > auroc(cosines[~strange], cosines[strange]) - 0.01
    assert np.ptp(head.cosines(z).max(axis=1)) == 0  # two classes: the cosine is 1 for every series


@pytest.mark.parametrize("keep", [0.9, 0.95])
def test_a_threshold_of_left_out_series_keeps_the_share_of_new_ones(keep):
    x, labels = data(2400, 20, n_classes=4, trace=0.35)
    head = ClassHead.fit(of(x[:400]), labels[:400])
    threshold = head.reject_curve().threshold(answered=keep)
    assert (head.confidence(head.scores([x[400:]])) >= threshold).mean() == pytest.approx(keep, abs=0.03)


def test_it_is_the_same_after_saving():
    x, labels = data(60, 40)
    head = ClassHead.fit(of(x), labels)
    again = ClassHead.from_arrays(*head.to_arrays())
    z = head.scores([x])
    np.testing.assert_array_equal(again.confidence(z), head.confidence(z))


def test_auroc_counts_equal_confidences_half():
    assert auroc(np.array([1.0, 2.0]), np.array([0.0])) == 1.0
    assert auroc(np.array([1.0, 1.0]), np.array([1.0, 1.0])) == 0.5
    assert auroc(np.array([0.0]), np.array([1.0, 0.0])) == 0.25
