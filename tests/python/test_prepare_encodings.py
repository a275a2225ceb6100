"""Text in any encoding: tables, JSON lines and plain text; messages count lines as an editor does."""

import gzip
import json

import pyarrow as pa
import pytest

from prepare_support import made, text_of
from ssm_hpn.cli.main import main
from ssm_hpn.errors import ConfigError, DataError
from ssm_hpn.prepare import copies

ENCODINGS = ["utf-16", "utf-16-le", "utf-16-be", "utf-32", "latin-1", "cp1252", "utf-8-sig"]


@pytest.mark.parametrize("encoding", [*ENCODINGS, "shift_jis"])
def test_tables_lines_and_texts_of_every_encoding(tmp_path, encoding):
    words = ["日本", "かな"] if encoding == "shift_jis" else ["grün", "ñandú"]
    for name, content in {
        "d.csv": "text,label\n" + "".join(f'"{word}\n{n}",{word}\n' for n in range(9) for word in words),
        "d.jsonl": "".join(
            json.dumps({"text": f"{w} {n}", "label": w}, ensure_ascii=False) + "\n" for n in range(9) for w in words
        ),
    }.items():
        path = tmp_path / name
        path.write_bytes(content.encode(encoding))
        prepared = made(tmp_path / name[2:], path, {"text": "text", "label": "label"}, encoding=encoding)
        assert set(prepared.contract.classes.values) == set(words)
    path = tmp_path / "d.txt"
    path.write_bytes(("\r\n".join(words) + "\n").encode(encoding))
    prepared = made(tmp_path / "t", path, encoding=encoding, validation_fraction=0)
    assert text_of(prepared.train) == {"d.txt": "\r\n".join(words) + "\n"}


@pytest.mark.parametrize("order", ["le", "be"])
def test_utf_16_without_a_byte_order_mark_is_detected_and_a_mark_is_no_text(tmp_path, order):
    path = tmp_path / "d.txt"
    path.write_bytes("grün\n".encode(f"utf-16-{order}"))
    assert text_of(made(tmp_path / "a", path, encoding="utf-16", validation_fraction=0).train) == {"d.txt": "grün\n"}
    path.write_bytes("\ufeffgrün\n".encode(f"utf-16-{order}"))
    prepared = made(tmp_path / "b", path, encoding=f"utf-16-{order}", validation_fraction=0)
    assert text_of(prepared.train) == {"d.txt": "grün\n"}


@pytest.mark.parametrize(
    ("name", "content", "encoding", "message"),
    [
        (
            "d.csv",
            b"id,x\na,1\n",
            "utf-16",
            r"file: expected text in utf-16, found no byte order .*leave data\.encoding",
        ),
        ("d.txt", b"plain text\n", "utf-32", r"expected text in utf-32, found no byte order mark"),
        ("d.txt", b"ab\nc\x81d\n", "cp1252", r"line 2, byte 4: expected text in cp1252, found 0x81"),
        ("d.csv", "id,x\ngrün,1\n".encode("latin-1"), "shift_jis", r"line 2, byte 7: expected text in shift_jis"),
        ("d.csv", "id,x\na,1\n".encode("utf-16"), "utf-8", r"found UTF-16; set --data\.encoding utf-16"),
        ("d.jsonl", '{"x": 1}\n'.encode("utf-16"), "utf-8", r"found UTF-16; set --data\.encoding utf-16"),
        ("d.txt", "text\n".encode("utf-16"), "utf-8", r"found UTF-16; set --data\.encoding utf-16"),
        ("d.csv", "id,x\na,1\n\nb,ü\n".encode("utf-16"), "utf-16", r"row 4, column 'x': expected a number, found 'ü'"),
    ],
)
def test_bytes_that_do_not_decode_are_refused_with_their_place(tmp_path, name, content, encoding, message):
    (tmp_path / name).write_bytes(content)
    columns = {} if name.endswith("txt") else {"features": "x"}
    with pytest.raises(DataError, match=message) as caught:
        made(tmp_path, tmp_path / name, columns, encoding=encoding)
    assert "\n" not in str(caught.value)


def test_an_encoding_that_does_not_exist_is_refused(tmp_path):
    from ssm_hpn.config import PrepareOptions

    with pytest.raises((ConfigError, ValueError), match="expected an encoding, such as utf-8"):
        PrepareOptions(encoding="utf-99")


ADVICE = "name its encoding in data.encoding, such as cp1252 or latin-1, or save the file as UTF-8"
LATIN = {
    "d.csv": ("id,x\na,1\n\ngrün,2\n", r"line 4, byte 12: expected text in UTF-8, found 0xfc"),
    "h.csv": ("größe,x\n" + "a,1\n" * 40, r"line 1, byte 2: expected text in UTF-8, found 0xf6"),
    "d.jsonl": ('{"x": 1}\n{"x": "ü"}\n', r"line 2, byte 16: expected text in UTF-8, found 0xfc"),
}


@pytest.mark.parametrize("packed", ["", ".gz", ".zst"])
@pytest.mark.parametrize("name", LATIN)
def test_a_byte_of_a_table_that_is_no_utf_8_is_named_with_its_line(tmp_path, name, packed):
    content, message = LATIN[name]
    with pa.output_stream(str(tmp_path / f"{name}{packed}"), compression="detect") as file:
        file.write(content.encode("latin-1"))
    columns = {"features": "x"} | ({"id": "id"} if name == "d.csv" else {})
    with pytest.raises(DataError, match=message) as caught:
        made(tmp_path, tmp_path / f"{name}{packed}", columns, validation_fraction=0)
    assert str(caught.value).endswith(ADVICE)


@pytest.mark.parametrize(
    ("content", "encoding", "advice"),
    [
        ("a\n".encode("utf-16"), "shift_jis", "set --data.encoding utf-16"),
        ("größe\n".encode(), "ascii", "leave data.encoding out: the file begins as UTF-8"),
        ("größe\n".encode("latin-1"), "ascii", ADVICE),
    ],
)
@pytest.mark.parametrize("packed", [False, True])
def test_the_advice_for_a_compressed_file_is_about_its_content(tmp_path, content, encoding, advice, packed):
    path = tmp_path / ("d.txt.gz" if packed else "d.txt")
    path.write_bytes(gzip.compress(content) if packed else content)
    with pytest.raises(DataError) as caught:
        made(tmp_path, path, encoding=encoding, validation_fraction=0)
    assert str(caught.value).endswith(advice)


def test_a_cut_packed_file_of_another_encoding_is_refused_in_one_line(tmp_path):
    content = "".join(f"{n * 7919}\n" for n in range(20000)).encode("utf-16")
    (tmp_path / "d.txt.gz").write_bytes(gzip.compress(content)[:-50])
    with pytest.raises(DataError, match="expected whole compressed data"):
        made(tmp_path, tmp_path / "d.txt.gz", encoding="utf-16", validation_fraction=0)


# ---- notes


@pytest.mark.parametrize("name", ["d.csv", "d.jsonl", "d.txt", "d.csv.gz"])
@pytest.mark.parametrize("order", ["le", "be"])
def test_a_guessed_byte_order_is_noted(tmp_path, name, order):
    content = "".join(f'{{"text": "grün {n}"}}\n' for n in range(30)) if "jsonl" in name else "text\n" + "grün\n" * 30
    path, columns = tmp_path / name, {} if name == "d.txt" else {"text": "text"}
    data = content.encode(f"utf-16-{order}")
    path.write_bytes(gzip.compress(data) if name.endswith("gz") else data)
    other = {"le": "be", "be": "le"}[order]
    said = f"{name}: no byte order mark: read as utf-16-{order}; set --data.encoding utf-16-{other} if that is wrong"
    options = {"encoding": "utf-16", "validation_fraction": 0}
    assert said in made(tmp_path, path, columns, **options).contract.notes
    data = f"\ufeff{content}".encode(f"utf-16-{order}")
    path.write_bytes(gzip.compress(data) if name.endswith("gz") else data)
    assert not any("mark" in note for note in made(tmp_path / "marked", path, columns, **options).contract.notes)


@pytest.mark.parametrize("encoding", ["latin-1", "cp1252"])
def test_a_given_encoding_of_a_file_that_is_utf_8_is_noted(tmp_path, encoding):
    columns, options = {"text": "text"}, {"encoding": encoding, "validation_fraction": 0}
    text = "text\n" + "plain\n" * 300_000 + "größe\n"  # the first block is ASCII, the same in every encoding here
    (tmp_path / "d.csv").write_text(text)
    notes = made(tmp_path, tmp_path / "d.csv", columns, **options).contract.notes
    advice = "leave data.encoding out if 'Ã¶' is 'ö'"
    assert f"d.csv: read as {encoding}, but its bytes are text in UTF-8 too: {advice}" in notes
    for name, content in {"a.csv": b"text\nplain\n", "b.csv": "text\ngrößer\n".encode(encoding)}.items():
        (tmp_path / name).write_bytes(content)
        assert not any("UTF-8" in note for note in made(tmp_path / name[0], tmp_path / name, **options).contract.notes)


def test_a_doubtful_encoding_of_a_table_of_labels_is_noted(tmp_path):
    (tmp_path / "d.csv").write_text("id,x\n" + "".join(f"{n},{n}\n" for n in range(30)))
    (tmp_path / "y.csv").write_text("id,y\n" + "".join(f"{n},{'äb'[n % 2]}\n" for n in range(30)))
    columns = {"id": "id", "features": "x", "label": "y"}
    notes = made(
        tmp_path, tmp_path / "d.csv", columns, labels=str(tmp_path / "y.csv"), encoding="latin-1"
    ).contract.notes
    assert any(note.startswith("y.csv: read as latin-1") for note in notes)


# ---- copies in UTF-8


@pytest.mark.parametrize("suffix", ["csv", "jsonl"])
def test_a_table_is_decoded_once_besides_its_first_block(tmp_path, suffix, monkeypatch):
    whole = []
    original = copies.shutil.copyfileobj
    monkeypatch.setattr(copies.shutil, "copyfileobj", lambda *args: (whole.append(1), original(*args)))
    row = '{{"text": "grün {}", "label": "{}"}}\n' if suffix == "jsonl" else '"grün\n{}",{}\n'
    content = "" if suffix == "jsonl" else "text,label\n"
    content += "".join(row.format(n, "ab"[n % 2]) for n in range(copies.LINES // 2 + 20000))
    (tmp_path / f"d.{suffix}").write_bytes(content.encode("utf-16"))
    prepared = made(tmp_path, tmp_path / f"d.{suffix}", {"text": "text", "label": "label"}, encoding="utf-16")
    assert len(whole) == 1
    assert sum(part.documents for part in prepared.parts.values()) == copies.LINES // 2 + 20000
    assert not list(tmp_path.glob("out/**/*.txt"))
    monkeypatch.undo()
    (tmp_path / f"e.{suffix}").write_text(content)
    same = made(tmp_path / "same", tmp_path / f"e.{suffix}", {"text": "text", "label": "label"})
    assert [part.documents for part in same.parts.values()] == [part.documents for part in prepared.parts.values()]


def test_a_quoted_text_cut_at_the_end_of_the_first_block_changes_no_column_names(tmp_path):
    long = "x\n" * (copies.LINES + 10)
    content = '"a, b","t"\n' + "".join(f'{n},"{"y" if n != 3 else long}"\n' for n in range(40))
    (tmp_path / "d.csv").write_bytes(content.encode("utf-16"))
    prepared = made(tmp_path, tmp_path / "d.csv", {"text": "t", "id": "a, b"}, encoding="utf-16")
    assert sum(part.documents for part in prepared.parts.values()) == 40


# ---- commands


def test_commands_read_an_encoding(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rows = "".join(f"m{n // 4},{n % 5}.5,{'größer' if n // 4 % 2 else 'ñ'}\n" for n in range(160))
    (tmp_path / "d.csv").write_bytes(f"größe,x,klasse\n{rows}".encode("utf-16-le"))
    columns = ["--data.columns.id", "größe", "--data.columns.features", "x", "--data.columns.label", "klasse"]
    assert main(["inspect", "d.csv", "--data.encoding", "utf-16", *columns]) == 0
    said = capsys.readouterr().out
    assert "größer" in said
    assert "no byte order mark: read as utf-16-le" in said
    model = ["--model.d_model", "8", "--train.steps", "2", "--run.folder", "r"]
    assert main(["train", "--data", "d.csv", "--data.encoding", "utf-16", *columns, *model]) == 0
    assert "no byte order mark: read as utf-16-le" in capsys.readouterr().out
    (tmp_path / "new.csv").write_bytes(f"größe,x\n{''.join(f'ä{n},1.5{chr(10)}' for n in range(4))}".encode("utf-16"))
    assert main(["predict", "r", "--data", "new.csv"]) == 0
    answers = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [row["größe"] for row in answers] == ["ä0", "ä1", "ä2", "ä3"]
    assert {row["class"] for row in answers} <= {"größer", "ñ"}


@pytest.mark.parametrize("command", ["predict", "evaluate"])
def test_a_copy_in_utf_8_is_written_once_for_a_command(tmp_path, monkeypatch, command, capsys):
    monkeypatch.chdir(tmp_path)
    table = "id,x,y\n" + "".join(f"s{n // 4},{n % 7},{'uv'[n // 4 % 2]}\n" for n in range(160))
    (tmp_path / "d.csv").write_text(table)
    columns = ["--data.columns.id", "id", "--data.columns.features", "x", "--data.columns.label", "y"]
    small = ["--model.d_model", "8", "--model.n_layers", "1", "--train.steps", "1", "--run.folder", "run"]
    assert main(["train", "--data", "d.csv", *columns, *small]) == 0
    (tmp_path / "d.csv").write_bytes(table.encode("utf-16"))
    written = []
    copy = copies.shutil.copyfileobj
    monkeypatch.setattr(copies.shutil, "copyfileobj", lambda *given: written.append(given) or copy(*given))
    assert main([command, "run", "--data", "d.csv", "--data.encoding", "utf-16"]) == 0
    assert len(written) == 1


def test_few_lines_of_another_encoding_are_to_be_corrected_and_not_the_file(tmp_path):
    lines = ["text,label"] + [f"caf\u00e9 {n},a" for n in range(50)]
    content = "\n".join(lines).encode().splitlines()
    content[20] = content[20].decode().encode("latin-1")
    (tmp_path / "t.csv").write_bytes(b"\n".join(content) + b"\n")
    with pytest.raises(DataError, match=r"line 21, .*; correct 1 of 51 lines, as 49 others have characters in UTF-8$"):
        made(tmp_path, tmp_path / "t.csv", {"text": "text", "label": "label"})
    (tmp_path / "t.csv").write_bytes("\n".join(lines).encode("latin-1") + b"\n")
    with pytest.raises(DataError, match=r"name its encoding in data\.encoding"):
        made(tmp_path, tmp_path / "t.csv", {"text": "text", "label": "label"})


def test_lines_of_another_encoding_are_counted_across_blocks(tmp_path):
    """Three-byte characters, one of which lies on each border of a block of 1 MB."""
    lines = ["text,label", *("\u2026" * 100 + ",a" for _ in range(10_000))]
    content = "\n".join(lines).encode().splitlines()
    content[20] = b"caf\xe9,a"
    (tmp_path / "t.csv").write_bytes(b"\n".join(content) + b"\n")
    with pytest.raises(DataError, match=r"; correct 1 of 10,001 lines, as 9,999 others have characters in UTF-8$"):
        made(tmp_path, tmp_path / "t.csv", {"text": "text", "label": "label"})
