"""One pass over held-out batches: totals, then the task's metrics."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import TYPE_CHECKING, Any, Final, Self

from ssm_hpn.config import EvaluationConfig, ModelConfig
from ssm_hpn.early_stopping import Direction
from ssm_hpn.errors import ConfigError, nearest, problem
from ssm_hpn.foreign import finite
from ssm_hpn.metrics import METRICS, OF_NUMBERS, Metric, Totals, empty_totals, metrics_of, with_bytes
from ssm_hpn.printable import on_one_line
from ssm_hpn.ranks import Ranks, packed, unpacked

if TYPE_CHECKING:
    from ssm_hpn._core import Batch, EvalReport, Session

MOST_NUMBERS: Final = 50
"""Most numbers to predict that are shown; of more, the first ones."""
Facts = Mapping[str, Any]
"""The result of `Evaluation.facts`, also as read from a file."""


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Results of one pass over held-out batches.

    >>> import numpy as np
    >>> from ssm_hpn import Trainer
    >>> model = {"input": {"kind": "tokens", "vocab_size": 8}, "target": {"kind": "next_token"}, "d_model": 16}
    >>> trainer = Trainer({"model": model, "train": {"threads": 1}})
    >>> evaluation = trainer.evaluate({"tokens": np.arange(16).reshape(1, 16) % 8})
    >>> evaluation.values["bits_per_token"] > 0, evaluation.totals.count
    (True, 15)
    """

    step: int
    """Updates applied before it."""
    values: dict[str, float]
    """Metric by name."""
    totals: Totals
    """The sums behind them."""

    def with_bytes(self, bytes_per_token: float | None) -> Self:
        """The same evaluation with bits per byte, where it has bits per token and the bytes of a token are known.

        >>> from ssm_hpn.evaluation import Evaluation
        >>> from ssm_hpn.metrics import Totals
        >>> evaluation = Evaluation(1, {"bits_per_token": 4.0}, Totals(loss=2.772588722239781, count=1))
        >>> round(evaluation.with_bytes(2.0).values["bits_per_byte"], 6)
        2.0
        """
        self.totals.bytes_per_token = bytes_per_token
        metrics = with_bytes(tuple(METRICS[name] for name in self.values), bytes_per_token)
        return replace(self, values={metric.name: metric.value(self.totals) for metric in metrics})

    def facts(self, names: Sequence[str] = ()) -> dict[str, Any]:
        """Everything for JSON, None for what is not a number: the metrics, and those of each number to predict.

        Parameters
        ----------
        names
            Of the numbers to predict, in their order.

        >>> from math import nan
        >>> from ssm_hpn.evaluation import Evaluation
        >>> from ssm_hpn.metrics import Totals
        >>> Evaluation(3, {"loss": 0.5, "f1": nan}, Totals(count=2)).facts()
        {'step': 3, 'targets': 2, 'metrics': {'loss': 0.5, 'f1': None}}
        """
        found: dict[str, Any] = {"step": self.step, "targets": self.totals.count, "metrics": self.values}
        numbers = self.totals.numbers
        if numbers is not None:
            ours, means = numbers.per_number(), numbers.mean_per_number()
            names = names or [f"value[{place}]" for place in range(len(ours))]
            found["per_number"] = [
                {"name": name, **one, **({"mean_predictor": means[place]} if means else {})}
                for place, (name, one) in enumerate(zip(names, ours, strict=True))
            ]
            if means:
                found["mean_predictor"] = numbers.mean_predictor()
        return dict(finite(found))


def evaluate(
    session: "Session",
    model: ModelConfig,
    batches: Iterable["Batch"],
    *,
    bytes_per_token: float | None = None,
    ranks: Ranks | None = None,
    watch: Callable[[], None] | None = None,
) -> Evaluation:
    """Evaluate a model; nothing in it changes. `bytes_per_token` is that of the batches' text, where it is known.

    With `ranks` all of them call it at once with the same batches: each evaluates a part, and all have the same result.
    `watch` is called before the batches that are evaluated at once, and may raise to end the evaluation.
    """
    totals = empty_totals(model)
    totals.bytes_per_token = bytes_per_token
    metrics = with_bytes(metrics_of(model), bytes_per_token)
    for report in _reports(session, batches, ranks or Ranks(), watch):
        totals.add(report)
    return Evaluation(session.step, {metric.name: metric.value(totals) for metric in metrics}, totals)


def _reports(
    session: "Session", batches: Iterable["Batch"], ranks: Ranks, watch: Callable[[], None] | None
) -> "Iterator[EvalReport]":
    """The reports of all batches in their order, of which this rank makes every `ranks.size`-th."""
    rest = iter(batches)
    while some := list(islice(rest, ranks.size)):
        if watch is not None:
            watch()
        if ranks.size == 1:
            yield session.evaluate(some[0])
            continue
        mine = packed(session.evaluate(some[ranks.rank])) if ranks.rank < len(some) else b""
        yield from (unpacked(report) for report in ranks.gather(mine) if report)  # type: ignore[misc]


def deciding_metric(config: EvaluationConfig, model: ModelConfig) -> tuple[Metric, Direction]:
    """The metric that decides what is best, and whether smaller or larger is."""
    known = {metric.name: metric for metric in metrics_of(model)}
    name = config.metric.removeprefix("eval/")
    if name not in known:
        close = nearest(name, known)
        advice = f"did you mean {close}?" if close else "choose one of these"
        raise ConfigError(problem("evaluation.metric", " | ".join(known), repr(config.metric), advice))
    metric = known[name]
    return metric, metric.direction if config.direction == "auto" else config.direction


def number_header(facts: Facts) -> list[str]:
    """Columns of the table of the numbers to predict."""
    names = [metric.name for metric in OF_NUMBERS]
    of_mean = [f"mean predictor: {names[0]}", *names[1:]] if facts.get("mean_predictor") else []
    return ["number", *names, *of_mean]


def number_rows(facts: Facts) -> list[list[str]]:
    """MAE, RMSE and R2 of each of several numbers, and those of the mean predictor; nothing for a single number."""
    numbers = facts.get("per_number") or []
    if len(numbers) < 2:
        return []
    rows = [
        [on_one_line(one["name"])] + [metric.show(of.get(metric.name)) for of in _answers(one) for metric in OF_NUMBERS]
        for one in numbers[:MOST_NUMBERS]
    ]
    if len(numbers) > MOST_NUMBERS:
        rows.append([f"and {len(numbers) - MOST_NUMBERS} more", *[""] * (len(rows[0]) - 1)])
    return rows


def _answers(number: Facts) -> list[Facts]:
    """The model's metrics, and those of the mean predictor where they are known."""
    return [number, number["mean_predictor"]] if "mean_predictor" in number else [number]
