"""Runs that are killed (SIGKILL) and started again by the same command end with the bits of an uninterrupted one."""

import json
import random
import shutil
import sys

import pytest

import faults
from ssm_hpn.config import parse, to_toml
from support import metric_rows, settings

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals as POSIX has them")

OFTEN = {
    "train": {"steps": 60, "batch_size": 4, "threads": 1, "log_every": 3},
    "evaluation": {"every": 7, "batches": 1},
    "checkpoint": {"every": 4, "keep": 2, "keep_best": 2, "keep_every": 20},
}


def of_run(folder):
    """All that has to be the same: the kept checkpoints, their weights and moments, what is marked, the rows."""
    root = folder / "checkpoints"
    found = {path.name: path.read_text() for path in (root / "latest", root / "best")}
    for checkpoint in root.glob("step-*"):
        for name in ("model.safetensors", "optimizer.safetensors"):
            found[f"{checkpoint.name}/{name}"] = (checkpoint / name).read_bytes()
        state = json.loads((checkpoint / "state.json").read_text())
        del state["extra"]["extra"]["seconds"], state["extra"]["config"]["run"]
        offset = state["extra"]["extra"].pop("metrics_offset")  # the length of rows with times in them
        rows = (folder / "metrics.jsonl").read_bytes()[:offset].count(b"\n")
        found[f"{checkpoint.name}/state.json"] = (state, rows)
    left = [path.name for path in (*folder.iterdir(), *root.iterdir()) if path.name.startswith(".")]
    return found, metric_rows(folder), json.loads((folder / "evaluation.json").read_text()), left


@pytest.mark.fault("kill -9 at any moment")
@pytest.mark.parametrize("background", [False, True])
def test_kills_at_random_times_change_no_bit(text, memory, forks, tally, background):
    often = OFTEN | {"checkpoint": OFTEN["checkpoint"] | {"background": background}}
    file = memory / "config.toml"
    file.write_text(to_toml(parse(settings(text, memory / "run", **often))))
    assert forks.run(memory, "fit", str(file))[0] == 0, (memory / "err").read_text()
    whole = of_run(memory / "run")
    assert whole[-1] == [".lock"]
    chance = random.Random(int(background))
    killed, most, seconds = 0, 0, 1.0
    wanted = faults.rounds(25, of=1000) // 2 + background
    while killed < wanted:
        shutil.rmtree(memory / "run")
        code, of_this_run = -1, 0
        while code != 0:
            kills = killed < wanted and of_this_run < 25
            code, took = forks.run(memory, "fit", str(file), kill_after=chance.uniform(0, seconds) if kills else None)
            assert code in ((0, -9) if kills else (0,)), (memory / "err").read_text()
            killed, of_this_run = killed + (code == -9), of_this_run + (code == -9)
            if not of_this_run:
                seconds = took
        most = max(most, of_this_run)
        assert of_run(memory / "run") == whole
    tally.add(killed, worst=f"{most} kills of one run of {OFTEN['train']['steps']} updates: the same bits")
