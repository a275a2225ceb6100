"""What all estimators share: X as series, checked against those of fit, and the contract of the data."""

from dataclasses import dataclass
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator
from sklearn.utils import check_array, check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data

from ssm_hpn.arrays import column_of, dense, describe, is_frame, names_of, numbers, one_of, to_array, without
from ssm_hpn.columns import Missing, measured_columns
from ssm_hpn.contract import Contract
from ssm_hpn.counts import counted
from ssm_hpn.errors import ConfigError, ShapeError, problem, shown
from ssm_hpn.estimators.threads import MOST_THREADS, worker_share
from ssm_hpn.series import (
    LongTable,
    Series,
    check_finite,
    check_framed,
    check_shapes,
    checked_frame,
    marks_of,
    names_of_target,
    statistics,
    warn_cut,
    warn_far_out,
    warn_unseen_gaps,
    warn_without_numbers,
)
from ssm_hpn.series_forms import Layout, advice_on_channels, check_layout, check_layout_of, series_of
from ssm_hpn.texts import ByteChannels, is_column_of_texts, texts_of
from ssm_hpn.warning import warn

Floats = NDArray[np.float64]


@dataclass(kw_only=True, eq=False, repr=False)
class SequenceEstimator(BaseEstimator):  # type: ignore[misc]
    """Base of all estimators: reading X."""

    layout: Layout = "auto"
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
        one_of(self.missing, "missing", get_args(Missing))
        if self.id is None and self.order is not None:
            raise ConfigError(problem("order", "id beside it", "none", "name the column of the series too"))
        if self.id is not None:
            check_framed(X, str(self.id))
        belonging = [None if one is None else self._per_series(X, one, name) for name, one in targets.items()]
        found = self._series(X, list(targets.values()), fitting=True)
        check_finite(found.values, missing_too=self.missing == "refuse")
        self.n_channels_ = found.values[0].shape[1]
        self._named = found.names is not None
        kind = "byte channel" if found.encoder else "channel"
        names = found.names or [f"{kind} {k}" for k in range(self.n_channels_)]
        moments = statistics(found.values, [f"X, {name}" for name in names])
        warn_without_numbers(found.values)
        columns = measured_columns(names, moments, "feature", self.missing)
        options = self._columns_of_files([] if found.encoder else names, targets)
        encoder = found.encoder or {}
        self.contract_ = Contract("features", columns, encoder=encoder, missing=self.missing, options=options)
        return found.values, belonging

    def _columns_of_files(self, channels: list[str], targets: dict[str, Any]) -> dict[str, Any]:  # noqa: ARG002
        """The settings by which the command line finds the channels and targets of such data in files."""
        return {}

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
        warn_without_numbers(found.values)
        warn_unseen_gaps(found.values, self.contract_, self._gaps_become)
        warn_far_out(found.values, self.contract_)
        return found.values

    def _check_channels(self, series: list[Floats]) -> None:
        """Refuse other channels than in fit."""
        if len(found := {one.shape[1] for one in series}) == 1 and (one := found.pop()) != self.n_channels_:
            expected = f"{counted(self.n_channels_, 'channel')}, as in fit"
            advice = advice_on_channels(series, self.n_channels_, self.layout)
            raise ShapeError(problem("X", expected, one, advice))
        check_shapes(series, self.n_channels_)

    def _series(self, X: Any, targets: list[Any], *, fitting: bool) -> Series:  # noqa: ANN401, N803
        """X as series. In fit, the columns of a frame become the channels."""
        check_layout(self.layout)
        table = self._table(X)
        if fitting:
            self._beside = [] if table is not None else [one for one in targets if isinstance(one, str)]
        if table is None and is_frame(X):
            X = without(X, self._beside)  # noqa: N806
        texts = texts_of(X) if table is None else None
        if not fitting and (texts is not None) != ("channels" in self.contract_.encoder):
            expected, found = ("numbers", "texts") if texts else ("texts", describe(X))
            raise ShapeError(problem("X", f"{expected}, as in fit", found, f"give series of {expected}"))
        if texts is not None:
            return self._spelled(texts, fitting=fitting)
        names = None if fitting or not self._named else [column.name for column in self.contract_.features]
        own = [name for target in targets for name in names_of_target(target)]
        if fitting and table is None and is_frame(X) and (inside := [name for name in own if name in names_of(X)]):
            advice = f"pass the name {inside[0]!r} for the column, or X.drop(columns={inside[0]!r})"
            raise ShapeError(problem("X", "no column of the labels", repr(inside[0]), advice))
        if table is not None:
            series = self._of_table(table, names, own, fitting=fitting)
        elif (forms := series_of(X, names, self.layout)) is not None:
            series = forms
        else:
            return Series([row[:, None] for row in self._matrix(X, fitting=fitting)], None)
        check_layout_of(series, self.layout, fitting=fitting)
        if not fitting and series.names and not self._named:
            columns = ", ".join(series.names)
            warn(f"X: the columns {columns} are taken for the channels in this order: fit had no names")
        if fitting:
            self._on_matrix, self.n_features_in_ = False, series.values[0].shape[1]
            self.__dict__.pop("feature_names_in_", None)
        return series

    def _spelled(self, texts: list[bytes], *, fitting: bool) -> Series:
        """Texts as series of their bytes."""
        if fitting:
            spelling = ByteChannels(self._seed())
            self._on_matrix, self.n_features_in_ = False, spelling.channels
            self.__dict__.pop("feature_names_in_", None)
        else:
            spelling = ByteChannels.from_encoder(self.contract_.encoder)
        return Series(spelling.series(texts), None, spelling.encoder)

    def _of_table(self, table: LongTable, names: list[str] | None, own: list[str], *, fitting: bool) -> Series:
        """The series of a long table; warns about parts of those that were trained on."""
        found = table.series(names, without=own)
        if fitting:
            self._trained = dict(zip(table.ids, marks_of(found.values), strict=True))
            if self.id is None:
                warn(
                    "X: its index is read as the series of a row and its time, a row per time step; for a row per "
                    "series pass X.reset_index(drop=True)"
                )
        else:
            warn_cut(table.ids, found.values, getattr(self, "_trained", {}), table.groups)
        return found

    def _table(self, X: Any) -> LongTable | None:  # noqa: ANN401, N803
        """X as a long table, if it is a frame of which `id` or an index of several levels says so."""
        if not is_frame(X):
            return None
        if self.id is not None:
            return LongTable(X, id=str(self.id), order=self.order)
        return LongTable.of_index(X) if getattr(getattr(X, "index", None), "nlevels", 1) > 1 else None

    def _matrix(self, X: Any, *, fitting: bool) -> Floats:  # noqa: ANN401, N803
        """[N, T] as scikit-learn's own tools pass it, checked by its rules."""
        if is_frame(X):
            self._check_no_texts(X)
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

    def _check_no_texts(self, frame: Any) -> None:  # noqa: ANN401
        """Refuse a frame of one column of texts, which may be meant as the series."""
        names = names_of(frame)
        if len(names) == 1 and is_column_of_texts(frame[names[0]]):
            raise ShapeError(problem("X", "numbers, or a column of texts", "a frame of one", f"pass X[{names[0]!r}]"))

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
        if (table := self._table(X)) is None:
            advice = "of other forms the answers are in the order of X"
            raise ShapeError(problem("X", "a long table, with id or an index of two levels", describe(X), advice))
        return table.ids

    def _per_series(self, X: Any, y: Any, name: str = "y") -> Any:  # noqa: ANN401, N803
        """What belongs to each series of X: values as they are, or a column of X by its name."""
        if (table := self._table(X)) is not None:
            return table.per_series(y, name)
        return column_of(X, y, name) if isinstance(y, str) and is_frame(X) else y

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
    """A number of threads as a plain one. None: the share of a worker of joblib, else None, for all cores.

    >>> number_of_threads(np.int64(2)), number_of_threads(None)
    (2, None)
    """
    if given is None:
        return worker_share()
    whole = isinstance(given, int | np.integer) and not isinstance(given, bool)
    if not whole or not 1 <= given <= MOST_THREADS:
        expected = f"a whole number from 1 to {MOST_THREADS}, or None"
        raise ConfigError(problem("threads", expected, shown(given), "leave it out to use every core"))
    return int(given)


def true_or_false(given: Any, name: str) -> bool:  # noqa: ANN401
    """A parameter that is one of the two.

    >>> true_or_false(np.True_, "causal")
    True
    """
    if not isinstance(given, bool | np.bool_):
        raise ConfigError(problem(name, "True or False", shown(given), "pass one of these"))
    return bool(given)


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
