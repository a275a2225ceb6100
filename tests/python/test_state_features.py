"""Features of fixed filters: shapes, seeds, missing steps, sizes and levels, pickling."""

import pickle

import numpy as np
import pytest

from ssm_hpn.errors import ShapeError
from ssm_hpn.state_features import EFFORTS, StateFeatures

RANDOM = np.random.default_rng(0)
SERIES = [RANDOM.normal(size=(length, 2)).cumsum(axis=0) for length in (40, 75, 33, 60)]


@pytest.fixture(scope="module")
def bank():
    return StateFeatures.fit(SERIES, effort="fast", seed=1)


@pytest.mark.parametrize(("effort", "count"), [("fast", 5 * 128 * 14), ("default", 15 * 128 * 14)])
def test_each_effort_has_its_number_of_features(effort, count):
    features = StateFeatures.fit(SERIES, effort=effort)
    found = features.transform(SERIES)
    assert found.shape == (4, count) == (4, features.count)
    assert np.isfinite(found).all()
    assert len({*map(bytes, found)}) == 4


def test_more_effort_has_more_filters():
    filters = [EFFORTS[effort]["filters"] for effort in ("fast", "default", "best")]
    assert filters == sorted(set(filters))


def test_blocks_side_by_side_are_the_features_for_any_number_of_threads(bank):
    whole = bank.transform(SERIES, threads=1)
    np.testing.assert_array_equal(np.concatenate(list(bank.blocks(SERIES, threads=3)), axis=1), whole)


def test_a_series_has_the_same_features_alone(bank):
    together = bank.transform(SERIES)
    for series, row in zip(SERIES, together, strict=True):
        np.testing.assert_array_equal(bank.transform([series])[0], row)


def test_another_seed_draws_other_filters(bank):
    same, other = (StateFeatures.fit(SERIES, effort="fast", seed=seed).transform(SERIES) for seed in (1, 2))
    np.testing.assert_array_equal(bank.transform(SERIES), same)
    assert np.abs(same - other).max() > 0.1


def test_a_pickled_bank_gives_the_same_bits(bank):
    again = pickle.loads(pickle.dumps(bank))
    np.testing.assert_array_equal(again.transform(SERIES), bank.transform(SERIES))


def test_a_step_that_is_missing_is_left_out(bank):
    series = SERIES[1]
    gaps = np.insert(series, [10, 10, 50], np.nan, axis=0)
    np.testing.assert_array_equal(bank.transform([gaps]), bank.transform([series]))


def test_a_channel_that_is_missing_holds_its_last_number(bank):
    gaps = SERIES[1].copy()
    gaps[20:25, 1] = np.nan
    found = bank.transform([gaps])
    assert np.isfinite(found).all()
    assert (found != bank.transform([SERIES[1]])).any()


@pytest.mark.parametrize("series", [np.zeros((0, 2)), np.ones((1, 2)), np.full((30, 2), 7.0), np.full((5, 2), np.nan)])
def test_series_with_nothing_in_them_have_finite_features(bank, series):
    assert np.isfinite(bank.transform([series])).all()


def test_what_cannot_be_used_is_refused_by_its_place(bank):
    broken = SERIES[2].copy()
    broken[7, 1] = np.inf
    with pytest.raises(ShapeError, match="series 1, step 7, channel 1: expected a finite number"):
        bank.transform([SERIES[0], broken])
    with pytest.raises(ShapeError, match="channels of the series: expected 2, found 3"):
        bank.transform([np.zeros((4, 3))])
