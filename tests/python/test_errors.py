"""The exception classes: what they also are, how they print, and that they cross process borders."""

import pickle
import traceback

import numpy as np
import pytest

import ssm_hpn
from ssm_hpn import Trainer, errors
from ssm_hpn._core import Batch, RunLock, Session

BASES = {
    "CheckpointError": ValueError,
    "ConfigError": ValueError,
    "DataError": ValueError,
    "DivergedError": ArithmeticError,
    "ForkError": RuntimeError,
    "PanicError": RuntimeError,
    "InUseError": OSError,
    "LockedError": BufferError,
    "RankError": RuntimeError,
    "ShapeError": ValueError,
    "StorageError": OSError,
}
MODEL = {
    "input": {"kind": "tokens", "vocab_size": 5},
    "d_model": 8,
    "n_layers": 1,
    "block": {"d_state": 2},
    "head": {"kind": "linear", "n_outputs": 5},
    "target": {"kind": "next_token"},
}


def test_every_class_is_one_of_pythons_own_too():
    found = {name for name in vars(errors) if name.endswith("Error")}
    assert found == {*BASES, "Error"}
    for name, base in BASES.items():
        assert issubclass(getattr(errors, name), base)
        assert issubclass(getattr(errors, name), ssm_hpn.Error)


@pytest.mark.parametrize("name", ["Error", *BASES])
def test_a_class_prints_under_its_module_and_survives_a_process_border(name):
    error = getattr(errors, name)("model.d_model: expected 1, found 2; change it")
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is type(error)
    assert str(copy) == str(error)
    (line,) = traceback.format_exception_only(error)
    assert line == f"ssm_hpn.errors.{name}: {error}\n"


def test_the_core_raises_these_classes(tmp_path):
    with pytest.raises(errors.ConfigError) as config:
        Session("{}", "{}")
    with pytest.raises(errors.ShapeError) as shape:
        Batch(tokens=np.zeros((1, 3), np.uint32), mask=np.zeros((2, 3), np.bool_))
    with pytest.raises(errors.CheckpointError) as checkpoint:
        Session.load(str(tmp_path / "none"))
    (tmp_path / "file").touch()
    with pytest.raises(errors.StorageError) as storage:
        RunLock(str(tmp_path / "file"))
    trainer = Trainer({"model": MODEL})
    with trainer.borrow_flat(), pytest.raises(errors.LockedError) as locked:
        trainer.step({"tokens": np.zeros((1, 3), np.uint32)})
    for caught in (config, shape, checkpoint, storage, locked):
        assert type(caught.value) is getattr(errors, type(caught.value).__name__)
        assert len(str(caught.value).splitlines()) == 1
