"""Training steps of small models: with one and two threads, outside of the kernels, and beside an LSTM of equal size.

    python benchmarks/small.py [--rounds 9] [--python PYTHON_WITH_TORCH] [--out benchmarks/records]

Batches of 16 series of 3 numbers in 5 classes; `Trainer.step`, medians over the rounds, in which all take turns.

```text
kernels    the phases of the core's profile with one thread, all but `other`
outside    step with one thread less the kernels: Python, the binding, checks, copies
beyond     step with two threads less half of the kernels: the same, handing over, and what two threads do not share
LSTM       two layers of `torch.nn.LSTM` with as many parameters, the last state of the top one, AdamW; two threads
```

Writes small-PROCESSOR-DATE.json and .md.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from bench_peers import machine, without_tuning
from record_files import write_record

HERE = Path(__file__).resolve().parent
BATCH, FEATURES, CLASSES = 16, 3, 5
SHAPES = {
    "D 32, 1 layer, T 24": (32, 1, 24),
    "D 32, 2 layers, T 128": (32, 2, 128),
    "D 64, 1 layer, T 24": (64, 1, 24),
    "XS: D 64, 2 layers, T 128": (64, 2, 128),
    "D 64, 2 layers, T 300": (64, 2, 300),
}
"""d_model, layers, length."""
WORK = 0.05
"""Seconds of a round for each."""
LSTM = """
import json, statistics, sys, time
import torch

parameters, length, width, classes, batch = map(int, sys.argv[1:6])
torch.set_num_threads(2)
torch.manual_seed(0)
hidden = 8
def size(hidden):
    return 4 * hidden * (width + hidden + 2 + 2 * hidden + 2) + hidden * classes + classes
while size(hidden + 1) <= parameters:
    hidden += 1

class Model(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.lstm = torch.nn.LSTM(width, hidden, 2, batch_first=True)
        self.head = torch.nn.Linear(hidden, classes)

    def forward(self, x):
        return self.head(self.lstm(x)[0][:, -1])

model = Model()
optimiser = torch.optim.AdamW(model.parameters(), lr=1e-3, fused=True)
x, y = torch.randn(batch, length, width), torch.randint(0, classes, (batch,))

def step():
    optimiser.zero_grad(set_to_none=True)
    loss = torch.nn.functional.cross_entropy(model(x), y)
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimiser.step()
    return loss.item()

for _ in range(5):
    step()
print(json.dumps({"hidden": hidden, "parameters": size(hidden), "torch": torch.__version__}), flush=True)
for line in sys.stdin:
    taken = []
    while sum(taken) < float(line):
        began = time.perf_counter()
        step()
        taken.append(time.perf_counter() - began)
    print(statistics.median(taken), flush=True)
"""
"""Program that answers each line, a number of seconds, with the median time of a step."""
Row = dict[str, Any]


def trainer_and_batch(shape: tuple[int, int, int], threads: int) -> tuple[Any, dict[str, np.ndarray]]:
    """A classifier and its batch."""
    from ssm_hpn import Trainer

    d_model, layers, length = shape
    random = np.random.default_rng(0)
    head = {"kind": "linear", "n_outputs": CLASSES, "loss": "softmax"}
    series = {"input": {"kind": "features", "n_features": FEATURES}, "target": {"kind": "sequence_class"}}
    model = series | {"d_model": d_model, "n_layers": layers, "block": {"kind": "mamba1"}, "head": head}
    optim = {"lr": 1e-3, "schedule": {"kind": "constant", "warmup": 0}}
    batch = {
        "features": random.normal(size=(BATCH, length, FEATURES)).astype(np.float32),
        "sequence_class": random.integers(0, CLASSES, BATCH).astype(np.int32),
    }
    return Trainer({"model": model, "optim": optim, "train": {"threads": threads, "seed": 0}}), batch


def step_seconds(trainer: Any, batch: dict[str, np.ndarray]) -> float:
    """Median time of the steps of a round."""
    taken: list[float] = []
    while sum(taken) < WORK:
        began = time.perf_counter()
        trainer.step(batch)
        taken.append(time.perf_counter() - began)
    return statistics.median(taken)


def kernel_seconds(trainer: Any, batch: dict[str, np.ndarray]) -> float:
    """Time of the phases of a step, the mean of a round."""
    trainer.session.profile_start()
    began, steps = time.perf_counter(), 0
    while time.perf_counter() - began < WORK:
        trainer.step(batch)
        steps += 1
    phases = trainer.session.profile_take()
    return float(sum(each["seconds"] for name, each in phases.items() if name != "other")) / steps


def measure(name: str, rounds: int, python: str) -> Row:
    """All figures of a shape."""
    shape = SHAPES[name]
    one, two = (trainer_and_batch(shape, threads) for threads in (1, 2))
    for trainer, batch in (one, two):
        for _ in range(5):
            trainer.step(batch)
    parameters = one[0].session.n_parameters
    sizes = [parameters, shape[2], FEATURES, CLASSES, BATCH]
    peer = subprocess.Popen(
        [python, "-c", LSTM, *map(str, sizes)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=without_tuning(),
    )
    assert peer.stdin
    assert peer.stdout
    about = peer.stdout.readline()
    found: dict[str, list[float]] = {key: [] for key in ("one", "two", "kernels", "lstm")}
    for _ in range(rounds):
        found["one"].append(step_seconds(*one))
        found["two"].append(step_seconds(*two))
        found["kernels"].append(kernel_seconds(*one))
        if about:
            print(WORK, file=peer.stdin, flush=True)
            found["lstm"].append(float(peer.stdout.readline()))
    peer.stdin.close()
    peer.wait()
    kernels = statistics.median(found["kernels"])
    row: Row = {"shape": name, "parameters": parameters}
    row |= {key: 1e3 * statistics.median(found[key]) for key in ("one", "two")} | {"kernels": 1e3 * kernels}
    row["outside"] = 1e6 * statistics.median(t - k for t, k in zip(found["one"], found["kernels"], strict=True))
    row["beyond"] = 1e6 * statistics.median(t - k / 2 for t, k in zip(found["two"], found["kernels"], strict=True))
    if about:
        ratios = [lstm / two for lstm, two in zip(found["lstm"], found["two"], strict=True)]
        row |= {"lstm": 1e3 * statistics.median(found["lstm"]), "peer": json.loads(about)}
        row["ratio"] = statistics.median(ratios)
        row["quartiles"] = statistics.quantiles(ratios, n=4, method="inclusive")[::2]
    return row


def markdown(rows: list[Row], about: dict[str, str], rounds: int) -> str:
    """The table."""
    torch = next((row["peer"]["torch"] for row in rows if "peer" in row), "not installed")
    lines = [
        f"# Training steps of small models ({about['date']})",
        "",
        f"{about['processor']}, {about['simd']}; ssm-hpn {about['ssm-hpn']}, torch {torch}. `make bench-small`.",
        f"Medians of {rounds} rounds in turns; 16 series of 3 numbers, 5 classes. Targets: beyond at most 60 µs,",
        "XS at least 1.5 times as fast as the LSTM.",
        "",
        "| | 1 thread, ms | 2 threads, ms | kernels, ms | outside, µs | beyond, µs | LSTM, ms | LSTM by ours |",
        "|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for row in rows:
        lstm, ratio = "", "not measured"
        if "lstm" in row:
            low, high = row["quartiles"]
            lstm, ratio = f"{row['lstm']:.2f}", f"{row['ratio']:.2f} ({low:.2f} to {high:.2f})"
        lines.append(
            f"| {row['shape']} | {row['one']:.2f} | {row['two']:.2f} | {row['kernels']:.2f} | {row['outside']:.0f} | "
            f"{row['beyond']:.0f} | {lstm} | {ratio} |"
        )
    return "\n".join(lines) + "\n"


def main() -> int:
    """Measure, write and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--python", default=os.environ.get("PEER_PYTHON", sys.executable))
    parser.add_argument("--out", type=Path, default=HERE / "records")
    args = parser.parse_args()
    rows = []
    for name in SHAPES:
        rows.append(measure(name, args.rounds, args.python))
        print(json.dumps(rows[-1], ensure_ascii=False), flush=True)
    about = machine()
    text = markdown(rows, about, args.rounds)
    write_record(args.out, "small", {"machine": about, "rounds": args.rounds, "rows": rows}, text)
    print(text)
    return 0


if __name__ == "__main__":
    sys.path.insert(0, str(HERE))
    sys.exit(main())
