"""Text in any encoding as a stream of UTF-8, some of it at a time, so that one reader and one count of lines serve all.

Byte order marks are left out. UTF-16 and UTF-32 without one are read in the order in which most of the zero bytes of
their beginning make sense.
"""

import codecs
import io
from pathlib import Path
from typing import Any, Final

from ssm_hpn.prepare.problems import data_error

BLOCK: Final = 1 << 20
MARKED: Final = {
    "utf-16": (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE),
    "utf-32": (codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE),
}
HEAD: Final = 1 << 12


class Decoded(io.RawIOBase):
    """The bytes of a stream, decoded and encoded as UTF-8. Reading raises `DataError` for a byte that is none."""

    def __init__(self, stream: Any, path: Path, encoding: str) -> None:  # noqa: ANN401 - anything with `read`
        self._stream, self._path, self._encoding = stream, path, encoding
        self._block = bytes(stream.read(BLOCK))
        self._decoder = codecs.getincrementaldecoder(self._codec())()
        self._offset, self._line, self._fresh = 0, 1, True
        self._ready, self._ended = memoryview(b""), False

    def readable(self) -> bool:
        """It is."""
        return True

    def readinto(self, buffer: Any) -> int:  # noqa: ANN401 - a writable buffer
        """As for any raw stream."""
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
        self._block = bytes(self._stream.read(BLOCK)) if block else b""
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
            advice=self._advice(),
        )

    def _advice(self) -> str:
        with self._path.open("rb") as file:
            return advice_for(file.read(HEAD), self._encoding)

    def _codec(self) -> str:
        """The encoding with its order of bytes."""
        name = codecs.lookup(self._encoding).name
        head = self._block[:HEAD]
        if name not in MARKED or not head or head.startswith(MARKED[name]):
            return name
        width = 2 if name == "utf-16" else 4
        if 0 not in head:
            raise data_error(
                self._path,
                "file",
                expected=f"text in {self._encoding}",
                found="no byte order mark and no zero byte",
                advice=advice_for(head, self._encoding),
            )
        return f"{name}-be" if head[0::width].count(0) > head[width - 1 :: width].count(0) else f"{name}-le"


def advice_for(head: bytes, tried: str = "") -> str:
    """What to do about bytes that are no text in an encoding, by how the file begins."""
    for name in ("utf-32", "utf-16"):
        if head.startswith(MARKED[name]) and tried != name:
            return f"set --data.encoding {name}"
    try:
        codecs.getincrementaldecoder("utf-8")().decode(head)
    except UnicodeDecodeError:
        return "name its encoding in data.encoding, such as cp1252 or latin-1, or save the file as UTF-8"
    return "leave data.encoding out: the file begins as UTF-8" if tried else "save the file as UTF-8"
