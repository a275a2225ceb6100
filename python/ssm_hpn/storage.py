"""Writing of files so that they are whole or absent.

Only `metrics_log` writes in another way: it appends to its file, and truncates it when a run is resumed.
"""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TextIO

from ssm_hpn import _core
from ssm_hpn.errors import StorageError

__all__ = ["append_line", "move_into_place", "replaced", "replaced_text", "sync_folder", "write_whole"]


def write_whole(path: str | os.PathLike[str], content: str | bytes) -> None:
    """Write or replace one file; text becomes UTF-8.

    The file is written beside its place as `.NAME.partial-PID`, synced, renamed, and the folder synced: readers see the
    old file or the new one, also after a kill or a power failure. Raises `StorageError` with the path and the reason.

    >>> from pathlib import Path
    >>> from ssm_hpn.storage import write_whole
    >>> write_whole("scores.txt", "0.5")
    >>> Path("scores.txt").read_text()
    '0.5'
    """
    _core.write_whole(path, content.encode() if isinstance(content, str) else content)


@contextmanager
def replaced(path: Path) -> Iterator[Path]:
    """A file to write beside a path, which it replaces at the end; for content that does not fit in memory.

    Where anything fails, the path is as it was before. Raises `StorageError` with the path and the reason.

    >>> from pathlib import Path
    >>> from ssm_hpn.storage import replaced
    >>> with replaced(Path("scores.bin")) as partial:
    ...     size = partial.write_bytes(b"12")
    >>> Path("scores.bin").read_bytes()
    b'12'
    """
    partial = path.with_name(f".{path.name}.partial-{os.getpid()}")
    try:
        yield partial
        with partial.open("rb+") as file:
            os.fsync(file.fileno())
        move_into_place(partial, path)
    except StorageError:
        raise
    except OSError as error:
        if error.filename is not None and Path(error.filename) != partial:
            raise  # an error about another file, which is read in the block
        raise StorageError(f"{path}: cannot write: {error.strerror or error}") from None
    finally:
        with suppress(OSError):
            partial.unlink(missing_ok=True)


@contextmanager
def replaced_text(path: Path) -> Iterator[TextIO]:
    """The same as `replaced`, opened for text in UTF-8 whose line ends stay as they are.

    >>> from pathlib import Path
    >>> from ssm_hpn.storage import replaced_text
    >>> with replaced_text(Path("scores.csv")) as file:
    ...     size = file.write("id,score")
    >>> Path("scores.csv").read_text()
    'id,score'
    """
    with replaced(path) as partial, partial.open("w", encoding="utf-8", newline="") as file:
        yield file


def move_into_place(written: Path, path: Path) -> None:
    """Give a written and synced file or folder its name, in the same folder, and sync that folder.

    Raises `StorageError` with the path and the reason.

    >>> from pathlib import Path
    >>> from ssm_hpn.storage import move_into_place
    >>> size = Path(".scores.bin").write_bytes(b"12")
    >>> move_into_place(Path(".scores.bin"), Path("scores.bin"))
    >>> Path("scores.bin").exists(), Path(".scores.bin").exists()
    (True, False)
    """
    try:
        written.replace(path)
    except OSError as error:
        raise StorageError(f"{path}: cannot rename into place: {error.strerror or error}") from None
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable; Windows has no such call.

    Raises `StorageError` with the folder and the reason.

    >>> from pathlib import Path
    >>> from ssm_hpn.storage import sync_folder
    >>> sync_folder(Path())
    """
    if sys.platform == "win32":
        return
    try:
        opened = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(opened)
        finally:
            os.close(opened)
    except OSError as error:
        raise StorageError(f"{folder}: cannot sync the folder: {error.strerror or error}") from None


def append_line(path: Path, line: str) -> None:
    """Add one line to a file, in one write. Raises `StorageError` with the path and the reason.

    >>> from pathlib import Path
    >>> from ssm_hpn.storage import append_line
    >>> append_line(Path("log.txt"), "first")
    >>> append_line(Path("log.txt"), "second")
    >>> Path("log.txt").read_text().split()
    ['first', 'second']
    """
    try:
        with path.open("ab") as file:
            file.write(line.encode() + b"\n")
    except OSError as error:
        raise StorageError(f"{path}: cannot write: {error.strerror or error}") from None
