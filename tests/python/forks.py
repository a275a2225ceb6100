"""Commands in forked children of a process that has loaded the package: each is a process that starts at once.

Run as a program it reads one request a line and answers with one line:

    {"cwd": FOLDER, "words": [...], "kill_after": SECONDS or null}  →  {"code": EXIT CODE or -SIGNAL, "seconds": ...}

The words are those of the command `train`, or `fit` and a file of settings for `Trainer.fit`, a run without the summary
behind it. What it prints is in FOLDER/out and FOLDER/err.
"""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path


class Forks:
    """The process that forks."""

    def __init__(self):
        self._process = subprocess.Popen(
            [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def run(self, cwd, *words, kill_after=None):
        """Run a command; returns its exit code, or minus the signal that ended it, and how long it took."""
        request = {"cwd": str(cwd), "words": words, "kill_after": kill_after}
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        answer = json.loads(self._process.stdout.readline())
        return answer["code"], answer["seconds"]

    def close(self):
        """End it."""
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()


def run(words):
    """The command, in a child."""
    for number, name in ((1, "out"), (2, "err")):
        os.dup2(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
    if words[0] == "fit":
        from ssm_hpn import Trainer

        Trainer(words[1]).fit()
        return 0
    from ssm_hpn.cli.main import main

    code = main(words, command="train", prog="train")
    sys.stdout.flush()
    sys.stderr.flush()
    return code


def serve():
    """Answer requests until there are no more."""
    import pyarrow as pa  # noqa: F401 - loaded before the forks, as all modules of the command are

    import ssm_hpn.cli.train  # noqa: F401

    for line in sys.stdin:
        request = json.loads(line)
        began = time.monotonic()
        child = os.fork()
        if child == 0:
            code = 1
            try:
                os.chdir(request["cwd"])
                code = run(request["words"])
            finally:
                os._exit(code)
        if request["kill_after"] is not None:
            time.sleep(request["kill_after"])
            os.kill(child, signal.SIGKILL)  # a child that has ended is there until it is waited for
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        sys.stdout.write(json.dumps({"code": code, "seconds": time.monotonic() - began}) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[2] / "python"))
    serve()
