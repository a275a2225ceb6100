"""Values of an estimator's parameters: whether two are the same, and each as JSON and back.

In JSON None, true and false, numbers, texts and lists are what they are, and an object has one key, which says what it
stands for:

    {"by_label": [[label, value], ...]}   a dictionary: a label stays of its type, 1 is not "1" and not true
    {"tuple": [...]}                      a tuple
    {"bytes": text}                       bytes, as base64
    {"array": text}                       an array of real numbers or of true and false, as the base64 of a .npy file

Frames, series of numbers and tensors come back as arrays of numpy.
"""

import base64
import io
import math
from collections.abc import Mapping
from typing import Any, Final

import numpy as np

from ssm_hpn.arrays import to_array
from ssm_hpn.errors import ShapeError, shown

MOST_BITS: Final = 1024
"""Of a whole number; the interpreter refuses to write and read much longer ones."""
UNREADABLE: Final = (ValueError, TypeError, OSError, EOFError, MemoryError, RecursionError)
"""Errors of base64 and of numpy about damaged texts."""


class NotStorableError(Exception):
    """A value that JSON cannot stand for; the text of the error says what it is."""


def same(one: Any, other: Any) -> bool:  # noqa: ANN401 - any parameter
    """Whether two values of a parameter mean the same.

    >>> same({"a": np.ones(2)}, {"a": [1.0, 1.0]}), same({"a": 1}, {"b": 1}), same(1, "1")
    (True, False, False)
    """
    if one is other:
        return True
    if isinstance(one, Mapping) or isinstance(other, Mapping):
        both = isinstance(one, Mapping) and isinstance(other, Mapping) and one.keys() == other.keys()
        return both and all(same(value, other[key]) for key, value in one.items())
    if _is_plain(one) or _is_plain(other):
        return _is_plain(one) and _is_plain(other) and bool(one == other)
    try:
        return np.array_equal(to_array(one, "one"), to_array(other, "other"))
    except ShapeError:  # no arrays, such as states of random numbers: only one and the same is the same
        return False


def to_json(value: Any) -> Any:  # noqa: ANN401 - any parameter
    """A value for `json.dumps`, see the head of this module. Raises `NotStorableError` for one that it has no form for.

    >>> to_json({1: 2.0, "1": (3, b"x")})
    {'by_label': [[1, 2.0], ['1', {'tuple': [3, {'bytes': 'eA=='}]}]]}
    >>> from_json(to_json({1: 2.0, "1": (3, b"x")}))
    {1: 2.0, '1': (3, b'x')}
    """
    if isinstance(value, np.generic):
        value = value.item()
        if isinstance(value, np.generic):  # of more digits than Python's own
            raise NotStorableError(shown(value))
    if isinstance(value, bytes):
        return {"bytes": base64.b64encode(value).decode()}
    if _is_plain(value):
        if (isinstance(value, float) and not math.isfinite(value)) or (
            isinstance(value, int) and value.bit_length() > MOST_BITS
        ):
            raise NotStorableError(shown(value))
        return value
    if isinstance(value, Mapping):
        return {"by_label": [[to_json(key), to_json(one)] for key, one in value.items()]}
    if isinstance(value, list | tuple):
        found = [to_json(one) for one in value]
        return found if isinstance(value, list) else {"tuple": found}
    try:
        array = to_array(value, "value")
    except ShapeError:
        raise NotStorableError(f"a {type(value).__name__}") from None
    if array.dtype.kind not in "biuf":
        raise NotStorableError(f"a {type(value).__name__} of {array.dtype}")
    file = io.BytesIO()
    np.save(file, array, allow_pickle=False)
    return {"array": base64.b64encode(file.getvalue()).decode()}


def from_json(value: Any) -> Any:  # noqa: ANN401 - any JSON
    """The value that `to_json` gave. Raises one of `UNREADABLE` for anything else.

    >>> from_json(to_json(np.eye(2))).tolist()
    [[1.0, 0.0], [0.0, 1.0]]
    """
    if isinstance(value, list):
        return [from_json(one) for one in value]
    if not isinstance(value, dict):
        return value
    if len(value) != 1:
        raise ValueError(f"an object with the keys {shown(list(value))}")
    (kind, held), *_ = value.items()
    match kind:
        case "by_label":
            return {from_json(key): from_json(one) for key, one in held}
        case "tuple" if isinstance(held, list):
            return tuple(map(from_json, held))
        case "bytes":
            return base64.b64decode(held, validate=True)
        case "array":
            return np.load(io.BytesIO(base64.b64decode(held, validate=True)), allow_pickle=False)
    raise ValueError(f"an object with the key {shown(kind)}")


def _is_plain(value: object) -> bool:
    """Whether it is one number, text or word, or none."""
    return value is None or isinstance(value, str | bytes | int | float | bool | np.generic)
