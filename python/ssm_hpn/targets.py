"""The core's descriptions of all kinds of target, read once.

A kind is a choice of arrays; from them follow the columns that are read, whether documents are pooled, what a head has
to answer and which metrics there are (`rust/core/src/target`).

>>> KINDS["joint"].columns, KINDS["joint"].metrics[:2], kind_of_columns({"label"})
(('label', 'values'), ('loss', 'accuracy'), 'sequence_class')
"""

import json
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, Final

from ssm_hpn._core import target_kinds


@dataclass(frozen=True, slots=True)
class TargetArray:
    """One array of a target.

    >>> from ssm_hpn.targets import ARRAYS
    >>> ARRAYS["sequence_values"].axes, ARRAYS["sequence_values"].element
    ('SK', 'number')
    """

    name: str
    """In a batch."""
    about: str
    per: str
    """Whether an entry belongs to a token or a document."""
    element: str
    """class (-1 for none), number (NaN for none) or gradient."""
    column: str | None
    """Column of the shards; None for an array that only a caller can give."""

    @property
    def per_token(self) -> bool:
        """Whether an entry belongs to a token, and not to a document."""
        return self.per == "token"

    @property
    def axes(self) -> str:
        """B rows, T positions, S documents, K numbers, D width of the model."""
        return {"token": "BT", "document": "S"}[self.per] + {"class": "", "number": "K", "gradient": "D"}[self.element]


@dataclass(frozen=True, slots=True)
class TargetKind:
    """One kind of target.

    >>> from ssm_hpn.targets import KINDS
    >>> KINDS["joint"].has("number"), KINDS["joint"].pooled, KINDS["token_class"].columns
    (True, True, ('labels',))
    """

    name: str
    about: str
    arrays: tuple[TargetArray, ...]
    pooled: bool
    """Whether a document has one target as a whole."""
    from_tokens: bool
    """Whether it is the token that follows."""
    metrics: tuple[str, ...]
    """Names in `ssm_hpn.metrics`, in the order of reports."""
    default_head: dict[str, Any]
    """Settings of the head where none is chosen."""

    def has(self, element: str) -> bool:
        """Whether one of the arrays has elements of this meaning."""
        return any(array.element == element for array in self.arrays)

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns of targets that it is read from."""
        return () if self.from_tokens else tuple(array.column for array in self.arrays if array.column)


def _kinds() -> dict[str, TargetKind]:
    rows = target_kinds()
    return {
        row["name"]: TargetKind(
            name=row["name"],
            about=row["about"],
            arrays=tuple(TargetArray(**array) for array in row["arrays"]),
            pooled=row["pooled"],
            from_tokens=row["from_tokens"],
            metrics=tuple(row["metrics"]),
            default_head=json.loads(row["default_head"]),
        )
        for row in rows
    }


KINDS: Final = _kinds()
"""The kinds by name, in the order of the documentation."""
ARRAYS: Final = {array.name: array for kind in KINDS.values() for array in kind.arrays}
"""Every array that a batch can carry as its target, by name."""
COLUMNS: Final = {array.column: array for array in ARRAYS.values() if array.column}
"""The columns of targets in data, each with the array that it fills."""


def language_model() -> str:
    """The kind that is made from tokens alone.

    >>> from ssm_hpn.targets import language_model
    >>> language_model()
    'next_token'
    """
    return next(kind.name for kind in KINDS.values() if kind.from_tokens)


def kinds_with(column: str) -> tuple[str, ...]:
    """The kinds that read a column.

    >>> from ssm_hpn.targets import kinds_with
    >>> kinds_with("values")
    ('sequence_values', 'joint')
    """
    return tuple(kind.name for kind in KINDS.values() if column in kind.columns)


def target_columns(element: str, per: str | None = None) -> frozenset[str]:
    """The columns whose entries have a meaning, `class` or `number`; `per` leaves those of a token or document.

    >>> from ssm_hpn.targets import target_columns
    >>> sorted(target_columns("class")), sorted(target_columns("class", "token")), "values" in target_columns("number")
    (['label', 'labels'], ['labels'], True)
    """
    chosen = [name for name, array in COLUMNS.items() if array.element == element and per in (None, array.per)]
    return frozenset(chosen)


def column_with(element: str, columns: Collection[str]) -> str | None:
    """Of some columns the one whose entries have a meaning, `class` or `number`: first one per token, None for none.

    >>> from ssm_hpn.targets import column_with
    >>> column_with("class", {"label", "labels", "values"}), column_with("number", {"label"})
    ('labels', None)
    """
    found = [name for name, array in COLUMNS.items() if array.element == element and name in columns]
    return max(found, key=lambda name: COLUMNS[name].per_token, default=None)


def kind_of_columns(columns: Collection[str]) -> str:
    """The kind of target for these columns: a class per token first, else the kind that uses most of them.

    >>> from ssm_hpn.targets import kind_of_columns
    >>> kind_of_columns({"label", "values"}), kind_of_columns({"label", "labels"}), kind_of_columns(())
    ('joint', 'token_class', 'next_token')
    """
    there = [kind for kind in KINDS.values() if kind.columns and set(kind.columns) <= set(columns)]
    best = max(there, key=lambda kind: (not kind.pooled, len(kind.columns)), default=None)
    return best.name if best else language_model()
