"""The estimators as aeon's classifier, regressor and transformer. Needs aeon.

They take part in aeon's pipelines, benchmarks and ensembles. X is aeon's: [N, F, T] or a list of arrays [F, T] of any
lengths, NaN for a missing number.
"""

from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

try:
    from aeon.classification import BaseClassifier
    from aeon.regression import BaseRegressor
    from aeon.transformations.collection import BaseCollectionTransformer
except ImportError as error:
    raise ImportError("ssm_hpn.estimators.aeon needs aeon; pip install aeon") from error

from ssm_hpn.estimators.adapted import CHECKED_WITH, AdaptedClassifier, AdaptedRegressor, AdaptedSettings
from ssm_hpn.estimators.transformer import StateSpaceFeatures

CAPABILITIES = {
    "X_inner_type": ["np-list", "numpy3D"],
    "capability:multivariate": True,
    "capability:unequal_length": True,
    "capability:missing_values": True,
    "capability:multithreading": True,
    "algorithm_type": "convolution",
}


class AeonClassifier(AdaptedClassifier, BaseClassifier):  # type: ignore[misc]
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
    >>> from ssm_hpn.estimators.aeon import AeonClassifier
    >>> X, y = np.random.default_rng(0).normal(size=(24, 3, 20)), np.arange(24) % 2
    >>> X[y == 1] += np.sin(np.arange(20))
    >>> AeonClassifier(effort="fast", random_state=0).fit(X, y).predict(X[:4]).tolist()
    [0, 1, 0, 1]
    """

    _tags = CAPABILITIES

    @classmethod
    def _get_test_params(cls, parameter_set: str = "default") -> dict[str, Any]:  # noqa: ARG003 - aeon's signature
        return dict(CHECKED_WITH)


class AeonRegressor(AdaptedRegressor, BaseRegressor):  # type: ignore[misc]
    """`SSMRegressor` with features of fixed state space filters.

    Parameters
    ----------
    effort, n_jobs, random_state
        As in `AeonClassifier`.

    Attributes
    ----------
    estimator_ : the fitted `SSMRegressor`.

    Examples
    --------
    >>> import numpy as np
    >>> from ssm_hpn.estimators.aeon import AeonRegressor
    >>> X = np.random.default_rng(0).normal(size=(24, 3, 20))
    >>> AeonRegressor(effort="fast", random_state=0).fit(X, X[:, 0].mean(axis=1)).predict(X[:4]).shape
    (4,)
    """

    _tags = CAPABILITIES

    @classmethod
    def _get_test_params(cls, parameter_set: str = "default") -> dict[str, Any]:  # noqa: ARG003 - aeon's signature
        return dict(CHECKED_WITH)


class AeonFeatures(AdaptedSettings, BaseCollectionTransformer):  # type: ignore[misc]
    """`StateSpaceFeatures`: a row of numbers for each series.

    Parameters
    ----------
    effort, n_jobs, random_state
        As in `AeonClassifier`.

    Attributes
    ----------
    estimator_ : the fitted `StateSpaceFeatures`.

    Examples
    --------
    >>> import numpy as np
    >>> from ssm_hpn.estimators.aeon import AeonFeatures
    >>> X = np.random.default_rng(0).normal(size=(24, 3, 20))
    >>> AeonFeatures(effort="fast", random_state=0).fit_transform(X).shape
    (24, 8960)
    """

    _tags = CAPABILITIES | {"output_data_type": "Tabular", "capability:inverse_transform": False}

    def _fit(self, X: Any, y: Any = None) -> Self:  # noqa: ANN401, ARG002, N803
        self.estimator_ = StateSpaceFeatures(**self.options()).fit(X)
        return self

    def _transform(self, X: Any, y: Any = None) -> NDArray[np.float32]:  # noqa: ANN401, ARG002, N803
        return np.asarray(self.estimator_.transform(X))

    @classmethod
    def _get_test_params(cls, parameter_set: str = "default") -> dict[str, Any]:  # noqa: ARG003 - aeon's signature
        return dict(CHECKED_WITH)
