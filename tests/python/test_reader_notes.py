"""Notes of `predict` and `evaluate` about the files they read, and their reading of an order column."""

import json
import re

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ssm_hpn.cli.main import main
from ssm_hpn.config.data import FILE_OPTIONS
from support import train

MODEL = ["--model.d_model", "8", "--model.n_layers", "1", "--train.batch_size", "4", "--train.threads", "1"]
COLUMNS = ["--data.columns.id", "id", "--data.columns.features", "x", "--data.columns.order", "t"]
COLUMNS += ["--data.columns.label", "c"]


def month_first(day, hour=9):
    return f"01/{day:02}/2023 {hour}:00"


def iso(day, hour=9):
    return f"2023-01-{day:02} {hour:02}:00"


def table(path, form, *, last=28, factor=1.0, documents=24):
    """Four rows per document, the latest first, from day `last` down; days above 12 tell day from month."""
    lines = ["id,t,x,c"]
    for n in range(documents):
        lines += [f"k{n},{form(last - 2 * k)},{(n % 2 + k + 1) * factor},{n % 2}" for k in range(4)]
    path.write_text("\n".join(lines) + "\n")
    return str(path)


@pytest.fixture(scope="module", params=["found", "given", "number"])
def run(request, tmp_path_factory):
    """(kind, run): the form of the order column is found from its text, given by data.date_format, or a number."""
    folder = tmp_path_factory.mktemp("run")
    data = table(folder / "train.csv", str if request.param == "number" else month_first)
    words = ["--data.date_format", "%m/%d/%Y %H:%M"] if request.param == "given" else []
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert train("--data", data, *words, *COLUMNS, *MODEL, "--train.steps", "1", "--run.folder", "run") == 0
    return request.param, str(folder / "run")


def answers(capsys, run, *words):
    """Predictions, and the notes on stderr."""
    capsys.readouterr()
    assert main(["predict", run, "--data", *words]) == 0
    out = capsys.readouterr()
    return [json.loads(line) for line in out.out.splitlines()], out.err


@pytest.mark.parametrize("run", ["found", "given"], indirect=True)
def test_dates_are_read_in_the_form_of_the_training_data_or_an_unambiguous_one(run, tmp_path, capsys):
    _, folder = run
    doubtful, plain = table(tmp_path / "a.csv", month_first, last=9), table(tmp_path / "b.csv", iso, last=9)
    found, said = answers(capsys, folder, doubtful)
    assert "is read as" not in said
    again, said = answers(capsys, folder, plain)
    assert again == found
    assert "note: order 't' is read as timestamp\n" in said
    assert main(["evaluate", folder, "--data", doubtful, "--json"]) == 0


def test_an_order_of_another_type_than_in_training_is_refused_in_one_line(run, tmp_path, capsys):
    how, folder = run
    other = table(tmp_path / "d.csv", (lambda day: f"{day % 24:02}:00") if how == "number" else str)
    kinds = ("number", "time of day") if how == "number" else ("date", "number")
    for command in ("predict", "evaluate"):
        assert main([command, folder, "--data", other]) == 3
        said = capsys.readouterr().err
        assert f"column 't': expected a {kinds[0]}" in said
        assert "to sort by, as in the training data, found a" in said
        assert f"found a {kinds[1]}" in said
        assert said.count("\n") == 1


def test_a_table_without_rows_is_refused_as_one_whatever_its_order_was(run, tmp_path, capsys):
    _, folder = run
    empty = tmp_path / "empty.csv"
    empty.write_text("id,t,x,c\n")
    assert main(["predict", folder, "--data", str(empty)]) == 3
    assert "empty.csv: file: expected at least one row, found a header only" in capsys.readouterr().err


def test_a_feature_in_another_unit_is_noted(run, tmp_path, capsys):
    _, folder = run
    form = str if run[0] == "number" else month_first
    for command in ("predict", "evaluate"):
        assert main([command, folder, "--data", table(tmp_path / "d.csv", form, factor=1e6)]) == 0
        said = capsys.readouterr().err
        assert "note: column x: numbers from 1e+06 to 5e+06, in the training data from 1 to 5" in said
        assert main([command, folder, "--data", table(tmp_path / "d.csv", form, factor=3.0)]) == 0
        assert "in the training data" not in capsys.readouterr().err


def test_times_of_day_that_pass_midnight_are_noted_in_prediction_too(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    data = table(tmp_path / "day.csv", lambda day: f"{day % 24 // 2 + 1:02}:00", last=20)
    assert train("--data", data, *COLUMNS, *MODEL, "--train.steps", "1", "--run.folder", "run") == 0
    night = table(tmp_path / "night.csv", lambda day: ["23:00", "23:30", "00:10", "00:20"][(28 - day) // 2])
    for command in ("predict", "evaluate"):
        capsys.readouterr()
        assert main([command, "run", "--data", night]) == 0
        assert "note: order 't' is a time of day without a date" in capsys.readouterr().err


def test_rows_without_a_text_are_counted_in_prediction(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    rows = [{"text": f"number {n} of many", "c": n % 2} for n in range(40)]
    (tmp_path / "d.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    words = ["--data.columns.text", "text", "--data.columns.label", "c"]
    assert train("--data", "d.jsonl", *words, *MODEL, "--train.steps", "1", "--run.folder", "run") == 0
    rows[3]["text"] = rows[7]["text"] = ""
    (tmp_path / "e.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    capsys.readouterr()
    assert main(["predict", "run", "--data", "e.jsonl", "--out", "p.csv"]) == 0
    assert "note: left out: 2 rows, nothing in the column of the data" in capsys.readouterr().err
    assert len((tmp_path / "p.csv").read_text().splitlines()) == 39


BAD = {
    "order": "id,t,x,c\nk0,13/13/2023,1,0\n",
    "empty order": "id,t,x,c\nk0,01/20/2023,1,0\nk0,,1,0\n",
    "decimal": 'id,t,x,c\nk0,01/20/2023,"1,5",0\n',
    "null": "id,t,x,c\nk0,01/20/2023,n.a.,0\n",
    "label": "id,t,x,c\nk0,01/20/2023,1,0\nk0,01/21/2023,1,1\n",
    "column": "id,t,y,c\nk0,01/20/2023,1,0\n",
    "id": "name,t,x,c\nk0,01/20/2023,1,0\n",
    "encoding": b"id,t,x,c\nk\xe4,01/20/2023,1,0\n",
    "delimiter": "id;t;x;c\nk0;01/20/2023;1;0\n" * 2,
    "ragged": "id,t,x,c\nk0,01/20/2023,1,0,4\n",
    "empty": "",
}


def check_advice(folder, path, capsys):
    """What is said about a file names settings of the command, or says that they are those of the training."""
    heard = ""
    for command in ("predict", "evaluate"):
        capsys.readouterr()
        main([command, folder, "--data", str(path)])
        said = capsys.readouterr().err
        heard += said
        named = set(re.findall(r"\bdata\.([a-z_]+)", said))
        assert named <= set(FILE_OPTIONS) or "as in training: change the files, or train again" in said, said
    assert heard, "something is wrong with the file"


@pytest.mark.parametrize("run", ["found", "given"], indirect=True)
@pytest.mark.parametrize("kind", BAD)
def test_no_advice_names_a_setting_that_the_command_refuses(run, tmp_path, capsys, kind):
    _, folder = run
    content = BAD[kind]
    (tmp_path / "in").mkdir()
    path = tmp_path / "in" / "bad.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    check_advice(folder, path, capsys)


def stored(path, **content):
    """An archive of arrays."""
    np.savez(path, **content)
    return path.read_bytes()


def packed(path, table):
    """A Parquet file."""
    pq.write_table(pa.table(table), path)
    return path.read_bytes()


def json_lines(*rows):
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


SERIES = {
    "id": [f"k{n // 4}" for n in range(80)],
    "x": [n % 7 for n in range(80)],
    "c": [n // 4 % 2 for n in range(80)],
}
GOOD = {
    "jsonl": (json_lines(*({"text": f"text {n}", "c": n % 2} for n in range(40))), {"text": "text", "label": "c"}),
    "parquet": (lambda path: packed(path, SERIES), {"id": "id", "features": "x", "label": "c"}),
    "npz": (lambda path: stored(path, x=np.random.default_rng(0).normal(size=(30, 5, 2)), y=np.arange(30) % 2), {}),
    "txt": ("".join(f"line {n} of a text\n" for n in range(200)).encode(), {}),
}
"""Content of training files by ending, and the roles of their columns."""
BAD_OTHERS = [
    *(
        ("jsonl", one)
        for one in (b"", b"[1]\n", b'{"t": 1}\n', b'{"text": "a", "c": 7}\n', b'{"text": "a\xe4"}\n', b"{")
    ),
    ("jsonl", '{"text": "a"}\n'.encode("utf-16")),
    ("jsonl", json_lines({"text": "", "c": 1})),
    *(("parquet", one) for one in (b"", b"PAR1", {"id": ["a"], "y": [1.0]}, {"x": [1.0]}, {"id": ["a"], "x": ["b"]})),
    ("parquet", {"id": ["a", None], "x": [1.0, 2.0], "c": [1, 1]}),
    ("parquet", {"id": ["a", "a"], "x": [1.0, 2.0], "c": [0, 1]}),
    ("parquet", {"id": ["a"], "x": [float("inf")], "c": [0]}),
    *(
        ("npz", one)
        for one in (b"", {"z": np.zeros(3)}, {"x": np.zeros((2, 5, 3))}, {"x": np.zeros((2, 5, 2), complex)})
    ),
    ("npz", {"x": np.zeros((2, 5, 2)), "lengths": np.array([9, 1])}),
    ("npz", {"x": np.full((2, 5, 2), np.inf)}),
    ("npz", {"tokens": np.arange(10).reshape(2, 5)}),
    *(("txt", one) for one in (b"", b"\xff\xfe\x00", b"\x00\x01" * 99)),
]


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A run for each kind of file."""
    folder = tmp_path_factory.mktemp("runs")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for ending, (content, columns) in GOOD.items():
            path = folder / f"train.{ending}"
            path.write_bytes(content(path) if callable(content) else content)
            words = [word for role, name in columns.items() for word in (f"--data.columns.{role}", name)]
            words += ["--train.steps", "1", "--run.folder", ending]
            assert train("--data", str(path), *words, *MODEL) == 0
    return folder


@pytest.mark.parametrize(("ending", "content"), BAD_OTHERS, ids=lambda one: str(one)[:40])
def test_no_advice_about_other_files_names_a_setting_that_the_command_refuses(runs, tmp_path, capsys, ending, content):
    path = tmp_path / f"bad.{ending}"
    if isinstance(content, dict):
        content = stored(path, **content) if ending == "npz" else packed(path, content)
    path.write_bytes(content)
    check_advice(str(runs / ending), path, capsys)
