"""`evaluate` and `predict` on files whose format differs from that of the training data."""

import json
import shutil
from pathlib import Path

import pytest

from prepare_support import rows
from ssm_hpn import Trainer
from ssm_hpn.cli.main import main
from support import train

MODEL = ["--model.d_model", "8", "--model.n_layers", "1", "--train.batch_size", "4", "--train.threads", "1"]
COLUMNS = ["--data.columns.id", "id", "--data.columns.features", "x", "--data.columns.label", "y"]


def series(path, ids, *, separator=",", decimal=".", missing="", first=0):
    """A table of three steps for each id, numbers from `first` on; the first cell is missing."""
    lines = [f"id{separator}x"]
    lines += [f"{one}{separator}{n}{decimal}{t}" for n, one in enumerate(ids, first) for t in range(3)]
    lines[1] = f"{ids[0]}{separator}{missing}"
    path.write_text("\n".join(lines) + "\n")
    return str(path)


def labels(path, ids, separator=","):
    rows = [("id", "y"), *((one, "uv"[n % 2]) for n, one in enumerate(ids))]
    path.write_text("".join(f"{one}{separator}{label}\n" for one, label in rows))
    return str(path)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Trained on series whose labels are in a table of their own."""
    folder = tmp_path_factory.mktemp("run")
    ids = [f"s{n}" for n in range(20)]
    data, table = series(folder / "train.csv", ids), labels(folder / "labels.csv", ids)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        words = ["--data", data, "--data.labels", table, *COLUMNS, *MODEL]
        assert train(*words, "--train.steps", "1", "--run.folder", "run") == 0
    return str(folder / "run")


def said(capsys, *words):
    assert main(list(words)) in (2, 3)
    return capsys.readouterr().err


def test_evaluate_takes_the_labels_of_other_files_from_another_table(run, tmp_path, capsys):
    ids = [f"new{n}" for n in range(6)]
    data, table = series(tmp_path / "new.csv", ids), labels(tmp_path / "new_labels.csv", ids)
    assert main(["evaluate", run, "--data", data, "--data.labels", table, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["targets"] == 6
    query = f"sql:SELECT id, y FROM '{table}' WHERE y = 'u'"
    assert main(["evaluate", run, "--data", data, "--data.labels", query, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["targets"] == 3


def test_labels_that_are_not_found_in_the_table_of_the_training_name_the_option(run, tmp_path, capsys):
    found = said(capsys, "evaluate", run, "--data", series(tmp_path / "new.csv", ["a", "b"]))
    assert "expected documents with targets, found none" in found
    assert "labels.csv: name the table for these files with --data.labels" in found


def own(path, ids):
    """Series with a column of labels of their own."""
    path.write_text("id,x,y\n" + "".join(f"{one},{t},u\n" for one in ids for t in range(3)))
    return str(path)


def test_the_table_of_the_training_is_named_with_the_documents_that_are_not_in_it(run, tmp_path, capsys):
    data = own(tmp_path / "new.csv", ["s1", "s2", "a", "b"])
    taken = "note: targets are taken from labels.csv, as in training"
    mine = "new.csv: has a column 'y' of its own; targets are taken from labels.csv: --data.labels null for its own"
    assert main(["evaluate", run, "--data", data]) == 0
    said = capsys.readouterr().err.splitlines()
    assert said[:2] == [f"note: {mine}", f"{taken}: 2 of 4 documents have no row in it, such as 'a'"]
    assert main(["evaluate", run, "--data", series(tmp_path / "same.csv", ["s1", "s2"])]) == 0
    assert taken in capsys.readouterr().err.splitlines()
    table = labels(tmp_path / "y.csv", ["a", "s1"])
    assert main(["evaluate", run, "--data", data, "--data.labels", table]) == 0
    err = capsys.readouterr().err
    assert "as in training" not in err
    assert "note: 2 of 4 documents have no row in y.csv, such as 'b'" in err
    assert main(["evaluate", run, "--data", data, "--data.labels", "null"]) == 0
    assert "targets" not in capsys.readouterr().err


@pytest.mark.parametrize("query", [False, True])
def test_a_table_of_the_training_that_is_gone_is_named_with_what_to_do(tmp_path, monkeypatch, capsys, query):
    monkeypatch.chdir(tmp_path)
    ids = [f"s{n}" for n in range(20)]
    data = series(tmp_path / "train.csv", ids)
    labels(tmp_path / "gone.csv", ids)
    named = "sql:SELECT * FROM 'gone.csv'" if query else "gone.csv"
    words = ["--data", data, "--data.labels", named, *COLUMNS, *MODEL, "--train.steps", "1", "--run.folder", "r"]
    assert train(*words) == 0
    (tmp_path / "gone.csv").unlink()
    capsys.readouterr()
    found = said(capsys, "evaluate", "r", "--data", own(tmp_path / "new.csv", ids))
    assert f"({named} has the targets as in training: --data.labels PATH names another one, --data.labels null" in found
    assert len(found.splitlines()) == 1
    assert main(["evaluate", "r", "--data", "new.csv", "--data.labels", "null"]) == 0


def test_documents_with_ids_of_the_training_and_without_a_target_are_counted(run, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(Path(run).parent)
    trained = {row["name"].partition("#")[2] for row in rows(Trainer.load(run).train_folder)}
    ids = ["new", *(f"s{n}" for n in range(20))]
    data, table = series(tmp_path / "a.csv", ids, first=30), labels(tmp_path / "y.csv", ids[:18])
    assert 0 < len(trained) < 20
    assert main(["evaluate", run, "--data", data, "--data.labels", table]) == 0
    out, err = capsys.readouterr()
    assert f"note: {len(trained)} of 21 documents have ids of the training part, with other contents: if they" in err
    assert "18, 3 documents without a target" in out
    assert main(["evaluate", run, "--data", data, "--data.labels", table, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["targets"], found["documents_without_target"]) == (18, 3)
    fresh = series(tmp_path / "b.csv", ["n1", "n2"], first=60)
    table = labels(tmp_path / "z.csv", ["n1", "n2"])
    assert main(["evaluate", run, "--data", fresh, "--data.labels", table]) == 0
    out, err = capsys.readouterr()
    assert "training part" not in err
    assert "without a target" not in out


def test_a_damaged_training_part_does_not_hinder_an_evaluation_of_other_files(run, tmp_path, monkeypatch, capsys):
    copied = shutil.copytree(Path(run).parent, tmp_path / "copy")
    monkeypatch.chdir(copied)
    for shard in copied.glob("runs/data/*/train/*.arrow"):
        shard.write_bytes(shard.read_bytes()[:100])
    data = own(tmp_path / "new.csv", ["s1", "s2"])
    assert main(["evaluate", "run", "--data", data, "--data.labels", "null"]) == 0
    assert (
        "cannot be read: the documents were not looked for among those that were trained on" in capsys.readouterr().err
    )


def test_labels_in_the_files_themselves(run, tmp_path, capsys):
    (tmp_path / "new.csv").write_text("id,x,y\n" + "".join(f"s{n // 2},{n},{'uv'[n // 2 % 2]}\n" for n in range(8)))
    assert main(["evaluate", run, "--data", str(tmp_path / "new.csv"), "--data.labels", "null", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["targets"] == 4


def test_both_commands_read_files_that_are_written_in_another_way(run, tmp_path, capsys):
    ids = [f"s{n}" for n in range(6)]
    plain = series(tmp_path / "plain.csv", ids)
    other = series(tmp_path / "other.csv", ids, separator=";", decimal=",", missing="NA")
    how = ["--data.delimiter", ";", "--data.decimal", ",", "--data.null", "NA,none"]

    def predicted(*words):
        assert main(["predict", run, "--data", *words]) == 0
        return [json.loads(line) for line in capsys.readouterr().out.splitlines()]

    expected = predicted(plain)
    assert predicted(other, *how) == expected
    (tmp_path / "wide.csv").write_text((tmp_path / "plain.csv").read_text(), encoding="utf-16")
    assert predicted(str(tmp_path / "wide.csv"), "--data.encoding", "utf-16") == expected
    results = []
    for words, separator in (([plain], ","), ([other, *how], ";")):
        table = labels(tmp_path / "labels.csv", ids, separator)
        assert main(["evaluate", run, "--data", *words, "--data.labels", table, "--json"]) == 0
        results.append(json.loads(capsys.readouterr().out))
    assert results[0] == results[1]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["evaluate", "--data.labels", "y.csv"], "--data.labels: expected --data beside it, found none"),
        (
            ["predict", "--data", "new.csv", "--data.labels", "y.csv"],
            "--data.labels: expected nothing, as predict reads no targets, found y.csv; leave it out",
        ),
        (["predict", "--data", "new.csv", "--data.include", "*.csv"], "data.include: expected a folder in"),
        (["predict", "--data", "new.csv", "--data.date_format", "%d"], "data.date_format: expected an order column"),
        (["predict", "--data", "new.csv", "--data.decimal", "x"], "data.decimal: expected"),
        (["predict", "--data", "new.csv", "--data.missing", "zero"], "data.missing"),
        (["evaluate", "--data", "part/train", "--data.null", "NA"], "--data.null: expected raw files in --data, found"),
    ],
)
def test_options_without_effect_are_refused(run, tmp_path, monkeypatch, capsys, words, message):
    monkeypatch.chdir(tmp_path)
    series(tmp_path / "new.csv", ["s0", "s1"])
    (tmp_path / "part" / "train").mkdir(parents=True)
    (tmp_path / "part" / "train" / "manifest.json").write_text("{}")
    assert message in said(capsys, words[0], run, *words[1:])
