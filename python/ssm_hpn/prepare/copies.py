"""Copies for the engine of what it does not read: text in another encoding than UTF-8, and Arrow files."""

import hashlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ssm_hpn.errors import StorageError
from ssm_hpn.prepare.problems import data_error
from ssm_hpn.prepare.source import Source, line_ends, open_source, read_block

LINES: Final = 1 << 16
"""Line ends of a first look: more rows than the engine looks at to find out types and marks."""
BLOCK: Final = 1 << 20
ARROW: Final = b"ARROW1"
"""How an Arrow file begins; a stream does not."""


def in_utf_8(source: Source, folder: Path, *, whole: bool = True) -> Path:
    """The file of a source; of a recoded one its copy in `folder`, which is made once.

    Where not the whole is needed, the copy ends after `LINES` line ends, outside of quotes.
    """
    if not source.recoded:
        return source.path
    copy = folder / f"{_mark(source)}.{'txt' if whole else 'start'}"
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


def as_parquet(source: Source, folder: Path, *, whole: bool = True) -> Path:
    """A copy of an Arrow file, or of an Arrow stream as the package datasets writes them, batch by batch.

    Where not the whole is needed, the copy is that of the first batch with rows.
    """
    copy = folder / f"{_mark(source)}.{'whole' if whole else 'first'}.parquet"
    if copy.exists():
        return copy
    folder.mkdir(exist_ok=True)
    partial = copy.with_suffix(f".{os.getpid()}")
    try:
        with pa.OSFile(str(source.path)) as file:
            schema, batches = _batches(file)
            with pq.ParquetWriter(partial, schema.remove_metadata()) as writer:
                for batch in batches:
                    writer.write_batch(batch.replace_schema_metadata(None))
                    if not whole and batch.num_rows:
                        break
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        partial.unlink(missing_ok=True)
        expected, advice = "an Arrow file or stream", "copy or write it again, or name another file"
        if isinstance(error, pa.ArrowNotImplementedError):
            expected, advice = "columns of types that Parquet has", "leave that column out of the file, or cast it"
        found = str(error).partition("\n")[0]
        raise data_error(source.path, "file", expected=expected, found=found, advice=advice) from None
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise StorageError(f"{source.path}: cannot read the file: {error}") from None
    partial.rename(copy)
    return copy


def _batches(file: pa.NativeFile) -> tuple[pa.Schema, Iterator[pa.RecordBatch]]:
    """The schema of an Arrow file or stream, and its batches."""
    is_file = file.read(len(ARROW)) == ARROW
    file.seek(0)
    if not is_file:
        stream = pa.ipc.open_stream(file)
        return stream.schema, iter(stream)
    reader = pa.ipc.open_file(file)
    return reader.schema, map(reader.get_batch, range(reader.num_record_batches))


def _mark(source: Source) -> str:
    """The name of a copy."""
    return hashlib.sha256(f"{source.path.resolve()}\0{source.encoding}".encode()).hexdigest()[:16]


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
