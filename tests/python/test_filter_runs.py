"""Runs of features: what `train` writes for labelled series, and what may be in the data."""

import json
import math
import tomllib

import numpy as np
import pytest

from filter_runs import LONG, lines_of, long_table, rows_of, run, run_in, train, wave
from ssm_hpn import filter_data
from ssm_hpn._core import verify_checkpoint
from ssm_hpn.checkpoints import marked_best
from ssm_hpn.columns import Column
from ssm_hpn.config import load_config
from ssm_hpn.contract import Contract
from ssm_hpn.errors import DataError
from ssm_hpn.filter_learner import FilterLearner
from ssm_hpn.filter_model import FilterModel
from ssm_hpn.run import config_in, contract_in


def test_train_on_labelled_series_writes_a_run_like_any_other(fitted, capsys):
    folder = run_in(fitted)
    config = load_config(folder / "config.toml")
    assert config.model.kind == "features"
    assert "optim" not in tomllib.loads((folder / "config.toml").read_text())
    assert folder.name == f"long-{config.digest()[:8]}"
    rows = rows_of(folder)
    assert [row["stage"] for row in rows] == ["read", "filters", "classes", "evaluation"]
    assert [row["step"] for row in rows] == [0, 0, 0, 1]
    assert len({tuple(row) for row in rows}) == 1
    assert all(row["stage_s"] >= 0 and row["mem/rss_bytes"] > 0 for row in rows)
    last = rows[-1]
    assert None not in last.values()
    assert last["left_out/accuracy"] > 0.9
    evaluation = json.loads((folder / "evaluation.json").read_text())
    assert evaluation["class_names"] == ["run", "sit", "walk"]
    assert np.sum(evaluation["confusion"]) == 3
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["metrics"]["accuracy"] == last["eval/accuracy"] == 1.0
    assert (folder / "environment.json").is_file()
    assert (folder / "report.html").is_file()
    step = folder / "checkpoints/step-00000001"
    assert verify_checkpoint(str(step))["step"] == marked_best(folder) == 1
    assert config_in(step) == config
    contract = contract_in(folder, step)
    assert [column.indicator for column in contract.features] == [False, True]
    assert FilterLearner.load(folder).model.contract == contract


def test_the_summary_says_what_was_found_and_what_to_do_next(copied, capsys):
    assert train("long.csv", *LONG, "--data.columns.label", "label") == 0
    out = capsys.readouterr().out
    assert "model      features of fixed state space filters, effort fast, prototypes of 3 classes" in out
    assert "fitted before in" in out
    assert "training series, each left out: accuracy" in out
    assert f"python -m ssm_hpn predict runs/{copied.name} --data PATH" in out


# ---- what may be in the data


def test_wide_tables_and_labels_of_whole_numbers(here, capsys):
    random = np.random.default_rng(0)
    path = here / "wide.npz"
    np.savez(path, x=np.stack([wave(i % 2, 40, random)[:, :1] for i in range(24)]), y=np.arange(24) % 2 + 7)
    assert train(path) == 0
    capsys.readouterr()
    assert run("predict", run_in(here), "--data", path) == 0
    rows = lines_of(capsys.readouterr().out)
    assert [row["class"] for row in rows] == [7 + i % 2 for i in range(24)]


def test_a_table_with_a_row_per_series_by_a_query(here, capsys):
    random = np.random.default_rng(0)
    with (here / "wide.csv").open("w") as file:
        file.write(",".join(f"t{step}" for step in range(30)) + ",kind\n")
        for number in range(24):
            file.write(",".join(f"{x:.4f}" for x in wave(number % 2, 30, random)[:, 0]) + f",{'ab'[number % 2]}\n")
    query = f"sql:SELECT [{', '.join(f't{step}' for step in range(30))}] AS series, kind FROM 'wide.csv'"
    assert train(query, "--data.columns.features", "series", "--data.columns.label", "kind") == 0
    capsys.readouterr()
    assert run("predict", run_in(here), "--data", query) == 0
    assert [row["class"] for row in lines_of(capsys.readouterr().out)] == ["a", "b"] * 12


def test_the_settings_reach_the_filters(here, capsys):
    long_table(here / "long.csv")
    given = ("--train.seed", "7", "--model.filters.causal", "true", "--model.filters.effort", "default")
    assert run("train", "--data", "long.csv", *LONG, "--data.columns.label", "label", *given) == 0
    assert "effort default, causal" in capsys.readouterr().out
    found = json.loads(FilterLearner.load(run_in(here)).model.bank.filters.config)
    assert (found["seed"], found["causal"], found["filters"]) == (7, True, 768)


def test_the_target_is_chosen_among_several(here):
    random = np.random.default_rng(0)
    labels = np.arange(24) % 2
    series = np.stack([wave(label, 30, random) for label in labels])
    np.savez(here / "a.npz", x=series, label=labels, values=labels + random.normal(size=24) / 9)
    for kind, parts in (("joint", (True, True)), ("sequence_values", (False, True)), ("sequence_class", (True, False))):
        assert train("a.npz", "--model.target.kind", kind, "--run.folder", kind) == 0
        model = FilterLearner.load(here / kind).model
        assert (model.classes is not None, bool(model.numbers)) == parts


def test_the_estimator_and_the_run_agree(copied, capsys):
    pytest.importorskip("sklearn")
    from ssm_hpn.estimators import SSMClassifier

    learner = FilterLearner.load(copied)
    parts = filter_data.joined(filter_data.of_folder(learner.train_folder, learner.contract, learner.kind))
    names = np.array(learner.class_names)[parts.codes]
    estimator = SSMClassifier(effort="fast", random_state=0, threads=1).fit(parts.series, names)
    ours = learner.model.class_scores(parts.series, threads=1)
    np.testing.assert_allclose(estimator.model_.class_scores(parts.series, threads=1), ours, atol=1e-4)


def test_numbers_are_answered_in_the_users_units(here, capsys):
    long_table(here / "long.csv")
    assert train("long.csv", *LONG, "--data.columns.values", "speed") == 0
    assert "r2" in capsys.readouterr().out
    assert [row["stage"] for row in rows_of(run_in(here))] == ["read", "filters", "numbers", "evaluation"]
    assert run("predict", run_in(here), "--data", "long.csv") == 0
    rows = lines_of(capsys.readouterr().out)
    assert set(rows[0]) == {"id", "values"}
    assert all(abs(row["values"]["speed"] - 100 * (row["id"] % 3 + 1)) < 30 for row in rows)
    assert run("evaluate", run_in(here), "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["r2"] > 0.9 > found["mean_predictor"]["r2"]
    std = FilterLearner.load(run_in(here)).contract.scale.std[0]
    assert found["loss"] == pytest.approx(found["mse"] / std**2)


def test_numbers_that_do_not_vary_have_no_r2_and_files_stay_json(here, capsys):
    random = np.random.default_rng(0)
    np.savez(here / "a.npz", x=np.stack([wave(0, 30, random) for _ in range(24)]), values=np.ones(24))
    assert train("a.npz") == 0
    assert "each left out: r2 –" in capsys.readouterr().out

    def refuse(name):
        raise AssertionError(name)

    summary = json.loads((run_in(here) / "summary.json").read_text(), parse_constant=refuse)
    assert summary["left_out"]["left_out/r2"] is None
    assert run("inspect", run_in(here), "--json") == 0
    json.loads(capsys.readouterr().out, parse_constant=refuse)
    assert run("inspect", run_in(here)) == 0
    assert run("report", run_in(here)) == 0


def test_a_class_and_a_number_together(here, capsys):
    long_table(here / "long.csv", unlabelled=6)
    assert train("long.csv", *LONG, "--data.columns.values", "speed", "--data.columns.label", "label") == 0
    last = rows_of(run_in(here))[-1]
    assert last["left_out/accuracy"] > 0.9
    assert last["left_out/r2"] > 0.8
    assert "eval/loss" not in last
    assert run("predict", run_in(here), "--data", "long.csv") == 0
    rows = lines_of(capsys.readouterr().out.split("PATH\n")[-1].partition("\n")[2])
    assert {"class", "score", "scores", "probability", "probabilities", "values"} < set(rows[0])
    assert run("report", run_in(here)) == 0
    assert run("inspect", run_in(here)) == 0
    assert "prototypes of 3 classes and 1 number" in capsys.readouterr().out


def test_series_without_a_label_are_left_out_and_counted(here, capsys):
    long_table(here / "long.csv", unlabelled=6)
    assert train("long.csv", *LONG, "--data.columns.label", "label") == 0
    loaded = FilterModel.load(run_in(here))
    series, without = loaded.extra["series"], loaded.extra["without_target"]
    assert series + without == loaded.model.contract.parts["train"].documents
    assert 3 <= without <= 6
    assert rows_of(run_in(here))[-1]["data/series"] == series == len(loaded.model.classes.labels)
    assert f"{series} series fitted, {without} without a target left out" in capsys.readouterr().out


def test_no_held_out_part(here, capsys):
    long_table(here / "long.csv")
    assert train("long.csv", *LONG, "--data.columns.label", "label", "--data.validation_fraction", "0") == 0
    folder = run_in(here)
    assert not (folder / "evaluation.json").exists()
    assert marked_best(folder) is None
    assert not [key for key in rows_of(folder)[-1] if key.startswith("eval/")]
    assert run("report", folder) == 0
    assert run("predict", folder, "--data", "long.csv", "--out", "p.csv") == 0
    capsys.readouterr()
    assert run("evaluate", folder) == 2
    assert "has no held-out data" in capsys.readouterr().err
    assert run("evaluate", folder, "--data", "long.csv") == 0


def test_one_class_alone_is_refused(here, capsys):
    long_table(here / "long.csv", classes=("run",))
    assert train("long.csv", *LONG, "--data.columns.label", "label") == 3
    assert "expected series of at least two classes, found one class (run); " in capsys.readouterr().err
    assert not list((here / "runs").glob("long-*/checkpoints"))


def test_a_class_of_one_series_is_fitted(here):
    random = np.random.default_rng(0)
    labels = np.array([0, 1] * 10 + [2])
    np.savez(here / "a.npz", x=np.stack([wave(label, 30, random) for label in labels]), y=labels)
    assert train("a.npz", "--data.validation_fraction", "0") == 0
    assert len(FilterLearner.load(run_in(here)).model.classes.prototypes) == 3


@pytest.mark.parametrize("missing", ["mask", "forward", "zero"])
def test_missing_numbers_by_the_rule_of_the_contract(missing, here, capsys):
    long_table(here / "long.csv", gaps=True)
    assert train("long.csv", *LONG, "--data.columns.label", "label", "--data.missing", missing) == 0
    learner = FilterLearner.load(run_in(here))
    channels = learner.contract.channels(np.array([[1.0, np.nan], [2.0, 3.0]]))
    expected = math.nan if missing == "mask" else learner.contract.filled(np.array([[1.0, math.nan]]))[0, 1]
    np.testing.assert_allclose(learner.contract.series(channels)[0], [1.0, expected], atol=1e-6)


def test_series_of_channels_are_those_that_the_channels_were_made_of():
    columns = (Column("a", "feature", mean=1e6, std=3.0), Column("b", "feature", mean=2.0, std=0.5, indicator=True))
    contract = Contract("features", columns)
    raw = np.array([[1e6 + 1.5, 2.25], [1e6 - 3.0, np.nan]])
    np.testing.assert_allclose(contract.series(contract.channels(raw)), raw, rtol=1e-12)
    with pytest.raises(DataError, match=r"features: expected 4 channels, found shape \[2, 2\]"):
        contract.series(raw)
