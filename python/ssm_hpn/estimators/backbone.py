"""A trained selective state space model behind an estimator."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from math import ceil
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray

from ssm_hpn.calibrated import calibrate, class_probabilities, confidences, described, fit_density, for_density
from ssm_hpn.closed_form.draws import stratified
from ssm_hpn.contract import Contract
from ssm_hpn.counts import counted
from ssm_hpn.dataset import padded
from ssm_hpn.errors import CheckpointError, problem
from ssm_hpn.estimators.progress import Progress
from ssm_hpn.estimators.validation import Stopping, Watch
from ssm_hpn.evidence import step_evidence
from ssm_hpn.replay import CLASS, Replay, shared_out
from ssm_hpn.series import batches_without_end, groups_by_length
from ssm_hpn.storage import write_whole
from ssm_hpn.tail_mean import TailMean
from ssm_hpn.trainer import Trainer

Floats = NDArray[np.float64]

CHECKPOINT: Final = "checkpoint"
"""Name of a folder for the files of one."""
MANY: Final = 200
"""Series from which on some are held out for the temperature where none are for early stopping."""
LEAST_FOR_TEMPERATURE: Final = 64
MOST_FOR_TEMPERATURE: Final = 256
LARGEST_SHARE: Final = 0.2
FEWEST_FOR_TEMPERATURE: Final = 20
"""Series of a further part to which the temperature is fitted anew."""
LEAST_WEIGHT: Final = 1e-9
"""Share of the largest weight below which a series does not count: the sums of a batch are in single precision."""


@dataclass(frozen=True, eq=False)
class Backbone:
    """A trainer, and the contract by which it reads series."""

    trainer: Trainer
    """Whose contract has the classes in the order of its scores: those that were added are the last."""
    contract: Contract
    """The same, with the classes in the order of the answers: sorted."""
    memory: Replay | None = None
    """Series to train on again, their classes numbered as the scores are."""

    @classmethod
    def of_trainer(cls, trainer: Trainer, memory: Replay | None = None) -> Self:
        """A trainer with a contract."""
        contract = trainer.contract
        assert contract is not None
        if contract.classes is not None:
            contract = replace(contract, classes=contract.classes.ordered())
        return cls(trainer, contract, memory)

    @property
    def order(self) -> NDArray[np.intp] | None:
        """[C] the place of each class among the scores; None where there are no classes."""
        theirs = None if self.trainer.contract is None else self.trainer.contract.classes
        if theirs is None or self.contract.classes is None:
            return None
        places = {value: place for place, value in enumerate(theirs.values)}
        return np.array([places[value] for value in self.contract.classes.values], np.intp)

    @classmethod
    def fit(
        cls,
        trainer: Trainer,
        contract: Contract,
        series: list[Floats],
        arrays: dict[str, NDArray[Any]],
        *,
        stopping: Stopping | None,
        for_temperature: float = 0.0,
        progress: Progress,
    ) -> tuple[Self, Watch | None]:
        """Train from the start: the updates of its settings over random batches, each series once per pass.

        With `stopping` some series are held out, stratified by `arrays["sequence_class"]` where there are classes; the
        `Watch` over them, by which training may have ended early, has given the trainer its best parameters. Weights
        in `arrays` count in training and for the temperature, not for the `Watch`.

        The temperature of the probabilities is fitted to the held-out series. Without `stopping`, `for_temperature`
        says which share of many series is held out for it (`held_for_temperature`); of few it is fitted to those of
        training.
        """
        trainer.contract = contract
        series, arrays = _counting(series, arrays)
        train = trainer.config.train
        channels = [contract.channels(one) for one in series]

        def batch(chosen: NDArray[np.int64]) -> dict[str, NDArray[Any]]:
            rows = padded([channels[i] for i in chosen], "features")
            return rows | {name: values[chosen] for name, values in arrays.items()}

        rows, watch, codes = np.arange(len(series)), None, arrays.get("sequence_class")
        held = rows[:0] if codes is None else held_for_temperature(codes, for_temperature, seed=train.seed)
        if stopping is None:
            rows = np.setdiff1d(rows, held)
        else:
            rows, held = stopping.split(codes, len(series), seed=train.seed)
            batches = [_without_weights(batch(part)) for part in _parts(held, channels)]
            watch = Watch(trainer, batches, stopping, pass_updates=ceil(len(rows) / train.batch_size))
        order = batches_without_end(len(rows), train.batch_size, np.random.default_rng(train.seed))
        with progress.bar("update", train.steps) as advance:
            for step in range(1, train.steps + 1):
                update = trainer.step(batch(rows[next(order)]))
                ended = watch is not None and watch.updated(step, last=step == train.steps)
                held_out = "" if watch is None or not watch.scores else f", held-out loss {-watch.scores[-1]:.4g}"
                advance(step, f"loss {update.loss:.4g}{held_out}")
                if ended:
                    progress.stage(f"ended early after {counted(step, 'update')}")
                    break
        if watch is not None:
            watch.restore()
        backbone = cls(trainer, contract)
        if codes is not None:
            judged = held if len(held) else rows
            backbone.calibrate([series[i] for i in judged], {name: values[judged] for name, values in arrays.items()})
            of_rows = backbone._as_scored({name: values[rows] for name, values in arrays.items()})
            backbone.fit_density([series[i] for i in rows], of_rows)
        return backbone, watch

    def remembering(self, memory: Replay | None, series: list[Floats], arrays: dict[str, NDArray[Any]]) -> Self:
        """With a memory that has taken these series."""
        if memory is not None:
            series, arrays = _counting(series, self._as_scored(arrays))
            memory.add(series, _weighed(arrays))
        return replace(self, memory=memory)

    def calibrate(self, series: list[Floats], arrays: dict[str, NDArray[Any]]) -> None:
        """Fit the temperature of the probabilities to series with classes, and with weights, as training has them."""
        codes, weights = self._as_scored(arrays)[CLASS], arrays.get("weights")
        known = np.flatnonzero(codes >= 0)
        if len(known):
            scores = self.scores_of(self.answers([series[i] for i in known]))
            counting = None if weights is None else np.asarray(weights[known], np.float64)
            calibrate(self.trainer, self._as_answered(scores), codes[known].astype(np.int64), counting)

    def fit_density(self, series: list[Floats], arrays: dict[str, NDArray[Any]]) -> None:
        """Fit the density behind the confidence to series of training with classes, of many to some.

        `arrays` has their classes numbered as the scores are, and weights. A class without a series here keeps the
        centre that it had.
        """
        codes, weights = arrays[CLASS].astype(np.int64), np.asarray(_weighed(arrays)["weights"], np.float64)
        known = np.flatnonzero(codes >= 0)
        rows = known[for_density(codes[known], seed=self.trainer.config.train.seed)]
        if len(rows):
            features = self.described([series[i] for i in rows])[:, -self.width :]
            fit_density(self.trainer, features, codes[rows], weights[rows])

    def _with_memory(
        self, series: list[Floats], arrays: dict[str, NDArray[Any]]
    ) -> tuple[list[Floats], dict[str, Any]]:
        """These series, and those of the memory that are none of them, with classes numbered as the scores are."""
        here = {id(one) for one in series}
        kept = [] if self.memory is None else [one for some in self.memory.kept.values() for one in some]
        others = [one for one in kept if id(one.series) not in here]
        codes = np.concatenate([arrays[CLASS], [one.targets[CLASS] for one in others]]).astype(np.int64)
        weights = np.concatenate([_weighed(arrays)["weights"], np.ones(len(others))])
        return [*series, *(one.series for one in others)], {CLASS: codes, "weights": weights}

    def confidence(self, points: Floats) -> Floats:
        """[N] how typical series are of any class, of what `described` gave."""
        return confidences(self.trainer, self.scores_of(points), points[:, -self.width :])

    @property
    def width(self) -> int:
        """Features D of a series."""
        return self.trainer.config.model.d_model

    def probabilities(self, scores: Floats) -> Floats:
        """Of the scores of classes [N, C] in their order, by the temperature of the trainer."""
        return self.in_order(class_probabilities(self.trainer, self._as_answered(scores)))

    def _as_answered(self, scores: Floats) -> Floats:
        """The scores [N, C] of classes, as the trainer has them."""
        if (order := self.order) is None or np.array_equal(order, np.arange(len(order))):
            return scores
        return scores[:, np.argsort(order)]

    def scores_of(self, answers: Floats) -> Floats:
        """The scores of classes [N, C] among what is answered."""
        count = 0 if self.contract.classes is None else len(self.contract.classes)
        return answers[:, :count]

    def more(self, series: list[Floats], arrays: dict[str, NDArray[Any]], *, progress: Progress) -> None:
        """An update for each batch of these series, each series once, in an order of its own; the optimiser goes on.

        The temperature of the probabilities is that of these series as they were answered before, where they are
        `FEWEST_FOR_TEMPERATURE` or more; the first ones are answered afterwards. The density behind the confidence is
        that of these series and of the memory as they are after it.
        """
        series, arrays = _counting(series, arrays)
        codes, known = arrays.get(CLASS), self.trainer.temperature is not None
        if codes is not None and known and np.count_nonzero(codes >= 0) >= FEWEST_FOR_TEMPERATURE:
            self.calibrate(series, arrays)
        temperature, density = self.trainer.temperature, self.trainer.density
        self._learn(series, self._as_scored(arrays), progress=progress)
        self.trainer.temperature, self.trainer.density = temperature, density
        if codes is not None:
            self.fit_density(*self._with_memory(series, self._as_scored(arrays)))
        if codes is not None and not known:
            self.calibrate(series, arrays)

    def _learn(self, series: list[Floats], arrays: dict[str, NDArray[Any]], *, progress: Progress) -> None:
        """The updates, with classes numbered as the scores are.

        Beside the series of a batch stand its share of those that the memory draws for this part. The parameters are
        then the mean of those of the last updates (`ssm_hpn.tail_mean`), as the learning rate does not fall.
        """
        train = self.trainer.config.train
        order = np.random.default_rng([train.seed, self.updates]).permutation(len(series))
        drawn: list[Floats] = []
        if self.memory is not None:
            drawn, targets = self.memory.draw(arrays[CLASS], seed=self.updates)
            self.memory.add(series, _weighed(arrays))
            if drawn:
                series, arrays = [*series, *drawn], _joined(arrays, targets)
        parts = shared_out(order, len(drawn), train.batch_size)
        channels = [self.contract.channels(one) for one in series]
        mean = TailMean(len(parts))
        with progress.bar("update", len(parts)) as advance:
            for n, chosen in enumerate(parts):
                batch = padded([channels[i] for i in chosen], "features")
                update = self.trainer.step(batch | {name: values[chosen] for name, values in arrays.items()})
                mean.updated(self.trainer)
                advance(n + 1, f"loss {update.loss:.4g}")

    def _as_scored(self, arrays: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """The targets with their classes numbered as the scores are."""
        if (order := self.order) is None or CLASS not in arrays:
            return arrays
        codes = arrays[CLASS]
        return arrays | {CLASS: np.where(codes < 0, codes, order[codes]).astype(codes.dtype)}

    def in_order(self, scores: Floats) -> Floats:
        """Scores [N, C + K] of the model, in the order of the classes."""
        if (order := self.order) is None or np.array_equal(order, np.arange(len(order))):
            return scores
        return np.concatenate([scores[:, order], scores[:, len(order) :]], axis=1)

    @property
    def updates(self) -> int:
        """Updates made."""
        return self.trainer.session.step

    def with_classes(self, contract: Contract) -> Self:
        """With the classes of this contract, some of which are new: the trainer's head takes them, the rest stays."""
        assert contract.classes is not None
        assert self.contract.classes is not None
        there = set(self.contract.classes.values)
        new = [value for value in contract.classes.values if value not in there]
        self.trainer.add_classes(new, warn_doubts=False)  # the estimator does, of either kind of model
        return self.with_contract(contract)

    def with_contract(self, contract: Contract) -> Self:
        """With another contract of the same classes."""
        theirs = contract
        if contract.classes is not None and self.trainer.contract is not None:
            assert self.trainer.contract.classes is not None
            theirs = replace(contract, classes=contract.classes.ordered(self.trainer.contract.classes.values))
        self.trainer.contract = theirs
        return replace(self, contract=contract)

    def answers(self, series: list[Floats]) -> Floats:
        """Scores of every series, [N, C], [N, K] or [N, C + K], computed in batches of similar length."""
        return self.in_order(self._of_each(series, self.trainer.predict))

    def described(self, series: list[Floats]) -> Floats:
        """Scores of every series, and behind them its features, [N, C + D] or [N, C + K + D]."""
        return self.in_order(self._of_each(series, lambda batch: described(self.trainer, batch)))

    def points(self, series: list[Floats]) -> Floats:
        """The point of every series on the unit sphere of the prototypes, [N, Q]."""
        return self._of_each(series, self.trainer.embed)

    @property
    def prototypes(self) -> Floats:
        """[C, Q] of the classes in the order of the answers."""
        rows = np.asarray(self.trainer.parameter("head.prototypes"), np.float64)
        return rows if self.order is None else rows[self.order]

    def _of_each(self, series: list[Floats], call: Callable[[dict[str, Any]], NDArray[Any]]) -> Floats:
        """A row of numbers for every series, computed in batches of similar length."""
        channels = [self.contract.channels(one) for one in series]
        found: Floats | None = None
        for group in _parts(np.arange(len(channels)), channels):
            answers = call(padded([channels[i] for i in group], "features"))
            if found is None:
                found = np.empty((len(series), answers.shape[1]))
            found[group] = answers
        assert found is not None
        return found

    def evidence(self, series: list[Floats]) -> list[Floats]:
        """What each step contributes to the score of each class, [T, C] of each series (`ssm_hpn.evidence`)."""
        found = step_evidence(self.trainer, [self.contract.channels(one) for one in series])
        return [self.in_order(one) for one in found]

    def __getstate__(self) -> dict[str, Any]:
        """For pickling: the files of a checkpoint, so that training goes on in the same bits."""
        with TemporaryDirectory(prefix="ssm_hpn-") as folder:
            saved = self.trainer.save(Path(folder) / CHECKPOINT)
            files = {file.name: file.read_bytes() for file in sorted(saved.iterdir())}
        return {"checkpoint": files, "memory": self.memory}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """The backbone of this checkpoint."""
        if "checkpoint" not in state:
            expected, found = "the files of a checkpoint", "a backbone of an older release"
            raise CheckpointError(problem("pickle", expected, found, "fit it again"))
        with TemporaryDirectory(prefix="ssm_hpn-") as folder:
            saved = Path(folder) / CHECKPOINT
            saved.mkdir()
            for name, content in state["checkpoint"].items():
                write_whole(saved / name, content)
            trainer = Trainer.load(saved)
        for name, value in vars(self.of_trainer(trainer, state.get("memory"))).items():
            object.__setattr__(self, name, value)


def held_for_temperature(codes: NDArray[np.int32], share: float, *, seed: int) -> NDArray[np.intp]:
    """The series that are held out for the temperature alone, of classes [n], -1 for none: none of few series.

    A share of those of `MANY` series or more, at least `LEAST_FOR_TEMPERATURE` where that is no more than
    `LARGEST_SHARE`, at most `MOST_FOR_TEMPERATURE`; of each class with five or more its part.

    >>> codes = np.arange(1000) % 4
    >>> [len(held_for_temperature(codes[:n], 0.1, seed=0)) for n in (100, 200, 400, 1000)]
    [0, 40, 64, 100]
    """
    if len(codes) < MANY or share <= 0:
        return np.empty(0, np.intp)
    sizes = np.bincount(codes[codes >= 0], minlength=1)
    able = np.flatnonzero((codes >= 0) & (sizes[codes] >= 5))
    wanted = max(ceil(len(able) * share), LEAST_FOR_TEMPERATURE)
    count = min(wanted, ceil(len(able) * LARGEST_SHARE), MOST_FOR_TEMPERATURE)
    return able[stratified(codes[able].astype(np.int64), count, seed=seed)] if count else able[:0]


def _counting(series: list[Floats], arrays: dict[str, NDArray[Any]]) -> tuple[list[Floats], dict[str, NDArray[Any]]]:
    """The series of a weight above 0, and their targets with weights of mean 1; only their proportions matter."""
    if "weights" not in arrays:
        return series, arrays
    weights = arrays["weights"] / arrays["weights"].max()
    rows = np.flatnonzero(weights > LEAST_WEIGHT)
    kept = {name: values[rows] for name, values in arrays.items()}
    return [series[row] for row in rows], kept | {"weights": weights[rows] / weights[rows].mean()}


def _weighed(arrays: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """The targets with weights, 1 where there are none."""
    return {"weights": np.ones(len(arrays[CLASS]))} | arrays


def _joined(arrays: dict[str, NDArray[Any]], drawn: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """The targets of series, and of those of the memory behind them; without weights where all are 1."""
    ours = _weighed(arrays)
    found = {name: np.concatenate([values, drawn[name]]) for name, values in ours.items()}
    return found if (found["weights"] != 1).any() else {name: found[name] for name in arrays if name != "weights"}


def _without_weights(batch: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    return {name: values for name, values in batch.items() if name != "weights"}


def _parts(rows: NDArray[np.intp], channels: list[NDArray[np.float32]]) -> Iterator[NDArray[np.intp]]:
    """These series in batches of similar length."""
    lengths = [len(one) for one in channels]
    order = sorted(rows.tolist(), key=lambda i: lengths[i])
    yield from (np.array(group) for group in groups_by_length(order, lengths))
