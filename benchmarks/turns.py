"""Two builds of this package, step by step in turns: is the new one slower than the old one?

    python benchmarks/turns.py OLD NEW [--pairs 15] [--configs S,M,Lb]

OLD and NEW are checkouts with their compiled core (`make build`). Each pair runs one process of each, which of the two
first changes from pair to pair, so that what the machine does besides hits both alike. Printed per configuration: the
median of the ratios new speed / old speed, and between which two of the ordered ratios it lies with 95 % (of 15 pairs
the 4th and the 12th, by the binomial distribution).
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import subprocess
import sys
from pathlib import Path

from bench_peers import PEERS, machine, without_tuning


def tokens_per_second(checkout: Path, config: str, threads: int) -> float:
    """Speed of one process with the package of a checkout."""
    env = without_tuning() | {"BENCH_THREADS": str(threads), "PYTHONPATH": str(checkout / "python")}
    command = [sys.executable, "peer_ssm_hpn.py", "--child", "ssm_hpn", config]
    done = subprocess.run(command, cwd=PEERS, env=env, capture_output=True, text=True, check=True)
    return float(json.loads(done.stdout)["tokens_per_s"])


def interval(ratios: list[float]) -> tuple[float, float]:
    """Between which two of the ordered ratios the median lies with at least 95 %."""
    ordered, n = sorted(ratios), len(ratios)
    k = 0  # the largest number with P(at most k of n lie below the median) <= 2.5 %
    while sum(math.comb(n, i) for i in range(k + 1)) <= 0.025 * 2**n:
        k += 1
    return ordered[max(k - 1, 0)], ordered[min(n - k, n - 1)]


def main() -> int:
    """Print one line per configuration."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("old", type=Path)
    parser.add_argument("new", type=Path)
    parser.add_argument("--pairs", type=int, default=15)
    parser.add_argument("--configs", default="S,M,Lb")
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    about = machine()
    print(f"{about['date']}  {about['processor']}  {about['simd']}  {args.threads} threads  {args.pairs} pairs")
    for config in args.configs.split(","):
        ratios = []
        for pair in range(args.pairs):
            order = (args.old, args.new) if pair % 2 == 0 else (args.new, args.old)
            speed = {path: tokens_per_second(path.resolve(), config, args.threads) for path in order}
            ratios.append(speed[args.new] / speed[args.old])
        low, high = interval(ratios)
        print(f"{config:<3} new / old {statistics.median(ratios):.3f}  ({low:.3f} to {high:.3f})", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
