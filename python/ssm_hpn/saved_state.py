"""The state of a trainer in a checkpoint: what it has, and how it is read."""

from collections.abc import Mapping
from dataclasses import fields
from math import isfinite
from pathlib import Path
from types import NoneType
from typing import Any, Final

from ssm_hpn.config import Config, parse
from ssm_hpn.contract import Contract
from ssm_hpn.errors import CheckpointError, ConfigError, DataError, problem, shown
from ssm_hpn.foreign import from_json
from ssm_hpn.update import Update

STATE_SCHEMA: Final = 1
STATE_KEYS: Final[dict[str, type | tuple[type, ...]]] = {
    "config": dict,
    "cursor": (str, NoneType),
    "epoch": (int, float),
    "tokens_seen": int,
}
"""What the state in a checkpoint has at least, and the types."""
RUN_KEYS: Final[dict[str, type | tuple[type, ...]]] = {
    "seconds": (int, float),
    "judgement": list,
    "metrics_offset": int,
    "callbacks": dict,
    "reason": (str, NoneType),
}
"""What a run saves in a checkpoint at least, and the types."""
JUDGEMENT: Final[tuple[tuple[type, ...], ...]] = ((int, float, NoneType), (int, NoneType), (int,))
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
    check_types(folder, state, STATE_KEYS, of="a trainer")
    return dict(state)


def check_types(folder: Path, saved: object, kinds: Mapping[str, type | tuple[type, ...]], *, of: str) -> None:
    """Refuse a saved state without all of these keys, or with values of other types.

    >>> from pathlib import Path
    >>> check_types(Path("checkpoint"), {"series": "x"}, {"series": int}, of="a fit")
    Traceback (most recent call last):
    ssm_hpn.errors.CheckpointError: checkpoint: expected the state of a fit, found one with series 'x'; load another ...
    """
    if not isinstance(saved, Mapping):
        raise CheckpointError(problem(folder, f"the state of {of}", shown(saved), OTHER_CHECKPOINT))
    for key, kind in kinds.items():
        if not isinstance(saved.get(key, ...), kind):
            found = f"one with {key} {shown(saved[key])}" if key in saved else f"one without {key}"
            raise CheckpointError(problem(folder, f"the state of {of}", found, OTHER_CHECKPOINT))


def check_run(folder: Path, saved: Any) -> None:  # noqa: ANN401 - any JSON
    """Refuse what a run did not save.

    >>> from pathlib import Path
    >>> run = {"seconds": 1.5, "judgement": [0.5, 10, 0], "metrics_offset": 99, "callbacks": {}, "reason": None}
    >>> check_run(Path("run"), run)
    >>> check_run(Path("run"), run | {"judgement": [0.5]})
    Traceback (most recent call last):
    ssm_hpn.errors.CheckpointError: run: expected the state of a run, found one with judgement [0.5]; load another ...
    """
    if saved == {}:
        expected, found = "a checkpoint that the training of a run wrote", "one of add-classes or Trainer.save"
        advice = "name another run.folder, for a run that starts from it"
        raise CheckpointError(problem(folder, expected, found, advice))
    check_types(folder, saved, RUN_KEYS, of="a run")
    judgement, states = saved["judgement"], saved["callbacks"]
    fits = len(judgement) == len(JUDGEMENT) and all(map(isinstance, judgement, JUDGEMENT))
    fits = fits and (judgement[0] is None) == (judgement[1] is None)
    rate = saved.get("rate", 1.0)  # it, the ranking and what is due are of later releases
    for key, good in (
        ("judgement", fits),
        ("callbacks", all(isinstance(one, dict) for one in states.values())),
        ("rate", _is_number(rate) and 0 < rate <= 1),
        ("ranking", _is_ranking(saved.get("ranking", []))),
        ("unfinished", _is_due(saved.get("unfinished"))),
    ):
        if not good:
            found = f"one with {key} {shown(saved[key])}"
            raise CheckpointError(problem(folder, "the state of a run", found, OTHER_CHECKPOINT))
    if saved["metrics_offset"] < 0:
        found = f"one with metrics_offset {saved['metrics_offset']}"
        raise CheckpointError(problem(folder, "the state of a run", found, OTHER_CHECKPOINT))


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and isfinite(value)


def _is_ranking(saved: object) -> bool:
    """Whether it is a list of values with their steps."""
    return isinstance(saved, list) and all(
        isinstance(one, list) and len(one) == 2 and _is_number(one[0]) and type(one[1]) is int and 0 <= one[1] < 2**63
        for one in saved
    )


def _is_due(saved: object) -> bool:
    """Whether it is None, or what was due after an update; numbers that were not finite are null."""
    if saved is None:
        return True
    if not isinstance(saved, dict) or saved.keys() != {"update", "evaluation", "row", "checkpoint"}:
        return False
    update = saved["update"]
    names = {one.name: one.type for one in fields(Update)}
    if not isinstance(update, dict) or update.keys() != names.keys():
        return False
    exact = all(type(update[name]) is kind for name, kind in names.items() if kind in (int, bool))
    numbers = all(update[name] is None or _is_number(update[name]) for name in names if names[name] not in (int, bool))
    return exact and numbers and all(type(saved[name]) is bool for name in saved if name != "update")


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
