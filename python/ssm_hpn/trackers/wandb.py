"""Weights & Biases: a run on its server, or offline files that `wandb sync` sends later."""

from collections.abc import Mapping
from typing import Any, Literal

from ssm_hpn.callbacks import Callback, Event
from ssm_hpn.trackers.rows import metrics, package


class WandB(Callback):
    """Writes the settings and rows of a run to Weights & Biases.

    Parameters
    ----------
    project
        Its name.
    mode
        offline: files in the folder `wandb` of the run alone; online; None for wandb's own choice (WANDB_MODE).

    The run's id is kept in checkpoints, so that a resumed run goes on in the same run. Raises `ConfigError` at the
    start where the package `wandb` is missing.

    >>> from ssm_hpn.trackers import WandB
    >>> WandB().state()
    {'run': None}
    """

    name = "wandb"

    def __init__(self, project: str = "ssm-hpn", *, mode: Literal["online", "offline"] | None = "offline") -> None:
        self._project, self._mode = project, mode
        self._id: str | None = None
        self._run: Any = None

    def started(self, event: Event) -> None:
        """Begin a run, or go on with the one that the checkpoint names."""
        wandb = package("wandb", extra="wandb")
        self._run = wandb.init(
            project=self._project,
            name=event.folder.resolve().name,
            dir=str(event.folder),
            config=event.trainer.config.model_dump(mode="json"),
            id=self._id,
            resume=None if self._id is None else "allow",
            mode=self._mode,
            settings=wandb.Settings(console="off", silent=True),
        )
        self._id = self._run.id

    def logged(self, event: Event) -> None:
        """Write a row."""
        self._run.log(metrics(event.row), step=event.progress.step)

    def ended(self, event: Event) -> None:
        """End the run."""
        self._run.summary["reason"] = event.reason
        self._run.finish(exit_code=0)

    def failed(self, event: Event) -> None:
        """End the run as failed."""
        if self._run is not None:
            self._run.summary["error"] = str(event.error)
            self._run.finish(exit_code=1)

    def state(self) -> Mapping[str, Any]:
        """The id of the run."""
        return {"run": self._id}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Restore it."""
        self._id = state["run"]
