"""Features of series from random fixed state space filters: numbers of one count for series of any length.

The filters, their law and the pools are the core's (docs/mathematics.md, 6): nothing is trained but gains and biases,
which are fitted to the training series. Series are f64 [T, F]; a step whose channels are all NaN is left out.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, Self

import numpy as np
from numpy.typing import NDArray

from ssm_hpn._core import FeatureStream, StateFilters
from ssm_hpn.closed_form.views import Views
from ssm_hpn.errors import CheckpointError, ConfigError, ShapeError, problem

Floats = NDArray[np.float64]
Competition = Literal["none", "narrow", "both"]
Effort = Literal["fast", "default", "best"]

OTHER: Final = "use another checkpoint"
EFFORTS: dict[Effort, dict[str, Any]] = {
    "fast": {"filters": 256, "competition": "narrow"},
    "default": {"filters": 768, "competition": "narrow"},
    "best": {"filters": 1536, "competition": "narrow"},
}
"""Filters on the series (as many on its difference, half on the size of that), and the groups that compete."""


@dataclass(frozen=True, eq=False)
class StateFeatures:
    """A bank of filters.

    >>> series = [np.sin(np.arange(length) / 3.0)[:, None] for length in (40, 60, 50)]
    >>> bank = StateFeatures.fit(series, effort="fast", seed=0)
    >>> bank.transform(series).shape, bank.count
    ((3, 8960), 8960)
    """

    filters: StateFilters

    @classmethod
    def fit(
        cls,
        series: Sequence[Floats],
        *,
        effort: Effort = "default",
        causal: bool = False,
        seed: int = 0,
        threads: int | None = None,
    ) -> Self:
        """Draw filters, and fit their gains and biases to training series f64 [T, F].

        Causal filters read forwards alone, and numbers standardised by the training series: they can be streamed.
        """
        config = json.dumps(EFFORTS[effort] | {"causal": causal, "seed": seed})
        return cls(StateFilters.fit(config, *_joined(series), threads=threads))

    @property
    def channels(self) -> int:
        """Channels of a series."""
        return self.filters.channels

    @property
    def count(self) -> int:
        """Features of a series."""
        return self.filters.blocks * self.filters.block_features

    @property
    def causal(self) -> bool:
        """Whether the filters read forwards alone, so that they can be streamed."""
        return bool(json.loads(self.filters.config)["causal"])

    @property
    def views(self) -> Views:
        """Which features are of one view of the series, standardised by one rule.

        >>> bank = StateFeatures.fit([np.sin(np.arange(30) / 3.0)[:, None]] * 2, effort="fast")
        >>> bank.views.count, len(bank.views.columns) == bank.count
        (5, True)
        """
        readings = self.filters.readings
        names = [(view, "together" if absolute else "alone") for view, _, absolute in readings]
        return Views.of([self.filters.block_features] * len(names), names)

    def blocks(self, series: Sequence[Floats], *, threads: int | None = None) -> Iterator[NDArray[np.float32]]:
        """The features in blocks of columns f32 [n, d_block], so that they are never whole in memory."""
        return iter(self.filters.transform_blocks(*_joined(series), threads=threads))

    def stream(self, rows: int = 1, *, threads: int | None = None) -> FeatureStream:
        """Features of series that are read step by step; `ConfigError` for filters that are not causal.

        >>> series = np.random.default_rng(0).normal(size=(6, 30, 1))
        >>> bank = StateFeatures.fit(series, effort="fast", causal=True)
        >>> stream = bank.stream()
        >>> for step in series[0]:
        ...     stream.step(step[None])
        >>> bool((stream.features() == bank.transform(series[:1])).all())
        True
        """
        if not self.causal:
            expected = "causal=True, filters that read forwards alone"
            raise ConfigError(problem("stream", expected, "causal=False", "fit with causal=True"))
        return self.filters.stream(rows, threads=threads)

    def transform(self, series: Sequence[Floats], *, threads: int | None = None) -> NDArray[np.float32]:
        """The features f32 [n, count]."""
        return self.filters.transform(*_joined(series), threads=threads)

    def to_arrays(self) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
        """Everything as arrays by name and as JSON."""
        return dict(self.filters.to_arrays()), {"config": self.filters.config, "channels": self.channels}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]], values: Mapping[str, Any]) -> Self:
        """What `to_arrays` gave. Raises `CheckpointError` where something is missing or does not fit.

        >>> bank = StateFeatures.fit([np.sin(np.arange(40.0))[:, None]] * 2, effort="fast")
        >>> StateFeatures.from_arrays(*bank.to_arrays()).count == bank.count
        True
        """
        try:
            return cls(StateFilters.from_arrays(values["config"], values["channels"], dict(arrays)))
        except KeyError as error:
            raise CheckpointError(problem("filters", str(error), "nothing of this name", OTHER)) from None
        except (ConfigError, ShapeError, TypeError) as error:
            raise CheckpointError(problem("filters", "numbers that fit their settings", error, OTHER)) from None

    def evidence(self, series: Floats, weights: Floats, *, threads: int | None = None) -> Floats:
        """What each step of a series [T, F] contributes to scores with the weights [count, K]: [T, K].

        Its sum over the steps is the features times the weights. A feature belongs to the steps that it counts (the
        core's formulas: docs/mathematics.md, 6), a difference to both of its steps alike, and nothing to a step whose
        channels are all NaN.

        >>> series = np.sin(np.arange(50) / 3.0)[:, None]
        >>> bank = StateFeatures.fit([series], effort="fast")
        >>> evidence = bank.evidence(series, np.ones((bank.count, 1)))
        >>> evidence.shape, bool(np.isclose(evidence.sum(), bank.transform([series]).sum(dtype=np.float64)))
        ((50, 1), True)
        """
        return self.filters.evidence(series, weights, threads=threads)

    def __getstate__(self) -> dict[str, Any]:
        """For pickling: settings and numbers."""
        arrays, values = self.to_arrays()
        return {**values, "arrays": arrays}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """The filters whose numbers these are."""
        object.__setattr__(self, "filters", self.from_arrays(state["arrays"], state).filters)


def _joined(series: Sequence[Floats]) -> tuple[Floats, NDArray[np.int64]]:
    """All steps one after the other, and where each series starts."""
    starts = np.cumsum([0, *(len(one) for one in series)])
    return np.concatenate(series).astype(np.float64, copy=False), starts.astype(np.int64)
