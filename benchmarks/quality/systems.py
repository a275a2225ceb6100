"""What is measured: how each system is made and what input it takes.

A system gets the data as it takes it. Those of this package take it as it is. The others take neither missing values
nor series of unequal length: missing values are filled in by straight lines, short series are continued to the longest
one of the training part by their mean with noise of a hundredth of their deviation, longer ones are cut. None of this
is timed.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from importlib import metadata
from typing import Any, Final

import numpy as np

from quality.fingerprint import fingerprint
from quality.reading import Floats, Labelled, package_folder
from quality.sets import DataSet

Make = Callable[[int, int], Any]
"""An estimator with `fit(X, y)` and `predict(X)`, of a seed and a number of threads."""


@dataclass(frozen=True, slots=True)
class System:
    """One system."""

    name: str
    title: str
    """As tables call it."""
    package: str
    """The package whose version is recorded."""
    classifier: Make | None
    regressor: Make | None
    takes_gaps: bool = False
    """Whether it takes unequal lengths and missing values, series as [T, F]; otherwise it gets [N, F, T]."""
    needs: tuple[str, ...] = ()
    """Modules without which it is left out."""
    once: bool = False
    """Whether the first seed has to do, where it takes minutes for a set."""

    def maker(self, metric: str) -> Make | None:
        """What makes its estimator for a metric, None if it has none."""
        return self.regressor if metric == "rmse" else self.classifier

    def seeds_of(self, data: DataSet) -> tuple[int, ...]:
        """The seeds that it is measured with on a data set."""
        return data.seeds[:1] if self.once else data.seeds

    def missing_modules(self) -> list[str]:
        """The modules that it needs and that are not installed."""
        return [name for name in self.needs if importlib.util.find_spec(name) is None]

    def version(self) -> str:
        """The version of its package; of this one with the fingerprint of its code."""
        if self.package == "ssm-hpn":
            import ssm_hpn

            return f"{ssm_hpn.__version__}+{fingerprint(package_folder('ssm_hpn'))}"
        return metadata.version(self.package)


def _ssm_classifier(**settings: Any) -> Make:
    def make(seed: int, threads: int) -> Any:
        from ssm_hpn.estimators import SSMClassifier

        return SSMClassifier(**settings, random_state=seed, threads=threads)

    return make


def _linear_head(seed: int, threads: int) -> Any:
    from quality.linear_head import LinearHead

    return LinearHead(random_state=seed, threads=threads)


def _ssm_regressor(seed: int, threads: int) -> Any:
    from ssm_hpn.estimators import SSMRegressor

    return SSMRegressor(random_state=seed, threads=threads)


def _mini_rocket(seed: int, threads: int) -> Any:
    from aeon.classification.convolution_based import MiniRocketClassifier

    return MiniRocketClassifier(random_state=seed, n_jobs=threads)


def _mini_rocket_regressor(seed: int, threads: int) -> Any:
    from aeon.regression.convolution_based import MiniRocketRegressor

    return MiniRocketRegressor(random_state=seed, n_jobs=threads)


def _multi_rocket_hydra(seed: int, threads: int) -> Any:
    from aeon.classification.convolution_based import MultiRocketHydraClassifier

    return MultiRocketHydraClassifier(random_state=seed, n_jobs=threads)


def _multi_rocket_hydra_regressor(seed: int, threads: int) -> Any:
    from aeon.regression.convolution_based import MultiRocketHydraRegressor

    return MultiRocketHydraRegressor(random_state=seed, n_jobs=threads)


def _nearest_neighbour(seed: int, threads: int) -> Any:  # noqa: ARG001 - it draws nothing
    from sklearn.neighbors import KNeighborsRegressor
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import FunctionTransformer

    flat = FunctionTransformer(lambda x: x.reshape(len(x), -1))
    return make_pipeline(flat, KNeighborsRegressor(n_neighbors=1, n_jobs=threads))


def _mean(seed: int, threads: int) -> Any:  # noqa: ARG001 - it draws nothing
    from sklearn.dummy import DummyRegressor

    return DummyRegressor()


SYSTEMS: Final = {
    one.name: one
    for one in (
        System("ssm_hpn", "ssm-hpn", "ssm-hpn", _ssm_classifier(), _ssm_regressor, takes_gaps=True),
        System("ssm_hpn_fast", "ssm-hpn, fast", "ssm-hpn", _ssm_classifier(effort="fast"), None, takes_gaps=True),
        System("ssm_hpn_causal", "ssm-hpn, causal", "ssm-hpn", _ssm_classifier(causal=True), None, takes_gaps=True),
        System(
            "ssm_hpn_linear",
            "ssm-hpn's features, softmax regression",
            "ssm-hpn",
            _linear_head,
            None,
            takes_gaps=True,
            once=True,
        ),
        System("mini_rocket", "MiniRocket", "aeon", _mini_rocket, _mini_rocket_regressor, needs=("aeon",)),
        System(
            "multi_rocket_hydra",
            "MultiRocket+Hydra",
            "aeon",
            _multi_rocket_hydra,
            _multi_rocket_hydra_regressor,
            needs=("aeon", "torch"),
            once=True,
        ),
        System("nearest_neighbour", "nearest neighbour", "scikit-learn", None, _nearest_neighbour),
        System("mean", "mean of training", "scikit-learn", None, _mean),
    )
}


def prepared(system: System, train: Labelled, test: Labelled) -> tuple[Any, Any]:
    """The series of both parts as the system takes them."""
    if system.takes_gaps:
        return train.inputs(), test.inputs()
    length = max(len(one) for one in train.series)
    random = np.random.default_rng(0)
    first, second = (
        np.stack([continued(filled(one), length, random).T for one in part.series]) for part in (train, test)
    )
    return first, second


def filled(series: Floats) -> Floats:
    """[T, F] with missing values replaced by the straight line between their neighbours, by the nearest at the ends."""
    result = series.copy()
    for channel in result.T:
        gap = np.isnan(channel)
        if gap.any() and not gap.all():
            channel[gap] = np.interp(np.flatnonzero(gap), np.flatnonzero(~gap), channel[~gap])
    return np.nan_to_num(result, copy=False)


def continued(series: Floats, length: int, random: np.random.Generator) -> Floats:
    """[length, F]: cut, or continued by the mean with noise of a hundredth of the deviation."""
    missing = length - len(series)
    if missing <= 0:
        return series[:length]
    noise = random.normal(size=(missing, series.shape[1])) * series.std(axis=0) / 100
    return np.concatenate([series, series.mean(axis=0) + noise])
