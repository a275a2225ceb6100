"""CSV, Parquet and JSON lines as a stream of column batches.

Rows are counted as a person sees them: from 1, and in a CSV file the header is row 1.
"""

import csv as csv_text
import json
import re
from collections.abc import Iterator
from fnmatch import fnmatchcase
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pa_parquet
from numpy.typing import NDArray

from ssm_hpn.config.data import Columns, PrepareOptions
from ssm_hpn.errors import DataError
from ssm_hpn.prepare.problems import data_error, listed, nearest, shown
from ssm_hpn.prepare.sources import Source, open_stream
from ssm_hpn.prepare.text import blocks

TEXT_NAMES = ("text", "content")
TOKEN_NAMES = ("tokens", "input_ids")
ROWS_OF_NUMBERS, ROWS_OF_DOCUMENTS = 1 << 16, 1 << 9


class Batch(NamedTuple):
    """Some rows of the wanted columns."""

    rows: NDArray[np.int64]
    """Their numbers in the file."""
    columns: dict[str, pa.Array]

    @property
    def n_rows(self) -> int:
        """Rows of this batch."""
        return len(self.rows)


def _consecutive(first: int, batch: pa.RecordBatch, names: list[str]) -> Batch:
    """A record batch whose rows follow each other in the file."""
    return Batch(np.arange(first, first + batch.num_rows), {name: batch.column(name) for name in names})


def resolve(source: Source, options: PrepareOptions) -> Columns:
    """The columns with patterns expanded and defaults filled in; an unknown one is an error with the nearest name."""
    present = _names(source)
    columns = options.columns
    wildcards = {name for name in columns.features if "*" in name}
    features = [
        hit
        for name in columns.features
        for hit in ([p for p in present if fnmatchcase(p, name)] if name in wildcards else [name])
    ]
    columns = columns.model_copy(update={"features": tuple(dict.fromkeys(features))})
    for key, name in wanted(columns):
        if name not in present:
            raise data_error(
                source.path,
                f"data.columns.{key}",
                expected=f"a {source.field(name)}",
                found=f"no such {source.field_noun}",
                advice=nearest(name, present),
            )
    if columns.text or columns.tokens or columns.features:
        return columns
    for key, known in (("text", TEXT_NAMES), ("tokens", TOKEN_NAMES)):
        for name in known:
            if name in present:
                return columns.model_copy(update={key: name})
    raise data_error(
        source.path,
        "file",
        expected=f"a {source.field_noun} with the data ({', '.join((*TEXT_NAMES, *TOKEN_NAMES))})",
        found=listed(present),
        advice="name it with --data.columns.text, .tokens or .features",
    )


def wanted(columns: Columns) -> list[tuple[str, str]]:
    """Every (setting, column name) in use."""
    pairs = [(key, getattr(columns, key)) for key in ("text", "tokens", "id", "order", "label", "labels")]
    pairs += [("features", name) for name in columns.features] + [("values", name) for name in columns.values]
    return [(key, name) for key, name in pairs if name]


def stream(source: Source, columns: Columns) -> Iterator[Batch]:
    """All rows of a file, some at a time, in order."""
    names = list(dict.fromkeys(name for _, name in wanted(columns)))
    numbers = {*columns.features, *columns.values}
    match source.format:
        case "csv":
            return _csv(source, names, numbers, columns)
        case "parquet":
            return _parquet(source, names)
        case _:
            return _jsonl(source, names)


def _names(source: Source) -> list[str]:
    """Column names of a file, from its header, footer or first line."""
    match source.format:
        case "csv":
            return next(csv_text.reader([_first_line(source)], delimiter=_delimiter(source)), [])
        case "parquet":
            return list(_open_parquet(source).schema_arrow.names)
        case _:
            return list(_parse_line(source, _first_line(source).encode(), 1))


def _first_line(source: Source) -> str:
    """The first line with anything in it; a file without one is an error."""
    for block in blocks(source, 1 << 16):
        for line in block.split(b"\n"):
            if line.strip():
                return line.removeprefix(b"\xef\xbb\xbf").decode(errors="replace").rstrip("\r")
    raise data_error(
        source.path, "file", expected="at least one row", found="blank lines only", advice="leave the file out"
    )


# ---- CSV


def _delimiter(source: Source) -> str:
    """The separator that the header has most of."""
    header = _first_line(source)
    return max(",\t;", key=header.count)


def _csv(source: Source, names: list[str], numbers: set[str], columns: Columns) -> Iterator[Batch]:
    types = {name: pa.float64() if name in numbers else pa.string() for name in names}
    if columns.order:
        types.pop(columns.order, None)
    header = _names(source)
    row = 2
    try:
        reader = pa_csv.open_csv(
            open_stream(source.path),
            read_options=pa_csv.ReadOptions(use_threads=False),
            parse_options=pa_csv.ParseOptions(delimiter=_delimiter(source), newlines_in_values=bool(columns.text)),
            convert_options=pa_csv.ConvertOptions(include_columns=names, column_types=types),
        )
        for batch in reader:
            yield _consecutive(row, batch, names)
            row += batch.num_rows
    except (pa.ArrowInvalid, pa.ArrowKeyError) as error:
        raise _csv_error(source, header, str(error)) from None


def _csv_error(source: Source, header: list[str], message: str) -> DataError:
    """The parser's own words as place, expectation and finding."""
    found = re.search(r"CSV column #(\d+): Row #(\d+): .* invalid value '(.*)'", message)
    if found:
        column, row, value = int(found[1]), found[2], found[3]
        name = header[column] if column < len(header) else f"#{column}"
        return data_error(
            source.path,
            f"{source.row(int(row))}, {source.field(name)}",
            expected="a number",
            found=shown(value),
            advice="correct it, or choose another column",
        )
    found = re.search(r"(?:Row #(\d+): )?Expected (\d+) columns, got (\d+)", message)
    if found:
        return data_error(
            source.path,
            source.row(int(found[1])) if found[1] else "file",
            expected=f"{found[2]} columns",
            found=found[3],
            advice="correct the row; texts with line breaks or separators need quotes",
        )
    return data_error(source.path, "file", expected="CSV", found=message, advice="correct the file")


# ---- Parquet


def _open_parquet(source: Source) -> pa_parquet.ParquetFile:
    try:
        return pa_parquet.ParquetFile(source.path)
    except (pa.ArrowInvalid, OSError) as error:
        raise _parquet_error(source, error) from None


def _parquet_error(source: Source, error: Exception) -> DataError:
    return data_error(
        source.path,
        "file",
        expected="a whole Parquet file",
        found=str(error).splitlines()[0].rstrip("."),
        advice="the file is cut or damaged: write or copy it again",
    )


def _parquet(source: Source, names: list[str]) -> Iterator[Batch]:
    file = _open_parquet(source)
    schema = file.schema_arrow
    scalars = all(_is_number(schema.field(name).type) or name not in names for name in schema.names)
    row = 1
    try:
        for batch in file.iter_batches(ROWS_OF_NUMBERS if scalars else ROWS_OF_DOCUMENTS, columns=names):
            yield _consecutive(row, batch, names)
            row += batch.num_rows
    except (pa.ArrowInvalid, OSError) as error:
        raise _parquet_error(source, error) from None


def _is_number(kind: pa.DataType) -> bool:
    return bool(pa.types.is_primitive(kind))


# ---- JSON lines


def _jsonl(source: Source, names: list[str]) -> Iterator[Batch]:
    row = 1
    for block in blocks(source, 1 << 20):
        lines = block.split(b"\n")
        if not lines[-1]:
            lines.pop()
        start = 0
        for end in range(ROWS_OF_DOCUMENTS, len(lines) + ROWS_OF_DOCUMENTS, ROWS_OF_DOCUMENTS):
            full = [row + index for index, line in enumerate(lines[start:end], start) if line.strip()]
            objects = [_pick(source, _parse_line(source, lines[at - row], at), names, at) for at in full]
            if objects:
                yield Batch(np.array(full), _arrays(source, objects, names, full))
            start = end
        row += len(lines)


def _parse_line(source: Source, line: bytes, row: int) -> dict[str, object]:
    try:
        value = json.loads(line)
    except ValueError:
        value = None
    if isinstance(value, dict):
        return value
    raise data_error(
        source.path,
        source.row(row),
        expected="a JSON object",
        found=shown(line.decode(errors="replace").strip()),
        advice="write one object per line",
    )


def _pick(source: Source, values: dict[str, object], names: list[str], row: int) -> list[object]:
    try:
        return [values[name] for name in names]
    except KeyError as error:
        name = str(error.args[0])
        raise data_error(
            source.path,
            f"{source.row(row)}, {source.field(name)}",
            expected="a value, or null for none",
            found="no such key",
            advice=nearest(name, values),
        ) from None


def _arrays(source: Source, rows: list[list[object]], names: list[str], lines: list[int]) -> dict[str, pa.Array]:
    """Columns of some lines; the first value that does not go with those before it is an error."""
    columns: dict[str, pa.Array] = {}
    for index, name in enumerate(names):
        values = [row[index] for row in rows]
        try:
            columns[name] = pa.array(values)
        except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError):
            raise _unlike(source, name, values, lines) from None
    return columns


def _unlike(source: Source, name: str, values: list[object], lines: list[int]) -> DataError:
    """The complaint about the first value that cannot stand in one column with those before it."""
    fitting = 0
    for end in range(1, len(values) + 1):
        try:
            pa.array(values[:end])
        except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError):
            break
        fitting = end
    before = next((at for at, value in enumerate(values[:fitting]) if value is not None), None)
    alone = "a number of at most 64 bits, or a list whose values are of one type"
    return data_error(
        source.path,
        f"{source.row(lines[fitting])}, {source.field(name)}",
        expected=alone if before is None else f"{_type(values[before])} as in {source.row(lines[before])}",
        found=shown(values[fitting]),
        advice="write all values of a key the same way",
    )


def _type(value: object) -> str:
    names = {str: "a text", bool: "true or false", list: "a list of such values", dict: "an object"}
    return names.get(type(value), "a number of at most 64 bits")
