"""What only an estimator has, as JSON beside the model in a checkpoint: its parameters, and how it reads X."""

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ssm_hpn.arrays import whole_number
from ssm_hpn.classes import text_of, whole_type
from ssm_hpn.config import Config, parse
from ssm_hpn.contract import Contract
from ssm_hpn.estimators.base import SequenceEstimator, number_of_threads
from ssm_hpn.filter_model import FilterModel
from ssm_hpn.saved_state import STATE_SCHEMA

PART: Final = "estimator"
"""Its key in the JSON of a checkpoint."""


def about(estimator: SequenceEstimator) -> dict[str, Any]:
    """The part of a fitted estimator.

    >>> from ssm_hpn.estimators import StateSpaceFeatures
    >>> found = about(StateSpaceFeatures(effort="fast").fit(np.eye(9)))
    >>> found["parameters"]["effort"], found["on_matrix"], found["n_features_in"]
    ('fast', True, 9)
    """
    names = getattr(estimator, "feature_names_in_", None)
    parameters = {name: _plain(value) for name, value in estimator.get_params().items()}
    classes = getattr(estimator, "classes_", None)
    return {
        "parameters": {name: value for name, value in parameters.items() if value is not ...},
        "n_features_in": estimator.n_features_in_,
        "feature_names_in": None if names is None else [str(name) for name in names],
        "on_matrix": estimator._on_matrix,  # noqa: SLF001 - of one whole with the estimators
        "named": estimator._named,  # noqa: SLF001
        "beside": estimator._beside,  # noqa: SLF001
        "classes": None if classes is None else classes.dtype.str,
    }


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
    estimator.n_features_in_ = whole_number(part.get("n_features_in", estimator.n_channels_), "n_features_in")
    if part.get("feature_names_in") is not None:
        estimator.feature_names_in_ = np.array(part["feature_names_in"], object)


def parameters_of(kind: type, part: Mapping[str, Any]) -> dict[str, Any]:
    """The stored parameters that an estimator of this kind has."""
    names = set(kind().get_params())
    return {name: value for name, value in part.get("parameters", {}).items() if name in names}


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
    return parameters_of(kind, {"parameters": found})


def labels_of_contract(contract: Contract, kind: str | None) -> NDArray[Any]:
    """The classes as labels, in the type of fit where it is known."""
    assert contract.classes is not None
    given = contract.classes.values
    whole = contract.classes.type == "integer"  # of which numpy makes doubles where one is large
    values = np.array(given, (whole_type(map(int, given)) or object) if whole else None)
    if kind is None or np.dtype(kind) == values.dtype:
        return values
    if np.dtype(kind).kind == "S":
        return np.array([str(one).encode() for one in values])
    return values.astype(object if np.dtype(kind).kind == "O" else kind)


def _plain(value: Any) -> Any:  # noqa: ANN401 - a parameter
    """A parameter as JSON; an ellipsis for one that is none."""
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, bytes):
        return text_of(value)
    return value if value is None or isinstance(value, str | int | float | bool) else ...
