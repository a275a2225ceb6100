"""Long tables in cross-validation: series that a split cuts in two are told, whole ones are not."""

import pickle
import warnings

import numpy as np
import pandas as pd
import polars as pl
import pytest

pytest.importorskip("sklearn")

from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, GroupKFold, KFold, cross_val_score

from ssm_hpn.estimators import SSMClassifier, SSMRegressor

COUNT, STEPS = 12, 10
TOLD = "series have ids that were trained on, with other rows"


@pytest.fixture(scope="module")
def table():
    rng = np.random.default_rng(0)
    rows = [(f"m{n}", t, rng.normal(n % 2, 1)) for n in range(COUNT) for t in range(STEPS)]
    return pd.DataFrame(rows, columns=["machine", "time", "x"])


def labels(table):
    return table["machine"].str[1:].astype(int) % 2


def model(kind=SSMClassifier):
    return kind(id="machine", order="time", kind="backbone", d_model=4, n_layers=1, steps=1, random_state=0)


def told(function, *arguments, **options):
    """The warnings about cut series in a call."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        function(*arguments, **options)
    return [str(one.message) for one in caught if TOLD in str(one.message)]


@pytest.mark.parametrize("kind", [SSMClassifier, SSMRegressor])
def test_a_fold_through_series_is_told_and_one_between_them_is_not(table, kind):
    y = labels(table)
    search = GridSearchCV(model(kind), {"lr": [0.01]}, cv=KFold(3, shuffle=True, random_state=0))
    found = told(search.fit, table, y)
    assert len(found) == 3
    assert found[0].startswith(f"X: 12 of 12 {TOLD} ('m0', 'm1', 'm2', …): where a split cut them in two, scores are")
    assert "GroupKFold, with X['machine'] as the groups" in found[0]
    groups = GridSearchCV(model(kind), {"lr": [0.01]}, cv=GroupKFold(3))
    assert told(groups.fit, table, y, groups=table["machine"]) == []
    assert told(cross_val_score, model(kind), table, y, cv=KFold(3)) == []  # its folds end between series here
    assert len(told(cross_val_score, model(kind), table, y, cv=KFold(8))) == 8


def test_training_scores_of_whole_series_are_not_told(table):
    search = GridSearchCV(model(), {"lr": [0.01]}, cv=GroupKFold(3), return_train_score=True)
    assert told(search.fit, table, labels(table), groups=table["machine"]) == []


def test_some_of_the_series_are_counted_in_any_method_and_frame(table):
    fitted = model().fit(table[table["time"] < 7], labels(table[table["time"] < 7]))
    mixed = pd.concat([table[(table["machine"] == "m3") & (table["time"] >= 7)], table.assign(machine="new")[:10]])
    for method in (fitted.predict, fitted.predict_proba, fitted.class_scores, fitted.confidence):
        (note,) = told(method, mixed)
        assert note.startswith(f"X: 1 of 2 {TOLD} ('m3'): ")
    (note,) = told(fitted.predict, pl.from_pandas(mixed.reset_index(drop=True)))
    assert "('m3')" in note
    copied = pickle.loads(pickle.dumps(fitted))
    assert len(told(copied.predict, mixed)) == 1
    same = table[table["time"] < 7].sample(frac=1, random_state=0)  # the rows of fit in another order
    assert told(fitted.predict, same) == []


def test_a_new_fit_forgets_the_series_of_the_last_one(table):
    first, second = table[table["time"] < 5], table[table["time"] >= 5].assign(machine=lambda x: "n" + x["machine"])
    fitted = model().fit(first, labels(first)).fit(second, second["machine"].str[2:].astype(int) % 2)
    assert told(fitted.predict, first) == []
    assert told(clone(fitted).fit, first, labels(first)) == []
