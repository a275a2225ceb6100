"""Text in any encoding as a stream of UTF-8, some of it at a time, so that one reader and one count of lines serve all.

Byte order marks are left out. UTF-16 and UTF-32 without one are read in the order in which most of the zero bytes of
their beginning make sense.
"""

import codecs
import contextlib
import io
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

from ssm_hpn.prepare.problems import data_error

BLOCK: Final = 1 << 20
MARKED: Final = {
    "utf-16": (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE),
    "utf-32": (codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE),
}
HEAD: Final = 1 << 12
Read = Callable[[int], bytes]
"""The next bytes of a file, at most so many; none at its end."""


class Decoded(io.RawIOBase):
    """The bytes of a file, decoded and encoded as UTF-8. Reading raises `DataError` for a byte that is none."""

    def __init__(self, read: Read, path: Path, encoding: str) -> None:
        self._read, self._path, self._encoding = read, path, encoding
        self._block = read(BLOCK)
        self._head = self._block[:HEAD]
        self._decoder = codecs.getincrementaldecoder(self._codec())()
        self._offset, self._line, self._fresh = 0, 1, True
        self._ready, self._ended = memoryview(b""), False

    def readable(self) -> bool:
        """Whether it can be read from: True."""
        return True

    def readinto(self, buffer: Any) -> int:  # noqa: ANN401 - a writable buffer
        """Fill the buffer with the next bytes of UTF-8; returns their number, 0 at the end."""
        while not self._ready and not self._ended:
            self._ready = memoryview(self._next())
        count = min(len(buffer), len(self._ready))
        buffer[:count] = self._ready[:count]
        self._ready = self._ready[count:]
        return count

    def _next(self) -> bytes:
        """The next block as UTF-8."""
        block, self._ended = self._block, not self._block
        kept = len(self._decoder.getstate()[0])
        try:
            text = self._decoder.decode(block, final=self._ended)
        except UnicodeDecodeError as error:
            raise self._undecodable(error, self._offset - kept) from None
        self._offset += len(block)
        self._block = self._read(BLOCK) if block else b""
        if self._fresh and text:
            text, self._fresh = text.removeprefix("\ufeff"), False
        self._line += text.count("\n")
        return text.encode(errors="surrogatepass")

    def _undecodable(self, error: UnicodeDecodeError, begins: int) -> Exception:
        before = error.object[: error.start].decode(error.encoding, errors="ignore")
        found = " ".join(f"0x{byte:02x}" for byte in error.object[error.start : error.end][:4])
        return data_error(
            self._path,
            f"line {self._line + before.count(chr(10))}, byte {begins + error.start}",
            expected=f"text in {self._encoding}",
            found=found,
            advice=advice_for(self._head, self._encoding),
        )

    def _codec(self) -> str:
        """The encoding with its order of bytes."""
        name = codecs.lookup(self._encoding).name
        if not _lacks_mark(self._head, name):
            return name
        if 0 not in self._head:
            raise data_error(
                self._path,
                "file",
                expected=f"text in {self._encoding}",
                found="no byte order mark and no zero byte",
                advice=advice_for(self._head, self._encoding),
            )
        return name + _order(self._head, name)


def _lacks_mark(head: bytes, name: str) -> bool:
    """Whether the order of bytes has to be guessed."""
    return name in MARKED and bool(head) and not head.startswith(MARKED[name])


def _order(head: bytes, name: str) -> str:
    """The order of bytes in which most of the zero bytes of a beginning make sense."""
    width = 2 if name == "utf-16" else 4
    return "-be" if head[0::width].count(0) > head[width - 1 :: width].count(0) else "-le"


def doubts(read: Read, encoding: str) -> Iterator[tuple[str, str]]:
    """What may be wrong with an encoding that was asked for: subject and sentence.

    >>> file = io.BytesIO("schön".encode())
    >>> [subject for subject, _ in doubts(file.read, "latin-1")]
    ['UTF-8']
    """
    name, block = codecs.lookup(encoding).name, read(BLOCK)
    head = block[:HEAD]
    if _lacks_mark(head, name):
        if 0 in head:
            order = _order(head, name)
            other = name + {"-le": "-be", "-be": "-le"}[order]
            yield "order", f"no byte order mark: read as {name}{order}; set --data.encoding {other} if that is wrong"
    elif _one_byte_each(name):
        while block and block.isascii():
            block = read(BLOCK)
        with contextlib.suppress(UnicodeDecodeError):
            text = codecs.getincrementaldecoder("utf-8")().decode(block)
            meant = next((one for one in text if not one.isascii()), "")
            if meant:
                found = meant.encode().decode(encoding, errors="replace")
                advice = f"leave data.encoding out if {found!r} is {meant!r}"
                yield "UTF-8", f"read as {encoding}, but its bytes are text in UTF-8 too: {advice}"


def _one_byte_each(name: str) -> bool:
    """Whether every byte is a character in an encoding."""
    try:
        return not name.startswith("utf") and len(bytes(range(256)).decode(name, errors="replace")) == 256
    except UnicodeError:  # of an encoding that replaces nothing
        return False


def advice_for(head: bytes, tried: str = "utf-8") -> str:
    """What to do about bytes that are no text in an encoding, by how the file begins."""
    for name in ("utf-32", "utf-16"):
        if head.startswith(MARKED[name]) and codecs.lookup(tried).name != name:
            return f"set --data.encoding {name}"
    if codecs.lookup(tried).name != "utf-8":
        with contextlib.suppress(UnicodeDecodeError):
            codecs.getincrementaldecoder("utf-8")().decode(head)
            return "leave data.encoding out: the file begins as UTF-8"
    return "name its encoding in data.encoding, such as cp1252 or latin-1, or save the file as UTF-8"
