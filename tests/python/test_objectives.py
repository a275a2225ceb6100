"""Options of the losses: smoothed targets, gradient surgery, weights of classes, assignment of prototypes."""

import json
import re

import numpy as np
import pytest

from ssm_hpn import Trainer
from ssm_hpn.class_weights import balanced
from ssm_hpn.cli.main import main
from ssm_hpn.config import core_model, load_config, parse, to_toml
from ssm_hpn.config.root import _computing
from ssm_hpn.errors import ConfigError, ShapeError
from ssm_hpn.metrics import metrics_of
from support import sensor_file

SERIES = {"input": {"kind": "features", "n_features": 2}, "d_model": 8, "n_layers": 1}
CLASS = {"target": {"kind": "sequence_class"}}
RNG = np.random.default_rng(5)
BATCH = {"features": RNG.normal(size=(12, 6, 2)), "sequence_class": np.arange(12) % 4}


def head(loss=None, **settings):
    return {"kind": "prototype", "n_classes": 4, "loss": loss or {"kind": "softmax"}, **settings}


def trainer(head_settings, target=CLASS, **settings):
    return Trainer({"model": SERIES | target | {"head": head_settings}, **settings})


def refusal(settings):
    with pytest.raises(ConfigError) as refused:
        trainer(settings)
    return str(refused.value)


# ---- smoothing


@pytest.mark.parametrize("kind", ["softmax", "margin"])
def test_smoothing_changes_the_loss_and_neither_predictions_nor_accuracy(kind):
    plain = trainer(head({"kind": kind}, dim=2))
    for toward in ("all", "near"):
        smoothed = trainer(head({"kind": kind, "smoothing": 0.2, "smoothing_toward": toward}, dim=2))
        assert np.array_equal(smoothed.predict(BATCH), plain.predict(BATCH))
        before, after = plain.evaluate(BATCH).values, smoothed.evaluate(BATCH).values
        assert after["accuracy"] == before["accuracy"]
        assert after["loss"] != before["loss"]


def test_a_smoothed_loss_is_no_cross_entropy_of_the_labels():
    model = {"input": {"kind": "tokens", "vocab_size": 9}, "target": {"kind": "next_token"}, "d_model": 8}
    for smoothing, has_bits in ((0.0, True), (0.1, False)):
        found = Trainer({"model": model | {"head": head({"kind": "softmax", "smoothing": smoothing}, n_classes=9)}})
        assert ("bits_per_token" in {metric.name for metric in metrics_of(found.config.model)}) == has_bits


def test_smoothing_out_of_range_and_without_effect_is_refused():
    assert refusal(head({"kind": "softmax", "smoothing": 1})).startswith("model.head.loss.smoothing: expected")
    assert "a smoothing above 0" in refusal(head({"kind": "softmax", "smoothing_toward": "near"}))
    near = {"kind": "softmax", "smoothing": 0.1, "smoothing_toward": "near"}
    assert "learnable prototypes" in refusal(head(near, prototypes="learnable"))


def test_a_linear_head_smooths_toward_all_classes():
    plain, smoothed = (trainer({"kind": "linear", "n_outputs": 4, **more}) for more in ({}, {"smoothing": 0.2}))
    before, after = plain.evaluate(BATCH).values, smoothed.evaluate(BATCH).values
    assert after["accuracy"] == before["accuracy"]
    logits = smoothed.predict(BATCH).astype(np.float64)
    logs = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    own = logs[np.arange(12), BATCH["sequence_class"]]
    assert after["loss"] == pytest.approx(-(0.8 * own + 0.2 * logs.mean(axis=1)).mean(), rel=1e-5)
    model = {"input": {"kind": "tokens", "vocab_size": 9}, "target": {"kind": "next_token"}, "d_model": 8}
    found = Trainer({"model": model | {"head": {"kind": "linear", "n_outputs": 9, "smoothing": 0.1}}})
    assert "bits_per_token" not in {metric.name for metric in metrics_of(found.config.model)}
    assert refusal({"kind": "linear", "n_outputs": 4, "smoothing": 1}).startswith("model.head.smoothing: expected")
    assert "the loss softmax" in refusal({"kind": "linear", "n_outputs": 4, "loss": "squared", "smoothing": 0.1})


def test_near_classes_of_a_simplex_are_told_once(here, capsys):
    sensor_file(here / "s.csv", documents=20)
    columns = ("--data.columns.id", "id", "--data.columns.features", "a,b", "--data.columns.label", "label")
    small = ("--model.kind", "backbone", "--model.d_model", "8", "--model.n_layers", "1", "--train.steps", "2")
    near = ("--model.head.loss.smoothing", "0.1", "--model.head.loss.smoothing_toward", "near")
    assert main(["train", "--data", "s.csv", *columns, *small, "--model.head.kind", "prototype", *near]) == 0
    said = capsys.readouterr()
    told = "model.head.loss.smoothing_toward: all prototypes are equally far apart (a simplex)"
    assert (said.out + said.err).replace("\n", " ").count(told) == 1


# ---- surgery

JOINT = {"target": {"kind": "joint", "n_values": 1}}
BOTH = BATCH | {"sequence_values": RNG.normal(size=(12, 1))}


def joint(surgery, weight=0.5):
    return head({"kind": "joint", "low": -3, "high": 3, "weight": weight, "surgery": surgery})


def test_surgery_trains_to_other_weights_and_reports_the_same_loss_at_the_start():
    digests = set()
    for kind in ("none", "pcgrad", "cagrad", "gradnorm"):
        one = trainer(joint({"kind": kind}), JOINT, optim={"clip_norm": 0})
        first = one.step(BOTH)
        for _ in range(20):
            last = one.step(BOTH)
        assert first.loss == pytest.approx(trainer(joint({"kind": "none"}), JOINT).step(BOTH).loss, rel=1e-6)
        assert last.loss < first.loss
        digests.add(one.session.digest())
    assert len(digests) == 4


@pytest.mark.parametrize("weight", [0.0, 1.0])
def test_a_task_of_no_weight_is_not_learned(weight):
    one = trainer(joint({"kind": "none"}, weight), JOINT, optim={"lr": 0.02, "weight_decay": 0})
    before = one.evaluate(BOTH).values
    for _ in range(150):
        one.step(BOTH)
    after = one.evaluate(BOTH).values
    learned, other = ("mae", "accuracy") if weight == 0 else ("accuracy", "mae")
    gain = {"mae": before["mae"] - after["mae"], "accuracy": after["accuracy"] - before["accuracy"]}
    assert gain[learned] > 0.2
    assert gain[other] < gain[learned]


def test_learned_weights_of_tasks_resume_to_the_same_bits(tmp_path):
    surgery = {"kind": "gradnorm", "rate": 0.2}
    whole, first = (trainer(joint(surgery, 0.9), JOINT) for _ in range(2))
    for _ in range(6):
        whole.step(BOTH)
    for _ in range(3):
        first.step(BOTH)
    again = Trainer.load(first.save(tmp_path / "checkpoint"))
    for _ in range(3):
        again.step(BOTH)
    assert again.session.digest() == whole.session.digest()
    assert "statistics" in json.loads((tmp_path / "checkpoint" / "state.json").read_text())


def test_settings_of_surgery_have_bounds_and_kinds():
    for bad in ({"kind": "cagrad", "distance": 1}, {"kind": "gradnorm", "alpha": -1}, {"kind": "gradnorm", "rate": 1}):
        key = f"model.head.loss.surgery.{list(bad)[1]}: expected"
        assert refusal(joint(bad)).startswith(key)
    assert "did you mean pcgrad?" in refusal(joint({"kind": "pcgrads"}))


# ---- weights of classes


def test_balanced_weights_are_in_inverse_proportion_to_the_counts():
    assert balanced((6, 2, 0), 4).tolist() == pytest.approx([8 / 12, 8 / 4, 1, 1])


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (
            "0=0",
            "train.class_weights: expected balanced, or NAME=WEIGHT for some classes, each weight a number above 0",
        ),
        ("0=-1", "each weight a number above 0"),
        ("0=nan", "each weight a number above 0"),
        ({"0": float("inf")}, "each weight a number above 0"),
        ("0", "each weight a number above 0"),
        ("0=1,0=2", "each class once, and 0 is there twice"),
    ],
)
def test_weights_that_are_none_are_refused_in_one_line(given, words):
    with pytest.raises(ConfigError, match=re.escape(words)) as refused:
        parse({"train": {"class_weights": given}})
    assert "\n" not in str(refused.value)


def test_class_weights_are_weights_of_the_documents():
    weighed = trainer(head(), train={"class_weights": {"1": 4.0, "3": 0.5}})
    given = trainer(head())
    weights = np.ones(12)
    weights[BATCH["sequence_class"] == 1], weights[BATCH["sequence_class"] == 3] = 4.0, 0.5
    for _ in range(3):
        weighed.step(BATCH)
        given.step(BATCH | {"weights": weights})
    assert weighed.session.digest() == given.session.digest()
    # Metrics count every document once.
    assert weighed.evaluate(BATCH).values == given.evaluate(BATCH).values


def test_a_class_that_does_not_exist_is_refused_with_the_nearest():
    with pytest.raises(ConfigError, match=r"train\.class_weights: expected a class of the data, found '7'"):
        trainer(head(), train={"class_weights": "7=2"}).step(BATCH)
    with pytest.raises(ConfigError, match="data whose classes are counted"):
        trainer(head(), train={"class_weights": "balanced"}).step(BATCH)


def test_weights_of_classes_go_through_files_and_checkpoints(tmp_path):
    config = parse({"train": {"class_weights": {"b": 2, "a=1": 0.5}}})
    assert config.train.class_weights == ("a=1=0.5", "b=2")
    (tmp_path / "config.toml").write_text(to_toml(config))
    assert load_config(tmp_path / "config.toml").train == config.train
    (tmp_path / "table.toml").write_text("[train.class_weights]\nb = 2\n'a=1' = 0.5\n")
    assert load_config(tmp_path / "table.toml").train == config.train
    whole, first = (trainer(head(), train={"class_weights": "2=9"}) for _ in range(2))
    for _ in range(4):
        whole.step(BATCH)
    first.step(BATCH)
    again = Trainer.load(first.save(tmp_path / "checkpoint"))
    for _ in range(3):
        again.step(BATCH)
    assert again.session.digest() == whole.session.digest()


@pytest.fixture
def unbalanced(tmp_path, monkeypatch):
    """A table of short series, of which nine in ten are normal."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(3)
    rows = ["id,x,label"]
    for i in range(60):
        label = "fault" if i % 10 == 0 else "normal"
        rows += [f"{i},{rng.normal() + (label == 'fault'):.4f},{label}" for _ in range(8)]
    (tmp_path / "series.csv").write_text("\n".join(rows) + "\n")
    columns = ["--data.columns.id", "id", "--data.columns.features", "x", "--data.columns.label", "label"]
    return ["train", "--data", "series.csv", *columns, "--train.threads", "1"]


@pytest.mark.parametrize("kind", ["backbone", "features"])
def test_train_weighs_classes_of_a_table(unbalanced, kind, capsys):
    small = ["--model.d_model", "8", "--model.n_layers", "1", "--train.steps", "3"] if kind == "backbone" else []
    common = [*unbalanced, "--model.kind", kind, *small]
    for weights in ("balanced", "fault=5"):
        assert main([*common, "--train.class_weights", weights, "--run.folder", weights]) == 0
    assert main([*common, "--train.class_weights", "faults=5"]) == 2
    assert "did you mean fault?" in capsys.readouterr().err
    assert main([*common, "--train.class_weights", "fault=0"]) == 2
    assert "train.class_weights: expected balanced" in capsys.readouterr().err


# ---- assignment


def test_prototypes_assigned_by_features_have_to_be_among_the_tensors_of_a_model():
    settings = head(dim=2, assignment="similar", assignment_after=2)
    one = trainer(settings)
    for _ in range(3):
        one.step(BATCH)
    tensors = one.parameters()
    assert np.array_equal(Trainer.from_tensors(one.config, tensors).predict(BATCH), one.predict(BATCH))
    del tensors["head.prototypes"]
    with pytest.raises(ShapeError, match=r"no head\.prototypes"):
        Trainer.from_tensors(one.config, tensors)


def test_an_assignment_without_effect_is_refused():
    assert "for a simplex" in refusal(head(assignment="similar"))
    assert "learnable" in refusal(head(dim=2, assignment="similar", prototypes="learnable"))
    assert "model.head.assignment similar" in refusal(head(dim=2, assignment_after=5))
    assert refusal(head(dim=2, assignment="similar", assignment_after=0)).startswith("model.head.assignment_after")


# ---- what was there before


def test_settings_left_at_their_defaults_change_neither_digest_nor_the_core_s_model():
    for target, loss in ((JOINT, {"kind": "joint", "low": -3, "high": 3}), (CLASS, {"kind": "margin"})):
        short = Trainer({"model": SERIES | target | {"head": head(loss)}}).config
        text = core_model(short.model) + json.dumps(_computing(short))
        assert not re.search("surgery|assignment|smoothing|class_weights", text)
        text = core_model(
            trainer(head({"kind": "softmax", "smoothing": 0.1}, dim=2, assignment="similar")).config.model
        )
        assert "smoothing_toward" not in text
        assert '"assignment":"similar"' in text


@pytest.mark.parametrize(("option", "value"), [("--model.head.loss.kind", "joint"), ("--model.target.kind", "joint")])
def test_numbers_that_the_data_does_not_have_are_asked_for_by_column(option, value, here, capsys):
    sensor_file(here / "s.csv", documents=20)
    columns = ("--data.columns.id", "id", "--data.columns.features", "a,b", "--data.columns.label", "label")
    assert main(["train", "--data", "s.csv", *columns, "--model.kind", "backbone", option, value]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "--data.columns.values" in line
