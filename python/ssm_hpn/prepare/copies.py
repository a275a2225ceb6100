"""Text in another encoding than UTF-8 as a file of UTF-8 for the engine, which reads no other."""

import hashlib
import os
import shutil
from pathlib import Path
from typing import Any, Final

import numpy as np

from ssm_hpn.prepare.sources import Source, line_ends, open_source, read_block

LINES: Final = 1 << 16
"""Line ends of a first look: more rows than the engine looks at to find out types and marks."""
BLOCK: Final = 1 << 20


def in_utf_8(source: Source, folder: Path, *, whole: bool = True) -> Path:
    """The file of a source; of a recoded one its copy in `folder`, which is made once.

    Where not the whole is needed, the copy ends after `LINES` line ends, outside of quotes.
    """
    if not source.recoded:
        return source.path
    mark = hashlib.sha256(f"{source.path.resolve()}\0{source.encoding}".encode()).hexdigest()[:16]
    copy = folder / f"{mark}.{'txt' if whole else 'start'}"
    if copy.exists():
        return copy
    folder.mkdir(exist_ok=True)
    partial = copy.with_suffix(f".{os.getpid()}")
    with open_source(source) as stream, partial.open("wb") as file:
        if whole:
            shutil.copyfileobj(stream, file, BLOCK)
        else:
            file.write(_start(source, stream))
    partial.rename(copy)
    return copy


def _start(source: Source, stream: Any) -> bytes:  # noqa: ANN401 - a stream of Arrow or of Python
    """The first lines. It ends outside of quotes, if that loses less than half of them."""
    start, lines = b"", 0
    while lines < LINES and (block := read_block(stream, source.path, BLOCK)):
        start, lines = start + block, lines + line_ends(block)
    if lines < LINES:
        return start
    data = np.frombuffer(start, np.uint8)
    ends = np.flatnonzero(data == ord("\n" if b"\n" in start else "\r"))
    outside = ends[np.cumsum(data == ord('"'))[ends] % 2 == 0] if source.format == "csv" else ends
    last = outside[-1] if len(outside) and outside[-1] >= len(data) // 2 else ends[-1]
    return start[: int(last) + 1]
