"""Classes that are added to a fitted classifier of either kind: scores, labels of every type, memory, pickles."""

import pickle

import numpy as np
import pytest

pytest.importorskip("sklearn")

from ssm_hpn import Trainer
from ssm_hpn.errors import ConfigError, DataError, ShapeError
from ssm_hpn.estimators import SSMClassifier, SSMRegressor
from test_estimators import waves

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
    if kind == "features":  # a pickle has the series of fit, a checkpoint has not
        again = pickle.loads(pickle.dumps(model)).add_classes(["never"])
        again.partial_fit(chosen(series, ~old), labels[~old])
        assert again.classes_.tolist() == ["fast", "middle", "never", "slow"]
        assert again.score(series, labels) > 0.9
    if kind == "backbone":  # both went on in the same bits, with the series of the memory
        model.partial_fit(chosen(series, ~old), labels[~old])
        np.testing.assert_array_equal(model.class_scores(series), learned)
        assert Trainer.load(tmp_path / kind).class_names == ["fast", "slow", "middle"]
        stream = model.stream()
        stream.prefill(series[0][None])
        np.testing.assert_allclose(stream.class_scores(), model.class_scores(series[:1]), atol=1e-5)


@pytest.mark.parametrize("more", [{}, {"prototype_dim": 6}])
@pytest.mark.parametrize("kind", KINDS)
def test_points_and_prototypes_make_the_scores_after_a_class_is_added(data, kind, more):
    """Added classes are the last of the model, and anywhere among the sorted classes of the estimator."""
    series, labels, old = data
    model = fitted(kind, data, **(more if kind == "backbone" else {}))
    before = model.embed(series)
    model.add_classes(["middle", "a"])
    if kind == "backbone":  # features have a coordinate for each class
        np.testing.assert_array_equal(model.embed(series), before)
    np.testing.assert_allclose(model.embed(series) @ model.prototypes_.T, model.class_scores(series), atol=1e-6)
    model.partial_fit(chosen(series, ~old), labels[~old])
    np.testing.assert_allclose(model.embed(series) @ model.prototypes_.T, model.class_scores(series), atol=1e-6)


def test_a_backbone_with_a_memory_does_not_forget(data):
    series, labels, old = data
    found = {}
    for replay in (0, 10):
        model = fitted("backbone", data, replay=replay).add_classes(["middle"])
        for _ in range(15):
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
