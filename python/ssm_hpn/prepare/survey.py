"""What has to be known about the training part before anything can be written.

Largest token id, number of features, classes, and mean and deviation of each feature, from one pass. The moments are
joined chunk by chunk as Chan, Golub and LeVeque do, in double precision:

    M2 = M2_a + M2_b + (mean_b - mean_a)² · n_a·n_b / (n_a + n_b)
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ssm_hpn.config.data import PrepareOptions
from ssm_hpn.errors import ConfigError
from ssm_hpn.prepare.encode import Normalization
from ssm_hpn.prepare.problems import config_error, data_error, listed, nearest, shown
from ssm_hpn.prepare.records import Label, Record

MOST_NAMES = 1_000_000


@dataclass
class Moments:
    """Count, mean and sum of squared deviations per feature."""

    count: int = 0
    mean: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))
    squares: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))

    def add(self, features: NDArray[np.float32]) -> None:
        """features [T, F]."""
        n, values = len(features), features.astype(np.float64)
        mean = values.mean(axis=0)
        squares = ((values - mean) ** 2).sum(axis=0)
        if not self.count:
            self.count, self.mean, self.squares = n, mean, squares
            return
        total, shift = self.count + n, mean - self.mean
        self.squares += squares + shift**2 * (self.count * n / total)
        self.mean += shift * (n / total)
        self.count = total

    def normalization(self) -> Normalization:
        """A feature that never changes is only shifted."""
        std = np.sqrt(self.squares / max(self.count, 1))
        flat = std <= 1e-12 * np.maximum(np.abs(self.mean), 1.0)
        return Normalization(self.mean, np.where(flat, 1.0, std))


@dataclass
class Classes:
    """Whole numbers are classes as they are; names are numbered in sorted order."""

    count: int
    names: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        """Index the names."""
        self._index = {name: index for index, name in enumerate(self.names or ())}

    def index(self, label: Label, record: Record, at: int | None = None) -> int:
        """Class of one label, -1 for none; `at` is its token or time step, where each has a label."""
        if label is None:
            return -1
        if self.names is not None:
            found = self._index.get(str(label))
            if found is not None:
                return found
            raise data_error(
                record.path,
                record.label_place(at),
                expected="a label of the training part",
                found=shown(label),
                advice=nearest(str(label), self.names),
            )
        if isinstance(label, str) or not -1 <= label < self.count:
            raise data_error(
                record.path,
                record.label_place(at),
                expected=f"a class from 0 to {self.count - 1} (-1: none)",
                found=shown(label),
                advice="raise --data.n_classes, correct it, or name the classes with texts",
            )
        return int(label)

    def indices(self, record: Record) -> NDArray[np.int32]:
        """Classes of the labels per token."""
        labels = record.labels if record.labels is not None else []
        if isinstance(labels, np.ndarray) and self.names is None:
            bad = np.flatnonzero((labels < -1) | (labels >= self.count))
            if not len(bad):
                return labels.astype(np.int32)
            return np.array([self.index(int(labels[bad[0]]), record, int(bad[0]))], np.int32)
        return np.array([self.index(label, record, i) for i, label in enumerate(labels)], np.int32)


@dataclass
class Survey:
    """What a pass over records found."""

    documents: int = 0
    units: int = 0
    kind: str = ""
    largest_id: int = -1
    n_features: int | None = None
    n_values: int | None = None
    labels: set[Label] = field(default_factory=set)
    per_token: bool = False
    """Whether the labels are those of tokens."""
    moments: Moments = field(default_factory=Moments)

    def add(self, record: Record) -> None:
        """Take in one training record."""
        self.documents += 1
        self.units += record.units
        self.kind = "features" if record.features is not None else "text" if record.text is not None else "tokens"
        if record.tokens is not None and len(record.tokens):
            self.largest_id = max(self.largest_id, int(record.tokens.max()))
        if record.features is not None:
            self.check_widths(record)
            self.moments.add(record.features)
        if record.values is not None:
            self.n_values = len(record.values)
        if record.labels is not None:
            self.per_token = True
            labels = record.labels
            self.labels.update(np.unique(labels).tolist() if isinstance(labels, np.ndarray) else labels)
        else:
            self.labels.add(record.label)
        if len(self.labels) > MOST_NAMES:
            raise data_error(
                record.path,
                record.label_place(),
                expected=f"at most {MOST_NAMES} classes",
                found="more",
                advice="numbers to predict go into --data.columns.values",
            )

    def check_widths(self, record: Record) -> None:
        """Every document has the same number of features."""
        width = record.features.shape[1] if record.features is not None else 0
        if self.n_features is None:
            self.n_features = width
        if width != self.n_features:
            raise data_error(
                record.path,
                record.at,
                expected=f"{self.n_features} features as in the documents before",
                found=width,
                advice="all documents need the same channels",
            )

    def classes(self, options: PrepareOptions) -> Classes:
        """The classes of the labels seen."""
        labels = self.labels - {None}
        if any(isinstance(label, str) for label in labels):
            names = tuple(sorted(map(str, labels)))
            if options.n_classes is not None and options.n_classes != len(names):
                raise _class_count(options.n_classes, names)
            return Classes(len(names), names)
        largest = max((int(label) for label in labels if label is not None), default=0)
        return Classes(options.n_classes or largest + 1)


def survey(records: Iterable[Record]) -> Survey:
    """One pass over the training part."""
    result = Survey()
    for record in records:
        result.add(record)
    return result


def _class_count(asked: int, names: tuple[str, ...]) -> ConfigError:
    return config_error(
        "data.n_classes",
        expected=f"{len(names)}, one for each of the labels {listed(list(names))}",
        found=asked,
        advice="drop --data.n_classes",
    )
