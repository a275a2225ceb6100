"""The command line: processes, exit codes, one-line errors, signals."""

import importlib
import json
import os
import platform
import re
import shutil
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pyarrow.csv as pa_csv
import pyarrow.parquet as pa_parquet
import pytest

from ssm_hpn import Trainer
from ssm_hpn.cadence import Progress
from ssm_hpn.callbacks import Event
from ssm_hpn.cli.main import COMMANDS, main
from ssm_hpn.cli.parser import parse_train
from ssm_hpn.cli.progress import ProgressDisplay
from ssm_hpn.entry import enter
from ssm_hpn.errors import ConfigError
from ssm_hpn.evaluation import Evaluation
from ssm_hpn.metrics import empty_totals, metrics_of
from ssm_hpn.profiling import profile
from ssm_hpn.update import Update
from support import SMALL, sensor_file, settings, text_data, train


def command(*words, module="ssm_hpn", env=None):
    return subprocess.run(
        [sys.executable, "-m", module, *words], capture_output=True, text=True, env=env, check=False, timeout=120
    )


@pytest.fixture(scope="module")
def sensors(tmp_path_factory):
    """A finished run of a sensor classification, with its folder and its raw data."""
    folder = tmp_path_factory.mktemp("sensors")
    data = sensor_file(folder / "sensors.csv")
    before = Path.cwd()
    os.chdir(folder)
    try:
        columns = ["--data.columns.id", "id", "--data.columns.features", "a,b", "--data.columns.label", "label"]
        steps = ["--train.steps", "60", "--evaluation.every", "30", "--optim.lr", "0.02", "--run.folder", "run"]
        short = [word for word in SMALL if word not in ("--data.length", "32")]
        assert train("--data", str(data), *columns, *short, *steps) == 0
    finally:
        os.chdir(before)
    return folder, data


# ---- options


def test_options_and_file_make_one_configuration(tmp_path):
    file = tmp_path / "c.toml"
    file.write_text('[model]\nd_model = 64\n[model.head]\nkind = "linear"\ntied = true\n[optim]\nlr = 0.5\n')
    words = ["--config", str(file), "--optim.lr", "0.1", "--data", "a", "--data.validation", "b,c", "--dry-run"]
    request = parse_train([*words, "--data.shuffle", "false", "--early_stopping.patience", "null"], "train")
    config = request.config
    assert (config.model.d_model, config.model.head.tied, config.optim.lr) == (64, True, 0.1)
    assert (config.data.train, config.data.validation, config.data.shuffle) == (("a",), ("b", "c"), False)
    assert (request.dry_run, request.resume) == (True, "auto")
    assert parse_train(["--model.head.kind", "prototype", "--config", str(file)], "train").config.model.head.kind == (
        "prototype"
    )


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--model.d_modle", "3"], ["--model.d_modle", "did you mean --model.d_model?"]),
        (["--d_model", "3"], ["did you mean --model.d_model?"]),
        (["--model.d_mod", "3"], ["--model.d_mod", "did you mean --model.d_model?"]),
        (["--model.d_model", "wide"], ["model.d_model", "whole number", "'wide'"]),
        (
            ["--train.steps", "abc"],
            ["train.steps: expected a whole number, found 'abc'; correct it (number of updates)"],
        ),
        (["--model.d_model"], ["--model.d_model", "expected one argument"]),
        (["path"], ["'path'", "begin with --"]),
        (["--data", "x", " "], ["' '", "begin with --"]),
        (["--data", ""], ["data.train: expected a path, found ''"]),
        (["--config", "none.toml"], ["none.toml", "no such file"]),
        (["--model.head.kind", "prototpye"], ["did you mean prototype?"]),
    ],
)
def test_wrong_options_are_one_line_with_the_nearest_name(words, expected, here):
    with pytest.raises(ConfigError) as caught:
        parse_train(words, "train")
    for word in expected:
        assert word in str(caught.value)


def test_every_setting_is_an_option_with_its_description(capsys):
    from ssm_hpn.config.load import walk

    assert main(["--help"], command="train", prog="train") == 0
    text = " ".join(capsys.readouterr().out.split())
    for name, section, field in walk():
        assert f"--{name} " in text, name
        assert " ".join(section.model_fields[field].description.split())[:30] in text, name


# ---- commands and exit codes


def test_help_names_every_command(capsys):
    assert main([]) == 0
    shown = capsys.readouterr().out
    for one in COMMANDS:
        assert one.name in shown
        assert one.load() is not None


@pytest.mark.parametrize("blank", ["", " ", "\t"])
def test_a_blank_argument_is_named(here, capsys, blank):
    commands = [
        *(["inspect", blank], ["inspect", "x", blank], ["prepare", blank, "--out", "o"], ["evaluate", blank]),
        *(["report", blank], ["compare", "x", blank], ["generate", blank], ["generate", "x", blank]),
        *(["predict", "x", "--data", blank], ["prepare", "--data.train", blank, "--out", "o"], ["train", blank]),
    ]
    for words in commands:
        assert main(words) == 2, words
        (line,) = capsys.readouterr().err.splitlines()
        assert f"found {blank!r}; " in line, (words, line)


@pytest.mark.parametrize("words", [["inspect", '["x", '], ["prepare", '["x", ', "--out", "o"]])
def test_a_cut_list_of_paths_is_refused(here, capsys, words):
    assert main(words) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: PATH: expected a JSON list of texts"), line


def test_errors_are_one_line_on_stderr_with_their_exit_code(here, capsys):
    cases = [
        (["evaluat", "x"], 2, "did you mean evaluate?"),
        (["inspect", "nowhere.csv"], 4, "expected data, a run, a checkpoint or a configuration, found no such file or"),
        (["evaluate", "nowhere"], 4, "no such file or folder"),
        (["train", "--optim.lr", "-1"], 2, "optim.lr"),
        (["train", "--data", "nowhere"], 3, "nowhere"),
        (["train", "--resume", "must", "--data", "empty.txt"], 3, "empty.txt"),
    ]
    (here / "empty.txt").write_text("")
    for words, code, text in cases:
        assert main(words) == code, words
        captured = capsys.readouterr()
        lines = captured.err.splitlines()
        assert len(lines) == 1, captured.err
        assert lines[0].startswith("error: ")
        assert text in lines[0]
    with pytest.raises(ConfigError):
        main(["train", "--optim.lr", "-1", "--traceback"])


def test_an_unexpected_exception_is_one_line(monkeypatch, capsys):
    import ssm_hpn.cli.train

    def broken(*_):
        raise ZeroDivisionError("of all things")

    monkeypatch.setattr(ssm_hpn.cli.train, "run", broken)
    assert main(["train"]) == 1
    line = capsys.readouterr().err
    assert "this is a bug: ZeroDivisionError at test_cli.py" in line
    assert "--traceback" in line


def test_without_pyarrow_preparing_data_is_refused_in_one_line(here, capsys, monkeypatch):
    for name in [name for name in sys.modules if name.split(".")[0] == "pyarrow" or name.startswith("ssm_hpn.prepare")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    assert train() == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: pyarrow: expected the package")
    with pytest.raises(ModuleNotFoundError):
        train("--traceback")


def test_an_unavailable_instruction_set_exits_2(here):
    absent = "neon" if platform.machine().lower() in ("x86_64", "amd64") else "avx2"
    env = os.environ | {"SSM_HPN_SIMD": absent}
    done = command("--dry-run", "--data", str(text_data(here, documents=8).folder), module="ssm_hpn.train", env=env)
    assert done.returncode == 2, done.stderr
    assert absent in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ("env", "words", "code", "text"),
    [
        ({"SSM_HPN_SIMD": "avx9"}, [], 2, "avx9"),
        ({}, ["--resume", "nevr"], 4, "did you mean never?"),
        ({}, ["--resume", "maybe"], 4, "check the path"),
    ],
)
def test_wrong_environment_and_resume_are_refused_before_data_is_prepared(here, env, words, code, text):
    text_data(here, documents=8)
    done = command("--data", "text", *SMALL, *words, module="ssm_hpn.train", env=os.environ | env)
    assert done.returncode == code, done.stderr
    assert text in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not (here / "runs").exists()


def test_a_failed_resume_leaves_no_folder(here):
    data = text_data(here, documents=8)
    assert train("--data", str(data.folder), *SMALL, "--resume", "must") == 4
    assert not list(here.glob("runs/*"))


# ---- a whole run


def test_training_on_raw_data_prints_its_steps(sensors, capsys, monkeypatch):
    folder, _ = sensors
    monkeypatch.chdir(folder)
    for name in (
        "config.toml",
        "metrics.jsonl",
        "summary.json",
        "report.html",
        "checkpoints/latest",
        "checkpoints/best",
    ):
        assert (folder / "run" / name).exists(), name
    assert json.loads((folder / "run" / "summary.json").read_text())["metrics"]["accuracy"] > 0.6
    evaluation = json.loads((folder / "run" / "evaluation.json").read_text())
    assert evaluation["class_names"] == ["fast", "medium", "slow"]
    assert len(evaluation["prototype_cosines"]) == 3


def test_evaluate_reads_held_out_and_other_data(sensors, capsys, monkeypatch):
    folder, data = sensors
    monkeypatch.chdir(folder)
    assert main(["evaluate", "run", "--which", "latest", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["step"] == 60
    assert found["accuracy"] == json.loads(Path("run/summary.json").read_text())["metrics"]["accuracy"]
    assert main(["evaluate", "run", "--data", str(data), "--json"]) == 0
    everything = json.loads(capsys.readouterr().out)
    assert everything["targets"] == 60
    assert everything["accuracy"] > 0.6
    assert main(["evaluate", "run"]) == 0
    assert "accuracy" in capsys.readouterr().out


def test_predict_names_classes_and_can_reject(sensors, capsys, monkeypatch):
    folder, data = sensors
    monkeypatch.chdir(folder)
    assert main(["predict", "run", "--data", str(data), "--out", "p.jsonl"]) == 0
    rows = [json.loads(line) for line in Path("p.jsonl").read_text().splitlines()]
    assert len(rows) == 60
    assert {row["class"] for row in rows} <= {"fast", "medium", "slow"}
    right = sum(row["class"] == ("slow", "medium", "fast")[number % 3] for number, row in enumerate(rows))
    assert right > 36
    assert all(list(row["scores"]) == ["fast", "medium", "slow"] for row in rows)
    assert all(row["class"] == max(row["scores"], key=row["scores"].get) for row in rows)
    assert all(row["score"] == pytest.approx(max(row["scores"].values()), rel=1e-4) for row in rows)
    assert main(["predict", "run", "--data", str(data), "--reject-below", "2"]) == 0
    rejected = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert all(row["class"] is None for row in rejected)
    prepared = next(Path("runs/data").glob("sensors-*"))
    assert main(["predict", "run", "--data", str(prepared / "train")]) == 0
    assert (
        len(capsys.readouterr().out.splitlines()) == json.loads((prepared / "train/manifest.json").read_text())["rows"]
    )


def test_predict_needs_no_targets(sensors, capsys, monkeypatch, tmp_path):
    folder, data = sensors
    monkeypatch.chdir(folder)
    assert main(["predict", "run", "--data", str(data)]) == 0
    expected = [row | {"name": ""} for row in map(json.loads, capsys.readouterr().out.splitlines())]
    table = pa_csv.read_csv(data)
    new = table.drop_columns("label")
    pa_csv.write_csv(new, tmp_path / "new.csv")
    pa_parquet.write_table(new, tmp_path / "new.parquet")
    (tmp_path / "new.jsonl").write_text("".join(json.dumps(row) + "\n" for row in new.to_pylist()))
    pa_csv.write_csv(new.append_column("label", [["unheard of"] * len(new)]), tmp_path / "other.csv")
    for name in ("new.csv", "new.parquet", "new.jsonl", "other.csv"):
        assert main(["predict", "run", "--data", str(tmp_path / name)]) == 0
        assert [row | {"name": ""} for row in map(json.loads, capsys.readouterr().out.splitlines())] == expected, name
    pa_csv.write_csv(new.drop_columns("b"), tmp_path / "short.csv")
    assert main(["predict", "run", "--data", str(tmp_path / "short.csv")]) == 3
    assert "expected a column 'b', found no such column" in capsys.readouterr().err
    assert main(["evaluate", "run", "--data", str(tmp_path / "new.csv")]) == 3
    assert "expected a column 'label', found no such column" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("key", "name"), [("label", "y"), ("label", "condition"), ("values", "goal"), ("labels", "each")]
)
def test_predict_needs_no_targets_in_arrays(key, name, here, capsys):
    series = np.random.default_rng(0).normal(size=(24, 10)).astype(np.float32)
    target = {"label": np.arange(24) % 2, "values": series[:, :2], "labels": np.arange(240).reshape(24, 10) % 2}[key]
    np.savez("old.npz", x=series, **{name: target})
    np.savez("new.npz", x=series)
    np.save("new.npy", series)
    short = [word for word in SMALL if word not in ("--data.length", "32")]
    words = [f"--data.columns.{key}", name, "--train.steps", "2", "--run.folder", "run"]
    assert train("--data", "old.npz", *short, *words) == 0
    capsys.readouterr()
    found = {}
    for file in ("old.npz", "new.npz", "new.npy"):
        assert main(["predict", "run", "--data", file]) == 0
        found[file] = [row | {"name": ""} for row in map(json.loads, capsys.readouterr().out.splitlines())]
    assert len(found["old.npz"]) == 24
    assert found["new.npz"] == found["new.npy"] == found["old.npz"]
    if key == "label":
        assert all(list(row["scores"]) == ["0", "1"] for row in found["new.npz"])


@pytest.mark.parametrize("target", [[], ["--model.target.kind", "sequence_class"]])
def test_data_without_labels_names_the_option_for_their_column(target, here, capsys):
    series = np.random.default_rng(0).normal(size=(24, 10, 2)).astype(np.float32)
    np.save("series.npy", series)
    np.savez("series.npz", x=series, kind=np.arange(24) % 2)
    for file in ("series.npy", "series.npz"):
        assert train("--data", file, *SMALL, *target, "--dry-run") == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith("error: data.columns: expected labels of the classes to learn, found none in the data; ")
        assert "--data.columns.label" in line
    assert train("--data", "series.npz", *SMALL, *target, "--data.columns.label", "kind", "--dry-run") == 0


def test_inspect_shows_tensors_memory_and_shards(sensors, capsys, monkeypatch):
    folder, _ = sensors
    monkeypatch.chdir(folder)
    assert main(["inspect", "run"]) == 0
    shown = capsys.readouterr().out
    for word in ("head.projection.weight", "peak memory", "[model.head.loss]", "decayed"):
        assert word in shown
    assert main(["inspect", "run", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["predicted_peak_bytes"] > 0
    checkpoint = next(Path("run/checkpoints").glob("step-*"))
    assert main(["inspect", str(checkpoint), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["verified"]["bytes"] > 0
    assert main(["inspect", str(next(Path("runs/data").glob("sensors-*")))]) == 0
    assert "n_features" in capsys.readouterr().out


def test_a_finished_run_is_shown_again_at_once(sensors, capsys, monkeypatch):
    folder, _ = sensors
    monkeypatch.chdir(folder)
    before = Path("run/metrics.jsonl").read_bytes()
    assert main(["train", "--config", "run/config.toml"]) == 0
    shown = capsys.readouterr().out
    assert "finished after 60 updates" in shown
    assert "training   " not in shown
    assert "going on" not in shown
    assert Path("run/metrics.jsonl").read_bytes() == before


def test_an_interrupted_run_that_is_resumed_ends_with_summary_and_page(here, capsys, monkeypatch):
    """The summary, the page and a third start use the folder that the first start made."""
    data = text_data(here, documents=12)
    words = ["--data", str(data.folder), *SMALL]
    stopping = {"requested": True}
    step = Trainer.step

    def step_and_stop(self, *given, **named):
        update = step(self, *given, **named)
        self.stop_requested |= stopping.pop("requested", False)
        return update

    monkeypatch.setattr(Trainer, "step", step_and_stop)
    assert train(*words) == 75
    assert train(*words) == 0
    assert "this model" in capsys.readouterr().out
    assert len(list((here / "runs").glob("*/report.html"))) == 1
    assert train(*words) == 0


@pytest.mark.parametrize(("lr", "best"), [("0.01", True), ("2", False)])
def test_only_an_evaluation_better_than_the_untrained_model_is_called_best(here, capsys, lr, best):
    data = text_data(here, documents=12)
    steps = ["--train.steps", "4", "--evaluation.every", "4", "--optim.lr", lr, "--model.head.kind", "linear"]
    assert train("--data", str(data.folder), *SMALL, *steps) == 0
    shown = capsys.readouterr().out
    values = [float(value) for value in re.findall(r"\[held out\] step \d  loss ([\d.]+)", shown)]
    assert (values[1] < values[0]) is best, shown
    assert ("(best so far)" in shown) is best
    assert "of the evaluations after training began, " in shown
    assert "over all held-out data; evaluations during training used 2 of its batches at most" in shown


def test_a_resumed_run_keeps_the_loss_of_the_untrained_model(text):
    console = Mock()
    display = ProgressDisplay(console)
    display.restore({"at_first": 1.0})
    display.restore(display.state())
    trainer = Trainer(settings(text))
    values = {metric.name: 2.0 for metric in metrics_of(trainer.config.model)}
    for loss, said in ((2.0, False), (0.5, True)):
        evaluation = Evaluation(4, values | {"loss": loss}, empty_totals(trainer.config.model))
        event = Event(trainer, Path(), trainer.progress(0.0), evaluation=evaluation, improved=True)
        display._started = True
        display.evaluated(event)
        assert ("(best so far)" in console.print.call_args.args[0]) is said


def test_accuracy_is_the_mean_since_the_last_line(text, monkeypatch):
    clock = Mock(return_value=100.0)
    monkeypatch.setattr("ssm_hpn.cli.progress.time.monotonic", clock)
    trainer = Trainer(settings(text, train={"steps": 9}))
    console = Mock(is_terminal=False)
    display = ProgressDisplay(console)
    seen = [(1, None, 10), (2, 0.5, 10), (3, None, 10), (4, 0.1, 30), (5, None, 10), (6, 0.9, 10), (9, None, 10)]
    lines_after, said = {1: 6.0, 4: 6.0, 5: 6.0, 6: 6.0}, {}
    for step, accuracy, count in seen:
        clock.return_value += lines_after.get(step, 0.0)
        given = dict.fromkeys(("tokens", "lr", "grad_norm", "update_norm", "skipped", "data_seconds"), 1)
        update = Update(
            step=step,
            applied=True,
            loss=1.0,
            accuracy=accuracy,
            count=count,
            clipped=False,
            compute_seconds=1.0,
            **given,
        )
        progress = Progress(step, 0.0, 0.0)
        display.updated(Event(trainer, Path(), progress, update=update))
        if console.print.called:
            said[step] = re.findall(r"accuracy ([\d.]+)", console.print.call_args.args[0])
            console.print.reset_mock()
    assert said == {1: [], 4: ["0.200"], 5: ["0.200"], 6: ["0.900"], 9: ["0.900"]}


def test_the_speed_shown_leaves_out_evaluation(text):
    """Each update takes 0.1 s for 500 tokens, whatever the elapsed time; later ones take 0.2 s."""
    console = Mock(is_terminal=False)
    display = ProgressDisplay(console)
    trainer = Trainer(settings(text, train={"steps": 100}))
    display.started(Event(trainer, Path(), trainer.progress(0.0)))

    def shown(step, compute_seconds):
        update = Update(
            step=step,
            applied=True,
            loss=2.0,
            accuracy=None,
            count=500,
            tokens=500,
            lr=0.1,
            grad_norm=1.0,
            update_norm=0.1,
            clipped=False,
            skipped=0,
            data_seconds=0.04,
            compute_seconds=compute_seconds,
        )
        event = Event(trainer, Path(), Progress(step, 0.0, 0.0), update=update)
        display.updated(event)
        return int(re.search(r"([\d,]+) tokens/s", display._text(event)).group(1).replace(",", ""))

    assert shown(1, 0.06) == 5000
    assert shown(2, 0.06) == 5000
    display._began -= 1000.0  # an evaluation
    assert shown(3, 0.06) == 5000
    slower = [shown(step, 0.16) for step in range(4, 60)]
    assert slower == sorted(slower, reverse=True)
    assert 2500 < slower[0] < 5000
    assert slower[-1] == pytest.approx(2500, rel=0.01)


def test_the_update_resumed_from_is_printed_before_the_first_step(here, capsys, monkeypatch):
    monkeypatch.setattr("ssm_hpn.cli.train.summary", lambda *_: "")
    data = text_data(here, documents=12)
    words = ["--data", str(data.folder), *SMALL, "--checkpoint.every", "2"]
    assert train(*words, "--train.steps", "4", "--run.folder", "first") == 0
    shown = capsys.readouterr().out
    assert shown.index("training   4 updates") < shown.index("[held out] step 0")
    assert shown.count("training   ") == 1
    assert "going on" not in shown
    shutil.rmtree(here / "first" / "checkpoints" / "step-00000004")
    assert train(*words, "--train.steps", "4", "--run.folder", "first") == 0
    shown = capsys.readouterr().out
    said = shown.index("going on at update 2 of first, from step-00000002\n")
    assert shown.index("training   4 updates") < said < shown.index("step 4/4")


def test_a_profile_names_every_phase_and_writes_no_file(here, capsys, monkeypatch):
    data = text_data(here, documents=12)
    before = sorted(path.name for path in here.iterdir())
    monkeypatch.setattr("ssm_hpn.cli.train.profile", partial(profile, warm_up=1, updates=3))
    assert train("--data", str(data.folder), *SMALL, "--profile") == 0
    printed = capsys.readouterr().out
    rows = dict(re.findall(r"^  (\w[\w ]*?) +([\d.]+)  +[\d.]+%", printed, re.MULTILINE))
    phases = ["embedding", "products", "conv", "scan", "norm", "head", "optimiser", "data wait", "other"]
    assert list(rows) == [*phases, "total"]
    assert sum(float(rows[name]) for name in phases) == pytest.approx(float(rows["total"]), abs=0.1)
    assert re.search(r"3 updates, [\d,]+ tokens/s", printed)
    assert re.search(r"^  products .* [\d.]+ +\d+%$", printed, re.MULTILINE), printed
    assert "GFLOP/s, measured in this run: the best product of 768 x 768 x 768" in printed
    assert sorted(path.name for path in here.iterdir()) == before
    with pytest.raises(ConfigError, match="at most one of --dry-run and --profile"):
        parse_train(["--profile", "--dry-run"], "train")


def test_docs_config_md_is_what_config_docs_prints(capsys):
    assert main(["config-docs"]) == 0
    made = capsys.readouterr().out
    docs = Path(__file__).parents[2] / "docs" / "config.md"
    assert docs.read_text(encoding="utf-8") == made, "run `python -m ssm_hpn config-docs --out docs/config.md`"


# ---- signals


def wait_for_rows(folder, count):
    metrics = folder / "metrics.jsonl"
    for _ in range(600):
        if metrics.exists() and metrics.read_bytes().count(b"\n") >= count:
            return
        time.sleep(0.05)
    raise AssertionError("training did not start")


@pytest.mark.skipif(os.name != "posix", reason="signals as POSIX has them")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_saves_and_the_same_command_resumes(here, number):
    data = text_data(here, documents=12)
    steps = ["--train.steps", "100000", "--train.log_every", "1", "--evaluation.every", "100000", "--run.folder", "run"]
    words = ["--data", str(data.folder), *SMALL, *steps]
    process = subprocess.Popen(
        [sys.executable, "-m", "ssm_hpn.train", *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    wait_for_rows(here / "run", 3)
    process.send_signal(number)
    shown, errors = process.communicate(timeout=60)
    assert process.returncode == 75, errors
    assert errors == ""
    assert "go on with" in shown
    rows = [json.loads(line) for line in (here / "run" / "metrics.jsonl").read_text().splitlines()]
    latest = (here / "run" / "checkpoints" / "latest").read_text().strip()
    assert int(latest.removeprefix("step-")) == rows[-1]["step"]


@pytest.mark.skipif(os.name != "posix", reason="signals as POSIX has them")
def test_a_second_interrupt_ends_at_once():
    code = (
        "import os, signal, sys, time\n"
        "from ssm_hpn.cli import main as cli\n"
        "from ssm_hpn.cli.signals import graceful_stop\n"
        "import ssm_hpn.cli.train as train\n"
        "def run(*_):\n"
        "    with graceful_stop(lambda: None):\n"
        "        os.kill(os.getpid(), signal.SIGINT)\n"
        "        os.kill(os.getpid(), signal.SIGINT)\n"
        "        time.sleep(5)\n"
        "train.run = run\n"
        "sys.exit(cli(['train']))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 130
    assert done.stderr == "interrupted; no unfinished file is left behind\n"


@pytest.mark.parametrize("name", [command.name for command in COMMANDS])
def test_every_command_says_in_one_line_that_it_was_interrupted(name, capsys, monkeypatch):
    def stopped(*_, **__):
        raise KeyboardInterrupt

    module = importlib.import_module(next(command.module for command in COMMANDS if command.name == name))
    with monkeypatch.context() as patch:
        patch.setattr(module, "run", stopped)
        assert main([name]) == 130
    assert capsys.readouterr().err == "interrupted; no unfinished file is left behind\n"
    commands = importlib.import_module("ssm_hpn.cli.main")
    monkeypatch.setattr(commands, "import_module", stopped)
    assert main([name]) == 130
    assert capsys.readouterr().err == "interrupted before anything began; nothing was written\n"
    monkeypatch.setattr(commands, "main", stopped)
    assert enter("ssm-hpn", name) == 130
    assert capsys.readouterr().err == "interrupted before anything began; nothing was written\n"


@pytest.mark.parametrize(
    ("function", "words"),
    [
        ("parse_train", "interrupted before training began; no unfinished file is left behind"),
        ("with_prepared_data", "interrupted before training began; no unfinished file is left behind"),
        ("Trainer.fit", "interrupted at once; the same command goes on from the last checkpoint, if there is one"),
        ("summary", "interrupted after training, which is saved; the same command shows its results"),
    ],
)
def test_train_says_what_was_interrupted(function, words, here, capsys, monkeypatch):
    data = text_data(here, documents=8)

    def stopped(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(f"ssm_hpn.cli.train.{function}", stopped)
    assert train("--data", str(data.folder), *SMALL, "--train.steps", "1") == 130
    assert capsys.readouterr().err == f"{words}\n"


@pytest.mark.skipif(os.name != "posix", reason="signals as POSIX has them")
@pytest.mark.parametrize("suffix", ["csv", "txt"])
def test_an_interrupted_preparation_leaves_nothing_and_says_so(here, suffix):
    with (here / f"big.{suffix}").open("w") as file:
        file.write("id,a,b,c\n")
        file.writelines(f"{number % 999},{number},{number * 2},{number % 3}\n" for number in range(600_000))
    table = ["--data.columns.id", "id", "--data.columns.features", "a,b", "--data.columns.labels", "c"]
    words = ["--data", f"big.{suffix}", *(table if suffix == "csv" else []), *SMALL, "--train.steps", "1"]
    process = subprocess.Popen(
        [sys.executable, "-m", "ssm_hpn.train", *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    for _ in range(3000):
        if list(here.glob("runs/data/.big-*")):
            break
        time.sleep(0.01)
    time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert errors == "interrupted before training began; no unfinished file is left behind\n"
    assert list(here.glob("runs/data/*")) == list(here.glob("runs/data/.*")) == []


def test_ctrl_c_that_the_engine_takes_is_an_interrupt():
    from ssm_hpn.prepare.engine import engine

    for text, kind in (("Query interrupted", KeyboardInterrupt), ("something else", RuntimeError)):
        with pytest.raises(kind), engine(None):
            raise RuntimeError(text)
