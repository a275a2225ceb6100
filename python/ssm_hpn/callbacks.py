"""Callbacks: observers of training, called in order, whose state is saved in every checkpoint."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ssm_hpn.cadence import Progress
from ssm_hpn.errors import ConfigError, problem
from ssm_hpn.evaluation import Evaluation
from ssm_hpn.learner import Learner
from ssm_hpn.update import Update

__all__ = ["Callback", "Event"]


@dataclass(frozen=True, slots=True)
class Event:
    """Argument of callbacks. A field is None where it does not apply to the call.

    >>> from ssm_hpn import Event
    >>> def line(event: Event) -> str:
    ...     new = "" if event.evaluation is None else f", loss {event.evaluation.values['loss']:.3f}"
    ...     return f"step {event.progress.step}{new}"
    """

    trainer: Learner
    """The `Trainer` whose `fit` runs; a callback does not call `fit` itself."""
    folder: Path
    """Folder of the run."""
    progress: Progress
    update: Update | None = None
    evaluation: Evaluation | None = None
    improved: bool = False
    checkpoint: Path | None = None
    """The checkpoint that was written; in `started` the one that training is resumed from."""
    more: int = 0
    """Updates that are made beyond `train.steps`."""
    reason: str | None = None
    """Why training ended: finished, stopped_early or interrupted."""
    row: Mapping[str, float | int | str | None] | None = None
    """The row of `metrics.jsonl` that was written, by key, without `schema`, `timestamp` and `nonfinite`."""
    error: Exception | None = None
    """What training ended by, in `failed`."""
    note: str | None = None
    """What was not as it should be, in one line; training goes on."""


class Callback:
    """Base class of callbacks. Raising an exception ends training; `trainer.request_stop()` saves and ends it.

    >>> from pathlib import Path
    >>> from ssm_hpn import Callback, Event
    >>> class Best(Callback):
    ...     name = "best"
    ...     step = None
    ...
    ...     def evaluated(self, event: Event) -> None:
    ...         if event.improved:
    ...             self.step = event.progress.step
    ...
    ...     def state(self):
    ...         return {"step": self.step}
    ...
    ...     def restore(self, state):
    ...         self.step = state["step"]
    >>> best = Best()  # for `trainer.fit(callbacks=[best])`
    >>> best.restore({"step": 300})
    >>> best.state()
    {'step': 300}

    What `fit` does with it, by hand; what is not overridden does nothing:

    >>> from ssm_hpn import Trainer
    >>> from ssm_hpn.cadence import Progress
    >>> model = {"input": {"kind": "tokens", "vocab_size": 8}, "target": {"kind": "next_token"}}
    >>> event = Event(Trainer({"model": model}), Path("runs/a"), Progress(step=400), improved=True)
    >>> best.started(event), best.updated(event), best.evaluated(event), best.saved(event), best.ended(event)
    (None, None, None, None, None)
    >>> best.logged(event), best.failed(event), best.noted(event)
    (None, None, None)
    >>> best.state()
    {'step': 400}
    """

    name = "callback"
    """Key under which the state is saved; it must differ from those of the run's other callbacks."""

    def started(self, event: Event) -> None:
        """Called when training begins or is resumed, before anything else: also before the evaluation of row 0."""

    def updated(self, event: Event) -> None:
        """Called after an update."""

    def evaluated(self, event: Event) -> None:
        """Called after an evaluation of held-out data; first after that of the untrained model, at update 0."""

    def logged(self, event: Event) -> None:
        """Called after a row of `metrics.jsonl` was written, before `updated`; first for update 0."""

    def saved(self, event: Event) -> None:
        """Called after a checkpoint was written."""

    def noted(self, event: Event) -> None:
        """Called with a note: a file could not be written, rows are missing, training went back to a checkpoint."""

    def ended(self, event: Event) -> None:
        """Called when training has ended, by itself or by a request to stop."""

    def failed(self, event: Event) -> None:
        """Called where training ends by an exception instead, which is raised afterwards."""

    def state(self) -> Mapping[str, Any]:
        """State to save in checkpoints, as JSON values."""
        return {}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Restore a state that `state` returned."""


def check_names(callbacks: Sequence[Callback]) -> None:
    """Refuse two callbacks of one name, as their states are saved under it."""
    for name, times in Counter(callback.name for callback in callbacks).items():
        if times > 1:
            kinds = ", ".join(type(callback).__name__ for callback in callbacks if callback.name == name)
            found = f"{name!r} {times} times ({kinds})"
            raise ConfigError(problem("callbacks", "a name of its own for each", found, "set another `name`"))


def states(callbacks: Sequence[Callback]) -> dict[str, Mapping[str, Any]]:
    """The states of all callbacks by name."""
    return {callback.name: callback.state() for callback in callbacks}


def restore(callbacks: Sequence[Callback], saved: Mapping[str, Mapping[str, Any]]) -> None:
    """Give each callback the state that is saved under its name."""
    for callback in callbacks:
        if callback.name in saved:
            callback.restore(saved[callback.name])
