"""Heads on a wide matrix of features that are fitted in closed form: classes by prototypes, and numbers.

Classes: the targets are the fixed prototypes p_c of the simplex, so a series' scores z ∈ R^(C-1) are compared with them
by cosine. The class is the prototype of the largest cosine (the largest inner product: all prototypes have length 1).
Ridge on one-hot targets gives d with z·p_c = (C·d_c - 1)/(C - 1), and leave-one-out errors in a constant proportion, so
the same strength and the same classes.

Weights: sample and class weights are multiplied, and every sum of the fit has them: statistics of features, ridge,
leave-one-out error, scale of the probabilities. Probabilities are those of a population whose classes have the shares
of these weights; `class_weight="balanced"` makes all classes equally likely beforehand. The reject curve has the sample
weights alone. A series of weight 0 takes no part.

Results have the same bits for the same features, numpy and number of BLAS threads on one machine. Another number of
threads changes the order of sums inside of LAPACK: scores then agree to about 1e-5 of their size.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Final, Literal, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ssm_hpn.closed_form.blocks import Block, Features, Rows
from ssm_hpn.closed_form.calibration import RejectCurve, Temperature, shortened
from ssm_hpn.closed_form.gram import fit_exact
from ssm_hpn.closed_form.landmarks import fit_landmarks
from ssm_hpn.closed_form.linear import Fit, RidgeSettings, kept_series
from ssm_hpn.closed_form.saved import arrays_of, fit_of
from ssm_hpn.closed_form.simplex import cosines, inner_products, simplex
from ssm_hpn.closed_form.typicality import Typicality
from ssm_hpn.counts import counted
from ssm_hpn.errors import CheckpointError, ConfigError, DataError, ShapeError, problem, shown

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
MOST_NUMBERS: Final = 1 << 27
"""Numbers of all prototypes that a file may ask for."""
Confidence = Literal["confidence", "probability", "cosine"]


def class_weights(labels: Ints, n_classes: int, class_weight: ArrayLike | Literal["balanced"] | None) -> Floats:
    """Weight of each class [C]: 1, those given, or in inverse proportion to the number of its series.

    >>> class_weights(np.array([0, 0, 0, 1]), 2, "balanced").round(3).tolist()
    [0.667, 2.0]
    """
    if class_weight is None:
        return np.ones(n_classes)
    if isinstance(class_weight, str):
        if class_weight != "balanced":
            expected = "'balanced', a number for each class, or none"
            raise ConfigError(problem("class_weight", expected, repr(class_weight), "use 'balanced'"))
        counts = np.bincount(labels, minlength=n_classes)
        return len(labels) / (np.count_nonzero(counts) * np.maximum(counts, 1))
    given = np.asarray(class_weight, np.float64)
    if given.shape != (n_classes,):
        raise ShapeError(
            problem("class_weight", counted(n_classes, "number"), f"shape {given.shape}", "give one per class")
        )
    return given


@dataclass(frozen=True, eq=False)
class ClassHead:
    """Scores, cosines, probabilities and classes of series.

    >>> rng = np.random.default_rng(0)
    >>> x = rng.normal(size=(60, 200)).astype(np.float32)
    >>> y = (x[:, :20].sum(axis=1) > 0).astype(int)
    >>> head = ClassHead.fit(lambda rows: [x[rows, :100], x[rows, 100:]], y)
    >>> z = head.scores([x])
    >>> z.shape, head.cosines(z).shape, head.probabilities(z).shape
    ((60, 1), (60, 2), (60, 2))
    >>> bool((head.classes(z) == y).mean() > 0.9)
    True
    >>> threshold = head.reject_curve().threshold(answered=0.8)
    >>> rejected = head.confidence(z) < threshold
    """

    ridge: Fit
    prototypes: Floats
    """[C, Q]: the simplex of the Q + 1 classes of the fit. A class that was added since has a row of zeros: its
    prototype lies on a coordinate of its own, which z has not, so that its score is 0 and all others stay."""
    temperature: Temperature
    """Of the probabilities (`calibration`)."""
    longest: float
    """The largest length of left-out scores."""
    labels: Ints
    """Class of each series in `ridge.rows`."""
    sample_weight: Floats
    """Of each series in `ridge.rows`."""

    @classmethod
    def fit(
        cls,
        features: Features,
        labels: ArrayLike,
        *,
        n_classes: int | None = None,
        sample_weight: ArrayLike | None = None,
        class_weight: ArrayLike | Literal["balanced"] | None = None,
        settings: RidgeSettings = RidgeSettings(),  # noqa: B008 - it is frozen
    ) -> Self:
        """Fit classes 0 … C-1 [n] of n series; `n_classes` where not all of them occur.

        Raises `DataError` where fewer than two classes have series, or for a feature, label or weight that cannot be
        used.
        """
        classes = _labels(labels, n_classes)
        n_classes = int(classes.max()) + 1 if n_classes is None else n_classes
        samples = _sample_weights(sample_weight, len(classes))
        weights = samples * class_weights(classes, n_classes, class_weight)[classes]
        rows = kept_series(weights)
        there = np.unique(classes[rows])
        if len(there) < 2:
            raise DataError(
                problem("labels", "at least 2 classes", f"class {there[0]} alone", "add series of another class")
            )
        prototypes = simplex(n_classes)
        fit = _fit(
            features, rows, prototypes[classes[rows]], weights[rows], classes[rows], settings=settings, each=False
        )
        left = fit.rows
        return cls.of_fit(fit, prototypes, classes[left], weights[left], samples[left])

    @classmethod
    def of_fit(cls, fit: Fit, prototypes: Floats, labels: Ints, weights: Floats, sample_weight: Floats) -> Self:
        """The head of a fit to prototypes, given the class, weight and sample weight of each series in `fit.rows`."""
        temperature = Temperature.of(inner_products(fit.left_out, prototypes), labels, weights)
        longest = float(np.linalg.norm(fit.left_out, axis=1).max())
        return cls(fit, prototypes, temperature, longest, labels, sample_weight)

    @property
    def scale(self) -> float:
        """Factor of the inner products in probabilities."""
        return self.temperature.scale

    def scores(self, blocks: Iterable[Block]) -> Floats:
        """z [n, C-1] of n series from blocks f32 [n, d_block] in the order of the fit."""
        return self.ridge.linear.scores(blocks)

    def cosines(self, scores: Floats) -> Floats:
        """Cosines [n, C] of z to the prototypes; with two classes ±1."""
        return cosines(scores, self.prototypes)

    def probabilities(self, scores: Floats) -> Floats:
        """P(class) [n, C]."""
        return self.temperature.probabilities(inner_products(shortened(scores, self.longest), self.prototypes))

    def classes(self, scores: Floats) -> Ints:
        """The class [n] of the largest cosine; of equal ones the first."""
        found: Ints = inner_products(scores, self.prototypes).argmax(axis=1)
        return found

    @cached_property
    def _fitted(self) -> Ints:
        """The classes of the fit, those without the ones that were added since."""
        return np.flatnonzero(self.prototypes.any(axis=1))

    @cached_property
    def _typicality(self) -> Typicality:
        labels = np.searchsorted(self._fitted, self.labels)
        return Typicality.of(self.ridge.left_out, labels, self.sample_weight, self.prototypes[self._fitted])

    def confidence(self, scores: Floats) -> Floats:
        """How typical [n] of any class, in (0, 1]: by this a series is answered or rejected (`typicality`)."""
        return self._typicality.confidence(scores)

    def reject_curve(self, by: Confidence = "confidence") -> RejectCurve:
        """Share answered against accuracy on the left-out series, by confidence, or by largest probability or cosine.

        The cosines of two classes are 1 for every series, so that a threshold of them rejects none.
        """
        z = self.ridge.left_out
        if by == "confidence":
            found = self.confidence(z)
        else:
            found = (self.probabilities(z) if by == "probability" else self.cosines(z)).max(axis=1)
        return RejectCurve.of(found, self.classes(z) == self.labels, self.sample_weight)

    def with_classes(self, places: Ints, n_classes: int) -> Self:
        """The same scores for the classes so far, at these places of `n_classes`; the score of others is 0."""
        prototypes = np.zeros((n_classes, self.prototypes.shape[1]))
        prototypes[places] = self.prototypes
        temperature = self.temperature.with_classes(places, n_classes)
        return replace(self, prototypes=prototypes, temperature=temperature, labels=places[self.labels])

    def left_out_accuracy(self) -> float:
        """Share of the left-out series that get their class, weighted by their sample weights.

        The strength is that of the least left-out error, of about twenty: the share is that of new series, or little
        above it.
        """
        return float(np.average(self.classes(self.ridge.left_out) == self.labels, weights=self.sample_weight))

    def to_arrays(self) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
        """Everything as arrays by name and as JSON."""
        arrays, values = arrays_of(self.ridge)
        arrays |= {"labels": self.labels, "sample_weight": self.sample_weight}
        arrays |= {"fitted": self._fitted} if len(self._fitted) < len(self.prototypes) else {}
        values |= {"kind": "classes", "n_classes": len(self.prototypes), "longest": self.longest}
        return arrays, values | self.temperature.to_json()

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]], values: Mapping[str, Any]) -> Self:
        """What `to_arrays` gave. Raises `CheckpointError` where something is missing or does not fit.

        >>> x = np.random.default_rng(0).normal(size=(9, 4)).astype(np.float32)
        >>> head = ClassHead.fit(lambda rows: [x[rows]], [0, 1, 2] * 3)
        >>> again = ClassHead.from_arrays(*head.to_arrays())
        >>> bool((again.scores([x]) == head.scores([x])).all())
        True
        """
        fit = fit_of(
            arrays,
            values,
            kind="classes",
            per_row=("labels", "sample_weight"),
            numbers=("n_classes", "scale", "longest"),
        )
        fitted = np.asarray(arrays["fitted"]) if "fitted" in arrays else None
        columns = fit.linear.weights.shape[1]
        n_classes = _number_of_classes(values["n_classes"], columns)
        fitted = np.arange(n_classes) if fitted is None else fitted
        if columns != len(fitted) - 1 or not 0 <= fitted.min() <= fitted.max() < n_classes:
            found = counted(columns, "column")
            raise CheckpointError(
                problem("weights", counted(len(fitted) - 1, "column"), found, "use another checkpoint")
            )
        prototypes = np.zeros((n_classes, columns))
        prototypes[fitted] = simplex(len(fitted))
        temperature, longest = Temperature.from_json(values), float(values["longest"])
        return cls(fit, prototypes, temperature, longest, arrays["labels"], arrays["sample_weight"])


def _number_of_classes(value: float, columns: int) -> int:
    """The number of classes that a file names, whose prototypes with so many columns are to fit in memory."""
    most = max(columns + 1, MOST_NUMBERS // max(columns, 1))
    if not columns < value <= most or value != int(value):
        expected = f"a whole number from {columns + 1} to {most}"
        raise CheckpointError(problem("n_classes", expected, shown(value), "use another checkpoint"))
    return int(value)


@dataclass(frozen=True, eq=False)
class NumberHead:
    """Predictions of K numbers. Each has a strength of its own.

    >>> x = np.random.default_rng(0).normal(size=(50, 5)).astype(np.float32)
    >>> y = x[:, :1] + 2.0
    >>> head = NumberHead.fit(lambda rows: [x[rows]], y)
    >>> bool(np.abs(head.scores([x]) - y).max() < 0.2)
    True
    >>> bool(head.left_out_r2()[0] > 0.99)
    True
    """

    ridge: Fit
    targets: Floats
    """The numbers [rows, K] of each series in `ridge.rows`."""
    sample_weight: Floats
    """Of each series in `ridge.rows`."""

    @classmethod
    def fit(
        cls,
        features: Features,
        targets: ArrayLike,
        *,
        sample_weight: ArrayLike | None = None,
        settings: RidgeSettings = RidgeSettings(),  # noqa: B008 - it is frozen
    ) -> Self:
        """Fit numbers [n, K] of n series, standardised or in any unit; predictions are in the same one."""
        numbers = np.asarray(targets, np.float64)
        if numbers.ndim != 2 or 0 in numbers.shape:
            raise ShapeError(problem("targets", "an array [n, K]", f"shape {numbers.shape}", "give one row per series"))
        wrong = np.argwhere(~np.isfinite(numbers))
        if len(wrong):
            row, column = wrong[0]
            found = f"{numbers[row, column]} in series {row}, number {column}"
            raise DataError(problem("targets", "finite numbers", found, "leave this series out or correct it"))
        weights = _sample_weights(sample_weight, len(numbers))
        rows = kept_series(weights)
        strata = np.zeros(len(rows), np.int64)
        fit = _fit(features, rows, numbers[rows], weights[rows], strata, settings=settings, each=True)
        return cls(fit, numbers[fit.rows], weights[fit.rows])

    def scores(self, blocks: Iterable[Block]) -> Floats:
        """Predictions [n, K] of n series from blocks f32 [n, d_block] in the order of the fit."""
        return self.ridge.linear.scores(blocks)

    def left_out_r2(self) -> Floats:
        """R² [K] of the left-out predictions, 1 - Σ v(y - ŷ)²/Σ v(y - ȳ)²; NaN for a number that is always the same."""
        v = self.sample_weight
        residual = v @ (self.targets - self.ridge.left_out) ** 2
        there = v @ (self.targets - v @ self.targets / v.sum()) ** 2
        return 1.0 - residual / np.where(np.ptp(self.targets, axis=0) > 0, there, np.nan)

    def to_arrays(self) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
        """Everything as arrays by name and as JSON."""
        arrays, values = arrays_of(self.ridge)
        return arrays | {"targets": self.targets, "sample_weight": self.sample_weight}, values | {"kind": "numbers"}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]], values: Mapping[str, Any]) -> Self:
        """What `to_arrays` gave. Raises `CheckpointError` where something is missing or does not fit."""
        fit = fit_of(arrays, values, kind="numbers", per_row=("sample_weight",))
        shape, found = fit.left_out.shape, np.shape(arrays.get("targets", ()))
        if found != shape:
            raise CheckpointError(problem("targets", f"shape {shape}", f"shape {found}", "use another checkpoint"))
        return cls(fit, arrays["targets"], arrays["sample_weight"])


def _fit(
    features: Features,
    rows: Rows,
    targets: Floats,
    weights: Floats,
    strata: Ints,
    *,
    settings: RidgeSettings,
    each: bool,
) -> Fit:
    if len(rows) <= settings.largest_exact:
        return fit_exact(features, rows, targets, weights, settings=settings, each=each)
    return fit_landmarks(features, rows, targets, weights, strata, settings=settings, each=each)


def _labels(labels: ArrayLike, n_classes: int | None) -> Ints:
    given = np.asarray(labels)
    if given.ndim != 1 or not len(given) or given.dtype.kind not in "iu":
        found = f"{given.dtype} of shape {given.shape}"
        raise ShapeError(problem("labels", "whole numbers [n]", found, "give the number of a class per series"))
    outside = np.flatnonzero((given < 0) | (given >= (given.max() + 1 if n_classes is None else n_classes)))
    if len(outside):
        expected = "classes from 0" if n_classes is None else f"classes 0 to {n_classes - 1}"
        found = f"{given[outside[0]]} for series {outside[0]}"
        raise DataError(problem("labels", expected, found, "number the classes from 0"))
    return given.astype(np.int64)


def _sample_weights(given: ArrayLike | None, n: int) -> Floats:
    weights = np.ones(n) if given is None else np.asarray(given, np.float64)
    if weights.shape != (n,):
        raise ShapeError(
            problem("sample_weight", counted(n, "number"), f"shape {weights.shape}", "give one per series")
        )
    return weights
