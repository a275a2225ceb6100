"""Documents without those whose contents are equal to those of an earlier one.

Which documents stay is decided in a pass of its own, by 64-bit keys of all contents, so that the first of equal ones
stays; labels and ids do not count. That any two of n different contents have one key has a chance of n^2 / 2^65: below
one in a million for six million documents.
"""

from collections.abc import Iterable, Iterator

import numpy as np

from ssm_hpn.prepare.keys import ContentKeys
from ssm_hpn.prepare.records import Documents


class Unique:
    """The documents of some batches, each content once; every pass reads the batches anew."""

    def __init__(self, batches: Iterable[Documents]) -> None:
        """Read all of them once for their keys; 9 bytes a document stay in memory."""
        self._batches = batches
        keys = ContentKeys()
        found = [keys.add(documents) for documents in batches]
        every = np.concatenate([*found, keys.rest()])
        first = np.unique(every, return_index=True)[1]
        self._stays = np.zeros(len(every), bool)
        self._stays[first] = True
        self.left_out = len(every) - len(first)
        """Documents that are left out."""

    def __iter__(self) -> Iterator[Documents]:
        """The documents that stay, in their order."""
        at = 0
        for documents in self._batches:
            number = at - 1 + np.cumsum(documents.begins)
            at = int(number[-1]) + 1 if len(number) else at
            mask = self._stays[number]
            if mask.all():
                yield documents
            elif mask.any():
                yield documents.take(mask)
