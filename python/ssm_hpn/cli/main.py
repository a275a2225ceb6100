"""The command line: runs a command and returns its exit code; an error is one line on stderr.

0 done or stopped early   2 configuration   3 data   4 no loadable checkpoint   5 diverged   6 storage, or a lost rank
1 a bug   7 another process writes to the run: try again
75 interrupted by SIGTERM, or by Ctrl-C in training: run the same command again
130 Ctrl-C: in training the second one, elsewhere the first; one line says what it interrupted
"""

import os
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Final, NamedTuple, TextIO

from ssm_hpn._core import __version__
from ssm_hpn.cli.endings import TRACEBACK, ending
from ssm_hpn.cli.signals import interrupted, raised
from ssm_hpn.errors import EXIT_DONE, ConfigError, nearest, problem

HELP: Final = ("-h", "--help")
VERSION: Final = "--version"


class Command(NamedTuple):
    """A command: a module with `run(arguments, prog) -> exit code`, imported when it is called."""

    name: str
    module: str
    help: str

    def load(self) -> Callable[[Sequence[str], str], int]:
        """The function behind it."""
        function: Callable[[Sequence[str], str], int] = import_module(self.module).run
        return function


COMMANDS: Final = (
    Command("train", "ssm_hpn.cli.train", "train a model, or go on with a run"),
    Command("evaluate", "ssm_hpn.cli.evaluate", "metrics of a checkpoint on held-out data"),
    Command("predict", "ssm_hpn.cli.predict", "predictions of a checkpoint as JSON lines"),
    Command("add-classes", "ssm_hpn.cli.add_classes", "further classes for a trained model"),
    Command("generate", "ssm_hpn.cli.generate", "continue a prompt"),
    Command("prepare", "ssm_hpn.cli.prepare", "turn raw files into shards, once for many runs"),
    Command("report", "ssm_hpn.cli.report", "make the page of a run again"),
    Command("compare", "ssm_hpn.cli.compare", "one table and one chart over several runs"),
    Command("watch", "ssm_hpn.cli.watch", "runs in a terminal while they are written"),
    Command("serve", "ssm_hpn.cli.serve", "a local page of runs while they are written"),
    Command("inspect", "ssm_hpn.cli.inspect", "what is in a run, a checkpoint or a prepared folder"),
    Command("migrate", "ssm_hpn.cli.migrate", "rewrite runs and checkpoints of an older release in place"),
    Command("parity", "ssm_hpn.cli.parity", "the core against references in JAX and PyTorch"),
    Command("config-docs", "ssm_hpn.cli.config_docs", "every setting as Markdown"),
)


def main(arguments: Sequence[str] | None = None, *, prog: str = "ssm-hpn", command: str | None = None) -> int:
    """Run a command, by default the one that the first argument names; returns its exit code.

    With `--traceback` errors are raised instead of told.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    raises = TRACEBACK in words
    words = [word for word in words if word != TRACEBACK]
    _take_any_character(sys.stdout)
    _take_any_character(sys.stderr)
    try:
        _check_characters(words)
        if words == [VERSION]:
            print(f"ssm-hpn {__version__}")
            return EXIT_DONE
        return _dispatch(words, prog) if command is None else _run(_named(command), words, prog)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # the reader of our output has closed it
        return EXIT_DONE
    except SystemExit as stop:
        if raises and stop.__cause__ is not None:
            raise stop.__cause__ from None
        return stop.code if isinstance(stop.code, int) else EXIT_DONE
    except BaseException as error:
        if raises and not isinstance(error, KeyboardInterrupt):
            raise
        code, line = ending(error)
        print(line, file=sys.stderr)
        return code


def _dispatch(words: list[str], prog: str) -> int:
    if not words or words[0] in HELP:
        print(f"usage: {prog} COMMAND [OPTIONS]    ({prog} COMMAND --help lists its options)\n")
        for command in COMMANDS:
            print(f"  {command.name:<12} {command.help}")
        print(f"\n{VERSION} prints the version; {TRACEBACK} anywhere shows where an error came from.")
        return EXIT_DONE
    return _run(_named(words[0]), words[1:], f"{prog} {words[0]}")


def _run(command: Command, words: list[str], prog: str) -> int:
    with interrupted(" before anything began; nothing was written"):
        function = command.load()
    with raised():
        return function(words, prog)


def _named(name: str) -> Command:
    known = {command.name: command for command in COMMANDS}
    if name not in known:
        close = nearest(name, known)
        advice = f"did you mean {close}?" if close else f"known are {', '.join(known)}"
        raise ConfigError(problem("command", "a known one", repr(name), advice))
    return known[name]


def _take_any_character(stream: TextIO) -> None:
    """Make a stream write characters that its encoding lacks as escapes, instead of failing."""
    reconfigure = getattr(stream, "reconfigure", None)  # a replacement of a stream may have no such method
    if reconfigure is not None:
        reconfigure(errors="backslashreplace")


def _check_characters(words: Sequence[str]) -> None:
    """Refuse arguments that are no text: the system passes their bytes as lone surrogates."""
    for word in words:
        if "\0" in word or any("\ud800" <= letter <= "\udfff" for letter in word):
            advice = "rename the file, or write the argument in the encoding of the terminal"
            raise ConfigError(problem("arguments", "text without NUL", ascii(word), advice))
