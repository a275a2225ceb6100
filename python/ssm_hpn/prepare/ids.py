"""Ids that may be one: those that differ in the blanks around them or in leading zeros alone.

The first pass over the documents collects ids with blanks or leading zeros, a later one looks for the same ids without.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from ssm_hpn.classes import LONGEST_MISSING, SHOWN, looks_missing
from ssm_hpn.counts import counted
from ssm_hpn.prepare.labels import SPELLINGS
from ssm_hpn.prepare.problems import spelled_twice
from ssm_hpn.prepare.roles import WHOLE

MOST_SPACED: Final = 1000
"""Ids with blanks around them, or zeros before them, that are looked for without."""
BLANKS: Final = "blanks around them"
ZEROS: Final = "leading zeros"
_PADDED: Final = re.compile("0[0-9]+")
_WHOLE: Final = re.compile(WHOLE)


@dataclass
class IdSpellings:
    """How the ids of a data set are written.

    >>> ids = IdSpellings()
    >>> ids.see(["a", "7 ", "007"])
    >>> ids.look_for(["a", "7 ", "7", "007"])
    >>> list(ids.notes())[0]
    "ids '7 ' and '7' differ in blanks around them alone and are two"
    """

    whole: bool = True
    """Whether every id is a whole number as it is usually written."""
    _odd: dict[str, dict[str, None]] = field(default_factory=lambda: {BLANKS: {}, ZEROS: {}})
    """The first ids with blanks, and with zeros, in the order of the data."""
    _missing: dict[str, None] = field(default_factory=dict)
    """Ids that are often written for a missing value."""
    _bare: set[str] | None = None
    """Those of `_odd` without their blanks or zeros, once the first pass is over."""
    _there: set[str] = field(default_factory=set)
    """Ids that were found, equal to one of `_odd` without its blanks or zeros."""

    def see(self, ids: list[str]) -> None:
        """Take in the ids of some documents, in the first pass."""
        if self.whole:
            self.whole = all(map(_WHOLE.fullmatch, ids))
        if len(self._missing) < SHOWN:
            self._missing |= dict.fromkeys(one for one in ids if len(one) <= LONGEST_MISSING and looks_missing(one))
        spaced, padded = self._odd[BLANKS], self._odd[ZEROS]
        if len(spaced) < MOST_SPACED:
            spaced |= dict.fromkeys(one for one in ids if one != one.strip())
        if not self.whole and len(padded) < MOST_SPACED:
            padded |= dict.fromkeys(filter(_PADDED.fullmatch, ids))

    def look_for(self, ids: list[str]) -> None:
        """Look among the ids of some documents, in a later pass."""
        if self._bare is None:
            self._bare = {SPELLINGS[what](one) for what, odd in self._odd.items() for one in odd}
        if self._bare:
            self._there.update(self._bare.intersection(ids))

    def notes(self) -> Iterator[str]:
        """Which ids may be one, and which may be none."""
        for one in self._missing:
            yield f"id {one!r} looks like a missing value; as an id it names one document"
        for what, odd in self._odd.items():
            pairs = spelled_twice(odd, lambda bare: [one in self._there for one in bare], SPELLINGS[what])
            if pairs:
                more = len(pairs) - 1
                others = f" (and {counted(more, 'more pair')})" if more else ""
                one, other = pairs[0]
                yield f"ids {one!r} and {other!r} differ in {what} alone and are two{others}"
