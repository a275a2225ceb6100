"""Columns whose names differ in case alone: each is read as itself, or refused with what to do."""

import json

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from prepare_support import made
from ssm_hpn.config import PrepareOptions
from ssm_hpn.errors import DataError
from ssm_hpn.prepare import Prepared
from ssm_hpn.prepare.engine import engine
from ssm_hpn.prepare.opening import open_table
from ssm_hpn.prepare.source import Source
from ssm_hpn.prepare.twins import true_keys

DOCUMENTS = 12
STEPS = 4
NUMBERS = np.arange(DOCUMENTS * STEPS, dtype=float)
TABLE = {
    "ID": [f"u{n % DOCUMENTS}" for n in range(DOCUMENTS * STEPS)],
    "id": [f"m{n // STEPS}" for n in range(DOCUMENTS * STEPS)],
    "X": (NUMBERS + 1000).tolist(),
    "x": NUMBERS.tolist(),
    "x_1": (NUMBERS + 5000).tolist(),
    "Y": ["upper"] * (DOCUMENTS * STEPS),
    "y": [("a", "b")[n // STEPS % 2] for n in range(DOCUMENTS * STEPS)],
}
COLUMNS = {"id": "id", "features": ("x",), "label": "y"}


def written(folder, suffix, table=TABLE):
    file = folder / f"d{suffix}"
    records = [dict(zip(table, row, strict=True)) for row in zip(*table.values(), strict=True)]
    if suffix == ".csv":
        lines = [",".join(table), *(",".join(map(str, one.values())) for one in records)]
        file.write_text("\n".join(lines) + "\n")
    elif suffix == ".jsonl":
        file.write_text("".join(json.dumps(one) + "\n" for one in records))
    else:
        pq.write_table(pa.table(table), file)
    return file


def means(prepared: Prepared):
    return {column.name: column.mean for column in prepared.contract.features}


@pytest.mark.parametrize("suffix", [".csv", ".parquet", ".jsonl"])
@pytest.mark.parametrize(("name", "lowest"), [("x", 0), ("X", 1000), ("x_1", 5000)])
def test_each_of_two_columns_is_read_as_itself(tmp_path, suffix, name, lowest):
    file = written(tmp_path, suffix)
    prepared = made(tmp_path, file, COLUMNS | {"features": (name,)}, validation_fraction=0, normalize=False)
    (column,) = prepared.contract.features
    assert (column.name, column.minimum, column.maximum) == (name, lowest, lowest + len(NUMBERS) - 1)
    assert prepared.class_names == ["a", "b"]
    assert prepared.parts["train"].documents == DOCUMENTS
    assert not any("x_1_1" in note for note in prepared.contract.notes)


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_both_are_read_as_two(tmp_path, suffix):
    columns = COLUMNS | {"features": ("X", "x", "x_1")}
    prepared = made(tmp_path, written(tmp_path, suffix), columns, validation_fraction=0)
    assert means(prepared) == {"X": NUMBERS.mean() + 1000, "x": NUMBERS.mean(), "x_1": NUMBERS.mean() + 5000}


def test_two_keys_of_json_lines_are_refused_together(tmp_path):
    with pytest.raises(DataError, match="keys in use that differ in more than case, found 'X' and 'x'; rename one"):
        made(tmp_path, written(tmp_path, ".jsonl"), COLUMNS | {"features": ("X", "x")})


def test_a_key_of_the_other_case_is_a_missing_value(tmp_path):
    file = tmp_path / "d.jsonl"
    lines = [{"id": f"m{n // 4}", "x" if n % 2 else "X": float(n)} for n in range(48)]
    file.write_text("".join(json.dumps(one) + "\n" for one in lines))
    prepared = made(tmp_path, file, {"id": "id", "features": ("x",)}, validation_fraction=0)
    (column,) = prepared.contract.features
    assert (column.missing, column.minimum, column.maximum) == (24, 1, 47)


@pytest.mark.parametrize("suffix", [".csv", ".parquet", ".jsonl"])
def test_a_column_of_another_case_is_not_taken(tmp_path, suffix):
    table = {name: values for name, values in TABLE.items() if name not in ("x", "x_1")}
    with pytest.raises(DataError, match=r"'x', found no such (column|key); did you mean 'X'"):
        made(tmp_path, written(tmp_path, suffix, table), COLUMNS)
    with pytest.raises(DataError, match="found no such"):  # a name that the engine gives the second of the two
        made(tmp_path, written(tmp_path, suffix), COLUMNS | {"features": ("y_1",)})


@pytest.mark.parametrize("kind", ["arrow", "pandas", "polars"])
def test_tables_in_memory_are_read_by_their_exact_names(tmp_path, kind):
    content = {"arrow": pa.table, "pandas": pd.DataFrame, "polars": pl.DataFrame}[kind](TABLE)
    source = Source(tmp_path / "table", "table", "table", content)
    with engine(None) as connection:
        table = open_table(source, PrepareOptions(), connection)
        assert list(table.present) == list(TABLE)
        query = table.select({"a": ("x", "number"), "b": ("X", "number"), "c": ("x_1", "number"), "d": ("y", "text")})
        assert table.rows_of(query)[1] == (1.0, 1001.0, 5001.0, "a")


@pytest.mark.parametrize("suffix", [".csv", ".parquet", ".jsonl"])
def test_a_query_that_names_one_of_two_is_refused(tmp_path, suffix):
    file = written(tmp_path, suffix)
    for query in (f"SELECT id, x, y FROM '{file}'", f"SELECT y FROM '{tmp_path}/d*{suffix}' WHERE X > 3"):
        with pytest.raises(DataError, match="query: expected columns with names of their own in any case, found '"):
            made(tmp_path, f"sql:{query}", {"id": "id", "features": ("x",), "label": "y"})
    others = {name: values for name, values in TABLE.items() if name not in ("ID", "Y")}
    file = written(tmp_path, suffix, others)
    query = f"sql:SELECT id, x_1 AS z, y FROM '{file}'"
    with pytest.raises(DataError, match="'X' and 'x'"):  # for the engine x_1 is x here
        made(tmp_path, query, {"id": "id", "features": ("z",), "label": "y"})
    query = f"sql:SELECT id, y, length(id) AS n FROM '{file}'"  # the two are not used
    prepared = made(tmp_path, query, {"id": "id", "features": ("n",), "label": "y"}, validation_fraction=0)
    assert prepared.class_names == ["a", "b"]


def test_a_query_of_a_file_with_a_column_twice_is_refused(tmp_path):
    (tmp_path / "d.csv").write_text("id,x,x\n" + "".join(f"m{n // 4},{n},{n + 100}\n" for n in range(48)))
    with pytest.raises(DataError, match="found 'x' and 'x' in "):
        made(tmp_path, f"sql:SELECT id, x FROM '{tmp_path}/d.csv'", {"id": "id", "features": ("x",)})


READS = [
    (".csv", "gzip", "d.csv.gz", "'{file}'"),
    (".csv", "zstd", "d.csv.zst", "read_csv('{file}')"),
    (".csv", "gzip", "d.data", "read_csv('{file}', compression='gzip')"),
    (".csv", None, "d.txt", "read_csv('{file}')"),
    (".jsonl", "gzip", "d.json.gz", "'{file}'"),
    (".jsonl", "gzip", "d.jsonl.gz", "read_json(['{file}'])"),
    (".jsonl", None, "d.log", "read_json('{file}')"),
    (".parquet", None, "d.data", "read_parquet('{file}')"),
]


@pytest.mark.parametrize(("suffix", "compression", "name", "read"), READS)
def test_a_query_of_a_compressed_file_or_of_one_with_another_ending_is_checked(
    tmp_path, suffix, compression, name, read
):
    file = tmp_path / name
    content = written(tmp_path, suffix).read_bytes()
    with pa.output_stream(str(file), compression=compression) as stream:
        stream.write(content)
    scan = read.format(file=file)
    with pytest.raises(
        DataError, match=rf"in any case, found 'ID' and 'id' in .*{name}; rename one of them in the file"
    ):
        made(tmp_path, f"sql:SELECT id, x FROM {scan}", {"id": "id", "features": ("x",)})


def test_a_query_of_a_compressed_file_with_a_column_twice_is_refused(tmp_path):
    with pa.output_stream(str(tmp_path / "d.csv.gz"), compression="gzip") as stream:
        stream.write(b"\n\nid,x,x\n" + b"".join(b"m%d,%d,%d\n" % (n // 4, n, n + 100) for n in range(48)))
    with pytest.raises(DataError, match="found 'x' and 'x' in "):
        made(tmp_path, f"sql:SELECT id, x FROM '{tmp_path}/d.csv.gz'", {"id": "id", "features": ("x",)})


def test_a_query_of_a_json_array_is_checked(tmp_path):
    (tmp_path / "d.json").write_text(json.dumps([{"id": f"m{n // 4}", "x": n, "X": -n} for n in range(48)], indent=1))
    with pytest.raises(DataError, match="found 'x' and 'X' in "):
        made(tmp_path, f"sql:SELECT id, x FROM '{tmp_path}/d.json'", {"id": "id", "features": ("x",)})


@pytest.mark.parametrize("compression", [None, "gzip"])
@pytest.mark.parametrize("form", ["lines", "array"])
@pytest.mark.parametrize("later", [{"id": "m9", "X": 3}, {"X": 3, "id": "m9", "x": 4}])
def test_keys_of_every_json_object_of_a_query_are_checked(tmp_path, form, later, compression):
    """The engine looks at 20,480 objects; of later ones it drops keys that these have not."""
    objects = [json.dumps(one) for one in [*({"id": f"m{n // 4}", "x": n} for n in range(30_000)), later]]
    text = "\n".join(objects) if form == "lines" else f"[{','.join(objects)}]"
    file = tmp_path / ("d.json.gz" if compression else "d.json")
    with pa.output_stream(str(file), compression=compression) as stream:
        stream.write(text.encode())
    with pytest.raises(DataError, match="found 'x' and 'X' in "):
        made(tmp_path, f"sql:SELECT id, x FROM '{file}'", {"id": "id", "features": ("x",)})


@pytest.mark.parametrize("form", ["lines", "array"])
def test_a_key_twice_in_a_later_json_object_of_a_query_is_refused(tmp_path, form):
    objects = [f'{{"id": "m{n // 4}", "x": {n}}}' for n in range(30_000)] + ['{"id": "m9", "x": 1, "x": 2}']
    (tmp_path / "d.json").write_text("\n".join(objects) if form == "lines" else f"[{','.join(objects)}]")
    with pytest.raises(DataError, match=r'query: .* has duplicate key "x"'):
        made(tmp_path, f"sql:SELECT id, x FROM '{tmp_path}/d.json'", {"id": "id", "features": ("x",)})


@pytest.mark.parametrize("compression", ["gzip", "zstd"])
def test_queries_of_compressed_tables_are_read(tmp_path, compression):
    for part in range(3):
        with pa.output_stream(str(tmp_path / f"{part}.csv.x"), compression=compression) as stream:
            stream.write(b"id,x\n" + b"".join(b"m%d,%d\n" % (n // 4, n + part) for n in range(48)))
    tables = [f"read_csv('{tmp_path}/{part}.csv.x', compression='{compression}')" for part in range(3)]
    query = f"sql:SELECT id, x FROM {tables[0]} UNION ALL FROM {tables[1]} UNION ALL FROM {tables[2]}"
    prepared = made(tmp_path, query, {"id": "id", "features": ("x",)}, validation_fraction=0)
    assert means(prepared) == {"x": 24.5}


def test_a_query_of_a_damaged_compressed_file_gives_the_error_of_reading_it(tmp_path):
    (tmp_path / "d.csv.gz").write_bytes(b"\x1f\x8b\x08 no gzip at all")
    with pytest.raises(DataError, match=r"^query: expected a query that the engine can run, found "):
        made(tmp_path, f"sql:SELECT id, x FROM '{tmp_path}/d.csv.gz'", {"id": "id", "features": ("x",)})


def test_a_query_whose_result_has_both_is_refused(tmp_path):
    with pytest.raises(DataError, match="each column named once, found 'x' as columns 2 and 3"):
        made(tmp_path, "sql:SELECT 1 AS id, 2 AS X, 3 AS x", {"id": "id", "features": ("x",)})


def test_a_table_of_labels_is_read_by_exact_names(tmp_path):
    file = written(tmp_path, ".csv")
    labels = {"id": [f"m{n}" for n in range(DOCUMENTS)], "Y": ["no"] * DOCUMENTS, "y": ["p", "q"] * (DOCUMENTS // 2)}
    pq.write_table(pa.table(labels), tmp_path / "labels.parquet")
    prepared = made(tmp_path, file, COLUMNS, labels=str(tmp_path / "labels.parquet"), validation_fraction=0)
    assert prepared.class_names == ["p", "q"]


def test_keys_that_the_engine_did_not_rename_are_not_looked_for(tmp_path):
    source = Source(tmp_path / "nowhere.jsonl", "nowhere.jsonl", "jsonl")
    assert true_keys(source, ["a", "b_1"], 10) == ["a", "b_1"]
