"""The least time of a training step by the machine's arithmetic and memory, part by part, and the time it takes.

    python benchmarks/limit.py [S M Lb] [--threads 2]

    limit = Σ_parts max(instructions / rate, bytes / bandwidth)        share = limit / measured

A part is a product, or a forward or backward pass of a kernel, over all layers. Its instructions are those of vectors
that its formula needs (docs/mathematics.md), counted for each number of a lane: a multiply-add, an addition or a
multiplication is one, an exponential `EXP`, a division `DIVISION`. Its bytes are those of its inputs and outputs, each
read or written once. The rates are measured before, in the same run, by `products/src/bin/machine.rs`: multiply-adds of
registers, and GB/s of arrays of some sizes, of which that counts whose size is next to the part's arrays of one layer.
Reached are the phases of the core's own profile, and the whole step without a profile.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench_peers import machine
from peers.bench_common import CONFIGS

HERE = Path(__file__).resolve().parent
EXP, DIVISION = 10, 1
SOFTPLUS = 2 * EXP
"""An exponential and a logarithm."""
SILU = EXP + DIVISION + 2
CHUNK = 32
"""Tokens between two kept states of the scan."""
STEPS = 7


@dataclass(frozen=True)
class Part:
    """Work in all layers: instructions for each lane, numbers read and written, and those of one layer's arrays."""

    phase: str
    name: str
    instructions: float
    numbers: float
    arrays: float


def parts(c: dict[str, Any]) -> list[Part]:
    """The parts of a step of a Mamba-1 model with a linear head."""
    m, d, n, k, layers = c["batch"] * c["seq"], c["d_model"], c["d_state"], c["d_conv"], c["n_layer"]
    i, r, v = c["expand"] * d, math.ceil(d / 16), c["vocab"] if c["head"] else 0
    found: list[Part] = []

    def add(phase: str, name: str, instructions: float, numbers: float, times: int = layers) -> None:
        found.append(Part(phase, name, instructions * times, numbers * times, numbers))

    for name, outputs, inputs in (
        ("in_proj", 2 * i, d),
        ("x_proj", r + 2 * n, i),
        ("dt_proj", i, r),
        ("out_proj", d, i),
    ):
        numbers = m * inputs + m * outputs + outputs * inputs
        for form in ("y", "dx", "dw"):
            # delta is computed again in the backward pass
            times = 2 if (name, form) == ("dt_proj", "y") else 1
            add("products", f"{name} {form}", times * m * outputs * inputs, times * numbers)
    add("conv", "forward", m * i * (k + SILU), 2 * m * i)
    add("conv", "backward", m * i * (3 * k + SILU + 4), 4 * m * i)
    states = m * i * n
    add("scan", "forward", states * (EXP + 4) + m * i * (SOFTPLUS + SILU + 2), 4 * m * i + states / CHUNK + 2 * m * n)
    add(
        "scan",
        "backward",
        states * (EXP + 13) + m * i * (2 * SOFTPLUS + SILU + 8),
        8 * m * i + states / CHUNK + 4 * m * n,
    )
    add("norm", "forward", 4 * m * d, 2 * m * d)
    add("norm", "backward", 12 * m * d, 5 * m * d)
    layer = d + 2 * i * d + i * k + i + (r + 2 * n) * i + i * r + i + i * n + i + i * d
    parameters = layers * layer + d + v * d
    if v:
        add("embedding", "forward", 0, 2 * m * d, 1)
        add("embedding", "backward", m * d, 3 * m * d, 1)
        add("head", "products", 3 * m * v * d, 4 * m * v + 3 * m * d + 3 * v * d, 1)
        add("head", "softmax", m * v * (EXP + 4), 2 * m * v, 1)
    add("optimiser", "norm of the gradient", parameters, parameters, 1)
    add("optimiser", "update", 12 * parameters, 8 * parameters, 1)
    return found


def rates(threads: int) -> dict[str, Any]:
    """What the machine reaches."""
    manifest = HERE / "products/Cargo.toml"
    command = ["cargo", "run", "--release", "--quiet", "--manifest-path", str(manifest), "--bin", "machine"]
    done = subprocess.run([*command, "--", str(threads)], capture_output=True, text=True, check=True)
    return dict(json.loads(done.stdout))


def least_seconds(part: Part, rate: dict[str, Any]) -> tuple[float, str]:
    """The larger of the two times, and what bounds it."""
    megabytes = part.arrays * 4 / 2**20
    row = next((row for row in rate["gbytes"] if row[0] >= megabytes), rate["gbytes"][-1])
    arithmetic, memory = part.instructions * 2 / rate["gflops"] * 1e-9, part.numbers * 4 / row[3] * 1e-9
    return max((arithmetic, "arithmetic"), (memory, "memory"))


def reached(name: str, threads: int) -> tuple[float, dict[str, float]]:
    """Seconds of a step, the median, and of its phases in a profile."""
    from peers.peer_ssm_hpn import trainer_and_batch

    trainer, batch = trainer_and_batch(name, CONFIGS[name], threads)
    for _ in range(2):
        trainer.step(batch)
    taken = []
    for _ in range(STEPS):
        began = time.perf_counter()
        trainer.step(batch)
        taken.append(time.perf_counter() - began)
    trainer.session.profile_start()
    for _ in range(3):
        trainer.step(batch)
    phases = {phase: row["seconds"] / 3 for phase, row in trainer.session.profile_take().items()}
    return statistics.median(taken), phases


def table(name: str, rate: dict[str, Any], threads: int) -> list[str]:
    """The rows of one configuration."""
    found = parts(CONFIGS[name])
    seconds, measured = reached(name, threads)
    lines = [
        f"### {name}",
        "",
        "| phase | part | least, ms | bound by | phase reached, ms | share |",
        "|---|---|---:|---|---:|---:|",
    ]
    total = 0.0
    for phase in dict.fromkeys(part.phase for part in found):
        of_phase = [(part, *least_seconds(part, rate)) for part in found if part.phase == phase]
        least = sum(time for _, time, _ in of_phase)
        total += least
        lines += [f"| {phase} | {part.name} | {1e3 * time:.2f} | {bound} | | |" for part, time, bound in of_phase]
        spent = measured.get(phase, math.nan)
        lines.append(f"| **{phase}** | | {1e3 * least:.2f} | | {1e3 * spent:.2f} | {least / spent:.2f} |")
    other = measured.get("other", 0.0)
    lines.append(f"| other | | 0.00 | | {1e3 * other:.2f} | |")
    lines.append(f"| **step** | | {1e3 * total:.2f} | | {1e3 * seconds:.2f} | {total / seconds:.2f} |")
    return [*lines, ""]


def main() -> int:
    """Prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("configs", nargs="*", default=["S", "M", "Lb"])
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    about, rate = machine(), rates(args.threads)
    print(f"# The limit of a training step ({about['date']})\n")
    print(
        f"{about['processor']}, {rate['simd']}, {args.threads} threads; ssm-hpn {about['ssm-hpn']}. `make bench-limit`."
    )
    rows = ", ".join(f"{row[0]} MB: {row[3]:.0f}" for row in rate["gbytes"])
    print(f"Measured: {rate['gflops']:.0f} GFLOP/s of multiply-adds in registers; GB/s read and written, {rows}.\n")
    for name in args.configs:
        print("\n".join(table(name, rate, args.threads)), flush=True)
    return 0


if __name__ == "__main__":
    sys.path.insert(0, str(HERE))
    sys.exit(main())
