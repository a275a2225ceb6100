"""Sources → split → survey → encode → shards.

The sources are read up to three times (to choose the split, to learn vocabulary, classes and moments, to write) and
never held: memory is bounded by one batch of rows and one document. The output folder is whole or absent:

    OUT/train/manifest.json        and shards, Arrow IPC
    OUT/validation/manifest.json   and shards, unless nothing is held out
    OUT/prepared.json              what was made from what
"""

import contextlib
import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ssm_hpn.config.applicable import check_raw
from ssm_hpn.config.data import PrepareOptions
from ssm_hpn.errors import StorageError
from ssm_hpn.prepare.arrays import read_arrays
from ssm_hpn.prepare.encode import Bytes, Encoder, Ids, Normalization
from ssm_hpn.prepare.look import look
from ssm_hpn.prepare.prepared import Prepared, cached, write_summary
from ssm_hpn.prepare.problems import config_error, data_error
from ssm_hpn.prepare.records import Record, cut
from ssm_hpn.prepare.rows import read_table
from ssm_hpn.prepare.shards import PartWriter
from ssm_hpn.prepare.sources import Source, find, fingerprint
from ssm_hpn.prepare.split import ByName, Part, Tail, choose
from ssm_hpn.prepare.survey import Classes, Survey
from ssm_hpn.prepare.text import read_integers, read_text
from ssm_hpn.prepare.tokenizer import Tokenizer

VERSION = 2
"""Part of the cache key: raise it when the same sources and options give other shards or manifests."""

Progress = Callable[[str, int, int], None]
"""Called with stage, documents and units (bytes, tokens or time steps) so far."""


def prepare(options: PrepareOptions, out: Path, *, progress: Progress | None = None) -> Prepared:
    """Make the folder `out`; if it holds exactly this already, nothing is done.

    Raises `DataError` for what is wrong with a file, `ConfigError` for what is wrong with the request.
    """
    train = find(options.train, options, key="data.train")
    if not train:
        raise config_error("data.train", expected="a path", found="none", advice="name a file or a folder")
    validation = find(options.validation, options, key="data.validation")
    check_raw(options, look(train, options))
    return prepare_sources(train, validation, options, out, progress=progress)


def cache_key(train: list[Source], validation: list[Source], options: PrepareOptions) -> str:
    """Digest of the settings and of the sources' names, sizes and times of change."""
    files = (fingerprint(sources) for sources in (train, validation))
    return hashlib.sha256("\n".join([str(VERSION), options.key(), *files]).encode()).hexdigest()


def prepare_sources(
    train: list[Source],
    validation: list[Source],
    options: PrepareOptions,
    out: Path,
    *,
    progress: Progress | None = None,
) -> Prepared:
    """Like `prepare`, with the files already found."""
    key = cache_key(train, validation, options)
    done = cached(out, key)
    if done:
        return done
    job = _Job(options, train, validation, progress or (lambda *_: None))
    try:
        with staged(out) as folder:
            write_summary(folder, {"key": key, **job.write(folder)})
    except StorageError:
        raise
    except OSError as error:
        raise StorageError(f"{out}: cannot write the prepared data: {error}") from None
    return Prepared.load(out)


@contextlib.contextmanager
def staged(out: Path) -> Iterator[Path]:
    """A sibling folder that takes the place of `out` if nothing fails, and is removed otherwise."""
    out.parent.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix=f".{out.name}-", dir=out.parent))
    try:
        yield folder
        folder.chmod(0o777 & ~_umask())
        with contextlib.suppress(OSError):
            out.rmdir()  # an empty folder may be replaced
        folder.rename(out)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def read(sources: Iterable[Source], options: PrepareOptions) -> Iterator[Record]:
    """Every document of the sources, in order, none of them empty or longer than `max_document`."""
    return _read(sources, options, read_arrays)


def read_inputs(sources: Iterable[Source], options: PrepareOptions, n_features: int | None) -> Iterator[Record]:
    """Like `read` for a model of so many features, without targets, which the sources may lack."""
    columns = options.columns.model_copy(update={"label": None, "labels": None, "values": ()})
    arrays = partial(read_arrays, targets=False, univariate=n_features == 1)
    return _read(sources, options.model_copy(update={"columns": columns}), arrays)


def _read(
    sources: Iterable[Source], options: PrepareOptions, arrays: Callable[[Source, PrepareOptions], Iterator[Record]]
) -> Iterator[Record]:
    readers = {"text": read_text, "integers": read_integers, "npy": arrays}
    for source in sources:
        for record in readers.get(source.format, read_table)(source, options):
            if record.units:
                yield from cut(record, options.max_document)


@dataclass
class _Job:
    """One run of `prepare`."""

    options: PrepareOptions
    train: list[Source]
    validation: list[Source]
    progress: Progress
    split: ByName | Tail | None = field(init=False, default=None)
    per_document: bool = field(init=False)
    kind: str = field(init=False)
    tokenizer: Tokenizer | None = field(init=False, default=None)
    """Opened before anything is written, as it may be missing."""

    def __post_init__(self) -> None:
        """Look at the first document and choose the split."""
        first = next(read(self.train, self.options), None)
        if first is None:
            raise data_error(
                self.train[0].path,
                "file",
                expected="at least one document",
                found="none",
                advice="leave the file out",
            )
        columns = self.options.columns
        self.per_document = bool(columns.label or columns.values) or first.label is not None or first.values is not None
        self.kind = "features" if first.features is not None else "text" if first.text is not None else "tokens"
        self._check_encoder(first)
        if self.kind == "text" and self.options.tokenizer:
            path = Path(self.options.tokenizer).expanduser()
            self.tokenizer = Tokenizer.read(path, vocab_size=self.options.vocab_size)
        if not self.validation and self.options.validation_fraction:
            records = self._counted("counting", read(self.train, self.options))
            self.split = choose(records, self.options, per_document=self.per_document)

    def _check_encoder(self, first: Record) -> None:
        """Whether the encoder fits what the files hold."""
        asked = self.options.encoder
        fits = {"text": ("bytes", "tokenizer"), "tokens": ("ids",), "features": ("features",)}[self.kind]
        if asked not in ("auto", *fits):
            raise config_error(
                "data.encoder",
                expected=" or ".join(fits),
                found=asked,
                advice=f"choose one of these, as {first.path.name} holds {self.kind}",
            )
        if asked == "tokenizer" and not self.options.tokenizer:
            raise config_error(
                "data.tokenizer", expected="a tokenizer.json", found="none", advice="name it with --data.tokenizer"
            )

    def parts(self) -> Iterator[tuple[Part, Record]]:
        """All records with their side."""
        if self.split is not None:
            yield from self.split.parts(read(self.train, self.options))
            return
        for record in read(self.train, self.options):
            yield "train", record
        for record in read(self.validation, self.options):
            yield "validation", record

    def survey(self) -> Survey:
        """Look at the training part; of the other one only the largest id counts."""
        result = Survey()
        for part, record in self._counted_parts("surveying"):
            if part == "train":
                result.add(record)
            elif record.tokens is not None and len(record.tokens):
                result.largest_id = max(result.largest_id, int(record.tokens.max()))
        return result

    def write(self, folder: Path) -> dict[str, Any]:
        """Write both parts; returns the summary."""
        needed = self.options.columns.label or self.options.columns.labels or self.kind != "text"
        found = self.survey() if needed else Survey(kind="text")
        encoder, normalization = self._encoder(found), None
        if encoder is None and self.options.normalize:
            normalization = found.moments.normalization()
        layout = _Layout(self, found, encoder, normalization)
        with contextlib.ExitStack() as stack:
            writers: dict[Part, PartWriter] = {}
            for part, record in self._counted_parts("writing"):
                if part not in writers:
                    writers[part] = stack.enter_context(PartWriter(folder / part, layout.declaration()))
                writers[part].append(**layout.row(record, found))
            self._check_parts(writers)
            extra = layout.manifest_extra(self.train if self.split else [*self.train, *self.validation])
            summary = {part: writer.close(extra) for part, writer in sorted(writers.items())}
        if isinstance(encoder, Tokenizer):
            for part in writers:
                encoder.keep(folder / part)
        digest = hashlib.sha256("".join(part["digest"] for part in summary.values()).encode()).hexdigest()
        return {"digest": digest, "parts": summary}

    def _check_parts(self, writers: dict[Part, PartWriter]) -> None:
        wanted: list[Part] = ["train"]
        if self.validation or self.options.validation_fraction:
            wanted.append("validation")
        for part in wanted:
            if part not in writers:
                raise config_error(
                    "data.validation_fraction",
                    expected=f"a {part} part with something in it",
                    found=f"none at {self.options.validation_fraction}",
                    advice="change the fraction, or name held-out files with --data.validation",
                )

    def _encoder(self, found: Survey) -> Encoder | None:
        if self.kind == "features":
            return None
        if self.kind == "tokens":
            return Ids(self.options.vocab_size or found.largest_id + 1)
        return self.tokenizer or Bytes()

    def _counted_parts(self, stage: str) -> Iterator[tuple[Part, Record]]:
        documents = units = 0
        for part, record in self.parts():
            yield part, record
            documents, units = documents + 1, units + record.units
            self.progress(stage, documents, units)

    def _counted(self, stage: str, records: Iterable[Record]) -> Iterator[Record]:
        documents = units = 0
        for record in records:
            yield record
            documents, units = documents + 1, units + record.units
            self.progress(stage, documents, units)


class _Layout:
    """Columns of the shards and how a record fills them."""

    def __init__(self, job: _Job, found: Survey, encoder: Encoder | None, normalization: Normalization | None) -> None:
        self.job, self.encoder, self.normalization = job, encoder, normalization
        self.n_features = found.n_features
        self.n_values = found.n_values
        given = found.labels - {None}
        self.classes: Classes | None = found.classes(job.options) if given else None
        columns = job.options.columns
        self.per_token = bool(given) and (columns.labels is not None or found.per_token)
        self.per_document = bool(given) and not self.per_token

    def columns(self) -> list[str]:
        """Names in the order of the shard's schema."""
        optional = {"labels": self.per_token, "label": self.per_document, "values": self.n_values is not None}
        main = "features" if self.encoder is None else "tokens"
        return [main, *(name for name, there in optional.items() if there), "name"]

    def declaration(self) -> dict[str, Any]:
        """What the writer is told."""
        return {
            "kind": "features" if self.encoder is None else "tokens",
            "vocab_size": self.encoder.vocab_size if self.encoder else None,
            "n_features": self.n_features,
            "columns": self.columns(),
            "n_values": self.n_values,
            "shard_bytes": self.job.options.shard_tokens * self._token_bytes(),
            "max_document": 2 * self.job.options.max_document,
        }

    def _token_bytes(self) -> int:
        if self.encoder is not None:
            return 2 if self.encoder.vocab_size <= 1 << 16 else 4
        return 4 * (self.n_features or 1)

    def manifest_extra(self, sources: list[Source]) -> dict[str, Any]:
        """What the manifest says beyond counts and digests."""
        options = self.job.options
        return {
            "n_classes": self.classes.count if self.classes else None,
            "class_names": list(self.classes.names) if self.classes and self.classes.names else None,
            "feature_names": self._feature_names(),
            "normalisation": self.normalization.describe() if self.normalization else None,
            "encoder": self.encoder.describe() if self.encoder else {"kind": "features"},
            "source": {
                "format": sources[0].format,
                "files": len(sources),
                "options": options.model_dump(mode="json", exclude={"train", "validation"}),
            },
        }

    def _feature_names(self) -> list[str] | None:
        names = self.job.options.columns.features
        return list(names) if len(names) == self.n_features and not any("*" in name for name in names) else None

    def row(self, record: Record, found: Survey) -> dict[str, Any]:
        """The columns of one document."""
        row: dict[str, Any] = {"name": record.name}
        if self.encoder is not None:
            row["tokens"] = self.encoder.encode(record)
        elif record.features is not None:
            found.check_widths(record)
            row["features"] = self.normalization(record.features) if self.normalization else record.features
        if self.classes and self.per_token:
            row["labels"] = self.classes.indices(record)
        elif self.classes:
            row["label"] = self.classes.index(record.label, record)
        if self.n_values is not None:
            values = record.values if record.values is not None else np.empty(0, np.float32)
            if len(values) != self.n_values:
                raise data_error(
                    record.path,
                    record.at,
                    expected=f"{self.n_values} numbers to predict",
                    found=len(values),
                    advice="give every document as many",
                )
            row["values"] = values
        return row


def _umask() -> int:
    """The process's mask; it can only be read by setting it."""
    mask = os.umask(0)
    os.umask(mask)
    return mask
