"""The estimators as sktime's classifier and regressor. Needs sktime.

They take part in sktime's pipelines, tuning and benchmarks. X is any panel of sktime, with series of any lengths, NaN
for a missing number.
"""

from collections.abc import Mapping
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray

try:
    from sktime.classification.base import BaseClassifier
    from sktime.regression.base import BaseRegressor
except ImportError as error:
    raise ImportError("ssm_hpn.estimators.sktime needs sktime; pip install sktime") from error

from ssm_hpn.estimators.adapted import AdaptedSettings
from ssm_hpn.estimators.classifier import SSMClassifier
from ssm_hpn.estimators.regressor import SSMRegressor
from ssm_hpn.state_features import Effort

CAPABILITIES = {
    "X_inner_mtype": "df-list",
    "capability:multivariate": True,
    "capability:unequal_length": True,
    "capability:missing_values": True,
    "capability:multithreading": True,
    "capability:categorical_in_X": False,
    "capability:random_state": True,
    "property:randomness": "derandomized",
    "python_dependencies": "scikit-learn",
}


class SktimeClassifier(AdaptedSettings, BaseClassifier):  # type: ignore[misc]
    """`SSMClassifier` with features of fixed state space filters.

    Parameters
    ----------
    effort, class_weight, random_state
        As in `SSMClassifier`.
    n_jobs
        Threads, as joblib counts them: -1 for one on each core.

    Attributes
    ----------
    estimator_ : the fitted `SSMClassifier`.

    Examples
    --------
    >>> import numpy as np
    >>> from ssm_hpn.estimators.sktime import SktimeClassifier
    >>> X, y = np.random.default_rng(0).normal(size=(24, 3, 20)), np.arange(24) % 2
    >>> X[y == 1] += np.sin(np.arange(20))
    >>> SktimeClassifier(effort="fast", random_state=0).fit(X, y).predict(X[:4]).tolist()
    [0, 1, 0, 1]
    """

    _tags = CAPABILITIES | {"capability:predict_proba": True, "capability:class_weight": True}

    def __init__(
        self,
        *,
        effort: Effort = "default",
        class_weight: Mapping[Any, float] | Literal["balanced"] | None = None,
        n_jobs: int = 1,
        random_state: int | np.random.RandomState | None = None,
    ) -> None:
        self.class_weight = class_weight
        super().__init__(effort=effort, n_jobs=n_jobs, random_state=random_state)

    def _fit(self, X: Any, y: Any) -> Self:  # noqa: ANN401, N803
        options = self.options() | {"kind": "features", "class_weight": self.class_weight, "layout": "channels_last"}
        self.estimator_ = SSMClassifier(**options).fit(X, y)
        return self

    def _predict(self, X: Any) -> NDArray[Any]:  # noqa: ANN401, N803
        return self.estimator_.predict(X)

    def _predict_proba(self, X: Any) -> NDArray[np.float64]:  # noqa: ANN401, N803
        return self.estimator_.predict_proba(X)

    @classmethod
    def get_test_params(cls, parameter_set: str = "default") -> list[dict[str, Any]]:  # noqa: ARG003
        """Parameters of sktime's own checks."""
        return [{"effort": "fast"}, {"effort": "fast", "random_state": 1}]


class SktimeRegressor(AdaptedSettings, BaseRegressor):  # type: ignore[misc]
    """`SSMRegressor` with features of fixed state space filters.

    Parameters
    ----------
    effort, n_jobs, random_state
        As in `SktimeClassifier`.

    Attributes
    ----------
    estimator_ : the fitted `SSMRegressor`.

    Examples
    --------
    >>> import numpy as np
    >>> from ssm_hpn.estimators.sktime import SktimeRegressor
    >>> X = np.random.default_rng(0).normal(size=(24, 3, 20))
    >>> SktimeRegressor(effort="fast", random_state=0).fit(X, X[:, 0].mean(axis=1)).predict(X[:4]).shape
    (4,)
    """

    _tags = CAPABILITIES

    def _fit(self, X: Any, y: Any) -> Self:  # noqa: ANN401, N803
        self.estimator_ = SSMRegressor(**self.options() | {"kind": "features", "layout": "channels_last"}).fit(X, y)
        return self

    def _predict(self, X: Any) -> NDArray[np.float64]:  # noqa: ANN401, N803
        return self.estimator_.predict(X)

    @classmethod
    def get_test_params(cls, parameter_set: str = "default") -> list[dict[str, Any]]:  # noqa: ARG003
        """Parameters of sktime's own checks."""
        return [{"effort": "fast"}, {"effort": "fast", "random_state": 1}]
