"""Inner validation of a backbone: series that are held out of training, early stopping, the best weights.

The score is minus the mean loss of the held-out series: larger is better, as everywhere in scikit-learn. Accuracy would
stay the same over many updates where few series are held out.
"""

from dataclasses import dataclass
from math import ceil, inf
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ssm_hpn.closed_form.draws import stratified
from ssm_hpn.counts import counted
from ssm_hpn.early_stopping import Judgement, exhausted, judge
from ssm_hpn.errors import ConfigError, ShapeError, problem
from ssm_hpn.trainer import Trainer

Rows = NDArray[np.intp]
Codes = NDArray[np.int32]
Batches = list[dict[str, NDArray[Any]]]

AUTO_FROM: Final = 1000
"""Series from which on early_stopping="auto" holds some out."""
FEWEST_UPDATES: Final = 10
"""Between two evaluations, which otherwise follow each pass over the training series."""


@dataclass(frozen=True)
class Stopping:
    """When training ends early, under the names of scikit-learn."""

    validation_fraction: float
    n_iter_no_change: int
    tol: float

    def split(self, strata: Codes | None, count: int, *, seed: int) -> tuple[Rows, Rows]:
        """The series to train on and those to hold out; `strata` [N] are classes, -1 for none.

        Raises `ShapeError` where a class has one series, `ConfigError` where a class would have none on one side.
        """
        codes = np.zeros(count, np.int64) if strata is None else strata.astype(np.int64)
        held = np.zeros(count, bool)
        share = min(ceil(count * self.validation_fraction), count)
        held[stratified(codes, share, seed=seed)] = True
        self._check(codes, held)
        return np.flatnonzero(~held), np.flatnonzero(held)

    def _check(self, codes: NDArray[np.int64], held: NDArray[np.bool_]) -> None:
        classes, sizes = np.unique(codes[codes >= 0], return_counts=True)
        off = "or pass early_stopping=False"
        if len(classes) and sizes.min() < 2:
            expected, found = "two series or more of each class, to hold one out", "one of a class"
            raise ShapeError(problem("early_stopping", expected, found, f"give more series, {off}"))
        for side, verb, advice in ((held, "held out", "raise"), (~held, "trained on", "lower")):
            if len(np.unique(codes[side & (codes >= 0)])) < len(classes) or not side.any():
                there = counted(len(held), "series", "series")
                of = "one" if len(classes) < 2 else f"one of each of {counted(len(classes), 'class', 'classes')}"
                expected = f"a share of {there} by which {of} is {verb}"
                name = "validation_fraction"
                raise ConfigError(problem(name, expected, self.validation_fraction, f"{advice} it, {off}"))


class Watch:
    """Evaluates a trainer on held-out batches, and keeps its best parameters."""

    def __init__(self, trainer: Trainer, held: Batches, stopping: Stopping, *, pass_updates: int) -> None:
        self._trainer, self._held, self._stopping = trainer, held, stopping
        self._every = max(FEWEST_UPDATES, pass_updates)
        self._judgement = Judgement()
        self._best: dict[str, Any] = {}
        self.best_score = -inf
        """The largest score, that of the parameters that `restore` brings back."""
        self.scores: list[float] = []
        """Minus the loss at each evaluation."""

    def updated(self, step: int, *, last: bool) -> bool:
        """Evaluate where it is due; whether training ends here."""
        if step % self._every and not last:
            return False
        score = -self._trainer.evaluate(self._held).values["loss"]
        self.scores.append(score)
        if not self._best or score > self.best_score:
            self.best_score, self._best = score, self._trainer.parameters()
        self._judgement, _ = judge(self._judgement, score, step, direction="max", min_change=self._stopping.tol)
        return exhausted(self._judgement, self._stopping.n_iter_no_change)

    def restore(self) -> None:
        """Give the trainer the best parameters."""
        self._trainer.load_tensors(self._best)
