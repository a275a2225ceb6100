"""Drawings as SVG files that stand alone, in light and dark: mean ranks with groups, and scatters of two systems."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape
from typing import Final, NamedTuple

from matplotlib.ticker import MaxNLocator

from quality.significance import Comparison

STYLE: Final = (
    "text{font:12px system-ui,sans-serif;fill:#1d2126}.quiet{fill:#68707a}path{fill:none;stroke:#68707a}"
    ".grid{stroke:#e4e4df}.clique{stroke:#1d2126;stroke-width:4}circle{fill:#2563c9;fill-opacity:.75}.ours{font-weight:600}"
    "@media(prefers-color-scheme:dark){text{fill:#e6e8ea}.quiet{fill:#98a1ab}path{stroke:#98a1ab}.grid{stroke:#2b3137}"
    ".clique{stroke:#e6e8ea}circle{fill:#6ea6ff}}"
)
LINE: Final = 20


def ranks(found: Comparison, titles: dict[str, str], *, ours: str) -> str:
    """Critical-difference picture: mean ranks on an axis, bars over systems that cannot be told apart.

    The best half hangs at the left, the others at the right, the outermost ones highest.
    """
    width, left, right, top = 780, 255, 255, 34
    count = len(found.systems)
    half = (count + 1) // 2
    bars = 9 * len(found.cliques)
    height = top + bars + 22 + LINE * half + 24

    def at(rank: float) -> float:
        return left + (rank - 1) / max(count - 1, 1) * (width - left - right)

    parts = [f'<path d="M{left} {top}H{width - right}"/>']
    for tick in range(1, count + 1):
        parts.append(f'<path d="M{_px(at(tick))} {top}v-6"/>')
        parts.append(f'<text class="quiet" x="{_px(at(tick))}" y="{top - 12}" text-anchor="middle">{tick}</text>')
    for place, (first, last) in enumerate(found.cliques):
        y = top + 9 * (place + 1)
        start, end = at(found.ranks[first]) - 4, at(found.ranks[last]) + 4
        parts.append(f'<path class="clique" d="M{_px(start)} {y}H{_px(end)}"/>')
    for place, (name, rank) in enumerate(zip(found.systems, found.ranks, strict=True)):
        best = place < half
        y = top + bars + 22 + LINE * (place if best else count - 1 - place)
        edge, anchor, x = (left - 12, "end", left - 18) if best else (width - right + 12, "start", width - right + 18)
        style = ' class="ours"' if name == ours else ""
        label = f"{escape(titles[name])} {rank:.2f}"
        parts.append(f'<path d="M{_px(at(rank))} {top}V{y}H{edge}"/>')
        parts.append(f'<text{style} x="{x}" y="{y + 4}" text-anchor="{anchor}">{label}</text>')
    note = f"mean rank of accuracy on {found.sets} data sets"
    parts.append(f'<text class="quiet" x="{width / 2:g}" y="{height - 6}" text-anchor="middle">{note}</text>')
    return _file(width, height, note, parts)


class Point(NamedTuple):
    """A data set with the accuracies of two systems."""

    name: str
    x: float
    y: float


def scatter(points: Sequence[Point], *, x: str, y: str) -> str:
    """A dot per data set: above the line `y` is better. Axes in per cent, from the lowest accuracy."""
    width, height, left, bottom, top, right = 360, 372, 46, 46, 14, 14
    low = min((min(one.x, one.y) for one in points), default=0.0)
    low = max(0.0, math.floor((low - 0.01) * 10) / 10)

    def place(value: float, start: float, end: float) -> float:
        return start + (value - low) / (1 - low) * (end - start)

    base, far = height - bottom, width - right
    parts = []
    for tick in [one for one in MaxNLocator(5, steps=[1, 2, 5, 10]).tick_values(low, 1.0) if low <= one <= 1.0]:
        across, up = place(tick, left, far), place(tick, base, top)
        parts.append(f'<path class="grid" d="M{_px(across)} {top}V{base}M{left} {_px(up)}H{far}"/>')
        label = f"{100 * tick:.0f}"
        parts.append(f'<text class="quiet" x="{_px(across)}" y="{base + 16}" text-anchor="middle">{label}</text>')
        parts.append(f'<text class="quiet" x="{left - 8}" y="{_px(up)}" dy="4" text-anchor="end">{label}</text>')
    parts.append(f'<path d="M{left} {base}L{far} {top}"/>')
    for one in points:
        title = f"{one.name}: {y} {100 * one.y:.1f}, {x} {100 * one.x:.1f}"
        where = f'cx="{_px(place(one.x, left, far))}" cy="{_px(place(one.y, base, top))}"'
        parts.append(f'<circle {where} r="4"><title>{escape(title)}</title></circle>')
    parts.append(f'<text x="{far}" y="{height - 8}" text-anchor="end">accuracy in %: {escape(x)}</text>')
    parts.append(f'<text x="{left + 6}" y="{top + 12}">{escape(y)}</text>')
    return _file(width, height, f"accuracy of {y} against {x}", parts)


def _file(width: int, height: int, title: str, parts: Sequence[str]) -> str:
    return (
        f'<svg viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="img" '
        f'aria-label="{escape(title, quote=True)}" xmlns="http://www.w3.org/2000/svg"><style>{STYLE}</style>\n'
        + "\n".join(parts)
        + "\n</svg>\n"
    )


def _px(value: float) -> str:
    return f"{round(value, 1) + 0.0:.1f}".removesuffix(".0")
