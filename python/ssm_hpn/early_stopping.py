"""The best evaluation so far, and early stopping of a run that no longer improves.

    better    ⇔  value < best - min_change   (smaller is better; mirrored otherwise)
    finished  ⇔  patience evaluations in a row were not better

A value that is not finite is never better. `judge` is pure: the state goes in and comes out.
"""

from math import isfinite
from typing import Literal, NamedTuple

Direction = Literal["min", "max"]


class Judgement(NamedTuple):
    """The best evaluation so far, and how many followed it."""

    best: float | None = None
    """Best value seen."""
    step: int | None = None
    """Step at which it was seen."""
    waited: int = 0
    """Evaluations since then."""


def judge(
    so_far: Judgement, value: float, step: int, *, direction: Direction, min_change: float
) -> tuple[Judgement, bool]:
    """The state after one more evaluation, and whether that one is the new best."""
    if isfinite(value) and (so_far.best is None or _gain(value, so_far.best, direction) > min_change):
        return Judgement(value, step, 0), True
    return so_far._replace(waited=so_far.waited + 1), False


def exhausted(so_far: Judgement, patience: int | None) -> bool:
    """Whether as many evaluations as `patience` allows have followed the best one."""
    return patience is not None and so_far.waited >= patience


def _gain(value: float, best: float, direction: Direction) -> float:
    return best - value if direction == "min" else value - best
