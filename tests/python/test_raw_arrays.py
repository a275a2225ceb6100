"""The compiled module takes arrays of one type; anything else is one line with argument, expected and found."""

import numpy as np
import pytest

from ssm_hpn import Batch, Trainer
from ssm_hpn.errors import ShapeError
from support import token_settings

X = np.zeros((2, 4), np.uint32)
F = np.zeros((2, 4, 3), np.float32)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"tokens": X.astype(np.int64)}, "tokens: expected a numpy array [B, T] of uint32, found int64 [2, 4]"),
        ({"tokens": -X.astype(np.int32)}, "tokens: expected a numpy array [B, T] of uint32, found int32 [2, 4]"),
        (
            {"tokens": X.astype(">u4")},
            "tokens: expected a numpy array [B, T] of uint32, found >u4 in foreign byte order",
        ),
        ({"tokens": X[0]}, "tokens: expected a numpy array [B, T] of uint32, found uint32 [4]"),
        ({"tokens": X.tolist()}, "tokens: expected a numpy array [B, T] of uint32, found list"),
        ({"features": F.astype(np.float64)}, "features: expected a numpy array [B, T, F] of float32, found float64"),
        ({"features": F[0]}, "features: expected a numpy array [B, T, F] of float32, found float32 [4, 3]"),
        ({"tokens": X, "segments": X[:, :3].astype(np.int64)}, "segments: expected a numpy array [S, 3] of uint32"),
        ({"tokens": X, "segments": X[:, :2]}, "segments: expected [S, 3]: row, start, end, found [2, 2]"),
        ({"tokens": X, "mask": X}, "mask: expected a numpy array [B, T] of bool, found uint32 [2, 4]"),
        ({"tokens": X, "mask": np.ones((2, 5), bool)}, "mask: expected [2, 4]: one per position, found [2, 5]"),
        (
            {"tokens": X, "sequence_class": np.zeros(2)},
            "sequence_class: expected a numpy array [S] of int32, found float64",
        ),
        (
            {"tokens": X, "token_class": np.zeros(8, np.int32)},
            "token_class: expected a numpy array [B, T], found int32 [8]",
        ),
        (
            {"tokens": X, "sequence_values": np.zeros(2, np.float32)},
            "sequence_values: expected a numpy array [S, K], found",
        ),
        ({"tokens": X, "sequence_values": None, "sequence_clas": X}, "found sequence_clas"),
    ],
)
def test_an_array_that_a_batch_refuses_is_named(given, message):
    with pytest.raises(ShapeError) as caught:
        Batch(**given)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("array", [X, np.asfortranarray(X), np.zeros((2, 8), np.uint32)[:, ::2], X[::-1]])
def test_arrays_of_any_strides_are_taken(array):
    assert Batch(tokens=array).tokens.tolist() == array.tolist()


@pytest.mark.parametrize(
    ("array", "found"),
    [
        (np.array([1, 2]), "x: expected ids [B] of uint32, or features [B, F] of float32, found int64 [2]"),
        (np.array([-1, 2]), "found int64 [2]"),
        (np.array([1, 2], ">u4"), "found >u4 in foreign byte order, [2]"),
        ([1, 2], "found list"),
        (np.array([[1], [2]], np.uint32), "found uint32 [2, 1]"),
        (np.array([1], np.uint32), "tokens count: expected 2, found 1"),
        (np.array([1, 99], np.uint32), "tokens: row 1, token 0: expected an id below 11, found 99"),
    ],
)
def test_an_array_that_a_stream_refuses_is_named(array, found):
    stream = Trainer(token_settings()).stream(2)
    with pytest.raises(ShapeError) as caught:
        stream.step(array)
    assert found in str(caught.value)
    assert "\n" not in str(caught.value)
