"""One part (training or validation) on its way into Arrow IPC shards, with the digest of its documents."""

import hashlib
import json
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

from ssm_hpn._core import ShardWriter


class PartWriter:
    """Appends documents; `close` writes the manifest. Left without `close`, no manifest exists and nothing is valid."""

    def __init__(self, folder: Path, declaration: dict[str, Any]) -> None:
        """Create the folder and the writer."""
        folder.mkdir(parents=True)
        self._writer = ShardWriter(str(folder), json.dumps(declaration))
        self._digest = hashlib.sha256(json.dumps(declaration["columns"]).encode())
        self.documents = self.tokens = 0

    def __enter__(self) -> Self:
        """Nothing to do."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Let the shard files go, so that the folder can be removed."""
        del self._writer

    def append(self, **row: Any) -> None:  # noqa: ANN401 - one value per column
        """Add one document: the columns of the declaration."""
        self._writer.append(**row)
        for name in sorted(row):
            value = row[name]
            self._digest.update(value.tobytes() if isinstance(value, np.ndarray) else f"\0{name}={value}\0".encode())
        self.documents += 1
        self.tokens += len(row["tokens"] if "tokens" in row else row["features"])

    def close(self, extra: dict[str, Any]) -> dict[str, Any]:
        """Write the manifest; returns documents, tokens, bytes and the digest of all documents."""
        digest = self._digest.hexdigest()
        manifest = self._writer.close(json.dumps({**extra, "source": {**extra["source"], "digest": digest}}))
        size = sum(shard["bytes"] for shard in manifest["shards"])
        return {"documents": self.documents, "tokens": self.tokens, "bytes": size, "digest": digest}
