"""Text files to documents: folders, patterns, compressed files, lines, and the default corpus."""

import gzip
import tracemalloc
from pathlib import Path

import pytest

from prepare_support import corpus, made, rows, text_of
from ssm_hpn.config import PrepareOptions
from ssm_hpn.prepare.reading import read
from ssm_hpn.prepare.sources import find
from ssm_hpn.prepare.stdlib_corpus import prepare_default


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


def test_a_file_stays_in_its_part_when_files_are_added_and_the_folder_moves(tmp_path: Path) -> None:
    small, large = tmp_path / "a", tmp_path / "b"
    before = made(small, corpus(small / "data", 60))
    after = made(large, corpus(large / "data", 90))
    held_out = text_of(before.validation).keys()
    assert held_out == text_of(after.validation).keys() & (text_of(before.train).keys() | held_out)


@pytest.mark.parametrize("text", ["one word and the next " * 50 + "end\n", "\N{GREEK SMALL LETTER ALPHA}" * 501 + "\n"])
def test_the_tail_of_a_text_without_line_ends_is_held_out(tmp_path: Path, text: str) -> None:
    file = tmp_path / "line.txt"
    file.write_text(text, encoding="utf-8")
    prepared = made(tmp_path, file)
    (kept,), (held_out,) = text_of(prepared.train).values(), text_of(prepared.validation).values()
    assert kept + held_out == text
    assert 0.05 < len(held_out) / len(text) < 0.15


def test_the_tail_of_a_long_text_begins_at_a_line(tmp_path: Path) -> None:
    book = tmp_path / "book.txt"
    book.write_text("".join(f"line {n} of the book\n" for n in range(1000)))
    prepared = made(tmp_path, book, max_document=500)
    train, validation = text_of(prepared.train)["book.txt"], text_of(prepared.validation)["book.txt"]
    assert train + validation == book.read_text()
    assert train.endswith("\n")
    assert 0.05 < len(validation) / len(train + validation) < 0.12
    assert max(len(row["tokens"]) for row in rows(prepared.train)) <= 500


@pytest.mark.parametrize("lines", range(990, 1010))
def test_the_tail_begins_at_a_line_wherever_the_text_is_cut(tmp_path: Path, lines: int) -> None:
    book = tmp_path / "book.txt"
    book.write_text("".join(f"line {n} of the book\n" for n in range(lines)))
    prepared = made(tmp_path, book, max_document=50)
    assert text_of(prepared.train)["book.txt"].endswith("\n")


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


def test_the_default_corpus(tmp_path: Path) -> None:
    prepared = prepare_default(tmp_path / "default")
    names = {row["name"] for row in rows(prepared.validation)}
    assert prepared.parts["train"].tokens > 1_000_000
    assert 0.03 < len(names) / (len(names) + prepared.parts["train"].documents) < 0.2
    assert not [name for name in names if "test" in Path(name).parts]


def test_a_large_text_is_read_in_bounded_memory(tmp_path: Path) -> None:
    """A file of 60 MB is read in pieces; Python objects take at most 12 MiB at a time."""
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
