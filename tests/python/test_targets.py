"""Targets: the core's kinds, class and number together, scales, and partly labelled data."""

import ast
import json
import re
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import ssm_hpn
from ssm_hpn import Trainer
from ssm_hpn._core import Batch, Loader, ShardWriter
from ssm_hpn.cli.main import main
from ssm_hpn.cli.predict import answer
from ssm_hpn.config import DataShape, core_model, parse, resolve
from ssm_hpn.config.model import TARGETS, PrototypeHead
from ssm_hpn.documents import Document, batches
from ssm_hpn.errors import ConfigError, DataError, ShapeError
from ssm_hpn.evaluation import deciding_metric
from ssm_hpn.metrics import METRICS, Metric, empty_totals
from ssm_hpn.report import label, shown
from ssm_hpn.targets import ARRAYS, COLUMNS, KINDS, kind_of_columns, kinds_with
from support import SMALL, settings, train


def model(target, head, *, features=1, **changes):
    section = {"input": {"kind": "features", "n_features": features}, "d_model": 16, "n_layers": 1}
    return settings(model=section | {"target": target, "head": head}, **changes)


def shards(folder, columns, rows, *, n_features=1, n_values=None):
    """A prepared part of rows of (features [T,F], targets by column)."""
    config = {"kind": "features", "n_features": n_features, "columns": ["features", *columns]}
    writer = ShardWriter(str(folder), json.dumps(config | ({"n_values": n_values} if n_values else {})))
    for x, targets in rows:
        document = np.asarray(x, np.float32)
        y = {name: value[None] if name == "values" else value for name, value in targets.items()}
        if "label" in y:
            y["label"] = np.array([y["label"]], np.int32)
        writer.append_many(offsets=np.array([0, len(document)], np.uint64), features=document, **y)
    writer.close(json.dumps({"n_classes": 2} if "label" in columns else {}))
    return folder


# ---- kinds


def test_every_kind_has_a_section_metrics_and_a_default_head():
    assert list(TARGETS) == list(KINDS)
    for name, kind in KINDS.items():
        section = TARGETS[name]
        assert section.model_fields["kind"].default == name
        assert ("pooling" in section.model_fields) == kind.pooled
        assert ("n_values" in section.model_fields) == kind.has("number")
        assert set(kind.metrics) <= set(METRICS)
        assert all(array.name in ARRAYS for array in kind.arrays)


def test_the_columns_decide_the_kind():
    assert list(COLUMNS)[:3] == ["labels", "label", "values"]
    assert kind_of_columns({"label", "values"}) == "joint"
    assert kind_of_columns({"labels", "label", "values"}) == "token_class"
    assert kind_of_columns(set()) == "next_token"
    assert kinds_with("values") == ("sequence_values", "joint")


@pytest.fixture
def token_values(monkeypatch):
    """A kind of target that is not there: numbers per token, in a column of its own."""
    per_token = replace(ARRAYS["sequence_values"], name="token_values", per="token", column="step_values")
    kind = replace(KINDS["sequence_values"], name="token_values", arrays=(per_token,), pooled=False)
    monkeypatch.setitem(ARRAYS, "token_values", per_token)
    monkeypatch.setitem(COLUMNS, "step_values", per_token)
    monkeypatch.setitem(KINDS, "token_values", kind)


def test_numbers_per_token_are_padded_and_answered_for_every_token(token_values):
    x = [np.zeros((length, 1), np.float32) for length in (2, 3, 1)]
    y = [{"step_values": np.full((2, 2), 0.5)}, {"step_values": np.arange(6.0).reshape(3, 2)}, {}]
    documents = [Document("d", one, targets=targets) for one, targets in zip(x, y, strict=True)]
    model = SimpleNamespace(target=SimpleNamespace(kind="token_values", n_values=2))
    ((_, arrays),) = batches(documents, model, 3)
    nan = [np.nan, np.nan]
    found = arrays["token_values"][:, :3]
    np.testing.assert_array_equal(found, [[[0.5] * 2] * 2 + [nan], [[0, 1], [2, 3], [4, 5]], [nan] * 3])
    assert np.isnan(arrays["token_values"][:, 3:]).all()
    reader = SimpleNamespace(target="token_values", contract=SimpleNamespace(value_names=["u", "v"]))
    scores = np.array([[1.0, 2.0], [3.0, 4.0], [9.0, 9.0]])
    assert answer(reader, documents[0], scores, None, None) == {"values": {"u": [1.0, 3.0], "v": [2.0, 4.0]}}


def test_documents_with_other_counts_of_numbers_are_not_mixed():
    documents = [Document("d", np.zeros((2, 1)), targets={"values": np.zeros(count)}) for count in (2, 1)]
    model = SimpleNamespace(target=SimpleNamespace(kind="sequence_values", n_values=2))
    with pytest.raises(DataError, match="d: expected 2 numbers to predict, as in the documents before, found 1"):
        list(batches(documents, model, 2))


def test_a_new_column_of_numbers_is_not_taken_for_that_of_the_joint_target(token_values):
    new = DataShape(n_features=1, n_classes=2, n_values=1, columns=frozenset({"features", "label", "step_values"}))
    assert new.targets == {"label", "step_values"}
    assert kind_of_columns(new.targets) == "token_values"
    known = DataShape(n_features=1, n_classes=2, n_values=1, columns=frozenset({"features", "label", "values"}))
    assert kind_of_columns(known.targets) == "joint"


def test_columns_whose_sizes_are_not_known_are_no_targets():
    assert DataShape(vocab_size=9, columns=frozenset({"tokens", "labels", "values"})).targets == set()


def test_a_batch_names_an_array_it_does_not_know_and_axes_that_are_wrong():
    x = np.zeros((2, 3, 1), np.float32)
    with pytest.raises(ShapeError, match=f"expected an array of {', '.join(ARRAYS)}, found label"):
        Batch(features=x, label=np.zeros(2, np.int32))
    with pytest.raises(ShapeError, match=r"sequence_values: expected a numpy array \[S, K\], found float32 \["):
        Batch(features=x, sequence_values=np.zeros(2, np.float32))


def test_a_target_of_another_kind_is_refused_with_the_contents_of_both():
    trainer = Trainer(
        model(
            {"kind": "joint", "n_values": 1},
            {"kind": "auto"} | {"kind": "prototype", "n_classes": 2, "loss": {"kind": "joint"}},
        )
    )
    with pytest.raises(ShapeError, match="expected a class per document and numbers per document, found a class per"):
        trainer.step({"features": np.zeros((2, 3, 1)), "sequence_class": [0, 1]})


@pytest.mark.parametrize(
    ("target", "head", "words"),
    [
        ({"kind": "joint", "n_values": 1}, {"kind": "linear", "n_outputs": 3}, "one for classes and numbers"),
        (
            {"kind": "sequence_class"},
            {"kind": "prototype", "n_classes": 2, "loss": {"kind": "joint"}},
            "found joint",
        ),
        ({"kind": "joint", "n_values": 2}, {"kind": "prototype", "n_classes": 2, "loss": {"kind": "joint"}}, "= 2"),
    ],
)
def test_a_head_for_another_kind_of_target_is_refused(target, head, words):
    with pytest.raises(ConfigError, match=words):
        Trainer(model(target, head)).parameters()


# ---- metrics


def test_every_metric_has_a_title_of_its_own():
    titles = [metric.title for metric in METRICS.values()]
    assert len({*titles} - {""}) == len(METRICS)
    assert "_" not in "".join(titles)


def test_a_metric_needs_nothing_but_its_description_and_the_name_in_a_target(monkeypatch):
    """Single classes are counted for a target without F1, and the metric may decide what is best."""
    seen = Metric("seen", "classes seen", "max", "", ".0f", lambda t: np.mean(t.expected > 0), per_class=True)
    monkeypatch.setitem(METRICS, "seen", replace(seen, percent=True))
    monkeypatch.setitem(KINDS, "next_token", replace(KINDS["next_token"], metrics=("loss", "seen")))
    section = {"input": {"kind": "tokens", "vocab_size": 8}, "target": {"kind": "next_token"}, "d_model": 16}
    trainer = Trainer(settings(model=section, evaluation={"metric": "seen"}))
    found = trainer.evaluate({"tokens": np.tile([1, 5], (2, 8))})
    assert found.values["seen"] == 0.25
    assert deciding_metric(trainer.config.evaluation, trainer.config.model)[1] == "max"
    assert (label("seen"), shown("seen", 0.25)) == ("classes seen", "25.0 %")


def test_classes_are_counted_for_no_metric_that_does_not_need_them(monkeypatch):
    monkeypatch.setitem(KINDS, "next_token", replace(KINDS["next_token"], metrics=("loss", "accuracy")))
    section = {"input": {"kind": "tokens", "vocab_size": 8}, "target": {"kind": "next_token"}, "d_model": 16}
    assert empty_totals(Trainer(settings(model=section)).config.model).n_classes == 0


# ---- a class and a number together


def joint_table(path, *, without=()):
    """Series whose class is the sign of their level and whose number is 1000 times the level."""
    rng = np.random.default_rng(0)
    lines = ["id,x,label,value"]
    for number in range(60):
        level = rng.uniform(-1, 1)
        label = "" if number in without else "up" if level > 0 else "down"
        lines += [f"{number},{level + 0.05 * rng.normal():.5f},{label},{1000 * level:.5f}" for _ in range(6)]
    path.write_text("\n".join(lines) + "\n")
    return path


COLUMNS_OF_BOTH = [
    *("--data.columns.id", "id", "--data.columns.features", "x"),
    *("--data.columns.label", "label", "--data.columns.values", "value"),
]


def test_a_class_and_a_number_are_trained_evaluated_and_predicted_from_a_file(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    data = joint_table(tmp_path / "joint.csv")
    words = ["--data", str(data), *COLUMNS_OF_BOTH, *SMALL, "--train.steps", "150", "--optim.lr", "0.01"]
    words += ["--model.head.kind", "prototype", "--model.head.loss.kind", "joint"]
    words += ["--model.head.loss.low", "-1000", "--model.head.loss.high", "1000"]
    assert train(*words, "--run.folder", "run") == 0
    assert "rmse (unit)" in capsys.readouterr().out
    assert main(["evaluate", "run", "--data", str(data), "--json"], prog="ssm-hpn") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["targets"] == 60
    assert found["accuracy"] > 0.9
    assert found["r2"] > 0.9
    assert found["mae"] > 1  # in the file's units
    assert main(["predict", "run", "--data", str(data)], prog="ssm-hpn") == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert {row["class"] for row in rows} == {"up", "down"}
    right = [row for row in rows if (row["values"]["value"] > 0) == (row["class"] == "up")]
    assert len(right) > 50
    assert max(abs(row["values"]["value"]) for row in rows) > 300


def test_several_numbers_beside_a_class_are_refused_by_their_columns(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rows = "".join(f"s{n // 2},{n},{'uv'[n // 2 % 2]},{n // 2},{n // 4}\n" for n in range(48))
    (tmp_path / "d.csv").write_text("id,x,y,a,b\n" + rows)
    columns = ["--data.columns.id", "id", "--data.columns.features", "x", "--data.columns.label", "y"]
    assert train("--data", "d.csv", *columns, "--data.columns.values", "a,b", "--train.steps", "1") == 2
    assert "data.columns.values: expected one number beside a class, found 2; name one" in capsys.readouterr().err


def test_shards_hold_a_class_and_a_number_for_the_loader(tmp_path):
    rows = [([[i]], {"label": i % 2, "values": np.array([i], np.float32)}) for i in range(6)]
    folder = shards(tmp_path / "both", ["label", "values"], rows, n_values=1)
    config = {"path": str(folder), "batch_size": 6, "length": 1, "packing": "pad", "target": "joint", "epochs": 1}
    batch, _ = Loader(json.dumps(config | {"shuffle": False, "workers": 1})).next()
    assert batch.n_targets == 6
    trainer = Trainer(
        model({"kind": "joint", "n_values": 1}, {"kind": "prototype", "n_classes": 2, "loss": {"kind": "joint"}})
    )
    found = trainer.evaluate(batch)
    assert (found.totals.count, found.totals.scored, int(found.totals.numbers.count[0])) == (6, 6, 6)


def test_the_joint_head_is_the_default_and_takes_its_ends_from_the_data():
    config = resolve(
        parse(
            model({"kind": "joint", "n_values": 1}, {"kind": "prototype", "n_classes": 3, "loss": {"kind": "joint"}})
        ),
        None,
    )
    assert (config.model.head.loss.low, config.model.head.loss.high) == (-1, 1)


# ---- the scale of numbers


def series_with_numbers(mean, deviation, *, rows=64, seed=0):
    """Series of a level and noise, and a number that follows the level."""
    rng = np.random.default_rng(seed)
    level = rng.normal(size=rows)
    x = level[:, None, None] + 0.1 * rng.normal(size=(rows, 8, 1))
    return x.astype(np.float32), mean + deviation * level


@pytest.mark.parametrize(("mean", "deviation"), [(250_000, 50_000), (300, 10), (3e-6, 1e-6), (1.7e9, 86_400)])
def test_numbers_of_any_scale_are_learned_equally_well(mean, deviation):
    def explained(mean, deviation):
        x, y = series_with_numbers(mean, deviation)
        scale = {"mean": [float(y.mean())], "std": [float(y.std())]}
        target = {"kind": "sequence_values", "n_values": 1, "scale": scale}
        trainer = Trainer(model(target, {"kind": "linear", "n_outputs": 1, "loss": "squared", "bias": True}))
        for _ in range(40):
            trainer.step({"features": x, "sequence_values": y})
        found = trainer.evaluate({"features": x, "sequence_values": y})
        errors = trainer.predict({"features": x})[:, 0] - y
        assert found.values["mae"] == pytest.approx(np.abs(errors).mean(), rel=1e-4)
        assert found.values["rmse"] == pytest.approx(np.sqrt((errors**2).mean()), rel=1e-4)
        assert found.values["r2"] == pytest.approx(1 - (errors**2).sum() / ((y - y.mean()) ** 2).sum(), abs=1e-4)
        base = found.totals.numbers.mean_predictor()
        assert base["rmse"] == pytest.approx(y.std(), rel=1e-6)
        assert base["r2"] == pytest.approx(0, abs=1e-9)
        return found.values["r2"]

    assert explained(mean, deviation) == pytest.approx(explained(0, 1), abs=0.01)


def test_the_ends_of_the_pole_are_set_in_the_users_units():
    target = {"kind": "sequence_values", "n_values": 1, "scale": {"mean": [300.0], "std": [10.0]}}
    head = {"kind": "prototype", "loss": {"kind": "regression", "low": 270.0, "high": 330.0}}
    trainer = Trainer(model(target, head))
    core = json.loads(core_model(trainer.config.model))
    assert (core["head"]["loss"]["low"], core["head"]["loss"]["high"]) == (-3, 3)
    assert "scale" not in core["target"]
    assert 270 <= trainer.predict({"features": np.zeros((1, 3, 1))})[0, 0] <= 330


def test_a_grown_and_saved_model_keeps_its_scale(tmp_path):
    target = {"kind": "sequence_values", "n_values": 2, "scale": {"mean": [5e5, 0.0], "std": [1e3, 1e-6]}}
    trainer = Trainer(model(target, {"kind": "linear", "n_outputs": 2, "loss": "squared"}))
    x = {"features": np.ones((2, 4, 1))}
    trainer.expand()
    before = trainer.predict(x)
    assert before.dtype == np.float64
    assert trainer.config.model.target.scale.mean == (5e5, 0.0)
    loaded = Trainer.load(trainer.save(tmp_path / "step-00000000"))
    assert loaded.config.model.target == trainer.config.model.target
    np.testing.assert_array_equal(loaded.predict(x), before)
    streamed = loaded.stream(2).prefill(np.ones((2, 4, 1), np.float32))
    np.testing.assert_allclose(streamed, before, rtol=1e-5)


@pytest.mark.parametrize("scale", [{"mean": [1.0], "std": [0.0]}, {"mean": [1.0, 2.0], "std": [1.0]}])
def test_a_scale_without_a_positive_deviation_per_mean_is_refused(scale):
    target = {"kind": "sequence_values", "n_values": 1, "scale": scale}
    with pytest.raises(ConfigError, match="deviation above 0"):
        Trainer(model(target, {"kind": "linear", "n_outputs": 1, "loss": "squared"}))


def test_a_scale_of_another_width_is_refused():
    target = {"kind": "sequence_values", "n_values": 1, "scale": {"mean": [1.0, 2.0], "std": [1.0, 1.0]}}
    with pytest.raises(ConfigError, match=r"model.target.scale: expected 1 number, found 2"):
        Trainer(model(target, {"kind": "linear", "n_outputs": 1, "loss": "squared"}))


def test_metrics_are_per_number_and_leave_out_missing_ones():
    rng = np.random.default_rng(1)
    y = rng.normal(size=(20, 2)) * [1, 1000] + [0, 1e6]
    y[::3, 1] = np.nan
    scale = {"mean": np.nanmean(y, 0).tolist(), "std": np.nanstd(y, 0).tolist()}
    target = {"kind": "sequence_values", "n_values": 2, "scale": scale}
    trainer = Trainer(model(target, {"kind": "linear", "n_outputs": 2, "loss": "squared"}))
    x = rng.normal(size=(20, 4, 1))
    found = trainer.evaluate({"features": x, "sequence_values": y}).totals.numbers
    errors = trainer.predict({"features": x}) - y
    each = {name: [one[name] for one in found.per_number()] for name in ("mae", "rmse", "r2")}
    np.testing.assert_allclose(each["mae"], np.nanmean(np.abs(errors), 0), rtol=1e-4)
    np.testing.assert_allclose(each["rmse"], np.sqrt(np.nanmean(errors**2, 0)), rtol=1e-4)
    expected = 1 - np.nansum(errors**2, 0) / np.nansum((y - np.nanmean(y, 0)) ** 2, 0)
    np.testing.assert_allclose(each["r2"], expected, rtol=1e-3)
    assert found.count.tolist() == [20, 13]
    away = np.abs(y - np.nanmean(y, 0))
    np.testing.assert_allclose([one["mae"] for one in found.mean_per_number()], np.nanmean(away, 0), rtol=1e-6)
    assert [one["r2"] for one in found.mean_per_number()] == pytest.approx([0, 0], abs=1e-9)


def table_of_two(path):
    """Series of a level, in tons and in millimetres."""
    levels = np.random.default_rng(2).uniform(0, 1, 40)
    lines = ["id,x,tons,mm"]
    lines += [f"s{n},{level:.4f},{level:.6f},{1e6 * level:.2f}" for n, level in enumerate(levels) for _ in range(4)]
    path.write_text("\n".join(lines) + "\n")
    return ["--data", str(path), "--data.columns.id", "id", "--data.columns.features", "x"]


def test_numbers_of_different_units_have_no_error_together(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = [*table_of_two(tmp_path / "d.csv"), "--data.columns.values", "tons,mm", *SMALL]
    words += ["--train.steps", "40", "--optim.lr", "0.01", "--evaluation.every", "10"]
    assert train(*words, "--evaluation.metric", "rmse") == 2
    refused = capsys.readouterr().err
    assert "evaluation.metric: expected loss | r2, found 'rmse'; " in refused
    assert train(*words, "--evaluation.metric", "r2", "--run.folder", "run") == 0
    printed = capsys.readouterr().out
    assert "rmse (unit)" not in printed
    assert re.search(r"\[held out\] step 40  loss \S+  r2 \S+", printed)
    assert re.search(r"(?m)^ *mm +\S+ +\S+ +0\.\d+", printed)
    assert "had the best r2" in printed
    rows = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert {key for key in rows[0] if key.startswith("eval/")} == {"eval/loss", "eval/r2"}
    assert main(["evaluate", "run", "--json"], prog="ssm-hpn") == 0
    found = json.loads(capsys.readouterr().out)
    assert not {"mse", "rmse", "mae"} & found.keys()
    assert set(found["mean_predictor"]) == {"r2"}
    tons, mm = found["per_number"]
    assert (tons["name"], mm["name"]) == ("tons", "mm")
    assert mm["rmse"] > 1e5 * tons["rmse"]
    assert found["r2"] == pytest.approx((tons["r2"] + mm["r2"]) / 2)
    report = (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
    assert "squared error" not in report


# ---- partly labelled data


def labelled(folder, labels, *, steps=4):
    """Two parts of series with these labels, -1 for none."""
    rng = np.random.default_rng(2)
    for part in ("train", "validation"):
        rows = [(rng.normal(size=(steps, 1)) + max(c, 0), {"label": c}) for c in labels]
        shards(folder / part, ["label"], rows)
    return {"train": [str(folder / "train")], "validation": [str(folder / "validation")], "packing": "pad"}


def run_on(data, tmp_path, **train_settings):
    section = {"d_model": 8, "n_layers": 1, "head": {"kind": "linear", "n_outputs": 2}}
    changes = {"train": {"steps": 6, "log_every": 1} | train_settings, "evaluation": {"every": 3, "batches": 2}}
    given = settings(None, tmp_path / "run", model=section, **changes)
    given["data"] = data
    return Trainer(given)


@pytest.mark.parametrize("rows", [1, 3])
def test_batches_without_labels_are_skipped_and_are_no_update(tmp_path, rows):
    trainer = run_on(labelled(tmp_path, [0, -1, -1, 1, -1, -1, -1]), tmp_path, batch_size=rows)
    seen = []
    from ssm_hpn import Callback

    class Watch(Callback):
        name = "watch"

        def updated(self, event):
            seen.append(event.progress.step)

    result = trainer.fit(callbacks=[Watch()])
    assert (result.step, seen) == (6, [1, 2, 3, 4, 5, 6])
    written = [json.loads(line) for line in (tmp_path / "run/metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in written] == list(range(7))
    assert all(row["skipped_steps"] == 0 for row in written)
    assert all(row["train/loss"] is not None for row in written[1:])


@pytest.mark.parametrize("rows", [1, 4, 100])
def test_evaluation_counts_every_labelled_document(tmp_path, rows):
    trainer = run_on(labelled(tmp_path, [0, 1, -1, 1, 0, -1, 1]), tmp_path, batch_size=rows)
    assert trainer.evaluate(trainer.held_out("all")).totals.count == 5
    assert trainer.evaluate().totals.count >= min(2, rows)


def test_data_without_any_label_ends_after_an_epoch(tmp_path):
    data = labelled(tmp_path, [0, 1])
    rows = [(np.ones((4, 1)), {"label": -1}) for _ in range(5)]
    data["train"] = [str(shards(tmp_path / "none", ["label"], rows))]
    section = {"target": {"kind": "sequence_class"}}
    trainer = run_on(data, tmp_path, batch_size=2)
    assert section
    with pytest.raises(DataError, match=r"expected a target \(one class per sequence\) in every epoch, found none"):
        trainer.fit()
    assert len((tmp_path / "run/metrics.jsonl").read_text().splitlines()) == 1


def test_held_out_data_without_any_label_is_refused(tmp_path):
    data = labelled(tmp_path, [0, 1])
    rows = [(np.ones((4, 1)), {"label": -1}) for _ in range(5)]
    data["validation"] = [str(shards(tmp_path / "none", ["label"], rows))]
    with pytest.raises(DataError, match="label some of the held-out documents"):
        run_on(data, tmp_path).evaluate()


def test_numbers_may_be_missing_in_shards(tmp_path):
    rows = [([[i]], {"values": np.array([i if i % 2 else np.nan, i], np.float32)}) for i in range(6)]
    folder = shards(tmp_path / "gaps", ["values"], rows, n_values=2)
    config = {"path": str(folder), "batch_size": 6, "length": 1, "packing": "pad", "target": "sequence_values"}
    batch, _ = Loader(json.dumps(config | {"epochs": 1, "workers": 1})).next()
    assert batch.n_targets == 6
    with pytest.raises(DataError, match="finite"):
        shards(tmp_path / "bad", ["values"], [([[1]], {"values": np.array([np.inf], np.float32)})], n_values=1)


def test_train_and_evaluate_use_every_document_with_a_label(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    data = joint_table(tmp_path / "some.csv", without=range(0, 60, 4))
    words = [*COLUMNS_OF_BOTH[:6], *SMALL, "--train.steps", "30"]
    for rows in ("1", "8"):
        folder = f"run{rows}"
        given = ["--data", str(data), *words, "--train.batch_size", rows, "--run.folder", folder]
        assert train(*given) == 0
        out, err = capsys.readouterr()
        assert "not finite" not in out + err
        assert main(["evaluate", folder, "--data", str(data), "--json"], prog="ssm-hpn") == 0
        assert json.loads(capsys.readouterr().out)["targets"] == 45
        assert main(["predict", folder, "--data", str(data)], prog="ssm-hpn") == 0
        assert len(capsys.readouterr().out.splitlines()) == 60


# ---- lengths of both parts


@pytest.mark.parametrize("longer", ["train", "validation"])
def test_the_longest_document_of_both_parts_decides_the_length(tmp_path, longer):
    data = labelled(tmp_path, [0, 1])
    rows = [(np.ones((9, 1)), {"label": 0}), (np.ones((2, 1)), {"label": 1})]
    data[longer] = [str(shards(tmp_path / "long", ["label"], rows))]
    trainer = run_on(data, tmp_path)
    assert trainer.config.data.length == 9
    assert trainer.evaluate(trainer.held_out("all")).totals.count == 2
    short = run_on(data | {"length": 4}, tmp_path)
    with pytest.raises(DataError, match=r"raise data\.length") as error:
        short.step() if longer == "train" else short.evaluate(short.held_out("all"))
    assert "truncate" not in str(error.value)


# ---- tied weights


def test_a_tied_checkpoint_may_have_its_weight_twice():
    given = settings(model={"input": {"kind": "tokens", "vocab_size": 11}, "head": {"kind": "linear", "tied": True}})
    tensors = Trainer(given).parameters()
    weight = tensors["backbone.embedding.weight"]
    loaded = Trainer.from_tensors(given, tensors | {"lm_head.weight": weight})
    np.testing.assert_array_equal(loaded.parameter("backbone.embedding.weight"), weight)
    tensors.pop("backbone.embedding.weight")
    np.testing.assert_array_equal(
        Trainer.from_tensors(given, tensors | {"lm_head.weight": weight}).parameter("embedding.weight"), weight
    )
    with pytest.raises(ShapeError, match=r"lm_head.weight: expected the embedding, as the head is tied"):
        Trainer.from_tensors(given, tensors | {"embedding.weight": weight, "lm_head.weight": weight + 1})


# ---- names that are spelt in one place


OWN_TARGET = {
    "estimators/about.py": "tells which column an estimator predicts",
    "estimators/backbone.py": "held-out series are chosen by class",
    "estimators/classifier.py": "an estimator has a target of its own",
    "estimators/regressor.py": "an estimator has a target of its own",
    "estimators/stored.py": "a run is opened by the estimator of its target",
    "replay.py": "series are kept by class",
}
"""Modules that name a target, with the reason."""


def spelt(file, names):
    """The names among the string constants of a module, without docstrings."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    docs = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    texts = [node for node in ast.walk(tree) if isinstance(node, ast.Constant) and id(node) not in docs]
    return {node.value for node in texts if isinstance(node.value, str)} & names


def test_no_module_but_the_estimators_spells_a_kind_of_target():
    package = Path(ssm_hpn.__file__).parent
    files = [file for file in package.rglob("*.py") if file.parent.name != "parity"]  # references are written by hand
    names = {*KINDS, *ARRAYS} - {"joint"}  # which is a loss too
    assert len(files) > 80
    assert {file.relative_to(package).as_posix() for file in files if spelt(file, names)} == set(OWN_TARGET)


def test_no_module_but_metrics_spells_the_name_of_a_metric():
    package = Path(ssm_hpn.__file__).parent
    names = set(METRICS) - set(PrototypeHead.model_fields)  # the setting model.head.loss
    assert len(names) == len(METRICS) - 1
    names |= {f"eval/{name}" for name in METRICS}
    found = {file.relative_to(package).as_posix(): spelt(file, names) for file in package.rglob("*.py")}
    of_metrics = found.pop("metrics.py")
    assert of_metrics >= names - {f"eval/{name}" for name in METRICS}
    assert found.pop("prepare/text.py") == {"error"}  # a filter of warnings
    assert found.pop("judgement.py") == {"accuracy"}  # that of the documents above a threshold
    assert found.pop("cli/tables.py") == {"accuracy"}  # the same
    assert found.pop("after_update.py") == {"accuracy"}  # a field of `Update`
    assert found.pop("live.py") == {"error"}  # of an answer, as its page reads it
    assert found.pop("trackers/wandb.py") == {"error"}  # why a run failed
    assert {file: names for file, names in found.items() if names} == {}
