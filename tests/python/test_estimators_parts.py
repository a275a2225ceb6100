"""Estimators that learn from series in parts: partial_fit."""

import copy
import pickle

import numpy as np
import pandas as pd
import pytest

pytest.importorskip("sklearn")

from sklearn.base import clone

from ssm_hpn.closed_form import RidgeSettings
from ssm_hpn.contract import Contract
from ssm_hpn.errors import CheckpointError, ConfigError, ShapeError
from ssm_hpn.estimators import SSMClassifier, SSMRegressor
from ssm_hpn.estimators.backbone import Backbone
from ssm_hpn.filter_model import FilterModel, FilterSettings, Targets
from ssm_hpn.growing_filters import GrowingFilters
from test_estimators import waves

FAST = {"effort": "fast", "random_state": 0, "threads": 1}
SMALL = {"kind": "backbone", "d_model": 16, "n_layers": 1, "d_state": 4, "random_state": 0, "threads": 1}
KINDS = {"features": FAST, "backbone": SMALL}
LABELS = ["fast", "middle", "slow"]


@pytest.fixture(scope="module")
def data():
    return waves(60, seed=0)


def in_parts(model, series, y, *cuts, **given):
    """The model after partial_fit of the parts between these cuts; `given` is for the first one."""
    for first, last in zip((0, *cuts), (*cuts, len(series)), strict=True):
        model.partial_fit(series[first:last], y[first:last], **given)
        given = {}
    return model


# ---- features


def test_one_part_is_a_fit(data):
    series, labels = data
    part = in_parts(SSMClassifier(**FAST), series, labels)
    np.testing.assert_array_equal(
        part.class_scores(series), SSMClassifier(**FAST).fit(series, labels).class_scores(series)
    )
    assert part.loo_score_ > 0.9


def test_parts_are_fitted_as_all_of_them_with_the_filters_of_the_first(data):
    series, labels = data
    numbers = np.array([float(len(one)) for one in series])
    model = SSMClassifier(**FAST)
    for rows in (slice(0, 20), slice(20, 21), slice(21, 60)):
        model.partial_fit(series[rows], labels[rows], LABELS if rows.start == 0 else None, values=numbers[rows])
    bank, codes = model.model_.bank, np.searchsorted(model.classes_, labels)
    growing = GrowingFilters.begin(
        model.contract_,
        series[:20],
        Targets(codes[:20], 3),
        settings=model._filter_settings(),
    )
    np.testing.assert_array_equal(bank.transform(series), growing.bank.transform(series))
    ridge = RidgeSettings(views=bank.views)
    head = type(model.model_.classes).fit(lambda rows: bank.blocks([series[i] for i in rows]), codes, settings=ridge)
    np.testing.assert_allclose(model.model_.classes.ridge.linear.weights, head.ridge.linear.weights, atol=1e-7)
    np.testing.assert_allclose(model.predict_proba(series), head.probabilities(model._points(series)), atol=1e-5)
    assert model.contract_.classes.counts == (20, 20, 20)
    assert np.abs(model.predict_values(series) - numbers).mean() < 5
    assert model.score(*waves(30, seed=1)) > 0.9


def test_weights_count_in_each_part(data):
    series, labels = data
    weights = np.linspace(0, 2, 60)
    model = SSMClassifier(**FAST, class_weight={"slow": 3.0})
    for rows in (slice(0, 30), slice(30, 60)):
        model.partial_fit(series[rows], labels[rows], sample_weight=weights[rows])
    codes = np.searchsorted(model.classes_, labels)
    head = type(model.model_.classes).fit(
        lambda rows: model.model_.bank.blocks([series[i] for i in rows]),
        codes,
        sample_weight=weights,
        class_weight=[1, 1, 3],
        settings=RidgeSettings(views=model.model_.bank.views),
    )
    np.testing.assert_allclose(model.model_.classes.ridge.left_out, head.ridge.left_out, atol=1e-5)


def test_numbers_that_are_missing_in_other_parts(data):
    series, _ = data
    y = np.stack([[len(one), one[:, 0].mean()] for one in series])
    y[25:30, 1] = np.nan
    model = in_parts(SSMRegressor(**FAST), series, y, 20, 40)
    contract = model.contract_
    growing = GrowingFilters.begin(contract, series[:20], Targets(numbers=y[:20]), settings=model._filter_settings())
    growing.add(series, Targets(numbers=y))  # all of them at once
    np.testing.assert_allclose(model.predict(series), growing.model(contract).predicted(series), rtol=1e-6)
    assert {int(columns[0]): len(head.targets) for columns, head in model.model_.numbers} == {0: 60, 1: 55}
    assert in_parts(SSMRegressor(**FAST), series, y[:, 0], 30).predict(series).shape == (60,)


def test_many_series_are_fitted_in_bounded_memory():
    series, labels = waves(150, seed=2, lengths=(20, 21))
    codes = np.searchsorted(LABELS, labels)
    ridge, few = RidgeSettings(largest_exact=60, landmarks=40, left_out=30), FilterSettings(effort="fast")
    contract = Contract("features")
    growing = GrowingFilters.begin(contract, series[:70], Targets(codes[:70], 3), settings=few, ridge=ridge)
    growing.add(series[:70], Targets(codes[:70], 3))
    size = len(pickle.dumps(growing))
    growing = pickle.loads(pickle.dumps(growing))
    growing.add(series[70:], Targets(codes[70:], 3))
    assert len(pickle.dumps(growing)) < size + 2000
    model = growing.model(contract)
    assert model.classes.ridge.landmarks == 40
    exact = FilterModel.fit(contract, series, Targets(codes, 3), settings=few)
    agree = model.classes.classes(model.class_scores(series)) == exact.classes.classes(exact.class_scores(series))
    assert agree.mean() > 0.95


def test_a_fit_goes_on_with_its_filters_where_its_series_are_there(data, monkeypatch, tmp_path):
    series, labels = data
    parts = in_parts(SSMClassifier(**FAST), series, labels, 40)
    model = SSMClassifier(**FAST).fit(series[:40], labels[:40])
    saved = SSMClassifier.load(model.save(tmp_path / "saved"))
    pickled, copied = pickle.loads(pickle.dumps(model)), copy.deepcopy(model)
    begun = pickle.loads(pickle.dumps(SSMClassifier(**FAST).partial_fit(series[:40], labels[:40])))
    for one in (model, copied, pickled, begun):
        again = pickle.loads(pickle.dumps(one.partial_fit(series[40:], labels[40:])))
        np.testing.assert_array_equal(again.class_scores(series), parts.class_scores(series))
    monkeypatch.setattr("ssm_hpn.estimators.model.KEPT_BYTES", 1000)
    many = SSMClassifier(**FAST).fit(series, labels)
    assert len(pickle.dumps(many)) < len(pickle.dumps(parts))
    for one in (saved, many, pickle.loads(pickle.dumps(many))):
        with pytest.raises(
            ConfigError, match="partial_fit: expected a model whose series are kept, found one of a checkpoint, or of"
        ):
            one.partial_fit(series, labels)
        advised = clone(one).partial_fit(series[:40], labels[:40]).partial_fit(series[40:], labels[40:])
        np.testing.assert_array_equal(advised.class_scores(series), parts.class_scores(series))


# ---- a backbone


def test_a_backbone_makes_one_pass_over_each_part_and_learns(data):
    series, labels = data
    model = SSMClassifier(**SMALL, batch_size=8, lr=6e-3)
    for n in range(30):
        rows = slice(20 * (n % 3), 20 * (n % 3) + 20)
        model.partial_fit(series[rows], labels[rows], LABELS)
        assert model.n_iter_ == 3 * (n + 1)
    assert model.score(*waves(30, seed=3)) > 0.85
    schedule = model.trainer_.config.optim.schedule
    assert schedule.kind == "constant"


def test_a_fitted_backbone_goes_on(data):
    series, labels = data
    model = SSMClassifier(**SMALL, steps=10).fit(series, labels)
    before = model.class_scores(series)
    model.partial_fit(series[:16], labels[:16])
    assert model.n_iter_ == model.trainer_.session.step == 11
    assert 0 < np.abs(model.class_scores(series) - before).max() < 0.1


def test_each_series_of_a_part_is_trained_on_once(data, monkeypatch):
    series, labels = data
    model = SSMClassifier(**SMALL, batch_size=8).partial_fit(series[:20], labels[:20])
    seen = []
    step = model.trainer_.step
    monkeypatch.setattr(model.trainer_, "step", lambda batch: (seen.append(batch["sequence_class"]), step(batch))[1])
    model.partial_fit(series[20:41], labels[20:41])
    assert [len(codes) for codes in seen] == [8, 8, 5]
    expected = np.searchsorted(model.classes_, labels[20:41])
    assert sorted(np.concatenate(seen)) == sorted(expected)
    assert np.concatenate(seen).tolist() != expected.tolist()


# ---- both


@pytest.mark.parametrize("kind", KINDS)
def test_classes_that_are_named_may_come_later(data, kind):
    series, labels = data
    order = np.argsort(labels != "fast", kind="stable")  # the class fast alone at first
    series, labels = [series[i] for i in order], labels[order]
    model = SSMClassifier(**KINDS[kind])
    with pytest.warns(UserWarning, match="y: all series so far are of one class, 'fast', which is answered for every"):
        model.partial_fit(series[:20], labels[:20], classes=LABELS)
    assert model.predict_proba(series).shape == (60, 3)
    if kind == "features":
        assert set(model.predict(series)) == {"fast"}
        model.partial_fit(series[20:], labels[20:], classes=LABELS)
        assert model.score(series, labels) > 0.9


@pytest.mark.parametrize("kind", KINDS)
def test_new_classes_are_learned_where_they_are_asked_for(data, kind):
    series, labels = data
    some = labels != "middle"
    model = SSMClassifier(**KINDS[kind], **({"batch_size": 8, "lr": 6e-3} if kind == "backbone" else {}))
    for _ in range(8 if kind == "backbone" else 1):
        model.partial_fit([one for one, there in zip(series, some, strict=True) if there], labels[some])
    before = model.class_scores(series)
    prototypes = model.trainer_.parameter("head.prototypes") if kind == "backbone" else None
    with pytest.raises(
        ShapeError,
        match=r"y: expected a class \('fast', 'slow'\), found 'middle'; call add_classes\(\['middle'\]\)",
    ):
        model.partial_fit(series, labels)
    np.testing.assert_array_equal(model.class_scores(series), before)
    assert model.classes_.tolist() == ["fast", "slow"]
    model.partial_fit(series, labels, add_classes=True)
    assert model.classes_.tolist() == LABELS
    assert model.predict_proba(series).shape == (60, 3)
    if kind == "backbone":
        np.testing.assert_array_equal(model.trainer_.parameter("head.prototypes")[:2], prototypes)
        assert model.n_iter_ == 8 * 5 + 8
        for _ in range(30):
            model.partial_fit(series, labels)
    assert model.score(series, labels) > 0.9


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("estimator", [SSMClassifier, SSMRegressor])
def test_it_goes_on_after_pickling(data, kind, estimator):
    series, labels = data
    y = labels if estimator is SSMClassifier else np.array([float(len(one)) for one in series])
    model = in_parts(estimator(**KINDS[kind]), series[:40], y[:40], 20)
    again = pickle.loads(pickle.dumps(model))
    found, expected = (
        (one.class_scores if estimator is SSMClassifier else one.predict)(series)
        for one in (again.partial_fit(series[40:], y[40:]), model.partial_fit(series[40:], y[40:]))
    )
    np.testing.assert_array_equal(found, expected)


def test_a_pickle_of_an_older_release_is_refused_in_one_line():
    with pytest.raises(CheckpointError, match="pickle: expected the files of a checkpoint, found a backbone of an"):
        Backbone.__new__(Backbone).__setstate__({"settings": {}, "parameters": {}, "contract": None})
    with pytest.raises(CheckpointError, match="pickle: expected the arrays of a checkpoint, found a model of"):
        FilterModel.__new__(FilterModel).__setstate__({"bank": None, "contract": None, "classes": None, "numbers": []})


def test_labels_are_found_again_in_every_form():
    x = np.random.default_rng(5).normal(size=(12, 20))
    whole = SSMClassifier(**FAST).partial_fit(x, np.arange(12) % 3)
    assert whole.partial_fit(x, (np.arange(12) % 2).astype(float)).contract_.classes.counts == (10, 10, 4)
    assert whole.classes_.dtype.kind == "i"
    texts = SSMClassifier(**FAST).partial_fit(x, np.array(["a", "b"] * 6))
    assert texts.partial_fit(x, np.array([b"a", b"b"] * 6)).classes_.tolist() == ["a", "b"]
    longer = texts.partial_fit(x + 9, pd.Series(["a", "longer"] * 6), add_classes=True)
    assert "longer" in longer.predict(x + 9)
    some = np.array(["a", None] * 6, object)
    with pytest.warns(UserWarning, match="y: 6 of 12 series have no target"):
        assert texts.partial_fit(x, some).contract_.classes.counts[0] == 6 + 6 + 6 + 6


def test_a_long_table_in_parts(data):
    series, labels = data
    rows = pd.concat(
        pd.DataFrame({"id": n, "x": one[:, 0], "label": label})
        for n, (one, label) in enumerate(zip(series, labels, strict=True))
    )
    model = SSMClassifier(**FAST, id="id")
    for part in (rows[rows.id < 30], rows[rows.id >= 30]):
        model.partial_fit(part, "label")
    plain = in_parts(SSMClassifier(**FAST), [one[:, :1] for one in series], labels, 30)
    np.testing.assert_array_equal(model.class_scores(rows), plain.class_scores([one[:, :1] for one in series]))
    with pytest.warns(UserWarning, match="ids that were trained on, with other rows"):
        model.predict(rows[rows.id == 40].iloc[:-5])


CLASSES = r"\('fast', 'middle', 'slow'\)"


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ({"y": ["odd"] * 6}, ShapeError, rf"y: expected a class {CLASSES}, found 'odd'; call add_classes\(\['odd'\]\)"),
        (
            {"y": ["odd", "even"] * 3},
            ShapeError,
            r"call add_classes\(\['even', 'odd'\]\) before, or pass add_classes=True, if they are new ones",
        ),
        ({"classes": ["a", "b"]}, ShapeError, rf"y: expected a class {CLASSES}, found 'a', 'b'; call add_classes"),
        ({"y": [1, 2] * 3}, ShapeError, "y: expected labels of the type text, as in fit, found integer"),
        ({"y": [None] * 6}, ShapeError, "y: expected a label for some of the series, found NaN or None for each"),
        ({"y": None}, ValueError, "SSMClassifier requires y to be passed, but the target y is None"),
        ({"y": ["fast"] * 5}, ShapeError, "y: expected 6 targets, one per series, found 5"),
        ({"values": np.ones(6)}, ShapeError, "values: expected no numbers, as in the call before, found some"),
        ({"X": [np.zeros((9, 3))] * 6}, ShapeError, "X: expected 2 channels, as in fit, found 3"),
        ({"sample_weight": -np.ones(6)}, ShapeError, "expected finite numbers, none below 0"),
    ],
)
def test_wrong_parts_are_refused_and_change_nothing(data, given, error, message):
    series, labels = data
    model = in_parts(SSMClassifier(**FAST), series[:20], labels[:20])
    before = model.class_scores(series)
    with pytest.raises(error, match=message):
        model.partial_fit(**{"X": series[:6], "y": labels[:6]} | given)
    np.testing.assert_array_equal(model.class_scores(series), before)
    again = in_parts(SSMClassifier(**FAST), series[:40], labels[:40], 20)
    np.testing.assert_array_equal(
        model.partial_fit(series[20:40], labels[20:40]).class_scores(series), again.class_scores(series)
    )


@pytest.mark.parametrize("kind", KINDS)
def test_settings_that_partial_fit_does_not_take(data, kind):
    series, labels = data
    if kind == "backbone":
        with pytest.raises(ConfigError, match="early_stopping: expected False in partial_fit, found True; hold"):
            SSMClassifier(**SMALL, early_stopping=True).partial_fit(series, labels)
    else:
        with pytest.raises(ConfigError, match="class_weight: expected None or a dictionary in partial_fit, found"):
            SSMClassifier(**FAST, class_weight="balanced").partial_fit(series, labels)
    with pytest.raises(ValueError, match="y: expected at least two classes, found one class; name all of them"):
        SSMClassifier(**KINDS[kind]).partial_fit(series[:4], ["slow"] * 4)
    model = SSMClassifier(**KINDS[kind], reject_below=0.5).partial_fit(series, labels)
    model.set_params(verbose=0, threads=2, reject_below=None).partial_fit(series, labels)
    name, value = ("effort", "default") if kind == "features" else ("lr", 0.1)
    with pytest.raises(ConfigError, match=rf"{name}: expected .*, as in the call before, found .*sklearn.base.clone"):
        model.set_params(**{name: value}).partial_fit(series, labels)
    clone(model).set_params(**{name: value}).partial_fit(series[:6], labels[:6])


def test_numbers_of_a_regressor_stay_as_many(data):
    series, _ = data
    y = np.stack([[len(one), one[:, 0].mean()] for one in series])
    model = in_parts(SSMRegressor(**FAST), series, y)
    with pytest.raises(ShapeError, match=r"y: expected \[60, 2\], as in the call before, found \[60, 1\]"):
        model.partial_fit(series, y[:, 0])
    y[1:, 0] = np.nan
    with (
        pytest.warns(UserWarning, match="every number is"),
        pytest.raises(ShapeError, match=r"y\[:, 0\]: expected numbers of at least 2 series, found 1"),
    ):
        SSMRegressor(**FAST).partial_fit(series, y)
