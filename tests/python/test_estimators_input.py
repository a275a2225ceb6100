"""What every estimator says to input that it cannot take, and its answers to input that is odd but right."""

import datetime as dt
import warnings

import numpy as np
import pandas as pd
import pytest

pytest.importorskip("sklearn")

from scipy import sparse
from sklearn.exceptions import NotFittedError

from ssm_hpn.estimators import SSMClassifier, SSMEmbedder, SSMRegressor, StateSpaceFeatures

RANDOM = np.random.default_rng(0)
N = 12
X = RANDOM.normal(size=(N, 20, 2))
LABELS = np.array(["one", "two", "three"])[np.arange(N) % 3]
NUMBERS = RANDOM.normal(size=N)
FAST = {"effort": "fast", "random_state": 0, "threads": 1}
BACKBONE = {"kind": "backbone", "d_model": 8, "n_layers": 1, "d_state": 2, "steps": 2, "random_state": 0}
ESTIMATORS = {
    "classifier": (SSMClassifier, FAST, LABELS),
    "classifier, backbone": (SSMClassifier, BACKBONE, LABELS),
    "regressor": (SSMRegressor, FAST, NUMBERS),
    "regressor, backbone": (SSMRegressor, BACKBONE, NUMBERS),
    "features": (StateSpaceFeatures, FAST, None),
    "embedder": (SSMEmbedder, FAST, None),
    "embedder with labels": (SSMEmbedder, FAST, LABELS),
}


def with_value(value, *, at):
    x = X.copy()
    x[at] = value
    return x


def answers(model, x):
    return model.transform(x) if hasattr(model, "transform") else model.predict(x)


REFUSED = {
    # ---- missing and infinite
    "infinite": (with_value(np.inf, at=(3, 4, 1)), r"X\[3\], step 4, channel 1: expected a finite number, found inf"),
    "infinite in a list": (
        list(with_value(-np.inf, at=(3, 4, 1))),
        r"X\[3\], step 4, channel 1: expected a finite number",
    ),
    "a channel of NaN": (
        with_value(np.nan, at=np.s_[:, :, 1]),
        "X, channel 1: expected a number in the training series",
    ),
    "NaN alone": (np.full_like(X, np.nan), "X, channel 0: expected a number in the training series, found NaN or None"),
    # ---- lengths and shapes
    "a series of no step": ([X[0, :0], *X[1:]], r"X\[0\]: expected an array \[T, 2\] with T of at least 1, found sh"),
    "no step": (X[:, :0], r"X\[0\]: expected an array \[T, 2\] with T of at least 1"),
    "no channel": (X[:, :, :0], r"X\[0\]: expected an array \[T, F\] with T and F of at least 1"),
    "no series": (X[:0], r"X: expected .* with N of at least 1, found \[0, 20, 2\]"),
    "an empty list": ([], r"X: expected .* with N of at least 1, found \[0\]"),
    "one dimension": (X[0, :, 0], r"X: expected .*, found \[20\] .*; Reshape your data: a single series is X\[None\]"),
    "four dimensions": (X[..., None], r"X: expected .*, found \[12, 20, 2, 1\]"),
    "a number": (3.0, "X: expected"),
    "channels of one series": (
        [*X[:-1], X[-1, :, :1]],
        r"X\[11\]: expected an array \[T, 2\].*, found shape \[20, 1\]",
    ),
    "lists of several lengths in one": ([[[1.0, 2.0], [3.0]]] * N, r"X\[0\]: expected an array, found lists of diff"),
    "a series beside a matrix": ([X[0].tolist(), [1.0, 2.0], *X[2:].tolist()], r"X\[1\]: expected an array \[T, 2\]"),
    "a gap in a list": ([*X[:5], None, *X[6:]], r"X\[5\]: expected an array \[T, F\] or \[T\], .*, found NoneType"),
    # ---- types
    "complex": (X + 0j, "X: expected real numbers, found complex ones"),
    "dates": (np.zeros((N, 20), "M8[s]"), "X: expected numbers, found dates"),
    "time spans": (np.zeros((N, 20), "m8[s]"), "X: expected numbers, found time spans"),
    "objects of dates": ([[dt.date(2020, 1, 1)] * 5] * N, r"X\[0, 0\]: expected a number, found date"),
    "numbers as texts": (X.astype(str), "X: expected numbers, found texts"),
    "named fields": (np.zeros((N, 9), [("a", "f4")]), "X: expected numbers, found named fields"),
    "sparse": (sparse.csr_matrix(X[..., 0]), "Sparse data was passed for X, but dense data is required"),
    "nothing": (None, "X: expected an array, found NoneType"),
    "a text": ("abc", "X: expected an array, found the text 'abc'"),
    "a dictionary": ({"a": [1, 2]}, "X: expected an array, found a dictionary of 'a'"),
    "a set": ({1.0, 2.0}, "X: expected an array, found set"),
    "a generator": ((one for one in X), "X: expected an array, found generator"),
    "a name twice": (
        pd.DataFrame(X[..., 0], columns=["a"] * 20),
        "X: expected columns of different names, found 'a' twice",
    ),
    # ---- sizes
    "huge": (X * 1e300, r"X\[0\], step 0, channel 0: expected numbers below 1e150, found .*; choose a larger unit"),
    "tiny": (
        X * 1e-300,
        "X, channel 0: expected numbers that differ by more than 1e-150, found .*; choose a smaller unit",
    ),
}


@pytest.mark.parametrize("name", ESTIMATORS)
@pytest.mark.parametrize("case", REFUSED)
def test_what_fit_cannot_take_is_refused_in_one_line(case, name):
    kind, options, y = ESTIMATORS[name]
    x, message = REFUSED[case]
    y = None if y is None else y[: len(x) if isinstance(x, list | np.ndarray) and x.__len__() else N]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises((ValueError, TypeError), match=message) as caught:
            kind(**options).fit(x, y)
    assert "\n" not in str(caught.value)


ODD = {
    "a series of NaN": (
        with_value(np.nan, at=3),
        r"1 of 12 series have only missing numbers \(X\[3\]\): nothing is known",
    ),
    "NaN to the end": (with_value(np.nan, at=np.s_[3, 5:]), None),
    "a constant series": (with_value(1.5, at=3), None),
    "one constant": (np.full_like(X, 2.0), r"X: constant in the training part: channel 0 \(2\), channel 1 \(2\)"),
    "constant series": (np.ones_like(X) * np.arange(N)[:, None, None], None),
    "a constant channel": (with_value(7.0, at=np.s_[:, :, 1]), r"X: constant in the training part: channel 1 \(7\)"),
    "equal series": (np.stack([X[0]] * N), None),
    "a series of one step": ([X[0, :1], *X[1:]], None),
    "series of one step": (X[:, :1], "X: it is read as series of 1 step and 2 channels"),
    "large": (X * 1e140, None),
    "far from zero": (1e12 + X, None),
    "booleans": (X > 0, None),
    "bytes": ((50 * X).astype(np.uint8), None),
    "half precision": (X.astype(np.float16), None),
    "lists in an object array": (np.array([one[: 9 + k % 3, 0].tolist() for k, one in enumerate(X)], object), None),
}


@pytest.mark.parametrize("name", ESTIMATORS)
@pytest.mark.parametrize("case", ODD)
def test_odd_series_have_finite_answers_and_what_is_doubtful_is_noted(case, name):
    kind, options, y = ESTIMATORS[name]
    x, note = ODD[case]
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        model = kind(**options).fit(x, y)
    assert len(told) == (note is not None)
    if note is not None:
        assert told[0].filename == __file__
        with pytest.warns(UserWarning, match=note):
            raise_again(told)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "X: 1 of 12 series have only missing numbers")
        found = answers(model, x)
        assert len(found) == N
        assert found.dtype.kind == "U" or np.isfinite(found).all()
        if hasattr(model, "predict_proba"):
            assert np.isfinite(model.predict_proba(x)).all()


def raise_again(told):
    for one in told:
        warnings.warn_explicit(one.message, one.category, one.filename, one.lineno)


@pytest.mark.parametrize("name", ESTIMATORS)
def test_missing_numbers_are_refused_where_missing_says_so(name):
    kind, options, y = ESTIMATORS[name]
    gap = with_value(np.nan, at=(3, 4, 1))
    with pytest.raises(
        ValueError, match=r"X\[3\], step 4, channel 1: expected a finite number, found nan; .* missing='mask'"
    ):
        kind(**options, missing="refuse").fit(gap, y)
    model = kind(**options, missing="refuse").fit(X, y)
    with pytest.raises(ValueError, match=r"X\[3\], step 4, channel 1: expected a finite number, found nan"):
        answers(model, gap)


AT_PREDICTION = {
    "more channels": (
        np.concatenate([X, X], axis=2),
        "X: expected 2 channels, as in fit, found 4; give the channels of fit",
    ),
    "less channels": (list(X[..., :1]), "X: expected 2 channels, as in fit, found 1"),
    "channels first": (
        X.transpose(0, 2, 1),
        "X: expected 2 channels, as in fit, found 20; channels seem to come first",
    ),
    "a matrix": (X[..., 0], r"X: expected \[N, T, 2\], or a list of arrays \[T, 2\], as in fit, found \[12, 20\]"),
    "one series": (X[0], r"X: expected \[N, T, 2\], .*found \[20, 2\] .*a single series is X\[None\]"),
    "infinite": (with_value(np.inf, at=(3, 4, 1)), r"X\[3\], step 4, channel 1: expected a finite number, found inf"),
    "complex": (X + 0j, "X: expected real numbers, found complex ones"),
    "texts": (["a", "b"], "X: expected numbers, as in fit, found texts"),
    "no series": ([], "X: expected"),
    "no step": ([X[0], X[0, :0]], r"X\[1\]: expected an array \[T, 2\] with T of at least 1"),
    "huge": (X * 1e300, r"X\[0\], step 0, channel 0: expected numbers below 1e150"),
}


@pytest.fixture(scope="module")
def fitted():
    return {name: kind(**options).fit(X, y) for name, (kind, options, y) in ESTIMATORS.items()}


@pytest.mark.parametrize("name", ESTIMATORS)
@pytest.mark.parametrize("case", AT_PREDICTION)
def test_what_prediction_cannot_take_is_refused_in_one_line(case, name, fitted):
    x, message = AT_PREDICTION[case]
    with pytest.raises(ValueError, match=message) as caught:
        answers(fitted[name], x)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ESTIMATORS)
def test_nothing_is_predicted_before_fit(name):
    with pytest.raises(NotFittedError):
        answers(ESTIMATORS[name][0](), X)


@pytest.mark.parametrize("name", ESTIMATORS)
def test_series_of_other_lengths_and_steps_without_numbers_are_predicted(name, fitted):
    model = fitted[name]
    warnings.filterwarnings("ignore", "X: missing numbers of 'channel .' \\(20\\), which had none in fit")
    assert len(answers(model, [X[0, :1], X[1, :7], np.concatenate([X[2], X[3]])])) == 3
    with pytest.warns(UserWarning, match=r"1 of 12 series have only missing numbers \(X\[3\]\)"):
        answers(model, with_value(np.nan, at=3))


BOTH = ("classifier", "classifier, backbone", "embedder with labels", "regressor", "regressor, backbone")
OF_CLASSES, OF_NUMBERS = BOTH[:3], BOTH[3:]
TARGETS = {
    "too few": (BOTH, LABELS[:5], NUMBERS[:5], "y: expected 12 targets, one per series, found 5"),
    "too many": (BOTH, np.arange(20) % 2, np.arange(20.0), "y: expected 12 targets, one per series, found 20"),
    "none": (BOTH[:2] + BOTH[3:], None, None, "requires y to be passed, but the target y is None"),
    "empty": (BOTH, [], [], "y: expected (12 targets, one per series, found 0|a number for each series, found shape)"),
    "NaN alone": (
        BOTH,
        np.full(N, np.nan),
        np.full(N, np.nan),
        "y: expected a (label|number).*, found NaN or None for each",
    ),
    "infinite": (
        BOTH,
        np.where(NUMBERS > 0, np.inf, 1.0),
        np.where(NUMBERS > 0, np.inf, 1.0),
        "Input y contains infinity",
    ),
    "complex": (BOTH, NUMBERS + 0j, NUMBERS + 0j, "y: expected .*, found complex"),
    "dates": (
        BOTH,
        np.arange(N).astype("M8[D]"),
        np.arange(N).astype("M8[D]"),
        "y: expected .*, found (datetime64|dates)",
    ),
    "a text": (BOTH, "y", "y", "y: expected an array, found the text 'y'"),
    "a dictionary": (BOTH, {"a": 1}, {"a": 1}, "y: expected an array, found a dictionary of 'a'"),
    "lists of several lengths": (
        BOTH,
        [[1], [2, 3]] * 6,
        [[1], [2, 3]] * 6,
        "y: expected an array, found lists of diff",
    ),
    "sparse": (
        BOTH,
        sparse.csr_matrix(np.ones((N, 1))),
        sparse.csr_matrix(np.ones((N, 1))),
        "y: expected a dense array",
    ),
    "texts as numbers": (OF_NUMBERS, None, LABELS, "y: expected numbers, found texts"),
    "huge numbers": (OF_NUMBERS, None, 1e300 * NUMBERS, "y: expected numbers below 1e150, found"),
    "one class": (OF_CLASSES, ["a"] * N, None, "y: expected at least two classes, found one class"),
    "fractions": (OF_CLASSES, NUMBERS, None, "y: expected classes, found Unknown label type: continuous"),
    "huge fractions": (
        OF_CLASSES,
        1e300 * np.arange(N),
        None,
        "y: expected classes, found Unknown label type: continuous",
    ),
    "rows of ones and zeros": (
        OF_CLASSES,
        np.eye(N),
        None,
        r"y: expected \[12\], one label per series, found \[12, 12\]",
    ),
    "several types": (OF_CLASSES, [1, "a"] * 6, None, "y: expected labels of one type, found integer and text"),
}


@pytest.mark.parametrize(("case", "name"), [(case, name) for case, row in TARGETS.items() for name in row[0]])
def test_wrong_targets_are_refused_in_one_line(case, name):
    kind, options, _ = ESTIMATORS[name]
    _, labels, numbers, message = TARGETS[case]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises((ValueError, TypeError), match=message) as caught:
            kind(**options).fit(X, labels if name in OF_CLASSES else numbers)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", OF_CLASSES)
def test_a_class_of_one_series_is_learned(name):
    kind, options, _ = ESTIMATORS[name]
    y = np.where(np.arange(N) == 5, "rare", "usual")
    x = with_value(9 + X[5], at=5)
    model = kind(**options).fit(x, y)
    assert model.classes_.tolist() == ["rare", "usual"]
    assert len(answers(model, x)) == N
    if name == "classifier":
        assert model.predict(x).tolist() == y.tolist()
