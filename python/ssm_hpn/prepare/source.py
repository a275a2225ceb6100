"""One file, query or table to read: its text as a stream of UTF-8, its lines, and what messages call its places."""

import codecs
import csv
import io
import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from ssm_hpn.counts import counted
from ssm_hpn.errors import DataError, StorageError
from ssm_hpn.prepare.decoding import Decoded, doubts
from ssm_hpn.prepare.problems import data_error

ENCODED: Final = ("csv", "jsonl", "text", "integers")
"""Formats of text."""
TABLES: Final = ("csv", "jsonl", "parquet", "arrow", "sql", "table")
LOOKED_AT: Final = 100_000
"""Lines that are looked at for another encoding than that of most."""
ROWS: Final = {"csv": "row", "parquet": "row", "arrow": "row", "sql": "row", "table": "row", "npy": "index"}
"""What a row is called where it is not a line, by format. Lines and rows are counted from 1, indices from 0."""
FIELDS: Final = {"jsonl": "key", "npy": "array"}
"""What a column is called, by format."""
UTF_16: Final = (b"\xff\xfe", b"\xfe\xff")


@dataclass(frozen=True, slots=True)
class Source:
    """One file, query or table to read."""

    path: Path
    name: str
    """Relative to the folder it was found in: stable when the folder moves."""
    format: str
    """As in `data.format`; `sql` for a query, `table` for an object of pandas, polars or Arrow."""
    content: Any = field(default=None, compare=False)
    """The query, or the object."""
    encoding: str = "utf-8"
    """Encoding of its text."""

    @property
    def recoded(self) -> bool:
        """Whether its text has another encoding than UTF-8."""
        return self.format in ENCODED and codecs.lookup(self.encoding).name != "utf-8"

    def row(self, number: int) -> str:
        """A row in a message: `line 7` as an editor counts, `row 7` or `index 7`. It may read the file."""
        if self.format in ("csv", "jsonl"):
            number = line_of(self, number)
        return f"{ROWS.get(self.format, 'line')} {number}"

    def field(self, name: str) -> str:
        """A column in a message: `column 'x'`, `key 'x'` or `array 'x'`."""
        return f"{self.field_noun} {name!r}"

    @property
    def field_noun(self) -> str:
        """What a column is called here: `column`, `key` or `array`."""
        return FIELDS.get(self.format, "column")


def open_stream(path: Path) -> pa.NativeFile:
    """The file as a byte stream, decompressed if its name says so."""
    try:
        return pa.input_stream(str(path), compression="detect")
    except OSError as error:
        raise StorageError(f"{path}: cannot open the file: {error}") from None


def open_source(source: Source) -> Any:  # noqa: ANN401 - a stream of Arrow or of Python
    """The text of a source as a byte stream of UTF-8. Reading raises `DataError` for what does not decode."""
    stream = open_stream(source.path)
    if not source.recoded:
        return stream
    return io.BufferedReader(Decoded(partial(read_block, stream, source.path), source.path, source.encoding), 1 << 20)


def not_utf_8(source: Source) -> DataError | None:
    """The error for the first bytes of a source that are no UTF-8, with their line; None if all of them are."""
    with open_stream(source.path) as stream:
        decoded = Decoded(partial(read_block, stream, source.path), source.path, "UTF-8")
        try:
            while decoded.read(1 << 20):
                pass
        except DataError as error:
            return _with_other_lines(source, error)
    return None


def _with_other_lines(source: Source, error: DataError) -> DataError:
    """The error for bytes that are no UTF-8, with other advice where other lines have characters of UTF-8."""
    bad = good = lines = 0
    with open_stream(source.path) as stream, io.BufferedReader(stream, 1 << 20) as text:
        for line in itertools.islice(text, LOOKED_AT):
            lines += 1
            if not line.isascii():
                whole = _is_utf_8(line)
                good, bad = good + whole, bad + (not whole)
    if not good or bad > good:
        return error
    of = f"{counted(bad, 'line')} of the first {lines}" if lines >= LOOKED_AT else f"{bad} of {counted(lines, 'line')}"
    others = counted(good, "other has", "others have")
    return DataError(f"{str(error).rpartition('; ')[0]}; correct {of}, as {others} characters in UTF-8")


def _is_utf_8(line: bytes) -> bool:
    try:
        line.decode()
    except UnicodeDecodeError:
        return False
    return True


def encoding_doubts(source: Source) -> list[tuple[str, str]]:
    """What may be wrong with the encoding of a recoded source, as `doubts` says."""
    if not source.recoded:
        return []
    with open_stream(source.path) as stream:
        return list(doubts(partial(read_block, stream, source.path), source.encoding))


@lru_cache(maxsize=64)
def _underscored(source: Source, size: int, changed: int) -> bool:  # noqa: ARG001 - the file as it is
    with open_source(source) as stream:
        end = b""
        while block := read_block(stream, source.path, 1 << 20):
            if b"_" in block:
                text = np.frombuffer(end + block, np.uint8)
                at = np.flatnonzero(text[1:-1] == ord("_"))
                if (_is_digit(text[at]) & _is_digit(text[at + 2])).any():
                    return True
            end = (end + block)[-2:]
    return False


def _is_digit(characters: NDArray[np.uint8]) -> NDArray[np.bool_]:
    return characters - np.uint8(ord("0")) < 10  # those below "0" wrap around


def has_underscored_digits(source: Source) -> bool:
    """Whether a file has an underscore between two digits, as in 1_000, anywhere."""
    status = source.path.stat()
    return _underscored(source, status.st_size, status.st_mtime_ns)


def read_block(stream: pa.NativeFile, path: Path, size: int) -> bytes:
    """The next bytes; a damaged compressed file is a data error."""
    try:
        return bytes(stream.read(size))
    except (OSError, pa.ArrowInvalid) as error:
        raise data_error(
            path, "file", expected="whole compressed data", found=str(error), advice="copy or pack it again"
        ) from None


def line_of(source: Source, row: int) -> int:
    """The line of an editor at which a row begins: blank lines are no rows, and the header of a CSV file is row 1."""
    with open_source(source) as stream, io.TextIOWrapper(stream, "utf-8-sig", "replace", newline="") as text:
        there: Iterator[int] = (number for number, line in enumerate(text, start=1) if line.strip())
        if source.format == "csv":
            csv.field_size_limit(1 << 30)
            head = text.readline()
            reader = csv.reader(text, delimiter=max(",\t;|", key=head.count))
            there = _first_lines(reader)
        first = 2 if source.format == "csv" else 1
        return next((number for count, number in enumerate(there, start=first) if count == row), row)


def lines_of(source: Source, last: int | None = None) -> Iterator[tuple[int, str]]:
    """Number and text of every line with anything in it, for messages; with `last` that line alone."""
    with open_source(source) as stream, io.TextIOWrapper(stream, "utf-8-sig", "replace", newline="") as text:
        for number, line in enumerate(text, start=1):
            if line.strip() and last in (None, number):
                yield number, line.strip()


def line_ends(block: bytes, *, after_return: bool = False) -> int:
    r"""The number of line ends, of which `\r\n` is one; with `after_return` a `\n` in front belongs to one before.

    >>> line_ends(b"a\r\nb\rc\n"), line_ends(b"\na\n", after_return=True)
    (3, 1)
    """
    pairs = block.count(b"\r\n") + (after_return and block.startswith(b"\n"))
    return block.count(b"\n") + block.count(b"\r") - pairs


def line_at(source: Source, byte: int, *, blank: bool = False) -> int:
    """The line of an editor in which a byte of the text lies; of `blank` lines there, the one behind them."""
    line, left, after_return = 1, byte, False
    with open_source(source) as stream:
        while left > 0 and (block := read_block(stream, source.path, min(left, 1 << 20))):
            line += line_ends(block, after_return=after_return)
            left, after_return = left - len(block), block.endswith(b"\r")
        if blank:
            block = read_block(stream, source.path, 1 << 16)
            line += line_ends(block[: len(block) - len(block.lstrip(b"\r\n"))], after_return=after_return)
    return line


def longest_row(source: Source) -> tuple[int, int]:
    """The line at which the longest row begins, and its bytes; in CSV a line end inside quotes ends no row."""
    longest, line, number, size, inside = (1, 0), 1, 1, 0, False
    with open_source(source) as stream, io.BufferedReader(stream, 1 << 20) as lines:
        while block := lines.readline(1 << 20):
            for piece in block.splitlines(keepends=True) if source.format == "csv" else [block]:
                size += len(piece)
                inside ^= source.format == "csv" and piece.count(b'"') % 2 == 1
                ends = piece.endswith((b"\n", b"\r") if source.format == "csv" else b"\n")
                number += ends
                if ends and not inside:
                    longest = max(longest, (line, size), key=lambda row: row[1])
                    line, size = number, 0
    return max(longest, (line, size), key=lambda row: row[1])


def _first_lines(reader: Any) -> Iterator[int]:  # noqa: ANN401 - a reader of the module csv
    """The line at which each row below the header begins, the header being line 1."""
    before = 1
    for cells in reader:
        if cells:
            yield before + 1
        before = reader.line_num + 1
