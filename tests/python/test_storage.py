"""Whole files: what Python writes with a rename."""

import ast
from pathlib import Path

import pytest

import ssm_hpn
from ssm_hpn.errors import StorageError
from ssm_hpn.storage import append_line, replaced, write_whole

WRITERS = {"storage.py", "metrics_log.py", "copies.py", "sorting.py"}
"""The modules that may open files for writing: `storage`, the metrics log, which appends and is truncated on resume,
and copies and sorted runs in a work folder, which is removed when a preparation ends."""


def test_text_and_bytes_replace_the_old_file(tmp_path):
    file = tmp_path / "größe.txt"
    write_whole(file, "zehn µm\n")
    assert file.read_bytes() == "zehn µm\n".encode()
    write_whole(str(file), b"\x00\xff")
    assert file.read_bytes() == b"\x00\xff"
    assert [found.name for found in tmp_path.iterdir()] == [file.name]


def test_a_failure_names_the_file_and_leaves_the_old_one(tmp_path):
    folder = tmp_path / "taken"
    folder.mkdir()
    (folder / "kept").write_text("x", encoding="ascii")
    with pytest.raises(StorageError, match=r"taken: cannot rename into place: .+"):
        write_whole(folder, "text")
    assert (folder / "kept").read_text(encoding="ascii") == "x"
    assert [found.name for found in tmp_path.iterdir()] == ["taken"]
    with pytest.raises(StorageError, match=r"missing.file\.txt: cannot create the file: .+"):
        write_whole(tmp_path / "missing" / "file.txt", "text")


def test_a_streamed_file_replaces_the_old_one_at_its_end_or_not_at_all(tmp_path):
    file = tmp_path / "p.csv"
    file.write_text("old")
    with pytest.raises(KeyError), replaced(file) as partial:
        raise KeyError(partial.write_text("half"))
    assert file.read_text() == "old"
    with replaced(file) as partial:
        partial.write_text("new")
        assert file.read_text() == "old"
    assert [found.name for found in tmp_path.iterdir()] == ["p.csv"]
    assert file.read_text() == "new"
    with (
        pytest.raises(StorageError, match=r"none/p\.csv: cannot write: No such file"),
        replaced(tmp_path / "none" / "p.csv") as partial,
    ):
        partial.write_text("x")


def test_an_error_of_reading_inside_replaced_names_the_file_that_is_read(tmp_path):
    with pytest.raises(FileNotFoundError, match="input"), replaced(tmp_path / "p.csv"):
        (tmp_path / "input").read_bytes()


def test_a_line_is_appended(tmp_path):
    file = tmp_path / "samples.jsonl"
    for line in ("größe", "b"):
        append_line(file, line)
    assert file.read_bytes() == "größe\nb\n".encode()
    with pytest.raises(StorageError, match=r"cannot write: .+"):
        append_line(tmp_path, "c")


def writes(tree):
    """The lines of a module that write a file by themselves."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        modes = [
            one.value
            for one in [*node.args, *(keyword.value for keyword in node.keywords if keyword.arg == "mode")]
            if isinstance(one, ast.Constant) and isinstance(one.value, str)
        ]
        computed = any(isinstance(one, ast.IfExp) for one in node.args)
        flags = any("O_WRONLY" in ast.unparse(one) or "flags" in ast.unparse(one) for one in node.args)
        opens = name == "open" and (computed or flags or any(set(mode) & set("wax+") for mode in modes))
        nowhere = any("devnull" in ast.unparse(one) for one in node.args)
        if (opens and not nowhere) or name in ("write_text", "write_bytes", "fdopen"):
            yield node.lineno


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("p.write_text('a')", True),
        ("p.write_bytes(b'a')", True),
        ("open(p, 'w')", True),
        ("p.open('ab')", True),
        ("p.open(mode='r+')", True),
        ("p.open('a' if x else 'w')", True),
        ("os.open(p, os.O_WRONLY)", True),
        ("p.open('rb')", False),
        ("p.open(newline='')", False),
    ],
)
def test_every_form_of_a_direct_write_is_found(line, found):
    assert bool(list(writes(ast.parse(line)))) is found


def test_only_listed_modules_write_files():
    root = Path(ssm_hpn.__file__).parent
    found = [
        f"{file.relative_to(root)}:{line}"
        for file in sorted(root.rglob("*.py"))
        if file.name not in WRITERS
        for line in writes(ast.parse(file.read_text(encoding="utf-8")))
    ]
    assert found == []
