"""Weights of groups of features: against leave-one-out errors by refits, and what they do to a fit."""

import numpy as np
import pytest

from ssm_hpn.closed_form import ClassHead, NumberHead, RidgeSettings
from ssm_hpn.closed_form import view_weights as vw
from ssm_hpn.closed_form.draws import spread
from ssm_hpn.closed_form.growing import Growing
from ssm_hpn.closed_form.simplex import simplex
from ssm_hpn.closed_form.views import Views
from ssm_hpn.state_features import StateFeatures
from test_closed_form import data, of, refit_error, ridge, standardised, unit

INFORMATIVE, NOISE = 60, 400
VIEWS = Views.of([INFORMATIVE, NOISE], [("signal",), ("noise",)])


def signal_and_noise(n=90, *, seed=0):
    """A group of features that has the classes, and a larger one that has not; labels."""
    x, labels = data(n, INFORMATIVE, trace=0.5, seed=seed)
    return np.hstack([x, np.random.default_rng(seed + 1).normal(size=(n, NOISE)).astype(np.float32)]), labels


def gram_of(x, weights):
    """The Gram matrix of rows, centred and weighed."""
    inside = np.sqrt(weights)[:, None] * (x - weights @ x / weights.sum())
    return inside @ inside.T


def test_the_error_is_that_of_refits_without_each_series():
    rng = np.random.default_rng(0)
    parts, y = [rng.normal(size=(20, 4)), rng.normal(size=(20, 30))], rng.normal(size=(20, 2))
    ones, sizes = np.ones(20), np.array([3.0, 1 / 3])
    problem = vw.LeftOut(np.stack([gram_of(x, ones) for x in parts]), y, ones, each=False)
    both = np.hstack([np.sqrt(size) * x for size, x in zip(sizes, parts, strict=True)])
    for strength in (0.01, 1.0):
        direct = refit_error(both, y, strength * unit(both, ones)) / 20
        assert problem.error(problem.gram(sizes), strength) == pytest.approx(direct, rel=1e-6)
        half = sizes * [1.0, 0.5]
        changed = problem.changed(problem.gram(half), half, strength, vw.Change([1], 2.0))
        assert changed == pytest.approx(direct, rel=1e-6)


@pytest.mark.parametrize("n", [1, 48, 49, 131])
def test_a_triangular_matrix_is_inverted_by_halves(n):
    lower = np.tril(np.random.default_rng(n).normal(size=(n, n))) + n * np.eye(n)
    found = vw.lower_inverse(lower)
    np.testing.assert_allclose(found @ lower, np.eye(n), atol=1e-12)
    assert not np.triu(found, 1).any()


def test_weights_do_not_depend_on_threads(monkeypatch):
    x, labels = signal_and_noise()
    rows, targets = np.arange(len(x)), simplex(3)[labels]

    def found(threads):
        settings = RidgeSettings(views=VIEWS, threads=threads)
        return vw.feature_weights(of(x), rows, targets, np.ones(len(x)), settings=settings, each=False).tobytes()

    monkeypatch.setenv("SSM_HPN_THREADS", "3")
    assert found(1) == found(2) == found(None)


def test_noise_weighs_less_and_the_classes_of_new_series_are_better():
    x, labels = signal_and_noise()
    new, truth = signal_and_noise(1090)[0][90:], signal_and_noise(1090)[1][90:]
    x, labels = signal_and_noise(1090)[0][:90], signal_and_noise(1090)[1][:90]
    omega = vw.feature_weights(
        of(x), np.arange(90), simplex(3)[labels], np.ones(90), settings=RidgeSettings(views=VIEWS), each=False
    )
    assert omega[0] >= 9 * omega[-1]
    assert set(omega[:INFORMATIVE]) == {omega[0]}
    heads = [ClassHead.fit(of(x), labels, settings=RidgeSettings(views=views)) for views in (None, VIEWS)]
    plain, weighed = (float((head.classes(head.scores([new])) == truth).mean()) for head in heads)
    assert weighed > plain + 0.03


def test_equal_groups_keep_equal_weights():
    rng = np.random.default_rng(0)
    x, labels = data(60, 200)
    views = Views.of([100, 100], [("a",), ("b",)])
    mixed = x[:, rng.permutation(200)]
    rows, targets = np.arange(60), simplex(3)[labels]
    omega = vw.feature_weights(of(mixed), rows, targets, np.ones(60), settings=RidgeSettings(views=views), each=False)
    assert set(omega) == {1.0}
    assert vw.feature_weights(of(x), rows, targets, np.ones(60), settings=RidgeSettings(), each=False) is None


@pytest.mark.parametrize("settings", [RidgeSettings(), RidgeSettings(largest_exact=2, landmarks=90)])
def test_the_fit_is_ridge_on_features_times_the_roots_of_their_weights(settings, monkeypatch):
    x, labels = signal_and_noise()
    weights = np.random.default_rng(2).uniform(0.5, 2, 90)
    omega = np.where(VIEWS.columns == 0, 9.0, 1 / 3).astype(np.float32)
    for module in ("gram", "landmarks"):
        monkeypatch.setattr(f"ssm_hpn.closed_form.{module}.feature_weights", lambda *_, **__: omega)
    settings = RidgeSettings(**{**vars(settings), "strength": 0.1})
    head = ClassHead.fit(of(x), labels, sample_weight=weights, settings=settings)
    z = standardised(x, weights) * np.sqrt(omega)
    w, b = ridge(z, head.prototypes[labels], weights, 0.1 * unit(z, weights))
    np.testing.assert_allclose(head.scores([x]), z @ w + b, atol=2e-4)


def test_series_in_parts_are_weighed_as_all_of_them():
    x, labels = signal_and_noise()
    settings = RidgeSettings(views=VIEWS)
    growing = Growing(3, by_class=True, settings=settings)
    one_hot, ones = np.eye(3)[labels], np.ones(90)
    for part in (np.arange(50), np.arange(50, 90)):
        growing.add(_of_series(x), part.tolist(), one_hot[part], ones[part], ones[part])
    fit = growing.fit(_of_series(x), each=False, directions=simplex(3))
    whole = ClassHead.fit(of(x), labels, settings=settings)
    np.testing.assert_allclose(fit.linear.scores([x]), whole.scores([x]), atol=1e-5)


def _of_series(x):
    return lambda series: lambda rows: of(x)(np.array([series[i] for i in rows], np.intp))


def test_the_unit_of_a_number_does_not_matter():
    x, _ = signal_and_noise()
    y = x[:, :1].astype(float) / 50
    both = np.hstack([y, np.random.default_rng(3).normal(size=(90, 1))])
    found = [
        NumberHead.fit(of(x), both * [factor, 1.0], settings=RidgeSettings(views=VIEWS)).scores([x])
        for factor in (1, 1e6)
    ]
    np.testing.assert_allclose(found[1][:, 0] / 1e6, found[0][:, 0], atol=1e-4)
    np.testing.assert_allclose(found[1][:, 1], found[0][:, 1], atol=1e-4)


def test_few_of_many_series_decide_in_proportion_to_their_classes():
    labels = np.repeat([0, 1, 2], [800, 300, 100])
    chosen = spread(simplex(3)[labels], 120, seed=0)
    assert np.bincount(labels[chosen]).tolist() == [80, 30, 10]
    again = spread(np.eye(3)[labels], 120, seed=0)
    np.testing.assert_array_equal(again, chosen)  # however the classes are written
    assert len(set(chosen)) == 120


def test_a_bank_has_a_group_for_each_view_and_standard():
    series = [np.random.default_rng(k).normal(size=(50, 2)) for k in range(4)]
    bank = StateFeatures.fit(series)
    views = bank.views
    assert views.count == 6
    assert len(views.columns) == bank.count == len(bank.transform(series)[0])
    assert ((0, 1) in views.together, (0, 2, 4) in views.together) == (True, True)
    assert all(len(some) < 6 for some in views.together)
