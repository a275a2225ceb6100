"""A run on a file system that fills up: it stops or goes on, and damages nothing.

The file system is a tmpfs of a few megabytes, which root can mount, or a user in a namespace of its own.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from ssm_hpn import Callback, Trainer
from ssm_hpn._core import ShardWriter, list_checkpoints, verify_checkpoint
from ssm_hpn.config import parse, to_toml
from ssm_hpn.errors import StorageError
from support import metric_rows, settings

pytestmark = [pytest.mark.slow, pytest.mark.skipif(sys.platform != "linux", reason="tmpfs is of Linux")]


@pytest.fixture
def disk(tmp_path):
    """A file system of 3 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = shutil.which("mount") and os.geteuid() == 0
    options = ["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(folder)]
    if not mounted or subprocess.run(options, capture_output=True, check=False).returncode:
        assert not os.environ.get("CI"), "a tmpfs has to be mounted here, which takes root"
        pytest.skip("no tmpfs can be mounted: run as root")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def fill(disk, *, leave):
    """Use the space up to some bytes."""
    free = shutil.disk_usage(disk).free - leave
    (disk / "others").write_bytes(bytes(max(free, 0)))


def start(config):
    command = [sys.executable, "-m", "ssm_hpn.train", "--config", str(config)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def config_of(text, tmp_path, disk, action):
    often = {
        "train": {"steps": 60, "threads": 1, "log_every": 1},
        "evaluation": {"every": 20, "batches": 1, "continuation": 0},
        "checkpoint": {"every": 5, "keep": 40, "on_save_error": action},
    }
    path = tmp_path / f"{action}.toml"
    path.write_text(to_toml(parse(settings(text, disk / "run", **often))))
    return path


@pytest.mark.fault("a full disk, with on_save_error stop")
def test_a_run_on_a_full_disk_stops_and_goes_on_when_there_is_space(text, tmp_path, disk, tally):
    config = config_of(text, tmp_path, disk, "stop")
    fill(disk, leave=900_000)  # for a few checkpoints of some 100 kB
    done = start(config)
    (line,) = done.stderr.splitlines()
    assert done.returncode == 6, line
    assert "full file system" in line or "No space left" in line
    steps = whole_checkpoints(disk)
    assert len(steps) >= 2
    assert hidden(disk) == []
    (disk / "others").unlink()
    again = start(config)
    assert (again.returncode, again.stderr) == (0, "")
    assert set(steps) <= set(whole_checkpoints(disk))
    assert [row["step"] for row in metric_rows(disk / "run")] == list(range(61))
    tally.add(worst="no checkpoint before it is lost")


@pytest.mark.fault("a full disk, with on_save_error warn")
def test_a_run_on_a_full_disk_goes_on_and_saves_again_when_there_is_space(text, tmp_path, disk, tally):
    fill(disk, leave=900_000)
    notes, before = [], []

    class Watch(Callback):
        name = "watch"

        def noted(self, event):
            notes.append(event.note)

        def updated(self, event):
            if event.progress.step == 44:
                before.extend(whole_checkpoints(disk))
                assert hidden(disk) == []
                (disk / "others").unlink()

    result = Trainer(config_of(text, tmp_path, disk, "warn")).fit(callbacks=[Watch()])
    assert (result.reason, result.step) == ("finished", 60)
    assert len(notes) >= 3
    assert all("No space left" in note and note.endswith("; training goes on") for note in notes)
    after = whole_checkpoints(disk)
    assert set(before) < set(after)
    assert {45, 50, 55, 60} <= set(after)
    assert [row["step"] for row in metric_rows(disk / "run")] == list(range(61)), "no row is lost"
    tally.add(len(notes), worst=f"no checkpoint for {after[len(before)] - before[-1]} updates")


@pytest.mark.fault("a disk that refuses a shard, then works again")
def test_a_writer_of_shards_that_met_a_full_disk_takes_no_more(disk, tally):
    declared = {"kind": "tokens", "vocab_size": 256, "columns": ["tokens"], "batch_tokens": 50_000, "shard_bytes": 1}
    documents = {"offsets": np.array([0, 60_000], np.uint64), "tokens": np.zeros(60_000, np.uint8)}
    writer = ShardWriter(str(disk / "set"), json.dumps(declared))
    fill(disk, leave=300_000)  # for two shards
    shards = []

    def append():
        while len(shards) < 9:
            writer.append_many(**documents)
            shards.append(1)

    with pytest.raises(StorageError, match="No space left"):
        append()
    assert shards
    (disk / "others").unlink()
    with pytest.raises(StorageError, match="an earlier error left documents out; begin again"):
        writer.append_many(**documents)
    with pytest.raises(StorageError, match="an earlier error left documents out; begin again"):
        writer.close("{}")
    assert list((disk / "set").iterdir()) == []
    tally.add(worst="the writer takes no more, and its shards are removed")


def whole_checkpoints(disk):
    """The steps of the checkpoints, all of which verify."""
    found = sorted(list_checkpoints(str(disk / "run" / "checkpoints")))
    for _, path in found:
        verify_checkpoint(str(path))
    return [step for step, _ in found]


def hidden(disk):
    """Unfinished files and folders."""
    return [path.name for path in Path(disk / "run").rglob(".*") if path.name != ".lock"]
