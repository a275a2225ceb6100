"""What only an estimator has, as JSON beside the model in a checkpoint: its parameters, and how it reads X."""

from collections.abc import Mapping
from pathlib import Path
from types import NoneType
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ssm_hpn.classes import whole_type
from ssm_hpn.config import Config, parse
from ssm_hpn.contract import Contract
from ssm_hpn.errors import CheckpointError, problem, shown
from ssm_hpn.estimators.base import SequenceEstimator, number_of_threads
from ssm_hpn.estimators.parameter_values import UNREADABLE, NotStorableError, from_json, to_json
from ssm_hpn.filter_model import FilterModel
from ssm_hpn.saved_state import OTHER_CHECKPOINT, STATE_SCHEMA, check_types
from ssm_hpn.warning import warn

PART: Final = "estimator"
"""Its key in the JSON of a checkpoint."""
TYPES: Final[dict[str, type | tuple[type, ...]]] = {
    "parameters": dict,
    "n_features_in": int,
    "feature_names_in": (list, NoneType),
    "on_matrix": bool,
    "named": bool,
    "beside": list,
    "classes": (str, NoneType),
    "single": bool,
}
"""What may be in it, and the types."""


def about(estimator: SequenceEstimator) -> dict[str, Any]:
    """The part of a fitted estimator; warns about a parameter that JSON cannot hold, such as a state of random numbers.

    >>> from ssm_hpn.estimators import StateSpaceFeatures
    >>> found = about(StateSpaceFeatures(effort="fast").fit(np.eye(9)))
    >>> found["parameters"]["effort"], found["on_matrix"], found["n_features_in"]
    ('fast', True, 9)
    """
    names = getattr(estimator, "feature_names_in_", None)
    classes = getattr(estimator, "classes_", None)
    return {
        "parameters": _stored_parameters(estimator),
        "n_features_in": estimator.n_features_in_,
        "feature_names_in": None if names is None else [str(name) for name in names],
        "on_matrix": estimator._on_matrix,  # noqa: SLF001 - of one whole with the estimators
        "named": estimator._named,  # noqa: SLF001
        "beside": estimator._beside,  # noqa: SLF001
        "classes": None if classes is None else classes.dtype.str,
    }


def part_of(extra: Mapping[str, Any], where: Path) -> dict[str, Any] | None:
    """The part in the JSON of a checkpoint, which is `where`; None in that of a run.

    Raises `CheckpointError` for a damaged one.

    >>> part_of({"estimator": {"named": True}}, Path("kept"))
    {'named': True}
    """
    part = extra.get(PART)
    if part is None:
        return None
    of = "an estimator"
    check_types(where, extra, {PART: dict}, of=of)
    check_types(where, part, {name: kind for name, kind in TYPES.items() if name in part}, of=of)
    return dict(part)


def settings_of(estimator: Any, model: FilterModel) -> dict[str, Any]:  # noqa: ANN401 - one of features
    """The settings of a run that fits such features, for the JSON of a checkpoint."""
    target = "sequence_class" if model.classes is not None else "sequence_values"
    target = "joint" if model.classes is not None and model.numbers else target
    config = parse(
        {
            "model": {
                "kind": "features",
                "filters": {"effort": estimator.effort, "causal": bool(estimator.causal)},
                "target": {"kind": target},
            },
            "train": {"threads": number_of_threads(estimator.threads)},
        }
    )
    return {"schema": STATE_SCHEMA, "config": config.used(), "config_digest": config.digest()}


def take_reading(estimator: SequenceEstimator, contract: Contract, part: Mapping[str, Any]) -> None:
    """Let an estimator read X as the one that `part` is of, or as the command line did where it is empty."""
    estimator.contract_, estimator.n_channels_ = contract, len(contract.features)
    estimator._on_matrix = bool(part.get("on_matrix", False))  # noqa: SLF001
    estimator._named = bool(part.get("named", True))  # noqa: SLF001
    estimator._beside = [str(one) for one in part.get("beside", ())]  # noqa: SLF001
    estimator.n_features_in_ = part.get("n_features_in", estimator.n_channels_)
    if part.get("feature_names_in") is not None:
        estimator.feature_names_in_ = np.array(part["feature_names_in"], object)


def parameters_of(kind: type, part: Mapping[str, Any], where: Path) -> dict[str, Any]:
    """The stored parameters that an estimator of this kind has; `where` is the checkpoint.

    Raises `CheckpointError` for damaged ones.
    """
    names, found = set(kind().get_params()), {}
    for name, value in part.get("parameters", {}).items():
        if name in names:
            try:
                found[name] = from_json(value)
            except UNREADABLE as error:
                at = f"{where}: {PART}.parameters.{name}"
                raise CheckpointError(problem(at, "a parameter that save wrote", error, OTHER_CHECKPOINT)) from None
    return found


def parameters_of_run(kind: type, config: Config, contract: Contract) -> dict[str, Any]:
    """The parameters of an estimator that fits such a model on such data, where this kind has them."""
    columns = contract.options.get("columns") or {}
    found: dict[str, Any] = {"missing": contract.missing, "random_state": config.train.seed}
    if columns.get("id") is not None:
        found |= {"id": columns["id"], "order": columns.get("order")}
    if config.model.kind == "features":
        filters = config.model.filters
        found |= {"kind": "features", "effort": filters.effort, "causal": filters.causal}
    else:
        head = "linear" if config.model.head.kind == "linear" else "prototype"
        found |= {"kind": "backbone", "head": head, "d_model": config.model.d_model, "normalize": contract.normalised}
        found |= {"pooling": config.model.target.model_dump().get("pooling", "mean")}
        found |= {name: getattr(config.optim, name) for name in ("lr", "weight_decay")}
        found |= {name: getattr(config.train, name) for name in ("steps", "batch_size")}
    names = set(kind().get_params())
    return {name: value for name, value in found.items() if name in names}


def labels_of_contract(contract: Contract, kind: str | None, where: Path) -> NDArray[Any]:
    """The classes as labels, in the type of fit where it is known; `where` is the checkpoint.

    Raises `CheckpointError` for a type that does not hold them.
    """
    assert contract.classes is not None
    given = contract.classes.values
    whole = contract.classes.type == "integer"  # of which numpy makes doubles where one is large
    values = np.array(given, (whole_type(map(int, given)) or object) if whole else None)
    if kind is None:
        return values
    try:
        wanted = np.dtype(kind)
        if wanted.kind == "S":
            return np.array([str(one).encode() for one in values])
        found = values.astype(object if wanted.kind == "O" else wanted)
    except (TypeError, ValueError):
        found = None
    if found is None or found.tolist() != values.tolist():
        at = f"{where}: {PART}.classes"
        raise CheckpointError(problem(at, "the type of the labels", shown(kind), OTHER_CHECKPOINT))
    return found


def _stored_parameters(estimator: SequenceEstimator) -> dict[str, Any]:
    """The parameters as JSON, but for those that it cannot hold."""
    defaults, found = type(estimator)().get_params(), {}
    for name, value in estimator.get_params().items():
        try:
            found[name] = to_json(value)
        except NotStorableError as error:
            left = f"a loaded estimator has {shown(defaults[name])} there"
            warn(f"{name}: {error} is not stored, {left}: set it anew after load, or pickle this estimator instead")
    return found
