"""Runs that fit features to labelled series: `train` and the commands that read what it wrote."""

import csv
import json
import math
import re
import shutil
import signal
import sys
import tomllib
from pathlib import Path

import numpy as np
import pyarrow.parquet as pa_parquet
import pytest

from ssm_hpn import Trainer, filter_data, filter_training
from ssm_hpn._core import verify_checkpoint
from ssm_hpn.checkpoints import marked_best
from ssm_hpn.cli.main import main
from ssm_hpn.config import Config, DataShape, load_config, parse, resolve, to_toml
from ssm_hpn.config.kinds import chosen_kind
from ssm_hpn.config.resolve import resolve_filters
from ssm_hpn.contract import Column, Contract
from ssm_hpn.errors import CheckpointError, ConfigError, DataError
from ssm_hpn.filter_learner import FilterLearner
from ssm_hpn.filter_model import FilterModel, FilterSettings, Targets
from ssm_hpn.filter_training import FilterTraining
from ssm_hpn.run import config_in, contract_in
from support import text_data

FAST = ("--model.filters.effort", "fast", "--train.threads", "1")
LONG = ("--data.columns.id", "id", "--data.columns.order", "t", "--data.columns.features", "x,y")


def wave(kind, length, random):
    """Series [T, 2] whose first channel has the frequency of its kind."""
    t = np.arange(length)
    return np.stack([np.sin(t / (2 + 2 * kind) + random.uniform(0, 6)), random.normal(size=length)], axis=1)


def long_table(path, *, classes=("run", "walk", "sit"), count=30, gaps=False, unlabelled=0):
    """Rows are time steps: unequal lengths, two channels, a label and the number `speed` per series."""
    random = np.random.default_rng(3)
    with path.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["id", "t", "x", "y", "label", "speed"])
        for number in range(count):
            kind = number % len(classes)
            series = wave(kind, 30 + number % 7, random)
            label = "" if number < unlabelled else classes[kind]
            speed = 100 * (kind + 1) + random.normal()
            for t, (x, y) in enumerate(series):
                shown = "" if gaps and (t + number) % 9 == 0 else f"{y:.4f}"
                rows.writerow([number, t, f"{x:.5f}", shown, label, f"{speed:.3f}"])
    return path


def run(*arguments):
    return main([str(one) for one in arguments])


def train(path, *arguments):
    return run("train", "--data", path, *FAST, *arguments)


def run_in(folder):
    """The only run below a folder."""
    (found,) = [path for path in (folder / "runs").iterdir() if path.name != "data"]
    return found


def rows_of(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def lines_of(text):
    return [json.loads(line) for line in text.splitlines()]


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="module")
def fitted(tmp_path_factory):
    """A folder with `long.csv` and a run on it."""
    folder = tmp_path_factory.mktemp("fitted")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        long_table(Path("long.csv"), gaps=True)
        assert train("long.csv", *LONG, "--data.columns.label", "label") == 0
    return folder


@pytest.fixture
def copied(fitted, here):
    shutil.copytree(fitted, here, dirs_exist_ok=True)
    return run_in(here)


# ---- which kind of model


SERIES = DataShape(n_features=2, n_classes=3, columns=frozenset({"features", "label"}), digest="d" * 64)


def test_labelled_series_are_fitted_by_features_unless_a_setting_of_a_backbone_is_given():
    assert chosen_kind(Config(), "sequence_class", series=True) == ("features", None)
    for settings, name in (
        ({"train": {"steps": 3000}}, "train.steps"),
        ({"model": {"target": {"pooling": "max"}}}, "model.target.pooling"),
        ({"data": {"length": 64}}, "data.length"),
        ({"evaluation": {"metric": "accuracy"}}, "evaluation.metric"),
        ({"model": {"head": {"kind": "linear"}}}, "model.head.kind"),
        ({"optim": {"lr": 0.1}}, "optim.lr"),
        ({"checkpoint": {"keep": 3}}, "checkpoint.keep"),
    ):
        assert chosen_kind(parse(settings), "sequence_class", series=True) == ("backbone", name)
    for settings in (
        {"train": {"seed": 3, "threads": 2}},
        {"run": {"name": "a"}},
        {"data": {"missing": "zero", "split": "name"}},
        {"model": {"target": {"kind": "sequence_values"}, "filters": {"effort": "best"}}},
    ):
        assert chosen_kind(parse(settings), "sequence_values", series=True).kind == "features"


@pytest.mark.parametrize("target", ["next_token", "token_class", "cotangent"])
def test_features_need_series_with_a_target_each(target):
    assert chosen_kind(Config(), target, series=True) == ("backbone", None)
    asked = parse({"model": {"kind": "features"}})
    with pytest.raises(ConfigError, match=r"^model\.kind: expected backbone: .*; leave it out$"):
        chosen_kind(asked, target, series=True)
    with pytest.raises(ConfigError, match=r"found features for tokens with the target sequence_class"):
        chosen_kind(asked, "sequence_class", series=False)


def test_the_kind_leaves_the_digest_of_a_backbone_alone():
    resolved = resolve(Config(), SERIES)
    assert resolved.model.kind == "backbone"
    before = resolved.model_copy(update={"model": resolved.model.model_copy(update={"kind": "auto"})})
    assert before.digest() == resolved.digest()
    text = to_toml(resolved)
    assert tomllib.loads(text)["model"]["kind"] == "backbone"
    older = text.replace('kind = "backbone"\n', "", 1)  # as a version without the setting wrote it
    assert "filters" not in older
    again = parse(tomllib.loads(older))
    assert again.digest() == resolved.digest()
    assert chosen_kind(again, "sequence_class", series=True) == ("backbone", None)


def test_the_digest_of_features_has_their_settings_alone():
    config = resolve_filters(Config(), SERIES)
    more = {"optim": config.optim.model_copy(update={"lr": 1.0}), "run": config.run.model_copy(update={"name": "a"})}
    assert config.model_copy(update=more).digest() == config.digest() != resolve(Config(), SERIES).digest()
    assert parse(tomllib.loads(to_toml(config))).digest() == config.digest()
    for settings in ({"model": {"filters": {"causal": True}}}, {"train": {"seed": 1}}, {"data": {"missing": "zero"}}):
        assert resolve_filters(parse(settings), SERIES).digest() != config.digest()
    assert set(config.differences(resolve_filters(parse({"train": {"seed": 1}}), SERIES))) == {"train.seed"}


def test_a_trainer_trains_backbones():
    with pytest.raises(ConfigError, match=r"^model\.kind: expected backbone, .*found features; leave it out"):
        Trainer({"model": {"kind": "features"}})


# ---- the run


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


def test_a_backbone_is_trained_where_one_of_its_settings_is_given_with_a_note(here, capsys):
    long_table(here / "long.csv")
    small = ("--train.steps", "2", "--model.d_model", "16", "--model.n_layers", "1", "--train.batch_size", "4")
    assert run("train", "--data", "long.csv", *LONG, "--data.columns.label", "label", *small) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert "model.d_model is a setting of a backbone, so one is trained" in out
    assert load_config(run_in(here) / "config.toml").model.kind == "backbone"
    assert run("train", "--resume", run_in(here)) == 0
    assert "is a setting of a backbone" not in capsys.readouterr().out
    assert train("long.csv", *LONG, "--data.columns.label", "label") == 0
    runs = sorted(str(path) for path in (here / "runs").iterdir() if path.name != "data")
    assert run("compare", *runs) == 0
    out = capsys.readouterr().out
    assert "the losses do not compare" not in out


def test_a_backbone_of_a_version_without_the_setting_goes_on(here, capsys):
    long_table(here / "long.csv")
    small = ("--train.steps", "2", "--model.d_model", "16", "--model.n_layers", "1", "--train.batch_size", "4")
    labelled = (*LONG, "--data.columns.label", "label")
    assert run("train", "--data", "long.csv", *labelled, *small, "--model.kind", "backbone") == 0
    file = run_in(here) / "config.toml"
    file.write_text(file.read_text().replace('kind = "backbone"\n', "", 1))
    assert run("train", "--resume", run_in(here), "--more", "1") == 0
    assert "finished after 3 updates" in capsys.readouterr().out


def test_text_with_labels_trains_a_backbone(here):
    with (here / "a.csv").open("w") as file:
        file.write("text,label\n" + "".join(f"{'good' if i % 2 else 'bad'} words {i},{i % 2}\n" for i in range(30)))
    small = ("--train.steps", "1", "--model.d_model", "16", "--model.n_layers", "1")
    assert run("train", "--data", "a.csv", "--data.columns.text", "text", "--data.columns.label", "label", *small) == 0
    assert load_config(run_in(here) / "config.toml").model.target.kind == "sequence_class"
    assert load_config(run_in(here) / "config.toml").model.kind == "backbone"


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


# ---- commands


def test_predict_gives_label_score_probability_and_rejects(copied, capsys):
    assert run("predict", copied, "--data", "long.csv") == 0
    rows = lines_of(capsys.readouterr().out)
    assert len(rows) == 30
    for row in rows:
        assert row["class"] == max(row["scores"], key=row["scores"].get)
        assert row["score"] == row["scores"][row["class"]] <= 1
        assert row["probability"] == row["probabilities"][row["class"]]
        assert sum(row["probabilities"].values()) == pytest.approx(1, abs=1e-6)
    bound = sorted(row["score"] for row in rows)[10]
    assert run("predict", copied, "--data", "long.csv", "--reject-below", str(bound)) == 0
    rejected = lines_of(capsys.readouterr().out)
    assert [row["class"] is None for row in rejected] == [row["score"] < bound for row in rows]
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


def test_arrays_that_do_not_fit_are_refused(copied):
    loaded = FilterModel.load(copied)
    arrays, values = loaded.model.to_arrays()
    for name in ("filters.modes", "classes.mean", "classes.labels"):
        with pytest.raises(CheckpointError, match="use another checkpoint"):
            FilterModel.from_arrays({key: array for key, array in arrays.items() if key != name}, values)
    with pytest.raises(CheckpointError, match="expected version 1, found version 9"):
        FilterModel.from_arrays(arrays, values | {"version": 9})
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


# ---- interruptions


def saved_arrays(folder):
    return FilterModel.load(folder).model.to_arrays()[0]


@pytest.mark.parametrize("stage", ["read", "filters", "classes", "evaluation", "checkpoint"])
def test_a_fit_that_is_killed_at_any_stage_ends_in_the_same_bits(stage, fitted, here, monkeypatch):
    """A kill leaves what was written so far: nothing is caught, and no file is put away."""
    shutil.copy(fitted / "long.csv", here)

    class Killed(BaseException):
        pass

    begin, save = FilterTraining._begin, filter_training._save

    def killed(training, name):
        begin(training, name)
        if name == stage:
            raise Killed

    def killed_after(*arguments):
        save(*arguments)
        if stage == "checkpoint":
            raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(FilterTraining, "_begin", killed)
        patch.setattr(filter_training, "_save", killed_after)
        with pytest.raises(Killed):
            train("long.csv", *LONG, "--data.columns.label", "label")
    assert train("long.csv", *LONG, "--data.columns.label", "label") == 0
    ours, theirs = saved_arrays(run_in(here)), saved_arrays(run_in(fitted))
    assert ours.keys() == theirs.keys()
    for name, array in ours.items():
        np.testing.assert_array_equal(array, theirs[name], err_msg=name)
    assert marked_best(run_in(here)) == 1
    assert [row["stage"] for row in rows_of(run_in(here))] == ["read", "filters", "classes", "evaluation"]
    summaries = [json.loads((run_in(one) / "summary.json").read_text()) for one in (here, fitted)]
    assert summaries[0] == summaries[1]


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signal for oneself")
@pytest.mark.parametrize("stage", ["filters", "classes"])
def test_a_signal_ends_a_fit_and_the_same_command_begins_again(stage, fitted, here, monkeypatch, capsys):
    shutil.copy(fitted / "long.csv", here)
    begin = FilterTraining._begin

    def signalled(training, name):
        begin(training, name)
        if name == stage:
            signal.raise_signal(signal.SIGINT)

    with monkeypatch.context() as patch:
        patch.setattr(FilterTraining, "_begin", signalled)
        assert train("long.csv", *LONG, "--data.columns.label", "label") == 75
    assert "stopped before the end" in capsys.readouterr().out
    assert not (run_in(here) / "checkpoints").exists()
    assert run("report", run_in(here)) == 0
    assert "interrupted" in (run_in(here) / "report.html").read_text()
    assert run("train", "--resume", run_in(here), "--train.threads", "1") == 0
    for name, array in saved_arrays(run_in(here)).items():
        np.testing.assert_array_equal(array, saved_arrays(run_in(fitted))[name])


def test_a_run_in_use_is_refused(copied, capsys):
    from ssm_hpn._core import RunLock

    lock = RunLock(str(copied))
    try:
        assert train("long.csv", *LONG, "--data.columns.label", "label") == 7
    finally:
        lock.release()
    assert capsys.readouterr().err.startswith("error: ")


def test_a_run_moved_with_its_data_is_evaluated_in_its_new_place(copied, tmp_path, monkeypatch, capsys):
    moved = tmp_path / "elsewhere"
    moved.mkdir()
    shutil.move(tmp_path / "runs", moved / "runs")
    monkeypatch.chdir(moved)
    assert run("evaluate", Path("runs") / copied.name) == 0
    assert "accuracy" in capsys.readouterr().out


def test_text_data_gives_no_features(tmp_path):
    data = text_data(tmp_path)
    with pytest.raises(ConfigError, match=r"model\.kind"):
        chosen_kind(parse({"model": {"kind": "features"}}), "next_token", series=False)
    assert data.train.is_dir()
