"""Whole runs: the files in the folder, resuming, early stopping, and refusals."""

import json
import os
import shutil
from pathlib import Path

import pytest

from ssm_hpn import Callback, Config, Trainer, load_config
from ssm_hpn.checkpoints import Checkpoints, find_checkpoint, step_name, step_of
from ssm_hpn.config import parse
from ssm_hpn.errors import CheckpointError, ConfigError, DataError, DivergedError, InUseError, StorageError
from ssm_hpn.run import run_folder
from support import metric_rows, settings


class Stop(Callback):
    """Requests a stop after `after` updates; its count of updates is saved and restored."""

    name = "stop"

    def __init__(self, after=None):
        self.after = after
        self.updates = 0
        self.seen = []

    def started(self, event):
        self.seen.append("started")

    def updated(self, event):
        self.updates += 1
        if self.updates == self.after:
            event.trainer.request_stop()

    def evaluated(self, event):
        self.seen.append(f"evaluated {event.evaluation.step}")

    def saved(self, event):
        self.seen.append(f"saved {event.checkpoint.name}")

    def ended(self, event):
        self.seen.append(event.reason)

    def state(self):
        return {"updates": self.updates}

    def restore(self, state):
        self.updates = state["updates"]


@pytest.fixture
def config(text, tmp_path):
    return lambda **changes: settings(text, tmp_path / "run", **changes)


def test_a_run_writes_all_its_files_into_its_folder(config, tmp_path):
    watch = Stop()
    trainer = Trainer(config())
    result = trainer.fit(callbacks=[watch])
    assert (result.reason, result.step, result.folder) == ("finished", 12, tmp_path / "run")
    assert load_config(tmp_path / "run" / "config.toml") == trainer.config
    environment = json.loads((tmp_path / "run" / "environment.json").read_text())
    assert environment["simd"] in ("scalar", "avx2", "avx512", "neon")
    rows = metric_rows(tmp_path / "run")
    assert [row["step"] for row in rows] == [0, 2, 4, 6, 8, 10, 12]
    assert all(list(row) == list(rows[0]) for row in rows)
    assert all(value is not None for value in rows[0].values()), "the first row has every number"
    assert [row["step"] for row in rows if row["eval/loss"] is not None] == [0, 4, 8, 12]
    assert rows[-1]["eval/loss"] < rows[0]["eval/loss"]
    assert rows[0]["data/tokens_seen"] == 0
    assert rows[-1]["data/tokens_seen"] == 12 * 4 * 32
    assert rows[0]["epoch"] == 0
    assert rows[-1]["epoch"] > 0
    assert watch.seen[:2] == ["started", "evaluated 0"]
    assert watch.seen[-1] == "finished"
    assert find_checkpoint(result.folder, "best").name == step_name(result.best.step)


@pytest.mark.parametrize("stop_after", [1, 4, 5, 7])
def test_an_interrupted_and_resumed_run_has_the_bits_of_a_whole_one(config, tmp_path, stop_after):
    whole = Trainer(config(run={"folder": str(tmp_path / "whole")}))
    whole.fit(callbacks=[Stop()])
    first, watch = Trainer(config()), Stop(after=stop_after)
    assert first.fit(callbacks=[watch]).reason == "interrupted"
    assert first.session.step == stop_after
    second, watch = Trainer(config()), Stop()
    result = second.fit(callbacks=[watch])
    assert (result.reason, result.resumed_at, watch.updates) == ("finished", stop_after, 12)
    assert second.session.digest() == whole.session.digest()
    assert second.feed.cursor == whole.feed.cursor
    assert metric_rows(tmp_path / "run") == metric_rows(tmp_path / "whole")


def test_a_request_to_stop_ends_one_run_and_not_the_next(config):
    trainer = Trainer(config())
    assert trainer.fit(callbacks=[Stop(after=3)]).reason == "interrupted"
    again = trainer.fit(callbacks=[Stop()])
    assert (again.reason, again.step) == ("finished", 12)


def test_rows_after_the_last_checkpoint_are_replaced_on_resume(config, tmp_path):
    """A kill can leave rows later than the last checkpoint, the last one cut off; this writes such a file."""
    Trainer(config()).fit(callbacks=[Stop(after=5)])
    kept = tmp_path / "kept"
    shutil.copytree(tmp_path / "run", kept)
    last = (kept / "metrics.jsonl").read_text().splitlines()[-1]
    with (kept / "metrics.jsonl").open("a") as file:
        file.write(last + "\n" + last[:40])
    Trainer(config()).fit()
    Trainer(config(run={"folder": str(kept)})).fit()
    assert metric_rows(kept) == metric_rows(tmp_path / "run")


def test_a_finished_run_is_loaded_and_not_changed(config, tmp_path):
    Trainer(config()).fit()
    before = (tmp_path / "run" / "metrics.jsonl").read_bytes()
    again = Trainer(config())
    result = again.fit()
    assert (result.already_ended, result.reason, result.step) == (True, "finished", 12)
    assert (tmp_path / "run" / "metrics.jsonl").read_bytes() == before
    assert again.evaluate().values["loss"] > 0


def test_early_stopping_ends_the_run_and_survives_interruption(config, tmp_path):
    stopping = {"early_stopping": {"patience": 2, "min_change": 100.0}, "evaluation": {"every": 2, "batches": 2}}
    first = Trainer(config(**stopping)).fit(callbacks=[Stop(after=4)])
    assert first.reason == "interrupted"
    result = Trainer(config(**stopping)).fit()
    assert (result.reason, result.step, result.best.step) == ("stopped_early", 6, 2)
    assert Trainer(config(**stopping)).fit().already_ended


def test_the_best_checkpoint_is_chosen_by_the_deciding_metric(config, tmp_path):
    chosen = {"evaluation": {"every": 2, "batches": 2, "metric": "accuracy", "direction": "min"}}
    result = Trainer(config(**chosen)).fit()
    rows = [row for row in metric_rows(tmp_path / "run") if row["eval/accuracy"] is not None and row["step"]]
    assert result.best.best == min(row["eval/accuracy"] for row in rows)
    best = Trainer.load(tmp_path / "run", which="best")
    assert best.session.step == result.best.step


def test_retention_keeps_the_newest_and_the_best(config, tmp_path):
    saving = {"checkpoint": {"every": 1, "keep": 2}, "evaluation": {"every": 3, "metric": "loss", "direction": "max"}}
    result = Trainer(config(**saving)).fit()
    names = sorted(path.name for path in (tmp_path / "run" / "checkpoints").glob("step-*"))
    assert names == sorted({step_name(11), step_name(12), step_name(result.best.step)})


def test_evaluation_by_epochs_and_by_seconds(config, tmp_path):
    Trainer(
        config(evaluation={"every": 0.25, "unit": "epochs", "batches": 1}, train={"steps": 50, "batch_size": 8})
    ).fit()
    rows = [row for row in metric_rows(tmp_path / "run") if row["eval/loss"] is not None]
    quarters = [int(row["epoch"] / 0.25) for row in rows[:-1]]  # the end is always evaluated
    assert quarters == sorted(set(quarters)), "once per quarter"
    assert len(quarters) > 2
    clock = {"every": 1e-6, "unit": "seconds", "batches": 1}
    Trainer(config(evaluation=clock, run={"folder": str(tmp_path / "clock")})).fit()
    assert all(row["eval/loss"] is not None for row in metric_rows(tmp_path / "clock"))


def test_accumulated_micro_batches_resume_too(config, tmp_path):
    accumulate = {"train": {"steps": 6, "batch_size": 2, "accumulate": 3, "threads": 1, "log_every": 2}}
    whole = Trainer(config(**accumulate, run={"folder": str(tmp_path / "whole")}))
    whole.fit()
    Trainer(config(**accumulate)).fit(callbacks=[Stop(after=2)])
    second = Trainer(config(**accumulate))
    second.fit()
    assert second.session.digest() == whole.session.digest()
    assert metric_rows(tmp_path / "run")[-1]["data/tokens_seen"] == 6 * 3 * 2 * 32


# ---- resume policies


def test_resume_must_and_resume_never(config, tmp_path, here):
    with pytest.raises(CheckpointError, match="to go on from"):
        Trainer(config()).fit(resume="must")
    Trainer(config()).fit()
    with pytest.raises(ConfigError, match=r"run\.folder"):
        Trainer(config()).fit(resume="never")
    assert Trainer(config()).fit(resume="must").already_ended
    own = {key: value for key, value in config().items() if key != "run"}
    first = Trainer(own).fit()
    second = Trainer(own).fit(resume="never")
    assert second.folder == first.folder.with_name(first.folder.name + "-2")
    assert not second.already_ended
    assert first.folder == run_folder(Trainer(own).config)


def test_starting_from_a_checkpoint_of_another_run(config, tmp_path):
    Trainer(config()).fit()
    longer = config(train={"steps": 15, "batch_size": 4, "threads": 1}, run={"folder": str(tmp_path / "longer")})
    result = Trainer(longer).fit(resume=str(tmp_path / "run"))
    assert (result.resumed_at, result.step, result.reason) == (12, 15, "finished")
    rows = metric_rows(tmp_path / "longer")
    assert rows[0]["step"] == 12
    assert rows[0]["eval/loss"] is not None
    assert rows[0]["train/lr"] > 1.5e-3, "the new schedule is not at its end yet"
    with pytest.raises(ConfigError, match=r"model\.d_model: expected 16"):
        Trainer(config(model={"d_model": 8, "n_layers": 2}, run={"folder": str(tmp_path / "b")})).fit(
            resume=str(tmp_path / "run")
        )
    with pytest.raises(CheckpointError, match="no such file or folder"):
        Trainer(longer).fit(resume=str(tmp_path / "nowhere"))


def test_going_back_inside_a_run_is_refused(config, tmp_path):
    Trainer(config()).fit(callbacks=[Stop(after=11)])
    older = Checkpoints(tmp_path / "run" / "checkpoints", keep=3).folders()[-1]
    with pytest.raises(ConfigError, match="newest checkpoint"):
        Trainer(config()).fit(resume=str(older))


def test_another_run_in_the_folder_is_refused(config, tmp_path):
    Trainer(config()).fit()
    with pytest.raises(ConfigError, match=r"another run .*, with optim\.lr 0\.0\d+ \(here 0\.005\); name the data and"):
        Trainer(config(optim={"lr": 5e-3})).fit()
    many = {"optim": {"lr": 5e-3, "weight_decay": 0.5, "eps": 1e-7}, "train": {"seed": 5}}
    with pytest.raises(ConfigError, match=r"with .*\(here .*\(here .*\(here .*, [0-9]+ other settings?; name"):
        Trainer(config(**many)).fit()
    (tmp_path / "run" / "config.toml").unlink()
    with pytest.raises(ConfigError, match="another run"):  # by the settings in its checkpoints
        Trainer(config(optim={"lr": 5e-3})).fit()
    shutil.rmtree(tmp_path / "run" / "checkpoints")
    with pytest.raises(ConfigError, match=r"no config\.toml"):
        Trainer(config()).fit()


def test_a_folder_in_use_by_another_process_is_refused(config, tmp_path):
    from ssm_hpn._core import RunLock

    lock = RunLock(str(tmp_path / "run"))
    with pytest.raises(InUseError, match="in use by process"):
        Trainer(config()).fit()
    lock.release()
    assert Trainer(config()).fit().reason == "finished"


# ---- damage


def test_a_damaged_checkpoint_is_skipped_with_a_note(config, tmp_path):
    Trainer(config()).fit(callbacks=[Stop(after=11)])
    folders = Checkpoints(tmp_path / "run" / "checkpoints", keep=3).folders()
    weights = folders[0] / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-3])
    result = Trainer(config()).fit()
    assert result.resumed_at == step_of(folders[1])
    assert folders[0].name in result.notes[0]
    assert result.reason == "finished"
    whole = Trainer(config(run={"folder": str(tmp_path / "whole")}))
    whole.fit()
    assert metric_rows(tmp_path / "run") == metric_rows(tmp_path / "whole")


def test_when_no_checkpoint_can_be_loaded_nothing_is_overwritten(config, tmp_path):
    Trainer(config()).fit()
    before = (tmp_path / "run" / "metrics.jsonl").read_bytes()
    for folder in (tmp_path / "run" / "checkpoints").glob("step-*"):
        (folder / "MANIFEST.json").write_text("{")
    with pytest.raises(CheckpointError, match="verifies"):
        Trainer(config()).fit()
    with pytest.raises(CheckpointError):
        Trainer.load(tmp_path / "run")
    assert (tmp_path / "run" / "metrics.jsonl").read_bytes() == before


def test_data_that_changed_is_refused(config, text, tmp_path):
    Trainer(config()).fit(callbacks=[Stop(after=3)])
    other = tmp_path / "other"
    shutil.copytree(text.folder, other)
    manifest = json.loads((other / "train" / "manifest.json").read_text())
    manifest["source"]["digest"] = "0" * 64
    (other / "train" / "manifest.json").write_text(json.dumps(manifest))
    resolved = load_config(tmp_path / "run" / "config.toml")
    changed = resolved.model_copy(update={"data": resolved.data.model_copy(update={"train": (str(other / "train"),)})})
    with pytest.raises(ConfigError, match=r"data\.digest"):
        Trainer(changed)


def test_folders_that_are_no_data_are_refused(config, tmp_path):
    with pytest.raises(DataError, match="prepared folder"):
        Trainer(config(data={"train": str(tmp_path)}))
    (tmp_path / "manifest.json").write_text("[")
    with pytest.raises(DataError, match="manifest"):
        Trainer(config(data={"train": str(tmp_path)}))


def test_patience_without_held_out_data_is_refused(config, text, tmp_path):
    only_train = {"data": {"train": str(text.train), "validation": (), "length": 32}}
    with pytest.raises(ConfigError, match="patience"):
        Trainer(config(**only_train, early_stopping={"patience": 2})).fit()
    Trainer(config(**only_train)).fit()
    assert not any(key.startswith("eval/") for key in metric_rows(tmp_path / "run")[0])


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="permissions mean nothing here")
def test_a_folder_that_cannot_be_written_is_a_storage_error(config, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run").chmod(0o500)
    with pytest.raises(StorageError):
        Trainer(config()).fit()


def test_a_file_in_the_way_is_a_storage_error(config, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError):
        Trainer(config(run={"folder": str(tmp_path / "file" / "run")})).fit()


# ---- non-finite values


class Poison(Callback):
    """Sets a weight to 3e38 before an update, so that its loss overflows, and restores it afterwards."""

    name = "poison"

    def __init__(self, *, at, times=1):
        self.at, self.times = at, times

    def updated(self, event):
        name, session = "backbone.norm_f.weight", event.trainer.session
        weights = session.parameter(name)
        if not event.update.applied:
            self.times -= 1
        if event.progress.step == self.at and self.times:
            self.clean = weights.copy() if event.update.applied else self.clean
            weights[0] = 3e38
            session.set_parameter(name, weights)
        elif not event.update.applied:
            session.set_parameter(name, self.clean)


def test_skipped_updates_are_rows_with_nulls_and_training_goes_on(config, tmp_path):
    result = Trainer(config()).fit(callbacks=[Poison(at=5, times=2)])
    assert result.reason == "finished"
    rows = metric_rows(tmp_path / "run")
    skipped = [row for row in rows if row["nonfinite"]]
    assert [row["skipped_steps"] for row in skipped] == [1, 2]
    assert all(row["train/loss"] is None for row in skipped)
    assert rows[-1]["skipped_steps"] == 2
    assert rows[-1]["train/loss"] is not None


def test_divergence_ends_the_run_and_keeps_its_checkpoints(config, tmp_path):
    with pytest.raises(DivergedError):
        Trainer(config(optim={"lr": 1e-2, "max_skipped": 3})).fit(callbacks=[Poison(at=6, times=99)])
    assert Trainer.load(tmp_path / "run").session.step == 5


# ---- loading


def test_a_trainer_can_be_loaded_and_trained_on(config, tmp_path):
    trainer = Trainer(config())
    trainer.fit()
    loaded = Trainer.load(tmp_path / "run")
    assert loaded.session.digest() == trainer.session.digest()
    assert loaded.config == trainer.config
    assert loaded.feed.cursor == trainer.feed.cursor
    assert loaded.evaluate().values == trainer.evaluate().values
    for _ in range(3):
        assert loaded.step().loss == trainer.step().loss
    assert loaded.session.digest() == trainer.session.digest()


def test_a_checkpoint_outside_of_runs(config, tmp_path):
    trainer = Trainer(config())
    for _ in range(3):
        trainer.step()
    folder = trainer.save(tmp_path / "somewhere" / "mine")
    loaded = Trainer.load(folder)
    assert loaded.step().loss == trainer.step().loss
    with pytest.raises(CheckpointError, match="no such file or folder"):
        Trainer.load(tmp_path / "nowhere")


def test_a_grown_model_is_saved_and_loaded_as_it_is(config, tmp_path):
    trainer = Trainer(config())
    trainer.step()
    trainer.expand(count=1)
    loaded = Trainer.load(trainer.save(tmp_path / "grown"))
    assert loaded.config.model.n_layers == 3
    assert loaded.step().loss == trainer.step().loss


def test_the_run_folder_is_named_by_name_and_digest():
    config = Config()
    assert run_folder(config) == Path("runs") / f"run-{config.digest()[:8]}"
    assert run_folder(parse({"run": {"folder": "x/y"}})) == Path("x/y")


def test_names_of_checkpoints():
    assert step_name(1000) == "step-00001000"
    assert step_of(Path("a/step-00001000")) == 1000
    assert step_of(Path("step-12")) is None
    assert step_of(Path(".step-00001000.tmp")) is None


def test_two_callbacks_of_one_name_are_refused_before_anything_is_written(text, tmp_path):
    folder = tmp_path / "run"
    with pytest.raises(ConfigError) as caught:
        Trainer(settings(text, folder)).fit(callbacks=[Stop(3), Callback(), Stop(5)])
    assert str(caught.value) == (
        "callbacks: expected a name of its own for each, found 'stop' 2 times (Stop, Stop); set another `name`"
    )
    assert not folder.exists()
