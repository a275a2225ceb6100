"""Rows of a table as records: a text, a list of ids or a list of numbers per row, or one time step per row.

Time steps with the same value in the id column form a document. Where those rows follow each other they are streamed;
where ids are interleaved the rows are first dealt out to buckets on disk by a hash of the id, so that memory holds one
bucket at a time.
"""

import itertools
import tempfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from ssm_hpn.config.data import Columns, PrepareOptions
from ssm_hpn.errors import DataError
from ssm_hpn.prepare.problems import data_error, shown
from ssm_hpn.prepare.records import Label, Record
from ssm_hpn.prepare.sources import Source
from ssm_hpn.prepare.tables import Batch, resolve, stream

BUCKET_BYTES = 64 << 20
ROW = "__row__"


def read_table(source: Source, options: PrepareOptions) -> Iterator[Record]:
    """Documents of a CSV, Parquet or JSON lines file."""
    columns = resolve(source, options)
    batches = stream(source, columns)
    first = next(batches, None)
    if first is None or not first.n_rows:
        raise data_error(
            source.path, "file", expected="at least one row", found="a header only", advice="leave the file out"
        )
    nested = any(_is_list(first.columns[name].type) for name in columns.features)
    if columns.features and not nested:
        first = None
        batches.close()  # type: ignore[attr-defined]
        yield from _time_steps(source, columns, options)
        return
    yield from _documents(source, columns, first)
    for batch in batches:
        yield from _documents(source, columns, batch)


# ---- a document per row


def _documents(source: Source, columns: Columns, batch: Batch) -> Iterator[Record]:
    labels = _label_list(source, batch.columns[columns.label]) if columns.label else None
    per_token = _token_labels(source, columns.labels, batch) if columns.labels else None
    values = _values(source, columns, batch)
    for index in range(batch.n_rows):
        row = int(batch.rows[index])
        at = source.row(row)
        content = _content(source, columns, batch, index, at)
        record = Record(
            f"{source.name}#{row}",
            source,
            at,
            label=labels[index] if labels else None,
            labels=per_token[index] if per_token else None,
            values=None if values is None else values[index],
            label_name=columns.label or columns.labels,
            **content,
        )
        if record.labels is not None and len(record.labels) != record.units:
            raise data_error(
                source.path,
                record.label_place(),
                expected=f"{record.units} labels, one per token",
                found=len(record.labels),
                advice="per-document labels go into --data.columns.label",
            )
        yield record


def _content(source: Source, columns: Columns, batch: Batch, index: int, at: str) -> dict[str, Any]:
    """The text, tokens or features of one row."""
    if columns.text:
        value = batch.columns[columns.text][index].as_py()
        if not isinstance(value, str | bytes):
            raise _mismatch(source, at, columns.text, "text", value)
        return {"text": value.encode() if isinstance(value, str) else value}
    if columns.tokens:
        value = batch.columns[columns.tokens][index]
        if not value.is_valid or not _is_list(value.type):
            raise _mismatch(source, at, columns.tokens, "a list of token ids", value.as_py())
        return {"tokens": _ids(source, value.values, at, columns.tokens)}
    return {"features": _nested_features(source, columns, batch, index, at)}


def _ids(source: Source, values: pa.Array, at: str, name: str) -> NDArray[np.int64]:
    if values.null_count or not (pa.types.is_integer(values.type) or not len(values)):
        raise _mismatch(source, at, name, "whole numbers", values.to_pylist())
    ids = np.asarray(values).astype(np.int64)
    bad = np.flatnonzero((ids < 0) | (ids > 0xFFFF_FFFF))
    if len(bad):
        raise _mismatch(source, at, name, "token ids from 0 to 4294967295", int(ids[bad[0]]))
    return ids


def _nested_features(source: Source, columns: Columns, batch: Batch, index: int, at: str) -> NDArray[np.float32]:
    """[T, F] from one column of lists of lists, or from one list per channel."""
    lists = [batch.columns[name][index].as_py() for name in columns.features]
    for name, value in zip(columns.features, lists, strict=True):
        if not isinstance(value, list) or not value:
            raise _mismatch(source, at, name, "a list of numbers", value)
    if len(lists) == 1 and isinstance(lists[0][0], list):
        steps = lists[0]
        widths = [len(step) if isinstance(step, list) else -1 for step in steps]
        if len(set(widths)) > 1:
            step = next(i for i, width in enumerate(widths) if width != widths[0])
            raise data_error(
                source.path,
                f"{at}, step {step}, {source.field(columns.features[0])}",
                expected=f"{widths[0]} features as in the step before",
                found=widths[step] if widths[step] >= 0 else "no list",
                advice="every step needs the same number of features",
            )
    else:
        lengths = {name: len(value) for name, value in zip(columns.features, lists, strict=True)}
        if len(set(lengths.values())) > 1:
            other = next(name for name, length in lengths.items() if length != lengths[columns.features[0]])
            raise data_error(
                source.path,
                f"{at}, {source.field(other)}",
                expected=f"{lengths[columns.features[0]]} values as in {source.field(columns.features[0])}",
                found=lengths[other],
                advice="all channels of a document need the same length",
            )
        steps = list(zip(*lists, strict=True))
    try:
        matrix = np.array(steps, dtype=np.float64)
    except (TypeError, ValueError):
        raise _mismatch(source, at, columns.features[0], "numbers", lists[0]) from None
    step, channel = first_bad(matrix)
    if step >= 0:
        name = columns.features[channel] if len(columns.features) > 1 else f"{columns.features[0]}[{channel}]"
        raise not_finite(source, f"{at}, step {step}", name, matrix[step, channel])
    return matrix.astype(np.float32)


# ---- a time step per row


def _time_steps(source: Source, columns: Columns, options: PrepareOptions) -> Iterator[Record]:
    limit = options.max_document
    if (columns.id is None and columns.order is None) or (
        columns.order is None and _contiguous(source, columns.id or "")
    ):
        yield from _runs(source, columns, stream(source, columns), limit)
    else:
        with tempfile.TemporaryDirectory(prefix="ssm-hpn-") as folder:
            yield from _runs(source, columns, _regrouped(source, columns, Path(folder)), limit)


def _runs(source: Source, columns: Columns, batches: Iterator[Batch], limit: int) -> Iterator[Record]:
    """Consecutive rows with one id, joined over batch borders; a longer run comes in pieces of `limit`."""
    held: list[Record] = []
    for batch in batches:
        for piece in _pieces(source, columns, batch):
            if held and (piece.name != held[0].name or sum(r.units for r in held) + piece.units > limit):
                yield _join(held, columns)
                held = []
            held.append(piece)
    if held:
        yield _join(held, columns)


def _pieces(source: Source, columns: Columns, batch: Batch) -> Iterator[Record]:
    """The runs inside one batch."""
    rows = batch.rows
    features = _matrix(source, columns.features, batch)
    per_row = _label_list(source, batch.columns[columns.labels]) if columns.labels else None
    labels = _label_list(source, batch.columns[columns.label]) if columns.label else None
    values = _values(source, columns, batch)
    names, borders = _borders(batch, columns.id)
    for start, end in itertools.pairwise(borders):
        name = source.name if columns.id is None else f"{source.name}#{names[start]}"
        if labels and any(label != labels[start] for label in labels[start:end]):
            other = next(i for i in range(start, end) if labels[i] != labels[start])
            raise _changed(source, int(rows[other]), columns.label or "", labels[start], labels[other])
        if values is not None and np.any(values[start:end] != values[start]):
            other, k = (int(i[0]) for i in np.nonzero(values[start:end] != values[start]))
            raise _changed(
                source, int(rows[start + other]), columns.values[k], values[start, k], values[start + other, k]
            )
        yield Record(
            name,
            source,
            source.row(int(rows[start])),
            features=features[start:end],
            label=labels[start] if labels else None,
            labels=per_row[start:end] if per_row else None,
            values=None if values is None else values[start],
            rows=rows[start:end],
            label_name=columns.label or columns.labels,
        )


def _join(pieces: list[Record], columns: Columns) -> Record:
    first = pieces[0]
    if len(pieces) == 1:
        return first
    for piece in pieces[1:]:
        source = piece.source
        row = int(piece.rows[0]) if piece.rows is not None else 0
        if piece.label != first.label:
            raise _changed(source, row, columns.label or "", first.label, piece.label)
        if first.values is not None and piece.values is not None and np.any(piece.values != first.values):
            k = int(np.flatnonzero(piece.values != first.values)[0])
            raise _changed(source, row, columns.values[k], first.values[k], piece.values[k])
    return Record(
        first.name,
        first.source,
        first.at,
        features=np.concatenate([p.features for p in pieces if p.features is not None]),
        label=first.label,
        labels=None if first.labels is None else [label for p in pieces for label in (p.labels or ())],
        values=first.values,
        rows=np.concatenate([p.rows for p in pieces if p.rows is not None]),
        label_name=first.label_name,
    )


def _borders(batch: Batch, column: str | None) -> tuple[list[str], list[int]]:
    """Id of every row, and where runs of equal ids begin (with the end appended)."""
    if column is None:
        return [], [0, batch.n_rows]
    ids = pc.cast(batch.columns[column], pa.string())
    codes = np.asarray(pc.fill_null(ids, "").dictionary_encode().indices)
    changes = np.flatnonzero(np.diff(codes)) + 1
    return ids.to_pylist(), [0, *changes.tolist(), batch.n_rows]


def _contiguous(source: Source, column: str) -> bool:
    """Whether every id's rows follow each other in the file."""
    seen: set[str] = set()
    last = None
    for batch in stream(source, Columns(id=column)):
        names, borders = _borders(batch, column)
        for start in borders[:-1]:
            if names[start] != last:
                last = names[start]
                if last in seen:
                    return False
                seen.add(last)
    return True


def _regrouped(source: Source, columns: Columns, folder: Path) -> Iterator[Batch]:
    """The rows of one document after the other, sorted by the order column (else as in the file)."""
    count = max(1, -(-source.path.stat().st_size // BUCKET_BYTES))
    paths = [folder / f"{bucket}.arrow" for bucket in range(count)]
    _deal(source, columns, paths)
    for path in paths:
        if not path.exists():
            continue
        table = pa.ipc.open_file(path).read_all()
        keys = [(columns.order, "ascending")] if columns.order else []
        if columns.id:
            ids = pc.cast(table[columns.id], pa.string()).combine_chunks()
            table = table.append_column("__id__", pc.cast(ids.dictionary_encode().indices, pa.int32()))
            keys.insert(0, ("__id__", "ascending"))
        table = table.take(pc.sort_indices(table, sort_keys=[*keys, (ROW, "ascending")])).combine_chunks()
        for batch in table.to_batches(max_chunksize=1 << 16):
            others = {name: batch.column(name) for name in batch.schema.names if name != ROW}
            yield Batch(np.asarray(batch.column(ROW)), others)


def _deal(source: Source, columns: Columns, paths: list[Path]) -> None:
    """Write each row to the bucket that its id hashes to."""
    writers: dict[int, pa.RecordBatchFileWriter] = {}
    schema = None
    for batch in stream(source, columns):
        table = pa.table({**batch.columns, ROW: pa.array(batch.rows)})
        schema = schema or table.schema
        buckets = np.zeros(batch.n_rows, np.int64)
        if columns.id and len(paths) > 1:
            ids = pc.cast(batch.columns[columns.id], pa.string()).dictionary_encode()
            hashes = [zlib.crc32(str(name).encode()) % len(paths) for name in ids.dictionary.to_pylist()]
            buckets = np.array(hashes)[np.asarray(ids.indices)]
        for bucket in np.unique(buckets).tolist():
            if bucket not in writers:
                writers[bucket] = pa.ipc.new_file(paths[bucket], schema)
            writers[bucket].write_table(table.take(np.flatnonzero(buckets == bucket)).cast(schema))
    for writer in writers.values():
        writer.close()


# ---- cells


def _matrix(source: Source, names: tuple[str, ...], batch: Batch) -> NDArray[np.float32]:
    """[rows, columns] of finite numbers, or an error with the row and the column."""
    rows = batch.rows
    matrix = np.empty((batch.n_rows, len(names)), np.float64)
    for k, name in enumerate(names):
        column = batch.columns[name]
        try:
            matrix[:, k] = np.asarray(pc.cast(column, pa.float64()).to_numpy(zero_copy_only=False))
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
            at = next((i for i, value in enumerate(column.to_pylist()) if not _is_number(value)), 0)
            raise _mismatch(source, source.row(rows[at]), name, "a number", column[at].as_py()) from None
    row, k = first_bad(matrix)
    if row >= 0:
        raise not_finite(source, source.row(rows[row]), names[k], matrix[row, k])
    return matrix.astype(np.float32)


def _values(source: Source, columns: Columns, batch: Batch) -> NDArray[np.float32] | None:
    return _matrix(source, columns.values, batch) if columns.values else None


def _label_list(source: Source, column: pa.Array) -> list[Label]:
    """Labels as whole numbers or names; null and the empty text mean none. In CSV, "7" is a number."""
    if pa.types.is_boolean(column.type) or pa.types.is_floating(column.type):
        column = pc.cast(column, pa.int64(), safe=False) if _integral(column) else pc.cast(column, pa.string())
    labels = column.to_pylist()
    if source.format == "csv":
        return [_number_or_name(label) for label in labels]
    return [None if label in ("", None) else label if isinstance(label, int) else str(label) for label in labels]


def _integral(column: pa.Array) -> bool:
    if pa.types.is_boolean(column.type):
        return True
    return bool(pc.all(pc.equal(pc.floor(column), column), min_count=0).as_py())


def _number_or_name(text: str | int | None) -> Label:
    if not text:
        return None
    try:
        number = int(text)
    except ValueError:
        return str(text)
    return number if str(number) == text else str(text)


def _token_labels(source: Source, name: str, batch: Batch) -> list[list[Label]]:
    column = batch.columns[name]
    if not _is_list(column.type):
        raise _mismatch(
            source, source.row(int(batch.rows[0])), name, "a list of labels, one per token", column[0].as_py()
        )
    return [[None if label == "" else label for label in (labels or [])] for labels in column.to_pylist()]


def _is_list(kind: pa.DataType) -> bool:
    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind))


def first_bad(matrix: NDArray[np.floating[Any]]) -> tuple[int, int]:
    """Row and column of the first value that float32 cannot hold; (-1, -1) if there is none."""
    bad = ~(np.abs(matrix) <= np.finfo(np.float32).max)
    if not bad.any():
        return -1, -1
    row = int(np.flatnonzero(bad.any(axis=1))[0])
    return row, int(np.flatnonzero(bad[row])[0])


def not_finite(source: Source, at: str, name: str, value: float) -> DataError:
    """The complaint about NaN, infinity or a number out of range."""
    found = "no number (NaN or an empty cell)" if np.isnan(value) else value
    return data_error(
        source.path,
        f"{at}, {source.field(name)}",
        expected="a finite number",
        found=found,
        advice="fill or drop such rows first",
    )


def _is_number(value: object) -> bool:
    """Whether Arrow can make a number of a cell."""
    try:
        float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return value is None
    return True


def _mismatch(source: Source, at: str, name: str, expected: str, found: object) -> DataError:
    return data_error(
        source.path,
        f"{at}, {source.field(name)}",
        expected=expected,
        found=shown(found),
        advice=f"correct it, or choose another {source.field_noun}",
    )


def _changed(source: Source, row: int, name: str, before: object, after: object) -> DataError:
    return data_error(
        source.path,
        f"{source.row(row)}, {source.field(name)}",
        expected=f"{shown(before)} as in the other rows of the document",
        found=shown(after),
        advice="labels that change inside a document go into --data.columns.labels",
    )
