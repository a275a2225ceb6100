"""Settings in sections, one inside another."""

from collections.abc import Iterator, Mapping
from typing import Any


def flat(settings: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    """Every value with its dotted name, in the order of the sections.

    >>> list(flat({"optim": {"lr": 0.01}, "name": "a"}))
    [('optim.lr', 0.01), ('name', 'a')]
    """
    for key, value in settings.items():
        if isinstance(value, Mapping):
            yield from flat(value, f"{before}{key}.")
        else:
            yield f"{before}{key}", value
