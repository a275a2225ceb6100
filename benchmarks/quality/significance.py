"""Tests of systems over data sets: Wilcoxon's of pairs, Friedman's of all, Holm's correction, and groups by them."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray  # noqa: TC002 - as everywhere
from scipy.stats import friedmanchisquare, rankdata, wilcoxon

DECIMALS: Final = 4
"""Accuracies are compared with the decimals that published ones have: 56 of 60 right is their 0.9333."""

Scores = Mapping[str, Mapping[str, float]]
"""Accuracies by system and data set."""


@dataclass(frozen=True, slots=True)
class Duel:
    """One system against another over the data sets that have both."""

    sets: int
    mean: float
    other_mean: float
    wins: int
    draws: int
    losses: int
    p: float
    """Of Wilcoxon's signed-rank test, two-sided; equal pairs are left out."""


def common_sets(scores: Scores, systems: Sequence[str]) -> list[str]:
    """The data sets that all these systems have, in the order of the first one; none without systems."""
    if not systems:
        return []
    first, *others = systems
    return [name for name in scores[first] if all(name in scores[other] for other in others)]


def wilcoxon_p(first: Sequence[float], second: Sequence[float]) -> float:
    """p of Wilcoxon's signed-rank test, two-sided, on accuracies of DECIMALS; 1 where no pair differs."""
    difference = np.round(np.round(first, DECIMALS) - np.round(second, DECIMALS), DECIMALS)
    difference = difference[difference != 0]
    return float(wilcoxon(difference).pvalue) if len(difference) else 1.0


def duel(scores: Scores, one: str, other: str) -> Duel:
    """One system against another."""
    names = common_sets(scores, [one, other])
    first, second = (np.round([scores[system][name] for name in names], DECIMALS) for system in (one, other))
    return Duel(
        sets=len(names),
        mean=float(first.mean()) if names else math.nan,
        other_mean=float(second.mean()) if names else math.nan,
        wins=int((first > second).sum()),
        draws=int((first == second).sum()),
        losses=int((first < second).sum()),
        p=wilcoxon_p(first.tolist(), second.tolist()),
    )


def mean_ranks(table: NDArray[np.float64]) -> NDArray[np.float64]:
    """[K] mean ranks of accuracies [N, K]: 1 is the best, equal ones share their ranks."""
    return np.asarray(rankdata(-np.round(table, DECIMALS), axis=1).mean(axis=0))


def holm(p: Sequence[float]) -> list[float]:
    """p-values corrected by Holm for their number, in the same order."""
    corrected = [0.0] * len(p)
    highest = 0.0
    for place, index in enumerate(sorted(range(len(p)), key=lambda i: p[i])):
        highest = max(highest, min(1.0, (len(p) - place) * p[index]))
        corrected[index] = highest
    return corrected


@dataclass(frozen=True, slots=True)
class Comparison:
    """All systems over the data sets that have all of them."""

    systems: list[str]
    """From the best mean rank to the worst."""
    ranks: list[float]
    sets: int
    friedman_p: float
    cliques: list[tuple[int, int]]
    """First and last place of every largest run of systems of which no pair differs at the level."""


def compare(scores: Scores, systems: Sequence[str], *, level: float = 0.05) -> Comparison:
    """Mean ranks, Friedman's test, and which systems cannot be told apart by Wilcoxon's with Holm's correction."""
    names = common_sets(scores, systems)
    table = np.array([[scores[system][name] for system in systems] for name in names])
    ranks = mean_ranks(table)
    order = np.argsort(ranks, kind="stable")
    ordered = table[:, order]
    pairs = list(itertools.combinations(range(len(systems)), 2))
    p = holm([wilcoxon_p(ordered[:, i].tolist(), ordered[:, j].tolist()) for i, j in pairs])
    differ = {pair for pair, value in zip(pairs, p, strict=True) if value < level}
    friedman = float(friedmanchisquare(*np.round(table, DECIMALS).T).pvalue) if len(systems) > 2 else math.nan
    return Comparison(
        systems=[systems[i] for i in order],
        ranks=[float(ranks[i]) for i in order],
        sets=len(names),
        friedman_p=friedman,
        cliques=cliques(len(systems), differ),
    )


def cliques(count: int, differ: set[tuple[int, int]]) -> list[tuple[int, int]]:
    """Largest runs of places without a pair that differs; those of one place are left out."""
    found: list[tuple[int, int]] = []
    for first in range(count):
        last = first
        while last + 1 < count and not any((i, last + 1) in differ for i in range(first, last + 1)):
            last += 1
        if last > first and (not found or last > found[-1][1]):
            found.append((first, last))
    return found
