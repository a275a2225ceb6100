"""No row is lost or joined to another: quotes, long lines, wide headers, mixed types, line numbers, links."""

import errno
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from prepare_support import made, rows, text_of, written
from ssm_hpn.errors import DataError


def documents(prepared):
    return sum(part.documents for part in prepared.parts.values())


def test_an_unclosed_quote_joins_no_lines(tmp_path):
    said = {7: ' said "so'}
    lines = ["text\tlabel", *(f"message {n}{said.get(n, '')}\t{'ab'[n % 2]}" for n in range(40))]
    (tmp_path / "t.tsv").write_text("\n".join(lines) + "\n")
    prepared = made(tmp_path, tmp_path / "t.tsv", {"text": "text", "label": "label"})
    assert documents(prepared) == 40
    (tmp_path / "q.csv").write_text('text,label\n"never closed,a\n' + "".join(f"text {n},b\n" for n in range(40)))
    prepared = made(tmp_path / "q", tmp_path / "q.csv", {"text": "text", "label": "label"})
    assert documents(prepared) == 41
    assert any("quotes are taken as text" in note for note in prepared.contract.notes)


def test_an_unclosed_quote_far_into_a_file_is_refused(tmp_path):
    lines = ["text,label", *(f'"text, {n}",a' for n in range(60_000)), '"never closed,a', *(["more,a"] * 9)]
    (tmp_path / "t.csv").write_text("\n".join(lines) + "\n")
    with pytest.raises(DataError, match=r"t\.csv: row 60002: expected"):
        made(tmp_path, tmp_path / "t.csv", {"label": "label"})


TWO_LINES, MORE = '"two\nlines",a\n', "".join(f"text {n},b\n" for n in range(40))


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("text,label\n" + TWO_LINES + MORE + '"never,a\n' + MORE, 44),
        ("text,label\r\n" + (TWO_LINES * 3 + MORE + '"never,a\n' + MORE).replace("\n", "\r\n"), 48),
        ("\ufefftext,label\n" + TWO_LINES * 3 + MORE + '"never,a\n' + MORE, 48),
        ("text,label\n" + '"say ""hi""\nthere",a\n' * 3 + MORE + '"never,a\n' + MORE, 48),
        ("text,label\n" + '"say \\"hi\\" there, you",a\n' * 20 + '"never,a\n' + MORE, 22),
        ("text,label\n" + TWO_LINES + '\n\n"never,a\n' + MORE + '"fine, x",b\n', 6),
        ("text,label\n" + MORE + '"never,a\n' + MORE + '"fine, x",b\n', 42),
        ("text,label\n" + TWO_LINES + MORE + '"never,a', 44),
        ("\n\ntext,label\n" + TWO_LINES + MORE + '"never,a\n', 46),
        ("label,text\n" + 'a,"two\nlines"\n' * 3 + "a,b\n" * 40 + 'a,"never\n' + "a,b\n" * 5, 48),
        ('"text","label"\n' + '"one","a"\n' * 50 + '"never,"a"\n' + '"one","b"\n' * 30, 52),
        ("text,label\n" + '"text\nmore",b\n' * 60_000 + '"never,a\n' + MORE + '"fine, x",b\n', 120_002),
    ],
)
def test_an_unclosed_quote_is_named_by_the_line_where_it_opens(tmp_path, text, line):
    (tmp_path / "t.csv").write_bytes(text.encode())
    with pytest.raises(DataError, match=rf"t\.csv: row {line}: expected closed quotes, found one that is never closed"):
        made(tmp_path, tmp_path / "t.csv", {"text": "text", "label": "label"})


def test_a_quote_that_is_never_closed_is_named_and_not_the_first_of_the_quoted_numbers(tmp_path):
    names, rows = [f"c{n}" for n in range(40)], [[f'"{n}"' for n in range(40)] for _ in range(50)]
    rows[30][7] = '"7'
    (tmp_path / "wide.csv").write_text("\n".join(map(",".join, [names, *rows])) + "\n")
    message = r"wide\.csv: row 32: expected closed quotes, found one that is never closed; close or double the quote"
    with pytest.raises(DataError, match=message):
        made(tmp_path, tmp_path / "wide.csv", {"features": names})


def test_a_row_of_other_columns_is_not_blamed_on_quotes_that_are_closed(tmp_path):
    (tmp_path / "t.csv").write_text("text,label\n" + '"text\nmore",b\n' * 60_000 + "x,a,c\n" + MORE)
    with pytest.raises(DataError, match=r"t\.csv: row 120002: expected 2 columns, found 3"):
        made(tmp_path, tmp_path / "t.csv", {"label": "label"})


@pytest.mark.parametrize("size", [150_000, 5_000_000])
def test_long_lines_of_json_are_read(tmp_path, size):
    words = [{"text": "w" * size}, *({"text": f"short {n}"} for n in range(30))]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in words))
    prepared = made(tmp_path, tmp_path / "a.jsonl")
    assert sum(part.tokens for part in prepared.parts.values()) == sum(len(row["text"]) for row in words)


def test_long_cells_of_csv_are_read(tmp_path):
    (tmp_path / "a.csv").write_text("text,label\n" + "w" * 5_000_000 + ",a\n" + "".join(f"t{n},b\n" for n in range(30)))
    prepared = made(tmp_path, tmp_path / "a.csv", {"label": "label"})
    assert sum(part.tokens for part in prepared.parts.values()) > 5_000_000


def test_a_line_of_json_larger_than_memory_is_refused_with_its_place(tmp_path, monkeypatch):
    monkeypatch.setattr("ssm_hpn.prepare.opening.MEMORY_FOR_LONG_LINES", 40)
    with (tmp_path / "a.jsonl").open("w") as file:
        file.writelines(['{"tokens": [1]}\n', '{"tokens": [' + "1," * 4_000_000 + "1]}\n"])
    with pytest.raises(DataError, match=r"a\.jsonl: line 2: expected a line that fits in memory, found one of 8 MB"):
        made(tmp_path, tmp_path / "a.jsonl")


def test_a_wide_header_is_read(tmp_path):
    names = [f"column_{n}" for n in range(15_000)]
    (tmp_path / "w.csv").write_text(",".join([*names, "y"]) + "\n" + ("1," * 15_000 + "0\n") * 20)
    prepared = made(tmp_path, tmp_path / "w.csv", {"features": "column_1", "labels": "y"})
    assert prepared.parts["train"].tokens + prepared.parts["validation"].tokens == 20


@pytest.mark.parametrize("first", [0, None])
def test_a_json_column_may_begin_with_whole_or_missing_numbers_before_fractions(tmp_path, first):
    table = [{"id": n // 10, "x": first if n < 600 else n / 7, "y": "ab"[n // 10 % 2]} for n in range(1200)]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in table))
    prepared = made(tmp_path, tmp_path / "a.jsonl", {"id": "id", "features": "x", "label": "y"}, validation_fraction=0)
    assert documents(prepared) == 120
    assert prepared.contract.features[0].maximum == pytest.approx(1199 / 7)
    assert prepared.contract.features[0].missing == (600 if first is None else 0)


def test_texts_without_line_ends_are_cut_between_characters(tmp_path):
    text = "天地玄黃" * 400
    (tmp_path / "c.jsonl").write_text(
        "".join(json.dumps({"text": text + str(n)}, ensure_ascii=False) + "\n" for n in range(4))
    )
    prepared = made(tmp_path, tmp_path / "c.jsonl", max_document=1000, validation_fraction=0)
    pieces = [bytes(row["tokens"]).decode() for row in rows(prepared.train)]
    assert len(pieces) > 4
    assert sorted(text_of(prepared.train).values()) == [text + str(n) for n in range(4)]


@pytest.mark.parametrize("kind", ["list", "large_list", "fixed_size_list"])
def test_lists_of_every_arrow_kind(tmp_path, kind):
    values = [[float(n), n + 0.5, -1.0] for n in range(30)]
    types = {
        "list": pa.list_(pa.float32()),
        "large_list": pa.large_list(pa.float64()),
        "fixed_size_list": pa.list_(pa.float64(), 3),
    }
    pq.write_table(pa.table({"v": pa.array(values, types[kind])}), tmp_path / "d.parquet", row_group_size=7)
    prepared = made(tmp_path, tmp_path / "d.parquet", {"features": "v"}, normalize=False, validation_fraction=0)
    assert [[step[0] for step in row["features"]] for row in rows(prepared.train)] == values


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('id,x\n"a\nb",1\n\n\nc,oops\n', r"row 6, column 'x': expected a number, found 'oops'"),
        ("id,x\na,1\nb,2,3\n", r"row 3: expected 2 columns, found 3"),
        ("id,x\na,1\nb\n", r"row 3: expected 2 columns, found 1"),
        ("id,x\na,1\n" + "b,2\n" * 30_000 + "c,oops\n", r"row 30003, column 'x': expected a number"),
        ("id,x\r\na,1\r\nb,inf\r\n", r"row 3, column 'x': expected a finite number, found inf"),
    ],
)
def test_row_numbers_are_the_line_numbers_of_an_editor(tmp_path, content, message):
    (tmp_path / "d.csv").write_bytes(content.encode())
    with pytest.raises(DataError, match=message):
        made(tmp_path, tmp_path / "d.csv", {"id": "id", "features": "x"})


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"x": 1}\n\n{"x": "oops"}\n', r"line 3, key 'x': expected a number, found 'oops'"),
        ('{"x": 1}\n\n{"x": 1\n', r"line 3: expected a JSON object, found .*\{\"x\": 1"),
        ('{"x": 1}\n[1, 2]\n', r"line 2: expected a JSON object, found '\[1, 2\]'"),
        ('{"x": 1}\n{"x": 1, "x": 2}\n', r"line 2: expected each key once, found 'x' twice"),
        ('{"x": 1}\n{"x": "\\ud800"}\n', r"line 2: expected escapes of whole characters"),
        ('{"x": ' + "[" * 3000 + "]" * 3000 + "}\n", r"expected"),
    ],
)
def test_line_numbers_of_json_are_those_of_an_editor(tmp_path, content, message):
    (tmp_path / "d.jsonl").write_text(content)
    with pytest.raises(DataError, match=message) as caught:
        made(tmp_path, tmp_path / "d.jsonl", {"features": "x"})
    assert "\n" not in str(caught.value)


def test_options_for_decimal_commas_separators_and_missing_words(tmp_path):
    (tmp_path / "d.csv").write_text("id;x\n" + "".join(f"s{n};{n},5\n" for n in range(20)) + "s20;NA\n")
    options = {"decimal": ",", "null": ("NA",), "validation_fraction": 0}
    prepared = made(tmp_path, tmp_path / "d.csv", {"id": "id", "features": "x"}, **options)
    column = prepared.contract.features[0]
    assert (column.minimum, column.maximum, column.missing) == (0.5, 19.5, 1)
    assert any("separated by ';'" in note for note in prepared.contract.notes)


@pytest.mark.parametrize(
    ("cell", "decimal", "advice"),
    [
        ("1,5", ".", r"set --data\.decimal , if that is the decimal mark$"),
        ("1.5", ",", r"set --data\.decimal \. if that is the decimal mark$"),
        ("1,234", ".", r"set --data\.decimal , if that is the decimal mark, or write thousands without a mark"),
        ("1,234.5", ".", r"write thousands without a mark \(',' here\)$"),
        ("1.234,5", ".", r"write thousands without a mark \('\.' here\), and set --data\.decimal ,$"),
        ("1.234,5", ",", r"write thousands without a mark \('\.' here\)$"),
        ("1 234", ".", r"write thousands without a mark \(' ' here\)$"),
        ("-12'345'678.9", ".", r"write thousands without a mark"),
        ("1,23,4", ".", r"correct it, choose another column"),
        ("5 km", ".", r"write numbers alone, without 'km' and all of them in one unit$"),
        ("-3.5 m/s²", ".", r"write numbers alone, without 'm/s²' and all"),
        ("12,5 %", ",", r"write numbers alone, without '%' and all"),
        ("21°C", ".", r"write numbers alone, without '°C' and all"),
        ("$5.50", ".", r"write numbers alone, without '\$' and all"),
        ("\u22125.5", ".", r"write the sign as '-', not as '\u2212' \(U\+2212\)$"),
        ("no", ".", r"write 1 for yes and 0 for no$"),
        ("k0", ".", r"correct it, choose another column"),
        ("12:30", ".", r"correct it, choose another column"),
    ],
)
@pytest.mark.parametrize("columns", [{"features": "x"}, {"features": "y", "values": "x", "id": "id"}])
@pytest.mark.parametrize("first", ["a", "1_0"])
def test_numbers_with_other_marks_are_refused_with_the_option_that_reads_them(
    tmp_path, cell, decimal, advice, columns, first
):
    """Where digits have an underscore between them somewhere, numbers are read as texts first."""
    (tmp_path / "d.csv").write_text(f"id;x;y\n{first};1;1\nb;{cell};1\n")
    with pytest.raises(DataError, match=r"row 3, column 'x': expected a number, found .*; " + advice):
        made(tmp_path, tmp_path / "d.csv", columns, decimal=decimal, delimiter=";")


def test_other_encodings_are_refused_or_named(tmp_path):
    (tmp_path / "d.csv").write_bytes("id,x\ngrün,1\nblau,2\n".encode("latin-1"))
    columns = {"id": "id", "features": "x"}
    with pytest.raises(DataError, match=r"line 2, byte 7: expected text in UTF-8, found 0xfc; .*data\.encoding"):
        made(tmp_path, tmp_path / "d.csv", columns)
    assert documents(made(tmp_path, tmp_path / "d.csv", columns, encoding="latin-1", validation_fraction=0)) == 2
    (tmp_path / "u.csv").write_bytes("id,x\na,1\n".encode("utf-16"))
    with pytest.raises(DataError, match=r"u\.csv: file: expected text in UTF-8, found UTF-16"):
        made(tmp_path / "u", tmp_path / "u.csv", columns)


# ---- folders


def test_every_file_that_is_left_out_is_named_with_its_reason(tmp_path):
    data = tmp_path / "data"
    data.mkdir()
    for n in range(5):
        (data / f"{n}.txt").write_text(f"text {n}\n" * 5)
    (data / "empty.txt").touch()
    (data / "picture.png").write_bytes(b"\x89PNG\0\0")
    (data / "wide.txt").write_bytes("text".encode("utf-16"))
    (data / ".hidden").write_text("x")
    (data / "again.txt").symlink_to(data / "0.txt")
    prepared = made(tmp_path, data)
    reasons = dict(prepared.contract.left_out)
    assert reasons["empty.txt"] == "empty"
    assert reasons["picture.png"] == "binary"
    assert reasons["wide.txt"] == "UTF-16"
    assert reasons[".hidden"] == "hidden"
    assert any("the same file as" in reason for reason in reasons.values())
    there = sum(1 for _ in data.iterdir())
    assert len(text_of(prepared.train) | text_of(prepared.validation)) + len(reasons) == there


def test_folders_behind_links_are_followed_once(tmp_path):
    store, data = tmp_path / "store", tmp_path / "data"
    store.mkdir()
    data.mkdir()
    for n in range(2):
        (store / f"{n}.txt").write_text(f"stored {n}\n" * 30)
    (data / "own.txt").write_text("own\n" * 30)
    (data / "linked").symlink_to(store)
    (store / "back").symlink_to(data)
    prepared = made(tmp_path, data)
    assert set(text_of(prepared.train) | text_of(prepared.validation)) == {"linked/0.txt", "linked/1.txt", "own.txt"}
    assert ("linked/back/", "a link to a folder that is read already") in prepared.contract.left_out


def test_a_folder_that_cannot_be_read_is_named_or_ends_the_command(tmp_path, monkeypatch):
    data, scandir = tmp_path / "data", os.scandir
    (data / "closed").mkdir(parents=True)
    for n in range(5):
        (data / f"{n}.txt").write_text(f"text {n}\n" * 5)
    broken, number = data / "closed", errno.EACCES

    def refusing(path="."):
        if str(path) == str(broken):
            raise OSError(number, os.strerror(number), str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refusing)
    assert ("closed/", "no permission to read it") in made(tmp_path / "a", data).contract.left_out
    number = errno.EIO
    with pytest.raises(OSError, match="closed"):
        made(tmp_path / "b", data)
    broken = data
    with pytest.raises(OSError, match="data"):
        made(tmp_path / "c", data / "*.txt")
    number = errno.EACCES
    with pytest.raises(PermissionError, match="data"):
        made(tmp_path / "c", data)


def test_rows_without_a_text_are_counted(tmp_path):
    (tmp_path / "d.jsonl").write_text(
        "".join(json.dumps({"text": f"t{n}" if n % 10 else None}) + "\n" for n in range(40))
    )
    prepared = made(tmp_path, tmp_path / "d.jsonl")
    assert documents(prepared) == 36
    assert prepared.contract.left_out == (("4 rows", "nothing in the column of the data"),)


def test_a_later_file_needs_the_same_columns_in_any_order(tmp_path):
    data = tmp_path / "data"
    data.mkdir()
    (data / "a.csv").write_text("id,acc_x,acc_y\n" + "".join(f"a{n},{n},0\n" for n in range(20)))
    (data / "b.csv").write_text("acc_y,acc_x,id\n" + "".join(f"0,{n},b{n}\n" for n in range(20)))
    columns = {"id": "id", "features": "acc_*"}
    prepared = made(tmp_path, data, columns)
    assert [column.minimum for column in prepared.contract.features] == [0.0, 0.0]
    assert prepared.contract.features[1].maximum == 0.0
    (data / "c.csv").write_text("id,acc_y,acc_z\nc,1,2\n")
    with pytest.raises(DataError, match=r"c\.csv: data\.columns\.features: expected a column 'acc_x'"):
        made(tmp_path / "c", data, columns)


def test_a_query_joins_tables(tmp_path):
    pq.write_table(pa.table({"id": np.repeat(np.arange(30), 4), "x": np.arange(120.0)}), tmp_path / "x.parquet")
    (tmp_path / "y.csv").write_text("id,y\n" + "".join(f"{n},{'ab'[n % 2]}\n" for n in range(30)))
    query = f"sql:SELECT * FROM '{tmp_path}/x.parquet' JOIN '{tmp_path}/y.csv' USING (id)"
    prepared = made(tmp_path, query, {"id": "id", "features": "x", "label": "y"})
    beside = made(
        tmp_path / "b",
        tmp_path / "x.parquet",
        {"id": "id", "features": "x", "label": "y"},
        labels=str(tmp_path / "y.csv"),
    )
    assert documents(prepared) == 30
    assert prepared.contract.classes.values == ("a", "b")
    assert beside.digest == prepared.digest


def test_a_table_of_labels_is_joined_by_id_and_missing_ones_counted(tmp_path):
    (tmp_path / "x.csv").write_text("id,x\n" + "".join(f"{n:03},{n + t}\n" for n in range(20) for t in range(3)))
    (tmp_path / "y.csv").write_text("id,y\n" + "".join(f"{n:03},{n % 2}\n" for n in range(18)))
    columns = {"id": "id", "features": "x", "label": "y"}
    prepared = made(tmp_path, tmp_path / "x.csv", columns, labels=str(tmp_path / "y.csv"), validation_fraction=0)
    assert {row["name"].partition("#")[2]: row["label"] for row in rows(prepared.train)} == {
        f"{n:03}": n % 2 if n < 18 else -1 for n in range(20)
    }
    assert "2 of 20 documents have no row in y.csv, such as '018'" in prepared.contract.notes


def test_the_work_folder_of_a_killed_preparation_is_removed(tmp_path: Path):
    from ssm_hpn._core import RunLock

    (tmp_path / "t.txt").write_text("a line of text\n" * 100)
    out = made(tmp_path, tmp_path / "t.txt").folder
    begun, foreign = (tmp_path / f".{out.name}-{ending}" for ending in ("abcdefgh", "ijklmnop"))
    dead, alive, other = (tmp_path / name for name in (".p-dead", ".q-alive", ".other"))
    for folder in (dead, alive, other, begun, foreign):
        folder.mkdir()
    (begun / ".lock").touch()
    (begun / ".being-prepared.partial-123").touch()
    (foreign / ".lock").touch()
    (foreign / "notes").touch()
    (dead / "being-prepared").touch()
    (alive / "being-prepared").touch()
    lock = RunLock(str(alive))
    (tmp_path / "t.txt").write_text("another line of text\n" * 100)
    shutil.rmtree(out)
    made(tmp_path, tmp_path / "t.txt")
    assert not dead.exists()
    assert not begun.exists()
    assert alive.exists()
    assert other.exists()
    assert foreign.exists()
    lock.release()


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet"])
def test_documents_without_an_id_are_counted_over_the_whole_file(tmp_path, suffix):
    table = [{"id": None if n in (4000, 9000) else f"m{n}", "text": f"text {n} " * 99} for n in range(10_000)]
    path = tmp_path / f"d.{suffix}"
    if suffix == "csv":
        table = [row | {"id": row["id"] or ""} for row in table]
    with pytest.raises(DataError, match=r"400[0-9]\D.*an id in every row, found 2 rows without one; fill them"):
        made(tmp_path, written(path, table), {"id": "id", "text": "text"})


def test_a_quoted_cell_with_line_ends_may_be_longer_than_a_block(tmp_path):
    long = "a long text\n" * 450_000
    file = tmp_path / "d.csv"
    file.write_text("id,text\n" + "".join(f"k{n},short {n}\n" for n in range(9)) + f'k9,"{long}"\nk10,last\n')
    found = text_of(made(tmp_path, file, {"text": "text", "id": "id"}, validation_fraction=0).train)
    assert found["d.csv#k9"] == long
    assert found["d.csv#k10"] == "last"
