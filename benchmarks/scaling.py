"""How the time and memory of a training step grow with length, batch, width, depth and state size, and with threads.

    python benchmarks/scaling.py [--out benchmarks/scaling.md] [--quick] [--only-threads]

Every point runs in a process of its own; points are taken in turns, `ROUNDS` times, and medians are reported, of ratios
the medians of those within a round. S, M and Lb are the configurations of the peers' benchmark, run by its script. The
last section is computed from operations and bytes, not measured, and says so.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import ranks_on_paper

BASE = {"d_model": 128, "n_layers": 4, "d_state": 16, "batch": 8, "length": 256}
SWEEPS: dict[str, list[int]] = {
    "length": [64, 256, 1024, 4096],
    "batch": [1, 2, 8, 32],
    "d_model": [64, 128, 256, 512],
    "n_layers": [1, 2, 4, 8],
    "d_state": [4, 8, 16, 32],
}
LONG = {**BASE, "batch": 1}
LONG_LENGTHS = [8192, 32768, 131072]
CONFIGS = ("S", "M", "Lb")
PEERS = Path(__file__).resolve().parent / "peers"
ROUNDS = 3
Point = dict[str, Any]


def child(point: Point) -> None:
    """Times one point and prints a JSON line: milliseconds of a step, peak memory and that before the first step."""
    import numpy as np

    from ssm_hpn import Trainer

    trainer = Trainer(
        {
            "model": {
                "input": {"kind": "tokens", "vocab_size": 256},
                "d_model": point["d_model"],
                "n_layers": point["n_layers"],
                "block": {"kind": "mamba1", "d_state": point["d_state"]},
                "target": {"kind": "next_token"},
                "head": {"kind": "linear", "n_outputs": 256, "loss": "softmax", "tied": True},
            },
            "optim": {"lr": 1e-3, "schedule": {"kind": "constant", "warmup": 0}},
            "train": {"threads": point["threads"]},
        }
    )
    tokens = np.random.default_rng(0).integers(0, 256, (point["batch"], point["length"] + 1))
    batch = {"tokens": tokens[:, :-1].astype(np.uint32), "token_class": tokens[:, 1:].astype(np.int32)}
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    times, start = [], time.perf_counter()
    while len(times) < 3 or (time.perf_counter() - start < 1.5 and len(times) < 200):
        t = time.perf_counter()
        trainer.step(batch)
        times.append(time.perf_counter() - t)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"ms": 1e3 * statistics.median(times[1:]), "peak_mb": peak, "before_mb": before}))


def run(point: Point) -> Point:
    """One measurement of one point in a process of its own."""
    if "config" in point:
        command = [sys.executable, "peer_ssm_hpn.py", "--child", "ssm_hpn", point["config"]]
        env = {**os.environ, "BENCH_THREADS": str(point["threads"])}
        done = subprocess.run(command, cwd=PEERS, env=env, capture_output=True, text=True, check=True)
        row = next(json.loads(line) for line in done.stdout.splitlines() if line.startswith("{"))
        return {"ms": row["step_ms"], "peak_mb": row["peak_rss_mb"], "before_mb": row["rss_after_import_mb"]}
    command = [sys.executable, __file__, "--child", json.dumps(point)]
    return dict(json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout))


def measure(points: list[Point], rounds: int) -> list[Point]:
    """Medians over the rounds, in which the points take turns, and `all_ms`, the time of each round."""
    found: list[list[Point]] = [[] for _ in points]
    for number in range(rounds):
        for point, results in zip(points, found, strict=True):
            results.append(run(point))
            about = ", ".join(f"{key} {value}" for key, value in point.items())
            print(f"round {number + 1} of {rounds}: {results[-1]['ms']:,.1f} ms a step  ({about})", flush=True)
    return [
        {
            **point,
            **{key: statistics.median(r[key] for r in results) for key in results[0]},
            "all_ms": [r["ms"] for r in results],
        }
        for point, results in zip(points, found, strict=True)
    ]


def thread_counts(cores: int) -> list[int]:
    """1, 2, 4, … up to the number of cores, and that number."""
    powers = [1 << power for power in range(cores.bit_length()) if 1 << power <= cores]
    return powers if powers[-1] == cores else [*powers, cores]


def threads_line(points: list[Point], label: str) -> str:
    """One row of the table of threads: milliseconds by number of threads, and how much faster the most are than one."""
    ratio = statistics.median(a / b for a, b in zip(points[0]["all_ms"], points[-1]["all_ms"], strict=True))
    return f"| {label} | " + " | ".join(f"{point['ms']:,.1f}" for point in points) + f" | {ratio:.2f} |"


def threads_table(results: list[Point], counts: list[int]) -> list[str]:
    """The section on threads; the results come by configuration, then by number of threads."""
    by_label = [results[i : i + len(counts)] for i in range(0, len(results), len(counts))]
    many = f"one row of {LONG_LENGTHS[-1]:,} tokens"
    head = " | ".join(f"{count} thread{'s' * (count > 1)}, ms" for count in counts)
    text = ["", "## Threads", "", f"| | {head} | ratio |", "|---|" + "---:|" * (len(counts) + 1)]
    return text + [threads_line(points, points[0].get("config", many)) for points in by_label]


def line(point: Point, label: str) -> str:
    """One row of a table."""
    tokens = point["batch"] * point["length"]
    speed, own = tokens / point["ms"] * 1e3, point["peak_mb"] - point["before_mb"]
    return f"| {label} | {point['ms']:,.1f} | {speed:,.0f} | {own:,.0f} |"


def computed(base: Point) -> str:
    """The resource that would limit other machines, computed from operations and bytes of a step at `base`."""
    d, n, layers, tokens = base["d_model"], base["d_state"], base["n_layers"], base["batch"] * base["length"]
    inner, rank = 2 * d, -(-d // 16)
    # forward and twice as much backward; the step sizes are computed again
    products = (6 * (3 * d * inner + inner * (rank + 2 * n) + inner * rank) + 2 * inner * rank) * layers + 6 * d * 256
    # the scan: forward exp (9 operations), state (3), output (2); backward the same again and 12 for the gradients
    scan = (14 + 14 + 12) * inner * n * layers
    # kept and read again: stream, xz, conv output, x_proj output, states of chunks; 4 bytes, written and read
    traffic = 2 * 4 * (d + (3 + n / 32) * inner + rank + 2 * n) * 3 * layers
    machines = (
        # name, cores, products GFLOP/s per core, vector GFLOP/s per core, GB/s of memory
        ("2 cores, AVX2, 3.2 GHz", 2, 90, 40, 40),
        ("64 cores, AVX2, 2.5 GHz, 8 channels", 64, 70, 30, 200),
        ("64 cores, AVX-512, 2.6 GHz, 12 channels", 64, 140, 60, 400),
        ("64 cores, NEON, 2.6 GHz, 8 channels", 64, 38, 17, 250),
    )
    rows = [
        "| machine (computed) | products, µs/token | scan, µs/token | memory, µs/token | limited by |",
        "|---|---:|---:|---:|---|",
    ]
    for name, cores, gemm, vector, bandwidth in machines:
        parts = {
            "products": products / (cores * gemm * 1e3),
            "scan": scan / (cores * vector * 1e3),
            "memory": traffic / (bandwidth * 1e3),
        }
        # products and scan share the cores; memory runs beside them
        bound = "memory" if parts["memory"] > parts["products"] + parts["scan"] else max(parts, key=parts.__getitem__)
        rows.append(f"| {name} | " + " | ".join(f"{value:.3f}" for value in parts.values()) + f" | {bound} |")
    return (
        "\n".join(rows)
        + f"\n\n{tokens:,} tokens a step: with fewer rows than cores the scan is split over channel blocks.\n"
        "The speeds of these machines are assumed. NEON (64-bit Arm) is built and tested by the workflow alone, and\n"
        "nobody has seen it run yet."
    )


def main() -> None:
    """Measures, and writes the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "scaling.md")
    parser.add_argument("--quick", action="store_true", help="one round")
    parser.add_argument("--only-threads", action="store_true", help="only the section on threads")
    parser.add_argument("--child", type=json.loads, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child is not None:
        child(args.child)
        return
    from bench_peers import machine

    cores, rounds = os.cpu_count() or 1, 1 if args.quick else ROUNDS
    counts, longest = thread_counts(cores), {**LONG, "length": LONG_LENGTHS[-1]}
    sweeps = [(key, {**BASE, key: value, "threads": cores}) for key, values in SWEEPS.items() for value in values]
    long = [{**LONG, "length": length, "threads": cores} for length in LONG_LENGTHS]
    if args.only_threads:
        sweeps, long = [], []
    threads = [{"config": config, "threads": count} for config in CONFIGS for count in counts]
    threads += [{**longest, "threads": count} for count in counts]
    results = measure([point for _, point in sweeps] + long + threads, rounds)
    about = machine()
    command = "python benchmarks/scaling.py" + " --only-threads" * args.only_threads
    text = [
        "# Scaling",
        "",
        f"{about['date']}, {about['processor']}, {about['simd']}; `{command}`, medians of {rounds}.",
        f"A step (forward, backward, clip, AdamW) is one `Trainer.step()`; {cores} threads; tied head over 256.",
    ]
    if sweeps:
        base = ", ".join(f"{key} {value}" for key, value in BASE.items())
        text.append(f"Base: {base}. Memory is what the steps add to the process.")
    header = ["", "| | step, ms | tokens/s | memory, MB |", "|---|---:|---:|---:|"]
    for key in dict.fromkeys(name for name, _ in sweeps):
        text += ["", f"## {key}", *header]
        pairs = zip(sweeps, results, strict=False)
        text += [line(result, f"{key} {point[key]}") for (name, point), result in pairs if name == key]
    rest = results[len(sweeps) :]
    if long:
        text += ["", "## One long sequence (batch 1)", *header]
        text += [line(r, f"length {r['length']:,}, {r['threads']} threads") for r in rest[: len(long)]]
    text += threads_table(rest[len(long) :], counts)
    if not args.only_threads:
        text += ["", "## Other machines: computed, not measured", "", computed(BASE)]
    if ranks_on_paper.RECORD.exists() and not args.only_threads:
        text += ["", *ranks_on_paper.lines()]
    args.out.write_text("\n".join(text) + "\n", encoding="utf-8")
    print("\n".join(text))


if __name__ == "__main__":
    main()
