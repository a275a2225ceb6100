"""Rows of a table before they are sorted: their keys and numbers; rows without a key are refused.

Their columns, by alias, are of one size for all rows: numbers, and texts that are keys or labels.

id        the id, where rows have one
k0, k1    what the order column says, by `Order.keys`
o         the first of them as a double, for a split by time
n         row in the file, as an editor counts it
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ssm_hpn.prepare.cells import missing_cells
from ssm_hpn.prepare.engine import Table
from ssm_hpn.prepare.labels import JOINED
from ssm_hpn.prepare.order import Order
from ssm_hpn.prepare.rows import Rows, in_order

COMPARED: Final = re.compile(
    "U?(TINY|SMALL|BIG)?INT(EGER)?|FLOAT|DOUBLE|DATE|TIME(_NS)?|TIMESTAMP(_S|_MS|_NS| WITH TIME ZONE)?"
)
"""Types whose values Arrow holds as numbers that go by size; of others the engine makes bytes that do."""


class _AlikeError(Exception):
    """There are order values that their first key does not tell apart."""


@dataclass
class Unsorted:
    """The rows of a query over columns by alias."""

    table: Table
    sql: str
    names: dict[str, str]
    """Columns of ids and of order values, by `id` and `o`, if rows are sorted by them."""
    order: Order | None
    joined: list[str]
    """Targets that come from a table of labels."""
    timed: bool = False
    """Whether `o` is wanted."""
    finer: bool = False
    """Whether all keys of the order are used, or the first one alone."""
    _missing: dict[str, tuple[int, int]] = field(default_factory=dict, init=False)
    """Rows without an id or an order value: how many, and the first."""

    def in_order(self, size: int, work: Path | None) -> Iterator[Rows]:
        """The rows by id, by order value and by their place in the file, at most `size` at once.

        Order values that may differ where their first keys are equal are met on the way. Then the table is read again
        with all keys.
        """
        try:
            yield from in_order(self._batches(size), self._keys, size, work)
        except _AlikeError:
            yield from replace(self, finer=True).in_order(size, work)

    @property
    def _keys(self) -> list[str]:
        count = 0 if self.order is None or "o" not in self.names else len(self.order.keys) if self.finer else 1
        return [*({"id"} & self.names.keys()), *(f"k{i}" for i in range(count)), *(["n"] if self.joined else [])]

    def _query(self) -> str:
        """The rows with their keys, with `alone` where the first key may not do, and with the targets of labels."""
        rows, left, made = f"({self.sql})", [], []
        order = self.order
        if order is not None and "o" in self.names:
            rows = f"(SELECT *, {order.keys[0]} AS k0 FROM {rows})"  # noqa: S608 - our own names, as below
            left.append("o")
            if self.timed:
                made.append(f"{order.number} AS o")
            kind = self.table.rows_of(f"DESCRIBE SELECT k0 FROM {rows}")[0][1]  # noqa: S608
            if not COMPARED.fullmatch(kind):
                left.append("k0")
                made.append("CASE WHEN k0 IS NOT NULL THEN create_sort_key(k0, 'ASC NULLS LAST') END AS k0")
            if self.finer:
                made += [f"create_sort_key({key}, 'ASC NULLS LAST') AS k{i}" for i, key in enumerate(order.keys) if i]
            elif len(order.keys) > 1:
                made.append(f"{order.alone} AS alone")
        if self.joined:  # the order of the rows is lost
            rows = f"(SELECT *, row_number() OVER () AS n FROM {rows}) LEFT JOIN {JOINED} ON id = key"  # noqa: S608
            left += ["key"] if "id" in self.names else ["key", "id"]
        there = f"* EXCLUDE ({', '.join(left)})" if left else "*"
        return f"SELECT {', '.join([there, *made])} FROM {rows}"  # noqa: S608

    def _batches(self, size: int) -> Iterator[pa.RecordBatch]:
        """All rows with their numbers. Raises for those that lack an id or an order value, after the last one."""
        row = first = 2 if self.table.source.format == "csv" else 1
        for batch in self.table.stream(self._query(), size, at_least=0):
            columns = {name: batch.column(name) for name in batch.schema.names}
            if "alone" in columns and pc.min(columns.pop("alone")).as_py() is False:
                raise _AlikeError
            n = columns.get("n")
            columns["n"] = pa.array(np.arange(row, row + len(batch))) if n is None else pc.add(n, first - 1)
            row += batch.num_rows
            self._look_for_missing(columns)
            if not self._missing:
                yield pa.RecordBatch.from_arrays([*columns.values()], names=[*columns])
        self._refuse_missing()

    def _look_for_missing(self, columns: dict[str, pa.Array]) -> None:
        for alias, key in (("id", "id"), ("o", "k0")):
            absent = columns[key].null_count if alias in self.names else 0
            if absent:
                first = pc.min(columns["n"].filter(pc.is_null(columns[key]))).as_py()
                count, before = self._missing.get(alias, (0, first))
                self._missing[alias] = count + absent, min(first, before)

    def _refuse_missing(self) -> None:
        source = self.table.source
        for alias, name in self.names.items():
            if alias not in self._missing:
                continue
            count, row = self._missing[alias]
            before = row - (2 if source.format == "csv" else 1)
            value = self.table.rows_of(f"SELECT CAST({alias} AS VARCHAR) FROM ({self.sql}) LIMIT 1 OFFSET {before}")  # noqa: S608
            kind = "an id" if alias == "id" or self.order is None else f"a {self.order.type}"
            raise missing_cells(source, row, name, kind, count, value[0][0])
