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
    "InUseError",
    "LockedError",
    "PanicError",
    "RankError",
    "ShapeError",
    "StorageError",
    "exit_code",
    "nearest",
    "nearest_setting",
    "problem",
    "shown",
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


class InUseError(StorageError):
    """Another process writes to the folder; it may be tried again."""


class RankError(Error, RuntimeError):
    """A rank that trains together with this one is lost, hangs, or failed."""


class ShapeError(Error, ValueError):
    """An array or batch that does not fit."""


class LockedError(Error, BufferError):
    """The flat buffers are lent, and the call would move, change or read them."""


class ForkError(Error, RuntimeError):
    """The process was forked after a loader had started its threads."""


class PanicError(Error, RuntimeError):
    """A failure of the compiled core itself, which is a bug. What it was changing then refuses every further call."""


NEAR: Final = 0.7
"""Share of characters in common from which a mistyped name counts as near."""
LOG10_2: Final = 0.30103
EXIT_DONE: Final = 0
EXIT_INTERRUPTED: Final = 75  # EX_TEMPFAIL: saved; run the same command again
EXIT_KILLED: Final = 130  # second Ctrl-C

_EXIT_CODES: Final[dict[type[Error], int]] = {
    InUseError: 7,
    ConfigError: 2,
    DataError: 3,
    CheckpointError: 4,
    DivergedError: 5,
    StorageError: 6,
    RankError: 6,
}


def exit_code(error: BaseException) -> int:
    """Exit code of a failure.

    2 configuration, 3 data, 4 checkpoint, 5 diverged, 6 storage or a lost rank, 7 a folder that another process writes
    to, 1 anything else.

    >>> exit_code(ConfigError("optim.lr: …")), exit_code(InUseError("")), exit_code(FileNotFoundError())
    (2, 7, 6)
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
    where = str(where) if str(where).strip() else repr(str(where))
    return f"{where}: expected {expected}, found {found}; {advice}"


def shown(value: object, limit: int = 60) -> str:
    """A value for a message: as Python writes it, on one line, cut where it is long.

    >>> shown("x" * 100, limit=8), shown(10**5000)
    ("'xxxxxx…", 'a number of 5001 digits')
    >>> import numpy as np
    >>> shown(np.eye(2))
    'array([[1., 0.], [0., 1.]])'
    """
    if getattr(value, "ndim", None) == 0 and hasattr(value, "item"):
        value = value.item()  # a number of numpy, whose own text names its type
    if isinstance(value, int) and value.bit_length() > 1000:
        digits = int(value.bit_length() * LOG10_2) + 1  # the interpreter refuses to write such numbers
        return f"a number of {digits} digits"
    try:
        text = ascii(value) if isinstance(value, str) and not value.isprintable() else repr(value)
    except (ValueError, RecursionError):
        text = f"a {type(value).__name__} too large to show"
    if "\n" in text:  # of arrays and frames
        text = " ".join(text.split())
    return text if len(text) <= limit else text[: limit - 1] + "…"


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The known name closest to a mistyped one, or None if none is close.

    >>> nearest("generat", ["generate", "train"]), nearest("device", ["seed", "threads"])
    ('generate', None)
    """
    matches = get_close_matches(name, list(known), n=1, cutoff=NEAR)
    return matches[0] if matches else None


def nearest_setting(name: str, known: Iterable[str]) -> str | None:
    """The dotted name of a setting that a mistyped one most likely means, or None if none is near.

    The same last part elsewhere counts most, then a near last part in the same section, then a near name as a whole.

    >>> settings = ["optim.lr", "train.steps", "train.seed", "model.d_model"]
    >>> nearest_setting("train.lr", settings), nearest_setting("train.step", settings)
    ('optim.lr', 'train.steps')
    >>> nearest_setting("train.device", settings) is None
    True
    """
    names = list(known)
    section, _, last = name.rpartition(".")
    same = [one for one in names if one.rpartition(".")[2] == last]
    if same:
        return get_close_matches(name, same, n=1, cutoff=0)[0]
    beside = {one.rpartition(".")[2]: one for one in names if one.rpartition(".")[0] == section}
    close = nearest(last, beside)
    if close is not None:
        return beside[close]
    anywhere = {one.rpartition(".")[2]: one for one in names}
    if not section:
        close = nearest(last, anywhere)
        return None if close is None else anywhere[close]
    sections = {one.rpartition(".")[0] for one in names}
    close = nearest(section, sections)
    inside = {one.rpartition(".")[2]: one for one in names if one.rpartition(".")[0] == close}
    close = nearest(last, inside)
    return None if close is None else inside[close]
