"""`.npy` and `.npz` files, some documents at a time.

    features  [N, T, F]  N documents of T steps        (float)
              [N, T]     N univariate documents, if there is a target per document; else one document of N steps
              [T]        one univariate document
    tokens    [N, T]     N documents; [T] one document  (whole numbers)
    targets   label [N], labels [N, T], values [N] or [N, K], lengths [N] (steps that count)

In a `.npz` file the arrays have the names of the columns, or these usual ones: features x X, tokens, label y,
labels, values, lengths. Arrays are read through the file, never as a whole, and never unpickled.
"""

import zipfile
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import IO, Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from ssm_hpn.config.data import Columns, PrepareOptions
from ssm_hpn.prepare.problems import data_error, nearest
from ssm_hpn.prepare.records import Label, Record
from ssm_hpn.prepare.rows import first_bad, not_finite
from ssm_hpn.prepare.sources import Source

USUAL_NAMES = {
    "features": ("features", "x", "X"),
    "tokens": ("tokens", "input_ids"),
    "label": ("label", "y"),
    "labels": ("labels",),
    "values": ("values",),
    "lengths": ("lengths",),
}
TARGETS = ("label", "labels", "values")
CHUNK_BYTES = 8 << 20


@dataclass
class Stored:
    """One array in a file, read from front to back."""

    source: Source
    name: str
    file: IO[bytes]
    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    def read(self, count: int) -> NDArray[Any]:
        """The next `count` entries along the first axis."""
        shape = (count, *self.shape[1:])
        size = int(np.prod(shape)) * self.dtype.itemsize
        data = self.file.read(size)
        if len(data) != size:
            raise data_error(
                self.source.path,
                self.source.field(self.name),
                expected=f"{size} more bytes",
                found=f"{len(data)}",
                advice="the file is cut: write or copy it again",
            )
        return np.frombuffer(data, self.dtype).reshape(shape)

    def chunks(self) -> Iterator[NDArray[Any]]:
        """Everything, some megabytes at a time."""
        row_bytes = max(1, int(np.prod(self.shape[1:])) * self.dtype.itemsize)
        step = max(1, CHUNK_BYTES // row_bytes)
        for start in range(0, self.shape[0], step):
            yield self.read(min(step, self.shape[0] - start))


def read_arrays(
    source: Source, options: PrepareOptions, *, targets: bool = True, univariate: bool = False
) -> Iterator[Record]:
    """Documents of a `.npy` or `.npz` file, on demand without targets; univariate: [N, T] are N documents anyway."""
    with ExitStack() as stack:
        arrays = _open(source, options.columns, stack, targets=targets)
        main = arrays.get("features") or arrays["tokens"]
        others = {key: array for key, array in arrays.items() if key not in ("features", "tokens")}
        if not main.shape or 0 in main.shape:
            raise data_error(
                source.path,
                source.field(main.name),
                expected="at least one number",
                found=f"shape {list(main.shape)}",
                advice="leave the file out",
            )
        per_document = len(main.shape) == 3 or (len(main.shape) == 2 and ("tokens" in arrays or bool(others)))
        if "features" in arrays and per_document is False and len(main.shape) == 2 and "labels" in others:
            per_document = len(others["labels"].shape) == 2
        if univariate and len(main.shape) == 2 and main.shape[1] > 1:
            per_document = True
        if per_document:
            yield from _many(source, main, others)
        else:
            yield from _one(source, main, others)


def _many(source: Source, main: Stored, targets: dict[str, Stored]) -> Iterator[Record]:
    """A document per entry of the first axis."""
    for key, array in targets.items():
        if array.shape[:1] != main.shape[:1] or (key == "labels" and array.shape[:2] != main.shape[:2]):
            expected = main.shape[:2] if key == "labels" else main.shape[:1]
            raise data_error(
                source.path,
                source.field(array.name),
                expected=f"shape {list(expected)} to go with array {main.name!r}",
                found=f"shape {list(array.shape)}",
                advice="every document needs its own entry",
            )
    row = 0
    for chunk in main.chunks():
        read = {key: array.read(len(chunk)) for key, array in targets.items()}
        for index, content in enumerate(chunk):
            at = source.row(row + index)
            length = int(read["lengths"][index]) if "lengths" in read else len(content)
            if not 0 < length <= len(content):
                raise data_error(
                    source.path,
                    f"{at}, {source.field(targets['lengths'].name)}",
                    expected=f"1 to {len(content)}",
                    found=length,
                    advice="correct the lengths",
                )
            labels = read["labels"][index][:length].astype(np.int64) if "labels" in read else None
            yield Record(
                f"{source.name}#{row + index}",
                source,
                at,
                label=_label(read["label"][index]) if "label" in read else None,
                labels=labels,
                label_name=next((targets[key].name for key in ("label", "labels") if key in targets), None),
                values=_numbers(source, at, targets["values"], read["values"][index]) if "values" in read else None,
                **_content(source, main, content[:length], at),
            )
        row += len(chunk)


def _one(source: Source, main: Stored, targets: dict[str, Stored]) -> Iterator[Record]:
    """One document along the first axis, in pieces."""
    labels = targets.get("labels")
    for key, array in targets.items():
        if key != "labels" or array.shape[:1] != main.shape[:1]:
            raise data_error(
                source.path,
                source.field(array.name),
                expected=f"labels of shape [{main.shape[0]}] for the one document in array {main.name!r}",
                found=f"{key} of shape {list(array.shape)}",
                advice="targets per document need an array [N, T, F] of documents",
            )
    row = 0
    for chunk in main.chunks():
        at = source.row(row)
        yield Record(
            source.name,
            source,
            at,
            labels=labels.read(len(chunk)).astype(np.int64) if labels else None,
            rows=np.arange(row, row + len(chunk)),
            label_name=labels.name if labels else None,
            **_content(source, main, chunk, at),
        )
        row += len(chunk)


def _content(source: Source, main: Stored, values: NDArray[Any], at: str) -> dict[str, Any]:
    if main.dtype.kind in "iu" and main.name not in USUAL_NAMES["features"] and values.ndim == 1:
        tokens = values.astype(np.int64)
        bad = np.flatnonzero((tokens < 0) | (tokens > 0xFFFF_FFFF))
        if len(bad):
            raise data_error(
                source.path,
                f"{at}, position {bad[0]}, {source.field(main.name)}",
                expected="a token id from 0 to 4294967295",
                found=values[bad[0]],
                advice="correct the array",
            )
        return {"tokens": tokens}
    matrix = values.reshape(len(values), -1)
    step, channel = first_bad(matrix)
    if step >= 0:
        raise not_finite(source, f"{at}, step {step}", f"{main.name}[{channel}]", float(matrix[step, channel]))
    return {"features": matrix.astype(np.float32)}


def _numbers(source: Source, at: str, array: Stored, value: NDArray[Any]) -> NDArray[np.float32]:
    numbers = np.atleast_1d(value).astype(np.float64)
    _, k = first_bad(numbers[None, :])
    if k >= 0:
        raise not_finite(source, at, f"{array.name}[{k}]", float(numbers[k]))
    return numbers.astype(np.float32)


def _label(value: Any) -> Label:  # noqa: ANN401 - any numpy scalar
    return str(value) if isinstance(value, str | bytes) else int(value)


# ---- files


def _open(source: Source, columns: Columns, stack: ExitStack, *, targets: bool) -> dict[str, Stored]:
    """The arrays in use by their role."""
    if source.path.suffix.lower() != ".npz":
        array = _header(source, source.path.stem, stack.enter_context(source.path.open("rb")))
        return {"tokens" if array.dtype.kind in "iu" and len(array.shape) < 3 else "features": array}
    try:
        archive = stack.enter_context(zipfile.ZipFile(source.path))
    except (zipfile.BadZipFile, OSError) as error:
        raise data_error(
            source.path,
            "file",
            expected="a whole .npz file",
            found=str(error).lower(),
            advice="the file is cut or damaged: write or copy it again",
        ) from None
    present = [name.removesuffix(".npy") for name in archive.namelist()]
    given = {key: getattr(columns, key) for key in USUAL_NAMES}
    asked = {key: name[0] if isinstance(name, tuple) and name else name for key, name in given.items()}
    # an array that was named for one role is not found again for another
    free = [name for name in present if name not in asked.values()]
    arrays = {}
    for key, usual in USUAL_NAMES.items():
        if key in TARGETS and not targets:
            continue
        name = asked[key]
        if name and name not in present:
            raise data_error(
                source.path,
                f"data.columns.{key}",
                expected=f"an array {name!r}",
                found="no such array",
                advice=nearest(name, present),
            )
        name = name or next((candidate for candidate in usual if candidate in free), None)
        if name:
            arrays[key] = _header(source, name, stack.enter_context(archive.open(f"{name}.npy")))
    if "features" not in arrays and "tokens" not in arrays:
        raise data_error(
            source.path,
            "file",
            expected=f"an array with the data ({', '.join((*USUAL_NAMES['features'], *USUAL_NAMES['tokens']))})",
            found=", ".join(map(repr, present)) or "none",
            advice="name it with --data.columns.features or .tokens",
        )
    if "features" in arrays and "tokens" in arrays:
        arrays.pop("features" if columns.tokens else "tokens")
    return arrays


def _header(source: Source, name: str, file: IO[bytes]) -> Stored:
    """Shape and type of one array; the stream is then at its first number."""
    try:
        version = npy.read_magic(file)
        read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
        shape, fortran, dtype = read(file)
    except (ValueError, EOFError, zipfile.BadZipFile) as error:
        raise data_error(
            source.path,
            source.field(name),
            expected="a numpy array",
            found=str(error).splitlines()[0],
            advice="write it with numpy.save or numpy.savez",
        ) from None
    if dtype.kind not in "iufbU" or (fortran and len(shape) > 1):
        raise data_error(
            source.path,
            source.field(name),
            expected="numbers (or texts as labels) in C order",
            found="Fortran order" if dtype.kind in "iufbU" else f"type {dtype}",
            advice="write it with numpy.save(path, numpy.ascontiguousarray(array))",
        )
    return Stored(source, name, file, shape, dtype)
