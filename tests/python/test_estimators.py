"""scikit-learn estimators: learning, rejection, pickling, and scikit-learn's own checks."""

import copy
import pickle
import subprocess
import sys
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd
import pytest

pytest.importorskip("sklearn")

from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.metrics import r2_score
from sklearn.model_selection import GridSearchCV, cross_val_score, cross_validate
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.utils.estimator_checks import parametrize_with_checks

from ssm_hpn import Trainer
from ssm_hpn.errors import ConfigError, ShapeError
from ssm_hpn.estimators import SSMClassifier, SSMRegressor

BACKBONE: dict[str, Any] = {"kind": "backbone", "n_layers": 1, "random_state": 0, "threads": 1}
SMALL: dict[str, Any] = BACKBONE | {"d_model": 16, "d_state": 4}


def waves(count: int, *, seed: int, lengths: tuple[int, int] = (30, 60)) -> tuple[list[np.ndarray], np.ndarray]:
    """Two channels; the class is the frequency. Lengths differ."""
    random = np.random.default_rng(seed)
    names = np.array(["slow", "middle", "fast"])
    series, labels = [], []
    for n in range(count):
        t = np.arange(random.integers(*lengths))
        frequency = (0.05, 0.15, 0.35)[n % 3]
        phase = random.uniform(0, 2 * np.pi)
        clean = np.stack([np.sin(2 * np.pi * frequency * t + phase), np.cos(2 * np.pi * frequency * t + phase)], axis=1)
        series.append(5 + 3 * clean + random.normal(0, 0.6, clean.shape))
        labels.append(names[n % 3])
    return series, np.array(labels)


@pytest.fixture(scope="module")
def trained() -> SSMClassifier:
    series, labels = waves(90, seed=0)
    return SSMClassifier(**SMALL, steps=150).fit(series, labels)


def test_it_learns_series_of_different_lengths(trained: SSMClassifier) -> None:
    series, labels = waves(60, seed=1)
    assert trained.score(series, labels) > 0.95
    assert trained.classes_.tolist() == ["fast", "middle", "slow"]
    probabilities = trained.predict_proba(series)
    assert probabilities.shape == (60, 3)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-12)
    assert (trained.classes_[probabilities.argmax(axis=1)] == trained.predict(series)).all()
    cosines = trained.decision_function(series)
    assert np.abs(cosines).max() <= 1 + 1e-6


def test_a_series_has_the_same_scores_alone_and_among_others(trained: SSMClassifier) -> None:
    series, _ = waves(20, seed=2)
    together = trained.decision_function(series)
    for index in (0, 7, 19):
        np.testing.assert_allclose(trained.decision_function([series[index]])[0], together[index], rtol=0, atol=1e-5)


def test_series_far_from_every_class_are_rejected(trained: SSMClassifier) -> None:
    series, labels = waves(60, seed=3)
    bound = float(np.quantile(trained.confidence(series), 0.05))
    careful = pickle.loads(pickle.dumps(trained)).set_params(reject_below=bound)
    known = careful.predict(series)
    assert 0.9 < (known == labels).mean() <= 0.96
    assert set(known[known != labels]) <= {"unknown", *labels}
    random = np.random.default_rng(4)
    strange = [random.normal(5, 3, (50, 2)) for _ in range(40)]
    assert (careful.predict(strange) == "unknown").mean() > 0.5
    assert careful.set_params(reject_label="none").predict(strange).tolist().count("none") > 20


def test_the_label_for_rejected_series_is_no_class() -> None:
    series, labels = waves(9, seed=0)
    with pytest.raises(ConfigError, match="reject_label: expected no label of y, found 'slow'"):
        SSMClassifier(**SMALL, steps=1, reject_below=0.5, reject_label="slow").fit(series, labels)


@pytest.mark.parametrize("options", [{"head": "linear"}, {"loss": "margin"}, {"loss": "cosine"}, {"pooling": "last"}])
def test_every_head_learns(options: dict[str, Any]) -> None:
    series, labels = waves(60, seed=5)
    model = SSMClassifier(**SMALL, steps=120, **options).fit(series, labels)
    assert model.score(*waves(30, seed=6)) > 0.85
    assert np.isfinite(model.predict_proba(series)).all()


def test_the_three_forms_of_x_agree() -> None:
    random = np.random.default_rng(7)
    matrix, labels = random.normal(size=(20, 12)), np.arange(20) % 2
    models = [SSMClassifier(**SMALL, steps=5).fit(x, labels) for x in (matrix, matrix[:, :, None], list(matrix))]
    scores = [
        model.decision_function(x) for model, x in zip(models, (matrix, matrix[:, :, None], list(matrix)), strict=True)
    ]
    np.testing.assert_array_equal(scores[0], scores[1])
    np.testing.assert_array_equal(scores[0], scores[2])


def test_the_same_seed_gives_the_same_bits_and_survives_pickling() -> None:
    series, labels = waves(30, seed=8)
    one = SSMClassifier(**SMALL, steps=10).fit(series, labels)
    two = clone(one).set_params(threads=2).fit(series, labels)
    three = pickle.loads(pickle.dumps(one))
    for other in (two, three):
        np.testing.assert_array_equal(one.decision_function(series), other.decision_function(series))
    assert clone(one).get_params() == one.get_params()


def test_the_unit_of_a_channel_does_not_matter() -> None:
    series, labels = waves(30, seed=12)
    scaled = [one * (1024, 0.25) + (0, 8192) for one in series]
    one, two = (SSMClassifier(**SMALL, steps=10).fit(x, labels).class_scores(x) for x in (series, scaled))
    np.testing.assert_allclose(one, two, rtol=0, atol=1e-3)
    raw = SSMClassifier(**SMALL, steps=10, normalize=False).fit(scaled, labels).class_scores(scaled)
    assert np.abs(raw - one).max() > 0.01


@pytest.mark.parametrize("head", ["linear", "prototype"])
def test_a_number_per_series(head: str) -> None:
    random = np.random.default_rng(9)
    x = random.normal(size=(120, 20, 2))
    y = 100 + 30 * x[:, :, 0].mean(axis=1)
    model = SSMRegressor(**SMALL, head=head, steps=250).fit(x[:90], y[:90])
    assert model.score(x[90:], y[90:]) > 0.7
    assert model.predict(x).shape == (120,)


def test_several_numbers_per_series() -> None:
    random = np.random.default_rng(10)
    x = random.normal(size=(100, 15, 2))
    y = np.stack([x[:, :, 0].mean(axis=1), 1000 * x[:, :, 1].mean(axis=1)], axis=1)
    model = SSMRegressor(**SMALL, steps=250).fit(x, y)
    assert model.predict(x).shape == (100, 2)
    assert model.score(x, y) > 0.7


@pytest.mark.parametrize("head", ["linear", "prototype"])
def test_the_unit_of_numbers_to_predict_does_not_matter(head: str) -> None:
    random = np.random.default_rng(13)
    x = random.normal(size=(60, 12, 1))
    plain = x[:, :, 0].mean(axis=1)
    plain = (plain - plain.mean()) / plain.std()
    options = SMALL | {"head": head, "steps": 80}
    expected = SSMRegressor(**options).fit(x, plain)
    for factor, shift in ((1e-6, 0.0), (50_000.0, 250_000.0), (86_400.0, 1.7e9), (1e-13, 0.0)):
        y = shift + factor * plain
        model = SSMRegressor(**options).fit(x, y)
        assert abs(model.score(x, y) - expected.score(x, plain)) < 0.01
        np.testing.assert_allclose((model.predict(x) - shift) / factor, expected.predict(x), atol=0.05)
        settings = model.trainer_.config.model
        assert settings.target.scale.mean == pytest.approx((y.mean(),))
        if head == "prototype":
            assert (settings.head.loss.low, settings.head.loss.high) == (y.min(), y.max())
            assert y.min() <= model.predict(x).min() <= model.predict(x).max() <= y.max()


def test_the_trainer_of_an_estimator_reports_and_saves_the_users_units(tmp_path: Path) -> None:
    x = np.random.default_rng(14).normal(size=(20, 6, 1))
    y = 250_000 + 50_000 * x[:, :, 0].mean(axis=1)
    model = SSMRegressor(**SMALL, steps=20).fit(x, y)
    loaded = Trainer.load(model.trainer_.save(tmp_path / "saved"))
    batch = {"features": np.stack([model.contract_.channels(one) for one in x])}
    np.testing.assert_array_equal(loaded.predict(batch)[:, 0], model.predict(x))
    found = loaded.evaluate(batch | {"sequence_values": y[:, None]}).values
    assert found["mae"] == pytest.approx(np.abs(model.predict(x) - y).mean())
    assert found["r2"] == pytest.approx(model.score(x, y))
    assert loaded.contract == model.contract_
    assert [column.role for column in loaded.contract.columns] == ["feature", "value"]


def test_constant_numbers_to_predict_give_a_warning() -> None:
    x = np.random.default_rng(15).normal(size=(8, 6, 1))
    with pytest.warns(UserWarning, match="y: every number is 5: there is nothing to learn but this one"):
        model = SSMRegressor(**SMALL, steps=2).fit(x, np.full(8, 5.0))
    assert model.contract_.scale is not None
    assert model.contract_.scale.std == (1.0,)
    with (
        pytest.warns(UserWarning, match="y: every number is 5"),
        pytest.raises(ShapeError, match="y: expected numbers that differ, found 5 for every series"),
    ):
        SSMRegressor(**SMALL, head="prototype").fit(x, np.full(8, 5.0))
    both = np.stack([np.arange(8), np.full(8, np.nan)], axis=1)
    with pytest.raises(ShapeError, match=r"y\[:, 1\]: expected a number in the training series, found NaN"):
        SSMRegressor(**SMALL).fit(x, both)


def test_several_threads_may_use_one_estimator(trained: SSMClassifier) -> None:
    parts = [waves(3 + n, seed=n)[0] for n in range(12)]
    expected = [trained.predict_proba(part) for part in parts]
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(trained.predict_proba, parts))
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one, other)
    loaded = pickle.loads(pickle.dumps(trained))  # a loaded estimator makes its session at the first call
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(loaded.predict_proba, parts))
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one, other)


def test_joblib_stores_an_estimator_and_copies_share_no_state(trained: SSMClassifier, tmp_path: Path) -> None:
    series, labels = waves(9, seed=16)
    joblib.dump(trained, tmp_path / "model.joblib")
    loaded = joblib.load(tmp_path / "model.joblib")
    np.testing.assert_array_equal(loaded.class_scores(series), trained.class_scores(series))
    assert loaded.trainer_.class_names == ["fast", "middle", "slow"]
    copied, fresh = copy.deepcopy(trained), clone(trained)
    before = trained.class_scores(series)
    copied.set_params(steps=2).fit(series, labels)
    np.testing.assert_array_equal(trained.class_scores(series), before)
    with pytest.raises(NotFittedError):
        fresh.predict(series)
    threaded = cross_val_score(clone(trained).set_params(steps=3), np.stack([one[:20] for one in series]), labels, cv=3)
    with joblib.parallel_backend("threading", n_jobs=2):
        found = cross_val_score(clone(trained).set_params(steps=3), np.stack([s[:20] for s in series]), labels, cv=3)
    np.testing.assert_array_equal(found, threaded)


def test_a_fitted_estimator_has_scikit_learns_attributes_and_errors() -> None:
    frame = pd.DataFrame(np.random.default_rng(17).normal(size=(12, 9))).add_prefix("t")
    model = SSMClassifier(**SMALL, steps=2).fit(frame, np.arange(12) % 2)
    assert model.feature_names_in_.tolist() == [f"t{k}" for k in range(9)]
    assert (model.n_features_in_, model.classes_.tolist(), model.n_iter_) == (9, [0, 1], 2)
    with pytest.raises(ValueError, match="feature names should match"):
        model.predict(frame.rename(columns={"t0": "other"}))


# ---- a class and a number together


def levels(count: int, *, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Series of a level with noise; the class is its sign, the number a million times the level."""
    random = np.random.default_rng(seed)
    level = random.uniform(-1, 1, count)
    series = level[:, None, None] + 0.05 * random.normal(size=(count, 8, 1))
    return series, np.where(level > 0, "up", "down"), 1e6 * level


def test_a_class_and_a_number_are_learned_together() -> None:
    x, y, values = levels(80, seed=0)
    model = SSMClassifier(**SMALL, steps=120).fit(x[:60], y[:60], values=values[:60])
    assert model.score(x[60:], y[60:]) > 0.85
    assert r2_score(values[60:], model.predict_values(x[60:])) > 0.9
    assert model.class_scores(x).shape == model.predict_proba(x).shape == (80, 2)
    assert model.contract_.summary()[2].startswith("target     2 classes")
    again = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(again.predict_values(x), model.predict_values(x))
    assert model.trainer_.config.model.target.kind == "joint"
    rejecting = model.set_params(reject_below=2.0)
    assert set(rejecting.predict(x)) == {"unknown"}
    folds = cross_val_score(SSMClassifier(**SMALL, steps=5), x, y, params={"values": values}, cv=2)
    assert folds.shape == (2,)


def test_each_of_class_and_number_may_be_missing() -> None:
    x, y, values = levels(30, seed=1)
    labels, gaps = y.astype(object), values.copy()
    labels[:5], gaps[3:8] = None, np.nan
    with pytest.warns(UserWarning, match="y: 2 of 30 series have no target"):
        model = SSMClassifier(**SMALL, steps=5).fit(x, labels, values=gaps)
    kept = np.arange(30)[~np.isin(np.arange(30), [3, 4])]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        other = SSMClassifier(**SMALL, steps=5, normalize=False).fit(x[kept], labels[kept], gaps[kept])
    same = clone(model).set_params(normalize=False)
    with pytest.warns(UserWarning, match="2 of 30"):
        same.fit(x, labels, gaps)
    np.testing.assert_allclose(same.predict_values(x), other.predict_values(x), rtol=1e-9)


def test_a_long_table_names_both_columns() -> None:
    x, y, values = levels(12, seed=2)
    rows = [{"unit": n, "x": float(one[0]), "state": y[n], "load": values[n]} for n, s in enumerate(x) for one in s]
    model = SSMClassifier(**SMALL, steps=5, id="unit").fit(pd.DataFrame(rows), "state", values="load")
    assert [column.name for column in model.contract_.features] == ["x"]
    expected = SSMClassifier(**SMALL, steps=5).fit(x, y, values)
    np.testing.assert_array_equal(model.predict_values(pd.DataFrame(rows)), expected.predict_values(x))
    with pytest.raises(ShapeError, match="values: expected a column of X, found 'laod'"):
        SSMClassifier(**SMALL, id="unit").fit(pd.DataFrame(rows), "state", values="laod")


@pytest.mark.parametrize(
    ("options", "values", "message"),
    [
        ({"head": "linear"}, np.arange(12.0), "head: expected auto or prototype where values are predicted too"),
        ({"loss": "margin"}, np.arange(12.0), "loss: expected cosine where values are predicted too, found 'margin'"),
        ({}, np.zeros((12, 2)) + np.arange(12)[:, None], r"values: expected \[12\], one number per series, found"),
        ({}, np.arange(5.0), "values: expected 12 targets, one per series, found 5"),
        ({}, list("abcdefghijkl"), "values: expected numbers, found texts"),
        ({}, np.full(12, np.nan), "values: expected a number in the training series, found NaN"),
        ({}, np.where(np.arange(12) == 3, np.inf, 1.0), "Input values contains infinity"),
    ],
)
def test_wrong_numbers_beside_classes_are_refused(options: dict[str, Any], values: Any, message: str) -> None:
    x, y, _ = levels(12, seed=3)
    with pytest.raises(ValueError, match=message):
        SSMClassifier(**SMALL, **options).fit(x, y, values=values)


def test_predict_values_needs_a_fit_with_values(trained: SSMClassifier) -> None:
    with pytest.raises(ConfigError, match=r"predict_values: expected .*; pass fit\(X, y, values=numbers\)"):
        trained.predict_values(waves(3, seed=0)[0])
    with pytest.raises(NotFittedError):
        SSMClassifier().predict_values(np.zeros((2, 3, 1)))


@pytest.mark.parametrize("form", [np.asarray, list, pd.Series])
def test_numbers_beside_classes_go_through_cross_validation(form: Any) -> None:
    series, labels = waves(24, seed=5, lengths=(20, 21))
    values = np.where(labels == "fast", 900.0, 100.0) + np.arange(24)
    model = SSMClassifier(**SMALL, steps=3)
    search = GridSearchCV(model, {"lr": [1e-3, 1e-2]}, cv=2, error_score="raise")
    search.fit(np.stack(series), labels, values=form(values))
    assert search.best_estimator_.predict_values(np.stack(series)).shape == (24,)
    found = cross_validate(
        model,
        np.stack(series),
        labels,
        params={"values": form(values)},
        cv=2,
        return_estimator=True,
        error_score="raise",
    )
    halves = [one.contract_.scale.mean[0] for one in found["estimator"]]
    assert halves[0] != halves[1]
    assert np.mean(halves) == pytest.approx(values.mean())


def test_classes_of_one_series_each_give_a_warning() -> None:
    series, _ = waves(12, seed=5)
    with pytest.warns(UserWarning, match="y: each of the 12 classes has one series, and none to be like it"):
        SSMClassifier(**SMALL, steps=1).fit(series, np.array([f"c{n}" for n in range(12)]))


def test_pipelines_and_cross_validation_of_scikit_learn() -> None:
    series, labels = waves(36, seed=11, lengths=(20, 21))
    x = np.stack(series)
    assert cross_val_score(SSMClassifier(**SMALL, steps=40), x, labels, cv=3).shape == (3,)
    search = GridSearchCV(SSMClassifier(**SMALL, steps=5), {"d_state": [2, 4]}, cv=2).fit(x, labels)
    assert search.best_params_["d_state"] in (2, 4)
    pipeline = make_pipeline(FunctionTransformer(np.diff, kw_args={"axis": 1}), SSMClassifier(**SMALL, steps=5))
    assert pipeline.fit(x, labels).predict(x).shape == (36,)


@pytest.mark.parametrize(
    ("x", "y", "message"),
    [
        ([np.zeros((4, 2)), np.zeros((4, 3))], [0, 1], r"X\[1\]: expected an array \[T, 2\]"),
        ([np.zeros((4, 2)), np.zeros((0, 2))], [0, 1], r"X\[1\]: expected an array \[T, 2\] with T of at least 1"),
        ([np.zeros((4, 2)), np.full((4, 2), np.inf)], [0, 1], r"X\[1\], step 0, channel 0: expected a finite number"),
        ([np.zeros((4, 2))] * 3, [0, 1], r"y: expected 3 targets, one per series, found 2"),
        (
            [np.zeros((4, 2))] * 3,
            [0.5, 1.5, 2],
            r"y: expected classes, found Unknown label type: continuous; predict num",
        ),
        (
            np.zeros((3, 4, 2, 1)),
            [0, 1, 1],
            r"X: expected \[N, T, F\], .*found .*3, 4, 2, 1.*; reshape it to series, st",
        ),
        (np.zeros((3, 4, 2, 1, 1)).tolist(), [0, 1, 1], r"X(\[0\])?: expected .*found .*; "),
        ([np.zeros((4, 2))] * 2, [1, 1], r"y: expected at least two classes, found one class"),
    ],
)
def test_bad_input(x: Any, y: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SSMClassifier(**SMALL, steps=1).fit(x, y)


def test_other_channels_than_in_fit(trained: SSMClassifier) -> None:
    with pytest.raises(ValueError, match=r"X: expected 2 channels, as in fit, found 3; give the channels of fit"):
        trained.predict([np.zeros((5, 3))])
    with pytest.raises(ValueError, match=r"X\[1\]: expected an array \[T, 2\]"):
        trained.predict([np.zeros((5, 2)), np.zeros((5, 3))])


def test_without_scikit_learn() -> None:
    code = "import sys; sys.modules['sklearn'] = None; import ssm_hpn.estimators"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "ImportError: ssm_hpn.estimators needs scikit-learn; pip install scikit-learn" in found.stderr


CHECKED = [
    SSMClassifier(**BACKBONE, d_model=8, d_state=2, steps=30, lr=1e-2),
    SSMClassifier(**BACKBONE, d_model=8, d_state=2, steps=30, lr=1e-2, early_stopping=True, validation_fraction=0.25),
    SSMRegressor(**BACKBONE, d_model=16, d_state=4, pooling="last", steps=150, batch_size=64, lr=2e-2),
]


OF_PARTIAL_FIT = (
    "check_estimators_partial_fit_n_features",
    "check_fit_score_takes_y",
    "check_n_features_in_after_fitting",
)
"""Checks that call it."""


def fails(estimator: Any) -> dict[str, str]:
    """The weight of a series is a factor of its loss; repeated, it is also in more of the random batches."""
    reason = "a series that is repeated comes in other batches than one that counts twice"
    found = {"check_sample_weight_equivalence_on_dense_data": reason}
    if estimator.early_stopping:
        found |= dict.fromkeys(OF_PARTIAL_FIT, "partial_fit refuses early_stopping, as it holds nothing out")
    return found


@parametrize_with_checks(CHECKED, expected_failed_checks=fails)
def test_scikit_learns_own_checks(estimator: Any, check: Any) -> None:
    check(estimator)
