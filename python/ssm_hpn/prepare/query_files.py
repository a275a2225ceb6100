"""Files that a query reads, in which two columns have one name for the engine, or `1_0` is a number for it.

Inside a query it is the engine that finds columns, and it takes `x` and `X` for one name. So the names in the files of
a query are held against each other before it runs: those of the header or schema, and of JSON the keys of all objects.
"""

import csv
import glob
import io
import json
import re
from functools import lru_cache
from pathlib import Path
from typing import Final

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from ssm_hpn.errors import DataError, problem, shown
from ssm_hpn.prepare.engine import engine, identifier, quoted
from ssm_hpn.prepare.prefetch import for_workers
from ssm_hpn.prepare.source import Source, has_underscored_digits
from ssm_hpn.prepare.twins import pairs

QUOTED: Final = re.compile(r"'((?:[^']|'')+)'" + r'|"((?:[^"]|"")+)"')
"""Texts and names in a query, which may be files."""
SEPARATORS: Final = ",;\t|"
COMPRESSIONS: Final = {b"\x1f\x8b": "gzip", b"\x28\xb5\x2f\xfd": "zstd"}
"""How the engine may decompress a file, by its first bytes."""
PARQUET: Final = b"PAR1"
"""The first bytes of a Parquet file."""
START: Final = 1 << 20
"""Bytes in which the names of a file are looked for."""
MEMORY_FOR_KEYS: Final = 128
"""MB in which the keys of JSON are collected."""


def check_files(query: str) -> None:
    """Refuse a query of a file that the engine reads otherwise than this package.

    That is one in which a column that the query names has a twin with the same name but for the case, and one with
    `1_0` in a column that the engine takes for numbers.
    """
    for text, name in QUOTED.findall(query):
        pattern = (text or name).replace("''", "'").replace('""', '"')
        for file in sorted(glob.glob(pattern, recursive=True)) if len(pattern) < 1000 else []:  # noqa: PTH207
            if not re.search(rf"read_csv\w*\s*\([^)]*{re.escape(text or name)}", query, re.IGNORECASE):
                _check_digits(Path(file))
            for one, other in pairs(_names(Path(file))):
                if re.search(rf"(?<!\w){re.escape(one)}(_[0-9]+)*(?!\w)", query, re.IGNORECASE):
                    found = f"{one!r} and {other!r} in {file}"
                    advice = "rename one of them in the file: a query takes both for the same"
                    raise DataError(problem("query", "columns with names of their own in any case", found, advice))


def _check_digits(file: Path) -> None:
    """Refuse a CSV file in which the engine reads `1_0` as the number 10."""
    status = file.stat()
    found = _misread(file, status.st_size, status.st_mtime_ns) if file.is_file() else None
    if found is not None:
        name, cell = found
        advice = f"read it as text: read_csv({quoted(str(file))}, types={{{quoted(name)}: 'VARCHAR'}})"
        what = f"{shown(cell)} in column {name!r} of {file}, which the engine takes for a number"
        raise DataError(problem("query", "numbers without an underscore between digits", what, advice))


@lru_cache(maxsize=64)
def _misread(file: Path, size: int, changed: int) -> tuple[str, str] | None:  # noqa: ARG001 - the file as it is
    """A column of a CSV file that the engine takes for numbers, and a cell of it with an underscore."""
    scan = quoted(str(file))
    try:
        if _start(file).lstrip().startswith((PARQUET, b"{", b"[")):
            return None
        if not has_underscored_digits(Source(file, file.name, "csv")):
            return None
        with engine(None) as connection:
            kinds = connection.execute(f"DESCRIBE SELECT * FROM {scan}").fetchall()  # noqa: S608 - quoted
            names = [row[0] for row in kinds if re.search("INT|DOUBLE|DECIMAL", row[1])]
            tests = ", ".join(f"min({identifier(one)}) FILTER (contains({identifier(one)}, '_'))" for one in names)
            cells = connection.execute(f"SELECT {tests} FROM read_csv({scan}, all_varchar=true)").fetchall()[0]  # noqa: S608
    except (OSError, duckdb.Error, DataError):  # what is wrong with the file is said when it is read
        return None
    return next(((name, cell) for name, cell in zip(names, cells, strict=True) if cell is not None), None)


def _names(file: Path) -> list[str]:
    """The names of the columns of a file that a query may read, by its first bytes and not by its ending."""
    try:
        start = _start(file)
        if start.startswith(PARQUET):
            return list(pq.read_schema(file).names)
        text = start.decode("utf-8-sig", errors="replace").lstrip()
        if text.startswith(("{", "[")):
            record = json.JSONDecoder(object_pairs_hook=list).raw_decode(text.lstrip("[ \t\r\n"))[0]
            first = [name for name, _ in record]
            status = file.stat()
            return first + [key for key in _keys(file, status.st_size, status.st_mtime_ns) if key not in first]
        line = text.partition("\n")[0]
        return next(csv.reader(io.StringIO(text), delimiter=max(SEPARATORS, key=line.count)), [])
    except (OSError, TypeError, ValueError, RecursionError, csv.Error):  # the engine says what is wrong with the file
        return []


@lru_cache(maxsize=64)
def _keys(file: Path, size: int, changed: int) -> list[str]:  # noqa: ARG001 - the file as it is
    """The keys of all objects of a JSON file, sorted; none of one that the engine cannot read, as it then says."""
    with file.open("rb") as stream:
        compression = _compression(stream.read(4)) or "none"
    objects = f"read_json_objects({quoted(str(file))}, format='auto', compression='{compression}')"
    try:
        with engine(None) as connection:
            connection.execute(f"SET memory_limit = '{for_workers(MEMORY_FOR_KEYS)}MB'")
            found = connection.execute(f"SELECT DISTINCT unnest(json_keys(json)) FROM {objects}")  # noqa: S608
            return sorted(key for (key,) in found.fetchall())
    except duckdb.Error:
        return []


def _compression(start: bytes) -> str | None:
    return next((name for mark, name in COMPRESSIONS.items() if start.startswith(mark)), None)


def _start(file: Path) -> bytes:
    """The first bytes of a file, decompressed if they say so; nothing of what is no file."""
    if not file.is_file():
        return b""
    with file.open("rb") as stream:
        start = stream.read(START)
    compression = _compression(start)
    if compression is None:
        return start
    with pa.input_stream(str(file), compression=compression) as stream:
        return bytes(stream.read(START))
