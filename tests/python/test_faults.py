"""docs/reliability.md: every row of its tables is a test, every test that injects a fault has a row."""

import ast
import json
import os
import re
import shutil
import subprocess
import sys

import pytest

import faults
from ssm_hpn import errors

TESTS = faults.ROOT / "tests/python"
CODES = {
    *(str(errors.exit_code(getattr(errors, name)(""))) for name in errors.__all__ if name.endswith("Error")),
    *(str(code) for code in (errors.EXIT_DONE, errors.EXIT_INTERRUPTED, errors.EXIT_KILLED)),
    "none",
}


def marked(path):
    """The names of rows in the markers of a file of Python tests, or above the tests of a Rust file."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".rs":
        yield from re.findall(r"^ *// Fault: (.+)\n(?: *//.*\n)* *#\[test\]", text, re.MULTILINE)
        return
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "pytest.mark.fault":
            yield node.args[0].value


def test_every_row_is_a_test_and_every_test_a_row():
    files = [*TESTS.glob("test_*.py"), *(faults.ROOT / "rust").rglob("*.rs")]
    tested = {(row, path.relative_to(faults.ROOT).as_posix()) for path in files for row in marked(path)}
    written = {(row.fault, file) for row in faults.rows() for file in row.files}
    assert tested - written == set(), "tests without a row"
    assert written - tested == set(), "rows without a test"
    assert all(row.files for row in faults.rows())


def test_the_rows_are_named_once_and_have_exit_codes_that_exist():
    rows = faults.rows()
    assert len({row.fault for row in rows}) == len(rows)
    for row in rows:
        assert set(re.split(r", | or ", row.code)) <= CODES, row.fault
        assert row.state
        assert row.again


def test_the_record_has_rows_of_the_page_alone():
    if not faults.RECORD.exists():
        pytest.skip("no record")
    record = json.loads(faults.RECORD.read_text(encoding="utf-8"))
    assert {row["fault"] for row in record} <= {row.fault for row in faults.rows()}
    assert all(0 < row["survived"] == row["injected"] for row in record)


def test_a_row_of_a_program_is_put_in_place_of_the_former(tmp_path):
    record = tmp_path / "faults.json"
    faults.write([faults.Tally("b", 2, 2, "none"), faults.Tally("a", 1, 1)], record)
    faults.write([faults.Tally("b", 3, 3, "none")], record)
    found = [(row["fault"], row["injected"]) for row in json.loads(record.read_text())]
    assert found == [("a", 1), ("b", 3)]


def test_rows_of_one_fault_are_added_and_the_worst_outcome_stays():
    rows = []
    worst = ("", "it goes on", "2.5 s until it ended", "0.9 s until it ended", "")
    for number, outcome in enumerate(worst, start=1):
        faults.include(rows, faults.Tally("a", number, number, outcome))
    faults.include(rows, faults.Tally("b", 3, 2))
    assert rows == [faults.Tally("a", 15, 15, "2.5 s until it ended"), faults.Tally("b", 3, 2)]


@pytest.mark.slow
def test_what_tests_inject_is_counted_where_several_processes_run_them(tmp_path):
    folder, record = tmp_path / "tests/python", tmp_path / "benchmarks/records/faults.json"
    for one in (folder, record.parent):
        one.mkdir(parents=True)
    for name in ("conftest.py", "faults.py", "filter_runs.py", "forks.py", "support.py"):
        shutil.copy(TESTS / name, folder)
    (folder / "test_two.py").write_text(
        "import faults, pytest\n\n"
        "@pytest.mark.fault('a')\n"
        "@pytest.mark.parametrize('number', [3, 5])\n"
        "def test_one(tally, number):\n"
        "    tally.add(faults.rounds(1, of=number), worst=f'{number} updates')\n"
    )
    words = ["-q", "-n", "2", f"--rootdir={tmp_path}", "-o", "markers=fault(row): injects", faults.ALL, "test_two.py"]
    environment = os.environ | {"PYTHONPATH": str(faults.ROOT / "python")}
    environment.pop(faults.VARIABLE, None)
    command = [sys.executable, "-m", "pytest", *words]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stdout
    (row,) = json.loads(record.read_text())
    assert (row["fault"], row["injected"], row["survived"], row["worst"]) == ("a", 8, 8, "5 updates")
