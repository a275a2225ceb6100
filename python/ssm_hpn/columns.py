"""What a contract of data is made of: columns with statistics, the scale of numbers to predict, sizes of parts."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ssm_hpn.counts import counted
from ssm_hpn.moments import Moments

Missing = Literal["mask", "forward", "zero", "refuse"]
Role = Literal["text", "tokens", "feature", "id", "order", "label", "labels", "value", "lengths"]
Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a table, or one array.

    >>> from ssm_hpn.columns import Column
    >>> speed = Column("speed", "feature", mean=3.0, std=1.5)
    >>> speed.type, speed.indicator
    ('number', False)
    """

    name: str
    role: Role
    type: str = "number"
    """Type of its values: number, integer, text, time of day, date, timestamp, ..."""
    unit: str | None = None
    """Unit of an order column: the meaning of a difference of 1."""
    missing: int = 0
    """Cells without a value in the training part."""
    mean: float | None = None
    std: float | None = None
    """Divisor of the shifted column; 1 where it is constant."""
    minimum: float | None = None
    maximum: float | None = None
    indicator: bool = False
    """Whether it has two more channels: whether the number is missing, and for how long."""

    @property
    def constant(self) -> bool:
        """Whether its numbers differ by no more than rounding, so that its divisor says nothing about them."""
        if self.minimum is None or self.maximum is None or self.std != 1.0:
            return False
        return self.maximum - self.minimum <= 2 * math.ulp(max(abs(self.minimum), abs(self.maximum)))


def measured_columns(
    names: Iterable[str], moments: Moments, role: Role, missing: Missing = "refuse"
) -> tuple[Column, ...]:
    """Columns of numbers from their statistics in the training part; under `mask` those with gaps get an indicator.

    >>> moments = Moments.of(np.array([[1.0, 5.0], [3.0, np.nan]]))
    >>> columns = measured_columns("ab", moments, "feature", "mask")
    >>> [(column.mean, column.std, column.indicator) for column in columns]
    [(2.0, 1.0, False), (5.0, 1.0, True)]
    """
    scale = moments.scale()
    return tuple(
        Column(
            name,
            role,
            missing=int(moments.missing[k]),
            mean=float(moments.mean[k]),
            std=float(scale[k]),
            minimum=float(moments.minimum[k]) if moments.count[k] else None,
            maximum=float(moments.maximum[k]) if moments.count[k] else None,
            indicator=missing == "mask" and bool(moments.missing[k]),
        )
        for k, name in enumerate(names)
    )


@dataclass(frozen=True)
class Scale:
    """Numbers to predict: y' = (y - mean) / std, by the training part, in double precision.

    >>> import numpy as np
    >>> from ssm_hpn.columns import Scale
    >>> from ssm_hpn.moments import Moments
    >>> scale = Scale.of(Moments.of(np.array([[100.0], [300.0]])))
    >>> scale.scaled([[100.0], [400.0]]).tolist(), scale.unscaled([[0.5]]).tolist()
    ([[-1.0], [2.0]], [[250.0]])
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]
    """Above 0; 1 for a constant."""

    @classmethod
    def of(cls, moments: Moments) -> Self:
        """The scale of numbers with these statistics."""
        return cls(tuple(moments.mean.tolist()), tuple(moments.scale().tolist()))

    def scaled(self, values: ArrayLike) -> Floats:
        """values [..., K] in the user's units as the model learns them."""
        return (np.asarray(values, np.float64) - self.mean) / self.std

    def unscaled(self, values: ArrayLike) -> Floats:
        """Predictions of the model [..., K] in the user's units."""
        return np.asarray(values, np.float64) * self.std + self.mean


@dataclass(frozen=True)
class PartSizes:
    """Sizes of the training or of the held-out part.

    >>> from ssm_hpn.columns import PartSizes
    >>> PartSizes(documents=2, units=100, shortest=40, longest=60, text_bytes=350).bytes_per_token
    3.5
    """

    documents: int
    units: int
    """Tokens or time steps."""
    shortest: int
    longest: int
    text_bytes: int | None = None
    """Bytes of the text (UTF-8) that its tokens stand for, where a tokenizer made them."""

    @property
    def bytes_per_token(self) -> float | None:
        """Mean bytes of text of a token, where a tokenizer made them."""
        return self.text_bytes / self.units if self.text_bytes and self.units else None


def part_line(part: PartSizes, kind: str) -> str:
    """How many documents of which lengths, of this kind of data.

    >>> part_line(PartSizes(documents=2, units=100, shortest=40, longest=60), "tokens")
    '2 of 40 to 60 tokens'
    """
    lengths = "" if part.shortest == part.longest else f"{part.shortest:,} to "
    return f"{part.documents:,} of {lengths}{counted(part.longest, 'token' if kind == 'tokens' else 'time step')}"


def number_line(column: Column) -> str:
    """A number to predict: its name, mean and deviation.

    >>> number_line(Column("load", "value", mean=3.0, std=1.5, missing=2))
    'load 3 ± 1.5 (2 missing)'
    """
    missing = f" ({column.missing} missing)" if column.missing else ""
    shown = f"constant at {rounded(column.mean)}" if column.constant else measured(column.mean, column.std)
    return f"{column.name} {shown}{missing}"


def column_line(column: Column) -> str:
    """Everything about a column.

    >>> column_line(Column("t", "order", "timestamp", unit="second"))
    't: order, timestamp, in second'
    """
    facts = [f"{column.name}: {column.role}, {column.type}"]
    if column.unit:
        facts.append(f"in {column.unit}")
    mean, std = column.mean, column.std
    if column.constant:
        facts.append(f"constant at {rounded(mean)}")
    elif mean is not None and std is not None:
        facts.append(measured(mean, std))
    if not column.constant and column.minimum is not None and column.maximum is not None:
        facts.append(f"from {rounded(column.minimum, std)} to {rounded(column.maximum, std)}")
    if column.missing:
        facts.append(f"{column.missing} missing{', with an indicator' if column.indicator else ''}")
    return ", ".join(facts)


def measured(mean: float | None, std: float | None) -> str:
    """A mean and a deviation, with the digits that the deviation makes meaningful.

    >>> measured(250000.0, 50000.0), measured(1700000003.0125, 0.5)
    ('250000 ± 50000', '1700000003.0125 ± 0.5')
    """
    return f"{rounded(mean, std)} ± {rounded(std)}"


def rounded(number: float | None, step: float | None = None) -> str:
    """A number with six digits, or with as many as show a ten-thousandth of a step.

    >>> from ssm_hpn.columns import rounded
    >>> rounded(1 / 3), rounded(1700000003.0125, 0.5), rounded(None)
    ('0.333333', '1700000003.0125', '?')
    """
    if number is None:
        return "?"
    digits = 6
    if number and step and math.isfinite(number) and math.isfinite(step):
        digits = max(digits, min(math.floor(math.log10(abs(number))) - math.floor(math.log10(step)) + 5, 17))
    return f"{number:.{digits}g}"
