"""The estimators in aeon; run by `make test-aeon`, which installs it."""

import numpy as np
import pytest

pytest.importorskip("aeon", reason="aeon is not installed; make test-aeon installs it and runs these tests")

from aeon.testing.estimator_checking import parametrize_with_checks
from aeon.utils.conversion import convert_collection

from ssm_hpn.estimators import SSMClassifier, SSMRegressor, StateSpaceFeatures
from ssm_hpn.estimators.aeon import AeonClassifier, AeonFeatures, AeonRegressor

pytestmark = pytest.mark.filterwarnings("default")  # those of aeon's own checks

RANDOM = np.random.default_rng(0)
X = RANDOM.normal(size=(24, 3, 20))
Y = np.arange(24) % 2
X[Y == 1] += np.sin(np.arange(20))


@parametrize_with_checks([AeonClassifier, AeonRegressor, AeonFeatures], use_first_parameter_set=True)
def test_aeons_own_checks(check):
    check()


@pytest.mark.parametrize("x", [X, [one[:, : 15 + k % 5] for k, one in enumerate(X)]], ids=["array", "list"])
def test_the_answers_are_those_of_the_estimators(x):
    options = {"effort": "fast", "random_state": 0}
    inner = options | {"threads": 1, "layout": "channels_first"}
    model, expected = AeonClassifier(**options).fit(x, Y), SSMClassifier(**inner).fit(x, Y)
    np.testing.assert_array_equal(model.predict_proba(x), expected.predict_proba(x))
    np.testing.assert_array_equal(model.predict(x), expected.predict(x))
    numbers = RANDOM.normal(size=24)
    np.testing.assert_array_equal(
        AeonRegressor(**options).fit(x, numbers).predict(x), SSMRegressor(**inner).fit(x, numbers).predict(x)
    )
    np.testing.assert_array_equal(
        AeonFeatures(**options).fit_transform(x), StateSpaceFeatures(**inner).fit_transform(x)
    )


@pytest.mark.filterwarnings("ignore:X. its index is read")
@pytest.mark.parametrize("form", ["numpy3D", "np-list", "df-list", "pd-multiindex"])
def test_every_form_of_aeon_is_read_by_the_estimators_themselves(form):
    options = {"effort": "fast", "random_state": 0, "threads": 1, "layout": "channels_first"}
    x = convert_collection(X, form)
    found, expected = SSMClassifier(**options).fit(x, Y), SSMClassifier(**options).fit(X, Y)
    np.testing.assert_array_equal(found.class_scores(x), expected.class_scores(X))
