"""The fit for many series: ridge restricted to the span of m landmark series (subset of regressors, Nyström).

Memory does not grow with the number of series but for their targets and weights. Every series' features are asked for
once, `rows_at_once` series at a time. Landmarks are drawn at random within each stratum (class), in proportion.

    W = ωZ_Lᵀ R c,   Z_L ω Z_Lᵀ + δI = L Lᵀ (Cholesky),   R = L⁻ᵀ,   so ‖W/√ω‖ = ‖c‖ but for δ (`rounding`)
    φ_i = Rᵀ Z_L ω x'_i:  coordinates of the projection of x'_i on the span;   c by ridge on φ (as in `spectrum`)
    A = Σ v φφᵀ - Σv φ̄φ̄ᵀ = Q diag(s) Qᵀ·unit,     b = ȳ - cᵀφ̄

The statistics of the features are those of the landmarks, and ω their weights (`view_weights`). Leave-one-out scores,
by which the strength is chosen, are of up to `left_out` series that are no landmarks. With every series a landmark
this is the exact fit.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ssm_hpn.closed_form.blocks import Block, Features, Rows, strip_width, strips
from ssm_hpn.closed_form.columns import Standardisation
from ssm_hpn.closed_form.draws import stratified
from ssm_hpn.closed_form.linear import Fit, LinearScores, RidgeSettings
from ssm_hpn.closed_form.spectrum import Spectrum, rounding
from ssm_hpn.closed_form.view_weights import Omega, feature_weights
from ssm_hpn.errors import ShapeError, problem

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


def fit_landmarks(
    features: Features,
    rows: Rows,
    targets: Floats,
    weights: Floats,
    strata: Ints,
    *,
    settings: RidgeSettings,
    each: bool,
) -> Fit:
    """Fit targets y [n, K] of the series `rows` with weights v [n] above 0; `strata` [n] are their classes.

    `each`: every target has a strength of its own.
    """
    span, left, phi = spanned(features, rows, targets, weights, strata, settings=settings, each=each)
    return span.fit(phi, targets[left], weights[left], rows[left], settings=settings, each=each)


def spanned(
    features: Features,
    rows: Rows,
    targets: Floats,
    weights: Floats,
    strata: Ints,
    *,
    settings: RidgeSettings,
    each: bool,
) -> tuple["Span", Rows, Floats]:
    """The sums over series by landmarks drawn from them, the entries of those to leave out, and φ of these."""
    chosen = stratified(strata, settings.landmarks, seed=settings.seed)
    omega = feature_weights(features, rows, targets, weights, settings=settings, each=each)
    span = Span(Basis(features, rows[chosen], weights[chosen], omega, clip=settings.clip), targets.shape[1])
    others = np.setdiff1d(np.arange(len(rows)), chosen)
    left = others[stratified(strata[others], settings.left_out, seed=settings.seed)] if len(others) else chosen
    span.sums.add(span.basis.landmarks, targets[chosen], weights[chosen])
    held = [] if len(others) else [span.basis.landmarks]
    for first in range(0, len(others), settings.rows_at_once):
        part = others[first : first + settings.rows_at_once]
        phi = span.add(features, rows[part], targets[part], weights[part])
        held.append(phi[np.isin(part, left)])
    return span, left, np.concatenate(held)


class Span:
    """What is known of series in the span of landmarks. More series may be added; the landmarks stay."""

    def __init__(self, basis: "Basis", n_targets: int) -> None:
        self.basis = basis
        self.sums = Sums(len(basis.landmarks), n_targets)

    def add(self, features: Features, rows: Rows, targets: Floats, weights: Floats) -> Floats:
        """Add series with targets y [n, K] and weights v [n] above 0; returns their φ [n, m]."""
        phi = self.basis.coordinates(features, rows)
        self.sums.add(phi, targets, weights)
        return phi

    def fit(
        self,
        phi: Floats,
        targets: Floats,
        weights: Floats,
        rows: Rows,
        *,
        settings: RidgeSettings,
        each: bool,
        directions: Floats | None = None,
    ) -> Fit:
        """The fit; `rows` are left out one by one, with φ [n, m], targets [n, K] and weights [n].

        With `directions` [Q, K] the sums have targets [n, Q] whose products with it are fitted.
        """
        spectrum, vectors, unit = self.sums.spectrum(phi, targets, weights, directions)
        strength = spectrum.strength(settings.strength, each=each)
        c = vectors @ spectrum.solution(strength) / np.sqrt(unit)
        linear = LinearScores(self.basis.standardisation, self.basis.weights(c), spectrum.mean - self.sums.centre @ c)
        return Fit(linear, strength, rows, spectrum.left_out(strength), len(self.basis.landmarks))


class Basis:
    """The standardised features of the landmarks, times their weights, and R."""

    def __init__(self, features: Features, rows: Rows, weights: Floats, omega: Omega, *, clip: float) -> None:
        self.rows, self._omega = rows, omega
        self._strips: list[Block] = []
        parts, gram = [], np.zeros((len(rows), len(rows)))
        self._width = strip_width(len(rows))
        for strip in strips(features(rows), rows, self._width):
            parts.append(Standardisation.of(strip, weights, clip=clip))
            x = parts[-1].apply(strip)
            gram += x @ self._weighed(x).T
        if not parts:
            raise ShapeError(problem("features", "at least one column", "none", "check the function"))
        self.standardisation = Standardisation.joined(parts, clip=clip)
        shift = rounding(len(rows)) * (float(np.trace(gram)) / len(gram) or 1.0)
        self._inverse: Floats = np.asarray(np.linalg.inv(factor(gram, shift)), np.float64).T
        self.landmarks: Floats = gram @ self._inverse
        """φ of the landmarks [m, m]."""

    def _weighed(self, x: Block) -> Block:
        """The next columns, kept times their weights."""
        first = sum(one.shape[1] for one in self._strips)
        omega = self._omega
        self._strips.append(x if omega is None else x * omega[first : first + x.shape[1]])
        return self._strips[-1]

    def __getstate__(self) -> dict[str, Any]:
        """All but the features of the landmarks, which `complete` computes again."""
        return self.__dict__ | {"_strips": []}

    def complete(self, features: Features) -> None:
        """Compute the features of the landmarks where they are missing; `features` are those of the landmarks alone."""
        if not self._strips:
            rows = np.arange(len(self.landmarks))
            for _, x in self.standardisation.strips(features(rows), rows, self._width):
                self._weighed(x)

    def coordinates(self, features: Features, rows: Rows) -> Floats:
        """φ [n, m] of other series."""
        products = np.zeros((len(rows), len(self.landmarks)))
        for part, x in self.standardisation.strips(features(rows), rows, self._width):
            products += x @ self._strips[part.start // self._width][:, : x.shape[1]].T
        return products @ self._inverse

    def weights(self, c: Floats) -> NDArray[np.float32]:
        """W [d, K]."""
        dual = self._inverse @ c
        return np.concatenate([(x.astype(np.float64).T @ dual).astype(np.float32) for x in self._strips])


def factor(gram: Floats, shift: float) -> Floats:
    """L of gram + δI, δ at least `shift`.

    Where many landmarks are equal, products are rounded alike, and the errors of their eigenvalues are larger: δ grows
    tenfold until the matrix is positive definite.
    """
    while True:
        shifted = gram.copy()
        shifted.flat[:: len(gram) + 1] += shift
        try:
            return np.asarray(np.linalg.cholesky(shifted), np.float64)
        except np.linalg.LinAlgError:
            shift *= 10.0


class Sums:
    """Weighted sums over all series, as they come."""

    def __init__(self, m: int, n_targets: int) -> None:
        self._second, self._first = np.zeros((m, m)), np.zeros(m)
        self._cross, self._targets = np.zeros((m, n_targets)), np.zeros(n_targets)
        self._total, self._count = 0.0, 0

    def add(self, phi: Floats, targets: Floats, weights: Floats) -> None:
        """Add series by their φ [n, m], targets [n, K] and weights [n]."""
        root = np.sqrt(weights)[:, None] * phi
        self._second += root.T @ root
        self._first += weights @ phi
        self._cross += phi.T @ (weights[:, None] * targets)
        self._targets += weights @ targets
        self._total += float(weights.sum())
        self._count += len(phi)

    @property
    def centre(self) -> Floats:
        """φ̄ [m]."""
        return self._first / self._total

    def spread(self, columns: Ints, n_targets: int) -> None:
        """Let the targets become those at `columns` of `n_targets`, of which the others are 0 for all series so far."""
        cross, targets = np.zeros((len(self._first), n_targets)), np.zeros(n_targets)
        cross[:, columns], targets[columns] = self._cross, self._targets
        self._cross, self._targets = cross, targets

    def keep(self, columns: Ints) -> None:
        """Drop all targets but these."""
        self._cross, self._targets = self._cross[:, columns], self._targets[columns]

    def spectrum(
        self, phi: Floats, targets: Floats, weights: Floats, directions: Floats | None = None
    ) -> tuple[Spectrum, Floats, float]:
        """The spectrum with the rows that are left out, Q and the unit."""
        cross = self._cross if directions is None else self._cross @ directions
        mean = (self._targets if directions is None else self._targets @ directions) / self._total
        scatter = self._second - self._total * np.outer(self.centre, self.centre)
        unit = float(np.trace(scatter)) / self._count
        unit = unit if unit > 0 else 1.0
        values, vectors = np.linalg.eigh(scatter / unit)
        projections = vectors.T @ (cross - self._total * np.outer(self.centre, mean)) / np.sqrt(unit)
        coordinates = np.sqrt(weights)[:, None] * ((phi - self.centre) @ vectors) / np.sqrt(unit)
        spectrum = Spectrum(np.maximum(values, 0.0), projections, coordinates, targets, weights, self._total, mean)
        return spectrum, vectors, unit
