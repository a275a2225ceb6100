"""Fitting features in a run folder: the stages, what they write, and starting again.

A fit is one pass over its stages: reading, filters, heads, evaluation, and at the end one checkpoint. Nothing is kept
of a fit that was interrupted: started again, it begins anew and ends in the same bits, for the same number of threads.
Where the checkpoint is, all is done.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np

from ssm_hpn.checkpoints import marked_best, step_name
from ssm_hpn.class_weights import class_weights
from ssm_hpn.config import Config
from ssm_hpn.config.resolve import resolve_filters
from ssm_hpn.contract import Contract
from ssm_hpn.dataset import data_shape, open_parts
from ssm_hpn.decisions import write_decisions
from ssm_hpn.errors import CheckpointError, DataError, problem
from ssm_hpn.evaluation import Evaluation
from ssm_hpn.feed import Feed
from ssm_hpn.filter_data import Labelled, joined, of_folder
from ssm_hpn.filter_evaluation import metrics_of_kind
from ssm_hpn.filter_learner import FilterLearner
from ssm_hpn.filter_model import FilterModel, FilterSettings, Targets
from ssm_hpn.foreign import finite, from_json
from ssm_hpn.held_out_decisions import decisions_of_learner
from ssm_hpn.metrics_log import STAGE, MetricsLog, stage_keys
from ssm_hpn.run import Run, free_folder, rss_bytes, run_folder
from ssm_hpn.saved_state import STATE_SCHEMA, check_types
from ssm_hpn.targets import KINDS

Reason = Literal["finished", "interrupted"]
STEP: Final = 1
FIT: Final[dict[str, float]] = {"seconds": 0.0, "series": 0, "without_target": 0}
"""What a fit saves besides its model, and what stands for it in checkpoints without it."""
"""The number of the only checkpoint."""
SUMMARY: Final = "summary.json"


class StopRequestedError(Exception):
    """Ends a fit that was asked to stop."""


@dataclass(frozen=True, slots=True)
class FilterResult:
    """What a call of `FilterTraining.run` ended with."""

    reason: Reason
    folder: Path
    seconds: float
    learner: FilterLearner | None = None
    """The fitted model; None where it was interrupted."""
    series: int = 0
    """Series that it is fitted to."""
    without: int = 0
    """Series of the training part that have no target and are left out."""
    evaluation: Evaluation | None = None
    """Of this call, on all held-out data."""
    already_ended: bool = False
    """The run had ended before: nothing was fitted."""
    notes: list[str] = field(default_factory=list)


class FilterTraining:
    """The fit of one configuration, whose `data` names prepared folders.

    Parameters
    ----------
    config
        With `model.kind` features or auto.
    few
        Fit to the first series alone, at least two of each class, for a trial.

    Raises `ConfigError` for settings that contradict each other or the data.
    """

    def __init__(self, config: Config, *, few: int | None = None) -> None:
        parts = open_parts(config.data)
        contract = parts.contract
        if parts.train is None or contract is None:
            raise DataError(problem("data.train", "a prepared folder", "none", "name one"))
        self.config = resolve_filters(config, data_shape(*parts.manifests))
        self.contract: Contract = contract
        class_weights(self.config, contract, len(contract.classes or ()))
        self.feed = Feed(self.config, parts.train, parts.validation)
        self.train_folder: Path = parts.train
        self.validation_folder = parts.validation
        self.kind = KINDS[self.config.model.target.kind]
        self.stop_requested = False
        self.count = 0
        """Series that are fitted; 0 until they are read."""
        self._without = 0
        self._told: Callable[[str], None] = lambda _: None
        self._few = few
        self._began = self._stage_began = time.monotonic()
        self._stage: str | None = None
        self._log: MetricsLog | None = None

    def request_stop(self) -> None:
        """Ask the fit to end at the next block of features; safe in a signal handler."""
        self.stop_requested = True

    def run(self, *, resume: str = "auto", told: Callable[[str], None] = lambda _: None) -> FilterResult:
        """Fit, unless the run has ended before.

        `resume`: auto; must: it is an error if there is no run; never: start anew, in a folder of its own. `told` is
        called with the name of each stage that begins.
        """
        self._began, self._told = time.monotonic(), told
        files = Run(free_folder(self.config) if resume == "never" else run_folder(self.config), self.config)
        with files.lock():
            files.clean()
            if files.checkpoints.folders():
                return self._ended(files)
            if resume == "must":
                advice = "train first, or use --resume auto"
                raise CheckpointError(problem(files.folder, "a checkpoint to go on from", "none", advice))
            files.describe()
            self._log = MetricsLog(files.metrics, self._keys())
            try:
                learner, evaluation = self._fit(files)
            except StopRequestedError:
                return FilterResult("interrupted", files.folder, self._seconds())
            finally:
                self._log.close()
        counts = self.count, self._without
        return FilterResult("finished", files.folder, self._seconds(), learner, *counts, evaluation=evaluation)

    def _ended(self, files: Run) -> FilterResult:
        """The result of a run that has its checkpoint."""
        files.repair()
        loaded = FilterModel.load(files.folder)
        if self.validation_folder is not None and marked_best(files.folder) is None:
            files.checkpoints.mark_best(STEP)
        learner = FilterLearner(self.config, loaded.model, self.feed, folder=loaded.folder, step=loaded.step)
        extra = FIT | loaded.extra
        check_types(loaded.folder, extra, {key: (int, float) if key == "seconds" else int for key in FIT}, of="a fit")
        return FilterResult(
            "finished",
            files.folder,
            float(extra["seconds"]),
            learner,
            extra["series"],
            extra["without_target"],
            already_ended=True,
            notes=loaded.notes,
        )

    # ---- the stages

    def _fit(self, files: Run) -> tuple[FilterLearner, Evaluation | None]:
        self._begin("read")
        labelled = self._read()
        settings, classes = self.config.model.filters, self.contract.classes
        model = FilterModel.fit(
            self.contract,
            labelled.series,
            Targets(
                labelled.codes,
                len(classes or ()),
                labelled.numbers,
                class_weight=class_weights(self.config, self.contract, len(classes or ())),
            ),
            settings=FilterSettings(effort=settings.effort, causal=settings.causal, seed=self.config.train.seed),
            threads=self.config.train.threads,
            watch=self._watch,
        )
        folder = files.checkpoints.root / step_name(STEP)
        learner = FilterLearner(self.config, model, self.feed, folder=folder, step=STEP)
        self._begin("evaluation")
        evaluation = None if self.validation_folder is None else learner.evaluate()
        found = left_out(model)
        self._row({"step": STEP, **found, **_named("eval", evaluation)})
        if evaluation is not None:
            files.write_evaluation(evaluation, about={"class_names": learner.class_names, "prototype_cosines": None})
            facts = evaluation.facts(self.contract.value_names)
            if (decisions := decisions_of_learner(learner)) is not None:
                write_decisions(files.folder, decisions)
            about = {"updates": STEP, "reason": "finished", "tables": [], "left_out": finite(found)}
            files.write_json(SUMMARY, facts | about)
        state = {
            "schema": STATE_SCHEMA,
            "config": self.config.used(),
            "config_digest": self.config.digest(),
            "seconds": self._seconds(),
            "series": self.count,
            "without_target": self._without,
        }
        files.checkpoints.save(
            STEP, lambda root, name: _save(model, Path(root) / name, state), best=None if evaluation is None else STEP
        )
        return learner, evaluation

    def _read(self) -> Labelled:
        """The series with a target; how many have none is counted."""
        data = joined(self._watched(of_folder(self.train_folder, self.contract, self.kind)))
        rows = np.flatnonzero(data.known)
        self._without = len(data.series) - len(rows)
        labelled = data.of(rows)
        if self._few is not None:
            labelled = labelled.of(_first(labelled, self._few))
        self._check(labelled)
        if self.validation_folder is not None:
            held_out = of_folder(self.validation_folder, self.contract, self.kind)
            if not any(group.known.any() for group in held_out):
                advice = "label some of the held-out documents, or hold out others"
                raise DataError(problem(self.validation_folder, "at least one target", "none", advice))
        self.count = len(labelled.series)
        return labelled

    def _check(self, labelled: Labelled) -> None:
        """Refuse data that nothing can be learned from."""
        classes = self.contract.classes
        if labelled.codes is not None:
            there = np.unique(labelled.codes[labelled.codes >= 0])
            if len(there) < 2:
                found = "none" if not len(there) else "one class"
                if len(there) and classes is not None:
                    found = f"one class ({classes.names[there[0]]})"
                advice = "add series of another class: a classifier has to choose"
                raise DataError(problem(self.train_folder, "series of at least two classes", found, advice))
        if labelled.numbers is not None:
            fewest = int((~np.isnan(labelled.numbers)).sum(axis=0).min()) if labelled.numbers.size else 0
            if fewest < 2:
                expected = "at least two series with each number to predict"
                raise DataError(problem(self.train_folder, expected, fewest, "add series with numbers"))

    def _watched(self, groups: Any) -> Any:  # noqa: ANN401 - an iterator of what is given
        for group in groups:
            self._stop_if_asked()
            yield group

    def _watch(self, stage: str) -> None:
        if stage != self._stage:
            self._begin(stage)
        self._stop_if_asked()

    def _stop_if_asked(self) -> None:
        if self.stop_requested:
            raise StopRequestedError

    # ---- rows

    def _keys(self) -> tuple[str, ...]:
        n_values = len(self.contract.values)
        names = [metric.name for metric in metrics_of_kind(self.kind, n_values)] if self.validation_folder else []
        return stage_keys(eval_metrics=names, classes=self.kind.has("class"), numbers=self.kind.has("number"))

    def _begin(self, stage: str) -> None:
        """Write the row of the stage before, and begin one."""
        if self._stage is not None:
            self._row({"step": 0})
        self._stop_if_asked()
        self._stage, self._stage_began = stage, time.monotonic()
        self._told(stage)

    def _row(self, values: dict[str, Any]) -> None:
        assert self._log is not None
        now = time.monotonic()
        row: dict[str, Any] = {
            STAGE: self._stage,
            "time_s": now - self._began,
            "stage_s": now - self._stage_began,
            "data/series": self.count,
            "mem/rss_bytes": rss_bytes(),
        }
        self._log.append(row | values)

    def _seconds(self) -> float:
        return time.monotonic() - self._began


def read_summary(result: FilterResult) -> dict[str, Any] | None:
    """The held-out metrics of a run that has ended, as `Evaluation.facts` has them; None where nothing is held out.

    Where their file was removed, the run is evaluated again.
    """
    learner = result.learner
    if learner is None or learner.validation_folder is None:
        return None
    try:
        return dict(from_json((result.folder / SUMMARY).read_bytes()))
    except (OSError, ValueError, TypeError):
        return learner.evaluate().facts(learner.contract.value_names)


def left_out(model: FilterModel) -> dict[str, float]:
    """How good a fit is by training series that are left out one by one: the columns of the metrics file.

    Accuracy, log loss and strength of classes, mean R² of numbers.
    """
    found = {}
    if model.classes is not None:
        head = model.classes
        chance = head.probabilities(head.ridge.left_out)[np.arange(len(head.labels)), head.labels]
        loss = -np.log(np.maximum(chance, np.finfo(np.float64).tiny))
        found["left_out/accuracy"] = head.left_out_accuracy()
        found["left_out/loss"] = float(np.average(loss, weights=head.sample_weight))
        found["head/strength"] = float(head.ridge.strength[0])
    if model.numbers:
        found["left_out/r2"] = replace(model, classes=None).left_out_score()
    return found


def _save(model: FilterModel, folder: Path, state: dict[str, Any]) -> None:
    model.save(folder, step=STEP, extra=state)


def _named(prefix: str, evaluation: Evaluation | None) -> dict[str, float]:
    return {} if evaluation is None else {f"{prefix}/{name}": value for name, value in evaluation.values.items()}


def _first(labelled: Labelled, count: int) -> np.ndarray[Any, np.dtype[np.intp]]:
    """Numbers of the first series, and of the first two of each class."""
    chosen = set(range(min(count, len(labelled.series))))
    if labelled.codes is not None:
        for code in np.unique(labelled.codes):
            chosen |= set(np.flatnonzero(labelled.codes == code)[:2].tolist())
    return np.array(sorted(chosen), np.intp)
