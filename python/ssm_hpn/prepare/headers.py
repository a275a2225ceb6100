"""What is wrong with the header of a table: lines before it, a second one below it, names that differ in blanks."""

import csv
import io
import itertools
import re
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Final

from ssm_hpn.classes import has_no_label
from ssm_hpn.prepare.problems import data_error, nearest, shown
from ssm_hpn.prepare.sources import Source, lines_of

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
        query = f"sql:SELECT *, {name} AS {last} FROM '{source.path}'"  # noqa: S608 - for the reader
        advice = f'a key inside of another is named in a query: --data "{query}", with {last} as the column'
    return data_error(source.path, key, expected=f"a {source.field(name)}", found=found, advice=advice)


def _cells(line: str) -> set[str]:
    """What may be the cells of a line, whatever separates them."""
    return {cell.strip(' "') for cell in re.split(f"[{SEPARATORS}]", line)}


def header_below(row: int, name: str, cell: object) -> str | None:
    """Advice about a cell that is no number because its row is a header; None where it is none.

    >>> header_below(2, "t", "s"), header_below(17, "t", "t"), header_below(2, "t", "1,5")
    ('a second header row? remove row 2', 'row 17 repeats the header: remove it', None)
    """
    text = str(cell or "").strip()
    if text and text == name.strip():
        return f"row {row} repeats the header: remove it"
    if row == 2 and not re.search("[0-9]", text) and not has_no_label(text):
        return "a second header row? remove row 2"
    return None


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
