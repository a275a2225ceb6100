"""The estimators in the terms of other packages of time series: all that their adapters share.

An adapter is one of these classes and the base class of its package, which calls `_fit`, `_predict` and the like.
"""

from collections.abc import Mapping
from typing import Any, ClassVar, Final, Literal, Self

import numpy as np
from joblib import effective_n_jobs
from numpy.typing import NDArray

from ssm_hpn.estimators.classifier import SSMClassifier
from ssm_hpn.estimators.regressor import SSMRegressor
from ssm_hpn.series_forms import Layout
from ssm_hpn.state_features import Effort

Floats = NDArray[np.float64]

CHECKED_WITH: Final = {"effort": "fast"}
"""Parameters for the checks of these packages."""


class AdaptedSettings:
    """Parameters of features in aeon and sktime; mixed in before their base classes.

    >>> AdaptedSettings(effort="fast", n_jobs=2).options()
    {'effort': 'fast', 'layout': 'channels_first', 'threads': 2, 'random_state': None}
    """

    inner_layout: ClassVar[Layout] = "channels_first"
    """Of the series that the package hands over."""

    def __init__(
        self,
        *,
        effort: Effort = "default",
        n_jobs: int | None = 1,
        random_state: int | np.random.RandomState | None = None,
    ) -> None:
        self.effort = effort
        self.n_jobs = n_jobs
        self.random_state = random_state
        super().__init__()

    def options(self) -> dict[str, Any]:
        """Parameters of the estimator inside."""
        return {
            "effort": self.effort,
            "layout": self.inner_layout,
            "threads": effective_n_jobs(self.n_jobs),
            "random_state": self.random_state,
        }


class AdaptedClassifier(AdaptedSettings):
    """`SSMClassifier` with features, as a base class of another package calls it.

    >>> x, y = np.random.default_rng(0).normal(size=(24, 3, 20)), np.arange(24) % 2
    >>> x[y == 1] += np.sin(np.arange(20))
    >>> AdaptedClassifier(effort="fast", random_state=0)._fit(x, y)._predict(x[:4]).tolist()
    [0, 1, 0, 1]
    """

    def __init__(
        self,
        *,
        effort: Effort = "default",
        class_weight: Mapping[Any, float] | Literal["balanced"] | None = None,
        n_jobs: int | None = 1,
        random_state: int | np.random.RandomState | None = None,
    ) -> None:
        self.class_weight = class_weight
        super().__init__(effort=effort, n_jobs=n_jobs, random_state=random_state)

    def _fit(self, X: Any, y: Any) -> Self:  # noqa: ANN401, N803
        self.estimator_ = SSMClassifier(kind="features", class_weight=self.class_weight, **self.options()).fit(X, y)
        return self

    def _predict(self, X: Any) -> NDArray[Any]:  # noqa: ANN401, N803
        return self.estimator_.predict(X)

    def _predict_proba(self, X: Any) -> Floats:  # noqa: ANN401, N803
        return self.estimator_.predict_proba(X)


class AdaptedRegressor(AdaptedSettings):
    """`SSMRegressor` with features, as a base class of another package calls it.

    >>> x = np.random.default_rng(0).normal(size=(24, 3, 20))
    >>> AdaptedRegressor(effort="fast", random_state=0)._fit(x, x[:, 0].mean(axis=1))._predict(x[:4]).shape
    (4,)
    """

    def _fit(self, X: Any, y: Any) -> Self:  # noqa: ANN401, N803
        self.estimator_ = SSMRegressor(kind="features", **self.options()).fit(X, y)
        return self

    def _predict(self, X: Any) -> Floats:  # noqa: ANN401, N803
        return self.estimator_.predict(X)
