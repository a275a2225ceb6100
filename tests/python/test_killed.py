"""Runs that are killed (SIGKILL) several times and resumed end with the bits of an uninterrupted one."""

import random
import signal
import subprocess
import sys
import time

import pytest

from ssm_hpn import Trainer
from ssm_hpn.config import parse, to_toml
from support import metric_rows, settings

pytestmark = [pytest.mark.slow, pytest.mark.skipif(sys.platform == "win32", reason="signals as POSIX has them")]


KILLS = 6
STEPS = 420


def step_of(folder):
    """Updates of the newest checkpoint; 0 before the first."""
    latest = folder / "checkpoints" / "latest"
    return int(latest.read_text().strip().removeprefix("step-")) if latest.exists() else 0


def kill_after(process, folder, step, delay):
    """Kill a run `delay` seconds after it has saved a checkpoint of at least `step` updates."""
    deadline = time.monotonic() + 120
    while step_of(folder) < step:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline, "no checkpoint within 120 seconds"
        time.sleep(0.005)
    time.sleep(delay)
    process.send_signal(signal.SIGKILL)
    assert process.communicate(timeout=60)[1] == ""
    assert process.returncode == -signal.SIGKILL


@pytest.mark.fault("kill -9 at any moment")
def test_kills_at_random_times_change_no_bit(text, tmp_path, tally):
    often = {"train": {"steps": STEPS, "batch_size": 4, "threads": 1, "log_every": 3}, "checkpoint": {"every": 4}}
    whole = Trainer(settings(text, tmp_path / "whole", **often))
    whole.fit()
    file = tmp_path / "config.toml"
    file.write_text(to_toml(parse(settings(text, tmp_path / "run", **often))))
    chance = random.Random(0)
    for number in range(KILLS):
        command = [sys.executable, "-m", "ssm_hpn.train", "--config", str(file)]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        target = (number + 1) * STEPS // (2 * KILLS)
        kill_after(process, tmp_path / "run", max(target, step_of(tmp_path / "run") + 4), chance.uniform(0, 0.03))
        tally.add()
    resumed = Trainer(settings(text, tmp_path / "run", **often))
    assert not resumed.fit().already_ended
    assert resumed.session.digest() == whole.session.digest()
    assert metric_rows(tmp_path / "run") == metric_rows(tmp_path / "whole")
