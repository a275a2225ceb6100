"""Classes that are added to a model in use: names, trainers, checkpoints, estimators, the memory for them."""

import json
import pickle
import shutil

import numpy as np
import pytest

from ssm_hpn import Trainer
from ssm_hpn._core import Session
from ssm_hpn.calibrated import calibrate, class_probabilities, fit_density, keep_fitted
from ssm_hpn.classes import Classes
from ssm_hpn.cli.main import main
from ssm_hpn.config import Config, PrepareOptions, core_model, parse
from ssm_hpn.errors import CheckpointError, ConfigError, DataError, ShapeError
from ssm_hpn.prepare import prepare
from ssm_hpn.replay import CLASS, Replay
from ssm_hpn.tail_mean import TailMean
from support import sensor_file, settings

# ---- names


def test_new_names_follow_the_classes_and_are_read_by_their_type():
    texts = Classes.from_values(["b", "a", "a"])
    assert texts.with_added(["c", "0"]) == Classes(("a", "b", "c", "0"), "text", (2, 1, 0, 0))
    assert texts.with_added(["c", "0"]).ordered() == Classes(("0", "a", "b", "c"), "text", (0, 2, 1, 0))
    assert Classes.from_values([1, 5]).with_added(["3", np.int64(7)]).values == (1, 5, 3, 7)
    assert Classes.from_values([0.5, 1.0]).with_added([3, "2.5"]).values == (0.5, 1.0, 3.0, 2.5)
    assert Classes((False,), "boolean", (1,)).with_added(["True"]).values == (False, True)


@pytest.mark.parametrize(
    ("classes", "names", "message"),
    [
        (["a", "b"], [], "add_classes: expected at least one name, found none; name the new classes"),
        (["a", "b"], "c", r"add_classes: expected a list of names, found 'c'; write it as a list"),
        (["a", "b"], 3, "add_classes: expected a list of names, found 3"),
        (["a", "b"], ["c", "b"], "add_classes: expected new classes, found 'b', which is a class already"),
        (["a", "b"], ["c", "d", "c"], "add_classes: expected new classes, found 'c', which is there twice"),
        (["a", "b"], ["c", " "], "add_classes: expected names of classes, found ' ', which stands for no label"),
        (["a", "b"], [None], "add_classes: expected names of classes, found None, which stands for no label"),
        (["a", "b"], [3], "add_classes: expected names of the type text, as the classes are, found 3; write them as"),
        (["a", "b"], [["c"]], r"add_classes: expected numbers, texts or true and false, found list"),
        (["a", "b"], ["a "], "add_classes: expected each class written one way, found 'a' and 'a '"),
        ([1, 2], ["x"], "add_classes: expected names of the type integer, as the classes are, found 'x'"),
        ([1, 2], [2.5], "add_classes: expected names of the type integer, as the classes are, found 2.5"),
        ([1, 2], ["2.0"], "add_classes: expected new classes, found 2, which is a class already"),
        (
            [1, 2],
            [2**70],
            "add_classes: expected whole numbers of 64 bits as labels, found 1180591620717411303424; train",
        ),
        ([1, 2**63], ["-1"], "add_classes: expected whole numbers of 64 bits as labels, found 9223372036854775808; tr"),
        ([1, 2], [True], "add_classes: expected names of the type integer, as the classes are, found True"),
        ([0.5, 1.5], [2**53 + 1], "add_classes: expected numbers that a double holds, found 9007199254740993"),
    ],
)
def test_names_that_are_no_new_classes_are_refused(classes, names, message):
    with pytest.raises((DataError, ShapeError), match=message):
        Classes.from_values(classes).with_added(names)


# ---- trainers and checkpoints


MODEL = {
    "input": {"kind": "features", "n_features": 2},
    "target": {"kind": "sequence_class", "pooling": "mean"},
    "head": {"kind": "prototype", "n_classes": 3},
}


def test_settings_of_added_classes_change_no_digest_of_a_model_without_them():
    plain = parse(settings(model=MODEL))
    assert "spare" not in core_model(plain.model)
    assert plain.digest() == parse(settings(model=MODEL | {"head": MODEL["head"] | {"placed": 0}})).digest()
    assert plain.digest() != parse(settings(model=MODEL | {"head": MODEL["head"] | {"spare": 1}})).digest()
    assert Config().digest() == Config.model_validate({"model": {"head": {"kind": "auto"}}}).digest()


def test_a_trainer_without_names_takes_a_number_of_classes(tmp_path):
    trainer = Trainer(settings(model=MODEL))
    batch = {"features": np.random.default_rng(0).normal(size=(4, 9, 2))}
    before = trainer.predict(batch)
    assert trainer.add_classes(2) == [3, 4]
    np.testing.assert_array_equal(trainer.predict(batch)[:, :3], before)
    head = trainer.config.model.head
    assert (head.n_classes, head.dim, head.placed, head.spare) == (5, 3, 2, 0)
    assert trainer.config.digest() == parse(trainer.config.model_dump(mode="json")).digest()
    again = Trainer.load(trainer.save(tmp_path / "grown"))
    np.testing.assert_array_equal(again.predict(batch), trainer.predict(batch))
    made = Trainer(trainer.config).parameter("head.prototypes")
    np.testing.assert_array_equal(made, trainer.parameter("head.prototypes"))
    batch[CLASS] = np.array([4, 4, 4, 4], np.int32)
    first = again.evaluate(batch).values["loss"]
    for _ in range(20):
        again.step(batch)
    assert again.evaluate(batch).values["loss"] < first
    for names, message in [
        (["a"], r"add_classes, names: expected a number of classes, as this model has no names of them, found \['a'\]"),
        (0, "add_classes, names: expected a whole number from 1 to 2147483647, found 0"),
        (2**40, "add_classes, names: expected a whole number from 1 to 2147483647"),
    ]:
        with pytest.raises((ConfigError, ShapeError), match=message):
            trainer.add_classes(names)


def test_the_frequencies_in_probabilities_have_a_place_for_a_new_class():
    trainer, rng = Trainer(settings(model=MODEL)), np.random.default_rng(0)
    labels = rng.choice(3, 60, p=[0.8, 0.1, 0.1])
    calibrate(trainer, rng.normal(size=(60, 3)), labels)  # scores that tell nothing
    before = trainer.temperature
    assert before.share > 0
    trainer.add_classes(1)
    scores = rng.normal(size=(5, 4))
    p = class_probabilities(trainer, scores)
    np.testing.assert_allclose(p.sum(axis=1), 1)
    power = np.exp(before.scale * scores)
    expected = (1 - before.share) * power / power.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(p, expected + before.share * np.append(before.frequencies, 0.0))


def test_heads_that_take_no_class_are_refused():
    linear = Trainer(settings(model=MODEL | {"head": {"kind": "linear", "n_outputs": 3}}))
    with pytest.raises(ConfigError, match="add_classes: expected a prototype head, found one of the kind linear"):
        linear.add_classes(1)
    plane = Trainer(settings(model=MODEL | {"head": MODEL["head"] | {"n_classes": 8, "dim": 2}}))
    with pytest.raises(ConfigError, match=r"room for the new classes, a cosine of at most 0.9 to the nearest, found"):
        plane.add_classes(1)
    assert plane.config.model.head.n_classes == 8
    target = {"kind": "sequence_values", "pooling": "mean", "n_values": 1}
    regression = MODEL | {"target": target, "head": {"kind": "prototype", "loss": {"kind": "regression"}}}
    with pytest.raises(ConfigError, match="add_classes: expected a loss over classes, found the regression loss"):
        Trainer(settings(model=regression)).add_classes(1)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run on sensors of three classes, and its data."""
    folder = tmp_path_factory.mktemp("added")
    source = sensor_file(folder / "sensors.csv")
    columns = {"id": "id", "features": ["a", "b"], "label": "label"}
    data = prepare(PrepareOptions(train=str(source), columns=columns, validation_fraction=0.2), folder / "data")
    trainer = Trainer(settings(data, folder / "run", model={"kind": "backbone"}))
    trainer.fit()
    return folder / "run", source


def test_a_checkpoint_of_a_run_keeps_its_new_classes(run, tmp_path, capsys):
    folder, source = run
    trainer = Trainer.load(folder)
    old = trainer.class_names
    batch = next(trainer.held_out())
    before = trainer.predict(batch)
    assert trainer.add_classes(["stuck", "broken"]) == [3, 4]
    assert trainer.class_names == [*old, "stuck", "broken"] == ["fast", "medium", "slow", "stuck", "broken"]
    np.testing.assert_array_equal(trainer.predict(batch)[:, :3], before)
    with pytest.raises(DataError, match="add_classes: expected new classes, found 'stuck', which is a class already"):
        trainer.add_classes(["stuck"])
    saved = trainer.save(tmp_path / "grown")
    again = Trainer.load(saved)
    assert again.class_names == trainer.class_names
    assert again.session.digest() == trainer.session.digest()
    again.step()  # goes on with the data of the run
    trainer.step()
    assert again.session.digest() == trainer.session.digest()
    assert main(["inspect", str(saved)]) == 0
    assert "broken" in capsys.readouterr().out
    assert main(["evaluate", str(saved), "--data", str(source)]) == 0
    out = tmp_path / "answers.csv"
    assert main(["predict", str(saved), "--data", str(source), "--out", str(out)]) == 0
    assert out.is_file()


def test_a_label_that_is_no_class_names_the_command_that_adds_it():
    classes = Classes.from_values(["slow", "fast"])
    for label, advice in [
        ("x", "correct it, or add it to the model by add-classes if it is a new one"),
        ("slaw", r"did you mean slow\? else add it to the model by add-classes if it is a new one"),
    ]:
        with pytest.raises(
            DataError, match=rf"label: expected a class of the training data .*, found '{label}'; {advice}"
        ):
            classes.index(label)


def stuck_sensors(path, count=12):
    """Sensors of a class that the run has not: they stay where they are."""
    rng = np.random.default_rng(5)
    lines = ["id,a,b,label"]
    for number in range(count):
        level = rng.normal(0, 0.05, 2) + 1
        lines += [f"s{number},{level[0]:.4f},{level[1]:.4f},stuck" for _ in range(int(rng.integers(20, 33)))]
    path.write_text("\n".join(lines) + "\n")
    return path


def accuracy(checkpoint, data, capsys):
    capsys.readouterr()
    assert main(["evaluate", str(checkpoint), "--data", str(data), "--json"]) == 0
    return json.loads(capsys.readouterr().out)["accuracy"]


def test_the_command_adds_classes_and_trains_on_them_beside_the_old_ones(run, tmp_path, capsys):
    folder, source = run
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


def test_the_command_keeps_the_scale_and_the_density_of_a_run(run, tmp_path):
    folder = shutil.copytree(run[0], tmp_path / "run")
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


def test_a_new_class_without_documents_is_noted(run, tmp_path, capsys):
    folder, _ = run
    new, out = stuck_sensors(tmp_path / "new.csv", 3), tmp_path / "out"
    assert main(["add-classes", str(folder), "--names", "Slow", "--out", str(tmp_path / "case")]) == 0
    assert capsys.readouterr().err == "note: classes 'slow' and 'Slow' differ only in case\n"
    assert main(["add-classes", str(folder), "--names", "stuck,odd", "--data", str(new), "--out", str(out)]) == 0
    assert capsys.readouterr().err == "note: --data has no document of 'odd': nothing is learned of it\n"


def test_the_command_refuses_in_one_line_what_it_cannot_do(run, tmp_path, capsys):
    folder, source = run
    new, there = stuck_sensors(tmp_path / "new.csv", 3), tmp_path / "there"
    there.mkdir()
    plain = tmp_path / "plain"
    Trainer(settings(model=MODEL)).save(plain)
    features = tmp_path / "features"
    columns = ["--data.columns.id", "id", "--data.columns.features", "a,b", "--data.columns.label", "label"]
    assert main(["train", "--data", str(source), *columns, "--run.folder", str(features)]) == 0
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


def test_a_head_with_more_classes_than_the_data_uses_those_first(run, tmp_path):
    data = Trainer.load(run[0]).config.data
    wide = {"kind": "backbone", "head": {"kind": "prototype", "n_classes": 5}}
    trainer = Trainer(settings(model=wide, data={"train": str(data.train[0]), "validation": str(data.validation[0])}))
    assert len(trainer.class_names) == 3
    assert trainer.add_classes(["x"]) == [3]
    assert trainer.config.model.head.placed == 0
    assert trainer.add_classes(["y", "z"]) == [4, 5]
    assert (trainer.config.model.head.n_classes, trainer.config.model.head.placed) == (6, 1)
    assert Trainer.load(trainer.save(tmp_path / "wide")).class_names[3:] == ["x", "y", "z"]


def test_the_session_adds_classes_by_number():
    trainer = Trainer(settings(model=MODEL))
    session = Session(core_model(trainer.config.model), "{}", seed=0)
    assert session.add_classes(1) == [3]
    with pytest.raises(ConfigError, match="add_classes: expected at least one new class, found 0"):
        session.add_classes(0)


# ---- the memory


def numbered(codes):
    return [np.full((2, 1), float(n)) for n in range(len(codes))], {CLASS: np.asarray(codes, np.int32)}


def test_a_memory_is_a_uniform_sample_of_each_class():
    codes = np.where(np.arange(2000) % 4 == 0, 1, 0)
    counts = np.zeros(2000)
    for seed in range(60):
        memory = Replay(20, seed)
        for part in np.split(np.arange(2000), 8):  # in parts as in one
            memory.add([np.full((1, 1), float(n)) for n in part], {CLASS: codes[part]})
        assert {code: len(kept) for code, kept in memory.kept.items()} == {0: 20, 1: 20}
        assert memory.seen == {0: 1500, 1: 500}
        for kept in memory.kept.values():
            counts[[int(one.series[0, 0]) for one in kept]] += 1
    for code, expected in ((0, 60 * 20 / 5), (1, 60 * 20 / 5)):
        found = np.array([part.sum() for part in np.array_split(counts[codes == code], 5)])
        # Five fifths of a class, each with 240 ± 14 by chance.
        assert (np.abs(found - expected) < 4 * np.sqrt(expected)).all(), found


def test_what_is_drawn_makes_each_class_as_frequent_as_an_average_one():
    memory = Replay(5, 0)
    memory.add(*numbered([0] * 30 + [1] * 3 + [-1] * 4))
    drawn, targets = memory.draw(np.array([2] * 12 + [0] * 4), seed=3)
    # Twelve and four: eight on average, of which class 0 has four and class 1 none.
    assert np.bincount(targets[CLASS]).tolist() == [4, 8]
    assert {float(one[0, 0]) for one, code in zip(drawn, targets[CLASS], strict=True) if code == 1} == {
        30.0,
        31.0,
        32.0,
    }
    assert memory.draw(np.array([0, 1, 2] * 5), seed=3) == ([], {})
    assert memory.draw(np.array([-1, -1]), seed=3) == ([], {})
    nothing = Replay(0, 0)
    nothing.add(*numbered([0, 1, 1]))
    assert nothing.draw(np.array([2, 2]), seed=0) == ([], {})
    many = Replay(5, 0)
    many.add(*numbered(np.arange(40)))
    drawn, _ = many.draw(np.full(10, 40), seed=0)
    assert 35 <= len(drawn) <= 45  # at most four for each of the part


def test_a_damaged_memory_is_refused():
    memory = Replay(2, 0)
    memory.add(*numbered([0, 1, 1, 1]))
    text = memory.to_json()
    assert Replay.from_json(text).seen == {0: 1, 1: 3}
    assert Replay.from_json(Replay(2, 0).to_json()).kept == {}
    for damaged in (text | {"series": text["series"][:-40]}, text | {"seen": None}, {"series": ""}):
        with pytest.raises(CheckpointError, match="replay: expected the series of a memory, found"):
            Replay.from_json(damaged)


# ---- the mean of the last parameters


class Walk:
    """A model whose parameter `w` is the number of its updates; `still` never changes."""

    def __init__(self, dtype=np.float32):
        self.values = {"w": np.zeros(2, dtype), "still": np.full(3, 0.1, dtype)}

    def parameters(self):
        return {name: values.copy() for name, values in self.values.items()}

    def load_tensors(self, tensors):
        self.values = dict(tensors)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    ("updates", "averaged"), [(15, [15]), (16, range(13, 17)), (40, range(31, 41)), (200, range(152, 201, 2))]
)
def test_a_pass_ends_with_the_mean_of_its_last_quarter(dtype, updates, averaged):
    model, mean = Walk(dtype), TailMean(updates)
    for n in range(1, updates + 1):
        model.values["w"] = np.full(2, n, dtype)
        mean.updated(model)
        if n < updates:
            assert model.values["w"][0] == n
    np.testing.assert_allclose(model.values["w"], np.mean(list(averaged)), rtol=1e-6)
    np.testing.assert_array_equal(model.values["still"], np.full(3, 0.1, dtype))
    assert {values.dtype for values in model.values.values()} == {np.dtype(dtype)}


# ---- estimators

pytest.importorskip("sklearn")

from ssm_hpn.estimators import SSMClassifier, SSMRegressor  # noqa: E402 - they need scikit-learn
from test_estimators import waves  # noqa: E402

KINDS = {
    "features": {"effort": "fast", "random_state": 0, "threads": 1},
    "backbone": {
        "kind": "backbone", "d_model": 16, "n_layers": 1, "d_state": 4, "random_state": 0, "threads": 1, "lr": 6e-3,
        "batch_size": 8, "steps": 60,
    },
}  # fmt: skip


@pytest.fixture(scope="module")
def data():
    series, labels = waves(60, seed=0)
    old = labels != "middle"
    return series, labels, old


def chosen(series, some):
    return [one for one, there in zip(series, some, strict=True) if there]


def fitted(kind, data, **more):
    series, labels, old = data
    return SSMClassifier(**KINDS[kind], **more).fit(chosen(series, old), labels[old])


@pytest.mark.parametrize("kind", KINDS)
def test_old_scores_stay_until_the_new_class_is_learned(data, kind):
    series, labels, old = data
    model = fitted(kind, data, **({"replay": 20} if kind == "backbone" else {}))
    before, evidence, updates = model.class_scores(series), model.evidence(series[:1])[0], getattr(model, "n_iter_", 0)
    assert model.add_classes(["middle", "never"]) is model
    assert model.classes_.tolist() == ["fast", "middle", "never", "slow"]
    assert model.contract_.classes.counts == (20, 0, 0, 20)
    after = model.class_scores(series)
    np.testing.assert_array_equal(after[:, [0, 3]], before)
    np.testing.assert_array_equal(model.evidence(series[:1])[0][:, [0, 3]], evidence)
    assert model.predict_proba(series).shape == (60, 4)
    if kind == "features":
        assert (after[:, 1:3] == 0).all()
        assert set(model.predict(series)) == {"fast", "slow"}
    for _ in range(15 if kind == "backbone" else 1):
        model.partial_fit(chosen(series, ~old), labels[~old])
    assert model.score(series, labels) > 0.9
    assert model.contract_.classes.counts[1] == 20 * (15 if kind == "backbone" else 1)
    if kind == "backbone":
        assert model.n_iter_ == updates + 15 * 3


@pytest.mark.parametrize("kind", KINDS)
def test_checkpoints_and_pickles_keep_added_classes(data, kind, tmp_path):
    series, labels, old = data
    model = fitted(kind, data, **({"replay": 7} if kind == "backbone" else {}))
    model.add_classes(["middle"])
    for again in (pickle.loads(pickle.dumps(model)), SSMClassifier.load(model.save(tmp_path / kind))):
        assert again.classes_.tolist() == ["fast", "middle", "slow"]
        np.testing.assert_array_equal(again.class_scores(series), model.class_scores(series))
        np.testing.assert_array_equal(again.predict_proba(series[:5]), model.predict_proba(series[:5]))
        if kind == "backbone":
            again.partial_fit(chosen(series, ~old), labels[~old])
            learned = again.class_scores(series)
    if kind == "backbone":  # both went on in the same bits, with the series of the memory
        model.partial_fit(chosen(series, ~old), labels[~old])
        np.testing.assert_array_equal(model.class_scores(series), learned)
        assert Trainer.load(tmp_path / kind).class_names == ["fast", "slow", "middle"]
        stream = model.stream()
        stream.prefill(series[0][None])
        np.testing.assert_allclose(stream.class_scores(), model.class_scores(series[:1]), atol=1e-5)


def test_a_backbone_with_a_memory_does_not_forget(data):
    series, labels, old = data
    found = {}
    for replay in (0, 10):
        model = fitted("backbone", data, replay=replay).add_classes(["middle"])
        for _ in range(25):
            model.partial_fit(chosen(series, ~old), labels[~old])
        found[replay] = model.score(chosen(series, old), labels[old])
    assert found[0] < 0.6
    assert found[10] > 0.9


def test_each_update_has_its_share_of_the_memory(data, monkeypatch):
    series, labels, old = data
    model = fitted("backbone", data, replay=4).add_classes(["middle"])
    seen, step = [], model.trainer_.step
    monkeypatch.setattr(model.trainer_, "step", lambda batch: (seen.append(batch), step(batch))[1])
    model.partial_fit(chosen(series, ~old), labels[~old])
    assert [len(batch["sequence_class"]) for batch in seen] == [8 + 14, 8 + 13, 4 + 13]
    codes = np.concatenate([batch["sequence_class"] for batch in seen])
    assert np.bincount(codes).tolist() == [20, 20, 20]
    assert all("weights" not in batch for batch in seen)
    model.partial_fit(chosen(series, ~old)[:2], labels[~old][:2], sample_weight=[1.0, 3.0])
    assert seen[-1]["weights"].shape == seen[-1]["sequence_class"].shape
    assert {code: len(kept) for code, kept in model.model_.memory.kept.items()} == {0: 4, 1: 4, 2: 4}


def test_a_memory_too_large_for_a_checkpoint_is_left_out_with_a_warning(data, monkeypatch, tmp_path):
    monkeypatch.setattr("ssm_hpn.estimators.stored.KEPT_BYTES", 1000)
    model = fitted("backbone", data, replay=4)
    with pytest.warns(UserWarning, match="replay: the checkpoint is without its series"):
        model.save(tmp_path / "large")
    assert SSMClassifier.load(tmp_path / "large").replay == 4


@pytest.mark.parametrize("kind", KINDS)
def test_wrong_names_change_nothing(data, kind):
    series, _, _ = data
    model = fitted(kind, data)
    before = model.class_scores(series)
    for names, message in [
        ([], "add_classes: expected at least one name, found none"),
        ("middle", "add_classes: expected a list of names, found 'middle'"),
        (["middle", "slow"], "add_classes: expected new classes, found 'slow', which is a class already"),
        (["middle", "middle"], "add_classes: expected new classes, found 'middle', which is there twice"),
        ([3], "add_classes: expected names of the type text, as the classes are, found 3"),
    ]:
        with pytest.raises(DataError, match=message):
            model.add_classes(names)
    with pytest.raises(ConfigError, match="reject_label: expected no label of y, found 'unknown'"):
        model.set_params(reject_below=0.5).add_classes(["unknown"])
    assert model.classes_.tolist() == ["fast", "slow"]
    np.testing.assert_array_equal(model.class_scores(series), before)


def test_models_that_take_no_class_are_refused(data, tmp_path):
    series, labels, _ = data
    linear = fitted("backbone", data, head="linear")
    for call in (
        lambda: linear.add_classes(["middle"]),
        lambda: linear.partial_fit(series, labels, add_classes=True),
    ):
        with pytest.raises(ConfigError, match="add_classes: expected head='prototype', found head='linear'; fit a"):
            call()
    assert linear.classes_.tolist() == ["fast", "slow"]
    stored = SSMClassifier.load(fitted("features", data).save(tmp_path / "stored"))
    with pytest.raises(
        ConfigError, match="add_classes: expected a model whose series are kept, found one of a checkpoint"
    ):
        stored.add_classes(["middle"])
    assert not hasattr(SSMRegressor(), "add_classes")
    with pytest.raises(ConfigError, match="replay: expected a whole number"):
        fitted("backbone", data, replay=-1)
    with pytest.raises(ConfigError, match="replay: expected 0, as kind='features' has no such parameter"):
        fitted("features", data, replay=5)


@pytest.mark.parametrize("kind", KINDS)
def test_labels_of_every_type_may_be_added(data, kind, tmp_path):
    series, _, _ = data
    few, settings_ = series[:12], KINDS[kind] | ({"steps": 2} if kind == "backbone" else {})
    for labels, new, expected in [
        (np.array([3, 1] * 6), [2], [1, 2, 3]),
        (np.array([3, 1] * 6, np.int8), [300], [1, 3, 300]),
        (np.array([True, True, False] * 4), None, None),
        (np.array([b"a", b"c"] * 6), [b"b"], [b"a", b"b", b"c"]),
        (np.array([0.0, 2.0] * 6), [1], [0.0, 1.0, 2.0]),
        (np.array(["a", "c"] * 6, object), ["a longer name"], ["a", "a longer name", "c"]),
        (np.array([2**63, 2**63 + 5] * 6, np.uint64), [2**63 + 1], [2**63, 2**63 + 1, 2**63 + 5]),
        (np.array([5, 1] * 6), [2**63 + 5], [1, 5, 2**63 + 5]),
        (np.array([0.0, 2.0] * 6, np.float32), [2**24 + 1], [0.0, 2.0, 2.0**24 + 1]),
    ]:
        model = SSMClassifier(**settings_).fit(few, labels)
        if new is not None:
            assert model.add_classes(new).classes_.tolist() == expected
            assert model.classes_.dtype.kind == ("u" if expected[-1] == 2**63 + 5 else labels.dtype.kind)
            model.partial_fit(few[:2], np.array([model.classes_[1]] * 2, model.classes_.dtype))
            again = SSMClassifier.load(model.save(tmp_path / kind / str(expected)))
            assert (again.classes_.tolist(), again.classes_.dtype) == (expected, model.classes_.dtype)


@pytest.mark.parametrize("kind", KINDS)
def test_whole_numbers_stay_what_they_are_where_parts_have_larger_ones(data, kind):
    few, settings_, large = data[0][:12], KINDS[kind] | ({"steps": 2} if kind == "backbone" else {}), 2**63 + 5
    model = SSMClassifier(**settings_).partial_fit(few, [1, 2] * 6, classes=[1, 2, large])
    assert model.partial_fit(few[:2], [1, large]).classes_.tolist() == [1, 2, large]
    model = SSMClassifier(**settings_).fit(few, [1, 2] * 6)
    for names in ([2**70], [-1, large], [-(2**63) - 1]):
        for call in (
            lambda: model.add_classes(names),  # noqa: B023 - it is called here
            lambda: model.partial_fit(few[: len(names)], names, add_classes=True),  # noqa: B023
        ):
            with pytest.raises(ShapeError, match=r"expected whole numbers of 64 bits as labels, found .*texts"):
                call()
    assert model.partial_fit(few[:2], [1, large], add_classes=True).classes_.tolist() == [1, 2, large]
    with pytest.raises(
        ShapeError, match=r"add_classes: expected whole numbers of 64 bits .*; train on labels that are"
    ):
        model.add_classes([-1])
    with pytest.raises(ShapeError, match="y: expected whole numbers of 64 bits as labels"):
        model.partial_fit(few[:2], [1, -1], add_classes=True)
    model = SSMClassifier(**settings_).fit(few, [1, 2**53 + 1] * 6)
    with pytest.raises(DataError, match="y: expected numbers that a double holds, found 9007199254740993"):
        model.partial_fit(few[:2], [1.0, 3.0], add_classes=True)
    assert model.classes_.tolist() == [1, 2**53 + 1]


@pytest.mark.parametrize("kind", KINDS)
def test_names_are_written_as_the_labels_are_and_doubted_as_they_are(data, kind):
    few, settings_ = data[0][:12], KINDS[kind] | ({"steps": 2} if kind == "backbone" else {})
    for labels, name, message in [
        ([1, 5], "7", "add_classes: expected names of the type integer, as the classes are, found '7'"),
        ([1.0, 5.0], "7", "add_classes: expected names of the type number, as the classes are, found '7'"),
        ([1.0, 5.0], 2.5, "add_classes: expected classes, found Unknown label type: continuous"),
    ]:
        model = SSMClassifier(**settings_).fit(few, labels * 6)
        with pytest.raises((DataError, ShapeError), match=message):
            model.add_classes([name])
        assert model.classes_.tolist() == labels
    model = SSMClassifier(**settings_).fit(few, ["leak", "normal"] * 6)
    with pytest.warns(UserWarning, match="add_classes: classes 'leak' and 'Leak' differ only in case"):
        model.add_classes(["Leak"])
    with pytest.warns(UserWarning, match="y: classes 'NORMAL' and 'normal' differ only in case") as said:
        model.partial_fit(few[:2], ["NORMAL", "leak"], add_classes=True)
    assert len(said) == 1


@pytest.mark.parametrize("kind", KINDS)
def test_balanced_weights_are_refused_before_a_class_is_added(data, kind):
    few, settings_ = data[0][:12], KINDS[kind] | ({"steps": 2} if kind == "backbone" else {})
    model = SSMClassifier(**settings_, class_weight="balanced").fit(few, ["a", "b"] * 6)
    for call, name in (
        (lambda: model.add_classes(["c"]), "add_classes"),
        (lambda: model.partial_fit(few[:2], ["c", "a"], add_classes=True), "partial_fit"),
    ):
        message = (
            f"class_weight: expected None or a dictionary in {name}, found 'balanced'; fit another estimator, with"
        )
        with pytest.raises(ConfigError, match=message):
            call()
    with pytest.raises(ConfigError, match="class_weight: expected 'balanced', as in the call before, found None"):
        model.set_params(class_weight=None).add_classes(["c"])
    assert model.classes_.tolist() == ["a", "b"]


def test_a_further_part_ends_with_the_mean_parameters_of_its_last_updates(data, monkeypatch):
    series, labels, old = data
    model = fitted("backbone", data)
    seen, step = [], Trainer.step

    def watched(trainer, *given, **named):
        found = step(trainer, *given, **named)
        seen.append(trainer.parameters())
        return found

    monkeypatch.setattr(Trainer, "step", watched)
    model.partial_fit([*series, *series, *series], np.concatenate([np.where(old, labels, "slow")] * 3))
    assert len(seen) == 23
    for name, found in model.trainer_.parameters().items():
        expected = np.mean([one[name].astype(np.float64) for one in seen[-5:]], axis=0)
        np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-9, err_msg=name)
    prototypes = "head.prototypes"
    np.testing.assert_array_equal(model.trainer_.parameter(prototypes), seen[0][prototypes])
