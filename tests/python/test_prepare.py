"""From raw files to shards: every format, the split, the encoders, and one clear line for every kind of bad input."""

import gzip
import json
import sys
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ssm_hpn.cli.main import main
from ssm_hpn.config import Columns, PrepareOptions
from ssm_hpn.errors import ConfigError, DataError
from ssm_hpn.prepare import Prepared, is_prepared, prepare, prepare_default
from ssm_hpn.prepare.pipeline import read
from ssm_hpn.prepare.rows import read_table
from ssm_hpn.prepare.sources import find


def made(tmp_path: Path, data: str | Path, /, columns: dict[str, Any] | None = None, **options: Any) -> Prepared:
    """Prepare `data` into a folder of its own."""
    settings = {"train": (str(data),), "columns": Columns(**(columns or {})), **options}
    return prepare(PrepareOptions(**settings), tmp_path / "out")


def rows(part: Path | None) -> list[dict[str, Any]]:
    """All documents of a part, read with Arrow alone: nobody needs our code to read our files."""
    assert part is not None
    manifest = json.loads((part / "manifest.json").read_text())
    tables = [pa.ipc.open_file(part / shard["file"]).read_all() for shard in manifest["shards"]]
    return pa.concat_tables(tables).to_pylist()


def text_of(part: Path | None) -> dict[str, str]:
    """Name → text of byte documents."""
    texts: dict[str, str] = {}
    for row in rows(part):
        texts[row["name"]] = texts.get(row["name"], "") + bytes(row["tokens"]).decode()
    return texts


def corpus(folder: Path, count: int = 40) -> Path:
    """A folder of small texts, some of them below another folder."""
    for index in range(count):
        file = folder / ("deep" if index % 3 else "") / f"text{index:02}.txt"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"file {index}\n" * (index + 1))
    return folder


# ---- text


def test_a_folder_of_text_is_split_by_name_and_nothing_is_lost(tmp_path: Path) -> None:
    data = corpus(tmp_path / "data")
    (data / ".hidden").write_text("no")
    (data / "empty.txt").touch()
    (data / "picture.bin").write_bytes(b"\x89\0\0")
    prepared = made(tmp_path, data)
    train, validation = text_of(prepared.train), text_of(prepared.validation)
    expected = {path.relative_to(data).as_posix(): path.read_text() for path in data.rglob("text*.txt")}
    assert train | validation == expected
    assert not train.keys() & validation.keys()
    assert validation
    assert (prepared.kind, prepared.vocab_size, prepared.target) == ("tokens", 256, "next_token")
    assert prepared.parts["train"].tokens == sum(map(len, train.values()))


def test_a_file_stays_on_its_side_when_others_come_and_the_folder_moves(tmp_path: Path) -> None:
    small, large = tmp_path / "a", tmp_path / "b"
    before = made(small, corpus(small / "data", 60))
    after = made(large, corpus(large / "data", 90))
    held_out = text_of(before.validation).keys()
    assert held_out == text_of(after.validation).keys() & (text_of(before.train).keys() | held_out)


def test_equal_data_has_an_equal_digest_wherever_it_lies(tmp_path: Path) -> None:
    one = made(tmp_path / "a", corpus(tmp_path / "a" / "data"))
    two = made(tmp_path / "b", corpus(tmp_path / "b" / "data"))
    three = made(tmp_path / "c", corpus(tmp_path / "c" / "data", 41))
    assert one.digest == two.digest != three.digest


def test_of_one_long_text_the_tail_is_held_out_at_a_line(tmp_path: Path) -> None:
    book = tmp_path / "book.txt"
    book.write_text("".join(f"line {n} of the book\n" for n in range(1000)))
    prepared = made(tmp_path, book, max_document=500)
    train, validation = text_of(prepared.train)["book.txt"], text_of(prepared.validation)["book.txt"]
    assert train + validation == book.read_text()
    assert train.endswith("\n")
    assert 0.05 < len(validation) / len(train + validation) < 0.12
    assert max(len(row["tokens"]) for row in rows(prepared.train)) <= 500


def test_lines_as_documents(tmp_path: Path) -> None:
    log = tmp_path / "log.txt"
    log.write_text("\n\n".join(f"event {n}" for n in range(100)) + "\r\n")
    prepared = made(tmp_path, log, documents="line")
    texts = text_of(prepared.train) | text_of(prepared.validation)
    assert sorted(texts.values()) == sorted(f"event {n}" for n in range(100))
    assert texts["log.txt#3"] == "event 1"


def test_compressed_text_and_patterns(tmp_path: Path) -> None:
    for n in range(30):
        (tmp_path / f"{n}.txt.gz").write_bytes(gzip.compress(b"text %d" % n))
    prepared = made(tmp_path, f"{tmp_path}/*.txt.gz")
    assert len(text_of(prepared.train) | text_of(prepared.validation)) == 30


def test_validation_given_separately(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("training\n")
    (tmp_path / "b.txt").write_text("held out\n")
    prepared = made(tmp_path, tmp_path / "a.txt", validation=(str(tmp_path / "b.txt"),))
    assert text_of(prepared.train) == {"a.txt": "training\n"}
    assert text_of(prepared.validation) == {"b.txt": "held out\n"}


def test_raw_bytes_if_asked_for(tmp_path: Path) -> None:
    content = bytes(range(256)) * 40
    (tmp_path / "raw.dat").write_bytes(content)
    prepared = made(tmp_path, tmp_path / "raw.dat", encoder="bytes", validation_fraction=0)
    assert b"".join(bytes(row["tokens"]) for row in rows(prepared.train)) == content
    assert prepared.validation is None


def test_a_tokenizer(tmp_path: Path) -> None:
    tokenizers = pytest.importorskip("tokenizers")
    tokenizer = tokenizers.Tokenizer(tokenizers.models.WordLevel({"[UNK]": 0, "red": 1, "green": 2}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    (tmp_path / "a.txt").write_text("red green blue\nred\n" * 20)
    prepared = made(tmp_path, tmp_path / "a.txt", tokenizer=str(tmp_path / "tokenizer.json"))
    (tmp_path / "tokenizer.json").unlink()  # the folder has its own copy
    assert rows(prepared.train)[0]["tokens"][:4] == [1, 2, 0, 1]
    again = Prepared.load(prepared.folder)
    assert again.encoder is not None
    assert again.encoder.encode_text("green red") == [2, 1]
    assert again.vocab_size == 3


# ---- ids


@pytest.mark.parametrize("documents", ["file", "line"])
def test_integer_files(tmp_path: Path, documents: str) -> None:
    numbers = np.random.default_rng(0).integers(0, 5000, (50, 7))
    numbers[0, 0] = 4999
    (tmp_path / "tokens.txt").write_text("\n".join(" ".join(map(str, row)) for row in numbers))
    prepared = made(tmp_path, tmp_path / "tokens.txt", documents=documents)
    assert prepared.vocab_size == 5000
    found = sorted(
        rows(prepared.train) + rows(prepared.validation), key=lambda r: int(r["name"].partition("#")[2] or 0)
    )
    assert [t for row in found for t in row["tokens"]] == numbers.ravel().tolist()
    assert len(found) == (2 if documents == "file" else 50)
    assert prepared.manifest["encoder"] == {"kind": "ids", "vocab_size": 5000}


# ---- tables


def series(count: int = 30, steps: int = 8, seed: int = 0) -> list[dict[str, Any]]:
    """Time steps of some series, interleaved, with a class and two numbers per series."""
    rng = np.random.default_rng(seed)
    names = ["hum", "knock", "whistle"]
    table = [
        {
            "time": t,
            "machine": f"m{n}",
            "x": float(rng.normal(3, 2)),
            "y": float(rng.normal(-1, 9)),
            "flat": 4.0,
            "kind": names[n % 3],
            "load": n / 10,
            "wear": n * 2.0,
        }
        for t in range(steps)
        for n in range(count)
    ]
    rng.shuffle(table)
    return table


def written(path: Path, table: list[dict[str, Any]]) -> Path:
    """The same rows in the format that the name says."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(table), path)
    elif path.suffix == ".csv":
        lines = [",".join(table[0]), *(",".join(map(str, row.values())) for row in table)]
        path.write_text("\n".join(lines) + "\n")
    else:
        path.write_text("".join(json.dumps(row) + "\n" for row in table))
    return path


SERIES = {"features": "x,y,flat", "id": "machine", "order": "time", "label": "kind", "values": "load,wear"}


@pytest.mark.parametrize("suffix", ["csv", "parquet", "jsonl"])
def test_interleaved_series_become_ordered_documents(tmp_path: Path, suffix: str) -> None:
    table = series()
    prepared = made(tmp_path, written(tmp_path / f"data.{suffix}", table), SERIES)
    train, validation = rows(prepared.train), rows(prepared.validation)
    assert len(train) + len(validation) == 30
    mean, std = (np.array(prepared.manifest["normalisation"][key]) for key in ("mean", "std"))
    of_train = {row["name"].partition("#")[2] for row in train}
    raw = np.array([[r["x"], r["y"], r["flat"]] for r in table if r["machine"] in of_train], np.float32)
    np.testing.assert_allclose(mean, raw.astype(np.float64).mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(std[:2], raw.astype(np.float64).std(axis=0)[:2], rtol=1e-12)
    assert std[2] == 1.0
    for row in train + validation:
        name = row["name"].partition("#")[2]
        steps = sorted((r for r in table if r["machine"] == name), key=lambda r: r["time"])
        expected = (np.array([[r["x"], r["y"], r["flat"]] for r in steps], np.float32) - mean) / std
        np.testing.assert_allclose(row["features"], expected, rtol=1e-5, atol=1e-6)
        assert ["hum", "knock", "whistle"][row["label"]] == steps[0]["kind"]
        assert row["values"] == pytest.approx([steps[0]["load"], steps[0]["wear"]])
    assert prepared.class_names == ["hum", "knock", "whistle"]
    assert prepared.manifest["feature_names"] == ["x", "y", "flat"]
    assert (prepared.n_features, prepared.n_values, prepared.target) == (3, 2, "sequence_class")


def test_series_that_follow_each_other_need_no_order_column(tmp_path: Path) -> None:
    table = sorted(series(), key=lambda r: (r["machine"], r["time"]))
    columns = {"features": ["x", "y"], "id": "machine"}
    together = made(tmp_path / "a", written(tmp_path / "a" / "data.csv", table), columns)
    apart = made(
        tmp_path / "b",
        written(tmp_path / "b" / "data.csv", sorted(table, key=lambda r: (r["time"], r["machine"]))),
        columns,
    )
    assert {r["name"]: r["features"] for r in rows(together.train)} == {
        r["name"]: r["features"] for r in rows(apart.train)
    }


def test_a_class_per_time_step(tmp_path: Path) -> None:
    lines = ["a,b,state", *(f"{n},{n * n},{n % 4}" for n in range(1000))]
    (tmp_path / "data.csv").write_text("\n".join(lines))
    prepared = made(
        tmp_path, tmp_path / "data.csv", {"features": "a,b", "labels": "state"}, normalize=False, max_document=100
    )
    train, validation = rows(prepared.train), rows(prepared.validation)
    steps = [step for row in train + validation for step in zip(row["features"], row["labels"], strict=True)]
    assert steps == [([n, n * n], n % 4) for n in range(1000)]
    assert sum(len(row["labels"]) for row in validation) == 100
    assert prepared.n_classes == 4
    assert prepared.manifest["normalisation"] is None


@pytest.mark.parametrize("suffix", ["parquet", "jsonl"])
def test_a_series_per_row(tmp_path: Path, suffix: str) -> None:
    rng = np.random.default_rng(1)
    table = [{"v": rng.normal(size=(n % 5 + 1, 2)).tolist(), "label": n % 2} for n in range(40)]
    prepared = made(
        tmp_path, written(tmp_path / f"d.{suffix}", table), {"features": "v", "label": "label"}, normalize=False
    )
    for row in rows(prepared.train) + rows(prepared.validation):
        source = table[int(row["name"].partition("#")[2]) - 1]
        np.testing.assert_allclose(row["features"], source["v"], rtol=1e-6)
        assert row["label"] == source["label"]


def test_a_channel_per_column(tmp_path: Path) -> None:
    table = [{"left": [n, n + 1.0], "right": [0.5, -n]} for n in range(30)]
    columns = {"features": ["left", "right"]}
    prepared = made(tmp_path, written(tmp_path / "d.jsonl", table), columns, normalize=False)
    row = next(row for row in rows(prepared.train) if row["name"] == "d.jsonl#3")
    assert row["features"] == [[2.0, 0.5], [3.0, -2.0]]
    assert prepared.target is None


@pytest.mark.parametrize("suffix", ["csv", "parquet", "jsonl"])
def test_texts_with_labels(tmp_path: Path, suffix: str) -> None:
    table = [{"text": f"text {n}", "topic": "ab"[n % 2]} for n in range(40)]
    prepared = made(tmp_path, written(tmp_path / f"d.{suffix}", table), {"label": "topic"})
    found = rows(prepared.train) + rows(prepared.validation)
    assert {(bytes(r["tokens"]).decode(), "ab"[r["label"]]) for r in found} == {(r["text"], r["topic"]) for r in table}
    assert prepared.class_names == ["a", "b"]


def test_ids_with_labels_per_token_and_gaps(tmp_path: Path) -> None:
    table = [{"tokens": [n, 1, 2], "tags": ["noun", None, "verb"]} for n in range(40)]
    prepared = made(tmp_path, written(tmp_path / "d.jsonl", table), {"labels": "tags"})
    assert {tuple(row["labels"]) for row in rows(prepared.train)} == {(0, -1, 1)}
    assert prepared.target == "token_class"


# ---- arrays


def test_arrays_with_lengths(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    x, y = rng.normal(size=(50, 6, 3)), rng.integers(0, 4, 50)
    lengths = rng.integers(1, 7, 50)
    np.savez(tmp_path / "d.npz", x=x, y=y, lengths=lengths, values=np.arange(50.0))
    prepared = made(tmp_path, tmp_path / "d.npz", normalize=False)
    found = rows(prepared.train) + rows(prepared.validation)
    assert len(found) == 50
    for row in found:
        n = int(row["name"].partition("#")[2])
        np.testing.assert_array_equal(row["features"], x[n, : lengths[n]].astype(np.float32))
        assert row["label"] == y[n]
        assert row["values"] == [float(n)]


@pytest.mark.parametrize(("shape", "documents"), [((30, 9), 30), ((500,), 2)])
def test_arrays_of_ids(tmp_path: Path, shape: tuple[int, ...], documents: int) -> None:
    ids = np.arange(np.prod(shape)).reshape(shape) % 77
    np.save(tmp_path / "d.npy", ids)
    prepared = made(tmp_path, tmp_path / "d.npy")
    found = rows(prepared.train) + rows(prepared.validation)
    assert len(found) == documents
    assert prepared.vocab_size == 77
    assert sorted(t for row in found for t in row["tokens"]) == sorted(ids.ravel().tolist())


def test_an_array_named_for_one_role_is_not_taken_for_another(tmp_path: Path) -> None:
    y = np.linspace(-3, 3, 40, dtype=np.float32)
    np.savez(tmp_path / "a.npz", x=np.ones((40, 5, 2), np.float32), y=y)
    columns = Columns(values=("y",))
    done = prepare(PrepareOptions(train=(str(tmp_path / "a.npz"),), columns=columns), tmp_path / "out")
    manifest = json.loads((done.train / "manifest.json").read_text())
    assert "values" in manifest["columns"]
    assert "label" not in manifest["columns"]


def test_a_matrix_without_targets_is_one_series(tmp_path: Path) -> None:
    np.save(tmp_path / "d.npy", np.arange(300, dtype=np.float32).reshape(100, 3))
    prepared = made(tmp_path, tmp_path / "d.npy", normalize=False)
    assert np.concatenate([r["features"] for r in rows(prepared.train) + rows(prepared.validation)]).shape == (100, 3)
    assert prepared.n_features == 3


# ---- the folder


def test_the_same_request_is_answered_from_the_folder(tmp_path: Path) -> None:
    data = corpus(tmp_path / "data")
    stages: list[str] = []
    options = PrepareOptions(train=(str(data),))
    first = prepare(options, tmp_path / "out", progress=lambda stage, *_: stages.append(stage))
    assert set(stages) == {"counting", "writing"}
    stages.clear()
    assert prepare(options, tmp_path / "out", progress=lambda stage, *_: stages.append(stage)).digest == first.digest
    assert not stages
    (data / "text00.txt").write_text("changed")
    with pytest.raises(ConfigError, match=r"out: expected a new or empty folder.*found .*out with other content"):
        prepare(options, tmp_path / "out")


def test_a_failure_leaves_nothing_behind(tmp_path: Path) -> None:
    written(tmp_path / "bad.jsonl", [{"text": "some text", "label": n // 39} for n in range(40)])
    with pytest.raises(DataError, match="expected a class from 0 to 0"):  # found while shards are being written
        made(tmp_path, tmp_path / "bad.jsonl", {"label": "label"}, n_classes=1)
    assert [path.name for path in tmp_path.iterdir()] == ["bad.jsonl"]
    assert not is_prepared(tmp_path / "out")


def test_the_default_corpus(tmp_path: Path) -> None:
    prepared = prepare_default(tmp_path / "default")
    names = {row["name"] for row in rows(prepared.validation)}
    assert prepared.parts["train"].tokens > 1_000_000
    assert 0.03 < len(names) / (len(names) + prepared.parts["train"].documents) < 0.2
    assert not [name for name in names if "test" in Path(name).parts]


# ---- bad input: one line that says what, where, expected, found, what to do


def lines(*content: str) -> Callable[[Path], Path]:
    """A file maker for the table below."""

    def make(path: Path) -> Path:
        path.write_text("\n".join(content) + "\n")
        return path

    return make


def arrays(**content: Any) -> Callable[[Path], Path]:
    def make(path: Path) -> Path:
        np.savez(path, **content)
        return path

    return make


def cut_parquet(path: Path) -> Path:
    pq.write_table(pa.table({"text": ["abc"] * 1000}), path)
    path.write_bytes(path.read_bytes()[:-20])
    return path


def cut_arrays(path: Path) -> Path:
    np.save(path, np.arange(1000))
    path.write_bytes(path.read_bytes()[:-100])
    return path


def cut_gzip(path: Path) -> Path:
    content = np.random.default_rng(0).integers(97, 123, 100_000).astype(np.uint8).tobytes()
    path.write_bytes(gzip.compress(content)[:-50])
    return path


def raw(content: bytes) -> Callable[[Path], Path]:
    def make(path: Path) -> Path:
        path.write_bytes(content)
        return path

    return make


XY = {"features": "x,y"}
nan = float("nan")

BAD: list[tuple[str, str, Callable[[Path], Path], dict[str, Any], dict[str, Any], str]] = [
    (
        "missing",
        "none.txt",
        lambda path: path,
        {},
        {},
        r"none\.txt: data\.train: expected a file, a folder or a pattern",
    ),
    ("empty", "a.txt", raw(b""), {}, {}, r"a\.txt: file: expected at least one byte, found an empty file"),
    ("blank", "a.csv", raw(b"\n\n"), {}, {}, r"a\.csv: file: expected at least one row"),
    ("no rows", "a.csv", lines("x,y"), XY, {}, r"a\.csv: rows: expected at least one row, found a header only"),
    ("binary", "a.txt", raw(b"abc\0def"), {}, {}, r"a\.txt: byte 3: expected text, found a NUL byte"),
    ("folder", "dir", lambda p: p.mkdir() or p, {}, {}, r"dir: folder: expected readable files, found no files"),
    ("parquet cut", "a.parquet", cut_parquet, {}, {}, r"a\.parquet: Parquet: expected a whole Parquet file"),
    ("npy cut", "a.npy", cut_arrays, {}, {}, r"a\.npy: array 'a': expected 8000 more bytes, found 7900"),
    ("gzip cut", "a.txt.gz", cut_gzip, {}, {}, r"a\.txt\.gz: compressed data: expected a whole file"),
    ("no archive", "a.npz", raw(b"hello"), {}, {}, r"a\.npz: archive: expected a whole \.npz file"),
    ("no array", "a.npy", raw(b"hello"), {}, {}, r"a\.npy: array 'a': expected a numpy array"),
    ("pickle", "a.npz", arrays(x=np.array([{}])), {}, {}, r"a\.npz: array 'x': expected numbers .* found type object"),
    ("no role", "a.npz", arrays(spam=np.zeros(3)), {}, {}, r"arrays: expected features or tokens, found 'spam'"),
    (
        "unknown array",
        "a.npz",
        arrays(signal=np.zeros((9, 2, 2))),
        {"features": "signl"},
        {},
        r"data\.columns\.features: expected an array 'signl', found no such array; did you mean 'signal'\?",
    ),
    (
        "label shape",
        "a.npz",
        arrays(x=np.zeros((9, 2, 2)), y=np.zeros(8)),
        {},
        {},
        r"array 'y': expected shape \[9\] to go with array 'x', found shape \[8\]",
    ),
    (
        "array nan",
        "a.npz",
        arrays(x=np.where(np.arange(90).reshape(9, 5, 2) == 33, nan, 1.0)),
        {},
        {},
        r"row 3, step 1, column 'x\[1\]': expected a finite number, found no number",
    ),
    (
        "word",
        "a.txt",
        lines("1 2 3", "4 five"),
        {},
        {"format": "integers"},
        r"line 2: expected a token id .* found 'five'",
    ),
    (
        "negative",
        "a.txt",
        lines("1 2", "4 -5"),
        {},
        {"format": "integers"},
        r"line 2: expected a token id .* found '-5'",
    ),
    (
        "out of range",
        "a.txt",
        lines(*["1 2 3"] * 40, "4 300"),
        {},
        {"format": "integers", "documents": "line", "vocab_size": 300},
        r"a\.txt: line 41, position 1: expected a token id below 300, found 300; raise --data\.vocab_size",
    ),
    (
        "json ids",
        "a.jsonl",
        lines('{"tokens": [1, 2]}', '{"tokens": [1, -2]}'),
        {},
        {},
        r"line 2, column 'tokens': expected token ids from 0 to 4294967295, found -2",
    ),
    ("no json", "a.jsonl", lines('{"text": "a"}', "text"), {}, {}, r"line 2: expected a JSON object, found 'text'"),
    (
        "json key",
        "a.jsonl",
        lines('{"text": "a"}', '{"txt": "a"}'),
        {},
        {},
        r"line 2: expected the key 'text', found no such key; did you mean 'txt'\?",
    ),
    (
        "unknown column",
        "a.csv",
        lines("temperature,y", "1,2"),
        {"features": "temprature"},
        {},
        r"data\.columns\.features: expected a column 'temprature', found no such column; did you mean 'temperature'\?",
    ),
    ("which column", "a.csv", lines("x,y", "1,2"), {}, {}, r"columns: expected to know which column .* found 'x', 'y'"),
    ("no number", "a.csv", lines("x,y", "1,2", "3,abc"), XY, {}, r"row 3, column 'y': expected a number, found 'abc'"),
    ("nan", "a.csv", lines("x,y", "1,2", "3,nan"), XY, {}, r"row 3, column 'y': expected a finite number"),
    (
        "gap",
        "a.csv",
        lines("x,y", "1,2", "3,"),
        XY,
        {},
        r"row 3, column 'y': expected a finite number, found no number",
    ),
    (
        "infinite",
        "a.csv",
        lines("x,y", "1,2", "inf,2"),
        XY,
        {},
        r"row 3, column 'x': expected a finite number, found inf",
    ),
    ("short row", "a.csv", lines("x,y", "1,2", "3"), XY, {}, r"row 3: expected 2 columns, found 1"),
    (
        "ragged steps",
        "a.jsonl",
        lines('{"v": [[1, 2], [3, 4]]}', '{"v": [[1, 2], [3]]}'),
        {"features": "v"},
        {},
        r"row 2, step 1, column 'v': expected 2 features as in the step before, found 1|line 2, step 1",
    ),
    (
        "ragged channels",
        "a.jsonl",
        lines('{"v": [1, 2], "w": [3]}'),
        {"features": "v,w"},
        {},
        r"line 1, column 'w': expected 2 values as in column 'v', found 1",
    ),
    (
        "ragged documents",
        "a.jsonl",
        lines(*['{"v": [[1, 2]]}'] * 30, '{"v": [[1, 2, 3]]}'),
        {"features": "v"},
        {},
        r"line 31: expected 2 features as in the documents before, found 3",
    ),
    (
        "label changes",
        "a.csv",
        lines("id,x,c", "1,5,a", "1,5,b"),
        {"features": "x", "id": "id", "label": "c"},
        {},
        r"row 3, column 'c': expected 'a' as in the other rows of the document, found 'b'",
    ),
    (
        "class count",
        "a.csv",
        lines("text,c", *(f"t{n},{n % 5}" for n in range(40))),
        {"label": "c"},
        {"n_classes": 4},
        r"a\.csv: row 6: expected a class from 0 to 3 \(-1: none\), found 4; raise --data\.n_classes",
    ),
    (
        "label list",
        "a.jsonl",
        lines('{"tokens": [1, 2], "tags": [0]}'),
        {"labels": "tags"},
        {},
        r"line 1, column 'tags': expected 2 labels, one per token, found 1",
    ),
    (
        "encoder",
        "a.txt",
        lines("abc"),
        {},
        {"encoder": "ids"},
        r"data\.encoder: expected bytes or tokenizer, found ids",
    ),
    ("one document", "a.txt", lines("abc"), {}, {"split": "name"}, r"data\.validation: expected a second document"),
    (
        "no tokenizer",
        "a.txt",
        lines("abc"),
        {},
        {"encoder": "tokenizer", "validation_fraction": 0},
        r"data\.tokenizer: expected a tokenizer\.json, found none",
    ),
]


@pytest.mark.parametrize(
    ("name", "make", "columns", "options", "message"), [c[1:] for c in BAD], ids=[c[0] for c in BAD]
)
def test_bad_input_gets_one_clear_line(
    tmp_path: Path,
    name: str,
    make: Callable[[Path], Path],
    columns: dict[str, Any],
    options: dict[str, Any],
    message: str,
) -> None:
    path = make(tmp_path / name)
    with pytest.raises((DataError, ConfigError), match=message) as caught:
        made(tmp_path, path, columns, **options)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_a_label_that_only_the_held_out_file_has(tmp_path: Path) -> None:
    lines("text,c", "one,red", "two,green")(tmp_path / "a.csv")
    lines("text,c", "one,red", "two,gren")(tmp_path / "b.csv")
    with pytest.raises(
        DataError, match=r"b\.csv: row 3: expected a label of the training part, found 'gren'; did you mean"
    ):
        made(tmp_path, tmp_path / "a.csv", {"label": "c"}, validation=(str(tmp_path / "b.csv"),))


def test_files_of_different_formats_need_a_choice(tmp_path: Path) -> None:
    lines("a")(tmp_path / "a.txt")
    lines('{"text": "b"}')(tmp_path / "b.jsonl")
    with pytest.raises(ConfigError, match="expected files of one format, found jsonl and text"):
        made(tmp_path, tmp_path)


def test_without_the_tokenizers_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    lines("abc")(tmp_path / "a.txt")
    with pytest.raises(ConfigError, match=r"expected the package tokenizers, found none; pip install 'ssm-hpn\[hf\]'"):
        made(tmp_path, tmp_path / "a.txt", tokenizer=str(tmp_path / "t.json"), validation_fraction=0)


def test_a_place_far_into_a_file_is_named(tmp_path: Path) -> None:
    lines(*["123456 7890"] * 200_000, "12 x")(tmp_path / "a.txt")
    with pytest.raises(DataError, match="line 200001: expected a token id"):
        made(tmp_path, tmp_path / "a.txt")


def test_memory_stays_bounded(tmp_path: Path) -> None:
    """A file of 60 MB passes through in pieces: what Python holds at once is a few megabytes."""
    with (tmp_path / "big.txt").open("wb") as file:
        for _ in range(60):
            file.write(b"0123456789abcde\n" * (1 << 16))
    options = PrepareOptions(train=(str(tmp_path / "big.txt"),))
    sources = find(options.train, options, key="data.train")
    tracemalloc.start()
    total = sum(record.units for record in read(sources, options))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert total == 60 << 20
    assert peak < 12 << 20


def test_a_long_series_is_never_held_whole(tmp_path: Path) -> None:
    (tmp_path / "long.csv").write_text("x,y\n" + "1,2\n" * 1_000_000)
    options = PrepareOptions(train=(str(tmp_path / "long.csv"),), columns=Columns(features=("x", "y")), max_document=16)
    units = [record.units for record in read_table(find(options.train, options, key="data.train")[0], options)]
    assert sum(units) == 1_000_000
    assert max(units) < 500_000


# ---- the command


def test_the_command_says_what_came_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    written(tmp_path / "d.csv", series())
    words = ["prepare", str(tmp_path / "d.csv"), "--out", str(tmp_path / "out")]
    words += ["--data.columns.features", "x,y", "--data.columns.id", "machine", "--data.columns.label", "kind"]
    assert main([*words, "--data.columns.order", "time", "--data.normalize", "false"]) == 0
    out = capsys.readouterr().out
    for expected in ("train", "validation", "time steps", "3: hum, knock, whistle", "2 features", "--data"):
        assert expected in out, out
    assert Prepared.load(tmp_path / "out").manifest["normalisation"] is None


def test_the_command_takes_a_file_of_settings(tmp_path: Path) -> None:
    corpus(tmp_path / "data")
    (tmp_path / "c.toml").write_text("[data]\nvalidation_fraction = 0.0\nmax_document = 16\n")
    words = ["prepare", str(tmp_path / "data"), "--config", str(tmp_path / "c.toml"), "--out", str(tmp_path / "out")]
    assert main([*words, "--data.max_document", "24"]) == 0
    prepared = Prepared.load(tmp_path / "out")
    assert prepared.validation is None
    assert max(len(row["tokens"]) for row in rows(prepared.train)) == 24


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["none.txt"], 3, "none.txt: data.train: expected a file, a folder or a pattern, found nothing there"),
        (["d.txt", "--data.encoder", "byte"], 2, "data.encoder: expected 'auto', 'bytes'"),
        (["d.txt", "--data.encodr", "bytes"], 2, "did you mean --data.encoder?"),
        (["d.txt", "--data.columns.text", "x", "--data.format", "csv"], 3, "data.columns.text: expected a column 'x'"),
    ],
)
def test_exit_codes_of_the_command(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], code: int, message: str
) -> None:
    (tmp_path / "d.txt").write_text("some text\n" * 10)
    assert main(["prepare", str(tmp_path / words[0]), *words[1:], "--out", str(tmp_path / "out")]) == code
    error = capsys.readouterr().err
    assert message in error
    assert error.startswith("error: ")
    assert error.count("\n") == 1
