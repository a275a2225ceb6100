"""Fixed state space filters with heads in closed form: fitted to labelled series, kept as one value."""

from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from ssm_hpn.closed_form import ClassHead, Features, NumberHead
from ssm_hpn.contract import Contract
from ssm_hpn.state_features import Effort, StateFeatures

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Targets:
    """What is learned of N series."""

    codes: Ints | None = None
    """[N] number of the class, -1 for none."""
    n_classes: int = 0
    numbers: Floats | None = None
    """[N, K], NaN for none."""
    sample_weight: Floats | None = None
    """[N], none below 0; a series of weight 0 takes no part."""
    class_weight: Floats | Literal["balanced"] | None = None
    """[C], none below 0."""

    def weighed(self) -> tuple[Ints, "Targets"]:
        """The series with a weight above 0, and their targets."""
        assert self.sample_weight is not None
        rows = np.flatnonzero(self.sample_weight > 0)
        codes = None if self.codes is None else self.codes[rows]
        return rows, replace(self, codes=codes, numbers=_of(self.numbers, rows), sample_weight=self.sample_weight[rows])


@dataclass(frozen=True, eq=False)
class FilterModel:
    """A bank of filters, a head of classes, and heads of numbers beside it or instead."""

    bank: StateFeatures
    contract: Contract
    classes: ClassHead | None
    numbers: list[tuple[Ints, NumberHead]]
    """Numbers that are known for the same series are fitted together: their columns, and their head."""

    @classmethod
    def fit(
        cls,
        contract: Contract,
        series: list[Floats],
        targets: Targets,
        *,
        effort: Effort = "default",
        seed: int = 0,
        threads: int | None = None,
    ) -> Self:
        """Fit to series f64 [T, F]."""
        if targets.sample_weight is not None:
            rows, targets = targets.weighed()
            series = [series[i] for i in rows]
        codes, numbers, weights = targets.codes, targets.numbers, targets.sample_weight
        series = known_series(contract, series)
        bank = StateFeatures.fit(series, effort=effort, seed=seed, threads=threads)
        classes, heads = None, []
        with limited(threads):
            if codes is not None:
                labelled = np.flatnonzero(codes >= 0)
                features = _features(bank, series, labelled, threads)
                classes = ClassHead.fit(
                    features,
                    codes[labelled],
                    n_classes=targets.n_classes,
                    sample_weight=_of(weights, labelled),
                    class_weight=targets.class_weight,
                )
            if numbers is not None:
                there = ~np.isnan(numbers)
                patterns, which = np.unique(there, axis=1, return_inverse=True)
                for k, known in enumerate(patterns.T):
                    columns, rows = np.flatnonzero(which.reshape(-1) == k), np.flatnonzero(known)
                    features = _features(bank, series, rows, threads)
                    known_numbers = numbers[np.ix_(rows, columns)]
                    heads.append((columns, NumberHead.fit(features, known_numbers, sample_weight=_of(weights, rows))))
        return cls(bank, contract, classes, heads)

    def class_scores(self, series: list[Floats], *, threads: int | None = None) -> Floats:
        """z [N, C - 1] of the head of classes."""
        assert self.classes is not None
        with limited(threads):
            return self.classes.scores(self.bank.blocks(known_series(self.contract, series), threads=threads))

    def predicted(self, series: list[Floats], *, threads: int | None = None) -> Floats:
        """The numbers [N, K]."""
        series = known_series(self.contract, series)
        found = np.empty((len(series), sum(len(columns) for columns, _ in self.numbers)))
        with limited(threads):
            for columns, head in self.numbers:
                found[:, columns] = head.scores(self.bank.blocks(series, threads=threads))
        return found

    def left_out_score(self) -> float:
        """Of training series, each predicted by the fit to all others: accuracy of classes, else mean R² of numbers.

        Numbers that are always the same do not count.
        """
        if self.classes is not None:
            return self.classes.left_out_accuracy()
        found = np.concatenate([head.left_out_r2() for _, head in self.numbers])
        return float(found[~np.isnan(found)].mean()) if not np.isnan(found).all() else float("nan")

    def strengths(self) -> Floats:
        """The ridge's strengths: [1] of the classes, else [K] of the numbers."""
        if self.classes is not None:
            return self.classes.ridge.strength[:1]
        found = np.empty(sum(len(columns) for columns, _ in self.numbers))
        for columns, head in self.numbers:
            found[columns] = head.ridge.strength
        return found


def known_series(contract: Contract, series: list[Floats]) -> list[Floats]:
    """Missing numbers by the rule of the contract; `mask` leaves them missing, which the filters leave out."""
    if contract.missing == "mask":
        return series
    return [contract.filled(one) for one in series]


def _features(bank: StateFeatures, series: list[Floats], chosen: Ints, threads: int | None) -> Features:
    """Features of some of the chosen series."""

    def of(rows: NDArray[np.intp]) -> Iterator[NDArray[np.float32]]:
        return bank.blocks([series[i] for i in chosen[rows]], threads=threads)

    return of


def _of(values: Floats | None, rows: Ints) -> Floats | None:
    return None if values is None else values[rows]


def limited(threads: int | None) -> Any:  # noqa: ANN401 - a context
    """Keeps linear algebra to this number of threads."""
    return nullcontext() if threads is None else threadpool_limits(threads)
