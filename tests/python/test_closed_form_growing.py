"""Heads in closed form of series that come in parts: against fits to all of them at once."""

import pickle
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from ssm_hpn.closed_form import ClassHead, NumberHead, RidgeSettings
from ssm_hpn.closed_form.draws import stratified
from ssm_hpn.closed_form.growing import Growing
from ssm_hpn.closed_form.simplex import simplex
from test_closed_form import data, of, spectrum

FEW = RidgeSettings(largest_exact=60, landmarks=40, left_out=30, rows_at_once=16)
"""Landmarks from 61 series on."""


class Parts:
    """Rows of a matrix with classes that are added in parts."""

    def __init__(self, n, d=120, *, n_classes=3, settings=FEW):
        self.x, self.labels = data(n, d, n_classes=n_classes)
        self.weights = np.random.default_rng(1).uniform(0.2, 3, n)
        self.growing = Growing(n_classes, by_class=True, settings=settings)

    def of(self, series):
        return lambda rows: of(self.x)(np.array(series, np.intp)[rows])

    def add(self, first, last, growing=None):
        rows = np.arange(first, last)
        growing = growing or self.growing
        one_hot = np.eye(growing.n_targets)[self.labels[rows]]
        growing.add(self.of, rows.tolist(), one_hot, self.weights[rows], self.weights[rows])
        return self

    def fit(self, growing=None):
        growing = growing or self.growing
        return growing.fit(self.of, each=False, directions=simplex(growing.n_targets))


def test_few_series_in_parts_give_the_same_bits_as_all_at_once():
    parts = Parts(60).add(0, 7).add(7, 8).add(8, 60)
    head = ClassHead.fit(of(parts.x), parts.labels, sample_weight=parts.weights)
    found = parts.fit()
    np.testing.assert_array_equal(found.left_out, head.ridge.left_out)
    np.testing.assert_array_equal(found.linear.weights, head.ridge.linear.weights)
    numbers = Growing(2, settings=FEW)
    y = parts.x[:, :2].astype(float)
    for rows in (np.arange(20), np.arange(20, 60)):
        numbers.add(parts.of, rows.tolist(), y[rows], parts.weights[rows], parts.weights[rows])
    expected = NumberHead.fit(of(parts.x), y, sample_weight=parts.weights)
    np.testing.assert_array_equal(numbers.fit(parts.of, each=True).left_out, expected.ridge.left_out)


def test_many_series_in_one_part_are_fitted_as_all_at_once():
    parts = Parts(150).add(0, 150)
    head = ClassHead.fit(of(parts.x), parts.labels, sample_weight=parts.weights, settings=FEW)
    found = parts.fit()
    assert found.landmarks == 40
    np.testing.assert_array_equal(found.rows, head.ridge.rows)
    np.testing.assert_array_equal(found.strength, head.ridge.strength)
    np.testing.assert_allclose(found.left_out, head.ridge.left_out, atol=1e-9)
    np.testing.assert_allclose(found.linear.weights, head.ridge.linear.weights, atol=1e-6)


@pytest.mark.parametrize("cuts", [(0, 50, 70, 150), (0, 61, 62, 100, 150)])
def test_later_parts_count_as_much_as_earlier_ones(cuts):
    parts = Parts(150, settings=replace(FEW, strength=0.03))
    for first, last in pairwise(cuts):
        parts.add(first, last)
    found, drawn = parts.fit(), cuts[1] if cuts[1] > 60 else cuts[2]
    chosen = stratified(parts.labels[:drawn], 40, seed=0)
    assert parts.growing.series == chosen.tolist()
    z = found.linear.standardisation.apply(parts.x.copy()).astype(float)
    span = np.linalg.qr(z[chosen].T)[0]
    direct = spectrum(z @ span, simplex(3)[parts.labels], parts.weights)
    np.testing.assert_allclose(found.left_out, direct.left_out(found.strength)[found.rows], atol=1e-4)


def test_series_that_are_left_out_are_a_sample_of_all_but_the_landmarks():
    counts = np.zeros(150)
    for seed in range(60):
        parts = Parts(150, 3, settings=replace(FEW, seed=seed)).add(0, 70).add(70, 150)
        known = parts.growing.known
        assert len(set(known.rows.tolist())) == 30
        assert not set(known.rows) & set(parts.growing.series)
        np.testing.assert_array_equal(known.targets.argmax(axis=1), parts.labels[known.rows])
        np.testing.assert_array_equal(known.weights, parts.weights[known.rows])
        counts[known.rows] += 1
    # of 110 that are no landmarks 30 are kept: 60 * 30/110 = 16.4 times each; 70 in 30 of 70 cases no landmark
    assert counts[70:].mean() == pytest.approx(60 * 30 / 110, rel=0.1)
    assert counts[:70].mean() == pytest.approx(60 * 30 / 110 * 30 / 70, rel=0.2)


@pytest.mark.parametrize("before", [30, 100])
def test_classes_that_come_later_are_fitted_as_if_they_had_been_named_at_first(before):
    named, later = Parts(150), Parts(150)
    for parts in (named, later):
        parts.labels[:before] = 2 * (parts.labels[:before] > 0)  # class 1 is not there yet
    named.add(0, before).add(before, 150)
    growing = Growing(2, by_class=True, settings=FEW)
    later.labels[:before] //= 2
    later.add(0, before, growing)
    later.labels[:before] *= 2
    growing.spread(np.array([0, 2]), 3)
    later.add(before, 150, growing)
    np.testing.assert_allclose(later.fit(growing).left_out, named.fit().left_out, atol=1e-9)
    np.testing.assert_array_equal(growing.known.targets, named.growing.known.targets)


def test_numbers_that_are_dropped_leave_the_others_as_they_are():
    parts = Parts(150)
    y = parts.x[:, :3].astype(float)
    three, one = Growing(3, settings=FEW), Growing(1, settings=FEW)
    for rows in (np.arange(100), np.arange(100, 150)):
        three.add(parts.of, rows.tolist(), y[rows], parts.weights[rows], parts.weights[rows])
        one.add(parts.of, rows.tolist(), y[rows][:, [1]], parts.weights[rows], parts.weights[rows])
    three.keep(np.array([1]))
    np.testing.assert_allclose(
        three.fit(parts.of, each=True).left_out, one.fit(parts.of, each=True).left_out, atol=1e-9
    )


@pytest.mark.parametrize("before", [30, 100])
def test_it_goes_on_after_pickling_in_the_same_bits_and_in_bounded_memory(before):
    parts = Parts(400).add(0, before)
    size = len(pickle.dumps(parts.growing))
    again = pickle.loads(pickle.dumps(parts.growing))
    parts.add(before, 400)
    parts.add(before, 400, again)
    np.testing.assert_array_equal(parts.fit(again).linear.weights, parts.fit().linear.weights)
    if before == 100:
        assert len(pickle.dumps(parts.growing)) < size + 1000
