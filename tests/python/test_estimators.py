"""scikit-learn estimators: they learn, they reject, they obey scikit-learn's own rules."""

import pickle
import subprocess
import sys
from typing import Any

import numpy as np
import pytest

pytest.importorskip("sklearn")

from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.utils.estimator_checks import parametrize_with_checks

from ssm_hpn.errors import ConfigError
from ssm_hpn.estimators import SSMClassifier, SSMRegressor

SMALL: dict[str, Any] = {"d_model": 16, "n_layers": 1, "d_state": 4, "random_state": 0}


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


def test_what_is_near_no_class_is_rejected(trained: SSMClassifier) -> None:
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
    two = clone(one).set_params(threads=1).fit(series, labels)
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


def test_it_works_inside_scikit_learns_tools() -> None:
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
        ([np.zeros((4, 2))] * 2, [1, 1], r"y: expected at least two classes, found one class"),
    ],
)
def test_bad_input(x: Any, y: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SSMClassifier(**SMALL, steps=1).fit(x, y)


def test_other_channels_than_in_fit(trained: SSMClassifier) -> None:
    with pytest.raises(ValueError, match=r"expected an array \[T, 2\]"):
        trained.predict([np.zeros((5, 3))])


def test_without_scikit_learn() -> None:
    code = "import sys; sys.modules['sklearn'] = None; import ssm_hpn.estimators"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "ImportError: ssm_hpn.estimators needs scikit-learn; pip install scikit-learn" in found.stderr


CHECKED = [
    SSMClassifier(**SMALL, steps=60),
    SSMRegressor(d_model=32, n_layers=1, d_state=4, pooling="last", steps=400, lr=6e-3, random_state=0),
]


@parametrize_with_checks(CHECKED)
def test_scikit_learns_own_checks(estimator: Any, check: Any) -> None:
    check(estimator)
