"""The faults that tests inject: their rows in docs/reliability.md, how many there are, and their record.

A test that injects a fault is marked with the name of its row, and counts what it did:

    @pytest.mark.fault("kill -9 at any moment")
    def test_a_killed_run_ends_in_the_same_bits(tally):
        for _ in range(faults.rounds(25, of=1000)):
            ...
            tally.add(worst="3 updates repeated")

`make test-faults` runs all marked tests with `--all-faults`: `rounds` then gives the larger number, tests marked `long`
run too, and what they counted is written to benchmarks/records/faults.json. A program that is no Python test adds its
row by `python tests/python/faults.py FAULT INJECTED SURVIVED WORST`. A test in Rust has `// Fault: ROW` above it.
"""

import datetime as dt
import json
import os
import re
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs/reliability.md"
RECORD = ROOT / "benchmarks/records/faults.json"
FIRST = "| fault | "
"""The start of the head of a table of faults; the columns follow."""
ALL = "--all-faults"
VARIABLE = "SSM_HPN_ALL_FAULTS"
"""Set where all faults are injected, also in the processes that run a part of the tests."""


@dataclass
class Tally:
    """What a test injected."""

    fault: str
    injected: int = 0
    survived: int = 0
    worst: str = ""
    """The worst outcome among those that were survived, in a few words."""

    def add(self, injected: int = 1, *, survived: int | None = None, worst: str | None = None) -> None:
        """Count faults; all of them are survived where the number is not given."""
        self.injected += injected
        self.survived += injected if survived is None else survived
        self.worst = self.worst if worst is None else worst


@dataclass(frozen=True)
class Row:
    """A row of docs/reliability.md."""

    fault: str
    state: str
    code: str
    again: str
    files: tuple[str, ...]


def rows(page: str | None = None) -> list[Row]:
    """The rows of all tables of faults on the page."""
    found = []
    for table in re.split(r"\n\n+", page or PAGE.read_text(encoding="utf-8")):
        if table.startswith(FIRST):
            for line in table.strip().splitlines()[2:]:
                fault, state, code, again, files = (cell.strip() for cell in line.strip("|").split(" | "))
                found.append(Row(fault, state, code, again, tuple(re.findall(r"`([\w./]+)`", files))))
    return found


def rounds(few: int, *, of: int) -> int:
    """How many faults a test injects: a few, or all of them with `--all-faults`."""
    return of if VARIABLE in os.environ else few


def inject_all(asked: bool) -> None:  # noqa: FBT001 - an option
    """Tell this process and those that it starts whether all faults are injected."""
    if asked:
        os.environ[VARIABLE] = "1"


def include(tallies: list[Tally], one: Tally) -> None:
    """Add what a test injected to the row of its fault; the greater of two worst outcomes stays."""
    same = next((row for row in tallies if row.fault == one.fault), None)
    if same is None:
        tallies.append(one)
        return
    same.add(one.injected, survived=one.survived, worst=max(same.worst, one.worst, key=_number))


def _number(outcome: str) -> float:
    """The first number of an outcome in words."""
    found = re.search(r"\d+(\.\d+)?", outcome)
    return float(found[0]) if found else -1.0 if outcome else -2.0


def write(tallies: list[Tally], record: Path = RECORD) -> None:
    """Put rows into the record, in place of those of the same faults."""
    before = json.loads(record.read_text(encoding="utf-8")) if record.exists() else []
    today = dt.datetime.now(dt.UTC).date().isoformat()
    new = {one.fault: asdict(one) | {"date": today} for one in tallies}
    kept = {row["fault"]: row for row in before if row["fault"] not in new}
    lines = [json.dumps(row, ensure_ascii=False) for _, row in sorted((kept | new).items())]
    record.write_text("[\n" + ",\n".join(lines) + "\n]\n", encoding="utf-8")


def table(tallies: list[Tally]) -> str:
    """The lines that `make test-faults` prints."""
    lines = ["", f"{'fault':<60} {'injected':>10} {'survived':>10}  worst"]
    lines += [f"{one.fault:<60} {one.injected:>10,} {one.survived:>10,}  {one.worst}" for one in tallies]
    return "\n".join(lines)


if __name__ == "__main__":
    name, injected, survived, worst = sys.argv[1:]
    write([Tally(name, int(injected), int(survived), worst)])
