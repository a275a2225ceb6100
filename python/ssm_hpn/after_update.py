"""What the training loop has to do after an update, which checkpoints keep; and time and tokens between two rows."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from math import nan
from typing import Any

from ssm_hpn.foreign import finite
from ssm_hpn.update import Update


@dataclass(frozen=True, slots=True)
class Due:
    """What follows an update."""

    update: Update
    evaluation: bool
    row: bool
    checkpoint: bool

    def saved(self) -> dict[str, Any]:
        """For JSON; numbers that are not finite become null."""
        return dict(finite(asdict(self)))

    @classmethod
    def restored(cls, saved: Mapping[str, Any]) -> "Due":
        """What `saved` made JSON of."""
        update: dict[str, Any] = {
            key: nan if value is None and key != "accuracy" else value for key, value in saved["update"].items()
        }
        return cls(**{**saved, "update": Update(**update)})


@dataclass(slots=True)
class Window:
    """Time and tokens since the last row."""

    updates: int = 0
    tokens: int = 0
    data_seconds: float = 0.0
    compute_seconds: float = 0.0
    comm_seconds: float = 0.0
    comm_bytes: int = 0

    def add(self, update: Update) -> None:
        """Count an update."""
        self.updates += 1
        self.tokens += update.tokens
        self.data_seconds += update.data_seconds
        self.compute_seconds += update.compute_seconds
        self.comm_seconds += update.comm_seconds
        self.comm_bytes += update.comm_bytes

    def row(self) -> dict[str, float]:
        """Speed, and milliseconds of an update, by key of `metrics.jsonl`."""
        seconds = max(self.data_seconds + self.compute_seconds, 1e-9)
        updates = max(self.updates, 1)
        return {
            "perf/tokens_per_second": self.tokens / seconds,
            "perf/step_ms": 1e3 * self.compute_seconds / updates,
            "perf/data_ms": 1e3 * self.data_seconds / updates,
            "perf/comm_ms": 1e3 * self.comm_seconds / updates,
            "perf/comm_bytes": self.comm_bytes // updates,
        }
