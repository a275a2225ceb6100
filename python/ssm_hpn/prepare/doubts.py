"""Cells and rows of tables that can mean something else than what they are read as, for notes."""

import re
from typing import Final

from ssm_hpn.prepare.engine import SAMPLE_ROWS, Kind, Table
from ssm_hpn.prepare.problems import Notes, shown

CELLS: Final = 1 << 19
"""Cells of columns of numbers that are looked at."""
COLUMNS: Final = 256
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
    """Name columns of texts in which `1.034` stands beside `904`: the mark may separate thousands."""
    mark, names = table.decimal, [name for name in names if table.present[name] == "VARCHAR"][:COLUMNS]
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
    found = table.rows_of(f"SELECT {tests} FROM ({table.select(chosen)} LIMIT {limit})")[0]  # noqa: S608 - as above
    other = "," if mark == "." else "."
    setting = f" and set --data.decimal {other} if that is the decimal mark" if table.source.format == "csv" else ""
    for k, name in enumerate(names):
        doubtful, grouped, whole = found[3 * k : 3 * k + 3]
        if doubtful:
            notes.add(
                f"{table.source.field(name)}: {shown(grouped)} is read as a fraction, though {whole!r} is in the same "
                f"column and no fraction has other than three digits; if {mark!r} separates thousands, write them "
                f"without a mark{setting}"
            )


def total(ids: list[str]) -> int | None:
    """The place of the first id that says that its row sums up others.

    >>> total(["a", " Summe ", "Total"]), total(["a", "totally"]), total(["Total 2023:"])
    (1, None, 0)
    """
    if TOTALS.isdisjoint([one.strip(f"{AROUND}0123456789").casefold() for one in ids]):
        return None
    words = (YEAR.sub("", one.strip(AROUND).casefold()) for one in ids)
    return next((place for place, word in enumerate(words) if word in TOTALS), None)
