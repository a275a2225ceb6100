"""Probabilities of a trained head, and `calibration.json` of a run: what was fitted to held-out data after training.

Scores of a head are cosines or the outputs of a linear head. Their probabilities are the softmax of scale·score, whose
scale is fitted to series that were not trained on (`closed_form.calibration.Temperature`). The fitted one is kept with
the model (`Learner.temperature`), in checkpoints that are saved afterwards, and for a run in its file, because the
checkpoints of a run are written before all held-out data is looked at, and for any checkpoint where
`evaluate --calibrate` fitted it. Where none was fitted, the scale is that of
training: 1 for a linear head, that of the loss for cosines, 16 where the loss has none.

The confidence by which a series is answered or rejected is the density of the model's features among those of training
series (`closed_form.feature_density`), fitted after training too and kept likewise (`Learner.density`); where none was
fitted it is the largest score, as of older checkpoints.

The file has an entry for each update whose checkpoint was looked at. A file with this entry alone is put into the
checkpoint too, so that a checkpoint which is copied out of its run has it. `evaluate --keep` adds the threshold of the
confidence at which a share of the held-out series is answered.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from ssm_hpn.checkpoints import FOLDER as CHECKPOINTS
from ssm_hpn.checkpoints import step_name
from ssm_hpn.closed_form.calibration import Temperature, softmax
from ssm_hpn.closed_form.draws import stratified
from ssm_hpn.closed_form.feature_density import MOST_SERIES, FeatureDensity
from ssm_hpn.dataset import Arrays
from ssm_hpn.errors import CheckpointError, DataError, problem
from ssm_hpn.learner import Learner
from ssm_hpn.storage import write_whole

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

FILE: Final = "calibration.json"
MOST_ENTRIES: Final = 32
"""Of the last updates."""
COSINE_SCALE: Final = 16.0
"""Factor of the cosines in probabilities where neither data nor the loss says one."""

Share = Annotated[float, Field(ge=0, le=1)]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Threshold(_Part):
    """The confidence below which no class is answered."""

    keep: Annotated[float, Field(gt=0, le=1)]
    """Share of the held-out series that are to be answered."""
    reject_below: float
    series: Annotated[int, Field(ge=1)]
    """Held-out series that it is of."""


class Density(_Part):
    """A `FeatureDensity` as JSON."""

    classes: tuple[int, ...]
    means: str
    whitening: str

    @model_validator(mode="after")
    def _checked(self) -> Self:
        try:
            FeatureDensity.from_json(self.model_dump())
        except CheckpointError as error:
            raise ValueError(str(error)) from None
        return self


class Entry(_Part):
    """What was fitted to held-out data for one checkpoint."""

    step: Annotated[int, Field(ge=0)]
    """Its updates."""
    scale: Annotated[float, Field(gt=0)] | None = None
    """Of the probabilities; None for a model of features, whose checkpoint has it."""
    share: Share = 0.0
    """Of the frequencies of classes in the probabilities."""
    frequencies: tuple[Share, ...] = ()
    series: Annotated[int, Field(ge=0)] = 0
    """Held-out series that the scale is fitted to."""
    threshold: Threshold | None = None
    """Of the confidence by `density`, or of the largest score where there is none."""
    density: Density | None = None

    @property
    def temperature(self) -> Temperature | None:
        """The map from scores to probabilities."""
        return None if self.scale is None else Temperature(self.scale, self.share, np.array(self.frequencies))


OF_SCALE: Final = ("scale", "share", "frequencies", "series")
"""What an entry says of the probabilities."""


class _File(_Part):
    version: Literal[1] = 1
    entries: tuple[Entry, ...] = ()


@dataclass(frozen=True)
class RunCalibration:
    """`calibration.json` of a run.

    >>> from ssm_hpn.storage import write_whole
    >>> from pathlib import Path
    >>> Path("some_run").mkdir()
    >>> run = RunCalibration(Path("some_run"))
    >>> run.put(Entry(step=300, scale=8.5, series=40))
    >>> run.entry(300).scale, run.entry(200)
    (8.5, None)
    """

    run: Path

    def entry(self, step: int) -> Entry | None:
        """That of a checkpoint. Raises `DataError` for a file that is damaged."""
        return next((one for one in self._entries() if one.step == step), None)

    def put(self, entry: Entry) -> None:
        """Replace or add the entry of a checkpoint.

        What is there stays where the new entry has none; a threshold only as long as the confidence is the same.
        """
        before = self.entry(entry.step)
        if before is not None:
            scale = {name: getattr(before, name) for name in OF_SCALE} if entry.scale is None else {}
            density = entry.density or before.density
            stays = entry.threshold is None and density == before.density
            threshold = before.threshold if stays else entry.threshold
            entry = entry.model_copy(update={**scale, "density": density, "threshold": threshold})
        kept = [one for one in self._entries() if one.step != entry.step]
        _write(self.run, sorted([*kept, entry], key=lambda one: one.step)[-MOST_ENTRIES:])
        if (checkpoint := self.run / CHECKPOINTS / step_name(entry.step)).is_dir():
            _write(checkpoint, [entry])

    def _entries(self) -> Sequence[Entry]:
        path = self.run / FILE
        try:
            return _File.model_validate_json(path.read_bytes()).entries
        except FileNotFoundError:
            return ()
        except ValidationError as error:
            row = error.errors(include_url=False)[0]
            where = ".".join(map(str, row["loc"]))
            raise DataError(
                problem(path, f"{where or 'JSON'} as `evaluate` writes it", row["msg"], "remove it")
            ) from None
        except OSError as error:
            raise DataError(problem(path, "a readable file", error.strerror, "restore or remove it")) from None


def _write(folder: Path, entries: Sequence[Entry]) -> None:
    write_whole(folder / FILE, _File(entries=tuple(entries)).model_dump_json(indent=1) + "\n")


def scale_of_training(learner: Learner) -> float:
    """The factor of the scores in the loss, which is that of probabilities where none was fitted."""
    head = learner.config.model.head
    if head.kind == "linear":
        return 1.0
    if "head.scale" in learner.session.parameter_names():
        return float(learner.parameter("head.scale")[0])
    return float(getattr(getattr(head, "loss", None), "scale", COSINE_SCALE))


def class_probabilities(learner: Learner, scores: Floats) -> Floats:
    """Probabilities [n, C] of the scores of classes [n, C], by the fitted temperature or the scale of training.

    >>> from ssm_hpn import Trainer
    >>> head = {"kind": "linear", "n_outputs": 2, "loss": "softmax"}
    >>> model = {"input": {"kind": "features", "n_features": 1}, "target": {"kind": "sequence_class"}, "head": head}
    >>> trainer = Trainer({"model": model})
    >>> class_probabilities(trainer, np.array([[0.0, np.log(3.0)]])).round(2).tolist()
    [[0.25, 0.75]]
    """
    if learner.temperature is not None:
        return learner.temperature.probabilities(scores)
    return softmax(scores, scale_of_training(learner))


def calibrate(learner: Learner, scores: Floats, labels: Ints, weights: Floats | None = None) -> None:
    """Fit the temperature of a model to scores [n, C] of series with labels [n], and weights [n] (1 each where none).

    >>> from ssm_hpn import Trainer
    >>> model = {"input": {"kind": "features", "n_features": 1}, "target": {"kind": "sequence_class"}}
    >>> trainer = Trainer({"model": model | {"head": {"kind": "prototype", "n_classes": 2}}})
    >>> calibrate(trainer, np.array([[0.5, -0.5], [-0.5, 0.5], [0.5, -0.5], [0.5, -0.5]]), np.array([0, 1, 0, 1]))
    >>> round(trainer.temperature.scale, 3)
    0.693
    """
    learner.temperature = Temperature.of(scores, labels, np.ones(len(labels)) if weights is None else weights)


def described(learner: Learner, batch: Arrays) -> Floats:
    """What a model has of documents in double precision: scores and numbers, and behind them its features [n, C + D].

    >>> from ssm_hpn import Trainer
    >>> model = {"input": {"kind": "features", "n_features": 1}, "target": {"kind": "sequence_class"}, "d_model": 8}
    >>> trainer = Trainer({"model": model | {"n_layers": 1, "head": {"kind": "prototype", "n_classes": 2}}})
    >>> described(trainer, {"features": np.ones((3, 5, 1), np.float32)}).shape
    (3, 10)
    """
    return np.concatenate(learner.predict_with_features(batch), axis=1, dtype=np.float64)


def confidences(learner: Learner, scores: Floats, features: NDArray[np.float32] | Floats) -> Floats:
    """[n] how typical documents are of any class, from scores of classes [n, C] and features [n, D].

    >>> from ssm_hpn import Trainer
    >>> model = {"input": {"kind": "features", "n_features": 1}, "target": {"kind": "sequence_class"}}
    >>> trainer = Trainer({"model": model | {"head": {"kind": "prototype", "n_classes": 2}}})
    >>> features = np.random.default_rng(0).normal(size=(50, 4))
    >>> scores = np.stack([features[:, 0], -features[:, 0]], axis=1)
    >>> bool((confidences(trainer, scores, features) == scores.max(axis=1)).all())
    True
    >>> fit_density(trainer, features, (features[:, 0] < 0).astype(int))
    >>> bool((confidences(trainer, scores, features) <= 1).all())
    True
    """
    if learner.density is None:
        return np.asarray(scores.max(axis=1))
    return learner.density.confidence(features)


def fit_density(learner: Learner, features: Floats, labels: Ints, weights: Floats | None = None) -> None:
    """Fit the density of a model to features [n, D] of training series with labels [n], and weights [n].

    The classes of a density that is there keep their centres where they have no series. See `confidences`.
    """
    counting = np.ones(len(labels)) if weights is None else weights
    learner.density = FeatureDensity.of(features, labels, counting, learner.density)


def for_density(labels: Ints, *, seed: int) -> NDArray[np.intp]:
    """The series [n] that a density is fitted to: all, or a sample of many with its share of each class.

    >>> len(for_density(np.arange(10) % 2, seed=0)), len(for_density(np.arange(9000) % 2, seed=0))
    (10, 4096)
    """
    return stratified(np.asarray(labels, np.int64), MOST_SERIES, seed=seed)


def keep_fitted(run: Path, learner: Learner, series: int) -> None:
    """Write the temperature of a model, fitted to a number of held-out series, and its density into its run.

    >>> from pathlib import Path
    >>> from ssm_hpn import Trainer
    >>> model = {"input": {"kind": "features", "n_features": 1}, "target": {"kind": "sequence_class"}}
    >>> trainer = Trainer({"model": model | {"head": {"kind": "prototype", "n_classes": 2}}})
    >>> calibrate(trainer, np.array([[0.5, -0.5], [-0.5, 0.5]]), np.array([0, 0]))
    >>> Path("kept_run").mkdir()
    >>> keep_fitted(Path("kept_run"), trainer, 2)
    >>> RunCalibration(Path("kept_run")).entry(0).series
    2
    """
    keep_scale(run, learner, series)
    keep_density(run, learner)


def keep_scale(run: Path, learner: Learner, series: int) -> None:
    """Write the temperature of a model, fitted to a number of series, into its run, or beside a checkpoint in none.

    >>> from pathlib import Path
    >>> from ssm_hpn import Trainer
    >>> model = {"input": {"kind": "features", "n_features": 1}, "target": {"kind": "sequence_class"}}
    >>> trainer = Trainer({"model": model | {"head": {"kind": "prototype", "n_classes": 2}}})
    >>> calibrate(trainer, np.array([[0.5, -0.5], [-0.5, 0.5]]), np.array([0, 0]))
    >>> saved = trainer.save("scaled")
    >>> keep_scale(saved, trainer, 2)
    >>> Trainer.load(saved).temperature.scale == trainer.temperature.scale
    True
    """
    values = {} if learner.temperature is None else {"series": series, **learner.temperature.to_json()}
    RunCalibration(run).put(Entry(step=learner.session.step, **values))


def keep_density(run: Path, learner: Learner) -> None:
    """Write the density of a model into its run, if it has one; the threshold of another confidence goes.

    >>> from pathlib import Path
    >>> from ssm_hpn import Trainer
    >>> model = {"input": {"kind": "features", "n_features": 1}, "target": {"kind": "sequence_class"}}
    >>> trainer = Trainer({"model": model | {"head": {"kind": "prototype", "n_classes": 2}}})
    >>> features = np.random.default_rng(0).normal(size=(50, 64))
    >>> fit_density(trainer, features, np.arange(50) % 2)
    >>> Path("dense_run").mkdir()
    >>> keep_density(Path("dense_run"), trainer)
    >>> RunCalibration(Path("dense_run")).entry(0).density.classes
    (0, 1)
    """
    if learner.density is not None:
        density = Density.model_validate(learner.density.to_json())
        RunCalibration(run).put(Entry(step=learner.session.step, density=density))
