"""Regression on series."""

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import RegressorMixin
from sklearn.metrics import r2_score

from ssm_hpn.errors import ConfigError, ShapeError, problem
from ssm_hpn.estimators.model import ends, measured
from ssm_hpn.estimators.stored import StoredModel
from ssm_hpn.estimators.stream import Source
from ssm_hpn.filter_model import Targets
from ssm_hpn.moments import Moments
from ssm_hpn.series import check_lengths, with_target

Floats = NDArray[np.float64]


@dataclass(kw_only=True, eq=False, repr=False)
class SSMRegressor(RegressorMixin, StoredModel):  # type: ignore[misc]
    """Predicts a number, or several, from a series.

    Parameters
    ----------
    kind
        `features`: random fixed state space filters, pooled, with ridge regression on top. `backbone`: a trained
        selective state space model. `auto`: as in `SSMClassifier`.
    head
        Of a backbone. `linear` (auto): least squares on standardised targets; `prototype`: the cosine to a pole, for
        one number between the smallest and the largest of the training targets.
    effort, causal, d_model, n_layers, d_state, pooling, steps, batch_size, lr, weight_decay, normalize, early_stopping,
    validation_fraction, n_iter_no_change, tol, verbose, layout, missing, id, order, threads, random_state
        As in `SSMClassifier`.

    Attributes
    ----------
    loo_score_ : of features: R² of the training series, each predicted by the fit to all others (the mean of those of
        several numbers); see `SSMClassifier`.
    alpha_ : of features: the strength of the ridge, [K] for several numbers.
    n_channels_, contract_, model_, trainer_, n_iter_, validation_scores_, best_score_ : as in `SSMClassifier`.

    Examples
    --------
    >>> import numpy as np
    >>> from ssm_hpn.estimators import SSMRegressor
    >>> series = np.random.default_rng(0).normal(size=(60, 20, 1))
    >>> load = 250_000 + 50_000 * series[:, :, 0].mean(axis=1)
    >>> model = SSMRegressor(effort="fast", random_state=0).fit(series, load)
    >>> bool(model.score(series, load) > 0.5), model.predict(series[:2]).shape
    (True, (2,))
    >>> bool(model.loo_score_ < model.score(series, load))
    True

    Kept in a folder, which `predict` of the command line reads too:

    >>> again = SSMRegressor.load(model.save("load"))
    >>> bool((again.predict(series[:2]) == model.predict(series[:2])).all())
    True
    """

    _targets = ("sequence_values",)

    def fit(self, X: Any, y: ArrayLike, sample_weight: ArrayLike | None = None) -> Self:  # noqa: ANN401, N803
        """Train on series X with numbers y [N] or [N, K], NaN where one was not measured.

        `sample_weight` [N] says how much each series counts; one of weight 0 takes no part.
        """
        kind = self._chosen_kind()
        series, (y, sample_weight) = self._fit_on(X, y=y, sample_weight=sample_weight)
        weights = self._sample_weight(sample_weight, len(series))
        numbers, moments = self._measure(y, "y")
        check_lengths(series, numbers, "y")
        if kind == "features":
            self._check_count(numbers, weights, "y")
        count = numbers.shape[1]
        known = np.any(~np.isnan(numbers), axis=1)
        arrays = {"sequence_values": numbers} | ({} if weights is None else {"weights": weights})
        series, arrays = with_target(series, arrays, known)
        self._warn_constant()
        if kind == "features":
            targets = Targets(numbers=arrays["sequence_values"], sample_weight=arrays.get("weights"))
            self._fit_filters(series, targets)
            return self
        self._train(series, arrays, *self._target(count, moments))
        return self

    def _target(self, count: int, moments: Moments) -> tuple[dict[str, Any], dict[str, Any]]:
        """Target and head of a backbone."""
        if self.head in ("auto", "linear"):
            head: dict[str, Any] = {"kind": "linear", "n_outputs": count, "loss": "squared", "bias": True}
        elif self.head == "prototype" and count == 1:
            head = {"kind": "prototype", "loss": {"kind": "regression", **ends(moments, "y")}}
        else:
            expected, advice = "linear, or prototype for one number", "use head='linear'"
            raise ConfigError(problem("head", expected, f"{self.head!r} for {count}", advice))
        return {"kind": "sequence_values"}, head

    def partial_fit(self, X: Any, y: ArrayLike, sample_weight: ArrayLike | None = None) -> Self:  # noqa: ANN401, N803
        """Learn from some series more; the first call fixes channels, scales and filters. See `SSMClassifier`.

        >>> import numpy as np
        >>> from ssm_hpn.estimators import SSMRegressor
        >>> x = np.random.default_rng(0).normal(size=(60, 20))
        >>> model = SSMRegressor(effort="fast", random_state=0)
        >>> for part in (slice(0, 40), slice(40, 60)):
        ...     model = model.partial_fit(x[part], x[part].mean(axis=1))
        >>> model.predict(x[:2]).shape
        (2,)
        """
        kind, first = self._begin_part()
        read = self._fit_on if first else self._read_part
        series, (y, sample_weight) = read(X, y=y, sample_weight=sample_weight)
        weights = self._sample_weight(sample_weight, len(series))
        moments = None
        if first:
            numbers, moments = self._measure(y, "y")
            check_lengths(series, numbers, "y")
            if kind == "features":
                self._check_count(numbers, weights, "y")
        else:
            numbers = self._numbers_again(y, "y", series)
        arrays = {"sequence_values": numbers} | ({} if weights is None else {"weights": weights})
        series, arrays = with_target(series, arrays, np.any(~np.isnan(numbers), axis=1))
        if kind == "backbone":
            begun = None if moments is None else self._target(numbers.shape[1], moments)
            self._grow_backbone(series, arrays, begun)
        else:
            targets = Targets(numbers=arrays["sequence_values"], sample_weight=arrays.get("weights"))
            self._grow(series, targets, first=first)
        return self

    def score(self, X: Any, y: Any, sample_weight: ArrayLike | None = None) -> float:  # noqa: ANN401, N803
        """R² over the numbers that are there, the mean of those of several; y as in `fit`."""
        answers = self.predict(X)
        numbers = measured(self._per_series(X, y), "y")
        check_lengths(answers, numbers, "y")
        if numbers.shape != answers.shape:
            raise ShapeError(problem("y", list(answers.shape), list(numbers.shape), "give as many numbers as in fit"))
        weights = self._score_weights(X, sample_weight, len(numbers))
        columns = zip(np.atleast_2d(numbers.T), np.atleast_2d(answers.T), strict=True)
        there = [(y, found, ~np.isnan(y)) for y, found in columns]
        return float(np.mean([r2_score(y[k], found[k], sample_weight=weights[k]) for y, found, k in there]))

    def predict(self, X: Any) -> Floats:  # noqa: ANN401, N803
        """[N] numbers, or [N, K] if y had K columns."""
        return self._shaped(self._predicted(X))

    def _answers_of(self, source: Source) -> NDArray[Any]:
        return self._shaped(source.predicted())

    def _shaped(self, values: Floats) -> Floats:
        return values[:, 0] if self._single else values

    def __sklearn_tags__(self) -> Any:  # noqa: ANN401 - scikit-learn's own
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = self.head != "prototype"
        return tags
