"""Several runs side by side: per task one table and one chart."""

from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Final, Literal

from ssm_hpn import page
from ssm_hpn.counts import counted
from ssm_hpn.errors import ConfigError, StorageError, nearest, problem
from ssm_hpn.metrics import LOSS
from ssm_hpn.report import TASKS, axis_of, duration, label, middle_speed, shown
from ssm_hpn.run_record import RunRecord, read_run, sign_of
from ssm_hpn.storage import write_whole
from ssm_hpn.svg import COLOURS, Axis, Curve, Number, line_chart, show, smooth

Along = Literal["step", "time", "tokens"]
AXES = {
    "step": ("step", "updates", 1.0),
    "time": ("time_s", "minutes", 60.0),
    "tokens": ("data/tokens_seen", "tokens", 1.0),
}
FILE: Final = "compare.html"
COMMAND: Final = "compare"
MARK_BYTES: Final = 1024


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

    def chart(self, along: Along = "step") -> str:
        """The metric of every run: held-out values as points, without any the smoothed training loss."""
        key, name, unit = AXES[along]
        curves, colours = [], self.colours()
        for index, run in enumerate(self.runs):
            x = [None if value is None else value / unit for value in run.column(key)]
            held_out = self.metric is not None
            y = run.column(f"eval/{self.metric}") if held_out else smooth(run.column("train/loss"))
            curves.append(Curve(run.name, x, y, colours[index], "points" if held_out else "line"))
        y_axis = axis_of(self.metric or LOSS.name)
        return line_chart(curves, x=Axis(name), y=y_axis, title=self.caption, legend=False)

    @property
    def caption(self) -> str:
        """Title of the chart."""
        return f"held-out {label(self.metric)}" if self.metric else "training loss"

    def colours(self) -> list[int]:
        """Colour of each run; after the last colour they repeat."""
        return [index % COLOURS + 1 for index in range(len(self.runs))]

    def table(self) -> str:
        """The table of the page, with its notes."""
        sentences = [*([self.basis()] if self.common else []), *self.remarks()]
        said = "".join(f"<p>{escape(one[:1].upper() + one[1:])}.</p>" for one in sentences)
        return said + page.table(self.header(), self.rows(), ours=self.winner(), colours=self.colours())

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


def in_common(runs: Sequence[RunRecord]) -> list[str]:
    """The held-out metrics that all runs have, in the order of the first one."""
    return [name for name in runs[0].evaluated() if all(name in run.evaluated() for run in runs)]


def render(comparisons: Sequence[Comparison], along: Along = "step") -> str:
    """A page with a chart and a table for each task."""
    runs = [run for comparison in comparisons for run in comparison.runs]
    lead = escape(", ".join(run.name for run in runs))
    if len(comparisons) > 1:
        lead += f". They learn {len(comparisons)} different tasks: numbers compare inside a task only."
    sections = [f'<h1>{counted(len(runs), "run")}</h1>\n<p class="lead">{lead}</p>']
    for one in comparisons:
        figure = page.figure(one.caption[:1].upper() + one.caption[1:], one.chart(along)) if one.updated else ""
        sections.append(page.section(one.task, figure, page.heading("Results and cost"), one.table()))
    return page.page(f"{counted(len(runs), 'run')} · ssm-hpn", sections, command=COMMAND)


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
