"""Signals and interruptions: what they save, what they leave, and the line that says so."""

import importlib
import json
import os
import signal
import subprocess
import sys
import time

import pytest

from ssm_hpn import Trainer
from ssm_hpn.cli.main import COMMANDS, main
from ssm_hpn.entry import enter
from support import SMALL, text_data, train

PATIENCE = 300
"""Seconds after which a command hangs, also on a machine that does much else."""


def wait_for_rows(process, folder, count):
    metrics = folder / "metrics.jsonl"
    while not metrics.exists() or metrics.read_bytes().count(b"\n") < count:
        assert process.poll() is None, "training did not start"
        time.sleep(0.05)


@pytest.mark.skipif(os.name != "posix", reason="signals as POSIX has them")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_saves_and_the_same_command_resumes(here, number):
    data = text_data(here, documents=12)
    steps = ["--train.steps", "100000", "--train.log_every", "1", "--evaluation.every", "100000", "--run.folder", "run"]
    words = ["--data", str(data.folder), *SMALL, *steps]
    process = subprocess.Popen(
        [sys.executable, "-m", "ssm_hpn.train", *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    wait_for_rows(process, here / "run", 3)
    process.send_signal(number)
    shown, errors = process.communicate(timeout=PATIENCE)
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
    monkeypatch.setattr(signal, "signal", lambda *_: None)  # `enter` sets handlers for the whole process

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
    while process.poll() is None and not list(here.glob("runs/data/.big-*")):
        time.sleep(0.01)
    time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=PATIENCE)
    assert process.returncode == 130, errors
    assert errors == "interrupted before training began; no unfinished file is left behind\n"
    assert list(here.glob("runs/data/*")) == list(here.glob("runs/data/.*")) == []


def test_ctrl_c_that_the_engine_takes_is_an_interrupt():
    from ssm_hpn.prepare.engine import engine

    for text, kind in (("Query interrupted", KeyboardInterrupt), ("something else", RuntimeError)):
        with pytest.raises(kind), engine(None):
            raise RuntimeError(text)


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


def test_an_interrupt_inside_of_a_text_that_is_executed_does_not_kill_the_process_at_its_end(tmp_path):
    """The interpreter would end by SIGINT, though the command has told of the interrupt and given its exit code."""
    program = """
import importlib
import sys
from ssm_hpn.entry import enter

def main(**_):
    try:
        exec("raise KeyboardInterrupt")
    except KeyboardInterrupt:
        return 75

importlib.import_module("ssm_hpn.cli.main").main = main
sys.exit(enter("ssm-hpn"))
"""
    (tmp_path / "program.py").write_text(program)
    command = [sys.executable, "-m", "program"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (75, "")
