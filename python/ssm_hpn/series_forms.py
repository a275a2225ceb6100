"""X that is no long table: arrays, lists of arrays and frames, frames with a series in each cell; and their layout.

A layout says which axis of an array has the time steps. `channels_last` is [N, T, F], and [T, F] in lists;
`channels_first` is [N, F, T] and [F, T], as aeon and sktime hold it. `auto` reads channels last, with a note where
series then have fewer steps than channels. Frames have their channels as columns in any layout, where these have names;
those of pandas whose columns are numbered are arrays.
"""

from collections.abc import Sequence
from typing import Any, Literal, NoReturn, get_args

import numpy as np
from numpy.typing import NDArray

from ssm_hpn.arrays import (
    check_collected,
    columns_of,
    describe,
    is_frame,
    is_missing,
    names_of,
    numbers,
    one_of,
    to_array,
)
from ssm_hpn.counts import counted
from ssm_hpn.errors import ShapeError, problem
from ssm_hpn.series import Series, by_name, check_shapes
from ssm_hpn.warning import warn

Layout = Literal["auto", "channels_last", "channels_first"]
Floats = NDArray[np.float64]


def check_layout(layout: Any) -> None:  # noqa: ANN401
    """Refuse anything but a layout.

    >>> check_layout("ntf")
    Traceback (most recent call last):
    ssm_hpn.errors.ConfigError: layout: expected auto | channels_last | channels_first, found 'ntf'; choose one of these
    """
    one_of(layout, "layout", get_args(Layout))


def series_of(x: Any, names: Sequence[str] | None = None, layout: Layout = "auto") -> Series | None:  # noqa: ANN401
    """X as series, or None where it is a matrix, or a frame without series in it.

    Parameters
    ----------
    x
        Anything array-like.
    names
        Of the channels in fit: frames of a list, and columns of cells, give theirs in this order.
    layout
        Of arrays.

    Raises `ShapeError` for an element that is no array [T, F] or [T], and for cells of different lengths in one row.

    >>> [one.shape for one in series_of([np.zeros((4, 2)), np.zeros((3, 2))]).values]
    [(4, 2), (3, 2)]
    >>> series_of(np.zeros((5, 2, 9)), layout="channels_first").values[0].shape
    (9, 2)
    """
    if is_frame(x):
        return _of_cells(x, names)
    if hasattr(x, "toarray") or isinstance(x, str | bytes | dict):
        return None
    if isinstance(x, list | tuple):
        return _of_list(list(x), names, layout)
    array = to_array(x, "X")
    if array.ndim == 1 and array.dtype == object:
        return _of_list(list(array), names, layout)
    if array.ndim != 3 or not len(array):
        return None
    found = np.asarray(numbers(array, "X"), np.float64)
    return Series(list(found.transpose(0, 2, 1) if layout == "channels_first" else found), None)


def _of_list(elements: list[Any], names: Sequence[str] | None, layout: Layout) -> Series | None:
    """A list of arrays [T, F] or [T]; None for a list of numbers, or of lists of numbers of one length."""
    single = [index for index, one in enumerate(elements) if np.isscalar(one) or one is None]
    if len(single) == len(elements):
        return None
    if single:
        expected, found = "an array [T, F] or [T], as before or behind it", describe(elements[single[0]])
        raise ShapeError(problem(f"X[{single[0]}]", expected, found, "pass one array per series"))
    plain = all(isinstance(one, list | tuple) and all(np.ndim(x) == 0 for x in one) for one in elements)
    if plain and len({len(one) for one in elements}) == 1:
        return None
    values = []
    for index, one in enumerate(elements):
        name = f"X[{index}]"
        if is_frame(one) and not (layout == "channels_first" and _is_numbered(one)):
            columns = columns_of(one, name)
            names = list(columns) if names is None else names
            values.append(by_name(columns, names, name))
            continue
        array = np.asarray(numbers(one, name), np.float64)
        if array.ndim not in (1, 2):
            found = f"shape {list(array.shape)}" if array.ndim else describe(one)
            raise ShapeError(problem(name, "an array [T, F] or [T]", found, "pass one array per series"))
        if array.ndim == 1:
            array = array[:, None]
        elif layout == "channels_first":
            array = array.T
        values.append(array)
    framed = any(is_frame(one) and not (layout == "channels_first" and _is_numbered(one)) for one in elements)
    return Series(values, list(names) if framed and names is not None else None)


def _is_numbered(frame: Any) -> bool:  # noqa: ANN401
    """Whether the columns of a frame have numbers for names, as pandas gives them to those of arrays."""
    return all(isinstance(name, int | np.integer) for name in names_of(frame))


# ---- frames with a series in each cell


def _of_cells(frame: Any, names: Sequence[str] | None) -> Series | None:  # noqa: ANN401
    """A frame with a row per series whose columns are channels; None where its cells hold numbers."""
    columns = columns_of(frame, "X")
    first = next((name for name, column in columns.items() if _holds_series(column)), None)
    if first is None:
        return None
    if names is not None and set(names) != set(columns):
        expected, found = f"columns {', '.join(names)}, as in fit", f"columns {', '.join(columns)}"
        raise ShapeError(problem("X", expected, found, "give the columns of fit"))
    names = list(columns) if names is None else list(names)
    channels = [_cells(columns[name], name, first) for name in names]
    values = []
    for row, cells in enumerate(zip(*channels, strict=True)):
        lengths = [len(cell) for cell in cells]
        if len(set(lengths)) > 1:
            k = next(k for k, length in enumerate(lengths) if length != lengths[0])
            found = f"{lengths[0]} in {names[0]!r} and {lengths[k]} in {names[k]!r}"
            raise ShapeError(
                problem(f"X, row {row}", "cells of one length", found, "give every channel the same steps")
            )
        values.append(np.stack(cells, axis=1))
    return Series(values, names)


def _holds_series(column: NDArray[Any]) -> bool:
    """Whether the first cell that is there is array-like."""
    if column.ndim > 1:
        return True
    cells = column.tolist() if column.dtype == object else []
    return _is_series(next((cell for cell in cells if not is_missing(cell)), None))


def _is_series(cell: object) -> bool:
    return hasattr(cell, "__len__") and not isinstance(cell, str | bytes | dict)


def _cells(column: NDArray[Any], name: str, other: str) -> list[Floats]:
    """The cells of a channel, [T] each."""
    found = []
    for row, cell in enumerate(column):
        where = f"X[{name!r}][{row}]"
        check_collected(cell, where)
        if not _is_series(cell):
            seen, advice = repr(cell)[:40], f"drop the {'row' if is_missing(cell) else 'column'}"
            raise ShapeError(problem(where, f"a series in every cell, as in X[{other!r}]", seen, advice))
        array = np.asarray(numbers(cell, where), np.float64)
        if array.ndim != 1:
            seen, advice = f"shape {list(array.shape)}", f"pass list(X[{name!r}]), or a column per channel"
            raise ShapeError(problem(where, "a series [T] of one channel", seen, advice))
        found.append(array)
    return found


# ---- channels and steps that may have changed places


def check_layout_of(found: Series, layout: Layout, *, fitting: bool) -> None:
    """Refuse series of different numbers of channels; note, in fit, that fewer steps than channels may be a layout.

    >>> check_layout_of(Series([np.zeros((2, 8)), np.zeros((2, 9))], None), "auto", fitting=True)
    Traceback (most recent call last):
    ssm_hpn.errors.ShapeError: X[1]: expected an array [T, 8], found shape [2, 9]; channels may come first: pass \
layout='channels_first'
    """
    shapes = [one.shape for one in found.values]
    steps, channels = ({shape[axis] for shape in shapes} for axis in (0, 1))
    named = found.names is not None and not all(map(str.isdecimal, found.names))
    if not named and len(channels) > 1 and len(steps) == 1 and max(steps) < min(channels):
        _refuse_channels(shapes, layout)
    check_shapes(found.values, found.values[0].shape[1])
    if fitting and layout == "auto" and not named and max(steps) < min(channels):
        up_to = "up to " * (len(steps) > 1)
        read = f"{up_to}{counted(max(steps), 'step')} and {counted(max(channels), 'channel')}"
        warn(
            f"X: it is read as series of {read}; where channels come first pass "
            "layout='channels_first', else layout='channels_last', which gives no note"
        )


def _refuse_channels(shapes: list[tuple[int, ...]], layout: Layout) -> NoReturn:
    """Of series of one number of steps that have other channels than the first one."""
    other = next(k for k, shape in enumerate(shapes) if shape != shapes[0])
    expected, seen = f"[T, {shapes[0][1]}]", shapes[other]
    place, instead = "first", "channels_first"
    if layout == "channels_first":
        expected, seen, place, instead = f"[{shapes[0][1]}, T]", seen[::-1], "last", "channels_last"
    advice = f"channels may come {place}: pass layout={instead!r}"
    raise ShapeError(problem(f"X[{other}]", f"an array {expected}", f"shape {list(seen)}", advice))


def advice_on_channels(series: list[Floats], channels: int, layout: Layout) -> str:
    """What to do about series with another number of channels than in fit.

    >>> advice_on_channels([np.zeros((2, 9))], 2, "auto")
    "channels seem to come first: pass X.transpose(0, 2, 1), or set layout='channels_first'"
    """
    if {len(one) for one in series} != {channels}:
        return "give the channels of fit as [N, T, F] or arrays [T, F]"
    if layout == "channels_first":
        return "channels seem to come last: set layout='channels_last'"
    return "channels seem to come first: pass X.transpose(0, 2, 1), or set layout='channels_first'"
