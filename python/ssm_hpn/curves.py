"""What a chart shows: curves, axes, numbers in words, the range that is worth drawing. `plots` draws it.

Nothing here looks at the clock, the locale or the order of a set, and nothing imports a plotting library.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple

MOST_POINTS: Final = 400
"""Most points of a line; a longer one is drawn by means over neighbours."""
COLOURS: Final = 6
EARLY: Final = 0.02
"""Share of a chart's width that counts as its beginning."""
SQUASHED: Final = 2.0
"""How many times the span of the rest the span with the beginning has to be for the beginning to be left out."""
FEWEST: Final = 3
"""Points after the beginning below which it is never left out."""

Number = float | int | None
Points = list[tuple[float, float]]


@dataclass(frozen=True, slots=True)
class Curve:
    """One curve of a chart: values of None, and those that are not finite, leave a gap."""

    name: str
    x: Sequence[Number]
    y: Sequence[Number]
    colour: int = 1
    """1 to COLOURS."""
    style: Literal["line", "faint", "points"] = "line"

    def points(self, *, log: bool = False) -> Points:
        """The finite points, positive ones alone for a logarithmic axis; long lines are thinned to means."""
        found = [
            (float(a), float(b))
            for a, b in zip(self.x, self.y, strict=True)
            if a is not None and b is not None and math.isfinite(a) and math.isfinite(b) and (b > 0 or not log)
        ]
        if len(found) <= MOST_POINTS or self.style == "points":
            return found
        size = math.ceil(len(found) / MOST_POINTS)
        groups = [found[start : start + size] for start in range(0, len(found), size)]
        return [(math.fsum(a for a, _ in g) / len(g), math.fsum(b for _, b in g) / len(g)) for g in groups]


@dataclass(frozen=True, slots=True)
class Axis:
    """Title, unit and scale of one axis. A logarithmic axis needs positive numbers; others are left out."""

    label: str
    unit: str = ""
    log: bool = False
    zero: bool = False
    """Whether the axis has to begin at zero."""
    percent: bool = False

    def text(self) -> str:
        """The title with its unit."""
        return f"{self.label} ({self.unit})" if self.unit else self.label


class Beginning(NamedTuple):
    """Values at the beginning of a chart that would squash all that follows, and the range without them."""

    low: float
    high: float
    first: float
    """The very first value, which lies outside of the range."""

    def remark(self, axis: Axis) -> str:
        """A note for the title of the chart.

        >>> Beginning(low=1.0, high=2.0, first=8.25).remark(Axis("loss"))
        'begins at 8.25, above the chart'
        """
        where = "above" if self.first > self.high else "below"
        return f"begins at {show(self.first, axis)}, {where} the chart"


def beginning(curves: Sequence[Curve], axis: Axis) -> Beginning | None:
    """The beginning to leave out of a chart; None where it squashes nothing.

    With the points of the first fiftieth of the width the values span S, without them R: left out where S > 2 R.

    >>> steps = range(0, 101, 10)
    >>> loss = [8.0, *(1 + 0.01 * step for step in steps[1:])]
    >>> beginning([Curve("loss", steps, loss)], Axis("loss")).first
    8.0
    >>> beginning([Curve("loss", steps, [2.5, *loss[1:]])], Axis("loss"))
    """
    points = sorted(point for one in curves for point in one.points())
    if axis.log or axis.zero or not points:
        return None
    edge = points[0][0] + EARLY * (points[-1][0] - points[0][0])
    rest = [value for at, value in points if at > edge]
    if len(rest) < FEWEST:
        return None
    low, high, every = min(rest), max(rest), [value for _, value in points]
    if low == high or max(every) - min(every) <= SQUASHED * (high - low):
        return None
    outside = [value for at, value in points if at <= edge and not low <= value <= high]
    margin = 0.12 * (high - low)
    return Beginning(low - margin / 2, high + margin, outside[0]) if outside else None


def show(value: Number, axis: Axis | None = None) -> str:
    """A number with three or four digits, thousands as k, M, G.

    >>> show(26_500), show(0.986, Axis("accuracy", percent=True)), show(None)
    ('26.5 k', '98.6 %', '–')
    """
    if value is None or not math.isfinite(value):
        return "–"
    if axis is not None and axis.percent:
        return f"{100 * value:.1f} %"
    unit, letter = _prefix(abs(value))
    if letter:
        return f"{_digits(value / unit)} {letter}"
    return f"{value:.2e}" if 0 < abs(value) < 1e-3 else _digits(value)


def tick(value: float, axis: Axis) -> str:
    """A round number beside an axis.

    >>> tick(0.30000000000000004, Axis("x")), tick(20_000, Axis("x")), tick(0.985, Axis("x", percent=True))
    ('0.3', '20 k', '98.5 %')
    """
    if axis.percent:
        return f"{100 * value:.6g} %"
    unit, letter = _prefix(abs(value))
    return f"{value / unit:.6g} {letter}".rstrip().replace("e-0", "e-")


def _prefix(magnitude: float) -> tuple[float, str]:
    """Unit and letter for thousands, from ten thousand on."""
    for least, unit, letter in ((1e9, 1e9, "G"), (1e6, 1e6, "M"), (1e4, 1e3, "k")):
        if magnitude >= least:
            return unit, letter
    return 1.0, ""


def _digits(value: float) -> str:
    """Four digits, without trailing zeros."""
    if abs(value) < 1:
        return f"{value:.4g}"
    text = f"{value:.{max(0, 4 - len(str(int(abs(value)))))}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def short(name: str, limit: int = 16) -> str:
    """A name that fits.

    >>> short("a name that is too long")
    'a name that is …'
    """
    return name if len(name) <= limit else name[: limit - 1] + "…"


def smooth(values: Sequence[Number]) -> list[Number]:
    """Exponential mean over about a fortieth of the values, corrected for its start; gaps stay gaps."""
    share = 1 - 1 / max(2.0, len(values) / 40)
    result: list[Number] = []
    total = weight = 0.0
    for value in values:
        if value is None or not math.isfinite(value):
            result.append(None)
            continue
        total, weight = share * total + (1 - share) * value, share * weight + (1 - share)
        result.append(total / weight)
    return result
