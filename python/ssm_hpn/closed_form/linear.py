"""What both ways of fitting give: scores that are linear in the standardised features, and the settings of the fit.

z = b + Wᵀx',  W [d, K] f32,  b [K] f64       (x' as in `columns`; products in f64, so that a series has the same scores
                                               alone and among others, up to their last digits)
"""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import chain
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ssm_hpn.closed_form.blocks import Block, Rows, strip_width
from ssm_hpn.closed_form.columns import Standardisation
from ssm_hpn.closed_form.views import Views
from ssm_hpn.errors import ConfigError, DataError, problem

Floats = NDArray[np.float64]

KEPT_BYTES: Final = 1 << 28
"""Standardised features up to this size are kept between two passes; more are asked for again."""


@dataclass(frozen=True, kw_only=True)
class RidgeSettings:
    """How a head is fitted.

    >>> RidgeSettings(clip=8.0).landmarks
    3072
    """

    clip: float = 3.0
    """Standardised features are cut at ± this."""
    strength: float | None = None
    """Penalty α relative to the mean squared length of a series' features; None: by leave-one-out error."""
    largest_exact: int = 3072
    """Most series whose Gram matrix is decomposed; of more, `landmarks` of them span the weights."""
    landmarks: int = 3072
    """More are nearer to the exact fit; time grows with their cube, memory with their square."""
    left_out: int = 2048
    """Most series that leave-one-out scores are computed for where landmarks are used."""
    rows_at_once: int = 1024
    """Series whose features are asked for together where landmarks are used."""
    seed: int = 0
    """Of the choice of landmarks."""
    views: Views | None = None
    """Groups of features, whose weights the leave-one-out error chooses; None: all weigh the same."""
    threads: int | None = None
    """Threads that compare the weights of groups; None: all. The result does not depend on it."""

    def __post_init__(self) -> None:
        """Raise `ConfigError` for a setting out of range."""
        for name in ("clip", "strength"):
            value = getattr(self, name)
            if value is not None and not (value > 0 and np.isfinite(value)):
                raise ConfigError(problem(name, "a number above 0", value, "leave it out for the default"))
        for name in ("largest_exact", "landmarks", "left_out", "rows_at_once"):
            if getattr(self, name) < 2:
                raise ConfigError(problem(name, "at least 2", getattr(self, name), "leave it out for the default"))


@dataclass(frozen=True, eq=False)
class LinearScores:
    """Scores of features: the head after fitting.

    >>> head = LinearScores(Standardisation.of(np.eye(2, dtype=np.float32), np.ones(2), clip=3.0),
    ...                     np.ones((2, 1), np.float32), np.zeros(1))
    >>> head.scores([np.eye(2, dtype=np.float32)]).tolist()
    [[0.0], [0.0]]
    """

    standardisation: Standardisation
    weights: NDArray[np.float32]
    """W [d, K]."""
    intercept: Floats
    """b [K]."""

    def scores(self, blocks: Iterable[Block]) -> Floats:
        """Scores z [n, K] of n series from blocks f32 [n, d_block] in the order of the fit, cut anywhere.

        Raises `ShapeError` for another number of features than in the fit, `DataError` for numbers that are not finite.
        """
        blocks = iter(blocks)
        first = next(blocks, np.empty((0, 0), np.float32))
        n = len(first)
        z = np.tile(self.intercept, (n, 1))
        for part, x in self.standardisation.strips(chain([first], blocks), np.arange(n), strip_width(n)):
            z += x.astype(np.float64) @ self.weights[part]
        return z


@dataclass(frozen=True, eq=False)
class Fit:
    """Linear scores and what the fit found on the way."""

    linear: LinearScores
    strength: Floats
    """α [K]."""
    rows: Rows
    """The series that were left out one by one."""
    left_out: Floats
    """Their scores [rows, K], each by the fit to all other series."""
    landmarks: int
    """Number of series that span the weights; 0: all."""


def kept_series(weights: Floats) -> Rows:
    """Numbers of the series with a weight above 0.

    Raises `DataError` for weights that are negative or not finite, and where fewer than two series are left.

    >>> kept_series(np.array([1.0, 0.0, 2.0])).tolist()
    [0, 2]
    """
    wrong = np.flatnonzero(~(np.isfinite(weights) & (weights >= 0)))
    if len(wrong):
        found = f"{weights[wrong[0]]} for series {wrong[0]}"
        raise DataError(problem("weights", "finite numbers, none below 0", found, "correct this weight"))
    rows = np.flatnonzero(weights > 0)
    if len(rows) < 2:
        expected = "at least 2 series with a weight above 0"
        raise DataError(problem("weights", expected, len(rows), "give more series"))
    return rows
