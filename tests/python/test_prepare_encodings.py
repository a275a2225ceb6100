"""Text in any encoding: tables, JSON lines and plain text, with the lines of an editor in messages."""

import json

import pytest

from prepare_support import made, text_of
from ssm_hpn.errors import ConfigError, DataError

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
def test_the_order_of_bytes_without_a_mark_is_found_and_a_mark_is_left_out(tmp_path, order):
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
def test_what_does_not_decode_is_named_with_its_place(tmp_path, name, content, encoding, message):
    (tmp_path / name).write_bytes(content)
    columns = {} if name.endswith("txt") else {"features": "x"}
    with pytest.raises(DataError, match=message) as caught:
        made(tmp_path, tmp_path / name, columns, encoding=encoding)
    assert "\n" not in str(caught.value)


def test_an_encoding_that_does_not_exist_is_refused(tmp_path):
    from ssm_hpn.config import PrepareOptions

    with pytest.raises((ConfigError, ValueError), match="expected an encoding, such as utf-8"):
        PrepareOptions(encoding="utf-99")
