"""Which documents, or which part of them, is held out.

By name: a document is held out if SHA-256 of its name, as a fraction of 1, lies below the threshold. The threshold is
`validation_fraction`, moved just so far that neither side is empty. It depends on nothing but the names: adding files
moves no other file to the other side.

By tail: the end of every document is held out, cut after a line end in text, or where no line ends, after a space. For
few long documents (one book, one log file) whose target is the next token or one per token: there a choice by name is a
lottery.
"""

import hashlib
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Literal

from ssm_hpn.config.data import PrepareOptions
from ssm_hpn.prepare.problems import config_error
from ssm_hpn.prepare.records import Record

Part = Literal["train", "validation"]
FEW_DOCUMENTS = 20


def name_hash(name: str) -> float:
    """A number in [0, 1) that depends on the name alone."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:7]) / 2**56


@dataclass(frozen=True)
class ByName:
    """Hold out documents whose hash lies below the threshold."""

    threshold: float

    def parts(self, records: Iterable[Record]) -> Iterator[tuple[Part, Record]]:
        """Each record with its side."""
        for record in records:
            yield ("validation" if name_hash(record.name) < self.threshold else "train"), record


@dataclass(frozen=True)
class Tail:
    """Hold out everything from a place in each document on."""

    start: dict[str, int]
    lengths: dict[str, int]
    """Of the documents: text gives something to both sides."""

    def parts(self, records: Iterable[Record]) -> Iterator[tuple[Part, Record]]:
        """Each record with its side; the one that has the place in it comes in two."""
        name, place = "", 0
        for record in records:
            place = place if record.name == name else 0
            name, units = record.name, record.units
            cut = min(max(self.start[name] - place, 0), units)
            if record.text is not None and 0 < cut < units:
                ends = place + units == self.lengths[name]
                cut = _after_line(record.text, cut, units - 1 if ends else units)
            if cut:
                yield "train", record.part(0, cut)
            if cut < units:
                yield "validation", record.part(cut, units)
            place += units


def _after_line(text: bytes, cut: int, last: int) -> int:
    """The next place from `cut` to `last` that follows a line end, else a space, else a whole character."""
    for end in (b"\n", b" "):
        place = text.find(end, cut - 1, last) + 1
        if place:
            return place
    whole = (place for place in range(cut, len(text)) if text[place] & 0xC0 != 0x80)  # no byte within a UTF-8 character
    return next(whole, cut)


@dataclass
class Census:
    """Names and lengths of a pass over all records."""

    documents: int = 0
    lowest: float = 1.0
    highest: float = 0.0
    lengths: dict[str, int] = field(default_factory=dict)
    """Of the first documents; complete if there are few."""
    last: str = ""

    def add(self, record: Record) -> None:
        """Count one record; pieces of a document follow each other."""
        if record.name != self.last:
            self.last = record.name
            self.documents += 1
            hashed = name_hash(record.name)
            self.lowest, self.highest = min(self.lowest, hashed), max(self.highest, hashed)
        if record.name in self.lengths or len(self.lengths) < FEW_DOCUMENTS:
            self.lengths[record.name] = self.lengths.get(record.name, 0) + record.units


def choose(records: Iterable[Record], options: PrepareOptions, *, per_document: bool) -> ByName | Tail:
    """The split that the options ask for; `auto` takes the tail of few documents unless their targets forbid it."""
    census = Census()
    for record in records:
        census.add(record)
    few = census.documents < FEW_DOCUMENTS
    if options.split == "tail" or (options.split == "auto" and few and not per_document):
        if not few:
            raise config_error(
                "data.split",
                expected=f"name for {FEW_DOCUMENTS} or more documents",
                found=f"tail for {census.documents}",
                advice="drop --data.split",
            )
        kept = 1.0 - options.validation_fraction
        start = {name: max(1, math.ceil(units * kept)) for name, units in census.lengths.items()}
        return Tail(start, census.lengths)
    if census.documents < 2:
        raise config_error(
            "data.validation",
            expected="a second document to hold out",
            found="one document",
            advice="name held-out files with --data.validation, or use --data.split tail",
        )
    threshold = max(options.validation_fraction, math.nextafter(census.lowest, 1.0))
    return ByName(min(threshold, census.highest))
