"""Input of estimators: layouts, series in the cells of frames, frames indexed by series and time."""

import warnings

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

pytest.importorskip("sklearn")

from sklearn.base import clone

from ssm_hpn.errors import ConfigError, ShapeError
from ssm_hpn.estimators import SSMClassifier, StateSpaceFeatures

RANDOM = np.random.default_rng(0)
X = RANDOM.normal(size=(12, 9, 2))
Y = np.arange(12) % 3
RAGGED = [one[: 4 + index % 5] for index, one in enumerate(X)]
NAMES = ["a", "b"]
BY_INDEX = "ignore:X. its index is read as the series of a row and its time"


def classifier(**options):
    return SSMClassifier(effort="fast", random_state=0, threads=1, **options)


def cells(series, of=np.asarray):
    """Columns of cells."""
    return {name: [of(one[:, k]) for one in series] for k, name in enumerate(NAMES)}


def rows(series, ids=None):
    """A row per time step, the times of a series out of order."""
    order = np.random.default_rng(1)
    parts = []
    for n, one in enumerate(series):
        part = pd.DataFrame(one, columns=NAMES).assign(unit=n if ids is None else ids[n], time=np.arange(len(one)))
        parts.append(part.iloc[order.permutation(len(one))])
    return pd.concat(parts, ignore_index=True)


FORMS = {
    "an array, channels first": (lambda s: np.stack(s).transpose(0, 2, 1), {"layout": "channels_first"}),
    "an array, channels last": (np.stack, {"layout": "channels_last"}),
    "a list, channels first": (lambda s: [one.T for one in s], {"layout": "channels_first"}),
    "a list of lists, channels first": (lambda s: [one.T.tolist() for one in s], {"layout": "channels_first"}),
    "a list of frames, channels first": (
        lambda s: [pd.DataFrame(one, columns=NAMES) for one in s],
        {"layout": "channels_first"},
    ),
    "cells of pandas Series": (lambda s: pd.DataFrame(cells(s, pd.Series)), {}),
    "cells of arrays": (lambda s: pd.DataFrame(cells(s)), {}),
    "cells of lists": (lambda s: pd.DataFrame(cells(s, list)), {}),
    "cells of polars": (lambda s: pl.DataFrame(cells(s, list)), {}),
    "cells of Arrow": (lambda s: pa.table(cells(s, list)), {}),
    "an index of series and time": (lambda s: rows(s).set_index(["unit", "time"]), {}),
    "an index without names": (lambda s: rows(s).set_index(["unit", "time"]).rename_axis([None, None]), {}),
    "a long table": (rows, {"id": "unit", "order": "time"}),
    "a long table of polars": (lambda s: pl.from_pandas(rows(s)), {"id": "unit", "order": "time"}),
    "a long table of Arrow": (lambda s: pa.Table.from_pandas(rows(s)), {"id": "unit", "order": "time"}),
}
EQUAL = {
    "fixed-size cells of polars": (
        lambda s: pl.DataFrame(cells(s), schema=dict.fromkeys(NAMES, pl.Array(pl.Float64, 9)))
    ),
    "lists in an array": lambda s: np.stack(s).transpose(0, 2, 1).tolist(),
}


@pytest.fixture(scope="module")
def expected():
    return {"equal": classifier().fit(X, Y).class_scores(X), "ragged": classifier().fit(RAGGED, Y).class_scores(RAGGED)}


@pytest.mark.filterwarnings(BY_INDEX)
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("lengths", ["equal", "ragged"])
def test_every_form_of_the_same_series_has_the_same_scores(form, lengths, expected):
    make, options = FORMS[form]
    series = list(X) if lengths == "equal" else RAGGED
    if lengths == "ragged" and form.startswith("an array"):
        pytest.skip("series of different lengths are no array")
    model = classifier(**options).fit(make(series), Y)
    np.testing.assert_array_equal(model.class_scores(make(series)), expected[lengths])
    np.testing.assert_array_equal(
        model.predict(make(series)[:4] if isinstance(make(series), list) else make(series[:4])),
        model.classes_[expected[lengths][:4].argmax(axis=1)],
    )


@pytest.mark.parametrize("form", EQUAL)
def test_forms_of_series_of_equal_lengths(form, expected):
    options = {"layout": "channels_first"} if form == "lists in an array" else {}
    model = classifier(**options).fit(EQUAL[form](X), Y)
    np.testing.assert_array_equal(model.class_scores(EQUAL[form](X)), expected["equal"])


@pytest.mark.parametrize("series", [list(X), RAGGED], ids=["equal", "ragged"])
def test_frames_with_numbered_columns_are_arrays(series, expected):
    key = "equal" if len(series[0]) == 9 else "ragged"
    for options, frames in (
        ({"layout": "channels_first"}, [pd.DataFrame(one.T) for one in series]),
        ({}, [pd.DataFrame(one) for one in series]),
        ({"layout": "channels_last"}, [pd.DataFrame(one) for one in series]),
    ):
        model = classifier(**options).fit(frames, Y)
        np.testing.assert_array_equal(model.class_scores(frames), expected[key])
    with pytest.warns(
        UserWarning, match="X: it is read as series of 2 steps and 9 channels; where channels come first"
    ):
        classifier().fit([pd.DataFrame(one.T) for one in X], Y)


def test_univariate_series_have_no_layout(expected):
    one = X[..., 0]
    plain = classifier().fit(one, Y).class_scores(one)
    forms = [one, list(one), one[:, None, :], [each[None] for each in one], pd.DataFrame(one), pd.Series(list(one))]
    for form in forms:
        model = classifier(layout="channels_first").fit(form, Y)
        np.testing.assert_array_equal(model.class_scores(form), plain)


def test_cells_of_a_frame_are_taken_by_the_name_of_their_channel():
    frame = pd.DataFrame(cells(RAGGED))
    model = classifier().fit(frame, Y)
    assert [column.name for column in model.contract_.features] == NAMES
    np.testing.assert_array_equal(model.class_scores(frame[["b", "a"]]), model.class_scores(frame))
    np.testing.assert_array_equal(model.class_scores(rows_as_frames()), model.class_scores(frame))
    with pytest.raises(
        ShapeError, match=r"X: expected columns a, b, as in fit, found columns a; give the columns of fit"
    ):
        model.predict(frame[["a"]])
    with pytest.warns(UserWarning, match="the columns a, b are taken for the channels in this order: fit had no names"):
        classifier().fit(RAGGED, Y).predict(frame)


def rows_as_frames():
    return [pd.DataFrame(one, columns=NAMES) for one in RAGGED]


def frame_with(**cells_of_row_3):
    frame = pd.DataFrame(cells(RAGGED))
    for name, value in cells_of_row_3.items():
        frame.at[3, name] = value
    return frame


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        (
            frame_with(b=np.zeros(3)),
            r"X, row 3: expected cells of one length, found 7 in 'a' and 3 in 'b'; give every",
        ),
        (
            frame_with(b=None),
            r"X\['b'\]\[3\]: expected a series in every cell, as in X\['a'\], found None; drop the row",
        ),
        (frame_with(a=None), r"X\['a'\]\[3\]: expected a series in every cell"),
        (frame_with(b=1.5), r"X\['b'\]\[3\]: expected a series in every cell.*, found 1.5; drop the column"),
        (frame_with(a=["x"] * 7), r"X\['a'\]\[3\]: expected numbers, found texts"),
        (frame_with(a=X[0]), r"X\['a'\]\[3\]: expected a series \[T\] of one channel, found shape \[9, 2\]; pass list"),
        (frame_with(a=np.zeros(0), b=np.zeros(0)), r"X\[3\]: expected an array \[T, 2\] with T of at least 1, found"),
        (
            pd.DataFrame(cells(RAGGED)).assign(kind="x"),
            r"X\['kind'\]\[0\]: expected a series in every cell.* 'x'; drop",
        ),
    ],
)
def test_wrong_cells_are_refused_with_their_place(frame, message):
    with pytest.raises(ShapeError, match=message):
        classifier().fit(frame, Y)


def test_a_frame_of_cells_that_holds_its_labels_is_refused():
    frame = pd.DataFrame(cells(RAGGED)).assign(label=Y)
    with pytest.raises(ShapeError, match=r"X: expected no column of the labels, found 'label'; pass the name 'label'"):
        classifier().fit(frame, frame["label"])


# ---- an index of series and time


def test_an_index_of_series_and_time_is_read_with_a_note(expected):
    frame = rows(RAGGED).set_index(["unit", "time"])
    with pytest.warns(
        UserWarning, match=r"X: its index is read as the series of a row and its time, .*reset_index\(drop"
    ):
        model = classifier().fit(frame, Y)
    assert model.series_ids(frame) == list(range(12))
    for y in (Y, np.repeat(Y, [len(one) for one in RAGGED]), pd.Series(Y[::-1], index=range(11, -1, -1))):
        with pytest.warns(UserWarning, match="its index is read"):
            again = classifier().fit(frame, y)
        np.testing.assert_array_equal(again.class_scores(frame), expected["ragged"])
    with pytest.warns(UserWarning, match=r"GroupKFold, with X.index.get_level_values\(0\) as the groups"):
        model.predict(frame.iloc[:5])
    with pytest.warns(UserWarning, match="its index is read"):
        features = StateSpaceFeatures(effort="fast").fit(frame)
    found = features.set_output(transform="pandas").transform(frame)
    assert found.index.tolist() == list(range(12))


def test_an_index_of_three_levels_is_refused():
    frame = rows(RAGGED).assign(site=1).set_index(["site", "unit", "time"])
    with pytest.raises(
        ShapeError, match="X, index: expected two levels: the series of a row and its time, found 3 levels"
    ):
        classifier().fit(frame, Y)


# ---- layouts that do not fit


def test_an_unknown_layout_is_refused():
    with pytest.raises(ConfigError, match=r"layout: expected auto \| channels_last \| channels_first, found 'nft'"):
        classifier(layout="nft").fit(X, Y)
    model = classifier().fit(X, Y).set_params(layout=1)
    with pytest.raises(ConfigError, match="layout: expected auto"):
        model.predict(X)


@pytest.mark.parametrize(
    "form", [lambda x: x, list, lambda x: [one[:, : 7 + k % 3] for k, one in enumerate(x)][:1] * 12]
)
def test_fewer_steps_than_channels_are_noted_once_and_not_where_the_layout_is_named(form):
    turned = form(X.transpose(0, 2, 1))
    with pytest.warns(UserWarning, match=r"X: it is read as series of 2 steps and \d channels; where chan") as told:
        classifier().fit(turned, Y)
    assert len(told) == 1
    for layout in ("channels_first", "channels_last"):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            classifier(layout=layout).fit(turned, Y)


def test_series_with_other_channels_that_come_first_are_refused_with_the_layout():
    with pytest.raises(
        ShapeError, match=r"X\[1\]: expected an array \[T, 4\], found shape \[2, 5\]; channels may come fi"
    ):
        classifier().fit([one.T for one in RAGGED], Y)
    with pytest.raises(
        ShapeError, match=r"X\[1\]: expected an array \[4, T\], found shape \[5, 2\]; channels may come la"
    ):
        classifier(layout="channels_first").fit(RAGGED, Y)
    model = classifier().fit(X, Y)
    with pytest.raises(
        ShapeError, match=r"X: expected 2 channels, as in fit, found 9; channels seem to come first: pass"
    ):
        model.predict(X.transpose(0, 2, 1))
    first = clone(model).set_params(layout="channels_first").fit(X.transpose(0, 2, 1), Y)
    with pytest.raises(
        ShapeError, match=r"X: expected 2 channels, as in fit, found 9; channels seem to come last: set"
    ):
        first.predict(X)
