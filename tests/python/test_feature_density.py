"""The density of a backbone's features as its confidence: the law, what is stored of it, and when it is fitted anew."""

import json
import pickle

import numpy as np
import pytest

from ssm_hpn import Trainer
from ssm_hpn.calibrated import Entry, RunCalibration, Threshold, confidences, fit_density
from ssm_hpn.closed_form.feature_density import FeatureDensity
from ssm_hpn.closed_form.typicality import HALF_AT, SHRINKAGE
from ssm_hpn.errors import CheckpointError, DataError
from ssm_hpn.estimators import SSMClassifier
from ssm_hpn.judgement import auroc

SMALL = {"kind": "backbone", "d_model": 12, "n_layers": 1, "steps": 60, "lr": 0.01, "random_state": 0}


def waves(count, frequencies=(0.5, 0.8, 1.1), *, seed=0):
    rng = np.random.default_rng(seed)
    labels = np.arange(count) % len(frequencies)
    t = np.arange(24)
    noise = [0.2 * rng.normal(size=24) for _ in labels]
    return [np.sin(frequencies[k] * t + rng.uniform(0, 6)) + e for k, e in zip(labels, noise, strict=True)], labels


@pytest.fixture(scope="module")
def fitted():
    series, labels = waves(90)
    return SSMClassifier(**SMALL).fit(series, labels), series, labels


def test_the_confidence_is_the_density_of_normal_classes_around_their_means():
    rng = np.random.default_rng(0)
    labels, weights = np.arange(60) % 3, rng.uniform(0.5, 2.0, 60)
    x = rng.normal(size=(60, 4)) @ rng.normal(size=(4, 4)) + 3.0 * labels[:, None]
    means = np.stack([np.average(x[labels == k], axis=0, weights=weights[labels == k]) for k in range(3)])
    residual = x - means[labels]
    covariance = (residual * (weights / weights.sum())[:, None]).T @ residual
    covariance = (1 - SHRINKAGE) * covariance + SHRINKAGE * np.trace(covariance) / 4 * np.eye(4)
    new = 4.0 * rng.normal(size=(50, 4))
    away = new[:, None] - means
    density = np.exp(-0.5 * np.einsum("ncq,qr,ncr->nc", away, np.linalg.inv(covariance), away)).sum(axis=1)
    expected = 1 / (1 + np.maximum(-2 * np.log(density), 0) / 4 / HALF_AT**2)
    found = FeatureDensity.of(x, labels, weights)
    np.testing.assert_allclose(found.confidence(new), expected, rtol=1e-4)  # stored in single precision
    # series without a class or a weight take no part
    more = np.concatenate([x, x[:2] + 9]), np.concatenate([labels, [-1, 0]]), np.concatenate([weights, [1.0, 0.0]])
    np.testing.assert_array_equal(FeatureDensity.of(*more).confidence(new), found.confidence(new))


def test_a_class_without_a_series_keeps_its_centre_and_few_series_have_no_density():
    rng = np.random.default_rng(1)
    labels = np.arange(40) % 2
    x = rng.normal(size=(40, 3)) + 20.0 * labels[:, None]
    first = FeatureDensity.of(x, labels, np.ones(40))
    later = FeatureDensity.of(x[labels == 1], np.full(20, 1), np.ones(20), first)
    assert later.classes.tolist() == [1, 0]
    assert later.confidence(np.zeros((1, 3)))[0] > 0.5 > later.confidence(np.full((1, 3), 10.0))[0]
    assert FeatureDensity.of(x[:3], labels[:3], np.ones(3)) is None
    assert FeatureDensity.of(x[:4], labels[:4], np.ones(4)) is not None


def test_strange_series_are_told_better_than_by_the_cosine(fitted):
    model = fitted[0]
    known, strange = waves(90, seed=1)[0], waves(90, (0.3, 1.7, 2.4), seed=2)[0]
    by_density = auroc(model.confidence(known), model.confidence(strange))
    by_cosine = auroc(model.class_scores(known).max(axis=1), model.class_scores(strange).max(axis=1))
    assert by_density > max(0.9, by_cosine + 0.02)


def test_it_goes_with_saved_and_pickled_models_and_into_streams(fitted, tmp_path):
    model, series, _ = fitted
    confidence = model.confidence(series)
    assert 0 < confidence.min() < confidence.max() <= 1
    saved = model.save(tmp_path / "saved")
    for again in (SSMClassifier.load(saved), pickle.loads(pickle.dumps(model))):
        np.testing.assert_array_equal(again.confidence(series), confidence)
    bound = float(np.median(confidence))
    rejecting = SSMClassifier.load(saved).set_params(reject_below=bound)
    stream = rejecting.stream(rows=90)
    answers = stream.prefill(np.stack(series)[:, :, None])
    far = np.abs(confidence - bound) > 1e-4
    assert answers[far].tolist() == rejecting.predict(series)[far].tolist()
    assert 20 < (answers == -1).sum() < 70


def test_an_update_ends_it_and_a_part_fits_it_anew(fitted, tmp_path):
    series, labels = waves(60)
    model = SSMClassifier(**SMALL).partial_fit(series[:30], labels[:30], classes=[0, 1, 2])
    before = model.trainer_.density
    only = np.flatnonzero(labels == 2)
    model.partial_fit([series[i] for i in only], labels[only])
    assert sorted(model.trainer_.density.classes.tolist()) == [0, 1, 2]
    places = [model.trainer_.density.classes.tolist().index(k) for k in (0, 1)]
    kept = [before.classes.tolist().index(k) for k in (0, 1)]
    np.testing.assert_array_equal(model.trainer_.density.means[places], before.means[kept])
    trainer = Trainer.load(fitted[0].save(tmp_path / "saved"))
    assert trainer.density is not None
    trainer.step({"features": np.stack(series[:4]).astype(np.float32)[..., None], "sequence_class": labels[:4]})
    assert trainer.density is None
    given = Trainer.load(tmp_path / "saved")
    given.load_tensors(trainer.parameters())
    assert given.density is given.temperature is None
    scores = np.array([[0.25, -0.5]])
    assert confidences(trainer, scores, np.zeros((1, 12))).tolist() == [0.25]


def test_a_part_fits_it_to_the_series_of_the_memory_too():
    series, labels = waves(60)
    model = SSMClassifier(**SMALL, replay=5).partial_fit(series[:30], labels[:30], classes=[0, 1, 2])
    only = np.flatnonzero(labels == 2)
    model.partial_fit([series[i] for i in only], labels[only])
    density = model.trainer_.density
    for code in (0, 1):
        kept = [one.series for one in model.model_.memory.kept[code]]
        features = model.model_.described(kept)[:, -model.model_.width :]
        assert len(kept) == 5
        found = density.means[density.classes.tolist().index(code)]
        np.testing.assert_allclose(found, features.mean(axis=0), rtol=1e-5, atol=1e-6)


# ---- what is stored


def test_a_threshold_of_another_confidence_goes(tmp_path):
    file, threshold = RunCalibration(tmp_path), Threshold(keep=0.9, reject_below=0.25, series=40)
    rng = np.random.default_rng(0)
    densities = [FeatureDensity.of(rng.normal(size=(9, 2)), np.arange(9) % 2, np.ones(9)).to_json() for _ in range(2)]
    file.put(Entry(step=3, scale=2.0, series=40, threshold=threshold))
    file.put(Entry.model_validate({"step": 3, "density": densities[0]}))
    assert file.entry(3).threshold is None
    assert (file.entry(3).scale, file.entry(3).series) == (2.0, 40)
    file.put(Entry(step=3, threshold=threshold))
    file.put(Entry.model_validate({"step": 3, "density": densities[0]}))
    assert (file.entry(3).threshold, file.entry(3).density.model_dump()["means"]) == (threshold, densities[0]["means"])
    file.put(Entry.model_validate({"step": 3, "density": densities[1]}))
    assert file.entry(3).threshold is None


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ({"means": "AAA"}, "an incomplete one"),
        ({"classes": [0, 0]}, "one of the classes"),
        ({"classes": [-1, 1]}, "one of the classes"),
        ({"classes": "x"}, "an incomplete one"),
        ({"whitening": "AADAfw==" * 4}, "an incomplete one"),
    ],
)
def test_a_damaged_density_is_refused_in_one_line(change, found, tmp_path):
    rng = np.random.default_rng(0)
    whole = FeatureDensity.of(rng.normal(size=(9, 2)), np.arange(9) % 2, np.ones(9)).to_json()
    with pytest.raises(CheckpointError, match=f"^density: expected the density of features, found {found}"):
        FeatureDensity.from_json(whole | change)
    (tmp_path / "calibration.json").write_text(json.dumps({"entries": [{"step": 1, "density": whole | change}]}))
    with pytest.raises(DataError, match=r"calibration\.json: expected entries\.0\.density"):
        RunCalibration(tmp_path).entry(1)


def test_numbers_that_are_not_finite_and_another_width_are_refused(fitted):
    whole = FeatureDensity.of(np.random.default_rng(0).normal(size=(9, 2)), np.arange(9) % 2, np.ones(9))
    nan = FeatureDensity(whole.classes, whole.means * np.float32(np.nan), whole.whitening)
    with pytest.raises(CheckpointError, match="numbers that are not finite"):
        FeatureDensity.from_json(nan.to_json())
    with pytest.raises(CheckpointError, match="one of the width 2 where the model has 12"):
        FeatureDensity.saved({"density": whole.to_json()}, fitted[0].trainer_.config.model.d_model)


def test_a_model_that_is_too_wide_has_the_largest_score_as_its_confidence():
    model = {"input": {"kind": "features", "n_features": 1}, "target": {"kind": "sequence_class"}}
    trainer = Trainer({"model": model | {"head": {"kind": "prototype", "n_classes": 2}}})
    fit_density(trainer, np.zeros((9, 1025), np.float32), np.arange(9) % 2)
    assert trainer.density is None
