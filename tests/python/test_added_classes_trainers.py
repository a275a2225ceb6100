"""Classes that are added to a trainer or a session: old scores, settings, checkpoints, heads that take none."""

import numpy as np
import pytest

from added_classes import MODEL
from ssm_hpn import Trainer
from ssm_hpn._core import Session
from ssm_hpn.calibrated import calibrate, class_probabilities
from ssm_hpn.cli.main import main
from ssm_hpn.config import Config, core_model, parse
from ssm_hpn.errors import ConfigError, DataError, ShapeError
from ssm_hpn.replay import CLASS
from support import settings


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


def test_a_checkpoint_of_a_run_keeps_its_new_classes(sensor_run, tmp_path, capsys):
    folder, source = sensor_run
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


def test_a_head_with_more_classes_than_the_data_uses_those_first(sensor_run, tmp_path):
    data = Trainer.load(sensor_run[0]).config.data
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
