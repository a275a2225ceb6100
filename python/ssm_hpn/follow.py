"""Runs while they are written: the new rows of their metrics, read from where the last look ended."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from ssm_hpn.checkpoints import METRICS, is_run, runs_in
from ssm_hpn.curves import Number, show
from ssm_hpn.foreign import from_toml
from ssm_hpn.metrics import LOSS
from ssm_hpn.metrics_log import no_row, row_of
from ssm_hpn.run_curves import duration, label, middle_speed, shown
from ssm_hpn.run_record import RunRecord, is_finite, setting

SUMMARY: Final = "summary.json"
REPORT: Final = "report.html"
FACTS: Final = ("run", "state", "updates", "training loss", "held out", "tokens/s", "time")
"""What one line about a run says."""
COMPARED: Final = 512
"""Bytes before the offset that tell whether the file is still the one that was read."""
SILENT: Final = 60.0
"""Seconds without a row after which a run that has not ended is no longer called running."""


@dataclass
class Followed:
    """The rows of a run that there are so far."""

    folder: Path
    rows: list[dict[str, Number]] = field(default_factory=list)
    config: dict[str, Any] = field(default_factory=dict)
    written: float = 0.0
    """When the last row was written, in seconds since 1970."""
    damage: str | None = None
    """The first line that holds no row, which is passed over, in one line of text."""
    _lines: int = 0
    _offset: int = 0
    _tail: bytes = b""
    _rest: bytes = b""
    _settings: tuple[int, int] = (0, 0)

    def look(self) -> bool:
        """Read what is new; returns whether anything is. A file that was cut back, as on resume, is read anew.

        It was cut back where it no longer has, before the offset, the bytes that it had: it may have grown beyond its
        old length since.
        """
        path = self.folder / METRICS
        try:
            about = path.stat()
            self._read_settings()
            with path.open("rb") as file:
                file.seek(self._offset - len(self._tail))
                anew = file.read(len(self._tail)) != self._tail
                if anew:
                    self._begin()
                file.seek(self._offset)
                data = file.read()
        except OSError:
            return False
        if not data:
            return anew
        self._offset += len(data)
        self._tail = (self._tail + data)[-COMPARED:]
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            self._lines += 1
            try:
                self.rows.append(row_of(line))
            except ValueError:
                self.damage = self.damage or no_row(path, self._lines, line)
        self.written = about.st_mtime
        return anew or bool(lines)

    def _begin(self) -> None:
        """Forget what was read."""
        self.rows, self.damage, self._lines = [], None, 0
        self._offset, self._tail, self._rest = 0, b"", b""

    def _read_settings(self) -> None:
        path = self.folder / "config.toml"
        about = path.stat()
        mark = (about.st_mtime_ns, about.st_size)
        if mark != self._settings:
            try:
                self.config, self._settings = from_toml(path.read_text(encoding="utf-8")), mark
            except ValueError:
                return  # it is being written

    @property
    def record(self) -> RunRecord:
        """What there is as the report reads it, without the files of a run that has ended."""
        rows = self.rows or [{}]
        empty: dict[str, Any] = {"environment": {}, "evaluation": {}, "summary": {}, "baselines": [], "samples": []}
        return RunRecord(self.folder, rows, self.config, "", marked=None, **empty)

    @property
    def ended(self) -> bool:
        """Whether the run came to its end: all updates were made, or its summary is not older than its last row."""
        record = self.record
        step, total = record.last("step") or 0, self._total()
        if not record.fits_features and total is not None and step >= total:
            return True
        try:
            return (self.folder / SUMMARY).stat().st_mtime >= self.written - 1 and bool(self.rows)
        except OSError:
            return False

    def state(self, now: float | None = None) -> str:
        """finished; running; or how long there was no row."""
        if self.ended:
            return "finished"
        if not self.rows:
            return "no rows"
        silent = (time.time() if now is None else now) - self.written
        return "running" if silent < SILENT else f"silent for {duration(silent)}"

    def facts(self) -> dict[str, str]:
        """One line about the run: name, state, updates, loss, a held-out metric, speed, time."""
        record = self.record
        step, total = record.last("step"), self._total()
        if record.fits_features:
            progress = str(self.rows[-1].get("stage", "")) if self.rows else ""
        else:
            progress = f"{show(step)} of {show(total)}" if total else show(step)
        held_out = next((name for name in record.evaluated() if record.last(f"eval/{name}") is not None), None)
        metric = "" if held_out is None else f"{label(held_out)} {shown(held_out, record.last(f'eval/{held_out}'))}"
        loss, speed = show(record.last(f"train/{LOSS.name}")), show(middle_speed(record))
        time_s = duration(record.last("time_s")) if self.rows else "–"
        found = (record.name, self.state(), progress, loss, metric, speed, time_s)
        return dict(zip(FACTS, found, strict=True))

    def loss(self) -> list[float]:
        """The training loss so far, without numbers that are not finite."""
        return [value for row in self.rows if is_finite(value := row.get(f"train/{LOSS.name}"))]

    def _total(self) -> int | None:
        """The updates that the settings ask for; None where they say no number."""
        total = setting(self.config, "train", "steps")
        return total if isinstance(total, int) else None


class Folder:
    """The runs in a folder, or several runs, each read on from where the last look ended."""

    def __init__(self, places: Sequence[Path]) -> None:
        self.places = places
        self._runs: dict[Path, Followed] = {}

    def look(self) -> list[Followed]:
        """All runs that are there now, the one with the newest row first."""
        found = [one for place in self.places for one in ([place] if is_run(place) else runs_in(place))]
        self._runs = {folder: self._runs.get(folder) or Followed(folder) for folder in dict.fromkeys(found)}
        for run in self._runs.values():
            run.look()
        return sorted(self._runs.values(), key=lambda run: (-run.written, run.folder.name))


def sparkline(values: Sequence[float], width: int = 24) -> str:
    """A curve in one line of text.

    >>> sparkline([1.0, 2.0, 3.0, 8.0], width=4)
    '▁▂▃█'
    >>> sparkline([])
    ''
    """
    values = [value for value in values if is_finite(value)]
    if not values:
        return ""
    size = max(1, -(-len(values) // width))
    means = [sum(values[at : at + size]) / len(values[at : at + size]) for at in range(0, len(values), size)]
    low, high = min(means), max(means)
    return "".join("▁▂▃▄▅▆▇█"[min(7, int(8 * (one - low) / (high - low or 1)))] for one in means)
