"""Input of estimators: arrays of any package, long tables, labels of any type, and refusals in one line."""

import pickle
import warnings
from decimal import Decimal

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from ssm_hpn.errors import ConfigError, DataError, ShapeError
from ssm_hpn.estimators import SSMClassifier, SSMRegressor
from ssm_hpn.series import labels_of, series_of
from test_arrays import Tensor, read_only

SMALL = {"d_model": 8, "n_layers": 1, "d_state": 2, "random_state": 0, "steps": 2}
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


def test_columns_of_frames_are_taken_in_order_where_fit_had_no_names(fitted):
    frames = [pd.DataFrame(one, columns=["b", "a"]) for one in X]
    with pytest.warns(UserWarning, match="X: the columns b, a are taken for the channels in this order: fit had no"):
        np.testing.assert_array_equal(fitted[0].class_scores(frames), fitted[0].class_scores(X))


def test_columns_of_frames_are_taken_by_name():
    frames = [pd.DataFrame(one, columns=["a", "b"]) for one in X]
    model = classifier().fit(frames, Y)
    assert [column.name for column in model.contract_.features] == ["a", "b"]
    turned = [frame[["b", "a"]] for frame in frames]
    np.testing.assert_array_equal(model.class_scores(turned), model.class_scores(frames))
    with pytest.raises(ValueError, match=r"X\[0\]: expected columns a, b, found columns a"):
        model.predict([frame[["a"]] for frame in frames])


def test_a_frame_that_holds_its_labels_is_refused():
    frame = pd.DataFrame(X[..., 0]).add_prefix("t").assign(label=Y)
    with pytest.raises(ValueError, match="X: expected no column of the labels, found 'label'"):
        classifier().fit(frame, frame["label"])
    assert classifier().fit(frame.drop(columns="label"), frame["label"]).n_features_in_ == 9


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
        assert said.startswith("X: column channel 1: numbers from ")
        assert said.endswith(f"in the training data from {lo:.6g} to {hi:.6g}; is the unit the same?")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model.predict(x + 3)
    numbers = SSMRegressor(**SMALL).fit(pd.DataFrame(x[:, :, 0]), x[:, 0, 0])
    with pytest.warns(UserWarning, match="is the unit the same"):
        numbers.predict(pd.DataFrame(x[:, :, 0] / 1e6 - 273))


@pytest.mark.parametrize("form", ["frame", "long table"])
def test_sparse_frames_are_taken(form):
    random = np.random.default_rng(4)
    x = np.where(random.random((24, 9)) > 0.7, random.normal(size=(24, 9)), 0.0)
    y = np.arange(24) % 2
    dense = pd.DataFrame(x, columns=[f"t{k}" for k in range(9)])
    if form == "long table":
        dense = pd.DataFrame({"id": np.repeat(np.arange(24), 9), "x": x.ravel()})
    thin = dense.copy()
    for name in list(dense.columns)[1:]:
        thin[name] = pd.arrays.SparseArray(dense[name], fill_value=0.0)
    options = {"id": "id"} if form == "long table" else {}
    model = classifier(**options).fit(dense, y)
    again = classifier(**options).fit(thin, pd.Series(pd.arrays.SparseArray(y)))
    np.testing.assert_array_equal(again.class_scores(thin), model.class_scores(dense))


@pytest.mark.parametrize("form", [list, lambda y: np.array(y, object)])
@pytest.mark.parametrize("pair", [(10**30, 5), (10**18, 10**19), (-(10**30), None), (1, 2**63 + 1), (10**400, 1)])
def test_whole_numbers_too_large_for_a_label_are_refused_and_never_rounded(pair, form):
    with pytest.raises(
        ShapeError, match=r"y: expected whole numbers of 64 bits as labels, found .*; pass them as texts"
    ):
        classifier().fit(X, form([pair[k % 2] for k in range(len(X))]))
    labels = labels_of([2**63, 2**64 - 1])
    assert labels.classes.values == (2**63, 2**64 - 1)


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


PANDAS_TYPES = [
    *("Int8", "Int16", "Int32", "Int64", "UInt8", "UInt16", "UInt32", "UInt64", "Float32", "Float64", "boolean"),
    *(f"{kind}[pyarrow]" for kind in ("int8", "int64", "uint8", "uint64", "float", "double", "bool")),
    "Sparse[float64]",
    "object",
]
DECIMAL = pd.ArrowDtype(pa.decimal128(10, 2))
TEXT_TYPES = ["string", "string[pyarrow]", "str", "category", pd.ArrowDtype(pa.large_string())]
FORMS_OF_A_COLUMN = [lambda s: s, lambda s: s.values, lambda s: s.array, pd.Index, lambda s: s.to_frame()]


def column_of(dtype: object, values: list[object]) -> pd.Series:
    if str(dtype).startswith("decimal"):
        values = [None if one is None else Decimal(one) for one in values]
    return pd.Series(values, dtype="object" if "Sparse" in str(dtype) else dtype).astype(dtype)


@pytest.mark.filterwarnings("ignore:A column-vector y was passed")
@pytest.mark.parametrize("form", FORMS_OF_A_COLUMN)
@pytest.mark.parametrize("dtype", PANDAS_TYPES + TEXT_TYPES, ids=str)
def test_labels_of_every_type_of_pandas_are_taken_with_a_missing_one(dtype, form):
    classes = ["a", "b"] if dtype in TEXT_TYPES else [1, 0]
    labels = labels_of(form(column_of(dtype, [classes[0], None, classes[1], classes[1]])))
    assert labels.known.ravel().tolist() == [True, False, True, True]
    assert labels.classes.values == tuple(sorted(classes))
    whole = str(dtype).lower().startswith(("int", "uint"))
    assert not whole or labels.classes.type == "integer"


@pytest.mark.parametrize("form", ["list", "arrays", "frame", "long table"])
@pytest.mark.parametrize("dtype", [*PANDAS_TYPES, DECIMAL], ids=str)
def test_channels_of_every_type_of_pandas_are_taken_with_a_missing_number(dtype, form):
    column = column_of(dtype, [1, None, 0, 1])
    model = SSMClassifier(d_model=8, n_layers=1, steps=1, random_state=0)
    given = {
        "list": [column] * 4,
        "arrays": [column.values] * 4,
        "frame": pd.DataFrame({0: column, 1: column}),
        "long table": pd.DataFrame({"id": ["a", "b", "c", "d"], "x": column}),
    }[form]
    model.set_params(id="id" if form == "long table" else None).fit(given, [0, 1, 0, 1])
    plain = pd.Series([1.0, np.nan, 0.0, 1.0])
    expected = {
        "list": [plain] * 4,
        "arrays": [plain] * 4,
        "frame": np.stack([plain, plain], axis=1),
        "long table": [[[x]] for x in plain],
    }[form]
    same = SSMClassifier(d_model=8, n_layers=1, steps=1, random_state=0).fit(expected, [0, 1, 0, 1])
    assert (model.class_scores(given) == same.class_scores(expected)).all()


@pytest.mark.parametrize("dtype", TEXT_TYPES, ids=str)
def test_channels_of_texts_are_refused(dtype):
    column = column_of(dtype, ["a", None, "b", "b"])
    for given in ([column.values] * 4, pd.DataFrame({0: column})):
        with pytest.raises(ShapeError, match=r"X\[.*: expected a number, found 'a'"):
            SSMClassifier(steps=1).fit(given, [0, 1, 0, 1])


@pytest.mark.parametrize("form", FORMS_OF_A_COLUMN)
def test_decimals_are_refused_as_labels(form):
    with pytest.raises(DataError, match="y: expected numbers, texts or true and false, found Decimal"):
        labels_of(form(column_of(DECIMAL, [1, None, 0, 1])))


def test_ids_that_are_lists_are_refused():
    table = pd.DataFrame({"id": [[1], [2]], "x": [1.0, 2.0]})
    with pytest.raises(ShapeError, match="expected a name or number in every row, found a list"):
        SSMClassifier(id="id").fit(table, [0, 1])


@pytest.mark.parametrize("frame", [pd.DataFrame, pl.DataFrame, pa.table])
def test_a_long_table_without_a_row_is_refused(frame):
    table = {"id": ["a", "b"], "x": [1.0, 2.0]}
    model = SSMClassifier(id="id", d_model=8, n_layers=1, steps=1).fit(frame(table), [0, 1])
    empty = frame(table)[:0] if frame is not pa.table else frame(table).slice(0, 0)
    calls = [model.predict, model.series_ids, lambda x: model.score(x, [0, 1]), lambda x: model.fit(x, [0, 1])]
    for call in calls:
        with pytest.raises(ShapeError, match=r"X: expected a frame of at least one row, found shape \[0, 2\]"):
            call(empty)


TABLE = {"id": ["a", "a", "b", "b"], "t": [0, 1, 0, 1], "x": [1.0, 2.0, 3.0, 4.0], "y": [0, 0, 1, 1], "z": [5, 5, 6, 6]}


def test_a_table_of_polars_that_is_not_computed_yet_is_refused():
    lazy = pl.DataFrame(TABLE).lazy()
    for call, name in (
        (lambda: SSMClassifier(id="id").fit(lazy, "y"), "X"),
        (lambda: SSMClassifier().fit(lazy, [0, 1]), "X"),
        (lambda: SSMClassifier().fit([lazy, lazy], [0, 1]), "X[0]"),
        (lambda: SSMClassifier().fit(X, lazy), "y"),
    ):
        with pytest.raises(ShapeError) as caught:
            call()
        assert str(caught.value) == f"{name}: expected a frame with its rows, found a LazyFrame; pass {name}.collect()"


@pytest.mark.parametrize("keys", [["id", "t"], ["id"], ["t"]])
def test_keys_in_the_index_of_a_frame_are_refused(keys):
    table = pd.DataFrame(TABLE).set_index(keys)
    expected = "expected a column .*, found it in the index; pass X.reset_index"
    with pytest.raises(ShapeError, match=expected):
        SSMClassifier(id="id", order="t").fit(table, "y")
    classifier(id="id", order="t").fit(table.reset_index(), "y")


@pytest.mark.parametrize("names", [["y"], ("y",), ["y", "z"]])
def test_a_list_of_names_is_no_target(names):
    advice = "pass y='y'" if len(names) == 1 else r"pass the columns themselves, X\[\['y', 'z'\]\]"
    with pytest.raises(ShapeError, match=f"y: expected the name of a column as a text, .*, found a list .*; {advice}"):
        SSMClassifier(id="id", order="t").fit(pd.DataFrame(TABLE), names)


@pytest.mark.parametrize("frame", [pd.DataFrame, pl.DataFrame])
def test_columns_of_a_frame_that_are_predicted_are_no_channels(frame):
    table = frame(TABLE)
    model = SSMRegressor(id="id", order="t", d_model=8, n_layers=1, steps=1).fit(table, table[["y", "z"]])
    assert [column.name for column in model.contract_.features] == ["x"]
    assert model.predict(table).shape == (2, 2)
