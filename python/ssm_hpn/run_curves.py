"""The curves of runs, as the report, the comparison, the figures of notebooks and the live page show them."""

from collections.abc import Sequence
from math import isfinite
from typing import Final, Literal, NamedTuple

from ssm_hpn.curves import COLOURS, Axis, Curve, Number, beginning, show, smooth
from ssm_hpn.metrics import AT_UPDATES, BITS, LOSS, METRICS
from ssm_hpn.run_record import RunRecord, is_finite

Along = Literal["step", "time", "tokens"]
AXES: Final = {
    "step": ("step", "updates", 1.0),
    "time": ("time_s", "minutes", 60.0),
    "tokens": ("data/tokens_seen", "tokens", 1.0),
}
"""Key of the rows, title, and divisor of what a chart runs along."""
STEPS: Final = Axis("updates")
WIDE: Final = 30
"""Largest norm by the smallest from which their axis is logarithmic."""


class Chart(NamedTuple):
    """Curves with axes, a caption and a note."""

    caption: str
    curves: list[Curve]
    x: Axis
    y: Axis
    remark: str = ""

    @property
    def remarks(self) -> str:
        """The note, and where the curves begin if that lies outside of the chart."""
        cut = beginning(self.curves, self.y)
        return "; ".join(text for text in (self.remark, cut.remark(self.y) if cut else "") if text)


def learning_charts(run: RunRecord) -> list[Chart]:
    """Losses and metrics, learning rate and norms over the updates."""
    steps = run.column("step")
    unit = "nats" if BITS.name in run.evaluated() else ""
    charts = []
    for metric in AT_UPDATES:
        train = run.column(f"train/{metric.name}")
        held_out = run.column(f"eval/{metric.name}") if metric.name in run.evaluated() else []
        curves = []
        if any(is_finite(value) for value in train):
            curves = [Curve("each", steps, train, 1, "faint"), Curve("training", steps, smooth(train), 1)]
        if any(is_finite(value) for value in held_out):
            curves.append(Curve("held out", steps, held_out, 2, "points"))
        if curves:
            axis = Axis(metric.title, unit if metric is LOSS else "", percent=metric.percent)
            charts.append(Chart(metric.title.capitalize(), curves, STEPS, axis))
    at_updates = [metric.name for metric in AT_UPDATES]
    for name in run.evaluated():
        if name not in at_updates and is_drawn(name) and run.has(f"eval/{name}"):
            curves = [Curve("held out", steps, run.column(f"eval/{name}"), 2, "points")]
            axis = axis_of(name)
            charts.append(Chart(axis.label[:1].upper() + axis.label[1:], curves, STEPS, axis, "held out"))
    norms = [float(v) for v in run.column("train/grad_norm") if v is not None and isfinite(v) and v > 0]
    wide = bool(norms) and max(norms) > WIDE * min(norms)
    return [
        *charts,
        *_column(run, "train/lr", "Learning rate", Axis("learning rate", zero=True)),
        *_column(run, "train/grad_norm", "Gradient norm", Axis("norm", log=wide), "before clipping"),
        *_column(run, "train/update_norm", "Update norm", Axis("norm", zero=True)),
    ]


def cost_charts(run: RunRecord) -> list[Chart]:
    """Speed and memory over the updates; row 0, which is no update, is left out of the speed."""
    memory = [None if value is None else value / 1e6 for value in run.column("mem/rss_bytes")]
    return [
        *_column(run, "perf/tokens_per_second", "Throughput", Axis("throughput", "tokens/s", zero=True), first=1),
        *_column(run, "perf/step_ms", "Time of an update", Axis("time", "ms", zero=True), first=1),
        *_column(run, "perf/data_ms", "Waiting for data", Axis("time per update", "ms", zero=True), first=1),
        *_column(run, "mem/rss_bytes", "Memory of the process", Axis("memory", "MB", zero=True), values=memory),
    ]


def _column(
    run: RunRecord,
    key: str,
    caption: str,
    axis: Axis,
    remark: str = "",
    *,
    first: int = 0,
    values: Sequence[Number] | None = None,
) -> list[Chart]:
    """One column over the updates; nothing if it has no numbers."""
    if not run.has(key):
        return []
    column = run.column(key) if values is None else values
    return [Chart(caption, [Curve(caption, run.column("step")[first:], column[first:], 1)], STEPS, axis, remark)]


def compared(runs: Sequence[RunRecord], metric: str | None, along: Along = "step") -> Chart:
    """A metric of several runs: held-out values as points; without a metric the smoothed training loss."""
    key, name, unit = AXES[along]
    curves = []
    for index, run in enumerate(runs):
        x = [None if value is None else value / unit for value in run.column(key)]
        y = run.column(f"eval/{metric}") if metric is not None else smooth(run.column(f"train/{LOSS.name}"))
        curves.append(Curve(run.name, x, y, colour_of(index), "line" if metric is None else "points"))
    caption = f"held-out {label(metric)}" if metric else "training loss"
    return Chart(caption[:1].upper() + caption[1:], curves, Axis(name), axis_of(metric or LOSS.name))


def colour_of(index: int) -> int:
    """Colour of the run at a place; after the last colour they repeat."""
    return index % COLOURS + 1


# ---- numbers of a run in words


def label(metric: str) -> str:
    """A metric's name in words; the name itself of a metric that this version does not have."""
    known = METRICS.get(metric)
    return known.title if known else metric


def axis_of(metric: str) -> Axis:
    """The axis of a chart of a metric."""
    known = METRICS.get(metric)
    return Axis(label(metric), percent=known is not None and known.percent)


def is_drawn(metric: str) -> bool:
    """Whether a metric is shown in charts and tiles."""
    known = METRICS.get(metric)
    return known is None or known.drawn


def shown(metric: str, value: Number) -> str:
    """A metric's value in its format."""
    return show(value, axis_of(metric)) if value is not None else "–"


def middle_speed(run: RunRecord) -> float | None:
    """Median of the tokens per second; the first row, which is no update, left out."""
    speeds = sorted(float(v) for v in run.column("perf/tokens_per_second")[1:] if v is not None and isfinite(v))
    return speeds[len(speeds) // 2] if speeds else None


def duration(seconds: Number) -> str:
    """Seconds with a unit."""
    if seconds is None:
        return "unknown time"
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.1f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
