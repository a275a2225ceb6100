"""X and y of an estimator: series of time steps, and values that belong to each of them.

A long table is a frame with a row per time step, a column that says which series a row belongs to, and perhaps one that
says when (or an index of both); the series come in the order in which their ids first occur. Other forms of X are read
in `ssm_hpn.series_forms` and `ssm_hpn.texts`.

Everything array-like is taken (`ssm_hpn.arrays`). NaN is a missing number, and in y no label.
"""

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence, Sized
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from ssm_hpn.arrays import (
    as_written,
    check_collected,
    column_of,
    columns_of,
    describe,
    is_frame,
    is_missing,
    names_of,
    numbers,
)
from ssm_hpn.classes import Classes, check_whole, whole_type
from ssm_hpn.contract import Contract
from ssm_hpn.counts import counted
from ssm_hpn.dates import as_dates
from ssm_hpn.errors import ShapeError, problem, shown
from ssm_hpn.moments import Moments, out_of_range, range_problem, vanishing_problem
from ssm_hpn.warning import warn

Floats = NDArray[np.float64]

FEW_COLUMNS = 7
"""A frame of no more columns is taken for N short series with a warning: it may be a long table."""
LONG_TABLE = "for a table with a row per time step, name the column of the series: id='machine', order='time'"


MOST_PADDED = 1 << 18
"""Time steps, padding included, of one batch in prediction."""


class Series(NamedTuple):
    """The series of X."""

    values: list[Floats]
    """[T, F] each."""
    names: list[str] | None
    """Names of the channels, if X has any."""
    encoder: Mapping[str, Any] | None = None
    """How texts became channels (`ssm_hpn.texts`), if X holds texts."""


class LongTable:
    """A frame with a row per time step.

    Parameters
    ----------
    frame
        Of pandas, polars or Arrow.
    id, order
        Its columns that tell the series of a row, and the time; without `order` rows stay in their order.

    Raises `ShapeError` for a column that is not there, for missing values in these two, and for a frame without a row.

    >>> import pandas as pd
    >>> frame = pd.DataFrame({"unit": ["b", "a", "b"], "t": [1, 0, 0], "x": [2.0, 3.0, 1.0], "state": [5, 6, 5]})
    >>> table = LongTable(frame, id="unit", order="t")
    >>> table.ids, [one.ravel().tolist() for one in table.series(None, without=["state"]).values]
    (['b', 'a'], [[1.0, 2.0], [3.0]])
    >>> table.per_series("state").tolist()
    [5, 6]
    """

    def __init__(self, frame: Any, *, id: str, order: str | None) -> None:  # noqa: A002, ANN401
        check_framed(frame, id)
        self.columns = columns_of(frame, "X")
        self.groups = f"X[{id!r}]"
        """The ids of the rows, as a program writes them."""
        if not len(frame):
            raise ShapeError(problem("X", "a frame of at least one row", f"shape {list(frame.shape)}", "give it rows"))
        self._frame = frame
        self.keys = [id] if order is None else [id, order]
        for key, what in zip(self.keys, ("id", "order"), strict=False):
            self._present(key, what)
        places: dict[Any, int] = {}
        values = self.columns[id].tolist()
        try:
            codes = np.array([places.setdefault(one, len(places)) for one in values], np.int64)
        except TypeError:
            found = f"a {type(values[0]).__name__}"
            raise ShapeError(problem(f"X[{id!r}]", "a name or number in every row", found, "name another id")) from None
        self.ids = list(places)
        """Id of each series."""
        self.codes = codes
        """[rows] the series of each row."""
        keys = (codes,) if order is None else (self._moments(order), codes)
        self._sorted = np.lexsort(keys)
        self._starts = np.cumsum(np.bincount(codes))[:-1]

    @classmethod
    def of_index(cls, frame: Any) -> Self:  # noqa: ANN401
        """A frame of pandas whose index has two levels, the series of a row and its time.

        >>> import pandas as pd
        >>> index = pd.MultiIndex.from_product([["b", "a"], [0, 1]], names=["unit", "t"])
        >>> table = LongTable.of_index(pd.DataFrame({"x": [1.0, 2.0, 3.0, 4.0]}, index=index))
        >>> table.ids, [one.ravel().tolist() for one in table.series(None).values]
        (['b', 'a'], [[1.0, 2.0], [3.0, 4.0]])
        """
        if frame.index.nlevels != 2:
            found, advice = f"{frame.index.nlevels} levels", "join or drop the others, X.droplevel(...)"
            raise ShapeError(problem("X, index", "two levels: the series of a row and its time", found, advice))
        own = ["index level 0", "index level 1"]
        table = cls(frame.set_axis(frame.index.set_names(own)).reset_index(), id=own[0], order=own[1])
        table.groups = "X.index.get_level_values(0)"
        return table

    def _present(self, key: str, what: str) -> None:
        if key not in self.columns:
            there = ", ".join(list(self.columns)[:8])
            if key in (getattr(getattr(self._frame, "index", None), "names", None) or []):
                raise ShapeError(problem(f"X, {what}", f"a column {key!r}", "it in the index", "pass X.reset_index()"))
            raise ShapeError(problem(f"X, {what}", f"a column {key!r}", f"columns {there}", f"correct {what}"))
        column = self.columns[key]
        gone = np.isnat(column) if column.dtype.kind in "mM" else np.array([is_missing(one) for one in column.tolist()])
        if gone.any():
            found = f"{counted(int(gone.sum()), 'missing one')} in {counted(len(column), 'row')}"
            raise ShapeError(problem(f"X[{key!r}]", f"a value of the {what} in every row", found, "drop these rows"))

    def _moments(self, order: str) -> NDArray[Any]:
        """The order column as numbers or dates; texts that are no dates have no order that means time."""
        column = as_dates(self.columns[order])
        if column.dtype.kind in "mM":
            return column
        try:
            return numbers(column, f"X[{order!r}]")
        except ShapeError:
            expected, found = "numbers or dates", f"values such as {shown(column.tolist()[0])}"
            advice = "write dates as 2026-01-31 12:00:00, or convert the column, with pandas.to_datetime for example"
            raise ShapeError(problem(f"X[{order!r}]", expected, found, advice)) from None

    def series(self, names: Sequence[str] | None, *, without: Iterable[str] = ()) -> Series:
        """The series; their channels are the columns of these names, or all but the keys and those `without`."""
        if names is None:
            others = {*self.keys, *without}
            names = [name for name in self.columns if name not in others]
        missing = [name for name in names if name not in self.columns]
        if missing or not names:
            there = ", ".join(self.columns)
            expected = f"a column {missing[0]!r}, as in fit" if missing else "columns of numbers beside the id"
            raise ShapeError(problem("X", expected, f"columns {there}", "give the columns of fit"))
        channels = [np.asarray(_column(self.columns[name], name), np.float64) for name in names]
        rows = np.stack(channels, axis=1)[self._sorted]
        return Series(np.split(rows, self._starts), list(names))

    def per_series(self, y: Any, name: str = "y") -> Any:  # noqa: ANN401 - anything array-like
        """A value for each series, from one per row or per series.

        `y` is the name of a column, or array-like with an entry per row (the same in all rows of a series) or per
        series. Entries per series are matched by the index of a pandas Series where it holds the ids; otherwise they
        have to stand in the order of the ids, which must be sorted so that there is only one.
        """
        if isinstance(y, str):
            y = column_of(self._frame, y, name)
        elif isinstance(y, list | tuple) and y and all(isinstance(one, str) and one in self.columns for one in y):
            expected = "the name of a column as a text, or a value per row or series"
            advice = f"pass {name}={y[0]!r}" if len(y) == 1 else f"pass the columns themselves, X[{list(y)}]"
            raise ShapeError(problem(name, expected, f"a list of names of columns, {list(y)}", advice))
        indexed = self._by_index(y, name)
        if indexed is not None:
            return indexed
        array = as_written(y, name)
        count = len(array) if array.ndim else 0
        if count == len(self.codes):
            return self._of_rows(array, name)
        if count != len(self.ids):
            expected = (
                f"{counted(len(self.codes), 'entry', 'entries')} (one per row) or {len(self.ids)} (one per series)"
            )
            raise ShapeError(problem(name, expected, count, "make them fit"))
        if self.ids != sorted(self.ids, key=lambda one: (str(type(one)), one)):
            expected, found = "entries that say which series they belong to", "an array, and ids out of order in X"
            advice = "pass one per row, or a pandas Series with the ids as index"
            raise ShapeError(problem(name, expected, found, advice))
        return array

    def _by_index(self, y: Any, name: str) -> NDArray[Any] | None:  # noqa: ANN401
        """Entries of a pandas Series or frame whose index holds the ids, in the order of the series."""
        index = getattr(y, "index", None)
        if index is None or callable(index) or len(index) != len(self.ids) or not hasattr(y, "loc"):
            return None
        places = {one: place for place, one in enumerate(index.tolist())}
        if set(places) != set(self.ids):
            return None
        return as_written(y, name)[[places[one] for one in self.ids]]

    def _of_rows(self, array: NDArray[Any], name: str) -> NDArray[Any]:
        """The entry of each series, from one per row."""
        chosen = array[np.unique(self.codes, return_index=True)[1]]
        for row, (one, other) in enumerate(zip(array.tolist(), chosen[self.codes].tolist(), strict=True)):
            if is_missing(one) and is_missing(other):
                continue
            if is_missing(one) or is_missing(other) or one != other:
                where, found = f"{name}, series {self.ids[self.codes[row]]!r}", f"{other!r} and {one!r}"
                raise ShapeError(problem(where, "the same in all its rows", found, "give one per series"))
        return chosen


def check_framed(x: Any, id: str) -> None:  # noqa: A002, ANN401
    """Refuse what is no frame, where the column `id` shall tell the series of a row.

    >>> check_framed([1.0], "machine")
    Traceback (most recent call last):
    ssm_hpn.errors.ShapeError: X: expected a frame with a column 'machine', found a list of 1; leave id and order out
    """
    check_collected(x, "X")
    if not is_frame(x):
        raise ShapeError(problem("X", f"a frame with a column {id!r}", describe(x), "leave id and order out"))


def by_name(columns: dict[str, NDArray[Any]], names: Sequence[str], where: str) -> Floats:
    """[T, F] of a frame whose columns may stand in any order. Raises `ShapeError` for other columns than these.

    >>> by_name({"b": np.array([1, 2]), "a": np.array([3, 4])}, ["a", "b"], "X[0]").tolist()
    [[3.0, 1.0], [4.0, 2.0]]
    """
    if set(columns) != set(names):
        expected, found = ", ".join(names), ", ".join(columns)
        raise ShapeError(
            problem(where, f"columns {expected}", f"columns {found}", "give every series the same columns")
        )
    channels = [np.asarray(_column(columns[name], name, where), np.float64) for name in names]
    return np.stack(channels, axis=1)


def _column(column: NDArray[Any], name: str, where: str = "X") -> NDArray[Any]:
    """A column of numbers."""
    try:
        return numbers(column, f"{where}[{name!r}]")
    except ShapeError as error:
        text = str(error).rpartition("; ")[0]
        raise ShapeError(f"{text}; drop the column, or name it as id or order") from None


def names_of_target(target: Any) -> list[str]:  # noqa: ANN401 - anything array-like
    """The names of the columns that a target is: the text itself, or those of a Series or frame."""
    if is_frame(target):
        names = names_of(target)
    else:
        names = [target if isinstance(target, str) else getattr(target, "name", None)]
    return [name for name in names if isinstance(name, str)]


class Labels(NamedTuple):
    """The labels of a classifier."""

    values: NDArray[Any]
    """[N], as given; undefined where there is none."""
    known: NDArray[np.bool_]
    """[N] whether there is a label."""
    classes: Classes


def labels_of(y: Any) -> Labels:  # noqa: ANN401 - anything array-like
    """Labels in the type in which they are written; None, NaN and NA are none.

    Raises `ShapeError` for one-hot rows, complex numbers, dates and whole numbers beyond 64 bits, `DataError` for types
    that do not go together.

    >>> labels = labels_of([7, None, -1])
    >>> labels.values[labels.known].tolist(), labels.classes.values
    ([7, -1], (-1, 7))
    """
    if isinstance(y, list | tuple):  # of which numpy makes texts where one is a text, and doubles where one is large
        there = [
            one.item() if isinstance(one, np.generic) else one
            for one in y
            if isinstance(one, str | int | float | np.generic) and not is_missing(one)
        ]
        if len(set(map(type, there))) > 1:
            Classes.from_values(there, name="y")
        check_whole(there, "y")
        if whole_type(one for one in there if isinstance(one, int)) == "uint64":
            y = np.array(y, object)
    array = as_written(y, "y")
    if array.ndim == 2 and array.shape[1] > 1:
        advice = "of one-hot rows pass y.argmax(axis=1)"
        raise ShapeError(problem("y", f"[{len(array)}], one label per series", list(array.shape), advice))
    if array.dtype.kind in "cmMV":
        raise ShapeError(problem("y", "labels (numbers, texts, true and false)", array.dtype, "convert them"))
    known = np.ones(array.shape, bool)
    if array.dtype.kind == "f":
        known = ~np.isnan(array)
    elif array.dtype.kind == "O":
        known = np.array([not is_missing(one) for one in array.ravel()], bool).reshape(array.shape)
    classes = Classes.from_values(array[known], name="y")
    for doubt in classes.doubts():
        warn(f"y: {doubt}")
    check_whole(classes.values, "y")
    if array.dtype.kind == "O" and classes.type != "text":  # texts and bytes stay objects
        there = array[known].tolist()
        values = np.array(there, whole_type(there) if classes.type == "integer" else None)
        array = np.zeros(array.shape, values.dtype)
        array[known] = values
    return Labels(array, known, classes)


# ---- checks


def _are_numbers_as_texts(column: NDArray[Any]) -> bool:
    """Whether a column has texts that are all numbers."""
    texts = column.tolist()
    if not all(isinstance(one, str) for one in texts):
        return False
    try:
        list(map(float, texts))
    except ValueError:
        return False
    return True


def checked_frame(frame: Any, *, first: bool) -> Any:  # noqa: ANN401 - a frame of any package
    """The frame, those of pandas without objects such as decimals; warns about one that may be a long table.

    Raises `ShapeError` for columns that are no numbers.
    """
    columns = columns_of(frame, "X")
    objects: dict[Any, NDArray[Any]] = {}
    for name, (text, column) in zip(names_of(frame), columns.items(), strict=True):
        try:
            found = numbers(column, f"X[{text!r}]")
            objects |= {name: found} if column.dtype == object else {}
        except ShapeError as error:
            convert = "make numbers of them, by X.astype(float) for example"
            advice = convert if _are_numbers_as_texts(column) else LONG_TABLE
            raise ShapeError(f"{str(error).rpartition('; ')[0]}; {advice}") from None
    rows = len(frame)
    kinds = {column.dtype.kind for column in columns.values()}
    mixed = "f" in kinds and len(kinds) > 1
    named = all(isinstance(name, str) for name in names_of(frame))  # pandas numbers the columns of arrays
    if first and named and rows > len(columns) and (mixed or len(columns) <= FEW_COLUMNS):
        warn(
            f"X: a frame of {counted(rows, 'row')} and {counted(len(columns), 'column')} is taken for {rows} series of "
            f"{counted(len(columns), 'step')} with one channel; {LONG_TABLE}; "
            "an array (X.to_numpy()) is taken so without a warning"
        )
    if objects and hasattr(frame, "loc"):
        frame = frame.copy()
        for name, column in objects.items():
            frame[name] = column
    return frame


def check_shapes(series: list[Floats], channels: int) -> None:
    """Refuse a series without a step, or with another number of channels."""
    for index, one in enumerate(series):
        if not one.size or one.shape[1] != channels:
            expected = f"an array [T, {channels or 'F'}] with {'T' if channels else 'T and F'} of at least 1"
            raise ShapeError(problem(f"X[{index}]", expected, f"shape {list(one.shape)}", "correct or leave it out"))


def check_finite(series: list[Floats], *, missing_too: bool) -> None:
    """Refuse numbers that are infinite or too large, and NaN where missing numbers are refused."""
    for index, one in enumerate(series):
        bad = out_of_range(one) | np.isnan(one) if missing_too else out_of_range(one)
        if bad.any():
            step, channel = (int(i[0]) for i in np.nonzero(bad))
            where = f"X[{index}], step {step}, channel {channel}"
            advice = "fill or drop such steps" + (", or set missing='mask'" if np.isnan(one[step, channel]) else "")
            raise ShapeError(range_problem(where, float(one[step, channel]), advice))


def check_lengths(series: Sized, targets: NDArray[Any], name: str) -> None:
    """Refuse another number of targets than of series."""
    if len(series) != len(targets):
        raise ShapeError(
            problem(name, f"{counted(len(series), 'target')}, one per series", len(targets), "make them fit")
        )


def statistics(series: Iterable[Floats], names: Sequence[str]) -> Moments:
    """Statistics of columns; refuses one without a number, and numbers that are too large or differ by too little."""
    moments = Moments.empty(len(names))
    for one in series:
        bad = np.argwhere(out_of_range(one))
        if len(bad):
            row, k = (int(i) for i in bad[0])
            raise ShapeError(range_problem(names[k], float(one[row, k]), "correct it"))
        moments.add(one)
    for name, count in zip(names, moments.count, strict=True):
        if not count:
            advice = "give it some, or leave it out"
            raise ShapeError(problem(name, "a number in the training series", "NaN or None for each", advice))
    for k in np.flatnonzero(moments.vanishing).tolist():
        raise ShapeError(vanishing_problem(names[k], float(moments.minimum[k]), float(moments.maximum[k])))
    return moments


def warn_unseen_gaps(series: list[Floats], contract: Contract, become: str) -> None:
    """Warn about channels with missing numbers that had none in fit, and say what these become."""
    totals: dict[str, int] = {}
    for one in series:
        for name, count in contract.unseen_gaps(one).items():
            totals[name] = totals.get(name, 0) + count
    for name, count in totals.items():
        warn(f"X: missing numbers of {name!r} ({count}), which had none in fit, {become}")


def warn_without_numbers(series: list[Floats]) -> None:
    """Say which series have no number at all: nothing is known of them."""
    bare = [index for index, one in enumerate(series) if np.isnan(one).all()]
    if bare:
        first = ", ".join(f"X[{index}]" for index in bare[:3]) + (", …" if bare[3:] else "")
        warn(f"X: {len(bare)} of {len(series)} series have only missing numbers ({first}): nothing is known of them")


def warn_far_out(series: list[Floats], contract: Contract) -> None:
    """Say which channels have numbers that are nothing like those in fit."""
    moments = Moments.empty(len(contract.features))
    for one in series:
        moments.add(one)
    for line in contract.far_out(moments):
        warn(f"X: {line.removeprefix('column ')}")


def marks_of(series: list[Floats]) -> list[bytes]:
    """A digest of the numbers of each series.

    >>> one, other = marks_of([np.zeros((2, 1)), np.zeros((3, 1))])
    >>> one == other
    False
    """
    return [hashlib.blake2b(np.ascontiguousarray(one).tobytes(), digest_size=8).digest() for one in series]


def warn_cut(ids: list[Any], series: list[Floats], trained: Mapping[Any, bytes], groups: str) -> None:
    """Warn about series with the id of one that was trained on, but other rows.

    `trained` has the digest of every series in fit by its id. The same rows again are no part of another series.
    """
    cut = [one for one, mark in zip(ids, marks_of(series), strict=True) if one in trained and trained[one] != mark]
    if cut:
        first = ", ".join(repr(one) for one in cut[:3]) + (", …" if cut[3:] else "")
        warn(
            f"X: {len(cut)} of {len(ids)} series have ids that were trained on, with other rows ({first}): where a "
            "split cut them in two, scores are too good; split by whole series (GroupKFold, with "
            f"{groups} as the groups)"
        )


def with_target(
    series: list[Floats], arrays: dict[str, NDArray[Any]], known: NDArray[np.bool_], used: str = "trained on"
) -> tuple[list[Floats], dict[str, NDArray[Any]]]:
    """The series that have a target, and their targets; warns about those without."""
    if known.all():
        return series, arrays
    without = int((~known).sum())
    warn(f"y: {without} of {len(known)} series have no target (NaN or None) and are not {used}")
    kept = [one for one, there in zip(series, known, strict=False) if there]
    return kept, {name: array[known] for name, array in arrays.items()}


# ---- batches


def batches_without_end(count: int, size: int, random: np.random.Generator) -> Iterator[NDArray[np.int64]]:
    """Batches without end; every series once per pass, a new order in each pass."""
    size = min(size, count)
    while True:
        order = random.permutation(count)
        for start in range(0, count - size + 1, size):
            yield order[start : start + size]


def groups_by_length(order: list[int], lengths: list[int]) -> Iterator[list[int]]:
    """Neighbours of similar length together, as many as stay below `MOST_PADDED` steps."""
    group: list[int] = []
    for index in order:
        if group and (len(group) + 1) * lengths[index] > MOST_PADDED:
            yield group
            group = []
        group.append(index)
    if group:
        yield group
