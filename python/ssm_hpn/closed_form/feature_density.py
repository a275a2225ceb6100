"""The confidence of a trained model: the density of its features, the numbers that its head reads of a series.

The law is that of `typicality` with the mean features of each class as centres and S the covariance of training series
around the mean of their class. A head is trained to tell the classes apart and looks in directions that do so; the
features still have the others, in which a series of no class differs from those of every class. A series is answered
from a threshold on, which is found on series that were held out of training, as those of training are nearer.
"""

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray

from ssm_hpn.closed_form.typicality import Typicality
from ssm_hpn.errors import CheckpointError, problem, shown

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

MOST_SERIES: Final = 4096
"""Series that a density is fitted to; of more a sample."""
MOST_NUMBERS: Final = 1 << 20
"""Numbers of the covariance or of the means above which there is no density: it is kept in every checkpoint."""
STORED: Final = np.dtype("<f4")


@dataclass(frozen=True, eq=False)
class FeatureDensity:
    """Where the features of known series lie.

    >>> rng = np.random.default_rng(0)
    >>> labels = np.arange(200) % 2
    >>> features = rng.normal(size=(200, 3)) + 8.0 * labels[:, None]
    >>> density = FeatureDensity.of(features, labels, np.ones(200))
    >>> confidence = density.confidence(np.array([[0.0, 0.0, 0.0], [8.0, 8.0, 8.0], [0.0, 8.0, 0.0]]))
    >>> bool((confidence[:2] > 0.9).all()), bool(confidence[2] < 0.5)
    (True, True)
    >>> again = FeatureDensity.from_json(density.to_json())
    >>> bool((again.confidence(features) == density.confidence(features)).all())
    True
    """

    classes: Ints
    """[k] the classes that have a centre, by their places among the scores."""
    means: NDArray[np.float32]
    """[k, D] of each of them, in single precision, as it is stored."""
    whitening: NDArray[np.float32]
    """L⁻ᵀ [D, D], S = L Lᵀ."""

    @classmethod
    def of(cls, features: Floats, labels: Ints, weights: Floats, before: "Self | None" = None) -> "Self | None":
        """From features [n, D] of training series with labels [n], -1 for none, and weights [n].

        A class without a series keeps the centre that it had `before`. None where there are not two series more than
        classes, or too many numbers to store.
        """
        rows = np.flatnonzero((labels >= 0) & (weights > 0))
        features, labels, weights = features[rows], labels[rows], weights[rows]
        there, place = np.unique(labels, return_inverse=True)
        width = features.shape[1]
        if len(rows) < len(there) + 2 or max(width, len(there)) * width > MOST_NUMBERS:
            return None
        sums = np.zeros((len(there), width))
        np.add.at(sums, place, weights[:, None] * features)
        means = sums / np.bincount(place, weights)[:, None]
        found = Typicality.of(features, place, weights, means)
        if before is not None and before.means.shape[1] == width:
            absent = ~np.isin(before.classes, there)
            there = np.concatenate([there, before.classes[absent]])
            means = np.concatenate([means, before.means[absent]])
        return cls(there.astype(np.int64), means.astype(np.float32), found.whitening.astype(np.float32))

    @cached_property
    def _typicality(self) -> Typicality:
        whitening = self.whitening.astype(np.float64)
        return Typicality(self.means.astype(np.float64) @ whitening, whitening)

    def confidence(self, features: NDArray[np.float32] | Floats) -> Floats:
        """[n] of features [n, D], in (0, 1]."""
        return self._typicality.confidence(np.asarray(features, np.float64))

    # ---- to and from JSON

    def to_json(self) -> dict[str, Any]:
        """Plain objects for `json.dumps`: arrays as the base64 of their numbers."""
        texts = {name: base64.b64encode(getattr(self, name).astype(STORED).tobytes()).decode() for name in ARRAYS}
        return {"classes": self.classes.tolist(), **texts}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """What `to_json` gave. Raises `CheckpointError` for anything else.

        >>> FeatureDensity.from_json({"classes": [0], "means": "AAAA"})
        Traceback (most recent call last):
        ssm_hpn.errors.CheckpointError: density: expected the density of features, found an incomplete one; evaluate ...
        """
        try:
            classes = np.asarray(value["classes"])
            means, whitening = (
                np.frombuffer(base64.b64decode(value[name], validate=True), STORED).astype(np.float32)
                for name in ARRAYS
            )
            width = len(means) // len(classes)
            means, whitening = means.reshape(len(classes), width), whitening.reshape(width, width)
        except (LookupError, TypeError, ValueError, binascii.Error, ZeroDivisionError):
            raise CheckpointError(_damaged("an incomplete one")) from None
        distinct = classes.ndim == 1 and classes.dtype.kind == "i" and len(np.unique(classes)) == len(classes)
        if not distinct or classes.min() < 0:
            raise CheckpointError(_damaged(f"one of the classes {shown(value['classes'], 40)}"))
        if not (np.isfinite(means).all() and np.isfinite(whitening).all()):
            raise CheckpointError(_damaged("numbers that are not finite"))
        return cls(classes.astype(np.int64), means, whitening)

    @classmethod
    def saved(cls, state: Mapping[str, Any], width: int) -> "Self | None":
        """That in the state of a checkpoint of a model of this width, under "density"; None where there is none.

        >>> FeatureDensity.saved({}, 64) is None
        True
        """
        found = state.get("density")
        return None if found is None else cls.from_json(found if isinstance(found, Mapping) else {}).of_width(width)

    def of_width(self, width: int) -> Self:
        """Itself. Raises `CheckpointError` where it is of features of another width."""
        if self.means.shape[1] != width:
            raise CheckpointError(_damaged(f"one of the width {self.means.shape[1]} where the model has {width}"))
        return self


ARRAYS: Final = ("means", "whitening")


def _damaged(found: str) -> str:
    advice = "evaluate its run again, or load another checkpoint"
    return problem("density", "the density of features", found, advice)
