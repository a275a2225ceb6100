"""The record of a run: rows of data set and system, written one by one so that an interrupted run goes on."""

from __future__ import annotations

import datetime as dt
import json
import os
import platform
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Final, Self

from quality.sets import CHOICES

CHOSEN: Final = (
    "The defaults of this package were chosen by cross-validation inside training splits (choice_sets); their test "
    "splits are measured after that. An earlier trial of the method had measured them for two of its laws."
)


@dataclass(frozen=True, slots=True)
class Row:
    """One system on one data set."""

    dataset: str
    system: str
    metric: str
    mean: float
    std: float | None
    """Deviation over the seeds (n - 1), None for one seed."""
    seconds: float | None
    """Mean over the seeds of fit and predict together; None where the machine was doing other work."""
    fit_seconds: float | None
    predict_seconds: float | None
    seeds: list[int]
    version: str
    date: str
    busy: bool = False
    """Measured while the machine did other work: without seconds, and measured again on a quiet machine."""
    machine: str | None = None
    """The processor and threads where they are not the header's: such a row has no seconds."""

    @classmethod
    def of(
        cls, *, dataset: str, system: str, metric: str, results: dict[int, dict[str, float]], version: str, busy: bool
    ) -> Self:
        """The row of the results by seed."""
        values = [one["value"] for one in results.values()]
        fit = statistics.fmean(one["fit_seconds"] for one in results.values())
        predict = statistics.fmean(one["predict_seconds"] for one in results.values())
        times = (None, None, None) if busy else (round(fit + predict, 4), round(fit, 4), round(predict, 4))
        return cls(
            dataset=dataset,
            system=system,
            metric=metric,
            mean=round(statistics.fmean(values), 6),
            std=round(statistics.stdev(values), 6) if len(values) > 1 else None,
            seconds=times[0],
            fit_seconds=times[1],
            predict_seconds=times[2],
            seeds=list(results),
            version=version,
            date=dt.datetime.now(dt.UTC).date().isoformat(),
            busy=busy,
        )

    def content(self) -> dict[str, Any]:
        """What the file has of the row: `machine` only where there is one."""
        return {name: value for name, value in asdict(self).items() if name != "machine" or value is not None}


@dataclass(slots=True)
class Record:
    """Header and rows, and the file that has both."""

    path: Path
    header: dict[str, Any]
    rows: list[Row] = field(default_factory=list)
    machine: str | None = None
    """What rows put now say of their machine; None where it is the header's."""

    @classmethod
    def open(cls, path: Path, *, threads: int, busy: bool = False) -> Self:
        """The record in a file, or a new one; refuses to mix seconds of two machines (rows of a busy one have none)."""
        header = {
            "processor": processor(),
            "threads": threads,
            "choices": CHOSEN,
            "choice_sets": list(CHOICES),
        }
        if not path.exists():
            return cls(path, header)
        found = cls.read(path)
        for name in ("processor", "threads"):
            if found.header[name] != header[name] and not busy:
                expected, here = found.header[name], header[name]
                raise SystemExit(
                    f"{path}: its rows are of {name} {expected}, here it is {here}; give another --out, or --busy, "
                    "which records accuracies without seconds"
                )
        found.machine = machine(header) if machine(header) != machine(found.header) else None
        found.header |= {name: header[name] for name in ("choices", "choice_sets")}
        return found

    @classmethod
    def read(cls, path: Path) -> Self:
        """The record in a file."""
        content = json.loads(path.read_text(encoding="utf-8"))
        return cls(path, content["header"], [Row(**row) for row in content["rows"]])

    def find(self, dataset: str, system: str) -> Row | None:
        """The row of a system on a data set."""
        return next((row for row in self.rows if (row.dataset, row.system) == (dataset, system)), None)

    def wants(self, dataset: str, system: str, *, seeds: Sequence[int], busy: bool) -> bool:
        """Whether to measure: there is no row, it has fewer seeds, or it is of a busy machine and this one is not."""
        row = self.find(dataset, system)
        return row is None or not set(seeds) <= set(row.seeds) or (row.busy and not busy)

    def put(self, row: Row) -> None:
        """Replace or add a row, and write the file whole."""
        self.rows = [one for one in self.rows if (one.dataset, one.system) != (row.dataset, row.system)]
        self.rows.append(replace(row, machine=self.machine))
        self.path.parent.mkdir(parents=True, exist_ok=True)
        lines = ",\n".join("  " + json.dumps(one.content()) for one in self.rows)
        header = json.dumps(self.header, indent=1)
        unfinished = self.path.with_suffix(".unfinished")
        unfinished.write_text(f'{{"header": {header},\n"rows": [\n{lines}\n]}}\n', encoding="utf-8")
        unfinished.replace(self.path)

    def of_other_versions(self, system: str, version: str) -> list[str]:
        """A line for a person where rows of a system are of another version than this one."""
        others = [row for row in self.of_system(system) if row.version != version]
        if not others:
            return []
        found = ", ".join(sorted({row.version for row in others}))
        return [f"{len(others)} rows of {system} are of {found}, not {version}; --again {system} measures them again"]

    def of_system(self, system: str) -> Iterator[Row]:
        """The rows of a system."""
        return (row for row in self.rows if row.system == system)


def machine(header: dict[str, Any]) -> str:
    """Processor and threads of a header, as a row of another machine says them."""
    return f"{header['processor']}, {header['threads']} threads"


def processor() -> str:
    """Name of the processor and number of cores."""
    name = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        named = (
            line.partition(":")[2].strip() for line in info.read_text().splitlines() if line.startswith("model name")
        )
        name = next(named, name)
    return f"{name}, {os.cpu_count()} cores"
