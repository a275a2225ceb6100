"""Opens one part of a data set, from the installed packages that carry it; nothing is downloaded.

The training part is all that a process can open after `close_tests`: what chooses defaults calls it first.
"""

from __future__ import annotations

import importlib.util
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from quality.sets import KEPT, DataSet

Part = Literal["train", "test"]
Floats = NDArray[np.float64]

_tests_closed = False


@dataclass(frozen=True, slots=True)
class Labelled:
    """Series with what is to be predicted of each."""

    series: list[Floats]
    """[T, F] each, NaN where a value is missing."""
    labels: NDArray[Any]
    """[N] text or whole numbers of classes, or numbers."""

    @property
    def equal(self) -> bool:
        """Whether all series have one length."""
        return len({len(one) for one in self.series}) == 1

    def inputs(self) -> Floats | list[Floats]:
        """As estimators take it: [N, T, F] where lengths are equal, else the list."""
        return np.stack(self.series) if self.equal else self.series


def close_tests() -> None:
    """From here on this process cannot open a test part, nor any file that is named as one; there is no way back."""
    global _tests_closed  # noqa: PLW0603 - a fact about the process
    _tests_closed = True
    sys.addaudithook(_refuse_tests)


def _refuse_tests(event: str, arguments: tuple[Any, ...]) -> None:
    if event == "open" and "_TEST." in str(arguments[0]):
        raise PermissionError(f"{arguments[0]}: test parts are closed in this process")


def load(data: DataSet, part: Part) -> Labelled:
    """The training or the test part by the default split."""
    if data.name in KEPT:
        raise PermissionError(f"{data.name}: this set is kept for judging and not opened here")
    if part == "test" and _tests_closed:
        raise PermissionError(f"{data.name}: test parts are closed in this process")
    if data.package == "scikit-learn":
        return digits(part)
    folder = package_folder(data.package)
    if data.package == "aeon":
        return read_ts(folder / "datasets" / "data" / data.name / f"{data.name}_{part.upper()}.ts", data)
    path = folder / "data" / f"{data.name}_{part.upper()}.tsv"
    return read_tsv(path, unequal=data.group == "unequal")


def package_folder(package: str) -> Path:
    """Folder of an installed package, without importing it."""
    found = importlib.util.find_spec(package.replace("-", "_"))
    if found is None or found.origin is None:
        raise SystemExit(f"{package} is not installed in this environment; `make quality` makes one that has it")
    return Path(found.origin).parent


def read_tsv(path: Path, *, unequal: bool) -> Labelled:
    """A file of the UCR archive: a line per series, its class first, then its values.

    In sets of unequal length NaN behind the last value is the end of the series; elsewhere it is a missing value.
    """
    table = np.genfromtxt(path, delimiter="\t", ndmin=2)
    series = []
    for row in table[:, 1:]:
        end = np.flatnonzero(~np.isnan(row))[-1] + 1 if unequal else len(row)
        series.append(row[:end, None])
    return Labelled(series, table[:, 0].astype(np.int64))


def read_ts(path: Path, data: DataSet) -> Labelled:
    """A file of aeon's format."""
    from aeon.datasets import load_from_ts_file

    values, labels = load_from_ts_file(str(path))
    labels = np.asarray(labels, np.float64 if data.metric == "rmse" else str)
    return Labelled([np.ascontiguousarray(one.T, np.float64) for one in values], labels)


def digits(part: Part) -> Labelled:
    """scikit-learn's 1,797 images of 8 × 8 as series of 64 steps; every third one is in the test part."""
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    chosen = (np.arange(len(images)) % 3 == 2) == (part == "test")
    return Labelled(list(images[chosen][:, :, None]), labels[chosen])
