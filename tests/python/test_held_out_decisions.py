"""Decisions of a trained model on its held-out data, as a run writes them."""

import json

import numpy as np
import pytest

import ssm_hpn.held_out_decisions as module
from ssm_hpn import Trainer
from ssm_hpn.calibrated import class_probabilities
from ssm_hpn.config import PrepareOptions, parse
from ssm_hpn.decisions import FILE, read_decisions
from ssm_hpn.filter_data import joined, of_folder
from ssm_hpn.filter_evaluation import answers
from ssm_hpn.filter_training import FilterTraining
from ssm_hpn.held_out_decisions import decisions_of_learner
from ssm_hpn.prepare import prepare
from support import SMALL, sensor_file, settings, text_data, train

COLUMNS = {"id": "id", "features": ("a", "b"), "label": "label"}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sensors")
    options = PrepareOptions(train=str(sensor_file(folder / "s.csv")), columns=COLUMNS, validation_fraction=0.3)
    return prepare(options, folder / "data")


def trainer_on(data, **model):
    target = {"kind": "sequence_class", "pooling": "mean"}
    return Trainer(settings(data, model={"d_model": 16, "n_layers": 1, "target": target} | model))


def test_a_run_writes_its_decisions_and_the_report_shows_them(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    sensor_file(tmp_path / "s.csv")
    options = ["--data", "s.csv", "--data.columns.id", "id", "--data.columns.features", "a,b"]
    options += ["--data.columns.label", "label", *SMALL, "--train.steps", "8"]
    assert train(*options, "--run.folder", "run") == 0
    found = read_decisions(tmp_path / "run")
    summary = json.loads((tmp_path / "run/summary.json").read_text())
    assert found.count == summary["targets"]
    assert found.right == round(summary["metrics"]["accuracy"] * summary["targets"])
    assert found.step == summary["step"]
    assert sorted(found.classes) == ["fast", "medium", "slow"]
    assert {channel.name for one in found.pictures for channel in one.channels} == {"a", "b"}
    assert "The worst mistakes" in (tmp_path / "run/report.html").read_text(encoding="utf-8")
    first = (tmp_path / "run" / FILE).read_bytes()
    (tmp_path / "run/summary.json").unlink()
    assert train(*options, "--run.folder", "run") == 0
    assert (tmp_path / "run" / FILE).read_bytes() == first


def test_pictures_have_the_numbers_of_the_file_and_evidence_for_the_score(data):
    trainer = trainer_on(data)
    found = decisions_of_learner(trainer)
    table = np.genfromtxt(data.train.parent.parent / "s.csv", delimiter=",", skip_header=1, dtype=str)
    for one in found.pictures:
        number = one.name.rpartition("#")[2]
        rows = table[table[:, 0] == number]
        assert one.steps == len(rows)
        for channel, values in zip(one.channels, rows[:, 1:3].astype(float).T, strict=True):
            np.testing.assert_allclose(channel.values, values, atol=1e-4)
        assert found.classes[one.label] == rows[0, 3]
        assert len(one.evidence) == one.steps


def test_probabilities_are_the_softmax_of_scaled_scores():
    scores = np.array([[0.5, 0.25], [0.0, -1.0]])
    for head, scale in (
        ({"kind": "linear", "n_outputs": 2, "loss": "softmax"}, 1.0),
        ({"kind": "prototype", "n_classes": 2}, 16.0),
        ({"kind": "prototype", "n_classes": 2, "loss": {"kind": "margin", "scale": 5.0}}, 5.0),
        ({"kind": "prototype", "n_classes": 2, "loss": {"kind": "softmax", "scale": 3.0}}, 3.0),
    ):
        model = {"input": {"kind": "features", "n_features": 1}, "target": {"kind": "sequence_class"}, "head": head}
        found = class_probabilities(Trainer({"model": model | {"d_model": 16, "n_layers": 1}}), scores)
        np.testing.assert_allclose(np.log(found[:, 0] / found[:, 1]), scale * (scores[:, 0] - scores[:, 1]), rtol=1e-6)


def test_of_many_series_some_at_even_distances_are_looked_at(data, monkeypatch):
    trainer = trainer_on(data)
    whole = decisions_of_learner(trainer)
    assert whole.count == whole.out_of > 10
    monkeypatch.setattr(module, "MOST_SERIES", 5)
    monkeypatch.setattr(module, "AT_ONCE", 2)
    some = decisions_of_learner(trainer)
    assert some.out_of == whole.out_of
    assert some.count == len(range(0, whole.out_of, -(-whole.out_of // 5)))
    assert {one.name for one in some.pictures if one.label != one.predicted} == {one.name for one in some.mistakes}


def test_a_model_whose_evidence_cannot_be_told_says_so(data):
    target = {"kind": "sequence_class", "pooling": "last"}
    found = decisions_of_learner(trainer_on(data, target=target, layers=["bidirectional"]))
    assert found.note == "Nothing tells where the evidence lies: pooling = last with blocks that read both ways."
    assert not any(one.evidence for one in found.pictures)
    assert all(one.channels for one in found.pictures)


def test_models_without_a_class_per_document_have_none(tmp_path):
    assert decisions_of_learner(Trainer(settings(text_data(tmp_path)))) is None


# ---- features


def test_a_run_of_features_writes_its_decisions(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    sensor_file(tmp_path / "s.csv", documents=40)
    options = ["--data", "s.csv", "--data.columns.id", "id", "--data.columns.features", "a,b"]
    options += ["--data.columns.label", "label", "--model.kind", "features", "--model.filters.effort", "fast"]
    assert train(*options, "--run.folder", "run") == 0
    found = read_decisions(tmp_path / "run")
    summary = json.loads((tmp_path / "run/summary.json").read_text())
    assert (found.count, found.step) == (summary["targets"], summary["step"])
    assert found.right == round(summary["metrics"]["accuracy"] * summary["targets"])
    assert found.calibration.log_loss == pytest.approx(summary["metrics"]["loss"], rel=1e-4)
    assert all(len(one.evidence) == one.steps for one in found.pictures)
    assert "Typical series" in (tmp_path / "run/report.html").read_text(encoding="utf-8")
    first = (tmp_path / "run" / FILE).read_bytes()
    assert train(*options, "--run.folder", "again") == 0
    assert (tmp_path / "again" / FILE).read_bytes() == first


def test_evidence_of_features_in_a_run_is_for_its_scores(data, tmp_path):
    model = {"kind": "features", "filters": {"effort": "fast"}}
    paths = {"train": str(data.train), "validation": str(data.validation)}
    config = parse({"model": model, "data": paths, "run": {"folder": str(tmp_path / "run")}})
    learner = FilterTraining(config).run().learner
    found = decisions_of_learner(learner)
    held_out = joined(of_folder(data.validation, learner.contract, learner.kind))
    scores = answers(learner.model, held_out.series).scores
    assert found.right == (scores.argmax(axis=1) == held_out.codes).sum()
    sums = sorted(sum(one.evidence) for one in found.pictures)
    assert len(sums) >= 3
    for total in sums:
        assert np.abs(scores - total).min() < 1e-3
