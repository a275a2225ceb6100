"""Signals before a command and after it: SIGTERM and Ctrl-C end the process at once.

While a command is loaded nothing was written that could be left behind, which one line says. No exception is raised:
inside of an import it may be taken for another one, and the interpreter would print one that is raised while it ends.
"""

import os
import signal
import sys
from types import FrameType
from typing import Final

NOTHING: Final = "interrupted before anything began; nothing was written\n"
AGAIN: Final = 75
"""Exit code after SIGTERM: run the same command again."""
KILLED: Final = 130
"""Exit code after Ctrl-C."""


def end(number: int, _frame: FrameType | None) -> None:
    """End the process; a handler of signals."""
    sys.stderr.write(NOTHING)
    sys.stderr.flush()
    os._exit(AGAIN if number == signal.SIGTERM else KILLED)


def end_with(code: int) -> None:
    """The command is done, and the process ends by itself: a first signal changes nothing, a second one ends it now."""
    asked = False

    def leave(_number: int, _frame: FrameType | None) -> None:
        nonlocal asked
        if asked:
            os._exit(code)
        asked = True

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, leave)
    # Python dies of SIGINT at its end where the last text that it executed was interrupted (data classes and named
    # tuples are made of such texts), even if the interrupt was caught since: this text is the last, and ends.
    exec("")  # noqa: S102
