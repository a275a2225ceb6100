"""Replaces kinds `auto` and null sizes by those of the data, and refuses contradictions with it.

Input     tokens (V ids) or features (F numbers per step), as the shards have them
Target    the kind that reads most of the target columns that there are; none of them → the next token
Head      the default one of the target (`ssm_hpn.targets`)
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

from pydantic import TypeAdapter

from ssm_hpn._core import check_optim, resolve_model
from ssm_hpn.columns import Column, Scale
from ssm_hpn.config.micro_batches import micro_batches
from ssm_hpn.config.mixture import whole_weights
from ssm_hpn.config.model import (
    TARGETS,
    AutoHead,
    AutoInput,
    AutoTarget,
    FeaturesInput,
    Head,
    Input,
    JointLoss,
    LinearHead,
    ModelConfig,
    NoHead,
    PrototypeHead,
    RegressionLoss,
    Target,
    TargetSection,
    TokensInput,
)
from ssm_hpn.config.root import OF_FILTERS, Config, without_later
from ssm_hpn.config.training import ConstantSchedule, CosineSchedule, LinearSchedule, OptimConfig, WsdSchedule
from ssm_hpn.counts import counted
from ssm_hpn.errors import ConfigError, DataError, problem
from ssm_hpn.targets import KINDS, kind_of_columns, target_columns

LONGEST_WARMUP: Final = 200
DEFAULT_LENGTH: Final = 256
OF_VECTORS: Final = ("vectors", "vectors_digest")
"""Settings of a prototype head that the core does not read: it gets the vectors."""
_HEADS: Final = TypeAdapter[PrototypeHead | LinearHead | NoHead](PrototypeHead | LinearHead | NoHead)


@dataclass(frozen=True, slots=True)
class DataShape:
    """Sizes and contents of a prepared folder; None where it has none.

    >>> sorted(DataShape(n_features=6, n_classes=4, columns=frozenset({"features", "labels"})).targets)
    ['labels']
    """

    vocab_size: int | None = None
    n_features: int | None = None
    n_classes: int | None = None
    n_values: int | None = None
    columns: frozenset[str] = frozenset()
    """The columns of its shards, as in the manifest."""
    longest_document: int | None = None
    """Length of the longest document of all parts."""
    scale: Scale | None = None
    """Scale of the numbers to predict, which are scaled in the shards."""
    value_range: tuple[float, float] | None = None
    """Smallest and largest of the first number to predict."""
    digest: str | None = None
    unlabelled: Column | None = None
    """The column of labels, where all of the training part is without one."""

    @property
    def targets(self) -> frozenset[str]:
        """The columns of targets that it has, without those of classes or numbers whose count is not known."""
        known = target_columns("class") if self.n_classes is not None else frozenset()
        known |= target_columns("number") if self.n_values is not None else frozenset()
        return self.columns & known


def resolve(config: Config, data: DataShape | None) -> Config:
    """The configuration with nothing left open. Without data every size has to be given.

    >>> from ssm_hpn.config import Config, DataShape, resolve
    >>> shape = DataShape(n_features=6, n_classes=4, columns=frozenset({"label"}), longest_document=120)
    >>> config = resolve(Config(), shape)
    >>> config.model.input.n_features, config.model.target.kind, config.model.head.n_classes, config.data.length
    (6, 'sequence_class', 4, 120)
    """
    data = data or DataShape()
    if config.model.kind == "features":
        advice = "leave it out; `train` and SSMClassifier fit features"
        raise ConfigError(problem("model.kind", "backbone, which is what a Trainer trains", "features", advice))
    source = _input(config.model.input, data)
    target = _target(config.model.target, target_kind(config, data.targets), data)
    head = _head(config.model.head, target, source, data)
    shape = {"kind": "backbone", "input": source, "target": target, "head": head, **_layers(config.model)}
    given = config.model.model_copy(update=shape)
    model = model_of_core(resolve_model(core_model(given)), given)
    optim = config.optim.model_copy(update={"schedule": schedule_of(config)})
    check_optim(core_optim(optim))
    virtual_ranks = micro_batches(config.train).virtual_ranks
    if virtual_ranks > 1 and config.data.packing == "carried":
        expected = f"another one with {virtual_ranks} virtual ranks, as carried goes on from the micro-batch before"
        advice = "train on one rank, with train.virtual_ranks 1"
        raise ConfigError(problem("data.packing", expected, "carried", advice))
    rows = config.data.model_copy(update=_rows(config, target, data))
    return config.model_copy(update={"model": model, "optim": optim, "data": rows})


def resolve_filters(config: Config, data: DataShape) -> Config:
    """The configuration of a model of features, with its target and the digest of its data.

    >>> shape = DataShape(n_features=6, n_classes=4, columns=frozenset({"label"}))
    >>> config = resolve_filters(Config(), shape)
    >>> config.model.kind, config.model.target.kind
    ('features', 'sequence_class')
    """
    target = _target(config.model.target, target_kind(config, data.targets), data)
    model = config.model.model_copy(update={"kind": "features", "target": target})
    rows = config.data.model_copy(update={"digest": _same_data(config, data)})
    return config.model_copy(update={"model": model, "data": rows})


def target_kind(config: Config, targets: frozenset[str]) -> str:
    """The kind of target: that of the configuration, or by the columns of targets in the data."""
    if config.model.target.kind != "auto":
        return config.model.target.kind
    return kind_of_columns(targets)


def core_model(model: ModelConfig) -> str:
    """The model as the core reads it; the core learns scaled numbers and does not get their scale.

    Later settings that are left at their defaults are left out.

    >>> import json
    >>> from ssm_hpn.config import Config
    >>> json.loads(core_model(Config().model))["block"]["d_state"]
    16
    """
    plain = model.model_dump(mode="json")
    plain["target"].pop("scale", None)
    for name in OF_VECTORS:
        plain["head"].pop(name, None)
    scale, loss = model.scale, plain["head"].get("loss")
    if scale is not None and isinstance(loss, dict) and "low" in loss:
        loss |= {end: (loss[end] - scale.mean[0]) / scale.std[0] for end in ("low", "high")}
    used = without_later({"model": plain})["model"]
    for key in OF_FILTERS:
        del used[key]
    return json.dumps(used, separators=(",", ":"))


def model_of_core(text: str, known: ModelConfig) -> ModelConfig:
    """The model that the core has, in the user's units; `known` is what it was made from, or saved with.

    >>> from ssm_hpn.config import parse
    >>> target, head = {"kind": "token_class"}, {"kind": "linear", "n_outputs": 2}
    >>> model = parse({"model": {"input": {"kind": "hidden"}, "target": target, "head": head}}).model
    >>> model_of_core(core_model(model), model) == model
    True
    """
    plain, ours = json.loads(text), known.model_dump(mode="json")
    plain |= {key: ours[key] for key in ("target", *OF_FILTERS)}
    loss = ours["head"].get("loss")
    if isinstance(loss, dict) and "low" in loss:
        plain["head"]["loss"] = loss
    plain["head"] |= {name: ours["head"][name] for name in OF_VECTORS if name in ours["head"]}
    return ModelConfig.model_validate(plain)


def with_vectors(config: Config, **changes: str | int | None) -> Config:
    """The configuration with other settings of class vectors and their dimension, if it has a prototype head.

    >>> from ssm_hpn.config import parse
    >>> config = parse({"model": {"head": {"kind": "prototype", "prototypes": "given"}}})
    >>> with_vectors(config, vectors_digest="ab").model.head.vectors_digest
    'ab'
    """
    head = config.model.head
    if not isinstance(head, PrototypeHead):
        return config
    model = config.model.model_copy(update={"head": head.model_copy(update=changes)})
    return config.model_copy(update={"model": model})


def core_optim(optim: OptimConfig) -> str:
    """The optimiser as the core reads it; clip_norm 0 is its null.

    >>> import json
    >>> from ssm_hpn.config import parse
    >>> json.loads(core_optim(parse({"optim": {"clip_norm": 0}}).optim))["clip_norm"] is None
    True
    """
    return json.dumps(optim.model_dump(mode="json") | {"clip_norm": optim.clip_norm or None})


def core_loader(
    config: Config,
    path: str,
    *,
    mix: Sequence[str] = (),
    evaluation: bool = False,
    own: Mapping[str, int] | None = None,
) -> str:
    """A loader as the core reads it; `mix` are the folders of `data.mix`, `own` the batches that a rank makes.

    Held-out batches are the same ones every time, drawn from the whole set, and never without a record batch: their
    metrics would be those of other data.

    >>> import json
    >>> from ssm_hpn.config import Config
    >>> held_out = json.loads(core_loader(Config(), "data/validation", evaluation=True))
    >>> held_out["epochs"], held_out["batch_size"]
    (1, 8)
    """
    weights = [1] if evaluation else whole_weights(config.data)
    some = config.evaluation.batches != "all"
    loader: dict[str, Any] = {
        "path": path,
        "batch_size": config.train.batch_size if evaluation else micro_batches(config.train).rows,
        "length": config.data.length,
        "packing": "contiguous" if evaluation and config.data.packing == "carried" else config.data.packing,
        "shuffle": some if evaluation else config.data.shuffle,
        "seed": 0 if evaluation else config.train.seed,
        "workers": config.data.workers,
        "prefetch": config.data.prefetch,
        "epochs": 1 if evaluation else None,
        "target": config.model.target.kind,
        "window": config.data.window,
        "on_corrupt": "stop" if evaluation else config.data.on_corrupt,
        "own": own,
        "weight": weights[0],
        "mix": [{"path": one, "weight": weight} for one, weight in zip(mix, weights[1:], strict=True)],
    }
    return json.dumps(loader)


def _input(given: Input, data: DataShape) -> Input:
    if isinstance(given, AutoInput):
        if data.n_features is not None:
            return FeaturesInput(n_features=data.n_features)
        return TokensInput(vocab_size=_size("model.input.vocab_size", None, data.vocab_size))
    if isinstance(given, TokensInput):
        _same_kind("model.input.kind", given.kind, "features" if data.n_features is not None else None)
        vocab_size = _size("model.input.vocab_size", given.vocab_size, data.vocab_size, larger_is_fine=True)
        return TokensInput(vocab_size=vocab_size)
    if isinstance(given, FeaturesInput):
        _same_kind("model.input.kind", given.kind, "tokens" if data.vocab_size is not None else None)
        return FeaturesInput(n_features=_size("model.input.n_features", given.n_features, data.n_features))
    return given


def _layers(model: ModelConfig) -> dict[str, Any]:
    """The layers with every block as a table, and their number."""
    if not model.layers:
        return {}
    block = model.block.model_dump(mode="json")
    layers = tuple(_table(entry, block) for entry in model.layers)
    n_layers = model.n_layers if "n_layers" in model.model_fields_set else len(layers)
    return {"layers": layers, "n_layers": n_layers}


def _table(entry: str | dict[str, Any], block: dict[str, Any]) -> dict[str, Any]:
    """A block as a table: its kind alone is model.block, and so is the block that a `bidirectional` leaves out."""
    table = {"kind": entry} if isinstance(entry, str) else entry
    if entry == block["kind"]:
        return block
    return {"block": block} | table if table.get("kind") == "bidirectional" else table


def _target(given: Target, kind: str, data: DataShape) -> TargetSection:
    section = TARGETS[kind]
    settings = given.model_dump(exclude={"kind"}) if isinstance(given, TargetSection) else {}
    if isinstance(given, AutoTarget) and "pooling" in section.model_fields:
        settings["pooling"] = given.pooling
    if "n_values" in section.model_fields:
        if data.digest is not None and data.n_values is None:
            expected = f"numbers for the target {kind}"
            advice = "name their column with --data.columns.values, or leave model.target.kind out"
            raise ConfigError(problem("data.columns.values", expected, "none in the data", advice))
        if settings.get("n_values") is None and data.digest is None and KINDS[kind].has("class"):
            settings["n_values"] = 1  # one number beside a class
        settings["n_values"] = _size("model.target.n_values", settings.get("n_values"), data.n_values)
        if KINDS[kind].has("class") and KINDS[kind].has("number") and (data.n_values or 1) > 1:
            advice = "name one of them, or leave data.columns.label out for the numbers alone"
            raise ConfigError(problem("data.columns.values", "one number beside a class", data.n_values, advice))
        settings["scale"] = _scale(settings.get("scale"), settings["n_values"], data)
    return section.model_validate({"kind": kind, **settings})


def _scale(given: dict[str, Any] | None, n_values: int, data: DataShape) -> dict[str, Any] | None:
    """The scale of the numbers to predict: that of the data, whose shards hold them scaled, else the given one."""
    if given is None or (data.scale is not None and given == asdict(data.scale)):
        return None if data.scale is None else asdict(data.scale)
    if data.digest is not None:
        advice = "leave it out: it is taken from the training data"
        raise ConfigError(problem("model.target.scale", "that of the prepared data", "another one", advice))
    if len(given["mean"]) != n_values:
        advice = "give one mean and one std for each number"
        raise ConfigError(problem("model.target.scale", counted(n_values, "number"), len(given["mean"]), advice))
    return given


def _head(given: Head, target: TargetSection, source: Input, data: DataShape) -> Head:
    kind = target.described
    if isinstance(given, AutoHead):
        given = _HEADS.validate_python(kind.default_head)
    if isinstance(given, NoHead):
        return given
    classes = source.vocab_size if kind.from_tokens and isinstance(source, TokensInput) else data.n_classes
    if kind.has("class") and classes == 1 and data.digest is not None and not kind.from_tokens:
        advice = "use data with more of them, or leave data.columns.label and .labels out"
        raise ConfigError(problem("data.columns", "labels of at least two classes", "one class in the data", advice))
    size = given.n_outputs if isinstance(given, LinearHead) else given.n_classes
    if kind.has("class") and classes is None and size is None and data.digest is not None:
        if data.unlabelled is not None:
            raise _without_labels(data.unlabelled)
        advice = (
            "name their column with --data.columns.label (one per document) or .labels (one per step), or numbers to "
            "predict with .values; a .npy file has none: put them into an .npz file as y, labels or values"
        )
        raise ConfigError(problem("data.columns", "labels of the classes to learn", "none in the data", advice))
    if isinstance(given, LinearHead):
        wanted = classes if kind.has("class") else getattr(target, "n_values", None)
        n_outputs = _size("model.head.n_outputs", given.n_outputs, wanted, larger_is_fine=kind.has("class"))
        return given.model_copy(update={"n_outputs": n_outputs})
    if isinstance(given.loss, RegressionLoss | JointLoss):
        given = given.model_copy(update={"loss": _with_ends(given.loss, target, data)})
    if given.loss.kind == "regression":
        return given
    n_classes = _size("model.head.n_classes", given.n_classes, classes, larger_is_fine=True)
    return given.model_copy(update={"n_classes": n_classes})


def _with_ends(loss: RegressionLoss | JointLoss, target: TargetSection, data: DataShape) -> RegressionLoss | JointLoss:
    """A loss of numbers with the smallest and the largest one, of the data where they are not set."""
    if isinstance(loss, JointLoss) and not target.described.has("number"):
        advice = "leave it out, or set model.target.kind to joint"
        if data.digest is not None and data.n_values is None:
            advice = "leave it out, or name the column of numbers with --data.columns.values"
        expected = f"a loss for the target {target.kind}"
        raise ConfigError(problem("model.head.loss.kind", expected, "joint, for a class and a number", advice))
    low, high = data.value_range or (-1.0, 1.0)
    ends = {"low": low if loss.low is None else loss.low, "high": high if loss.high is None else loss.high}
    if not ends["low"] < ends["high"]:
        advice = "set model.head.loss.low and .high to the smallest and largest number to predict"
        raise ConfigError(problem("model.head.loss.low", f"below high = {ends['high']:g}", f"{ends['low']:g}", advice))
    return loss.model_copy(update=ends)


def _without_labels(column: Column) -> DataError:
    """The error for a prepared column of labels without any."""
    advice = f"fill it, name another one in data.columns.{column.role}, or leave it out, and prepare the data again"
    place = f"data.train: column {column.name!r}"
    return DataError(problem(place, "labels of the classes to learn", "none in the training part", advice))


def schedule_of(config: Config) -> CosineSchedule | LinearSchedule | ConstantSchedule | WsdSchedule:
    """The schedule with its nulls filled in from the number of updates.

    >>> from ssm_hpn.config import parse
    >>> schedule = schedule_of(parse({"train": {"steps": 1000}}))
    >>> schedule.total, schedule.warmup
    (1000, 50)
    """
    schedule = config.optim.schedule
    steps = config.train.steps
    warmup = schedule.warmup
    changes: dict[str, int] = {"warmup": min(LONGEST_WARMUP, steps // 20) if warmup is None else warmup}
    if not isinstance(schedule, ConstantSchedule):
        changes["total"] = schedule.total or steps
    if isinstance(schedule, WsdSchedule):
        changes["decay"] = schedule.decay or max(1, changes["total"] // 5)
    return schedule.model_copy(update=changes)


def _rows(config: Config, target: TargetSection, data: DataShape) -> dict[str, Any]:
    """Length, packing and digest, as the target and the data want them."""
    whole_weights(config.data)
    packing = config.data.packing
    if packing == "auto":
        packing = "contiguous" if target.described.from_tokens else "best_fit"
    length = config.data.length
    if length is None:
        length = data.longest_document if target.described.pooled and data.longest_document else DEFAULT_LENGTH
    return {"packing": packing, "length": length, "digest": _same_data(config, data)}


def _same_data(config: Config, data: DataShape) -> str | None:
    """The digest of the data. Raises `ConfigError` where it is not the one of the configuration."""
    digest = config.data.digest
    if digest is not None and data.digest is not None and digest != data.digest:
        advice = "the data changed since; restore it, or start another run without data.digest"
        raise ConfigError(problem("data.digest", f"data with the digest {digest[:12]}", data.digest[:12], advice))
    return digest or data.digest


def _size(key: str, given: int | None, found: int | None, *, larger_is_fine: bool = False) -> int:
    """A size from the configuration or the data; both have to agree."""
    if given is None and found is None:
        raise ConfigError(problem(key, "a number", "null, and no data that tells it", f"set {key}"))
    if given is None or found is None:
        return given if given is not None else found  # type: ignore[return-value]
    if given == found or (larger_is_fine and given > found):
        return given
    relation = "at least " if larger_is_fine else ""
    raise ConfigError(problem(key, f"{relation}{found}, as in the data", given, "change it, or leave it out"))


def _same_kind(key: str, given: str, found: str | None) -> None:
    if found is not None:
        raise ConfigError(problem(key, f"{found}, as in the data", given, "change it, or leave it out"))


__all__ = [
    "DataShape",
    "core_loader",
    "core_model",
    "core_optim",
    "model_of_core",
    "resolve",
    "resolve_filters",
    "target_kind",
]
