"""Pages without scripts, fonts or network requests: their blocks, and the templates that make them HTML.

`templates/page.html.j2` lays out sections of blocks, `templates/blocks.html.j2` has a macro for each kind of block,
`templates/page.css` the style of all pages. Every text is escaped by the template.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cache
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from ssm_hpn.drawing import drawn
from ssm_hpn.run_curves import Chart

if TYPE_CHECKING:
    import jinja2

TEMPLATES: Final = Path(__file__).parent / "templates"
MOST_NAMED: Final = 24
"""Most rows of a matrix that have names and numbers; a larger one shows colours alone."""


class Text(NamedTuple):
    """A paragraph."""

    text: str
    kind: str = "text"


class Heading(NamedTuple):
    """A heading inside a section."""

    text: str
    kind: str = "heading"


class Code(NamedTuple):
    """A file in full."""

    title: str
    text: str
    kind: str = "code"


class Facts(NamedTuple):
    """Names and values in two columns."""

    entries: Sequence[tuple[str, str]]
    kind: str = "facts"


class Samples(NamedTuple):
    """Continuations: update, prompt, text."""

    entries: Sequence[tuple[str, str, str]]
    kind: str = "samples"


class Tiles(NamedTuple):
    """Large numbers: what, how much, and a remark.

    In one row where there is room, in two on narrower screens, in pairs on the narrowest; the last one fills its row.
    """

    entries: Sequence[tuple[str, str, str]]
    kind: str = "tiles"

    @property
    def half(self) -> int:
        """Tiles of a row where there are two rows."""
        return max(2, -(-len(self.entries) // 2))

    @property
    def last(self) -> int:
        """Places that the last tile takes then."""
        return -len(self.entries) % self.half + 1


class Cell(NamedTuple):
    """One number of a matrix; `share`, from 0 to 1, is its shade."""

    text: str
    share: float
    title: str


class Matrix(NamedTuple):
    """A square of numbers with a name for each row and column."""

    names: Sequence[str]
    cells: Sequence[Sequence[Cell]]
    rows: str
    """What a row stands for."""
    columns: str

    @property
    def many(self) -> bool:
        """Whether there are too many for names and numbers."""
        return len(self.names) > MOST_NAMED


@dataclass(frozen=True)
class Figure:
    """A drawing or a matrix with its title."""

    caption: str
    svg: str = ""
    remark: str = ""
    matrix: Matrix | None = None
    key: Sequence[tuple[int, str]] = ()
    """Colours and what they mean, below the drawing."""
    note: str = ""
    """A sentence below the key."""


class Figures(NamedTuple):
    """Drawings side by side where there is room, or one below the other."""

    entries: Sequence[Figure]
    wide: bool = False
    kind: str = "figures"


class Table(NamedTuple):
    """A table; the first column is text, the others are numbers."""

    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    ours: int | None = None
    """The row to stress."""
    colours: Sequence[int] = ()
    """Colour of a dot in front of each row."""
    kind: str = "table"


Block = Text | Heading | Code | Facts | Samples | Tiles | Figures | Table


@dataclass(frozen=True)
class Section:
    """Blocks below a heading; one without blocks is left out."""

    title: str
    blocks: Sequence[Block] = field(default_factory=list)


class About(NamedTuple):
    """What stands below the title of a page, and at its end."""

    lead: str = ""
    badge: str = ""
    done: bool = True
    """Whether the badge tells of something that came to its end."""
    footer: str = ""
    again: str = ""
    """The command that makes the page again."""


def page(title: str, sections: Iterable[Section], *, command: str, about: About | None = None) -> str:
    """A whole document; `command` is the one that makes it.

    >>> text = page("a & b", [Section("One", [Text("x < y")]), Section("Empty")], command="report")
    >>> "<h1>a &amp; b</h1>" in text, "x &lt; y" in text, "Empty" in text
    (True, True, False)
    """
    return rendered("page.html.j2", title=title, sections=list(sections), command=command, about=about or About())


def rendered(template: str, **values: Any) -> str:  # noqa: ANN401 - what the template shows
    """A template with values; every text in them is escaped."""
    return str(_environment().get_template(template).render(**values)).lstrip()


@cache
def _environment() -> "jinja2.Environment":
    """What reads the templates; each is compiled once."""
    import jinja2  # needed only where a page is made

    loader = jinja2.FileSystemLoader(TEMPLATES)
    settings: dict[str, Any] = {"trim_blocks": True, "lstrip_blocks": True, "keep_trailing_newline": True}
    return jinja2.Environment(loader=loader, autoescape=True, undefined=jinja2.StrictUndefined, **settings)


def made_by(command: str) -> str:
    """The tag by which pages of a command are recognised, in their first lines."""
    return f'<meta name="generator" content="ssm-hpn {escape(command)}">'


def figures(entries: Iterable[Figure | None], *, wide: bool = False) -> list[Block]:
    """Drawings as blocks; none without any."""
    there = [one for one in entries if one is not None]
    return [Figures(there, wide=wide)] if there else []


def chart(one: Chart, *, legend: bool = True) -> Figure:
    """A chart of curves, drawn."""
    from ssm_hpn.plots import lines

    svg = drawn(lambda: lines(one.curves, x=one.x, y=one.y, legend=legend), one.caption)
    return Figure(one.caption, svg, one.remarks)
