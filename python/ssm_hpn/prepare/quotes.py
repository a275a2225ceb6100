"""Where a quote of a CSV file opens that is never closed."""

import io

from ssm_hpn.prepare.source import Source, open_source


def unclosed(source: Source, delimiter: str, quote: str, escape: str) -> int | None:
    """The line, as an editor counts, of the first quote that nothing closes; None where all are closed.

    A quote opens at the beginning of a field and closes in front of a delimiter or a line end; one that is doubled or
    escaped is text.
    """
    opened: int | None = None
    with open_source(source) as stream, io.TextIOWrapper(stream, "utf-8-sig", "replace", newline="") as text:
        for number, line in enumerate(text, start=1):
            at = 0
            while at >= 0:
                if opened is None:
                    at = _opening(line, at, delimiter, quote)
                    opened = number if at >= 0 else None
                    continue
                at = _closing(line, at, quote, escape)
                if at < 0:
                    break
                if line.startswith(delimiter, at):
                    at += len(delimiter)
                elif line[at : at + 1] in ("", "\r", "\n"):
                    at = -1
                else:
                    return opened
                opened = None
    return opened


def _opening(line: str, at: int, delimiter: str, quote: str) -> int:
    """Behind the next quote that opens a field, from the beginning of a field on; -1 if there is none."""
    if line.startswith(quote, at):
        return at + len(quote)
    found = line.find(delimiter + quote, at)
    return found if found < 0 else found + len(delimiter + quote)


def _closing(line: str, at: int, quote: str, escape: str) -> int:
    """Behind the next quote that is neither doubled nor escaped; -1 if there is none."""
    while (found := line.find(quote, at)) >= 0:
        if escape != quote:
            before = line[at:found]
            escaped = (len(before) - len(before.rstrip(escape))) % 2
            at = found + 1
            if escaped:
                continue
            return at
        if not line.startswith(quote, found + 1):
            return found + 1
        at = found + 2
    return -1
