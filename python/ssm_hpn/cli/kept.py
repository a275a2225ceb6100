"""What `evaluate` keeps for `predict`: the threshold of `--keep`, and the scale of the probabilities of `--calibrate`.

Both are kept in `calibration.json` of the run, or beside a checkpoint that is in none.
"""

from dataclasses import dataclass
from math import nan
from pathlib import Path
from typing import Any, Final

import numpy as np

from ssm_hpn.calibrated import Entry, RunCalibration, Threshold, calibrate, class_probabilities, keep_scale
from ssm_hpn.cli.answers import answers_classes, step_of_model, stored_threshold
from ssm_hpn.decisions import expected_calibration_error
from ssm_hpn.errors import ConfigError, DataError, problem, shown
from ssm_hpn.filter_learner import FilterLearner
from ssm_hpn.judgement import Judged
from ssm_hpn.run import run_of
from ssm_hpn.trainer import Trainer

FEWEST: Final = 20
"""Documents to which a scale is fitted."""


def share_of(text: str) -> float:
    """A share among the arguments."""
    try:
        share = float(text)
    except ValueError:
        share = nan
    if not 0 < share <= 1:
        raise ConfigError(problem("--keep", "a share above 0 and up to 1", shown(text), "use 0.95 for 19 of 20"))
    return share


def check_wanted(trainer: Trainer | FilterLearner, *, keep: float | None, calibrating: bool) -> None:
    """Refuse what a model has no use for."""
    target = f"the target {trainer.config.model.target.kind}"
    if keep is not None and not answers_classes(trainer):
        raise ConfigError(problem("--keep", "a model of a class per document", target, "leave it out"))
    of_features = isinstance(trainer, FilterLearner)
    if calibrating and (of_features or not answers_classes(trainer)):
        found = "features, whose probabilities are scaled on series that training leaves out" if of_features else target
        raise ConfigError(problem("--calibrate", "a backbone with a class per document", found, "leave it out"))


@dataclass(frozen=True)
class Kept:
    """What is kept of the documents that a model answered."""

    trainer: Trainer | FilterLearner
    checkpoint: Path
    documents: str
    """Where they are, for messages."""

    def judged(self, judged: Judged, *, keep: float | None, calibrating: bool) -> dict[str, Any]:
        """The facts of a judgement, with what was fitted on the way and is used by `predict` from now on."""
        facts = judged.facts(keep=keep, reject_below=stored_threshold(self.trainer, self.checkpoint))
        if keep is not None and "reject" not in facts:
            expected = "documents of classes that the training data has, whose confidence it is found from"
            advice = "give labelled documents of these classes, or leave it out"
            raise DataError(problem("--keep", expected, f"none in {self.documents}", advice))
        if calibrating and isinstance(self.trainer, Trainer):
            facts["fitted"] = self._scale(self.trainer, judged)
        if keep is not None:
            found = facts["reject"]
            threshold = Threshold(keep=found["keep"], reject_below=found["reject_below"], series=found["series"])
            entry = Entry(step=step_of_model(self.trainer), threshold=threshold)
            RunCalibration(run_of(self.checkpoint)).put(entry)
        return facts

    def _scale(self, trainer: Trainer, judged: Judged) -> dict[str, Any]:
        """Fit the scale to the documents of known classes; what is said of it."""
        count = sum(len(one.labels) for one in judged.answers)
        if count < FEWEST:
            expected = f"at least {FEWEST} documents of classes that the model has"
            found = f"{count} in {self.documents}"
            raise DataError(problem("--calibrate", expected, found, "give more of them by --data, or leave it out"))
        labels = np.concatenate([one.labels for one in judged.answers])
        scores = np.concatenate([one.scores for one in judged.answers])
        calibrate(trainer, scores, labels)
        assert trainer.temperature is not None
        keep_scale(run_of(self.checkpoint), trainer, count)
        after = expected_calibration_error(class_probabilities(trainer, scores), scores.argmax(axis=1), labels)
        return {"scale": trainer.temperature.scale, "series": count, "expected_error": after}
