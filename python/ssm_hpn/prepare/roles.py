"""The role of each column of tables, by the first table and the same in all: names, patterns, types of ids."""

import contextlib
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Final

import duckdb

from ssm_hpn.config.data import Columns, PrepareOptions
from ssm_hpn.errors import DataError
from ssm_hpn.prepare.engine import Table, engine, quoted, words_for
from ssm_hpn.prepare.engine_errors import ENOUGH_MEMORY, no_column, translated
from ssm_hpn.prepare.opening import open_table
from ssm_hpn.prepare.problems import Notes, data_error, listed
from ssm_hpn.prepare.queries import advised, in_query
from ssm_hpn.prepare.source import Source
from ssm_hpn.targets import COLUMNS

TEXT_NAMES: Final = ("text", "content")
TOKEN_NAMES: Final = ("tokens", "input_ids")
WHOLE: Final = "0|-?([1-9][0-9]{0,17}|[1-8][0-9]{18}|9[01][0-9]{17})"
"""An id that is a whole number as it is usually written, and fits into 64 bits."""
ROW_INDEX: Final = re.compile(r"|Unnamed: [0-9]+|__index_level_[0-9]+__")
"""Names of columns that pandas makes of the numbers of rows: patterns do not take them for features."""


@dataclass
class Reading:
    """The columns and types of the first table, which hold for all tables, and counts over all tables."""

    columns: Columns
    """Patterns expanded, defaults filled in."""
    types: dict[str, str] = field(default_factory=dict)
    """What the columns of ids and order were read as."""
    notes: Notes = field(default_factory=Notes)
    """What was guessed."""
    empty: int = 0
    """Rows without a document: no text, no ids, no time steps."""
    split_column: str | None = None
    """The column that decides the split, where one does."""
    trained_order: str | None = None
    """What the order column was read as in the data of the model that reads the tables."""


def settle(sources: list[Source], options: PrepareOptions, *, split_column: str | None = None) -> Reading:
    """The columns in use, by the first table. An unknown one is an error with the nearest name."""
    source = sources[0]
    with opened(source, options, None, whole=False) as table:
        notes = Notes()
        columns = _resolve(table, options, notes)
        types = {columns.id: _declared(table, columns.id)} if columns.id else {}
        return Reading(columns, types, notes, split_column=split_column)


def steps_per_row(source: Source, options: PrepareOptions, columns: Columns) -> bool:
    """Whether every row is a time step, and not a document."""
    if not columns.features:
        return False
    with opened(source, options, None, whole=False) as table:
        return not any(is_list(table.present[name]) for name in columns.features)


def _declared(table: Table, name: str) -> str:
    """What a typed column is: `integer`, `number` or `text`; nothing for one of a CSV file, whose cells tell."""
    kind = table.present[name]
    if table.source.format == "csv":
        return ""
    return "number" if kind in ("DOUBLE", "FLOAT") else "integer" if re.search("INT(EGER)?$", kind) else "text"


def type_of_ids(source: Source, options: PrepareOptions, work: Path | None = None) -> str:
    """What the id column holds: `integer`, `number` or `text`.

    A typed column is what its type says; in CSV ids are integers where every one is a whole number as it is usually
    written, so that `007` is a text. A copy of a file in another encoding is kept in `work`.
    """
    name = options.columns.id or ""
    with opened(source, options, work) as table:
        if name not in table.present:
            raise no_column(table, "id", name)
        declared = _declared(table, name)
        if declared in ("number", "text"):
            return declared
        query = table.select({"id": (name, "id")})
        try:
            found = table.rows_of(f"SELECT bool_and(regexp_full_match(id, {quoted(WHOLE)})) FROM ({query})")  # noqa: S608
        except duckdb.Error as error:
            raise translated(source, error, table, query) from None
    return "integer" if found[0][0] else "text"


@contextlib.contextmanager
def opened(
    source: Source, options: PrepareOptions, work: Path | None, *, long_lines: bool = False, whole: bool = True
) -> Iterator[Table]:
    """One source; for a first look not the `whole` of a file that has to be recoded."""
    with engine(work, long_lines=long_lines) as connection:
        try:
            table = open_table(source, options, connection, long_lines=long_lines, work=work, whole=whole)
        except DataError as error:
            if long_lines or not ("maximum_object_size" in str(error) or ENOUGH_MEMORY in str(error)):
                raise
            table = None
        if table is not None:
            yield table
            return
    with opened(source, options, work, long_lines=True, whole=whole) as table:
        yield table


def _resolve(table: Table, options: PrepareOptions, notes: Notes) -> Columns:
    """The columns with patterns expanded and defaults filled in; a pattern never takes a column with another role."""
    source, present, columns = table.source, list(table.present), options.columns
    others = {name for key, name in wanted(columns) if key != "features"}
    features: list[str] = []
    for name in columns.features:
        if "*" not in name or name in present:
            features.append(name)
            continue
        hits = [one for one in present if fnmatchcase(one, name) and one not in others]
        if not hits:
            raise no_column(table, "features", name)
        for index in filter(ROW_INDEX.fullmatch, hits):
            notes.add(f"{source.field(index)} is a row index by its name and no feature: rename it to use it")
        features += [one for one in hits if not ROW_INDEX.fullmatch(one)]
    twice = [name for name, times in Counter(features).items() if times > 1]
    if twice:
        notes.add(f"features named more than once are read once: {listed(twice)}")
    columns = columns.model_copy(update={"features": tuple(dict.fromkeys(features))})
    check_columns(table, columns, options)
    if columns.text or columns.tokens or columns.features:
        return columns
    for key, known in (("text", TEXT_NAMES), ("tokens", TOKEN_NAMES)):
        for name in known:
            if name in present:
                return columns.model_copy(update={key: name})
    raise data_error(
        source.path,
        "file",
        expected=f"a {source.field_noun} with the data ({', '.join((*TEXT_NAMES, *TOKEN_NAMES))})",
        found=listed(present),
        advice="name it with --data.columns.text, .tokens or .features",
    )


def wanted(columns: Columns) -> list[tuple[str, str]]:
    """Every (setting, column name) in use."""
    classes = [name for name, array in COLUMNS.items() if array.element == "class"]
    numbers = [name for name, array in COLUMNS.items() if array.element == "number"]
    settings = ("text", "tokens", "id", "order", *classes, "features", *numbers)
    found = [(key, getattr(columns, key)) for key in settings]
    several = [(key, (names,) if isinstance(names, str) else names or ()) for key, names in found]
    return [(key, name) for key, names in several for name in names if name]


def check_columns(table: Table, columns: Columns, options: PrepareOptions, split_column: str | None = None) -> None:
    """Refuse the first column in use that a table does not have."""
    elsewhere = {name for name, array in COLUMNS.items() if not array.per_token} if options.labels else set()
    for key, name in wanted(columns):
        if name not in table.present and key not in elsewhere:
            raise no_column(table, key, name)
    if split_column and split_column not in table.present:
        raise no_column(table, "split", split_column)
    _check_lists(table, columns.features)


def _check_lists(table: Table, features: Sequence[str]) -> None:
    """Refuse lists beside numbers: rows cannot be documents and time steps at once."""
    source = table.source
    lists = [name for name in features if is_list(table.present[name])]
    numbers = [name for name in features if name not in lists]
    if not lists or not numbers:
        return
    column = in_query(lists[0])
    query = advised(source, f"*, {column}[1] AS first, {column}[2] AS second")
    raise data_error(
        source.path,
        source.field(lists[0]),
        expected=f"a number in each row, as in {source.field(numbers[0])}",
        found=words_for(table.present[lists[0]]),
        advice=f"take its elements as columns, by {query} and the like, or name columns of lists alone, where each "
        "row is a document",
    )


def is_list(kind: str) -> bool:
    """Whether the engine's name of a type is that of a list."""
    return kind.endswith("]")
