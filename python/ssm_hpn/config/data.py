"""The data: which files become which shards, and how shards become batches."""

import contextlib
import hashlib
import json
from typing import Annotated, Final, Literal

from pydantic import AfterValidator, Field

from ssm_hpn.config.applies import ONE_OF_THEM, Applies, Facts, Is, Not
from ssm_hpn.config.base import Names, Numbers, Paths, Section
from ssm_hpn.config.bounds import bounds
from ssm_hpn.targets import kinds_with

Format = Literal["auto", "text", "integers", "jsonl", "csv", "parquet", "arrow", "npy"]
Positive = Annotated[int, Field(ge=1)]


FILE_OPTIONS: Final = (
    "labels",
    "format",
    "include",
    "documents",
    "delimiter",
    "decimal",
    "null",
    "encoding",
    "date_format",
)
"""Settings in which other files for a trained model may differ from the training data."""
SPLITS: Final = ("auto", "documents", "name", "file", "tail", "time")
NAMED: Final = Applies("a CSV, Parquet, JSON lines or .npz file", {"raw.named": True})
TABLE: Final = Applies("a table", {"raw.table": True})
CSV: Final = Applies("a CSV file", {"raw.format": "csv"}, {"data.labels": Is.GIVEN})
STEPS: Final = Applies(
    "a table whose rows are time steps, with numbers in data.columns.features", {"raw.table": True, "raw.steps": True}
)
FEATURES: Final = Applies("features", {"raw.content": "features"})
WHICH_INPUT: Final = "name the one that the model is to read"


def _one_array(setting: str, shape: str) -> Applies:
    """For a setting that takes several columns of a table, but one array of an archive."""
    facts: tuple[Facts, ...] = ({"raw.table": True}, {setting: Is.SINGLE})
    return Applies("one array of an .npz file", *facts, advice=f"stack them into one array {shape}")


def _split(text: str) -> str:
    """One of the forms of `data.split`."""
    column, equals, values = text.partition("=")
    if text not in SPLITS and not (column and equals and values):
        raise ValueError(f"{', '.join(SPLITS)}, or COLUMN=VALUE,VALUE")
    return text


def _predicted(column: str) -> Applies:
    """For the column of a target: no other target is asked for."""
    kinds = kinds_with(column)
    advice = f"leave it out, or set model.target.kind {kinds[0]}"
    return Applies(f"target {' or '.join(kinds)}", {"task.columns": False}, {"task.target": kinds}, advice=advice)


def _encoding(name: str) -> str:
    """A name of an encoding that Python has."""
    with contextlib.suppress(UnicodeDecodeError):  # a codec, but not of text
        try:
            b"a".decode(name)
        except LookupError:
            raise ValueError("expected an encoding, such as utf-8, utf-16, latin-1 or cp1252") from None
    return name


class Columns(Section):
    """Names of the columns of a table, of the keys of JSON lines, or of the arrays in an `.npz` file."""

    text: Annotated[
        str | None,
        Applies("a CSV, Parquet or JSON lines file", {"raw.table": True}),
        Applies(
            "neither data.columns.tokens nor .features beside it",
            {"data.columns.tokens": Is.EMPTY, "data.columns.features": Is.EMPTY},
            advice=WHICH_INPUT,
        ),
    ] = Field(None, description="text of a document")
    tokens: Annotated[
        str | None,
        Applies("a Parquet, JSON lines or .npz file", {"raw.named": True}),
        Applies("no data.columns.features beside it", {"data.columns.features": Is.EMPTY}, advice=WHICH_INPUT),
    ] = Field(None, description="list of token ids of a document")
    features: Annotated[Names, NAMED, _one_array("data.columns.features", "[N, T, F]")] = Field(
        (), description="numbers of a time step, or lists of numbers of a whole document"
    )
    id: Annotated[str | None, TABLE] = Field(
        None,
        description="names documents within their file; rows that are time steps form one where they have the same "
        "value; the same id in another file is another document, held out together with it",
    )
    order: Annotated[str | None, STEPS] = Field(None, description="rows of a document are sorted by it")
    label: Annotated[
        str | None,
        NAMED,
        Applies("no labels of time steps or tokens, which count more", {"raw.step_labels": False}, advice=ONE_OF_THEM),
        _predicted("label"),
    ] = Field(None, description="class of a document (the same in all its rows)")
    labels: Annotated[str | None, NAMED, _predicted("labels")] = Field(None, description="class of each row or token")
    values: Annotated[Names, NAMED, _one_array("data.columns.values", "[N, K]"), _predicted("values")] = Field(
        (), description="numbers to predict, per document (the same in all its rows)"
    )
    lengths: Annotated[str | None, Applies("an .npz file", {"raw.format": "npz"})] = Field(
        None, description="time steps of each document that count, in an .npz file"
    )


class PrepareOptions(Section):
    """All settings on which the contents of the shards depend."""

    train: Paths = Field(
        (),
        description="files, folders (read recursively), patterns such as 'logs/**/*.txt', "
        "those of a store as s3://bucket/key, 'sql:SELECT …' over files, "
        "or a prepared folder; "
        "empty: the source text of the standard library",
    )
    validation: Paths = Field((), description="held-out files; empty: a part of train is held out")
    validation_fraction: Annotated[
        float,
        Applies(
            "no files in data.validation, which are held out instead",
            {"data.validation_fraction": Is.EMPTY},
            {"data.validation": Is.EMPTY},
            advice=ONE_OF_THEM,
        ),
    ] = Field(0.1, ge=0, lt=1, description="share of the documents that is held out")
    test_fraction: Annotated[
        float,
        Applies(
            "no files in data.validation, beside which a part is not split off",
            {"data.test_fraction": Is.EMPTY},
            {"data.validation": Is.EMPTY},
            advice="prepare the test part by itself",
        ),
    ] = Field(
        0,
        ge=0,
        lt=1,
        description="share of the documents in a test part of its own, which no training and no split reads",
    )
    split: Annotated[
        str,
        AfterValidator(_split),
        Applies(
            "a part of data.train to hold out",
            {"data.validation": Is.EMPTY, "data.validation_fraction": Is.GIVEN},
            advice=ONE_OF_THEM,
        ),
        Applies(
            "rows that are time steps (numbers in data.columns.features) for time",
            {"data.split": Not("time")},
            {"raw.table": True, "raw.steps": True},
            advice="hold out by the values of a column (--data.split COLUMN=VALUE), or whole documents (documents)",
        ),
        Applies(
            "data.columns.order beside time",
            {"data.split": Not("time")},
            {"data.columns.order": Is.GIVEN},
            advice="name the column of the time",
        ),
    ] = Field(
        "auto",
        description="documents: whole ones, in every class the same share, by their ids, else by their content; name: "
        "the same by their names; file: whole files, by their names; tail: the end of every document, for less than 20 "
        "of them; time: documents that begin last; COLUMN=A,B: those with one of these values in a column; auto: tail "
        "for less than 20 documents without a target per document, else documents",
    )
    labels: Annotated[str | None, TABLE] = Field(
        None, description="a table of its own with data.columns.id and the targets, joined by the id"
    )
    duplicates: Annotated[
        Literal["refuse", "keep"], Applies("files in data.validation", {"data.validation": Is.GIVEN})
    ] = Field("refuse", description="what to do about training documents that files in data.validation hold too")
    unique: bool = Field(
        False,
        description="leave out documents of data.train whose contents are those of an earlier one, held-out ones too",
    )
    format: Format = Field("auto", description="format of the files; auto goes by the file name")
    include: Annotated[
        Names, Applies("a folder in data.train or data.validation, to choose files from", {"raw.folder": True})
    ] = Field((), description="patterns that files inside a folder have to match, such as '*.py'")
    documents: Annotated[
        Literal["file", "line"], Applies("text or integer files", {"raw.format": ("text", "integers")})
    ] = Field("file", description="what a document is in text and integer files")
    encoder: Literal["auto", "bytes", "ids", "tokenizer", "features"] = Field(
        "auto",
        description="how a document becomes numbers; auto goes by the format and the columns; bytes takes any file, "
        "text or not",
    )
    tokenizer: Annotated[
        str | None,
        Applies("text", {"raw.content": "text"}),
        Applies(
            "data.encoder tokenizer or auto beside it",
            {"data.encoder": ("auto", "tokenizer")},
            advice=ONE_OF_THEM,
        ),
    ] = Field(None, description="a Hugging Face tokenizer.json")
    vocab_size: Annotated[
        Positive | None,
        Applies(
            "token ids, or text with a tokenizer (bytes have 256 ids)",
            {"raw.content": "tokens"},
            {"raw.content": "text", "data.tokenizer": Is.GIVEN},
        ),
    ] = Field(None, description="ids are below it; null: the largest id seen, or of the tokenizer, plus one")
    columns: Columns = Field(default_factory=Columns, description="names of columns, keys or arrays")
    n_classes: Annotated[
        Positive | None,
        Applies(
            "labels",
            {"raw.classes": True},
            advice="name their column with data.columns.label or .labels, or leave it out",
        ),
    ] = Field(
        None,
        description="classes, where labels are the whole numbers below it and some may not occur; otherwise "
        "it has to be the number of labels that occur. null: the labels that occur",
    )
    missing: Annotated[Literal["mask", "forward", "zero", "refuse"], FEATURES] = Field(
        "mask",
        description="what stands for a missing number. mask: the mean of the training part, with an indicator and the "
        "time since the column was last seen where the training part has gaps; forward: the number before",
    )
    delimiter: Annotated[str | None, CSV] = Field(
        None,
        min_length=1,
        max_length=1,
        description="what separates columns, also those of data.labels where it gives the columns in use; null: "
        "detected, with a note",
    )
    decimal: Annotated[Literal[".", ","], CSV] = Field(".", description="decimal mark of numbers")
    null: Annotated[Names, CSV] = Field((), description="texts that mean a missing value, besides the empty one: 'NA'")
    encoding: Annotated[
        str,
        AfterValidator(_encoding),
        Applies(
            "files of text",
            {"raw.format": ("csv", "jsonl", "text", "integers")},
            {"data.labels": Is.GIVEN},
        ),
    ] = Field("utf-8", description="encoding of text files, such as utf-16, latin-1, cp1252 or shift_jis")
    date_format: Annotated[str | None, Applies("an order column", {"data.columns.order": Is.GIVEN})] = Field(
        None, description="how dates in data.columns.order are written, such as '%d.%m.%Y %H:%M'; null: detected"
    )
    normalize: Annotated[bool, FEATURES] = Field(
        True, description="shift and scale features by the training part's mean and deviation"
    )
    max_document: int = Field(
        1 << 20,
        description="longer documents are cut into pieces of this many tokens",
        **bounds("data.max_document"),
    )
    shard_tokens: int = Field(
        1 << 24, description="tokens (or time steps) of one shard file", **bounds("data.shard_tokens")
    )

    def key(self) -> str:
        """Digest of the settings, without the paths of the data.

        >>> from ssm_hpn.config import PrepareOptions
        >>> here, there = PrepareOptions(train="a.csv"), PrepareOptions(train="b.csv")
        >>> here.key() == there.key(), here.key() == PrepareOptions(train="a.csv", encoder="bytes").key()
        (True, False)
        """
        settings = self.model_dump(mode="json", include=set(PrepareOptions.model_fields) - {"train", "validation"})
        return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()


class DataConfig(PrepareOptions):
    """Which files become shards, and how documents become batches."""

    length: int | None = Field(
        None,
        description="tokens of a row T; null: 256, or the longest document for a target per sequence",
        **bounds("data.length"),
    )
    packing: Literal["auto", "contiguous", "best_fit", "pad", "carried"] = Field(
        "auto",
        description="how documents fill rows; auto: contiguous for the next token, else best_fit; carried: contiguous "
        "in each row of successive batches, so that a document longer than a row goes on in the next with its state",
    )
    shuffle: bool = Field(True, description="a new order of documents in every epoch")
    window: Positive | None = Field(
        None,
        description="tokens within which documents are mixed, and which are in memory at once; null: 2^20, or 16 MB of "
        "features, or 16 rows; the whole set where it is less than twice that",
    )
    mix: Paths = Field(
        (),
        description="further prepared folders, prepared in the same way, whose rows come between those of data.train; "
        "held out is what data.train has, or data.validation",
    )
    weights: Numbers = Field(
        (), description="shares of the rows: of data.train, then of each folder in data.mix, such as 0.7,0.3"
    )
    on_corrupt: Literal["stop", "skip"] = Field(
        "stop",
        description="what becomes of a record batch of the training part that is damaged: end with file, record batch "
        "and offset, or leave it out and count it",
    )
    workers: int = Field(1, description="threads that read and pack ahead", **bounds("data.workers"))
    prefetch: int = Field(4, description="batches read ahead at most", **bounds("data.prefetch"))
    clean: bool = Field(False, description="remove older preparations of the same source from runs/data")
    digest: str | None = Field(None, description="digest of the prepared data, filled in; other data is then refused")

    def prepare_options(self) -> PrepareOptions:
        """The part that decides what the shards contain; what was not set is not set there either.

        >>> from ssm_hpn.config import DataConfig
        >>> DataConfig(encoder="bytes", length=64).prepare_options().model_fields_set
        {'encoder'}
        """
        settings = self.model_dump(include=set(PrepareOptions.model_fields), exclude_unset=True)
        return PrepareOptions.model_validate(settings)
