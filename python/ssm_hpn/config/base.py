"""What every section of the configuration has in common."""

from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict


class Section(BaseModel):
    """A group of settings: immutable, without unknown keys, every field described.

    A field that may be null is null by default, because TOML cannot write null.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


def _as_names(value: object) -> object:
    """One name, a comma-separated list of names, or a list of names."""
    return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value


def _as_paths(value: object) -> object:
    """One path or a list of paths (a path may contain commas)."""
    return (value,) if isinstance(value, str) else value


Names = Annotated[tuple[str, ...], BeforeValidator(_as_names)]
Paths = Annotated[tuple[str, ...], BeforeValidator(_as_paths)]
