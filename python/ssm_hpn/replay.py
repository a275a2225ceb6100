"""A bounded memory of labelled series: of each class a uniform sample of all that were seen.

The sample is that of reservoir sampling (algorithm R of Vitter, 1985): the n-th series of a class takes the place of a
random one of m with probability m/n. Its random numbers follow from (seed, class, n), so that the memory is a function
of what was seen.

With a part of new series, `draw` gives series of the memory such that each class counts as much as an average class of
the part: those that the part has too few of, or none, are drawn again and again in random order.
"""

import base64
import io
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray

from ssm_hpn.errors import CheckpointError, problem

Floats = NDArray[np.float64]
Rows = dict[str, NDArray[Any]]

CLASS: Final = "sequence_class"
"""The array with the class of each series, -1 for none."""
UNREADABLE: Final = (
    LookupError, TypeError, AttributeError, ValueError, OSError, EOFError, zipfile.BadZipFile, zlib.error,
)  # fmt: skip
"""Errors of base64, of numpy and of its zip files about damaged texts."""
MOST: Final = 4
"""Most series that are drawn for one of a part."""


@dataclass(frozen=True, eq=False)
class Kept:
    """A series [T, F] and its entry of each array of targets."""

    series: Floats
    targets: Mapping[str, Any]


@dataclass(eq=False)
class Replay:
    """At most `per_class` series of each class.

    >>> memory = Replay(per_class=2, seed=0)
    >>> series = [np.full((3, 1), float(n)) for n in range(10)]
    >>> memory.add(series, {CLASS: np.arange(10) % 2})
    >>> {code: len(kept) for code, kept in memory.kept.items()}, memory.seen
    ({0: 2, 1: 2}, {0: 5, 1: 5})

    For six series of a new class, six of each of the two old ones:

    >>> drawn, targets = memory.draw(np.full(6, 2), seed=1)
    >>> len(drawn), np.bincount(targets[CLASS]).tolist()
    (12, [6, 6])
    >>> Replay.from_json(memory.to_json()).draw(np.full(6, 2), seed=1)[1][CLASS].tolist() == targets[CLASS].tolist()
    True
    """

    per_class: int
    seed: int
    kept: dict[int, list[Kept]] = field(default_factory=dict)
    """By class."""
    seen: dict[int, int] = field(default_factory=dict)
    """Series of each class so far."""

    def add(self, series: Sequence[Floats], targets: Rows) -> None:
        """Add series [T, F] with entries of `targets`, their classes among them."""
        for n, (one, code) in enumerate(zip(series, targets[CLASS].tolist(), strict=True)):
            if code < 0 or not self.per_class:
                continue
            count = self.seen[code] = self.seen.get(code, 0) + 1
            kept, new = self.kept.setdefault(code, []), Kept(one, {name: rows[n] for name, rows in targets.items()})
            if len(kept) < self.per_class:
                kept.append(new)
            elif (place := int(np.random.default_rng([self.seed, code, count]).integers(count))) < self.per_class:
                kept[place] = new

    def draw(self, codes: NDArray[Any], *, seed: int) -> tuple[list[Floats], Rows]:
        """Series to train on beside a part of these classes [n], in random order, with their targets."""
        there, counts = np.unique(codes[codes >= 0], return_counts=True)
        if not len(there):
            return [], {}
        in_part = dict(zip(there.tolist(), counts.tolist(), strict=True))
        wanted = {code: max(0.0, counts.mean() - in_part.get(code, 0)) for code in sorted(self.kept)}
        share = min(1.0, MOST * len(codes) / max(1.0, sum(wanted.values())))
        random, drawn = np.random.default_rng([self.seed, seed]), list[Kept]()
        for code, count in wanted.items():
            kept, missing = self.kept[code], round(share * count)
            order = [i for _ in range(-(-missing // len(kept))) for i in random.permutation(len(kept)).tolist()]
            drawn += [kept[i] for i in order[:missing]]
        drawn = [drawn[i] for i in random.permutation(len(drawn))]
        return [one.series for one in drawn], _stacked(drawn)

    # ---- to and from JSON

    @property
    def nbytes(self) -> int:
        """Size of the series."""
        return sum(one.series.nbytes for kept in self.kept.values() for one in kept)

    def to_json(self) -> dict[str, Any]:
        """Plain objects for `json.dumps`: the series as the text of a compressed .npz file."""
        kept = [one for code in sorted(self.kept) for one in self.kept[code]]
        file, arrays = io.BytesIO(), {f"targets.{name}": rows for name, rows in _stacked(kept).items()}
        if kept:
            arrays |= {"steps": np.concatenate([one.series for one in kept])}
            arrays |= {"lengths": np.array([len(one.series) for one in kept])}
        np.savez_compressed(file, allow_pickle=False, **arrays)
        seen = {str(code): count for code, count in self.seen.items()}
        text = base64.b64encode(file.getvalue()).decode()
        return {"per_class": self.per_class, "seed": self.seed, "seen": seen, "series": text}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """The memory that `to_json` gave. Raises `CheckpointError` for anything else."""
        try:
            with np.load(io.BytesIO(base64.b64decode(value["series"])), allow_pickle=False) as file:
                arrays = {name: file[name] for name in file.files}
            seen = {int(code): int(count) for code, count in value["seen"].items()}
            found = cls(int(value["per_class"]), int(value["seed"]), seen=seen)
            ends = np.cumsum(arrays.get("lengths", []), dtype=np.int64)
            series = np.split(arrays["steps"], ends[:-1]) if len(ends) else []
            targets = {name.removeprefix("targets."): rows for name, rows in arrays.items() if name[:8] == "targets."}
            for n, one in enumerate(series):
                kept = Kept(one, {name: rows[n] for name, rows in targets.items()})
                found.kept.setdefault(int(targets[CLASS][n]), []).append(kept)
        except UNREADABLE as error:
            raise CheckpointError(
                problem("replay", "the series of a memory", error, "use another checkpoint")
            ) from None
        return found


def shared_out(order: NDArray[np.intp], drawn: int, batch_size: int) -> list[NDArray[np.intp]]:
    """The rows of each update: `batch_size` of a part in this order, and a share of the rows drawn behind them.

    >>> [rows.tolist() for rows in shared_out(np.array([2, 0, 1]), 3, 2)]
    [[2, 0, 3, 4], [1, 5]]
    """
    count = -(-len(order) // batch_size)
    if not count:
        return []
    shares = np.array_split(np.arange(len(order), len(order) + drawn), count)
    return [np.concatenate([order[n * batch_size : (n + 1) * batch_size], share]) for n, share in enumerate(shares)]


def _stacked(kept: Sequence[Kept]) -> Rows:
    """The targets of series, an array of each name."""
    names = kept[0].targets if kept else ()
    return {name: np.stack([one.targets[name] for one in kept]) for name in names}
