"""Output during training: a bar in a terminal, plain lines elsewhere, and continuations of a prompt."""

import json
import time
from collections.abc import Callable, Mapping
from math import inf, isfinite
from typing import TYPE_CHECKING, Any

from ssm_hpn.callbacks import Callback, Event
from ssm_hpn.checkpoints import FOLDER
from ssm_hpn.cli.console import duration, shown_path
from ssm_hpn.cli.prompts import continued
from ssm_hpn.clock import timestamp
from ssm_hpn.counts import counted
from ssm_hpn.evaluation import deciding_metric
from ssm_hpn.foreign import from_json
from ssm_hpn.metrics import metrics_of, with_bytes
from ssm_hpn.printable import printable
from ssm_hpn.storage import append_line, write_whole

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress, TaskID

    from ssm_hpn.prepare.encode import Encoder

PLAIN_SECONDS = 5.0
MEMORY = 0.9
"""Weight of the old average of updates when another one is added."""
SAMPLES = "samples.jsonl"


class _Mean:
    """Mean accuracy over the updates since the last line, weighted by their targets; not every update is counted."""

    def __init__(self) -> None:
        self._sum = self._weight = 0.0
        self._closed: float | None = None

    def add(self, value: float | None, weight: int) -> None:
        if value is not None:
            self._sum += value * weight
            self._weight += weight

    def close(self) -> None:
        """Close the span: its mean is shown until the next one closes; without targets the last mean is kept."""
        if self._weight:
            self._closed = self._sum / self._weight
            self._sum = self._weight = 0.0

    @property
    def value(self) -> float | None:
        """Mean of the last closed span; before the first one, of the present span."""
        if self._closed is None and self._weight:
            return self._sum / self._weight
        return self._closed


class ProgressDisplay(Callback):
    """Loss (smoothed), accuracy (mean since the last line), tokens per second and time left.

    `metrics.jsonl` has both as they were in single updates.
    """

    name = "progress"

    def __init__(self, console: "Console", introduce: Callable[[], None] = lambda: None) -> None:
        self._console = console
        self._introduce: Callable[[], None] | None = introduce
        self._bar: Progress | None = None
        self._task: TaskID | None = None
        self._loss: float | None = None
        self._accuracy = _Mean()
        self._began = self._last_line = 0.0
        self._first_step = 0
        self._tokens = self._seconds = 0.0  # exponential averages over the last updates
        self._updated = False
        self._at_first: float | None = None  # the deciding metric before the first update, which is never the best

    def started(self, event: Event) -> None:
        """Open the bar."""
        self._first_words()
        if event.checkpoint is not None:
            found = event.checkpoint
            of = f" of {shown_path(found.parent.parent)}, from {found.name}"
            of = of if found.parent.name == FOLDER else f", from {shown_path(found)}"
            at = f"going on at update {event.progress.step}{of}"
            self._console.print(at, markup=False)
        self._began = time.monotonic()
        self._first_step = event.progress.step
        if self._console.is_terminal:
            from rich.progress import BarColumn, Progress, TextColumn  # slow to import, and needed only for terminals

            self._bar = Progress(
                TextColumn("{task.percentage:>3.0f}%"),
                BarColumn(30),
                TextColumn("{task.description}"),
                console=self._console,
            )
            self._task = self._bar.add_task("", total=_steps(event), completed=event.progress.step)
            self._bar.start()

    def updated(self, event: Event) -> None:
        """Advance the bar."""
        update = event.update
        if update is None:
            return
        self._updated = True
        # as in metrics.jsonl: tokens per second of training, without the time of evaluating and saving
        self._tokens = MEMORY * self._tokens + update.tokens
        self._seconds = MEMORY * self._seconds + update.data_seconds + update.compute_seconds
        if not update.applied and not update.idle:
            self._say(f"step {update.step}: an update was skipped, its loss or gradient is not finite")
            return
        self._loss = update.loss if self._loss is None else MEMORY * self._loss + (1 - MEMORY) * update.loss
        self._accuracy.add(update.accuracy, update.count)
        last = update.step >= _steps(event)
        due = time.monotonic() - self._last_line > PLAIN_SECONDS or last
        if due:
            self._last_line = time.monotonic()
            self._accuracy.close()
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, completed=update.step, description=self._text(event))
        elif due:
            self._say(self._text(event))

    def evaluated(self, event: Event) -> None:
        """Print an evaluation of held-out data."""
        if event.evaluation is None:
            return
        self._first_words()
        values = event.evaluation.values
        metrics = with_bytes(metrics_of(event.trainer.config.model), event.evaluation.totals.bytes_per_token)
        shown = "  ".join(f"{metric.name} {metric.show(values[metric.name])}" for metric in metrics)
        mark = "  (best so far)" if self._is_best(event, values) else ""
        self._say(f"[held out] step {event.evaluation.step}  {shown}{mark}")

    def _say(self, text: str) -> None:
        """Print a line; where it goes to a file, the time in UTC comes first."""
        clock = "" if self._console.is_terminal else f"{timestamp()} "
        self._console.print(f"{clock}{text}", markup=False)

    def _is_best(self, event: Event, values: Mapping[str, float]) -> bool:
        """Whether no evaluation was better, not even that before the first update."""
        metric, direction = deciding_metric(event.trainer.config.evaluation, event.trainer.config.model)
        value = values[metric.name]
        if not self._updated and self._at_first is None and not event.improved:
            self._at_first = value if isfinite(value) else None  # for JSON
            self._began = time.monotonic()  # the time that is left is that of updates
        first = self._at_first
        if not event.improved or first is None:
            return event.improved
        return value < first if direction == "min" else value > first

    def state(self) -> Mapping[str, Any]:
        """The value that later evaluations are compared with."""
        return {"at_first": self._at_first}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Restore it."""
        value = state.get("at_first")
        self._at_first = value if isinstance(value, int | float) else None

    def noted(self, event: Event) -> None:
        """Print a note."""
        self._console.print(f"note       {printable(event.note or '')}", markup=False, soft_wrap=True)

    def ended(self, event: Event) -> None:  # noqa: ARG002 - argument of the base class
        """Close the bar."""
        self.close()

    def close(self) -> None:
        """Close the bar, also after an error."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def _first_words(self) -> None:
        """Print the model and the schedule before the first update; nothing for a run that has ended."""
        introduce, self._introduce = self._introduce, None
        if introduce is not None:
            introduce()

    def _text(self, event: Event) -> str:
        steps = _steps(event)
        seconds = max(time.monotonic() - self._began, 1e-9)
        done = event.progress.step - self._first_step
        left = duration(seconds / done * (steps - event.progress.step)) if done else "?"
        mean = self._accuracy.value
        accuracy = "" if mean is None else f"  accuracy {mean:.3f}"
        rate = self._tokens / max(self._seconds, 1e-9)
        lost = event.trainer.feed.skipped
        damaged = f"  {counted(lost, 'damaged batch', 'damaged batches')} left out" if lost else ""
        return (
            f"step {event.progress.step}/{steps}  loss {self._loss:.3f}{accuracy}  {rate:,.0f} tokens/s{damaged}"
            f"  {left} left"
        )


def _step_of(line: str) -> float:
    """The update of a sample; infinite for an incomplete line."""
    try:
        return float(from_json(line)["step"])
    except (ValueError, LookupError, TypeError):
        return inf


def _steps(event: Event) -> int:
    """Updates after which training ends."""
    return event.trainer.config.train.steps + event.more


class Continuation(Callback):
    """Prints a continuation of the prompt at every evaluation, and appends it to `samples.jsonl`."""

    name = "continuation"

    def __init__(self, console: "Console", encoder: "Encoder", prompt: str) -> None:
        self._console = console
        self._encoder = encoder
        self._prompt = prompt
        self._tokens = encoder.encode_text(prompt)

    def started(self, event: Event) -> None:
        """Remove the samples of updates after the checkpoint that training is resumed from."""
        file = event.folder / SAMPLES
        lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
        kept = [line for line in lines if _step_of(line) <= event.progress.step]
        if event.progress.step and lines != kept:
            write_whole(file, "".join(line + "\n" for line in kept))

    def evaluated(self, event: Event) -> None:
        """Print one continuation and append it to the file; its seed is the step, so that it can be repeated."""
        settings = event.trainer.config.evaluation
        tokens = event.trainer.generate(
            self._tokens, settings.continuation, temperature=settings.temperature, seed=event.progress.step
        )
        prompt, text = continued(self._encoder, self._prompt, self._tokens, tokens)
        sample = {"step": event.progress.step, "prompt": prompt, "text": text}
        if event.progress.step:
            append_line(event.folder / SAMPLES, json.dumps(sample))
        else:
            write_whole(event.folder / SAMPLES, json.dumps(sample) + "\n")
        shown = printable(prompt + text).replace("\n", "\n  | ")
        self._console.print(f"  | {shown}", markup=False, style="dim")
