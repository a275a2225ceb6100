"""Data that is larger than memory beside data that fits: memory, speed and waiting of a training run; packing.

    python benchmarks/data_at_scale.py [--minutes 2] [--megabytes 256] [--models series,S,M]

Series of random numbers, and documents of random tokens, are written into two prepared folders each, one of which has
1/16 of the other. A model is trained on each in a process of its own, in turn, with a window that leaves some MB of it
in memory: `series` is a small backbone on series, S and M are the language models of the peers' benchmark. Resident
memory is read after every tenth update; its growth is counted from the end of the first quarter of a run. The record is
benchmarks/records/data.json.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from bench_peers import machine
from peers.bench_common import CONFIGS

from ssm_hpn._core import Loader, ShardWriter

RECORD = Path(__file__).parent / "records" / "data.json"
FEATURES = 6
WINDOW = 1 << 16
PACKINGS = ("contiguous", "best_fit", "pad", "carried")
TRAIN = """
import json, os, sys, time
from ssm_hpn import Trainer

def resident():
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) * 4096 / 1e6

settings, seconds = json.loads(sys.argv[1]), float(sys.argv[2])
trainer = Trainer(settings)
started, rows, seen = time.perf_counter(), [], []
while time.perf_counter() - started < seconds:
    update = trainer.step()
    rows.append((update.tokens, update.data_seconds, update.compute_seconds))
    if len(rows) % 10 == 0:
        seen.append(resident())
tokens, waiting, computing = map(sum, zip(*rows))
warm = max(seen[: max(1, len(seen) // 4)])
print(json.dumps({
    "load": round(os.getloadavg()[0], 1), "updates": len(rows), "epochs": round(trainer.feed.epoch, 2),
    "tokens_per_second": round(tokens / (waiting + computing)),
    "data_wait": round(waiting / (waiting + computing), 5),
    "resident_mb": round(max(seen), 1), "growth_mb": round(max(seen) - warm, 2),
}))
"""


def write_series(folder: Path, megabytes: float) -> None:
    """Series of 20 to 400 time steps with a class each."""
    rng = np.random.default_rng(0)
    columns = {"kind": "features", "n_features": FEATURES, "columns": ["features", "label"]}
    writer, steps = ShardWriter(str(folder), json.dumps(columns)), 0
    while steps * 4 * FEATURES < megabytes * 1e6:
        offsets = np.concatenate([[0], np.cumsum(rng.integers(20, 400, 200))]).astype(np.uint64)
        x = rng.normal(size=(int(offsets[-1]), FEATURES)).astype(np.float32)
        writer.append_many(offsets=offsets, features=x, label=rng.integers(0, 3, 200).astype(np.int32))
        steps += len(x)
    writer.close(json.dumps({"n_classes": 3}))


def write_tokens(folder: Path, tokens: int) -> None:
    """Documents of 1 to 500,000 tokens, half of them shorter than 665."""
    rng, written = np.random.default_rng(0), 0
    writer = ShardWriter(str(folder), json.dumps({"kind": "tokens", "vocab_size": 256, "columns": ["tokens"]}))
    while written < tokens:
        lengths = np.minimum(rng.lognormal(6.5, 1.5, 200).astype(np.int64) + 1, 500_000)
        offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.uint64)
        writer.append_many(offsets=offsets, tokens=rng.integers(0, 256, int(offsets[-1]), dtype=np.uint8))
        written += int(offsets[-1])
    writer.close("{}")


def utilisation(folder: Path) -> dict[str, float]:
    """Share of the positions that hold tokens, by packing."""
    loader = {"path": str(folder), "batch_size": 8, "length": 512}
    return {packing: round(Loader(json.dumps(loader | {"packing": packing})).utilisation(), 4) for packing in PACKINGS}


def trained(folder: Path, seconds: float, model: str) -> dict[str, Any]:
    """One run in a process of its own."""
    if model == "series":
        shape: dict[str, Any] = {"d_model": 16, "n_layers": 1, "target": {"kind": "sequence_class"}}
        length, rows = 400, 8
    else:
        peer = CONFIGS[model]
        shape = {"d_model": peer["d_model"], "n_layers": peer["n_layer"]}
        length, rows = peer["seq"], peer["batch"]
    settings = {
        "model": shape,
        "data": {"train": str(folder), "length": length, "window": WINDOW},
        "train": {"batch_size": rows},
    }
    command = [sys.executable, "-c", TRAIN, json.dumps(settings), str(seconds)]
    return json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def main() -> None:
    """Measure, print and write the record."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=2.0, help="of all training runs together")
    parser.add_argument("--megabytes", type=float, default=256.0, help="of the larger data set")
    parser.add_argument("--models", default="series,S,M", help="which of series, S and M, in this order")
    arguments = parser.parse_args()
    models = arguments.models.split(",")
    with tempfile.TemporaryDirectory(prefix="ssm-hpn-") as name:
        folder = Path(name)
        write_tokens(folder / "tokens", 20_000_000)
        packed = utilisation(folder / "tokens")
        for packing, share in packed.items():
            print(f"{packing:12} {share:.1%} of the positions hold tokens")
        sizes = {"small": arguments.megabytes / 16, "large": arguments.megabytes}
        for size, megabytes in sizes.items():
            write_series(folder / "series" / size, megabytes)
            write_tokens(folder / "text" / size, round(megabytes * 1e6 / 2))  # two bytes a token
        runs: list[dict[str, Any]] = []
        seconds = 60 * arguments.minutes / (4 * len(models))
        for model in models:
            for _ in range(2):
                for size, megabytes in sizes.items():
                    place = folder / ("series" if model == "series" else "text") / size
                    run = {"model": model, "data_mb": megabytes} | trained(place, seconds, model)
                    runs.append(run)
                    print(json.dumps(run), flush=True)
    for model in models:
        of = [run for run in runs if run["model"] == model]
        speed = {size: max(r["tokens_per_second"] for r in of if r["data_mb"] == mb) for size, mb in sizes.items()}
        waits = max(run["data_wait"] for run in of)
        told = f"{speed['large'] / speed['small']:.1%} of that on {sizes['small']:.0f} MB"
        print(f"{model}: speed on {sizes['large']:.0f} MB: {told}; {waits:.1%} of the time is waiting for data at most")
    record = {
        "machine": machine(),
        "window_tokens": WINDOW,
        "utilisation": packed,
        "runs": runs,
    }
    RECORD.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
