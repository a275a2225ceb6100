"""The training loop, and its state that is saved in checkpoints.

A run begins with row 0: an evaluation, and the first batch's loss and gradient without an update. Then every update is
followed by what is due after it: evaluation and judgement, a row of metrics, a checkpoint. A checkpoint holds the state
after all of that, so the resumed run does what the uninterrupted one would have done; where a request to stop comes
during an evaluation, it holds the state before, and what is due.
"""

import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from math import nan
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np

from ssm_hpn import callbacks as observers
from ssm_hpn.after_update import Due, Window
from ssm_hpn.agreement import Agreement
from ssm_hpn.cadence import Progress, crossed, due
from ssm_hpn.callbacks import Callback, Event
from ssm_hpn.checkpoints import FOLDER, find_checkpoint, step_name, step_of
from ssm_hpn.config import Config, micro_batches
from ssm_hpn.early_stopping import Judgement, exhausted, judge
from ssm_hpn.errors import CheckpointError, ConfigError, DataError, DivergedError, problem
from ssm_hpn.evaluation import Evaluation, deciding_metric
from ssm_hpn.learner import Learner
from ssm_hpn.metrics import ACCURACY, MOST_CLASSES_IN_CONFUSION, metrics_of, with_bytes
from ssm_hpn.metrics_log import FILLED_IN, MetricsLog, row_keys
from ssm_hpn.prototypes import note_on_smoothing
from ssm_hpn.resuming import check_data, check_model, note_on_added, owns
from ssm_hpn.run import Run, free_folder, rss_bytes, run_folder
from ssm_hpn.same_start import check_same_start
from ssm_hpn.saved_state import check_run
from ssm_hpn.saving import Ranking, Saving
from ssm_hpn.targets import KINDS
from ssm_hpn.update import Update

Reason = Literal["finished", "stopped_early", "interrupted"]
MOST_ROLLBACKS: Final = 3
"""Returns to an earlier checkpoint after which a run that diverges again ends."""


@dataclass(frozen=True, slots=True)
class Result:
    """The result of a run, as `Trainer.fit` returns it.

    >>> from pathlib import Path
    >>> from ssm_hpn import Result
    >>> from ssm_hpn.early_stopping import Judgement
    >>> result = Result("finished", Path("runs/a"), step=300, seconds=12.5, best=Judgement(1.4, 250), evaluation=None)
    >>> f"{result.reason} at step {result.step}; best {result.best.best} at step {result.best.step}"
    'finished at step 300; best 1.4 at step 250'
    """

    reason: Reason
    folder: Path
    step: int
    seconds: float
    """Time spent training, over all calls of `fit` for this run."""
    best: Judgement
    """Best value of the deciding metric, and its step."""
    evaluation: Evaluation | None
    """Last evaluation of this call."""
    resumed_at: int | None = None
    """Step of the checkpoint that this call started from."""
    already_ended: bool = False
    """The run had ended before: nothing was trained."""
    notes: list[str] = field(default_factory=list)
    """Why newer checkpoints were passed over."""


class _StopError(Exception):
    """A request to stop came during an evaluation."""


class Training:
    """One call of `Trainer.fit`."""

    def __init__(self, trainer: Learner, *, resume: str, more: int = 0, callbacks: Sequence[Callback]) -> None:
        observers.check_names(callbacks)
        self.trainer = trainer
        self.ranks = trainer.ranks
        self.callbacks = callbacks if self.ranks.leads else ()
        self.judgement = Judgement()
        self.evaluation: Evaluation | None = None
        self.reason: Reason | None = None
        self.notes: list[str] = []
        self.steps = self.config.train.steps + more
        """Updates after which training ends."""
        self._more = more
        self._resume = resume
        self._evaluates = trainer.validation_folder is not None
        self._metric, self._direction = deciding_metric(self.config.evaluation, self.config.model)
        self._window = Window()
        self._saved_step: int | None = None
        self._resumed_at: int | None = None
        self._resumed_from: Path | None = None
        self._epoch_of_target = 0.0
        self._unfinished: Due | None = None
        self._rate, self._rollbacks = 1.0, 0
        self._damage_told: set[str] = set()
        self._agreement = Agreement(self.ranks, lambda: trainer.stop_requested)
        if not self._evaluates and self.config.early_stopping.patience is not None:
            advice = "name held-out data in data.validation, or leave patience out"
            raise ConfigError(problem("early_stopping.patience", "held-out data to judge by", "none", advice))
        folder = free_folder(self.config) if resume == "never" else run_folder(self.config)
        self.run_files = Run(self.ranks.of_leader(folder), self.config)
        kept = self.config.checkpoint
        self._saving = Saving(self.run_files.checkpoints, background=kept.background and self.ranks.size == 1)
        self._ranking = Ranking(kept.keep_best, self._direction)

    @property
    def config(self) -> Config:
        """The resolved configuration."""
        return self.trainer.config

    def run(self) -> Result:
        """Train until there is a reason to end."""
        with self.run_files.lock() if self.ranks.leads else nullcontext():
            with self.ranks.leader_first():
                if self.ranks.leads:
                    self.run_files.clean()
                offset = self._restore()
            check_same_start(self.trainer)
            already_ended = self.reason is not None
            if not already_ended:
                try:
                    self._recorded(offset)
                except Exception as error:
                    self._tell_of(error)
                    raise
                finally:
                    self.trainer.stop_requested = False  # the request was for this run
            elif self.ranks.leads:
                self.run_files.repair()
        return Result(
            reason=self.reason or "finished",
            folder=self.run_files.folder,
            step=self.trainer.session.step,
            seconds=self._agreement.seconds,
            best=self.judgement,
            evaluation=self.evaluation,
            resumed_at=self._resumed_at,
            already_ended=already_ended,
            notes=self.notes,
        )

    def _recorded(self, offset: int | None) -> None:
        """Train; the rank that leads keeps the record."""
        if not self.ranks.leads:
            self._loop(begins=offset is None)
            return
        keys = self._keys()
        self.run_files.describe()
        self.log = MetricsLog(self.run_files.metrics, keys, offset=offset)
        try:
            self._loop(begins=offset is None)
        finally:
            self._saving.close()
            self.log.close()

    def _loop(self, *, begins: bool) -> None:
        self._agreement.renew()
        self._tell("started", checkpoint=self._resumed_from)
        if begins and not self._first_row():
            self.reason = "interrupted"  # nothing to save: the run begins again
            self._tell("ended", reason=self.reason)
            return
        if self.ranks.leads:
            smoothing = note_on_smoothing(self.config.model.head, self.trainer.session.max_prototype_cosine)
            for note in (smoothing, note_on_added(self.trainer.contract, self.trainer.train_folder), self.log.lost):
                if note is not None:
                    self._tell("noted", note=note)
        self._take_up()
        self._epoch_of_target = self._progress().epoch
        while self.reason is None:
            if self._saving.done:
                self._end_save()
            before = self._progress()
            try:
                update = self.trainer.step(accuracy=self._row_follows(before))
            except DivergedError as error:
                self._roll_back(error)
                continue
            self._agreement.renew()
            self._tell_damage()
            now = self._progress()
            if update.idle:
                self._check_targets(now)
                self.reason = self._reason_to_end()
                continue
            self._epoch_of_target = now.epoch
            last = now.step >= self.steps
            following = Due(
                update,
                evaluation=self._evaluates and (last or due(self.config.evaluation, before, now)),
                row=last or self._log_due(before, now),
                checkpoint=due(self.config.checkpoint, before, now),
            )
            self.reason = self._after(following)
        self._end_save()
        if self._saved_step != self.trainer.session.step:
            self._save()
            self._end_save(last=True)
        self._tell("ended", reason=self.reason)

    def _tell_damage(self) -> None:
        """Note the record batches that were left out of the training data since the last note."""
        if self.config.data.on_corrupt == "skip":
            for line in self.trainer.feed.damage():
                if line not in self._damage_told:
                    self._tell("noted", note=f"left out, as data.on_corrupt is skip: {line}")
                    self._damage_told.add(line)

    def _take_up(self) -> None:
        """Do what was due after the last update of a checkpoint, if anything was left."""
        unfinished, self._unfinished = self._unfinished, None
        self.reason = self._reason_to_end() if unfinished is None else self._after(unfinished)

    def _after(self, due: Due) -> Reason | None:
        """Do what is due after an update; returns the reason to end, if there is one."""
        update = due.update
        try:
            evaluation = self._evaluate() if due.evaluation else None
        except _StopError:
            self._unfinished = due
            return "interrupted"  # saved with what is due
        improved = evaluation is not None and self._judge(evaluation)
        ranked = evaluation is not None and self._ranking.add(evaluation.values[self._metric.name], evaluation.step)
        if evaluation is not None and (improved or self.judgement.step is None):
            self._keep(evaluation)
        self._log(update, evaluation, now=self._progress(), wanted=due.row)
        self._tell("updated", update=update)
        if evaluation is not None:
            self._tell("evaluated", evaluation=evaluation, improved=improved)
        self.reason = self._reason_to_end()
        if improved or (ranked and self.config.checkpoint.keep_best > 1) or self.reason is not None or due.checkpoint:
            self._save()
        return self.reason

    def _roll_back(self, error: DivergedError) -> None:
        """Return to the last checkpoint with a smaller learning rate, or end."""
        self._end_save()
        folders = self.run_files.checkpoints.folders()
        if not folders:
            raise DivergedError(f"{error}; there is no checkpoint yet") from None
        if self.config.train.on_divergence == "stop" or self._rollbacks == MOST_ROLLBACKS:
            raise DivergedError(f"{error}; the last good checkpoint is {folders[0]}") from None
        self._rollbacks += 1
        rate = self._rate * self.config.train.rollback_rate
        state, notes = self.trainer.restore(self.run_files.checkpoints.root, rate=rate)
        self.notes += notes
        seconds = self._agreement.seconds
        check_same_start(self.trainer)
        offset = self._continue(state["extra"])
        if self.ranks.leads:
            self.log.cut_back(offset)
        self._agreement.go_on_from(seconds)
        self._rate = rate
        self._window, self._saved_step = Window(), self.trainer.session.step
        back = f"back at update {self.trainer.session.step} with the learning rate times {rate:g}"
        self._tell("noted", note=f"{str(error).partition(';')[0]}: {back}")
        self._take_up()

    def _check_targets(self, now: Progress) -> None:
        """Refuse to go on after a pass over the training data in which there was no target."""
        if now.epoch - self._epoch_of_target >= 1:
            what = KINDS[self.config.model.target.kind].about
            advice = "label some of the training documents, or name the column with the targets in data.columns"
            where = self.trainer.train_folder
            raise DataError(problem(where, f"a target ({what}) in every epoch", "none in a whole one", advice))

    # ---- what is due

    def _reason_to_end(self) -> Reason | None:
        if self.trainer.session.step >= self.steps:
            return "finished"
        if exhausted(self.judgement, self.config.early_stopping.patience):
            return "stopped_early"
        return "interrupted" if self._agreement.stop else None

    def _log_due(self, before: Progress, now: Progress) -> bool:
        return crossed(self.config.train.log_every, before.step, now.step)

    def _row_follows(self, before: Progress) -> bool:
        """Whether the next update is written to a row by the number of steps; accuracy is counted only then."""
        after = before._replace(step=before.step + 1)
        last = after.step >= self.steps
        return last or self._log_due(before, after) or due(self.config.evaluation, before, after)

    def _progress(self) -> Progress:
        return self.trainer.progress(self._agreement.seconds)

    # ---- evaluating and logging

    def _evaluate(self) -> Evaluation | None:
        if not self._evaluates:
            return None
        self.evaluation = self.trainer.evaluate_together(self._stop_if_asked)
        return self.evaluation

    def _stop_if_asked(self) -> None:
        self._agreement.renew()
        if self._agreement.stop:
            raise _StopError

    def _keep(self, evaluation: Evaluation) -> None:
        """Write the evaluation that the report shows: that of the best checkpoint."""
        if not self.ranks.leads:
            return
        about = {"class_names": self.trainer.class_names, "prototype_cosines": prototype_cosines(self.trainer)}
        self._written(lambda: self.run_files.write_evaluation(evaluation, about=about))

    def _judge(self, evaluation: Evaluation) -> bool:
        self.judgement, improved = judge(
            self.judgement,
            evaluation.values[self._metric.name],
            evaluation.step,
            direction=self._direction,
            min_change=self.config.early_stopping.min_change,
        )
        return improved

    def _first_row(self) -> bool:
        """Write row 0: an evaluation of the untrained model, and the first batch's loss and gradient, not applied.

        False where a request to stop came before it was written.
        """
        trainer = self.trainer
        started = time.perf_counter()
        batch = trainer.feed.peek()
        data_seconds = time.perf_counter() - started
        report = trainer.forward_backward(batch, accuracy=True)
        update = Update(
            step=trainer.session.step,
            applied=True,
            loss=report["loss"] if report["count"] else nan,
            accuracy=report["correct"] / report["scored"] if report["scored"] else None,
            count=report["count"],
            tokens=batch.n_tokens,
            lr=trainer.session.next_lr,
            grad_norm=trainer.session.grad_norm(),
            update_norm=0.0,
            clipped=False,
            skipped=trainer.session.skipped,
            data_seconds=data_seconds,
            compute_seconds=time.perf_counter() - started - data_seconds,
        )
        trainer.zero_grad()
        try:
            evaluation = self._evaluate()
        except _StopError:
            return False
        self._log(update, evaluation, now=self._progress(), wanted=True)
        if evaluation is not None:
            self._keep(evaluation)
            self._tell("evaluated", evaluation=evaluation)
        return True

    def _log(self, update: Update, evaluation: Evaluation | None, *, now: Progress, wanted: bool) -> None:
        """Add an update to the window, and write a row if one is wanted or the update was skipped."""
        self._window.add(update)
        if not self.ranks.leads or (not wanted and evaluation is None and update.applied):
            return
        row: dict[str, float | int | None] = {
            "step": now.step,
            "epoch": now.epoch,
            "time_s": now.seconds,
            "skipped_steps": update.skipped,
            "train/loss": update.loss if update.count else None,
            "train/accuracy": update.accuracy,
            "train/lr": update.lr,
            "train/grad_norm": update.grad_norm,
            "train/update_norm": update.update_norm,
            "train/clipped": int(update.clipped),
            "head/max_prototype_cosine": self.trainer.session.max_prototype_cosine,
            "mem/rss_bytes": rss_bytes(),
            "data/tokens_seen": self.trainer.tokens_seen,
            "data/damaged": self.trainer.feed.skipped,
            **self._window.row(),
        }
        if evaluation is not None:
            row |= {f"eval/{name}": value for name, value in evaluation.values.items()}
        self._written(lambda: self.log.append({key: value for key, value in row.items() if key in self.log.keys}))
        self._window = Window()
        self._tell("logged", row={key: row.get(key) for key in self.log.keys if key not in FILLED_IN})

    def _keys(self) -> tuple[str, ...]:
        model = self.config.model
        names = [metric.name for metric in with_bytes(metrics_of(model), self.trainer.bytes_per_token)]
        return row_keys(
            eval_metrics=names if self._evaluates else [],
            classes=ACCURACY.name in names,
            prototypes=self.trainer.session.max_prototype_cosine is not None,
            shared=micro_batches(self.config.train).virtual_ranks > 1,
            damaged=self.config.data.on_corrupt == "skip",
        )

    # ---- saving and restoring

    def _save(self) -> None:
        """Save, or begin to, after waiting for the save before. Ranks save together, and fail together."""
        self._end_save()
        step = self.trainer.session.step

        def begin() -> None:
            state = self.ranks.together(self._to_save)
            if self._saving.background and self.reason is None:
                write = self.trainer.copied(extra=state)
            else:
                write = lambda root, name: self.trainer.save_into(root, name, extra=state)  # noqa: E731
            if self.ranks.leads:
                self._saving.begin(step, write, best=self.judgement.step, spared=self._ranking.steps)
            else:
                write(str(self.run_files.checkpoints.root), step_name(step))
                self._saved_step = step

        self._written(begin, last=self.reason is not None)
        if self.reason is not None or not self._saving.background:
            self._end_save(last=self.reason is not None)

    def _to_save(self) -> dict[str, Any]:
        """The state of the loop; the rank that leads also makes ready to write it."""
        if self.ranks.leads:
            self.run_files.checkpoints.root.mkdir(parents=True, exist_ok=True)
        return {
            "seconds": self._agreement.seconds,
            "judgement": list(self.judgement),
            "ranking": self._ranking.saved(),
            "metrics_offset": self.log.sync() if self.ranks.leads else 0,
            "callbacks": observers.states(self.callbacks),
            "reason": None if self.reason == "interrupted" else self.reason,
            "rate": self._rate,
            "unfinished": None if self._unfinished is None else self._unfinished.saved(),
        }

    def _end_save(self, *, last: bool = False) -> None:
        """Wait for the save in progress, and say what became of it."""

        def finish() -> None:
            folder = self._saving.finish()
            if folder is not None:
                self._saved_step = step_of(folder)
                self._tell("saved", checkpoint=folder, improved=self.judgement.step == step_of(folder))

        self._written(finish, last=last)

    def _written(self, write: Callable[[], None], *, last: bool = False) -> None:
        """Write something of the run. Where it fails, go on with a note if that is wanted and not the last save."""
        try:
            write()
        except OSError as error:
            if last or self.config.checkpoint.on_save_error == "stop":
                raise
            self._tell("noted", note=f"{error}; training goes on")

    def _restore(self) -> int | None:
        """Restore a checkpoint; returns the length of the metrics file at that time, None for a new run."""
        found: tuple[dict[str, Any], list[str]] | None = None
        own, wanted, folder = True, self.config.model, self.run_files.folder
        if self._resume in ("auto", "must"):
            if self.run_files.checkpoints.folders():
                found = self.trainer.restore(self.run_files.checkpoints.root)
            elif self._resume == "must":
                advice = "train first, or use --resume auto"
                raise CheckpointError(problem(self.run_files.folder, "a checkpoint to go on from", "none", advice))
        elif self._resume != "never":
            folder = find_checkpoint(Path(self._resume))
            own = owns(self.run_files, folder)
            found = self.trainer.restore(folder)
        if found is None:
            return None
        state, self.notes = found
        self._resumed_at = self.trainer.session.step
        chosen = (folder / FOLDER / step_name(self._resumed_at), folder / step_name(self._resumed_at))
        self._resumed_from = next((one for one in chosen if one.is_dir()), folder)
        if not own:  # weights, moments and data position are those of another run, and a new record begins
            check_model(self.config.model, wanted, where=self._resume)
            check_data(self.config, state, where=self._resume)
            return None
        self._saved_step = self._resumed_at
        offset = self._continue(state["extra"])
        self._rate = state["extra"].get("rate", 1.0)
        if self._rate != 1:
            self.trainer.restore(self.run_files.checkpoints.root, rate=self._rate)
        if self.ranks.leads:
            self.run_files.checkpoints.tidy(best=self.judgement.step, spared=self._ranking.steps)
        return offset

    def _continue(self, extra: dict[str, Any]) -> int:
        check_run(self.run_files.folder, extra)
        self._agreement.seconds_before = extra["seconds"]
        self.judgement = Judgement(*extra["judgement"])
        self.reason = extra["reason"]
        self._ranking.restore(extra.get("ranking", []))
        unfinished = extra.get("unfinished")
        self._unfinished = None if unfinished is None else Due.restored(unfinished)
        if self._more > 0 and self.trainer.session.step < self.steps and self.reason is not None:
            self.reason, self.judgement = None, self.judgement._replace(waited=0)
        observers.restore(self.callbacks, extra["callbacks"])
        return int(extra["metrics_offset"])

    def _tell_of(self, error: Exception) -> None:
        """Tell all callbacks of an error. One that fails at it is noted in the error, and the others are told."""
        for callback in self.callbacks:
            try:
                callback.failed(self._event(error=error))
            except Exception as another:  # noqa: BLE001 - what a callback may raise is not known
                error.add_note(f"the callback {callback.name} failed too: {another}")

    def _tell(self, what: str, **happened: Any) -> None:  # noqa: ANN401 - the fields of Event
        event = self._event(**happened)
        for callback in self.callbacks:
            getattr(callback, what)(event)

    def _event(self, **happened: Any) -> Event:  # noqa: ANN401 - the fields of Event
        progress = self._progress()
        return Event(trainer=self.trainer, folder=self.run_files.folder, progress=progress, more=self._more, **happened)


def prototype_cosines(trainer: Learner) -> list[list[float]] | None:
    """Cosines between all prototypes [C][C], where there are prototypes and not many."""
    rows = {row["id"]: row for row in trainer.parameter_table()}
    found = rows.get("head.prototypes")
    if found is None or found["shape"][0] > MOST_CLASSES_IN_CONFUSION:
        return None
    p = trainer.parameter("head.prototypes").astype(np.float64)
    p = p[: len(p) - getattr(trainer.config.model.head, "spare", 0)]
    p /= np.maximum(np.linalg.norm(p, axis=1, keepdims=True), 1e-12)
    return [[round(float(value), 6) for value in line] for line in p @ p.T]
