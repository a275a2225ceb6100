"""Text files and files of whitespace-separated integers, read in blocks.

A file, or each of its lines, is a document. A document longer than `max_document` arrives in pieces.
"""

import re
import warnings
from collections.abc import Iterator
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ssm_hpn.config.data import PrepareOptions
from ssm_hpn.errors import DataError
from ssm_hpn.prepare.problems import data_error, shown
from ssm_hpn.prepare.records import Documents, Ints, character_start, within
from ssm_hpn.prepare.source import UTF_16, Source, line_at, open_source, read_block

BLOCK_BYTES: Final = 1 << 20
LARGEST_ID: Final = (1 << 32) - 1
BLANK: Final = 32
"""The largest byte that is not seen: blanks, line ends, control characters."""


def read_text(source: Source, options: PrepareOptions) -> Iterator[Documents]:
    """Documents of a text file as bytes. A NUL byte is an error unless the bytes encoder was asked for by name."""
    for block, offset, line, fresh in _placed(source, min(BLOCK_BYTES, options.max_document), options):
        nul = -1 if options.encoder == "bytes" else block.find(b"\0")
        if nul >= 0:
            raise _not_text(source, block, offset, nul)
        data = np.frombuffer(block, np.uint8)
        if options.documents == "file":
            yield within(_whole(source, line, data, begins=offset == 0), options.max_document)
            continue
        starts, stops = _lines(data)
        there = np.maximum.reduceat(data, starts) > BLANK
        kept = data != ord("\n")
        kept[stops[stops < len(data)]] = False  # line ends, of which some have two bytes
        for start, stop in zip(starts[~there].tolist(), stops[~there].tolist(), strict=True):
            kept[start:stop] = False
        begins = np.concatenate([[fresh], np.ones(len(starts) - 1, bool)])
        places = line + np.flatnonzero(there), begins[there]
        yield from _per_line(source, places, data[kept], (stops - starts)[there], options)


def read_integers(source: Source, options: PrepareOptions) -> Iterator[Documents]:
    """Documents of a file of token ids in decimal: one stream, or one document a line."""
    for block, offset, line, fresh in _placed(source, BLOCK_BYTES, options):
        tokens = _parse(source, block, offset)
        if options.documents == "file":
            if len(tokens):
                yield within(_whole(source, line, tokens, begins=offset == 0), options.max_document)
            continue
        data = np.frombuffer(block, np.uint8)
        starts, _ = _lines(data)
        seen = data > BLANK
        words = seen & ~np.concatenate([[False], seen[:-1]])
        counts = np.add.reduceat(words, starts, dtype=np.int64)
        there = counts > 0
        begins = np.concatenate([[fresh], np.ones(len(starts) - 1, bool)])
        places = line + np.flatnonzero(there), begins[there]
        yield from _per_line(source, places, tokens, counts[there], options)


def _placed(source: Source, size: int, options: PrepareOptions) -> Iterator[tuple[bytes, int, int, bool]]:
    """Blocks with the byte and the line at which each begins, and whether a line begins with it."""
    offset, line, fresh = 0, 1, True
    for block in blocks(source, size, lines=options.documents == "line"):
        yield block, offset, line, fresh
        offset, line, fresh = offset + len(block), line + block.count(b"\n"), block.endswith(b"\n")


def _whole(source: Source, line: int, elements: NDArray[Any], *, begins: bool) -> Documents:
    """One document, or a piece of it."""
    offsets = np.array([0, len(elements)])
    return Documents(source, np.array([line]), elements, offsets, numbered=False, fresh=np.array([begins]))


def _per_line(
    source: Source,
    places: tuple[Ints, NDArray[np.bool_]],
    elements: NDArray[Any],
    lengths: Ints,
    options: PrepareOptions,
) -> Iterator[Documents]:
    """A document per line: `places` are its line and whether it begins there, `lengths` its units."""
    rows, begins = places
    if len(rows):
        offsets = np.concatenate([[0], np.cumsum(lengths)])
        yield within(Documents(source, rows, elements, offsets, fresh=begins), options.max_document)


def _lines(data: NDArray[np.uint8]) -> tuple[Ints, Ints]:
    """Where every line begins and ends, without its line end."""
    ends = np.flatnonzero(data == ord("\n"))
    if not len(data) or data[-1] != ord("\n"):
        ends = np.append(ends, len(data))
    starts = np.concatenate([[0], ends[:-1] + 1])
    return starts, ends - ((ends > starts) & (data[np.maximum(ends - 1, 0)] == ord("\r")))


def _parse(source: Source, text: bytes, offset: int) -> Ints:
    """Decimal words as numbers, from byte `offset` on; the error names the line of the first word that is no id."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            tokens = np.fromstring(text, np.int64, sep=" ") if text.strip() else np.empty(0, np.int64)
        if not len(tokens) or (tokens.min() >= 0 and tokens.max() <= LARGEST_ID):
            return tokens
    except (ValueError, OverflowError, DeprecationWarning):
        pass
    for match in re.finditer(rb"\S+", text):
        word = match.group()
        if not word.isdigit() or len(word) > 20 or int(word) > LARGEST_ID:
            raise data_error(
                source.path,
                f"line {line_at(source, offset + match.start())}",
                expected="a token id (a whole number from 0 to 4294967295)",
                found=shown(word.decode(errors="replace")),
                advice="set --data.format text if this is no file of token ids",
            )
    return np.array([int(word) for word in text.split()], np.int64)


def _not_text(source: Source, block: bytes, offset: int, nul: int) -> DataError:
    """The error for a NUL byte."""
    if offset == 0 and block.startswith(UTF_16):
        return data_error(
            source.path,
            "file",
            expected="text in UTF-8",
            found="UTF-16",
            advice="set --data.encoding utf-16, or save it as UTF-8",
        )
    return data_error(
        source.path,
        f"byte {offset + nul}",
        expected="text",
        found="a NUL byte (a binary file)",
        advice="train on its bytes as they are with --data.encoder bytes, or leave the file out",
    )


def blocks(source: Source, size: int, *, lines: bool = False) -> Iterator[bytes]:
    r"""About `size` bytes at a time, cut after a line end (or a blank) where there is one; an empty file is an error.

    For `lines`, a file that ends them with `\r`, as its first block has that and no `\n`, is read as one with `\n`.
    """
    rest = b""
    with open_source(source) as stream:
        block = read_block(stream, source.path, size)
        if not block:
            raise data_error(
                source.path, "file", expected="at least one byte", found="an empty file", advice="leave the file out"
            )
        returns = lines and b"\r" in block and b"\n" not in block
        block = block.replace(b"\r", b"\n") if returns else block
        while following := read_block(stream, source.path, size):
            following = following.replace(b"\r", b"\n") if returns else following
            block = rest + block
            long = len(block) >= 2 * size  # no line end for so long that another place has to do
            end = block.rfind(b"\n") + 1 or (long and (block.rfind(b" ") + 1 or character_start(block, len(block) - 1)))
            if end:
                yield block[:end]
            rest, block = block[end:], following
    yield rest + block
