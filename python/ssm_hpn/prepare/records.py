"""Documents as they were read, before they are encoded: many at once in arrays, and one by one for those who ask.

Lengths are counted in units: bytes of text, tokens, or time steps. Numbers are in double precision, NaN where one is
missing; labels are texts, numbered in the order they were met.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray

from ssm_hpn.classes import has_no_label
from ssm_hpn.prepare.source import Source
from ssm_hpn.targets import COLUMNS

MOST_CLASSES: Final = 1_000_000
Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Target = str | list[str | None] | Floats | None
"""The target of one document: a label, the labels of its units, or numbers."""


@dataclass(frozen=True, slots=True)
class Coded:
    """Labels as numbers of the texts that they stand for, -1 for none."""

    codes: NDArray[np.int32]
    texts: list[str]

    @classmethod
    def of(cls, codes: NDArray[Any], texts: Iterable[object]) -> Self:
        """Labels from indices into texts; a text that stands for a missing label becomes -1."""
        words = ["" if text is None else str(text) for text in texts]
        none = np.array([has_no_label(word) for word in words] + [True])
        codes = codes.astype(np.int32)
        return cls(np.where(none[codes], np.int32(-1), codes), words)

    def __getitem__(self, at: Any) -> "Coded":  # noqa: ANN401 - whatever numpy takes
        return Coded(self.codes[at], self.texts)

    def text(self, index: int) -> str | None:
        """One label as it was written."""
        code = int(self.codes[index])
        return None if code < 0 else self.texts[code]


class TooManyTextsError(Exception):
    """A column that is no key has more than `MOST_CLASSES` different texts; the message is its field, if known."""


@dataclass(slots=True)
class Texts:
    """Texts numbered in the order they were met. Raises `TooManyTextsError` for more than `MOST_CLASSES`.

    >>> import numpy as np
    >>> texts = Texts(["a"])
    >>> texts.codes(Coded(np.array([0, -1, 1], np.int32), ["b", "a"])).tolist(), texts.texts
    ([1, -1, 0], ['a', 'b'])
    """

    texts: list[str] = field(default_factory=list)
    _index: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Number the texts that are there."""
        self._index = {text: code for code, text in enumerate(self.texts)}

    def codes(self, coded: Coded) -> NDArray[np.int32]:
        """Labels by their numbers here, -1 for none."""
        if coded.texts is self.texts:
            return coded.codes
        moved = np.full(len(coded.texts) + 1, -1, np.int32)
        for code in np.flatnonzero(np.bincount(coded.codes[coded.codes >= 0])).tolist():
            text = coded.texts[code]
            if text not in self._index:
                self._index[text] = len(self.texts)
                self.texts.append(text)
            moved[code] = self._index[text]
        if len(self.texts) > MOST_CLASSES:
            raise TooManyTextsError
        return moved[coded.codes]


@dataclass(slots=True)
class Documents:
    """Some documents of one source, one after the other."""

    source: Source
    rows: Ints
    """[N] row of the source at which each begins, counted from 1."""
    elements: NDArray[np.uint8] | Ints | Floats
    """Bytes [units], token ids [units] or features [units, F] of all of them."""
    offsets: Ints
    """[N+1] document i is units `offsets[i]..offsets[i + 1]`."""
    numbered: bool = True
    """Whether the source has several documents, named by their ids or else by their rows; if not, it is the one."""
    ids: list[str] | None = None
    """[N] values of the id column."""
    targets: dict[str, Coded | Floats] = field(default_factory=dict)
    """By column of `ssm_hpn.targets.COLUMNS`, in its order: labels [N] or [units], or numbers [N, K] or [units, K]."""
    time: Floats | None = None
    """[N] order value of the first row, as a number."""
    side: Coded | None = None
    """[N] value of the column that decides the split."""
    fresh: NDArray[np.bool_] | None = None
    """[N] whether an entry begins a document; None: each does. The others go on with the one before."""
    unit_rows: Ints | None = None
    """[units] row of each time step, where labels or messages need it."""
    label_name: str | None = None
    """Column of the labels."""
    channels: tuple[str, ...] = ()
    """Name of each feature."""

    def __len__(self) -> int:
        """Number of entries N."""
        return len(self.offsets) - 1

    @property
    def lengths(self) -> Ints:
        """[N] units of each."""
        return np.diff(self.offsets)

    @property
    def begins(self) -> NDArray[np.bool_]:
        """[N] whether an entry begins a document."""
        return np.ones(len(self), bool) if self.fresh is None else self.fresh

    @property
    def kind(self) -> str:
        """`text`, `tokens` or `features`."""
        return {"u": "text", "i": "tokens", "f": "features"}[self.elements.dtype.kind]

    @property
    def names(self) -> list[str]:
        """[N]."""
        if not self.numbered:
            return [self.source.name] * len(self)
        prefix = f"{escaped(self.source.name)}#"
        return [f"{prefix}{mark}" for mark in self.ids or self.rows.tolist()]

    def name(self, index: int) -> str:
        """Name of a document; pieces of it share it and follow each other."""
        mark = self.ids[index] if self.ids else self.rows[index]
        return f"{escaped(self.source.name)}#{mark}" if self.numbered else self.source.name

    def take(self, chosen: NDArray[np.bool_] | Ints) -> "Documents":
        """The chosen entries (a mask, or rising indices)."""
        index = np.flatnonzero(chosen) if chosen.dtype == bool else chosen
        if len(index) == len(self):
            return self
        lengths = self.lengths
        if len(index) and index[-1] - index[0] + 1 == len(index):  # one piece of the whole, which is not copied
            units = slice(int(self.offsets[index[0]]), int(self.offsets[index[-1] + 1]))
            return self._with(np.asarray(index), units, lengths[index])
        mask = np.zeros(len(self), bool)
        mask[index] = True
        chosen = np.repeat(mask, lengths)
        if self.elements.ndim == 2:  # rows of features are copied faster by their places, bytes and ids by a mask
            chosen = np.flatnonzero(chosen)
        return self._with(np.asarray(index), chosen, lengths[index])

    def cut(self, places: Ints, owners: Ints, begins: NDArray[np.bool_]) -> "Documents":
        """The same units with other borders: `places` [M+1], each piece belonging to entry `owners` [M]."""
        return replace(self._with(owners, slice(None), np.diff(places)), fresh=begins)

    def _with(self, index: Ints, units: Any, lengths: Ints) -> "Documents":  # noqa: ANN401 - an index of numpy
        by_place = isinstance(units, np.ndarray) and units.dtype != bool
        return replace(
            self,
            rows=self.rows[index],
            elements=self.elements.take(units, axis=0) if by_place else self.elements[units],
            offsets=np.concatenate([[0], np.cumsum(lengths)]),
            ids=None if self.ids is None else [self.ids[i] for i in index.tolist()],
            targets={name: x[units if COLUMNS[name].per_token else index] for name, x in self.targets.items()},
            time=None if self.time is None else self.time[index],
            side=None if self.side is None else self.side[index],
            fresh=None if self.fresh is None else self.fresh[index],
            unit_rows=None if self.unit_rows is None else self.unit_rows[units],
        )

    def record(self, index: int) -> "Record":
        """One entry."""
        return Record(self, index)

    def __iter__(self) -> Iterator["Record"]:
        """Every entry."""
        return map(self.record, range(len(self)))


@dataclass(frozen=True)
class Record:
    """One entry of `Documents`: exactly one of text, tokens and features; targets as they were found."""

    documents: Documents
    index: int

    @property
    def source(self) -> Source:
        """The source of the document."""
        return self.documents.source

    @property
    def path(self) -> Path:
        """The path of the file."""
        return self.source.path

    @cached_property
    def name(self) -> str:
        """The name of the document."""
        return self.documents.name(self.index)

    @property
    def id(self) -> str | None:
        """The id as it was written; None where files or rows are the documents."""
        return None if self.documents.ids is None else self.documents.ids[self.index]

    @property
    def at(self) -> str:
        """Place in the file, for messages: `line 17`."""
        return self.source.row(int(self.documents.rows[self.index]))

    @property
    def _units(self) -> slice:
        return slice(int(self.documents.offsets[self.index]), int(self.documents.offsets[self.index + 1]))

    @property
    def units(self) -> int:
        """Bytes, tokens or time steps."""
        return int(self.documents.lengths[self.index])

    def _content(self, kind: str) -> Any:  # noqa: ANN401 - bytes or an array
        return self.documents.elements[self._units] if self.documents.kind == kind else None

    @property
    def text(self) -> bytes | None:
        """Bytes of a text."""
        content = self._content("text")
        return None if content is None else content.tobytes()

    @property
    def tokens(self) -> Ints | None:
        """[T] ids."""
        found: Ints | None = self._content("tokens")
        return found

    @property
    def features(self) -> Floats | None:
        """[T, F] in the user's units, NaN where a number is missing."""
        found: Floats | None = self._content("features")
        return found

    @property
    def targets(self) -> dict[str, Target]:
        """By column of `ssm_hpn.targets.COLUMNS`: labels as they were written, or numbers to predict [K] or [T, K]."""
        return {name: self._target(name, values) for name, values in self.documents.targets.items()}

    def _target(self, name: str, values: Coded | Floats) -> Target:
        per_token = COLUMNS[name].per_token
        if not isinstance(values, Coded):
            return values[self._units if per_token else self.index]
        if not per_token:
            return values.text(self.index)
        return [None if code < 0 else values.texts[code] for code in values.codes[self._units].tolist()]

    def label_place(self, index: int | None = None) -> str:
        """Where the label was, that of time step or token `index` if there is one for each, for messages."""
        at, rows = self.at, self.documents.unit_rows
        if index is not None:
            row = None if rows is None else int(rows[self._units][index])
            at = f"{at}, position {index}" if row is None else self.source.row(row)
        name = self.documents.label_name
        return at if name is None else f"{at}, {self.source.field(name)}"


def escaped(file: str) -> str:
    """The name of a file as it stands in the names of its documents, before the first `#`.

    >>> escaped("a#1.csv")
    'a%231.csv'
    """
    return file.replace("%", "%25").replace("#", "%23")


def file_and_mark(name: str) -> tuple[str, str | None]:
    """The name of a file, and the id or the row behind it, of the name of a document.

    >>> file_and_mark("a%231.csv#id#7")
    ('a#1.csv', 'id#7')
    """
    file, there, mark = name.partition("#")
    return (file.replace("%23", "#").replace("%25", "%"), mark) if there else (name, None)


def character_start(text: bytes, place: int) -> int:
    """The last place up to `place` (below the length) where UTF-8 may be cut; `place` itself if it is not UTF-8.

    >>> character_start("aß".encode(), 2)
    1
    """
    for start in range(place, max(place - 4, 0), -1):
        if text[start] & 0xC0 != 0x80:
            return start
    return place


def within(documents: Documents, limit: int) -> Documents:
    """The same with no entry longer than `limit` units: longer ones are cut, text after a line end where there is one.

    A character of UTF-8 is never cut.
    """
    lengths = documents.lengths
    if not len(lengths) or lengths.max() <= limit:
        return documents
    places, owners, begins = [0], [], []
    for index, begin in enumerate(documents.begins.tolist()):
        start, end = int(documents.offsets[index]), int(documents.offsets[index + 1])
        fresh = begin
        while start < end:
            stop = min(end, start + limit)
            if stop < end and documents.kind == "text":
                window = documents.elements[start : stop + 1].tobytes()
                half = len(window) // 2
                stop = start + (window.rfind(b"\n", half, limit) + 1 or character_start(window, limit))
            places.append(stop)
            owners.append(index)
            begins.append(fresh)
            start, fresh = stop, False
    return documents.cut(np.array(places), np.array(owners), np.array(begins))
