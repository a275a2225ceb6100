"""Refuses settings without effect, by the `Applies` in the annotations of their fields.

    raw files          check_raw     what decides how a file is read has to fit what the file holds
    run                check_task    what belongs to one kind of target or model, or to held-out data
    model              check_model   the same of a model that is trained without a run

Only what was set, and to something else than its default, counts: a file may name every setting, as a run's own
config.toml does. A null, `auto` or an empty list asks for nothing either.
"""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from pydantic.fields import FieldInfo

from ssm_hpn.config.applies import Applies, holds
from ssm_hpn.config.base import Section
from ssm_hpn.config.data import PrepareOptions
from ssm_hpn.config.model import ModelConfig
from ssm_hpn.config.root import FEATURES, Config
from ssm_hpn.errors import ConfigError, problem
from ssm_hpn.targets import COLUMNS, target_columns

BACKBONE: Final = Applies(
    "model.kind backbone", {"task.model": "backbone"}, advice="leave it out, or set model.kind to backbone"
)
TABLES: Final = ("jsonl", "csv", "parquet", "arrow", "sql", "table")


@dataclass(frozen=True, slots=True)
class RawData:
    """Properties of raw files: the facts `raw.…`."""

    name: str
    """Name of the first file."""
    format: str
    """As in `data.format`, with npz for archives of arrays."""
    content: str
    """text, tokens or features."""
    steps: bool = False
    """Whether every row is a time step, and not a document."""
    targets: frozenset[str] = frozenset()
    """The columns of `ssm_hpn.targets.COLUMNS` that the files have."""
    folder: bool = False
    """Whether a folder was named, and not its files."""
    like_csv: bool = False
    """Whether the files are read as text that looks like CSV."""

    @property
    def table(self) -> bool:
        """Whether columns, or the keys of JSON lines, have names."""
        return self.format in TABLES

    @property
    def named(self) -> bool:
        """Whether there are columns or arrays with names."""
        return self.table or self.format == "npz"

    @property
    def classes(self) -> bool:
        """Whether there are labels, of documents or of steps."""
        return not self.targets.isdisjoint(target_columns("class"))

    @property
    def step_labels(self) -> bool:
        """Whether there are labels of time steps or tokens."""
        return not self.targets.isdisjoint(target_columns("class", "token"))

    def shown(self, _: str) -> str:
        """Description of the files in messages, for any fact."""
        facts = dict.fromkeys((self.format, self.content, *sorted(self.targets)))
        return f"{self.name} ({', '.join(facts)})"


@dataclass(frozen=True, slots=True)
class Task:
    """Properties of a run: the facts `task.…`."""

    target: str
    """A kind of `model.target`, not auto."""
    evaluates: bool
    """Whether there is held-out data."""
    model: str = "backbone"
    """A `model.kind`, not auto."""
    columns: bool = False
    """Whether `data.columns` says what becomes the target: raw files, and not a prepared folder."""

    def shown(self, fact: str) -> str:
        """One fact for messages."""
        if fact == "model":
            return f"model.kind {self.model}"
        return "none" if fact == "evaluates" else f"target {self.target}"


def check_raw(options: PrepareOptions, raw: RawData, names: Collection[str] | None = None) -> None:
    """Refuse settings without effect on raw files; with `names`, such as `data.null`, only these are checked."""
    if names is None:
        check_roles(options)
    for name, field, _ in _given_fields(options, ("data",)):
        if names is not None and name not in names:
            continue
        for applies in declared(field):
            if not about_task(name, applies):
                _check(name, applies, {"data": options, "raw": raw})


def check_roles(options: PrepareOptions) -> None:
    """Refuse a column named as feature and as target: a model would read the answer.

    A target of documents in `data.labels` is another column than the one of that name in the files.

    >>> check_roles(PrepareOptions(train="a.csv", columns={"features": "x,price", "values": "price"}))
    Traceback (most recent call last):
    ssm_hpn.errors.ConfigError: data.columns.features: ... found 'price', which is in data.columns.values too; ...
    """
    for target, array in COLUMNS.items():
        if options.labels and not array.per_token:
            continue
        names = getattr(options.columns, target) or ()
        targets = (names,) if isinstance(names, str) else names
        twice = next((name for name in options.columns.features if name in targets), None)
        if twice is not None:
            found = f"{twice!r}, which is in data.columns.{target} too"
            advice = "take it out of one of them"
            raise ConfigError(problem("data.columns.features", "columns other than the targets", found, advice))


def check_task(config: Config, task: Task) -> None:
    """Refuse settings without effect on a run."""
    sections = {name: getattr(config, name) for name in Config.model_fields}
    for name, field, _ in _given_fields(config):
        if _of_backbones(name):
            _check(name, BACKBONE, {"task": task})
        for applies in declared(field):
            if about_task(name, applies):
                _check(name, applies, sections | {"task": task})


def backbone_setting(config: Config) -> str | None:
    """The first setting that was given, at its default too, and that a backbone alone has; None where there is none.

    >>> backbone_setting(Config.model_validate({"train": {"seed": 3, "steps": 3000}}))
    'train.steps'
    """
    given_at_all = (name for name, _, value in _set_fields(config) if value not in (None, "auto", ()))
    return next(filter(_of_backbones, given_at_all), None)


def _of_backbones(name: str) -> bool:
    """Whether a model of features has no such setting."""
    section, *path = name.split(".")
    names = FEATURES.get(section, frozenset())
    return names is not None and (path[0] not in names or name == "model.target.pooling")


def check_model(model: ModelConfig, target: str) -> None:
    """Refuse settings without effect on a model for a kind of target."""
    task = Task(target=target, evaluates=True)
    for name, field, _ in _given_fields(model, ("model",)):
        for applies in declared(field):
            _check(name, applies, {"model": model, "task": task})


def declared(field: FieldInfo) -> list[Applies]:
    """The `Applies` of a field."""
    return [one for one in field.metadata if isinstance(one, Applies)]


def about_task(name: str, applies: Applies) -> bool:
    """Whether a declaration is checked for a run; if not, for raw files."""
    return not name.startswith("data.") or any(fact.startswith("task.") for fact in applies.facts)


def given(section: Section, path: tuple[str, ...] = ()) -> Iterator[tuple[str, object]]:
    """Every setting (dotted name, value) that was set to something else than its default."""
    for name, _, value in _given_fields(section, path):
        yield name, value


def shown(value: object) -> str:
    """A setting's value for messages."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:g}"
    return ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)


def _given_fields(section: Section, path: tuple[str, ...] = ()) -> Iterator[tuple[str, FieldInfo, object]]:
    for name, field, value in _set_fields(section, path):
        if value not in (None, "auto", ()) and value != field.get_default(call_default_factory=True):
            yield name, field, value


def _set_fields(section: Section, path: tuple[str, ...] = ()) -> Iterator[tuple[str, FieldInfo, object]]:
    """Every setting that was set, to any value."""
    for name, field in type(section).model_fields.items():
        value = getattr(section, name)
        if isinstance(value, Section):
            yield from _set_fields(value, (*path, name))
        elif name in section.model_fields_set:
            yield ".".join((*path, name)), field, value


def _check(name: str, applies: Applies, known: Mapping[str, object]) -> None:
    """Refuse a given setting where no set of facts holds; `known` has the sections, `raw` and `task` by name."""
    failing = ""
    for facts in applies.where:
        failing = next((fact for fact, wanted in facts.items() if not holds(_fact(known, fact), wanted)), "")
        if not failing:
            return
    owner, _, fact = failing.partition(".")
    place = known[owner]
    found = place.shown(fact) if isinstance(place, RawData | Task) else f"{failing} {shown(_fact(known, failing))}"
    as_csv = isinstance(place, RawData) and place.like_csv and "CSV" in applies.words
    advice = "set --data.format csv if it is CSV, or leave it out" if as_csv else applies.advice
    raise ConfigError(problem(name, applies.words, found, advice))


def _fact(known: Mapping[str, object], name: str) -> object:
    """The value of a fact or setting by its dotted name."""
    owner, *path = name.split(".")
    value = known[owner]
    for part in path:
        value = getattr(value, part)
    return value
