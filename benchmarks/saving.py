"""How much saving every 50 updates delays training at M: at once, and in the background.

    delay = (time of the call that saves + what the updates after it take longer than the median) / (50 · median)

python benchmarks/saving.py [--saves 4]
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
from bench_peers import machine

from ssm_hpn import Trainer

ROOT = Path(__file__).parents[1]
RECORD = ROOT / "benchmarks/records/saving.json"
EVERY = 50
"""Updates between two saves."""
AFTER = 6
"""Updates after a save whose times are compared with the median; writing has ended by then."""
M = {
    "model": {
        "input": {"kind": "tokens", "vocab_size": 256},
        "target": {"kind": "next_token"},
        "d_model": 256,
        "n_layers": 6,
    }
}


def main() -> int:
    """Prints and writes one row for each way."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--saves", type=int, default=4)
    saves = parser.parse_args().saves
    trainer = Trainer(M)
    tokens = np.random.default_rng(0).integers(0, 256, (8, 512)).astype(np.uint32)

    def updates() -> list[float]:
        times = []
        for _ in range(AFTER):
            began = time.perf_counter()
            trainer.step({"tokens": tokens})
            times.append(time.perf_counter() - began)
        return times

    updates()
    plain = [one for _ in range(saves) for one in updates()]
    median = statistics.median(plain)
    rows = []
    with tempfile.TemporaryDirectory(dir=ROOT) as folder:
        for way in ("at once", "background"):
            delays, calls = [], []
            for number in range(saves):
                began = time.perf_counter()
                if way == "at once":
                    trainer.save_into(folder, f"{way}-{number}", extra={})
                    thread = None
                else:
                    thread = threading.Thread(target=trainer.copied(extra={}), args=(folder, f"{way}-{number}"))
                    thread.start()
                calls.append(time.perf_counter() - began)
                longer = sum(updates()) - AFTER * median
                if thread is not None:
                    thread.join()
                delays.append((calls[-1] + longer) / (EVERY * median))
            size = sum(file.stat().st_size for file in (Path(folder) / f"{way}-0").iterdir())
            row = {
                "way": way,
                "every": EVERY,
                "step_ms": round(1e3 * median, 1),
                "call_ms": round(1e3 * statistics.median(calls), 1),
                "delay_percent": round(100 * statistics.median(delays), 2),
                "worst_percent": round(100 * max(delays), 2),
                "megabytes": round(size / 1e6, 1),
            }
            rows.append(row)
            print(json.dumps(row))
    RECORD.write_text(json.dumps({"about": machine(), "rows": rows}, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
