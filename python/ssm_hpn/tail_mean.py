"""The mean of the parameters over the last updates of a pass, for training whose learning rate does not fall.

    θ̄ = 1/n Σ_k θ_k,   θ_k the parameters after the updates k of the last quarter, at most 32 at equal distances

With a constant learning rate the parameters go on moving around a minimum by the noise of single batches; their mean is
nearer to it (Polyak and Juditsky, 1992; of networks Izmailov et al., UAI 2018). Moments and counters of the optimiser
stay those of the last update. Tensors that do not change keep their bits. `benchmarks/records/incremental.md` has what
it is worth where classes come later.
"""

from collections.abc import Mapping
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray

SHARE: Final = 0.25
"""Of the updates of a pass, which are averaged."""
MOST: Final = 32
"""Most parameters in a mean."""
FEWEST: Final = 16
"""Updates below which a pass keeps its last parameters: too few to say where they move around."""


class Tensors(Protocol):
    """What has parameters by name."""

    def parameters(self) -> Mapping[str, NDArray[Any]]:
        """Copies of all."""

    def load_tensors(self, tensors: Mapping[str, NDArray[Any]]) -> None:
        """Overwrite all."""


class TailMean:
    """Collects the parameters of a pass of so many updates, and gives their mean to the model after the last.

    >>> class Model:
    ...     value = np.zeros(1)
    ...     def parameters(self):
    ...         return {"w": self.value.copy()}
    ...     def load_tensors(self, tensors):
    ...         self.value = tensors["w"]
    >>> model, mean = Model(), TailMean(updates=40)
    >>> for n in range(40):
    ...     model.value = np.array([float(n)])
    ...     mean.updated(model)
    >>> model.value.tolist()  # of 30 to 39
    [34.5]
    """

    def __init__(self, updates: int) -> None:
        self._updates, self._made, self._count = updates, 0, 0
        self._means: dict[str, NDArray[np.float64]] = {}
        tail = int(updates * SHARE) if updates >= FEWEST else 0
        self._stride = max(1, -(-tail // MOST))
        self._first = updates - tail

    def updated(self, model: Tensors) -> None:
        """Take an update into account, and after the last give the model the mean."""
        self._made += 1
        behind = self._updates - self._made
        if self._made > self._first and behind % self._stride == 0:
            now = model.parameters()
            self._add(now)
            if not behind:
                model.load_tensors({name: mean.astype(now[name].dtype) for name, mean in self._means.items()})

    def _add(self, tensors: Mapping[str, NDArray[Any]]) -> None:
        self._count += 1
        for name, values in tensors.items():
            if self._count == 1:
                self._means[name] = values.astype(np.float64)
            else:
                self._means[name] += (values - self._means[name]) / self._count
