"""Standardisation of features by their training mean and deviation, cut at ±clip.

    m = Σ v_i x_i / Σ v_i,  s² = Σ v_i (x_i - m)² / Σ v_i     (f64),     x' = min(clip, max(-clip, (x - m)/s))

A feature whose deviation is no larger than `ROUNDING` distances between neighbouring f32 numbers at its mean is
constant: it differs by the rounding of its computation alone. It becomes 0 everywhere, which drops it from products.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Self

import numpy as np
from numpy.typing import NDArray

from ssm_hpn.closed_form.blocks import Block, Rows, strips
from ssm_hpn.counts import counted
from ssm_hpn.errors import ShapeError, problem

Floats = NDArray[np.float64]

ROUNDING: Final = 16
"""Distances of f32 numbers: sums of a few hundred steps are rounded by about this much."""
CACHE_NUMBERS: Final = 1 << 16
"""Numbers in double precision whose statistics are taken together: they stay in the cache."""


@dataclass(frozen=True, eq=False)
class Standardisation:
    """Mean and factor of d features.

    >>> x = np.array([[0.0, 5.0], [2.0, 5.0]], np.float32)
    >>> found = Standardisation.of(x, np.ones(2), clip=3.0)
    >>> found.apply(x).tolist(), found.constant.tolist()
    ([[-1.0, 0.0], [1.0, 0.0]], [False, True])
    """

    mean: NDArray[np.float32]
    """[d]."""
    factor: NDArray[np.float32]
    """[d]: 1/s, 0 for a constant."""
    clip: float

    @classmethod
    def of(cls, strip: Block, weights: Floats, *, clip: float) -> Self:
        """Statistics of rows [n, d] with weights [n] above 0."""
        n, d = strip.shape
        mean, deviation = np.empty(d), np.empty(d)
        share = weights / weights.sum()
        step = max(16, CACHE_NUMBERS // max(n, 1))
        for first in range(0, d, step):
            part = slice(first, first + step)
            x = strip[:, part].astype(np.float64)
            mean[part] = share @ x
            x -= mean[part]
            x *= x
            deviation[part] = np.sqrt(share @ x)
        single = mean.astype(np.float32)
        constant = deviation <= ROUNDING * np.spacing(np.abs(single)).astype(np.float64)
        factor = np.where(constant, 0.0, 1.0 / np.where(constant, 1.0, deviation))
        return cls(single, np.minimum(factor, np.finfo(np.float32).max).astype(np.float32), clip)

    @classmethod
    def joined(cls, parts: Sequence[Self], *, clip: float) -> Self:
        """Of the columns of several, side by side."""
        mean = np.concatenate([part.mean for part in parts] or [np.empty(0, np.float32)])
        factor = np.concatenate([part.factor for part in parts] or [np.empty(0, np.float32)])
        return cls(mean, factor, clip)

    def __len__(self) -> int:
        """Number of features."""
        return len(self.mean)

    @property
    def constant(self) -> NDArray[np.bool_]:
        """Which features are constant."""
        return np.equal(self.factor, 0)

    def apply(self, strip: Block) -> Block:
        """Standardise rows [n, d] in place; the same array is returned."""
        return self._apply(strip, slice(None))

    def strips(self, blocks: Iterable[Block], rows: Rows, width: int) -> Iterator[tuple[slice, Block]]:
        """All features of series in standardised strips [n, width], each with the place of its columns.

        Raises `ShapeError` where their number is not d.
        """
        first = 0
        for strip in strips(blocks, rows, width):
            part = slice(first, first + strip.shape[1])
            first = part.stop
            if first > len(self):
                break
            yield part, self._apply(strip, part)
        if first != len(self):
            found = f"more than {len(self)}" if first > len(self) else first
            advice = "give the features of the fit, the same for every series"
            raise ShapeError(problem("features", counted(len(self), "column"), found, advice))

    def _apply(self, strip: Block, part: slice) -> Block:
        strip -= self.mean[part]
        strip *= self.factor[part]
        return np.clip(strip, -self.clip, self.clip, out=strip)
