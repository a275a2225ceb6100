"""What is wrong with the header of a table: lines before it, a second one below it, names that differ in blanks."""

import csv
import io
import itertools
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from ssm_hpn.classes import has_no_label
from ssm_hpn.prepare.problems import data_error, nearest, shown
from ssm_hpn.prepare.queries import advised
from ssm_hpn.prepare.source import Source, lines_of, open_source

if TYPE_CHECKING:
    from ssm_hpn.errors import DataError

LINES: Final = 50
"""Lines in which a header is looked for."""
SEPARATORS: Final = ",;\t|"


def check_names(path: Path | str, at: str, names: Iterable[str], advice: str) -> None:
    """Refuse a column that is there twice.

    >>> check_names("d.csv", "row 1", ["a", "b"], "rename one of them")
    """
    seen: dict[str, int] = {}
    for place, name in enumerate(names, start=1):
        first = seen.setdefault(name, place)
        if first != place:
            found = f"{name!r} as columns {first} and {place}"
            raise data_error(path, at, expected="each column named once", found=found, advice=advice)


def spelling(name: str, known: Iterable[str]) -> str:
    """Advice for a name that is not known: the one that differs in blanks and case alone, or the nearest.

    >>> spelling("t", ["id ", " T", "tt"])
    "did you mean ' T'?"
    """
    names = list(known)
    same = next((one for one in names if one.strip().casefold() == name.strip().casefold()), None)
    return f"did you mean {same!r}?" if same is not None else nearest(name, names)


def missing_column(source: Source, key: str, name: str, present: dict[str, str]) -> "DataError":
    """The error for a column that is not there, for the setting `key`."""
    found, advice = f"no such {source.field_noun}", spelling(name, present)
    first, _, rest = name.partition(".")
    if source.format == "csv" and "did you mean" not in advice:
        lines = list(itertools.islice(lines_of(source), LINES))
        header = next((number for number, line in lines[1:] if name in _cells(line)), None)
        before = bool(re.match(r"#|sep=", lines[0][1])) or len(present) == 1
        if header or before:
            found += f"; row {lines[0][0]} was taken for the header: {shown(lines[0][1], 60)}"
            where = f"row {header}, which names it" if header else "the one with the names, if there are any"
            advice = f"remove the lines before {where}; {advice}" if not header else f"remove the lines before {where}"
    elif source.format == "jsonl" and rest and first in present:
        last = name.rpartition(".")[2]
        query = advised(source, f"*, {name} AS {last}")
        advice = f"a key inside of another is named in a query: {query}, with {last} as the column"
    return data_error(source.path, key, expected=f"a {source.field(name)}", found=found, advice=advice)


def _cells(line: str) -> set[str]:
    """What may be the cells of a line, whatever separates them."""
    return {cell.strip(' "') for cell in re.split(f"[{SEPARATORS}]", line)}


def header_below(source: Source, marks: Sequence[str], column: int, row: int, name: str, cell: object) -> str | None:
    """Advice about a cell of a CSV file that is no number because its row is a header; None where it is none.

    Row 2 is a header where it has no digit in a column in which the next row has one.

    Parameters
    ----------
    source, marks
        The file, its delimiter and its quote.
    column, row
        The place of the cell: columns from 0 on, rows from 1 on.
    name, cell
        The name of the column, and what is in the cell.
    """
    text = str(cell or "").strip()
    if text and text == name.strip():
        return f"row {row} repeats the header: remove it"
    if row == 2 and not re.search("[0-9]", text) and not has_no_label(text):
        next_row = _row(source, marks, 3)
        if column < len(next_row) and re.search("[0-9]", next_row[column]):
            return "a second header row? remove row 2"
    return None


def _row(source: Source, marks: Sequence[str], number: int) -> list[str]:
    """The cells of one of the first rows of a CSV file; none where it cannot be read."""
    with open_source(source) as stream, io.TextIOWrapper(stream, "utf-8-sig", "replace", newline="") as text:
        rows = (row for row in csv.reader(text, delimiter=marks[0], quotechar=marks[1]) if any(row))
        try:
            return next(itertools.islice(rows, number - 1, None), [])
        except csv.Error:
            return []


def two_headers(sample: str, delimiter: str, quote: str | None) -> bool:
    r"""Whether the second row of a CSV file has no numbers where the third has: it goes on with the header.

    >>> two_headers("id,a,a\n,x,y\nk,1,2\n", ",", '"'), two_headers("id,a,a\nk,1,2\nk,1,3\n", ",", '"')
    (True, False)
    """
    rows = (row for row in csv.reader(io.StringIO(sample), delimiter=delimiter, quotechar=quote) if any(row))
    first = list(itertools.islice(rows, 3))
    if len(first) < 3:
        return False
    numbers = [any(re.fullmatch(r"\s*[-+]?[0-9.,]+\s*", cell) for cell in row) for row in first[1:]]
    return numbers == [False, True]
