"""Rows sorted by some of their columns, on disk where they do not fit into memory.

Rows are collected to about `RUN_BYTES`, sorted and written to a file as a *run*, while more are read. Then runs are
merged: of each a piece is in memory, and the rows up to the smallest of the last keys of the pieces come next, as no
row that is still on disk goes before them; then the pieces are filled again. A table that fits into one run is never
written. Memory holds three runs at most and of each run `WRITTEN_ROWS`; the sort of the engine needs more the larger
the table is.

Texts go by their length in bytes and then byte by byte, bytes byte by byte, numbers, dates and times by size. Rows
that are equal in all keys stay in the order of their numbers `n`, which no two have in common.
"""

import itertools
import tempfile
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

RUN_BYTES: Final = 16 << 20
PIECES_BYTES: Final = 16 << 20
"""Size of the pieces of all runs together."""
WRITTEN_ROWS: Final = 512
"""Rows that are read again together, at least."""
TAKEN_ROWS: Final = 1 << 15

Key = tuple[Any, ...]
"""Values of the keys of one row."""


def in_order(
    batches: Iterable[pa.RecordBatch], keys: Sequence[str], size: int, work: Path | None = None
) -> Iterator[pa.RecordBatch]:
    """The rows of all batches by `keys`, the first of them first; at most `size` at once.

    The numbers `n` rise from row to row, or are the last of the keys. No key is null or NaN. What does not fit into
    memory is written to a folder in `work`.

    >>> import pyarrow as pa
    >>> ids, n = pa.array(["b", "a10", "b"]), pa.array([1, 2, 3])
    >>> rows = in_order([pa.record_batch({"id": ids, "n": n})], ["id"], 100)
    >>> [batch.to_pydict() for batch in rows]
    [{'id': ['b', 'b', 'a10'], 'n': [1, 3, 2]}]
    """
    with tempfile.TemporaryDirectory(prefix="ssm-hpn-", dir=work, ignore_cleanup_errors=True) as folder:
        runs = _Runs(Path(folder) / "runs.arrow", keys)
        held: list[pa.RecordBatch] = []
        with ThreadPoolExecutor(max_workers=1) as thread:
            sorting: Future[None] | None = None
            for batch in batches:
                held.append(batch)
                if sum(one.nbytes for one in held) < RUN_BYTES:
                    continue
                if sorting is not None:
                    sorting.result()
                sorting = thread.submit(runs.add, held)
                held = []
            if sorting is not None:
                sorting.result()
        if not runs.borders:
            yield from _sorted(held, keys, size)
            return
        runs.add(held)
        yield from runs.merged(size)


# ---- in memory


def _sorted(held: list[pa.RecordBatch], keys: Sequence[str], size: int) -> Iterator[pa.RecordBatch]:
    """All rows of some batches, `size` at a time; empties the list, so that they are not held twice."""
    if not held:
        return
    together = pa.Table.from_batches(held).combine_chunks().to_batches()
    held.clear()
    for rows in together:  # one, or none where there are no rows
        order = _order(rows, keys)
        for start in range(0, rows.num_rows, size):
            yield rows.slice(start, size) if order is None else rows.take(pa.array(order[start : start + size]))


def _order(rows: pa.RecordBatch, keys: Sequence[str]) -> NDArray[np.intp] | None:
    """Where the rows come from, one after the other; None where they are in order.

    Sorted by one key after the other, the last one first, each time keeping the order of equal rows.
    """
    order: NDArray[np.intp] | None = None
    for name in reversed(keys):
        values = _comparable(rows.column(name))
        values = values if order is None else values[order]
        if (values[1:] < values[:-1]).any():
            step = np.argsort(values, kind="stable")
            order = step if order is None else order[step]
    return order


def _comparable(column: pa.Array) -> NDArray[Any]:
    """Numbers that are in the order of the values of a column."""
    text = pa.types.is_string(column.type)
    if not (text or pa.types.is_binary(column.type)):
        return np.asarray(column.to_numpy(zero_copy_only=False))
    encoded = column.dictionary_encode()
    words = encoded.dictionary
    by = {"length": pc.binary_length(words)} if text else {}
    order = pc.sort_indices(pa.table(by | {"word": words}), [(name, "ascending") for name in (*by, "word")])
    # numpy sorts numbers of 16 bits by counting
    ranks = np.empty(len(words), np.uint16 if len(words) <= 1 << 16 else np.uint32)
    ranks[order.to_numpy()] = np.arange(len(words))
    return np.asarray(ranks[encoded.indices.to_numpy()])


# ---- merging


@dataclass(slots=True)
class _Run:
    """A sorted part of the file, batches `next` to `end`, and the piece of it that is in memory."""

    reader: pa.RecordBatchFileReader
    keys: Sequence[str]
    next: int
    end: int
    rows: int
    """Least rows of a piece, except for the last one."""
    piece: pa.RecordBatch | None = None
    first: Key = ()
    last: Key = ()
    """Keys of the first and the last row of the piece."""

    @property
    def more(self) -> bool:
        """Whether there are rows behind the piece."""
        return self.next < self.end

    def fill(self) -> bool:
        """Read on until the piece is whole; whether there is any row."""
        there = 0 if self.piece is None else self.piece.num_rows
        batches = [] if self.piece is None or not there else [self.piece]
        while self.more and there < self.rows:
            batches.append(self.reader.get_batch(self.next))
            there += batches[-1].num_rows
            self.next += 1
        if there and batches[-1] is not self.piece:
            self.piece = pa.Table.from_batches(batches).combine_chunks().to_batches()[0]
            self.first, self.last = self._key(0), self._key(there - 1)
        return there > 0

    def _key(self, row: int) -> Key:
        return tuple(_value(self.piece.column(name)[row]) for name in (*self.keys, "n")) if self.piece else ()

    def up_to(self, bound: Key | None) -> pa.RecordBatch | None:
        """Takes the rows of the piece up to a key, or all of them; None if there is none."""
        if self.piece is None or (bound is not None and bound < self.first):
            return None
        rows = self.piece.num_rows
        stop = rows if bound is None or self.last <= bound else bisect_right(range(rows), bound, key=self._key)
        taken, self.piece = self.piece.slice(0, stop), self.piece.slice(stop)
        if stop < rows:
            self.first = self._key(0)
        return taken


def _value(scalar: Any) -> Any:  # noqa: ANN401 - a number, bytes, or a length with bytes
    value = scalar.as_py()
    return (len(value.encode()), value.encode()) if isinstance(value, str) else value


@dataclass(slots=True)
class _Runs:
    """Sorted parts of the rows in one file."""

    path: Path
    keys: Sequence[str]
    borders: list[int] = field(default_factory=list)
    """Run i ends before batch `borders[i]`."""
    _written: int = 0
    _writer: pa.RecordBatchFileWriter | None = None

    def add(self, held: list[pa.RecordBatch]) -> None:
        """Sort and write rows; empties the list."""
        for rows in _sorted(held, self.keys, TAKEN_ROWS):
            self._writer = self._writer or pa.ipc.new_file(str(self.path), rows.schema)
            for start in range(0, rows.num_rows, WRITTEN_ROWS):
                self._writer.write_batch(rows.slice(start, WRITTEN_ROWS))
                self._written += 1
        self.borders.append(self._written)
        pa.default_memory_pool().release_unused()

    def merged(self, size: int) -> Iterator[pa.RecordBatch]:
        """All rows, at most `size` at once."""
        if self._writer is not None:
            self._writer.close()
        with pa.OSFile(str(self.path), "rb") as file, pa.ipc.open_file(file) as reader:
            parts = [(start, end) for start, end in itertools.pairwise([0, *self.borders]) if start < end]
            batch = reader.get_batch(0)
            piece_rows = PIECES_BYTES * batch.num_rows // max(1, batch.nbytes) // len(parts)
            runs = [_Run(reader, self.keys, start, end, max(1, piece_rows)) for start, end in parts]
            while runs := [run for run in runs if run.fill()]:
                bound = min((run.last for run in runs if run.more), default=None)
                taken = [rows for run in runs if (rows := run.up_to(bound)) is not None]
                yield from _sorted(taken, self.keys, size)
                pa.default_memory_pool().release_unused()
