"""Ridge regression with intercept and weights from one eigendecomposition, its strength by leave-one-out error.

Rows have coordinates φ_i [r], targets y_i [K] and weights v_i > 0. With the means φ̄, ȳ weighted by v,

    minimise over c, b:   Σ_i v_i ‖y_i - b - cᵀφ_i‖² + α·unit·‖c‖²,     b = ȳ - cᵀφ̄
    u_i = √v_i (φ_i - φ̄),   Σ_i u_i u_iᵀ / unit = Q diag(s) Qᵀ,   unit = Σ_i ‖u_i‖² / n
    c = Q diag(1/(s + α)) p / √unit,   p = Qᵀ Σ_i u_i √v_i (y_i - ȳ)ᵀ / √unit

From here on u_i stands for Qᵀu_i/√unit. The prediction of row i by the fit to all others is exact for fixed φ and
α·unit (Allen's PRESS):

    h_i = v_i/Σv + Σ_j u_ij²/(s_j + α)
    √v_i (y_i - ŷ_i) / (1 - h_i) = √v_i (y_i - ŷ_i without i),      ŷ_i = ȳ + u_iᵀ(p/(s + α))/√v_i

The strength α is the one with the least error Σ v_i ‖y_i - ŷ_i without i‖² on a grid of half decades, which grows while
its best is at an edge. Of strengths whose errors are equal (`EQUAL`), that nearest to 1 is taken.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

GRID: Final = (-12, 4)
"""Ends of the grid in half decades: α from 1e-6 to 1e2."""
LIMITS: Final = (-16, 12)
"""Ends beyond which the grid does not grow: below 1e-8 rounding of f32 products decides, above 1e6 nothing is left."""
EQUAL: Final = 1e-4
"""Relative difference up to which two errors are equal: far below what another sample of series would change."""
LEVERAGE: Final = 1.0 - 1e-13
"""Largest leverage h of a row: it stays below 1 by about α/s, and is rounded at 1e-15."""


def rounding(n: int) -> float:
    """Eigenvalues of a matrix [n, n] of f32 products below this share of their mean are rounding: 4·ε·√n.

    >>> f"{rounding(100):.1e}"
    '4.8e-06'
    """
    return 4.0 * float(np.finfo(np.float32).eps) * float(np.sqrt(n))


@dataclass(frozen=True, eq=False)
class Spectrum:
    """A ridge problem in the coordinates of its eigenvectors, and the rows that are left out one by one.

    >>> ones, u = np.ones(1), np.array([[0.6], [0.8]])
    >>> one = Spectrum(ones, ones[:, None], u, u, np.ones(2), total=2.0, mean=ones)
    >>> one.solution(np.array([3.0])).tolist()
    [[0.25]]
    """

    values: Floats
    """s [r] ≥ 0."""
    projections: Floats
    """p [r, K]."""
    coordinates: Floats
    """u [rows, r], of the rows that are left out."""
    targets: Floats
    """y [rows, K]."""
    weights: Floats
    """v [rows]."""
    total: float
    """Σ v of all rows that were fitted."""
    mean: Floats
    """ȳ [K]."""

    def left_out(self, strength: Floats) -> Floats:
        """Predictions [rows, K], each by the fit to all other rows, for a strength [K] of each target."""
        squares = self.coordinates * self.coordinates
        return self.mean + self._centred(strength, squares)

    def _centred(self, strength: Floats, squares: Floats) -> Floats:
        """What `left_out` gives, less the mean."""
        shrunk = 1.0 / (self.values[:, None] + strength)  # [r, K]
        root = np.sqrt(self.weights)[:, None]
        target = self.targets - self.mean
        residual = target - (self.coordinates @ (self.projections * shrunk)) / root
        each = shrunk if len(np.unique(strength)) > 1 else shrunk[:, :1]
        leverage = (self.weights / self.total)[:, None] + squares @ each
        return target - residual / (1.0 - np.minimum(leverage, LEVERAGE))

    def error(self, strength: float, squares: Floats) -> Floats:
        """Weighted mean of squared leave-one-out errors of each target [K]; `squares` are those of the coordinates."""
        strengths = np.full(self.targets.shape[1], strength)
        residual = self.targets - self.mean - self._centred(strengths, squares)
        found: Floats = self.weights @ (residual * residual) / self.weights.sum()
        return found

    def strength(self, given: float | None, *, each: bool) -> Floats:
        """The strengths [K]: the given one, or `best_strength`."""
        return self.best_strength(each=each) if given is None else np.full(self.mean.shape, float(given))

    def best_strength(self, *, each: bool) -> Floats:
        """Strengths [K] of the least leave-one-out error: one for all targets, or with `each` one for each of them."""
        squares = self.coordinates * self.coordinates
        low, high = GRID
        errors = {e: self.error(10.0 ** (e / 2), squares) for e in range(low, high + 1)}
        while True:
            grid = np.array(sorted(errors))
            table = np.array([errors[e] for e in grid])  # [grid, K]
            table = table if each else table.sum(axis=1, keepdims=True)
            equal = table <= table.min(axis=0) * (1.0 + EQUAL)
            best = grid[np.where(equal, np.abs(grid)[:, None], np.inf).argmin(axis=0)]
            wanted = []
            if best.min() == grid[0] > LIMITS[0]:
                wanted += [grid[0] - 1, grid[0] - 2]
            if best.max() == grid[-1] < LIMITS[1]:
                wanted += [grid[-1] + 1, grid[-1] + 2]
            if not wanted:
                return np.broadcast_to(10.0 ** (best / 2), self.mean.shape).copy()
            errors |= {int(e): self.error(10.0 ** (e / 2), squares) for e in wanted}

    def solution(self, strength: Floats) -> Floats:
        """p/(s + α) [r, K]: the weights in the coordinates of `coordinates`."""
        return self.projections / (self.values[:, None] + strength)
