"""A long run on data larger than its memory, forced to stop three times: does anything drift?

    python benchmarks/soak.py [--seconds 1800] [--work FOLDER]

Copies of the standard library's source text become shards of eight times the memory that a run may have. A
small byte-level model trains on them by `python -m ssm_hpn.train`; at a quarter, half and three quarters of the time
the process gets SIGTERM, SIGKILL and SIGTERM, and the same command goes on. Every two seconds its resident memory,
processor time and newest row of metrics are noted. Asked for are, and exit code 1 where one of them does not hold:

    no number that is not finite, no update skipped
    loss of training over the last tenth below that over the first
    resident memory after 60 seconds of warm-up in each process: at most 5 MB of growth up to its end, and at no time
        above the limit
    tokens per second of processor time in the last tenth within 5 % of those in the first
    exit code 75 after SIGTERM, and after each of the three stops the run goes on

Speed is that of processor time, as other programs take turns on a shared machine; by the clock it is told beside it.
Writes benchmarks/records/soak.json.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench_peers import machine

from ssm_hpn.counts import counted
from ssm_hpn.errors import EXIT_INTERRUPTED
from ssm_hpn.prepare.stdlib_corpus import corpus_files

RECORD = Path(__file__).parent / "records" / "soak.json"
LIMIT_MB = 160
"""Resident memory that the process may have."""
SHARDS_MB = 8 * LIMIT_MB
GROWTH_MB = 5.0
WARM_UP = 60.0
DRIFT = 0.05
INTERVAL = 2.0
STOPS = ((0.25, signal.SIGTERM), (0.5, signal.SIGKILL), (0.75, signal.SIGTERM))
"""When the process is stopped, as a share of the time, and how."""
SETTINGS = (
    *("--model.d_model", "64", "--model.n_layers", "2", "--train.batch_size", "8", "--data.length", "256"),
    *("--train.threads", "1", "--train.steps", "100000000", "--optim.schedule.kind", "constant"),
    *("--checkpoint.every", "500", "--evaluation.every", "2000", "--evaluation.batches", "8"),
    *("--train.log_every", "20", "--evaluation.continuation", "0"),
)


Rows = dict[str, Any]


@dataclass(frozen=True)
class Sample:
    """What was seen of a process at a time."""

    part: int
    """Which of the processes."""
    age: float
    """Seconds since it was started."""
    at: float
    """Seconds since the first was."""
    rss: float
    """Resident memory, MB."""
    cpu: float
    """Seconds of processor time of the process."""
    tokens: int
    """Tokens seen by the run."""


def make_data(folder: Path) -> Path:
    """Shards of the standard library's text, many times over: of a copy each document has another first line."""
    root, files = corpus_files()
    texts = folder / "texts"
    size = copy = 0
    while size < 0.55 * SHARDS_MB * 1e6:  # an id of a byte takes two in a shard, and a tenth is held out
        for file in files:
            text = f"# copy {copy}\n".encode() + file.read_bytes()
            out = texts / str(copy) / file.relative_to(root)
            out.parent.mkdir(parents=True, exist_ok=True)
            out.write_bytes(text)
            size += len(text)
        copy += 1
    out = folder / "data"
    words = ("prepare", str(texts), "--out", str(out), "--data.encoder", "bytes", "--data.validation_fraction", "0.02")
    subprocess.run([sys.executable, "-m", "ssm_hpn", *words], check=True, stdout=subprocess.DEVNULL)
    shutil.rmtree(texts)
    return out


def rows(metrics: Path) -> list[dict[str, Any]]:
    """The whole rows of a metrics file."""
    text = metrics.read_text(encoding="utf-8") if metrics.exists() else ""
    return [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]


def last_tokens(metrics: Path) -> int:
    """Tokens seen by the newest row."""
    if not metrics.exists():
        return 0
    with metrics.open("rb") as file:
        file.seek(max(0, metrics.stat().st_size - 8192))
        lines = [line for line in file.read().split(b"\n")[:-1] if line.endswith(b"}") and line.startswith(b"{")]
    return int(json.loads(lines[-1])["data/tokens_seen"]) if lines else 0


def look(pid: int) -> tuple[float, float] | None:
    """Resident memory in MB and processor time in seconds of a process; None when it has ended."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
        pages = int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1])
    except (OSError, IndexError):
        return None
    ticks = int(stat[11]) + int(stat[12])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6, ticks / os.sysconf("SC_CLK_TCK")


def run(work: Path, data: Path, seconds: float) -> tuple[list[Sample], list[dict[str, Any]]]:
    """Train for this long with the stops; returns what was seen, and how each process ended."""
    folder = work / "run"
    metrics = folder / "metrics.jsonl"
    command = [sys.executable, "-m", "ssm_hpn.train", "--data", str(data), "--run.folder", str(folder), *SETTINGS]
    samples: list[Sample] = []
    ends: list[dict[str, Any]] = []
    begin = time.monotonic()
    for part, (share, how) in enumerate((*STOPS, (1.0, signal.SIGTERM))):
        started = time.monotonic()
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        while time.monotonic() < begin + share * seconds:
            time.sleep(INTERVAL)
            seen, now = look(process.pid), time.monotonic()
            if seen is None or process.poll() is not None:
                raise SystemExit(f"the run ended by itself: {process.communicate()[1]}")
            samples.append(Sample(part, now - started, now - begin, *seen, last_tokens(metrics)))
        before = last_tokens(metrics)
        process.send_signal(how)
        told = process.communicate()[1]
        ends.append({"signal": how.name, "exit": process.returncode, "tokens": before, "stderr": told.strip()[-300:]})
        print(
            f"{time.monotonic() - begin:7.0f} s  {how.name}, exit {process.returncode}, {before:,} tokens", flush=True
        )
    return samples, ends


def speeds(samples: list[Sample], low: float, high: float) -> tuple[float, float]:
    """Tokens per second of processor time, and by the clock, between two times, without the warm-up of a process."""
    tokens = cpu = clock = 0.0
    for part in {sample.part for sample in samples}:
        inside = [s for s in samples if s.part == part and low <= s.at <= high and s.age >= min(WARM_UP, high - low)]
        if len(inside) > 1:
            tokens += inside[-1].tokens - inside[0].tokens
            cpu += inside[-1].cpu - inside[0].cpu
            clock += inside[-1].at - inside[0].at
    return tokens / max(cpu, 1e-9), tokens / max(clock, 1e-9)


def growth(samples: list[Sample], warm_up: float) -> list[dict[str, float]]:
    """Per process: resident memory when it is warm, its largest before the end, and by how much it rose."""
    found = []
    for part in sorted({sample.part for sample in samples}):
        warm = [s.rss for s in samples if s.part == part and s.age >= warm_up]
        if len(warm) >= 10:
            tenth = max(1, len(warm) // 10)
            start, end = max(warm[:tenth]), max(warm[-tenth:])
            found.append({"warm_mb": start, "end_mb": end, "most_mb": max(warm), "growth_mb": end - start})
    return found


def judged(
    samples: list[Sample], ends: list[dict[str, Any]], found: list[dict[str, Any]], seconds: float
) -> dict[str, Any]:
    """The record without the machine."""
    trained = [row for row in found if row["train/loss"] is not None]
    tenth = max(1, len(trained) // 10)
    first, last = (statistics.fmean(row["train/loss"] for row in some) for some in (trained[:tenth], trained[-tenth:]))
    warm_up = min(WARM_UP, seconds / 20)
    early, early_clock = speeds(samples, warm_up, warm_up + 0.1 * seconds)
    late, late_clock = speeds(samples, 0.9 * seconds, seconds)
    memory = growth(samples, warm_up)
    evaluated = [row["eval/loss"] for row in found if row["eval/loss"] is not None]
    checks = {
        "finite": all(row["nonfinite"] == 0 and row["skipped_steps"] == 0 for row in found),
        "loss_falls": last < first and evaluated[-1] < evaluated[0],
        "memory_flat": bool(memory) and all(part["growth_mb"] <= GROWTH_MB for part in memory),
        "memory_within_limit": max(s.rss for s in samples) <= LIMIT_MB,
        "speed_stable": early > 0 and abs(late / early - 1) <= DRIFT,
        "stops_survived": all(end["exit"] == EXIT_INTERRUPTED for end in ends if end["signal"] == "SIGTERM")
        and [end["tokens"] for end in ends] == sorted({end["tokens"] for end in ends}),
    }
    return {
        "seconds": round(seconds),
        "updates": found[-1]["step"],
        "tokens": samples[-1].tokens,
        "epochs": round(found[-1]["epoch"], 2),
        "loss": {"first_tenth": first, "last_tenth": last, "held_out": [evaluated[0], evaluated[-1]]},
        "memory": {"limit_mb": LIMIT_MB, "most_mb": max(s.rss for s in samples), "processes": memory},
        "tokens_per_processor_second": {"first_tenth": early, "last_tenth": late, "ratio": late / max(early, 1e-9)},
        "tokens_per_second": {"first_tenth": early_clock, "last_tenth": late_clock},
        "stops": ends,
        "checks": checks,
    }


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _rounded(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_rounded(one) for one in value]
    return float(f"{value:.5g}") if isinstance(value, float) else value


def main() -> int:
    """Run, write the record, print it; 1 where something does not hold."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=1800, help="length of the run")
    parser.add_argument("--work", type=Path, help="folder for data and run; a temporary one by default")
    parser.add_argument("--record", type=Path, default=RECORD, help="where the figures go")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="ssm-hpn-soak-") as temporary:
        work = options.work or Path(temporary)
        data = make_data(work) if not (work / "data").exists() else work / "data"
        size = sum(file.stat().st_size for file in data.rglob("*.arrow")) / 1e6
        print(f"{size:,.0f} MB of shards, at most {LIMIT_MB} MB of resident memory", flush=True)
        samples, ends = run(work, data, options.seconds)
        found = judged(samples, ends, rows(work / "run/metrics.jsonl"), options.seconds)
    command = f"python benchmarks/soak.py --seconds {options.seconds:g}"
    record = {"command": command, **machine(), "shards_mb": size, **found}
    options.record.write_text(json.dumps(_rounded(record), indent=1) + "\n", encoding="utf-8")
    print(json.dumps(_rounded(found), indent=1))
    bad = [name for name, good in found["checks"].items() if not good]
    print(f"{counted(len(found['checks']), 'check')}, {len(bad)} failed{': ' if bad else ''}{', '.join(bad)}")
    return int(bool(bad))


if __name__ == "__main__":
    sys.exit(main())
