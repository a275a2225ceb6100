"""Line charts, bars and heat maps as SVG text, the same bytes for the same numbers.

Colours are CSS variables of the page (`--ink`, `--quiet`, `--grid`, `--s1` … `--s6`, `--heat-low`, `--heat-high`), so
one drawing serves light and dark. Nothing here looks at the clock, the locale or the order of a set.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Literal, NamedTuple

WIDTH, HEIGHT = 520, 290
LEFT, RIGHT, TOP, BOTTOM = 58, 14, 30, 40
MOST_POINTS = 500
COLOURS = 6
MOST_TICKS = 6

Number = float | int | None


@dataclass(frozen=True, slots=True)
class Curve:
    """One curve of a chart: values of None, and those that are not finite, leave a gap."""

    name: str
    x: Sequence[Number]
    y: Sequence[Number]
    colour: int = 1
    """1 to COLOURS."""
    style: Literal["line", "faint", "points"] = "line"


@dataclass(frozen=True, slots=True)
class Axis:
    """Title, unit and scale of one axis. A logarithmic axis needs positive numbers; others are left out."""

    label: str
    unit: str = ""
    """Unit; on a vertical axis shown above the ticks. The quantity is in the chart's caption."""
    log: bool = False
    zero: bool = False
    """Whether the axis has to begin at zero."""
    percent: bool = False


class Scale(NamedTuple):
    """Numbers to pixels.

    >>> Scale(0.0, 2.0, 10.0, 110.0, log=False)(1.0)
    60.0
    """

    low: float
    high: float
    start: float
    end: float
    log: bool

    def __call__(self, value: float) -> float:
        """The pixel of a number."""
        low, high = self.low, self.high
        if self.log:
            low, high, value = math.log10(low), math.log10(high), math.log10(value)
        return self.start + (value - low) / (high - low) * (self.end - self.start)


def line_chart(curves: Sequence[Curve], *, x: Axis, y: Axis, title: str, legend: bool = True) -> str:
    """A chart with grid, axes with units, and a legend if there is more than one name."""
    points = {id(one): _points(one, log_x=x.log, log_y=y.log) for one in curves}
    everything = [point for found in points.values() for point in found]
    if not everything:
        return frame(title, f'<text class="quiet" x="{WIDTH / 2}" y="{HEIGHT / 2}" text-anchor="middle">no data</text>')
    xs = _scale([px for px, _ in everything], x, LEFT, WIDTH - RIGHT, pad=False)
    ys = _scale([py for _, py in everything], y, HEIGHT - BOTTOM, TOP, pad=True)
    parts = [_grid(xs, ys, x, y)]
    parts += [_draw(one, points[id(one)], xs, ys) for one in curves]
    names = {one.name: one for one in curves if one.style != "faint" and points[id(one)]}
    if legend and len(names) > 1:
        parts.append(_legend(list(names.values())))
    return frame(title, "".join(parts))


def bar_chart(bars: Sequence[tuple[str, float, int]], *, axis: Axis, title: str) -> str:
    """Horizontal bars from zero: name, value, colour."""
    row, left, above = 30, 96, 4
    height = above + row * len(bars) + 28
    scale = Scale(0.0, max([value for _, value, _ in bars], default=1.0) or 1.0, left, WIDTH - 70, log=False)
    parts = []
    for index, (name, value, colour) in enumerate(bars):
        top = above + row * index
        width = max(scale(value) - left, 0.5)
        parts.append(
            f'<text x="{left - 10}" y="{top + 19}" text-anchor="end">{escape(name)}</text>'
            f'<rect x="{left}" y="{top + 5}" width="{px(width)}" height="{row - 10}" rx="2" fill="var(--s{colour})"/>'
            f'<text class="value" x="{px(left + width + 8)}" y="{top + 19}">{escape(show(value, axis))}</text>'
        )
    label = f'<text class="quiet" x="{left}" y="{height - 6}">{escape(_axis_label(axis))}</text>'
    return frame(title, "".join(parts) + label, height=height)


def heat_map(
    values: Sequence[Sequence[float]],
    *,
    names: Sequence[str],
    title: str,
    axes: tuple[str, str],
    low: float,
    high: float,
    decimals: int = 0,
) -> str:
    """A square of cells shaded from low to high, with numbers where they fit and a title in each cell."""
    count = len(values)
    widest = max(len(name) for name in names)
    left = min(22 + 6.4 * min(widest, 16), 130) if count <= 40 else 30
    cell = (WIDTH - left - 4) / count
    top = 26.0
    height = top + cell * count + (14 if count > 40 else 8 + min(6.4 * min(widest, 16), 110) * 0.72)
    parts = [f'<text class="quiet" x="{px(left)}" y="14">{escape(axes[0])} ↓   {escape(axes[1])} →</text>']
    size = min(cell * 0.42, 13)
    for i, line in enumerate(values):
        y = top + i * cell
        if count <= 40:
            parts.append(
                f'<text class="name" x="{px(left - 6)}" y="{px(y + cell / 2 + 4)}" text-anchor="end">'
                f"{escape(short(names[i]))}</text>"
            )
        for j, value in enumerate(line):
            share = min(max((value - low) / (high - low), 0.0), 1.0) if high > low else 0.0
            parts.append(
                _cell(left + j * cell, y, cell, share, f"{names[i]} → {names[j]}: {value:.{max(decimals, 2)}g}")
            )
            if cell >= 22:
                ink = "var(--heat-ink-high)" if share > 0.55 else "var(--ink)"
                parts.append(
                    f'<text x="{px(left + (j + 0.5) * cell)}" y="{px(y + cell / 2 + size * 0.36)}" '
                    f'text-anchor="middle" font-size="{px(size)}" fill="{ink}">{value:.{decimals}f}</text>'
                )
    if count <= 40:
        base = top + cell * count + 12
        parts += [
            f'<text class="name" transform="translate({px(left + (j + 0.5) * cell + 3)} {px(base)}) rotate(-40)" '
            f'text-anchor="end">{escape(short(name))}</text>'
            for j, name in enumerate(names)
        ]
    return frame(title, "".join(parts), height=round(height))


def show(value: Number, axis: Axis | None = None) -> str:
    """A number with three or four digits, thousands as k, M, G."""
    if value is None or not math.isfinite(value):
        return "–"
    if axis is not None and axis.percent:
        return f"{100 * value:.1f} %"
    unit, letter = _prefix(abs(value))
    if letter:
        return f"{_digits(value / unit)} {letter}"
    return f"{value:.2e}" if 0 < abs(value) < 1e-3 else _digits(value)


# ---- scales and ticks


def ticks(low: float, high: float, *, log: bool = False, most: int = MOST_TICKS) -> list[float]:
    """Round numbers in a range: steps of 1, 2 or 5 times a power of ten."""
    if log:
        first, last = math.floor(math.log10(low) + 1e-9), math.ceil(math.log10(high) - 1e-9)
        factors = (1, 2, 5) if high / low <= 300 else (1,)
        stride = max(1, math.ceil((last - first) / most))
        found = [f * 10.0**e for e in range(first, last + 1, stride) for f in factors]
        return [tick for tick in found if low * (1 - 1e-9) <= tick <= high * (1 + 1e-9)]
    step = _step((high - low) / most)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [index * step for index in range(first, last + 1)]


def _step(rough: float) -> float:
    power = 10.0 ** math.floor(math.log10(rough))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * (1 - 1e-9))


def _scale(values: Sequence[float], axis: Axis, start: float, end: float, *, pad: bool) -> Scale:
    low, high = min(values), max(values)
    if axis.log:
        if low == high:
            low, high = low / 2, high * 2
        return Scale(low / (1.1 if pad else 1), high * (1.1 if pad else 1), start, end, log=True)
    if axis.zero:
        low, high = min(low, 0.0), max(high, 0.0)
    if low == high and axis.percent:
        low, high = max(low - 0.5, 0.0), max(min(high + 0.5, 1.0), high)
    if low == high:
        low, high = low - (abs(low) or 1) / 2, high + (abs(high) or 1) / 2
    if pad:
        margin = (high - low) * 0.05
        low, high = (low if axis.zero and low == 0 else low - margin), high + margin
    return Scale(low, high, start, end, log=False)


def _points(curve: Curve, *, log_x: bool, log_y: bool) -> list[tuple[float, float]]:
    """The finite points; long lines are thinned to means over neighbours."""
    points = [
        (float(a), float(b))
        for a, b in zip(curve.x, curve.y, strict=True)
        if a is not None and b is not None and math.isfinite(a) and math.isfinite(b)
        if (a > 0 or not log_x) and (b > 0 or not log_y)
    ]
    if len(points) <= MOST_POINTS or curve.style == "points":
        return points
    size = math.ceil(len(points) / MOST_POINTS)
    groups = [points[start : start + size] for start in range(0, len(points), size)]
    return [(math.fsum(a for a, _ in g) / len(g), math.fsum(b for _, b in g) / len(g)) for g in groups]


# ---- drawing


def _grid(xs: Scale, ys: Scale, x: Axis, y: Axis) -> str:
    parts = []
    for tick in ticks(ys.low, ys.high, log=y.log, most=5):
        at = px(ys(tick))
        parts.append(
            f'<path class="grid" d="M{LEFT} {at}H{WIDTH - RIGHT}"/>'
            f'<text class="tick" x="{LEFT - 8}" y="{at}" dy="4" text-anchor="end">{tick_label(tick, ys, y)}</text>'
        )
    base = HEIGHT - BOTTOM
    for tick in ticks(xs.low, xs.high, log=x.log, most=6):
        at = px(xs(tick))
        parts.append(
            f'<path class="mark" d="M{at} {base}v5"/>'
            f'<text class="tick" x="{at}" y="{base + 18}" text-anchor="middle">{tick_label(tick, xs, x)}</text>'
        )
    parts.append(f'<path class="axis" d="M{LEFT} {base}H{WIDTH - RIGHT}"/>')
    parts.append(
        f'<text class="quiet" x="{WIDTH - RIGHT}" y="{HEIGHT - 4}" text-anchor="end">{escape(_axis_label(x))}</text>'
        f'<text class="quiet" x="4" y="11">{escape(y.unit)}</text>'
    )
    return "".join(parts)


def _draw(curve: Curve, points: list[tuple[float, float]], xs: Scale, ys: Scale) -> str:
    placed = [(px(xs(a)), px(ys(b))) for a, b in points]
    colour = f"var(--s{curve.colour})"
    if not placed:
        return ""
    dots = "".join(f'<circle cx="{a}" cy="{b}" r="3"/>' for a, b in placed)
    if len(placed) == 1:
        return f'<g fill="{colour}">{dots}</g>'
    path = "M" + "L".join(f"{a} {b}" for a, b in placed)
    line = f'<path class="{curve.style}" d="{path}" stroke="{colour}"/>'
    return f'<g fill="{colour}">{line}{dots}</g>' if curve.style == "points" and len(placed) <= 60 else line


def _legend(curves: Sequence[Curve]) -> str:
    """Names at the top right, from right to left."""
    parts = []
    at = float(WIDTH - RIGHT)
    for one in reversed(curves):
        at -= 6.6 * len(one.name)
        colour = f"var(--s{one.colour})"
        parts.append(f'<text class="legend" x="{px(at)}" y="11">{escape(one.name)}</text>')
        parts.append(f'<path d="M{px(at - 20)} 7h14" stroke="{colour}" stroke-width="3"/>')
        at -= 32
    return f'<g class="key">{"".join(parts)}</g>'


def _cell(x: float, y: float, size: float, share: float, title: str) -> str:
    mix = f"color-mix(in oklab, var(--heat-high) {px(100 * share)}%, var(--heat-low))"
    gap = 1 if size > 8 else 0
    return (
        f'<rect x="{px(x)}" y="{px(y)}" width="{px(size - gap)}" height="{px(size - gap)}" '
        f'style="fill:{mix}"><title>{escape(title)}</title></rect>'
    )


def frame(title: str, content: str, *, height: int = HEIGHT) -> str:
    """A drawing of the usual width, with a title for those who hear the page."""
    return (
        f'<svg viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{escape(title, quote=True)}" '
        f'xmlns="http://www.w3.org/2000/svg">{content}</svg>'
    )


def _axis_label(axis: Axis) -> str:
    return f"{axis.label} ({axis.unit})" if axis.unit else axis.label


def tick_label(value: float, scale: Scale, axis: Axis) -> str:
    """A tick with the decimals needed to differ from its neighbours."""
    if axis.percent:
        step = 100 * _step((scale.high - scale.low) / MOST_TICKS)
        return f"{100 * value:.{max(0, -math.floor(math.log10(step) + 1e-9))}f} %"
    if scale.log or value == 0:
        return show(value) if value else "0"
    largest = max(abs(scale.low), abs(scale.high))
    unit, letter = _prefix(largest)
    if largest < 1e-2:
        return f"{value:.3g}".replace("e-0", "e-")
    decimals = max(0, 1 - math.floor(math.log10((scale.high - scale.low) / unit)))
    return f"{_trim(value / unit, decimals)} {letter}".rstrip()


def _prefix(magnitude: float) -> tuple[float, str]:
    """Unit and letter for thousands, from ten thousand on."""
    for least, unit, letter in ((1e9, 1e9, "G"), (1e6, 1e6, "M"), (1e4, 1e3, "k")):
        if magnitude >= least:
            return unit, letter
    return 1.0, ""


def _digits(value: float) -> str:
    """Four digits."""
    return _trim(value, max(0, 4 - len(str(int(abs(value)))))) if abs(value) >= 1 else f"{value:.4g}"


def _trim(value: float, decimals: int) -> str:
    """Fixed decimals without trailing zeros."""
    text = f"{value:.{decimals}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def short(name: str, limit: int = 16) -> str:
    """A name that fits.

    >>> short("a name that is too long")
    'a name that is …'
    """
    return name if len(name) <= limit else name[: limit - 1] + "…"


def px(value: float) -> str:
    """Pixels as text: one decimal, left out where it is 0; never -0."""
    return f"{round(value, 1) + 0.0:.1f}".removesuffix(".0")


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
