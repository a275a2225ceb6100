"""`train` for a model of features: fixed state space filters with heads in closed form."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from ssm_hpn.cli.console import duration, shown_path
from ssm_hpn.cli.parser import TrainRequest
from ssm_hpn.cli.resume import Resumed
from ssm_hpn.cli.signals import graceful_stop, interrupted
from ssm_hpn.cli.tables import metric_table
from ssm_hpn.config import Config
from ssm_hpn.config.kinds import Chosen
from ssm_hpn.counts import counted
from ssm_hpn.errors import EXIT_DONE, EXIT_INTERRUPTED, CheckpointError, ConfigError, problem
from ssm_hpn.filter_learner import FilterLearner
from ssm_hpn.filter_training import FilterResult, FilterTraining, left_out, read_summary
from ssm_hpn.metrics import ACCURACY, LOSS, R2
from ssm_hpn.report import write_report

if TYPE_CHECKING:
    from rich.console import Console

FEW: Final = 64
"""Series of a trial."""
STAGES: Final = {
    "read": "the series are read",
    "filters": "filters, to {series}",
    "classes": "the head of classes, to {series}",
    "numbers": "the head of numbers, to {series}",
    "evaluation": "done, evaluation follows",
}
"""What is said of each stage."""


def say_why(chosen: Chosen, screen: "Console") -> None:
    """Say why a backbone is trained on labelled series, where a setting of it decided that."""
    if chosen.because is not None:
        screen.print(
            f"note       {chosen.because} is a setting of a backbone, so one is trained; without such settings "
            "labelled series are fitted by features (model.kind)",
            markup=False,
            soft_wrap=True,
        )


def features_training(
    config: Config, request: TrainRequest, screen: "Console", again: Resumed | None
) -> FilterTraining:
    """The fit of prepared data. Raises `ConfigError` for options that have no meaning for it."""
    if request.more:
        advice = "leave it out: features are fitted once, and not update by update"
        raise ConfigError(problem("--more", "a run of a backbone", "model.kind features", advice))
    if request.observers:
        advice = "leave it out: a fit of seconds has no curves"
        option = "--" + next(iter(request.observers)).replace("_", "-")
        raise ConfigError(problem(option, "a backbone, which trains update by update", "model.kind features", advice))
    if request.profile:
        advice = "leave it out: metrics.jsonl of a run has the seconds of each stage"
        raise ConfigError(problem("--profile", "a backbone, whose updates it times", "model.kind features", advice))
    training = FilterTraining(config)
    if again is not None:
        training.config = again.recorded(training.config)
    _introduce(training, screen)
    return training


def fit_features(
    training: FilterTraining, request: TrainRequest, screen: "Console", command: Callable[[Path], str]
) -> int:
    """Fit, or show the results of a run that has ended; returns the exit code."""
    resume = request.resume if request.resume in ("must", "never") else "auto"
    with interrupted(" at once; the same command begins again"):
        result = _run(training, screen, resume)
    for note in result.notes:
        screen.print(f"passed over: {note}", markup=False)
    if result.reason == "interrupted":
        screen.print(f"stopped before the end; {shown_path(result.folder)} begins anew with", markup=False)
        screen.print(f"  {command(result.folder)}", markup=False)
        return EXIT_INTERRUPTED
    with interrupted(" after fitting, which is saved; the same command shows its results"):
        screen.print(_summary(result), markup=False)
    folder = shown_path(result.folder)
    screen.print(f"\n  new series:  python -m ssm_hpn predict {folder} --data PATH", markup=False)
    screen.print(f"  again:       {command(result.folder)}", markup=False)
    return EXIT_DONE


def try_features(config: Config, screen: "Console", folder: Path) -> int:
    """Fit, evaluate, save and load a few series in a folder that is removed again."""
    config = config.model_copy(update={"run": config.run.model_copy(update={"folder": str(folder)})})
    training = FilterTraining(config, few=FEW)
    _introduce(training, screen)
    result = _run(training, screen, "auto")
    assert result.learner is not None
    loaded = FilterLearner.load(result.folder)
    ours, theirs = (one.model.to_arrays()[0] for one in (result.learner, loaded))
    if ours.keys() != theirs.keys() or not all(np.array_equal(ours[name], theirs[name]) for name in ours):
        advice = "the folder's file system changes what is written to it"
        raise CheckpointError(problem(result.folder, "the arrays that were saved", "others", advice))
    screen.print(
        f"dry run    {counted(training.count, 'series', 'series')} fitted, evaluated, saved and loaded again to the "
        f"same bits ({duration(result.seconds)}); nothing is left behind"
    )
    return EXIT_DONE


def _run(training: FilterTraining, screen: "Console", resume: str) -> FilterResult:
    """Fit, and show the stage."""

    def told(stage: str) -> None:
        line = STAGES.get(stage, stage).format(series=counted(training.count, "series", "series"))
        if screen.is_terminal:
            status.update(line)
        else:
            screen.print(f"fitting    {line}")

    with graceful_stop(training.request_stop), screen.status("fitting") as status:
        return training.run(resume=resume, told=told)


def _introduce(training: FilterTraining, screen: "Console") -> None:
    """The line about the model."""
    filters = training.config.model.filters
    causal = ", causal" if filters.causal else ""
    screen.print(
        f"model      features of fixed state space filters, effort {filters.effort}{causal}, {_head(training)}"
    )


def _head(training: FilterTraining) -> str:
    """The heads in words."""
    classes, names = training.contract.classes, training.contract.value_names
    said = []
    if training.kind.has("class") and classes is not None:
        said.append(f"prototypes of {counted(len(classes), 'class', 'classes')}")
    if training.kind.has("number"):
        said.append(f"a head of {counted(len(names), 'number')}")
    return " and ".join(said)


def _summary(result: FilterResult) -> str:
    """Held-out metrics, what leaving training series out one by one says, and the paths."""
    assert result.learner is not None
    how = "fitted before" if result.already_ended else "finished"
    without = f", {result.without} without a target left out" if result.without else ""
    count = counted(result.series, "series", "series")
    lines = [f"\n{how} in {duration(result.seconds)}: {count} fitted{without}"]
    facts = read_summary(result)
    if facts is not None:
        lines.append(metric_table(facts, "all held-out data", targets=True))
    lines.append(f"\n  training series, each left out: {estimate(left_out(result.learner.model))}")
    folder = shown_path(result.folder)
    lines += [f"\n  checkpoint   {shown_path(result.learner.folder)}", f"  metrics      {folder}/metrics.jsonl"]
    lines.append(f"  report       {shown_path(write_report(result.folder))}")
    return "\n".join(lines)


def estimate(found: Mapping[str, float | None]) -> str:
    """What leave-one-out answers (`left_out`) say of a fit, in words."""
    said = []
    if "left_out/accuracy" in found:
        said.append(
            f"accuracy {ACCURACY.show(found['left_out/accuracy'])}, log loss {LOSS.show(found['left_out/loss'])}"
        )
    if "left_out/r2" in found:
        said.append(f"r2 {R2.show(found['left_out/r2'])}")
    return ", ".join(said)
