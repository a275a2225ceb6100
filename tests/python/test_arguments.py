"""Whole numbers as arguments: any other value is one line that names the argument, what was expected and found."""

import inspect
import re

import numpy as np
import pytest

from ssm_hpn import Trainer
from ssm_hpn.errors import ConfigError, ShapeError
from support import settings, tokens

STRANGE = [2**64, 2**63, -1, True, 1.5, "3", None, 2**400, np.True_, [1], float("nan")]


@pytest.fixture(scope="module")
def trainer(text):
    return Trainer(settings(text))


def first_batch(trainer, batches):
    return next(iter(trainer.held_out(batches)))


CALLS = {
    "add_classes, names": lambda trainer, n: trainer.add_classes(n),
    "held_out, batches": first_batch,
    "stream, rows": lambda trainer, n: trainer.stream(n),
    "generate, n (tokens)": lambda trainer, n: trainer.generate([1, 2], n),
    "generate, top_k": lambda trainer, n: trainer.generate([1, 2], 1, top_k=n),
    "generate, seed": lambda trainer, n: trainer.generate([1, 2], 1, seed=n),
    "expand, count": lambda trainer, n: trainer.expand(count=n),
    "expand, at": lambda trainer, n: trainer.expand("insert", at=n),
    "expand, positions[0]": lambda trainer, n: trainer.expand("final", positions=[n]),
    "expand, positions": lambda trainer, n: trainer.expand("final", positions=n),
    "expand, seed": lambda trainer, n: trainer.expand(seed=n),
    "freeze, first": lambda trainer, n: trainer.freeze(first=n),
    "freeze, layers[0]": lambda trainer, n: trainer.freeze(layers=[n]),
    "freeze, layers": lambda trainer, n: trainer.freeze(layers=n),
    "fit, more": lambda trainer, n: trainer.fit(more=n),
}
"""A call by the argument that gets the number."""
NONE_IS_ONE = {"held_out, batches": None, "generate, top_k": None, "expand, positions": None}
LISTS = {"expand, positions", "freeze, layers"}


def test_every_argument_of_the_trainer_that_is_a_whole_number_is_tried():
    known = {re.split(r"\[| \(", name)[0] for name in CALLS}
    for name, method in inspect.getmembers(Trainer, inspect.isfunction):
        if name.startswith("_"):
            continue
        for argument, parameter in inspect.signature(method).parameters.items():
            whole = re.search(r"\bint\b", str(parameter.annotation))
            if whole and argument != "prompt":
                assert f"{name}, {argument}" in known, (name, argument, parameter.annotation)


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize("value", STRANGE, ids=lambda value: str(value)[:22])
def test_a_strange_number_is_refused_in_one_line(trainer, name, value):
    if (value is None and name in NONE_IS_ONE) or (isinstance(value, list) and name in LISTS):
        return
    if name.endswith("seed") and isinstance(value, int) and value == 2**63:
        return
    with pytest.raises((ConfigError, ShapeError)) as caught:
        CALLS[name](trainer, value)
    text = str(caught.value)
    assert text.startswith(f"{name}: expected a "), text
    assert ", found " in text
    assert "\n" not in text
    assert len(text) < 300


def test_a_number_that_is_too_large_for_the_model_is_refused(trainer):
    for call in (
        lambda: trainer.stream(2**62),
        lambda: trainer.stream(2**40),
        lambda: trainer.expand(count=4096),
        lambda: trainer.expand("insert", at=4096),
        lambda: trainer.expand("final", positions=[4096]),
        lambda: trainer.freeze(first=4096),
        lambda: trainer.freeze(layers=[4096]),
    ):
        with pytest.raises((ConfigError, ShapeError)) as caught:
            call()
        assert "bug" not in str(caught.value)
        assert "\n" not in str(caught.value)


def test_numbers_of_numpy_are_whole_numbers(trainer):
    assert next(iter(trainer.held_out(np.int64(1)))).rows == 4
    assert trainer.generate([1, 2], np.uint8(3), top_k=np.int32(2), seed=np.int64(1), temperature=0)
    assert trainer.stream(np.int64(2)).step(np.zeros(2, np.uint32)).shape == (2, 256)
    with pytest.raises(ConfigError, match="held_out, batches: expected a whole number from 1"):
        trainer.held_out(0)
    assert len(list(trainer.held_out("all"))) >= 1
    with pytest.raises(ConfigError):
        trainer.held_out("some")


@pytest.mark.parametrize("rows", [0, 1])
def test_a_stream_takes_arrays_alone(trainer, rows):
    stream = trainer.stream(1)
    for value in STRANGE:
        for call in (stream.step, stream.prefill):
            with pytest.raises((ShapeError, ConfigError, TypeError)) as caught:
                call(value)
            assert "bug" not in str(caught.value)
            assert "\n" not in str(caught.value)
    with pytest.raises((ShapeError, ConfigError)):
        stream.step(tokens(rows, 2)[:, 0][:rows] if not rows else tokens(3, 2)[:, 0])


# ---- estimators

ESTIMATOR = ("d_model", "n_layers", "d_state", "steps", "batch_size", "threads")


@pytest.mark.parametrize("name", [*ESTIMATOR, "random_state"])
@pytest.mark.parametrize("kind", ["SSMClassifier", "SSMRegressor"])
def test_a_strange_parameter_of_an_estimator_is_refused_in_one_line(kind, name):
    pytest.importorskip("sklearn")
    from ssm_hpn import estimators

    x, y = np.random.default_rng(0).normal(size=(8, 5, 1)), np.arange(8) % 2
    for value in STRANGE:
        if (value is None and name in ("threads", "random_state")) or (name, value) == ("random_state", True):
            continue
        model = getattr(estimators, kind)(**{"kind": "backbone", "d_model": 4, "n_layers": 1, "steps": 1, name: value})
        if isinstance(value, str) and name != "random_state":
            continue  # a text that is a number is one, as in files and on the command line
        with pytest.raises(ConfigError) as caught:
            model.fit(x, y)
        text = str(caught.value)
        assert text.startswith(f"{name}: expected "), text
        assert ", found " in text
        assert "\n" not in text


def test_parameters_of_numpy_are_taken():
    pytest.importorskip("sklearn")
    from ssm_hpn.estimators import SSMRegressor

    x, y = np.random.default_rng(0).normal(size=(8, 5, 1)), np.arange(8.0)
    whole = dict.fromkeys(("d_model", "n_layers", "d_state", "steps", "batch_size"), np.int64(2))
    model = SSMRegressor(kind="backbone", **whole, lr=np.float32(0.01), random_state=np.int64(3)).fit(x, y)
    assert model.predict(x).shape == (8,)
