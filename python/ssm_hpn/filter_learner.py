"""`FilterLearner`: a fitted model of features with its settings and data, as a `Learner` is for a backbone."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Self

from ssm_hpn.checkpoints import Which, find_checkpoint
from ssm_hpn.config import Config
from ssm_hpn.contract import Contract
from ssm_hpn.errors import CheckpointError, DataError, problem
from ssm_hpn.evaluation import Evaluation
from ssm_hpn.feed import Fed, Feed
from ssm_hpn.filter_data import Labelled, of_folder
from ssm_hpn.filter_evaluation import Answers, evaluated
from ssm_hpn.filter_model import FilterModel
from ssm_hpn.run import places_of
from ssm_hpn.run_data import find_again, remaking
from ssm_hpn.saved_state import OTHER_CHECKPOINT, saved_settings
from ssm_hpn.targets import KINDS, TargetKind


class FilterLearner(Fed):
    """A model of features in use; `load` makes one from a run."""

    def __init__(self, config: Config, model: FilterModel, feed: Feed, *, folder: Path, step: int = 1) -> None:
        self.config = config
        """The resolved settings."""
        self.model = model
        self.feed = feed
        """Where its prepared data lies."""
        self.folder = folder
        """Of its checkpoint."""
        self.step = step

    @classmethod
    def load(cls, path: Path | str, *, which: Which = "latest") -> Self:
        """The model of a checkpoint, or of a run. Raises `CheckpointError` if there is none."""
        found = find_checkpoint(Path(path), which)
        loaded = FilterModel.load(found)
        if not isinstance(loaded.extra.get("config"), dict):
            raise CheckpointError(problem(loaded.folder, "the settings of a run", "none in it", OTHER_CHECKPOINT))
        if loaded.model.classes is None and not loaded.model.numbers:
            expected, advice = "a model of classes or numbers", "open it with SSMEmbedder.load in Python"
            raise CheckpointError(problem(loaded.folder, expected, "vectors of series", advice))
        saved = saved_settings(loaded.folder, loaded.extra)
        if saved.model.target.kind not in KINDS:
            raise CheckpointError(problem(loaded.folder, "the settings of a run", "some of them", OTHER_CHECKPOINT))
        places = places_of(found)
        located = find_again(saved.data, places)
        origin = None if located.absent is None else loaded.model.contract.origin
        feed = Feed(saved, *located, remaking=remaking(origin, saved.data, places))
        return cls(saved, loaded.model, feed, folder=loaded.folder, step=loaded.step)

    @property
    def contract(self) -> Contract:
        """The contract of its data."""
        return self.model.contract

    @property
    def kind(self) -> TargetKind:
        """What it predicts."""
        return KINDS[self.config.model.target.kind]

    @property
    def class_names(self) -> list[str] | None:
        """The classes as texts, in the order of the scores; None where no class is predicted."""
        classes = self.contract.classes
        return None if classes is None or self.model.classes is None else classes.names

    def evaluate(
        self, groups: Iterable[Labelled] | None = None, *, seen: Callable[[Labelled, Answers], None] | None = None
    ) -> Evaluation:
        """Metrics on series with targets, or on all of the held-out data; `seen`: see `filter_evaluation.evaluated`."""
        if groups is not None:
            threads = self.config.train.threads
            return evaluated(self.model, self.kind, groups, step=self.step, threads=threads, seen=seen)
        assert self.validation_folder is not None
        result = self.evaluate(of_folder(self.validation_folder, self.contract, self.kind), seen=seen)
        if result.totals.count == 0:
            advice = "label some of the held-out documents, or hold out others"
            raise DataError(problem(self.validation_folder, "at least one target", "none", advice))
        return result
