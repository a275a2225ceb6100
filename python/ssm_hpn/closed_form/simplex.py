"""Prototypes of C classes: the vertices of the regular simplex, the same numbers as those of the core's prototype head.

    p_0 … p_(C-1) ∈ R^(C-1),  ‖p_c‖ = 1,  p_c·p_k = -1/(C-1) for c ≠ k,  Σ_c p_c = 0
    V[i,i] = s_i,  V[j>i,i] = -s_i/k,  s_(i+1) = s_i·√(1 - 1/k²),  k = C-1-i,  s_0 = 1     (row c is p_c)

The formula is that of `simplex` in the crate's `head::prototypes`.
"""

import numpy as np
from numpy.typing import NDArray

from ssm_hpn.errors import ConfigError, problem

Floats = NDArray[np.float64]


def simplex(n_classes: int) -> Floats:
    """Prototypes [C, C-1]. Raises `ConfigError` for fewer than two classes.

    >>> simplex(2).tolist()
    [[1.0], [-1.0]]
    >>> (simplex(4) @ simplex(4).T).round(3)[0].tolist()
    [1.0, -0.333, -0.333, -0.333]
    """
    if n_classes < 2:
        raise ConfigError(problem("n_classes", "at least 2", n_classes, "give series of two classes or more"))
    vertices = np.zeros((n_classes, n_classes - 1))
    length = 1.0
    for i in range(n_classes - 1):
        k = n_classes - 1 - i
        vertices[i, i] = length
        vertices[i + 1 :, i] = -length / k
        length *= np.sqrt(1.0 - 1.0 / (k * k))
    return vertices


def inner_products(scores: Floats, prototypes: Floats) -> Floats:
    """z·p_c [n, C] of scores z [n, C-1].

    >>> inner_products(np.array([[0.5]]), simplex(2)).tolist()
    [[0.5, -0.5]]
    """
    return scores @ prototypes.T


def cosines(scores: Floats, prototypes: Floats) -> Floats:
    """Cosines [n, C] of scores z [n, C-1] to the prototypes; 0 for a z of length 0.

    >>> cosines(np.array([[0.5], [0.0]]), simplex(2)).tolist()
    [[1.0, -1.0], [0.0, 0.0]]
    """
    length = np.linalg.norm(scores, axis=1, keepdims=True)
    return inner_products(scores / np.where(length > 0, length, 1.0), prototypes)


def lifted(scores: Floats) -> Floats:
    """The points [n, C] of scores z [n, C-1] on the sphere of one more dimension: (z, √(1 - ‖z‖²)), or z/‖z‖ and 0.

    >>> lifted(np.array([[0.6], [-3.0]])).tolist()
    [[0.6, 0.8], [-1.0, 0.0]]
    """
    z = scores / np.maximum(1.0, np.linalg.norm(scores, axis=1, keepdims=True))
    above = np.sqrt(np.maximum(0.0, 1.0 - (z * z).sum(axis=1, keepdims=True)))
    return np.concatenate([z, above], axis=1)


def lifted_cosines(scores: Floats, prototypes: Floats) -> Floats:
    """Cosines [n, C] of z to the prototypes in one more dimension, z·p/max(1, ‖z‖): length tells there how sure z is.

    A z inside of the unit ball is taken for the point of the sphere above it, (z, √(1 - ‖z‖²)), a longer one for z/‖z‖;
    the prototypes lie on the equator. So a z of length 0 has the cosine 0 to all of them, also where there are two.

    >>> lifted_cosines(np.array([[0.25], [-3.0]]), simplex(2)).tolist()
    [[0.25, -0.25], [-1.0, 1.0]]
    """
    length = np.linalg.norm(scores, axis=1, keepdims=True)
    return inner_products(scores / np.maximum(1.0, length), prototypes)
