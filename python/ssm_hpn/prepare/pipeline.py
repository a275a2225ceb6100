"""Sources → split → statistics → encode → shards.

The sources are read up to three times (to choose the split, to measure the training part, to write) and never held;
tables are read once, and then from a file beside the output. Memory is bounded by a batch of rows and
one piece of a document. The output folder is whole or absent:

    OUT/train/manifest.json        and shards, Arrow IPC
    OUT/validation/manifest.json   and shards, unless nothing is held out
    OUT/test/manifest.json         and shards, where `data.test_fraction` asks for them
    OUT/prepared.json              what was made from what
"""

import contextlib
import glob
import hashlib
import re
import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import pyarrow as pa

from ssm_hpn.config.applicable import RawData, check_raw
from ssm_hpn.config.base import QUERY
from ssm_hpn.config.data import PrepareOptions
from ssm_hpn.contract import Contract
from ssm_hpn.counts import counted, noun_for
from ssm_hpn.errors import StorageError
from ssm_hpn.origin import Origin
from ssm_hpn.prepare.encode import Bytes, Encoder, Ids
from ssm_hpn.prepare.keys import Keys, overlap
from ssm_hpn.prepare.labels import Matching
from ssm_hpn.prepare.layout import Filled, Layout
from ssm_hpn.prepare.learn import Learned
from ssm_hpn.prepare.look import look
from ssm_hpn.prepare.prefetch import WORKERS, prefetched
from ssm_hpn.prepare.prepared import CacheKeys, Prepared, cached, write_summary
from ssm_hpn.prepare.problems import config_error, data_error
from ssm_hpn.prepare.reading import Sources
from ssm_hpn.prepare.records import Documents
from ssm_hpn.prepare.remote import S3, copied, is_remote, key_of, listing, named_as_stored
from ssm_hpn.prepare.shards import PartWriter
from ssm_hpn.prepare.source import TABLES, Source
from ssm_hpn.prepare.sources import Found, find, fingerprint, look_for
from ssm_hpn.prepare.split import Census, Chosen, PartName, Tail, side_column
from ssm_hpn.prepare.spool import Spool
from ssm_hpn.prepare.staging import scratch, staged
from ssm_hpn.prepare.tokenizer import Tokenizer
from ssm_hpn.prepare.trained import keep_contents
from ssm_hpn.prepare.unique import Unique

VERSION: Final = 5
"""Part of the cache key: raise it when the same sources and options give other shards or manifests."""
Progress = Callable[[str, int, int], None]
"""Called with stage, documents and units (bytes, tokens or time steps) so far."""


@dataclass(frozen=True)
class Raw:
    """Raw data that was found: what is read, and what is not."""

    train: list[Source]
    validation: list[Source]
    left_out: list[tuple[str, str]]

    @classmethod
    def find(cls, options: PrepareOptions, tables: Iterable[object] = ()) -> "Raw":
        """Files, queries, and objects of pandas, polars or Arrow. Raises for what is not there."""
        handed = [Source(Path(f"table{i}"), f"table{i}", "table", table) for i, table in enumerate(tables)]
        validation = find(options.validation, options, key="data.validation")
        found = (
            look_for(options.train, options, key="data.train", held_out=tuple(validation))
            if not handed
            else Found([], [])
        )
        train = handed or found.sources
        if not train:
            raise config_error("data.train", expected="a path", found="none", advice="name a file or a folder")
        return cls(train, validation, found.left_out)


def prepare(
    options: PrepareOptions,
    out: Path | str,
    *,
    progress: Progress | None = None,
    tables: Iterable[object] = (),
    workers: int | None = None,
) -> Prepared:
    """Make the folder `out`; if it holds exactly this already, nothing is done.

    An interrupted call leaves its finished shards beside `out`, and the same call goes on after them. `workers` threads
    parse a table (2 without a number); the bytes are the same for any number.
    `tables` are objects of pandas, polars or Arrow to read in place of `options.train`.
    Raises `DataError` for what is wrong with a file, `ConfigError` for what is wrong with the request.

    >>> from pathlib import Path
    >>> from ssm_hpn.config import PrepareOptions
    >>> from ssm_hpn.prepare import prepare
    >>> for number in range(10):
    ...     size = Path(f"{number}.txt").write_text(f"text {number} " * 20)
    >>> prepared = prepare(PrepareOptions(train="*.txt", validation_fraction=0.3), "prepared")
    >>> prepared.kind, prepared.vocab_size, prepared.parts["train"].documents
    ('tokens', 256, 10)
    """
    if workers is not None:
        token = WORKERS.set(workers)
        try:
            return prepare(options, out, progress=progress, tables=tables)
        finally:
            WORKERS.reset(token)
    if is_remote(options):
        return prepare_stored(options, Path(out), progress=progress)
    raw = Raw.find(options, tables)
    check_raw(options, look(raw.train, options))
    return prepare_sources(raw, options, Path(out), progress=progress)


def prepare_stored(
    options: PrepareOptions,
    out: Path,
    *,
    progress: Progress | None = None,
    check: Callable[[RawData], None] = lambda _: None,
) -> Prepared:
    """Like `prepare`, of files in an S3 store, which are copied beside `out` and removed again.

    `check` is called with what a first look found. Where `out` was made from the same objects, none is copied.
    """
    objects = listing(options)
    key = key_of(options, objects, VERSION)
    keys = CacheKeys(key, key)
    done = cached(out, keys)
    if done:
        return done
    with scratch(out) as folder, named_as_stored(folder):
        local = copied(options, objects, folder)
        raw = Raw.find(local)
        found = look(raw.train, local)
        check_raw(local, found)
        check(found)
        return prepare_sources(raw, local, out, progress=progress, made_from=MadeFrom(keys, options))


class MadeFrom(NamedTuple):
    """What data is known to be made from, where it is read from copies."""

    keys: CacheKeys
    options: PrepareOptions
    """With the paths that were given."""


def _format_name(source: Source) -> str:
    """What a format is called: archives of arrays are read like single ones."""
    return "npz" if source.format == "npy" and source.path.suffix.lower() == ".npz" else source.format


def cache_keys(raw: Raw, options: PrepareOptions) -> CacheKeys:
    """Digests of the settings and of the sources, the table of labels and the tokenizer."""
    beside = [path for path in (options.labels, options.tokenizer) if path]
    queries = [source.content for source in (*raw.train, *raw.validation) if source.format == "sql"]
    queries += [path for path in beside if path.startswith(QUERY)]
    named = [path for text in queries for path in re.findall(r"'([^']+)'", text)]
    there = [Path(file).expanduser() for path in named for file in sorted(glob.glob(path))]  # noqa: PTH207 - as the engine
    there += [Path(path).expanduser() for path in beside if not path.startswith(QUERY)]
    files = [Source(path, path.name, "") for path in there if path.is_file()]
    settings = [str(VERSION), options.key(), *queries]

    def key(*, moved: bool) -> str:
        prints = [fingerprint(sources, moved=moved) for sources in (raw.train, raw.validation, files)]
        return hashlib.sha256("\n".join([*settings, *prints]).encode()).hexdigest()

    return CacheKeys(key(moved=False), key(moved=True))


def origin_of(options: PrepareOptions) -> Origin:
    """What data is made from by these options."""
    paths = {"train", "validation"}
    settings = options.model_dump(mode="json", exclude=paths, exclude_defaults=True) if options.train else {}
    return Origin(options.train, options.validation, settings)


def absolute(paths: Iterable[str]) -> list[str]:
    """Paths as they are written into a prepared folder; queries stay as they are."""
    return [path if path.startswith((QUERY, S3)) else str(Path(path).expanduser().absolute()) for path in paths]


def prepare_sources(
    raw: Raw,
    options: PrepareOptions,
    out: Path,
    *,
    progress: Progress | None = None,
    made_from: MadeFrom | None = None,
) -> Prepared:
    """Like `prepare`, with the files already found."""
    handed = any(source.format == "table" for source in raw.train)
    keys, given = made_from or MadeFrom(cache_keys(raw, options), options)
    done = None if handed else cached(out, keys)
    if done:
        return done
    pool = pa.default_memory_pool()
    pa.set_memory_pool(pa.system_memory_pool())  # the others keep some 40 MB of what is freed
    try:
        with staged(out, None if handed else keys.key) as folder:
            work = folder / "work"
            shutil.rmtree(work, ignore_errors=True)
            work.mkdir()
            try:
                summary = _Job(options, raw, progress or (lambda *_: None), work, origin_of(given)).write(folder)
            finally:
                shutil.rmtree(work, ignore_errors=True)
            write_summary(folder, {**keys._asdict(), "paths": absolute(given.train), **summary})
    except StorageError:
        raise
    except OSError as error:
        raise StorageError(f"{out}: cannot write the prepared data: {error}") from None
    finally:
        pa.set_memory_pool(pool)
    return Prepared.load(out)


@dataclass
class _Job:
    """One run of `prepare`."""

    options: PrepareOptions
    raw: Raw
    progress: Progress
    work: Path
    origin: Origin
    split: Chosen | Tail | None = field(init=False, default=None)
    tokenizer: Tokenizer | None = field(init=False, default=None)
    """Opened before anything is written, as it may be missing."""
    notes: list[str] = field(init=False, default_factory=list)
    contents: dict[PartName, Keys | None] = field(init=False, default_factory=dict)
    """Keys of the contents of the documents of each part; one that both have a piece of is a training document."""
    held_out: str = field(init=False, default="")
    """What is held out, in words."""

    def __post_init__(self) -> None:
        """Settle the columns; tables are read through a file of their own from the second pass on."""
        self.sources = Sources(self.raw.train, self.options, self.work)
        held_out = Sources(
            self.raw.validation, self.options, self.work, reading=self.sources.reading, notes=self.sources.notes
        )
        self.learned = Learned(self.options)
        labels = self.options.labels
        self.matching = Matching.read(self.options, self.sources.columns, self.work) if labels else None
        self.batches: dict[PartName, Iterable[Documents]] = {"train": self.sources, "validation": held_out}
        if self.raw.train[0].format in TABLES:
            side = side_column(self.options)
            self.batches = {part: Spool(self.work / f"{part}.arrow", one, side) for part, one in self.batches.items()}
        self.unique = Unique(self.batches["train"]) if self.options.unique else None
        if self.unique is not None:
            self.batches["train"] = self.unique

    # ---- passes

    def write(self, folder: Path) -> dict[str, Any]:
        """Write both parts; returns the summary."""
        self._count()
        if self.learned.measures:
            for part, documents in self._parts("surveying"):
                if part == "train":
                    self.learned.measure(documents)
            self.learned.measured()
        encoder = self._encoder()
        contract = self._contract(encoder)
        layout = Layout(self.learned, self.options, contract, encoder)
        with contextlib.ExitStack() as stack:
            writers: dict[PartName, PartWriter] = {}
            text_bytes: Counter[PartName] = Counter()
            for part, (lengths, names, columns) in prefetched(self._encoded(layout, text_bytes)):
                if part not in writers:
                    writers[part] = stack.enter_context(PartWriter(folder / part, layout.declaration()))
                writers[part].append(lengths, names, **columns)
            self._check_parts(writers)
            contract = self._complete(contract, writers, text_bytes)
            extra = layout.manifest_extra(contract, len(self.raw.train) + len(self.raw.validation))
            summary = {}
            for part, writer in sorted(writers.items()):
                kept = keep_contents(folder / part, self.contents.get(part))
                summary[part] = writer.close({**extra, "source": {**extra["source"], "contents": kept}})
        if isinstance(encoder, Tokenizer):
            for part in writers:
                encoder.keep(folder / part)
        digest = hashlib.sha256("".join(part["digest"] for part in summary.values()).encode()).hexdigest()
        return {"digest": digest, "parts": summary}

    def _encoded(self, layout: Layout, text_bytes: Counter[PartName]) -> Iterator[tuple[PartName, Filled]]:
        """The third pass: all documents as they are written; `text_bytes` are counted for a tokenizer."""
        for part, documents in self._parts("writing"):
            self.learned.ids.look_for(documents.ids or [])
            text_bytes[part] += int(documents.lengths.sum()) if self.tokenizer is not None else 0
            for filled in layout.rows(documents):
                yield part, filled

    def _count(self) -> None:
        """The first pass: choose the split, or compare the held-out documents with those of the training part."""
        census: dict[PartName, Census] = {"train": Census(self.options), "validation": Census(self.options)}
        for part, documents in self._parts("counting"):
            keys = census[part].add(documents, self.learned.see(documents))
            if self.matching is not None and keys is not None:
                self.matching.see(documents, keys)
        for one in census.values():
            one.end()
        first = self.learned.first
        if first is None:
            raise data_error(
                self.raw.train[0].path,
                "file",
                expected="at least one document",
                found="none",
                advice="leave the file out",
            )
        if self.matching is not None:
            self.sources.note_encoding(self.matching.source)
            self.notes += self.matching.notes()
        self._check_encoder(self.learned.kind, first.path.name)
        self.learned.check_labels(sum(one.documents for one in census.values()))
        if self.learned.kind == "text" and self.options.tokenizer:
            path = Path(self.options.tokenizer).expanduser()
            self.tokenizer = Tokenizer.read(path, vocab_size=self.options.vocab_size)
        if self.raw.validation:
            self.held_out = "the files of data.validation"
            self._check_copies(census)
        elif self.options.validation_fraction or self.options.test_fraction:
            names = self.learned.labels.texts
            self.split = census["train"].choose(per_document=self.learned.per_document, names=names)
            self.held_out = self.split.rule
            self.notes += self.split.notes
        self._say_repeated(census)
        self.notes += self.sources.notes
        self._see_contents(census)

    def _see_contents(self, census: dict[PartName, Census]) -> None:
        """Note the contents of the documents of each part, of which a model is not to be evaluated on what it saw."""
        self.contents = {part: one.copies() for part, one in census.items()}
        keys = self.contents["train"]
        if isinstance(self.split, Tail):
            del self.contents["validation"]
        elif self.split is not None and keys is not None:
            self.contents = {"train": keys[self.split.trained], "validation": keys[self.split.held_out]}
            if self.split.test is not None:
                self.contents["test"] = keys[self.split.test]

    def _say_repeated(self, census: dict[PartName, Census]) -> None:
        """Documents of one content with several classes; ids in several files, as an id names one within its file."""
        for one in census.values():
            if found := one.contradictions():
                self.notes.append(f"{counted(found, 'document')} with another class than one with the same content")
        repeated = census["train"].repeated
        if repeated:
            together = ""
            if isinstance(self.split, Chosen) and self.options.split in ("auto", "documents"):
                together = "; those of one id are held out together or not at all"
            self.notes.append(
                f"{counted(repeated, 'id is', 'ids are')} in several files, a document of its own in each{together}"
            )

    def _check_copies(self, census: dict[PartName, Census]) -> None:
        training, held_out = census["train"].copies(), census["validation"].copies()
        if training is None or held_out is None:
            self.notes.append("too many documents to look for held-out ones among those of the training part")
            return
        ids = (np.concatenate(one.ids or [np.empty(0, np.uint64)]) for one in census.values())
        count, known = overlap(training, held_out), overlap(*ids)
        if known > count:
            have = noun_for(known, "has", "have")
            self.notes.append(f"{counted(known, 'document')} of the training part {have} the id of a held-out one")
        if count and self.options.duplicates == "keep":
            self.notes.append(
                f"{counted(count, 'document')} of the training part {noun_for(count, 'is', 'are')} held out too"
            )
        elif count:
            raise config_error(
                "data.validation",
                expected="documents that are not in data.train",
                found=f"{count} of {counted(census['train'].documents, 'document')} of the training part held out too",
                advice="name other files, or set --data.duplicates keep",
            )

    def _parts(self, stage: str) -> Iterator[tuple[PartName, Documents]]:
        """All documents with their side; of a split that is not chosen yet, all are training documents."""
        documents = units = 0
        if self.split is not None:
            self.split.again()
        for part, batches in self.batches.items():
            for batch in prefetched(batches):
                yield from [(part, batch)] if self.split is None else self.split.parts(batch)
                documents, units = documents + len(batch), units + int(batch.offsets[-1])
                self.progress(stage, documents, units)

    # ---- results

    def _check_encoder(self, kind: str, name: str) -> None:
        """Whether the encoder fits what the files hold."""
        asked = self.options.encoder
        fits = {"text": ("bytes", "tokenizer"), "tokens": ("ids",), "features": ("features",)}[kind]
        if asked not in ("auto", *fits):
            advice = f"choose one of these, as {name} holds {kind}"
            raise config_error("data.encoder", expected=" or ".join(fits), found=asked, advice=advice)
        if asked == "tokenizer" and not self.options.tokenizer:
            advice = "name it with --data.tokenizer"
            raise config_error("data.tokenizer", expected="a tokenizer.json", found="none", advice=advice)

    def _encoder(self) -> Encoder | None:
        if self.learned.kind == "features":
            return None
        if self.learned.kind == "tokens":
            return Ids(self.options.vocab_size or self.learned.largest_id + 1)
        return self.tokenizer or Bytes()

    def _contract(self, encoder: Encoder | None) -> Contract:
        """Everything but the numbers of documents, which are known when they are written."""
        described = encoder.describe() if encoder else {"kind": "features"}
        if self.tokenizer is not None:
            described |= {"text": self.tokenizer.text, "vocab_size": self.tokenizer.vocab_size}
        options = self.options.model_dump(mode="json", exclude={"train", "validation"})
        options["columns"] = self.sources.columns.model_dump(mode="json")
        return Contract(
            kind="features" if encoder is None else "tokens",
            columns=self.learned.columns(self.sources),
            classes=self.learned.classes(),
            scale=self.learned.scale(),
            encoder=described if encoder is None else described | {"vocab_size": encoder.vocab_size},
            missing=self.options.missing,
            normalised=self.options.normalize and encoder is None,
            format=_format_name(self.raw.train[0]),
            options=options,
            origin=None if self.raw.train[0].format == "table" else self.origin,
        )

    def _complete(
        self, contract: Contract, writers: dict[PartName, PartWriter], text_bytes: Counter[PartName]
    ) -> Contract:
        left_out = list(self.raw.left_out)
        if self.sources.left_out is not None:
            left_out.append(self.sources.left_out)
        if self.unique is not None and self.unique.left_out:
            what = counted(self.unique.left_out, "document")
            left_out.append((what, "equal to an earlier one"))
        parts: dict[str, Any] = {
            name: replace(writer.part, text_bytes=text_bytes[name] or None) for name, writer in sorted(writers.items())
        }
        held_out = self.held_out or "nothing"
        constant = contract.constant_note()
        return replace(
            contract,
            parts=parts,
            held_out=held_out,
            left_out=tuple(left_out),
            notes=(*self.notes, *self.learned.notes(), *([] if constant is None else [constant])),
        )

    def _check_parts(self, writers: dict[PartName, PartWriter]) -> None:
        wanted: list[PartName] = ["train"]
        if self.raw.validation or self.options.validation_fraction:
            wanted.append("validation")
        for part in wanted:
            if part not in writers:
                raise config_error(
                    "data.validation_fraction",
                    expected=f"a {part} part with something in it",
                    found=f"none at {self.options.validation_fraction}",
                    advice="hold out whole documents with --data.split documents, or a larger fraction"
                    if isinstance(self.split, Tail) and len(self.split.lengths) > 1
                    else "change the fraction, or name held-out files with --data.validation",
                )
