"""Prints the tables of a record, and writes them with pictures as a page of the documentation."""

from __future__ import annotations

import argparse
import json
import math
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from quality import pictures
from quality.many import RECORD as MANY
from quality.published import TITLES, published
from quality.record import Record, Row
from quality.run import RECORD, ROOT, SMALL_RECORD
from quality.sets import KEPT, SETS, DataSet, Group
from quality.significance import DECIMALS, common_sets, compare, duel
from quality.systems import SYSTEMS

PAGE: Final = ROOT / "docs" / "quality.md"
OURS: Final = "ssm_hpn"
GROUPS: Final[dict[Group, str]] = {
    "equal": "UCR sets of equal length",
    "unequal": "UCR sets of unequal length",
    "missing": "UCR sets with missing values",
    "other": "other sets",
}
Table = list[list[str]]
"""Rows of cells, the header first."""


class Results:
    """Accuracies by system and data set: of the record, and published ones under names of their own."""

    def __init__(self, record: Record) -> None:
        self.record = record
        self.measured = [name for name in SYSTEMS if any(row.metric == "accuracy" for row in record.of_system(name))]
        self.papers = [f"{name}, published" for name in TITLES]
        self.scores: dict[str, dict[str, float]] = {
            name: {row.dataset: row.mean for row in record.of_system(name) if row.metric == "accuracy"}
            for name in self.measured
        }
        self.scores |= {f"{name}, published": found for name, found in published().items()}
        self.titles = {name: system.title for name, system in SYSTEMS.items()}
        self.titles |= {f"{name}, published": f"{title}, published" for name, title in TITLES.items()}
        there = {row.dataset for row in record.rows}
        self.sets = [one for one in SETS if one.name in there]

    @property
    def systems(self) -> list[str]:
        """All columns: measured, then published."""
        return self.measured + self.papers

    def over(self, names: Sequence[str]) -> dict[str, dict[str, float]]:
        """The accuracies on these sets only."""
        return {system: {n: found[n] for n in names if n in found} for system, found in self.scores.items()}

    def comparable(self) -> list[str]:
        """The UCR sets of equal length that have every published column, and a row of this package if any has."""
        names = {one.name for one in self.sets if one.group == "equal"}
        asked = [*self.papers, *(name for name in self.measured if name == OURS)]
        return [name for name in common_sets(self.scores, asked) if name in names]


# ---- tables


def means(found: Results) -> Table:
    """Mean accuracy per group over the sets that have all columns shown; systems as rows."""
    comparable = found.comparable()
    groups = [(GROUPS["equal"], comparable)]
    choices = found.record.header["choice_sets"]
    groups.append(("of these not among the choices", [name for name in comparable if name not in choices]))
    for group in ("unequal", "missing", "other"):
        inside = {one.name for one in found.sets if one.group == group}
        groups.append((GROUPS[group], [name for name in common_sets(found.scores, found.measured) if name in inside]))
    groups = [(title, names) for title, names in groups if names]
    head = ["", *(f"{title} ({len(names)})" for title, names in groups)]
    table = [head]
    for system in found.systems:
        cells = []
        for _, names in groups:
            values = [found.scores[system][name] for name in names if name in found.scores[system]]
            cells.append(percent(statistics.fmean(values), 2) if len(values) == len(names) else "")
        table.append([found.titles[system], *cells])
    return table


def duels(found: Results) -> Table:
    """This package against every other column, each over the UCR sets of equal length that have both."""
    table = [["against", "sets", "ours", "theirs", "wins / draws / losses", "Wilcoxon p"]]
    scores = found.over([one.name for one in found.sets if one.group == "equal"])
    for system in found.systems if OURS in found.measured else ():
        if system == OURS:
            continue
        one = duel(scores, OURS, system)
        if one.sets:
            shares = f"{one.wins} / {one.draws} / {one.losses}"
            means = [percent(one.mean, 2), percent(one.other_mean, 2)]
            table.append([found.titles[system], str(one.sets), *means, shares, f"{one.p:.2g}"])
    return table


def times(found: Results) -> Table:
    """Seconds of fit and predict, summed over the sets of which every system has them."""
    timed = {
        name: {row.dataset: row for row in found.record.of_system(name) if row.seconds is not None}
        for name in found.measured
    }
    timed = {name: rows for name, rows in timed.items() if rows}
    table = [["", "sets", "fit, s", "predict, s", "together, s"]]
    if not timed:
        return table
    shared = set.intersection(*(set(rows) for rows in timed.values()))
    for name, rows in timed.items():
        fit = math.fsum(rows[one].fit_seconds or 0.0 for one in shared)
        predict = math.fsum(rows[one].predict_seconds or 0.0 for one in shared)
        table.append([found.titles[name], str(len(shared)), f"{fit:.1f}", f"{predict:.1f}", f"{fit + predict:.1f}"])
    return table


def regression(found: Results) -> Table:
    """Errors of the sets of numbers."""
    table = [["set", "", "RMSE", "fit, s", "predict, s"]]
    rows = [row for row in found.record.rows if row.metric == "rmse"]
    return table + [[row.dataset, found.titles[row.system], spread(row, 1, 4), *seconds(row)] for row in rows]


def many() -> Table:
    """Seconds and memory for many series, of the record of `many`."""
    table = [["series", "steps", "fit, s", "predict, s", "data, MB", "memory beyond the data, MB"]]
    if MANY.exists():
        for row in json.loads(MANY.read_text(encoding="utf-8"))["rows"]:
            numbers = [row["fit_seconds"], row["predict_seconds"], row["data_mb"], row["beyond_data_mb"]]
            table.append([str(row["series"]), str(row["steps"]), *(f"{one:.1f}" for one in numbers)])
    return table


def per_set(found: Results) -> Table:
    """Every set with every column; the best of a row in bold."""
    table = [["set", *(found.titles[name] for name in found.systems)]]
    return table + [[data.name, *_accuracies(found, data)] for data in found.sets if data.metric == "accuracy"]


def _accuracies(found: Results, data: DataSet) -> list[str]:
    best = max((found.scores[name].get(data.name, 0.0) for name in found.systems), default=0.0)
    cells = []
    for name in found.systems:
        value = found.scores[name].get(data.name)
        if value is None:
            cells.append("")
            continue
        row = found.record.find(data.name, name)
        text = percent(value, 1) if row is None else spread(row, 100, 1)
        cells.append(f"**{text}**" if round(value, DECIMALS) == round(best, DECIMALS) else text)
    return cells


def per_set_times(found: Results) -> Table:
    """Seconds of fit and of predict of every set."""
    names = [name for name in found.measured if any(row.seconds is not None for row in found.record.of_system(name))]
    table = [["set", *(f"{found.titles[name]}, fit + predict, s" for name in names)]]
    for data in found.sets if names else ():
        rows = [found.record.find(data.name, name) for name in names]
        table.append([data.name, *("" if row is None else " + ".join(filter(None, seconds(row))) for row in rows)])
    return table


def spread(row: Row, factor: float, decimals: int) -> str:
    """Mean, and the deviation where there are several seeds."""
    mean = f"{factor * row.mean:.{decimals}f}"
    return mean if row.std is None else f"{mean} ± {factor * row.std:.{decimals}f}"


def seconds(row: Row) -> list[str]:
    """Seconds of fit and of predict, nothing where the machine did other work."""
    if row.fit_seconds is None or row.predict_seconds is None:
        return ["", ""]
    return [f"{row.fit_seconds:.3g}", f"{row.predict_seconds:.3g}"]


def percent(share: float, decimals: int) -> str:
    """A share in per cent, without the sign."""
    return f"{100 * share:.{decimals}f}"


# ---- the page


def markdown(table: Table) -> str:
    """A table of Markdown, text at the left and numbers at the right."""
    head, *rows = table
    marks = ["---", *("--:" for _ in head[1:])]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in (head, marks, *rows))


def plain(table: Table) -> str:
    """The same for a terminal."""
    table = [[cell.replace("**", "") for cell in cells] for cells in table]
    widths = [max(len(cells[k]) for cells in table) for k in range(len(table[0]))]
    lines = [
        [cells[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(cells[1:], widths[1:], strict=True))]
        for cells in table
    ]
    return "\n".join("  ".join(line).rstrip() for line in lines)


def gaps(found: Results) -> str:
    """Which measured system has no row for which sets; five are named."""
    parts = []
    for system in found.measured:
        missing = [one.name for one in SETS if one.metric == "accuracy" and one.name not in found.scores[system]]
        if missing:
            more = f" and {len(missing) - 5} more" if len(missing) > 5 else ""
            parts.append(f"{found.titles[system]} on {', '.join(missing[:5])}{more}")
    return f" Without a row: {'; '.join(parts)}." if parts else ""


def about(found: Results) -> str:
    """What was measured, on what, and how."""
    header, rows = found.record.header, found.record.rows
    versions = sorted({f"{SYSTEMS[row.system].package} {row.version}" for row in rows if row.system in SYSTEMS})
    dates = sorted({row.date for row in rows})
    when = dates[0] if len(dates) == 1 else f"{dates[0]} to {dates[-1]}"
    single = [one.name for one in found.sets if one.large]
    single += [one.title for one in SYSTEMS.values() if one.once and one.name in found.measured]
    few = f" ({', '.join(single)}: one seed)" if single else ""
    busy = sum(row.busy for row in rows)
    elsewhere = sorted({row.machine for row in rows if row.machine is not None})
    untimed = f" {busy} of {len(rows)} rows were measured beside other work and have no seconds." if busy else ""
    if elsewhere:
        others = sum(row.machine is not None for row in rows)
        untimed += f" {others} of these were measured on {' and '.join(elsewhere)}."
    return (
        f"{header['processor']}, {header['threads']} threads; {', '.join(versions)}; {when}.{untimed}{gaps(found)}\n\n"
        f"Accuracy in per cent on the default split, mean ± deviation over the seeds 0 to 2{few}. {header['choices']} "
        f"Sets of the choices: {', '.join(header['choice_sets'])}. Three sets of the same archive "
        f"({', '.join(sorted(KEPT))}) are kept for judging and not measured here.\n\n"
        "MiniRocket and MultiRocket+Hydra are those of aeon, in the same run; where series are of unequal length or "
        "have missing values, they get them filled in and continued (`benchmarks/quality/systems.py`), which is not "
        "timed. Published accuracies: the table of arXiv 2604.15174."
    )


def draw(found: Results, folder: Path) -> list[tuple[str, str]]:
    """Write the pictures into a folder; their file names and what they show."""
    folder.mkdir(parents=True, exist_ok=True)
    names = found.comparable()
    drawn: list[tuple[str, str]] = []
    if len(names) > 1 and len(found.systems) > 2:
        scores = found.over(names)
        compared = compare(scores, [name for name in found.systems if len(scores[name]) == len(names)])
        text = (
            "Mean ranks; a bar joins systems that Wilcoxon's test with Holm's correction cannot tell apart at 5 % "
            f"(Friedman's p {compared.friedman_p:.2g})"
        )
        drawn.append(("quality-ranks.svg", text))
        (folder / "quality-ranks.svg").write_text(pictures.ranks(compared, found.titles, ours=OURS), encoding="utf-8")
    for system in found.systems if OURS in found.measured else ():
        if system == OURS:
            continue
        both = common_sets(found.scores, [OURS, system])
        points = [pictures.Point(name, found.scores[system][name], found.scores[OURS][name]) for name in both]
        file = f"quality-against-{system.replace(', ', '-').replace('_', '-')}.svg"
        drawn.append((file, f"{found.titles[OURS]} against {found.titles[system]}"))
        text = pictures.scatter(points, x=found.titles[system], y=found.titles[OURS])
        (folder / file).write_text(text, encoding="utf-8")
    return drawn


def page(found: Results, folder: Path) -> str:
    """The page of the documentation."""
    drawn = draw(found, folder / "pictures")
    images = "\n".join(f"![{text}](pictures/{file})" for file, text in drawn)
    parts = [("Quality", about(found)), ("## Means", markdown(means(found)))]
    parts += [(f"## {title}", markdown(table)) for title, table in sections(found) if len(table) > 1]
    body = "\n\n".join(f"{title}\n\n{text}" for title, text in parts)
    origin = (
        "Made by `python -m quality summary` from `benchmarks/records/quality.json`, which `make quality` measures."
    )
    return "\n\n".join(part for part in (f"# {body}", images, origin) if part) + "\n"


def sections(found: Results) -> list[tuple[str, Table]]:
    """The tables behind the first, with their titles."""
    return [
        ("One against the other, UCR sets of equal length", duels(found)),
        ("Time over all sets that every system was timed on", times(found)),
        ("Numbers to predict", regression(found)),
        ("Many series", many()),
        ("Every set", per_set(found)),
        ("Seconds of every set", per_set_times(found)),
    ]


def main(arguments: list[str]) -> int:
    """Print the tables; write the page and its pictures where the record is that of all sets."""
    parser = argparse.ArgumentParser(prog="quality summary", description=__doc__)
    parser.add_argument("--small", action="store_true", help="the record of the small selection; prints only")
    parser.add_argument("--record", type=Path)
    parser.add_argument("--page", type=Path, help="where to write the page; default: docs/quality.md, not for --small")
    args = parser.parse_args(arguments)
    path = args.record or (SMALL_RECORD if args.small else RECORD)
    if not path.exists():
        raise SystemExit(f"{path}: no record; `python -m quality run` writes it")
    found = Results(Record.read(path))
    print(about(found), end="\n\n")
    for title, table in [("Means", means(found)), *sections(found)]:
        if len(table) > 1:
            print(f"{title}\n\n{plain(table)}\n")
    page_path = args.page or (None if args.small or args.record else PAGE)
    if page_path is not None:
        page_path.write_text(page(found, page_path.parent), encoding="utf-8")
        print(page_path)
    return 0
