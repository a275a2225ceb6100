"""Columns whose names differ in case alone: the engine takes `x` and `X` for one name, and renames the second to `x_1`.

CSV columns are read by their places. Columns of Parquet files and of tables in memory get names of their own here, by
their places too. Keys of JSON lines are found by their exact names, but the engine cannot read two of one spelling at
once; and inside a query it is the engine that finds columns.
"""

import contextlib
import csv
import glob
import io
import itertools
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final

import pyarrow as pa
import pyarrow.parquet as pq

from ssm_hpn.errors import DataError, problem
from ssm_hpn.prepare.problems import data_error
from ssm_hpn.prepare.sources import Source, lines_of

RENAMED: Final = re.compile("(.*)_[0-9]+")
"""A name that the engine may have made from another one."""
QUOTED: Final = re.compile(r"'((?:[^']|'')+)'" + r'|"((?:[^"]|"")+)"')
"""Texts and names in a query, which may be files."""
SEPARATORS: Final = ",;\t|"
COMPRESSIONS: Final = {b"\x1f\x8b": "gzip", b"\x28\xb5\x2f\xfd": "zstd"}
"""How the engine may decompress a file, by its first bytes."""
PARQUET: Final = b"PAR1"
"""The first bytes of a Parquet file."""
START: Final = 1 << 20
"""Bytes in which the names of a file are looked for."""


def pairs(names: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Every name that the engine takes for an earlier one, behind that.

    >>> list(pairs(["a", "X", "x", "X", "b"]))
    [('X', 'x'), ('X', 'X')]
    """
    seen: dict[str, str] = {}
    for name in names:
        if name.casefold() in seen:
            yield seen[name.casefold()], name
        seen.setdefault(name.casefold(), name)


def twins(names: Iterable[str]) -> tuple[str, str] | None:
    """The first two names that differ in case alone.

    >>> twins(["a", "X", "b", "x"]), twins(["a", "a_1"])
    (('X', 'x'), None)
    """
    return next(((one, other) for one, other in pairs(names) if one != other), None)


def placed(scan: str, names: Sequence[str]) -> tuple[str, dict[str, str]]:
    """A scan whose columns have names of their own, and these by the true names; as it is where it has no twins.

    >>> placed("t", ["X", "x"])
    ('t AS placed(k0, k1)', {'X': 'k0', 'x': 'k1'})
    >>> placed("t", ["x", "y"])
    ('t', {})
    """
    if twins(names) is None:
        return scan, {}
    places = {name: f"k{place}" for place, name in enumerate(names)}
    return f"{scan} AS placed({', '.join(places.values())})", places


def true_keys(source: Source, names: Sequence[str], rows: int) -> list[str]:
    """The keys of JSON lines for which the engine has these names, from the same first rows."""
    lowered = {name.casefold() for name in names}
    if not any((found := RENAMED.fullmatch(name)) and found[1].casefold() in lowered for name in names):
        return list(names)
    keys: dict[str, None] = {}
    with contextlib.suppress(ValueError, RecursionError):  # the engine names what is wrong when it reads the line
        for _, line in itertools.islice(lines_of(source), rows):
            keys |= dict.fromkeys(json.loads(line))
    if len(keys) != len(names):
        both, advice = " and ".join(map(repr, twins(keys) or ())), "rename one of them"
        expected = "names that differ in more than case"
        raise data_error(source.path, "keys", expected=expected, found=both, advice=advice)
    return list(keys)


def check_used(source: Source, names: Iterable[str]) -> None:
    """Refuse two keys of JSON lines that are used together and differ in case alone."""
    found = twins(names)
    if found is not None:
        expected, advice = "keys in use that differ in more than case", "rename one of them"
        raise data_error(source.path, "keys", expected=expected, found=" and ".join(map(repr, found)), advice=advice)


def check_files(query: str) -> None:
    """Refuse a query that names a column of a file in which another one has the same name, but for the case."""
    for text, name in QUOTED.findall(query):
        pattern = (text or name).replace("''", "'").replace('""', '"')
        for file in sorted(glob.glob(pattern, recursive=True)) if len(pattern) < 1000 else []:  # noqa: PTH207
            for one, other in pairs(_names(Path(file))):
                if re.search(rf"(?<!\w){re.escape(one)}(_[0-9]+)*(?!\w)", query, re.IGNORECASE):
                    found = f"{one!r} and {other!r} in {file}"
                    advice = "rename one of them in the file: a query takes both for the same"
                    raise DataError(problem("query", "columns with names of their own in any case", found, advice))


def _names(file: Path) -> list[str]:
    """The names of the columns of a file that a query may read, by its first bytes and not by its ending."""
    try:
        start = _start(file)
        if start.startswith(PARQUET):
            return list(pq.read_schema(file).names)
        text = start.decode("utf-8-sig", errors="replace").lstrip()
        if text.startswith(("{", "[")):
            record = json.JSONDecoder(object_pairs_hook=list).raw_decode(text.lstrip("[ \t\r\n"))[0]
            return [name for name, _ in record]
        line = text.partition("\n")[0]
        return next(csv.reader(io.StringIO(text), delimiter=max(SEPARATORS, key=line.count)), [])
    except (OSError, TypeError, ValueError, RecursionError, csv.Error):  # the engine says what is wrong with the file
        return []


def _start(file: Path) -> bytes:
    """The first bytes of a file, decompressed if they say so; nothing of what is no file."""
    if not file.is_file():
        return b""
    with file.open("rb") as stream:
        start = stream.read(START)
    compression = next((name for mark, name in COMPRESSIONS.items() if start.startswith(mark)), None)
    if compression is None:
        return start
    with pa.input_stream(str(file), compression=compression) as stream:
        return bytes(stream.read(START))
