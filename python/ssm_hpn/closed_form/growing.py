"""A fit to series that come in parts.

While all series together are no more than `largest_exact`, they are kept, and the fit is the exact one of all of them.
Beyond that, landmarks are drawn once from those that are there, and memory is bounded: each further series adds to the
sums of `landmarks`, and a uniform sample of `left_out` of them is left out one by one (reservoir sampling, algorithm R
of Vitter, 1985). One call with all series gives the fit of `fit_landmarks`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ssm_hpn.closed_form.blocks import Features, Rows
from ssm_hpn.closed_form.gram import fit_exact
from ssm_hpn.closed_form.landmarks import Span, spanned
from ssm_hpn.closed_form.linear import Fit, RidgeSettings

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
FeaturesOf = Callable[[Sequence[Any]], Features]
"""The features of these series."""


@dataclass(eq=False)
class Known:
    """What is known of series besides their features."""

    rows: Rows
    """[n] their numbers, as they came."""
    targets: Floats
    """[n, Q]."""
    weights: Floats
    """[n] of the fit, above 0."""
    samples: Floats
    """[n] weights without those of classes."""

    def __getitem__(self, chosen: Any) -> "Known":  # noqa: ANN401 - an index of numpy
        return Known(self.rows[chosen], self.targets[chosen], self.weights[chosen], self.samples[chosen])

    def joined(self, other: "Known") -> "Known":
        """These series and then the others."""
        pairs = ((getattr(self, name), getattr(other, name)) for name in self.__dataclass_fields__)
        return Known(*(np.concatenate(pair) for pair in pairs))


@dataclass(eq=False)
class Growing:
    """Targets of series that come in parts.

    >>> x = np.random.default_rng(0).normal(size=(40, 6)).astype(np.float32)
    >>> of = lambda series: lambda rows: [x[[series[i] for i in rows]]]
    >>> growing = Growing(1)
    >>> for part in (range(25), range(25, 40)):
    ...     chosen = list(part)
    ...     growing.add(of, chosen, x[chosen, :1].astype(float), np.ones(len(chosen)), np.ones(len(chosen)))
    >>> growing.fit(of, each=True).left_out.shape
    (40, 1)
    """

    n_targets: int
    """Q."""
    by_class: bool = False
    """Whether targets are 1 for the class of a series and else 0: landmarks are then drawn from each class."""
    settings: RidgeSettings = field(default_factory=RidgeSettings)

    def __post_init__(self) -> None:
        """Nothing is known yet."""
        self.series: list[Any] = []
        """All series, or the landmarks."""
        nothing = np.empty(0)
        self.known = Known(np.empty(0, np.intp), np.empty((0, self.n_targets)), nothing, nothing)
        """Of all series, or of those that are left out one by one."""
        self._count = 0
        self._span: Span | None = None
        self._phi = np.empty((0, 0))
        self._random = np.random.default_rng(self.settings.seed)

    def add(self, of: FeaturesOf, series: Sequence[Any], targets: Floats, weights: Floats, samples: Floats) -> None:
        """Add series with targets [n, Q], weights [n] above 0, and weights without those of classes [n]."""
        new = Known(np.arange(self._count, self._count + len(series)), targets, weights, samples)
        self._count += len(series)
        if self._span is not None:
            self._add_to(self._span, of, series, new)
            return
        self.series, self.known = [*self.series, *series], self.known.joined(new)
        if len(self.series) > max(self.settings.largest_exact, self.settings.landmarks):
            self._draw_landmarks(of)

    def _draw_landmarks(self, of: FeaturesOf) -> None:
        known, rows = self.known, np.arange(len(self.series))
        strata = known.targets.argmax(axis=1) if self.by_class else np.zeros(len(rows), np.int64)
        self._span, left, self._phi = spanned(
            of(self.series), rows, known.targets, known.weights, strata, settings=self.settings, each=not self.by_class
        )
        self.series, self.known = [self.series[i] for i in self._span.basis.rows], known[left]

    def _add_to(self, span: Span, of: FeaturesOf, series: Sequence[Any], new: Known) -> None:
        span.basis.complete(of(self.series))
        features, at_once = of(series), self.settings.rows_at_once
        for first in range(0, len(series), at_once):
            part = np.arange(first, min(first + at_once, len(series)))
            self._sample(new[part], span.add(features, part, new.targets[part], new.weights[part]))

    def _sample(self, new: Known, phi: Floats) -> None:
        """Keep each of the series that are no landmarks with the same probability."""
        free = max(0, self.settings.left_out - len(self.known.rows))
        self.known, self._phi = self.known.joined(new[:free]), np.concatenate([self._phi, phi[:free]])
        for place, row in enumerate(new.rows[free:].tolist(), start=free):
            others = row + 1 - len(self.series)
            kept = int(self._random.integers(others))
            if kept < len(self.known.rows):
                self._phi[kept] = phi[place]
                for name in self.known.__dataclass_fields__:
                    getattr(self.known, name)[kept] = getattr(new, name)[place]

    def fit(self, of: FeaturesOf, *, each: bool, directions: Floats | None = None) -> Fit:
        """The fit of targets [n, Q], or of their products with `directions` [Q, K], to all series so far.

        `each`: every target has a strength of its own. The rows of the fit are those of `known`.
        """
        known = self.known
        targets = known.targets if directions is None else known.targets @ directions
        if self._span is None:
            rows = np.arange(len(self.series))
            return fit_exact(of(self.series), rows, targets, known.weights, settings=self.settings, each=each)
        self._span.basis.complete(of(self.series))
        return self._span.fit(
            self._phi, targets, known.weights, known.rows, settings=self.settings, each=each, directions=directions
        )

    def spread(self, columns: Ints, n_targets: int) -> None:
        """Let the targets become those at `columns` of `n_targets`, of which the others are 0 for all series so far."""
        targets = np.zeros((len(self.known.targets), n_targets))
        targets[:, columns] = self.known.targets
        self.known.targets, self.n_targets = targets, n_targets
        if self._span is not None:
            self._span.sums.spread(columns, n_targets)

    def keep(self, columns: Ints) -> None:
        """Drop all targets but these."""
        self.known.targets, self.n_targets = self.known.targets[:, columns], len(columns)
        if self._span is not None:
            self._span.sums.keep(columns)
