"""What the engine refuses, as errors that name the file, the line and the column and say what to do.

The engine gives texts and no more: they are searched for the place and for what was found. Lines are counted as an
editor counts them, which the engine does not.
"""

import contextlib
import itertools
import json
import re
from typing import Any, Final

import duckdb

from ssm_hpn.counts import counted
from ssm_hpn.errors import DataError
from ssm_hpn.prepare.cells import mismatch
from ssm_hpn.prepare.engine import BUFFER, LONG_LINE, MEMORY_IF_NEEDED, Table, quoted
from ssm_hpn.prepare.headers import header_below, missing_column
from ssm_hpn.prepare.problems import data_error, shown
from ssm_hpn.prepare.queries import advised, in_query, query_error
from ssm_hpn.prepare.quotes import unclosed
from ssm_hpn.prepare.source import Source, line_at, line_of, lines_of, longest_row, not_utf_8
from ssm_hpn.prepare.sources import not_parquet

_LETTERS: Final = r"[^\W\d_]{1,3}[²³]?"
UNIT: Final = re.compile(rf"([$€£¥₹])?\s*[-+]?[0-9][0-9.,]*\s*({_LETTERS}(?:/{_LETTERS})?|[%‰°$€£¥₹][CF]?)?")
"""A number with a currency before it or a unit behind it."""
ENOUGH_MEMORY: Final = f"rows that can be sorted in {MEMORY_IF_NEEDED} MB"
"""What is expected where memory does not suffice."""


def no_column(table: Table, key: str, name: str) -> DataError:
    """The error for a column that is not there, for a setting of `data.columns`, or `split`."""
    setting = "data.split" if key == "split" else f"data.columns.{key}"
    return missing_column(table.source, setting, name, table.present)


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
        return too_long(source, *row)
    if "Out of Memory" in text:
        advice = "write shorter lines, or name fewer columns in data.columns"
        return data_error(
            source.path,
            "file",
            expected=ENOUGH_MEMORY,
            found=first[:120],
            advice=advice,
        )
    if source.format == "sql":
        return query_error(error)
    if source.format == "csv":
        return _csv_error(source, text, table, query)
    if source.format == "jsonl":
        cast = re.search(r"Failed to cast value to numerical: (.*)", text)
        return (cast and _no_number(source, cast[1], query)) or _json_error(source, text, numbers)
    if isinstance(error, duckdb.IOException) or "Parquet" in text or "parquet" in text:
        if source.format == "parquet" and (other := not_parquet(source)):
            return other
        advice = "the file is cut or damaged: write or copy it again"
        return data_error(source.path, "file", expected="a whole Parquet file", found=first.rstrip("."), advice=advice)
    advice = "correct the data, or choose other columns"
    return data_error(source.path, "table", expected="a table", found=first, advice=advice)


def _csv_error(source: Source, text: str, table: Table | None, query: str) -> DataError:
    if ("nvalid unicode" in text or "not utf-8" in text) and (error := not_utf_8(source)):
        return error
    names = list(table.present) if table else []
    cell = re.search(r"converting column \"c(\d+)\". Could not convert string \"(.*?)\" to '(\w+)'", text, re.DOTALL)
    written_as_one = cell and "\n" not in cell[2] and not (table and cell[2].startswith(table.marks[1]))
    if table and not written_as_one and (opened := unclosed(source, *table.marks)):
        return never_closed(source, opened)
    if table and cell:  # the other columns take most of the time where there are many
        query = table.select({"cell": (names[int(cell[1])], "number")})
    line = re.search(r"CSV Error on Line: (\d+)", text)
    place = _rejected_line(table, query) if table and query else None
    at = f"row {place or line[1]}" if place or line else "file"  # type: ignore[index]
    if cell and table and names:
        row = place or (int(line[1]) if line else 0)
        return no_number(table, names[int(cell[1])], row, cell[2])
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


def no_number(table: Table, name: str, line: int, text: str) -> DataError:
    """The error for a cell of a CSV file that is no number, in a line as an editor counts; 0 where that is unknown."""
    source = table.source
    column = list(table.present).index(name)
    return data_error(
        source.path,
        f"{f'row {line}' if line else 'file'}, {source.field(name)}",
        expected="a number",
        found=shown(text),
        advice=number_advice(text, table.decimal)
        or _query_advice(source, name, text)
        or header_below(source, table.marks, column, line, name, text)
        or "correct it, choose another column, or name what stands for a missing number in data.null",
    )


def number_advice(text: str, decimal: str) -> str | None:
    """What to do about a number with other marks than the engine reads; None for what is no number."""
    text = text.strip()
    if text.lower() in ("true", "false"):
        return "write 1 for true and 0 for false, as there are numbers or other texts in the same column"
    if text.lower() in ("yes", "no"):
        return "write 1 for yes and 0 for no"
    if re.fullmatch("[\u2212\u2013][0-9.,]+", text):
        return f"write the sign as '-', not as {text[0]!r} (U+{ord(text[0]):04X})"
    unit = UNIT.fullmatch(text)
    if unit and (unit[1] or unit[2]):
        return f"write numbers alone, without {shown(unit[1] or unit[2])} and all of them in one unit"
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


def _query_advice(source: Source, name: str, text: str) -> str | None:
    """What to do about a list or a date in a cell of a CSV file; None for what is neither."""
    column = in_query(name)
    if re.fullmatch(r"\[[-+0-9.eE,; ]*\]", text.strip()):
        return f"read the lists by a query: {advised(source, f'* REPLACE (CAST({column} AS DOUBLE[]) AS {column})')}"
    if re.fullmatch(r"[0-9]{4}-[01]?[0-9]-[0-3]?[0-9]([ T][0-9:.]+)?", text.strip()):
        query = advised(source, f"* REPLACE (epoch(CAST({column} AS TIMESTAMP)) AS {column})")
        return f"dates are sorted by in data.columns.order; as seconds since 1970 a query gives them: {query}"
    return None


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
    return line_at(table.source, int(byte[0]) - 1, blank=True)


def _no_number(source: Source, cell: str, query: str) -> DataError | None:
    """The error for a text, or an element of a list, that is no number and whose line the engine counts wrongly."""
    for number, line in lines_of(source):
        with contextlib.suppress(ValueError, RecursionError):  # a line that the engine has not come to
            for name, value in json.loads(line).items():
                kind = re.search(rf"{re.escape(quoted(name))}: 'DOUBLE((?:\[\])*)'", query)
                if not kind:
                    continue
                expected = "a number in each place of the list" if kind[1] else "a number"
                for one in _elements(value, len(kind[1]) // 2):
                    if json.dumps(one, separators=(",", ":"), ensure_ascii=False) == cell or _is_no_number(one):
                        digits = isinstance(one, str) and re.search("[0-9]", one)
                        advice = "write it as a JSON number, such as 0.5" if digits else None
                        return mismatch(source, f"line {number}", name, expected, one, advice)
    return None


def _is_no_number(value: object) -> bool:
    """Whether a value is a text that is no number: the engine names the last one of some lines."""
    if not isinstance(value, str):
        return False
    try:
        float(value)
    except ValueError:
        return True
    return "_" in value


def _elements(value: Any, depth: int) -> list[Any]:  # noqa: ANN401 - any JSON
    """The elements of lists in lists; what is no list at that depth is left out."""
    if depth == 0:
        return [value]
    return [one for inner in value for one in _elements(inner, depth - 1)] if isinstance(value, list) else []


def _json_error(source: Source, text: str, numbers: tuple[str, ...]) -> DataError:
    found = re.search(r"(Malformed JSON|JSON transform error).*?in line (\d+): (.*)", text)
    if not found and "non-record" in text:
        number, line = next((n, line) for n, line in lines_of(source) if not line.startswith("{"))
        advice = "write one object per line"
        return data_error(source.path, f"line {number}", expected="a JSON object", found=shown(line), advice=advice)
    depth = re.search(r"maximum recursion depth of (\d+)", text)
    if depth and (deep := _deeper(source, int(depth[1]))):
        expected, advice = f"values inside at most {depth[1]} others", "write them flatter, or leave the key out"
        return data_error(source.path, f"line {deep[0]}", expected=expected, found=deep[1], advice=advice)
    if not found:
        first = text.splitlines()[0].partition(": ")[2]
        return data_error(source.path, "file", expected="JSON lines", found=first, advice="correct the file")
    if "UTF-8" in found[3] and (error := not_utf_8(source)):
        return error
    malformed = found[1].startswith("Malformed")
    number = line_of(source, int(found[2]) - malformed)
    at, line = f"line {number}", dict(lines_of(source, number)).get(number, "")
    if "surrogate" in found[3] and (half := _half_of_a_pair(line)):
        found_there, advice = f"{half}, half of a pair", "replace this escape, such as by \\ufffd"
        return data_error(source.path, at, expected="escapes of whole characters", found=found_there, advice=advice)
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


def _deeper(source: Source, limit: int) -> tuple[int, int] | None:
    """The first line with brackets inside of more than `limit` others, and how many they are."""
    for number, line in lines_of(source):
        brackets = re.sub(r"[^][{}]", "", re.sub(r'"(?:[^"\\]|\\.)*"', "", line))
        if len(brackets) > limit:
            depth = max(itertools.accumulate(1 if mark in "[{" else -1 for mark in brackets))
            if depth > limit:
                return number, depth
    return None


def _half_of_a_pair(line: str) -> str | None:
    r"""The first escape of a line that stands for half a character.

    >>> _half_of_a_pair(r'"\ud83d\ude00 \\ud800 \udc00"')
    '\\udc00'
    """
    pair = r"\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}"
    found = re.search(r"\\u[dD][89a-fA-F][0-9a-fA-F]{2}", re.sub(rf"\\\\|{pair}", "  ", line))
    return found[0] if found else None


def never_closed(source: Source, line: int) -> DataError:
    """The error for a quote of a CSV file that opens in a line and is never closed."""
    found, advice = "one that is never closed", "close or double the quote"
    return data_error(source.path, f"row {line}", expected="closed quotes", found=found, advice=advice)


def too_long(source: Source, line: int, size: int) -> DataError:
    """The error for a line of so many bytes that it is not read."""
    found = f"one of {size / 1e6:.0f} MB"
    advice = "write it as several shorter ones, or as Parquet"
    return data_error(source.path, f"line {line}", expected="a line that fits in memory", found=found, advice=advice)
