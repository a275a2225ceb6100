"""Documents on disk between two passes, as they were read: reading or sorting a table again costs more."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa

from ssm_hpn.prepare.cells import too_many
from ssm_hpn.prepare.records import Coded, Documents, Texts, TooManyTextsError
from ssm_hpn.prepare.source import Source
from ssm_hpn.targets import COLUMNS

FIELDS: Final = ("rows", "offsets", "ids", "time", "fresh", "elements", "side")


class Spool:
    """A file of documents that is written once, on the first pass over it, and then read again."""

    def __init__(self, path: Path, batches: Iterable[Documents], side: str | None = None) -> None:
        """`side` is the column that the split goes by, if one does."""
        self._path, self._batches, self._side = path, batches, side
        self._about: list[tuple[Source, bool, str | None, tuple[str, ...]]] = []
        self._texts: dict[str, Texts] = {}
        self._whole = False

    def __iter__(self) -> Iterator[Documents]:
        """All documents, in the order in which they came."""
        if self._whole:
            yield from self._stored()
            return
        with pa.OSFile(str(self._path), "wb") as file:
            writer: pa.RecordBatchFileWriter | None = None
            for documents in self._batches:
                batch = self._batch(documents)
                writer = writer or pa.ipc.new_file(file, batch.schema)
                writer.write_batch(batch)
                yield documents
            if writer is not None:
                writer.close()
        self._whole = True

    def _batch(self, documents: Documents) -> pa.RecordBatch:
        """One row whose columns are lists."""
        columns: dict[str, Any] = {"width": documents.elements.shape[-1]}
        found = {name: getattr(documents, name) for name in FIELDS} | documents.targets
        if any(COLUMNS[name].per_token for name in documents.targets):  # whose labels are looked at again
            found["unit_rows"] = documents.unit_rows
        for name, value in found.items():
            if isinstance(value, Coded):
                try:
                    columns[name] = self._texts.setdefault(name, Texts()).codes(value)
                except TooManyTextsError:
                    column = self._side if name == "side" else documents.label_name
                    raise too_many(documents.source, column or name, labels=name != "side") from None
            elif value is not None:
                columns[name] = value if isinstance(value, list) else value.reshape(-1)
        self._about.append((documents.source, documents.numbered, documents.label_name, documents.channels))
        arrays = [
            pa.array([value]) if not isinstance(value, np.ndarray) else _list(value) for value in columns.values()
        ]
        return pa.RecordBatch.from_arrays(arrays, names=list(columns))

    def _stored(self) -> Iterator[Documents]:
        if not self._about:
            return
        with pa.OSFile(str(self._path), "rb") as file, pa.ipc.open_file(file) as reader:
            for index, (source, numbered, label_name, channels) in enumerate(self._about):
                batch = reader.get_batch(index)
                columns = {name: batch.column(name)[0] for name in batch.schema.names}
                arrays: dict[str, Any] = {
                    name: np.asarray(values.values.to_numpy(zero_copy_only=False))
                    for name, values in columns.items()
                    if name not in ("ids", "width")
                }
                arrays |= {
                    name: Coded(arrays[name], known.texts) for name, known in self._texts.items() if name in arrays
                }
                if arrays["elements"].dtype.kind == "f":
                    arrays["elements"] = arrays["elements"].reshape(-1, columns["width"].as_py())
                targets = {name: arrays.pop(name) for name in COLUMNS if name in arrays}
                for name, values in targets.items():
                    if not isinstance(values, Coded):
                        entries = arrays["offsets"][-1] if COLUMNS[name].per_token else len(arrays["rows"])
                        targets[name] = values.reshape(int(entries), -1)
                yield Documents(
                    source,
                    numbered=numbered,
                    ids=columns["ids"].as_py() if "ids" in columns else None,
                    label_name=label_name,
                    channels=channels,
                    targets=targets,
                    **arrays,
                )


def _list(values: Any) -> pa.Array:  # noqa: ANN401 - any array of numpy
    return pa.LargeListArray.from_arrays(pa.array([0, len(values)], pa.int64()), pa.array(values))
