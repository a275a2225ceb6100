"""Command lines: `argparse` without guessing, whose errors name the nearest option.

The options of `train` are the fields of the configuration. pydantic-settings lays them out and reads them into the
nested dictionary that `config.parse` checks; here they only get their help texts.
"""

import argparse
import contextlib
import dataclasses
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final, NoReturn, get_origin

from pydantic import Field
from pydantic_settings import BaseSettings, CliImplicitFlag, CliSettingsSource, SettingsConfigDict

from ssm_hpn.config import Config, merge, parse, read_toml
from ssm_hpn.config.base import as_paths, names_of, paths_of
from ssm_hpn.config.load import kind_of, walk
from ssm_hpn.errors import ConfigError, nearest_setting, problem, shown

NULL = "null"
LONGEST_NUMBER: Final = 15
"""Digits."""
OBSERVERS: Final = ("track", "metrics_port", "metrics_file", "alert", "alert_stall")
"""Options that name other programs to tell of a run."""
LARGEST_PORT: Final = 65_535
SHORT: Final = {
    "--data": "--data.train",
    "--dry-run": "--dry_run",
    **{f"--{name.replace('_', '-')}": f"--{name}" for name in OBSERVERS if "_" in name},
}
"""Other spellings of options."""
_METAVARS = {"int": "N", "float": "X", "str": "TEXT", "tuple": "LIST", "bool": "{true,false}", "JSON": "KIND"}


class Parser(argparse.ArgumentParser):
    """A parser that neither abbreviates nor exits: what is wrong is a `ConfigError`."""

    def __init__(self, **settings: Any) -> None:  # noqa: ANN401 - those of the base class
        super().__init__(**settings)
        self.allow_abbrev = False

    def error(self, message: str) -> NoReturn:
        """Raise, with the nearest option if one is unknown."""
        text, separator, rest = message.partition("unrecognized arguments: ")
        if not separator or text:
            raise ConfigError(f"{self.prog}: {message}; see {self.prog} --help")
        given = next(iter(rest.split()), rest).partition("=")[0]
        options = [option for action in self._actions for option in action.option_strings]
        if not given.startswith("-"):
            advice = f"write several paths as A,B or a pattern in quotes; see {self.prog} --help"
            raise ConfigError(problem(self.prog, "options that begin with --", repr(given), advice))
        if given.lstrip("-") in {name for name, _, _ in walk()}:
            advice = f"leave it out: it is one of train; see {self.prog} --help"
            raise ConfigError(problem(self.prog, "options of this command", given, advice))
        close = nearest_setting(given.lstrip("-"), [option.lstrip("-") for option in options if option[:2] == "--"])
        if close is not None:
            raise ConfigError(problem(self.prog, "a known option", given, f"did you mean --{close}?"))
        where = "settings are in docs/config.md" if "." in given else f"see {self.prog} --help"
        raise ConfigError(f"there is no `{given.lstrip('-')}`; {where}")


def path_of(text: str) -> Path:
    """A path among the arguments; a blank one, which would stand for the working directory, is refused."""
    if not text.strip():
        raise argparse.ArgumentTypeError(f"expected a path, found {shown(text)}")
    return Path(text)


def port_of(option: str, text: str, usual: int) -> int:
    """A port to listen to. Raises `ConfigError`, with the name of the option, for what is none."""
    if not (text.isascii() and text.isdigit() and len(text) <= len(str(LARGEST_PORT)) and int(text) <= LARGEST_PORT):
        advice = f"{usual} is usual"
        raise ConfigError(problem(option, f"a number from 0 to {LARGEST_PORT}", shown(text), advice))
    return int(text)


class _TrainSettings(Config, BaseSettings):
    """The arguments of `train`: every setting, and options of the command itself."""

    model_config = SettingsConfigDict(cli_avoid_json=True, cli_parse_none_str=NULL, cli_hide_none_type=True)

    config: str | None = Field(None, description="TOML file with settings; options given here count more")
    resume: str = Field("auto", description="auto | must | never | PATH of a checkpoint or run to go on from")
    more: int | None = Field(None, description="updates to add to a run of these settings, beyond its train.steps")
    dry_run: CliImplicitFlag[bool] = Field(
        default=False, description="try everything with one step, in a temporary folder that is removed again"
    )
    track: str | None = Field(None, description="hand the run to tensorboard | mlflow | wandb, several with commas")
    metrics_port: str | None = Field(None, description="port for Prometheus on this machine, 0 for any")
    metrics_file: str | None = Field(None, description="file for the text collector of a node exporter (NAME.prom)")
    alert: str | None = Field(None, description="command to run on divergence, failure, standstill and end")
    alert_stall: str | None = Field(None, description="seconds without an update that are a standstill [600]")
    profile: CliImplicitFlag[bool] = Field(
        default=False, description="train some updates and say where their time goes; no run is written"
    )


@dataclass(frozen=True, slots=True)
class TrainRequest:
    """The parsed arguments of `train`."""

    config: Config
    resume: str
    settings: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    """The settings of the file and the options, as they were given."""
    more: int = 0
    dry_run: bool = False
    profile: bool = False
    observers: Mapping[str, str] = dataclasses.field(default_factory=dict)
    """The options that name other programs to tell of the run, as they were given."""


def parse_train(arguments: Sequence[str], prog: str) -> TrainRequest:
    """The configuration from TOML file and options; unknown names and bad values are one-line errors."""
    rest, lists = _taken_apart(arguments)
    given: dict[str, Any] = merge(_train_source(prog)(args=rest)(), lists)
    path, resume = given.pop("config", None), given.pop("resume", None)
    dry_run, profile = (given.pop(name, None) in (True, "true", "True") for name in ("dry_run", "profile"))
    if dry_run and profile:
        advice = "ask for one after the other"
        raise ConfigError(problem(prog, "at most one of --dry-run and --profile", "both", advice))
    if resume is not None and (dry_run or profile):
        advice = "leave it out: a trial starts anew and is thrown away"
        raise ConfigError(problem("--resume", "a run", "--dry-run" if dry_run else "--profile", advice))
    more = _more(given.pop("more", None), resume)
    others = {name: value for name in OBSERVERS if (value := given.pop(name, None)) is not None}
    settings: dict[str, Any] = {}
    if path is not None:
        settings = read_toml(path)
        parse(settings, source=path)
    settings = merge(settings, given)
    kinds = {"dry_run": dry_run, "profile": profile}
    return TrainRequest(parse(settings), resume or "auto", settings, more, **kinds, observers=others)


def _more(given: str | int | None, resume: str | None) -> int:
    """The value of `--more`."""
    if given is None:
        return 0
    digits = str(given)
    if not digits.isascii() or not digits.isdigit() or not 1 <= len(digits) <= LONGEST_NUMBER or not int(digits):
        raise ConfigError(problem("--more", "a whole number of updates", shown(given), "give how many to add"))
    if resume == "never":
        advice = "leave one of the two out"
        raise ConfigError(problem("--more", "a run to go on with", "--resume never", advice))
    return int(digits)


def _taken_apart(arguments: Sequence[str]) -> tuple[list[str], dict[str, Any]]:
    """The arguments with full names, without settings that are lists; and the sections with those lists.

    A setting that is true or false is true where it is named alone.

    pydantic-settings would split a text at its commas and keep the escapes of JSON.
    """
    lists, switches, rest, sections = list_settings(), switch_settings(), [], dict[str, Any]()
    remaining, inner = list(arguments), _settings_of_sections()
    while remaining:
        name, equals, value = remaining.pop(0).partition("=")
        name = SHORT.get(name, name)
        setting = name.removeprefix("--")
        if name.startswith("--") and setting in inner:
            _check_section(setting, inner[setting], value if equals else next(iter(remaining), ""))
        if name.startswith("--") and setting in switches and not equals and _at_an_end(remaining):
            equals, value = "=", "true"
        if not name.startswith("--") or setting not in lists:
            rest.append(name + equals + value)
            continue
        if not equals:
            if _at_an_end(remaining):
                rest.append(name)  # argparse says that a value is missing
                continue
            value = remaining.pop(0)
        *path, key = setting.split(".")
        section = sections
        for part in path:
            section = section.setdefault(part, {})
        more = None if value == NULL else (*(section.get(key) or ()), *listed(setting, value, lists[setting]))
        section[key] = more
    return rest, sections


def _at_an_end(remaining: list[str]) -> bool:
    """Whether no value follows."""
    return not remaining or remaining[0].startswith("--")


@cache
def _settings_of_sections() -> Mapping[str, list[str]]:
    """Every section by its dotted name, and the names of what is in it."""
    found: dict[str, list[str]] = {}
    for name, _, _ in walk():
        parts = name.split(".")
        for depth in range(1, len(parts)):
            found.setdefault(".".join(parts[:depth]), []).append(parts[depth])
    return {section: list(dict.fromkeys(names)) for section, names in found.items()}


def _check_section(section: str, names: list[str], value: str) -> None:
    """A section is given setting by setting, as null, or as one JSON object."""
    with contextlib.suppress(ValueError, RecursionError):
        if value == NULL or isinstance(json.loads(value), dict):
            return
    found = f"the plain value {shown(value)}" if value else "no value"
    advice = f"name a setting in it, such as --{section}.{names[0]}; there are {', '.join(names)}"
    raise ConfigError(problem(section, "a section", found, advice))


def listed(setting: str, value: str, read: Callable[[str], tuple[str, ...]]) -> tuple[str, ...]:
    """The list in one text. Raises `ConfigError`, with the name of the setting, for what is no list."""
    try:
        return read(value)
    except ValueError as error:
        raise ConfigError(problem(setting, error, shown(value), "correct it")) from None


def add_list(parser: Parser, *options: str, read: Callable[[str], tuple[str, ...]], **settings: Any) -> None:  # noqa: ANN401
    """An option that is a list, written as in `train`: separated by commas, as a JSON list, or given several times.

    The first of several names is that of the setting.
    """
    parser.add_argument(*options, action=_List, read=read, metavar="LIST", **settings)


class _List(argparse.Action):
    """Appends the values of an option to those of its earlier occurrences."""

    def __init__(self, *, read: Callable[[str], tuple[str, ...]], **settings: Any) -> None:  # noqa: ANN401
        super().__init__(**settings)
        self.read = read

    def __call__(self, _: object, namespace: argparse.Namespace, value: Any, option: str | None = None) -> None:  # noqa: ANN401
        found = () if value == NULL else listed((option or self.dest).removeprefix("--"), value, self.read)
        setattr(namespace, self.dest, (*(getattr(namespace, self.dest, None) or ()), *found))


@cache
def list_settings() -> Mapping[str, Callable[[str], tuple[str, ...]]]:
    """Every setting that is a list, with the function that reads it from one text, the same in every command."""
    found: dict[str, Callable[[str], tuple[str, ...]]] = {}
    for name, section, field in walk():
        info = section.model_fields[field]
        if get_origin(info.annotation) is tuple:
            found[name] = paths_of if any(getattr(one, "func", None) is as_paths for one in info.metadata) else names_of
    return found


@cache
def switch_settings() -> frozenset[str]:
    """Every setting that is true or false."""
    return frozenset(name for name, section, field in walk() if section.model_fields[field].annotation is bool)


class _TrainParser(Parser):
    """The parser of `train`, which gives its options their texts when they are shown."""

    def format_help(self) -> str:
        """The usage and every option with its description."""
        _describe(self)
        return super().format_help()


@cache
def _train_source(prog: str) -> CliSettingsSource[Parser]:
    """What reads the arguments of `train` with `args=`; laying out its options takes longer than reading them."""
    parser = _TrainParser(
        prog=prog,
        formatter_class=lambda prog: argparse.HelpFormatter(prog, max_help_position=38, width=118),
        description="Train a model. Without options: a byte-level language model on the source text of the standard "
        "library. A finished or interrupted run with the same settings is found again and goes on.",
        usage=f"{prog} [--data PATH] [--config FILE.toml] [--SECTION.OPTION VALUE ...]",
    )
    return CliSettingsSource[Parser](_TrainSettings, root_parser=parser)


def _describe(parser: Parser) -> None:
    """Give every option its description, default and, where only some kinds have it, those kinds."""
    texts: dict[str, dict[str, list[str]]] = {}
    for name, section, field in walk():
        info = section.model_fields[field]
        default = info.get_default(call_default_factory=True)
        if field == "kind":
            text = f"{default}: {info.description}"
        else:
            text = f"{info.description}" + ("" if default in (None, (), "") else f" [{default}]")
        texts.setdefault(name, {}).setdefault(text, []).append(str(kind_of(section) or ""))
    for action in parser._actions:  # noqa: SLF001 - argparse has no other way to the actions of a parser
        if action.dest in texts:
            action.help = _help(texts[action.dest], is_kind=action.dest.endswith(".kind")).replace("%", "%%")
        if isinstance(action.metavar, str):
            action.metavar = _METAVARS.get(action.metavar.partition("[")[0], action.metavar)


def _help(texts: dict[str, list[str]], *, is_kind: bool) -> str:
    """The texts of one option; where kinds differ, each with the kinds that it is for."""
    if is_kind or len(texts) == 1:
        return "; ".join(texts)
    return "; ".join(f"{text} ({', '.join(kinds)})" for text, kinds in texts.items())
