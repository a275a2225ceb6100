"""The sort of rows on disk: the same order as Python's own, whatever fits into memory, in memory that is bounded."""

import tracemalloc
from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from ssm_hpn.prepare import sorting
from ssm_hpn.prepare.sorting import in_order

POOL = pa.proxy_memory_pool(pa.default_memory_pool())  # arrays that were made with it must not outlive it
TEXTS = st.text(st.characters(codec="utf-8"), max_size=3)
VALUES: dict[str, SearchStrategy[object]] = {
    "text": TEXTS,
    "bytes": st.binary(max_size=2),
    "whole": st.integers(-3, 3),
    "double": st.sampled_from([-np.inf, -1.5, -0.0, 0.0, 1e-300, 2.0, 1e308]),
}


def key_of(value: object) -> object:
    """Texts by their length in bytes first."""
    return (len(value.encode()), value.encode()) if isinstance(value, str) else value


def batches_of(columns: dict[str, list[object]], at_once: int) -> list[pa.RecordBatch]:
    types = {"text": pa.string(), "bytes": pa.binary(), "whole": pa.int64(), "double": pa.float64(), "n": pa.int64()}
    whole = pa.record_batch({name: pa.array(values, types[name]) for name, values in columns.items()})
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
def test_rows_have_the_order_of_pythons_sort(data, keys, rows, at_once, run_bytes, shuffled):
    columns = {name: data.draw(st.lists(VALUES[name], min_size=rows, max_size=rows)) for name in keys}
    columns["n"] = data.draw(st.permutations(range(rows))) if shuffled else list(range(rows))
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(sorting, "RUN_BYTES", run_bytes)
        patched.setattr(sorting, "PIECES_BYTES", run_bytes // 2)
        by = [*keys, "n"] if shuffled else keys
        found = list(in_order(batches_of(columns, at_once), by, 7))
    assert all(0 < len(some) <= 7 for some in found)
    rows_found = [
        row for some in found for row in zip(*(some.values(name, range(len(some))) for name in columns), strict=True)
    ]
    wanted = sorted(zip(*columns.values(), strict=True), key=lambda row: tuple(map(key_of, row)))
    assert rows_found == wanted


@pytest.mark.parametrize("ids", ["as they come", "one", "in order", "in falling order", "each its own"])
def test_memory_does_not_grow_with_the_rows(monkeypatch, ids):
    """14 runs and more, of few and of many ids: what Arrow and numpy hold at once stays near a few runs."""
    run, rows, at_once = 1 << 20, 500_000, 5000
    monkeypatch.setattr(sorting, "RUN_BYTES", run)
    monkeypatch.setattr(sorting, "PIECES_BYTES", run // 2)
    rng = np.random.default_rng(0)
    order, at_most = sorting._order, [0]

    def in_memory() -> int:
        return POOL.bytes_allocated() + tracemalloc.get_traced_memory()[0] - start

    def watched(*args):
        at_most[0] = max(at_most[0], in_memory())
        return order(*args)

    monkeypatch.setattr(sorting, "_order", watched)

    def batches() -> Iterator[pa.RecordBatch]:
        for start in range(0, rows, at_once):
            n = np.arange(start, start + at_once)
            numbers = {
                "as they come": rng.integers(0, 300, at_once),
                "one": np.zeros(at_once, int),
                "in order": n // 700,
                "in falling order": (rows - n) // 700,
                "each its own": rng.permutation(n),
            }[ids]
            text = pa.array([f"id{number}" for number in numbers.tolist()])
            yield pa.record_batch({"id": text, "k0": rng.random(at_once), "x": rng.random(at_once), "n": n})

    before = pa.default_memory_pool()
    pa.set_memory_pool(POOL)
    tracemalloc.start()
    start = tracemalloc.get_traced_memory()[0]
    try:
        last, count, while_merged = (0, b"", -1.0, -1), 0, 0
        for batch in in_order(batches(), ["id", "k0"], 4096):
            for place in (0, len(batch) - 1):
                name, k0, n = (batch.values(field, [place])[0] for field in ("id", "k0", "n"))
                key = (len(name), name.encode(), k0, n)
                assert last <= key
                last = key
            count += len(batch)
            while_merged = max(while_merged, in_memory())
    finally:
        tracemalloc.stop()
        pa.set_memory_pool(before)
    assert count == rows
    assert 0 < at_most[0] < 6 * run
    assert 0 < while_merged < 2 * run  # the memory of rows that were collected is free again


def test_a_step_of_a_merge_takes_about_all_pieces(monkeypatch):
    """15 runs of 8 pieces each are merged in about 10 steps, and not in one for each piece."""
    monkeypatch.setattr(sorting, "RUN_BYTES", 100_000)
    monkeypatch.setattr(sorting, "PIECES_BYTES", 1 << 18)
    order, times = sorting._order, [0]

    def counted(*args):
        times[0] += 1
        return order(*args)

    monkeypatch.setattr(sorting, "_order", counted)
    rng = np.random.default_rng(0)
    batches = [
        pa.record_batch(
            {"k0": rng.random(1000), "x": rng.random(1000), "y": rng.random(1000), "n": np.arange(n, n + 1000)}
        )
        for n in range(0, 60_000, 1000)
    ]
    assert sum(len(rows) for rows in in_order(batches, ["k0"], 4096)) == 60_000
    runs = 60 // 4
    assert times[0] < runs + 30


def test_rows_that_are_not_on_disk_any_more_are_not_made_up(monkeypatch):
    monkeypatch.setattr(sorting, "RUN_BYTES", 10_000)
    read = sorting.os.preadv

    def shortened(file, buffers, offset):
        return read(file, [buffers[0][: len(buffers[0]) // 2]], offset)

    monkeypatch.setattr(sorting.os, "preadv", shortened)
    batches = [
        pa.record_batch({"k0": np.arange(1000)[::-1], "n": np.arange(n, n + 1000)}) for n in range(0, 4000, 1000)
    ]
    with pytest.raises(OSError, match=r"records: expected [\d,]+ bytes as written, found \d+"):
        list(in_order(batches, ["k0"], 100))
