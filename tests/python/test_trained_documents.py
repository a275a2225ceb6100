"""`evaluate` notes documents that the model was trained on, by their contents and by their ids."""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest

from prepare_support import rows, written
from ssm_hpn import Trainer
from ssm_hpn.cli.main import main
from ssm_hpn.errors import DataError
from ssm_hpn.prepare import split, verify_part
from support import SMALL, text_data, train

MODEL = ["--model.d_model", "8", "--model.n_layers", "1", "--train.batch_size", "4", "--train.threads", "1"]
COLUMNS = ["--data.columns.id", "id", "--data.columns.features", "x", "--data.columns.label", "y"]
NOT_NEW = "the metrics are not those of new ones"


def series(path, numbers, names=None):
    """Three steps for each number, on which the contents depend alone."""
    names = names or [f"s{n}" for n in numbers]
    return str(
        written(
            path,
            [
                {"id": name, "x": n + t / 10, "y": "uv"[n % 2]}
                for n, name in zip(numbers, names, strict=True)
                for t in range(3)
            ],
        )
    )


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("trained")
    series(folder / "train.csv", range(20))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert train("--data", "train.csv", *COLUMNS, *MODEL, "--train.steps", "1", "--run.folder", "run") == 0
    return folder


@pytest.fixture
def run(trained, here):
    shutil.copytree(trained, here, dirs_exist_ok=True)
    return "run"


def part(run):
    return Path(Trainer.load(run).train_folder)


def notes(capsys, run, *words):
    capsys.readouterr()
    assert main(["evaluate", run, "--json", "--data", *words]) == 0
    return [line.removeprefix("note: ") for line in capsys.readouterr().err.splitlines()]


def numbers_of(run):
    return sorted(int(row["name"].rpartition("#s")[2]) for row in rows(part(run)))


@pytest.mark.parametrize("ending", ["csv", "jsonl", "parquet"])
def test_equal_contents_under_other_ids_are_noted(run, here, capsys, ending):
    known = numbers_of(run)
    held_out = sorted({*range(20)} - {*known})
    numbers = [known[0], 100, known[3], held_out[0], 101]
    data = series(here / f"new.{ending}", numbers, [f"other{n}" for n in numbers])
    assert f"2 of 5 documents are equal to some of the training part: {NOT_NEW}" in notes(capsys, run, data)
    data = series(here / f"fresh.{ending}", [100, held_out[0]])
    assert not any("training part" in note for note in notes(capsys, run, data))


def test_an_id_of_the_training_with_other_contents_is_told_apart(run, here, capsys):
    known = numbers_of(run)
    data = series(here / "new.csv", [known[0], 200, 201, 202], [f"s{n}" for n in (*known[:3], 500)])
    found = notes(capsys, run, data)
    assert f"1 of 4 documents is equal to one of the training part: {NOT_NEW}" in found
    same_id = "2 of 4 documents have ids of the training part, with other contents: if they are the same documents"
    assert f"{same_id}, {NOT_NEW}" in found


def test_the_training_part_itself_and_other_prepared_data_are_noted(run, here, capsys):
    folder = part(run)
    assert f"{folder} is what the model was trained on: {NOT_NEW}" in notes(capsys, run, str(folder))
    shutil.copytree(folder, "copy")
    assert f"copy is what the model was trained on: {NOT_NEW}" in notes(capsys, run, "copy")
    assert notes(capsys, run, str(folder.with_name("validation"))) == []
    series(here / "held.csv", [300, *numbers_of(run)[:2]])
    words = ["--data.validation", "held.csv", "--data.duplicates", "keep"]
    assert main(["prepare", "train.csv", *COLUMNS, *words, "--out", "p"]) == 0
    capsys.readouterr()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ssm_hpn.documents._differences", lambda *_: [])
        found = notes(capsys, run, "p/validation")
    assert found == [f"2 of 3 documents are equal to some of the training part: {NOT_NEW}"]


@pytest.mark.parametrize(("documents", "kind"), [(12, "tail"), (40, "documents")])
def test_texts_are_compared_too(here, capsys, documents, kind):
    text_data(here, documents=documents)
    assert train("--data", "text", *SMALL, "--train.steps", "1", "--run.folder", "run") == 0
    found = notes(capsys, "run", "text")
    equal = documents if kind == "tail" else len({row["name"] for row in rows(part("run"))})
    assert found[-1] == f"{equal} of {documents} documents are equal to some of the training part: {NOT_NEW}"
    (here / "new.txt").write_text("nothing of the kind " * 10)
    assert not any("training part" in note for note in notes(capsys, "run", "new.txt"))


@pytest.mark.parametrize("shape", [(24, 10), (24, 10, 2)])
def test_arrays_are_compared_too(here, capsys, shape):
    x = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    np.savez("train.npz", features=x, label=np.arange(24) % 2)
    np.savez("new.npz", features=np.concatenate([x, x + 1]), label=np.arange(48) % 2)
    words = ["--data.validation_fraction", "0.25", "--train.steps", "1", "--run.folder", "run"]
    assert train("--data", "train.npz", *MODEL, *words) == 0
    assert f"18 of 48 documents are equal to some of the training part: {NOT_NEW}" in notes(capsys, "run", "new.npz")


def without_contents(folder, value=None):
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["source"].pop("contents")
    if value is not None:
        manifest["source"] |= value
    (folder / "manifest.json").write_text(json.dumps(manifest))


def test_a_part_of_an_earlier_version_is_compared_by_ids_and_says_so(run, here, capsys):
    without_contents(part(run))
    data = series(here / "new.csv", [numbers_of(run)[0], 100])
    found = notes(capsys, run, data)
    assert f"1 of 2 documents has an id of the training part: if they are the same documents, {NOT_NEW}" in found
    alone = "by their ids alone"
    assert f"the training part is of an earlier version: the documents were compared with those of it, {alone}" in found
    np.savez("a.npz", features=np.arange(240.0).reshape(24, 10), label=np.arange(24) % 2)
    assert train("--data", "a.npz", *MODEL, "--train.steps", "1", "--run.folder", "arrays") == 0
    without_contents(part("arrays"))
    expected = "the training part is of an earlier version: the documents were not compared with those of it"
    assert expected in notes(capsys, "arrays", "a.npz")


def test_too_many_documents_are_said_to_be_too_many(here, capsys, monkeypatch):
    monkeypatch.setattr(split, "MOST_RANKED", 10)
    data = series(here / "train.csv", range(30))
    assert train("--data", data, *COLUMNS, *MODEL, "--train.steps", "1", "--run.folder", "run") == 0
    assert any("the training part has too many documents: " in note for note in notes(capsys, "run", data))


@pytest.mark.parametrize("damage", ["flip", "cut", "gone"])
def test_damaged_keys_are_named_by_inspect_and_not_believed(run, here, capsys, damage):
    file = part(run) / "contents.npy"
    whole = file.read_bytes()
    if damage == "gone":
        file.unlink()
    else:
        file.write_bytes(whole[:-1] if damage == "cut" else whole[:-1] + bytes([whole[-1] ^ 1]))
    found = notes(capsys, run, series(here / "new.csv", numbers_of(run)[:2]))
    assert any(re.search("train cannot be read: the documents were not looked for among", note) for note in found)
    with pytest.raises(DataError, match=r"contents\.npy: file: expected SHA-256"):
        verify_part(file.parent)
