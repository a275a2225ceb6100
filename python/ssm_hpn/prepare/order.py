"""What an order column means: numbers, times of day or dates, and never letters.

A column that has such a type is taken as it is. Text is read as the first of these that all rows of a sample fit; a
later row that does not fit is refused with its line.
"""

from dataclasses import dataclass
from typing import Final

from ssm_hpn.config.data import PrepareOptions
from ssm_hpn.prepare.engine import SAMPLE_ROWS, Table, quoted
from ssm_hpn.prepare.problems import data_error, listed, shown

NUMBERS: Final = ("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT", "FLOAT", "DOUBLE", "DECIMAL")
DAY_FIRST: Final = ("%d.%m.%Y", "%d.%m.%Y %H:%M", "%d.%m.%Y %H:%M:%S")
SLASHES: Final = {
    "day/month/year": ("%d/%m/%Y", "%d/%m/%Y %H:%M", "%d/%m/%Y %H:%M:%S"),
    "month/day/year": ("%m/%d/%Y", "%m/%d/%Y %H:%M", "%m/%d/%Y %H:%M:%S"),
}


@dataclass(frozen=True, slots=True)
class Order:
    """How rows are sorted."""

    keys: tuple[str, ...]
    """Expressions over the column `o`, null where it cannot be read."""
    number: str
    """The same as one double, for splits by time."""
    type: str
    unit: str | None = None


def order_of(table: Table, name: str, options: PrepareOptions) -> Order:
    """How a column of a table orders its rows. Raises `DataError` for text that is neither number, time nor date."""
    kind = "VARCHAR" if table.source.format == "jsonl" else table.present[name]
    base = kind.removeprefix("U").partition("(")[0]
    if base in NUMBERS:
        return Order(("o",), "CAST(o AS DOUBLE)", "number")
    if kind == "TIME":
        return _time("o")
    if base == "DATE" or base.startswith("TIMESTAMP"):
        return _date("o", "date" if base == "DATE" else "timestamp")
    raw = f"SELECT * FROM ({table.select({'o': (name, 'raw')})}) LIMIT {SAMPLE_ROWS}"  # noqa: S608 - our own query
    sample = f"SELECT DISTINCT CAST(o AS VARCHAR) AS o FROM ({raw})"  # noqa: S608
    candidates = _candidates(options)
    tests = ", ".join(f"count({order.keys[0]})" for order in candidates)
    total, *counts = table.rows_of(f"SELECT count(nullif(trim(o), '')), {tests} FROM ({sample})")[0]  # noqa: S608
    if not total:  # a column without a value: its reader says so
        return candidates[0]
    fitting = [order for order, count in zip(candidates, counts, strict=True) if count == total]
    if not fitting:
        best = candidates[max(range(len(counts)), key=lambda i: counts[i])]
        odd = table.rows_of(f"SELECT o FROM ({sample}) WHERE {best.keys[0]} IS NULL AND trim(o) <> '' LIMIT 1")  # noqa: S608
        raise data_error(
            table.source.path,
            table.source.field(name),
            expected="numbers, times of day or dates to sort by",
            found=shown(odd[0][0]) if odd else "none",
            advice="write dates as 2024-01-31, say how they are written in data.date_format, or leave the order out",
        )
    slashes = [order.type for order in fitting if order.type in SLASHES]
    if len(slashes) > 1:
        raise data_error(
            table.source.path,
            table.source.field(name),
            expected="dates that can be read in one way",
            found=listed(slashes),
            advice="say which in data.date_format, such as %d/%m/%Y",
        )
    return fitting[0]


def _candidates(options: PrepareOptions) -> list[Order]:
    """In the order in which they are tried."""
    if options.date_format:
        return [_date(f"CAST(try_strptime(o, {quoted(options.date_format)}) AS TIMESTAMP)", options.date_format)]
    number = "replace(o, ',', '.')" if options.decimal == "," else "o"
    double = f"nullif(TRY_CAST({number} AS DOUBLE), 'nan'::DOUBLE)"
    # Doubles first, and whole numbers that doubles cannot tell apart by all of their digits.
    found = [Order((double, f"TRY_CAST({number} AS HUGEINT)"), double, "number")]
    found.append(_date("TRY_CAST(o AS TIMESTAMPTZ)", "timestamp"))
    found.append(_time("CASE WHEN o LIKE '%:%' THEN TRY_CAST(o AS TIME) END"))
    found.append(_date(_parsed(DAY_FIRST), "day.month.year"))
    return found + [_date(_parsed(formats), kind) for kind, formats in SLASHES.items()]


def _parsed(formats: tuple[str, ...]) -> str:
    return f"try_strptime(o, [{', '.join(map(quoted, formats))}])"


def _time(expression: str) -> Order:
    return Order((expression,), f"epoch_us({expression}) / 1e6", "time of day", "second")


def _date(expression: str, kind: str) -> Order:
    return Order((expression,), f"epoch_us(CAST({expression} AS TIMESTAMP)) / 1e6", kind, "second")
