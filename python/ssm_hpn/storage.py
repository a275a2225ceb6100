"""Files that are whole or absent: how this package writes every small file that somebody may read again."""

from os import PathLike

from ssm_hpn import _core

__all__ = ["write_whole"]


def write_whole(path: str | PathLike[str], content: str | bytes) -> None:
    """Write or replace one file; text becomes UTF-8.

    The file is written beside its place as `.NAME.partial-PID`, synced, renamed, and the folder synced: readers see the
    old file or the new one, also after a kill or a power failure. Raises `StorageError` with the path and the reason.
    """
    _core.write_whole(path, content.encode() if isinstance(content, str) else content)
