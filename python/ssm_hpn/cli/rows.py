"""Rows of predictions as JSON lines, CSV or Parquet, by the ending of the file that is asked for.

A table has no nested values: in CSV and Parquet `scores` becomes a column `score NAME` for each class, `values` a
column `value K` for each number; a list of classes per step stays a list in Parquet and is JSON in CSV.
"""

import csv
import json
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from itertools import chain, islice
from pathlib import Path
from typing import Any, Final, TextIO

from ssm_hpn.errors import ConfigError, StorageError, problem

ENDINGS: Final = (".jsonl", ".ndjson", ".csv", ".parquet")
AT_ONCE: Final = 1024

Row = Mapping[str, Any]


def check_ending(path: Path) -> None:
    """Refuse a file whose ending names no format."""
    if path.suffix.lower() not in ENDINGS:
        found = path.suffix or "none"
        advice = "give the file one of these endings, or leave --out out for standard output"
        raise ConfigError(problem(f"--out {path}", f"an ending of {', '.join(ENDINGS)}", found, advice))


def write_rows(rows: Iterable[Row], path: Path | None) -> None:
    """Write rows to a file, which is whole or as it was before, or as JSON lines to standard output."""
    if path is None:
        _jsonl(rows, sys.stdout)
        return
    match path.suffix.lower():
        case ".csv":
            with _replaced(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
                _csv(map(flat, rows), file)
        case ".parquet":
            with _replaced(path) as temporary:
                _parquet(map(flat, rows), temporary)
        case _:
            with _replaced(path) as temporary, temporary.open("w", encoding="utf-8") as file:
                _jsonl(rows, file)


def flat(row: Row) -> dict[str, Any]:
    """A row without nested values.

    >>> flat({"id": "a", "class": "x", "score": 0.5, "scores": {"x": 0.5, "y": 0.1}})
    {'id': 'a', 'class': 'x', 'score': 0.5, 'score x': 0.5, 'score y': 0.1}
    >>> flat({"id": "a", "values": [1.0, 2.0]})
    {'id': 'a', 'value 0': 1.0, 'value 1': 2.0}
    """
    found: dict[str, Any] = {}
    for key, value in row.items():
        if key == "scores":
            found |= {f"score {name}": score for name, score in value.items()}
        elif key == "values":
            found |= {f"value {index}": number for index, number in enumerate(value)}
        else:
            found[key] = value
    return found


def _jsonl(rows: Iterable[Row], file: TextIO) -> None:
    file.writelines(json.dumps(row) + "\n" for row in rows)


def _csv(rows: Iterable[Row], file: TextIO) -> None:
    writer = csv.writer(file, lineterminator="\n")
    for number, row in enumerate(rows):
        if number == 0:
            writer.writerow(row)
        writer.writerow([json.dumps(value) if isinstance(value, list | bool) else value for value in row.values()])


def _parquet(rows: Iterator[Row], path: Path) -> None:
    import pyarrow as pa  # only for those who write it
    import pyarrow.parquet as pa_parquet

    first = list(islice(rows, AT_ONCE))
    schema = pa.Table.from_pylist(first).schema
    nulls = [index for index, field in enumerate(schema) if pa.types.is_null(field.type)]
    for index in nulls:  # every class of the first rows was rejected
        schema = schema.set(index, schema.field(index).with_type(pa.string()))
    with pa_parquet.ParquetWriter(path, schema) as writer:
        for group in chain([first], iter(lambda: list(islice(rows, AT_ONCE)), [])):
            writer.write_table(pa.Table.from_pylist(group, schema=schema))


@contextmanager
def _replaced(path: Path) -> Iterator[Path]:
    """A file beside a path that takes its place if nothing fails."""
    temporary = path.with_name(f".{path.name}.new")
    try:
        yield temporary
        temporary.replace(path)
    except OSError as error:
        raise StorageError(f"{path}: cannot write: {error.strerror or error}") from None
    finally:
        temporary.unlink(missing_ok=True)
