"""`config-docs`: every setting as Markdown, from the descriptions in the code. `docs/config.md` is its output."""

import sys
from collections.abc import Iterator, Sequence
from typing import Any, get_args

from pydantic.fields import FieldInfo

from ssm_hpn.cli.parser import Parser, path_of
from ssm_hpn.config import Config, Section
from ssm_hpn.config.load import kind_of, section_types
from ssm_hpn.errors import EXIT_DONE
from ssm_hpn.storage import write_whole

HEAD = """# Settings

Every setting can stand in a TOML file (`--config FILE.toml`) or be an option (`--model.d_model 256`), which counts
more. Null is written by leaving a setting out of the file, or as `null` in an option. Where a section comes in several
kinds, `kind` chooses; the first one that has the given settings is taken if it is not named.

This page is made by `python -m ssm_hpn config-docs --out docs/config.md`.
"""


def run(arguments: Sequence[str], prog: str) -> int:
    """Print or write the page; returns the exit code."""
    parser = Parser(prog=prog, description="Every setting as Markdown.")
    parser.add_argument("--out", type=path_of, help="file to write (default: standard output)")
    options = parser.parse_args(arguments)
    if options.out is None:
        sys.stdout.write(page())
    else:
        write_whole(options.out, page())
    return EXIT_DONE


def page() -> str:
    """The whole page."""
    return "\n".join([HEAD, *(line for name in Config.model_fields for line in _top(name))]).rstrip() + "\n"


def _top(name: str) -> Iterator[str]:
    yield from _section((name,), Config.model_fields[name])


def _section(path: tuple[str, ...], field: FieldInfo) -> Iterator[str]:
    """One section, with all its kinds, and the sections in it."""
    kinds = section_types(field.annotation)
    dotted = ".".join(path)
    yield f"{'#' * min(len(path) + 1, 4)} `{dotted}`: {field.description}\n"
    if len(kinds) > 1:
        default = field.get_default(call_default_factory=True)
        yield f"Kinds (default: `{kind_of(type(default))}`):\n"
    for kind in kinds:
        name = kind_of(kind)
        if len(kinds) > 1:
            yield f'**`{dotted}.kind = "{name}"`** {_summary(kind)}\n'
        rows = [(key, info) for key, info in kind.model_fields.items() if key != "kind" and _is_plain(info)]
        if rows:
            yield "| setting | default | values | meaning |\n|---|---|---|---|"
            for key, info in rows:
                yield f"| `{key}` | {_default(info)} | {_values(info.annotation)} | {_cell(str(info.description))} |"
            yield ""
    for kind in kinds:
        for key, info in kind.model_fields.items():
            if section_types(info.annotation):
                yield from _section((*path, key), info)


def _summary(kind: type[Section]) -> str:
    return str(kind.model_fields["kind"].description)


def _is_plain(info: FieldInfo) -> bool:
    return not section_types(info.annotation)


def _default(info: FieldInfo) -> str:
    value = info.get_default(call_default_factory=True)
    if value is None:
        return "null"
    if value == ():
        return "empty"
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


def _values(annotation: Any) -> str:  # noqa: ANN401 - any annotation
    """The type as a reader of TOML thinks of it."""
    names = {int: "whole number", float: "number", bool: "true, false", str: "text"}
    if annotation in names:
        return names[annotation]
    if getattr(annotation, "__origin__", None) is tuple:
        return {str: "list of texts", float: "list of numbers"}.get(get_args(annotation)[0], "list of texts and tables")
    parts = [part for part in get_args(annotation) if part is not type(None)]
    if parts and all(isinstance(part, str) for part in parts):
        return _cell(", ".join(f"`{part}`" for part in parts))
    return _cell(", ".join(_values(part) for part in parts if not _is_constraint(part)))


def _is_constraint(part: object) -> bool:
    """Whether a part of an annotation limits values instead of naming a type."""
    return not isinstance(part, type) and not get_args(part)


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
