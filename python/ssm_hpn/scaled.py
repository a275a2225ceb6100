"""Recurrent inference of a model whose numbers have a scale: scores in the user's units."""

import numpy as np
from numpy.typing import NDArray

from ssm_hpn._core import Stream
from ssm_hpn.columns import Scale

Floats = NDArray[np.float32] | NDArray[np.float64]


def unscaled(scores: Floats, scale: Scale | None) -> Floats:
    """Scores [..., C + K] whose last K columns are numbers, those in the user's units and in double precision.

    >>> unscaled(np.zeros((1, 2), np.float32), Scale((300.0,), (10.0,))).tolist()
    [[0.0, 300.0]]
    """
    if scale is None:
        return scores
    wide = scores.astype(np.float64)
    wide[..., -len(scale.mean) :] = scale.unscaled(wide[..., -len(scale.mean) :])
    return wide


class ScaledStream:
    """A `Stream` whose scores end with numbers in the user's units."""

    def __init__(self, stream: Stream, scale: Scale) -> None:
        self._stream, self._scale = stream, scale

    def step(self, x: NDArray[np.uint32] | NDArray[np.float32]) -> Floats:
        """One token [B] or feature vector [B,F] per row; scores [B,C+K]."""
        return unscaled(self._stream.step(x), self._scale)

    def prefill(self, x: NDArray[np.uint32] | NDArray[np.float32]) -> Floats:
        """Tokens [B,T] or features [B,T,F]; scores after the last one, [B,C+K]."""
        return unscaled(self._stream.prefill(x), self._scale)

    def features(self) -> Floats:
        """What the head made the scores of after the last token, [B,D]."""
        return self._stream.features()

    def reset(self) -> None:
        """Reset the state to that before the first token."""
        self._stream.reset()
