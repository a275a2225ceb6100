"""What estimators say of new series without a test set: left-out scores of features, held-out scores of a backbone."""

import numpy as np
import pytest

pytest.importorskip("sklearn")

from sklearn.base import clone

from ssm_hpn.errors import ConfigError, ShapeError
from ssm_hpn.estimators import SSMClassifier, SSMRegressor
from ssm_hpn.estimators.progress import Progress
from test_estimators import waves

FAST = {"effort": "fast", "random_state": 0, "threads": 1}


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


# ---- held-out series of a backbone

SMALL = {"kind": "backbone", "d_model": 8, "n_layers": 1, "d_state": 2, "random_state": 0, "threads": 1}
STOPPING = SMALL | {"early_stopping": True, "validation_fraction": 0.25}


@pytest.fixture(scope="module")
def noise():
    """Series whose labels can only be learned by heart."""
    random = np.random.default_rng(5)
    return random.normal(size=(60, 20, 2)), random.permutation(np.arange(60) % 3)


@pytest.fixture(scope="module")
def stopped(noise):
    return SSMClassifier(**STOPPING, steps=400, n_iter_no_change=3).fit(*noise)


def test_training_ends_where_held_out_series_stay_unknown_and_the_best_parameters_are_kept(noise, stopped):
    x, y = noise
    scores = stopped.validation_scores_
    assert stopped.n_iter_ == 10 * len(scores) < 200
    assert stopped.best_score_ == max(scores) > scores[-1]
    best = 10 * (1 + int(np.argmax(scores)))
    cut = SSMClassifier(**STOPPING, steps=400, n_iter_no_change=best // 10).fit(x, y)  # its best is kept as well
    np.testing.assert_array_equal(cut.class_scores(x), stopped.class_scores(x))
    assert SSMClassifier(**SMALL, steps=2).fit(x, y).best_score_ is None


def test_held_out_series_have_every_class_and_are_not_trained_on(noise, stopped):
    x, y = noise
    train, held = stopped._stopping(60).split(y.astype(np.int32), 60, seed=stopped.trainer_.config.train.seed)
    assert np.bincount(y[held]).tolist() == [5, 5, 5]
    assert sorted([*train, *held]) == list(range(60))
    other = x.copy()
    other[held] += 1  # other numbers in held-out series change their score, and no update
    plain = SSMClassifier(**STOPPING, normalize=False, steps=10)
    found, expected = plain.fit(other, y).class_scores(x), clone(plain).fit(x, y)
    np.testing.assert_array_equal(found, expected.class_scores(x))
    assert plain.best_score_ != expected.best_score_


def test_a_regressor_and_numbers_beside_classes_are_stopped_too(noise):
    x, y = noise
    model = SSMRegressor(**STOPPING, steps=25).fit(x, x[:, :, 0].mean(axis=1))
    assert len(model.validation_scores_) == 3  # after 10, 20 and the last update
    assert SSMClassifier(**STOPPING, steps=10).fit(x, y, values=y * 1.0).n_iter_ == 10


def test_auto_holds_series_out_where_there_are_many():
    x, y = np.random.default_rng(6).normal(size=(1000, 4, 1)), np.arange(1000) % 2
    automatic = SSMClassifier(**SMALL, early_stopping="auto", steps=1)
    assert automatic.fit(x[1:], y[1:]).validation_scores_ is None
    assert len(automatic.fit(x, y).validation_scores_) == 1


@pytest.mark.parametrize(
    ("parameters", "error", "message"),
    [
        ({"early_stopping": "yes"}, ConfigError, "early_stopping: expected True, False or 'auto', found 'yes'"),
        (
            {"validation_fraction": 1.0},
            ConfigError,
            "validation_fraction: expected a number above 0 and below 1",
        ),
        ({"n_iter_no_change": 0}, ConfigError, "n_iter_no_change: expected a whole number from 1"),
        ({"tol": -1}, ConfigError, "tol: expected a number from 0, found -1"),
        ({"verbose": -1}, ConfigError, "verbose: expected a whole number from 0"),
        (
            {"validation_fraction": 0.02},
            ConfigError,
            "a share of 60 series by which one of each of 3 classes is held out, found 0.02; raise it, or pass",
        ),
        (
            {"validation_fraction": 0.98},
            ConfigError,
            "is trained on, found 0.98; lower it, or pass early_",
        ),
    ],
)
def test_wrong_settings_of_early_stopping_are_refused(noise, parameters, error, message):
    with pytest.raises(error, match=message):
        SSMClassifier(**STOPPING | parameters, steps=1).fit(*noise)


def test_a_class_of_one_series_cannot_be_held_out(noise):
    x, y = noise
    y = np.where(np.arange(60) == 7, 9, y)
    with pytest.raises(ShapeError, match=r"early_stopping: expected two series or more of each class, .*, found one"):
        SSMClassifier(**STOPPING, steps=1).fit(x, y)


def test_features_have_no_early_stopping(noise):
    with pytest.raises(ConfigError, match="early_stopping: expected False, as kind='features' has no such parameter"):
        SSMClassifier(kind="features", early_stopping=True).fit(*noise)


# ---- what a fit tells


def test_nothing_is_told_unless_it_is_asked_for(noise, capfd):
    SSMClassifier(**STOPPING, steps=10).fit(*noise)
    assert capfd.readouterr() == ("", "")
    SSMClassifier(**STOPPING, steps=20, verbose=1).fit(*noise)
    out, err = capfd.readouterr()
    assert out == ""
    lines = err.splitlines()
    assert len(lines) == 10
    assert all(line.startswith("SSMClassifier: update ") for line in lines)
    assert "update 20 of 20, loss " in lines[-1]
    assert "held-out loss " in lines[-1]
    SSMClassifier(**FAST, verbose=1).fit(*noise)
    lines = capfd.readouterr().err.splitlines()
    words = [line.removeprefix("SSMClassifier: ").rpartition(" (")[0] for line in lines]
    assert words[:3] == ["effort fast, 60 series", "fitting filters", "fitting classes"]
    assert words[3].startswith("fitted, left-out score 0.")
    assert len(words) == 4


def test_long_stages_tell_how_far_they_are(monkeypatch, capfd):
    seconds = 0.0
    monkeypatch.setattr("ssm_hpn.estimators.progress.time.perf_counter", lambda: seconds)
    progress = Progress(1, "SSMRegressor")
    for stage in ["filters"] + ["numbers"] * 6:
        progress.watch(stage)
        seconds += 3
    lines = [line.rpartition(" (")[0] for line in capfd.readouterr().err.splitlines()]
    begun = ["SSMRegressor: fitting filters", "SSMRegressor: fitting numbers"]
    assert lines[:2] == begun
    assert lines[2:] == [f"{begun[1]}, {n} blocks of features read" for n in (2, 4)]


def test_a_terminal_has_a_bar(monkeypatch, capfd):
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    with Progress(1, "SSMClassifier").bar("update", 40) as advance:
        advance(40, "loss 0.25")
    err = capfd.readouterr().err
    assert "SSMClassifier: update" in err
    assert "40/40" in err
    assert "loss 0.25" in err
