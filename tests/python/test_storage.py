"""Whole files and folders: what Python writes with a rename."""

import ast
import os
import re
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest

import ssm_hpn
from ssm_hpn.errors import StorageError
from ssm_hpn.prepare.staging import LOCK, MARK, staged
from ssm_hpn.storage import append_line, move_into_place, replaced, replaced_text, sync_folder, write_whole

WRITERS = {"storage.py", "metrics_log.py", "copies.py", "remote.py"}
"""The modules that may open files for writing or rename them: `storage`, the metrics log, which appends and is
truncated on resume, and copies in a work folder, of files and of a store's objects, which is removed when a preparation
ends."""


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


@pytest.fixture
def operations(monkeypatch):
    """What is synced and renamed, in order: a file with its size, a folder with the names in it, names of a rename."""
    done = []
    fsync, replace, rename = os.fsync, os.replace, os.rename

    def synced(opened):
        found = os.fstat(opened)
        folder = stat.S_ISDIR(found.st_mode)
        names = sorted(os.listdir(opened)) if folder else []  # noqa: PTH208 - an open folder has no path
        done.append(("folder", names) if folder else ("file", found.st_size))
        fsync(opened)

    def moved(how):
        def move(old, new):
            done.append(("rename", Path(new).name))
            how(old, new)

        return move

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(os, "replace", moved(replace))
    monkeypatch.setattr(os, "rename", moved(rename))
    return done


def test_a_file_is_written_synced_renamed_and_its_folder_synced(tmp_path, operations):
    with replaced(tmp_path / "p.bin") as partial:
        partial.write_bytes(b"12345")
    assert operations == [("file", 5), ("rename", "p.bin"), ("folder", ["p.bin"])]
    operations.clear()
    with replaced_text(tmp_path / "q.csv") as file:
        file.write("größe")
    assert operations == [("file", 7), ("rename", "q.csv"), ("folder", ["p.bin", "q.csv"])]


def test_a_prepared_folder_is_synced_renamed_and_the_folder_above_it_synced(tmp_path, operations):
    with staged(tmp_path / "data") as folder:
        assert {found.name for found in folder.iterdir()} == {LOCK, MARK}
        write_whole(folder / "manifest.json", "{}")  # synced by the core
    assert operations == [("folder", [MARK, "manifest.json"]), ("rename", "data"), ("folder", ["data"])]
    assert [found.name for found in (tmp_path / "data").iterdir()] == ["manifest.json"]


SAVES = """
import sys
import numpy as np
from ssm_hpn._core import ShardWriter, mark_best, save_arrays

root = sys.argv[1]
save_arrays(f"{root}/run/of/checkpoints", "step-00000001", 1, "small", {"weights": np.ones((2, 3), np.float32)}, "{}")
mark_best(f"{root}/run/of/checkpoints", 1)
writer = ShardWriter(f"{root}/some/data", '{"kind": "tokens", "vocab_size": 9, "columns": ["tokens"]}')
writer.append_many(offsets=np.array([0, 2], np.uint64), tokens=np.array([1, 2], np.uint32))
writer.close("{}")
"""


@pytest.mark.skipif(sys.platform != "linux", reason="strace is of Linux")
@pytest.mark.skipif(shutil.which("strace") is None and not os.environ.get("CI"), reason="strace is not on the PATH")
def test_the_core_syncs_what_gets_a_name_and_the_folder_that_has_it(tmp_path):
    root, trace = tmp_path / "root", tmp_path / "trace"
    root.mkdir()
    calls = "trace=fsync,fdatasync,rename,renameat,renameat2,mkdir,mkdirat"
    command = ["strace", "-f", "-qq", "-y", "-e", calls, "-e", "signal=none", "-o", str(trace)]
    subprocess.run([*command, sys.executable, "-c", SAVES, str(root)], check=True)
    done: list[tuple[str, Path, Path]] = []
    for line in trace.read_text().splitlines():
        paths = [Path(path) for path in re.findall(rf"[<\"]({re.escape(str(root))}[^>\"]*)[>\"]", line)]
        if paths and line.endswith(" = 0"):
            done.append((re.findall(r"(\w+)\(", line)[0][:5], paths[0], paths[-1]))
    moves = [(number, old, new) for number, (what, old, new) in enumerate(done) if what == "renam"]
    names = ["step-00000001", "latest", "best", "shard-00000.arrow", "SHA256SUMS", "manifest.json"]
    assert [new.name for _, _, new in moves] == names
    for number, old, new in moves:
        before = {path for what, path, _ in done[:number] if what in {"fsync", "fdata"}}
        inside = [old / found.name for found in new.iterdir()] if new.is_dir() else []
        assert {old, *inside} <= before, f"{new} has its name before it is on the disk"
        assert done[number + 1] == ("fsync", new.parent, new.parent), f"the name of {new} is not on the disk"
    made = [(number, path) for number, (what, path, _) in enumerate(done) if what == "mkdir" and path.name[0] != "."]
    assert [path.name for _, path in made] == ["run", "of", "checkpoints", "some", "data"]
    for number, path in made:
        assert ("fsync", path.parent, path.parent) in done[number:], f"the name of {path} is not on the disk"


@pytest.mark.parametrize("left", [[], [LOCK], [LOCK, MARK, "manifest.json"], [MARK]])
def test_what_a_killed_preparation_left_is_removed_by_the_next_one(tmp_path, left):
    folder, other = tmp_path / ".data-abcd1234", tmp_path / ".data-elsewhere"
    for one in (folder, other):
        one.mkdir()
    (other / "notes.txt").touch()
    for name in left:
        (folder / name).touch()
    with staged(tmp_path / "data") as new:
        write_whole(new / "manifest.json", "{}")
    assert sorted(found.name for found in tmp_path.iterdir()) == [".data-elsewhere", "data"]


def test_a_folder_that_cannot_be_synced_and_a_failed_rename_are_named(tmp_path):
    with pytest.raises(StorageError, match=r"missing: cannot sync the folder: No such file"):
        sync_folder(tmp_path / "missing")
    with pytest.raises(StorageError, match=r"data: cannot rename into place: No such file"):
        move_into_place(tmp_path / "missing", tmp_path / "data")
    (tmp_path / "data").mkdir()
    with (
        pytest.raises(StorageError, match=rf"^{tmp_path}/data: cannot rename into place: Is a directory$"),
        replaced(tmp_path / "data") as partial,
    ):
        partial.write_bytes(b"1")


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


def renames(call, name):
    """Whether a call gives a file another name. A text's `replace` has two arguments, a time's only names of them."""
    on = ast.unparse(call.func.value) if isinstance(call.func, ast.Attribute) else ""
    if name == "replace":
        return on == "os" or (len(call.args) == 1 and not call.keywords) or "target" in {k.arg for k in call.keywords}
    return name in ("rename", "renames") or (name == "move" and on in ("shutil", ""))


def writes(tree):
    """The lines of a module that write or rename a file by themselves."""
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
        if (opens and not nowhere) or name in ("write_text", "write_bytes", "fdopen") or renames(node, name):
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
        ("p.rename(q)", True),
        ("p.replace(q)", True),
        ("p.replace(target=q)", True),
        ("os.rename(p, q)", True),
        ("os.replace(p, q)", True),
        ("shutil.move(p, q)", True),
        ("move(p, q)", True),
        ("text.replace('a', 'b')", False),
        ("time.replace(tzinfo=None)", False),
        ("p.open('rb')", False),
        ("p.open(newline='')", False),
    ],
)
def test_every_form_of_a_direct_write_or_rename_is_found(line, found):
    assert bool(list(writes(ast.parse(line)))) is found


def test_only_listed_modules_write_or_rename_files():
    root = Path(ssm_hpn.__file__).parent
    found = [
        f"{file.relative_to(root)}:{line}"
        for file in sorted(root.rglob("*.py"))
        if file.name not in WRITERS
        for line in writes(ast.parse(file.read_text(encoding="utf-8")))
    ]
    assert found == []
