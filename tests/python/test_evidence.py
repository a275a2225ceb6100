"""Where in a series scores come from: in all they are the scores, and a bump has its evidence where it is."""

import numpy as np
import pytest

from ssm_hpn import Trainer
from ssm_hpn.errors import ConfigError, ShapeError
from ssm_hpn.estimators import SSMClassifier
from ssm_hpn.evidence import step_evidence
from ssm_hpn.state_features import StateFeatures

RANDOM = np.random.default_rng(0)
STEPS, BUMP = 120, slice(70, 85)


def noise_with_bump(n=40, channels=1):
    """Series of noise, of which the second half has a bump at known steps."""
    series = RANDOM.normal(size=(n, STEPS, channels))
    series[n // 2 :, BUMP] += 4.0
    return series, np.repeat(["flat", "bump"], n // 2)


def for_bump(model, series):
    """Mean evidence [T] for a bump rather than none."""
    found = np.mean(model.evidence(series), axis=0)
    bump, flat = (list(model.classes_).index(name) for name in ("bump", "flat"))
    return found[:, bump] - found[:, flat]


# ---- features


def test_evidence_of_features_is_in_all_their_weighted_sum():
    bank = StateFeatures.fit([RANDOM.normal(size=(60, 2))], effort="fast", seed=1)
    weights = RANDOM.normal(size=(bank.count, 3))
    for length in (1, 2, 45, 130):
        series = RANDOM.normal(size=(length, 2)).cumsum(axis=0)
        evidence = bank.evidence(series, weights)
        features = bank.transform([series])[0].astype(np.float64)
        assert evidence.shape == (length, 3)
        np.testing.assert_allclose(
            evidence.sum(axis=0), features @ weights, atol=1e-5 * (features @ np.abs(weights)).max()
        )
        np.testing.assert_array_equal(bank.evidence(series, weights, threads=1), evidence)


def test_arrays_that_do_not_fit_a_bank_are_refused():
    bank = StateFeatures.fit([RANDOM.normal(size=(60, 2))], effort="fast")
    for series, weights in ((np.ones((9, 3)), np.ones((bank.count, 1))), (np.ones((9, 2)), np.ones((7, 1)))):
        with pytest.raises(ShapeError, match=f"expected 2 and {bank.count}, found"):
            bank.evidence(series, weights)
    with pytest.raises(ShapeError, match="K of 1 or more"):
        bank.evidence(np.ones((9, 2)), np.ones((bank.count, 0)))


@pytest.mark.parametrize("n_classes", [2, 5])
def test_evidence_of_a_classifier_is_in_all_its_scores(n_classes):
    labels = np.arange(40) % n_classes
    lengths = RANDOM.integers(20, 60, size=40)
    series = [RANDOM.normal(size=(length, 2)) * (1 + label) for length, label in zip(lengths, labels, strict=True)]
    model = SSMClassifier(effort="fast", random_state=0).fit(series, labels)
    far = [one * 50 for one in series[:3]]  # features that are cut
    for asked in (series, far):
        with np.errstate(all="ignore"):
            scores = model.class_scores(asked)
        found = model.evidence(asked)
        assert [one.shape for one in found] == [(len(one), n_classes) for one in asked]
        np.testing.assert_allclose([one.sum(axis=0) for one in found], scores, atol=1e-5)


def test_a_bump_has_the_evidence_of_features():
    series, labels = noise_with_bump()
    model = SSMClassifier(effort="fast", random_state=0).fit(series, labels)
    evidence = for_bump(model, series[20:])
    near = evidence[BUMP.start - 5 : BUMP.stop + 10]
    assert near.sum() > 0.5 * evidence.sum() > 0
    assert evidence.reshape(-1, 5).sum(axis=1).argmax() in (14, 15, 16)
    assert for_bump(model, series[:20]).sum() < 0


def test_missing_steps_have_no_evidence():
    series, labels = noise_with_bump(channels=2)
    series[:, 10:14] = np.nan
    series[:, 20, 0] = np.nan
    model = SSMClassifier(effort="fast", random_state=0).fit(series, labels)
    gap = series[-1].copy()
    gap[30:40] = np.nan
    evidence = model.evidence([gap])[0]
    empty = np.flatnonzero((evidence == 0).all(axis=1))
    assert empty.tolist() == [*range(10, 14), *range(30, 40)]
    np.testing.assert_allclose(evidence.sum(axis=0), model.class_scores([gap])[0], atol=1e-5)


@pytest.mark.filterwarnings("ignore:X. 1 of .* series have only missing numbers")
def test_a_series_without_any_number_has_even_evidence():
    series, labels = noise_with_bump()
    series[0] = np.nan
    model = SSMClassifier(effort="fast", random_state=0).fit(series, labels)
    evidence = model.evidence(series[:1])[0]
    scores = model.class_scores(series[:1])[0]
    np.testing.assert_allclose(evidence, np.tile(evidence[0], (STEPS, 1)), atol=1e-15)
    np.testing.assert_allclose(evidence.sum(axis=0), scores, atol=1e-5)


# ---- trained models


def trainer_of(pooling="mean", head=None, **model):
    model = {
        "input": {"kind": "features", "n_features": 2},
        "d_model": 16,
        "n_layers": 1,
        "target": {"kind": "sequence_class", "pooling": pooling},
        "head": head or {"kind": "prototype", "n_classes": 3},
        **model,
    }
    return Trainer({"model": model, "train": {"threads": 1, "seed": 3}})


@pytest.mark.parametrize("pooling", ["mean", "max", "last"])
@pytest.mark.parametrize(
    "head",
    [
        {"kind": "prototype", "n_classes": 3},
        {"kind": "prototype", "n_classes": 30, "loss": {"kind": "softmax"}, "prototypes": "learnable"},
        {"kind": "prototype", "n_classes": 3, "projection": "identity", "dim": 16},
        {"kind": "linear", "n_outputs": 3, "loss": "softmax", "bias": True},
    ],
    ids=["prototype", "learnable", "identity", "linear"],
)
@pytest.mark.parametrize("stem", [{}, {"stem": {"kind": "conv"}}, {"stem": {"kind": "patch", "size": 5}}], ids=str)
def test_evidence_of_a_trained_model_is_in_all_its_scores(pooling, head, stem):
    trainer = trainer_of(pooling, head, **stem)
    for name in ("head.projection.bias", "lm_head.bias"):
        if name in trainer.session.parameter_names():
            trainer.session.set_parameter(name, RANDOM.normal(size=trainer.parameter(name).shape).astype(np.float32))
    series = [RANDOM.normal(size=(length, 2)).astype(np.float32) for length in (1, 8, 43)]
    found = step_evidence(trainer, series)
    for one, evidence in zip(series, found, strict=True):
        scores = trainer.predict({"features": one[None]})[0]
        assert evidence.shape == (len(one), len(scores))
        np.testing.assert_allclose(evidence.sum(axis=0), scores, atol=2e-5)


def test_evidence_beside_numbers_is_that_of_the_classes():
    head = {"kind": "prototype", "n_classes": 4, "loss": {"kind": "joint", "low": 0.0, "high": 1.0}}
    trainer = trainer_of(head=head, target={"kind": "joint", "pooling": "mean", "n_values": 1})
    series = RANDOM.normal(size=(20, 2)).astype(np.float32)
    evidence = step_evidence(trainer, [series])[0]
    np.testing.assert_allclose(evidence.sum(axis=0), trainer.predict({"features": series[None]})[0, :4], atol=2e-5)


def test_evidence_of_tokens():
    trainer = trainer_of(input={"kind": "tokens", "vocab_size": 9})
    tokens = np.arange(30, dtype=np.uint32) % 9
    evidence = step_evidence(trainer, [tokens])[0]
    np.testing.assert_allclose(evidence.sum(axis=0), trainer.predict({"tokens": tokens[None]})[0], atol=2e-5)


def test_the_last_state_of_blocks_that_read_both_ways_has_no_evidence():
    layers = ["bidirectional"]
    with pytest.raises(ConfigError, match="pooling = last with blocks that read both ways"):
        step_evidence(trainer_of("last", layers=layers), [np.ones((5, 2), np.float32)])
    assert step_evidence(trainer_of("mean", layers=layers), [np.ones((5, 2), np.float32)])[0].shape == (5, 3)


def test_models_without_a_class_per_sequence_are_refused():
    model = {"input": {"kind": "tokens", "vocab_size": 9}, "target": {"kind": "next_token"}, "d_model": 16}
    with pytest.raises(ConfigError, match="expected a model of a class per sequence, found next_token"):
        step_evidence(Trainer({"model": model}), [np.ones(5, np.uint32)])


def test_evidence_of_the_last_state_is_what_the_score_changes_by():
    trainer = trainer_of("last", {"kind": "linear", "n_outputs": 3, "loss": "softmax", "bias": False})
    series = RANDOM.normal(size=(12, 2)).astype(np.float32)
    scores = [trainer.predict({"features": series[None, : t + 1]})[0] for t in range(12)]
    np.testing.assert_allclose(step_evidence(trainer, [series])[0].cumsum(axis=0), scores, atol=2e-5)


@pytest.mark.parametrize("pooling", ["mean", "max", "last"])
def test_a_bump_has_the_evidence_of_a_trained_model(pooling):
    series, labels = noise_with_bump()
    model = SSMClassifier(kind="backbone", head="linear", pooling=pooling, d_model=16, n_layers=1, random_state=0)
    model.set_params(steps=150, threads=1).fit(series, labels)
    assert model.score(series, labels) > 0.9
    plain = series[20:].copy()
    plain[:, BUMP] -= 4.0
    change = for_bump(model, series[20:]) - for_bump(model, plain)
    assert change[BUMP.start : BUMP.stop + 10].sum() > 0.3 * change.sum() > 0
    if pooling != "max":  # the blocks read forwards
        np.testing.assert_allclose(change[: BUMP.start], 0.0, atol=1e-6)
