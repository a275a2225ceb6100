"""One update of the parameters: the sums over its micro-batches, and its report."""

from dataclasses import dataclass


@dataclass(slots=True)
class Pending:
    """Sums since the last update."""

    count: int = 0
    scored: int = 0
    correct: int = 0
    tokens: int = 0
    data_seconds: float = 0.0
    compute_seconds: float = 0.0
    comm_seconds: float = 0.0
    comm_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Update:
    """One update of the parameters.

    >>> import numpy as np
    >>> from ssm_hpn import Trainer
    >>> model = {"input": {"kind": "tokens", "vocab_size": 8}, "target": {"kind": "next_token"}, "d_model": 16}
    >>> trainer = Trainer({"model": model, "train": {"threads": 1}})
    >>> update = trainer.step({"tokens": np.arange(16).reshape(1, 16) % 8})
    >>> update.step, update.applied, update.count, update.tokens
    (1, True, 15, 16)
    """

    step: int
    """Updates applied, this one included."""
    applied: bool
    """False if it was skipped because a loss or gradient was not finite, or because there was no target."""
    loss: float
    """Mean over the targets of all its micro-batches."""
    accuracy: float | None
    """Share of right predictions among those that were counted; None if none were."""
    count: int
    """Targets."""
    tokens: int
    """Positions read, padding not counted."""
    lr: float
    grad_norm: float
    """Global norm of the mean gradient before clipping."""
    update_norm: float
    clipped: bool
    skipped: int
    """Updates skipped since the run began."""
    data_seconds: float
    """Time spent waiting for data."""
    compute_seconds: float
    """Time spent computing, exchanges with other ranks included."""
    comm_seconds: float = 0.0
    """Time of these exchanges, without what of it went by during a backward pass."""
    comm_bytes: int = 0
    """Bytes that this rank sent in them."""

    @property
    def idle(self) -> bool:
        """Whether there was no target in any of its micro-batches."""
        return not self.applied and self.count == 0
