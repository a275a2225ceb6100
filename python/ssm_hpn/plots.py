"""Figures of matplotlib: of a run, of several, of a confusion matrix; and all drawings of the report.

    from ssm_hpn import plots

    plots.run("runs/a")                       # curves of a run; a notebook shows the figure
    plots.runs(["runs/a", "runs/b"])          # a held-out metric of several
    plots.confusion(counts, names)            # counts, shaded by the share of each row
    plots.run("runs/a").savefig("a.pdf")

A figure is a `matplotlib.figure.Figure`, made without pyplot: nothing stays open behind it, and no window is needed.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import ArrayLike

from ssm_hpn.arrays import numbers
from ssm_hpn.counts import counted
from ssm_hpn.curves import Axis, Curve, beginning, short, show, tick
from ssm_hpn.drawing import GRID, INK, LINE, POINTS, QUIET, SERIES, WIDTH
from ssm_hpn.errors import ConfigError, problem
from ssm_hpn.metrics import ACCURACY
from ssm_hpn.run_curves import AXES, Along, compared, cost_charts, learning_charts
from ssm_hpn.run_record import read_run

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from ssm_hpn.decisions import Bin, Picture

HEIGHT: Final = 236
FONT: Final = 12.5
"""Size of text in units of the drawing."""
PANEL: Final = 74
LOW_PANEL: Final = 56
"""Height of the panel of a channel where there are up to `FEW` of them, and where there are more."""
FEW: Final = 2
STRIP: Final = 16
WINDOWS: Final = 24
"""Windows side by side that a strip is long: each of its cells shows the mean of the one around it."""
MOST_COUNTS: Final = 24
"""Most classes of a confusion matrix whose counts are written into it."""


# ---- for notebooks


def run(folder: Path | str) -> "Figure":
    """The curves of a run: losses and held-out metrics, learning rate, gradient norm, throughput.

    Parameters
    ----------
    folder
        Of the run. One that fits features has no curves.

    Raises `ConfigError` for a folder that is no run, or one without curves.

    >>> from pathlib import Path
    >>> from ssm_hpn import Trainer, plots
    >>> from ssm_hpn.config import PrepareOptions
    >>> from ssm_hpn.prepare import prepare
    >>> size = Path("a.txt").write_text("some text " * 400)
    >>> folder = prepare(PrepareOptions(train="a.txt", validation_fraction=0), Path("data")).train
    >>> settings = {"data": {"train": str(folder), "length": 16}, "model": {"d_model": 16, "n_layers": 1}}
    >>> result = Trainer(settings | {"train": {"steps": 4, "batch_size": 2, "threads": 1}}).fit()
    >>> figure = plots.run(result.folder)
    >>> [text.get_text() for text in figure.texts][0]
    'Loss'
    """
    record = read_run(Path(folder))
    charts = [] if record.fits_features else [*learning_charts(record), *cost_charts(record)]
    if not charts:
        advice = "its numbers are in its report"
        raise ConfigError(problem(folder, "a run that trains update by update", "one without curves", advice))
    columns, height = min(3, len(charts)), HEIGHT + 26
    rows = -(-len(charts) // columns)
    figure = _figure(WIDTH * columns, height * rows)
    for number, chart in enumerate(charts):
        row, column = divmod(number, columns)
        left, bottom, wide, high = _box(WIDTH, height, left=54, right=14, top=50, bottom=44)
        place = ((column + left) / columns, (rows - 1 - row + bottom) / rows, wide / columns, high / rows)
        ax = figure.add_axes(place)
        _lines(ax, chart.curves, chart.x, chart.y)
        figure.text(column / columns + 10 / (WIDTH * columns), 1 - (row * height + 18) / (rows * height), chart.caption)
    return figure


def runs(folders: Sequence[Path | str], *, metric: str | None = None, along: Along = "step") -> "Figure":
    """A held-out metric of several runs of one task; without one in common their training loss.

    Parameters
    ----------
    folders
        Of the runs.
    metric
        Name of a held-out metric that all have; default: the first in common.
    along
        step, time (minutes) or tokens.

    Raises `ConfigError` for no folder, for a metric that they do not have in common, and for another axis.

    >>> from pathlib import Path
    >>> from ssm_hpn import Trainer, plots
    >>> from ssm_hpn.config import PrepareOptions
    >>> from ssm_hpn.prepare import prepare
    >>> size = Path("b.txt").write_text("some text " * 400)
    >>> folder = prepare(PrepareOptions(train="b.txt", validation_fraction=0), Path("other")).train
    >>> settings = {"data": {"train": str(folder), "length": 16}, "model": {"d_model": 16, "n_layers": 1}}
    >>> result = Trainer(settings | {"train": {"steps": 4, "batch_size": 2, "threads": 1}}).fit()
    >>> plots.runs([result.folder], along="tokens").axes[0].get_xlabel()
    'tokens'
    """
    if isinstance(folders, (str, Path)):
        raise ConfigError(problem("plots.runs, folders", "a list of runs", repr(str(folders)), "put it into a list"))
    if along not in AXES:
        raise ConfigError(problem("plots.runs, along", " | ".join(AXES), repr(along), "choose one"))
    records = [read_run(Path(folder)) for folder in folders]
    if not records:
        raise ConfigError(problem("plots.runs, folders", "at least one run", "none", "name some"))
    common = [name for name in records[0].evaluated() if all(name in one.evaluated() for one in records)]
    if metric is not None and metric not in common:
        raise ConfigError(problem("plots.runs, metric", " | ".join(common) or "none", repr(metric), "choose one"))
    chart = compared(records, metric or next(iter(common), None), along)
    return lines(chart.curves, x=chart.x, y=chart.y)


def confusion(counts: ArrayLike, names: Sequence[str] | None = None) -> "Figure":
    """A confusion matrix: the counts, shaded by their share of the row.

    Parameters
    ----------
    counts
        [C, C]: row the class of the data, column the class that was predicted.
    names
        Of the C classes; default: their numbers.

    Raises `ConfigError` for another shape, for what is no count, and for another number of names.

    >>> from ssm_hpn import plots
    >>> figure = plots.confusion([[5, 1], [0, 7]], ["idle", "wear"])
    >>> [text.get_text() for text in figure.axes[0].texts]
    ['5', '1', '0', '7']
    """
    table = numbers(counts, "plots.confusion, counts")
    if table.ndim != 2 or table.shape[0] != table.shape[1] or not len(table):
        raise ConfigError(problem("plots.confusion, counts", "[C, C]", f"shape {list(table.shape)}", "give counts"))
    if not (np.isfinite(table) & (table >= 0)).all():
        raise ConfigError(problem("plots.confusion, counts", "counts", "one below 0 or not finite", "give counts"))
    count = len(table)
    known = [str(one) for one in (range(count) if names is None else names)]
    if len(known) != count:
        raise ConfigError(problem("plots.confusion, names", counted(count, "name"), len(known), "give one per class"))
    shares = table / np.maximum(table.sum(axis=1, keepdims=True), 1)
    texts = [[f"{value:.0f}" if value == round(value) else f"{value:g}" for value in line] for line in table.tolist()]
    return matrix(shares, known, texts, axes=("class", "predicted"))


def matrix(
    shades: ArrayLike, names: Sequence[str], texts: Sequence[Sequence[str]], *, axes: tuple[str, str]
) -> "Figure":
    """A square of cells with texts, each shaded by a number from 0 to 1 [C, C]; `axes` says what rows and columns are.

    >>> len(matrix([[1.0, 0.2], [0.2, 1.0]], ["a", "b"], [["1", ".2"], [".2", "1"]], axes=("class", "class")).axes)
    1
    """
    shades = np.asarray(shades, np.float64)
    count = len(shades)
    side, margin = min(max(WIDTH / count, 26), 60) * count, 110
    figure = _figure(side + margin + 10, side + margin)
    ax = figure.add_axes(_box(side + margin + 10, side + margin, left=margin, right=10, top=4, bottom=margin - 4))
    ax.pcolormesh(np.clip(shades, 0, 1), cmap=_shades(), vmin=0, vmax=1, edgecolors="white", linewidth=1)
    ax.invert_yaxis()
    labels = [short(name, 14) for name in names]
    ax.set_xticks(np.arange(count) + 0.5, labels, rotation=40, ha="right", color=INK)
    ax.set_yticks(np.arange(count) + 0.5, labels, color=INK)
    ax.set_ylabel(axes[0], color=QUIET)
    ax.set_xlabel(axes[1], color=QUIET)
    _bare(ax)
    for row, line in enumerate(texts if count <= MOST_COUNTS else []):
        for column, text in enumerate(line):
            ink = "white" if shades[row, column] > 0.55 else "black"
            size = min(FONT, 1.5 * side / count / max(len(text), 1))
            ax.text(column + 0.5, row + 0.5, text, ha="center", va="center", color=ink, fontsize=size)
    return figure


# ---- the drawings of a page


def lines(curves: Sequence[Curve], *, x: Axis, y: Axis, legend: bool = True) -> "Figure":
    """A chart with grid, axes with units, and a legend if there is more than one name.

    Values at the beginning that would squash all that follows lie outside of it (`curves.beginning`).

    >>> from ssm_hpn.curves import Axis, Curve
    >>> figure = lines([Curve("loss", [0, 1, 2], [3.0, None, 1.0])], x=Axis("updates"), y=Axis("loss"))
    >>> len(figure.axes[0].lines)
    1
    """
    figure = _figure(WIDTH, HEIGHT)
    ax = figure.add_axes(_box(WIDTH, HEIGHT, left=54, right=12, top=28, bottom=42))
    _lines(ax, curves, x, y, legend=legend)
    return figure


def bars(entries: Sequence[tuple[str, float, int]], *, axis: Axis) -> "Figure":
    """Horizontal bars from zero: name, value, colour.

    >>> from ssm_hpn.curves import Axis
    >>> len(bars([("bigram", 0.4, 6), ("this model", 0.7, 1)], axis=Axis("accuracy", percent=True)).axes[0].patches)
    2
    """
    height = 28 * len(entries) + 34
    figure = _figure(WIDTH, height)
    ax = figure.add_axes(_box(WIDTH, height, left=84, right=62, top=4, bottom=30))
    places, values = range(len(entries)), [value for _, value, _ in entries]
    ax.barh(places, values, height=0.68, color=[SERIES[colour - 1] for _, _, colour in entries])
    ax.set_yticks(places, [name for name, _, _ in entries], color=INK)
    ax.set_xticks([])
    ax.set_xlim(0, max([*values, 0.0]) or 1)
    ax.set_ylim(len(entries) - 0.5, -0.5)
    for place, value in enumerate(values):
        about: Any = {"textcoords": "offset points", "va": "center", "color": INK, "weight": "bold", "fontsize": FONT}
        ax.annotate(show(value, axis), (value, place), (6, 0), **about)
    ax.set_xlabel(axis.text(), color=QUIET, loc="left")
    _bare(ax)
    return figure


def series(picture: "Picture") -> "Figure":
    """The channels of a series one below the other, then the evidence for one class rather than the other.

    >>> from ssm_hpn.decisions import Picture
    >>> wave = {"name": "x", "values": (0.0, 1.0, None, 0.5)}
    >>> picture = Picture(name="a", label=0, predicted=1, against=0, probability=0.6, probability_of_label=0.4, steps=4,
    ...                   channels=[wave], n_channels=1, evidence=[0.0, 0.2, 0, 0], evidence_against=[0.1, 0, 0, 0])
    >>> len(series(picture).axes)
    2
    """
    panel = PANEL if len(picture.channels) <= FEW else LOW_PANEL
    gap, evidence = 22, bool(picture.evidence)
    height = (panel + gap) * len(picture.channels) + (STRIP + 6) * evidence + 42
    figure = _figure(WIDTH, height)
    top, ax = 0.0, None
    for channel in picture.channels:
        top += gap
        ax = figure.add_axes(_box(WIDTH, height, left=54, right=12, top=top, bottom=height - top - panel))
        _channel(ax, channel.name, channel.values, picture.steps)
        top += panel
    if evidence:
        top += 6 if picture.channels else gap
        ax = figure.add_axes(_box(WIDTH, height, left=54, right=12, top=top, bottom=height - top - STRIP))
        _strip(ax, picture)
    if ax is not None:
        ax.tick_params(axis="x", labelbottom=True)
        ax.set_xlabel("step", color=QUIET, loc="right")
    return figure


def reliability(bins: "Sequence[Bin]") -> "Figure":
    """Accuracy by probability beside a line on which both are equal, above the number of series by probability.

    >>> from ssm_hpn.decisions import BINS, Bin
    >>> bins = [Bin(low=k / BINS, high=(k + 1) / BINS, count=0, probability=None, accuracy=None) for k in range(BINS)]
    >>> bins[9] = Bin(low=0.9, high=1.0, count=7, probability=0.97, accuracy=1.0)
    >>> [len(ax.texts) for ax in reliability(bins).axes]
    [0, 1]
    """
    share, height = Axis("", percent=True), 330
    figure = _figure(WIDTH, height)
    ax = figure.add_axes(_box(WIDTH, height, left=54, right=34, top=24, bottom=130))
    there = [one for one in bins if one.probability is not None and one.accuracy is not None]
    known = [(one.probability or 0.0, one.accuracy or 0.0) for one in there]
    ax.plot([0, 1], [0, 1], color=QUIET, linewidth=0.8, dashes=(4, 3))
    ax.plot([a for a, _ in known], [b for _, b in known], color=SERIES[0], marker="o", markersize=4.5)
    ax.set(xlim=(0, 1), ylim=(0, 1.02))
    ax.set_title(ACCURACY.title, loc="left", color=QUIET, fontsize=FONT, pad=8)
    ticks = [0.0, 0.25, 0.5, 0.75, 1.0]
    ax.set_yticks(ticks, [tick(one, share) for one in ticks])
    ax.set_xticks(ticks, [])
    _frame(ax)
    low = figure.add_axes(_box(WIDTH, height, left=54, right=34, top=238, bottom=42))
    low.bar([(one.low + one.high) / 2 for one in bins], [one.count for one in bins], width=0.08, color=SERIES[5])
    for one in bins:
        if one.count:
            low.annotate(
                show(one.count),
                ((one.low + one.high) / 2, one.count),
                (0, 2),
                textcoords="offset points",
                ha="center",
                color=QUIET,
                fontsize=FONT,
            )
    low.set(xlim=(0, 1), ylim=(0, 1.4 * max([one.count for one in bins], default=1) or 1))
    low.set_xticks(ticks, [tick(one, share) for one in ticks])
    low.set_yticks([])
    low.set_ylabel("series", color=QUIET)
    low.set_xlabel("probability of the predicted class", color=QUIET, loc="right")
    _frame(low)
    return figure


def moving_mean(values: Sequence[float]) -> tuple[list[float], int]:
    """The mean of a window around each value, of those there at the ends; and its width, odd, 1/24 of the values.

    The evidence of filters goes up and down with the waves that they answer to: the mean shows where it lies.

    >>> found, width = moving_mean([0.0] * 36 + [3.0] + [0.0] * 35)
    >>> width, found[34:39]
    (3, [0.0, 1.0, 1.0, 1.0, 0.0])
    """
    reach = round(len(values) / WINDOWS) // 2
    windows = (values[max(place - reach, 0) : place + reach + 1] for place in range(len(values)))
    return [sum(window) / len(window) for window in windows], 2 * reach + 1


# ---- parts


def _figure(width: float, height: float) -> "Figure":
    """An empty figure, in units of 1/72 inch, that a notebook shows without pyplot."""
    from matplotlib.figure import Figure  # slow to import, and needed only where something is drawn

    class Shown(Figure):
        """A figure that a notebook shows as a picture."""

        def _repr_png_(self) -> bytes:
            from io import BytesIO

            file = BytesIO()
            self.savefig(file, format="png", dpi=110)
            return file.getvalue()

    return Shown(figsize=(width / POINTS, height / POINTS))


def _box(width: float, height: float, *, left: float, right: float, top: float, bottom: float) -> Any:  # noqa: ANN401
    """Left, bottom, width and height of axes as shares of a figure, from margins in units."""
    return left / width, bottom / height, (width - left - right) / width, (height - top - bottom) / height


def _lines(ax: "Axes", curves: Sequence[Curve], x: Axis, y: Axis, *, legend: bool = True) -> None:
    points = {id(one): one.points(log=y.log) for one in curves}
    if not any(points.values()):
        ax.text(0.5, 0.5, "no data", ha="center", va="center", color=QUIET, transform=ax.transAxes, fontsize=FONT)
        ax.set_axis_off()
        return
    for one in curves:
        found = points[id(one)]
        few = (one.style == "points" and len(found) <= 60) or len(found) == 1
        ax.plot(
            [a for a, _ in found],
            [b for _, b in found],
            color=SERIES[one.colour - 1],
            linewidth=1.0 if one.style == "faint" else 1.9,
            alpha=0.35 if one.style == "faint" else None,
            marker="o" if few else None,
            markersize=4.5,
            label=f"_{one.name}" if one.style == "faint" else one.name,
            clip_on=True,
        )
    if y.log:
        ax.set_yscale("log")
    else:
        _limits(ax, curves, y)
    _ticks(ax, x, y)
    _frame(ax)
    ax.set_xlabel(x.text(), color=QUIET, loc="right")
    if y.unit:
        ax.annotate(y.unit, (0, 1), (-50, 12), "axes fraction", textcoords="offset points", color=QUIET, fontsize=FONT)
    names = {one.name for one in curves if one.style != "faint" and points[id(one)]}
    if legend and len(names) > 1:
        ax.legend(
            loc="lower right",
            bbox_to_anchor=(1.0, 1.0),
            ncols=len(names),
            frameon=False,
            borderpad=0,
            borderaxespad=0.2,
            handlelength=1.1,
            columnspacing=1.1,
            labelcolor=INK,
            fontsize=FONT,
        )


def _limits(ax: "Axes", curves: Sequence[Curve], y: Axis) -> None:
    """The range of the vertical axis."""
    cut = beginning(curves, y)
    if cut is not None:
        ax.set_ylim(cut.low, cut.high)
        return
    low, high = ax.get_ylim()
    if y.zero:
        low, high = min(low, 0.0), max(high, 0.0)
        low = 0.0 if all(value >= 0 for one in curves for _, value in one.points()) else low
    if y.percent:
        low, high = max(low, -0.03), min(high, 1.03)
    ax.set_ylim(low, high)


def _ticks(ax: "Axes", x: Axis, y: Axis) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

    ax.xaxis.set_major_locator(MaxNLocator(5, integer=x.label == "updates"))
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: tick(value, x)))
    if y.log:
        low, high = ax.get_ylim()
        ax.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if high < 300 * low else (1,), numticks=8))
        ax.yaxis.set_minor_formatter(NullFormatter())
    else:
        ax.yaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
    ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: tick(value, y)))


def _frame(ax: "Axes") -> None:
    """A grid of horizontal lines, and a line below."""
    for side in ("left", "right", "top"):
        ax.spines[side].set_visible(False)
    ax.spines["bottom"].set(color=LINE, linewidth=1.2)
    ax.grid(axis="y", color=GRID, linewidth=1.0)
    ax.set_axisbelow(True)
    ax.patch.set_visible(False)
    ax.tick_params(which="both", length=0, labelcolor=QUIET, labelsize=FONT, pad=5)
    ax.xaxis.label.set_fontsize(FONT)
    ax.yaxis.label.set_fontsize(FONT)


def _bare(ax: "Axes") -> None:
    """No lines around."""
    ax.patch.set_visible(False)
    for spine in ax.spines.values():
        spine.set_visible(False)
    ax.tick_params(which="both", length=0, labelsize=FONT)
    ax.xaxis.label.set_fontsize(FONT)
    ax.yaxis.label.set_fontsize(FONT)


def _channel(ax: "Axes", name: str, values: Sequence[float | None], steps: int) -> None:
    """A line over the steps, with a gap where numbers are missing."""
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    numbers = np.array([np.nan if value is None else value for value in values])
    at = (np.arange(len(numbers)) + 0.5) / max(len(numbers), 1) * steps
    ax.plot(at, numbers, color=SERIES[0], linewidth=1.3)
    there = np.isfinite(numbers)
    before, after = np.append(False, there[:-1]), np.append(there[1:], False)
    alone = there & ~before & ~after
    if alone.any():
        ax.plot(at[alone], numbers[alone], ".", color=SERIES[0], markersize=3.5)
    if not there.any():
        ax.text(0.5, 0.5, "no numbers", ha="center", va="center", color=QUIET, transform=ax.transAxes, fontsize=FONT)
    ax.set_xlim(0, max(steps, 1))
    ax.yaxis.set_major_locator(MaxNLocator(3, steps=[1, 2, 5, 10]))
    ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: tick(value, Axis(name))))
    ax.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    ax.set_title(short(name, 44), loc="left", color=QUIET, fontsize=FONT, pad=4)
    _frame(ax)
    ax.spines["bottom"].set_visible(False)
    ax.tick_params(axis="x", labelbottom=False)


def _strip(ax: "Axes", picture: "Picture") -> None:
    """A cell for each number: one colour for it, another against it, the paler the smaller."""
    from matplotlib.colors import to_rgb
    from matplotlib.ticker import MaxNLocator

    values, _ = evidence_of(picture)
    largest = max(map(abs, values)) or 1.0
    cells = np.zeros((1, len(values), 4))
    for place, value in enumerate(values):
        cells[0, place] = (*to_rgb(SERIES[1] if value > 0 else SERIES[0]), abs(value) / largest)
    ax.imshow(cells, aspect="auto", extent=(0, picture.steps, 0, 1), interpolation="nearest")
    ax.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    ax.set_yticks([])
    _bare(ax)
    ax.tick_params(axis="x", labelcolor=QUIET, pad=4)


def evidence_of(picture: "Picture") -> tuple[list[float], int]:
    """The strip's numbers, smoothed, and the width of the window.

    >>> from types import SimpleNamespace
    >>> evidence_of(SimpleNamespace(evidence=[1.0, 2.5], evidence_against=[0.0, 0.5]))
    ([1.0, 2.0], 1)
    """
    return moving_mean([a - b for a, b in zip(picture.evidence, picture.evidence_against, strict=True)])


def _shades() -> Any:  # noqa: ANN401 - a colour map
    from matplotlib.colors import LinearSegmentedColormap

    return LinearSegmentedColormap.from_list("shares", ["#f1f3f5", SERIES[0]])
