"""MLflow: a run of an experiment, in a local store or on a server."""

import time
from collections.abc import Mapping
from typing import Any, Final

from ssm_hpn.callbacks import Callback, Event
from ssm_hpn.trackers.rows import metrics, package, settings

LONGEST: Final = 500
"""Most characters of a parameter that every store takes."""
AT_ONCE: Final = 100
"""Most parameters of one request."""


class MLflow(Callback):
    """Writes the settings of a run as parameters of MLflow, and its rows as metrics.

    Parameters
    ----------
    uri
        Of the store; default: MLflow's own, the environment variable MLFLOW_TRACKING_URI or a local one.
    experiment
        Its name; it is made where it is missing.

    The run's id is kept in checkpoints, so that a resumed run goes on in the same run of MLflow. Raises `ConfigError`
    at the start where the package `mlflow` is missing.

    >>> from ssm_hpn.trackers import MLflow
    >>> MLflow("sqlite:///mlflow.db").state()
    {'run': None}
    """

    name = "mlflow"

    def __init__(self, uri: str | None = None, *, experiment: str = "ssm-hpn") -> None:
        self._uri, self._experiment = uri, experiment
        self._run: str | None = None
        self._client: Any = None
        self._entities: Any = None

    def started(self, event: Event) -> None:
        """Make a run, or go on with the one that the checkpoint names."""
        package("mlflow", extra="mlflow")
        self._client = package("mlflow.tracking", extra="mlflow").MlflowClient(tracking_uri=self._uri)
        self._entities = package("mlflow.entities", extra="mlflow")
        if self._run is not None:
            self._client.update_run(self._run, status="RUNNING")
            return
        found = self._client.get_experiment_by_name(self._experiment)
        experiment = self._client.create_experiment(self._experiment) if found is None else found.experiment_id
        self._run = self._client.create_run(experiment, run_name=event.folder.resolve().name).info.run_id
        values = [self._entities.Param(name, value[:LONGEST]) for name, value in settings(event).items()]
        for start in range(0, len(values), AT_ONCE):
            self._client.log_batch(self._run, params=values[start : start + AT_ONCE])
        self._client.set_tag(self._run, "ssm_hpn.folder", str(event.folder.resolve()))

    def logged(self, event: Event) -> None:
        """Write a row."""
        now, step = _milliseconds(), event.progress.step
        values = [self._entities.Metric(name, value, now, step) for name, value in metrics(event.row).items()]
        self._client.log_batch(self._run, metrics=values)

    def ended(self, event: Event) -> None:
        """End the run: finished, or killed where it was interrupted."""
        self._client.set_terminated(self._run, status="KILLED" if event.reason == "interrupted" else "FINISHED")

    def failed(self, event: Event) -> None:
        """End the run as failed."""
        if self._run is not None and self._client is not None:
            self._client.set_tag(self._run, "ssm_hpn.error", str(event.error))
            self._client.set_terminated(self._run, status="FAILED")

    def state(self) -> Mapping[str, Any]:
        """The id of the run."""
        return {"run": self._run}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Restore it."""
        self._run = state["run"]


def _milliseconds() -> int:
    """Now, since 1970."""
    return time.time_ns() // 1_000_000
