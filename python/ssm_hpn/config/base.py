"""The base class of all sections of the configuration, and types that they share."""

import csv
import os
from typing import Annotated, Final

from pydantic import BaseModel, BeforeValidator, ConfigDict

from ssm_hpn.foreign import from_json

QUERY: Final = "sql:"
"""Prefix of a path that is a query."""


class Section(BaseModel):
    """A group of settings: immutable, without unknown keys, every field described.

    A field that may be null is null by default, because TOML cannot write null.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


def names_of(text: str) -> tuple[str, ...]:
    """Names as an option or a file gives them in one text: a JSON list, or separated by commas, quoted if need be.

    >>> names_of("x, y"), names_of('["x, y"]'), names_of('"x, y",z')
    (('x', 'y'), ('x, y',), ('x, y', 'z'))
    """
    listed = _json_list(text)
    if listed is not None:
        return listed
    rows = csv.reader([text], skipinitialspace=True)
    return tuple(name.strip() for row in rows for name in row if name.strip())


def paths_of(text: str) -> tuple[str, ...]:
    """Paths as an option gives them in one text: a JSON list, a path, or several separated by commas.

    A path that is there is one, whatever commas are in it, and so is a query.
    """
    if not text.strip():
        raise ValueError("a path")
    listed = _json_list(text)
    if listed is not None:
        return listed
    if "," not in text or text.startswith(QUERY) or os.path.lexists(text):
        return (text,)
    return tuple(part.strip() for part in text.split(",") if part.strip())


def _json_list(text: str) -> tuple[str, ...] | None:
    """The texts of a JSON list; None for what is no list. Raises `ValueError` for a list that is cut or of others."""
    if not text.lstrip().startswith("["):
        return None
    try:
        found = from_json(text)
    except ValueError:
        found = None
    if isinstance(found, list) and all(isinstance(one, str) for one in found):
        return tuple(found)
    if '"' in text:
        raise ValueError('a JSON list of texts, such as ["x", "y"], or names separated by commas')
    return None


def _as_names(value: object) -> object:
    return names_of(value) if isinstance(value, str) else value


def as_paths(value: object) -> object:
    """One text as several paths; what is a list already stays."""
    return paths_of(value) if isinstance(value, str) else value


def _as_numbers(value: object) -> object:
    """One number, a comma-separated list of numbers, or a list of numbers."""
    if isinstance(value, int | float):
        return (value,)
    return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value


Names = Annotated[tuple[str, ...], BeforeValidator(_as_names)]
"""Names of columns or patterns."""
Paths = Annotated[tuple[str, ...], BeforeValidator(as_paths)]
"""Files, folders or patterns."""
Numbers = Annotated[tuple[float, ...], BeforeValidator(_as_numbers)]
