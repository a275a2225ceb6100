"""The estimators in sktime; run by `make test-aeon`, which installs it."""

import numpy as np
import pandas as pd
import pytest

pytest.importorskip("sktime", reason="sktime is not installed; make test-aeon installs it and runs these tests")

from sktime.datatypes import convert_to
from sktime.utils.estimator_checks import parametrize_with_checks

from ssm_hpn.estimators import SSMClassifier, SSMRegressor
from ssm_hpn.estimators.sktime import SktimeClassifier, SktimeRegressor

pytestmark = pytest.mark.filterwarnings("default")  # those of sktime's own checks

RANDOM = np.random.default_rng(0)
X = RANDOM.normal(size=(24, 3, 20))
Y = np.arange(24) % 2
X[Y == 1] += np.sin(np.arange(20))


@parametrize_with_checks([SktimeClassifier, SktimeRegressor])
def test_sktimes_own_checks(obj, test_name):
    from sktime.utils.estimator_checks import check_estimator

    check_estimator(obj, raise_exceptions=True, tests_to_run=test_name, verbose=False)


def test_the_answers_are_those_of_the_estimators():
    options = {"effort": "fast", "random_state": 0}
    inner = options | {"threads": 1, "layout": "channels_first"}
    model, expected = SktimeClassifier(**options).fit(X, Y), SSMClassifier(**inner).fit(X, Y)
    np.testing.assert_array_equal(model.predict_proba(X), expected.predict_proba(X))
    np.testing.assert_array_equal(model.predict(X), expected.predict(X))
    numbers = RANDOM.normal(size=24)
    found, plain = SktimeRegressor(**options).fit(X, numbers), SSMRegressor(**inner).fit(X, numbers)
    np.testing.assert_array_equal(found.predict(X), plain.predict(X))


@pytest.mark.filterwarnings("ignore:X. its index is read")
@pytest.mark.parametrize("form", ["numpy3D", "df-list", "nested_univ", "pd-multiindex"])
def test_every_form_of_sktime_is_read_by_the_estimators_themselves(form):
    options = {"effort": "fast", "random_state": 0, "threads": 1, "layout": "channels_first"}
    x = convert_to(X, form, as_scitype="Panel")
    found, expected = SSMClassifier(**options).fit(x, Y), SSMClassifier(**options).fit(X, Y)
    np.testing.assert_array_equal(found.class_scores(x), expected.class_scores(X))
    adapted = SktimeClassifier(effort="fast", random_state=0).fit(x, Y)
    np.testing.assert_array_equal(adapted.predict_proba(x), expected.predict_proba(X))


def test_frames_of_sktime_with_numbered_columns_have_channels_as_columns():
    frames = [pd.DataFrame(one.T) for one in X]
    expected = SktimeClassifier(effort="fast", random_state=0).fit(X, Y).predict_proba(X)
    adapted = SktimeClassifier(effort="fast", random_state=0).fit(frames, Y)
    np.testing.assert_array_equal(adapted.predict_proba(frames), expected)
