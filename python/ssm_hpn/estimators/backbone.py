"""A trained selective state space model behind an estimator."""

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from ssm_hpn.contract import Contract
from ssm_hpn.dataset import padded
from ssm_hpn.series import batches_without_end, groups_by_length
from ssm_hpn.trainer import Trainer

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Backbone:
    """A trainer, and the contract by which it reads series."""

    trainer: Trainer
    contract: Contract

    @classmethod
    def fit(cls, trainer: Trainer, contract: Contract, series: list[Floats], arrays: dict[str, NDArray[Any]]) -> Self:
        """Train from the start: the updates of its settings over random batches, each series once per pass."""
        trainer.contract = contract
        train = trainer.config.train
        channels = [contract.channels(one) for one in series]
        order = batches_without_end(len(series), train.batch_size, np.random.default_rng(train.seed))
        for _ in range(train.steps):
            chosen = next(order)
            batch = padded([channels[i] for i in chosen], "features")
            trainer.step(batch | {name: values[chosen] for name, values in arrays.items()})
        return cls(trainer, contract)

    def answers(self, series: list[Floats]) -> Floats:
        """Scores of every series, [N, C], [N, K] or [N, C + K], computed in batches of similar length."""
        channels = [self.contract.channels(one) for one in series]
        order = sorted(range(len(channels)), key=lambda i: len(channels[i]))
        found: Floats | None = None
        for group in groups_by_length(order, [len(one) for one in channels]):
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
