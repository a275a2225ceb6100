"""Labels of every type, missing labels, and rows sorted by an order column."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from prepare_support import made, rows
from ssm_hpn.config import Columns, PrepareOptions
from ssm_hpn.errors import DataError
from ssm_hpn.prepare import Prepared, prepare, records
from ssm_hpn.prepare import rows as table_rows
from ssm_hpn.prepare.prefetch import WORKERS

COLUMNS = {"id": "id", "features": "x", "label": "y"}


def steps(labels: list[Any], count: int = 40, length: int = 3) -> list[dict[str, Any]]:
    """Short series, the label of series n being the nth of `labels`, again and again."""
    return [{"id": f"s{n}", "x": n + t / 10, "y": labels[n % len(labels)]} for n in range(count) for t in range(length)]


def csv(path: Path, table: list[dict[str, Any]]) -> Path:
    lines = [",".join(table[0]), *(",".join("" if v is None else str(v) for v in row.values()) for row in table)]
    path.write_text("\n".join(lines) + "\n")
    return path


def labelled(prepared: Prepared) -> dict[str, int]:
    found = rows(prepared.train) + (rows(prepared.validation) if prepared.validation else [])
    return {row["name"].partition("#")[2]: row["label"] for row in found}


@pytest.mark.parametrize(
    ("labels", "kind", "values"),
    [
        ([-1, 1], "integer", (-1, 1)),
        ([5, 3, 4], "integer", (3, 4, 5)),
        ([9009, 1001], "integer", (1001, 9009)),
        ([20240101, 20231231], "integer", (20231231, 20240101)),
        ([1.0, 2.0], "number", (1.0, 2.0)),
        ([0, 0.5], "number", (0.0, 0.5)),
        ([True, False], "boolean", (False, True)),
        (["true", "False"], "boolean", (False, True)),
        (["007", "7a"], "text", ("007", "7a")),
        (["cat", "dog", None], "text", ("cat", "dog")),
        ([1, 2, "NaN"], "integer", (1, 2)),
    ],
)
@pytest.mark.parametrize("suffix", ["csv", "jsonl"])
def test_classes_are_the_distinct_labels(tmp_path, labels, kind, values, suffix):
    table = steps(labels)
    path = tmp_path / f"d.{suffix}"
    if suffix == "csv":
        csv(path, table)
    else:
        path.write_text("".join(json.dumps(row) + "\n" for row in table))
    prepared = made(tmp_path, path, COLUMNS)
    classes = prepared.contract.classes
    assert (classes.type, classes.values) == (kind, values)
    expected = {f"s{n}": classes.index(labels[n % len(labels)]) for n in range(40)}
    assert labelled(prepared) == expected
    assert classes.index(None) == -1


@pytest.mark.parametrize("kind", ["bytes", "categorical", "bool", "float", "null first"])
def test_labels_of_every_arrow_type(tmp_path, kind):
    given = {
        "bytes": pa.array([b"a", b"b"] * 20),
        "categorical": pa.array(["a", "b"] * 20).dictionary_encode(),
        "bool": pa.array([True, False] * 20),
        "float": pa.array([1.0, float("nan")] * 20),
        "null first": pa.array([None, "b"] * 20),
    }[kind]
    table = pa.table({"id": [f"s{n}" for n in range(40)], "x": np.arange(40.0), "y": given})
    pq.write_table(table, tmp_path / "d.parquet", row_group_size=7)
    prepared = made(tmp_path, tmp_path / "d.parquet", COLUMNS)
    expected = {"bytes": ("a", "b"), "categorical": ("a", "b"), "bool": (False, True), "float": (1.0,)}
    assert prepared.contract.classes.values == expected.get(kind, ("b",))


def test_the_same_rows_have_the_same_digest_in_every_format(tmp_path):
    table = steps(["007", "x"])
    frame = pd.DataFrame(table)
    frame.to_csv(tmp_path / "a.csv", index=False)
    frame.to_csv(tmp_path / "b.tsv", index=False, sep="\t")
    frame.to_parquet(tmp_path / "c.parquet")
    frame.to_json(tmp_path / "d.jsonl", orient="records", lines=True)
    query = f"sql:SELECT * FROM '{tmp_path}/c.parquet'"
    options = PrepareOptions(columns=Columns(**COLUMNS))
    digests = {}
    for index, source in enumerate(
        [tmp_path / "a.csv", tmp_path / "b.tsv", tmp_path / "c.parquet", tmp_path / "d.jsonl"]
    ):
        digests[source.name] = made(tmp_path / str(index), source, COLUMNS).digest
    digests["sql"] = made(tmp_path / "sql", query, COLUMNS).digest
    for name, handed in (("pandas", frame), ("polars", pl.DataFrame(table)), ("arrow", pa.Table.from_pandas(frame))):
        digests[name] = prepare(options, tmp_path / name, tables=[handed]).digest
    assert len(set(digests.values())) == 1, digests


def test_one_class_in_two_files_and_types_is_one_class(tmp_path):
    folder = tmp_path / "data"
    folder.mkdir()
    csv(folder / "a.csv", steps([1, 2]))
    csv(folder / "b.csv", [row | {"id": "t" + row["id"]} for row in steps([1.0, 2.0])])
    prepared = made(tmp_path, folder, COLUMNS)
    assert prepared.contract.classes.values == (1.0, 2.0)


@pytest.mark.parametrize(("labels", "named"), [(["7", "007"], "'007' and '7'"), (["a", "a "], "'a' and 'a '")])
def test_one_class_in_two_spellings_is_refused(tmp_path, labels, named):
    with pytest.raises(DataError, match=rf"column 'y': labels: expected each class written one way, found {named}"):
        made(tmp_path, csv(tmp_path / "d.csv", steps([*labels, "x"])), COLUMNS)


def test_a_column_of_measurements_is_refused_as_labels(tmp_path):
    table = steps([n / 7 for n in range(40)])
    with pytest.raises(DataError, match=r"column 'y': expected classes, found 40 different numbers with fractions"):
        made(tmp_path, csv(tmp_path / "d.csv", table), COLUMNS)


# ---- order


ORDERS: dict[str, tuple[list[Any], str]] = {
    "numbers as text": ([str(n) for n in range(12)], "number"),
    "times of day": ([f"{8 + n // 2}:{30 * (n % 2):02}" for n in range(12)], "time of day"),
    "dates with days first": ([f"{d}.{m}.2024" for m in (1, 2) for d in (5, 15, 25)], "day.month.year"),
    "dates with months first": ([f"{m}/{d}/2024" for m in (1, 2) for d in (5, 15, 25)], "month/day/year"),
    "iso dates": ([f"2024-{m:02}-01" for m in range(1, 13)], "timestamp"),
    "offsets": (["2024-01-01T03:00:00+02:00", "2024-01-01T02:00:00+00:00"], "timestamp with zone"),
    "whole numbers, then fractions": ([0, 1, 2, 2.5, 10], "number"),
    "nanoseconds": ([1_700_000_000_000_000_000 + n for n in range(8)], "number"),
}


@pytest.mark.parametrize("name", ORDERS)
@pytest.mark.parametrize("suffix", ["csv", "jsonl"])
def test_rows_are_sorted_by_numbers_times_and_dates(tmp_path, name, suffix):
    values, kind = ORDERS[name]
    table = [{"id": f"s{n}", "t": t, "x": float(k)} for n in range(5) for k, t in enumerate(values)]
    shuffled = [table[i] for i in np.random.default_rng(0).permutation(len(table))]
    path = tmp_path / f"d.{suffix}"
    if suffix == "csv":
        csv(path, shuffled)
    else:
        path.write_text("".join(json.dumps(row) + "\n" for row in shuffled))
    columns = {"id": "id", "features": "x", "order": "t"}
    prepared = made(tmp_path, path, columns, normalize=False, validation_fraction=0)
    for row in rows(prepared.train):
        assert [step[0] for step in row["features"]] == [float(k) for k in range(len(values))]
    assert next(column for column in prepared.contract.columns if column.role == "order").type == kind


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            ["step 1", "step 2", "step 10"],
            r"column 't': expected numbers, times of day or dates to sort by, found 'step",
        ),
        (["5.1.", "15.1.", "5.2."], r"expected numbers, times of day or dates"),
        (["1/2/2024", "3/4/2024"], r"expected dates that can be read in one way, .*data\.date_format"),
        (["1", "", "3"], r"row 3, column 't': expected a number in every row, found 2 rows without one"),
    ],
)
def test_an_order_that_cannot_be_read_is_refused(tmp_path, values, message):
    table = [{"id": f"s{n}", "t": t, "x": float(k)} for n in range(2) for k, t in enumerate(values)]
    with pytest.raises(DataError, match=message):
        made(tmp_path, csv(tmp_path / "d.csv", table), {"id": "id", "features": "x", "order": "t"})


def test_a_missing_order_value_far_into_a_file_is_refused_with_its_row(tmp_path):
    table = [{"id": "s0", "t": t, "x": 1.0} for t in [*range(30_000), "noon", *range(10)]]
    with pytest.raises(DataError, match=r"row 30002, column 't': expected a number in every row, found 1 row without"):
        made(tmp_path, csv(tmp_path / "d.csv", table), {"id": "id", "features": "x", "order": "t"})


def test_equal_order_values_keep_the_order_of_the_file(tmp_path):
    table = [{"id": f"s{n % 3}", "t": 0, "x": float(n)} for n in range(30_000)]
    columns = {"id": "id", "features": "x", "order": "t"}
    prepared = made(tmp_path, csv(tmp_path / "d.csv", table), columns, normalize=False, validation_fraction=0)
    for row in rows(prepared.train):
        found = [step[0] for step in row["features"]]
        assert found == sorted(found)


@pytest.mark.parametrize("suffix", ["csv", "parquet", "jsonl"])
def test_the_digest_does_not_depend_on_the_number_of_threads(tmp_path, suffix):
    order = np.random.default_rng(0).integers(0, 3, 60_000).tolist()
    table = [{"id": f"s{n % 40}", "t": t, "x": float(n)} for n, t in enumerate(order)]
    path = tmp_path / f"d.{suffix}"
    if suffix == "csv":
        csv(path, table)
    elif suffix == "parquet":
        pq.write_table(pa.Table.from_pylist(table), path, row_group_size=5000)
    else:
        path.write_text("".join(json.dumps(row) + "\n" for row in table))
    columns = {"id": "id", "features": "x", "order": "t"}
    digests = set()
    for threads in (1, 2, 3, 8):
        token = WORKERS.set(threads)
        digests.add(made(tmp_path / str(threads), path, columns).digest)
        WORKERS.reset(token)
    assert len(digests) == 1


def test_rows_without_an_id_are_refused_with_their_number(tmp_path):
    table = [{"id": None if n in (4, 9) else "s1", "x": n} for n in range(12)]
    with pytest.raises(DataError, match=r"row 6, column 'id': expected an id in every row, found 2 rows without one"):
        made(tmp_path, csv(tmp_path / "d.csv", table), {"id": "id", "features": "x"})


def test_a_column_named_twice_is_refused(tmp_path):
    (tmp_path / "d.csv").write_text("id,x,x\na,1,2\n")
    with pytest.raises(DataError, match=r"row 1: expected each column named once, found 'x' as columns 2 and 3"):
        made(tmp_path, tmp_path / "d.csv", {"id": "id", "features": "x"})


@pytest.mark.parametrize("target", ["label", "labels"])
def test_a_label_column_that_is_empty_everywhere_is_refused(tmp_path, target):
    path = csv(tmp_path / "d.csv", steps([None, ""]))
    columns = COLUMNS | {"label": None, target: "y"}
    with pytest.raises(DataError, match=rf"d\.csv: column 'y': .*the column empty in all rows; .*\.{target}, or"):
        made(tmp_path, path, columns)
    other = [row | {"x": row["x"] + 0.05} for row in steps(["a", "b"])]
    held_out = csv(tmp_path / "v.csv", other)
    with pytest.raises(DataError, match=r"d\.csv: column 'y': expected labels .*found none in the training part"):
        made(tmp_path, path, columns, validation=(str(held_out),))


def test_a_table_of_labels_without_a_label_is_refused(tmp_path):
    path = csv(tmp_path / "d.csv", steps(["a", "b"]))
    (tmp_path / "labels.csv").write_text("id,y\ns0,\n")
    with pytest.raises(DataError, match=r"column 'y': .*found none in .*labels\.csv for the ids of the training"):
        made(tmp_path, path, COLUMNS, labels=str(tmp_path / "labels.csv"))


def test_the_digest_does_not_depend_on_how_many_rows_come_at_once(tmp_path, monkeypatch):
    """Runs of the sort, and batches of statistics, are as large as the engine's batches happen to be."""
    rng = np.random.default_rng(0)
    rows = [
        {"id": f"s{i}", "t": n, "x": x}
        for n, (i, x) in enumerate(zip(rng.integers(0, 90, 40_000), rng.normal(size=40_000), strict=True))
    ]
    path = csv(tmp_path / "d.csv", rows)
    digests = set()
    for run, piece in ((1 << 30, 1 << 20), (300_000, 100_000), (50_000, 20_000)):
        monkeypatch.setattr(table_rows, "RUN_BYTES", run)
        monkeypatch.setattr(table_rows, "PIECES_BYTES", piece)
        prepared = made(tmp_path / str(run), path, {"id": "id", "order": "t", "features": "x"})
        manifest = json.loads((tmp_path / str(run) / "out" / "train" / "manifest.json").read_text())
        digests.add((prepared.digest, json.dumps(manifest["normalisation"])))
    assert len(digests) == 1


@pytest.mark.parametrize("per_row", [True, False])
@pytest.mark.parametrize("split", ["auto", "side=s1"])
def test_more_labels_than_there_may_be_classes_are_refused_while_they_are_read(tmp_path, monkeypatch, per_row, split):
    monkeypatch.setattr(records, "MOST_CLASSES", 30)
    columns = "text,label,side" if per_row else "id,t,x,label,side"
    given = (lambda n: f"text {n}") if per_row else (lambda n: f"{n},1,{n * n % 7}")
    label, side = ("c{n}", "s1") if split == "auto" else ("a", "s{n}")
    lines = [columns, *(f"{given(n)},{label.format(n=n)},{side.format(n=n)}" for n in range(40))]
    (tmp_path / "t.csv").write_text("\n".join(lines) + "\n")
    used = {"label": "label"} | ({} if per_row else {"id": "id", "order": "t", "features": ["x"]})
    name, what = ("label", "classes") if split == "auto" else ("side", "different values")
    with pytest.raises(DataError, match=f"column '{name}': expected at most [0-9]+ {what}, found more"):
        made(tmp_path, tmp_path / "t.csv", used, split=split)


@pytest.mark.parametrize("written", ["nan", "NaN", " "])
@pytest.mark.parametrize("per_row", [True, False])
@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_an_id_that_reads_nan_is_none(tmp_path, written, per_row, kind):
    ids = [f"s{n}" for n in range(40)] + [written] * 3
    frame = pd.DataFrame({"id": ids, "t": range(43), "x": np.arange(43.0), "text": [f"text {n}" for n in range(43)]})
    path = tmp_path / f"t.{kind}"
    frame.to_csv(path, index=False) if kind == "csv" else frame.to_parquet(path)
    used = {"id": "id"} | ({"text": "text"} if per_row else {"order": "t", "features": ["x"]})
    with pytest.raises(DataError, match="column 'id': expected an id in every row, found 3 rows without one"):
        made(tmp_path, path, used)


def test_an_id_that_often_means_a_missing_value_is_noted(tmp_path):
    ids = [*(f"s{n}" for n in range(40)), "NA", "none"]
    (tmp_path / "t.csv").write_text("id,t,x\n" + "".join(f"{one},{n},{n}.5\n" for n, one in enumerate(ids)))
    notes = made(tmp_path, tmp_path / "t.csv", {"id": "id", "order": "t", "features": ["x"]}).contract.notes
    assert "id 'NA' looks like a missing value; as an id it names one document" in notes
    assert "id 'none' looks like a missing value; as an id it names one document" in notes
