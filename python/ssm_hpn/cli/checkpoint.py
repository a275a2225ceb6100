"""Shared by the commands that use a trained model: the choice of a checkpoint, and the contract of its data."""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ssm_hpn.checkpoints import BEST, FOLDER, Which, find_checkpoint
from ssm_hpn.cli.parser import Parser, add_list, path_of
from ssm_hpn.cli.prepare import add_data_options, data_options
from ssm_hpn.config.base import paths_of
from ssm_hpn.config.data import FILE_OPTIONS
from ssm_hpn.contract import Contract
from ssm_hpn.errors import CheckpointError, ConfigError, problem
from ssm_hpn.filter_learner import FilterLearner
from ssm_hpn.run import fits_features
from ssm_hpn.trainer import Trainer

if TYPE_CHECKING:
    from ssm_hpn.documents import Reader  # imports pyarrow, which is needed only where documents are read


def checkpoint_parser(prog: str, description: str) -> Parser:
    """A parser that takes a checkpoint or run."""
    parser = Parser(prog=prog, description=description)
    parser.add_argument("checkpoint", type=path_of, help="folder of a checkpoint or of a run")
    parser.add_argument("--which", choices=("best", "latest"), help="of a run (default: best where there is one)")
    return parser


def add_data(parser: Parser, text: str, *, required: bool = False) -> None:
    """The option `--data`, a list of paths as in `train`."""
    text = f"{text}; several as A,B or by saying it again"
    add_list(parser, "--data", read=paths_of, help=text, required=required)


def add_file_options(parser: Parser) -> None:
    """Options for settings of `data` in which the files of `--data` differ from the training data."""
    add_data_options(parser, FILE_OPTIONS)


def file_options(options: argparse.Namespace) -> dict[str, Any]:
    """The given options of these, checked. Raises `ConfigError` for any without `--data`."""
    given = [name for name in FILE_OPTIONS if f"data.{name}" in options]
    if given and not options.data:
        names = ", ".join(f"--data.{name}" for name in given)
        raise ConfigError(problem(names, "--data beside it", "none", "give --data PATH, or leave it out"))
    found = data_options(options, ())
    return {name: getattr(found, name) for name in given}


def load_model(options: argparse.Namespace) -> Trainer | FilterLearner:
    """The model of the checkpoint that was named: the trainer of a backbone, or a model of features."""
    path: Path = options.checkpoint
    which = options.which or default_which(path)
    kind = FilterLearner if fits_features(find_checkpoint(path, which)) else Trainer
    return kind.load(path, which=which)


def default_which(path: Path) -> Which:
    """Which checkpoint of a run its commands use: the best where there is one."""
    roots = [path / FOLDER, path] if path.name == FOLDER else [path / FOLDER]
    return "best" if any((root / BEST).is_file() for root in roots) else "latest"


def print_notes(reader: "Reader") -> None:
    """Print the notes about raw files that were read to stderr."""
    for note in reader.notes():
        print(f"note: {note}", file=sys.stderr)


def contract_of(trainer: Trainer | FilterLearner, path: Path) -> Contract:
    """The contract of a model's data. Raises `CheckpointError` for a checkpoint without it."""
    if trainer.contract is None:
        advice = "use Trainer.predict on arrays; a checkpoint of an older release needs its prepared data beside it"
        raise CheckpointError(problem(path, "a model trained on files", "one without a description of them", advice))
    return trainer.contract
