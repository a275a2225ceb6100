"""Input of estimators: arrays and lists of any package, labels of any type, and refusals in one line."""

import pickle
import warnings
from decimal import Decimal

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from ssm_hpn.errors import ConfigError, ShapeError
from ssm_hpn.estimators import SSMClassifier, SSMRegressor
from ssm_hpn.series import labels_of
from ssm_hpn.series_forms import series_of
from test_arrays import Tensor, read_only

SMALL = {"kind": "backbone", "d_model": 8, "n_layers": 1, "d_state": 2, "random_state": 0, "steps": 2}
RANDOM = np.random.default_rng(0)
X = RANDOM.normal(size=(12, 9, 2)).astype(np.float32)
Y = np.arange(12) % 3
NUMBERS = 1e5 + 1e4 * RANDOM.normal(size=12)
RAGGED = [one[: 4 + index % 5] for index, one in enumerate(X)]


def classifier(**options):
    return SSMClassifier(**(SMALL | options))


@pytest.fixture(scope="module")
def scores():
    """Scores of a model for the series of X, and for those of different lengths."""
    return classifier().fit(X, Y).class_scores(X), classifier().fit(RAGGED, Y).class_scores(RAGGED)


def objects(values):
    found = np.empty(len(values), object)
    found[:] = values
    return found


FORMS = {
    "double": X.astype(np.float64),
    "long double": X.astype(np.longdouble),
    "big-endian": X.astype(">f8"),
    "objects": X.astype(object),
    "lists": X.tolist(),
    "tuples": tuple(tuple(map(tuple, one)) for one in X.tolist()),
    "Fortran order": np.asfortranarray(X),
    "negative strides": X[::-1, ::-1, ::-1].copy()[::-1, ::-1, ::-1],
    "read-only": read_only(X.copy()),
    "nothing masked": np.ma.masked_array(X, mask=np.zeros(X.shape, bool)),
    "memory": memoryview(X),
    "list of arrays": list(X),
    "tuple of arrays": tuple(X),
    "object array of arrays": objects(list(X)),
    "tensor": Tensor(X, follows=True),
    "list of tensors": [Tensor(one) for one in X],
    "list of pandas frames": [pd.DataFrame(one, columns=["a", "b"]) for one in X],
    "list of polars frames": [pl.DataFrame(one, schema=["a", "b"]) for one in X],
    "list of Arrow tables": [pa.table({"a": one[:, 0], "b": one[:, 1]}) for one in X],
    "pandas Series of arrays": pd.Series(list(X)),
    "polars Series of arrays": pl.Series(X),
    "list of lists": [one.tolist() for one in X],
    "frames in several orders of columns": [
        pd.DataFrame(one, columns=["a", "b"])[["b", "a"] if n % 2 else ["a", "b"]] for n, one in enumerate(X)
    ],
}
"""The same series in every form."""
METHODS = ("class_scores", "decision_function", "predict_proba", "predict", "confidence", "predict_values")


@pytest.fixture(scope="module")
def fitted():
    """A classifier of X with numbers beside the classes, and a regressor."""
    return classifier().fit(X, Y, values=NUMBERS), SSMRegressor(**SMALL).fit(X, NUMBERS)


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_the_same_series_trains_the_same_model(form, fitted):
    again = classifier().fit(FORMS[form], Y, values=NUMBERS)
    np.testing.assert_array_equal(again.class_scores(X), fitted[0].class_scores(X))
    np.testing.assert_array_equal(SSMRegressor(**SMALL).fit(FORMS[form], NUMBERS).predict(X), fitted[1].predict(X))


NAMELESS = pytest.mark.filterwarnings("ignore:X. the columns a, b are taken for the channels in this order")


@NAMELESS
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("method", METHODS)
def test_every_form_of_the_same_series_has_the_same_predictions(form, method, fitted):
    np.testing.assert_array_equal(getattr(fitted[0], method)(FORMS[form]), getattr(fitted[0], method)(X))


@NAMELESS
@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_the_same_series_has_the_same_score(form, fitted):
    for model, y in zip(fitted, (Y, NUMBERS), strict=True):
        assert model.score(FORMS[form], y) == model.score(X, y)
    np.testing.assert_array_equal(fitted[1].predict(FORMS[form]), fitted[1].predict(X))


@pytest.mark.parametrize("form", [list, tuple, objects, lambda x: [one.tolist() for one in x], pd.Series])
def test_series_of_different_lengths(form, scores):
    np.testing.assert_array_equal(classifier().fit(form(RAGGED), Y).class_scores(form(RAGGED)), scores[1])


def test_booleans_and_integers_are_numbers():
    for dtype in (bool, np.uint64, np.int8):
        x = (X > 0).astype(dtype)
        expected = classifier().fit(x.astype(float), Y).class_scores(x.astype(float))
        np.testing.assert_array_equal(classifier().fit(list(x), Y).class_scores(x), expected)


def test_ragged_lists_of_numbers_are_univariate_series():
    x = [one[:, 0].tolist() for one in RAGGED]
    assert classifier().fit(x, Y).n_channels_ == 1


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (X + 1j, "X: expected real numbers, found complex ones"),
        (list(X + 0j), r"X\[0\]: expected real numbers, found complex ones"),
        (X.astype(str), "X: expected numbers, found texts"),
        (np.zeros((12, 3), "M8[s]"), "X: expected numbers, found dates"),
        ([*X[:-1], X[-1].astype(str)], r"X\[11\]: expected numbers, found texts"),
        ([*X[:-1], X], r"X\[11\]: expected an array \[T, F\] or \[T\], found shape \[12, 9, 2\]"),
        ([*X[:-1], {"a": 1}], r"X\[11\]: expected an array, found a dictionary of 'a'"),
        (X[..., None], r"X: expected \[N, T, F\], .*, found \[12, 9, 2, 1\]"),
        ([], r"X: expected \[N, T, F\], \[N, T\] or a list of N arrays \[T, F\], with N of at least 1, found \[0\]"),
        (X[:0], r"X: expected \[N, T, F\].* with N of at least 1, found \[0, 9, 2\]"),
        (X[:, :0], r"X\[0\]: expected an array \[T, 2\] with T of at least 1, found shape \[0, 2\]"),
        (X[:, :, :0], r"X\[0\]: expected an array \[T, F\] with T and F of at least 1, found shape \[9, 0\]"),
        ([*X[:-1], None], r"X\[11\]: expected an array \[T, F\] or \[T\], as before or behind it, found NoneType"),
        ([[1.0, 10**400]] * 12, r"X\[0, 1\]: expected a number, found a larger one than a double holds"),
        (
            X.astype(float) * 1e300,
            r"X\[0\], step 0, channel 0: expected numbers below 1e150, found .*e299; choose a larger",
        ),
        (X * [np.nan, 1], "X, channel 0: expected a number in the training series, found NaN or None for each"),
        (np.zeros((12, 9), [("a", "f4")]), "X: expected numbers, found named fields"),
        ([[1.0, {"a": 1}], [2.0, 3.0]], r"X\[0, 1\]: expected a number, found dict; the argument must be"),
        ([[1.0, "2"], [2.0, 3.0]], r"X: expected numbers, found texts"),
        (np.array([[1.0, "2"], [2.0, 3.0]], object), r"X\[0, 1\]: expected a number, found '2'"),
        ([None] * 12, "."),
        (pl.DataFrame(X[0]).lazy(), "X: expected a frame with its rows, found a LazyFrame; pass X.collect"),
        (X[0, 0, 0], "."),
        ("series", "."),
        (
            [pd.DataFrame(X[0], columns=["a", "b"]), pd.DataFrame(X[1], columns=["a", "c"])],
            r"X\[1\]: expected columns a, b",
        ),
        ([pd.DataFrame({"a": [1.0], "kind": ["x"]})] * 2, r"X\[0\]\['kind'\]\[0\]: expected a number, found 'x'"),
        (
            pd.DataFrame({"a": [1.0, 2], "id": ["m1", "m2"]}),
            r"X\['id'\]\[0\]: expected a number, found 'm1'; .*id='machine'",
        ),
        (np.where(X > 1, np.inf, X), r"X\[0\], step \d, channel \d: expected a finite number, found inf"),
    ],
)
def test_wrong_series_are_refused_with_their_place(x, message):
    with pytest.raises((ValueError, TypeError), match=message):
        classifier().fit(x, Y[: len(x)] if hasattr(x, "__len__") else Y)


def test_an_unknown_policy_for_missing_numbers_is_refused():
    with pytest.raises(ValueError, match=r"missing: expected mask \| forward \| zero \| refuse, found 'drop'"):
        classifier(missing="drop").fit(X, Y)


def test_one_series_is_not_taken_for_many():
    model = classifier().fit(X, Y)
    with pytest.raises(ValueError, match=r"X: expected \[N, T, 2\].*found \[9, 2\] .*a single series is X\[None\]"):
        model.predict(X[0])
    univariate = classifier().fit([one[:, 0] for one in X], Y)
    np.testing.assert_array_equal(univariate.predict(X[..., 0]), univariate.predict(X[..., :1]))


# ---- missing numbers


def test_missing_numbers_get_an_indicator_fixed_by_the_training_series():
    gaps = X.copy()
    gaps[::2, 3:5, 1] = np.nan
    model = classifier().fit(gaps, Y)
    assert model.contract_.channel_names == ["channel 0", "channel 1", "channel 1 missing", "channel 1 since seen"]
    assert model.trainer_.config.model.input.n_features == 4
    assert np.isfinite(model.class_scores(X)).all()
    other = X.copy()
    other[0, 0, 0] = np.nan
    with pytest.warns(
        UserWarning, match=r"X: missing numbers of 'channel 0' \(1\), which had none in fit, are"
    ) as told:
        found = model.class_scores(other)
    assert told[0].filename == __file__
    other[0, 0, 0] = model.contract_.features[0].mean
    np.testing.assert_array_equal(found, model.class_scores(other))
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(model)).class_scores(gaps), model.class_scores(gaps))
    for missing in ("forward", "zero"):
        assert classifier(missing=missing).fit(gaps, Y).contract_.n_channels == 2
    with pytest.raises(ValueError, match=r"X\[0\], step 3, channel 1: expected a finite number, found nan"):
        classifier(missing="refuse").fit(gaps, Y)
    with pytest.raises(ValueError, match="NaN"):
        classifier(missing="refuse").fit(gaps[..., 1], Y)


def test_tiny_units_are_no_constants_and_large_offsets_keep_their_changes():
    expected = classifier().fit(X.astype(float), Y).class_scores(X.astype(float))
    for x in (X * 1e-13, X.astype(float) * 2.0**-60, 1.7e9 + X.astype(float) * 2.0):
        np.testing.assert_allclose(classifier().fit(x, Y).class_scores(x), expected, atol=1e-3)
    constant = np.concatenate([X, np.full((12, 9, 1), 0.1, np.float32)], axis=2)
    with pytest.warns(UserWarning, match="X: constant in the training part"):
        assert classifier().fit(constant, Y).contract_.features[2].std == 1


# ---- labels


@pytest.mark.parametrize(
    "labels",
    [
        [-1, 1],
        [3, 4, 5],
        [1001, 9009],
        [20240101, 20240102],
        [0.0, 1.0, 2.0],
        [True, False],
        ["007", "8"],
        ["", "nan"],
        [b"cat", b"dog"],
        np.array([2**63, 2**63 + 2], np.uint64),
        np.array([1, 2], ">i4"),
        pd.Categorical(["b", "a"]),
        pd.Series(["x", "y"], dtype="string"),
        pl.Series(["x", "y"], dtype=pl.Categorical),
        pd.Series([1, 2], dtype="Int64"),
        Tensor([5, 7]),
    ],
)
def test_predictions_have_the_type_of_the_labels(labels):
    values = np.asarray(labels.values if isinstance(labels, Tensor) else labels)
    y = values[np.arange(12) % len(values)]
    model = classifier().fit(X, y)
    assert set(model.classes_.tolist()) == set(values.tolist())
    answers = model.predict(X)
    assert set(answers.tolist()) <= set(values.tolist())
    assert {type(one) for one in answers.tolist()} == {type(one) for one in values.tolist()}
    rejecting = model.set_params(reject_below=2.0, reject_label=b"?" if values.dtype.kind == "S" else "?")
    assert set(rejecting.predict(X).tolist()) <= {"?", b"?"}
    some = model.set_params(reject_below=float(np.median(model.confidence(X)))).predict(X).tolist()
    assert {type(one) for one in some} <= {type(one) for one in values.tolist()} | {str, bytes}
    assert set(some) <= {"?", b"?", *values.tolist()}


NAMES = np.array(["one", "two", "three"])[Y]


@pytest.mark.parametrize(
    ("y", "plain"),
    [
        (Y.tolist(), Y),
        (range(12), np.arange(12)),
        (Y.astype(np.uint64), Y),
        (Y.astype(">i8"), Y),
        (Y.astype(float), Y),
        (Y.astype(object), Y),
        (Tensor(Y), Y),
        (pd.Series(Y, index=range(20, 32)), Y),
        (pd.Series(Y, dtype="Int64"), Y),
        (pd.Series(Y, dtype=pd.ArrowDtype(pa.int64())), Y),
        (pl.Series(Y), Y),
        (pa.array(Y), Y),
        (pa.chunked_array([Y[:5], Y[5:]]), Y),
        (NAMES.tolist(), NAMES),
        (NAMES.astype(object), NAMES),
        (NAMES.astype("S"), NAMES),
        (pd.Categorical(NAMES), NAMES),
        (pd.Series(NAMES, dtype="string"), NAMES),
        (pl.Series(NAMES, dtype=pl.Categorical), NAMES),
        (pl.Series(NAMES, dtype=pl.Enum(["three", "two", "one"])), NAMES),
        (pa.array(NAMES.tolist()).dictionary_encode(), NAMES),
        (pl.Series(Y == 1), Y == 1),
        (pa.array(Y == 1), Y == 1),
        ([bool(one) for one in Y == 1], Y == 1),
    ],
)
@pytest.mark.filterwarnings("ignore:y. each of the 12 classes has one series")
def test_every_form_of_the_same_labels_trains_and_scores_alike(y, plain):
    model, expected = classifier().fit(X, y), classifier().fit(X, plain)
    np.testing.assert_array_equal(model.class_scores(X), expected.class_scores(X))
    assert model.contract_.classes.names[: len(set(plain.tolist()))] == [
        name + (".0" if model.classes_.dtype.kind == "f" else "") for name in expected.contract_.classes.names
    ]
    assert model.score(X, y) == expected.score(X, plain)


@pytest.mark.parametrize(
    "gaps", [pd.Series([1, None, 2, 2], dtype="Int64"), pa.array([1, None, 2, 2]), pl.Series([1, None, 2, 2])]
)
def test_whole_numbers_beside_missing_labels_stay_whole_numbers(gaps):
    for y in (gaps, np.ma.masked_array([1, 5, 2, 2], mask=[False, True, False, False])):
        with pytest.warns(UserWarning, match="y: 1 of 4 series have no target .* are not trained on"):
            model = classifier().fit(X[:4], y)
        assert {type(one) for one in model.predict(X).tolist()} == {int}


@pytest.mark.parametrize("estimator", [SSMClassifier, SSMRegressor])
def test_constant_channels_give_a_warning_in_the_words_of_files(estimator):
    x = np.concatenate([X, np.full((12, 9, 1), 4.0)], axis=2)
    with pytest.warns(UserWarning, match=r"^X: constant in the training part: channel 2 \(4\)$"):
        estimator(**SMALL).fit(x, Y)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        estimator(**SMALL).fit(X, Y)


def test_channels_far_outside_of_those_in_fit_give_a_warning():
    random = np.random.default_rng(3)
    x, y = random.normal(20, 2, (30, 12, 2)), np.arange(30) % 2
    model = classifier().fit(x, y)
    lo, hi = x[:, :, 1].min(), x[:, :, 1].max()
    far = x * [1, 1e6]
    for method in (model.predict, model.class_scores, lambda z: model.score(z, y)):
        with pytest.warns(UserWarning, match="unit") as caught:
            method(far)
        (said,) = [str(one.message) for one in caught]
        assert said.startswith("X: channel 1: numbers from ")
        assert said.endswith(f"in the training data from {lo:.6g} to {hi:.6g}; is the unit the same?")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model.predict(x + 3)
    numbers = SSMRegressor(**SMALL).fit(pd.DataFrame(x[:, :, 0]), x[:, 0, 0])
    with pytest.warns(UserWarning, match="is the unit the same"):
        numbers.predict(pd.DataFrame(x[:, :, 0] / 1e6 - 273))


@pytest.mark.parametrize("form", [list, lambda y: np.array(y, object)])
@pytest.mark.parametrize("pair", [(10**30, 5), (-1, 2**63), (-(10**30), None), (2**64, 1), (10**400, 1)])
def test_whole_numbers_that_no_type_of_64_bits_holds_are_refused_and_never_rounded(pair, form):
    with pytest.raises(
        ShapeError, match=r"y: expected whole numbers of 64 bits as labels, found .*; pass them as texts"
    ):
        classifier().fit(X, form([pair[k % 2] for k in range(len(X))]))


LARGE = [1, 2**63 + 1, 2**63]


@pytest.mark.parametrize("gap", [False, True])
@pytest.mark.parametrize(
    "form",
    [
        list,
        lambda y: np.array(y, object),
        lambda y: [None if one is None else np.uint64(one) for one in y],
        lambda y: pd.Series(y, dtype="UInt64"),
        lambda y: pa.array(y, pa.uint64()),
        lambda y: pl.Series(y, dtype=pl.UInt64),
    ],
)
def test_whole_numbers_of_64_bits_are_labels_as_written(form, gap):
    x = np.random.default_rng(5).normal(size=(25, 9)) + 5 * (np.arange(25) % 3)[:, None]
    y = [LARGE[k % 3] for k in range(24)] + [None if gap else 1]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "y: 1 of 25 series have no target")
        model = classifier(steps=80).fit(x, form(y))
        assert model.classes_.tolist() == sorted(LARGE)
        assert model.contract_.classes.values == tuple(sorted(LARGE))
        answers = model.predict(x)
        assert answers.dtype == np.uint64
        assert set(answers.tolist()) == set(LARGE)
        assert model.score(x, form(y)) == np.mean([a == b for a, b in zip(answers.tolist(), y, strict=True) if b])
    model.set_params(reject_below=float(np.median(model.confidence(x))))
    assert {*model.predict(x).tolist()} <= {-1, *LARGE}
    assert -1 in model.predict(x).tolist()


@pytest.mark.parametrize("trained", ["S", "U", "O"])
@pytest.mark.parametrize("scored", ["S", "U", "O", "list"])
def test_bytes_and_texts_of_the_same_letters_are_one_label(trained, scored):
    y = np.arange(24) % 2
    x = np.random.default_rng(5).normal(size=(24, 9)) + 5 * y[:, None]

    def labels(kind):
        words = [("gr\u00fcn", "rot")[k] for k in y]
        if kind == "U":
            return np.array(words)
        encoded = [word.encode() for word in words]
        return encoded if kind == "list" else np.array(encoded, None if kind == "S" else object)

    model = SSMClassifier(**SMALL | {"steps": 60}).fit(x, labels(trained))
    assert model.score(x, labels(scored)) == 1.0
    assert model.predict(x[:1])[0] == labels(trained)[0]
    model.set_params(reject_below=2.0, reject_label="none" if trained != "U" else b"none")
    assert set(model.predict(x).tolist()) == {"none" if trained == "U" else b"none"}
    model.set_params(reject_label="rot" if trained != "U" else b"rot")
    with pytest.raises(ConfigError, match="reject_label: expected no label of y"):
        model.predict(x)


def test_series_without_a_target_are_not_scored(fitted):
    model, numbers_of = fitted
    with pytest.warns(UserWarning, match="y: 4 of 12 series have no target .* are not scored"):
        found = model.score(X, np.where(Y == 1, np.nan, Y), sample_weight=np.arange(12))
    assert found == model.score(X[Y != 1], Y[Y != 1], sample_weight=np.arange(12)[Y != 1])
    gaps = np.where(Y == 1, np.nan, NUMBERS)
    assert numbers_of.score(X, gaps) == pytest.approx(numbers_of.score(X[Y != 1], NUMBERS[Y != 1]))


@pytest.mark.parametrize(
    ("y", "message"),
    [
        (np.eye(3)[Y], r"y: expected \[12\], one label per series, found \[12, 3\]; of one-hot rows pass y.argmax"),
        (Y[:5], "y: expected 12 targets, one per series, found 5"),
        (NAMES, "y: expected labels of the type integer, as in fit, found text"),
        (Y == 1, "y: expected labels of the type integer, as in fit, found boolean"),
        (np.full(12, np.nan), "y: expected labels of the type integer, as in fit, found NaN or None for each"),
        (Y.astype("M8[D]"), "y: expected labels .* found datetime64"),
    ],
)
def test_wrong_labels_in_score_are_refused(y, message, fitted):
    with pytest.raises(ValueError, match=message):
        fitted[0].score(X, y)


@pytest.mark.parametrize(
    ("y", "message"),
    [
        (NAMES, "y: expected numbers, found texts"),
        (NUMBERS[:5], "y: expected 12 targets, one per series, found 5"),
        (np.stack([NUMBERS, NUMBERS], axis=1), r"y: expected \[12\], found \[12, 2\]; give as many numbers as in fit"),
        (np.full(12, np.inf), "y contains infinity"),
    ],
)
def test_numbers_that_cannot_be_scored_are_refused(y, message, fitted):
    with pytest.raises(ValueError, match=message):
        fitted[1].score(X, y)


@pytest.mark.parametrize(
    "missing",
    [
        np.where(Y == 1, np.nan, Y),
        pd.Series(Y).where(Y != 1).astype("Int64"),
        objects([None if one == 1 else "abc"[one] for one in Y]),
        pd.Series(["abc"[one] if one != 1 else None for one in Y]),
        objects([float("nan") if one == 1 else bool(one) for one in Y]),
    ],
)
def test_a_series_without_a_label_is_left_out_with_a_warning(missing):
    with pytest.warns(UserWarning, match="y: 4 of 12 series have no target"):
        model = classifier(normalize=False).fit(X, missing)
    assert len(model.classes_) == 2
    known = Y != 1
    expected = classifier(normalize=False).fit(X[known], Y[known]).class_scores(X)
    np.testing.assert_array_equal(model.class_scores(X), expected)


@pytest.mark.parametrize(
    ("y", "message"),
    [
        (np.eye(3)[Y], r"y: expected \[12\], one label per series, found \[12, 3\]; of one-hot rows pass y.argmax"),
        (pd.get_dummies(pd.Series(Y)), r"y: expected \[12\], one label per series"),
        (Y + 0j, "y: expected labels"),
        (objects([b"1", "1"] * 6), "y: expected labels of one type, found bytes and text"),
        (objects([Decimal(one) for one in Y.tolist()]), "y: expected numbers, texts or true and false, found Decimal"),
        (np.zeros(12, [("a", "i4")]), "y: expected labels"),
        (np.arange(12).astype("M8[D]"), "y: expected labels .*found datetime64"),
        (objects([1, "1"] * 6), "y: expected labels of one type, found integer and text"),
        (objects([True, 2] * 6), "y: expected labels of one type, found boolean and integer"),
        (Y[:5], "y: expected 12 targets, one per series, found 5"),
        (np.full(12, np.nan), "y: expected a label for some of the series, found NaN or None for each"),
        (RANDOM.normal(size=12), "Unknown label type: continuous"),
        (None, "requires y"),
        ([[1], [2, 3]], "y: expected an array, found lists of different lengths"),
    ],
)
def test_wrong_labels_in_fit_are_refused(y, message):
    with pytest.raises(ValueError, match=message):
        classifier().fit(X, y)


def test_numbers_to_predict_may_be_missing():
    y = RANDOM.normal(100, 10, size=(12, 2))
    gaps = y.copy()
    gaps[0, 0] = np.nan
    gaps[1] = np.nan
    with pytest.warns(UserWarning, match="y: 1 of 12 series have no target"):
        model = SSMRegressor(**SMALL).fit(X, gaps)
    np.testing.assert_allclose(model.contract_.scale.mean, np.nanmean(gaps, axis=0))
    assert model.predict(X).shape == (12, 2)
    assert SSMRegressor(**SMALL).fit(X, y[:, 0].astype(">f4")).predict(X).shape == (12,)
    with pytest.raises(ValueError, match="y: expected numbers, found texts"):
        SSMRegressor(**SMALL).fit(X, y[:, 0].astype(str))
    with pytest.raises(ValueError, match="infinity"):
        SSMRegressor(**SMALL).fit(X, np.where(y > 100, np.inf, y))


def test_matrices_and_empty_input_are_no_series():
    assert series_of([[1, 2], [3, 4]]) is None
    assert series_of([1, 2]) is None
    assert series_of([]) is None
    assert series_of(np.zeros((0, 3, 2))) is None
    assert labels_of([1, 2]).known.all()
