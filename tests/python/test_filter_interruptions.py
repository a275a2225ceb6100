"""Fits of features that are killed, stopped, moved or in use."""

import json
import shutil
import signal
import sys
from pathlib import Path

import numpy as np
import pytest

from filter_runs import LONG, rows_of, run, run_in, train
from ssm_hpn import filter_training
from ssm_hpn.checkpoints import marked_best
from ssm_hpn.filter_model import FilterModel
from ssm_hpn.filter_training import FilterTraining


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
