"""Paths that the system refuses: one line in the form of all errors, in every command and option that takes a path."""

import errno
import os

import pytest

from ssm_hpn.cli.main import main
from ssm_hpn.cli.system import NO_FOLDER, WORDS, in_words
from ssm_hpn.errors import InUseError, StorageError

pytestmark = pytest.mark.skipif(os.name != "posix", reason="paths and links as POSIX has them")

LONG = "x" * 300
TINY = ["--train.steps", "1", "--model.d_model", "4", "--model.n_layers", "1", "--data.length", "16"]
TABLE = ["--data.columns.id", "id", "--data.columns.features", "x", "--data.columns.label", "y"]
COMMANDS = {
    "data": lambda path: ["train", "--data", path, "--dry-run"],
    "data in a list": lambda path: ["train", "--data", f"t.csv,{path}", "--dry-run"],
    "validation": lambda path: ["train", "--data", "f.txt", "--data.validation", path, "--dry-run"],
    "labels": lambda path: ["train", "--data", "t.csv", *TABLE, "--data.labels", path, "--dry-run"],
    "tokenizer": lambda path: ["train", "--data", "f.txt", "--data.tokenizer", path, "--dry-run"],
    "config": lambda path: ["train", "--config", path, "--dry-run"],
    "run folder": lambda path: ["train", "--data", "f.txt", "--run.folder", path, *TINY],
    "resume": lambda path: ["train", "--resume", path],
    "prepare": lambda path: ["prepare", path, "--out", "prepared"],
    "prepare out": lambda path: ["prepare", "f.txt", "--out", path],
    "prepare config": lambda path: ["prepare", "f.txt", "--out", "prepared", "--config", path],
    "inspect": lambda path: ["inspect", path],
    "evaluate": lambda path: ["evaluate", path],
    "predict": lambda path: ["predict", path, "--data", "f.txt"],
    "generate": lambda path: ["generate", path],
    "report": lambda path: ["report", path],
    "compare": lambda path: ["compare", path, "--out", "c.html"],
    "compare out": lambda path: ["compare", "run", "--out", path],
    "predict out": lambda path: ["predict", "run", "--data", "f.txt", "--out", path + ".csv"],
    "predict data": lambda path: ["predict", "run", "--data", path],
    "evaluate data": lambda path: ["evaluate", "run", "--data", path],
}
PATHS = {
    "long": LONG,
    "long ending": f"{LONG}.csv",
    "below long": f"{LONG}/a",
    "loop": "loop",
    "below a file": "f.txt/a",
}
TAKES_A_FOLDER = {"data", "data in a list", "validation", "prepare", "inspect", "predict data", "evaluate data"}


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    """A folder with a text, a table, a link to itself, an empty folder and a run."""
    folder = tmp_path_factory.mktemp("paths")
    (folder / "f.txt").write_text("abc def " * 200)
    (folder / "t.csv").write_text("id,x,y\n" + "".join(f"{n},{n},{'ab'[n % 2]}\n" for n in range(40)))
    (folder / "empty").mkdir()
    (folder / "loop").symlink_to("loop")
    before = os.getcwd()  # noqa: PTH109
    os.chdir(folder)
    try:
        assert main(["train", "--data", "f.txt", "--run.folder", "run", *TINY]) == 0
    finally:
        os.chdir(before)
    return folder


def refused(words, capsys):
    """The line with which a command is refused."""
    capsys.readouterr()
    assert main(words) in (2, 3, 4, 6)
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    assert ": expected " in line, line
    assert ", found " in line, line
    assert "; " in line, line
    for word in ("bug", "Errno", "os error", "Traceback"):
        assert word not in line, line
    return line


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("path", PATHS)
def test_a_path_that_the_system_refuses_is_one_line(work, monkeypatch, capsys, command, path):
    monkeypatch.chdir(work)
    if (command, path) in (("predict out", "loop"), ("compare out", "loop")):
        return  # such a link is replaced by the file
    line = refused(COMMANDS[command](PATHS[path]), capsys)
    if path.startswith("long"):
        assert "a name that is too long" in line
        assert LONG in line


@pytest.mark.parametrize("command", [name for name in COMMANDS if name not in TAKES_A_FOLDER])
def test_a_folder_in_place_of_a_file_or_run_is_one_line(work, monkeypatch, capsys, command):
    monkeypatch.chdir(work)
    if command not in ("prepare out", "run folder", "predict out"):  # which may be empty folders, or a name beside it
        refused(COMMANDS[command]("empty"), capsys)


@pytest.mark.parametrize(
    "command", ["run folder", "resume", "prepare out", "evaluate", "predict", "generate", "report"]
)
def test_a_file_in_place_of_a_folder_is_one_line(work, monkeypatch, capsys, command):
    monkeypatch.chdir(work)
    refused(COMMANDS[command]("f.txt"), capsys)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read everything")
@pytest.mark.parametrize("command", ["data", "config", "labels", "tokenizer"])
def test_a_file_that_may_not_be_read_is_one_line(work, monkeypatch, capsys, command):
    monkeypatch.chdir(work)
    secret = work / "secret.csv"
    secret.write_text("id,x,y\n")
    secret.chmod(0)
    assert "no permission" in refused(COMMANDS[command]("secret.csv"), capsys)


@pytest.mark.parametrize("number", WORDS)
def test_every_number_of_the_system_becomes_the_same_line_from_all_its_forms(number):
    text = os.strerror(number)
    expected = "a/b: expected {}, found {}; {}".format(*WORDS[number])
    assert in_words(OSError(number, text, "a/b")) == expected
    assert in_words(StorageError(f"a/b: cannot read: {OSError(number, text, 'a/b')}")) == expected
    assert in_words(StorageError(f"a/b: cannot list: {text} (os error {number})")) == expected
    written = expected if number != errno.ENOENT else "a/b: expected {}, found {}; {}".format(*NO_FOLDER)
    assert in_words(StorageError(f"a/b: cannot write: {text}")) == written


def test_other_errors_keep_their_text():
    for error in (InUseError("runs/a: in use by process 7; wait"), StorageError("a: cannot read: the disk burns")):
        assert in_words(error) == str(error)
    assert (
        in_words(OSError(errno.ENOSPC, "No space left on device")) == f"[Errno {errno.ENOSPC}] No space left on device"
    )
