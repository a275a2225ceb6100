"""The exception classes, and the exit code that the command line gives each of them.

Every class is also a class of Python's own, so that `except ValueError` catches a wrong setting or array. The compiled
core raises these same classes; it imports them from here. The text of an error is one line: what, where, expected,
found, what to do.

>>> from ssm_hpn import load_config
>>> try:
...     load_config("no-such-file.toml")
... except OSError:
...     print("not this one")
... except ValueError as error:
...     print(type(error).__name__, "-", error)
ConfigError - no-such-file.toml: expected a TOML file, found no such file; check the path after --config
"""

from collections.abc import Iterable
from difflib import get_close_matches
from typing import Final

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


class Error(Exception):
    """Base of every error of this package; its text is one line a person can act on."""


class ConfigError(Error, ValueError):
    """A configuration that contradicts itself or asks for something that does not exist."""


class DataError(Error, ValueError):
    """Input data that cannot be used."""


class CheckpointError(Error, ValueError):
    """A checkpoint that cannot be loaded."""


class DivergedError(Error, ArithmeticError):
    """Too many updates in a row had a loss or gradient that is not finite."""


class StorageError(Error, OSError):
    """The operating system refused to read or write."""


class ShapeError(Error, ValueError):
    """An array or batch that does not fit."""


class LockedError(Error, BufferError):
    """The flat buffers are lent out; nothing may move them now."""


class ForkError(Error, RuntimeError):
    """The process was forked after the thread pool had started."""


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
    """Exit code of a failure: 2 configuration, 3 data, 4 checkpoint, 5 diverged, 6 storage, 1 anything else.

    >>> exit_code(ConfigError("optim.lr: …")), exit_code(FileNotFoundError()), exit_code(KeyError())
    (2, 6, 1)
    """
    for kind, code in _EXIT_CODES.items():
        if isinstance(error, kind):
            return code
    return 6 if isinstance(error, OSError) else 1


def problem(where: object, expected: object, found: object, advice: str) -> str:
    """One line in the order that every error of this package has.

    >>> problem("optim.lr", "a number above 0", -1, "try 3e-3")
    'optim.lr: expected a number above 0, found -1; try 3e-3'
    """
    return f"{where}: expected {expected}, found {found}; {advice}"


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The known name closest to a mistyped one, or None if none is close.

    >>> nearest("d_modle", ["d_model", "n_layers"])
    'd_model'
    """
    matches = get_close_matches(name, list(known), n=1, cutoff=0.6)
    return matches[0] if matches else None
