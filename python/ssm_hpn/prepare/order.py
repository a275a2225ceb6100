"""The order column: numbers, times of day or dates; letters are refused.

A column that has such a type is taken as it is. Text is read as the first of these forms that all rows of a sample
fit, each of them over the whole text; a later row that does not fit is refused with its line. Forms:

    number                 12, 1e-3, 1700000000.000000001 (all digits count)
    timestamp              2024-01-31, 2024/1/31 9:05, 2024-01-31T09:05:00.000000001 (all digits count)
    timestamp with zone    the same with Z, +02:00 or a name behind it
    time of day            9:05, 09:05:00.5
    day.month.year         31.1.2024, 31.1.2024 9:05
    day/month/year, month/day/year        with / or -, where the dates can be read in one way only

Times may be written with AM or PM. Anything else, two digits for a year among it, has to be described in
`data.date_format`.

Files that a trained model reads are read in the form of its training data where it fits, which decides between forms
that both fit. A column of another kind (a number, a time of day, a duration, a date) than in training is refused.
"""

import re
from dataclasses import dataclass, field
from typing import Any, Final

import duckdb
import numpy as np
from numpy.typing import NDArray

from ssm_hpn.config.data import PrepareOptions
from ssm_hpn.counts import counted
from ssm_hpn.prepare.doubts import days_as_numbers
from ssm_hpn.prepare.engine import SAMPLE_ROWS, Table, quoted
from ssm_hpn.prepare.headers import header_below
from ssm_hpn.prepare.problems import Notes, config_error, data_error, listed, shown
from ssm_hpn.prepare.records import Coded, Documents, Floats, Ints
from ssm_hpn.prepare.source import Source
from ssm_hpn.targets import COLUMNS

NUMBERS: Final = ("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT", "FLOAT", "DOUBLE", "DECIMAL")
CLOCK: Final = ("%H:%M", "%H:%M:%S", "%H:%M:%S.%f", "%I:%M %p", "%I:%M:%S %p", "%I:%M:%S.%f %p", "%I %p")
HALVES: Final = CLOCK[3:]
"""Times of day with AM or PM."""
SLASHES: Final = {"day/month/year": "%d/%m/%Y", "month/day/year": "%m/%d/%Y"}
WITH_ZONE: Final = "timestamp with zone"
TIME_OF_DAY: Final = "time of day"


@dataclass(frozen=True, slots=True)
class Order:
    """The keys by which rows are sorted."""

    keys: tuple[str, ...]
    """Expressions over the column `o`, the first of them null where it cannot be read."""
    number: str
    """The first key, called `k0`, as a double, for splits by time."""
    type: str
    unit: str | None = None
    alone: str = "true"
    """Expression over `o`: whether the first key differs wherever the value does; then no other key is needed."""


def order_of(table: Table, name: str, options: PrepareOptions, notes: Notes, trained: str | None = None) -> Order:
    """How a column of a table orders its rows; `trained` is its type in the data of the model that reads the table.

    Doubts go to `notes`.

    Raises `DataError` for text that is neither number, time nor date, and for another kind than in training.
    """
    found = _order_of(table, name, options, notes, trained)
    if trained is not None and _kind(found.type) != _kind(trained):
        raise data_error(
            table.source.path,
            table.source.field(name),
            expected=f"a {_named(trained)} to sort by, as in the training data",
            found=f"a {_named(found.type)}",
            advice="write it as it was written there",
        )
    return found


def _kind(form: str) -> str:
    """What a form stands for: `number`, `time of day`, `duration` or `date`."""
    if form in ("number", TIME_OF_DAY, "duration"):
        return form
    return TIME_OF_DAY if "%" in form and not re.search("%-?[YyGmbBdjcxsUWV]", form) else "date"


def _named(form: str) -> str:
    """What a form stands for, and the form where that says more."""
    kind = _kind(form)
    return kind if form == kind else f"{kind} ({form})"


def _order_of(table: Table, name: str, options: PrepareOptions, notes: Notes, trained: str | None) -> Order:
    kind = "VARCHAR" if table.source.format in ("csv", "jsonl") else table.present[name]
    native = _native(kind)
    if native:
        return native
    text = "TRY(decode(o))" if kind == "BLOB" else "trim(CAST(o AS VARCHAR))"
    candidates = _candidates(table, text, options)
    if trained is not None and trained == options.date_format:  # files may have another form, if it is no guess
        candidates += _candidates(table, text, options.model_copy(update={"date_format": None}))
    raw = f"SELECT *, row_number() OVER () AS n FROM ({table.select({'o': (name, 'raw')})}) LIMIT {SAMPLE_ROWS}"  # noqa: S608 - our own query
    there = "nullif(trim(CAST(o AS VARCHAR)), '')"
    sample = f"SELECT o, min(n) AS n FROM ({raw}) WHERE {there} IS NOT NULL GROUP BY o"  # noqa: S608
    tests = ", ".join(f"count({order.keys[0]})" for order in candidates)
    total, *counts = table.rows_of(f"SELECT count(*), {tests} FROM ({sample})")[0]  # noqa: S608
    if not total:  # a column without a value: its reader says so
        alike = (one for one in candidates if trained is not None and _kind(one.type) == _kind(trained))
        return next(alike, candidates[0])
    fitting = [order for order, count in zip(candidates, counts, strict=True) if count == total]
    at = table.source.field(name)
    for order in fitting:
        if order.type == trained:
            return order
    if not fitting:
        given = options.date_format
        best = candidates[int(np.argmax(counts))]
        number, odd = table.rows_of(
            f"SELECT n, CAST(o AS VARCHAR) FROM ({sample}) WHERE {best.keys[0]} IS NULL ORDER BY n LIMIT 1"  # noqa: S608
        )[0]
        csv = table.source.format == "csv"
        row = table.source.row(number + csv)
        below = (
            header_below(table.source, table.marks, [*table.present].index(name), number + 1, name, odd)
            if csv
            else None
        )
        raise data_error(
            table.source.path,
            f"{row}, {at}",
            expected=f"a date as data.date_format {given!r} says"
            if given
            else f"a {best.type} as in other rows"
            if max(counts)
            else "numbers, times of day or dates to sort by",
            found=shown(odd),
            advice=below
            or (given and f"{said} fits it" if (said := _format_of(table, odd, given)) else None)
            or "write dates as 2024-01-31 and times as 17:05, all of them with a time zone or none, say how they "
            "are written in data.date_format, or leave the order out",
        )
    if len(fitting) > 1 and fitting[0].type in SLASHES:
        first = table.rows_of(f"SELECT CAST(o AS VARCHAR) FROM ({sample}) ORDER BY n LIMIT 1")[0][0]  # noqa: S608
        raise data_error(
            table.source.path,
            at,
            expected="dates that can be read in one way",
            found=listed([order.type for order in fitting]),
            advice=f"say which in data.date_format, such as {_format_of(table, first) or SLASHES['day/month/year']}",
        )
    if fitting[0].type == "number":
        days_as_numbers(table, sample, name, notes)
    return fitting[0]


def _format_of(table: Table, text: str, given: str | None = None) -> str | None:
    """How a date or time is written, in the letters of `data.date_format`; None if it is in no form that is known.

    What is `given` and a time behind it are tried first.
    """
    dates = (
        *([given] if given else []),
        *SLASHES.values(),
        "%Y-%m-%d",
        "%Y/%m/%d",
        "%d.%m.%Y",
        "%m-%d-%Y",
        "%d-%m-%Y",
        "",
    )
    forms = [f"{date} {time}".strip() for date in dates for time in ("", *CLOCK) if date or time]
    tests = ", ".join(f"try_strptime({quoted(text.strip())}, {quoted(form)}) IS NOT NULL" for form in forms)
    fits = table.rows_of(f"SELECT {tests}")[0]
    return next((form for form, fit in zip(forms, fits, strict=True) if fit), None)


def _native(kind: str) -> Order | None:
    """The order of a column that has a type with one."""
    base = kind.partition("(")[0]
    if base in ("FLOAT", "DOUBLE"):
        # TRY keeps the engine from taking isnan for false by the statistics of a Parquet file, which leave NaN out.
        return Order(("CASE WHEN NOT isnan(TRY(o)) THEN o END",), "CAST(k0 AS DOUBLE)", "number")
    if base.removeprefix("U") in NUMBERS:
        return Order(("o",), "CAST(k0 AS DOUBLE)", "number")
    if base == "DATE":
        return _date(("o",), "date")
    if base.startswith("TIMESTAMP"):
        return _date(("o",), WITH_ZONE if "TZ" in base or "ZONE" in base else "timestamp")
    if base.startswith("TIME"):
        return _date(("o",), TIME_OF_DAY)
    return _date(("o",), "duration") if base == "INTERVAL" else None


def _candidates(table: Table, text: str, options: PrepareOptions) -> list[Order]:
    """In the order in which they are tried."""
    if options.date_format:
        try:
            table.rows_of(f"SELECT try_strptime('', {quoted(options.date_format)})")
        except duckdb.Error:
            raise config_error(
                "data.date_format",
                expected="how a date is written, with %Y, %m, %d, %H, %M and the like",
                found=options.date_format,
                advice="write it as for strptime, such as %d.%m.%Y %H:%M",
            ) from None
        parsed = f"try_strptime({text}, {quoted(options.date_format)})"  # which also takes "infinity"
        return [_date((f"CASE WHEN regexp_matches({text}, '[0-9]') THEN {parsed} END",), options.date_format)]
    number = f"replace({text}, '_', '?')"  # the engine takes 1_0 for 10
    number = f"replace({number}, ',', '.')" if options.decimal == "," else number
    double = f"nullif(TRY_CAST({number} AS DOUBLE), 'nan'::DOUBLE)"
    # Doubles first, and numbers that doubles cannot tell apart by all of their digits.
    digits = [f"TRY_CAST({number} AS {kind})" for kind in ("DECIMAL(38, 18)", "HUGEINT")]
    year_first = f"({text} LIKE '____-%' OR {text} LIKE '____/%')"
    iso = f"replace(replace(replace({text}, ',', '.'), ' +', '+'), ' -', '-')"
    behind = f"substr({text}, 12)"
    zone = f"(right({text}, 1) > '9' OR contains({behind}, '+') OR contains({behind}, '-'))"
    moment = f"coalesce(TRY_CAST({text} AS TIMESTAMPTZ), TRY_CAST({iso} AS TIMESTAMPTZ))"
    # The engine's moments have microseconds; what is written beyond them is a key of its own.
    beyond = f"rpad(regexp_extract({iso}, '[.][0-9]{{6}}([0-9]+)', 1), 12, '0')"
    finer = f"CASE WHEN length({text}) > 22 THEN TRY_CAST({beyond} AS BIGINT) ELSE 0 END"
    short = f"length({text}) <= 22"
    clock = f"CASE WHEN regexp_full_match({text}, '[0-9]{{1,2}}:[0-9]{{2}}(:[0-9]{{2}}([.][0-9]{{1,9}})?)?') THEN"
    with_halves = f"regexp_replace({text}, '\\s*([AaPp])[.]?[Mm][.]?$', ' \\1M')"
    found = [
        Order((double, *digits), "k0", "number", alone=f"strlen({text}) <= 15"),
        _date((f"CASE WHEN {year_first} AND NOT {zone} THEN {moment} END", finer), "timestamp", short),
        _date((f"CASE WHEN {year_first} AND {zone} THEN {moment} END", finer), WITH_ZONE, short),
        _date((_strptime(with_halves, "%Y-%m-%d", "%Y/%m/%d", clock=HALVES, year=True),), "timestamp"),
        _date((f"{clock} TRY_CAST({text} AS TIME_NS) END",), TIME_OF_DAY),
        _date(
            (f"CASE WHEN {text} ILIKE '%m%' THEN CAST({_strptime(with_halves, '', clock=HALVES)} AS TIME) END",),
            TIME_OF_DAY,
        ),
        _date((_strptime(with_halves, "%d.%m.%Y", year=True),), "day.month.year"),
    ]
    slashed = f"regexp_replace({with_halves}, '^([0-9]+)-([0-9]+)-', '\\1/\\2/')"
    return found + [_date((_strptime(slashed, form, year=True),), kind) for kind, form in SLASHES.items()]


def _strptime(text: str, *dates: str, clock: tuple[str, ...] = ("", *CLOCK), year: bool = False) -> str:
    """The text by any of the forms of a date with any of the forms of a time; `year`: that has four digits."""
    forms = ", ".join(quoted(f"{date} {time}".strip()) for date in dates for time in clock)
    parsed = f"try_strptime({text}, [{forms}])"
    return f"CASE WHEN regexp_matches({text}, '(^|[^0-9])[0-9]{{4}}([^0-9]|$)') THEN {parsed} END" if year else parsed


def _date(keys: tuple[str, ...], kind: str, alone: str = "true") -> Order:
    return Order(keys, "epoch(k0)", kind, "second", alone)


@dataclass
class Noticed:
    """Collects, over sorted rows, what the notes say about their order."""

    source: Source
    name: str
    type: str
    notes: Notes
    documents: int = 0
    """Documents of at least two rows."""
    equal: int = 0
    """Documents of at least two rows that all have the same order value."""
    copies: int = field(default=0, init=False)
    """Rows that are equal to the one before in all that is read."""
    ties: int = field(default=0, init=False)
    """Rows with the order value of the one before and other values."""
    fallen: bool = field(default=False, init=False)
    _rows: int = field(default=0, init=False)
    _varies: bool = field(default=False, init=False)
    _last: Documents | None = field(default=None, init=False)
    """The last batch of documents; `_rows` and `_varies` are of the last document in it."""

    def add(self, new: Documents, alike: NDArray[np.bool_], rows: Ints, *, goes_on: bool) -> None:
        """Take in sorted rows of some documents; `alike`: rows with the order value of the row before.

        With `goes_on` the first document is the last one of the call before.
        """
        starts = new.offsets[:-1]
        changes, first = ~alike, bool(alike[0])
        falls = np.concatenate([[False], rows[1:] < rows[:-1]])
        self._count_copies(new, alike, goes_on=goes_on and first)
        changes[starts] = falls[starts] = False
        counts, varies = new.lengths, np.add.reduceat(changes, starts, dtype=np.int64) > 0
        if goes_on:
            counts[0] += self._rows
            varies[0] |= self._varies or not first
        else:
            self._close()
        several = counts[:-1] > 1
        self.documents += int(several.sum())
        self.equal += int((several & ~varies[:-1]).sum())
        self._rows, self._varies = int(counts[-1]), bool(varies[-1])
        if self.type == TIME_OF_DAY and falls.any() and not self.fallen:
            self.fallen = True
            document = int(np.searchsorted(new.offsets, np.flatnonzero(falls)[0], side="right") - 1)
            self.notes.add(
                f"order {self.name!r} is a time of day without a date, and in the file it falls from late to early "
                f"({new.name(document)}): documents that pass midnight are sorted wrongly; give it dates, or leave "
                "data.columns.order out"
            )

    def end(self) -> None:
        """After the last row: note how many documents have one order value in all rows."""
        self._close()
        if self.copies:
            same = "equal to another of the same document and order in all columns in use, and kept"
            what = f"{counted(self.copies, 'row is', 'rows are')} {same}"
            self.notes.add_of_file(self.source.name, "copies", what)
        if self.ties and not self.equal:
            of_another = f"the {self.name!r} of another row of the same document and other values"
            what = f"{counted(self.ties, 'row has', 'rows have')} {of_another}: these stay in the order of the file"
            self.notes.add_of_file(self.source.name, "ties", what)
        if self.equal:
            self.notes.add(
                f"{self.source.name}: order {self.name!r} is the same in all rows of {self.equal} of "
                f"{counted(self.documents, 'document')} of several rows: these stay in the order of the file"
            )

    def _count_copies(self, new: Documents, alike: NDArray[np.bool_], *, goes_on: bool) -> None:
        """Count rows equal to the one before; `alike`: rows with its order value; `goes_on`: the first row is one."""
        alike[new.offsets[:-1]] = False
        at = np.flatnonzero(alike)
        equal = _equal(new.elements[at], new.elements[at - 1])
        per_step = [name for name in new.targets if COLUMNS[name].per_token]
        for values in (new.targets[name] for name in per_step):
            codes = values.codes[:, None] if isinstance(values, Coded) else values
            equal &= _equal(codes[at], codes[at - 1])
        self.copies += int(equal.sum())
        self.ties += len(at) - int(equal.sum())
        held = self._last
        if goes_on and held is not None and _equal(new.elements[:1], held.elements[-1:])[0]:
            self.copies += all(_same(held.targets[name][-1:], new.targets[name][:1]) for name in per_step)
        self._last = new

    def _close(self) -> None:
        if self._rows > 1:
            self.documents += 1
            self.equal += not self._varies
        self._rows = 0


def _same(one: Coded | Floats, other: Coded | Floats) -> bool:
    """Whether two targets are equal, which may come from batches with other texts."""
    if isinstance(one, Coded) and isinstance(other, Coded):
        return one.text(0) == other.text(0)
    return bool(_equal(np.asarray(one), np.asarray(other)).all())


def _equal(these: NDArray[Any], others: NDArray[Any]) -> NDArray[np.bool_]:
    """Which rows of two arrays [N, F] are equal; NaN equals NaN."""
    return np.asarray(((these == others) | (np.isnan(these) & np.isnan(others))).all(axis=1))
