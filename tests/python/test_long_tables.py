"""Long tables as input of estimators: one row per time step, ids and order by columns."""

import warnings
from datetime import UTC, date, datetime, timedelta, timezone

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from ssm_hpn.estimators import SSMRegressor
from ssm_hpn.series import LongTable
from test_series import RAGGED, RANDOM, SMALL, X, Y, classifier, objects


def long_table(*, seed=1):
    """The series RAGGED as a table in a random order of rows, with a class of each."""
    rows = [
        {"machine": f"m{index:02}", "t": step, "a": float(one[0]), "b": float(one[1]), "state": "abc"[Y[index]]}
        for index, values in enumerate(RAGGED)
        for step, one in enumerate(values)
    ]
    return pd.DataFrame(rows).sample(frac=1, random_state=seed).reset_index(drop=True)


TABLE = long_table()
FIRST = list(dict.fromkeys(TABLE["machine"]))
KEYS = {"id": "machine", "order": "t"}


@pytest.mark.parametrize(
    ("frame", "y"),
    [
        (TABLE, "state"),
        (TABLE, TABLE["state"]),
        (TABLE.drop(columns="state"), TABLE["state"]),
        (TABLE.drop(columns="state"), TABLE["state"].to_numpy()),
        (TABLE.drop(columns="state"), TABLE.groupby("machine")["state"].first()),
        (pl.from_pandas(TABLE), "state"),
        (pa.Table.from_pandas(TABLE), "state"),
        (TABLE.assign(t=pd.to_datetime(TABLE["t"], unit="h")), "state"),
        (TABLE.assign(t=pd.to_datetime(TABLE["t"], unit="ns", utc=True).dt.tz_convert("Europe/Rome")), "state"),
        (TABLE.assign(t=[date(2026, 1, 1) + timedelta(int(one)) for one in TABLE["t"]]), "state"),
        (TABLE.assign(t=[datetime(2026, 1, 1 + int(one), tzinfo=UTC) for one in TABLE["t"]]), "state"),
        (pl.from_pandas(TABLE).with_columns(pl.col("t").cast(pl.Datetime("us", "UTC"))), "state"),
        (TABLE.assign(t=(pd.Timestamp("2026-01-31 23:58") + pd.to_timedelta(TABLE["t"], "min")).astype(str)), "state"),
        (pl.from_pandas(TABLE.assign(t=[f"2026-01-{1 + int(one):02}T00:00+01:00" for one in TABLE["t"]])), "state"),
        (TABLE.assign(machine=TABLE["machine"].astype("category")), "state"),
        (TABLE[["state", "b", "t", "a", "machine"]], "state"),
    ],
)
def test_a_long_table_is_a_series_per_id(frame, y):
    series = [RAGGED[int(one[1:])] for one in FIRST]
    states = np.array(["abc"[Y[int(one[1:])]] for one in FIRST])
    model = classifier(**KEYS).fit(frame, y)
    names = [column.name for column in model.contract_.features]
    assert sorted(names) == ["a", "b"]
    expected = classifier().fit([one[:, [0, 1] if names == ["a", "b"] else [1, 0]] for one in series], states)
    assert model.classes_.tolist() == ["a", "b", "c"]
    expected_scores = expected.class_scores([one[:, [0, 1] if names == ["a", "b"] else [1, 0]] for one in series])
    np.testing.assert_array_equal(model.class_scores(frame), expected_scores)
    assert model.series_ids(frame) == FIRST
    assert model.score(frame, y) == expected.score(
        [one[:, [0, 1] if names == ["a", "b"] else [1, 0]] for one in series], states
    )


def test_a_series_of_a_long_table_may_have_no_label():
    gone = {"m03", "m05"}
    for missing in (None, float("nan"), pd.NA):
        pairs = zip(TABLE["machine"], TABLE["state"], strict=True)
        states = [missing if one in gone else state for one, state in pairs]
        with pytest.warns(UserWarning, match="y: 2 of 12 series have no target"):
            model = classifier(**KEYS, normalize=False).fit(TABLE.assign(state=objects(states)), "state")
        kept = TABLE[~TABLE["machine"].isin(gone)]
        expected = classifier(**KEYS, normalize=False).fit(kept, "state")
        np.testing.assert_array_equal(model.class_scores(TABLE), expected.class_scores(TABLE))


def test_times_of_several_zones_are_ordered_by_instant():
    zones = [timezone(timedelta(hours=one)) for one in (0, 5, -5)]
    times = [datetime(2026, 1, 1, 6 + n, tzinfo=UTC).astimezone(zones[n % 3]) for n in range(6)]
    frame = pd.DataFrame({"id": 0, "t": objects(times), "x": np.arange(6.0)}).sample(frac=1, random_state=3)
    assert LongTable(frame, id="id", order="t").series(None).values[0].ravel().tolist() == list(range(6))


def test_a_long_table_of_numbers_to_predict():
    load = TABLE["machine"].str[1:].astype(float) * 1000
    model = SSMRegressor(**SMALL, **KEYS).fit(TABLE.assign(load=load).drop(columns="state"), "load")
    assert model.predict(TABLE.drop(columns="state")).shape == (12,)
    assert [column.name for column in model.contract_.features] == ["a", "b"]


@pytest.mark.parametrize(
    ("frame", "y", "message"),
    [
        (X, Y, r"X: expected a frame with a column 'machine', found \[12, 9, 2\]"),
        (TABLE.drop(columns="machine"), "state", r"X, id: expected a column 'machine', found columns t, a, b, state"),
        (TABLE.assign(machine=TABLE["machine"].where(TABLE.index > 2)), "state", r"found 3 missing ones in \d+ rows"),
        (TABLE.assign(t=TABLE["t"].where(TABLE.index > 0)), "state", r"X\['t'\]: .*found 1 missing one in"),
        (
            TABLE.assign(t=TABLE["t"].astype(str)),
            "state",
            r"X\['t'\]: expected numbers or dates, .* such as '\d+'; write",
        ),
        (
            TABLE.assign(t=[f"{one:02}.1.2026" for one in TABLE["t"]]),
            "state",
            "expected numbers or dates, .*to_datetime",
        ),
        (
            TABLE.assign(t=[f"2026-01-31 00:{one:02}:00{'Z' * (one > 3)}" for one in TABLE["t"]]),
            "state",
            "expected numbers or dates",
        ),
        (TABLE.assign(t=[f"2026-01-31 00:00:00.{one:09}" for one in TABLE["t"]]), "state", "expected numbers or dates"),
        (TABLE.assign(kind="x"), "state", r"X\['kind'\]\[0\]: expected a number, found 'x'; drop the column"),
        (TABLE, "condition", r"y: expected a column of X, found 'condition'; X has machine, t, a, b, state"),
        (TABLE, Y[:5], r"y: expected \d+ entries \(one per row\) or 12 \(one per series\), found 5"),
        (TABLE, Y, r"y: expected entries that say which series they belong to"),
        (
            TABLE,
            TABLE["state"].where(TABLE.index > 0, "b" if TABLE["state"][0] != "b" else "c"),
            r"y, series 'm\d+': expected the same",
        ),
        (TABLE[["machine", "t", "state"]], "state", "columns of numbers beside the id"),
    ],
)
def test_wrong_long_tables_are_refused(frame, y, message):
    with pytest.raises(ValueError, match=message):
        classifier(**KEYS).fit(frame, y)


def test_a_column_of_fit_that_is_missing_is_refused():
    model = classifier(**KEYS).fit(TABLE, "state")
    with pytest.raises(ValueError, match=r"X: expected a column 'b', as in fit, found columns machine, t, a"):
        model.predict(TABLE[["machine", "t", "a"]])
    more = TABLE.assign(c=1.0).drop(columns="state")[["c", "b", "a", "t", "machine"]]
    np.testing.assert_array_equal(model.class_scores(more), model.class_scores(TABLE))


def test_a_frame_that_may_be_a_long_table_is_not_taken_for_short_series_silently():
    numbers = TABLE.drop(columns=["machine", "state"])
    y = np.arange(len(numbers)) % 2
    with pytest.warns(
        UserWarning, match=rf"X: a frame of {len(numbers)} rows and 3 columns is taken for .* id='machine'"
    ):
        classifier().fit(numbers, y)
    with pytest.warns(UserWarning, match="12 columns"):
        classifier().fit(
            pd.DataFrame(RANDOM.normal(size=(40, 11))).add_prefix("x").assign(unit=np.arange(40) // 4), y[:40]
        )
    with pytest.warns(UserWarning, match="3 columns"):
        classifier().fit(pl.from_pandas(numbers), y)
    with pytest.warns(UserWarning, match="3 columns"):
        classifier().fit(pa.Table.from_pandas(numbers), y)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        classifier().fit(numbers.to_numpy(), y)
        classifier().fit(pd.DataFrame(X[..., 0]).add_prefix("t"), Y)


def test_equal_times_keep_the_order_of_the_rows():
    frame = pd.DataFrame({"id": [1, 0, 1, 0], "t": [0, 5, 0, 5], "x": [1.0, 2.0, 3.0, 4.0]})
    table = LongTable(frame, id="id", order="t")
    assert table.ids == [1, 0]
    assert [one.ravel().tolist() for one in table.series(None).values] == [[1, 3], [2, 4]]
