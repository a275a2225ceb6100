"""Writing TOML: nested dictionaries of plain values, which is all that a configuration has."""

import json
from collections.abc import Mapping
from typing import Any

from ssm_hpn.config.root import Config


def to_toml(config: Config) -> str:
    """The configuration as TOML; nulls are left out, which means null again when it is read."""
    return dumps(config.model_dump(mode="json"))


def dumps(settings: Mapping[str, Any]) -> str:
    """TOML text of a nested dictionary."""
    lines: list[str] = []
    _table(settings, (), lines)
    return "\n".join(lines).lstrip("\n") + "\n"


def _table(table: Mapping[str, Any], path: tuple[str, ...], lines: list[str]) -> None:
    plain = {key: value for key, value in table.items() if value is not None and not isinstance(value, Mapping)}
    if path and plain:
        lines.extend(["", f"[{'.'.join(path)}]"])
    lines.extend(f"{key} = {_value(value)}" for key, value in plain.items())
    for key, value in table.items():
        if isinstance(value, Mapping):
            _table(value, (*path, key), lines)


def _value(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, list | tuple):
        return f"[{', '.join(_value(item) for item in value)}]"
    return repr(value)
