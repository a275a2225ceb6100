"""Temperatures and thresholds of runs and backbones: fitted to held-out data, kept, and used by every command."""

import json
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest

from ssm_hpn import Trainer
from ssm_hpn.calibrated import FILE, Entry, RunCalibration, Threshold, scale_of_training
from ssm_hpn.cli.main import main
from ssm_hpn.decisions import read_decisions
from ssm_hpn.errors import ConfigError, DataError
from ssm_hpn.estimators import SSMClassifier
from support import SMALL, sensor_file, train

OPTIONS = [
    "--data",
    "s.csv",
    "--data.columns.id",
    "id",
    "--data.columns.features",
    "a,b",
    "--data.columns.label",
    "label",
]
KINDS = {
    "backbone": [*SMALL, "--train.steps", "60", "--train.batch_size", "16"],
    "linear": [*SMALL, "--train.steps", "60", "--train.batch_size", "16", "--model.head.kind", "linear"],
    "features": ["--model.kind", "features", "--model.filters.effort", "fast", "--train.threads", "1"],
}


@pytest.fixture(scope="module", params=list(KINDS))
def run(request, tmp_path_factory):
    """A run of each kind, in its folder; files of the same sensors with a class that it has never seen."""
    folder = tmp_path_factory.mktemp(request.param)
    sensor_file(folder / "s.csv", documents=120)
    lines = sensor_file(folder / "new.csv", documents=30, seed=1).read_text().splitlines()
    strange = [f"{900 + k},{5.0 * (t % 2)},{t / 3:.3f},broken" for k in range(6) for t in range(25)]
    (folder / "new.csv").write_text("\n".join([*lines, *strange]) + "\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert train(*OPTIONS, *KINDS[request.param], "--data.validation_fraction", "0.4", "--run.folder", "run") == 0
    return request.param, folder


def said(capsys, *words):
    assert main([*words]) == 0
    return capsys.readouterr()


def rows_of(text):
    return [json.loads(line) for line in text.splitlines()]


def test_a_run_keeps_the_temperature_of_its_held_out_data(run, capsys, monkeypatch):
    kind, folder = run
    monkeypatch.chdir(folder)
    found = read_decisions(Path("run")).calibration
    assert found.before is not None
    classes = len(read_decisions(Path("run")).classes)
    if kind == "features":
        assert not (folder / "run" / FILE).exists()
        assert not found.fitted_here
        return
    entry = RunCalibration(Path("run")).entry(read_decisions(Path("run")).step)
    assert found.fitted_here
    assert entry.series == read_decisions(Path("run")).count
    assert sorted(entry.density.classes) == [0, 1, 2]
    assert found.log_loss <= np.log(classes) + 1e-9
    trainer = Trainer.load("run", which="best")
    assert trainer.temperature.scale == entry.scale != scale_of_training(trainer)
    facts = json.loads(said(capsys, "evaluate", "run", "--json").out)
    assert facts["calibration"]["expected_error"] == pytest.approx(found.expected_error, abs=1e-4)
    assert facts["calibration"]["before"] == pytest.approx(found.before, abs=1e-4)


def test_commands_and_estimators_answer_the_same_probabilities(run, capsys, monkeypatch):
    _, folder = run
    monkeypatch.chdir(folder)
    rows = rows_of(said(capsys, "predict", "run", "--data", "s.csv", "--reject-below", "none").out)
    table = {"id": [], "a": [], "b": []}
    for line in Path("s.csv").read_text().splitlines()[1:]:
        for name, cell in zip(table, line.split(","), strict=False):
            table[name].append(float(cell))
    series = [
        np.stack([np.array(table["a"]), np.array(table["b"])], axis=1)[np.array(table["id"]) == n] for n in range(120)
    ]
    model = SSMClassifier.load("run", which="best").set_params(id=None)
    by_id = {int(row["id"]): row for row in rows}
    decision = model.decide(series)
    expected = [by_id[n]["probability"] for n in range(120)]
    np.testing.assert_allclose(decision.probability, expected, atol=1e-3)  # files are read in single precision
    np.testing.assert_allclose(decision.confidence, [by_id[n]["confidence"] for n in range(120)], atol=1e-3)
    assert decision.label.tolist() == [by_id[n]["class"] for n in range(120)]


def test_keep_finds_a_threshold_that_predict_uses(run, capsys, monkeypatch):
    _, folder = run
    monkeypatch.chdir(folder)
    facts = json.loads(said(capsys, "evaluate", "run", "--keep", "0.75", "--json").out)["reject"]
    assert facts["answered"] >= 0.75
    assert facts["answered"] < 0.75 + 2 / facts["series"]
    text = said(capsys, "evaluate", "run", "--keep", "0.75").out
    assert f"reject_below {facts['reject_below']:.6g} answers" in text
    assert "predict uses it from now on" in text
    assert json.loads(said(capsys, "evaluate", "run", "--json").out)["reject"]["reject_below"] == facts["reject_below"]
    inspected = said(capsys, "inspect", "run").out
    assert f"confidence {facts['reject_below']:.6g}, by evaluate --keep" in inspected
    told = said(capsys, "predict", "run", "--data", "s.csv")
    assert "the threshold that evaluate --keep found" in told.err
    rows = rows_of(told.out)
    rejected = [row["class"] is None for row in rows]
    assert rejected == [row["confidence"] < facts["reject_below"] for row in rows]
    assert 0 < sum(rejected) < len(rows)
    always = said(capsys, "predict", "run", "--data", "s.csv", "--reject-below", "none")
    assert "note: no class below" not in always.err
    assert all(row["class"] is not None for row in rows_of(always.out))
    (folder / "run" / FILE).write_text('{"version": 1, "entries": [{"step": "x"}]}')
    assert main(["predict", "run", "--data", "s.csv"]) == 3
    assert f"{FILE}: expected entries.0.step as `evaluate` writes it" in capsys.readouterr().err
    (folder / "run" / FILE).unlink()


def test_a_copied_checkpoint_keeps_temperature_and_threshold(run, capsys, monkeypatch, tmp_path):
    kind, folder = run
    monkeypatch.chdir(folder)
    facts = json.loads(said(capsys, "evaluate", "run", "--keep", "0.75", "--json").out)["reject"]
    step = read_decisions(Path("run")).step
    saved = next(Path("run/checkpoints").glob("step-*" if step is None else f"step-{step:08d}"))
    copied = Path(shutil.copytree(saved, tmp_path / "copied"))
    inside = said(capsys, "predict", "run", "--data", "s.csv")
    alone = said(capsys, "predict", str(copied), "--data", "s.csv")
    assert alone.out == inside.out
    assert f"no class below the confidence {facts['reject_below']:.6g}" in alone.err
    assert "no scale of the probabilities" not in inside.err + alone.err
    if kind != "features":
        (copied / FILE).unlink()
        assert "note: no scale of the probabilities was fitted for this checkpoint" in (
            said(capsys, "predict", str(copied), "--data", "s.csv").err
        )


def test_a_checkpoint_in_no_run_keeps_what_evaluate_fits_to_files(run, capsys, monkeypatch, tmp_path):
    """The scale and the threshold of labelled files, with the density that the threshold is of."""
    kind, folder = run
    monkeypatch.chdir(folder)
    saved, alone = Path("run/checkpoints"), tmp_path / "alone"
    step = read_decisions(Path("run")).step
    shutil.copytree(next(saved.glob("step-*" if step is None else f"step-{step:08d}")), alone)
    (alone / FILE).unlink(missing_ok=True)
    words = ["evaluate", str(alone), "--data", "s.csv", "--keep", "0.75"]
    if kind == "features":
        assert main([*words, "--calibrate"]) == 2
        line = capsys.readouterr().err.splitlines()[-1]
        assert line.startswith(
            "error: --calibrate: expected a backbone with a class per document, found features, whose"
        )
        calibrating = []
    else:
        calibrating = ["--calibrate"]
        before = Trainer.load(alone)
    facts = json.loads(said(capsys, *words, *calibrating, "--json").out)
    told = said(capsys, "predict", str(alone), "--data", "s.csv")
    rows = rows_of(told.out)
    assert [row["class"] is None for row in rows] == [
        row["confidence"] < facts["reject"]["reject_below"] for row in rows
    ]
    assert 0.7 < np.mean([row["class"] is not None for row in rows]) < 0.8
    if kind == "features":
        return
    after = Trainer.load(alone)
    assert (before.temperature, before.density) == (None, None)
    assert after.temperature.scale == facts["fitted"]["scale"]
    assert sorted(after.density.classes) == [0, 1, 2]
    assert facts["fitted"]["series"] == 120
    again = json.loads(said(capsys, "evaluate", str(alone), "--data", "s.csv", "--json").out)["calibration"]
    assert again["expected_error"] == pytest.approx(facts["fitted"]["expected_error"])
    text = said(capsys, *words, *calibrating).out
    assert (
        f"the scale of the probabilities is {after.temperature.scale:.4g} from now on, fitted to 120 documents" in text
    )
    few = tmp_path / "few.csv"
    few.write_text("".join(Path("s.csv").read_text().splitlines(keepends=True)[:200]))
    assert main(["evaluate", str(alone), "--data", str(few), "--calibrate"]) == 3
    assert (
        "--calibrate: expected at least 20 documents of classes that the model has, found 8 in"
        in (capsys.readouterr().err.splitlines()[-1])
    )


def test_evaluate_tells_strange_documents_apart(run, capsys, monkeypatch):
    kind, folder = run
    monkeypatch.chdir(folder)
    told = said(capsys, "evaluate", "run", "--data", "new.csv", "--keep", "0.9", "--json")
    facts = json.loads(told.out)
    assert facts["targets"] == 30
    assert facts["strange"]["labels"] == {"broken": 6}
    assert facts["strange"]["series"] == 6
    assert 0 <= facts["strange"]["rejected"] <= 1
    assert facts["strange"]["auroc"] > 0.95
    assert "label 'broken' of 6 documents: no class of the training data: taken for unknown" in told.err
    assert ("note: add-classes adds such classes to this model" in told.err) == (kind == "backbone")
    assert (
        "6 documents of classes that the training data does not have: AUROC"
        in said(capsys, "evaluate", "run", "--data", "new.csv").out
    )
    (folder / "run" / FILE).unlink()


def test_thresholds_and_shares_that_cannot_be_are_refused(run, capsys, monkeypatch):
    _, folder = run
    monkeypatch.chdir(folder)
    for share in ("0", "1.5", "nan", "x"):
        assert main(["evaluate", "run", "--keep", share]) == 2
        assert "--keep: expected a share above 0 and up to 1, found" in capsys.readouterr().err
    for bound in ("nan", "half"):
        assert main(["predict", "run", "--data", "s.csv", "--reject-below", bound]) == 2
        assert "--reject-below: expected a number, or none, found" in capsys.readouterr().err


# ---- the file


def test_entries_of_other_updates_stay(tmp_path):
    file = RunCalibration(tmp_path)
    threshold = Threshold(keep=0.9, reject_below=0.25, series=40)
    file.put(Entry(step=3, scale=2.0, series=40, threshold=threshold))
    file.put(Entry(step=1, scale=5.0, series=40))
    file.put(Entry(step=3, scale=4.0, series=41))
    assert file.entry(3) == Entry(step=3, scale=4.0, series=41, threshold=threshold)
    assert file.entry(1).scale == 5.0
    assert file.entry(2) is None
    (tmp_path / FILE).write_text("{")
    with pytest.raises(DataError, match=r"calibration.json: expected JSON as `evaluate` writes it"):
        file.entry(1)


# ---- backbones behind estimators


def noisy(count, *, seed=0):
    random = np.random.default_rng(seed)
    labels = np.arange(count) % 3
    return [
        np.sin((0.5 + 0.25 * k) * np.arange(24) + random.uniform(0, 6))[:, None] + 0.6 * random.normal(size=(24, 1))
        for k in labels
    ], labels


@pytest.mark.parametrize("settings", [{}, {"loss": "softmax"}, {"head": "linear"}])
def test_a_backbone_is_as_sure_as_it_is_right(settings):
    series, labels = noisy(1000)
    model = SSMClassifier(kind="backbone", d_model=16, n_layers=1, steps=120, lr=0.01, random_state=0, **settings)
    model.fit(series, labels)
    new, truth = noisy(1000, seed=2)
    p = model.predict_proba(new)
    right = p.argmax(axis=1) == truth
    assert p.max(axis=1).mean() == pytest.approx(right.mean(), abs=0.09)  # 100 held-out series
    assert -np.log(p[np.arange(1000), truth]).mean() < np.log(3)
    again = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(again.predict_proba(new), p)


def test_probabilities_of_few_series_are_no_surer_than_their_number_allows():
    series, labels = noisy(30)
    model = SSMClassifier(kind="backbone", d_model=16, n_layers=1, steps=60, lr=0.01, random_state=0).fit(
        series, labels
    )
    assert model.predict_proba(series).max(axis=1).mean() <= 1 - 1 / 32 + 1e-6


def test_a_saved_backbone_keeps_its_temperature(tmp_path):
    series, labels = noisy(60)
    model = SSMClassifier(kind="backbone", d_model=16, n_layers=1, steps=20, random_state=0).fit(series, labels)
    again = SSMClassifier.load(model.save(tmp_path / "saved"))
    np.testing.assert_array_equal(again.predict_proba(series), model.predict_proba(series))


def test_an_update_ends_the_temperature_and_a_further_part_fits_it_anew():
    series, labels = noisy(120)
    model = SSMClassifier(kind="backbone", d_model=16, n_layers=1, random_state=0)
    model.partial_fit(series[:60], labels[:60])
    first = model.trainer_.temperature.scale
    model.partial_fit(series[60:70], labels[60:70])  # too few to judge by
    assert model.trainer_.temperature.scale == first
    model.partial_fit(series[70:], labels[70:])
    assert model.trainer_.temperature.scale != first
    batch = {"features": np.stack(series[:4]).astype(np.float32), "sequence_class": labels[:4].astype(np.int32)}
    model.trainer_.step(batch)
    assert model.trainer_.temperature is None


# ---- decisions in one value


def test_a_decision_has_what_the_single_answers_have():
    series, labels = noisy(60)
    for kind in ("features", "backbone"):
        given = {"effort": "fast"} if kind == "features" else {"steps": 20, "d_model": 16, "n_layers": 1}
        model = SSMClassifier(kind=kind, random_state=0, **given).fit(series, labels)
        model.set_params(reject_below=float(np.median(model.confidence(series))))
        found, scores, p = model.decide(series), model.class_scores(series), model.predict_proba(series)
        best = scores.argmax(axis=1)
        assert found.label.tolist() == model.classes_[best].tolist()
        np.testing.assert_array_equal(found.cosine, scores.max(axis=1))
        np.testing.assert_array_equal(found.probability, p[np.arange(60), best])
        np.testing.assert_array_equal(found.confidence, model.confidence(series))
        assert np.where(found.rejected, -1, found.label).tolist() == model.predict(series).tolist()
        assert 20 < found.rejected.sum() < 40
        assert not model.set_params(reject_below=None).decide(series).rejected.any()


def test_a_linear_head_has_no_cosine():
    series, labels = noisy(30)
    model = SSMClassifier(kind="backbone", head="linear", steps=5, d_model=16, n_layers=1, random_state=0)
    assert np.isnan(model.fit(series, labels).decide(series).cosine).all()


def test_the_threshold_of_a_rate_is_of_left_out_series_or_of_given_ones():
    series, labels = noisy(150)
    model = SSMClassifier(effort="fast", random_state=0).fit(series[:100], labels[:100])
    threshold = model.reject_threshold(keep=0.8)
    assert (model.confidence(noisy(400, seed=3)[0]) >= threshold).mean() == pytest.approx(0.8, abs=0.1)
    given = model.reject_threshold(keep=0.5, X=series[100:])
    assert (model.confidence(series[100:]) >= given).mean() == pytest.approx(0.5, abs=0.03)
    for keep in (0, 1.5, np.nan, "0.9", None, True):
        with pytest.raises(ConfigError, match=r"^keep: expected a share above 0 and up to 1, found"):
            model.reject_threshold(keep=keep)
    backbone = SSMClassifier(kind="backbone", steps=5, d_model=16, n_layers=1, random_state=0).fit(series, labels)
    with pytest.raises(ConfigError, match="reject_threshold: expected X, series that the backbone was not trained on"):
        backbone.reject_threshold()
    assert np.isfinite(backbone.reject_threshold(X=series))
