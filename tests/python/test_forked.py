"""A process forked after threads have started starts its own; a loader, which has read ahead, is refused there."""

import json
import os
import subprocess
import sys

import pytest

from support import text_data, token_settings

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")

# In a process of its own, which has no other threads than those of the session.
SESSION = """
import json, os, sys
import numpy as np
from ssm_hpn.trainer import Trainer

trainer = Trainer(json.loads(sys.argv[1]))
batch = {"tokens": np.arange(8, dtype=np.uint32).reshape(2, 4)}
before = trainer.step(batch).loss
if os.fork() == 0:
    grandchild = os.fork()
    if grandchild:
        assert os.waitstatus_to_exitcode(os.waitpid(grandchild, 0)[1]) == 0
    print(trainer.step(batch).loss.hex(), flush=True)
    del trainer
    os._exit(0)
_, status = os.wait()
print(trainer.step(batch).loss.hex())
assert os.waitstatus_to_exitcode(status) == 0
"""

POOL = """
import multiprocessing
import numpy as np
from ssm_hpn.estimators import SSMClassifier

series = np.random.default_rng(0).normal(size=(12, 20, 1)) * (1 + np.arange(12) % 2)[:, None, None]
features = SSMClassifier(effort="fast", threads=2, random_state=0).fit(series, np.arange(12) % 2)
backbone = SSMClassifier(kind="backbone", d_model=8, n_layers=1, steps=2, threads=2, random_state=0)
models = [features, backbone.fit(series, np.arange(12) % 2)]
expected = [model.class_scores(series) for model in models]

def answer(which):
    return models[which].class_scores(series)

with multiprocessing.get_context("fork").Pool(2) as pool:
    found = pool.map(answer, [0, 1, 0, 1])
for which, scores in zip([0, 1, 0, 1], found):
    assert np.allclose(scores, expected[which], atol=1e-6), which
print("equal")
"""

LOADER = """
import os, sys
from ssm_hpn._core import Loader
from ssm_hpn.errors import ForkError

loader = Loader(sys.argv[1])
loader.next()
if os.fork() == 0:
    try:
        loader.next()
    except ForkError as error:
        print(str(error).replace(" ", "_"), os.getpid(), flush=True)
    del loader
    os._exit(0)
os.wait()
assert loader.next() is not None
"""


def run(program, *arguments):
    found = subprocess.run(
        [sys.executable, "-c", program, *arguments], capture_output=True, text=True, timeout=120, check=False
    )
    assert found.returncode == 0, found.stderr
    return found.stdout.split()


def test_a_session_goes_on_in_a_forked_process_and_in_one_forked_from_that():
    child, grandchild, parent = run(SESSION, json.dumps(token_settings(train={"threads": 2})))
    assert child == grandchild == parent


def test_fitted_models_answer_in_a_pool_of_forked_processes():
    assert run(POOL) == ["equal"]


def test_a_loader_in_a_forked_process_is_refused_in_one_line(tmp_path):
    data = text_data(tmp_path, documents=12)
    config = {"path": str(data.train), "batch_size": 2, "length": 16, "packing": "pad", "target": "next_token"}
    message, child = run(LOADER, json.dumps(config | {"shuffle": True, "workers": 2}))
    assert "forked" in message
    assert child in message
