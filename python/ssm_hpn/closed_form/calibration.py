"""Probabilities from scores, and thresholds below which no class is answered, both from leave-one-out scores.

    P(c) = exp(scale·q_c) / Σ_k exp(scale·q_k),     q_c = z·p_c,   z shortened to the longest of the left-out scores
    scale = argmin Σ_i w_i/Σw · [-Σ_c t_ic ln P_i(c)]
    t_ic = 1 - ε for the class of i, ε/(C-1) for each other one,   ε = 1/(n + 2)

The sum is convex in the scale (an inverse temperature; Guo et al., ICML 2017); Newton's method inside of a bracket
finds its minimum. ε is the error rate that n right answers still leave likely (Laplace's rule of succession; Platt 1999
softens the targets of two classes so): where every left-out series is right, the scale stays finite, and the mean
confidence is 1 - ε. No series is surer than the surest left-out one could be: z longer than all of these is shortened.

Inner products, not cosines: those of two classes are ±1 for every series.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ssm_hpn.errors import ConfigError, problem

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

SCALES: Final = (1e-3, 1e4)
"""Bounds of the scale. The lower one keeps the order of the classes where the scores tell nothing."""
ITERATIONS: Final = 100
PRECISE: Final = 1e-9
"""Relative width of the bracket at which the search ends."""


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
