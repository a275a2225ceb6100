"""Rows of a table as records of one size, which are sorted, written and read without a look at what is in them.

A record has a field for every column of an Arrow table:

    numbers, dates and times    as they are; a double that is null is NaN
    keys of text or bytes       int32, which of `Rows.words` it is
    other texts                 int32, which of the texts of their column it is, -1 for none (`classes.has_no_label`)

Columns f0, f1, … of doubles are one field `f` [F], and values0, values1, … one field `values` [K].
"""

import itertools
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from ssm_hpn._core import TextNumbers
from ssm_hpn.classes import has_no_label
from ssm_hpn.prepare import records
from ssm_hpn.prepare.cells import floats
from ssm_hpn.prepare.records import Coded, TooManyTextsError

Records = NDArray[Any]
"""[N] of a type with fields."""
Words = dict[str, pa.Array]
"""Values of the keys that are text or bytes, by field."""
GROUPED: Final = re.compile("(f|[a-z_]{2,})([0-9]+)")


@dataclass(slots=True)
class Rows:
    """Some rows."""

    records: Records
    words: Words
    labels: "dict[str, LabelDictionary]"
    """Of the other texts, by field."""

    def __len__(self) -> int:
        """Number of rows N."""
        return len(self.records)

    @property
    def names(self) -> tuple[str, ...]:
        """The fields."""
        return self.records.dtype.names or ()

    def __contains__(self, name: str) -> bool:
        """Whether the rows have a field."""
        return name in self.names

    def __getitem__(self, name: str) -> NDArray[Any]:
        """[N] or [N, F] values of a field."""
        return np.ascontiguousarray(self.records[name])

    def part(self, start: int, stop: int) -> "Rows":
        """Some of the rows, which are not copied."""
        return Rows(self.records[start:stop], self.words, self.labels)

    def parts(self, size: int) -> Iterator["Rows"]:
        """All rows, at most `size` at once."""
        for start in range(0, len(self), size):
            yield self.part(start, start + size)

    def values(self, name: str, at: Sequence[int] | NDArray[np.intp]) -> list[Any]:
        """Values of a key in some rows."""
        places = self.records[name][at]
        return list((self.words[name].take(pa.array(places)) if name in self.words else places).tolist())

    def get(self, name: str) -> NDArray[Any] | None:
        """[N] or [N, F] values of a field, if the rows have it."""
        return np.ascontiguousarray(self.records[name]) if name in self.names else None

    def coded(self, name: str) -> Coded | None:
        """Texts that are no key, if the rows have the field."""
        return Coded(self[name], self.labels[name].texts) if name in self else None


def together(parts: Sequence[Rows]) -> Rows:
    """Rows one after the other, which have their words in common: a copy."""
    records = np.empty(sum(map(len, parts)), parts[0].records.dtype)
    at = 0
    for part in parts:  # as bytes: numpy copies fields one by one
        records[at : at + len(part)].view(np.uint8)[:] = part.records.view(np.uint8)
        at += len(part)
    return Rows(records, parts[0].words, parts[0].labels)


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


def _bytes_of_texts(column: pa.Array) -> tuple[NDArray[np.uint8], NDArray[np.int32]]:
    """The bytes of texts, and where each of them begins and ends in these [N+1]."""
    _, offsets, data = column.buffers()
    places = np.frombuffer(offsets, np.int32)[column.offset : column.offset + len(column) + 1]
    return np.frombuffer(data, np.uint8) if data is not None else np.empty(0, np.uint8), places


class RecordPacker:
    """The records of tables with one schema.

    >>> import pyarrow as pa
    >>> batch = pa.record_batch({"id": ["b", "b"], "f0": [1.0, None], "f1": [3.0, 4.0], "label": ["x", ""]})
    >>> rows = RecordPacker(batch.schema, ["id"]).rows(batch)
    >>> rows["f"].tolist(), rows["label"].tolist(), rows.values("id", [0])
    ([[1.0, 3.0], [nan, 4.0]], [0, -1], ['b'])
    """

    def __init__(self, schema: pa.Schema, keys: Sequence[str] = ()) -> None:
        """Columns `keys` of text or bytes are told apart by their values, however many there are."""
        columns = {name: schema.field(name).type for name in schema.names}
        worded = [name for name, kind in columns.items() if _is_words(kind)]
        self.worded = {name: _large(columns[name]) for name in keys if name in worded}
        self.labels = {name: LabelDictionary() for name in worded if name not in keys}
        self._groups: dict[str, list[str]] = {}
        fields: dict[str, Any] = {}
        for name, kind in columns.items():
            group = GROUPED.fullmatch(name)
            if group:
                members = self._groups.setdefault(group[1], [])
                members.append(name)
                fields[group[1]] = ("f8", (len(members),))
            else:
                fields[name] = ("i4",) if name in worded else (_number_type(kind),)
        self.dtype = np.dtype([(name, *kind) for name, kind in fields.items()])

    def pack(self, batch: pa.RecordBatch, out: Records, words: dict[str, TextNumbers]) -> None:
        """Fill records; keys of text or bytes with the numbers that they have in `words`."""
        for name in out.dtype.names or ():
            if name in self._groups:
                for k, member in enumerate(self._groups[name]):
                    out[name][:, k] = floats(batch.column(member))
                continue
            column = batch.column(name)
            if name in self.worded:
                out[name] = words[name].number(*_bytes_of_texts(column))
            elif name in self.labels:
                out[name] = self._codes(name, column)
            else:
                column = as_numbers(column)
                out[name] = floats(column) if column.null_count else column.to_numpy(zero_copy_only=False)

    def _codes(self, name: str, column: pa.Array) -> NDArray[np.int32]:
        try:
            return self.labels[name].codes(column)
        except TooManyTextsError:
            raise TooManyTextsError(name) from None

    def new_words(self) -> dict[str, TextNumbers]:
        """Numbers for the keys of text or bytes, to start with."""
        return {name: TextNumbers() for name in self.worded}

    def words(self, numbers: dict[str, TextNumbers]) -> Words:
        """The texts or bytes behind numbers of keys."""
        found = {}
        for name, known in numbers.items():
            data, borders = known.texts(0)
            buffers = [None, pa.py_buffer(borders), pa.py_buffer(data)]
            found[name] = pa.Array.from_buffers(self.worded[name], len(known), buffers)
        return found

    def rows(self, batch: pa.RecordBatch) -> Rows:
        """The rows of a batch, in their order."""
        records, numbers = np.empty(batch.num_rows, self.dtype), self.new_words()
        self.pack(batch, records, numbers)
        return Rows(records, self.words(numbers), self.labels)


def as_they_come(batches: Iterable[pa.RecordBatch]) -> Iterator[Rows]:
    """All rows of some batches of one schema, in their order."""
    packer: RecordPacker | None = None
    for batch in batches:
        packer = packer or RecordPacker(batch.schema)
        yield packer.rows(batch)


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
