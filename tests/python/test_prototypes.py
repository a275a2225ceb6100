"""Prototypes that are optimised: the same on every machine, and part of a model's tensors."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from ssm_hpn import Trainer
from ssm_hpn._core import available_simd, simd
from support import settings

MODEL = {
    "input": {"kind": "features", "n_features": 2},
    "target": {"kind": "sequence_class", "pooling": "mean"},
    "head": {"kind": "prototype", "n_classes": 23, "prototypes": "separated", "dim": 5},
}


def trainer(seed=0):
    return Trainer(settings(model=MODEL, train={"seed": seed}))


@pytest.mark.parametrize("name", [name for name in available_simd() if name != simd()])
def test_every_instruction_set_finds_the_same_prototypes(name):
    program = (
        "from test_prototypes import trainer\n"
        "from ssm_hpn._core import simd\n"
        "print(simd(), trainer().parameter('head.prototypes').tobytes().hex())\n"
    )
    path = os.pathsep.join([str(Path(__file__).parent), *filter(None, [os.environ.get("PYTHONPATH")])])
    env = os.environ | {"SSM_HPN_SIMD": name, "PYTHONPATH": path}
    done = subprocess.run([sys.executable, "-c", program], env=env, capture_output=True, text=True, check=True)
    found, numbers = done.stdout.split()
    assert found == name
    assert numbers == trainer().parameter("head.prototypes").tobytes().hex()


def test_prototypes_travel_with_the_tensors_and_are_found_again_without_them():
    source, batch = trainer(), {"features": np.random.default_rng(0).normal(size=(3, 9, 2))}
    tensors = source.parameters()
    assert "head.prototypes" in tensors
    # Another seed has other prototypes of its own.
    assert not np.array_equal(trainer(seed=1).parameter("head.prototypes"), tensors["head.prototypes"])
    given = Trainer.from_tensors(settings(model=MODEL, train={"seed": 1}), tensors)
    np.testing.assert_array_equal(given.predict(batch), source.predict(batch))
    del tensors["head.prototypes"]
    again = Trainer.from_tensors(settings(model=MODEL), tensors)
    np.testing.assert_array_equal(again.predict(batch), source.predict(batch))
