"""The data: which files become which shards, and how shards become batches."""

import hashlib
import json
from typing import Annotated, Literal

from pydantic import Field

from ssm_hpn.config.base import Names, Paths, Section

Format = Literal["auto", "text", "integers", "jsonl", "csv", "parquet", "npy"]
Positive = Annotated[int, Field(ge=1)]


class Columns(Section):
    """Names of the columns of a table, of the keys of JSON lines, or of the arrays in an `.npz` file."""

    text: str | None = Field(None, description="text of a document")
    tokens: str | None = Field(None, description="list of token ids of a document")
    features: Names = Field((), description="numbers of a time step, or lists of numbers of a whole document")
    id: str | None = Field(None, description="rows with the same value form one document")
    order: str | None = Field(None, description="rows of a document are sorted by it")
    label: str | None = Field(None, description="class of a document (the same in all its rows)")
    labels: str | None = Field(None, description="class of each row or token")
    values: Names = Field((), description="numbers to predict, per document (the same in all its rows)")
    lengths: str | None = Field(None, description="time steps of each document that count, in an .npz file")


class PrepareOptions(Section):
    """Everything that decides what the shards contain."""

    train: Paths = Field(
        (),
        description="files, folders (read recursively), patterns such as 'logs/**/*.txt', or a prepared folder; "
        "empty: the source text of the standard library",
    )
    validation: Paths = Field((), description="held-out files; empty: a part of train is held out")
    validation_fraction: float = Field(0.1, ge=0, lt=1, description="share of the documents that is held out")
    split: Literal["auto", "name", "tail"] = Field(
        "auto", description="name: whole documents, by a hash of their names; tail: the end of every document"
    )
    format: Format = Field("auto", description="format of the files; auto goes by the file name")
    include: Names = Field((), description="patterns that files inside a folder have to match, such as '*.py'")
    documents: Literal["file", "line"] = Field("file", description="what a document is in text and integer files")
    encoder: Literal["auto", "bytes", "ids", "tokenizer", "features"] = Field(
        "auto",
        description="how a document becomes numbers; auto goes by the format and the columns; bytes takes any file, "
        "text or not",
    )
    tokenizer: str | None = Field(None, description="a Hugging Face tokenizer.json")
    vocab_size: Positive | None = Field(None, description="ids are below it; null: the largest id seen plus one")
    columns: Columns = Field(default_factory=Columns, description="names of columns, keys or arrays")
    n_classes: Positive | None = Field(None, description="integer labels are below it; null: the largest plus one")
    normalize: bool = Field(True, description="shift and scale features by the training part's mean and deviation")
    max_document: int = Field(1 << 20, ge=16, description="longer documents are cut into pieces of this many tokens")
    shard_tokens: int = Field(1 << 24, ge=1024, description="tokens (or time steps) of one shard file")

    def key(self) -> str:
        """Digest of the settings, without the paths."""
        settings = self.model_dump(mode="json", include=set(PrepareOptions.model_fields) - {"train", "validation"})
        return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()


class DataConfig(PrepareOptions):
    """Which files become shards, and how documents become batches."""

    length: Positive | None = Field(
        None, description="tokens of a row T; null: 256, or the longest document for a target per sequence"
    )
    packing: Literal["auto", "contiguous", "best_fit", "pad"] = Field(
        "auto", description="how documents fill rows; auto: contiguous for the next token, else best_fit"
    )
    shuffle: bool = Field(True, description="a new order of documents in every epoch")
    workers: Positive = Field(1, description="threads that read and pack ahead")
    prefetch: Positive = Field(4, description="batches read ahead at most")
    digest: str | None = Field(None, description="digest of the prepared data, filled in; other data is then refused")

    def prepare_options(self) -> PrepareOptions:
        """The part that decides what the shards contain; what was not set is not set there either."""
        settings = self.model_dump(include=set(PrepareOptions.model_fields), exclude_unset=True)
        return PrepareOptions.model_validate(settings)
