"""Columns of lists and dates: where they are no numbers they are refused with the query that makes numbers of them."""

import re
import shlex

import pandas as pd
import pytest

from prepare_support import made, written
from ssm_hpn.config import Columns, PrepareOptions
from ssm_hpn.errors import DataError
from ssm_hpn.prepare import prepare

ROWS = [{"id": f"m{n % 8}", "x": n * 0.5, "two v": [n * 1.0, 2.0], "y": "ab"[n % 8 % 2]} for n in range(80)]
LONG = {"id": "id", "label": "y"}


def refused(tmp_path, data, columns):
    """The message."""
    with pytest.raises(DataError) as caught:
        made(tmp_path, data, columns)
    return str(caught.value)


def advised(message):
    """The query of a message."""
    found = re.search(r'--data "sql:.*?FROM \'[^\']*\'"', message)
    assert found, message
    return shlex.split(found[0])[1]


@pytest.mark.parametrize("suffix", ["jsonl", "parquet"])
@pytest.mark.parametrize("features", [("x", "two v"), ("two v", "x"), ("*",)])
def test_a_column_of_lists_beside_numbers_is_refused_with_the_query_that_takes_its_elements(tmp_path, suffix, features):
    path = written(tmp_path / f"d.{suffix}", ROWS)
    noun = "key" if suffix == "jsonl" else "column"
    said = refused(tmp_path, path, LONG | {"features": features})
    assert f"{noun} 'two v': expected a number in each row, as in {noun} 'x', found lists of numbers" in said
    assert "where each row is a document" in said
    prepared = made(tmp_path, advised(said), LONG | {"features": "x,first,second"})
    assert prepared.manifest["feature_names"] == ["x", "first", "second"]
    assert prepared.parts["train"].documents + prepared.parts["validation"].documents == 8


def test_a_column_of_lists_beside_numbers_is_refused_in_frames_and_queries(tmp_path):
    path = written(tmp_path / "d.parquet", ROWS)
    columns = LONG | {"features": "x,two v"}
    said = refused(tmp_path, f"sql:SELECT * FROM '{path}'", columns)
    assert "column 'two v': expected a number in each row, as in column 'x', found lists of numbers" in said
    assert 'by SELECT *, "two v"[1] AS first, "two v"[2] AS second in the query and the like' in said
    with pytest.raises(DataError, match="column 'two v': expected a number in each row, as in column 'x'"):
        prepare(PrepareOptions(columns=Columns(**columns)), tmp_path / "out", tables=[pd.DataFrame(ROWS)])


@pytest.mark.parametrize("features", ["x,two v", "two v"])
def test_lists_in_cells_of_a_csv_file_are_refused_with_the_query_that_reads_them(tmp_path, features):
    path = tmp_path / "d.csv"
    path.write_text("id,x,two v,y\n" + "".join(f'{r["id"]},{r["x"]},"{r["two v"]}",{r["y"]}\n' for r in ROWS))
    said = refused(tmp_path, path, LONG | {"features": features})
    assert "row 2, column 'two v': expected a number, found '[0.0, 2.0]'" in said
    prepared = made(tmp_path, advised(said), LONG | {"features": "two v"})
    assert prepared.parts["train"].documents + prepared.parts["validation"].documents == 80


@pytest.mark.parametrize("form", ["2024-01-{:02}", "2024-01-{:02} 10:30:00"])
def test_dates_as_features_are_refused_with_the_query_that_makes_seconds_of_them(tmp_path, form):
    path = tmp_path / "d.csv"
    path.write_text(
        "id,x,when,y\n" + "".join(f"m{n % 8},{n},{form.format(n // 8 + 1)},{'ab'[n % 2]}\n" for n in range(80))
    )
    said = refused(tmp_path, path, LONG | {"features": "x,when"})
    assert "row 2, column 'when': expected a number, found '2024-01-01" in said
    prepared = made(tmp_path, advised(said), LONG | {"features": "when"}, validation_fraction=0)
    assert prepared.contract.features[0].maximum - prepared.contract.features[0].minimum == 9 * 86400
