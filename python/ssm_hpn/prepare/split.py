"""Which documents, or which part of them, are held out.

    documents   whole documents; in every class the share `validation_fraction` with the smallest keys, and without
                classes those whose key, as a fraction of 1, lies below it: more documents move no other one
    name        the same with the name of the document as the key
    file        whole files, by their names
    tail        the end of every document, for less than `FEW_DOCUMENTS` whose target is the next token or one per token
    time        the documents that begin last, by the order column
    COLUMN=A,B  the documents with one of these values in a column

A test part, where one is asked for, has the documents that the same rule adds where both shares are held out: whether
there is one moves no document into or out of the validation part.

The key of a document is its id, else its content: documents with the same id, and equal documents, go to one side
whatever the ids of these are, by their content where there are several, and renaming a file moves nothing. A class with
two documents has one on each side. Keys are ranked within a class up to `MOST_RANKED` documents; beyond that every key
is compared with the share.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from ssm_hpn.classes import SHOWN
from ssm_hpn.config.base import names_of
from ssm_hpn.config.data import PrepareOptions
from ssm_hpn.counts import counted, noun_for
from ssm_hpn.errors import ConfigError
from ssm_hpn.prepare.keys import (
    ContentKeys,
    Keys,
    by_content,
    fractions,
    joined,
    of_several_ids,
    overlap,
    ranked,
    text_keys,
)
from ssm_hpn.prepare.problems import config_error, listed, nearest
from ssm_hpn.prepare.records import Coded, Documents, character_start
from ssm_hpn.prepare.source import Source

PartName = Literal["train", "validation", "test"]
FEW_DOCUMENTS: Final = 20
MOST_RANKED: Final = 1 << 21
_BASE: Final = 0x9E3779B97F4A7C15


@dataclass
class Chosen:
    """Which of the documents, in the order of the data, are held out."""

    held_out: NDArray[np.bool_]
    rule: str
    """The rule of the split, in words."""
    notes: list[str] = field(default_factory=list)
    at: int = 0
    """The next document."""
    test: NDArray[np.bool_] | None = None
    """Those that are neither trained on nor held out for validation, where there is a test part."""

    @property
    def trained(self) -> NDArray[np.bool_]:
        """The documents of the training part."""
        return ~self.held_out if self.test is None else ~(self.held_out | self.test)

    def parts(self, documents: Documents) -> Iterator[tuple[PartName, Documents]]:
        """The documents of each side; called with all of the data, in order."""
        number = self.at - 1 + np.cumsum(documents.begins)
        self.at = int(number[-1]) + 1 if len(number) else self.at
        sides: list[tuple[PartName, NDArray[np.bool_] | None]] = [
            ("train", self.trained),
            ("validation", self.held_out),
        ]
        for part, side in (*sides, ("test", self.test)):
            mask = None if side is None else side[number]
            if mask is not None and mask.any():
                yield part, documents.take(mask)

    def again(self) -> None:
        """The next documents are those at the beginning."""
        self.at = 0


@dataclass
class Tail:
    """Hold out everything from a place in each document on."""

    start: list[int]
    lengths: list[int]
    """Lengths of the documents, in the order of the data. A text is cut so that both sides have some of it."""
    rule: str
    notes: list[str] = field(default_factory=list)
    at: int = -1
    """The document that the last entry belongs to."""
    place: int = 0
    """Its units so far."""

    def parts(self, documents: Documents) -> Iterator[tuple[PartName, Documents]]:
        """The pieces of each side; an entry that has the place in it comes in two."""
        for index, begins in enumerate(documents.begins.tolist()):
            one = documents.take(np.array([index]))
            if begins:
                self.at, self.place = self.at + 1, 0
            units = int(one.lengths[0])
            cut = min(max(self.start[self.at] - self.place, 0), units)
            if one.kind == "text" and 0 < cut < units:
                ends = self.place + units == self.lengths[self.at]
                cut = _after_line(one.elements.tobytes(), cut, units - 1 if ends else units)
            self.place += units
            if not 0 < cut < units:
                yield ("train" if cut else "validation"), one
                continue
            both = one.cut(np.array([0, cut, units]), np.array([0, 0]), np.array([True, True]))
            yield "train", both.take(np.array([0]))
            yield "validation", both.take(np.array([1]))

    def again(self) -> None:
        """The next documents are those at the beginning."""
        self.at, self.place = -1, 0


def _after_line(text: bytes, cut: int, last: int) -> int:
    """The next place from `cut` to `last` that follows a line end, else a space, else a whole character."""
    for end in (b"\n", b" "):
        place = text.find(end, cut - 1, last) + 1
        if place:
            return place
    return character_start(text, cut) or cut


@dataclass
class Census:
    """What the split needs of a pass over all documents, in the order of the data."""

    options: PrepareOptions
    documents: int = 0
    content: list[Keys] = field(default_factory=list)
    """Keys by content, while they can be ranked."""
    ids: list[Keys] = field(default_factory=list)
    """Keys by id, where there are ids."""
    named: list[Keys] = field(default_factory=list)
    """Keys by the name of the document or of its file, where the split asks for these."""
    files: list[NDArray[np.int32]] = field(default_factory=list)
    """Number of the source of each document with an id."""
    classes: list[NDArray[np.int32]] = field(default_factory=list)
    times: list[NDArray[np.float64]] = field(default_factory=list)
    sides: list[NDArray[np.bool_]] = field(default_factory=list)
    """Whether each document is held out: by the values of `data.split`, or beyond `MOST_RANKED` by its key."""
    exact: list[NDArray[np.bool_]] = field(default_factory=list)
    """Whether each document is held out by the values of `data.split` with the blanks around them."""
    lengths: list[int] = field(default_factory=list)
    """Lengths of the documents, while these are few."""
    values: set[str] = field(default_factory=set)
    """Values found in the column that decides the split."""
    without: int = 0
    """Documents without such a value."""
    repeated: int = 0
    """Ids that are in several sources."""

    def __post_init__(self) -> None:
        """Start with no document open."""
        self._share = self.options.validation_fraction
        self._hash = ContentKeys()
        self._sources: dict[Source, int] = {}
        self._many = self._with_ids = False
        self.column = side_column(self.options)

    def add(self, documents: Documents, classes: NDArray[np.int32]) -> Keys | None:
        """Take in some entries; `classes` [N] numbers their labels, -1 for none. Returns the keys of new ids."""
        fresh = np.flatnonzero(documents.begins)
        if self.documents < FEW_DOCUMENTS:
            for length, begins in zip(documents.lengths.tolist(), documents.begins.tolist(), strict=True):
                if begins:
                    self.lengths.append(0)
                self.lengths[-1] += length
        self.documents += len(fresh)
        source = self._sources.setdefault(documents.source, len(self._sources))
        ids = None
        if documents.ids is not None:
            ids = text_keys([documents.ids[index] for index in fresh.tolist()])
            self._with_ids = True
            self.ids.append(ids)
            self.files.append(np.full(len(fresh), source, np.int32))
        if self.options.split == "file":
            self.named.append(np.repeat(text_keys([documents.source.name]), len(fresh)))
        elif self.options.split == "name":
            self.named.append(text_keys([documents.name(index) for index in fresh.tolist()]))
        self._content(self._hash.add(documents))
        if not self._many:
            self.classes.append(classes[fresh])
        if documents.time is not None:
            self.times.append(documents.time[fresh])
        if documents.side is not None:
            self._sides(documents.side[fresh])
        return ids

    def _content(self, keys: Keys) -> None:
        """Keep keys while they can be ranked; of later documents, whether their key is below the share."""
        self.content.append(keys)
        self._many |= self.documents > MOST_RANKED
        if self._many:
            if self.column is None and self.options.split != "time":
                self.sides += [fractions(one) < self.options.validation_fraction for one in self.keys]
            self.content, self.ids, self.named, self.files, self.classes = [], [], [], [], []

    @property
    def keys(self) -> list[Keys]:
        """The keys of the split: names where the options ask for them, else ids, else contents."""
        return self.named if self.options.split in ("name", "file") else self.ids if self._with_ids else self.content

    def _sides(self, side: Coded) -> None:
        wanted = names_of(self.options.split.partition("=")[2])
        self.values |= {side.texts[code] for code in np.unique(side.codes[side.codes >= 0]).tolist()}
        self.without += int((side.codes < 0).sum())
        for names, sides in ((wanted, self.sides), (self._as_written, self.exact)):
            codes = [code for code, text in enumerate(side.texts) if text in names]
            sides.append(np.isin(side.codes, codes))

    @property
    def _as_written(self) -> list[str]:
        """The values of `data.split` with the blanks around them."""
        return self.options.split.partition("=")[2].split(",")

    def end(self) -> None:
        """All documents have been seen."""
        self._content(self._hash.rest())
        if len(self._sources) > 1 and self.ids:
            ids, files = np.concatenate(self.ids), np.concatenate(self.files)
            order = np.lexsort((files, ids))
            ids, files = ids[order], files[order]
            self.repeated = len(np.unique(ids[1:][(ids[1:] == ids[:-1]) & (files[1:] != files[:-1])]))

    def copies(self) -> Keys | None:
        """Keys of content, to find documents that are there twice whatever their ids; None if there are too many."""
        if self._many:
            return None
        return np.concatenate(self.content) if self.content else np.empty(0, np.uint64)

    def contradictions(self) -> int:
        """How many documents are equal to one of another class."""
        if self._many or not self.content or not self.classes:
            return 0
        classes = np.concatenate(self.classes)
        keys, classes = np.concatenate(self.content)[classes >= 0], classes[classes >= 0]
        group, count = np.unique(keys, return_inverse=True, return_counts=True)[1:]
        n_classes = int(classes.max(initial=0)) + 1
        pairs = np.unique(group * n_classes + classes) // n_classes
        several = np.bincount(pairs, minlength=len(count)) > 1
        return int(count[several].sum())

    def choose(self, *, per_document: bool, names: list[str]) -> Chosen | Tail:
        """The split that the options ask for; `auto` takes the tail of few documents unless their targets forbid it.

        `names` are those of the classes, for messages.
        """
        if not self.options.test_fraction:
            return self._choose(per_document=per_document, names=names)
        self._check_test()
        self._share = self.options.validation_fraction + self.options.test_fraction
        both = self._choose(per_document=per_document, names=names)
        self._share = self.options.validation_fraction
        chosen = self._choose(per_document=per_document, names=names) if self._share else both
        if isinstance(both, Tail) or isinstance(chosen, Tail):
            raise self._no_test(f"the end of each of {self._count()}, which is one part")
        chosen.test = both.held_out & ~chosen.held_out if self._share else both.held_out
        if not self._share:
            chosen.held_out = np.zeros_like(both.held_out)
        if not chosen.test.any():
            raise self._no_test(f"none at {self.options.test_fraction:g}")
        chosen.rule += f"; a test part of {int(chosen.test.sum())}, by the same rule"
        return chosen

    def _check_test(self) -> None:
        """Refuse a test part beside a split that has two sides by itself, and of more documents than are ranked."""
        if self.column is not None:
            raise self._no_test("a split by the values of a column")
        if self._many:
            raise self._no_test(f"more than {MOST_RANKED} documents")

    def _no_test(self, found: str) -> ConfigError:
        return config_error(
            "data.test_fraction",
            expected="whole documents for a test part beside the others",
            found=found,
            advice="hold out whole documents with --data.split documents, or prepare the test part by itself",
        )

    def _choose(self, *, per_document: bool, names: list[str]) -> Chosen | Tail:
        """The split into two sides, of which the held-out one has the present share."""
        split, few = self.options.split, self.documents < FEW_DOCUMENTS
        if split == "tail" or (split == "auto" and few and not per_document):
            return self._tail()
        if self.documents < 2:
            raise config_error(
                "data.validation",
                expected="a second document to hold out",
                found="one document",
                advice="name held-out files with --data.validation, or use --data.split tail",
            )
        if split == "file" and len(self._sources) < 2:
            raise config_error(
                "data.split",
                expected="two files or more for file",
                found="one file",
                advice="use --data.split documents",
            )
        if self.column is not None:
            chosen = self._listed(self.column)
        elif split == "time":
            chosen = self._latest()
        elif self._many:
            chosen = Chosen(np.concatenate(self.sides), f"{self._by}, not class by class")
            chosen.notes.append(f"more than {MOST_RANKED} documents: held out by their keys, not class by class")
        else:
            chosen = self._ranked(names)
        self._check(chosen)
        self._say_what_is_on_both_sides(chosen)
        return chosen

    def _tail(self) -> Tail:
        if self.documents >= FEW_DOCUMENTS:
            raise config_error(
                "data.split",
                expected=f"less than {FEW_DOCUMENTS} documents for tail",
                found=self.documents,
                advice="use --data.split documents",
            )
        share = self._share
        why = f", as there are fewer than {FEW_DOCUMENTS} (whole ones with --data.split documents)"
        rule = f"the last {100 * share:.3g} % of {'each of ' if self.documents > 1 else ''}{self._count()}"
        start = [max(1, math.ceil(units * (1.0 - share))) for units in self.lengths]
        return Tail(start, self.lengths, rule + (why if self.options.split == "auto" else ""))

    def _count(self) -> str:
        return counted(self.documents, "document") if self.documents > 1 else "the document"

    @property
    def _by(self) -> str:
        whose = {"name": "their names", "file": "the names of their files"}
        return f"by a hash of {whose.get(self.options.split, 'their ids' if self._with_ids else 'their contents')}"

    def _ranked(self, names: list[str]) -> Chosen:
        """By keys: class by class, but whole files, which may have several classes."""
        keys, classes = np.concatenate(self.keys), np.concatenate(self.classes)
        notes: list[str] = []
        if self.options.split == "file":
            classes = np.full_like(classes, -1)
        elif self.keys is self.ids:
            keys, notes = self._with_equal_ones(keys, classes, names)
        if (keys == keys[0]).all():
            return self._last(len(keys))
        held_out, alone = ranked(keys, classes, self._share)
        classwise = ", the same share of every class" if (classes >= 0).any() else ""
        chosen = Chosen(held_out, self._by + classwise, notes)
        if alone and names:
            if not held_out.any():
                advice = (
                    "if the label is a number to predict, name it in --data.columns.values; else name --data.validation"
                )
                found = f"{counted(len(alone), 'class', 'classes')} of one document each, such as {names[alone[0]]!r}"
                expected = "a class of two documents"
                if len(keys) > len(alone):
                    expected += " that differ, of different ids"
                    found = (
                        f"only {len(alone)} such among {counted(len(keys), 'document')}, each counted to another class"
                    )
                    advice = "add others, or name --data.validation"
                raise config_error("data.split", expected=expected, found=found, advice=advice)
            few = listed([names[i] for i in alone])
            chosen.notes.append(f"classes with one document (or id), which is trained on: {few}")
        return chosen

    def _with_equal_ones(self, ids: Keys, classes: NDArray[np.int32], names: list[str]) -> tuple[Keys, list[str]]:
        """Keys that equal documents share whatever their ids, but for a class whose documents are all equal; notes."""
        content = np.concatenate(self.content)
        keys = joined(ids, content)
        equal = [
            code for code in np.unique(classes).tolist() if of_several_ids(keys[classes == code], ids[classes == code])
        ]
        keys = np.where(np.isin(classes, equal), ids, keys)
        moved = int((keys != ids).sum())
        notes = [f"{counted(moved, 'document')} equal to one of another id {noun_for(moved, 'goes', 'go')} with it"]
        of = [f" of {names[code]!r}" if code >= 0 else " without a label" if names else "" for code in equal]
        alike = "are equal: some are held out, and the like of them are trained on"
        notes += [f"all documents{which} {alike}" for which in of[:SHOWN]]
        return by_content(keys, ids, content), notes if moved else notes[1:]

    def _last(self, count: int) -> Chosen:
        """By their place, for documents that are all equal."""
        held_out = np.arange(count) >= count - min(max(1, round(self._share * count)), count - 1)
        same = "have one id" if self._with_ids else "are equal"
        note = f"all {counted(count, 'document')} {same}: held out are the last, and the like of them are trained on"
        return Chosen(held_out, f"the last ones, as all {same}", [note])

    def _listed(self, column: str) -> Chosen:
        """By the values of a column."""
        wanted = names_of(self.options.split.partition("=")[2])
        sides = self.sides
        if self.values.issuperset(self._as_written):
            wanted, sides = tuple(self._as_written), self.exact
        unknown = [value for value in wanted if value not in self.values]
        if unknown:
            advice = nearest(unknown[0], sorted(self.values))
            raise config_error(
                "data.split", expected=f"values of the column {column!r}", found=repr(unknown[0]), advice=advice
            )
        chosen = Chosen(np.concatenate(sides), f"where {column} is {' or '.join(wanted)}")
        if self.without:
            trained = noun_for(self.without, "is", "are")
            chosen.notes.append(
                f"{counted(self.without, 'document')} without a value of {column!r} {trained} trained on"
            )
        return chosen

    def _latest(self) -> Chosen:
        times = np.concatenate(self.times)
        count = min(max(1, round(self._share * len(times))), len(times) - 1)
        border = np.sort(times)[-count]
        return Chosen(times >= border, f"those that begin last by {self.options.columns.order}")

    def _check(self, chosen: Chosen) -> None:
        count = int(chosen.held_out.sum())
        if not 0 < count < len(chosen.held_out):
            raise config_error(
                "data.split",
                expected="documents on both sides",
                found=f"{count} of {len(chosen.held_out)} held out",
                advice="set --data.split to another, or name held-out files with --data.validation",
            )
        chosen.rule = f"{count} of {self._count()}, {chosen.rule}"

    def _say_what_is_on_both_sides(self, chosen: Chosen) -> None:
        """Equal documents, and ids, which a split by something else than these does not keep together."""
        if self._many or not self.content:
            return
        for keys, what in ((self.content, "equal to a training one"), (self.ids, "with the id of a training one")):
            if keys and keys is not self.keys:
                each = np.concatenate(keys)
                both = overlap(each[chosen.held_out], each[~chosen.held_out])
                if both:
                    chosen.notes.append(f"{counted(both, 'held-out document')} {what}")


def side_column(options: PrepareOptions) -> str | None:
    """The column that decides the split, if one does."""
    name, equals, _ = options.split.partition("=")
    return name if equals else None
