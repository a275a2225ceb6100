"""Prepared data on the command line: found, checked, and prepared again where it cannot be used."""

import json
import os
import re
import tempfile
from pathlib import Path

import pytest

from ssm_hpn.cli.main import main
from ssm_hpn.prepare import stdlib_corpus
from support import SMALL, sensor_file, text_data, train


def test_a_dry_run_writes_no_file(here, capsys):
    data = text_data(here, documents=12)
    before = sorted(path.name for path in here.iterdir())
    assert train("--data", str(data.folder), *SMALL, "--dry-run") == 0
    assert "loaded again to the same bits" in capsys.readouterr().out
    assert sorted(path.name for path in here.iterdir()) == before


def everything(folder):
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*")}


@pytest.mark.parametrize("words", [["--data", "text"], []])
def test_a_dry_run_on_raw_data_writes_no_file(here, capsys, monkeypatch, words):
    temporary = here / "tmp"
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    monkeypatch.setattr(stdlib_corpus, "corpus_files", lambda: (here / "text", sorted((here / "text").iterdir())))
    text_data(here, documents=30)
    before = everything(here)
    assert train(*words, *SMALL, "--dry-run") == 0
    shown = capsys.readouterr().out
    assert "shards in a folder that is removed again" in shown
    assert "nothing is left behind" in shown
    assert everything(here).keys() == before.keys()
    (here / "bad.jsonl").write_text('{"text": "a"}\n' * 30 + "[]\n")
    assert train("--data", "bad.jsonl", *SMALL, "--dry-run") == 3
    assert everything(here).keys() == before.keys() | {here / "bad.jsonl"}


def test_a_dry_run_uses_prepared_data_without_changing_it(here, capsys):
    text_data(here, documents=12)
    words = ["--data", "text", *SMALL]
    assert train(*words, "--train.steps", "1") == 0
    prepared = next((here / "runs" / "data").iterdir())
    os.utime(prepared / "train" / "manifest.json")
    before = everything(here)
    capsys.readouterr()
    assert train(*words, "--dry-run") == 0
    assert f"shards in runs/data/{prepared.name}\n" in capsys.readouterr().out
    assert everything(here) == before
    cut_shard(prepared)
    before = everything(here)
    assert train(*words, "--dry-run") == 0
    assert "cannot be used as it is: training will prepare it again" in capsys.readouterr().out
    assert everything(here) == before


def unreadable(prepared):
    (prepared / "train" / "manifest.json").write_text('{"schema": 999}')


def without_summary(prepared):
    (prepared / "prepared.json").unlink()


def other_key(prepared):
    summary = json.loads((prepared / "prepared.json").read_text())
    (prepared / "prepared.json").write_text(json.dumps(summary | {"key": "of another version", "moved": "too"}))


def cut_shard(prepared):
    shard = next(file for file in sorted((prepared / "train").rglob("*")) if file.suffix == ".arrow")
    shard.write_bytes(shard.read_bytes()[:-100])


def altered_shard(prepared):
    """One bit flipped, in place."""
    shard = prepared / "train" / "shard-00000.arrow"
    content = bytearray(shard.read_bytes())
    content[len(content) // 2] ^= 1
    shard.write_bytes(content)


@pytest.mark.parametrize("damage", [unreadable, without_summary, other_key, cut_shard, altered_shard])
def test_prepared_data_that_cannot_be_used_is_prepared_again(here, capsys, damage):
    text_data(here, documents=12)
    words = ["--data", str(here / "text"), *SMALL, "--train.steps", "1"]
    assert train(*words) == 0
    prepared = next((here / "runs" / "data").iterdir())
    before = (prepared / "train" / "manifest.json").read_bytes()
    assert "preparing again" not in capsys.readouterr().out
    assert train(*words) == 0
    assert "preparing again" not in capsys.readouterr().out
    damage(prepared)
    assert train(*words) == 0
    assert capsys.readouterr().out.count("preparing again") == 1
    assert (prepared / "train" / "manifest.json").read_bytes() == before
    assert list((here / "runs" / "data").iterdir()) == [prepared]


def test_digests_are_compared_only_after_a_change_of_time(here, monkeypatch):
    from ssm_hpn.prepare import prepared as module

    text_data(here, documents=12)
    words = ["--data", str(here / "text"), *SMALL, "--train.steps", "1"]
    assert train(*words) == 0
    prepared = next((here / "runs" / "data").iterdir())
    compared = []
    monkeypatch.setattr(module, "verify_shards", lambda path: compared.append(Path(path).name))
    assert train(*words) == 0
    assert compared == []
    os.utime(prepared / "validation" / "manifest.json")  # as after a copy of the folder
    assert train(*words) == 0
    assert compared == ["train", "validation"]
    assert train(*words) == 0
    assert len(compared) == 2


def test_a_shard_altered_without_a_change_of_time_is_refused_by_its_reader(here, capsys):
    text_data(here, documents=12)
    words = ["--data", str(here / "text"), *SMALL]
    assert train(*words, "--train.steps", "1") == 0
    prepared = next((here / "runs" / "data").iterdir())
    shard = prepared / "train" / "shard-00000.arrow"
    stat = shard.stat()
    altered_shard(prepared)
    os.utime(shard, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    capsys.readouterr()
    for command in (["train", *words, "--train.steps", "2", "--resume", "never"], ["inspect", str(prepared)]):
        assert main(command) == 3
        (line,) = capsys.readouterr().err.splitlines()
        assert "shard-00000.arrow: " in line
        assert re.search("expected .*, found .*; the file is damaged", line)


def test_inspect_checks_all_parts_and_the_tokenizer(here, capsys):
    tokenizers = pytest.importorskip("tokenizers")
    tokenizer = tokenizers.Tokenizer(tokenizers.models.WordLevel({"?": 0, "def": 1, "if": 2}, unk_token="?"))
    tokenizer.save(str(here / "tokenizer.json"))
    source = here / "text"
    text_data(here, documents=12)
    words = [str(source), "--out", str(here / "out"), "--data.tokenizer", str(here / "tokenizer.json")]
    assert main(["prepare", *words]) == 0
    capsys.readouterr()
    assert main(["inspect", str(here / "out"), "--json"]) == 0
    verified = json.loads(capsys.readouterr().out)["verified"]
    assert {part: report["rows"] for part, report in verified.items()} == {"train": 12, "validation": 12}
    copy = here / "out" / "validation" / "tokenizer.json"
    whole = copy.read_text()
    copy.write_text(whole + " ")
    assert main(["inspect", str(here / "out")]) == 3
    assert "validation/tokenizer.json: file: expected SHA-256 " in capsys.readouterr().err
    copy.unlink()
    assert main(["inspect", str(here / "out" / "validation")]) == 3
    assert "found no such file" in capsys.readouterr().err
    copy.write_text(whole)
    cut_shard(here / "out")
    assert main(["inspect", str(here / "out")]) == 3


def trees_of_equal_times(here, *names):
    """Folders whose files agree in names, sizes and times and differ in content."""
    for number, name in enumerate(names):
        (here / name).mkdir()
        for n in range(30):
            (here / name / f"{n}.txt").write_text(f"text {n} of {number}\n" * 20)
            os.utime(here / name / f"{n}.txt", (1_700_000_000, 1_700_000_000))


def prepared_now(capsys, *words):
    """The digest and the folder of shards that `train` prints."""
    capsys.readouterr()
    assert train(*words, *SMALL, "--train.steps", "1") == 0
    return re.findall(r"digest (\w+), shards in (\S+)", capsys.readouterr().out)[0]


@pytest.mark.parametrize("kind", ["folder", "table"])
def test_a_moved_folder_keeps_its_digest_and_its_run(here, capsys, kind):
    if kind == "folder":
        trees_of_equal_times(here, "text")
        words = lambda place: ["--data", place]  # noqa: E731
    else:
        (here / "text").mkdir()
        table = "".join(f"{n},{n + t}\n" for n in range(30) for t in range(4))
        (here / "text" / "x.csv").write_text("id,x\n" + table)
        (here / "y.csv").write_text("id,y\n" + "".join(f"{n},{n % 2}\n" for n in range(30)))
        columns = ["--data.columns.id", "id", "--data.columns.features", "x", "--data.columns.label", "y"]
        words = lambda place: ["--data", f"{place}/x.csv", "--data.labels", "y.csv", *columns]  # noqa: E731
    first = prepared_now(capsys, *words("text"))
    runs = sorted(path.name for path in (here / "runs").iterdir())
    (here / "text").rename(here / "moved")
    assert prepared_now(capsys, *words("moved")) == first
    assert prepared_now(capsys, *words(str(here / "moved"))) == first
    assert sorted(path.name for path in (here / "runs").iterdir()) == runs


def test_other_content_under_the_same_name_size_and_time_has_another_digest(here, capsys):
    trees_of_equal_times(here, "a", "b")
    one, other = (prepared_now(capsys, "--data", name) for name in ("a", "b"))
    assert one[0] != other[0]
    (here / "a").rename(here / "c")
    (here / "b").rename(here / "a")  # the same place, names, sizes and times
    assert prepared_now(capsys, "--data", "a")[0] == other[0]
    assert prepared_now(capsys, "--data", "c")[0] == one[0]
    file = here / "c" / "7.txt"
    file.write_text(file.read_text().replace("text", "TEXT"))
    os.utime(file, (1_700_000_000, 1_700_000_000))  # the same file, with its old time
    assert prepared_now(capsys, "--data", "c")[0] not in (one[0], other[0])


def test_a_renamed_file_and_another_tokenizer_or_table_of_labels_are_prepared_anew(here, capsys):
    trees_of_equal_times(here, "a")
    first = prepared_now(capsys, "--data", "a")
    (here / "a" / "7.txt").rename(here / "a" / "seven.txt")
    assert prepared_now(capsys, "--data", "a")[1] != first[1]
    (here / "x.csv").write_text("id,x\n" + "".join(f"{n},{n}\n" for n in range(30)))
    columns = ["--data.columns.id", "id", "--data.columns.features", "x", "--data.columns.label", "y"]
    found = set()
    for labels in ("y", "z"):
        (here / f"{labels}.csv").write_text("id,y\n" + "".join(f"{n},{n % 2}\n" for n in range(30)))
        found.add(prepared_now(capsys, "--data", "x.csv", "--data.labels", f"{labels}.csv", *columns)[1])
    assert len(found) == 2


@pytest.mark.parametrize(
    ("given", "name"),
    [("my texts/*.txt", "my-texts"), ("my texts/**/0*.txt", "my-texts"), ("my texts", "my-texts")],
)
def test_data_and_run_are_named_after_the_folder(here, given, name):
    text_data(here, documents=12)
    (here / "text").rename(here / "my texts")
    assert train("--data", given, *SMALL, "--train.steps", "1") == 0
    assert [path.name.rpartition("-")[0] for path in (here / "runs" / "data").iterdir()] == [name]
    assert {path.name.rpartition("-")[0] for path in (here / "runs").iterdir()} == {"", name}


def test_a_cut_shard_is_one_line_to_its_readers(here, capsys):
    data = text_data(here, documents=12)
    assert train("--data", str(data.folder), *SMALL, "--train.steps", "1", "--run.folder", "run") == 0
    cut_shard(data.folder)
    capsys.readouterr()
    assert main(["predict", "run", "--data", str(data.train)]) == 3
    (line,) = capsys.readouterr().err.splitlines()
    assert re.search(r"shard-00000.arrow: size: expected \d+ bytes, found \d+ bytes; the file is damaged", line)


def test_missing_numbers_in_a_column_that_had_none_are_noted(here, capsys):
    data = sensor_file(here / "sensors.csv")
    columns = ["--data.columns.id", "id", "--data.columns.features", "a,b", "--data.columns.label", "label"]
    assert train("--data", str(data), *columns, *SMALL, "--train.steps", "2", "--run.folder", "run") == 0
    lines = data.read_text().splitlines()
    for row in (3, 9):
        cells = lines[row].split(",")
        lines[row] = ",".join([cells[0], "", *cells[2:]])
    gaps = here / "gaps.csv"
    gaps.write_text("\n".join(lines) + "\n")
    capsys.readouterr()
    for command in ("predict", "evaluate"):
        assert main([command, "run", "--data", str(gaps)], prog="ssm-hpn") == 0
        told = capsys.readouterr().err
        assert "note: column a: missing numbers (2), of which the training data had none, are taken as the" in told
        assert "column b" not in told
        assert main([command, "run", "--data", str(data)], prog="ssm-hpn") == 0
        assert "note: column" not in capsys.readouterr().err


@pytest.mark.parametrize("target", ["label", "labels"])
def test_a_folder_of_an_earlier_version_whose_labels_are_empty_is_refused_by_its_column(
    here, monkeypatch, capsys, target
):
    def measured(self):  # without the check
        for name, running in self._running.items():
            setattr(self, name, running.moments())

    monkeypatch.setattr("ssm_hpn.prepare.learn.Learned.measured", measured)
    (here / "d.csv").write_text("id,x,y\n" + "".join(f"s{n // 3},{n * 0.37 % 1},\n" for n in range(90)))
    columns = ["--data.columns.id", "id", "--data.columns.features", "x", f"--data.columns.{target}", "y"]
    assert main(["prepare", "d.csv", "--out", "p", *columns]) == 0
    capsys.readouterr()
    assert train("--data", "p", *SMALL) == 3
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: data.train: column 'y': expected labels of the classes to learn, found none in ")
    assert f"data.columns.{target}, or leave it out, and prepare the data again" in line
