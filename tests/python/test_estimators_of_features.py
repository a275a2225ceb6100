"""The estimators with features of fixed filters, their default."""

import pickle

import numpy as np
import pandas as pd
import pytest

pytest.importorskip("sklearn")

from sklearn.base import clone
from sklearn.linear_model import RidgeClassifierCV
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from ssm_hpn.errors import ConfigError, ShapeError
from ssm_hpn.estimators import SSMClassifier, SSMRegressor, StateSpaceFeatures
from test_estimators import waves

FAST = {"effort": "fast", "random_state": 0, "threads": 1}


@pytest.fixture(scope="module")
def fitted():
    return SSMClassifier(**FAST).fit(*waves(60, seed=0))


def test_it_learns_series_of_different_lengths(fitted):
    series, labels = waves(60, seed=1)
    assert fitted.score(series, labels) > 0.95
    probabilities = fitted.predict_proba(series)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-12)
    assert (fitted.classes_[probabilities.argmax(axis=1)] == fitted.predict(series)).all()
    assert np.abs(fitted.class_scores(series)).max() <= 1


def test_series_far_from_every_class_have_low_scores(fitted):
    series, _ = waves(60, seed=3)
    random = np.random.default_rng(4)
    strange = [random.normal(5, 3, (50, 2)) for _ in range(40)]
    bound = float(np.quantile(fitted.confidence(series), 0.05))
    careful = pickle.loads(pickle.dumps(fitted)).set_params(reject_below=bound)
    assert (careful.predict(strange) == "unknown").mean() > 0.5


@pytest.mark.parametrize(("size", "shift"), [(4.0, 0.0), (1.0, 6.0)])
def test_classes_that_differ_in_size_or_level_alone_are_learned(size, shift):
    random = np.random.default_rng(5)
    labels = np.arange(60) % 2
    series = [random.normal(size=(40, 1)) * (size if label else 1) + (shift if label else 0) for label in labels]
    model = SSMClassifier(**FAST).fit(series[:40], labels[:40])
    assert model.score(series[40:], labels[40:]) == 1.0


def test_two_classes_have_scores_between_minus_one_and_one():
    series, labels = waves(60, seed=6)
    two = labels == "slow"
    model = SSMClassifier(**FAST).fit(series, two)
    scores = model.class_scores(waves(30, seed=7)[0])
    assert len(np.unique(scores.round(6))) > 20
    np.testing.assert_allclose(scores[:, 0], -scores[:, 1], rtol=0, atol=1e-12)


def test_a_copy_and_a_pickle_give_the_same_bits(fitted):
    series, labels = waves(60, seed=0)
    expected = fitted.class_scores(series)
    np.testing.assert_array_equal(clone(fitted).fit(series, labels).class_scores(series), expected)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(fitted)).class_scores(series), expected)


def test_the_number_of_threads_changes_scores_by_rounding_alone(fitted):
    series, labels = waves(60, seed=0)
    other = clone(fitted).set_params(threads=None).fit(series, labels)
    np.testing.assert_allclose(other.class_scores(series), fitted.class_scores(series), rtol=0, atol=1e-5)


def test_numbers_are_predicted_in_their_units():
    random = np.random.default_rng(9)
    x = random.normal(size=(120, 30, 2))
    y = 250_000 + 30_000 * x[:, :, 0].mean(axis=1)
    model = SSMRegressor(**FAST).fit(x[:90], y[:90])
    assert model.score(x[90:], y[90:]) > 0.5
    two = np.stack([y, -y], axis=1)
    two[5, 0] = np.nan
    both = SSMRegressor(**FAST).fit(x[:90], two[:90])
    assert both.predict(x[90:]).shape == (30, 2)
    assert both.score(x[90:], two[90:]) > 0.5
    again = pickle.loads(pickle.dumps(both))
    np.testing.assert_array_equal(again.predict(x), both.predict(x))


def test_classes_and_numbers_may_be_known_for_different_series():
    series, labels = waves(60, seed=10)
    numbers = np.array([len(one) for one in series], float)
    numbers[:5] = np.nan
    some = labels.astype(object)
    some[55:] = None
    model = SSMClassifier(**FAST).fit(series, some, values=numbers)
    assert model.score(series, labels) > 0.9
    assert model.predict_values(series).shape == (60,)


@pytest.mark.parametrize("missing", ["mask", "forward", "zero"])
def test_missing_numbers(missing):
    series, labels = waves(60, seed=11)
    random = np.random.default_rng(12)
    for one in series:
        one[random.random(one.shape) < 0.1] = np.nan
    model = SSMClassifier(**FAST, missing=missing).fit(series[:45], labels[:45])
    assert model.score(series[45:], labels[45:]) > 0.8


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"kind": "forest"}, r"kind: expected auto \| features \| backbone, found 'forest'; choose one of these"),
        ({"effort": "most"}, r"effort: expected fast \| default \| best, found 'most'"),
        (
            {"kind": "features", "steps": 10},
            r"steps: expected 300, as kind='features' has no such parameter, found 10; pass kind='backbone'",
        ),
        (
            {"kind": "backbone", "effort": "fast"},
            r"effort: expected 'default', as kind='backbone' has no such parameter",
        ),
        ({"steps": 10, "effort": "fast"}, r"steps: expected 300, as kind='features' has no such parameter"),
    ],
)
def test_parameters_of_the_other_kind_are_refused(parameters, message):
    series, labels = waves(9, seed=0)
    with pytest.raises(ConfigError, match=message):
        SSMClassifier(**parameters).fit(series, labels)


@pytest.mark.parametrize(
    ("parameters", "names"),
    [({"steps": 2}, "steps is given"), ({"steps": 2, "d_model": 8}, "d_model, steps are given")],
)
@pytest.mark.parametrize("estimator", [SSMClassifier, SSMRegressor])
def test_parameters_of_a_backbone_ask_for_one(estimator, parameters, names):
    series, labels = waves(9, seed=0)
    targets = labels if estimator is SSMClassifier else np.arange(9.0)
    with pytest.warns(UserWarning, match=rf"kind: 'backbone' is taken, as {names}; pass it by name"):
        model = estimator(**parameters).fit(series, targets)
    assert model.trainer_ is not None
    assert model.n_iter_ == 2


def test_only_a_backbone_has_a_trainer(fitted):
    with pytest.raises(AttributeError, match="only a fitted estimator with kind='backbone' has a trainer"):
        _ = fitted.trainer_


def test_features_are_steps_of_pipelines():
    series, labels = waves(60, seed=13)
    features = StateSpaceFeatures(**FAST)
    model = make_pipeline(features, StandardScaler(), RidgeClassifierCV()).fit(series, labels)
    assert model.score(*waves(30, seed=14)) > 0.9
    names = features.fit(series).get_feature_names_out()
    assert len(names) == features.transform(series).shape[1] == len(set(names))


def test_searches_and_folds():
    x = np.random.default_rng(15).normal(size=(30, 25))
    x[::2] += np.sin(np.arange(25))
    labels = np.arange(30) % 2
    assert cross_val_score(SSMClassifier(**FAST), x, labels, cv=3).mean() > 0.8
    search = GridSearchCV(SSMClassifier(random_state=0), {"effort": ["fast", "default"]}, cv=2).fit(x, labels)
    assert search.best_score_ > 0.7


@pytest.mark.parametrize("wrong", [-1, 0, 1.5, "2", True, 10**30])
@pytest.mark.parametrize("estimator", [SSMClassifier, SSMRegressor, StateSpaceFeatures])
def test_a_wrong_number_of_threads_is_refused_in_one_line(estimator, wrong):
    x = np.random.default_rng(16).normal(size=(12, 20))
    with pytest.raises(ConfigError, match=r"threads: expected a whole number from 1 to 4096, or None, found "):
        estimator(**FAST | {"threads": wrong}).fit(x, np.arange(12) % 2)
    estimator(**FAST | {"threads": np.int64(1)}).fit(x, np.arange(12) % 2)


def test_the_bound_of_rejection_is_a_number(fitted):
    series, labels = waves(12, seed=17)
    for wrong in ("0.5", np.nan):
        with pytest.raises(ConfigError, match="reject_below: expected a number, or None, found"):
            SSMClassifier(**FAST, reject_below=wrong).fit(series, labels)
        with pytest.raises(ConfigError, match="reject_below: expected a number, or None, found"):
            pickle.loads(pickle.dumps(fitted)).set_params(reject_below=wrong).predict(series)


def test_the_warning_of_new_gaps_says_what_becomes_of_them(fitted):
    series, labels = waves(12, seed=18)
    for one in series:
        one[::5, 0] = np.nan
    with pytest.warns(UserWarning, match="which had none in fit, are left out, or the last one is held"):
        fitted.predict(series)
    whole, _ = waves(12, seed=18)
    backbone = SSMClassifier(kind="backbone", d_model=8, n_layers=1, steps=1).fit(whole, labels)
    with pytest.warns(UserWarning, match="which had none in fit, are taken as its mean in fit"):
        backbone.predict(series)


def test_channels_before_steps_are_noted():
    x = np.random.default_rng(19).normal(size=(12, 3, 20))
    with pytest.warns(UserWarning, match="X: it is read as series of 3 steps and 20 channels; where"):
        SSMClassifier(**FAST).fit(x, np.arange(12) % 2)


def test_series_of_another_length_than_a_matrix_in_fit():
    x = np.random.default_rng(20).normal(size=(12, 20))
    model = SSMClassifier(**FAST).fit(x, np.arange(12) % 2)
    with pytest.raises(ShapeError, match=r"X has 9 features.*; series of other lengths may be passed as list\(X\)$"):
        model.predict(x[:, :9])
    assert model.predict(list(x[:, :9])).shape == (12,)


def test_features_of_a_long_table_come_as_a_frame_by_id():
    times = pd.DataFrame({"machine": np.repeat(["b", "a", "c"], 20), "x": np.random.default_rng(21).normal(size=60)})
    features = StateSpaceFeatures(**FAST, id="machine").fit(times)
    plain = features.transform(times)
    frame = features.set_output(transform="pandas").transform(times)
    assert frame.index.tolist() == ["b", "a", "c"]
    assert frame.index.name == "machine"
    assert frame.columns.tolist() == features.get_feature_names_out().tolist()
    np.testing.assert_array_equal(frame.to_numpy(), plain)


CHECKED = [SSMClassifier(**FAST), SSMRegressor(**FAST), StateSpaceFeatures(**FAST)]


def fails(estimator):
    """A weight of 2 is one series that counts twice; repeated, each of two is predicted from the other one too."""
    if isinstance(estimator, StateSpaceFeatures):
        return {}
    reason = "leave-one-out errors leave out a series with its whole weight, and one of its repetitions alone"
    return {"check_sample_weight_equivalence_on_dense_data": reason}


@parametrize_with_checks(CHECKED, expected_failed_checks=fails)
def test_scikit_learns_own_checks(estimator, check):
    check(estimator)
