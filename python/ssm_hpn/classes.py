"""The classes of a label column: the distinct values of its labels, kept as they are written.

From files they come as text, and one rule gives their type:

    boolean   every one is true or false, in any case
    integer   every one is a whole number as it is usually written: -1, 0, 20240101; 007 is none; and one type of 64
              bits holds all of them
    number    some have a point or an exponent, and every one is a finite number: 1.0, 0.5, 2; a whole one that no
              double holds is none, nor are two with the same fraction, such as 1.1 and 1.10, which may be versions
    text      anything else

No label is a null, an empty cell or NaN, and nothing else.

Of labels that are texts, from files and from Python alike, two that are surely one class are refused: those that differ
only in blanks around them, in how a whole number is written (`3`, `03`, `3.0`) or in how true or false is (`True`,
`true`). Where it is in doubt, `doubts` says so: classes that differ only in case, true or false beside the number that
it often is (`true` and `1`), and those that look like a missing value, such as `NA`.
"""

import math
import re
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final, Literal, Self

import numpy as np

from ssm_hpn.errors import DataError, ShapeError, nearest, problem, shown
from ssm_hpn.printable import as_list

Value = str | int | float | bool
ClassType = Literal["boolean", "integer", "number", "text"]

SHOWN: Final = 8
"""Most classes, columns or files that a message names; of further ones the number."""
_INTEGER: Final = re.compile(r"-?[1-9][0-9]*|0")
_MOST_DIGITS: Final = 20
"""Digits of the largest whole number of 64 bits, and its sign where it has one."""
_EXACT: Final = 2**53
"""Doubles below this hold every whole number."""
_BOOLEANS: Final = {"true": True, "false": False}
_NO_LABEL: Final = {"", "nan"}
_LIKE_MISSING: Final = {"na", "n/a", "#n/a", "<na>", "-", "--", ".", "?", "none", "null", "nil", "missing"}
"""Texts, in lower case, that often mean a missing value; here they are classes, with a note."""
LONGEST_MISSING: Final = max(map(len, _LIKE_MISSING))
_WHOLE: Final = re.compile(r"\+?(-?)0*([0-9]+?)(?:\.0*)?")


def has_no_label(value: object) -> bool:
    """Whether a label is missing: None, an empty text, NaN.

    >>> from ssm_hpn.classes import has_no_label
    >>> [has_no_label(value) for value in (None, float("nan"), " ", "none", -1)]
    [True, True, True, False, False]
    """
    if value is None:
        return True
    if isinstance(value, float | np.floating):
        return bool(np.isnan(value))
    return isinstance(value, str) and value.strip().lower() in _NO_LABEL


def looks_missing(text: str) -> bool:
    """Whether a text often means a missing value, such as `NA`.

    >>> looks_missing("NA"), looks_missing("nan"), looks_missing("Nadia")
    (True, False, False)
    """
    return text.strip().casefold() in _LIKE_MISSING


def text_of(value: object) -> str:
    """A label as text: whole numbers and texts as they are, `true` and `false`, floats with their point.

    >>> text_of(-1), text_of(1.0), text_of(True), text_of(b"cat")
    ('-1', '1.0', 'true', 'cat')
    """
    if isinstance(value, bool | np.bool_):
        return "true" if value else "false"
    if isinstance(value, bytes):
        return value.decode(errors="backslashreplace")
    if isinstance(value, np.generic):
        return text_of(value.item())
    return str(value)


def whole_type(numbers: Iterable[int]) -> Literal["int64", "uint64"] | None:
    """The type of 64 bits that holds some whole numbers, and None where none does.

    >>> whole_type([-1, 5]), whole_type([1, 2**63]), whole_type([-1, 2**63])
    ('int64', 'uint64', None)
    """
    there = list(numbers)
    least, most = min(there, default=0), max(there, default=0)
    if least >= -(2**63) and most < 2**63:
        return "int64"
    return "uint64" if least >= 0 and most < 2**64 else None


def type_of(texts: Iterable[str]) -> ClassType:
    """The type of the labels of a file, by the rule in the head of this module.

    >>> from ssm_hpn.classes import type_of
    >>> type_of(["1", "-1"]), type_of(["1.5", "2"]), type_of(["007", "8"]), type_of(["True", "false"])
    ('integer', 'number', 'text', 'boolean')
    """
    words = set(texts)
    if words and all(word.lower() in _BOOLEANS for word in words):
        return "boolean"
    if words and all(_INTEGER.fullmatch(word) for word in words):
        short = all(len(word) <= _MOST_DIGITS for word in words)
        return "integer" if short and whole_type(map(int, words)) else "text"
    if words and all(_is_number(word) for word in words) and not _alike(words):
        return "number"
    return "text"


@dataclass(frozen=True)
class Classes:
    """The classes of a label column.

    >>> classes = Classes.from_texts({"-1": 3, "1": 5})
    >>> classes.values, classes.type, classes.index(-1), classes.value(1)
    ((-1, 1), 'integer', 0, 1)
    """

    values: tuple[Value, ...]
    """As written, in the order of the model's scores: numbers by size, texts by their characters, and behind them those
    that were added to the model later."""
    type: ClassType
    counts: tuple[int, ...]
    """Documents (or labelled tokens) of each class in the training part."""

    @classmethod
    def from_texts(cls, counts: Mapping[str, int]) -> Self:
        """From the texts of a label column and how often each occurs; those without a label are left out.

        Raises `DataError` where one class is written in two ways, such as `7` and `007`.
        """
        there = {text: count for text, count in counts.items() if not has_no_label(text)}
        kind = type_of(there)
        merged: dict[Value, int] = {}
        for text, count in there.items():
            value = _typed(text, kind)
            merged[value] = merged.get(value, 0) + count
        if kind == "text":
            _check_spellings(there)
        return cls._sorted(merged, kind)

    @classmethod
    def from_values(cls, values: Iterable[Any], *, name: str = "labels") -> Self:
        """From labels of Python or numpy, whose types stay as they are; texts stay texts.

        Raises `DataError` for labels of types that do not go together, such as texts and numbers.

        >>> import numpy as np
        >>> from ssm_hpn.classes import Classes
        >>> classes = Classes.from_values(np.array([2.5, 1.0, np.nan, 2.5]))
        >>> classes.values, classes.counts
        ((1.0, 2.5), (1, 2))
        """
        counts: dict[Value, int] = {}
        kinds: set[str] = set()
        for one in values.tolist() if isinstance(values, np.ndarray) else values:
            value = one.item() if isinstance(one, np.generic) else one
            if value is None or (isinstance(value, float) and math.isnan(value)):
                continue
            kinds.add("bytes" if isinstance(value, bytes) else _kind(value, name))
            value = _decoded(value, name) if isinstance(value, bytes) else value
            counts[value] = counts.get(value, 0) + 1
        if kinds == {"integer", "number"}:
            kinds = {"number"}
            check_exact(counts, name)
        if kinds == {"bytes"}:
            kinds = {"text"}
        if len(kinds) > 1:
            found = " and ".join(sorted(kinds))
            raise DataError(problem(name, "labels of one type", found, "write all labels the same way"))
        kind: Any = kinds.pop() if kinds else "text"
        if kind == "text":
            _check_spellings(map(str, counts), name)
        return cls._sorted({float(v) if kind == "number" else v: n for v, n in counts.items()}, kind)

    def joined(self, other: Self, *, name: str = "labels") -> Self:
        """The classes of both, with the sums of their counts.

        Raises `DataError` where one class is written in two ways, such as `7` and `007`, or is a whole number that no
        double holds beside numbers with fractions, and `ShapeError` for whole numbers beyond 64 bits together.

        >>> from ssm_hpn.classes import Classes
        >>> Classes.from_values(["a", "c"]).joined(Classes.from_values(["b", "c"])).counts
        (1, 1, 2)
        """
        kind = self.type if self.type == other.type else "number"
        if kind == "number":
            check_exact((*self.values, *other.values), name)
        elif kind == "integer":
            check_whole((*self.values, *other.values), name)
        counts: dict[Value, int] = {}
        for value, count in (
            *zip(self.values, self.counts, strict=True),
            *zip(other.values, other.counts, strict=True),
        ):
            one = float(value) if kind == "number" else value
            counts[one] = counts.get(one, 0) + count
        if kind == "text":
            _check_spellings(map(str, counts), name)
        return self._sorted(counts, kind)

    def with_added(self, names: Iterable[Any], *, name: str = "add_classes", of_texts: bool = True) -> Self:
        """These classes and, behind them, new ones that have no document yet, in the order of `names`.

        A name is written as the labels are; a text is read by the type of these classes with `of_texts`, and is a text
        without. Raises `DataError` for no names, one that is a class already or is there twice, one of another type,
        and one that stands for no label, and `ShapeError` for whole numbers beyond 64 bits together.

        >>> from ssm_hpn.classes import Classes
        >>> classes = Classes.from_values(["normal", "leak"]).with_added(["air lock"])
        >>> classes.values, classes.counts
        (('leak', 'normal', 'air lock'), (1, 1, 0))
        """
        given: Any = names
        if isinstance(given, str | bytes) or not isinstance(given, Iterable):
            found = text_of(given) if isinstance(given, bytes) else given
            raise DataError(problem(name, "a list of names", shown(found), "write it as a list, such as ['a', 'b']"))
        values = list(self.values)
        for one in given:
            value = self._as_label(one, name, of_texts=of_texts)
            if value in values:
                there = "a class already" if value in self._indices else "there twice"
                advice = "name it once, if it is new"
                raise DataError(problem(name, "new classes", f"{value!r}, which is {there}", advice))
            values.append(value)
        if len(values) == len(self):
            raise DataError(problem(name, "at least one name", "none", "name the new classes"))
        if self.type == "text":
            _check_spellings(map(str, values), name)
        elif self.type == "integer":
            check_whole(values, name, "train on labels that are texts")
        return type(self)(tuple(values), self.type, (*self.counts, *(0 for _ in values[len(self) :])))

    def _as_label(self, given: object, name: str, *, of_texts: bool) -> Value:
        """A name in the type of these classes."""
        value = given.item() if isinstance(given, np.generic) else given
        value = _decoded(value, name) if isinstance(value, bytes) else value
        if has_no_label(value):
            raise DataError(problem(name, "names of classes", f"{value!r}, which stands for no label", "leave it out"))
        try:
            found = _typed(value, self.type) if isinstance(value, str) and of_texts else value
        except ValueError:
            found = value
        kind = _kind(found, name)
        if kind == self.type:
            return found  # type: ignore[return-value]
        if (kind, self.type) == ("integer", "number"):
            check_exact([found], name)
            return float(found)  # type: ignore[arg-type]
        advice = "write them as the labels are"
        raise DataError(problem(name, f"names of the type {self.type}, as the classes are", repr(value), advice))

    def ordered(self, values: Iterable[Value] | None = None) -> Self:
        """The same classes in this order; None: numbers by size, texts by their characters.

        >>> from ssm_hpn.classes import Classes
        >>> Classes(("b", "a"), "text", (1, 2)).ordered().counts
        (2, 1)
        """
        counts = dict(zip(self.values, self.counts, strict=True))
        if values is None:
            return self._sorted(counts, self.type)
        order = tuple(values)
        return type(self)(order, self.type, tuple(counts[value] for value in order))

    @classmethod
    def _sorted(cls, counts: Mapping[Value, int], kind: ClassType) -> Self:
        order = sorted(counts, key=lambda value: value if kind != "text" else str(value))
        return cls(tuple(order), kind, tuple(counts[value] for value in order))

    def __len__(self) -> int:
        """Number of classes."""
        return len(self.values)

    @cached_property
    def _indices(self) -> dict[Value, int]:
        return {value: index for index, value in enumerate(self.values)}

    @property
    def names(self) -> list[str]:
        """The classes as texts."""
        return [text_of(value) for value in self.values]

    def doubts(self, *known: Self) -> list[str]:
        """Notes on classes that may be one class, or a missing value, one sentence each; none that `known` have too.

        >>> from ssm_hpn.classes import Classes
        >>> Classes.from_texts({"DE": 3, "de": 1, "NA": 2}).doubts()
        ["classes 'DE' and 'de' differ only in case", "class 'NA' looks like a missing value"]
        """
        if self.type != "text":
            return []
        alike: dict[str, list[str]] = {}
        for name in self.names:
            alike.setdefault(name.casefold(), []).append(name)
        found = [
            f"classes {', '.join(map(repr, names[:-1]))} and {names[-1]!r} differ only in case"
            for names in alike.values()
            if len(names) > 1
        ]
        found += [
            f"classes {', '.join(map(repr, texts[:-1]))} and {texts[-1]!r} are one number and different classes: "
            "write one class one way if they are one"
            for texts in _alike(self.names)
        ]
        digits = {"false": "0", "true": "1"}
        found += [
            f"classes {digit!r} and {name!r} may be one: write one class one way if they are"
            for name in self.names
            if (digit := digits.get(name.lower())) in self._indices
        ]
        missing = [repr(name) for name in self.names if looks_missing(name)]
        if missing:
            several = len(missing) > 1
            one = f"{'classes' if several else 'class'} {', '.join(missing)} look{'' if several else 's'}"
            found.append(f"{one} like a missing value")
        said = {doubt for some in known for doubt in some.doubts()}
        return [doubt for doubt in found if doubt not in said]

    @property
    def alone(self) -> bool:
        """Whether each of many classes (more than a toy's two) occurs once, so that nothing is like anything else."""
        return len(self) > 2 and set(self.counts) == {1}

    def value(self, index: int) -> Value:
        """The class at an index of the scores."""
        return self.values[index]

    def index(self, value: object) -> int:
        """Index of a label in the scores, -1 for a missing one; a text is read by the type of this data set's classes.

        Raises `DataError` for a label that is no class.
        """
        if has_no_label(value):
            return -1
        found = self._find(value)
        if found is None:
            close = nearest(text_of(value), self.names)
            there = ", ".join(self.names[:SHOWN]) + (", …" if len(self) > SHOWN else "")
            written = f" --names {as_list(text_of(value))}" if "," in text_of(value) else ""
            add = f"add it to the model by add-classes{written} if it is a new one"
            advice = f"did you mean {close}? else {add}" if close else f"correct it, or {add}"
            raise DataError(problem("label", f"a class of the training data ({there})", repr(value), advice))
        return found

    def knows(self, value: object) -> bool:
        """Whether a label is one of the classes, or is missing.

        >>> from ssm_hpn.classes import Classes
        >>> classes = Classes.from_texts({"1": 3, "2": 4})
        >>> classes.knows("2"), classes.knows(3), classes.knows("")
        (True, False, True)
        """
        return has_no_label(value) or self._find(value) is not None

    def _find(self, value: object) -> int | None:
        text = value if isinstance(value, str) else text_of(value)
        try:
            return self._indices.get(_typed(text, self.type))
        except ValueError:
            return None


def check_whole(labels: Iterable[object], name: str, advice: str = "pass them as texts") -> None:
    """Refuse whole numbers that no type of 64 bits holds together: arrays of numbers would round them.

    >>> check_whole([5, 2**63], "y")
    """
    whole = [one for one in labels if isinstance(one, int)]
    if whole_type(whole) is None:
        found = shown(min(whole) if min(whole) < -(2**63) else max(whole))
        raise ShapeError(problem(name, "whole numbers of 64 bits as labels", found, advice))


def check_exact(numbers: Iterable[object], name: str) -> None:
    """Refuse a whole number that no double holds, where there are numbers with fractions beside it.

    >>> check_exact([0.5, 2**53], "y")
    """
    for one in numbers:
        if isinstance(one, int) and abs(one) > _EXACT and (abs(one) > sys.float_info.max or int(float(one)) != one):
            raise DataError(problem(name, "numbers that a double holds", shown(one), "pass them as texts"))


def _decoded(label: bytes, name: str) -> str:
    """A label of bytes as the text that it is. Raises `DataError` for bytes that are none: two could become one."""
    try:
        return label.decode()
    except UnicodeDecodeError:
        expected = "labels that are texts, or bytes of UTF-8"
        raise DataError(problem(name, expected, shown(label), "pass them as texts, decoded as they were")) from None


def _typed(text: str, kind: ClassType) -> Value:
    """A label's text in the type of its classes. Raises `ValueError` where it has another one."""
    match kind:
        case "boolean":
            if text.lower() not in _BOOLEANS:
                raise ValueError(text)
            return _BOOLEANS[text.lower()]
        case "integer":
            whole = _WHOLE.fullmatch(text.strip())  # a class 1 may be written 1.0 in another file
            if whole and len(whole[2]) <= _MOST_DIGITS:
                return int(whole.expand(r"\1\2"))
            if abs(number := float(text)) >= _EXACT:
                raise ValueError(text)
            return int(number) if number.is_integer() else number
        case "number":
            return float(text)
        case _:
            return text


def _alike(words: Iterable[str]) -> list[list[str]]:
    """Texts that are the same number with a fraction, such as 1.1 and 1.10."""
    same: dict[float, list[str]] = {}
    for word in sorted(words):
        if _is_number(word) and float(word) % 1:
            same.setdefault(float(word), []).append(word)
    return [texts for texts in same.values() if len(texts) > 1]


def _is_number(text: str) -> bool:
    """Whether a text is a finite number as programs write it: `007`, `1_000` and 10**30 are texts."""
    if not re.fullmatch(r"[+-]?(0|[1-9][0-9]*)?(\.[0-9]*)?([eE][+-]?[0-9]+)?", text):
        return False
    try:
        number = float(text)
        return math.isfinite(number) and (re.search("[.eE]", text) is not None or number == int(text))
    except ValueError:
        return False


def _kind(value: object, name: str) -> ClassType:
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, int):
        return "integer"
    if isinstance(value, float):
        return "number"
    if isinstance(value, str):
        return "text"
    raise DataError(problem(name, "numbers, texts or true and false", type(value).__name__, "convert the labels"))


def _check_spellings(texts: Iterable[str], name: str = "labels") -> None:
    """Refuse one class in two spellings, by the rule in the head of this module."""
    seen: dict[str, str] = {}
    for text in sorted(texts):
        bare = text.strip()
        whole = _WHOLE.fullmatch(bare)
        key = bare.lower() if bare.lower() in _BOOLEANS else whole.expand(r"\1\2") if whole else bare
        other = seen.setdefault(key, text)
        if other != text:
            advice = "write one class one way"
            raise DataError(problem(name, "each class written one way", f"{other!r} and {text!r}", advice))
