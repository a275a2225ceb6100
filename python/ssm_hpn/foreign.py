"""Reading JSON and TOML from outside: any error in it is a `ValueError` with one line.

The parsers of the standard library fail with `RecursionError` where brackets are nested deeper than the interpreter's
stack; to a reader of the file that is the same as any other damage.
"""

import json
import math
import tomllib
from typing import Any, Final

TOO_DEEP: Final = "brackets nested too deeply"


def from_json(text: str | bytes) -> Any:  # noqa: ANN401 - any JSON
    """The value of a JSON text.

    >>> from_json("[1, 2]")
    [1, 2]
    >>> from_json("[" * 100_000)
    Traceback (most recent call last):
    ValueError: brackets nested too deeply
    """
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError(TOO_DEEP) from None


def from_toml(text: str) -> dict[str, Any]:
    """The tables of a TOML text; see `from_json`."""
    try:
        return tomllib.loads(text)
    except RecursionError:
        raise ValueError(TOO_DEEP) from None


def finite(value: Any) -> Any:  # noqa: ANN401 - any JSON
    """The value with None, null in JSON, in place of every number that is not finite.

    >>> finite({"a": [1.0, float("nan")]})
    {'a': [1.0, None]}
    """
    if isinstance(value, dict):
        return {key: finite(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [finite(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
