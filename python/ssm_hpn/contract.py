"""The contract of a data set: fixed when it is prepared, stored in its manifest and in every checkpoint trained on it.

Columns with their roles and statistics, classes, the scale of the numbers to predict, what stands for missing numbers,
and how text becomes ids. Every later command treats new input by it, so that a model never depends on the folder it was
trained on. Nothing here reads files.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any, Final, Literal, Self, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import TypeAdapter, ValidationError

from ssm_hpn.classes import SHOWN, Classes, Value
from ssm_hpn.columns import Column, Missing, PartSizes, Scale, column_line, number_line, part_line, rounded
from ssm_hpn.counts import counted
from ssm_hpn.errors import DataError, problem, shown
from ssm_hpn.moments import Moments
from ssm_hpn.origin import Origin
from ssm_hpn.targets import target_columns
from ssm_hpn.texts import ByteChannels

DataKind = Literal["tokens", "features"]
Floats = NDArray[np.float64]

FAR_OUT: Final = 100.0
"""Root mean square of a standardised feature, 1 in training, above which a note is given."""


@dataclass(frozen=True)
class Contract:
    """The contract of a data set.

    >>> contract = Contract(kind="features", columns=(Column("x", "feature", mean=1.0, std=2.0),))
    >>> contract.channels([[1.0], [5.0]]).tolist()
    [[0.0], [2.0]]
    """

    kind: DataKind
    columns: tuple[Column, ...] = ()
    """In the order of the data; those with role `feature` are the channels' order."""
    classes: Classes | None = None
    scale: Scale | None = None
    encoder: Mapping[str, Any] = field(default_factory=dict)
    """The encoder of text to ids: `kind`, `vocab_size`, and under `text` the content of a tokenizer.json.

    Where texts become features, the fixed random `channels` of a byte and their `seed` (`ssm_hpn.texts`).
    """
    missing: Missing = "mask"
    """Policy for missing numbers."""
    normalised: bool = True
    """Whether channels are shifted and scaled."""
    format: str = "arrays"
    options: Mapping[str, Any] = field(default_factory=dict)
    """The settings of preparation that decide what a document is: columns, format, separators."""
    parts: Mapping[str, PartSizes] = field(default_factory=dict)
    held_out: str = ""
    """The held-out part and the rule by which it was chosen, in words."""
    left_out: tuple[tuple[str, str], ...] = ()
    """Files (and rows) that were not read, with the reason."""
    notes: tuple[str, ...] = ()
    """Notes about guesses and doubtful data."""
    origin: Origin | None = None
    """What it was made from; None for tables in memory, and for data of earlier versions."""

    def __post_init__(self) -> None:
        """Refuse a kind of data that this release does not know."""
        if self.kind not in get_args(DataKind):
            raise ValueError(f"the kind {self.kind!r}")

    # ---- features

    @property
    def features(self) -> tuple[Column, ...]:
        """The columns that become channels."""
        return tuple(column for column in self.columns if column.role == "feature")

    @property
    def values(self) -> tuple[Column, ...]:
        """The columns of numbers to predict, in the order of the model's answers."""
        return tuple(column for column in self.columns if column.role == "value")

    @property
    def value_names(self) -> list[str]:
        """Name of each number to predict."""
        return [column.name for column in self.values]

    @property
    def n_channels(self) -> int:
        """Channels per time step: the features, then two for each column with an indicator."""
        return len(self.features) + 2 * sum(column.indicator for column in self.features)

    @property
    def channel_names(self) -> list[str]:
        """Name of each channel."""
        flagged = [column.name for column in self.features if column.indicator]
        return [
            *(column.name for column in self.features),
            *(f"{name} missing" for name in flagged),
            *(f"{name} since seen" for name in flagged),
        ]

    @property
    def shift(self) -> tuple[Floats, Floats]:
        """Mean and deviation of every channel, [C] each; 0 and 1 for those that are not normalised."""
        flags = [0.0] * (self.n_channels - len(self.features))
        mean = [(column.mean or 0.0) if self.normalised else 0.0 for column in self.features]
        std = [(column.std or 1.0) if self.normalised else 1.0 for column in self.features]
        return np.array([*mean, *flags]), np.array([*std, *(1.0 for _ in flags)])

    def channels(self, raw: ArrayLike) -> NDArray[np.float32]:
        """Channels of one document's raw features.

        Parameters
        ----------
        raw
            [T, F] in the user's units, NaN where a number is missing.

        Returns
        -------
        [T, C]: the features shifted and scaled in double precision, with what `missing` says in place of missing
        ones; then for each column with an indicator 1 where the number is missing, and then log(1 + steps since the
        number was last seen), counted from before the first step.

        Raises `DataError` for another number of columns, for a missing number under `refuse`, and for one so large that
        it cannot be scaled.
        """
        x = np.asarray(raw, np.float64)
        if x.ndim != 2 or x.shape[1] != len(self.features):
            names = ", ".join(column.name for column in self.features[:SHOWN])
            expected = f"{counted(len(self.features), 'number')} per time step ({names})"
            raise DataError(
                problem("features", expected, f"shape {list(x.shape)}", "give the columns of the training data")
            )
        absent = np.isnan(x)
        mean, std = (each[: x.shape[1]] for each in self.shift)
        x = self.filled(x)
        with np.errstate(over="ignore"):
            y = ((x - mean) / std).astype(np.float32)
        if (beyond := np.isinf(y) & np.isfinite(x)).any():
            row, k = (int(index) for index in np.argwhere(beyond)[0])
            of = f"mean {rounded(mean[k])} and deviation {rounded(std[k])}"
            expected = f"a number of which single precision can hold the multiple of the deviation ({of})"
            found = rounded(x[row, k])
            raise DataError(
                problem(self.features[k].name, expected, found, "give it in the units of the training data")
            )
        flagged = [k for k, column in enumerate(self.features) if column.indicator]
        if not flagged:
            return y
        gone = absent[:, flagged]
        since = steps_since(~gone)
        return np.concatenate([y, gone.astype(np.float32), np.log1p(since).astype(np.float32)], axis=1)

    def series(self, channels: ArrayLike) -> Floats:
        """Raw features [T, F] in double precision of the channels [T, C] of one document, which `channels` gave.

        Of texts that are read as features also of the ids [T] of their bytes. NaN where an indicator says that a number
        is missing; without one there is what `missing` put in its place.

        >>> speed = Column("speed", "feature", mean=1.0, std=2.0, missing=1, indicator=True)
        >>> contract = Contract("features", (speed,))
        >>> contract.series(contract.channels([[5.0], [np.nan]])).ravel().tolist()
        [5.0, nan]
        """
        y = np.asarray(channels, np.float64)
        if y.ndim == 1 and "seed" in self.encoder:
            return ByteChannels.from_encoder(self.encoder).series([y.astype(np.uint8).tobytes()])[0]
        if y.ndim != 2 or y.shape[1] != self.n_channels:
            expected, found = counted(self.n_channels, "channel"), f"shape {list(y.shape)}"
            raise DataError(problem("features", expected, found, "give the columns of the training data"))
        count = len(self.features)
        mean, std = (each[:count] for each in self.shift)
        x = y[:, :count] * std + mean
        flagged = [k for k, column in enumerate(self.features) if column.indicator]
        if flagged:
            gone = y[:, count : count + len(flagged)] > 0.5
            x[:, flagged] = np.where(gone, np.nan, x[:, flagged])
        return x

    def filled(self, x: Floats) -> Floats:
        """Raw features [T, F] with what `missing` says in place of missing ones; for `mask` the mean of the column.

        Raises `DataError` for a missing number under `refuse`.

        >>> contract = Contract("features", (Column("speed", "feature", mean=3.0),), missing="forward")
        >>> contract.filled(np.array([[np.nan], [5.0], [np.nan]])).ravel().tolist()
        [3.0, 5.0, 5.0]
        """
        absent = np.isnan(x)
        if not absent.any():
            return x
        if self.missing == "refuse":
            step, k = (int(i[0]) for i in np.nonzero(absent))
            at = f"step {step}, column {self.features[k].name!r}"
            raise DataError(problem(at, "a number", "a missing one", "set data.missing to mask, forward or zero"))
        if self.missing == "zero":
            return np.where(absent, 0.0, x)
        means = np.array([column.mean or 0.0 for column in self.features])
        if self.missing == "forward":
            last = np.maximum.accumulate(np.where(absent, -1, np.arange(len(x))[:, None]), axis=0)
            seen = np.take_along_axis(x, np.maximum(last, 0), axis=0)
            return np.where(last < 0, means, seen)
        return np.where(absent, means, x)

    def far_out(self, seen: Moments) -> Iterator[str]:
        """Features whose numbers are nothing like those of the training data, a sentence each.

        `seen` are the statistics of raw features [F].

        >>> speed = Column("speed", "feature", mean=3.0, std=1.5, minimum=1.0, maximum=6.0)
        >>> list(Contract("features", (speed,)).far_out(Moments.of(np.array([[1000.0], [2000.0]]))))
        ['column speed: numbers from 1000 to 2000, in the training data from 1 to 6; is the unit the same?']
        """
        for k, column in enumerate(self.features if self.normalised else ()):
            if column.mean is None or not column.std or not seen.count[k]:
                continue
            seen_by_model = np.hypot(seen.mean[k] - column.mean, seen.std[k]) / column.std
            if seen_by_model > FAR_OUT:
                there = f"from {rounded(float(seen.minimum[k]))} to {rounded(float(seen.maximum[k]))}"
                trained = f"from {rounded(column.minimum)} to {rounded(column.maximum)}"
                yield f"column {column.name}: numbers {there}, in the training data {trained}; is the unit the same?"

    def constant_note(self) -> str | None:
        """The features that are constant in the training part, with their values; None where there is none.

        >>> flat = Column("flat", "feature", mean=4.0, std=1.0, minimum=4.0, maximum=4.0)
        >>> Contract("features", (flat,)).constant_note()
        'constant in the training part: flat (4)'
        """
        still = [f"{column.name} ({rounded(column.mean)})" for column in self.features if column.constant]
        more = f" and {len(still) - SHOWN} more" if len(still) > SHOWN else ""
        return f"constant in the training part: {', '.join(still[:SHOWN])}{more}" if still else None

    def unseen_gaps(self, raw: ArrayLike) -> dict[str, int]:
        """Counts by column of missing numbers in raw features [T, F] that become the mean and have no indicator.

        >>> from math import nan
        >>> from ssm_hpn.columns import Column
        >>> from ssm_hpn.contract import Contract
        >>> Contract("features", (Column("x", "feature", mean=1.0, std=2.0),)).unseen_gaps([[nan], [2.0], [nan]])
        {'x': 2}
        """
        if self.missing != "mask":
            return {}
        counts = np.isnan(np.asarray(raw, np.float64)).sum(axis=0).tolist()
        return {
            column.name: count
            for column, count in zip(self.features, counts, strict=True)
            if count and not column.indicator
        }

    # ---- numbers to predict

    def scale_values(self, values: ArrayLike) -> Floats:
        """Numbers to predict [..., K] as the model learns them; unchanged where the data has no scale.

        >>> from ssm_hpn.columns import Scale
        >>> from ssm_hpn.contract import Contract
        >>> contract = Contract("features", scale=Scale((200.0,), (100.0,)))
        >>> contract.scale_values([[300.0]]).tolist(), contract.unscale_values([[1.0]]).tolist()
        ([[1.0]], [[300.0]])
        """
        return np.asarray(values, np.float64) if self.scale is None else self.scale.scaled(values)

    def unscale_values(self, values: ArrayLike) -> Floats:
        """Predicted numbers [..., K] in the user's units.

        >>> from ssm_hpn.columns import Scale
        >>> from ssm_hpn.contract import Contract
        >>> Contract("features", scale=Scale((200.0,), (100.0,))).unscale_values([[1.0]]).tolist()
        [[300.0]]
        """
        return np.asarray(values, np.float64) if self.scale is None else self.scale.unscaled(values)

    def check_numbers(self) -> None:
        """Refuse divisors that are not above 0, and lists that are not as long as those that they go with.

        >>> Contract("features", (Column("x", "feature", mean=0.0, std=-1.0),)).check_numbers()
        Traceback (most recent call last):
        ValueError: column x with std -1.0
        """
        for column in self.columns:
            if column.std is not None and not column.std > 0:
                raise ValueError(f"column {column.name} with std {column.std}")
        if self.scale is not None:
            mean, std = self.scale.mean, self.scale.std
            if len(mean) != len(std) or not all(one > 0 for one in std):
                raise ValueError(f"a scale of {counted(len(mean), 'mean')} and std {shown(std)}")
        if self.classes is not None and len(self.classes.values) != len(self.classes.counts):
            number = counted(len(self.classes.values), "class", "classes")
            raise ValueError(f"{counted(len(self.classes.counts), 'count')} of {number}")

    # ---- to and from JSON

    def to_json(self) -> dict[str, Any]:
        """Plain objects for `json.dumps`.

        >>> import json
        >>> from ssm_hpn.columns import Column
        >>> from ssm_hpn.contract import Contract
        >>> contract = Contract("features", (Column("x", "feature", mean=1.0, std=2.0),))
        >>> Contract.from_json(json.dumps(contract.to_json())) == contract
        True
        """
        return asdict(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Any] | str) -> Self:
        """The contract that `to_json` gave. Raises `DataError` for anything else.

        >>> from ssm_hpn.contract import Contract
        >>> Contract.from_json('{"kind": "tokens", "encoder": {"kind": "bytes", "vocab_size": 256}}').encoder
        {'kind': 'bytes', 'vocab_size': 256}
        """
        try:
            found: dict[str, Any] = dict(json.loads(value) if isinstance(value, str) else value)
            contract = cls(
                **found
                | {
                    "columns": tuple(Column(**column) for column in found.get("columns", ())),
                    "classes": _optional(Classes, found.get("classes")),
                    "scale": _optional(Scale, found.get("scale")),
                    "origin": _optional(Origin, found.get("origin")),
                    "parts": {name: PartSizes(**part) for name, part in found.get("parts", {}).items()},
                    "left_out": tuple((str(a), str(b)) for a, b in found.get("left_out", ())),
                    "notes": tuple(found.get("notes", ())),
                }
            )
            _checked_types().validate_python(asdict(contract))
            contract.check_numbers()
        except ValidationError as error:
            row = error.errors(include_url=False, include_context=False)[0]
            place = ".".join(str(part) for part in row["loc"])
            found_there = f"{place} {shown(row['input'])} ({row['msg']})"
            advice = "prepare the data again with this release"
            raise DataError(problem("contract", "the description of a data set", found_there, advice)) from None
        except (TypeError, ValueError, KeyError, AttributeError) as error:
            advice = "prepare the data again with this release"
            raise DataError(problem("contract", "the description of a data set", str(error), advice)) from None
        return contract

    @classmethod
    def from_manifest(cls, manifest: Mapping[str, Any], folder: Path | str) -> Self:
        """The contract of a prepared folder; for a folder of an older release it is built from the manifest.

        >>> from pathlib import Path
        >>> from ssm_hpn.contract import Contract
        >>> Contract.from_manifest({"kind": "features", "n_features": 2}, Path("data/train")).channel_names
        ['feature 0', 'feature 1']
        """
        stored = manifest.get("contract")
        if stored:
            return cls.from_json(stored)
        encoder = dict(manifest.get("encoder") or {})
        if encoder.get("kind") == "tokenizer":
            encoder["text"] = (Path(folder) / encoder["file"]).read_text(encoding="utf-8")
        source = manifest.get("source") or {}
        normal = manifest.get("normalisation")
        width = manifest.get("n_features") or 0
        names = manifest.get("feature_names") or [f"feature {k}" for k in range(width)]
        mean, std = (normal["mean"], normal["std"]) if normal else ([None] * width, [None] * width)
        count, classes = manifest.get("n_classes"), manifest.get("class_names")
        kinds = cls(
            kind=manifest["kind"],
            columns=tuple(Column(n, "feature", mean=m, std=s) for n, m, s in zip(names, mean, std, strict=True)),
            encoder=encoder,
            normalised=normal is not None,
            format=str(source.get("format", "arrays")),
            options=dict(source.get("options") or {}),
        )
        if not count:
            return kinds
        values: tuple[Value, ...] = tuple(classes) if classes else tuple(range(count))
        return replace(kinds, classes=Classes(values, "text" if classes else "integer", (0,) * count))

    # ---- as text

    def describe(self) -> list[str]:
        """Everything, a line each: what `inspect` prints.

        >>> from ssm_hpn.columns import Column
        >>> from ssm_hpn.contract import Contract
        >>> contract = Contract("features", (Column("x", "feature", mean=1.0, std=2.0, minimum=-3.0, maximum=5.0),))
        >>> contract.describe()[-1]
        'column     x: feature, number, 1 ± 2, from -3 to 5'
        """
        return [
            *self.summary(),
            *([f"in all     {self._total_line()}"] if self.parts else []),
            *([f"made from  {_listed(list(self.origin.train), SHOWN)}"] if self.origin and self.origin.train else []),
            *(f"column     {line}" for line in map(column_line, self.columns)),
            *(f"class      {name}: {count}" for name, count in _class_lines(self.classes)),
            *(f"left out   {name}: {reason}" for name, reason in self.left_out),
            *(f"note       {note}" for note in self.notes),
        ]

    def summary(self) -> list[str]:
        """Five lines: what `train` prints.

        >>> from ssm_hpn.columns import Column
        >>> from ssm_hpn.contract import Contract
        >>> for line in Contract("features", (Column("x", "feature", mean=1.0, std=2.0),)).summary():
        ...     print(line)
        documents  not counted
        input      arrays, 1 feature (x), shifted and scaled
        target     none
        missing    no numbers
        left out   nothing
        """
        parts = "; ".join(f"{name} {part_line(part, self.kind)}" for name, part in self.parts.items())
        return [
            f"documents  {parts or 'not counted'}{f'; held out: {self.held_out}' if self.held_out else ''}",
            f"input      {self._input_line()}",
            f"target     {self._target_line()}",
            f"missing    {self._missing_line()}",
            f"left out   {_listed([f'{n} ({why})' for n, why in self.left_out], 3) if self.left_out else 'nothing'}",
        ]

    def _total_line(self) -> str:
        unit = "token" if self.kind == "tokens" else "time step"
        return "; ".join(f"{name} {counted(part.units, unit)}" for name, part in self.parts.items())

    def _input_line(self) -> str:
        if self.kind == "tokens":
            kind, size = self.encoder.get("kind", "ids"), self.encoder.get("vocab_size")
            return f"{self.format}, {kind}, {'? ids' if size is None else counted(size, 'id')}"
        if "seed" in self.encoder:
            return f"{self.format}, texts as {counted(len(self.features), 'fixed random channel')} of their bytes"
        names = _listed([column.name for column in self.features], SHOWN)
        rest = ", shifted and scaled" if self.normalised else ""
        keys = "".join(f", {c.role} {c.name} ({c.type})" for c in self.columns if c.role in ("id", "order"))
        return f"{self.format}, {counted(len(self.features), 'feature')} ({names}){rest}{keys}"

    def _target_line(self) -> str:
        found = [] if self.classes is None else [self._classes_line(self.classes)]
        found += [_listed([number_line(column) for column in self.values], SHOWN)] if self.values else []
        return "; ".join(found) or ("the next token" if self.kind == "tokens" else "none")

    def _classes_line(self, classes: Classes) -> str:
        """The label column, its classes with their counts, and how much has no label."""
        labels = [column for column in self.columns if column.role in target_columns("class")]
        named = "".join(f"{column.name}, " for column in labels)
        shown = _listed([f"{name} {count}" for name, count in _class_lines(classes)], SHOWN)
        without = sum(column.missing for column in labels)
        tail = f" ({without} without a label)" if without else ""
        return f"{named}{counted(len(classes), 'class', 'classes')} ({classes.type}): {shown}{tail}"

    def _missing_line(self) -> str:
        gaps = [f"{c.name} {c.missing}" for c in self.features if c.missing]
        return f"{_listed(gaps, SHOWN)} ({self.missing})" if gaps else "no numbers"


@cache
def _checked_types() -> TypeAdapter[Contract]:
    """What compares the types of all fields, inside of columns, classes and parts too."""
    return TypeAdapter(Contract)


def _optional(kind: Any, value: Any) -> Any:  # noqa: ANN401 - one of the dataclasses above
    """A dataclass of tuples from its JSON, or None."""
    if value is None:
        return None
    return kind(**{key: tuple(one) if isinstance(one, list) else one for key, one in value.items()})


def steps_since(there: NDArray[np.bool_], before: NDArray[np.int64] | int = 0) -> NDArray[np.int64]:
    """[T, F] steps since the last true of the column, which was `before` steps before the one before the first.

    >>> steps_since(np.array([[False], [True], [False]]), 4).ravel().tolist()
    [5, 0, 1]
    """
    steps = np.arange(len(there))[:, None]
    return steps - np.maximum.accumulate(np.where(there, steps, -1 - np.asarray(before)), axis=0)


def _class_lines(classes: Classes | None) -> list[tuple[str, int]]:
    return [] if classes is None else list(zip(classes.names, classes.counts, strict=True))


def _listed(names: list[str], limit: int) -> str:
    """The first of some names, and how many more there are."""
    more = len(names) - limit
    return ", ".join(names[:limit]) + (f" and {more} more" if more > 0 else "")
