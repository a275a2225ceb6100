"""Seconds and memory of the classifier for many series of made-up data; each number of series in a process of its own.

Memory beyond the data is the highest resident memory during fit and predict, minus that before them: it holds whatever
the classifier allocates. It is flat where the features of the series are computed in blocks.
"""

from __future__ import annotations

import argparse
import datetime as dt
import json
import multiprocessing
import os
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray  # noqa: TC002 - as everywhere

from quality.record import processor
from quality.run import ROOT, THREAD_COUNTS, TUNING
from quality.systems import SYSTEMS

RECORD: Final = ROOT / "benchmarks" / "records" / "quality-many.json"
CLASSES: Final = 4


@dataclass(frozen=True, slots=True)
class Many:
    """A fit on `series` series of `steps` steps, and predictions for the same series."""

    series: int
    steps: int
    fit_seconds: float
    predict_seconds: float
    data_mb: float
    beyond_data_mb: float
    """Highest resident memory during both, minus that before them."""
    accuracy: float
    """On the series of the fit: whether it learned at all."""


def made(series: int, steps: int) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """[N, T] noise with one short wave at a random place, whose frequency is that of the class; labels [N]."""
    random = np.random.default_rng(0)
    labels = np.arange(series) % CLASSES
    values = random.normal(size=(series, steps))
    length = min(steps, 100)
    starts = random.integers(0, steps - length + 1, series)
    for row, label, start in zip(values, labels, starts, strict=True):
        row[start : start + length] += 2 * np.sin(np.arange(length) * (0.2 + 0.2 * label))
    return values, labels


def resident_mb(field: str) -> float:
    """VmRSS, resident memory now, or VmHWM, its highest value, of this process."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(f"{field}:"))


def measure(series: int, steps: int, threads: int) -> Many:
    """Fit and predict once, after a small fit that loads what is loaded once."""
    make = SYSTEMS["ssm_hpn"].maker("accuracy")
    assert make is not None
    small, few = made(8 * CLASSES, steps)
    make(0, threads).fit(small, few).predict(small)
    values, labels = made(series, steps)
    before = resident_mb("VmRSS")
    model = make(0, threads)
    start = time.perf_counter()
    model.fit(values, labels)
    between = time.perf_counter()
    answers = model.predict(values)
    end = time.perf_counter()
    return Many(
        series=series,
        steps=steps,
        fit_seconds=round(between - start, 3),
        predict_seconds=round(end - between, 3),
        data_mb=round(values.nbytes / 2**20, 1),
        beyond_data_mb=round(resident_mb("VmHWM") - before, 1),
        accuracy=round(float(np.mean(answers == labels)), 4),
    )


def main(arguments: list[str]) -> int:
    """Measure each number of series, print and record it."""
    parser = argparse.ArgumentParser(prog="quality many", description=__doc__)
    parser.add_argument("--series", type=int, nargs="+", default=[2500, 5000, 10_000])
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path, default=RECORD)
    args = parser.parse_args(arguments)
    for name in TUNING:
        os.environ.pop(name, None)
    os.environ |= dict.fromkeys(THREAD_COUNTS, str(args.threads))
    rows: list[Many] = []
    for series in args.series:
        with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
            rows.append(pool.submit(measure, series, args.steps, args.threads).result())
        print(rows[-1], flush=True)
    content: dict[str, Any] = {
        "processor": processor(),
        "threads": args.threads,
        "version": SYSTEMS["ssm_hpn"].version(),
        "date": dt.datetime.now(dt.UTC).date().isoformat(),
        "rows": [asdict(row) for row in rows],
    }
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    print(args.out)
    return 0
