"""Weights of series and classes in the estimators."""

import pickle

import numpy as np
import pandas as pd
import pytest

pytest.importorskip("sklearn")

from sklearn.calibration import CalibratedClassifierCV
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline

from ssm_hpn.errors import ConfigError, ShapeError
from ssm_hpn.estimators import SSMClassifier, SSMRegressor
from test_estimators import waves

FAST = {"effort": "fast", "random_state": 0, "threads": 1}


def rare(count: int, every: int, *, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Noise; some series, evenly spread, have a weak wave in it."""
    random = np.random.default_rng(seed)
    labels = np.arange(count) % every == 0
    wave = 0.5 * np.sin(np.arange(50))
    return random.normal(size=(count, 50)) + labels[:, None] * wave, np.where(labels, "wave", "noise")


def test_balanced_classes_find_more_of_a_rare_one():
    train, test = rare(200, 20, seed=0), rare(200, 2, seed=1)
    of_class = test[1] == "wave"
    found = {
        str(given): (SSMClassifier(**FAST, class_weight=given).fit(*train).predict(test[0]) == "wave")[of_class].mean()
        for given in (None, "balanced", {"wave": 100.0})
    }
    assert found["None"] + 0.15 < found["balanced"] < found["{'wave': 100.0}"]


@pytest.mark.parametrize("estimator", [SSMClassifier, SSMRegressor])
def test_series_of_weight_zero_take_no_part(estimator):
    series, labels = waves(45, seed=2)
    y = labels if estimator is SSMClassifier else np.array([float(len(one)) for one in series])
    other = y.copy()
    other[30:] = y[30:][::-1]
    weights = (np.arange(45) < 30) * 2.0
    answers = {
        name: model.decision_function(series) if estimator is SSMClassifier else model.predict(series)
        for name, model in {
            "none": estimator(**FAST).fit(series[:30], y[:30]),
            "zero": estimator(**FAST).fit(series, other, sample_weight=weights),
            "one": estimator(**FAST).fit(series, other, sample_weight=weights + 1e-2),
        }.items()
    }
    np.testing.assert_array_equal(answers["zero"], answers["none"])
    assert np.abs(answers["one"] - answers["none"]).max() > 1e-3


def test_weights_of_numbers_beside_classes_and_of_series_without_a_label():
    series, labels = waves(40, seed=3)
    numbers = np.array([float(len(one)) for one in series])
    weights = np.ones(40)
    weights[10:20] = 0
    some, wrong = labels.astype(object), numbers.copy()
    some[:5], wrong[10:20] = None, 1e6
    model = SSMClassifier(**FAST).fit(series, some, values=wrong, sample_weight=weights)
    assert np.abs(model.predict_values(series)).max() < 1e3
    assert model.score(series, labels, sample_weight=weights) > 0.9


def test_a_long_table_names_the_column_of_weights():
    series, labels = waves(30, seed=4)
    parts = [
        pd.DataFrame({"id": n, "x": one[:, 0], "label": label, "weight": 1.0 + n % 3})
        for n, (one, label) in enumerate(zip(series, labels, strict=True))
    ]
    table = pd.concat(parts, ignore_index=True)
    model = SSMClassifier(**FAST, id="id").fit(table, "label", sample_weight="weight")
    assert model.n_channels_ == 1
    same = SSMClassifier(**FAST).fit([one[:, :1] for one in series], labels, sample_weight=1.0 + np.arange(30) % 3)
    np.testing.assert_array_equal(
        model.class_scores(table[["id", "x"]]), same.class_scores([one[:, :1] for one in series])
    )
    assert model.score(table, "label", sample_weight="weight") > 0.9


def test_weights_reach_estimators_inside_of_others():
    x, y = rare(60, 2, seed=5)
    weights = np.linspace(0, 2, 60)
    search = GridSearchCV(SSMClassifier(**FAST), {"class_weight": [None, {"wave": 3}]}, cv=2)
    assert search.fit(x, y, sample_weight=weights).predict(x).shape == (60,)
    assert CalibratedClassifierCV(SSMClassifier(**FAST), cv=2).fit(x, y, sample_weight=weights).predict(x).shape == (
        60,
    )
    model = make_pipeline("passthrough", SSMClassifier(**FAST)).fit(x, y, ssmclassifier__sample_weight=weights)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(model)).predict_proba(x), model.predict_proba(x))


WRONG = [
    (np.ones(5), r"sample_weight: expected \[12\], one weight per series, found \[5\]"),
    (1.0, r"sample_weight: expected \[12\], one weight per series, found \[\]"),
    (-np.ones(12), r"sample_weight\[0\]: expected finite numbers, none below 0, found -1"),
    ([1.0] * 11 + [np.nan], r"sample_weight\[11\]: expected finite numbers, none below 0, found nan"),
    (["a"] * 12, "sample_weight: expected numbers, found texts"),
    (np.zeros(12), "sample_weight: expected a weight above 0, found zero for each series"),
]


@pytest.mark.parametrize(("weights", "message"), WRONG)
@pytest.mark.parametrize("estimator", [SSMClassifier, SSMRegressor])
def test_wrong_weights_are_refused_in_fit_and_score(estimator, weights, message):
    x = np.random.default_rng(6).normal(size=(12, 20))
    y = np.arange(12) % 2
    with pytest.raises(ShapeError, match=message):
        estimator(**FAST).fit(x, y, sample_weight=weights)
    model = estimator(**FAST).fit(x, y)
    with pytest.raises(ShapeError, match=message):
        model.score(x, y, sample_weight=weights)


@pytest.mark.filterwarnings("ignore:.*every number is 0")
def test_weights_have_to_leave_enough():
    x = np.random.default_rng(7).normal(size=(12, 20))
    y = np.arange(12) % 2
    with pytest.raises(ShapeError, match="expected at least two classes with a weight above 0, found 1 class"):
        SSMClassifier(**FAST).fit(x, y, sample_weight=y)
    with pytest.raises(ShapeError, match="expected at least two classes with a weight above 0, found 1 class"):
        SSMClassifier(**FAST, class_weight={1: 0}).fit(x, y)
    with pytest.raises(ShapeError, match="y: expected numbers of at least 2 series of a weight above 0, found 1"):
        SSMRegressor(**FAST).fit(x, y, sample_weight=np.arange(12) == 3)
    one = np.stack([y, np.where(y == 0, y, np.nan)], axis=1)
    one[2:, 1] = np.nan
    with pytest.raises(ShapeError, match=r"y\[:, 1\]: expected numbers of at least 2 series, found 1"):
        SSMRegressor(**FAST).fit(x, one)


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        (
            "even",
            ConfigError,
            "class_weight: expected None, 'balanced' or a dictionary of numbers by label, found 'even'",
        ),
        (np.ones(2), ConfigError, r"class_weight: expected None, .*, found array\(\[1., 1.\]\)"),
        ({0: -1}, ConfigError, r"class_weight\[0\]: expected a finite number, not below 0, found -1"),
        ({0: np.nan}, ConfigError, r"class_weight\[0\]: expected a finite number, not below 0, found nan"),
        ({0: "much"}, ConfigError, r"class_weight\[0\]: expected a finite number, not below 0, found 'much'"),
        (
            {7: 2},
            ConfigError,
            r"class_weight: expected labels of y \(0, 1\) as keys, found 7; write them as the labels",
        ),
        ({"0": 2}, ConfigError, r"class_weight: expected labels of y \(0, 1\) as keys, found '0'"),
    ],
)
def test_wrong_weights_of_classes_are_refused(given, error, message):
    x = np.random.default_rng(8).normal(size=(12, 20))
    with pytest.raises(error, match=message):
        SSMClassifier(**FAST, class_weight=given).fit(x, np.arange(12) % 2)


@pytest.mark.parametrize(
    ("kind", "labels", "given"),
    [
        ("features", ["1", "2"], {"1": 2, "2": 1}),
        ("features", ["1", "x"], {"1": 2}),
        ("backbone", ["1", "x"], {"1": 2}),
        ("parts", ["1", "x"], {"1": 2}),
        ("backbone", ["a", "b"], {np.str_("a"): np.float32(2)}),
        ("parts", ["a", "b"], {"a": 2, "b": 1, "of another part": 3}),
        ("features", [b"1", b"2"], {b"1": 2}),
        ("backbone", [b"1", b"2"], {"1": 2}),
        ("backbone", [1, 2**63 + 5], {1: 2}),
        ("backbone", [True, False], {True: 2}),
    ],
    ids=str,
)
def test_weights_go_by_labels_as_they_are_written(kind, labels, given):
    x, y = np.random.default_rng(8).normal(size=(12, 20)), np.array(labels * 6, object)
    settings = FAST if kind != "backbone" else BACKBONE | {"steps": 2}

    def call(model, **more):
        return model.partial_fit(x, y, **more) if kind == "parts" else model.fit(x, y, **more)

    found = call(SSMClassifier(**settings, class_weight=given))
    none = call(SSMClassifier(**settings))
    by_series = call(SSMClassifier(**settings), sample_weight=np.where(y == labels[0], 2.0, 1.0))
    np.testing.assert_allclose(found.class_scores(x), by_series.class_scores(x), rtol=1e-5, atol=1e-6)
    assert np.abs(found.class_scores(x) - none.class_scores(x)).max() > 1e-4


BACKBONE = {"kind": "backbone", "d_model": 16, "n_layers": 1, "d_state": 4, "random_state": 0}


def scores(model, series):
    return model.decision_function(series) if isinstance(model, SSMClassifier) else model.predict(series)


@pytest.mark.parametrize("estimator", [SSMClassifier, SSMRegressor])
def test_a_backbone_learns_by_the_weights_of_series(estimator):
    series, labels = waves(40, seed=2)
    y = labels if estimator is SSMClassifier else np.array([float(len(one)) for one in series])
    other = y.copy()
    other[30:] = y[30:][::-1]
    model = estimator(**BACKBONE, steps=20)
    none = scores(model.fit(series, y), series)
    # Weights that are all alike change nothing, whatever they are.
    np.testing.assert_array_equal(scores(model.fit(series, y, sample_weight=np.full(40, 3e-20)), series), none)
    weights = (np.arange(40) < 30) * 2.0
    zero, others = (scores(model.fit(series, given, sample_weight=weights), series) for given in (y, other))
    if estimator is SSMClassifier:  # statistics of numbers are those of all series
        np.testing.assert_array_equal(zero, others)
    assert np.abs(scores(model.fit(series, y, sample_weight=np.arange(40.0) + 1), series) - none).max() > 1e-4


def test_a_backbone_balances_classes():
    x, y = rare(48, 8, seed=3)
    model = SSMClassifier(**BACKBONE, steps=40, head="linear")
    found = {}
    for name, given in (("none", None), ("balanced", "balanced"), ("by hand", {"wave": 42.0, "noise": 6.0})):
        found[name] = model.set_params(class_weight=given).fit(x, y).predict_proba(x)[:, 1].mean()
    # Half of the weight is on the rare class, and so half of the probability.
    assert abs(found["none"] - 1 / 8) < 0.1
    assert abs(found["balanced"] - 1 / 2) < 0.15
    assert found["by hand"] == pytest.approx(found["balanced"], abs=1e-4)
    parts = SSMClassifier(**BACKBONE, class_weight={"wave": 2.0}).partial_fit(x, y, classes=["noise", "wave"])
    assert parts.predict(x).shape == (48,)


def test_a_backbone_is_stopped_by_held_out_series_without_weights():
    x, y = rare(60, 2, seed=4)
    model = SSMClassifier(**BACKBONE, steps=20, early_stopping=True, validation_fraction=0.2)
    model.fit(x, y, sample_weight=np.linspace(0, 2, 60))
    assert len(model.validation_scores_) > 0
