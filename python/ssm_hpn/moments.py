"""Mean and deviation of columns, and the rule by which a column is constant, for files and for arrays.

Everything is in double precision on the values as they were read. Chunks are joined as Chan, Golub and LeVeque do:

    M2 = M2_a + M2_b + (mean_b - mean_a)² · n_a·n_b / (n_a + n_b)

Missing numbers (NaN) are left out of every statistic and counted. A column is constant where its deviation is no larger
than the distance between neighbouring doubles at its largest magnitude: then it differs by rounding alone. It is
shifted to 0 and not scaled.
"""

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ssm_hpn.errors import problem

Floats = NDArray[np.float64]

TOO_LARGE: Final = 1e150
"""Numbers from here on are refused: the sum of their squares is beyond what a double holds."""
TOO_SMALL: Final = 1e-150
"""Deviations below this are refused: their squares are below what a double holds with all of its digits."""
BLOCK: Final = 1 << 14
"""Rows whose statistics are taken together."""


def out_of_range(numbers: Floats) -> NDArray[np.bool_]:
    """Which numbers are infinite or too large for statistics; NaN is neither.

    >>> import numpy as np
    >>> out_of_range(np.array([1e149, -1e150, np.inf, np.nan])).tolist()
    [False, True, True, False]
    """
    return np.abs(numbers) >= TOO_LARGE


def range_problem(where: object, number: float, advice: str) -> str:
    """The error for such a number; `advice` is for an infinite one."""
    if math.isfinite(number):
        return problem(where, "numbers below 1e150", f"{number:g}".replace("e+", "e"), "choose a larger unit")
    return problem(where, "a finite number", number, advice)


def vanishing_problem(where: object, least: float, most: float) -> str:
    """The error for numbers that differ by less than `TOO_SMALL`."""
    return problem(where, "numbers that differ by more than 1e-150", f"{least:g} to {most:g}", "choose a smaller unit")


@dataclass(slots=True)
class Moments:
    """Statistics per column, [F] each.

    >>> import numpy as np
    >>> moments = Moments.empty(1)
    >>> moments.add(np.array([[1.0], [3.0], [np.nan]]))
    >>> moments.mean.tolist(), moments.std.tolist(), moments.missing.tolist()
    ([2.0], [1.0], [1])
    """

    count: NDArray[np.int64]
    """Count of numbers that are not missing."""
    missing: NDArray[np.int64]
    """Count of missing numbers."""
    origin: Floats
    """The first number of each column: means are taken relative to it, so that nothing cancels."""
    offset: Floats
    """Mean, relative to the origin."""
    squares: Floats
    """Sum of squared deviations from the mean."""
    minimum: Floats
    maximum: Floats

    @classmethod
    def empty(cls, width: int) -> "Moments":
        """Statistics of no rows, for `width` columns."""
        ints, zeros = np.zeros(width, np.int64), np.zeros(width)
        low, high = np.full(width, np.inf), np.full(width, -np.inf)
        return cls(ints, ints.copy(), zeros, zeros.copy(), zeros.copy(), low, high)

    @classmethod
    def of(cls, rows: Floats) -> "Moments":
        """Statistics of rows [T, F]."""
        moments = cls.empty(rows.shape[1])
        moments.add(rows)
        return moments

    def add(self, rows: Floats) -> None:
        """Add rows [T, F] in double precision."""
        columns = np.array(rows.T, order="C")  # a copy, in which the numbers of a column lie side by side
        absent = np.isnan(columns)
        n = len(rows) - absent.sum(axis=1)
        new = np.flatnonzero((self.count == 0) & (n > 0))
        self.origin[new] = columns[new, np.argmin(absent[new], axis=1)]
        self.minimum = np.fmin(self.minimum, np.fmin.reduce(columns, axis=1, initial=np.inf))
        self.maximum = np.fmax(self.maximum, np.fmax.reduce(columns, axis=1, initial=-np.inf))
        some = bool(absent.any())
        columns -= self.origin[:, None]
        if some:
            self.missing += len(rows) - n
            columns[absent] = 0.0
        total = self.count + n
        mean = columns.sum(axis=1) / np.maximum(n, 1)
        columns -= mean[:, None]
        if some:
            columns[absent] = 0.0
        share = n / np.maximum(total, 1)
        shift = np.where(n > 0, mean - self.offset, 0.0)
        self.squares += np.einsum("ft,ft->f", columns, columns) + shift**2 * (self.count * share)
        self.offset += shift * share
        self.count = total

    @property
    def mean(self) -> Floats:
        """Mean of each column."""
        return self.origin + self.offset

    @property
    def std(self) -> Floats:
        """Standard deviation (of the population) of each column."""
        return np.sqrt(self.squares / np.maximum(self.count, 1))

    @property
    def constant(self) -> NDArray[np.bool_]:
        """Which columns differ by no more than rounding."""
        largest = np.maximum(np.abs(self.minimum), np.abs(self.maximum))
        return self.std <= np.spacing(np.where(np.isfinite(largest), largest, 0.0))

    @property
    def vanishing(self) -> NDArray[np.bool_]:
        """Which columns differ, and by so little that a double cannot hold the squares of the differences."""
        return (self.maximum > self.minimum) & (self.std < TOO_SMALL)

    def scale(self) -> Floats:
        """Divisor after the shift: the deviation, 1 for a constant."""
        return np.where(self.constant, 1.0, self.std)


class Running:
    """Statistics of rows that come in parts, taken over blocks of `BLOCK` rows: not one bit depends on the parts.

    >>> import numpy as np
    >>> parts = Running(2)
    >>> rows = np.random.default_rng(0).normal(size=(100_000, 2))
    >>> for part in np.array_split(rows, 7):
    ...     parts.add(part)
    >>> whole = Running(2)
    >>> whole.add(rows)
    >>> (parts.moments().std == whole.moments().std).all()
    np.True_
    """

    def __init__(self, width: int) -> None:
        """Of no rows yet, for `width` columns."""
        self._moments, self._rest = Moments.empty(width), np.empty((0, width))

    def add(self, rows: Floats) -> None:
        """Add rows [T, F] in double precision."""
        rows = np.concatenate([self._rest, rows]) if len(self._rest) else rows
        whole = len(rows) - len(rows) % BLOCK
        for start in range(0, whole, BLOCK):
            self._moments.add(rows[start : start + BLOCK])
        self._rest = rows[whole:].copy()

    def moments(self) -> Moments:
        """Of all rows: called after the last one."""
        if len(self._rest):
            self._moments.add(self._rest)
            self._rest = self._rest[:0]
        return self._moments
