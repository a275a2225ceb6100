"""Fitted estimators as checkpoints that the command line reads, and checkpoints and runs as estimators.

A checkpoint of an estimator is that of its model, with the contract of its data and settings as `train` writes them,
and under "estimator" what only an estimator has: its parameters, and how it reads X and answers labels. A run of the
command line has no such part; its contract says the same.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Final, Self

from sklearn.utils.validation import check_is_fitted

from ssm_hpn.checkpoints import Which, find_checkpoint
from ssm_hpn.contract import Contract
from ssm_hpn.errors import CheckpointError, problem
from ssm_hpn.estimators.about import (
    PART,
    about,
    labels_of_contract,
    parameters_of,
    parameters_of_run,
    part_of,
    settings_of,
    take_reading,
)
from ssm_hpn.estimators.backbone import Backbone
from ssm_hpn.estimators.model import KEPT_BYTES
from ssm_hpn.estimators.parts import ModelInParts
from ssm_hpn.filter_model import FilterModel
from ssm_hpn.replay import Replay
from ssm_hpn.run import fits_features
from ssm_hpn.saved_state import check_types, saved_settings
from ssm_hpn.series import names_of_target
from ssm_hpn.trainer import Trainer
from ssm_hpn.warning import warn

OPENED_BY: Final = {"sequence_class": "SSMClassifier", "joint": "SSMClassifier", "sequence_values": "SSMRegressor"}
"""The estimator of each kind of target."""
MEMORY: Final = "replay"
"""The key of the series that are trained on again, in the JSON of a checkpoint."""


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

        It holds the model, the description of its data, the parameters, and the series of `replay` (up to 64 MB); not
        the series that `partial_fit` keeps of features (a pickle does). Parameters come back as they are, frames and
        tensors among `class_vectors` as arrays; of a `RandomState` a warning says that it is not stored. Raises
        `NotFittedError` before a fit, `StorageError` where it cannot be written.
        """
        check_is_fitted(self)
        folder = Path(folder)
        part = {PART: about(self) | {"single": getattr(self, "_single", True)}}
        if isinstance(self.model_, Backbone):
            return self.model_.trainer.save(folder, extra=part | _memory_of(self.model_))
        return self.model_.save(folder, extra=settings_of(self, self.model_) | part)

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
            config, part = saved_settings(loaded.folder, loaded.extra), part_of(loaded.extra, found)
            contract = model.contract
            if loaded.model.classes is None and not loaded.model.numbers:
                expected, advice = "a model of classes or numbers", "open it with SSMEmbedder.load"
                raise CheckpointError(problem(found, expected, "vectors of series", advice))
        else:
            trainer = Trainer.load(found)
            fitted = trainer.temperature, trainer.density  # of a run they are beside its checkpoints
            state, _ = trainer.restore(found)
            trainer.temperature, trainer.density = fitted
            extra = state.get("extra", {})
            check_types(found, {"extra": extra}, {"extra": dict}, of="an estimator")
            config, part = trainer.config, part_of(extra, found)
            if trainer.contract is None:
                expected, advice = "a model with a description of its data", "load it with Trainer.load"
                raise CheckpointError(problem(found, expected, "none", advice))
            memory = Replay.from_json(extra[MEMORY]) if isinstance(extra.get(MEMORY), dict) else None
            model = Backbone.of_trainer(trainer, memory)
            contract = model.contract
        if contract.kind != "features" or config.model.target.kind not in cls._targets:
            what = "series" if contract.kind == "features" else contract.kind
            expected = f"series with the target {' or '.join(cls._targets)}"
            there = f"{what} with the target {config.model.target.kind}"
            by = OPENED_BY.get(config.model.target.kind) if what == "series" else None
            advice = "use Trainer.load or the command line" if by is None else f"open it with {by}.load"
            raise CheckpointError(problem(found, expected, there, advice))
        given = parameters_of_run(cls, config, contract) if part is None else parameters_of(cls, part, found)
        estimator = cls(**given)
        estimator._take(model, contract, part or {}, found)
        return estimator

    def _take(self, model: FilterModel | Backbone, contract: Contract, part: Mapping[str, Any], where: Path) -> None:
        """What a fit would have set; `where` is the checkpoint."""
        self.model_ = model
        take_reading(self, contract, part)
        count = 0 if contract.scale is None else len(contract.scale.mean)
        self._single = bool(part.get("single", count <= 1))
        if contract.classes is not None:
            self.classes_ = labels_of_contract(contract, part.get("classes"), where)
        if isinstance(model, Backbone):
            self.n_iter_ = model.updates
            self.validation_scores_ = self.best_score_ = None
        self._learned_with = self.get_params()


def _memory_of(model: Backbone) -> dict[str, Any]:
    """The memory of a backbone for the JSON of a checkpoint."""
    if model.memory is None:
        return {}
    if model.memory.nbytes > KEPT_BYTES:
        found = f"{model.memory.nbytes >> 20} MB"
        warn(f"replay: the checkpoint is without its series, {found} where {KEPT_BYTES >> 20} MB are stored: pickle it")
        return {}
    return {MEMORY: model.memory.to_json()}
