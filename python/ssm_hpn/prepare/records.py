"""A record: one document, or one piece of a long one, as it was read and before it is encoded.

Lengths are counted in units: bytes of text, tokens, or time steps.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ssm_hpn.prepare.sources import Source

Label = str | int | None


@dataclass(frozen=True, slots=True)
class Record:
    """Exactly one of text, tokens and features; targets as they were found."""

    name: str
    """Of the document; decides its side of the split. Pieces of one document share it and follow each other."""
    source: Source
    at: str
    """Place in the file, for messages: `row 17`."""
    text: bytes | None = None
    tokens: NDArray[np.int64] | None = None
    features: NDArray[np.float32] | None = None
    """[T, F]."""
    label: Label = None
    labels: list[Label] | NDArray[np.int64] | None = None
    """One per token or time step."""
    values: NDArray[np.float32] | None = None
    """[K]."""
    rows: NDArray[np.int64] | None = None
    """Row of each time step in the file, for messages about `labels`."""
    label_name: str | None = None
    """Column that `label` or `labels` came from, for messages."""

    @property
    def path(self) -> Path:
        """Of the file."""
        return self.source.path

    @property
    def units(self) -> int:
        """Bytes, tokens or time steps."""
        for content in (self.text, self.tokens, self.features):
            if content is not None:
                return len(content)
        return 0

    def part(self, start: int, end: int) -> "Record":
        """Units `start..end` with the targets that belong to them."""
        window = slice(start, end)
        return replace(
            self,
            text=None if self.text is None else self.text[window],
            tokens=None if self.tokens is None else self.tokens[window],
            features=None if self.features is None else self.features[window],
            labels=None if self.labels is None else self.labels[window],
            rows=None if self.rows is None else self.rows[window],
        )

    def label_place(self, index: int | None = None) -> str:
        """Where the label was, that of time step or token `index` if there is one for each, for messages."""
        at = self.at
        if index is not None:
            at = f"{self.at}, position {index}" if self.rows is None else self.source.row(int(self.rows[index]))
        return at if self.label_name is None else f"{at}, {self.source.field(self.label_name)}"


def character_start(text: bytes, place: int) -> int:
    """The last place up to `place` (below the length) where UTF-8 may be cut; `place` itself if it is not UTF-8.

    >>> character_start("aß".encode(), 2)
    1
    """
    for start in range(place, max(place - 4, 0), -1):
        if text[start] & 0xC0 != 0x80:
            return start
    return place


def cut(record: Record, limit: int) -> Iterator[Record]:
    """Pieces of at most `limit` units; text is cut after a line end where there is one.

    A character of UTF-8 is never cut.
    """
    start = 0
    while record.units - start > limit:
        end = start + limit
        if record.text is not None:
            end = record.text.rfind(b"\n", start + limit // 2, end) + 1 or character_start(record.text, end)
        yield record.part(start, end)
        start = end
    yield record.part(start, record.units) if start else record
