"""Columns of targets in tables: which there are, how their cells are read, and what has to be the same in all rows.

Which of them belong to a document or to a token, and which are labels or numbers, is the core's description
(`ssm_hpn.targets.COLUMNS`). A query names them by aliases: `label` for labels; `values0`, `values1` and so on for
numbers.
"""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ssm_hpn.config.data import Columns
from ssm_hpn.counts import counted
from ssm_hpn.prepare.cells import check_range, coded, floats, list_lengths
from ssm_hpn.prepare.engine import Kind
from ssm_hpn.prepare.problems import data_error
from ssm_hpn.prepare.records import Coded, Floats, Ints
from ssm_hpn.prepare.rows import Rows
from ssm_hpn.prepare.source import Source
from ssm_hpn.targets import COLUMNS, target_columns

Targets = dict[str, Coded | Floats]
"""By column of `COLUMNS`, as in `Documents.targets`."""


def target_aliases(columns: Columns, *, per_token: bool | None = None) -> dict[str, str]:
    """The columns of targets in use by alias; all of them, or those of tokens or documents.

    >>> from ssm_hpn.config.data import Columns
    >>> target_aliases(Columns(label="kind", values=("price", "tax")))
    {'label': 'kind', 'values0': 'price', 'values1': 'tax'}
    """
    found: dict[str, str] = {}
    for key, array in COLUMNS.items():
        names = getattr(columns, key) if per_token in (None, array.per_token) else None
        if isinstance(names, str):
            found[key] = names
        else:
            found |= {f"{key}{k}": name for k, name in enumerate(names or ())}
    return found


def column_of(alias: str) -> str:
    """The column of `COLUMNS` that an alias stands for.

    >>> column_of("values1")
    'values'
    """
    return alias.rstrip("0123456789")


def kind_of(alias: str, *, steps: bool) -> Kind:
    """How the cells of a column are read, in tables whose rows are time `steps` or documents.

    >>> kind_of("labels", steps=True), kind_of("labels", steps=False), kind_of("values0", steps=False)
    ('text', 'texts', 'number')
    """
    array = COLUMNS[column_of(alias)]
    if array.per_token and not steps:
        return "texts" if array.element == "class" else "numbers"
    return "text" if array.element == "class" else "number"


def label_column(columns: Columns) -> str | None:
    """The column of labels: that of documents first."""
    named = {key: getattr(columns, key) for key in target_columns("class")}
    return next((named[key] for key in sorted(named, key=lambda key: COLUMNS[key].per_token) if named[key]), None)


def targets_of_rows(rows: Rows, source: Source, columns: Columns) -> Targets:
    """The targets of each row. Raises `DataError` for a number that is infinite or too large."""
    found: Targets = {}
    for name, array in COLUMNS.items():
        values = rows.coded(name) if array.element == "class" else rows.columns.get(name)
        if values is None:
            continue
        if not isinstance(values, Coded):
            check_range(source, values, getattr(columns, name), rows["n"])
        found[name] = values
    return found


def targets_of_cells(
    cells: dict[str, pa.Array], rows: Ints, lengths: Ints, source: Source, columns: Columns
) -> Targets:
    """The targets of rows that are documents, by alias; those of tokens or time steps are lists.

    Raises `DataError` for lists of another length than their document, and for numbers as above.
    """
    found: Targets = {}
    for name, array in COLUMNS.items():
        named = {alias: column for alias, column in target_aliases(columns).items() if column_of(alias) == name}
        present = [(cells[alias], column) for alias, column in named.items() if alias in cells]
        if array.per_token:
            present = [(_per_unit(lists, name, source, column, rows, lengths), column) for lists, column in present]
        if present and array.element == "class":
            found[name] = coded(present[0][0])
        elif present:
            numbers = np.stack([floats(values) for values, _ in present], axis=1)
            check_range(source, numbers, tuple(named.values()), np.repeat(rows, lengths) if array.per_token else rows)
            found[name] = numbers
    return found


def _per_unit(lists: pa.Array, name: str, source: Source, column: str, rows: Ints, lengths: Ints) -> pa.Array:
    """The elements of lists, of which there is one for each token or time step."""
    counts = list_lengths(lists)
    if (counts != lengths).any():
        at = int(np.flatnonzero(counts != lengths)[0])
        element = COLUMNS[name].element
        noun = "label" if element == "class" else "number"
        raise data_error(
            source.path,
            f"{source.row(int(rows[at]))}, {source.field(column)}",
            expected=counted(lengths[at], noun) + ", one per token",
            found=counts[at],
            advice=f"per-document {noun}s go into --data.columns.{next(iter(target_columns(element, 'document')))}",
        )
    return pc.list_flatten(lists)


def fixed(targets: Targets, side: Coded | None) -> Targets:
    """What is the same in all rows of a document: its targets, and as `side` the column that decides the split."""
    found = {name: values for name, values in targets.items() if not COLUMNS[name].per_token}
    return found if side is None else found | {"side": side}
