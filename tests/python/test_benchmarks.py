"""Benchmarks: peers run without variables that slow their matrix products down."""

import doctest
import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
FAKE_NUMPY = """
import os, sys
print(*sorted(f"{name}={value}" for name, value in os.environ.items() if name.startswith("OPENBLAS")))
sys.exit()
"""
TUNED = {"OPENBLAS_CORETYPE": "Haswell", "OPENBLAS_L2_SIZE": "4096", "OPENBLAS_NUM_THREADS": "7"}


def test_numpy_is_imported_without_tuning_for_the_products(tmp_path):
    (tmp_path / "numpy.py").write_text(FAKE_NUMPY)
    env = os.environ | TUNED | {"PYTHONPATH": str(tmp_path)}
    command = [sys.executable, str(BENCHMARKS / "products/reference.py")]
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=True)
    assert done.stdout == "OPENBLAS_NUM_THREADS=1\n"


@pytest.mark.parametrize(("name", "stays"), list(zip(TUNED, (False, False, True), strict=True)))
def test_processes_of_peers_get_no_tuning(monkeypatch, name, stays):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    from bench_peers import without_tuning

    monkeypatch.setenv(name, TUNED[name])
    assert (name in without_tuning()) is stays


def test_a_record_lies_beside_its_table_under_processor_and_date(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import record_files

    assert doctest.testmod(record_files).failed == 0
    machine = {"processor": "Some Processor(TM) 5, 2 cores", "date": "2026-11-28"}
    record_files.write_record(tmp_path / "records", "small", {"machine": machine, "rows": ["µs"]}, "| µs |\n")
    stem = tmp_path / "records/small-some-processor-5-2026-11-28"
    assert json.loads(stem.with_suffix(".json").read_text(encoding="utf-8")) == {"machine": machine, "rows": ["µs"]}
    assert stem.with_suffix(".md").read_text(encoding="utf-8") == "| µs |\n"


def test_the_speed_of_several_machines_is_computed_from_the_record_of_ranks(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import ranks_on_paper

    assert doctest.testmod(ranks_on_paper) == (0, 4)
    spec = importlib.util.spec_from_file_location("run_of_ranks", BENCHMARKS.parent / "tests/mpi/run.py")
    run = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(run)
    monkeypatch.setattr(run, "digest", lambda _: "0123456789abcdef" * 4)
    monkeypatch.setattr(run, "parameters", lambda _: 2_000_000)
    speeds = (1.0, 2.0, 9000.0, 8000.0, 7000.0)  # of the first row and of the first update, which do not count
    rows = [{"perf/tokens_per_second": speed, "perf/comm_ms": speed / 100, "mem/rss_bytes": 5} for speed in speeds]
    (tmp_path / "run").mkdir()
    (tmp_path / "run/metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    row = run.row_of(tmp_path, config="M", ranks=1, threads=2, virtual_ranks=1)
    assert {"ranks", "threads", "config", "tokens_per_s", "comm_ms", "digest"} <= set(row)
    assert (row["tokens_per_s"], row["comm_ms"], row["digest"]) == (8000, 80.0, "0123456789abcdef")
    record, page = tmp_path / "mpi.json", tmp_path / "scaling.md"
    record.write_text(json.dumps({"date": "2026-11-28", "processor": "P", "cores": 2, "rows": [row]}))
    page.write_text("# Scaling\n\nmeasured\n")
    command = [sys.executable, str(BENCHMARKS / "ranks_on_paper.py"), "--record", str(record), "--out", str(page)]
    for _ in range(2):  # the second time it replaces its section
        subprocess.run(command, check=True, capture_output=True)
    text = page.read_text()
    assert text.startswith("# Scaling\n\nmeasured\n\n## several machines, computed\n")
    assert text.count("## several machines, computed") == 1
    assert text.count("| 1 | 8,000 | 1.00 | 1.00 | 8,000 | 1.00 | 1.00 |") == 2
    for line in text.splitlines():
        if line.startswith(("| 2 ", "| 64 ")):
            shares = [float(cell) for cell in line.split("|") if "." in cell]
            assert len(shares) == 4, line
            assert 0 < shares[0] <= min(shares[1:]), line
            assert max(shares) <= 1, line
