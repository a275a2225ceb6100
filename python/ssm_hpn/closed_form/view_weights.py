"""Weights of groups of features, such as those of one view of a series, by the leave-one-out error.

A group whose features say little of the targets adds noise to all products. With the Gram matrices K_g of the groups,
centred by the weights v as in `gram`,

    K(w) = Σ_g w_g K_g,   unit = tr K(w)/n,   A = K(w)/unit + αI
    r = α A⁻¹ √v(y - ȳ),   1 - h_i = α (A⁻¹)_ii - v_i/Σv,   E(w, α) = Σ_i ‖r_i/(1 - h_i)‖² / Σv

E is the leave-one-out error of `spectrum` (Allen's PRESS) without its eigenvalues: with A = LLᵀ and R = L⁻¹ the
diagonal of A⁻¹ = RᵀR is that of sums of squares. From w = 1 the weight of a group, or
of some together, is multiplied or divided by `STEP`; the change of least error is made while it makes E smaller by
`LEAST`. The strength α is that of least error before each change. A standardised feature of group g counts √w_g times
as much: its weight ω is w_g. Up to `MOST` series decide, of equal targets in proportion.
"""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from ssm_hpn.closed_form.blocks import Features, Rows, strip_width, strips
from ssm_hpn.closed_form.columns import Standardisation
from ssm_hpn.closed_form.draws import spread
from ssm_hpn.closed_form.linear import RidgeSettings
from ssm_hpn.closed_form.spectrum import LEVERAGE
from ssm_hpn.closed_form.views import Views

Floats = NDArray[np.float64]
Omega = NDArray[np.float32] | None

MOST: Final = 384
"""Series that decide: their matrices are decomposed some ten times for each group."""
STEP: Final = 3.0
LEAST: Final = 0.01
CHANGES: Final = 6
"""Most changes."""
SMALL: Final = 48
"""Rows up to which a triangular matrix is inverted whole."""
STRENGTHS: Final = 10.0 ** np.arange(-4.0, 0.5, 0.5)


def feature_weights(
    features: Features, rows: Rows, targets: Floats, weights: Floats, *, settings: RidgeSettings, each: bool
) -> Omega:
    """ω [d], the weight of each feature, for the series `rows` with targets y [n, K] and weights v [n]; None: all 1.

    `each`: every target has a unit of its own.
    """
    views = settings.views
    if views is None or not views.together:
        return None
    chosen = spread(targets, MOST, seed=settings.seed)
    grams = _grams(features, rows[chosen], weights[chosen], views, clip=settings.clip)
    problem = LeftOut(grams, targets[chosen], weights[chosen], each=each)
    found = best_weights(problem, views.together, threads=settings.threads)
    return found.astype(np.float32)[views.columns]


def best_weights(problem: "LeftOut", together: Sequence[Sequence[int]], *, threads: int | None) -> Floats:
    """w [g]; the changes of a round are compared on so many threads, with the same result for any number."""
    changes = [Change(list(some), factor) for some in together for factor in (STEP, 1.0 / STEP)]
    found = np.ones(problem.count)
    with threadpool_limits(1, user_api="blas"), ThreadPoolExecutor(_count(threads)) as pool:

        def fitted() -> tuple[Floats, float, float]:
            gram = problem.gram(found)
            errors = list(pool.map(partial(problem.error, gram), STRENGTHS))
            return gram, *min(zip(errors, STRENGTHS.tolist(), strict=True))

        gram, error, strength = fitted()
        for _ in range(CHANGES):
            errors = list(pool.map(partial(problem.changed, gram, found, strength), changes))
            best = int(np.argmin(errors))
            if not errors[best] < error * (1.0 - LEAST):
                break
            found[changes[best].groups] *= changes[best].factor
            gram, error, strength = fitted()
    return found


def _count(threads: int | None) -> int:
    """Threads where none are given: those of the environment, as in the core, else one for each core."""
    given = os.environ.get("SSM_HPN_THREADS", "")
    return threads or (int(given) if given.isdecimal() else 0) or os.cpu_count() or 1


class Change(NamedTuple):
    """Groups whose weight is multiplied by a factor."""

    groups: list[int]
    factor: float


class LeftOut:
    """E(w, α) for centred Gram matrices [g, n, n]; `each`: every target has a unit of its own."""

    def __init__(self, grams: Floats, targets: Floats, weights: Floats, *, each: bool) -> None:
        self._grams, self._share = grams, weights / weights.sum()
        mean = self._share @ targets
        deviation = np.sqrt(self._share @ np.square(targets - mean))
        deviation = np.where(deviation > 0, deviation, 1.0) if each else 1.0
        self._targets = np.sqrt(self._share)[:, None] * (targets - mean) / deviation

    @property
    def count(self) -> int:
        """Groups."""
        return len(self._grams)

    def gram(self, weights: Floats, some: Sequence[int] | None = None) -> Floats:
        """Σ w_g K_g over all groups, or some of them."""
        chosen = range(self.count) if some is None else some
        found: Floats = np.zeros_like(self._grams[0])
        for g in chosen:
            found += weights[g] * self._grams[g]
        return found

    def changed(self, gram: Floats, weights: Floats, strength: float, change: Change) -> float:
        """E after a change of the weights of this K(w)."""
        return self.error(gram + (change.factor - 1.0) * self.gram(weights, change.groups), strength)

    def error(self, gram: Floats, strength: float) -> float:
        """E for K(w)."""
        n, unit = len(gram), float(np.trace(gram)) / len(gram)
        if not unit > 0:
            return float(np.square(self._targets).sum())
        regular = gram / unit
        regular.flat[:: n + 1] += strength
        root = lower_inverse(np.linalg.cholesky(regular).astype(np.float64, copy=False))
        free = np.maximum(strength * np.einsum("ij,ij->j", root, root) - self._share, 1.0 - LEVERAGE)
        residual = strength * (root.T @ (root @ self._targets))
        return float(np.square(residual / free[:, None]).sum())


def lower_inverse(lower: Floats) -> Floats:
    """The inverse of a lower triangular matrix [n, n], by halves: [[A, 0], [B, C]]⁻¹ = [[A⁻¹, 0], [-C⁻¹BA⁻¹, C⁻¹]].

    >>> lower_inverse(np.array([[2.0, 0.0], [1.0, 4.0]])).tolist()
    [[0.5, 0.0], [-0.125, 0.25]]
    """
    n = len(lower)
    if n <= SMALL:
        return np.tril(np.linalg.inv(lower))
    half = n // 2
    found = np.zeros_like(lower)
    first, second = lower_inverse(lower[:half, :half]), lower_inverse(lower[half:, half:])
    found[:half, :half], found[half:, half:] = first, second
    found[half:, :half] = -second @ (lower[half:, :half] @ first)
    return found


def _grams(features: Features, rows: Rows, weights: Floats, views: Views, *, clip: float) -> Floats:
    """Centred Gram matrices [g, n, n], each row and column times √v."""
    n, first = len(rows), 0
    grams = np.zeros((views.count, n, n))
    for strip in strips(features(rows), rows, strip_width(n)):
        x = Standardisation.of(strip, weights, clip=clip).apply(strip)
        groups = views.columns[first : first + x.shape[1]]
        first += x.shape[1]
        for group in np.unique(groups):
            part = np.ascontiguousarray(x[:, groups == group])
            grams[group] += part @ part.T
    share, root = weights / weights.sum(), np.sqrt(weights)
    centres = grams @ share  # [g, n]
    grams -= centres[:, None, :]
    grams -= (centres - (centres @ share)[:, None])[:, :, None]
    grams *= root * root[:, None]
    return grams
