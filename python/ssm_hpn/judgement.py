"""How far the probabilities of a classifier can be believed, and what a threshold of its confidence rejects.

    expected calibration error   as in `decisions`, before and after the temperature
    AUROC                        P(confidence of a known series > that of a strange one) + ½·P(they are equal)

A strange series is one whose class no series of the training data has.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import floor
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ssm_hpn.closed_form import RejectCurve
from ssm_hpn.decisions import Answers, expected_calibration_error

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

PRECISION = 1e6
"""Thresholds are rounded down to so many parts of 1, and so keep at least the share that is asked for."""


def auroc(known: Floats, strange: Floats) -> float:
    """Area under the ROC curve of confidences [n] and [m].

    >>> auroc(np.array([0.9, 0.8, 0.5]), np.array([0.5, 0.1]))
    0.9166666666666666
    """
    order = np.sort(strange)
    below, up_to = np.searchsorted(order, known, "left"), np.searchsorted(order, known, "right")
    return float((below + up_to).mean() / (2 * len(strange)))


def threshold_keeping(confidence: Floats, keep: float) -> float:
    """The threshold at which at least this share of series with these confidences [n] is answered.

    Raises `ConfigError` for a share outside of (0, 1].

    >>> threshold_keeping(np.array([0.1, 0.5, 0.7, 0.9]), 0.75)
    0.5
    """
    ones = np.ones(len(confidence))
    found = RejectCurve.of(confidence, ones > 0, ones).threshold(answered=keep)
    return floor(found * PRECISION) / PRECISION


@dataclass
class Judged:
    """Answers to labelled series, group by group."""

    answers: list[Answers] = field(default_factory=list)
    """To series of known classes."""
    strange: list[Floats] = field(default_factory=list)
    """Confidences of strange series."""

    def add(self, labels: Ints, found: Answers) -> None:
        """Add series with labels [n], -1 for none and below that for a strange one, in place of `found.labels`."""
        rows = np.flatnonzero(labels >= 0)
        if len(rows):
            self.answers.append(found.of(rows, labels))
        strange = np.flatnonzero(labels < -1)
        if len(strange):
            self.strange.append(found.confidences[strange])

    def facts(self, *, keep: float | None, reject_below: float | None) -> dict[str, Any]:
        """For JSON: calibration, and what a threshold answers; with `keep` it is the one that keeps these series."""
        result: dict[str, Any] = {}
        confidence = np.concatenate([one.confidences for one in self.answers] or [np.empty(0)])
        if len(confidence):
            result["calibration"] = self._calibration()
            if keep is not None:
                reject_below = threshold_keeping(confidence, keep)
            if reject_below is not None:
                right = np.concatenate([one.scores.argmax(axis=1) == one.labels for one in self.answers])
                kept = confidence >= reject_below
                answered = {"answered": float(kept.mean()), "series": len(kept)}
                accuracy = {"accuracy": float(right[kept].mean())} if kept.any() else {}
                result["reject"] = {"keep": keep, "reject_below": reject_below, **answered, **accuracy}
        if self.strange:
            strange = np.concatenate(self.strange)
            result["strange"] = {
                "series": len(strange),
                "auroc": auroc(confidence, strange) if len(confidence) else None,
                "rejected": None if reject_below is None else float((strange < reject_below).mean()),
            }
        return result

    def _calibration(self) -> Mapping[str, Any]:
        labels = np.concatenate([one.labels for one in self.answers])
        predicted = np.concatenate([one.scores.argmax(axis=1) for one in self.answers])

        def error(parts: list[Floats | None]) -> float | None:
            there = [one for one in parts if one is not None]
            whole = np.concatenate(there) if len(there) == len(parts) else None
            return None if whole is None else expected_calibration_error(whole, predicted, labels)

        return {
            "series": len(labels),
            "expected_error": error([one.probabilities for one in self.answers]),
            "before": error([one.before for one in self.answers]),
        }
