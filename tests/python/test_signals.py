"""SIGTERM and Ctrl-C in every phase of a command: the files afterwards, the exit code, and the same command again."""

import json
import os
import random
import signal
import subprocess
import sys
import time

import pytest

import faults
from ssm_hpn import Trainer
from support import SMALL, metric_rows, settings, text_data

pytestmark = pytest.mark.skipif(os.name != "posix", reason="signals as POSIX has them")
PATIENCE = 300
"""Seconds after which a command hangs, also on a machine that does much else."""
LINE = "interrupted before anything began; nothing was written\n"


def start(*words, code=None):
    command = [sys.executable, "-m", "ssm_hpn.train"] if code is None else [sys.executable, "-c", code]
    return subprocess.Popen([*command, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


BOTH = pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 75), (signal.SIGINT, 130)])


@pytest.mark.fault("SIGTERM during an evaluation")
@pytest.mark.parametrize("at", [0, 4, 12])
def test_an_evaluation_that_is_interrupted_is_made_by_the_next_start(text, tmp_path, tally, monkeypatch, at):
    often = {"evaluation": {"every": 4, "batches": 3}, "checkpoint": {"every": 5}}
    whole = Trainer(settings(text, tmp_path / "whole", **often)).fit()
    trainer = Trainer(settings(text, tmp_path / "run", **often))
    held_out, seen = Trainer.held_out, []

    def interrupting(self, batches=None):
        for batch in held_out(self, batches):
            yield batch
            if self is trainer and self.session.step == at:
                seen.append(at)
                self.request_stop()  # as the handler of signals does

    monkeypatch.setattr(Trainer, "held_out", interrupting)
    result = trainer.fit()
    assert (result.reason, result.step) == ("interrupted", at)
    assert len(seen) == 1, "not one batch is evaluated after it"
    saved = {path.name for path in (tmp_path / "run" / "checkpoints").glob("step-*")}
    assert (f"step-{at:08d}" in saved) == (at > 0)
    again = Trainer(settings(text, tmp_path / "run", **often)).fit()
    assert (again.reason, again.best) == ("finished", whole.best)
    assert metric_rows(tmp_path / "run") == metric_rows(tmp_path / "whole")
    digests = {Trainer.load(tmp_path / name).session.digest() for name in ("run", "whole")}
    assert len(digests) == 1
    best = [(tmp_path / name / "checkpoints" / "best").read_text() for name in ("run", "whole")]
    assert best[0] == best[1]
    tally.add()


@pytest.mark.slow
@pytest.mark.fault("SIGTERM or Ctrl-C while a command is loaded")
@BOTH
def test_a_signal_while_the_package_is_imported_ends_with_one_line(here, tally, number, code):
    program = (
        "import builtins, os, signal, sys\n"
        "from ssm_hpn.entry import enter\n"
        "take = builtins.__import__\n"
        "left = [{count}]\n"
        "def counted(*given, **named):\n"
        "    left[0] -= 1\n"
        "    if left[0] == 0:\n"
        f"        os.kill(os.getpid(), {int(number)})\n"
        "    return take(*given, **named)\n"
        "builtins.__import__ = counted\n"
        "sys.exit(enter('train', 'train'))\n"
    )
    for count in (1, 300, 3000):
        process = start("--help", code=program.replace("{count}", str(count)))
        shown, errors = process.communicate(timeout=PATIENCE)
        assert (process.returncode, errors) == (code, LINE), (count, shown)
        tally.add()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("times", [1, 2])
def test_a_signal_while_the_process_ends_changes_nothing(number, times):
    program = (
        "import atexit, signal, sys\n"
        "from importlib import import_module\n"
        "from ssm_hpn.cli.signals import raised\n"
        "from ssm_hpn.entry import enter\n"
        "def done(**_):\n"
        "    with raised():\n"
        "        return 3\n"
        "import_module('ssm_hpn.cli.main').main = done\n"
        "atexit.register(print, 'ends', flush=True)\n"
        f"atexit.register(lambda: [signal.raise_signal({int(number)}) for _ in range({times})])\n"
        "sys.exit(enter('ssm-hpn'))\n"
    )
    process = start(code=program)
    shown, errors = process.communicate(timeout=PATIENCE)
    assert (process.returncode, errors, shown) == (3, "", "ends\n" if times == 1 else "")


@pytest.mark.slow
@pytest.mark.fault("SIGTERM during a preparation")
def test_a_preparation_that_is_terminated_leaves_no_data_set_and_says_how_to_go_on(here, tally):
    with (here / "big.csv").open("w") as file:
        file.write("id,a,b,c\n")
        file.writelines(f"{number % 999},{number},{number * 2},{number % 3}\n" for number in range(600_000))
    columns = ["--data.columns.id", "id", "--data.columns.features", "a,b", "--data.columns.labels", "c"]
    process = start("--data", "big.csv", *columns, *SMALL, "--train.steps", "1")
    while process.poll() is None and not list(here.glob("runs/data/.big-*")):
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    began = time.monotonic()
    _, errors = process.communicate(timeout=PATIENCE)
    assert process.returncode == 75, errors
    assert errors == "interrupted before training began; no unfinished file is left behind\n"
    assert list(here.glob("runs/data/*")) == []
    assert {path.name[:5] for path in here.glob("runs/data/.*")} <= {".big-"}
    tally.add(worst=f"{time.monotonic() - began:.1f} s until it ended")


@pytest.mark.slow
@pytest.mark.fault("a second SIGTERM or Ctrl-C in training")
@BOTH
def test_a_second_signal_ends_training_at_once(here, tally, number, code):
    program = (
        "import signal, sys, time\n"
        "from ssm_hpn import Trainer\n"
        "from ssm_hpn.entry import enter\n"
        "step = Trainer.step\n"
        "def signalled(self, *given, **named):\n"
        "    if self.session.step == 3:\n"
        f"        signal.raise_signal({int(number)})\n"  # of this thread: two that wait for another one become one
        f"        signal.raise_signal({int(number)})\n"
        "        time.sleep(1000)\n"
        "    return step(self, *given, **named)\n"
        "Trainer.step = signalled\n"
        "sys.exit(enter('train', 'train'))\n"
    )
    data = text_data(here, documents=8)
    words = ["--data", str(data.folder), *SMALL, "--train.steps", "5", "--run.folder", "run"]
    process = start(*words, "--checkpoint.every", "2", code=program)
    _, errors = process.communicate(timeout=PATIENCE)
    assert process.returncode == code, errors
    assert errors == "interrupted at once; the same command goes on from the last checkpoint, if there is one\n"
    assert [path.name for path in (here / "run" / "checkpoints").glob("step-*")] == ["step-00000002"]
    again = start(*words, "--checkpoint.every", "2")
    assert again.communicate(timeout=PATIENCE)[1] == ""
    assert again.returncode == 0
    tally.add()


@pytest.mark.slow
@pytest.mark.fault("SIGTERM at a random moment of a command")
def test_sigterm_at_any_moment_of_a_command(here, tally):
    data = text_data(here, documents=8)
    steps = ["--train.steps", "400", "--checkpoint.every", "50"]
    words = ["--data", str(data.folder), *SMALL, *steps, "--run.folder", "run"]
    chance = random.Random(0)
    began = time.monotonic()
    process = start(*words)
    assert process.communicate(timeout=PATIENCE)[1] == ""
    seconds, slowest = time.monotonic() - began, 0.0
    for _ in range(faults.rounds(2, of=60)):
        process = start(*words, "--run.folder", f"run{chance.randrange(3)}")
        time.sleep(chance.uniform(0.2, seconds))
        process.send_signal(signal.SIGTERM)
        sent = time.monotonic()
        _, errors = process.communicate(timeout=PATIENCE)
        slowest = max(slowest, time.monotonic() - sent)
        assert process.returncode in (0, 75) or (process.returncode == -signal.SIGTERM and not errors), errors
        assert len(errors.splitlines()) <= 1, errors
        tally.add(worst=f"{slowest:.2f} s until it ended")
    for run in here.glob("run[0-2]"):
        process = start(*words, "--run.folder", run.name)
        assert process.communicate(timeout=PATIENCE)[1] == ""
        assert metric_rows(run) == metric_rows(here / "run")
        assert json.loads((run / "summary.json").read_text()) == json.loads((here / "run" / "summary.json").read_text())
