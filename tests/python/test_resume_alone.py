"""`--resume RUN` without data: a run goes on with its own settings and data, wherever it lies."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from ssm_hpn import Trainer
from ssm_hpn.cli.main import main
from ssm_hpn.config import load_config
from support import sensor_file, settings, train

MODEL = ["--model.d_model", "8", "--model.n_layers", "1", "--train.threads", "1", "--train.batch_size", "8"]
COLUMNS = ["--data.columns.id", "id", "--data.columns.features", "a,b", "--data.columns.label", "label"]
SHORT = [*MODEL, "--evaluation.every", "100", "--train.steps", "12", "--optim.lr", "0.02"]
WORDS = ["--data", "sensors.csv", *COLUMNS, *SHORT]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder with a raw file, its prepared data and a finished run of it."""
    folder = tmp_path_factory.mktemp("trained") / "tree"
    folder.mkdir()
    sensor_file(folder / "sensors.csv", documents=30)
    before = Path.cwd()
    os.chdir(folder)
    try:
        assert train(*WORDS) == 0
    finally:
        os.chdir(before)
    return folder


@pytest.fixture
def tree(trained, here):
    """A copy of that folder, in which the test works."""
    shutil.copytree(trained, here / "tree")
    os.chdir(here / "tree")
    return here / "tree"


def run_in(tree):
    (run,) = tree.glob("runs/sensors-*")
    return run


def refused(capsys):
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    assert "bug" not in line
    return line


def test_a_run_named_alone_goes_on_with_the_bits_of_the_whole_command(tree, here, capsys):
    run = run_in(tree)
    shutil.copytree(tree, here / "other")
    assert train("--resume", str(run.relative_to(tree)), "--more", "4") == 0
    shown = capsys.readouterr().out
    assert "going on at update 12" in shown
    assert "finished after 16 updates" in shown
    os.chdir(here / "other")
    assert train(*WORDS, "--more", "4") == 0
    assert Trainer.load(run).session.digest() == Trainer.load(run_in(here / "other")).session.digest()
    alone, whole = (load_config(one / "config.toml") for one in (run, run_in(here / "other")))
    assert (alone.digest(), alone.run) == (whole.digest(), whole.run)
    os.chdir(tree)
    capsys.readouterr()
    assert train(*WORDS, "--more", "4") == 0  # the whole command finds the same run
    assert "finished after 16 updates" in capsys.readouterr().out
    assert len(list(tree.glob("runs/sensors-*"))) == 1


@pytest.mark.parametrize("part", ["", "checkpoints", "checkpoints/step-00000012"])
def test_a_finished_run_is_shown_again(tree, capsys, part):
    assert train("--resume", str(run_in(tree) / part)) == 0
    captured = capsys.readouterr()
    assert "finished after 12 updates" in captured.out
    assert captured.err == ""


def test_a_moved_run_finds_its_data_and_stays_one_that_can_be_moved(tree, here, capsys):
    shutil.move(tree, here / "moved")
    (here / "elsewhere").mkdir()
    os.chdir(here / "elsewhere")
    run = run_in(here / "moved")
    assert train("--resume", str(run), "--more", "2") == 0
    assert list((here / "elsewhere").iterdir()) == []
    assert Trainer.load(run).session.step == 14
    shutil.move(here / "moved", here / "again")
    run = run_in(here / "again")
    assert train("--resume", str(run), "--more", "4") == 0
    assert Trainer.load(run).session.step == 16
    assert not load_config(run / "config.toml").data.train[0].startswith("/")


def test_weights_are_not_taken_into_other_data_at_the_position_of_theirs(tree, here, capsys):
    run = run_in(tree)
    sensor_file(tree / "other.csv", documents=31)
    assert train("--data", "other.csv", *COLUMNS, *SHORT, "--resume", str(run)) == 2
    line = refused(capsys)
    theirs, ours = Trainer.load(run).config.data.digest, "[0-9a-f]{16}"
    message = rf"data\.train: expected the data of {run}, with the digest {theirs[:16]}, found other data, with the "
    assert re.search(rf"{message}digest {ours}; name the data of that run, or train on these .*--resume never$", line)
    assert train("--data", "other.csv", *COLUMNS, *SHORT, "--resume", "never") == 0  # what the line advises


def test_a_run_alone_says_where_its_data_was_looked_for(tree, here, capsys):
    run = run_in(tree)
    shutil.rmtree(tree / "runs" / "data")
    (tree / "sensors.csv").rename(here / "moved.csv")
    (run / "environment.json").unlink()  # it names the folder of which this one is a copy, where the data is
    assert train("--resume", str(run), "--more", "2") == 3
    line = refused(capsys)
    assert f"data.train: expected the data of {run}, with the digest" in line
    assert "none in runs/data/sensors-" in line
    assert f", and not all of its source (sensors.csv) in one of {tree}, {tree}/runs, {here}, " in line
    assert line.endswith("; bring it back, or name it, raw or prepared, with --data PATH")
    assert train("--resume", str(run), "--more", "2", "--data", str(here / "moved.csv")) == 0  # what the line advises


def test_given_settings_alone_differ_from_those_of_the_run(tree, capsys):
    run = run_in(tree)
    assert train("--resume", str(run), "--optim.lr", "0.001", "--train.steps", "20") == 0
    shown = capsys.readouterr().out
    (other,) = (one for one in tree.glob("runs/sensors-*") if one != run)
    before, after = load_config(run / "config.toml"), load_config(other / "config.toml")
    assert (after.optim.lr, after.train.steps, after.optim.schedule.total) == (0.001, 20, 20)
    assert (after.model, after.data, after.train.batch_size) == (before.model, before.data, before.train.batch_size)
    assert Trainer.load(other).session.step == 20
    assert Trainer.load(run).session.step == 12
    assert f"--resume {other.relative_to(tree)}" in shown  # the same command would start once more
    assert train("--resume", str(other)) == 0
    capsys.readouterr()
    assert train("--resume", str(run), "--optim.lr", "0.001", "--train.steps", "20") == 2
    assert f"go on with that run by --resume runs/{other.name}" in refused(capsys)


@pytest.mark.parametrize("length", ["epochs", "tokens"])
def test_a_length_of_data_is_refused_as_a_run_has_its_number_of_updates(tree, capsys, length):
    run = run_in(tree)
    assert train("--resume", str(run), f"--train.{length}", "4", "--more", "1") == 2
    expected = f"train.{length}: expected no length in {length} with --resume, as {run} is one of 12 updates, found 4"
    assert refused(capsys) == (
        f"error: {expected}; add updates by --more N, or go on from its weights in a run of its own by --train.steps N"
    )


def test_a_setting_as_the_run_has_it_is_the_same_run(tree, capsys):
    run = run_in(tree)
    assert train("--resume", str(run), "--optim.lr", "0.02", "--train.log_every", "1", "--more", "1") == 0
    assert len(list(tree.glob("runs/sensors-*"))) == 1
    assert Trainer.load(run).session.step == 13


def test_with_data_the_settings_are_those_of_the_run(tree, capsys):
    run = run_in(tree)
    before = load_config(run / "config.toml")
    for step, words in enumerate((WORDS, ["--data", "sensors.csv", *COLUMNS], ["--data", "sensors.csv"]), start=13):
        assert train(*words, "--resume", str(run), "--more", str(step - 12)) == 0
        assert Trainer.load(run).session.step == step
        assert len(list(tree.glob("runs/sensors-*"))) == 1
    assert load_config(run / "config.toml").digest() == before.digest()
    assert train("--data", "sensors.csv", "--resume", str(run), "--optim.lr", "0.3") == 0
    (other,) = (one for one in tree.glob("runs/sensors-*") if one != run)
    after = load_config(other / "config.toml")
    assert (after.optim.lr, after.model, after.data.digest) == (0.3, before.model, before.data.digest)
    assert after.data.columns == before.data.columns


def test_settings_that_made_the_data_are_refused(tree, capsys):
    run = run_in(tree)
    assert train("--resume", str(run), "--data.columns.features", "a") == 2
    assert "data.columns.features" in refused(capsys)
    assert train("--resume", str(run), "--data.validation", "x.csv") == 2
    assert "data.validation: expected data.train beside it" in refused(capsys)


@pytest.mark.fault("two commands for one run")
def test_a_run_in_use_exits_7(tree, capsys, tally):
    run = run_in(tree)
    code = f"from ssm_hpn._core import RunLock\nlock = RunLock({str(run)!r})\nprint('held', flush=True)\ninput()"
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout.readline() == "held\n"
        assert train("--resume", str(run), "--more", "1") == 7
        assert "in use by process" in refused(capsys)
        holder.kill()  # a lock that a dead process does not hold
        holder.communicate()
    assert train("--resume", str(run), "--more", "1") == 0
    tally.add()


def test_a_run_without_data_or_checkpoint_is_refused(here, tree, capsys):
    batch = {"tokens": np.arange(40, dtype=np.uint32).reshape(4, 10) % 11}
    model = {"input": {"kind": "tokens", "vocab_size": 11}, "target": {"kind": "next_token"}, "d_model": 8}
    trainer = Trainer(settings(model=model | {"n_layers": 1}))
    trainer.step(batch)
    trainer.save(here / "checkpoint")
    assert train("--resume", str(here / "checkpoint")) == 2
    assert f"--data: expected a path, as {here}/checkpoint was trained on no files" in refused(capsys)
    run = run_in(tree)
    shutil.rmtree(run / "checkpoints")
    assert train("--resume", str(run)) == 4
    assert "none in it yet" in refused(capsys)
    assert train("--resume", str(tree / "runs")) == 4
    assert "a folder of 1 run; name one: " in refused(capsys)


def test_a_torn_config_is_taken_from_a_checkpoint(tree, capsys):
    run = run_in(tree)
    whole = load_config(run / "config.toml")
    (run / "config.toml").write_text("[model]\nd_mod")
    assert train("--resume", str(run), "--more", "1") == 0
    assert load_config(run / "config.toml").digest() == whole.digest()


def test_the_report_of_a_run_that_was_named_alone_is_that_of_the_run(tree, capsys):
    run = run_in(tree)
    assert train("--resume", str(run), "--more", "1") == 0
    assert json.loads((run / "environment.json").read_text())["began_in"] != ""
    assert main(["report", str(run)]) == 0
