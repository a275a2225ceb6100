"""Predictions name documents by the id as it was given, in its type, and by the file where several were read."""

import csv as csv_module
import json
import re
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from prepare_support import written
from ssm_hpn.cli.main import main
from ssm_hpn.prepare.records import escaped, file_and_mark
from support import train

MODEL = ["--model.d_model", "8", "--model.n_layers", "1", "--train.batch_size", "4", "--train.threads", "1"]
COLUMNS = ["--data.columns.id", "id", "--data.columns.features", "x", "--data.columns.label", "y"]


def series(path: Path, ids: list[Any], steps: int = 3) -> str:
    table = [{"id": one, "x": n + t / 10, "y": "uv"[n % 2]} for n, one in enumerate(ids) for t in range(steps)]
    return str(written(path, table))


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> str:
    folder = tmp_path_factory.mktemp("run")
    data = series(folder / "train.csv", [f"s{n}" for n in range(20)])
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert train("--data", data, *COLUMNS, *MODEL, "--train.steps", "1", "--run.folder", "run") == 0
    return str(folder / "run")


def predicted(run: str, folder: Path, *data: str, ending: str = "jsonl") -> list[dict[str, Any]]:
    out = folder / f"out.{ending}"
    words = [word for path in data for word in ("--data", path)]
    assert main(["predict", run, *words, "--out", str(out)]) == 0
    if ending == "parquet":
        return pq.read_table(out).to_pylist()
    if ending == "csv":
        with out.open(encoding="utf-8", newline="") as file:
            return list(csv_module.DictReader(file))
    return [json.loads(line) for line in out.read_text().splitlines()]


STRANGE = ["a#1", "two words", "größe", "数据", "007", "x" * 5000, "a,b", "100%23", "-0"]


@pytest.mark.parametrize("source", ["csv", "parquet", "jsonl"])
@pytest.mark.parametrize("ending", ["jsonl", "csv", "parquet"])
def test_predictions_have_the_ids_as_given(run, tmp_path, source, ending):
    ids = STRANGE if source != "csv" else [one for one in STRANGE if "," not in one]
    data = series(tmp_path / f"new.{source}", ids)
    found = predicted(run, tmp_path, data, ending=ending)
    assert {row["id"] for row in found} == set(ids)
    assert all("file" not in row for row in found)


@pytest.mark.parametrize(
    ("source", "ids", "kind"),
    [
        ("csv", [3, 1, 20], int),
        ("parquet", [3, 1, 20], int),
        ("jsonl", [3, 1, 20], int),
        ("parquet", ["3", "1", "20"], str),
        ("jsonl", ["3", "1", "20"], str),
        ("csv", ["03", "1", "20"], str),
        ("csv", ["3", "x", "20"], str),
        ("parquet", [3.5, 1.0, 20.0], float),
        ("csv", ["123456789012345678901", "1", "2"], str),
    ],
)
@pytest.mark.parametrize("ending", ["jsonl", "parquet"])
def test_the_type_of_ids_is_that_of_their_column(run, tmp_path, source, ids, kind, ending):
    found = predicted(run, tmp_path, series(tmp_path / f"new.{source}", ids), ending=ending)
    assert sorted(row["id"] for row in found) == sorted(ids)
    assert {type(row["id"]) for row in found} == {kind}


def test_the_ids_of_a_query_longer_than_a_file_name_are_those_of_its_column(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    series(tmp_path / "new.parquet", ["a#1", "b", "c"])
    found = predicted(run, tmp_path, f"sql:SELECT id, x FROM 'new.parquet' WHERE{' x = x AND' * 40} true")
    assert sorted(row["id"] for row in found) == ["a#1", "b", "c"]


def test_predictions_for_several_files_name_the_file(run, tmp_path):
    files = [series(tmp_path / "data" / name, [1, 2]) for name in ("a.csv", "b#1.csv")]
    for data in ([str(tmp_path / "data")], files, [",".join(files)], [json.dumps(files)], [f"{tmp_path}/data/*.csv"]):
        found = predicted(run, tmp_path, *data)
        assert [(row["id"], row["file"]) for row in found] == [
            (1, "a.csv"),
            (2, "a.csv"),
            (1, "b#1.csv"),
            (2, "b#1.csv"),
        ]


def test_ids_of_prepared_data_keep_file_and_type(run, tmp_path):
    for files, ids in ((["a.csv", "b#%.csv"], [1, 2, 30]), (["a.csv"], ["x#1", "007"])):
        folder = tmp_path / f"{len(files)}"
        for name in files:
            series(folder / "data" / name, ids)
        names = ["--data.null=NA", "--data.validation_fraction", "0", "--data.normalize", "false"]
        words = ["prepare", str(folder / "data"), "--out", str(folder / "p"), *COLUMNS, *names]
        assert main(words) == 0
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("ssm_hpn.documents._differences", lambda *_: [])
            found = predicted(run, folder, str(folder / "p" / "train"))
        expected = [
            (one, name if len(files) > 1 else None)
            for name in files
            for one in sorted(ids, key=lambda i: (len(str(i)), i))
        ]
        assert [(row["id"], row.get("file")) for row in found] == expected


@pytest.mark.parametrize("file", ["a.csv", "a#1.csv", "50%.csv", "%23#.csv"])
@pytest.mark.parametrize("mark", ["1", "#", "a#b%23"])
def test_the_name_of_a_document_is_split_into_file_and_id(file, mark):
    assert file_and_mark(f"{escaped(file)}#{mark}") == (file, mark)


# ---- lists of paths


def forms(files: list[str]) -> list[list[str]]:
    return [[",".join(files)], [json.dumps(files)], files]


def test_paths_are_listed_the_same_way_in_every_command(run, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    files = [series(tmp_path / name, [f"{name}{n}" for n in range(12)]) for name in ("a.csv", "b.csv")]
    for number, form in enumerate(forms(files)):
        repeated = [word for path in form for word in ("--data.train", path)]
        assert main(["inspect", *form, *COLUMNS]) == 0
        assert "train 20 of 3 time steps; validation 4" in capsys.readouterr().out
        for given in (form, repeated):
            out = tmp_path / f"p{number}{len(given)}"
            assert main(["prepare", *given, "--out", str(out), *COLUMNS]) == 0
            assert "2 files" in capsys.readouterr().out
        data = [word for path in form for word in ("--data", path)]
        assert main(["evaluate", run, *data, "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["targets"] == 24
        assert main(["predict", run, *data]) == 0
        assert len(capsys.readouterr().out.splitlines()) == 24
        assert train(*data, *COLUMNS, *MODEL, "--dry-run") == 0
        assert "data       2 files" in capsys.readouterr().out


def test_files_are_read_by_their_names_in_every_command(run, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for name in ("b1.csv", "a2.csv", "deep/a1.csv"):
        series(tmp_path / name, [f"{name}{n}" for n in range(12)])
    order = ["deep/a1.csv", "a2.csv", "b1.csv"]  # by their own names, without the folder
    digests = set()
    for listed in (["b1.csv", "a2.csv", "deep/a1.csv"], ["deep/a1.csv", "b1.csv", "a2.csv"]):
        found = predicted(run, tmp_path, ",".join(listed))
        assert list(dict.fromkeys(row["id"].partition(".csv")[0] + ".csv" for row in found)) == order
        assert main(["inspect", ",".join(listed), *COLUMNS, "--json"]) == 0
        digests.add(json.loads(capsys.readouterr().out)["digest"])
        assert main(["prepare", ",".join(listed), "--out", f"p{len(digests)}", *COLUMNS]) == 0
        digests.add(re.search(r"digest +(\w+)", capsys.readouterr().out)[1])
    assert len(digests) == 1


@pytest.mark.parametrize("pattern", ["data/*.csv", "{here}/data/*.csv", "**/[ab].csv", "~/data/*.csv"])
def test_a_pattern_is_read_in_every_command(run, tmp_path, monkeypatch, capsys, pattern):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("a.csv", "b.csv"):
        series(tmp_path / "data" / name, [f"{name}{n}" for n in range(12)])
    given = pattern.format(here=tmp_path)
    assert main(["inspect", given, *COLUMNS]) == 0
    assert "train 20 of 3 time steps; validation 4" in capsys.readouterr().out
    assert main(["prepare", given, "--out", "p", *COLUMNS]) == 0
    assert "2 files" in capsys.readouterr().out
    assert len(predicted(run, tmp_path, given)) == 24
    assert main(["evaluate", run, "--data", given, "--json"]) == 0
    capsys.readouterr()
    assert train("--data", given, *COLUMNS, *MODEL, "--dry-run") == 0
    assert "data       2 files" in capsys.readouterr().out
    assert main(["inspect", "nothing*.csv", *COLUMNS]) == 3
    assert "nothing*.csv: data.train: expected a file, a folder or a pattern" in capsys.readouterr().err


def test_a_prepared_folder_below_home_is_found_in_every_command(run, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    series(tmp_path / "a.csv", [f"a{n}" for n in range(12)])
    assert main(["prepare", "a.csv", "--out", "p", *COLUMNS]) == 0
    assert main(["inspect", "~/p", "--json"]) == 0
    assert train("--data", "~/p", *MODEL, "--dry-run") == 0
    capsys.readouterr()
    assert main(["predict", run, "--data", "~/p/train"]) == 3
    assert "p/train: normalisation: expected the same" in capsys.readouterr().err


def test_names_are_listed_the_same_way_in_every_command(tmp_path, capsys):
    rows = [{"id": n, "a": n * 1.5, "b, in mm": n + 0.5} for n in range(30)]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "d.parquet")
    for given in (['["a", "b, in mm"]'], ["a", '"b, in mm"'], ['a,"b, in mm"']):
        words = [word for one in given for word in ("--data.columns.features", one)]
        assert main(["inspect", str(tmp_path / "d.parquet"), "--data.columns.id", "id", *words]) == 0
        assert "2 features (a, b, in mm)" in capsys.readouterr().out
    assert main(["inspect", str(tmp_path / "d.parquet"), "--data.columns.features", '["a", 3]']) == 2
    assert "data.columns.features: expected a JSON list of texts" in capsys.readouterr().err


def test_a_file_with_a_comma_in_its_name_is_one_file(run, tmp_path, capsys):
    data = series(tmp_path / "a,b.csv", [1, 2])
    assert [row["id"] for row in predicted(run, tmp_path, data)] == [1, 2]
    words = ["inspect", data, "--data.columns.id", "id", "--data.columns.features", "x"]
    assert main(words) == 2
    assert "hold out whole documents with --data.split documents" in capsys.readouterr().err
    assert main([*words, "--data.split", "documents"]) == 0


@pytest.mark.parametrize("text", ["a.csv;b.csv", "a.csv b.csv", '["a.csv, b.csv"]'])
def test_a_wrong_form_of_a_list_is_answered_with_the_right_one(run, tmp_path, monkeypatch, capsys, text):
    monkeypatch.chdir(tmp_path)
    for command in (
        ["predict", run, "--data", text],
        ["evaluate", run, "--data", text],
        ["train", "--data", text],
        ["prepare", text, "--out", "p"],
    ):
        assert main(command) in (2, 3)
        assert "several paths are written A,B" in capsys.readouterr().err
    assert main(["train", "--data", "a.csv", "b.csv"]) == 2
    assert "write several paths as A,B or a pattern in quotes" in capsys.readouterr().err
