"""Series with their targets, as features are fitted to them and judged by them: of prepared folders, and of documents.

The channels of shards are in single precision, shifted and scaled; the contract makes series of them again, so that the
same document gives the same features whether it is read from shards or from raw files.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Final, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from ssm_hpn._core import ShardReader
from ssm_hpn.contract import Contract
from ssm_hpn.counts import counted
from ssm_hpn.errors import DataError, problem
from ssm_hpn.targets import COLUMNS, TargetKind, column_with

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
T = TypeVar("T")

STEPS_AT_ONCE: Final = 1 << 20
SERIES_AT_ONCE: Final = 1 << 10
"""Most time steps, and series, whose features are asked for together."""


@dataclass(frozen=True, eq=False)
class Labelled:
    """N series and what is known of them, in the user's units."""

    series: list[Floats]
    """[T, F] each, NaN for a missing number."""
    codes: Ints | None = None
    """[N] number of the class, -1 for none, below that for one that is not among them; None where none is predicted."""
    numbers: Floats | None = None
    """[N, K], NaN for none; None where no numbers are predicted."""

    @property
    def known(self) -> NDArray[np.bool_]:
        """[N] whether a series has any target."""
        there = np.zeros(len(self.series), np.bool_)
        if self.codes is not None:
            there |= self.codes >= 0
        if self.numbers is not None:
            there |= ~np.isnan(self.numbers).all(axis=1)
        return there

    @property
    def strange(self) -> NDArray[np.bool_]:
        """[N] whether a series has a class that is not among those that are predicted, and no other target."""
        return np.zeros(len(self.series), np.bool_) if self.codes is None else (self.codes < -1) & ~self.known

    def of(self, rows: NDArray[np.intp]) -> Self:
        """Some of the series.

        >>> two = Labelled([np.zeros((3, 1)), np.ones((2, 1))], np.array([0, 1]))
        >>> two.of(np.array([1])).codes.tolist()
        [1]
        """
        codes = None if self.codes is None else self.codes[rows]
        numbers = None if self.numbers is None else self.numbers[rows]
        return type(self)([self.series[i] for i in rows], codes, numbers)


def of_folder(folder: Path, contract: Contract, kind: TargetKind) -> Iterator[Labelled]:
    """The documents of a prepared folder, some at a time, checked against its digests as they are read."""
    reader = ShardReader(str(folder))
    while (group := reader.next()) is not None:
        series = [contract.series(group["features"][a:b]) for a, b in pairwise(group["boundaries"].tolist())]
        targets = {
            name: contract.unscale_values(values) if COLUMNS[name].element == "number" else values
            for name, values in group["targets"].items()
        }
        yield _labelled(series, targets, kind)


def joined(groups: Iterable[Labelled]) -> Labelled:
    """Groups of series as one.

    >>> one = Labelled([np.zeros((3, 1))], np.array([0]))
    >>> joined([one, one]).codes.tolist()
    [0, 0]
    """
    found = list(groups)
    series = [one for group in found for one in group.series]
    codes = [group.codes for group in found if group.codes is not None]
    numbers = [group.numbers for group in found if group.numbers is not None]
    return Labelled(series, np.concatenate(codes) if codes else None, np.concatenate(numbers) if numbers else None)


def of_documents(
    documents: Iterable[tuple[str, Floats, Mapping[str, NDArray[Any]]]], kind: TargetKind, n_values: int
) -> Iterator[Labelled]:
    """Named series with their targets by column, in groups of bounded size; a target that is not there is missing.

    Raises `DataError` for another number of numbers than `n_values`.
    """
    for group in grouped(documents, lambda one: len(one[1])):
        targets: dict[str, list[NDArray[Any]]] = {}
        for name in kind.columns:
            number = COLUMNS[name].element == "number"
            none = np.full(n_values, np.nan) if number else np.array(-1, np.int32)
            targets[name] = [found.get(name, none) for _, _, found in group]
            for (document, _, _), values in zip(group, targets[name], strict=True):
                if number and values.shape != (n_values,):
                    expected = f"{counted(n_values, 'number')} to predict, as in the training data"
                    raise DataError(problem(document, expected, values.shape[-1], "give every document as many"))
        series = [one for _, one, _ in group]
        yield _labelled(series, {name: np.stack(values) for name, values in targets.items()}, kind)


def grouped(items: Iterable[T], steps: Callable[[T], int]) -> Iterator[list[T]]:
    """Consecutive items in groups of at most `SERIES_AT_ONCE`, of about `STEPS_AT_ONCE` time steps."""
    group: list[T] = []
    total = 0
    for item in items:
        group.append(item)
        total += steps(item)
        if total >= STEPS_AT_ONCE or len(group) >= SERIES_AT_ONCE:
            yield group
            group, total = [], 0
    if group:
        yield group


def _labelled(series: list[Floats], targets: Mapping[str, NDArray[Any]], kind: TargetKind) -> Labelled:
    of_class, of_numbers = (column_with(element, kind.columns) for element in ("class", "number"))
    codes = None if of_class is None else np.asarray(targets[of_class], np.int64)
    numbers = None if of_numbers is None else np.asarray(targets[of_numbers], np.float64)
    return Labelled(series, codes, numbers)
