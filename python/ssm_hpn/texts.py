"""Texts as series: each is the sequence of its bytes (UTF-8), and a byte is a time step of fixed random channels.

    x_t = v[b_t],  v ∈ R^(256 × channels) standard normal, drawn once from a seed

so that random filters see random projections of the one-hot bytes. Nothing is trained, and a text of any length is read
in one pass. The numbers come from `numpy.random.RandomState`, whose stream numpy keeps the same in all its versions.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray

from ssm_hpn.arrays import describe, is_frame, to_array
from ssm_hpn.errors import DataError, ShapeError, problem, shown

Floats = NDArray[np.float64]

CHANNELS: Final = 16
"""Of 4, 8, 16 and 32, on the tasks of `benchmarks/text_series.py`: none gains more than a hundredth by more."""
MOST_CHANNELS: Final = 4096
"""More than any contract has."""


@dataclass(frozen=True)
class ByteChannels:
    """Fixed random channels of the 256 bytes.

    >>> spelled = ByteChannels(seed=3)
    >>> [one.shape for one in spelled.series([b"abc", b"ab"])]
    [(3, 16), (2, 16)]
    >>> ByteChannels.from_encoder(spelled.encoder) == spelled
    True
    """

    seed: int
    channels: int = CHANNELS

    @cached_property
    def vectors(self) -> Floats:
        """[256, channels]."""
        return np.random.RandomState(self.seed).normal(size=(256, self.channels))

    def series(self, texts: list[bytes]) -> list[Floats]:
        """Texts as series [T, channels]."""
        return [self.vectors[np.frombuffer(one, np.uint8)] for one in texts]

    @property
    def encoder(self) -> dict[str, Any]:
        """What the contract of the data says about it."""
        return {"kind": "bytes", "vocab_size": 256, "channels": self.channels, "seed": self.seed}

    @classmethod
    def from_encoder(cls, encoder: Mapping[str, Any]) -> Self:
        """That of a contract. Raises `DataError` for numbers that no contract has.

        >>> ByteChannels.from_encoder({"seed": 0, "channels": 10**12})
        Traceback (most recent call last):
        ssm_hpn.errors.DataError: the channels of a byte: expected 1 to 4096, and a seed from 0 to 4294967295, found ...
        """
        seed, channels = encoder.get("seed"), encoder.get("channels")
        if isinstance(seed, int) and isinstance(channels, int) and _fits(seed, channels):
            return cls(seed, channels)
        expected, advice = f"1 to {MOST_CHANNELS}, and a seed from 0 to {2**32 - 1}", "train the model again"
        raise DataError(problem("the channels of a byte", expected, f"{shown(channels)} and {shown(seed)}", advice))


def _fits(seed: int, channels: int) -> bool:
    return 0 <= seed < 2**32 and 1 <= channels <= MOST_CHANNELS


def texts_of(x: Any) -> list[bytes] | None:  # noqa: ANN401 - anything array-like
    r"""The bytes of a list, an array or a column of texts; None for anything else.

    Raises `ShapeError` where only some are texts, and for a text without a byte.

    >>> texts_of(["né", b"ab"]), texts_of([[1.0], [2.0]])
    ([b'n\xc3\xa9', b'ab'], None)
    """
    elements = _elements(x)
    if not any(isinstance(one, str | bytes) for one in elements):
        return None
    return [_bytes_of(one, f"X[{index}]") for index, one in enumerate(elements)]


def is_column_of_texts(x: Any) -> bool:  # noqa: ANN401
    """Whether some elements of a column are texts.

    >>> is_column_of_texts(["a", None]), is_column_of_texts([1, 2])
    (True, False)
    """
    return any(isinstance(one, str | bytes) for one in _elements(x))


def _elements(x: Any) -> list[Any]:  # noqa: ANN401
    """Those of a list, or of an array or column [N] of texts or objects."""
    if isinstance(x, list | tuple):
        return list(x)
    if isinstance(x, str | bytes | dict) or is_frame(x) or hasattr(x, "toarray") or getattr(x, "ndim", 1) != 1:
        return []
    array = to_array(x, "X")
    return array.tolist() if array.ndim == 1 and array.dtype.kind in "OUS" else []


def _bytes_of(text: object, where: str) -> bytes:
    if not isinstance(text, str | bytes):
        raise ShapeError(problem(where, "a text, as before or behind it", describe(text), "leave it out"))
    try:
        found = text.encode() if isinstance(text, str) else text
    except UnicodeEncodeError:
        advice = "pass its bytes, text.encode('utf-8', 'surrogateescape')"
        raise ShapeError(problem(where, "a text that UTF-8 can hold", shown(text), advice)) from None
    if not found:
        raise ShapeError(problem(where, "a text of at least one byte", "an empty one", "leave it out"))
    return found
