"""Parameters that the estimators have in other packages of time series, and in their own terms."""

from typing import Any

import numpy as np
from joblib import effective_n_jobs

from ssm_hpn.state_features import Effort


class AdaptedSettings:
    """Parameters of features in aeon and sktime; mixed in before their base classes.

    >>> AdaptedSettings(effort="fast", n_jobs=2).options()
    {'effort': 'fast', 'layout': 'channels_first', 'threads': 2, 'random_state': None}
    """

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
            "layout": "channels_first",
            "threads": effective_n_jobs(self.n_jobs),
            "random_state": self.random_state,
        }
