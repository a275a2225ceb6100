"""Figures of matplotlib as they stand in a page: small SVG in the page's colours, the same bytes for the same numbers.

The figures are drawn in a few colours that the page knows by name: each becomes a variable of its style sheet, so that
one drawing serves light and dark. Text stays text, in the font of the page.
"""

import logging
import re
from collections.abc import Callable
from html import escape
from io import StringIO
from typing import TYPE_CHECKING, Final
from zlib import crc32

if TYPE_CHECKING:
    from matplotlib.figure import Figure

INK: Final = "#1d2126"
QUIET: Final = "#68707a"
LINE: Final = "#e4e4df"
GRID: Final = "#ecece7"
SERIES: Final = ("#2563c9", "#d1622b", "#2a8f63", "#9a4fa8", "#a67c12", "#5b6470")
NAMES: Final = {
    INK: "ink",
    QUIET: "quiet",
    LINE: "line",
    GRID: "grid",
    **{colour: f"s{number}" for number, colour in enumerate(SERIES, 1)},
}
"""The variable of the style sheet for each colour."""
WIDTH: Final = 380
"""Units of a drawing's width: about the pixels that it has in a column of the page, and on a phone."""
POINTS: Final = 72.0
"""Units in an inch."""
WITHOUT: Final = {"Date": None, "Creator": None, "Format": None, "Type": None}
REPLACED: Final = (
    (r"(?s)^.*?(?=<svg)", ""),
    (r"(?s)<defs>\s*<style.*?</style>\s*</defs>", ""),
    (r"<!--.*?-->", ""),
    (r' id="[a-zA-Z.]+(_\d+)+"', ""),
    (r' id="matplotlib.axis_\d+"', ""),
    (r"font-family: [^;\"]*;? ?", ""),
    (r' transform="rotate\(-0 [^)]*\)"', ""),
    (r' (width|height)="[\d.]+pt"', ""),
    (r' xmlns:xlink="[^"]*"', ""),
    (r"\s*\n\s*", " "),
    (r"> <", "><"),
)
"""What is taken out of the text of matplotlib, and what is put in its place."""


def drawn(make: Callable[[], "Figure"], title: str) -> str:
    """The SVG text of the figure that `make` returns, with a title for those who hear the page."""
    return in_page(_saved(make), title)


def _saved(make: Callable[[], "Figure"]) -> str:
    """The text of a figure as an SVG file."""
    logging.getLogger("matplotlib.font_manager").setLevel(logging.ERROR)  # the first use of a machine lists its fonts
    import matplotlib as mpl  # slow to import, and needed only where something is drawn

    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": "ssm-hpn"}):
        figure = make()
        figure.patch.set_visible(False)
        file = StringIO()
        figure.savefig(file, format="svg", metadata=WITHOUT)
    return file.getvalue()


def in_page(text: str, title: str) -> str:
    """The text of an SVG file as part of a page.

    >>> in_page('<?xml version="1.0"?><svg width="9pt" id="figure_1"><path d="M 0.123456 2"/></svg>', "a & b")
    '<svg role="img" aria-label="a &amp; b"><path d="M 0.12 2"/></svg>'
    """
    for pattern, replacement in REPLACED:
        text = re.sub(pattern, replacement, text)
    text = re.sub(r'(?<==)"[^"]*"', _attribute, text)
    own = f"{crc32(text.encode()):x}"  # names inside a drawing are unlike those of other drawings of the page
    text = re.sub(r'(id="|#)([mph][0-9a-f]{10})\b', rf"\1\2-{own}", text).replace("xlink:href", "href")
    return text.replace("<svg", f'<svg role="img" aria-label="{escape(title, quote=True)}"', 1).strip()


def _attribute(found: re.Match[str]) -> str:
    """An attribute with two decimals, and colours by name."""
    text = found.group()
    if text.startswith('"data:'):
        return text
    text = re.sub(r"(\.\d\d)\d+", r"\1", text)
    return re.sub(r"#[0-9a-f]{6}", lambda colour: _named(colour.group()), text)


def _named(colour: str) -> str:
    return f"var(--{NAMES[colour]})" if colour in NAMES else colour
