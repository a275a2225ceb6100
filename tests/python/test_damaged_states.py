"""States and manifests that were altered and signed again: what cannot be used is told in one line, never as a bug."""

import json
import random
import shutil
from pathlib import Path

import pytest

import damage
import faults
from filter_runs import FAST, LONG, long_table
from ssm_hpn.cli.main import main
from support import SMALL, sensor_file

COLUMNS = ("--data.columns.id", "id", "--data.columns.features", "a,b", "--data.columns.label", "label")
KINDS = {
    "backbone": (*COLUMNS, *SMALL, "--train.steps", "4", "--run.folder", "run"),
    "features": (*LONG, "--data.columns.label", "label", *FAST, "--run.folder", "run"),
}


@pytest.fixture(scope="module", params=KINDS)
def trained(request, tmp_path_factory):
    """The words that train a run, and its folder."""
    folder = tmp_path_factory.mktemp("states")
    table = (sensor_file if request.param == "backbone" else long_table)(folder / "s.csv")
    words = ("train", "--data", "s.csv", *KINDS[request.param])
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert main([*words]) == 0
    assert table.exists()
    return words, folder


@pytest.mark.fault("a value of a checkpoint's state is altered, and its digests are right")
def test_an_altered_state_is_used_or_refused_in_one_line(trained, tmp_path, monkeypatch, capsys, tally):
    words, folder = trained
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    run, kept = Path("run"), tmp_path / "kept"
    shutil.copytree(run, kept)
    (checkpoint,) = (run / "checkpoints").glob("step-*")
    state = json.loads((checkpoint / "state.json").read_text(encoding="utf-8"))
    found = [one for one in damage.changed(state) if not one[0].startswith("extra.config.")]
    random.Random(0).shuffle(found)
    fatal = 0
    for where, altered in found[: faults.rounds(6, of=600)]:
        shutil.rmtree(run)
        shutil.copytree(kept, run)
        (checkpoint / "state.json").write_text(json.dumps(altered), encoding="utf-8")
        damage.sign(checkpoint)
        for command in (["inspect", "run"], ["predict", "run", "--data", "s.csv"], [*words]):
            code = main(command)
            told = [line for line in capsys.readouterr().err.splitlines() if not line.startswith("note: ")]
            assert "bug" not in "".join(told), (where, command, told)
            assert code in (0, 2, 3, 4), (where, command, told)
            assert len(told) == (code != 0), (where, command, told)
            fatal += code != 0
        tally.add(worst="the altered value is used" if fatal == 0 else "the checkpoint is refused")
    assert fatal > 3


@pytest.mark.fault("a value of a data set's manifest is altered, and its digests are right")
def test_an_altered_manifest_of_data_is_used_or_refused_in_one_line(trained, tmp_path, monkeypatch, capsys, tally):
    _, folder = trained
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    (data,) = Path("runs/data").iterdir()
    manifest = data / "train/manifest.json"
    text = manifest.read_text(encoding="utf-8")
    found = list(damage.changed(json.loads(text)))
    random.Random(0).shuffle(found)
    refused = 0
    for where, altered in found[: faults.rounds(12, of=1000)]:
        manifest.write_text(json.dumps(altered), encoding="utf-8")
        damage.sign_data(manifest.parent)
        for command in (["inspect", str(data)], ["predict", "run", "--data", str(data / "train")]):
            code = main(command)
            told = [line for line in capsys.readouterr().err.splitlines() if not line.startswith("note: ")]
            assert "bug" not in "".join(told), (where, command, told)
            assert code in (0, 2, 3), (where, command, told)
            assert len(told) == (code != 0), (where, command, told)
            refused += code != 0
        tally.add(worst="the data set is refused")
    assert refused > 3


@pytest.mark.parametrize(
    ("key", "value"),
    [("columns", None), ("longest", "x"), ("n_classes", "x"), ("encoder", 3), ("source", []), ("kind", None)],
)
def test_a_manifest_with_values_of_other_types_is_refused_before_training(
    text, tmp_path, monkeypatch, capsys, key, value
):
    shutil.copytree(text.folder, tmp_path / "data")
    manifest = tmp_path / "data/train/manifest.json"
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | {key: value}))
    damage.sign_data(manifest.parent)
    monkeypatch.chdir(tmp_path)
    assert main(["train", "--data", "data", "--train.steps", "1", "--model.d_model", "16"]) == 3
    (line,) = [line for line in capsys.readouterr().err.splitlines() if not line.startswith("note: ")]
    assert f"manifest.json: {key}: expected" in line
