"""The folder that preparation fills: beside its place, locked while a process works on it, whole at its place.

Files are synced as they are written; the folder is synced before it gets its name, and the folder above it after.
A process that is killed or interrupted leaves `.NAME-…` behind. The next start goes on in it where the mark says that
it is made from the same files with the same settings. What else no process holds the lock of is removed: folders with
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
from ssm_hpn.storage import move_into_place, sync_folder, write_whole

MARK: Final = "being-prepared"
LOCK: Final = ".lock"


@contextlib.contextmanager
def staged(out: Path, key: str | None = None) -> Iterator[Path]:
    """A sibling folder that takes the place of `out` if nothing fails, and is removed otherwise.

    With a key, which stands for all that the contents follow from, it stays where the caller is interrupted after a
    shard was finished, and one that an earlier call with this key has left is taken up with what is in it.
    """
    with _marked(out, key) as (folder, lock):
        yield folder
        lock.release()
        (folder / LOCK).unlink(missing_ok=True)
        folder.chmod(0o777 & ~_umask())
        sync_folder(folder)
        with contextlib.suppress(OSError):
            out.rmdir()  # an empty folder may be replaced
        move_into_place(folder, out)
        (out / MARK).unlink(missing_ok=True)  # until here, so that a folder that is left behind has it


@contextlib.contextmanager
def scratch(out: Path) -> Iterator[Path]:
    """A sibling folder of `out` for files that are needed meanwhile; it is removed at the end."""
    with _marked(out.with_name(f"{out.name}-copies")) as (folder, _):
        yield folder


@contextlib.contextmanager
def _marked(out: Path, key: str | None = None) -> Iterator[tuple[Path, RunLock]]:
    """A sibling folder with the mark and its lock, removed at the end if it is still there and was not interrupted."""
    out.parent.mkdir(parents=True, exist_ok=True)
    left, lock = _left(out, key)
    remove_leftovers(out.parent, out.name)
    folder = left or Path(tempfile.mkdtemp(prefix=f".{out.name}-", dir=out.parent))
    keeps = False
    try:
        lock = lock or RunLock(str(folder))
        write_whole(folder / MARK, key or "")
        yield folder, lock
    except KeyboardInterrupt:
        keeps = key is not None and any(folder.rglob("*.arrow"))
        raise
    finally:
        if lock is not None:
            with contextlib.suppress(Error):
                lock.release()
        if not keeps:
            shutil.rmtree(folder, ignore_errors=True)


def _left(out: Path, key: str | None) -> tuple[Path | None, RunLock | None]:
    """The folder that an interrupted call with the same key has left, and its lock; None if there is none."""
    for mark in sorted(out.parent.glob(f".{glob.escape(out.name)}-????????/{MARK}")) if key else ():
        if mark.read_text(encoding="utf-8", errors="replace") != key:
            continue
        with contextlib.suppress(Error, OSError):  # locked: another process is preparing it
            return mark.parent, RunLock(str(mark.parent))
    return None, None


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
    """Whether there is nothing in a folder but the file of a lock, and a mark that was being written."""
    return folder.is_dir() and all(
        one.name == LOCK or one.name.startswith(f".{MARK}.partial-") for one in folder.iterdir()
    )


def _umask() -> int:
    """The process's mask; it can only be read by setting it."""
    mask = os.umask(0)
    os.umask(mask)
    return mask
