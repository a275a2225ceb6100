"""A panic of the core: one class of exception, nothing printed, and a session that is usable or refuses every call."""

import os
import pickle
import subprocess
import sys

import pytest

from ssm_hpn import Trainer
from ssm_hpn.cli.main import Command, main
from ssm_hpn.errors import Error, PanicError, exit_code
from support import token_settings, tokens


@pytest.fixture
def trainer():
    found = Trainer(token_settings())
    found.step({"tokens": tokens()})
    return found


@pytest.mark.fault("the core panics in a call that only reads")
def test_after_a_panic_of_a_call_that_reads_training_goes_on_to_the_same_bits(trainer, tally):
    other = Trainer(token_settings())
    other.step({"tokens": tokens()})
    with pytest.raises(PanicError, match=r"found a panic at .*session\.rs:\d+: two lines; report it$") as raised:
        trainer.session._panic("two\n\tlines", changing=False)
    assert exit_code(raised.value) == 1
    assert isinstance(raised.value, Error)
    assert str(pickle.loads(pickle.dumps(raised.value))) == str(raised.value)
    for one in (trainer, other):
        one.step({"tokens": tokens(seed=1)})
    assert trainer.session.digest() == other.session.digest()
    tally.add(worst="the call fails")


@pytest.mark.fault("the core panics in a call that changes the session")
def test_after_a_panic_of_a_call_that_changes_it_a_session_refuses_every_call(trainer, tally, tmp_path):
    saved = trainer.save(tmp_path / "saved")
    digest = trainer.session.digest()
    with pytest.raises(PanicError, match="found a panic at"):
        trainer.session._panic("no text", changing=True)
    calls = (
        lambda: trainer.step({"tokens": tokens()}),
        lambda: trainer.predict({"tokens": tokens()}),
        lambda: trainer.save(tmp_path / "again"),
        trainer.session.digest,
    )
    for call in calls:
        with pytest.raises(PanicError, match=r"^session: .* has panicked; load the newest checkpoint$"):
            call()
    assert not (tmp_path / "again").exists()
    assert Trainer.load(saved).session.digest() == digest
    tally.add(worst="the session refuses every further call")


def test_the_command_line_tells_a_panic_in_one_line(monkeypatch, capsys):
    def panicking(words, prog):
        Trainer(token_settings()).session._panic("index out of bounds", changing=True)

    monkeypatch.setattr(Command, "load", lambda _: panicking)
    assert main(["train"]) == 1
    line = capsys.readouterr().err
    assert line.count("\n") == 1
    assert line.startswith("error: the compiled core: expected no failure of its own, found a panic at")


QUIET = """
import sys
sys.path.insert(0, "tests/python")
from ssm_hpn import Trainer
from support import token_settings
try:
    Trainer(token_settings()).session._panic("text of the panic", changing=False)
except RuntimeError:
    print("caught")
"""


@pytest.mark.parametrize("backtrace", ["0", "1"])
def test_a_panic_is_printed_with_rust_backtrace_alone(backtrace):
    env = {name: value for name, value in os.environ.items() if name != "RUST_BACKTRACE"}
    found = subprocess.run(
        [sys.executable, "-c", QUIET],
        capture_output=True,
        text=True,
        env=env | {"RUST_BACKTRACE": backtrace},
        check=True,
    )
    assert found.stdout == "caught\n"
    assert ("text of the panic" in found.stderr) is (backtrace == "1")
    assert backtrace == "1" or found.stderr == ""
