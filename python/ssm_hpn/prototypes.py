"""Prototypes by themselves: where they are placed, how far apart they are and could be, and which one is nearest.

A prototype head has its own (`model.head`); these functions show what it would have, and serve a search among many.
"""

from collections.abc import Callable, Iterator
from math import comb, cos, pi
from typing import Final, Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ssm_hpn._core import largest_cosine as _largest_cosine
from ssm_hpn._core import order_kept as _order_kept
from ssm_hpn._core import place_prototypes
from ssm_hpn.arrays import LARGEST_SEED, numbers, whole_number
from ssm_hpn.config.bounds import bounds
from ssm_hpn.counts import counted
from ssm_hpn.errors import ConfigError, ShapeError, problem

__all__ = ["Kind", "Placed", "largest_cosine", "lower_bound", "nearest", "order_kept", "place"]

Floats = NDArray[np.float64]
Kind = Literal["auto", "simplex", "separated", "random", "semantic", "given"]
MOST_CLASSES: int = bounds("model.head.n_classes")["le"]
ROUNDING: Final = 1e-5
"""Difference of a cosine from that of a simplex which single precision explains."""
MOST_PRODUCTS: Final = 1 << 24
"""Cosines that `nearest` has in memory at a time: 64 MB."""


class Placed(NamedTuple):
    """Prototypes and how they were made.

    >>> place(3, 2).prototypes.shape
    (3, 2)
    """

    prototypes: Floats
    """Unit vectors [C, Q]."""
    construction: str
    """simplex, blocks of simplices, separated, near-orthogonal, random, semantic or given."""


def place(
    classes: int,
    dim: int,
    kind: Kind = "auto",
    *,
    seed: int = 0,
    vectors: ArrayLike | None = None,
    threads: int | None = None,
) -> Placed:
    """The prototypes that a head with `model.head.prototypes = kind` has.

    Parameters
    ----------
    classes, dim
        Their number C and dimension Q.
    kind
        As `model.head.prototypes`: `auto` is a simplex up to Q + 1 classes, blocks of simplices up to 2·Q, separated
        ones where that takes seconds, near-orthogonal or random ones of more.
    seed
        Of what is drawn or optimised; `train.seed` of a run.
    vectors
        [C, numbers], of the classes: `given` takes their directions, `semantic` the order of their cosines.
    threads
        The result does not depend on it; None: all processors.

    The same numbers are computed once in a process. Raises `ConfigError` for sizes or vectors that a kind cannot have,
    and for more than 2 GB of them.

    >>> place(4, 3).prototypes.round(2).tolist()[0], place(4, 3).construction
    ([1.0, 0.0, 0.0], 'simplex')
    >>> place(5, 3).construction, place(10, 3).construction
    ('blocks of simplices', 'separated')
    >>> place(2, 2, "given", vectors=[[3, 4], [0, 1]]).prototypes.round(6).tolist()
    [[0.6, 0.8], [0.0, 1.0]]
    >>> place(9, 5, "simplex")
    Traceback (most recent call last):
    ssm_hpn.errors.ConfigError: dim: expected at least 8, one less than the classes, for a simplex, found 5; ...
    """
    classes, dim = whole_number(classes, "classes", least=2, most=MOST_CLASSES), whole_number(dim, "dim", least=2)
    seed, threads = (
        whole_number(seed, "seed", most=LARGEST_SEED),
        None if threads is None else whole_number(threads, "threads", least=1),
    )
    rows_of_classes = None if vectors is None else matrix(vectors, "vectors")
    try:
        rows, construction = place_prototypes(classes, dim, kind, seed=seed, vectors=rows_of_classes, threads=threads)
    except ConfigError as error:  # of vectors as a setting
        raise ConfigError(str(error).replace("model.head.", "")) from None
    return Placed(rows, construction)


def largest_cosine(prototypes: ArrayLike) -> float:
    """The largest cosine of two different rows [C, Q] of any length; of more than 8,192 rows, among that many of them.

    >>> round(largest_cosine([[1, 0], [0, 2], [-1, -1]]), 6)
    0.0
    """
    return _largest_cosine(finite(prototypes, "prototypes", least=2))


def order_kept(prototypes: ArrayLike, vectors: ArrayLike) -> float:
    """The share of triples of classes whose order of cosines is that of the class vectors: about 0.5 by chance.

    Counted are i, j, k where vector i is nearer to vector j than to vector k; kept are those where prototype i is too.

    >>> vectors = [[1, 0, 0], [1, 1, 0], [1, 1, 9], [0, 0, 1]]
    >>> order_kept(vectors, vectors), order_kept(place(4, 8, "semantic", vectors=vectors).prototypes, vectors)
    (1.0, 1.0)
    """
    rows = finite(prototypes, "prototypes", least=3)
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    if not lengths.all():
        where = f"prototypes[{int(lengths.argmin())}]"
        raise ShapeError(problem(where, "a direction", "zeros", "leave the row out"))
    return _order_kept(rows / lengths, matrix(vectors, "vectors"))


def note_on_smoothing(head: object, largest: float | None) -> str | None:
    """What to say of a smoothing toward near classes where all are equally near; None where they are not.

    `head` is `model.head`, `largest` the largest cosine of its prototypes, which is -1/(C-1) in a simplex alone.

    >>> from ssm_hpn.config.model import PrototypeHead, SoftmaxLoss
    >>> near = PrototypeHead(n_classes=3, loss=SoftmaxLoss(smoothing=0.1, smoothing_toward="near"))
    >>> note_on_smoothing(near, -0.5).partition(":")[0], note_on_smoothing(near, -0.4)
    ('model.head.loss.smoothing_toward', None)
    """
    loss, classes = getattr(head, "loss", None), getattr(head, "n_classes", None)
    if largest is None or classes is None or getattr(loss, "smoothing_toward", "all") != "near":
        return None
    count = classes + getattr(head, "spare", 0)
    if not getattr(loss, "smoothing", 0) or abs(largest + 1 / (count - 1)) > ROUNDING:
        return None
    told = "all prototypes are equally far apart (a simplex), so that near gives every other class the same share"
    return f"model.head.loss.smoothing_toward: {told}; set model.head.dim below {count - 1}, or leave it out"


def nearest(points: ArrayLike, prototypes: ArrayLike) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """The nearest prototype of each point, and the cosine to it: one matrix product, in blocks of points.

    Parameters
    ----------
    points
        Unit vectors [N, Q], as `Trainer.embed` and `SSMClassifier.embed` return them.
    prototypes
        Unit vectors [C, Q].

    Returns the places [N] among the prototypes, of several as near the first, and the cosines [N]; single precision.
    Of vectors of other lengths they are inner products.

    >>> place_of, cosine = nearest([[0.6, 0.8], [-1, 0]], place(4, 2).prototypes)
    >>> place_of.tolist(), cosine.round(6).tolist()
    ([2, 1], [0.800000011920929, 1.0])
    """
    rows = np.ascontiguousarray(finite(points, "points"), np.float32)
    columns = np.ascontiguousarray(finite(prototypes, "prototypes"), np.float32)
    if not len(columns) or rows.shape[1] != columns.shape[1]:
        expected = f"[N, {columns.shape[1]}], as long as one of at least 1 prototype"
        found = f"{list(rows.shape)} for {list(columns.shape)}"
        raise ShapeError(problem("points", expected, found, "pass points of the prototypes' space"))
    places = np.empty(len(rows), np.int64)
    cosines = np.empty(len(rows), np.float32)
    block = max(1, MOST_PRODUCTS // len(columns))
    for first in range(0, len(rows), block):
        part = slice(first, first + block)
        products = rows[part] @ columns.T
        places[part] = products.argmax(axis=1)
        cosines[part] = np.take_along_axis(products, places[part, None], axis=1)[:, 0]
    return places, cosines


def lower_bound(classes: int, dim: int) -> float:
    """No arrangement of `classes` points on the sphere in `dim` dimensions has a smaller largest cosine.

    Exact on the circle and up to 2·Q classes (Rankin, The closest packing of spherical caps in n dimensions, 1955),
    beyond that Levenshtein's bound (Universal bounds for codes and designs, Handbook of Coding Theory, 1998), which few
    arrangements reach: the 12 corners of the icosahedron are one.

    >>> lower_bound(3, 2), lower_bound(4, 3), lower_bound(20, 10)
    (-0.5, -0.3333333333333333, 0.0)
    >>> round(lower_bound(12, 3) - 5**-0.5, 9), round(lower_bound(240, 8), 9), round(lower_bound(100, 10), 4)
    (0.0, 0.5, 0.2784)
    """
    classes, dim = whole_number(classes, "classes", least=2), whole_number(dim, "dim", least=2)
    if classes <= dim + 1:
        return -1.0 / (classes - 1)
    if classes <= 2 * dim:
        return 0.0
    if dim == 2:
        return cos(2 * pi / classes)
    low, high, most = next(part for part in _levenshtein(dim) if part[2](part[1]) >= classes)
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (low, middle) if most(middle) >= classes else (middle, high)
    return low


def _levenshtein(dim: int) -> Iterator[tuple[float, float, Callable[[float], float]]]:
    """The intervals of the largest cosine, rising, and on each the most points that it allows, which rises too."""
    low, degree = -1.0, 1
    while True:
        odd = _largest_zero(degree, (dim - 1) / 2, (dim - 3) / 2)
        yield low, odd, lambda s, k=degree: _odd_bound(dim, k, s)  # type: ignore[misc]
        low = _largest_zero(degree, (dim - 1) / 2, (dim - 1) / 2)
        yield odd, low, lambda s, k=degree: _even_bound(dim, k, s)  # type: ignore[misc]
        degree += 1


def _odd_bound(dim: int, k: int, s: float) -> float:
    before, here, _ = _gegenbauer(dim, k, s)
    return comb(k + dim - 3, k - 1) * ((2 * k + dim - 3) / (dim - 1) - (before - here) / ((1 - s) * here))


def _even_bound(dim: int, k: int, s: float) -> float:
    _, here, after = _gegenbauer(dim, k, s)
    fraction = (1 + s) * (here - after) / ((1 - s) * (here + after))
    return comb(k + dim - 2, k) * ((2 * k + dim - 1) / (dim - 1) - fraction)


def _gegenbauer(dim: int, k: int, s: float) -> tuple[float, float, float]:
    """The Gegenbauer polynomials of the sphere of the degrees k - 1, k and k + 1 at s, 1 at 1."""
    values = [1.0, s]
    for degree in range(1, k + 1):
        factor = 2 * degree + dim - 2
        values.append((factor * s * values[-1] - degree * values[-2]) / (degree + dim - 2))
    return values[k - 1], values[k], values[k + 1]


def _largest_zero(degree: int, a: float, b: float) -> float:
    """The largest zero of a Jacobi polynomial, as an eigenvalue of its recurrence (Golub and Welsch, 1969)."""
    k = np.arange(degree, dtype=np.float64)
    diagonal = (b * b - a * a) / np.maximum((2 * k + a + b) * (2 * k + a + b + 2), 1e-300)
    diagonal[0] = (b - a) / (a + b + 2)
    k = k[1:]
    double = 2 * k + a + b
    beside = np.sqrt(4 * k * (k + a) * (k + b) * (k + a + b) / (double**2 * (double + 1) * (double - 1)))
    return float(np.linalg.eigvalsh(np.diag(diagonal) + np.diag(beside, 1) + np.diag(beside, -1))[-1])


def finite(value: ArrayLike, name: str, *, least: int = 0) -> Floats:
    """As `matrix`, of so many rows at least. Raises `ShapeError` for numbers that are missing or infinite too."""
    found = matrix(value, name)
    if len(found) < least:
        raise ShapeError(problem(name, f"at least {counted(least, 'row')}", len(found), "pass more of them"))
    whole = np.isfinite(found).all(axis=1)
    if not whole.all():
        where = f"{name}[{int(whole.argmin())}]"
        raise ShapeError(problem(where, "finite numbers", "others", "fill them, or leave the row out"))
    return found


def matrix(value: ArrayLike, name: str) -> Floats:
    """Rows of numbers in double precision. Raises `ShapeError` for anything else."""
    found = np.ascontiguousarray(numbers(value, name), np.float64)
    if found.ndim != 2 or not found.shape[1]:
        raise ShapeError(problem(name, "[rows, numbers]", list(found.shape), "pass a row for each of them"))
    return found
