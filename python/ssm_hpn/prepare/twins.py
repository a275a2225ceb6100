"""Columns whose names differ in case alone: the engine takes `x` and `X` for one name, and renames the second to `x_1`.

CSV columns are read by their places. Columns of Parquet files and of tables in memory get names of their own here, by
their places too. Keys of JSON lines are found by their exact names, but the engine cannot read two of one spelling at
once. Inside a query it is the engine that finds columns: see `query_files`.
"""

import contextlib
import itertools
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from ssm_hpn.prepare.problems import data_error
from ssm_hpn.prepare.source import Source, lines_of

RENAMED: Final = re.compile("(.*)_[0-9]+")
"""A name that the engine may have made from another one."""


def pairs(names: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Every name that the engine takes for an earlier one, behind that.

    >>> list(pairs(["a", "X", "x", "X", "b"]))
    [('X', 'x'), ('X', 'X')]
    """
    seen: dict[str, str] = {}
    for name in names:
        if name.casefold() in seen:
            yield seen[name.casefold()], name
        seen.setdefault(name.casefold(), name)


def twins(names: Iterable[str]) -> tuple[str, str] | None:
    """The first two names that differ in case alone.

    >>> twins(["a", "X", "b", "x"]), twins(["a", "a_1"])
    (('X', 'x'), None)
    """
    return next(((one, other) for one, other in pairs(names) if one != other), None)


def placed(scan: str, names: Sequence[str]) -> tuple[str, dict[str, str]]:
    """A scan whose columns have names of their own, and these by the true names; as it is where it has no twins.

    >>> placed("t", ["X", "x"])
    ('t AS placed(k0, k1)', {'X': 'k0', 'x': 'k1'})
    >>> placed("t", ["x", "y"])
    ('t', {})
    """
    if twins(names) is None:
        return scan, {}
    places = {name: f"k{place}" for place, name in enumerate(names)}
    return f"{scan} AS placed({', '.join(places.values())})", places


def true_keys(source: Source, names: Sequence[str], rows: int) -> list[str]:
    """The keys of JSON lines for which the engine has these names, from the same first rows."""
    lowered = {name.casefold() for name in names}
    if not any((found := RENAMED.fullmatch(name)) and found[1].casefold() in lowered for name in names):
        return list(names)
    keys: dict[str, None] = {}
    with contextlib.suppress(ValueError, RecursionError):  # the engine names what is wrong when it reads the line
        for _, line in itertools.islice(lines_of(source), rows):
            keys |= dict.fromkeys(json.loads(line))
    if len(keys) != len(names):
        both, advice = " and ".join(map(repr, twins(keys) or ())), "rename one of them"
        expected = "names that differ in more than case"
        raise data_error(source.path, "keys", expected=expected, found=both, advice=advice)
    return list(keys)


def check_used(source: Source, names: Iterable[str]) -> None:
    """Refuse two keys of JSON lines that are used together and differ in case alone."""
    found = twins(names)
    if found is not None:
        expected, advice = "keys in use that differ in more than case", "rename one of them"
        raise data_error(source.path, "keys", expected=expected, found=" and ".join(map(repr, found)), advice=advice)
