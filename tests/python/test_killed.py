"""Runs that are killed without warning, again and again, and still end with the bits of an undisturbed one."""

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


def test_kills_at_random_moments_change_nothing(text, tmp_path):
    often = {"train": {"steps": 60, "batch_size": 4, "threads": 1, "log_every": 3}, "checkpoint": {"every": 4}}
    whole = Trainer(settings(text, tmp_path / "whole", **often))
    whole.fit()
    file = tmp_path / "config.toml"
    file.write_text(to_toml(parse(settings(text, tmp_path / "run", **often))))
    chance = random.Random(0)
    kills = 0
    for _ in range(200):
        process = subprocess.Popen(
            [sys.executable, "-m", "ssm_hpn.train", "--config", str(file)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        time.sleep(chance.uniform(0.3, 1.5))
        process.send_signal(signal.SIGKILL)
        _, errors = process.communicate(timeout=60)
        assert errors == ""
        if process.returncode == 0:
            break
        kills += 1
    assert kills > 2
    resumed = Trainer(settings(text, tmp_path / "run", **often))
    assert resumed.fit().already_ended
    assert resumed.session.digest() == whole.session.digest()
    assert metric_rows(tmp_path / "run") == metric_rows(tmp_path / "whole")
