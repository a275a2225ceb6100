"""N-gram tables over bytes, a baseline for language models on bytes.

A table of order n (1 unigram … 4 four-gram) predicts a byte w from the n-1 bytes h before it, interpolated as Witten
and Bell do (The zero-frequency problem, 1991; docs/mathematics.md, section 5), down to the uniform distribution:

    P_n(w|h) = (c(hw) + N(h)·P_{n-1}(w|h')) / (c(h) + N(h))          P_0(w) = 1/256

c counts in the training bytes, N(h) is the number of different bytes seen after h, h' is h without its first byte; an
unseen h gives P_{n-1}(w|h'). There is no parameter to tune, nothing has probability zero, and the seen and unseen part
are weighted by evidence, so the bits per byte are those of a well-fitted table. Accuracy is that of the most probable
byte of the same distribution (of equal ones the smallest).

Scored are the bytes that a language model is scored on: all but the first of each document. Near a document's start,
where h would reach before it, the longest table that fits is used.
"""

import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from ssm_hpn.errors import DataError, problem
from ssm_hpn.storage import write_whole

ORDERS = (1, 2, 3, 4)
NAMES = {1: "unigram", 2: "bigram", 3: "trigram", 4: "4-gram"}
CHUNK_BYTES = 1 << 22
CONTEXTS_AT_ONCE = 1 << 12
CACHE_FILE = "baselines.json"
VERSION = 1

Keys = NDArray[np.uint32]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class TableScore:
    """One table on the held-out bytes."""

    order: int
    accuracy: float
    bits_per_byte: float
    scored: int
    """Bytes."""

    @property
    def name(self) -> str:
        """Its usual name, such as `bigram`."""
        return NAMES.get(self.order, f"{self.order}-gram")


@dataclass(frozen=True)
class Counts:
    """Every n-gram of one order that occurs, as a sorted number of n base-256 digits, and how often."""

    keys: Keys
    counts: NDArray[np.int64]

    def joined(self, other: Self) -> "Counts":
        """Sum of two counts."""
        keys, index = np.unique(np.concatenate([self.keys, other.keys]), return_inverse=True)
        counts = np.bincount(index, np.concatenate([self.counts, other.counts]), len(keys))
        return Counts(keys, counts.astype(np.int64))


class Tables:
    """Counts of all orders, and their distributions."""

    def __init__(self, counts: dict[int, Counts]) -> None:
        """Counts per order, 1 to the largest."""
        self.counts = counts

    @classmethod
    def fit(cls, documents: Iterable[bytes]) -> Self:
        """Count the n-grams inside documents; memory grows with the number of different n-grams."""
        counts: dict[int, Counts] = {}
        for data, place in _chunks(documents):
            for order in ORDERS:
                new = Counts(*np.unique(_grams(data, order)[place >= order - 1], return_counts=True))
                counts[order] = counts[order].joined(new) if order in counts else new
        return cls(counts)

    def distribution(self, order: int, contexts: Keys) -> Floats:
        """P(w|h) for contexts of order - 1 bytes: [contexts, 256]."""
        if order == 0:
            return np.full((len(contexts), 256), 1.0 / 256)
        shorter, index = np.unique(contexts % np.uint32(256 ** max(order - 2, 0)), return_inverse=True)
        lower = self.distribution(order - 1, shorter)[index]
        table = self.counts[order]
        first = np.searchsorted(table.keys, contexts << np.uint32(8))
        last = np.searchsorted(table.keys, contexts << np.uint32(8) | np.uint32(255), side="right")
        different = last - first
        rows = np.repeat(np.arange(len(contexts)), different)
        entries = np.arange(len(rows)) - np.repeat(np.cumsum(different) - different, different) + first[rows]
        seen = np.zeros((len(contexts), 256))
        seen[rows, table.keys[entries] & np.uint32(255)] = table.counts[entries]
        total = seen.sum(axis=1) + different
        known = total > 0
        lower[known] = (seen[known] + different[known, None] * lower[known]) / total[known, None]
        return lower

    def evaluate(self, documents: Iterable[bytes]) -> list[TableScore]:
        """Accuracy and bits per byte, -Σ log2 P_n(w|h) / bytes scored, of every order."""
        sums = np.zeros((len(ORDERS), 2))
        scored = 0
        for data, place in _chunks(documents):
            scored += int((place > 0).sum())
            near_starts = np.zeros(2)  # bytes near the start, scored by the longest table that fits before them
            for row, order in enumerate(ORDERS):
                grams = _grams(data, order)
                if order > 1:
                    near_starts += self._score(order, grams[place == order - 1])
                sums[row] += near_starts + self._score(order, grams[place >= order])
        means = (sums / max(scored, 1)).tolist()
        return [TableScore(n, accuracy, bits, scored) for n, (accuracy, bits) in zip(ORDERS, means, strict=True)]

    def _score(self, order: int, grams: Keys) -> tuple[int, float]:
        """Correct predictions and bits over n-grams of one order."""
        keys, times = np.unique(grams, return_counts=True)
        contexts, index = np.unique(keys >> np.uint32(8), return_inverse=True)
        targets = keys & np.uint32(255)
        best, chance = np.empty(len(contexts), np.int64), np.empty(len(keys))
        for start in range(0, len(contexts), CONTEXTS_AT_ONCE):
            p = self.distribution(order, contexts[start : start + CONTEXTS_AT_ONCE])
            best[start : start + len(p)] = p.argmax(axis=1)
            first, last = np.searchsorted(index, [start, start + len(p)])
            chance[first:last] = p[index[first:last] - start, targets[first:last]]
        return int(times[best[index] == targets].sum()), float(-(times * np.log2(chance)).sum())


def compare(train: Path, validation: Path) -> list[TableScore]:
    """Tables fitted to one prepared folder of bytes and scored on another; kept in a file beside the shards."""
    key = [VERSION, *(_manifest(folder)["source"]["digest"] for folder in (train, validation))]
    cache = validation.parent / CACHE_FILE
    try:
        stored = json.loads(cache.read_text(encoding="utf-8"))
        if stored["key"] == key:
            return [TableScore(**score) for score in stored["scores"]]
    except (OSError, ValueError, KeyError, TypeError):
        pass  # no usable cache: compute
    scores = Tables.fit(shard_bytes(train)).evaluate(shard_bytes(validation))
    text = json.dumps({"key": key, "scores": [asdict(score) for score in scores]}, indent=2) + "\n"
    write_whole(cache, text)
    return scores


def shard_bytes(folder: Path) -> Iterator[bytes]:
    """The documents of a prepared folder of bytes."""
    manifest = _manifest(folder)
    if manifest.get("vocab_size") != 256:
        raise DataError(
            problem(
                f"{folder}: vocab_size", "256 (bytes)", manifest.get("vocab_size"), "tables are made for bytes only"
            )
        )
    for shard in manifest["shards"]:
        with pa.OSFile(str(folder / shard["file"])) as file:
            reader = pa.ipc.open_file(file)
            for index in range(reader.num_record_batches):
                column = reader.get_batch(index).column("tokens")
                offsets = np.asarray(column.offsets)
                values = np.asarray(column.values)[offsets[0] : offsets[-1]].astype(np.uint8)
                for start, end in zip(offsets[:-1] - offsets[0], offsets[1:] - offsets[0], strict=True):
                    yield values[start:end].tobytes()


def _manifest(folder: Path) -> dict[str, Any]:
    return dict(json.loads((folder / "manifest.json").read_text(encoding="utf-8")))


def _chunks(documents: Iterable[bytes]) -> Iterator[tuple[NDArray[np.uint8], NDArray[np.int64]]]:
    """Whole documents of some megabytes together, and the position of each byte in its document."""
    held: list[bytes] = []
    size = 0
    for document in documents:
        held.append(document)
        size += len(document)
        if size >= CHUNK_BYTES:
            yield _joined(held)
            held, size = [], 0
    if size:
        yield _joined(held)


def _joined(documents: list[bytes]) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    lengths = np.array([len(document) for document in documents], np.int64)
    starts = np.cumsum(lengths) - lengths
    return np.frombuffer(b"".join(documents), np.uint8), np.arange(lengths.sum()) - np.repeat(starts, lengths)


def _grams(data: NDArray[np.uint8], order: int) -> Keys:
    """At each byte the number whose base-256 digits are it and up to order - 1 bytes before it in the chunk."""
    keys = data.astype(np.uint32)
    for back in range(1, order):
        keys[back:] |= data[:-back].astype(np.uint32) << np.uint32(8 * back)
    return keys
