"""A run whose data was moved, prepared again or lost: named anew, found, or made again from its source."""

import os
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from ssm_hpn import Trainer
from ssm_hpn.cli.main import main
from ssm_hpn.cli.prepare import _parser, data_options
from ssm_hpn.config import Columns, PrepareOptions, load_config
from ssm_hpn.prepare import stdlib_corpus
from ssm_hpn.prepare.pipeline import origin_of
from support import sensor_file, text_data, train

MODEL = ["--model.d_model", "8", "--model.n_layers", "1", "--train.threads", "1", "--train.batch_size", "8"]
COLUMNS = ["--data.columns.id", "id", "--data.columns.features", "a,b", "--data.columns.label", "label"]
SHORT = [*MODEL, "--evaluation.every", "100", "--train.steps", "4", "--optim.lr", "0.02"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder with a raw file, its prepared data and a finished run of it."""
    folder = tmp_path_factory.mktemp("trained") / "tree"
    folder.mkdir()
    sensor_file(folder / "sensors.csv", documents=30)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert train("--data", "sensors.csv", *COLUMNS, *SHORT) == 0
    return folder


@pytest.fixture
def tree(trained, here):
    """A copy of that folder, in which the test works; the first one is not known to it."""
    shutil.copytree(trained, here / "tree")
    os.chdir(here / "tree")
    (run_in(here / "tree") / "environment.json").unlink()
    return here / "tree"


def run_in(tree):
    (run,) = (one for one in (tree / "runs").iterdir() if one.name != "data")
    return run


def lose_prepared(tree):
    shutil.rmtree(tree / "runs" / "data")


def refused(capsys):
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    assert "bug" not in line
    return line


def evaluated(*words):
    return main(["evaluate", *map(str, words), "--json"])


# ---- named anew


def test_a_moved_raw_file_is_named_beside_the_run_whose_settings_are_kept(tree, here, capsys):
    run = run_in(tree)
    before = load_config(run / "config.toml")
    whole = shutil.copytree(tree, here / "whole")
    lose_prepared(tree)
    (here / "elsewhere").mkdir()
    (tree / "sensors.csv").rename(here / "elsewhere" / "s.csv")
    assert train("--resume", str(run), "--data", "../elsewhere/s.csv", "--more", "3") == 0
    assert "going on at update 4" in capsys.readouterr().out
    os.chdir(whole)
    assert train("--resume", str(run_in(whole)), "--more", "3") == 0
    assert Trainer.load(run).session.digest() == Trainer.load(run_in(whole)).session.digest()
    after = load_config(run / "config.toml")
    assert after.digest() == before.digest()
    assert after.data.columns == before.data.columns
    os.chdir(tree)
    lose_prepared(tree)
    capsys.readouterr()
    assert train("--resume", str(run), "--more", "4") == 0  # from where the file was named
    assert "prepared again from ../elsewhere/s.csv" in capsys.readouterr().out
    assert Trainer.load(run).session.step == 8


def test_a_file_with_other_content_is_refused(tree, capsys):
    run = run_in(tree)
    sensor_file(tree / "other.csv", documents=30, seed=1)
    before = sorted(run.rglob("*"))
    assert train("--resume", str(run), "--data", "other.csv", "--more", "3") == 2
    message = (
        rf"data.train: expected the data of {run}, with the digest \w+, found other data, with the digest \w+; name"
    )
    assert re.search(message, refused(capsys))
    assert sorted(run.rglob("*")) == before


def with_labels(folder):
    lines = [line.rpartition(",") for line in (folder / "sensors.csv").read_text().splitlines()]
    (folder / "x.csv").write_text("".join(f"{before}\n" for before, _, _ in lines))
    (folder / "y.csv").write_text("".join(f"{before.partition(',')[0]},{label}\n" for before, _, label in lines))
    return "x.csv", ["--data.labels", "y.csv"]


def with_held_out(folder):
    sensor_file(folder / "held.csv", documents=9, seed=5)
    return "sensors.csv", ["--data.validation", "held.csv"]


def with_other_types(folder):
    text = (folder / "sensors.csv").read_text().replace(",", ";").replace(".", ",")
    (folder / "x.txt").write_text(text)
    return "x.txt", ["--data.format", "csv", "--data.decimal", ",", "--data.delimiter", ";", "--data.split", "name"]


@pytest.mark.parametrize("made", [with_labels, with_held_out, with_other_types])
def test_what_lies_beside_the_file_is_where_it_was(here, capsys, made):
    sensor_file(here / "sensors.csv", documents=30)
    file, words = made(here)
    assert train("--data", file, *words, *COLUMNS, *SHORT) == 0
    run = run_in(here)
    lose_prepared(here)
    (here / "moved").mkdir()
    (here / file).rename(here / "moved" / file)
    (here / "other").mkdir()
    os.chdir(here / "other")
    assert train("--resume", str(run), "--data", f"../moved/{file}", "--more", "2") == 0
    assert Trainer.load(run).session.step == 6
    assert evaluated(run) == 0
    assert list((here / "other").iterdir()) == []


def test_the_same_rows_in_a_file_that_is_written_in_another_way_are_the_data_of_the_run(tree, capsys):
    run = run_in(tree)
    before = load_config(run / "config.toml").digest()
    text = (tree / "sensors.csv").read_text().replace(",", ";").replace(".", ",")
    (tree / "other.txt").write_text(text, encoding="utf-16")
    lose_prepared(tree)
    words = ["--data.format", "csv", "--data.decimal", ",", "--data.delimiter", ";", "--data.encoding", "utf-16"]
    assert train("--resume", str(run), "--data", "other.txt", *words, "--more", "2") == 0
    assert Trainer.load(run).session.step == 6
    assert load_config(run / "config.toml").digest() == before
    lose_prepared(tree)
    (tree / "sensors.csv").unlink()
    assert train("--resume", str(run), "--more", "3") == 0  # as it was named
    assert main(["inspect", str(run)]) == 0
    assert "made from  other.txt\n" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["--data.columns.features", "a"],
            "data.columns.features: expected a, b, as the data of {run} was made, found a;",
        ),
        (
            ["--data.validation_fraction", "0.5"],
            "data.validation_fraction: expected 0.1, as the data of {run} was made",
        ),
    ],
)
def test_settings_that_would_make_other_data_are_refused_before_it_is_read(tree, capsys, words, message):
    run = run_in(tree)
    before = sorted((tree / "runs").rglob("*"))
    assert train("--resume", str(run), "--data", "sensors.csv", *words, "--more", "2") == 2
    assert message.format(run=run) in refused(capsys)
    assert sorted((tree / "runs").rglob("*")) == before


@pytest.mark.parametrize("named", ["again", "again/train", "sensors.csv", "./sensors.csv"])
def test_a_run_on_a_prepared_folder_takes_it_prepared_again_or_its_source(here, capsys, named):
    sensor_file(here / "sensors.csv", documents=30)
    assert main(["prepare", "sensors.csv", *COLUMNS, "--out", "prepared"]) == 0
    assert train("--data", "prepared", *SHORT) == 0
    run = run_in(here)
    before = load_config(run / "config.toml").digest()
    shutil.rmtree(here / "prepared")
    assert main(["prepare", "sensors.csv", *COLUMNS, "--out", "again"]) == 0
    for more, words in enumerate(([], COLUMNS), start=1):
        assert train("--resume", str(run), "--data", named, "--more", str(more), *words) == 0
        assert Trainer.load(run).session.step == 4 + more
        assert load_config(run / "config.toml").digest() == before
    assert evaluated(run) == 0


# ---- found, or prepared again


def test_data_prepared_again_under_another_name_is_found(tree, here, capsys):
    run = run_in(tree)
    (prepared,) = (tree / "runs" / "data").iterdir()
    assert evaluated(run) == 0
    expected = capsys.readouterr().out
    prepared.rename(prepared.with_name("another-name"))
    shutil.copytree(prepared.with_name("another-name"), prepared)  # damaged, and of other data
    (prepared / "train" / "manifest.json").write_text("{}")
    for folder in (tree, here):
        os.chdir(folder)
        assert evaluated(run) == 0
        assert capsys.readouterr().out == expected
    assert train("--resume", str(run), "--more", "2") == 0
    assert "prepared again" not in capsys.readouterr().out
    assert not (here / "runs").exists()


@pytest.mark.parametrize("where", ["tree", ".", "moved"])
def test_lost_data_is_prepared_again_from_its_source(tree, here, capsys, where):
    lose_prepared(tree)
    if where == "moved":
        tree = Path(shutil.move(tree, here / "moved"))
    run = run_in(tree)
    os.chdir(here / where)
    assert train("--resume", str(run), "--more", "2") == 0
    shown = capsys.readouterr().out
    place = "" if where != "." else f" in {tree}"
    assert f"is not there: it is prepared again from sensors.csv{place}\n" in shown
    assert f", shards in {'tree/' if where == '.' else ''}runs/data/sensors-" in shown
    assert "going on at update 4" in shown
    assert len(list((tree / "runs" / "data").iterdir())) == 1
    assert not (here / "runs").exists()
    assert train("--resume", str(run), "--more", "3") == 0
    assert "prepared again" not in capsys.readouterr().out
    assert evaluated(run) == 0
    assert load_config(run / "config.toml").data.train[0].startswith("runs/data/sensors-")


@pytest.mark.parametrize(
    "source", ["text/*.txt", "text/**/*.txt", "text", "sql:SELECT text, name FROM 't.parquet' WHERE name != 'none'"]
)
def test_patterns_folders_and_queries_are_sources_too(here, capsys, source):
    import pyarrow as pa
    import pyarrow.parquet as pa_parquet

    text_data(here, documents=24)
    texts = [{"text": file.read_text(), "name": file.name} for file in sorted((here / "text").iterdir())]
    pa_parquet.write_table(pa.Table.from_pylist(texts), "t.parquet")
    words = ["--data.columns.text", "text"] if source.startswith("sql:") else []
    assert train("--data", source, *words, *SHORT, "--data.length", "32") == 0
    run = run_in(here)
    lose_prepared(here)
    (here / "other").mkdir()
    os.chdir(here / "other")
    assert train("--resume", str(run), "--more", "1") == 0
    assert f"it is prepared again from {source} in {here}" in capsys.readouterr().out


def test_the_default_corpus_is_made_again(here, capsys, monkeypatch):
    monkeypatch.setattr(stdlib_corpus, "corpus_files", lambda: (here / "text", sorted((here / "text").iterdir())))
    text_data(here, documents=24)
    assert train(*SHORT, "--data.length", "32") == 0
    run = run_in(here)
    lose_prepared(here)
    assert evaluated(run) == 3
    out = re.search(r"`(.*)`", refused(capsys))[1]
    assert re.fullmatch(r"python -m ssm_hpn prepare --out runs/data/python-source-\w+", out)
    assert train("--resume", str(run), "--more", "1") == 0
    assert "prepared again from the source text of Python" in capsys.readouterr().out


def test_a_source_that_changed_is_refused(tree, capsys):
    run = run_in(tree)
    lose_prepared(tree)
    sensor_file(tree / "sensors.csv", documents=30, seed=1)
    assert train("--resume", str(run), "--more", "2") == 2
    line = refused(capsys)
    assert f"expected the data of {run}, with the digest" in line
    assert "its source has changed since: restore it, or train on it as it is by --resume never" in line
    assert Trainer.load(run).session.step == 4


@pytest.mark.parametrize("where", ["tree", "."])
def test_evaluate_names_the_command_that_makes_lost_data_again(tree, here, capsys, where):
    run = run_in(tree)
    assert evaluated(run) == 0
    expected = capsys.readouterr().out
    lose_prepared(tree)
    os.chdir(here / where)
    assert evaluated(run) == 3
    line = refused(capsys)
    command = re.search(r"make it again with `(.*)`, or give --data PATH", line)[1]
    assert ("cd " in command) is (where == ".")
    words = command.replace("python -m", f"{sys.executable} -m")
    assert subprocess.run(words, shell=True, check=False, capture_output=True).returncode == 0
    assert evaluated(run) == 0
    assert capsys.readouterr().out == expected
    with_other = (tree / "runs" / "data").iterdir()
    (next(with_other) / "train" / "manifest.json").write_text("{}")
    assert evaluated(run) == 3
    assert re.search(r"--out runs/data/sensors-\w+-again`", refused(capsys))  # that folder is not free


def test_an_older_checkpoint_without_its_source_goes_on_with_a_named_file(tree, capsys, monkeypatch):
    import ssm_hpn.cli.resumed_data as module

    run = run_in(tree)
    known = module.contract_in
    monkeypatch.setattr(module, "contract_in", lambda *given: replace(known(*given), origin=None))
    lose_prepared(tree)
    assert train("--resume", str(run), "--more", "2") == 3
    assert "bring it back, or name it, raw or prepared, with --data PATH" in refused(capsys)
    assert train("--resume", str(run), "--more", "2", "--data", "sensors.csv") == 0


# ---- the command


@pytest.mark.parametrize(
    "given",
    [
        {"train": ("a.csv",)},
        {"train": ("a b.csv", "größe,1.csv", "[x].csv"), "validation": ("v,w.csv", "u.csv")},
        {"train": ("sql:SELECT a, b FROM 'x.parquet' WHERE c = \"d\"",), "encoder": "bytes"},
        {"columns": Columns(features=("x", 'y, "mm"', " z"), label="it's"), "null": ("NA", "-"), "normalize": False},
        {"delimiter": ";", "decimal": ",", "split": "site=A,B", "validation_fraction": 0.25, "missing": "zero"},
        {"delimiter": "-", "include": ("*.py", "[ab]*"), "n_classes": 7, "max_document": 1 << 12},
    ],
)
def test_the_command_has_the_options_that_the_data_was_made_with(here, given):
    for name in ("größe,1.csv", "v,w.csv"):
        (here / name).touch()
    options = PrepareOptions(**{"train": ("a.csv",), **given})
    import shlex

    words = shlex.split(origin_of(options).command("out"))
    assert words[:4] == ["python", "-m", "ssm_hpn", "prepare"]
    parsed = _parser("prepare").parse_args(words[4:])
    assert data_options(parsed, parsed.paths) == options
    assert str(parsed.out) == "out"
