"""The time of an update by phases: those of the core, waiting for data, and the rest.

Seconds are of the wall clock and per update; `data wait` is the time until a batch is there, `other` what no phase
accounts for, inside the core and around it. So the phases add up to the whole. Nothing is written anywhere.
"""

import time
from dataclasses import dataclass

from ssm_hpn.trainer import Trainer

WARM_UP = 5
"""Updates before the measurement."""
UPDATES = 50
SECONDS = 10.0
"""Updates to measure, fewer where they take longer than `SECONDS`, but at least one."""
DATA_WAIT = "data wait"


@dataclass(frozen=True, slots=True)
class Phase:
    """One phase of an update."""

    name: str
    seconds: float
    share: float
    """Share of the whole update."""
    flops_per_second: float | None
    """Rate of its matrix products, where they are counted."""


@dataclass(frozen=True, slots=True)
class Profile:
    """Mean times of an update by phases."""

    phases: list[Phase]
    updates: int
    seconds: float
    """One update."""
    tokens_per_second: float
    peak: float
    """Operations per second of one large square product, the best of several in the same run."""
    peak_side: int
    """Its size."""


def profile(
    trainer: Trainer, *, warm_up: int = WARM_UP, updates: int = UPDATES, most_seconds: float = SECONDS
) -> Profile:
    """Train some updates on the data of the configuration and measure their phases."""
    for _ in range(warm_up):
        trainer.step()
    session = trainer.session
    peak, side = session.product_peak()
    tokens, waited, count = 0, 0.0, 0
    session.profile_start()
    began = time.perf_counter()
    while count == 0 or (count < updates and time.perf_counter() - began < most_seconds):
        update = trainer.step()
        tokens += update.tokens
        waited += update.data_seconds
        count += 1
    total = time.perf_counter() - began
    measured = session.profile_take()
    seconds = {name: row["seconds"] for name, row in measured.items() if name != "other"} | {DATA_WAIT: waited}
    seconds["other"] = total - sum(seconds.values())
    flops = {name: row["flops"] for name, row in measured.items() if row["flops"]}
    phases = [
        Phase(name, spent / count, spent / total, flops[name] / spent if name in flops else None)
        for name, spent in seconds.items()
    ]
    return Profile(phases, count, total / count, tokens / total, peak, side)
