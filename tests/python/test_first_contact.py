"""The command without arguments, its progress bar in a terminal, and the doctor script where tools are missing."""

import os
import re
import shutil
import signal
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

import ssm_hpn.cli.train
from ssm_hpn.cli.main import main as command
from ssm_hpn.errors import DataError
from ssm_hpn.prepare import stdlib_corpus
from ssm_hpn.train import main
from support import text_data

ROOT = Path(__file__).resolve().parents[2]
SMALL = [
    *("--model.d_model", "16", "--model.n_layers", "1", "--model.block.d_state", "4", "--train.threads", "1"),
    *("--train.batch_size", "4", "--data.length", "32", "--evaluation.batches", "2"),
]


def write(folder, name, size):
    file = folder / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(f"# {name}\ndef function(self):\n    return self\n" * (size // 40))


@pytest.fixture
def library(tmp_path, monkeypatch):
    """A standard library and a folder of packages that the corpus is looked for in."""
    paths = {"stdlib": str(tmp_path / "python3"), "purelib": str(tmp_path / "python3" / "site-packages")}
    Path(paths["purelib"]).mkdir(parents=True)
    monkeypatch.setattr(sysconfig, "get_paths", lambda: paths)
    return Path(paths["stdlib"])


# ---- the default job


def test_without_arguments_it_trains_on_the_standard_library(here, capsys, monkeypatch):
    monkeypatch.setattr(signal, "signal", lambda *_: None)  # a command sets handlers for the whole process
    source = here / "python3"
    for number in range(30):
        write(source, f"package/module{number}.py", 2000)
    monkeypatch.setattr(stdlib_corpus, "corpus_files", lambda: (source, sorted(source.rglob("*.py"))))
    monkeypatch.setattr(sys, "argv", ["train.py"])
    parse = ssm_hpn.cli.train.parse_train
    monkeypatch.setattr(
        ssm_hpn.cli.train, "parse_train", lambda words, prog: parse([*words, "--train.steps", "2", *SMALL], prog)
    )
    assert main() == 0
    shown = capsys.readouterr().out
    assert f"30 files, {sum(file.stat().st_size for file in source.rglob('*.py')) / 1000:.1f} kB" in shown
    for word in ("finished after 2 updates", "unigram", "bigram", "trigram", "4-gram", "this model", "| def "):
        assert word in shown, word
    assert "again, or on after an interruption:  python -m ssm_hpn.train\n" in shown
    (run,) = (path for path in (here / "runs").iterdir() if path.name != "data")
    assert re.fullmatch(r"python-source-[0-9a-f]{8,}", run.name)
    assert main() == 0
    assert "finished after 2 updates" in capsys.readouterr().out
    assert len(list((here / "runs" / "data").iterdir())) == 1


@pytest.mark.slow
def test_the_default_job_beats_the_bigram_table(here):
    """300 updates are enough to exceed the bigram table by 0.1 in accuracy and to need fewer bits per byte."""
    words = ["--train.steps", "300", "--evaluation.every", "300", "--evaluation.batches", "1"]
    done = subprocess.run(
        [sys.executable, "-m", "ssm_hpn.train", *words], capture_output=True, text=True, check=False, timeout=600
    )
    assert done.returncode == 0, done.stderr
    found = re.findall(r"^\s*(bigram|this model)(?:, update 300)?\s+(0\.\d+)\s+(\d+\.\d+)$", done.stdout, re.MULTILINE)
    assert [name for name, *_ in found] == ["bigram", "this model"], done.stdout
    (accuracy, bits), (ours, our_bits) = ((float(a), float(b)) for _, a, b in found)
    assert ours >= accuracy + 0.10, done.stdout
    assert our_bits < bits, done.stdout


# ---- where its data comes from


def test_the_corpus_is_the_library_without_its_tests_and_packages(library):
    write(library, "os.py", 600_000)
    write(library, "json/decoder.py", 600_000)
    (library / "json" / "empty.py").touch()
    for name in ("test/test_os.py", "json/tests/test_it.py", "site-packages/other.py", "json/__pycache__/old.py"):
        write(library, name, 4000)
    root, files = stdlib_corpus.corpus_files()
    assert root == library
    assert [file.relative_to(root).as_posix() for file in files] == ["json/decoder.py", "os.py"]


def test_without_sources_of_the_library_the_corpus_is_installed_packages(library):
    write(library, "os.py", 10_000)
    for number in range(20):
        write(library, f"site-packages/numbers/core{number:02d}.py", 60_000)
    write(library, "site-packages/numbers/tests/test_core.py", 4000)
    root, files = stdlib_corpus.corpus_files()
    assert root == library / "site-packages"
    assert [file.relative_to(root).as_posix() for file in files] == [
        f"numbers/core{number:02d}.py" for number in range(20)
    ]
    prepared = stdlib_corpus.prepare_default(library / "shards")
    assert sum(part.tokens for part in prepared.parts.values()) == sum(file.stat().st_size for file in files)


def test_without_any_source_the_error_names_the_option(library, here, capsys):
    write(library, "os.py", 10_000)
    with pytest.raises(DataError, match=r"default corpus: expected a megabyte of Python source, found less"):
        stdlib_corpus.corpus_files()
    assert command(["train"]) == 3
    (line,) = capsys.readouterr().err.splitlines()
    assert "name a text of your own with --data.train" in line


# ---- divergence


def test_a_run_that_diverges_exits_5_and_names_the_setting(here, capsys):
    data = text_data(here, documents=12)
    blown_up = [
        *("--optim.lr", "1e38", "--optim.weight_decay", "0", "--optim.schedule.warmup", "0"),
        *("--optim.max_skipped", "2", "--model.head.kind", "linear"),
    ]
    assert command(["train", "--data", str(data.folder), *SMALL, "--train.steps", "50", *blown_up]) == 5
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    assert "2 updates in a row had a loss or gradient that is not finite" in line
    assert "lower the learning rate" in line


# ---- a terminal


@pytest.mark.skipif(os.name != "posix", reason="pseudo-terminals as POSIX has them")
def test_in_a_terminal_a_bar_moves(here):
    import pty

    data = text_data(here, documents=12)
    ours, theirs = pty.openpty()
    words = ["--data", str(data.folder), *SMALL, "--train.steps", "40", "--evaluation.every", "20"]
    env = os.environ | {"TERM": "xterm", "COLUMNS": "120", "LINES": "40"}
    env.pop("NO_COLOR", None)
    process = subprocess.Popen(
        [sys.executable, "-m", "ssm_hpn.train", *words], stdout=theirs, stderr=theirs, stdin=theirs, env=env
    )
    os.close(theirs)
    shown = bytearray()
    try:
        while piece := os.read(ours, 1 << 16):
            shown += piece
    except OSError:
        pass  # Linux raises this once the child has closed its end
    os.close(ours)
    assert process.wait(timeout=60) == 0, shown.decode()
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown.decode())
    assert b"\x1b[" in shown
    assert "━" in text
    assert re.search(r"100% ━+ step 40/40  loss \d\.\d+.*tokens/s", text), text
    assert text.count("[held out] step 20") == 1
    assert "finished after 40 updates" in text
    assert shown.count(b"\x1b[?25l") == shown.count(b"\x1b[?25h") > 0, "the cursor stays hidden"


# ---- the doctor script


def doctor(path, *words):
    bash = shutil.which("bash")
    assert bash is not None
    return subprocess.run(
        [bash, str(ROOT / "scripts" / "doctor.sh"), *words],
        capture_output=True,
        text=True,
        env={"PATH": str(path)},
        check=False,
        timeout=60,
    )


needs_bash = pytest.mark.skipif(os.name != "posix", reason="the doctor is a shell script")


@needs_bash
def test_the_doctor_prints_a_line_for_each_missing_tool(tmp_path):
    found = doctor(tmp_path)
    assert found.returncode == 1
    lines = found.stderr.splitlines()
    expected = {
        "Python": "install python3",
        "Rust": "https://rustup.rs",
        "C linker": "gcc or clang",
        "make": "install make",
    }
    assert len(lines) == len(expected), found.stderr
    for line, (tool, advice) in zip(lines, expected.items(), strict=True):
        assert line.startswith(f"missing  {tool}")
        assert advice in line
    assert "ok" not in found.stdout
    assert doctor(tmp_path, "--quiet").stdout == ""


def program(folder, name, says=""):
    file = folder / name
    file.write_text(f"#!/bin/sh\necho '{says}'\n")
    file.chmod(0o755)


@needs_bash
def test_the_doctor_reports_versions_that_are_too_old(tmp_path):
    for name in ("make", "cc", "cargo", "jq", "strace", "apt-get"):
        program(tmp_path, name)
    program(tmp_path, "rustc", "rustc 1.70.0 (90c541806 2023-05-31)")
    (tmp_path / "python3").symlink_to(sys.executable)
    (tmp_path / "sed").symlink_to(shutil.which("sed"))
    found = doctor(tmp_path)
    assert found.returncode == 1
    (line,) = found.stderr.splitlines()
    assert line == "missing  Rust 1.89 or newer: found rustc 1.70.0 (90c541806 2023-05-31); run: rustup update stable"
    program(tmp_path, "rustc", "rustc 1.89.0 (29483883e 2025-08-04)")
    found = doctor(tmp_path)
    assert (found.returncode, found.stderr) == (0, "")
    assert [line[:9] for line in found.stdout.splitlines()] == ["ok       "] * 7
    (tmp_path / "jq").unlink()
    assert "apt-get install jq" in doctor(tmp_path).stdout
