"""Estimators inside of scikit-learn's own tools, and what they say about themselves."""

import numpy as np
import pytest

pytest.importorskip("sklearn")

from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.ensemble import BaggingClassifier, StackingClassifier, VotingRegressor
from sklearn.experimental import enable_halving_search_cv  # noqa: F401 - it makes the search importable
from sklearn.inspection import permutation_importance
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import (
    GridSearchCV,
    HalvingGridSearchCV,
    cross_val_predict,
    cross_val_score,
    learning_curve,
)
from sklearn.multioutput import MultiOutputClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from sklearn.utils import get_tags

from ssm_hpn.estimators import SSMClassifier, SSMRegressor, StateSpaceFeatures

FAST = {"effort": "fast", "random_state": 0, "threads": 1}
SMALL = {
    "kind": "backbone",
    "d_model": 8,
    "n_layers": 1,
    "d_state": 2,
    "steps": 40,
    "lr": 0.01,
    "random_state": 0,
    "threads": 1,
}
KINDS = {"features": FAST, "backbone": SMALL}


@pytest.fixture(scope="module")
def data():
    """Univariate series of equal length; the class is their level in the second half."""
    random = np.random.default_rng(0)
    x, y = random.normal(size=(48, 16)), np.arange(48) % 3
    x[:, 8:] += 2.0 * y[:, None]
    return x, np.array(["a", "b", "c"])[y]


@pytest.mark.parametrize("kind", KINDS)
def test_searches(data, kind):
    x, y = data
    grid = {"missing": ["mask", "zero"]} | ({} if kind == "features" else {"early_stopping": [False, True]})
    search = GridSearchCV(SSMClassifier(**KINDS[kind]), grid, cv=2, error_score="raise").fit(x, y)
    assert search.best_score_ > 0.8
    rest = {"cv": 2, "min_resources": 24, "random_state": 0, "error_score": "raise"}
    halving = HalvingGridSearchCV(SSMClassifier(**KINDS[kind]), {"missing": ["mask", "zero"]}, **rest).fit(x, y)
    assert halving.predict(x).shape == (48,)


@pytest.mark.parametrize("kind", KINDS)
def test_folds_ensembles_and_calibration(data, kind):
    x, y = data
    model = SSMClassifier(**KINDS[kind])
    assert cross_val_score(model, x, y, cv=2, error_score="raise").mean() > 0.8
    assert cross_val_predict(model, x, y, cv=2, method="predict_proba").shape == (48, 3)
    stack = StackingClassifier([("ours", model), ("theirs", LogisticRegression())], cv=2).fit(x, y)
    assert stack.score(x, y) > 0.8
    for method in ("sigmoid", "isotonic"):
        calibrated = CalibratedClassifierCV(model, cv=2, method=method).fit(x, y)
        np.testing.assert_allclose(calibrated.predict_proba(x).sum(axis=1), 1)
    if kind == "features":  # it passes weights
        assert BaggingClassifier(model, n_estimators=2, random_state=0).fit(x, y).score(x, y) > 0.7
    assert MultiOutputClassifier(model).fit(x, np.stack([y, y[::-1]], axis=1)).predict(x).shape == (48, 2)
    assert learning_curve(model, x, y, train_sizes=[12, 24], cv=2, error_score="raise")[1].shape == (2, 2)


def test_steps_that_do_not_matter_have_no_importance(data):
    x, y = data
    model = SSMClassifier(**FAST).fit(x, y)
    found = permutation_importance(model, x, y, n_repeats=2, random_state=0)
    assert found.importances_mean.shape == (16,)
    assert found.importances_mean[8:].mean() > found.importances_mean[:8].mean()


@pytest.mark.parametrize("kind", KINDS)
def test_regressors_in_pipelines_and_votes(data, kind):
    x, _ = data
    y = x[:, 8:].mean(axis=1)
    model = make_pipeline(FunctionTransformer(np.cumsum, kw_args={"axis": 1}), SSMRegressor(**KINDS[kind]))
    assert model.fit(x, y).predict(x).shape == (48,)
    vote = VotingRegressor([("one", SSMRegressor(**KINDS[kind])), ("two", SSMRegressor(**KINDS[kind]))]).fit(x, y)
    assert vote.score(x, y) > 0.5
    assert clone(model).get_params()["ssmregressor__random_state"] == 0


def test_features_as_frames(data):
    x, y = data
    model = make_pipeline(StateSpaceFeatures(**FAST), StandardScaler(), LogisticRegression()).set_output(
        transform="pandas"
    )
    assert model.fit(x, y).score(x, y) > 0.9
    assert model[:1].transform(x[:2]).shape == (2, 8960)


@pytest.mark.parametrize(("kind", "head"), [("features", "auto"), ("backbone", "auto"), ("backbone", "linear")])
@pytest.mark.parametrize("count", [2, 3])
def test_shapes_of_scores_and_sums_of_probabilities(data, kind, count, head):
    x, y = data
    some = y != "c" if count == 2 else np.ones(48, bool)
    model = SSMClassifier(**KINDS[kind], head=head).fit(x[some], y[some])
    scores, cosines = model.decision_function(x), model.class_scores(x)
    assert scores.shape == ((48,) if count == 2 else (48, 3))
    assert cosines.shape == model.predict_proba(x).shape == (48, count)
    np.testing.assert_allclose(model.predict_proba(x).sum(axis=1), 1, rtol=1e-12)
    answered = model.classes_[(scores > 0).astype(int) if count == 2 else scores.argmax(axis=1)]
    assert answered.tolist() == model.predict(x).tolist()
    assert (model.classes_[model.predict_proba(x).argmax(axis=1)] == model.predict(x)).all()


def test_what_estimators_say_about_themselves():
    for estimator in (SSMClassifier, SSMRegressor, StateSpaceFeatures):
        tags = get_tags(estimator()).input_tags
        assert (tags.two_d_array, tags.three_d_array, tags.allow_nan, tags.sparse) == (True, True, True, False)
        assert not get_tags(estimator(missing="refuse")).input_tags.allow_nan
    assert get_tags(SSMRegressor()).target_tags.multi_output
    assert not get_tags(SSMRegressor(head="prototype")).target_tags.multi_output
    assert get_tags(SSMClassifier()).classifier_tags.multi_class
    assert get_tags(SSMClassifier()).estimator_type == "classifier"
    assert get_tags(StateSpaceFeatures()).transformer_tags.preserves_dtype == ["float32"]
