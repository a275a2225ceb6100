"""Largest cosines of prototypes beside the published procedure and a lower bound.

    python benchmarks/prototypes/table.py [--out PATH.json] [--page docs/prototypes.md] [--times]

Each cell is printed as it is done; the record has rows of `classes, dim, ours, published, published_momentum, bound,
seconds`, the page the same as a table. `seconds` is the time of ours. With --times the published columns of the record
stay, and ours are measured again.
"""

import argparse
import datetime as dt
import json
import os
import platform
import re
import time
from pathlib import Path

from published import separated

from ssm_hpn.prototypes import largest_cosine, lower_bound, place
from ssm_hpn.storage import write_whole

CLASSES = (10, 100, 200, 1000)
DIMS = (3, 10, 25, 50, 100)
HERE = Path(__file__).parents[2]
BEGIN, END = "<!-- table of cosines -->", "<!-- end of the table -->"


def cell(classes: int, dim: int, seed: int, known: dict[str, float] | None) -> tuple[dict[str, float], str]:
    """One row of the record, and how ours are made; `known` is the row of the record, whose published columns stay."""
    started = time.perf_counter()
    placed = place(classes, dim, seed=seed)
    seconds = time.perf_counter() - started
    row: dict[str, float] = {"classes": classes, "dim": dim, "ours": round(largest_cosine(placed.prototypes), 6)}
    for name, momentum in PUBLISHED.items():
        there = None if known is None else known[name]
        row[name] = there or round(largest_cosine(separated(classes, dim, momentum=momentum)), 6)
    return row | {"bound": round(lower_bound(classes, dim), 6), "seconds": round(seconds, 4)}, placed.construction


PUBLISHED = {"published": False, "published_momentum": True}


def processor() -> str:
    """The processor's name."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def table(rows: list[dict[str, float]], made: list[str]) -> str:
    """The rows in markdown."""
    lines = [
        "| classes | dimension | ours | published | with momentum | lower bound | made as | seconds |",
        "|---:|---:|---:|---:|---:|---:|---|---:|",
    ]
    for row, how in zip(rows, made, strict=True):
        cosines = " | ".join(f"{row[name]:.4f}" for name in ("ours", *PUBLISHED, "bound"))
        lines.append(f"| {row['classes']:,} | {row['dim']} | {cosines} | {how} | {row['seconds']:.3f} |")
    return "\n".join(lines)


def main() -> None:
    """Measure, print, record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--out", type=Path, default=HERE / "benchmarks/records/prototypes.json")
    parser.add_argument("--page", type=Path, default=HERE / "docs/prototypes.md")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--times", action="store_true")
    given = parser.parse_args()
    rows, made = [], []
    record = json.loads(given.out.read_text(encoding="utf-8"))["rows"] if given.times else []
    known = {(row["classes"], row["dim"]): row for row in record}
    for classes in CLASSES:
        for dim in DIMS:
            row, how = cell(classes, dim, given.seed, known.get((classes, dim)))
            rows.append(row)
            made.append(how)
            print(table([row], [how]).splitlines()[-1], flush=True)
    header = {
        "processor": f"{processor()}, {os.cpu_count()} processors",
        "date": dt.datetime.now(dt.UTC).date().isoformat(),
        "seed": given.seed,
        "load": round(os.getloadavg()[0], 1) if hasattr(os, "getloadavg") else None,
    }
    lines = ",\n".join(f"  {json.dumps(row)}" for row in rows)
    write_whole(given.out, f'{{"header": {json.dumps(header)},\n"rows": [\n{lines}\n]}}\n')
    busy = f" (load average {header['load']}: other programs ran too)" if (header["load"] or 0) > os.cpu_count() else ""
    text = given.page.read_text(encoding="utf-8")
    block = f"{BEGIN}\n{table(rows, made)}\n\nMeasured on {header['processor']}, {header['date']}{busy}.\n{END}"
    write_whole(given.page, re.sub(f"{BEGIN}.*?{END}", lambda _: block, text, flags=re.DOTALL))
    print(table(rows, made))


if __name__ == "__main__":
    main()
