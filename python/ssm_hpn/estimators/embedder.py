"""Series as short vectors, for neighbours, clusters and pictures."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.utils.validation import check_is_fitted

from ssm_hpn.arrays import whole_number
from ssm_hpn.checkpoints import Which, find_checkpoint
from ssm_hpn.counts import counted
from ssm_hpn.errors import CheckpointError, ConfigError, ShapeError, problem
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
from ssm_hpn.estimators.base import number_of_threads, true_or_false
from ssm_hpn.estimators.class_codes import ClassCodes
from ssm_hpn.estimators.reduction import PROJECTED, Components, Reduction
from ssm_hpn.estimators.transformer import SeriesTransformer
from ssm_hpn.filter_model import FilterModel, FilterSettings, Targets, known_series, limited
from ssm_hpn.run import fits_features
from ssm_hpn.saved_state import saved_settings
from ssm_hpn.series import with_target
from ssm_hpn.state_features import StateFeatures

Floats = NDArray[np.float64]

USUAL = 32
"""Components without labels."""
REDUCTION: Final = "reduction."
"""What the names of its arrays in a checkpoint begin with."""


@dataclass(kw_only=True, eq=False, repr=False)
class SSMEmbedder(SeriesTransformer):
    """A short vector for each series, of any length; near vectors are like series.

    Without labels the features of fixed state space filters (`StateSpaceFeatures`), standardised, are reduced to their
    principal components. With labels it is the point that `SSMClassifier` compares with its prototypes: one number less
    than there are classes, near a prototype for a series that is surely of its class, and near 0 for one like none.

    Parameters
    ----------
    n_components
        Numbers of a vector. None: 32 without labels (fewer for fewer series), with labels all of the point.
    supervised
        Whether labels are used where `fit` gets them; False where a pipeline passes some that are meant for a later
        step.
    unit_length
        Whether vectors have the length 1, so that inner products are cosines; a vector of zeros stays one.
    causal
        Filters that read forwards alone, and numbers standardised by the training series.
    effort, layout, missing, id, order, threads, random_state
        As in `SSMClassifier`.

    Attributes
    ----------
    classes_ : the labels, where there were any.
    model_ : the fitted `FilterModel`, where there were labels.
    bank_, reduction_ : the filters, and projection and components of their features, where there were none.
    n_channels_ : channels F.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.cluster import KMeans
    >>> from sklearn.neighbors import KNeighborsClassifier
    >>> from ssm_hpn.estimators import SSMEmbedder
    >>> random = np.random.default_rng(0)
    >>> kind = np.arange(60) % 3
    >>> series = [np.sin(np.arange(80) * (0.1 + 0.2 * k)) + random.normal(0, 0.3, 80) for k in kind]
    >>> vectors = SSMEmbedder(effort="fast", random_state=0).fit_transform(series)
    >>> vectors.shape, len(set(zip(KMeans(3, random_state=0).fit_predict(vectors).tolist(), kind.tolist())))
    ((60, 32), 3)

    With labels, and neighbours of new series:

    >>> embedder = SSMEmbedder(effort="fast", unit_length=True, random_state=0).fit(series, kind)
    >>> KNeighborsClassifier(3).fit(embedder.transform(series), kind).predict(embedder.transform(series[:3])).tolist()
    [0, 1, 2]

    Kept as a checkpoint:

    >>> again = SSMEmbedder.load(embedder.save("embedder"))
    >>> bool((again.transform(series) == embedder.transform(series)).all())
    True
    """

    n_components: int | None = None
    supervised: bool = True
    unit_length: bool = False
    causal: bool = False

    def fit(self, X: Any, y: ArrayLike | None = None) -> Self:  # noqa: ANN401, N803
        """Fit to series X, and to labels y [N] if there are any; of NaN or None are none."""
        effort, threads = self._checked_effort(), number_of_threads(self.threads)
        causal = true_or_false(self.causal, "causal")
        labelled = y is not None and self.supervised
        series, given = self._fit_on(X, **({"y": y} if labelled else {}))
        self._warn_constant()
        for name in ("classes_", "model_", "bank_", "reduction_", "reduced_"):
            self.__dict__.pop(name, None)
        if labelled:
            self._fit_classes(
                series, ClassCodes.of(given[0], series, of_numbers="pass supervised=False to leave y out")
            )
            return self
        if len(series) < 2:
            raise ShapeError(problem("X", "at least 2 series", len(series), "one alone is like none"))
        count = min(USUAL, len(series)) if (asked := self._asked()) is None else asked
        if count > len(series):
            found = f"{count} for {counted(len(series), 'series', 'series')}"
            raise ConfigError(problem("n_components", "no more than there are series", found, "lower it"))
        series, seed = known_series(self.contract_, series), self._seed()
        self.bank_ = StateFeatures.fit(series, effort=effort, causal=causal, seed=seed, threads=threads)
        with limited(threads, len(series)):
            self.reduction_ = Reduction.fit(
                self.bank_.blocks(series, threads=threads),
                rows=len(series),
                features=self.bank_.count,
                components=count,
                seed=seed,
            )
        self._n_features_out = count
        return self

    def _fit_classes(self, series: list[Floats], found: ClassCodes) -> None:
        most = len(found.classes) - 1
        count = most if (asked := self._asked()) is None else asked
        if count > most:
            expected = f"at most {most}, one less than classes"
            advice = "leave it out, or pass supervised=False"
            raise ConfigError(problem("n_components", expected, count, advice))
        series, arrays = with_target(series, {"codes": found.codes}, found.known)
        self.classes_, threads = found.classes, number_of_threads(self.threads)
        self.contract_ = replace(self.contract_, classes=found.written)
        targets = Targets(arrays["codes"], len(found.classes))
        self.model_ = FilterModel.fit(
            self.contract_,
            series,
            targets,
            settings=FilterSettings(effort=self.effort, causal=bool(self.causal), seed=self._seed()),
            threads=threads,
        )
        if count < most:
            self.reduced_ = Components.of(self.model_.class_scores(series, threads=threads), count, seed=0)
        self._n_features_out = count

    def _asked(self) -> int | None:
        if self.n_components is None:
            return None
        return whole_number(self.n_components, "n_components", least=1, most=PROJECTED)

    def transform(self, X: Any) -> Any:  # noqa: ANN401, N803
        """f32 [N, n_components] of series X; as a frame of pandas (`set_output`) with the ids of a long table as index.

        >>> import numpy as np
        >>> series = np.random.default_rng(0).normal(size=(8, 30))
        >>> SSMEmbedder(effort="fast", n_components=2, random_state=0).fit(series).transform(series[:3]).shape
        (3, 2)
        """
        check_is_fitted(self)
        series, threads = self._read(X), number_of_threads(self.threads)
        if hasattr(self, "model_"):
            points = self.model_.class_scores(series, threads=threads)
            found = (self.reduced_.apply(points) if hasattr(self, "reduced_") else points).astype(np.float32)
        else:
            blocks = self.bank_.blocks(known_series(self.contract_, series), threads=threads)
            with limited(threads, len(series)):
                found = self.reduction_.apply(blocks, rows=len(series))
        if self.unit_length:
            lengths = np.linalg.norm(found, axis=1, keepdims=True)
            found /= np.where(lengths > 0, lengths, 1)
        return self._rows(X, found)

    def save(self, folder: Path | str) -> Path:
        """Write a checkpoint folder, whole or not at all, which `load` reads.

        Raises `NotFittedError` before a fit, `StorageError` where it cannot be written.
        """
        check_is_fitted(self)
        labelled = hasattr(self, "model_")
        model = self.model_ if labelled else FilterModel(self.bank_, self.contract_, None, [])
        kept = getattr(self, "reduced_" if labelled else "reduction_", None)
        beside = {} if kept is None else {REDUCTION + name: array for name, array in kept.to_arrays().items()}
        return model.save(folder, extra=settings_of(self, model) | {PART: about(self)}, beside=beside)

    @classmethod
    def load(cls, path: Path | str, *, which: Which = "latest") -> Self:
        """The embedder of a checkpoint, or of the features of a classifier: its `save`, or a run of the command line.

        Raises `CheckpointError` where there is none, for a damaged one, and for that of another kind of model.
        """
        found = find_checkpoint(Path(path), which)
        if not fits_features(found):
            advice = "use Trainer.load and its hidden(), or train features"
            raise CheckpointError(problem(found, "a model of features", "a backbone", advice))
        loaded = FilterModel.load(found)
        model, part = loaded.model, part_of(loaded.extra, found)
        beside = {
            name.removeprefix(REDUCTION): array for name, array in loaded.beside.items() if name.startswith(REDUCTION)
        }
        if model.classes is None and not beside:
            raise CheckpointError(
                problem(found, "vectors of series, or classes", "numbers alone", "open it with SSMRegressor.load")
            )
        if part is None:
            given = parameters_of_run(cls, saved_settings(loaded.folder, loaded.extra), model.contract)
        else:
            given = parameters_of(cls, part, found)
        embedder = cls(**given)
        take_reading(embedder, model.contract, part or {})
        try:
            embedder._take(model, beside, None if part is None else part.get("classes"), found)
        except (KeyError, ValueError) as error:
            raise CheckpointError(problem(found, "the numbers of a reduction", error, "load another one")) from None
        return embedder

    def _take(self, model: FilterModel, beside: dict[str, NDArray[Any]], labels: str | None, where: Path) -> None:
        """What a fit would have set; `labels` is their type, `where` the checkpoint."""
        if model.classes is None:
            self.bank_, self.reduction_ = model.bank, Reduction.from_arrays(beside)
            self._n_features_out = self.reduction_.components.directions.shape[1]
            return
        self.model_, self.classes_ = model, labels_of_contract(model.contract, labels, where)
        self._n_features_out = len(self.classes_) - 1
        if beside:
            self.reduced_ = Components.from_arrays(beside)
            self._n_features_out = self.reduced_.directions.shape[1]
