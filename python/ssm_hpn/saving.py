"""The saves of one run: at once, or from a copy while training goes on.

A save writes a checkpoint, notes the best one and removes what is no longer kept. In the background a thread does so
with a copy of the state; the next save waits for it, and so does the end of the run. Its bytes are those of a save at
once.
"""

import threading
from bisect import insort
from collections.abc import Callable, Collection
from math import isfinite
from pathlib import Path

from ssm_hpn.checkpoints import Checkpoints
from ssm_hpn.early_stopping import Direction

Write = Callable[[str, str], None]
"""Writes the checkpoint root/name."""


class Saving:
    """The saves of one call of `Trainer.fit`; errors are raised by the call that waits for the save."""

    def __init__(self, checkpoints: Checkpoints, *, background: bool) -> None:
        self._checkpoints = checkpoints
        self.background = background
        """Whether a thread writes while training goes on."""
        self._thread: threading.Thread | None = None
        self._error: BaseException | None = None
        self._saved: Path | None = None

    def begin(self, step: int, write: Write, *, best: int | None, spared: Collection[int]) -> None:
        """Save, or begin to; `finish` says what became of it."""

        def save() -> None:
            try:
                self._saved = self._checkpoints.save(step, write, best=best, spared=spared)
            except BaseException as error:  # noqa: BLE001 - raised by `finish`
                self._error = error

        if self.background:
            self._thread = threading.Thread(target=save, name="save")
            self._thread.start()
        else:
            save()

    @property
    def done(self) -> bool:
        """Whether no save is in progress."""
        return self._thread is None or not self._thread.is_alive()

    def finish(self) -> Path | None:
        """Wait for the save in progress; returns its folder, None if there was none. A failed one raises its error."""
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        saved, self._saved = self._saved, None
        error, self._error = self._error, None
        if error is not None:
            raise error
        return saved

    def close(self) -> None:
        """Wait for the save in progress, whatever becomes of it."""
        if self._thread is not None:
            self._thread.join()


class Ranking:
    """The steps of the best evaluations, of which checkpoints are kept.

    >>> ranking = Ranking(2, "min")
    >>> [ranking.add(value, step) for step, value in enumerate([3.0, 1.0, 2.0, 4.0])]
    [True, True, True, False]
    >>> ranking.steps
    [1, 2]
    """

    def __init__(self, size: int, direction: Direction) -> None:
        self._size = size
        self._sign = 1 if direction == "min" else -1
        self._best: list[tuple[float, int]] = []

    @property
    def steps(self) -> list[int]:
        """The steps, best first."""
        return [step for _, step in self._best]

    def add(self, value: float, step: int) -> bool:
        """Take an evaluation; whether it is among the best so far."""
        if not isfinite(value):
            return False
        insort(self._best, (self._sign * value, step))
        left_out = self._best[self._size :]
        del self._best[self._size :]
        return (self._sign * value, step) not in left_out

    def saved(self) -> list[list[float]]:
        """The state, for JSON."""
        return [[value, step] for value, step in self._best]

    def restore(self, saved: list[list[float]]) -> None:
        """Take over a state."""
        self._best = [(value, int(step)) for value, step in saved][: self._size]
