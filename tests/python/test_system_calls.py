"""System calls of a run and of a preparation that fail, or kill the process, one after the other.

strace makes the n-th call of a kind fail with EIO or ENOSPC, or ends the process there, for every n. Saves are at once
in these runs, as strace counts the calls of each thread by itself.
"""

import json
import os
import shutil

import pytest

import faults
from ssm_hpn._core import list_checkpoints, verify_checkpoint, verify_shards
from ssm_hpn.config import parse, to_toml
from support import metric_rows, settings

CALLS = {
    "write": "write,pwrite64,writev",
    "fsync": "fsync,fdatasync",
    "rename": "rename,renameat,renameat2",
    "openat": "openat",
    "ftruncate": "ftruncate",
    "mkdir": "mkdir,mkdirat",
}
"""Kinds of calls, with the names that the system has for them."""
FAILURES = ("error=EIO", "error=ENOSPC", "signal=SIGKILL")
MOST = 2000
"""More calls of a kind than any thread makes."""
OFTEN = {
    "train": {"steps": 5, "batch_size": 2, "threads": 1, "log_every": 1},
    "evaluation": {"every": 2, "batches": 1, "continuation": 0},
    "checkpoint": {"every": 1, "keep": 2},
}

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(shutil.which("strace") is None and not os.environ.get("CI"), reason="strace is not on the PATH"),
]


def injected(forks, memory, call, failure, number, *words):
    """Run a command with the n-th call of a kind failing; returns its exit code, None where the call was not made."""
    names = CALLS[call]
    options = ["-e", f"trace={names}", "-e", f"inject={names}:{failure}:when={number}", "-e", "signal=none"]
    (memory / "trace").unlink(missing_ok=True)
    code, _ = forks.run(memory, *words, inject=options)
    trace = (memory / "trace").read_text(errors="replace")
    return code if "INJECTED" in trace or code == -9 else None


def numbers():
    """The calls that are made to fail: every one, or some of them."""
    return range(1, MOST, 1 if faults.rounds(0, of=1) else 11)


def check_error(memory, code, failure):
    """A killed process says nothing, another one has one line and the exit code of storage, or has done without."""
    lines = (memory / "err").read_text().splitlines()
    if failure == "signal=SIGKILL":
        assert (code, lines) == (-9, [])
    elif code == 0:
        assert lines == []
    else:
        (line,) = lines
        assert (code, line[:7]) == (6, "error: "), line
        assert "bug" not in line


@pytest.mark.fault("a system call of a run that fails or kills, for every call")
@pytest.mark.parametrize("call", sorted(CALLS.keys() - {"ftruncate"}))  # a run truncates only when it is resumed
def test_a_failed_call_leaves_a_checkpoint_that_verifies(text, memory, forks, tally, call):
    file, run = memory / "config.toml", memory / "run"
    file.write_text(to_toml(parse(settings(text, run, **OFTEN))))
    assert forks.run(memory, "train", "--config", str(file))[0] == 0, (memory / "err").read_text()
    whole, rows = last(run), metric_rows(run)
    assert len(rows) == 6
    worst = 0
    for failure in FAILURES:
        for number in numbers():
            shutil.rmtree(run)
            code = injected(forks, memory, call, failure, number, "train", "--config", str(file))
            if code is None:
                break
            check_error(memory, code, failure)
            steps = [step for step, path in list_checkpoints(str(run / "checkpoints")) if verifies(path)]
            reached = max((row["step"] for row in complete_rows(run)), default=0)
            assert reached - max(steps) <= 1, (failure, number, steps, reached)
            worst = max(worst, reached - max(steps))
            assert forks.run(memory, "train", "--config", str(file))[0] == 0, (memory / "err").read_text()
            assert (last(run), metric_rows(run)) == (whole, rows), (failure, number)
            assert [path.name for path in run.rglob(".*") if path.name != ".lock"] == []
            tally.add(worst=f"{worst} update repeated: the same bits")


@pytest.mark.fault("a system call of a resumed run that fails or kills, for every call")
@pytest.mark.parametrize("call", CALLS)
def test_a_failed_call_of_a_resumed_run_loses_nothing(text, memory, forks, tally, call):
    file, run, words = memory / "config.toml", memory / "run", ("train", "--config", str(memory / "config.toml"))
    file.write_text(to_toml(parse(settings(text, run, **OFTEN))))
    assert forks.run(memory, *words)[0] == 0, (memory / "err").read_text()
    shutil.copytree(run, memory / "before")
    more = (*words, "--more", "1")
    assert forks.run(memory, *more)[0] == 0, (memory / "err").read_text()
    whole, rows = last(run), metric_rows(run)
    for failure in FAILURES:
        for number in numbers():
            shutil.rmtree(run)
            shutil.copytree(memory / "before", run)
            code = injected(forks, memory, call, failure, number, *more)
            if code is None:
                break
            check_error(memory, code, failure)
            assert any(verifies(path) for _, path in list_checkpoints(str(run / "checkpoints"))), (failure, number)
            # Where the newest checkpoint cannot be read, the one before is taken: update 5 is no longer the last one of
            # a command, after which held-out data is evaluated.
            fell_back = "passed over: " in (memory / "out").read_text() or code == 6
            assert forks.run(memory, *more)[0] == 0, (memory / "err").read_text()
            assert last(run) == whole, (failure, number)
            assert [row["step"] for row in metric_rows(run)] == [row["step"] for row in rows], (failure, number)
            assert fell_back or metric_rows(run) == rows, (failure, number)
            assert [path.name for path in run.rglob(".*") if path.name != ".lock"] == []
            tally.add(worst="the update is repeated: the same bits")


def last(run):
    folder = run / "checkpoints" / (run / "checkpoints" / "latest").read_text().strip()
    return [(folder / name).read_bytes() for name in ("model.safetensors", "optimizer.safetensors")]


def verifies(path):
    try:
        return bool(verify_checkpoint(str(path)))
    except ValueError:
        return False


def complete_rows(run):
    """The rows that are whole: a kill may leave a part of the last one."""
    lines = (run / "metrics.jsonl").read_text().splitlines(keepends=True)
    return [json.loads(line) for line in lines if line.endswith("\n")]


@pytest.mark.fault("a system call of a preparation that fails or kills, for every call")
@pytest.mark.parametrize("call", CALLS)
def test_a_failed_call_leaves_no_data_that_is_not_whole(memory, forks, tally, call):
    (memory / "text").mkdir()
    for number in range(6):
        (memory / "text" / f"{number}.txt").write_text(f"document {number} " * 40)
    words = ["prepare", "text", "--out", "data", "--data.validation_fraction", "0.3"]
    assert forks.run(memory, *words)[0] == 0, (memory / "err").read_text()
    whole = files_of(memory / "data")
    for failure in FAILURES:
        for number in numbers():
            shutil.rmtree(memory / "data")
            code = injected(forks, memory, call, failure, number, *words)
            if code is None:
                break
            check_error(memory, code, failure)
            if (memory / "data").exists():
                assert files_of(memory / "data") == whole, (failure, number)
            elif failure != "signal=SIGKILL":
                assert [path.name for path in memory.glob(".data*")] == [], (failure, number)
            assert forks.run(memory, *words)[0] == 0, (memory / "err").read_text()
            assert files_of(memory / "data") == whole, (failure, number)
            assert [path.name for path in memory.glob(".data*")] == [], (failure, number)
            for part in ("train", "validation"):
                verify_shards(str(memory / "data" / part))
            tally.add(worst="begun again: the same bytes")


def files_of(folder):
    """The bytes of all shards and manifests."""
    names = {"MANIFEST.json", "manifest.json", "SHA256SUMS"}
    return {
        path.relative_to(folder): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.suffix == ".arrow" or path.name in names
    }
