"""Estimators as checkpoints that the command line reads, and runs of the command line as estimators."""

import json
import re

import numpy as np
import pandas as pd
import pytest

pytest.importorskip("sklearn")

from sklearn.exceptions import NotFittedError

from ssm_hpn import Trainer
from ssm_hpn.cli.main import main
from ssm_hpn.errors import CheckpointError, ConfigError
from ssm_hpn.estimators import SSMClassifier, SSMRegressor
from ssm_hpn.filter_model import FilterModel
from support import sensor_file
from test_estimators import waves

FAST = {"effort": "fast", "random_state": 0, "threads": 1}
SMALL = {"kind": "backbone", "d_model": 16, "n_layers": 1, "d_state": 4, "steps": 60, "random_state": 0, "threads": 1}
KINDS = {"features": FAST, "backbone": SMALL}


def run(*words):
    return main([str(word) for word in words])


def answers_in(file):
    return [json.loads(line) for line in file.read_text().splitlines()]


def table(series, labels):
    return pd.concat(
        pd.DataFrame({"machine": n, "time": np.arange(len(one)), "a": one[:, 0], "b": one[:, 1], "kind": label})
        for n, (one, label) in enumerate(zip(series, labels, strict=True))
    )


@pytest.mark.parametrize("kind", KINDS)
def test_a_classifier_comes_back_as_it_was(here, kind):
    series, labels = waves(45, seed=0)
    given = KINDS[kind] | {"reject_below": -2.0, "reject_label": "none"}
    model = SSMClassifier(**given).fit(series, labels, values=np.arange(45.0))
    again = SSMClassifier.load(model.save(here / "kept"))
    np.testing.assert_array_equal(again.class_scores(series), model.class_scores(series))
    np.testing.assert_array_equal(again.predict_proba(series), model.predict_proba(series))
    np.testing.assert_array_equal(again.predict_values(series), model.predict_values(series))
    assert again.predict(series).tolist() == model.predict(series).tolist()
    assert again.get_params() == model.get_params()
    assert again.contract_ == model.contract_
    assert (again.n_features_in_, again.n_channels_) == (2, 2)
    if kind == "features":
        assert again.loo_score_ == model.loo_score_
        with pytest.raises(ConfigError, match="partial_fit: expected a model whose series are kept, found"):
            again.partial_fit(series, labels, values=np.arange(45.0))
    else:
        again.partial_fit(series, labels, values=np.arange(45.0))
        assert again.n_iter_ == 63


@pytest.mark.parametrize("kind", KINDS)
def test_a_regressor_and_a_frame_of_steps_come_back(here, kind):
    frame = pd.DataFrame(np.random.default_rng(1).normal(size=(30, 12))).add_prefix("t")
    numbers = np.stack([frame.mean(axis=1), frame.std(axis=1)], axis=1)
    model = SSMRegressor(**KINDS[kind]).fit(frame, numbers)
    again = SSMRegressor.load(model.save(here / "kept"))
    np.testing.assert_array_equal(again.predict(frame), model.predict(frame))
    assert again.feature_names_in_.tolist() == model.feature_names_in_.tolist()
    with pytest.raises(ValueError, match="feature names should match"):
        again.predict(frame.rename(columns={"t0": "other"}))
    assert SSMRegressor.load(SSMRegressor(**KINDS[kind]).fit(frame, numbers[:, 0]).save("one")).predict(frame).ndim == 1


@pytest.mark.parametrize(
    "classes",
    [
        [3, 7],
        [2.0, 1.0],
        [True, False],
        ["a", "bc"],
        [b"a", b"bc"],
        np.array(["a", "b"], object),
        np.array([2**63, 5], np.uint64),
        np.array([1, 2**63 + 5], np.uint64),
        np.array([1, 2**53 + 1], object),
        np.array([3, 7], np.int8),
        np.array([3, 7], np.uint64),
    ],
    ids=str,
)
def test_labels_come_back_in_their_type(here, classes):
    x = np.random.default_rng(2).normal(size=(12, 10)) + np.arange(12)[:, None] % 2 * 5
    labels = np.array(classes, getattr(classes, "dtype", None))[np.arange(12) % 2]
    model = SSMClassifier(**FAST).fit(x, labels)
    again = SSMClassifier.load(model.save(here / "kept"))
    assert again.classes_.dtype == model.classes_.dtype
    assert again.classes_.tolist() == model.classes_.tolist() == sorted(labels[:2].tolist())
    assert again.predict(x).tolist() == model.predict(x).tolist()


@pytest.mark.parametrize("kind", KINDS)
def test_the_command_line_reads_an_estimator_of_a_table(here, kind, capsys):
    series, labels = waves(45, seed=3)
    rows = table(series, labels)
    rows.to_csv("all.csv", index=False)
    model = SSMClassifier(**KINDS[kind], id="machine", order="time").fit(rows, "kind")
    model.save("kept")
    assert run("predict", "kept", "--data", "all.csv", "--out", "answers.jsonl") == 0
    answers = answers_in(here / "answers.jsonl")
    assert [one["class"] for one in answers] == model.predict(rows).tolist()
    assert [one["machine"] for one in answers] == model.series_ids(rows)
    assert run("evaluate", "kept", "--data", "all.csv") == 0
    assert re.search(rf"accuracy +{model.score(rows, 'kind'):.3f}", capsys.readouterr().out)
    assert run("inspect", "kept") == 0
    assert "target     3 classes (text): fast 15, middle 15, slow 15" in capsys.readouterr().out


@pytest.mark.parametrize("estimator", [SSMClassifier, SSMRegressor])
def test_the_command_line_reads_an_estimator_of_arrays(here, estimator, capsys):
    x = np.random.default_rng(4).normal(size=(30, 12, 2))
    y = (x[:, :, 0].mean(axis=1) > 0) * 1 if estimator is SSMClassifier else 50 + x[:, :, 0].mean(axis=1)
    model = estimator(**FAST).fit(x, y)
    model.save("kept")
    np.savez("all.npz", X=x, y=y)
    assert run("predict", "kept", "--data", "all.npz", "--out", "answers.jsonl") == 0
    answers = answers_in(here / "answers.jsonl")
    if estimator is SSMClassifier:
        assert [one["class"] for one in answers] == model.predict(x).tolist()
    else:  # files are read in single precision
        np.testing.assert_allclose([one["values"]["y"] for one in answers], model.predict(x), atol=0.02)
    assert run("evaluate", "kept", "--data", "all.npz") == 0
    assert ("accuracy" if estimator is SSMClassifier else "r2") in capsys.readouterr().out


@pytest.mark.parametrize(
    "options",
    [
        ("--model.filters.effort", "fast"),
        (
            "--model.kind",
            "backbone",
            "--model.d_model",
            16,
            "--model.n_layers",
            1,
            "--train.steps",
            80,
            "--optim.lr",
            0.01,
        ),
    ],
    ids=["features", "backbone"],
)
def test_a_run_of_the_command_line_is_an_estimator(here, options):
    sensor_file(here / "train.csv")
    sensor_file(here / "new.csv", documents=12, seed=1)
    columns = ("--data.columns.id", "id", "--data.columns.features", "a,b", "--data.columns.label", "label")
    assert run("train", "--data", "train.csv", "--train.threads", 1, *columns, *options) == 0
    (folder,) = [one for one in (here / "runs").iterdir() if one.name != "data"]
    model = SSMClassifier.load(folder, which="best")
    new = pd.read_csv("new.csv")
    assert model.id == "id"
    assert model.classes_.tolist() == ["fast", "medium", "slow"]
    assert model.score(new, "label") > 0.9
    assert run("predict", folder, "--data", "new.csv", "--out", "answers.jsonl") == 0
    answers = answers_in(here / "answers.jsonl")
    assert [one["class"] for one in answers] == model.predict(new).tolist()
    scores = [[one["scores"][name] for name in model.classes_] for one in answers]
    np.testing.assert_allclose(model.class_scores(new), scores, atol=0.02)
    again = SSMClassifier.load(model.save("again"))
    np.testing.assert_array_equal(again.class_scores(new), model.class_scores(new))
    series = [one[["a", "b"]].to_numpy() for _, one in new.groupby("id", sort=False)]
    np.testing.assert_array_equal(model.class_scores(series), model.class_scores(new))
    assert model.score(series, new.groupby("id", sort=False)["label"].first()) == model.score(new, "label")
    found = "found series with the target sequence_class; open it with SSMClassifier.load"
    with pytest.raises(CheckpointError, match=f"expected series with the target sequence_values, {found}"):
        SSMRegressor.load(folder)


def test_what_is_no_such_checkpoint_is_refused_in_one_line(here):
    with pytest.raises(NotFittedError):
        SSMClassifier().save("kept")
    with pytest.raises(CheckpointError, match="nowhere: expected a checkpoint, or a run with checkpoints, found"):
        SSMClassifier.load("nowhere")
    tokens = {"input": {"kind": "tokens", "vocab_size": 8}, "target": {"kind": "next_token"}, "d_model": 16}
    Trainer({"model": tokens | {"n_layers": 1}}).save("text")
    with pytest.raises(CheckpointError, match="text: expected a model with a description of its data, found none"):
        SSMClassifier.load("text")
    series, labels = waves(9, seed=5)
    SSMClassifier(**FAST).fit(series, labels).save("kept")
    (here / "kept" / "state.json").write_text("{}")
    with pytest.raises(CheckpointError, match="kept"):
        SSMClassifier.load("kept")
    model = SSMClassifier(**FAST).fit(series, labels).model_
    model.save(here / "bare")
    assert isinstance(FilterModel.load("bare").model, FilterModel)
    with pytest.raises(CheckpointError, match="bare"):
        SSMClassifier.load("bare")


def test_parameters_that_are_no_json_are_left_out(here):
    series, labels = waves(9, seed=6)
    given = FAST | {"random_state": np.random.RandomState(3), "class_weight": {"slow": 2.0}}
    with pytest.warns(UserWarning, match="class_weight: not stored"):
        place = SSMClassifier(**given).fit(series, labels).save("kept")
    again = SSMClassifier.load(place)
    assert (again.random_state, again.class_weight, again.effort) == (None, None, "fast")
