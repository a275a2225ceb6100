"""Rows much longer than usual are read, or refused in one line, in bounded memory; each in a process of its own."""

import json
import subprocess
import sys

import pytest

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="the peak of memory in use is read as Linux tells it"),
]

MEASURED = """
import re, sys
from ssm_hpn.cli.main import main
code = main(sys.argv[1:])
with open("/proc/self/status") as status:
    print("peak", re.search("VmHWM: *\\t* *([0-9]+) kB", status.read())[1])
sys.exit(code)
"""
LONG = 50_000_000
"""Bytes of the long cell or text."""
WHOLE = ["--data.validation_fraction", "0"]


def prepared(folder, file, *words):
    """Exit code, peak of memory in use in MB, and the error of a preparation in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-c", MEASURED, "prepare", str(file), "--out", str(folder / "out"), *words],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
        cwd=folder,
    )
    (peak,) = (line.split()[1] for line in done.stdout.splitlines() if line.startswith("peak "))
    return done.returncode, int(peak) / 1000, done.stderr


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """Peak in MB of preparing a few lines: the interpreter, the libraries and what they take on this processor."""
    folder = tmp_path_factory.mktemp("small")
    file = folder / "d.csv"
    file.write_text("id,text\n" + "".join(f"k{n},short text {n}\n" for n in range(40)))
    code, peak, errors = prepared(folder, file, "--data.columns.text", "text", *WHOLE)
    assert (code, errors) == (0, "")
    return peak


def text_bytes(folder):
    """Bytes of all documents of the training part."""
    contract = json.loads((folder / "out" / "train" / "manifest.json").read_text())["contract"]
    return sum(part["units"] for part in contract["parts"].values())


@pytest.mark.parametrize("end", [" ", "\n"])
def test_a_cell_of_50_mb_is_read(tmp_path, small, end):
    file = tmp_path / "d.csv"
    with file.open("w") as out:
        out.write("id,text\n")
        out.writelines(f"k{n},short text {n}\n" for n in range(40))
        out.write('k99,"' + f"a long text{end}" * (LONG // 12) + '"\n')
    size = file.stat().st_size
    code, peak, errors = prepared(tmp_path, file, "--data.columns.text", "text", *WHOLE)
    assert (code, errors) == (0, "")
    assert size - 2000 < text_bytes(tmp_path) < size
    assert peak - small < 600, f"{peak:.0f} MB, {small:.0f} MB of them for a small file"


def test_a_json_text_of_50_mb_is_read(tmp_path, small):
    file = tmp_path / "d.jsonl"
    with file.open("w") as out:
        out.writelines(json.dumps({"id": f"k{n}", "text": f"short text {n}"}) + "\n" for n in range(40))
        out.write(json.dumps({"id": "k99", "text": "a long text " * (LONG // 12)}) + "\n")
    size = file.stat().st_size
    code, peak, errors = prepared(tmp_path, file, "--data.columns.text", "text", *WHOLE)
    assert (code, errors) == (0, "")
    assert size - 4000 < text_bytes(tmp_path) < size
    assert peak - small < 600, f"{peak:.0f} MB, {small:.0f} MB of them for a small file"


@pytest.mark.parametrize(("features", "count", "most"), [("sensor_0000*", 10, 80), ("sensor_*", 15_000, 1500)])
def test_a_header_of_200_kb_is_read(tmp_path, small, features, count, most):
    header = ",".join(["id", *(f"sensor_{n:05}" for n in range(15_000))])
    assert len(header) > 190_000
    file = tmp_path / "d.csv"
    cells = ["1.5", "2.5", "3.5"] * 5000
    with file.open("w") as out:
        out.write(header + "\n")
        out.writelines(",".join([f"k{n // 4}", *cells[n % 3 :], *cells[: n % 3]]) + "\n" for n in range(48))
    words = ["--data.columns.id", "id", "--data.columns.features", features, *WHOLE]
    code, peak, errors = prepared(tmp_path, file, *words)
    assert (code, errors) == (0, "")
    manifest = json.loads((tmp_path / "out" / "train" / "manifest.json").read_text())
    assert manifest["n_features"] == count
    assert peak - small < most, f"{peak:.0f} MB, {small:.0f} MB of them for a small file"


@pytest.mark.parametrize("suffix", ["csv", "jsonl"])
def test_a_row_beyond_the_longest_that_is_read_is_refused_in_one_line(tmp_path, small, suffix):
    file = tmp_path / f"d.{suffix}"
    with file.open("w") as out:
        out.write("id,text\n" if suffix == "csv" else "")
        start, end = ('k1,"', '"\n') if suffix == "csv" else ('{"id": "k1", "text": "', '"}\n')
        out.write(start)
        for _ in range(30):
            out.write("a long text " * 1_000_000)
        out.write(end)
    code, peak, errors = prepared(tmp_path, file, "--data.columns.text", "text")
    assert code == 3
    (line,) = errors.splitlines()
    assert "expected a line that fits in memory, found one of 360 MB; " in line
    assert peak - small < 80, f"{peak:.0f} MB, {small:.0f} MB of them for a small file"
