"""A Hugging Face `tokenizer.json` as an encoder.

Its settings of truncation and padding are not applied: a document is encoded whole. Special tokens are not
added: documents are kept apart by their boundaries. Ids may have holes; the vocabulary ends after the largest one.

A word that the tokenizer has no token for, not even one for unknown words, is an error. The tokenizer's own error says
so for WordLevel, WordPiece and Unigram. BPE drops characters that it does not know without one: where neither an
unknown token nor bytes stand in for them, every character of a text is tried once.
"""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray

from ssm_hpn.errors import ConfigError, StorageError
from ssm_hpn.prepare.problems import config_error, data_error, shown
from ssm_hpn.prepare.records import Record
from ssm_hpn.storage import write_whole

TOKENIZER_FILE: Final = "tokenizer.json"
KNOWN_WORDS: Final = "words that the tokenizer has tokens for"
ADVICE: Final = "give the tokenizer an unknown token, or leave it out"
LOST: Final = "\ufffd"
"""Shown for an id that stands for no token."""


class UnknownWord(ValueError):  # noqa: N818 - a finding about a text; whoever has the text says where it is
    """A text has a word without a token; the word is the argument."""


class Tokenizer:
    """Text to ids and back.

    Parameters
    ----------
    text
        Content of a tokenizer.json.
    source
        Where it came from, for messages.
    vocab_size
        Ids that the model shall know; null: the largest id of the tokenizer plus one.

    Raises `ConfigError` without the package `tokenizers` and for a `vocab_size` that leaves ids out, `DataError` for a
    text that is no tokenizer.
    """

    reads_text = True

    def __init__(self, text: str, *, source: Path | str, vocab_size: int | None = None) -> None:
        tokenizers = _package()
        try:
            self._tokenizer = tokenizers.Tokenizer.from_str(text)
        except Exception as error:  # noqa: BLE001 - the package raises nothing narrower
            found = str(error).splitlines()[0]
            raise data_error(
                source, "file", expected="a tokenizer.json", found=found, advice="export the tokenizer again"
            ) from None
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        self.text = text
        self._ids = set(self._tokenizer.get_vocab(with_added_tokens=True).values())
        needed = max(self._ids, default=-1) + 1
        if not needed:
            raise data_error(
                source, "vocabulary", expected="at least one token", found="none", advice="train the tokenizer first"
            )
        if vocab_size is not None and vocab_size < needed:
            raise config_error(
                "data.vocab_size",
                expected=f"at least {needed}, the largest id of the tokenizer plus one",
                found=vocab_size,
                advice="raise it, or leave it out",
            )
        self.vocab_size: int = vocab_size or needed
        self._drops = _drops_characters(self._tokenizer.model, tokenizers.models.BPE)
        self._known: dict[str, bool] = {}

    @classmethod
    def read(cls, path: Path, *, vocab_size: int | None = None) -> Self:
        """From a file."""
        _package()
        try:
            text = path.read_bytes().decode()
        except FileNotFoundError:
            raise config_error(
                "data.tokenizer", expected="a tokenizer.json", found=f"no file {path}", advice="check the path"
            ) from None
        except (OSError, ValueError) as error:
            raise data_error(
                path, "file", expected="a tokenizer.json", found=error, advice="export the tokenizer again"
            ) from None
        return cls(text, source=path, vocab_size=vocab_size)

    def encode(self, record: Record) -> NDArray[np.uint32]:
        """The ids of a text in UTF-8."""
        return next(self.encode_all([record]))

    def encode_all(self, records: Sequence[Record]) -> Iterator[NDArray[np.uint32]]:
        """The ids of several texts, which takes less time than one by one.

        Raises `DataError` with the place of a text that is not UTF-8 or has a word without a token.
        """
        texts = [_decoded(record) for record in records]
        try:
            yield from (np.array(ids, np.uint32) for ids in self._encoded(texts))
        except UnknownWord:
            for record, text in zip(records, texts, strict=True):
                self._check(record, text)
            raise

    def _check(self, record: Record, text: str) -> None:
        try:
            self._encoded([text])
        except UnknownWord as word:
            raise data_error(
                record.path, record.at, expected=KNOWN_WORDS, found=shown(str(word)), advice=ADVICE
            ) from None

    def encode_text(self, text: str) -> list[int]:
        """The ids of a prompt. Raises `ConfigError` for a word without a token, and where there is no token at all."""
        try:
            text.encode()
            found = self._encoded([text])[0]
        except UnknownWord as word:
            raise _bad_prompt(KNOWN_WORDS, str(word)) from None
        except UnicodeEncodeError as error:
            raise _bad_prompt("text in UTF-8", text[error.start : error.end]) from None
        if not found:
            raise _bad_prompt("a text that becomes at least one token", text)
        return found

    def decode(self, tokens: Iterable[int]) -> str:
        """The text, special tokens included; an id that stands for no token becomes U+FFFD."""
        parts: list[list[int]] = [[]]
        for token in tokens:
            if token in self._ids:
                parts[-1].append(token)
            else:
                parts.append([])
        return LOST.join(self._tokenizer.decode(part, skip_special_tokens=False) for part in parts)

    def describe(self) -> dict[str, Any]:
        """The file is kept beside the manifest; its digest tells whether it is the same one."""
        digest = hashlib.sha256(self.text.encode()).hexdigest()
        return {"kind": "tokenizer", "file": TOKENIZER_FILE, "sha256": digest, "vocab_size": self.vocab_size}

    def keep(self, folder: Path) -> None:
        """Write the file beside the manifest."""
        write_whole(folder / TOKENIZER_FILE, self.text)

    def _encoded(self, texts: list[str]) -> list[list[int]]:
        """The ids of each text."""
        if self._drops:
            for character in set().union(*texts) - self._known.keys():
                self._known[character] = self._keeps(character)
            lost = [character for text in texts for character in set(text) if not self._known[character]]
            if lost:
                raise UnknownWord(min(lost))
        try:
            if len(texts) == 1:
                return [self._tokenizer.encode(texts[0], add_special_tokens=False).ids]
            return [found.ids for found in self._tokenizer.encode_batch_fast(texts, add_special_tokens=False)]
        except Exception:  # noqa: BLE001 - the package raises nothing narrower
            raise UnknownWord(self._unknown_word(texts)) from None

    def _unknown_word(self, texts: list[str]) -> str:
        """The first word, by blanks, that cannot be encoded by itself."""
        for word in (word for text in texts for word in text.split()):
            try:
                self._tokenizer.encode(word, add_special_tokens=False)
            except Exception:  # noqa: BLE001 - the package raises nothing narrower
                return word
        return texts[0]

    def _keeps(self, character: str) -> bool:
        """Whether a character becomes a token, alone or before itself, is a blank, or is none after normalisation."""
        return character.isspace() or self._covers(character, last=True) or self._covers(2 * character, last=False)

    def _covers(self, text: str, *, last: bool) -> bool:
        """Whether tokens cover all that is left of a text after normalisation and splitting, but for blanks.

        Without `last` the last character of a piece, which may be another token at the end of a word, is not asked for.
        """
        tokenizer = self._tokenizer
        normal = tokenizer.normalizer.normalize_str(text) if tokenizer.normalizer else text
        pieces = tokenizer.pre_tokenizer.pre_tokenize_str(normal) if tokenizer.pre_tokenizer else [(normal, None)]
        for piece, _ in pieces:
            asked = piece if last or len(piece) == 1 else piece[:-1]
            covered = {place for token in tokenizer.model.tokenize(piece) for place in range(*token.offsets)}
            if asked.strip() and not covered.issuperset(range(len(asked.encode()))):
                return False
        return True


def check_tokenizer(path: Path, sha256: str) -> None:
    """Raise `DataError` unless the copy beside a manifest has the digest that the manifest names."""
    try:
        found = hashlib.sha256(path.read_bytes()).hexdigest()
    except FileNotFoundError:
        found = "no such file"
    except OSError as error:
        raise StorageError(f"{path}: cannot read: {error.strerror}") from None
    if found != sha256:
        advice = "the file is damaged: copy it again, or prepare the data again"
        raise data_error(path, "file", expected=f"SHA-256 {sha256}", found=found, advice=advice)


def _decoded(record: Record) -> str:
    try:
        return (record.text or b"").decode()
    except UnicodeDecodeError as error:
        raise data_error(
            record.path,
            f"{record.at}, byte {error.start}",
            expected="text in UTF-8",
            found=f"byte 0x{error.object[error.start]:02x}",
            advice="convert the file, or use --data.encoder bytes",
        ) from None


def _bad_prompt(expected: str, found: str) -> ConfigError:
    return config_error("prompt", expected=expected, found=shown(found), advice="use other words")


def _package() -> Any:  # noqa: ANN401 - a module
    try:
        import tokenizers
    except ImportError:
        raise config_error(
            "data.tokenizer", expected="the package tokenizers", found="none", advice="pip install tokenizers"
        ) from None
    return tokenizers


def _drops_characters(model: Any, bpe: Any) -> bool:  # noqa: ANN401 - of the package tokenizers
    """Whether a model leaves out what it does not know without saying so."""
    return isinstance(model, bpe) and model.unk_token is None and not model.byte_fallback
