"""What is measured on held-out data: definition, direction, unit and format of every metric.

Sums come from the core, batch by batch; a metric is a function of their totals (n targets, C classes), see
docs/mathematics.md, section 5:

    loss            Σ loss / n                          as the head defines it
    bits_per_token  loss / ln 2                         where the loss is a cross entropy
    bits_per_byte   bits_per_token / bytes per token    where a tokenizer encoded the text; the mean over the whole part
    accuracy        correct / scored
    error           1 - accuracy
    f1              mean over classes of 2·TP / (2·TP + FP + FN), classes that neither occur nor are predicted left out
    mse, mae        Σ (ŷ - y)² / n, Σ |ŷ - y| / n       each number is a target; missing ones (NaN) are none
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from math import log, nan
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from ssm_hpn.config import ModelConfig
from ssm_hpn.early_stopping import Direction
from ssm_hpn.targets import KINDS

if TYPE_CHECKING:
    from ssm_hpn._core import EvalReport

MOST_CLASSES_IN_CONFUSION = 64


@dataclass(slots=True)
class Totals:
    """Sums over everything that was evaluated."""

    n_classes: int = 0
    """Classes to count one by one; 0 for none."""
    loss: float = 0.0
    count: int = 0
    scored: int = 0
    correct: int = 0
    bytes_per_token: float | None = None
    """Of the text that was evaluated, where a tokenizer encoded it."""
    squared_error: float = 0.0
    absolute_error: float = 0.0
    hits: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    """[C] right predictions of each class."""
    predicted: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    """[C] predictions of each class."""
    expected: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    """[C] targets of each class."""
    confusion: NDArray[np.int64] | None = None
    """[C, C] expected by predicted, for few classes."""

    def __post_init__(self) -> None:
        n = self.n_classes
        self.hits, self.predicted, self.expected = (np.zeros(n, np.int64) for _ in range(3))
        if 0 < n <= MOST_CLASSES_IN_CONFUSION:
            self.confusion = np.zeros((n, n), np.int64)

    def add(self, report: "EvalReport") -> None:
        """Add the sums of one batch."""
        self.loss += report["loss_sum"]
        self.count += report["count"]
        self.scored += report["scored"]
        self.correct += report["correct"]
        self.squared_error += report["squared_error"]
        self.absolute_error += report["absolute_error"]
        n = self.n_classes
        if n and "predicted" in report and "expected" in report:
            predicted, expected = report["predicted"], report["expected"]
            self.hits += np.bincount(expected[expected == predicted], minlength=n)
            self.predicted += np.bincount(predicted, minlength=n)
            self.expected += np.bincount(expected, minlength=n)
            if self.confusion is not None:
                self.confusion += np.bincount(expected * n + predicted, minlength=n * n).reshape(n, n)

    def f1(self) -> float:
        """Macro F1 over the classes that occur or are predicted (docs/mathematics.md, section 5)."""
        total = self.predicted + self.expected
        present = total > 0
        return float(np.mean(2 * self.hits[present] / total[present])) if present.any() else nan


@dataclass(frozen=True, slots=True)
class Metric:
    """One number that an evaluation gives."""

    name: str
    direction: Direction
    """Whether smaller or larger is better."""
    unit: str
    format: str
    """How people read it, for `format()`."""
    value: Callable[[Totals], float]

    def show(self, value: float) -> str:
        """The value as people read it."""
        return format(value, self.format)


def _ratio(numerator: float, denominator: float) -> float:
    return numerator / denominator if denominator else nan


LOSS = Metric("loss", "min", "", ".4f", lambda t: _ratio(t.loss, t.count))
BITS = Metric("bits_per_token", "min", "bits", ".3f", lambda t: _ratio(t.loss, t.count) / log(2))
BITS_PER_BYTE = Metric(
    "bits_per_byte", "min", "bits", ".3f", lambda t: _ratio(t.loss, t.count) / log(2) / (t.bytes_per_token or nan)
)
ACCURACY = Metric("accuracy", "max", "", ".3f", lambda t: _ratio(t.correct, t.scored))
ERROR = Metric("error", "min", "", ".3f", lambda t: 1 - _ratio(t.correct, t.scored))
F1 = Metric("f1", "max", "", ".3f", Totals.f1)
MSE = Metric("mse", "min", "unit²", ".4g", lambda t: _ratio(t.squared_error, t.count))
MAE = Metric("mae", "min", "unit", ".4g", lambda t: _ratio(t.absolute_error, t.count))


METRICS: Final = {metric.name: metric for metric in (LOSS, ACCURACY, BITS, ERROR, F1, MSE, MAE)}
"""Every metric by name."""


def metrics_of(model: ModelConfig) -> tuple[Metric, ...]:
    """The metrics of a resolved model, in the order of the metrics file: those of its target that its loss has."""
    names = KINDS[model.target.kind].metrics
    return tuple(METRICS[name] for name in names if name != BITS.name or is_cross_entropy(model))


def with_bytes(metrics: tuple[Metric, ...], bytes_per_token: float | None) -> tuple[Metric, ...]:
    """The metrics, with bits per byte where there are bits per token and the bytes of a token are known."""
    return (*metrics, BITS_PER_BYTE) if BITS in metrics and bytes_per_token else metrics


def is_cross_entropy(model: ModelConfig) -> bool:
    """Whether the loss is the negative logarithm of a probability."""
    loss = getattr(model.head, "loss", None)
    return loss == "softmax" or getattr(loss, "kind", None) == "softmax"


def empty_totals(model: ModelConfig) -> Totals:
    """Totals of the right width for a resolved model; single classes are counted where F1 is a metric."""
    n_classes = 0
    if any(metric is F1 for metric in metrics_of(model)):
        n_classes = getattr(model.head, "n_classes", None) or getattr(model.head, "n_outputs", None) or 0
    return Totals(n_classes=n_classes)
