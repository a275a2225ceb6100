"""The command line: runs a command and returns its exit code; an error is one line on stderr.

0 done or stopped early   2 configuration   3 data   4 no loadable checkpoint   5 diverged   6 storage, or a lost rank
1 a bug   7 another process writes to the run: try again
75 interrupted by SIGTERM, or by Ctrl-C in training: run the same command again
130 Ctrl-C: in training the second one, elsewhere the first; one line says what it interrupted
"""

import os
import re
import sys
import traceback
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Final, NamedTuple, TextIO

from ssm_hpn._core import __version__
from ssm_hpn.cli.signals import interrupted, raised, terminated
from ssm_hpn.cli.system import in_words, without_numbers
from ssm_hpn.errors import (
    EXIT_DONE,
    EXIT_INTERRUPTED,
    EXIT_KILLED,
    ConfigError,
    DataError,
    Error,
    exit_code,
    nearest,
    problem,
)
from ssm_hpn.printable import printable

TRACEBACK: Final = "--traceback"
HELP: Final = ("-h", "--help")
VERSION: Final = "--version"
OF_PAGES: Final = ("jinja2", "markupsafe", "matplotlib")
"""Packages that nothing but pages and figures needs."""
NO_MEMORY: Final = re.compile("failed to map segment|cannot allocate memory|unable to allocate", re.IGNORECASE)
"""What the loader of libraries says where memory is limited."""
LONGEST_LINE: Final = 2000
"""Characters of an error that are shown: values come from files, and may be of any length."""


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
    except KeyboardInterrupt as stop:
        print(f"interrupted{str(stop) or '; no unfinished file is left behind'}", file=sys.stderr)
        return EXIT_INTERRUPTED if terminated() else EXIT_KILLED
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # the reader of our output has closed it
        return EXIT_DONE
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else EXIT_DONE
    except (Error, OSError) as error:
        if raises:
            raise
        text = in_words(error) if isinstance(error, OSError) else str(error)
        print(f"error: {_one_line(without_numbers(text))}", file=sys.stderr)
        return exit_code(error)
    except Exception as error:
        if raises:
            raise
        return _unexpected(error)


def _unexpected(error: Exception) -> int:
    """Print an unexpected exception in one line; returns the exit code."""
    found = _foreign(error)
    if found is not None:
        print(f"error: {_one_line(found)}", file=sys.stderr)
        return exit_code(found)
    place = traceback.extract_tb(error.__traceback__)[-1]
    at = f"{os.path.basename(place.filename)}:{place.lineno}"  # noqa: PTH119 - only shown
    text = f"{type(error).__name__} at {at}: {_one_line(error)}"
    print(f"error: this is a bug: {text}; run again with {TRACEBACK} and report it", file=sys.stderr)
    return 1


def _foreign(error: Exception) -> Error | None:
    """The error for a missing package, and for input that is too large or deep for a library."""
    if isinstance(error, ModuleNotFoundError) and (missing := str(error.name).partition(".")[0]) in OF_PAGES:
        found = problem(missing, "the package, which reports are made with", "none", f"pip install {missing}")
        return ConfigError(found)
    if isinstance(error, ModuleNotFoundError) and str(error.name).partition(".")[0] == "pyarrow":
        advice = "install it; Windows on arm64 has no wheel of it: prepare the data on another machine"
        return ConfigError(problem("pyarrow", "the package, which reads data files", "none", advice))
    if isinstance(error, MemoryError) or (isinstance(error, ImportError) and NO_MEMORY.search(str(error))):
        advice = "raise the limit (ulimit -v), or run where there is more"
        return ConfigError(problem("memory", "enough to load this package and its libraries", "too little", advice))
    advice = "rename the file, or correct the text"
    if isinstance(error, UnicodeEncodeError):
        found = ascii(error.object[max(0, error.start - 20) : error.end + 20])
        return DataError(problem("the data", "text and names in UTF-8", f"half a character in {found}", advice))
    if isinstance(error, UnicodeDecodeError):
        found = f"byte 0x{error.object[error.start]:02x} at {error.start}"
        return DataError(problem("the data", "text and names in UTF-8", found, advice))
    if isinstance(error, RecursionError):
        return DataError(problem("the data", "values nested less deeply", "more than the parser can hold", advice))
    return None


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


def _one_line(error: BaseException | str) -> str:
    """The text of an error on one line, without control characters, and cut where it is very long."""
    text = printable(" ".join(str(error).split()))
    if len(text) <= LONGEST_LINE:
        return text
    half = LONGEST_LINE // 2
    return f"{text[:half]} … {text[-half:]}"
