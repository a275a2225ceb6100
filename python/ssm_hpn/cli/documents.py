"""Documents for a trained model: raw files read as its training data was, or the shards of a prepared folder.

New input goes through the encoder, the normalisation and the class names in the manifest of the training data; nothing
is learned from it.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from ssm_hpn.config import PrepareOptions
from ssm_hpn.dataset import Arrays, is_prepared, next_tokens, read_manifest
from ssm_hpn.errors import ConfigError, DataError, problem
from ssm_hpn.prepare.encode import Encoder, Normalization, encoder_of, normalization_of
from ssm_hpn.prepare.pipeline import read, read_inputs
from ssm_hpn.prepare.records import Record
from ssm_hpn.prepare.sources import find
from ssm_hpn.prepare.survey import Classes
from ssm_hpn.trainer import Trainer

COLUMNS = ("tokens", "features", "labels", "label", "values")


@dataclass(frozen=True, slots=True)
class Document:
    """One document as the model reads it."""

    name: str
    x: NDArray[Any]
    """Tokens [T] or features [T, F]."""
    labels: NDArray[np.int32] | None = None
    label: int | None = None
    values: NDArray[np.float32] | None = None


class Reader:
    """Reads documents the way a model's training data was read."""

    def __init__(self, trainer: Trainer) -> None:
        folder = trainer.train_folder
        if folder is None:
            advice = "use Trainer.predict on arrays instead"
            raise ConfigError(problem("data.train", "the folder that the model was trained on", "none", advice))
        self._manifest = read_manifest(folder)
        self._options: PrepareOptions = trainer.config.data.prepare_options()
        self.target = trainer.config.model.target.kind
        self.encoder: Encoder | None = encoder_of(self._manifest, folder)
        self._normalization: Normalization | None = normalization_of(self._manifest)
        names, count = self._manifest.get("class_names"), self._manifest.get("n_classes")
        self.class_names: list[str] | None = names
        self._classes = Classes(count, tuple(names) if names else None) if count else None

    def documents(self, path: Path, *, targets: bool = True) -> Iterator[Document]:
        """The documents of a prepared folder, or of raw files, which may lack the targets where none are wanted."""
        if is_prepared(path):
            yield from self._from_shards(path)
            return
        sources = find((str(path),), self._options, key="--data")
        n_features: int | None = self._manifest["n_features"]
        records = read(sources, self._options) if targets else read_inputs(sources, self._options, n_features)
        for record in records:
            yield self._from_record(record)

    def _from_shards(self, folder: Path) -> Iterator[Document]:
        manifest = read_manifest(folder)
        for key in ("kind", "vocab_size", "n_features"):
            if manifest.get(key) != self._manifest.get(key):
                found, advice = manifest.get(key), "prepare it as the training data was"
                raise DataError(problem(f"{folder}: {key}", self._manifest.get(key), found, advice))
        for shard in manifest["shards"]:
            path = folder / shard["file"]
            try:
                with pa.ipc.open_file(pa.memory_map(str(path))) as file:
                    for index in range(file.num_record_batches):
                        yield from _rows(file.get_batch(index))
            except (pa.ArrowException, OSError) as error:
                found = str(error).splitlines()[0].rstrip(".")
                raise DataError(problem(f"{path}: file", "a whole shard", found, "prepare the data again")) from None

    def _from_record(self, record: Record) -> Document:
        if self.encoder is not None:
            x: NDArray[Any] = self.encoder.encode(record)
        elif record.features is not None and record.features.shape[1] == self._manifest["n_features"]:
            x = self._normalization(record.features) if self._normalization else record.features
        else:
            found = "none" if record.features is None else record.features.shape[1]
            expected = f"{self._manifest['n_features']} features, as in the training data"
            raise DataError(problem(f"{record.path}: {record.at}", expected, found, "choose other columns"))
        labels = label = None
        if self._classes is not None and record.labels is not None:
            labels = np.asarray(self._classes.indices(record), np.int32)
        elif self._classes is not None and record.label is not None:
            label = self._classes.index(record.label, record)
        return Document(record.name, x, labels, label, record.values)


def pieces(documents: Iterable[Document], length: int) -> Iterator[Document]:
    """Documents cut into rows of a language model, which knows no more than one row in training either."""
    for document in documents:
        for start in range(0, len(document.x), length):
            yield replace(document, x=document.x[start : start + length])


def batches(documents: Iterable[Document], target: str, rows: int) -> Iterator[tuple[list[Document], Arrays]]:
    """Documents by the row, a few at a time, as arrays for `Trainer`; targets only where every document has one."""
    remaining = iter(documents)
    while group := list(islice(remaining, rows)):
        yield group, _arrays(group, target)


def _arrays(group: list[Document], target: str) -> dict[str, NDArray[Any]]:
    length = max(len(document.x) for document in group)
    first = group[0].x
    x = np.zeros((len(group), length, *first.shape[1:]), first.dtype)
    segments = np.zeros((len(group), 3), np.uint32)
    for row, document in enumerate(group):
        x[row, : len(document.x)] = document.x
        segments[row] = row, 0, len(document.x)
    arrays: dict[str, NDArray[Any]] = {"tokens" if first.ndim == 1 else "features": x, "segments": segments}
    if target == "next_token":
        arrays["token_class"] = next_tokens(x, segments)
    elif target == "token_class" and all(document.labels is not None for document in group):
        classes = np.full((len(group), length), -1, np.int32)
        for row, document in enumerate(group):
            if document.labels is not None:
                classes[row, : len(document.x)] = document.labels
        arrays["token_class"] = classes
    elif target == "sequence_class" and all(document.label is not None for document in group):
        arrays["sequence_class"] = np.array([document.label for document in group], np.int32)
    elif target == "sequence_values" and all(document.values is not None for document in group):
        arrays["sequence_values"] = np.stack([document.values for document in group if document.values is not None])
    return arrays


def _rows(batch: pa.RecordBatch) -> Iterator[Document]:
    """The documents of one record batch."""
    columns = {name: batch.column(name) for name in (*COLUMNS, "name") if name in batch.schema.names}
    for row in range(batch.num_rows):
        found = {name: column[row] for name, column in columns.items()}
        if "tokens" in found:
            x: NDArray[Any] = found["tokens"].values.to_numpy().astype(np.uint32)
        else:
            steps = found["features"].values
            x = steps.flatten().to_numpy().astype(np.float32).reshape(len(steps), -1)
        yield Document(
            name=str(found["name"].as_py()) if "name" in found else str(row),
            x=x,
            labels=found["labels"].values.to_numpy().astype(np.int32) if "labels" in found else None,
            label=found["label"].as_py() if "label" in found else None,
            values=np.array(found["values"].as_py(), np.float32) if "values" in found else None,
        )
