"""Tests of systems over data sets against enumeration, formulas and cases worked out by hand."""

import itertools

import numpy as np
import pytest

pytest.importorskip("scipy")

from quality.significance import cliques, compare, duel, holm, mean_ranks, wilcoxon_p


def enumerated_p(difference):
    """Two-sided p of the signed-rank test over all signs."""
    ranks = np.argsort(np.argsort(np.abs(difference))) + 1
    statistic = min(ranks[difference > 0].sum(), ranks[difference < 0].sum())
    sums = [
        sum(r for r, s in zip(ranks, signs, strict=True) if s) for signs in itertools.product((0, 1), repeat=len(ranks))
    ]
    return min(1.0, 2 * np.mean([one <= statistic for one in sums]))


@pytest.mark.parametrize("seed", range(4))
def test_wilcoxon_is_that_of_all_signs(seed):
    first = np.random.default_rng(seed).uniform(0.5, 1, 9).round(4)
    difference = np.random.default_rng(seed + 9).permutation(np.arange(1, 10)) * 0.001 * np.sign(first - 0.7)
    assert wilcoxon_p(first, first - difference) == pytest.approx(enumerated_p(difference))


def test_equal_pairs_do_not_count():
    first = [0.9, 0.8, 0.7, 0.6, 0.5, 0.4]
    worse = [0.89, 0.78, 0.67, 0.56, 0.45, 0.34]
    assert wilcoxon_p(first, worse) == pytest.approx(2 / 64)
    assert wilcoxon_p([*first, 0.3, 1.0], [*worse, 0.1 + 0.2, 1.0]) == pytest.approx(2 / 64)
    assert wilcoxon_p(first, first) == 1.0
    assert wilcoxon_p(np.array(first) + 0.00004, first) == 1.0


def test_a_duel_counts_on_common_sets():
    scores = {"a": {"x": 0.9, "y": 0.5, "z": 28 / 60, "alone": 1.0}, "b": {"z": 0.4667, "y": 0.6, "x": 0.7}}
    found = duel(scores, "a", "b")
    assert (found.sets, found.wins, found.draws, found.losses) == (3, 1, 1, 1)
    assert found.mean == pytest.approx(1.8667 / 3)
    assert found.other_mean == pytest.approx(1.7667 / 3)


def test_holm_corrects_in_order():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.6, 0.7]) == [1.0, 1.0]
    assert holm([]) == []


def test_equal_accuracies_share_their_ranks():
    table = np.array([[0.9, 0.8, 0.8], [56 / 60, 0.9333, 0.1]])
    assert mean_ranks(table).tolist() == [1.25, 2.0, 2.75]


def test_runs_without_a_difference():
    assert cliques(4, {(0, 3), (0, 2)}) == [(0, 1), (1, 3)]
    assert cliques(3, set()) == [(0, 2)]
    assert cliques(3, {(0, 1), (1, 2), (0, 2)}) == []
    assert cliques(3, {(0, 1)}) == [(1, 2)]
    assert cliques(4, {(1, 2)}) == [(0, 1), (2, 3)]


def test_a_comparison_tells_the_better_from_alike():
    random = np.random.default_rng(0)
    base = random.uniform(0.5, 0.7, 24)
    alike = [base, base + random.normal(0, 0.01, 24)]
    table = np.column_stack([*alike, base + 0.1])
    scores = {name: {f"set {i}": float(v) for i, v in enumerate(table[:, k])} for k, name in enumerate("abc")}
    scores["a"]["alone"] = 1.0
    found = compare(scores, ["a", "b", "c"])
    assert found.systems[0] == "c"
    assert found.ranks[0] == 1.0
    assert found.sets == 24
    assert found.cliques == [(1, 2)]
    ranks = mean_ranks(table)  # without ties Friedman's statistic is 12 n / (k (k + 1)) Σ (rank - (k + 1) / 2)²
    statistic = 12 * 24 / 12 * ((ranks - 2) ** 2).sum()
    assert found.friedman_p == pytest.approx(np.exp(-statistic / 2))  # of two degrees of freedom
