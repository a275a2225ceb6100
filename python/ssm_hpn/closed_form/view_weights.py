"""Weights of groups of features, such as those of one view of a series, by the leave-one-out error.

A group whose features say little of the targets adds noise to all products. With the Gram matrices K_g of the groups,
centred by the weights v as in `gram`,

    K(w) = Σ_g w_g K_g,   unit = tr K(w)/n,   A = K(w)/unit + αI
    r = α A⁻¹ √v(y - ȳ),   1 - h_i = α (A⁻¹)_ii - v_i/Σv,   E(w, α) = Σ_i ‖r_i/(1 - h_i)‖² / Σv

E is the leave-one-out error of `spectrum` (Allen's PRESS) without its eigenvalues. From w = 1 the weight of a group, or
of some together, is multiplied or divided by `STEP`; the change of least error is made while it makes E smaller by
`LEAST`. The strength α is that of least error before each change. A standardised feature of group g counts √w_g times
as much: its weight ω is w_g. Up to `MOST` series decide, of equal targets in proportion.
"""

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ssm_hpn.closed_form.blocks import Features, Rows, strip_width, strips
from ssm_hpn.closed_form.columns import Standardisation
from ssm_hpn.closed_form.draws import spread
from ssm_hpn.closed_form.linear import RidgeSettings
from ssm_hpn.closed_form.spectrum import LEVERAGE
from ssm_hpn.closed_form.views import Views

Floats = NDArray[np.float64]
Omega = NDArray[np.float32] | None

MOST: Final = 384
"""Series that decide: their matrices are inverted some ten times for each group."""
STEP: Final = 3.0
LEAST: Final = 0.01
CHANGES: Final = 6
"""Most changes."""
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
    found = best_weights(grams, targets[chosen], weights[chosen], views.together, each=each)
    return found.astype(np.float32)[views.columns]


def best_weights(
    grams: Floats, targets: Floats, weights: Floats, together: Sequence[Sequence[int]], *, each: bool
) -> Floats:
    """w [g] for centred Gram matrices [g, n, n]; `each`: every target has a unit of its own."""
    problem = _LeftOut(grams, targets, weights, each=each)
    found = np.ones(len(grams))
    error, strength = min((problem.error(found, float(one)), float(one)) for one in STRENGTHS)
    for _ in range(CHANGES):
        changed = [_changed(found, some, factor) for some in together for factor in (STEP, 1.0 / STEP)]
        errors = [problem.error(one, strength) for one in changed]
        best = int(np.argmin(errors))
        if not errors[best] < error * (1.0 - LEAST):
            break
        found = changed[best]
        error, strength = min((problem.error(found, float(one)), float(one)) for one in STRENGTHS)
    return found


def _changed(weights: Floats, some: Sequence[int], factor: float) -> Floats:
    changed = weights.copy()
    changed[list(some)] *= factor
    return changed


class _LeftOut:
    """E(w, α)."""

    def __init__(self, grams: Floats, targets: Floats, weights: Floats, *, each: bool) -> None:
        self._grams, self._share = grams, weights / weights.sum()
        mean = self._share @ targets
        deviation = np.sqrt(self._share @ np.square(targets - mean))
        deviation = np.where(deviation > 0, deviation, 1.0) if each else 1.0
        self._targets = np.sqrt(self._share)[:, None] * (targets - mean) / deviation

    def error(self, weights: Floats, strength: float) -> float:
        gram = np.tensordot(weights, self._grams, axes=1)
        n, unit = len(gram), float(np.trace(gram)) / len(gram)
        if not unit > 0:
            return float(np.square(self._targets).sum())
        gram /= unit
        gram.flat[:: n + 1] += strength
        inverse = strength * np.linalg.inv(gram)
        free = np.maximum(np.diag(inverse) - self._share, 1.0 - LEVERAGE)
        return float(np.square((inverse @ self._targets) / free[:, None]).sum())


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
