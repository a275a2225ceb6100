"""Rows sorted by some of their columns, on disk where they do not fit into memory.

Rows are collected as records (`rows.py`) to `RUN_BYTES`, sorted and written to a file as a *run*, while more are read.
Then runs are merged: of each a piece is in memory, and the rows up to the smallest of the last keys of the pieces come
next, as no row that is still on disk goes before them; then the pieces are filled again. A table that fits into one
run is never written. Memory holds three runs at most, and pieces of `PIECES_BYTES` in all.

Texts go by their length in bytes and then byte by byte, bytes byte by byte, numbers, dates and times by size. Rows
that are equal in all keys stay in the order of their numbers `n`, which no two have in common.

Keys of text or bytes are replaced by their ranks while rows are sorted. Their values, the *words*, are stored beside
the records in the order of the rows, one for all rows that follow each other with the same.
"""

import itertools
import os
import tempfile
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Final, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from ssm_hpn._core import TextNumbers
from ssm_hpn.counts import counted
from ssm_hpn.prepare.prefetch import prefetched
from ssm_hpn.prepare.rows import LabelDictionary, RecordPacker, Records, Rows, together

RUN_BYTES: Final = 20 << 20
PIECES_BYTES: Final = 10 << 20
"""Size of the pieces of all runs together."""

Key = tuple[Any, ...]
"""Values of the keys of one row."""


def in_order(
    batches: Iterable[pa.RecordBatch], keys: Sequence[str], size: int, work: Path | None = None
) -> Iterator[Rows]:
    """The rows of all batches by `keys`, the first of them first; at most `size` at once.

    The numbers `n` rise from row to row, or are the last of the keys. No key is null or NaN. What does not fit into
    memory is written to a folder in `work`.

    >>> import pyarrow as pa
    >>> ids, n = pa.array(["b", "a10", "b"]), pa.array([1, 2, 3])
    >>> [rows] = in_order([pa.record_batch({"id": ids, "n": n})], ["id"], 100)
    >>> rows.values("id", [0, 1, 2]), rows["n"].tolist()
    (['b', 'b', 'a10'], [1, 3, 2])
    """
    with (
        tempfile.TemporaryDirectory(prefix="ssm-hpn-", dir=work, ignore_cleanup_errors=True) as folder,
        _Runs(Path(folder), keys) as runs,
        ThreadPoolExecutor(max_workers=1) as thread,
    ):
        sorting: Future[_Held] | None = None
        spare: list[Records] = []
        held: _Held | None = None
        for held in _collected(batches, keys, spare):
            if sorting is not None:
                spare.append(sorting.result().records)
            if held.full:
                sorting = thread.submit(runs.add, held)
            elif sorting is not None:
                runs.add(held)
            else:
                yield from held.sorted(keys).parts(size)
        if sorting is not None:
            sorting.result()
        held = sorting = None  # the memory of their rows is needed for the pieces
        spare.clear()
        for rows in prefetched(runs.merged()):
            yield from rows.parts(size)


# ---- in memory


@dataclass(slots=True)
class _Held:
    """Rows as they came; keys of text or bytes are numbered in the order they were met."""

    packer: RecordPacker
    records: Records
    numbers: dict[str, TextNumbers]
    """Of the keys of text or bytes, by field."""
    rows: int = 0
    """How many of the records are filled."""
    words_bytes: int = 0
    """Bytes of the keys of text or bytes so far, each counted as often as it came."""

    @property
    def full(self) -> bool:
        """Whether no row is to be added."""
        return self.rows == len(self.records) or self.words_bytes >= RUN_BYTES

    def add(self, batch: pa.RecordBatch) -> int:
        """Take in the first rows of a batch, as many as there is room for; returns how many."""
        count: int = min(batch.num_rows, len(self.records) - self.rows)
        taken = batch.slice(0, count)
        self.packer.pack(taken, self.records[self.rows : self.rows + count], self.numbers)
        self.words_bytes += sum(taken.column(name).nbytes for name in self.numbers)
        self.rows += count
        return count

    def sorted(self, keys: Sequence[str], out: Records | None = None) -> Rows:
        """All rows in their order, in `out` where that is given and they were not; their words are given up."""
        records, words = self.records[: self.rows], self.packer.words(self.numbers)
        self.numbers.clear()
        for name, different in words.items():
            words[name], ranks = _ranked(different)
            records[name] = ranks[records[name]]
        return Rows(_taken(records, _order(records, keys), out), words, self.packer.labels)


def _collected(batches: Iterable[pa.RecordBatch], keys: Sequence[str], spare: list[Records]) -> Iterator[_Held]:
    """All rows of some batches of one schema, a run at a time; the last may not be full. `spare` is used again."""
    held: _Held | None = None
    packer: RecordPacker | None = None
    for batch in batches:
        packer = packer or RecordPacker(batch.schema, keys)
        start = 0
        while start < batch.num_rows:
            if held is None:
                rows = max(1, RUN_BYTES // packer.dtype.itemsize)
                records = spare.pop() if spare else np.empty(rows, packer.dtype)
                held = _Held(packer, records, packer.new_words())
            start += held.add(batch.slice(start))
            if held.full:
                yield held
                held = None
    if held is not None:
        yield held


def _ranked(words: pa.Array) -> tuple[pa.Array, NDArray[np.int32]]:
    """Different words in their order, and the place of each in it."""
    by = {"length": pc.binary_length(words)} if pa.types.is_large_string(words.type) else {}
    order = pc.sort_indices(pa.table(by | {"word": words}), [(name, "ascending") for name in (*by, "word")])
    ranks = np.empty(len(words), np.int32)
    ranks[order.to_numpy()] = np.arange(len(words), dtype=np.int32)
    return words.take(order), ranks


def _order(records: Records, keys: Sequence[str]) -> NDArray[np.intp] | None:
    """Where the rows come from, one after the other; None where they are in order. Equal rows keep theirs."""
    order = _sorted_by(records, keys[:1], None)
    return order if _in_order(records, keys, order) else _sorted_by(records, keys, None)


def _sorted_by(records: Records, keys: Sequence[str], order: NDArray[np.intp] | None) -> NDArray[np.intp] | None:
    """Sorted by one key after the other, the last one first, each time keeping the order of equal rows."""
    for name in reversed(keys):
        values = _small(records[name])
        values = values if order is None else values[order]
        if (values[1:] < values[:-1]).any():
            step = np.argsort(values, kind="stable")
            order = step if order is None else order[step]
    return order


def _in_order(records: Records, keys: Sequence[str], order: NDArray[np.intp] | None) -> bool:
    """Whether rows that are sorted by the first key are in the order of all."""
    equal = np.ones(max(0, len(records) - 1), bool)
    for place, name in enumerate(keys):
        values = records[name] if order is None else records[name][order]
        if place and (equal & (values[1:] < values[:-1])).any():
            return False
        if name != keys[-1]:
            equal &= values[1:] == values[:-1]
    return True


def _small(values: NDArray[Any]) -> NDArray[Any]:
    """Whole numbers in 16 bits where they fit: numpy sorts these by counting."""
    if values.dtype.kind not in "iu" or not len(values):
        return np.ascontiguousarray(values)
    least, most = values.min(), values.max()
    return (values - least).astype(np.uint16) if int(most) - int(least) < 1 << 16 else np.ascontiguousarray(values)


def _taken(records: Records, order: NDArray[np.intp] | None, out: Records | None = None) -> Records:
    if order is None:
        return records
    return records.take(order) if out is None else records.take(order, out=out[: len(order)], mode="clip")


# ---- on disk


class _Runs:
    """Sorted rows in files: all records, and of every key of text or bytes the words and where they end."""

    def __init__(self, folder: Path, keys: Sequence[str]) -> None:
        self._folder, self._keys = folder, keys
        self._files: dict[str, BinaryIO] = {}
        self._ends: dict[str, int] = {}
        """Bytes of words so far."""
        self._borders: list[tuple[int, dict[str, int]]] = [(0, {})]
        """Where each run begins, in rows and in words; the last one is the end of all."""
        self._like: Rows | None = None
        """Rows of the type of all."""
        self._sorted: Records | None = None
        """Memory for the rows of a run in their order."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for file in self._files.values():
            file.close()

    def add(self, held: _Held) -> _Held:
        """Sort and write rows; returns them, for their memory."""
        if self._sorted is None:
            self._sorted = np.empty_like(held.records)
        rows = held.sorted(self._keys, self._sorted)
        self._like = Rows(
            rows.records[:0].copy(), {name: one.slice(0, 0) for name, one in rows.words.items()}, rows.labels
        )
        before, words_before = self._borders[-1]
        words_after = {}
        for name, words in rows.words.items():
            places, first = _one_for_neighbours(rows.records[name])
            self._write_words(name, words.take(pa.array(rows.records[name][first])))
            rows.records[name] = places
            words_after[name] = words_before.get(name, 0) + len(first)
        self._file("records").write(rows.records.view(np.uint8).data)
        self._borders.append((before + len(rows), words_after))
        pa.default_memory_pool().release_unused()
        return held

    def _file(self, name: str) -> BinaryIO:
        if name not in self._files:
            self._files[name] = (self._folder / name).open("w+b")
        return self._files[name]

    def _write_words(self, name: str, words: pa.Array) -> None:
        _, offsets, data = words.buffers()
        ends = np.frombuffer(offsets, np.int64)[: len(words) + 1]
        if name not in self._ends:
            self._ends[name] = 0
            self._file(f"{name}.ends").write(ends[:1].data)
        self._file(f"{name}.ends").write((ends[1:] + self._ends[name]).data)
        self._ends[name] += int(ends[-1])
        if data is not None:
            self._file(name).write(memoryview(data)[: ends[-1]])

    # ---- reading

    def merged(self) -> Iterator[Rows]:
        """All rows in their order, many at once."""
        for file in self._files.values():
            file.flush()
        self._sorted = None
        if self._like is None:
            return
        piece = max(1, PIECES_BYTES // self._like.records.dtype.itemsize // (len(self._borders) - 1))
        runs = [
            _Run(self, start, end, {name: words.get(name, 0) for name in self._like.words}, piece)
            for (start, words), (end, _) in itertools.pairwise(self._borders)
        ]
        while runs := [run for run in runs if run.fill()]:
            bound = min((run.last for run in runs if run.more), default=None)
            yield self._merged([rows for run in runs if (rows := run.up_to(bound)) is not None])

    def records(self, start: int, stop: int) -> Records:
        """Rows `start` to `stop`; their words are counted from the first one of their run."""
        dtype = self._like.records.dtype if self._like is not None else np.dtype("V1")
        return self._read("records", start, stop - start, dtype)

    def words(self, name: str, start: int, stop: int) -> pa.Array:
        """Words `start` to `stop` of a key."""
        ends = self._read(f"{name}.ends", start, stop - start + 1, np.dtype(np.int64))
        data = self._read(name, int(ends[0]), int(ends[-1] - ends[0]), np.dtype(np.uint8))
        buffers = [None, pa.py_buffer(ends - ends[0]), pa.py_buffer(data)]
        kind = pa.large_binary() if self._like is None else self._like.words[name].type
        return pa.Array.from_buffers(kind, stop - start, buffers)

    def _read(self, name: str, start: int, count: int, dtype: np.dtype[Any]) -> NDArray[Any]:
        values = np.empty(count, dtype)
        if values.nbytes:
            found = os.preadv(self._file(name).fileno(), [values.view(np.uint8).data], start * dtype.itemsize)
            if found != values.nbytes:
                written = counted(values.nbytes, "byte")
                raise OSError(f"{self._folder / name}: expected {written} as written, found {found}")
        return values

    @property
    def keys(self) -> tuple[str, ...]:
        """The keys, and the number that all rows differ in."""
        return (*self._keys, "n")

    @property
    def labels(self) -> dict[str, LabelDictionary]:
        """Of the texts that are no key."""
        return {} if self._like is None else self._like.labels

    def _merged(self, parts: list[Rows]) -> Rows:
        """The rows of several runs in their order."""
        rows = together(parts)
        records, words = rows.records, {}
        lengths = [len(part) for part in parts]
        for name in parts[0].words:
            borders = [(int(part.records[name][0]), int(part.records[name][-1]) + 1) for part in parts]
            there = [part.words[name].slice(a, b - a) for part, (a, b) in zip(parts, borders, strict=True)]
            encoded = pa.concat_arrays(there).dictionary_encode()
            words[name], ranks = _ranked(encoded.dictionary)
            # Word `a` of a part is the one with which its words begin here.
            begin = np.cumsum([0, *(b - a for a, b in borders[:-1])]) - [a for a, _ in borders]
            records[name] = ranks[encoded.indices.to_numpy()][records[name] + np.repeat(begin, lengths)]
        return Rows(_taken(records, _order(records, self._keys)), words, rows.labels)


@dataclass(slots=True)
class _Run:
    """Rows `next` to `end` of the files, which are sorted, and the piece before them that is in memory."""

    files: _Runs
    next: int
    end: int
    first_words: dict[str, int]
    """The first word of the run, by key."""
    rows: int
    """Rows of a piece, but for the last one."""
    piece: Rows | None = None
    left: dict[str, int] = field(default_factory=dict)
    """Words of the run before those of the piece, by key."""
    first: Key = ()
    last: Key = ()
    """Keys of the first and the last row of the piece."""

    @property
    def more(self) -> bool:
        """Whether there are rows behind the piece."""
        return self.next < self.end

    def fill(self) -> bool:
        """Read on until the piece is whole; whether there is any row."""
        there = 0 if self.piece is None else len(self.piece)
        if self.more and there < self.rows:
            self._read(min(self.end, self.next + self.rows - there))
        return self.piece is not None and len(self.piece) > 0

    def _read(self, stop: int) -> None:
        """Add the rows before `stop` to the piece."""
        new = self.files.records(self.next, stop)
        self.next = stop
        if self.piece is not None and len(self.piece):
            for name, left in self.left.items():
                self.piece.records[name] += left
            new = together([self.piece, Rows(new, {}, {})]).records
        words = {}
        for name, first in self.first_words.items():
            self.left[name] = int(new[name][0])
            words[name] = self.files.words(name, first + self.left[name], first + int(new[name][-1]) + 1)
            new[name] -= self.left[name]
        self.piece = Rows(new, words, self.files.labels)
        self.first, self.last = self._key(0), self._key(len(new) - 1)

    def _key(self, row: int) -> Key:
        piece = self.piece
        if piece is None:
            return ()
        record, words = piece.records[row], piece.words
        return tuple(
            _comparable(words[name][int(record[name])].as_py()) if name in words else record[name].item()
            for name in self.files.keys
        )

    def up_to(self, bound: Key | None) -> Rows | None:
        """Takes the rows of the piece up to a key, or all of them; None if there is none."""
        if self.piece is None or (bound is not None and bound < self.first):
            return None
        rows = len(self.piece)
        stop = rows if bound is None or self.last <= bound else bisect_right(range(rows), bound, key=self._key)
        taken, self.piece = self.piece.part(0, stop), self.piece.part(stop, rows)
        if stop < rows:
            self.first = self._key(0)
        return taken


def _comparable(word: str | bytes) -> Any:  # noqa: ANN401 - bytes, or a length with bytes
    return (len(word.encode()), word.encode()) if isinstance(word, str) else word


def _one_for_neighbours(ranks: NDArray[np.int32]) -> tuple[NDArray[np.int32], NDArray[np.intp]]:
    """Numbers that rise by one wherever the rank changes, and the rows where they do."""
    changes = np.concatenate([[True], ranks[1:] != ranks[:-1]])
    return np.cumsum(changes, dtype=np.int32) - 1, np.flatnonzero(changes)
