"""GFLOP/s of numpy and PyTorch at the shapes of `src/main.rs`, one thread, and of their square product.

    python benchmarks/products/reference.py [S M Lb]

The figure is that of the fastest of many calls, in processor time of the thread.
"""

import os
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench_peers import TUNING

for name in TUNING:
    os.environ.pop(name, None)
for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[name] = "1"

import numpy as np  # noqa: E402 - variables are read at import
import torch  # noqa: E402

torch.set_num_threads(1)
MODELS = {"S": (2048, 128), "M": (4096, 256), "Lb": (512, 768)}
SECONDS = float(os.environ.get("SECONDS", "1"))


def fastest(call) -> float:
    best, start = float("inf"), time.perf_counter()
    while time.perf_counter() - start < SECONDS / 2:
        before = time.thread_time()
        call()
        best = min(best, time.thread_time() - before)
    return best


def seconds(form: str, m: int, n: int, k: int) -> list[float]:
    """Fastest call of numpy and of PyTorch for y = x·wᵀ, dx = dy·w or dw = dyᵀ·x."""
    random = np.random.default_rng(0)
    x, w, dy = (random.normal(size=shape).astype(np.float32) for shape in ((m, k), (n, k), (m, n)))
    a, b = {"y": (x, w.T), "dx": (dy, w), "dw": (dy.T, x)}[form]
    out = np.empty((a.shape[0], b.shape[1]), np.float32)
    ta, tb, tout = torch.from_numpy(a), torch.from_numpy(b), torch.from_numpy(out)
    return [fastest(lambda: np.matmul(a, b, out=out)), fastest(lambda: torch.mm(ta, tb, out=tout))]


def main() -> None:
    square = [2e-9 * 2048**3 / s for s in seconds("dx", 2048, 2048, 2048)]
    print(f"numpy {np.__version__}: {square[0]:.0f}, torch {torch.__version__}: {square[1]:.0f} at 2048 x 2048 x 2048")
    for model in sys.argv[1:] or MODELS:
        m, d = MODELS[model]
        inner, rank = 2 * d, -(-d // 16)
        shapes = {"in_proj": (2 * inner, d), "x_proj": (rank + 32, inner)}
        shapes |= {"dt_proj": (inner, rank), "out_proj": (d, inner)}
        print(f"\n| {model}: GFLOP/s | numpy | torch |\n|---|---|---|")
        total, flops = [0.0, 0.0], 0.0
        for name, (n, k) in shapes.items():
            for form in ("y", "dx", "dw"):
                measured, work = seconds(form, m, n, k), 2e-9 * m * n * k
                print(f"| {name} {form} |", " | ".join(f"{work / s:.0f}" for s in measured), "|", flush=True)
                total, flops = [t + s for t, s in zip(total, measured, strict=True)], flops + work
        print("| whole layer |", " | ".join(f"{flops / t:.0f} ({1e3 * t:.2f} ms)" for t in total), "|")


if __name__ == "__main__":
    main()
