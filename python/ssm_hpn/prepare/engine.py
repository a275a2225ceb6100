"""Tables through DuckDB: a connection, and a source as columns by name that are read with the types asked for.

Nothing is downloaded, memory is limited and what does not fit goes to a folder on disk. Numbers are read as doubles,
everything else as text, so that one rule of this package and not a guess of the engine decides what a label is.
"""

import contextlib
import re
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

import duckdb
import pyarrow as pa

from ssm_hpn.prepare.instances import connection_to
from ssm_hpn.prepare.prefetch import WORKERS, for_workers
from ssm_hpn.prepare.problems import data_error
from ssm_hpn.prepare.source import Source
from ssm_hpn.prepare.twins import check_used

Kind = Literal["number", "text", "id", "numbers", "matrix", "texts", "raw"]
TYPES: Final[dict[Kind, str]] = {
    "number": "DOUBLE",
    "text": "VARCHAR",
    "id": "VARCHAR",
    "numbers": "DOUBLE[]",
    "matrix": "DOUBLE[][]",
    "texts": "VARCHAR[]",
}
MEANINGS: Final[dict[Kind, str]] = {
    "number": "a number",
    "text": "a text",
    "id": "an id",
    "numbers": "a list of numbers",
    "matrix": "a list of lists of numbers",
    "texts": "a list of labels",
}
"""What a cell of each kind is called in messages."""
NESTED: Final = ("STRUCT", "MAP", "UNION", "VARIANT")
WORDS: Final = {
    **dict.fromkeys(("FLOAT", "DOUBLE", "DECIMAL", "BIGNUM"), "numbers"),
    "VARCHAR": "texts",
    "BLOB": "bytes",
    "BOOLEAN": "true and false",
    "DATE": "dates",
    "TIME": "times",
    "INTERVAL": "durations",
    "ENUM": "texts",
    "NULL": "nothing",
    **dict.fromkeys(NESTED, "records"),
}
"""What values of the engine's types are called in messages, by how the types begin."""
MEMORY: Final = 64
"""MB for two threads, and as much for each two more. Rows pass through; they are sorted elsewhere."""
MEMORY_IF_NEEDED: Final = 1500
"""MB of a second try, for long lines and for queries that sort or join much."""
BUFFER: Final = 4 << 20
"""Bytes of a CSV file that each thread reads at once."""
LONG_LINE: Final = 256 << 20
"""Bytes of the longest line that is read."""
BATCH_BYTES: Final = 2 << 20
"""Bytes of rows that are worked on together, at least."""
INTERRUPTED: Final = "Query interrupted"
"""The engine's error for Ctrl-C, which it takes for itself."""
SAMPLE_ROWS: Final = 20480
"""Rows that the sniffer looks at."""


@contextlib.contextmanager
def engine(work: Path | None, *, long_lines: bool = False) -> Iterator[duckdb.DuckDBPyConnection]:
    """A connection that downloads nothing and spills to a folder below `work`."""
    with tempfile.TemporaryDirectory(prefix="ssm-hpn-", dir=work, ignore_cleanup_errors=True) as folder:
        memory, threads = (MEMORY_IF_NEEDED, 1) if long_lines else (for_workers(MEMORY), WORKERS.get())
        try:
            with connection_to(Path(folder), memory_mb=memory, threads=threads, keep=not long_lines) as connection:
                connection.execute("SET TimeZone = 'UTC'")
                yield connection
        except RuntimeError as error:
            if str(error) != INTERRUPTED:
                raise
            raise KeyboardInterrupt from None


@dataclass
class Table:
    """One source as columns with names."""

    source: Source
    connection: duckdb.DuckDBPyConnection
    present: dict[str, str]
    """Type of every column in the engine's words; of a CSV file all are VARCHAR."""
    scan: str = ""
    """What follows FROM, for all but CSV and JSON lines, which are read with the types that are asked for."""
    options: list[str] = field(default_factory=list)
    """Arguments of the reader."""
    file: Path | None = None
    """What the engine reads of a CSV file or of JSON lines: the file, or a copy of it in UTF-8."""
    decimal: str = "."
    """The mark in numbers that are written as text."""
    marks: tuple[str, str, str] = (",", '"', '"')
    """Delimiter, quote and escape of a CSV file, as they are where quotes are not taken as text."""
    notes: list[str] = field(default_factory=list)
    """What was guessed."""
    places: dict[str, str] = field(default_factory=dict)
    """Names of the columns in `scan` by their true names, where these differ in case alone."""
    flags: frozenset[str] = frozenset()
    """Columns of a CSV file with nothing but true and false, which are read as the numbers 1 and 0."""
    underscored: bool = False
    """Whether digits with an underscore between them are somewhere in a CSV file: the engine takes 1_0 for 10."""
    reader: pa.RecordBatchReader | None = None
    """Reader of the query in progress."""

    def select(self, wanted: Mapping[str, tuple[str, Kind]]) -> str:
        """A query for columns: alias → (name, kind)."""
        uses: dict[str, set[Kind]] = {}
        for name, kind in wanted.values():
            uses.setdefault(name, set()).add(kind)
        # The type with which a reader of texts reads a column; one that is asked for in several ways is read as text.
        texts = {
            name: TYPES.get(min(kinds), "VARCHAR") if len(kinds) == 1 else "VARCHAR" for name, kinds in uses.items()
        }
        names = list(self.present)
        match self.source.format:
            case "csv":
                doubles = not self.underscored
                texts = {
                    name: type_ if type_ == "DOUBLE" and doubles and name not in self.flags else "VARCHAR"
                    for name, type_ in texts.items()
                }
                types = ", ".join(f"'c{i}': '{texts.get(name, 'VARCHAR')}'" for i, name in enumerate(names))
                scan = self._reader("read_csv", f"columns={{{types}}}")
                columns = [
                    _flag(f"c{names.index(name)}")
                    if kind == "number" and name in self.flags
                    else self._cell(f"c{names.index(name)}", texts[name], kind)
                    for name, kind in wanted.values()
                ]
            case "jsonl":
                check_used(self.source, texts)
                types = ", ".join(f"{quoted(name)}: '{type_}'" for name, type_ in texts.items())
                scan = self._reader("read_json", f"columns={{{types}}}")
                columns = [self._cell(identifier(name), texts[name], kind) for name, kind in wanted.values()]
            case _:
                scan = self.scan
                at = {name: self.places.get(name) or identifier(name) for name, _ in wanted.values()}
                columns = [self._cell(at[name], self.present[name], kind) for name, kind in wanted.values()]
        named = ", ".join(f"{column} AS {alias}" for alias, column in zip(wanted, columns, strict=True))
        return f"SELECT {named} FROM {scan}"  # noqa: S608 - quoted above

    def _reader(self, function: str, columns: str) -> str:
        return f"{function}({quoted(str(self.file or self.source.path))}, {', '.join([*self.options, columns])})"

    def _cell(self, column: str, type_: str, kind: Kind) -> str:
        """A column of a type as what is asked for; bytes are the text that they are, and an id of nan is none."""
        if type_ == "BLOB" and kind in ("id", "text"):
            column, type_ = f"coalesce(TRY(decode({column})), CAST({column} AS VARCHAR))", "VARCHAR"
        if kind == "raw" or (type_ == TYPES[kind] and kind != "id"):
            return column
        if kind == "id":
            column = column if type_ == "VARCHAR" else f"CAST({column} AS VARCHAR)"
            return f"CASE WHEN strlen({column}) > 3 OR lower(trim({column})) NOT IN ('', 'nan') THEN {column} END"
        if kind in ("number", "numbers", "matrix") and type_ == "VARCHAR":  # the engine takes 1_0 for 10
            column = f"replace({column}, '_', '?')"
        if kind == "number" and type_ == "VARCHAR" and self.decimal == ",":  # and 1.5 for a number beside 1,5
            column = f"replace(replace({column}, '.', '?'), ',', '.')"
        return f"CAST({column} AS {TYPES[kind]})"

    def flags_after(self, error: duckdb.Error, names: Iterable[str]) -> frozenset[str]:
        """Where the engine found true or false in place of a number, the columns with nothing else in them."""
        if not re.search(r"""string ["']\s*(true|false)\s*["']""", str(error), re.IGNORECASE):
            return frozenset()
        return self.true_or_false(names)

    def note_flags(self, names: Iterable[str], predicted: Iterable[str]) -> Iterator[str]:
        """Notes on those of some columns of numbers that are true and false; `predicted` are the numbers to predict."""
        numbers = set(predicted)
        for name in dict.fromkeys(names):
            if name in numbers and (name in self.flags or self.present[name] == "BOOLEAN"):
                yield f"{self.source.field(name)}: true and false are read as 1 and 0; as classes, name it as the label"
            elif name in self.flags:
                yield f"{self.source.field(name)}: true and false are read as 1 and 0"

    def true_or_false(self, names: Iterable[str]) -> frozenset[str]:
        """Those of some columns of a CSV file in which nothing but `true` and `false` stands, in any case."""
        chosen: dict[str, tuple[str, Kind]] = {f"b{k}": (name, "raw") for k, name in enumerate(names)}
        if self.source.format != "csv" or not chosen:
            return frozenset()
        tests = ", ".join(f"bool_and(lower(trim({one})) IN ('true', 'false'))" for one in chosen)
        found = self.rows_of(f"SELECT {tests} FROM ({self.select(chosen)})")[0]  # noqa: S608 - our own query
        return frozenset(name for (name, _), only in zip(chosen.values(), found, strict=True) if only)

    def check_kind(self, name: str, kind: Kind) -> None:
        """Refuse a column whose type cannot hold what it is asked for: a list where there is none, or a record."""
        if self.source.format in ("csv", "jsonl") or kind in ("raw", "text", "id"):
            return
        found = self.present[name]
        bare = re.sub(r"(\[\d*\])+$", "", found)
        depth, wanted = found[len(bare) :].count("["), TYPES[kind].count("[")
        written = bare in ("VARCHAR", "JSON") or bare.startswith("ENUM")  # a list may be written out as text
        if (depth == wanted and (kind == "texts" or not bare.startswith(NESTED))) or (written and depth == 0):
            return
        raise data_error(
            self.source.path,
            self.source.field(name),
            expected=f"{MEANINGS[kind]} in every row",
            found=words_for(found),
            advice=f"choose another {self.source.field_noun}, or convert it",
        )

    def rows_of(self, query: str) -> list[Any]:
        """All rows of a small query; one that is in progress ends."""
        if self.reader is not None:
            self.reader.close()
        return list(self.connection.execute(query).fetchall())

    def stream(self, query: str, size: int, *, at_least: int = BATCH_BYTES) -> Iterator[pa.RecordBatch]:
        """The rows of a query, about `size` at a time, or as many as have `at_least` that many bytes."""
        self.reader = self.connection.sql(query).to_arrow_reader(size)
        held: list[pa.RecordBatch] = []
        try:
            for batch in self.reader:
                held.append(batch)
                if sum(one.nbytes for one in held) >= at_least:
                    yield from together(held)
                    held = []
            if held:
                yield from together(held)
        except (OSError, pa.ArrowException) as error:  # the engine's own, in the classes of Arrow
            raise duckdb.Error(str(error)) from None


def _flag(column: str) -> str:
    """A column of `true` and `false` as numbers."""
    return f"CAST(CAST(trim({column}) AS BOOLEAN) AS DOUBLE)"


def together(batches: list[pa.RecordBatch]) -> list[pa.RecordBatch]:
    """All rows of some batches in one; in several where their texts are beyond 2 GB."""
    return batches if len(batches) == 1 else pa.Table.from_batches(batches).combine_chunks().to_batches()


def words_for(type_: str) -> str:
    """What values of a type of the engine are called in messages.

    >>> words_for("DOUBLE[][]"), words_for("UTINYINT"), words_for("ENUM('a')")
    ('lists of lists of numbers', 'numbers', 'texts')
    """
    bare = re.sub(r"(\[\d*\])+$", "", type_)
    words = [words for start, words in WORDS.items() if bare.startswith(start)]
    word = words[-1] if words else "numbers" if "INT" in bare else bare.lower()
    return "lists of " * type_[len(bare) :].count("[") + word


def identifier(name: str) -> str:
    """A column's name in SQL."""
    return '"' + name.replace('"', '""') + '"'


def quoted(text: str) -> str:
    """A text in SQL."""
    return "'" + text.replace("'", "''") + "'"
