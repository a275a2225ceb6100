"""`add-classes`: further classes for a trained model, and training on documents of them.

What it writes is a checkpoint of the same model with more classes, which every command reads. Without `--data` its
scores among the old classes are those of the run, to the bit. With `--data` it is trained on these documents, and
beside them on a sample of the run's own training data, so that each old class counts as much as an average class of the
new documents. Its parameters are then the mean of those of the last updates (`ssm_hpn.tail_mean`). The scale of its
probabilities is that of the run, where one was fitted; its confidence is by the density of the features of the training
data and of these documents (`ssm_hpn.closed_form.feature_density`).
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from ssm_hpn.calibrated import fit_density, for_density
from ssm_hpn.checkpoints import Which, find_checkpoint
from ssm_hpn.cli.checkpoint import (
    add_data,
    add_file_options,
    checkpoint_parser,
    contract_of,
    default_which,
    file_options,
    load_model,
    print_notes,
)
from ssm_hpn.cli.console import console, shown_path
from ssm_hpn.cli.parser import add_list, path_of
from ssm_hpn.config.base import names_of
from ssm_hpn.config.training import ConstantSchedule
from ssm_hpn.contract import Contract
from ssm_hpn.counts import counted
from ssm_hpn.dataset import padded
from ssm_hpn.documents import Reader, in_channels
from ssm_hpn.errors import EXIT_DONE, ConfigError, DataError, problem
from ssm_hpn.filter_learner import FilterLearner
from ssm_hpn.held_out_decisions import points_of
from ssm_hpn.printable import as_list
from ssm_hpn.replay import CLASS, Replay, shared_out
from ssm_hpn.tail_mean import TailMean
from ssm_hpn.targets import KINDS, column_with
from ssm_hpn.trainer import Trainer

if TYPE_CHECKING:
    from rich.console import Console

DESCRIPTION = (
    "Let a trained model have further classes, and train it on documents of them. The run stays as it is: a checkpoint "
    "with the old and the new classes is written to --out."
)
NAMES: Final = "the new classes, written as the labels are; one with a comma as '[\"leak, big\"]'"
PASSES: Final = 1
REPLAY: Final = 20
Documents = tuple[list[NDArray[Any]], NDArray[np.int32]]


def run(arguments: Sequence[str], prog: str) -> int:
    """Add classes; returns the exit code."""
    parser = checkpoint_parser(prog, DESCRIPTION)
    add_list(parser, "--names", read=names_of, help=NAMES, required=True)
    parser.add_argument("--out", type=path_of, required=True, help="folder of the checkpoint to write")
    add_data(parser, "labelled raw files to train on, of new classes and, if there are any, of old ones")
    add_file_options(parser)
    parser.add_argument("--passes", type=int, metavar="N", help=f"passes over --data (default: {PASSES})")
    parser.add_argument(
        "--replay", type=int, metavar="N", help=f"documents of an old class to train on (default: {REPLAY})"
    )
    parser.add_argument("--lr", type=float, metavar="X", help="learning rate, constant (default: optim.lr of the run)")
    options = parser.parse_args(arguments)
    given = file_options(options)
    _check_training(options)
    for name, least, default in (("passes", 1, PASSES), ("replay", 0, REPLAY)):
        found = default if getattr(options, name) is None else getattr(options, name)
        setattr(options, name, found)
        if found < least:
            raise ConfigError(problem(f"--{name}", f"a whole number, {least} or more", found, "correct it"))
    if options.lr is not None and not 0 < options.lr < float("inf"):
        raise ConfigError(problem("--lr", "a number above 0", f"{options.lr:g}", "leave it out for that of the run"))
    if options.out.exists():
        raise ConfigError(problem("--out", "a folder that is not there yet", f"{options.out}", "name another one"))
    trainer = load_model(options)
    if isinstance(trainer, FilterLearner):
        advice = "train on data that has the new classes too: features are fitted anew in one go"
        raise ConfigError(problem(options.checkpoint, "a backbone", "a model of features", advice))
    before = contract_of(trainer, options.checkpoint)
    if options.data is not None:
        _set_rate(trainer, options.checkpoint, options.which, options.lr)
    trainer.add_classes(options.names, warn_doubts=False)  # they are notes below
    _note_names(options.names, before, trainer.contract)
    screen = console()
    if options.data is not None:
        _learn(trainer, before, options, given, screen)
    saved = trainer.save(options.out)
    names = [repr(name) if "," in name else name for name in trainer.class_names or ()]
    screen.print(f"classes    {', '.join(names)}", markup=False, soft_wrap=True)
    screen.print(f"saved      {shown_path(saved)}", markup=False, soft_wrap=True)
    return EXIT_DONE


def _check_training(options: argparse.Namespace) -> None:
    """Refuse what says how to train where there is nothing to train on."""
    if options.data is None:
        unused = [f"--{name}" for name in ("passes", "replay", "lr") if getattr(options, name) is not None]
        if unused:
            advice = "give --data PATH, or leave it out"
            raise ConfigError(problem(", ".join(unused), "--data beside it", "none", advice))


def _note_names(names: Sequence[str], before: Contract, after: Contract | None) -> None:
    """Print notes on new names that are in doubt beside the classes of `before`."""
    if before.classes is None or after is None or after.classes is None:
        return
    for known in before.classes.names:
        parts = names_of(known) if "," in known and not known.lstrip().startswith("[") else ()
        if len(parts) > 1 and set(parts) <= set(names):
            found = " and ".join(map(repr, parts))
            told = f"--names has {found} beside the class {known!r}"
            print(f"note: {told}: the name with the comma is written {as_list(known)}", file=sys.stderr)
    for doubt in after.classes.doubts(before.classes):
        print(f"note: {doubt}", file=sys.stderr)


def _set_rate(trainer: Trainer, path: Path, which: Which | None, lr: float | None) -> None:
    """Let the optimiser go on with a constant learning rate, by default that of the run."""
    optim = trainer.config.optim
    changed = optim.model_copy(update={"schedule": ConstantSchedule(warmup=0), "lr": lr or optim.lr})
    trainer.config = trainer.config.model_copy(update={"optim": changed})
    temperature, density = trainer.temperature, trainer.density  # those of a run are beside its checkpoints
    trainer.restore(find_checkpoint(path, which or default_which(path)))
    trainer.temperature, trainer.density = temperature, density


def _learn(trainer: Trainer, before: Contract, options: Any, given: dict[str, Any], screen: "Console") -> None:  # noqa: ANN401
    """Train on the documents of `--data` and on a sample of those of the run, whose contract was `before`."""
    kind, contract = KINDS[trainer.config.model.target.kind], trainer.contract
    assert contract is not None
    if [array.name for array in kind.arrays] != [CLASS]:
        advice = "leave --data out, and train by Trainer.step"
        raise ConfigError(problem("--data", "a model of a class per document", f"one of {kind.about}", advice))
    reader = Reader(contract, kind.name, given)
    new = _labelled(reader, options.data)
    print_notes(reader)
    first = len(trainer.class_names or ()) - len(options.names)  # new classes are the last
    for code, name in enumerate(options.names, first):
        if code not in new[1]:
            print(f"note: --data has no document of {name!r}: nothing is learned of it", file=sys.stderr)
    memory, old = Replay(options.replay, trainer.config.train.seed), None
    if options.replay or trainer.train_folder is not None:
        old = _labelled(Reader(before, kind.name), [str(_data_of_run(trainer, options.checkpoint))])
    if options.replay and old is not None:
        for code in sorted(set(range(first)) - set(new[1].tolist()) - set(old[1].tolist())):
            told = f"a document of {contract.classes.value(code)!r}, an earlier class" if contract.classes else ""
            advice = "what is known of it may be forgotten; put its documents into --data too"
            print(f"note: neither --data nor the training data of the run has {told}: {advice}", file=sys.stderr)
        memory.add(old[0], {CLASS: old[1]})
    fitted = trainer.temperature, trainer.density
    mean = TailMean(options.passes * -(-len(new[0]) // trainer.config.train.batch_size))
    losses = [loss for number in range(options.passes) for loss in _pass(trainer, new, memory, mean, seed=number)]
    trainer.temperature, trainer.density = fitted
    _fit_density(trainer, new, old)
    kept = sum(map(len, memory.kept.values()))
    told = f"{counted(len(losses), 'update')} on {counted(len(new[0]), 'document')} and {counted(kept, 'old one')}"
    screen.print(f"trained    {told}, mean loss {np.mean(losses):.4g}", markup=False, soft_wrap=True)


def _fit_density(trainer: Trainer, new: Documents, old: Documents | None) -> None:
    """Fit the density behind the confidence to all documents, or to the new ones beside what it was fitted to before.

    Without either it is left out: old documents would be as strange as those of no class.
    """
    if old is None and trainer.density is None:
        return
    documents, codes = new if old is None else ([*new[0], *old[0]], np.concatenate([new[1], old[1]]))
    labels = codes.astype(np.int64)
    rows = for_density(labels, seed=trainer.config.train.seed)
    chosen = [documents[row] for row in rows]
    points = points_of(trainer, chosen, "features" if chosen[0].ndim == 2 else "tokens")
    fit_density(trainer, points[:, -trainer.config.model.d_model :], labels[rows])


def _data_of_run(trainer: Trainer, path: Path) -> Path:
    """The training data of the run. Raises `DataError` where it is not there."""
    if trainer.train_folder is not None:
        return trainer.train_folder
    expected = f"the training data of {path}, for documents of the old classes"
    advice = f"{trainer.feed.bring_back}, or give --replay 0 to train on --data alone"
    raise DataError(problem("--replay", expected, f"none in {trainer.feed.absent or 'its settings'}", advice))


def _labelled(reader: Reader, paths: Sequence[str]) -> Documents:
    """The documents that have a class."""
    column = column_with("class", KINDS[reader.target].columns) or ""
    xs, codes = [], []
    for document in in_channels(reader.documents(paths), reader.contract):
        code = document.targets.get(column)
        if code is not None and int(code) >= 0:
            xs.append(document.x)
            codes.append(int(code))
    if not xs:
        advice = "give files with the columns of the training data, which `inspect RUN` lists"
        raise DataError(problem(", ".join(paths), "documents with a class", "none", advice))
    return xs, np.array(codes, np.int32)


def _pass(trainer: Trainer, new: Documents, memory: Replay, mean: TailMean, *, seed: int) -> list[float]:
    """One pass over the new documents, each update with its share of old ones beside them; the losses."""
    drawn, targets = memory.draw(new[1], seed=seed)
    documents = [*new[0], *drawn]
    codes = np.concatenate([new[1], targets[CLASS]]) if drawn else new[1]
    order = np.random.default_rng([memory.seed, seed]).permutation(len(new[0]))
    losses = []
    for chosen in shared_out(order, len(drawn), trainer.config.train.batch_size):
        batch = padded([documents[i] for i in chosen], "features" if documents[0].ndim == 2 else "tokens")
        losses.append(trainer.step(batch | {CLASS: codes[chosen]}).loss)
        mean.updated(trainer)
    return losses
