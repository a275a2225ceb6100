"""What a prepared data set was made from, as it was given: enough to make it again where the files are.

It is part of the contract, and so of every checkpoint. Relative paths are those of the folder in which the data was
prepared, which is not stored.
"""

import json
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ssm_hpn.sections import flat


@dataclass(frozen=True, slots=True)
class Origin:
    """Source and settings of a preparation.

    >>> from ssm_hpn.origin import Origin
    >>> origin = Origin(("a.csv",), settings={"columns": {"id": "id", "features": ["x", "y, mm"]}})
    >>> print(origin.command("prepared"))
    python -m ssm_hpn prepare a.csv --data.columns.id id --data.columns.features '["x", "y, mm"]' --out prepared
    """

    train: tuple[str, ...]
    """Files, folders, patterns and queries; none for the source text of the standard library."""
    validation: tuple[str, ...] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)
    """The settings of `data` that are not their defaults, in sections."""

    @property
    def paths(self) -> list[str]:
        """Everything that has to be there: files and queries, the table of labels, the tokenizer."""
        beside = [str(self.settings[key]) for key in ("labels", "tokenizer") if self.settings.get(key)]
        return [*self.train, *self.validation, *beside]

    def command(self, out: Path | str, *, place: Path | None = None) -> str:
        """The command that prepares the data again, in the folder `place` that its relative paths begin at."""
        options = [("validation", list(self.validation))] if self.validation else []
        words = ["python", "-m", "ssm_hpn", "prepare", *map(_path, self.train)]
        for name, value in [*options, *flat(self.settings)]:
            text = _text(value)
            words += [f"--data.{name}={text}"] if text.startswith("-") else [f"--data.{name}", text]
        command = shlex.join([*words, "--out", str(out)])
        return command if place is None else f"cd {shlex.quote(str(place))} && {command}"


def _path(text: str) -> str:
    """A path that begins like a list or an option, in a form that is read as a path."""
    return json.dumps([text], ensure_ascii=False) if text.startswith("[") else f"./{text}" if text[:1] == "-" else text


def _text(value: object) -> str:
    """A value as an option takes it."""
    if isinstance(value, bool):
        return str(value).lower()
    if not isinstance(value, list | tuple):
        return str(value)
    plain = all(one and not set(one) & set(',"[') and one == one.strip() for one in value)
    return ",".join(value) if plain else json.dumps(list(value), ensure_ascii=False)
