"""`.npy` and `.npz` files, some documents at a time.

    features  [N, T, F]  N documents of T steps        (float)
              [N, T]     N univariate documents, if there is a target per document; else one document of N steps
              [T]        one univariate document
    tokens    [N, T]     N documents; [T] one document  (whole numbers)
    targets   label [N] (or [N, 1], or one-hot [N, C]), labels [N, T], values [N] or [N, K], lengths [N] (steps
              that count); NaN is no label, and no number to predict

In a `.npz` file the arrays have the names of the columns, or these usual ones: features x X, tokens, label y,
labels, values, lengths. An array in the role of features holds numbers, whole or not. Arrays are read through the file,
never as a whole, and never unpickled.
"""

import math
import zipfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import IO, Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from ssm_hpn.classes import text_of
from ssm_hpn.config.data import Columns, PrepareOptions
from ssm_hpn.counts import counted
from ssm_hpn.errors import DataError
from ssm_hpn.moments import out_of_range, range_problem
from ssm_hpn.prepare.problems import Notes, data_error, nearest, shown
from ssm_hpn.prepare.records import Coded, Documents, Floats, Ints, within
from ssm_hpn.prepare.source import Source
from ssm_hpn.targets import COLUMNS, target_columns

USUAL_NAMES = {
    "features": ("features", "x", "X"),
    "tokens": ("tokens", "input_ids"),
    **{name: (name,) for name in COLUMNS},
    "label": ("label", "y"),
    "lengths": ("lengths",),
}
CHUNK_BYTES = 8 << 20
ADVICE = {
    "c": "store its real part or its absolute values",
    "O": "store it as an array of numbers",
    "M": "store it as numbers, such as seconds since the first",
    "m": "store it as numbers, such as seconds",
    "V": "store its fields as arrays of their own",
}
"""What to do about a type that holds no plain numbers, by its kind."""
OBJECTS = {
    "features": "store one array [N, T, F], padded at the end, and the steps that count as `lengths`",
    "tokens": "store one array [N, T], padded at the end, and the tokens that count as `lengths`",
    **dict.fromkeys(target_columns("class"), "store it as numbers (NaN for no label) or texts (empty for no label)"),
}
"""What to do about an array of Python objects, by the role of the array."""
NOT_FINITE = "correct it, or use NaN for a missing number"


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
        size = math.prod(shape) * self.dtype.itemsize
        data = self.file.read(size)
        if len(data) != size:
            raise _cut(self.source, self.name, size, len(data))
        return np.frombuffer(data, self.dtype).reshape(shape)

    def chunks(self) -> Iterator[NDArray[Any]]:
        """Everything, some megabytes at a time."""
        row_bytes = max(1, math.prod(self.shape[1:]) * self.dtype.itemsize)
        step = max(1, CHUNK_BYTES // row_bytes)
        for start in range(0, self.shape[0], step):
            yield self.read(min(step, self.shape[0] - start))


def read_arrays(
    source: Source,
    options: PrepareOptions,
    *,
    targets: bool = True,
    univariate: bool = False,
    notes: Notes | None = None,
) -> Iterator[Documents]:
    """Documents of a `.npy` or `.npz` file, on demand without targets; univariate: [N, T] are N documents anyway.

    What the shape is taken for goes to `notes`.
    """
    with ExitStack() as stack:
        arrays = _open(source, options.columns, stack, targets=targets)
        role = "features" if "features" in arrays else "tokens"
        main = arrays[role]
        others = {key: array for key, array in arrays.items() if key not in ("features", "tokens")}
        if not main.shape or 0 in main.shape:
            raise data_error(
                source.path,
                source.field(main.name),
                expected="at least one number",
                found=f"shape {list(main.shape)}",
                advice="leave the file out",
            )
        per_document = len(main.shape) == 3 or (len(main.shape) == 2 and (role == "tokens" or bool(others)))
        if role == "features" and len(main.shape) == 2 and others:
            per_document = not all(_per_token(key) and len(array.shape) == 1 for key, array in others.items())
        if univariate and len(main.shape) == 2 and main.shape[1] > 1:
            per_document = True
        if notes is not None and len(main.shape) == 2:
            notes.add_of_file(source.name, "2-D", _guess(main, role, per_document=per_document))
        elif notes is not None and len(main.shape) == 1 and role == "tokens" and not _is_archive(source):
            count, other = main.shape[0], "for numbers store floats [N, T, F]"
            what = f"array {main.name!r} [{count}] is taken for one document of {counted(count, 'token id')}; {other}"
            notes.add_of_file(source.name, "1-D", what)
        found = _many(source, main, role, others) if per_document else _one(source, main, role, others)
        for documents in found:
            yield within(documents, options.max_document)


def _guess(main: Stored, role: str, *, per_document: bool) -> str:
    """What an array [N, T] is taken for, and how to say otherwise."""
    n, t = main.shape
    what, documents = f"array {main.name!r} [{n}, {t}] is taken for", counted(n, "document")
    if role == "tokens":
        return f"{what} {documents} of {counted(t, 'token id')}; for numbers store floats [N, T, F]"
    if per_document:
        other = f"for {documents} of 1 step of {counted(t, 'feature')} store [{n}, 1, {t}]"
        return f"{what} {documents} of {counted(t, 'step')} of 1 feature; {other}"
    other = f"for {documents} of {counted(t, 'step')} store [{n}, {t}, 1]"
    return f"{what} one document of {counted(n, 'step')} of {counted(t, 'feature')}; {other}"


def _is_archive(source: Source) -> bool:
    return source.path.suffix.lower() == ".npz"


def _many(source: Source, main: Stored, role: str, targets: dict[str, Stored]) -> Iterator[Documents]:
    """A document per entry of the first axis."""
    for key, array in targets.items():
        axes = 2 if _per_token(key) else 1
        if array.shape[:axes] != main.shape[:axes]:
            expected = main.shape[:axes]
            raise data_error(
                source.path,
                source.field(array.name),
                expected=f"shape {list(expected)} to go with array {main.name!r}",
                found=f"shape {list(array.shape)}",
                advice="every document needs its own entry",
            )
    row = 0
    steps = main.shape[1]
    for chunk in main.chunks():
        count = len(chunk)
        read = {key: array.read(count) for key, array in targets.items()}
        rows = np.arange(row, row + count)
        lengths = np.full(count, steps)
        if "lengths" in read:
            lengths = _lengths(targets["lengths"], read["lengths"], rows, steps)
        kept = (np.arange(steps) < lengths[:, None]).ravel()
        flat = chunk.reshape(count * steps, -1)
        elements = _checked(main, role, flat, kept, partial(_step_of, row, steps))
        yield Documents(
            source,
            rows,
            elements,
            np.concatenate([[0], np.cumsum(lengths)]),
            targets={
                name: _target(name, targets[name], read[name], np.repeat(rows, steps), kept)
                if _per_token(name)
                else _target(name, targets[name], read[name], rows)
                for name in COLUMNS
                if name in read
            },
            label_name=_label_name(targets),
            channels=_channels(main, elements),
        )
        row += count


def _one(source: Source, main: Stored, role: str, targets: dict[str, Stored]) -> Iterator[Documents]:
    """One document along the first axis, in pieces."""
    for key, array in targets.items():
        if not _per_token(key) or array.shape[:1] != main.shape[:1]:
            raise data_error(
                source.path,
                source.field(array.name),
                expected=f"labels [{main.shape[0]}] of time steps alone, as array {main.name!r} is one document",
                found=f"{key} {list(array.shape)} beside {list(main.shape)}",
                advice="of several documents the array is [N, T, F], or [N, T] for one number per step",
            )
    row = 0
    for chunk in main.chunks():
        count = len(chunk)
        elements = _checked(main, role, chunk.reshape(count, -1), np.ones(count, bool), partial(_row_of, row))
        yield Documents(
            source,
            np.array([row]),
            elements,
            np.array([0, count]),
            numbered=False,
            targets={
                name: _target(name, targets[name], targets[name].read(count), np.arange(row, row + count))
                for name in COLUMNS
                if name in targets
            },
            fresh=np.array([row == 0]),
            label_name=_label_name(targets),
            channels=_channels(main, elements),
        )
        row += count


def _per_token(key: str) -> bool:
    """Whether an array has an entry for each token or time step."""
    return key in COLUMNS and COLUMNS[key].per_token


def _label_name(targets: dict[str, Stored]) -> str | None:
    """Name of the array with the labels: those of documents first."""
    known = target_columns("class")
    return next((targets[key].name for key in sorted(targets, key=_per_token) if key in known), None)


def _target(
    key: str, array: Stored, values: NDArray[Any], rows: Ints, kept: NDArray[np.bool_] | None = None
) -> Coded | Floats:
    """A column of targets from [N, ...], for the entries in `kept` alone; `rows` [N] are their places."""
    is_class = COLUMNS[key].element == "class"
    if not _per_token(key):
        return _classes(array, _one_each(array, values, rows)) if is_class else _values(array, values, rows)
    flat = values.reshape(len(rows), -1)
    if is_class and flat.shape[1] != 1:
        raise data_error(
            array.source.path,
            array.source.field(array.name),
            expected="one label per token or time step",
            found=f"shape {list(array.shape)}",
            advice="of one-hot labels take argmax over the last axis",
        )
    chosen = slice(None) if kept is None else kept
    return _classes(array, flat[chosen, 0]) if is_class else _values(array, flat[chosen], rows[chosen])


def _step_of(row: int, steps: int, index: int) -> tuple[int, int | None]:
    return row + index // steps, index % steps


def _row_of(row: int, index: int) -> tuple[int, int | None]:
    return row + index, None


def _checked(
    main: Stored, role: str, flat: NDArray[Any], kept: NDArray[np.bool_], place: Callable[[int], tuple[int, int | None]]
) -> Ints | Floats:
    """Token ids [units] or features [units, F] of the steps that count."""
    source = main.source

    def at(index: int) -> str:
        row, step = place(int(np.flatnonzero(kept)[index]))
        return source.row(row) if step is None else f"{source.row(row)}, step {step}"

    if role == "tokens":
        if main.dtype.kind not in "iu":
            found = f"type {main.dtype}"
            at_array = source.field(main.name)
            raise data_error(
                source.path, at_array, expected="whole numbers", found=found, advice="name it in data.columns.features"
            )
        tokens = flat.reshape(-1)[kept]
        bad = np.flatnonzero((tokens < 0) | (tokens > 0xFFFF_FFFF))
        if len(bad):
            raise data_error(
                source.path,
                f"{at(int(bad[0])).replace('step', 'position')}, {source.field(main.name)}",
                expected="a token id from 0 to 4294967295",
                found=tokens[bad[0]],
                advice="correct the array",
            )
        return tokens.astype(np.int64)
    if main.dtype.kind not in "iufb":
        found = shown(str(flat.reshape(-1)[0]))
        raise data_error(
            source.path, source.field(main.name), expected="numbers", found=found, advice="convert the array"
        )
    features = flat[kept].astype(np.float64)
    outside = np.argwhere(out_of_range(features))
    if len(outside):
        index, channel = (int(i) for i in outside[0])
        where = f"{source.path}: {at(index)}, {source.field(f'{main.name}[{channel}]')}"
        raise DataError(range_problem(where, float(features[index, channel]), NOT_FINITE))
    return features


def _channels(main: Stored, elements: NDArray[Any]) -> tuple[str, ...]:
    """Names of the features."""
    return tuple(f"{main.name}[{k}]" for k in range(elements.shape[1])) if elements.ndim == 2 else ()


def _lengths(array: Stored, values: NDArray[Any], rows: Ints, steps: int) -> Ints:
    """Steps of each document that count, from [N] or [N, 1]."""
    flat = values.reshape(len(rows), -1)
    wrong = flat.shape[1] != 1 or flat.dtype.kind not in "iuf"
    bad = (
        np.zeros(0, np.int64)
        if wrong
        else np.flatnonzero(~((flat[:, 0] >= 1) & (flat[:, 0] <= steps) & (flat[:, 0] % 1 == 0)))
    )
    if wrong or len(bad):
        source = array.source
        raise data_error(
            source.path,
            source.field(array.name) if wrong else f"{source.row(int(rows[bad[0]]))}, {source.field(array.name)}",
            expected=f"1 to {steps}",
            found=f"shape {list(array.shape)} of {array.dtype}" if wrong else flat[bad[0], 0],
            advice="correct the lengths",
        )
    return flat[:, 0].astype(np.int64)


def _one_each(array: Stored, values: NDArray[Any], rows: Ints) -> NDArray[Any]:
    """One label per document [N], from [N], [N, 1] or one-hot [N, C]."""
    flat = values.reshape(len(rows), -1)
    if flat.shape[1] == 1:
        return flat[:, 0]
    one_hot = (
        flat.dtype.kind in "iufb" and np.isin(flat, (0, 1)).all() and (flat.astype(np.int64).sum(axis=1) == 1).all()
    )
    if not one_hot:
        raise data_error(
            array.source.path,
            array.source.field(array.name),
            expected="one label per document: shape [N], [N, 1], or one-hot [N, C]",
            found=f"shape {list(array.shape)}",
            advice="labels of time steps go into data.columns.labels, numbers to predict into data.columns.values",
        )
    return np.asarray(flat.argmax(axis=1))


def _classes(array: Stored, values: NDArray[Any]) -> Coded:
    """Labels as texts; NaN is none."""
    if array.dtype.kind not in "iufbUS":
        raise data_error(
            array.source.path,
            array.source.field(array.name),
            expected="numbers or texts as labels",
            found=f"type {array.dtype}",
            advice="convert the labels",
        )
    distinct, codes = np.unique(values, return_inverse=True)
    return Coded.of(codes.reshape(-1), [text_of(one) for one in distinct])


def _values(array: Stored, values: NDArray[Any], rows: Ints) -> Floats:
    """Numbers to predict [N, K], NaN for one that is missing."""
    if array.dtype.kind not in "iufb":
        found = shown(str(values.reshape(-1)[0]))
        at = array.source.field(array.name)
        raise data_error(array.source.path, at, expected="numbers", found=found, advice="convert the array")
    numbers = values.reshape(len(rows), -1).astype(np.float64)
    bad = np.argwhere(out_of_range(numbers))
    if len(bad):
        row, k = (int(i) for i in bad[0])
        source = array.source
        where = f"{source.path}: {source.row(int(rows[row]))}, {source.field(f'{array.name}[{k}]')}"
        raise DataError(range_problem(where, float(numbers[row, k]), NOT_FINITE))
    return numbers


# ---- files


def _open(source: Source, columns: Columns, stack: ExitStack, *, targets: bool) -> dict[str, Stored]:
    """The arrays in use by their role."""
    if not _is_archive(source):
        size = source.path.stat().st_size
        array = _header(source, source.path.stem, stack.enter_context(source.path.open("rb")), size)
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
        if key in COLUMNS and not targets:
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
            member = archive.getinfo(f"{name}.npy")
            arrays[key] = _header(source, name, stack.enter_context(archive.open(member)), member.file_size, key)
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


def _cut(source: Source, name: str, expected: int, found: int) -> DataError:
    """The error for an array of which bytes are missing."""
    advice = "the file is cut: write or copy it again"
    return data_error(
        source.path, source.field(name), expected=counted(expected, "more byte"), found=f"{found:,}", advice=advice
    )


def _header(source: Source, name: str, file: IO[bytes], size: int, role: str = "features") -> Stored:
    """Shape and type of one array in `size` bytes, which have all of it; the stream is then at its first number."""
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
    if any(axis < 0 for axis in shape):
        advice = "write it with numpy.save or numpy.savez"
        found = f"shape {list(shape)}"
        raise data_error(source.path, source.field(name), expected="a numpy array", found=found, advice=advice)
    if dtype.kind not in "iufbUS":
        by_role = OBJECTS if dtype.kind == "O" else {}
        advice = by_role.get(role) or ADVICE.get(dtype.kind, "convert it to numbers")
        expected = "numbers (or texts as labels)"
        raise data_error(source.path, source.field(name), expected=expected, found=f"type {dtype}", advice=advice)
    if fortran and len(shape) > 1:
        advice = "store numpy.ascontiguousarray(array)"
        raise data_error(
            source.path, source.field(name), expected="an array in C order", found="Fortran order", advice=advice
        )
    needed, there = math.prod(shape) * dtype.itemsize, size - file.tell()
    if needed > there:
        raise _cut(source, name, needed, there)
    return Stored(source, name, file, shape, dtype)
