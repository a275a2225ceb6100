"""Ids that may be one: those that differ in blanks around them or leading zeros alone, and those of several rows.

The first pass over the documents collects ids with blanks or leading zeros, a later one looks for the same ids without.
Ids of rows that are documents are compared by their keys while a table is read.
"""

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from ssm_hpn.classes import LONGEST_MISSING, SHOWN, looks_missing
from ssm_hpn.counts import counted
from ssm_hpn.prepare.keys import Keys, text_keys
from ssm_hpn.prepare.labels import SPELLINGS
from ssm_hpn.prepare.problems import shown, spelled_twice
from ssm_hpn.prepare.roles import WHOLE

MOST_SPACED: Final = 1000
"""Ids with blanks around them, or zeros before them, that are looked for without."""
MOST_COMPARED: Final = 1 << 21
"""Rows of a table whose ids are compared with each other: 8 bytes are held of each."""
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


@dataclass
class IdsOfRows:
    """The ids of a table whose rows are documents, to find those that are in several rows.

    >>> ids = IdsOfRows()
    >>> ids.see(["a", "b"])
    >>> ids.see(["c", "b"])
    >>> list(ids.notes(lambda: [["a", "b"], ["c", "b"]]))
    ["1 id is in several rows, such as 'b', and each row is a document of its own"]
    """

    _keys: list[Keys] = field(default_factory=list)
    _rows: int = 0

    def see(self, ids: list[str]) -> None:
        """Take in the ids of the next rows."""
        there = min(self._rows, MOST_COMPARED)
        if there < MOST_COMPARED:
            self._keys.append(text_keys(ids[: MOST_COMPARED - there]))
        self._rows += len(ids)

    def notes(self, again: Callable[[], Iterable[list[str]]]) -> Iterator[str]:
        """Which ids are in several rows, and whether all were compared; `again` gives the ids once more."""
        keys = np.concatenate([np.empty(0, np.uint64), *self._keys])
        _, first, counts = np.unique(keys, return_index=True, return_counts=True)
        several = first[counts > 1]
        if len(several):
            key = keys[several.min()]
            one = next(one for ids in again() for one, mark in zip(ids, text_keys(ids), strict=True) if mark == key)
            are = counted(len(several), "id is", "ids are")
            yield f"{are} in several rows, such as {shown(one)}, and each row is a document of its own"
        if self._rows > MOST_COMPARED:
            yield f"only the first {MOST_COMPARED:,} rows were searched for an id that is in several rows"
