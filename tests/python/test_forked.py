"""A process forked after the session has started its threads gets a ForkError instead of waiting for ever."""

import json
import os
import subprocess
import sys

import pytest

from support import token_settings

# In a process of its own, which has no other threads than those of the session.
PROGRAM = """
import json, os, sys
import numpy as np
from ssm_hpn.errors import ForkError
from ssm_hpn.trainer import Trainer

trainer = Trainer(json.loads(sys.argv[1]))
batch = {"tokens": np.arange(8, dtype=np.uint32).reshape(2, 4)}
trainer.forward_backward(batch)
child = os.fork()
if child == 0:
    try:
        trainer.forward_backward(batch)
    except ForkError as error:
        print(error)
else:
    _, status = os.waitpid(child, 0)
    trainer.apply()
    print(os.waitstatus_to_exitcode(status), child)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_forked_process_that_uses_a_session_gets_a_fork_error_in_one_line():
    settings = json.dumps(token_settings(train={"threads": 2}))
    found = subprocess.run(
        [sys.executable, "-c", PROGRAM, settings], capture_output=True, text=True, timeout=120, check=True
    )
    line, outcome = found.stdout.splitlines()
    status, child = outcome.split()
    assert status == "0"
    assert "fork" in line
    assert child in line
