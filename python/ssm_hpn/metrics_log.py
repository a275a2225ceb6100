"""`metrics.jsonl`: one flat JSON object per line, read unmodified by pandas, polars, DuckDB, pyarrow and jq.

Every row has the same keys in the same order. Counts are written as integers, everything else as floats (`1.0`, never
`1`). `timestamp` is the time in UTC, as a text of ISO 8601. A number that is not finite is written as null and counted
in `nonfinite`; null also stands for what was not measured at that row. Row 0 has every number, so that a reader knows
all types after the first line; in a run that fits features it is the last row. A line is one `write`; one
that fails leaves no part of it, and is written with the next one. On resume the file is truncated to the length that is
stored in the checkpoint.
"""

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from math import isfinite
from pathlib import Path
from typing import Any, Final

from ssm_hpn.clock import timestamp
from ssm_hpn.counts import counted
from ssm_hpn.errors import ConfigError, StorageError, problem, shown
from ssm_hpn.foreign import from_json

SCHEMA: Final = 1
COUNTS: Final = frozenset(
    {
        *("schema", "step", "nonfinite", "skipped_steps", "train/clipped", "mem/rss_bytes", "data/tokens_seen"),
        *("data/series", "data/damaged"),
        "perf/comm_bytes",
    }
)
STAGE: Final = "stage"
TIMESTAMP: Final = "timestamp"
"""The two keys of texts; the second one is the time in UTC at which the row was written."""
TEXTS: Final = frozenset({STAGE, TIMESTAMP})
FILLED_IN: Final = ("schema", TIMESTAMP, "nonfinite")
"""Keys that a row gets when it is written."""
BEFORE: Final = (
    "schema",
    "step",
    "epoch",
    "time_s",
    TIMESTAMP,
    "nonfinite",
    "skipped_steps",
    "train/loss",
    "train/accuracy",
    "train/lr",
    "train/grad_norm",
    "train/update_norm",
    "train/clipped",
)
AFTER: Final = ("perf/tokens_per_second", "perf/step_ms", "perf/data_ms", "mem/rss_bytes", "data/tokens_seen")

Row = Mapping[str, float | int | str | None]


def row_keys(
    *, eval_metrics: Sequence[str], classes: bool, prototypes: bool, shared: bool = False, damaged: bool = False
) -> tuple[str, ...]:
    """The keys of a run: those of its task, the head's where there are prototypes, the ranks' where it can be shared.

    With `damaged` the count of record batches that were left out is one of them.

    >>> row_keys(eval_metrics=[], classes=False, prototypes=False, shared=True)[-2:]
    ('perf/comm_ms', 'perf/comm_bytes')
    """
    train = tuple(key for key in BEFORE if classes or key != "train/accuracy")
    head = ("head/max_prototype_cosine",) if prototypes else ()
    lost = ("data/damaged",) if damaged else ()
    of_ranks = ("perf/comm_ms", "perf/comm_bytes") if shared else ()
    return (*train, *(f"eval/{name}" for name in eval_metrics), *head, *AFTER, *lost, *of_ranks)


def stage_keys(*, eval_metrics: Sequence[str], classes: bool, numbers: bool) -> tuple[str, ...]:
    """The keys of a run that fits features, a row for each of its stages; what a stage does not measure is null.

    >>> stage_keys(eval_metrics=["r2"], classes=False, numbers=True)[6:]
    ('nonfinite', 'data/series', 'left_out/r2', 'eval/r2', 'mem/rss_bytes')
    """
    of_classes = ("left_out/accuracy", "left_out/loss", "head/strength") if classes else ()
    of_numbers = ("left_out/r2",) if numbers else ()
    before = ("schema", "step", STAGE, "time_s", TIMESTAMP, "stage_s", "nonfinite", "data/series")
    return (*before, *of_classes, *of_numbers, *(f"eval/{name}" for name in eval_metrics), "mem/rss_bytes")


def encode(row: Row, keys: Sequence[str]) -> str:
    """One line without its end, in the order of the keys; a missing number is null."""
    unknown = row.keys() - set(keys)
    if unknown:
        raise ValueError(f"no such key in this metrics file: {', '.join(sorted(unknown))}")
    numbers = (value for value in row.values() if value is not None and not isinstance(value, str))
    nonfinite = sum(1 for value in numbers if not isfinite(value))
    full = {"schema": SCHEMA, **row, "nonfinite": nonfinite}
    return json.dumps({key: _number(key, full.get(key)) for key in keys}, allow_nan=False)


def _number(key: str, value: float | str | None) -> float | int | str | None:
    if isinstance(value, str):
        return value
    if value is None or not isfinite(value):
        return None
    return int(value) if key in COUNTS else float(value)


class MetricsLog:
    """The file of one run, open for appending."""

    def __init__(self, path: Path, keys: Sequence[str], *, offset: int | None = None) -> None:
        """Start the file, or continue at a byte offset, to which it is truncated."""
        self.path = path
        self.keys = tuple(keys)
        self.lost: str | None = None
        """What is missing of the rows before the offset, in one line."""
        self._unwritten: list[bytes] = []
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | (os.O_TRUNC if offset is None else 0)
        flags |= getattr(os, "O_BINARY", 0)  # on Windows a line end would be two bytes without it
        try:
            if offset is not None:
                self._check_keys()
            self._file = os.open(path, flags, 0o666)
            if offset is not None:
                self.cut_back(offset)
        except OSError as error:
            raise StorageError(f"{path}: cannot write the metrics: {error}") from None

    @property
    def offset(self) -> int:
        """Length of the file in bytes."""
        return os.fstat(self._file).st_size

    def append(self, row: Row) -> None:
        """Write one row, and those that could not be written; `schema`, `timestamp` and `nonfinite` are filled in."""
        self._unwritten.append((encode(self._stamped(row), self.keys) + "\n").encode())
        self._write()

    def sync(self) -> int:
        """Make everything durable; returns the offset."""
        self._write()
        try:
            os.fsync(self._file)
        except OSError as error:
            raise StorageError(f"{self.path}: cannot write the metrics: {error}") from None
        return self.offset

    def _write(self) -> None:
        while self._unwritten:
            line, before = self._unwritten[0], self.offset
            try:
                written = os.write(self._file, line)
            except OSError as error:
                raise StorageError(f"{self.path}: cannot write the metrics: {error}") from None
            if written != len(line):
                os.ftruncate(self._file, before)
                raise StorageError(
                    f"{self.path}: cannot write the metrics: only {written} of {counted(len(line), 'byte')} fit"
                )
            del self._unwritten[0]

    def close(self) -> None:
        """Close the file."""
        os.close(self._file)

    def _stamped(self, row: Row) -> Row:
        return {TIMESTAMP: timestamp(), **row} if TIMESTAMP in self.keys else row

    def _check_keys(self) -> None:
        if not self.path.exists():
            return
        with self.path.open("rb") as file:
            line = file.readline()
        try:
            found = tuple(json.loads(line)) if line.endswith(b"\n") else self.keys  # a cut row is no row
        except ValueError:
            found = ()
        if found == tuple(key for key in self.keys if key != TIMESTAMP):
            self.keys = found  # a run of an earlier version goes on as it began
        elif found != self.keys:
            different = sorted(set(found) ^ set(self.keys)) or ["their order"]
            advice = "move the file away, or start another run with --run.folder"
            raise ConfigError(problem(self.path, "the keys of this run", f"others ({different[0]})", advice))

    def cut_back(self, offset: int) -> None:
        """Truncate to the offset, or a shorter file to its last whole line."""
        self._unwritten = []
        found = self.offset
        data = self.path.read_bytes()[: min(offset, found)]
        os.ftruncate(self._file, data.rfind(b"\n") + 1)
        if found < offset:
            expected = f"expected {counted(offset, 'byte')}, found {found}"
            self.lost = f"{self.path}: {expected}: rows of the updates before are lost"


def row_of(line: bytes) -> dict[str, Any]:
    """The row in a line: an object in UTF-8 of numbers and nulls, with a number as `step`, and texts as `TEXTS`.

    Raises `ValueError` for anything else.

    >>> row_of(b'{"step": 10, "stage": "features", "train/loss": null}')
    {'step': 10, 'stage': 'features', 'train/loss': None}
    >>> row_of(b'{"step": 10, "train/loss": "low"}')
    Traceback (most recent call last):
    ValueError: no row of metrics
    """
    return _checked(from_json(line.decode()))


def _checked(row: object) -> dict[str, Any]:
    if not isinstance(row, dict) or not _is_number(row.get("step")):
        raise ValueError("no row of metrics")
    if not all(value is None or _is_number(value) or _is_text(key, value) for key, value in row.items()):
        raise ValueError("no row of metrics")
    return row


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_text(key: str, value: object) -> bool:
    return key in TEXTS and isinstance(value, str)


def no_row(path: Path, number: int, line: bytes) -> str:
    """The error about a line, counted from 1, that holds no row."""
    return problem(f"{path}:{number}", "a row of metrics", shown(line[:40]), "remove it")


def numbered_rows(path: Path, *, newest: int = SCHEMA) -> Iterator[tuple[int, dict[str, Any]]]:
    """The rows of a metrics file, each with the number of its line; an unfinished last line is left out.

    Raises `StorageError` that names the file, and the line that holds no row, or one of a schema after the `newest`.
    """
    try:
        *lines, _ = path.read_bytes().split(b"\n")
    except OSError as error:
        raise StorageError(f"{path}: cannot read the metrics: {error}") from None
    for number, line in enumerate(lines, 1):
        try:
            row = from_json(line.decode())
            if type(row["schema"]) is not int or row["schema"] == SCHEMA:
                _checked(row)
        except (ValueError, LookupError, TypeError):
            raise StorageError(no_row(path, number, line)) from None
        if not 1 <= row["schema"] <= newest:
            expected, advice = f"metrics of schema {newest} or older", "use a release that reads it"
            raise StorageError(problem(f"{path}:{number}", expected, row["schema"], advice))
        yield number, row


def read_rows(path: Path) -> list[dict[str, float | int | None]]:
    """The rows of a metrics file; an unfinished last line is left out. Raises `StorageError` for what is no row."""
    return [row for _, row in numbered_rows(path)]
