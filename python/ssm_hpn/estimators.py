"""scikit-learn estimators: a sequence classifier that can say "none of these", and a sequence regressor.

X is one of
    [N, T, F]    an array of N series of T steps with F channels
    a list       of N arrays or frames [T, F] (or arrays [T]), whose lengths may differ
    [N, T]       N univariate series of equal length, as scikit-learn's own tools hand them over
    a long table a frame with a row per time step, with the parameters `id` and `order` (names of its columns)

in whatever form arrays come: lists, frames of pandas, polars and Arrow, tensors, any number type (`ssm_hpn.arrays`).
Labels are kept as written and answered in the same type. A label of NaN or None is none: the series is not trained on.

Needs the extra `sklearn`. Everything that scikit-learn offers around an estimator (pipelines, cross-validation, grid
search, cloning, pickling) works; a fitted estimator may be used by several threads at once.
"""

from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, Self, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ssm_hpn.arrays import dense, describe, is_frame, names_of, numbers, to_array
from ssm_hpn.classes import text_of
from ssm_hpn.contract import Contract, Missing, Scale, measured_columns
from ssm_hpn.dataset import padded
from ssm_hpn.errors import ConfigError, ShapeError, problem, shown
from ssm_hpn.moments import Moments
from ssm_hpn.series import (
    LongTable,
    Series,
    batches_without_end,
    check_finite,
    check_lengths,
    check_shapes,
    checked_frame,
    groups_by_length,
    labels_of,
    marks_of,
    names_of_target,
    series_of,
    statistics,
    warn,
    warn_cut,
    warn_far_out,
    warn_unseen_gaps,
    with_target,
)
from ssm_hpn.trainer import Trainer

try:
    from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
    from sklearn.metrics import r2_score
    from sklearn.utils import assert_all_finite, check_array, check_random_state
    from sklearn.utils.multiclass import check_classification_targets
    from sklearn.utils.validation import check_is_fitted, column_or_1d, validate_data
except ImportError as error:
    raise ImportError("ssm_hpn.estimators needs scikit-learn; pip install scikit-learn") from error

Channels = list[NDArray[np.float32]]
"""[T, C] each, as the model reads them."""
Floats = NDArray[np.float64]


@dataclass(kw_only=True, eq=False, repr=False)
class _SequenceEstimator(BaseEstimator):  # type: ignore[misc]
    """Base of both estimators: reading X, training, scoring, pickling."""

    d_model: int = 64
    n_layers: int = 2
    d_state: int = 16
    head: Literal["auto", "prototype", "linear"] = "auto"
    pooling: Literal["last", "mean", "max"] = "mean"
    steps: int = 300
    batch_size: int = 16
    lr: float = 3e-3
    weight_decay: float = 0.01
    normalize: bool = True
    missing: Missing = "mask"
    id: str | None = None  # as in `data.columns.id`
    order: str | None = None
    threads: int | None = None
    random_state: int | np.random.RandomState | None = None

    # ---- reading X, and values per series

    def _fit_on(self, X: Any, **targets: Any) -> tuple[list[Floats], list[Any]]:  # noqa: ANN401, N803
        """The series of X, and by argument the values that belong to each of them; makes the contract."""
        if targets["y"] is None:
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
        self.contract_ = Contract("features", columns, missing=self.missing, normalised=self.normalize)
        return found.values, belonging

    def _read(self, X: Any) -> Channels:  # noqa: ANN401, N803
        """Channels of the series of X."""
        check_is_fitted(self)
        found = self._series(X, [], fitting=False)
        check_shapes(found.values, self.n_channels_)
        check_finite(found.values, missing_too=self.missing == "refuse")
        warn_unseen_gaps(found.values, self.contract_)
        warn_far_out(found.values, self.contract_)
        return self._channels(found.values)

    def _channels(self, series: list[Floats]) -> Channels:
        return [self.contract_.channels(one) for one in series]

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
            return np.asarray(validate_data(self, X, reset=fitting, ensure_min_samples=2 if fitting else 1, **rules))
        if self.n_channels_ != 1:
            expected = f"[N, T, {self.n_channels_}], or a list of arrays [T, {self.n_channels_}], as in fit"
            raise ShapeError(problem("X", expected, describe(X), "a single series is X[None]"))
        return np.asarray(check_array(X, **rules))

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

    # ---- training

    def _train(
        self, series: list[Floats], arrays: dict[str, NDArray[Any]], target: dict[str, Any], head: dict[str, Any]
    ) -> None:
        """Train from the start: `steps` updates over random batches, each series once per pass."""
        if (constant := self.contract_.constant_note()) is not None:
            warn(f"X: {constant}")
        random = self._random()
        seed = int(random.randint(2**31 - 1))
        scale = self.contract_.scale
        settings = {
            "model": {
                "input": {"kind": "features", "n_features": self.contract_.n_channels},
                "d_model": self.d_model,
                "n_layers": self.n_layers,
                "block": {"kind": "mamba1", "d_state": self.d_state},
                "target": {**target, "pooling": self.pooling}
                | ({} if scale is None else {"n_values": len(scale.mean), "scale": asdict(scale)}),
                "head": head,
            },
            "optim": {"lr": self.lr, "weight_decay": self.weight_decay},
            "train": {"steps": self.steps, "batch_size": self.batch_size, "seed": seed, "threads": self.threads},
        }
        self.trainer_ = self._made(settings)
        self.trainer_.contract = self.contract_
        channels = self._channels(series)
        order = batches_without_end(len(series), self.batch_size, np.random.default_rng(seed))
        for _ in range(self.steps):
            chosen = next(order)
            batch = padded([channels[i] for i in chosen], "features")
            self.trainer_.step(batch | {name: values[chosen] for name, values in arrays.items()})
        self.n_iter_ = self.steps

    def _random(self) -> np.random.RandomState:
        try:
            random: np.random.RandomState = check_random_state(self.random_state)
        except (ValueError, TypeError):
            expected, found = "a whole number from 0 to 2^32 - 1, a RandomState or None", shown(self.random_state)
            raise ConfigError(problem("random_state", expected, found, "pass one of these")) from None
        return random

    def _made(self, settings: dict[str, Any]) -> Trainer:
        """A trainer of these settings; an error about one of them names the parameter."""
        try:
            return Trainer(settings)
        except ConfigError as error:
            setting, colon, rest = str(error).partition(":")
            name = setting.rpartition(".")[2]
            if name not in self.get_params():
                raise
            raise ConfigError(name + colon + rest) from None

    def _measure(self, y: Any, name: str) -> tuple[Floats, Moments]:  # noqa: ANN401
        """Numbers [N, K] to predict, NaN for a missing one, and their statistics; the contract takes their scale."""
        measured = _measured(y, name)
        self._single = measured.ndim == 1
        measured = measured.reshape(len(measured), -1)
        names = [name] if self._single else [f"{name}[:, {k}]" for k in range(measured.shape[1])]
        moments = statistics([measured], names)
        for column in np.flatnonzero(moments.constant):
            warn(f"{names[column]}: every number is {moments.mean[column]:g}: there is nothing to learn but this one")
        columns = (*self.contract_.features, *measured_columns(names, moments, "value"))
        self.contract_ = replace(self.contract_, columns=columns, scale=Scale.of(moments))
        return measured, moments

    def _answers(self, X: Any) -> Floats:  # noqa: ANN401, N803
        """Scores of every series, [N, C], [N, K] or [N, C + K], computed in batches of similar length."""
        series = self._read(X)
        order = sorted(range(len(series)), key=lambda i: len(series[i]))
        found: Floats | None = None
        for group in groups_by_length(order, [len(one) for one in series]):
            answers = self.trainer_.predict(padded([series[i] for i in group], "features"))
            if found is None:
                found = np.empty((len(series), answers.shape[1]))
            found[group] = answers
        assert found is not None
        return found

    # ---- pickling: the compiled model is stored as its parameters

    def __getstate__(self) -> dict[str, Any]:
        state = dict(super().__getstate__())
        trainer = state.pop("trainer_", None)
        if trainer is not None:
            state["_stored"] = (trainer.config.model_dump(mode="json"), trainer.parameters())
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        stored = state.pop("_stored", None)
        super().__setstate__(state)
        if stored is not None:
            self.trainer_ = Trainer.from_tensors(*stored)
            self.trainer_.contract = self.contract_


@dataclass(kw_only=True, eq=False, repr=False)
class SSMClassifier(ClassifierMixin, _SequenceEstimator):  # type: ignore[misc]
    """Classifies series by the cosine to class prototypes; a series that is near none of them can be rejected.

    With `fit(X, y, values=numbers)` it learns a number per series beside the class, which `predict_values` answers.
    `score` is the accuracy of the classes; that of the numbers is r2_score(numbers, model.predict_values(X)).

    Parameters
    ----------
    d_model, n_layers, d_state
        Width, depth and state size of the model.
    head
        `prototype` (auto): unit prototypes, as far apart as they can be; `linear`: a softmax layer, for comparison.
    loss
        Of the prototype head. `cosine` pulls each series onto its prototype, which leaves unknown ones behind;
        `softmax` (of scaled cosines, the scale is learned) and `margin` only care which prototype is nearest.
    pooling
        How the steps of a series become one vector.
    steps, batch_size, lr, weight_decay
        Updates, series per update, learning rate (warm-up, then half a cosine down), decoupled decay.
    normalize
        Shift and scale each channel by mean and deviation of the training series.
    missing
        What stands for a missing number (NaN): `mask`, the mean of the channel, beside which two further channels tell
        that it is missing and for how long; `forward`, the last one; `zero`; or `refuse` it.
    id, order
        Columns of a long table: the series of a row, and its time (numbers or dates); rows stay in their order without.
    reject_below
        `predict` answers `reject_label` where the largest score lies below; None never rejects.
    reject_label
        Must not be one of the classes; default: -1 for numbers, "unknown" for texts.
    threads, random_state
        The same seed gives the same bits for any number of threads.

    Attributes
    ----------
    classes_ : labels in the order of the scores.
    n_channels_ : channels F.
    contract_ : statistics of the channels, classes, scale of the numbers, and how missing numbers are treated.
    trainer_ : the `Trainer` behind it.

    Examples
    --------
    >>> import numpy as np
    >>> from ssm_hpn.estimators import SSMClassifier
    >>> random = np.random.default_rng(0)
    >>> labels = np.array(["calm", "wild"] * 20)
    >>> series = [random.normal(0, 1 if one == "calm" else 4, size=(30, 2)) for one in labels]
    >>> model = SSMClassifier(d_model=16, n_layers=1, steps=60, random_state=0).fit(series, labels)
    >>> model.predict(series[:2]).tolist(), model.score(series, labels)
    (['calm', 'wild'], 1.0)

    The scores behind the answers, cosines to a prototype per class, and what `reject_below` is compared with:

    >>> model.class_scores(series[:2]).argmax(axis=1).tolist(), (model.decision_function(series[:2]) > 0).tolist()
    ([0, 1], [False, True])
    >>> bool((model.confidence(series) == model.class_scores(series).max(axis=1)).all())
    True
    >>> model.predict_proba(series[:2]).sum(axis=1).round(6).tolist()
    [1.0, 1.0]

    A number beside the class, here of hours until a repair; NaN where it is not known:

    >>> hours = np.where(labels == "calm", 900.0, 100.0)
    >>> model = SSMClassifier(d_model=16, n_layers=1, steps=60, random_state=0).fit(series, labels, values=hours)
    >>> calm, wild = model.predict_values(series[:2])
    >>> bool(calm > wild), model.predict(series[:2]).tolist()
    (True, ['calm', 'wild'])
    """

    loss: Literal["cosine", "softmax", "margin"] = "cosine"
    reject_below: float | None = None
    reject_label: int | str | None = None

    def fit(self, X: Any, y: ArrayLike, values: ArrayLike | None = None) -> Self:  # noqa: ANN401, N803
        """Train on series X with labels y [N], and on numbers `values` [N] beside them if there are any.

        Of a long table, y and `values` are an entry per row or series, or a column's name.
        """
        series, (y, values) = self._fit_on(X, y=y, values=values)
        labels = labels_of(y)
        names, known = column_or_1d(labels.values, warn=True), labels.known.reshape(-1)
        check_lengths(series, names, "y")
        if not known.any():
            raise ShapeError(problem("y", "a label for some of the series", "NaN or None for each", "give it labels"))
        if names.dtype.kind == "f":
            assert_all_finite(names[known], input_name="y")
        if labels.classes.type != "text":  # scikit-learn does not count bytes as labels
            _check_classes(names[known])
        self.classes_, indices = np.unique(names[known], return_inverse=True)
        if len(self.classes_) < 2:
            raise ValueError("y: expected at least two classes, found one class; a classifier has to choose")
        if labels.classes.alone:
            warn(f"y: each of the {len(self.classes_)} classes has one series, and none to be like it")
        self.contract_ = replace(self.contract_, classes=labels.classes)
        self._reject_value()
        codes = np.full(len(names), -1, np.int32)
        codes[known] = indices
        arrays: dict[str, NDArray[Any]] = {"sequence_class": codes}
        target, head = "sequence_class", self._head()
        if values is not None:
            measured, head = self._values(values, head)
            check_lengths(series, measured, "values")
            target, arrays["sequence_values"] = "joint", measured
            known = known | ~np.isnan(measured[:, 0])
        series, arrays = with_target(series, arrays, known)
        self._train(series, arrays, {"kind": target}, head)
        return self

    def _head(self) -> dict[str, Any]:
        count = len(self.classes_)
        prototype = {"kind": "prototype", "n_classes": count, "loss": {"kind": self.loss}}
        linear = {"kind": "linear", "n_outputs": count, "loss": "softmax", "bias": True}
        heads = {"auto": prototype, "prototype": prototype, "linear": linear}
        if self.head not in heads:
            raise ConfigError(problem("head", " | ".join(heads), repr(self.head), "choose one of these"))
        return heads[self.head]

    def _values(self, values: Any, head: dict[str, Any]) -> tuple[Floats, dict[str, Any]]:  # noqa: ANN401
        """Numbers [N, 1] to predict beside the classes, and the head of both."""
        for name, given, allowed in (("head", self.head, ("auto", "prototype")), ("loss", self.loss, ("cosine",))):
            if given not in allowed:
                expected = f"{' or '.join(allowed)} where values are predicted too"
                raise ConfigError(problem(name, expected, repr(given), f"leave {name} out"))
        measured, moments = self._measure(values, "values")
        if measured.shape[1] > 1:
            advice = "predict several with SSMRegressor"
            raise ShapeError(
                problem("values", f"[{len(measured)}], one number per series", list(measured.shape), advice)
            )
        return measured, head | {"loss": {"kind": "joint", **_ends(moments, "values")}}

    def score(self, X: Any, y: Any, sample_weight: ArrayLike | None = None) -> float:  # noqa: ANN401, N803
        """Accuracy over the series that have a label; y as in `fit`."""
        answers, labels = self.predict(X), labels_of(self._per_series(X, y))
        names, known = column_or_1d(labels.values), labels.known.reshape(-1)
        check_lengths(answers, names, "y")
        types = self.contract_.classes.type, labels.classes.type  # type: ignore[union-attr]
        if types[0] != types[1] and not set(types) <= {"integer", "number"}:
            found = types[1] if known.any() else "NaN or None for each"
            raise ShapeError(problem("y", f"labels of the type {types[0]}, as in fit", found, "give the labels of fit"))
        weights = np.ones(len(names)) if sample_weight is None else np.asarray(sample_weight)
        if types[0] == "text":  # bytes are the text that they are
            answers, names = (np.array([text_of(one) for one in each], object) for each in (answers, names))
        _, kept = with_target([], {"right": answers == names, "weights": weights}, known, "scored")
        return float(np.average(kept["right"], weights=kept["weights"]))

    def class_scores(self, X: Any) -> Floats:  # noqa: ANN401, N803
        """[N, C] cosines to the prototypes (logits of a linear head), in the order of `classes_`."""
        answers = self._answers(X)
        return answers[:, : len(self.classes_)]

    def predict_values(self, X: Any) -> Floats:  # noqa: ANN401, N803
        """[N] numbers in the units of the `values` in fit."""
        check_is_fitted(self)
        if self.contract_.scale is None:
            advice = "pass fit(X, y, values=numbers)"
            raise ConfigError(problem("predict_values", "a model of classes and numbers", "one of classes", advice))
        return self._answers(X)[:, -1]

    def decision_function(self, X: Any) -> Floats:  # noqa: ANN401, N803
        """[N, C] scores; for two classes [N], the second one's minus the first one's, as scikit-learn wants it."""
        scores = self.class_scores(X)
        return scores[:, 1] - scores[:, 0] if len(self.classes_) == 2 else scores

    def confidence(self, X: Any) -> Floats:  # noqa: ANN401, N803
        """[N] the largest score: what `reject_below` is compared with."""
        return np.asarray(self.class_scores(X).max(axis=1))

    def predict_proba(self, X: Any) -> Floats:  # noqa: ANN401, N803
        """[N, C] softmax of the scores, cosines scaled as in training (by 16 for the loss that has no scale)."""
        scores = self.class_scores(X) * self._scale()
        odds = np.exp(scores - scores.max(axis=1, keepdims=True))
        return np.asarray(odds / odds.sum(axis=1, keepdims=True))

    def predict(self, X: Any) -> NDArray[Any]:  # noqa: ANN401, N803
        """[N] labels; `reject_label` where no score reaches `reject_below`."""
        scores = self.class_scores(X)
        labels = self.classes_[scores.argmax(axis=1)]
        if self.reject_below is None:
            return np.asarray(labels)
        reject = np.asarray(self._reject_value())
        if labels.dtype.kind == "b" or (labels.dtype.kind in "US") != (reject.dtype.kind in "US"):
            labels = labels.astype(object)  # each prediction in the type of its label
        elif labels.dtype.kind != "O":
            common = np.result_type(labels, reject)  # a double for whole numbers with and without a sign
            labels = labels.astype(object if common.kind == "f" and labels.dtype.kind in "iu" else common)
        return np.where(scores.max(axis=1) < self.reject_below, reject.astype(labels.dtype), labels)

    def _scale(self) -> float:
        if self.head == "linear":
            return 1.0
        known = "head.scale" in self.trainer_.session.parameter_names()
        return float(self.trainer_.parameter("head.scale")[0]) if known else 16.0

    def _reject_value(self) -> int | str | bytes:
        label: int | str | bytes | None = self.reject_label
        kind, first = self.classes_.dtype.kind, self.classes_[0]
        if isinstance(first, bytes) and isinstance(label, str):
            label = label.encode()
        elif isinstance(first, str) and isinstance(label, bytes):
            label = text_of(label)
        elif label is None:
            label = -1 if kind in "iufb" else b"unknown" if kind == "S" else "unknown"
        if self.reject_below is not None and label in self.classes_.tolist():
            raise ConfigError(problem("reject_label", "no label of y", repr(label), "choose another reject_label"))
        return label


@dataclass(kw_only=True, eq=False, repr=False)
class SSMRegressor(RegressorMixin, _SequenceEstimator):  # type: ignore[misc]
    """Predicts a number, or several, from a series.

    Parameters
    ----------
    head
        `linear` (auto): least squares on standardised targets; `prototype`: the cosine to a pole, for one number
        between the smallest and the largest of the training targets.
    d_model, n_layers, d_state, pooling, steps, batch_size, lr, weight_decay, normalize, missing, id, order, threads,
    random_state
        As in `SSMClassifier`.

    Examples
    --------
    >>> import numpy as np
    >>> from ssm_hpn.estimators import SSMRegressor
    >>> series = np.random.default_rng(0).normal(size=(60, 20, 1))
    >>> load = 250_000 + 50_000 * series[:, :, 0].mean(axis=1)
    >>> model = SSMRegressor(d_model=16, n_layers=1, steps=100, random_state=0).fit(series, load)
    >>> bool(model.score(series, load) > 0.5), model.predict(series[:2]).shape
    (True, (2,))
    """

    def fit(self, X: Any, y: ArrayLike) -> Self:  # noqa: ANN401, N803
        """Train on series X with numbers y [N] or [N, K], NaN where one was not measured."""
        series, (y,) = self._fit_on(X, y=y)
        measured, moments = self._measure(y, "y")
        check_lengths(series, measured, "y")
        count = measured.shape[1]
        if self.head in ("auto", "linear"):
            head: dict[str, Any] = {"kind": "linear", "n_outputs": count, "loss": "squared", "bias": True}
        elif self.head == "prototype" and count == 1:
            head = {"kind": "prototype", "loss": {"kind": "regression", **_ends(moments, "y")}}
        else:
            expected, advice = "linear, or prototype for one number", "use head='linear'"
            raise ConfigError(problem("head", expected, f"{self.head!r} for {count}", advice))
        known = np.any(~np.isnan(measured), axis=1)
        series, arrays = with_target(series, {"sequence_values": measured}, known)
        self._train(series, arrays, {"kind": "sequence_values"}, head)
        return self

    def score(self, X: Any, y: Any, sample_weight: ArrayLike | None = None) -> float:  # noqa: ANN401, N803
        """R² over the numbers that are there, the mean of those of several; y as in `fit`."""
        answers = self.predict(X)
        measured = _measured(self._per_series(X, y), "y")
        check_lengths(answers, measured, "y")
        if measured.shape != answers.shape:
            raise ShapeError(problem("y", list(answers.shape), list(measured.shape), "give as many numbers as in fit"))
        weights = np.ones(len(measured)) if sample_weight is None else np.asarray(sample_weight)
        columns = zip(np.atleast_2d(measured.T), np.atleast_2d(answers.T), strict=True)
        there = [(y, found, ~np.isnan(y)) for y, found in columns]
        return float(np.mean([r2_score(y[k], found[k], sample_weight=weights[k]) for y, found, k in there]))

    def predict(self, X: Any) -> Floats:  # noqa: ANN401, N803
        """[N] numbers, or [N, K] if y had K columns."""
        values = self._answers(X)
        return values[:, 0] if self._single else values


def _check_classes(labels: NDArray[Any]) -> None:
    """Refuse numbers with fractions as classes, by scikit-learn's rule and in words that its own checks look for."""
    try:
        check_classification_targets(labels)
    except ValueError as error:
        found = str(error).partition(". ")[0]
        raise ShapeError(problem("y", "classes", found, "predict numbers by SSMRegressor")) from None


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


def _measured(y: Any, name: str) -> Floats:  # noqa: ANN401
    """Numbers to predict, [N] or [N, K], NaN for a missing one."""
    measured = np.asarray(numbers(y, name), np.float64)
    if measured.ndim != 2 or measured.shape[1] == 1:
        measured = column_or_1d(measured, warn=True)
    assert_all_finite(measured[~np.isnan(measured)], input_name=name)
    return measured


def _ends(moments: Moments, name: str) -> dict[str, float]:
    """The smallest and the largest number, as the ends of a pole."""
    if moments.constant[0]:
        found, advice = f"{moments.mean[0]:g} for every series", "use SSMRegressor(head='linear')"
        raise ShapeError(problem(name, "numbers that differ", found, advice))
    return {"low": float(moments.minimum[0]), "high": float(moments.maximum[0])}
