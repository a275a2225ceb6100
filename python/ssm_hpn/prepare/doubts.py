"""Cells and rows of tables that can mean something else than what they are read as, for notes."""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from ssm_hpn.prepare.engine import Table
from ssm_hpn.prepare.problems import Notes, shown
from ssm_hpn.prepare.records import Coded, Documents, Floats
from ssm_hpn.prepare.source import TABLES
from ssm_hpn.targets import COLUMNS

TOTALS: Final = frozenset(
    [
        *(
            "total",
            "totals",
            "grand total",
            "subtotal",
            "sub-total",
            "overall",
            "sum",
            "sums",
            "σ",
            "∑",
            "totale",
            "suma",
        ),
        *("totale", "summe", "gesamt", "gesamtsumme", "insgesamt", "zwischensumme", "somme", "итого", "合计", "总计"),
    ]
)
"""Ids, in small letters, of rows that sum up others."""
AROUND: Final = " \t:*=-"
"""What may stand around such a word."""
YEAR: Final = re.compile("[ :]+[12][0-9]{3}$")
"""What may follow it."""
LONGEST: Final = 32
"""Bytes of the longest text that may be such a word."""
BEGINNINGS: Final = np.unique(
    [int.from_bytes(form.encode()[:2]) for word in TOTALS for form in (word, word.capitalize(), word.upper())]
)
"""The first two bytes of these words."""
DAY_MONTH: Final = "(0[1-9]|[12][0-9]|3[01])[.](0[1-9]|1[0-2])"
THOUSANDS: Final = "[-+]?[1-9][0-9]{0,2}[.,][0-9]{3}"
THOUSAND: Final = 1000.0
BELOW_THOUSAND: Final = "[-+]?(0|[1-9][0-9]{0,2})"
THREE_DIGITS: Final = "[-+]?[1-9][0-9]{2}"


def days_as_numbers(table: Table, sample: str, name: str, notes: Notes) -> None:
    """Note that an order read as numbers is days and months, where all are such and another order than the numbers.

    `sample` is a query for some different values `o` of the column.
    """
    cell = "trim(CAST(o AS VARCHAR))"
    every = f"SELECT bool_and(regexp_full_match({cell}, '{DAY_MONTH}')) FROM ({sample})"  # noqa: S608 - our own query
    if not table.rows_of(every)[0][0]:
        return
    texts = [text for (text,) in table.rows_of(f"SELECT DISTINCT {cell} FROM ({sample})")]  # noqa: S608 - as above
    by_number = sorted(texts, key=float)
    by_date = sorted(texts, key=lambda text: (text[3:], text[:2]))
    if by_number != by_date:
        notes.add(
            f"order {name!r} is read as numbers, though {by_number[-1]} and all others could be days and months; "
            "if they are, say --data.date_format %d.%m"
        )


class Grouped:
    """Columns of texts in which `1.034` stands beside `904`: the mark may separate thousands.

    The numbers of all rows are looked at as they are read. The texts are looked at only where every number could be one
    that is written so, of which few columns are.
    """

    def __init__(self, table: Table, names: Iterable[str]) -> None:
        """For the columns of numbers `names`; those that are no texts are left out."""
        self.table = table
        self._found = {name: [False, False] for name in names if table.present[name] == "VARCHAR"}
        """Of the columns that may be such, whether a fraction was there, and a whole number of three digits."""

    def see(self, names: Sequence[str], numbers: Floats) -> None:
        """Take in numbers [N, K] of columns of these names.

        >>> import duckdb
        >>> from pathlib import Path
        >>> from ssm_hpn.prepare.source import Source
        >>> table = Table(Source(Path("d.csv"), "d.csv", "csv"), duckdb.connect(), {"x": "VARCHAR", "y": "VARCHAR"})
        >>> grouped = Grouped(table, "xy")
        >>> grouped.see("xy", np.array([[1.034, 1.034], [np.nan, 0.5], [904, 904]]))
        >>> grouped.candidates
        ['x']
        """
        places = [k for k, name in enumerate(names) if name in self._found]
        if not places or not len(numbers):
            return
        for place in places:
            column = np.ascontiguousarray(numbers[:, place])
            fractions = column[np.rint(column) != column]
            fractions = fractions[~np.isnan(fractions)] if len(fractions) else fractions
            sizes = np.abs(fractions)
            least, most = np.fmin.reduce(column), np.fmax.reduce(column)
            grouped = (sizes > 1) & (np.rint(fractions * THOUSAND) / THOUSAND == fractions)
            if max(-least, most) >= THOUSAND or not grouped.all():
                del self._found[names[place]]
                continue
            found = self._found[names[place]]
            found[0] |= bool(len(fractions))
            found[1] = found[1] or bool((np.abs(column[np.rint(column) == column]) >= THOUSAND / 10).any())

    @property
    def candidates(self) -> list[str]:
        """The columns whose numbers could all be written so."""
        return [name for name, found in self._found.items() if all(found)]

    def notes(self) -> Iterator[tuple[str, str]]:
        """The columns that are written so in all rows, and a note on each."""
        for name in self.candidates:
            if (note := grouped_note(self.table, name)) is not None:
                yield name, note


def grouped_note(table: Table, name: str) -> str | None:
    """A note on a column in which `1.034` stands beside `904`, and nothing else than such texts; None on any other."""
    mark, texts = table.decimal, table.select({"t": (name, "raw")})
    texts = f"SELECT trim(t) AS t FROM ({texts}) WHERE lower(trim(t)) NOT IN ('', 'nan')"  # noqa: S608 - our own query
    other = f"SELECT 1 FROM ({texts}) WHERE NOT regexp_full_match(t, '{THOUSANDS}|{BELOW_THOUSAND}') LIMIT 1"  # noqa: S608
    if table.present[name] != "VARCHAR" or table.rows_of(other):
        return None
    grouped, whole = table.rows_of(
        f"SELECT min(t) FILTER (contains(t, '{mark}')), min(t) FILTER (regexp_full_match(t, '{THREE_DIGITS}'))"  # noqa: S608
        f" FROM ({texts})"
    )[0]
    if grouped is None or whole is None:
        return None
    swapped = "," if mark == "." else "."
    setting = f" and set --data.decimal {swapped} if that is the decimal mark" if table.source.format == "csv" else ""
    return (
        f"{table.source.field(name)}: {shown(grouped)} is read as a fraction, though {whole!r} is in the same column "
        f"and no fraction has other than three digits; if {mark!r} separates thousands, write them without a "
        f"mark{setting}"
    )


@dataclass(slots=True)
class _Sum:
    """A cell that says that its row sums up others, and how often it is there."""

    note: str
    documents: int = 0


@dataclass(slots=True)
class Sums:
    """Rows that may sum up others, by their ids, labels, texts, or the cell that decides the split.

    A label that many documents have is a class of that name.
    """

    documents: int = 0
    found: dict[tuple[str, str], _Sum] = field(default_factory=dict)
    """By the role of the cell and its text."""

    def see(self, documents: Documents) -> None:
        """Take in some documents."""
        self.documents += int(documents.begins.sum())
        if documents.ids is not None and (place := total(documents.ids)) is not None:
            self._add(documents, "id", documents.ids[place], place, 1)
        for name, coded in documents.targets.items():
            if isinstance(coded, Coded):
                self._see_cells(documents, "label", coded, per_unit=COLUMNS[name].per_token)
        if documents.side is not None:
            self._see_cells(documents, "split value", documents.side, per_unit=False)
        if documents.kind == "text" and documents.source.format in TABLES:
            at_text = total_text(documents)
            if at_text is not None:
                self._add(documents, "text", _text(documents, at_text), at_text, 1)

    def _see_cells(self, documents: Documents, what: str, cells: Coded, *, per_unit: bool) -> None:
        place = total(cells.texts)
        at = [] if place is None else np.flatnonzero(cells.codes == place).tolist()
        if place is None or not at:
            return
        entry = int(np.searchsorted(documents.offsets, at[0], side="right") - 1) if per_unit else at[0]
        self._add(documents, what, cells.texts[place], entry, len(at))

    def _add(self, documents: Documents, what: str, text: str, entry: int, count: int) -> None:
        if (what, text) not in self.found:
            record = documents.record(entry)
            without = any(target is None for target in record.targets.values())
            self.found[what, text] = _Sum(
                f"{record.source.name}: {record.at}: the {what} {text!r} reads like a sum over other rows, and is a "
                f"document like the others{', without a label' if without else ''}; if it is a sum, remove it"
            )
        self.found[what, text].documents += count

    def notes(self) -> Iterator[str]:
        """The first of each role, unless more than a hundredth of all documents is like it."""
        told: set[str] = set()
        for (what, _), one in self.found.items():
            if what not in told and one.documents <= max(1, self.documents // 100):
                told.add(what)
                yield one.note


def total_text(documents: Documents) -> int | None:
    """The place of the first text that is nothing but a word for a sum."""
    short = np.flatnonzero((documents.lengths >= 2) & (documents.lengths <= LONGEST))
    if not len(short):
        return None
    starts = documents.offsets[short]
    first, second = (documents.elements[starts + k].astype(np.int64) for k in range(2))
    candidates = short[np.isin(256 * first + second, BEGINNINGS)].tolist()
    return next((entry for entry in candidates if total([_text(documents, entry)]) is not None), None)


def _text(documents: Documents, entry: int) -> str:
    """The text of a document of bytes."""
    units = documents.elements[documents.offsets[entry] : documents.offsets[entry + 1]]
    return bytes(units).decode(errors="replace")


def total(ids: list[str]) -> int | None:
    """The place of the first id that says that its row sums up others.

    >>> total(["a", " Summe ", "Total"]), total(["a", "totally"]), total(["Total 2023:"])
    (1, None, 0)
    """
    if TOTALS.isdisjoint([one.strip(f"{AROUND}0123456789").casefold() for one in ids]):
        return None
    words = (YEAR.sub("", one.strip(AROUND).casefold()) for one in ids)
    return next((place for place, word in enumerate(words) if word in TOTALS), None)
