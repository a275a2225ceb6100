"""One pass over held-out batches: totals, then the task's metrics."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ssm_hpn.config import EvaluationConfig, ModelConfig
from ssm_hpn.early_stopping import Direction
from ssm_hpn.errors import ConfigError, nearest, problem
from ssm_hpn.metrics import Metric, Totals, empty_totals, metrics_of, with_bytes

if TYPE_CHECKING:
    from ssm_hpn._core import Batch, Session


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What one pass over held-out batches gave.

    >>> import numpy as np
    >>> from ssm_hpn import Trainer
    >>> model = {"input": {"kind": "tokens", "vocab_size": 8}, "target": {"kind": "next_token"}, "d_model": 16}
    >>> trainer = Trainer({"model": model, "train": {"threads": 1}})
    >>> evaluation = trainer.evaluate({"tokens": np.arange(16).reshape(1, 16) % 8})
    >>> sorted(evaluation.values), evaluation.totals.count
    (['accuracy', 'bits_per_token', 'loss'], 15)
    """

    step: int
    """Updates applied before it."""
    values: dict[str, float]
    """Metric by name."""
    totals: Totals
    """The sums behind them."""


def evaluate(
    session: "Session", model: ModelConfig, batches: Iterable["Batch"], *, bytes_per_token: float | None = None
) -> Evaluation:
    """Evaluate a model; nothing in it changes. `bytes_per_token` is that of the batches' text, where it is known."""
    totals = empty_totals(model)
    totals.bytes_per_token = bytes_per_token
    metrics = with_bytes(metrics_of(model), bytes_per_token)
    for batch in batches:
        totals.add(session.evaluate(batch))
    return Evaluation(session.step, {metric.name: metric.value(totals) for metric in metrics}, totals)


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
