"""What estimators say of new series without a test set: leave-one-out scores of features, held-out scores of a backbone."""

import numpy as np
import pytest

pytest.importorskip("sklearn")

from ssm_hpn.estimators import SSMClassifier, SSMRegressor
from test_estimators import waves

FAST = {"effort": "fast", "random_state": 0}


# ---- leave-one-out scores of features


def test_the_left_out_score_of_labels_by_chance_is_no_better_than_chance():
    random = np.random.default_rng(0)
    x, labels = random.normal(size=(120, 40)), random.permutation(np.arange(120) % 2)
    model = SSMClassifier(**FAST).fit(x, labels)
    assert model.score(x, labels) > 0.75
    assert model.loo_score_ < 0.6  # below chance for classes of one size, as a left-out series leaves its own smaller
    assert SSMClassifier(**FAST).fit(*waves(60, seed=1)).loo_score_ > 0.9


def test_the_left_out_score_is_near_that_of_new_series():
    random = np.random.default_rng(2)
    x = random.normal(size=(400, 30, 1))
    y = 100 + 20 * x[:, :, 0].mean(axis=1)
    model = SSMRegressor(**FAST).fit(x[:100], y[:100])
    assert model.loo_score_ == pytest.approx(model.score(x[100:], y[100:]), abs=0.1)
    assert model.score(x[:100], y[:100]) > model.loo_score_ + 0.02


def test_strengths_are_one_for_classes_and_one_for_each_number():
    series, labels = waves(60, seed=3)
    numbers = np.stack([[len(one), one[:, 0].mean(), 3.0] for one in series])
    numbers[:4, 0] = np.nan  # a head of its own for the first number
    assert isinstance(SSMClassifier(**FAST).fit(series, labels, values=numbers[:, 1]).alpha_, float)
    with pytest.warns(UserWarning, match="every number is 3"):
        model = SSMRegressor(**FAST).fit(series, numbers)
    assert model.alpha_.shape == (3,)
    assert np.isfinite(model.loo_score_)
    for columns, head in model.model_.numbers:
        np.testing.assert_array_equal(model.alpha_[columns], head.ridge.strength)


@pytest.mark.parametrize("name", ["loo_score_", "alpha_"])
def test_a_backbone_has_no_left_out_score(name):
    series, labels = waves(9, seed=4)
    model = SSMClassifier(kind="backbone", d_model=8, n_layers=1, steps=1).fit(series, labels)
    for one in (model, SSMClassifier()):
        with pytest.raises(AttributeError, match=f"{name}: only a fitted estimator with kind='features' has it"):
            getattr(one, name)
