"""Heads in closed form for many series: landmarks, memory, threads."""

import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
from threadpoolctl import threadpool_limits

from ssm_hpn.closed_form import ClassHead, NumberHead, RidgeSettings
from ssm_hpn.closed_form.draws import stratified
from ssm_hpn.closed_form.landmarks import factor
from ssm_hpn.errors import DataError, ShapeError
from test_closed_form import data, of, spectrum, standardised

MANY = RidgeSettings(largest_exact=2, landmarks=40, left_out=50, rows_at_once=32)


def test_with_every_series_a_landmark_the_fit_is_exact():
    x, labels = data(60, 200)
    weights = np.random.default_rng(1).uniform(0.2, 3, 60)
    exact = ClassHead.fit(of(x), labels, sample_weight=weights)
    spanned = ClassHead.fit(of(x), labels, sample_weight=weights, settings=RidgeSettings(largest_exact=2, landmarks=60))
    assert (exact.ridge.landmarks, spanned.ridge.landmarks) == (0, 60)
    np.testing.assert_array_equal(spanned.ridge.strength, exact.ridge.strength)
    np.testing.assert_allclose(spanned.scores([x]), exact.scores([x]), atol=1e-4)
    np.testing.assert_allclose(spanned.ridge.left_out, exact.ridge.left_out, atol=1e-4)
    assert spanned.scale == pytest.approx(exact.scale, rel=1e-3)


def test_fewer_features_than_landmarks_are_exact_but_for_the_statistics():
    x, labels = data(300, 12)
    settings = RidgeSettings(largest_exact=2, landmarks=100, strength=0.1)
    spanned = ClassHead.fit(of(x), labels, settings=settings)
    same = spanned.ridge.linear.standardisation.apply(x.copy())
    exact = ClassHead.fit(of(same), labels, settings=RidgeSettings(strength=0.1, clip=100.0))
    # The exact fit standardises once more: its penalty differs by the variance outside of the landmarks.
    np.testing.assert_allclose(spanned.scores([x]), exact.scores([same]), atol=0.02)
    agree = spanned.classes(spanned.scores([x])) == exact.classes(exact.scores([same]))
    assert agree.mean() > 0.98


def test_left_out_scores_are_those_of_ridge_in_the_span_of_the_landmarks():
    x, labels = data(150, 300)
    weights = np.random.default_rng(1).uniform(0.2, 3, 150)
    settings = replace(MANY, strength=0.03)
    head = ClassHead.fit(of(x), labels, sample_weight=weights, settings=settings)
    chosen = stratified(labels, 40, seed=0)
    assert head.ridge.landmarks == 40
    assert len(head.ridge.rows) == 50
    assert not np.isin(head.ridge.rows, chosen).any()
    np.testing.assert_array_equal(head.labels, labels[head.ridge.rows])
    z = head.ridge.linear.standardisation.apply(x.copy()).astype(float)
    np.testing.assert_allclose(z[chosen], standardised(x[chosen], weights[chosen]), atol=1e-4)
    span = np.linalg.qr(z[chosen].T)[0]
    direct = spectrum(z @ span, head.prototypes[labels], weights)
    expected = direct.left_out(head.ridge.strength)[head.ridge.rows]
    np.testing.assert_allclose(head.ridge.left_out, expected, atol=1e-4)


def test_equal_landmarks_whose_products_are_rounded_alike():
    gram = np.ones((4, 4))
    gram[:2, 2:] = gram[2:, :2] = 1 + 1e-4  # of one series four times: an eigenvalue is -2e-4
    with pytest.raises(np.linalg.LinAlgError):
        np.linalg.cholesky(gram + 1e-6 * np.eye(4))
    lower = factor(gram, 1e-6)
    np.testing.assert_allclose(lower @ lower.T, gram, atol=2e-3)


@pytest.mark.parametrize("kind", [ClassHead, NumberHead])
def test_every_series_is_asked_for_once_and_few_at_a_time(kind):
    x, labels = data(200, 60)
    asked = []

    def counted(rows):
        asked.append(rows)
        yield x[rows]

    targets = labels if kind is ClassHead else labels[:, None]
    head = kind.fit(counted, targets, settings=MANY)
    assert sorted(np.concatenate(asked)) == list(range(200))
    assert [len(rows) for rows in asked] == [40, 32, 32, 32, 32, 32]
    again = kind.fit(counted, targets, settings=MANY)
    np.testing.assert_array_equal(again.scores([x]), head.scores([x]))
    other = kind.fit(counted, targets, settings=replace(MANY, seed=1))
    assert not np.array_equal(other.scores([x]), head.scores([x]))


def test_memory_does_not_grow_with_the_number_of_series():
    settings = RidgeSettings(largest_exact=2, landmarks=100, left_out=200, rows_at_once=100)

    def peak(n):
        labels = np.arange(n) % 2

        def made(rows):
            noise = np.random.default_rng(len(rows)).normal(size=(len(rows), 200))
            yield (noise + (rows % 2)[:, None]).astype(np.float32)

        tracemalloc.start()
        ClassHead.fit(made, labels, settings=settings)
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return most

    peak(300)  # what is imported and kept at the first call
    assert peak(4000) < peak(1000) + 200 * 3000  # labels, targets, weights and numbers of rows


def test_landmarks_are_drawn_from_every_class_in_proportion():
    strata = np.repeat([3, 1, 7], [900, 90, 10])
    chosen = stratified(strata, 100, seed=0)
    assert np.bincount(strata[chosen])[[3, 1, 7]].tolist() == [90, 9, 1]
    assert (np.diff(chosen) > 0).all()
    np.testing.assert_array_equal(chosen, stratified(strata, 100, seed=0))
    assert not np.array_equal(chosen, stratified(strata, 100, seed=1))
    assert np.unique(strata[stratified(strata, 3, seed=0)]).tolist() == [1, 3, 7]
    assert stratified(np.arange(50), 20, seed=0).tolist() != list(range(20))


def test_constant_features_alone_give_the_shares_of_the_classes():
    x = np.full((200, 5), 0.1, np.float32)
    head = ClassHead.fit(of(x), (np.arange(200) >= 150).astype(int), settings=MANY)
    np.testing.assert_allclose(head.scores([x]), 0.5)


def test_features_that_cannot_be_used_are_refused_as_in_the_exact_fit():
    x, labels = data(100, 30)
    wrong = x.copy()
    wrong[77, 11] = np.nan
    with pytest.raises(DataError, match="found nan in series 77, feature 11;"):
        ClassHead.fit(of(wrong), labels, settings=MANY)
    for width in (29, 31):
        changing = lambda rows, width=width: [np.ones((len(rows), 30 if len(rows) == 40 else width))]  # noqa: E731
        with pytest.raises(ShapeError, match=r"features: expected 30 columns, found (29|more than 30)"):
            ClassHead.fit(changing, labels, settings=MANY)
    with pytest.raises(ShapeError, match="at least one column, found none"):
        ClassHead.fit(lambda _: [], labels, settings=MANY)


def fits(threads):
    """Strength, scale and scores of an exact fit and of one with landmarks, by this number of threads."""
    x, labels = data(120, 1500)
    found = []
    with threadpool_limits(threads):
        for settings in (RidgeSettings(), RidgeSettings(largest_exact=2, landmarks=60)):
            head = ClassHead.fit(of(x, 400), labels, settings=settings)
            found.append((head.ridge.strength[0], head.scale, head.scores([x])))
    return found


def test_fits_have_the_same_bits_again_and_agree_for_other_numbers_of_threads():
    one, again, two = fits(1), fits(1), fits(2)
    for a, b, c in zip(one, again, two, strict=True):
        assert a[:2] == b[:2]
        np.testing.assert_array_equal(a[2], b[2])
        assert a[0] == c[0]
        assert a[1] == pytest.approx(c[1], rel=1e-6)
        np.testing.assert_allclose(a[2], c[2], atol=1e-5)
