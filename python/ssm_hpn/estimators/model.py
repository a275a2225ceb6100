"""What classifier and regressor share: the choice of a model, its settings, numbers to predict."""

from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray
from sklearn.utils import assert_all_finite
from sklearn.utils.validation import check_is_fitted, column_or_1d

from ssm_hpn.arrays import numbers
from ssm_hpn.contract import Scale, measured_columns
from ssm_hpn.errors import ConfigError, ShapeError, problem
from ssm_hpn.estimators.backbone import Backbone
from ssm_hpn.estimators.base import SequenceEstimator
from ssm_hpn.estimators.filters import FilterModel
from ssm_hpn.moments import Moments
from ssm_hpn.series import statistics, warn
from ssm_hpn.state_features import EFFORTS, Effort
from ssm_hpn.trainer import Trainer

Floats = NDArray[np.float64]
Kind = Literal["features", "backbone"]

OF_BACKBONE = (
    "d_model", "n_layers", "d_state", "head", "loss", "pooling", "steps", "batch_size", "lr", "weight_decay",
    "normalize",
)  # fmt: skip
"""Parameters of the trained model alone."""
OF_FEATURES = ("effort",)


@dataclass(kw_only=True, eq=False, repr=False)
class SequenceModel(SequenceEstimator):
    """Base of classifier and regressor."""

    kind: Literal["auto"] | Kind = "auto"
    effort: Effort = "default"
    d_model: int = 64
    n_layers: int = 2
    d_state: int = 16
    head: Literal["auto", "prototype", "linear"] = "auto"
    pooling: Literal["last", "mean", "max"] = "mean"
    steps: int = 300
    batch_size: int = 16
    lr: float = 3e-3
    weight_decay: float = 0.01
    normalize: bool = True
    threads: int | None = None
    random_state: int | np.random.RandomState | None = None

    @property
    def trainer_(self) -> Trainer:
        """The `Trainer` behind a fitted `kind="backbone"`."""
        model = getattr(self, "model_", None)
        if isinstance(model, Backbone):
            return model.trainer
        raise AttributeError("trainer_: only a fitted estimator with kind='backbone' has a trainer")

    def _chosen_kind(self) -> Kind:
        """The kind by name, or by whose parameters are given; parameters of the other kind are refused."""
        known: dict[str, tuple[Any, ...]] = {"kind": ("auto", *get_args(Kind)), "effort": tuple(EFFORTS)}
        for name, allowed in known.items():
            if getattr(self, name) not in allowed:
                found = repr(getattr(self, name))
                raise ConfigError(problem(name, " | ".join(allowed), found, "choose one of these"))
        backbone, features = self._given(OF_BACKBONE), self._given(OF_FEATURES)
        kind: Kind = self.kind if self.kind != "auto" else "backbone" if backbone and not features else "features"
        other, advised = (backbone, "backbone") if kind == "features" else (features, "features")
        for name, (value, default) in other.items():
            expected = f"{default!r}, as kind={kind!r} has no such parameter"
            raise ConfigError(problem(name, expected, repr(value), f"pass kind={advised!r} for it, or leave it out"))
        if self.kind == "auto" and kind == "backbone":
            names = f"{', '.join(backbone)} {'is' if len(backbone) == 1 else 'are'}"
            warn(f"kind: 'backbone' is taken, as {names} given; pass it by name")
        return kind

    def _given(self, names: tuple[str, ...]) -> dict[str, tuple[Any, Any]]:
        """Those of these parameters that differ from their defaults, with both values."""
        found = {field.name: (getattr(self, field.name), field.default) for field in fields(self)}
        return {
            name: (value, default)
            for name, (value, default) in found.items()
            if name in names and value is not default and value != default
        }

    def _train(
        self, series: list[Floats], arrays: dict[str, NDArray[Any]], target: dict[str, Any], head: dict[str, Any]
    ) -> None:
        """Train a backbone from the start."""
        self.contract_ = replace(self.contract_, normalised=self.normalize)
        scale = self.contract_.scale
        settings = {
            "model": {
                "input": {"kind": "features", "n_features": self.contract_.n_channels},
                "d_model": self.d_model,
                "n_layers": self.n_layers,
                "block": {"kind": "mamba1", "d_state": self.d_state},
                "target": {**target, "pooling": self.pooling}
                | ({} if scale is None else {"n_values": len(scale.mean), "scale": asdict(scale)}),
                "head": head,
            },
            "optim": {"lr": self.lr, "weight_decay": self.weight_decay},
            "train": {
                "steps": self.steps,
                "batch_size": self.batch_size,
                "seed": self._seed(),
                "threads": self.threads,
            },
        }
        self.model_: Backbone | FilterModel = Backbone.fit(self._made(settings), self.contract_, series, arrays)
        self.n_iter_ = self.steps

    def _made(self, settings: dict[str, Any]) -> Trainer:
        """A trainer of these settings; an error about one of them names the parameter."""
        try:
            return Trainer(settings)
        except ConfigError as error:
            setting, colon, rest = str(error).partition(":")
            name = setting.rpartition(".")[2]
            if name not in self.get_params():
                raise
            raise ConfigError(name + colon + rest) from None

    def _measure(self, y: Any, name: str) -> tuple[Floats, Moments]:  # noqa: ANN401
        """Numbers [N, K] to predict, NaN for a missing one, and their statistics; the contract takes their scale."""
        found = measured(y, name)
        self._single = found.ndim == 1
        found = found.reshape(len(found), -1)
        names = [name] if self._single else [f"{name}[:, {k}]" for k in range(found.shape[1])]
        moments = statistics([found], names)
        for column in np.flatnonzero(moments.constant):
            warn(f"{names[column]}: every number is {moments.mean[column]:g}: there is nothing to learn but this one")
        columns = (*self.contract_.features, *measured_columns(names, moments, "value"))
        self.contract_ = replace(self.contract_, columns=columns, scale=Scale.of(moments))
        return found, moments

    def _answers(self, X: Any) -> Floats:  # noqa: ANN401, N803
        """What a backbone answers for every series, [N, C], [N, K] or [N, C + K]."""
        series = self._read(X)
        assert isinstance(self.model_, Backbone)
        return self.model_.answers(series)

    def _predicted(self, X: Any) -> Floats:  # noqa: ANN401, N803
        """The numbers [N, K] of every series."""
        check_is_fitted(self)
        if isinstance(self.model_, FilterModel):
            return self.model_.predicted(self._read(X), threads=self.threads)
        assert self.contract_.scale is not None
        return self._answers(X)[:, -len(self.contract_.scale.mean) :]


def measured(y: Any, name: str) -> Floats:  # noqa: ANN401
    """Numbers to predict, [N] or [N, K], NaN for a missing one."""
    found = np.asarray(numbers(y, name), np.float64)
    if found.ndim != 2 or found.shape[1] == 1:
        found = column_or_1d(found, warn=True)
    assert_all_finite(found[~np.isnan(found)], input_name=name)
    return found


def ends(moments: Moments, name: str) -> dict[str, float]:
    """The smallest and the largest number, as the ends of a pole."""
    if moments.constant[0]:
        found, advice = f"{moments.mean[0]:g} for every series", "leave head out"
        raise ShapeError(problem(name, "numbers that differ", found, advice))
    return {"low": float(moments.minimum[0]), "high": float(moments.maximum[0])}
