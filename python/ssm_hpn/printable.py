"""Text of any origin, a model's included, so that it is shown and does nothing else."""

import re
from typing import Final

_STEERING: Final = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
"""All control characters but line end and tab, separators of lines, changes of direction, halves of characters."""


def printable(text: str) -> str:
    r"""The text with everything that would steer what shows it written as its escape.

    >>> print(printable("a\x1b[31mb\x00"))
    a\x1b[31mb\x00
    """
    return _STEERING.sub(lambda found: found[0].encode("unicode_escape").decode("ascii"), text)


def on_one_line(name: str) -> str:
    r"""A name of the data for a table, with its line ends and tabs as escapes too.

    >>> print(on_one_line("a\nb"))
    a\nb
    """
    return printable(name).replace("\n", "\\n").replace("\t", "\\t")
