"""Order columns: texts, numbers, times and dates are compared to their last digit, or refused with the cell."""

import datetime as dt
import re

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from prepare_support import made, rows
from ssm_hpn.errors import ConfigError, DataError

COLUMNS = {"order": "t", "features": "x"}


def read(tmp_path, path, **options):
    return made(tmp_path, path, COLUMNS, normalize=False, validation_fraction=0, **options)


def table(tmp_path, values):
    """One document of a row per value, numbered in the order of the file."""
    path = tmp_path / "d.csv"
    path.write_text("t,x\n" + "".join(f'"{value}",{k}\n' for k, value in enumerate(values)))
    return path


def sorted_rows(prepared):
    return [int(step[0]) for step in rows(prepared.train)[0]["features"]]


def type_of(prepared):
    return next(column.type for column in prepared.contract.columns if column.role == "order")


@pytest.mark.parametrize(
    ("values", "expected", "kind"),
    [
        (
            ["2024-01-01 05:00 PM", "2024-01-01 05:00 AM", "2024-01-01 12:05 AM", "2023-12-31 11:00 PM"],
            [3, 2, 1, 0],
            "timestamp",
        ),
        (["2:00 PM", "12:05 AM", "11:00 AM", "12:30 PM"], [1, 2, 3, 0], "time of day"),
        (["2:00:01 p.m.", "2:00:00PM", "1 am"], [2, 1, 0], "time of day"),
        (["1/13/2024 1:00 PM", "1/13/2024 9:00 AM"], [1, 0], "month/day/year"),
        (["31.1.2024 1:00:05 PM", "31.1.2024 1:00:01 PM"], [1, 0], "day.month.year"),
        (["31-01-2024 10:00", "01-02-2024 9:00", "31-01-2024 9:00"], [2, 0, 1], "day/month/year"),
        (["2024-01-01T00:00:00.000000002", "2024-01-01T00:00:00.000000001", "2024-01-01"], [2, 1, 0], "timestamp"),
        (["2024-01-01 00:00:00.0000009", "2024-01-01 00:00:00.000001"], [0, 1], "timestamp"),
        (["2024-01-01 09:00:00,120", "2024-01-01 09:00:00,02"], [1, 0], "timestamp"),
        (
            ["2024-01-01T00:00:00.000000002Z", "2024-01-01T02:00:00.000000001+02:00", "2024-01-01 00:30 +01:00"],
            [2, 1, 0],
            "timestamp with zone",
        ),
        (["09:00:00.000000002", "09:00:00.000000001", "8:00"], [2, 1, 0], "time of day"),
        (["1700000000.000000002", "1700000000.000000001", "17e8"], [2, 1, 0], "number"),
    ],
)
def test_texts_are_sorted_to_their_last_digit(tmp_path, values, expected, kind):
    prepared = read(tmp_path, table(tmp_path, values))
    assert sorted_rows(prepared) == expected
    assert type_of(prepared) == kind
    assert kind == "number" or f"order 't' is read as {kind}" in prepared.contract.notes


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (["2024-01-01", "soon"], r"row 3, column 't': expected a timestamp as in other rows, found 'soon'"),
        (["31.12.24", "1.1.24"], r"row 2, column 't': expected numbers, .*'31\.12\.24'; .*data\.date_format"),
        (["24-01-31", "24-02-01"], r"row 2, column 't': expected numbers, .* found '24-01-31'"),
        (["2024-01-31 9 o'clock"], r"row 2, column 't': .* found"),
        (["9:00", "25:10"], r"row 3, column 't': expected a time of day as in other rows, found '25:10'"),
        (["9:00 PM", "13:00 PM"], r"row 3, column 't': expected a time of day as in other rows, found '13:00 PM'"),
        (["2024-01-01T00:00Z", "2024-01-02T00:00Z", "2024-01-01"], r"row 4, .*timestamp with zone .*zone or none"),
        (["infinity", "2024-01-01", "2024-01-02"], r"row 2, column 't': expected a timestamp .* found 'infinity'"),
        (["3/4/2024", "2/4/2024"], r"expected dates that can be read in one way, .*'month/day/year'.*date_format"),
        (["03-04-2024 5:00 PM"], r"expected dates that can be read in one way"),
    ],
)
def test_texts_in_no_known_form_are_refused_with_their_row(tmp_path, values, message):
    with pytest.raises(DataError, match=message):
        read(tmp_path, table(tmp_path, values))


def test_a_later_date_of_another_order_of_day_and_month_is_refused(tmp_path):
    dates = [f"{1 + n % 28}/{1 + n % 12}/2024" for n in range(30_000)]
    with pytest.raises(DataError, match=r"row 30002, column 't': expected a day/month/year in every row.*'1/13/2024'"):
        read(tmp_path, table(tmp_path, [*dates, "1/13/2024"]))


def test_data_date_format_gives_the_form_of_dates(tmp_path):
    prepared = read(tmp_path, table(tmp_path, ["31.12.24", "1.1.24"]), date_format="%d.%m.%y")
    assert sorted_rows(prepared) == [1, 0]
    nanoseconds = ["2024-01-01 0:00:00.000000002", "2024-01-01 0:00:00.000000001"]
    prepared = read(tmp_path / "n", written(tmp_path / "n", nanoseconds), date_format="%Y-%m-%d %H:%M:%S.%n")
    assert sorted_rows(prepared) == [1, 0]
    with pytest.raises(ConfigError, match=r"data\.date_format: expected how a date is written, .* found %Q"):
        read(tmp_path / "q", tmp_path / "d.csv", date_format="%Q")


def written(folder, values):
    folder.mkdir()
    return table(folder, values)


@pytest.mark.parametrize(
    ("column", "kind"),
    [
        (pa.array([2, 1, 0], pa.timestamp("ns")), "timestamp"),
        (pa.array([2, 1, 0], pa.timestamp("ns", "Europe/Berlin")), "timestamp with zone"),
        (pa.array([2, 1, 0], pa.time64("ns")), "time of day"),
        (pa.array([2, 1, 0], pa.time32("s")), "time of day"),
        (pa.array([2, 1, 0], pa.date32()), "date"),
        (pa.array([2**60 + 2, 2**60 + 1, 2**60]), "number"),
        (pa.array([b"10:00", b"9:30", b"9:05"]), "time of day"),
        (pa.array(["10", "9.5", "1e0"]).dictionary_encode(), "number"),
    ],
)
def test_typed_columns_are_sorted_to_their_last_digit(tmp_path, column, kind):
    pq.write_table(pa.table({"t": column, "x": [0.0, 1.0, 2.0]}), tmp_path / "d.parquet")
    prepared = read(tmp_path, tmp_path / "d.parquet")
    assert sorted_rows(prepared) == [2, 1, 0]
    assert type_of(prepared) == kind


@pytest.mark.parametrize("kind", ["BIGNUM", "HUGEINT", "DECIMAL(38, 1)"])
def test_numbers_of_any_size_are_sorted_as_numbers(tmp_path, kind):
    """Of a query too, which is longer than the name of a file may be."""
    numbers = [10**26, 5, 300, 0, -300, -5, 70_000, -(10**20)]
    values = ", ".join(f"({float(x)}, '{number}'::{kind})" for x, number in enumerate(numbers))
    query = f"sql:SELECT x, t FROM (VALUES {values}) rows(x, t)"
    assert sorted_rows(read(tmp_path, query)) == sorted(range(len(numbers)), key=numbers.__getitem__)


def test_durations_of_a_frame_are_sorted(tmp_path):
    from ssm_hpn.config import Columns, PrepareOptions
    from ssm_hpn.prepare import prepare

    frame = pa.table({"t": pa.array([dt.timedelta(1), dt.timedelta(seconds=1)]), "x": [0.0, 1.0]})
    options = PrepareOptions(columns=Columns(**COLUMNS), normalize=False, validation_fraction=0)
    prepared = prepare(options, tmp_path / "out", tables=[frame])
    assert sorted_rows(prepared) == [1, 0]
    assert type_of(prepared) == "duration"


def test_an_order_value_that_is_no_number_is_missing(tmp_path):
    pq.write_table(pa.table({"t": [1.0, float("nan"), 0.5], "x": [0.0, 1.0, 2.0]}), tmp_path / "d.parquet")
    with pytest.raises(DataError, match=r"row 2, column 't': expected a number in every row, found 1 row without one"):
        read(tmp_path, tmp_path / "d.parquet")


def documents(tmp_path, times, **options):
    """Documents that are named, each with its order values in the order of the file."""
    path = tmp_path / "d.csv"
    path.write_text("id,t,x\n" + "".join(f"{i},{t},1\n" for i, values in times.items() for t in values))
    prepared = made(tmp_path, path, {"id": "id", "order": "t", "features": "x"}, validation_fraction=0, **options)
    return prepared.contract.notes


def test_times_of_day_that_pass_midnight_are_noted(tmp_path):
    falling = {"a": ["9:00", "10:00"], "b": ["23:58", "23:59", "00:01"]}
    assert any(
        "falls from late to early (d.csv#b): documents that pass midnight" in note
        for note in documents(tmp_path, falling)
    )
    for name, times in {
        "rising": ["0:01", "23:59"],
        "equal": ["9:00", "9:00"],
        "dated": ["2024-01-02", "2024-01-01"],
    }.items():
        (tmp_path / name).mkdir()
        assert not any("midnight" in note for note in documents(tmp_path / name, {"a": times}))


def test_documents_with_equal_order_values_in_all_rows_are_counted(tmp_path):
    times = {"a": [1, 1, 1], "b": [1, 2], "c": [5], "d": [7, 7]}
    expected = "order 't' is the same in all rows of 2 of 3 documents of several rows"
    assert any(expected in note for note in documents(tmp_path, times))
    (tmp_path / "long").mkdir()
    notes = documents(tmp_path / "long", {"a": [3] * 5000, "b": [1] * 4999 + [2]}, max_document=1024)
    assert any("all rows of 1 of 2 documents" in note for note in notes)
    (tmp_path / "fine").mkdir()
    stamps = ["2024-01-01T00:00:00.000000001", "2024-01-01T00:00:00.000000002"]
    assert not any("the same" in note for note in documents(tmp_path / "fine", {"a": stamps}))


def test_a_format_of_dates_that_does_not_fit_is_named_beside_one_that_does(tmp_path):
    lines = [f"{n},01/{day:02}/2025 06:00 AM,{n}.5" for n in range(4) for day in (3, 14)]
    (tmp_path / "t.csv").write_text("id,t,x\n" + "\n".join(lines) + "\n")
    used = {"id": "id", "order": "t", "features": ["x"]}
    expected = (
        "expected a date as data.date_format '%m/%d/%Y' says, found '01/03/2025 06:00 AM'; %m/%d/%Y %I:%M %p fits it"
    )
    with pytest.raises(DataError, match=re.escape(expected)):
        made(tmp_path, tmp_path / "t.csv", used, date_format="%m/%d/%Y")


def test_the_advice_for_dates_of_two_readings_covers_their_times(tmp_path):
    (tmp_path / "t.csv").write_text("id,t,x\n" + "".join(f"{n},01/03/2025 06:00 AM,{n}.5\n" for n in range(4)))
    with pytest.raises(DataError, match=re.escape("say which in data.date_format, such as %d/%m/%Y %I:%M %p")):
        made(tmp_path, tmp_path / "t.csv", {"id": "id", "order": "t", "features": ["x"]})
