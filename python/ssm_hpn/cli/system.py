"""Errors of the operating system about a path, in the form of all errors: where, expected, found, what to do."""

import errno
import os
import re
from typing import Final

from ssm_hpn.errors import problem

WORDS: Final = {
    errno.ENAMETOOLONG: ("a path that the system takes", "a name that is too long for it", "use a shorter one"),
    errno.EACCES: ("a path that this user may use", "no permission", "change its permissions, or use another path"),
    errno.EPERM: ("a path that this user may use", "no permission", "change its permissions, or use another path"),
    errno.EISDIR: ("a file", "a folder", "name a file in it, or another path"),
    errno.ENOTDIR: ("a path through folders alone", "something else than a folder on it", "check the path"),
    errno.ELOOP: ("a file or folder", "links that lead in a circle", "correct the link, or use another path"),
    errno.EEXIST: ("a folder, or nothing there yet", "a file in its place", "remove the file, or use another path"),
    errno.ENOENT: ("a file or folder", "nothing there", "check the path"),
    errno.EROFS: ("a place that can be written", "a read-only file system", "use another path"),
    errno.ENOSPC: ("space to write", "a full file system", "free some space, or use another path"),
}
"""Expected, found and advice by the system's number of an error."""
NO_FOLDER: Final = ("a folder to write it into", "none", "make the folder first, or use another path")
"""The same for a file to write, where nothing is there."""
_NUMBER: Final = re.compile(r"\[Errno (\d+)\]|\(os error (\d+)\)")
_BY_TEXT: Final = {os.strerror(number): number for number in WORDS}
_RAW: Final = re.compile(r"\[Errno \d+\] ([^:;']+)(?:: '[^']*'(?: -> '[^']*')?)?")


def in_words(error: OSError) -> str:
    """The line about an error of the system; its own text where it is about no path or another kind of error.

    >>> in_words(OSError(errno.EISDIR, "Is a directory", "texts"))
    'texts: expected a file, found a folder; name a file in it, or another path'
    >>> in_words(OSError("f.txt/a: cannot list: Not a directory (os error 20)"))
    'f.txt/a: expected a path through folders alone, found something else than a folder on it; check the path'
    """
    text = str(error)
    path = error.filename or text.partition(": cannot ")[0]
    number = error.errno or _number_in(text)
    if number not in WORDS or not path or path == text:
        return text
    writes = re.search(": cannot (?:write|create)", text)
    words = NO_FOLDER if number == errno.ENOENT and writes else WORDS[number]
    return problem(os.fsdecode(path) if isinstance(path, bytes | str) else path, *words)


def without_numbers(text: str) -> str:
    """A message without the system's numbers of errors, and without the path that Python adds to them.

    >>> without_numbers("a.json: file: expected JSON, found [Errno 21] Is a directory: 'a.json'; correct it")
    'a.json: file: expected JSON, found is a directory; correct it'
    """
    return _RAW.sub(lambda found: found[1].lower(), text)


def _number_in(text: str) -> int | None:
    found = _NUMBER.search(text)
    if found:
        return int(found[1] or found[2])
    return _BY_TEXT.get(text.rpartition(": ")[2])
