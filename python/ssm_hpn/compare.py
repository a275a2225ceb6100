"""Several runs side by side: one table and one chart."""

from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Literal

from ssm_hpn import page
from ssm_hpn.errors import ConfigError, StorageError, nearest, problem
from ssm_hpn.report import RunRecord, duration, label, middle_speed, read_run, shown
from ssm_hpn.svg import COLOURS, Axis, Number, Series, line_chart, show, smooth

Along = Literal["step", "time", "tokens"]
AXES = {
    "step": ("step", "updates", 1.0),
    "time": ("time_s", "minutes", 60.0),
    "tokens": ("data/tokens_seen", "tokens", 1.0),
}


class Comparison:
    """Runs that were read, and the metric that decides between them.

    Parameters
    ----------
    folders
        Run folders, in the order of the table.
    metric
        A held-out metric that all of them have; default: the first they have in common, else the training loss.
    """

    def __init__(self, folders: Sequence[Path], *, metric: str | None = None) -> None:
        self.runs = [read_run(folder) for folder in folders]
        common = [name for name in self.runs[0].evaluated() if all(name in run.evaluated() for run in self.runs)]
        if metric is not None and metric not in common:
            close = nearest(metric, common)
            advice = f"did you mean {close}?" if close else "choose one of these"
            raise ConfigError(problem("--metric", " | ".join(common) or "none", repr(metric), advice))
        self.common = common
        self.metric = metric or next(iter(common), None)

    def header(self) -> list[str]:
        """Names of the table's columns."""
        return ["run", *(label(name) for name in self.common), "updates", "tokens/s", "memory", "time"]

    def rows(self) -> list[list[str]]:
        """One row per run: the best of each held-out metric, and what it cost."""
        return [
            [
                run.name,
                *(shown(name, run.best(name)[0]) for name in self.common),
                show(run.last("step")),
                show(middle_speed(run)),
                _megabytes(run),
                duration(run.last("time_s")),
            ]
            for run in self.runs
        ]

    def chart(self, along: Along = "step") -> str:
        """The metric of every run: held-out values as points, without any the smoothed training loss."""
        key, name, unit = AXES[along]
        series, colours = [], self.colours()
        for index, run in enumerate(self.runs):
            x = [None if value is None else value / unit for value in run.column(key)]
            held_out = self.metric is not None
            y = run.column(f"eval/{self.metric}") if held_out else smooth(run.column("train/loss"))
            series.append(Series(run.name, x, y, colours[index], "points" if held_out else "line"))
        percent = self.metric in ("accuracy", "error", "f1")
        y_axis = Axis(self.metric or "loss", percent=percent)
        return line_chart(series, x=Axis(name), y=y_axis, title=self.caption, legend=False)

    @property
    def caption(self) -> str:
        """What the chart shows."""
        return f"held-out {label(self.metric)}" if self.metric else "training loss"

    def render(self, along: Along = "step") -> str:
        """A page with both."""
        names = ", ".join(run.name for run in self.runs)
        figure = page.figure(self.caption[:1].upper() + self.caption[1:], self.chart(along))
        return page.page(
            f"{len(self.runs)} runs · ssm-hpn",
            [
                f'<h1>{len(self.runs)} runs</h1>\n<p class="lead">{escape(names)}</p>',
                figure,
                page.section("Best values and cost", self._table()),
            ],
        )

    def colours(self) -> list[int]:
        """Colour of each run; after the last one they begin again."""
        return [index % COLOURS + 1 for index in range(len(self.runs))]

    def _table(self) -> str:
        return page.table(self.header(), self.rows(), ours=self.winner(), colours=self.colours())

    def winner(self) -> int | None:
        """Place of the best run by the metric."""
        metric = self.metric
        if metric is None:
            return None
        ranked = [(run.rank(metric), index) for index, run in enumerate(self.runs)]
        best: tuple[Number, int] = min(ranked, key=lambda one: (one[0] is None, one[0] or 0.0))
        return None if best[0] is None else best[1]

    def write(self, path: Path, along: Along = "step") -> None:
        """Write the page."""
        try:
            path.write_text(self.render(along), encoding="utf-8", newline="\n")
        except OSError as error:
            raise StorageError(f"{path}: cannot write the comparison: {error}") from None


def _megabytes(run: RunRecord) -> str:
    sizes = [value for value in run.column("mem/rss_bytes") if value is not None]
    return f"{max(sizes) / 1e6:.0f} MB" if sizes else "–"
