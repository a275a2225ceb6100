"""The summary of a run: its held-out metrics beside those of n-gram tables and compressors, and the paths of its files.

summary.json     metrics of the checkpoint that predict loads, on all held-out data; one that has ended is shown at once
decisions.json   what it decided on single held-out documents, and why (`ssm_hpn.decisions`)
baselines.json   the tables that were fitted to the same bytes, and compressors on the held-out ones
"""

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from ssm_hpn.calibrated import keep_fitted
from ssm_hpn.cli.checkpoint import default_which
from ssm_hpn.cli.console import duration, shown_path, table
from ssm_hpn.cli.tables import metric_table
from ssm_hpn.counts import counted
from ssm_hpn.dataset import read_manifest
from ssm_hpn.decisions import write_decisions
from ssm_hpn.held_out_decisions import decisions_of_learner, fit_density_of
from ssm_hpn.metrics import ACCURACY, BITS, BITS_PER_BYTE
from ssm_hpn.report import write_report
from ssm_hpn.run import Run
from ssm_hpn.trainer import Trainer

if TYPE_CHECKING:
    from rich.console import Console

    from ssm_hpn.training import Result

SUMMARY: Final = "summary.json"
BASELINES: Final = "baselines.json"


def summary(trainer: Trainer, result: "Result", screen: "Console") -> str:
    """The text at the end of a run, without the commands to continue."""
    how = {"finished": "finished", "stopped_early": "stopped early, as nothing improved any more,"}[result.reason]
    lines = [f"\n{how} after {counted(result.step, 'update')}, {duration(result.seconds)}"]
    found = _held_out(trainer, result, screen)
    if found is not None:
        lines.append(_table(found))
        batches = trainer.config.evaluation.batches
        if batches != "all":
            lines.append(
                f"\n  over all held-out data; evaluations during training used {batches} of its batches at most"
            )
    if result.best.step is not None:
        name = trainer.config.evaluation.metric.removeprefix("eval/")
        latest = f"; --which latest takes update {result.step}" if result.step != result.best.step else ""
        lines.append(
            f"\n  update {result.best.step} had the best {name} of the evaluations after training began, "
            f"{result.best.best:.4f}:\n  predict, evaluate and generate use it{latest}"
        )
    if trainer.feed.skipped:
        lost = counted(trainer.feed.skipped, "damaged record batch was", "damaged record batches were")
        lines.append(f"\n  {lost} left out of training, in every pass anew (data.on_corrupt skip)")
    folder = shown_path(result.folder)
    lines += [f"\n  checkpoints  {folder}/checkpoints", f"  metrics      {folder}/metrics.jsonl"]
    lines.append(f"  report       {shown_path(write_report(result.folder))}")
    return "\n".join(lines)


def _held_out(trainer: Trainer, result: "Result", screen: "Console") -> dict[str, Any] | None:
    """Metrics of the checkpoint that is kept on all held-out data, and the tables; from the files if they are there."""
    if trainer.validation_folder is None:
        return None
    best = default_which(result.folder) == "best"
    step = result.best.step if best and result.best.step is not None else result.step
    known = _read(result.folder / SUMMARY)
    if known is not None and known.get("step") == step and known.get("updates") == result.step:
        return known
    with screen.status("evaluating on all held-out data"):
        chosen = trainer if step == result.step else Trainer.load(result.folder, which="best")
        evaluation = chosen.evaluate("all")
        chosen.temperature = chosen.density = None
        fit_density_of(chosen)
        decisions = decisions_of_learner(chosen)
    names = [] if trainer.contract is None else trainer.contract.value_names
    found = evaluation.facts(names) | {"updates": result.step, "reason": result.reason, "tables": []}
    if trainer.config.data.on_corrupt == "skip":
        found["damaged"] = trainer.feed.skipped
    run = Run(result.folder, trainer.config)
    if BITS.name in evaluation.values and _reads_bytes(trainer) and (trainer.feed.mix or trainer.feed.skipped):
        why = "of a mixture" if trainer.feed.mix else "that is damaged"
        screen.print(f"  no n-gram tables and compressors beside a model trained on data {why}")
    elif BITS.name in evaluation.values and _reads_bytes(trainer):
        from ssm_hpn import baselines, compressors  # imports pyarrow, which is needed only at the end

        with screen.status("fitting n-gram tables to the same bytes"):
            fitted = baselines.compare(trainer.train_folder or Path(), trainer.validation_folder)
        with screen.status("compressing the held-out bytes"):
            compressed = compressors.compare(trainer.validation_folder)
        if left_out := compressors.missing():
            screen.print(f"  left out of the table below: {left_out}", markup=False)
        found["tables"] = [asdict(score) | {"name": score.name} for score in fitted]
        found["tables"] += [asdict(score) | {"order": None, ACCURACY.name: None} for score in compressed]
        run.write_json(BASELINES, {"scores": found["tables"]})
    if decisions is not None:
        write_decisions(result.folder, decisions)
        keep_fitted(result.folder, chosen, decisions.count)
    run.write_json(SUMMARY, found)
    return found


def _table(found: dict[str, Any]) -> str:
    if not found["tables"]:
        return metric_table(found, f"all held-out data, update {found['step']}")
    values = found["metrics"]
    columns = (ACCURACY, BITS_PER_BYTE)
    rows = [[one["name"], *(metric.show(one[metric.name]) for metric in columns)] for one in found["tables"]]
    ours = [ACCURACY.show(values[ACCURACY.name]), BITS.show(values[BITS.name])]  # a token is a byte
    header = ["held-out files", *(metric.title for metric in columns)]
    return table(header, [*rows, [f"this model, update {found['step']}", *ours]])


def _reads_bytes(trainer: Trainer) -> bool:
    folder = trainer.train_folder
    return folder is not None and (read_manifest(folder).get("encoder") or {}).get("kind") == "bytes"


def _read(path: Path) -> dict[str, Any] | None:
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError):
        return None
