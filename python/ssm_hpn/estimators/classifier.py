"""Classification of series."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import ClassifierMixin
from sklearn.utils.validation import check_is_fitted, column_or_1d

from ssm_hpn.class_vectors import ClassVectors
from ssm_hpn.classes import text_of
from ssm_hpn.closed_form.heads import class_weights
from ssm_hpn.closed_form.simplex import lifted
from ssm_hpn.config.model import LinearHead
from ssm_hpn.counts import counted
from ssm_hpn.errors import ConfigError, ShapeError, problem, shown
from ssm_hpn.estimators.backbone import Backbone
from ssm_hpn.estimators.base import number_of_threads
from ssm_hpn.estimators.class_codes import (
    ClassCodes,
    check_classes,
    check_type,
    named_classes,
    places_of,
    read_labels,
    weights_by_label,
    with_labels,
)
from ssm_hpn.estimators.decision import DecidingModel
from ssm_hpn.estimators.head_parameters import HeadParameters
from ssm_hpn.estimators.model import Kind, ends
from ssm_hpn.filter_model import FilterModel, Targets
from ssm_hpn.moments import Moments
from ssm_hpn.series import check_lengths, labels_of, with_target
from ssm_hpn.warning import warn

Floats = NDArray[np.float64]


@dataclass(kw_only=True, eq=False, repr=False)
class SSMClassifier(ClassifierMixin, DecidingModel):  # type: ignore[misc]
    """Classifies series by the cosine to class prototypes; a series that is near none of them can be rejected.

    With `fit(X, y, values=numbers)` it learns a number per series beside the class, which `predict_values` answers.
    `score` is the accuracy of the classes; that of the numbers is r2_score(numbers, model.predict_values(X)).
    One thread at a time changes an estimator, and none asks it meanwhile; several may predict by one.

    Parameters
    ----------
    kind
        `features`: random fixed state space filters, pooled, with prototypes that are fitted in closed form.
        `backbone`: a selective state space model, trained by gradients; `d_model` to `tol` are its own.
        `auto`: the backbone where one of these differs from its default, with a warning that says so, else features;
        name the kind where a search tries several values, of which the default is one.
    effort
        Of the features: `fast` (fewer filters), `default`, or `best` (more).
    causal
        Of the features: filters that read forwards alone, and numbers standardised by the training series, so that
        `stream` answers at every step; somewhat less accurate.
    d_model, n_layers, d_state
        Width, depth and state size of the backbone.
    head
        `prototype` (auto): unit prototypes, as far apart as they can be; `linear`: a softmax layer, for comparison.
    loss
        Of the prototype head. `cosine` pulls each series onto its prototype, which leaves unknown ones behind;
        `softmax` (of scaled cosines, the scale is learned) and `margin` only care which prototype is nearest.
    prototypes, prototype_dim, assignment, class_vectors
        Of the prototype head of a backbone: how its prototypes are placed (`auto`, `simplex`, `separated`, `random`),
        and their dimension (None: the classes up to `d_model`; where `values` are predicted too, one of it is theirs).
        With `class_vectors`, a vector by label or [C, numbers] in the order of the sorted labels: `semantic`, where the
        order of the prototypes' cosines is that of the vectors', or `given`, the directions of the vectors themselves;
        or `assignment="semantic"`: prototypes stay where they are placed, and classes with similar vectors get near
        ones, which takes a `prototype_dim` below the number of classes less one.
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
        `predict` answers `reject_label` where `confidence` lies below; None never rejects.
        `reject_threshold(keep=0.95)` is the number at which 95 % of known series are answered.
    reject_label
        Must not be one of the classes; default: -1 for numbers, "unknown" for texts.
    class_weight
        A factor of the weights of a class's series by its label, written as in y (1 for labels left out), or
        `balanced`, in inverse proportion to the number of series: rare classes then count as much as frequent ones.
        `balanced` is for `fit` alone: `partial_fit` and `add_classes` do not know the series to come.
    replay
        Of a backbone: series of each class that are kept for `partial_fit` (a uniform sample of all so far), which
        trains on them beside new ones, so that each class counts as much as an average class of the new ones. 0 keeps
        none: then a backbone forgets classes that no longer come. Features need none: they are fitted to all series.
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
    >>> bool((model.confidence(series) > model.confidence([series[0] * 100])).all())
    True
    >>> model.predict_proba(series[:2]).sum(axis=1).round(6).tolist()
    [1.0, 1.0]

    Texts are series of their bytes:

    >>> lines = ["link is up", "user logged in", "link is down", "user logged out"] * 5
    >>> model = SSMClassifier(effort="fast", random_state=0).fit(lines, ["network", "login"] * 10)
    >>> model.predict(["link is gone", "user logs in"]).tolist()
    ['network', 'login']

    Kept as a checkpoint, which the commands `predict`, `evaluate` and `inspect` read too:

    >>> again = SSMClassifier.load(model.save("lines"))
    >>> again.predict(["link is gone"]).tolist(), again.get_params() == model.get_params()
    (['network'], True)

    A number beside the class, here of hours until a repair; NaN where it is not known:

    >>> hours = np.where(labels == "calm", 900.0, 100.0)
    >>> model = SSMClassifier(effort="fast", random_state=0).fit(series, labels, values=hours)
    >>> calm, wild = model.predict_values(series[:2])
    >>> bool(calm > wild), model.predict(series[:2]).tolist()
    (True, ['calm', 'wild'])
    """

    _targets = ("sequence_class", "joint")

    loss: Literal["cosine", "softmax", "margin"] = "cosine"
    prototypes: Literal["auto", "simplex", "separated", "random", "semantic", "given"] = "auto"
    prototype_dim: int | None = None
    assignment: Literal["given", "semantic"] = "given"
    class_vectors: Mapping[Any, ArrayLike] | ArrayLike | None = None
    reject_below: float | None = None
    reject_label: int | str | None = None
    class_weight: Mapping[Any, float] | Literal["balanced"] | None = None
    replay: int = 0

    def fit(
        self,
        X: Any,  # noqa: ANN401, N803
        y: ArrayLike,
        values: ArrayLike | None = None,
        sample_weight: ArrayLike | None = None,
    ) -> Self:
        """Train on series X with labels y [N], and on numbers `values` [N] beside them if there are any.

        `sample_weight` [N] says how much each series counts; one of weight 0 takes no part.
        Each may be the name of a column of a frame; of a long table also an entry per row or series.
        """
        kind = self._chosen_kind()
        series, (y, values, sample_weight) = self._fit_on(X, y=y, values=values, sample_weight=sample_weight)
        weights = self._sample_weight(sample_weight, len(series))
        found = ClassCodes.of(y, series)
        self.classes_ = found.classes
        self.contract_ = replace(self.contract_, classes=found.written)
        self._reject_value(self.classes_)
        class_weight = self._class_weight(self.classes_)
        self._check_two(found.codes, weights, class_weight)
        numbers, moments = (None, None) if values is None else self._values(values, series, weights, kind)
        series, arrays = self._arrays(series, found.codes, numbers, weights)
        self._warn_constant()
        if kind == "backbone":
            self._train(series, self._weighted(arrays, class_weight), *self._target(moments))
        else:
            self._fit_filters(series, self._filter_targets(arrays, class_weight))
        return self

    def partial_fit(
        self,
        X: Any,  # noqa: ANN401, N803
        y: ArrayLike,
        classes: ArrayLike | None = None,
        sample_weight: ArrayLike | None = None,
        *,
        values: ArrayLike | None = None,
        add_classes: bool = False,
    ) -> Self:
        """Learn from some series more, with targets and weights as in `fit`.

        The first call fixes channels and their statistics, the classes (those of `classes`, or of y where it is left
        out), the scale of `values`, and the filters of features. Labels that are none of the classes are refused,
        unless `add_classes` made them classes before; with `add_classes=True` it is called for them here.

        Features: heads are fitted anew to all series so far, with the same result as a fit to all of them with the
        filters of the first call. Up to 3,072 series are kept for it (they are part of a pickle). Of more, that many
        landmarks stay, and memory no longer grows: what the heads weigh is then within the span of the landmarks'
        features, also for classes that come later. After `fit` it goes on where that had no more series than these,
        of 64 MB in all; a pickle has them, a checkpoint has not.

        Backbone: one pass, an update for each `batch_size` of these series, by an optimiser that goes on from call to
        call, or after `fit`; its learning rate stays at `lr` after the warm-up (after `fit`, where it ended). With
        `replay`, each update has series of earlier calls beside the new ones.

        >>> import numpy as np
        >>> from ssm_hpn.estimators import SSMClassifier
        >>> t = np.arange(40.0)
        >>> series = [np.sin(t * f) + np.random.default_rng(f).normal(0, 0.1, 40) for f in (1, 2, 3) * 10]
        >>> labels = ["slow", "middle", "fast"] * 10
        >>> model = SSMClassifier(effort="fast", random_state=0)
        >>> model = model.partial_fit(series[:20], labels[:20], classes=["fast", "middle", "slow"])
        >>> model.partial_fit(series[20:], labels[20:]).score(series, labels)
        1.0
        >>> model.partial_fit(series[:2] * 3, ["new"] * 6)  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        ssm_hpn.errors.ShapeError: y: expected a class ('fast', 'middle', 'slow'), found 'new'; call add_classes([...
        """
        kind, first = self._begin_part()
        self._check_not_balanced("partial_fit")
        read = self._fit_on if first else self._read_part
        series, (y, values, sample_weight) = read(X, y=y, values=values, sample_weight=sample_weight)
        weights = self._sample_weight(sample_weight, len(series))
        labels = read_labels(y, series)
        before = None if first else (self.classes_, self.contract_.classes)
        found = named_classes(labels, classes, before, add_classes=add_classes)
        self._reject_value(found.classes)
        class_weight, moments, numbers = self._class_weight(found.classes), None, None
        if not first and (values is None) != (self.contract_.scale is None):
            expected, there = ("no numbers", "some") if self.contract_.scale is None else ("numbers", "none")
            advice = "pass them in each call or in none"
            raise ShapeError(problem("values", f"{expected}, as in the call before", there, advice))
        if values is not None and first:
            numbers, moments = self._values(values, series, weights, kind)
        elif values is not None:
            numbers = self._numbers_again(values, "values", series)
        if found.places is not None:
            self._check_head()
        codes = np.full(len(series), -1, np.int32)
        codes[labels.known] = places_of(labels.values[labels.known], found.classes)
        series, arrays = self._arrays(series, codes, numbers, weights)
        contract = replace(self.contract_, classes=found.written)
        if found.places is not None:
            self._make_room(contract, found.places)
            assert self.contract_.classes is not None
            for doubt in found.written.doubts(self.contract_.classes, labels.classes):
                warn(f"y: {doubt}")
        self.classes_, self.contract_ = found.classes, contract
        if found.seen < 2:
            only = labels.classes.values[0]
            warn(f"y: all series so far are of one class, {only!r}, which is answered for every series")
        if kind == "backbone":
            begun = self._target(moments) if first else None
            self._grow_backbone(series, self._weighted(arrays, class_weight), begun)
        else:
            self._grow(series, self._filter_targets(arrays, class_weight), first=first)
        return self

    def add_classes(self, names: Sequence[Any]) -> Self:
        """Let the fitted model have further classes, which `partial_fit` then learns; names are written as in y.

        Until it does, all scores of the old classes stay as they are, to the bit. Of features the score of a new class
        is 0, so that no series becomes one. Of a backbone it is the cosine to the prototype that the class gets: no old
        one moves, and the new one lies where its nearest prototype is farthest.

        Raises `DataError` for names that are no new classes, by type too, `ShapeError` for whole numbers beyond 64 bits
        and numbers with fractions, and `ConfigError` for `head="linear"`, where there is no room for a further
        prototype, for `class_weight="balanced"`, and for a model of features whose series are not kept.

        >>> import numpy as np
        >>> from ssm_hpn.estimators import SSMClassifier
        >>> t = np.arange(40.0)
        >>> series = [np.sin(t * f) + np.random.default_rng(f).normal(0, 0.1, 40) for f in (1, 2, 3) * 10]
        >>> labels = np.array(["slow", "middle", "fast"] * 10)
        >>> old = [one for one, label in zip(series, labels) if label != "fast"]
        >>> model = SSMClassifier(effort="fast", random_state=0).fit(old, labels[labels != "fast"])
        >>> model.add_classes(["fast"]).classes_.tolist(), model.predict(series[2:3]).item() == "fast"
        (['fast', 'middle', 'slow'], False)
        >>> new = [one for one, label in zip(series, labels) if label == "fast"]
        >>> model.partial_fit(new, ["fast"] * 10).score(series, labels)
        1.0
        """
        check_is_fitted(self)
        assert self.contract_.classes is not None
        self._check_head()
        self._check_goes_on("add_classes")
        self._check_not_balanced("add_classes")
        before = self.contract_.classes
        written = before.with_added(names, of_texts=False)
        classes = with_labels(self.classes_, written.values[len(before) :])
        if written.type == "number":
            check_classes(classes, name="add_classes")
        self._reject_value(classes)
        contract = replace(self.contract_, classes=written.ordered())
        self._make_room(contract, places_of(self.classes_, classes))
        for doubt in written.doubts(before):
            warn(f"add_classes: {doubt}")
        self.classes_, self.contract_ = classes, contract
        return self

    def _check_not_balanced(self, name: str) -> None:
        """Refuse weights that depend on the numbers of all series, where series are to come."""
        if isinstance(self.class_weight, str):
            fitted = hasattr(self, "model_")
            advice = "fit another estimator, with numbers by label" if fitted else "pass numbers by label"
            found = shown(self.class_weight)
            raise ConfigError(problem("class_weight", f"None or a dictionary in {name}", found, advice))

    def _check_head(self) -> None:
        """Refuse new classes for a softmax layer."""
        if isinstance(self.model_, Backbone) and isinstance(self.model_.trainer.config.model.head, LinearHead):
            advice = "fit a model of all classes, or one with head='prototype'"
            raise ConfigError(problem("add_classes", "head='prototype'", "head='linear'", advice))

    def _arrays(
        self, series: list[Floats], codes: NDArray[np.int32], numbers: Floats | None, weights: Floats | None
    ) -> tuple[list[Floats], dict[str, NDArray[Any]]]:
        """The series with a class or a number, and their targets by name."""
        known = codes >= 0
        given = {"sequence_class": codes, "sequence_values": numbers, "weights": weights}
        if numbers is not None:
            known = known | ~np.isnan(numbers[:, 0])
        return with_target(series, {name: array for name, array in given.items() if array is not None}, known)

    def _filter_targets(
        self, arrays: dict[str, NDArray[Any]], class_weight: Floats | Literal["balanced"] | None
    ) -> Targets:
        of_class, numbers, weights = (arrays.get(name) for name in ("sequence_class", "sequence_values", "weights"))
        return Targets(of_class, len(self.classes_), numbers, weights, class_weight)

    def _weighted(
        self, arrays: dict[str, NDArray[Any]], class_weight: Floats | Literal["balanced"] | None
    ) -> dict[str, NDArray[Any]]:
        """The targets of a backbone, with the weights of classes in those of their series."""
        if class_weight is None:
            return arrays
        codes, weights = arrays["sequence_class"], arrays.get("weights", np.ones(len(arrays["sequence_class"])))
        counted = codes[(codes >= 0) & (weights > 0)]
        factors = np.append(class_weights(counted, len(self.classes_), class_weight), 1.0)  # -1 has no class
        return arrays | {"weights": weights * factors[codes]}

    def _class_weight(self, classes: NDArray[Any]) -> Floats | Literal["balanced"] | None:
        """The weight of each class [C]."""
        given = self.class_weight
        if isinstance(given, Mapping):
            return weights_by_label(given, classes)
        if given is not None and str(given) != "balanced":
            expected, found = "None, 'balanced' or a dictionary of numbers by label", shown(given)
            raise ConfigError(problem("class_weight", expected, found, "pass one of these"))
        return given

    def _check_two(
        self, codes: NDArray[np.int32], weights: Floats | None, class_weight: Floats | Literal["balanced"] | None
    ) -> None:
        """Refuse weights that leave fewer than two classes."""
        each = np.ones(len(self.classes_)) if class_weight is None or isinstance(class_weight, str) else class_weight
        known = codes >= 0
        sums = np.bincount(codes[known], None if weights is None else weights[known], len(each))
        count = int(np.count_nonzero(sums * each))
        if count < 2:
            expected, found = "at least two classes with a weight above 0", counted(count, "class", "classes")
            raise ShapeError(problem("y and its weights", expected, found, "a classifier has to choose"))

    def _target(self, moments: Moments | None) -> tuple[dict[str, Any], dict[str, Any]]:
        """Target and head of a backbone; `moments` are those of numbers beside the classes."""
        head = HeadParameters.of(self).settings(len(self.classes_))
        if moments is None:
            return {"kind": "sequence_class"}, head
        for name, given, allowed in (("head", self.head, ("auto", "prototype")), ("loss", self.loss, ("cosine",))):
            if given not in allowed:
                expected = f"{' or '.join(allowed)} where values are predicted too"
                raise ConfigError(problem(name, expected, shown(given), f"leave {name} out"))
        return {"kind": "joint"}, head | {"loss": {"kind": "joint", **ends(moments, "values")}}

    def _class_vectors(self) -> ClassVectors | None:
        """The vectors in the order of the classes."""
        return HeadParameters.of(self).vectors(self.classes_)

    def _values(
        self,
        values: Any,  # noqa: ANN401
        series: list[Floats],
        weights: Floats | None,
        kind: Kind,
    ) -> tuple[Floats, Moments]:
        """Numbers [N, 1] to predict beside the classes, and their statistics."""
        found, moments = self._measure(values, "values")
        if found.shape[1] > 1:
            advice = "predict several with SSMRegressor"
            raise ShapeError(problem("values", f"[{len(found)}], one number per series", list(found.shape), advice))
        check_lengths(series, found, "values")
        if kind == "features":
            self._check_count(found, weights, "values")
        return found, moments

    def score(self, X: Any, y: Any, sample_weight: ArrayLike | None = None) -> float:  # noqa: ANN401, N803
        """Accuracy over the series that have a label; y as in `fit`."""
        answers, labels = self.predict(X), labels_of(self._per_series(X, y))
        names, known = column_or_1d(labels.values), labels.known.reshape(-1)
        check_lengths(answers, names, "y")
        assert self.contract_.classes is not None
        check_type(labels.classes, self.contract_.classes, "y", known=bool(known.any()))
        weights = self._score_weights(X, sample_weight, len(names))
        if labels.classes.type == "text":  # bytes are the text that they are
            answers, names = (np.array([text_of(one) for one in each], object) for each in (answers, names))
        _, kept = with_target([], {"right": answers == names, "weights": weights}, known, "scored")
        return float(np.average(kept["right"], weights=kept["weights"]))

    def class_scores(self, X: Any) -> Floats:  # noqa: ANN401, N803
        """[N, C] cosines to the prototypes (logits of a linear head), in the order of `classes_`.

        The features of a series give a point z, of the length 1 where it is sure of a class and near 0 where it is like
        none. The cosine is that of the point above z on the unit sphere of one more dimension: z·p/max(1, ‖z‖).
        """
        return self._scores_of(self._points(X))

    def embed(self, X: Any) -> Floats:  # noqa: ANN401, N803
        """[N, Q] unit vectors in the space of the prototypes: series that are alike are near each other.

        Their products with `prototypes_` are the `class_scores`, so that `ssm_hpn.prototypes.nearest` finds the nearest
        of any number of prototypes or of kept series. Of features Q is C: the last coordinate is what z lacks of the
        length 1. A linear head has no such space.

        >>> import numpy as np
        >>> from ssm_hpn.estimators import SSMClassifier
        >>> series = [np.sin(np.arange(40) * (1 + n % 3)) for n in range(30)]
        >>> model = SSMClassifier(effort="fast", random_state=0).fit(series, ["slow", "middle", "fast"] * 10)
        >>> points = model.embed(series)
        >>> points.shape, bool(np.allclose(points @ model.prototypes_.T, model.class_scores(series)))
        ((30, 3), True)
        """
        check_is_fitted(self)
        if isinstance(self.model_, FilterModel):
            return lifted(self._points(X))
        self._check_space()
        return self.model_.points(self._read(X))

    @property
    def prototypes_(self) -> Floats:
        """Unit prototypes [C, Q] of the classes, in the order of `classes_`."""
        check_is_fitted(self)
        if isinstance(self.model_, FilterModel):
            prototypes = self._class_head().prototypes
            return np.concatenate([prototypes, np.zeros((len(prototypes), 1))], axis=1)
        self._check_space()
        return self.model_.prototypes

    def _check_space(self) -> None:
        """Refuse a head without prototypes."""
        if self.head == "linear":
            expected, advice = "a prototype head, whose sphere points lie on", "leave head out"
            raise ConfigError(problem("head", expected, "'linear'", advice))

    def evidence(self, X: Any) -> list[Floats]:  # noqa: ANN401, N803
        """Where in each series its scores come from: [T, C], what each step contributes to the score of each class.

        Over the steps it sums to `class_scores`, up to rounding. The evidence for class a rather than b is the
        difference of their columns. Of features, a step is one at which a filter's response counts (`StateFeatures`);
        a step whose channels are all missing has nothing, a constant belongs to all others alike. Of a backbone, it is
        the step at which the model's state had it (`ssm_hpn.evidence`); that with `pooling="last"` is what the
        score changed by at each step.

        >>> import numpy as np
        >>> from ssm_hpn.estimators import SSMClassifier
        >>> random = np.random.default_rng(0)
        >>> series, labels = random.normal(size=(40, 100)), np.repeat(["flat", "bump"], 20)
        >>> series[20:, 60:70] += 5.0
        >>> model = SSMClassifier(effort="fast", random_state=0).fit(series, labels)
        >>> bump, flat = model.evidence(series[20:21])[0].T
        >>> int((bump - flat).argmax()) in range(55, 75)
        True
        """
        check_is_fitted(self)
        series = self._read(X)
        if isinstance(self.model_, FilterModel):
            return self.model_.evidence(series, threads=number_of_threads(self.threads))
        return self.model_.evidence(series)

    def predict_values(self, X: Any) -> Floats:  # noqa: ANN401, N803
        """[N] numbers in the units of the `values` in fit."""
        check_is_fitted(self)
        self._check_values()
        return self._predicted(X)[:, 0]

    def _check_values(self) -> None:
        """Refuse a model of classes alone."""
        if self.contract_.scale is None:
            advice = "pass fit(X, y, values=numbers)"
            raise ConfigError(problem("predict_values", "a model of classes and numbers", "one of classes", advice))

    def decision_function(self, X: Any) -> Floats:  # noqa: ANN401, N803
        """[N, C] scores; for two classes [N], the second one's minus the first one's, as scikit-learn wants it."""
        scores = self.class_scores(X)
        return scores[:, 1] - scores[:, 0] if len(self.classes_) == 2 else scores
