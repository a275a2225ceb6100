"""Prototypes by themselves: places, bounds, measures, neighbours, and the points of models among them."""

import re
from itertools import pairwise

import numpy as np
import pytest

from ssm_hpn import Trainer
from ssm_hpn.errors import ConfigError, ShapeError
from ssm_hpn.estimators import SSMClassifier
from ssm_hpn.prototypes import largest_cosine, lower_bound, nearest, order_kept, place
from support import settings


def largest(rows):
    """The largest cosine by its definition."""
    rows = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return (rows @ rows.T - 2 * np.eye(len(rows))).max()


@pytest.mark.parametrize(
    ("classes", "dim", "construction"),
    [(4, 3, "simplex"), (6, 3, "blocks of simplices"), (20, 4, "separated"), (50_000, 8, "random")],
)
def test_prototypes_are_unit_vectors_with_the_largest_cosine_that_is_told(classes, dim, construction):
    placed = place(classes, dim)
    assert placed.construction == construction
    assert placed.prototypes.shape == (classes, dim)
    np.testing.assert_allclose(np.linalg.norm(placed.prototypes, axis=1), 1, rtol=1e-12)
    if classes < 100:
        assert largest_cosine(placed.prototypes) == pytest.approx(largest(placed.prototypes), abs=1e-12)


def test_a_head_has_the_prototypes_that_are_placed():
    head = {"kind": "prototype", "n_classes": 20, "dim": 4}
    model = {"input": {"kind": "features", "n_features": 2}, "target": {"kind": "sequence_class"}, "head": head}
    trainer = Trainer(settings(model=model, train={"seed": 3}), dtype="float64")
    np.testing.assert_array_equal(trainer.parameter("head.prototypes"), place(20, 4, seed=3).prototypes)
    assert not np.array_equal(place(20, 4, seed=3).prototypes, place(20, 4).prototypes)


@pytest.mark.parametrize(
    ("classes", "dim", "reached"),
    [
        (5, 2, np.cos(2 * np.pi / 5)),  # on the circle
        (12, 3, 1 / np.sqrt(5)),  # icosahedron
        (27, 6, 0.25),  # Schläfli
        (240, 8, 0.5),  # the shortest vectors of E8
        (196_560, 24, 0.5),  # and of the Leech lattice
    ],
)
def test_the_bound_is_reached_by_the_arrangements_that_are_known_to_be_best(classes, dim, reached):
    assert lower_bound(classes, dim) == pytest.approx(reached, abs=1e-9)


def test_the_bound_is_that_of_tables_rises_with_the_classes_and_nothing_falls_below_it():
    table = {(10, 3): 0.3583, (100, 3): 0.9275, (100, 25): 0.0688, (200, 50): 0.0367, (1000, 10): 0.5480}
    for (classes, dim), bound in table.items():
        assert lower_bound(classes, dim) == pytest.approx(bound, abs=6e-5)
    for dim in (2, 3, 5, 9):
        bounds = [lower_bound(classes, dim) for classes in range(2, 300)]
        assert all(a <= b for a, b in pairwise(bounds))
        for classes in (2, dim + 1, dim + 2, 2 * dim, 2 * dim + 1, 30):
            assert largest_cosine(place(classes, dim).prototypes) >= lower_bound(classes, dim) - 1e-12


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        ((1, 3), "classes: expected a whole number from 2"),
        ((3, 1), "dim: expected a whole number from 2"),
        ((9, 5, "simplex"), "dim: expected at least 8"),
        ((9000, 5, "separated"), "prototypes: expected at most 8192 classes"),
        ((9000, 5, "semantic"), "prototypes: expected at most 8192 classes"),
        ((3, 3, "given"), "vectors: expected the vectors of the classes, found none"),
        ((3, 3, "sparse"), "kind: expected auto, simplex"),
    ],
)
def test_sizes_that_a_kind_cannot_have_are_refused(arguments, part):
    with pytest.raises(ConfigError, match=f"^{re.escape(part)}") as caught:
        place(*arguments)
    assert "\n" not in str(caught.value)
    assert "model.head" not in str(caught.value)


@pytest.mark.parametrize("kind", ["given", "semantic"])
@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([[0, 0], [0, 1], [1, 0]], "vectors: expected vectors with a direction, found zeros for class 0"),
        (
            [[1, 1], [2, 2], [1, 0]],
            "vectors: expected different directions, found one direction for class 0 and class 1",
        ),
        ([[1, np.nan], [2, 3], [1, 0]], "vectors: expected finite numbers, found NaN for class 0"),
        ([[1, 0], [0, 1]], "vectors: expected 3 vectors, one for each class, found 2"),
    ],
)
def test_vectors_that_make_no_prototypes_are_refused_by_the_name_of_the_argument(kind, rows, message):
    with pytest.raises(ConfigError, match=f"^{message}") as caught:
        place(3, 2, kind, vectors=rows)
    assert "model." not in str(caught.value)
    with pytest.raises(ConfigError, match=r"^classes: expected a whole number from 2 to 2147483647, found 2147483648"):
        place(2**31, 2)


def test_semantic_prototypes_keep_the_order_of_the_class_vectors():
    random = np.random.default_rng(0)
    vectors = np.repeat(random.normal(size=(4, 50)), 5, axis=0) + random.normal(size=(20, 50))
    placed = place(20, 20, "semantic", vectors=vectors)
    assert placed.construction == "semantic"
    assert order_kept(placed.prototypes, vectors) > 0.92
    assert largest_cosine(placed.prototypes) < 0.1 < largest(vectors)
    assert order_kept(place(20, 20).prototypes + 1e-9 * random.normal(size=(20, 20)), vectors) < 0.6
    np.testing.assert_array_equal(place(20, 20, "semantic", vectors=vectors, threads=1).prototypes, placed.prototypes)


def test_the_nearest_prototype_is_the_first_with_the_largest_cosine(monkeypatch):
    monkeypatch.setattr("ssm_hpn.prototypes.MOST_PRODUCTS", 90)
    random = np.random.default_rng(0)
    points, rows = random.normal(size=(25, 6)), random.normal(size=(30, 6))
    rows[20] = rows[3]
    places, cosines = nearest(points, rows)
    products = (points @ rows.T).astype(np.float32)
    np.testing.assert_array_equal(places, products.argmax(axis=1))
    np.testing.assert_allclose(cosines, products.max(axis=1), rtol=1e-5)
    for wrong in (points[:, :5], points[0], rows[:0]):
        with pytest.raises(ShapeError):
            nearest(points, wrong)


def test_products_of_points_and_prototypes_are_the_scores_of_features():
    random = np.random.default_rng(0)
    series, labels = random.normal(size=(24, 40)), np.arange(24) % 4
    series[labels == 1] *= 3
    model = SSMClassifier(effort="fast", random_state=0).fit(series, labels)
    points = model.embed(series)
    assert points.shape == (24, 4)
    np.testing.assert_allclose(np.linalg.norm(points, axis=1), 1, rtol=1e-12)
    np.testing.assert_allclose(points @ model.prototypes_.T, model.class_scores(series), atol=1e-12)


@pytest.mark.parametrize("loss", ["cosine", "softmax"])
def test_products_of_points_and_prototypes_are_the_scores_of_a_backbone(loss):
    random = np.random.default_rng(0)
    series, labels = random.normal(size=(12, 30)), np.arange(12) % 3
    model = SSMClassifier(kind="backbone", d_model=16, n_layers=1, steps=2, loss=loss, random_state=0)
    model.fit(series, labels)
    points = model.embed(series)
    np.testing.assert_allclose(np.linalg.norm(points, axis=1), 1, rtol=1e-6)
    np.testing.assert_allclose(points @ model.prototypes_.T, model.class_scores(series), atol=1e-6)
    linear = SSMClassifier(kind="backbone", d_model=16, n_layers=1, steps=2, head="linear", random_state=0)
    linear.fit(series, labels)
    for ask in (lambda: linear.embed(series), lambda: linear.prototypes_):
        with pytest.raises(ConfigError, match="head: expected a prototype head"):
            ask()
    with pytest.raises(ConfigError, match=r'model.head.kind: expected "prototype"'):
        linear.trainer_.embed({"features": series[:, :, None]})


@pytest.mark.parametrize(
    ("call", "where"),
    [
        (lambda: nearest([[np.nan, 1]], [[1, 0], [0, 1]]), r"points\[0\]: expected finite numbers"),
        (lambda: nearest([[0, 1]], [[1, 0], [0, np.inf]]), r"prototypes\[1\]: expected finite numbers"),
        (lambda: largest_cosine([[np.nan, 0], [0, 1]]), r"prototypes\[0\]: expected finite numbers"),
        (lambda: largest_cosine([[1, 0]]), "prototypes: expected at least 2 rows, found 1"),
        (lambda: order_kept([[1, 0], [0, 1]], [[1, 0], [0, 1]]), "prototypes: expected at least 3 rows, found 2"),
        (lambda: order_kept([[1, 0], [0, 0], [0, 1]], np.eye(3)), r"prototypes\[1\]: expected a direction"),
    ],
)
def test_numbers_that_say_nothing_are_refused(call, where):
    with pytest.raises(ShapeError, match=where):
        call()


@pytest.mark.parametrize(("classes", "dim"), [(10**9, 3), (10**6, 10**6)])
def test_more_prototypes_than_memory_has_room_for_are_refused(classes, dim):
    with pytest.raises(ConfigError, match="which take 2 GB"):
        place(classes, dim)
