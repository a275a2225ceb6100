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
