"""Callbacks that hand a run to other programs, each read back by the program's own package.

The fast ones need prometheus-client alone; `make test-trackers` runs all, in an environment of its own.
"""

import json
import sys
import threading
import time
import urllib.request

import pytest

from ssm_hpn import Callback, Trainer
from ssm_hpn.cli.observers import observers_of
from ssm_hpn.errors import ConfigError, DivergedError
from ssm_hpn.trackers import Alert, MLflow, Prometheus, TensorBoard, WandB
from support import SMALL, settings, text_data, train

RUN = {"train": {"steps": 8, "log_every": 2}, "evaluation": {"every": 4}, "checkpoint": {"every": 2}}


class Stop(Callback):
    """Interrupts a run."""

    name = "stop"

    def updated(self, event):
        if event.progress.step == 5 and event.trainer.tokens_seen and event.more == 0:
            event.trainer.request_stop()


class Fail(Callback):
    """Fails at an update."""

    name = "fail"

    def updated(self, event):
        if event.progress.step == 3:
            raise DivergedError("the loss is not finite")


def rows_of(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def script(folder, body):
    """The words of a command that runs Python."""
    file = folder / "command.py"
    file.write_text(body)
    return [sys.executable, str(file)]


def recorder(folder):
    """A command that appends what it was told to a file."""
    return script(
        folder,
        "import os, sys, json\n"
        f"open({str(folder / 'told')!r}, 'a').write(json.dumps([sys.argv[1], os.environ['SSM_HPN_EVENT'], "
        "os.environ['SSM_HPN_STEP'], os.environ['SSM_HPN_REASON'], os.environ['SSM_HPN_RUN']]) + chr(10))\n",
    )


def told(folder):
    file = folder / "told"
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


# ---- what callbacks are told


def test_callbacks_are_told_in_order_of_rows_and_of_failures(text, tmp_path):
    seen = []

    class Watch(Callback):
        name = "watch"

        def started(self, event):
            seen.append("started")

        def logged(self, event):
            seen.append(("logged", event.progress.step, event.row["step"], event.row["eval/loss"] is not None))

        def evaluated(self, event):
            seen.append("evaluated")

        def failed(self, event):
            seen.append(("failed", str(event.error)))
            raise OSError("no disk")

        def ended(self, event):
            seen.append("ended")

    with pytest.raises(DivergedError, match="the loss is not finite") as caught:
        Trainer(settings(text, tmp_path / "run", **RUN)).fit(callbacks=[Watch(), Fail()])
    assert seen == [
        *("started", ("logged", 0, 0, True), "evaluated", ("logged", 2, 2, False)),
        ("failed", "the loss is not finite"),
    ]
    assert caught.value.__notes__ == ["the callback watch failed too: no disk"]


# ---- Prometheus


def gauges(text):
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    return {line.split("{")[0]: float(line.rpartition(" ")[2]) for line in lines}


def test_prometheus_has_the_last_row_behind_a_port_and_in_a_file(text, tmp_path):
    prometheus = Prometheus(0, file=tmp_path / "run.prom")
    asked = []

    class Ask(Callback):
        name = "ask"

        def updated(self, event):
            if event.progress.step == 4:
                with urllib.request.urlopen(f"http://127.0.0.1:{prometheus.port}/metrics", timeout=20) as answer:
                    asked.append(answer.read().decode())

    run = tmp_path / "run"
    Trainer(settings(text, run, **RUN)).fit(callbacks=[prometheus, Ask()])
    row = next(row for row in rows_of(run) if row["step"] == 4)
    found = gauges(asked[0])
    assert found["ssm_hpn_up"] == 1
    assert found["ssm_hpn_step"] == 4
    assert found["ssm_hpn_train_loss"] == row["train/loss"]
    assert found["ssm_hpn_eval_loss"] == row["eval/loss"]
    assert abs(found["ssm_hpn_written"] - time.time()) < 600
    assert 'ssm_hpn_train_loss{run="run"}' in asked[0]
    last = gauges((tmp_path / "run.prom").read_text())
    assert (last["ssm_hpn_up"], last["ssm_hpn_step"]) == (0, 8)
    assert last["ssm_hpn_train_loss"] == rows_of(run)[-1]["train/loss"]
    with pytest.raises(OSError, match="refused"):
        urllib.request.urlopen(f"http://127.0.0.1:{prometheus.port}/metrics", timeout=5)


def test_a_taken_port_is_one_clear_line(text, tmp_path):
    import socket

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(ConfigError, match=f"127.0.0.1:{port}: expected a port to listen to"):
            Trainer(settings(text, tmp_path / "run", **RUN)).fit(callbacks=[Prometheus(port)])
    with pytest.raises(ConfigError, match="a port, a file, or both"):
        Prometheus()


# ---- alerts


def test_a_command_is_run_at_the_end_and_on_divergence(text, tmp_path):
    Trainer(settings(text, tmp_path / "one", **RUN)).fit(callbacks=[Alert(recorder(tmp_path))])
    with pytest.raises(DivergedError):
        Trainer(settings(text, tmp_path / "two", **RUN)).fit(callbacks=[Alert(recorder(tmp_path)), Fail()])
    with pytest.raises(DivergedError):
        Trainer(settings(text, tmp_path / "six", **RUN)).fit(
            callbacks=[Alert(recorder(tmp_path), on=["ended"]), Fail()]
        )
    ended, diverged = told(tmp_path)
    assert ended == ["one ended at update 8: finished", "ended", "8", "finished", str(tmp_path / "one")]
    assert diverged[:3] == ["two diverged at update 3: the loss is not finite", "diverged", "3"]


def test_a_standstill_is_told_once_and_again_after_going_on(text, tmp_path):
    class Wait(Callback):
        name = "wait"

        def updated(self, event):
            if event.progress.step in (2, 4):
                end, before = time.monotonic() + 30, len(told(tmp_path))
                while len(told(tmp_path)) == before:
                    assert time.monotonic() < end
                    time.sleep(0.02)
                time.sleep(0.3)

    alert = Alert(recorder(tmp_path), on=["stalled"], stall=0.1)
    Trainer(settings(text, tmp_path / "run", **RUN)).fit(callbacks=[alert, Wait()])
    steps = [line[2] for line in told(tmp_path)]
    assert {"2", "4"} <= set(steps)
    assert steps.count("2") == 1
    assert not [one for one in threading.enumerate() if one.name == "ssm-hpn alert"]


@pytest.mark.parametrize(("command", "said"), [(["no-such-program"], "failed"), ("false", "ended with 1")])
def test_a_command_that_fails_does_not_end_training(text, tmp_path, caplog, command, said):
    result = Trainer(settings(text, tmp_path / "run", **RUN)).fit(callbacks=[Alert(command)])
    assert result.reason == "finished"
    assert f"the command of an alert {said}" in caplog.text
    assert "run ended at update 8" in caplog.text


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: Alert(""), "expected a command, found none"),
        (lambda: Alert("say 'x"), "close the quotation"),
        (lambda: Alert("x", on=["end"]), "expected diverged | failed | stalled | ended, found 'end'"),
        (lambda: Alert("x", stall=0), "expected seconds above 0, found 0"),
        (lambda: observers_of({"track": "tensorbord"}), "did you mean tensorboard?"),
        (lambda: observers_of({"metrics_port": "70000"}), "--metrics-port: expected a number from 0 to 65535"),
        (lambda: observers_of({"alert_stall": "9"}), "--alert-stall: expected --alert beside it"),
        (lambda: observers_of({"alert": "x", "alert_stall": "soon"}), "--alert-stall: expected seconds"),
    ],
)
def test_wrong_arguments_are_refused(make, said):
    with pytest.raises(ConfigError) as caught:
        make()
    assert said in str(caught.value)


def test_the_options_of_train(here, capsys):
    data = text_data(here, documents=8)
    words = ["--data", str(data.folder), *SMALL, "--train.steps", "2", "--run.folder", "run"]
    alert = " ".join(recorder(here))
    assert train(*words, "--metrics-file", "run.prom", "--alert", alert, "--alert-stall", "60") == 0
    assert gauges((here / "run.prom").read_text())["ssm_hpn_step"] == 2
    assert [line[1] for line in told(here)] == ["ended"]
    capsys.readouterr()
    assert train(*words, "--track", "nothing") == 2
    assert "--track: expected tensorboard | mlflow | wandb, found 'nothing'" in capsys.readouterr().err


def test_a_missing_package_is_one_line_before_anything_is_written(here, capsys, monkeypatch):
    data = text_data(here, documents=8)
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    monkeypatch.setitem(sys.modules, "wandb", None)
    for name in ("tensorboard", "wandb"):
        assert train("--data", str(data.folder), *SMALL, "--run.folder", "run", "--track", name) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert line == f"error: {name}: expected the package {name}, found none; pip install 'ssm-hpn[{name}]'"
        assert not (here / "run").exists()


@pytest.mark.parametrize("mode", [(), ("--dry-run",), ("--profile",)])
@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--track", "nothing"), "--track: expected"),
        (("--alert", ""), "Alert, command: expected a command"),
        (("--metrics-port", "99999"), "--metrics-port: expected"),
        (("--track", "wandb"), "wandb: expected the package wandb"),
    ],
)
def test_wrong_observers_are_refused_before_data_is_prepared(here, capsys, monkeypatch, mode, words, said):
    monkeypatch.setitem(sys.modules, "wandb", None)
    (here / "texts.txt").write_text("some text\n" * 200)
    assert train("--data", "texts.txt", *mode, *words) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert said in line
    assert [path.name for path in here.iterdir()] == ["texts.txt"]


# ---- trackers, read back by their own packages (make test-trackers)


def interrupted_and_resumed(text, folder, make):
    """A run with a tracker, interrupted after update 5 and resumed by another process, as it were."""
    config = settings(text, folder, **RUN)
    assert Trainer(config).fit(callbacks=[make(), Stop()]).reason == "interrupted"
    assert Trainer(config).fit(callbacks=[make()]).reason == "finished"


def test_tensorboard_reads_its_files(text, tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    run = tmp_path / "run"
    interrupted_and_resumed(text, run, TensorBoard)
    found = EventAccumulator(str(run / "tensorboard"))
    found.Reload()
    expected = {row["step"]: row for row in rows_of(run)}
    for tag in ("train/loss", "eval/loss", "perf/step_ms"):
        scalars = {one.step: one.value for one in found.Scalars(tag)}
        wanted = {step: row[tag] for step, row in expected.items() if row[tag] is not None}
        assert scalars == pytest.approx(wanted, rel=1e-6)
    assert "train.steps = 8" in found.Tensors("settings")[0].tensor_proto.string_val[0].decode()


def test_mlflow_reads_its_store(text, tmp_path):
    mlflow = pytest.importorskip("mlflow")
    run, uri = tmp_path / "run", f"sqlite:///{tmp_path / 'mlflow.db'}"
    interrupted_and_resumed(text, run, lambda: MLflow(uri, experiment="pumps"))
    client = mlflow.tracking.MlflowClient(tracking_uri=uri)
    experiment = client.get_experiment_by_name("pumps")
    (found,) = client.search_runs([experiment.experiment_id])
    assert found.info.status == "FINISHED"
    assert found.info.run_name == "run"
    assert found.data.params["train.steps"] == "8"
    history = {one.step: one.value for one in client.get_metric_history(found.info.run_id, "train/loss")}
    assert history == {row["step"]: row["train/loss"] for row in rows_of(run)}
    with pytest.raises(DivergedError):
        Trainer(settings(text, tmp_path / "two", **RUN)).fit(callbacks=[MLflow(uri, experiment="pumps"), Fail()])
    failed = [one for one in client.search_runs([experiment.experiment_id]) if one.info.run_name == "two"]
    assert (failed[0].info.status, failed[0].data.tags["ssm_hpn.error"]) == ("FAILED", "the loss is not finite")


def records(file):
    """The records of an offline file of wandb: LevelDB's log format, with a header of 7 bytes of its own."""
    data, at, whole = file.read_bytes(), 7, b""
    assert data[:4] == b":W&B"
    while at + 7 <= len(data):
        if 32_768 - at % 32_768 < 7:
            at += 32_768 - at % 32_768
            continue
        length, kind = int.from_bytes(data[at + 4 : at + 6], "little"), data[at + 6]
        whole += data[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):  # a record of one piece, or its last one
            yield whole
            whole = b""


def test_wandb_reads_its_offline_files(text, tmp_path, monkeypatch):
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_SILENT", "true")
    from wandb.proto.wandb_internal_pb2 import Record

    run, losses, settings_of_run = tmp_path / "run", {}, {}
    Trainer(settings(text, run, **RUN)).fit(callbacks=[WandB()])
    (file,) = run.glob("wandb/offline-run-*/run-*.wandb")
    end = time.monotonic() + 60  # a process of wandb writes the file
    found = []
    while not any(one.WhichOneof("record_type") == "exit" for one in found):
        assert time.monotonic() < end
        found = [Record.FromString(data) for data in records(file)]
    for record in found:
        if record.WhichOneof("record_type") == "history":
            items = {item.key or "/".join(item.nested_key): item.value_json for item in record.history.item}
            losses[int(items["_step"])] = float(items["train/loss"])
        elif record.WhichOneof("record_type") == "run":
            settings_of_run |= {item.key: json.loads(item.value_json) for item in record.run.config.update}
    assert losses == pytest.approx({row["step"]: row["train/loss"] for row in rows_of(run)})
    assert settings_of_run["train"]["steps"] == 8


@pytest.mark.parametrize("file", ["", "none/run.prom", "."])
def test_a_file_for_prometheus_that_cannot_be_is_refused_at_once(file, here):
    with pytest.raises(ConfigError, match="Prometheus, file: expected a file in a folder that is there"):
        Prometheus(file=file)
