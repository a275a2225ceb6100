"""The sort of rows on disk: the same order as Python's own, whatever fits into memory, in memory that is bounded."""

import os
import subprocess
import sys

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from ssm_hpn.errors import StorageError
from ssm_hpn.prepare import rows
from ssm_hpn.prepare.rows import in_order

TEXTS = st.one_of(st.text(st.characters(codec="utf-8"), max_size=3), st.text("ab", max_size=20))
VALUES: dict[str, SearchStrategy[object]] = {
    "text": TEXTS,
    "bytes": st.one_of(st.binary(max_size=2), st.text("ab\0", max_size=20).map(str.encode)),
    "whole": st.integers(-3, 3),
    "far": st.integers(-(2**63), 2**63 - 1),
    "unsigned": st.integers(0, 2**16 - 1),
    "double": st.sampled_from([-np.inf, -1.5, -0.0, 0.0, 1e-300, 2.0, 1e308]),
    "single": st.sampled_from([-np.inf, -1.5, 0.0, 2.0]),
    "time": st.integers(-5, 5),
}
TYPES = {
    "text": pa.string(),
    "bytes": pa.binary(),
    "whole": pa.int8(),
    "far": pa.int64(),
    "unsigned": pa.uint16(),
    "double": pa.float64(),
    "single": pa.float32(),
    "time": pa.date32(),
    "n": pa.int64(),
}
GROWN = """
import re, sys
import numpy as np
import pyarrow as pa
from ssm_hpn.prepare import rows

rows.RUN_BYTES, rows.PIECES_BYTES = 1 << 20, 1 << 19
rng = np.random.default_rng(0)
count, at_once = 800_000, 5000
numbered = {
    "as they come": lambda n: rng.integers(0, 300, at_once),
    "one": lambda n: 0 * n,
    "in order": lambda n: n // 700,
    "in falling order": lambda n: (count - n) // 700,
    "each its own": lambda n: rng.permutation(n),
}[sys.argv[1]]

def batches(count):
    for start in range(0, count, at_once):
        n = np.arange(start, start + at_once)
        text = pa.array([f"id{number}" for number in numbered(n).tolist()])
        yield pa.record_batch({"id": text, "k0": rng.random(at_once), "x": rng.random(at_once), "n": n})

def sort(count):
    last, found = (0, b"", -1.0, -1), 0
    for some in rows.in_order(batches(count), ["id", "k0"], 4096):
        for place in (0, len(some) - 1):
            name, k0, n = (some.values(field, [place])[0] for field in ("id", "k0", "n"))
            key = (len(name), name.encode(), k0, n)
            assert last <= key
            last = key
        found += len(some)
    assert found == count

def peak():
    with open("/proc/self/status") as status:
        return int(re.search("VmHWM:\\\\s*([0-9]+) kB", status.read())[1])

sort(100_000)
before = peak()
sort(count)
print(peak() - before)
"""


def key_of(value: object) -> object:
    """Texts by their length in bytes first."""
    return (len(value.encode()), value.encode()) if isinstance(value, str) else value


def batches_of(columns: dict[str, list[object]], at_once: int) -> list[pa.RecordBatch]:
    whole = pa.record_batch({name: pa.array(values, TYPES[name]) for name, values in columns.items()})
    return [whole.slice(start, at_once) for start in range(0, whole.num_rows, at_once)]


@settings(deadline=None)
@given(
    st.data(),
    st.lists(st.sampled_from(sorted(VALUES)), unique=True, min_size=0, max_size=3),
    st.integers(0, 60),
    st.integers(1, 20),
    st.sampled_from([1, 200, 1000, 1 << 20]),
    st.booleans(),
)
def test_rows_have_the_order_of_pythons_sort(data, keys, count, at_once, run_bytes, shuffled):
    columns = {name: data.draw(st.lists(VALUES[name], min_size=count, max_size=count)) for name in keys}
    columns["n"] = data.draw(st.permutations(range(count))) if shuffled else list(range(count))
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(rows, "RUN_BYTES", run_bytes)
        patched.setattr(rows, "PIECES_BYTES", run_bytes // 2)
        by = [*keys, "n"] if shuffled else keys
        found = list(in_order(batches_of(columns, at_once), by, 7))
    assert all(0 < len(some) <= 7 for some in found)
    rows_found = [
        row for some in found for row in zip(*(some.values(name, range(len(some))) for name in columns), strict=True)
    ]
    wanted = sorted(zip(*columns.values(), strict=True), key=lambda row: tuple(map(key_of, row)))
    assert rows_found == wanted


@pytest.mark.skipif(sys.platform != "linux", reason="the peak of memory in use is read as Linux tells it")
@pytest.mark.parametrize("ids", ["as they come", "one", "in order", "in falling order", "each its own"])
def test_memory_does_not_grow_with_the_rows(ids):
    """25 runs and more, of few and of many ids, in a process of its own: 26 MB of rows take a few runs of 1 MB."""
    done = subprocess.run([sys.executable, "-c", GROWN, ids], capture_output=True, text=True, check=True, timeout=120)
    assert int(done.stdout) < 4000, "kB"


def test_rows_that_are_not_on_disk_any_more_are_not_made_up(monkeypatch, tmp_path):
    monkeypatch.setattr(rows, "RUN_BYTES", 10_000)
    monkeypatch.setattr(rows, "PIECES_BYTES", 1000)
    batches = [
        pa.record_batch({"k0": np.arange(1000)[::-1], "n": np.arange(n, n + 1000)}) for n in range(0, 4000, 1000)
    ]
    sorted_rows = in_order(batches, ["k0"], 100, tmp_path)
    next(sorted_rows)
    [file] = tmp_path.glob("*/records")
    os.truncate(file, file.stat().st_size // 2)
    with pytest.raises(StorageError, match=r"records: cannot read rows again that were written to"):
        list(sorted_rows)


def test_rows_that_cannot_be_written_are_said(monkeypatch, tmp_path):
    monkeypatch.setattr(rows, "RUN_BYTES", 1000)

    def batches():
        for n in range(0, 4000, 1000):
            for folder in tmp_path.iterdir():
                folder.rmdir()
            yield pa.record_batch({"k0": np.arange(1000), "n": np.arange(n, n + 1000)})

    with pytest.raises(StorageError, match=r"records: cannot write: "):
        list(in_order(batches(), ["k0"], 100, tmp_path))


def test_a_text_in_the_file_of_a_run_may_be_longer_than_its_piece(monkeypatch):
    monkeypatch.setattr(rows, "RUN_BYTES", 1000)
    monkeypatch.setattr(rows, "PIECES_BYTES", 100)
    texts = [f"{n % 7}" * (n * 37 % 300) for n in range(200)]
    batches = batches_of({"text": texts, "n": list(range(200))}, 9)
    found = [text for some in in_order(batches, ["text"], 11) for text in some.values("text", range(len(some)))]
    assert found == sorted(texts, key=key_of)
