"""Preparations that go on after an interruption; workers; a test part; lengths in the summary."""

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from ssm_hpn.cli.main import main
from ssm_hpn.config import PrepareOptions
from ssm_hpn.errors import ConfigError
from ssm_hpn.prepare import pipeline, prepare, verify_part

SMALL = ("--data.shard_tokens", "1024")


def texts(folder, documents=400):
    """Lines of text in one file."""
    rng = np.random.default_rng(0)
    lines = [f"document {number} " * int(rng.integers(1, 30)) for number in range(documents)]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "a.txt").write_text("\n".join(lines) + "\n")


def rows(path, count=4000):
    """Time steps whose ids are out of order."""
    rng = np.random.default_rng(0)
    ids = rng.integers(0, 97, count)
    lines = [
        f"{one},{step},{x:.6f},{one % 3}" for step, (one, x) in enumerate(zip(ids, rng.normal(size=count), strict=True))
    ]
    path.write_text("id,t,x,y\n" + "\n".join(lines) + "\n")


def files(folder):
    """The bytes of all files but the summary, which has times in it."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != "prepared.json"
    }


@pytest.mark.parametrize("stop", [1, 4, 6])
@pytest.mark.parametrize("kind", ["table", "text"])
def test_an_interrupted_preparation_goes_on_after_its_finished_shards(tmp_path, monkeypatch, kind, stop):
    if kind == "text":
        texts(tmp_path / "text")
        options = PrepareOptions(train=str(tmp_path / "text"), documents="line", shard_tokens=1024)
    else:
        rows(tmp_path / "rows.csv")
        columns = {"id": "id", "order": "t", "features": ["x"], "label": "y"}
        options = PrepareOptions(train=str(tmp_path / "rows.csv"), columns=columns, shard_tokens=1024)
    declaration = pipeline.Layout.declaration
    small = {"batch_tokens": 300}  # a record batch, of which a shard has some
    monkeypatch.setattr(pipeline.Layout, "declaration", lambda layout: declaration(layout) | small)
    whole = prepare(options, tmp_path / "whole")
    expected = files(whole.folder)
    written = []
    append = pipeline.PartWriter.append

    def interrupted(self, lengths, names, **columns):
        for start in range(0, len(lengths), 16):  # as if documents came in small batches
            if len(written) == stop:
                raise KeyboardInterrupt
            written.append(1)
            edges = np.concatenate([[0], np.cumsum(lengths)])
            units = slice(int(edges[start]), int(edges[min(start + 16, len(lengths))]))
            part = {
                name: values[units] if len(values) == edges[-1] and name != "label" else values[start : start + 16]
                for name, values in columns.items()
            }
            append(self, lengths[start : start + 16], names[start : start + 16], **part)

    monkeypatch.setattr(pipeline.PartWriter, "append", interrupted)
    with pytest.raises(KeyboardInterrupt):
        prepare(options, tmp_path / "data")
    left = next(tmp_path.glob(".data-????????"))
    finished = {path: path.stat().st_mtime_ns for path in left.rglob("shard-*.arrow")}
    assert not (tmp_path / "data").exists()
    assert not (left / "work").exists(), "what is only needed meanwhile goes"
    monkeypatch.setattr(pipeline.PartWriter, "append", append)
    again = prepare(options, tmp_path / "data")
    assert files(again.folder) == expected
    assert not list(tmp_path.glob(".data-*"))
    for path, changed in finished.items():
        assert (again.folder / path.relative_to(left)).stat().st_mtime_ns == changed, "made again"
    assert finished or stop == 1


def test_what_an_interrupted_preparation_left_is_not_taken_up_for_other_files_or_settings(tmp_path, monkeypatch):
    texts(tmp_path / "text")
    options = PrepareOptions(train=str(tmp_path / "text"), documents="line", shard_tokens=1024)
    close = pipeline.PartWriter.close

    def interrupt(*_):
        raise KeyboardInterrupt

    for changed in (options.model_copy(update={"max_document": 1 << 10}), None):
        monkeypatch.setattr(pipeline.PartWriter, "close", interrupt)
        with pytest.raises(KeyboardInterrupt):
            prepare(options, tmp_path / "data")
        left = next(tmp_path.glob(".data-????????"))
        assert list(left.rglob("shard-*.arrow"))
        monkeypatch.setattr(pipeline.PartWriter, "close", close)
        if changed is None:
            time.sleep(0.01)
            texts(tmp_path / "text", documents=300)
        prepare(changed or options, tmp_path / "data")
        assert not left.exists()
        fresh = prepare(changed or options, tmp_path / "fresh")
        assert files(tmp_path / "data") == files(fresh.folder)
        for folder in ("data", "fresh"):
            subprocess.run(["rm", "-r", str(tmp_path / folder)], check=True)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
@pytest.mark.fault("kill -9 or SIGTERM during a preparation, and the same command again")
def test_a_preparation_that_is_killed_at_any_moment_ends_in_the_same_bytes(tmp_path, tally):
    rows(tmp_path / "rows.csv", 120_000)
    words = ["prepare", "rows.csv", "--data.columns.id", "id", "--data.columns.order", "t"]
    words += ["--data.columns.features", "x", "--data.columns.label", "y", *SMALL]
    command = [sys.executable, "-m", "ssm_hpn", *words]
    began = time.monotonic()
    subprocess.run([*command, "--out", "whole"], cwd=tmp_path, check=True, capture_output=True)
    seconds = time.monotonic() - began
    expected = files(tmp_path / "whole")
    rng = np.random.default_rng(int(os.environ.get("SEED", "0")))
    for number in (signal.SIGKILL, signal.SIGTERM) * 4:
        kept = 0
        for _ in range(3):
            process = subprocess.Popen([*command, "--out", "data"], cwd=tmp_path, stderr=subprocess.PIPE, text=True)
            time.sleep(float(rng.uniform(0.3, 1.0)) * seconds)
            process.send_signal(number)
            _, errors = process.communicate(timeout=120)
            assert process.returncode in (0, -number, 75), errors
            kept = max(kept, len(list(tmp_path.glob(".data-*/*/shard-*.arrow"))))
            if process.returncode == 0:
                break
        done = subprocess.run([*command, "--out", "data"], cwd=tmp_path, check=False, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert files(tmp_path / "data") == expected
        assert not list(tmp_path.glob(".data-*"))
        subprocess.run(["rm", "-r", str(tmp_path / "data")], check=True)
        tally.add(worst=f"{kept} finished shards kept")


@pytest.mark.parametrize("kind", ["csv", "jsonl", "text"])
def test_any_number_of_workers_gives_the_same_bytes(tmp_path, kind):
    if kind == "csv":
        rows(tmp_path / "rows.csv", 20_000)
        options = PrepareOptions(
            train=str(tmp_path / "rows.csv"), columns={"id": "id", "order": "t", "features": ["x"]}
        )
    elif kind == "jsonl":
        lines = [json.dumps({"text": f"number {number} " * 9, "y": number % 5}) for number in range(3000)]
        (tmp_path / "a.jsonl").write_text("\n".join(lines))
        options = PrepareOptions(train=str(tmp_path / "a.jsonl"), columns={"label": "y"})
    else:
        texts(tmp_path / "text")
        options = PrepareOptions(train=str(tmp_path / "text"), documents="line")
    found = [files(prepare(options, tmp_path / f"of-{workers}", workers=workers).folder) for workers in (1, 2, 3, 8)]
    assert all(one == found[0] for one in found)


def test_a_test_part_moves_no_document_into_or_out_of_the_validation_part(tmp_path):
    texts(tmp_path / "text")
    base = PrepareOptions(train=str(tmp_path / "text"), documents="line", validation_fraction=0.2)
    two = prepare(base, tmp_path / "two")
    three = prepare(base.model_copy(update={"test_fraction": 0.1}), tmp_path / "three")
    shards = {name: (tmp_path / name / "validation" / "shard-00000.arrow").read_bytes() for name in ("two", "three")}
    assert shards["two"] == shards["three"]
    counts = {name: part.documents for name, part in three.parts.items()}
    assert sum(counts.values()) == two.parts["train"].documents + two.parts["validation"].documents
    assert 20 < counts["test"] < 60
    assert verify_part(three.folder / "test")["rows"] == counts["test"]
    assert "a test part of" in three.contract.held_out
    alone = prepare(base.model_copy(update={"validation_fraction": 0, "test_fraction": 0.1}), tmp_path / "alone")
    assert set(alone.parts) == {"train", "test"}
    for changed in ({"split": "tail"}, {"test_fraction": 1e-9}):
        (tmp_path / "few").mkdir(exist_ok=True)
        (tmp_path / "few" / "a.txt").write_text("text " * 100)
        few = {"train": (str(tmp_path / "few"),), "documents": "file"} if "split" in changed else {}
        options = base.model_copy(update={"test_fraction": 0.1, **few, **changed})
        with pytest.raises(ConfigError, match=r"data\.test_fraction: expected whole documents for a test part"):
            prepare(options, tmp_path / "refused")


def test_lengths_are_in_the_summary_as_json_and_as_a_table(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "text").mkdir()
    for number in range(1, 101):
        (tmp_path / "text" / f"{number:03d}.txt").write_text("x" * number)
    assert main(["prepare", "text", "--out", "data", "--data.validation_fraction", "0"], prog="ssm-hpn") == 0
    lengths = json.loads((tmp_path / "data" / "prepared.json").read_text())["parts"]["train"]["lengths"]
    assert lengths == {"0.05": 5, "0.25": 25, "0.5": 50, "0.75": 75, "0.95": 95}
    assert "lengths      of train, up to: 5% 5  25% 25  50% 50  75% 75  95% 95" in capsys.readouterr().out
