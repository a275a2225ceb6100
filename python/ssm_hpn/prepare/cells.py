"""Columns of Arrow as arrays of numpy, and the errors for cells that do not fit."""

import json
import re
from collections.abc import Sequence
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from ssm_hpn.counts import counted
from ssm_hpn.errors import DataError
from ssm_hpn.moments import out_of_range, range_problem
from ssm_hpn.prepare.problems import data_error, shown
from ssm_hpn.prepare.records import MOST_CLASSES, Coded, Floats, Ints
from ssm_hpn.prepare.source import Source, line_of, lines_of

LOOKED_AT: Final = 100
"""Texts of a column that are looked at for what they hold."""


def floats(column: pa.Array) -> Floats:
    """Doubles, NaN for null."""
    return np.asarray(pc.cast(column, pa.float64()).to_numpy(zero_copy_only=False), np.float64)


def integers(column: pa.Array) -> Ints:
    """Whole numbers, none of them null."""
    return np.asarray(column.to_numpy(zero_copy_only=False)).astype(np.int64)


def coded(column: pa.Array) -> Coded:
    """Labels as texts; bytes as the text that they are."""
    encoded = column.dictionary_encode()
    codes = np.asarray(encoded.indices.fill_null(-1).to_numpy(zero_copy_only=False))
    texts = [
        text.decode(errors="backslashreplace") if isinstance(text, bytes) else text
        for text in encoded.dictionary.to_pylist()
    ]
    return Coded.of(codes, texts)


def bytes_of(column: pa.Array) -> tuple[NDArray[np.uint8], Ints]:
    """The bytes of all texts of a column and where each begins; null is an empty text."""
    column = pc.cast(column, pa.large_binary())
    if column.null_count:
        column = pc.fill_null(column, b"")
    _, offset_buffer, data = column.buffers()
    offsets = np.frombuffer(offset_buffer, np.int64)[column.offset : column.offset + len(column) + 1]
    content = np.frombuffer(data, np.uint8) if data is not None else np.empty(0, np.uint8)
    return content[offsets[0] : offsets[-1]], offsets - offsets[0]


def hold_json(column: pa.Array) -> bool:
    """Whether the first texts of a column are all JSON objects or arrays."""
    texts = [text for text in column.slice(0, LOOKED_AT).to_pylist() if text and text.strip()]
    return bool(texts) and all(isinstance(_parsed(text), dict | list) for text in texts)


def _parsed(text: str | bytes) -> object:
    try:
        return json.loads(text) if text.lstrip()[:1] in ("{", "[", b"{", b"[") else None
    except (ValueError, RecursionError):
        return None


def list_lengths(column: pa.Array) -> Ints:
    """Length of every list, 0 for null."""
    return integers(pc.fill_null(pc.list_value_length(column), 0))


def flattened(column: pa.Array) -> tuple[Floats, Ints]:
    """Numbers of all lists of a column, and where each list begins."""
    return floats(pc.list_flatten(column)), np.concatenate([[0], np.cumsum(list_lengths(column))])


def missing_cells(source: Source, row: int, name: str, kind: str, count: int, value: object) -> DataError:
    """The error for rows without an id or an order value; the first one is `row`, where there is `value`."""
    return data_error(
        source.path,
        f"{source.row(row)}, {source.field(name)}",
        expected=f"{kind} in every row",
        found=f"{counted(count, 'row')} without one" + (f" (the first: {shown(value)})" if value else ""),
        advice="a second header row? remove row 2"
        if source.format == "csv" and row == 2 and count == 1 and not _has_digits(source, row)
        else "fill them, or drop such rows first",
    )


def _has_digits(source: Source, row: int) -> bool:
    """Whether a number may be somewhere in a row, as it is in data and not in a header."""
    line = line_of(source, row)
    return any(re.search("[0-9]", text) for _, text in lines_of(source, line))


def not_finite(source: Source, at: str, name: str, value: float) -> DataError:
    """The error for a number that is infinite or too large."""
    advice = "correct it, or leave it empty for a missing number"
    return DataError(range_problem(f"{source.path}: {at}, {source.field(name)}", value, advice))


def check_range(source: Source, numbers: Floats, names: Sequence[str], rows: Ints) -> None:
    """Refuse an infinite number, or one that is too large, with its row: [N, K] of columns of these names."""
    if not (bad := out_of_range(numbers)).any():
        return
    k, at = (int(i) for i in np.argwhere(bad.T)[0])
    raise not_finite(source, source.row(int(rows[at])), names[k], float(numbers[at, k]))


def mismatch(source: Source, at: str, name: str, expected: str, found: object, advice: str | None = None) -> DataError:
    """The error for a cell of another kind."""
    return data_error(
        source.path,
        f"{at}, {source.field(name)}",
        expected=expected,
        found=shown(found),
        advice=advice or f"correct it, or choose another {source.field_noun}",
    )


def too_many(source: Source, name: str, *, labels: bool = True) -> DataError:
    """The error for a column of labels, or of what the split goes by, with more than `MOST_CLASSES` different texts."""
    what, advice = "different values", "name another column in --data.split"
    if labels:
        what, advice = "classes", "numbers to predict go into --data.columns.values"
    expected = f"at most {MOST_CLASSES} {what}"
    return data_error(source.path, source.field(name), expected=expected, found="more", advice=advice)
