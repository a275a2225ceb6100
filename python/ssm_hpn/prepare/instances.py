"""Instances of DuckDB that wait to be used again: a new one takes milliseconds, and preparing a table uses several.

An instance is used by one connection at a time, a new one for each use, so that tables, names and a time zone are
those of that use alone. What belongs to the instance, its limit of memory, its threads and its folder, is set again.
One that failed, or wrote to its folder, is closed.
"""

import atexit
import contextlib
import os
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import duckdb

MOST_IDLE: Final = 2
"""Instances that wait: as many as are used at once where one part is read ahead while another is worked on."""
SETTINGS: Final[dict[str, Any]] = {
    "autoinstall_known_extensions": False,
    "autoload_known_extensions": False,
    "enable_external_file_cache": False,  # a file may have changed by the next use
}

_idle: deque[duckdb.DuckDBPyConnection] = deque()


@contextlib.contextmanager
def connection_to(folder: Path, *, memory_mb: int, threads: int, keep: bool) -> Iterator[duckdb.DuckDBPyConnection]:
    """A connection to an instance of its own that spills to `folder`; `keep` the instance for the next use."""
    instance = _taken(folder, memory_mb, threads)
    try:
        with instance.cursor() as connection:
            yield connection
    except BaseException:
        instance.close()
        raise
    if keep and len(_idle) < MOST_IDLE and not any(folder.iterdir()):
        _idle.append(instance)
    else:
        instance.close()


def close_idle() -> None:
    """Close the instances that wait. They have threads, which a forked process would wait for in vain."""
    while True:
        try:
            _idle.pop().close()
        except IndexError:
            return


def _taken(folder: Path, memory_mb: int, threads: int) -> duckdb.DuckDBPyConnection:
    changing = {"memory_limit": f"{memory_mb}MB", "temp_directory": str(folder), "threads": threads}
    with contextlib.suppress(IndexError):
        instance = _idle.pop()
        try:
            for name, value in changing.items():
                instance.execute(f"SET {name} = ?", [value])
        except duckdb.Error:  # it has used its folder, which some releases remove when they no longer need it
            instance.close()
        except BaseException:
            instance.close()
            raise
        else:
            return instance
    return duckdb.connect(":memory:", config=SETTINGS | changing)


atexit.register(close_idle)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=close_idle)
