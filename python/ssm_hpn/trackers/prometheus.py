"""Prometheus: the last row of a run behind a port, and in a file for the text collector of a node exporter."""

import time
from pathlib import Path
from typing import Any

from ssm_hpn.callbacks import Callback, Event
from ssm_hpn.errors import ConfigError, problem
from ssm_hpn.storage import write_whole
from ssm_hpn.trackers.rows import metrics, package

PREFIX = "ssm_hpn_"


class Prometheus(Callback):
    """Shows the last row of a run to Prometheus, each number as a gauge `ssm_hpn_NAME{run="…"}`.

    Parameters
    ----------
    port
        That is listened to; 0 for any that is free (`.port` has it then); None for none.
    file
        Written anew with every row, whole or not at all; its name ends with .prom for a node exporter.
    host
        Address that is listened to; default: this machine alone.

    `ssm_hpn_step` counts updates, `ssm_hpn_written` is the time of the row in seconds since 1970, by which an alarm
    tells that a run stands still; `ssm_hpn_up` is 1 while it trains and 0 once it has ended. Raises `ConfigError` at
    the start where the package `prometheus-client` is missing, or the port is taken, and `StorageError` with a row that
    cannot be written.

    >>> from ssm_hpn.trackers import Prometheus
    >>> Prometheus(file="run.prom").port is None
    True
    """

    name = "prometheus"

    def __init__(self, port: int | None = None, *, file: Path | str | None = None, host: str = "127.0.0.1") -> None:
        if port is None and file is None:
            raise ConfigError(problem("Prometheus", "a port, a file, or both", "neither", "give one of them"))
        if file is not None and (not str(file).strip() or Path(file).is_dir() or not Path(file).parent.is_dir()):
            raise ConfigError(
                problem("Prometheus, file", "a file in a folder that is there", str(file), "name another")
            )
        self.port, self._host = port, host
        self._file = None if file is None else Path(file)
        self._client: Any = None
        self._registry: Any = None
        self._gauges: dict[str, Any] = {}
        self._server: Any = None
        self._run = ""

    def started(self, event: Event) -> None:
        """Listen, and show that the run is there."""
        self._client = package("prometheus_client", extra="prometheus")
        self._registry, self._run = self._client.CollectorRegistry(), event.folder.resolve().name
        if self.port is not None:
            try:
                self._server, _ = self._client.start_http_server(self.port, addr=self._host, registry=self._registry)
            except OSError as error:
                advice = "give another port, 0 for any that is free"
                where = f"{self._host}:{self.port}"
                raise ConfigError(problem(where, "a port to listen to", error.strerror or error, advice)) from None
            self.port = self._server.server_port
        self._show({"up": 1.0, "step": float(event.progress.step)})

    def logged(self, event: Event) -> None:
        """Show a row."""
        self._show({**metrics(event.row), "step": float(event.progress.step), "written": time.time()})

    def ended(self, event: Event) -> None:  # noqa: ARG002 - argument of the base class
        """Show that the run has ended, and listen no longer."""
        self._show({"up": 0.0})
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None

    def failed(self, event: Event) -> None:
        """The same."""
        if self._registry is not None:
            self.ended(event)

    def _show(self, values: dict[str, float]) -> None:
        for key, value in values.items():
            name = PREFIX + "".join(letter if letter.isalnum() else "_" for letter in key)
            if name not in self._gauges:
                self._gauges[name] = self._client.Gauge(name, f"{key} of the run", ["run"], registry=self._registry)
            self._gauges[name].labels(self._run).set(value)
        if self._file is not None:
            write_whole(self._file, self._client.generate_latest(self._registry))
