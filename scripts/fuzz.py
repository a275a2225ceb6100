"""Builds and runs the fuzz targets on stable Rust, keeps their corpus small, measures coverage, writes the record.

    python scripts/fuzz.py [--runs 100000] [--targets manifest,shard,checkpoint,upgrade,config] [--seconds N]

libFuzzer mutates the files in fuzz/corpus, guided by the branches that an execution takes (`sancov`, which stable Rust
has); fuzz/src says what a target does and what counts as a finding. A finding is left in fuzz/artifacts and ends the
program with exit code 1. After the runs the corpus is reduced to files that reach something no other one does, and run
once with `-C instrument-coverage`; `rustup component add llvm-tools` installs the two programs that this takes, without
which lines are not counted. Figures are added to those in benchmarks/records/fuzz.json, one row per target.
"""

from __future__ import annotations

import argparse
import datetime as dt
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).resolve().parent.parent
CRATE: Final = ROOT / "fuzz"
RECORD: Final = ROOT / "benchmarks/records/fuzz.json"
TARGETS: Final = ("manifest", "shard", "checkpoint", "upgrade", "config")
READERS: Final = {
    "manifest": ("data/manifest.rs", "data/verify.rs", "checkpoint/manifest.rs"),
    "shard": ("data/shard.rs", "data/shard/group.rs", "data/index.rs"),
    "checkpoint": ("checkpoint/files.rs", "checkpoint/load.rs", "checkpoint/arrays.rs", "session/save.rs"),
    "upgrade": ("checkpoint/upgrade.rs", "checkpoint/migrate.rs", "checkpoint/manifest.rs"),
    "config": ("model/config.rs", "optim/config.rs", "data/loader_config.rs", "data/writer/config.rs"),
}
"""The files that read what a target mutates, below rust/core/src: their lines are counted."""
LONGEST: Final = 8192
"""Bytes of an input at most."""
LARGEST_CORPUS: Final = 300_000
"""Bytes of the kept corpus of a target: further files, the largest first, are left out."""
MOST_FILES: Final = 100


def build(folder: str, programs: Sequence[str], words: Sequence[str] = (), **env: str) -> Path:
    """Build programs of the crate in a folder of their own; returns where they are."""
    command = ["cargo", "build", "--quiet", "--release", "--target-dir", folder, *words]
    for program in programs:
        command += ["--bin", program]
    subprocess.run(command, cwd=CRATE, env=os.environ | env, check=True)
    return CRATE / folder / "release"


def fuzz(programs: Path, target: str, runs: int, seconds: int) -> dict[str, Any]:
    """Run a target on its corpus; what it adds is reduced and kept."""
    corpus, artifacts = CRATE / "corpus" / target, CRATE / "artifacts"
    artifacts.mkdir(exist_ok=True)
    began = time.monotonic()
    with scratch() as folder:
        work = folder / "corpus"
        shutil.copytree(corpus, work)
        words = [f"-runs={runs}", f"-max_total_time={seconds}", f"-max_len={LONGEST}", "-timeout=10", "-verbosity=1"]
        words += ["-rss_limit_mb=4096", "-print_final_stats=1", f"-artifact_prefix={artifacts}/{target}-", str(work)]
        env = os.environ | {"TMPDIR": str(folder)}
        found = subprocess.run([programs / target, *words], capture_output=True, text=True, env=env, check=False)
        seconds_taken = round(time.monotonic() - began)
        if found.returncode:
            print(found.stderr[-3000:], file=sys.stderr)
            raise SystemExit(f"{target}: a finding, its input is in {artifacts}")
        reduced = folder / "reduced"
        reduced.mkdir()
        merge = ["-merge=1", f"-max_len={LONGEST}", str(reduced), str(work)]
        subprocess.run([programs / target, *merge], capture_output=True, env=env, check=True)
        keep(reduced, corpus)
    executions = int(re.findall(r"stat::number_of_executed_units: (\d+)", found.stderr)[0])
    branches = [int(one) for one in re.findall(r"cov: (\d+)", found.stderr)]
    of = int(re.findall(r"Loaded 1 PC tables \((\d+) PCs\)", found.stderr)[0])
    return {"target": target, "executions": executions, "branches": branches[-1], "of": of, "seconds": seconds_taken}


def keep(reduced: Path, corpus: Path) -> None:
    """Replace a corpus by the smallest files of the reduced one; seeds stay."""
    kept = sum(file.stat().st_size for file in corpus.glob("seed-*"))
    for file in corpus.iterdir():
        if not file.name.startswith(("seed-", "found-")):
            file.unlink()
    for file in sorted(reduced.iterdir(), key=lambda file: file.stat().st_size):
        kept += file.stat().st_size
        if kept > LARGEST_CORPUS or len(list(corpus.iterdir())) >= MOST_FILES:
            break
        shutil.copy(file, corpus / file.name)


def coverage(targets: list[str]) -> dict[str, dict[str, str]]:
    """Lines of each target's readers that its corpus reaches; nothing without the programs of LLVM."""
    sysroot = subprocess.run(["rustc", "--print", "sysroot"], capture_output=True, text=True, check=True).stdout
    tools = next(Path(sysroot.strip()).glob("lib/rustlib/*/bin/llvm-profdata"), Path()).parent
    if not (tools / "llvm-profdata").exists():
        print("lines are not counted: rustup component add llvm-tools")
        return {}
    programs = build("target/coverage", ["replay"], RUSTC_WRAPPER=str(CRATE / "coverage.sh"))
    result = {}
    for target in targets:
        with scratch() as folder:
            env = os.environ | {"LLVM_PROFILE_FILE": str(folder / "raw"), "TMPDIR": str(folder)}
            subprocess.run([programs / "replay", target, CRATE / "corpus" / target], env=env, check=True)
            merged = folder / "merged"
            subprocess.run([tools / "llvm-profdata", "merge", "-sparse", folder / "raw", "-o", merged], check=True)
            words = ["export", "-summary-only", f"-instr-profile={merged}", programs / "replay"]
            shown = subprocess.run([tools / "llvm-cov", *words], capture_output=True, text=True, check=True).stdout
        files = {one["filename"]: one["summary"]["lines"] for one in json.loads(shown)["data"][0]["files"]}
        found = {}
        for reader in READERS[target]:
            lines = next((of for name, of in files.items() if name.endswith(f"rust/core/src/{reader}")), None)
            if lines is not None:
                found[reader] = f"{lines['covered']} of {lines['count']}"
        result[target] = found
    return result


@contextmanager
def scratch() -> Iterator[Path]:
    """A folder in memory, where there is one."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(prefix="ssm-hpn-fuzz-", dir=memory if memory.is_dir() else None) as folder:
        yield Path(folder)


def add(rows: list[dict[str, Any]], lines: dict[str, dict[str, str]]) -> list[dict[str, Any]]:
    """Put figures into the record: executions and seconds are added to those before."""
    before = json.loads(RECORD.read_text(encoding="utf-8")) if RECORD.exists() else []
    record = {row["target"]: row for row in before}
    for row in rows:
        old = record.get(row["target"], {})
        total = {key: row[key] + old.get(key, 0) for key in ("executions", "seconds")}
        reached = lines.get(row["target"]) or old.get("lines", {})
        today = dt.datetime.now(dt.UTC).date().isoformat()
        record[row["target"]] = row | total | {"lines": reached, "date": today}
    found = [record[target] for target in TARGETS if target in record]
    RECORD.write_text("[\n" + ",\n".join(json.dumps(row) for row in found) + "\n]\n", encoding="utf-8")
    return found


def main() -> int:
    """Build, run, record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=100_000, help="executions of each target")
    parser.add_argument("--seconds", type=int, default=0, help="most seconds of each target; 0: no bound")
    parser.add_argument("--targets", type=lambda text: text.split(","), default=list(TARGETS))
    parser.add_argument("--no-coverage", action="store_true", help="do not count lines")
    options = parser.parse_args()
    features = ("--features", "libfuzzer")
    programs = build("target/sancov", options.targets, features, RUSTC_WRAPPER=str(CRATE / "sancov.sh"))
    for target in options.targets:
        folder = CRATE / "corpus" / target
        for old in folder.glob("seed-*"):
            old.unlink()
        subprocess.run(
            [programs / target], env=os.environ | {"SEEDS": str(folder)}, stderr=subprocess.DEVNULL, check=True
        )
    rows = [fuzz(programs, target, options.runs, options.seconds) for target in options.targets]
    lines = {} if options.no_coverage else coverage(options.targets)
    for row in add(rows, lines):
        print(
            f"{row['target']:<12} {row['executions']:>12,} executions  {row['branches']:>6,} branches  {row['lines']}"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
