"""A table of labels: targets of documents in a table of their own, joined by the id.

An id may be there twice with the same targets. Ids are compared as texts, so `7` and `007` are two; where none matches,
the error says how they differ.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

import duckdb
import numpy as np
from numpy.typing import NDArray

from ssm_hpn.config.data import Columns, PrepareOptions
from ssm_hpn.counts import counted, noun_for
from ssm_hpn.moments import TOO_LARGE
from ssm_hpn.prepare.cells import missing_cells, not_finite
from ssm_hpn.prepare.doubts import grouped_note
from ssm_hpn.prepare.engine import Kind, Table, engine
from ssm_hpn.prepare.engine_errors import no_column, translated
from ssm_hpn.prepare.keys import Keys, text_keys
from ssm_hpn.prepare.opening import open_table
from ssm_hpn.prepare.problems import Notes, config_error, data_error, shown
from ssm_hpn.prepare.records import Documents
from ssm_hpn.prepare.source import TABLES, Source
from ssm_hpn.prepare.sources import find
from ssm_hpn.prepare.target_columns import column_of, kind_of, target_aliases

JOINED: Final = "handed_labels"
"""The table in the engine: `key` and the targets by alias, each id once."""
ROWS_AT_ONCE: Final = 1 << 15
MOST_COMPARED: Final = 1000
"""Ids of each side that are searched for a difference in spelling."""
SPELLINGS: Final[dict[str, Callable[[str], str]]] = {
    "blanks around them": str.strip,
    "upper and lower case": str.casefold,
    "leading zeros": lambda text: text.lstrip("0") or "0",
    "the fraction of whole numbers": lambda text: text.removesuffix(".0"),
}
"""Differences in the spelling of ids, each with a function that removes it."""


def label_source(options: PrepareOptions) -> Source:
    """The file or query of `data.labels`."""
    plain = options.model_copy(update={"format": "auto", "encoder": "auto", "include": ()})
    found = find((str(options.labels),), plain, key="data.labels")
    if len(found) > 1:
        advice = "put them together"
        raise config_error("data.labels", expected="one table", found=counted(len(found), "file"), advice=advice)
    source = found[0] if found[0].format not in ("text", "integers") else replace(found[0], format="csv")
    if source.format not in TABLES:
        advice = "save it as CSV, Parquet or JSON lines"
        raise data_error(source.path, "data.labels", expected="a table", found=source.format, advice=advice)
    return source


def open_labels(
    options: PrepareOptions, columns: Columns, connection: duckdb.DuckDBPyConnection, work: Path | None, notes: Notes
) -> list[str]:
    """Make the table `JOINED`; returns the aliases of its targets, by `target_aliases`.

    A copy in UTF-8, where one is needed, is kept in `work`; what is guessed goes to `notes`.

    Raises `DataError` for rows without an id, and for an id with different targets.
    """
    targets: dict[str, tuple[str, Kind]] = {
        alias: (name, kind_of(alias, steps=True)) for alias, name in target_aliases(columns, per_token=False).items()
    }
    for what, there in (("data.columns.id", columns.id), ("data.columns.label or .values", targets)):
        if not there:
            advice = "name the column, or drop --data.labels"
            raise config_error("data.labels", expected=f"{what} beside it", found="none", advice=advice)
    keys = [("id", columns.id or ""), *((column_of(alias), name) for alias, (name, _) in targets.items())]
    table = _opened(options, [name for _, name in keys], connection, work)
    notes.add(*table.notes)
    for key, name in keys:
        if name not in table.present:
            raise no_column(table, key, name)
    _read(table, {"key": (columns.id or "", "id"), **targets}, notes)
    _check(table, columns.id or "", targets)
    names = ", ".join(["key", *targets])
    connection.execute(
        f"CREATE OR REPLACE TEMP TABLE {JOINED} AS SELECT DISTINCT {names} FROM all_labels WHERE key IS NOT NULL"  # noqa: S608
    )
    _check_once(table, columns.id or "", targets)
    return list(targets)


def _read(table: Table, wanted: dict[str, tuple[str, Kind]], notes: Notes) -> None:
    """Read the columns of a table of labels; columns of numbers with nothing but true and false become 1 and 0."""
    numbers = tuple(name for name, kind in wanted.values() if kind == "number")
    try:
        try:
            _make(table.connection, table.select(wanted))
        except duckdb.Error as error:
            table.flags = table.flags_after(error, numbers)
            if not table.flags:
                raise
            _make(table.connection, table.select(wanted))
    except duckdb.Error as error:
        raise translated(table.source, error, table, table.select(wanted), numbers) from None
    for text in table.note_flags(numbers, numbers):
        notes.add_of_file(table.source.name, text, text)
    for name in numbers:
        if (doubt := grouped_note(table, name)) is not None:
            notes.add_of_file(table.source.name, f"thousands in {name}", doubt)


def _make(connection: duckdb.DuckDBPyConnection, query: str) -> None:
    """Make the table of all rows of a query, with their places `n`."""
    connection.execute(
        f"CREATE OR REPLACE TEMP TABLE all_labels AS SELECT *, row_number() OVER () AS n FROM ({query})"  # noqa: S608
    )


def note_own(table: Table, options: PrepareOptions, names: Iterable[str], notes: Notes) -> None:
    """Note which of the `names` of columns of targets a table of documents has itself beside `data.labels`."""
    for name in names:
        if name in table.present:
            said = f"has a {table.source.field(name)} of its own; targets are taken from {label_source(options).name}"
            notes.add_of_file(table.source.name, f"own {name}", f"{said}: --data.labels null for its own")


def _opened(
    options: PrepareOptions, names: list[str], connection: duckdb.DuckDBPyConnection, work: Path | None
) -> Table:
    """The table of labels; its delimiter is found out where `data.delimiter`, that of the data, gives other columns."""
    source = label_source(options)
    table = open_table(source, options, connection, work=work)
    if options.delimiter is None or source.format != "csv" or table.present.keys() >= set(names):
        return table
    return open_table(source, options.model_copy(update={"delimiter": None}), connection, work=work)


def _check(table: Table, name: str, targets: dict[str, tuple[str, Kind]]) -> None:
    """Refuse rows with a target and no id, and numbers that are infinite or too large."""
    source, header = table.source, table.source.format == "csv"
    there = " OR ".join(f"{alias} IS NOT NULL" for alias in targets)
    count, row = table.rows_of(f"SELECT count(*), min(n) FROM all_labels WHERE key IS NULL AND ({there})")[0]  # noqa: S608
    if count:
        raise missing_cells(source, row + header, name, "an id", count, None)
    for alias, (column, kind) in targets.items():
        if kind != "number":
            continue
        bad = f"abs({alias}) >= {TOO_LARGE} AND NOT isnan({alias})"
        found = table.rows_of(f"SELECT n, {alias} FROM all_labels WHERE {bad} ORDER BY n LIMIT 1")  # noqa: S608
        if found:
            raise not_finite(source, source.row(found[0][0] + header), column, found[0][1])


def _check_once(table: Table, name: str, targets: dict[str, tuple[str, Kind]]) -> None:
    """Refuse an id with different targets."""
    twice = table.rows_of(f"SELECT key FROM {JOINED} GROUP BY key HAVING count(*) > 1 ORDER BY key LIMIT 1")  # noqa: S608
    if not twice:
        return
    rows = table.connection.execute(
        f"SELECT n, {', '.join(targets)} FROM all_labels WHERE key = ? ORDER BY n",  # noqa: S608 - our own names
        twice[0],
    ).fetchall()
    other = next(row for row in rows if row[1:] != rows[0][1:])
    k = next(k for k, (one, two) in enumerate(zip(rows[0][1:], other[1:], strict=True)) if one != two)
    source, column = table.source, list(targets.values())[k][0]
    row = other[0] + (source.format == "csv")
    found = f"{shown(rows[0][k + 1])} and {shown(other[k + 1])} for {shown(twice[0][0])}"
    at = f"{source.row(row)}, {source.field(column)}"
    raise data_error(source.path, at, expected=f"one target for each {name}", found=found, advice="correct one of them")


@dataclass
class Matching:
    """Which ids of the table of labels are those of documents, and which documents have no row in it."""

    source: Source
    column: str
    keys: Keys
    """Keys of the ids in the table, sorted."""
    ids: list[str]
    """Ids of the first rows of the table."""
    found: NDArray[np.bool_] = field(init=False)
    """Whether a document has the id."""
    documents: int = 0
    unlabelled: list[str] = field(default_factory=list)
    """First ids of documents that are not in the table."""
    without: int = 0
    """Documents whose id is not in the table."""

    def __post_init__(self) -> None:
        """Start without ids."""
        self.found = np.zeros(len(self.keys), bool)

    @classmethod
    def read(cls, options: PrepareOptions, columns: Columns, work: Path | None) -> "Matching":
        """The ids of the table of labels, which is checked."""
        with engine(work) as connection:
            open_labels(options, columns, connection, work, Notes())
            batches = connection.sql(f"SELECT key FROM {JOINED} ORDER BY key").to_arrow_reader(ROWS_AT_ONCE)  # noqa: S608
            first: list[str] = []
            keys = [np.empty(0, np.uint64)]
            for ids in (batch.column(0).to_pylist() for batch in batches):
                first += ids[: MOST_COMPARED - len(first)]
                keys.append(text_keys(ids))
        return cls(label_source(options), columns.id or "", np.sort(np.concatenate(keys)), first)

    def used(self, *, trained: bool) -> Iterator[str]:
        """A note for a trained model: that the table of its training is used, and which documents have no row in it."""
        taken = f"targets are taken from {self.source.name}, as in training"
        if self.without:
            yield f"{taken}: {self._unmatched('it')}" if trained else self._unmatched(self.source.name)
        elif trained:
            yield taken

    def _unmatched(self, table: str) -> str:
        which = f"{self.without} of {counted(self.documents, 'document')}"
        return f"{which} {noun_for(self.without, 'has', 'have')} no row in {table}, such as {shown(self.unlabelled[0])}"

    def see(self, documents: Documents, keys: Keys) -> None:
        """Take in the documents that begin here, with the keys of their ids."""
        if documents.ids is None or not len(keys):
            return
        self.documents += len(keys)
        at = np.minimum(np.searchsorted(self.keys, keys), max(0, len(self.keys) - 1))
        there = self.keys[at] == keys if len(self.keys) else np.zeros(len(keys), bool)
        self.found[at[there]] = True
        missing = np.flatnonzero(~there)
        self.without += len(missing)
        fresh = np.flatnonzero(documents.begins)
        self.unlabelled += [documents.ids[fresh[i]] for i in missing[: MOST_COMPARED - len(self.unlabelled)].tolist()]

    def notes(self) -> Iterator[str]:
        """What does not match, counted. Raises `DataError` if nothing does."""
        name = self.source.name
        unused = int((~self.found).sum())
        why = self._difference()
        if not self.found.any():
            found = f"{shown(self.ids[0])} and no other that matches" if self.ids else "no row"
            advice = f"they differ in {why}: write them the same way" if why else "check data.columns.id of both"
            expected = f"ids of the documents, such as {shown(self.unlabelled[0])}"
            raise data_error(
                self.source.path,
                f"data.labels, {self.source.field(self.column)}",
                expected=expected,
                found=found,
                advice=advice,
            )
        hint = f"; some seem to differ in {why}" if why else ""
        if self.without:
            yield f"{self._unmatched(name)}{hint}"
        if unused:
            which = f"{unused} of {counted(len(self.keys), 'id')} in {name}"
            yield f"{which} {noun_for(unused, 'is', 'are')} of no document"

    def _difference(self) -> str | None:
        """The difference in spelling without which some ids of both sides are equal."""
        spellings = [*SPELLINGS.items(), ("spelling", _bare)]
        for what, bare in spellings:
            if {bare(one) for one in self.unlabelled} & {bare(one) for one in self.ids}:
                return what
        return None


def _bare(text: str) -> str:
    for bare in SPELLINGS.values():
        text = bare(text)
    return text
