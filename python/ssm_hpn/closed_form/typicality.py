"""How typical scores are of any class: the confidence by which a series is answered or rejected.

Scores z of a series of class c lie around a centre, the prototype p_c, with a covariance S that all classes share: that
of scores of series that no fit has seen, left out one by one.

    S = (1 - λ)·Σ_i v_i r_i r_iᵀ/Σv + λ·tr/Q·I,   r_i = z_i - p_{y_i},   λ = 0.1
    m_c = (z - p_c)ᵀ S⁻¹ (z - p_c)
    d² = max(0, -2/Q · ln Σ_c exp(-m_c/2))       squared distance from the classes in deviations, per coordinate
    confidence = 1/(1 + d²/9)                    1 on a prototype, ½ at three deviations

d² is, but for a constant, minus the logarithm of the density of known series, a mixture of normal distributions of
equal shares. A score may be untypical because it is short or between prototypes, because it is too long, or off the
directions in which known series scatter. Cosines see no length: with two classes they are ±1 for every series. λ
shrinks the covariance towards one variance (Friedman, JASA 1989), so that it is one also of fewer series than
coordinates.
"""

from dataclasses import dataclass
from typing import Final, Self

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

SHRINKAGE: Final = 0.1
"""λ. Between 0.01 and 0.3 it changes little (`benchmarks/records/open.md`)."""
HALF_AT: Final = 3.0
"""Deviations at which the confidence is ½."""
SMALLEST: Final = 1e-12
"""Least variance, of prototypes of length 1: where every left-out series has the scores of its prototype."""


@dataclass(frozen=True, eq=False)
class Typicality:
    """Where the scores of known series lie.

    >>> z = np.array([[1.1], [0.9], [-1.1], [-0.9]])
    >>> known = Typicality.of(z, np.array([0, 0, 1, 1]), np.ones(4), np.array([[1.0], [-1.0]]))
    >>> known.confidence(np.array([[1.0], [0.7], [0.0], [2.0]])).round(2).tolist()
    [1.0, 0.5, 0.08, 0.08]
    """

    centres: Floats
    """p_c in the coordinates in which S is I [C, Q]."""
    whitening: Floats
    """L⁻ᵀ, S = L Lᵀ: z·L⁻ᵀ has the covariance I [Q, Q]."""

    @classmethod
    def of(cls, scores: Floats, labels: Ints, weights: Floats, centres: Floats) -> Self:
        """From left-out scores [n, Q] with labels [n] and weights [n], around centres [C, Q]."""
        share = weights / weights.sum()
        residual = scores - centres[labels]
        covariance = (residual * share[:, None]).T @ residual
        width = len(covariance)
        variance = max(float(np.trace(covariance)) / width, SMALLEST)
        covariance *= 1.0 - SHRINKAGE
        covariance.flat[:: width + 1] += SHRINKAGE * variance
        whitening = np.asarray(np.linalg.inv(np.linalg.cholesky(covariance)), np.float64).T
        return cls(centres @ whitening, whitening)

    def confidence(self, scores: Floats) -> Floats:
        """[n] of scores [n, Q], in (0, 1]."""
        z = scores @ self.whitening
        squares = np.square(z).sum(axis=1)[:, None] + np.square(self.centres).sum(axis=1) - 2.0 * z @ self.centres.T
        nearest = np.maximum(squares, 0.0).min(axis=1)
        density = np.exp(-0.5 * (np.maximum(squares, 0.0) - nearest[:, None])).sum(axis=1)
        distance = np.maximum(nearest - 2.0 * np.log(density), 0.0) / z.shape[1]
        return np.asarray(1.0 / (1.0 + distance / HALF_AT**2))
