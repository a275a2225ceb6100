"""How documents fill the columns of the shards, and what a manifest says of them."""

import itertools
from collections.abc import Iterator
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ssm_hpn.config.data import PrepareOptions
from ssm_hpn.contract import Contract
from ssm_hpn.errors import DataError
from ssm_hpn.prepare.encode import Encoder
from ssm_hpn.prepare.learn import Learned
from ssm_hpn.prepare.records import Coded, Documents
from ssm_hpn.prepare.tokenizer import Tokenizer
from ssm_hpn.targets import COLUMNS

ENCODED_AT_ONCE: Final = 256
"""Documents that go through a tokenizer together."""

Filled = tuple[NDArray[np.int64], list[str], dict[str, NDArray[Any]]]
"""Lengths, names and columns of the shards for some documents."""


class Layout:
    """Columns of the shards and how documents fill them."""

    def __init__(self, learned: Learned, options: PrepareOptions, contract: Contract, encoder: Encoder | None) -> None:
        """`learned` are the results of the passes before."""
        self.learned, self.options, self.contract, self.encoder = learned, options, contract, encoder
        self.n_values = learned.n_values
        chosen = {learned.value_column} if contract.classes is None else {learned.label_column, learned.value_column}
        self.targets = [name for name in COLUMNS if name in chosen]
        """The columns of targets that are written: one of classes, and one of numbers."""
        self._indices = np.full(len(learned.labels.texts) + 1, -1, np.int32)
        """Class of each label by its number; -2 for one that the training part does not have."""
        if contract.classes is not None:
            for code, text in enumerate(learned.labels.texts):
                try:
                    self._indices[code] = contract.classes.index(text)
                except DataError:
                    self._indices[code] = -2

    def declaration(self) -> dict[str, Any]:
        """The configuration of the writer."""
        tokens = self.encoder is not None
        vocab_size = self.encoder.vocab_size if self.encoder else None
        width = self.contract.n_channels
        token_bytes = (2 if (vocab_size or 0) <= 1 << 16 else 4) if tokens else 4 * width
        options = self.options
        return {
            "kind": self.contract.kind,
            "vocab_size": vocab_size,
            "n_features": None if tokens else width,
            "columns": ["tokens" if tokens else "features", *self.targets, "name"],
            "n_values": self.n_values,
            "shard_bytes": options.shard_tokens * token_bytes,
            "max_document": 2 * options.max_document,
            "resume": True,
        }

    def manifest_extra(self, contract: Contract, files: int) -> dict[str, Any]:
        """The entries of the manifest beyond counts and digests; `files` is the number of sources."""
        classes = contract.classes
        mean, std = contract.shift
        described = {key: value for key, value in contract.encoder.items() if key != "text"}
        return {
            "n_classes": len(classes) if classes else None,
            "class_names": classes.names if classes else None,
            "feature_names": contract.channel_names if contract.kind == "features" else None,
            "normalisation": {"mean": mean.tolist(), "std": std.tolist()} if contract.normalised else None,
            "encoder": described,
            "source": {
                "format": contract.format,
                "files": files,
                "options": self.options.model_dump(mode="json", exclude={"train", "validation"}),
            },
            "contract": contract.to_json(),
        }

    def rows(self, documents: Documents) -> Iterator[Filled]:
        """Lengths, names and columns of the shards for some documents."""
        if not isinstance(self.encoder, Tokenizer):
            yield self._filled(documents, *self._elements(documents))
            return
        for start in range(0, len(documents), ENCODED_AT_ONCE):
            group = documents.take(np.arange(start, min(len(documents), start + ENCODED_AT_ONCE)))
            encoded = list(self.encoder.encode_all(list(group)))
            lengths = np.array([len(one) for one in encoded])
            if lengths.any():
                tokens = np.concatenate(encoded)
                yield self._filled(group.take(lengths > 0), "tokens", tokens, lengths[lengths > 0])

    def _elements(self, documents: Documents) -> tuple[str, NDArray[Any], NDArray[np.int64]]:
        elements, lengths = documents.elements, documents.lengths
        if documents.kind == "text":
            return "tokens", elements, lengths
        if documents.kind == "tokens" and self.encoder is not None:
            bad = np.flatnonzero(elements >= self.encoder.vocab_size)
            if len(bad):
                entry = int(np.searchsorted(documents.offsets, bad[0], side="right") - 1)
                self.encoder.encode(documents.record(entry))
            return "tokens", elements.astype(np.uint32), lengths
        return "features", self._channels(documents), lengths

    def _channels(self, documents: Documents) -> NDArray[np.float32]:
        """[units, C]; missing numbers and how long they have been missing depend on the document."""
        contract = self.contract
        if contract.n_channels == documents.elements.shape[1] and not np.isnan(documents.elements).any():
            return contract.channels(documents.elements)
        borders = documents.offsets.tolist()
        pieces = [contract.channels(documents.elements[a:b]) for a, b in itertools.pairwise(borders)]
        return np.concatenate(pieces)

    def _filled(self, documents: Documents, name: str, elements: NDArray[Any], lengths: NDArray[np.int64]) -> Filled:
        columns: dict[str, NDArray[Any]] = {name: np.ascontiguousarray(elements)}
        for column in self.targets:
            values = documents.targets.get(column)
            if isinstance(values, Coded):
                codes = self.learned.labels.codes(values)
                columns[column] = self._indices[codes]
                if (columns[column] == -2).any():
                    self._refuse(documents, values, int(np.flatnonzero(columns[column] == -2)[0]))
            elif values is not None:
                columns[column] = self.contract.scale_values(values).astype(np.float32)
        return lengths, documents.names, columns

    def _refuse(self, documents: Documents, labels: Coded, at: int) -> None:
        """The error for a label that the training part does not have."""
        entry, position = at, None
        if self.learned.per_unit:
            entry = int(np.searchsorted(documents.offsets, at, side="right") - 1)
            position = at - int(documents.offsets[entry])
        record = documents.record(entry)
        try:
            if self.contract.classes is not None:
                self.contract.classes.index(labels.text(at))
        except DataError as error:
            raise DataError(
                f"{record.path}: {record.label_place(position)}: {str(error).removeprefix('label: ')}"
            ) from None
