"""Files of `predict`: numbers with all digits, under the names of the data."""

import csv
import json
import os
from pathlib import Path

import numpy as np
import pyarrow.parquet as pa_parquet
import pytest

from ssm_hpn import Trainer
from ssm_hpn.classes import Classes
from ssm_hpn.cli.main import main
from ssm_hpn.cli.rows import flat, write_rows
from ssm_hpn.dataset import as_batch
from ssm_hpn.documents import Reader, batches
from support import train

SHORT = [
    *("--model.d_model", "8", "--model.n_layers", "1", "--train.threads", "1", "--train.batch_size", "8"),
    *("--train.steps", "3"),
]
OF_CLASSES = [
    *("class", "score", "confidence", "probability", "score 0", "score 1", "score 2"),
    *("probability 0", "probability 1", "probability 2", "price"),
]
MEANS = {"price": 1.7e9 + 3, "a weight": 2.5e-7, "id": -1234.5}
SPREAD = {"price": 1.0, "a weight": 1e-9, "id": 1e-3}


def table(path, *, key="house"):
    """Series of one sensor, with a class and three numbers of very different sizes."""
    rng = np.random.default_rng(1)
    lines = [",".join([key, "x", "kind", *MEANS])]
    for number in range(30):
        level = rng.uniform(-1, 1)
        values = [repr(mean + SPREAD[name] * level) for name, mean in MEANS.items()]
        lines += [",".join([f"h{number}", f"{level + 0.01 * t:.4f}", str(number % 3), *values]) for t in range(4)]
    path.write_text("\n".join(lines) + "\n")
    return path


COLUMNS = ["--data.columns.id", "house", "--data.columns.features", "x"]
LABELLED = [*COLUMNS, "--data.columns.label", "kind"]


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A folder with a table and two runs: `numbers` predicts three numbers, `both` a class and a number."""
    folder = tmp_path_factory.mktemp("runs")
    table(folder / "t.csv")
    before = Path.cwd()
    os.chdir(folder)
    try:
        names = ",".join(MEANS)
        assert (
            train("--data", "t.csv", *COLUMNS, "--data.columns.values", names, *SHORT, "--run.folder", "numbers") == 0
        )
        assert (
            train("--data", "t.csv", *LABELLED, "--data.columns.values", "price", *SHORT, "--run.folder", "both") == 0
        )
    finally:
        os.chdir(before)
    return folder


def answers(folder, run):
    """Scores of classes in single precision and numbers in the user's units, as the model gives them."""
    trainer = Trainer.load(folder / run, which="best")
    reader = Reader(trainer.contract, trainer.config.model.target.kind)
    scale, found = trainer.contract.scale, []
    for group, arrays in batches(reader.documents(folder / "t.csv"), trainer.config.model, 8):
        given = {name: arrays[name] for name in ("features", "segments")}
        for document, row in zip(group, trainer.session.predict(as_batch(given, trainer.config.model)), strict=True):
            count = len(scale.mean)
            numbers = [m + s * float(y) for m, s, y in zip(scale.mean, scale.std, row[-count:], strict=True)]
            found.append((document.name, row[:-count], numbers))
    return found


def read_back(path):
    """The rows of a file of predictions, flat, with the numbers that its format gives."""
    match path.suffix:
        case ".csv":
            with path.open(newline="", encoding="utf-8") as file:
                return list(csv.DictReader(file))
        case ".parquet":
            return pa_parquet.read_table(path).to_pylist()
        case _:
            return [flat(json.loads(line)) for line in path.read_text(encoding="utf-8").splitlines()]


@pytest.mark.parametrize("ending", [".csv", ".parquet", ".jsonl"])
@pytest.mark.parametrize(
    ("run", "columns"),
    [("numbers", [*MEANS]), ("both", OF_CLASSES)],
)
def test_a_file_holds_every_digit_that_the_model_gives(runs, tmp_path, ending, run, columns):
    out = tmp_path / f"p{ending}"
    assert main(["predict", str(runs / run), "--data", str(runs / "t.csv"), "--out", str(out)]) == 0
    rows, expected = read_back(out), answers(runs, run)
    assert list(rows[0]) == ["house", *columns]
    assert [row["house"] for row in rows] == [name.partition("#")[2] for name, _, _ in expected]
    for row, (_, scores, values) in zip(rows, expected, strict=True):
        assert [float(row[name]) for name in MEANS if name in row] == values
        assert [np.float32(row[name]) for name in columns if name.startswith("score ")] == list(scores)
        assert "score" not in row or np.float32(row["score"]) == scores.max()
    assert len({row["price"] for row in rows}) == 30  # six digits would make them one


def test_scores_are_as_short_as_single_precision_allows(runs, capsys):
    assert main(["predict", str(runs / "both"), "--data", str(runs / "t.csv")]) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert all(len(repr(abs(score))) <= 14 for row in rows for score in [row["score"], *row["scores"].values()])
    assert rows[0]["values"]["price"] != round(rows[0]["values"]["price"])


def test_numbers_named_like_another_column_keep_a_column_of_their_own():
    row = {"id": "7", "class": "a", "score": 0.5, "scores": {"a": 0.5}}
    found = flat(row | {"values": {"id": 1.0, "class": 2.0, "score a": 3.0, "price": 4.0}})
    assert found == {
        "id": "7",
        "class": "a",
        "score": 0.5,
        "score a": 0.5,
        "value id": 1.0,
        "value class": 2.0,
        "value score a": 3.0,
        "price": 4.0,
    }


def test_numbers_of_arrays_are_named_by_place(here, capsys):
    x = np.random.default_rng(0).normal(size=(30, 4, 1))
    np.savez("a.npz", features=x, values=np.concatenate([x.mean(1), x.max(1)], 1))
    assert train("--data", "a.npz", *SHORT, "--run.folder", "run") == 0
    assert main(["predict", "run", "--data", "a.npz", "--out", "p.csv"]) == 0
    with Path("p.csv").open() as file:
        assert next(csv.reader(file)) == ["name", "value[0]", "value[1]"]


@pytest.mark.parametrize(
    ("values", "kind", "written"),
    [
        ((2, 3), "integer", [3, None]),
        ((2, 2**63), "integer", [2**63, None]),
        ((-2, 2**63), "integer", [str(2**63), None]),
        ((0.5, 1.0), "number", [1.0, None]),
        ((False, True), "boolean", [True, None]),
        (("007", "7"), "text", ["7", None]),
    ],
)
def test_classes_have_one_type_in_parquet_also_where_the_first_are_rejected(tmp_path, values, kind, written):
    rows = [{"id": str(k), "class": None, "score": 0.5} for k in range(1500)]
    rows[-2]["class"] = values[1]
    write_rows(iter(rows), tmp_path / "p.parquet", Classes(values, kind, (1, 1)))
    assert pa_parquet.read_table(tmp_path / "p.parquet")["class"].to_pylist()[-2:] == written


@pytest.mark.parametrize("name", ["class", "classes", "price"])
@pytest.mark.parametrize("value", [1.5, [1.5, 2.5]])
def test_numbers_of_any_name_are_numbers_in_parquet(tmp_path, name, value):
    write_rows(iter([{"id": "a", "values": {name: value}}]), tmp_path / "p.parquet")
    assert pa_parquet.read_table(tmp_path / "p.parquet").to_pylist() == [{"id": "a", name: value}]


def test_an_output_without_a_class_in_the_data_is_no_class(runs, here, capsys):
    lines = (runs / "t.csv").read_text().splitlines()
    text = "\n".join(line.replace(",0,", ",3,").replace(",1,", ",5,").replace(",2,", ",5,") for line in lines)
    Path("t.csv").write_text(text + "\n")
    assert (
        train(
            "--data",
            "t.csv",
            *LABELLED,
            "--model.head.n_classes",
            "6",
            "--model.head.kind",
            "prototype",
            *SHORT,
            "--run.folder",
            "run",
        )
        == 0
    )
    capsys.readouterr()
    assert main(["predict", "run", "--data", "t.csv"]) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert {row["class"] for row in rows} <= {3, 5, None}
    assert list(rows[0]["scores"]) == ["3", "5", *(f"output {k}" for k in range(2, 6))]
