"""What classifier and regressor share: the choice of a model, its settings, numbers to predict."""

import re
from dataclasses import asdict, dataclass, fields, replace
from math import inf
from typing import Any, Final, Literal, get_args

import numpy as np
from numpy.typing import NDArray
from sklearn.utils import assert_all_finite
from sklearn.utils.validation import check_is_fitted, column_or_1d

from ssm_hpn.arrays import numbers, one_of, whole_number
from ssm_hpn.class_vectors import ClassVectors
from ssm_hpn.closed_form import RidgeSettings
from ssm_hpn.columns import Scale, measured_columns
from ssm_hpn.counts import counted
from ssm_hpn.errors import ConfigError, ShapeError, problem, shown
from ssm_hpn.estimators.backbone import Backbone
from ssm_hpn.estimators.base import SequenceEstimator, number_of_threads, true_or_false
from ssm_hpn.estimators.parameter_values import same
from ssm_hpn.estimators.progress import Progress
from ssm_hpn.estimators.stream import BackboneStream, SequenceStream, Source
from ssm_hpn.estimators.validation import AUTO_FROM, Stopping
from ssm_hpn.filter_model import FilterModel, FilterSettings, Targets
from ssm_hpn.filter_stream import FilterStream
from ssm_hpn.moments import Moments
from ssm_hpn.replay import Replay
from ssm_hpn.series import statistics
from ssm_hpn.state_features import EFFORTS, Effort
from ssm_hpn.trainer import Trainer
from ssm_hpn.warning import warn

Floats = NDArray[np.float64]
Kind = Literal["features", "backbone"]

OF_BACKBONE = (
    "d_model", "n_layers", "d_state", "head", "loss", "prototypes", "prototype_dim", "assignment", "class_vectors",
    "pooling", "steps", "batch_size", "lr", "weight_decay", "normalize", "early_stopping", "replay",
)  # fmt: skip
"""Parameters of the trained model alone."""
OF_FEATURES = ("effort", "causal")
OF_HEAD: Final = {"dim": "prototype_dim", "vectors": "class_vectors"}
"""Settings of the head of a backbone whose parameters have other names."""

KEPT_BYTES: Final = 1 << 26
"""Series up to this size are kept by fit for partial_fit, in pickles too; a checkpoint has those of a memory."""


@dataclass(kw_only=True, eq=False, repr=False)
class SequenceModel(SequenceEstimator):
    """Base of classifier and regressor."""

    kind: Literal["auto"] | Kind = "auto"
    effort: Effort = "default"
    causal: bool = False
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
    early_stopping: bool | Literal["auto"] = False
    validation_fraction: float = 0.1
    n_iter_no_change: int = 10
    tol: float = 1e-4
    verbose: int = 0
    threads: int | None = None
    random_state: int | np.random.RandomState | None = None

    @property
    def trainer_(self) -> Trainer:
        """The `Trainer` behind a fitted `kind="backbone"`."""
        model = getattr(self, "model_", None)
        if isinstance(model, Backbone):
            return model.trainer
        raise AttributeError("trainer_: only a fitted estimator with kind='backbone' has a trainer")

    @property
    def loo_score_(self) -> float:
        """Accuracy, or R² of numbers, of each training series by the fit to all others (`kind="features"`)."""
        return self._of_features("loo_score_").left_out_score()

    @property
    def alpha_(self) -> float | Floats:
        """Strength of the ridge by leave-one-out error, relative to the mean squared length of a series' features."""
        found = self._of_features("alpha_").strengths()
        return float(found[0]) if len(found) == 1 else found

    def _of_features(self, name: str) -> FilterModel:
        model = getattr(self, "model_", None)
        if isinstance(model, FilterModel):
            return model
        raise AttributeError(f"{name}: only a fitted estimator with kind='features' has it")

    @property
    def _gaps_become(self) -> str:
        return "are taken as its mean in fit" if isinstance(self.model_, Backbone) else super()._gaps_become

    def _chosen_kind(self) -> Kind:
        """The kind by name, or by whose parameters are given; parameters of the other kind are refused."""
        known: dict[str, tuple[Any, ...]] = {"kind": ("auto", *get_args(Kind)), "effort": tuple(EFFORTS)}
        for name, allowed in known.items():
            one_of(getattr(self, name), name, allowed)
        backbone, features = self._given(OF_BACKBONE), self._given(OF_FEATURES)
        kind: Kind = self.kind if self.kind != "auto" else "backbone" if backbone and not features else "features"
        other, advised = (backbone, "backbone") if kind == "features" else (features, "features")
        for name, (value, default) in other.items():
            expected = f"{default!r}, as kind={kind!r} has no such parameter"
            raise ConfigError(problem(name, expected, shown(value), f"pass kind={advised!r} for it, or leave it out"))
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
            if name in names and not same(value, default)
        }

    def _sample_weight(self, given: Any, count: int) -> Floats | None:  # noqa: ANN401
        """Weights of fit, of this number of series."""
        return None if given is None else weights_of(given, count)

    def _score_weights(self, X: Any, given: Any, count: int) -> Floats:  # noqa: ANN401, N803
        """Weights of score, of this number of series: 1 each where none are given."""
        return np.ones(count) if given is None else weights_of(self._per_series(X, given, "sample_weight"), count)

    def _fit_filters(self, series: list[Floats], targets: Targets) -> None:
        """Fit filters and heads."""
        progress = self._progress()
        progress.stage(f"effort {self.effort}, {counted(len(series), 'series', 'series')}")
        self.model_: Backbone | FilterModel = FilterModel.fit(
            self.contract_,
            series,
            targets,
            settings=self._filter_settings(),
            threads=number_of_threads(self.threads),
            watch=progress.watch,
        )
        self._fitted()
        if len(series) <= RidgeSettings().largest_exact and sum(one.nbytes for one in series) <= KEPT_BYTES:
            self._fitted_on = series, targets
        progress.stage(f"fitted, left-out score {self.loo_score_:.4g}")

    def _filter_settings(self) -> FilterSettings:
        causal = true_or_false(self.causal, "causal")
        return FilterSettings(effort=self.effort, causal=causal, seed=self._seed())

    def _fitted(self) -> None:
        """Keep the parameters of this fit, and nothing of what was learned before."""
        self._learned_with = self.get_params()
        for name in ("_growing", "_fitted_on"):
            self.__dict__.pop(name, None)

    def _train(
        self, series: list[Floats], arrays: dict[str, NDArray[Any]], target: dict[str, Any], head: dict[str, Any]
    ) -> None:
        """Train a backbone from the start."""
        trainer = self._trainer_of(target, head)
        stopping = self._stopping(len(series))
        backbone, watch = Backbone.fit(
            trainer,
            self.contract_,
            series,
            arrays,
            stopping=stopping,
            for_temperature=number_between("validation_fraction", self.validation_fraction, 0, 1),
            progress=self._progress(),
        )
        self.model_ = backbone.remembering(self._memory(trainer), series, arrays)
        self.n_iter_ = self.trainer_.session.step
        self._fitted()
        self.validation_scores_ = None if watch is None else watch.scores
        self.best_score_ = None if watch is None else watch.best_score

    def _memory(self, trainer: Trainer) -> Replay | None:
        """An empty memory, where the estimator has one."""
        per_class = whole_number(getattr(self, "replay", 0), "replay")
        return Replay(per_class, trainer.config.train.seed) if per_class else None

    def _trainer_of(self, target: dict[str, Any], head: dict[str, Any], **optim: Any) -> Trainer:  # noqa: ANN401
        """An untrained backbone."""
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
            "optim": {"lr": self.lr, "weight_decay": self.weight_decay, **optim},
            "train": {
                "steps": self.steps,
                "batch_size": self.batch_size,
                "seed": self._seed(),
                "threads": number_of_threads(self.threads),
            },
        }
        return self._made(settings)

    def _stopping(self, count: int) -> Stopping | None:
        """When to stop early, for this number of series; None for never."""
        on: Any = self.early_stopping
        if not isinstance(on, bool | np.bool_) and on != "auto":
            raise ConfigError(problem("early_stopping", "True, False or 'auto'", shown(on), "pass one of these"))
        if not on or (isinstance(on, str) and count < AUTO_FROM):
            return None
        return Stopping(
            number_between("validation_fraction", self.validation_fraction, 0, 1),
            whole_number(self.n_iter_no_change, "n_iter_no_change", least=1),
            number_between("tol", self.tol, 0, inf, ends=True),
        )

    def _progress(self) -> Progress:
        given: Any = self.verbose
        verbose = int(given) if isinstance(given, bool | np.bool_) else whole_number(given, "verbose")
        return Progress(verbose, type(self).__name__)

    def _made(self, settings: dict[str, Any]) -> Trainer:
        """A trainer of these settings; an error about one of them names the parameter."""
        try:
            return Trainer(settings, class_vectors=self._class_vectors())
        except ConfigError as error:
            raise self._of_parameter(error) from None

    def _of_parameter(self, error: ConfigError) -> ConfigError:
        """An error about a setting of the backbone as one about the parameter that it follows from."""
        known = self.get_params()

        def parameter(setting: re.Match[str]) -> str:
            name = OF_HEAD.get(setting[1], setting[1])
            return name if name in known else setting[0]

        text = re.sub(r"model\.head\.(\w+)(?!\.)\b", parameter, str(error))
        setting, colon, rest = text.partition(":")
        name = setting.rpartition(".")[2]
        return ConfigError(name + colon + rest) if name in known else ConfigError(text)

    def _class_vectors(self) -> ClassVectors | None:
        """The vectors of the classes, for prototypes that are made from them."""
        return None

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

    def _check_count(self, found: Floats, weights: Floats | None, name: str) -> None:
        """Refuse numbers [N, K] of which a column is known for one series alone, which says nothing about others."""
        counts = (~np.isnan(found if weights is None else found[weights > 0])).sum(axis=0)
        if counts.min() < 2:
            where = name if self._single else f"{name}[:, {counts.argmin()}]"
            weighted = " of a weight above 0" * (weights is not None)
            expected = f"numbers of at least 2 series{weighted}"
            raise ShapeError(problem(where, expected, int(counts.min()), "give more series"))

    def stream(self, rows: int = 1) -> SequenceStream:
        """Read `rows` series step by step, side by side: at every step the answer for the steps so far.

        Of features the model has to be fitted with `causal=True`; a backbone can always be read so.

        >>> import numpy as np
        >>> from ssm_hpn.estimators import SSMClassifier
        >>> series = [np.sin(np.arange(40) * (1 + n % 2)) for n in range(20)]
        >>> model = SSMClassifier(effort="fast", causal=True, random_state=0).fit(series, ["slow", "fast"] * 10)
        >>> stream = model.stream(rows=2)
        >>> stream.prefill(np.stack(series[:2])[:, :, None]).tolist()
        ['slow', 'fast']
        """
        check_is_fitted(self)
        rows = whole_number(rows, "rows", least=1)
        if isinstance(self.model_, Backbone):
            model = self.model_
            return SequenceStream(self, BackboneStream(model.trainer, model.contract, rows, model.in_order))
        return SequenceStream(self, FilterStream(self.model_, rows, threads=number_of_threads(self.threads)))

    def _answers(self, X: Any) -> Floats:  # noqa: ANN401, N803
        """What a backbone answers for every series, [N, C], [N, K] or [N, C + K]."""
        series = self._read(X)
        assert isinstance(self.model_, Backbone)
        return self.model_.answers(series)

    def _answers_of(self, source: Source) -> NDArray[Any]:
        """What `predict` answers, of a stream."""
        raise NotImplementedError

    def _predicted(self, X: Any) -> Floats:  # noqa: ANN401, N803
        """The numbers [N, K] of every series."""
        check_is_fitted(self)
        if isinstance(self.model_, FilterModel):
            return self.model_.predicted(self._read(X), threads=number_of_threads(self.threads))
        assert self.contract_.scale is not None
        return self._answers(X)[:, -len(self.contract_.scale.mean) :]


def number_between(name: str, given: Any, least: float, most: float, *, ends: bool = False) -> float:  # noqa: ANN401
    """A number between two others.

    >>> number_between("validation_fraction", 0.1, 0, 1)
    0.1
    """
    number = isinstance(given, int | float | np.number) and not isinstance(given, bool)
    if number and (least < given < most or (ends and given == least)):
        return float(given)
    upper = "" if most == inf else f" and below {most}"
    expected = f"a number {'from' if ends else 'above'} {least}{upper}"
    raise ConfigError(problem(name, expected, shown(given), "leave it out for the default"))


def measured(y: Any, name: str) -> Floats:  # noqa: ANN401
    """Numbers to predict, [N] or [N, K], NaN for a missing one."""
    found = np.asarray(numbers(y, name), np.float64)
    if not found.size:
        raise ShapeError(problem(name, "a number for each series", f"shape {list(found.shape)}", "give it numbers"))
    if found.ndim != 2 or found.shape[1] == 1:
        found = column_or_1d(found, warn=True)
    assert_all_finite(found[~np.isnan(found)], input_name=name)
    return found


def weights_of(given: Any, count: int) -> Floats:  # noqa: ANN401
    """Weights [N] of this number of series.

    >>> weights_of([1, 0, 2.5], 3).tolist()
    [1.0, 0.0, 2.5]
    """
    found = np.asarray(numbers(given, "sample_weight"), np.float64)
    if found.shape != (count,):
        expected = f"[{count}], one weight per series"
        raise ShapeError(problem("sample_weight", expected, list(found.shape), "make them fit"))
    wrong = np.flatnonzero(~(np.isfinite(found) & (found >= 0)))
    if len(wrong):
        expected = "finite numbers, none below 0"
        raise ShapeError(problem(f"sample_weight[{wrong[0]}]", expected, f"{found[wrong[0]]:g}", "correct it"))
    if not found.any():
        raise ShapeError(problem("sample_weight", "a weight above 0", "zero for each series", "give some weight"))
    return found


def ends(moments: Moments, name: str) -> dict[str, float]:
    """The smallest and the largest number, as the ends of a pole."""
    if moments.constant[0]:
        found, advice = f"{moments.mean[0]:g} for every series", "leave head out"
        raise ShapeError(problem(name, "numbers that differ", found, advice))
    return {"low": float(moments.minimum[0]), "high": float(moments.maximum[0])}
