"""SIGTERM and Ctrl-C: the first asks training to save and end, a second Ctrl-C ends at once.

Outside of training Ctrl-C ends at once, and says what it interrupted.
"""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any


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
    """Call `request_stop` at the first signal, raise KeyboardInterrupt at a second Ctrl-C."""
    if threading.current_thread() is not threading.main_thread():
        yield  # Python delivers signals to the main thread alone
        return
    asked = False

    def handle(number: int, _frame: FrameType | None) -> None:
        nonlocal asked
        if asked and number == signal.SIGINT:
            raise KeyboardInterrupt
        asked = True
        request_stop()

    before: dict[int, Any] = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
