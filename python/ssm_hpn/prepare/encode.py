"""Encoders: from text to token ids and back.

An encoder is described by a small JSON object in the manifest, and made again from it, so that prediction and
generation treat new input exactly as training did.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ssm_hpn.prepare.problems import config_error, data_error, shown
from ssm_hpn.prepare.records import Record
from ssm_hpn.prepare.tokenizer import LOST, Tokenizer


class Encoder(Protocol):
    """Text to ids and back, for one vocabulary."""

    vocab_size: int
    reads_text: bool
    """Whether what it decodes to is text that people read."""

    def encode(self, record: Record) -> NDArray[np.uint32]:
        """Token ids of a record."""
        ...

    def encode_all(self, records: Sequence[Record]) -> Iterator[NDArray[np.uint32]]:
        """Token ids of each of several records."""
        ...

    def encode_text(self, text: str) -> list[int]:
        """Token ids of a prompt."""
        ...

    def decode(self, tokens: Iterable[int]) -> str:
        """Text of token ids."""
        ...

    def describe(self) -> dict[str, Any]:
        """The description that is stored in the manifest."""
        ...


class Bytes:
    """Every byte is a token."""

    vocab_size = 256
    reads_text = True

    def encode(self, record: Record) -> NDArray[np.uint32]:
        """The bytes as ids."""
        return np.frombuffer(record.text or b"", np.uint8).astype(np.uint32)

    def encode_all(self, records: Sequence[Record]) -> Iterator[NDArray[np.uint32]]:
        """The bytes of each as ids."""
        return map(self.encode, records)

    def encode_text(self, text: str) -> list[int]:
        """UTF-8; bytes of the command line that are none are taken as they are."""
        try:
            return list(text.encode(errors="surrogateescape"))
        except UnicodeEncodeError as error:
            found = shown(text[error.start : error.end])
            raise config_error("prompt", expected="text in UTF-8", found=found, advice="leave it out") from None

    def decode(self, tokens: Iterable[int]) -> str:
        """UTF-8; what is none, an id above 255 included, becomes the replacement character."""
        lost = LOST.encode()
        return b"".join(bytes([token]) if token < 256 else lost for token in tokens).decode(errors="replace")

    def describe(self) -> dict[str, Any]:
        """The description in the manifest: the kind."""
        return {"kind": "bytes"}


class Ids:
    """Token ids as given."""

    reads_text = False

    def __init__(self, vocab_size: int) -> None:
        """Ids are below `vocab_size`."""
        self.vocab_size = vocab_size

    def encode(self, record: Record) -> NDArray[np.uint32]:
        """The ids, checked."""
        tokens = record.tokens if record.tokens is not None else np.empty(0, np.int64)
        bad = np.flatnonzero(tokens >= self.vocab_size)
        if len(bad):
            raise data_error(
                record.path,
                f"{record.at}, position {bad[0]}",
                expected=f"a token id below {self.vocab_size}",
                found=int(tokens[bad[0]]),
                advice="raise --data.vocab_size or correct the file",
            )
        return tokens.astype(np.uint32)

    def encode_all(self, records: Sequence[Record]) -> Iterator[NDArray[np.uint32]]:
        """The ids of each, checked."""
        return map(self.encode, records)

    def encode_text(self, text: str) -> list[int]:
        """Ids written as numbers."""
        try:
            tokens = [int(word) for word in text.split()]
        except ValueError:
            tokens = [-1]
        if any(not 0 <= token < self.vocab_size for token in tokens):
            raise config_error(
                "prompt",
                expected=f"token ids from 0 to {self.vocab_size - 1}, separated by blanks",
                found=repr(text[:40]),
                advice="this model was trained on ids, not on text",
            )
        return tokens

    def decode(self, tokens: Iterable[int]) -> str:
        """Ids as numbers."""
        return " ".join(map(str, tokens))

    def describe(self) -> dict[str, Any]:
        """The description in the manifest: the kind and the range."""
        return {"kind": "ids", "vocab_size": self.vocab_size}


def encoder_of(manifest: dict[str, Any], folder: Path) -> Encoder | None:
    """The encoder that a manifest in `folder` describes; None for features."""
    description = manifest["encoder"]
    match description["kind"]:
        case "bytes":
            return Bytes()
        case "ids":
            return Ids(manifest["vocab_size"])
        case "tokenizer":
            return Tokenizer.read(folder / description["file"], vocab_size=manifest["vocab_size"])
        case _:
            return None


def encoder_from(description: Mapping[str, Any]) -> Encoder | None:
    """The encoder that the contract of a data set describes; None for features."""
    match description.get("kind"):
        case "bytes":
            return Bytes()
        case "ids":
            return Ids(int(description["vocab_size"]))
        case "tokenizer":
            text, size = str(description["text"]), description.get("vocab_size")
            return Tokenizer(text, source="the tokenizer of the model", vocab_size=size)
        case _:
            return None
