"""A wide matrix of features that is never whole in memory: blocks of columns, asked for by rows.

The caller gives a function `Features`: for row numbers [n] it yields blocks f32 [n, d_block], in the same order and
with the same columns each time. A block may be a view of a buffer that the caller writes again once the next one is
asked for. Blocks are copied into strips of one width, so that results do not depend on how the columns were cut.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ssm_hpn.counts import counted
from ssm_hpn.errors import DataError, ShapeError, problem

Rows = NDArray[np.intp]
Block = NDArray[np.float32]
Features = Callable[[Rows], Iterable[Block]]

STRIP_NUMBERS: Final = 1 << 24
"""Numbers of a strip, 64 MB: enough rows times columns for the speed of a matrix product."""
NARROWEST, WIDEST = 256, 4096


def strip_width(n: int) -> int:
    """Columns of the strips of n rows.

    >>> strip_width(100), strip_width(10_000), strip_width(1_000_000)
    (4096, 1677, 256)
    """
    return max(NARROWEST, min(WIDEST, STRIP_NUMBERS // max(n, 1)))


def strips(blocks: Iterable[Block], rows: Rows, width: int) -> Iterator[Block]:
    """The columns of the blocks in arrays [n, width] of their own, the last one narrower; the caller may write in them.

    Raises `ShapeError` for a block that has not n rows, `DataError` for a number that is not finite: it names the
    series by its entry in `rows`.

    >>> parts = [np.ones((2, 3), np.float32), np.zeros((2, 2), np.float32)]
    >>> [strip.tolist() for strip in strips(parts, np.arange(2), 4)]
    [[[1.0, 1.0, 1.0, 0.0], [1.0, 1.0, 1.0, 0.0]], [[0.0], [0.0]]]
    """
    strip, filled, first = np.empty((len(rows), width), np.float32), 0, 0
    for number, block in enumerate(blocks):
        columns = np.asarray(block)
        if columns.ndim != 2 or len(columns) != len(rows):
            expected = f"an array of {counted(len(rows), 'row')}"
            raise ShapeError(
                problem(f"features, block {number}", expected, f"shape {columns.shape}", "check the function")
            )
        taken = 0
        while taken < columns.shape[1]:
            part = columns[:, taken : taken + width - filled]
            with np.errstate(over="ignore"):  # what is beyond f32 is found as infinite
                strip[:, filled : filled + part.shape[1]] = part
            taken, filled = taken + part.shape[1], filled + part.shape[1]
            if filled == width:
                _check_finite(strip, rows, first)
                yield strip
                strip, filled, first = np.empty_like(strip), 0, first + width
    if filled:
        rest = np.ascontiguousarray(strip[:, :filled])
        _check_finite(rest, rows, first)
        yield rest


def _check_finite(strip: Block, rows: Rows, first: int) -> None:
    """One product finds whether any number may not be finite; only then each is looked at."""
    with np.errstate(over="ignore", invalid="ignore"):
        sums = strip @ np.ones(strip.shape[1], np.float32)
    if np.isfinite(sums).all():
        return
    wrong = np.argwhere(~np.isfinite(strip))
    if len(wrong):
        row, column = wrong[0]
        found = f"{strip[row, column]} in series {rows[row]}, feature {first + column}"
        raise DataError(problem("features", "finite numbers", found, "leave this series out or correct its values"))
