"""Sizes larger than memory, from settings or from a checkpoint, are refused in one line with the megabytes needed."""

import hashlib
import json
import re
import subprocess
import sys

import pytest

from support import SMALL, text_data, train

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="limits of the address space are those of Linux")

LIMITED = """
import resource, runpy, sys
resource.setrlimit(resource.RLIMIT_AS, (6 << 30, 6 << 30))
sys.argv = sys.argv[1:]
runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
"""


def limited(*words, cwd):
    """Run a module in a process with at most 6 GiB of addresses."""
    return subprocess.run(
        [sys.executable, "-c", LIMITED, *words], capture_output=True, text=True, check=False, timeout=120, cwd=cwd
    )


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("memory")
    data = text_data(folder)
    words = ["--data", str(data.folder), *SMALL, "--train.steps", "2", "--run.folder", str(folder / "run")]
    assert train(*words) == 0
    return folder, str(data.folder)


@pytest.mark.parametrize(
    "size",
    [
        ("--model.d_model", "65536"),
        ("--model.head.dim", str(2**31)),
        ("--model.head.dim", str(2**63 - 1)),
        ("--model.n_layers", "4096", "--model.d_model", "4096"),
    ],
)
def test_a_model_larger_than_memory_is_one_line_with_its_megabytes(run, size):
    folder, data = run
    done = limited(
        "ssm_hpn.train", "--data", data, *SMALL, *size, "--train.steps", "1", "--run.folder", "none", cwd=folder
    )
    assert done.returncode == 2, done.stderr
    (line,) = done.stderr.splitlines()
    assert re.search(r"\d+ MB", line), line
    assert not (folder / "none").exists()


def signed(folder, state):
    """Write the state of a checkpoint, with digests that are right for it."""
    text = json.dumps(state)
    (folder / "state.json").write_text(text)
    manifest = json.loads((folder / "MANIFEST.json").read_text())
    manifest["files"]["state.json"] = {"bytes": len(text), "sha256": hashlib.sha256(text.encode()).hexdigest()}
    original = (folder / "MANIFEST.json").read_text()
    old = json.loads(original)["files"]["state.json"]
    new = original.replace(old["sha256"], manifest["files"]["state.json"]["sha256"])
    new = new.replace(f'"bytes": {old["bytes"]}', f'"bytes": {len(text)}')
    zeros = new.replace(manifest["digest"], "0" * 64)
    (folder / "MANIFEST.json").write_text(zeros.replace("0" * 64, hashlib.sha256(zeros.encode()).hexdigest(), 1))


@pytest.mark.parametrize(("key", "size"), [("d_model", 65536), ("n_layers", 2**40), ("head.dim", 2**63 - 1)])
def test_a_state_with_changed_sizes_and_correct_digests_is_refused_in_one_line(run, key, size, tmp_path):
    folder, _ = run
    (source,) = (folder / "run").glob("**/step-00000002")
    checkpoint = tmp_path / "step-00000002"
    checkpoint.mkdir()
    for file in source.iterdir():
        (checkpoint / file.name).write_bytes(file.read_bytes())
    state = json.loads((checkpoint / "state.json").read_text())
    place = state["model"]
    *parts, last = key.split(".")
    for part in parts:
        place = place[part]
    place[last] = size
    signed(checkpoint, state)
    done = limited("ssm_hpn", "generate", str(checkpoint), "--prompt", "def", cwd=tmp_path)
    assert done.returncode in {2, 4}, done.stderr
    (line,) = done.stderr.splitlines()
    assert "Traceback" not in line
    assert "verif" not in line


LITTLE_LEFT = """
import resource
import numpy as np
from ssm_hpn import Batch, Trainer
from ssm_hpn.errors import ConfigError, ShapeError

def model(vocab_size, d_model):
    settings = {"input": {"kind": "tokens", "vocab_size": vocab_size}, "d_model": d_model, "n_layers": 1}
    return Trainer({"model": settings | {"head": {"kind": "linear"}}, "train": {"threads": 1}})

def prototypes(classes, dim):
    settings = {"input": {"kind": "hidden"}, "d_model": 16, "n_layers": 1, "target": {"kind": "sequence_class"}}
    head = {"kind": "prototype", "n_classes": classes, "dim": dim, "prototypes": "random"}
    return Trainer({"model": settings | {"head": head}, "train": {"threads": 1}})

def leave(megabytes):
    pages = int(open("/proc/self/statm").read().split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + megabytes * 10**6,) * 2)

def tokens(*shape):
    return np.broadcast_to(np.zeros((), np.uint32), shape)

def refused(call, kind=ConfigError):
    try:
        call()
    except kind as error:
        print(error)
"""


def little_left(code):
    """What a process prints that runs this code."""
    done = subprocess.run(
        [sys.executable, "-c", LITTLE_LEFT + code], capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize(
    ("megabytes", "what", "code"),
    [
        (40803, "the states of a stream", "wide = model(8, 256); leave(3000); refused(lambda: wide.stream(2**20))"),
        (4021, "the scores of a stream", "many = model(50257, 16); leave(3000); refused(lambda: many.stream(20000))"),
        (
            2148,
            "the scores of this batch",
            "many = model(65536, 16); leave(1500); refused(lambda: many.predict({'tokens': tokens(16, 512)}))",
        ),
        (
            68,
            "the hidden states of this batch",
            "w = model(8, 128); x = {'tokens': tokens(16, 8192)}; w.hidden(x); leave(50); refused(lambda: w.hidden(x))",
        ),
        (1639, "the first values of head.prototypes", "leave(2000); refused(lambda: prototypes(50000, 4096).session)"),
        (4398047, "a copy of tokens", "refused(lambda: Batch(tokens=tokens(2**20, 2**20)))"),
    ],
)
def test_arrays_of_a_callers_sizes_are_refused_in_one_line(megabytes, what, code):
    (line,) = little_left(code).splitlines()
    assert line.startswith("memory: expected no more than this process can have"), line
    assert f"found {megabytes} MB that {what} would take" in line


def test_many_rows_without_tokens_are_refused_as_such():
    none = "leave(3000); print(Batch(features=np.zeros((2**31, 1, 0), np.float32)).n_tokens)"
    assert little_left(none) == "0\n"
    empty = "leave(3000); empty = Batch(tokens=np.zeros((2**32 - 1, 0), np.uint32))\n"
    assert "positions" in little_left(empty + "refused(lambda: model(8, 16).predict(empty), ShapeError)")
