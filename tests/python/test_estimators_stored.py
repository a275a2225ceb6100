"""Estimators as checkpoints that the command line reads, and runs of the command line as estimators."""

import json
import re
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pandas as pd
import pytest

pytest.importorskip("sklearn")

from sklearn.base import clone
from sklearn.exceptions import NotFittedError

import damage
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


LABELS = {
    "text": ["1", "7", "x"],
    "bytes": [b"1", "ü".encode(), b"x"],
    "large": [3, 2**31 + 1, 2**62 + 1],
    "larger": [3, 5, 2**63 + 5],
    "boolean": [False, True],
    "number": [0.0, 1.0, 2.5e18],
}
"""Labels of every type, some of which would be others once they were written as names."""


def few_of(classes):
    """Twelve series of these classes, and their labels."""
    labels = np.array(classes, np.uint64 if classes[-1] == 2**63 + 5 else None)[np.arange(12) % len(classes)]
    return np.random.default_rng(2).normal(size=(12, 10)) + np.arange(12)[:, None] % len(classes) * 5, labels


def given_by_label(kind, labels):
    """Parameters by label, of every type of label and of number."""
    weights = dict(zip(labels, (2, np.float32(0.1), 1 / 3), strict=False))
    if kind == "features":
        return {"class_weight": weights}
    vectors = dict(zip(labels, ([1, 0, 0.1], (0, 1, 1e-9), np.array([0, 1, 1], np.float32)), strict=False))
    return {"class_weight": weights, "class_vectors": vectors, "prototypes": "given", "steps": 3}


def assert_same(found, expected):
    """Two parameters are of one type, with the same labels and numbers in the same order; numpy's become Python's."""
    if isinstance(expected, dict | list | tuple):
        assert type(found) is type(expected)
        assert len(found) == len(expected)
        pairs = zip(*(one.items() if isinstance(one, dict) else one for one in (found, expected)), strict=True)
        for one, other in pairs:
            assert_same(one, other)
    elif isinstance(expected, np.ndarray):
        assert (type(found), found.dtype, found.tolist()) == (np.ndarray, expected.dtype, expected.tolist())
    else:
        plain = expected.item() if isinstance(expected, np.generic) else expected
        assert (found, type(found)) == (plain, type(plain))


@pytest.mark.parametrize(
    ("kind", "of"), [*(("backbone", of) for of in LABELS), ("features", "text"), ("features", "larger")]
)
def test_parameters_by_label_come_back_exactly_and_fit_the_same_again(here, kind, of):
    labels = LABELS[of]
    series, y = few_of(labels)
    model = SSMClassifier(**KINDS[kind] | given_by_label(kind, labels)).fit(series, y)
    again = SSMClassifier.load(model.save("kept"))
    assert_same(again.get_params(), model.get_params())
    fresh = clone(again)
    assert_same(fresh.get_params(), model.get_params())
    np.testing.assert_array_equal(fresh.fit(series, y).class_scores(series), model.class_scores(series))
    if kind == "backbone":
        model.partial_fit(series[:4], y[:4])
        np.testing.assert_array_equal(
            again.partial_fit(series[:4], y[:4]).class_scores(series), model.class_scores(series)
        )
        plain = SSMClassifier(**KINDS[kind] | {"steps": 3}).fit(series, y)
        assert not np.array_equal(plain.class_scores(series), model.class_scores(series))


@pytest.mark.parametrize(
    "vectors",
    [
        np.array([[1, 0], [0, 1]], np.int8),
        np.asfortranarray([[1.0, 0.5], [0, 1]], np.float32),
        [[1, 0], [0.5, 1]],
        ((1, 0), (0.5, 1)),
        pd.DataFrame({"x": [1.0, 0.5], "y": [0.0, 1.0]}),
    ],
    ids=["int8", "float32", "lists", "tuples", "frame"],
)
def test_class_vectors_in_rows_come_back(here, vectors):
    series, y = few_of(["a", "b"])
    model = SSMClassifier(**SMALL | {"steps": 2, "prototypes": "given", "class_vectors": vectors}).fit(series, y)
    again = SSMClassifier.load(model.save("kept"))
    assert_same(
        again.get_params(),
        model.get_params() | ({"class_vectors": vectors.to_numpy()} if isinstance(vectors, pd.DataFrame) else {}),
    )
    again.set_params(class_vectors=np.array(vectors)).partial_fit(series, y)  # the same vectors, written otherwise
    with pytest.raises(ConfigError, match="class_vectors: expected"):
        again.set_params(class_vectors=-np.array(vectors)).partial_fit(series, y)


def test_vectors_by_label_are_written_as_the_labels_are():
    series, y = few_of([1, 2])
    small = SMALL | {"steps": 2, "prototypes": "given"}
    SSMClassifier(**small, class_vectors={1.0: [1, 0], np.int64(2): [0, 1]}).fit(series, y)
    with pytest.raises(ConfigError, match=r"class_vectors: expected labels of y \(1, 2\) as keys, found '1'; write"):
        SSMClassifier(**small, class_vectors={"1": [1, 0], "2": [0, 1]}).fit(series, y)
    both = {1: [1, 0], "1": [0, 1], 2: [0, 1], "2": [1, 0]}
    np.testing.assert_allclose(SSMClassifier(**small, class_vectors=both).fit(series, y).prototypes_, np.eye(2))


def test_models_that_were_saved_without_parameters_by_label_are_read(here):
    series, y = few_of(["a", "b"])
    place = (
        SSMClassifier(**FAST, class_weight={"a": 2.0}, reject_label="none", reject_below=-2.0)
        .fit(series, y)
        .save("kept")
    )
    state = json.loads((place / "state.json").read_text())
    parameters = state["extra"]["estimator"]["parameters"]
    assert parameters.pop("class_weight") == {"by_label": [["a", 2.0]]}
    assert (parameters["reject_label"], parameters["reject_below"], parameters["causal"]) == ("none", -2.0, False)
    (place / "state.json").write_text(json.dumps(state))
    damage.sign(place)
    again = SSMClassifier.load(place)
    assert (again.class_weight, again.reject_label, again.reject_below) == (None, "none", -2.0)


def test_a_damaged_part_of_an_estimator_is_used_or_refused_in_one_line(here, monkeypatch):
    series, y = few_of(["a", "b"])
    place = SSMClassifier(**FAST, class_weight={"a": 2}).fit(series, y).save("kept")
    whole, told = FilterModel.load(place), {}
    for where, altered in damage.changed(whole.extra["estimator"]):
        changed = replace(whole, extra=whole.extra | {"estimator": altered})
        monkeypatch.setattr(FilterModel, "load", lambda _, changed=changed: changed)
        try:
            SSMClassifier.load(place)
        except CheckpointError as error:
            told[where] = str(error)
    for where, line in told.items():
        assert line.startswith("kept"), where
        assert "\n" not in line, where
    assert {"beside: null", 'classes: "x"', "parameters: []"} <= told.keys()
    assert any("class_weight" in where for where in told)


@pytest.mark.parametrize("kind", KINDS)
def test_the_part_of_an_estimator_in_a_checkpoint_that_is_none_is_refused(here, kind):
    series, y = few_of(["a", "b"])
    place = SSMClassifier(**KINDS[kind] | {"steps": 1 if kind == "backbone" else 300}).fit(series, y).save("kept")
    state = json.loads((place / "state.json").read_text())
    beside = state["extra"] if kind == "features" else state["extra"]["extra"]
    for altered in (5, [], {"parameters": {"class_weight": {"array": "x"}}}):
        beside["estimator"] = altered
        (place / "state.json").write_text(json.dumps(state))
        damage.sign(place)
        with pytest.raises(CheckpointError, match=r"^kept.*: expected .*, found .*; load another checkpoint"):
            SSMClassifier.load(place)


def test_what_json_does_not_hold_is_told_where_it_is_left_out(here):
    series, labels = waves(9, seed=6)
    given = FAST | {"random_state": np.random.RandomState(3), "class_weight": {"slow": Fraction(1, 3)}}
    with pytest.warns(UserWarning, match="not stored") as told:
        place = SSMClassifier(**given).fit(series, labels).save("kept")
    left = "is not stored, a loaded estimator has None there: set it anew after load, or pickle this estimator instead"
    expected = [f"class_weight: a Fraction {left}", f"random_state: a RandomState {left}"]
    assert sorted(str(one.message) for one in told) == expected
    again = SSMClassifier.load(place)
    assert (again.random_state, again.class_weight, again.effort) == (None, None, "fast")
