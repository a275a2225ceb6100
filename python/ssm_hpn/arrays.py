"""Array-likes of any package as typed numpy arrays; anything else is refused in a line that names the argument.

Array-like is what numpy takes (nested lists, big-endian, Fortran-ordered and read-only arrays), Series and frames of
pandas, polars and Arrow, tensors on any device, and lists of all these. No package but numpy is imported: tensors are
known by `detach`, frames and series by `to_numpy`.

Missing numbers (None, NaN, NA of pandas, masked elements) become NaN. Complex numbers, texts, dates, and arrays of
named fields are no numbers.
"""

from collections.abc import Collection, Iterable, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ssm_hpn.errors import ConfigError, ShapeError, problem, shown

Floats = NDArray[np.float64]

LARGEST: Final = 2**63 - 1
"""The largest whole number that arguments may be."""
LARGEST_SEED: Final = 2**64 - 1
FEW: Final = 8
"""Names that a message lists."""
_NUMBERS: Final = bool | int | float | np.bool_ | np.integer | np.floating
MISSING: Final = frozenset({"NoneType", "NAType", "NaTType"})
"""Names of the types whose values mark a missing value."""


def to_array(value: object, name: str) -> NDArray[Any]:
    """An array-like as a numpy array, without a copy where none is needed.

    Parameters
    ----------
    value
        Anything array-like, see the head of this module.
    name
        Of the argument, for messages.

    Raises `ShapeError` for lists of different lengths, sparse matrices, and what holds no array.

    >>> to_array([[1, 2], [3, 4]], "x").shape
    (2, 2)
    """
    if isinstance(value, np.ma.MaskedArray):
        return _unmasked(value, name)
    if isinstance(value, np.ndarray):
        return np.asarray(value)
    if hasattr(value, "toarray"):
        raise ShapeError(problem(name, "a dense array", f"a sparse one ({_kind(value)})", f"pass {name}.toarray()"))
    check_collected(value, name)
    try:
        if hasattr(value, "detach"):
            return _of_tensor(value)
        if hasattr(value, "to_numpy") and not hasattr(value, "__array__"):
            return np.asarray(value.to_numpy())
        if isinstance(value, list | tuple):
            return np.asarray([one if _is_plain(one) else to_array(one, name) for one in value])
        found = np.asarray(value)
    except ShapeError:
        raise
    except Exception as error:  # noqa: BLE001 - whatever the other package raises
        raise ShapeError(_unreadable(value, name, error)) from None
    if not found.ndim and found.dtype.kind in "OSUV":
        raise ShapeError(problem(name, "an array", describe(value), "pass numpy arrays or lists of numbers"))
    return found


def as_written(value: object, name: str) -> NDArray[Any]:
    """As `to_array`, but whole numbers and texts with missing ones among them become objects, with None for those.

    >>> as_written(np.ma.masked_array([1, 2], mask=[False, True]), "y").tolist()
    [1, None]
    """
    if isinstance(value, np.ma.MaskedArray) and np.ma.is_masked(value):
        return _objects([None if is_missing(one) else one for one in value.tolist()])
    if is_frame(value) and len(names_of(value)) == 1:
        return as_written(value[names_of(value)[0]], name)[:, None]  # type: ignore[index]
    array = to_array(value, name)
    kind = str(getattr(value, "dtype", getattr(value, "type", ""))).lower()
    if array.dtype.kind != "f" or not kind.startswith(("int", "uint")):
        return array
    listing = ("to_pylist", "to_list", "tolist")  # of Arrow, of Series, of arrays of pandas alone
    elements: Any = next(getattr(value, name)() for name in listing if hasattr(value, name))
    return _objects([None if is_missing(one) else one for one in elements])


def numbers(value: object, name: str) -> NDArray[np.floating[Any]]:
    """Real numbers as float32 where that is their type, else as float64; NaN for missing ones.

    Raises `ShapeError` for anything but real numbers.

    >>> numbers([[True, None]], "x").tolist()
    [[1.0, nan]]
    """
    array = to_array(value, name)
    kind = array.dtype.kind
    if kind == "O":
        return _numbers_of_objects(array, name)
    if kind == "c":
        raise ShapeError(problem(name, "real numbers", f"complex ones ({array.dtype})", f"pass {name}.real or abs"))
    if kind not in "biuf":
        raise ShapeError(problem(name, "numbers", _content(array), f"convert {name} to numbers"))
    return array.astype(np.float32 if array.dtype in (np.float16, np.float32) else np.float64, copy=False)


def whole_numbers(value: object, name: str, *, missing: int | None = None) -> NDArray[np.integer[Any]]:
    """Whole numbers, written as integers, floats or booleans; `missing` in place of NaN and None.

    Raises `ShapeError` for a fraction, for what is no number, and for a missing one where `missing` is None.

    >>> whole_numbers([1.0, None], "y", missing=-1).tolist()
    [1, -1]
    """
    array = to_array(value, name)
    if array.dtype.kind in "biu":
        return array.astype(
            np.uint64 if array.dtype.kind == "u" and array.dtype.itemsize == 8 else np.int64, copy=False
        )
    floats = np.asarray(numbers(array, name), np.float64)
    absent = np.isnan(floats)
    if absent.any() and missing is None:
        raise ShapeError(problem(_place(name, absent), "a whole number", "a missing one", "fill it or leave it out"))
    broken = ~absent & ((np.floor(floats) != floats) | (np.abs(floats) > 2.0**53))
    if broken.any():
        at = floats[broken].flat[0]
        raise ShapeError(problem(_place(name, broken), "a whole number", at, "numbers to predict are another target"))
    return np.where(absent, missing or 0, floats).astype(np.int64)


def whole_number(value: object, name: str, *, least: int = 0, most: int = LARGEST) -> int:
    """One whole number of Python or numpy; true and false are none.

    Raises `ConfigError` for anything else, and for a number outside of `least` to `most`.

    >>> whole_number(np.int64(3), "rows", least=1)
    3
    """
    if isinstance(value, int | np.integer) and not isinstance(value, bool) and least <= int(value) <= most:
        return int(value)
    last = {LARGEST: "2^63 - 1", LARGEST_SEED: "2^64 - 1"}.get(most, most)
    raise ConfigError(problem(name, f"a whole number from {least} to {last}", shown(value), "pass one in this range"))


def one_of(value: object, name: str, known: Sequence[str], advice: str = "choose one of these") -> str:
    """One of these words. Raises `ConfigError` for anything else.

    >>> one_of("b", "letter", ("a", "b"))
    'b'
    >>> one_of(np.eye(1), "letter", ("a", "b"))
    Traceback (most recent call last):
    ssm_hpn.errors.ConfigError: letter: expected a | b, found array([[1.]]); choose one of these
    """
    if isinstance(value, str) and value in known:
        return value
    raise ConfigError(problem(name, " | ".join(known), shown(value), advice))


def whole_numbers_of(values: object, name: str, *, most: int = LARGEST) -> list[int]:
    """A list of whole numbers from 0 to `most`. Raises `ConfigError` for anything else.

    >>> whole_numbers_of((0, np.int64(2)), "layers")
    [0, 2]
    """
    if isinstance(values, str | bytes) or not isinstance(values, Iterable):
        raise ConfigError(problem(name, "a list of whole numbers", shown(values), "pass one in brackets"))
    return [whole_number(one, f"{name}[{place}]", most=most) for place, one in enumerate(values)]


def describe(value: object) -> str:
    """A value in words, for messages: its shape and type, or its kind.

    >>> describe(np.zeros((2, 3))), describe([1, 2]), describe("abc")
    ('[2, 3] (float64)', 'a list of 2', "the text 'abc'")
    """
    if isinstance(value, dict):
        return f"a dictionary of {', '.join(map(repr, list(value)[:4])) or 'nothing'}"
    if isinstance(value, str | bytes):
        return f"the text {value[:40]!r}"
    shape = getattr(value, "shape", None)
    if isinstance(shape, Sequence):
        return f"{list(shape)} ({getattr(value, 'dtype', _kind(value))})"
    return f"a list of {len(value)}" if isinstance(value, list | tuple) else _kind(value)


def check_collected(value: object, name: str) -> None:
    """Refuse a frame of polars whose rows are not computed yet.

    >>> import polars as pl
    >>> check_collected(pl.DataFrame({"x": [1]}).lazy(), "X")
    Traceback (most recent call last):
    ssm_hpn.errors.ShapeError: X: expected a frame with its rows, found a LazyFrame; pass X.collect()
    """
    if _kind(value) == "LazyFrame" and hasattr(value, "collect"):
        raise ShapeError(problem(name, "a frame with its rows", "a LazyFrame", f"pass {name}.collect()"))


def is_frame(value: object) -> bool:
    """Whether a value is a table with named columns: of pandas, polars or Arrow.

    >>> is_frame(np.zeros((2, 2)))
    False
    """
    if isinstance(value, np.ndarray) or not hasattr(value, "shape"):
        return False
    return hasattr(value, "columns") or hasattr(value, "column_names")


def names_of(frame: Any) -> list[Any]:  # noqa: ANN401 - a frame of any package
    """The names of a frame's columns, as they are."""
    return list(getattr(frame, "column_names", None) or frame.columns)


def column_of(frame: Any, wanted: str, name: str) -> Any:  # noqa: ANN401 - a frame of any package
    """A column of a frame by its name as a text. Raises `ShapeError`, about the argument `name`, where there is none.

    >>> import pandas as pd
    >>> column_of(pd.DataFrame({1: [7]}), "1", "y").tolist()
    [7]
    """
    names = names_of(frame)
    for one in names:
        if str(one) == wanted:
            return frame[one]
    more = f" and {len(names) - FEW} more" * (len(names) > FEW)
    there = f"X has {', '.join(map(str, names[:FEW]))}{more}"
    raise ShapeError(problem(name, "a column of X", repr(wanted), there))


def without(frame: Any, names: Collection[str]) -> Any:  # noqa: ANN401 - a frame of any package
    """A frame without some of its columns; one that is not there is no error.

    >>> import pandas as pd
    >>> list(without(pd.DataFrame({"x": [1], "y": [2]}), ["y", "z"]).columns)
    ['x']
    """
    kept = [one for one in names_of(frame) if str(one) not in names]
    return frame.select(kept) if hasattr(frame, "select") else frame[kept]


def dense(frame: Any) -> Any:  # noqa: ANN401 - a frame of any package
    """A frame of pandas with its sparse columns written out; any other one as it is.

    >>> import pandas as pd
    >>> dense(pd.DataFrame({"x": pd.arrays.SparseArray([0, 0, 1])})).dtypes["x"]
    dtype('int64')
    """
    types: Any = getattr(frame, "dtypes", None)
    if not hasattr(types, "items"):
        return frame
    sparse = {name: kind.subtype for name, kind in types.items() if type(kind).__name__ == "SparseDtype"}
    return frame.astype(sparse) if sparse else frame


def columns_of(frame: Any, name: str) -> dict[str, NDArray[Any]]:  # noqa: ANN401 - a frame of any package
    """The columns of a frame by name, [N] each. Raises `ShapeError` for a name that is there twice."""
    names = names_of(frame)
    texts = [str(one) for one in names]
    for one in texts:
        if texts.count(one) > 1:
            raise ShapeError(problem(name, "columns of different names", f"{one!r} twice", "rename or drop one"))
    return {text: to_array(frame[one], f"{name}[{text!r}]") for text, one in zip(texts, names, strict=True)}


def is_missing(value: object) -> bool:
    """Whether an element marks a missing value: None, NaN, NA of pandas.

    >>> is_missing(None), is_missing(float("nan")), is_missing("")
    (True, True, False)
    """
    return type(value).__name__ in MISSING or (isinstance(value, float | np.floating) and bool(np.isnan(value)))


def _is_plain(value: object) -> bool:
    """Whether numpy reads an element of a list by itself."""
    if isinstance(value, list | tuple):
        return all(map(_is_plain, value))
    arrays = hasattr(value, "detach") or hasattr(value, "to_numpy") or hasattr(value, "toarray")
    return not arrays and not isinstance(value, np.ma.MaskedArray)


def _of_tensor(tensor: Any) -> NDArray[Any]:  # noqa: ANN401 - of any package
    """A tensor's values, on any device; types that numpy lacks (bfloat16) as float32."""
    here = tensor.detach()
    here = here.cpu() if hasattr(here, "cpu") else here
    try:
        return np.asarray(here.numpy())
    except TypeError:
        return np.asarray(here.float().numpy())


def _unmasked(array: Any, name: str) -> NDArray[Any]:  # noqa: ANN401 - numpy's masked arrays have no exact type
    """A masked array with NaN where it is masked."""
    if not np.ma.is_masked(array):
        return np.asarray(array.data)
    if array.dtype.kind not in "biuf":
        raise ShapeError(problem(name, "numbers", f"masked {array.dtype}", "fill the masked elements"))
    return np.asarray(array.astype(np.float64).filled(np.nan))


def _numbers_of_objects(array: NDArray[Any], name: str) -> Floats:
    """Elements of any type as numbers, if each is one (or says that it is missing)."""
    flat = np.empty(array.size)
    for index, one in enumerate(array.ravel()):
        if is_missing(one):
            flat[index] = np.nan
        elif isinstance(one, _NUMBERS) or type(one).__name__ in {"Decimal", "Fraction"}:
            try:
                flat[index] = float(one)
            except OverflowError:
                at, found = _index(name, array.shape, index), "a larger one than a double holds"
                raise ShapeError(problem(at, "a number", found, f"choose a larger unit of {name}")) from None
        else:
            found = repr(one) if isinstance(one, str | complex) else _kind(one)
            at = _index(name, array.shape, index)
            raise ShapeError(problem(at, "a number", found[:60], f"convert {name} to numbers"))
    return flat.reshape(array.shape)


def _objects(elements: list[Any]) -> NDArray[Any]:
    """An array [N] of any objects."""
    found = np.empty(len(elements), object)
    found[:] = elements
    return found


def _place(name: str, where: NDArray[np.bool_]) -> str:
    """The argument and the index of the first element that is true: `y[3, 0]`."""
    return _index(name, where.shape, int(where.argmax()))


def _index(name: str, shape: tuple[int, ...], flat: int) -> str:
    """The argument and an index in it: `y[3, 0]`."""
    index = np.unravel_index(flat, shape)
    return f"{name}[{', '.join(str(int(i)) for i in index)}]" if shape else name


def _content(array: NDArray[Any]) -> str:
    kinds = {"U": "texts", "S": "bytes", "M": "dates", "m": "time spans", "V": "named fields"}
    return f"{kinds.get(array.dtype.kind, 'something else')} ({array.dtype})"


def _unreadable(value: object, name: str, error: Exception) -> str:
    if "inhomogeneous" in str(error) or "setting an array element" in str(error):
        return problem(name, "an array", "lists of different lengths", "pad them to one length")
    why = (str(error).splitlines() or [type(error).__name__])[0][:120]
    return problem(name, "an array", f"{_kind(value)} that gives none ({why})", "pass a numpy array")


def _kind(value: object) -> str:
    return type(value).__name__
