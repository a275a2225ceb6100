"""Rows of a table as records of one size, which are sorted, written and read without a look at what is in them.

A record has a field for every column of an Arrow table:

    numbers, dates and times    as they are; a double that is null is NaN
    keys of text or bytes       int32, which of `Rows.words` it is
    other texts                 int32, which of the texts of their column it is, -1 for none (`classes.has_no_label`)

Columns f0, f1, … of doubles are one field `f` [F], and values0, values1, … one field `values` [K].
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from ssm_hpn.prepare.cells import coded, floats
from ssm_hpn.prepare.records import Coded, Texts, TooManyTextsError

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
    texts: dict[str, Texts]
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
        return Rows(self.records[start:stop], self.words, self.texts)

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
        return Coded(self[name], self.texts[name].texts) if name in self else None


def together(parts: Sequence[Rows]) -> Rows:
    """Rows one after the other, which have their words in common: a copy."""
    records = np.empty(sum(map(len, parts)), parts[0].records.dtype)
    at = 0
    for part in parts:  # as bytes: numpy copies fields one by one
        records[at : at + len(part)].view(np.uint8)[:] = part.records.view(np.uint8)
        at += len(part)
    return Rows(records, parts[0].words, parts[0].texts)


class Packing:
    """The records of tables with one schema.

    >>> import pyarrow as pa
    >>> batch = pa.record_batch({"id": ["b", "b"], "f0": [1.0, None], "f1": [3.0, 4.0], "label": ["x", ""]})
    >>> rows = Packing(batch.schema, ["id"]).rows(batch)
    >>> rows["f"].tolist(), rows["label"].tolist(), rows.values("id", [0])
    ([[1.0, 3.0], [nan, 4.0]], [0, -1], ['b'])
    """

    def __init__(self, schema: pa.Schema, keys: Sequence[str] = ()) -> None:
        """Columns `keys` of text or bytes are told apart by their values, however many there are."""
        columns = {name: schema.field(name).type for name in schema.names}
        worded = [name for name, kind in columns.items() if _is_words(kind)]
        self.worded = [name for name in keys if name in worded]
        self.texts = {name: Texts() for name in worded if name not in keys}
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

    def pack(self, batch: pa.RecordBatch, out: Records) -> Words:
        """Fill records but for the keys of text or bytes, which are returned."""
        for name in out.dtype.names or ():
            if name in self._groups:
                for k, member in enumerate(self._groups[name]):
                    out[name][:, k] = floats(batch.column(member))
            elif name in self.texts:
                try:
                    out[name] = self.texts[name].codes(coded(batch.column(name)))
                except TooManyTextsError:
                    raise TooManyTextsError(name) from None
            elif name not in self.worded:
                column = as_numbers(batch.column(name))
                out[name] = floats(column) if column.null_count else column.to_numpy(zero_copy_only=False)
        return {name: batch.column(name) for name in self.worded}

    def rows(self, batch: pa.RecordBatch) -> Rows:
        """The rows of a batch, in their order."""
        records = np.empty(batch.num_rows, self.dtype)
        words = self.pack(batch, records)
        for name in words:
            records[name] = np.arange(len(records))
        return Rows(records, words, self.texts)


def as_they_come(batches: Iterable[pa.RecordBatch]) -> Iterator[Rows]:
    """All rows of some batches of one schema, in their order."""
    packing: Packing | None = None
    for batch in batches:
        packing = packing or Packing(batch.schema)
        yield packing.rows(batch)


def as_numbers(column: pa.Array) -> pa.Array:
    """Dates and times as the numbers by which Arrow holds them."""
    if not pa.types.is_temporal(column.type):
        return column
    return column.view(pa.int32() if column.type.bit_width == 32 else pa.int64())


def _is_words(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_binary(kind))


def _number_type(kind: pa.DataType) -> Any:  # noqa: ANN401 - a type of numpy
    if pa.types.is_temporal(kind):
        return "i4" if kind.bit_width == 32 else "i8"
    return kind.to_pandas_dtype()
