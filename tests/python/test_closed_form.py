"""Heads in closed form: against direct solutions, refits without a series, and scikit-learn."""

import io
import json

import numpy as np
import pytest
from sklearn.linear_model import RidgeClassifierCV
from sklearn.metrics import r2_score

from ssm_hpn.closed_form import ClassHead, NumberHead, RidgeSettings
from ssm_hpn.closed_form.columns import Standardisation
from ssm_hpn.closed_form.simplex import cosines, inner_products, simplex
from ssm_hpn.closed_form.spectrum import Spectrum
from ssm_hpn.errors import CheckpointError, ConfigError, DataError, ShapeError

SHAPES = [(40, 15), (25, 300), (60, 60)]
"""Series and features: fewer features than series, more, and as many."""


def data(n, d, *, n_classes=3, trace=0.4, seed=0):
    """Features with a linear trace of the class, noise and different units; labels that have every class."""
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.arange(n) % n_classes)
    x = rng.normal(size=(n, d)) + trace * rng.normal(size=(n_classes, d))[labels]
    return (x * rng.uniform(0.1, 50, d) + rng.normal(size=d)).astype(np.float32), labels


def of(x, cut=7):
    """The features of a matrix in blocks of `cut` columns."""
    return lambda rows: (x[rows, first : first + cut] for first in range(0, x.shape[1], cut))


def standardised(x, weights, clip=3.0):
    """x' in double precision, by the formula."""
    x = x.astype(np.float64)
    mean = weights @ x / weights.sum()
    return np.clip((x - mean) / np.sqrt(weights @ (x - mean) ** 2 / weights.sum()), -clip, clip)


def ridge(x, y, weights, penalty):
    """Weights and intercept by the normal equations, the intercept not penalised."""
    a = np.hstack([x, np.ones((len(x), 1))])
    penalties = penalty * np.diag([1.0] * x.shape[1] + [0.0])
    solution = np.linalg.solve(a.T @ (weights[:, None] * a) + penalties, a.T @ (weights[:, None] * y))
    return solution[:-1], solution[-1]


def refit_error(x, y, penalty):
    """Sum of squared errors of each series by the fit to all others, in the dual form."""
    total = 0.0
    for i in range(len(x)):
        others = np.arange(len(x)) != i
        mean, centre = y[others].mean(axis=0), x[others].mean(axis=0)
        inside = x[others] - centre
        dual = np.linalg.solve(inside @ inside.T + penalty * np.eye(len(inside)), y[others] - mean)
        total += ((y[i] - mean - (x[i] - centre) @ inside.T @ dual) ** 2).sum()
    return total


def unit(x, weights):
    """What a strength of 1 is."""
    centred = x - weights @ x / weights.sum()
    return (weights[:, None] * centred**2).sum() / len(x)


def spectrum(x, y, weights):
    """The ridge problem of rows x [n, r] in the coordinates of its eigenvectors."""
    root, mean = np.sqrt(weights)[:, None], weights @ y / weights.sum()
    u = root * (x - weights @ x / weights.sum()) / np.sqrt(unit(x, weights) or 1.0)
    values, vectors = np.linalg.eigh(u.T @ u)
    u = u @ vectors
    return Spectrum(values, u.T @ (root * (y - mean)), u, y, weights, weights.sum(), mean)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("weighted", [False, True])
def test_scores_and_left_out_scores_are_those_of_direct_fits(shape, weighted):
    x, labels = data(*shape)
    weights = np.random.default_rng(1).uniform(0.2, 3, len(x)) if weighted else np.ones(len(x))
    head = ClassHead.fit(of(x), labels, sample_weight=weights, settings=RidgeSettings(strength=0.3))
    z, y = standardised(x, weights), simplex(3)[labels]
    penalty = 0.3 * unit(z, weights)
    w, b = ridge(z, y, weights, penalty)
    np.testing.assert_allclose(head.scores(of(x)(np.arange(len(x)))), z @ w + b, atol=2e-5)
    for i in (0, 7, len(x) - 1):
        others = np.arange(len(x)) != i
        w, b = ridge(z[others], y[others], weights[others], penalty)
        np.testing.assert_allclose(head.ridge.left_out[i], z[i] @ w + b, atol=2e-5)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("n_classes", [2, 3, 7])
def test_the_strength_and_the_classes_are_those_of_ridge_on_one_hot_targets(shape, n_classes):
    x, labels = data(*shape, n_classes=n_classes, trace=0.1)
    new = data(*shape, n_classes=n_classes, trace=0.1, seed=5)[0]
    head = ClassHead.fit(of(x), labels)
    ones = np.ones(len(x))
    z, one_hot = standardised(x, ones), np.eye(n_classes)[labels]
    per_unit = unit(z, ones)
    errors = {e: refit_error(z, one_hot, 10.0 ** (e / 2) * per_unit) for e in range(-16, 13, 2)}
    chosen = round(2 * np.log10(head.ridge.strength[0]))
    nearby = {e: refit_error(z, one_hot, 10.0 ** (e / 2) * per_unit) for e in (chosen - 1, chosen, chosen + 1)}
    assert nearby[chosen] < min((errors | nearby).values()) * 1.0002  # EQUAL and the rounding of f32
    w, b = ridge(z, one_hot, ones, head.ridge.strength[0] * unit(z, ones))
    mean, deviation = x.mean(axis=0, dtype=np.float64), x.std(axis=0, dtype=np.float64)
    one_hot_scores = np.clip((new - mean) / deviation, -3, 3) @ w + b
    scores = head.scores([new])
    expected = (n_classes * one_hot_scores - 1) / (n_classes - 1)
    np.testing.assert_allclose(inner_products(scores, head.prototypes), expected, atol=5e-5)
    np.testing.assert_array_equal(head.classes(scores), one_hot_scores.argmax(axis=1))
    np.testing.assert_array_equal(head.cosines(scores).argmax(axis=1), head.classes(scores))


@pytest.mark.parametrize("n_classes", [2, 4])
def test_scikit_learn_chooses_the_same_strength_and_classes(n_classes):
    x, labels = data(50, 120, n_classes=n_classes, trace=0.2)
    new = data(200, 120, n_classes=n_classes, trace=0.2, seed=3)[0]
    head = ClassHead.fit(of(x), labels)
    z = head.ridge.linear.standardisation
    inside, outside = z.apply(x.copy()).astype(float), z.apply(new.copy()).astype(float)
    per_unit = unit(inside, np.ones(50))
    theirs = RidgeClassifierCV(alphas=per_unit * 10.0 ** (np.arange(-12, 5) / 2)).fit(inside, labels)
    assert theirs.alpha_ == pytest.approx(head.ridge.strength[0] * per_unit)
    np.testing.assert_array_equal(head.classes(head.scores([new])), theirs.predict(outside))


def test_a_weight_of_two_is_the_series_twice_and_of_zero_none_at_all():
    x, labels = data(30, 50)
    counts = np.random.default_rng(0).integers(0, 3, 30)
    twice = np.repeat(np.arange(30), counts)
    # The unit of the strength is per series.
    strength = 0.1 * len(twice) / np.count_nonzero(counts)
    weighted = ClassHead.fit(of(x), labels, sample_weight=counts, settings=RidgeSettings(strength=0.1))
    repeated = ClassHead.fit(of(x[twice]), labels[twice], settings=RidgeSettings(strength=strength))
    np.testing.assert_allclose(weighted.scores([x]), repeated.scores([x]), atol=2e-5)
    np.testing.assert_array_equal(weighted.ridge.rows, np.flatnonzero(counts))
    noise = x.copy()
    noise[counts == 0] = 1e6
    again = ClassHead.fit(of(noise), labels, sample_weight=counts, settings=RidgeSettings(strength=0.1))
    np.testing.assert_array_equal(again.scores([x]), weighted.scores([x]))


def test_the_unit_of_weights_does_not_matter():
    x, labels = data(30, 50)
    weights = np.random.default_rng(0).uniform(1, 2, 30)
    one, other = (ClassHead.fit(of(x), labels, sample_weight=factor * weights) for factor in (1, 1024))
    assert one.ridge.strength[0] == other.ridge.strength[0]
    np.testing.assert_allclose(one.scores([x]), other.scores([x]), atol=1e-6)
    assert one.scale == pytest.approx(other.scale, rel=1e-5)


def test_class_weights_multiply_and_balanced_ones_move_scores_to_the_rare_class():
    x, _ = data(60, 20)
    labels = (np.arange(60) >= 50).astype(int)
    plain, balanced, given, by_sample = (
        ClassHead.fit(of(x), labels, **options)
        for options in (
            {},
            {"class_weight": "balanced"},
            {"class_weight": [0.6, 3.0]},
            {"sample_weight": np.where(labels, 3.0, 0.6)},
        )
    )
    np.testing.assert_array_equal(balanced.scores([x]), given.scores([x]))
    np.testing.assert_array_equal(balanced.scores([x]), by_sample.scores([x]))
    rare = [np.count_nonzero(head.classes(head.ridge.left_out) == 1) for head in (plain, balanced)]
    assert rare[1] > rare[0]
    mean = [head.probabilities(head.ridge.left_out)[:, 1].mean() for head in (plain, balanced)]
    assert mean[1] > mean[0] + 0.1


def test_the_grid_grows_towards_both_ends():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(200, 3)).astype(np.float32)
    exact = NumberHead.fit(of(x), x.astype(float) @ rng.normal(size=(3, 1)), settings=RidgeSettings(clip=100.0))
    assert exact.ridge.strength[0] < 1e-6
    noise = NumberHead.fit(of(rng.normal(size=(30, 500)).astype(np.float32)), rng.normal(size=(30, 1)))
    assert noise.ridge.strength[0] > 1e2
    x = rng.normal(size=(200, 50)).astype(np.float32)
    both = NumberHead.fit(of(x), np.hstack([x[:, :1], rng.normal(size=(200, 1))]), settings=RidgeSettings(clip=100.0))
    assert both.ridge.strength[0] < 1e-6
    assert both.ridge.strength[1] > 1


def test_numbers_are_predicted_in_their_unit():
    x, _ = data(80, 10)
    y = 1e3 + 50 * np.stack([x[:, 0], x[:, 1] * 1e3], axis=1).astype(float)
    head = NumberHead.fit(of(x), y)
    error = np.abs(head.scores([x]) - y) / y.std(axis=0)
    assert error.mean() < 0.05


def test_left_out_answers_are_scored_by_their_weights():
    x, labels = data(60, 20, trace=0.2)
    weights = np.linspace(0.5, 3, 60)
    head = ClassHead.fit(of(x), labels, sample_weight=weights)
    right = head.classes(head.ridge.left_out) == labels
    assert 0.4 < right.mean() < 1
    assert head.left_out_accuracy() == pytest.approx(weights[right].sum() / weights.sum())
    y = np.stack([x[:, 0] + 30 * labels, x[:, 1], np.full(60, 2.0)], axis=1).astype(float)
    weights[7] = 0
    numbers = NumberHead.fit(of(x), y, sample_weight=weights)
    found, kept = numbers.left_out_r2(), weights > 0
    for k in range(2):
        expected = r2_score(y[kept, k], numbers.ridge.left_out[:, k], sample_weight=weights[kept])
        assert found[k] == pytest.approx(expected)
    assert np.isnan(found[2])


@pytest.mark.parametrize("cut", [1, 5, 100, 8192])
def test_the_cut_into_blocks_changes_no_bit(cut):
    x, labels = data(20, 9000)
    whole, cut_ = (ClassHead.fit(of(x, size), labels) for size in (9000, cut))
    for name, array in whole.to_arrays()[0].items():
        np.testing.assert_array_equal(array, cut_.to_arrays()[0][name], err_msg=name)
    np.testing.assert_array_equal(whole.scores([x]), whole.scores(of(x, cut)(np.arange(20))))


def test_a_buffer_of_the_caller_may_be_written_again():
    x, labels = data(20, 40)

    def reused(rows):
        buffer = np.empty((len(rows), 8), np.float32)
        for first in range(0, 40, 8):
            buffer[:] = x[rows, first : first + 8]
            yield buffer

    np.testing.assert_array_equal(ClassHead.fit(reused, labels).scores([x]), ClassHead.fit(of(x), labels).scores([x]))


def test_features_beyond_the_memory_to_keep_are_asked_for_twice_with_the_same_bits(monkeypatch):
    x, labels = data(20, 9000)
    asked = []

    def counted(rows):
        asked.append(len(rows))
        yield x[rows]

    kept = ClassHead.fit(counted, labels)
    assert asked == [20]
    monkeypatch.setattr("ssm_hpn.closed_form.gram.KEPT_BYTES", 4 * 20 * 5000)
    again = ClassHead.fit(counted, labels)
    assert asked == [20, 20, 20]
    np.testing.assert_array_equal(again.scores([x]), kept.scores([x]))


# ---- few series, and constants


def test_two_series_and_a_class_of_one_series_are_fitted():
    x = np.array([[0.0, 1.0], [4.0, 1.0]], np.float32)
    head = ClassHead.fit(of(x), [0, 1])
    np.testing.assert_array_equal(head.classes(head.scores([x])), [0, 1])
    assert np.isfinite(head.probabilities(head.scores([x]))).all()
    x, labels = data(21, 200)
    x, labels = np.vstack([x, 100 + 0 * x[:1]]), np.append(labels, 3)
    head = ClassHead.fit(of(x), labels)
    np.testing.assert_array_equal(head.classes(head.scores([x])), labels)


def test_constant_features_alone_give_the_shares_of_the_classes():
    x = np.full((10, 5), 0.1, np.float32)
    head = ClassHead.fit(of(x), [0] * 7 + [1] * 3)
    assert head.ridge.linear.standardisation.constant.all()
    np.testing.assert_allclose(head.scores([x])[:, 0], 0.4)
    np.testing.assert_array_equal(head.classes(head.scores([x])), 0)
    np.testing.assert_allclose(head.probabilities(head.scores([x])).sum(axis=1), 1)
    even = ClassHead.fit(of(x), [0, 1] * 5)
    np.testing.assert_array_equal(even.cosines(even.scores([x])), 0)
    np.testing.assert_allclose(even.probabilities(even.scores([x])), 0.5)


def test_a_feature_that_differs_by_rounding_is_constant():
    rng = np.random.default_rng(0)
    x = np.stack(
        [1e4 * (1 + 1e-7 * rng.normal(size=50)), 1e-30 * rng.normal(size=50), 1 + 1e-4 * rng.random(50)], axis=1
    )
    found = Standardisation.of(x.astype(np.float32), np.ones(50), clip=3.0)
    assert found.constant.tolist() == [True, False, False]
    assert found.apply(x.astype(np.float32)).std(axis=0)[1:] == pytest.approx(1.0, abs=0.05)


def test_large_and_far_features_are_standardised_and_clipped():
    x = np.array([[1e30, 1e7], [3e30, 1e7 + 64], [2e30, 1e7 + 32], [2e30, 1e7 + 32]], np.float32)
    found = Standardisation.of(x, np.ones(4), clip=1.2)
    np.testing.assert_allclose(found.apply(x.copy()), [[-1.2, -1.2], [1.2, 1.2], [0, 0], [0, 0]], atol=1e-6)


# ---- input that cannot be used


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf])
def test_a_number_that_is_not_finite_is_named_with_its_place(wrong):
    x, labels = data(20, 30)
    head = ClassHead.fit(of(x), labels)
    x[12, 23] = wrong
    weights = np.ones(20)
    weights[3] = 0  # rows of the matrix are no longer numbers of series
    with pytest.raises(DataError, match=rf"expected finite numbers, found {wrong} in series 12, feature 23;"):
        ClassHead.fit(of(x), labels, sample_weight=weights)
    with pytest.raises(DataError, match=rf"found {wrong} in series 12, feature 23;"):
        head.scores([x])


@pytest.mark.parametrize("column", [0, 4095, 4096, 8999])
def test_the_place_is_right_in_every_strip(column):
    x = np.ones((3, 9000), np.float32)
    x[2, column] = np.nan
    with pytest.raises(DataError, match=rf"found nan in series 2, feature {column};"):
        ClassHead.fit(of(x, 1000), [0, 1, 1])


def test_numbers_beyond_single_precision_are_refused():
    x, labels = data(20, 3)
    wide = x.astype(float)
    wide[4, 1] = 1e39
    with pytest.raises(DataError, match=r"found inf in series 4, feature 1;"):
        ClassHead.fit(of(wide), labels)


def test_numbers_near_the_end_of_single_precision_are_finite():
    x, labels = data(20, 3)
    x *= np.float32(1e36)
    assert np.isfinite(ClassHead.fit(of(x), labels).scores([x])).all()


@pytest.mark.parametrize(
    ("labels", "options", "error", "said"),
    [
        ([1, 1, 1, 1], {}, DataError, "at least 2 classes, found class 1 alone"),
        ([0, 0, 1, 1], {"sample_weight": [1, 1, 0, 0]}, DataError, "at least 2 classes, found class 0 alone"),
        ([0, 0, 1, 1], {"sample_weight": [0, 0, 0, 1]}, DataError, "at least 2 series with a weight above 0, found 1"),
        ([0, 0, 1, 1], {"sample_weight": [1, -1, 1, 1]}, DataError, "none below 0, found -1.0 for series 1"),
        ([0, 0, 1, 1], {"sample_weight": [1, 1]}, ShapeError, r"sample_weight: expected 4 numbers, found shape \(2,\)"),
        ([0, 0, 1, 1], {"class_weight": [1]}, ShapeError, "class_weight: expected 2 numbers"),
        ([0, 0, 1, 1], {"class_weight": "even"}, ConfigError, "class_weight: expected 'balanced'"),
        ([0, 0, 1, -1], {}, DataError, "found -1 for series 3"),
        ([0, 0, 1, 2], {"n_classes": 2}, DataError, "expected classes 0 to 1, found 2 for series 3"),
        ([0.5, 0, 1, 1], {}, ShapeError, "whole numbers"),
    ],
)
def test_labels_and_weights_that_cannot_be_used_are_refused(labels, options, error, said):
    x, _ = data(4, 6)
    with pytest.raises(error, match=said) as caught:
        ClassHead.fit(of(x), labels, **options)
    assert "\n" not in str(caught.value)


def test_features_of_another_shape_are_refused():
    x, labels = data(20, 30)
    head = ClassHead.fit(of(x), labels)
    for wrong, said in [(x[:, :29], "found 29"), (np.hstack([x, x]), "found more than 30"), (x[:, :0], "found 0")]:
        with pytest.raises(ShapeError, match=f"expected 30 columns, {said}"):
            head.scores([wrong])
    with pytest.raises(ShapeError, match=r"features, block 1: expected an array of 20 rows, found shape \(3, 30\)"):
        head.scores([x[:, :0], x[:3]])
    with pytest.raises(ShapeError, match="at least one column, found none"):
        ClassHead.fit(lambda _: [], labels)
    with pytest.raises(DataError, match="found nan in series 4, number 1"):
        NumberHead.fit(of(x), np.where(np.arange(40).reshape(20, 2) == 9, np.nan, 1.0))


@pytest.mark.parametrize("wrong", [{"clip": 0}, {"strength": -1.0}, {"strength": np.inf}, {"landmarks": 1}])
def test_settings_out_of_range_are_refused(wrong):
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        RidgeSettings(**wrong)


def test_a_class_without_series_is_never_answered():
    x, labels = data(30, 40)
    head = ClassHead.fit(of(x), labels, n_classes=5)
    scores = head.scores([x])
    assert set(head.classes(scores)) == {0, 1, 2}
    assert head.probabilities(scores).shape == (30, 5)


# ---- parts


def test_the_simplex_is_that_of_the_core():
    for n in (2, 3, 10, 100):
        gram = simplex(n) @ simplex(n).T
        np.testing.assert_allclose(gram, np.where(np.eye(n) == 1, 1, -1 / (n - 1)), atol=1e-14)
    with pytest.raises(ConfigError, match="n_classes: expected at least 2, found 1"):
        simplex(1)


def test_the_prototypes_of_a_trainer_are_the_same():
    from ssm_hpn import Trainer
    from support import settings

    head = {"kind": "prototype", "n_classes": 5, "prototypes": "simplex", "dim": 4}
    model = {"input": {"kind": "features", "n_features": 2}, "target": {"kind": "sequence_class"}, "head": head}
    found = Trainer(settings(model=model)).parameter("head.prototypes")
    np.testing.assert_array_equal(found.reshape(5, 4), simplex(5).astype(np.float32))


def test_a_score_of_length_zero_has_cosine_zero():
    assert cosines(np.zeros((1, 2)), simplex(3)).tolist() == [[0, 0, 0]]


def test_of_equal_errors_the_strength_nearest_to_one_is_taken():
    # Without coordinates every strength has the same error.
    flat = spectrum(np.zeros((4, 2)), np.array([[0.0], [1.0], [2.0], [4.0]]), np.ones(4))
    assert flat.best_strength(each=False).tolist() == [1.0]


# ---- arrays and JSON


@pytest.mark.parametrize("kind", [ClassHead, NumberHead])
def test_a_head_is_the_same_after_arrays_and_json(kind):
    x, labels = data(20, 30)
    head = kind.fit(of(x), labels if kind is ClassHead else np.stack([labels, labels**2], axis=1))
    arrays, values = head.to_arrays()
    file = io.BytesIO()
    np.savez(file, **arrays)
    file.seek(0)
    again = kind.from_arrays(dict(np.load(file, allow_pickle=False)), json.loads(json.dumps(values)))
    np.testing.assert_array_equal(again.scores([x]), head.scores([x]))
    for name, array in again.to_arrays()[0].items():
        np.testing.assert_array_equal(array, arrays[name])
        assert array.dtype == arrays[name].dtype
    assert again.to_arrays()[1] == values
    if kind is ClassHead:
        np.testing.assert_array_equal(again.probabilities(head.scores([x])), head.probabilities(head.scores([x])))
        assert again.reject_curve().threshold(answered=0.5) == head.reject_curve().threshold(answered=0.5)


def test_arrays_that_are_missing_or_do_not_fit_are_refused():
    x, labels = data(20, 30)
    arrays, values = ClassHead.fit(of(x), labels).to_arrays()
    for name in arrays:
        with pytest.raises(CheckpointError, match=f"expected {name}, found nothing of this name"):
            ClassHead.from_arrays({key: value for key, value in arrays.items() if key != name}, values)
    for name in ("mean", "factor", "intercept", "strength", "left_out", "labels", "sample_weight", "weights"):
        with pytest.raises(CheckpointError, match=r"shape|columns"):
            ClassHead.from_arrays(arrays | {name: arrays[name][:-1]}, values)
    for name in values:
        with pytest.raises(CheckpointError, match="head: expected"):
            ClassHead.from_arrays(arrays, {key: value for key, value in values.items() if key != name})
    with pytest.raises(CheckpointError, match="columns"):
        ClassHead.from_arrays(arrays, values | {"n_classes": 4})
    for number in (2, 2.5, 1e308, float("nan"), 10**12, -1):
        with pytest.raises(CheckpointError, match=r"n_classes: expected a whole number from 3 to \d+, found"):
            ClassHead.from_arrays(arrays, values | {"n_classes": number})
    for number in (0, -1.0, 1e308, float("nan")):
        with pytest.raises(CheckpointError, match="clip: expected a number above 0 in single precision, found"):
            ClassHead.from_arrays(arrays, values | {"clip": number})
    with pytest.raises(CheckpointError, match="found version 1 of classes"):
        NumberHead.from_arrays(arrays, values)
    arrays, values = NumberHead.fit(of(x), labels[:, None]).to_arrays()
    for wrong in ({"targets": arrays["targets"][:-1]}, {"targets": labels}, {"sample_weight": np.ones(3)}):
        with pytest.raises(CheckpointError, match=f"{next(iter(wrong))}: expected shape"):
            NumberHead.from_arrays(arrays | wrong, values)
