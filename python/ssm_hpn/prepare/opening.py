"""Opening a source as a table of the engine: the dialect of a CSV file, the columns of every format, a checked query.

Names of a CSV header are read with the module csv, as the engine renames a column that is there twice; a header of more
columns than the sniffer's memory holds is split at its most frequent separator.
"""

import csv
import io
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import duckdb
import pyarrow.parquet as pq

from ssm_hpn.arrays import is_frame, names_of
from ssm_hpn.config.data import PrepareOptions
from ssm_hpn.prepare.copies import as_parquet, in_utf_8
from ssm_hpn.prepare.engine import BUFFER, LONG_LINE, SAMPLE_ROWS, Table, quoted
from ssm_hpn.prepare.engine_errors import never_closed, too_long, translated
from ssm_hpn.prepare.headers import check_names, two_headers
from ssm_hpn.prepare.prefetch import for_workers
from ssm_hpn.prepare.problems import data_error
from ssm_hpn.prepare.queries import check_result, checked_query
from ssm_hpn.prepare.query_files import check_files
from ssm_hpn.prepare.quotes import unclosed
from ssm_hpn.prepare.source import (
    UTF_16,
    Source,
    has_underscored_digits,
    line_ends,
    longest_row,
    not_utf_8,
    open_source,
    read_block,
)
from ssm_hpn.prepare.sources import PARQUET, parquet_as_text
from ssm_hpn.prepare.twins import placed, true_keys

MEMORY_FOR_BUFFERS: Final = 128
"""MB, for JSON lines and for queries, where each thread has a buffer of 32 MB."""
MEMORY_FOR_LONG_LINES: Final = 270
"""MB, where a line is longer than what the engine expects."""


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
                table = _csv(source, options, connection, file, long_lines=long_lines, whole=whole)
            case "jsonl":
                table = _json(source, connection, file, long_lines=long_lines)
            case "parquet":
                scan = f"read_parquet({quoted(str(source.path))})"
                table = _described(source, connection, scan)
                names = pq.read_schema(source.path).names
                check_names(source.path, "schema", names, "rename one of them")
                table = _with_places(table, names)
            case "arrow":
                file = as_parquet(source, work or _spills_to(connection), whole=whole)
                table = _described(source, connection, f"read_parquet({quoted(str(file))})")
                names = pq.read_schema(file).names
                check_names(source.path, "schema", names, "rename one of them")
                table = _with_places(table, names)
            case "sql":
                query = checked_query(source.content)
                check_files(query)
                if not long_lines:
                    connection.execute(f"SET memory_limit = '{for_workers(MEMORY_FOR_BUFFERS)}MB'")
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
    source: Source,
    options: PrepareOptions,
    connection: duckdb.DuckDBPyConnection,
    file: Path,
    *,
    long_lines: bool,
    whole: bool,
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
        raise never_closed(source, line)
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
    table = Table(source, connection, types, options=arguments, file=file, decimal=options.decimal, marks=marks)
    table.notes, table.underscored = notes, whole and has_underscored_digits(source)
    return table


def _head(source: Source) -> tuple[int, str, str]:
    """Blank lines in front, the first line with anything in it (a name may have a line end), a sample."""
    with open_source(source) as stream:
        start = read_block(stream, source.path, 1 << 16)
        _check_start(source, start)
        while start and not line_ends(start.lstrip()) and (more := read_block(stream, source.path, 1 << 20)):
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


def _check_start(source: Source, start: bytes) -> None:
    """Refuse a file that does not begin as text in UTF-8 does."""
    if start.startswith(UTF_16):
        advice = "set --data.encoding utf-16, or save the file as UTF-8"
        raise data_error(source.path, "file", expected="text in UTF-8", found="UTF-16", advice=advice)
    if start.startswith(PARQUET):
        raise parquet_as_text(source)


# ---- JSON lines


def _json(source: Source, connection: duckdb.DuckDBPyConnection, file: Path, *, long_lines: bool) -> Table:
    with open_source(source) as stream:
        start = read_block(stream, source.path, 1 << 12)
    _check_start(source, start)
    if not start.strip():
        raise data_error(
            source.path, "file", expected="at least one row", found="blank lines only", advice="leave the file out"
        )
    arguments = ["format='newline_delimited'", "records=true"]
    if long_lines:
        arguments.append(f"maximum_object_size={_room_for_long_lines(source, connection)}")
    else:
        connection.execute(f"SET memory_limit = '{for_workers(MEMORY_FOR_BUFFERS)}MB'")
    scan = f"read_json({quoted(str(file))}, {', '.join(arguments)}, maximum_depth=3, sample_size={SAMPLE_ROWS})"
    table = _described(source, connection, scan)
    table.present = dict(zip(true_keys(source, [*table.present], SAMPLE_ROWS), table.present.values(), strict=True))
    table.options, table.file = arguments, file
    return table


def _room_for_long_lines(source: Source, connection: duckdb.DuckDBPyConnection) -> int:
    """Bytes that the longest row takes, where one is longer than what the engine expects; memory is limited for it."""
    line, size = longest_row(source)
    if size > LONG_LINE:
        raise too_long(source, line, size)
    if size > BUFFER:
        connection.execute(f"SET memory_limit = '{MEMORY_FOR_LONG_LINES}MB'")
    return size + (1 << 21)
