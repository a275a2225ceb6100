"""Whether an evaluation or a checkpoint is due: a pure function of the progress before and after an update.

    due  ⇔  ⌊after / every⌋ > ⌊before / every⌋

With `every` 100 it is due at 100, 200, 300, …, whatever the updates in between; no other state is needed.
"""

from math import floor
from typing import NamedTuple

from ssm_hpn.config import CheckpointConfig, EvaluationConfig


class Progress(NamedTuple):
    """Progress of training."""

    step: int = 0
    """Updates applied."""
    epoch: float = 0.0
    """Passes over the training data, with fraction."""
    seconds: float = 0.0
    """Time spent training, interruptions not counted."""

    def measure(self, unit: str) -> float:
        """The progress in a unit of the configuration: steps, epochs or seconds."""
        return {"steps": float(self.step), "epochs": self.epoch, "seconds": self.seconds}[unit]


def crossed(every: float, before: float, after: float) -> bool:
    """Whether a multiple of `every` lies in (before, after]."""
    return floor(after / every) > floor(before / every)


def due(cadence: EvaluationConfig | CheckpointConfig, before: Progress, after: Progress) -> bool:
    """Whether a cadence of the configuration falls between two points of training."""
    return crossed(cadence.every, before.measure(cadence.unit), after.measure(cadence.unit))
