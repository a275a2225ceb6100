"""Bad input gets one line that says what, where, expected, found, what to do."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from prepare_support import arrays, binaries, cut_arrays, cut_gzip, cut_parquet, lines, made, raw
from ssm_hpn.errors import ConfigError, DataError

XY = {"features": "x,y"}
REFUSE = {"missing": "refuse", "validation_fraction": 0}
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
    ("no rows", "a.csv", lines("x,y"), XY, {}, r"a\.csv: file: expected at least one row, found a header only"),
    ("binary", "a.txt", raw(b"abc\0def"), {}, {}, r"byte 3: expected text, found a NUL byte .*data\.encoder bytes"),
    ("folder", "dir", lambda p: p.mkdir() or p, {}, {}, r"dir: folder: expected readable files, found no files"),
    (
        "binary files",
        "dir",
        binaries,
        {},
        {},
        r"dir: folder: expected readable files, found 3 binary files .*; .* --data\.encoder bytes",
    ),
    (
        "other files",
        "dir",
        binaries,
        {},
        {"include": ("*.txt",)},
        r"dir: folder: expected files that match \*\.txt, found 3 other files .*; .*--data\.include",
    ),
    ("parquet cut", "a.parquet", cut_parquet, {}, {}, r"a\.parquet: file: expected a whole Parquet file"),
    ("npy cut", "a.npy", cut_arrays, {}, {}, r"a\.npy: array 'a': expected 8,000 more bytes, found 7,900"),
    ("gzip cut", "a.txt.gz", cut_gzip, {}, {}, r"a\.txt\.gz: file: expected whole compressed data"),
    ("no archive", "a.npz", raw(b"hello"), {}, {}, r"a\.npz: file: expected a whole \.npz file"),
    ("no array", "a.npy", raw(b"hello"), {}, {}, r"a\.npy: array 'a': expected a numpy array"),
    ("pickle", "a.npz", arrays(x=np.array([{}])), {}, {}, r"a\.npz: array 'x': expected numbers .* found type object"),
    ("no role", "a.npz", arrays(spam=np.zeros(3)), {}, {}, r"file: expected an array with the data .* found 'spam'"),
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
        REFUSE,
        r"index 3, step 1, array 'x\[1\]': expected a finite number, found no number",
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
        r"line 2, key 'tokens': expected token ids from 0 to 4294967295, found -2",
    ),
    ("no json", "a.jsonl", lines('{"text": "a"}', "text"), {}, {}, r"line 2: expected a JSON object, found 'text'"),
    (
        "json key",
        "a.jsonl",
        lines('{"text": "a"}', '{"txt": "a"}'),
        {"text": "txtt"},
        {},
        r"data\.columns\.text: expected a key 'txtt', found no such key; did you mean 'txt'\?",
    ),
    (
        "unknown column",
        "a.csv",
        lines("temperature,y", "1,2"),
        {"features": "temprature"},
        {},
        r"data\.columns\.features: expected a column 'temprature', found no such column; did you mean 'temperature'\?",
    ),
    ("which column", "a.csv", lines("x,y", "1,2"), {}, {}, r"file: expected a column with the data .* found 'x', 'y'"),
    ("no number", "a.csv", lines("x,y", "1,2", "3,abc"), XY, {}, r"row 3, column 'y': expected a number, found 'abc'"),
    ("nan", "a.csv", lines("x,y", "1,2", "3,nan"), XY, REFUSE, r"row 3, column 'y': expected a finite number"),
    (
        "gap",
        "a.csv",
        lines("x,y", "1,2", "3,"),
        XY,
        REFUSE,
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
        r"line 2, step 1, key 'v': expected 2 features as in the step before, found 1",
    ),
    (
        "ragged channels",
        "a.jsonl",
        lines('{"v": [1, 2], "w": [3]}'),
        {"features": "v,w"},
        {},
        r"line 1, key 'w': expected 2 values as in key 'v', found 1",
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
        "label is left out in one row",
        "a.csv",
        lines("id,x,c", "1,5,a", "1,5,"),
        {"features": "x", "id": "id", "label": "c"},
        {},
        r"row 3, column 'c': expected 'a' as in the other rows of the document, found an empty cell",
    ),
    (
        "class count",
        "a.csv",
        lines("text,c", *(f"t{n},{n % 5}" for n in range(40))),
        {"label": "c"},
        {"n_classes": 4},
        r"data\.n_classes: expected 5, one for each of the labels '0', '1', '2', '3', '4', found 4",
    ),
    (
        "class count of names",
        "a.csv",
        lines("text,c", *(f"t{n},{'abc'[n % 3]}" for n in range(40))),
        {"label": "c"},
        {"n_classes": 4},
        r"data\.n_classes: expected 3, one for each of the labels 'a', 'b', 'c', found 4; drop --data\.n_classes",
    ),
    (
        "class per step",
        "a.npz",
        arrays(x=np.arange(300.0).reshape(30, 5, 2), tags=np.where(np.arange(150).reshape(30, 5) == 17, 9, 1)),
        {"labels": "tags"},
        {"n_classes": 3},
        r"data\.n_classes: expected 2, one for each of the labels '1', '9', found 3",
    ),
    (
        "class per line",
        "a.jsonl",
        lines(*['{"x": 1, "c": 0}'] * 9, "", '{"x": 1, "c": 5}'),
        {"features": "x", "labels": "c"},
        {"n_classes": 3, "validation_fraction": 0},
        r"data\.n_classes: expected 2, one for each of the labels '0', '5', found 3",
    ),
    (
        "unknown key",
        "a.jsonl",
        lines('{"temperature": 1}'),
        {"features": "temprature"},
        {},
        r"data\.columns\.features: expected a key 'temprature', found no such key; did you mean 'temperature'\?",
    ),
    (
        "no number in JSON",
        "a.jsonl",
        lines('{"x": "1.5"}', "", '{"x": "warm"}'),
        {"features": "x"},
        {},
        r"line 3, key 'x': expected a number, found 'warm'; correct it, or choose another key",
    ),
    (
        "gap in JSON",
        "a.jsonl",
        lines('{"x": 1.5}', "", '{"x": null}'),
        {"features": "x"},
        REFUSE,
        r"line 3, key 'x': expected a finite number, found no number",
    ),
    (
        "unlike values",
        "a.jsonl",
        lines('{"x": null}', '{"x": 1}', "", '{"x": "one"}'),
        {"features": "x"},
        {},
        r"line 4, key 'x': expected a number, found 'one'",
    ),
    (
        "large number",
        "a.jsonl",
        lines('{"tokens": [1]}', '{"tokens": [99999999999999999999]}'),
        {},
        {},
        r"line 2, key 'tokens': expected token ids from 0 to 4294967295, found 100000000000000000000",
    ),
    (
        "label changes in JSON",
        "a.jsonl",
        lines('{"id": 1, "x": 5, "c": "a"}', '{"id": 1, "x": 5, "c": "b"}'),
        {"features": "x", "id": "id", "label": "c"},
        {},
        r"line 2, key 'c': expected 'a' as in the other rows of the document, found 'b'",
    ),
    (
        "label list",
        "a.jsonl",
        lines('{"tokens": [1, 2], "tags": [0]}'),
        {"labels": "tags"},
        {},
        r"line 1, key 'tags': expected 2 labels, one per token, found 1",
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
    said = str(caught.value)
    assert "\n" not in said
    where, _, rest = said.partition(": expected ")
    assert where.startswith((f"{path}: ", "data.")), said
    assert re.fullmatch(r".+, found .+; .+", rest), said
    of_others = {".jsonl": "row|column|array", ".csv": "line|key|array", ".npz": "line|row|key|column|archive"}
    wrong = of_others.get(path.suffix, "key")
    assert not re.search(rf"\b({wrong})\b", where.removeprefix(f"{path}: ").replace("data.columns", "")), said
    assert not (tmp_path / "out").exists()


def test_a_label_that_only_the_held_out_file_has(tmp_path: Path) -> None:
    lines("text,c", "one,red", "two,green")(tmp_path / "a.csv")
    lines("text,c", "three,red", "four,gren")(tmp_path / "b.csv")
    with pytest.raises(
        DataError,
        match=r"b\.csv: row 3, column 'c': expected a class of the training data .*found 'gren'; did you mean",
    ):
        made(tmp_path, tmp_path / "a.csv", {"label": "c"}, validation=(str(tmp_path / "b.csv"),))


def test_files_of_different_formats_need_a_choice(tmp_path: Path) -> None:
    lines("a")(tmp_path / "a.txt")
    lines('{"text": "b"}')(tmp_path / "b.jsonl")
    with pytest.raises(ConfigError, match=r"expected files of one format, found jsonl .* and text"):
        made(tmp_path, tmp_path)


def test_a_place_far_into_a_file_is_named(tmp_path: Path) -> None:
    lines(*["123456 7890"] * 200_000, "12 x")(tmp_path / "a.txt")
    with pytest.raises(DataError, match="line 200001: expected a token id"):
        made(tmp_path, tmp_path / "a.txt")
