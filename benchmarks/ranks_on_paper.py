"""Tokens per second of up to 64 machines, computed from the speed of one: nothing of it is measured but that speed.

    python benchmarks/ranks_on_paper.py [--record FILE] [--out FILE]

R machines, P parameters, n tokens of an update, one machine computes s tokens per second, a link carries b bytes per
second in each direction, a message takes l seconds, and nothing overlaps:

    compute      C = n / (R s)
    gradients    G = 4 P (R - 1) / (R b) + ceil(4 P / 4 MB) · (R - 1) l     all-to-all of slices, 4 MB at a time
    parameters   as much again                                             all-gather of slices
    update       C + 2 G

Gradients of the last virtual rank are exchanged during its backward pass. The most that this can hide is
min(G, 2/3 C), as with one virtual rank for each machine that pass takes about two thirds of C; "hidden" in the tables
is the share with that.

Two ways to use more machines: the same update on all of them (64 rows), or 8 rows for each of them. The speed of one
machine is that of benchmarks/records/mpi.json, one rank of two threads with one virtual rank.
"""

import argparse
import json
import math
from pathlib import Path
from typing import Any, Final

RECORD: Final = Path(__file__).resolve().parent / "records/mpi.json"
SCALING: Final = Path(__file__).resolve().parent / "scaling.md"
TITLE: Final = "## several machines, computed"
MACHINES: Final = (1, 2, 4, 8, 16, 32, 64)
LINKS: Final = {"10 Gbit/s": 10e9 / 8, "25 Gbit/s": 25e9 / 8}
MESSAGE: Final = 30e-6
"""Seconds of a message over TCP between two machines of a data centre, assumed."""
ROUND: Final = 4 << 20
ROWS: Final = {"64 rows in all": lambda _: 64, "8 rows a machine": lambda machines: 8 * machines}


def exchange_seconds(machines: int, *, parameters: int, link: float) -> float:
    """Of the gradients and the parameters of an update.

    >>> round(exchange_seconds(2, parameters=10**6, link=1e8), 4)
    0.0401
    """
    sent = 4 * parameters * (machines - 1) / machines
    messages = math.ceil(4 * parameters / ROUND) * (machines - 1)
    return 2 * (sent / link + messages * MESSAGE)


def seconds(machines: int, *, parameters: int, tokens: int, speed: float, link: float, hidden: bool = False) -> float:
    """Of an update; `hidden`: with as much of the exchange of gradients as fits into the backward pass.

    >>> model = {"parameters": 10**6, "tokens": 4096, "speed": 4096.0, "link": 1e9}
    >>> [round(seconds(machines, **model), 3) for machines in (1, 2)]
    [1.0, 0.504]
    >>> round(seconds(2, **model, hidden=True), 3)
    0.502
    """
    compute = tokens / (machines * speed)
    exchange = exchange_seconds(machines, parameters=parameters, link=link)
    return compute + exchange - (min(exchange / 2, 2 / 3 * compute) if hidden else 0.0)


def lines(path: Path = RECORD) -> list[str]:
    """The section of scaling.md, from a record."""
    record: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    alone = {row["config"]: row for row in record["rows"] if (row["ranks"], row["virtual_ranks"]) == (1, 1)}
    text = [
        TITLE,
        "",
        f"Computed by `python benchmarks/ranks_on_paper.py` from the speed of one machine ({record['processor']},",
        f"{record['cores']} cores, {record['date']}, `benchmarks/records/mpi.json`); the formula is in its header.",
        "Nothing of it was tried on a cluster. Share: of R times one machine, where nothing overlaps; hidden: the",
        "share where as much of the exchange of gradients as fits goes on during the backward pass.",
    ]
    for name, row in sorted(alone.items()):
        for way, rows in ROWS.items():
            text += ["", f"### {name}, {row['parameters']:,} parameters, {row['length']} tokens a row, {way}", ""]
            text += ["| machines | " + " | ".join(f"{link}, tokens/s | share | hidden" for link in LINKS) + " |"]
            text += ["|---:|" + "---:|---:|---:|" * len(LINKS)]
            for machines in MACHINES:
                cells = []
                for link in LINKS.values():
                    tokens, speed = rows(machines) * row["length"], row["tokens_per_s"]
                    model = {"parameters": row["parameters"], "tokens": tokens, "speed": speed, "link": link}
                    found, hidden = (tokens / seconds(machines, **model, hidden=how) for how in (False, True))
                    cells += [f"{found:,.0f}", *(f"{one / (machines * speed):.2f}" for one in (found, hidden))]
                text.append(f"| {machines} | " + " | ".join(cells) + " |")
    return text


def main() -> None:
    """Write the section at the end of scaling.md."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--record", type=Path, default=RECORD)
    parser.add_argument("--out", type=Path, default=SCALING)
    chosen = parser.parse_args()
    section = lines(chosen.record)
    before = chosen.out.read_text(encoding="utf-8").partition(TITLE)[0].rstrip()
    chosen.out.write_text("\n".join([before, "", *section]) + "\n", encoding="utf-8")
    print("\n".join(section))


if __name__ == "__main__":
    main()
