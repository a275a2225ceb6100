"""What a run has come to: its held-out metrics beside those of n-gram tables, and where everything lies.

summary.json     metrics on all held-out data, so that a run that has ended is shown again at once
baselines.json   the tables that were fitted to the same bytes
"""

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from ssm_hpn.cli.console import duration, shown_path, table, titled
from ssm_hpn.dataset import read_manifest
from ssm_hpn.metrics import metrics_of, with_bytes
from ssm_hpn.report import write_report
from ssm_hpn.run import Run
from ssm_hpn.trainer import Trainer

if TYPE_CHECKING:
    from rich.console import Console

    from ssm_hpn.training import Result

SUMMARY: Final = "summary.json"
BASELINES: Final = "baselines.json"


def summary(trainer: Trainer, result: "Result", screen: "Console") -> str:
    """Everything that is said at the end of a run, without what to type next."""
    how = {"finished": "finished", "stopped_early": "stopped early, as nothing improved any more,"}[result.reason]
    lines = [f"\n{how} after {result.step} updates, {duration(result.seconds)}"]
    found = _held_out(trainer, result, screen)
    if found is not None:
        lines.append(_table(trainer, found))
        batches = trainer.config.evaluation.batches
        if batches != "all":
            lines.append(
                f"\n  over all held-out data; evaluations during training used {batches} of its batches at most"
            )
    if result.best.step is not None:
        name = trainer.config.evaluation.metric.removeprefix("eval/")
        value = f"{result.best.best:.4f} at update {result.best.step}"
        lines.append(f"\n  best {name} of the evaluations after training began: {value}")
    folder = shown_path(result.folder)
    lines += [f"\n  checkpoints  {folder}/checkpoints", f"  metrics      {folder}/metrics.jsonl"]
    lines.append(f"  report       {shown_path(write_report(result.folder))}")
    return "\n".join(lines)


def _held_out(trainer: Trainer, result: "Result", screen: "Console") -> dict[str, Any] | None:
    """Metrics on all held-out data after the last update, and the tables; from the files if they are there."""
    if trainer.validation_folder is None:
        return None
    known = _read(result.folder / SUMMARY)
    if known is not None and known.get("step") == result.step:
        return known
    with screen.status("evaluating on all held-out data"):
        evaluation = trainer.evaluate("all")
    values, numbers = evaluation.values, evaluation.totals.numbers
    found: dict[str, Any] = {"step": result.step, "reason": result.reason, "metrics": values, "tables": []}
    if numbers is not None:
        found |= {"mean_predictor": numbers.mean_predictor(), "per_number": numbers.per_number()}
    run = Run(result.folder, trainer.config)
    if "bits_per_token" in values and _reads_bytes(trainer):
        from ssm_hpn.baselines import compare  # pyarrow only at the end

        with screen.status("fitting n-gram tables to the same bytes"):
            scores = compare(trainer.train_folder or Path(), trainer.validation_folder)
        found["tables"] = [asdict(score) | {"name": score.name} for score in scores]
        run.write_json(BASELINES, {"scores": found["tables"]})
    run.write_json(SUMMARY, found)
    return found


def _table(trainer: Trainer, found: dict[str, Any]) -> str:
    values = found["metrics"]
    if not found["tables"]:
        metrics = with_bytes(metrics_of(trainer.config.model), values.get("bits_per_byte"))
        mean = found.get("mean_predictor") or {}
        rows = [
            [titled(metric), metric.show(values[metric.name])]
            + ([metric.show(mean[metric.name]) if metric.name in mean else ""] if mean else [])
            for metric in metrics
        ]
        return table(["all held-out data", "value", *(["mean predictor"] if mean else [])], rows)
    rows = [[one["name"], f"{one['accuracy']:.3f}", f"{one['bits_per_byte']:.3f}"] for one in found["tables"]]
    ours = ["this model", f"{values['accuracy']:.3f}", f"{values['bits_per_token']:.3f}"]
    return table(["held-out files", "accuracy", "bits per byte"], [*rows, ours])


def _reads_bytes(trainer: Trainer) -> bool:
    folder = trainer.train_folder
    return folder is not None and read_manifest(folder).get("encoder", {}).get("kind") == "bytes"


def _read(path: Path) -> dict[str, Any] | None:
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError):
        return None
