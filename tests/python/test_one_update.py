"""`train`, `evaluate`, `report` and `compare` show the same numbers of a run, those of the update that is kept."""

import json
import os
import re
from pathlib import Path

import numpy as np
import pytest

from ssm_hpn.cli.main import main
from support import SMALL, train

NAMES = ("price", "a weight")


@pytest.fixture(scope="module")
def numbers(tmp_path_factory):
    """A folder with a run whose last update is not its best, and its table with two numbers to predict."""
    folder = tmp_path_factory.mktemp("numbers")
    rng = np.random.default_rng(3)
    lines = ["house,x,price,a weight"]
    for number in range(40):
        level = rng.uniform(-1, 1)
        lines += [f"h{number},{level:.4f},{1.7e9 + level:.6f},{1e-6 * level**2:.9g}" for _ in range(4)]
    (folder / "t.csv").write_text("\n".join(lines) + "\n")
    before = Path.cwd()
    os.chdir(folder)
    try:
        columns = [
            "--data.columns.id",
            "house",
            "--data.columns.features",
            "x",
            "--data.columns.values",
            ",".join(NAMES),
        ]
        short = [word for word in SMALL if word not in ("--data.length", "32")]
        steps = [
            "--train.steps",
            "30",
            "--evaluation.every",
            "5",
            "--optim.lr",
            "0.5",
            "--optim.schedule.kind",
            "constant",
        ]
        assert train("--data", "t.csv", *columns, *short, *steps, "--run.folder", "run") == 0
    finally:
        os.chdir(before)
    return folder


def constant(text):
    raise ValueError(text)


def evaluated(words, capsys):
    """The output of `evaluate --json`, read as strict JSON."""
    capsys.readouterr()
    assert main(["evaluate", *words, "--json"]) == 0
    return json.loads(capsys.readouterr().out, parse_constant=constant)


def test_the_summary_is_of_the_checkpoint_that_predict_loads(numbers, capsys, monkeypatch):
    monkeypatch.chdir(numbers)
    best = int((numbers / "run/checkpoints/best").read_text().strip().removeprefix("step-"))
    assert 0 < best < 30  # the best update is neither the first nor the last
    summary = json.loads((numbers / "run/summary.json").read_text())
    found = evaluated(["run"], capsys)
    assert (summary["step"], summary["updates"], found["step"]) == (best, 30, best)
    assert {name: found[name] for name in summary["metrics"]} == summary["metrics"]
    assert found["per_number"] == summary["per_number"]
    assert json.loads((numbers / "run/evaluation.json").read_text())["step"] == best
    latest = evaluated(["run", "--which", "latest"], capsys)
    assert latest["step"] == 30
    assert latest["loss"] > found["loss"]
    assert evaluated(["run/checkpoints"], capsys) == found


def test_every_table_names_that_update(numbers, capsys, monkeypatch):
    monkeypatch.chdir(numbers)
    summary = json.loads(Path("run/summary.json").read_text())
    best, r2 = summary["step"], summary["metrics"]["r2"]
    assert main(["evaluate", "run"]) == 0
    printed = capsys.readouterr().out
    assert re.search(rf"update {best} +value +mean predictor", printed)
    assert re.search(rf"r2 +{r2:.4f} ", printed), printed
    assert main(["compare", "run"]) == 0
    compared = capsys.readouterr().out
    assert re.search(rf"\n  run +{best} ", compared)
    assert "on all held-out data" in compared
    assert main(["report", "run"]) == 0
    page = Path("run/report.html").read_text()
    assert re.search(rf"all held-out data, n\u00a0=\u00a0[0-9]+, update {best}\b", page)
    assert f"update {best}, kept" in page


def test_each_number_has_its_name_everywhere(numbers, capsys, monkeypatch):
    monkeypatch.chdir(numbers)
    assert main(["evaluate", "run", "--data", "t.csv"]) == 0
    printed = capsys.readouterr().out
    for name in NAMES:
        assert re.search(rf"\n  {name} +[\d.e-]+ +[\d.e-]+ +-?[\d.]+ +[\d.e-]+ +[\d.e-]+ +-?[\d.]+", printed), printed
    page = Path("run/report.html").read_text()
    assert all(f"<td>{name}</td>" in page for name in NAMES)


def test_an_undefined_metric_is_a_dash_and_null(numbers, capsys, monkeypatch):
    monkeypatch.chdir(numbers)
    lines = Path("t.csv").read_text().splitlines()
    Path("one.csv").write_text("\n".join([lines[0], *lines[1:5]]) + "\n")  # one series: its numbers do not vary
    found = evaluated(["run", "--data", "one.csv"], capsys)
    assert found["r2"] is None
    assert [one["r2"] for one in found["per_number"]] == [None, None]
    assert main(["evaluate", "run", "--data", "one.csv"]) == 0
    printed = capsys.readouterr().out
    assert "nan" not in printed
    assert re.search(r"r2 +– +–", printed)


def test_bits_per_byte_of_files_that_a_tokenizer_encodes(here, capsys):
    tokenizers = pytest.importorskip("tokenizers")
    words = {word: number for number, word in enumerate(["?", "one", "three", "größe"])}
    tokenizer = tokenizers.Tokenizer(tokenizers.models.WordLevel(words, unk_token="?"))
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    tokenizer.save("t.json")
    rng = np.random.default_rng(0)
    Path("texts").mkdir()
    for number in range(20):
        Path(f"texts/{number}.txt").write_text(" ".join(rng.choice(["one", "three", "größe"], 30)), encoding="utf-8")
    given = [
        "--data.tokenizer",
        "t.json",
        "--train.steps",
        "2",
        "--run.folder",
        "run",
        "--data.validation_fraction",
        "0.2",
    ]
    assert train("--data", "texts", *SMALL, *given) == 0
    held_out = next(Path("runs/data").glob("texts-*")) / "validation"
    assert evaluated(["run", "--data", str(held_out)], capsys)["bits_per_byte"] == pytest.approx(
        evaluated(["run"], capsys)["bits_per_byte"], rel=0.05
    )
    text = "one größe three one"
    Path("new.txt").write_text(text, encoding="utf-8")
    found = evaluated(["run", "--data", "new.txt"], capsys)
    assert found["bits_per_byte"] == pytest.approx(found["bits_per_token"] * 4 / len(text.encode()))
    assert main(["evaluate", "run", "--data", "new.txt"]) == 0
    assert "bits_per_byte" in capsys.readouterr().out
