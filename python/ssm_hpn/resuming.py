"""Whether a run may go on from a checkpoint: its own newest one, or one of another run with the same model and data."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ssm_hpn.classes import SHOWN
from ssm_hpn.config import Config, ModelConfig, Section
from ssm_hpn.contract import Contract
from ssm_hpn.dataset import read_manifest
from ssm_hpn.errors import ConfigError, problem
from ssm_hpn.run import Run


def owns(run: Run, folder: Path) -> bool:
    """Whether a checkpoint is this run's own; it must then be the newest, as later ones would become invalid.

    Raises `ConfigError` for an older one of its own, and for another run's where this one has checkpoints.
    """
    ours = run.checkpoints.folders()
    mine = [run.folder, run.checkpoints.root, *ours]
    if folder.resolve() not in [one.resolve() for one in mine]:
        if ours:
            advice = f"go on with that run by --resume {run.folder}, or give another run.folder"
            raise ConfigError(problem("run.folder", f"one without checkpoints to start from {folder}", ours[0], advice))
        return False
    if folder.resolve() in [one.resolve() for one in ours[1:]]:
        advice = "give another run.folder to branch off from it"
        raise ConfigError(problem("--resume", f"the newest checkpoint, {ours[0].name}", folder.name, advice))
    return True


def check_model(found: ModelConfig, wanted: ModelConfig, *, where: str) -> None:
    """Refuse to go on with the model of another run, which is `where`, unless the configuration describes it.

    >>> from ssm_hpn.config import ModelConfig
    >>> check_model(ModelConfig(d_model=16), ModelConfig(d_model=32), where="runs/a")
    Traceback (most recent call last):
    ssm_hpn.errors.ConfigError: model.d_model: expected 16, as in runs/a, found 32; set model.d_model as it is ...
    """
    for key in sorted(set(ModelConfig.model_fields) - {"activation_memory", "memory_limit_mb"}):
        ours, theirs = _set_values(getattr(wanted, key)), _set_values(getattr(found, key))
        if ours != theirs and not (isinstance(ours, dict) and ours.items() <= theirs.items()):
            advice = f"set model.{key} as it is there, or give another run.folder"
            raise ConfigError(problem(f"model.{key}", f"{theirs}, as in {where}", ours, advice))


def check_data(config: Config, state: Mapping[str, Any], *, where: str) -> None:
    """Refuse a position in the data of another run, which is `where`, where this run has other data."""
    theirs = (state["config"].get("data") or {}).get("digest")
    ours = config.data.digest
    if state["cursor"] is not None and theirs and ours and theirs != ours:
        expected = f"the data of {where}, with the digest {theirs[:16]}"
        advice = "name the data of that run, or train on these from the start by --resume never"
        raise ConfigError(problem("data.train", expected, f"other data, with the digest {ours[:16]}", advice))


def note_on_added(contract: Contract | None, data: Path | None) -> str | None:
    """What to say of classes of a model that were added to it, and that its prepared training data has not.

    None where there are none. `contract` is that of the model.
    """
    theirs = None if contract is None or data is None else Contract.from_manifest(read_manifest(data), data).classes
    if contract is None or contract.classes is None or theirs is None:
        return None
    added = [value for value in contract.classes.values if value not in theirs.values]
    if not added:
        return None
    names = ", ".join(map(repr, added[:SHOWN])) + (f" and {len(added) - SHOWN} more" if added[SHOWN:] else "")
    told = f"training is on the data of the run before, which has no document of {names}, added since"
    advice = "train first and use add-classes --data then, or train from the start on data that has all classes"
    return f"classes: {told}: what is known of {'them' if added[1:] else 'it'} may be forgotten; {advice}"


def _set_values(value: Any) -> Any:  # noqa: ANN401 - a section or a plain value
    """A section as a dictionary without nulls, so that a null agrees with any value that the core resolved it to."""
    return value.model_dump(mode="json", exclude_none=True) if isinstance(value, Section) else value
