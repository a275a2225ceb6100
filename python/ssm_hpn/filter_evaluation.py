"""The answers of a model of features, and their metrics.

    loss   of classes      mean of -ln P(class of the series)
           of numbers      Σ ((ŷ - y)/σ)² / n over the n numbers that are known, σ their deviation in the training data
           of both         none

All other metrics are those of a backbone (`metrics`).
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ssm_hpn.closed_form import ClassHead
from ssm_hpn.closed_form.calibration import softmax
from ssm_hpn.closed_form.simplex import inner_products, lifted_cosines
from ssm_hpn.evaluation import Evaluation
from ssm_hpn.filter_data import Labelled
from ssm_hpn.filter_model import FilterModel
from ssm_hpn.metrics import LOSS, METRICS, Metric, NumberTotals, Totals
from ssm_hpn.targets import TargetKind

if TYPE_CHECKING:
    from ssm_hpn._core import EvalReport

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Answers:
    """What a model says of N series."""

    scores: Floats | None
    """[N, C] cosines to the prototypes, as `SSMClassifier.class_scores` has them; None where no class is predicted."""
    probabilities: Floats | None
    """[N, C]."""
    numbers: Floats | None
    """[N, K] in the user's units; None where none is predicted."""
    confidence: Floats | None = None
    """[N] what `reject_below` is compared with (`closed_form.typicality`); None where no class is predicted."""
    before: Floats | None = None
    """[N, C] the softmax of the inner products, whose scale is not fitted; None where no class is predicted."""


def answers(model: FilterModel, series: list[Floats], *, threads: int | None = None) -> Answers:
    """The answers to series f64 [T, F]."""
    numbers = model.predicted(series, threads=threads) if model.numbers else None
    if model.classes is None:
        return Answers(None, None, numbers)
    found = class_answers(model.classes, model.class_scores(series, threads=threads))
    return replace(found, numbers=numbers)


def class_answers(head: ClassHead, z: Floats) -> Answers:
    """The answers of a head of classes to z [N, C - 1]."""
    before = softmax(inner_products(z, head.prototypes), 1.0)
    return Answers(lifted_cosines(z, head.prototypes), head.probabilities(z), None, head.confidence(z), before)


def metrics_of_kind(kind: TargetKind, n_values: int) -> tuple[Metric, ...]:
    """The metrics of a kind of target, in the order of the metrics file.

    >>> from ssm_hpn.targets import KINDS
    >>> [metric.name for metric in metrics_of_kind(KINDS["joint"], 1)][:3]
    ['accuracy', 'error', 'f1']
    """
    found = [METRICS[name] for name in kind.metrics]
    both = kind.has("class") and kind.has("number")
    return tuple(one for one in found if not (one is LOSS and both) and not (one.in_units and n_values > 1))


def evaluated(
    model: FilterModel,
    kind: TargetKind,
    groups: Iterable[Labelled],
    *,
    step: int,
    threads: int | None = None,
    seen: Callable[[Labelled, Answers], None] | None = None,
) -> Evaluation:
    """Metrics on series with targets; those without any are left out.

    `seen` is called with the series of each group that have a class, a strange one included, and their answers.
    """
    n_values = sum(len(columns) for columns, _ in model.numbers)
    totals = Totals(0 if model.classes is None else len(model.classes.prototypes))
    scale = model.contract.scale
    if n_values:
        totals.numbers = NumberTotals(n_values, None if scale is None else scale.mean)
    for group in groups:
        known = group.of(np.flatnonzero(group.known))
        if known.series:
            found = answers(model, known.series, threads=threads)
            totals.add(_sums(model, known, found))
            _tell(seen, known, found)
        strange = group.of(np.flatnonzero(group.strange))
        if seen is not None and strange.series:
            _tell(seen, strange, answers(model, strange.series, threads=threads))
    metrics = metrics_of_kind(kind, n_values)
    return Evaluation(step, {metric.name: metric.value(totals) for metric in metrics}, totals)


def _tell(seen: Callable[[Labelled, Answers], None] | None, group: Labelled, found: Answers) -> None:
    if seen is not None and group.codes is not None and found.scores is not None:
        seen(group, found)


def _sums(model: FilterModel, group: Labelled, found: Answers) -> "EvalReport":
    """The sums over some series, each with a target."""
    sums: EvalReport = {"loss_sum": 0.0, "count": len(group.series), "scored": 0, "correct": 0}  # type: ignore[typeddict-item]
    if found.scores is not None and found.probabilities is not None and group.codes is not None:
        rows = np.flatnonzero(group.codes >= 0)
        expected, predicted = group.codes[rows], found.scores[rows].argmax(axis=1)
        chance = np.maximum(found.probabilities[rows, expected], np.finfo(np.float64).tiny)
        sums |= {
            "loss_sum": float(-np.log(chance).sum()),
            "scored": len(rows),
            "correct": int((expected == predicted).sum()),
            "predicted": predicted,
            "expected": expected,
        }
    if found.numbers is not None and group.numbers is not None:
        if found.scores is None:
            there = ~np.isnan(group.numbers)
            std = 1.0 if model.contract.scale is None else np.asarray(model.contract.scale.std)
            errors = ((found.numbers - group.numbers) / std)[there]
            sums |= {"loss_sum": float((errors**2).sum()), "count": int(there.sum())}
        sums |= {"predicted_values": found.numbers, "expected_values": group.numbers}
    return sums
