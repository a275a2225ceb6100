"""Tokens per second of up to 64 machines, computed from the speed of one: nothing of it is measured but that speed.

    python benchmarks/ranks_on_paper.py

R machines, P parameters, n tokens of an update, one machine computes s tokens per second, a link carries b bytes per
second in each direction, a message takes l seconds, and nothing overlaps:

    compute      n / (R s)
    gradients    all-to-all of slices      4 P (R - 1) / R bytes out of every machine, and as many in
    parameters   all-gather of slices      as much again
    rounds       4 MB at a time, each of the two with R - 1 messages

    update       n / (R s) + 2 · 4 P (R - 1) / (R b) + 2 · ceil(4 P / 4 MB) · (R - 1) l

Two ways to use more machines: the same update on all of them (64 rows), or 8 rows for each of them. The speed of one
machine is that of benchmarks/records/mpi.json, one rank of two threads with one virtual rank.
"""

import json
import math
from pathlib import Path
from typing import Final

RECORD: Final = Path(__file__).resolve().parent / "records/mpi.json"
SCALING: Final = Path(__file__).resolve().parent / "scaling.md"
TITLE: Final = "## several machines, computed"
MACHINES: Final = (1, 2, 4, 8, 16, 32, 64)
LINKS: Final = {"10 Gbit/s": 10e9 / 8, "25 Gbit/s": 25e9 / 8}
MESSAGE: Final = 30e-6
"""Seconds of a message over TCP between two machines of a data centre, assumed."""
ROUND: Final = 4 << 20
ROWS: Final = {"64 rows in all": lambda _: 64, "8 rows a machine": lambda machines: 8 * machines}


def seconds(machines: int, *, parameters: int, tokens: int, speed: float, link: float) -> float:
    """Of an update.

    >>> round(seconds(1, parameters=10**6, tokens=4096, speed=4096.0, link=1e9), 3)
    1.0
    >>> seconds(2, parameters=10**6, tokens=4096, speed=4096.0, link=1e9) > 0.504
    True
    """
    sent = 4 * parameters * (machines - 1) / machines
    messages = math.ceil(4 * parameters / ROUND) * (machines - 1)
    return tokens / (machines * speed) + 2 * sent / link + 2 * messages * MESSAGE


def lines() -> list[str]:
    """The section of scaling.md."""
    record = json.loads(RECORD.read_text())
    alone = {row["config"]: row for row in record["rows"] if (row["ranks"], row["virtual_ranks"]) == (1, 1)}
    text = [
        TITLE,
        "",
        f"Computed by `python benchmarks/ranks_on_paper.py` from the speed of one machine ({record['processor']},",
        f"{record['cores']} cores, {record['date']}, `benchmarks/records/mpi.json`); the formula is in its header.",
        "Nothing of it was tried on a cluster: tokens/s, and the share of R times one machine.",
    ]
    for name, row in sorted(alone.items()):
        for way, rows in ROWS.items():
            text += ["", f"### {name}, {row['parameters']:,} parameters, {row['length']} tokens a row, {way}", ""]
            text += ["| machines | " + " | ".join(f"{link} | share" for link in LINKS) + " |"]
            text += ["|---:|" + "---:|---:|" * len(LINKS)]
            for machines in MACHINES:
                cells = []
                for link in LINKS.values():
                    tokens = rows(machines) * row["length"]
                    size = {"parameters": row["parameters"], "tokens": tokens, "speed": row["tokens_per_s"]}
                    speed = tokens / seconds(machines, **size, link=link)
                    cells += [f"{speed:,.0f}", f"{speed / (machines * row['tokens_per_s']):.2f}"]
                text.append(f"| {machines} | " + " | ".join(cells) + " |")
    return text


def main() -> None:
    """Write the section into scaling.md."""
    before = SCALING.read_text(encoding="utf-8").partition(TITLE)[0].rstrip()
    SCALING.write_text("\n".join([before, "", *lines()]) + "\n", encoding="utf-8")
    print("\n".join(lines()))


if __name__ == "__main__":
    main()
