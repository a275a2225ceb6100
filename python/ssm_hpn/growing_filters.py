"""Fixed state space filters with heads in closed form for labelled series that come in parts (`partial_fit`).

The first part fixes the filters with their gains and biases. Heads and the statistics of features are fitted anew after
each part, to all series so far, by `closed_form.growing`: exactly while these are few, and in bounded memory where they
are many. Numbers that are known for the same series are fitted together, as in `FilterModel`.
"""

import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from ssm_hpn.closed_form import ClassHead, Features, NumberHead, RidgeSettings
from ssm_hpn.closed_form.growing import FeaturesOf, Growing
from ssm_hpn.closed_form.simplex import simplex
from ssm_hpn.contract import Contract
from ssm_hpn.filter_model import FilterModel, FilterSettings, Targets, known_series, limited
from ssm_hpn.state_features import StateFeatures

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(eq=False)
class GrowingFilters:
    """A bank of filters, and what is known of the series so far.

    >>> from ssm_hpn.contract import Contract
    >>> wave = np.sin(np.arange(40.0))[:, None]
    >>> series, codes = [wave * (1 + n % 2) for n in range(8)], np.arange(8) % 2
    >>> growing = GrowingFilters.begin(Contract("features"), series, Targets(codes, 2))
    >>> growing.add(series, Targets(codes, 2))
    >>> growing.model(Contract("features")).class_scores(series).shape
    (8, 1)
    """

    bank: StateFeatures
    missing: Contract
    """Which says what becomes of missing numbers."""
    classes: Growing | None
    """Targets are 1 for the class of a series and else 0."""
    numbers: list[tuple[Ints, Growing]] = field(default_factory=list)
    """Columns of numbers that are known for the same series so far."""

    @classmethod
    def begin(
        cls,
        contract: Contract,
        series: list[Floats],
        targets: Targets,
        *,
        settings: FilterSettings = FilterSettings(),  # noqa: B008 - it is frozen
        ridge: RidgeSettings = RidgeSettings(),  # noqa: B008 - it is frozen
        threads: int | None = None,
    ) -> Self:
        """Filters that are fitted to series f64 [T, F]; these are not added yet."""
        if targets.sample_weight is not None:
            rows, targets = targets.weighed()
            series = [series[i] for i in rows]
        bank = StateFeatures.fit(known_series(contract, series), **vars(settings), threads=threads)
        return cls.of_bank(bank, contract, targets, replace(ridge, threads=ridge.threads or threads))

    @classmethod
    def of_bank(
        cls,
        bank: StateFeatures,
        contract: Contract,
        targets: Targets,
        ridge: RidgeSettings = RidgeSettings(),  # noqa: B008
    ) -> Self:
        """Filters that are there, for series with such targets."""
        ridge = replace(ridge, views=bank.views)
        classes = None if targets.codes is None else Growing(targets.n_classes, by_class=True, settings=ridge)
        count = 0 if targets.numbers is None else targets.numbers.shape[1]
        numbers = [(np.arange(count), Growing(count, settings=ridge))] if count else []
        return cls(bank, contract, classes, numbers)

    @property
    def _kept(self) -> int:
        """Most series that a head is fitted to at once."""
        growing = [one for _, one in self.numbers] + ([] if self.classes is None else [self.classes])
        return max((len(one.series) for one in growing), default=0)

    def add(self, series: list[Floats], targets: Targets, *, threads: int | None = None) -> None:
        """Add series with what is known of them; `class_weight` is [C] or none."""
        samples = np.ones(len(series)) if targets.sample_weight is None else targets.sample_weight
        series, of = known_series(self.missing, series), _features_of(self.bank, threads)
        with limited(threads, self._kept + len(series)):
            if self.classes is not None and targets.codes is not None:
                there = (targets.codes >= 0) & (samples > 0)
                self._add_classes(of, _chosen(series, there), targets.codes[there], samples[there], targets)
            if targets.numbers is not None:
                self._part_numbers(~np.isnan(targets.numbers))
                for columns, growing in self.numbers:
                    there = ~np.isnan(targets.numbers[:, columns[0]]) & (samples > 0)
                    known = targets.numbers[np.ix_(there, columns)]
                    growing.add(of, _chosen(series, there), known, samples[there], samples[there])

    def _add_classes(
        self, of: FeaturesOf, series: list[Floats], codes: Ints, samples: Floats, targets: Targets
    ) -> None:
        assert self.classes is not None
        one_hot = np.zeros((len(codes), self.classes.n_targets))
        one_hot[np.arange(len(codes)), codes] = 1.0
        weights = samples
        if targets.class_weight is not None:
            weights = samples * np.asarray(targets.class_weight, np.float64)[codes]
        kept = weights > 0
        self.classes.add(of, _chosen(series, kept), one_hot[kept], weights[kept], samples[kept])

    def _part_numbers(self, there: NDArray[np.bool_]) -> None:
        """Part columns that were known for the same series, and are not for the new ones [N, K]."""
        parted = []
        for columns, growing in self.numbers:
            patterns, which = np.unique(there[:, columns], axis=1, return_inverse=True)
            for k in range(patterns.shape[1]):
                chosen = np.flatnonzero(which.reshape(-1) == k)
                part = growing if len(chosen) == len(columns) else copy.deepcopy(growing)
                part.keep(chosen)
                parted.append((columns[chosen], part))
        self.numbers = parted

    def add_classes(self, places: Ints, n_classes: int) -> None:
        """Make room for new classes; those so far are at these places of the new ones."""
        assert self.classes is not None
        self.classes.spread(places, n_classes)

    def model(self, contract: Contract, *, threads: int | None = None) -> FilterModel:
        """The model of all series so far, with this contract."""
        of = _features_of(self.bank, threads)
        with limited(threads, self._kept):
            classes = None if self.classes is None else self._class_head(of, self.classes)
            heads = []
            for columns, growing in self.numbers:
                known, fit = growing.known, growing.fit(of, each=True)
                heads.append((columns, NumberHead(fit, known.targets, known.samples)))
        return FilterModel(self.bank, contract, classes, heads)

    def _class_head(self, of: FeaturesOf, growing: Growing) -> ClassHead:
        prototypes = simplex(growing.n_targets)
        fit, known = growing.fit(of, each=False, directions=prototypes), growing.known
        return ClassHead.of_fit(fit, prototypes, known.targets.argmax(axis=1), known.weights, known.samples)


def _features_of(bank: StateFeatures, threads: int | None) -> FeaturesOf:
    def of_series(series: Sequence[Any]) -> Features:
        def of(rows: NDArray[np.intp]) -> Iterator[NDArray[np.float32]]:
            return bank.blocks([series[i] for i in rows], threads=threads)

        return of

    return of_series


def _chosen(series: list[Floats], there: NDArray[np.bool_]) -> list[Floats]:
    return [series[i] for i in np.flatnonzero(there)]
