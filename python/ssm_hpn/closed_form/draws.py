"""Draws of some entries out of many, in which like entries are there in proportion.

Both shuffle the entries and bring like ones together. `stratified` then takes the first of each stratum before all
others, so that a rare class is never left out. `spread` takes entries at equal distances, so that numbers, each of
which may be a stratum of its own, are drawn too, and targets alike however they are coded.
"""

import numpy as np
from numpy.typing import NDArray

from ssm_hpn.closed_form.blocks import Rows

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


def stratified(strata: Ints, count: int, *, seed: int) -> Rows:
    """`count` of the entries, in rising order: of each stratum its share, at least one while `count` allows it.

    >>> chosen = stratified(np.array([0] * 90 + [1] * 10), 10, seed=0)
    >>> (chosen >= 90).sum(), len(chosen)
    (np.int64(1), 10)
    """
    if count >= len(strata):
        return np.arange(len(strata))
    random = np.random.default_rng(seed)
    shuffled = random.permutation(len(strata))
    order = _together(shuffled, strata[shuffled])
    _, first, sizes = np.unique(strata[order], return_index=True, return_counts=True)
    rank = np.arange(len(order)) - np.repeat(first, sizes)
    place = (rank + 0.5) / np.repeat(sizes, sizes)
    place[rank == 0] = 0.0  # the first of each stratum comes before all others
    return np.sort(order[np.lexsort((random.random(len(order)), place))[:count]])


def spread(targets: Floats, count: int, *, seed: int) -> Rows:
    """`count` of the entries of targets [n, K], of equal ones in proportion, in rising order.

    >>> spread(np.array([[0.0]] * 6 + [[1.0]] * 2), 4, seed=0).tolist()[-1] >= 6
    True
    """
    n = len(targets)
    if count >= n:
        return np.arange(n)
    shuffled = np.random.default_rng(seed).permutation(n)
    _, first, which = np.unique(targets[shuffled], axis=0, return_index=True, return_inverse=True)
    order = _together(shuffled, first[which.reshape(-1)])
    return np.sort(order[(np.arange(count) * n) // count])


def _together(shuffled: Rows, keys: Ints) -> Rows:
    """Entries in the order of their keys, those of one key as they were shuffled."""
    return shuffled[np.argsort(keys, kind="stable")]
