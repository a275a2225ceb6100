"""The exception classes, and the exit code that the command line gives each of them.

This module alone imports the classes from the compiled core; the rest of the package imports them from here. The text
of an error is one line: what, where, expected, found, what to do.
"""

from difflib import get_close_matches
from typing import TYPE_CHECKING, Final

from ssm_hpn._core import (
    CheckpointError,
    ConfigError,
    DataError,
    DivergedError,
    Error,
    ForkError,
    LockedError,
    ShapeError,
    StorageError,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = [
    "CheckpointError",
    "ConfigError",
    "DataError",
    "DivergedError",
    "Error",
    "ForkError",
    "LockedError",
    "ShapeError",
    "StorageError",
    "exit_code",
    "nearest",
    "problem",
]

EXIT_DONE: Final = 0
EXIT_INTERRUPTED: Final = 75  # EX_TEMPFAIL: saved; run the same command again
EXIT_KILLED: Final = 130  # second Ctrl-C

_EXIT_CODES: Final[dict[type[Error], int]] = {
    ConfigError: 2,
    DataError: 3,
    CheckpointError: 4,
    DivergedError: 5,
    StorageError: 6,
}


def exit_code(error: BaseException) -> int:
    """Exit code of a failure: 2 configuration, 3 data, 4 checkpoint, 5 diverged, 6 storage, 1 anything else."""
    for kind, code in _EXIT_CODES.items():
        if isinstance(error, kind):
            return code
    return 6 if isinstance(error, OSError) else 1


def problem(where: object, expected: object, found: object, advice: str) -> str:
    """One line in the order that every error of this package has."""
    return f"{where}: expected {expected}, found {found}; {advice}"


def nearest(name: str, known: "Iterable[str]") -> str | None:
    """The known name closest to a mistyped one, or None if none is close."""
    matches = get_close_matches(name, list(known), n=1, cutoff=0.6)
    return matches[0] if matches else None
