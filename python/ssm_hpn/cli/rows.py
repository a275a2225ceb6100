"""Rows of predictions as JSON lines, CSV or Parquet, by the ending of the file that is asked for.

A table has no nested values: in CSV and Parquet `scores` becomes a column `score NAME` for each class, `probabilities`
one `probability NAME`, `values` a column for each number under its own name, or `value NAME` where that is taken; a
list of classes per step stays a list in Parquet and is JSON in CSV.
"""

import csv
import json
import sys
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TextIO

from ssm_hpn.classes import Classes, text_of, whole_type
from ssm_hpn.errors import ConfigError, problem
from ssm_hpn.storage import replaced, replaced_text

if TYPE_CHECKING:
    import pyarrow as pa

ENDINGS: Final = (".jsonl", ".ndjson", ".csv", ".parquet")
AT_ONCE: Final = 1024
BY_CLASS: Final = {"scores": "score", "probabilities": "probability"}
"""Nested values of each class, and the word before the class in a table."""
NESTED: Final = (*BY_CLASS, "values")

Row = Mapping[str, Any]


def check_ending(path: Path) -> None:
    """Refuse a file whose ending names no format."""
    if path.suffix.lower() not in ENDINGS:
        found = path.suffix or "none"
        advice = "give the file one of these endings, or leave --out out for standard output"
        raise ConfigError(problem(f"--out {path}", f"an ending of {', '.join(ENDINGS)}", found, advice))


def write_rows(rows: Iterable[Row], path: Path | None, classes: Classes | None = None) -> None:
    """Write rows to a file, which keeps its old content on failure, or as JSON lines to standard output.

    The classes of the data give `class` and `classes` their type in Parquet.
    """
    if path is None:
        _jsonl(rows, sys.stdout)
        return
    match path.suffix.lower():
        case ".csv":
            with replaced_text(path) as file:
                _csv(map(flat, rows), file)
        case ".parquet":
            with replaced(path) as temporary:
                _parquet(map(flat, rows), temporary, classes)
        case _:
            with replaced_text(path) as file:
                _jsonl(rows, file)


def flat(row: Row) -> dict[str, Any]:
    """A row without nested values.

    >>> flat({"id": "a", "class": "x", "score": 0.5, "scores": {"x": 0.5, "y": 0.1}})
    {'id': 'a', 'class': 'x', 'score': 0.5, 'score x': 0.5, 'score y': 0.1}
    >>> flat({"id": "a", "values": {"price": 1.0, "id": 2.0}})
    {'id': 'a', 'price': 1.0, 'value id': 2.0}
    """
    found = {key: value for key, value in row.items() if key not in NESTED}
    for key, value in row.items():
        if word := BY_CLASS.get(key):
            _put(found, {f"{word} {name}": number for name, number in value.items()}, word)
        elif key == "values":
            _put(found, value, "value")
    return found


def _put(found: dict[str, Any], columns: Row, prefix: str) -> None:
    """Add columns, each with a prefix for every column before it that has its name."""
    for name, value in columns.items():
        free = name
        while free in found:
            free = f"{prefix} {free}"
        found[free] = value


def _jsonl(rows: Iterable[Row], file: TextIO) -> None:
    file.writelines(json.dumps(row) + "\n" for row in rows)


def _csv(rows: Iterable[Row], file: TextIO) -> None:
    writer = csv.writer(file, lineterminator="\n")
    for number, row in enumerate(rows):
        if number == 0:
            writer.writerow(row)
        writer.writerow([json.dumps(value) if isinstance(value, list | bool) else value for value in row.values()])


def _parquet(rows: Iterator[Row], path: Path, classes: Classes | None) -> None:
    import pyarrow as pa  # imported only where Parquet is written
    import pyarrow.parquet as pa_parquet

    first = list(islice(rows, AT_ONCE))
    types = {key: _type(key, value, classes) for key, value in first[0].items()} if first else {}
    schema = pa.schema(list(types.items()))
    texts = [key for key, kind in types.items() if kind in (pa.string(), pa.list_(pa.string()))]
    with pa_parquet.ParquetWriter(path, schema) as writer:
        for group in chain([first], iter(lambda: list(islice(rows, AT_ONCE)), [])):
            written = [{**row, **{key: _text(row[key]) for key in texts}} for row in group]
            writer.write_table(pa.Table.from_pylist(written, schema=schema))


def _type(key: str, value: object, classes: Classes | None) -> "pa.DataType":
    """Type of a column in Parquet; whole numbers that no type of 64 bits holds are written as texts."""
    import pyarrow as pa

    numbers = value if isinstance(value, list) else [value]
    if all(isinstance(number, float) for number in numbers):  # numbers to predict may have any name
        return pa.list_(pa.float64()) if isinstance(value, list) else pa.float64()
    if key in ("class", "classes"):
        known = () if classes is None else classes.values
        whole = whole_type(one for one in known if isinstance(one, int))
        kinds = {"boolean": pa.bool_(), "integer": getattr(pa, whole or "string")(), "number": pa.float64()}
        kind = pa.int64() if classes is None else kinds.get(classes.type, pa.string())
        return pa.list_(kind) if key == "classes" else kind
    return {float: pa.float64(), int: pa.int64()}.get(type(value), pa.string())


def _text(value: object) -> str | list[str] | None:
    if isinstance(value, list):
        return [text_of(one) for one in value]
    return None if value is None else text_of(value)
