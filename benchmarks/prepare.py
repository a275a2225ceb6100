"""Speed and memory of data preparation: the data is made here, prepared in a process of its own, and removed again.

    python benchmarks/prepare.py csv --mb 2000 --folder /tmp/bench
    python benchmarks/prepare.py --mb 200                       every kind

csv       time steps of 32,768 series, their ids out of order            parquet   the same rows
jsonl     one text per line        text      files of text        lines     one document per line        ids   token ids
Prints one JSON object per kind: MB of input, seconds, MB/s, seconds of processor time over all cores, and the peak of
resident memory in MB. On a machine with other load, processor time is more meaningful than MB/s.
"""

import argparse
import json
import os
import platform
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import duckdb
import numpy as np

STEPS = {"id": "id", "order": "t", "features": ["x1", "x2", "x3", "x4"], "label": "y"}
KINDS = {
    "csv": {"columns": STEPS},
    "parquet": {"columns": STEPS},
    "jsonl": {"columns": {"label": "y"}},
    "text": {},
    "lines": {"documents": "line"},
    "ids": {},
}
WORDS = np.array(
    [
        "the",
        "of",
        "and",
        "to",
        "in",
        "is",
        "that",
        "it",
        "was",
        "for",
        "on",
        "are",
        "with",
        "as",
        "his",
        "they",
        "be",
        "at",
        "one",
        "have",
        "this",
        "from",
    ]
)


def make(kind: str, path: Path, size: int) -> None:
    """About `size` bytes of one kind."""
    rng = np.random.default_rng(0)
    if kind in ("csv", "parquet"):
        make_table(kind, path, size)
        return
    with path.open("w") as file:
        step = 0
        while file.tell() < size:
            file.write(block(kind, step, rng))
            step += 20_000


def block(kind: str, step: int, rng: np.random.Generator) -> str:
    """20,000 rows of a text format."""
    if kind == "ids":
        return "\n".join(map(str, rng.integers(0, 50_000, 20_000).tolist())) + "\n"
    lines = [" ".join(line) for line in WORDS[rng.integers(0, len(WORDS), (20_000, 24))].tolist()]
    if kind == "jsonl":
        return "".join(
            json.dumps({"text": f"{step + k} {line}", "y": "ab"[k % 2]}) + "\n" for k, line in enumerate(lines)
        )
    return "\n".join(f"{step + k} {line}" for k, line in enumerate(lines)) + "\n"


def make_table(kind: str, path: Path, size: int) -> None:
    """Time steps of 32,768 series, their ids out of order: about 54 bytes a row of CSV, 41 of Parquet."""
    bytes_of_row = 54 if kind == "csv" else 41
    numbers = ", ".join(f"round(hash(4 * t + {k}) / 2.0 ** 62 - 2, 6) AS x{k + 1}" for k in range(4))
    query = (
        f"SELECT 's' || hash(t) % 32768 AS id, t, {numbers}, CASE WHEN hash(t) % 2 = 0 THEN 'a' ELSE 'b' END AS y"
        f" FROM range({size // bytes_of_row}) rows(t)"
    )
    with duckdb.connect(config={"memory_limit": "200MB", "temp_directory": str(path.parent)}) as connection:
        connection.execute(f"COPY ({query}) TO '{path}' (FORMAT {kind})")


def measured(kind: str, path: Path, out: Path) -> dict[str, object]:
    """Prepare in a process of its own, and report time and memory."""
    start = time.perf_counter()
    done = subprocess.run(
        [sys.executable, __file__, "--run", kind, "--folder", str(path), "--out", str(out)],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    seconds = time.perf_counter() - start
    size = path.stat().st_size / 1e6
    inner = json.loads(done.stdout)
    return {
        "kind": kind,
        "mb": round(size),
        "seconds": round(seconds, 1),
        "mb_per_s": round(size / seconds, 1),
        **inner,
    }


def run(kind: str, path: Path, out: Path) -> None:
    """Body of the process: prepares the data."""
    from ssm_hpn.config import PrepareOptions
    from ssm_hpn.prepare import prepare

    prepared = prepare(PrepareOptions.model_validate({"train": [str(path)], **KINDS[kind]}), out)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
    used = resource.getrusage(resource.RUSAGE_SELF)
    cpu = used.ru_utime + used.ru_stime
    documents = sum(part.documents for part in prepared.parts.values())
    print(
        json.dumps(
            {"cpu_s": round(cpu, 1), "peak_mb": round(peak), "documents": documents, "digest": prepared.digest[:16]}
        )
    )


def main() -> None:
    """One kind, or all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kind", nargs="?", choices=KINDS)
    parser.add_argument("--mb", type=int, default=200)
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()))
    parser.add_argument("--run", help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.run:
        run(given.run, given.folder, given.out)
        return
    for kind in [given.kind] if given.kind else KINDS:
        with tempfile.TemporaryDirectory(prefix="bench-prepare-", dir=given.folder) as folder:
            path = Path(folder) / f"data.{kind if kind in ('csv', 'parquet', 'jsonl') else 'txt'}"
            make(kind, path, given.mb * 1_000_000)
            found = measured(kind, path, Path(folder) / "out")
            load = os.getloadavg()[0]
            print(
                json.dumps({**found, "cores": os.cpu_count(), "load": round(load, 1), "machine": platform.machine()}),
                flush=True,
            )
            shutil.rmtree(Path(folder) / "out")


if __name__ == "__main__":
    main()
