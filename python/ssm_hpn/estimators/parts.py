"""`partial_fit`: what classifier and regressor share.

The first call fixes how series are read: channels and their statistics, the classes, the scale of numbers, and of
features the filters. Each call is checked against it.
"""

from dataclasses import replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ssm_hpn.contract import Contract
from ssm_hpn.errors import ConfigError, ShapeError, problem, shown
from ssm_hpn.estimators.backbone import Backbone
from ssm_hpn.estimators.base import number_of_threads
from ssm_hpn.estimators.model import Kind, SequenceModel, measured
from ssm_hpn.estimators.parameter_values import same
from ssm_hpn.filter_model import FilterModel, Targets
from ssm_hpn.growing_filters import GrowingFilters
from ssm_hpn.series import check_lengths, marks_of

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

MAY_CHANGE: Final = frozenset({"reject_below", "reject_label", "threads", "verbose", "random_state"})
"""Parameters that may be set between two calls of partial_fit; others would have no effect."""


class ModelInParts(SequenceModel):
    """Base of estimators that learn from series that come in parts."""

    def _begin_part(self) -> tuple[Kind, bool]:
        """The kind, and whether this is the first part."""
        kind = self._chosen_kind()
        self._stopping(0)  # checks it
        if self.early_stopping:
            advice = "hold series out yourself, and score them"
            raise ConfigError(problem("early_stopping", "False in partial_fit", shown(self.early_stopping), advice))
        if not hasattr(self, "model_"):
            return kind, True
        self._check_goes_on("partial_fit")
        return kind, False

    def _read_part(self, X: Any, **targets: Any) -> tuple[list[Floats], list[Any]]:  # noqa: ANN401, N803
        """The series of X and what belongs to each of them, as `_fit_on` reads them, checked against the first part."""
        if targets["y"] is None:
            raise ValueError(f"{type(self).__name__} requires y to be passed, but the target y is None")
        belonging = [None if one is None else self._per_series(X, one, name) for name, one in targets.items()]
        series = self._read(X)
        if (table := self._table(X)) is not None:
            self._trained = getattr(self, "_trained", {}) | dict(zip(table.ids, marks_of(series), strict=True))
        return series, belonging

    def _numbers_again(self, given: Any, name: str, series: list[Floats]) -> Floats:  # noqa: ANN401
        """Numbers [N, K] to predict, as many as in the first part."""
        found = measured(given, name)
        found = found.reshape(len(found), -1)
        assert self.contract_.scale is not None
        count = len(self.contract_.scale.mean)
        check_lengths(series, found, name)
        if found.shape[1] != count:
            expected = f"[{len(found)}, {count}], as in the call before"
            raise ShapeError(problem(name, expected, list(found.shape), "give as many numbers for each series"))
        return found

    def _check_goes_on(self, name: str) -> None:
        """Refuse a model of features whose series are not kept, and other parameters than those of the call before."""
        if isinstance(self.model_, FilterModel) and not hasattr(self, "_growing") and not hasattr(self, "_fitted_on"):
            expected, found = "a model whose series are kept", "one of a checkpoint, or of many or long ones"
            advice = "pass the first series and the new ones to partial_fit of another estimator (sklearn.base.clone)"
            raise ConfigError(problem(name, expected, found, advice))
        for parameter, value in self.get_params().items():
            before = self._learned_with[parameter]
            if parameter not in MAY_CHANGE and not same(value, before):
                advice = "make another estimator for it, with sklearn.base.clone"
                raise ConfigError(problem(parameter, f"{shown(before)}, as in the call before", shown(value), advice))

    def _make_room(self, contract: Contract, places: Ints) -> None:
        """Let the model have the classes of the contract; those so far are at these places, and their scores stay."""
        assert contract.classes is not None
        if isinstance(self.model_, Backbone):
            try:
                self.model_ = self.model_.with_classes(contract)
            except ConfigError as error:
                raise self._of_parameter(error) from None
            return
        assert self.model_.classes is not None
        count, threads = len(contract.classes), number_of_threads(self.threads)
        self._growing_filters(threads).add_classes(places, count)
        self.model_ = replace(self.model_, contract=contract, classes=self.model_.classes.with_classes(places, count))

    def _growing_filters(self, threads: int | None) -> GrowingFilters:
        """The filters, with all series so far: those of a fit go on."""
        if not hasattr(self, "_growing"):
            assert isinstance(self.model_, FilterModel)
            before, known = self._fitted_on
            growing = GrowingFilters.of_bank(self.model_.bank, self.model_.contract, known)
            growing.add(before, known, threads=threads)
            self._growing = growing
            del self._fitted_on
        return self._growing

    def _grow(self, series: list[Floats], targets: Targets, *, first: bool) -> None:
        """Fit filters and heads to these series and all before."""
        progress, threads = self._progress(), number_of_threads(self.threads)
        if first:
            self._fitted()
            begin, settings = GrowingFilters.begin, self._filter_settings()
            self._growing = begin(self.contract_, series, targets, settings=settings, threads=threads)
        growing = self._growing_filters(threads)
        growing.add(series, targets, threads=threads)
        self.model_ = growing.model(self.contract_, threads=threads)
        progress.stage(f"fitted, left-out score {self.loo_score_:.4g}")

    def _grow_backbone(
        self,
        series: list[Floats],
        arrays: dict[str, NDArray[Any]],
        begun: tuple[dict[str, Any], dict[str, Any]] | None,
    ) -> None:
        """One pass of a backbone over these series; in the first part it has the target and head `begun`.

        Its learning rate stays as it is after the warm-up.
        """
        if begun is not None:
            trainer = self._trainer_of(*begun, schedule={"kind": "constant"})
            self._fitted()
            self.model_ = Backbone(trainer, self.contract_, self._memory(trainer))
        assert isinstance(self.model_, Backbone)
        self.model_ = self.model_.with_contract(self.contract_)
        self.model_.more(series, arrays, progress=self._progress())
        self.n_iter_ = self.model_.updates
        self.validation_scores_ = self.best_score_ = None
