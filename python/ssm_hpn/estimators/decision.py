"""What a classifier decides about series, in one value."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Decision:
    """Decisions about N series, as `SSMClassifier.decide` answers them; `vars` of it are the columns of a frame.

    >>> decision = Decision(np.array(["a"]), np.array([0.9]), np.array([0.7]), np.array([0.8]), np.array([False]))
    >>> {name: column.tolist() for name, column in vars(decision).items()}
    {'label': ['a'], 'probability': [0.9], 'cosine': [0.7], 'confidence': [0.8], 'rejected': [False]}
    """

    label: NDArray[Any]
    """[N] the nearest class, of rejected series too."""
    probability: Floats
    """[N] of this class, if the series is of any of the classes."""
    cosine: Floats
    """[N] to its prototype; NaN of a linear head, which has none."""
    confidence: Floats
    """[N] how typical the series is of any class: what `reject_below` is compared with."""
    rejected: NDArray[np.bool_]
    """[N] whether `predict` answers `reject_label`."""
