"""Several runs side by side: per task one table and one chart."""

from collections.abc import Sequence
from pathlib import Path
from statistics import mean, stdev
from typing import Any, Final

from ssm_hpn import page
from ssm_hpn.counts import counted
from ssm_hpn.curves import Number, short, show
from ssm_hpn.errors import ConfigError, StorageError, nearest, problem
from ssm_hpn.metrics import LOSS
from ssm_hpn.page import Block, Heading, Section, Table, Text, figures
from ssm_hpn.report import TASKS
from ssm_hpn.run_curves import Along, Chart, colour_of, compared, duration, label, middle_speed, shown
from ssm_hpn.run_record import RunRecord, read_run, sign_of
from ssm_hpn.sections import flat
from ssm_hpn.storage import write_whole

FILE: Final = "compare.html"
COMMAND: Final = "compare"
MARK_BYTES: Final = 1024
SEED: Final = "train.seed"
PLACES: Final = ("data.train", "data.validation")
"""Settings that name files; the digest of the data is a setting too."""


class Comparison:
    """Runs of one task, and the metric that decides between them.

    Parameters
    ----------
    runs
        In the order of the table.
    metric
        A held-out metric that all of them have; default: the first they have in common that means the same in all of
        them, else the training loss.
    """

    def __init__(self, runs: Sequence[RunRecord], *, metric: str | None = None) -> None:
        self.runs = list(runs)
        self.common = in_common(self.runs)
        alike = [name for name in self.common if name not in self.unlike()]
        self.metric = metric or next(iter([*alike, *self.common]), None)

    @property
    def task(self) -> str:
        """The target of the runs in words, for a heading."""
        return TASKS.get(self.runs[0].task or "", "Unknown task")

    def unlike(self) -> set[str]:
        """Metrics that the runs define differently."""
        return {LOSS.name} if len({run.loss_kind for run in self.runs}) > 1 else set()

    def remarks(self) -> list[str]:
        """Notes on values of these runs that are not comparable, in sentences."""
        remarks = []
        if self.unlike():
            kinds = ", ".join(f"{run.loss_kind or 'unknown'} in {run.name}" for run in self.runs)
            remarks.append(f"the losses do not compare, they are of different kinds: {kinds}")
        if len({run.data_digest for run in self.runs}) > 1:
            remarks.append("the runs were trained and evaluated on different data: no held-out value compares exactly")
        return remarks

    def basis(self) -> str:
        """A sentence about the values of the table."""
        what = "on all held-out data" if self._complete else "of the evaluations during training"
        if not self.updated:
            return f"each row has the values of a fit of features, {what}"
        fitted = "; features are fitted without updates" if len(self.updated) < len(self.runs) else ""
        return f"each row has the values of one update, that of the checkpoint that is kept as the best, {what}{fitted}"

    @property
    def updated(self) -> list[RunRecord]:
        """The runs that train update by update; features are fitted without."""
        return [run for run in self.runs if not run.fits_features]

    def header(self) -> list[str]:
        """Names of the table's columns."""
        names = [label(name) for name in self.common]
        kept, speed = (["at update"], ["updates", "tokens/s"]) if self.updated else ([], [])
        return ["run", *(kept if names else []), *names, *speed, "memory", "time"]

    def rows(self) -> list[list[str]]:
        """One row per run: the held-out metrics of the update that is kept, and time, tokens and memory of the run."""
        return [self._row(run) for run in self.runs]

    def _row(self, run: RunRecord) -> list[str]:
        """Cells under the header; those about updates are empty for features, and left out where all runs fit them."""
        kept, speed = [show(run.best_step)], [show(run.last("step")), show(middle_speed(run))]
        if run.fits_features:
            kept, speed = (["–"], ["–", "–"]) if self.updated else ([], [])
        values = [shown(name, self._value(run, name)) for name in self.common]
        return [run.name, *(kept if values else []), *values, *speed, _megabytes(run), duration(run.last("time_s"))]

    # ---- settings and seeds

    def differing(self) -> tuple[list[str], list[list[str]]]:
        """Header and rows of the settings in which the runs differ; no rows where they do not."""
        every = [_settings(run) for run in self.runs]
        names = dict.fromkeys(name for one in every for name in one)
        different = [name for name in names if len({repr(one.get(name)) for one in every}) > 1]
        if not different:
            return [], []
        rows = [
            [run.name, *(said(one.get(name)) for name in different)] for run, one in zip(self.runs, every, strict=True)
        ]
        return ["run", *different], rows

    def seeds(self) -> tuple[list[str], list[list[str]]]:
        """Header and rows of the mean and deviation of runs that differ in the seed alone; no rows without such."""
        groups: dict[str, list[RunRecord]] = {}
        for run in self.runs:
            settings = {name: value for name, value in _settings(run).items() if name != SEED}
            groups.setdefault(repr(sorted(settings.items(), key=str)), []).append(run)
        several = [runs for runs in groups.values() if len({_settings(run).get(SEED) for run in runs}) > 1]
        rows = [
            [", ".join(run.name for run in runs), str(len(runs)), *(self._spread(runs, name) for name in self.common)]
            for runs in several
        ]
        return ["runs that differ in the seed", "seeds", *map(label, self.common)], rows

    def _spread(self, runs: Sequence[RunRecord], metric: str) -> str:
        """Mean and sample deviation of a metric over runs."""
        values = [value for run in runs if (value := self._value(run, metric)) is not None]
        if len(values) < 2:
            return "–"
        return f"{shown(metric, mean(values))} ± {shown(metric, stdev(values))}"

    def chart(self, along: Along = "step") -> Chart:
        """The metric of every run: held-out values as points, without any the smoothed training loss."""
        return compared(self.runs, self.metric, along)

    def colours(self) -> list[int]:
        """Colour of each run; after the last colour they repeat."""
        return [colour_of(index) for index in range(len(self.runs))]

    def blocks(self, along: Along) -> list[Block]:
        """Chart and tables of the page, with their notes."""
        sentences = [*([self.basis()] if self.common else []), *self.remarks()]
        said = [Text(f"{one[:1].upper()}{one[1:]}.") for one in sentences]
        chart = figures([page.chart(self.chart(along), legend=False)], wide=True) if self.updated else []
        table = Table(self.header(), self.rows(), ours=self.winner(), colours=self.colours())
        others = [
            block
            for title, (header, rows) in (("Over seeds", self.seeds()), ("Settings that differ", self.differing()))
            if rows
            for block in (Heading(title), Table(header, rows))
        ]
        return [*chart, Heading("Results and cost"), *said, table, *others]

    def winner(self) -> int | None:
        """Index of the best run by the metric; None where its values are not comparable."""
        metric = self.metric
        if metric is None or metric in self.unlike():
            return None
        values = [(self._value(run, metric), index) for index, run in enumerate(self.runs)]
        there = [(sign_of(metric) * value, index) for value, index in values if value is not None]
        return min(there)[1] if there else None

    @property
    def _complete(self) -> bool:
        """Whether all runs have been evaluated on all of their held-out data."""
        return all(set(self.common) <= set(run.complete.get("metrics", {})) for run in self.runs)

    def _value(self, run: RunRecord, metric: str) -> Number:
        return run.result(metric, complete=self._complete)


def by_task(folders: Sequence[Path], *, metric: str | None = None) -> list[Comparison]:
    """The runs in folders, one comparison per task, in the order of their first runs.

    Raises `ConfigError` for a metric that the runs of no task have in common; a task without it takes its own.
    """
    groups: dict[str | None, list[RunRecord]] = {}
    for run in map(read_run, folders):
        groups.setdefault(run.task, []).append(run)
    known = list(dict.fromkeys(name for runs in groups.values() for name in in_common(runs)))
    if metric is not None and metric not in known:
        close = nearest(metric, known)
        advice = f"did you mean {close}?" if close else "choose one of these"
        raise ConfigError(problem("--metric", " | ".join(known) or "none", repr(metric), advice))
    return [Comparison(runs, metric=metric if metric in in_common(runs) else None) for runs in groups.values()]


def _settings(run: RunRecord) -> dict[str, Any]:
    """The settings of a run by dotted name, without those that say only where its files are."""
    return {name: value for name, value in flat(run.config) if name not in PLACES and not name.startswith("run.")}


def said(value: object) -> str:
    """A setting in a cell.

    >>> said(0.003), said(["mamba1", "mlp"]), said(None), said(True)
    ('0.003', 'mamba1, mlp', '–', 'true')
    """
    if isinstance(value, list | tuple):
        return ", ".join(map(said, value)) or "none"
    if isinstance(value, bool):
        return str(value).lower()
    return "–" if value is None else short(str(value), 40)


def in_common(runs: Sequence[RunRecord]) -> list[str]:
    """The held-out metrics that all runs have, in the order of the first one."""
    return [name for name in runs[0].evaluated() if all(name in run.evaluated() for run in runs)]


def render(comparisons: Sequence[Comparison], along: Along = "step") -> str:
    """A page with a chart and a table for each task."""
    runs = [run for comparison in comparisons for run in comparison.runs]
    lead = ", ".join(run.name for run in runs)
    if len(comparisons) > 1:
        lead += f". They learn {len(comparisons)} different tasks: numbers compare inside a task only."
    sections = [Section(one.task, one.blocks(along)) for one in comparisons]
    return page.page(counted(len(runs), "run"), sections, command=COMMAND, about=page.About(lead))


def default_file(folders: Sequence[Path]) -> Path:
    """The page without `--out`: beside the first run."""
    return folders[0].resolve().parent / FILE


def write(comparisons: Sequence[Comparison], path: Path, along: Along = "step") -> None:
    """Write the page, whole or not at all. Raises `ConfigError` for a file that is not an earlier page."""
    mark = page.made_by(COMMAND).encode()
    try:
        if path.is_dir() or (path.exists() and mark not in _first_bytes(path)):
            found = "a folder" if path.is_dir() else "another file"
            advice = "name another file with --out"
            raise ConfigError(problem(path, f"a new file, or a page that `{COMMAND}` made", found, advice))
    except OSError as error:
        raise StorageError(f"{path}: cannot write the comparison: {error}") from None
    write_whole(path, render(comparisons, along))


def _first_bytes(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(MARK_BYTES)


def _megabytes(run: RunRecord) -> str:
    sizes = [value for value in run.column("mem/rss_bytes") if value is not None]
    return f"{max(sizes) / 1e6:.0f} MB" if sizes else "–"
