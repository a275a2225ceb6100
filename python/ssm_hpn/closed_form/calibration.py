"""Probabilities from scores, and thresholds below which no class is answered, both from scores that were left out.

    P(c) = (1 - λ)·exp(scale·q_c)/Σ_k exp(scale·q_k) + λ·π_c,     q_c = z·p_c,   π_c the weighed share of class c
    scale = argmin Σ_i w_i/Σw · [-Σ_c t_ic ln P_i(c)]
    t_ic = 1 - ε for the class of i, ε/(C-1) for each other one,   ε = 1/(n + 2)

The sum is convex in the scale (an inverse temperature; Guo et al., ICML 2017); Newton's method inside of a bracket
finds its minimum. ε is the error rate that n right answers still leave likely (Laplace's rule of succession; Platt 1999
softens the targets of two classes so): where every left-out series is right, the scale stays finite, and the mean
confidence is 1 - ε. λ is 0 where the softmax has no larger log loss than the shares π alone; else it is that of least
log loss, so that probabilities are never worse than the shares on the series that they are fitted to (-Σ w_i ln P_i is
convex in λ, and at λ = 1 that of the shares).

Left-out scores are those of series that no fit has seen: leave-one-out scores of a head in closed form, or those of
series that were held out of training. For a head in closed form q are inner products, not cosines, which for two
classes are ±1 for every series, and no series is surer than the surest left-out one could be: z longer than all of
these is shortened. For a trained head q are its scores: cosines, or the outputs of a linear head.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray

from ssm_hpn.errors import CheckpointError, ConfigError, problem, shown

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

SCALES: Final = (1e-3, 1e4)
"""Bounds of the scale. The lower one keeps the order of the classes where the scores tell nothing."""
ITERATIONS: Final = 100
PRECISE: Final = 1e-9
"""Relative width of the bracket at which the search ends."""
TINY: Final = float(np.finfo(np.float64).tiny)


def shortened(scores: Floats, longest: float) -> Floats:
    """Scores z [n, Q], those longer than `longest` shortened to it.

    >>> shortened(np.array([[3.0, 4.0], [0.3, 0.4]]), 1.0).round(3).tolist()
    [[0.6, 0.8], [0.3, 0.4]]
    """
    length = np.linalg.norm(scores, axis=1, keepdims=True)
    return np.where(length > longest, scores * (longest / np.maximum(length, np.finfo(np.float64).tiny)), scores)


def softmax(q: Floats, scale: float) -> Floats:
    """Probabilities [n, C] of q [n, C].

    >>> softmax(np.array([[0.0, np.log(3.0)]]), 1.0).round(6).tolist()
    [[0.25, 0.75]]
    """
    exponent = scale * (q - q.max(axis=1, keepdims=True))
    power: Floats = np.exp(exponent)
    power /= power.sum(axis=1, keepdims=True)
    return power


def fitted_scale(q: Floats, labels: Ints, weights: Floats) -> float:
    """The scale for left-out q [n, C] with labels [n] and weights [n].

    >>> q = np.array([[0.5, -0.5], [-0.5, 0.5], [0.5, -0.5], [0.5, -0.5]])
    >>> round(fitted_scale(q, np.array([0, 1, 0, 1]), np.ones(4)), 3)
    0.693
    """
    n, n_classes = q.shape
    error = 1.0 / (n + 2)
    share = weights / weights.sum()
    own = q[np.arange(n), labels]
    rest = (q.sum(axis=1) - own) / (n_classes - 1)
    wanted = float(share @ ((1.0 - error) * own + error * rest))

    def slope(scale: float) -> tuple[float, float]:
        """First and second derivative of the sum."""
        p = softmax(q, scale)
        mean = (p * q).sum(axis=1)
        return float(share @ mean) - wanted, float(share @ ((p * q * q).sum(axis=1) - mean * mean))

    low, high = SCALES
    if slope(low)[0] >= 0:
        return low
    if slope(high)[0] <= 0:
        return high
    scale = 1.0
    for _ in range(ITERATIONS):
        first, second = slope(scale)
        low, high = (scale, high) if first < 0 else (low, scale)
        if first == 0 or high - low <= PRECISE * low:
            break
        step = scale - first / second if second > 0 else low
        settled = abs(step - scale) <= PRECISE * scale
        scale = step if low < step < high else float(np.sqrt(low * high))
        if settled:
            break
    return scale


@dataclass(frozen=True, eq=False)
class Temperature:
    """The map from scores q [n, C] to probabilities [n, C].

    >>> q = np.array([[0.5, -0.5], [-0.5, 0.5], [0.5, -0.5], [0.5, -0.5]])
    >>> fitted = Temperature.of(q, np.array([0, 1, 0, 1]), np.ones(4))
    >>> round(fitted.scale, 3), fitted.share, fitted.probabilities(q[:1]).round(2).tolist()
    (0.693, 0.0, [[0.67, 0.33]])
    """

    scale: float
    share: float
    """λ."""
    frequencies: Floats
    """π [C]."""

    @classmethod
    def of(cls, q: Floats, labels: Ints, weights: Floats) -> Self:
        """Fit to left-out q [n, C] with labels [n] and weights [n]."""
        frequencies = np.bincount(labels, weights, q.shape[1]) / weights.sum()
        scale = fitted_scale(q, labels, weights)
        return cls(
            scale, _share(softmax(q, scale)[np.arange(len(q)), labels], frequencies[labels], weights), frequencies
        )

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """What `to_json` gave; `KeyError`, `TypeError` or `ValueError` for anything else."""
        frequencies = np.asarray(values.get("frequencies", ()), np.float64)
        return cls(float(values["scale"]), float(values.get("share", 0.0)), frequencies)

    @classmethod
    def saved(cls, state: Mapping[str, Any]) -> "Temperature | None":
        """That in the state of a checkpoint, under "temperature"; None where none had been fitted.

        >>> Temperature.saved({"temperature": {"scale": 2.0}}).scale, Temperature.saved({})
        (2.0, None)
        """
        found = state.get("temperature")
        try:
            return None if found is None else cls.from_json(found)
        except (AttributeError, KeyError, TypeError, ValueError):
            advice = "load another checkpoint"
            raise CheckpointError(problem("temperature", "a scale above 0", shown(found), advice)) from None

    def to_json(self) -> dict[str, Any]:
        """As JSON; the shares of the classes where they count."""
        if self.share == 0:
            return {"scale": self.scale}
        return {"scale": self.scale, "share": self.share, "frequencies": self.frequencies.tolist()}

    def with_classes(self, places: Ints, n_classes: int) -> Self:
        """The same for the classes so far, which are at these places of `n_classes`; others have no share.

        >>> Temperature(1.0, 0.5, np.array([0.25, 0.75])).with_classes(np.array([0, 2]), 3).frequencies.tolist()
        [0.25, 0.0, 0.75]
        """
        if not len(self.frequencies):
            return self
        frequencies = np.zeros(n_classes)
        frequencies[places] = self.frequencies
        return replace(self, frequencies=frequencies)

    def probabilities(self, q: Floats) -> Floats:
        """[n, C] of q [n, C]."""
        p = softmax(q, self.scale)
        return p if self.share == 0 else (1.0 - self.share) * p + self.share * self.frequencies


def _share(own: Floats, frequencies: Floats, weights: Floats) -> float:
    """λ, from the probabilities [n] of each series' class and the shares [n] of these classes."""

    def slope(share: float) -> float:
        return float(weights @ ((own - frequencies) / np.maximum((1.0 - share) * own + share * frequencies, TINY)))

    losses = (-float(weights @ np.log(np.maximum(one, TINY))) for one in (own, frequencies))
    if next(losses) <= next(losses):
        return 0.0
    low, high = 0.0, 1.0
    if slope(high) <= 0:
        return high
    for _ in range(ITERATIONS):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if slope(middle) < 0 else (low, middle)
    return high


@dataclass(frozen=True, eq=False)
class RejectCurve:
    """What a threshold of the confidence leaves: thresholds in rising order, each with its share answered and accuracy.

    >>> curve = RejectCurve.of(np.array([0.9, 0.5, 0.7, 0.5]), np.array([True, False, True, True]), np.ones(4))
    >>> curve.thresholds.tolist(), curve.answered.tolist(), curve.accuracy.round(3).tolist()
    ([0.5, 0.7, 0.9], [1.0, 0.5, 0.25], [0.75, 1.0, 1.0])
    >>> curve.threshold(answered=0.5), curve.threshold(answered=0.6)
    (0.7, 0.5)
    """

    thresholds: Floats
    """A series is answered where its confidence is at least this."""
    answered: Floats
    """Weighted share of the series that are answered, in (0, 1]."""
    accuracy: Floats
    """Weighted share of right classes among the answered ones."""

    @classmethod
    def of(cls, confidence: Floats, right: NDArray[np.bool_], weights: Floats) -> "RejectCurve":
        """From confidences [n], whether each answer is right [n], and weights [n]. Equal confidences go together."""
        thresholds, place = np.unique(confidence, return_inverse=True)
        here = np.bincount(place, weights, len(thresholds))
        good = np.bincount(place, weights * right, len(thresholds))
        above, good_above = here[::-1].cumsum()[::-1], good[::-1].cumsum()[::-1]
        return cls(thresholds, above / above[0], good_above / above)

    def threshold(self, *, answered: float) -> float:
        """The highest threshold that answers at least this share.

        Raises `ConfigError` for a share outside of (0, 1].
        """
        if not 0 < answered <= 1:
            raise ConfigError(problem("answered", "a share above 0 and up to 1", answered, "use 0.9 for nine of ten"))
        enough = np.flatnonzero(self.answered >= answered * (1.0 - 1e-12))
        return float(self.thresholds[enough[-1]])
