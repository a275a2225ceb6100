"""Cells and rows of tables that can mean something else than what they are read as, for notes."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from ssm_hpn.prepare.engine import SAMPLE_ROWS, Kind, Table
from ssm_hpn.prepare.problems import Notes, shown
from ssm_hpn.prepare.records import Coded, Documents
from ssm_hpn.prepare.sources import TABLES
from ssm_hpn.targets import COLUMNS

CELLS: Final = 1 << 19
"""Cells of columns of numbers that are looked at."""
MOST_COLUMNS: Final = 256
"""Columns of numbers that are looked at."""
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
BELOW_THOUSAND: Final = "[-+]?(0|[1-9][0-9]{0,2})"


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


def thousands(table: Table, names: list[str], notes: Notes) -> None:
    """Name columns of texts in which `1.034` stands beside `904`: the mark may separate thousands.

    The first rows are looked at, and a note says how many where there are more: the passes over all rows see numbers.
    """
    mark, names = table.decimal, [name for name in names if table.present[name] == "VARCHAR"][:MOST_COLUMNS]
    if not names:
        return
    chosen: dict[str, tuple[str, Kind]] = {f"t{k}": (name, "raw") for k, name in enumerate(names)}
    limit = max(1, min(SAMPLE_ROWS, CELLS // len(names)))
    tests = ", ".join(
        f"count(*) FILTER (contains({one}, '{mark}')) > 0"
        f" AND coalesce(bool_and(regexp_full_match(trim({one}), '{THOUSANDS}|{BELOW_THOUSAND}')), false)"
        f" AND count(*) FILTER (regexp_full_match(trim({one}), '[-+]?[1-9][0-9]{{2}}')) > 0,"
        f" min({one}) FILTER (contains({one}, '{mark}')),"
        f" min({one}) FILTER (regexp_full_match(trim({one}), '[-+]?[1-9][0-9]{{2}}'))"
        for one in chosen
    )
    query = f"SELECT {tests}, count(*) FROM ({table.select(chosen)} LIMIT {limit})"  # noqa: S608 - as above
    found = table.rows_of(query)[0]
    looked = f" (in the first rows, {limit:,} of them, which are looked at)" if found[-1] == limit else ""
    other = "," if mark == "." else "."
    setting = f" and set --data.decimal {other} if that is the decimal mark" if table.source.format == "csv" else ""
    for k, name in enumerate(names):
        doubtful, grouped, whole = found[3 * k : 3 * k + 3]
        if doubtful:
            notes.add(
                f"{table.source.field(name)}: {shown(grouped)} is read as a fraction, though {whole!r} is in the same "
                f"column and no fraction has other than three digits{looked}; if {mark!r} separates thousands, "
                f"write them without a mark{setting}"
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
