"""Encoders of documents to token ids: bytes, a tokenizer, ids unchanged."""

import sys
from pathlib import Path

import numpy as np
import pytest

from prepare_support import lines, made, rows
from ssm_hpn.errors import ConfigError
from ssm_hpn.prepare import Prepared


def test_raw_bytes_if_asked_for(tmp_path: Path) -> None:
    content = bytes(range(256)) * 40
    (tmp_path / "raw.dat").write_bytes(content)
    prepared = made(tmp_path, tmp_path / "raw.dat", encoder="bytes", validation_fraction=0)
    assert b"".join(bytes(row["tokens"]) for row in rows(prepared.train)) == content
    assert prepared.validation is None


@pytest.mark.parametrize("name", ["raw.dat", "raw.csv", "raw.jsonl", "raw.npy", "folder"])
def test_bytes_of_any_file(tmp_path: Path, name: str) -> None:
    content = bytes(range(256)) * 40
    file = tmp_path / name / "raw.bin" if name == "folder" else tmp_path / name
    file.parent.mkdir(exist_ok=True)
    file.write_bytes(content)
    prepared = made(tmp_path, tmp_path / name, encoder="bytes")
    parts = rows(prepared.train) + rows(prepared.validation)
    assert b"".join(bytes(row["tokens"]) for row in parts) == content


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


def test_without_the_tokenizers_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    lines("abc")(tmp_path / "a.txt")
    with pytest.raises(ConfigError, match=r"expected the package tokenizers, found none; pip install tokenizers"):
        made(tmp_path, tmp_path / "a.txt", tokenizer=str(tmp_path / "t.json"), validation_fraction=0)


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
