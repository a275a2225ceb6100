"""The command `add-classes`: classes by name, training on documents of them beside old ones, and what it refuses."""

import json
import shutil

import numpy as np

from added_classes import COLUMNS, MODEL, stuck_sensors
from ssm_hpn import Trainer
from ssm_hpn.calibrated import calibrate, fit_density, keep_fitted
from ssm_hpn.cli.main import main
from support import settings


def accuracy(checkpoint, data, capsys):
    capsys.readouterr()
    assert main(["evaluate", str(checkpoint), "--data", str(data), "--json"]) == 0
    return json.loads(capsys.readouterr().out)["accuracy"]


def test_the_command_adds_classes_and_trains_on_them_beside_the_old_ones(sensor_run, tmp_path, capsys):
    folder, source = sensor_run
    named = tmp_path / "named"
    assert main(["add-classes", str(folder), "--names", "stuck,very odd", "--out", str(named)]) == 0
    assert "classes    fast, medium, slow, stuck, very odd" in capsys.readouterr().out
    before, after = Trainer.load(folder, which="best"), Trainer.load(named)
    batch = next(before.held_out())
    np.testing.assert_array_equal(after.predict(batch)[:, :3], before.predict(batch))
    new, learned = stuck_sensors(tmp_path / "new.csv"), tmp_path / "learned"
    words = ["--names", "stuck", "--data", str(new), "--passes", "25", "--lr", "0.01", "--out", str(learned)]
    assert main(["add-classes", str(folder), *words]) == 0
    assert "trained    75 updates on 12 documents and 48 old ones, mean loss" in capsys.readouterr().out
    assert accuracy(learned, new, capsys) == 1
    assert accuracy(learned, source, capsys) > 0.8
    assert Trainer.load(folder).class_names == ["fast", "medium", "slow"]  # the run stays as it was
    forgotten = tmp_path / "forgotten"
    assert main(["add-classes", str(folder), *words[:-1], str(forgotten), "--replay", "0"]) == 0
    assert accuracy(forgotten, source, capsys) < 0.5
    for checkpoint in (learned, forgotten):  # known series of old and new classes are as typical
        assert sorted(Trainer.load(checkpoint).density.classes.tolist()) == [0, 1, 2, 3]
        rows = {}
        for data in (new, source):
            assert main(["predict", str(checkpoint), "--data", str(data)]) == 0
            rows[data] = [json.loads(line)["confidence"] for line in capsys.readouterr().out.splitlines()]
        assert min(np.median(rows[new]), np.median(rows[source])) > 0.75


def test_the_command_keeps_the_scale_and_the_density_of_a_run(sensor_run, tmp_path):
    folder = shutil.copytree(sensor_run[0], tmp_path / "run")
    new, before = stuck_sensors(tmp_path / "new.csv"), Trainer.load(folder, which="best")
    rng = np.random.default_rng(0)
    labels, scores = np.arange(30) % 3, rng.normal(size=(30, 3))
    calibrate(before, scores + np.eye(3)[labels], labels)
    fit_density(before, rng.normal(size=(30, before.config.model.d_model)), labels)
    keep_fitted(folder, before, 30)  # beside its checkpoints
    words = ["--names", "stuck", "--data", str(new), "--replay", "0"]
    assert main(["add-classes", str(folder), *words, "--out", str(tmp_path / "out")]) == 0
    after = Trainer.load(tmp_path / "out")
    assert after.temperature.scale == before.temperature.scale
    assert after.density.classes.tolist() == [0, 1, 2, 3]


def test_a_new_class_without_documents_is_noted(sensor_run, tmp_path, capsys):
    folder, _ = sensor_run
    new, out = stuck_sensors(tmp_path / "new.csv", 3), tmp_path / "out"
    assert main(["add-classes", str(folder), "--names", "Slow", "--out", str(tmp_path / "case")]) == 0
    assert capsys.readouterr().err == "note: classes 'slow' and 'Slow' differ only in case\n"
    assert main(["add-classes", str(folder), "--names", "stuck,odd", "--data", str(new), "--out", str(out)]) == 0
    assert capsys.readouterr().err == "note: --data has no document of 'odd': nothing is learned of it\n"


def test_the_command_refuses_in_one_line_what_it_cannot_do(sensor_run, tmp_path, capsys):
    folder, source = sensor_run
    new, there = stuck_sensors(tmp_path / "new.csv", 3), tmp_path / "there"
    there.mkdir()
    plain = tmp_path / "plain"
    Trainer(settings(model=MODEL)).save(plain)
    features = tmp_path / "features"
    assert main(["train", "--data", str(source), *COLUMNS, "--run.folder", str(features)]) == 0
    capsys.readouterr()
    out = ["--out", str(tmp_path / "out")]
    for words, message in [
        (
            [str(folder), "--names", "slow", *out],
            "add_classes: expected new classes, found 'slow', which is a class already",
        ),
        ([str(folder), "--names", "", *out], "add_classes: expected at least one name, found none"),
        ([str(folder), "--names", "x", "--out", str(there)], "--out: expected a folder that is not there yet"),
        (
            [str(folder), "--names", "x", "--data", str(new), "--passes", "0", *out],
            "--passes: expected a whole number, 1 or more, found 0",
        ),
        (
            [str(folder), "--names", "x", "--data", str(new), "--replay", "-1", *out],
            "--replay: expected a whole number, 0 or more, found -1",
        ),
        (
            [str(folder), "--names", "x", "--data", str(new), "--lr", "0", *out],
            "--lr: expected a number above 0, found 0",
        ),
        ([str(folder), "--names", "x", "--data", str(new), *out], "'stuck'"),
        (
            [str(folder), "--names", "x", "--passes", "2", "--lr", "0.1", *out],
            "--passes, --lr: expected --data beside it",
        ),
        ([str(features), "--names", "x", *out], "expected a backbone, found a model of features; train on data"),
        ([str(plain), "--names", "x", *out], "expected a model trained on files, found one without a description"),
    ]:
        assert main(["add-classes", *words]) != 0
        error = capsys.readouterr().err.strip()
        assert message in error.splitlines()[-1], error
        assert not (tmp_path / "out").exists()
