"""Short vectors of series."""

import pickle
import warnings

import numpy as np
import pandas as pd
import polars as pl
import pytest

pytest.importorskip("sklearn")

from sklearn.base import clone
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import Ridge
from sklearn.metrics import adjusted_rand_score
from sklearn.model_selection import cross_val_score
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.utils.estimator_checks import parametrize_with_checks

from ssm_hpn.errors import CheckpointError, ConfigError, ShapeError
from ssm_hpn.estimators import SSMClassifier, SSMEmbedder, SSMRegressor, StateSpaceFeatures
from ssm_hpn.filter_learner import FilterLearner
from test_estimators import waves

FAST = {"effort": "fast", "random_state": 0, "threads": 1}
SERIES, LABELS = waves(60, seed=0)
NEW, NEW_LABELS = waves(60, seed=1)


@pytest.fixture(scope="module")
def plain():
    return SSMEmbedder(**FAST).fit(SERIES)


@pytest.fixture(scope="module")
def labelled():
    return SSMEmbedder(**FAST).fit(SERIES, LABELS)


def test_neighbours_without_and_with_labels_are_of_one_class(plain, labelled):
    for model, size in ((plain, 32), (labelled, 2)):
        train, test = model.transform(SERIES), model.transform(NEW)
        assert train.shape == (60, size)
        assert train.dtype == np.float32
        assert KNeighborsClassifier(3).fit(train, LABELS).score(test, NEW_LABELS) > 0.95


def test_clusters_are_the_classes(plain):
    found = KMeans(3, n_init=5, random_state=0).fit_predict(plain.transform(NEW))
    assert adjusted_rand_score(NEW_LABELS, found) > 0.9


def test_without_labels_distances_are_those_of_standardised_features():
    features = StateSpaceFeatures(**FAST).fit_transform(SERIES).astype(np.float64)
    deviation = features.std(axis=0)
    there = deviation > 1e-6
    standard = np.clip((features[:, there] - features[:, there].mean(axis=0)) / deviation[there], -3, 3)
    exact = PCA(8, random_state=0).fit_transform(standard)
    found = SSMEmbedder(**FAST, n_components=8).fit_transform(SERIES)
    rows, columns = np.triu_indices(60, 1)
    expected, distances = (np.linalg.norm(x[rows] - x[columns], axis=1) for x in (exact, found))
    assert np.corrcoef(expected, distances)[0, 1] > 0.99
    assert abs(np.median(distances / expected) - 1) < 0.05


def test_with_labels_the_vector_is_the_point_of_the_classifier(labelled):
    scores = SSMClassifier(**FAST).fit(SERIES, LABELS).class_scores(NEW)
    points = labelled.transform(NEW).astype(np.float64)
    cosines = (
        points @ labelled.model_.classes.prototypes.T / np.maximum(1, np.linalg.norm(points, axis=1, keepdims=True))
    )
    np.testing.assert_allclose(cosines, scores, rtol=0, atol=1e-5)
    assert labelled.classes_.tolist() == ["fast", "middle", "slow"]
    reduced = SSMEmbedder(**FAST, n_components=1).fit(SERIES, LABELS)
    assert reduced.transform(NEW).shape == (60, 1)


def test_vectors_of_length_one():
    for y in (None, LABELS):
        long = SSMEmbedder(**FAST).fit(SERIES, y).transform(NEW)
        unit = SSMEmbedder(**FAST, unit_length=True).fit(SERIES, y).transform(NEW)
        np.testing.assert_allclose(np.linalg.norm(unit, axis=1), 1, rtol=1e-5)
        np.testing.assert_allclose(unit * np.linalg.norm(long, axis=1, keepdims=True), long, rtol=0, atol=1e-4)


def test_a_copy_and_a_pickle_give_the_same_bits(plain, labelled):
    for model, y in ((plain, None), (labelled, LABELS)):
        expected = model.transform(NEW)
        np.testing.assert_array_equal(pickle.loads(pickle.dumps(model)).transform(NEW), expected)
        np.testing.assert_array_equal(clone(model).fit(SERIES, y).transform(NEW), expected)
        np.testing.assert_allclose(model.transform(NEW[3:4]), expected[3:4], rtol=0, atol=1e-4)


def test_another_fit_forgets_the_labels():
    model = SSMEmbedder(**FAST).fit(SERIES, LABELS).fit(SERIES)
    np.testing.assert_array_equal(model.transform(NEW), SSMEmbedder(**FAST).fit(SERIES).transform(NEW))
    assert not hasattr(model, "classes_")


def test_labels_that_are_missing_or_for_a_later_step():
    some = LABELS.astype(object)
    some[::5] = None
    with pytest.warns(UserWarning, match="y: 12 of 60 series have no target .* are not trained on"):
        model = SSMEmbedder(**FAST).fit(SERIES, some)
    assert model.transform(NEW).shape == (60, 2)
    lengths = np.array([float(len(one)) + 0.5 for one in SERIES])
    with pytest.raises(ShapeError, match=r"y: expected classes, found .*; pass supervised=False to leave y out"):
        make_pipeline(SSMEmbedder(**FAST), Ridge()).fit(SERIES, lengths)
    make_pipeline(SSMEmbedder(**FAST, supervised=False), Ridge()).fit(SERIES, lengths)
    x = np.stack([one[:30] for one in SERIES])
    assert cross_val_score(make_pipeline(SSMEmbedder(**FAST), KNeighborsClassifier(3)), x, LABELS, cv=2).mean() > 0.9


def test_tables_names_and_frames_of_the_output():
    table = pd.concat(
        [pd.DataFrame(one, columns=["a", "b"]).assign(unit=f"u{n}", kind=LABELS[n]) for n, one in enumerate(SERIES)]
    )
    model = SSMEmbedder(**FAST, id="unit", n_components=2).set_output(transform="pandas")
    for found in (model.fit(table.drop(columns="kind")).transform(table), model.fit(table, "kind").transform(table)):
        assert found.index.tolist() == [f"u{n}" for n in range(60)]
        assert found.columns.tolist() == ["ssmembedder0", "ssmembedder1"]
    polars = model.set_output(transform="polars").transform(table)
    assert isinstance(polars, pl.DataFrame)
    assert polars.shape == (60, 2)
    lines = [f"{'abc'[n % 3] * 20} {n}" for n in range(12)]
    assert SSMEmbedder(**FAST).fit_transform(lines).shape == (12, 12)


@pytest.mark.parametrize(
    ("options", "y", "message"),
    [
        ({"n_components": 0}, None, "n_components: expected a whole number from 1 to 1024, found 0"),
        ({"n_components": 2.5}, None, "n_components: expected a whole number"),
        (
            {"n_components": 61},
            None,
            "n_components: expected no more than there are series, found 61 for 60 series; lo",
        ),
        ({"n_components": 3}, LABELS, "n_components: expected at most 2, one less than classes, found 3; leave it out"),
        ({"effort": "most"}, None, r"effort: expected fast \| default \| best, found 'most'"),
        ({"threads": 0}, None, "threads: expected a whole number"),
    ],
)
def test_wrong_parameters_are_refused_in_one_line(options, y, message):
    with pytest.raises(ConfigError, match=message):
        SSMEmbedder(**FAST | options).fit(SERIES, y)


def test_wrong_series_and_labels_are_refused_in_one_line():
    with pytest.raises(ShapeError, match="X: expected at least 2 series, found 1; one alone is like none"):
        SSMEmbedder(**FAST).fit(SERIES[:1])
    with pytest.raises(ValueError, match="y: expected at least two classes, found one class"):
        SSMEmbedder(**FAST).fit(SERIES, ["a"] * 60)
    with pytest.raises(ShapeError, match="y: expected 60 targets, one per series, found 5"):
        SSMEmbedder(**FAST).fit(SERIES, LABELS[:5])


def test_equal_series_have_equal_vectors():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = SSMEmbedder(**FAST, unit_length=True).fit_transform([SERIES[0]] * 4)
    np.testing.assert_array_equal(found, 0)


@parametrize_with_checks([SSMEmbedder(**FAST), SSMEmbedder(**FAST, supervised=False, unit_length=True)])
def test_scikit_learns_own_checks(estimator, check):
    check(estimator)


@pytest.mark.parametrize(
    "options", [{}, {"n_components": 1, "unit_length": True}, {"causal": True}, {"supervised": False}]
)
@pytest.mark.parametrize("y", [None, LABELS], ids=["plain", "labelled"])
def test_an_embedder_comes_back_from_a_checkpoint(options, y, tmp_path):
    model = SSMEmbedder(**FAST | options).fit(SERIES, y)
    again = SSMEmbedder.load(model.save(tmp_path / "kept"))
    np.testing.assert_array_equal(again.transform(NEW), model.transform(NEW))
    assert again.get_params() == model.get_params()
    assert again.get_feature_names_out().tolist() == model.get_feature_names_out().tolist()
    if hasattr(model, "classes_"):
        assert again.classes_.tolist() == model.classes_.tolist()
    assert SSMEmbedder.load(again.save(tmp_path / "again")).transform(NEW[:1]).shape == model.transform(NEW[:1]).shape


def test_an_embedder_reads_frames_as_the_one_that_was_saved(tmp_path):
    frame = pd.DataFrame({"a": [one[:, 0] for one in SERIES], "kind": LABELS})
    model = SSMEmbedder(**FAST).fit(frame, "kind")
    again = SSMEmbedder.load(model.save(tmp_path / "kept"))
    np.testing.assert_array_equal(again.transform(frame), model.transform(frame))
    with pytest.raises(ShapeError, match="X: expected columns a, as in fit, found columns b"):
        again.transform(frame.rename(columns={"a": "b"}))


def test_causal_filters_of_an_embedder_read_forwards(plain):
    causal = SSMEmbedder(**FAST, causal=True).fit(SERIES)
    assert causal.bank_.causal
    assert not plain.bank_.causal
    assert SSMEmbedder(**FAST, causal=True).fit(SERIES, LABELS).model_.bank.causal
    with pytest.raises(ConfigError, match="causal: expected True or False, found 'yes'"):
        SSMEmbedder(**FAST, causal="yes").fit(SERIES)


def test_the_features_of_a_classifier_embed_and_others_are_refused(tmp_path):
    classifier = SSMClassifier(**FAST).fit(SERIES, LABELS)
    embedder = SSMEmbedder.load(classifier.save(tmp_path / "classifier"))
    np.testing.assert_array_equal(embedder.transform(NEW), SSMEmbedder(**FAST).fit(SERIES, LABELS).transform(NEW))
    for other, found in (
        (SSMRegressor(**FAST).fit(SERIES, np.arange(60.0)), "found numbers alone; open it with SSMRegressor.load"),
        (SSMClassifier(kind="backbone", d_model=8, n_layers=1, steps=2).fit(SERIES, LABELS), "found a backbone"),
    ):
        saved = other.save(tmp_path / other.kind)
        with pytest.raises(CheckpointError, match=found):
            SSMEmbedder.load(saved)
    saved = SSMEmbedder(**FAST).fit(SERIES).save(tmp_path / "embedder")
    found = "embedder: expected a model of classes or numbers, found vectors of series; open it with SSMEmbedder.load"
    for load in (SSMClassifier.load, SSMRegressor.load, FilterLearner.load):
        with pytest.raises(CheckpointError, match=found):
            load(saved)
    with pytest.raises(NotFittedError):
        SSMEmbedder().save(tmp_path / "none")
