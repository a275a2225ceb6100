"""Rows of a table as documents: a text, a list of ids or lists of numbers per row, or one time step per row.

Time steps with the same value in the id column form a document, in the order of the order column, and of the file
where that is equal. They are sorted on disk; memory holds some rows, and of a long document one piece.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from ssm_hpn.config.data import PrepareOptions
from ssm_hpn.counts import counted
from ssm_hpn.errors import DataError
from ssm_hpn.moments import out_of_range
from ssm_hpn.prepare.cells import (
    bytes_of,
    check_range,
    coded,
    flattened,
    hold_json,
    integers,
    list_lengths,
    mismatch,
    missing_cells,
    not_finite,
    too_many,
)
from ssm_hpn.prepare.doubts import Grouped
from ssm_hpn.prepare.engine import (
    MEANINGS,
    NESTED,
    Kind,
    Table,
)
from ssm_hpn.prepare.engine_errors import needs_more, no_number, number_advice, translated
from ssm_hpn.prepare.ids import IdsOfRows
from ssm_hpn.prepare.labels import note_own, open_labels
from ssm_hpn.prepare.order import Noticed, Order, order_of
from ssm_hpn.prepare.problems import data_error, shown
from ssm_hpn.prepare.queries import advised
from ssm_hpn.prepare.records import Coded, Documents, Floats, Ints, TooManyTextsError, within
from ssm_hpn.prepare.roles import Reading, check_columns, is_list, opened
from ssm_hpn.prepare.rows import Rows, as_they_come, together
from ssm_hpn.prepare.source import Source, line_of
from ssm_hpn.prepare.target_columns import (
    Targets,
    fixed,
    kind_of,
    label_column,
    target_aliases,
    targets_of_cells,
    targets_of_rows,
)
from ssm_hpn.prepare.unsorted import Unsorted
from ssm_hpn.targets import COLUMNS

ROWS_AT_ONCE: Final = 1 << 15
CELLS_AT_ONCE: Final = 1 << 21
DOCUMENTS_AT_ONCE: Final = 2048
LARGEST_ID: Final = (1 << 32) - 1


def read_table(
    source: Source, options: PrepareOptions, reading: Reading, work: Path | None = None
) -> Iterator[Documents]:
    """Documents of one table. Columns are found by name; one that is missing is an error."""
    long_lines, flags = False, frozenset[str]()
    while True:
        begun = False
        with opened(source, options, work, long_lines=long_lines) as table:
            table.flags = flags
            check_columns(table, reading.columns, options, reading.split_column)
            try:
                query = _Query(table, options, reading, work)
            except duckdb.Error as error:  # while the kind of order is looked for
                query_text = table.select({"o": (str(reading.columns.order), "raw")})
                raise translated(source, error, table, query_text) from None
            try:
                for documents in query.documents():
                    begun = True
                    yield within(documents, options.max_document)
            except duckdb.Error as error:
                if not long_lines and needs_more(error, table) and not begun:
                    long_lines = True
                    continue
                if not begun and not flags and (flags := table.flags_after(error, query.numbers)):
                    continue
                raise query.complaint(error) from None
            reading.notes.add(*table.notes)
            for name, text in query.grouped.notes():
                reading.notes.add_of_file(source.name, f"thousands in {name}", text)
            for text in table.note_flags(query.numbers, target_aliases(reading.columns).values()):
                reading.notes.add_of_file(source.name, text, text)
            return


# ---- the query


@dataclass
class _Query:
    """One table, asked for the columns in use and sorted where documents need it."""

    table: Table
    options: PrepareOptions
    reading: Reading
    work: Path | None = None
    """Where copies of tables are kept."""
    sql: str = ""
    aliases: dict[str, tuple[str, Kind]] = field(default_factory=dict)
    order: Order | None = None

    def __post_init__(self) -> None:
        """Choose how every column is read."""
        columns, present = self.reading.columns, self.table.present
        joined = []
        if self.options.labels:
            joined = open_labels(self.options, columns, self.table.connection, self.work, self.reading.notes)
            named = target_aliases(columns)
            note_own(self.table, self.options, [named[alias] for alias in joined], self.reading.notes)
        lists = any(is_list(present[name]) for name in columns.features)
        self.steps = bool(columns.features) and not lists
        matrix = lists and len(columns.features) == 1 and present[columns.features[0]].count("[") > 1
        feature: Kind = "number" if self.steps else "matrix" if matrix else "numbers"
        one: list[tuple[str, str | None, Kind]] = [
            ("text", columns.text, "raw" if columns.text and present[columns.text] == "BLOB" else "text"),
            ("tokens", columns.tokens, "numbers"),
            ("id", columns.id, "id"),
            ("o", columns.order, "raw"),
            ("side", self.reading.split_column, "text"),
        ]
        self.aliases = {alias: (name, kind) for alias, name, kind in one if name}
        self.aliases |= {f"f{k}": (name, feature) for k, name in enumerate(columns.features)}
        for alias, name in target_aliases(columns).items():
            if alias not in joined:
                self.aliases[alias] = name, kind_of(alias, steps=self.steps)
        for name, kind in self.aliases.values():
            self.table.check_kind(name, kind)
        if columns.order:
            self.order = order_of(
                self.table, columns.order, self.options, self.reading.notes, self.reading.trained_order
            )
            self.reading.types[columns.order] = self.order.type
            if self.order.type not in ("number", self.reading.trained_order):
                self.reading.notes.add(f"order {columns.order!r} is read as {self.order.type}")
        self.joined = joined
        self.grouped = Grouped(self.table, self.numbers)
        self.sql = self.table.select(self.aliases)

    def in_order(self, size: int) -> Iterator[Rows]:
        """Rows that are time steps, at most `size` at once: those of a document together, in their order."""
        names = {key: name for key, (name, _) in self.aliases.items() if key in ("id", "o")}
        timed = self.options.split == "time"
        rows = Unsorted(self.table, self.sql, names, self.order, self.joined, timed).in_order(size, self.work)
        yield from self._rows(rows if names or self.joined else as_they_come(self._numbered(size)))

    def _rows(self, rows: Iterable[Rows]) -> Iterator[Rows]:
        """The same; none at all, and too many different labels, are refused."""
        there = False
        try:
            for some in rows:
                there = True
                yield some
        except TooManyTextsError as error:
            alias = str(error)
            raise too_many(self.table.source, self.name_of(alias), labels=alias != "side") from None
        if not there:
            raise _without_rows(self.table.source)

    def _numbered(self, size: int) -> Iterator[pa.RecordBatch]:
        """Rows as they come, with the row of the file that each is, `n`."""
        row = 2 if self.table.source.format == "csv" else 1
        for batch in self.table.stream(self.sql, size):
            n = pa.array(np.arange(row, row + batch.num_rows))
            yield pa.RecordBatch.from_arrays([*batch.columns, n], names=[*batch.schema.names, "n"])
            row += batch.num_rows

    def name_of(self, alias: str) -> str:
        """The column behind an alias, in the table or in that of the labels."""
        if alias in self.aliases:
            return self.aliases[alias][0]
        return target_aliases(self.reading.columns)[alias]

    def documents(self) -> Iterator[Documents]:
        """All documents, some at a time."""
        if self.steps:
            yield from _Steps(self).documents()
            return
        targets = _Targets(self._joined()) if self.joined else None
        there, ids = False, IdsOfRows()
        for batch in self._numbered(DOCUMENTS_AT_ONCE):
            if not there and "text" in batch.schema.names:
                self._note_records(batch.column("text"))
            there = True
            for documents in self._per_row(batch, targets.next(len(batch)) if targets else None):
                ids.see(documents.ids or [])
                yield documents
        if not there:
            raise _without_rows(self.table.source)
        for note in ids.notes(self._ids):
            self.reading.notes.add_of_file(self.table.source.name, note.lstrip("0123456789"), note)

    def _ids(self) -> Iterator[list[str]]:
        """The ids of all rows, in their order."""
        for batch in self.table.stream(self.table.select({"id": self.aliases["id"]}), DOCUMENTS_AT_ONCE):
            yield batch.column("id").to_pylist()

    def _joined(self) -> Iterator[Rows]:
        """The targets of documents that are rows, from the table of labels, in the order of the rows."""
        ids = self.table.select({"id": self.aliases["id"]})
        return self._rows(Unsorted(self.table, ids, {}, None, self.joined).in_order(DOCUMENTS_AT_ONCE, self.work))

    def _note_records(self, texts: pa.Array) -> None:
        """Note that a column of text holds records, by its type or by its first cells."""
        name = self.reading.columns.text or ""
        kind = self.table.present[name]
        noun = self.table.source.field(name)
        if kind == "JSON" and not hold_json(texts):
            self.reading.notes.add(f"{noun}: some of its values are no texts, and are read as they are written in JSON")
        elif is_list(kind) or kind.startswith(NESTED) or hold_json(texts):
            self.reading.notes.add(f"{noun}: its cells are JSON objects or arrays, which are read as their text")

    @property
    def numbers(self) -> tuple[str, ...]:
        """The columns that are read as numbers."""
        return tuple(name for name, kind in self.aliases.values() if kind == "number")

    def see_numbers(self, targets: Targets) -> None:
        """Look at the numbers to predict."""
        for name, values in targets.items():
            if not isinstance(values, Coded):
                self.grouped.see(getattr(self.reading.columns, name), values)

    def complaint(self, error: duckdb.Error) -> DataError:
        """The engine's error, with the row where a cell is no number."""
        source = self.table.source
        placed = "CSV Error" in str(error) or "in line" in str(error)
        if (isinstance(error, duckdb.ConversionException) or "Conversion Error" in str(error)) and not placed:
            for alias, (name, kind) in self.aliases.items():
                if kind not in ("number", "numbers", "matrix", "texts"):
                    continue
                raw = self.table.select({alias: (name, "raw"), "cell": (name, kind)}).replace("CAST(", "TRY_CAST(")
                lost = "cell IS NULL"
                if is_list(self.table.present[name]):  # whose elements are lost one by one
                    there = "list_count(flatten({}))" if kind == "matrix" else "list_count({})"
                    lost += f" OR {there.format('cell')} < {there.format(alias)}"
                bad = self.table.rows_of(
                    f"SELECT n, CAST({alias} AS VARCHAR) FROM (SELECT *, row_number() OVER () AS n FROM ({raw}))"  # noqa: S608
                    f" WHERE {alias} IS NOT NULL AND ({lost}) ORDER BY n LIMIT 1"
                )
                if bad and source.format == "csv" and kind == "number":
                    return no_number(self.table, name, line_of(source, bad[0][0] + 1), bad[0][1])
                if bad:
                    at = source.row(bad[0][0] + (source.format == "csv"))
                    advice = number_advice(bad[0][1], self.table.decimal) if kind == "number" else None
                    return mismatch(source, at, name, MEANINGS[kind], bad[0][1], advice)
        return translated(source, error, self.table, self.sql, self.numbers)

    # ---- a document per row

    def _per_row(self, batch: pa.RecordBatch, joined: Rows | None) -> Iterator[Documents]:
        source, used = self.table.source, self.reading.columns
        columns = {name: batch.column(name) for name in batch.schema.names}
        rows = integers(columns["n"])
        elements, offsets = self._content(columns, rows)
        lengths = np.diff(offsets)
        targets = targets_of_cells(columns, rows, lengths, source, used)
        self.see_numbers(targets)
        if joined is not None:
            targets |= targets_of_rows(joined, source, used)
        ids = columns["id"].to_pylist() if "id" in columns else None
        if ids and None in ids:
            row = int(rows[ids.index(None)])
            query = self.table.select({"id": (used.id or "", "id")})
            count = self.table.rows_of(f"SELECT count(*) FROM ({query}) WHERE id IS NULL")[0][0]  # noqa: S608 - our own
            raise missing_cells(source, row, used.id or "", "an id", count, None)
        documents = Documents(
            source,
            rows,
            elements,
            offsets,
            ids=ids,
            targets=targets,
            side=coded(columns["side"]) if "side" in columns else None,
            label_name=label_column(used),
            channels=self._channels(elements),
        )
        self.reading.empty += int((lengths == 0).sum())
        documents = documents.take(lengths > 0)
        if len(documents):
            yield documents

    def _channels(self, elements: NDArray[Any]) -> tuple[str, ...]:
        """Names of the features: columns, or places in the lists of one column."""
        names = self.reading.columns.features
        if elements.ndim == 1 or self.aliases["f0"][1] != "matrix":
            return names
        return tuple(f"{names[0]}[{k}]" for k in range(elements.shape[1]))

    def _content(self, columns: dict[str, pa.Array], rows: Ints) -> tuple[NDArray[Any], Ints]:
        """Elements and offsets of a batch of rows."""
        source, used = self.table.source, self.reading.columns
        if "text" in columns:
            return bytes_of(columns["text"])
        if "tokens" in columns:
            flat, offsets = flattened(columns["tokens"])
            bad = ~((flat >= 0) & (flat <= LARGEST_ID) & (flat == np.floor(flat)))
            if bad.any():
                at = int(np.flatnonzero(bad)[0])
                row = int(rows[np.searchsorted(offsets, at, side="right") - 1])
                found = flat[at] if flat[at] % 1 else int(flat[at])
                raise mismatch(source, source.row(row), used.tokens or "", f"token ids from 0 to {LARGEST_ID}", found)
            return flat.astype(np.int64), offsets
        return self._nested(columns, rows)

    def _nested(self, columns: dict[str, pa.Array], rows: Ints) -> tuple[Floats, Ints]:
        """[T, F] of all rows from one column of lists of lists, or from one list per channel."""
        source, names = self.table.source, self.reading.columns.features
        if self.aliases["f0"][1] == "matrix":
            outer = columns["f0"]
            steps = pc.list_flatten(outer)
            offsets = np.concatenate([[0], np.cumsum(list_lengths(outer))])
            widths = list_lengths(steps)
            if len(widths) and (widths != widths[0]).any():
                step = int(np.flatnonzero(widths != widths[0])[0])
                document = int(np.searchsorted(offsets, step, side="right") - 1)
                begins = step == offsets[document]
                at = source.row(int(rows[document]))
                raise data_error(
                    source.path,
                    at if begins else f"{at}, step {step - offsets[document]}, {source.field(names[0])}",
                    expected=f"{counted(widths[0], 'feature')} as in the {'documents' if begins else 'step'} before",
                    found=widths[step],
                    advice="every step needs the same number of features",
                )
            flat, _ = flattened(steps)
            matrix = flat.reshape(len(widths), -1) if len(widths) else np.empty((0, 0))
        else:
            channels = [flattened(columns[f"f{k}"]) for k in range(len(names))]
            offsets = channels[0][1]
            for name, (_, other) in zip(names, channels, strict=True):
                if (other != offsets).any():
                    row = int(np.flatnonzero(np.diff(other) != np.diff(offsets))[0])
                    raise data_error(
                        source.path,
                        f"{source.row(int(rows[row]))}, {source.field(name)}",
                        expected=f"{counted(np.diff(offsets)[row], 'value')} as in {source.field(names[0])}",
                        found=np.diff(other)[row],
                        advice="all channels of a document need the same length",
                    )
            matrix = np.stack([flat for flat, _ in channels], axis=1)
        infinite = np.argwhere(out_of_range(matrix))
        if len(infinite):
            step, k = (int(i) for i in infinite[0])
            document = int(np.searchsorted(offsets, step, side="right") - 1)
            name = names[k] if len(names) > 1 else f"{names[0]}[{k}]"
            at = f"{source.row(int(rows[document]))}, step {step - offsets[document]}"
            raise not_finite(source, at, name, float(matrix[step, k]))
        return matrix, offsets


def _without_rows(source: Source) -> DataError:
    if source.format == "sql":
        found, advice = "none", "change what the query selects"
        return data_error(source.path, "result", expected="at least one row", found=found, advice=advice)
    found = "a header only" if source.format == "csv" else "none"
    return data_error(source.path, "file", expected="at least one row", found=found, advice="leave the file out")


class _Targets:
    """Targets of rows, in the order of the rows."""

    def __init__(self, rows: Iterator[Rows]) -> None:
        """All of them have been read from the table when this returns."""
        self._rows, self._held = rows, next(rows, None)

    def next(self, count: int) -> Rows:
        """Those of the next rows."""
        parts: list[Rows] = []
        while count and self._held is not None:
            parts.append(self._held.part(0, count))
            rest = self._held.part(count, len(self._held))
            self._held = rest if len(rest) else next(self._rows, None)
            count -= len(parts[-1])
        return together(parts)


# ---- a time step per row


class _Steps:
    """Sorted rows, put together to documents: whole ones, and pieces of those that are longer than a batch."""

    def __init__(self, query: _Query) -> None:
        self.query, self.columns = query, query.reading.columns
        self.source = query.table.source
        self.limit = query.options.max_document
        self.open: Documents | None = None
        """The last document, which the next rows may go on."""
        self.value: list[pa.Scalar] = []
        """The order value of the last row."""
        order, name = query.order, self.columns.order
        self.noticed = order and Noticed(self.source, name or "", order.type, query.reading.notes)

    def documents(self) -> Iterator[Documents]:
        """All documents, in the order of the rows."""
        size = max(1024, min(ROWS_AT_ONCE, CELLS_AT_ONCE // max(1, len(self.columns.features))))
        for rows in self.query.in_order(size):
            new = self._batch(rows)
            if self.noticed:
                self.noticed.add(new, self._alike(rows), rows["n"], goes_on=self._goes_on(new))
            found = self._joined(new)
            last = len(found) - 1
            self.open = found.take(np.array([last]))
            if last:
                yield found.take(np.arange(last))
            if self.open.lengths[0] >= self.limit:
                yield self.open
                self.open = replaced(self.open)
        if self.noticed:
            self.noticed.end()
        if self.open is not None and self.open.lengths[0]:
            yield self.open

    def _alike(self, rows: Rows) -> NDArray[np.bool_]:
        """Whether the order value of a row is that of the row before."""
        keys = [name for name in rows.columns if re.fullmatch("k[0-9]", name)]
        alike = np.ones(len(rows), bool)
        for key in keys:
            column = rows[key]
            alike[1:] &= column[1:] == column[:-1]
        first, last = ([rows.values(key, [at])[0] for key in keys] for at in (0, len(rows) - 1))
        alike[0] = self.value == first
        self.value = last
        return alike

    def _goes_on(self, new: Documents) -> bool:
        """Whether the first of some documents is the open one."""
        return self.open is not None and (self.open.ids is None or self.open.ids[0] == (new.ids or [""])[0])

    def _batch(self, rows: Rows) -> Documents:
        """The runs of equal ids in some rows."""
        used, n = self.columns, rows["n"]
        features = rows["f"]
        check_range(self.source, features, used.features, n)
        targets = targets_of_rows(rows, self.source, used)
        self.query.grouped.see(used.features, features)
        self.query.see_numbers(targets)
        borders, ids = np.array([0, len(rows)]), None
        if "id" in rows:
            column = rows["id"]
            borders = np.concatenate([[0], np.flatnonzero(column[1:] != column[:-1]) + 1, [len(rows)]])
            ids = rows.values("id", borders[:-1])
        starts = borders[:-1]
        side = rows.coded("side")
        alike = fixed(targets, side)
        self._check_alike(alike, n, starts, np.diff(borders))
        return Documents(
            self.source,
            n[starts],
            features,
            borders,
            numbered=ids is not None,
            ids=ids,
            targets={name: values[starts] if name in alike else values for name, values in targets.items()},
            time=rows["o"][starts] if "o" in rows else None,
            side=None if side is None else side[starts],
            fresh=np.ones(len(starts), bool),
            unit_rows=n,
            label_name=label_column(used),
            channels=used.features,
        )

    def _joined(self, new: Documents) -> Documents:
        """The open document and the new ones; it and the first one become one where they are parts of one document."""
        held = self.open
        if held is None:
            return new
        same = self._goes_on(new)
        if same:
            theirs = fixed(new.targets, new.side)
            pairs = {name: _both(values, theirs[name][:1]) for name, values in fixed(held.targets, held.side).items()}
            self._check_alike(pairs, new.rows[[0, 0]], np.array([0]), np.array([2]))
        return joined(held, new, same=same)

    def _check_alike(self, columns: dict[str, Coded | Floats], rows: Ints, starts: Ints, runs: Ints) -> None:
        """Refuse a document in whose rows a column, by its alias, is not the same."""
        for name, values in columns.items():
            changed = _first_change(values.codes[:, None] if isinstance(values, Coded) else values, starts, runs)
            if changed is None:
                continue
            row, start, k = changed
            before, after = (values.text(at) if isinstance(values, Coded) else values[at, k] for at in (start, row))
            alias = name if isinstance(values, Coded) else f"{name}{k}"
            raise self._changed(int(rows[row]), self.query.name_of(alias), before, after)

    def _changed(self, row: int, name: str, before: object, after: object) -> DataError:
        advice = "labels that change inside a document go into --data.columns.labels"
        if self.columns.id is None:
            query = advised(self.source, "row_number() OVER () AS row, *")
            advice = (
                "without data.columns.id all rows are one document: name the column that tells documents apart, or "
                f"number the rows: {query} --data.columns.id row"
            )
        if name == self.query.reading.split_column:
            advice = "a document is on one side: name another column in --data.split"
        return data_error(
            self.source.path,
            f"{self.source.row(row)}, {self.source.field(name)}",
            expected=f"{_shown_cell(before)} as in the other rows of the document",
            found=_shown_cell(after),
            advice=advice,
        )


def _shown_cell(value: object) -> str:
    return "an empty cell" if value is None else shown(value)


def _both(one: Any, other: Any) -> Any:  # noqa: ANN401 - an array, a list, labels or None
    """Entries of one batch, then those of the next one."""
    if one is None or other is None:
        return None
    if isinstance(one, Coded):
        return Coded(np.concatenate([one.codes, other.codes]), other.texts)
    return one + other if isinstance(one, list) else np.concatenate([one, other])


def _first_change(per_row: NDArray[Any], starts: Ints, runs: Ints) -> tuple[int, int, int] | None:
    """The first row that differs from the first one of its run, that one, and the column; NaN equals NaN."""
    first = np.repeat(per_row[starts], runs, axis=0)
    differs = ~((per_row == first) | ((per_row != per_row) & (first != first)))  # noqa: PLR0124
    if not differs.any():
        return None
    row, k = (int(i) for i in np.argwhere(differs)[0])
    return row, int(np.repeat(starts, runs)[row]), k


def joined(held: Documents, new: Documents, *, same: bool) -> Documents:
    """One entry before others; with `same` it and the first of the others become one."""
    skip = int(same)
    length = int(held.offsets[-1])
    offsets = np.concatenate([[0], [length] if not same else [], length + new.offsets[1:]]).astype(np.int64)

    def both(one: Any, other: Any, start: int = 0) -> Any:  # noqa: ANN401 - an array, a list, labels or None
        return _both(one, None if other is None else other[start:])

    return Documents(
        new.source,
        both(held.rows, new.rows, skip),
        both(held.elements, new.elements),
        offsets,
        numbered=new.numbered,
        ids=both(held.ids, new.ids, skip),
        targets={
            name: both(values, new.targets[name], 0 if COLUMNS[name].per_token else skip)
            for name, values in held.targets.items()
        },
        time=both(held.time, new.time, skip),
        side=both(held.side, new.side, skip),
        fresh=both(held.fresh, new.fresh, skip),
        unit_rows=both(held.unit_rows, new.unit_rows),
        label_name=new.label_name,
        channels=new.channels,
    )


def replaced(held: Documents) -> Documents:
    """A document without units, which keeps its name and targets, after all of its units were given out."""
    rest = held.cut(np.array([0, 0]), np.array([0]), np.array([False]))
    rest.elements = held.elements[:0]
    rest.targets |= {name: values[:0] for name, values in held.targets.items() if COLUMNS[name].per_token}
    rest.unit_rows = None if held.unit_rows is None else held.unit_rows[:0]
    return rest
