"""Text of any origin, such as a model's, with control characters escaped."""

import json
import re
import shlex
from typing import Final

_STEERING: Final = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
"""Control characters but line end and tab, line separators, changes of direction, lone surrogates."""


def printable(text: str) -> str:
    r"""The text with every character that would control a terminal written as an escape.

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


def as_list(name: str) -> str:
    """A name with a comma as options that are lists take it: a JSON list, quoted for a shell.

    >>> print(as_list("leak, big"))
    '["leak, big"]'
    """
    return shlex.quote(printable(json.dumps([name], ensure_ascii=False)))
