"""The whole configuration, and its digest.

    digest = SHA-256 of the canonical JSON of all settings that change numbers

Where files lie, which are removed, how many threads compute and how often something is logged or saved leave the digest
alone. A model of features has settings of its own (`FEATURES`), and no others are in its digest and files; those of a
backbone are all but `model.kind` and `model.filters`.
"""

import hashlib
import json
from typing import Any, Final

from pydantic import Field

from ssm_hpn.config.base import Section
from ssm_hpn.config.data import DataConfig, PrepareOptions
from ssm_hpn.config.model import ModelConfig
from ssm_hpn.config.training import (
    CheckpointConfig,
    EarlyStoppingConfig,
    EvaluationConfig,
    OptimConfig,
    RunConfig,
    TrainConfig,
)
from ssm_hpn.sections import flat

_WITHOUT: Final = {
    "data": {"train", "validation", "workers", "prefetch", "clean"},
    "train": {"threads", "log_every"},
    "checkpoint": True,
    "run": True,
}
LATER_SETTINGS: Final[dict[str, Any]] = {
    "model.stem": {"kind": "auto"},
    "model.layers": [],
    "model.dropout": 0,
    "model.head_dropout": 0,
    "model.head.vectors_digest": None,
    "model.head.assignment": "given",
    "model.head.assignment_after": 100,
    "model.head.smoothing": 0,
    "model.head.spare": 0,
    "model.head.placed": 0,
    "model.head.loss.smoothing": 0,
    "model.head.loss.smoothing_toward": "all",
    "model.head.loss.surgery": {"kind": "none"},
    "train.class_weights": [],
    "train.on_divergence": "stop",
    "train.rollback_rate": 0.5,
    "train.epochs": None,
    "train.tokens": None,
    "data.window": None,
    "data.unique": False,
    "data.test_fraction": 0.0,
    "data.mix": [],
    "data.weights": [],
    "data.on_corrupt": "stop",
    "train.precision": "f32",
    "train.virtual_ranks": None,
}
"""Settings added after the first release, with their defaults, which do not change the digest."""

OF_FILTERS: Final = ("kind", "filters")
"""Settings of the model that a backbone has not."""
FEATURES: Final[dict[str, frozenset[str] | None]] = {
    "model": frozenset({*OF_FILTERS, "target"}),
    "data": frozenset({*PrepareOptions.model_fields, "clean", "digest"}),
    "train": frozenset({"seed", "threads", "class_weights"}),
    "run": None,
}
"""Sections and settings that have an effect on a model of features; None for all of a section."""


class Config(Section):
    """All settings. `Config()` is the default job: a byte-level language model on Python source.

    >>> from ssm_hpn import Config
    >>> config = Config()
    >>> config.model.d_model, config.optim.schedule.kind, config.train.steps
    (128, 'cosine', 3000)
    >>> config.model_copy(update={"run": config.run.model_copy(update={"name": "a"})}).digest() == config.digest()
    True
    """

    model: ModelConfig = Field(default_factory=ModelConfig, description="the model")
    data: DataConfig = Field(default_factory=DataConfig, description="the data")
    optim: OptimConfig = Field(default_factory=OptimConfig, description="the optimiser")
    train: TrainConfig = Field(default_factory=TrainConfig, description="the loop")
    evaluation: EvaluationConfig = Field(default_factory=EvaluationConfig, description="the held-out data")
    early_stopping: EarlyStoppingConfig = Field(default_factory=EarlyStoppingConfig, description="early stopping")
    checkpoint: CheckpointConfig = Field(default_factory=CheckpointConfig, description="checkpoints")
    run: RunConfig = Field(default_factory=RunConfig, description="the run's folder")

    def digest(self) -> str:
        """64 hexadecimal digits: equal for two configurations if and only if they compute the same."""
        settings = _computing(self)
        text = json.dumps(settings, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
        return hashlib.sha256(text.encode()).hexdigest()

    def used(self) -> dict[str, Any]:
        """The settings that the kind of model has, nested, as JSON takes them.

        >>> sorted(Config.model_validate({"model": {"kind": "features"}}).used()["model"])
        ['filters', 'kind', 'target']
        >>> "filters" in Config.model_validate({"model": {"kind": "backbone"}}).used()["model"]
        False
        """
        settings = self.model_dump(mode="json")
        if self.model.kind == "backbone":
            settings["model"].pop("filters")
        if self.model.kind != "features":
            return settings
        settings["model"]["target"].pop("pooling", None)
        return {
            section: {key: value for key, value in settings[section].items() if names is None or key in names}
            for section, names in FEATURES.items()
        }

    def differences(self, other: "Config") -> dict[str, tuple[Any, Any]]:
        """The settings in which two configurations compute something else: dotted name to the value here and there.

        >>> from ssm_hpn.config import Config
        >>> Config().differences(Config.model_validate({"train": {"steps": 7}, "run": {"name": "a"}}))
        {'train.steps': (3000, 7)}
        """
        here, there = dict(flat(_computing(self))), dict(flat(_computing(other)))
        names = dict.fromkeys((*here, *there))
        return {name: pair for name in names if (pair := (here.get(name), there.get(name)))[0] != pair[1]}


def without_later(settings: dict[str, Any]) -> dict[str, Any]:
    """Nested settings without those that were added later and are left at their defaults.

    >>> without_later({"model": {"dropout": 0.0, "d_model": 8, "head": {"assignment": "similar"}}})
    {'model': {'d_model': 8, 'head': {'assignment': 'similar'}}}
    """
    for name, default in LATER_SETTINGS.items():
        *path, key = name.split(".")
        section: Any = settings
        for part in path:
            section = section.get(part) if isinstance(section, dict) else None
        if isinstance(section, dict) and section.get(key, ...) == default:
            del section[key]
    return settings


def _computing(config: Config) -> dict[str, Any]:
    """The settings that decide what is computed, nested."""
    settings = without_later(config.model_dump(mode="json", exclude=_WITHOUT))  # type: ignore[arg-type]
    if config.model.kind == "features":
        return {
            section: {key: value for key, value in used.items() if key in settings[section]}
            for section, used in config.used().items()
            if section in settings
        }
    if settings["train"].get("virtual_ranks") == 1:
        del settings["train"]["virtual_ranks"]  # computes what none does
    settings["data"]["clean"] = False  # computes nothing, but is part of every digest
    for key in OF_FILTERS:
        del settings["model"][key]
    settings["model"]["head"].pop("vectors", None)  # a path; the numbers have a digest
    return settings
