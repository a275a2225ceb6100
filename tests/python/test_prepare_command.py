"""The command `prepare`: what it says, its settings and its exit codes."""

from pathlib import Path

import pytest

from prepare_support import corpus, rows, series, written
from ssm_hpn.cli.main import main
from ssm_hpn.prepare import Prepared


def test_the_command_prints_documents_classes_and_encoder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    written(tmp_path / "d.csv", series())
    words = ["prepare", str(tmp_path / "d.csv"), "--out", str(tmp_path / "out")]
    words += ["--data.columns.features", "x,y", "--data.columns.id", "machine", "--data.columns.label", "kind"]
    assert main([*words, "--data.columns.order", "time", "--data.normalize", "false"]) == 0
    out = capsys.readouterr().out
    for expected in ("train", "validation", "time steps", "3: hum, knock, whistle", "2 features", "--data"):
        assert expected in out, out
    assert Prepared.load(tmp_path / "out").manifest["normalisation"] is None


def test_the_command_takes_a_file_of_settings(tmp_path: Path) -> None:
    corpus(tmp_path / "data")
    (tmp_path / "c.toml").write_text("[data]\nvalidation_fraction = 0.0\nmax_document = 16\n")
    words = ["prepare", str(tmp_path / "data"), "--config", str(tmp_path / "c.toml"), "--out", str(tmp_path / "out")]
    assert main([*words, "--data.max_document", "24"]) == 0
    prepared = Prepared.load(tmp_path / "out")
    assert prepared.validation is None
    assert max(len(row["tokens"]) for row in rows(prepared.train)) == 24


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["none.txt"], 3, "none.txt: data.train: expected a file, a folder or a pattern, found nothing there"),
        (["d.txt", "--data.encoder", "byte"], 2, "data.encoder: expected auto | bytes"),
        (["d.txt", "--data.encodr", "bytes"], 2, "did you mean --data.encoder?"),
        (["d.txt", "--data.columns.text", "x", "--data.format", "csv"], 3, "data.columns.text: expected a column 'x'"),
    ],
)
def test_exit_codes_of_the_command(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], code: int, message: str
) -> None:
    (tmp_path / "d.txt").write_text("some text\n" * 10)
    assert main(["prepare", str(tmp_path / words[0]), *words[1:], "--out", str(tmp_path / "out")]) == code
    error = capsys.readouterr().err
    assert message in error
    assert error.startswith("error: ")
    assert error.count("\n") == 1


def test_inspect_describes_raw_data(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    written(here / "d.csv", series())
    words = ["--data.columns.features", "x,y", "--data.columns.id", "machine", "--data.columns.label", "kind"]
    assert main(["inspect", "d.csv", *words, "--data.columns.order", "time"]) == 0
    out = capsys.readouterr().out
    for expected in (
        "documents  train 27 of 8 time steps",
        "order time (number)",
        "3 classes (text)",
        "class      hum: 9",
    ):
        assert expected in out, out
    assert sorted(path.name for path in here.iterdir()) == ["d.csv"]
    assert main(["inspect", "sql:SELECT * FROM 'd.csv' WHERE kind <> 'hum'", *words, "--json"]) == 0
    assert '"values": [\n' in capsys.readouterr().out


def test_training_describes_the_data_and_names_older_preparations(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    corpus(here / "data")
    words = ["train", "--data", "data", "--train.steps", "1", "--train.batch_size", "2", "--data.length", "16"]
    words += ["--model.d_model", "16", "--model.n_layers", "1"]
    assert main(words) == 0
    out = capsys.readouterr().out
    for expected in (
        "documents  train ",
        "input      text, bytes, 256 ids",
        "target     the next token",
        "left out   nothing",
    ):
        assert expected in out, out
    (here / "data" / "more.txt").write_text("another text\n" * 9)
    assert main([*words, "--resume", "never"]) == 0
    assert "older preparations of the same source: data-" in capsys.readouterr().out
    assert len(list((here / "runs" / "data").iterdir())) == 2
    runs = sorted((here / "runs").iterdir())
    assert main([*words, "--data.clean"]) == 0
    assert "(removed)" in capsys.readouterr().out
    assert len(list((here / "runs" / "data").iterdir())) == 1
    assert sorted((here / "runs").iterdir()) == runs


def test_a_setting_of_train_is_named_as_such_in_other_commands(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    written(here / "d.csv", series())
    for option in ("--data.clean", "--train.steps"):
        assert main(["inspect", "d.csv", option, "true"]) == 2
        assert f"found {option}; leave it out: it is one of train" in capsys.readouterr().err


def test_prepare_and_inspect_take_their_paths_with_data_too(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    written(here / "d.csv", series())
    written(here / "e.csv", series())
    words = ["--data.columns.features", "x,y", "--data.columns.id", "machine", "--data.columns.label", "kind"]
    found = []
    for form in (["d.csv"], ["--data", "d.csv"], ["--data.train", "d.csv"], ["--data=d.csv"]):
        assert main(["inspect", *form, *words]) == 0
        found.append(capsys.readouterr().out)
        assert main(["prepare", *form, *words, "--out", f"out{len(found)}"]) == 0
        capsys.readouterr()
    assert len(set(found)) == 1
    assert len({Prepared.load(here / f"out{number}").digest for number in range(1, 5)}) == 1
    assert main(["inspect", "--data", "out1"]) == 0
    for command in (["prepare", "--out", "both"], ["inspect"]):
        for pair in (["d.csv", "--data", "d.csv"], ["d.csv", "--data.train", "e.csv"]):
            capsys.readouterr()
            assert main([*command, *pair, *words]) == 2
            assert capsys.readouterr().err == (
                "error: --data: expected paths in it or in front of the options, found both; name all in one place\n"
            )
    assert main(["inspect"]) == 2
    assert "expected a PATH, found none" in capsys.readouterr().err


WORDS = ["--data.columns.features", "x,y", "--data.columns.id", "machine", "--data.columns.label", "kind"]


def test_csv_that_is_named_as_text_is_recognised(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    written(here / "d.csv", series()).rename("d.txt")
    assert main(["inspect", "d.txt", *WORDS]) == 2
    line = capsys.readouterr().err
    assert "found d.txt (text); set --data.format csv if it is CSV, or leave it out" in line
    assert main(["inspect", "d.txt", *WORDS, "--data.format", "csv"]) == 0
    (here / "t.txt").write_text("Words, and more words.\nA line without\n" * 10)
    assert main(["inspect", "t.txt", *WORDS]) == 2
    assert "found t.txt (text); leave it out" in capsys.readouterr().err


@pytest.mark.parametrize("ending", ["csv", "jsonl", "txt"])
def test_parquet_with_another_ending_is_recognised(here: Path, ending: str, capsys: pytest.CaptureFixture[str]) -> None:
    (here / "d").mkdir()
    name = written(here / "d" / "d.parquet", series()).rename(f"d/d.{ending}")
    for path in [str(name)] if ending == "txt" else [str(name), "d"]:
        assert main(["inspect", path, *WORDS]) == 3
        (line,) = capsys.readouterr().err.splitlines()
        assert f"d.{ending}: file: expected" in line
        assert line.endswith("found a Parquet file; name it *.parquet, or set --data.format parquet")
    assert main(["inspect", str(name), *WORDS, "--data.format", "parquet"]) == 0


@pytest.mark.parametrize("ending", ["csv", "jsonl"])
def test_text_that_is_named_as_parquet_is_recognised(
    here: Path, ending: str, capsys: pytest.CaptureFixture[str]
) -> None:
    written(here / f"d.{ending}", series()).rename("d.parquet")
    assert main(["inspect", "d.parquet", *WORDS]) == 3
    assert f"; rename it, or set --data.format {ending}\n" in capsys.readouterr().err
    assert main(["inspect", "d.parquet", *WORDS, "--data.format", ending]) == 0
    (here / "d.parquet").write_bytes(b"\0\1\2" * 100)
    assert main(["inspect", "d.parquet", *WORDS]) == 3
    assert "expected a Parquet file, found other data; write it as Parquet" in capsys.readouterr().err


def test_a_cut_parquet_file_is_said_to_be_cut(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = written(here / "d.parquet", series())
    file.write_bytes(file.read_bytes()[:-20])
    assert main(["inspect", "d.parquet", *WORDS]) == 3
    assert "cut or damaged" in capsys.readouterr().err
