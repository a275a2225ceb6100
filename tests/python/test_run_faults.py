"""Faults of a run's files and numbers: what is repaired, what is said, what training does."""

import contextlib
import json
import resource
import shutil
import subprocess
import sys
import tomllib
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest

import faults
from ssm_hpn import Callback, Trainer
from ssm_hpn.checkpoints import Checkpoints, marked_best
from ssm_hpn.cli.main import Command, main
from ssm_hpn.config import parse, to_toml
from ssm_hpn.errors import CheckpointError, DivergedError, ShapeError, StorageError
from ssm_hpn.saved_state import check_run
from ssm_hpn.update import Update
from support import metric_rows, settings, train


class Notes(Callback):
    """What training says of faults, and the checkpoints that it writes."""

    name = "notes"

    def __init__(self):
        self.notes, self.saves = [], []

    def noted(self, event):
        self.notes.append(event.note)

    def saved(self, event):
        self.saves.append(event.checkpoint.name)


def steps_in(run):
    return sorted(int(path.name[5:]) for path in (run / "checkpoints").glob("step-*"))


def small(**changes):
    """Settings of a run with an evaluation and a checkpoint every four updates."""
    return {"evaluation": {"every": 4, "batches": 1}, "checkpoint": {"every": 4}} | changes


# ---- files of a run


@pytest.mark.fault("kill between a checkpoint and the note that it is the best")
def test_the_best_checkpoint_is_noted_again_from_the_judgement(text, tmp_path, tally, monkeypatch):
    run = tmp_path / "run"
    often = small(evaluation={"every": 2, "batches": 3}, checkpoint={"every": 1, "keep": 2})
    whole = Trainer(settings(text, tmp_path / "whole", **often)).fit()
    best = whole.best.step

    def killed(root, step):
        if step == best:
            raise KeyboardInterrupt

    trainer = Trainer(settings(text, run, **often))
    with monkeypatch.context() as patch:
        patch.setattr("ssm_hpn.checkpoints.mark_best", killed)
        with pytest.raises(KeyboardInterrupt):
            trainer.fit()
    assert best in steps_in(run)
    assert marked_best(run) != best
    result = Trainer(settings(text, run, **often)).fit()
    assert result.best == whole.best
    assert marked_best(run) == best
    assert steps_in(run) == steps_in(tmp_path / "whole")
    # Also where the run had ended by then.
    (run / "checkpoints" / "best").unlink()
    assert Trainer(settings(text, run, **often)).fit().already_ended
    assert marked_best(run) == best
    tally.add(2)


LEFT = (
    ".config.toml.partial-{0}",
    ".environment.json.partial-{0}",
    ".evaluation.json.partial-{0}",
    ".summary.json.partial-{0}",
    "checkpoints/.step-00000004.removed-{0}",
    "checkpoints/.step-00000099.partial-{0}",
    "checkpoints/.best.partial-{0}",
    "checkpoints/.latest.partial-{0}",
)


@pytest.mark.fault("kill while a small file is written or a checkpoint removed")
def test_what_killed_processes_left_is_removed_at_the_next_start(text, tmp_path, tally):
    run = tmp_path / "run"
    ended = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, check=True)
    for more in (0, 0, 4):  # a run that begins, one that has ended, one that goes on
        run.mkdir(exist_ok=True)
        (run / "checkpoints").mkdir(exist_ok=True)
        for name in LEFT:
            path = run / name.format(int(ended.stdout))
            if "step-" in name:
                path.mkdir()
                (path / "model.safetensors").write_text("x")
            else:
                path.write_text("x")
        result = Trainer(settings(text, run, **small())).fit(more=more)
        found = [path.name for path in run.rglob(".*") if path.name != ".lock"]
        assert found == [], more
        assert result.step == 12 + more
        tally.add(len(LEFT))


@pytest.mark.slow
@pytest.mark.fault("empty, cut or lost config.toml")
@pytest.mark.parametrize("content", [b"", b"\0" * 900, b"[model]\nd_mod", None])
def test_settings_are_restored_from_a_checkpoint(text, tmp_path, tally, content, capsys):
    run, wanted = tmp_path / "run", settings(text, tmp_path / "run", **small())
    Trainer(wanted).fit()
    whole = (run / "config.toml").read_text()

    def damage():
        (run / "config.toml").unlink()
        if content is not None:
            (run / "config.toml").write_bytes(content)

    for words in (["evaluate", str(run)], ["inspect", str(run)], ["report", str(run)]):
        damage()
        assert main(words) == 0, capsys.readouterr().err
        (run / "config.toml").write_text("")
    damage()
    assert train("--resume", str(run), "--more", "1") == 0, capsys.readouterr().err
    assert parse_text(run) == parse_text_of(whole)
    damage()
    assert Trainer(wanted).fit(more=2).step == 14
    assert parse_text(run) == parse_text_of(whole)
    tally.add(5)


def parse_text(run):
    return parse_text_of((run / "config.toml").read_text())


def parse_text_of(text):
    return parse(tomllib.loads(text)).digest()


@pytest.mark.fault("cut or lost metrics.jsonl")
@pytest.mark.parametrize("kept", [None, 0, 1, 700])
def test_lost_rows_are_said(text, tmp_path, tally, kept):
    run = tmp_path / "run"
    Trainer(settings(text, run, **small())).fit()
    file = run / "metrics.jsonl"
    size, rows = len(file.read_bytes()), len(metric_rows(run))
    if kept is None:
        file.unlink()
    else:
        file.write_bytes(file.read_bytes()[:kept])
    notes = Notes()
    Trainer(settings(text, run, **small())).fit(more=4, callbacks=[notes])
    found = f"{size:,} bytes, found {kept or 0}: rows of the updates before are lost"
    assert notes.notes == [f"{file}: expected {found}"]
    assert 2 <= len(metric_rows(run)) < rows + 2
    whole = Notes()
    Trainer(settings(text, tmp_path / "whole", **small())).fit(callbacks=[whole])
    assert whole.notes == []
    tally.add()


def test_the_memory_of_activations_may_change_when_a_run_is_resumed(text, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "c.toml").write_text(to_toml(parse(settings(text, **small(run={"name": "one"})))))
    assert train("--config", "c.toml") == 0
    (run,) = (tmp_path / "runs").glob("one-*")
    words = ["--resume", str(run), "--model.activation_memory", "recompute", "--train.steps", "16"]
    assert train(*words) == 0, capsys.readouterr().err
    (other,) = (one for one in (tmp_path / "runs").glob("one-*") if one != run)
    resumed = Trainer.load(other)
    assert resumed.config.model.activation_memory == "recompute"
    assert json.loads(resumed.session.model_config)["activation_memory"] == "recompute"
    assert resumed.session.step == 16
    assert train("--resume", str(other)) == 0, capsys.readouterr().err  # shown again, not refused


# ---- numbers


@pytest.mark.fault("infinite features, or NaN where none is allowed")
@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan])
def test_a_skipped_update_changes_no_bit(tally, value):
    model = {"input": {"kind": "features", "n_features": 2}, "target": {"kind": "sequence_class"}, "d_model": 8}
    trainer = Trainer({"model": model | {"n_layers": 1, "head": {"kind": "prototype", "n_classes": 2}}})
    good = {"features": np.ones((2, 5, 2), np.float32), "sequence_class": np.array([0, 1], np.int32)}
    trainer.step(good)
    bad = {**good, "features": good["features"].copy()}
    bad["features"][1, 3, 0] = value
    before = trainer.session.digest(), trainer.session.step
    with contextlib.suppress(ShapeError):  # refused before anything is computed
        assert not trainer.step(bad).applied
    assert (trainer.session.digest(), trainer.session.step) == before
    assert trainer.step(good).applied
    tally.add()


def exploding(monkeypatch, at):
    """Make the gradients of updates after a number of them infinite, unless the learning rate is below 1e-3."""
    step = Trainer.step

    def poisoned_step(self, *given, **named):
        if self.session.step >= at and self.session.next_lr > 1e-3:
            self.forward_backward(self.feed.next())
            with self.session.borrow_flat() as flat:
                flat.gradients[:] = np.inf
            return self.apply()
        return step(self, *given, **named)

    monkeypatch.setattr(Trainer, "step", poisoned_step)


@pytest.mark.fault("a learning rate that makes training diverge")
def test_a_diverging_run_stops_and_names_tensor_and_checkpoint(text, tmp_path, tally, monkeypatch, capsys):
    exploding(monkeypatch, at=6)
    often = small(optim={"max_skipped": 3}, train={"steps": 12, "threads": 1})
    trainer = Trainer(settings(text, tmp_path / "run", **often))
    last = r"the last good checkpoint is \S+/step-00000004$"
    with pytest.raises(DivergedError, match=rf"3 updates in a row .* first in \S+; .*; {last}"):
        trainer.fit()
    assert trainer.session.skipped == 3
    assert trainer.session.step == 6
    (tmp_path / "c.toml").write_text(to_toml(parse(settings(text, tmp_path / "run", **often))))
    assert train("--config", str(tmp_path / "c.toml")) == 5
    (line,) = capsys.readouterr().err.splitlines()
    assert "the last good checkpoint is" in line
    tally.add(2)


@pytest.mark.fault("a learning rate that makes training diverge, with on_divergence rollback")
def test_a_diverging_run_goes_on_from_its_last_checkpoint_with_a_smaller_rate(text, tmp_path, tally, monkeypatch):
    exploding(monkeypatch, at=6)
    optim = {"max_skipped": 3, "lr": 4e-3, "schedule": {"kind": "constant", "warmup": 0}}
    loop = {"steps": 12, "threads": 1, "on_divergence": "rollback", "rollback_rate": 0.2, "log_every": 1}
    often = small(optim=optim, train=loop)
    notes = Notes()
    trainer = Trainer(settings(text, tmp_path / "run", **often))
    result = trainer.fit(callbacks=[notes])
    assert (result.reason, result.step) == ("finished", 12)
    (note,) = notes.notes
    assert "3 updates in a row" in note
    assert note.endswith("back at update 4 with the learning rate times 0.2")
    rates = [round(row["train/lr"], 9) for row in metric_rows(tmp_path / "run")]
    assert rates == [0.004] * 5 + [0.0008] * 8
    # Interrupted after the return and resumed: the smaller rate stays, and so do the bits.
    stopping = Trainer(settings(text, tmp_path / "other", **often))

    class Stop(Callback):
        def updated(self, event):
            if event.progress.step == 9:
                event.trainer.request_stop()

    assert stopping.fit(callbacks=[Stop()]).reason == "interrupted"
    again = Trainer(settings(text, tmp_path / "other", **often))
    assert again.fit().reason == "finished"
    assert again.session.digest() == trainer.session.digest()
    # It ends where it diverges again and again.
    never = small(optim=optim | {"lr": 4.0}, train=loop)
    hopeless = Trainer(settings(text, tmp_path / "hopeless", **never))
    with pytest.raises(DivergedError, match="the last good checkpoint"):
        hopeless.fit()
    tally.add(3)


# ---- saving


@pytest.mark.fault("a disk that refuses to save, with on_save_error warn")
def test_training_goes_on_where_a_save_fails_and_says_so(text, tmp_path, tally, monkeypatch):
    often = small(checkpoint={"every": 2, "on_save_error": "warn"})
    failing = {4, 6}
    save = Trainer.save_into

    def refused(self, root, name, *, extra):
        if self.session.step in failing:
            raise StorageError(f"{root}/{name}: cannot write: No space left on device")
        save(self, root, name, extra=extra)

    monkeypatch.setattr(Trainer, "save_into", refused)
    notes = Notes()
    result = Trainer(settings(text, tmp_path / "run", **often)).fit(callbacks=[notes])
    assert result.step == 12
    assert [note.rpartition("/")[2] for note in notes.notes] == [
        f"step-0000000{step}: cannot write: No space left on device; training goes on" for step in (4, 6)
    ]
    assert notes.saves == [f"step-{step:08d}" for step in (2, 8, 10, 12)]
    monkeypatch.setattr(Trainer, "save_into", save)
    whole = Trainer(settings(text, tmp_path / "whole", **often))
    whole.fit()
    assert Trainer.load(tmp_path / "run").session.digest() == whole.session.digest()
    assert metric_rows(tmp_path / "run") == metric_rows(tmp_path / "whole")
    # The last save of a run is never left out.
    failing = {12}
    monkeypatch.setattr(Trainer, "save_into", refused)
    with pytest.raises(StorageError, match="No space left"):
        Trainer(settings(text, tmp_path / "last", **often)).fit()
    with pytest.raises(StorageError, match="No space left"):
        Trainer(settings(text, tmp_path / "stops", **small(checkpoint={"every": 12}))).fit()
    tally.add(4)


def test_a_save_in_the_background_has_the_bytes_of_one_at_once(text, tmp_path):
    runs = []
    for background in (False, True):
        run = tmp_path / str(background)
        often = small(checkpoint={"every": 3, "keep": 9, "background": background})
        notes = Notes()
        Trainer(settings(text, run, **often)).fit(callbacks=[notes])
        assert notes.saves == [f"step-{step:08d}" for step in steps_in(run)]
        runs.append(run)
    for name in ("model.safetensors", "optimizer.safetensors"):
        for step in steps_in(runs[0]):
            one, other = ((run / "checkpoints" / f"step-{step:08d}" / name).read_bytes() for run in runs)
            assert one == other
    assert steps_in(runs[0]) == steps_in(runs[1])


def test_a_failed_save_in_the_background_ends_the_run_soon(text, tmp_path, monkeypatch):
    def refused(self, step, write, **_):
        raise StorageError(f"step {step}: cannot write: No space left on device")

    monkeypatch.setattr(Checkpoints, "save", refused)
    often = small(checkpoint={"every": 3, "background": True}, evaluation={"every": 50})
    trainer = Trainer(settings(text, tmp_path / "run", **often))
    with pytest.raises(StorageError, match="step 3: cannot write"):
        trainer.fit()
    assert trainer.session.step <= 6


@pytest.mark.parametrize(
    ("kept", "steps"),
    [
        ({"keep": 2}, [11, 12]),
        ({"keep": 3, "keep_every": 5}, [5, 10, 11, 12]),
        ({"keep": 2, "keep_best": 3}, [2, 6, 10, 11, 12]),
    ],
)
def test_the_checkpoints_that_are_kept(text, tmp_path, kept, steps, monkeypatch):
    values = dict(zip(range(0, 13, 2), [9, 3, 8, 2, 7, 4, 8], strict=True))

    def evaluated(self, watch):
        found = evaluate(self, watch)
        found.values["loss"] = float(values[self.session.step])
        return found

    evaluate = Trainer.evaluate_together
    monkeypatch.setattr(Trainer, "evaluate_together", evaluated)
    often = small(evaluation={"every": 2, "batches": 1}, checkpoint={"every": 1, **kept})
    Trainer(settings(text, tmp_path / "run", **often)).fit()
    assert steps_in(tmp_path / "run") == sorted({*steps, 6})  # 6 is the best
    assert marked_best(tmp_path / "run") == 6


# ---- memory


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="other systems do not hold a process to the limit")
@pytest.mark.fault("a limit of memory below what the libraries take")
@pytest.mark.parametrize("command", [("ssm_hpn.train", "--data"), ("ssm_hpn", "prepare")])
def test_too_little_memory_is_said_in_one_line(tmp_path, tally, command):
    (tmp_path / "text").mkdir()
    for number in range(8):
        (tmp_path / "text" / f"{number}.txt").write_text(f"document {number} " * 60)
    words = [sys.executable, "-m", *command, "text"]
    if command[1] == "prepare":
        words += ["--out", "data", "--data.validation_fraction", "0.3"]
    else:
        words += ["--train.steps", "1", "--model.d_model", "16", "--model.head.kind", "linear", "--resume", "never"]
    ended = {}
    for megabytes in [120, *range(400, 701, 20), *range(750, 1400, 50)] if faults.rounds(0, of=1) else [120, 640]:
        ended[megabytes] = under_limit(words, tmp_path, megabytes)
        shutil.rmtree(tmp_path / "data", ignore_errors=True)
        tally.add()
    assert 2 in ended.values()
    least = min((megabytes for megabytes, code in ended.items() if code == 0), default=0)
    tally.worst = f"{least} MB are enough" if least else tally.worst


@pytest.mark.parametrize("text", ["can't start new thread", "Unknown error: Failed to launch worker thread: Resource"])
def test_a_thread_that_cannot_be_started_is_no_bug(monkeypatch, capsys, text):
    def refused(words, prog):
        raise RuntimeError(text)

    monkeypatch.setattr(Command, "load", lambda _: refused)
    assert main(["train"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: threads: expected one more to be started, found that the system refuses it; raise")


def under_limit(words, folder, megabytes):
    """The exit code of a command that may have so much address space: it trains, or one line says that it cannot."""

    def limit():
        resource.setrlimit(resource.RLIMIT_AS, (megabytes << 20, megabytes << 20))

    done = subprocess.run(words, cwd=folder, preexec_fn=limit, capture_output=True, text=True, check=False)
    lines = done.stderr.splitlines()
    assert done.returncode in (0, 2), (megabytes, done.returncode, lines)
    assert len(lines) == (done.returncode != 0), (megabytes, lines)
    assert not lines or lines[0].startswith("error: memory: expected "), (megabytes, lines)
    return done.returncode


@pytest.mark.parametrize(
    ("key", "value"),
    [
        *(("judgement", value) for value in ([None, 4, 0], [0.5, None, 0])),
        *(("rate", value) for value in (0, 2, "1", None, True)),
        *(("ranking", value) for value in (None, {}, [1], [[1, 2, 3]], [["a", 1]], [[1.0, 1.5]], [[1.0, -1]])),
        *(("unfinished", value) for value in (1, [], {}, {"update": {}, "evaluation": 1, "row": 1, "checkpoint": 1})),
    ],
)
def test_a_state_with_what_no_run_saves_is_refused(key, value):
    run = {"seconds": 1.5, "judgement": [0.5, 10, 0], "metrics_offset": 99, "callbacks": {}, "reason": None}
    numbers = dict.fromkeys(("loss", "lr", "grad_norm", "update_norm", "data_seconds", "compute_seconds"), 0.5)
    counts = {"step": 3, "count": 5, "tokens": 6, "skipped": 0}
    update = asdict(Update(**numbers, **counts, applied=True, clipped=False, accuracy=None))
    due = {"update": update | {"loss": None}, "evaluation": True, "row": True, "checkpoint": False}
    check_run(Path("run"), run | {"rate": 0.5, "ranking": [[1.0, 4]], "unfinished": due})
    with pytest.raises(CheckpointError, match=f"found one with {key}"):
        check_run(Path("run"), run | {key: value})
