"""Small pictures of series with a strip of evidence, and the diagram of calibration, as SVG (`ssm_hpn.svg`)."""

from collections.abc import Sequence
from html import escape
from typing import Final

from ssm_hpn.decisions import Bin, Picture
from ssm_hpn.svg import WIDTH, Axis, Scale, frame, px, short, show, tick_label, ticks

LEFT: Final = 58
END: Final = WIDTH - 14
"""Ends of all horizontal axes."""
PANEL: Final = 84
LOW_PANEL: Final = 54
"""Height of the panel of a channel where there are up to `FEW` of them, and where there are more."""
FEW: Final = 2
GAP: Final = 24
STRIP: Final = 18
WINDOWS: Final = 24
"""Windows side by side that a strip is long: each of its cells shows the mean of the one around it."""
CHARACTER: Final = 6.6
"""Mean width of a character."""
NAME: Final = 26
"""Longest name of a class in the key."""
PLOT: Final = 200
COUNTS: Final = 56
"""Heights of the diagram of calibration, and of the counts below it."""
SHARES: Final = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)


def series_picture(picture: Picture, *, predicted: str, against: str) -> str:
    """The channels of a series one below the other, then the evidence for one class rather than the other.

    >>> wave = {"name": "x", "values": (0.0, 1.0, None, 0.5)}
    >>> picture = Picture(name="a", label=0, predicted=1, against=0, probability=0.6, probability_of_label=0.4, steps=4,
    ...                   channels=[wave], n_channels=1, evidence=[0.0, 0.2, 0, 0], evidence_against=[0.1, 0, 0, 0])
    >>> series_picture(picture, predicted="wild", against="calm").count("<rect")
    6
    """
    height = PANEL if len(picture.channels) <= FEW else LOW_PANEL
    top, parts = 16.0, []
    for channel in picture.channels:
        parts.append(_panel(channel.name, channel.values, top, height))
        top += height + GAP
    top -= GAP - 6 if picture.channels else 0
    if picture.evidence:
        by_cell = [a - b for a, b in zip(picture.evidence, picture.evidence_against, strict=True)]
        differences, width = moving_mean(by_cell)
        largest = max(map(abs, differences))
        parts.append(_strip(differences, largest, top))
        top += STRIP
        each = "a step" if picture.steps == len(differences) else f"1/{len(differences)} of the series"
        around = f", the mean of {width} around it" * (width > 1)
        scale = f"full colour: {show(largest)} of the score in {each}{around}"
        parts.append(_key(predicted, against, scale, top + 36))
    parts.append(_steps_axis(picture.steps, top))
    return frame(f"series {picture.name}", "".join(parts), height=round(top + (58 if picture.evidence else 24)))


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


def reliability(bins: Sequence[Bin]) -> str:
    """Accuracy by probability beside a line on which both are equal, above the number of series by probability.

    >>> bins = [Bin(low=0.0, high=0.5, count=0, probability=None, accuracy=None),
    ...         Bin(low=0.5, high=1.0, count=7, probability=0.8, accuracy=0.75)]
    >>> reliability(bins).count("<circle")
    1
    """
    top, base = 14.0, 14.0 + PLOT
    x, y = Scale(0.0, 1.0, LEFT, END, log=False), Scale(0.0, 1.0, base, top, log=False)
    parts = [_grid_line(y(share), f"{100 * share:.0f} %") for share in SHARES]
    parts.append(f'<path class="faint" d="M{px(x(0))} {px(y(0))}L{px(x(1))} {px(y(1))}" stroke="var(--ink)"/>')
    places = [
        f"{px(x(one.probability))} {px(y(one.accuracy))}"
        for one in bins
        if one.probability is not None and one.accuracy is not None
    ]
    parts.append(f'<path class="points" d="M{"L".join(places)}" stroke="var(--s1)"/>')
    parts += [_dot(place, 3.5) for place in places]
    low = base + 26 + COUNTS
    parts.append(_counts(bins, x, low))
    for share in SHARES:
        text = f"{100 * share:.0f} %"
        parts.append(f'<text class="tick" x="{px(x(share))}" y="{px(low + 17)}" text-anchor="middle">{text}</text>')
    about, middle = "probability of the predicted class", low - COUNTS / 2 + 10
    parts.append(
        f'<text class="quiet" x="{LEFT + 6}" y="{px(top + 12)}">accuracy</text>'
        f'<text class="quiet" x="{LEFT - 8}" y="{px(middle)}" text-anchor="end">series</text>'
        f'<text class="quiet" x="{END}" y="{px(low + 35)}" text-anchor="end">{about}</text>'
    )
    return frame("calibration", "".join(parts), height=round(low + 40))


# ---- parts of the diagram of calibration


def _counts(bins: Sequence[Bin], x: Scale, base: float) -> str:
    """A bar for each bin with its number of series."""
    most = max(one.count for one in bins)
    parts = []
    for one in bins:
        if one.count:
            height, width = one.count / most * (COUNTS - 14), x(one.high) - x(one.low) - 4
            left, middle, top = x(one.low) + 2, (x(one.low) + x(one.high)) / 2, base - height
            parts.append(
                f'<rect x="{px(left)}" y="{px(top)}" width="{px(width)}" height="{px(height)}" fill="var(--s6)"/>'
                f'<text class="tick" x="{px(middle)}" y="{px(top - 4)}" text-anchor="middle">{show(one.count)}</text>'
            )
    return "".join(parts) + f'<path class="axis" d="M{LEFT} {px(base)}H{END}"/>'


# ---- parts of a picture


def _panel(name: str, values: Sequence[float | None], top: float, height: float) -> str:
    """A line over the steps, with a gap where numbers are missing."""
    known = [value for value in values if value is not None]
    title = f'<text class="quiet" x="{LEFT}" y="{px(top - 4)}">{escape(short(name, 60))}</text>'
    if not known:
        middle = px(top + height / 2)
        return f'{title}<text class="quiet" x="{WIDTH / 2}" y="{middle}" text-anchor="middle">no numbers</text>'
    low, high = min(known), max(known)
    if low == high:
        low, high = low - (abs(low) or 1) / 2, high + (abs(high) or 1) / 2
    margin = (high - low) * 0.04
    y = Scale(low - margin, high + margin, top + height, top, log=False)
    few = ticks(y.low, y.high, most=3)
    marks = few if len(few) > 1 else ticks(y.low, y.high, most=5)
    grid = "".join(_grid_line(y(tick), tick_label(tick, y, Axis(name))) for tick in marks)
    runs: list[list[str]] = [[]]
    for place, value in enumerate(values):
        if value is None:
            runs.append([])
        else:
            at = LEFT + (place + 0.5) / len(values) * (END - LEFT)
            runs[-1].append(f"{px(at)} {px(y(value))}")
    lines = [f'<path class="line thin" d="M{"L".join(run)}" stroke="var(--s1)"/>' for run in runs if len(run) > 1]
    return title + grid + "".join(lines + [_dot(run[0], 1.8) for run in runs if len(run) == 1])


def _strip(values: Sequence[float], largest: float, top: float) -> str:
    """A cell for each number: one colour for it, another against it, the paler the smaller."""
    width = (END - LEFT) / len(values)
    return "".join(
        f'<rect x="{px(LEFT + place * width)}" y="{px(top)}" width="{px(width + 0.3)}" height="{STRIP}" '
        f'style="fill:{_mixed(value / largest if largest else 0.0)}"/>'
        for place, value in enumerate(values)
    )


def _mixed(share: float) -> str:
    """The colour of evidence from -1 to 1."""
    colour = "var(--s2)" if share > 0 else "var(--s1)"
    return f"color-mix(in oklab, {colour} {px(100 * abs(share))}%, var(--heat-low))"


def _steps_axis(steps: int, top: float) -> str:
    """Ticks at steps, counted from 0."""
    parts = [f'<path class="axis" d="M{LEFT} {px(top)}H{END}"/>']
    for tick in ticks(0.0, float(max(steps - 1, 1)), most=6):
        at = LEFT + (tick + 0.5) / max(steps, 1) * (END - LEFT)
        text = show(tick) if tick else "0"
        if tick == round(tick) and at < END - 34 - CHARACTER / 2 * len(text):
            parts.append(
                f'<path class="mark" d="M{px(at)} {px(top)}v5"/>'
                f'<text class="tick" x="{px(at)}" y="{px(top + 17)}" text-anchor="middle">{text}</text>'
            )
    return "".join(parts) + f'<text class="quiet" x="{END}" y="{px(top + 17)}" text-anchor="end">step</text>'


def _key(predicted: str, against: str, scale: str, top: float) -> str:
    """What the colours of the strip mean."""
    parts, at = [], float(LEFT)
    for name, share in ((short(predicted, NAME), 1.0), (short(against, NAME), -1.0)):
        parts.append(
            f'<rect x="{px(at)}" y="{px(top - 9)}" width="11" height="11" style="fill:{_mixed(share)}"/>'
            f'<text class="legend" x="{px(at + 16)}" y="{px(top)}">for {escape(name)}</text>'
        )
        at += 34 + CHARACTER * (len(name) + 4)
    return "".join(parts) + f'<text class="quiet" x="{LEFT}" y="{px(top + 17)}">{escape(scale)}</text>'


def _grid_line(at: float, text: str) -> str:
    return (
        f'<path class="grid" d="M{LEFT} {px(at)}H{END}"/>'
        f'<text class="tick" x="{LEFT - 8}" y="{px(at)}" dy="4" text-anchor="end">{text}</text>'
    )


def _dot(place: str, radius: float) -> str:
    x, y = place.split()
    return f'<circle cx="{x}" cy="{y}" r="{radius}" fill="var(--s1)"/>'
