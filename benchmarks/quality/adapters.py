"""Systems of others as estimators that take the series as this package does, for `choose`.

[mini_rocket]
estimator = "quality.adapters:Peer"
system = "mini_rocket"
"""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from numpy.typing import NDArray  # noqa: TC002 - as everywhere

from quality.reading import Floats, Labelled
from quality.systems import SYSTEMS, prepared


class Peer:
    """A classifier of the registry; what it was fitted on says to which length series are continued.

    MiniRocket and MultiRocket+Hydra answer labels: their probabilities are 0 and 1, and their log loss says nothing.
    """

    def __init__(self, system: str, random_state: int = 0, n_jobs: int = 1) -> None:
        make = SYSTEMS[system].maker("accuracy")
        if make is None:
            raise SystemExit(f"{system} classifies nothing")
        self._system, self._model = SYSTEMS[system], make(random_state, n_jobs)

    def fit(self, X: Any, y: NDArray[Any]) -> Self:  # noqa: N803 - scikit-learn's name
        """Fit on series as `Labelled.inputs` gives them."""
        self._train = Labelled(list(X), y)
        series, _ = prepared(self._system, self._train, self._train)
        self._model.fit(series, y)
        self.classes_ = self._model.classes_
        return self

    def predict_proba(self, X: Any) -> Floats:  # noqa: N803 - scikit-learn's name
        """[N, C]."""
        asked = Labelled(list(X), np.zeros(len(X), int))
        _, series = prepared(self._system, self._train, asked)
        return np.asarray(self._model.predict_proba(series))
