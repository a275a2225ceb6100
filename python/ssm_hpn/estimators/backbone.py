"""A trained selective state space model behind an estimator."""

from collections.abc import Iterator
from dataclasses import dataclass
from math import ceil
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from ssm_hpn.contract import Contract
from ssm_hpn.counts import counted
from ssm_hpn.dataset import padded
from ssm_hpn.estimators.progress import Progress
from ssm_hpn.estimators.validation import Stopping, Watch
from ssm_hpn.series import batches_without_end, groups_by_length
from ssm_hpn.trainer import Trainer

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Backbone:
    """A trainer, and the contract by which it reads series."""

    trainer: Trainer
    contract: Contract

    @classmethod
    def fit(
        cls,
        trainer: Trainer,
        contract: Contract,
        series: list[Floats],
        arrays: dict[str, NDArray[Any]],
        *,
        stopping: Stopping | None,
        progress: Progress,
    ) -> tuple[Self, Watch | None]:
        """Train from the start: the updates of its settings over random batches, each series once per pass.

        With `stopping` some series are held out, stratified by `arrays["sequence_class"]` where there are classes; the
        `Watch` over them, by which training may have ended early, has given the trainer its best parameters.
        """
        trainer.contract = contract
        train = trainer.config.train
        channels = [contract.channels(one) for one in series]

        def batch(chosen: NDArray[np.int64]) -> dict[str, NDArray[Any]]:
            rows = padded([channels[i] for i in chosen], "features")
            return rows | {name: values[chosen] for name, values in arrays.items()}

        rows, watch = np.arange(len(series)), None
        if stopping is not None:
            rows, held = stopping.split(arrays.get("sequence_class"), len(series), seed=train.seed)
            batches = [batch(part) for part in _parts(held, channels)]
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
        return cls(trainer, contract), watch

    def answers(self, series: list[Floats]) -> Floats:
        """Scores of every series, [N, C], [N, K] or [N, C + K], computed in batches of similar length."""
        channels = [self.contract.channels(one) for one in series]
        found: Floats | None = None
        for group in _parts(np.arange(len(channels)), channels):
            answers = self.trainer.predict(padded([channels[i] for i in group], "features"))
            if found is None:
                found = np.empty((len(series), answers.shape[1]))
            found[group] = answers
        assert found is not None
        return found

    def __getstate__(self) -> dict[str, Any]:
        """The compiled model is stored as its parameters."""
        settings = self.trainer.config.model_dump(mode="json")
        return {"settings": settings, "parameters": self.trainer.parameters(), "contract": self.contract}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """A trainer of these parameters."""
        trainer = Trainer.from_tensors(state["settings"], state["parameters"])
        trainer.contract = state["contract"]
        object.__setattr__(self, "trainer", trainer)
        object.__setattr__(self, "contract", state["contract"])


def _parts(rows: NDArray[np.intp], channels: list[NDArray[np.float32]]) -> Iterator[NDArray[np.intp]]:
    """These series in batches of similar length."""
    lengths = [len(one) for one in channels]
    order = sorted(rows.tolist(), key=lambda i: lengths[i])
    yield from (np.array(group) for group in groups_by_length(order, lengths))
