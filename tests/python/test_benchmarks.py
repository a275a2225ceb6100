"""Benchmarks: peers run without variables that slow their matrix products down."""

import doctest
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
