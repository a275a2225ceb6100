"""Writing one part (training or validation) as Arrow IPC shards, with the digest of its documents."""

import hashlib
import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray

from ssm_hpn._core import ShardWriter
from ssm_hpn.columns import PartSizes

SHARES: Final = (0.05, 0.25, 0.5, 0.75, 0.95)
"""The quantiles of lengths that are stored."""


def quantiles(counts: Mapping[int, int]) -> dict[str, int]:
    """The smallest lengths that each share of the documents does not exceed, by the share.

    >>> quantiles({3: 1, 5: 2, 40: 1})
    {'0.05': 3, '0.25': 3, '0.5': 5, '0.75': 5, '0.95': 40}
    """
    lengths = sorted(counts)
    total = np.cumsum([counts[length] for length in lengths])
    at = np.searchsorted(total, np.array(SHARES) * (total[-1] if len(total) else 0))
    return {f"{share:g}": lengths[index] for share, index in zip(SHARES, at.tolist(), strict=True) if lengths}


class PartWriter:
    """Appends documents; `close` writes the manifest. Left without `close`, no manifest exists and nothing is valid.

    The digest is over lengths, contents and targets, column by column: the names of files and documents are not in it,
    so the same rows have the same digest whatever file they came from, and however many came at once.
    """

    def __init__(self, folder: Path, declaration: dict[str, Any]) -> None:
        """Create the folder and the writer."""
        folder.mkdir(parents=True, exist_ok=True)  # with the shards that an interrupted call has finished
        self.folder = folder
        self._writer = ShardWriter(str(folder), json.dumps(declaration))
        self._hashes = {name: hashlib.sha256() for name in (*declaration["columns"], "length")}
        self.documents = self.tokens = self.longest = 0
        self._lengths: Counter[int] = Counter()
        self.shortest: int | None = None

    def __enter__(self) -> Self:
        """Return the writer itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the shard files, so that the folder can be removed."""
        del self._writer

    def append(self, lengths: NDArray[np.int64], names: list[str], **columns: NDArray[Any]) -> None:
        """Add documents: units of each, names, and the columns of the declaration for all of them."""
        offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.uint64)
        self._writer.append_many(offsets=offsets, names=names, **columns)
        self._hashes["length"].update(lengths.astype("<i8").tobytes())
        for name, values in columns.items():
            hashed = values if values.dtype != np.uint8 else values.astype(np.uint32)
            self._hashes[name].update(np.ascontiguousarray(hashed).data)
        self._lengths.update(dict(zip(*map(np.ndarray.tolist, np.unique(lengths, return_counts=True)), strict=True)))
        self.documents += len(lengths)
        self.tokens += int(lengths.sum())
        self.longest = max(self.longest, int(lengths.max()))
        self.shortest = min(int(lengths.min()), self.longest if self.shortest is None else self.shortest)

    @property
    def digest(self) -> str:
        """SHA-256 over all columns but the names."""
        columns = {name: hashed.hexdigest() for name, hashed in self._hashes.items() if name != "name"}
        return hashlib.sha256(json.dumps(columns, sort_keys=True).encode()).hexdigest()

    @property
    def part(self) -> PartSizes:
        """The part in numbers."""
        return PartSizes(self.documents, self.tokens, self.shortest or 0, self.longest)

    def close(self, extra: dict[str, Any]) -> dict[str, Any]:
        """Write the manifest; returns documents, tokens, bytes, the digest of all documents and their lengths."""
        manifest = self._writer.close(json.dumps({**extra, "source": {**extra["source"], "digest": self.digest}}))
        size = sum(shard["bytes"] for shard in manifest["shards"])
        counts = {"documents": self.documents, "tokens": self.tokens, "bytes": size, "digest": self.digest}
        return counts | {"lengths": quantiles(self._lengths)}
