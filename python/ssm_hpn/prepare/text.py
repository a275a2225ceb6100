"""Text files and files of whitespace-separated integers, read in blocks.

A file, or each of its lines, is a document. A document longer than `max_document` arrives in pieces.
"""

import re
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from ssm_hpn.config.data import PrepareOptions
from ssm_hpn.prepare.problems import data_error, shown
from ssm_hpn.prepare.records import Record, character_start
from ssm_hpn.prepare.sources import Source, open_stream, read_block

BLOCK_BYTES = 1 << 20
LARGEST_ID = (1 << 32) - 1


def read_text(source: Source, options: PrepareOptions) -> Iterator[Record]:
    """Documents of a text file as bytes. A NUL byte is an error unless the bytes encoder was asked for by name."""
    offset, line = 0, 1
    for block in blocks(source, min(BLOCK_BYTES, options.max_document)):
        nul = -1 if options.encoder == "bytes" else block.find(b"\0")
        if nul >= 0:
            raise data_error(
                source.path,
                f"byte {offset + nul}",
                expected="text",
                found="a NUL byte (a binary file)",
                advice="train on its bytes as they are with --data.encoder bytes, or leave the file out",
            )
        if options.documents == "file":
            yield Record(source.name, source, f"byte {offset}", text=block)
        else:
            for index, text in enumerate(block.split(b"\n"), start=line):
                if text.strip():
                    yield Record(f"{source.name}#{index}", source, f"line {index}", text=text.rstrip(b"\r"))
        offset += len(block)
        line += block.count(b"\n")


def read_integers(source: Source, options: PrepareOptions) -> Iterator[Record]:
    """Documents of a file of token ids in decimal: one stream, or one document a line."""
    line = 1
    for block in blocks(source, BLOCK_BYTES):
        if options.documents == "line":
            for index, text in enumerate(block.split(b"\n")):
                if words := text.split():
                    tokens = _parse(source, words, text, line + index)
                    yield Record(f"{source.name}#{line + index}", source, f"line {line + index}", tokens=tokens)
        else:
            tokens = _parse(source, block.split(), block, line)
            yield Record(source.name, source, f"line {line}", tokens=tokens)
        line += block.count(b"\n")


def _parse(source: Source, words: list[bytes], text: bytes, first_line: int) -> NDArray[np.int64]:
    """Decimal words as numbers; the error names the line of the first word that is no id."""
    try:
        tokens = np.fromiter(map(int, words), np.int64, len(words))
        if not len(tokens) or (tokens.min() >= 0 and tokens.max() <= LARGEST_ID):
            return tokens
    except (ValueError, OverflowError):
        pass
    for match in re.finditer(rb"\S+", text):
        word = match.group()
        if not word.isdigit() or int(word) > LARGEST_ID:
            newlines = text.count(b"\n", 0, match.start())
            raise data_error(
                source.path,
                f"line {first_line + newlines}",
                expected="a token id (a whole number from 0 to 4294967295)",
                found=shown(word.decode(errors="replace")),
                advice="set --data.format text if this is no file of token ids",
            )
    raise AssertionError("unreachable: one of the words is no id")


def blocks(source: Source, size: int) -> Iterator[bytes]:
    """About `size` bytes at a time, cut after a line end (or a blank) where there is one; an empty file is an error."""
    rest = b""
    with open_stream(source.path) as stream:
        block = read_block(stream, source.path, size)
        if not block:
            raise data_error(
                source.path, "file", expected="at least one byte", found="an empty file", advice="leave the file out"
            )
        while following := read_block(stream, source.path, size):
            block = rest + block
            long = len(block) >= 2 * size  # no line end for so long that another place has to do
            end = block.rfind(b"\n") + 1 or (long and (block.rfind(b" ") + 1 or character_start(block, len(block) - 1)))
            if end:
                yield block[:end]
            rest, block = block[end:], following
    yield rest + block
