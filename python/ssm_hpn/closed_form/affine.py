"""The scores of one series as a sum over its features: a line through the cut of the standardised features.

    z = b + Σ_f W_f x'_f = c + Σ_f w_f x_f,   w_f = g_f W_f,   c = b - Σ_f w_f m_f,   g_f = x'_f / (x_f - m_f)

g_f is the factor 1/s_f where x' is not cut. A feature that is cut has the share of its weight that is left.
"""

import numpy as np
from numpy.typing import NDArray

from ssm_hpn.closed_form.linear import LinearScores

Floats = NDArray[np.float64]


def weights_of(linear: LinearScores, features: NDArray[np.float32]) -> tuple[Floats, Floats]:
    """w [d, K] and c [K] of one series with the features [d].

    >>> from ssm_hpn.closed_form.columns import Standardisation
    >>> x = np.array([[0.0], [2.0], [10.0]], np.float32)
    >>> columns = Standardisation.of(x, np.ones(3), clip=1.0)
    >>> head = LinearScores(columns, np.array([[2.0]], np.float32), np.array([0.5]))
    >>> lines = [weights_of(head, one) for one in x]
    >>> bool(np.allclose([w[0] * one + c for one, (w, c) in zip(x, lines, strict=True)], head.scores([x])))
    True
    """
    columns = linear.standardisation
    away = features.astype(np.float64) - columns.mean
    factor = columns.factor.astype(np.float64)
    size = np.abs(away) * factor
    factor = np.where(size > columns.clip, factor * columns.clip / np.maximum(size, columns.clip), factor)
    weights: Floats = factor[:, None] * linear.weights
    return weights, linear.intercept - columns.mean.astype(np.float64) @ weights
