"""A series that comes in pieces: its numbers and channels by the contract, those of the whole series."""

import numpy as np
from numpy.typing import NDArray

from ssm_hpn.contract import Contract, steps_since

Floats = NDArray[np.float64]


class Pieces:
    """What a contract makes of a series whose steps come bit by bit.

    >>> from ssm_hpn.columns import Column
    >>> contract = Contract("features", (Column("speed", "feature", mean=3.0),), missing="forward")
    >>> pieces = Pieces(contract)
    >>> [pieces.filled(np.array([[x]])).item() for x in (np.nan, 5.0, np.nan)]
    [3.0, 5.0, 5.0]
    """

    def __init__(self, contract: Contract) -> None:
        self._contract = contract
        self._flagged = [k for k, column in enumerate(contract.features) if column.indicator]
        self._last: Floats | None = None
        self._since = np.zeros(len(self._flagged), np.int64)

    def filled(self, x: Floats) -> Floats:
        """Further raw numbers [T, F] with what the contract has in place of missing ones, as `Contract.filled`."""
        if not len(x):
            return x
        before = 0 if self._last is None else 1
        whole = x if self._last is None else np.concatenate([self._last, x])
        found = self._contract.filled(whole)[before:]
        if self._contract.missing == "forward":
            self._last = found[-1:]
        return found

    def channels(self, x: Floats) -> NDArray[np.float32]:
        """Channels [T, C] of further raw numbers [T, F], as `Contract.channels`."""
        if not len(x):
            return self._contract.channels(x)
        gone = np.isnan(x[:, self._flagged])
        y = self._contract.channels(self.filled(x) if self._contract.missing == "forward" else x)
        if self._flagged:
            since = steps_since(~gone, self._since)
            y[:, -len(self._flagged) :] = np.log1p(since).astype(np.float32)
            self._since = since[-1]
        return y
