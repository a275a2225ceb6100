"""From files, options and dictionaries to a checked configuration, with one-line errors; and back to TOML.

Settings that are given are laid over the defaults. Where a section has several kinds and none is named, it is the kind
of the default if that has the given keys, else the first kind that has them: `model.head.loss.kind = "cosine"` alone
means a prototype head.
"""

from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from types import UnionType
from typing import Any, Union, get_args, get_origin

import numpy as np
import tomli_w
from pydantic import ValidationError

from ssm_hpn.config.base import Section
from ssm_hpn.config.root import Config
from ssm_hpn.config.words import allows, expected, words_of
from ssm_hpn.errors import ConfigError, StorageError, nearest, nearest_setting, problem, shown
from ssm_hpn.foreign import from_toml


def read_toml(path: Path | str) -> dict[str, Any]:
    """The settings of a TOML file, not yet checked.

    >>> from pathlib import Path
    >>> _ = Path("small.toml").write_text("optim.lr = 0.01")
    >>> read_toml("small.toml")
    {'optim': {'lr': 0.01}}
    """
    try:
        return from_toml(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(problem(path, "a TOML file", "no such file", "check the path after --config")) from None
    except OSError as error:
        raise StorageError(f"{path}: cannot read: {error}") from None
    except ValueError as error:  # invalid UTF-8, invalid TOML, or a number with too many digits
        raise ConfigError(problem(path, "valid TOML in UTF-8", error, "correct the file")) from None


def merge(under: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Lay one nested dictionary over another. A section whose kind changes starts anew.

    >>> merge({"optim": {"lr": 0.1, "eps": 1e-8}}, {"optim": {"lr": 0.2}})
    {'optim': {'lr': 0.2, 'eps': 1e-08}}
    """
    merged = dict(under)
    for key, value in over.items():
        below = merged.get(key)
        if isinstance(value, Mapping) and isinstance(below, Mapping):
            same_kind = value.get("kind", below.get("kind")) == below.get("kind")
            merged[key] = merge(below, value) if same_kind else dict(value)
        else:
            merged[key] = value
    return merged


def parse(settings: Mapping[str, Any], *, source: str = "") -> Config:
    """A checked configuration; `source` (a file's name) opens the error messages.

    >>> parse({"model": {"head": {"loss": {"kind": "cosine"}}}}).model.head.kind
    'prototype'
    >>> parse({"model": {"n_layers": 0}})
    Traceback (most recent call last):
    ssm_hpn.errors.ConfigError: model.n_layers: expected greater than or equal to 1, found 0; ...
    """
    where = f"{source}: " if source else ""
    _check_texts(settings, (), where)
    complete = _complete(Config, settings, (), where)
    try:
        return Config.model_validate(complete)
    except ValidationError as error:
        raise ConfigError(where + _one_line(error, complete)) from None


def load_config(path: Path | str) -> Config:
    """The configuration in a TOML file.

    >>> from pathlib import Path
    >>> from ssm_hpn import load_config
    >>> _ = Path("small.toml").write_text("model.d_model = 64")
    >>> load_config("small.toml").model.d_model
    64
    """
    return parse(read_toml(path), source=str(path))


def as_config(config: Config | Mapping[str, Any] | Path | str) -> Config:
    """A configuration that is given as such, as nested settings or as the path of a TOML file.

    >>> as_config({"model": {"d_model": 64}}).model.d_model
    64
    """
    if isinstance(config, Config):
        return config
    return parse(config) if isinstance(config, Mapping) else load_config(config)


def to_toml(config: Config) -> str:
    """The settings that the kind of model has, as TOML; nulls are left out, which means null again when it is read.

    >>> from ssm_hpn.config import Config
    >>> print(to_toml(Config()).split("[optim]")[1].splitlines()[1])
    lr = 0.003
    """
    return tomli_w.dumps(_without_nulls(config.used()))


def _without_nulls(value: Any) -> Any:  # noqa: ANN401 - anything that JSON has
    if isinstance(value, dict):
        return {key: _without_nulls(inner) for key, inner in value.items() if inner is not None}
    return [_without_nulls(inner) for inner in value] if isinstance(value, list) else value


def section_types(annotation: Any) -> list[type[Section]]:  # noqa: ANN401 - any annotation
    """The section classes that an annotation allows, in order; empty for a plain value."""
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return [annotation]
    if get_origin(annotation) in (Union, UnionType):
        return [kind for part in get_args(annotation) for kind in section_types(part)]
    return []


def kind_of(section: type[Section]) -> str | None:
    """The value of the `kind` field that selects this section."""
    field = section.model_fields.get("kind")
    return field.default if field else None


@cache
def walk(section: type[Section] = Config, path: tuple[str, ...] = ()) -> tuple[tuple[str, type[Section], str], ...]:
    """Every plain field as (dotted name, its section, field name), all kinds included."""
    return tuple(_fields(section, path))


def _fields(section: type[Section], path: tuple[str, ...]) -> Iterator[tuple[str, type[Section], str]]:
    for name, field in section.model_fields.items():
        inner = section_types(field.annotation)
        if not inner:
            yield ".".join((*path, name)), section, name
        for kind in inner:
            yield from walk(kind, (*path, name))


def _complete(section: type[Section], given: Mapping[str, Any], path: tuple[str, ...], where: str) -> dict[str, Any]:
    """The given settings with every `kind` filled in; unknown keys are errors."""
    complete: dict[str, Any] = {}
    for key, value in given.items():
        here = (*path, key)
        field = section.model_fields.get(key)
        if field is None:
            raise ConfigError(where + _unknown_key(section, here))
        kinds = section_types(field.annotation)
        if not kinds or isinstance(value, Section) or (value is None and field.default is None):
            if (part := _boolean(value)) is not None and not allows(field.annotation, bool):
                advice = f"correct it ({field.description})"
                raise ConfigError(
                    where + problem(".".join(here), words_of(field.annotation), str(part).lower(), advice)
                )
            complete[key] = value
            continue
        if not isinstance(value, Mapping):
            found, advice = f"the plain value {shown(value)}", f"name a setting in it: {_names(kinds)}"
            raise ConfigError(where + problem(".".join(here), "a section", found, advice))
        kind = _choose(kinds, field.get_default(call_default_factory=True), value, ".".join(here), where)
        complete[key] = _complete(kind, value, here, where)
        if len(kinds) > 1:
            complete[key]["kind"] = kind_of(kind)
    return complete


def _boolean(value: object) -> bool | None:
    """A boolean that is the value or in its list: pydantic takes it for a number."""
    parts = value if isinstance(value, list | tuple) else [value]
    return next((bool(part) for part in parts if isinstance(part, bool | np.bool_)), None)


def _check_texts(value: object, path: tuple[str, ...], where: str) -> None:
    """Refuse characters that neither a file name nor a TOML file can hold."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            _check_texts(inner, (*path, str(key)), where)
    elif isinstance(value, list | tuple):
        for inner in value:
            _check_texts(inner, path, where)
    elif isinstance(value, str) and ("\0" in value or not _encodes(value)):
        raise ConfigError(where + problem(".".join(path), "text without NUL", ascii(value), "correct it"))


def _encodes(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _choose(
    kinds: list[type[Section]], default: Section, given: Mapping[str, Any], here: str, where: str
) -> type[Section]:
    """The kind that is named; else the default's, or the first, that has all given keys."""
    if len(kinds) == 1:
        return kinds[0]
    by_name = {str(kind_of(kind)): kind for kind in kinds}
    if "kind" in given:
        name = str(given["kind"])
        if name not in by_name:
            close = nearest(name, by_name)
            advice = f"did you mean {close}?" if close else "choose one of these"
            raise ConfigError(where + problem(f"{here}.kind", " | ".join(by_name), shown(name), advice))
        return by_name[name]
    ordered = [type(default), *kinds]
    return next((kind for kind in ordered if set(given) <= set(kind.model_fields)), type(default))


def _unknown_key(section: type[Section], here: tuple[str, ...]) -> str:
    """Advice about an unknown key: the nearest one in its section, else anywhere."""
    parent = ".".join(here[:-1])
    dotted = ".".join(here)
    other_kinds = [str(kind_of(owner)) for owner in _owners(here) if owner is not section and kind_of(owner)]
    if other_kinds:
        advice = f"set {parent}.kind = {other_kinds[0]}"
        return problem(dotted, f"a setting of the kind {kind_of(section)}", "one of another kind", advice)
    close = nearest_setting(dotted, (name for name, _, _ in walk())) or _near_section(here)
    if close is not None:
        return problem(dotted, "a known setting", "an unknown one", f"did you mean {close}?")
    return f"there is no `{dotted}`; settings are in docs/config.md"


def _owners(path: tuple[str, ...]) -> list[type[Section]]:
    """The sections, of all kinds, that have the last key of a path: a plain setting, or a section."""
    found: list[type[Section]] = [Config]
    for part in path[:-1]:
        fields = [section.model_fields[part] for section in found if part in section.model_fields]
        found = [kind for field in fields for kind in section_types(field.annotation)]
    return [section for section in found if path[-1] in section.model_fields]


def _near_section(here: tuple[str, ...]) -> str | None:
    """The section that a mistyped one at the top most likely means."""
    return nearest(here[0], Config.model_fields) if len(here) == 1 else None


def _without_kinds(loc: tuple[int | str, ...], data: Mapping[str, Any]) -> Iterator[str]:
    """The keys on the way to a value.

    Between them pydantic puts the kind of a section that has several, and behind them the type that a value of several
    might have been.
    """
    node: Any = data
    kind_seen = False
    for part in loc:
        if isinstance(node, list | tuple) and isinstance(part, int):
            node, kind_seen = node[part], False
        elif not isinstance(node, Mapping):
            continue
        elif node.get("kind") == part and not kind_seen:
            kind_seen = True
            continue
        else:
            node, kind_seen = node.get(part), False
        yield str(part)


def _names(kinds: list[type[Section]]) -> str:
    return ", ".join(dict.fromkeys(name for kind in kinds for name in kind.model_fields))


def _one_line(error: ValidationError, data: Mapping[str, Any]) -> str:
    """The first error of pydantic, in the form of all our errors."""
    row = error.errors(include_url=False)[0]
    dotted = ".".join(_without_kinds(row["loc"], data))
    advice, annotation = "see `python -m ssm_hpn.train --help`", None
    for name, section, field in walk():
        info = section.model_fields[field]
        if dotted == name or dotted.startswith(f"{name}."):
            advice, annotation = f"correct it ({info.description})", info.annotation if dotted == name else None
            break
    return problem(dotted, expected(row, annotation), shown(row["input"]), advice)
