"""What the ranks of a run agree on while it trains: whether to stop, and for how long it has trained.

Every rank decides by these what is due, so they are the same on all of them, to the bit.
"""

import time
from collections.abc import Callable

from ssm_hpn.ranks import Ranks


class Agreement:
    """The request to stop and the seconds of training of one run.

    A process alone answers by its own request and clock at any time; one of several by what `renew` found last, where
    any rank's request counts and the time is that of rank 0.

    >>> agreement = Agreement(Ranks(), lambda: False)
    >>> agreement.go_on_from(60.0)
    >>> agreement.renew()
    >>> agreement.stop, 60 <= agreement.seconds < 61
    (False, True)
    """

    def __init__(self, ranks: Ranks, asked: Callable[[], bool]) -> None:
        self._ranks = ranks
        self._asked = asked
        """Whether this rank was asked to stop."""
        self.seconds_before = 0.0
        """Seconds of training before this clock began."""
        self._began = time.monotonic()
        self._agreed: tuple[bool, float] | None = None

    def renew(self) -> None:
        """Agree with the other ranks, which call it at once."""
        if self._ranks.size > 1:
            self._agreed = self._ranks.agree(stop=self._asked(), seconds=self._own_seconds())

    @property
    def stop(self) -> bool:
        """Whether to save and end."""
        return self._asked() if self._agreed is None else self._agreed[0]

    @property
    def seconds(self) -> float:
        """Seconds of training, over all calls of `fit` for the run."""
        return self._own_seconds() if self._agreed is None else self._agreed[1]

    def go_on_from(self, seconds: float) -> None:
        """Count on from these seconds, now."""
        self.seconds_before, self._began = seconds, time.monotonic()

    def _own_seconds(self) -> float:
        return self.seconds_before + time.monotonic() - self._began
