"""Many features of series as a few numbers: a sparse random projection, and the principal components of it.

    u = R·x',  R ∈ R^(1024 × d) sparse random (Li, Hastie & Church, KDD 2006),  x' standardised features
    z = V·(u - ū),  V the first principal directions of the training series

The projection keeps distances within a few percent whatever d is, and reads features in blocks, so that no more than
1,024 numbers of each series are kept of d = 26,880. Projection and components are scikit-learn's.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csc_matrix
from sklearn.decomposition import PCA
from sklearn.random_projection import SparseRandomProjection

from ssm_hpn.closed_form.blocks import Block, strip_width, strips
from ssm_hpn.closed_form.columns import Standardisation
from ssm_hpn.closed_form.linear import RidgeSettings

PROJECTED: Final = 1024
"""Numbers of a series that the components are taken of."""


@dataclass(frozen=True, eq=False)
class Components:
    """Principal directions of rows [n, d].

    >>> found = Components.of(np.array([[0.0, 1.0], [2.0, 1.0], [4.0, 1.0]]), 1, seed=0)
    >>> np.abs(found.apply(np.array([[2.0, 1.0], [5.0, 1.0]]))).tolist()
    [[0.0], [3.0]]
    """

    mean: NDArray[Any]
    """[d]."""
    directions: NDArray[Any]
    """[d, count]."""

    @classmethod
    def of(cls, rows: NDArray[Any], count: int, *, seed: int) -> Self:
        """The first `count` of them."""
        with np.errstate(invalid="ignore"):  # equal rows have no variance to take shares of
            found = PCA(count, random_state=seed).fit(rows)
        # An array of its own, in one order: a pickled one gives the same bits.
        return cls(found.mean_, np.ascontiguousarray(found.components_.T))

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """Its numbers by name."""
        return {"components.mean": self.mean, "components.directions": self.directions}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> Self:
        """What `to_arrays` gave, and is among these. Raises `KeyError` where it is not."""
        return cls(arrays["components.mean"], arrays["components.directions"])

    def apply(self, rows: NDArray[Any]) -> NDArray[Any]:
        """[n, count] of rows [n, d]."""
        return np.asarray((rows - self.mean) @ self.directions)


@dataclass(frozen=True, eq=False)
class Reduction:
    """Standardisation, projection and components of d features.

    >>> x = np.random.default_rng(0).normal(size=(40, 5000)).astype(np.float32)
    >>> reduction = Reduction.fit([x[:, :3000], x[:, 3000:]], rows=40, features=5000, components=3, seed=0)
    >>> reduction.apply([x[:6]], rows=6).shape
    (6, 3)
    """

    standard: Standardisation
    projection: Any
    """f32 [1024, d], sparse."""
    components: Components

    @classmethod
    def fit(cls, blocks: Iterable[Block], *, rows: int, features: int, components: int, seed: int) -> Self:
        """Fit to blocks of columns f32 [rows, d_block], d = `features` in all; at most `rows` components."""
        projection, weights = _drawn(features, seed), np.ones(rows)
        found, parts, first = np.zeros((rows, PROJECTED), np.float32), [], 0
        for strip in strips(blocks, np.arange(rows), strip_width(rows)):
            parts.append(Standardisation.of(strip, weights, clip=RidgeSettings().clip))
            last = first + strip.shape[1]
            found += parts[-1].apply(strip) @ projection[:, first:last].T
            first = last
        standard = Standardisation.joined(parts, clip=RidgeSettings().clip)
        return cls(standard, projection, Components.of(found, components, seed=seed))

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """Its numbers by name.

        >>> x = np.random.default_rng(0).normal(size=(40, 5000)).astype(np.float32)
        >>> reduction = Reduction.fit([x], rows=40, features=5000, components=3, seed=0)
        >>> again = Reduction.from_arrays(reduction.to_arrays())
        >>> bool((again.apply([x], rows=40) == reduction.apply([x], rows=40)).all())
        True
        """
        standard, projection = self.standard, self.projection
        parts = {"data": projection.data, "indices": projection.indices, "starts": projection.indptr}
        return {
            "standard.mean": standard.mean,
            "standard.factor": standard.factor,
            **{f"projection.{name}": part for name, part in parts.items()},
            **self.components.to_arrays(),
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> Self:
        """What `to_arrays` gave. Raises `KeyError` or `ValueError` where something is missing or does not fit."""
        standard = Standardisation(arrays["standard.mean"], arrays["standard.factor"], RidgeSettings().clip)
        parts = tuple(arrays[f"projection.{name}"] for name in ("data", "indices", "starts"))
        projection = csc_matrix(parts, shape=(PROJECTED, len(standard.mean)))
        return cls(standard, projection, Components.from_arrays(arrays))

    def apply(self, blocks: Iterable[Block], *, rows: int) -> NDArray[np.float32]:
        """f32 [rows, components] of blocks of columns in the order of the fit."""
        found = np.zeros((rows, PROJECTED), np.float32)
        for part, strip in self.standard.strips(blocks, np.arange(rows), strip_width(rows)):
            found += strip @ self.projection[:, part].T
        return np.asarray(self.components.apply(found), np.float32)


@lru_cache(maxsize=2)
def _drawn(features: int, seed: int) -> csc_matrix:
    """The random projection f32 [1024, d], kept for the next fit, as drawing it takes 0.1 s."""
    drawn = SparseRandomProjection(PROJECTED, random_state=seed).fit(np.zeros((1, features), np.float32))
    return drawn.components_.astype(np.float32).tocsc()
