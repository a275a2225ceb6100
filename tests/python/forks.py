"""Commands in forked children of a process that has loaded the package: each is a process that starts at once.

Run as a program it reads one request a line and answers with one line:

    {"cwd": FOLDER, "words": [...], "kill_after": SECONDS or null, "inject": [...] or null}
        →  {"code": EXIT CODE or -SIGNAL, "seconds": ...}

The words are those of the command line, with the name of the command in front, or `fit` and a file of settings for
`Trainer.fit`, a run without the summary behind it. What it prints is in FOLDER/out and FOLDER/err. With `inject`,
options of strace, system calls fail from the save of the second update on, from the start of a preparation, or from
that of a resumed run; FOLDER/trace has the calls.
"""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

PROG = "ssm-hpn"


class Forks:
    """The process that forks."""

    def __init__(self):
        self._process = subprocess.Popen(
            [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def run(self, cwd, *words, kill_after=None, inject=None):
        """Run a command; returns its exit code, or minus the signal that ended it, and how long it took."""
        request = {"cwd": str(cwd), "words": words, "kill_after": kill_after, "inject": inject}
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        answer = json.loads(self._process.stdout.readline())
        return answer["code"], answer["seconds"]

    def close(self):
        """End it."""
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()


def attach(options):
    """Let strace inject into this process from now on."""
    command = ["strace", "-f", "-qq", "-o", "trace", *options, "-p", str(os.getpid())]
    tracer = subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while "TracerPid:\t0\n" in Path("/proc/self/status").read_text():
        assert tracer.poll() is None, "strace cannot attach to processes here"
        time.sleep(0.002)


def inject(options, *, resumes):
    """Attach strace where the faults begin."""
    import ssm_hpn.prepare
    from ssm_hpn.checkpoints import Checkpoints
    from ssm_hpn.training import Training

    save, prepare = Checkpoints.save, ssm_hpn.prepare.prepare

    def traced_save(self, step, write, **named):
        if step == 2:
            attach(options)
        return save(self, step, write, **named)

    def traced_prepare(*given, **named):
        attach(options)
        return prepare(*given, **named)

    Checkpoints.save = traced_save
    ssm_hpn.prepare.prepare = traced_prepare
    if resumes:
        fit = Training.run

        def traced_fit(self):
            attach(options)
            return fit(self)

        Training.run = traced_fit


def run(words):
    """The command, in a child."""
    for number, name in ((1, "out"), (2, "err")):
        os.dup2(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
    if words[0] == "fit":
        from ssm_hpn import Trainer

        Trainer(words[1]).fit()
        return 0
    import ssm_hpn.cli.train
    from ssm_hpn.cli.main import main

    ssm_hpn.cli.train.summary = lambda *_: ""  # it takes longer than the run
    code = main(words, prog=PROG)
    sys.stdout.flush()
    sys.stderr.flush()
    return code


def n_threads():
    """Threads of this process."""
    return len(list(Path("/proc/self/task").iterdir()))


def load():
    """Do before the forks what each would do again: imports, the options of `train`, the prototypes of all bytes."""
    import rich.console
    import rich.progress
    import rich.table  # noqa: F401

    import ssm_hpn.cli.prepare
    import ssm_hpn.cli.train
    import ssm_hpn.prepare  # noqa: F401
    from ssm_hpn import Trainer
    from ssm_hpn.cli.parser import parse_train
    from support import settings

    parse_train([], f"{PROG} train")
    threads = n_threads()
    Trainer(settings(model={"input": {"kind": "tokens", "vocab_size": 256}})).session  # noqa: B018
    while n_threads() != threads:  # those of the session end; a fork has none
        time.sleep(0.001)


def serve():
    """Answer requests until there are no more."""
    load()
    for line in sys.stdin:
        request = json.loads(line)
        began = time.monotonic()
        child = os.fork()
        if child == 0:
            code = 1
            try:
                os.chdir(request["cwd"])
                if request["inject"] is not None:
                    inject(request["inject"], resumes="--more" in request["words"])
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
