"""Signals while a command is loaded: SIGTERM and Ctrl-C end the process at once, with one line.

Nothing was written by then that could be left behind, and an exception that is raised inside of an import may be taken
for another one.
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
