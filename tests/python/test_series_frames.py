"""Input of estimators: frames and columns of pandas, polars and Arrow, and their types, names and keys."""

from decimal import Decimal

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from ssm_hpn.errors import DataError, ShapeError
from ssm_hpn.estimators import SSMClassifier, SSMRegressor
from ssm_hpn.series import labels_of

SMALL = {"kind": "backbone", "d_model": 8, "n_layers": 1, "d_state": 2, "random_state": 0, "steps": 2}
X = np.random.default_rng(0).normal(size=(12, 9, 2)).astype(np.float32)
Y = np.arange(12) % 3


def classifier(**options):
    return SSMClassifier(**(SMALL | options))


def test_columns_of_frames_are_taken_in_order_where_fit_had_no_names():
    model = classifier().fit(X, Y)
    frames = [pd.DataFrame(one, columns=["b", "a"]) for one in X]
    with pytest.warns(UserWarning, match="X: the columns b, a are taken for the channels in this order: fit had no"):
        np.testing.assert_array_equal(model.class_scores(frames), model.class_scores(X))


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
    with pytest.raises(
        ValueError, match="X: expected no column of the labels, found 'label'; pass the name 'label' fo"
    ):
        classifier().fit(frame, frame["label"])
    assert classifier().fit(frame.drop(columns="label"), frame["label"]).n_features_in_ == 9


def test_numbers_as_texts_are_to_be_converted_and_texts_to_be_named():
    frame = pd.DataFrame(X[..., 0]).add_prefix("t")
    with pytest.raises(
        ShapeError, match=r"X\['t0'\]\[0\]: expected a number, found '.*'; make numbers of them, by X.ast"
    ):
        classifier().fit(frame.astype(str), Y)
    with pytest.raises(
        ShapeError, match=r"found 'A1'; for a table with a row per time step, name the column of the ser"
    ):
        classifier().fit(frame.assign(t0="A1"), Y)


@pytest.mark.parametrize("package", [lambda frame: frame, pl.from_pandas, pa.Table.from_pandas])
@pytest.mark.parametrize("cells", [False, True])
def test_targets_of_a_frame_of_series_are_columns_of_it_by_name(package, cells, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    series = pd.DataFrame({"a": list(X[..., 0]), "b": list(X[..., 1])}) if cells else pd.DataFrame(X[..., 0])
    series.columns = [str(name) for name in series.columns]
    weights = np.linspace(1, 2, len(Y))
    frame = package(series.assign(hours=weights * 5, label=Y, weight=weights))
    given = {"values": "hours", "sample_weight": "weight"}
    model = classifier().fit(frame, "label", **given)
    expected = classifier().fit(package(series), Y, values=weights * 5, sample_weight=weights)
    scores = expected.class_scores(package(series))
    for one in (model, SSMClassifier.load(model.save("kept"))):
        for x in (frame, package(series)):
            np.testing.assert_array_equal(one.class_scores(x), scores)
        assert one.score(frame, "label") == expected.score(package(series), Y)
    parts = classifier().partial_fit(frame, "label", **given).partial_fit(frame, "label", **given)
    assert parts.n_features_in_ == model.n_features_in_
    with pytest.raises(ShapeError, match="y: expected a column of X, found 'state'; X has "):
        classifier().fit(frame, "state")


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


@pytest.mark.filterwarnings("ignore:X. 1 of 4 series have only missing numbers")
@pytest.mark.parametrize("form", ["list", "arrays", "frame", "long table"])
@pytest.mark.parametrize("dtype", [*PANDAS_TYPES, DECIMAL], ids=str)
def test_channels_of_every_type_of_pandas_are_taken_with_a_missing_number(dtype, form):
    column = column_of(dtype, [1, None, 0, 1])
    model = SSMClassifier(kind="backbone", d_model=8, n_layers=1, steps=1, random_state=0)
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
    same = SSMClassifier(kind="backbone", d_model=8, n_layers=1, steps=1, random_state=0).fit(expected, [0, 1, 0, 1])
    assert (model.class_scores(given) == same.class_scores(expected)).all()


@pytest.mark.parametrize("dtype", TEXT_TYPES, ids=str)
def test_channels_of_texts_are_refused(dtype):
    column = column_of(dtype, ["a", None, "b", "b"])
    for given, message in (
        ([column.values] * 4, r"X\[.*: expected a number, found 'a'"),
        (pd.DataFrame({0: column, 1: column}), r"X\['0'\]\[0\]: expected a number, found 'a'"),
        (pd.DataFrame({0: column}), r"X: expected numbers, or a column of texts, found a frame of one; pass X\[0\]"),
    ):
        with pytest.raises(ShapeError, match=message):
            SSMClassifier(kind="backbone", steps=1).fit(given, [0, 1, 0, 1])


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
    model = SSMClassifier(id="id", kind="backbone", d_model=8, n_layers=1, steps=1).fit(frame(table), [0, 1])
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
    model = SSMRegressor(id="id", order="t", kind="backbone", d_model=8, n_layers=1, steps=1).fit(
        table, table[["y", "z"]]
    )
    assert [column.name for column in model.contract_.features] == ["x"]
    assert model.predict(table).shape == (2, 2)
