"""Features of fixed filters step by step: what a fitted model answers for the steps so far, in constant memory."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ssm_hpn.closed_form.linear import LinearScores
from ssm_hpn.errors import ShapeError, problem
from ssm_hpn.filter_model import FilterModel
from ssm_hpn.pieces import Pieces

Floats = NDArray[np.float64]


class FilterStream:
    """Scores and numbers of rows of series, for a model of causal filters; `ConfigError` for another.

    >>> from ssm_hpn.columns import Column
    >>> from ssm_hpn.contract import Contract
    >>> from ssm_hpn.filter_model import FilterSettings, Targets
    >>> series = [np.sin(np.arange(40) / (3 + n % 2))[:, None] for n in range(20)]
    >>> contract = Contract("features", (Column("x", "feature"),))
    >>> targets = Targets(codes=np.arange(20) % 2, n_classes=2)
    >>> model = FilterModel.fit(contract, series, targets, settings=FilterSettings(effort="fast", causal=True))
    >>> stream = FilterStream(model, rows=2)
    >>> stream.read(np.stack(series[:2]))
    >>> bool(np.allclose(stream.class_scores(), model.class_scores(series[:2]), atol=1e-5))
    True
    """

    def __init__(self, model: FilterModel, rows: int = 1, *, threads: int | None = None) -> None:
        self.rows, self._contract = rows, model.contract
        self._stream = model.bank.stream(rows, threads=threads)
        self._pieces, self._begun = self._fresh(), False

        def readout(scores: LinearScores) -> Any:  # noqa: ANN401 - of the core
            columns = scores.standardisation
            parts = columns.mean, columns.factor, scores.weights, scores.intercept
            return model.bank.filters.readout(*parts, clip=columns.clip)

        self._classes = None if model.classes is None else readout(model.classes.ridge.linear)
        self._numbers = [(columns, readout(head.ridge.linear)) for columns, head in model.numbers]

    def read(self, x: Floats) -> None:
        """Read further steps x f64 [rows, T, F], NaN for a missing number."""
        if self._pieces:
            x = np.stack([pieces.filled(part) for pieces, part in zip(self._pieces, x, strict=True)])
        self._stream.prefill(x)
        self._begun = True

    def class_scores(self) -> Floats:
        """z [rows, C - 1], as `FilterModel.class_scores` of the steps so far."""
        self._check_begun()
        assert self._classes is not None
        return self._stream.scores(self._classes)

    def predicted(self) -> Floats:
        """The numbers [rows, K], as `FilterModel.predicted` of the steps so far."""
        self._check_begun()
        found = np.empty((self.rows, sum(len(columns) for columns, _ in self._numbers)))
        for columns, readout in self._numbers:
            found[:, columns] = self._stream.scores(readout)
        return found

    def reset(self) -> None:
        """Go back to before the first step."""
        self._stream.reset()
        self._pieces, self._begun = self._fresh(), False

    def _check_begun(self) -> None:
        """Refuse answers about no step at all."""
        if not self._begun:
            raise ShapeError(problem("stream", "a step", "none", "call step first"))

    def _fresh(self) -> list[Pieces]:
        """A memory of each row, where the filters do not leave missing steps out themselves."""
        return [] if self._contract.missing == "mask" else [Pieces(self._contract) for _ in range(self.rows)]
