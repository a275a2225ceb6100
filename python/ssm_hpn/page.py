"""Style and skeleton of the pages that this package writes, without scripts, fonts or network requests."""

from collections.abc import Iterable, Sequence
from html import escape

STYLE = """
:root {
  color-scheme: light dark;
  --paper: #fcfcfa; --card: #ffffff; --ink: #1d2126; --quiet: #68707a; --line: #e4e4df; --grid: #ecece7;
  --s1: #2563c9; --s2: #d1622b; --s3: #2a8f63; --s4: #9a4fa8; --s5: #a67c12; --s6: #5b6470;
  --heat-low: #f1f3f5; --heat-high: #1f57b5; --heat-ink-high: #ffffff; --good: #2a8f63; --warn: #b3541e;
}
@media (prefers-color-scheme: dark) {
  :root {
    --paper: #14171a; --card: #1b1f23; --ink: #e6e8ea; --quiet: #98a1ab; --line: #2b3137; --grid: #272c32;
    --s1: #6ea6ff; --s2: #f0915c; --s3: #5cc795; --s4: #cf8bdc; --s5: #d9b24c; --s6: #a4adb8;
    --heat-low: #21262b; --heat-high: #7fb0ff; --heat-ink-high: #0d1a2d; --good: #5cc795; --warn: #f0915c;
  }
}
* { box-sizing: border-box; }
body {
  margin: 0; background: var(--paper); color: var(--ink);
  font: 16px/1.55 ui-sans-serif, system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif;
}
main { max-width: 74rem; margin: 0 auto; padding: 3rem 1.5rem 4rem; }
h1 { font-size: 2rem; line-height: 1.2; letter-spacing: -0.02em; margin: 0 0 .35rem; overflow-wrap: anywhere; }
h2 { font-size: 1.15rem; letter-spacing: -0.005em; margin: 3rem 0 1rem; }
h3 { font-size: .95rem; font-weight: 600; margin: 1.6rem 0 .6rem; }
p { margin: 0 0 .6rem; max-width: 46rem; }
.lead { color: var(--quiet); font-size: 1.05rem; margin-bottom: 2rem; max-width: 56rem; }
.badge { display: inline-block; font-size: .8rem; font-weight: 600; color: var(--good); letter-spacing: .02em; }
.badge.warn { color: var(--warn); }
.tiles { display: grid; grid-template-columns: repeat(var(--all), minmax(0, 1fr)); gap: .9rem; margin: 0; }
.tile { background: var(--card); border: 1px solid var(--line); border-radius: .6rem; padding: .8rem .9rem; }
.tile dt { color: var(--quiet); font-size: .8rem; white-space: nowrap; overflow: hidden; text-overflow: ellipsis; }
.tile dd { margin: .1rem 0 0; font-size: 1.55rem; font-weight: 600; letter-spacing: -0.02em; line-height: 1.25;
  font-variant-numeric: tabular-nums; white-space: nowrap; }
.tile dd small { display: block; font-size: .8rem; font-weight: 400; color: var(--quiet); letter-spacing: 0;
  white-space: normal; }
.charts { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 29rem), 1fr)); gap: 1rem; }
figure { margin: 0; background: var(--card); border: 1px solid var(--line); border-radius: .6rem;
  padding: 1rem 1rem .6rem; min-width: 0; }
figcaption { font-weight: 600; font-size: .95rem; margin: 0 0 .5rem .2rem; }
figcaption span { color: var(--quiet); font-weight: 400; }
svg { display: block; width: 100%; max-width: 44rem; height: auto; margin: 0 auto;
  font-size: 12px; fill: var(--ink); overflow: visible;
  font-variant-numeric: tabular-nums; }
svg .tick, svg .quiet, svg .name { fill: var(--quiet); font-size: 11.5px; }
svg .legend { font-size: 12px; }
svg .value { font-weight: 600; }
svg .grid { stroke: var(--grid); } svg .axis, svg .mark { stroke: var(--line); } svg .axis { stroke-width: 1.25; }
svg path { fill: none; } svg .line, svg .points { stroke-width: 2; stroke-linejoin: round; stroke-linecap: round; }
svg .line.thin { stroke-width: 1.4; } svg .faint { stroke-width: 1; opacity: .35; }
svg .key path { stroke-linecap: round; }
.table { overflow-x: auto; background: var(--card); border: 1px solid var(--line); border-radius: .6rem; }
table { border-collapse: collapse; width: 100%; font-size: .92rem; font-variant-numeric: tabular-nums; }
th, td { text-align: right; padding: .5rem 1rem; border-top: 1px solid var(--line); white-space: nowrap; }
th:first-child, td:first-child { text-align: left; }
thead th { border-top: 0; color: var(--quiet); font-weight: 500; font-size: .82rem; }
tr.us td { font-weight: 600; }
td i { display: inline-block; width: .65rem; height: .65rem; border-radius: 50%; margin-right: .6rem; }
dl.facts { display: grid; grid-template-columns: max-content 1fr; gap: .3rem 1.5rem; margin: 0; font-size: .92rem; }
dl.facts dt { color: var(--quiet); } dl.facts dd { margin: 0; overflow-wrap: anywhere; }
.card { background: var(--card); border: 1px solid var(--line); border-radius: .6rem; padding: 1rem 1.2rem; }
pre { margin: 0; overflow-x: auto; font: .84rem/1.6 ui-monospace, "SF Mono", Menlo, Consolas, monospace;
  white-space: pre-wrap; overflow-wrap: anywhere; }
pre mark { background: none; color: var(--s1); }
.sample { display: grid; grid-template-columns: 6rem 1fr; gap: .2rem 1rem; }
.sample + .sample { margin-top: .9rem; padding-top: .9rem; border-top: 1px solid var(--line); }
.sample span { color: var(--quiet); font-size: .85rem; }
details { border-top: 1px solid var(--line); } details:first-of-type { border-top: 0; }
summary { cursor: pointer; font-weight: 600; font-size: .92rem; padding: .35rem 0; }
details pre { padding: .5rem 0 .6rem 1.1rem; columns: 26rem; column-gap: 2.5rem; }
footer { margin-top: 3rem; color: var(--quiet); font-size: .85rem; }
@media (max-width: 72rem) { .tiles { grid-template-columns: repeat(var(--half), minmax(0, 1fr)); }
  .tile:last-child { grid-column: span var(--last); } }
@media (max-width: 40rem) { main { padding: 2rem 1rem 3rem; } .sample { grid-template-columns: 1fr; }
  h1 { font-size: 1.6rem; } .tile dd { font-size: 1.3rem; } .badge { display: block; margin-top: .3rem; }
  .tiles { grid-template-columns: repeat(2, minmax(0, 1fr)); } .tile:last-child { grid-column: span 1; }
  .tile:last-child:nth-child(odd) { grid-column: span 2; } }
@media print { main { max-width: none; padding: 0; } figure, .tile, .card { break-inside: avoid; } }
"""


def made_by(command: str) -> str:
    """The tag by which pages of a command are recognised, in their first lines."""
    return f'<meta name="generator" content="ssm-hpn {escape(command)}">'


def page(title: str, sections: Iterable[str], *, command: str) -> str:
    """A whole document; `command` is the one that makes it."""
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"{made_by(command)}\n"
        f"<title>{escape(title)}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<main>\n"
        + "\n".join(section for section in sections if section)
        + "\n</main>\n</body>\n</html>\n"
    )


def section(heading: str, *content: str) -> str:
    """A section with a heading; empty without content."""
    inside = "\n".join(part for part in content if part)
    return f"<section>\n<h2>{escape(heading)}</h2>\n{inside}\n</section>" if inside else ""


def heading(text: str) -> str:
    """A heading inside a section."""
    return f"<h3>{escape(text)}</h3>"


def paragraph(text: str) -> str:
    """A paragraph of a section."""
    return f"<p>{escape(text)}</p>" if text else ""


def tiles(entries: Sequence[tuple[str, str, str]]) -> str:
    """Large numbers: what, how much, and a remark.

    In one row where there is room, in two on narrower screens, in pairs on the narrowest; the last one fills its row.
    """
    half = max(2, -(-len(entries) // 2))
    last = -len(entries) % half + 1
    return (
        f'<dl class="tiles" style="--all:{len(entries)};--half:{half};--last:{last}">'
        + "".join(
            f'<div class="tile"><dt>{escape(name)}</dt><dd>{escape(value)}'
            + (f"<small>{escape(remark)}</small>" if remark else "")
            + "</dd></div>"
            for name, value, remark in entries
        )
        + "</dl>"
    )


def figure(caption: str, svg: str, remark: str = "") -> str:
    """A chart with its title."""
    note = f" <span>{escape(remark)}</span>" if remark else ""
    return f"<figure><figcaption>{escape(caption)}{note}</figcaption>{svg}</figure>"


def charts(figures: Iterable[str]) -> str:
    """Charts side by side where there is room."""
    inside = "\n".join(one for one in figures if one)
    return f'<div class="charts">\n{inside}\n</div>' if inside else ""


def table(
    header: Sequence[str], rows: Iterable[Sequence[str]], *, ours: int | None = None, colours: Sequence[int] = ()
) -> str:
    """A table; the first column is text, the others are numbers.

    `ours` is the row to stress; `colours` puts a dot of the chart's colour in front of each row.
    """
    head = "".join(f"<th>{escape(cell)}</th>" for cell in header)
    body = "".join(
        ('<tr class="us">' if index == ours else "<tr>")
        + "".join(f"<td>{_dot(colours, index, place)}{escape(cell)}</td>" for place, cell in enumerate(row))
        + "</tr>"
        for index, row in enumerate(rows)
    )
    return f'<div class="table"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def _dot(colours: Sequence[int], row: int, place: int) -> str:
    return f'<i style="background:var(--s{colours[row]})"></i>' if colours and place == 0 else ""


def facts(entries: Iterable[tuple[str, str]]) -> str:
    """Names and values in two columns."""
    inside = "".join(f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in entries)
    return f'<div class="card"><dl class="facts">{inside}</dl></div>'
