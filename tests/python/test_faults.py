"""docs/reliability.md: every row of its tables is a test, every test that injects a fault has a row."""

import ast
import json
import re

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
