"""Fixed state space filters with heads in closed form: fitted to labelled series, kept as one value."""

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, Literal, Self

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from ssm_hpn._core import load_arrays, save_arrays
from ssm_hpn.closed_form import ClassHead, Features, NumberHead, RidgeSettings
from ssm_hpn.closed_form.affine import weights_of
from ssm_hpn.closed_form.linear import KEPT_BYTES
from ssm_hpn.closed_form.simplex import inner_products
from ssm_hpn.contract import Contract
from ssm_hpn.errors import CheckpointError, DataError, problem, shown
from ssm_hpn.foreign import from_json
from ssm_hpn.state_features import OTHER, Effort, StateFeatures

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Stage = Literal["filters", "classes", "numbers"]
Watch = Callable[[Stage], None]
"""Called when a stage of fitting begins, and before each block of features in it; what it raises ends the fit."""
KIND: Final = "features"
"""The kind of model in a checkpoint."""
VERSION: Final = 1
FEW: Final = 1024
"""Series up to which linear algebra is on one thread."""


@dataclass(frozen=True, kw_only=True)
class FilterSettings:
    """Which filters there are.

    >>> FilterSettings(effort="best", seed=3).causal
    False
    """

    effort: Effort = "default"
    causal: bool = False
    """Whether all of them read forwards."""
    seed: int = 0


@dataclass(frozen=True, eq=False)
class Targets:
    """What is learned of N series."""

    codes: Ints | None = None
    """[N] number of the class, -1 for none."""
    n_classes: int = 0
    numbers: Floats | None = None
    """[N, K], NaN for none."""
    sample_weight: Floats | None = None
    """[N], none below 0; a series of weight 0 takes no part."""
    class_weight: Floats | Literal["balanced"] | None = None
    """[C], none below 0."""

    def weighed(self) -> tuple[Ints, "Targets"]:
        """The series with a weight above 0, and their targets."""
        assert self.sample_weight is not None
        rows = np.flatnonzero(self.sample_weight > 0)
        codes = None if self.codes is None else self.codes[rows]
        return rows, replace(self, codes=codes, numbers=_of(self.numbers, rows), sample_weight=self.sample_weight[rows])


@dataclass(frozen=True, eq=False)
class FilterModel:
    """A bank of filters, a head of classes, and heads of numbers beside it or instead."""

    bank: StateFeatures
    contract: Contract
    classes: ClassHead | None
    numbers: list[tuple[Ints, NumberHead]]
    """Numbers that are known for the same series are fitted together: their columns, and their head."""

    @classmethod
    def fit(
        cls,
        contract: Contract,
        series: list[Floats],
        targets: Targets,
        *,
        settings: FilterSettings = FilterSettings(),
        threads: int | None = None,
        watch: Watch = lambda _: None,
    ) -> Self:
        """Fit to series f64 [T, F]. Causal filters can be streamed (`filter_stream`)."""
        if targets.sample_weight is not None:
            rows, targets = targets.weighed()
            series = [series[i] for i in rows]
        codes, numbers, weights = targets.codes, targets.numbers, targets.sample_weight
        series = known_series(contract, series)
        watch("filters")
        bank = StateFeatures.fit(series, **vars(settings), threads=threads)
        classes, heads, ridge = None, [], RidgeSettings(views=bank.views, threads=threads)
        patterns, which = _patterns(numbers)
        with limited(threads, len(series)):
            times = 2 * (len(patterns) + (codes is not None))  # each head weighs the views, then it is fitted
            features = _Features(bank, series, threads, times=times, watching=lambda: watch("filters"))
            if codes is not None:
                watch("classes")
                labelled = np.flatnonzero(codes >= 0)
                classes = ClassHead.fit(
                    features.of(labelled, lambda: watch("classes")),
                    codes[labelled],
                    n_classes=targets.n_classes,
                    sample_weight=_of(weights, labelled),
                    class_weight=targets.class_weight,
                    settings=ridge,
                )
            for k, known in enumerate(patterns):
                watch("numbers")
                assert numbers is not None
                columns, rows = np.flatnonzero(which == k), np.flatnonzero(known)
                some, of = numbers[np.ix_(rows, columns)], features.of(rows, lambda: watch("numbers"))
                head = NumberHead.fit(of, some, sample_weight=_of(weights, rows), settings=ridge)
                heads.append((columns, head))
        return cls(bank, contract, classes, heads)

    def class_scores(self, series: list[Floats], *, threads: int | None = None) -> Floats:
        """z [N, C - 1] of the head of classes."""
        assert self.classes is not None
        with limited(threads, len(series)):
            return self.classes.scores(self.bank.blocks(known_series(self.contract, series), threads=threads))

    def evidence(self, series: list[Floats], *, threads: int | None = None) -> list[Floats]:
        """What each step contributes to the score of each class, z·p_c/max(1, ‖z‖): [T, C] of each series.

        Over the steps it sums to the score. What belongs to no step, such as the means of the features, is spread
        evenly over the steps that are known; a step whose channels are all missing has nothing.
        """
        assert self.classes is not None
        found, linear = [], self.classes.ridge.linear
        with limited(threads, len(series)):
            for one in known_series(self.contract, series):
                features = self.bank.transform([one], threads=threads)[0]
                weights, constant = weights_of(linear, features)
                known = np.flatnonzero(~np.isnan(one).all(axis=1))
                even = known if len(known) else np.arange(len(one))
                shares = self.bank.evidence(one, weights, threads=threads)
                shares[even] += constant / max(len(even), 1)
                length = float(np.linalg.norm(shares.sum(axis=0)))
                found.append(inner_products(shares / max(1.0, length), self.classes.prototypes))
        return found

    def predicted(self, series: list[Floats], *, threads: int | None = None) -> Floats:
        """The numbers [N, K]."""
        series = known_series(self.contract, series)
        found = np.empty((len(series), sum(len(columns) for columns, _ in self.numbers)))
        with limited(threads, len(series)):
            every, features = np.arange(len(series)), _Features(self.bank, series, threads, times=len(self.numbers))
            for columns, head in self.numbers:
                found[:, columns] = head.scores(features.of(every)(every))
        return found

    def left_out_score(self) -> float:
        """Of training series, each predicted by the fit to all others: accuracy of classes, else mean R² of numbers.

        Numbers that are always the same do not count.
        """
        if self.classes is not None:
            return self.classes.left_out_accuracy()
        found = np.concatenate([head.left_out_r2() for _, head in self.numbers])
        return float(found[~np.isnan(found)].mean()) if not np.isnan(found).all() else float("nan")

    def strengths(self) -> Floats:
        """The ridge's strengths: [1] of the classes, else [K] of the numbers."""
        if self.classes is not None:
            return self.classes.ridge.strength[:1]
        found = np.empty(sum(len(columns) for columns, _ in self.numbers))
        for columns, head in self.numbers:
            found[columns] = head.ridge.strength
        return found

    # ---- to and from arrays

    def to_arrays(self) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
        """Everything as arrays by name and as JSON."""
        parts: dict[str, tuple[dict[str, NDArray[Any]], dict[str, Any]]] = {"filters": self.bank.to_arrays()}
        if self.classes is not None:
            parts["classes"] = self.classes.to_arrays()
        for k, (columns, head) in enumerate(self.numbers):
            inside, values = head.to_arrays()
            parts[f"numbers.{k}"] = inside | {"columns": columns}, values
        arrays = {
            f"{part}.{name}": _stored(array) for part, (inside, _) in parts.items() for name, array in inside.items()
        }
        of_parts = {part: values for part, (_, values) in parts.items()}
        return arrays, {"version": VERSION, "parts": of_parts, "contract": self.contract.to_json()}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]], values: Mapping[str, Any]) -> Self:
        """What `to_arrays` gave. Raises `CheckpointError` where something is missing or does not fit."""
        if values.get("version") != VERSION or not isinstance(values.get("parts"), Mapping):
            found = f"version {values.get('version')}"
            raise CheckpointError(problem("model of features", f"version {VERSION}", found, OTHER))
        parts: Mapping[str, Any] = values["parts"]

        def of(part: str) -> tuple[dict[str, NDArray[Any]], Mapping[str, Any]]:
            inside = {
                name.removeprefix(f"{part}."): array for name, array in arrays.items() if name.startswith(f"{part}.")
            }
            described = parts.get(part, {})
            if not isinstance(described, Mapping):
                raise CheckpointError(problem(part, "an object", shown(described), OTHER))
            return inside, described

        heads = []
        for part in sorted((name for name in parts if name.startswith("numbers.")), key=lambda name: (len(name), name)):
            inside, head = of(part)
            if "columns" not in inside:
                raise CheckpointError(problem(part, "columns", "nothing of this name", OTHER))
            heads.append((inside.pop("columns"), NumberHead.from_arrays(inside, head)))
        classes = ClassHead.from_arrays(*of("classes")) if "classes" in parts else None
        try:
            contract = Contract.from_json(values["contract"])
        except (DataError, KeyError) as error:
            raise CheckpointError(problem("contract", "the description of a data set", error, OTHER)) from None
        return cls(StateFeatures.from_arrays(*of("filters")), contract, classes, heads)

    def __getstate__(self) -> dict[str, Any]:
        """For pickling: what a checkpoint has."""
        arrays, values = self.to_arrays()
        return {"arrays": arrays, "values": values}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """The model that these are the arrays of."""
        if "arrays" not in state:
            found = "a model of features of an older release"
            raise CheckpointError(problem("pickle", "the arrays of a checkpoint", found, "fit it again"))
        for name, value in vars(self.from_arrays(state["arrays"], state["values"])).items():
            object.__setattr__(self, name, value)

    def save(
        self,
        folder: Path | str,
        *,
        step: int = 1,
        extra: Mapping[str, Any] | None = None,
        beside: Mapping[str, NDArray[Any]] | None = None,
    ) -> Path:
        """Write a checkpoint folder, whole or not at all; `load` returns the JSON `extra` and the arrays `beside`."""
        folder = Path(folder)
        arrays, values = self.to_arrays()
        contract = values.pop("contract")
        text = json.dumps({"model": values, "contract": contract, **(extra or {})})
        more = {name: _stored(array) for name, array in (beside or {}).items()}
        save_arrays(str(folder.parent), folder.name, step, KIND, arrays | more, text)
        return folder

    @classmethod
    def load(cls, folder: Path | str) -> "Loaded":
        """The model in a checkpoint: its folder, or that of a run or of checkpoints, the newest that verifies.

        Raises `CheckpointError` where there is none, for a damaged one, and for that of a backbone.

        >>> wave = [np.sin(np.arange(30.0) / (3 + i % 2))[:, None] for i in range(8)]
        >>> model = FilterModel.fit(Contract("features"), wave, Targets(np.arange(8) % 2, 2))
        >>> again = FilterModel.load(model.save("fitted")).model
        >>> bool((again.class_scores(wave) == model.class_scores(wave)).all())
        True
        """
        place, step, arrays, text, notes = load_arrays(str(folder), KIND)
        extra = from_json(text)
        if not isinstance(extra, dict) or not isinstance(extra.get("model"), dict):
            raise CheckpointError(problem(place, "a model of features", "something else", "load another checkpoint"))
        parts = extra["model"].get("parts")
        own = tuple(f"{one}." for one in parts) if isinstance(parts, dict) else ()
        beside = {name: array for name, array in arrays.items() if not name.startswith(own)}
        try:
            model = cls.from_arrays(arrays, extra.pop("model") | {"contract": extra.pop("contract", None)})
        except CheckpointError as error:
            raise CheckpointError(f"{place}: {error}") from None
        return Loaded(model, Path(place), step, extra, notes, beside)


@dataclass(frozen=True, eq=False)
class Loaded:
    """A model of features from a checkpoint."""

    model: FilterModel
    folder: Path
    step: int
    extra: dict[str, Any]
    """What was saved with it."""
    notes: list[str]
    """Why newer checkpoints were passed over."""
    beside: dict[str, NDArray[Any]]
    """Arrays that were saved with it."""


def known_series(contract: Contract, series: list[Floats]) -> list[Floats]:
    """Missing numbers by the rule of the contract; `mask` leaves them missing, which the filters leave out."""
    if contract.missing == "mask":
        return series
    return [contract.filled(one) for one in series]


class _Features:
    """Features of series, asked for so many times: computed once where they fit into `KEPT_BYTES`, else each time."""

    def __init__(
        self,
        bank: StateFeatures,
        series: list[Floats],
        threads: int | None,
        *,
        times: int,
        watching: Callable[[], None] = lambda: None,
    ) -> None:
        self._bank, self._series, self._threads = bank, series, threads
        self._kept: list[NDArray[np.float32]] | None = None
        if times > 1 and len(series) * bank.count * np.float32().nbytes <= KEPT_BYTES:
            self._kept = list(_watched(bank.blocks(series, threads=threads), watching))

    def of(self, chosen: Ints, watching: Callable[[], None] = lambda: None) -> Features:
        """Those of some of the chosen series; `watching` is called before each block."""

        def features(rows: NDArray[np.intp]) -> Iterator[NDArray[np.float32]]:
            if self._kept is not None:
                return _watched((block[chosen[rows]] for block in self._kept), watching)
            some = [self._series[i] for i in chosen[rows]]
            return _watched(self._bank.blocks(some, threads=self._threads), watching)

        return features


def _watched(blocks: Iterator[NDArray[np.float32]], watching: Callable[[], None]) -> Iterator[NDArray[np.float32]]:
    watching()
    for block in blocks:
        yield block
        watching()


def _patterns(numbers: Floats | None) -> tuple[NDArray[np.bool_], Ints]:
    """Which series [patterns, N] have the numbers of a column, without repetitions, and the pattern of each column."""
    if numbers is None:
        return np.empty((0, 0), np.bool_), np.empty(0, np.int64)
    patterns, which = np.unique(~np.isnan(numbers), axis=1, return_inverse=True)
    return patterns.T, which.reshape(-1)


def _stored(array: NDArray[Any]) -> NDArray[Any]:
    """An array in a type that checkpoints have."""
    return np.ascontiguousarray(array, np.int64) if array.dtype.kind in "iub" else np.ascontiguousarray(array)


def _of(values: Floats | None, rows: Ints) -> Floats | None:
    return None if values is None else values[rows]


def limited(threads: int | None, series: int) -> Any:  # noqa: ANN401 - a context
    """Keeps linear algebra to this number of threads, and to one for few series.

    For few series the threads would wait for each other longer than they compute, above all beside other programs; one
    thread gives the same bits whatever `threads` is.
    """
    if series <= FEW:
        return threadpool_limits(1)
    return nullcontext() if threads is None else threadpool_limits(threads)
