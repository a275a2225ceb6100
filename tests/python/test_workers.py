"""Fits inside of joblib's workers: as many threads as the worker's share, and the results of one process."""

import os

import numpy as np
import pytest

pytest.importorskip("sklearn")

import joblib
from sklearn.model_selection import GridSearchCV

from ssm_hpn.estimators import SSMClassifier
from ssm_hpn.estimators.base import number_of_threads
from ssm_hpn.estimators.threads import worker_share

pytestmark = pytest.mark.filterwarnings("ignore:os.fork:RuntimeWarning")  # of JAX, where other tests imported it

X = np.random.default_rng(0).normal(size=(24, 30)) * (1 + np.arange(24) % 2)[:, None]
Y = np.arange(24) % 2
BACKBONE = {"kind": "backbone", "d_model": 8, "n_layers": 1, "d_state": 4, "batch_size": 8}


def shares(backend):
    return joblib.Parallel(n_jobs=2, backend=backend)(joblib.delayed(worker_share)() for _ in range(3))


def test_a_worker_has_its_share(monkeypatch):
    monkeypatch.delenv("SSM_HPN_THREADS", raising=False)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    assert shares("loky") == [max(joblib.cpu_count() // 2, 1)] * 3
    assert shares("threading") == [1] * 3
    assert shares("sequential") == [None] * 3
    if hasattr(os, "fork"):
        assert shares("multiprocessing") == [1] * 3
    assert joblib.Parallel(n_jobs=2, backend="threading")([joblib.delayed(number_of_threads)(3)]) == [3]
    monkeypatch.setenv("SSM_HPN_THREADS", "5")
    assert shares("threading") == [None] * 3


@pytest.mark.parametrize(
    "backend",
    ["loky", pytest.param("multiprocessing", marks=pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork"))],
)
@pytest.mark.parametrize(
    ("settings", "grid"), [({"effort": "fast"}, {"causal": [False, True]}), (BACKBONE, {"steps": [2, 4]})]
)
def test_a_search_in_two_processes_finds_what_one_finds(backend, settings, grid):
    model = SSMClassifier(**settings, random_state=0).fit(X, Y)  # its threads are there before the fork

    def scores(jobs):
        with joblib.parallel_backend(backend):
            return GridSearchCV(model, grid, cv=2, n_jobs=jobs, error_score="raise").fit(X, Y).cv_results_

    one, two = scores(1), scores(2)
    np.testing.assert_allclose(two["mean_test_score"], one["mean_test_score"])
