"""The state of a trainer in a checkpoint: what it has, and how it is read."""

from collections.abc import Mapping
from pathlib import Path
from types import NoneType
from typing import Any, Final

from ssm_hpn.config import Config, parse
from ssm_hpn.contract import Contract
from ssm_hpn.errors import CheckpointError, ConfigError, DataError, problem, shown
from ssm_hpn.foreign import from_json

STATE_SCHEMA: Final = 1
STATE_KEYS: Final[dict[str, type | tuple[type, ...]]] = {
    "config": dict,
    "cursor": (str, NoneType),
    "epoch": (int, float),
    "tokens_seen": int,
}
"""What the state in a checkpoint has at least, and the types."""
OTHER_CHECKPOINT: Final = "load another checkpoint of the run, or copy this one again"


def read_state(folder: Path, text: str) -> dict[str, Any]:
    """The state that a trainer saved, from the text in a checkpoint.

    >>> import json
    >>> from pathlib import Path
    >>> from ssm_hpn.saved_state import read_state
    >>> state = {"schema": 1, "config": {}, "cursor": None, "epoch": 0.0, "tokens_seen": 32}
    >>> read_state(Path("checkpoint"), json.dumps(state))["tokens_seen"]
    32
    """
    try:
        state = from_json(text)
        schema = state["schema"]
    except (ValueError, KeyError, TypeError):
        advice = "it was not written by a Trainer: load it with Session.load"
        raise CheckpointError(problem(folder, "the state of a trainer", "something else", advice)) from None
    if schema != STATE_SCHEMA:
        advice = "use a release that reads it"
        raise CheckpointError(problem(folder, f"trainer state of schema {STATE_SCHEMA}", schema, advice))
    for key, kind in STATE_KEYS.items():
        if not isinstance(state.get(key, ...), kind):
            found = f"one with {key} {shown(state[key])}" if key in state else f"one without {key}"
            raise CheckpointError(problem(folder, "the state of a trainer", found, OTHER_CHECKPOINT))
    return dict(state)


def saved_settings(folder: Path, state: Mapping[str, Any]) -> Config:
    """The settings in the state of a checkpoint.

    >>> from pathlib import Path
    >>> from ssm_hpn.saved_state import saved_settings
    >>> saved_settings(Path("checkpoint"), {"config": {"optim": {"lr": 0.1}}}).optim.lr
    0.1
    """
    try:
        return parse(state["config"])
    except ConfigError as error:
        found = f"what this release does not take ({str(error).rpartition('; ')[0]})"
        raise CheckpointError(problem(f"{folder}: config", "settings", found, OTHER_CHECKPOINT)) from None


def saved_contract(folder: Path, state: Mapping[str, Any]) -> Contract | None:
    """The contract in the state of a checkpoint; None for a model that was trained on no files, or by older releases.

    >>> from pathlib import Path
    >>> from ssm_hpn.saved_state import saved_contract
    >>> saved_contract(Path("checkpoint"), {"contract": {"kind": "tokens"}}).kind
    'tokens'
    """
    saved = state.get("contract")
    try:
        return None if saved is None else Contract.from_json(saved)
    except DataError as error:
        expected, _, found = str(error).removeprefix("contract: expected ").rpartition("; ")[0].partition(", found ")
        raise CheckpointError(problem(f"{folder}: contract", expected, found, OTHER_CHECKPOINT)) from None
