"""The folder that preparation fills: beside its place, locked while a process works on it, whole at its place.

Files are synced as they are written; the folder is synced before it gets its name, and the folder above it after.
A process that is killed leaves `.NAME-…` behind. The next start removes what no process holds the lock of: folders with
the mark in them, and those of its own name that have nothing yet. Others are never touched.
"""

import contextlib
import glob
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from ssm_hpn._core import RunLock
from ssm_hpn.errors import Error
from ssm_hpn.storage import move_into_place, sync_folder

MARK: Final = "being-prepared"
LOCK: Final = ".lock"


@contextlib.contextmanager
def staged(out: Path) -> Iterator[Path]:
    """A sibling folder that takes the place of `out` if nothing fails, and is removed otherwise."""
    out.parent.mkdir(parents=True, exist_ok=True)
    remove_leftovers(out.parent, out.name)
    folder = Path(tempfile.mkdtemp(prefix=f".{out.name}-", dir=out.parent))
    lock: RunLock | None = None
    try:
        lock = RunLock(str(folder))
        (folder / MARK).touch()
        yield folder
        lock.release()
        (folder / LOCK).unlink(missing_ok=True)
        folder.chmod(0o777 & ~_umask())
        sync_folder(folder)
        with contextlib.suppress(OSError):
            out.rmdir()  # an empty folder may be replaced
        move_into_place(folder, out)
        (out / MARK).unlink(missing_ok=True)  # until here, so that a folder that is left behind has it
    finally:
        if lock is not None:
            with contextlib.suppress(Error):
                lock.release()
        shutil.rmtree(folder, ignore_errors=True)


def remove_leftovers(parent: Path, name: str | None = None) -> list[Path]:
    """Remove the folders that killed preparations left in `parent`, also empty ones for `name`; returns them."""
    removed = []
    if name is not None:
        (parent / name / MARK).unlink(missing_ok=True)
    marked = {mark.parent for mark in parent.glob(f".*/{MARK}")}
    begun = parent.glob(f".{glob.escape(name)}-????????") if name is not None else ()
    for folder in sorted(marked | {one for one in begun if _has_nothing(one)}):
        try:
            lock = RunLock(str(folder))
        except (Error, OSError):
            continue  # locked: another process is preparing it
        lock.release()
        shutil.rmtree(folder, ignore_errors=True)
        removed.append(folder)
    return removed


def _has_nothing(folder: Path) -> bool:
    """Whether there is nothing in a folder but the file of a lock."""
    return folder.is_dir() and {one.name for one in folder.iterdir()} <= {LOCK}


def _umask() -> int:
    """The process's mask; it can only be read by setting it."""
    mask = os.umask(0)
    os.umask(mask)
    return mask
