"""The files of a run as `report` and `compare` read them.

Where a table has one number for a metric, it is that of one update: the update of the checkpoint that is kept as the
best and that `predict` and `evaluate` load.
"""

from dataclasses import dataclass, field
from functools import cached_property
from math import isfinite
from pathlib import Path
from typing import Any, Final, TypeGuard

from ssm_hpn import metrics
from ssm_hpn.checkpoints import is_run, marked_best, no_run
from ssm_hpn.config import to_toml
from ssm_hpn.curves import Number
from ssm_hpn.decisions import Decisions, read_decisions
from ssm_hpn.errors import ConfigError, DataError, problem
from ssm_hpn.foreign import from_json, from_toml
from ssm_hpn.metrics_log import read_rows
from ssm_hpn.printable import printable
from ssm_hpn.run import checkpointed_config, contract_in
from ssm_hpn.targets import KINDS

ABOUT: Final = 11
"""Characters of a line of a contract before its text."""
SIGNS = {"min": 1.0, "max": -1.0}
"""Factor by direction that makes the smallest value of a metric the best."""


@dataclass(frozen=True)
class RunRecord:
    """The files of a run, read."""

    folder: Path
    rows: list[dict[str, Number]]
    config: dict[str, Any]
    config_text: str
    environment: dict[str, Any]
    evaluation: dict[str, Any]
    summary: dict[str, Any]
    baselines: list[dict[str, Any]]
    samples: list[dict[str, Any]]
    marked: int | None
    """The update of the checkpoint that is marked as the best."""
    decisions: Decisions | None = None
    data: list[tuple[str, str]] = field(default_factory=list)
    """The contract of its data in lines: what each is about, and its text. Empty where no checkpoint has one."""

    @property
    def name(self) -> str:
        """Name of its folder."""
        return self.folder.resolve().name

    @property
    def task(self) -> str | None:
        """Kind of target in the configuration; None where it has none."""
        kind: str | None = setting(self.config.get("model", {}), "target", "kind")
        return kind

    @property
    def fits_features(self) -> bool:
        """Whether it fits features by stages, and does not train a backbone by updates."""
        return bool(setting(self.config, "model", "kind") == "features")

    @property
    def loss_kind(self) -> str | None:
        """Kind of loss in the configuration; None where it has none.

        That of features is the one of a backbone with these losses: a cross entropy of classes, squares of numbers.
        """
        if self.fits_features and self.task in KINDS:
            of_classes, of_numbers = (KINDS[self.task].has(element) for element in ("class", "number"))
            return None if of_classes and of_numbers else "softmax" if of_classes else "squared"
        loss = setting(self.config.get("model", {}), "head", "loss")
        return loss.get("kind") if isinstance(loss, dict) else loss

    @property
    def data_digest(self) -> str | None:
        """Digest of its data in the configuration; None where it has none."""
        digest: str | None = setting(self.config, "data", "digest")
        return digest

    def column(self, key: str) -> list[Number]:
        """One key of all rows."""
        return [row.get(key) for row in self.rows]

    def has(self, key: str) -> bool:
        """Whether any row has a number there."""
        return any(is_finite(value) for value in self.column(key))

    def evaluated(self) -> list[str]:
        """Names of the held-out metrics, in the order of the file."""
        return [key.removeprefix("eval/") for key in self.rows[0] if key.startswith("eval/")]

    def last(self, key: str) -> Number:
        """The last number of a column."""
        return next((value for value in reversed(self.column(key)) if is_finite(value)), None)

    @cached_property
    def best_step(self) -> Number:
        """The update of the checkpoint that `predict` loads; None where nothing was evaluated."""
        evaluated = [row for row in self.rows if any(is_finite(row.get(f"eval/{name}")) for name in self.evaluated())]
        steps = [row["step"] for row in evaluated]
        if self.marked in steps:
            return self.marked
        return self._best_by_metric(evaluated) or next(reversed(steps), None)

    def _best_by_metric(self, evaluated: list[dict[str, Number]]) -> Number:
        """The best update by the metric that decides, for files without their checkpoints."""
        settings = self.config.get("evaluation", {})
        metric = str(settings.get("metric") or metrics.LOSS.name).removeprefix("eval/")
        direction = settings.get("direction")
        sign = SIGNS.get(direction, sign_of(metric))
        key = f"eval/{metric}"
        found = [(sign * value, row["step"]) for row in evaluated if row["step"] and is_finite(value := row.get(key))]
        return min(found, key=lambda one: one[0])[1] if found else None

    def at(self, step: Number, key: str) -> Number:
        """One key of the row of an update."""
        return next((row.get(key) for row in self.rows if row["step"] == step), None)

    @property
    def complete(self) -> dict[str, Any]:
        """The `Evaluation.facts` on all held-out data; empty where they are not of the update that is kept."""
        return self.summary if self.summary and self.summary.get("step") == self.best_step else {}

    @property
    def decided(self) -> Decisions | None:
        """The decisions on held-out data; None where they are not of the update that is kept."""
        found = self.decisions
        return found if found is not None and found.step in (None, self.best_step) else None

    def targets(self, *, complete: bool) -> Number:
        """Targets that held-out values are means over; None where the files do not say."""
        if complete:
            return self.complete.get("targets")
        count: Number = self.evaluation.get("targets") if self.evaluation.get("step") == self.best_step else None
        return count

    def result(self, metric: str, *, complete: bool) -> Number:
        """A held-out metric at the update that is kept: on all held-out data, or as evaluated during training."""
        if complete:
            value: Number = self.complete.get("metrics", {}).get(metric)
            return value
        return self.at(self.best_step, f"eval/{metric}")


def sign_of(metric: str) -> float:
    """1 where the smallest value of a metric is the best, -1 where the largest is."""
    known = metrics.METRICS.get(metric)
    return SIGNS[known.direction if known else "min"]


def read_run(folder: Path) -> RunRecord:
    """Read the files of a run; an error says which is missing or damaged."""
    if not is_run(folder):
        raise ConfigError(no_run(folder, "a run"))
    rows = read_rows(folder / "metrics.jsonl")
    if not rows:
        raise DataError(problem(folder / "metrics.jsonl", "at least one row", "none", "train first"))
    text = _settings(folder)
    baselines = _json(folder / "baselines.json")
    samples = (_text(folder / "samples.jsonl") or "").splitlines()
    return RunRecord(
        folder=folder,
        rows=rows,
        config=from_toml(text),
        config_text=text,
        environment=_json(folder / "environment.json"),
        evaluation=_json(folder / "evaluation.json"),
        summary=_json(folder / "summary.json"),
        baselines=baselines.get("scores", []),
        marked=marked_best(folder),
        decisions=read_decisions(folder),
        data=_data(folder),
        samples=[sample for line in samples if isinstance(sample := _sample(line), dict)],
    )


def is_finite(value: Number) -> TypeGuard[float]:
    """Whether there is a number."""
    return value is not None and isfinite(value)


def setting(config: dict[str, Any], section: str, key: str) -> Any:  # noqa: ANN401 - any setting
    """One setting of a section; None where it is not there."""
    found = config.get(section)
    return found.get(key) if isinstance(found, dict) else None


def _text(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(problem(path, "a readable file", error, "restore or remove it")) from None


def _settings(folder: Path) -> str:
    """The text of config.toml; where that is empty or torn, the settings in a checkpoint."""
    path = folder / "config.toml"
    damage: Exception | None = None
    try:
        text = path.read_text(encoding="utf-8")
        if from_toml(text):
            return text
    except FileNotFoundError:
        pass
    except (OSError, ValueError) as error:
        damage = error
    saved = checkpointed_config(folder)
    if saved is not None:
        return to_toml(saved)
    if damage is not None:
        raise DataError(problem(path, "TOML", damage, "restore the file"))
    return ""


def _data(folder: Path) -> list[tuple[str, str]]:
    """The lines of the contract in a checkpoint, each cut after the word that it begins with."""
    contract = contract_in(folder, folder)
    lines = [] if contract is None else contract.describe()
    return [(line[:ABOUT].strip(), printable(line[ABOUT:].strip())) for line in lines]


def _sample(line: str) -> Any:  # noqa: ANN401 - any JSON
    """A line of samples.jsonl; None for an incomplete one."""
    try:
        return from_json(line)
    except ValueError:
        return None


def _json(path: Path) -> dict[str, Any]:
    """The object in a file; empty where there is none."""
    text = _text(path)
    if text is None:
        return {}
    try:
        found = from_json(text)
    except ValueError as error:
        raise DataError(problem(path, "JSON", error, "restore or remove it")) from None
    if not isinstance(found, dict):
        raise DataError(problem(path, "a JSON object", type(found).__name__, "restore or remove it"))
    return found
