"""A trained selective state space model behind an estimator."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from math import ceil
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray

from ssm_hpn.calibrated import calibrate
from ssm_hpn.closed_form.draws import stratified
from ssm_hpn.config.model import LinearHead
from ssm_hpn.contract import Contract
from ssm_hpn.counts import counted
from ssm_hpn.dataset import padded
from ssm_hpn.errors import CheckpointError, problem
from ssm_hpn.estimators.progress import Progress
from ssm_hpn.estimators.validation import Stopping, Watch
from ssm_hpn.evidence import step_evidence
from ssm_hpn.series import batches_without_end, groups_by_length
from ssm_hpn.storage import write_whole
from ssm_hpn.trainer import Trainer

Floats = NDArray[np.float64]

CHECKPOINT: Final = "checkpoint"
"""Name of a folder for the files of one."""
PROJECTION: Final = "head.projection."
"""Beginning of the names of the tensors that map onto the coordinates of prototypes."""
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
    contract: Contract
    earlier: int = 0
    """Updates before classes were added."""

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
        return backbone, watch

    def calibrate(self, series: list[Floats], arrays: dict[str, NDArray[Any]]) -> None:
        """Fit the temperature of the probabilities to series with classes, and with weights, as training has them."""
        codes, weights = arrays["sequence_class"], arrays.get("weights")
        known = np.flatnonzero(codes >= 0)
        if len(known):
            scores = self.scores_of(self.answers([series[i] for i in known]))
            counting = None if weights is None else np.asarray(weights[known], np.float64)
            calibrate(self.trainer, scores, codes[known].astype(np.int64), counting)

    def scores_of(self, answers: Floats) -> Floats:
        """The scores of classes [N, C] among what is answered."""
        count = 0 if self.contract.classes is None else len(self.contract.classes)
        return answers[:, :count]

    def more(self, series: list[Floats], arrays: dict[str, NDArray[Any]], *, progress: Progress) -> None:
        """An update for each batch of these series, each series once, in an order of its own; the optimiser goes on.

        The temperature of the probabilities is that of these series as they were answered before, where they are
        `FEWEST_FOR_TEMPERATURE` or more; the first ones are answered afterwards.
        """
        series, arrays = _counting(series, arrays)
        codes, known = arrays.get("sequence_class"), self.trainer.temperature is not None
        if codes is not None and known and np.count_nonzero(codes >= 0) >= FEWEST_FOR_TEMPERATURE:
            self.calibrate(series, arrays)
        temperature = self.trainer.temperature
        self._learn(series, arrays, progress=progress)
        self.trainer.temperature = temperature
        if codes is not None and not known:
            self.calibrate(series, arrays)

    def _learn(self, series: list[Floats], arrays: dict[str, NDArray[Any]], *, progress: Progress) -> None:
        train = self.trainer.config.train
        channels = [self.contract.channels(one) for one in series]
        order = np.random.default_rng([train.seed, self.updates]).permutation(len(series))
        count = ceil(len(series) / train.batch_size)
        with progress.bar("update", count) as advance:
            for n in range(count):
                chosen = order[n * train.batch_size : (n + 1) * train.batch_size]
                batch = padded([channels[i] for i in chosen], "features")
                update = self.trainer.step(batch | {name: values[chosen] for name, values in arrays.items()})
                advance(n + 1, f"loss {update.loss:.4g}")

    @property
    def updates(self) -> int:
        """Updates made, those with fewer classes included."""
        return self.earlier + self.trainer.session.step

    def with_classes(self, count: int, places: NDArray[np.int64]) -> Self:
        """With more classes, among which those so far are at these places; the optimiser begins anew.

        All weights stay but those of the head that belong to a class: a linear head has new rows for new classes, a
        prototype head has other prototypes, for which its projection gets further rows.
        """
        config = self.trainer.config
        name = "n_outputs" if isinstance(config.model.head, LinearHead) else "n_classes"
        head = config.model.head.model_copy(update={name: count})
        trainer = Trainer(config.model_copy(update={"model": config.model.model_copy(update={"head": head})}))
        before, tensors = self.trainer.parameters(), trainer.parameters()
        for row in trainer.parameter_table():
            old, new = before.get(row["name"]), tensors[row["name"]]
            if not row["trainable"] or old is None:
                continue
            if old.shape == new.shape:
                tensors[row["name"]] = old
            elif row["name"].startswith(PROJECTION):
                new[: len(old)] = old[: len(new)]
            elif (len(old), len(new), old.shape[1:]) == (len(places), count, new.shape[1:]):
                new[places] = old
        trainer.load_tensors(tensors)
        return replace(self, trainer=trainer, earlier=self.updates)

    def answers(self, series: list[Floats]) -> Floats:
        """Scores of every series, [N, C], [N, K] or [N, C + K], computed in batches of similar length."""
        return self._of_each(series, self.trainer.predict)

    def points(self, series: list[Floats]) -> Floats:
        """The point of every series on the unit sphere of the prototypes, [N, Q]."""
        return self._of_each(series, self.trainer.embed)

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
        return step_evidence(self.trainer, [self.contract.channels(one) for one in series])

    def __getstate__(self) -> dict[str, Any]:
        """For pickling: the files of a checkpoint, so that training goes on in the same bits."""
        with TemporaryDirectory(prefix="ssm_hpn-") as folder:
            saved = self.trainer.save(Path(folder) / CHECKPOINT)
            files = {file.name: file.read_bytes() for file in sorted(saved.iterdir())}
        return {"checkpoint": files, "earlier": self.earlier}

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
        object.__setattr__(self, "trainer", trainer)
        object.__setattr__(self, "contract", trainer.contract)
        object.__setattr__(self, "earlier", state["earlier"])


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


def _without_weights(batch: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    return {name: values for name, values in batch.items() if name != "weights"}


def _parts(rows: NDArray[np.intp], channels: list[NDArray[np.float32]]) -> Iterator[NDArray[np.intp]]:
    """These series in batches of similar length."""
    lengths = [len(one) for one in channels]
    order = sorted(rows.tolist(), key=lambda i: lengths[i])
    yield from (np.array(group) for group in groups_by_length(order, lengths))
