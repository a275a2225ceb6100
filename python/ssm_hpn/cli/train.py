"""`train`: prepare the data if needed, train or resume, and print the results and their paths."""

import shlex
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ssm_hpn._core import bf16_unit, list_checkpoints, simd
from ssm_hpn.checkpoints import FOLDER as CHECKPOINTS
from ssm_hpn.checkpoints import runs_in
from ssm_hpn.cli.console import console, duration, shown_path, size, table
from ssm_hpn.cli.data import kind_for, with_prepared_data
from ssm_hpn.cli.features import features_training, fit_features, say_why, try_features
from ssm_hpn.cli.parser import TrainRequest, parse_train
from ssm_hpn.cli.progress import Continuation, ProgressDisplay
from ssm_hpn.cli.prompts import prompt_of
from ssm_hpn.cli.resume import MODES, check_resume, resumed
from ssm_hpn.cli.signals import graceful_stop, interrupted
from ssm_hpn.cli.summary import summary
from ssm_hpn.cli.together import check_together, ending_together
from ssm_hpn.config import Config, for_ranks, micro_batches
from ssm_hpn.counts import counted
from ssm_hpn.distributed import mpi_ranks
from ssm_hpn.errors import EXIT_DONE, EXIT_INTERRUPTED, CheckpointError, ConfigError, problem
from ssm_hpn.feed import Order
from ssm_hpn.profiling import profile
from ssm_hpn.ranks import Ranks
from ssm_hpn.run import renamed, run_folder, run_of, same_but_steps, same_but_virtual_ranks
from ssm_hpn.targets import language_model
from ssm_hpn.trainer import Trainer
from ssm_hpn.training import Result

if TYPE_CHECKING:
    from rich.console import Console

    from ssm_hpn.callbacks import Callback


def run(arguments: Sequence[str], prog: str) -> int:
    """Train; returns the exit code. As one of several ranks where a launcher of MPI started it."""
    ranks = mpi_ranks()
    with ending_together(ranks):
        return _train(arguments, prog, ranks)


def _train(arguments: Sequence[str], prog: str, ranks: Ranks) -> int:
    screen = console(quiet=not ranks.leads)
    with interrupted(" before training began; no unfinished file is left behind"):
        request = parse_train(arguments, prog)
        simd(), bf16_unit()  # what is not there, and wrong options, are refused before any data is prepared
        observers = _observers(request)
        check_resume(request.resume)
        check_together(request, ranks)
        if request.dry_run:
            return _dry_run(request.config, screen)
        again = None if request.resume in MODES else resumed(request, screen)
        with ranks.leader_first():
            config = with_prepared_data(request.config, screen) if again is None else again.prepared(screen)
        if again is None:
            config = config.model_copy(update={"train": for_ranks(config.train, ranks.size)})
        chosen = kind_for(config)
        if chosen.kind == "features":
            check_together(request, ranks, of_features=True)
            training = features_training(config, request, screen, again)
            _check_run(training.config, request)
        else:
            say_why(chosen, screen)
            trainer = Trainer(config) if again is None else again.trainer(config)
            trainer.share(ranks)
            if request.profile:
                return _profile(trainer, screen)
            _check_run(trainer.config, request)
    if chosen.kind == "features":
        return fit_features(training, request, screen, lambda folder: _again(prog, arguments, request.resume, folder))
    with interrupted(" at once; the same command goes on from the last checkpoint, if there is one"):
        result = _fit(trainer, request, screen, observers)
    if not ranks.leads:
        return EXIT_INTERRUPTED if result.reason == "interrupted" else EXIT_DONE
    command = _again(prog, arguments, request.resume, result.folder)
    if result.reason == "interrupted":
        screen.print(f"stopped after update {result.step}, all saved in {shown_path(result.folder)}; go on with")
        screen.print(f"  {command}", markup=False)
        return EXIT_INTERRUPTED
    if result.already_ended and request.more:
        screen.print(_nothing_to_do(trainer.config.train.steps, request.more, result.step), markup=False)
    if again is not None and not again.same and result.resumed_at == result.step and result.reason == "finished":
        done, steps = counted(result.step, "update"), trainer.config.train.steps + request.more
        told = f"no update was made: {done} are done, and train.steps is {steps:,}; give a larger --train.steps"
        screen.print(told, markup=False, soft_wrap=True)
    with interrupted(" after training, which is saved; the same command shows its results"):
        screen.print(summary(trainer, result, screen), markup=False)
    screen.print(f"\n  again, or on after an interruption:  {command}", markup=False)
    screen.print(f"  on your own files:                   {prog} --data PATH", markup=False)
    return EXIT_DONE


def _fit(trainer: Trainer, request: TrainRequest, screen: "Console", observers: "list[Callback]") -> Result:
    """Train, and show how it goes."""
    progress = ProgressDisplay(screen, lambda: _announce(trainer, screen, request.more))
    try:
        with graceful_stop(trainer.request_stop):
            _introduce(trainer, screen)
            callbacks = [progress, *_continuation(trainer, screen), *observers]
            result = trainer.fit(resume=request.resume, more=request.more, callbacks=callbacks)
    finally:
        progress.close()
    for note in result.notes:
        screen.print(f"passed over: {note}", markup=False)
    return result


def _observers(request: TrainRequest) -> "list[Callback]":
    """The callbacks that options name."""
    if not request.observers:
        return []
    from ssm_hpn.cli.observers import observers_of  # imports trackers, which few runs need

    return observers_of(request.observers)


def _nothing_to_do(steps: int, more: int, done: int) -> str:
    """What to say where `--more`, which counts from the configured steps so that it may be repeated, was reached."""
    return (
        f"nothing to do: {counted(done, 'update')} are done, {steps:,} + {more:,} were asked for; "
        f"--more {done - steps + more} for {counted(more, 'further one')}"
    )


def _again(prog: str, arguments: Sequence[str], resume: str, folder: Path) -> str:
    """The command that goes on with a run: the same one, unless that starts from another run."""
    if resume in MODES or run_of(Path(resume)).resolve() == folder.resolve():
        return f"{prog} {shlex.join(arguments)}".rstrip()
    return f"{prog} --resume {shlex.quote(str(shown_path(folder)))}"


def _check_run(config: Config, request: TrainRequest) -> None:
    """Refuse to start a new run where a shorter run of the same settings exists, or with `--more`."""
    folder = run_folder(config)
    if request.resume != "auto" or list_checkpoints(str(folder / CHECKPOINTS)):
        if request.resume == "auto":
            _check_virtual_ranks(config, [folder])
        shorter = same_but_steps(config, among=[folder]) if request.resume == "auto" else None
    elif config.run.folder is None and (same := renamed(config, among=_others(folder))):
        advice = f"go on with that run by --resume {shown_path(same)}, or start anew by --resume never"
        expected = f"the run of these settings in {folder}"
        raise ConfigError(problem("run.folder", expected, f"one in {shown_path(same)}", advice))
    elif request.more:
        advice = "leave --more out to train one, or name a run with --resume RUN"
        raise CheckpointError(problem("--more", f"a run of these settings in {folder}", "none", advice))
    else:
        beside = [folder] if config.run.folder is not None else runs_in(folder.parent)
        _check_virtual_ranks(config, beside)
        shorter = same_but_steps(config, among=beside)
    if shorter is None:
        return
    run, saved = shorter
    steps = saved.train.steps
    raise ConfigError(
        f"train.steps: {shown_path(run)} is the same but for the steps, {steps} instead of {config.train.steps}; go on "
        f"with it by --train.steps {steps} --more {config.train.steps - steps}, start from its weights in a run of its "
        f"own by --resume {shown_path(run)}, or start anew by --resume never"
    )


def _check_virtual_ranks(config: Config, among: list[Path]) -> None:
    """Refuse to start a run anew because it is started on another number of processes."""
    found = same_but_virtual_ranks(config, among=among)
    if found is None:
        return
    run, saved = found
    theirs, ours = (micro_batches(one.train).virtual_ranks for one in (saved, config))
    raise ConfigError(
        f"train.virtual_ranks: {shown_path(run)} is the same but for them, {theirs} instead of {ours}; go on by "
        f"--train.virtual_ranks {theirs}, on {theirs} rank{'s or fewer' if theirs > 1 else ''}, or start anew by "
        "--resume never"
    )


def _others(folder: Path) -> list[Path]:
    """The runs beside a folder. That in it has no checkpoint yet, and begins again by the same command."""
    return [run for run in runs_in(folder.parent) if run != folder]


def _introduce(trainer: Trainer, screen: "Console") -> None:
    """The line about the model."""
    model = trainer.config.model
    screen.print(
        f"model      {' and '.join(model.block_kinds)}, {counted(model.n_layers, 'layer')} of {model.d_model}, "
        f"head {model.head.kind}, {counted(trainer.session.n_parameters, 'parameter')}"
    )


def _announce(trainer: Trainer, screen: "Console", more: int = 0) -> None:
    """The line about updates, batches and memory."""
    config = trainer.config
    plan, length = micro_batches(config.train), config.data.length or 0
    memory = size(trainer.session.predicted_peak_bytes(plan.rows, length))
    together = f" on {counted(trainer.ranks.size, 'rank')}" if trainer.ranks.size > 1 else ""
    shared = f", {counted(plan.virtual_ranks, 'virtual rank')}{together}" if plan.virtual_ranks > 1 else ""
    screen.print(
        f"training   {counted(config.train.steps + more, 'update')} of "
        f"{plan.rows * plan.number} x {counted(length, 'token')}{shared}, "
        f"{simd()}{_products(config.train.precision)}, about {memory} in a step"
    )
    if trainer.train_folder is not None:
        screen.print(f"order      {_order(trainer.feed.order())}", markup=False)


def _order(order: Order) -> str:
    """Packing, how full the rows are, and how far documents are mixed."""
    full = f"{order.packing}, {order.utilisation:.1%} of the positions hold tokens"
    if len(order.shares) > 1:
        shares = " : ".join(f"{share:.3%}" for share in order.shares)
        return f"{full}; of the rows {shares} are of the sets, each mixed within its windows ({order.windows:,} in all)"
    if order.windows == 1:
        return f"{full}; documents are mixed over the whole set"
    tokens = counted(round(order.tokens / order.windows), "token")
    return f"{full}; documents are mixed within {order.windows:,} windows of {tokens}, record batches over all"


def _products(precision: str) -> str:
    """How products of another precision than f32 are computed."""
    if precision == "f32":
        return ""
    unit = bf16_unit()
    return f", products in {precision} {'emulated, more slowly than f32' if unit == 'emulated' else f'by {unit}'}"


def _continuation(trainer: Trainer, screen: "Console") -> "list[Callback]":
    """The continuation of a prompt, for language models on text."""
    wanted = trainer.config.evaluation.continuation > 0 and trainer.validation_folder is not None
    if not wanted or trainer.config.model.target.kind != language_model() or trainer.contract is None:
        return []
    from ssm_hpn.prepare.encode import encoder_from  # imports data preparation, which training does not need

    encoder = encoder_from(trainer.contract.encoder)
    prompt = prompt_of(trainer, encoder) if encoder is not None else None
    return [Continuation(screen, encoder, prompt)] if encoder is not None and prompt is not None else []


def _dry_run(config: Config, screen: "Console") -> int:
    """Prepare, train, evaluate, save and reload one step in a folder that is removed again."""
    with tempfile.TemporaryDirectory(prefix="ssm-hpn-") as folder:
        config = with_prepared_data(config, screen, scratch=Path(folder) / "data")
        if (chosen := kind_for(config)).kind == "features":
            return try_features(config, screen, Path(folder) / "run")
        say_why(chosen, screen)
        trainer = Trainer(config)
        changes = {
            "train": trainer.config.train.model_copy(update={"steps": 1}),
            "run": trainer.config.run.model_copy(update={"folder": str(Path(folder) / "run")}),
        }
        once = Trainer(trainer.config.model_copy(update=changes))
        result = once.fit()
        loaded = Trainer.load(result.folder)
        if loaded.session.digest() != once.session.digest():
            found = loaded.session.digest()[:16]
            advice = "the folder's file system changes what is written to it"
            raise CheckpointError(problem(result.folder, f"parameters {once.session.digest()[:16]}", found, advice))
        _introduce(trainer, screen)
        _announce(trainer, screen)
        screen.print(
            f"dry run    one update trained, evaluated, saved and loaded again to the same bits "
            f"({duration(result.seconds)}); nothing is left behind"
        )
    return EXIT_DONE


def _profile(trainer: Trainer, screen: "Console") -> int:
    """Say where the time of an update goes; no run is written."""
    _introduce(trainer, screen)
    _announce(trainer, screen)
    found = profile(trainer)
    rows = []
    for phase in found.phases:
        speed = phase.flops_per_second
        products = (f"{speed / 1e9:.1f}", f"{speed / found.peak:.0%}") if speed is not None else ("", "")
        rows.append((phase.name, f"{1e3 * phase.seconds:.2f}", f"{phase.share:.1%}", *products))
    rows.append(("total", f"{1e3 * found.seconds:.2f}", "100.0%", "", ""))
    title = f"profile    {counted(found.updates, 'update')}, {found.tokens_per_second:,.0f} tokens/s\n"
    screen.print(table(("phase", "ms/update", "share", "GFLOP/s", "of peak"), rows, title=title), markup=False)
    shape = " x ".join([str(found.peak_side)] * 3)
    screen.print(
        f"\n  peak: {found.peak / 1e9:.1f} GFLOP/s, measured in this run: the best product of {shape} on all threads"
        "\n  products are those of the layers; embedding and head have their own with them"
    )
    return EXIT_DONE
