"""The commands on runs of features, and what they refuse."""

import csv
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pyarrow.parquet as pa_parquet
import pytest

from filter_runs import LONG, lines_of, long_table, run, train, wave
from ssm_hpn import Trainer
from ssm_hpn.columns import Column
from ssm_hpn.contract import Contract
from ssm_hpn.errors import CheckpointError
from ssm_hpn.filter_learner import FilterLearner
from ssm_hpn.filter_model import FilterModel, FilterSettings, Targets


def test_predict_gives_label_score_probability_and_rejects(copied, capsys):
    assert run("predict", copied, "--data", "long.csv") == 0
    rows = lines_of(capsys.readouterr().out)
    assert len(rows) == 30
    for row in rows:
        assert row["class"] == max(row["scores"], key=row["scores"].get)
        assert row["score"] == row["scores"][row["class"]] <= 1
        assert row["probability"] == row["probabilities"][row["class"]]
        assert sum(row["probabilities"].values()) == pytest.approx(1, abs=1e-6)
        assert 0 < row["confidence"] <= 1
    bound = sorted(row["confidence"] for row in rows)[10]
    assert run("predict", copied, "--data", "long.csv", "--reject-below", str(bound)) == 0
    rejected = lines_of(capsys.readouterr().out)
    assert [row["class"] is None for row in rejected] == [row["confidence"] < bound for row in rows]
    for name in ("p.csv", "p.parquet"):
        assert run("predict", copied, "--data", "long.csv", "--out", name) == 0
    table = pa_parquet.read_table("p.parquet")
    assert table["probability run"].to_pylist() == [row["probabilities"]["run"] for row in rows]
    with Path("p.csv").open(newline="") as file:
        assert [float(row["score sit"]) for row in csv.DictReader(file)] == [row["scores"]["sit"] for row in rows]


def test_shards_and_raw_files_get_the_same_answers(copied, capsys):
    (data,) = Path("runs/data").iterdir()
    assert run("predict", copied, "--data", data / "validation") == 0
    of_shards = {row["id"]: row for row in lines_of(capsys.readouterr().out)}
    assert run("predict", copied, "--data", "long.csv") == 0
    of_files = {row["id"]: row for row in lines_of(capsys.readouterr().out)}
    assert len(of_shards) == 3
    for key, row in of_shards.items():
        assert row["class"] == of_files[key]["class"]
        assert row["scores"] == pytest.approx(of_files[key]["scores"], abs=1e-5)


def test_evaluate_gives_the_metrics_of_the_run_and_tables(copied, capsys):
    assert run("evaluate", copied, "--json") == 0
    found = json.loads(capsys.readouterr().out)
    summary = json.loads((copied / "summary.json").read_text())
    assert {name: found[name] for name in summary["metrics"]} == pytest.approx(summary["metrics"], rel=1e-9)
    assert run("evaluate", copied, "--data", "long.csv") == 0
    captured = capsys.readouterr()
    assert "precision" in captured.out
    assert "27 of 30 documents are equal to some of the training part" in captured.err


def test_inspect_fits_on_a_screen(copied, capsys):
    for path in (copied, copied / "checkpoints/step-00000001"):
        assert run("inspect", path) == 0
        lines = capsys.readouterr().out.splitlines()
        assert len(lines) < 40
        assert "model      features, effort fast" in lines
        assert any(line.startswith("column     y: feature") for line in lines)
        assert run("inspect", path, "--json") == 0
        found = json.loads(capsys.readouterr().out)
        assert found["model"] == "features"
        assert found["channels"] == 2


def test_generate_and_trainer_refuse_it(copied, capsys):
    assert run("generate", copied) == 2
    assert "expected a model of the next token" in capsys.readouterr().err
    with pytest.raises(CheckpointError, match="expected a backbone, found a model of features; load it with ssm_hpn"):
        Trainer.load(copied)
    model = {"input": {"kind": "features", "n_features": 2}, "head": {"kind": "linear", "n_outputs": 2}}
    other = Trainer({"model": model | {"target": {"kind": "sequence_class"}}})
    with pytest.raises(CheckpointError, match="expected a trained backbone, found a model of kind features"):
        other.restore(copied)


def test_the_report_leaves_out_what_has_no_meaning(copied):
    assert run("report", copied) == 0
    page = (copied / "report.html").read_text()
    assert "features of fixed state space filters" in page
    assert "each training series left out" in page
    for word in ("mamba1", "tokens/s", "before training", "Learning rate"):
        assert word not in page
    assert re.search(r"\bnan\b", page) is None


def test_runs_of_features_alone_are_compared_without_updates(copied, here, capsys):
    shutil.copytree(copied, here / "runs/other")
    assert run("compare", copied, "runs/other") == 0
    out = capsys.readouterr().out
    header, _, *rows = [line.split("  ") for line in out.splitlines()[1:5]]
    assert [one.strip() for one in header if one.strip()] == [
        "run",
        "loss",
        "accuracy",
        "error rate",
        "F1",
        "memory",
        "time",
    ]
    assert [len([one for one in row if one.strip()]) for row in rows] == [7, 7]
    assert "each row has the values of a fit of features, on all held-out data" in out
    assert "update" not in out
    assert "<svg" not in (here / "runs/compare.html").read_text()


def test_metrics_are_read_by_pyarrow(copied):
    import pyarrow.json as pa_json

    table = pa_json.read_json(copied / "metrics.jsonl")
    assert table["eval/accuracy"].to_pylist()[-1] == 1.0


# ---- going on


REFUSED = [
    (("--model.kind", "features", "--train.steps", "9"), 2, "train.steps: expected model.kind backbone, found "),
    (("--model.kind", "features", "--optim.lr", "1"), 2, "optim.lr: expected model.kind backbone, found "),
    (
        (
            "--model.kind",
            "backbone",
        ),
        2,
        "model.filters.effort: expected model.kind features, found model.kind backbone",
    ),
    (("--more", "2"), 2, "--more: expected a run of a backbone, found model.kind features; leave it out"),
    (("--profile",), 2, "--profile: expected a backbone, whose updates it times, found model.kind features; leave"),
    (("--resume", "must", "--train.seed", "5"), 4, "expected a checkpoint to go on from, found none"),
    (("--model.kind", "forest"), 2, "model.kind: expected auto | features | backbone, found 'forest'"),
]


@pytest.mark.parametrize(("arguments", "code", "message"), REFUSED, ids=[" ".join(row[0]) for row in REFUSED])
def test_each_error_is_one_line(arguments, code, message, copied, capsys):
    before = sorted(Path("runs").iterdir())
    assert train("long.csv", *LONG, "--data.columns.label", "label", *arguments) == code
    err = capsys.readouterr().err
    assert message in err
    assert err.count("\n") == 1
    assert sorted(Path("runs").iterdir()) == before


def test_a_dry_run_tries_everything_and_leaves_nothing(here, capsys):
    long_table(here / "long.csv")
    assert train("long.csv", *LONG, "--data.columns.label", "label", "--dry-run") == 0
    assert "27 series fitted, evaluated, saved and loaded again to the same bits" in " ".join(
        capsys.readouterr().out.split()
    )
    assert not (here / "runs").exists()


def test_a_run_that_is_named_shows_its_results_and_takes_no_other_settings(copied, capsys):
    before = (copied / "metrics.jsonl").read_bytes()
    assert run("train", "--resume", copied) == 0
    assert "fitted before in" in capsys.readouterr().out
    assert (copied / "metrics.jsonl").read_bytes() == before
    assert run("train", "--resume", copied, "--train.seed", "3") == 2
    assert "train.seed: expected 0, as in " in capsys.readouterr().err
    assert train("long.csv", *LONG, "--data.columns.label", "label", "--resume", "never") == 0
    assert copied.with_name(f"{copied.name}-2").is_dir()


def test_damage_is_the_same_kind_of_error_as_a_backbones(copied, capsys):
    file = copied / "checkpoints/step-00000001/model.safetensors"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    for command in (("predict", copied, "--data", "long.csv"), ("inspect", copied), ("train", "--resume", copied)):
        assert run(*command) == 4
        err = capsys.readouterr().err
        assert "SHA-256: expected" in err
        assert err.count("\n") == 1


def test_a_checkpoint_without_the_settings_of_its_run_is_refused(copied, tmp_path):
    loaded = FilterModel.load(copied)
    other = loaded.model.save(tmp_path / "other", extra={"config": {}})
    with pytest.raises(CheckpointError, match="expected the settings of a run, found some of them"):
        FilterLearner.load(other)


def test_arrays_that_do_not_fit_are_refused(copied):
    loaded = FilterModel.load(copied)
    arrays, values = loaded.model.to_arrays()
    for name in ("filters.modes", "classes.mean", "classes.labels"):
        with pytest.raises(CheckpointError, match="use another checkpoint"):
            FilterModel.from_arrays({key: array for key, array in arrays.items() if key != name}, values)
    with pytest.raises(CheckpointError, match="expected version 1, found version 9"):
        FilterModel.from_arrays(arrays, values | {"version": 9})
    for wrong in (None, "x", [], [[]]):
        with pytest.raises(CheckpointError, match="classes: expected an object, found"):
            FilterModel.from_arrays(arrays, values | {"parts": values["parts"] | {"classes": wrong}})
    with pytest.raises(CheckpointError):
        FilterModel.from_arrays(arrays | {"filters.modes": arrays["filters.modes"][:-1]}, values)


def test_numbers_known_for_different_series_are_saved_with_their_columns(tmp_path):
    random = np.random.default_rng(0)
    series = [wave(i % 2, 30, random) for i in range(20)]
    numbers = np.stack([np.arange(20.0), random.normal(size=20), np.arange(20.0) ** 2], axis=1)
    numbers[::3, 1] = np.nan
    contract = Contract("features", (Column("x", "feature"), Column("y", "feature")))
    model = FilterModel.fit(contract, series, Targets(numbers=numbers), settings=FilterSettings(effort="fast"))
    assert len(model.numbers) == 2
    again = FilterModel.load(model.save(tmp_path / "fitted", extra={"note": 1}))
    assert again.extra == {"note": 1}
    assert again.model.contract == contract
    np.testing.assert_array_equal(again.model.predicted(series), model.predicted(series))
