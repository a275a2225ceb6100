"""The callbacks of `train` that its options name: trackers, Prometheus, alerts."""

from collections.abc import Callable, Mapping
from typing import Final

from ssm_hpn.callbacks import Callback
from ssm_hpn.cli.parser import port_of
from ssm_hpn.config.base import names_of
from ssm_hpn.errors import ConfigError, nearest, problem
from ssm_hpn.trackers import Alert, MLflow, Prometheus, TensorBoard, WandB
from ssm_hpn.trackers.rows import package

TRACKERS: Final[Mapping[str, Callable[[], Callback]]] = {"tensorboard": TensorBoard, "mlflow": MLflow, "wandb": WandB}
USUAL_PORT: Final = 9400
"""Of the page for Prometheus."""


def observers_of(options: Mapping[str, str]) -> list[Callback]:
    """The callbacks for options as they were given. Raises `ConfigError` for a value that is none."""
    found: list[Callback] = [_tracker(name) for name in names_of(options.get("track", "")) if name]
    port, file = options.get("metrics_port"), options.get("metrics_file")
    if port is not None or file is not None:
        package("prometheus_client", extra="prometheus")
        found.append(Prometheus(None if port is None else port_of("--metrics-port", port, USUAL_PORT), file=file))
    if "alert_stall" in options and "alert" not in options:
        raise ConfigError(
            problem("--alert-stall", "--alert beside it", "none", "give --alert COMMAND, or leave it out")
        )
    if "alert" in options:
        found.append(Alert(options["alert"], stall=_seconds(options.get("alert_stall", "600"))))
    return found


def _tracker(name: str) -> Callback:
    if name not in TRACKERS:
        close = nearest(name, TRACKERS)
        advice = f"did you mean {close}?" if close else "choose of these"
        raise ConfigError(problem("--track", " | ".join(TRACKERS), repr(name), advice))
    package(name, extra=name)
    return TRACKERS[name]()


def _seconds(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise ConfigError(problem("--alert-stall", "seconds", repr(text), "600 is usual")) from None
