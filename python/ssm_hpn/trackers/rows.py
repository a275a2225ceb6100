"""Shared by the trackers: the numbers of a row, the settings of a run, and a missing package."""

from collections.abc import Mapping
from importlib import import_module
from types import ModuleType
from typing import Any

from ssm_hpn.callbacks import Event
from ssm_hpn.curves import Number
from ssm_hpn.errors import ConfigError, problem
from ssm_hpn.sections import flat

NO_METRIC = frozenset({"schema", "step", "timestamp"})
"""Keys of a row that are no measurement."""


def metrics(row: Mapping[str, Any] | None) -> dict[str, float]:
    """The measurements in a row.

    >>> metrics({"schema": 1, "step": 3, "timestamp": "2026-11-28T03:30:00Z", "train/loss": 0.5, "eval/loss": None})
    {'train/loss': 0.5}
    """
    found: dict[str, Number] = {key: value for key, value in (row or {}).items() if key not in NO_METRIC}
    return {key: float(value) for key, value in found.items() if value is not None and not isinstance(value, str)}


def settings(event: Event) -> dict[str, str]:
    """The settings of a run by dotted name, as texts."""
    return {name: str(value) for name, value in flat(event.trainer.config.model_dump(mode="json")) if value is not None}


def package(name: str, *, extra: str) -> ModuleType:
    """A package of an extra. Raises `ConfigError` where it is missing."""
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        advice = f"pip install 'ssm-hpn[{extra}]'"
        raise ConfigError(problem(extra, f"the package {error.name}", "none", advice)) from None
