"""Series as rows of numbers, for any other estimator."""

from dataclasses import dataclass
from typing import Any, Self, get_args

import numpy as np
from numpy.typing import NDArray
from sklearn.base import ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils.validation import check_is_fitted

from ssm_hpn.arrays import one_of
from ssm_hpn.estimators.base import SequenceEstimator, number_of_threads, true_or_false
from ssm_hpn.filter_model import known_series
from ssm_hpn.state_features import Effort, StateFeatures


@dataclass(kw_only=True, eq=False, repr=False)
class SeriesTransformer(ClassNamePrefixFeaturesOutMixin, TransformerMixin, SequenceEstimator):  # type: ignore[misc]
    """Base of transformers: a row for each series."""

    effort: Effort = "default"
    threads: int | None = None
    random_state: int | np.random.RandomState | None = None

    def transform(self, X: Any) -> Any:  # noqa: ANN401, N803
        """Rows as they are: scikit-learn makes of them what `set_output` says, with the index of X.

        >>> import pandas as pd
        >>> rows = pd.DataFrame({"x": [1.0, 2.0]}, index=["b", "a"])
        >>> SeriesTransformer().transform(rows).tolist()
        [[1.0], [2.0]]
        """
        return np.asarray(X)

    def _rows(self, X: Any, rows: NDArray[Any]) -> Any:  # noqa: ANN401, N803
        """Rows of the series of X; as a frame of pandas (`set_output`) with the ids of a long table as index."""
        if (table := self._table(X)) is None:
            return rows
        try:
            import pandas as pd  # it is there where its frames are wanted
        except ImportError:
            return rows
        # scikit-learn takes the index of what it is given, and X has an entry per row.
        return SeriesTransformer.transform(self, pd.DataFrame(rows, index=pd.Index(table.ids, name=self.id)))

    def _checked_effort(self) -> Effort:
        one_of(self.effort, "effort", get_args(Effort))
        return self.effort

    def __sklearn_tags__(self) -> Any:  # noqa: ANN401 - scikit-learn's own
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float32"]
        return tags


@dataclass(kw_only=True, eq=False, repr=False)
class StateSpaceFeatures(SeriesTransformer):
    """Features of series from random fixed state space filters, pooled over time; nothing is trained.

    Parameters
    ----------
    effort
        `fast` (8,960 features), `default` (26,880) or `best` (53,760).
    causal
        Filters that read forwards alone, and numbers standardised by the training series: `bank_.stream` gives the
        features of the steps so far.
    layout, missing, id, order, threads, random_state
        As in `SSMClassifier`.

    Attributes
    ----------
    bank_ : the filters.
    n_channels_ : channels F.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.linear_model import RidgeClassifierCV
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn.preprocessing import StandardScaler
    >>> from ssm_hpn.estimators import StateSpaceFeatures
    >>> random = np.random.default_rng(0)
    >>> series = [np.sin(np.arange(60) / (3 + n % 2)) + random.normal(0, 0.3, 60) for n in range(40)]
    >>> features = StateSpaceFeatures(effort="fast", random_state=0)
    >>> features.fit_transform(series).shape
    (40, 8960)
    >>> model = make_pipeline(features, StandardScaler(), RidgeClassifierCV()).fit(series, np.arange(40) % 2)
    >>> model.score(series, np.arange(40) % 2)
    1.0
    """

    causal: bool = False

    def fit(self, X: Any, y: Any = None) -> Self:  # noqa: ANN401, ARG002, N803
        """Draw filters, and fit their gains and biases to the series X; y is not used."""
        effort = self._checked_effort()
        series, _ = self._fit_on(X)
        self._warn_constant()
        series = known_series(self.contract_, series)
        causal, threads = true_or_false(self.causal, "causal"), number_of_threads(self.threads)
        self.bank_ = StateFeatures.fit(series, effort=effort, causal=causal, seed=self._seed(), threads=threads)
        self._n_features_out = self.bank_.count
        return self

    def transform(self, X: Any) -> Any:  # noqa: ANN401, N803
        """f32 [N, features] of the series X; as a frame of pandas (`set_output`) with the ids of a long table as index.

        >>> import numpy as np
        >>> series = np.random.default_rng(0).normal(size=(8, 30))
        >>> StateSpaceFeatures(effort="fast", random_state=0).fit(series).transform(series[:2]).shape
        (2, 8960)
        """
        check_is_fitted(self)
        series = known_series(self.contract_, self._read(X))
        return self._rows(X, self.bank_.transform(series, threads=number_of_threads(self.threads)))
