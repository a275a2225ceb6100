"""Classification of series."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import ClassifierMixin
from sklearn.utils.class_weight import compute_class_weight
from sklearn.utils.validation import check_is_fitted, column_or_1d

from ssm_hpn.classes import text_of
from ssm_hpn.closed_form import ClassHead
from ssm_hpn.closed_form.simplex import lifted_cosines
from ssm_hpn.counts import counted
from ssm_hpn.errors import ConfigError, ShapeError, problem, shown
from ssm_hpn.estimators.base import number_of_threads
from ssm_hpn.estimators.class_codes import ClassCodes
from ssm_hpn.estimators.model import SequenceModel, ends
from ssm_hpn.filter_model import FilterModel, Targets
from ssm_hpn.moments import Moments
from ssm_hpn.series import check_lengths, labels_of, with_target

Floats = NDArray[np.float64]


@dataclass(kw_only=True, eq=False, repr=False)
class SSMClassifier(ClassifierMixin, SequenceModel):  # type: ignore[misc]
    """Classifies series by the cosine to class prototypes; a series that is near none of them can be rejected.

    With `fit(X, y, values=numbers)` it learns a number per series beside the class, which `predict_values` answers.
    `score` is the accuracy of the classes; that of the numbers is r2_score(numbers, model.predict_values(X)).

    Parameters
    ----------
    kind
        `features`: random fixed state space filters, pooled, with prototypes that are fitted in closed form.
        `backbone`: a selective state space model, trained by gradients; `d_model` to `tol` are its own.
        `auto`: the backbone where one of these differs from its default, with a warning that says so, else features;
        name the kind where a search tries several values, of which the default is one.
    effort
        Of the features: `fast` (fewer filters), `default`, or `best` (more).
    d_model, n_layers, d_state
        Width, depth and state size of the backbone.
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
    early_stopping, validation_fraction, n_iter_no_change, tol
        Of the backbone. True: a share of the training series (of each class) is held out and evaluated after each pass
        over the others, but no more often than every 10 updates; training ends where the score has not grown by more
        than `tol` in `n_iter_no_change` evaluations in a row, or after `steps` updates, and the best parameters are
        kept. `auto`: where there are 1,000 series or more. Features need none: see `loo_score_`.
    verbose
        1: what is done goes to stderr, as a bar in a terminal and as lines elsewhere.
    layout
        Axes of arrays: `channels_last` ([N, T, F], lists of [T, F]) or `channels_first` ([N, F, T], lists of [F, T]);
        `auto` is channels last, with a note where series then have fewer steps than channels.
    missing
        What stands for a missing number (NaN). `mask`: the filters leave a step out whose channels are all missing,
        and hold a channel that alone is missing; the backbone reads the mean of the channel, beside which two further
        channels tell that it is missing and for how long. `forward`: the last one; `zero`; or `refuse` it.
    id, order
        Columns of a long table: the series of a row, and its time (numbers or dates); rows stay in their order without.
        A frame of pandas with an index of two levels, series and time, needs neither.
    reject_below
        `predict` answers `reject_label` where the largest score lies below; None never rejects.
    reject_label
        Must not be one of the classes; default: -1 for numbers, "unknown" for texts.
    class_weight
        Of the features: a factor of the weights of a class's series by its label (1 for labels left out), or
        `balanced`, in inverse proportion to the number of series: rare classes then count as much as frequent ones.
    threads, random_state
        The same seed gives the same bits: of a backbone for any number of threads, of features for one number of
        them (scores differ by 1e-5 between numbers, as sums in LAPACK do).

    Attributes
    ----------
    classes_ : labels in the order of the scores.
    n_channels_ : channels F.
    contract_ : statistics of the channels, classes, scale of the numbers, and how missing numbers are treated.
    model_ : the fitted model: a `FilterModel` or a `Backbone`.
    loo_score_ : of features: accuracy of the training series, each classified by the fit to all others, by the weights
        of fit; an estimate without a test set. The filters have seen all of them, and the strength of the ridge is the
        best of about twenty for these errors: it may be a little too good.
    alpha_ : of features: the strength of the ridge.
    trainer_ : the `Trainer` of a backbone.
    n_iter_ : of a backbone: updates made.
    validation_scores_, best_score_ : of a backbone with early stopping: minus the mean loss of the held-out series at
        each evaluation, and the largest of these; None without.

    Examples
    --------
    >>> import numpy as np
    >>> from ssm_hpn.estimators import SSMClassifier
    >>> random = np.random.default_rng(0)
    >>> labels = np.array(["calm", "wild"] * 20)
    >>> series = [random.normal(0, 1 if one == "calm" else 4, size=(30, 2)) for one in labels]
    >>> model = SSMClassifier(effort="fast", random_state=0).fit(series, labels)
    >>> model.predict(series[:2]).tolist(), model.score(series, labels)
    (['calm', 'wild'], 1.0)
    >>> model.loo_score_, model.alpha_ > 0
    (1.0, True)

    A selective state space model instead:

    >>> trained = SSMClassifier(kind="backbone", d_model=16, n_layers=1, steps=60, random_state=0).fit(series, labels)
    >>> trained.score(series, labels), trained.n_iter_
    (1.0, 60)

    The scores behind the answers, cosines to a prototype per class, and what `reject_below` is compared with:

    >>> model.class_scores(series[:2]).argmax(axis=1).tolist(), (model.decision_function(series[:2]) > 0).tolist()
    ([0, 1], [False, True])
    >>> bool((model.confidence(series) == model.class_scores(series).max(axis=1)).all())
    True
    >>> model.predict_proba(series[:2]).sum(axis=1).round(6).tolist()
    [1.0, 1.0]

    Texts are series of their bytes:

    >>> lines = ["link is up", "user logged in", "link is down", "user logged out"] * 5
    >>> model = SSMClassifier(effort="fast", random_state=0).fit(lines, ["network", "login"] * 10)
    >>> model.predict(["link is gone", "user logs in"]).tolist()
    ['network', 'login']

    A number beside the class, here of hours until a repair; NaN where it is not known:

    >>> hours = np.where(labels == "calm", 900.0, 100.0)
    >>> model = SSMClassifier(effort="fast", random_state=0).fit(series, labels, values=hours)
    >>> calm, wild = model.predict_values(series[:2])
    >>> bool(calm > wild), model.predict(series[:2]).tolist()
    (True, ['calm', 'wild'])
    """

    loss: Literal["cosine", "softmax", "margin"] = "cosine"
    reject_below: float | None = None
    reject_label: int | str | None = None
    class_weight: Mapping[Any, float] | Literal["balanced"] | None = None

    def fit(
        self,
        X: Any,  # noqa: ANN401, N803
        y: ArrayLike,
        values: ArrayLike | None = None,
        sample_weight: ArrayLike | None = None,
    ) -> Self:
        """Train on series X with labels y [N], and on numbers `values` [N] beside them if there are any.

        `sample_weight` [N] says how much each series counts; one of weight 0 takes no part (only kind="features").
        Of a long table, y, `values` and `sample_weight` are an entry per row or series, or a column's name.
        """
        kind = self._chosen_kind()
        series, (y, values, sample_weight) = self._fit_on(X, y=y, values=values, sample_weight=sample_weight)
        weights = self._sample_weight(sample_weight, len(series), kind)
        found = ClassCodes.of(y, series)
        self.classes_, known = found.classes, found.known
        self.contract_ = replace(self.contract_, classes=found.written)
        self._reject_value()
        of_known = None if weights is None else weights[known]
        class_weight = self._class_weight(found.labels[known], found.codes[known], of_known)
        arrays: dict[str, NDArray[Any]] = {"sequence_class": found.codes}
        if weights is not None:
            arrays["weights"] = weights
        moments = None
        if values is not None:
            arrays["sequence_values"], moments = self._values(values)
            check_lengths(series, arrays["sequence_values"], "values")
            if kind == "features":
                self._check_count(arrays["sequence_values"], weights, "values")
            known = known | ~np.isnan(arrays["sequence_values"][:, 0])
        series, arrays = with_target(series, arrays, known)
        self._warn_constant()
        if kind == "backbone":
            target, head = self._target(moments)
            self._train(series, arrays, target, head)
            return self
        of_class, numbers, weights = (arrays.get(name) for name in ("sequence_class", "sequence_values", "weights"))
        self._fit_filters(series, Targets(of_class, len(self.classes_), numbers, weights, class_weight))
        return self

    def _class_weight(
        self, labels: NDArray[Any], codes: NDArray[Any], weights: Floats | None
    ) -> Floats | Literal["balanced"] | None:
        """The weight of each class [C], by scikit-learn's rules for a dictionary; checks that two classes count."""
        given, each = self.class_weight, np.ones(len(self.classes_))
        if isinstance(given, Mapping):
            each = np.asarray(compute_class_weight(dict(given), classes=self.classes_, y=labels), np.float64)
        elif given is not None and str(given) != "balanced":
            expected, found = "None, 'balanced' or a dictionary of numbers by label", shown(given)
            raise ConfigError(problem("class_weight", expected, found, "pass one of these"))
        wrong = np.flatnonzero(~(np.isfinite(each) & (each >= 0)))
        if len(wrong):
            where = f"class_weight[{self.classes_.tolist()[wrong[0]]!r}]"
            raise ConfigError(problem(where, "a finite number, not below 0", f"{each[wrong[0]]:g}", "correct it"))
        count = int(np.count_nonzero(np.bincount(codes, weights, len(each)) * each))
        if count < 2:
            expected, found = "at least two classes with a weight above 0", counted(count, "class", "classes")
            raise ShapeError(problem("y and its weights", expected, found, "a classifier has to choose"))
        return each if isinstance(given, Mapping) else given

    def _target(self, moments: Moments | None) -> tuple[dict[str, Any], dict[str, Any]]:
        """Target and head of a backbone; `moments` are those of numbers beside the classes."""
        count = len(self.classes_)
        prototype = {"kind": "prototype", "n_classes": count, "loss": {"kind": self.loss}}
        linear = {"kind": "linear", "n_outputs": count, "loss": "softmax", "bias": True}
        heads = {"auto": prototype, "prototype": prototype, "linear": linear}
        if self.head not in heads:
            raise ConfigError(problem("head", " | ".join(heads), repr(self.head), "choose one of these"))
        if moments is None:
            return {"kind": "sequence_class"}, heads[self.head]
        for name, given, allowed in (("head", self.head, ("auto", "prototype")), ("loss", self.loss, ("cosine",))):
            if given not in allowed:
                expected = f"{' or '.join(allowed)} where values are predicted too"
                raise ConfigError(problem(name, expected, repr(given), f"leave {name} out"))
        return {"kind": "joint"}, prototype | {"loss": {"kind": "joint", **ends(moments, "values")}}

    def _values(self, values: Any) -> tuple[Floats, Moments]:  # noqa: ANN401
        """Numbers [N, 1] to predict beside the classes, and their statistics."""
        measured, moments = self._measure(values, "values")
        if measured.shape[1] > 1:
            advice = "predict several with SSMRegressor"
            raise ShapeError(
                problem("values", f"[{len(measured)}], one number per series", list(measured.shape), advice)
            )
        return measured, moments

    def score(self, X: Any, y: Any, sample_weight: ArrayLike | None = None) -> float:  # noqa: ANN401, N803
        """Accuracy over the series that have a label; y as in `fit`."""
        answers, labels = self.predict(X), labels_of(self._per_series(X, y))
        names, known = column_or_1d(labels.values), labels.known.reshape(-1)
        check_lengths(answers, names, "y")
        types = self.contract_.classes.type, labels.classes.type  # type: ignore[union-attr]
        if types[0] != types[1] and not set(types) <= {"integer", "number"}:
            found = types[1] if known.any() else "NaN or None for each"
            raise ShapeError(problem("y", f"labels of the type {types[0]}, as in fit", found, "give the labels of fit"))
        weights = self._score_weights(X, sample_weight, len(names))
        if types[0] == "text":  # bytes are the text that they are
            answers, names = (np.array([text_of(one) for one in each], object) for each in (answers, names))
        _, kept = with_target([], {"right": answers == names, "weights": weights}, known, "scored")
        return float(np.average(kept["right"], weights=kept["weights"]))

    def class_scores(self, X: Any) -> Floats:  # noqa: ANN401, N803
        """[N, C] cosines to the prototypes (logits of a linear head), in the order of `classes_`.

        The features of a series give a point z, of the length 1 where it is sure of a class and near 0 where it is like
        none. The cosine is that of the point above z on the unit sphere of one more dimension: z·p/max(1, ‖z‖).
        """
        check_is_fitted(self)
        if isinstance(self.model_, FilterModel):
            return lifted_cosines(self._points(X), self._class_head().prototypes)
        return self._answers(X)[:, : len(self.classes_)]

    def _points(self, X: Any) -> Floats:  # noqa: ANN401, N803
        """z [N, C - 1] of the features."""
        assert isinstance(self.model_, FilterModel)
        return self.model_.class_scores(self._read(X), threads=number_of_threads(self.threads))

    def _class_head(self) -> ClassHead:
        assert isinstance(self.model_, FilterModel)
        assert self.model_.classes is not None
        return self.model_.classes

    def predict_values(self, X: Any) -> Floats:  # noqa: ANN401, N803
        """[N] numbers in the units of the `values` in fit."""
        check_is_fitted(self)
        if self.contract_.scale is None:
            advice = "pass fit(X, y, values=numbers)"
            raise ConfigError(problem("predict_values", "a model of classes and numbers", "one of classes", advice))
        return self._predicted(X)[:, 0]

    def decision_function(self, X: Any) -> Floats:  # noqa: ANN401, N803
        """[N, C] scores; for two classes [N], the second one's minus the first one's, as scikit-learn wants it."""
        scores = self.class_scores(X)
        return scores[:, 1] - scores[:, 0] if len(self.classes_) == 2 else scores

    def confidence(self, X: Any) -> Floats:  # noqa: ANN401, N803
        """[N] the largest score: what `reject_below` is compared with."""
        return np.asarray(self.class_scores(X).max(axis=1))

    def predict_proba(self, X: Any) -> Floats:  # noqa: ANN401, N803
        """[N, C] probabilities of the classes.

        Of features: a softmax whose scale is fitted to what each training series is taken for by the others. Of a
        backbone: the softmax of the scores, cosines scaled as in training (by 16 for the loss that has no scale).
        """
        check_is_fitted(self)
        if isinstance(self.model_, FilterModel):
            return self._class_head().probabilities(self._points(X))
        scores = self.class_scores(X) * self._scale()
        odds = np.exp(scores - scores.max(axis=1, keepdims=True))
        return np.asarray(odds / odds.sum(axis=1, keepdims=True))

    def predict(self, X: Any) -> NDArray[Any]:  # noqa: ANN401, N803
        """[N] labels; `reject_label` where no score reaches `reject_below`."""
        scores = self.class_scores(X)
        labels = self.classes_[scores.argmax(axis=1)]
        if (bound := self._reject_bound()) is None:
            return np.asarray(labels)
        reject = np.asarray(self._reject_value())
        if labels.dtype.kind == "b" or (labels.dtype.kind in "US") != (reject.dtype.kind in "US"):
            labels = labels.astype(object)  # each prediction in the type of its label
        elif labels.dtype.kind != "O":
            common = np.result_type(labels, reject)  # a double for whole numbers with and without a sign
            labels = labels.astype(object if common.kind == "f" and labels.dtype.kind in "iu" else common)
        return np.where(scores.max(axis=1) < bound, reject.astype(labels.dtype), labels)

    def _scale(self) -> float:
        if self.head == "linear":
            return 1.0
        known = "head.scale" in self.trainer_.session.parameter_names()
        return float(self.trainer_.parameter("head.scale")[0]) if known else 16.0

    def _reject_bound(self) -> float | None:
        given: Any = self.reject_below
        if given is not None and (not isinstance(given, int | float | np.number) or np.isnan(given)):
            raise ConfigError(problem("reject_below", "a number, or None", shown(given), "pass a score, such as 0.5"))
        return None if given is None else float(given)

    def _reject_value(self) -> int | str | bytes:
        label: int | str | bytes | None = self.reject_label
        kind, first = self.classes_.dtype.kind, self.classes_[0]
        if isinstance(first, bytes) and isinstance(label, str):
            label = label.encode()
        elif isinstance(first, str) and isinstance(label, bytes):
            label = text_of(label)
        elif label is None:
            label = -1 if kind in "iufb" else b"unknown" if kind == "S" else "unknown"
        if self._reject_bound() is not None and label in self.classes_.tolist():
            raise ConfigError(problem("reject_label", "no label of y", repr(label), "choose another reject_label"))
        return label
