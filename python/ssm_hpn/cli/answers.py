"""What `predict` and `evaluate` share: the answers of a backbone, and what was fitted to held-out data of its run."""

import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ssm_hpn.calibrated import RunCalibration
from ssm_hpn.dataset import Arrays
from ssm_hpn.filter_learner import FilterLearner
from ssm_hpn.run import run_of
from ssm_hpn.targets import KINDS
from ssm_hpn.trainer import Trainer

INPUTS = ("tokens", "features", "segments")


def inputs_of(arrays: Arrays) -> Arrays:
    """The arrays of a batch without its targets."""
    return {name: array for name, array in arrays.items() if name in INPUTS}


def answers_classes(model: Trainer | FilterLearner) -> bool:
    """Whether a model answers a class per document."""
    kind = KINDS[model.config.model.target.kind]
    return kind.pooled and kind.has("class")


def scores_among(model: Trainer, answered: NDArray[np.float64]) -> NDArray[np.float64]:
    """The scores of classes [n, C] among what a backbone answers, which has a number per document behind them."""
    n_values = 1 if KINDS[model.config.model.target.kind].has("number") else 0
    return answered[:, : answered.shape[1] - n_values]


def step_of_model(model: Trainer | FilterLearner) -> int:
    """The updates of a model; 1 of features."""
    return model.step if isinstance(model, FilterLearner) else model.session.step


def print_uncalibrated(model: Trainer | FilterLearner) -> None:
    """Say on stderr where the probabilities of a backbone are not fitted to held-out data."""
    if isinstance(model, Trainer) and answers_classes(model) and model.temperature is None:
        told = "no scale of the probabilities was fitted for this checkpoint: they are those of the loss in training"
        advice = "evaluate of its run fits one where there is held-out data, evaluate --data PATH --calibrate to others"
        print(f"note: {told}; {advice}", file=sys.stderr)


def stored_threshold(model: Trainer | FilterLearner, checkpoint: Path) -> float | None:
    """The threshold of the confidence that `evaluate --keep` found for this model of a run."""
    if not answers_classes(model):
        return None
    entry = RunCalibration(run_of(checkpoint)).entry(step_of_model(model))
    return None if entry is None or entry.threshold is None else entry.threshold.reject_below
