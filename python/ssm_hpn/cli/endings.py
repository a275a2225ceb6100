"""What a command that fails says, in one line, and its exit code."""

import os
import re
import traceback
from typing import Final

from ssm_hpn.cli.signals import terminated
from ssm_hpn.cli.system import in_words, without_numbers
from ssm_hpn.errors import (
    EXIT_INTERRUPTED,
    EXIT_KILLED,
    ConfigError,
    DataError,
    Error,
    exit_code,
    problem,
)
from ssm_hpn.printable import printable

TRACEBACK: Final = "--traceback"
OF_PAGES: Final = ("jinja2", "markupsafe", "matplotlib")
"""Packages that nothing but pages and figures needs."""
NO_MEMORY: Final = re.compile("failed to map segment|cannot allocate memory|unable to allocate", re.IGNORECASE)
"""What the loader of libraries says where memory is limited."""
NO_THREAD: Final = re.compile("can't start new thread|Failed to launch worker thread")
"""What Python and Arrow say where no thread can be started."""
LONGEST_LINE: Final = 2000
"""Characters of an error that are shown: values come from files, and may be of any length."""


def ending(error: BaseException) -> tuple[int, str]:
    """The exit code of a command that an error ends, and the line about it."""
    if isinstance(error, KeyboardInterrupt):
        code = EXIT_INTERRUPTED if terminated() else EXIT_KILLED
        return code, f"interrupted{str(error) or '; no unfinished file is left behind'}"
    if isinstance(error, Error | OSError):
        text = in_words(error) if isinstance(error, OSError) else str(error)
        return exit_code(error), f"error: {_one_line(without_numbers(text))}"
    if not isinstance(error, Exception):
        raise error
    found = _foreign(error)
    if found is not None:
        return exit_code(found), f"error: {_one_line(found)}"
    place = traceback.extract_tb(error.__traceback__)[-1]
    at = f"{os.path.basename(place.filename)}:{place.lineno}"  # noqa: PTH119 - only shown
    text = f"{type(error).__name__} at {at}: {_one_line(error)}"
    return 1, f"error: this is a bug: {text}; run again with {TRACEBACK} and report it"


def _foreign(error: Exception) -> Error | None:
    """The error for a missing package, and for input that is too large or deep for a library."""
    if isinstance(error, ModuleNotFoundError) and (missing := str(error.name).partition(".")[0]) in OF_PAGES:
        found = problem(missing, "the package, which reports are made with", "none", f"pip install {missing}")
        return ConfigError(found)
    if isinstance(error, ModuleNotFoundError) and str(error.name).partition(".")[0] == "pyarrow":
        advice = "install it; Windows on arm64 has no wheel of it: prepare the data on another machine"
        return ConfigError(problem("pyarrow", "the package, which reads data files", "none", advice))
    if isinstance(error, MemoryError) or (isinstance(error, ImportError) and NO_MEMORY.search(str(error))):
        advice = "raise the limit (ulimit -v), or run where there is more"
        return ConfigError(problem("memory", "enough to load this package and its libraries", "too little", advice))
    if NO_THREAD.search(str(error)):
        advice = "raise the limits of memory and processes (ulimit -v, ulimit -u), or run where there are none"
        return ConfigError(problem("threads", "one more to be started", "that the system refuses it", advice))
    advice = "rename the file, or correct the text"
    if isinstance(error, UnicodeEncodeError):
        found = ascii(error.object[max(0, error.start - 20) : error.end + 20])
        return DataError(problem("the data", "text and names in UTF-8", f"half a character in {found}", advice))
    if isinstance(error, UnicodeDecodeError):
        found = f"byte 0x{error.object[error.start]:02x} at {error.start}"
        return DataError(problem("the data", "text and names in UTF-8", found, advice))
    if isinstance(error, RecursionError):
        return DataError(problem("the data", "values nested less deeply", "more than the parser can hold", advice))
    return None


def _one_line(error: BaseException | str) -> str:
    """The text of an error on one line, without control characters, and cut where it is very long."""
    text = printable(" ".join(str(error).split()))
    if len(text) <= LONGEST_LINE:
        return text
    half = LONGEST_LINE // 2
    return f"{text[:half]} … {text[-half:]}"
