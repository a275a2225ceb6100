"""Fitted estimators as checkpoints that the command line reads, and checkpoints and runs as estimators.

A checkpoint of an estimator is that of its model, with the contract of its data and settings as `train` writes them,
and under "estimator" what only an estimator has: its parameters, and how it reads X and answers labels. A run of the
command line has no such part; its contract says the same.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Final, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.utils.validation import check_is_fitted

from ssm_hpn.arrays import whole_number
from ssm_hpn.checkpoints import Which, find_checkpoint
from ssm_hpn.classes import text_of
from ssm_hpn.config import Config, parse
from ssm_hpn.contract import Contract
from ssm_hpn.errors import CheckpointError, problem
from ssm_hpn.estimators.backbone import Backbone
from ssm_hpn.estimators.base import number_of_threads
from ssm_hpn.estimators.parts import ModelInParts
from ssm_hpn.filter_model import FilterModel
from ssm_hpn.learner import STATE_SCHEMA, saved_settings
from ssm_hpn.run import fits_features
from ssm_hpn.series import names_of_target
from ssm_hpn.trainer import Trainer

OPENED_BY: Final = {"sequence_class": "SSMClassifier", "joint": "SSMClassifier", "sequence_values": "SSMRegressor"}
"""The estimator of each kind of target."""
PART = "estimator"
"""Its key in the JSON of a checkpoint."""


class StoredModel(ModelInParts):
    """Base of estimators that checkpoints hold."""

    _targets: ClassVar[tuple[str, ...]]
    """Kinds of targets that such an estimator predicts."""

    def _columns_of_files(self, channels: list[str], targets: dict[str, Any]) -> dict[str, Any]:
        """In tables the columns of a long table, in .npz files the arrays X, y and values; of texts the targets alone.

        None for frames with a row per series, which the command line does not read as such.
        """
        label, values = ("y", "values") if "sequence_class" in self._targets else (None, "y")
        if not channels:
            names = [] if label is None else names_of_target(targets["y"])
            return {"columns": {"label": names[0] if names else None, "values": names_of_target(targets.get(values))}}
        if self.id is None:
            if self._named or targets["y"] is None:
                return {}
            arrays = {"label": label, "values": [values] if targets.get(values) is not None else []}
            return {"columns": {"features": ["X"]} | arrays}
        found = {"features": list(channels), "id": self.id, "order": self.order, "label": None}
        names = [] if label is None else names_of_target(targets["y"])
        found |= {"label": names[0]} if names else {}
        return {"columns": found | {"values": names_of_target(targets.get(values))}}

    def save(self, folder: Path | str) -> Path:
        """Write a checkpoint folder, whole or not at all, which `load` and the command line read.

        It holds the model, the description of its data and the parameters; not the series that `partial_fit` keeps
        (a pickle does). Raises `NotFittedError` before a fit, `StorageError` where it cannot be written.
        """
        check_is_fitted(self)
        folder = Path(folder)
        part = {PART: self._about()}
        if isinstance(self.model_, Backbone):
            return self.model_.trainer.save(folder, extra=part)
        config = self._as_settings(self.model_)
        state = {"schema": STATE_SCHEMA, "config": config.used(), "config_digest": config.digest(), **part}
        return self.model_.save(folder, extra=state)

    def _as_settings(self, model: FilterModel) -> Config:
        """The settings of a run that fits such features."""
        both = model.classes is not None and model.numbers
        target = "joint" if both else "sequence_class" if model.classes is not None else "sequence_values"
        return parse(
            {
                "model": {
                    "kind": "features",
                    "filters": {"effort": self.effort, "causal": bool(self.causal)},
                    "target": {"kind": target},
                },
                "train": {"threads": number_of_threads(self.threads)},
            }
        )

    def _about(self) -> dict[str, Any]:
        """What only an estimator has, as JSON."""
        names = getattr(self, "feature_names_in_", None)
        classes = getattr(self, "classes_", None)
        return {
            "parameters": {
                name: found for name, value in self.get_params().items() if (found := _plain(value)) is not ...
            },
            "n_features_in": self.n_features_in_,
            "feature_names_in": None if names is None else [str(name) for name in names],
            "on_matrix": self._on_matrix,
            "named": self._named,
            "beside": self._beside,
            "single": getattr(self, "_single", True),
            "classes": None if classes is None else classes.dtype.str,
        }

    @classmethod
    def load(cls, path: Path | str, *, which: Which = "latest") -> Self:
        """The estimator of a checkpoint, or of a run of the command line and which of its checkpoints.

        What `save` wrote comes back as it was, with its parameters. A run of `train` on series with such targets
        becomes an estimator that reads its channels, and answers its classes as written. Raises `CheckpointError` where
        there is no checkpoint, for a damaged one, and for that of another kind of model.
        """
        found = find_checkpoint(Path(path), which)
        if fits_features(found):
            loaded = FilterModel.load(found)
            model: FilterModel | Backbone = loaded.model
            config, about, contract = (
                saved_settings(loaded.folder, loaded.extra),
                loaded.extra.get(PART),
                model.contract,
            )
        else:
            trainer = Trainer.load(found)
            temperature = trainer.temperature  # of a run it is beside its checkpoints
            state, _ = trainer.restore(found)
            trainer.temperature = temperature
            config, about = trainer.config, (state.get("extra") or {}).get(PART)
            if trainer.contract is None:
                expected, advice = "a model with a description of its data", "load it with Trainer.load"
                raise CheckpointError(problem(found, expected, "none", advice))
            contract, model = trainer.contract, Backbone(trainer, trainer.contract)
        if contract.kind != "features" or config.model.target.kind not in cls._targets:
            what = "series" if contract.kind == "features" else contract.kind
            expected = f"series with the target {' or '.join(cls._targets)}"
            there = f"{what} with the target {config.model.target.kind}"
            by = OPENED_BY.get(config.model.target.kind) if what == "series" else None
            advice = "use Trainer.load or the command line" if by is None else f"open it with {by}.load"
            raise CheckpointError(problem(found, expected, there, advice))
        estimator = cls(**(_parameters(about, cls) if about is not None else _of_run(config, contract)))
        estimator._take(model, contract, about or {})
        return estimator

    def _take(self, model: FilterModel | Backbone, contract: Contract, about: Mapping[str, Any]) -> None:
        """What a fit would have set."""
        self.model_, self.contract_ = model, contract
        self.n_channels_ = len(contract.features)
        self._on_matrix, self._named = bool(about.get("on_matrix", False)), bool(about.get("named", True))
        self._beside = [str(one) for one in about.get("beside", ())]
        self.n_features_in_ = whole_number(about.get("n_features_in", self.n_channels_), "n_features_in")
        if about.get("feature_names_in") is not None:
            self.feature_names_in_ = np.array(about["feature_names_in"], object)
        count = 0 if contract.scale is None else len(contract.scale.mean)
        self._single = bool(about.get("single", count <= 1))
        if contract.classes is not None:
            self.classes_ = _labels(contract, about.get("classes"))
        if isinstance(model, Backbone):
            self.n_iter_ = model.updates
            self.validation_scores_ = self.best_score_ = None
        self._learned_with = self.get_params()


def _plain(value: Any) -> Any:  # noqa: ANN401 - a parameter
    """A parameter as JSON; an ellipsis for one that is none."""
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, bytes):
        return text_of(value)
    return value if value is None or isinstance(value, str | int | float | bool) else ...


def _parameters(about: Mapping[str, Any], cls: type) -> dict[str, Any]:
    """The parameters of a stored estimator that such an estimator has."""
    names = set(cls().get_params())
    return {name: value for name, value in about.get("parameters", {}).items() if name in names}


def _of_run(config: Config, contract: Contract) -> dict[str, Any]:
    """The parameters of an estimator that fits such a model on such data, where it has them."""
    columns = contract.options.get("columns") or {}
    found: dict[str, Any] = {"missing": contract.missing, "random_state": config.train.seed}
    if columns.get("id") is not None:
        found |= {"id": columns["id"], "order": columns.get("order")}
    if config.model.kind == "features":
        filters = config.model.filters
        return found | {"kind": "features", "effort": filters.effort, "causal": filters.causal}
    head = "linear" if config.model.head.kind == "linear" else "prototype"
    found |= {"kind": "backbone", "head": head, "d_model": config.model.d_model, "normalize": contract.normalised}
    found |= {"pooling": config.model.target.model_dump().get("pooling", "mean")}
    optim = {name: getattr(config.optim, name) for name in ("lr", "weight_decay")}
    return found | optim | {name: getattr(config.train, name) for name in ("steps", "batch_size")}


def _labels(contract: Contract, kind: str | None) -> NDArray[Any]:
    """The classes as labels, in the type of fit where it is known."""
    assert contract.classes is not None
    values = np.array(contract.classes.values)
    if kind is None or np.dtype(kind) == values.dtype:
        return values
    if np.dtype(kind).kind == "S":
        return np.array([str(one).encode() for one in values])
    return values.astype(object if np.dtype(kind).kind == "O" else kind)
