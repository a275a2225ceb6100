"""A command that is run when a run diverges, stands still or ends: alerts without a service."""

import logging
import os
import shlex
import subprocess
import threading
import time
from collections.abc import Iterable, Sequence
from typing import Final, Literal, get_args

from ssm_hpn.callbacks import Callback, Event
from ssm_hpn.errors import ConfigError, DivergedError, problem

Occasion = Literal["diverged", "failed", "stalled", "ended"]
OCCASIONS: Final[tuple[Occasion, ...]] = get_args(Occasion)
LONGEST: Final = 60.0
"""Seconds after which the command is ended."""
logger = logging.getLogger(__name__)


class Alert(Callback):
    """Runs a command when a run has diverged, failed, stands still or has ended.

    Parameters
    ----------
    command
        Words, or a text that is split as a shell splits it; no shell runs it. The message is its last argument.
    on
        Occasions, of diverged (updates were not finite), failed (any other error), stalled, ended.
    stall
        Seconds without an update, an evaluation or a checkpoint that count as standing still.

    The command finds more in its environment: SSM_HPN_EVENT (the occasion), SSM_HPN_RUN (the folder), SSM_HPN_STEP,
    SSM_HPN_REASON (why training ended, or the error). A command that fails or takes more than a minute is told by a
    warning in the log, and training goes on. Raises `ConfigError` for an empty command and unknown occasions.

    >>> from ssm_hpn.trackers import Alert
    >>> Alert("notify-send --urgency low", on=["diverged", "stalled"], stall=900).command
    ['notify-send', '--urgency', 'low']
    """

    name = "alert"

    def __init__(
        self, command: str | Sequence[str], *, on: Iterable[Occasion] = OCCASIONS, stall: float = 600.0
    ) -> None:
        try:
            self.command = shlex.split(command) if isinstance(command, str) else [str(word) for word in command]
        except ValueError as error:
            raise ConfigError(problem("Alert, command", "a command", error, "close the quotation")) from None
        if not self.command:
            raise ConfigError(problem("Alert, command", "a command", "none", "name a program"))
        self.on = tuple(on)
        if unknown := [one for one in self.on if one not in OCCASIONS]:
            raise ConfigError(problem("Alert, on", " | ".join(OCCASIONS), repr(unknown[0]), "choose of these"))
        if not stall > 0:
            raise ConfigError(problem("Alert, stall", "seconds above 0", stall, "600 is usual"))
        self.stall = stall
        self._last = time.monotonic()
        self._event: Event | None = None
        self._told = False
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def started(self, event: Event) -> None:
        """Begin to look for a standstill."""
        self._moved(event)
        if "stalled" in self.on:
            self._stop.clear()
            self._thread = threading.Thread(target=self._watch, name="ssm-hpn alert", daemon=True)
            self._thread.start()

    def updated(self, event: Event) -> None:
        """Note that the run goes on."""
        self._moved(event)

    def evaluated(self, event: Event) -> None:
        """The same."""
        self._moved(event)

    def saved(self, event: Event) -> None:
        """The same."""
        self._moved(event)

    def ended(self, event: Event) -> None:
        """Tell of the end."""
        self._end()
        self._tell("ended", event, str(event.reason))

    def failed(self, event: Event) -> None:
        """Tell of the error."""
        self._end()
        self._tell("diverged" if isinstance(event.error, DivergedError) else "failed", event, str(event.error))

    def _moved(self, event: Event) -> None:
        self._last, self._event, self._told = time.monotonic(), event, False

    def _watch(self) -> None:
        while not self._stop.wait(min(self.stall / 4, 5.0)):
            silent = time.monotonic() - self._last
            if silent >= self.stall and not self._told and self._event is not None:
                self._told = True
                self._tell("stalled", self._event, f"no update for {silent:.0f} s")

    def _end(self) -> None:
        self._stop.set()
        if self._thread is not None:
            self._thread.join()

    def _tell(self, occasion: Occasion, event: Event, reason: str) -> None:
        if occasion not in self.on:
            return
        step, run = event.progress.step, event.folder.resolve()
        message = f"{run.name} {occasion} at update {step}: {reason}"
        about = {"SSM_HPN_EVENT": occasion, "SSM_HPN_RUN": str(run), "SSM_HPN_STEP": str(step)}
        environment = {**os.environ, **about, "SSM_HPN_REASON": reason.replace("\0", " ")}
        try:
            done = subprocess.run(  # noqa: S603 - the command is the user's own
                [*self.command, message.replace("\0", " ")],
                env=environment,
                stdin=subprocess.DEVNULL,
                timeout=LONGEST,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            logger.warning("the command of an alert failed: %s; it was to say: %s", error, message)
            return
        if done.returncode:
            logger.warning("the command of an alert ended with %d; it was to say: %s", done.returncode, message)
