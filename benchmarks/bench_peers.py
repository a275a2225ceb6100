"""This package beside its peers: one training step at S, M and Lb, in turns within one run.

    python benchmarks/bench_peers.py [--rounds 3] [--configs S,M,Lb] [--peers ...] [--out benchmarks/records]

Each round runs every peer once, each in a process of its own, so that what the machine does besides hits all alike; of
configurations that take seconds there are several rounds in one. A ratio is taken within a round; the median over the
rounds is reported. Peers that are not installed are left out and
named. `reachable` is computed by peers/roofline.py: the flops of the products at 90 % of the faster of PyTorch's and
numpy's sgemm, plus every other part at the speed of the C prototype of the scan, all measured in the same round.

Writes peers.json (rows with peer, config, threads, tokens_per_s, step_ms, peak_rss_mb, params), peers.md, and a copy of
both with the date.
"""

from __future__ import annotations

import argparse
import datetime as dt
import importlib.util
import itertools
import json
import os
import platform
import statistics
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
PEERS = HERE / "peers"
SCRIPTS = {
    "ssm_hpn": "peer_ssm_hpn.py",
    "ssm_hpn_recompute": "peer_ssm_hpn.py",
    "ssm_hpn_bf16": "peer_ssm_hpn.py",
    "jax_scan_ckpt": "peer_jax.py",
    "lstm": "peer_rnn_transformer.py",
    "transformer": "peer_rnn_transformer.py",
}
NEEDS = {"jax_scan_ckpt": ("jax", "optax"), "lstm": ("torch",), "transformer": ("torch",)}
REPEATS = {"S": 3}
"""Repetitions of a configuration in each round of `--rounds`, 1 for those not named: S takes only a second."""
TUNING = ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")
"""Variables that slow the matrix products of numpy down on some machines: unset for every peer."""
PRODUCTS = """
import importlib.util, json
import numpy as np
from threadpoolctl import threadpool_info

np.ones((8, 8), np.float32) @ np.ones((8, 8), np.float32)
torch = None
if importlib.util.find_spec("torch"):
    import torch
found = {
    " ".join(str(row[key]) for key in ("internal_api", "version", "architecture") if row.get(key))
    for row in threadpool_info()
    if row["user_api"] == "blas"
}
if torch is not None:
    mkl = "MKL" if torch.backends.mkl.is_available() else "no MKL"
    found.add(f"PyTorch with {mkl}, {torch.backends.cpu.get_cpu_capability()}")
print(json.dumps(sorted(found)))
"""
"""Program that tells which kernels the products of numpy and PyTorch use."""
COLUMNS = ("peer", "config", "threads", "tokens_per_s", "step_ms", "peak_rss_mb", "params")
Row = dict[str, Any]


def installed(peer: str) -> bool:
    """Whether the packages that a peer needs are there."""
    return all(importlib.util.find_spec(name) is not None for name in NEEDS.get(peer, ()))


def without_tuning() -> dict[str, str]:
    """The environment without the variables of `TUNING`."""
    return {name: value for name, value in os.environ.items() if name not in TUNING}


def run_peer(peer: str, config: str, threads: int) -> Row:
    """One step's figures of one peer in a process of its own."""
    env = without_tuning() | {"BENCH_THREADS": str(threads)}
    command = [sys.executable, SCRIPTS[peer], "--child", peer, config]
    done = subprocess.run(command, cwd=PEERS, env=env, capture_output=True, text=True, timeout=900, check=False)
    rows = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    if not rows:
        last = (done.stderr.strip().splitlines() or ["no output"])[-1]
        return {"peer": peer, "config": config, "threads": threads, "error": last[:300]}
    return dict(rows[0])


def numpy_sgemm(threads: int) -> float:
    """GFLOP/s of numpy's product at the size at which roofline.py measures PyTorch's."""
    code = (
        "import numpy as np, time\n"
        "a, b = (np.random.default_rng(i).normal(size=(2048, 2048)).astype(np.float32) for i in (0, 1))\n"
        "c = a @ b; ts = []\n"
        "for _ in range(25):\n"
        "    t = time.perf_counter(); np.matmul(a, b, out=c); ts.append(time.perf_counter() - t)\n"
        "print(2 * 2048**3 / sorted(ts)[len(ts) // 2] * 1e-9)\n"
    )
    env = without_tuning() | {"OPENBLAS_NUM_THREADS": str(threads), "OMP_NUM_THREADS": str(threads)}
    return float(
        subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True).stdout
    )


def reachable(configs: list[str], threads: int) -> list[Row]:
    """The computed row, from the roofline script with the faster of the two sgemm."""
    if importlib.util.find_spec("torch") is None:
        return []
    env = without_tuning() | {"OMP_NUM_THREADS": str(threads)}
    done = subprocess.run(
        [sys.executable, "roofline.py", *configs], cwd=PEERS, env=env, capture_output=True, text=True, check=False
    )
    numpy_peak, out = numpy_sgemm(threads), []
    for line in done.stdout.splitlines():
        if not line.startswith("{"):
            continue
        row = json.loads(line)
        # roofline.py divides by PyTorch's peak; where numpy's is higher the products could be that much faster
        peak = max(row["sgemm_peak"], numpy_peak)
        products = row["gemm_ms"] * row["sgemm_peak"] / peak
        step_ms = row["step_ms"] - row["gemm_ms"] + products
        tokens = row["tokens_per_s"] * row["step_ms"] * 1e-3
        parts = {k: row[k] for k in row if k.endswith("_ms") and k != "step_ms"}
        out.append(
            {
                "peer": "reachable",
                "config": row["config"],
                "threads": threads,
                "tokens_per_s": round(tokens / step_ms * 1e3, 1),
                "step_ms": round(step_ms, 2),
                "peak_rss_mb": None,
                "params": row["params"],
                "sgemm_torch": row["sgemm_peak"],
                "sgemm_numpy": round(numpy_peak, 1),
                "parts": {**parts, "gemm_ms": round(products, 2)},
            }
        )
    return out


def products_by() -> str:
    """The kernels of the peers' products, as threadpoolctl and PyTorch tell, in the environment of the peers."""
    done = subprocess.run(
        [sys.executable, "-c", PRODUCTS], env=without_tuning(), capture_output=True, text=True, check=False
    )
    if done.returncode:
        return f"unknown: {(done.stderr.strip().splitlines() or ['no output'])[-1][:200]}"
    return "; ".join(json.loads(done.stdout))


def machine() -> dict[str, str]:
    """Date, processor, instruction set, versions."""
    from ssm_hpn import _core

    processor = platform.processor()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        names = [
            line.split(":", 1)[1].strip() for line in cpuinfo.read_text().splitlines() if line.startswith("model name")
        ]
        processor = f"{names[0]}, {len(names)} cores" if names else processor
    found = {
        "date": dt.datetime.now(dt.UTC).date().isoformat(),
        "processor": processor,
        "simd": _core.simd(),
        "bf16_unit": _core.bf16_unit(),
        "products": products_by(),
    }
    for name in ("ssm-hpn", "numpy", "jax", "torch"):
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = _core.__version__ if name == "ssm-hpn" else "not installed"
    return found


def medians(rounds: list[list[Row]]) -> list[Row]:
    """One row per peer and configuration: medians over the rounds, and of the ratios to our row within a round."""
    out = []
    for peer, config in dict.fromkeys((r["peer"], r["config"]) for rows in rounds for r in rows):
        found = [(r, rows) for rows in rounds for r in rows if (r["peer"], r["config"]) == (peer, config)]
        good = [(r, rows) for r, rows in found if "error" not in r]
        if not good:
            out.append(found[0][0])
            continue
        row = dict(good[0][0])
        for key in ("tokens_per_s", "step_ms"):
            row[key] = round(statistics.median(r[key] for r, _ in good), 2)
        if row.get("peak_rss_mb") is not None:
            row["peak_rss_mb"] = max(r["peak_rss_mb"] for r, _ in good)
        ours = [
            (mine["tokens_per_s"] / r["tokens_per_s"])
            for r, rows in good
            for mine in rows
            if mine["peer"] == "ssm_hpn" and mine["config"] == config and "error" not in mine
        ]
        row["ssm_hpn_ratio"] = round(statistics.median(ours), 3) if ours else None
        out.append(row)
    return out


def markdown(rows: list[Row], about: dict[str, str], rounds: int) -> str:
    """The table of results, as Markdown."""
    lines = [
        f"# One training step, tokens per second ({about['date']})",
        "",
        f"{about['processor']}, {about['simd']}; "
        + ", ".join(f"{k} {about[k]}" for k in ("ssm-hpn", "numpy", "jax", "torch"))
        + ".",
        f"Medians of {rounds} rounds in turns (S: {rounds * REPEATS['S']}); *ratio*: ours by theirs, within a round.",
        "Command: `make bench-peers`. Forward, backward, clipping and AdamW in float32; of `ssm_hpn_bf16` the factors",
        f"of products are in bf16 ({about['bf16_unit']}). Not set: {', '.join(TUNING)}.",
        f"Products of the peers: {about['products']}.",
        "",
        "| configuration | | tokens/s | step, ms | peak memory, MB | ratio |",
        "|---|---|---:|---:|---:|---:|",
    ]
    for row in rows:
        if "error" in row:
            lines.append(f"| {row['config']} | {row['peer']} | {row['error']} | | | |")
            continue
        memory = "" if row["peak_rss_mb"] is None else f"{row['peak_rss_mb']:,}"
        ratio = "" if row.get("ssm_hpn_ratio") is None else f"{row['ssm_hpn_ratio']:.2f}"
        speed, step = f"{row['tokens_per_s']:,.0f}", f"{row['step_ms']:,.1f}"
        lines.append(f"| {row['config']} | {row['peer']} | {speed} | {step} | {memory} | {ratio} |")
    return "\n".join(lines) + "\n"


def main() -> int:
    """Runs the rounds and writes the records."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--configs", default="S,M,Lb")
    parser.add_argument("--peers", default=",".join(SCRIPTS))
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path, default=HERE / "records")
    args = parser.parse_args()
    configs = args.configs.split(",")
    asked = args.peers.split(",")
    peers = [peer for peer in asked if installed(peer)]
    for peer in set(asked) - set(peers):
        print(f"{peer}: not installed, left out ({', '.join(NEEDS[peer])})", flush=True)
    rounds: list[list[Row]] = []
    for number, repeat in itertools.product(range(args.rounds), range(max(REPEATS.values()))):
        due = [config for config in configs if repeat < REPEATS.get(config, 1)]
        rows: list[Row] = []
        for config in due:
            for peer in peers:
                if peer == "ssm_hpn_recompute" and config != "M":
                    continue
                rows.append(run_peer(peer, config, args.threads))
                print(f"round {number + 1}: {json.dumps({k: rows[-1].get(k) for k in COLUMNS})}", flush=True)
        if due:
            rounds.append(rows + reachable(due, args.threads))
    about = machine()
    rows = sorted(medians(rounds), key=lambda r: configs.index(r["config"]))
    text = markdown(rows, about, args.rounds)
    args.out.mkdir(parents=True, exist_ok=True)
    for stem in ("peers", f"peers-{about['date']}"):
        (args.out / f"{stem}.json").write_text(json.dumps([{**row, "machine": about} for row in rows], indent=1) + "\n")
        (args.out / f"{stem}.md").write_text(text)
    print(text)
    return 1 if any("error" in row for row in rows) else 0


if __name__ == "__main__":
    sys.exit(main())
