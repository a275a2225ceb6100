"""Documents for a trained model: raw files read as its training data was, or the shards of a prepared folder.

All that is needed for it is in the contract inside every checkpoint: columns, encoder, shift and scale,
classes. Nothing is learned from new input, and the folder that the model was trained on may be gone.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import islice, pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from ssm_hpn._core import ShardReader
from ssm_hpn.classes import Classes, text_of
from ssm_hpn.config import ModelConfig, PrepareOptions
from ssm_hpn.config.applicable import check_raw
from ssm_hpn.config.base import QUERY
from ssm_hpn.config.data import FILE_OPTIONS
from ssm_hpn.contract import Contract
from ssm_hpn.counts import counted
from ssm_hpn.dataset import PARTS, Arrays, is_prepared, next_tokens, padded, read_manifest
from ssm_hpn.errors import ConfigError, DataError, nearest, problem, shown
from ssm_hpn.moments import Moments
from ssm_hpn.prepare.encode import Encoder, encoder_from
from ssm_hpn.prepare.keys import ContentKeys, Keys, text_keys
from ssm_hpn.prepare.labels import Matching
from ssm_hpn.prepare.look import look
from ssm_hpn.prepare.reading import Sources, id_type, inputs, with_targets
from ssm_hpn.prepare.records import Documents, Record, file_and_mark
from ssm_hpn.prepare.source import Source
from ssm_hpn.prepare.sources import find
from ssm_hpn.prepare.trained import notes_on, notes_on_part
from ssm_hpn.targets import COLUMNS, KINDS, TargetArray, column_with

_TYPED: Mapping[str, Callable[[str], str | int | float]] = {"integer": int, "number": float, "text": str}
"""Conversion of an id's text, by the type of its column."""


@dataclass(frozen=True, slots=True)
class Document:
    """One document as the model reads it."""

    name: str
    """File and place, or file and id."""
    x: NDArray[Any]
    """Tokens [T] or channels [T, C]."""
    id: str | int | float | None = None
    """The value of the id column as it was given, where documents have one."""
    file: str | None = None
    """The source's name, where several were read."""
    targets: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    """By column of `ssm_hpn.targets.COLUMNS`: classes as int32 [] or [T], -1 for none, or `STRANGE`; numbers as float64
    [K] or [T, K] in the user's units, NaN where one is missing."""
    text_bytes: int | None = None
    """Length of its text in UTF-8, where a tokenizer made the tokens."""


class Tally:
    """Documents as they are read; the bytes of their text, and those without any target are counted."""

    def __init__(self, documents: Iterable[Document]) -> None:
        self._documents = documents
        self._bytes = self._tokens = 0
        self.without_target = 0

    def __iter__(self) -> Iterator[Document]:
        """The documents."""
        for document in self._documents:
            self._bytes += document.text_bytes or 0
            self._tokens += len(document.x)
            self.without_target += not any(_is_there(values) for values in document.targets.values())
            yield document

    @property
    def per_token(self) -> float | None:
        """Mean bytes of text of a token so far; None where no tokenizer made them."""
        return self._bytes / self._tokens if self._bytes and self._tokens else None


def _is_there(values: NDArray[Any]) -> bool:
    """Whether any class or number is not missing."""
    return bool((values >= 0 if values.dtype.kind == "i" else ~np.isnan(values)).any())


AS_TRAINED: Final = "as in training"
STRANGE: Final = -2
"""Of a document whose class no document of the training data has."""


class Reader:
    """Reads documents like the training data of a model.

    Parameters
    ----------
    contract
        Of the data that the model was trained on.
    target
        A kind of `model.target`.
    given
        Settings of `data` for raw files that are written in another way than the training data, or have their targets
        in another table: `labels`, `delimiter`, `encoding` and the like.
    strange
        Take labels of documents that are no class of the training data for `STRANGE`, instead of refusing them.
    """

    def __init__(
        self, contract: Contract, target: str, given: Mapping[str, Any] | None = None, *, strange: bool = False
    ) -> None:
        self.contract = contract
        self.target = target
        self._given = dict(given or {})
        self.encoder: Encoder | None = encoder_from(contract.encoder)
        known = {key: value for key, value in contract.options.items() if key in PrepareOptions.model_fields}
        self._options = _options(known | self._given)
        self.unseen_gaps: Counter[str] = Counter()
        """Counts by column of raw files of missing numbers that became the mean and have no indicator."""
        self._sources: Sources | None = None
        self._matching: Matching | None = None
        self._keys: list[Keys] = []
        """Of the ids of raw files so far."""
        self._contents: list[Keys] = []
        """Of the contents of raw files so far, where their targets are read."""
        self._folder: Path | None = None
        """The prepared folder that was read."""
        self._seen: Moments | None = None
        """Statistics of the features of raw files so far."""
        self._takes_strange = strange
        self.strange: Counter[str] = Counter()
        """Counts by label of the documents so far whose label is no class of the training data."""

    @property
    def id_column(self) -> str | None:
        """The column whose values name documents; None where files or rows do."""
        return self._options.columns.id

    @property
    def label_table(self) -> str | None:
        """The file or query that the targets are in, where that is a table of their own."""
        return self._options.labels

    def documents(self, paths: Path | Sequence[str], *, targets: bool = True) -> Iterator[Document]:
        """The documents of a prepared folder, or of raw files, which may lack the targets where none are wanted."""
        several = (str(paths),) if isinstance(paths, Path) else tuple(paths)
        path = Path(several[0]).expanduser() if len(several) == 1 and not several[0].startswith(QUERY) else Path()
        if is_prepared(path):
            if self._given:
                names = ", ".join(f"--data.{name}" for name in self._given)
                raise ConfigError(problem(names, "raw files in --data", f"the prepared folder {path}", "leave it out"))
            self._folder = path
            yield from self._from_shards(path)
            return
        parts = [part for part in PARTS if is_prepared(path / part)]
        if parts:
            advice = f"name one: {' or '.join(str(path / part) for part in parts)}"
            raise DataError(problem(path, "one part of prepared data", f"a folder of {len(parts)}", advice))
        sources = find(several, self._options, key="--data")
        self._check_given(several, sources)
        n_features = len(self.contract.features) or None
        order = next((column.type for column in self.contract.columns if column.role == "order"), None)
        try:
            with TemporaryDirectory(prefix="ssm-hpn-", ignore_cleanup_errors=True) as folder:
                work = Path(folder)
                if targets:
                    self._sources = with_targets(sources, self._options, order, work)
                    self._matching = self._matched(self._sources, work)
                else:
                    self._sources = inputs(sources, self._options, n_features, order, work)
                typed = _TYPED[id_type(sources, self._options, work)] if self.id_column and not targets else str
                yield from self._from_files(self._sources, typed, ContentKeys() if targets else None)
        except DataError as error:
            raise _as_trained(error) from None

    def _matched(self, sources: Sources, work: Path) -> Matching | None:
        """The ids of the table of targets. Raises `DataError` for one of the training that cannot be read any more."""
        if self._options.labels is None:
            return None
        try:
            return Matching.read(self._options, sources.columns, work)
        except (ConfigError, DataError) as error:
            if "labels" in self._given:
                raise
            advice = "--data.labels PATH names another one, --data.labels null takes the targets of the files"
            raise DataError(f"{error} ({self._options.labels} has the targets {AS_TRAINED}: {advice})") from None

    def _from_files(
        self, sources: Sources, typed: Callable[[str], str | int | float], contents: ContentKeys | None
    ) -> Iterator[Document]:
        several = len(sources.sources) > 1
        for documents in sources:
            self._measure(documents)
            if contents is not None:
                self._contents.append(contents.add(documents))
            if documents.ids is not None:
                self._keys.append(text_keys([documents.ids[i] for i in np.flatnonzero(documents.begins).tolist()]))
                if self._matching is not None:
                    self._matching.see(documents, self._keys[-1])
            for record in documents:
                given = None if record.id is None else typed(record.id)
                file = record.source.name if several else None
                yield replace(self._from_record(record), id=given, file=file)
        if contents is not None:
            self._contents.append(contents.rest())

    def notes(self) -> Iterator[str]:
        """Notes about the raw files: guesses, rows left out, and features unlike those of the training data."""
        if self._sources is not None:
            yield from self._sources.notes
            if self._sources.left_out is not None:
                yield "left out: {}, {}".format(*self._sources.left_out)
        if self._matching is not None:
            yield from self._matching.used(trained="labels" not in self._given)
        yield from self._strange_notes()
        for name, count in self.unseen_gaps.items():
            told = f"missing numbers ({count}), of which the training data had none, are taken as the training mean"
            yield f"column {name}: {told}"
        if self._seen is not None:
            yield from self.contract.far_out(self._seen)

    def _strange_notes(self) -> Iterator[str]:
        names = [] if self.contract.classes is None else self.contract.classes.names
        for label, count in self.strange.items():
            close = nearest(label, names)
            asked = f" (did you mean {close}?)" if close else ""
            told = f"no class of the training data{asked}: taken for unknown"
            yield f"label {label!r} of {counted(count, 'document')}: {told}"

    def note_trained(self, part: Path | None) -> Iterator[str]:
        """Notes on documents that are those of the part that was trained on; none where it is gone."""
        if part is None:
            return
        contents, ids = (np.concatenate([np.empty(0, np.uint64), *keys]) for keys in (self._contents, self._keys))
        try:
            yield from notes_on(part, contents, ids) if self._folder is None else notes_on_part(part, self._folder)
        except (OSError, LookupError, ValueError, DataError):
            yield f"{part} cannot be read: the documents were not looked for among those that were trained on"

    def _measure(self, documents: Documents) -> None:
        if documents.kind == "features" and documents.elements.shape[1] == len(self.contract.features):
            self._seen = self._seen or Moments.empty(documents.elements.shape[1])
            self._seen.add(np.asarray(documents.elements, np.float64))

    def _check_given(self, paths: tuple[str, ...], sources: list[Source]) -> None:
        """Refuse settings without effect on the files."""
        if self._given:
            options = self._options.model_copy(update={"train": paths})
            check_raw(options, look(sources, options), {f"data.{name}" for name in self._given})

    def _from_shards(self, folder: Path) -> Iterator[Document]:
        """The documents of a prepared folder, checked against its digests as they are read."""
        manifest = read_manifest(folder)
        theirs = Contract.from_manifest(manifest, folder)
        for what, ours, found in _differences(self.contract, theirs):
            advice = "name the raw files, which are then read as the training data was"
            raise DataError(problem(f"{folder}: {what}", f"{ours}, as in the training data", found, advice))
        types = [column.type for column in theirs.columns if column.role == "id"]
        typed = _TYPED.get(types[0], str) if types else None
        several = (manifest.get("source") or {}).get("files", 1) > 1
        reader = ShardReader(str(folder))
        while (group := reader.next()) is not None:
            per_token: NDArray[Any] = group["tokens"] if "tokens" in group else group["features"]
            names = group.get("name")
            columns = {name: self._in_units(name, values) for name, values in group["targets"].items()}
            for row, (start, end) in enumerate(pairwise(group["boundaries"].tolist())):
                name = str(row) if names is None else names[row]
                file, mark = file_and_mark(name)
                yield Document(
                    name=name,
                    x=per_token[start:end],
                    id=typed(mark) if typed is not None and mark is not None else None,
                    file=file if several else None,
                    targets={
                        name: values[start:end] if COLUMNS[name].per_token else values[row]
                        for name, values in columns.items()
                    },
                )

    def _in_units(self, name: str, values: NDArray[Any]) -> NDArray[Any]:
        """A column of targets in the user's units."""
        return self.contract.unscale_values(values) if COLUMNS[name].element == "number" else values

    def _from_record(self, record: Record) -> Document:
        contract, classes = self.contract, self.contract.classes
        if self.encoder is not None:
            x: NDArray[Any] = self.encoder.encode(record)
        elif record.features is not None:
            x = self._placed(record, lambda: record.at, contract.channels, record.features)
            self.unseen_gaps.update(contract.unseen_gaps(record.features))
        else:
            expected = f"{counted(len(contract.features), 'feature')}, as in the training data"
            raise DataError(problem(f"{record.path}: {record.at}", expected, "none", "give files with these columns"))
        targets: dict[str, NDArray[Any]] = {}
        for name, found in record.targets.items():
            if isinstance(found, np.ndarray):
                targets[name] = np.asarray(found, np.float64)
            elif classes is not None and name == column_with("class", record.targets):
                targets[name] = self._indices(record, classes, found)
        text_bytes = len(record.text or b"") if contract.encoder.get("kind") == "tokenizer" else None
        return Document(record.name, x, targets=targets, text_bytes=text_bytes)

    def _indices(self, record: Record, classes: Classes, found: str | list[str | None] | None) -> NDArray[np.int32]:
        """The label of a document [], or those of its tokens [T], as classes."""
        if not isinstance(found, list):
            if self._takes_strange and found is not None and not classes.knows(found):
                self.strange[text_of(found)] += 1
                return np.array(STRANGE, np.int32)
            return np.array(self._placed(record, record.label_place, classes.index, found), np.int32)
        places = (partial(record.label_place, i) for i in range(len(found)))
        indices = [self._placed(record, at, classes.index, one) for at, one in zip(places, found, strict=True)]
        return np.array(indices, np.int32)

    @staticmethod
    def _placed(record: Record, at: Callable[[], str], read: Any, value: Any) -> Any:  # noqa: ANN401 - a method of the contract
        """A value converted by the contract; an error begins with the place."""
        try:
            return read(value)
        except DataError as error:
            raise DataError(f"{record.path}: {at()}: {error}") from None


def _as_trained(error: DataError) -> DataError:
    """An error of a reader, extended by which of the settings in it are fixed by the training."""
    named = dict.fromkeys(re.findall(r"\bdata\.[a-z_]+(?:\.[a-z_]+)*", str(error)))
    fixed = [name for name in named if name.split(".")[1] not in FILE_OPTIONS and _is_setting(name)]
    if not fixed or AS_TRAINED in str(error):
        return error
    return DataError(f"{error} ({', '.join(fixed)} {AS_TRAINED}: change the files, or train again)")


def _is_setting(name: str) -> bool:
    """Whether a dotted name is a setting of `data`, and no file such as data.csv."""
    return name.split(".")[1] in PrepareOptions.model_fields


def _differences(ours: Contract, theirs: Contract) -> Iterator[tuple[str, str, str]]:
    """Differences of shards from the training data: (property, value of the training, value of the shards)."""
    kinds = ours.kind, theirs.kind
    if kinds[0] != kinds[1]:
        yield "kind", *kinds
    for what, one, other in (
        ("encoder", _encoding(ours), _encoding(theirs)),
        ("features", [column.name for column in ours.features], [column.name for column in theirs.features]),
        ("classes", _values(ours), _values(theirs)),
    ):
        if one != other and not (what == "classes" and _begins(ours, theirs)):
            yield what, str(one)[:200], str(other)[:200]
    numbers = (("normalisation", ours.shift, theirs.shift), ("scale", _scale(ours), _scale(theirs)))
    for what, (mean, std), (other_mean, other_std) in numbers:
        if not (np.array_equal(mean, other_mean) and np.array_equal(std, other_std)):
            yield what, "the same", "another one"


def _begins(ours: Contract, theirs: Contract) -> bool:
    """Whether shards have no classes, or the first ones of a model that got others since: their codes are the same."""
    there, known = _values(theirs), _values(ours)
    return there is None or (known is not None and known[: len(there)] == there)


def _values(contract: Contract) -> list[Any] | None:
    return None if contract.classes is None else list(contract.classes.values)


def _encoding(contract: Contract) -> dict[str, Any]:
    """The encoder without the path of its file."""
    return {key: contract.encoder.get(key) for key in ("kind", "vocab_size", "text") if key in contract.encoder}


def _scale(contract: Contract) -> tuple[tuple[float, ...], tuple[float, ...]]:
    return ((), ()) if contract.scale is None else (contract.scale.mean, contract.scale.std)


def in_channels(documents: Iterable[Document], contract: Contract) -> Iterator[Document]:
    """Documents as a backbone reads them: texts of which the contract makes features become channels."""
    for document in documents:
        spelled = contract.kind == "features" and document.x.ndim == 1
        yield replace(document, x=contract.channels(contract.series(document.x))) if spelled else document


def pieces(documents: Iterable[Document], length: int) -> Iterator[Document]:
    """Documents cut into rows of the length that the language model had in training."""
    for document in documents:
        for start in range(0, len(document.x), length):
            yield replace(document, x=document.x[start : start + length])


def batches(documents: Iterable[Document], model: ModelConfig, rows: int) -> Iterator[tuple[list[Document], Arrays]]:
    """Batches of a few documents, one per row, as arrays for `Trainer`; missing targets are -1 or NaN."""
    remaining = iter(documents)
    while group := list(islice(remaining, rows)):
        yield group, _arrays(group, model)


def _arrays(group: list[Document], model: ModelConfig) -> dict[str, NDArray[Any]]:
    name = "tokens" if group[0].x.ndim == 1 else "features"
    arrays = padded([document.x for document in group], name)
    length = arrays[name].shape[1]
    kind = KINDS[model.target.kind]
    for array in kind.arrays:
        if kind.from_tokens:
            arrays[array.name] = next_tokens(arrays[name], arrays["segments"])
        else:
            arrays[array.name] = _target(group, array, length, getattr(model.target, "n_values", None) or 1)
    return arrays


def _target(group: list[Document], array: TargetArray, length: int, n_values: int) -> NDArray[Any]:
    """The targets of some documents, one per row; -1 or NaN where a document has none and after its last token."""
    given = [document.targets.get(array.column or "") for document in group]
    first = next((values for values in given if values is not None), None)
    shape: tuple[int, ...] = (length,) if array.per_token else ()
    if array.element == "class":
        given = [None if values is None else np.maximum(values, -1) for values in given]
        missing: NDArray[Any] = np.full(shape, -1, np.int32)
    else:
        missing = np.full((*shape, n_values if first is None else first.shape[-1]), np.nan)
    rows = []
    for document, values in zip(group, given, strict=True):
        row = missing if values is None else values
        if array.element == "number" and row.shape[-1] != missing.shape[-1]:
            expected = f"{counted(missing.shape[-1], 'number')} to predict, as in the documents before"
            raise DataError(problem(document.name, expected, row.shape[-1], "give every document as many"))
        rows.append(np.concatenate([row, missing[len(row) :]]) if array.per_token else row)
    return np.stack(rows)


def _options(settings: Mapping[str, Any]) -> PrepareOptions:
    """Settings of preparation from a contract, which may have been altered."""
    try:
        return PrepareOptions.model_validate(settings)
    except ValidationError as error:
        row = error.errors(include_url=False, include_context=False)[0]
        place, found = ".".join(str(part) for part in row["loc"]), f"{shown(row['input'])} ({row['msg']})"
        advice = "load another checkpoint of the run"
        raise DataError(problem(f"contract: options.{place}", "a setting of data", found, advice)) from None
