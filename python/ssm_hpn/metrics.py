"""Metrics of held-out data: definition, title, direction, unit and format of each; no other module knows more of them.

Sums come from the core, batch by batch; a metric is a function of their totals (n targets, C classes), see
docs/mathematics.md, section 5:

    loss            Σ loss / n                          as the head defines it
    bits_per_token  loss / ln 2                         where the loss is a cross entropy
    bits_per_byte   bits_per_token / bytes per token    where a tokenizer encoded the text; the mean over the whole part
    accuracy        correct / scored
    error           1 - accuracy
    f1              mean over classes of 2·TP / (2·TP + FP + FN), classes that neither occur nor are predicted left out
    mse, mae        Σ (ŷ - y)² / n, Σ |ŷ - y| / n       of one number to predict; missing ones (NaN) are no targets
    rmse            √mse
    r2              mean over the K numbers of 1 - Σ (ŷ - y)² / Σ (y - ȳ)²

Of several numbers to predict, whose units may differ, each has its mae, rmse and r2, and all together have r2.
Numbers are in the user's units, and summed in double precision. The mean predictor answers the mean of the
training data.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from math import isnan, log, nan, sqrt
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from ssm_hpn.columns import Scale
from ssm_hpn.config import ModelConfig
from ssm_hpn.early_stopping import Direction
from ssm_hpn.targets import KINDS

if TYPE_CHECKING:
    from ssm_hpn._core import EvalReport

MOST_CLASSES_IN_CONFUSION = 64
UNIT: Final = "unit"
"""Unit of the number to predict, which is known to the user alone."""


class NumberTotals:
    """Sums over K numbers to predict, [K] each, in the user's units.

    >>> import numpy as np
    >>> from ssm_hpn.metrics import NumberTotals
    >>> totals = NumberTotals(1, center=[2.0])
    >>> totals.add(predicted=np.array([[1.0], [2.0]]), expected=np.array([[1.0], [3.0]]))
    >>> totals.r2().tolist(), totals.per_number()[0]["mae"]
    ([0.5], 0.5)
    >>> totals.mean_predictor()["mae"], totals.mean_per_number()[0]["mae"]
    (1.0, 1.0)
    """

    def __init__(self, width: int, center: Sequence[float] | None) -> None:
        self.center = None if center is None else np.asarray(center, np.float64)
        """Prediction of the mean predictor; None where the mean of the training data is not known."""
        self.count = np.zeros(width, np.int64)
        self.squared, self.absolute = np.zeros(width), np.zeros(width)
        self._origin: NDArray[np.float64] | None = self.center
        self._sum, self._squares, self._distances = np.zeros(width), np.zeros(width), np.zeros(width)

    def add(self, predicted: NDArray[np.float64], expected: NDArray[np.float64]) -> None:
        """Add rows [m, K]; NaN among the expected is none."""
        there = ~np.isnan(expected)
        if self._origin is None:  # sums of squares relative to a number near the data lose no digits
            self._origin = np.nan_to_num(expected[0])
        errors = np.where(there, predicted - expected, 0.0)
        away = np.where(there, expected - self._origin, 0.0)
        self.count += there.sum(axis=0)
        self.squared += (errors**2).sum(axis=0)
        self.absolute += np.abs(errors).sum(axis=0)
        self._sum += away.sum(axis=0)
        self._squares += (away**2).sum(axis=0)
        self._distances += np.abs(away).sum(axis=0)

    def r2(self) -> NDArray[np.float64]:
        """[K] share of the variance that is explained; NaN where the expected numbers do not vary."""
        return self._explained(self.squared)

    def per_number(self) -> list[dict[str, float]]:
        """MAE, RMSE and R2 of each of the K numbers; NaN where they are undefined."""
        return self._each(self.absolute, self.squared)

    def mean_per_number(self) -> list[dict[str, float]]:
        """The same of the mean of the training data as the prediction; empty where that is not known."""
        return [] if self.center is None else self._each(self._distances, self._squares)

    def mean_predictor(self) -> dict[str, float]:
        """Metrics of the mean of the training data as the prediction; empty where that is not known.

        Of several numbers only R2, as their errors have no common unit.
        """
        if self.center is None:
            return {}
        r2 = float(np.mean(self._explained(self._squares)))
        if len(self.count) > 1:
            return {"r2": r2}
        n = max(int(self.count.sum()), 1)
        mse = float(self._squares.sum()) / n
        return {"mse": mse, "rmse": sqrt(mse), "mae": float(self._distances.sum()) / n, "r2": r2}

    def _each(self, absolute: NDArray[np.float64], squared: NDArray[np.float64]) -> list[dict[str, float]]:
        n = np.where(self.count > 0, self.count, nan)
        columns = {"mae": absolute / n, "rmse": np.sqrt(squared / n), "r2": self._explained(squared)}
        return [{name: float(values[k]) for name, values in columns.items()} for k in range(len(n))]

    def _explained(self, squared: NDArray[np.float64]) -> NDArray[np.float64]:
        n = np.maximum(self.count, 1)
        total = self._squares - self._sum**2 / n
        shares: NDArray[np.float64] = np.full(len(total), nan)
        np.divide(squared, total, out=shares, where=total > 0)
        return 1 - shares


@dataclass(slots=True)
class Totals:
    """Sums over everything that was evaluated.

    >>> import numpy as np
    >>> from ssm_hpn.metrics import Totals
    >>> totals = Totals(n_classes=2)
    >>> sums = {"loss_sum": 1.0, "count": 3, "scored": 3, "correct": 2}
    >>> totals.add(sums | {"predicted": np.array([0, 1, 1]), "expected": np.array([0, 1, 0])})
    >>> totals.confusion.tolist(), round(totals.f1(), 3)
    ([[1, 1], [0, 1]], 0.667)
    """

    n_classes: int = 0
    """Classes to count one by one; 0 for none."""
    loss: float = 0.0
    count: int = 0
    scored: int = 0
    correct: int = 0
    bytes_per_token: float | None = None
    """Mean bytes per token of the evaluated text, where a tokenizer encoded it."""
    scale: Scale | None = None
    """Scale of the numbers to predict."""
    numbers: "NumberTotals | None" = None
    """Sums over numbers, where there are any."""
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
        if "predicted_values" in report and "expected_values" in report:
            answers, numbers = report["predicted_values"], report["expected_values"]
            if self.scale is not None:
                answers, numbers = self.scale.unscaled(answers), self.scale.unscaled(numbers)
            if self.numbers is None:
                self.numbers = NumberTotals(numbers.shape[1], None if self.scale is None else self.scale.mean)
            self.numbers.add(answers, numbers)
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
    """One number that an evaluation gives.

    >>> from ssm_hpn.metrics import METRICS, Totals
    >>> accuracy = METRICS["accuracy"]
    >>> accuracy.show(accuracy.value(Totals(scored=8, correct=7))), accuracy.direction, accuracy.show(None)
    ('0.875', 'max', '–')
    """

    name: str
    title: str
    """In words, for reports."""
    direction: Direction
    """Whether smaller or larger is better."""
    unit: str
    """Empty for none; it begins with `UNIT` where it is made from that of the number to predict."""
    format: str
    """Format specification, for `format()`."""
    value: Callable[[Totals], float]
    undefined: str = field(default="–", kw_only=True)
    """Shown for a value that is not a number."""
    percent: bool = field(default=False, kw_only=True)
    """Whether reports show it in percent."""
    drawn: bool = field(default=True, kw_only=True)
    """Whether reports have a tile and a chart of it: not where it follows from another one."""
    per_class: bool = field(default=False, kw_only=True)
    """Whether it needs `hits`, `predicted` and `expected` of `Totals`, which are counted for no other."""
    of_cross_entropy: bool = field(default=False, kw_only=True)
    """Whether it is defined for a loss that is a cross entropy alone."""

    @property
    def in_units(self) -> bool:
        """Whether it is in the unit of the number to predict, so that several numbers have none together."""
        return self.unit.startswith(UNIT)

    def show(self, value: float | None) -> str:
        """The value as text; None, as JSON has it, and NaN are both shown as none."""
        return self.undefined if value is None or isnan(value) else format(value, self.format)


def _ratio(numerator: float, denominator: float) -> float:
    return numerator / denominator if denominator else nan


def _of_numbers(totals: Totals, sums: Callable[[NumberTotals], NDArray[np.float64]]) -> float:
    """A mean over all targets of one number to predict."""
    found = totals.numbers
    return nan if found is None else _ratio(float(sums(found).sum()), int(found.count.sum()))


LOSS = Metric("loss", "loss", "min", "", ".4f", lambda t: _ratio(t.loss, t.count), undefined="nan")
ACCURACY = Metric("accuracy", "accuracy", "max", "", ".3f", lambda t: _ratio(t.correct, t.scored), percent=True)
BITS = Metric(
    "bits_per_token",
    "bits per token",
    "min",
    "bits",
    ".3f",
    lambda t: _ratio(t.loss, t.count) / log(2),
    undefined="nan",
    of_cross_entropy=True,
)
BITS_PER_BYTE = Metric(
    "bits_per_byte",
    "bits per byte",
    "min",
    "bits",
    ".3f",
    lambda t: _ratio(t.loss, t.count) / log(2) / (t.bytes_per_token or nan),
    of_cross_entropy=True,
)
ERROR = Metric(
    "error", "error rate", "min", "", ".3f", lambda t: 1 - _ratio(t.correct, t.scored), percent=True, drawn=False
)
F1 = Metric("f1", "F1", "max", "", ".3f", Totals.f1, percent=True, per_class=True)
MSE = Metric("mse", "squared error", "min", f"{UNIT}²", ".4g", lambda t: _of_numbers(t, lambda n: n.squared))
RMSE = Metric("rmse", "rmse", "min", UNIT, ".4g", lambda t: _of_numbers(t, lambda n: n.squared) ** 0.5)
MAE = Metric("mae", "absolute error", "min", UNIT, ".4g", lambda t: _of_numbers(t, lambda n: n.absolute))
R2 = Metric("r2", "r2", "max", "", ".4f", lambda t: nan if t.numbers is None else float(np.mean(t.numbers.r2())))

METRICS: Final = {
    metric.name: metric for metric in (LOSS, ACCURACY, BITS, BITS_PER_BYTE, ERROR, F1, MSE, RMSE, MAE, R2)
}
"""Every metric by name."""
AT_UPDATES: Final = (LOSS, ACCURACY)
"""Metrics that are measured on the batches of updates too, in the columns `train/NAME` of metrics.jsonl."""
OF_NUMBERS: Final = (MAE, RMSE, R2)
"""Metrics of each of several numbers to predict, as `NumberTotals` has them."""


def metrics_of(model: ModelConfig) -> tuple[Metric, ...]:
    """The metrics of a resolved model, in the order of the metrics file: those of its target that its loss has.

    Several numbers to predict have no metric in a unit together.

    >>> from ssm_hpn import Trainer
    >>> from ssm_hpn.metrics import metrics_of
    >>> model = {"input": {"kind": "tokens", "vocab_size": 8}, "target": {"kind": "next_token"}}
    >>> [metric.name for metric in metrics_of(Trainer({"model": model}).config.model)][:2]
    ['loss', 'accuracy']
    """
    found = [METRICS[name] for name in KINDS[model.target.kind].metrics]
    several = (getattr(model.target, "n_values", None) or 1) > 1
    cross_entropy = is_cross_entropy(model)
    return tuple(
        metric
        for metric in found
        if (cross_entropy or not metric.of_cross_entropy) and not (several and metric.in_units)
    )


def with_bytes(metrics: tuple[Metric, ...], bytes_per_token: float | None) -> tuple[Metric, ...]:
    """The metrics, with bits per byte where there are bits per token and the bytes of a token are known.

    >>> from ssm_hpn.metrics import METRICS, with_bytes
    >>> [metric.name for metric in with_bytes((METRICS["bits_per_token"],), 3.5)]
    ['bits_per_token', 'bits_per_byte']
    """
    return (*metrics, BITS_PER_BYTE) if BITS in metrics and bytes_per_token else metrics


def is_cross_entropy(model: ModelConfig) -> bool:
    """Whether the loss is the negative logarithm of a probability.

    >>> from ssm_hpn import Trainer
    >>> from ssm_hpn.metrics import is_cross_entropy
    >>> model = {"input": {"kind": "features", "n_features": 1}, "target": {"kind": "sequence_values", "n_values": 1}}
    >>> is_cross_entropy(Trainer({"model": model}).config.model)
    False
    """
    loss = getattr(model.head, "loss", None)
    if loss == "softmax":
        return not getattr(model.head, "smoothing", 0)
    return getattr(loss, "kind", None) == "softmax" and not getattr(loss, "smoothing", 0)


def empty_totals(model: ModelConfig) -> Totals:
    """Totals of the right width for a resolved model; single classes are counted where a metric needs them.

    >>> from ssm_hpn import Trainer
    >>> from ssm_hpn.metrics import empty_totals
    >>> model = {"input": {"kind": "features", "n_features": 1}, "target": {"kind": "sequence_class"}}
    >>> empty_totals(Trainer({"model": model | {"head": {"kind": "prototype", "n_classes": 3}}}).config.model).n_classes
    3
    """
    n_classes = 0
    if any(metric.per_class for metric in metrics_of(model)):
        n_classes = getattr(model.head, "n_classes", None) or getattr(model.head, "n_outputs", None) or 0
    return Totals(n_classes=n_classes, scale=model.scale)
