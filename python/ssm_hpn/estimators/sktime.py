"""The estimators as sktime's classifier and regressor. Needs sktime.

They take part in sktime's pipelines, tuning and benchmarks. X is any panel of sktime, with series of any lengths, NaN
for a missing number.
"""

from typing import Any

try:
    from sktime.classification.base import BaseClassifier
    from sktime.regression.base import BaseRegressor
except ImportError as error:
    raise ImportError("ssm_hpn.estimators.sktime needs sktime; pip install sktime") from error

from ssm_hpn.estimators.adapted import CHECKED_WITH, AdaptedClassifier, AdaptedRegressor

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


class SktimeClassifier(AdaptedClassifier, BaseClassifier):  # type: ignore[misc]
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

    inner_layout = "channels_last"  # a frame for each series, whose columns are the channels

    @classmethod
    def get_test_params(cls, parameter_set: str = "default") -> list[dict[str, Any]]:  # noqa: ARG003
        """Parameters of sktime's own checks."""
        return [dict(CHECKED_WITH), CHECKED_WITH | {"random_state": 1}]


class SktimeRegressor(AdaptedRegressor, BaseRegressor):  # type: ignore[misc]
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

    inner_layout = "channels_last"

    @classmethod
    def get_test_params(cls, parameter_set: str = "default") -> list[dict[str, Any]]:  # noqa: ARG003
        """Parameters of sktime's own checks."""
        return [dict(CHECKED_WITH), CHECKED_WITH | {"random_state": 1}]
