"""Rows of a table as columns of numpy, as they come or sorted by the core, on disk where they do not fit into memory.

A column of Arrow becomes

    numbers, dates and times    as they are; a double that is null is NaN
    keys of text or bytes       int32, which of `Rows.words` it is
    other texts                 int32, which of the texts of their column it is, -1 for none (`classes.has_no_label`)

Columns f0, f1, … of doubles are one field `f` [N, F], and values0, values1, … one field `values` [N, K].
"""

import itertools
import re
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from ssm_hpn._core import RowSorter, TextNumbers
from ssm_hpn.classes import has_no_label
from ssm_hpn.prepare import records
from ssm_hpn.prepare.cells import floats
from ssm_hpn.prepare.prefetch import prefetched
from ssm_hpn.prepare.records import Coded, TooManyTextsError

RUN_BYTES: Final = 20 << 20
"""Rows that are sorted in memory; three times as much is held."""
PIECES_BYTES: Final = 10 << 20
"""What is held of all runs together while they are merged."""
GROUPED: Final = re.compile("(f|[a-z_]{2,})([0-9]+)")
CELLS: Final = {"i": "signed", "u": "unsigned", "f": "float"}
"""What the core calls numbers by their kind in numpy."""
BytesOfTexts = tuple[NDArray[np.uint8], NDArray[np.int32]]
"""Texts one after the other, and where each of them begins and ends [N+1]."""


@dataclass(slots=True)
class Rows:
    """Some rows."""

    columns: dict[str, NDArray[Any]]
    """[N], or [N, F], by field."""
    words: dict[str, pa.Array]
    """Values of the keys that are text or bytes, by field."""
    labels: "dict[str, LabelDictionary]"
    """Of the other texts, by field."""

    def __len__(self) -> int:
        """Number of rows N."""
        return len(next(iter(self.columns.values())))

    def __contains__(self, name: str) -> bool:
        """Whether the rows have a field."""
        return name in self.columns

    def __getitem__(self, name: str) -> NDArray[Any]:
        """[N] or [N, F] values of a field."""
        return self.columns[name]

    def part(self, start: int, stop: int) -> "Rows":
        """Some of the rows, which are not copied."""
        return Rows({name: column[start:stop] for name, column in self.columns.items()}, self.words, self.labels)

    def values(self, name: str, at: Sequence[int] | NDArray[np.intp]) -> list[Any]:
        """Values of a key in some rows."""
        places = self.columns[name][at]
        return list((self.words[name].take(pa.array(places)) if name in self.words else places).tolist())

    def coded(self, name: str) -> Coded | None:
        """Texts that are no key, if the rows have the field."""
        return Coded(self[name], self.labels[name].texts) if name in self else None


def together(parts: Sequence[Rows]) -> Rows:
    """Rows one after the other, which have their words in common: a copy."""
    columns = {name: np.concatenate([part[name] for part in parts]) for name in parts[0].columns}
    return Rows(columns, parts[0].words, parts[0].labels)


def as_they_come(batches: Iterable[pa.RecordBatch]) -> Iterator[Rows]:
    """All rows of some batches of one schema, in their order."""
    schema: RowSchema | None = None
    for batch in batches:
        schema = schema or RowSchema(batch.schema)
        yield schema.rows(batch)


def in_order(
    batches: Iterable[pa.RecordBatch], keys: Sequence[str], size: int, work: Path | None = None
) -> Iterator[Rows]:
    """The rows of all batches by `keys`, the first of them first; at most `size` at once.

    Texts go by their length in bytes and then byte by byte, bytes byte by byte, numbers, dates and times by size. Rows
    that are equal in all keys stay in their order. No key is null or NaN. What does not fit into memory is written to a
    folder in `work`.

    >>> import pyarrow as pa
    >>> ids, n = pa.array(["b", "a10", "b"]), pa.array([1, 2, 3])
    >>> [rows] = in_order([pa.record_batch({"id": ids, "n": n})], ["id"], 100)
    >>> rows.values("id", [0, 1, 2]), rows["n"].tolist()
    (['b', 'b', 'a10'], [1, 3, 2])
    """
    with tempfile.TemporaryDirectory(prefix="ssm-hpn-", dir=work, ignore_cleanup_errors=True) as folder:
        schema: RowSchema | None = None
        sorter: RowSorter | None = None
        for batch in batches:
            if schema is None or sorter is None:
                schema = RowSchema(batch.schema, keys)
                sorter = schema.sorter(folder)
            sorter.add(schema.cells(batch))
        if schema is not None and sorter is not None:
            yield from prefetched(map(schema.sorted, iter(lambda: sorter.next(size), None)))


class LabelDictionary:
    """The texts of a column that is no key, numbered in the order they were met, as in a dictionary of Arrow."""

    def __init__(self) -> None:
        """Start without texts."""
        self.texts: list[str] = []
        self._numbers = TextNumbers()
        self._codes = np.empty(0, np.int32)
        """The number of each text, -1 for one that stands for a missing label."""

    def codes(self, column: pa.Array) -> NDArray[np.int32]:
        """Numbers of the texts of a column, -1 for none. Raises `TooManyTextsError`."""
        numbers = self._numbers.number(*_bytes_of_texts(column))
        first = len(self.texts)
        if len(self._numbers) > first:
            data, borders = self._numbers.texts(first)
            new = [data[a:b].tobytes().decode(errors="backslashreplace") for a, b in itertools.pairwise(borders)]
            self.texts += new
            fresh = [-1 if has_no_label(text) else first + k for k, text in enumerate(new)]
            self._codes = np.append(self._codes, np.array(fresh, np.int32))
        if len(self.texts) > records.MOST_CLASSES:
            raise TooManyTextsError
        codes = self._codes[numbers]
        return np.where(column.is_null(), np.int32(-1), codes) if column.null_count else codes


def _bytes_of_texts(column: pa.Array) -> BytesOfTexts:
    """The bytes of texts, and where each of them begins and ends in these [N+1]."""
    _, offsets, data = column.buffers()
    places = np.frombuffer(offsets, np.int32)[column.offset : column.offset + len(column) + 1]
    return np.frombuffer(data, np.uint8) if data is not None else np.empty(0, np.uint8), places


class RowSchema:
    """The fields of the rows of tables with one schema.

    >>> import pyarrow as pa
    >>> batch = pa.record_batch({"f0": [1.0, None], "f1": [3.0, 4.0], "label": ["x", ""]})
    >>> rows = RowSchema(batch.schema).rows(batch)
    >>> rows["f"].tolist(), rows["label"].tolist(), rows.coded("label").text(0)
    ([[1.0, 3.0], [nan, 4.0]], [0, -1], 'x')
    """

    def __init__(self, schema: pa.Schema, keys: Sequence[str] = ()) -> None:
        """Columns `keys` of text or bytes are told apart by their values, however many there are."""
        types = {name: schema.field(name).type for name in schema.names}
        self._keys = keys
        self._words = {name: _large(types[name]) for name in keys if _is_words(types[name])}
        self._labels = {name: LabelDictionary() for name in types if _is_words(types[name]) and name not in keys}
        self._fields: dict[str, list[str]] = {}
        """The columns of each field."""
        self._types: dict[str, np.dtype[Any]] = {}
        """Of the cells of each field."""
        for name, kind in types.items():
            group = GROUPED.fullmatch(name)
            field = group[1] if group else name
            self._fields.setdefault(field, []).append(name)
            self._types[field] = np.dtype("f8" if group else "i4" if _is_words(kind) else _number_type(kind))

    def rows(self, batch: pa.RecordBatch) -> Rows:
        """The rows of a batch in their order, where no column is a key."""
        found = {}
        for field, names in self._fields.items():
            columns = [self._cells(name, batch.column(name)) for name in names]
            found[field] = np.stack(columns, axis=1) if GROUPED.fullmatch(names[0]) else columns[0]
        return Rows(found, {}, self._labels)

    def sorter(self, folder: str) -> RowSorter:
        """A sorter of such rows by the keys, with a folder for what does not fit into memory."""
        fields = []
        for field, names in self._fields.items():
            kind = CELLS.get(self._types[field].kind, "other")
            if field in self._words:
                kind = "text" if self._words[field] == pa.large_string() else "bytes"
            fields.append((kind, self._types[field].itemsize, len(names)))
        places = [[*self._fields].index(key) for key in self._keys]
        return RowSorter(folder, fields, places, run_bytes=RUN_BYTES, pieces_bytes=PIECES_BYTES)

    def cells(self, batch: pa.RecordBatch) -> list[NDArray[np.uint8] | BytesOfTexts]:
        """The columns of a batch as the sorter takes them."""
        found: list[NDArray[np.uint8] | BytesOfTexts] = []
        for field, names in self._fields.items():
            for name in names:
                column = batch.column(name)
                if field in self._words:
                    found.append(_bytes_of_texts(column))
                else:
                    cells = self._cells(name, column).astype(self._types[field], copy=False)
                    found.append(np.ascontiguousarray(cells).view(np.uint8))
        return found

    def sorted(self, found: list[Any]) -> Rows:
        """Rows as the sorter gives them."""
        columns, words = {}, {}
        for (field, names), values in zip(self._fields.items(), found, strict=True):
            if field in self._words:
                columns[field], data, borders = values
                buffers = [None, pa.py_buffer(borders), pa.py_buffer(data)]
                words[field] = pa.Array.from_buffers(self._words[field], len(borders) - 1, buffers)
            else:
                column = values.view(self._types[field])
                columns[field] = column.reshape(-1, len(names)) if GROUPED.fullmatch(names[0]) else column
        return Rows(columns, words, self._labels)

    def _cells(self, name: str, column: pa.Array) -> NDArray[Any]:
        """A column that is no key of text or bytes."""
        if name in self._labels:
            try:
                return self._labels[name].codes(column)
            except TooManyTextsError:
                raise TooManyTextsError(name) from None
        column = as_numbers(column)
        return floats(column) if column.null_count else np.asarray(column.to_numpy(zero_copy_only=False))


def as_numbers(column: pa.Array) -> pa.Array:
    """Dates and times as the numbers by which Arrow holds them."""
    if not pa.types.is_temporal(column.type):
        return column
    return column.view(pa.int32() if column.type.bit_width == 32 else pa.int64())


def _large(kind: pa.DataType) -> pa.DataType:
    return pa.large_string() if pa.types.is_string(kind) else pa.large_binary()


def _is_words(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_binary(kind))


def _number_type(kind: pa.DataType) -> Any:  # noqa: ANN401 - a type of numpy
    if pa.types.is_temporal(kind):
        return "i4" if kind.bit_width == 32 else "i8"
    return kind.to_pandas_dtype()
