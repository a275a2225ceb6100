"""scikit-learn estimators: a sequence classifier that can say "none of these", and a sequence regressor.

X is one of
    [N, T, F]   an array of N series of T steps with F channels
    a list of N arrays [T, F] (or [T]), whose lengths may differ
    [N, T]      N univariate series of equal length, as scikit-learn's own tools hand them over

Needs the extra `sklearn`. Everything that scikit-learn offers around an estimator (pipelines, cross-validation, grid
search, cloning, pickling) works.
"""

from collections.abc import Iterator, Sequence
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ssm_hpn.errors import ConfigError, problem
from ssm_hpn.trainer import Trainer

try:
    from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
    from sklearn.utils import assert_all_finite, check_array, check_random_state
    from sklearn.utils.multiclass import check_classification_targets
    from sklearn.utils.validation import check_is_fitted, column_or_1d, validate_data
except ImportError as error:
    raise ImportError("ssm_hpn.estimators needs scikit-learn; pip install 'ssm-hpn[sklearn]'") from error

Series = list[NDArray[np.float32]]
Floats = NDArray[np.float64]

MOST_PADDED = 1 << 18
"""Time steps, padding included, of one batch in prediction."""


class _SequenceEstimator(BaseEstimator):  # type: ignore[misc]
    """What both have in common: reading X, training, scoring, pickling."""

    n_features_in_: int

    def __init__(  # noqa: PLR0913 - scikit-learn wants every parameter by name
        self,
        *,
        d_model: int = 64,
        n_layers: int = 2,
        d_state: int = 16,
        head: Literal["auto", "prototype", "linear"] = "auto",
        pooling: Literal["last", "mean", "max"] = "mean",
        steps: int = 300,
        batch_size: int = 16,
        lr: float = 3e-3,
        weight_decay: float = 0.01,
        normalize: bool = True,
        threads: int | None = None,
        random_state: int | np.random.RandomState | None = None,
    ) -> None:
        self.d_model = d_model
        self.n_layers = n_layers
        self.d_state = d_state
        self.head = head
        self.pooling = pooling
        self.steps = steps
        self.batch_size = batch_size
        self.lr = lr
        self.weight_decay = weight_decay
        self.normalize = normalize
        self.threads = threads
        self.random_state = random_state

    # ---- reading X

    def _read(self, X: Any, *, fitting: bool) -> Series:  # noqa: ANN401, N803 - scikit-learn's own
        """X as a list of [T, F]; on the first call the number of channels is learned."""
        series = _as_sequences(X)
        if series is None:
            matrix = validate_data(self, X, reset=fitting, dtype=np.float64, ensure_min_samples=2 if fitting else 1)
            series, channels = [row[:, None] for row in matrix], 1
        else:
            channels = series[0].shape[1]
            if fitting:
                self.n_features_in_ = channels
            _check_sequences(series, self.n_features_in_ if hasattr(self, "n_features_in_") else channels)
        if fitting:
            self.n_channels_ = channels
            self._learn_scale(series)
        elif channels != self.n_channels_:
            raise ValueError(
                problem("X", f"{self.n_channels_} channels, as in fit", channels, "give the same channels")
            )
        return [((one - self.mean_) / self.scale_).astype(np.float32) for one in series]

    def _learn_scale(self, series: list[Floats]) -> None:
        """Mean and deviation per channel, over all steps of all series."""
        if not self.normalize:
            self.mean_, self.scale_ = np.zeros(self.n_channels_), np.ones(self.n_channels_)
            return
        steps = np.concatenate(series)
        self.mean_, deviation = steps.mean(axis=0), steps.std(axis=0)
        self.scale_ = np.where(deviation > 1e-12 * np.maximum(np.abs(self.mean_), 1), deviation, 1.0)

    # ---- training

    def _train(self, series: Series, target: dict[str, NDArray[Any]], model: dict[str, Any]) -> None:
        """Train from the start: `steps` updates over random batches, each series once per pass."""
        random = check_random_state(self.random_state)
        seed = int(random.randint(2**31 - 1))
        settings = {
            "model": {
                "input": {"kind": "features", "n_features": self.n_channels_},
                "d_model": self.d_model,
                "n_layers": self.n_layers,
                "block": {"kind": "mamba1", "d_state": self.d_state},
                **model,
            },
            "optim": {"lr": self.lr, "weight_decay": self.weight_decay},
            "train": {"steps": self.steps, "batch_size": self.batch_size, "seed": seed, "threads": self.threads},
        }
        self.trainer_ = Trainer(settings)
        order = _order(len(series), self.batch_size, np.random.default_rng(seed))
        for _ in range(self.steps):
            chosen = next(order)
            batch = _padded([series[i] for i in chosen])
            self.trainer_.step(batch | {name: values[chosen] for name, values in target.items()})
        self.n_iter_ = self.steps

    def _scores(self, series: Series) -> Floats:
        """Scores of every series [N, C or K], a few at a time, long ones apart from short ones."""
        order = sorted(range(len(series)), key=lambda i: len(series[i]))
        found: Floats | None = None
        for group in _groups(order, [len(one) for one in series]):
            scores = self.trainer_.predict(_padded([series[i] for i in group]))
            if found is None:
                found = np.empty((len(series), scores.shape[1]))
            found[group] = scores
        return np.empty((0, 0)) if found is None else found

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


class SSMClassifier(ClassifierMixin, _SequenceEstimator):  # type: ignore[misc]
    """Classifies series by the cosine to class prototypes; a series that is near none of them can be rejected.

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
    trainer_ : the `Trainer` behind it.
    """

    def __init__(  # noqa: PLR0913 - scikit-learn wants every parameter by name
        self,
        *,
        d_model: int = 64,
        n_layers: int = 2,
        d_state: int = 16,
        head: Literal["auto", "prototype", "linear"] = "auto",
        loss: Literal["cosine", "softmax", "margin"] = "cosine",
        pooling: Literal["last", "mean", "max"] = "mean",
        steps: int = 300,
        batch_size: int = 16,
        lr: float = 3e-3,
        weight_decay: float = 0.01,
        normalize: bool = True,
        reject_below: float | None = None,
        reject_label: int | str | None = None,
        threads: int | None = None,
        random_state: int | np.random.RandomState | None = None,
    ) -> None:
        super().__init__(
            d_model=d_model,
            n_layers=n_layers,
            d_state=d_state,
            head=head,
            pooling=pooling,
            steps=steps,
            batch_size=batch_size,
            lr=lr,
            weight_decay=weight_decay,
            normalize=normalize,
            threads=threads,
            random_state=random_state,
        )
        self.loss = loss
        self.reject_below = reject_below
        self.reject_label = reject_label

    def fit(self, X: Any, y: ArrayLike) -> Self:  # noqa: ANN401, N803
        """Train on series X with labels y [N]."""
        series = self._read(X, fitting=True)
        labels = _targets(self, y)
        check_classification_targets(labels)
        _check_lengths(series, labels)
        self.classes_, indices = np.unique(labels, return_inverse=True)
        if len(self.classes_) < 2:
            raise ValueError("y: expected at least two classes, found one class; a classifier has to choose")
        self._reject_value()
        count = len(self.classes_)
        prototype = {"kind": "prototype", "n_classes": count, "loss": {"kind": self.loss}}
        linear = {"kind": "linear", "n_outputs": count, "loss": "softmax", "bias": True}
        heads = {"auto": prototype, "prototype": prototype, "linear": linear}
        if self.head not in heads:
            raise ConfigError(problem("head", " | ".join(heads), repr(self.head), "choose one of these"))
        target = {"kind": "sequence_class", "pooling": self.pooling}
        self._train(series, {"sequence_class": indices.astype(np.int32)}, {"target": target, "head": heads[self.head]})
        return self

    def class_scores(self, X: Any) -> Floats:  # noqa: ANN401, N803
        """[N, C] cosines to the prototypes (logits of a linear head), in the order of `classes_`."""
        check_is_fitted(self)
        return self._scores(self._read(X, fitting=False))

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
        chosen = labels.astype(np.result_type(labels, reject)) if labels.dtype.kind != "O" else labels
        return np.where(scores.max(axis=1) < self.reject_below, reject, chosen)

    def _scale(self) -> float:
        if self.head == "linear":
            return 1.0
        known = "head.scale" in self.trainer_.session.parameter_names()
        return float(self.trainer_.parameter("head.scale")[0]) if known else 16.0

    def _reject_value(self) -> int | str:
        label = self.reject_label
        if label is None:
            label = -1 if self.classes_.dtype.kind in "iufb" else "unknown"
        if self.reject_below is not None and label in self.classes_.tolist():
            raise ConfigError(problem("reject_label", "no label of y", repr(label), "choose another reject_label"))
        return label


class SSMRegressor(RegressorMixin, _SequenceEstimator):  # type: ignore[misc]
    """Predicts a number, or several, from a series.

    Parameters
    ----------
    head
        `linear` (auto): least squares on standardised targets; `prototype`: the cosine to a pole, for one number
        between the smallest and the largest of the training targets.
    d_model, n_layers, d_state, pooling, steps, batch_size, lr, weight_decay, normalize, threads, random_state
        As in `SSMClassifier`.
    """

    def fit(self, X: Any, y: ArrayLike) -> Self:  # noqa: ANN401, N803
        """Train on series X with numbers y [N] or [N, K]."""
        series = self._read(X, fitting=True)
        numbers = _targets(self, y, several=True).astype(np.float64)
        _check_lengths(series, numbers)
        self._single = numbers.ndim == 1
        numbers = numbers.reshape(len(numbers), -1)
        count = numbers.shape[1]
        if self.head in ("auto", "linear"):
            self.target_mean_, deviation = numbers.mean(axis=0), numbers.std(axis=0)
            self.target_scale_ = np.where(deviation > 0, deviation, 1.0)
            head: dict[str, Any] = {"kind": "linear", "n_outputs": count, "loss": "squared", "bias": True}
        elif self.head == "prototype" and count == 1:
            low, high = float(numbers.min()), float(numbers.max())
            self.target_mean_, self.target_scale_ = np.array([(low + high) / 2]), np.array([(high - low) / 2 or 1.0])
            head = {"kind": "prototype", "n_classes": 2, "loss": {"kind": "regression", "low": -1.0, "high": 1.0}}
        else:
            expected, advice = "linear, or prototype for one number", "use head='linear'"
            raise ConfigError(problem("head", expected, f"{self.head!r} for {count}", advice))
        values = ((numbers - self.target_mean_) / self.target_scale_).astype(np.float32)
        target = {"kind": "sequence_values", "pooling": self.pooling, "n_values": count}
        self._train(series, {"sequence_values": values}, {"target": target, "head": head})
        return self

    def predict(self, X: Any) -> Floats:  # noqa: ANN401, N803
        """[N] numbers, or [N, K] if y had K columns."""
        check_is_fitted(self)
        values = self._scores(self._read(X, fitting=False)) * self.target_scale_ + self.target_mean_
        return np.asarray(values[:, 0] if self._single else values)


# ---- reading


def _as_sequences(X: Any) -> list[Floats] | None:  # noqa: ANN401, N803
    """[T, F] arrays in double precision, if X is an array of three axes or a list of arrays; None for a matrix."""
    if isinstance(X, np.ndarray) and X.dtype != object:
        return [np.asarray(one, np.float64) for one in X] if X.ndim == 3 and len(X) else None
    if not isinstance(X, list | tuple | np.ndarray) or len(X) == 0:
        return None
    if not all(isinstance(one, np.ndarray) and one.ndim in (1, 2) and one.dtype.kind in "iuf" for one in X):
        return None
    return [np.asarray(one if one.ndim == 2 else one[:, None], np.float64) for one in X]


def _check_sequences(series: list[Floats], channels: int) -> None:
    for index, one in enumerate(series):
        if not len(one) or one.shape[1] != channels:
            expected = f"an array [T, {channels}] with T of at least 1"
            raise ValueError(problem(f"X[{index}]", expected, f"shape {list(one.shape)}", "correct or leave it out"))
        if not np.isfinite(one).all():
            step, channel = (int(i[0]) for i in np.nonzero(~np.isfinite(one)))
            where = f"X[{index}], step {step}, channel {channel}"
            raise ValueError(problem(where, "a finite number", "NaN or infinity", "fill or drop such steps"))


def _check_lengths(series: Sequence[Any], targets: Sequence[Any] | NDArray[Any]) -> None:
    if len(series) != len(targets):
        raise ValueError(problem("y", f"{len(series)} targets, one per series", len(targets), "make them fit"))


def _targets(estimator: BaseEstimator, y: Any, *, several: bool = False) -> NDArray[Any]:  # noqa: ANN401
    """y as scikit-learn wants it checked: there, finite, one column unless there may be several."""
    if y is None:
        raise ValueError(f"{type(estimator).__name__} requires y to be passed, but the target y is None")
    targets = np.asarray(y)
    if several and targets.ndim == 2 and targets.shape[1] > 1:
        targets = check_array(targets, dtype="numeric", input_name="y", estimator=estimator)
    else:
        targets = column_or_1d(targets, warn=True)
        if targets.dtype.kind == "f":
            assert_all_finite(targets, input_name="y")
    return np.asarray(targets)


# ---- batches


def _padded(series: Series) -> dict[str, NDArray[Any]]:
    """Rows of one series each, padded at the end."""
    length = max(len(one) for one in series)
    features = np.zeros((len(series), length, series[0].shape[1]), np.float32)
    segments = np.zeros((len(series), 3), np.uint32)
    for row, one in enumerate(series):
        features[row, : len(one)] = one
        segments[row] = row, 0, len(one)
    return {"features": features, "segments": segments}


def _order(count: int, size: int, random: np.random.Generator) -> Iterator[NDArray[np.int64]]:
    """Batches without end; every series once per pass, a new order in each pass."""
    size = min(size, count)
    while True:
        order = random.permutation(count)
        for start in range(0, count - size + 1, size):
            yield order[start : start + size]


def _groups(order: list[int], lengths: list[int]) -> Iterator[list[int]]:
    """Neighbours of similar length together, as many as stay below `MOST_PADDED` steps."""
    group: list[int] = []
    for index in order:
        if group and (len(group) + 1) * lengths[index] > MOST_PADDED:
            yield group
            group = []
        group.append(index)
    if group:
        yield group
