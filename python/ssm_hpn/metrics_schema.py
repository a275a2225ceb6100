"""Older schemas of `metrics.jsonl`: one chain of functions, each from the rows of one version to those of the next.

Schema 1 is the first, so the chain is empty. A checkpoint holds the length of the file at its time: a migration that
changes the length of rows comes with one of the checkpoints' state.
"""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

from ssm_hpn.errors import StorageError, problem
from ssm_hpn.metrics_log import SCHEMA, numbered_rows
from ssm_hpn.storage import write_whole

Row = dict[str, Any]
Migration = Callable[[Row], Row]
CHAIN: Final[tuple[Migration, ...]] = ()
"""`CHAIN[i]` leads from schema i + 1 to i + 2."""
assert len(CHAIN) + 1 == SCHEMA, "every schema but the first has a migration to it"


def check_rows(path: Path) -> int:
    r"""The number of whole rows of a metrics file whose rows are JSON objects of a known schema with the same keys.

    An unfinished last line does not count. Raises `StorageError` for anything else.

    >>> from pathlib import Path
    >>> _ = Path("metrics.jsonl").write_text('{"schema": 1, "step": 0}\n{"schema": 1, "step": 10}\n{"sche')
    >>> check_rows(Path("metrics.jsonl"))
    2
    """
    return len(_read(path, newest=SCHEMA))


def upgrade_rows(path: Path, *, chain: Sequence[Migration] = CHAIN) -> int:
    r"""Rewrite a metrics file of an older schema in its place, whole or not at all; returns the schema that it had.

    >>> from pathlib import Path
    >>> _ = Path("old.jsonl").write_text('{"schema": 1, "step": 0}\n')
    >>> upgrade_rows(Path("old.jsonl"), chain=[lambda row: row | {"host": None}])
    1
    >>> Path("old.jsonl").read_text()
    '{"schema": 2, "step": 0, "host": null}\n'
    """
    newest = len(chain) + 1
    rows = _read(path, newest=newest)
    before = min((row["schema"] for row in rows), default=newest)
    if before == newest:
        return newest
    upgraded = []
    for row in rows:
        for number, migration in enumerate(chain[row["schema"] - 1 :], row["schema"] + 1):
            row = migration(row) | {"schema": number}  # noqa: PLW2901 - along the chain
        upgraded.append(json.dumps(row, allow_nan=False) + "\n")
    write_whole(path, "".join(upgraded))
    return int(before)


def _read(path: Path, *, newest: int) -> list[Row]:
    rows: list[Row] = []
    for number, row in numbered_rows(path, newest=newest):
        if rows and list(row) != list(rows[0]):
            different = sorted(set(row) ^ set(rows[0])) or ["their order"]
            raise StorageError(
                problem(f"{path}:{number}", "the keys of row 1", f"others ({different[0]})", "remove it")
            )
        rows.append(row)
    return rows
