"""SIGTERM and Ctrl-C: the first asks training to save and end, a second one ends at once.

Outside of training both end at once, and say what they interrupted. After SIGTERM the exit code is that of a command
that is to be run again: what was not finished is not there, and is begun again.
"""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from ssm_hpn.beginning import end

_terminated = False
"""Whether SIGTERM was what interrupted the command."""


def terminated() -> bool:
    """Whether the interrupt that was raised is one by SIGTERM."""
    return _terminated


def _raise(number: int, _frame: FrameType | None = None) -> None:
    global _terminated  # noqa: PLW0603 - signals belong to the process
    _terminated = number == signal.SIGTERM
    raise KeyboardInterrupt


@contextmanager
def raised() -> Iterator[None]:
    """Raise KeyboardInterrupt at both signals in a block, where the process was started as a command."""
    global _terminated  # noqa: PLW0603
    _terminated = False
    if signal.getsignal(signal.SIGTERM) is not end:
        yield  # the caller's process, which handles its signals
        return
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _raise)
    yield


class Interrupted(KeyboardInterrupt):
    """Ctrl-C, with the words that follow "interrupted"."""


@contextmanager
def interrupted(words: str) -> Iterator[None]:
    """Give Ctrl-C in a block the words that say what it interrupted."""
    try:
        yield
    except Interrupted:
        raise
    except KeyboardInterrupt:
        raise Interrupted(words) from None


@contextmanager
def graceful_stop(request_stop: Callable[[], None]) -> Iterator[None]:
    """Call `request_stop` at the first signal, raise KeyboardInterrupt at a second one."""
    if threading.current_thread() is not threading.main_thread():
        yield  # Python delivers signals to the main thread alone
        return
    asked = False

    def handle(number: int, _frame: FrameType | None) -> None:
        nonlocal asked
        if asked:
            _raise(number)
        asked = True
        request_stop()

    before: dict[int, Any] = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
