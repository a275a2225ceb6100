"""From what was read to what is written: token ids, or normalised features.

An encoder is described by a small JSON object in the manifest, and made again from it, so that prediction and
generation treat new input exactly as training did.
"""

import hashlib
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ssm_hpn.prepare.problems import config_error, data_error
from ssm_hpn.prepare.records import Record

TOKENIZER_FILE = "tokenizer.json"


class Encoder(Protocol):
    """Text to ids and back, for one vocabulary."""

    vocab_size: int
    reads_text: bool
    """Whether what it decodes to is text that people read."""

    def encode(self, record: Record) -> NDArray[np.uint32]:
        """Token ids of a record."""
        ...

    def encode_text(self, text: str) -> list[int]:
        """Token ids of a prompt."""
        ...

    def decode(self, tokens: Iterable[int]) -> str:
        """Text of token ids."""
        ...

    def describe(self) -> dict[str, Any]:
        """What the manifest stores."""
        ...


class Bytes:
    """Every byte is a token."""

    vocab_size = 256
    reads_text = True

    def encode(self, record: Record) -> NDArray[np.uint32]:
        """The bytes as ids."""
        return np.frombuffer(record.text or b"", np.uint8).astype(np.uint32)

    def encode_text(self, text: str) -> list[int]:
        """UTF-8."""
        return list(text.encode())

    def decode(self, tokens: Iterable[int]) -> str:
        """UTF-8; what is none becomes the replacement character."""
        return bytes(tokens).decode(errors="replace")

    def describe(self) -> dict[str, Any]:
        """Nothing but the kind."""
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
        """The kind and the range."""
        return {"kind": "ids", "vocab_size": self.vocab_size}


class Tokenizer:
    """A Hugging Face `tokenizer.json`. Special tokens are not added: documents are kept apart by their boundaries."""

    reads_text = True

    def __init__(self, path: Path) -> None:
        """Needs the package `tokenizers`."""
        try:
            import tokenizers
        except ImportError:
            raise config_error(
                "data.tokenizer",
                expected="the package tokenizers",
                found="none",
                advice="pip install 'ssm-hpn[hf]'",
            ) from None
        if not path.is_file():
            raise config_error(
                "data.tokenizer", expected="a tokenizer.json", found=f"no file {path}", advice="check the path"
            )
        try:
            self._tokenizer = tokenizers.Tokenizer.from_file(str(path))
        except Exception as error:  # noqa: BLE001 - the package raises nothing narrower
            raise data_error(
                path, "file", expected="a tokenizer.json", found=str(error), advice="export the tokenizer again"
            ) from None
        self.path = path
        self.vocab_size: int = self._tokenizer.get_vocab_size()

    def encode(self, record: Record) -> NDArray[np.uint32]:
        """The ids of a text in UTF-8."""
        try:
            text = (record.text or b"").decode()
        except UnicodeDecodeError as error:
            raise data_error(
                record.path,
                f"{record.at}, byte {error.start}",
                expected="text in UTF-8",
                found=f"byte 0x{error.object[error.start]:02x}",
                advice="convert the file, or use --data.encoder bytes",
            ) from None
        return np.array(self._tokenizer.encode(text, add_special_tokens=False).ids, np.uint32)

    def encode_text(self, text: str) -> list[int]:
        """The ids of a prompt."""
        return list(self._tokenizer.encode(text, add_special_tokens=False).ids)

    def decode(self, tokens: Iterable[int]) -> str:
        """The text, special tokens included."""
        return str(self._tokenizer.decode(list(tokens), skip_special_tokens=False))

    def describe(self) -> dict[str, Any]:
        """The file is kept beside the manifest; its digest tells whether it is the same one."""
        digest = hashlib.sha256(self.path.read_bytes()).hexdigest()
        return {"kind": "tokenizer", "file": TOKENIZER_FILE, "sha256": digest, "vocab_size": self.vocab_size}

    def keep(self, folder: Path) -> None:
        """Copy the file beside the manifest."""
        shutil.copyfile(self.path, folder / TOKENIZER_FILE)


def check_tokenizer(path: Path, sha256: str) -> None:
    """Raise `DataError` unless the copy beside a manifest has the digest that the manifest names."""
    try:
        found = hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        found = error.strerror or "no readable file"
    if found != sha256:
        advice = "the file is damaged: copy it again, or prepare the data again"
        raise data_error(path, "file", expected=f"SHA-256 {sha256}", found=found, advice=advice)


class Normalization:
    """x' = (x - mean) / std per feature, by the training part."""

    def __init__(self, mean: NDArray[np.float64], std: NDArray[np.float64]) -> None:
        """mean, std [F]."""
        self.mean, self.std = mean, std

    def __call__(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """features [T, F], shifted and scaled in double precision."""
        return ((features - self.mean) / self.std).astype(np.float32)

    def describe(self) -> dict[str, list[float]]:
        """What the manifest stores."""
        return {"mean": self.mean.tolist(), "std": self.std.tolist()}


def encoder_of(manifest: dict[str, Any], folder: Path) -> Encoder | None:
    """The encoder that a manifest in `folder` describes; None for features."""
    description = manifest["encoder"]
    match description["kind"]:
        case "bytes":
            return Bytes()
        case "ids":
            return Ids(manifest["vocab_size"])
        case "tokenizer":
            return Tokenizer(folder / description["file"])
        case _:
            return None


def normalization_of(manifest: dict[str, Any]) -> Normalization | None:
    """The normalisation that a manifest describes, if any."""
    stored = manifest.get("normalisation")
    return stored and Normalization(np.array(stored["mean"]), np.array(stored["std"]))
