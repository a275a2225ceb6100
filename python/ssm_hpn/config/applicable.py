"""Settings that would do nothing: each is bound to the input or the task that it has an effect on, refused elsewhere.

    raw files          DATA    what decides how a file is read has to fit what the file holds
    prepared folder    made    what decided its shards may be said again, but not otherwise
    run                TASK    what belongs to one kind of target, or to held-out data

Only what was set, and to something else than its default, counts: a file may name every setting, as a run's own
config.toml does. A null, `auto` or an empty list asks for nothing either.
"""

import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Generic, TypeVar

from ssm_hpn.config.base import Section
from ssm_hpn.config.data import PrepareOptions
from ssm_hpn.config.model import PrototypeHead
from ssm_hpn.config.root import Config
from ssm_hpn.errors import ConfigError, problem

LEAVE_OUT: Final = "leave it out"
ONE_OF_THEM: Final = "leave one of the two out"
TARGET_COLUMNS: Final = {"labels": "token_class", "label": "sequence_class", "values": "sequence_values"}
"""What is predicted where data has such a column; the first one there decides."""


@dataclass(frozen=True, slots=True)
class RawData:
    """What raw files turned out to hold."""

    name: str
    """Of the first file."""
    format: str
    """As in `data.format`, with npz for archives of arrays."""
    content: str
    """text, tokens or features."""
    steps: bool = False
    """Whether every row is a time step, and not a document."""
    targets: frozenset[str] = frozenset()
    """Those of `TARGET_COLUMNS` that are there."""
    folder: bool = False
    """Whether a folder was named, and not its files."""

    @property
    def table(self) -> bool:
        """Whether columns, or the keys of JSON lines, have names."""
        return self.format in ("jsonl", "csv", "parquet")

    @property
    def named(self) -> bool:
        """Whether there are columns or arrays with names."""
        return self.table or self.format == "npz"

    def __str__(self) -> str:
        """For messages."""
        facts = dict.fromkeys((self.format, self.content, *sorted(self.targets)))
        return f"{self.name} ({', '.join(facts)})"


@dataclass(frozen=True, slots=True)
class Task:
    """What a run comes to."""

    target: str
    """A kind of `model.target`, not auto."""
    evaluates: bool
    """Whether there is held-out data."""
    columns: bool = False
    """Whether `data.columns` says what becomes the target: raw files, and not a prepared folder."""

    def __str__(self) -> str:
        """For messages."""
        return f"target {self.target}"


Settings = TypeVar("Settings", bound=Section)
Place = TypeVar("Place", RawData, Task)


@dataclass(frozen=True)
class Rule(Generic[Settings, Place]):
    """Where one setting has an effect."""

    setting: str
    """Dotted name."""
    applies: str
    """Where, in words."""
    effective: Callable[[Settings, Place], bool]
    """Where, in code."""
    found: Callable[[Settings, Place], str] = lambda _, place: str(place)
    """What stands in its way."""
    advice: str = LEAVE_OUT

    def check(self, settings: Settings, place: Place) -> None:
        """Refuse the setting, which is known to be given, where it has no effect."""
        if not self.effective(settings, place):
            raise ConfigError(problem(self.setting, self.applies, self.found(settings, place), self.advice))


DATA: Final[tuple[Rule[PrepareOptions, RawData], ...]] = (
    Rule(
        "data.validation_fraction",
        "no files in data.validation, which are held out instead",
        lambda o, _: not o.validation or not o.validation_fraction,
        lambda o, _: ", ".join(o.validation),
        ONE_OF_THEM,
    ),
    Rule(
        "data.split",
        "a part of data.train to hold out",
        lambda o, _: not o.validation and bool(o.validation_fraction),
        lambda o, _: "files in data.validation" if o.validation else "data.validation_fraction 0",
        ONE_OF_THEM,
    ),
    Rule("data.include", "a folder in data.train or data.validation, to choose files from", lambda _, raw: raw.folder),
    Rule("data.documents", "text or integer files", lambda _, raw: raw.format in ("text", "integers")),
    Rule("data.tokenizer", "text", lambda _, raw: raw.content == "text"),
    Rule(
        "data.tokenizer",
        "data.encoder tokenizer or auto beside it",
        lambda o, _: o.encoder in ("auto", "tokenizer"),
        lambda o, _: o.encoder,
        ONE_OF_THEM,
    ),
    Rule(
        "data.vocab_size", "token ids (text has the vocabulary of its encoder)", lambda _, raw: raw.content == "tokens"
    ),
    Rule(
        "data.n_classes",
        "labels",
        lambda _, raw: not raw.targets.isdisjoint({"label", "labels"}),
        advice="name their column with data.columns.label or .labels, or leave it out",
    ),
    Rule("data.normalize", "features", lambda _, raw: raw.content == "features"),
    Rule("data.columns.text", "a CSV, Parquet or JSON lines file", lambda _, raw: raw.table),
    Rule(
        "data.columns.text",
        "neither data.columns.tokens nor .features beside it",
        lambda o, _: not o.columns.tokens and not o.columns.features,
        lambda o, _: o.columns.tokens or ", ".join(o.columns.features),
        "name the one that the model is to read",
    ),
    Rule("data.columns.tokens", "a Parquet, JSON lines or .npz file", lambda _, raw: raw.named),
    Rule(
        "data.columns.tokens",
        "no data.columns.features beside it",
        lambda o, _: not o.columns.features,
        lambda o, _: ", ".join(o.columns.features),
        "name the one that the model is to read",
    ),
    Rule("data.columns.features", "a CSV, Parquet, JSON lines or .npz file", lambda _, raw: raw.named),
    Rule(
        "data.columns.features",
        "one array of an .npz file",
        lambda o, raw: raw.table or len(o.columns.features) == 1,
        lambda o, _: ", ".join(o.columns.features),
        "stack them into one array [N, T, F]",
    ),
    *(
        Rule(
            f"data.columns.{name}",
            "a table whose rows are time steps, with numbers in data.columns.features",
            lambda _, raw: raw.table and raw.steps,
        )
        for name in ("id", "order")
    ),
    *(
        Rule(f"data.columns.{name}", "a CSV, Parquet, JSON lines or .npz file", lambda _, raw: raw.named)
        for name in TARGET_COLUMNS
    ),
    Rule(
        "data.columns.label",
        "no labels of time steps or tokens, which count more",
        lambda _, raw: "labels" not in raw.targets,
        advice=ONE_OF_THEM,
    ),
    Rule(
        "data.columns.values",
        "one array of an .npz file",
        lambda o, raw: raw.table or len(o.columns.values) == 1,
        lambda o, _: ", ".join(o.columns.values),
        "stack them into one array [N, K]",
    ),
    Rule("data.columns.lengths", "an .npz file", lambda _, raw: raw.format == "npz"),
)
"""Settings that some raw files make nothing of. All others have an effect on any file, or are refused by its reader."""


TASK: Final[tuple[Rule[Config, Task], ...]] = (
    *(
        Rule[Config, Task](
            f"data.columns.{column}",
            f"target {target}",
            lambda _, task, target=target: not task.columns or task.target == target,  # type: ignore[misc]
            advice=f"leave it out, or set model.target.kind {target}",
        )
        for column, target in TARGET_COLUMNS.items()
    ),
    Rule(
        "model.target.pooling",
        "a target per sequence",
        lambda _, task: task.target in ("sequence_class", "sequence_values"),
    ),
    Rule(
        "model.head.n_classes",
        "a loss over classes",
        lambda c, _: not isinstance(c.model.head, PrototypeHead) or c.model.head.loss.kind != "regression",
        lambda *_: "model.head.loss.kind regression",
        ONE_OF_THEM,
    ),
    Rule(
        "model.memory_limit_mb",
        "model.activation_memory auto",
        lambda c, _: c.model.activation_memory == "auto",
        lambda c, _: c.model.activation_memory,
        "set that, or leave the limit out",
    ),
    *(
        Rule[Config, Task](
            f"evaluation.{name}",
            "target next_token, a language model",
            lambda _, task: task.target == "next_token",
        )
        for name in ("prompt", "continuation", "temperature")
    ),
    *(
        Rule[Config, Task](
            name,
            "held-out data",
            lambda _, task: task.evaluates,
            lambda *_: "none",
            "name some in data.validation, or leave it out",
        )
        for name in (
            *(f"evaluation.{name}" for name in ("every", "unit", "batches", "metric", "direction")),
            *(f"evaluation.{name}" for name in ("prompt", "continuation", "temperature")),
            "early_stopping.patience",
            "early_stopping.min_change",
        )
    ),
    Rule(
        "run.name",
        "no run.folder, which is the name already",
        lambda c, _: c.run.folder is None or _resolved(c.data),
        lambda c, _: str(c.run.folder),
        ONE_OF_THEM,
    ),
)
"""Settings that some runs make nothing of."""


def check_raw(options: PrepareOptions, raw: RawData) -> None:
    """Refuse settings that raw files make nothing of."""
    settings = dict(given(options, ("data",)))
    for rule in DATA:
        if rule.setting in settings:
            rule.check(options, raw)


def check_task(config: Config, task: Task) -> None:
    """Refuse settings that a run makes nothing of."""
    settings = dict(given(config))
    for rule in TASK:
        if rule.setting in settings:
            rule.check(config, task)


def check_made(options: PrepareOptions, manifest: Mapping[str, Any], *, what: str, validation: bool = False) -> None:
    """Refuse settings that contradict how shards were made.

    `what` was made is for messages; `validation` tells whether the held-out part was made with it, and so cannot be
    another one.
    """
    shaping = set(PrepareOptions.model_fields) - ({"train"} if validation else {"train", "validation"})
    for setting, value in given(options, ("data",)):
        if setting.split(".")[1] not in shaping:
            continue
        known = made_with(manifest, setting.removeprefix("data."))
        if value not in known and not (setting == "data.tokenizer" and _same_tokenizer(str(value), manifest)):
            shown = next((_shown(one) for one in known if one not in (None, "auto", ())), "nothing")
            advice = "leave it out, or name raw files in data.train for it to act on"
            raise ConfigError(problem(setting, f"{shown}, as {what} was made", _shown(value), advice))


def made_with(manifest: Mapping[str, Any], setting: str) -> list[object]:
    """What a setting of `PrepareOptions` was, as it was given and as it came out."""
    source = manifest.get("source") or {}
    given_then: Any = source.get("options") or {}
    for key in setting.split("."):
        given_then = given_then.get(key) if isinstance(given_then, Mapping) else None
    encoder = (manifest.get("encoder") or {}).get("kind")
    came_out: dict[str, object] = {
        "format": source.get("format"),
        "encoder": encoder,
        "vocab_size": manifest.get("vocab_size") if encoder == "ids" else None,
        "n_classes": manifest.get("n_classes"),
        "normalize": bool(manifest.get("normalisation")) if manifest.get("kind") == "features" else None,
    }
    return [came_out.get(setting), tuple(given_then) if isinstance(given_then, list) else given_then]


def target_kind(config: Config, targets: frozenset[str]) -> str:
    """What is predicted, from the kinds of targets in the data where the configuration leaves it open."""
    if config.model.target.kind != "auto":
        return config.model.target.kind
    return next((kind for column, kind in TARGET_COLUMNS.items() if column in targets), "next_token")


def given(section: Section, path: tuple[str, ...] = ()) -> Iterator[tuple[str, object]]:
    """Every setting (dotted name, value) that was set and asks for something."""
    for name, field in type(section).model_fields.items():
        value = getattr(section, name)
        if isinstance(value, Section):
            yield from given(value, (*path, name))
        elif name not in section.model_fields_set or value in (None, "auto", ()):
            continue
        elif value != field.get_default(call_default_factory=True):
            yield ".".join((*path, name)), value


def _resolved(options: PrepareOptions) -> bool:
    """Whether a run wrote these settings: no one else knows the digest."""
    return getattr(options, "digest", None) is not None


def _same_tokenizer(path: str, manifest: Mapping[str, Any]) -> bool:
    """Whether a file is the tokenizer that was used, wherever it lies now."""
    file = Path(path).expanduser()
    digest = (manifest.get("encoder") or {}).get("sha256")
    return digest is not None and file.is_file() and hashlib.sha256(file.read_bytes()).hexdigest() == digest


def _shown(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)
