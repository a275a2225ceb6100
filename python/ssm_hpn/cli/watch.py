"""`watch`: runs in a terminal while they are written."""

import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from ssm_hpn.checkpoints import is_run, no_run, runs_in
from ssm_hpn.cli.console import console
from ssm_hpn.cli.console import table as plain
from ssm_hpn.cli.parser import Parser, path_of
from ssm_hpn.clock import timestamp
from ssm_hpn.errors import EXIT_DONE, ConfigError, problem
from ssm_hpn.follow import FACTS, Folder, Followed, sparkline
from ssm_hpn.printable import on_one_line

if TYPE_CHECKING:
    from rich.table import Table

LONGEST: Final = 86_400.0
"""Most seconds between two looks: a day."""


def run(arguments: Sequence[str], prog: str) -> int:
    """Follow runs until all have ended, or Ctrl-C; returns the exit code."""
    parser = Parser(prog=prog, description="Follow runs while they are written, until all have ended or Ctrl-C.")
    parser.add_argument("runs", nargs="+", type=path_of, metavar="RUN", help="folder of a run, or a folder of runs")
    parser.add_argument("--every", type=float, default=1.0, metavar="S", help="seconds between two looks (default: 1)")
    parser.add_argument("--once", action="store_true", help="print what there is now, and end")
    options = parser.parse_args(arguments)
    if not 0 < options.every <= LONGEST:
        expected = f"seconds above 0, up to {LONGEST:.0f}"
        raise ConfigError(problem("--every", expected, options.every, "1 is usual"))
    for path in options.runs:
        if not is_run(path) and not runs_in(path):
            raise ConfigError(no_run(path, "a run, or a folder of runs"))
    folder = Folder(options.runs)
    screen = console()
    if options.once:
        runs = folder.look()
        print(plain(*_plain(runs)))
        _tell_damage(runs, set())
        return EXIT_DONE
    try:
        if screen.is_terminal:
            from rich.live import Live  # slow to import, and needed only for terminals

            with Live(console=screen, auto_refresh=False, screen=False) as live:
                while _goes_on(runs := folder.look()):
                    live.update(_table(runs), refresh=True)
                    time.sleep(options.every)
                live.update(_table(runs), refresh=True)
            _tell_damage(runs, set())
        else:
            _lines(folder, options.every)
    except KeyboardInterrupt:
        return EXIT_DONE  # the usual way to end it; the runs go on
    return EXIT_DONE


def _goes_on(runs: Sequence[Followed]) -> bool:
    return not all(one.ended for one in runs)


def _lines(folder: Folder, every: float) -> None:
    """A line for each run whenever it has a new row."""
    told: dict[Path, int] = {}
    damaged: set[str] = set()
    while True:
        runs = folder.look()
        _tell_damage(runs, damaged)
        for one in runs:
            if told.get(one.folder) != len(one.rows):
                told[one.folder] = len(one.rows)
                facts = one.facts()
                shown = [f"training loss {facts['training loss']}", f"{facts['tokens/s']} tokens/s"]
                if facts["held out"]:
                    shown.insert(1, f"held out: {facts['held out']}")
                about = "  ".join([facts["run"], facts["state"], facts["updates"], *shown])
                print(f"{timestamp()} {on_one_line(about)}")
        sys.stdout.flush()
        if not _goes_on(runs):
            return
        time.sleep(every)


def _tell_damage(runs: Sequence[Followed], told: set[str]) -> None:
    """A note on stderr about each run with a line that holds no row, once."""
    for one in runs:
        if one.damage is not None and one.damage not in told:
            told.add(one.damage)
            print(f"passed over: {on_one_line(one.damage)}", file=sys.stderr)


def _plain(runs: Sequence[Followed]) -> tuple[list[str], list[list[str]]]:
    """Header and rows."""
    rows = [one.facts() for one in runs]
    return list(FACTS), [[on_one_line(cell) for cell in row.values()] for row in rows]


def _table(runs: Sequence[Followed]) -> "Table":
    from rich.markup import escape
    from rich.table import Table

    header, rows = _plain(runs)
    found = Table(box=None, header_style="dim", pad_edge=False)
    for name in [*header, "loss so far"]:
        found.add_column(name, justify="left" if name in ("run", "state", "held out", "loss so far") else "right")
    for one, row in zip(runs, rows, strict=True):
        found.add_row(*map(escape, row), sparkline(one.loss()), style=None if row[1] == "running" else "dim")
    return found
