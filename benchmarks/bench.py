"""Tokens per second and peak memory of this package at S, M and Lb, and M with activation recomputation.

python benchmarks/bench.py [--threads 2]
"""

from __future__ import annotations

import argparse
import sys

from bench_peers import machine, run_peer


def main() -> int:
    """Prints one line per configuration."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2)
    threads = parser.parse_args().threads
    about = machine()
    print(f"{about['date']}  {about['processor']}  {about['simd']}  {threads} threads")
    print(f"{'configuration':<14} {'tokens/s':>10} {'step, ms':>10} {'peak, MB':>10}")
    failed = False
    for peer, config in (("ssm_hpn", "S"), ("ssm_hpn", "M"), ("ssm_hpn_recompute", "M"), ("ssm_hpn", "Lb")):
        row = run_peer(peer, config, threads)
        name = config + (" recompute" if peer.endswith("recompute") else "")
        if "error" in row:
            failed = True
            print(f"{name:<14} {row['error']}")
        else:
            print(f"{name:<14} {row['tokens_per_s']:>10,.0f} {row['step_ms']:>10,.1f} {row['peak_rss_mb']:>10,}")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
