"""CSV, Parquet and JSON lines to documents: series of time steps, a document per row, classes and numbers."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from prepare_support import made, rows, series, written
from ssm_hpn.config import Columns, PrepareOptions
from ssm_hpn.errors import DataError
from ssm_hpn.prepare import prepare
from ssm_hpn.prepare.reading import read
from ssm_hpn.prepare.sources import find

SERIES = {"features": "x,y,flat", "id": "machine", "order": "time", "label": "kind", "values": "load,wear"}


@pytest.mark.parametrize("suffix", ["csv", "parquet", "jsonl"])
def test_interleaved_series_become_documents_sorted_by_id_and_order(tmp_path: Path, suffix: str) -> None:
    table = series()
    prepared = made(tmp_path, written(tmp_path / f"data.{suffix}", table), SERIES)
    train, validation = rows(prepared.train), rows(prepared.validation)
    assert len(train) + len(validation) == 30
    mean, std = (np.array(prepared.manifest["normalisation"][key]) for key in ("mean", "std"))
    of_train = {row["name"].partition("#")[2] for row in train}
    raw = np.array([[r["x"], r["y"], r["flat"]] for r in table if r["machine"] in of_train])
    np.testing.assert_allclose(mean, raw.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(std[:2], raw.std(axis=0)[:2], rtol=1e-12)
    assert std[2] == 1.0
    for row in train + validation:
        name = row["name"].partition("#")[2]
        steps = sorted((r for r in table if r["machine"] == name), key=lambda r: r["time"])
        expected = (np.array([[r["x"], r["y"], r["flat"]] for r in steps]) - mean) / std
        np.testing.assert_allclose(row["features"], expected, rtol=1e-5, atol=1e-6)
        assert ["hum", "knock", "whistle"][row["label"]] == steps[0]["kind"]
        values = prepared.contract.unscale_values(row["values"])
        np.testing.assert_allclose(values, [steps[0]["load"], steps[0]["wear"]], atol=1e-5)
    assert prepared.class_names == ["hum", "knock", "whistle"]
    assert prepared.manifest["feature_names"] == ["x", "y", "flat"]
    assert (prepared.n_features, prepared.n_values, prepared.target) == (3, 2, "joint")


def test_series_that_follow_each_other_need_no_order_column(tmp_path: Path) -> None:
    table = sorted(series(), key=lambda r: (r["machine"], r["time"]))
    columns = {"features": ["x", "y"], "id": "machine"}
    together = made(tmp_path / "a", written(tmp_path / "a" / "data.csv", table), columns)
    apart = made(
        tmp_path / "b",
        written(tmp_path / "b" / "data.csv", sorted(table, key=lambda r: (r["time"], r["machine"]))),
        columns,
    )
    assert {r["name"]: r["features"] for r in rows(together.train)} == {
        r["name"]: r["features"] for r in rows(apart.train)
    }


def test_a_class_per_time_step(tmp_path: Path) -> None:
    lines = ["a,b,state", *(f"{n},{n * n},{n % 4}" for n in range(1000))]
    (tmp_path / "data.csv").write_text("\n".join(lines))
    prepared = made(
        tmp_path, tmp_path / "data.csv", {"features": "a,b", "labels": "state"}, normalize=False, max_document=100
    )
    train, validation = rows(prepared.train), rows(prepared.validation)
    steps = [step for row in train + validation for step in zip(row["features"], row["labels"], strict=True)]
    assert steps == [([n, n * n], n % 4) for n in range(1000)]
    assert sum(len(row["labels"]) for row in validation) == 100
    assert prepared.n_classes == 4
    assert prepared.manifest["normalisation"] is None


@pytest.mark.parametrize("suffix", ["parquet", "jsonl"])
def test_a_series_per_row(tmp_path: Path, suffix: str) -> None:
    rng = np.random.default_rng(1)
    table = [{"v": rng.normal(size=(n % 5 + 1, 2)).tolist(), "label": n % 2} for n in range(40)]
    prepared = made(
        tmp_path, written(tmp_path / f"d.{suffix}", table), {"features": "v", "label": "label"}, normalize=False
    )
    for row in rows(prepared.train) + rows(prepared.validation):
        source = table[int(row["name"].partition("#")[2]) - 1]
        np.testing.assert_allclose(row["features"], source["v"], rtol=1e-6)
        assert row["label"] == source["label"]


def test_a_channel_per_column(tmp_path: Path) -> None:
    table = [{"left": [n, n + 1.0], "right": [0.5, -n]} for n in range(30)]
    columns = {"features": ["left", "right"]}
    prepared = made(tmp_path, written(tmp_path / "d.jsonl", table), columns, normalize=False)
    row = next(row for row in rows(prepared.train) if row["name"] == "d.jsonl#3")
    assert row["features"] == [[2.0, 0.5], [3.0, -2.0]]
    assert prepared.target is None


@pytest.mark.parametrize("suffix", ["csv", "parquet", "jsonl"])
def test_texts_with_labels(tmp_path: Path, suffix: str) -> None:
    table = [{"text": f"text {n}", "topic": "ab"[n % 2]} for n in range(40)]
    prepared = made(tmp_path, written(tmp_path / f"d.{suffix}", table), {"label": "topic"})
    found = rows(prepared.train) + rows(prepared.validation)
    assert {(bytes(r["tokens"]).decode(), "ab"[r["label"]]) for r in found} == {(r["text"], r["topic"]) for r in table}
    assert prepared.class_names == ["a", "b"]


def test_ids_with_labels_per_token_and_gaps(tmp_path: Path) -> None:
    table = [{"tokens": [n, 1, 2], "tags": ["noun", None, "verb"]} for n in range(40)]
    prepared = made(tmp_path, written(tmp_path / "d.jsonl", table), {"labels": "tags"})
    assert {tuple(row["labels"]) for row in rows(prepared.train)} == {(0, -1, 1)}
    assert prepared.target == "token_class"


def test_a_long_series_is_read_in_pieces(tmp_path: Path) -> None:
    (tmp_path / "long.csv").write_text("x,y\n" + "1,2\n" * 1_000_000)
    options = PrepareOptions(train=(str(tmp_path / "long.csv"),), columns=Columns(features=("x", "y")), max_document=16)
    units = [record.units for record in read(find(options.train, options, key="data.train"), options)]
    assert sum(units) == 1_000_000
    assert max(units) < 500_000


@pytest.mark.parametrize("longest", [8, 12])
def test_ids_are_sorted_by_length_and_bytes_whatever_their_length_and_the_format(tmp_path, longest):
    ids = [letter * length for length in range(1, longest + 1) for letter in "bäa"]
    rng = np.random.default_rng(0)
    rows = [{"id": one, "t": step, "x": float(rng.normal())} for one in ids for step in range(3)]
    rows = [rows[index] for index in rng.permutation(len(rows))]
    (tmp_path / "d.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "d.csv").write_text("id,t,x\n" + "".join(f"{row['id']},{row['t']},{row['x']!r}\n" for row in rows))
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "d.parquet")
    options = {"columns": {"id": "id", "order": "t", "features": ("x",)}, "validation_fraction": 0.0}
    digests = set()
    for name in ("d.jsonl", "d.csv", "d.parquet"):
        given = PrepareOptions.model_validate({"train": (str(tmp_path / name),), **options})
        found = list(read(find(given.train, given, key="data.train"), given))
        assert [one.name.partition("#")[2] for one in found] == sorted(ids, key=lambda one: (len(one.encode()), one))
        digests.add(prepare(given, tmp_path / f"out-{name}").digest)
    assert len(digests) == 1


def test_an_id_with_a_leading_nul_character_differs_from_the_id_without(tmp_path):
    ids = ["a", "\0a", "a", "\0a"]
    pq.write_table(pa.table({"id": ids, "t": [1, 2, 3, 4], "x": [1.0, 2.0, 3.0, 4.0]}), tmp_path / "d.parquet")
    columns = {"id": "id", "order": "t", "features": ("x",)}
    given = PrepareOptions.model_validate({"train": (str(tmp_path / "d.parquet"),), "columns": columns})
    found = list(read(find(given.train, given, key="data.train"), given))
    assert [one.features.ravel().tolist() for one in found] == [[1.0, 3.0], [2.0, 4.0]]


def test_rows_without_a_time_step_are_counted_where_channels_are_lists(tmp_path):
    rows = [{"x": [float(n), 1.0]} for n in range(20)] + [{"x": []}]
    (tmp_path / "d.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    given = PrepareOptions.model_validate(
        {"train": (str(tmp_path / "d.jsonl"),), "columns": {"features": ("x",)}, "validation_fraction": 0.0}
    )
    prepared = prepare(given, tmp_path / "out")
    assert ("1 row", "nothing in the column of the data") in prepared.contract.left_out


@pytest.mark.parametrize("kind", ["parquet", "arrow", "pandas"])
def test_a_column_that_is_there_twice_is_refused(tmp_path: Path, kind: str) -> None:
    names, rows = ["id", "x", "y", "x"], [[f"k{n // 4}", float(n), n, -1.0 * n] for n in range(80)]
    table = pa.table([pa.array(column) for column in zip(*rows, strict=True)], names=names)
    data = pd.DataFrame(rows, columns=names) if kind == "pandas" else table
    options = PrepareOptions(columns=Columns(id="id", features=("x*",)))
    if kind == "parquet":
        pq.write_table(table, tmp_path / "d.parquet")
        options = options.model_copy(update={"train": (str(tmp_path / "d.parquet"),)})
    with pytest.raises(DataError, match=r"each column named once, found 'x' as columns 2 and 4; rename one of them"):
        prepare(options, tmp_path / "out", tables=() if kind == "parquet" else [data])


def test_rows_without_an_id_that_have_targets_of_their_own_are_told_to_name_one(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("a,b,price\n" + "".join(f"{n},{n * n},{n}.5\n" for n in range(40)))
    with pytest.raises(DataError, match=r"without data\.columns\.id all rows are one document") as error:
        made(tmp_path, path, {"features": ["a", "b"], "values": ["price"]})
    query = str(error.value).partition('--data "')[2].partition('"')[0]
    prepared = made(tmp_path, query, {"id": "row", "features": ["a", "b"], "values": ["price"]})
    assert sum(part.documents for part in prepared.parts.values()) == 40
