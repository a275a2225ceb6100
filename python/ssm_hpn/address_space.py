"""Limits of memory that the shell sets (`ulimit -v`, `ulimit -d`), checked before the libraries are loaded.

Libraries of compiled code end the process where they are refused memory while they are loaded or start a thread: no
error of Python is raised that could be told. So where there is such a limit, a child loads what the commands load, and
says how much that takes; the command begins where there is room beside it for its threads:

    limit >= loaded + BASE + THREADS * cores

On a machine with 2 cores 488 MB are loaded (Linux, x86-64), and the smallest training passes with a limit of 1,200 MB
and not with 1,000: it starts some ten threads, for each of which the system's allocator reserves 64 MB and the stack
takes 8.
"""

import os
import sys
from importlib import import_module
from pathlib import Path
from typing import Final

MODULES: Final = ("ssm_hpn.cli.train", "ssm_hpn.prepare.pipeline", "ssm_hpn.report", "duckdb", "matplotlib.figure")
"""What commands load; other libraries are loaded by these."""
BASE: Final = 640 << 20
"""Bytes for the smallest model, its data, and the threads that libraries start on any machine."""
THREADS: Final = 64 << 20
"""Bytes for the stacks and heaps of the threads that they start for each core."""
LIMITS: Final = (("RLIMIT_AS", "VmPeak", "ulimit -v"), ("RLIMIT_DATA", "VmData", "ulimit -d"))
"""A limit, what Linux counts against it, and the command of a shell that sets it."""


def too_little() -> str | None:
    """A line where a limit of this process leaves too little memory for the package; None where there is enough.

    Without a limit, and on systems other than Linux, nothing is loaded and the answer is None; so it is where no child
    can be started.
    """
    if sys.platform != "linux":
        return None
    import resource

    found = [(resource.getrlimit(getattr(resource, name))[0], count, set_by) for name, count, set_by in LIMITS]
    limited = [one for one in found if one[0] != resource.RLIM_INFINITY]
    if not limited:
        return None
    try:
        loaded = _loaded()
    except OSError:
        return None
    room = BASE + THREADS * (os.cpu_count() or 1)
    for limit, count, set_by in limited:
        advice = f"raise the limit ({set_by}), or run where there is none"
        if loaded is None:
            return f"memory: expected enough to load the libraries, found a limit of {limit >> 20} MB; {advice}"
        needed = loaded[count] + room
        if limit < needed:
            return f"memory: expected a limit of {-(-needed >> 20)} MB or more, found {limit >> 20} MB; {advice}"
    return None


def _loaded() -> dict[str, int] | None:
    """Bytes of each count after a child has loaded everything; None where it was ended by that."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        _load(writer)
    os.close(writer)
    with open(reader, encoding="ascii") as answer:  # noqa: PTH123 - a descriptor
        text = answer.read()
    ended = os.waitpid(child, 0)[1]
    if ended or not text:
        return None
    lines = (line.split() for line in text.splitlines())
    return {words[0].rstrip(":"): int(words[1]) << 10 for words in lines if len(words) == 3 and words[2] == "kB"}


def _load(writer: int) -> None:
    """The child: load everything, write the counts of Linux, and end."""
    code = 1
    try:
        import resource

        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        nowhere = os.open(os.devnull, os.O_RDWR)
        for number in (0, 1, 2):
            os.dup2(nowhere, number)
        for name in MODULES:
            try:
                import_module(name)
            except ModuleNotFoundError:  # a library that is not there takes no memory
                continue
        os.write(writer, Path("/proc/self/status").read_bytes())
        code = 0
    finally:
        os._exit(code)
