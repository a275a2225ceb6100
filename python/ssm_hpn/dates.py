"""Columns of dates as numpy's datetime64: date objects, and texts in the form of ISO 8601."""

import re
from datetime import UTC, date, datetime
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

FINEST: Final = re.compile(r"[.,]\d{7}")
"""Fractions of a second that a datetime of Python cuts off."""


def as_dates(column: NDArray[Any]) -> NDArray[Any]:
    """A column of date objects or of dates as texts as datetime64, those with a time zone in UTC; any other as it is.

    Texts are dates where all of them are, in the form of ISO 8601 and to the microsecond, and where all or none have a
    time zone.

    >>> as_dates(np.array(["2026-01-31 12:00:00", "2026-01-31T12:00:00.5"])).tolist()[1].microsecond
    500000
    >>> as_dates(np.array(["2026-01-31T12:00+02:00"])).tolist()[0].hour
    10
    >>> as_dates(np.array(["2026-01-31", "31.1.2026"])).dtype.kind
    'U'
    """
    if column.dtype.kind not in "OU" or not column.size:
        return column
    values = column.tolist()
    if all(isinstance(one, str) for one in values):
        return column if (found := _written(values)) is None else found
    if not all(isinstance(one, date) for one in values):
        return column
    return np.array([_date(one) for one in values])


def _written(texts: list[str]) -> NDArray[Any] | None:
    """Dates as texts; None where one is none, or where they cannot be compared."""
    try:
        found = [datetime.fromisoformat(one.strip()) for one in texts]
    except ValueError:
        return None
    if any(one.tzinfo is None for one in found) != all(one.tzinfo is None for one in found):
        return None
    if any(FINEST.search(one) for one in texts):
        return None
    return np.array([_date(one) for one in found])


def _date(value: Any) -> np.datetime64:  # noqa: ANN401 - of Python or pandas
    if isinstance(value, datetime) and value.tzinfo is not None:
        value = value.astimezone(UTC).replace(tzinfo=None)
    return np.datetime64(value.to_datetime64() if hasattr(value, "to_datetime64") else value)
