"""`train.precision`: products of training in bf16, the unit that computes them, and what the run says of it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from ssm_hpn import Trainer
from ssm_hpn._core import available_bf16_units, bf16_unit
from ssm_hpn.cli.train import _products
from ssm_hpn.config import parse
from ssm_hpn.errors import ConfigError
from ssm_hpn.run import environment
from support import token_settings, tokens

BATCH = {"tokens": tokens(4, 40)}


def trainer(precision, threads=1):
    settings = token_settings()
    settings["train"] = settings.get("train", {}) | {"precision": precision, "threads": threads}
    return Trainer(settings)


def test_bits_follow_from_the_precision_and_not_from_the_number_of_threads():
    digests = set()
    for precision in ("f32", "bf16"):
        one, three = (trainer(precision, threads) for threads in (1, 3))
        losses = [[each.step(BATCH).loss for _ in range(3)] for each in (one, three)]
        assert losses[0] == losses[1]
        assert one.session.digest() == three.session.digest()
        digests.add(one.session.digest())
    assert len(digests) == 2


def test_training_in_bf16_learns_and_is_evaluated_in_f32(tmp_path):
    rounded = trainer("bf16")
    losses = [rounded.step(BATCH).loss for _ in range(40)]
    assert losses[-1] < 0.7 * losses[0]
    rounded.save(tmp_path / "saved")
    again = trainer("f32")
    again.restore(tmp_path / "saved")
    assert (again.predict(BATCH) == rounded.predict(BATCH)).all()


def test_the_default_is_f32_and_leaves_the_digest_of_a_configuration_alone():
    plain, named = parse({}), parse({"train": {"precision": "f32"}})
    assert plain.train.precision == "f32"
    assert plain.digest() == named.digest() != parse({"train": {"precision": "bf16"}}).digest()
    with pytest.raises(ConfigError, match=r"train\.precision: expected f32 \| bf16, found 'fp16'"):
        parse({"train": {"precision": "fp16"}})


def test_the_record_and_the_first_lines_of_a_run_name_the_unit():
    assert environment()["bf16_unit"] == bf16_unit() == available_bf16_units()[-1]
    assert _products("f32") == ""
    assert "bf16" in _products("bf16")


@pytest.mark.parametrize("unit", available_bf16_units())
def test_a_unit_can_be_chosen_and_each_gives_about_the_same(unit):
    program = (
        "from test_precision import BATCH, trainer\n"
        "from ssm_hpn._core import bf16_unit\n"
        "print(bf16_unit(), trainer('bf16').step(BATCH).loss)\n"
    )
    path = os.pathsep.join([str(Path(__file__).parent), *filter(None, [os.environ.get("PYTHONPATH")])])
    env = os.environ | {"SSM_HPN_BF16": unit, "PYTHONPATH": path}
    done = subprocess.run([sys.executable, "-c", program], env=env, capture_output=True, text=True, check=True)
    name, loss = done.stdout.split()
    assert name == unit
    assert float(loss) == pytest.approx(trainer("bf16").step(BATCH).loss, rel=1e-4)


def test_a_unit_that_is_not_there_is_refused():
    program = (
        "from ssm_hpn._core import bf16_unit\ntry:\n    bf16_unit()\nexcept ValueError as error:\n    print(error)\n"
    )
    env = os.environ | {"SSM_HPN_BF16": "tpu"}
    done = subprocess.run([sys.executable, "-c", program], env=env, capture_output=True, text=True, check=True)
    assert done.stdout.startswith("SSM_HPN_BF16: expected one of emulated"), done.stdout
