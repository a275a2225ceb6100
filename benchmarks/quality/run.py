"""Measures systems on data sets, each in a process of its own, in turns on each set; goes on where it stopped."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from quality.record import Record, Row
from quality.sets import SETS, DataSet, named
from quality.systems import SYSTEMS

ROOT = Path(__file__).resolve().parents[2]
RECORD = ROOT / "benchmarks" / "records" / "quality.json"
SMALL_RECORD = ROOT / "benchmarks" / "out" / "quality-small.json"
TUNING = ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")
"""Variables that slow the matrix products of numpy down on some machines."""
THREAD_COUNTS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")


def environment(threads: int) -> dict[str, str]:
    """The environment of a worker: no tuning of matrix products, and pools of this many threads."""
    kept = {name: value for name, value in os.environ.items() if name not in TUNING}
    return kept | dict.fromkeys(THREAD_COUNTS, str(threads))


class Worker:
    """The process of one system."""

    def __init__(self, system: str, threads: int) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "quality.worker", system, str(threads)],
            env=environment(threads),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.system = system
        self.version = str(self._line()["ready"])

    def ask(self, dataset: str, seed: int) -> dict[str, Any]:
        """The worker's answer for a data set and a seed."""
        assert self._process.stdin is not None
        print(json.dumps({"dataset": dataset, "seed": seed}), file=self._process.stdin, flush=True)
        return self._line()

    def _line(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit(f"a worker ended with code {self._process.wait()}; its messages are above")
        return dict(json.loads(line))

    def close(self) -> None:
        """End the process."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()


def wanted(names: list[str] | None, record: Record, again: list[str], data: DataSet, *, busy: bool) -> list[str]:
    """The systems that are still to be measured on a data set."""
    return [
        name
        for name, system in SYSTEMS.items()
        if (names is None or name in names)
        and system.maker(data.metric) is not None
        and not system.missing_modules()
        and (name in again or record.wants(data.name, name, seeds=system.seeds_of(data), busy=busy))
    ]


def measure(record: Record, data: DataSet, workers: dict[str, Worker], *, busy: bool) -> int:
    """Ask the workers of one data set in turns, seed by seed, and record the rows; answers the number of failures."""
    results: dict[str, dict[int, dict[str, float]]] = {name: {} for name in workers}
    failed: dict[str, str] = {}
    for seed in data.seeds:
        for name, worker in workers.items():
            if name in failed or seed not in SYSTEMS[name].seeds_of(data):
                continue
            found = worker.ask(data.name, seed)
            if "error" in found:
                failed[name] = str(found["error"])
            else:
                results[name][seed] = found
    for name, worker in workers.items():
        if name in failed:
            print(f"  {name:<20} {failed[name]}", flush=True)
            continue
        row = Row.of(
            dataset=data.name,
            system=name,
            metric=data.metric,
            results=results[name],
            version=worker.version,
            busy=busy,
        )
        record.put(row)
        spread = "" if row.std is None else f" ± {row.std:.4f}"
        took = "" if row.seconds is None else f"  fit {row.fit_seconds:.2f} s  predict {row.predict_seconds:.2f} s"
        print(f"  {name:<20} {row.mean:.4f}{spread}{took}", flush=True)
    return len(failed)


def main(arguments: list[str]) -> int:
    """Measure what is not in the record yet."""
    parser = argparse.ArgumentParser(prog="quality run", description=__doc__)
    parser.add_argument("--small", action="store_true", help="the small selection of sets, into a record of its own")
    parser.add_argument("--sets", nargs="+", help="names of data sets")
    parser.add_argument("--systems", nargs="+", choices=SYSTEMS, help="names of systems")
    parser.add_argument(
        "--again", nargs="+", choices=SYSTEMS, default=[], help="measure these again where there is a row"
    )
    parser.add_argument("--busy", action="store_true", help="other programs are running: record no seconds")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args(arguments)
    for name in args.systems or SYSTEMS:
        if missing := SYSTEMS[name].missing_modules():
            print(f"{name} is left out: {', '.join(missing)} is not installed")
    record = Record.open(args.out or (SMALL_RECORD if args.small else RECORD), threads=args.threads, busy=args.busy)
    workers: dict[str, Worker] = {}
    start, failures = time.perf_counter(), 0
    for data in named(args.sets) if args.sets else [one for one in SETS if one.small or not args.small]:
        names = wanted(args.systems, record, args.again, data, busy=args.busy)
        if not names:
            continue
        print(f"{data.name}  ({time.perf_counter() - start:.0f} s)", flush=True)
        for name in names:
            if name not in workers:
                workers[name] = Worker(name, args.threads)
        failures += measure(record, data, {name: workers[name] for name in names}, busy=args.busy)
    for worker in workers.values():
        for line in record.of_other_versions(worker.system, worker.version):
            print(line)
        worker.close()
    print(f"{record.path}: {len(record.rows)} rows, {failures} failed, {time.perf_counter() - start:.0f} s")
    return 1 if failures else 0
