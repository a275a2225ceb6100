"""Checkpoints with added classes, one after the other: classes added again, training from them, names with commas."""

import json
import shlex
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from added_classes import COLUMNS
from ssm_hpn import Trainer
from ssm_hpn.calibrated import calibrate
from ssm_hpn.classes import Classes
from ssm_hpn.cli.main import main
from ssm_hpn.documents import Reader
from ssm_hpn.errors import CheckpointError, DataError
from ssm_hpn.run import run_of
from support import train

SMALL = ["--model.d_model", "16", "--model.n_layers", "1", "--train.threads", "1", "--optim.lr", "0.01"]
FAST = ["--model.kind", "features", "--model.filters.effort", "fast", "--train.threads", "1"]
SHORT = [*SMALL, "--model.kind", "backbone", "--train.steps", "12", "--train.batch_size", "8"]


FORGOTTEN = (
    "note       classes: training is on the data of the run before, which has no document of 'odd', added since: what "
    "is known of it may be forgotten; train first and use add-classes --data then, or train from the start on data "
    "that has all classes"
)


def series_of(path, labels, *, count=8, seed=0):
    """A CSV with some series of each class, at a level of its own."""
    rng = np.random.default_rng(seed)
    lines = ["id,a,b,label"]
    for place, label in enumerate(labels):
        for number in range(count):
            level = rng.normal(0, 0.1, 2) + np.array([np.cos(place), np.sin(place)])
            row = f's{seed}-{place}-{number},{level[0]:.4f},{level[1]:.4f},"{label}"'
            lines += [row] * int(rng.integers(9, 15))
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """A run of a backbone and one of features on the same three classes, of which one has a comma in its name."""
    folder = tmp_path_factory.mktemp("again")
    source = series_of(folder / "known.csv", ["calm", "leak, big", "Shut"], count=20)
    data = str(folder / "data")
    assert main(["prepare", str(source), *COLUMNS, "--data.validation_fraction", "0.3", "--out", data]) == 0
    assert train("--data", data, *SHORT, "--run.folder", str(folder / "backbone")) == 0
    assert train("--data", data, *FAST, "--run.folder", str(folder / "features")) == 0
    return folder


@pytest.fixture
def run(base, tmp_path, monkeypatch, capsys):
    """The folder of the runs, with the test in a folder of its own."""
    monkeypatch.chdir(tmp_path)
    capsys.readouterr()
    return base


def add(checkpoint, names, out, *words):
    return main(["add-classes", str(checkpoint), "--names", names, "--out", str(out), *map(str, words)])


# ---- evaluation without a known class


@pytest.mark.parametrize("kind", ["backbone", "features"])
def test_a_threshold_needs_documents_of_known_classes(run, tmp_path, capsys, kind):
    strange = series_of(tmp_path / "strange.csv", ["odd"])
    assert main(["evaluate", str(run / kind), "--data", str(strange), "--keep", "0.9"]) == 3
    told = capsys.readouterr()
    assert told.out == ""
    line = told.err.splitlines()[-1]
    assert line.startswith("error: --keep: expected documents of classes that the training data has, whose confidence")
    assert "found none in" in line
    assert "leave it out" in line


@pytest.mark.parametrize("kind", ["backbone", "features"])
def test_an_evaluation_without_a_target_shows_no_metrics(run, tmp_path, capsys, kind):
    strange = series_of(tmp_path / "strange.csv", ["odd"])
    assert main(["evaluate", str(run / kind), "--data", str(strange)]) == 0
    told = capsys.readouterr().out
    none = "no document has a known target: there are no metrics"
    assert told.startswith(f"{none}\n\n8 documents of classes")
    assert "nan" not in told
    assert "loss" not in told
    assert main(["evaluate", str(run / kind), "--data", str(strange), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["targets"] == 0


# ---- classes that are added again


@pytest.mark.parametrize(("first", "replay"), [("names", []), ("data", []), ("data", ["--replay", "0"])])
def test_classes_are_added_to_a_checkpoint_with_added_classes(run, tmp_path, capsys, first, replay):
    new, further = series_of(tmp_path / "new.csv", ["odd"], seed=1), series_of(tmp_path / "further.csv", ["x"], seed=2)
    words = ["--data", new, "--passes", "2"] if first == "data" else []
    assert add(run / "backbone", "odd", "one", *words) == 0
    capsys.readouterr()
    assert add("one", "x", "two", "--data", further, "--passes", "2", *replay) == 0
    told = capsys.readouterr()
    kept = "0 old ones" if replay else "42 old ones"
    assert f"8 documents and {kept}" in told.out.replace("41 old ones", "42 old ones")
    gone = (
        "note: neither --data nor the training data of the run has a document of 'odd', an earlier class: what is "
        "known of it may be forgotten; put its documents into --data too\n"
    )
    assert told.err == ("" if replay else gone)
    assert Trainer.load("two").class_names == ["Shut", "calm", "leak, big", "odd", "x"]
    both = tmp_path / "both.csv"
    both.write_text(new.read_text() + further.read_text().partition("\n")[2])
    assert add("one", "x", "three", "--data", both) == 0
    assert capsys.readouterr().err == ""


def test_a_checkpoint_with_added_classes_reads_the_prepared_data_of_its_run(run, capsys):
    assert add(run / "backbone", "odd", "one") == 0
    prepared = Trainer.load(run / "backbone").validation_folder
    capsys.readouterr()
    found = []
    for checkpoint in ("one", run / "backbone"):
        assert main(["evaluate", str(checkpoint), "--data", str(prepared), "--json"]) == 0
        found.append(json.loads(capsys.readouterr().out)["targets"])
    assert found[0] == found[1] > 0
    assert add("one", "x", "two") == 0
    contract = Trainer.load("one").contract
    for other in (("calm", "Shut", "leak, big", "odd"), ("Shut", "calm"), ("Shut", "calm", "odd", "leak, big")):
        unlike = replace(contract, classes=Classes(other, "text", (1,) * len(other)))
        with pytest.raises(DataError, match=r"validation: classes: expected \['"):
            next(Reader(unlike, "sequence_class").documents(prepared))


# ---- training from a checkpoint that is in no run


@pytest.mark.parametrize("written", ["add-classes", "save"])
def test_training_starts_from_a_checkpoint_that_no_run_wrote(run, tmp_path, capsys, written):
    if written == "save":
        Trainer.load(run / "backbone").save("one")
    else:
        assert add(run / "backbone", "odd", "one") == 0
    before = Trainer.load("one")
    step = before.session.step
    assert train("--resume", "one", "--more", "6", "--run.folder", "named") == 0
    told = capsys.readouterr().out
    assert f"going on at update {step}, from one\n" in told
    notes = [line for line in told.splitlines() if line.startswith("note ")]
    assert notes == [FORGOTTEN] * (written == "add-classes")
    after = Trainer.load("named", which="latest")
    assert (after.session.step, after.class_names) == (18, before.class_names)  # twelve and six
    assert sorted(path.name for path in (tmp_path / "one").iterdir() if path.name != ".lock") == [
        "MANIFEST.json", "model.safetensors", "optimizer.safetensors", "state.json",
    ]  # fmt: skip
    if written == "add-classes":
        assert train("--resume", "one", "--more", "6") == 0
        command = capsys.readouterr().out.partition("again, or on after an interruption:")[2].splitlines()[0]
        made = shlex.split(command)[-1]
        assert run_of(tmp_path / made) != tmp_path / "one"
        assert Trainer.load(made, which="latest").session.step == 18
        assert train("--resume", "one", "--train.steps", "2") == 0
        told = f"no update was made: {step} updates are done, and train.steps is 2; give a larger --train.steps\n"
        assert told in capsys.readouterr().out
    assert train("--resume", "one", "--more", "6", "--run.folder", "one") == 4
    line = capsys.readouterr().err.splitlines()[-1]
    assert line == (
        "error: one: expected a checkpoint that the training of a run wrote, found one of add-classes or Trainer.save; "
        "name another run.folder, for a run that starts from it"
    )


def test_a_checkpoint_in_the_folder_of_a_run_is_none_of_it(run, tmp_path, capsys):
    """What is fitted to it is kept beside it, although the run has a checkpoint of as many updates."""
    shutil.copytree(run / "backbone", "copied")
    assert add("copied", "odd", "copied/grown") == 0
    assert "classes    Shut, calm, 'leak, big', odd\n" in capsys.readouterr().out
    before = Trainer.load("copied", which="best").temperature
    assert main(["evaluate", "copied/grown", "--data", str(run / "known.csv"), "--calibrate"]) == 0
    grown = Trainer.load("copied/grown")
    assert len(grown.class_names) == 4
    assert grown.temperature.scale != before.scale
    assert Trainer.load("copied", which="best").temperature.to_json() == before.to_json()


def test_a_loaded_checkpoint_does_not_go_on_in_its_own_folder(run):
    Trainer.load(run / "backbone").save("one")
    trainer = Trainer.load("one")
    trainer.config = trainer.config.model_copy(update={"run": trainer.config.run.model_copy(update={"folder": "one"})})
    with pytest.raises(CheckpointError, match=r"one of add-classes or Trainer\.save; name another run.folder"):
        trainer.fit(resume="one")


# ---- names


def test_names_with_a_comma_are_told_how_to_be_written(run, tmp_path, capsys):
    form = """'["leak, big"]'"""
    assert add(run / "backbone", "leak, big", "one") == 0
    assert capsys.readouterr().err == (
        f"note: --names has 'leak' and 'big' beside the class 'leak, big': the name with the comma is written {form}\n"
    )
    assert add(run / "backbone", '["leak, big"]', "two") != 0
    assert "'leak, big', which is a class already" in capsys.readouterr().err
    new = series_of(tmp_path / "new.csv", ["odd, very"])
    assert add(run / "backbone", "odd, very", "three", "--data", new) != 0
    assert """by add-classes --names '["odd, very"]' if it is a new one""" in capsys.readouterr().err.splitlines()[-1]
    assert add(run / "backbone", '["odd, very"]', "four", "--data", new) == 0
    assert capsys.readouterr().err == ""
    assert main(["add-classes", "--help"]) == 0
    assert """one with a comma as '["leak, big"]'""" in " ".join(capsys.readouterr().out.split())


def test_class_weights_of_names_with_a_comma_are_told_how_to_be_written(run, tmp_path, capsys):
    source = run / "known.csv"
    words = ["--data", str(source), *COLUMNS, "--run.folder", "weighted"]
    assert train(*words, "--train.class_weights", "leak, big=5") == 2
    line = capsys.readouterr().err.splitlines()[-1]
    assert """one whose name has a comma as '["a, b=5"]'""" in line
    assert train(*words, "--train.class_weights", '["leak, big=5"]', "--dry-run") == 0


def test_an_added_class_that_differs_in_case_is_noted(run, capsys):
    with pytest.warns(UserWarning, match="^add_classes: classes 'Shut' and 'shut' differ only in case$") as told:
        Trainer.load(run / "backbone").add_classes(["shut", "odd"])
    assert [Path(one.filename) for one in told] == [Path(__file__)]
    assert add(run / "backbone", "shut,odd", "one") == 0
    assert capsys.readouterr().err == "note: classes 'Shut' and 'shut' differ only in case\n"
    assert add("one", "x", "two") == 0
    assert capsys.readouterr().err == ""  # it was said before


# ---- the scale of the probabilities


def test_a_scale_that_does_not_fit_is_told_and_is_fitted_anew(run, tmp_path, capsys):
    new = series_of(tmp_path / "new.csv", ["odd"], seed=1)
    assert add(run / "backbone", "odd", "one", "--data", new, "--passes", "2") == 0
    trainer = Trainer.load("one")
    calibrate(trainer, np.zeros((4, 4)), np.arange(4))  # one that is far from what the scores say
    trainer.save("unfit")
    capsys.readouterr()
    advice = "the fitted scale of the probabilities suits these documents less than that of training"
    errors = {}
    for name, words in (("unfit", []), ("fitting", ["--calibrate"]), ("fit", [])):
        assert main(["evaluate", "unfit", "--data", str(run / "known.csv"), *words]) == 0
        told = capsys.readouterr().out
        errors[name] = float(told.partition("expected calibration error ")[2].split(",")[0])
        before = float(told.partition("expected calibration error ")[2].split()[1])
        assert (advice in told) == (errors[name] > before + 0.05) == (name != "fit")
    assert Trainer.load("unfit").temperature.scale != trainer.temperature.scale
    assert errors["fit"] < errors["unfit"]
