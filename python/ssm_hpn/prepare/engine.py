"""Tables through DuckDB: CSV, JSON lines, Parquet, queries and objects of pandas, polars and Arrow as columns by name.

Nothing is downloaded, memory is limited and what does not fit goes to a folder on disk. The dialect of a CSV file is
sniffed and then fixed for the whole file; numbers are read as doubles, everything else as text, so that one rule of
this package and not a guess of the engine decides what a label is. A query is one SELECT.

Three things are done beside the engine: the names of a CSV header are read with the module csv, as the engine renames
a column that is there twice; lines in messages are counted as an editor counts them; and a header of more columns than
the sniffer's memory holds is split at its most frequent separator.
"""

import contextlib
import csv
import io
import json
import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from ssm_hpn.arrays import is_frame, names_of
from ssm_hpn.config.data import PrepareOptions
from ssm_hpn.counts import counted
from ssm_hpn.errors import DataError
from ssm_hpn.prepare.cells import mismatch
from ssm_hpn.prepare.copies import in_utf_8
from ssm_hpn.prepare.headers import check_names, header_below, missing_column, two_headers
from ssm_hpn.prepare.problems import data_error, shown
from ssm_hpn.prepare.queries import check_result, checked_query, query_error
from ssm_hpn.prepare.quotes import unclosed
from ssm_hpn.prepare.sources import UTF_16, Source, line_of, lines_of, longest_row, not_utf_8, open_source, read_block
from ssm_hpn.prepare.twins import check_files, check_used, placed, true_keys

Kind = Literal["number", "text", "numbers", "matrix", "texts", "raw"]
TYPES: Final[dict[Kind, str]] = {
    "number": "DOUBLE",
    "text": "VARCHAR",
    "numbers": "DOUBLE[]",
    "matrix": "DOUBLE[][]",
    "texts": "VARCHAR[]",
}
MEANINGS: Final[dict[Kind, str]] = {
    "number": "a number",
    "text": "a text",
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
"""MB. Rows pass through; they are sorted elsewhere."""
MEMORY_FOR_JSON: Final = 128
"""MB. Each thread has a buffer of 32 MB."""
MEMORY_IF_NEEDED: Final = 1500
"""MB of a second try, for long lines and for queries that sort or join much."""
BUFFER: Final = 4 << 20
"""Bytes of a CSV file that each thread reads at once."""
LONG_LINE: Final = 256 << 20
"""Bytes of the longest line that is read."""
MEMORY_FOR_LONG_LINES: Final = 270
"""MB, where a line is longer than what the engine expects."""
THREADS: Final = 2
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
        settings: dict[str, Any] = {
            "autoinstall_known_extensions": False,
            "autoload_known_extensions": False,
            "memory_limit": f"{MEMORY_IF_NEEDED if long_lines else MEMORY}MB",
            "temp_directory": folder,
            "threads": 1 if long_lines else THREADS,
        }
        with duckdb.connect(":memory:", config=settings) as connection:
            connection.execute("SET TimeZone = 'UTC'")
            try:
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
                texts = {name: type_ if type_ == "DOUBLE" else "VARCHAR" for name, type_ in texts.items()}
                types = ", ".join(f"'c{i}': '{texts.get(name, 'VARCHAR')}'" for i, name in enumerate(names))
                scan = self._reader("read_csv", f"columns={{{types}}}")
                columns = [self._cell(f"c{names.index(name)}", texts[name], kind) for name, kind in wanted.values()]
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
        """A column of a type as what is asked for; bytes are the text that they are."""
        if kind == "raw" or type_ == TYPES[kind]:
            return column
        if type_ == "BLOB" and kind == "text":
            return f"coalesce(TRY(decode({column})), CAST({column} AS VARCHAR))"
        if kind == "number" and type_ == "VARCHAR" and self.decimal == ",":
            column = f"replace({column}, ',', '.')"
        return f"CAST({column} AS {TYPES[kind]})"

    def check_kind(self, name: str, kind: Kind) -> None:
        """Refuse a column whose type cannot hold what it is asked for: a list where there is none, or a record."""
        if self.source.format in ("csv", "jsonl") or kind in ("raw", "text"):
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
            found=f"{'lists of ' * depth}{_words_for(bare)}",
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


def together(batches: list[pa.RecordBatch]) -> list[pa.RecordBatch]:
    """All rows of some batches in one; in several where their texts are beyond 2 GB."""
    return batches if len(batches) == 1 else pa.Table.from_batches(batches).combine_chunks().to_batches()


def open_table(
    source: Source,
    options: PrepareOptions,
    connection: duckdb.DuckDBPyConnection,
    *,
    long_lines: bool = False,
    work: Path | None = None,
    whole: bool = True,
) -> Table:
    """The columns of a source. Raises `DataError` for what is wrong with it.

    A copy in UTF-8 is kept in `work`, or else where the engine spills to; for a first look it need not be `whole`.
    """
    file = in_utf_8(source, work or _spills_to(connection), whole=whole)
    try:
        match source.format:
            case "csv":
                table = _csv(source, options, connection, file, long_lines=long_lines)
            case "jsonl":
                table = _json(source, connection, file, long_lines=long_lines)
            case "parquet":
                scan = f"read_parquet({quoted(str(source.path))})"
                table = _described(source, connection, scan)
                names = pq.read_schema(source.path).names
                check_names(source.path, "schema", names, "rename one of them")
                table = _with_places(table, names)
            case "sql":
                query = checked_query(source.content)
                check_files(query)
                table = _described(source, connection, f"({query})")
                check_result(connection.sql(query).columns)
            case _:
                names = [*map(str, names_of(source.content))] if is_frame(source.content) else []
                check_names(source.path, "table", names, "rename one of them")
                connection.register("handed_over", source.content)
                table = _with_places(_described(source, connection, "handed_over"), names)
    except duckdb.Error as error:
        raise translated(source, error) from None
    return table


def _spills_to(connection: duckdb.DuckDBPyConnection) -> Path:
    return Path(str(connection.execute("SELECT current_setting('temp_directory')").fetchall()[0][0]))


def no_column(table: Table, key: str, name: str) -> DataError:
    """The error for a column that is not there, for a setting of `data.columns`, or `split`."""
    setting = "data.split" if key == "split" else f"data.columns.{key}"
    return missing_column(table.source, setting, name, table.present)


def _words_for(type_: str) -> str:
    """What values of a type of the engine are called in messages."""
    words = [words for start, words in WORDS.items() if type_.startswith(start)]
    return words[-1] if words else "numbers" if "INT" in type_ else type_.lower()


def identifier(name: str) -> str:
    """A column's name in SQL."""
    return '"' + name.replace('"', '""') + '"'


def quoted(text: str) -> str:
    """A text in SQL."""
    return "'" + text.replace("'", "''") + "'"


def _described(source: Source, connection: duckdb.DuckDBPyConnection, scan: str) -> Table:
    rows = connection.execute(f"DESCRIBE SELECT * FROM {scan}").fetchall()  # noqa: S608 - quoted above
    return Table(source, connection, {row[0]: row[1] for row in rows}, scan)


def _with_places(table: Table, names: Sequence[str]) -> Table:
    """A table whose columns are found by their places where two names differ in case alone."""
    table.scan, table.places = placed(table.scan, names)
    if table.places:
        table.present = dict(zip(names, table.present.values(), strict=True))
    return table


# ---- CSV


def _csv(
    source: Source, options: PrepareOptions, connection: duckdb.DuckDBPyConnection, file: Path, *, long_lines: bool
) -> Table:
    blank, header, sample = _head(source)
    given = [f"delim={quoted(options.delimiter)}"] if options.delimiter else []
    if long_lines:
        row = _room_for_long_lines(source, connection)
        given.append(f"max_line_size={row}, buffer_size={max(row, BUFFER)}, parallel=false")
    else:
        given.append(f"buffer_size={BUFFER}")
    try:
        limits = "" if not given else ", " + ", ".join(given)
        path = quoted(str(file))
        found = connection.execute(
            f"SELECT Delimiter, Quote, Escape FROM sniff_csv({path}, skip={blank}, header=true, all_varchar=true,"  # noqa: S608
            f" comment=''{limits})"
        ).fetchall()
    except (duckdb.OutOfMemoryException, duckdb.InvalidInputException):
        found = []  # a wide header, or a fault that reading it names with its line
    escaped = "\\" if re.search(r'\\"(?![,;\t|\r\n])', sample) else '"'
    default = (options.delimiter or max(",\t;|", key=header.count), '"', escaped)
    delimiter, quote, escape = found[0] if found else default
    quote, escape = ("" if mark == "(empty)" else mark for mark in (quote, escape))
    notes = []
    if not quote and '"' in sample:
        notes.append(f"{source.name}: quotes are taken as text, as one of them is never closed")
    elif not quote:
        quote = '"'
    if delimiter not in header and options.delimiter is None:
        delimiter = ","
    if delimiter not in (",", options.delimiter):
        notes.append(f"{source.name}: columns are taken to be separated by {delimiter!r}")
    marks = (delimiter, quote or '"', escape or quote or escaped)
    if not quote and re.search(f'(^|{re.escape(delimiter)})"', header) and (line := unclosed(source, *marks)):
        raise _never_closed(source, line)
    names = next(csv.reader(io.StringIO(header), delimiter=delimiter, quotechar=quote or None, strict=False), [])
    second = len(set(names)) < len(names) and two_headers(sample, delimiter, quote or None)
    advice = "row 2 seems to be a second header row: write both as one" if second else "rename one of them"
    check_names(source.path, "row 1", names, advice)
    nulls = ", ".join(map(quoted, ("", *options.null)))
    arguments = [
        *("auto_detect=false", "header=true", f"skip={blank}", f"delim={quoted(delimiter)}", f"nullstr=[{nulls}]"),
        *(
            f"quote={quoted(quote)}",
            f"escape={quoted(escape or quote)}",
            f"decimal_separator={quoted(options.decimal)}",
        ),
        *(one for one in given if not one.startswith("delim")),
    ]
    types = dict.fromkeys(names, "VARCHAR")
    return Table(
        source, connection, types, options=arguments, file=file, decimal=options.decimal, marks=marks, notes=notes
    )


def _head(source: Source) -> tuple[int, str, str]:
    """Blank lines in front, the first line with anything in it (a name may have a line end), a sample."""
    with open_source(source) as stream:
        start = read_block(stream, source.path, 1 << 16)
        if start.startswith(UTF_16):
            raise _utf_16(source)
        while start and b"\n" not in start.lstrip() and (more := read_block(stream, source.path, 1 << 20)):
            start += more
        sample = start + read_block(stream, source.path, 1 << 20)
    text = io.StringIO(sample.decode("utf-8-sig", errors="replace"), newline="")
    for blank, line in enumerate(text):
        if line.strip():
            if "\ufffd" in line and not source.recoded and (error := not_utf_8(source)):
                raise error
            while line.count('"') % 2 and (more_text := text.readline()):
                line += more_text  # noqa: PLW2901 - a name with a line end in it
            return blank, line.rstrip("\r\n"), text.getvalue()
    raise data_error(
        source.path, "file", expected="at least one row", found="blank lines only", advice="leave the file out"
    )


def _utf_16(source: Source) -> DataError:
    advice = "set --data.encoding utf-16, or save the file as UTF-8"
    return data_error(source.path, "file", expected="text in UTF-8", found="UTF-16", advice=advice)


# ---- JSON lines


def _json(source: Source, connection: duckdb.DuckDBPyConnection, file: Path, *, long_lines: bool) -> Table:
    with open_source(source) as stream:
        start = read_block(stream, source.path, 1 << 12)
    if start.startswith(UTF_16):
        raise _utf_16(source)
    if not start.strip():
        raise data_error(
            source.path, "file", expected="at least one row", found="blank lines only", advice="leave the file out"
        )
    arguments = ["format='newline_delimited'", "records=true"]
    if long_lines:
        arguments.append(f"maximum_object_size={_room_for_long_lines(source, connection)}")
    else:
        connection.execute(f"SET memory_limit = '{MEMORY_FOR_JSON}MB'")
    scan = f"read_json({quoted(str(file))}, {', '.join(arguments)}, maximum_depth=3, sample_size={SAMPLE_ROWS})"
    table = _described(source, connection, scan)
    table.present = dict(zip(true_keys(source, [*table.present], SAMPLE_ROWS), table.present.values(), strict=True))
    table.options, table.file = arguments, file
    return table


def _room_for_long_lines(source: Source, connection: duckdb.DuckDBPyConnection) -> int:
    """Bytes that the longest row takes, where one is longer than what the engine expects; memory is limited for it."""
    line, size = longest_row(source)
    if size > LONG_LINE:
        raise _too_long(source, line, size)
    if size > BUFFER:
        connection.execute(f"SET memory_limit = '{MEMORY_FOR_LONG_LINES}MB'")
    return size + (1 << 21)


# ---- errors


def _too_long(source: Source, line: int, size: int) -> DataError:
    found = f"one of {size / 1e6:.0f} MB"
    advice = "write it as several shorter ones, or as Parquet"
    return data_error(source.path, f"line {line}", expected="a line that fits in memory", found=found, advice=advice)


def needs_more(error: duckdb.Error, table: Table) -> bool:
    """Whether reading again with more memory and larger buffers helps."""
    text = str(error)
    if "unterminated quote" in text:  # a cell that is longer than the engine's buffer, or one that is never closed
        size = longest_row(table.source)[1]
        return size > LONG_LINE or (size > BUFFER and unclosed(table.source, *table.marks) is None)
    return (
        "Out of Memory" in text
        or "maximum_object_size" in text
        or "aximum line size" in text
        or "max_line_size" in text
        or "does not support a full read" in text  # nor a line that is longer than several of its buffers
    )


def translated(
    source: Source, error: duckdb.Error, table: Table | None = None, query: str = "", numbers: tuple[str, ...] = ()
) -> DataError:
    """The engine's error for a query as an error of this package; `numbers` are the columns read as such."""
    text = str(error)
    first = text.splitlines()[0].partition(": ")[2] or text.splitlines()[0]
    if "Out of Memory" in text and source.format in ("csv", "jsonl") and (row := longest_row(source))[1] > BUFFER:
        return _too_long(source, *row)
    if "Out of Memory" in text:
        advice = "write shorter lines, or name fewer columns in data.columns"
        return data_error(
            source.path,
            "file",
            expected=f"rows that can be sorted in {MEMORY_IF_NEEDED} MB",
            found=first[:120],
            advice=advice,
        )
    if source.format == "sql":
        return query_error(error)
    if source.format == "csv":
        return _csv_error(source, text, table, query)
    if source.format == "jsonl":
        cast = re.search(r"Failed to cast value to numerical: (.*)", text)
        return (cast and _no_number_in_list(source, cast[1], query)) or _json_error(source, text, numbers)
    if isinstance(error, duckdb.IOException) or "Parquet" in text or "parquet" in text:
        advice = "the file is cut or damaged: write or copy it again"
        return data_error(source.path, "file", expected="a whole Parquet file", found=first.rstrip("."), advice=advice)
    advice = "correct the data, or choose other columns"
    return data_error(source.path, "table", expected="a table", found=first, advice=advice)


def _csv_error(source: Source, text: str, table: Table | None, query: str) -> DataError:
    if ("nvalid unicode" in text or "not utf-8" in text) and (error := not_utf_8(source)):
        return error
    names = list(table.present) if table else []
    line = re.search(r"CSV Error on Line: (\d+)", text)
    place = _rejected_line(table, query) if table and query else None
    at = f"row {place or line[1]}" if place or line else "file"  # type: ignore[index]
    cell = re.search(r"converting column \"c(\d+)\". Could not convert string \"(.*?)\" to '(\w+)'", text, re.DOTALL)
    if table and not (cell and "\n" not in cell[2]) and (opened := unclosed(source, *table.marks)):
        return _never_closed(source, opened)
    if cell and names:
        return data_error(
            source.path,
            f"{at}, {source.field(names[int(cell[1])])}",
            expected="a number",
            found=shown(cell[2]),
            advice=number_advice(cell[2], table.decimal if table else ".")
            or header_below(place or (int(line[1]) if line else 0), names[int(cell[1])], cell[2])
            or "correct it, choose another column, or name what stands for a missing number in data.null",
        )
    count = re.search(r"Expected Number of Columns: (\d+) Found: (\d+)", text)
    if count:
        advice = "correct the row; texts with line breaks or separators need quotes"
        return data_error(source.path, at, expected=counted(int(count[1]), "column"), found=count[2], advice=advice)
    if "state machine" in text:
        advice = "write all lines with the same end, and quote texts that have quotes or line ends"
        return data_error(source.path, at, expected="CSV with one kind of line end", found="several", advice=advice)
    found = text.splitlines()[0].partition(": ")[2].rstrip(".") or text.splitlines()[0]
    if line:
        found = next((one for one in text.splitlines()[2:] if one.strip()), found)
    return data_error(source.path, at, expected="CSV", found=shown(found, 120), advice="correct the file")


def _never_closed(source: Source, line: int) -> DataError:
    found, advice = "one that is never closed", "close or double the quote"
    return data_error(source.path, f"row {line}", expected="closed quotes", found=found, advice=advice)


def number_advice(text: str, decimal: str) -> str | None:
    """What to do about a number with other marks than the engine reads; None for what is no number."""
    text = text.strip()
    other = "," if decimal == "." else "."
    if re.fullmatch(rf"[+-]?[0-9]+[{other}][0-9]+", text):
        advice = f"set --data.decimal {other} if that is the decimal mark"
        grouped = re.fullmatch(rf"[+-]?[1-9][0-9]{{0,2}}[{other}][0-9]{{3}}", text)
        return f"{advice}, or write thousands without a mark" if grouped else advice
    groups = re.fullmatch(r"[+-]?[0-9]{1,3}(([.,' _\u00a0\u202f])[0-9]{3})(\2[0-9]{3})*(([.,])[0-9]*)?", text)
    if not groups:
        return None
    mark = groups[5]
    also = f", and set --data.decimal {mark}" if mark and mark != decimal else ""
    return f"write thousands without a mark ({shown(groups[2])} here){also}"


def _rejected_line(table: Table, query: str) -> int | None:
    """The line, as an editor counts, of the first row that the engine rejects: it knows the byte, and other lines."""
    try:
        rejecting = query.replace("auto_detect=false", "auto_detect=false, store_rejects=true, rejects_limit=1000")
        table.rows_of(f"SELECT count(columns(*)) FROM ({rejecting})")  # noqa: S608 - our own query
        byte = table.rows_of("SELECT min(line_byte_position) FROM reject_errors")[0]
    except duckdb.Error:
        return None
    if byte[0] is None:
        return None
    lines, left = 1, int(byte[0]) - 1
    with open_source(table.source) as stream:
        while left > 0 and (block := read_block(stream, table.source.path, min(left, 1 << 20))):
            lines, left = lines + block.count(b"\n"), left - len(block)
        while read_block(stream, table.source.path, 1) == b"\n":
            lines += 1
    return lines


def _no_number_in_list(source: Source, cell: str, query: str) -> DataError | None:
    """The error for an element of a list that is no number, whose line the engine counts wrongly."""
    for number, line in lines_of(source):
        for name, values in json.loads(line).items():
            if f"{quoted(name)}: 'DOUBLE[" not in query or not isinstance(values, list):
                continue
            if f"{quoted(name)}: 'DOUBLE[][" in query:
                values = [one for inner in values if isinstance(inner, list) for one in inner]  # noqa: PLW2901
            for value in values:
                if json.dumps(value, separators=(",", ":"), ensure_ascii=False) == cell:
                    return mismatch(source, f"line {number}", name, "a number in each place of the list", value)
    return None


def _json_error(source: Source, text: str, numbers: tuple[str, ...]) -> DataError:
    found = re.search(r"(Malformed JSON|JSON transform error).*?in line (\d+): (.*)", text)
    if not found and "non-record" in text:
        number, line = next((n, line) for n, line in lines_of(source) if not line.startswith("{"))
        advice = "write one object per line"
        return data_error(source.path, f"line {number}", expected="a JSON object", found=shown(line), advice=advice)
    if not found:
        first = text.splitlines()[0].partition(": ")[2]
        return data_error(source.path, "file", expected="JSON lines", found=first, advice="correct the file")
    if "UTF-8" in found[3] and (error := not_utf_8(source)):
        return error
    malformed = found[1].startswith("Malformed")
    number = line_of(source, int(found[2]) - malformed)
    at, line = f"line {number}", dict(lines_of(source, number)).get(number, "")
    key = re.search(r'duplicate key "(.*)"', found[3])
    if key:
        advice = "give each key once"
        return data_error(source.path, at, expected="each key once", found=f"{key[1]!r} twice", advice=advice)
    if malformed or not line.lstrip().startswith("{"):
        why = f" ({found[3].strip(' .')})" if line.lstrip().startswith("{") else ""
        advice = "write one object per line"
        return data_error(source.path, at, expected="a JSON object", found=f"{shown(line)}{why}", advice=advice)
    values = json.loads(line)
    for name in numbers:
        value = values.get(name)
        if isinstance(value, str | list | dict):
            with contextlib.suppress(TypeError, ValueError):
                float(value)  # type: ignore[arg-type]
                continue
            where, advice = f"{at}, {source.field(name)}", f"correct it, or choose another {source.field_noun}"
            return data_error(source.path, where, expected="a number", found=shown(value), advice=advice)
    advice = "write all values of a key the same way"
    return data_error(
        source.path, at, expected="a value of the key's type", found=shown(found[3].rstrip("."), 100), advice=advice
    )
