"""Documents of any sources: the reader for their format, one source after the other, with the same columns in all."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Protocol

from ssm_hpn.config.data import Columns, PrepareOptions
from ssm_hpn.counts import counted
from ssm_hpn.prepare.arrays import read_arrays
from ssm_hpn.prepare.problems import Notes
from ssm_hpn.prepare.records import Documents, Record
from ssm_hpn.prepare.roles import Reading, settle, type_of_ids
from ssm_hpn.prepare.source import TABLES, Source, encoding_doubts
from ssm_hpn.prepare.split import side_column
from ssm_hpn.prepare.tables import read_table
from ssm_hpn.prepare.text import read_integers, read_text
from ssm_hpn.targets import COLUMNS


class Arrays(Protocol):
    """A reader of arrays."""

    def __call__(self, source: Source, options: PrepareOptions, /, *, notes: Notes | None) -> Iterator[Documents]:
        """The documents of a file; what is guessed goes to `notes`."""


def read(sources: list[Source], options: PrepareOptions) -> Iterator[Record]:
    """Every document of the sources, in order, none of them empty or longer than `max_document`."""
    for documents in with_targets(sources, options):
        yield from documents


def with_targets(
    sources: list[Source], options: PrepareOptions, trained_order: str | None = None, work: Path | None = None
) -> "Sources":
    """Files for a trained model, whose order column was read as `trained_order`."""
    return Sources(sources, options.model_copy(update={"split": "auto"}), work, trained_order=trained_order)


def inputs(
    sources: list[Source],
    options: PrepareOptions,
    n_features: int | None,
    trained_order: str | None = None,
    work: Path | None = None,
) -> "Sources":
    """Like `with_targets` for a model of so many features, without targets, which the files may lack."""
    none = {name: Columns.model_fields[name].default for name in COLUMNS}
    columns = options.columns.model_copy(update=none)
    arrays = partial(read_arrays, targets=False, univariate=n_features == 1)
    bare = options.model_copy(update={"columns": columns, "labels": None, "split": "auto"})
    return Sources(sources, bare, work, arrays=arrays, trained_order=trained_order)


def id_type(sources: list[Source], options: PrepareOptions, work: Path | None = None) -> str:
    """What the id column holds in all of the sources: `integer`, `number` or `text`."""
    found = {type_of_ids(source, options, work) for source in sources if source.format in TABLES}
    return found.pop() if len(found) == 1 else "text"


@dataclass
class Sources:
    """All documents of some sources; every pass reads them anew."""

    sources: list[Source]
    options: PrepareOptions
    work: Path | None = None
    """Where the engine may put what does not fit into memory, and copies of files in another encoding are kept."""
    arrays: Arrays = read_arrays
    reading: Reading | None = field(default=None)
    """For tables: the columns of the first one, found by name in the others."""
    notes: Notes = field(default_factory=Notes)
    """What was guessed."""
    trained_order: str | None = None
    """What the order column was read as in the data of the model that reads the sources."""

    def __post_init__(self) -> None:
        """Choose the columns, unless they are given."""
        self._looked_at: set[Source] = set()
        if self.reading is None and self.sources and self.sources[0].format in TABLES:
            self.reading = settle(self.sources, self.options, split_column=side_column(self.options))
        if self.reading is not None:
            self.notes = self.reading.notes
            self.reading.trained_order = self.trained_order

    def __iter__(self) -> Iterator[Documents]:
        """All documents, in their order."""
        for source in self.sources:
            self.note_encoding(source)
            if self.reading is not None:
                yield from read_table(source, self.options, self.reading, self.work)
            else:
                yield from self._read(source)

    def note_encoding(self, source: Source) -> None:
        """Note what may be wrong with the encoding of a file, the first time that it is read."""
        if source not in self._looked_at:
            self._looked_at.add(source)
            for about, text in encoding_doubts(source):
                self.notes.add_of_file(source.name, about, text)

    def _read(self, source: Source) -> Iterator[Documents]:
        match source.format:
            case "text":
                return read_text(source, self.options)
            case "integers":
                return read_integers(source, self.options)
            case _:
                return self.arrays(source, self.options, notes=self.notes)

    @property
    def left_out(self) -> tuple[str, str] | None:
        """The rows without a document so far, counted, and why; None where there was none."""
        empty = 0 if self.reading is None else self.reading.empty
        return (counted(empty, "row"), "nothing in the column of the data") if empty else None

    @property
    def columns(self) -> Columns:
        """The columns in use, patterns expanded."""
        return self.options.columns if self.reading is None else self.reading.columns
