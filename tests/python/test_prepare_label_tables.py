"""Labels in a table of their own: every id that does not match is refused or counted."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from prepare_support import made, rows, written
from ssm_hpn.errors import ConfigError, DataError

COLUMNS = {"id": "id", "features": "x", "label": "y"}


def series(path: Path, ids: list[Any], steps: int = 3) -> Path:
    return written(path, [{"id": one, "x": n + t / 10} for n, one in enumerate(ids) for t in range(steps)])


def labels(path: Path, pairs: list[tuple[Any, Any]], name: str = "y") -> str:
    return str(written(path, [{"id": one, name: value} for one, value in pairs]))


def labelled(prepared: Any) -> dict[str, int]:
    return {row["name"].partition("#")[2]: row["label"] for row in rows(prepared.train)}


@pytest.mark.parametrize("suffix", ["csv", "parquet", "jsonl", "txt"])
@pytest.mark.parametrize("kind", [str, int])
def test_labels_come_from_a_table_of_any_format(tmp_path, suffix, kind):
    ids = [kind(n) for n in range(20)]
    data = series(tmp_path / "x.parquet", ids)
    table = labels(tmp_path / f"y.{'csv' if suffix == 'txt' else suffix}", [(one, "uv"[int(one) % 2]) for one in ids])
    if suffix == "txt":
        table = str(Path(table).rename(tmp_path / "y.txt"))
    prepared = made(tmp_path, data, COLUMNS, labels=table, validation_fraction=0)
    assert labelled(prepared) == {str(n): n % 2 for n in range(20)}
    assert prepared.contract.notes == ()


@pytest.mark.parametrize("suffix", ["csv", "parquet", "jsonl"])
def test_numbers_to_predict_come_from_the_table_too(tmp_path, suffix):
    data = series(tmp_path / "x.csv", [f"s{n}" for n in range(20)])
    table = labels(tmp_path / f"y.{suffix}", [(f"s{n}", n / 4) for n in range(20)], "load")
    columns = {"id": "id", "features": "x", "values": "load"}
    prepared = made(tmp_path, data, columns, labels=table, validation_fraction=0)
    values = {row["name"].partition("#")[2]: row["values"][0] for row in rows(prepared.train)}
    assert prepared.contract.unscale_values([[values["s7"]]])[0, 0] == pytest.approx(1.75)


@pytest.mark.parametrize("where", ["file", "table"])
@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet"])
def test_true_and_false_are_numbers_to_predict_with_a_note_and_classes_without(tmp_path, suffix, where):
    ids = [f"s{n}" for n in range(20)]
    table = labels(tmp_path / f"y.{suffix}", [(one, n % 4 == 0) for n, one in enumerate(ids)], "failed")
    data, given = series(tmp_path / "x.parquet", ids), {"labels": table}
    if where == "file":
        named = [{"id": one, "x": n + t, "failed": n % 4 == 0} for n, one in enumerate(ids) for t in range(3)]
        data, given = written(tmp_path / f"y.{suffix}", named), {}
    columns, noun = {"id": "id", "features": "x"}, "key" if suffix == "jsonl" else "column"
    found = made(tmp_path, data, columns | {"values": "failed"}, validation_fraction=0, **given).contract
    assert found.columns[-1].mean == 0.25
    said = f"{noun} 'failed': true and false are read as 1 and 0; as classes, name it as the label"
    assert found.notes == (f"y.{suffix}: {said}",)
    classes = made(tmp_path / "c", data, columns | {"label": "failed"}, validation_fraction=0, **given).contract
    assert (classes.classes.values, classes.classes.counts, classes.notes) == ((False, True), (15, 5), ())


def test_true_and_false_beside_a_number_of_a_table_of_labels_are_refused(tmp_path):
    ids = [f"s{n}" for n in range(20)]
    table = labels(tmp_path / "y.csv", [(one, "0.5" if n == 7 else n % 4 == 0) for n, one in enumerate(ids)], "failed")
    columns = {"id": "id", "features": "x", "values": "failed"}
    with pytest.raises(DataError, match=r"row 2, column 'failed': expected a number, found 'True'; write 1 for true"):
        made(tmp_path, series(tmp_path / "x.parquet", ids), columns, labels=table)


@pytest.mark.parametrize(
    ("theirs", "difference"),
    [
        (lambda n: f"S{n:03}", "upper and lower case"),
        (lambda n: f" s{n:03}", "blanks around them"),
        (lambda n: f"  S{n:03}", "spelling"),
        (lambda n: f"other{n}", None),
    ],
)
def test_a_table_of_which_no_id_matches_is_refused_with_an_example_of_each_side(tmp_path, theirs, difference):
    data = series(tmp_path / "x.csv", [f"s{n:03}" for n in range(20)])
    table = labels(tmp_path / "y.parquet", [(theirs(n), n % 2) for n in range(20)])
    advice = f"they differ in {difference}" if difference else "check data.columns.id of both"
    expected = (
        rf"y\.parquet: data\.labels, column 'id': expected ids of the documents, such as 's000', found '{theirs(0)}'"
    )
    with pytest.raises(DataError, match=rf"{expected} and no other that matches; {advice}"):
        made(tmp_path, data, COLUMNS, labels=table)


@pytest.mark.parametrize(
    ("ours", "theirs", "difference"),
    [
        ([f"{n:03}" for n in range(1, 20)], list(range(1, 20)), "leading zeros"),
        (list(range(1, 20)), [f"{n:05}" for n in range(1, 20)], "leading zeros"),
        (list(range(20)), [float(n) for n in range(20)], "the fraction of whole numbers"),
    ],
)
def test_ids_of_other_types_are_told_apart(tmp_path, ours, theirs, difference):
    data = series(tmp_path / "x.parquet", ours)
    table = labels(tmp_path / "y.parquet", [(one, n % 2) for n, one in enumerate(theirs)])
    with pytest.raises(DataError, match=f"they differ in {difference}: write them the same way"):
        made(tmp_path, data, COLUMNS, labels=table)


def test_ids_that_do_not_match_are_counted_on_both_sides(tmp_path):
    data = tmp_path / "data"
    series(data / "a.csv", [f"s{n}" for n in range(20)])
    series(data / "b.csv", [f"s{n}" for n in range(20, 40)])
    table = labels(tmp_path / "y.csv", [(f"s{n}", "uv"[n % 2]) for n in [*range(35), *range(50, 53)]])
    prepared = made(tmp_path, data, COLUMNS, labels=table)
    assert prepared.contract.notes[:2] == (
        "5 of 40 documents have no row in y.csv, such as 's35'",
        "3 of 38 ids in y.csv are of no document",
    )
    assert any(line.startswith("note       5 of 40") for line in prepared.contract.describe())


def test_ids_that_only_some_rows_write_otherwise_are_pointed_out(tmp_path):
    data = series(tmp_path / "x.csv", ["007", "008", *(f"s{n}" for n in range(20))])
    table = labels(tmp_path / "y.csv", [("7", "u"), ("8", "v"), *((f"s{n}", "uv"[n % 2]) for n in range(20))])
    prepared = made(tmp_path, data, COLUMNS, labels=table)
    assert any(note.endswith("'007'; some seem to differ in leading zeros") for note in prepared.contract.notes)


def test_an_id_may_be_there_twice_with_one_label_and_not_with_two(tmp_path):
    data = series(tmp_path / "x.csv", [f"s{n}" for n in range(20)])
    pairs = [(f"s{n}", "uv"[n % 2]) for n in range(20)]
    prepared = made(tmp_path, data, COLUMNS, labels=labels(tmp_path / "y.csv", pairs + pairs), validation_fraction=0)
    assert labelled(prepared) == {f"s{n}": n % 2 for n in range(20)}
    table = labels(tmp_path / "z.csv", [*pairs, ("s3", "u")])
    expected = r"z\.csv: row 22, column 'y': expected one target for each id, found 'v' and 'u' for 's3'"
    with pytest.raises(DataError, match=expected):
        made(tmp_path / "z", data, COLUMNS, labels=table)
    table = labels(tmp_path / "w.csv", [*((one, n) for n, (one, _) in enumerate(pairs)), ("s3", 3.5)], "load")
    with pytest.raises(
        DataError, match=r"column 'load': expected one target for each id, found 3\.0 and 3\.5 for 's3'"
    ):
        made(tmp_path / "w", data, {"id": "id", "features": "x", "values": "load"}, labels=table)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("id,y\n,u\ns1,v\n,w\n", r"y\.csv: row 2, column 'id': expected an id in every row, found 2 rows without one"),
        ("id,z\ns1,v\n", r"y\.csv: data\.columns\.label: expected a column 'y', found no such column"),
        ("ID,y\ns1,v\n", r"y\.csv: data\.columns\.id: expected a column 'id', found no such column; did you mean 'ID'"),
        ("id,y\n", r"y\.csv: data\.labels, column 'id': expected ids of the documents, such as 's0', found no row"),
        ("id,y,y\ns1,u,v\n", r"y\.csv: row 1: expected each column named once"),
    ],
)
def test_errors_in_a_table_of_labels_name_that_table(tmp_path, text, message):
    data = series(tmp_path / "x.csv", [f"s{n}" for n in range(20)])
    (tmp_path / "y.csv").write_text(text)
    with pytest.raises(DataError, match=message):
        made(tmp_path, data, COLUMNS, labels=str(tmp_path / "y.csv"))


def test_numbers_of_the_table_are_numbers(tmp_path):
    data = series(tmp_path / "x.csv", [f"s{n}" for n in range(20)])
    columns = {"id": "id", "features": "x", "values": "load"}
    for bad, message in (
        ("heavy", r"y\.csv: .*column 'load': expected a number, found 'heavy'"),
        ("inf", "a finite number"),
    ):
        (tmp_path / "y.csv").write_text("id,load\n" + "".join(f"s{n},{bad if n == 4 else n}\n" for n in range(20)))
        with pytest.raises(DataError, match=message):
            made(tmp_path / bad, data, columns, labels=str(tmp_path / "y.csv"))


def test_blank_rows_at_the_end_of_the_table_are_no_rows(tmp_path):
    data = series(tmp_path / "x.csv", [f"s{n}" for n in range(20)])
    (tmp_path / "y.csv").write_text("id,y\n" + "".join(f"s{n},{'uv'[n % 2]}\n" for n in range(20)) + ",\n,\n")
    prepared = made(tmp_path, data, COLUMNS, labels=str(tmp_path / "y.csv"), validation_fraction=0)
    assert labelled(prepared) == {f"s{n}": n % 2 for n in range(20)}


def test_a_table_of_labels_needs_an_id_and_a_target(tmp_path):
    data = series(tmp_path / "x.csv", [f"s{n}" for n in range(20)])
    table = labels(tmp_path / "y.csv", [("s1", "u")])
    for columns, named in (
        ({"features": "x", "label": "y"}, "id"),
        ({"id": "id", "features": "x"}, "label or .values"),
    ):
        with pytest.raises(ConfigError, match=rf"data\.labels: expected data\.columns\.{named} beside it, found none"):
            made(tmp_path / named[:2], data, columns, labels=table)


def test_a_query_is_a_table_of_labels_too(tmp_path):
    data = series(tmp_path / "x.csv", [f"s{n}" for n in range(20)])
    pq.write_table(pa.table({"key": [f"s{n}" for n in range(20)], "y": np.arange(20) % 2}), tmp_path / "y.parquet")
    table = f"sql:SELECT key AS id, y FROM '{tmp_path}/y.parquet'"
    prepared = made(tmp_path, data, COLUMNS, labels=table, validation_fraction=0)
    assert labelled(prepared) == {f"s{n}": n % 2 for n in range(20)}
    (tmp_path / "y.json").write_text(json.dumps({}))
    with pytest.raises(DataError, match=r"data\.labels: expected a file, a folder or a pattern, found nothing there"):
        made(tmp_path / "none", data, COLUMNS, labels=str(tmp_path / "absent.csv"))


@pytest.mark.parametrize(("ours", "theirs"), [(";", ","), (",", ";"), ("|", "\t"), (";", ";")])
def test_the_table_of_labels_has_a_delimiter_of_its_own(tmp_path, ours, theirs):
    data, table = tmp_path / "x.csv", tmp_path / "y.csv"
    data.write_text(f"id{ours}x\n" + "".join(f"s{n}{ours}{n}.5\n" for n in range(20)))
    table.write_text(f"id{theirs}y\n" + "".join(f"s{n}{theirs}{'uv'[n % 2]}\n" for n in range(20)))
    prepared = made(tmp_path, data, COLUMNS, labels=str(table), validation_fraction=0, delimiter=ours)
    assert labelled(prepared) == {f"s{n}": n % 2 for n in range(20)}
    said = [] if theirs in (",", ours) else [f"y.csv: columns are taken to be separated by {theirs!r}"]
    assert list(prepared.contract.notes) == said


def test_a_table_of_labels_without_the_columns_is_refused_by_its_own_delimiter(tmp_path):
    data, table = series(tmp_path / "x.parquet", ["a", "b"]), tmp_path / "y.csv"
    table.write_text("id;kind\na;u\nb;v\n")
    with pytest.raises(DataError, match=r"y\.csv: data\.columns\.label: expected a column 'y', found no such column"):
        made(tmp_path, data, COLUMNS, labels=str(table), delimiter=",")


def test_the_detected_delimiter_of_a_table_of_labels_is_noted(tmp_path):
    data, table = series(tmp_path / "x.parquet", [f"s{n}" for n in range(20)]), tmp_path / "y.csv"
    table.write_text("id;y\n" + "".join(f"s{n};{'uv'[n % 2]}\n" for n in range(20)))
    notes = made(tmp_path, data, COLUMNS, labels=str(table)).contract.notes
    assert "y.csv: columns are taken to be separated by ';'" in notes


def test_columns_of_targets_beside_a_table_of_them_are_noted(tmp_path):
    for name in ("a", "b"):
        written(tmp_path / "data" / f"{name}.csv", [{"id": f"{name}{n}", "x": n, "y": "w"} for n in range(10)])
    table = labels(tmp_path / "y.csv", [(f"{name}{n}", "uv"[n % 2]) for name in "ab" for n in range(10)])
    prepared = made(tmp_path, tmp_path / "data", COLUMNS, labels=table, validation_fraction=0)
    assert prepared.contract.classes.values == ("u", "v")
    said = "targets are taken from y.csv: --data.labels null for its own (and 1 more file like it)"
    assert f"a.csv: has a column 'y' of its own; {said}" in prepared.contract.notes
