"""The command line: options, commands, exit codes, one-line errors."""

import json
import os
import platform
import re
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow.csv as pa_csv
import pyarrow.parquet as pa_parquet
import pytest

from ssm_hpn.cli.main import COMMANDS, main
from ssm_hpn.cli.parser import parse_train
from ssm_hpn.errors import ConfigError
from ssm_hpn.profiling import profile
from support import SMALL, sensor_file, text_data, train


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
    ("words", "clean"),
    [
        (["--data.clean"], True),
        (["--data.clean", "--data.train", "a"], True),
        (["--data.clean", "false"], False),
        (["--data.clean=false"], False),
    ],
)
def test_a_setting_that_is_true_or_false_is_true_where_it_is_named_alone(words, clean):
    assert parse_train(words, "train").config.data.clean is clean


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


def test_a_wrong_instruction_set_is_refused_before_data_is_prepared(here):
    text_data(here, documents=8)
    env = os.environ | {"SSM_HPN_SIMD": "avx9"}
    done = command("--data", "text", *SMALL, module="ssm_hpn.train", env=env)
    assert done.returncode == 2, done.stderr
    assert "avx9" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not (here / "runs").exists()


@pytest.mark.parametrize(("resume", "text"), [("nevr", "did you mean never?"), ("maybe", "check the path")])
def test_a_wrong_resume_is_refused_before_data_is_prepared(here, capsys, resume, text):
    text_data(here, documents=8)
    capsys.readouterr()
    assert train("--data", "text", *SMALL, "--resume", resume) == 4
    (line,) = capsys.readouterr().err.splitlines()
    assert text in line
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
    said = capsys.readouterr()
    rejected = [json.loads(line) for line in said.out.splitlines()]
    assert all(row["class"] is None for row in rejected)
    largest = max(row["confidence"] for row in rejected)
    assert f"note: none of 60 documents has a class: the largest confidence is {largest:.6g}," in said.err
    prepared = next(Path("runs/data").glob("sensors-*"))
    assert main(["predict", "run", "--data", str(prepared / "train")]) == 0
    said = capsys.readouterr()
    assert "has a class" not in said.err
    assert len(said.out.splitlines()) == json.loads((prepared / "train/manifest.json").read_text())["rows"]


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
