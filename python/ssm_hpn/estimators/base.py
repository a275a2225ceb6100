"""What all estimators share: X as series, checked against those of fit, and the contract of the data."""

from dataclasses import dataclass
from typing import Any, Final, get_args

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator
from sklearn.utils import check_array, check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data

from ssm_hpn.arrays import dense, describe, is_frame, names_of, numbers, to_array
from ssm_hpn.contract import Contract, Missing, measured_columns
from ssm_hpn.counts import counted
from ssm_hpn.errors import ConfigError, ShapeError, problem, shown
from ssm_hpn.series import (
    LongTable,
    Series,
    check_finite,
    check_shapes,
    checked_frame,
    marks_of,
    names_of_target,
    series_of,
    statistics,
    warn,
    warn_cut,
    warn_far_out,
    warn_unseen_gaps,
)

Floats = NDArray[np.float64]

MOST_THREADS: Final = 4096
"""As in the core."""


@dataclass(kw_only=True, eq=False, repr=False)
class SequenceEstimator(BaseEstimator):  # type: ignore[misc]
    """Base of all estimators: reading X."""

    missing: Missing = "mask"
    id: str | None = None  # as in `data.columns.id`
    order: str | None = None

    @property
    def _gaps_become(self) -> str:
        """What becomes of missing numbers of a channel that had none in fit."""
        return "are left out, or the last one is held where other channels have numbers"

    # ---- reading X, and values per series

    def _fit_on(self, X: Any, **targets: Any) -> tuple[list[Floats], list[Any]]:  # noqa: ANN401, N803
        """The series of X, and by argument the values that belong to each of them; makes the contract."""
        if "y" in targets and targets["y"] is None:
            raise ValueError(f"{type(self).__name__} requires y to be passed, but the target y is None")
        if self.missing not in get_args(Missing):
            known = " | ".join(get_args(Missing))
            raise ConfigError(problem("missing", known, repr(self.missing), "choose one of these"))
        if self.id is None and self.order is not None:
            raise ConfigError(problem("order", "id beside it", "none", "name the column of the series too"))
        belonging = [None if one is None else self._per_series(X, one, name) for name, one in targets.items()]
        found = self._series(X, list(targets.values()), fitting=True)
        check_finite(found.values, missing_too=self.missing == "refuse")
        self.n_channels_ = found.values[0].shape[1]
        self._named = found.names is not None
        names = found.names or [f"channel {k}" for k in range(self.n_channels_)]
        moments = statistics(found.values, [f"X, {name}" for name in names])
        columns = measured_columns(names, moments, "feature", self.missing)
        self.contract_ = Contract("features", columns, missing=self.missing)
        return found.values, belonging

    def _warn_constant(self) -> None:
        """Tell of channels without variation."""
        if (constant := self.contract_.constant_note()) is not None:
            warn(f"X: {constant}")

    def _read(self, X: Any) -> list[Floats]:  # noqa: ANN401, N803
        """The series of X, checked against those of fit."""
        check_is_fitted(self)
        found = self._series(X, [], fitting=False)
        self._check_channels(found.values)
        check_finite(found.values, missing_too=self.missing == "refuse")
        warn_unseen_gaps(found.values, self.contract_, self._gaps_become)
        warn_far_out(found.values, self.contract_)
        return found.values

    def _check_channels(self, series: list[Floats]) -> None:
        """Refuse other channels than in fit."""
        if len(found := {one.shape[1] for one in series}) == 1 and (one := found.pop()) != self.n_channels_:
            expected = f"{counted(self.n_channels_, 'channel')}, as in fit"
            raise ShapeError(problem("X", expected, one, "give the channels of fit as [N, T, F] or arrays [T, F]"))
        check_shapes(series, self.n_channels_)

    def _series(self, X: Any, targets: list[Any], *, fitting: bool) -> Series:  # noqa: ANN401, N803
        """X as series. In fit, the columns of a frame become the channels."""
        names = None if fitting or not self._named else [column.name for column in self.contract_.features]
        own = [name for target in targets for name in names_of_target(target)]
        found = self._of_table(X, names, own, fitting=fitting) if self.id is not None else series_of(X, names)
        if fitting and found is None and is_frame(X) and (inside := [name for name in own if name in names_of(X)]):
            advice = f"pass X.drop(columns={inside[0]!r})"
            raise ShapeError(problem("X", "no column of the labels", repr(inside[0]), advice))
        if found is None:
            return Series([row[:, None] for row in self._matrix(X, fitting=fitting)], None)
        check_shapes(found.values, found.values[0].shape[1])
        if not fitting and found.names and not self._named:
            warn(f"X: the columns {', '.join(found.names)} are taken for the channels in this order: fit had no names")
        if fitting and getattr(X, "ndim", 0) == 3 and X.shape[1] < X.shape[2]:
            steps, channels = counted(X.shape[1], "step"), counted(X.shape[2], "channel")
            read = f"{list(X.shape)} is read as series of {steps} and {channels}"
            warn(f"X: {read}; where channels come first pass X.transpose(0, 2, 1)")
        if fitting:
            self._on_matrix, self.n_features_in_ = False, found.values[0].shape[1]
            self.__dict__.pop("feature_names_in_", None)
        return found

    def _of_table(self, X: Any, names: list[str] | None, own: list[str], *, fitting: bool) -> Series:  # noqa: ANN401, N803
        """The series of a long table; warns about parts of those that were trained on."""
        table = self._table(X)
        found = table.series(names, without=own)
        if fitting:
            self._trained = dict(zip(table.ids, marks_of(found.values), strict=True))
        else:
            warn_cut(table.ids, found.values, getattr(self, "_trained", {}), str(self.id))
        return found

    def _table(self, X: Any) -> LongTable:  # noqa: ANN401, N803
        return LongTable(X, id=str(self.id), order=self.order)

    def _matrix(self, X: Any, *, fitting: bool) -> Floats:  # noqa: ANN401, N803
        """[N, T] as scikit-learn's own tools pass it, checked by its rules."""
        if is_frame(X):
            X = checked_frame(dense(X), first=fitting)  # noqa: N806
        elif not hasattr(X, "toarray"):
            X = _numbers(to_array(X, "X"))  # noqa: N806
            if X.ndim < 2 or not len(X):
                expected = "[N, T, F], [N, T] or a list of N arrays [T, F], with N of at least 1"
                advice = "Reshape your data: a single series is X[None]"  # words that scikit-learn's checks require
                raise ShapeError(problem("X", expected, describe(X), advice))
            if X.ndim > 2:
                expected = "[N, T, F], [N, T] or a list of N arrays [T, F]"
                raise ShapeError(problem("X", expected, describe(X), "reshape it to series, steps and channels"))
        finite: Any = True if self.missing == "refuse" else "allow-nan"
        rules = {"dtype": np.float64, "ensure_all_finite": finite}
        if fitting or self._on_matrix:
            self._on_matrix = True
            return self._validated(X, fitting=fitting, **rules)
        if self.n_channels_ != 1:
            expected = f"[N, T, {self.n_channels_}], or a list of arrays [T, {self.n_channels_}], as in fit"
            raise ShapeError(problem("X", expected, describe(X), "a single series is X[None]"))
        return np.asarray(check_array(X, **rules))

    def _validated(self, X: Any, *, fitting: bool, **rules: Any) -> Floats:  # noqa: ANN401, N803
        """A matrix of as many steps as in fit, which is scikit-learn's rule."""
        try:
            return np.asarray(validate_data(self, X, reset=fitting, ensure_min_samples=2 if fitting else 1, **rules))
        except ValueError as error:
            if fitting or "is expecting" not in str(error):
                raise
            raise ShapeError(f"{str(error).rstrip('.')}; series of other lengths may be passed as list(X)") from None

    def series_ids(self, X: Any) -> list[Any]:  # noqa: ANN401, N803
        """The ids of a long table's series in the order of the answers: as they first occur.

        >>> import pandas
        >>> from ssm_hpn.estimators import SSMClassifier
        >>> table = {"machine": ["b", "b", "a", "a"], "time": [1, 2, 1, 2], "x": [0.0, 1.0, 2.0, 3.0]}
        >>> SSMClassifier(id="machine", order="time").series_ids(pandas.DataFrame(table))
        ['b', 'a']
        """
        if self.id is None:
            raise ConfigError(problem("id", "the name of a column", "None", "X is no long table"))
        return self._table(X).ids

    def _per_series(self, X: Any, y: Any, name: str = "y") -> Any:  # noqa: ANN401, N803
        return y if self.id is None else self._table(X).per_series(y, name)

    def __sklearn_tags__(self) -> Any:  # noqa: ANN401 - scikit-learn's own
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        tags.input_tags.allow_nan = self.missing != "refuse"
        return tags

    def _seed(self) -> int:
        return int(self._random().randint(2**31 - 1))

    def _random(self) -> np.random.RandomState:
        try:
            random: np.random.RandomState = check_random_state(self.random_state)
        except (ValueError, TypeError):
            expected, found = "a whole number from 0 to 2^32 - 1, a RandomState or None", shown(self.random_state)
            raise ConfigError(problem("random_state", expected, found, "pass one of these")) from None
        return random


def number_of_threads(given: Any) -> int | None:  # noqa: ANN401
    """A number of threads as a plain one, None for all cores."""
    if given is None:
        return None
    whole = isinstance(given, int | np.integer) and not isinstance(given, bool)
    if not whole or not 1 <= given <= MOST_THREADS:
        expected = f"a whole number from 1 to {MOST_THREADS}, or None"
        raise ConfigError(problem("threads", expected, shown(given), "leave it out to use every core"))
    return int(given)


def _numbers(matrix: NDArray[Any]) -> NDArray[Any]:
    """A matrix of numbers; scikit-learn itself refuses complex ones.

    For objects that are no numbers it wants a TypeError in these words.
    """
    if matrix.dtype.kind in "biufc":
        return matrix
    try:
        return numbers(matrix, "X")
    except ShapeError as error:
        if matrix.dtype != object:
            raise
        words = "the argument must be an array of numbers; a string is no number"
        raise TypeError(f"{str(error).rpartition('; ')[0]}; {words}") from None
