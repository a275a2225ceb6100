"""The exact fit through the Gram matrix [n, n], for series that are few.

    G = X'ωX'ᵀ (products in f32, sums over strips in f64),  g = Gv/Σv     (ω as in `view_weights`, or 1)
    K_ij = √v_i √v_j (G_ij - g_i - g_j + vᵀg/Σv) = U diag(s) Uᵀ·unit,     u_i = row i of U diag(√s)   (as in `spectrum`)
    W = ω Σ_i √v_i a_i x'_i,   a = U diag(1/(s + α)) Uᵀ √v(y - ȳ) / unit,   b = ȳ - Wᵀ(Σ v_i x'_i / Σv)

Eigenvalues that are rounding are left out with their vectors: there are some where features are fewer than series, and
where series are equal.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from ssm_hpn.closed_form.blocks import Block, Features, Rows, strip_width, strips
from ssm_hpn.closed_form.columns import Standardisation
from ssm_hpn.closed_form.linear import KEPT_BYTES, Fit, LinearScores, RidgeSettings
from ssm_hpn.closed_form.spectrum import Spectrum, rounding
from ssm_hpn.closed_form.view_weights import feature_weights
from ssm_hpn.errors import ShapeError, problem

Floats = NDArray[np.float64]


def fit_exact(
    features: Features, rows: Rows, targets: Floats, weights: Floats, *, settings: RidgeSettings, each: bool
) -> Fit:
    """Fit targets y [n, K] of the series `rows` with weights v [n] above 0.

    `each`: every target has a strength of its own. The features are asked for once where they fit into `KEPT_BYTES`,
    else twice.
    """
    passes = _Standardised(features, rows, weights, clip=settings.clip)
    omega = feature_weights(features, rows, targets, weights, settings=settings, each=each)
    gram = np.zeros((len(rows), len(rows)))
    for part, x in passes:
        sized = x if omega is None else x * np.sqrt(omega[part])
        gram += sized @ sized.T
    spectrum, vectors, unit = _decomposed(gram, targets, weights)
    strength = spectrum.strength(settings.strength, each=each)
    root = np.sqrt(weights)[:, None]
    rotated = vectors.T @ (root * (targets - spectrum.mean))
    dual = root * (vectors @ (rotated / (spectrum.values[:, None] + strength))) / unit
    parts, offset = [], np.zeros(targets.shape[1])
    share = weights / spectrum.total
    for part, x in passes:
        wide = x.astype(np.float64)
        found = wide.T @ dual
        if omega is not None:
            found *= omega[part, None]
        offset += (share @ wide) @ found
        parts.append(found.astype(np.float32))
    linear = LinearScores(passes.standardisation, np.concatenate(parts), spectrum.mean - offset)
    return Fit(linear, strength, rows, spectrum.left_out(strength), 0)


def _decomposed(gram: Floats, targets: Floats, weights: Floats) -> tuple[Spectrum, Floats, float]:
    """The spectrum, U and the unit; the Gram matrix is overwritten."""
    total = float(weights.sum())
    centre = gram @ weights / total
    gram -= centre
    gram -= (centre - weights @ centre / total)[:, None]
    root = np.sqrt(weights)
    gram *= root
    gram *= root[:, None]
    unit = float(np.trace(gram)) / len(gram)
    unit = unit if unit > 0 else 1.0
    gram /= unit
    values, vectors = np.linalg.eigh(gram)
    above = values > rounding(len(gram))
    values, vectors = values[above], vectors[:, above]
    coordinates = vectors * np.sqrt(values)
    mean = weights @ targets / total
    projections = coordinates.T @ (root[:, None] * (targets - mean))
    return Spectrum(values, projections, coordinates, targets, weights, total, mean), vectors, unit


class _Standardised:
    """The standardised strips of the training series, pass after pass: kept after the first one, or computed again."""

    def __init__(self, features: Features, rows: Rows, weights: Floats, *, clip: float) -> None:
        self._features, self._rows, self._weights, self._clip = features, rows, weights, clip
        self._kept: list[tuple[slice, Block]] | None = None
        self.standardisation = Standardisation.joined([], clip=clip)

    def __iter__(self) -> Iterator[tuple[slice, Block]]:
        if self._kept is not None:
            yield from self._kept
        elif len(self.standardisation):
            width = strip_width(len(self._rows))
            yield from self.standardisation.strips(self._features(self._rows), self._rows, width)
        else:
            yield from self._first_pass()

    def _first_pass(self) -> Iterator[tuple[slice, Block]]:
        parts, kept, size, first = [], [], 0, 0
        for strip in strips(self._features(self._rows), self._rows, strip_width(len(self._rows))):
            parts.append(Standardisation.of(strip, self._weights, clip=self._clip))
            x = parts[-1].apply(strip)
            part = slice(first, first + x.shape[1])
            first, size = part.stop, size + x.nbytes
            if size <= KEPT_BYTES:
                kept.append((part, x))
            else:
                kept.clear()
            yield part, x
        if not parts:
            raise ShapeError(problem("features", "at least one column", "none", "check the function"))
        self.standardisation = Standardisation.joined(parts, clip=self._clip)
        self._kept = kept if size <= KEPT_BYTES else None
