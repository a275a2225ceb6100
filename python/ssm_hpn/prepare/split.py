"""Which documents, or which part of them, are held out.

    documents   whole documents; in every class the share `validation_fraction` with the smallest keys, and without
                classes those whose key, as a fraction of 1, lies below it: more documents move no other one
    name, file  the same with the name of the document, or of its file, as the key
    tail        the end of every document, for few long ones whose target is the next token or one per token
    time        the documents that begin last, by the order column
    COLUMN=A,B  the documents with one of these values in a column

The key of a document is its id, else its content: documents with the same id, and equal documents, go to one side, and
renaming a file moves nothing. A class with two documents has one on each side. Keys are ranked within a class up to
`MOST_RANKED` documents; beyond that every key is compared with the share.
"""

import hashlib
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from ssm_hpn.config.data import PrepareOptions
from ssm_hpn.prepare.problems import config_error, listed
from ssm_hpn.prepare.records import Coded, Documents, character_start

Part = Literal["train", "validation"]
Keys = NDArray[np.uint64]
FEW_DOCUMENTS: Final = 20
MOST_RANKED: Final = 1 << 21
_BASE: Final = 0x9E3779B97F4A7C15
_WORD: Final = (1 << 64) - 1


def text_key(text: str) -> int:
    """64 bits that depend on a text alone."""
    return int.from_bytes(hashlib.sha256(text.encode(errors="surrogatepass")).digest()[:8])


class ContentKeys:
    """Keys of documents by their content, which may come in pieces.

    Long texts by BLAKE2; short ones, of which there are many, ids and numbers by a polynomial over their units.
    """

    def __init__(self, *, long_texts: bool) -> None:
        self.long_texts = long_texts
        self._powers = np.ones(1, np.uint64)
        self._open: tuple[int, int] | None = None
        """Sum and units so far of the document that may go on."""
        self._text: Any = None

    def add(self, documents: Documents) -> Keys:
        """Keys of the documents that are known to be whole now: the last one may go on."""
        if self.long_texts and documents.kind == "text":
            return self._texts(documents)
        words = _words(documents)
        width = 1 if words.ndim == 1 else words.shape[1]
        lengths = documents.lengths * width
        starts = documents.offsets[:-1] * width
        flat = words.reshape(-1)
        place = np.arange(len(flat)) - np.repeat(starts, lengths)
        terms = (flat + np.uint64(1)) * self._power(int(lengths.max(initial=0)))[place]
        sums = np.add.reduceat(terms, starts)
        begins = documents.begins.copy()
        if self._open is not None:  # as an entry of its own, which the first one may go on with
            sums = np.concatenate([np.array([self._open[0]], np.uint64), sums])
            lengths = np.concatenate([[self._open[1]], lengths])
            begins = np.concatenate([[True], begins])
        begins[0] = True
        firsts = np.flatnonzero(begins)
        before = np.cumsum(lengths) - lengths
        for index in np.flatnonzero(~begins).tolist():  # pieces, of which there are few
            skipped = int(before[index] - before[firsts[np.searchsorted(firsts, index) - 1]])
            sums[index] = np.uint64((int(sums[index]) * pow(_BASE, skipped, 1 << 64)) & _WORD)
        totals, units = np.add.reduceat(sums, firsts), np.add.reduceat(lengths, firsts)
        self._open = int(totals[-1]), int(units[-1])
        return _mixed(totals[:-1], units[:-1])

    def rest(self) -> Keys:
        """The key of the last document."""
        if self._text is not None:
            found, self._text = np.array([_digest(self._text)], np.uint64), None
            return found
        whole, self._open = [self._open] if self._open else [], None
        return _mixed(*(np.array(column, np.uint64) for column in (zip(*whole, strict=True) if whole else ([], []))))

    def _texts(self, documents: Documents) -> Keys:
        whole = []
        content = memoryview(documents.elements)  # type: ignore[arg-type]
        offsets = documents.offsets.tolist()
        for index, begins in enumerate(documents.begins.tolist()):
            if begins:
                if self._text is not None:
                    whole.append(_digest(self._text))
                self._text = hashlib.blake2b(digest_size=8)
            self._text.update(content[offsets[index] : offsets[index + 1]])
        return np.array(whole, np.uint64)

    def _power(self, count: int) -> Keys:
        while len(self._powers) < count:
            factor = np.uint64(pow(_BASE, len(self._powers), 1 << 64))
            self._powers = np.concatenate([self._powers, self._powers * factor])
        return self._powers


def _digest(hashed: Any) -> int:  # noqa: ANN401 - an object of hashlib
    return int.from_bytes(hashed.digest())


def _words(documents: Documents) -> Keys:
    elements = documents.elements
    if elements.dtype.kind == "f":
        return (elements + 0.0).view(np.uint64)  # one zero, not two
    return elements.astype(np.uint64)


def _mixed(sums: Keys, units: NDArray[Any]) -> Keys:
    """Well-spread bits of sums and lengths (the finalizer of splitmix64)."""
    x = sums ^ (units.astype(np.uint64) * np.uint64(_BASE))
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.asarray(x ^ (x >> np.uint64(31)))


@dataclass
class Chosen:
    """Which of the documents, in the order of the data, are held out."""

    held_out: NDArray[np.bool_]
    notes: list[str] = field(default_factory=list)
    at: int = 0
    """The next document."""

    def parts(self, documents: Documents) -> Iterator[tuple[Part, Documents]]:
        """The documents of each side; called with all of the data, in order."""
        number = self.at - 1 + np.cumsum(documents.begins)
        self.at = int(number[-1]) + 1 if len(number) else self.at
        mask = self.held_out[number]
        if not mask.all():
            yield "train", documents.take(~mask)
        if mask.any():
            yield "validation", documents.take(mask)


@dataclass
class Tail:
    """Hold out everything from a place in each document on."""

    start: dict[str, int]
    lengths: dict[str, int]
    """Of the documents: text gives something to both sides."""
    notes: list[str] = field(default_factory=list)
    name: str = ""
    place: int = 0

    def parts(self, documents: Documents) -> Iterator[tuple[Part, Documents]]:
        """The pieces of each side; an entry that has the place in it comes in two."""
        for index in range(len(documents)):
            one = documents.take(np.array([index]))
            name, units = one.name(0), int(one.lengths[0])
            self.place = self.place if name == self.name else 0
            self.name = name
            cut = min(max(self.start[name] - self.place, 0), units)
            if one.kind == "text" and 0 < cut < units:
                ends = self.place + units == self.lengths[name]
                cut = _after_line(one.elements.tobytes(), cut, units - 1 if ends else units)
            self.place += units
            if not 0 < cut < units:
                yield ("train" if cut else "validation"), one
                continue
            both = one.cut(np.array([0, cut, units]), np.array([0, 0]), np.array([True, True]))
            yield "train", both.take(np.array([0]))
            yield "validation", both.take(np.array([1]))


def _after_line(text: bytes, cut: int, last: int) -> int:
    """The next place from `cut` to `last` that follows a line end, else a space, else a whole character."""
    for end in (b"\n", b" "):
        place = text.find(end, cut - 1, last) + 1
        if place:
            return place
    return character_start(text, cut) or cut


@dataclass
class Census:
    """What a pass over all documents has to learn for the split, in the order of the data."""

    options: PrepareOptions
    documents: int = 0
    content: list[Keys] = field(default_factory=list)
    """Keys by content, while they can be ranked."""
    named: list[Keys] = field(default_factory=list)
    """Keys by id or name, where these decide."""
    classes: list[NDArray[np.int32]] = field(default_factory=list)
    times: list[NDArray[np.float64]] = field(default_factory=list)
    sides: list[NDArray[np.bool_]] = field(default_factory=list)
    """What is decided already."""
    lengths: dict[str, int] = field(default_factory=dict)
    """Of the first documents, by name; complete if there are few."""

    def __post_init__(self) -> None:
        """Nothing is open yet."""
        self._hash = ContentKeys(long_texts=self.options.documents == "file")
        self._many = False

    def add(self, documents: Documents, classes: NDArray[np.int32]) -> None:
        """Take in some entries; `classes` [N] numbers their labels, -1 for none."""
        fresh = np.flatnonzero(documents.begins)
        if self.documents < FEW_DOCUMENTS:
            for index, length in enumerate(documents.lengths[: 4 * FEW_DOCUMENTS].tolist()):
                name = documents.name(index)
                if name in self.lengths or len(self.lengths) < FEW_DOCUMENTS:
                    self.lengths[name] = self.lengths.get(name, 0) + length
        self.documents += len(fresh)
        mode = self.options.split
        if mode in ("name", "file") or documents.ids is not None:
            named = [text_key(self._named(documents, int(index), mode)) for index in fresh]
            self.named.append(np.array(named, np.uint64))
        self._content(self._hash.add(documents))
        if not self._many:
            self.classes.append(classes[fresh])
        if documents.time is not None:
            self.times.append(documents.time[fresh])
        if documents.side is not None:
            self.sides.append(self._listed(documents.side)[fresh])

    def _content(self, keys: Keys) -> None:
        """Keep keys while they can be ranked, and afterwards what they decide."""
        self.content.append(keys)
        self._many |= self.documents > MOST_RANKED
        if self._many:
            if "=" not in self.options.split and self.options.split != "time":
                self.sides += [self._below(one) for one in self.named or self.content]
            self.content, self.named, self.classes = [], [], []

    def _named(self, documents: Documents, index: int, mode: str) -> str:
        if mode == "file":
            return documents.source.name
        return documents.name(index) if mode == "name" or documents.ids is None else documents.ids[index]

    def _below(self, keys: Keys) -> NDArray[np.bool_]:
        return _fractions(keys) < self.options.validation_fraction

    def _listed(self, side: Coded) -> NDArray[np.bool_]:
        wanted = self.options.split.partition("=")[2].split(",")
        codes = [code for code, text in enumerate(side.texts) if text in wanted]
        return np.isin(side.codes, codes)

    def end(self) -> None:
        """All documents have been seen."""
        self._content(self._hash.rest())

    def copies(self) -> Keys | None:
        """Keys of content and id together, to find documents that are there twice; None if there are too many."""
        if self._many:
            return None
        keys = np.concatenate(self.content) if self.content else np.empty(0, np.uint64)
        return keys ^ np.concatenate(self.named) if self.named else keys

    def choose(self, *, per_document: bool, names: list[str]) -> Chosen | Tail:
        """The split that the options ask for; `auto` takes the tail of few documents unless their targets forbid it.

        `names` are those of the classes, for messages.
        """
        options, few = self.options, self.documents < FEW_DOCUMENTS
        if options.split == "tail" or (options.split == "auto" and few and not per_document):
            if not few:
                raise config_error(
                    "data.split",
                    expected=f"documents for {FEW_DOCUMENTS} or more documents",
                    found=f"tail for {self.documents}",
                    advice="drop --data.split",
                )
            kept = 1.0 - options.validation_fraction
            return Tail({n: max(1, math.ceil(units * kept)) for n, units in self.lengths.items()}, self.lengths)
        if self.documents < 2:
            raise config_error(
                "data.validation",
                expected="a second document to hold out",
                found="one document",
                advice="name held-out files with --data.validation, or use --data.split tail",
            )
        if "=" in options.split:
            return self._checked(Chosen(np.concatenate(self.sides)))
        if options.split == "time":
            return self._checked(self._latest())
        if self._many:
            chosen = Chosen(np.concatenate(self.sides))
            chosen.notes.append(f"more than {MOST_RANKED} documents: held out by their keys, not class by class")
            return self._checked(chosen)
        keys, classes = np.concatenate(self.named or self.content), np.concatenate(self.classes)
        held_out, alone = ranked(keys, classes, options.validation_fraction)
        notes = []
        if not 0 < held_out.sum() < len(held_out):
            keys = keys + np.arange(len(keys), dtype=np.uint64) * np.uint64(_BASE)
            held_out, alone = ranked(keys, classes, options.validation_fraction)
            notes.append("documents differ too little to be held out by content: equal ones are on both sides")
        if alone and names:
            notes.append(f"classes with one document, which is trained on: {listed([names[i] for i in alone])}")
        return self._checked(Chosen(held_out, notes))

    def _latest(self) -> Chosen:
        if not self.times:
            advice = "name it with data.columns.order"
            raise config_error("data.split", expected="an order column for time", found="none", advice=advice)
        times = np.concatenate(self.times)
        count = min(max(1, round(self.options.validation_fraction * len(times))), len(times) - 1)
        border = np.sort(times)[-count]
        return Chosen(times >= border)

    def _checked(self, chosen: Chosen) -> Chosen:
        count = int(chosen.held_out.sum())
        if not 0 < count < len(chosen.held_out):
            raise config_error(
                "data.split",
                expected="documents on both sides",
                found=f"{count} of {len(chosen.held_out)} held out",
                advice="choose another split, or name held-out files with --data.validation",
            )
        return chosen


def _fractions(keys: Keys) -> NDArray[np.float64]:
    """Keys as numbers from 0 to 1."""
    return np.asarray((keys >> np.uint64(11)).astype(np.float64) / 2**53)


def ranked(keys: Keys, classes: NDArray[np.int32], share: float) -> tuple[NDArray[np.bool_], list[int]]:
    """Which documents are held out: in every class those with the smallest keys, at least one and not all.

    Documents with one key are one group, in the class of its first document. Returns the mask and the classes with one
    group, which stays in training.
    """
    groups, first, inverse = np.unique(keys, return_index=True, return_inverse=True)
    group_class = classes[first]
    order = np.lexsort((groups, group_class))
    kinds, starts, counts = np.unique(group_class[order], return_index=True, return_counts=True)
    wanted = np.rint(share * counts)
    if kinds[0] == -1:
        wanted[0] = int((_fractions(groups[order[: counts[0]]]) < share).sum())
    wanted = np.clip(wanted, 1, counts - 1).astype(np.int64)
    rank = np.arange(len(order)) - np.repeat(starts, counts)
    held = np.empty(len(order), bool)
    held[order] = rank < np.repeat(wanted, counts)
    return held[inverse], kinds[(counts == 1) & (kinds >= 0)].tolist()


def overlap(training: Keys, held_out: Keys) -> int:
    """Documents of the training part that are equal to a held-out one."""
    return int(np.isin(training, held_out).sum())


def side_column(options: PrepareOptions) -> str | None:
    """The column that decides the split, if one does."""
    name, equals, _ = options.split.partition("=")
    return name if equals else None
