"""The speed of a model in use: scores of batches, steps of a stream, generated tokens, and the first training step.

    python benchmarks/inference.py [--rounds 7] [--threads 2] [--only predict,stream,generate,first] [--out FOLDER]

```text
predict    tokens/s of `Trainer.predict` by those of `Trainer.step`, in turns, at S and M
stream     µs of `Stream.step` for one series: d_model 128, 3 layers
generate   bytes of the weights by time per token, as a share of the bandwidth of memory, in turns: one row, the shape
           of mamba-130m (d_model 768, 24 layers, 50,280 tokens)
first      ms of the first `Trainer.step` of a process at S, whose batch is there
```

The bandwidth is that of `numpy.max` over arrays of 512 MB together, one in each thread. Medians with quartiles over the
rounds. Writes inference-PROCESSOR-DATE.json and .md.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from bench_peers import machine, without_tuning
from record_files import write_record

HERE = Path(__file__).resolve().parent
MEGABYTES = 512
"""Memory that is read to measure its bandwidth."""
GENERATED = 12
"""Tokens of a round."""
CALLS = 200
"""Steps of a stream in a round."""
FIRST = """
import sys, time
sys.path.insert(0, "peers")
from bench_common import CONFIGS
from peer_ssm_hpn import trainer_and_batch

trainer, batch = trainer_and_batch("ssm_hpn", CONFIGS["S"], int(sys.argv[1]))
taken = []
for _ in range(4):
    began = time.perf_counter()
    trainer.step(batch)
    taken.append(1e3 * (time.perf_counter() - began))
print(taken[0], min(taken[1:]))
"""
"""Program that prints the milliseconds of the first step of a process, and of a later one."""
Row = dict[str, Any]


def quartiles(found: list[float]) -> list[float]:
    """The median and both quartiles."""
    low, middle, high = statistics.quantiles(found, n=4, method="inclusive")
    return [middle, low, high]


def row(name: str, unit: str, found: list[float], target: str, *, met: bool) -> Row:
    """One figure, and whether its median meets its target."""
    return {"figure": name, "unit": unit, "values": quartiles(found), "target": target, "met": met}


def seconds(call: Callable[[], object], calls: int = 1) -> float:
    """Time of a call, the mean of some."""
    began = time.perf_counter()
    for _ in range(calls):
        call()
    return (time.perf_counter() - began) / calls


def bandwidth(arrays: list[np.ndarray]) -> float:
    """GB/s at which as many threads as arrays read them."""
    ready = threading.Barrier(len(arrays) + 1)

    def read(x: np.ndarray) -> None:
        ready.wait()
        np.max(x)

    threads = [threading.Thread(target=read, args=(x,)) for x in arrays]
    for thread in threads:
        thread.start()
    ready.wait()
    began = time.perf_counter()
    for thread in threads:
        thread.join()
    return sum(x.nbytes for x in arrays) / (time.perf_counter() - began) * 1e-9


def predict(rounds: int, threads: int) -> list[Row]:
    """Scores of a batch beside a training step of the same batch."""
    from peers.bench_common import CONFIGS
    from peers.peer_ssm_hpn import trainer_and_batch

    rows = []
    for name, calls in (("S", 3), ("M", 1)):
        trainer, batch = trainer_and_batch("ssm_hpn", CONFIGS[name], threads)
        inputs = {"tokens": batch["tokens"]}
        trainer.step(batch), trainer.predict(inputs)
        ratios = []
        for _ in range(rounds):
            step = seconds(lambda t=trainer, b=batch: t.step(b), calls)
            ratios.append(step / seconds(lambda t=trainer, b=inputs: t.predict(b), calls))
        met = statistics.median(ratios) >= 3
        rows.append(row(f"predict at {name} by the training step, tokens/s", "x", ratios, "≥ 3", met=met))
    return rows


def stream(rounds: int, threads: int) -> list[Row]:
    """Steps of one series of three numbers and of one text."""
    from ssm_hpn import Trainer

    tokens = {"input": {"kind": "tokens", "vocab_size": 256}, "target": {"kind": "next_token"}}
    series = {"input": {"kind": "features", "n_features": 3}, "target": {"kind": "sequence_class"}}
    cases = {
        "series of 3 numbers, 5 classes": (series, 5, np.ones((1, 3), np.float32)),
        "tokens, 256 scores": (tokens, 256, np.ones(1, np.uint32)),
    }
    rows = []
    for name, (model, outputs, x) in cases.items():
        head = {"kind": "linear", "n_outputs": outputs, "loss": "softmax"}
        settings = model | {"d_model": 128, "n_layers": 3, "head": head}
        reader = Trainer({"model": settings, "train": {"threads": threads}}).stream()
        found = [1e6 * seconds(lambda r=reader, x=x: r.step(x), CALLS) for _ in range(rounds + 1)][1:]
        rows.append(row(f"stream, {name}", "µs", found, "≤ 25", met=statistics.median(found) <= 25))
    return rows


def generate(rounds: int, threads: int) -> list[Row]:
    """Tokens of one text by a model of the shape of mamba-130m with random weights."""
    from ssm_hpn import Trainer

    head = {"kind": "linear", "loss": "softmax", "tied": True, "bias": False}
    tokens = {"input": {"kind": "tokens", "vocab_size": 50_280}, "target": {"kind": "next_token"}}
    model = tokens | {"d_model": 768, "n_layers": 24, "head": head}
    trainer = Trainer({"model": model, "train": {"threads": threads}})
    size = 4e-9 * trainer.session.n_parameters
    arrays = [np.ones(MEGABYTES * 2**18 // threads, np.float32) for _ in range(threads)]
    trainer.generate([1, 2], 2, temperature=0.0)
    bandwidth(arrays)
    rows = []
    for name, settings in (("the best token", {"temperature": 0.0}), ("a drawn token", {"temperature": 1.0})):
        shares, speeds, reached = [], [], []
        for _ in range(rounds):
            before = bandwidth(arrays)
            taken = seconds(lambda s=settings: trainer.generate([1], GENERATED, **s)) / GENERATED
            reached.append(max(before, bandwidth(arrays)))
            shares.append(size / taken / reached[-1])
            speeds.append(1 / taken)
        met = statistics.median(shares) >= 0.75
        rows.append(row(f"generate, {name}: share of the bandwidth", "", shares, "≥ 0.75", met=met))
        rows.append({"figure": f"generate, {name}", "unit": "tokens/s", "values": quartiles(speeds)})
        rows.append({"figure": "bandwidth meanwhile", "unit": "GB/s", "values": quartiles(reached)})
    return rows


def first(rounds: int, threads: int) -> list[Row]:
    """The first step of a process at S."""
    env = without_tuning() | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    command = [sys.executable, "-c", FIRST, str(threads)]
    done = [
        subprocess.run(command, cwd=HERE, env=env, capture_output=True, text=True, check=True) for _ in range(rounds)
    ]
    began, later = zip(*([float(x) for x in each.stdout.split()] for each in done), strict=True)
    met = statistics.median(began) <= 50
    return [
        row("first step at S", "ms", list(began), "≤ 50", met=met),
        {"figure": "a later step", "unit": "ms", "values": quartiles(list(later))},
    ]


def markdown(rows: list[Row], about: dict[str, str], rounds: int, threads: int) -> str:
    """The table."""
    versions = f"ssm-hpn {about['ssm-hpn']}, numpy {about['numpy']}"
    lines = [
        f"# A model in use ({about['date']})",
        "",
        f"{about['processor']}, {about['simd']}, {threads} threads; {versions}.",
        f"Command: `make bench-inference`. Medians and quartiles of {rounds} rounds in turns, in float32.",
        "",
        "| | median | quartiles | target | met |",
        "|---|---:|---:|---:|---|",
    ]
    for each in rows:
        middle, low, high = (f"{x:,.2f}" if x < 1000 else f"{x:,.0f}" for x in each["values"])
        met = {True: "yes", False: "no", None: ""}[each.get("met")]
        name = f"{each['figure']}, {each['unit']}" if each["unit"] not in ("", "x") else each["figure"]
        lines.append(f"| {name} | {middle} | {low} to {high} | {each.get('target', '')} | {met} |")
    return "\n".join(lines) + "\n"


def main() -> int:
    """Measure, write and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--only", default="predict,stream,generate,first")
    parser.add_argument("--out", type=Path, default=HERE / "records")
    args = parser.parse_args()
    parts = {"predict": predict, "stream": stream, "generate": generate, "first": first}
    rows: list[Row] = []
    for name in args.only.split(","):
        found = parts[name](args.rounds, args.threads)
        rows += found
        for each in found:
            print(json.dumps(each, ensure_ascii=False), flush=True)
    about = machine()
    text = markdown(rows, about, args.rounds, args.threads)
    record = {"machine": about, "rounds": args.rounds, "threads": args.threads, "rows": rows}
    write_record(args.out, "inference", record, text)
    print(text)
    return 0


if __name__ == "__main__":
    sys.path.insert(0, str(HERE))
    sys.exit(main())
