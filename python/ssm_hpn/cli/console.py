"""Output of all commands: tables, numbers and times."""

import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

    from ssm_hpn.metrics import Metric


def console(*, quiet: bool = False) -> "Console":
    """The console for output; wide enough for tables where it is no terminal. A quiet one prints nothing."""
    from rich.console import Console  # slow to import, and needed only for printing

    return Console(highlight=False, width=None if sys.stdout.isatty() else 120, soft_wrap=True, quiet=quiet)


def table(columns: Sequence[str], rows: Iterable[Sequence[str]], *, title: str | None = None) -> str:
    """An aligned table in plain text: first column left, the others right."""
    cells = [list(columns), *(list(row) for row in rows)]
    widths = [max(len(row[i]) for row in cells) for i in range(len(columns))]
    lines = [title] if title else []
    for number, row in enumerate(cells):
        first, *others = row
        aligned = [first.ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(others, widths[1:], strict=True))]
        lines.append("  " + "  ".join(aligned).rstrip())
        if number == 0:
            lines.append("  " + "  ".join("-" * width for width in widths))
    return "\n".join(lines)


def titled(metric: "Metric") -> str:
    """A metric's name with its unit, unless the name contains it."""
    unit = metric.unit
    return metric.name if not unit or unit in metric.name.split("_") else f"{metric.name} ({unit})"


def duration(seconds: float) -> str:
    """Hours, minutes and seconds."""
    whole = round(seconds)
    minutes, rest = divmod(whole, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def size(count: float) -> str:
    """Bytes with a unit."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if abs(count) < 1000:
            return f"{count:.0f} {unit}" if unit == "bytes" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


def shown_path(path: Path) -> str:
    """A path relative to the working directory, if it is below it."""
    try:
        return str(path.resolve().relative_to(Path.cwd()))
    except ValueError:
        return str(path)
